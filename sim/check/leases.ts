/**
 * Whether leases keep their time, and whether what is said of them is true.
 *
 * - never early: nobody but a client ends a lease before its time, counted from its grant, and from each renewal that a client was told
 *   of, as that client may measure it: from when it asked. Clocks may run too fast, by a bound;
 * - true answers: nobody answers as the leader long after another one has come; a renewal tells the time that was granted; a lease that is there is found, one that is gone is not, and the keys that
 *   hang on it are those of the store.
 *
 * A leader that was deposed and does not know it yet answers from what it has, in etcd as here; a new one has an election timeout on
 * top of every lease for that. So what was answered while somebody led without right, or before he knew all that was committed, counts as far as that
 * goes: it may be so much too early, and says nothing of what is there. In a world in which messages come very late not even that holds.
 */
import type { LeaseLife } from "./state-machine.js";

export type LeaseAnswer =
  | { readonly kind: "renewed"; readonly ttlSeconds: number }
  | {
      readonly kind: "time";
      readonly grantedSeconds: number;
      readonly leftSeconds: number;
      readonly keys: readonly string[] | undefined;
    }
  | { readonly kind: "not found" }
  /** It was revoked. */
  | { readonly kind: "revoked" };

/** A question to a member about a lease, and what was answered. */
export interface LeaseCall {
  readonly asked: "renew" | "time" | "revoke";
  readonly lease: string;
  readonly member: string;
  readonly calledMs: number;
  /** Index of the last entry that was known to be committed then. */
  readonly committedBefore: number;
  /** Undefined while it is not answered. */
  answer: LeaseAnswer | undefined;
  answeredMs: number;
  committedAfter: number;
}

/** Somebody leads, or takes himself for the leader. */
export interface Reign {
  readonly member: string;
  readonly term: number;
  readonly fromMs: number;
  /** When it had applied an entry of its own term: it knows all that was committed before. */
  settledMs: number;
  toMs: number;
}

export interface LeaseEvidence {
  readonly calls: readonly LeaseCall[];
  readonly reigns: readonly Reign[];
  readonly leases: ReadonlyMap<string, LeaseLife>;
  /** When an entry was first durable anywhere. */
  writtenMs(index: number): number;
  /** The keys of a lease after each change from one entry to another. */
  keysBetween(lease: string, from: number, to: number): readonly (readonly string[])[];
  readonly electionMs: number;
  /** Local time passes at most so much faster than the world's. */
  readonly rateMax: number;
  /** Whether messages may come so late that a leader without right does not find it out. */
  readonly messagesLinger: boolean;
}

export interface LeaseViolation {
  readonly law: "lease-never-early" | "lease-answer-is-true";
  readonly detail: string;
}

/** What is left of a lease on a leader that has not given it its time yet. */
const FOR_EVER_SECONDS = 9_000_000_000;
/** Who hears of nobody is found out after two looks at his followers, by a clock that may run slow; half a timeout more is for the way of messages. */
const FOUND_OUT_ELECTIONS = 2.5;
/** For how many election timeouts a leader may go on without right: until it has missed two looks at its followers. */
const WITHOUT_RIGHT_ELECTIONS = 2;

export function checkLeases(evidence: LeaseEvidence): LeaseViolation[] {
  const revoked = new Map<string, number>();
  for (const { asked, lease, calledMs } of evidence.calls) {
    if (asked === "revoke") revoked.set(lease, Math.min(revoked.get(lease) ?? Infinity, calledMs));
  }
  const violations: LeaseViolation[] = [];
  for (const life of evidence.leases.values()) {
    if (life.revokedAt === undefined || life.isAnother) continue;
    const endedMs = evidence.writtenMs(life.revokedAt);
    if ((revoked.get(life.lease) ?? Infinity) > endedMs) {
      const early = earlyEnd(life, endedMs, evidence);
      if (early !== undefined) violations.push({ law: "lease-never-early", detail: early });
    }
  }
  for (const call of evidence.calls) {
    const untrue = untrueAnswer(call, evidence);
    if (untrue === undefined) continue;
    const who = `${call.member}, asked at ${call.calledMs.toFixed(0)} ms to ${call.asked} lease ${call.lease}`;
    violations.push({ law: "lease-answer-is-true", detail: `${who}, ${untrue}` });
  }
  return violations;
}

function earlyEnd(life: LeaseLife, endedMs: number, evidence: LeaseEvidence): string | undefined {
  const { lease, ttlSeconds, grantedAt } = life;
  const wholeMs = (ttlSeconds * 1000) / evidence.rateMax;
  const tell = (what: string, sinceMs: number): string =>
    `lease ${lease} of ${ttlSeconds} s ended by itself at ${endedMs.toFixed(0)} ms, ` +
    `${((endedMs - sinceMs) / 1000).toFixed(3)} s after ${what} (at ${sinceMs.toFixed(0)} ms)`;
  const grantedMs = evidence.writtenMs(grantedAt);
  if (endedMs < grantedMs + wholeMs) return tell("its grant", grantedMs);
  for (const { asked, lease: of, answer, calledMs, answeredMs, member } of evidence.calls) {
    if (asked !== "renew" || of !== lease || answer?.kind !== "renewed") continue;
    let dueMs = calledMs + wholeMs;
    if (isInDoubt(calledMs, answeredMs, evidence)) {
      if (evidence.messagesLinger) continue;
      dueMs -= WITHOUT_RIGHT_ELECTIONS * evidence.electionMs;
    }
    if (endedMs < dueMs)
      return tell(`a renewal that ${member} answered at ${answeredMs.toFixed(0)} ms was asked for`, calledMs);
  }
  return undefined;
}

/** Whether somebody led without right, or without knowing all that was committed, at some time in a span. */
function isInDoubt(fromMs: number, toMs: number, { reigns }: LeaseEvidence): boolean {
  const there = reigns.filter((reign) => reign.fromMs <= toMs && reign.toMs >= fromMs);
  return there.length !== 1 || there[0]!.settledMs > fromMs;
}

/** Who led in a later term, and for long, when a member answered that took itself for the leader all the time. */
function newerReign({ member, calledMs, answeredMs }: LeaseCall, evidence: LeaseEvidence): Reign | undefined {
  const { reigns, electionMs, messagesLinger } = evidence;
  const own = reigns.find((reign) => reign.member === member && reign.fromMs <= calledMs && reign.toMs >= answeredMs);
  if (own === undefined || messagesLinger) return undefined;
  const since = calledMs - FOUND_OUT_ELECTIONS * electionMs;
  return reigns.find(({ term, fromMs }) => term > own.term && fromMs < since);
}

function untrueAnswer(call: LeaseCall, evidence: LeaseEvidence): string | undefined {
  const { answer, lease, committedBefore, committedAfter, calledMs, answeredMs } = call;
  const life = evidence.leases.get(lease);
  if (answer === undefined || life?.isAnother === true) return undefined;
  const isThere = life !== undefined && life.grantedAt <= committedBefore;
  const isGone = life?.revokedAt !== undefined && life.revokedAt <= committedBefore;
  if (answer.kind === "revoked") {
    return life?.revokedAt !== undefined && life.revokedAt <= committedAfter
      ? undefined
      : "was told that it is revoked, and no entry says so";
  }
  if (answer.kind === "renewed" && life !== undefined && answer.ttlSeconds !== life.ttlSeconds)
    return `was told of ${answer.ttlSeconds} s, ${life.ttlSeconds} s were granted`;
  if (answer.kind === "time") {
    if (life === undefined) return "was told of its time, and nobody granted it";
    const most = life.ttlSeconds + Math.ceil(evidence.electionMs / 1000);
    if (answer.grantedSeconds !== life.ttlSeconds)
      return `was told that ${answer.grantedSeconds} s were granted, ${life.ttlSeconds} s were`;
    if (answer.leftSeconds > most && answer.leftSeconds < FOR_EVER_SECONDS)
      return `was told that ${answer.leftSeconds} s are left, ${life.ttlSeconds} s were granted`;
  }
  const other = newerReign(call, evidence);
  if (other !== undefined)
    return `was answered as by the leader, and ${other.member} led since ${other.fromMs.toFixed(0)} ms in a later term`;
  if (isInDoubt(calledMs, answeredMs, evidence)) return undefined;
  if (answer.kind === "not found") {
    const stays = life?.revokedAt === undefined || life.revokedAt > committedAfter;
    return isThere && stays ? "was told that there is none, and it was there all the time" : undefined;
  }
  if (isGone)
    return `was told ${answer.kind === "renewed" ? "that it is renewed" : "of its time"}, and it was gone before`;
  if (answer.kind !== "time" || answer.keys === undefined) return undefined;
  const found = JSON.stringify(answer.keys);
  const right = evidence.keysBetween(lease, committedBefore, committedAfter).map((keys) => JSON.stringify(keys));
  return right.includes(found) ? undefined : `was told of the keys ${found}, and it had ${right.join(" or ")}`;
}
