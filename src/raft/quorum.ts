/**
 * Majorities: what index is committed, and how a vote stands, in one set of voters and in two at once (a joint
 * configuration, where each set must agree).
 *
 * Law: an empty set agrees to everything. So a joint configuration whose other half is empty behaves as the one half alone.
 */

/** Voters, ascending, without duplicates. */
export type VoterSet = readonly bigint[];

/** The voters to come and, while a change is under way, those that were; `outgoing` is empty otherwise. */
export interface JointVoters {
  readonly incoming: VoterSet;
  readonly outgoing: VoterSet;
}

/** The index that a voter has acknowledged; undefined when it has not been heard of, which counts as zero. */
export type AckedIndex = (voter: bigint) => number | undefined;

export type VoteResult = "pending" | "lost" | "won";

/** The highest index that a majority of `voters` has; infinity when there are none. */
export function majorityCommittedIndex(voters: VoterSet, acked: AckedIndex): number {
  const count = voters.length;
  if (count === 1) return acked(voters[0]!) ?? 0;
  if (count === 0) return Number.POSITIVE_INFINITY;
  const indexes = voters.map((voter) => acked(voter) ?? 0).sort((a, b) => a - b);
  // Half of the voters, rounded down, may be ahead of or behind the one that decides.
  return indexes[Math.ceil(count / 2) - 1]!;
}

export function jointCommittedIndex(voters: JointVoters, acked: AckedIndex): number {
  const incoming = majorityCommittedIndex(voters.incoming, acked);
  return voters.outgoing.length === 0 ? incoming : Math.min(incoming, majorityCommittedIndex(voters.outgoing, acked));
}

/** How the vote stands; who is not in `votes` has not voted yet. */
export function majorityVoteResult(voters: VoterSet, votes: ReadonlyMap<bigint, boolean>): VoteResult {
  if (voters.length === 0) return "won";
  let granted = 0;
  let missing = 0;
  for (const voter of voters) {
    const vote = votes.get(voter);
    if (vote === undefined) missing++;
    else if (vote) granted++;
  }
  const needed = Math.floor(voters.length / 2) + 1;
  if (granted >= needed) return "won";
  return granted + missing >= needed ? "pending" : "lost";
}

/** Won when both halves are won, lost when either is lost. */
export function jointVoteResult(voters: JointVoters, votes: ReadonlyMap<bigint, boolean>): VoteResult {
  const incoming = majorityVoteResult(voters.incoming, votes);
  const outgoing = majorityVoteResult(voters.outgoing, votes);
  if (incoming === outgoing) return incoming;
  return incoming === "lost" || outgoing === "lost" ? "lost" : "pending";
}

/** Everyone who votes in either half, ascending. */
export function allVoters(voters: JointVoters): VoterSet {
  if (voters.outgoing.length === 0) return voters.incoming;
  return sortedIds(new Set([...voters.incoming, ...voters.outgoing]));
}

/** IDs in ascending order. */
export function sortedIds(ids: Iterable<bigint>): bigint[] {
  return [...ids].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

// ---- text ---------------------------------------------------------------------------------------------------------

/** A set as `(1 2 a)`, in hexadecimal. */
export function describeVoterSet(voters: VoterSet): string {
  return `(${voters.map((id) => id.toString(16)).join(" ")})`;
}

/** Both sets as `(1 2)&&(3)`; one alone when the other is empty. */
export function describeJointVoters(voters: JointVoters): string {
  const incoming = describeVoterSet(voters.incoming);
  return voters.outgoing.length === 0 ? incoming : `${incoming}&&${describeVoterSet(voters.outgoing)}`;
}

/**
 * Draws what each voter has acknowledged; the longer the bar, the more voters are behind it:
 *
 *            idx
 *     x>     100    (id=1)
 *     xx>    101    (id=2)
 *     >       99    (id=3)
 */
export function describeAcked(voters: VoterSet, acked: AckedIndex): string {
  if (voters.length === 0) return "<empty majority quorum>";
  const width = voters.length;
  const rows = voters.map((id) => ({ id, index: acked(id) }));
  let text = `${" ".repeat(width)}    idx\n`;
  for (const { id, index } of rows) {
    const behind = rows.filter((other) => (other.index ?? 0) < (index ?? 0)).length;
    const bar = index === undefined ? `?${" ".repeat(width)}` : `${"x".repeat(behind)}>${" ".repeat(width - behind)}`;
    text += `${bar} ${String(index ?? 0).padStart(5)}    (id=${id.toString(16)})\n`;
  }
  return text;
}

/** A committed index; infinity, of an empty set, is `∞`. */
export function describeIndex(index: number): string {
  return index === Number.POSITIVE_INFINITY ? "∞" : String(index);
}
