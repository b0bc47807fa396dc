/**
 * Row numbers in the order of their keys, for millions of rows, without an object for each.
 *
 * Chunks of at most `CHUNK_MAX` rows, each sorted, stand one behind the other. A chunk counts those of its rows that the owner marked,
 * so that a range is counted without walking over it.
 *
 *     firsts    12    907    31 ...       first row of each chunk: the search for a chunk reads no other memory of the chunks
 *     lengths  256    130   201 ...
 *     marks    256    129     0 ...
 *     places     0      2     1 ...       where the rows stand: `CHUNK_MAX` numbers in one of the blocks
 *
 * A chunk more moves the end of these four arrays: 200 KB with two million keys, some microseconds, once in 128 new keys. When they
 * are full they are copied into twice the room. Rows never move with them.
 *
 * Laws: chunks are never empty; each chunk is sorted, and its last key is below the next chunk's first; a chunk's tally is the number
 * of its marked rows; a place belongs to one chunk, or is free.
 *
 * A walk with `visit` sees one state: nothing must change before it returns. A walk in slices asks `chunkFrom` again with the
 * next key, so that rows may come and go in between.
 */
import { invariant } from "./errors.js";

const CHUNK_BITS = 8;
const CHUNK_MAX = 1 << CHUNK_BITS;
/** Two neighbours are joined when both together hold no more than this, so that a split does not follow at once. */
const CHUNK_JOINED_MAX = CHUNK_MAX / 2;
/** Places of one block: 64 KiB. */
const BLOCK_BITS = 6;
const CHUNKS_MIN = 64;

/** What the order asks of whoever owns the rows. */
export interface OrderedRows {
  /** Negative, zero or positive, as a row's key stands to `bytes[start, end)`. */
  compare(row: number, bytes: Uint8Array, start: number, end: number): number;
  /** Which rows `countMarked` counts; call `markChanged` when the answer changes for a row that is in the order. */
  isMarked(row: number): boolean;
}

export class RowOrder {
  readonly #rows: OrderedRows;
  /** How many chunks there are. */
  #count = 0;
  #firsts: Int32Array = new Int32Array(CHUNKS_MIN);
  #lengths: Int32Array = new Int32Array(CHUNKS_MIN);
  #marks: Int32Array = new Int32Array(CHUNKS_MIN);
  #places: Int32Array = new Int32Array(CHUNKS_MIN);
  readonly #blocks: Int32Array[] = [];
  readonly #freePlaces: number[] = [];
  /** Places that were ever given out. */
  #placesUsed = 0;
  /** The chunk of the last row that was added: the next one is likely to stand behind it. */
  #near = 0;
  #size = 0;
  #marked = 0;

  constructor(rows: OrderedRows) {
    this.#rows = rows;
  }

  get size(): number {
    return this.#size;
  }

  /** How many rows are marked. */
  get marked(): number {
    return this.#marked;
  }

  /** Adds a row with the key `bytes[start, end)`, which must not be there. */
  add(row: number, bytes: Uint8Array, start: number, end: number): void {
    if (this.#count === 0) {
      this.#open(0, 0);
      this.#firsts[0] = row; // the search looks at it
    }
    let at = this.#chunkNear(bytes, start, end);
    let position = this.#lengths[at]!;
    // Keys that come in order go to the end of their chunk.
    if (position > 0 && this.#rows.compare(this.#rowAt(at, position - 1), bytes, start, end) > 0) {
      position = this.#lowerBound(at, bytes, start, end);
    }
    if (this.#lengths[at] === CHUNK_MAX) {
      // Such keys would leave half-empty chunks behind: at the very end only the newest moves on.
      const cut = position === CHUNK_MAX && at === this.#count - 1 ? CHUNK_MAX : CHUNK_MAX / 2;
      this.#split(at, cut);
      if (position > cut || cut === CHUNK_MAX) {
        at++;
        position -= cut;
      }
    }
    this.#insert(at, position, row);
    this.#near = at;
  }

  /** Removes a row with its key; answers whether it was there. */
  delete(row: number, bytes: Uint8Array, start: number, end: number): boolean {
    if (this.#count === 0) return false;
    const at = this.#chunkFor(bytes, start, end);
    const position = this.#lowerBound(at, bytes, start, end);
    if (position === this.#lengths[at] || this.#rowAt(at, position) !== row) return false;
    const marks = this.#rows.isMarked(row) ? 1 : 0;
    const block = this.#blockOf(at);
    const from = this.#offsetOf(at);
    const length = this.#lengths[at]!;
    block.copyWithin(from + position, from + position + 1, from + length);
    this.#lengths[at] = length - 1;
    this.#marks[at]! -= marks;
    this.#marked -= marks;
    this.#size--;
    if (length === 1) {
      this.#close(at);
    } else {
      if (position === 0) this.#firsts[at] = block[from]!;
      this.#joinSmall(at);
    }
    return true;
  }

  /** To be called right after `isMarked` began to answer differently for the row with this key. */
  markChanged(bytes: Uint8Array, start: number, end: number, marked: boolean): void {
    const change = marked ? 1 : -1;
    this.#marks[this.#chunkFor(bytes, start, end)]! += change;
    this.#marked += change;
  }

  /**
   * Calls for each row with a key in `[low, high)` in ascending order until the callback answers false.
   *
   * @param high undefined means no upper end
   */
  visit(low: Uint8Array, high: Uint8Array | undefined, callback: (row: number) => boolean): void {
    if (this.#count === 0) return;
    const last = high === undefined ? this.#count - 1 : this.#chunkFor(high, 0, high.length);
    const until = high === undefined ? this.#lengths[last]! : this.#lowerBound(last, high, 0, high.length);
    let at = this.#chunkFor(low, 0, low.length);
    let position = this.#lowerBound(at, low, 0, low.length);
    for (; at <= last; at++, position = 0) {
      const block = this.#blockOf(at);
      const from = this.#offsetOf(at);
      const to = at === last ? until : this.#lengths[at]!;
      for (; position < to; position++) if (!callback(block[from + position]!)) return;
    }
  }

  /**
   * The rows from `low` on that stand together, `CHUNK_MAX` at most; none past the end. A walk in slices asks again with the last key
   * that it saw plus a zero byte: rows may come and go between two calls.
   */
  chunkFrom(low: Uint8Array): Int32Array {
    if (this.#count === 0) return new Int32Array(0);
    let at = this.#chunkFor(low, 0, low.length);
    let position = this.#lowerBound(at, low, 0, low.length);
    if (position === this.#lengths[at]) {
      at++;
      position = 0;
    }
    if (at === this.#count) return new Int32Array(0);
    const from = this.#offsetOf(at);
    return this.#blockOf(at).slice(from + position, from + this.#lengths[at]!);
  }

  /** How many marked rows have a key in `[low, high)`; looks into two chunks and adds up the others. */
  countMarked(low: Uint8Array, high: Uint8Array | undefined): number {
    if (this.#count === 0) return 0;
    const first = this.#chunkFor(low, 0, low.length);
    const from = this.#lowerBound(first, low, 0, low.length);
    const last = high === undefined ? this.#count - 1 : this.#chunkFor(high, 0, high.length);
    const to = high === undefined ? this.#lengths[last]! : this.#lowerBound(last, high, 0, high.length);
    if (last < first) return 0;
    if (first === last) return this.#countIn(first, from, to);
    let count = this.#countIn(first, from, this.#lengths[first]!) + this.#countIn(last, 0, to);
    for (let at = first + 1; at < last; at++) count += this.#marks[at]!;
    return count;
  }

  /** Proves the laws of this module; for tests. */
  check(keyOf: (row: number) => Uint8Array): void {
    let size = 0;
    let marked = 0;
    let previous: number | undefined;
    const places = new Set<number>(this.#freePlaces);
    for (let at = 0; at < this.#count; at++) {
      const length = this.#lengths[at]!;
      invariant(length > 0, "a chunk is never empty");
      invariant(length <= CHUNK_MAX, "a chunk is never too long");
      invariant(this.#firsts[at] === this.#rowAt(at, 0), "a chunk knows its first row");
      for (let position = 0; position < length; position++) {
        const row = this.#rowAt(at, position);
        const key = keyOf(row);
        invariant(previous === undefined || this.#rows.compare(previous, key, 0, key.length) < 0, "keys ascend");
        previous = row;
      }
      invariant(this.#countEach(at, 0, length) === this.#marks[at], "a chunk's tally is right");
      invariant(!places.has(this.#places[at]!), "a place belongs to one chunk");
      places.add(this.#places[at]!);
      size += length;
      marked += this.#marks[at]!;
    }
    invariant(places.size === this.#placesUsed, "a place belongs to a chunk or is free");
    invariant(size === this.#size, "the size is right");
    invariant(marked === this.#marked, "the tally is right");
  }

  #blockOf(at: number): Int32Array {
    return this.#blocks[this.#places[at]! >>> BLOCK_BITS]!;
  }

  /** Where a chunk's rows begin in its block. */
  #offsetOf(at: number): number {
    return (this.#places[at]! & ((1 << BLOCK_BITS) - 1)) << CHUNK_BITS;
  }

  #rowAt(at: number, position: number): number {
    return this.#blockOf(at)[this.#offsetOf(at) + position]!;
  }

  /** Marked rows among those from one position to another. */
  #countIn(at: number, from: number, to: number): number {
    return from === 0 && to === this.#lengths[at] ? this.#marks[at]! : this.#countEach(at, from, to);
  }

  #countEach(at: number, from: number, to: number): number {
    const block = this.#blockOf(at);
    const offset = this.#offsetOf(at);
    let count = 0;
    for (let i = from; i < to; i++) if (this.#rows.isMarked(block[offset + i]!)) count++;
    return count;
  }

  /** The chunk that holds a key, or would: the last one whose first key is not above it, or else the first. */
  #chunkFor(bytes: Uint8Array, start: number, end: number): number {
    let low = 0;
    let high = this.#count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#rows.compare(this.#firsts[middle]!, bytes, start, end) <= 0) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }

  /** The same, with a look at the chunk of the last key first. */
  #chunkNear(bytes: Uint8Array, start: number, end: number): number {
    const near = this.#near;
    if (near >= this.#count || this.#lengths[near] === 0) return this.#chunkFor(bytes, start, end);
    const reaches = this.#rows.compare(this.#firsts[near]!, bytes, start, end) <= 0;
    if (!reaches) return this.#chunkFor(bytes, start, end);
    const isLast = near + 1 === this.#count || this.#rows.compare(this.#firsts[near + 1]!, bytes, start, end) > 0;
    return isLast ? near : this.#chunkFor(bytes, start, end);
  }

  /** Position of the first row of a chunk whose key is not below `bytes[start, end)`. */
  #lowerBound(at: number, bytes: Uint8Array, start: number, end: number): number {
    const block = this.#blockOf(at);
    const from = this.#offsetOf(at);
    let low = 0;
    let high = this.#lengths[at]!;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#rows.compare(block[from + middle]!, bytes, start, end) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #insert(at: number, position: number, row: number): void {
    const block = this.#blockOf(at);
    const from = this.#offsetOf(at);
    const length = this.#lengths[at]!;
    if (position < length) block.copyWithin(from + position + 1, from + position, from + length);
    block[from + position] = row;
    if (position === 0) this.#firsts[at] = row;
    const marks = this.#rows.isMarked(row) ? 1 : 0;
    this.#lengths[at] = length + 1;
    this.#marks[at]! += marks;
    this.#marked += marks;
    this.#size++;
  }

  /** Moves the rows from `cut` on into a chunk of their own; with all of them before the cut that one is empty for a moment. */
  #split(at: number, cut: number): void {
    const moved = this.#lengths[at]! - cut;
    this.#open(at + 1, moved);
    const from = this.#offsetOf(at) + cut;
    this.#blockOf(at + 1).set(this.#blockOf(at).subarray(from, from + moved), this.#offsetOf(at + 1));
    if (moved === 0) return;
    this.#firsts[at + 1] = this.#rowAt(at + 1, 0);
    this.#marks[at + 1] = this.#countEach(at + 1, 0, moved);
    this.#lengths[at] = cut;
    this.#marks[at]! -= this.#marks[at + 1]!;
  }

  #joinSmall(at: number): void {
    const left = at > 0 ? at - 1 : at;
    const next = left + 1;
    if (next >= this.#count || this.#lengths[left]! + this.#lengths[next]! > CHUNK_JOINED_MAX) return;
    const from = this.#offsetOf(next);
    const joined = this.#blockOf(next).subarray(from, from + this.#lengths[next]!);
    this.#blockOf(left).set(joined, this.#offsetOf(left) + this.#lengths[left]!);
    this.#lengths[left]! += this.#lengths[next]!;
    this.#marks[left]! += this.#marks[next]!;
    this.#close(next);
  }

  /** Makes room for a chunk, which says that it has `length` rows. */
  #open(at: number, length: number): void {
    if (this.#count === this.#firsts.length) {
      this.#firsts = doubled(this.#firsts);
      this.#lengths = doubled(this.#lengths);
      this.#marks = doubled(this.#marks);
      this.#places = doubled(this.#places);
    }
    for (const column of [this.#firsts, this.#lengths, this.#marks, this.#places]) {
      column.copyWithin(at + 1, at, this.#count);
    }
    this.#count++;
    this.#lengths[at] = length;
    this.#marks[at] = 0;
    this.#places[at] = this.#freePlaces.pop() ?? this.#newPlace();
  }

  #close(at: number): void {
    this.#freePlaces.push(this.#places[at]!);
    for (const column of [this.#firsts, this.#lengths, this.#marks, this.#places]) {
      column.copyWithin(at, at + 1, this.#count);
    }
    this.#count--;
  }

  #newPlace(): number {
    const place = this.#placesUsed++;
    if (place >>> BLOCK_BITS === this.#blocks.length) this.#blocks.push(new Int32Array(1 << (BLOCK_BITS + CHUNK_BITS)));
    return place;
  }
}

function doubled(column: Int32Array): Int32Array {
  const grown = new Int32Array(column.length * 2);
  grown.set(column);
  return grown;
}
