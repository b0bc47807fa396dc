/**
 * Appends to a log. Saves that come while a write is in flight are gathered and go to the disk as ONE write and sync
 * (group commit); they are acknowledged together.
 *
 * The laws:
 * - what was acknowledged is durable: `save` resolves after the sync (a changed commit alone is not synced, as in etcd, and waits
 *   in memory for the next save that is);
 * - gathered saves go out as one save, all entries and then the last state: a reader tells a torn write from damage by that order
 *   (`aftermath.ts`);
 * - one write is in flight at a time; its bytes do not change until it landed; a save that is alone may be written at once, on
 *   this thread, when none is in flight and none waits;
 * - after a failed write or sync nothing is written, synced or acknowledged any more (design decision 9).
 */
import { describeError, invariant, InvariantError } from "../base/errors.js";
import {
  LOOP_WRITE_BYTES_MAX,
  LOOP_WRITE_PAUSE_MS,
  LOOP_WRITE_STALL_MS,
  SEGMENT_BYTES,
  SLOW_FSYNC_MS,
} from "../base/limits.js";
import { mebibytes } from "../base/units.js";
import type { Clock } from "../platform/clock.js";
import { joinPath, type Disk, type DiskFile } from "../platform/disk.js";
import type { Log } from "../platform/log.js";
import type { Entry, HardState } from "../proto/raft.js";
import type { WalSnapshot } from "../proto/wal.js";
import { ENTRY_OVERHEAD_MAX, RecordEncoder } from "./encoder.js";
import { WalError, type WalErrorCode } from "./errors.js";
import { segmentName, segmentsAmong, type SegmentName } from "./names.js";
import { SegmentPipeline } from "./pipeline.js";

export interface WalDependencies {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly log: Log;
}

export interface WalOptions {
  /** A segment that reached this size is followed by a new one; etcd's 64,000,000 when left out. */
  readonly segmentBytes?: number;
  /** A sync that takes longer is worth a warning. */
  readonly slowSyncMs?: number;
  /** Told how long each sync took, in milliseconds. */
  readonly onSync?: (tookMs: number) => void;
  /** Whether the next segment is prepared before it is needed; true when left out. */
  readonly prepareNextSegment?: boolean;
}

/** A segment that this process holds open and locked. */
export interface HeldSegment extends SegmentName {
  readonly file: DiskFile;
}

/** Where a writer goes on. */
export interface WriterStart {
  readonly segments: readonly HeldSegment[];
  readonly metadata: Uint8Array;
  readonly crc: number;
  /** Where the next record goes in the last segment, and how large that file is. */
  readonly offset: number;
  readonly fileSize: number;
  readonly hardState: HardState | undefined;
  readonly lastIndex: number;
}

export interface SaveOptions {
  /**
   * Nothing else in the process has work until this save is durable. Then it may be made on the caller's thread, which waits for
   * the disk: some 30 µs are saved. False when left out.
   */
  readonly alone?: boolean;
}

type Operation =
  | { readonly kind: "save"; readonly hardState: HardState | undefined; readonly entries: readonly Entry[] }
  | { readonly kind: "snapshot"; readonly snapshot: WalSnapshot }
  | { readonly kind: "sync" };

type Save = Operation & { readonly kind: "save" };

interface Waiting {
  readonly operation: Operation;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Encoded bytes that are given to the disk at once; also the slice after which the loop gets its turn (about 4 ms). */
const WRITE_BYTES_MAX = mebibytes(4);

export class WalWriter {
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #folder: string;
  readonly #segmentBytes: number;
  readonly #slowSyncMs: number;
  readonly #onSync: ((tookMs: number) => void) | undefined;
  readonly #metadata: Uint8Array;
  readonly #pipeline: SegmentPipeline;
  readonly #encoder: RecordEncoder;
  /** Held segments, oldest first; the last one is written. */
  #segments: HeldSegment[];
  #offset: number;
  #fileSize: number;
  /** The newest state that was given. */
  #state: HardState | undefined;
  /** Whether `#state` is yet to be written: a commit alone waits for company. */
  #statePending = false;
  #lastIndex: number;
  #writtenBytes = 0;
  /** Bytes were written that no sync covered. Only inside one commit. */
  #dirty = false;
  /** When the last durable write ended that took longer than a loop may be held; at first long ago. */
  #stalledAt = Number.NEGATIVE_INFINITY;
  #queue: Waiting[] = [];
  #running: Promise<void> | undefined;
  #failed: WalError | undefined;
  #closing: Promise<void> | undefined;
  readonly #releases = new Set<Promise<void>>();

  constructor(dependencies: WalDependencies, folder: string, start: WriterStart, options: WalOptions) {
    this.#disk = dependencies.disk;
    this.#clock = dependencies.clock;
    this.#log = dependencies.log;
    this.#folder = folder;
    this.#segmentBytes = options.segmentBytes ?? SEGMENT_BYTES;
    this.#slowSyncMs = options.slowSyncMs ?? SLOW_FSYNC_MS;
    this.#onSync = options.onSync;
    this.#metadata = start.metadata;
    this.#encoder = new RecordEncoder(start.crc);
    this.#segments = [...start.segments];
    this.#offset = start.offset;
    this.#fileSize = start.fileSize;
    this.#state = start.hardState;
    this.#lastIndex = start.lastIndex;
    const ahead = options.prepareNextSegment ?? true;
    this.#pipeline = new SegmentPipeline(this.#disk, this.#clock, folder, this.#segmentBytes, ahead);
  }

  /** Bytes that this process has written to the log. */
  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  /** The failure that poisoned this log, if there was one. */
  get failed(): Error | undefined {
    return this.#failed;
  }

  /** Index of the last entry or snapshot that was given. */
  get lastIndex(): number {
    return this.#lastIndex;
  }

  /**
   * Appends entries and then the state. Resolves when they are durable; without a sync when neither entries came nor term or vote
   * changed (etcd's rule). Saves resolve in the order in which they were given, one of nothing included: what may be told when it
   * resolves may rest on those before it.
   *
   * @throws WalError `FSYNC_FAILED`, `WAL_WRITE_FAILED`, and `WAL_POISONED` from then on; `WAL_CLOSED`
   */
  save(hardState: HardState | undefined, entries: readonly Entry[], { alone }: SaveOptions = {}): Promise<void> {
    const refusal = this.#refusal();
    if (refusal !== undefined) return refusal;
    const given = hardState !== undefined && isEmpty(hardState) ? undefined : hardState;
    if (given === undefined && entries.length === 0 && this.#running === undefined) return Promise.resolve();
    const save: Save = { kind: "save", hardState: given, entries };
    return alone === true && this.#mayWriteNow(entries) ? this.#saveNow(save) : this.#push(save);
  }

  /** Appends a snapshot record; always synced, for it marks what may be deleted. */
  saveSnapshot(snapshot: WalSnapshot): Promise<void> {
    invariant(
      snapshot.index === 0 || snapshot.confState !== undefined,
      () => `the snapshot of index ${snapshot.index} is saved without its configuration`,
    );
    return this.#enqueue({ kind: "snapshot", snapshot });
  }

  /** Makes all that was saved durable, a commit alone included. */
  sync(): Promise<void> {
    return this.#enqueue({ kind: "sync" });
  }

  /**
   * Gives up the segments that nothing after `index` needs: all below the largest one whose first index is smaller than
   * `index`. From now on `purge` may remove them.
   */
  releaseTo(index: number): void {
    let keepFrom = this.#segments.findIndex((segment) => segment.index >= index);
    keepFrom = (keepFrom === -1 ? this.#segments.length : keepFrom) - 1;
    if (keepFrom <= 0) return;
    for (const { file, name } of this.#segments.splice(0, keepFrom)) {
      file.unlock();
      const release = file.close().catch((error: unknown) => {
        this.#log.warn("failed to close a released WAL segment", { segment: name, error: describeError(error) });
      });
      this.#releases.add(release);
      void release.then(() => this.#releases.delete(release));
    }
  }

  /**
   * Removes the oldest segments while there are more than `keep`, released ones only, and answers their names. Stops at one
   * that another process has locked. Call it now and then (etcd: every 30 seconds).
   */
  async purge(keep: number): Promise<string[]> {
    const segments = segmentsAmong((await this.#disk.list(this.#folder)).map(({ name }) => name));
    const oldestHeld = this.#segments[0]!.sequence;
    const removed: string[] = [];
    for (const { name, sequence } of segments.slice(0, Math.max(0, segments.length - keep))) {
      if (sequence >= oldestHeld || !(await this.#removeUnlocked(name))) break;
      removed.push(name);
    }
    // Names go in ascending order and become durable together: what a crash brings back is below a gap, and is ignored.
    if (removed.length > 0) {
      await this.#disk.syncFolder(this.#folder);
      this.#log.info("purged", { segments: removed });
    }
    return removed;
  }

  async #removeUnlocked(name: string): Promise<boolean> {
    const path = joinPath(this.#folder, name);
    const file = await this.#disk.open(path, "write");
    try {
      if (!file.tryLock("segment")) return false;
      await this.#disk.removeFile(path);
      return true;
    } finally {
      await file.close();
    }
  }

  /** Writes what is waiting, syncs, and gives up all files. A poisoned log is closed without writing. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const last = this.#failed === undefined ? this.#push({ kind: "sync" }) : undefined;
    let failure: Error | undefined;
    await last?.catch((error: unknown) => {
      failure = error instanceof Error ? error : new Error(describeError(error));
    });
    await this.#running;
    await this.#pipeline.close();
    await Promise.all(this.#releases);
    for (const { file } of this.#segments) await file.close();
    if (failure !== undefined) throw failure;
  }

  // ---- the queue ----

  #refusal(): Promise<never> | undefined {
    if (this.#failed !== undefined) return Promise.reject(this.#poisoned());
    if (this.#closing !== undefined) return Promise.reject(new WalError("WAL_CLOSED", `${this.#folder} was closed`));
    return undefined;
  }

  #poisoned(): WalError {
    const first = this.#failed!;
    return new WalError(
      "WAL_POISONED",
      `${this.#folder} takes nothing more, for an earlier write or sync failed (${first.message}); stop and start again`,
      first.segment === undefined ? {} : { segment: first.segment },
      { cause: first },
    );
  }

  #enqueue(operation: Operation): Promise<void> {
    return this.#refusal() ?? this.#push(operation);
  }

  #push(operation: Operation): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ operation, resolve, reject });
      this.#running ??= this.#drain();
    });
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#takeBatch();
      try {
        await this.#commit(batch.map(({ operation }) => operation));
      } catch (error) {
        const told = this.#fail(error);
        for (const { reject } of batch) reject(told);
        break;
      }
      for (const { resolve } of batch) resolve();
    }
    this.#running = undefined;
  }

  /** The first operation, and the saves right behind it when it is a save. */
  #takeBatch(): Waiting[] {
    let count = 1;
    if (this.#queue[0]!.operation.kind === "save") {
      while (count < this.#queue.length && this.#queue[count]!.operation.kind === "save") count++;
    }
    if (count === this.#queue.length) {
      const all = this.#queue;
      this.#queue = [];
      return all;
    }
    return this.#queue.splice(0, count);
  }

  /** Poisons the log, refuses what waits in the queue, and answers what those are told whose save failed. */
  #fail(error: unknown): Error {
    const { name } = this.#segments.at(-1)!;
    this.#failed =
      error instanceof WalError
        ? error
        : new WalError("WAL_WRITE_FAILED", describeError(error), { segment: name }, { cause: error });
    this.#log.error("the WAL failed and takes nothing more", { segment: name, error: this.#failed.message });
    const queued = this.#queue;
    this.#queue = [];
    for (const { reject } of queued) reject(this.#poisoned());
    return error instanceof InvariantError ? error : this.#failed;
  }

  // ---- a save on this thread ----

  /** Whether nothing is in flight or waits, no cut can come of it, and the disk was quick of late. */
  #mayWriteNow(entries: readonly Entry[]): boolean {
    if (this.#running !== undefined || this.#queue.length > 0 || this.#dirty) return false;
    if (this.#clock.now() - this.#stalledAt < LOOP_WRITE_PAUSE_MS) return false;
    let bytesMax = (entries.length + 1) * ENTRY_OVERHEAD_MAX; // a state is smaller than what is around an entry at most
    for (const { data } of entries) bytesMax += data.length;
    if (bytesMax > LOOP_WRITE_BYTES_MAX) return false;
    return this.#offset + bytesMax < Math.min(this.#segmentBytes, this.#fileSize);
  }

  #saveNow(save: Save): Promise<void> {
    try {
      for (const entry of save.entries) this.#encodeEntry(entry);
      const mustSync = this.#takeState(save);
      if (!mustSync) return Promise.resolve();
      this.#encodePendingState();
      if (this.#landNow()) return Promise.resolve();
    } catch (error) {
      return Promise.reject(this.#fail(error));
    }
    return this.#push({ kind: "sync" }); // what is encoded goes the other way
  }

  /** `#land` at once; false, and nothing done, when the file cannot do that now. */
  #landNow(): boolean {
    const bytes = this.#encoder.view();
    const started = this.#clock.now();
    try {
      if (!this.#tail.file.writeDurablyNow([bytes], this.#offset)) return false;
    } catch (error) {
      throw this.#failure("FSYNC_FAILED", "write and sync", error);
    }
    this.#noteSync(started);
    this.#wrote(bytes.length);
    return true;
  }

  // ---- one commit ----

  async #commit(operations: readonly Operation[]): Promise<void> {
    const first = operations[0]!;
    if (first.kind === "save") await this.#commitSaves(operations as readonly Save[]);
    else if (first.kind === "snapshot") await this.#commitSnapshot(first.snapshot);
    else await this.#commitPending();
  }

  async #commitSaves(saves: readonly Save[]): Promise<void> {
    let mustSync = false;
    for (const save of saves) {
      for (const entry of save.entries) {
        this.#encodeEntry(entry);
        if (this.#encoder.length >= WRITE_BYTES_MAX) await this.#writeOut();
      }
      if (this.#takeState(save)) mustSync = true;
    }
    if (!mustSync) return;
    this.#encodePendingState();
    if (this.#offset + this.#encoder.length < this.#segmentBytes) {
      await this.#land();
      return;
    }
    await this.#writeOut();
    await this.#cut();
  }

  async #commitSnapshot(snapshot: WalSnapshot): Promise<void> {
    this.#encodePendingState();
    this.#encoder.snapshot(snapshot);
    this.#lastIndex = Math.max(this.#lastIndex, snapshot.index);
    await this.#land();
  }

  async #commitPending(): Promise<void> {
    this.#encodePendingState();
    if (this.#encoder.length > 0) await this.#land();
  }

  #encodeEntry(entry: Entry): void {
    const { index, term } = entry;
    if (index > this.#lastIndex + 1 || index <= 0 || term <= 0) throw brokenLaw(entry, this.#lastIndex);
    this.#encoder.entry(entry);
    this.#lastIndex = index;
  }

  /** Follows the state of a save; answers whether the save must be synced (etcd's rule: entries, or a new term or vote). */
  #takeState({ hardState: state, entries }: Save): boolean {
    if (state === undefined) return entries.length > 0;
    const before = this.#state;
    if (before !== undefined) {
      invariant(state.term >= before.term, () => `term falls from ${before.term} to ${state.term}`);
      invariant(state.commit >= before.commit, () => `commit falls from ${before.commit} to ${state.commit}`);
    }
    this.#state = state;
    this.#statePending = true;
    return entries.length > 0 || state.term !== (before?.term ?? 0) || state.vote !== (before?.vote ?? 0n);
  }

  #encodePendingState(): void {
    if (this.#statePending) this.#encoder.state(this.#state!);
    this.#statePending = false;
  }

  /** Writes what is encoded, without a sync. */
  async #writeOut(): Promise<void> {
    const bytes = this.#encoder.view();
    await this.#try("WAL_WRITE_FAILED", "write", () => this.#tail.file.write([bytes], this.#offset));
    this.#dirty = true;
    this.#wrote(bytes.length);
  }

  /** Writes what is encoded and makes it, and all before it, durable. */
  async #land(): Promise<void> {
    const bytes = this.#encoder.view();
    const { file } = this.#tail;
    if (this.#dirty || this.#offset + bytes.length > this.#fileSize) {
      await this.#writeOut();
      await this.#syncTail();
      return;
    }
    const started = this.#clock.now();
    await this.#try("FSYNC_FAILED", "write and sync", () => file.writeDurably([bytes], this.#offset));
    this.#noteSync(started);
    this.#wrote(bytes.length);
  }

  #wrote(count: number): void {
    this.#writtenBytes += count;
    this.#offset += count;
    this.#fileSize = Math.max(this.#fileSize, this.#offset);
    this.#encoder.reset();
    this.#pipeline.startWhenDue(this.#offset);
  }

  async #syncTail(): Promise<void> {
    const started = this.#clock.now();
    await this.#try("FSYNC_FAILED", "sync", () => this.#tail.file.datasync());
    this.#dirty = false;
    this.#noteSync(started);
  }

  /** Ends the segment and begins the next one. Each step is durable before the next begins; nothing is acknowledged meanwhile. */
  async #cut(): Promise<void> {
    const old = this.#tail;
    // The old segment first: a newer one says that this one is complete. The zeros behind its last record go, too.
    await this.#try("WAL_WRITE_FAILED", "truncate", () => old.file.truncate(this.#offset));
    await this.#syncTail();
    const { file, path } = await this.#pipeline.take();
    const name = segmentName(old.sequence + 1, this.#lastIndex + 1);
    this.#segments.push({ name, sequence: old.sequence + 1, index: this.#lastIndex + 1, file });
    this.#offset = 0;
    this.#fileSize = this.#segmentBytes;
    // The head makes the segment readable without those before it. It is durable before the file gets its name.
    this.#encoder.crcRecord();
    this.#encoder.metadata(this.#metadata);
    if (this.#state !== undefined) this.#encoder.state(this.#state);
    await this.#writeOut();
    await this.#syncTail();
    // The name is durable before the next save goes into the file.
    await this.#try("WAL_WRITE_FAILED", "rename", () => this.#disk.rename(path, joinPath(this.#folder, name)));
    await this.#try("FSYNC_FAILED", "sync of the folder", () => this.#disk.syncFolder(this.#folder));
    this.#log.info("created a new WAL segment", { path: joinPath(this.#folder, name) });
  }

  get #tail(): HeldSegment {
    return this.#segments.at(-1)!;
  }

  async #try(code: WalErrorCode, what: string, run: () => Promise<void>): Promise<void> {
    try {
      await run();
    } catch (error) {
      throw this.#failure(code, what, error);
    }
  }

  #failure(code: WalErrorCode, what: string, cause: unknown): WalError {
    const { name } = this.#tail;
    return new WalError(
      code,
      `${what} of ${name} at byte ${this.#offset} failed (${describeError(cause)}); what was not acknowledged may be lost: ` +
        "stop this member, see to the disk and start again",
      { segment: name, offset: this.#offset },
      { cause },
    );
  }

  #noteSync(started: number): void {
    const now = this.#clock.now();
    const took = now - started;
    this.#onSync?.(took);
    if (took > LOOP_WRITE_STALL_MS) this.#stalledAt = now;
    if (took <= this.#slowSyncMs) return;
    this.#log.warn("slow fdatasync", { took: `${took}ms`, "expected-duration": `${this.#slowSyncMs}ms` });
  }
}

/** Which law an entry breaks that was given after `lastIndex`. Apart from the loop, which shall make nothing for good entries. */
function brokenLaw({ index, term }: Entry, lastIndex: number): InvariantError {
  if (index > lastIndex + 1) return new InvariantError(`entry ${index} after ${lastIndex}: a hole in the log`);
  return new InvariantError(index > 0 ? `entry ${index} of term ${term}` : `entry of index ${index}`);
}

function isEmpty(state: HardState): boolean {
  return state.term === 0 && state.vote === 0n && state.commit === 0;
}
