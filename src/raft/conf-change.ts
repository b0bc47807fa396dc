/**
 * Changes to the configuration: from one membership and a list of steps to the next membership, or a reason why not.
 *
 *     simple        at most one voter differs: old and new majorities overlap, so one step is safe
 *     enter joint   any number of steps: both majorities must agree until the joint configuration is left
 *     leave joint   the outgoing half is gone; demoted voters become learners
 *
 * Law: the membership given is never altered; a refusal leaves no trace.
 */
import { invariant } from "../base/errors.js";
import { ConfChangeType, type ConfChangeSingle, type ConfState } from "../proto/raft.js";
import { isJoint, type Configuration } from "./configuration.js";
import type { Inflights } from "./inflights.js";
import { Progress } from "./progress.js";
import { sortedIds } from "./quorum.js";
import type { Membership } from "./tracker.js";

export type ChangeOutcome =
  { readonly kind: "changed"; readonly membership: Membership } | { readonly kind: "refused"; readonly reason: string };

/** What a member that joins starts with. */
export interface Newcomer {
  /** The leader's last index: probing for where the newcomer's log ends starts there. */
  readonly lastIndex: number;
  newInflights(): Inflights;
}

const refused = (reason: string): ChangeOutcome => ({ kind: "refused", reason });

/** Carries out steps in one go. Refused when more than one voter comes or goes, and in a joint configuration. */
export function changeSimply(from: Membership, steps: readonly ConfChangeSingle[], newcomer: Newcomer): ChangeOutcome {
  if (isJoint(from.configuration)) return refused("can't apply simple config change in joint config");
  const draft = new Draft(from);
  draft.carryOut(steps, newcomer);
  if (draft.incoming.size === 0) return refused("removed all voters");
  const before = new Set(from.configuration.voters.incoming);
  const came = [...draft.incoming].filter((id) => !before.has(id)).length;
  const went = [...before].filter((id) => !draft.incoming.has(id)).length;
  if (came + went > 1) return refused("more than one voter changed without entering joint config");
  return draft.finish();
}

/** Carries out steps on the incoming half; the voters that are become the outgoing half. */
export function enterJoint(
  from: Membership,
  autoLeave: boolean,
  steps: readonly ConfChangeSingle[],
  newcomer: Newcomer,
): ChangeOutcome {
  if (isJoint(from.configuration)) return refused("config is already joint");
  const draft = new Draft(from);
  if (draft.incoming.size === 0) return refused("can't make a zero-voter config joint");
  draft.outgoing = new Set(draft.incoming);
  draft.carryOut(steps, newcomer);
  if (draft.incoming.size === 0) return refused("removed all voters");
  draft.autoLeave = autoLeave;
  return draft.finish();
}

/** Drops the outgoing half. */
export function leaveJoint(from: Membership): ChangeOutcome {
  if (!isJoint(from.configuration)) return refused("can't leave a non-joint config");
  const draft = new Draft(from);
  for (const id of draft.learnersNext) {
    draft.learners.add(id);
    draft.progress.get(id)!.isLearner = true;
  }
  draft.learnersNext.clear();
  for (const id of draft.outgoing) {
    if (!draft.incoming.has(id) && !draft.learners.has(id)) draft.progress.delete(id);
  }
  draft.outgoing = new Set();
  draft.autoLeave = false;
  return draft.finish();
}

/**
 * The membership that a stored state stands for, built from an empty one by the same steps that any member took: first the
 * outgoing half, then one joint change to the rest.
 */
export function restoreMembership(empty: Membership, state: ConfState, newcomer: Newcomer): ChangeOutcome {
  const adding = (type: ConfChangeType) => (nodeId: bigint) => ({ type, nodeId });
  const addVoter = adding(ConfChangeType.addNode);
  const arrive = [
    ...state.voters.map(addVoter),
    ...state.learners.map(adding(ConfChangeType.addLearnerNode)),
    ...state.learnersNext.map(adding(ConfChangeType.addLearnerNode)),
  ];
  if (state.votersOutgoing.length === 0) return changeOneByOne(empty, arrive, newcomer);
  const before = changeOneByOne(empty, state.votersOutgoing.map(addVoter), newcomer);
  if (before.kind === "refused") return before;
  const leave = state.votersOutgoing.map(adding(ConfChangeType.removeNode));
  return enterJoint(before.membership, state.autoLeave, [...leave, ...arrive], newcomer);
}

function changeOneByOne(from: Membership, steps: readonly ConfChangeSingle[], newcomer: Newcomer): ChangeOutcome {
  let membership = from;
  for (const step of steps) {
    const outcome = changeSimply(membership, [step], newcomer);
    if (outcome.kind === "refused") return outcome;
    membership = outcome.membership;
  }
  return { kind: "changed", membership };
}

/** A membership in the making. */
class Draft {
  readonly incoming: Set<bigint>;
  outgoing: Set<bigint>;
  readonly learners: Set<bigint>;
  readonly learnersNext: Set<bigint>;
  readonly progress: Map<bigint, Progress>;
  autoLeave: boolean;

  constructor({ configuration, progress }: Membership) {
    this.incoming = new Set(configuration.voters.incoming);
    this.outgoing = new Set(configuration.voters.outgoing);
    this.learners = new Set(configuration.learners);
    this.learnersNext = new Set(configuration.learnersNext);
    this.autoLeave = configuration.autoLeave;
    this.progress = new Map([...progress].map(([id, one]) => [id, one.clone()]));
  }

  carryOut(steps: readonly ConfChangeSingle[], newcomer: Newcomer): void {
    for (const { type, nodeId } of steps) {
      // An application voids a committed step by setting its member to zero.
      if (nodeId === 0n) continue;
      if (type === ConfChangeType.addNode) this.#makeVoter(nodeId, newcomer);
      else if (type === ConfChangeType.addLearnerNode) this.#makeLearner(nodeId, newcomer);
      else if (type === ConfChangeType.removeNode) this.#remove(nodeId);
    }
  }

  #makeVoter(id: bigint, newcomer: Newcomer): void {
    const known = this.progress.get(id);
    if (known === undefined) this.#join(id, false, newcomer);
    else known.isLearner = false;
    this.learners.delete(id);
    this.learnersNext.delete(id);
    this.incoming.add(id);
  }

  #makeLearner(id: bigint, newcomer: Newcomer): void {
    const known = this.progress.get(id);
    if (known === undefined) {
      this.#join(id, true, newcomer);
      this.learners.add(id);
      return;
    }
    if (known.isLearner) return;
    this.#remove(id);
    this.progress.set(id, known);
    if (this.outgoing.has(id)) {
      // It still votes in the outgoing half: it becomes a learner when that half is gone.
      this.learnersNext.add(id);
    } else {
      known.isLearner = true;
      this.learners.add(id);
    }
  }

  #remove(id: bigint): void {
    if (!this.progress.has(id)) return;
    this.incoming.delete(id);
    this.learners.delete(id);
    this.learnersNext.delete(id);
    // One who still votes in the outgoing half still receives the log.
    if (!this.outgoing.has(id)) this.progress.delete(id);
  }

  #join(id: bigint, isLearner: boolean, newcomer: Newcomer): void {
    const progress = new Progress(0, Math.max(newcomer.lastIndex, 1), newcomer.newInflights(), isLearner);
    // Counted as active until the next check of the quorum: the newcomer has had no time to answer.
    progress.recentActive = true;
    this.progress.set(id, progress);
  }

  finish(): ChangeOutcome {
    const configuration: Configuration = {
      voters: { incoming: sortedIds(this.incoming), outgoing: sortedIds(this.outgoing) },
      learners: sortedIds(this.learners),
      learnersNext: sortedIds(this.learnersNext),
      autoLeave: this.autoLeave,
    };
    const membership = { configuration, progress: this.progress };
    checkMembership(membership);
    return { kind: "changed", membership };
  }
}

/**
 * Asserts the laws of `configuration.ts` and that exactly the members of the configuration have progress.
 *
 * @throws InvariantError
 */
export function checkMembership({ configuration, progress }: Membership): void {
  const { voters, learners, learnersNext, autoLeave } = configuration;
  const everyone = new Set([...voters.incoming, ...voters.outgoing, ...learners, ...learnersNext]);
  for (const id of everyone) invariant(progress.has(id), () => `no progress for ${id}`);
  for (const id of progress.keys()) invariant(everyone.has(id), () => `progress for ${id}, who is not a member`);
  for (const id of learnersNext) {
    invariant(voters.outgoing.includes(id), () => `${id} is to become a learner, but is not an outgoing voter`);
    invariant(!progress.get(id)!.isLearner, () => `${id} is to become a learner, but is marked as one already`);
  }
  for (const id of learners) {
    invariant(!voters.outgoing.includes(id), () => `${id} is a learner and an outgoing voter`);
    invariant(!voters.incoming.includes(id), () => `${id} is a learner and a voter`);
    invariant(progress.get(id)!.isLearner, () => `${id} is a learner, but is not marked as one`);
  }
  if (isJoint(configuration)) return;
  invariant(learnersNext.length === 0, "learners to come exist outside a joint configuration");
  invariant(!autoLeave, "auto-leave is set outside a joint configuration");
}
