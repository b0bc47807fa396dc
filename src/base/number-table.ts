/**
 * Values by whole numbers of 32 bits, for what comes and goes all the time: the calls in flight of a server.
 *
 * Why no `Map`: V8's writes deletions into its table and makes a new one when it is full, and the old table, with all that it held then, points
 * to the new one. One of them in old space, dead or not, keeps alive all that came after it until the next full collection:
 * with a thousand calls in flight every call that ever was. (A third of all garbage was copied twice for that; docs/performance.md.) Here a deletion
 * empties the slot at once.
 *
 * Open addressing with linear probing; a slot that becomes free is filled by those behind it, so no marks of deletions gather. The table
 * doubles when half of it is taken, and halves when an eighth is.
 *
 * Laws: a value lies in the first free slot from its key's home on, as it was when it came, and no free slot lies between the two.
 */
import { invariant } from "./errors.js";

const SLOTS_MIN = 16;
/** 2^32 divided by the golden ratio: spreads numbers that follow one another, at any distance. */
const SPREAD = 0x9e37_79b1;

export class NumberTable<Value extends object> {
  #keys = new Int32Array(SLOTS_MIN);
  #values: (Value | undefined)[] = emptySlots(SLOTS_MIN);
  /** The upper bits of a spread key are its home: as many as the table has slots. */
  #shift = Math.clz32(SLOTS_MIN - 1);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** @param key a whole number of 32 bits, with a sign */
  get(key: number): Value | undefined {
    const keys = this.#keys;
    const values = this.#values;
    const mask = keys.length - 1;
    for (let slot = this.#homeOf(key); ; slot = (slot + 1) & mask) {
      const value = values[slot];
      if (value === undefined || keys[slot] === key) return value;
    }
  }

  /** Adds a value. Its key must not be there. */
  add(key: number, value: Value): void {
    invariant(key === (key | 0), () => `the key ${key} is no whole number of 32 bits`);
    if ((this.#size + 1) * 2 > this.#keys.length) this.#resize(this.#keys.length * 2);
    this.#place(key, value);
    this.#size++;
  }

  #place(key: number, value: Value): void {
    const keys = this.#keys;
    const values = this.#values;
    const mask = keys.length - 1;
    let slot = this.#homeOf(key);
    for (; values[slot] !== undefined; slot = (slot + 1) & mask) {
      invariant(keys[slot] !== key, () => `the key ${key} is there already`);
    }
    keys[slot] = key;
    values[slot] = value;
  }

  /** Removes and answers the value of a key. */
  delete(key: number): Value | undefined {
    const keys = this.#keys;
    const values = this.#values;
    const mask = keys.length - 1;
    for (let slot = this.#homeOf(key); ; slot = (slot + 1) & mask) {
      const value = values[slot];
      if (value === undefined) return undefined;
      if (keys[slot] !== key) continue;
      this.#closeGap(slot);
      this.#size--;
      if (this.#size * 8 < keys.length && keys.length > SLOTS_MIN) this.#resize(keys.length / 2);
      return value;
    }
  }

  /** The values, in ascending order of their keys. The table may change while they are looked at. */
  values(): Value[] {
    const slots: number[] = [];
    this.#values.forEach((value, slot) => {
      if (value !== undefined) slots.push(slot);
    });
    slots.sort((a, b) => this.#keys[a]! - this.#keys[b]!);
    return slots.map((slot) => this.#values[slot]!);
  }

  /** Proves the laws of this module; for tests. */
  check(): void {
    let size = 0;
    this.#values.forEach((value, slot) => {
      if (value === undefined) return;
      size++;
      invariant(this.get(this.#keys[slot]!) === value, "a value is found by its key");
    });
    invariant(size === this.#size, "the size is right");
    invariant(this.#values.length === this.#keys.length, "each slot has a key and a value");
  }

  #homeOf(key: number): number {
    return Math.imul(key, SPREAD) >>> this.#shift;
  }

  /** Moves those behind a slot forward that would not be found any more if it were just free. */
  #closeGap(from: number): void {
    const keys = this.#keys;
    const values = this.#values;
    const mask = keys.length - 1;
    let gap = from;
    for (let slot = (gap + 1) & mask; values[slot] !== undefined; slot = (slot + 1) & mask) {
      const home = this.#homeOf(keys[slot]!);
      // It may move when its home does not lie behind the gap, on the way round from the gap to where it is.
      if (((slot - home) & mask) < ((slot - gap) & mask)) continue;
      keys[gap] = keys[slot]!;
      values[gap] = values[slot];
      gap = slot;
    }
    values[gap] = undefined;
  }

  #resize(slots: number): void {
    const keys = this.#keys;
    const values = this.#values;
    this.#keys = new Int32Array(slots);
    this.#values = emptySlots(slots);
    this.#shift = Math.clz32(slots - 1);
    for (let slot = 0; slot < keys.length; slot++) {
      const value = values[slot];
      if (value !== undefined) this.#place(keys[slot]!, value);
      values[slot] = undefined; // what the old array held must not live on with it
    }
  }
}

/** An array that is dense from the beginning. */
function emptySlots<Value>(slots: number): (Value | undefined)[] {
  const values: (Value | undefined)[] = [];
  while (values.length < slots) values.push(undefined);
  return values;
}
