/**
 * The batch layer over `db`: many changes in one bolt transaction, committed every 100 ms, 10,000 writes or 16 MiB.
 *
 * There is one open write transaction. Changes go into it and reads go through it, so that a read sees what was
 * written a moment ago and is not on the disk yet. A commit hands the transaction to bolt, which writes it out while the
 * next transaction is already open: neither reads nor writes wait for the disk.
 *
 * Laws:
 * - what one synchronous turn writes is never split over two commits: an applied entry and its consistent index reach the
 *   disk together. A batch that is full is therefore committed in a microtask, after the turn that filled it;
 * - the hook runs right before each commit and writes into the same transaction;
 * - one commit is under way at a time; changes made meanwhile gather, and go with the next. Whoever makes many of them asks
 *   for `room` in between: what gathers has a bound only for those who wait;
 * - after a failed commit nothing is accepted any more: `failed` says why, `onFailure` was told once.
 *
 * Defragmentation does not stop the world. A pinned read is copied into a temporary file while changes go on, and what changed is
 * repeated there (`missed-changes.ts`) until the copy has nearly caught up; then commits are held back, the last changes are repeated
 * and made durable, the new file takes the place of the old one, and the few changes that came in those last moments are
 * repeated into its open transaction:
 *
 *     old   ──pin──── changes, commits ──────────hold┐
 *     new     └─copy────── repeat, repeat, ... ──────┘last changes, sync, rename, sync the folder, open ─┴─ changes, commits ──
 */
import type { BucketTable } from "../base/bucket-table.js";
import { CodedError, describeError } from "../base/errors.js";
import { crc32c } from "../base/crc32c.js";
import { formatDuration } from "../base/go-duration.js";
import {
  BATCH_BYTES_MAX,
  BATCH_INTERVAL_MS,
  BATCH_WRITES_MAX,
  BATCHES_BEHIND_COMMIT_MAX,
  SLICE_MS_MAX,
} from "../base/limits.js";
import type { PlaceHints } from "../base/place-hints.js";
import { bytesFromLatin1 } from "../base/text.js";
import { parentPath, type Clock, type Disk, type Log, type Timer } from "../platform/index.js";
import { SpareTime } from "../platform/spare-time.js";
import type { BoltBucket, BoltDatabase, BoltEngine, BoltRead, BoltWrite, PairVisitor, Verdict } from "./bolt-door.js";
import { MissedChanges, type CurrentBuckets } from "./missed-changes.js";

/** The buckets of etcd 3.5's `db`. */
export const BUCKETS = {
  key: "key",
  meta: "meta",
  lease: "lease",
  alarm: "alarm",
  cluster: "cluster",
  members: "members",
  membersRemoved: "members_removed",
  auth: "auth",
  authUsers: "authUsers",
  authRoles: "authRoles",
} as const;

/** `BACKEND_FAILED`: a commit failed, so nothing is accepted. `DEFRAGMENT_FAILED`: `db` is as it was. */
export class BackendError extends CodedError<
  "BACKEND_FAILED" | "BACKEND_CLOSED" | "DEFRAGMENT_FAILED" | "DEFRAGMENT_BUSY"
> {
  override readonly name = "BackendError";
}

/** Writing into the transaction that is open. */
export interface BucketWriter extends BucketTable {
  createBucket(bucket: string): void;
}

export interface BackendDependencies {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly log: Log;
}

export interface BackendOptions {
  /** What reads and writes the file. */
  readonly engine: BoltEngine;
  readonly batchIntervalMs?: number;
  readonly batchWritesMax?: number;
  readonly batchBytesMax?: number;
  /** Changes that a defragmentation repeats in time that others leave over, and before it holds commits back. */
  readonly repeatedInSpareTime?: number;
  readonly repeatedUnheld?: number;
  readonly onFailure?: (error: BackendError) => void;
  /** Told how long each commit took to be durable, in milliseconds. */
  readonly onCommit?: (tookMs: number) => void;
}

/** Encodes in two steps: how many bytes, and then just these. */
export interface SpanCodec<Value> {
  size(value: Value): number;
  /** Writes into `bytes` from `start`, where `size` bytes are free. */
  write(bytes: Uint8Array, start: number, value: Value): number;
}

/** A consistent copy of `db`, pinned until `end`. */
export interface BackendSnapshot {
  readonly sizeBytes: number;
  pages(): AsyncIterable<Uint8Array>;
  end(): void;
}

/** Fill of pages of the bucket `key`, whose keys only ever grow: etcd's figure for sequential puts. */
const SEQUENTIAL_FILL = 0.9;
/** Changes repeated into the new file, or entries hashed, between two looks at the clock. */
const STEPS_PER_LOOK = 256;
/** Changes repeated in one transaction of the new file: to plan the commit of all that came in during a long copy would hold the loop. */
const REPEATED_PER_COMMIT = 2048;
/** A change is repeated in an eighth of the time that a put takes: a quarter of the loop's time is enough to catch up with it. */
const REPEATING_REST_PER_MS = 3;
/** So many changes are repeated in time that others leave over. Where as many came in again meanwhile, it has to go faster ... */
const REPEATED_IN_SPARE_TIME = 2_000_000;
/** ... and after so many commits are held back, so that entries wait for the copy: a defragmentation comes to its end under any load. */
const REPEATED_UNHELD = 10_000_000;

export class Backend implements BucketWriter {
  readonly path: string;
  /** Told once, when a commit fails. */
  onFailure: (error: BackendError) => void;

  readonly #d: BackendDependencies;
  readonly #options: BackendOptions;
  readonly #batchIntervalMs: number;
  readonly #batchWritesMax: number;
  readonly #batchBytesMax: number;
  #database: BoltDatabase;
  #write: BoltWrite;
  /** Buckets of the open transaction that were used. */
  readonly #buckets = new Map<string, BoltBucket>();
  #pendingWrites = 0;
  /** Bytes of keys and values that were put and that no commit has taken yet. */
  #pendingBytes = 0;
  #timer: Timer | undefined;
  #fullCommitAsked = false;
  #inFlight: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #beforeCommit: (write: BucketWriter) => void = () => undefined;
  #failed: BackendError | undefined;
  #closed = false;
  /** What the copy of the defragmentation that runs lacks. */
  #missed: MissedChanges | undefined;
  /** Resolves when commits, held back by a defragmentation, may go on. */
  #held: Promise<void> | undefined;
  #defragmentation: Promise<void> | undefined;
  #commits = 0;
  /** How many reads are pinned in each database. */
  readonly #openReads = new Map<BoltDatabase, number>();
  /** Databases that were replaced while somebody read from them. */
  readonly #retired = new Set<BoltDatabase>();

  private constructor(d: BackendDependencies, path: string, options: BackendOptions, database: BoltDatabase) {
    this.#d = d;
    this.path = path;
    this.#options = options;
    this.#batchIntervalMs = options.batchIntervalMs ?? BATCH_INTERVAL_MS;
    this.#batchWritesMax = options.batchWritesMax ?? BATCH_WRITES_MAX;
    this.#batchBytesMax = options.batchBytesMax ?? BATCH_BYTES_MAX;
    this.onFailure = options.onFailure ?? (() => undefined);
    this.#database = database;
    this.#write = database.beginWrite();
  }

  /** Opens `db`, or makes it. Removes what an interrupted defragmentation left. */
  static async open(d: BackendDependencies, path: string, options: BackendOptions): Promise<Backend> {
    if ((await d.disk.stat(temporaryPath(path))) !== undefined) await d.disk.removeFile(temporaryPath(path));
    return new Backend(d, path, options, await options.engine.open(d, path));
  }

  /** Resolves when the disk has what was read at the opening. Nothing of it may be relied on, or told to others, before. */
  makeDurable(): Promise<void> {
    return this.#database.makeDurable();
  }

  /** Bytes of the file. */
  get sizeBytes(): number {
    return this.#database.sizeBytes;
  }

  /** Bytes of the file that hold something; the rest is free for new pages. */
  get sizeInUseBytes(): number {
    return this.#database.sizeBytes - this.#database.freeBytes;
  }

  /** Reads that hold pages of the file. */
  get openReadCount(): number {
    let count = 0;
    for (const reads of this.#openReads.values()) count += reads;
    return count;
  }

  /** Why nothing is accepted any more; undefined while all is well. */
  get failed(): BackendError | undefined {
    return this.#failed;
  }

  /** Writes that no commit has taken yet. */
  get pendingWrites(): number {
    return this.#pendingWrites;
  }

  /** Commits that are durable, since the start. */
  get commits(): number {
    return this.#commits;
  }

  get(bucket: string, key: Uint8Array): Uint8Array | undefined {
    return this.#bucket(bucket)?.get(key);
  }

  /** The same; sooner for keys that are asked for in their order. */
  getNear(bucket: string, key: Uint8Array): Uint8Array | undefined {
    return this.#bucket(bucket)?.getNear(key);
  }

  /** The same for a key that is there and whose value never changes: sooner for one that was asked for before under this number. */
  getUnchanging(bucket: string, key: Uint8Array, number: number, hints: PlaceHints): Uint8Array | undefined {
    return this.#bucket(bucket)?.getUnchanging(key, number, hints);
  }

  /** Puts into the open transaction; a bucket that is missing is made. Both are copied. */
  put(bucket: string, key: Uint8Array, value: Uint8Array): void {
    this.#assertUsable();
    (this.#bucket(bucket) ?? this.#newBucket(bucket)).put(key, value);
    this.#missed?.notePut(bucket, key, value);
    this.#noteWrite(key.length + value.length);
  }

  /** The same with a value that is encoded where it will lie. */
  putEncoded<Value>(bucket: string, key: Uint8Array, value: Value, codec: SpanCodec<Value>): void {
    this.#assertUsable();
    const bytes = (this.#bucket(bucket) ?? this.#newBucket(bucket)).reserve(key, codec.size(value));
    codec.write(bytes, 0, value);
    this.#missed?.notePut(bucket, key, bytes);
    this.#noteWrite(key.length + bytes.length);
  }

  delete(bucket: string, key: Uint8Array): boolean {
    this.#assertUsable();
    const found = this.#bucket(bucket)?.delete(key) ?? false;
    this.#missed?.noteDelete(bucket, key);
    this.#noteWrite(0);
    return found;
  }

  /**
   * Walks over the keys in `[from, to)` in order, and deletes some of them.
   *
   * @returns the key at which the callback stopped the walk; undefined when it came to the end
   */
  prune(
    bucket: string,
    from: Uint8Array,
    to: Uint8Array,
    judge: (key: Uint8Array, value: Uint8Array) => Verdict,
  ): Uint8Array | undefined {
    this.#assertUsable();
    return this.#bucket(bucket)?.prune(from, to, (key, value) => {
      const verdict = judge(key, value);
      if (verdict === "delete") {
        this.#missed?.noteDelete(bucket, key);
        this.#noteWrite(0);
      }
      return verdict;
    });
  }

  createBucket(bucket: string): void {
    this.#assertUsable();
    if (this.#bucket(bucket) !== undefined) return;
    this.#newBucket(bucket);
    this.#noteWrite(0);
  }

  hasBucket(bucket: string): boolean {
    return this.#bucket(bucket) !== undefined;
  }

  keys(bucket: string): Uint8Array[] {
    const keys: Uint8Array[] = [];
    this.forEach(bucket, undefined, undefined, (key) => void keys.push(key));
    return keys;
  }

  /**
   * Calls for each key in `[from, to)`, in order, until the callback answers false.
   * The bucket must not change before this returns.
   */
  forEach(
    bucket: string,
    from: Uint8Array | undefined,
    to: Uint8Array | undefined,
    visit: (key: Uint8Array, value: Uint8Array) => boolean | void,
  ): void {
    this.#bucket(bucket)?.forEach(from, to, visit);
  }

  /** The same from a key on, told where key and value lie instead of views of them. */
  forEachInPlace(bucket: string, from: Uint8Array, visit: PairVisitor): void {
    this.#bucket(bucket)?.forEachInPlace(from, visit);
  }

  /** A bucket of the open transaction, to be visited in slices: each sees what was written until then. */
  reader(bucket: string): Pick<BoltBucket, "forEach"> {
    return { forEach: (from, to, visit) => this.forEach(bucket, from, to, visit) };
  }

  /** The hook writes what must reach the disk together with the batch (consistent index, term, conf state). */
  setBeforeCommit(hook: (write: BucketWriter) => void): void {
    this.#beforeCommit = hook;
  }

  /**
   * Commits what was written so far.
   *
   * @returns resolves when it is durable; at once when nothing is pending or under way
   * @throws BackendError `BACKEND_FAILED` (as a rejection)
   */
  commitNow(): Promise<void> {
    if (this.#failed !== undefined) return Promise.reject(this.#failed);
    const before = this.#held ?? this.#inFlight;
    if (before === undefined) return this.#startCommit();
    this.#next ??= before.then(() => {
      this.#next = undefined;
      return this.commitNow();
    });
    return this.#next;
  }

  /**
   * Undefined when more may be written. Otherwise `BATCHES_BEHIND_COMMIT_MAX` full batches wait behind a commit, and the promise resolves
   * when that commit has ended, well or not.
   */
  room(): Promise<void> | undefined {
    const before = this.#held ?? this.#inFlight;
    if (before === undefined) return undefined;
    const writesMax = Math.max(this.#batchWritesMax, BATCH_WRITES_MAX) * BATCHES_BEHIND_COMMIT_MAX;
    const bytesMax = this.#batchBytesMax * BATCHES_BEHIND_COMMIT_MAX;
    if (this.#pendingWrites < writesMax && this.#pendingBytes < bytesMax) return undefined;
    return before.catch(() => undefined); // a failure reaches everyone through `onFailure`
  }

  /**
   * Everything written up to one turn, as pages to stream; the first page comes when all of it is durable.
   *
   * @param prepare called in that turn, before the pin: what it writes belongs to the snapshot, and what it notes fits it
   */
  async snapshot(prepare: () => void = () => undefined): Promise<BackendSnapshot> {
    const read = this.#track(await this.#pinAsItIs(() => undefined, prepare));
    return { sizeBytes: read.sizeBytes, pages: () => read.copy(), end: () => read.end() };
  }

  /**
   * A read of everything written up to the turn in which `pinned` is called, even if it is not durable yet. The caller ends it.
   *
   * @param pinned called in the same turn as the pin: what it notes (a revision) belongs to what the read sees
   */
  async pin(pinned: () => void): Promise<BoltRead> {
    return this.#track(await this.#pinAsItIs(pinned));
  }

  async #pinAsItIs(pinned: () => void, prepare: () => void = () => undefined): Promise<BoltRead> {
    while ((this.#held ?? this.#inFlight) !== undefined) await (this.#held ?? this.#inFlight);
    prepare();
    void this.#startCommit().catch(() => undefined); // a failure reaches everyone through `onFailure`
    this.#assertUsable();
    pinned();
    return this.#database.beginRead();
  }

  /**
   * The checksum of etcd's Hash call: CRC-32C over each bucket's name and its keys and values, in order.
   * Consistent index and term are left out, since members of one cluster differ in them.
   */
  async hash(pinned: () => void = () => undefined): Promise<number> {
    const read = await this.pin(pinned);
    try {
      let crc = 0;
      for (const name of read.buckets()) {
        crc = crc32c(crc, name);
        const isMeta = sameText(name, BUCKETS.meta);
        await visitInSlices(this.#d.clock, read.bucket(name)!, undefined, undefined, (key, value) => {
          if (isMeta && (sameText(key, "consistent_index") || sameText(key, "term"))) return;
          crc = crc32c(crc32c(crc, key), value);
        });
      }
      return crc;
    } finally {
      read.end();
    }
  }

  /**
   * Rewrites `db` without its free pages. Reads and writes go on.
   *
   * @throws BackendError `DEFRAGMENT_FAILED` when the copy could not be made (no space, say): `db` is as it was, and serves;
   *   `DEFRAGMENT_BUSY` when another one runs
   */
  async defragment(): Promise<void> {
    this.#assertUsable();
    if (this.#defragmentation !== undefined)
      throw new BackendError("DEFRAGMENT_BUSY", `${this.path} is being defragmented already`);
    const began = this.#d.clock.now();
    const before = { size: this.sizeBytes, inUse: this.sizeInUseBytes };
    this.#d.log.info("defragmenting", { path: this.path, "current-db-size-bytes": before.size });
    this.#defragmentation = this.#copyAndSwap();
    try {
      await this.#defragmentation;
    } finally {
      this.#defragmentation = undefined;
    }
    this.#d.log.info("finished defragmenting directory", {
      path: this.path,
      "current-db-size-bytes-diff": this.sizeBytes - before.size,
      "current-db-size-bytes": this.sizeBytes,
      "current-db-size-in-use-bytes-diff": this.sizeInUseBytes - before.inUse,
      "current-db-size-in-use-bytes": this.sizeInUseBytes,
      took: formatDuration(this.#d.clock.now() - began),
    });
  }

  /** Commits what is pending and closes the file. A failed backend closes without a commit. */
  async close(): Promise<void> {
    if (this.#closed) return;
    try {
      if (this.#defragmentation !== undefined) await this.#defragmentation.catch(() => undefined);
      while (this.#failed === undefined && (this.#pendingWrites > 0 || this.#inFlight !== undefined)) {
        await this.commitNow();
      }
    } finally {
      this.#closed = true;
      this.#disarmTimer();
      this.#write.rollback();
      for (const database of [this.#database, ...this.#retired]) await database.close();
    }
  }

  /**
   * Gives the file up without a commit, for another one is about to take its place. Reads that are pinned go on; the file is
   * closed behind the last of them. Everything else fails with `BACKEND_CLOSED` from now on.
   */
  async retire(): Promise<void> {
    if (this.#closed) return;
    if (this.#defragmentation !== undefined) await this.#defragmentation.catch(() => undefined);
    this.#closed = true;
    this.#disarmTimer();
    this.#pendingWrites = 0;
    this.#pendingBytes = 0;
    await this.#inFlight?.catch(() => undefined); // it was told through `onFailure`
    this.#write.rollback();
    if (this.#openReads.has(this.#database)) this.#retired.add(this.#database);
    else await this.#database.close();
  }

  /** A read that keeps its database open when a defragmentation replaces it. */
  #track(read: BoltRead): BoltRead {
    const database = this.#database;
    this.#openReads.set(database, (this.#openReads.get(database) ?? 0) + 1);
    let open = true;
    return {
      sizeBytes: read.sizeBytes,
      bucket: (name) => read.bucket(name),
      buckets: () => read.buckets(),
      copy: () => read.copy(),
      end: () => {
        if (!open) return;
        open = false;
        read.end();
        this.#readEnded(database);
      },
    };
  }

  #readEnded(database: BoltDatabase): void {
    const left = this.#openReads.get(database)! - 1;
    if (left > 0) {
      this.#openReads.set(database, left);
      return;
    }
    this.#openReads.delete(database);
    if (!this.#retired.delete(database)) return;
    database.close().catch((error: unknown) => {
      this.#d.log.warn("failed to close a database file that was replaced", { error: describeError(error) });
    });
  }

  #bucket(name: string): BoltBucket | undefined {
    const known = this.#buckets.get(name);
    if (known !== undefined) return known;
    const bucket = this.#write.bucket(bytesFromLatin1(name));
    if (bucket === undefined) return undefined;
    return this.#keepBucket(name, bucket);
  }

  #newBucket(name: string): BoltBucket {
    this.#missed?.noteBucket(name);
    return this.#keepBucket(name, this.#write.createBucketIfNotExists(bytesFromLatin1(name)));
  }

  #keepBucket(name: string, bucket: BoltBucket): BoltBucket {
    if (name === BUCKETS.key) bucket.fillPercent = SEQUENTIAL_FILL;
    this.#buckets.set(name, bucket);
    return bucket;
  }

  #assertUsable(): void {
    if (this.#failed !== undefined) throw this.#failed;
    if (this.#closed) throw new BackendError("BACKEND_CLOSED", `${this.path} is closed`);
  }

  #noteWrite(bytes: number): void {
    this.#pendingWrites++;
    this.#pendingBytes += bytes;
    if (this.#pendingWrites >= this.#batchWritesMax || this.#pendingBytes >= this.#batchBytesMax)
      this.#commitAfterTurn();
    else this.#armTimer();
  }

  #armTimer(): void {
    if (this.#timer !== undefined) return;
    this.#timer = this.#d.clock.after(this.#batchIntervalMs, () => {
      this.#timer = undefined;
      this.#commitInBackground();
    });
  }

  #disarmTimer(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #commitAfterTurn(): void {
    if (this.#fullCommitAsked) return;
    this.#fullCommitAsked = true;
    void Promise.resolve().then(() => this.#commitFull());
  }

  #commitFull(): void {
    this.#fullCommitAsked = false;
    this.#commitInBackground();
  }

  #commitInBackground(): void {
    void this.commitNow().catch(() => undefined); // a failure reaches everyone through `onFailure`
  }

  /** Hands the open transaction over and opens the next one, all in this turn. */
  #startCommit(): Promise<void> {
    if (this.#failed !== undefined) return Promise.reject(this.#failed);
    if (this.#pendingWrites === 0) return Promise.resolve();
    let landed: Promise<void>;
    try {
      this.#beforeCommit(this);
      this.#disarmTimer();
      landed = this.#write.commit();
      this.#beginWrite(this.#database);
    } catch (error) {
      return Promise.reject(this.#fail(error));
    }
    return (this.#inFlight = this.#settle(landed));
  }

  async #settle(landed: Promise<void>): Promise<void> {
    const began = this.#d.clock.now();
    try {
      await landed;
      this.#commits++;
      this.#options.onCommit?.(this.#d.clock.now() - began);
    } catch (error) {
      throw this.#fail(error);
    } finally {
      this.#inFlight = undefined;
    }
  }

  #beginWrite(database: BoltDatabase): void {
    this.#use(database, database.beginWrite());
  }

  #use(database: BoltDatabase, write: BoltWrite): void {
    this.#database = database;
    this.#write = write;
    this.#buckets.clear();
    this.#pendingWrites = 0;
    this.#pendingBytes = 0;
  }

  #fail(cause: unknown): BackendError {
    if (this.#failed === undefined) {
      const detail = `a commit to ${this.path} failed, and what it held is in doubt: ${describeError(cause)}; restart the member`;
      this.#failed = new BackendError("BACKEND_FAILED", detail, { cause });
      this.#disarmTimer();
      this.onFailure(this.#failed);
    }
    return this.#failed;
  }

  async #copyAndSwap(): Promise<void> {
    const temporary = temporaryPath(this.path);
    let release: (() => void) | undefined;
    try {
      const missed = new MissedChanges(BUCKETS.key, SEQUENTIAL_FILL);
      const read = await this.#pinAsItIs(() => {
        missed.begin(this.#bucket(BUCKETS.key)?.lastKey());
        this.#missed = missed;
      });
      try {
        await this.#options.engine.compact(read, this.#d, temporary);
      } finally {
        read.end();
      }
      await this.#repeatDurably(temporary, missed, async () => {
        // From here on no commit starts, so that what the old file holds does not run away from what the new one gets.
        while (this.#inFlight !== undefined) await this.#inFlight;
        this.#assertUsable();
        this.#held = new Promise((resolve) => (release = resolve));
      });
      await this.#swap(temporary, missed);
    } catch (error) {
      if (this.#failed !== undefined) throw this.#failed;
      await this.#d.disk.removeFile(temporary).catch(() => undefined); // the first failure is the one to tell
      const detail = `${this.path} could not be defragmented and serves on as it was: ${describeError(error)}`;
      throw new BackendError("DEFRAGMENT_FAILED", detail, { cause: error });
    } finally {
      this.#missed = undefined;
      this.#held = undefined;
      release?.();
    }
  }

  /** Repeats in the new file what it lacks, and makes it durable. @param hold holds commits back; called when little is left */
  async #repeatDurably(temporary: string, missed: MissedChanges, hold: () => Promise<void>): Promise<void> {
    const database = await this.#options.engine.open(this.#d, temporary);
    try {
      const copy = new CatchingUp(database, missed, this);
      const spareTime = new SpareTime(this.#d.clock, REPEATING_REST_PER_MS);
      const inSpareTime = this.#options.repeatedInSpareTime ?? REPEATED_IN_SPARE_TIME;
      const unheld = this.#options.repeatedUnheld ?? REPEATED_UNHELD;
      while (!copy.hasCaughtUp && copy.repeated < inSpareTime) {
        await copy.step();
        if (spareTime.isOver) await spareTime.rest();
      }
      while (!copy.hasCaughtUp && copy.repeated < unheld) await this.#repeatSlice(copy);
      await hold();
      // What came in while the last commit landed; where the calls were too many, all that is left.
      do await this.#repeatSlice(copy);
      while (!copy.hasCaughtUp);
      // The hook and the last changes in one turn: a crash after the rename must find the consistent index of just these.
      this.#beforeCommit(this);
      copy.repeatAll();
      await copy.commit();
    } finally {
      await database.close();
    }
  }

  /** As many changes as a turn of the loop may take, so that more are repeated in it than come in. */
  async #repeatSlice(copy: CatchingUp): Promise<void> {
    const { clock } = this.#d;
    const until = clock.now() + SLICE_MS_MAX / 2;
    do await copy.step();
    while (!copy.hasCaughtUp && clock.now() < until);
    if (!copy.hasCaughtUp) await clock.yield();
  }

  /** The new file takes the old one's place. A failure from the rename on leaves in doubt which of them a restart finds. */
  async #swap(temporary: string, missed: MissedChanges): Promise<void> {
    const old = this.#database;
    await this.#d.disk.rename(temporary, this.path);
    try {
      await this.#d.disk.syncFolder(parentPath(this.path));
      const database = await this.#options.engine.open(this.#d, this.path);
      const pending = { writes: this.#pendingWrites, bytes: this.#pendingBytes };
      const write = database.beginWrite();
      missed.repeat(write, this, Infinity);
      this.#write.rollback();
      this.#use(database, write);
      this.#pendingWrites = pending.writes;
      this.#pendingBytes = pending.bytes;
      if (this.#openReads.has(old)) this.#retired.add(old);
      else await old.close();
    } catch (error) {
      throw this.#fail(error);
    }
    if (this.#pendingWrites > 0) this.#armTimer();
  }
}

/** The copy of a defragmentation while it is brought up to date, one transaction after the other. */
class CatchingUp {
  readonly #database: BoltDatabase;
  readonly #missed: MissedChanges;
  readonly #current: CurrentBuckets;
  #write: BoltWrite;
  #uncommitted = 0;
  /** Changes repeated so far. */
  repeated = 0;
  /** Whether the last step found nothing left. */
  hasCaughtUp = false;

  constructor(database: BoltDatabase, missed: MissedChanges, current: CurrentBuckets) {
    this.#database = database;
    this.#missed = missed;
    this.#current = current;
    this.#write = database.beginWrite();
  }

  /** Repeats some changes, and commits when the transaction has many. Changes may come in before this resolves. */
  async step(): Promise<void> {
    const count = this.#repeat(STEPS_PER_LOOK);
    if (this.#uncommitted >= REPEATED_PER_COMMIT) {
      await this.commit();
      this.#write = this.#database.beginWrite();
    }
    this.hasCaughtUp = count < STEPS_PER_LOOK;
  }

  /** Repeats all that is left, in this turn. */
  repeatAll(): void {
    this.#repeat(Infinity);
  }

  /** Resolves when what was repeated is durable. */
  async commit(): Promise<void> {
    this.#uncommitted = 0;
    await this.#write.commit();
  }

  #repeat(changesMax: number): number {
    const count = this.#missed.repeat(this.#write, this.#current, changesMax);
    this.#uncommitted += count;
    this.repeated += count;
    return count;
  }
}

/** Visits `[from, to)` of a pinned bucket, giving the loop back every few milliseconds. */
export async function visitInSlices(
  clock: Clock,
  bucket: Pick<BoltBucket, "forEach">,
  from: Uint8Array | undefined,
  to: Uint8Array | undefined,
  visit: (key: Uint8Array, value: Uint8Array) => void,
): Promise<void> {
  let low = from;
  for (;;) {
    const began = clock.now();
    let steps = 0;
    let stoppedAt: Uint8Array | undefined;
    bucket.forEach(low, to, (key, value) => {
      if (++steps % STEPS_PER_LOOK === 0 && clock.now() - began >= SLICE_MS_MAX / 2) {
        stoppedAt = key;
        return false;
      }
      visit(key, value);
      return true;
    });
    if (stoppedAt === undefined) return;
    low = stoppedAt;
    await clock.yield();
  }
}

function sameText(bytes: Uint8Array, text: string): boolean {
  if (bytes.length !== text.length) return false;
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== text.charCodeAt(i)) return false;
  return true;
}

/** Named as etcd names its own, so that both servers' clean-up knows it. */
function temporaryPath(path: string): string {
  return `${path}.tmp.defragment`;
}
