import assert from "node:assert/strict";
import { test } from "node:test";
import { nextDue, NodeClock } from "./clock.js";
import { installFastChecksum } from "./index.js";
import { NodeRandom } from "./random.js";

/** Timers do not keep a process alive; a test that waits for one does. */
async function kept<Value>(run: (resolve: (value: Value) => void) => void): Promise<Value> {
  const alive = setInterval(() => undefined, 1000);
  try {
    return await new Promise(run);
  } finally {
    clearInterval(alive);
  }
}

test("timers ring once or again and again, and not when cancelled", async () => {
  const clock = new NodeClock();
  let rung = 0;
  clock.after(0, () => (rung += 100)).cancel();
  await kept<void>((resolve) => clock.after(1, resolve));
  await kept<void>((resolve) => {
    const timer = clock.every(1, () => {
      rung++;
      if (rung < 3) return;
      timer.cancel();
      resolve();
    });
  });
  assert.equal(rung, 3);
});

test("a timer that rings late rings the next time as if it had not, and leaves out what it missed", () => {
  assert.equal(nextDue(100, 100, 100), 200);
  assert.equal(nextDue(100, 130, 100), 200);
  assert.equal(nextDue(100, 200, 100), 300);
  assert.equal(nextDue(100, 455, 100), 500);
  assert.equal(nextDue(100, 99.5, 100), 200);
});

test("monotonic time never falls, and yielding lets others run", async () => {
  const clock = new NodeClock();
  const before = clock.now();
  let ran = false;
  setImmediate(() => (ran = true));
  await clock.yield();
  assert.ok(ran);
  assert.ok(clock.now() >= before);
});

test("chance stays below its bound", () => {
  const random = new NodeRandom();
  const seen = new Set(Array.from({ length: 500 }, () => random.below(4)));
  assert.deepEqual(
    [...seen].sort((a, b) => a - b),
    [0, 1, 2, 3],
  );
  assert.equal(random.bytes(17).length, 17);
});

test("the native checksum is there on this machine", () => {
  assert.equal(installFastChecksum(), true);
});
