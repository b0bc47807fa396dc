/**
 * Compaction: forgetting what no read at the compact revision or later can see. And the hash that proves it was done alike
 * on all members.
 *
 *     compact(90)    mark `scheduledCompactRev` = 90 into the open batch, compact revision = 90: reads below are refused
 *     background     commit (the mark is durable before anything is deleted), compact the key index, then walk over the
 *                    bucket `key` up to 90 in batches of 1,000: delete what the index did not keep, pause
 *     at the end     mark `finishedCompactRev` = 90 into the batch of the last deletions
 *
 * A restart that finds the first mark above the second does the work again; deleting twice is harmless. Compactions follow
 * one another. Deletions go to the disk with the batches of all writes: etcd commits after each thousand, since its
 * lock is held meanwhile. The hash over what a compaction walked past is kept, as etcd keeps it, for HashKV calls at its revision.
 *
 * HashKV covers the bucket's name and the key and value of each revision up to the one asked for, save two kinds: revisions up
 * to the compact revision that nobody can see at the one asked for (one member may have deleted them, another not yet), and a
 * tombstone at the compact revision itself (etcd 3.5.15 and before deletes it, later ones keep it). Where nobody can see anything, etcd
 * covers what its compaction has not deleted yet, and its hash changes until that has ended; Walnut covers what is left at that end.
 */
import { crc32c } from "../base/crc32c.js";
import { formatDuration } from "../base/go-duration.js";
import { COMPACTION_BATCH_BYTES_MAX, COMPACTION_BATCH_MAX, COMPACTION_PAUSE_MS, SLICE_MS_MAX } from "../base/limits.js";
import { bytesFromLatin1, latin1FromBytes } from "../base/text.js";
import type { Clock, Log } from "../platform/index.js";
import { BUCKETS, visitInSlices, type Backend } from "./backend.js";
import { compactedError, futureError, MvccError } from "./errors.js";
import type { KeyIndex } from "./key-index.js";
import {
  isRevisionKey,
  isTombstoneKey,
  mainOf,
  mainRevisionBytes,
  revisionBytes,
  RevisionSet,
  subOf,
} from "./revision.js";
import type { KeyValueHash } from "./store.js";

export interface CompactionOptions {
  /** Revisions looked at in one batch: etcd's `--experimental-compaction-batch-limit`. */
  readonly compactionBatchMax?: number;
  /** Pause between two batches: etcd's `--experimental-compaction-sleep-interval`. */
  readonly compactionPauseMs?: number;
  /** Told of each compaction that has come to its end. */
  readonly onCompacted?: (compaction: FinishedCompaction) => void;
}

export interface FinishedCompaction {
  readonly revision: number;
  /** Rests included. */
  readonly tookMs: number;
  /** Revisions that are gone. */
  readonly deleted: number;
}

/** Hashes of past compactions that are kept, as in etcd. */
const HASHES_KEPT = 10;

const SCHEDULED_KEY = bytesFromLatin1("scheduledCompactRev");
const FINISHED_KEY = bytesFromLatin1("finishedCompactRev");
const KEY_BUCKET_NAME = bytesFromLatin1(BUCKETS.key);

/** What the bucket `meta` says of compactions; undefined where there was none. */
export interface CompactionMarks {
  readonly scheduled: number | undefined;
  readonly finished: number | undefined;
}

/** @throws MvccError `MVCC_CORRUPT` for a mark that is no revision */
export function readMarks(backend: Backend): CompactionMarks {
  const read = (key: Uint8Array): number | undefined => {
    const value = backend.get(BUCKETS.meta, key);
    if (value === undefined) return undefined;
    if (isRevisionKey(value)) return mainOf(value);
    const detail = `${backend.path}: the mark ${latin1FromBytes(key)} in the bucket meta is no revision; restore this member from a healthy one`;
    throw new MvccError("MVCC_CORRUPT", detail);
  };
  return { scheduled: read(SCHEDULED_KEY), finished: read(FINISHED_KEY) };
}

/** The hash of a past compaction, which all members have alike. */
export interface StoredHash {
  readonly revision: number;
  readonly compactRevision: number;
  readonly hash: number;
}

interface CompactorDependencies {
  readonly clock: Clock;
  readonly log: Log;
  readonly backend: Backend;
  readonly index: KeyIndex;
}

export class Compactor {
  readonly #d: CompactorDependencies;
  readonly #batchMax: number;
  readonly #pauseMs: number;
  readonly #onCompacted: (compaction: FinishedCompaction) => void;
  /** Revisions that the compaction under way has looked at. */
  #seen = 0;
  #revision = -1;
  #hashes: StoredHash[] = [];
  /** The last of the compactions that wait for one another. Never rejects. */
  #jobs: Promise<void> = Promise.resolve();
  /** The last of the walks over the index. One that compacts must not overtake one that reads at a lower revision. */
  #walks: Promise<void> = Promise.resolve();
  readonly #holds = new Set<{ readonly at: number; readonly released: Promise<void> }>();
  #closed = false;
  #wake: (() => void) | undefined;

  constructor(d: CompactorDependencies, options: CompactionOptions) {
    this.#d = d;
    this.#batchMax = options.compactionBatchMax ?? COMPACTION_BATCH_MAX;
    this.#pauseMs = options.compactionPauseMs ?? COMPACTION_PAUSE_MS;
    this.#onCompacted = options.onCompacted ?? ((): void => undefined);
  }

  /** The last compaction's revision; -1 when there was none. */
  get revision(): number {
    return this.#revision;
  }

  /** Takes up the marks; resumes what was scheduled and not finished. */
  restore(marks: CompactionMarks, current: number): void {
    this.#revision = marks.finished ?? -1;
    const scheduled = marks.scheduled ?? 0;
    if (scheduled === 0 || scheduled <= this.#revision) return;
    this.#d.log.info("resume scheduled compaction", { "scheduled-compact-revision": scheduled });
    void this.compact(scheduled, current);
  }

  compact(revision: number, current: number): { readonly finished: Promise<void> } {
    if (revision <= this.#revision) throw compactedError(revision, this.#revision);
    if (revision > current) throw futureError(revision, current);
    const marks = readMarks(this.#d.backend);
    const previous = { revision: this.#revision, completed: marks.scheduled === marks.finished };
    this.#revision = revision;
    this.#d.backend.put(BUCKETS.meta, SCHEDULED_KEY, revisionBytes(revision, 0));
    const finished = this.#jobs.then(() => this.#run(revision, previous));
    this.#jobs = finished.catch((error: unknown) => {
      if (!this.#closed) this.#d.log.warn("Failed compaction", { revision, error: String(error) });
    });
    return { finished };
  }

  /** The hashes of the last compactions, in the order of their revisions. */
  get hashes(): readonly StoredHash[] {
    return this.#hashes;
  }

  /** Keeps compactions above `at` from forgetting what a read in slices at that revision still needs, until released. */
  hold(at: number): () => void {
    let resolve: () => void = () => undefined;
    const hold = { at, released: new Promise<void>((done) => (resolve = done)) };
    this.#holds.add(hold);
    return () => {
      this.#holds.delete(hold);
      resolve();
    };
  }

  async hashKv(asked: number, current: () => number): Promise<KeyValueHash> {
    const stored = this.#hashes.find(({ revision }) => revision === asked);
    if (stored !== undefined) {
      return { hash: stored.hash, compactRevision: stored.compactRevision, currentRevision: current() };
    }
    this.#checkAsked(asked, current());
    let revision = asked;
    let compactRevision = 0;
    let currentRevision = 0;
    let kept: Promise<RevisionSet | undefined> | undefined;
    const read = await this.#d.backend.pin(() => {
      this.#checkAsked(asked, current());
      currentRevision = current();
      compactRevision = this.#revision;
      if (asked === 0) revision = currentRevision;
      kept = this.#keptAt(revision, compactRevision);
    });
    try {
      const hasher = new KeyValueHasher(compactRevision, revision, await kept!);
      const bucket = read.bucket(KEY_BUCKET_NAME)!;
      await visitInSlices(this.#d.clock, bucket, undefined, mainRevisionBytes(revision + 1), (key, value) =>
        hasher.add(key, value),
      );
      return { hash: hasher.hash, compactRevision, currentRevision };
    } finally {
      read.end();
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#wake?.();
    await this.#jobs;
    await this.#walks;
  }

  #checkAsked(asked: number, current: number): void {
    if (asked > 0 && asked < this.#revision) throw compactedError(asked, this.#revision);
    if (asked > current) throw futureError(asked, current);
  }

  async #run(revision: number, previous: { readonly revision: number; readonly completed: boolean }): Promise<void> {
    const { backend, clock, log } = this.#d;
    const began = clock.now();
    await backend.commitNow();
    // Reads below the compact revision are refused by now, so these are the last ones.
    for (const { at, released } of this.#holds) if (at < revision) await released;
    const keep = new RevisionSet();
    await this.#afterWalks(() => this.#walkIndex((low) => this.#d.index.compactSlice(low, revision, keep)));
    // As etcd's, which two members compare: where nothing stays, it covers all that is deleted.
    const hasher = new KeyValueHasher(previous.revision, revision, keep.size > 0 ? keep : undefined);
    let from = revisionBytes(0, 0);
    this.#seen = 0;
    for (;;) {
      if (this.#closed) throw new MvccError("MVCC_CLOSED", `the store was closed while it compacted up to ${revision}`);
      const next = this.#deleteBatch(from, revision, keep, hasher);
      if (next === undefined) break;
      from = next;
      await backend.room();
      await this.#pause();
    }
    backend.put(BUCKETS.meta, FINISHED_KEY, revisionBytes(revision, 0));
    log.info("finished scheduled compaction", {
      "compact-revision": revision,
      took: formatDuration(clock.now() - began),
      hash: hasher.hash,
      "current-db-size-bytes": backend.sizeBytes,
      "current-db-size-in-use-bytes": backend.sizeInUseBytes,
    });
    this.#onCompacted({ revision, tookMs: clock.now() - began, deleted: this.#seen - keep.size });
    // A hash that leaves out what an interrupted compaction deleted would differ from the other members'.
    if (previous.completed) this.#storeHash({ revision, compactRevision: previous.revision, hash: hasher.hash });
  }

  /** Deletes what is not kept among the next revisions; answers where the next batch begins, undefined after the last. */
  #deleteBatch(from: Uint8Array, revision: number, keep: RevisionSet, hasher: KeyValueHasher): Uint8Array | undefined {
    let seen = 0;
    let bytes = 0;
    return this.#d.backend.prune(BUCKETS.key, from, mainRevisionBytes(revision + 1), (key, value) => {
      if (seen === this.#batchMax || bytes >= COMPACTION_BATCH_BYTES_MAX) return "stop";
      seen++;
      this.#seen++;
      bytes += value.length;
      hasher.add(key, value);
      return keep.has(mainOf(key), subOf(key)) ? "keep" : "delete";
    });
  }

  /** Waits for the pause between two batches, or for `close`. */
  async #pause(): Promise<void> {
    if (this.#closed) return;
    await new Promise<void>((resolve) => {
      const timer = this.#d.clock.after(this.#pauseMs, resolve, "process");
      this.#wake = () => {
        timer.cancel();
        resolve();
      };
    });
    this.#wake = undefined;
  }

  /**
   * The revisions up to the compact revision that a hash at `revision` covers: those that reads there see. Where they see none, it covers
   * what the compaction leaves. Undefined without a compaction.
   */
  async #keptAt(revision: number, compactRevision: number): Promise<RevisionSet | undefined> {
    if (compactRevision <= 0) return undefined;
    const keep = new RevisionSet();
    await this.#afterWalks(async () => {
      await this.#walkIndex((low) => this.#d.index.keepSlice(low, revision, keep));
      if (keep.size === 0) await this.#walkIndex((low) => this.#d.index.keepSlice(low, compactRevision, keep));
    });
    return keep;
  }

  /** Walks over the index after those asked for before. */
  #afterWalks(walk: () => Promise<void>): Promise<void> {
    const walked = this.#walks.then(walk);
    this.#walks = walked.catch(() => undefined); // whoever asked for the walk is told of its failure
    return walked;
  }

  /** Walks over the index in slices. */
  async #walkIndex(slice: (low: string) => string | undefined): Promise<void> {
    const { clock } = this.#d;
    let low: string | undefined = "";
    while (low !== undefined) {
      const began = clock.now();
      do low = slice(low);
      while (low !== undefined && clock.now() - began < SLICE_MS_MAX / 2);
      if (low !== undefined) await clock.yield();
    }
  }

  #storeHash(hash: StoredHash): void {
    this.#hashes.push(hash);
    this.#hashes.sort((a, b) => a.revision - b.revision);
    if (this.#hashes.length > HASHES_KEPT) this.#hashes = this.#hashes.slice(-HASHES_KEPT);
  }
}

/** CRC-32C over the bucket's name and the revisions in order, less those that the head of this file names. */
export class KeyValueHasher {
  readonly #compactRevision: number;
  readonly #revision: number;
  readonly #keep: RevisionSet | undefined;
  #crc = crc32c(0, KEY_BUCKET_NAME);

  /** @param keep what reads at `revision` see; undefined leaves nothing out for not being seen */
  constructor(compactRevision: number, revision: number, keep: RevisionSet | undefined) {
    this.#compactRevision = compactRevision;
    this.#revision = revision;
    this.#keep = keep;
  }

  get hash(): number {
    return this.#crc;
  }

  add(key: Uint8Array, value: Uint8Array): void {
    const main = mainOf(key);
    if (main > this.#revision) return;
    if (main <= this.#compactRevision) {
      if (this.#keep?.has(main, subOf(key)) === false) return;
      if (main === this.#compactRevision && isTombstoneKey(key)) return;
    }
    this.#crc = crc32c(crc32c(this.#crc, key), value);
  }
}
