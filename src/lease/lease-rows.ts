/**
 * What is known of each lease, as rows of numbers outside of the collector's heap: a cluster may have a million of them, and neither a
 * table that grows nor a collection may hold the loop for it.
 *
 *     a row      TTL and remaining TTL in seconds, expiry in milliseconds (64 bits each)
 *              | ID (two halves) | first of its attachments | three words of `lease-expiry.ts` (32 bits each)
 *
 * A lease is found by its ID as `db` has it: 8 bytes, big-endian.
 */
import { invariant } from "../base/errors.js";
import { NONE, NumberRows } from "../base/number-rows.js";
import { hashOf, NO_ROW, RowTable } from "../base/row-table.js";
import { bigintOf, requestIdOf } from "../proto/request-id.js";
import type { FirstRows } from "./attachments.js";

const TTL = 0;
const REMAINING = 1;
const EXPIRY = 2;
const NUMBERS = 3;

const ID_HIGH = 0;
const ID_LOW = 1;
const FIRST = 2;
const EPOCH = 3;
const PREVIOUS = 4;
const NEXT = 5;
const WORDS = 6;

/** The epoch of a lease that nobody has given its time to. */
export const NO_EPOCH = 0;

export class LeaseRows implements FirstRows {
  readonly #rows = new NumberRows(NUMBERS, WORDS);
  readonly #table = new RowTable((row, bytes, start) => this.#isIdOf(row, bytes, start));
  readonly #scratch = new Uint8Array(8);

  get size(): number {
    return this.#rows.size;
  }

  /** Rows that were ever taken: their names are all below. */
  get end(): number {
    return this.#rows.end;
  }

  isTaken(row: number): boolean {
    return this.#rows.isTaken(row);
  }

  /** The row of a lease, or `NONE`. */
  find(id: bigint): number {
    writeLeaseKey(this.#scratch, id);
    const row = this.#table.find(hashOf(this.#scratch, 0, 8), this.#scratch, 0, 8);
    return row === NO_ROW ? NONE : row;
  }

  /** Adds a lease that is not there. */
  add(id: bigint, ttlSeconds: number, remainingSeconds: number): number {
    const rows = this.#rows;
    const row = rows.take();
    const { high, low } = requestIdOf(id);
    rows.setNumber(row, TTL, ttlSeconds);
    rows.setNumber(row, REMAINING, remainingSeconds);
    rows.setNumber(row, EXPIRY, Infinity);
    rows.setWord(row, ID_HIGH, high);
    rows.setWord(row, ID_LOW, low);
    rows.setWord(row, FIRST, NONE);
    rows.setWord(row, EPOCH, NO_EPOCH);
    writeLeaseKey(this.#scratch, id);
    this.#table.add(hashOf(this.#scratch, 0, 8), row);
    return row;
  }

  remove(row: number): void {
    invariant(this.firstOf(row) === NONE, "no key hangs on a lease that is removed");
    writeLeaseKey(this.#scratch, this.idOf(row));
    this.#table.delete(hashOf(this.#scratch, 0, 8), row);
    this.#rows.giveBack(row);
  }

  /** Signed, as clients name it. */
  idOf(row: number): bigint {
    const id = { high: this.#rows.word(row, ID_HIGH), low: this.#rows.word(row, ID_LOW) };
    return BigInt.asIntN(64, bigintOf(id));
  }

  ttlOf(row: number): number {
    return this.#rows.number(row, TTL);
  }

  /** Seconds left at the last checkpoint; 0 when there was none since the last renewal. */
  remainingOf(row: number): number {
    return this.#rows.number(row, REMAINING);
  }

  setRemaining(row: number, seconds: number): void {
    this.#rows.setNumber(row, REMAINING, seconds);
  }

  firstOf(row: number): number {
    return this.#rows.word(row, FIRST);
  }

  setFirst(row: number, attachment: number): void {
    this.#rows.setWord(row, FIRST, attachment);
  }

  expiryOf(row: number): number {
    return this.#rows.number(row, EXPIRY);
  }

  setExpiry(row: number, ms: number): void {
    this.#rows.setNumber(row, EXPIRY, ms);
  }

  epochOf(row: number): number {
    return this.#rows.word(row, EPOCH);
  }

  setEpoch(row: number, epoch: number): void {
    this.#rows.setWord(row, EPOCH, epoch);
  }

  previousOf(row: number): number {
    return this.#rows.word(row, PREVIOUS);
  }

  setPrevious(row: number, previous: number): void {
    this.#rows.setWord(row, PREVIOUS, previous);
  }

  nextOf(row: number): number {
    return this.#rows.word(row, NEXT);
  }

  setNext(row: number, next: number): void {
    this.#rows.setWord(row, NEXT, next);
  }

  all(): Generator<number> {
    return this.#rows.all();
  }

  /** Proves the laws of this module; for tests. */
  check(): void {
    this.#rows.check();
    this.#table.check((row) => leaseKey(this.idOf(row)));
    invariant(this.#table.size === this.#rows.size, "each lease is found by its ID");
  }

  #isIdOf(row: number, bytes: Uint8Array, start: number): boolean {
    return (
      wordAt(bytes, start) === this.#rows.word(row, ID_HIGH) &&
      wordAt(bytes, start + 4) === this.#rows.word(row, ID_LOW)
    );
  }
}

/** A lease's key in `db`. IDs are signed; negative ones sort behind all others. */
export function leaseKey(id: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  writeLeaseKey(bytes, id);
  return bytes;
}

function writeLeaseKey(bytes: Uint8Array, id: bigint): void {
  const { high, low } = requestIdOf(id);
  writeWord(bytes, 0, high);
  writeWord(bytes, 4, low);
}

function writeWord(bytes: Uint8Array, at: number, word: number): void {
  bytes[at] = word >>> 24;
  bytes[at + 1] = word >>> 16;
  bytes[at + 2] = word >>> 8;
  bytes[at + 3] = word;
}

function wordAt(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}
