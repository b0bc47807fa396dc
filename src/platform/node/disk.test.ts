import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { publishFile } from "../publish.js";
import { NodeDisk } from "./disk.js";

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "walnut-disk-"));
  t.after(() => rmSync(path, { recursive: true }));
  return path;
}

function openDescriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

test("what was written is read, across chunks, holes and the end of the file", async (t) => {
  const disk = new NodeDisk();
  const file = await disk.open(`${folder(t)}/a`, "create");
  const big = new Uint8Array(300_000).map((_, i) => i);
  await file.write([Uint8Array.of(1, 2), new Uint8Array(0), Uint8Array.of(3)], 10);
  await file.write([big, big], 100);
  const into = new Uint8Array(4);
  assert.equal(await file.read(into, 9), 4);
  assert.deepEqual([...into], [0, 1, 2, 3]);
  const all = new Uint8Array(700_000);
  assert.equal(file.readNow(all, 100), 600_000);
  assert.deepEqual(all.subarray(300_000, 600_000), big);
  assert.equal(await file.size(), 600_100);
  await file.truncate(5);
  assert.equal(await file.read(into, 3), 2);
  await file.close();
});

test("durable writes are read back, with and without something unsynced before them", async (t) => {
  const disk = new NodeDisk();
  const before = openDescriptors();
  const path = `${folder(t)}/a`;
  const file = await disk.open(path, "create");
  await file.writeDurably([Uint8Array.of(1, 2, 3, 4)], 0);
  await disk.rename(path, `${path}.moved`);
  await file.writeDurably([Uint8Array.of(9)], 1);
  await file.write([Uint8Array.of(8)], 2);
  await file.writeDurably(
    Array.from({ length: 3000 }, () => new Uint8Array(100).fill(7)),
    4,
  );
  const into = new Uint8Array(6);
  file.readNow(into, 0);
  assert.deepEqual([...into], [1, 9, 8, 4, 7, 7]);
  assert.equal(await file.size(), 300_004);
  await file.close();
  await file.close();
  assert.equal(openDescriptors(), before);
});

test("a durable write at once is read back, and is not made while something unsynced is before it", async (t) => {
  const path = `${folder(t)}/a`;
  const file = await new NodeDisk().open(path, "create");
  assert.equal(file.writeDurablyNow([Uint8Array.of(9)], 0), false);
  assert.equal(await file.size(), 0);
  await file.writeDurably([new Uint8Array(400_000)], 0);
  const parts = Array.from({ length: 3000 }, (_, i) => new Uint8Array(100).fill(i)); // more than one call takes
  assert.equal(file.writeDurablyNow(parts, 7), process.platform === "linux");
  if (process.platform === "linux") {
    const into = new Uint8Array(300_000);
    file.readNow(into, 7);
    assert.deepEqual(Buffer.from(into), Buffer.concat(parts));
  }
  const writing = file.write([Uint8Array.of(1)], 0);
  assert.equal(file.writeDurablyNow([Uint8Array.of(2)], 0), false);
  await writing;
  assert.equal(file.writeDurablyNow([Uint8Array.of(2)], 0), false);
  await file.close();
  assert.throws(() => file.writeDurablyNow([Uint8Array.of(2)], 0), { code: "DISK_IO", path });
});

test("a close waits for what is under way", async (t) => {
  const disk = new NodeDisk();
  const path = `${folder(t)}/a`;
  const file = await disk.open(path, "create");
  const writes = Array.from({ length: 20 }, (_, i) => file.write([new Uint8Array(100_000).fill(i)], i * 100_000));
  await file.close();
  await Promise.all(writes);
  assert.equal((await disk.stat(path))?.size, 2_000_000);
  await assert.rejects(file.write([Uint8Array.of(1)], 0), { code: "DISK_IO", path });
});

test("failures name the path and carry the documented code", async (t) => {
  const disk = new NodeDisk();
  const path = folder(t);
  await assert.rejects(disk.open(`${path}/none`, "read"), { code: "DISK_NOT_FOUND", path: `${path}/none` });
  await assert.rejects(disk.open(`${path}/none`, "write"), { code: "DISK_NOT_FOUND" });
  await (await disk.open(`${path}/a`, "create")).close();
  await assert.rejects(disk.open(`${path}/a`, "create"), { code: "DISK_EXISTS" });
  await assert.rejects(disk.makeFolder(`${path}/a`), { code: "DISK_EXISTS" });
  assert.equal(await disk.makeFolder(`${path}/f`), true);
  assert.equal(await disk.makeFolder(`${path}/f`), false);
  await (await disk.open(`${path}/f/x`, "create")).close();
  await disk.makeFolder(`${path}/g`);
  await assert.rejects(disk.rename(`${path}/g`, `${path}/f`), { code: "DISK_EXISTS" });
  await assert.rejects(disk.removeFile(`${path}/none`), { code: "DISK_NOT_FOUND" });
  assert.equal(await disk.stat(`${path}/none`), undefined);
  assert.equal(await disk.stat(`${path}/a/below`), undefined);
  const readable = await disk.open(`${path}/a`, "read");
  await assert.rejects(readable.write([Uint8Array.of(1)], 0), { code: "DISK_IO" });
  await readable.close();
  await disk.removeTree(`${path}/f`);
  await disk.removeTree(`${path}/f`);
  assert.deepEqual(await disk.list(path), [
    { name: "a", kind: "file" },
    { name: "g", kind: "folder" },
  ]);
});

test("a full device is DISK_FULL", async () => {
  const file = await new NodeDisk().open("/dev/full", "write");
  await assert.rejects(file.write([Uint8Array.of(1)], 0), { code: "DISK_FULL", path: "/dev/full" });
  await file.close();
});

test("no descriptor left is DISK_DESCRIPTORS, and the disk works on when there is one again", async (t) => {
  const path = folder(t);
  const disk = new NodeDisk();
  const taken: number[] = [];
  try {
    for (;;) taken.push(openSync("/dev/null", "r"));
  } catch {
    await assert.rejects(disk.open(`${path}/a`, "create"), { code: "DISK_DESCRIPTORS" });
  } finally {
    for (const fd of taken) closeSync(fd);
  }
  await (await disk.open(`${path}/a`, "create")).close();
});

test("a published file is there whole, and a failed one leaves nothing", async (t) => {
  const path = folder(t);
  const disk = new NodeDisk();
  await publishFile(disk, `${path}/tmp1`, `${path}/final`, (file) => file.write([Uint8Array.of(1, 2)], 0));
  await assert.rejects(
    publishFile(disk, `${path}/tmp2`, `${path}/other`, () => Promise.reject(new Error("no"))),
    /no/,
  );
  assert.deepEqual(await disk.list(path), [{ name: "final", kind: "file" }]);
});

test("locks conflict between open files, and end with them", async (t) => {
  const path = `${folder(t)}/a`;
  const disk = new NodeDisk();
  const one = await disk.open(path, "create");
  const two = await disk.open(path, "write");
  assert.equal(one.tryLock("segment"), true);
  assert.equal(one.tryLock("segment"), true);
  assert.equal(two.tryLock("segment"), false);
  assert.equal(two.tryLock("database-shared"), true);
  assert.equal(one.tryLock("database-shared"), true);
  assert.equal(one.tryLock("database"), false);
  await one.writeDurably([Uint8Array.of(1)], 0); // its second descriptor holds and loses no lock
  await one.writeDurably([Uint8Array.of(1)], 0);
  assert.equal(two.tryLock("segment"), false);
  await two.close();
  assert.equal(one.tryLock("database"), true);
  one.unlock();
  const three = await disk.open(path, "write");
  assert.equal(three.tryLock("segment"), true);
  assert.equal(three.tryLock("database"), true);
  await three.close();
  await one.close();
});
