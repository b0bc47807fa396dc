import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { settle, SimClock, SimDisk } from "../../sim/index.js";
import { bytesFromLatin1, latin1FromBytes } from "../base/text.js";
import { silentLog } from "../platform/index.js";
import { Backend, type BackendError, type BackendOptions } from "./backend.js";
import { makeBoltEngine } from "./bolt-engine.js";
import { MemoryBolt } from "./testing/memory-bolt.js";

const SMALL_PAGES = makeBoltEngine({ pageSize: 1024, initialMapBytes: 0 });

class BackendFixture {
  readonly clock = new SimClock();
  readonly engine = new MemoryBolt();
  disk = new SimDisk();
  readonly path = "/data/db";
  failures: BackendError[] = [];
  backend!: Backend;

  async open(options: Partial<BackendOptions> = {}): Promise<this> {
    const d = { clock: this.clock, disk: this.disk, log: silentLog };
    const onFailure = (error: BackendError): void => void this.failures.push(error);
    this.backend = await Backend.open(d, this.path, { engine: this.engine, onFailure, ...options });
    return this;
  }

  put(key: string, value = ""): void {
    this.backend.put("b", bytesFromLatin1(key), bytesFromLatin1(value));
  }

  get(key: string): string | undefined {
    const value = this.backend.get("b", bytesFromLatin1(key));
    return value === undefined ? undefined : latin1FromBytes(value);
  }

  /** What a restart would find, with the twin. */
  durable(): string[] {
    const bucket = this.engine.durable.get(this.path)?.get("b");
    return (bucket?.pairs ?? []).map(({ key, value }) => `${latin1FromBytes(key)}=${latin1FromBytes(value)}`);
  }

  pairs(): Map<string, string> {
    const pairs = new Map<string, string>();
    this.backend.forEach("b", undefined, undefined, (key, value) => {
      pairs.set(latin1FromBytes(key), latin1FromBytes(value));
    });
    return pairs;
  }

  /** Makes commits wait; the function answered lets them land. */
  holdCommits(): () => Promise<void> {
    let release: () => void = () => undefined;
    this.engine.land = () => new Promise((resolve) => (release = resolve));
    return async () => {
      this.engine.land = () => Promise.resolve();
      release();
      await settle();
    };
  }
}

/** Each operation of this disk takes a turn of the loop or two. */
function slowDisk(): SimDisk {
  return new SimDisk({ pace: () => settle().then(settle) });
}

async function backendFixture(
  t: TestContext,
  options: Partial<BackendOptions> = {},
  disk = new SimDisk(),
): Promise<BackendFixture> {
  const fixture = new BackendFixture();
  fixture.disk = disk;
  await fixture.open(options);
  t.after(async () => {
    await fixture.backend.close();
    assert.equal(fixture.clock.timers, 0, "no timer is left");
    assert.equal(fixture.engine.openReads, 0, "no read is left open");
    assert.deepEqual(fixture.disk.openHandles(), [], "no file is left open");
  });
  return fixture;
}

test("a write is read at once and committed after the batch's interval", async (t) => {
  const b = await backendFixture(t);
  b.put("a", "1");
  assert.equal(b.get("a"), "1");
  await b.clock.run(99);
  assert.deepEqual(b.durable(), []);
  await b.clock.run(1);
  assert.deepEqual(b.durable(), ["a=1"]);
  assert.equal(b.backend.pendingWrites, 0);
});

test("a full batch is committed after the turn that filled it, and never splits a turn", async (t) => {
  const b = await backendFixture(t, { batchWritesMax: 3 });
  for (const key of ["a", "b", "c", "d", "e"]) b.put(key);
  assert.deepEqual(b.durable(), []);
  await settle();
  assert.deepEqual(b.durable(), ["a=", "b=", "c=", "d=", "e="]);
});

test("the hook writes into the transaction that is committed, once for each", async (t) => {
  const b = await backendFixture(t);
  let applied = 0;
  b.backend.setBeforeCommit((write) => write.put("b", bytesFromLatin1("index"), bytesFromLatin1(String(applied))));
  b.put("a");
  applied = 7;
  await b.backend.commitNow();
  assert.deepEqual(b.durable(), ["a=", "index=7"]);
  await b.clock.run(1_000);
  assert.equal(b.backend.commits, 1, "the hook's own write asks for no commit");
});

test("reads and writes go on while a commit is under way; what gathers goes with the next", async (t) => {
  const b = await backendFixture(t);
  const land = b.holdCommits();
  b.put("a", "1");
  const first = b.backend.commitNow();
  b.put("b", "2");
  assert.deepEqual([b.get("a"), b.get("b")], ["1", "2"]);
  const second = b.backend.commitNow();
  const third = b.backend.commitNow();
  b.put("c", "3");
  await settle();
  assert.deepEqual(b.durable(), []);
  await land();
  await Promise.all([first, second, third]);
  assert.deepEqual(b.durable(), ["a=1", "b=2", "c=3"]);
  assert.equal(b.backend.commits, 2);
});

test("a batch is full by its bytes, too", async (t) => {
  const b = await backendFixture(t, { batchBytesMax: 1_000 });
  b.put("a", "x".repeat(998));
  await settle();
  assert.deepEqual(b.durable(), []);
  b.put("b");
  await settle();
  assert.equal(b.durable().length, 2);
});

test("there is room for more until four full batches wait behind a commit, and again when that has ended", async (t) => {
  const b = await backendFixture(t, { batchBytesMax: 1_000 });
  const land = b.holdCommits();
  b.put("first", "x".repeat(1_000));
  assert.equal(b.backend.room(), undefined); // no commit is under way: what is written begins one
  await settle();
  b.put("second", "x".repeat(3_900));
  assert.equal(b.backend.room(), undefined);
  b.put("third", "x".repeat(100));
  let asked = 0;
  const waiting = b.backend.room()?.then(() => asked++);
  assert.notEqual(waiting, undefined);
  await settle();
  assert.equal(asked, 0);
  await land();
  await waiting;
  assert.equal(b.backend.room(), undefined);
});

test("after a failed commit nothing is accepted any more, and that is told once", async () => {
  const b = await new BackendFixture().open();
  b.engine.land = () => Promise.reject(new Error("EIO"));
  b.put("a");
  const outcome = b.backend.commitNow();
  b.put("b");
  const next = b.backend.commitNow();
  await assert.rejects(outcome, /BACKEND_FAILED: a commit to \/data\/db failed.*EIO/);
  await assert.rejects(next, { code: "BACKEND_FAILED" });
  await assert.rejects(b.backend.commitNow(), { code: "BACKEND_FAILED" });
  await assert.rejects(b.backend.snapshot(), { code: "BACKEND_FAILED" });
  assert.throws(() => b.put("c"), { code: "BACKEND_FAILED" });
  assert.equal(b.failures.length, 1);
  assert.equal(b.backend.failed, b.failures[0]);
  await b.backend.close();
  assert.deepEqual(b.durable(), []);
  assert.equal(b.clock.timers, 0);
});

test("what was written is there after a restart without a word", async (t) => {
  const b = await backendFixture(t, { engine: SMALL_PAGES });
  b.put("a", "1");
  await b.backend.close();
  assert.throws(() => b.put("b"), { code: "BACKEND_CLOSED" });
  await b.open({ engine: SMALL_PAGES });
  assert.equal(b.get("a"), "1");
});

test("a snapshot is a database of everything written before it", async (t) => {
  const b = await backendFixture(t, { engine: SMALL_PAGES });
  for (let i = 0; i < 200; i++) b.put(`k${i}`, "x".repeat(20));
  const snapshot = await b.backend.snapshot();
  b.put("later");
  const chunks: Uint8Array[] = [];
  for await (const chunk of snapshot.pages()) chunks.push(chunk);
  snapshot.end();
  const bytes = Buffer.concat(chunks);
  assert.equal(bytes.length, snapshot.sizeBytes);
  const copy = new BackendFixture();
  copy.disk.writeAll(copy.path, bytes);
  await copy.open({ engine: SMALL_PAGES });
  assert.equal(copy.pairs().size, 200);
  await copy.backend.close();
});

test("a defragmentation shrinks the file while writes go on; none is lost, now or after a restart", async (t) => {
  const b = await backendFixture(t, { engine: SMALL_PAGES }, slowDisk());
  const expected = new Map<string, string>();
  const put = (key: string, value: string): void => {
    b.put(key, value);
    expected.set(key, value);
  };
  for (let i = 0; i < 2_000; i++) put(`k${i}`, "x".repeat(50));
  await b.backend.commitNow();
  for (let i = 0; i < 1_900; i++) {
    b.backend.delete("b", bytesFromLatin1(`k${i}`));
    expected.delete(`k${i}`);
  }
  await b.backend.commitNow();
  const before = b.backend.sizeBytes;
  const state = { done: false };
  const work = b.backend.defragment().then(() => (state.done = true));
  let turns = 0;
  for (; !state.done; turns++) {
    put(`during${turns % 50}`, String(turns));
    if (turns % 7 === 0) b.backend.delete("b", bytesFromLatin1(`k${1_900 + turns}`));
    if (turns % 7 === 0) expected.delete(`k${1_900 + turns}`);
    await b.clock.run(turns % 3 === 0 ? 100 : 0);
  }
  await work;
  assert.ok(turns > 3, "writes came in between");
  assert.ok(b.backend.sizeBytes < before / 4, `${b.backend.sizeBytes} of ${before} bytes are left`);
  assert.deepEqual(b.pairs(), sorted(expected));
  assert.equal(b.disk.exists("/data/db.tmp.defragment"), false);
  await b.backend.close();
  await b.open({ engine: SMALL_PAGES });
  assert.deepEqual(b.pairs(), sorted(expected));
});

test("a defragmentation comes to its end under a load that it cannot catch up with", async (t) => {
  const options = { engine: SMALL_PAGES, repeatedInSpareTime: 6_000, repeatedUnheld: 20_000 };
  const b = await backendFixture(t, options, slowDisk());
  let puts = 0;
  const put = (): void => b.backend.put("key", bytesFromLatin1(String(puts++).padStart(9, "0")), bytesFromLatin1("x"));
  for (let i = 0; i < 1_000; i++) put();
  await b.backend.commitNow();
  const state = { done: false };
  const work = b.backend.defragment().then(() => (state.done = true));
  let waits = 0;
  while (!state.done) {
    if (b.backend.room() !== undefined) waits++;
    else for (let i = 0; i < 3_000; i++) put();
    await b.clock.run(10);
  }
  await work;
  assert.ok(puts > 20_000, `${puts} puts: more than it repeats before it holds commits back`);
  assert.ok(waits > 0, "entries waited for the copy");
  await b.backend.close();
  await b.open({ engine: SMALL_PAGES });
  const found = b.backend.keys("key").map((key) => Number(latin1FromBytes(key)));
  assert.deepEqual(
    found,
    Array.from({ length: puts }, (_, i) => i),
  );
});

test("a defragmentation without space fails, leaves nothing behind, and db serves on", async (t) => {
  const b = await backendFixture(t, { engine: SMALL_PAGES });
  for (let i = 0; i < 500; i++) b.put(`k${i}`, "x".repeat(50));
  await b.backend.commitNow();
  b.disk.capacityBytes = b.disk.readAll("/data/db").length + 4_096;
  await assert.rejects(b.backend.defragment(), /DEFRAGMENT_FAILED: \/data\/db could not be defragmented and serves on/);
  assert.equal(b.disk.exists("/data/db.tmp.defragment"), false);
  b.disk.capacityBytes = Infinity;
  b.put("after", "1");
  await b.backend.commitNow();
  await b.backend.defragment();
  assert.equal(b.pairs().size, 501);
  assert.deepEqual(b.failures, []);
});

test("what a defragmentation that died left behind is removed at the next start", async (t) => {
  const b = await backendFixture(t, { engine: SMALL_PAGES });
  await b.backend.close();
  b.disk.writeAll("/data/db.tmp.defragment", Uint8Array.of(1, 2, 3));
  await b.open({ engine: SMALL_PAGES });
  assert.equal(b.disk.exists("/data/db.tmp.defragment"), false);
});

test("a snapshot that was begun before a defragmentation is read to its end after it", async (t) => {
  const b = await backendFixture(t, { engine: SMALL_PAGES });
  for (let i = 0; i < 200; i++) b.put(`k${i}`, "x".repeat(20));
  const snapshot = await b.backend.snapshot();
  await b.backend.defragment();
  let bytes = 0;
  for await (const chunk of snapshot.pages()) bytes += chunk.length;
  assert.equal(bytes, snapshot.sizeBytes);
  assert.equal(b.disk.openHandles().length, 2);
  snapshot.end();
  await settle();
  assert.equal(b.disk.openHandles().length, 1);
});

test("two defragmentations at once are refused", async (t) => {
  const b = await backendFixture(t, { engine: SMALL_PAGES });
  b.put("a");
  const first = b.backend.defragment();
  await assert.rejects(b.backend.defragment(), { code: "DEFRAGMENT_BUSY" });
  await first;
});

function sorted(pairs: ReadonlyMap<string, string>): Map<string, string> {
  return new Map([...pairs].sort(([a], [b]) => (a < b ? -1 : 1)));
}
