/**
 * Scripts about quorums.
 *
 *     committed cfg=(1,2,3) [cfgj=(3,4)|zero] idx=(100,_,101)     what is committed when the voters have acknowledged this
 *     vote      cfg=(1,2,3) [cfgj=(3,4)|zero] votes=(y,n,_)       how a vote stands
 *
 * Values belong to the voters in order of their first mention; `_` is one who has not answered. Laws that must hold for any
 * input (symmetry; an empty or equal other half changes nothing) are tried along the way and spoil the output when they do not.
 */
import {
  allVoters,
  describeAcked,
  describeIndex,
  jointCommittedIndex,
  jointVoteResult,
  majorityCommittedIndex,
  majorityVoteResult,
  sortedIds,
  type AckedIndex,
  type JointVoters,
  type VoteResult,
  type VoterSet,
} from "../quorum.js";
import { parseId, parseUint, ScriptError, type Command } from "./script-file.js";

export const QUORUM_COMMANDS: ReadonlySet<string> = new Set(["committed", "vote"]);

const VOTES = new Map<string, number>([
  ["_", 0],
  ["n", 1],
  ["y", 2],
]);

const RESULTS: Readonly<Record<VoteResult, string>> = { pending: "VotePending", lost: "VoteLost", won: "VoteWon" };

/** Runs one command; a script of this kind has no state. */
export function runQuorumCommand(command: Command): string {
  const incoming = idsOf(command, "cfg");
  const isJoint = command.args.some(({ key }) => key === "cfgj");
  const outgoing = valuesOf(command, "cfgj").join() === "zero" ? [] : idsOf(command, "cfgj");
  const values =
    command.name === "vote" ? valuesOf(command, "votes").map(parseVote) : valuesOf(command, "idx").map(parseIndex);
  const voters: JointVoters = { incoming: sortedIds(new Set(incoming)), outgoing: sortedIds(new Set(outgoing)) };
  const everyone = allVoters(voters);
  if (everyone.length !== values.length) {
    const names = everyone.map((id) => `${id}:{}`).join(" ");
    return `error: mismatched input (explicit or _) for voters map[${names}]: [${values.join(" ")}]`;
  }
  const answers = assign([...incoming, ...outgoing], values);
  return command.name === "vote" ? runVote(voters, answers, isJoint) : runCommitted(voters, answers, isJoint);
}

function valuesOf(command: Command, name: string): readonly string[] {
  return command.args.filter(({ key }) => key === name).flatMap(({ values }) => values);
}

function idsOf(command: Command, name: string): bigint[] {
  return valuesOf(command, name).map(parseId);
}

function parseVote(text: string): number {
  const vote = VOTES.get(text);
  if (vote === undefined) throw new ScriptError(`unknown vote: ${text}`);
  return vote;
}

function parseIndex(text: string): number {
  if (text === "_") return 0;
  const index = parseUint(text);
  if (index === 0) throw new ScriptError("cannot use 0 as idx");
  return index;
}

/** Who gets which value; those with 0 have not answered. */
function assign(ids: readonly bigint[], values: readonly number[]): Map<bigint, number> {
  const distinct = [...new Set(ids)];
  return new Map(distinct.map((id, at) => [id, values[at]!] as const).filter(([, value]) => value !== 0));
}

function runCommitted(voters: JointVoters, answers: ReadonlyMap<bigint, number>, isJoint: boolean): string {
  const acked: AckedIndex = (id) => answers.get(id);
  const { incoming, outgoing } = voters;
  if (isJoint) {
    const index = jointCommittedIndex(voters, acked);
    const mirrored = jointCommittedIndex({ incoming: outgoing, outgoing: incoming }, acked);
    return `${describeAcked(allVoters(voters), acked)}${protest(mirrored, index, "via symmetry")}${describeIndex(index)}\n`;
  }
  const index = majorityCommittedIndex(incoming, acked);
  return (
    describeAcked(incoming, acked) +
    protest(committedByCounting(incoming, acked), index, "via alternative computation") +
    protest(jointCommittedIndex({ incoming, outgoing: [] }, acked), index, "via zero-joint quorum") +
    protest(jointCommittedIndex({ incoming, outgoing: incoming }, acked), index, "via self-joint quorum") +
    protestsOfLaggards(incoming, acked, index) +
    `${describeIndex(index)}\n`
  );
}

/** Who lags behind what is committed may lag more, or have nothing: it makes no difference. */
function protestsOfLaggards(voters: VoterSet, acked: AckedIndex, index: number): string {
  let text = "";
  for (const voter of voters) {
    const own = acked(voter) ?? 0;
    if (own === 0 || own >= index) continue;
    for (const less of [own - 1, 0]) {
      const other = majorityCommittedIndex(voters, (id) => (id === voter ? less : acked(id)));
      text += protest(other, index, `overlaying ${voter}->${less}`);
    }
  }
  return text;
}

/** The definition, word for word: the highest acknowledged index that a majority has reached. */
export function committedByCounting(voters: VoterSet, acked: AckedIndex): number {
  if (voters.length === 0) return Number.POSITIVE_INFINITY;
  const indexes = voters.map((id) => acked(id) ?? 0);
  const reached = indexes.filter((index) => indexes.filter((other) => other >= index).length * 2 > voters.length);
  return Math.max(0, ...reached);
}

function runVote(voters: JointVoters, answers: ReadonlyMap<bigint, number>, isJoint: boolean): string {
  const votes = new Map([...answers].map(([id, answer]) => [id, answer === 2] as const));
  if (!isJoint) return `${RESULTS[majorityVoteResult(voters.incoming, votes)]}\n`;
  const result = jointVoteResult(voters, votes);
  const mirrored = jointVoteResult({ incoming: voters.outgoing, outgoing: voters.incoming }, votes);
  const objection = mirrored === result ? "" : `${RESULTS[mirrored]} <-- via symmetry\n`;
  return `${objection}${RESULTS[result]}\n`;
}

function protest(other: number, index: number, how: string): string {
  return other === index ? "" : `${describeIndex(other)} <-- ${how}\n`;
}
