/** Every system call of the write path fails once, or does only a part: no error is lost, and no byte is left out. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { ROUND_BYTES, ROUNDS } from "./testing/writer.js";

const WRITER = join(import.meta.dirname, "testing", "writer.js");
const skip =
  spawnSync("strace", ["-V"]).status === 0 || (process.env["CI"] ?? "") !== ""
    ? false
    : "strace is not there: run 'apt-get install strace'";

interface Outcome {
  readonly said: readonly string[];
  /** System calls that strace tampered with. */
  readonly injected: number;
  /** What is in the file. */
  readonly bytes: Uint8Array;
}

/** Through which the second descriptor of the file is opened. */
const DESCRIPTORS = Array.from({ length: 60 }, (_, fd) => `/proc/self/fd/${fd}`);

/**
 * @param inject strace's expression, as `fdatasync:error=EIO:when=2`
 * @param only paths whose calls count; the file and its folder when left out
 */
function write(t: TestContext, inject: string, only?: readonly string[], how = "waiting"): Outcome {
  const folder = mkdtempSync(join(tmpdir(), "walnut-strace-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "log");
  const calls = inject.slice(0, inject.indexOf(":"));
  const paths = (only ?? [path, folder, `${path}.final`]).flatMap((name) => ["-P", name]);
  const trace = ["-f", "-qq", ...paths, "-e", `trace=${calls}`, "-e", `inject=${inject}`];
  const { stdout, stderr } = spawnSync("strace", [...trace, process.execPath, WRITER, path, how], {
    encoding: "utf8",
    env: { ...process.env, UV_THREADPOOL_SIZE: "1", NODE_OPTIONS: "" }, // strace counts calls thread by thread
  });
  const file = [path, `${path}.final`].find((name) => existsSync(name));
  return {
    said: stdout.trim().split("\n"),
    injected: stderr.split("INJECTED").length - 1,
    bytes: file === undefined ? new Uint8Array(0) : new Uint8Array(readFileSync(file)),
  };
}

/** The rounds that were told to be durable are in the file. */
function checkAcknowledged({ said, bytes }: Outcome): void {
  for (let round = 0; round < ROUNDS; round++) {
    if (!said.includes(`round ${round}`)) return;
    const span = bytes.subarray(round * ROUND_BYTES, (round + 1) * ROUND_BYTES);
    assert.ok(span.every((byte, i) => byte === round + 1 || (round === ROUNDS - 1 && i === ROUND_BYTES - 1)));
  }
}

for (const [call, error, code, times] of [
  ["pwrite64", "EIO", "DISK_IO", 8],
  ["pwrite64", "ENOSPC", "DISK_FULL", 8],
  ["fdatasync", "EIO", "DISK_IO", 1],
  ["fsync", "EIO", "DISK_IO", 2],
  ["rename,renameat,renameat2", "EROFS", "DISK_READ_ONLY", 1],
] as const) {
  test(
    `${call} fails with ${error}, each time in turn: the error is told as ${code}, and nothing after it is done`,
    { skip },
    (t) => {
      for (let nth = 1; nth <= times; nth++) {
        const outcome = write(t, `${call}:error=${error}:when=${nth}`);
        assert.equal(outcome.injected, 1, `${call} number ${nth} did not come: ${outcome.said.join(", ")}`);
        assert.match(outcome.said.at(-1)!, new RegExp(`^failed ${code} /.*`), `number ${nth}`);
        checkAcknowledged(outcome);
      }
      const whole = write(t, `${call}:error=${error}:when=${times + 1}`);
      assert.deepEqual([whole.injected, whole.said.at(-1)], [0, "done"]);
    },
  );
}

test("a write of which the system takes a part is followed by one of the rest", { skip }, (t) => {
  // strace answers 100 and writes nothing: so bytes [0, 100) of that write stay as they were, and all others must be there.
  for (const [nth, round] of [
    [2, 0],
    [3, 1],
  ] as const) {
    const outcome = write(t, `pwrite64:retval=100:when=${nth}`);
    assert.deepEqual([outcome.injected, outcome.said.at(-1)], [1, "done"]);
    const span = outcome.bytes.subarray(round * ROUND_BYTES, (round + 1) * ROUND_BYTES);
    assert.ok(span.every((byte, i) => byte === (i < 100 ? 0 : round + 1)));
  }
});

test("a write of which the system takes nothing is an error, not an endless loop", { skip }, (t) => {
  assert.match(write(t, "pwrite64:retval=0:when=3").said.at(-1)!, /^failed DISK_IO/);
});

test("interrupted calls are made again", { skip }, (t) => {
  for (const call of ["pwrite64", "fdatasync", "fsync"]) {
    const outcome = write(t, `${call}:error=EINTR:when=1`);
    assert.deepEqual([outcome.injected, outcome.said.at(-1)], [1, "done"], call);
    checkAcknowledged(outcome);
  }
});

test("without a second descriptor (none left) durable writes take two steps, and all is there", { skip }, (t) => {
  const outcome = write(t, "openat:error=EMFILE:when=1", DESCRIPTORS);
  assert.deepEqual([outcome.injected, outcome.said.at(-1)], [1, "done"]);
  checkAcknowledged(outcome);
});

// The main thread writes rounds 0, 1, 2, 4 and 5; the pool's thread makes three writes: it fills, and round 3 is its own.
const onMain = (t: TestContext, inject: string): Outcome => write(t, inject, undefined, "now");

for (const [error, code] of [
  ["EIO", "DISK_IO"],
  ["ENOSPC", "DISK_FULL"],
] as const) {
  test(
    `a write at once fails with ${error}, each in turn: it is told as ${code}, and nothing after it is done`,
    { skip },
    (t) => {
      for (const [nth, round] of [
        [2, 1],
        [3, 2],
        [4, 4],
        [5, 5],
      ] as const) {
        const outcome = onMain(t, `pwrite64:error=${error}:when=${nth}`);
        assert.equal(outcome.injected, 1);
        assert.match(outcome.said.at(-1)!, new RegExp(`^failed ${code} /.*`));
        assert.equal(outcome.said.at(-2), `round ${round - 1}`);
        checkAcknowledged(outcome);
      }
    },
  );
}

test("a write at once of which the system takes a part is followed by one of the rest", { skip }, (t) => {
  const outcome = onMain(t, "pwrite64:retval=100:when=4");
  assert.deepEqual([outcome.injected, outcome.said.at(-1)], [1, "done"]);
  const span = outcome.bytes.subarray(4 * ROUND_BYTES, 5 * ROUND_BYTES);
  assert.ok(span.every((byte, i) => byte === (i < 100 ? 0 : 5)));
});

test("a write at once of which nothing is taken is an error; an interrupted one is made again", { skip }, (t) => {
  assert.match(onMain(t, "pwrite64:retval=0:when=4").said.at(-1)!, /^failed DISK_IO/);
  const outcome = onMain(t, "pwrite64:error=EINTR:when=4");
  assert.deepEqual([outcome.injected, outcome.said.at(-1)], [1, "done"]);
  checkAcknowledged(outcome);
});
