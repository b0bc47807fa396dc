/**
 * Chance under a seed: the same seed gives the same draws on every machine.
 *
 * The generator is xoshiro128** (Blackman and Vigna, public domain), whose 128 bits of state are filled from a 64-bit seed by
 * SplitMix64. Named streams are independent of each other, so that one more draw in one does not reshuffle the rest.
 */
import { invariant } from "../src/base/errors.js";
import { utf8FromText } from "../src/base/text.js";
import type { Random } from "../src/platform/index.js";

const TWO_32 = 0x1_0000_0000;
const MASK_64 = 0xffff_ffff_ffff_ffffn;

export class SimRandom implements Random {
  readonly seed: bigint;
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  constructor(seed: bigint | number) {
    this.seed = BigInt(seed) & MASK_64;
    const first = splitMix64(this.seed + 0x9e37_79b9_7f4a_7c15n);
    const second = splitMix64(this.seed + 2n * 0x9e37_79b9_7f4a_7c15n);
    this.#a = Number(first & 0xffff_ffffn) | 0;
    this.#b = Number(first >> 32n) | 0;
    this.#c = Number(second & 0xffff_ffffn) | 0;
    this.#d = Number(second >> 32n) | 1; // a state of zeros would stay zero
  }

  /** The generator of this name under the same seed, from its beginning; draws taken here do not touch it. */
  stream(name: string): SimRandom {
    let hash = 0xcbf2_9ce4_8422_2325n; // FNV-1a
    for (const byte of utf8FromText(name)) hash = ((hash ^ BigInt(byte)) * 0x100_0000_01b3n) & MASK_64;
    return new SimRandom(splitMix64(this.seed ^ hash));
  }

  /** 32 random bits. */
  next(): number {
    const product = Math.imul(this.#b, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = (this.#d << 11) | (this.#d >>> 21);
    return result;
  }

  below(bound: number): number {
    invariant(bound >= 1, () => `a bound of ${bound} leaves nothing to choose`);
    invariant(bound <= TWO_32, () => `a bound of ${bound} is over 2^32`);
    // Draws from the incomplete last round would favour small numbers: drop them.
    const fair = TWO_32 - (TWO_32 % bound);
    for (;;) {
      const draw = this.next();
      if (draw < fair) return draw % bound;
    }
  }

  bytes(count: number): Uint8Array {
    const bytes = new Uint8Array(count);
    for (let i = 0; i < count; i++) bytes[i] = this.next() >>> 24;
    return bytes;
  }

  /** True once in `times`, on average. */
  oneIn(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)]!;
  }
}

function splitMix64(state: bigint): bigint {
  let mixed = state & MASK_64;
  mixed = ((mixed ^ (mixed >> 30n)) * 0xbf58_476d_1ce4_e5b9n) & MASK_64;
  mixed = ((mixed ^ (mixed >> 27n)) * 0x94d0_49bb_1331_11ebn) & MASK_64;
  return mixed ^ (mixed >> 31n);
}
