import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { type LogRotation, RotatingFile } from "./rotating-file.js";

const ROTATION: LogRotation = { bytesMax: 10, backupsMax: 0, ageMsMax: 0, localTime: false, compress: false };
const START = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
const DAY = 86_400_000;

interface Play {
  readonly folder: string;
  readonly path: string;
  now: number;
  readonly open: (rotation?: Partial<LogRotation>) => RotatingFile;
  /** Every file with what it holds. */
  readonly files: () => Record<string, string>;
}

function play(t: TestContext): Play {
  const folder = mkdtempSync(join(tmpdir(), "walnut-log-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "etcd.log");
  const textOf = (name: string): string => {
    const bytes = readFileSync(join(folder, name));
    return (name.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString();
  };
  const it: Play = {
    folder,
    path,
    now: START,
    open: (rotation = {}) => new RotatingFile(path, { ...ROTATION, ...rotation }, () => it.now),
    files: () =>
      Object.fromEntries(
        readdirSync(folder)
          .sort()
          .map((name) => [name, textOf(name)]),
      ),
  };
  return it;
}

test("a file that a line would fill over is put aside, stamped with the time; no line is split", (t) => {
  const p = play(t);
  const file = p.open();
  for (const line of ["1234\n", "5678\n", "9\n"]) file.write(line);
  p.now += 1_000;
  file.write("123456789\n");
  assert.deepEqual(p.files(), {
    "etcd-2026-01-02T03-04-05.678.log": "1234\n5678\n",
    "etcd-2026-01-02T03-04-06.678.log": "9\n",
    "etcd.log": "123456789\n",
  });
});

test("a line larger than a file is written whole, to one of its own", (t) => {
  const p = play(t);
  const file = p.open();
  file.write("small\n");
  file.write(`${"x".repeat(50)}\n`);
  file.write("small\n");
  assert.deepEqual(
    Object.values(p.files()).map((text) => text.length),
    [6, 51, 6],
  );
});

test("two files of one millisecond get names of their own", (t) => {
  const p = play(t);
  const file = p.open();
  for (let i = 0; i < 4; i++) file.write(`line ${i}..\n`);
  assert.deepEqual(Object.keys(p.files()), [
    "etcd-2026-01-02T03-04-05.678.log",
    "etcd-2026-01-02T03-04-05.679.log",
    "etcd-2026-01-02T03-04-05.680.log",
    "etcd.log",
  ]);
});

test("a file that was there is written on, and counts", (t) => {
  const p = play(t);
  writeFileSync(p.path, "before\n");
  p.open().write("after\n");
  assert.deepEqual(p.files(), { "etcd-2026-01-02T03-04-05.678.log": "before\n", "etcd.log": "after\n" });
});

test("only so many old files are kept, and none that is too old; other files stay", async (t) => {
  const p = play(t);
  for (const name of ["etcd-notes.log", "etcd-2026-01-01.log", "other-2026-01-01T00-00-00.000.log"]) {
    writeFileSync(join(p.folder, name), "mine");
  }
  const file = p.open({ backupsMax: 2, ageMsMax: 3 * DAY });
  for (let i = 0; i < 5; i++) {
    file.write(`line ${i}..\n`);
    p.now += DAY;
  }
  await file.settled();
  const old = (): string[] => Object.keys(p.files()).filter((name) => /^etcd-.*T/.test(name));
  assert.deepEqual(old(), ["etcd-2026-01-05T03-04-05.678.log", "etcd-2026-01-06T03-04-05.678.log"]);
  p.now += 2 * DAY;
  await p.open({ ageMsMax: 3 * DAY }).settled();
  assert.deepEqual(old(), ["etcd-2026-01-06T03-04-05.678.log"]);
  assert.equal(Object.values(p.files()).filter((text) => text === "mine").length, 3);
});

test("old files are compressed, and a file with its compressed copy counts once", async (t) => {
  const p = play(t);
  const file = p.open({ compress: true, backupsMax: 2 });
  file.write("12345678\n");
  file.write("abcdefgh\n");
  await file.settled();
  assert.deepEqual(p.files(), { "etcd-2026-01-02T03-04-05.678.log.gz": "12345678\n", "etcd.log": "abcdefgh\n" });
  writeFileSync(join(p.folder, "etcd-2026-01-02T03-04-05.678.log"), "12345678\n");
  p.now += 1_000;
  file.write("ABCDEFGH\n");
  await file.settled();
  assert.deepEqual(Object.keys(p.files()), [
    "etcd-2026-01-02T03-04-05.678.log.gz",
    "etcd-2026-01-02T03-04-06.678.log.gz",
    "etcd.log",
  ]);
});

test("a folder that went away loses lines and nothing else", async (t) => {
  const p = play(t);
  const file = p.open();
  file.write("12345678\n");
  rmSync(p.folder, { recursive: true });
  assert.doesNotThrow(() => file.write("abcdefgh\n"));
  await file.settled();
});
