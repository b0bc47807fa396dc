import assert from "node:assert/strict";
import { test } from "node:test";
import { perfVerdict } from "./check.js";
import { counted, figuresOf, paced } from "./load.js";

/** A clock that the test turns, a millisecond at a time. */
function handClock() {
  let time = 0;
  const calls = new Set<() => void>();
  return {
    now: () => time,
    every: (intervalMs: number, call: () => void) => {
      assert.equal(intervalMs, 1);
      calls.add(call);
      return () => calls.delete(call);
    },
    pass: async (milliseconds: number) => {
      for (let i = 0; i < milliseconds; i++) {
        time++;
        for (const call of calls) call();
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
    get watchers() {
      return calls.size;
    },
  };
}

test("a pace hands out as many puts a second as were asked for, the first one at once", async () => {
  const clock = handClock();
  const stop = new AbortController();
  const pace = paced({ perSecond: 125, waitingMax: 10 }, stop.signal, clock);
  let begun = 0;
  const worker = async (): Promise<void> => {
    while (await pace()) begun++;
  };
  const workers = [worker(), worker()];
  await clock.pass(1);
  assert.equal(begun, 1);
  await clock.pass(999);
  assert.equal(begun, 126);
  stop.abort();
  await Promise.all(workers);
  assert.equal(await pace(), false);
  assert.equal(clock.watchers, 0);
});

test("what nobody takes waits up to a bound, and is not made up for past that", async () => {
  const clock = handClock();
  const stop = new AbortController();
  const pace = paced({ perSecond: 1_000, waitingMax: 5 }, stop.signal, clock);
  await clock.pass(100);
  let begun = 0;
  const worker = (async () => {
    while (await pace()) begun++;
  })();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(begun, 5);
  stop.abort();
  await worker;
});

test("a count ends by itself, and early when it is stopped", async () => {
  const stop = new AbortController();
  const pace = counted(2, stop.signal);
  assert.deepEqual([await pace(), await pace(), await pace()], [true, true, false]);
  const more = counted(2, stop.signal);
  stop.abort();
  assert.equal(await more(), false);
});

test("figures and verdict are etcdctl's", () => {
  const good = figuresOf([0.1, 0.2, 0.3], new Map(), 0.02);
  assert.equal(good.slowest, 0.3);
  assert.ok(Math.abs(good.deviation - Math.sqrt(0.02 / 3)) < 1e-9);
  assert.deepEqual(perfVerdict(good, 150), {
    passed: true,
    lines: [
      "PASS: Throughput is 151 writes/s",
      "PASS: Slowest request took 0.300000s",
      "PASS: Stddev is 0.081650s",
      "PASS",
    ],
  });
  const slow = figuresOf([0.1, 0.9], new Map([["etcdserver: too many requests", 3]]), 1);
  assert.deepEqual(perfVerdict(slow, 150), {
    passed: false,
    lines: [
      "FAIL: too many errors",
      "FAIL: ERROR(etcdserver: too many requests) -> 3",
      "FAIL: Throughput too low: 3 writes/s",
      "Slowest request took too long: 0.900000s",
      "Stddev too high: 0.400000s",
      "FAIL",
    ],
  });
  assert.equal(perfVerdict(figuresOf([], new Map(), 1), 150).passed, false);
});
