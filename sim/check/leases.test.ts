import assert from "node:assert/strict";
import { test } from "node:test";
import { checkLeases, type LeaseAnswer, type LeaseCall, type LeaseEvidence, type Reign } from "./leases.js";
import type { LeaseLife } from "./state-machine.js";

/** Lease 7 of 2 s is made by entry 1 and ended by entry 5; entry i is written at i seconds. */
const LIFE: LeaseLife = { lease: "7", ttlSeconds: 2, leftSeconds: 0, grantedAt: 1, isAnother: false, revokedAt: 5 };
const REIGN: Reign = { member: "m1", term: 2, fromMs: 0, settledMs: 0, toMs: Infinity };

function call(
  asked: LeaseCall["asked"],
  calledMs: number,
  answer: LeaseAnswer,
  more: Partial<LeaseCall> = {},
): LeaseCall {
  const committed = Math.floor(calledMs / 1000);
  return {
    asked,
    lease: "7",
    member: "m1",
    calledMs,
    committedBefore: committed,
    answer,
    answeredMs: calledMs + 1,
    committedAfter: committed,
    ...more,
  };
}

const renewed = (calledMs: number, more: Partial<LeaseCall> = {}): LeaseCall =>
  call("renew", calledMs, { kind: "renewed", ttlSeconds: 2 }, more);
const time = (calledMs: number, more: Partial<Extract<LeaseAnswer, { kind: "time" }>> = {}): LeaseCall =>
  call("time", calledMs, { kind: "time", grantedSeconds: 2, leftSeconds: 1, keys: ["a"], ...more });

function verdict(calls: readonly LeaseCall[], more: Partial<LeaseEvidence> = {}): string {
  const [first] = checkLeases({
    calls,
    reigns: [REIGN],
    leases: new Map([["7", LIFE]]),
    writtenMs: (index) => index * 1_000,
    keysBetween: () => [["a"]],
    electionMs: 300,
    rateMax: 1,
    messagesLinger: false,
    ...more,
  });
  return first?.law ?? "right";
}

const alone = (life: Partial<LeaseLife>): Partial<LeaseEvidence> => ({
  leases: new Map([["7", { ...LIFE, ...life }]]),
});
const deposed: Partial<LeaseEvidence> = { reigns: [REIGN, { ...REIGN, member: "m2", term: 3, fromMs: 2_900 }] };

const CASES: readonly (readonly [
  what: string,
  calls: readonly LeaseCall[],
  more: Partial<LeaseEvidence>,
  verdict: string,
])[] = [
  ["it ends after its time", [], {}, "right"],
  ["it ends before its time", [], alone({ revokedAt: 2 }), "lease-never-early"],
  [
    "it ends before its time, by a clock that runs too fast",
    [],
    { ...alone({ revokedAt: 3, ttlSeconds: 2.1 }), rateMax: 1.05 },
    "right",
  ],
  [
    "a client ends it before its time",
    [call("revoke", 1_500, { kind: "revoked" }, { committedAfter: 2 })],
    alone({ revokedAt: 2 }),
    "right",
  ],
  ["it ends after the time of its renewal", [renewed(2_900)], {}, "right"],
  ["it ends before the time of its renewal", [renewed(3_100)], {}, "lease-never-early"],
  ["a renewal is lost, which a leader answered that was just deposed", [renewed(3_100)], deposed, "right"],
  [
    "a renewal is lost, which a leader answered that was deposed long ago",
    [renewed(4_000)],
    deposed,
    "lease-never-early",
  ],
  ["a leader that was deposed long ago answers", [time(4_500)], deposed, "lease-answer-is-true"],
  ["the same where messages come late", [time(4_500)], { ...deposed, messagesLinger: true }, "right"],
  [
    "another time is told than was granted",
    [call("renew", 2_000, { kind: "renewed", ttlSeconds: 3 })],
    {},
    "lease-answer-is-true",
  ],
  ["more is left than was granted", [time(2_000, { leftSeconds: 9 })], {}, "lease-answer-is-true"],
  ["what hangs on it is told", [time(2_000)], {}, "right"],
  ["something else is told to hang on it", [time(2_000, { keys: ["b"] })], {}, "lease-answer-is-true"],
  ["it is not found before it is there", [call("time", 500, { kind: "not found" })], {}, "right"],
  ["it is not found while it is there", [call("time", 2_000, { kind: "not found" })], {}, "lease-answer-is-true"],
  ["it is found after its end", [time(6_000)], {}, "lease-answer-is-true"],
  [
    "its end is told, and was not",
    [call("revoke", 3_000, { kind: "revoked" })],
    alone({ revokedAt: undefined }),
    "lease-answer-is-true",
  ],
];

for (const [what, calls, more, expected] of CASES) {
  test(`a lease: ${what}: ${expected}`, () => assert.equal(verdict(calls, more), expected));
}
