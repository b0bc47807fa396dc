/**
 * The database: one file, the newest committed state, the durable state, and the commits between the two.
 *
 * The order of effects of a commit, each step only after the one before is done:
 *   1. at once, in memory: the tree gets its final shape and each changed node a place that no readable state uses;
 *      from here on the new state is what transactions see;
 *   2. the file grows and is synced, when the places lie beyond its end      - a page must not vanish with a lost size;
 *   3. the pages are written, then the free list, then fdatasync             - the meta must never point to what is not there;
 *   4. the meta page is written, to the place of the meta before last, then fdatasync - the last one stays whole;
 *   5. the state is durable: its promise resolves, pages that only older states used may be written again.
 * Commits pass through 2 to 5 one after another. When a step fails the database is poisoned: nothing is written any more.
 *
 * Laws: durable.txid <= current.txid; a page that the durable state, a later one or an open reader has is never written.
 */
import { describeError, invariant } from "../base/errors.js";
import { mebibytes } from "../base/units.js";
import type { Clock } from "../platform/clock.js";
import type { Disk, DiskFile } from "../platform/disk.js";
import type { Log } from "../platform/log.js";
import type { Bucket } from "./bucket.js";
import { checkFile, type BoltProblem, type OnProgress } from "./check.js";
import { CommitPlan, type PlannedCommit } from "./commit-plan.js";
import { BoltError } from "./errors.js";
import { encodeMeta, sealPage, type Meta } from "./format.js";
import { encodeFreeList, type FreeList } from "./free-list.js";
import { grownBytes, mapBytes } from "./growth.js";
import { encodeNode, type Node } from "./node.js";
import { Page } from "./page.js";
import { PageStore } from "./page-store.js";
import { ReadTransaction, WriteTransaction, type State, type TransactionHost } from "./transaction.js";

/** Bytes that one write of data pages has at most, encoded in one go: about half a millisecond of work. */
const WRITE_BYTES_MAX = 256 * 1024;
/** Encoding for longer than this gives the loop back: a commit of ten thousand puts is 10 to 16 ms of it. */
const ENCODE_MS_MAX = 1;
/** Writes of data pages under way at once. */
const WRITES_AT_ONCE = 4;
/** Bytes of one chunk of a copy. */
const COPY_BYTES = 256 * 1024;
export const CACHE_BYTES_DEFAULT = mebibytes(256);

/** The doors that a database needs. */
export interface BoltDoors {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly log: Log;
}

/** What `openBolt` found in the file. */
export interface OpenedFile {
  readonly file: DiskFile;
  readonly path: string;
  readonly state: State;
  readonly freeList: FreeList;
  readonly fileBytes: number;
  /** The meta page that could not be read, if one could not: after a crash during a commit, or by damage. */
  readonly damagedMeta: BoltError | undefined;
}

export interface DatabaseSettings {
  readonly readOnly: boolean;
  readonly cacheBytes: number;
  /** bbolt's InitialMmapSize: over 16 MiB it makes small files grow by 16 MiB at a time, too. etcd sets 10 GiB. */
  readonly initialMapBytes: number;
  /** False leaves out all syncs but the one of `close`: for a file that is built under a temporary name. */
  readonly sync: boolean;
}

export interface BoltStats {
  readonly txid: number;
  readonly durableTxid: number;
  readonly pageSize: number;
  /** Pages that were ever used: `[0, highWater)`. */
  readonly pages: number;
  readonly freePages: number;
  readonly pendingPages: number;
  readonly fileBytes: number;
  readonly cachedBytes: number;
  readonly cacheMisses: number;
  readonly openReaders: number;
  readonly commitsInFlight: number;
}

export class BoltDatabase implements TransactionHost {
  readonly path: string;
  readonly pageSize: number;
  readonly pages: PageStore;
  /** The meta page that was damaged when the file was opened, if any: the state may then be one commit old. */
  readonly damagedMeta: BoltError | undefined;
  readonly #file: DiskFile;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #settings: DatabaseSettings;
  readonly #freeList: FreeList;
  /** The newest state that the file had when it was opened. */
  readonly #openedWith: Meta;
  #madeDurable: Promise<void> | undefined;
  #current: State;
  #durable: State;
  #fileBytes: number;
  #mappedBytes: number;
  #writer: WriteTransaction | undefined;
  readonly #readers = new Set<ReadTransaction>();
  readonly #queue: PlannedCommit[] = [];
  /** Of `WRITE_BYTES_MAX` each, not in use: as many as writes that were under way at once. */
  readonly #buffers: Uint8Array[] = [];
  /** Leaves of the commit that became durable last. They stay in memory, as the nodes that they were, until the next one is durable. */
  #newestLeaves: readonly Node[] = [];
  #writing: Promise<void> | undefined;
  #failed: BoltError | undefined;
  #closing: Promise<void> | undefined;
  /** Called when a commit became durable or all failed. */
  #waiting: (() => void)[] = [];

  /** Use `openBolt`. */
  constructor(doors: BoltDoors, opened: OpenedFile, settings: DatabaseSettings) {
    this.path = opened.path;
    this.pageSize = opened.state.meta.pageSize;
    this.damagedMeta = opened.damagedMeta;
    this.#file = opened.file;
    this.#clock = doors.clock;
    this.#log = doors.log;
    this.#settings = settings;
    this.#freeList = opened.freeList;
    this.#openedWith = opened.state.meta;
    this.#current = opened.state;
    this.#durable = opened.state;
    this.#fileBytes = opened.fileBytes;
    this.#mappedBytes = mapBytes(Math.max(opened.fileBytes, settings.initialMapBytes));
    const { highWater } = opened.state.meta;
    this.pages = new PageStore(opened.file, opened.path, this.pageSize, highWater, settings.cacheBytes);
    this.pages.isFree = (id) => this.#freeList.isFree(id);
  }

  /** Bytes of the pages ever used, what etcd reports as the database's size. The file may be longer: `stats().fileBytes`. */
  get sizeBytes(): number {
    return this.#current.meta.highWater * this.pageSize;
  }

  /** Bytes of pages that may be written at once. `sizeBytes - freeBytes` is what etcd reports as the size in use. */
  get freeBytes(): number {
    return this.#freeList.freePages * this.pageSize;
  }

  /** Bytes of pages that were freed and wait until no state that is read has them. */
  get pendingBytes(): number {
    return this.#freeList.pendingPages * this.pageSize;
  }

  /** Why nothing is written any more, once a write or sync failed. */
  get failed(): BoltError | undefined {
    return this.#failed;
  }

  stats(): BoltStats {
    return {
      txid: this.#current.meta.txid,
      durableTxid: this.#durable.meta.txid,
      pageSize: this.pageSize,
      pages: this.#current.meta.highWater,
      freePages: this.#freeList.freePages,
      pendingPages: this.#freeList.pendingPages,
      fileBytes: this.#fileBytes,
      cachedBytes: this.pages.cachedBytes,
      cacheMisses: this.pages.misses,
      openReaders: this.#readers.size,
      commitsInFlight: this.#queue.length,
    };
  }

  assertOpen(): void {
    if (this.#closing !== undefined) throw new BoltError("BOLT_CLOSED", { path: this.path }, "the database was closed");
  }

  /**
   * Begins to read. The view is that of the newest commit, durable or not yet; with `durable` that of the newest durable one.
   */
  beginRead(options: { readonly durable?: boolean } = {}): ReadTransaction {
    this.assertOpen();
    const transaction = new ReadTransaction(this, options.durable === true ? this.#durable : this.#current);
    this.#readers.add(transaction);
    return transaction;
  }

  /**
   * Begins the one write transaction.
   *
   * @throws BoltError `BOLT_WRITE_OPEN` while another one is open, `BOLT_READ_ONLY`, `BOLT_POISONED`
   */
  beginWrite(): WriteTransaction {
    this.assertOpen();
    if (this.#settings.readOnly) throw this.#error("BOLT_READ_ONLY", "the database was opened for reading only");
    if (this.#failed !== undefined) throw this.#failed;
    if (this.#writer !== undefined) throw this.#error("BOLT_WRITE_OPEN", "a write transaction is open");
    this.#writer = new WriteTransaction(this, this.#current);
    return this.#writer;
  }

  endRead(transaction: ReadTransaction): void {
    this.#readers.delete(transaction);
  }

  endWrite(transaction: WriteTransaction): void {
    invariant(this.#writer === transaction, "the open write transaction ends");
    this.#writer = undefined;
  }

  commit(transaction: WriteTransaction, root: Bucket, released: readonly number[]): Promise<void> {
    if (this.#failed !== undefined) {
      transaction.rollback();
      return Promise.reject(this.#failed);
    }
    try {
      return this.#plan(root, released);
    } catch (error) {
      // The free list may hold half of a plan: a later commit on it could write over pages in use.
      return Promise.reject(this.#poison(error));
    } finally {
      transaction.finish();
      this.endWrite(transaction);
    }
  }

  /** Step 1: everything is decided here, and nothing is written. */
  #plan(root: Bucket, released: readonly number[]): Promise<void> {
    const before = this.#current;
    const readers = [...new Set([...this.#readers].map((reader) => reader.id))];
    this.#freeList.release(this.#durable.meta.txid, readers, (id) => this.pages.forget(id));
    const plan = new CommitPlan(this.#freeList, before);
    for (let i = 0; i < released.length; i += 2) plan.free(released[i]!, released[i + 1]!);
    const header = root.commit(plan);
    if (before.meta.freeList !== undefined) plan.free(before.meta.freeList, before.freeListSpan);
    const freeListSpan = Math.floor(this.#freeList.encodedBytes / this.pageSize) + 1;
    const freeListId = plan.take(freeListSpan);
    const meta: Meta = {
      pageSize: this.pageSize,
      root: header.root,
      sequence: header.sequence,
      freeList: freeListId,
      highWater: plan.highWater,
      txid: plan.txid,
    };
    const nodes = plan.nodes.sort((a, b) => a.id - b.id);
    this.pages.highWater = plan.highWater;
    for (const node of nodes) this.pages.pin(node.id, node);
    this.#current = { meta, freeListSpan };
    const listed = this.#freeList.snapshot();
    return new Promise((resolve, reject) => {
      this.#queue.push({ state: this.#current, nodes, listed, freeListId, resolve, reject });
      this.#writing ??= this.#writeQueue();
    });
  }

  /**
   * Writes the newest meta page once more, the same bytes, and syncs it; once. Where the sync of that page failed before this process, the
   * system's cache may hold it as clean, and no other sync would write it: this state is the newest that can be read, and the disk has an
   * older one, whose pages the next commits write over. The pages that it points to were synced before it was first written. The
   * first commit calls this; whoever relies on what it read before that calls it earlier.
   *
   * @throws BoltError, DiskError
   */
  makeDurable(): Promise<void> {
    if (!this.#settings.sync || this.#settings.readOnly) return Promise.resolve();
    return (this.#madeDurable ??= this.#writeMeta(this.#openedWith));
  }

  /** Steps 2 to 5 for each commit in turn. */
  async #writeQueue(): Promise<void> {
    try {
      await this.makeDurable();
      for (let commit = this.#queue[0]; commit !== undefined; commit = this.#queue[0]) {
        await this.#grow(commit.state.meta.highWater);
        await this.#writePages(commit);
        if (this.#settings.sync) await this.#file.datasync();
        await this.#writeMeta(commit.state.meta);
        this.#durable = commit.state;
        for (const node of commit.nodes) this.pages.unpin(node.id);
        for (const node of this.#newestLeaves) this.pages.letGo(node.id, node);
        this.#newestLeaves = commit.nodes.filter((node) => node.leaf);
        this.#queue.shift();
        commit.resolve();
        this.#wake();
      }
    } catch (error) {
      const failed = this.#poison(error);
      for (const commit of this.#queue.splice(0)) commit.reject(failed);
    }
    this.#writing = undefined;
    this.#wake();
  }

  async #grow(highWater: number): Promise<void> {
    const needed = (highWater + 1) * this.pageSize;
    if (needed >= this.#mappedBytes) this.#mappedBytes = mapBytes(needed);
    const size = grownBytes(this.#fileBytes, needed, this.#mappedBytes);
    if (size === this.#fileBytes) return;
    await this.#file.truncate(size);
    if (this.#settings.sync) await this.#file.sync();
    this.#fileBytes = size;
  }

  /**
   * Writes runs of pages that lie side by side in one go each, a few of them at a time: where pages are scattered, the way to
   * the disk and back is what takes the time. They are encoded just before, a millisecond's worth in a turn.
   */
  async #writePages(commit: PlannedCommit): Promise<void> {
    const { nodes } = commit;
    let at = 0;
    const run = { failed: false };
    let turnBegan = this.#clock.now();
    const writeRuns = async (): Promise<void> => {
      while (at < nodes.length && !run.failed) {
        if (this.#clock.now() - turnBegan >= ENCODE_MS_MAX) {
          await this.#clock.yield();
          turnBegan = this.#clock.now();
          continue;
        }
        const first = nodes[at]!;
        const buffer = this.#takeBuffer(first.span * this.pageSize);
        let bytes = 0;
        while (at < nodes.length) {
          const node = nodes[at]!;
          const end = bytes + node.span * this.pageSize;
          if (node.id * this.pageSize !== first.id * this.pageSize + bytes || end > buffer.length) break;
          this.#encode(node, buffer.subarray(bytes, end));
          bytes = end;
          at++;
        }
        await this.#file.write([buffer.subarray(0, bytes)], first.id * this.pageSize).catch((error: unknown) => {
          run.failed = true;
          throw error;
        });
        if (buffer.length === WRITE_BYTES_MAX) this.#buffers.push(buffer);
      }
    };
    const lanes = await Promise.allSettled(Array.from({ length: WRITES_AT_ONCE }, writeRuns));
    for (const lane of lanes) if (lane.status === "rejected") throw lane.reason;
    const { freeListSpan } = commit.state;
    const list = new Uint8Array(freeListSpan * this.pageSize);
    encodeFreeList(list, commit.freeListId, freeListSpan, commit.listed);
    sealPage(list, commit.freeListId);
    await this.#file.write([list], commit.freeListId * this.pageSize);
  }

  /** A buffer for a run of pages, which is used again when they are written; one of its own for more than it holds. */
  #takeBuffer(bytesMin: number): Uint8Array {
    if (bytesMin > WRITE_BYTES_MAX) return new Uint8Array(bytesMin);
    return this.#buffers.pop() ?? new Uint8Array(WRITE_BYTES_MAX);
  }

  /**
   * Writes a node's pages into `bytes`, which are used again. A branch stays in memory as a page of its own. A leaf does not: most of what
   * is put is not read soon, memory that was never touched before is what a put can spare best, and whoever reads a leaf later finds it in
   * the system's cache.
   */
  #encode(node: Node, bytes: Uint8Array): void {
    encodeNode(node, bytes);
    bytes.fill(0, node.size);
    sealPage(bytes, node.id);
    if (!node.leaf) this.pages.replace(node.id, node, new Page(bytes.slice(), node.id, node.span));
  }

  async #writeMeta(meta: Meta): Promise<void> {
    const id = meta.txid % 2;
    const bytes = new Uint8Array(this.pageSize);
    encodeMeta(bytes, id, meta);
    if (this.#settings.sync) await this.#file.writeDurably([bytes], id * this.pageSize);
    else await this.#file.write([bytes], id * this.pageSize);
  }

  #poison(cause: unknown): BoltError {
    if (this.#failed === undefined) {
      const detail = `a commit failed, nothing is written any more; close and open the file again (${describeError(cause)})`;
      this.#failed = new BoltError("BOLT_POISONED", { path: this.path }, detail, { cause });
      this.#log.error("bolt database poisoned", { path: this.path, error: describeError(cause) });
    }
    return this.#failed;
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  /** Answers when the state is durable. */
  async #untilDurable(txid: number): Promise<void> {
    while (this.#durable.meta.txid < txid) {
      if (this.#failed !== undefined) throw this.#failed;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async *copyOf(state: State): AsyncGenerator<Uint8Array> {
    await this.#untilDurable(state.meta.txid);
    const metas = new Uint8Array(2 * this.pageSize);
    encodeMeta(metas.subarray(0, this.pageSize), 0, state.meta);
    encodeMeta(metas.subarray(this.pageSize), 1, { ...state.meta, txid: Math.max(state.meta.txid - 1, 0) });
    yield metas;
    const end = state.meta.highWater * this.pageSize;
    for (let at = metas.length; at < end;) {
      const chunk = new Uint8Array(Math.min(COPY_BYTES, end - at));
      const count = await this.#file.read(chunk, at);
      if (count !== chunk.length) {
        const place = { path: this.path, offset: at };
        throw new BoltError("BOLT_TRUNCATED", place, `${chunk.length} bytes are due, the file has ${count} of them`);
      }
      yield chunk;
      at += chunk.length;
    }
  }

  /** Proves the whole durable state as the file has it: see `BoltProblem`. An empty answer means that it is consistent. */
  async check(onProgress?: OnProgress): Promise<BoltProblem[]> {
    const reader = this.beginRead({ durable: true });
    try {
      const source = { file: this.#file, path: this.path, clock: this.#clock, meta: reader.state.meta };
      return (await checkFile(source, onProgress)).problems;
    } finally {
      reader.end();
    }
  }

  /** Answers when all commits so far are durable, or have failed. */
  async idle(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
  }

  /** Ends all transactions, waits for the commits in flight, gives the lock back and closes the file. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#writer?.rollback();
    for (const reader of this.#readers) reader.end();
    await this.idle();
    try {
      if (!this.#settings.sync && this.#failed === undefined) await this.#file.sync();
    } finally {
      await this.#file.close();
    }
  }

  #error(code: "BOLT_READ_ONLY" | "BOLT_WRITE_OPEN", detail: string): BoltError {
    return new BoltError(code, { path: this.path }, detail);
  }
}
