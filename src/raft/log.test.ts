import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvariantError } from "../base/errors.js";
import { entrySize } from "../proto/raft.js";
import { RaftLog } from "./log.js";
import { SILENT_LOGGER } from "./logger.js";
import { MemoryStorage } from "./storage.js";
import { entriesOf, entry, snapshotAt, termsOf } from "./testing/messages.js";
import { Unstable } from "./unstable.js";

const ALL = Number.POSITIVE_INFINITY;

/** A log whose entries 1.. have these terms; the first `stable` of them are durable. */
function logOf(terms: readonly number[], stable = 0, maxApplyingBytes = ALL): { log: RaftLog; storage: MemoryStorage } {
  const storage = new MemoryStorage();
  storage.append(entriesOf(terms.slice(0, stable)));
  const log = new RaftLog(storage, SILENT_LOGGER, maxApplyingBytes);
  log.append(entriesOf(terms.slice(stable), stable + 1));
  return { log, storage };
}

function allTerms(log: RaftLog): number[] {
  return termsOf(log.entries(log.firstIndex(), ALL)!);
}

test("of two logs the one with the higher last term is newer, then the longer", () => {
  const { log } = logOf([1, 2, 2]);
  assert.ok(log.isUpToDate({ term: 3, index: 1 }));
  assert.ok(log.isUpToDate({ term: 2, index: 3 }));
  assert.ok(log.isUpToDate({ term: 2, index: 4 }));
  assert.ok(!log.isUpToDate({ term: 2, index: 2 }));
  assert.ok(!log.isUpToDate({ term: 1, index: 9 }));
});

test("an append after an entry that is not there is refused", () => {
  const { log } = logOf([1, 2]);
  assert.equal(log.maybeAppend({ term: 1, index: 2 }, entriesOf([3], 3), 0), undefined);
  assert.equal(log.maybeAppend({ term: 2, index: 3 }, entriesOf([3], 4), 0), undefined);
  assert.deepEqual(allTerms(log), [1, 2]);
});

test("an append leaves what agrees, replaces what does not, and commits no further than it reaches", () => {
  for (const [previous, terms, commit, expected, committed] of [
    [{ term: 3, index: 3 }, [4], 4, [1, 2, 3, 4], 4],
    [{ term: 3, index: 3 }, [], 9, [1, 2, 3], 3],
    [{ term: 1, index: 1 }, [2], 9, [1, 2, 3], 2], // late and short: the tail stays
    [{ term: 1, index: 1 }, [4, 4], 1, [1, 4, 4], 1],
    [{ term: 2, index: 2 }, [3, 4], 3, [1, 2, 3, 4], 3],
    [{ term: 0, index: 0 }, [1, 2], 1, [1, 2, 3], 1],
  ] as const) {
    for (const stable of [0, 2, 3]) {
      const { log } = logOf([1, 2, 3], stable);
      const last = log.maybeAppend(previous, entriesOf(terms, previous.index + 1), commit);
      assert.equal(last, previous.index + terms.length);
      assert.deepEqual(allTerms(log), expected);
      assert.equal(log.committed, committed);
    }
  }
});

test("a committed entry cannot give way", () => {
  const { log } = logOf([1, 2, 3]);
  log.commitTo(2);
  assert.throws(() => log.maybeAppend({ term: 1, index: 1 }, entriesOf([4], 2), 0), InvariantError);
  assert.throws(() => log.append(entriesOf([4], 2)), InvariantError);
});

test("to commit what is not there means that the log was lost", () => {
  const { log } = logOf([1, 2]);
  assert.throws(() => log.commitTo(3), { code: "RAFT_LOG_LOST" });
  log.commitTo(2);
  log.commitTo(1);
  assert.equal(log.committed, 2, "it never goes back");
});

test("counting commits entries of the term alone", () => {
  const { log } = logOf([1, 2, 2]);
  assert.ok(!log.maybeCommit({ term: 2, index: 1 }), "entry 1 has another term");
  assert.ok(!log.maybeCommit({ term: 2, index: ALL }), "no voters, no commit");
  assert.ok(log.maybeCommit({ term: 2, index: 2 }));
  assert.ok(!log.maybeCommit({ term: 2, index: 2 }), "no news");
});

test("the guess where logs agree skips every entry of too high a term", () => {
  const { log } = logOf([2, 2, 5, 5, 5]);
  assert.deepEqual(log.findConflictByTerm(5, 5), { index: 5, term: 5 });
  assert.deepEqual(log.findConflictByTerm(5, 4), { index: 2, term: 2 });
  assert.deepEqual(log.findConflictByTerm(5, 1), { index: 0, term: 0 });
  assert.deepEqual(log.findConflictByTerm(9, 4), { index: 9, term: 0 });
});

test("entries are read across the boundary between stable and unstable, within the limit", () => {
  const { log } = logOf([1, 2, 3, 4], 2);
  const size = entrySize(entry(1, 1));
  assert.deepEqual(termsOf(log.slice(1, 5, ALL)!), [1, 2, 3, 4]);
  assert.deepEqual(termsOf(log.slice(1, 5, 0)!), [1]);
  assert.deepEqual(termsOf(log.slice(1, 5, 2 * size)!), [1, 2]);
  assert.deepEqual(termsOf(log.slice(1, 5, 2 * size + 1)!), [1, 2], "half an entry is none");
  assert.deepEqual(termsOf(log.slice(1, 5, 3 * size)!), [1, 2, 3]);
  assert.deepEqual(termsOf(log.slice(3, 5, size)!), [3]);
  assert.deepEqual(log.slice(5, 5, ALL), []);
  assert.deepEqual(log.entries(5, ALL), []);
});

test("compacted entries are not there; the term before the first is", () => {
  const { log, storage } = logOf([1, 2, 3], 3);
  storage.compact(2);
  assert.equal(log.slice(2, 4, ALL), undefined);
  assert.equal(log.term(1), undefined);
  assert.equal(log.term(2), 2);
  assert.equal(log.term(4), undefined);
  assert.ok(log.some(1, 4, ALL, ({ term }) => term === 3));
  assert.ok(!log.some(1, 4, ALL, ({ term }) => term === 2), "what is compacted is passed over");
});

test("entries are handed out to be applied once, stable ones only where that is asked", () => {
  const { log } = logOf([1, 1, 1], 1);
  log.commitTo(3);
  assert.deepEqual(log.nextCommitted(false).length, 1);
  assert.deepEqual(log.nextCommitted(true).length, 3);
  log.acceptApplying(3, 30, true);
  assert.ok(!log.hasNextCommitted(true));
  log.appliedTo(3, 30);
  assert.equal(log.applied, 3);
  assert.throws(() => log.appliedTo(2, 0), InvariantError);
  assert.throws(() => log.appliedTo(4, 0), InvariantError);
});

test("what is handed out and not applied is limited in bytes", () => {
  const size = entrySize(entry(1, 1));
  const { log } = logOf([1, 1, 1, 1], 0, 2 * size);
  log.commitTo(4);
  assert.equal(log.nextCommitted(true).length, 2);
  log.acceptApplying(2, 2 * size, true);
  assert.deepEqual(log.nextCommitted(true), [], "the limit is reached");
  log.appliedTo(1, size);
  assert.equal(log.nextCommitted(true).length, 1);
});

test("a snapshot comes before the entries after it", () => {
  const { log } = logOf([1, 1], 2);
  log.restore(snapshotAt(5, 2));
  assert.equal(log.firstIndex(), 6);
  assert.equal(log.lastIndex(), 5);
  assert.equal(log.committed, 5);
  assert.equal(log.term(5), 2);
  assert.equal(log.term(4), undefined);
  log.append(entriesOf([2], 6));
  log.commitTo(6);
  assert.deepEqual(log.nextCommitted(true), []);
  log.unstable.snapshotStableTo(4);
  assert.ok(log.hasPendingSnapshot(), "another snapshot's news");
  log.unstable.snapshotStableTo(5);
  assert.ok(!log.hasPendingSnapshot());
});

test("news that an entry is durable counts only for that entry", () => {
  const lines: string[] = [];
  const unstable = new Unstable(4, { ...SILENT_LOGGER, info: (text) => lines.push(text) });
  unstable.truncateAndAppend(entriesOf([1, 1, 1], 4));
  unstable.acceptInProgress();
  assert.ok(!unstable.hasNextEntries());
  unstable.truncateAndAppend(entriesOf([2], 5)); // a new leader's, while 5 and 6 of term 1 are being written
  assert.deepEqual(termsOf(unstable.nextEntries()), [2]);
  unstable.stableTo(1, 6);
  unstable.stableTo(1, 5);
  assert.equal(unstable.offset, 4, "neither is there any more");
  unstable.stableTo(1, 4);
  assert.equal(unstable.offset, 5);
  assert.deepEqual(lines, [
    "truncate the unstable entries before index 5",
    "entry at index 6 missing from unstable log; ignoring",
    "entry at (index,term)=(5,1) mismatched with entry at (5,2) in unstable log; ignoring",
  ]);
});

test("entries that replace durable ones are to be written", () => {
  const unstable = new Unstable(4, SILENT_LOGGER);
  unstable.truncateAndAppend(entriesOf([3, 3], 2));
  assert.equal(unstable.offset, 2);
  assert.deepEqual(termsOf(unstable.nextEntries()), [3, 3]);
});

test("a log behaves as one array, whatever became stable when", () => {
  const step = fc.oneof(
    fc.record({
      kind: fc.constant("append" as const),
      back: fc.nat({ max: 4 }),
      count: fc.integer({ min: 1, max: 5 }),
    }),
    fc.record({ kind: fc.constant("write" as const) }),
    fc.record({ kind: fc.constant("stable" as const) }),
    fc.record({ kind: fc.constant("commit" as const), back: fc.nat({ max: 4 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const storage = new MemoryStorage();
      const log = new RaftLog(storage, SILENT_LOGGER);
      let twin: number[] = []; // the term of entry i + 1
      let term = 1;
      let writing: { term: number; index: number } | undefined;
      for (const one of steps) {
        if (one.kind === "append") {
          term++;
          const first = Math.max(log.committed, twin.length - one.back) + 1;
          const terms = Array.from({ length: one.count }, () => term);
          log.append(entriesOf(terms, first));
          twin = [...twin.slice(0, first - 1), ...terms];
        } else if (one.kind === "write") {
          storage.append(log.unstable.nextEntries());
          if (log.lastIndex() > 0) writing = log.lastEntryId();
          log.unstable.acceptInProgress();
        } else if (one.kind === "stable") {
          if (writing !== undefined) log.unstable.stableTo(writing.term, writing.index);
        } else {
          log.commitTo(Math.max(0, twin.length - one.back));
        }
        assert.deepEqual(allTerms(log), twin);
        assert.equal(log.lastIndex(), twin.length);
        twin.forEach((expected, at) => assert.equal(log.term(at + 1), expected));
        assert.ok(log.unstable.offset <= log.unstable.offsetInProgress);
        assert.ok(log.unstable.offsetInProgress <= log.lastIndex() + 1);
      }
    }),
  );
});
