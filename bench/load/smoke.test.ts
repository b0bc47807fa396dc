/** Every scenario of the bench, a few hundred calls each, on Walnut and on real etcd. What is checked is counts, never times. */
import assert from "node:assert/strict";
import test from "node:test";
import { reference, skipReason, walnut } from "../../test/support/binaries.js";
import type { EtcdClient } from "../../test/support/client.js";
import { Stage } from "../../test/support/servers.js";
import { loadKeys, runCalls } from "../load-play.js";
import { BATCH_PUTS, LOAD_SCENARIOS } from "../scenarios.js";
import { LoadGenerator } from "./generator.js";
import { keyOf, kvRequest } from "./requests.js";
import { interleave, runLoad } from "./run.js";

const KEYS_BEFORE = 100_000;
const CALLS = 200;
const IN_FLIGHT_MAX = 50;

for (const server of ["walnut", "etcd"] as const) {
  test(
    `every scenario is served by ${server}, and the store saw as many writes as were answered`,
    { skip: skipReason() },
    async (t) => {
      const stage = Stage.for(t);
      const generator = new LoadGenerator();
      t.after(async () => generator.stop());
      const binary = server === "walnut" ? walnut() : reference();
      const member = await stage.start(binary, await stage.seat());
      const loaded = await loadKeys(generator, member, KEYS_BEFORE);
      assert.equal(loaded.answered, KEYS_BEFORE / BATCH_PUTS);
      assert.equal(await countOf(member.client), KEYS_BEFORE);
      for (const { name, inFlight, calls } of LOAD_SCENARIOS.filter(({ onRequest }) => onRequest !== true)) {
        const until = { kind: "count", requests: CALLS } as const;
        const how = { inFlight: Math.min(IN_FLIGHT_MAX, inFlight), seed: 7, until };
        const { answered, answeredOf, latencyMs } = await runCalls(generator, member, calls, how);
        assert.equal(answered, CALLS, name);
        assert.equal(
          answeredOf.reduce((sum, of) => sum + of, 0),
          CALLS,
          name,
        );
        assert.ok(latencyMs.p50 > 0 && latencyMs.p50 <= latencyMs.p99 && latencyMs.p99 <= latencyMs.max, name);
      }
      assert.equal(await countOf(member.client), KEYS_BEFORE, "no scenario made keys of its own");
    },
  );
}

for (const server of ["walnut", "etcd"] as const) {
  test(
    `a call that ${server} refuses is told with its status and counted as no answer`,
    { skip: skipReason() },
    async (t) => {
      const stage = Stage.for(t);
      const member = await stage.start(server === "walnut" ? walnut() : reference(), await stage.seat());
      const refused = kvRequest("Put", { value: Buffer.from("a key is missing") }, { kind: "fixed" });
      const good = kvRequest("Put", { key: keyOf(0) }, { kind: "fixed" });
      const result = await runLoad({
        address: member.address,
        pid: member.pid,
        connections: 2,
        inFlight: 8,
        requests: [refused, good],
        seed: 1,
        until: { kind: "count", requests: 100 },
      });
      assert.deepEqual(result.problems, [["status 3: etcdserver: key is not provided", 50]]);
      assert.deepEqual(result.answeredOf, [0, 50]);
      assert.equal(result.answered, 50);
    },
  );
}

test("a range that finds nothing is told as such where something was asked for", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  const member = await stage.start(walnut(), await stage.seat());
  await member.client.put(keyOf(0), Buffer.alloc(256));
  const get = kvRequest("Range", { key: keyOf(0) }, { kind: "sequence", step: 1 }, { answerBytesMin: 256 });
  const { problems, answered } = await runLoad({
    address: member.address,
    pid: member.pid,
    connections: 1,
    inFlight: 2,
    requests: [get],
    seed: 1,
    until: { kind: "count", requests: 10 },
  });
  assert.equal(answered, 1);
  assert.equal(problems.length, 1);
  const [problem, times] = problems[0]!;
  assert.match(problem, /^\/etcdserverpb.KV\/Range was answered with \d+ bytes, not 256$/);
  assert.equal(times, 9);
});

for (const server of ["walnut", "etcd"] as const) {
  test(
    `requests larger than a frame, more than ${server}'s window takes at once, all arrive`,
    { skip: skipReason() },
    async (t) => {
      const stage = Stage.for(t);
      const member = await stage.start(server === "walnut" ? walnut() : reference(), await stage.seat());
      const value = Buffer.alloc(40_000, "v");
      const before = await member.client.revision();
      const { answered, problems } = await runLoad({
        address: member.address,
        pid: member.pid,
        connections: 2,
        inFlight: 100,
        requests: [kvRequest("Put", { key: keyOf(0), value }, { kind: "sequence", step: 1 })],
        seed: 1,
        until: { kind: "count", requests: 300 },
      });
      assert.deepEqual(problems, []);
      assert.equal(answered, 300);
      assert.equal((await member.client.revision()) - before, 300);
      let keys = 0;
      for await (const { key, value: stored } of member.client.keys({ pageKeys: 50 })) {
        assert.deepEqual(Buffer.from(key), Buffer.from(keyOf(keys++)));
        assert.ok(value.equals(stored));
      }
      assert.equal(keys, 300);
    },
  );
}

test("a server that goes away ends the run with an error", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  const member = await stage.start(walnut(), await stage.seat());
  const running = runLoad({
    address: member.address,
    pid: member.pid,
    connections: 1,
    inFlight: 1,
    requests: [kvRequest("Put", { key: keyOf(0) }, { kind: "fixed" })],
    seed: 1,
    until: { kind: "time", warmUpSeconds: 0, seconds: 600 },
  });
  const failed = assert.rejects(running, /closed the connection|ECONNRESET|EPIPE/);
  await member.kill();
  await failed;
});

test("requests of unequal weight are spread", () => {
  assert.deepEqual(interleave([1]), [0]);
  const turns = interleave([9, 1]);
  assert.equal(turns.length, 10);
  assert.deepEqual(turns.filter((turn) => turn === 1).length, 1);
  assert.deepEqual(interleave([1, 1]), [0, 1]);
});

async function countOf(client: EtcdClient): Promise<unknown> {
  const all = { key: Buffer.from("bench/"), range_end: Buffer.from("bench0"), count_only: true };
  return (await client.call("Range", all))["count"];
}
