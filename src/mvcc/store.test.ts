import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { crc32c } from "../base/crc32c.js";
import { bytesFromLatin1, latin1FromBytes } from "../base/text.js";
import { decodeKeyValue, encodeKeyValue } from "../proto/fast/key-value.js";
import type { BoltEngine } from "./bolt-door.js";
import type { FinishedCompaction } from "./compaction.js";
import type { LeaseAttacher } from "./leases.js";
import { isTombstoneKey, mainOf, revisionBytes, subOf } from "./revision.js";
import { makeBoltEngine } from "./bolt-engine.js";
import type { KeySpan } from "./key-index.js";
import { ALL, one, showKeyValue, StoreFixture, storeFixture } from "./testing/fixture.js";
import { History } from "./testing/history.js";
import { MemoryBolt } from "./testing/memory-bolt.js";
import type { Change, Observer } from "./store.js";

test("a put is read at its revision and not before; versions and create revisions are etcd's", async (t) => {
  const s = await storeFixture(t);
  assert.equal(s.store.revision, 1);
  assert.equal(s.put("a", "1"), 2);
  assert.equal(s.put("b", "2"), 3);
  assert.equal(s.put("a", "3"), 4);
  assert.deepEqual(s.show(), ["a=3 2/4/2", "b=2 3/3/1"]);
  assert.deepEqual(s.show(one("a"), 3), ["a=1 2/2/1"]);
  assert.deepEqual(s.show(ALL, 1), []);
  assert.equal(s.delete("a"), 1);
  assert.deepEqual(s.show(), ["b=2 3/3/1"]);
  assert.equal(s.put("a", "4"), 6);
  assert.deepEqual(s.show(one("a")), ["a=4 6/6/1"]);
  assert.equal(s.store.keyCount, 2);
});

test("one key's pair is found as db holds it, and is what a range answers", async (t) => {
  const s = await storeFixture(t, { engine: makeBoltEngine() });
  assert.equal(s.store.putAlone(bytesFromLatin1("a"), bytesFromLatin1("1"), 0n), 2);
  assert.equal(s.store.putAlone(bytesFromLatin1("a"), bytesFromLatin1("x".repeat(10_000)), 0n), 3);
  for (const when of ["before the commit", "after it", "after a restart"]) {
    const stored = s.store.find(bytesFromLatin1("a"));
    assert.deepEqual([decodeKeyValue(stored!)], s.store.range(one("a")).kvs, when);
    assert.equal(s.store.find(bytesFromLatin1("b")), undefined);
    if (when === "before the commit") await s.during(s.backend.commitNow());
    else await s.restart();
  }
  s.delete("a");
  assert.equal(s.store.find(bytesFromLatin1("a")), undefined);
});

test("a span's pairs are found as db holds them, and are what a range answers", async (t) => {
  const s = await storeFixture(t, { engine: makeBoltEngine() });
  const keys = Array.from({ length: 60 }, (_, i) => `key-${String((i * 37) % 60).padStart(2, "0")}`);
  const spans: KeySpan[] = [
    { key: "key-05", end: "key-31" },
    { key: "key-30", end: "" },
    { key: "a", end: "b" },
    { key: "key-31", end: "key-05" },
    { key: "key-07", end: undefined },
  ];
  const check = (when: string): void => {
    for (const [span, limit] of spans.flatMap((span) => [0, 1, 7, 100].map((limit) => [span, limit] as const))) {
      const found = s.store.pairs(span, limit)!;
      const { kvs, count } = s.store.range(span, { limit });
      assert.deepEqual([found.pairs.map((pair) => decodeKeyValue(pair)), found.count], [kvs, count], when);
    }
    for (const key of keys) {
      const [kv] = s.store.range(one(key)).kvs;
      const { createRevision, modRevision, version } = kv ?? {};
      assert.deepEqual(s.store.stampOf(bytesFromLatin1(key)), kv && { createRevision, modRevision, version }, when);
    }
  };
  for (const round of ["first", "second", "third"]) {
    for (const [i, key] of keys.entries()) {
      s.put(key, `${round} `.repeat(40));
      if (i % 13 === 0) check(`${round} round, ${i} puts`);
    }
    s.delete("key-12");
    check(`${round} round, before the commit`);
    await s.during(s.backend.commitNow());
    check(`${round} round, after it`);
    await s.restart();
    check(`${round} round, after a restart`);
  }
  const long = "l".repeat(200);
  s.put(long, "long");
  assert.equal(s.store.pairs({ key: "l", end: "m" }, 0)!.pairs.length, 1);
});

test("a span that holds too much is not read at once", async (t) => {
  const s = await storeFixture(t);
  for (let i = 0; i < 2001; i++) s.put(`many-${i}`, "x");
  assert.equal(s.store.pairs({ key: "many", end: "n" }, 0), undefined);
  assert.equal(s.store.pairs({ key: "many", end: "n" }, 2000)!.pairs.length, 2000);
  for (let i = 0; i < 3; i++) s.put(`large-${i}`, "x".repeat(400_000));
  assert.equal(s.store.pairs({ key: "large", end: "m" }, 0), undefined);
  assert.deepEqual(s.store.pairs({ key: "large", end: "m" }, 2)!.count, 3);
});

test("a pair that lies where another key's should be is not given out", async (t) => {
  const s = await storeFixture(t);
  const revision = s.put("a", "1");
  const stranger = { ...s.store.range(one("a")).kvs[0]!, key: bytesFromLatin1("b") };
  s.backend.put("key", revisionBytes(revision, 0), encodeKeyValue(stranger));
  assert.throws(() => s.store.find(bytesFromLatin1("a")), { code: "MVCC_CORRUPT" });
  assert.throws(() => s.store.pairs({ key: "a", end: "b" }, 0), { code: "MVCC_CORRUPT" });
});

test("changes of one transaction share a revision; it reads its own writes", async (t) => {
  const s = await storeFixture(t);
  s.put("old", "x");
  const txn = s.store.write();
  assert.equal(txn.put(bytesFromLatin1("a"), bytesFromLatin1("1"), 0n), 3);
  assert.equal(txn.range(one("a")).revision, 3);
  assert.equal(txn.put(bytesFromLatin1("b"), bytesFromLatin1("2"), 0n), 3);
  assert.deepEqual(txn.deleteRange(one("old")), { deleted: 1, revision: 3 });
  assert.deepEqual(txn.range(ALL).kvs.map(showKeyValue), ["a=1 3/3/1", "b=2 3/3/1"]);
  assert.equal(txn.end(), 3);
  assert.deepEqual(rowsOf(s), ["2/0 old", "3/0 a", "3/1 b", "3/2t old"]);
});

test("a transaction that changes nothing uses no revision", async (t) => {
  const s = await storeFixture(t);
  s.put("a");
  const txn = s.store.write();
  assert.deepEqual(txn.deleteRange({ key: "x", end: "z" }), { deleted: 0, revision: 2 });
  assert.equal(txn.end(), 2);
  assert.equal(s.store.revision, 2);
});

test("a range counts what its limit cuts off, now and at an older revision", async (t) => {
  const s = await storeFixture(t);
  for (let i = 0; i < 20; i++) s.put(`k${i.toString().padStart(2, "0")}`, String(i));
  s.delete("k05", "k10");
  const span = { key: "k02", end: "k18" };
  assert.deepEqual(count(s.store.range(span, { limit: 3 })), [3, 11]);
  assert.deepEqual(count(s.store.range(span, { limit: 3, revision: 21 })), [3, 16]);
  assert.deepEqual(count(s.store.range(span, { countOnly: true })), [0, 11]);
  assert.deepEqual(count(s.store.range({ key: "k10", end: "" }, {})), [10, 10]);
  assert.deepEqual(count(s.store.range({ key: "k10", end: "k10" }, {})), [0, 0]);
});

function count({ kvs, count }: { readonly kvs: readonly unknown[]; readonly count: number }): [number, number] {
  return [kvs.length, count];
}

test("a large range is read in slices: the state at the call, whatever is written or compacted meanwhile", async (t) => {
  const s = await storeFixture(t);
  for (let i = 0; i < 2_000; i++) s.put(`k${i.toString().padStart(4, "0")}`, String(i));
  s.delete("k0100", "k0200");
  const expected = s.show();
  let now = 0;
  let turns = 0;
  s.clock.now = () => (now += 10); // every look at the clock says that the slice was long
  s.clock.yield = async () => {
    await Promise.resolve();
    s.put(`k${(turns * 7).toString().padStart(4, "0")}x`, "new");
    s.put("k1999", `changed ${turns}`);
    s.delete(`k1${(500 + turns++).toString()}`);
  };
  const { revision } = s.store;
  const asked = [
    {},
    { limit: 700 },
    { limit: 3 },
    { countOnly: true },
    { revision: 2_001 },
    { revision: 2_001, limit: 600 },
  ];
  const reads = asked.map((options) => s.store.rangeInSlices(ALL, options));
  const compacted = s.store.compact(revision);
  s.put("k0000", "overwritten");
  const results = await Promise.all(reads);
  await s.during(compacted.finished);
  assert.ok(turns > 3, "writes came in between");
  assert.deepEqual(results.map(count), [
    [1_900, 1_900],
    [700, 1_900],
    [3, 1_900],
    [0, 1_900],
    [2_000, 2_000],
    [600, 2_000],
  ]);
  for (const result of results) assert.equal(result.revision, revision);
  assert.deepEqual(results[0]!.kvs.map(showKeyValue), expected);
  assert.deepEqual(results[1]!.kvs.map(showKeyValue), expected.slice(0, 700));
  await assert.rejects(s.store.rangeInSlices(ALL, { revision: 5 }), { code: "MVCC_COMPACTED" });
});

test("revisions of the future and of the compacted past are refused", async (t) => {
  const s = await storeFixture(t);
  for (let i = 0; i < 5; i++) s.put("a", String(i));
  assert.throws(() => s.store.range(one("a"), { revision: 7 }), { code: "MVCC_FUTURE_REVISION" });
  assert.throws(() => s.store.compact(7), { code: "MVCC_FUTURE_REVISION" });
  await s.compact(4);
  assert.throws(() => s.store.range(one("a"), { revision: 3 }), { code: "MVCC_COMPACTED" });
  assert.deepEqual(s.show(one("a"), 4), ["a=2 2/4/3"]);
  assert.throws(() => s.store.compact(4), { code: "MVCC_COMPACTED" });
  await assert.rejects(s.store.hashKv(3), { code: "MVCC_COMPACTED" });
  await assert.rejects(s.store.hashKv(9), { code: "MVCC_FUTURE_REVISION" });
});

test("the end of a compaction is told, with how many revisions are gone", async (t) => {
  const told: FinishedCompaction[] = [];
  const s = await storeFixture(t, {
    store: { onCompacted: (compaction) => told.push(compaction), compactionBatchMax: 2 },
  });
  for (const value of ["1", "2", "3", "4"]) s.put("a", value);
  s.put("b", "1");
  s.delete("b");
  await s.compact(6);
  s.put("a", "5");
  await s.compact(8);
  const facts = told.map(({ revision, deleted }) => ({ revision, deleted }));
  // a's first three; then b, its tombstone, and a's fourth.
  assert.deepEqual(facts, [
    { revision: 6, deleted: 3 },
    { revision: 8, deleted: 3 },
  ]);
});

test("a compaction deletes what nobody can see, and keeps a tombstone at its own revision", async (t) => {
  const s = await storeFixture(t);
  s.put("a", "1");
  s.put("a", "2");
  s.delete("a");
  s.put("b", "1");
  s.delete("b");
  s.put("c", "1");
  await s.compact(6);
  assert.deepEqual(rowsOf(s), ["6/0t b", "7/0 c"]);
  await s.compact(7);
  assert.deepEqual(rowsOf(s), ["7/0 c"]);
});

test("the hash at a revision does not change while its compaction goes on, where nothing stays either", async (t) => {
  const s = await storeFixture(t, { store: { compactionBatchMax: 2 } });
  for (let i = 0; i < 9; i++) s.put("a", String(i));
  s.delete("a");
  const { finished } = s.store.compact(s.store.revision);
  const before = await s.during(s.store.hashKv(0));
  assert.ok(rowsOf(s).length > 1, "not everything is deleted yet");
  await s.during(finished);
  const after = await s.during(s.store.hashKv(0));
  assert.deepEqual(rowsOf(s), ["11/0t a"]);
  assert.deepEqual(after, before);
});

test("the hash at a revision that sees nothing covers what the last compaction left, as etcd's does", async (t) => {
  const s = await storeFixture(t, { store: { compactionBatchMax: 2 } });
  for (let i = 0; i < 9; i++) s.put("a", String(i));
  s.put("b");
  const { finished } = s.store.compact(s.store.revision);
  s.delete("a");
  s.delete("b");
  const before = await s.during(s.store.hashKv(0));
  await s.during(finished);
  let crc = crc32c(0, bytesFromLatin1("key"));
  s.backend.forEach("key", undefined, undefined, (key, value) => void (crc = crc32c(crc32c(crc, key), value)));
  assert.deepEqual(rowsOf(s), ["10/0 a", "11/0 b", "12/0t a", "13/0t b"]);
  assert.equal((await s.during(s.store.hashKv(0))).hash, crc);
  assert.equal(before.hash, crc);
});

test("a compaction that a stop cuts short is finished after the next start", async (t) => {
  const s = await storeFixture(t, { store: { compactionBatchMax: 10 } });
  for (let i = 0; i < 100; i++) s.put("a", String(i));
  const { finished } = s.store.compact(100);
  const outcome = assert.rejects(finished, { code: "MVCC_CLOSED" });
  await s.restart();
  await outcome;
  assert.ok(rowsOf(s).length > 10, "the first run was cut short");
  assert.equal(s.store.compactRevision, 100);
  await s.clock.run(1_000);
  assert.deepEqual(rowsOf(s), ["100/0 a", "101/0 a"]);
  assert.deepEqual(s.show(), ["a=99 2/101/100"]);
});

test("the revision does not fall back when a compaction deleted the newest ones", async (t) => {
  const s = await storeFixture(t);
  s.put("a");
  s.delete("a");
  s.put("b");
  s.delete("b");
  await s.compact(5);
  await s.restart();
  assert.equal(s.store.revision, 5);
  assert.equal(s.store.compactRevision, 5);
});

test("an observer hears of each transaction that changed something, once", async (t) => {
  const heard: string[] = [];
  const shown = ({ deleted, kv }: Change): string =>
    `${deleted ? "-" : "+"}${latin1FromBytes(kv.key)}@${kv.modRevision}`;
  const observer: Observer = {
    onPut: (kv) => heard.push(`one ${shown({ deleted: false, kv })}`),
    onTransaction: (revision, changes) => heard.push(`${revision}: ${changes.map(shown).join(" ")}`),
  };
  const s = await storeFixture(t, { store: { observer } });
  s.put("a");
  s.put("b");
  s.delete("x");
  s.delete("a", "c");
  s.store.putAlone(bytesFromLatin1("c"), bytesFromLatin1("1"), 0n);
  assert.deepEqual(heard, ["2: +a@2", "3: +b@3", "4: -a@4 -b@4", "one +c@5"]);
});

test("a key hangs on the lease of its last put, and is taken off by a put or a deletion", async (t) => {
  const hung = new Map<string, bigint>();
  const leases: LeaseAttacher = {
    has: (lease) => lease === 7n,
    get holdsKeys() {
      return hung.size > 0;
    },
    attach: (lease, key) => lease === 7n && hung.set(latin1FromBytes(key), lease).size > 0,
    detach: (key) => void hung.delete(latin1FromBytes(key)),
  };
  const s = await storeFixture(t, { store: { leases } });
  s.put("a", "1", 7n);
  s.put("b", "1", 7n);
  s.put("c", "1", 7n);
  s.put("a", "2");
  s.delete("b");
  assert.deepEqual([...hung], [["c", 7n]]);
  hung.clear();
  await s.restart();
  assert.deepEqual([...hung], [["c", 7n]]);
});

test("a value that does not decode is named, with its revision", async (t) => {
  const s = await storeFixture(t);
  s.put("a", "1");
  s.backend.put("key", s.backend.keys("key")[0]!, Uint8Array.of(0xff));
  await s.store.close();
  await s.backend.commitNow();
  await assert.rejects(s.open(), /MVCC_CORRUPT: .*db: revision 2\/0 does not decode/);
  s.backend.put("key", s.backend.keys("key")[0]!, bytesFromLatin1("\x0a\x01a\x10\x02\x18\x02\x20\x01"));
  await s.backend.commitNow();
  await s.open();
});

for (const [what, damage, expected] of [
  ["a row whose key is no revision", ["key", "short", ""], /a key of 5 bytes in the bucket key/],
  [
    "a put that claims another revision",
    ["key", "\0\0\0\0\0\0\0\x09_\0\0\0\0\0\0\0\0", "\x0a\x01a\x18\x08"],
    /of revision 8/,
  ],
  ["a mark that is no revision", ["meta", "finishedCompactRev", "x"], /the mark finishedCompactRev .* is no revision/],
] as const) {
  test(`${what} is refused by name`, async (t) => {
    const s = await storeFixture(t);
    const [bucket, key, value] = damage.map(bytesFromLatin1) as [Uint8Array, Uint8Array, Uint8Array];
    s.backend.put(latin1FromBytes(bucket), key, value);
    await s.backend.commitNow();
    await assert.rejects(s.open(), { code: "MVCC_CORRUPT", message: expected });
    s.backend.delete(latin1FromBytes(bucket), key);
    await s.backend.commitNow();
    await s.open();
  });
}

test("a row without a value raises the revision, is read by nobody, and outlives a compaction", async (t) => {
  const s = await storeFixture(t);
  const named = { ...ALL, key: "\0" }; // as requests name all keys: the row belongs to the key without bytes
  s.put("a", "1");
  s.backend.put("key", revisionBytes(1000, 0), new Uint8Array(0));
  s.backend.put("meta", bytesFromLatin1("scheduledCompactRev"), revisionBytes(1000, 0));
  await s.restart();
  assert.equal(s.store.revision, 1000);
  assert.deepEqual(s.show(named), ["a=1 2/2/1"]);
  assert.equal(s.put("b", "2"), 1001);
  await s.compact(1001);
  assert.deepEqual(rowsOf(s), ["2/0 a", "1000/0 ", "1001/0 b"]);
  await s.restart();
  assert.deepEqual(s.show(named), ["a=1 2/2/1", "b=2 1001/1001/1"]);
});

/** The rows of the bucket `key`: revision, mark, key. */
function rowsOf(s: StoreFixture): string[] {
  const rows: string[] = [];
  s.backend.forEach("key", undefined, undefined, (key, value) => {
    const name = latin1FromBytes(value.subarray(2, 2 + value[1]!));
    rows.push(`${mainOf(key)}/${subOf(key)}${isTombstoneKey(key) ? "t" : ""} ${name}`);
  });
  return rows;
}

const key = fc.constantFrom("a", "b", "c", "d", "e", "\xff\xfe");
const operation = fc.oneof(
  fc.record({ kind: fc.constant("put" as const), key, value: fc.string({ maxLength: 3, unit: "binary-ascii" }) }),
  fc.record({ kind: fc.constant("delete" as const), key, end: fc.option(key, { nil: undefined }) }),
);
const step = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({ kind: fc.constant("txn" as const), operations: fc.array(operation, { maxLength: 4 }) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("compact" as const), back: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.constant({ kind: "restart" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "time" as const }) },
);

const ENGINES = {
  "the twin of bolt": () => new MemoryBolt(),
  bolt: () => makeBoltEngine({ pageSize: 1024, initialMapBytes: 0 }),
};
const RUNS = Number(process.env["WALNUT_PROPERTY_RUNS"] ?? 100);

for (const [name, engine] of Object.entries(ENGINES)) {
  test(`after any work, compactions and restarts a store on ${name} answers as a table of all states does`, () =>
    proveLikeHistory(engine));
}

async function proveLikeHistory(engine: () => BoltEngine): Promise<void> {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const s = new StoreFixture({
        engine: engine(),
        store: { compactionBatchMax: 3 },
        backend: { batchWritesMax: 5 },
      });
      await s.open();
      const twin = new History();
      for (const step of steps) {
        if (step.kind === "restart") await s.restart();
        else if (step.kind === "time") await s.clock.run(200);
        else if (step.kind === "compact") compact(s, twin, twin.revision - step.back);
        else transaction(s, twin, step.operations);
      }
      compare(s, twin);
      await s.restart();
      await s.clock.run(1_000);
      compare(s, twin);
      await s.close();
    }),
    { numRuns: RUNS },
  );
}

function transaction(
  s: StoreFixture,
  twin: History,
  operations: readonly (
    { kind: "put"; key: string; value: string } | { kind: "delete"; key: string; end: string | undefined }
  )[],
): void {
  const txn = s.store.write();
  const touched = new Set<string>();
  twin.change((state, main) => {
    let changed = false;
    for (const operation of operations) {
      if (operation.kind === "put") {
        if (touched.has(operation.key)) continue; // etcd's API lets a transaction touch a key once
        touched.add(operation.key);
        txn.put(bytesFromLatin1(operation.key), bytesFromLatin1(operation.value), 0n);
        twin.put(state, operation.key, operation.value, main);
        changed = true;
        continue;
      }
      const { key, end } = operation;
      const hit = [...state.keys()].filter((name) => (end === undefined ? name === key : name >= key && name < end));
      if (hit.some((name) => touched.has(name))) continue;
      assert.equal(txn.deleteRange({ key, end }).deleted, hit.length);
      for (const name of hit) {
        state.delete(name);
        touched.add(name);
        changed = true;
      }
    }
    return changed;
  });
  txn.end();
}

/** Revision 0 is left out: a compaction there that a restart cuts short is forgotten, in etcd as well. */
function compact(s: StoreFixture, twin: History, wanted: number): void {
  const revision = Math.max(1, wanted);
  if (revision <= twin.compacted) {
    assert.throws(() => s.store.compact(revision), { code: "MVCC_COMPACTED" });
    return;
  }
  s.store.compact(revision).finished.catch(() => undefined); // a restart may cut it short
  twin.compacted = revision;
}

function compare(s: StoreFixture, twin: History): void {
  assert.equal(s.store.revision, twin.revision);
  for (let at = Math.max(1, twin.compacted); at <= twin.revision; at++) {
    assert.deepEqual(s.show(ALL, at), twin.shown(at), `at revision ${at}`);
    assert.equal(s.store.range(ALL, { revision: at, countOnly: true }).count, twin.shown(at).length);
  }
}
