/** Transactions: a view of one committed state, and the one transaction at a time that makes the next. */
import { Arena } from "../base/arena.js";
import { invariant } from "../base/errors.js";
import { Bucket, type BucketOwner } from "./bucket.js";
import type { Cursor } from "./cursor.js";
import { BoltError } from "./errors.js";
import type { Meta } from "./format.js";
import type { PageStore } from "./page-store.js";

/** A committed state, and how many pages its free list takes. */
export interface State {
  readonly meta: Meta;
  readonly freeListSpan: number;
}

/** What a transaction needs of its database. */
export interface TransactionHost {
  readonly pages: PageStore;
  readonly path: string;
  readonly pageSize: number;
  /** @throws BoltError when the database was closed */
  assertOpen(): void;
  endRead(transaction: ReadTransaction): void;
  endWrite(transaction: WriteTransaction): void;
  /** Plans the writes of a transaction at once, and answers when they are durable. */
  commit(transaction: WriteTransaction, root: Bucket, released: readonly number[]): Promise<void>;
  copyOf(state: State): AsyncIterable<Uint8Array>;
}

abstract class Transaction implements BucketOwner {
  readonly state: State;
  readonly pages: PageStore;
  abstract readonly writable: boolean;
  protected readonly host: TransactionHost;
  protected readonly root: Bucket;
  #open = true;

  constructor(host: TransactionHost, state: State) {
    this.host = host;
    this.pages = host.pages;
    this.state = state;
    this.root = new Bucket(this, state.meta.root, state.meta.sequence);
  }

  /** Bytes of the pages that this state has: what a copy of it takes, and what etcd reports as the size of its database. */
  get sizeBytes(): number {
    return this.state.meta.highWater * this.host.pageSize;
  }

  get isOpen(): boolean {
    return this.#open;
  }

  assertOpen(): void {
    if (!this.#open) throw new BoltError("BOLT_CLOSED", { path: this.host.path }, "the transaction has ended");
    this.host.assertOpen();
  }

  keep(bytes: Uint8Array): Uint8Array {
    return bytes;
  }

  take(size: number): Uint8Array {
    return new Uint8Array(size);
  }

  release(_id: number, _span: number): void {
    invariant(false, "a read transaction frees no page");
  }

  /** The bucket with this name. */
  bucket(name: Uint8Array): Bucket | undefined {
    return this.root.bucket(name);
  }

  /** The names of the buckets, in order. */
  buckets(): Iterable<Uint8Array> {
    return this.root.buckets();
  }

  /** A cursor over the names of the buckets. */
  cursor(): Cursor {
    return this.root.cursor();
  }

  protected close(): void {
    this.#open = false;
  }
}

/**
 * A view of one committed state. Commits go on beside it and do not change what it reads. As long as it is open, the pages of
 * its state are not written again: end it.
 */
export class ReadTransaction extends Transaction {
  readonly writable = false;

  /** The transaction that made this state. */
  get id(): number {
    return this.state.meta.txid;
  }

  /**
   * The whole file as this state has it, `sizeBytes` in all: what bbolt's `Tx.WriteTo` writes. Waits until the state is
   * durable; reads in chunks and never holds the loop. The transaction must stay open until the last chunk came.
   */
  copy(): AsyncIterable<Uint8Array> {
    this.assertOpen();
    return this.host.copyOf(this.state);
  }

  /** Ends the transaction. A second call does nothing. */
  end(): void {
    if (!this.isOpen) return;
    this.close();
    this.host.endRead(this);
  }
}

/** Changes to the newest committed state, seen by its own reads at once and by nobody else before the commit. */
export class WriteTransaction extends Transaction {
  readonly writable = true;
  readonly #released: number[] = [];
  readonly #arena = new Arena();

  /** The state that the commit makes. */
  get id(): number {
    return this.state.meta.txid + 1;
  }

  override keep(bytes: Uint8Array): Uint8Array {
    return this.#arena.copy(bytes);
  }

  override take(size: number): Uint8Array {
    return this.#arena.take(size);
  }

  override release(id: number, span: number): void {
    this.#released.push(id, span);
  }

  /** @throws BoltError `BOLT_BUCKET_EXISTS`, `BOLT_INCOMPATIBLE_VALUE`, `BOLT_KEY_EMPTY`, `BOLT_KEY_TOO_LARGE` */
  createBucket(name: Uint8Array): Bucket {
    return this.root.createBucket(name);
  }

  createBucketIfNotExists(name: Uint8Array): Bucket {
    return this.root.createBucketIfNotExists(name);
  }

  /** @throws BoltError `BOLT_BUCKET_NOT_FOUND` */
  deleteBucket(name: Uint8Array): void {
    this.root.deleteBucket(name);
  }

  /**
   * Commits. What returns at once is a promise of durability; the new state is already there for the next transactions, and the
   * next write transaction may begin. The writes to the file follow in the background, those of one commit after another.
   *
   * @throws (as a rejection) BoltError `BOLT_POISONED` when this or an earlier commit could not be written
   */
  commit(): Promise<void> {
    this.assertOpen();
    return this.host.commit(this, this.root, this.#released);
  }

  /** Called by the host when the plan of the commit stands, or failed. */
  finish(): void {
    this.close();
  }

  /** Drops all changes. A second call does nothing. */
  rollback(): void {
    if (!this.isOpen) return;
    this.close();
    this.host.endWrite(this);
  }
}
