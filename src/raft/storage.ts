/**
 * Where the stable part of the log is read from, and the storage that keeps it in memory.
 *
 * Picture, with a snapshot at 3 and entries to 7:
 *
 *     index    1 2 3 | 4 5 6 7
 *              gone    window      firstIndex() = 4, lastIndex() = 7, term(3) is still known
 *
 * Laws: `firstIndex() - 1 <= lastIndex()`; the term of `firstIndex() - 1` is known although its entry is gone, so that an
 * append right after it can be matched.
 */
import { EMPTY_BYTES } from "../base/bytes.js";
import { invariant } from "../base/errors.js";
import {
  EMPTY_HARD_STATE,
  EMPTY_SNAPSHOT,
  type ConfState,
  type Entry,
  type HardState,
  type Snapshot,
} from "../proto/raft.js";
import { EntryWindow } from "./entry-window.js";
import { RaftError } from "./errors.js";

/** What the state machine asks of the stable log. It calls `term` and `entries` inside their ranges only, so none throws on a hot path. */
export interface Storage {
  initialState(): { hardState: HardState; confState: ConfState };
  /**
   * The entries of `[low, high)` whose encodings fit into `maxBytes`, at least one.
   *
   * @throws RaftError `RAFT_COMPACTED` when `low < firstIndex()`, `RAFT_UNAVAILABLE` when `high > lastIndex() + 1`
   */
  entries(low: number, high: number, maxBytes: number): Entry[];
  /**
   * The term of the entry at `index` in `[firstIndex() - 1, lastIndex()]`.
   *
   * @throws RaftError `RAFT_COMPACTED` before, `RAFT_UNAVAILABLE` after that range
   */
  term(index: number): number;
  lastIndex(): number;
  firstIndex(): number;
  /**
   * The newest snapshot.
   *
   * @throws RaftError `RAFT_SNAPSHOT_TEMPORARILY_UNAVAILABLE` when it is still being made: the leader asks again later
   */
  snapshot(): Snapshot;
}

/** A storage in memory; the caller writes to it what it has made durable. */
export class MemoryStorage implements Storage {
  #hardState: HardState = EMPTY_HARD_STATE;
  #snapshot: Snapshot = EMPTY_SNAPSHOT;
  /** The term at `#window.first - 1`. */
  #anchorTerm = 0;
  readonly #window = new EntryWindow(1);

  initialState(): { hardState: HardState; confState: ConfState } {
    return { hardState: this.#hardState, confState: this.#snapshot.metadata.confState };
  }

  setHardState(state: HardState): void {
    this.#hardState = state;
  }

  firstIndex(): number {
    return this.#window.first;
  }

  lastIndex(): number {
    return this.#window.end - 1;
  }

  term(index: number): number {
    if (index >= this.#window.first) {
      if (index < this.#window.end) return this.#window.term(index);
      throw new RaftError("RAFT_UNAVAILABLE", `entry ${index} is not in the log, whose last is ${this.lastIndex()}`);
    }
    if (index === this.#window.first - 1) return this.#anchorTerm;
    throw this.#compacted(index);
  }

  entries(low: number, high: number, maxBytes: number): Entry[] {
    if (low < this.#window.first) throw this.#compacted(low);
    if (high > this.#window.end) {
      throw new RaftError("RAFT_UNAVAILABLE", `entries [${low}, ${high}) pass the log's last, ${this.lastIndex()}`);
    }
    return this.#window.slice(low, high, maxBytes);
  }

  snapshot(): Snapshot {
    return this.#snapshot;
  }

  /**
   * Adds entries that are durable now. They replace those that are there from their first index on; what lies before the
   * first index is left out.
   *
   * @throws InvariantError when they would leave a hole
   */
  append(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    const window = this.#window;
    const skip = Math.max(0, window.first - entries[0]!.index);
    if (skip >= entries.length) return;
    const kept = skip === 0 ? entries : entries.slice(skip);
    window.truncate(Math.min(kept[0]!.index, window.end));
    window.push(kept);
  }

  /**
   * Replaces the whole log by a snapshot.
   *
   * @throws RaftError `RAFT_SNAPSHOT_OUT_OF_DATE` when the one that is there is as new
   */
  applySnapshot(snapshot: Snapshot): void {
    const { index, term } = snapshot.metadata;
    const existing = this.#snapshot.metadata.index;
    if (existing !== 0 && existing >= index) throw outOfDate(index, existing);
    this.#snapshot = snapshot;
    this.#anchorTerm = term;
    this.#window.restart(index + 1);
  }

  /**
   * Makes the snapshot at `index`, an entry of this log; the log stays as it is.
   *
   * @param confState the configuration as of `index`; undefined keeps the one of the snapshot before
   * @throws RaftError `RAFT_SNAPSHOT_OUT_OF_DATE` when `index` is not after the snapshot that is there
   */
  createSnapshot(index: number, confState?: ConfState, data: Uint8Array = EMPTY_BYTES): Snapshot {
    const existing = this.#snapshot.metadata;
    if (index <= existing.index) throw outOfDate(index, existing.index);
    invariant(index <= this.lastIndex(), () => `snapshot at ${index} is after the last entry, ${this.lastIndex()}`);
    const metadata = { index, term: this.term(index), confState: confState ?? existing.confState };
    this.#snapshot = { data, metadata };
    return this.#snapshot;
  }

  /**
   * Forgets the entries up to and including `index`. Only what is applied may be given: whoever needs these entries later
   * gets the snapshot.
   *
   * @throws RaftError `RAFT_COMPACTED` when that has been done already
   */
  compact(index: number): void {
    if (index < this.#window.first) throw this.#compacted(index);
    invariant(index <= this.lastIndex(), () => `compaction at ${index} is after the last entry, ${this.lastIndex()}`);
    this.#anchorTerm = this.#window.term(index);
    this.#window.forgetBefore(index + 1);
  }

  #compacted(index: number): RaftError {
    return new RaftError("RAFT_COMPACTED", `entry ${index} is compacted, the log starts at ${this.#window.first}`);
  }
}

function outOfDate(index: number, existing: number): RaftError {
  return new RaftError("RAFT_SNAPSHOT_OUT_OF_DATE", `snapshot at ${index} is not newer than the one at ${existing}`);
}
