/**
 * The keys that a user may read, or write: all ranges of all his roles as one set of disjoint half-open ranges in order. A look-up is a
 * binary search that makes no object.
 *
 * Laws:
 * - ranges that overlap or touch are one, so a span is covered exactly when ONE range covers it (as etcd's tree answers, which
 *   joins what touches);
 * - an end of one zero byte is open, in permissions and in requests alike. It must never be turned into "no end" on the way here, for
 *   that means one key: a watch "from the key on" would pass as a watch of the key (etcd 3.5.33 mends that);
 * - a permission whose end is not after its key holds nothing: old versions of etcd stored such ones.
 *
 * Keys are latin1 texts, which compare as their bytes do.
 */
import { latin1FromBytes } from "../base/text.js";
import { SpanTree } from "./span-tree.js";

/** The end of a range that has none. */
const OPEN = "";

export interface KeyRange {
  readonly key: Uint8Array;
  /** Nothing: the one key. One zero byte: all keys from `key` on. */
  readonly rangeEnd: Uint8Array;
}

interface Span {
  readonly begin: string;
  /** `OPEN` where there is none. */
  readonly end: string;
}

export class KeyRanges {
  readonly #begins: readonly string[];
  readonly #ends: readonly string[];
  readonly #ranges: readonly KeyRange[];
  #tree: SpanTree | undefined;

  /** @param ranges in the order of their roles, and there in their own: `span-tree.ts` says why it counts */
  constructor(ranges: readonly KeyRange[]) {
    this.#ranges = ranges;
    const spans = joined(ranges.map(spanOf).filter(({ begin, end }) => begin !== "" && isBefore(begin, end)));
    this.#begins = spans.map(({ begin }) => begin);
    this.#ends = spans.map(({ end }) => end);
  }

  hasKey(key: string): boolean {
    const at = this.#lastBegunBy(key);
    return at >= 0 && isBefore(key, this.#ends[at]!);
  }

  /** The same for the key `bytes[start, end)`. */
  hasKeyIn(bytes: Uint8Array, start: number, end: number): boolean {
    let low = 0;
    let high = this.#begins.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareToText(bytes, start, end, this.#begins[middle]!) >= 0) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return false;
    const limit = this.#ends[low - 1]!;
    return limit === OPEN || compareToText(bytes, start, end, limit) < 0;
  }

  /**
   * Whether all of `[key, rangeEnd)` is in.
   *
   * @param rangeEnd as a request has it: nothing for the one key, one zero byte for all keys from `key` on
   */
  covers(key: string, rangeEnd: string): boolean {
    if (rangeEnd === "") return this.hasKey(key);
    if (rangeEnd !== "\0" && rangeEnd <= key) return this.#findsBackwards(key, rangeEnd);
    const at = this.#lastBegunBy(key);
    if (at < 0 || !isBefore(key, this.#ends[at]!)) return false;
    const limit = this.#ends[at]!;
    return limit === OPEN || (rangeEnd !== "\0" && rangeEnd <= limit);
  }

  #findsBackwards(begin: string, end: string): boolean {
    this.#tree ??= new SpanTree(this.#ranges.map(spanOf));
    return this.#tree.finds({ begin, end });
  }

  /** Index of the last range that begins at the key or before it; -1 for none. */
  #lastBegunBy(key: string): number {
    let low = 0;
    let high = this.#begins.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#begins[middle]! <= key) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}

/** What a role's permission may name: a key, a range that holds something, or all keys from one on. */
export function isValidRange({ key, rangeEnd }: KeyRange): boolean {
  const { begin, end } = spanOf({ key, rangeEnd });
  return begin !== "" && isBefore(begin, end);
}

function spanOf({ key, rangeEnd }: KeyRange): Span {
  const begin = latin1FromBytes(key);
  if (rangeEnd.length === 0) return { begin, end: `${begin}\0` };
  const isOpen = rangeEnd.length === 1 && rangeEnd[0] === 0;
  return { begin, end: isOpen ? OPEN : latin1FromBytes(rangeEnd) };
}

function joined(spans: Span[]): Span[] {
  spans.sort((a, b) => (a.begin < b.begin ? -1 : a.begin > b.begin ? 1 : 0));
  const result: Span[] = [];
  for (const span of spans) {
    const last = result.at(-1);
    if (last === undefined || (last.end !== OPEN && last.end < span.begin)) result.push(span);
    else if (last.end !== OPEN && isBefore(last.end, span.end)) {
      result[result.length - 1] = { begin: last.begin, end: span.end };
    }
  }
  return result;
}

function isBefore(key: string, end: string): boolean {
  return end === OPEN || key < end;
}

function compareToText(bytes: Uint8Array, start: number, end: number, text: string): number {
  const size = Math.min(end - start, text.length);
  for (let i = 0; i < size; i++) {
    const difference = bytes[start + i]! - text.charCodeAt(i);
    if (difference !== 0) return difference;
  }
  return end - start - text.length;
}
