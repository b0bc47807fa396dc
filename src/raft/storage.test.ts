import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvariantError } from "../base/errors.js";
import type { RaftErrorCode } from "./errors.js";
import { MemoryStorage } from "./storage.js";
import { confState, entriesOf, snapshotAt, termsOf } from "./testing/messages.js";

const ALL = Number.POSITIVE_INFINITY;

function throwsCode(code: RaftErrorCode, body: () => unknown): void {
  assert.throws(body, { name: "RaftError", code });
}

/** Snapshot at 3, entries 4 to 6. */
function storageFrom3(): MemoryStorage {
  const storage = new MemoryStorage();
  storage.applySnapshot(snapshotAt(3, 3));
  storage.append(entriesOf([4, 5, 6], 4));
  return storage;
}

test("an empty storage starts before index 1", () => {
  const storage = new MemoryStorage();
  assert.equal(storage.firstIndex(), 1);
  assert.equal(storage.lastIndex(), 0);
  assert.equal(storage.term(0), 0);
  assert.deepEqual(storage.initialState().hardState, { term: 0, vote: 0n, commit: 0 });
});

test("terms are known from the one before the first entry on", () => {
  const storage = storageFrom3();
  throwsCode("RAFT_COMPACTED", () => storage.term(2));
  assert.deepEqual(
    [3, 4, 5, 6].map((index) => storage.term(index)),
    [3, 4, 5, 6],
  );
  throwsCode("RAFT_UNAVAILABLE", () => storage.term(7));
});

test("entries outside the log are refused by name", () => {
  const storage = storageFrom3();
  throwsCode("RAFT_COMPACTED", () => storage.entries(3, 5, ALL));
  throwsCode("RAFT_UNAVAILABLE", () => storage.entries(4, 8, ALL));
  assert.deepEqual(termsOf(storage.entries(4, 7, ALL)), [4, 5, 6]);
  assert.deepEqual(termsOf(storage.entries(4, 7, 0)), [4]);
});

test("an append replaces what is there from its first index on", () => {
  for (const [first, terms, expected] of [
    [7, [7], [4, 5, 6, 7]],
    [6, [8, 8], [4, 5, 8, 8]],
    [4, [9], [9]],
    [2, [1, 1, 9, 9], [9, 9]], // its head is compacted
    [2, [1, 1], [4, 5, 6]], // all of it is
  ] as const) {
    const storage = storageFrom3();
    storage.append(entriesOf(terms, first));
    assert.deepEqual(termsOf(storage.entries(4, storage.lastIndex() + 1, ALL)), expected);
  }
});

test("an append that leaves a hole is a bug", () => {
  assert.throws(() => storageFrom3().append(entriesOf([8], 8)), InvariantError);
});

test("compaction keeps the term before the first entry, and is refused twice", () => {
  const storage = storageFrom3();
  storage.compact(5);
  assert.equal(storage.firstIndex(), 6);
  assert.equal(storage.term(5), 5);
  throwsCode("RAFT_COMPACTED", () => storage.compact(5));
  storage.compact(6);
  assert.equal(storage.lastIndex(), 6);
  assert.throws(() => storage.compact(7), InvariantError);
});

test("a snapshot replaces the log; one that is not newer is refused", () => {
  const storage = storageFrom3();
  throwsCode("RAFT_SNAPSHOT_OUT_OF_DATE", () => storage.applySnapshot(snapshotAt(3, 3)));
  storage.applySnapshot(snapshotAt(10, 7, [1n]));
  assert.equal(storage.firstIndex(), 11);
  assert.equal(storage.lastIndex(), 10);
  assert.equal(storage.term(10), 7);
  assert.deepEqual(storage.initialState().confState, confState([1n]));
});

test("a snapshot is made of an entry in the log, with the configuration given or the one before", () => {
  const storage = storageFrom3();
  throwsCode("RAFT_SNAPSHOT_OUT_OF_DATE", () => storage.createSnapshot(3));
  assert.deepEqual(storage.createSnapshot(4).metadata, { index: 4, term: 4, confState: confState([1n, 2n, 3n]) });
  assert.deepEqual(storage.createSnapshot(6, confState([9n])).metadata.confState, confState([9n]));
  assert.equal(storage.firstIndex(), 4, "the log stays");
  assert.throws(() => storage.createSnapshot(7), InvariantError);
});

test("appends and compactions in any order keep the log whole", () => {
  const step = fc.oneof(
    fc.record({ back: fc.nat({ max: 5 }), count: fc.integer({ min: 1, max: 8 }) }),
    fc.record({ keep: fc.nat({ max: 20 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const storage = new MemoryStorage();
      const twin = new Map<number, number>();
      let term = 1;
      for (const one of steps) {
        if ("keep" in one) {
          const index = storage.lastIndex() - one.keep;
          if (index >= storage.firstIndex()) storage.compact(index);
          continue;
        }
        term++;
        const first = Math.max(storage.firstIndex(), storage.lastIndex() + 1 - one.back);
        storage.append(
          entriesOf(
            Array.from({ length: one.count }, () => term),
            first,
          ),
        );
        for (let at = 0; at < one.count; at++) twin.set(first + at, term);
        assert.equal(storage.lastIndex(), first + one.count - 1);
        for (let index = storage.firstIndex(); index <= storage.lastIndex(); index++) {
          assert.equal(storage.term(index), twin.get(index));
        }
      }
    }),
  );
});
