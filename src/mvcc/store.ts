/**
 * The multi-version store: every change of every key since the last compaction, each under its revision.
 *
 * The key index (in memory) says which revision a read sees; the bucket `key` of `db` holds, under that revision, the key with
 * its value. All changes of one write transaction share a main revision; a transaction that changes nothing uses none.
 *
 * Laws:
 * - `compactRevision <= revision`; both only grow;
 * - the index knows exactly the revisions that `db` holds, but for those that a compaction under way has still to delete;
 * - one write transaction at a time, opened and ended within one synchronous turn;
 * - reads are synchronous and see all that ended before them.
 *
 * `db` is restored by walking over the bucket `key` once, in the order of revisions. Compaction is told in `compaction.ts`.
 */
import { invariant } from "../base/errors.js";
import { SLICE_MS_MAX } from "../base/limits.js";
import { PlaceHints } from "../base/place-hints.js";
import { latin1FromBytes } from "../base/text.js";
import type { Clock, Log } from "../platform/index.js";
import { decodeKeyValue, encodeKeyValue, KEY_VALUE_CODEC } from "../proto/fast/key-value.js";
import { StoredPair } from "../proto/fast/stored-pair.js";
import { varintSize } from "../proto/fast/varint.js";
import type { KeyValue } from "../proto/generated/mvccpb/kv.js";
import { EMPTY_BYTES, WireReader } from "../base/bytes.js";
import { BUCKETS, type Backend } from "./backend.js";
import { Compactor, type CompactionOptions, readMarks, type StoredHash } from "./compaction.js";
import { compactedError, futureError, MvccError } from "./errors.js";
import { KeyIndex, NO_ROW, type KeySpan } from "./key-index.js";
import { noLeases, type LeaseAttacher } from "./leases.js";
import {
  describeRevision,
  isRevisionKey,
  isTombstoneKey,
  mainOf,
  REVISION_BYTES,
  revisionBytes,
  subOf,
  tombstoneBytes,
  writeRevision,
} from "./revision.js";

export interface StoreDependencies {
  readonly clock: Clock;
  readonly log: Log;
}

export interface StoreOptions extends CompactionOptions {
  readonly leases?: LeaseAttacher;
  /** Told every few milliseconds while the index is built. */
  readonly onProgress?: (progress: RestoreProgress) => void;
  readonly observer?: Observer;
}

export interface RestoreProgress {
  /** Revisions read so far. */
  readonly revisions: number;
  /** The main revision reached. */
  readonly main: number;
}

/** Told of each write transaction that changed something, after it ended. It must not write, and must not throw. */
export interface Observer {
  /** A transaction of one put, with its pair: most are. */
  onPut(kv: KeyValue): void;
  /** @param changes in the order of their sub revisions. What a key was before is found by `pairBefore` */
  onTransaction(revision: number, changes: readonly Change[]): void;
}

/**
 * Told of a change and of the pair that is stored for it, `value[start, end)`: an encoded `KeyValue`, of a deletion one with the key only.
 * False ends the walk.
 */
export type HistoryVisitor = (
  revision: number,
  deleted: boolean,
  value: Uint8Array,
  start: number,
  end: number,
) => boolean;

/** A put, or a deletion of which `kv` knows the key and the revision only. */
export interface Change {
  readonly deleted: boolean;
  readonly kv: KeyValue;
}

export interface RangeOptions {
  /** Main revision to read at; 0 or less means the current one. */
  readonly revision?: number;
  /** At most so many pairs; 0 or less means all. */
  readonly limit?: number;
  /** Only the count. */
  readonly countOnly?: boolean;
  /** The count is not wanted: a walk in slices ends with the limit. */
  readonly uncounted?: boolean;
}

export interface RangeResult {
  readonly kvs: KeyValue[];
  /** Keys of the span at that revision, whatever the limit; no less than those found where it was not wanted. */
  readonly count: number;
  /** The current revision when the read was made. */
  readonly revision: number;
}

/** The numbers of a pair. */
export type Stamp = Pick<KeyValue, "createRevision" | "modRevision" | "version">;

/** Pairs as `db` holds them. */
export interface StoredPairs {
  /** Encoded `KeyValue`s, in the order of their keys. Views that stay right for as long as they are held. */
  readonly pairs: readonly Uint8Array[];
  /** Keys of the span, whatever the limit. */
  readonly count: number;
}

/** What can be read from: the store, and a write transaction (which sees its own changes). */
export interface ReadView {
  /** The current revision; inside a write transaction the one it began at. */
  readonly revision: number;
  /** The last compaction's revision; -1 when there was none. */
  readonly compactRevision: number;
  /** @throws MvccError `MVCC_COMPACTED`, `MVCC_FUTURE_REVISION` */
  range(span: KeySpan, options?: RangeOptions): RangeResult;
}

export interface KeyValueHash {
  readonly hash: number;
  /** The compaction that the hash starts from; -1 when there was none. */
  readonly compactRevision: number;
  readonly currentRevision: number;
}

/** Keys that a range visits between two looks at the clock; at most so many are read without one. */
const KEYS_PER_SLICE = 512;
/** What `pairs` reads at once: so many keys, so many bytes, which take a few milliseconds to be encoded. */
const KEYS_AT_ONCE = 2_000;
const BYTES_AT_ONCE = 1024 * 1024;
/** Keys that `pairs` reads between two looks at the clock: each may be a page that is not in memory. */
const KEYS_PER_LOOK = 128;
/** Revisions restored between two looks at the clock. */
const STEPS_PER_LOOK = 256;
/** A new store is at revision 1, as etcd's is. */
const FIRST_REVISION = 1;

export class Store implements ReadView {
  readonly #d: StoreDependencies;
  readonly #backend: Backend;
  readonly #leases: LeaseAttacher;
  readonly #index = new KeyIndex();
  /** Where `db` has the newest pairs, by row. */
  readonly #hints = new PlaceHints();
  readonly #compactor: Compactor;
  readonly #scratch = new Uint8Array(REVISION_BYTES);
  readonly #doors: TransactionDoors = {
    rangeAt: (span, options, current) => this.#rangeAt(span, options, current),
    compactRevision: () => this.#compactor.revision,
    put: (key, value, lease, main, sub) => this.#put(key, value, lease, main, sub),
    deleteSpan: (span, at, main, sub) => this.#deleteSpan(span, at, main, sub),
    end: (changes) => this.#end(changes),
  };
  #observer: Observer | undefined;
  #revision = FIRST_REVISION;
  #transaction: WriteTxn | undefined;

  private constructor(d: StoreDependencies, backend: Backend, options: StoreOptions) {
    this.#d = d;
    this.#backend = backend;
    this.#leases = options.leases ?? noLeases;
    this.#observer = options.observer;
    this.#compactor = new Compactor({ clock: d.clock, log: d.log, backend, index: this.#index }, options);
  }

  /**
   * Builds the index from `db`, in slices, and resumes a compaction that was not finished.
   *
   * @throws MvccError `MVCC_CORRUPT`
   */
  static async open(d: StoreDependencies, backend: Backend, options: StoreOptions = {}): Promise<Store> {
    backend.createBucket(BUCKETS.key);
    backend.createBucket(BUCKETS.meta);
    await backend.commitNow();
    const store = new Store(d, backend, options);
    await store.#restore(options.onProgress ?? (() => undefined));
    return store;
  }

  get revision(): number {
    return this.#revision;
  }

  get compactRevision(): number {
    return this.#compactor.revision;
  }

  /** Keys that are there now. */
  get keyCount(): number {
    return this.#index.liveCount;
  }

  hasLease(lease: bigint): boolean {
    return this.#leases.has(lease);
  }

  setObserver(observer: Observer | undefined): void {
    this.#observer = observer;
  }

  range(span: KeySpan, options: RangeOptions = {}): RangeResult {
    return this.#rangeAt(span, options, this.#revision);
  }

  /**
   * The newest pair of the key `bytes[start, end)` as `db` holds it: an encoded `KeyValue`.
   *
   * @throws MvccError `MVCC_CORRUPT`
   */
  find(bytes: Uint8Array, start = 0, end = bytes.length): Uint8Array | undefined {
    const row = this.#index.find(bytes, start, end);
    if (row === NO_ROW || !this.#index.isLive(row)) return undefined;
    return this.#pairOf(row, this.#index.mainOf(row), this.#index.subOf(row), false);
  }

  /** What a compare asks of a key that is there, without a look into `db`: the index knows it of the newest pair. */
  stampOf(key: Uint8Array): Stamp | undefined {
    const index = this.#index;
    const row = index.find(key);
    if (row === NO_ROW || !index.isLive(row)) return undefined;
    return { createRevision: index.createdOf(row), modRevision: index.mainOf(row), version: index.versionOf(row) };
  }

  /** A key's pair of a revision. `inOrder`: the pair that was read before is likely to lie beside it. */
  #pairOf(row: number, main: number, sub: number, inOrder: boolean): Uint8Array {
    const stored = this.#storedAt(main, sub, inOrder ? undefined : row);
    // Nobody decodes it before it goes out: that it is this key's is the proof that it is what was put.
    if (!this.#beginsWithKey(stored, row)) {
      throw corruptError(this.#backend.path, main, sub, "is not of the key that the index has it for");
    }
    return stored;
  }

  /** Whether an encoded pair is of a row's key. */
  #beginsWithKey(stored: Uint8Array, row: number): boolean {
    const size = this.#index.keyLength(row);
    if (stored[0] !== TAG_PAIR_KEY) return false;
    const at = 1 + varintSize(size);
    const isOfSize = size < 0x80 ? stored[1] === size : new WireReader(stored, 1).varint() === size;
    return isOfSize && this.#index.hasKey(row, stored, at, at + size);
  }

  /**
   * Calls for each change from a main revision on, in order, until the callback answers false. Of what is compacted some changes are left
   * and some are gone: only from the compact revision on there is each. The bytes stay right for as long as they are held.
   */
  visitHistory(from: number, visit: HistoryVisitor): void {
    const first = revisionBytes(from, 0);
    this.#backend.forEachInPlace(BUCKETS.key, first, (key, keyStart, keyEnd, value, valueStart, valueEnd) => {
      if (valueStart === valueEnd) return true; // it raises the revision, and has no key
      const deleted = isTombstoneKey(key, keyStart, keyEnd);
      return visit(mainOf(key, keyStart), deleted, value, valueStart, valueEnd);
    });
  }

  /**
   * The pair that a key (one byte a character) had before a revision, as `db` holds it; undefined when there was none, or when that is
   * compacted.
   *
   * @throws MvccError `MVCC_CORRUPT`
   */
  pairBefore(key: string, revision: number): Uint8Array | undefined {
    if (revision - 1 < this.#compactor.revision) return undefined;
    let pair: Uint8Array | undefined;
    this.#index.visitAt({ key, end: undefined }, revision - 1, (row, main, sub) => {
      pair = this.#pairOf(row, main, sub, true);
      return false;
    });
    return pair;
  }

  /**
   * The newest pairs of a span as `db` holds them, each an encoded `KeyValue`, in the order of their keys. Undefined for a span
   * that holds too many to be read at once, or that takes too long: `rangeInSlices` is for those.
   *
   * @param limit at most so many pairs; 0 means all
   * @throws MvccError `MVCC_CORRUPT`
   */
  pairs(span: KeySpan, limit: number): StoredPairs | undefined {
    const count = this.#index.countAt(span, this.#revision, true);
    const wanted = limit > 0 && limit < count ? limit : count;
    if (wanted > KEYS_AT_ONCE) return undefined;
    const pairs: Uint8Array[] = [];
    let bytes = 0;
    const until = this.#d.clock.now() + SLICE_MS_MAX / 2;
    if (wanted > 0) {
      this.#index.visitAt(span, this.#revision, (row, main, sub) => {
        const pair = this.#pairOf(row, main, sub, true);
        bytes += pair.length;
        if (bytes > BYTES_AT_ONCE) return false;
        return pairs.push(pair) < wanted && (pairs.length % KEYS_PER_LOOK !== 0 || this.#d.clock.now() < until);
      });
    }
    return pairs.length < wanted ? undefined : { pairs, count };
  }

  /**
   * The same answer as `range` gives at the moment of the call, made in slices that give the loop back: for spans that may hold
   * many keys. Writes and compactions may come in between.
   *
   * @throws MvccError as `range`; as a rejection
   */
  async rangeInSlices(span: KeySpan, options: RangeOptions = {}): Promise<RangeResult> {
    const current = this.#revision;
    const at = this.#revisionFor(options, current);
    const limit = options.limit ?? 0;
    const few = span.end === undefined || (limit > 0 && limit <= KEYS_PER_SLICE) || options.countOnly === true;
    // At the newest revision the index knows at once how many there are; the walk must count them at an older one.
    const known = at === current ? this.#index.countAt(span, at, true) : undefined;
    if (at === current && (few || known! <= KEYS_PER_SLICE)) return this.#rangeAt(span, options, current);
    const release = this.#compactor.hold(at);
    try {
      const kvs: KeyValue[] = [];
      let count = 0;
      await this.#inSlices(span, at, (main, sub) => {
        if (options.countOnly !== true && (limit <= 0 || kvs.length < limit)) kvs.push(this.#valueAt(main, sub));
        count++;
        const mustCount = known === undefined && options.uncounted !== true;
        return mustCount || limit <= 0 || kvs.length < limit;
      });
      return { kvs, count: known ?? count, revision: current };
    } finally {
      release();
    }
  }

  /** Visits the keys of a span at a revision until the callback answers false, with pauses. */
  async #inSlices(span: KeySpan, at: number, visit: (main: number, sub: number) => boolean): Promise<void> {
    const { clock } = this.#d;
    const walk = { goesOn: true };
    let began = clock.now();
    let low: string | undefined = span.key;
    while (walk.goesOn && low !== undefined) {
      low = this.#index.visitSliceAt(low, span, at, KEYS_PER_SLICE, (_, main, sub) => {
        if (walk.goesOn) walk.goesOn = visit(main, sub);
      });
      if (low !== undefined && clock.now() - began >= SLICE_MS_MAX / 2) {
        await clock.yield();
        began = clock.now();
      }
    }
  }

  /** Begins a write transaction. `end` must follow in the same turn. */
  write(): WriteTxn {
    invariant(this.#transaction === undefined, "one write transaction at a time");
    return (this.#transaction = new WriteTxn(this.#revision, this.#doors));
  }

  /** A write transaction of one put, without the ceremony: most are. The same rules hold. */
  putAlone(key: Uint8Array, value: Uint8Array, lease: bigint): number {
    invariant(this.#transaction === undefined, "one write transaction at a time");
    const kv = this.#put(key, value, lease, this.#revision + 1, 0);
    this.#revision++;
    this.#observer?.onPut(kv);
    return this.#revision;
  }

  /**
   * Compacts up to a revision. The index and the mark that it is scheduled change at once, `db` shrinks in the background.
   *
   * @returns `finished` resolves when the last superseded revision is deleted (in the open batch, not yet durable)
   * @throws MvccError `MVCC_COMPACTED`, `MVCC_FUTURE_REVISION`
   */
  compact(revision: number): { readonly finished: Promise<void> } {
    return this.#compactor.compact(revision, this.#revision);
  }

  /** The hashes of the last compactions, in the order of their revisions. */
  get compactionHashes(): readonly StoredHash[] {
    return this.#compactor.hashes;
  }

  /** The checksum of the whole of `db`, as etcd's Hash call gives it, and the revision it belongs to. */
  async hash(): Promise<{ readonly hash: number; readonly revision: number }> {
    let revision = 0;
    const hash = await this.#backend.hash(() => (revision = this.#revision));
    return { hash, revision };
  }

  /**
   * The checksum of the history up to a revision, as etcd's HashKV call gives it: equal on all members.
   *
   * @param revision 0 means the current one
   * @throws MvccError `MVCC_COMPACTED`, `MVCC_FUTURE_REVISION`
   */
  hashKv(revision: number): Promise<KeyValueHash> {
    return this.#compactor.hashKv(revision, () => this.#revision);
  }

  /** Stops compactions at their next step; they resume at the next start. */
  async close(): Promise<void> {
    await this.#compactor.close();
  }

  /** The revision that a read is made at. */
  #revisionFor(options: RangeOptions, current: number): number {
    const asked = options.revision ?? 0;
    if (asked > current) throw futureError(asked, current);
    const at = asked <= 0 ? current : asked;
    if (at < this.#compactor.revision) throw compactedError(at, this.#compactor.revision);
    return at;
  }

  #rangeAt(span: KeySpan, options: RangeOptions, current: number): RangeResult {
    const at = this.#revisionFor(options, current);
    if (options.countOnly === true) {
      return { kvs: [], count: this.#index.countAt(span, at, at === current), revision: current };
    }
    const limit = options.limit ?? 0;
    const kvs: KeyValue[] = [];
    this.#index.visitAt(span, at, (_, main, sub) => {
      kvs.push(this.#valueAt(main, sub));
      return kvs.length !== limit;
    });
    const cutOff = limit > 0 && kvs.length === limit && span.end !== undefined;
    return { kvs, count: cutOff ? this.#index.countAt(span, at, at === current) : kvs.length, revision: current };
  }

  #valueAt(main: number, sub: number): KeyValue {
    return decodeKeyValue(this.#storedAt(main, sub, undefined));
  }

  /** @param row whose newest revision it is; undefined when the one that was read before is likely to lie beside it */
  #storedAt(main: number, sub: number, row: number | undefined): Uint8Array {
    writeRevision(this.#scratch, main, sub);
    const value =
      row === undefined
        ? this.#backend.getNear(BUCKETS.key, this.#scratch)
        : this.#backend.getUnchanging(BUCKETS.key, this.#scratch, row, this.#hints);
    if (value === undefined) throw corruptError(this.#backend.path, main, sub, "is missing");
    return value;
  }

  #put(key: Uint8Array, value: Uint8Array, lease: bigint, main: number, sub: number): KeyValue {
    const row = this.#index.put(key, 0, key.length, main, sub);
    const createRevision = this.#index.createdOf(row);
    const version = this.#index.versionOf(row);
    const kv: KeyValue = { key, createRevision, modRevision: main, version, value, lease };
    writeRevision(this.#scratch, main, sub);
    this.#backend.putEncoded(BUCKETS.key, this.#scratch, kv, KEY_VALUE_CODEC);
    if (lease !== 0n) {
      const attached = this.#leases.attach(lease, key);
      invariant(attached, () => `a put was let through with lease ${lease}`);
    } else if (this.#leases.holdsKeys) this.#leases.detach(key);
    return kv;
  }

  #deleteSpan(span: KeySpan, at: number, main: number, firstSub: number): KeyValue[] {
    const rows: number[] = [];
    this.#index.visitAt(span, at, (row) => rows.push(row) > 0);
    return rows.map((row, i) => {
      const kv = tombstoneOf(this.#index.keyOf(row));
      this.#backend.put(BUCKETS.key, tombstoneBytes(main, firstSub + i), encodeKeyValue(kv));
      this.#index.tombstone(row, main, firstSub + i);
      if (this.#leases.holdsKeys) this.#leases.detach(kv.key);
      kv.modRevision = main;
      return kv;
    });
  }

  #end(changes: readonly Change[]): number {
    this.#transaction = undefined;
    if (changes.length > 0) {
      this.#revision++;
      this.#observer?.onTransaction(this.#revision, changes);
    }
    return this.#revision;
  }

  async #restore(onProgress: (progress: RestoreProgress) => void): Promise<void> {
    const marks = readMarks(this.#backend);
    const restoring: Restoring = { pair: new StoredPair(), unattached: new Map() };
    let from: Uint8Array | undefined = revisionBytes(FIRST_REVISION, 0);
    let revisions = 0;
    while (from !== undefined) {
      const began = this.#d.clock.now();
      let stoppedAt: Uint8Array | undefined;
      this.#backend.forEachInPlace(BUCKETS.key, from, (key, keyStart, keyEnd, value, valueStart, valueEnd) => {
        if (revisions % STEPS_PER_LOOK === 0 && this.#d.clock.now() - began >= SLICE_MS_MAX / 2) {
          stoppedAt = key.slice(keyStart, keyEnd);
          return false;
        }
        this.#restoreRevision(key, keyStart, keyEnd, value, valueStart, valueEnd, restoring);
        revisions++;
        return true;
      });
      onProgress({ revisions, main: this.#revision });
      from = stoppedAt;
      if (from !== undefined) await this.#d.clock.yield();
    }
    // What a compaction deleted may have been the newest revisions: the marks know of them.
    this.#revision = Math.max(this.#revision, marks.finished ?? 0, marks.scheduled ?? 0);
    for (const lease of restoring.unattached.values()) {
      this.#d.log.error("failed to attach a lease", { "lease-id": lease });
    }
    this.#d.log.info("kvstore restored", { "current-rev": this.#revision });
    this.#compactor.restore(marks, this.#revision);
  }

  /** The pair `value[valueStart, valueEnd)` of the revision `key[start, end)`. The walk over `db` makes no view of either. */
  #restoreRevision(
    key: Uint8Array,
    start: number,
    end: number,
    value: Uint8Array,
    valueStart: number,
    valueEnd: number,
    restoring: Restoring,
  ): void {
    if (!isRevisionKey(key, start, end)) {
      throw new MvccError("MVCC_CORRUPT", `${this.#backend.path}: a key of ${end - start} bytes in the bucket key`);
    }
    const { pair } = restoring;
    const main = mainOf(key, start);
    const sub = subOf(key, start);
    try {
      pair.read(value, valueStart, valueEnd);
    } catch (error) {
      throw corruptError(this.#backend.path, main, sub, "does not decode", error);
    }
    const { bytes, keyStart, keyEnd } = pair;
    this.#revision = main;
    if (isTombstoneKey(key, start, end)) {
      this.#index.restoreTombstone(bytes, keyStart, keyEnd, main, sub);
    } else {
      // A row without a value is what `etcdutl snapshot restore --bump-revision` leaves: it raises the revision, and has no key.
      if (pair.modRevision !== main && valueEnd > valueStart) {
        throw corruptError(this.#backend.path, main, sub, `says that it is of revision ${pair.modRevision}`);
      }
      this.#index.restorePut(bytes, keyStart, keyEnd, main, sub, pair.createRevision, pair.version);
    }
    if (pair.lease !== 0n || this.#leases.holdsKeys || restoring.unattached.size > 0) {
      this.#restoreAttachment(bytes.subarray(keyStart, keyEnd), pair.lease, restoring.unattached);
    }
  }

  /** A key of an older revision may have hung on a lease that is gone: only what its newest revision says counts. */
  #restoreAttachment(key: Uint8Array, lease: bigint, unattached: Map<string, bigint>): void {
    if (unattached.size > 0) unattached.delete(latin1FromBytes(key));
    if (lease !== 0n && this.#leases.attach(lease, key)) return;
    this.#leases.detach(key);
    if (lease !== 0n) unattached.set(latin1FromBytes(key), lease);
  }
}

/** What a walk over `db` carries along. */
interface Restoring {
  /** The pair that is read at the moment. */
  readonly pair: StoredPair;
  /** Keys whose newest revision so far names a lease that is not there. */
  readonly unattached: Map<string, bigint>;
}

/** What a write transaction asks of its store. */
interface TransactionDoors {
  rangeAt(span: KeySpan, options: RangeOptions, current: number): RangeResult;
  compactRevision(): number;
  put(key: Uint8Array, value: Uint8Array, lease: bigint, main: number, sub: number): KeyValue;
  deleteSpan(span: KeySpan, at: number, main: number, firstSub: number): KeyValue[];
  end(changes: readonly Change[]): number;
}

/** Changes that share one main revision. There is no way back: checks come before the first change. */
export class WriteTxn implements ReadView {
  /** The revision at which the transaction began. */
  readonly revision: number;
  readonly #doors: TransactionDoors;
  readonly #changes: Change[] = [];
  #ended = false;

  constructor(revision: number, doors: TransactionDoors) {
    this.revision = revision;
    this.#doors = doors;
  }

  get compactRevision(): number {
    return this.#doors.compactRevision();
  }

  /** The changes so far. */
  get changes(): readonly Change[] {
    return this.#changes;
  }

  /** Sees what this transaction changed. */
  range(span: KeySpan, options: RangeOptions = {}): RangeResult {
    return this.#doors.rangeAt(span, options, this.#current);
  }

  /**
   * Puts a key; `key` and `value` must not change any more. The lease must exist, or be 0n.
   *
   * @returns the transaction's main revision
   */
  put(key: Uint8Array, value: Uint8Array, lease: bigint): number {
    this.#assertOpen();
    const kv = this.#doors.put(key, value, lease, this.revision + 1, this.#changes.length);
    this.#changes.push({ deleted: false, kv });
    return this.revision + 1;
  }

  /** Deletes the keys of a span. `revision` is the transaction's main revision once anything changed. */
  deleteRange(span: KeySpan): { readonly deleted: number; readonly revision: number } {
    this.#assertOpen();
    const deleted = this.#doors.deleteSpan(span, this.#current, this.revision + 1, this.#changes.length);
    for (const kv of deleted) this.#changes.push({ deleted: true, kv });
    return { deleted: deleted.length, revision: this.#current };
  }

  /** Ends the transaction; answers the store's revision after it. */
  end(): number {
    this.#assertOpen();
    this.#ended = true;
    return this.#doors.end(this.#changes);
  }

  get #current(): number {
    return this.#changes.length > 0 ? this.revision + 1 : this.revision;
  }

  #assertOpen(): void {
    invariant(!this.#ended, "a write transaction that ended is not used any more");
  }
}

const TAG_PAIR_KEY = 0x0a;

function corruptError(path: string, main: number, sub: number, what: string, cause?: unknown): MvccError {
  const detail = `${path}: revision ${describeRevision(main, sub)} ${what}; restore this member from a healthy one`;
  return new MvccError("MVCC_CORRUPT", detail, { cause });
}

function tombstoneOf(key: Uint8Array): KeyValue {
  return { key, createRevision: 0, modRevision: 0, version: 0, value: EMPTY_BYTES, lease: 0n };
}
