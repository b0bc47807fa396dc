import assert from "node:assert/strict";
import { test } from "node:test";
import { InvariantError } from "../base/errors.js";
import { utf8FromText } from "../base/text.js";
import {
  ConfChangeTransition,
  ConfChangeType,
  EntryType,
  makeMessage,
  MessageType,
  type ConfChange,
  type Message,
} from "../proto/raft.js";
import type { RaftConfig } from "./config.js";
import type { RaftErrorCode } from "./errors.js";
import { LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD } from "./ids.js";
import { RawNode } from "./raw-node.js";
import { MemoryStorage } from "./storage.js";
import { LoneMember, memberOf, peers } from "./testing/member.js";
import { configWith, entriesOf, entry, snapshotAt, storageWith, termsOf, textsOf } from "./testing/messages.js";

function throwsCode(code: RaftErrorCode, body: () => unknown): void {
  assert.throws(body, { name: "RaftError", code });
}

const addNode = (nodeId: bigint): ConfChange => ({
  id: 0n,
  type: ConfChangeType.addNode,
  nodeId,
  context: new Uint8Array(0),
});

const typesOf = (messages: readonly Message[]): number[] => messages.map(({ type }) => type);

// ---- starting -----------------------------------------------------------------------------------------------------

test("a configuration that makes no sense is refused", () => {
  const wrong: Partial<RaftConfig>[] = [
    { id: 0n },
    { id: LOCAL_APPEND_THREAD },
    { id: LOCAL_APPLY_THREAD },
    { heartbeatTicks: 0 },
    { electionTicks: 1 },
    { electionTicks: Number.NaN },
    { maxInflightMessages: 0 },
    { maxSizePerMessage: -1 },
    { maxSizePerMessage: 100, maxInflightBytes: 99 },
    { readOnlyOption: "lease-based" },
  ];
  for (const more of wrong) throwsCode("RAFT_CONFIG", () => new RawNode(configWith(1n, new MemoryStorage(), more)));
});

test("a new cluster of one starts, leads, and commits", () => {
  const member = new LoneMember(new MemoryStorage());
  member.node.bootstrap(peers(1));
  const ready = member.node.ready();
  assert.deepEqual(ready.hardState, { term: 1, vote: 0n, commit: 1 });
  assert.deepEqual([ready.entries.length, ready.committedEntries.length, ready.mustSync], [1, 1, true]);
  member.storage.append(ready.entries);
  member.node.applyConfChange(addNode(1n));
  member.node.advance();
  member.node.campaign();
  member.work();
  member.propose("hello");
  assert.deepEqual(textsOf(member.applied), ["", "hello"]);
});

test("bootstrap needs peers, and a log without entries", () => {
  throwsCode("RAFT_BOOTSTRAP", () => new LoneMember(new MemoryStorage()).node.bootstrap([]));
  throwsCode("RAFT_BOOTSTRAP", () => memberOf(1, [1]).node.bootstrap(peers(1)));
});

test("a member that starts again hands out what was not applied, and nothing twice", () => {
  const storage = storageWith([1n], [1, 1, 1]);
  storage.setHardState({ term: 1, vote: 1n, commit: 4 });
  const member = new LoneMember(storage, { applied: 3 });
  const ready = member.node.ready();
  assert.deepEqual(
    ready.committedEntries.map(({ index }) => index),
    [4],
  );
  assert.equal(ready.hardState, undefined, "nothing is new to the disk");
});

test("a commit index that a crash took back is made good by what was applied", () => {
  const storage = storageWith([1n], [1, 1, 1]);
  storage.setHardState({ term: 1, vote: 1n, commit: 2 });
  const { commit, applied } = new LoneMember(storage, { applied: 4 }).node.basicStatus();
  assert.deepEqual([commit, applied], [4, 4]);
});

test("a log that holds less than is known to be committed or applied is refused", () => {
  const storage = storageWith([1n], [1, 1]);
  throwsCode("RAFT_LOG_LOST", () => new LoneMember(storage, { applied: 4 }));
  storage.setHardState({ term: 1, vote: 1n, commit: 9 });
  throwsCode("RAFT_LOG_LOST", () => new LoneMember(storage));
  storage.setHardState({ term: 1, vote: 1n, commit: 3 });
  storage.compact(3);
  storage.setHardState({ term: 1, vote: 1n, commit: 2 });
  throwsCode("RAFT_LOG_LOST", () => new LoneMember(storage));
});

// ---- life of a Ready ----------------------------------------------------------------------------------------------

test("an entry is handed out to be written, then to be applied, then no more", () => {
  const member = memberOf(1);
  member.lead();
  member.node.propose(utf8FromText("x"));
  const first = member.node.ready();
  assert.deepEqual([textsOf(first.entries), first.committedEntries.length, first.mustSync], [["x"], 0, true]);
  member.storage.append(first.entries);
  member.node.advance();
  const second = member.node.ready();
  assert.deepEqual([second.entries.length, textsOf(second.committedEntries), second.mustSync], [0, ["x"], false]);
  assert.equal(second.hardState?.commit, 3);
  member.node.advance();
  assert.ok(!member.node.hasReady());
});

test("what comes between a Ready and its end gathers for the next one", () => {
  const member = memberOf(1);
  member.lead();
  member.node.propose(utf8FromText("a"));
  const first = member.node.ready();
  member.node.propose(utf8FromText("b"));
  member.node.propose(utf8FromText("c"));
  assert.throws(() => member.node.ready(), InvariantError);
  member.storage.append(first.entries);
  member.node.advance();
  const second = member.node.ready();
  assert.deepEqual(textsOf(second.entries), ["b", "c"]);
  assert.deepEqual(textsOf(second.committedEntries), ["a"]);
});

test("a Ready does not change after it was given", () => {
  const member = memberOf(3);
  member.node.step(
    makeMessage({ type: MessageType.append, from: 2n, term: 1, index: 1, entries: entriesOf([1, 1], 2) }),
  );
  const ready = member.node.ready();
  member.node.step(makeMessage({ type: MessageType.append, from: 3n, term: 2, index: 1, entries: entriesOf([2], 2) }));
  assert.deepEqual(termsOf(ready.entries), [1, 1]);
});

test("a leader's appends may leave before the write, a follower's answers and votes may not", () => {
  const leader = memberOf(3);
  leader.lead();
  for (const from of [2n, 3n]) leader.hear({ type: MessageType.appendResponse, from, term: 1, index: 2 });
  leader.node.propose(utf8FromText("x"));
  const early = leader.node.ready();
  assert.deepEqual([early.messages.length, early.earlyMessages], [2, 2]);

  const follower = memberOf(3);
  follower.node.step(makeMessage({ type: MessageType.append, from: 2n, term: 1, index: 1, entries: [entry(1, 2)] }));
  follower.node.step(makeMessage({ type: MessageType.heartbeat, from: 2n, term: 1 }));
  const late = follower.node.ready();
  assert.deepEqual(typesOf(late.messages), [MessageType.heartbeatResponse, MessageType.appendResponse]);
  assert.equal(late.earlyMessages, 1);

  const voter = memberOf(3);
  voter.node.step(makeMessage({ type: MessageType.vote, from: 2n, term: 1, index: 1 }));
  const vote = voter.node.ready();
  assert.deepEqual([typesOf(vote.messages), vote.earlyMessages], [[MessageType.voteResponse], 0]);
});

test("a batch is one message to each follower, and one range of the log", () => {
  const member = memberOf(2);
  member.lead();
  member.hear({ type: MessageType.appendResponse, from: 2n, term: 1, index: 2 });
  member.node.proposeBatch(["a", "b", "c"].map(utf8FromText));
  member.node.proposeBatch([]);
  const ready = member.node.ready();
  assert.deepEqual(
    ready.entries.map(({ index }) => index),
    [3, 4, 5],
  );
  assert.deepEqual(
    ready.messages.map(({ entries }) => textsOf(entries)),
    [["a", "b", "c"]],
  );
});

test("committed entries are handed out within the limit", () => {
  const member = memberOf(1, [], { maxCommittedSizePerReady: 1 });
  member.lead();
  member.node.proposeBatch(["a", "b", "c"].map(utf8FromText));
  const counts: number[] = [];
  while (member.node.hasReady()) {
    const ready = member.node.ready();
    member.storage.append(ready.entries);
    counts.push(ready.committedEntries.length);
    member.node.advance();
  }
  assert.deepEqual(counts, [0, 1, 1, 1]);
});

// ---- what may be refused ------------------------------------------------------------------------------------------

test("a proposal is refused where there is no leader, and while leadership is handed over", () => {
  const member = memberOf(3);
  throwsCode("RAFT_PROPOSAL_DROPPED", () => member.propose("x"));
  throwsCode("RAFT_PROPOSAL_DROPPED", () => member.node.proposeConfChange(addNode(4n)));
  member.lead();
  member.node.transferLeader(2n);
  assert.throws(() => member.propose("x"), /leadership is being handed to 2/);
});

test("a leader that was removed takes no proposals", () => {
  const member = memberOf(2);
  member.lead();
  member.node.applyConfChange({ ...addNode(1n), type: ConfChangeType.removeNode });
  throwsCode("RAFT_PROPOSAL_DROPPED", () => member.propose("x"));
});

test("messages that no correct peer sends are refused by name, and change nothing", () => {
  const member = memberOf(3, [1]);
  member.lead();
  const { term } = member.node.basicStatus();
  const { propose, append, appendResponse, vote, heartbeat, hup, storageAppendResponse } = MessageType;
  const junk = { type: EntryType.confChange, term: 0, index: 0, data: new Uint8Array([0xff]) };
  for (const [code, fields] of [
    ["RAFT_LOCAL_MESSAGE", { type: hup, from: 2n }],
    ["RAFT_LOCAL_MESSAGE", { type: storageAppendResponse, from: 2n, term }],
    ["RAFT_LOCAL_MESSAGE", { type: MessageType.unreachable, from: 2n }],
    ["RAFT_PEER_UNKNOWN", { type: appendResponse, from: 9n, term }],
    ["RAFT_MESSAGE_MALFORMED", { type: vote, from: 2n }],
    ["RAFT_MESSAGE_MALFORMED", { type: heartbeat, from: 2n }],
    ["RAFT_MESSAGE_MALFORMED", { type: propose, from: 2n }],
    ["RAFT_MESSAGE_MALFORMED", { type: propose, from: 2n, entries: [junk] }],
    ["RAFT_MESSAGE_MALFORMED", { type: append, from: 2n, term: term + 1, index: 2, entries: [entry(term, 4)] }],
    ["RAFT_MESSAGE_MALFORMED", { type: append, from: 2n, term: term + 1, index: 2, entries: entriesOf([2, 1], 3) }],
    ["RAFT_MESSAGE_MALFORMED", { type: append, from: 2n, term: term + 1, index: 2, entries: [entry(term + 2, 3)] }],
    ["RAFT_MESSAGE_MALFORMED", { type: append, from: 2n, term: term + 1, index: 2, logTerm: term + 2 }],
    ["RAFT_MESSAGE_MALFORMED", { type: appendResponse, from: 2n, term, index: 99 }],
  ] as const) {
    const before = member.node.status();
    throwsCode(code, () => member.node.step(makeMessage(fields)));
    assert.deepEqual(member.node.status(), before);
    assert.ok(!member.node.hasReady());
  }
});

test("a leader that knows more to be committed than we hold means that our log was lost", () => {
  const member = memberOf(3);
  throwsCode("RAFT_LOG_LOST", () => member.hear({ type: MessageType.heartbeat, from: 2n, term: 1, commit: 5 }));
});

test("a read without its context is passed over", () => {
  const member = memberOf(3);
  member.lead();
  member.hear({ type: MessageType.readIndex, from: 2n, term: 0 });
  assert.ok(!member.node.hasReady());
});

// ---- configuration ------------------------------------------------------------------------------------------------

test("a configuration change is proposed, applied, and its state handed back", () => {
  const member = memberOf(1);
  member.lead();
  member.node.proposeConfChange(addNode(2n));
  member.work();
  const { configuration, progress } = member.node.status();
  assert.deepEqual(configuration.voters.incoming, [1n, 2n]);
  assert.deepEqual([...progress.keys()], [1n, 2n]);
  const voided = member.node.applyConfChange(addNode(0n));
  assert.deepEqual(voided.voters, [1n, 2n], "an application that rejects a change voids it");
});

test("a change that does not fit is refused when it is applied", () => {
  const member = memberOf(1);
  const leave = { transition: ConfChangeTransition.auto, changes: [], context: new Uint8Array(0) };
  throwsCode("RAFT_CONF_CHANGE_REFUSED", () => member.node.applyConfChange(leave));
  const removeAll = { ...addNode(1n), type: ConfChangeType.removeNode };
  throwsCode("RAFT_CONF_CHANGE_REFUSED", () => member.node.applyConfChange(removeAll));
  assert.deepEqual(member.node.status().configuration.voters.incoming, [1n]);
});

test("a snapshot waits while configuration changes are in the application's hands", () => {
  const member = memberOf(3);
  const change = { type: EntryType.confChange, term: 1, index: 2, data: new Uint8Array([0x10, 1, 0x18, 3]) }; // r3
  member.node.step(
    makeMessage({ type: MessageType.append, from: 2n, term: 1, index: 1, entries: [change], commit: 2 }),
  );
  const ready = member.node.ready();
  assert.equal(ready.committedEntries.length, 1);
  const snapshot = snapshotAt(9, 1, [1n, 2n, 4n]);
  member.node.step(makeMessage({ type: MessageType.snapshot, from: 2n, term: 1, snapshot }));
  assert.deepEqual(member.node.status().configuration.voters.incoming, [1n, 2n, 3n], "it was not taken");
  member.storage.append(ready.entries);
  member.node.applyConfChange({ ...addNode(3n), type: ConfChangeType.removeNode });
  member.node.advance();
  member.node.step(makeMessage({ type: MessageType.snapshot, from: 2n, term: 1, snapshot }));
  assert.deepEqual(member.node.status().configuration.voters.incoming, [1n, 2n, 4n]);
});

test("a snapshot is handed out before the entries after it", () => {
  const member = memberOf(3);
  member.node.step(makeMessage({ type: MessageType.snapshot, from: 2n, term: 3, snapshot: snapshotAt(9, 2) }));
  member.node.step(
    makeMessage({
      type: MessageType.append,
      from: 2n,
      term: 3,
      index: 9,
      logTerm: 2,
      entries: [entry(3, 10)],
      commit: 10,
    }),
  );
  const ready = member.node.ready();
  assert.equal(ready.snapshot?.metadata.index, 9);
  assert.deepEqual(termsOf(ready.entries), [3]);
  assert.deepEqual(ready.committedEntries, []);
  member.storage.applySnapshot(ready.snapshot);
  member.storage.append(ready.entries);
  member.node.advance();
  assert.equal(member.node.basicStatus().applied, 9);
  assert.deepEqual(termsOf(member.node.ready().committedEntries), [3]);
});

test("a snapshot that does not know us, or brings nothing new, is ignored", () => {
  const member = memberOf(3, [1, 1]);
  for (const snapshot of [snapshotAt(9, 2, [2n, 3n]), snapshotAt(1, 0), undefined]) {
    const [answer] = member.hear({ type: MessageType.snapshot, from: 2n, term: 3, snapshot });
    assert.deepEqual([answer?.type, answer?.index], [MessageType.appendResponse, 1]);
  }
  const [answer] = member.hear({ type: MessageType.snapshot, from: 2n, term: 3, snapshot: snapshotAt(3, 1) });
  assert.equal(answer?.index, 3, "one that our log has commits it");
  assert.equal(member.storage.firstIndex(), 2);
});

// ---- async storage writes -----------------------------------------------------------------------------------------

const ASYNC = { asyncStorageWrites: true };

test("with async writes the work comes as messages, each with the answers to give when it is done", () => {
  const member = memberOf(3, [], ASYNC);
  member.node.step(
    makeMessage({ type: MessageType.append, from: 2n, term: 1, index: 1, entries: [entry(1, 2)], commit: 2 }),
  );
  const ready = member.node.ready();
  assert.equal(ready.earlyMessages, ready.messages.length);
  const [work, ...more] = ready.messages;
  assert.deepEqual(more, [], "an entry that is not durable is not applied");
  assert.ok(work !== undefined);
  assert.deepEqual([work.to, work.term, work.commit, termsOf(work.entries)], [LOCAL_APPEND_THREAD, 1, 2, [1]]);
  assert.deepEqual(typesOf(work.responses), [MessageType.appendResponse, MessageType.storageAppendResponse]);
  member.storage.append(work.entries);
  member.node.step(work.responses[1]!);
  const [apply] = member.node.ready().messages;
  assert.deepEqual([apply?.to, apply?.entries.length], [LOCAL_APPLY_THREAD, 1]);
  member.node.step(apply!.responses[0]!);
  assert.equal(member.node.basicStatus().applied, 2);
  assert.throws(() => member.node.advance(), InvariantError);
});

test("several writes may be under way; the log is durable as far as the last that answered", () => {
  const member = memberOf(3, [], ASYNC);
  const works = [2, 3].map((index) => {
    const fields = { from: 2n, term: 1, index: index - 1, logTerm: index > 2 ? 1 : 0, commit: 3 };
    member.node.step(makeMessage({ type: MessageType.append, ...fields, entries: [entry(1, index)] }));
    return member.node.ready().messages[0]!;
  });
  assert.deepEqual(
    works.map(({ entries }) => entries.map(({ index }) => index)),
    [[2], [3]],
  );
  for (const { entries } of works) member.storage.append(entries);
  member.node.step(works[0]!.responses.at(-1)!);
  assert.deepEqual(
    member.node.ready().messages.map(({ entries }) => entries.map(({ index }) => index)),
    [[2]],
  );
});

test("news of a write from an earlier term does not make the entries that took its place durable", () => {
  const member = memberOf(3, [], ASYNC);
  const appended = (from: bigint, term: number, terms: readonly number[], commit = 1): Message => {
    const entries = entriesOf(terms, 2);
    member.node.step(makeMessage({ type: MessageType.append, from, term, index: 1, entries, commit }));
    return member.node.ready().messages[0]!;
  };
  const first = appended(2n, 1, [1]);
  appended(3n, 2, [2]);
  const third = appended(2n, 3, [1], 2); // the same term and index as the first, written anew behind the second
  member.node.step(first.responses.at(-1)!);
  assert.ok(!member.node.hasReady(), "entry 2 is not durable yet: the second write is to overwrite the first");
  member.storage.append(third.entries);
  member.node.step(third.responses.at(-1)!);
  assert.equal(member.node.ready().committedEntries.length, 1);
});
