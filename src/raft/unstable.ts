/**
 * The part of the log that is not known to be durable: at most one snapshot, and entries after it.
 *
 * A history (numbers are indexes; `|` is `offsetInProgress`: what is left of it has been handed out to be written):
 *
 *     append 4 5 6       4 5 6          offset 4     the next write is 4 5 6
 *     accept             4 5 6 |        offset 4     nothing to write
 *     append 7           4 5 6 | 7      offset 4     the next write is 7
 *     6 is durable             | 7      offset 7
 *
 * A leader of a later term may replace entries that are being written. The write still ends, and says so; `stableTo` compares
 * terms, so the late news does not make the new entries look durable.
 *
 * Laws: `offset <= offsetInProgress <= window.end`; with a snapshot, entries come after it.
 */
import type { Entry, Snapshot } from "../proto/raft.js";
import { EntryWindow } from "./entry-window.js";
import type { RaftLogger } from "./logger.js";

export class Unstable {
  /** A snapshot from the leader that replaces the whole log, until it is durable. */
  snapshot: Snapshot | undefined = undefined;
  /** Whether `snapshot` has been handed out to be written. */
  snapshotInProgress = false;
  /** Entries before this index have been handed out to be written. */
  offsetInProgress: number;
  readonly window: EntryWindow;
  readonly #log: RaftLogger;

  constructor(offset: number, log: RaftLogger) {
    this.window = new EntryWindow(offset);
    this.offsetInProgress = offset;
    this.#log = log;
  }

  /** Index of the first entry here; those before it are durable. */
  get offset(): number {
    return this.window.first;
  }

  /** The log's first index, when a snapshot here decides it. */
  firstIndex(): number | undefined {
    return this.snapshot === undefined ? undefined : this.snapshot.metadata.index + 1;
  }

  /** The log's last index, when something here decides it. */
  lastIndex(): number | undefined {
    return this.window.length > 0 ? this.window.end - 1 : this.snapshot?.metadata.index;
  }

  /** The term at `index`, when it is known here. */
  term(index: number): number | undefined {
    if (index >= this.window.first) return index < this.window.end ? this.window.term(index) : undefined;
    return this.snapshot?.metadata.index === index ? this.snapshot.metadata.term : undefined;
  }

  hasNextEntries(): boolean {
    return this.offsetInProgress < this.window.end;
  }

  /** The entries that nobody is writing yet. */
  nextEntries(): Entry[] {
    return this.window.slice(this.offsetInProgress, this.window.end);
  }

  /** The snapshot, when nobody is writing it yet. */
  nextSnapshot(): Snapshot | undefined {
    return this.snapshotInProgress ? undefined : this.snapshot;
  }

  /** What is here is being written now. */
  acceptInProgress(): void {
    this.offsetInProgress = this.window.end;
    if (this.snapshot !== undefined) this.snapshotInProgress = true;
  }

  /** The entry `(term, index)` and all before it are durable. Ignored when another entry has taken its place. */
  stableTo(term: number, index: number): void {
    const ours = this.term(index);
    if (ours === undefined) {
      this.#log.info(`entry at index ${index} missing from unstable log; ignoring`);
    } else if (index < this.offset) {
      this.#log.info(`entry at index ${index} matched unstable snapshot; ignoring`);
    } else if (ours !== term) {
      this.#log.info(
        `entry at (index,term)=(${index},${term}) mismatched with ` +
          `entry at (${index},${ours}) in unstable log; ignoring`,
      );
    } else {
      this.window.forgetBefore(index + 1);
      this.offsetInProgress = Math.max(this.offsetInProgress, this.offset);
    }
  }

  /** The snapshot at `index` is durable; ignored when it has been replaced. */
  snapshotStableTo(index: number): void {
    if (this.snapshot?.metadata.index !== index) return;
    this.snapshot = undefined;
    this.snapshotInProgress = false;
  }

  /** The log is this snapshot now, and nothing else. */
  restore(snapshot: Snapshot): void {
    this.window.restart(snapshot.metadata.index + 1);
    this.offsetInProgress = this.offset;
    this.snapshot = snapshot;
    this.snapshotInProgress = false;
  }

  /** Adds entries; those that are here from their first index on give way. */
  truncateAndAppend(entries: readonly Entry[]): void {
    const from = entries[0]!.index;
    if (from === this.window.end) {
      this.window.push(entries);
      return;
    }
    if (from <= this.offset) {
      // Durable entries give way as well: the write that follows replaces them in the storage.
      this.#log.info(`replace the unstable entries from index ${from}`);
      this.window.restart(from);
      this.offsetInProgress = from;
    } else {
      this.#log.info(`truncate the unstable entries before index ${from}`);
      this.window.truncate(from);
      this.offsetInProgress = Math.min(this.offsetInProgress, from);
    }
    this.window.push(entries);
  }
}
