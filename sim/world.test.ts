/** The clock, chance, the log and the network of the simulated world. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Connection } from "../src/platform/index.js";
import { recordingLog, settle, SimClock, SimNetwork, SimRandom } from "./index.js";

test("timers ring in order, at their moments, and only when the clock is turned", () => {
  const clock = new SimClock();
  const rung: string[] = [];
  clock.after(20, () => rung.push(`b at ${clock.now()}`));
  clock.after(10, () => {
    rung.push(`a at ${clock.now()}`);
    clock.after(5, () => rung.push(`c at ${clock.now()}`));
  });
  const every = clock.every(8, () => rung.push(`e at ${clock.now()}`));
  clock.after(12, () => rung.push("never")).cancel();
  clock.advance(0);
  assert.deepEqual(rung, []);
  clock.advance(20);
  assert.deepEqual(rung, ["e at 8", "a at 10", "c at 15", "e at 16", "b at 20"].sort(byMoment));
  every.cancel();
  assert.equal(clock.timers, 0);
});

const byMoment = (a: string, b: string): number => Number(a.split(" at ")[1]) - Number(b.split(" at ")[1]);

test("promises settle after each timer that rings in a run", async () => {
  const clock = new SimClock();
  const seen: number[] = [];
  const sleep = (): Promise<void> => new Promise((resolve) => clock.after(10, resolve));
  const done = (async () => {
    for (let i = 0; i < 3; i++) {
      await sleep();
      seen.push(clock.now());
    }
  })();
  await clock.run(35);
  await done;
  assert.deepEqual(seen, [10, 20, 30]);
});

test("the wall clock jumps, monotonic time does not", () => {
  const clock = new SimClock(1000);
  clock.advance(5);
  clock.jumpWall(-3_600_000);
  assert.equal(clock.now(), 5);
  assert.equal(clock.wallNow(), 1005 - 3_600_000);
});

test("chance repeats under a seed, and a draw in one stream does not move another", () => {
  const draws = (random: SimRandom): number[] => Array.from({ length: 20 }, () => random.below(1000));
  assert.deepEqual(draws(new SimRandom(7)), draws(new SimRandom(7)));
  assert.notDeepEqual(draws(new SimRandom(7)), draws(new SimRandom(8)));
  const root = new SimRandom(7);
  const before = draws(root.stream("disk"));
  draws(root);
  assert.deepEqual(draws(root.stream("disk")), before);
  assert.notDeepEqual(draws(root.stream("net")), before);
  const counts = [0, 0, 0, 0, 0, 0];
  for (let i = 0; i < 60_000; i++) counts[root.below(6)]!++;
  assert.ok(
    counts.every((count) => Math.abs(count - 10_000) < 500),
    counts.join(" "),
  );
});

test("the log remembers what was said, with the fields of the log that said it", () => {
  const log = recordingLog();
  log.with({ a: 1 }).warn("w", { b: 2 });
  log.info("i");
  assert.deepEqual(log.lines[0], { level: "warn", message: "w", fields: { a: 1, b: 2 } });
  assert.deepEqual(log.messages("info"), ["i"]);
});

test("a network in memory carries bytes in order, and ends as sockets do", async () => {
  const network = new SimNetwork();
  const heard: string[] = [];
  const listener = await network.listen({ kind: "tcp", host: "a", port: 0 }, (connection: Connection) => {
    connection.onData = (bytes) => connection.write(bytes);
    connection.onClose = (error) => heard.push(`server closed ${error?.code}`);
  });
  const connection = await network.connect(listener.address);
  let bytes = 0;
  connection.onData = (chunk) => (bytes += chunk.length);
  connection.onClose = (error) => heard.push(`client closed ${error?.code}`);
  connection.onDrain = () => heard.push("drain");
  assert.equal(connection.write(new Uint8Array(10)), true);
  assert.equal(connection.write(new Uint8Array(100_000)), false);
  await settle();
  connection.end();
  await settle();
  assert.equal(bytes, 100_010);
  assert.deepEqual(heard, ["drain", "server closed undefined", "client closed undefined"]);
  await assert.rejects(
    network.listen(listener.address, () => undefined),
    { code: "NETWORK_IN_USE" },
  );
  await listener.close();
  await assert.rejects(network.connect(listener.address), { code: "NETWORK_REFUSED" });
});

test("a destroyed connection is a reset for the other side", async () => {
  const network = new SimNetwork();
  const listener = await network.listen({ kind: "unix", path: "/s" }, (connection) => connection.destroy());
  const connection = await network.connect(listener.address);
  const error = await new Promise((resolve) => (connection.onClose = resolve));
  assert.equal((error as { code: string }).code, "NETWORK_RESET");
});
