import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import { nextDue, NodeClock } from "./clock.js";
import { installFastChecksum } from "./index.js";
import { NodeRandom } from "./random.js";

/** Timers do not keep a process alive by themselves; a test that waits for one does. */
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

test("only a timer that is told to holds the process, and a cancelled one does not", async () => {
  const clock = JSON.stringify(new URL("clock.js", import.meta.url).href);
  const runs = async (body: string): Promise<string> => {
    const script = `import { NodeClock } from ${clock}; const clock = new NodeClock(); ${body}`;
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", script]);
    return stdout;
  };
  const rings = 'clock.after(50, () => console.log("rang")';
  assert.equal(await runs(`${rings})`), "");
  assert.equal(await runs(`${rings}, "process")`), "rang\n");
  assert.equal(await runs(`clock.after(600_000, () => console.log("rang"), "process").cancel()`), "");
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
