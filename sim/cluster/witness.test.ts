/** What is told to the laws of raft and what is counted as a situation: from log lines, platters and messages. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EntryType, makeMessage, MessageType } from "../../src/proto/raft.js";
import { Counts } from "./counts.js";
import type { ClusterWorld } from "./cluster.js";
import type { EntryMark } from "./durable-log.js";
import type { Machine } from "./machine.js";
import { RaftWitness } from "./raft-witness.js";
import { countOf, missedSituations, Situations, SITUATIONS, type Ambush } from "./situations.js";
import type { ViolationError } from "./violation.js";

/** A machine whose disk holds the state of term 2, and these entries, given by their terms from index 1 on. */
function machineWith(terms: readonly number[], vote = 0n): Machine {
  const marks = terms.map((term): EntryMark => ({ term, hash: term, type: EntryType.normal, data: new Uint8Array(0) }));
  return {
    name: "m1",
    damaged: undefined,
    process: undefined,
    durableLog: {
      state: { term: 2, vote, commit: 0 },
      lastIndex: terms.length,
      snapshotIndex: 0,
      snapshotInUse: { index: 0, term: 0 },
      changeIndex: 0,
      entryAt: (index: number) => marks[index - 1],
    },
  } as unknown as Machine;
}

function witness(): { readonly witness: RaftWitness; readonly told: ViolationError[] } {
  const told: ViolationError[] = [];
  return { witness: new RaftWitness((violation) => told.push(violation)), told };
}

const begins = (last: number, lastTerm: number, term = 2): string =>
  `newRaft a1 [peers: [a1,b2], term: ${term}, commit: 0, applied: 0, lastindex: ${last}, lastterm: ${lastTerm}]`;

test("raft that begins with what the disk holds is right; with entries or a term that it does not hold it is told", () => {
  const right = witness();
  right.witness.onRaftBegins(machineWith([1, 2]), begins(2, 2));
  assert.deepEqual(right.told, []);
  for (const line of [begins(3, 2), begins(1, 1), begins(2, 1), begins(2, 2, 3)]) {
    const wrong = witness();
    wrong.witness.onRaftBegins(machineWith([1, 2]), line);
    assert.deepEqual(
      wrong.told.map(({ law }) => law),
      ["I5-durable-state-goes-forward"],
      line,
    );
  }
});

test("a vote that is on the disk may leave, another one is told", () => {
  const vote = makeMessage({ type: MessageType.voteResponse, from: 0xa1n, to: 0xb2n, term: 2 });
  const given = witness();
  const machine = machineWith([1], 0xb2n);
  given.witness.onRaftBegins(machine, begins(1, 1));
  given.witness.onSend(machine, vote);
  assert.deepEqual(given.told, []);
  const early = witness();
  const forgetful = machineWith([1]);
  early.witness.onRaftBegins(forgetful, begins(1, 1));
  early.witness.onSend(forgetful, vote);
  assert.match(early.told[0]!.message, /^I6-sync-before-promise/);
});

test("an entry that a later life lacks is told, one that a write was replacing is not", () => {
  const lost = witness();
  lost.witness.onRaftBegins(machineWith([1, 1]), begins(2, 1));
  lost.witness.onRaftBegins(machineWith([1]), begins(1, 1));
  assert.match(lost.told[0]!.message, /starts without entry 2 of term 1, which was durable/);
  const replaced = witness();
  replaced.witness.onRaftBegins(machineWith([1, 1, 1]), begins(3, 1));
  replaced.witness.onRaftBegins(machineWith([1, 2]), begins(2, 2));
  assert.deepEqual(replaced.told, []);
});

test("a crash in the midst of a snapshot is counted and one after it is not; the nemesis hears of each moment", () => {
  const counts = new Counts();
  const heard: Ambush[] = [];
  const machine = machineWith([1]);
  const world = { counts, scheduler: { now: 0 } } as unknown as ClusterWorld;
  const situations = new Situations(
    world,
    [machine],
    () => false,
    (ambush) => heard.push(ambush),
  );
  const taken = countOf("a member crashed while it took a snapshot");
  situations.onLogLine(machine, "triggering snapshot", undefined);
  situations.onLogLine(machine, "saved snapshot", undefined);
  situations.onCrashing(machine, false);
  assert.equal(counts.get(taken), 0);
  situations.onGone(machine);
  situations.onLogLine(machine, "triggering snapshot", undefined);
  situations.onCrashing(machine, false);
  assert.equal(counts.get(taken), 1);
  assert.deepEqual(heard, ["snapshot begun", "snapshot taken", "snapshot begun"]);
});

test("a large campaign owes every situation, a small one none", () => {
  const counts = new Counts();
  assert.deepEqual(missedSituations(999, counts), []);
  assert.deepEqual(missedSituations(1_000, counts), [...SITUATIONS]);
  for (const situation of SITUATIONS.slice(1)) counts.add(countOf(situation));
  assert.deepEqual(missedSituations(1_000, counts), [SITUATIONS[0]]);
});
