/**
 * What the leader knows of one follower, and so what it sends it next.
 *
 *     probe      where its log ends is a guess: one append at a time, until one is accepted
 *     replicate  its log is known: appends are sent ahead of the acknowledgements, as many as `inflights` lets through
 *     snapshot   it needs entries that are compacted: nothing is sent until the snapshot has arrived or failed
 *
 *     probe --accepted--> replicate --rejected, unreachable--> probe
 *     probe, replicate --entries compacted--> snapshot --arrived, failed--> probe (and on)
 *
 * Law: `match < next`.
 */
import { invariant } from "../base/errors.js";
import type { Inflights } from "./inflights.js";

export type ProgressState = "probe" | "replicate" | "snapshot";

const STATE_NAMES: Readonly<Record<ProgressState, string>> = {
  probe: "StateProbe",
  replicate: "StateReplicate",
  snapshot: "StateSnapshot",
};

export class Progress {
  /** The highest index that the follower's log is known to share with ours. */
  match: number;
  /** The index of the next entry to send; those between `match` and it are on their way or were lost. */
  next: number;
  /** The highest commit index sent. It may never have arrived: `next` falls back then, and this with it. */
  sentCommit = 0;
  state: ProgressState = "probe";
  /** In state snapshot: the index of the snapshot that is on its way. */
  pendingSnapshot = 0;
  /** Whether the follower was heard from since the last check of the quorum. */
  recentActive = false;
  /** Whether appends wait for a sign of life: a probe is out, or `inflights` was full. */
  appendsPaused = false;
  readonly inflights: Inflights;
  isLearner: boolean;

  constructor(match: number, next: number, inflights: Inflights, isLearner: boolean) {
    this.match = match;
    this.next = next;
    this.inflights = inflights;
    this.isLearner = isLearner;
  }

  /** A copy that shares nothing. */
  clone(): Progress {
    const copy = new Progress(this.match, this.next, this.inflights.clone(), this.isLearner);
    copy.sentCommit = this.sentCommit;
    copy.state = this.state;
    copy.pendingSnapshot = this.pendingSnapshot;
    copy.recentActive = this.recentActive;
    copy.appendsPaused = this.appendsPaused;
    return copy;
  }

  /** A new leader knows nothing: the follower's log is guessed to end where ours does. */
  reset(match: number, next: number): void {
    this.#enter("probe");
    this.match = match;
    this.next = next;
    this.sentCommit = 0;
    this.recentActive = false;
  }

  #enter(state: ProgressState): void {
    this.state = state;
    this.appendsPaused = false;
    this.pendingSnapshot = 0;
    this.inflights.clear();
  }

  becomeProbe(): void {
    // A snapshot that was sent is taken to have arrived; if it has not, the probe after it is rejected.
    const afterSnapshot = this.state === "snapshot" ? this.pendingSnapshot + 1 : 0;
    this.#enter("probe");
    this.next = Math.max(this.match + 1, afterSnapshot);
    this.#lowerSentCommit();
  }

  becomeReplicate(): void {
    this.#enter("replicate");
    this.next = this.match + 1;
  }

  becomeSnapshot(index: number): void {
    this.#enter("snapshot");
    this.pendingSnapshot = index;
    this.next = index + 1;
    this.sentCommit = index;
  }

  /** An append with `count` entries of `bytes` payload was sent. */
  sentEntries(count: number, bytes: number): void {
    invariant(this.state !== "snapshot", "an append is sent while a snapshot is on its way");
    if (this.state === "probe") {
      // An empty probe carries news at no risk: it does not use up the one that is allowed.
      if (count > 0) this.appendsPaused = true;
      return;
    }
    if (count > 0) {
      this.next += count;
      this.inflights.add(this.next - 1, bytes);
    }
    this.appendsPaused = this.inflights.isFull();
  }

  /** Whether telling the follower that `commit` is committed can make it commit more than it was told of before. */
  canBumpCommit(commit: number): boolean {
    return commit > this.sentCommit && this.sentCommit < this.next - 1;
  }

  #lowerSentCommit(): void {
    this.sentCommit = Math.min(this.sentCommit, this.next - 1);
  }

  /** The follower has everything up to `index`; says whether that is news. */
  maybeUpdate(index: number): boolean {
    if (index <= this.match) return false;
    this.match = index;
    this.next = Math.max(this.next, index + 1);
    this.appendsPaused = false;
    return true;
  }

  /**
   * The follower rejected an append after `rejected`; `hint` is where it guesses the logs still agree. Says whether `next`
   * went back; a rejection of an older message does nothing.
   */
  maybeDecrease(rejected: number, hint: number): boolean {
    if (this.state === "replicate") {
      if (rejected <= this.match) return false;
      this.next = this.match + 1;
      this.#lowerSentCommit();
      return true;
    }
    if (this.next - 1 !== rejected) return false;
    this.next = Math.max(Math.min(rejected, hint + 1), this.match + 1);
    this.#lowerSentCommit();
    this.appendsPaused = false;
    return true;
  }

  isPaused(): boolean {
    return this.state === "snapshot" || this.appendsPaused;
  }

  describe(): string {
    let text = `${STATE_NAMES[this.state]} match=${this.match} next=${this.next}`;
    if (this.isLearner) text += " learner";
    if (this.isPaused()) text += " paused";
    if (this.pendingSnapshot > 0) text += ` pendingSnap=${this.pendingSnapshot}`;
    if (!this.recentActive) text += " inactive";
    if (this.inflights.count > 0) text += ` inflight=${this.inflights.count}${this.inflights.isFull() ? "[full]" : ""}`;
    return text;
  }
}

/** Name of a progress state, as in etcd raft's texts. */
export function progressStateName(state: ProgressState): string {
  return STATE_NAMES[state];
}
