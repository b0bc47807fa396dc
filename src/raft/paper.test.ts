/** Behaviours that the Raft paper asks for, section by section. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { makeMessage, MessageType, type Message } from "../proto/raft.js";
import { entriesOf, entry, termsOf, textsOf } from "./testing/messages.js";
import { memberOf, type LoneMember } from "./testing/member.js";

const { append, appendResponse, heartbeat, vote, voteResponse } = MessageType;

function state({ node }: LoneMember): string {
  const { role, term } = node.basicStatus();
  return `${role} ${term}`;
}

const toAll = (messages: readonly Message[], type: MessageType): bigint[] =>
  messages.filter((message) => message.type === type).map(({ to }) => to);

// ---- 5.1 terms ----------------------------------------------------------------------------------------------------

test("5.1: whoever sees a higher term follows it, in every role", () => {
  for (const role of ["follower", "candidate", "leader"]) {
    const member = memberOf(3);
    if (role === "candidate") member.node.campaign();
    if (role === "leader") member.lead();
    member.work();
    member.hear({ type: append, from: 2n, term: 9, logTerm: 0, index: 1 });
    assert.equal(state(member), "follower 9");
    assert.equal(member.node.basicStatus().leader, 2n);
  }
});

test("5.1: what comes from a lower term is ignored", () => {
  const member = memberOf(3);
  member.hear({ type: append, from: 2n, term: 5, index: 1 });
  const sent = member.hear({ type: append, from: 3n, term: 4, index: 1, entries: [entry(4, 2)] });
  assert.deepEqual(sent, []);
  assert.equal(member.storage.lastIndex(), 1);
});

// ---- 5.2 elections ------------------------------------------------------------------------------------------------

test("5.2: a member starts as a follower, and stays one while it hears from a leader", () => {
  const member = memberOf(3);
  assert.equal(state(member), "follower 0");
  for (let round = 0; round < 30; round++) {
    member.tick(5);
    member.hear({ type: heartbeat, from: 2n, term: 1 });
  }
  assert.equal(state(member), "follower 1");
});

test("5.2: a follower that hears nothing campaigns, votes for itself and asks all others", () => {
  const member = memberOf(3);
  const sent = member.tick(10);
  assert.equal(state(member), "candidate 1");
  assert.equal(member.node.basicStatus().vote, 1n);
  assert.deepEqual(toAll(sent, vote), [2n, 3n]);
});

test("5.2: a candidate that gets nowhere campaigns again, in the next term", () => {
  const member = memberOf(3);
  member.tick(20);
  assert.equal(state(member), "candidate 2");
});

test("5.2: a majority of votes makes a leader, a majority of refusals a follower", () => {
  for (const [size, granted, refused, expected] of [
    [1, 0, 0, "leader 1"],
    [3, 1, 0, "leader 1"],
    [3, 1, 1, "leader 1"],
    [3, 0, 1, "candidate 1"],
    [3, 0, 2, "follower 1"],
    [5, 1, 1, "candidate 1"],
    [5, 2, 2, "leader 1"],
    [5, 1, 3, "follower 1"],
    [4, 1, 1, "candidate 1"],
    [4, 1, 2, "follower 1"],
  ] as const) {
    const member = memberOf(size);
    member.node.campaign();
    member.work();
    for (let at = 0; at < granted + refused; at++) {
      member.hear({ type: voteResponse, from: BigInt(at + 2), term: 1, reject: at >= granted });
    }
    assert.equal(state(member), expected, `${granted} of ${size} for, ${refused} against`);
  }
});

test("5.2: a vote is given once a term, to the first who asks, and again to the same", () => {
  const member = memberOf(3);
  const ask = (from: bigint, term: number): boolean | undefined =>
    member.hear({ type: vote, from, term, index: 1 }).find(({ type }) => type === voteResponse)?.reject;
  assert.equal(ask(2n, 1), false);
  assert.equal(ask(3n, 1), true);
  assert.equal(ask(2n, 1), false);
  assert.equal(ask(3n, 2), false);
});

test("5.2: a candidate gives way to the leader of its term", () => {
  const member = memberOf(3);
  member.tick(10);
  member.hear({ type: append, from: 3n, term: 1, index: 1 });
  assert.equal(state(member), "follower 1");
});

test("5.2: a leader sends heartbeats to all", () => {
  const member = memberOf(3);
  member.lead();
  assert.deepEqual(toAll(member.tick(1), heartbeat), [2n, 3n]);
});

test("5.2: timeouts are spread over a whole election timeout, so that few votes split", () => {
  const seen = new Set<number>();
  for (let draw = 0; draw < 10; draw++) {
    const member = memberOf(3, [], { random: { below: () => draw } });
    let ticks = 0;
    while (state(member) === "follower 0") ticks += member.tick(1).length >= 0 ? 1 : 0;
    seen.add(ticks);
  }
  assert.deepEqual([...seen], [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
});

// ---- 5.3 log replication ------------------------------------------------------------------------------------------

/** Answers each append as a follower that takes it. */
function acknowledge(member: LoneMember, messages: readonly Message[], from: readonly bigint[]): Message[] {
  const appends = messages.filter(({ type, to }) => type === append && from.includes(to));
  return appends.flatMap(({ to, term, index, entries }) =>
    member.hear({ type: appendResponse, from: to, term, index: index + entries.length }),
  );
}

test("5.3: a proposal goes to the leader's log and to all followers, with the entry before it", () => {
  const member = memberOf(3);
  acknowledge(member, member.lead(), [2n, 3n]);
  const sent = member.propose("x").filter(({ type }) => type === append);
  assert.deepEqual(
    sent.map(({ to, index, logTerm, entries }) => [to, index, logTerm, textsOf(entries)]),
    [
      [2n, 2, 1, ["x"]],
      [3n, 2, 1, ["x"]],
    ],
  );
});

test("5.3: an entry is committed when a majority has it", () => {
  for (const [size, acks, committed] of [
    [1, [], true],
    [3, [], false],
    [3, [2n], true],
    [5, [2n], false],
    [5, [2n, 5n], true],
  ] as const) {
    const member = memberOf(size);
    acknowledge(member, member.lead(), [2n, 3n, 4n, 5n]);
    const sent = member.propose("x");
    acknowledge(member, sent, acks);
    assert.equal(textsOf(member.applied).includes("x"), committed, `${acks.length} of ${size - 1} followers`);
  }
});

test("5.3: committing an entry commits all before it, those of earlier leaders too", () => {
  const member = memberOf(3, [1, 2]);
  member.hear({ type: heartbeat, from: 2n, term: 2 });
  acknowledge(member, member.lead(), [2n]);
  assert.deepEqual(termsOf(member.applied), [1, 2, 3]);
});

test("5.3: followers learn what is committed and apply it in log order", () => {
  const member = memberOf(3);
  member.hear({ type: append, from: 2n, term: 1, index: 1, entries: [entry(1, 2, "a"), entry(1, 3, "b")], commit: 2 });
  assert.deepEqual(textsOf(member.applied), ["a"]);
  member.hear({ type: append, from: 2n, term: 1, index: 3, logTerm: 1, commit: 3 });
  assert.deepEqual(textsOf(member.applied), ["a", "b"]);
});

test("5.3: a follower refuses entries that do not fit, and says where to look", () => {
  const member = memberOf(3, [1, 1, 2]);
  for (const [index, logTerm, hint, hintTerm] of [
    [9, 2, 4, 2],
    [4, 1, 3, 1],
  ] as const) {
    const [answer] = member.hear({ type: append, from: 2n, term: 5, index, logTerm });
    assert.ok(answer?.reject === true);
    assert.deepEqual([answer.index, answer.rejectHint, answer.logTerm], [index, hint, hintTerm]);
  }
});

test("5.3: a leader makes a follower's log equal to its own, whatever is in it (figure 7)", () => {
  const leaderTerms = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
  for (const terms of [
    [1, 1, 1, 4, 4, 5, 5, 6, 6],
    [1, 1, 1, 4],
    [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
    [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
    [1, 1, 1, 4, 4, 4, 4],
    [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
  ]) {
    const leader = memberOf(3, leaderTerms);
    leader.hear({ type: heartbeat, from: 2n, term: 7 });
    const follower = memberOf(3, terms);
    let toFollower = leader.lead().filter(({ to, type }) => to === 2n && type === append);
    for (let round = 0; toFollower.length > 0; round++) {
      assert.ok(round < 20, "it does not end");
      const answers = toFollower.flatMap((message) => {
        follower.node.step({ ...message, to: 1n, from: 2n });
        return follower.work();
      });
      toFollower = answers
        .flatMap((answer) => {
          leader.node.step({ ...answer, to: 1n, from: 2n });
          return leader.work();
        })
        .filter(({ to, type }) => to === 2n && type === append);
    }
    const all = ({ storage }: LoneMember): number[] =>
      termsOf(storage.entries(2, storage.lastIndex() + 1, Number.POSITIVE_INFINITY));
    assert.deepEqual(all(follower), [...leaderTerms, 8]);
    assert.deepEqual(all(leader), [...leaderTerms, 8]);
  }
});

// ---- 5.4 safety ---------------------------------------------------------------------------------------------------

test("5.4.1: a vote is refused to those whose log is older", () => {
  for (const [terms, logTerm, index, reject] of [
    [[1], 1, 2, false],
    [[1], 1, 3, false],
    [[1, 1], 1, 2, true],
    [[1], 2, 2, false],
    [[1, 1], 2, 2, false],
    [[2], 1, 9, true],
  ] as const) {
    const member = memberOf(3, terms);
    const [answer] = member.hear({ type: vote, from: 2n, term: 5, logTerm, index });
    assert.equal(answer?.reject, reject, `${terms.join()} against ${logTerm}/${index}`);
  }
});

test("5.4.1: a candidate says how its log ends", () => {
  const member = memberOf(3, [1, 3]);
  member.node.campaign();
  const asked = member.work().filter(({ type }) => type === vote);
  assert.deepEqual(
    asked.map(({ logTerm, index }) => [logTerm, index]),
    [
      [3, 3],
      [3, 3],
    ],
  );
});

test("5.4.2: an entry of an earlier term is not committed by counting (figure 8)", () => {
  const member = memberOf(3, [1, 2]);
  member.hear({ type: heartbeat, from: 2n, term: 2 });
  member.lead();
  const { term } = member.node.basicStatus();
  member.hear({ type: appendResponse, from: 2n, term, index: 3 });
  assert.equal(member.node.basicStatus().commit, 1, "two of three have 2/3, and still it may be overwritten");
  member.hear({ type: appendResponse, from: 2n, term, index: 4 });
  assert.equal(member.node.basicStatus().commit, 4, "an entry of this term carries it along");
});

// ---- 8 client interaction -----------------------------------------------------------------------------------------

test("8: a new leader starts with an empty entry", () => {
  const member = memberOf(3, [1]);
  member.hear({ type: heartbeat, from: 2n, term: 1 });
  const sent = member.lead().filter(({ type }) => type === append);
  assert.deepEqual(
    sent.map(({ entries }) => entries.map((one) => [one.term, one.data.length])),
    [[[2, 0]], [[2, 0]]],
  );
});

test("a vote, and an acknowledged append, survive a crash", () => {
  const member = memberOf(3);
  member.hear({ type: vote, from: 2n, term: 4, index: 1 });
  const { hardState } = member.storage.initialState();
  assert.deepEqual([hardState.term, hardState.vote], [4, 2n]);
  const [answer] = member.hear({ type: append, from: 2n, term: 4, index: 1, entries: entriesOf([4], 2) });
  assert.equal(answer?.index, 2);
  assert.equal(member.storage.term(2), 4, "it was written before the answer left");
});

test("messages of another role do no harm", () => {
  const member = memberOf(3);
  member.lead();
  const before = state(member);
  for (const type of [MessageType.timeoutNow, MessageType.readIndexResponse, MessageType.heartbeatResponse]) {
    member.node.step(makeMessage({ type, from: 2n, to: 1n, term: 1 }));
  }
  assert.equal(state(member), before);
});
