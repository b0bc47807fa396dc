/**
 * Row numbers by the hash of their keys, for millions of rows: what a `Map` does, without an object that the collector would have to mark.
 *
 * Hash and row stand side by side in one array of integers, so that a key that is not there costs one miss of the processor's cache. Collisions go
 * to the next slot (linear probing); a slot that becomes free is filled by those behind it, so no marks of deletions gather.
 *
 * The table is cut into shards by other bits of the hash: one that is full grows by itself, in a fraction of a millisecond, where a single
 * table of a million keys would stand still for a hundred.
 *
 * The hash is no secret: whoever may put keys can choose some that collide, and make look-ups near them slow. They may fill the
 * store, too; that it goes on serving others is not promised against them.
 *
 * Laws: a slot whose hash is 0 is free; a row lies in the first free slot from its home on, as it was when it came, and no free
 * slot lies between the two; no key is there twice.
 */
import { invariant } from "./errors.js";

/** What a look-up answers when there is no row. */
export const NO_ROW = -1;

const SHARD_BITS = 8;
const SLOTS_MIN = 8;
/** Of so many slots of a shard ... */
const LOAD_OF = 4;
/** ... so many are taken at most. */
const LOAD_MAX = 3;

interface Shard {
  /** Hash and row of each slot; a power of two of slots. */
  slots: Int32Array;
  size: number;
}

/** Whether a row's key is `bytes[start, end)`. */
export type HasKey = (row: number, bytes: Uint8Array, start: number, end: number) => boolean;

export class RowTable {
  readonly #hasKey: HasKey;
  readonly #shards: Shard[] = Array.from({ length: 1 << SHARD_BITS }, () => emptyShard(SLOTS_MIN));
  #size = 0;

  constructor(hasKey: HasKey) {
    this.#hasKey = hasKey;
  }

  get size(): number {
    return this.#size;
  }

  /** The row of a key with its hash, or `NO_ROW`. */
  find(hash: number, bytes: Uint8Array, start: number, end: number): number {
    const { slots } = this.#shards[hash >>> (32 - SHARD_BITS)]!;
    const mask = slots.length - 1;
    for (let at = (hash << 1) & mask; slots[at] !== 0; at = (at + 2) & mask) {
      if (slots[at] === hash && this.#hasKey(slots[at + 1]!, bytes, start, end)) return slots[at + 1]!;
    }
    return NO_ROW;
  }

  /** Adds a row whose key is not there. */
  add(hash: number, row: number): void {
    const shard = this.#shards[hash >>> (32 - SHARD_BITS)]!;
    insert(shard.slots, hash, row);
    this.#size++;
    if (++shard.size * 2 * LOAD_OF > shard.slots.length * LOAD_MAX) grow(shard);
  }

  /** Removes a row; answers whether it was there. */
  delete(hash: number, row: number): boolean {
    const shard = this.#shards[hash >>> (32 - SHARD_BITS)]!;
    const { slots } = shard;
    const mask = slots.length - 1;
    let at = (hash << 1) & mask;
    while (slots[at] !== hash || slots[at + 1] !== row) {
      if (slots[at] === 0) return false;
      at = (at + 2) & mask;
    }
    closeGap(slots, at);
    shard.size--;
    this.#size--;
    return true;
  }

  /** Proves the laws of this module; for tests. */
  check(keyOf: (row: number) => Uint8Array): void {
    let size = 0;
    for (const { slots, size: shardSize } of this.#shards) {
      let taken = 0;
      for (let at = 0; at < slots.length; at += 2) {
        if (slots[at] === 0) continue;
        const key = keyOf(slots[at + 1]!);
        const hash = hashOf(key, 0, key.length);
        invariant(hash === slots[at], "a slot knows its row's hash");
        invariant(this.find(hash, key, 0, key.length) === slots[at + 1], "a row is found by its key");
        taken++;
      }
      invariant(taken === shardSize, "a shard's size is right");
      size += taken;
    }
    invariant(size === this.#size, "the size is right");
  }
}

/**
 * The hash of `bytes[start, end)`; never 0. Four bytes at a time, as in MurmurHash3 but with less mixing on the way, and its last mixing
 * in full, since the shard and the slot are cut out of it.
 */
export function hashOf(bytes: Uint8Array, start: number, end: number): number {
  let hash = (end - start) ^ 0x811c_9dc5;
  let at = start;
  for (; at + 4 <= end; at += 4) {
    const word = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    hash = Math.imul(((hash << 13) | (hash >>> 19)) ^ word, 0x9e37_79b1);
  }
  for (; at < end; at++) hash = Math.imul(((hash << 13) | (hash >>> 19)) ^ bytes[at]!, 0x9e37_79b1);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2_ae35);
  hash ^= hash >>> 16;
  return hash === 0 ? 1 : hash;
}

function emptyShard(slots: number): Shard {
  return { slots: new Int32Array(slots * 2), size: 0 };
}

function insert(slots: Int32Array, hash: number, row: number): void {
  const mask = slots.length - 1;
  let at = (hash << 1) & mask;
  while (slots[at] !== 0) at = (at + 2) & mask;
  slots[at] = hash;
  slots[at + 1] = row;
}

function grow(shard: Shard): void {
  const { slots } = shard;
  shard.slots = new Int32Array(slots.length * 2);
  for (let at = 0; at < slots.length; at += 2) {
    if (slots[at] !== 0) insert(shard.slots, slots[at]!, slots[at + 1]!);
  }
}

/** Moves those behind a slot forward that would not be found any more if it were just free. */
function closeGap(slots: Int32Array, from: number): void {
  const mask = slots.length - 1;
  let gap = from;
  for (let at = (gap + 2) & mask; slots[at] !== 0; at = (at + 2) & mask) {
    const home = (slots[at]! << 1) & mask;
    // It may move when its home does not lie behind the gap, on the way round from the gap to where it is.
    if (((at - home) & mask) < ((at - gap) & mask)) continue;
    slots[gap] = slots[at]!;
    slots[gap + 1] = slots[at + 1]!;
    gap = at;
  }
  slots[gap] = 0;
}
