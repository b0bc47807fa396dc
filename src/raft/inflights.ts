/**
 * The append messages that are on their way to one follower and not yet acknowledged: a ring of (last index, bytes), limited
 * in messages and in bytes. When it is full the leader waits.
 *
 * The byte limit is soft: the message that crosses it is still sent, the next one is not.
 */
import { invariant } from "../base/errors.js";

export class Inflights {
  /** Limits; bytes 0 means none. */
  readonly messagesMax: number;
  readonly bytesMax: number;
  #indexes: number[] = [];
  #sizes: number[] = [];
  #start = 0;
  #count = 0;
  #bytes = 0;

  constructor(messagesMax: number, bytesMax: number) {
    this.messagesMax = messagesMax;
    this.bytesMax = bytesMax;
  }

  get count(): number {
    return this.#count;
  }

  /** Sum of the payloads on their way. */
  get bytes(): number {
    return this.#bytes;
  }

  isFull(): boolean {
    return this.#count >= this.messagesMax || (this.bytesMax !== 0 && this.#bytes >= this.bytesMax);
  }

  /** A message was sent whose last entry has `index`; indexes rise. */
  add(index: number, bytes: number): void {
    invariant(!this.isFull(), "cannot add to inflights that are full");
    // The ring's capacity is a power of two and grows on demand: limits may be huge and are seldom reached.
    if (this.#count === this.#indexes.length) this.#grow();
    const at = (this.#start + this.#count) & (this.#indexes.length - 1);
    this.#indexes[at] = index;
    this.#sizes[at] = bytes;
    this.#count++;
    this.#bytes += bytes;
  }

  #grow(): void {
    const indexes: number[] = Array.from({ length: Math.max(1, this.#indexes.length * 2) }, () => 0);
    const sizes = [...indexes];
    const mask = this.#indexes.length - 1;
    for (let i = 0; i < this.#count; i++) {
      indexes[i] = this.#indexes[(this.#start + i) & mask]!;
      sizes[i] = this.#sizes[(this.#start + i) & mask]!;
    }
    this.#indexes = indexes;
    this.#sizes = sizes;
    this.#start = 0;
  }

  /** Everything up to `index` arrived. */
  freeTo(index: number): void {
    const mask = this.#indexes.length - 1;
    while (this.#count > 0 && this.#indexes[this.#start]! <= index) {
      this.#bytes -= this.#sizes[this.#start]!;
      this.#start = (this.#start + 1) & mask;
      this.#count--;
    }
  }

  clear(): void {
    this.#start = 0;
    this.#count = 0;
    this.#bytes = 0;
  }

  clone(): Inflights {
    const copy = new Inflights(this.messagesMax, this.bytesMax);
    copy.#indexes = [...this.#indexes];
    copy.#sizes = [...this.#sizes];
    copy.#start = this.#start;
    copy.#count = this.#count;
    copy.#bytes = this.#bytes;
    return copy;
  }
}
