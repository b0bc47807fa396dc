/**
 * A run of consecutive entries that grows at its end and shrinks from both ends. The unstable log and the memory storage are
 * each one of these.
 *
 * Laws: the entry at position k has index `first + k`; `end` is one past the last index. Arrays handed out are copies, so
 * they stay as they were when the window moves on.
 *
 * Forgetting the head costs amortised constant time an entry: the head moves forward over slots that are emptied at once
 * (nothing forgotten is kept alive), and the array is moved down when more than half of it is empty.
 */
import { invariant } from "../base/errors.js";
import { EMPTY_BYTES } from "../base/bytes.js";
import { entrySize, EntryType, type Entry } from "../proto/raft.js";

const FORGOTTEN: Entry = { type: EntryType.normal, term: 0, index: 0, data: EMPTY_BYTES };

/** Below this many empty slots, moving the array down is not worth a thought. */
const SLACK_MIN = 64;

export class EntryWindow {
  #slots: Entry[] = [];
  #head = 0;
  #first: number;

  /** @param first index that the first entry will have */
  constructor(first: number) {
    this.#first = first;
  }

  /** Index of the first entry held, or that the next one will have when there is none. */
  get first(): number {
    return this.#first;
  }

  /** One past the last index held. */
  get end(): number {
    return this.#first + this.length;
  }

  get length(): number {
    return this.#slots.length - this.#head;
  }

  /** The term of the entry at `index`, which must be in `[first, end)`. */
  term(index: number): number {
    invariant(index >= this.#first, () => `entry ${index} is before the window's first, ${this.#first}`);
    invariant(index < this.end, () => `entry ${index} is not before the window's end, ${this.end}`);
    return this.#slots[this.#head + index - this.#first]!.term;
  }

  /**
   * The entries of `[low, high)`, cut off before the one that would bring their encoded size over `maxBytes`; the first is
   * always given, so that an entry larger than the limit does not block the way.
   */
  slice(low: number, high: number, maxBytes = Number.POSITIVE_INFINITY): Entry[] {
    invariant(low <= high, () => `slice [${low}, ${high}) ends before it starts`);
    invariant(
      low >= this.#first,
      () => `slice [${low}, ${high}) starts before the window [${this.#first}, ${this.end})`,
    );
    invariant(high <= this.end, () => `slice [${low}, ${high}) ends after the window [${this.#first}, ${this.end})`);
    const from = this.#head + low - this.#first;
    const to = this.#head + high - this.#first;
    return this.#slots.slice(from, maxBytes === Number.POSITIVE_INFINITY ? to : this.#fitting(from, to, maxBytes));
  }

  #fitting(from: number, to: number, maxBytes: number): number {
    let bytes = 0;
    for (let at = from; at < to; at++) {
      bytes += entrySize(this.#slots[at]!);
      if (bytes > maxBytes && at > from) return at;
    }
    return to;
  }

  /** Adds entries at the end; the first of them must have index `end`. */
  push(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    const index = entries[0]!.index;
    invariant(index === this.end, () => `hole in the log: entry ${index} where ${this.end} was expected`);
    for (const entry of entries) this.#slots.push(entry);
  }

  /** Removes the entries from `index` on. */
  truncate(index: number): void {
    invariant(index >= this.#first, () => `cannot truncate at ${index}, before the window's first, ${this.#first}`);
    if (index < this.end) this.#slots.length = this.#head + index - this.#first;
  }

  /** Removes the entries before `index`, which becomes `first`. */
  forgetBefore(index: number): void {
    invariant(index >= this.#first, () => `cannot forget before ${index}: the window starts at ${this.#first}`);
    invariant(index <= this.end, () => `cannot forget before ${index}: the window ends at ${this.end}`);
    const head = this.#head + index - this.#first;
    this.#first = index;
    if (head === this.#slots.length) {
      this.#slots = [];
      this.#head = 0;
      return;
    }
    for (let at = this.#head; at < head; at++) this.#slots[at] = FORGOTTEN;
    this.#head = head;
    if (head >= SLACK_MIN && head * 2 >= this.#slots.length) {
      this.#slots = this.#slots.slice(head);
      this.#head = 0;
    }
  }

  /** Removes everything; the next entry will have index `first`. */
  restart(first: number): void {
    this.#slots = [];
    this.#head = 0;
    this.#first = first;
  }
}

/** Sum of what the entries' encodings take. */
export function encodedBytes(entries: readonly Entry[]): number {
  let bytes = 0;
  for (const entry of entries) bytes += entrySize(entry);
  return bytes;
}

/** Sum of the entries' data alone. */
export function payloadBytes(entries: readonly Entry[]): number {
  let bytes = 0;
  for (const entry of entries) bytes += entry.data.length;
  return bytes;
}
