/** The configuration together with what is known of each member: progress, and votes during an election. */
import { describeConfiguration, EMPTY_CONFIGURATION, type Configuration } from "./configuration.js";
import { Inflights } from "./inflights.js";
import type { Progress } from "./progress.js";
import { jointCommittedIndex, jointVoteResult, sortedIds, type VoteResult } from "./quorum.js";

/** A configuration and the progress of everyone in it. */
export interface Membership {
  readonly configuration: Configuration;
  readonly progress: ReadonlyMap<bigint, Progress>;
}

export class Tracker implements Membership {
  readonly inflightMessagesMax: number;
  readonly inflightBytesMax: number;
  configuration: Configuration = EMPTY_CONFIGURATION;
  progress: ReadonlyMap<bigint, Progress> = new Map();
  readonly votes = new Map<bigint, boolean>();
  /** The same as `progress`, ascending: every walk has this order, so that runs repeat exactly. */
  #members: readonly (readonly [bigint, Progress])[] = [];

  constructor(inflightMessagesMax: number, inflightBytesMax: number) {
    this.inflightMessagesMax = inflightMessagesMax;
    this.inflightBytesMax = inflightBytesMax;
  }

  get members(): readonly (readonly [bigint, Progress])[] {
    return this.#members;
  }

  /** Takes over a changed membership. */
  become({ configuration, progress }: Membership): void {
    this.configuration = configuration;
    this.progress = progress;
    this.#members = sortedIds(progress.keys()).map((id) => [id, progress.get(id)!] as const);
  }

  newInflights(): Inflights {
    return new Inflights(this.inflightMessagesMax, this.inflightBytesMax);
  }

  /** Whether `id` is a quorum by itself. (A leader that was removed is none, even if only one voter is left.) */
  isOnlyVoter(id: bigint): boolean {
    const { incoming, outgoing } = this.configuration.voters;
    return incoming.length === 1 && incoming[0] === id && outgoing.length === 0;
  }

  /** The highest index that the configuration's majorities have acknowledged. */
  committedIndex(): number {
    return jointCommittedIndex(this.configuration.voters, (id) => this.progress.get(id)?.match);
  }

  /** Whether a quorum was heard from since `recentActive` was last cleared. */
  quorumActive(): boolean {
    const active = new Map<bigint, boolean>();
    for (const [id, progress] of this.#members) if (!progress.isLearner) active.set(id, progress.recentActive);
    return jointVoteResult(this.configuration.voters, active) === "won";
  }

  /** Takes down a vote; the first one of a member counts. */
  recordVote(id: bigint, granted: boolean): void {
    if (!this.votes.has(id)) this.votes.set(id, granted);
  }

  tallyVotes(): { granted: number; rejected: number; result: VoteResult } {
    let granted = 0;
    let rejected = 0;
    for (const [id, progress] of this.#members) {
      if (progress.isLearner) continue;
      const vote = this.votes.get(id);
      if (vote === true) granted++;
      else if (vote === false) rejected++;
    }
    return { granted, rejected, result: jointVoteResult(this.configuration.voters, this.votes) };
  }
}

/** One line for each member, ascending: `ID: progress`. */
export function describeProgressMap(progress: ReadonlyMap<bigint, Progress>): string {
  return sortedIds(progress.keys())
    .map((id) => `${id}: ${progress.get(id)!.describe()}\n`)
    .join("");
}

/** The membership as the configuration's line and one line for each member. */
export function describeMembership({ configuration, progress }: Membership): string {
  return `${describeConfiguration(configuration)}\n${describeProgressMap(progress)}`;
}
