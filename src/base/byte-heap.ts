/**
 * Millions of short spans of bytes outside of the collector's heap: each belongs to an owner, a number, and is found by its address.
 *
 * Spans lie one behind the other in blocks of 256 KiB. A block that is closed and of which more than half is dead is emptied: what
 * lives in it moves to the block that is being filled, and the owners are told their new addresses. So a heap takes at most
 * twice what lives in it, and two blocks; no call moves more than two blocks' halves, a fraction of a millisecond. A span
 * of more than `SHARED_BYTES_MAX` has a block of its own.
 *
 *     block            words: owner, length, bytes padded to whole words | owner, length, ... | not used yet
 *     a dead span      its owner is `DEAD`
 *     an address       block number in the upper 16 bits, first word in the lower 16
 *
 * Laws: an address is right until its span is removed or the owner is told of another; `live` of a block is the sum of its living spans'
 * words; a closed block that others share is at least half alive.
 */
import { invariant } from "./errors.js";

const BLOCK_WORDS = 65_536;
const HEADER_WORDS = 2;
/** Larger spans would waste the end of a block; and those of a block of their own are `BLOCKS_MAX` at most, 7 GiB of them. */
const SHARED_BYTES_MAX = 114_688;
/** From so many bytes on, copying by one call is quicker than one by one. */
const COPY_BY_CALL_BYTES_MIN = 128;
const BLOCKS_MAX = 65_536;
/** Empty blocks that are kept for the next keys: a block more or less must not cost an allocation each time. */
const SPARE_MAX = 8;
const DEAD = -1;
const NO_BLOCK = -1;

class Block {
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
  /** Words taken from the front. */
  used = 0;
  /** Words of living spans, headers included. */
  live = 0;

  constructor(words: number) {
    this.words = new Int32Array(words);
    this.bytes = new Uint8Array(this.words.buffer);
  }
}

export class ByteHeap {
  readonly #onMove: (owner: number, address: number) => void;
  readonly #blocks: (Block | undefined)[] = [];
  readonly #freeNumbers: number[] = [];
  readonly #spare: Block[] = [];
  /** Number of the block that is being filled. */
  #open = NO_BLOCK;
  #size = 0;

  /** @param onMove told in the midst of `add` and `remove`; it must not call the heap */
  constructor(onMove: (owner: number, address: number) => void) {
    this.#onMove = onMove;
  }

  /** Living spans. */
  get size(): number {
    return this.#size;
  }

  /** Bytes of all blocks. */
  get blockBytes(): number {
    let bytes = 0;
    for (const block of this.#blocks) bytes += block?.bytes.length ?? 0;
    return bytes;
  }

  /** Copies `bytes[start, end)` for an owner (not negative) and answers the address. */
  add(owner: number, bytes: Uint8Array, start: number, end: number): number {
    const size = end - start;
    const address = size > SHARED_BYTES_MAX ? this.#ownBlock(wordsOf(size)) : this.#reserve(wordsOf(size));
    const block = this.#blocks[address >>> 16]!;
    const word = address & 0xffff;
    block.words[word] = owner;
    block.words[word + 1] = size;
    const to = (word + HEADER_WORDS) * 4;
    if (size < COPY_BY_CALL_BYTES_MIN) for (let i = 0; i < size; i++) block.bytes[to + i] = bytes[start + i]!;
    else block.bytes.set(bytes.subarray(start, end), to);
    this.#size++;
    return address;
  }

  remove(address: number): void {
    const number = address >>> 16;
    const block = this.#blocks[number]!;
    const word = address & 0xffff;
    invariant(block.words[word] !== DEAD, "a span is removed once");
    block.words[word] = DEAD;
    block.live -= wordsOf(block.words[word + 1]!);
    this.#size--;
    if (number !== this.#open) this.#tend(number);
  }

  lengthAt(address: number): number {
    return this.#blocks[address >>> 16]!.words[(address & 0xffff) + 1]!;
  }

  /** Whether a span's bytes are `bytes[start, end)`. */
  equals(address: number, bytes: Uint8Array, start: number, end: number): boolean {
    const block = this.#blocks[address >>> 16]!;
    const word = address & 0xffff;
    const size = end - start;
    if (block.words[word + 1] !== size) return false;
    const own = block.bytes;
    const from = (word + HEADER_WORDS) * 4;
    for (let i = 0; i < size; i++) if (own[from + i] !== bytes[start + i]) return false;
    return true;
  }

  /** Negative, zero or positive, as a span's bytes stand to `bytes[start, end)`. */
  compare(address: number, bytes: Uint8Array, start: number, end: number): number {
    const block = this.#blocks[address >>> 16]!;
    const word = address & 0xffff;
    const size = block.words[word + 1]!;
    const own = block.bytes;
    const from = (word + HEADER_WORDS) * 4;
    const common = Math.min(size, end - start);
    for (let i = 0; i < common; i++) {
      const order = own[from + i]! - bytes[start + i]!;
      if (order !== 0) return order;
    }
    return size - (end - start);
  }

  /** A copy of a span's bytes. */
  copyAt(address: number): Uint8Array {
    const block = this.#blocks[address >>> 16]!;
    const word = address & 0xffff;
    const from = (word + HEADER_WORDS) * 4;
    return block.bytes.slice(from, from + block.words[word + 1]!);
  }

  /** Proves the laws of this module, and that each owner knows its span; for tests. */
  check(addressOf: (owner: number) => number): void {
    let size = 0;
    this.#blocks.forEach((block, number) => {
      if (block === undefined) return;
      let live = 0;
      for (let word = 0; word < block.used; word += wordsOf(block.words[word + 1]!)) {
        const owner = block.words[word]!;
        if (owner === DEAD) continue;
        invariant(addressOf(owner) === ((number << 16) | word), "an owner knows where its bytes are");
        live += wordsOf(block.words[word + 1]!);
        size++;
      }
      invariant(live === block.live, "a block knows how much of it lives");
      const shared = block.words.length === BLOCK_WORDS && number !== this.#open;
      invariant(!shared || live >= BLOCK_WORDS / 2, "a closed block is at least half alive");
    });
    invariant(size === this.#size, "the size is right");
  }

  /** Takes words from the block that is being filled; opens the next one when they do not fit. */
  #reserve(words: number): number {
    let block = this.#blocks[this.#open];
    if (block === undefined || block.used + words > BLOCK_WORDS) {
      const closed = this.#open;
      this.#open = this.#place(this.#spare.pop() ?? new Block(BLOCK_WORDS));
      if (closed !== NO_BLOCK) this.#tend(closed);
      block = this.#blocks[this.#open]!;
    }
    const word = block.used;
    block.used += words;
    block.live += words;
    return (this.#open << 16) | word;
  }

  #ownBlock(words: number): number {
    const block = new Block(words);
    block.used = block.live = words;
    return this.#place(block) << 16;
  }

  #place(block: Block): number {
    const number = this.#freeNumbers.pop() ?? this.#blocks.length;
    invariant(number < BLOCKS_MAX, "a heap of bytes has at most 65,536 blocks");
    this.#blocks[number] = block;
    return number;
  }

  /** Looks at a closed block: gives it up when nothing lives in it, empties it when less than half does. */
  #tend(number: number): void {
    const block = this.#blocks[number]!;
    if (block.live > 0 && (block.words.length !== BLOCK_WORDS || block.live >= BLOCK_WORDS / 2)) return;
    if (block.live > 0) this.#moveOut(block);
    this.#blocks[number] = undefined;
    this.#freeNumbers.push(number);
    if (block.words.length !== BLOCK_WORDS || this.#spare.length === SPARE_MAX) return;
    block.used = block.live = 0;
    this.#spare.push(block);
  }

  #moveOut({ words, used }: Block): void {
    let size: number;
    for (let word = 0; word < used; word += size) {
      size = wordsOf(words[word + 1]!);
      const owner = words[word]!;
      if (owner === DEAD) continue;
      const address = this.#reserve(size);
      const target = this.#blocks[address >>> 16]!.words;
      const to = address & 0xffff;
      for (let i = 0; i < size; i++) target[to + i] = words[word + i]!;
      this.#onMove(owner, address);
    }
  }
}

/** Words that a span takes with its header. */
function wordsOf(size: number): number {
  return HEADER_WORDS + ((size + 3) >>> 2);
}

// A closed block is at least half full, and what moves out of one fits into the next one with the largest span.
invariant(
  wordsOf(SHARED_BYTES_MAX) < BLOCK_WORDS / 2,
  "the largest span that shares a block takes less than half of it",
);
