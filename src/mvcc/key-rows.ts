/**
 * What is known of each key, as rows of numbers outside of the collector's heap. A row is named by its number, which stays the key's for
 * as long as the row is there.
 *
 *     row, 40 bytes      main, sub, created, version (64 bits each) | address of the key's bytes, line of earlier revisions (32 bits each)
 *
 * Rows stand in blocks of 8,192 that never move: one more is made when all are taken, nothing is copied. A row that is given back is
 * the next one to be given out; its block stays. The fields mean what `key-index.ts` says, which keeps the laws between them.
 */
import { ByteHeap } from "../base/byte-heap.js";
import { invariant } from "../base/errors.js";
import type { OrderedRows } from "../base/row-order.js";
import { NO_LINE } from "./revision-lines.js";

const BLOCK_BITS = 13;
const BLOCK_ROWS = 1 << BLOCK_BITS;
const ROW_NUMBERS = 5;
const ROW_WORDS = ROW_NUMBERS * 2;
const NO_FREE_ROW = -1;
// Numbers of a row.
const MAIN = 0;
const SUB = 1;
const CREATED = 2;
const VERSION = 3;
// Words of a row.
const KEY = 8;
const LINE = 9;
/** Stands in place of `version` where a row is free; `LINE` is the next free one then. */
const FREE = -1;

interface RowBlock {
  readonly numbers: Float64Array;
  readonly words: Int32Array;
}

export class KeyRows implements OrderedRows {
  readonly #keys = new ByteHeap((row, address) => {
    this.#block(row).words[wordOf(row) + KEY] = address;
  });
  readonly #blocks: RowBlock[] = [];
  /** Rows that were ever given out. */
  #used = 0;
  #free = NO_FREE_ROW;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Bytes of the blocks that hold the keys. */
  get keyBytes(): number {
    return this.#keys.blockBytes;
  }

  /** A row for the key `bytes[start, end)`, without earlier revisions. */
  add(
    bytes: Uint8Array,
    start: number,
    end: number,
    main: number,
    sub: number,
    created: number,
    version: number,
  ): number {
    const row = this.#take();
    const { numbers, words } = this.#block(row);
    const number = numberOf(row);
    numbers[number + MAIN] = main;
    numbers[number + SUB] = sub;
    numbers[number + CREATED] = created;
    numbers[number + VERSION] = version;
    words[wordOf(row) + KEY] = this.#keys.add(row, bytes, start, end);
    words[wordOf(row) + LINE] = NO_LINE;
    this.#size++;
    return row;
  }

  remove(row: number): void {
    this.#keys.remove(this.#addressOf(row));
    const { numbers, words } = this.#block(row);
    numbers[numberOf(row) + VERSION] = FREE;
    words[wordOf(row) + LINE] = this.#free;
    this.#free = row;
    this.#size--;
  }

  mainOf(row: number): number {
    return this.#block(row).numbers[numberOf(row) + MAIN]!;
  }

  subOf(row: number): number {
    return this.#block(row).numbers[numberOf(row) + SUB]!;
  }

  createdOf(row: number): number {
    return this.#block(row).numbers[numberOf(row) + CREATED]!;
  }

  versionOf(row: number): number {
    return this.#block(row).numbers[numberOf(row) + VERSION]!;
  }

  lineOf(row: number): number {
    return this.#block(row).words[wordOf(row) + LINE]!;
  }

  setRevision(row: number, main: number, sub: number): void {
    const { numbers } = this.#block(row);
    numbers[numberOf(row) + MAIN] = main;
    numbers[numberOf(row) + SUB] = sub;
  }

  setGeneration(row: number, created: number, version: number): void {
    const { numbers } = this.#block(row);
    numbers[numberOf(row) + CREATED] = created;
    numbers[numberOf(row) + VERSION] = version;
  }

  setLine(row: number, line: number): void {
    this.#block(row).words[wordOf(row) + LINE] = line;
  }

  /** A copy of a key. */
  keyOf(row: number): Uint8Array {
    return this.#keys.copyAt(this.#addressOf(row));
  }

  keyLength(row: number): number {
    return this.#keys.lengthAt(this.#addressOf(row));
  }

  /** Whether the row's key is `bytes[start, end)`. */
  hasKey(row: number, bytes: Uint8Array, start: number, end: number): boolean {
    return this.#keys.equals(this.#addressOf(row), bytes, start, end);
  }

  compare(row: number, bytes: Uint8Array, start: number, end: number): number {
    return this.#keys.compare(this.#addressOf(row), bytes, start, end);
  }

  /** Marked are the keys that are there. */
  isMarked(row: number): boolean {
    return this.#block(row).numbers[numberOf(row) + SUB]! >= 0;
  }

  /** The numbers of all rows that are given out; for tests. */
  *all(): Generator<number> {
    for (let row = 0; row < this.#used; row++) if (this.versionOf(row) !== FREE) yield row;
  }

  /** Proves the laws of this module; for tests. */
  check(): void {
    this.#keys.check((row) => this.#addressOf(row));
    invariant(this.#keys.size === this.#size, "each row has the bytes of one key");
    let free = 0;
    for (let row = this.#free; row !== NO_FREE_ROW; row = this.lineOf(row)) {
      invariant(this.versionOf(row) === FREE, "a free row says so");
      free++;
    }
    invariant(free + this.#size === this.#used, "a row is given out or free");
  }

  #block(row: number): RowBlock {
    return this.#blocks[row >>> BLOCK_BITS]!;
  }

  #addressOf(row: number): number {
    return this.#block(row).words[wordOf(row) + KEY]!;
  }

  #take(): number {
    const row = this.#free;
    if (row !== NO_FREE_ROW) {
      this.#free = this.lineOf(row);
      return row;
    }
    if (this.#used === this.#blocks.length * BLOCK_ROWS) {
      const numbers = new Float64Array(BLOCK_ROWS * ROW_NUMBERS);
      this.#blocks.push({ numbers, words: new Int32Array(numbers.buffer) });
    }
    return this.#used++;
  }
}

/** Where a row begins among the numbers of its block. */
function numberOf(row: number): number {
  return (row & (BLOCK_ROWS - 1)) * ROW_NUMBERS;
}

/** Where it begins among the words. */
function wordOf(row: number): number {
  return (row & (BLOCK_ROWS - 1)) * ROW_WORDS;
}
