/**
 * What the backend needs of a bolt database. `src/bolt` is the real one; tests have a simple twin in memory.
 */
import type { PlaceHints } from "../base/place-hints.js";
import type { Clock, Disk, Log } from "../platform/index.js";

export interface BoltEngine {
  /** Opens a database file, or makes it. */
  open(d: { readonly disk: Disk; readonly clock: Clock; readonly log: Log }, path: string): Promise<BoltDatabase>;
  /** Writes what a read sees into a new file without free pages, and syncs it. */
  compact(
    read: BoltRead,
    d: { readonly disk: Disk; readonly clock: Clock; readonly log: Log },
    path: string,
  ): Promise<void>;
}

export interface BoltDatabase {
  readonly sizeBytes: number;
  readonly freeBytes: number;
  beginWrite(): BoltWrite;
  /** Sees the last transaction handed to `commit`; with `durable` the last whose commit landed. */
  beginRead(options?: { readonly durable?: boolean }): BoltRead;
  /** Resolves when the disk has what was read when the database was opened, whatever became of earlier syncs. The first commit sees to it, too. */
  makeDurable(): Promise<void>;
  close(): Promise<void>;
}

export interface BoltWrite {
  bucket(name: Uint8Array): BoltBucket | undefined;
  createBucketIfNotExists(name: Uint8Array): BoltBucket;
  /** Takes the transaction in this turn; a new one may begin at once. Resolves when it is durable. */
  commit(): Promise<void>;
  rollback(): void;
}

export interface BoltRead {
  readonly sizeBytes: number;
  bucket(name: Uint8Array): BoltBucket | undefined;
  /** Names of the top level's buckets, in order. */
  buckets(): Iterable<Uint8Array>;
  /** The whole file as this read sees it, `sizeBytes` in all. */
  copy(): AsyncIterable<Uint8Array>;
  end(): void;
}

export interface BoltBucket {
  fillPercent: number;
  /** A view that stays right for as long as it is held. */
  get(key: Uint8Array): Uint8Array | undefined;
  /** The same; sooner for keys that are asked for in their order. */
  getNear(key: Uint8Array): Uint8Array | undefined;
  /**
   * The same for a key that is there and whose value never changes: sooner for one that was asked for before.
   *
   * @param number 0 or more, the same whenever the key is asked for; better another one for each key
   * @param hints of this bucket's keys
   */
  getUnchanging(key: Uint8Array, number: number, hints: PlaceHints): Uint8Array | undefined;
  /** Copies both. */
  put(key: Uint8Array, value: Uint8Array): void;
  /** Puts a value of so many bytes, which the caller writes in the same turn. */
  reserve(key: Uint8Array, size: number): Uint8Array;
  delete(key: Uint8Array): boolean;
  /** Deletes some of the keys in `[from, to)`, in order; answers the key at which the callback stopped the walk. */
  prune(
    from: Uint8Array,
    to: Uint8Array | undefined,
    judge: (key: Uint8Array, value: Uint8Array) => Verdict,
  ): Uint8Array | undefined;
  /** The greatest key; undefined where there is none. */
  lastKey(): Uint8Array | undefined;
  /** Calls for each key in `[from, to)`, in order, until the callback answers false. */
  forEach(
    from: Uint8Array | undefined,
    to: Uint8Array | undefined,
    visit: (key: Uint8Array, value: Uint8Array) => boolean | void,
  ): void;
  /** The same from a key on, told where key and value lie instead of views of them. */
  forEachInPlace(from: Uint8Array, visit: PairVisitor): void;
}

/** What becomes of a key: it stays, it is deleted, or the walk ends before it. */
export type Verdict = "keep" | "delete" | "stop";

/** Told of a key `keyBytes[keyStart, keyEnd)` and its value. The bytes must not be written. */
export type PairVisitor = (
  keyBytes: Uint8Array,
  keyStart: number,
  keyEnd: number,
  valueBytes: Uint8Array,
  valueStart: number,
  valueEnd: number,
) => boolean | void;
