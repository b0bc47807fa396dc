/**
 * Rows of numbers outside of the collector's heap, for millions of things of one kind. A row is named by its number, which stays its
 * name for as long as it is taken.
 *
 *     a row      numbers (64 bits each) | words (32 bits, signed) | next free row, or TAKEN
 *
 * Rows stand in blocks of 8,192 that never move: one more is made when all are taken, nothing is copied. A row that is given back is
 * the next one to be given out; its block stays. What the fields mean is the owner's affair, and so are their first values: a row that
 * is taken holds what its last owner left.
 */
import { invariant } from "./errors.js";

/** Names no row. */
export const NONE = -1;

const BLOCK_BITS = 13;
const BLOCK_ROWS = 1 << BLOCK_BITS;
/** Stands where a free row names the next one. */
const TAKEN = -2;

interface Block {
  readonly numbers: Float64Array;
  readonly words: Int32Array;
}

export class NumberRows {
  readonly #rowNumbers: number;
  /** The first of a row's words, and the one that links free rows. */
  readonly #firstWord: number;
  readonly #linkWord: number;
  readonly #blocks: Block[] = [];
  #used = 0;
  #free = NONE;
  #size = 0;

  /** @param numbers fields of 64 bits of each row @param words fields of 32 bits */
  constructor(numbers: number, words: number) {
    this.#rowNumbers = numbers + Math.ceil((words + 1) / 2);
    this.#firstWord = numbers * 2;
    this.#linkWord = this.#firstWord + words;
  }

  /** Rows that are taken. */
  get size(): number {
    return this.#size;
  }

  /** Rows that were ever taken: their names are all below. */
  get end(): number {
    return this.#used;
  }

  take(): number {
    let row = this.#free;
    if (row !== NONE) this.#free = this.#linkOf(row);
    else {
      if (this.#used === this.#blocks.length * BLOCK_ROWS) {
        const numbers = new Float64Array(BLOCK_ROWS * this.#rowNumbers);
        this.#blocks.push({ numbers, words: new Int32Array(numbers.buffer) });
      }
      row = this.#used++;
    }
    this.#setLink(row, TAKEN);
    this.#size++;
    return row;
  }

  giveBack(row: number): void {
    invariant(this.isTaken(row), "a row is given back once");
    this.#setLink(row, this.#free);
    this.#free = row;
    this.#size--;
  }

  /** @param row below `end` */
  isTaken(row: number): boolean {
    return this.#linkOf(row) === TAKEN;
  }

  number(row: number, field: number): number {
    return this.#blocks[row >>> BLOCK_BITS]!.numbers[(row & (BLOCK_ROWS - 1)) * this.#rowNumbers + field]!;
  }

  setNumber(row: number, field: number, value: number): void {
    this.#blocks[row >>> BLOCK_BITS]!.numbers[(row & (BLOCK_ROWS - 1)) * this.#rowNumbers + field] = value;
  }

  word(row: number, field: number): number {
    return this.#blocks[row >>> BLOCK_BITS]!.words[this.#wordOf(row) + this.#firstWord + field]!;
  }

  setWord(row: number, field: number, value: number): void {
    this.#blocks[row >>> BLOCK_BITS]!.words[this.#wordOf(row) + this.#firstWord + field] = value;
  }

  /** The names of all rows that are taken. */
  *all(): Generator<number> {
    for (let row = 0; row < this.#used; row++) if (this.isTaken(row)) yield row;
  }

  /** Proves that each row is taken or in the list of free ones; for tests. */
  check(): void {
    let free = 0;
    for (let row = this.#free; row !== NONE; row = this.#linkOf(row)) {
      invariant(!this.isTaken(row), "a free row says so");
      free++;
    }
    invariant(free + this.#size === this.#used, "a row is taken or free");
  }

  #wordOf(row: number): number {
    return (row & (BLOCK_ROWS - 1)) * this.#rowNumbers * 2;
  }

  #linkOf(row: number): number {
    return this.#blocks[row >>> BLOCK_BITS]!.words[this.#wordOf(row) + this.#linkWord]!;
  }

  #setLink(row: number, link: number): void {
    this.#blocks[row >>> BLOCK_BITS]!.words[this.#wordOf(row) + this.#linkWord] = link;
  }
}
