/**
 * One member's log: the storage's stable entries, then the unstable ones, with three marks that only move forward.
 *
 *     compacted | stable ................ | unstable ...........
 *               ^ firstIndex              ^ unstable.offset     ^ lastIndex
 *         applied  <=  applying  <=  committed
 *
 * - `committed`: the highest index known to be on a majority.
 * - `applying`: the highest index handed out to be applied. It stops where the bytes handed out but not yet applied reach the
 *   limit, so that a slow applier is not buried.
 * - `applied`: the highest index that the application said it has applied.
 *
 * A reader who asks for an entry that is not there gets `undefined`: compacted when before `firstIndex`.
 */
import { invariant } from "../base/errors.js";
import type { Entry, Snapshot } from "../proto/raft.js";
import { encodedBytes } from "./entry-window.js";
import { RaftError } from "./errors.js";
import type { RaftLogger } from "./logger.js";
import type { Storage } from "./storage.js";
import { Unstable } from "./unstable.js";

/** Names an entry: no two entries with the same pair differ, in any member's log (log matching). */
export interface EntryId {
  readonly term: number;
  readonly index: number;
}

export class RaftLog {
  readonly storage: Storage;
  readonly unstable: Unstable;
  committed: number;
  applying: number;
  applied: number;
  /** Limit on the encoded bytes that are handed out and not yet applied. */
  readonly applyingBytesMax: number;
  #applyingBytes = 0;
  /** Set while the limit is reached, or while a limit cut the last hand-out short. */
  #applyingPaused = false;
  readonly #log: RaftLogger;

  constructor(storage: Storage, log: RaftLogger, applyingBytesMax = Number.POSITIVE_INFINITY) {
    this.storage = storage;
    this.#log = log;
    this.applyingBytesMax = applyingBytesMax;
    this.unstable = new Unstable(storage.lastIndex() + 1, log);
    this.committed = this.applying = this.applied = storage.firstIndex() - 1;
  }

  firstIndex(): number {
    return this.unstable.firstIndex() ?? this.storage.firstIndex();
  }

  lastIndex(): number {
    return this.unstable.lastIndex() ?? this.storage.lastIndex();
  }

  lastEntryId(): EntryId {
    const index = this.lastIndex();
    const term = this.term(index);
    invariant(term !== undefined, () => `the log knows no term of its last entry, ${index}`);
    return { term, index };
  }

  /** The term at `index`; undefined when it was compacted or is not there yet. */
  term(index: number): number | undefined {
    const term = this.unstable.term(index);
    if (term !== undefined) return term;
    if (index + 1 < this.firstIndex() || index > this.lastIndex()) return undefined;
    return this.storage.term(index);
  }

  matches(id: EntryId): boolean {
    return this.term(id.index) === id.term;
  }

  /** Whether a log that ends with `theirs` has all that this one has committed, as far as one can tell from the ends. */
  isUpToDate(theirs: EntryId): boolean {
    const ours = this.lastEntryId();
    return theirs.term > ours.term || (theirs.term === ours.term && theirs.index >= ours.index);
  }

  // ---- appending --------------------------------------------------------------------------------------------------

  /**
   * A follower's append: entries that a leader says come after `previous`. Those that are there already stay, so a late
   * duplicate of an old message cuts nothing off; at the first that differs, ours give way.
   *
   * @param committed the leader's commit index
   * @returns the index of the last entry given, or undefined when `previous` is not in this log
   * @throws InvariantError when a committed entry would have to give way: a law of raft is broken
   */
  maybeAppend(previous: EntryId, entries: readonly Entry[], committed: number): number | undefined {
    if (!this.matches(previous)) return undefined;
    const last = previous.index + entries.length;
    const conflict = this.#findConflict(entries);
    if (conflict !== undefined) {
      invariant(
        conflict > this.committed,
        () => `entry ${conflict} conflict with committed entry [committed(${this.committed})]`,
      );
      const known = conflict - previous.index - 1;
      this.append(known === 0 ? entries : entries.slice(known));
    }
    this.commitTo(Math.min(committed, last));
    return last;
  }

  /** Adds entries; those from their first index on give way. Committed ones cannot. */
  append(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    const after = entries[0]!.index - 1;
    invariant(after >= this.committed, () => `after(${after}) is out of range [committed(${this.committed})]`);
    this.unstable.truncateAndAppend(entries);
  }

  /** The index of the first of `entries` that this log lacks or holds with another term. */
  #findConflict(entries: readonly Entry[]): number | undefined {
    for (const { term, index } of entries) {
      const ours = this.term(index);
      if (ours === term) continue;
      if (index <= this.lastIndex()) {
        this.#log.info(`found conflict at index ${index} [existing term: ${ours ?? 0}, conflicting term: ${term}]`);
      }
      return index;
    }
    return undefined;
  }

  /**
   * The best guess where this log and another, which has `term` at `index`, still agree: the largest index up to `index`
   * whose term is not above `term`. One round trip then skips a whole term instead of one entry. Where the term is not
   * known the answer is that index, with term 0.
   */
  findConflictByTerm(index: number, term: number): EntryId {
    for (let at = index; at > 0; at--) {
      const ours = this.term(at);
      if (ours === undefined) return { index: at, term: 0 };
      if (ours <= term) return { index: at, term: ours };
    }
    return { index: 0, term: 0 };
  }

  // ---- committing and applying ------------------------------------------------------------------------------------

  /**
   * Moves `committed` forward to `index`.
   *
   * @throws RaftError `RAFT_LOG_LOST` when the log ends before: entries that this member had acknowledged are gone
   */
  commitTo(index: number): void {
    if (index <= this.committed) return;
    const last = this.lastIndex();
    if (index > last) {
      throw new RaftError(
        "RAFT_LOG_LOST",
        `tocommit(${index}) is out of range [lastIndex(${last})]: the cluster has committed entries that this member ` +
          "acknowledged and no longer holds. Was the raft log corrupted, truncated, or lost? Remove the member and add it anew",
      );
    }
    this.committed = index;
  }

  /** A leader's commit: only an entry of its own term is committed by counting. Says whether the mark moved. */
  maybeCommit(id: EntryId): boolean {
    if (id.term === 0 || id.index <= this.committed || !this.matches(id)) return false;
    this.commitTo(id.index);
    return true;
  }

  /**
   * The application has applied everything up to `index`.
   *
   * @param bytes encoded size of what it applied, freed from the limit on what is handed out
   */
  appliedTo(index: number, bytes: number): void {
    invariant(
      index >= this.applied && index <= this.committed,
      () => `applied(${index}) is out of range [prevApplied(${this.applied}), committed(${this.committed})]`,
    );
    this.applied = index;
    this.applying = Math.max(this.applying, index);
    this.#applyingBytes = Math.max(0, this.#applyingBytes - bytes);
    this.#applyingPaused = this.#applyingBytes >= this.applyingBytesMax;
  }

  /** The entries up to `index` have been handed out to be applied. */
  acceptApplying(index: number, bytes: number, allowUnstable: boolean): void {
    invariant(
      index <= this.committed,
      () => `applying(${index}) is out of range [prevApplying(${this.applying}), committed(${this.committed})]`,
    );
    this.applying = index;
    this.#applyingBytes += bytes;
    // A hand-out that stops short of what could be applied was cut by the limit, even if the sum stays just below it.
    this.#applyingPaused = this.#applyingBytes >= this.applyingBytesMax || index < this.#appliableIndex(allowUnstable);
  }

  hasNextCommitted(allowUnstable: boolean): boolean {
    if (this.#applyingPaused || this.hasPendingSnapshot()) return false;
    return this.applying < this.#appliableIndex(allowUnstable);
  }

  /**
   * The committed entries to apply next, as many as the limit lets through. None while a snapshot waits: it comes first.
   *
   * @param allowUnstable whether entries count that are not durable here yet (the caller writes them before it applies)
   */
  nextCommitted(allowUnstable: boolean): Entry[] {
    if (!this.hasNextCommitted(allowUnstable)) return [];
    const budget = this.applyingBytesMax - this.#applyingBytes;
    const entries = this.slice(this.applying + 1, this.#appliableIndex(allowUnstable) + 1, budget);
    invariant(entries !== undefined, () => `entry ${this.applying + 1} was compacted before it was applied`);
    return entries;
  }

  #appliableIndex(allowUnstable: boolean): number {
    return allowUnstable ? this.committed : Math.min(this.committed, this.unstable.offset - 1);
  }

  // ---- snapshots --------------------------------------------------------------------------------------------------

  /** Whether a snapshot waits to become durable. */
  hasPendingSnapshot(): boolean {
    return this.unstable.snapshot !== undefined;
  }

  snapshot(): Snapshot {
    return this.unstable.snapshot ?? this.storage.snapshot();
  }

  restore(snapshot: Snapshot): void {
    const { index, term } = snapshot.metadata;
    this.#log.info(`log [${this.describe()}] starts to restore snapshot [index: ${index}, term: ${term}]`);
    this.committed = index;
    this.unstable.restore(snapshot);
  }

  // ---- reading ----------------------------------------------------------------------------------------------------

  /** The entries from `low` on that fit into `maxBytes`, at least one if there is one; undefined when `low` is compacted. */
  entries(low: number, maxBytes: number): Entry[] | undefined {
    const end = this.lastIndex() + 1;
    return low >= end ? [] : this.slice(low, end, maxBytes);
  }

  /** The entries of `[low, high)` that fit into `maxBytes`, at least one; undefined when `low` is compacted. */
  slice(low: number, high: number, maxBytes: number): Entry[] | undefined {
    invariant(low <= high, () => `invalid slice ${low} > ${high}`);
    if (low < this.firstIndex()) return undefined;
    if (low === high) return [];
    const { window } = this.unstable;
    if (low >= window.first) return window.slice(low, high, maxBytes);

    const cut = Math.min(high, window.first);
    const stable = this.storage.entries(low, cut, maxBytes);
    if (high <= window.first || stable.length < cut - low) return stable;
    const left = maxBytes - encodedBytes(stable);
    if (left <= 0) return stable;
    const rest = window.slice(window.first, high, left);
    // `slice` gives one entry even if it does not fit; the stable ones are something already.
    if (rest.length === 1 && encodedBytes(rest) > left) return stable;
    return stable.concat(rest);
  }

  /** Whether `wanted` holds for an entry of `[low, high)` that is not compacted, read in pages of `pageBytes`. */
  some(low: number, high: number, pageBytes: number, wanted: (entry: Entry) => boolean): boolean {
    for (let at = Math.max(low, this.firstIndex()); at < high;) {
      const page = this.slice(at, high, pageBytes);
      invariant(page !== undefined && page.length > 0, () => `no entries at ${at} in [${low}, ${high})`);
      if (page.some(wanted)) return true;
      at += page.length;
    }
    return false;
  }

  describe(): string {
    const { unstable } = this;
    return (
      `committed=${this.committed}, applied=${this.applied}, applying=${this.applying}, ` +
      `unstable.offset=${unstable.offset}, unstable.offsetInProgress=${unstable.offsetInProgress}, ` +
      `len(unstable.Entries)=${unstable.window.length}`
    );
  }
}
