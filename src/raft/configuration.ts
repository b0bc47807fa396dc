/**
 * Who takes part: an immutable value, with the forms in which it travels.
 *
 * - `voters.incoming` decides; while a change is under way, `voters.outgoing` must agree (a joint configuration).
 * - `learners` receive the log and do not vote.
 * - `learnersNext` are voters of the outgoing half that become learners when the joint configuration is left; until then they
 *   vote, and one cannot be voter and learner at once.
 *
 * Laws: all sets ascending; `learners` is disjoint from both halves; `learnersNext` is within `outgoing`; outside a joint
 * configuration `outgoing` and `learnersNext` are empty and `autoLeave` is false.
 */
import { EMPTY_BYTES } from "../base/bytes.js";
import { invariant } from "../base/errors.js";
import {
  ConfChangeTransition,
  ConfChangeType,
  decodeConfChange,
  decodeConfChangeV2,
  encodeConfChange,
  encodeConfChangeV2,
  EntryType,
  type ConfChange,
  type ConfChangeSingle,
  type ConfChangeV2,
  type ConfState,
  type Entry,
} from "../proto/raft.js";
import { describeJointVoters, describeVoterSet, sortedIds, type JointVoters, type VoterSet } from "./quorum.js";

export interface Configuration {
  readonly voters: JointVoters;
  readonly learners: VoterSet;
  readonly learnersNext: VoterSet;
  /** Whether the leader leaves the joint configuration by itself, once it is applied. */
  readonly autoLeave: boolean;
}

export const EMPTY_CONFIGURATION: Configuration = {
  voters: { incoming: [], outgoing: [] },
  learners: [],
  learnersNext: [],
  autoLeave: false,
};

export function isJoint(configuration: Configuration): boolean {
  return configuration.voters.outgoing.length > 0;
}

export function confStateOf({ voters, learners, learnersNext, autoLeave }: Configuration): ConfState {
  return { voters: voters.incoming, votersOutgoing: voters.outgoing, learners, learnersNext, autoLeave };
}

/** Whether two states name the same members in the same roles, in whatever order. */
export function equalConfStates(a: ConfState, b: ConfState): boolean {
  return (
    a.autoLeave === b.autoLeave &&
    equalSets(a.voters, b.voters) &&
    equalSets(a.votersOutgoing, b.votersOutgoing) &&
    equalSets(a.learners, b.learners) &&
    equalSets(a.learnersNext, b.learnersNext)
  );
}

function equalSets(a: VoterSet, b: VoterSet): boolean {
  if (a.length !== b.length) return false;
  const others = sortedIds(b);
  return sortedIds(a).every((id, at) => id === others[at]);
}

/** As `voters=(1 2)&&(3) learners=(4) learners_next=(3) autoleave`, leaving out what is empty. */
export function describeConfiguration({ voters, learners, learnersNext, autoLeave }: Configuration): string {
  let text = `voters=${describeJointVoters(voters)}`;
  if (learners.length > 0) text += ` learners=${describeVoterSet(learners)}`;
  if (learnersNext.length > 0) text += ` learners_next=${describeVoterSet(learnersNext)}`;
  return autoLeave ? `${text} autoleave` : text;
}

// ---- changes ------------------------------------------------------------------------------------------------------

/** A change in its second form. The first form is one step without a transition. */
export function asConfChangeV2(change: ConfChange | ConfChangeV2): ConfChangeV2 {
  if ("changes" in change) return change;
  const { type, nodeId, context } = change;
  return { transition: ConfChangeTransition.auto, changes: [{ type, nodeId }], context };
}

/** What applying a change means: one step at once, entering a joint configuration, or leaving it. */
export type ConfChangeKind = "simple" | "enter-joint" | "enter-joint-auto-leave" | "leave-joint";

export function kindOfConfChange({ transition, changes }: ConfChangeV2): ConfChangeKind {
  if (transition === ConfChangeTransition.jointExplicit) return "enter-joint";
  if (transition === ConfChangeTransition.jointImplicit) return "enter-joint-auto-leave";
  if (changes.length === 0) return "leave-joint";
  return changes.length > 1 ? "enter-joint-auto-leave" : "simple";
}

/** Term and index are the log's to give. Undefined makes the entry that leaves a joint configuration. */
export function confChangeEntry(change: ConfChange | ConfChangeV2 | undefined): Entry {
  if (change === undefined) return { type: EntryType.confChangeV2, term: 0, index: 0, data: EMPTY_BYTES };
  if ("changes" in change) {
    return { type: EntryType.confChangeV2, term: 0, index: 0, data: encodeConfChangeV2(change) };
  }
  return { type: EntryType.confChange, term: 0, index: 0, data: encodeConfChange(change) };
}

export function isConfChange(entry: Entry): boolean {
  return entry.type !== EntryType.normal;
}

/** The change in a configuration entry, in its second form. */
export function confChangeOf(entry: Entry): ConfChangeV2 {
  invariant(isConfChange(entry), () => `entry ${entry.index} holds no configuration change`);
  return entry.type === EntryType.confChange
    ? asConfChangeV2(decodeConfChange(entry.data))
    : decodeConfChangeV2(entry.data);
}

const STEP_LETTERS = new Map<string, ConfChangeType>([
  ["v", ConfChangeType.addNode],
  ["l", ConfChangeType.addLearnerNode],
  ["r", ConfChangeType.removeNode],
  ["u", ConfChangeType.updateNode],
]);

/** Reads steps written as `v1 l2 r3 u4`: add voter, add learner, remove, update. An error is answered as text. */
export function parseConfChanges(text: string): ConfChangeSingle[] | { error: string } {
  const changes: ConfChangeSingle[] = [];
  if (text.trim() === "") return changes;
  for (const token of text.trim().split(" ")) {
    if (token.length < 2) return { error: `unknown token ${token}` };
    const type = STEP_LETTERS.get(token[0]!);
    if (type === undefined) return { error: `unknown input: ${token}` };
    const digits = token.slice(1);
    if (!/^\d+$/.test(digits)) return { error: `strconv.ParseUint: parsing "${digits}": invalid syntax` };
    changes.push({ type, nodeId: BigInt(digits) });
  }
  return changes;
}

/** Steps as `v1 l2 r3 u4`, in decimal. */
export function describeConfChanges(changes: readonly ConfChangeSingle[]): string {
  return changes.map(({ type, nodeId }) => `${letterOf(type)}${nodeId}`).join(" ");
}

function letterOf(type: ConfChangeType): string {
  for (const [letter, known] of STEP_LETTERS) if (known === type) return letter;
  return "unknown";
}
