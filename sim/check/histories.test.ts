import assert from "node:assert/strict";
import test from "node:test";
import { checkHistory } from "./check-history.js";
import type { Compare, History, KeyValueRequest, KeyValueResponse } from "./history.js";
import { describeViolation, type ClientLaw } from "./report.js";
import { checkByRevisions } from "./revision-witness.js";
import { searchLinearization } from "./search.js";
import { checkSerializable } from "./serializable.js";
import { compact, get, hash, pair, play, playWithLog, put, range, remove, txn, wrote } from "./testing/plays.js";

interface BadHistory {
  readonly name: string;
  readonly law: ClientLaw;
  /** Which checker must see it. */
  readonly by: "witness" | "serializable";
  /** Whether the search, which counts no revisions, must see it as well. */
  readonly search: boolean;
  readonly history: History;
}

const bad: BadHistory[] = [];
const witness = (name: string, law: ClientLaw, search: "and search" | "alone", history: History): void => {
  bad.push({ name, law, by: "witness", search: search === "and search", history });
};
const serializable = (name: string, law: ClientLaw, history: History): void => {
  bad.push({ name, law, by: "serializable", search: false, history });
};

const isNew = (key: string): Compare => ({ key, target: "version", result: "equal", operand: 0 });
const putting = (key: string, value: string): KeyValueRequest => ({ kind: "put", key, value });
const getting = (key: string): KeyValueRequest => ({ kind: "range", key });
const putDone = (revision: number): KeyValueResponse => ({ kind: "put", header: { revision } });
const got = (revision: number, ...kvs: ReturnType<typeof pair>[]): KeyValueResponse => ({
  kind: "range",
  header: { revision },
  kvs,
  more: false,
  count: kvs.length,
});
const second = put("a", "2", [2, 3], 3);
const first = put("a", "1", [0, 1], 2);

// Reads
witness(
  "a stale read, honest about its revision",
  "real-time-order",
  "and search",
  play(first, second, get("a", [4, 5], 2, pair("a", "1", 2))),
);
witness(
  "a stale read under a fresh revision",
  "answer-as-the-model",
  "and search",
  play(first, second, get("a", [4, 5], 3, pair("a", "1", 2))),
);
witness(
  "a fresh read under a stale revision",
  "real-time-order",
  "alone",
  play(first, second, get("a", [4, 5], 2, pair("a", "2", 3, 2, 2))),
);
witness(
  "two reads that go back",
  "real-time-order",
  "and search",
  play(
    first,
    put("a", "2", [2, 9], 3),
    get("a", [3, 4], 3, pair("a", "2", 3, 2, 2)),
    get("a", [5, 6], 2, pair("a", "1", 2)),
  ),
);
witness(
  "a read from before its write was asked for",
  "real-time-order",
  "and search",
  play(get("a", [0, 1], 2, pair("a", "1", 2)), put("a", "1", [2, 3], 2)),
);
witness("a wrong value", "answer-as-the-model", "and search", play(first, get("a", [2, 3], 2, pair("a", "x", 2))));
witness(
  "a wrong version",
  "answer-as-the-model",
  "and search",
  play(first, second, get("a", [4, 5], 3, pair("a", "2", 3, 2, 3))),
);
witness(
  "a wrong create revision",
  "answer-as-the-model",
  "and search",
  play(first, second, get("a", [4, 5], 3, pair("a", "2", 3, 3, 2))),
);
witness(
  "a wrong mod revision",
  "answer-as-the-model",
  "and search",
  play(first, second, get("a", [4, 5], 3, pair("a", "2", 2, 2, 2))),
);
witness(
  "a wrong lease",
  "answer-as-the-model",
  "and search",
  play(put("a", "1", [0, 1], 2, { lease: "7" }), get("a", [2, 3], 2, pair("a", "1", 2))),
);
witness(
  "another key than was asked for",
  "answer-as-the-model",
  "and search",
  play(first, get("b", [2, 3], 2, pair("a", "1", 2))),
);
witness(
  "a deleted key that is still shown",
  "answer-as-the-model",
  "and search",
  play(first, remove("a", [2, 3], 3, 1), get("a", [4, 5], 3, pair("a", "1", 2))),
);
witness(
  "a version that goes on after a deletion",
  "answer-as-the-model",
  "and search",
  play(first, remove("a", [2, 3], 3, 1), put("a", "2", [4, 5], 4), get("a", [6, 7], 4, pair("a", "2", 4, 4, 2))),
);
const both = [first, put("b", "2", [2, 3], 3)];
const all = { key: "a", end: "\0" };
witness(
  "a wrong count",
  "answer-as-the-model",
  "and search",
  play(...both, range(all, [4, 5], 3, [pair("a", "1", 2), pair("b", "2", 3)], { count: 3 })),
);
witness(
  "a key left out of a range",
  "answer-as-the-model",
  "and search",
  play(...both, range(all, [4, 5], 3, [pair("b", "2", 3)], { count: 2 })),
);
witness(
  "keys in the wrong order",
  "answer-as-the-model",
  "and search",
  play(...both, range(all, [4, 5], 3, [pair("b", "2", 3), pair("a", "1", 2)])),
);
witness(
  "a limit that is passed over",
  "answer-as-the-model",
  "and search",
  play(...both, range({ ...all, limit: 1 }, [4, 5], 3, [pair("a", "1", 2), pair("b", "2", 3)])),
);
witness(
  "more keys that are not told of",
  "answer-as-the-model",
  "and search",
  play(...both, range({ ...all, limit: 1 }, [4, 5], 3, [pair("a", "1", 2)], { count: 2 })),
);
witness(
  "values where keys only were wanted",
  "answer-as-the-model",
  "and search",
  play(...both, range({ ...all, keysOnly: true }, [4, 5], 3, [pair("a", "1", 2), pair("b", "2", 3)])),
);
witness(
  "a filter that is passed over",
  "answer-as-the-model",
  "alone",
  play(...both, range({ ...all, minModRevision: 3 }, [4, 5], 3, [pair("a", "1", 2), pair("b", "2", 3)])),
);
witness(
  "an old revision that shows what came later",
  "answer-as-the-model",
  "alone",
  play(first, second, get("a", [4, 5], 3, pair("a", "2", 3, 2, 2), { request: { revision: 2 } })),
);

// Writes
witness("an acknowledged write that is lost", "answer-as-the-model", "and search", play(first, get("a", [2, 3], 2)));
witness(
  "an acknowledged write that is lost, and its revision given away",
  "revision-used-once",
  "alone",
  play(first, put("b", "2", [2, 3], 2)),
);
witness(
  "split brain: two members acknowledge, each for itself",
  "revision-used-once",
  "and search",
  play(
    put("a", "1", [0, 1], 2, { member: "m1" }),
    put("a", "2", [0, 1], 2, { member: "m2" }),
    get("a", [2, 3], 2, pair("a", "1", 2), { member: "m1" }),
    get("a", [4, 5], 2, pair("a", "2", 2), { member: "m2" }),
  ),
);
witness(
  "revisions against the order of time",
  "real-time-order",
  "alone",
  play(put("a", "1", [0, 1], 3), put("b", "2", [2, 3], 2)),
);
witness("a revision that nobody wrote", "no-write-from-nowhere", "alone", play(first, put("a", "2", [2, 3], 4)));
witness(
  "a read of a revision that nobody wrote",
  "no-write-from-nowhere",
  "alone",
  play(first, get("a", [2, 3], 3, pair("a", "1", 2))),
);
witness(
  "the phantom of a refused put",
  "no-write-from-nowhere",
  "and search",
  play(put("a", "1", [0, 1], "other"), get("a", [2, 3], 2, pair("a", "1", 2))),
);
witness(
  "a refused put that another write's answer shows",
  "no-write-from-nowhere",
  "and search",
  play(put("a", "1", [0, 1], "other"), put("a", "2", [2, 3], 2, { prevKv: pair("a", "1", 1) })),
);
witness(
  "a dirty read of a put that was refused in the end",
  "no-write-from-nowhere",
  "and search",
  play(put("a", "1", [0, 9], "other"), get("a", [2, 3], 2, pair("a", "1", 2)), get("a", [10, 11], 2)),
);
witness(
  "an answered put that took effect twice",
  "no-write-from-nowhere",
  "and search",
  play(first, get("a", [2, 3], 3, pair("a", "1", 3, 2, 2))),
);
witness(
  "an unanswered put that took effect twice",
  "no-write-from-nowhere",
  "and search",
  play(
    put("a", "1", [0, 1], "?"),
    get("a", [2, 3], 2, pair("a", "1", 2)),
    get("a", [4, 5], 3, pair("a", "1", 3, 2, 2)),
  ),
);
witness(
  "an unanswered put that comes and goes",
  "answer-as-the-model",
  "and search",
  play(put("a", "1", [0, 1], "?"), get("a", [2, 3], 2, pair("a", "1", 2)), get("a", [4, 5], 2)),
);
witness(
  "an unanswered put seen before it was asked for",
  "no-write-from-nowhere",
  "and search",
  play(get("a", [0, 1], 2, pair("a", "1", 2)), put("a", "1", [2, 3], "?")),
);
witness(
  "a wrong previous pair",
  "answer-as-the-model",
  "and search",
  play(first, second, put("a", "3", [4, 5], 4, { prevKv: pair("a", "1", 2) })),
);
witness(
  "a previous pair that is not told",
  "answer-as-the-model",
  "and search",
  play(first, put("a", "2", [2, 3], 3, { prevKv: "none" })),
);
witness(
  "a delete that claims to find nothing",
  "answer-as-the-model",
  "and search",
  play(first, remove("a", [2, 3], 2, 0)),
);
witness(
  "a delete that claims more than there is",
  "answer-as-the-model",
  "and search",
  play(first, remove("a", [2, 3], 3, 2, { end: "\0" })),
);
witness(
  "a delete that deletes nothing",
  "answer-as-the-model",
  "and search",
  play(first, remove("a", [2, 3], 3, 1), get("a", [4, 5], 3, pair("a", "1", 2))),
);

// Transactions
witness(
  "a transaction on the wrong branch",
  "answer-as-the-model",
  "and search",
  play(first, txn([isNew("a")], [putting("a", "2")], [], [2, 3], 3, true, [putDone(3)])),
);
witness(
  "a transaction that fails though its compare holds",
  "answer-as-the-model",
  "and search",
  play(
    first,
    txn([{ key: "a", target: "mod", result: "equal", operand: 2 }], [putting("a", "2")], [], [2, 3], 2, false, []),
  ),
);
witness(
  "two winners of one compare-and-swap",
  "answer-as-the-model",
  "and search",
  play(
    txn([isNew("a")], [putting("a", "1")], [], [0, 5], 2, true, [putDone(2)]),
    txn([isNew("a")], [putting("a", "2")], [], [1, 4], 3, true, [putDone(3)]),
  ),
);
witness(
  "half a transaction",
  "answer-as-the-model",
  "and search",
  play(
    txn([], [putting("a", "1"), putting("b", "2")], [], [0, 1], 2, true, [putDone(2), putDone(2)]),
    range(all, [2, 3], 2, [pair("a", "1", 2)]),
  ),
);
witness(
  "a transaction that does not see its own put",
  "answer-as-the-model",
  "and search",
  play(txn([], [putting("a", "1"), getting("a")], [], [0, 1], 2, true, [putDone(2), got(2)])),
);
witness(
  "a nested transaction on the wrong branch",
  "answer-as-the-model",
  "and search",
  play(
    first,
    txn(
      [],
      [{ kind: "txn", compares: [isNew("a")], success: [putting("a", "2")], failure: [getting("a")] }],
      [],
      [2, 3],
      3,
      true,
      [{ kind: "txn", header: { revision: 0 }, succeeded: true, responses: [putDone(3)] }],
    ),
  ),
);
witness(
  "a compare that sees the put of its own transaction",
  "answer-as-the-model",
  "and search",
  play(
    txn(
      [],
      [putting("a", "1"), { kind: "txn", compares: [isNew("a")], success: [getting("b")], failure: [] }],
      [],
      [0, 1],
      2,
      true,
      [putDone(2), { kind: "txn", header: { revision: 0 }, succeeded: false, responses: [] }],
    ),
  ),
);
witness(
  "an answer short of one operation",
  "answer-as-the-model",
  "and search",
  play(txn([], [putting("a", "1"), getting("a")], [], [0, 1], 2, true, [putDone(2)])),
);

// Compactions and refusals
witness(
  "a compacted revision that is read",
  "refusal-is-true",
  "alone",
  play(first, second, compact(3, [4, 5], 3), get("a", [6, 7], 3, pair("a", "1", 2), { request: { revision: 2 } })),
);
witness(
  "a compacted revision that is read from a later one",
  "refusal-is-true",
  "alone",
  play(
    first,
    second,
    compact(3, [4, 20], 3),
    put("b", "3", [5, 6], 4),
    get("a", [7, 8], 4, pair("a", "1", 2), { request: { revision: 2 } }),
  ),
);
witness(
  "refused as compacted without a compaction",
  "refusal-is-true",
  "alone",
  play(first, second, get("a", [4, 5], "compacted", undefined, { request: { revision: 2 } })),
);
witness(
  "refused as compacted before the compaction was asked for",
  "refusal-is-true",
  "alone",
  play(first, second, get("a", [4, 5], "compacted", undefined, { request: { revision: 2 } }), compact(3, [6, 7], 3)),
);
witness(
  "refused as future though it was known",
  "refusal-is-true",
  "alone",
  play(first, second, get("a", [4, 5], "future", undefined, { request: { revision: 3 } })),
);
witness(
  "a future revision that is read",
  "answer-as-the-model",
  "alone",
  play(first, get("a", [2, 3], 2, pair("a", "1", 2), { request: { revision: 9 } })),
);
witness("a compaction above the newest revision", "compaction-order", "alone", play(first, compact(3, [2, 3], 2)));
witness(
  "a compaction that goes back",
  "compaction-order",
  "alone",
  play(first, second, compact(3, [4, 5], 3), compact(2, [6, 7], 3)),
);
witness(
  "one compaction for two",
  "compaction-order",
  "alone",
  play(first, second, compact(3, [4, 9], 3), compact(3, [5, 8], 3)),
);

// What the servers wrote
witness(
  "a log with another value than was acknowledged",
  "log-as-the-model",
  "alone",
  playWithLog([wrote(2, { kind: "put", kv: pair("a", "x", 2) })], first),
);
witness(
  "a log with a refused put",
  "no-write-from-nowhere",
  "alone",
  playWithLog([wrote(2, { kind: "put", kv: pair("a", "1", 2) })], put("a", "1", [0, 1], "other")),
);
witness(
  "a log with a second copy of a write",
  "no-write-from-nowhere",
  "alone",
  playWithLog(
    [wrote(2, { kind: "put", kv: pair("a", "1", 2) }), wrote(3, { kind: "put", kv: pair("a", "1", 3, 2, 2) })],
    first,
  ),
);
witness(
  "members whose logs differ",
  "log-as-the-model",
  "alone",
  playWithLog([wrote(2, { kind: "put", kv: pair("a", "1", 2) }), wrote(2, { kind: "delete", key: "a" })], first),
);

// Serializable reads and members
const lagging = { request: { serializable: true } };
serializable(
  "a serializable read that mixes two revisions",
  "serializable-read",
  play(
    first,
    put("b", "2", [2, 3], 3),
    range({ ...all, serializable: true }, [4, 5], 2, [pair("a", "1", 2), pair("b", "2", 3)]),
  ),
);
serializable(
  "a serializable read that shows what was deleted before",
  "serializable-read",
  play(first, remove("a", [2, 3], 3, 1), get("a", [4, 5], 3, pair("a", "1", 2), lagging)),
);
witness(
  "a serializable read of a revision that nobody wrote",
  "no-write-from-nowhere",
  "alone",
  play(first, get("a", [2, 3], 3, pair("a", "x", 3, 2, 2), lagging)),
);
serializable(
  "a member that goes back",
  "member-goes-forward",
  play(
    first,
    second,
    get("a", [4, 5], 3, pair("a", "2", 3, 2, 2), { ...lagging, run: 1 }),
    get("a", [6, 7], 2, pair("a", "1", 2), { ...lagging, run: 1 }),
  ),
);
serializable(
  "a member that forgets the write it acknowledged",
  "member-goes-forward",
  play(put("a", "1", [0, 1], 2, { run: 1 }), get("a", [2, 3], 1, undefined, { ...lagging, run: 1 })),
);
serializable(
  "a member that calls future what it has shown",
  "member-goes-forward",
  play(
    put("a", "1", [0, 1], 2, { run: 1 }),
    get("a", [2, 3], "future", undefined, { request: { serializable: true, revision: 2 }, run: 1 }),
  ),
);
serializable(
  "members with different content",
  "equal-hashes",
  play(first, hash([2, 3], 2, 111, { member: "m1" }), hash([2, 3], 2, 222, { member: "m2" })),
);
serializable(
  "two clusters under one name",
  "header-is-steady",
  play(
    put("a", "1", [0, 1], 2, { header: { clusterId: "1" } }),
    put("a", "2", [2, 3], 3, { header: { clusterId: "2" } }),
  ),
);
serializable(
  "a member that changes its ID",
  "header-is-steady",
  play(
    put("a", "1", [0, 1], 2, { header: { memberId: "1" } }),
    put("a", "2", [2, 3], 3, { header: { memberId: "2" } }),
  ),
);
serializable(
  "a term that falls",
  "header-is-steady",
  play(put("a", "1", [0, 1], 2, { header: { raftTerm: 5 } }), put("a", "2", [2, 3], 3, { header: { raftTerm: 4 } })),
);

const good: readonly (readonly [name: string, history: History])[] = [
  ["nothing at all", play()],
  ["writes and reads one after the other", play(first, second, get("a", [4, 5], 3, pair("a", "2", 3, 2, 2)))],
  [
    "overlapping writes in either order",
    play(put("a", "1", [0, 3], 3), put("a", "2", [1, 2], 2), get("a", [4, 5], 3, pair("a", "1", 3, 2, 2))),
  ],
  ["a read that overlaps a write sees it", play(put("a", "1", [0, 9], 2), get("a", [1, 2], 2, pair("a", "1", 2)))],
  ["a read that overlaps a write does not see it", play(put("a", "1", [0, 9], 2), get("a", [1, 2], 1))],
  ["what touches overlaps", play(put("a", "1", [0, 1], 2), get("a", [1, 2], 1))],
  ["an unanswered put that never arrived", play(put("a", "1", [0, 1], "?"), get("a", [2, 3], 1))],
  [
    "an unanswered put that arrives late",
    play(put("a", "1", [0, 1], "?"), get("a", [2, 3], 1), get("a", [4, 5], 2, pair("a", "1", 2))),
  ],
  [
    "an unanswered delete that only later versions tell of",
    play(first, remove("a", [2, 3], "?", 0), put("a", "2", [4, 5], 4), get("a", [6, 7], 4, pair("a", "2", 4, 4, 1))),
  ],
  [
    "of two unanswered puts the second took effect, which only the version tells",
    play(
      put("b", "x", [0, 1], "?"),
      put("a", "1", [0, 1], "?"),
      put("a", "2", [4, 5], 3),
      get("a", [6, 7], 3, pair("a", "2", 3, 2, 2)),
    ),
  ],
  [
    "an unanswered transaction",
    play(
      first,
      txn([{ key: "a", target: "mod", result: "equal", operand: 2 }], [putting("a", "2")], [], [2, 3], "?", true, []),
      get("a", [4, 5], 3, pair("a", "2", 3, 2, 2)),
    ),
  ],
  ["a refused put that is nowhere", play(put("a", "1", [0, 1], "other"), get("a", [2, 3], 1))],
  ["a member that lags", play(first, second, get("a", [4, 5], 2, pair("a", "1", 2), lagging))],
  [
    "a member that lags again after a restart",
    play(
      first,
      get("a", [2, 3], 2, pair("a", "1", 2), { ...lagging, run: 1 }),
      get("a", [4, 5], 1, undefined, { ...lagging, run: 2 }),
    ),
  ],
  [
    "compactions, refusals and reads of old revisions",
    play(
      first,
      second,
      get("a", [4, 5], 3, pair("a", "1", 2), { request: { revision: 2 } }),
      compact(3, [6, 7], 3),
      get("a", [8, 9], "compacted", undefined, { request: { revision: 2 } }),
      get("a", [8, 9], "future", undefined, { request: { revision: 4 } }),
      compact(3, [10, 11], "compacted"),
      compact(4, [10, 11], "future"),
    ),
  ],
  ["equal checksums", play(first, hash([2, 3], 2, 111, { member: "m1" }), hash([2, 3], 2, 111, { member: "m2" }))],
  ["a log that says the same", playWithLog([wrote(2, { kind: "put", kv: pair("a", "1", 2) })], first)],
  [
    "a log that tells which unanswered put it was",
    playWithLog(
      [wrote(2, { kind: "put", kv: pair("a", "2", 2) })],
      put("a", "1", [0, 1], "?"),
      put("a", "2", [0, 1], "?"),
    ),
  ],
];

for (const { name, law, by, search, history } of bad) {
  test(`${name} is caught: ${law}`, () => {
    const byRevisions = checkByRevisions(history);
    const violations = by === "witness" ? byRevisions.violations : checkSerializable(history, byRevisions.model);
    assert.ok(
      violations.some((violation) => violation.law === law),
      `found ${violations.map(describeViolation).join("\n") || "nothing"}`,
    );
    if (by === "serializable") assert.deepEqual(byRevisions.violations, [], "what clients wrote is in order");
    if (search) assert.equal(searchLinearization(history, { revisions: "observed" }).kind, "violated");
    assert.equal(checkHistory(history).kind, "violated");
  });
}

for (const [name, history] of good) {
  test(`${name} passes`, () => {
    const verdict = checkHistory(history, { search: true });
    assert.equal(verdict.kind, "right", verdict.violations.map(describeViolation).join("\n"));
    assert.equal(searchLinearization(history, { revisions: "compared" }).kind, "linearizable");
  });
}

test("there are at least thirty bad histories, and no name twice", () => {
  assert.ok(bad.length >= 30, `${bad.length}`);
  assert.equal(new Set(bad.map(({ name }) => name)).size, bad.length);
});

test("a revision that is the end of a lease is explained by what hung on it, and by nothing else", () => {
  const kv = { key: "a", value: "1", createRevision: 2, modRevision: 2, version: 1, lease: "7" };
  const ends = (lease: string, ...keys: string[]): string => {
    const verdict = checkHistory({
      start: { revision: 2, kvs: [kv] },
      operations: [],
      log: [{ revision: 3, changes: keys.map((key) => ({ kind: "delete", key })), lease }],
    });
    return verdict.violations[0]?.law ?? verdict.kind;
  };
  assert.equal(ends("7", "a"), "right");
  assert.equal(ends("8", "a"), "log-as-the-model");
  assert.equal(ends("7", "b"), "log-as-the-model");
  assert.equal(ends("7", "a", "b"), "log-as-the-model");
});
