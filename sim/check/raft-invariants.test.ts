import assert from "node:assert/strict";
import test from "node:test";
import { RaftInvariants, type LogEntry, type MemberName, type Observation } from "./raft-invariants.js";
import { describeViolation, type RaftLaw } from "./report.js";

const ALL = ["m1", "m2", "m3"] as const;

const entry = (index: number, term: number, content = `${index}@${term}`): LogEntry => ({ index, term, content });
const started = (member: MemberName, more: Partial<Extract<Observation, { kind: "started" }>> = {}): Observation => ({
  kind: "started",
  member,
  term: 0,
  vote: undefined,
  commit: 0,
  snapshotIndex: 0,
  snapshotTerm: 0,
  entries: [],
  ...more,
});
const state = (
  member: MemberName,
  term: number,
  vote: MemberName | undefined,
  commit: number,
  role: Extract<Observation, { kind: "state" }>["role"] = "follower",
): Observation => ({
  kind: "state",
  member,
  term,
  vote,
  commit,
  role,
  ...(role === "leader" ? { quorums: [ALL] } : {}),
});
const durable = (
  member: MemberName,
  term: number,
  vote: MemberName | undefined,
  lastIndex: number,
  commit = 0,
): Observation => ({
  kind: "durable",
  member,
  term,
  vote,
  commit,
  lastIndex,
});
const appended = (member: MemberName, ...entries: LogEntry[]): Observation => ({ kind: "appended", member, entries });
const grants = (member: MemberName, to: MemberName, term: number): Observation => ({
  kind: "sent",
  member,
  message: { type: "voteGranted", to, term },
});
const accepts = (member: MemberName, to: MemberName, term: number, index: number): Observation => ({
  kind: "sent",
  member,
  message: { type: "appendAccepted", to, term, index },
});
const applied = (
  member: MemberName,
  index: number,
  revision: number,
  more: Partial<Extract<Observation, { kind: "applied" }>> = {},
): Observation => ({ kind: "applied", member, index, revision, compactRevision: 0, ...more });

/** m1 is elected in term 1 by m2, and commits two entries that all have; entry 2 is a write. */
const elected: readonly Observation[] = [
  ...ALL.map((member) => started(member)),
  state("m1", 1, "m1", 0, "candidate"),
  durable("m1", 1, "m1", 0),
  state("m2", 1, "m1", 0),
  durable("m2", 1, "m1", 0),
  grants("m2", "m1", 1),
  state("m1", 1, "m1", 0, "leader"),
];
const running: readonly Observation[] = [
  ...elected,
  appended("m1", entry(1, 1), entry(2, 1)),
  durable("m1", 1, "m1", 2),
  state("m3", 1, undefined, 0),
  ...(["m2", "m3"] as const).flatMap((member) => [
    appended(member, entry(1, 1), entry(2, 1)),
    durable(member, 1, member === "m2" ? "m1" : undefined, 2),
    accepts(member, "m1", 1, 2),
  ]),
  state("m1", 1, "m1", 2, "leader"),
  applied("m1", 1, 1, { writes: 0 }),
  applied("m1", 2, 2, { writes: 1, hashes: { hashKv: 7 } }),
  { kind: "acknowledged", member: "m1", index: 2 },
  state("m2", 1, "m1", 2),
  applied("m2", 2, 2, { writes: 1, hashes: { hashKv: 7 } }),
];
/** m2 takes over in term 2 with the vote of m3, while m1 does not know. */
const takenOver: readonly Observation[] = [
  ...running,
  state("m2", 2, "m2", 2, "candidate"),
  durable("m2", 2, "m2", 2),
  state("m3", 2, "m2", 0),
  durable("m3", 2, "m2", 2),
  grants("m3", "m2", 2),
  state("m2", 2, "m2", 2, "leader"),
];

const bad: readonly (readonly [
  name: string,
  law: RaftLaw,
  before: readonly Observation[],
  last: readonly Observation[],
])[] = [
  ["two leaders in a term", "I1-one-leader-per-term", elected, [state("m2", 1, "m1", 0, "leader")]],
  [
    "one place, two contents",
    "I2-log-matching",
    running,
    [appended("m3", entry(3, 1, "x")), appended("m2", entry(3, 1, "y"))],
  ],
  [
    "equal entries on different ones",
    "I2-log-matching",
    takenOver,
    [appended("m1", entry(3, 1)), appended("m1", entry(4, 2)), appended("m2", entry(3, 2), entry(4, 2))],
  ],
  ["a hole in a log", "I2-log-matching", running, [appended("m3", entry(4, 1))]],
  [
    "a leader without a committed entry",
    "I3-leader-completeness",
    [
      ...ALL.map((member) => started(member)),
      durable("m1", 1, "m1", 0),
      durable("m2", 1, "m1", 0),
      state("m1", 1, "m1", 0, "leader"),
      appended("m1", entry(1, 1)),
      durable("m1", 1, "m1", 1),
      appended("m2", entry(1, 1)),
      durable("m2", 1, "m1", 1),
      state("m1", 1, "m1", 1, "leader"),
    ],
    [state("m3", 2, "m3", 0, "leader")],
  ],
  [
    "a leader with another entry in place of a committed one",
    "I3-leader-completeness",
    [...running, appended("m3", entry(2, 2, "old"))],
    [state("m3", 3, "m3", 0, "leader")],
  ],
  ["a committed entry replaced", "I4-committed-stays", running, [appended("m2", entry(2, 2))]],
  [
    "two members commit different entries",
    "I4-committed-stays",
    [...running, appended("m3", entry(2, 2))],
    [state("m3", 2, undefined, 2)],
  ],
  ["a commit beyond the log", "I4-committed-stays", running, [state("m2", 1, "m1", 3)]],
  [
    "an append below a snapshot",
    "I4-committed-stays",
    [...running, { kind: "restored", member: "m3", index: 2, term: 1 }],
    [appended("m3", entry(2, 1))],
  ],
  [
    "a snapshot of what was not committed",
    "I4-committed-stays",
    running,
    [{ kind: "restored", member: "m3", index: 2, term: 9 }],
  ],
  [
    "a snapshot from before the commit",
    "I5-durable-state-goes-forward",
    running,
    [{ kind: "restored", member: "m2", index: 1, term: 1 }],
  ],
  ["a term that falls", "I5-durable-state-goes-forward", takenOver, [state("m2", 1, "m1", 2)]],
  ["a vote changed in a term", "I5-durable-state-goes-forward", elected, [state("m2", 1, "m3", 0)]],
  ["a vote taken back in a term", "I5-durable-state-goes-forward", elected, [state("m2", 1, undefined, 0)]],
  ["a commit that falls", "I5-durable-state-goes-forward", running, [state("m2", 1, "m1", 1)]],
  [
    "a restart in an older term",
    "I5-durable-state-goes-forward",
    takenOver,
    [started("m3", { term: 1, entries: [entry(1, 1), entry(2, 1)] })],
  ],
  [
    "a restart without its vote",
    "I5-durable-state-goes-forward",
    running,
    [started("m2", { term: 1, entries: [entry(1, 1), entry(2, 1)] })],
  ],
  [
    "a restart with less committed than was durable",
    "I5-durable-state-goes-forward",
    [...running, durable("m2", 1, "m1", 2, 2)],
    [started("m2", { term: 1, vote: "m1", commit: 1, entries: [entry(1, 1), entry(2, 1)] })],
  ],
  [
    "a restart without a durable entry",
    "I5-durable-state-goes-forward",
    running,
    [started("m2", { term: 1, vote: "m1", entries: [entry(1, 1)] })],
  ],
  [
    "a restart with another entry",
    "I5-durable-state-goes-forward",
    running,
    [started("m2", { term: 1, vote: "m1", entries: [entry(1, 1), entry(2, 1, "x")] })],
  ],
  [
    "two votes in one term, the first forgotten in a crash",
    "I5-durable-state-goes-forward",
    ALL.map((member) => started(member)),
    [
      state("m2", 1, "m1", 0),
      grants("m2", "m1", 1),
      started("m2"),
      state("m2", 1, "m3", 0),
      durable("m2", 1, "m3", 0),
      grants("m2", "m3", 1),
    ],
  ],
  ["a durable term that falls", "I5-durable-state-goes-forward", takenOver, [durable("m2", 1, "m1", 2)]],
  [
    "a vote told before its sync",
    "I6-sync-before-promise",
    [...elected, state("m3", 1, "m1", 0)],
    [grants("m3", "m1", 1)],
  ],
  [
    "a leader on votes that are not durable",
    "I6-sync-before-promise",
    [...ALL.map((member) => started(member)), durable("m1", 1, "m1", 0), state("m2", 1, "m1", 0)],
    [state("m1", 1, "m1", 0, "leader")],
  ],
  [
    "an append accepted before its sync",
    "I6-sync-before-promise",
    [...running, appended("m2", entry(3, 1))],
    [accepts("m2", "m1", 1, 3)],
  ],
  [
    "an append accepted while its replacement is not durable",
    "I6-sync-before-promise",
    [...takenOver, appended("m3", entry(3, 1)), durable("m3", 2, "m2", 3), appended("m3", entry(3, 2))],
    [accepts("m3", "m2", 2, 3)],
  ],
  [
    "an append accepted in a term that is not durable",
    "I6-sync-before-promise",
    [...running, state("m3", 5, undefined, 0)],
    [accepts("m3", "m1", 5, 2)],
  ],
  [
    "a leader that counts its own copy before its sync",
    "I6-sync-before-promise",
    [...running, appended("m1", entry(3, 1)), appended("m2", entry(3, 1)), durable("m2", 1, "m1", 3)],
    [state("m1", 1, "m1", 3, "leader")],
  ],
  [
    "an answer to a client before the commit",
    "I6-sync-before-promise",
    [...running, appended("m1", entry(3, 1))],
    [{ kind: "acknowledged", member: "m1", index: 3 }],
  ],
  [
    "an answer to a client before the entry is applied",
    "I6-sync-before-promise",
    running,
    [{ kind: "acknowledged", member: "m3", index: 2 }],
  ],
  ["an entry applied before it is committed", "I7-applied-is-durable", running, [applied("m3", 1, 1)]],
  [
    "an entry applied before it is durable",
    "I7-applied-is-durable",
    [
      ...running,
      appended("m3", entry(3, 1)),
      appended("m1", entry(3, 1)),
      durable("m1", 1, "m1", 3),
      appended("m2", entry(3, 1)),
      durable("m2", 1, "m1", 3),
      state("m1", 1, "m1", 3, "leader"),
      state("m3", 1, undefined, 3),
    ],
    [applied("m3", 3, 3)],
  ],
  [
    "a snapshot on record before the store has it",
    "I9-snapshot-behind-db",
    running,
    [{ kind: "snapshotRecorded", member: "m1", index: 2, storeIndex: 1 }],
  ],
  [
    "equal index, different content",
    "I11-equal-content",
    [...running, state("m3", 1, undefined, 2)],
    [applied("m3", 2, 2, { hashes: { hashKv: 8 } })],
  ],
  [
    "equal index, different revision",
    "I11-equal-content",
    [...running, state("m3", 1, undefined, 2)],
    [applied("m3", 2, 3)],
  ],
  [
    "equal index, different compaction",
    "I11-equal-content",
    [...running, state("m3", 1, undefined, 2)],
    [applied("m3", 2, 2, { compactRevision: 2 })],
  ],
  [
    "a revision that falls",
    "I12-revision-per-write",
    [...running, state("m3", 1, undefined, 2), applied("m3", 1, 1)],
    [applied("m3", 2, 0)],
  ],
  [
    "a write without a revision",
    "I12-revision-per-write",
    [...running, state("m3", 1, undefined, 2), applied("m3", 1, 1)],
    [applied("m3", 2, 2, { writes: 2 })],
  ],
  [
    "a revision without a write",
    "I12-revision-per-write",
    [...running, state("m3", 1, undefined, 2), applied("m3", 1, 1)],
    [applied("m3", 2, 2, { writes: 0 })],
  ],
  ["an entry applied again", "I12-revision-per-write", running, [applied("m1", 1, 2)]],
  [
    "a compaction that falls",
    "I13-compaction-forward",
    [...running, state("m3", 1, undefined, 2)],
    [applied("m3", 1, 1, { compactRevision: 1 }), applied("m3", 2, 2, { compactRevision: 0 })],
  ],
  [
    "a compaction above the revision",
    "I13-compaction-forward",
    [...running, state("m3", 1, undefined, 2)],
    [applied("m3", 2, 2, { compactRevision: 3 })],
  ],
];

const good: readonly (readonly [name: string, observations: readonly Observation[]])[] = [
  ["an election, two entries, a client served", running],
  ["a change of leaders", takenOver],
  [
    "an uncommitted entry replaced by the new leader's",
    [
      ...takenOver,
      appended("m1", entry(3, 1)),
      durable("m1", 1, "m1", 3),
      state("m1", 2, undefined, 2),
      appended("m1", entry(3, 2)),
      durable("m1", 2, undefined, 3),
      accepts("m1", "m2", 2, 3),
    ],
  ],
  [
    "a restart with all that was durable, applied again from an older store",
    [
      ...running,
      durable("m2", 1, "m1", 2, 2),
      started("m2", { term: 1, vote: "m1", commit: 2, entries: [entry(1, 1), entry(2, 1)] }),
      applied("m2", 1, 1),
      applied("m2", 2, 2, { writes: 1, hashes: { hashKv: 7 } }),
    ],
  ],
  [
    "a restart that found more than was durable",
    [
      ...running,
      state("m3", 2, "m2", 0),
      appended("m3", entry(3, 1)),
      started("m3", { term: 2, vote: "m2", entries: [entry(1, 1), entry(2, 1), entry(3, 1)] }),
      grants("m3", "m2", 2),
    ],
  ],
  [
    "a restart amid a replacement finds the old entries or the new",
    [
      ...takenOver,
      appended("m1", entry(3, 1)),
      durable("m1", 1, "m1", 3),
      state("m1", 2, undefined, 2),
      appended("m1", entry(3, 2)),
      started("m1", { term: 1, vote: "m1", entries: [entry(1, 1), entry(2, 1), entry(3, 1)] }),
    ],
  ],
  [
    "a promise that was under way when the term changed",
    [...running, state("m3", 2, "m2", 0), durable("m3", 2, "m2", 2), accepts("m3", "m1", 1, 2)],
  ],
  [
    "a vote that left in one write with a later term",
    [
      ...elected,
      state("m3", 3, undefined, 0),
      durable("m3", 3, undefined, 0),
      grants("m3", "m2", 2),
      durable("m2", 2, "m2", 0),
      state("m2", 2, "m2", 0, "leader"),
    ],
  ],
  [
    "a snapshot in place of a log",
    [
      ...running,
      { kind: "restored", member: "m3", index: 2, term: 1 },
      durable("m3", 1, undefined, 2, 2),
      state("m3", 1, undefined, 2),
      accepts("m3", "m1", 1, 2),
      applied("m3", 2, 2, { hashes: { hashKv: 7 } }),
      appended("m3", entry(3, 1)),
      { kind: "snapshotRecorded", member: "m3", index: 2, storeIndex: 2 },
    ],
  ],
  [
    "a restart from a snapshot",
    [
      ...running,
      { kind: "snapshotRecorded", member: "m1", index: 1, storeIndex: 2 },
      started("m1", { term: 1, vote: "m1", commit: 2, snapshotIndex: 1, snapshotTerm: 1, entries: [entry(2, 1)] }),
    ],
  ],
];

const violationsOf = (observations: readonly Observation[]): readonly string[] => {
  const checker = new RaftInvariants();
  for (const observation of observations) checker.observe(observation);
  return checker.violations.map(describeViolation);
};

for (const [name, law, before, last] of bad) {
  test(`${name} is caught: ${law}`, () => {
    assert.deepEqual(violationsOf(before), [], "nothing is wrong before");
    const violations = violationsOf([...before, ...last]);
    assert.ok(
      violations.some((text) => text.startsWith(`${law}: `)),
      `found ${violations.join("\n") || "nothing"}`,
    );
  });
}

for (const [name, observations] of good) {
  test(`${name} passes`, () => {
    assert.deepEqual(violationsOf(observations), []);
  });
}

test("an observation costs as much as it changes: a long log does not slow the steps down", () => {
  const checker = new RaftInvariants();
  for (const observation of elected) checker.observe(observation);
  const count = 100_000;
  for (let index = 1; index <= count; index++) {
    for (const member of ["m1", "m2"]) {
      checker.observe(appended(member, entry(index, 1)));
      checker.observe(durable(member, 1, "m1", index));
    }
    checker.observe(state("m1", 1, "m1", index, "leader"));
    checker.observe(applied("m1", index, index + 1));
  }
  assert.deepEqual(checker.violations, []);
  assert.equal(checker.committedIndex, count);
});
