/**
 * Snapshots of a member's own state, so that its log may be cut short.
 *
 * The order of effects, each step durable before the next: `db` reaches the entry (its consistent index with it); the `.snap`
 * file; the log's snapshot record; only now are older segments released. A crash after any of them leaves a directory that
 * opens: a `.snap` that the log does not know is never loaded.
 */
import type { Backend } from "../mvcc/index.js";
import type { MembershipState } from "../membership/membership.js";
import type { Log } from "../platform/log.js";
import type { ConfState } from "../proto/raft.js";
import type { MemoryStorage } from "../raft/index.js";
import type { SnapshotStore } from "../snap/index.js";
import type { WalWriter } from "../wal/index.js";
import type { MemberOptions } from "./options.js";
import type { SnapshotData } from "./snapshot-data.js";

export interface SnapshotterDependencies {
  /** The `db` of now: a snapshot that is received replaces it. */
  readonly backend: () => Backend;
  readonly snapshots: SnapshotStore;
  readonly wal: WalWriter;
  readonly storage: MemoryStorage;
  readonly data: SnapshotData;
  readonly log: Log;
  /** Whether entries behind a snapshot may go from memory: not while a snapshot is on its way, for its receiver needs those after it. */
  readonly mayCompact: () => boolean;
  readonly now: () => number;
  /** Told how long the file took, its sync included, in milliseconds. */
  readonly onSaved: (tookMs: number) => void;
}

/** The state at an applied entry, as it is when the last entry of a batch was applied. */
export interface AppliedState {
  readonly index: number;
  readonly confState: ConfState;
  readonly state: () => MembershipState;
  /** Writes the consistent index into db's open transaction. */
  readonly saveProgress: () => void;
}

export class Snapshotter {
  readonly #dependencies: SnapshotterDependencies;
  readonly #options: MemberOptions;
  /** The index of the newest snapshot, taken or being taken. */
  #index: number;
  #running: Promise<void> | undefined;
  #purging: Promise<void> | undefined;

  constructor(dependencies: SnapshotterDependencies, options: MemberOptions, index: number) {
    this.#dependencies = dependencies;
    this.#options = options;
    this.#index = index;
  }

  /** Takes a snapshot when enough was applied since the last; a failure is the member's. */
  maybeSnapshot(applied: AppliedState, onFailure: (error: unknown) => void): void {
    if (this.#running !== undefined || applied.index - this.#index <= this.#options.snapshotCount) return;
    this.#dependencies.log.info("triggering snapshot", {
      "local-member-applied-index": applied.index,
      "local-member-snapshot-index": this.#index,
      "local-member-snapshot-count": this.#options.snapshotCount,
    });
    this.#index = applied.index;
    this.#running = this.#snapshot(applied)
      .catch(onFailure)
      .finally(() => (this.#running = undefined));
  }

  async #snapshot({ index, confState, state, saveProgress }: AppliedState): Promise<void> {
    const { backend, snapshots, wal, storage, log } = this.#dependencies;
    const data = this.#dependencies.data.encode(state());
    saveProgress(); // also when the last entries wrote nothing, and no commit would come by itself
    await backend().commitNow(); // db first: a snapshot promises that db has what it leaves out
    const snapshot = storage.createSnapshot(index, confState, data);
    const began = this.#dependencies.now();
    await snapshots.save(snapshot); // then the file ...
    this.#dependencies.onSaved(this.#dependencies.now() - began);
    const { term } = snapshot.metadata;
    await wal.saveSnapshot({ index, term, confState }); // ... then the record that makes it count
    wal.releaseTo(index); // only now may older segments go
    log.info("saved snapshot", { "snapshot-index": index });
    if (!this.#dependencies.mayCompact()) return;
    // What slow followers may still need stays in memory.
    const compactTo = Math.max(1, index - this.#options.catchUpEntries);
    if (compactTo >= storage.firstIndex()) {
      storage.compact(compactTo);
      log.info("compacted Raft logs", { "compact-index": compactTo });
    }
  }

  /** A snapshot that was received stands in the place of one taken here. */
  onInstalled(index: number): void {
    this.#index = Math.max(this.#index, index);
  }

  /** Resolves when no snapshot is being taken. */
  async idle(): Promise<void> {
    await this.#running;
  }

  /** Removes old snapshots, then old segments, down to the numbers that are kept. */
  purge(): Promise<void> {
    this.#purging ??= this.#purge().finally(() => (this.#purging = undefined));
    return this.#purging;
  }

  async #purge(): Promise<void> {
    const { snapshots, wal } = this.#dependencies;
    if (this.#options.snapshotsKept > 0) await snapshots.purge(this.#options.snapshotsKept);
    if (this.#options.segmentsKept > 0) await wal.purge(this.#options.segmentsKept);
  }

  /** Resolves when nothing is under way. */
  async stop(): Promise<void> {
    await this.#running;
    await this.#purging?.catch(() => undefined); // it was reported where it was started
  }
}
