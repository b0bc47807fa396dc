/**
 * Which key hangs on which lease, both ways: the keys of a lease as a list that runs through the rows, the lease of a key by a table of
 * hashes. Nothing of it is an object that the collector would have to mark, for there may be a million keys.
 *
 *     a row      lease (its row) | address of the key's bytes | previous and next row of the same lease
 *
 * Laws: a key has one row at most; the rows of a lease are linked both ways from its first one on.
 */
import { ByteHeap } from "../base/byte-heap.js";
import { invariant } from "../base/errors.js";
import { NONE, NumberRows } from "../base/number-rows.js";
import { hashOf, NO_ROW, RowTable } from "../base/row-table.js";

const LEASE = 0;
const KEY = 1;
const PREVIOUS = 2;
const NEXT = 3;
const WORDS = 4;

/** Where a lease keeps the first of its rows. */
export interface FirstRows {
  firstOf(lease: number): number;
  setFirst(lease: number, row: number): void;
}

export class Attachments {
  readonly #rows = new NumberRows(0, WORDS);
  readonly #keys = new ByteHeap((row, address) => this.#rows.setWord(row, KEY, address));
  readonly #table = new RowTable((row, bytes, start, end) =>
    this.#keys.equals(this.#rows.word(row, KEY), bytes, start, end),
  );
  readonly #firsts: FirstRows;

  constructor(firsts: FirstRows) {
    this.#firsts = firsts;
  }

  /** Keys that hang on a lease. */
  get size(): number {
    return this.#rows.size;
  }

  /** The row of the lease that a key hangs on; `NONE` when it hangs on none. */
  leaseOf(key: Uint8Array): number {
    const row = this.#find(key);
    return row === NO_ROW ? NONE : this.#rows.word(row, LEASE);
  }

  /** Hangs a key on a lease, and takes it off the one that it hung on. */
  attach(lease: number, key: Uint8Array): void {
    const known = this.#find(key);
    if (known !== NO_ROW) {
      if (this.#rows.word(known, LEASE) === lease) return;
      this.#unlink(known);
      this.#link(known, lease);
      return;
    }
    const row = this.#rows.take();
    this.#rows.setWord(row, KEY, this.#keys.add(row, key, 0, key.length));
    this.#table.add(hashOf(key, 0, key.length), row);
    this.#link(row, lease);
  }

  /** Takes a key off the lease that it hangs on; does nothing where there is none. */
  detach(key: Uint8Array): void {
    const row = this.#find(key);
    if (row !== NO_ROW) this.#remove(row, key);
  }

  /** Copies of the keys that hang on a lease, in no order. */
  keysOf(lease: number): Uint8Array[] {
    const keys: Uint8Array[] = [];
    for (let row = this.#firsts.firstOf(lease); row !== NONE; row = this.#rows.word(row, NEXT)) {
      keys.push(this.#keys.copyAt(this.#rows.word(row, KEY)));
    }
    return keys;
  }

  /** Proves the laws of this module; for tests. */
  check(): void {
    this.#rows.check();
    this.#keys.check((row) => this.#rows.word(row, KEY));
    this.#table.check((row) => this.#keys.copyAt(this.#rows.word(row, KEY)));
    invariant(this.#table.size === this.#rows.size, "each row is found by its key");
    for (const row of this.#rows.all()) {
      const previous = this.#rows.word(row, PREVIOUS);
      const before =
        previous === NONE ? this.#firsts.firstOf(this.#rows.word(row, LEASE)) : this.#rows.word(previous, NEXT);
      invariant(before === row, "the rows of a lease are linked both ways");
    }
  }

  #find(key: Uint8Array): number {
    return this.#table.find(hashOf(key, 0, key.length), key, 0, key.length);
  }

  #remove(row: number, key: Uint8Array): void {
    this.#unlink(row);
    this.#table.delete(hashOf(key, 0, key.length), row);
    this.#keys.remove(this.#rows.word(row, KEY));
    this.#rows.giveBack(row);
  }

  #link(row: number, lease: number): void {
    const next = this.#firsts.firstOf(lease);
    this.#rows.setWord(row, LEASE, lease);
    this.#rows.setWord(row, PREVIOUS, NONE);
    this.#rows.setWord(row, NEXT, next);
    if (next !== NONE) this.#rows.setWord(next, PREVIOUS, row);
    this.#firsts.setFirst(lease, row);
  }

  #unlink(row: number): void {
    const previous = this.#rows.word(row, PREVIOUS);
    const next = this.#rows.word(row, NEXT);
    if (previous === NONE) this.#firsts.setFirst(this.#rows.word(row, LEASE), next);
    else this.#rows.setWord(previous, NEXT, next);
    if (next !== NONE) this.#rows.setWord(next, PREVIOUS, previous);
  }
}
