/**
 * Random choices that a seed repeats: sfc32, the same on every machine and in every version of Node.
 */

/** A stream of random choices. Two streams of the same seed make the same choices. */
export class SeededRandom {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number) {
    this.#a = seed | 0;
    this.#b = 0x9e3779b9 ^ (seed / 2 ** 32);
    this.#c = 0x243f6a88;
    for (let round = 0; round < 15; round++) this.uint32();
  }

  /** A number in `[0, 2^32)`. */
  uint32(): number {
    const mixed = (this.#a + this.#b + this.#counter++) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + mixed;
    return mixed >>> 0;
  }

  /** An integer in `[low, high)`. */
  between(low: number, high: number): number {
    return low + Math.floor((this.uint32() / 2 ** 32) * (high - low));
  }

  /** True once in `times` on average. */
  oneIn(times: number): boolean {
    return this.between(0, times) === 0;
  }

  /** One of `choices`, each as likely. */
  pick<T>(choices: readonly T[]): T {
    return choices[this.between(0, choices.length)]!;
  }

  /** One of the choices, as likely as its weight says. */
  weighted<T>(choices: readonly (readonly [weight: number, choice: T])[]): T {
    let rest = this.between(
      0,
      choices.reduce((sum, [weight]) => sum + weight, 0),
    );
    for (const [weight, choice] of choices) {
      if (rest < weight) return choice;
      rest -= weight;
    }
    return choices.at(-1)![1];
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.uint32() & 0xff);
  }
}

/** A seed for this run: the one that was asked for, or a fresh one. Print it, so that a failure can be repeated. */
export function chooseSeed(asked: string | undefined): number {
  const seed = asked === undefined || asked === "" ? Math.floor(Math.random() * 2 ** 31) : Number(asked);
  if (!Number.isSafeInteger(seed) || seed < 0) throw new Error(`the seed is a whole number, found '${asked}'`);
  return seed;
}
