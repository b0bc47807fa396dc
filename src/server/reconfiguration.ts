/**
 * Whether a change of members may be proposed: etcd's strict checks, which keep a cluster from reconfiguring itself into the loss of its
 * quorum. Decisions only; what every member checks again when the change is applied is `Membership.validate`.
 */
import type { Member } from "../membership/member.js";
import { RequestError } from "./errors.js";

/** So long another member must have been connected to count as healthy (etcd's figure). */
const HEALTHY_AFTER_MS = 5_000;
/** A learner may vote when it has this share of the leader's log (etcd's figure). */
const LEARNER_READY_SHARE = 0.9;

/** What the checks look at. */
export interface ClusterView {
  readonly localId: bigint;
  readonly members: readonly Member[];
  /** Monotonic milliseconds. */
  readonly now: number;
  /** Since when a member is connected; undefined while it is not. */
  readonly activeSince: (id: bigint) => number | undefined;
}

const notEnoughStarted = (detail: string): RequestError => new RequestError("SERVER_NOT_ENOUGH_STARTED", detail);
const unhealthy = (detail: string): RequestError => new RequestError("SERVER_UNHEALTHY", detail);

const votersOf = ({ members }: ClusterView): Member[] => members.filter(({ isLearner }) => !isLearner);
/** A member that has published itself was started once. */
const isStarted = ({ name }: Member): boolean => name !== "";

/** How many of these members are this one, or connected with it since `since`. */
export function countConnected(view: ClusterView, members: readonly Member[], since: number): number {
  return members.filter(({ id }) => id === view.localId || isConnectedSince(view, id, since)).length;
}

export function isConnectedSince(view: ClusterView, id: bigint, since: number): boolean {
  const active = view.activeSince(id);
  return active !== undefined && active < since;
}

/** Why the member may not be added now; undefined when it may. */
export function refusalToAdd(view: ClusterView, candidate: Pick<Member, "isLearner">): RequestError | undefined {
  const voters = votersOf(view);
  const started = voters.filter(isStarted).length;
  const quorum = Math.floor((voters.length + 1) / 2) + 1;
  // A single member may always be joined: that is how a cluster grows out of a restored one.
  const isFirst = started === 1 && voters.length === 1;
  if (!candidate.isLearner && !isFirst && started < quorum) {
    return notEnoughStarted(`${started} members are started, ${quorum} would be the quorum with one more`);
  }
  const connected = countConnected(view, voters, view.now - HEALTHY_AFTER_MS);
  if (connected === voters.length) return undefined;
  return unhealthy(`${connected} of ${voters.length} voters are connected for ${HEALTHY_AFTER_MS} ms or longer`);
}

/** Why the member may not be removed now; undefined when it may. */
export function refusalToRemove(view: ClusterView, id: bigint): RequestError | undefined {
  const voters = votersOf(view);
  if (view.members.some((member) => member.id === id && member.isLearner)) return undefined;
  const others = voters.filter((member) => member.id !== id);
  const started = others.filter(isStarted).length;
  const quorum = Math.floor(others.length / 2) + 1;
  if (started < quorum) return notEnoughStarted(`${started} of the others are started, ${quorum} would be the quorum`);
  // One that is down is no part of the quorum that works.
  if (id !== view.localId && view.activeSince(id) === undefined) return undefined;
  const connected = countConnected(view, voters, view.now - HEALTHY_AFTER_MS);
  const needed = 1 + Math.floor((voters.length - 1) / 2);
  if (connected - 1 >= needed) return undefined;
  return unhealthy(`${connected - 1} voters would be left that are connected, and ${needed} are needed`);
}

/** Why the learner may not become a voter now; undefined when it may. */
export function refusalToPromote(view: ClusterView): RequestError | undefined {
  const voters = votersOf(view);
  const started = voters.filter(isStarted).length + 1; // the learner, which was found to have caught up
  const quorum = Math.floor((voters.length + 1) / 2) + 1;
  if (started >= quorum) return undefined;
  return notEnoughStarted(`${started} members are started, ${quorum} would be the quorum with the learner`);
}

/** Whether a learner has enough of the leader's log to vote. */
export function isLearnerReady(learnerMatch: number, leaderMatch: number): boolean {
  return learnerMatch >= leaderMatch * LEARNER_READY_SHARE;
}

/** The voter, other than this member, that is connected for the longest time: the one to hand leadership to. */
export function longestConnected(view: ClusterView): bigint | undefined {
  let longest: { readonly id: bigint; readonly since: number } | undefined;
  for (const { id } of votersOf(view)) {
    const since = id === view.localId ? undefined : view.activeSince(id);
    if (since !== undefined && (longest === undefined || since < longest.since)) longest = { id, since };
  }
  return longest?.id;
}
