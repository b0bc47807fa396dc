import assert from "node:assert/strict";
import { test } from "node:test";
import type { Member } from "../membership/member.js";
import {
  isLearnerReady,
  longestConnected,
  refusalToAdd,
  refusalToPromote,
  refusalToRemove,
  type ClusterView,
} from "./reconfiguration.js";

const NOW = 100_000;
const member = (id: bigint, fields: Partial<Member> = {}): Member => ({
  id,
  peerUrls: [`http://peer-${id}:2380`],
  isLearner: false,
  name: `member-${id}`,
  clientUrls: [`http://client-${id}:2379`],
  ...fields,
});
const unstarted = (id: bigint): Member => member(id, { name: "", clientUrls: [] });
const learner = (id: bigint): Member => member(id, { isLearner: true });

/** A cluster seen by member 1; `since` says how long ago the others connected, in milliseconds. */
function view(members: readonly Member[], since: Readonly<Record<string, number>> = {}): ClusterView {
  return {
    localId: 1n,
    members,
    now: NOW,
    activeSince: (id) => (since[String(id)] === undefined ? undefined : NOW - since[String(id)]!),
  };
}

const LONG = 60_000;
const all = { "2": LONG, "3": LONG };
const three = [member(1n), member(2n), member(3n)];

/** What etcd's strict checks say of a change; `ok` when they let it pass. */
const verdicts: readonly (readonly [string, string, () => { code: string } | undefined])[] = [
  ["a voter joins three healthy ones", "ok", () => refusalToAdd(view(three, all), member(4n))],
  ["a voter joins the only one", "ok", () => refusalToAdd(view([member(1n)]), member(2n))],
  [
    "a voter joins one that waits for another",
    "SERVER_NOT_ENOUGH_STARTED",
    () => refusalToAdd(view([member(1n), unstarted(2n)], { "2": LONG }), member(3n)),
  ],
  [
    "a learner joins one that waits for another, which is away",
    "SERVER_UNHEALTHY",
    () => refusalToAdd(view([member(1n), unstarted(2n)]), learner(3n)),
  ],
  ["a voter joins while one is away", "SERVER_UNHEALTHY", () => refusalToAdd(view(three, { "2": LONG }), member(4n))],
  [
    "a voter joins while one came back a second ago",
    "SERVER_UNHEALTHY",
    () => refusalToAdd(view(three, { "2": LONG, "3": 1_000 }), member(4n)),
  ],
  ["a voter of three leaves", "ok", () => refusalToRemove(view(three, all), 3n)],
  ["one that is away leaves", "ok", () => refusalToRemove(view(three, { "2": LONG }), 3n)],
  [
    "one that is there leaves while another is away",
    "SERVER_UNHEALTHY",
    () => refusalToRemove(view(three, { "2": LONG }), 2n),
  ],
  [
    "the leader leaves while another is away",
    "SERVER_UNHEALTHY",
    () => refusalToRemove(view(three, { "2": LONG }), 1n),
  ],
  ["a learner leaves while all are away", "ok", () => refusalToRemove(view([...three, learner(4n)]), 4n)],
  ["the only one leaves", "SERVER_NOT_ENOUGH_STARTED", () => refusalToRemove(view([member(1n)]), 1n)],
  [
    "the only started one leaves",
    "SERVER_NOT_ENOUGH_STARTED",
    () => refusalToRemove(view([member(1n), unstarted(2n)], { "2": LONG }), 1n),
  ],
  ["a learner is promoted", "ok", () => refusalToPromote(view([...three, learner(4n)], all))],
  [
    "a learner is promoted beside two that were never started",
    "SERVER_NOT_ENOUGH_STARTED",
    () => refusalToPromote(view([member(1n), unstarted(2n), unstarted(3n), learner(4n)], all)),
  ],
];

for (const [what, verdict, refusal] of verdicts) {
  test(`${what}: ${verdict === "ok" ? "may be proposed" : verdict}`, () => {
    assert.equal(refusal()?.code ?? "ok", verdict);
  });
}

test("a learner may vote with nine tenths of the leader's log", () => {
  assert.equal(isLearnerReady(899, 1_000), false);
  assert.equal(isLearnerReady(900, 1_000), true);
});

test("leadership goes to the voter that is connected longest, never to a learner or one that is away", () => {
  assert.equal(longestConnected(view(three, { "2": 1_000, "3": 2_000 })), 3n);
  assert.equal(longestConnected(view([...three, learner(4n)], { "2": 1_000, "4": LONG })), 2n);
  assert.equal(longestConnected(view(three)), undefined);
});
