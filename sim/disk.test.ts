import assert from "node:assert/strict";
import { test } from "node:test";
import { CRASH_MODES, SimDisk, SimRandom } from "./index.js";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (value: Uint8Array): string => new TextDecoder().decode(value);

/** All states of a disk under many draws, as texts. */
function states(disk: SimDisk, position: number, mode: (typeof CRASH_MODES)[number], draws: number): Set<string> {
  const found = new Set<string>();
  for (let seed = 0; seed < draws; seed++) {
    found.add(fingerprint(disk.platterAt(position, mode, new SimRandom(seed))));
  }
  return found;
}

function fingerprint(disk: SimDisk): string {
  return JSON.stringify(
    [...disk.tree()].map(([path, content]) => [path, content && Buffer.from(content).toString("hex")]),
  );
}

test("what is synced, name and bytes, is there after every crash", async () => {
  const disk = new SimDisk();
  const file = await disk.open("/data/a", "create");
  await file.write([bytes("first "), bytes("second")], 0);
  await file.sync();
  await disk.syncFolder("/data");
  await file.write([bytes("FIRST")], 0);
  for (const mode of CRASH_MODES) {
    for (let seed = 0; seed < 50; seed++) {
      const after = disk.crash({ mode, random: new SimRandom(seed) });
      assert.match(text(after.readAll("/data/a")), /^(first|FIRST) second$/);
    }
  }
  assert.deepEqual(states(disk, disk.journal.length, "lost", 5).size, 1);
  await file.close();
  assert.deepEqual(disk.openHandles(), []);
});

test("a synced file whose folder was not synced may be gone", async () => {
  const disk = new SimDisk();
  const file = await disk.open("/data/a", "create");
  await file.write([bytes("x")], 0);
  await file.sync();
  assert.equal(disk.crash({ mode: "lost", random: new SimRandom(1) }).exists("/data/a"), false);
});

test("a sync does not cover a write that had not resolved when it was asked for", async () => {
  const disk = new SimDisk();
  disk.writeAll("/data/a", new Uint8Array(4));
  const file = await disk.open("/data/a", "write");
  await Promise.all([file.write([bytes("late")], 0), file.datasync()]);
  assert.deepEqual(disk.crash({ mode: "lost", random: new SimRandom(1) }).readAll("/data/a"), new Uint8Array(4));
});

test("writeDurably covers what was written before it, too", async () => {
  const disk = new SimDisk();
  disk.writeAll("/data/a", new Uint8Array(4));
  const file = await disk.open("/data/a", "write");
  await file.write([bytes("ab")], 0);
  await file.writeDurably([bytes("cd")], 2);
  assert.equal(text(disk.crash({ mode: "lost", random: new SimRandom(1) }).readAll("/data/a")), "abcd");
});

test("writeDurablyNow is durable when it returns; while something waits for a sync it writes nothing", async () => {
  const disk = new SimDisk();
  disk.writeAll("/data/a", new Uint8Array(4));
  const file = await disk.open("/data/a", "write");
  assert.equal(file.writeDurablyNow([bytes("a"), bytes("b")], 0), true);
  assert.equal(disk.journal.at(-1)?.kind, "datasync");
  const onPlatter = (): Uint8Array => disk.crash({ mode: "lost", random: new SimRandom(1) }).readAll("/data/a");
  assert.equal(text(onPlatter()), "ab\0\0");
  await file.write([bytes("c")], 2);
  assert.equal(file.writeDurablyNow([bytes("d")], 3), false);
  assert.equal(text(disk.readAll("/data/a")), "abc\0");
  await file.datasync();
  assert.equal(file.writeDurablyNow([bytes("d")], 3), true);
  assert.equal(text(onPlatter()), "abcd");
});

test("a fault of a write, or of a sync, hits writeDurablyNow", async () => {
  const disk = new SimDisk();
  disk.writeAll("/data/a", new Uint8Array(4));
  const file = await disk.open("/data/a", "write");
  disk.fail({ kinds: ["write"], nth: 1, code: "DISK_FULL", bytesWritten: 1 });
  assert.throws(() => file.writeDurablyNow([bytes("xy")], 0), { code: "DISK_FULL" });
  assert.equal(text(disk.readAll("/data/a")), "x\0\0\0");
  await file.datasync();
  disk.fail({ kinds: ["datasync"], nth: 1, code: "DISK_IO" });
  assert.throws(() => file.writeDurablyNow([bytes("z")], 3), { code: "DISK_IO" });
  assert.equal(disk.faultsArmed, 0);
  await file.close();
  assert.throws(() => file.writeDurablyNow([bytes("z")], 3), { code: "DISK_IO" });
});

test("all subsets of a torn write's sectors come up, each once", async () => {
  const disk = new SimDisk();
  disk.writeAll("/data/a", new Uint8Array(2048));
  const file = await disk.open("/data/a", "write");
  await file.write([new Uint8Array(1024).fill(7)], 256);
  const found = [...disk.tornAt()].map(({ disk }) => fingerprint(disk));
  assert.equal(found.length, 8);
  assert.equal(new Set(found).size, 8);
});

test("the same seed gives the same state", async () => {
  const disk = new SimDisk();
  const file = await disk.open("/data/a", "create");
  for (let i = 0; i < 10; i++) await file.write([new Uint8Array(700).fill(i + 1)], i * 600);
  for (const mode of CRASH_MODES) {
    const once = fingerprint(disk.crash({ mode, random: new SimRandom(9) }));
    assert.equal(fingerprint(disk.platterAt(disk.journal.length, mode, new SimRandom(9))), once);
  }
});

test("locks conflict as those of the kernel do", async () => {
  const disk = new SimDisk();
  disk.writeAll("/data/a", bytes("x"));
  const [one, two] = [await disk.open("/data/a", "write"), await disk.open("/data/a", "write")];
  assert.equal(one.tryLock("segment"), true);
  assert.equal(one.tryLock("segment"), true);
  assert.equal(two.tryLock("segment"), false);
  assert.equal(two.tryLock("database-shared"), true);
  assert.equal(one.tryLock("database-shared"), true);
  assert.equal(one.tryLock("database"), false);
  await two.close();
  assert.equal(one.tryLock("database"), true);
  one.unlock();
});
