/** `walnut check` says of a cluster what etcdctl's says, in the same lines, and leaves nothing behind. */
import assert from "node:assert/strict";
import test, { before, type TestContext } from "node:test";
import { reference, skipReason, underTest, walnut } from "../support/binaries.js";
import { Stage, type Server } from "../support/servers.js";
import { type Ended, Running, see } from "./running-commands.js";

const skip = skipReason();

let ours: readonly string[] = [];
let theirs: readonly string[] = [];
before(() => {
  if (skip !== false) return;
  ours = walnut().command;
  theirs = [reference().etcdctl];
});

async function started(t: TestContext): Promise<Server> {
  const stage = Stage.for(t);
  return stage.start(underTest(), await stage.seat());
}

/** Lines without etcdctl's bar (and what stands behind it on its line), and with figures masked: which of the verdicts a machine of any speed gets is not compared. */
function shown({ stdout, stderr }: Ended): string[] {
  const lines = stdout.split("\n").map((line) => line.slice(line.lastIndexOf("\r") + 1));
  const told = lines
    .filter((line) => /^(PASS|FAIL|Slowest|Stddev|Compacted|Defrag|Start)/.test(line))
    .map((line) =>
      line
        .replace(/^(PASS|FAIL): Throughput (is|too low:) \d+/, "Throughput N")
        .replace(/^(PASS: )?Slowest request took (too long: )?[\d.]+s/, "Slowest N")
        .replace(/^(PASS: Stddev is|Stddev too high:) [\d.]+s/, "Stddev N")
        .replace(/^(PASS|FAIL)$/, "VERDICT")
        .replace(/ : -?[\d.]+ MB/, " : N MB")
        .replace(/revision \d+/, "revision N"),
    );
  return [...told, ...stderr.split("\n").filter((line) => line.startsWith("Error"))];
}

async function count({ client }: Server): Promise<number> {
  const all = Buffer.from([0]);
  const { count: keys = 0 } = await client.call("Range", { key: all, range_end: all, count_only: true });
  return Number(keys);
}

test("check perf that is interrupted tells what it has found by then, and deletes its keys", { skip }, async (t) => {
  const server = await started(t);
  const words = ["check", "perf", "--load=small", "--auto-compact", "--auto-defrag"];
  const seen: string[][] = [];
  for (const command of [theirs, ours]) {
    const running = new Running(command, server.address, { args: words });
    t.after(() => running.end());
    while ((await count(server)) < 100) await new Promise((resolve) => setTimeout(resolve, 20));
    const ended = await running.end("SIGINT");
    assert.equal(ended.code, ended.stdout.trimEnd().endsWith("PASS") ? 0 : 1);
    seen.push(shown(ended));
    assert.equal(await count(server), 0);
  }
  // Whether etcdctl comes to tell the ends of its compaction and defragmentation, once it was interrupted, is a question of time.
  const [expected, found] = seen.map((lines) => lines.filter((line) => !/^(Compacted|Defragmented)/.test(line)));
  assert.deepEqual(found, expected);
});

test("check datascale tells the memory that ten thousand pairs took", { skip }, async (t) => {
  const server = await started(t);
  const words = ["check", "datascale", "--auto-compact", "--prefix=/mine/"];
  const [expected, found] = [
    await see(theirs, server.address, { args: words }),
    await see(ours, server.address, { args: words }),
  ];
  assert.deepEqual([found.code, shown(found)], [expected.code, shown(expected)]);
  assert.equal(await count(server), 0);
});

test("checks are refused as etcdctl's are", { skip }, async (t) => {
  const server = await started(t);
  await server.client.put("/etcdctl-check-perf/x", "");
  await server.client.put("/etcdctl-check-datascale/x", "");
  await server.client.put("own/é", "");
  for (const words of [
    ["perf"],
    ["datascale"],
    ["perf", "--prefix=own/"],
    ["perf", "--load=nuts"],
    ["datascale", "--load=S"],
  ]) {
    const line = { args: ["check", ...words] };
    const [expected, found] = [await see(theirs, server.address, line), await see(ours, server.address, line)];
    const [sentence] = expected.stderr.split("\n").filter((text) => text.startsWith("Error"));
    assert.equal(found.code, expected.code, words.join(" "));
    assert.equal(found.stderr.split("\n")[0], sentence?.replace("etcdctl del", "walnut del"), words.join(" "));
  }
  assert.equal(await count(server), 3);
});
