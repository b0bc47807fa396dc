import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import fc from "fast-check";
import { settle, SimClock, SimDisk, SimRandom } from "../../sim/index.js";
import { PlaceHints } from "../base/place-hints.js";
import { silentLog } from "../platform/log.js";
import { checkBolt, compactBolt, openBolt, type BoltDatabase, type BoltOptions, type Bucket } from "./index.js";
import { Node } from "./node.js";
import { Chance, work } from "./testing/random-work.js";
import { assertSame, bytesOf, TwinBucket } from "./testing/twin.js";

const PATH = "/data/db";

/** A disk with a database on it; at the end the database must be consistent and no file open. */
class Fixture {
  readonly disk = new SimDisk();
  readonly clock = new SimClock();
  db!: BoltDatabase;

  get doors(): { disk: SimDisk; clock: SimClock; log: typeof silentLog } {
    return { disk: this.disk, clock: this.clock, log: silentLog };
  }

  async open(options: BoltOptions = {}): Promise<BoltDatabase> {
    this.db = await openBolt(this.doors, PATH, options);
    return this.db;
  }

  async reopen(options: BoltOptions = {}): Promise<BoltDatabase> {
    await this.db.close();
    return this.open(options);
  }
}

async function boltFixture(t: TestContext, options: BoltOptions = {}): Promise<Fixture> {
  const fixture = new Fixture();
  await fixture.open(options);
  t.after(async () => {
    if (fixture.db.failed === undefined) {
      const db = await fixture.reopen();
      assert.deepEqual(await db.check(), []);
    }
    await fixture.db.close();
    assert.deepEqual(fixture.disk.openHandles(), []);
  });
  return fixture;
}

test("what is put is there after the commit, and after closing and opening", async (t) => {
  const fixture = await boltFixture(t);
  const write = fixture.db.beginWrite();
  const bucket = write.createBucket(bytesOf("key"));
  bucket.put(bytesOf("a"), bytesOf("1"));
  assert.deepEqual(bucket.get(bytesOf("a")), bytesOf("1"));
  await write.commit();
  const db = await fixture.reopen();
  const read = db.beginRead();
  assert.deepEqual(read.bucket(bytesOf("key"))!.get(bytesOf("a")), bytesOf("1"));
  assert.equal(read.bucket(bytesOf("nokey")), undefined);
});

for (const pageSize of [1024, 4096]) {
  test(`random work gives what the twin holds, with pages of ${pageSize} bytes`, async (t) => {
    const runs = Number(process.env["BOLT_RUNS"] ?? 8);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 2 ** 31 - 1 }), async (seed) => {
        const fixture = new Fixture();
        let db = await fixture.open({ pageSize, cacheBytes: 40 * pageSize });
        const chance = new Chance(seed);
        let twin = new TwinBucket();
        const shape = { keys: chance.pick([50, 1000, 20_000]), valueBytesMax: pageSize * 5, depth: 3 };
        for (let commit = 0; commit < 14; commit++) {
          const before = twin.copy();
          const reader = db.beginRead();
          const write = db.beginWrite();
          work(write, twin, chance, chance.pick([1, 20, 400]), shape);
          assertSame(write, twin);
          assertSame(reader, before);
          if (chance.below(5) === 0) {
            write.rollback();
            twin = before;
          } else {
            const durable = write.commit();
            const after = db.beginRead();
            assertSame(after, twin);
            if (chance.below(2) === 0) await durable;
            assertSame(after, twin);
            after.end();
          }
          assertSame(reader, before);
          reader.end();
          assert.deepEqual(await db.check(), []);
          if (chance.below(4) === 0) db = await fixture.reopen({ cacheBytes: 40 * pageSize });
        }
        const read = db.beginRead();
        assertSame(read, twin);
        await db.close();
        assert.deepEqual(fixture.disk.openHandles(), []);
      }),
      { numRuns: runs },
    );
    t.diagnostic(`${runs} runs of 14 transactions`);
  });
}

test("a read transaction keeps its view while commits go on, and its pages are not written", async (t) => {
  const fixture = await boltFixture(t);
  const { db } = fixture;
  const twin = new TwinBucket();
  const chance = new Chance(7);
  const shape = { keys: 300, valueBytesMax: 6000, depth: 2 };
  const readers = [];
  for (let i = 0; i < 12; i++) {
    const write = db.beginWrite();
    work(write, twin, chance, 60, shape);
    const durable = write.commit();
    readers.push({ read: db.beginRead(), twin: twin.copy() });
    if (i % 3 === 0) await durable;
  }
  await db.idle();
  for (const { read, twin: seen } of readers) {
    assertSame(read, seen);
    read.end();
  }
});

test("a durable read sees the last durable commit while the next one is on its way", async (t) => {
  const { db } = await boltFixture(t);
  await put(db, "a", "1");
  const flying = put(db, "a", "2");
  const durable = db.beginRead({ durable: true });
  const newest = db.beginRead();
  assert.deepEqual(durable.bucket(bytesOf("key"))!.get(bytesOf("a")), bytesOf("1"));
  assert.deepEqual(newest.bucket(bytesOf("key"))!.get(bytesOf("a")), bytesOf("2"));
  await flying;
  assert.deepEqual(durable.bucket(bytesOf("key"))!.get(bytesOf("a")), bytesOf("1"));
});

test("freed pages are written again once nobody can read them", async (t) => {
  const { db } = await boltFixture(t);
  for (let i = 0; i < 50; i++) await put(db, "a", "x".repeat(20_000));
  const { pages } = db.stats();
  assert.ok(pages < 40, `${pages} pages for one value of 20,000 bytes written 50 times`);
});

test("a copy of a read transaction opens with what the transaction sees, whatever is committed meanwhile", async (t) => {
  const fixture = await boltFixture(t);
  const { db } = fixture;
  const twin = new TwinBucket();
  const chance = new Chance(3);
  const shape = { keys: 2000, valueBytesMax: 9000, depth: 2 };
  const write = db.beginWrite();
  work(write, twin, chance, 3000, shape);
  const durable = write.commit();
  const read = db.beginRead();
  const seen = twin.copy();
  const chunks: Uint8Array[] = [];
  for await (const chunk of read.copy()) {
    chunks.push(chunk);
    const next = db.beginWrite();
    work(next, twin, chance, 100, shape);
    await next.commit();
  }
  await durable;
  const copy = Buffer.concat(chunks);
  assert.equal(copy.length, read.sizeBytes);
  read.end();
  fixture.disk.writeAll("/data/copy", Uint8Array.from(copy));
  const other = await openBolt(fixture.doors, "/data/copy", { readOnly: true });
  assert.deepEqual(await other.check(), []);
  assert.equal(other.damagedMeta, undefined);
  assertSame(other.beginRead(), seen);
  await other.close();
});

test("a compacted copy holds the same and is smaller", async (t) => {
  const fixture = await boltFixture(t);
  const { db } = fixture;
  const twin = new TwinBucket();
  const chance = new Chance(4);
  for (let i = 0; i < 20; i++) {
    const write = db.beginWrite();
    work(write, twin, chance, 500, { keys: 3000, valueBytesMax: 9000, depth: 3 });
    await write.commit();
  }
  const read = db.beginRead();
  await compactBolt(read, fixture.doors, "/data/db.tmp.1");
  const other = await openBolt(fixture.doors, "/data/db.tmp.1", { create: false });
  assert.deepEqual(await other.check(), []);
  assertSame(other.beginRead(), twin);
  assert.ok(other.sizeBytes < db.sizeBytes, `${other.sizeBytes} against ${db.sizeBytes}`);
  await other.close();
  await assert.rejects(compactBolt(read, fixture.doors, "/data/db.tmp.1"), { code: "DISK_EXISTS" });
});

for (const kind of ["write", "datasync", "sync", "truncate"] as const) {
  test(`after a failed ${kind} nothing is written any more, and the file opens with the last durable commit`, async () => {
    const fixture = new Fixture();
    const db = await fixture.open();
    await put(db, "a", "1");
    fixture.disk.fail({ kinds: [kind], nth: 1, code: "DISK_IO" });
    const first = put(db, "a", "x".repeat(200_000));
    const second = put(db, "b", "2");
    await assert.rejects(first, { code: "BOLT_POISONED" });
    await assert.rejects(second, { code: "BOLT_POISONED" });
    assert.equal(db.failed?.code, "BOLT_POISONED");
    assert.throws(() => db.beginWrite(), { code: "BOLT_POISONED" });
    assert.equal(fixture.disk.faultsArmed, 0);
    const written = fixture.disk.journal.length;
    await db.close();
    assert.equal(fixture.disk.journal.length, written);
    const again = await openBolt({ ...fixture.doors, disk: fixture.disk.copy() }, PATH);
    assert.deepEqual(await again.check(), []);
    assert.deepEqual(again.beginRead().bucket(bytesOf("key"))!.get(bytesOf("a")), bytesOf("1"));
    await again.close();
  });
}

test("a page size that the format cannot have is refused", async () => {
  const fixture = new Fixture();
  for (const pageSize of [0, 512, 5000, 131_072]) {
    await assert.rejects(fixture.open({ pageSize }), { code: "BOLT_OUT_OF_RANGE" });
  }
  assert.ok(!fixture.disk.exists(PATH));
});

test("a database that is open elsewhere is refused by name", async (t) => {
  const fixture = await boltFixture(t);
  await assert.rejects(openBolt(fixture.doors, PATH), { code: "BOLT_LOCKED", path: PATH });
  await assert.rejects(openBolt(fixture.doors, PATH, { readOnly: true }), { code: "BOLT_LOCKED" });
});

test("two may read a file at once, and neither may write", async (t) => {
  const fixture = await boltFixture(t);
  await fixture.db.close();
  const one = await openBolt(fixture.doors, PATH, { readOnly: true });
  const two = await openBolt(fixture.doors, PATH, { readOnly: true });
  assert.throws(() => one.beginWrite(), { code: "BOLT_READ_ONLY" });
  await assert.rejects(openBolt(fixture.doors, PATH), { code: "BOLT_LOCKED" });
  await one.close();
  await two.close();
});

test("wrong requests are refused by name and change nothing", async (t) => {
  const { db } = await boltFixture(t);
  await put(db, "a", "1");
  const write = db.beginWrite();
  const bucket = write.bucket(bytesOf("key"))!;
  assert.throws(() => db.beginWrite(), { code: "BOLT_WRITE_OPEN" });
  assert.throws(() => bucket.put(new Uint8Array(0), bytesOf("1")), { code: "BOLT_KEY_EMPTY" });
  assert.throws(() => bucket.put(new Uint8Array(32_769), bytesOf("1")), { code: "BOLT_KEY_TOO_LARGE" });
  assert.throws(() => write.createBucket(bytesOf("key")), { code: "BOLT_BUCKET_EXISTS" });
  assert.throws(() => write.deleteBucket(bytesOf("no")), { code: "BOLT_BUCKET_NOT_FOUND" });
  assert.throws(() => bucket.createBucket(bytesOf("a")), { code: "BOLT_INCOMPATIBLE_VALUE" });
  assert.throws(() => bucket.deleteBucket(bytesOf("a")), { code: "BOLT_INCOMPATIBLE_VALUE" });
  const nested = bucket.createBucket(bytesOf("nested"));
  assert.throws(() => bucket.put(bytesOf("nested"), bytesOf("1")), { code: "BOLT_INCOMPATIBLE_VALUE" });
  assert.throws(() => bucket.delete(bytesOf("nested")), { code: "BOLT_INCOMPATIBLE_VALUE" });
  bucket.deleteBucket(bytesOf("nested"));
  assert.throws(() => nested.get(bytesOf("a")), { code: "BOLT_BUCKET_NOT_FOUND" });
  write.rollback();
  assert.throws(() => bucket.get(bytesOf("a")), { code: "BOLT_CLOSED" });
  const read = db.beginRead();
  assert.throws(() => read.bucket(bytesOf("key"))!.put(bytesOf("a"), bytesOf("2")), { code: "BOLT_READ_ONLY" });
  read.end();
  assert.throws(() => read.bucket(bytesOf("key")), { code: "BOLT_CLOSED" });
});

test("keys that exist and keys that do not are told apart in a bucket of every depth", async (t) => {
  const { db } = await boltFixture(t, { pageSize: 1024 });
  for (const count of [1, 30, 2000, 40_000]) {
    const write = db.beginWrite();
    const bucket = write.createBucket(bytesOf(`n${count}`));
    for (let i = 0; i < count; i++) bucket.put(bytesOf(`k${String(i * 2).padStart(9, "0")}`), bytesOf(String(i)));
    await write.commit();
    const read = db.beginRead();
    const again = read.bucket(bytesOf(`n${count}`))!;
    for (let i = 0; i < count; i += Math.ceil(count / 500)) {
      assert.deepEqual(again.get(bytesOf(`k${String(i * 2).padStart(9, "0")}`)), bytesOf(String(i)));
      assert.equal(again.get(bytesOf(`k${String(i * 2 + 1).padStart(9, "0")}`)), undefined);
    }
    read.end();
  }
});

test("what is asked for near the last key is what is asked for anywhere", async (t) => {
  const { db } = await boltFixture(t, { pageSize: 1024 });
  const key = (i: number): Uint8Array => bytesOf(`k${String(i).padStart(6, "0")}`);
  const write = db.beginWrite();
  const bucket = write.createBucket(bytesOf("key"));
  for (let i = 0; i < 3000; i += 2) bucket.put(key(i), bytesOf(String(i)));
  bucket.createBucket(key(501));
  await write.commit();
  const change = db.beginWrite();
  const changed = change.bucket(bytesOf("key"))!;
  const step = fc.oneof({ weight: 8, arbitrary: fc.constantFrom(0, 1, 2, 4) }, fc.integer({ min: -3000, max: 3000 }));
  const act = fc.constantFrom("look", "look", "look", "look", "put", "delete");
  fc.assert(
    fc.property(fc.array(fc.tuple(step, act), { maxLength: 200 }), (steps) => {
      let at = 0;
      for (const [by, what] of steps) {
        at = (at + by + 3000) % 3000;
        if (what === "put" && at !== 501) changed.put(key(at), bytesOf(`put ${at}`));
        if (what === "delete" && at !== 501) changed.delete(key(at));
        assert.deepEqual(changed.getNear(key(at)), changed.get(key(at)));
      }
    }),
    { numRuns: 100 },
  );
  await change.commit();
});

test("a key whose value never changes is found where it was, wherever it went", async (t) => {
  const { db } = await boltFixture(t, { pageSize: 1024 });
  const key = (i: number): Uint8Array => bytesOf(`k${String(i).padStart(6, "0")}`);
  const value = (name: string, i: number): Uint8Array => bytesOf(`${name} ${i}`);
  /** Both buckets hold the same keys with other values; in the second one keys share their numbers. */
  const buckets: readonly { name: string; numberOf: (i: number) => number; hints: PlaceHints }[] = [
    { name: "key", numberOf: (i) => i * 7, hints: new PlaceHints() },
    { name: "twin", numberOf: (i) => i % 64, hints: new PlaceHints() },
  ];
  let change = db.beginWrite();
  for (const { name } of buckets) change.createBucket(bytesOf(name));
  const present = new Set<number>();
  const act = fc.constantFrom("look", "look", "look", "put", "put", "delete", "commit");
  const acts = fc.array(fc.tuple(fc.nat(400), act), { minLength: 50, maxLength: 150 });
  for (const steps of fc.sample(acts, 30)) {
    await change.commit();
    const old = db.beginRead();
    const seen = new Set(present);
    change = db.beginWrite();
    for (const [at, what] of steps) {
      for (const { name } of buckets) {
        const bucket = change.bucket(bytesOf(name))!;
        if (what === "put") bucket.put(key(at), value(name, at));
        if (what === "delete") bucket.delete(key(at));
      }
      if (what === "put") present.add(at);
      if (what === "delete") present.delete(at);
      if (what === "commit") {
        await change.commit();
        change = db.beginWrite();
      }
      for (const { name, numberOf, hints } of buckets) {
        const find = (transaction: typeof old | typeof change): Uint8Array | undefined =>
          transaction.bucket(bytesOf(name))!.getUnchanging(key(at), numberOf(at), hints);
        if (present.has(at)) assert.deepEqual(find(change), value(name, at));
        if (seen.has(at)) assert.deepEqual(find(old), value(name, at));
      }
    }
    old.end();
  }
  await change.commit();
});

test("a free list of more than 65,534 pages is written and read", async (t) => {
  const fixture = await boltFixture(t, { pageSize: 1024 });
  await put(fixture.db, "a", "x".repeat(70_000_000));
  await put(fixture.db, "a", "1");
  await put(fixture.db, "b", "1");
  const db = await fixture.reopen();
  assert.ok(db.stats().freePages > 65_535, `${db.stats().freePages} free pages`);
  assert.deepEqual(await db.check(), []);
});

test("values up to several pages keep their bytes when their neighbours change", async (t) => {
  const fixture = await boltFixture(t);
  const sizes = [0, 1, 4000, 4040, 4047, 4048, 4049, 4056, 4064, 4065, 4080, 8000, 8150, 8176, 1_500_000];
  for (const size of sizes) await put(fixture.db, `k${size}`, "v".repeat(size));
  const db = await fixture.reopen();
  for (const size of sizes) {
    assert.equal(
      db
        .beginRead()
        .bucket(bytesOf("key"))!
        .get(bytesOf(`k${size}`))?.length,
      size,
    );
  }
  assert.deepEqual(await db.check(), []);
});

test("four values of 4 KiB share five pages, and leave when the next commit is durable", async (t) => {
  const fixture = await boltFixture(t);
  const key = (i: number): Uint8Array => bytesOf(String(i).padStart(6, "0"));
  const value = (i: number): Uint8Array => new Uint8Array(4150).fill(i % 251);
  const write = fixture.db.beginWrite();
  const bucket = write.createBucket(bytesOf("key"));
  bucket.fillPercent = 0.9;
  for (let i = 0; i < 400; i++) bucket.put(key(i), value(i));
  await write.commit();
  assert.ok(fixture.db.stats().pages < 520, `${fixture.db.stats().pages} pages for 400 values`);
  const before = fixture.db.beginRead();
  const held = before.bucket(bytesOf("key"))!.get(key(7))!;
  assert.ok(fixture.db.stats().cachedBytes > 400 * 4096);
  await put(fixture.db, "z", "");
  assert.ok(fixture.db.stats().cachedBytes < 20 * 4096, `${fixture.db.stats().cachedBytes} bytes stay in memory`);
  const after = fixture.db.beginRead();
  for (const read of [before, after]) {
    for (let i = 0; i < 400; i++) assert.deepEqual(read.bucket(bytesOf("key"))!.get(key(i)), value(i));
    read.end();
  }
  assert.deepEqual(held, value(7), "a view stays right for as long as it is held");
});

test("a leaf is split by its own room when its large values go to the other side", () => {
  const sizes = [...Array.from({ length: 60 }, () => 100), 60_000, 60_000, ...Array.from({ length: 9 }, () => 4000)];
  const node = Node.emptyLeaf();
  for (const [i, size] of sizes.entries()) node.append(bytesOf(String(i).padStart(3, "0")), new Uint8Array(size));
  const pieces = [node, ...node.split(4096, 0.9)];
  assert.deepEqual(
    pieces.flatMap((piece) => piece.values.map((value) => value.length)),
    sizes,
  );
  for (const piece of pieces) assert.ok(!piece.isTooLarge(4096), `${piece.count} elements in ${piece.size} bytes`);
  assert.deepEqual(
    pieces.map((piece) => piece.count),
    [30, 30, 1, 1, 5, 4],
  );
});

test("a cursor goes on from where it was when its key is deleted", async (t) => {
  const { db } = await boltFixture(t);
  const write = db.beginWrite();
  const bucket = write.createBucket(bytesOf("key"));
  for (const key of ["a", "b", "c", "d"]) bucket.put(bytesOf(key), bytesOf("1"));
  const cursor = bucket.cursor();
  assert.ok(cursor.seek(bytesOf("b")));
  cursor.delete();
  assert.throws(() => cursor.value, { code: "BOLT_OUT_OF_RANGE" });
  assert.ok(cursor.next());
  assert.deepEqual(cursor.key, bytesOf("c"));
  assert.ok(cursor.prev());
  assert.deepEqual(cursor.key, bytesOf("a"));
  assert.ok(!cursor.prev());
  assert.ok(!cursor.valid);
  await write.commit();
});

test("a range visits the keys from its first bound to before its last, until told to stop", async (t) => {
  const { db } = await boltFixture(t);
  const write = db.beginWrite();
  const bucket = write.createBucket(bytesOf("key"));
  for (let i = 0; i < 500; i++) bucket.put(bytesOf(`k${String(i).padStart(4, "0")}`), bytesOf("v".repeat(50)));
  const seen: string[] = [];
  bucket.forEach(bytesOf("k0100"), bytesOf("k0103"), (key) => void seen.push(Buffer.from(key).toString()));
  assert.deepEqual(seen, ["k0100", "k0101", "k0102"]);
  let count = 0;
  bucket.forEach(undefined, undefined, () => ++count < 7);
  assert.equal(count, 7);
  await write.commit();
});

test("a walk in place sees what a walk with views sees, in pages and in nodes that are not written yet", async (t) => {
  const fixture = await boltFixture(t);
  let write = fixture.db.beginWrite();
  const put = (key: number, size: number): void =>
    write.bucket(bytesOf("key"))!.put(bytesOf(`k${10_000 + key}`), new Uint8Array(size).fill(key));
  write.createBucket(bytesOf("key")).createBucket(bytesOf("k10007n"));
  for (let i = 0; i < 2_000; i++) put(i * 2, i % 50 === 0 ? 9_000 : 40);
  const compare = (bucket: Bucket, from: Uint8Array, limit: number): void => {
    const pair = (key: Uint8Array, value: Uint8Array): string =>
      `${Buffer.from(key).toString()} ${value.length} ${value[0]} ${value.at(-1)}`;
    const expected: string[] = [];
    bucket.forEach(from, undefined, (key, value) => expected.push(pair(key, value)) < limit);
    const seen: string[] = [];
    bucket.forEachInPlace(from, (key, keyStart, keyEnd, value, valueStart, valueEnd) => {
      const views = [key.subarray(keyStart, keyEnd), value.subarray(valueStart, valueEnd)] as const;
      return seen.push(pair(...views)) < limit;
    });
    assert.deepEqual(seen, expected);
  };
  const compareAll = (): void => {
    const bucket = write.bucket(bytesOf("key"))!;
    for (const [from, limit] of [
      ["", Infinity],
      ["k10007", 1],
      ["k10007", 2],
      ["k11001", 700],
      ["k12345", Infinity],
      ["k99999", Infinity],
    ] as const) {
      compare(bucket, bytesOf(from), limit);
    }
  };
  compareAll();
  await write.commit();
  await fixture.reopen();
  write = fixture.db.beginWrite();
  compareAll();
  for (let i = 300; i < 500; i++) put(i * 2 + 1, 40);
  compareAll();
  await write.commit();
});

test("the file grows by bbolt's rule", async (t) => {
  const fixture = await boltFixture(t);
  await put(fixture.db, "a", "1");
  assert.equal(fixture.db.stats().fileBytes, 32_768);
  await put(fixture.db, "b", "x".repeat(30_000));
  assert.equal(fixture.db.stats().fileBytes, 131_072);
  const etcd = await openBolt(fixture.doors, "/data/etcd", { initialMapBytes: 10 * 2 ** 30 });
  await put(etcd, "a", "1");
  assert.equal(etcd.stats().fileBytes, 16 * 2 ** 20 + (etcd.stats().pages + 1) * 4096);
  await etcd.close();
});

test("no file that is not a whole database opens, and each is refused by name", async () => {
  const disk = new SimDisk();
  const doors = { disk, clock: new SimClock(), log: silentLog };
  const refused = async (bytes: Uint8Array, code: string): Promise<void> => {
    disk.writeAll(PATH, bytes);
    await assert.rejects(openBolt(doors, PATH, { readOnly: true }), { code });
    await assert.rejects(openBolt(doors, PATH), { code });
    assert.equal((await checkBolt(doors, PATH))[0]?.code, code);
    assert.deepEqual(disk.readAll(PATH), bytes);
  };
  const db = await openBolt(doors, PATH);
  await put(db, "a", "x".repeat(9000));
  await db.close();
  const whole = disk.readAll(PATH);
  await refused(new Uint8Array(40), "BOLT_TRUNCATED");
  await refused(new Uint8Array(32_768), "BOLT_INVALID_META");
  await refused(whole.slice(0, 3 * 4096), "BOLT_TRUNCATED");
  const changed = (at: number, value: number): Uint8Array => {
    const bytes = whole.slice();
    bytes[at] = value;
    bytes[at + 4096] = value;
    return bytes;
  };
  await refused(changed(20, 3), "BOLT_VERSION");
  await refused(changed(32, 200), "BOLT_CHECKSUM");
  assert.deepEqual(disk.openHandles(), []);
});

/** One commit of one key in the bucket `key`. */
function put(db: BoltDatabase, key: string, value: string): Promise<void> {
  const write = db.beginWrite();
  write.createBucketIfNotExists(bytesOf("key")).put(bytesOf(key), new TextEncoder().encode(value));
  return write.commit();
}

test("when the newest meta page is torn the state before it is read, told, and the next commit heals the page", async (t) => {
  const fixture = await boltFixture(t);
  await put(fixture.db, "a", "1");
  await put(fixture.db, "a", "2");
  const newest = fixture.db.stats().txid;
  await fixture.db.close();
  fixture.disk.file(PATH).flipBit(((newest % 2) * 4096 + 64) * 8);
  const report = await checkBolt(fixture.doors, PATH);
  assert.equal(report[0]?.code, "BOLT_CHECKSUM");
  const db = await fixture.open();
  assert.equal(db.damagedMeta?.code, "BOLT_CHECKSUM");
  assert.equal(db.stats().txid, newest - 1);
  assert.deepEqual(db.beginRead().bucket(bytesOf("key"))!.get(bytesOf("a")), bytesOf("1"));
  await put(db, "a", "3");
  const again = await fixture.reopen();
  assert.equal(again.damagedMeta, undefined);
  assert.deepEqual(again.beginRead().bucket(bytesOf("key"))!.get(bytesOf("a")), bytesOf("3"));
});

test("what a killed process wrote and did not sync is durable before anybody relies on it", async () => {
  let syncsLeft = Number.POSITIVE_INFINITY;
  const stuck = (): Promise<void> => new Promise(() => undefined);
  const disk = new SimDisk({ pace: (kind) => (kind === "datasync" && --syncsLeft < 0 ? stuck() : undefined) });
  const clock = new SimClock();
  const db = await openBolt({ disk, clock, log: silentLog }, PATH);
  const first = db.beginWrite();
  first.createBucket(bytesOf("key")).put(bytesOf("a"), bytesOf("old"));
  await first.commit();
  syncsLeft = 1; // the pages are synced, the meta page is written and waits for its sync
  const second = db.beginWrite();
  second.bucket(bytesOf("key"))!.put(bytesOf("a"), bytesOf("new"));
  void second.commit();
  await settle();
  const afterKill = disk.kill();
  syncsLeft = Number.POSITIVE_INFINITY;
  assert.equal(await valueOfA(afterKill, clock), "new");
  assert.equal(await valueOfA(afterKill.crash({ mode: "lost", random: new SimRandom(1) }), clock), "new");
});

test("a meta page whose sync failed is made durable by whoever takes it for the newest", async () => {
  let seen = 0;
  for (let seed = 0; seed < 40; seed++) {
    const disk = new SimDisk({ seed });
    const clock = new SimClock();
    const db = await openBolt({ disk, clock, log: silentLog }, PATH);
    const put = (value: string): Promise<void> => {
      const write = db.beginWrite();
      write.createBucketIfNotExists(bytesOf("key")).put(bytesOf("a"), bytesOf(value));
      return write.commit();
    };
    await put("old");
    disk.fail({ kinds: ["datasync"], nth: 2, code: "DISK_IO", afterwards: "new" });
    await assert.rejects(put("new"), { code: "BOLT_POISONED" });
    await db.close();
    const afterKill = disk.kill();
    const told = await valueOfA(afterKill, clock);
    if (told === "new") seen++;
    const crashed = afterKill.crash({ mode: "lost", random: new SimRandom(seed) });
    assert.equal(await valueOfA(crashed, clock), told, `seed ${seed}`);
  }
  assert.ok(seen > 0, "a state that only the cache held was read");
});

async function valueOfA(disk: SimDisk, clock: SimClock): Promise<string> {
  const db = await openBolt({ disk, clock, log: silentLog }, PATH);
  await db.makeDurable();
  const read = db.beginRead();
  const value = read.bucket(bytesOf("key"))!.get(bytesOf("a"))!;
  read.end();
  await db.close();
  return new TextDecoder().decode(value);
}

test("a walk sees what was committed since the walk before, and its pages do not stay in memory", async (t) => {
  const fixture = await boltFixture(t, { pageSize: 1024 });
  const key = (i: number): Uint8Array => bytesOf(String(i).padStart(6, "0"));
  const write = fixture.db.beginWrite();
  for (let i = 0; i < 5000; i++) write.createBucketIfNotExists(bytesOf("key")).put(key(i), bytesOf(`value ${i}`));
  await write.commit();
  const db = await fixture.reopen({ cacheBytes: 20 * 1024 });
  const walk = (): string[] => {
    const read = db.beginRead();
    const values: string[] = [];
    read.bucket(bytesOf("key"))!.forEach(undefined, undefined, (_, value) => {
      values.push(String.fromCharCode(...value));
    });
    read.end();
    return values;
  };
  const expected = Array.from({ length: 5000 }, (_, i) => `value ${i}`);
  assert.deepEqual(walk(), expected);
  assert.ok(db.stats().cacheMisses > 100, "a walk reads pages from the file");
  assert.ok(db.stats().cachedBytes <= 2 * 1024, "but for the root they are gone");
  for (let round = 0; round < 20; round++) {
    const change = db.beginWrite();
    for (let i = round; i < 5000; i += 37 + round) {
      change.bucket(bytesOf("key"))!.put(key(i), bytesOf(`round ${round}`));
      expected[i] = `round ${round}`;
    }
    const landed = change.commit();
    assert.deepEqual(walk(), expected, "while the pages are on their way to the disk");
    await landed;
    assert.deepEqual(walk(), expected);
  }
});
