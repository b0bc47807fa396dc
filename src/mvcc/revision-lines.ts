/**
 * The earlier revisions of keys, outside of the collector's heap: for each key a line of pairs (main, sub), ascending. A line is named by
 * a number, which changes as the line does; `NO_LINE` is the empty one.
 *
 * A line is a chain of spans, the newest first. A span has twice the room of the one before it, up to 2,047 pairs: a line never is
 * copied as it grows, most keys take 32 bytes, and a search walks over few spans. Spans of one size share slabs of 64 KiB; a slab in
 * which nothing lives is given up, so that what one size has used another one may.
 *
 *     cells of a span of four      previous, begin, end | main, sub | main, sub | main, sub
 *     a free span                  next free span of its slab
 *     a name                       slab number in the upper bits, the span's first cell in the lower 12
 *
 * What is forgotten at the front of a span is room again when the whole span is forgotten: at the latest by a compaction behind the key's
 * newest revision.
 *
 * Laws: pairs of a line ascend; a span of a line holds at least one pair; a span belongs to one line or is free.
 */
import { invariant } from "../base/errors.js";

export const NO_LINE = -1;

/** A cell is 16 bytes: two numbers of 64 bits, or four words. */
const SLAB_BITS = 12;
const SLAB_CELLS = 1 << SLAB_BITS;
const SLABS_MAX = 1 << (31 - SLAB_BITS);
/** Spans have 2 to 2,048 cells, a power of two; the first one is the header. */
const SIZE_BITS_MIN = 1;
const SIZE_BITS_MAX = 11;
/** Empty slabs that are kept for the next spans. */
const SPARE_MAX = 16;
const NONE = -1;
// Words of a header.
const PREVIOUS = 0;
const BEGIN = 1;
const END = 2;

interface Slab {
  readonly numbers: Float64Array;
  readonly words: Int32Array;
  /** Logarithm of the cells of its spans. */
  sizeBits: number;
  /** First cell of the first free span. */
  free: number;
  /** Cells that were ever given out. */
  used: number;
  /** Spans that are not free. */
  live: number;
  /** Position among the slabs of its size that have room; `NONE` for a full one. */
  position: number;
}

export class RevisionLines {
  readonly #slabs: (Slab | undefined)[] = [];
  readonly #freeNumbers: number[] = [];
  readonly #spare: Slab[] = [];
  /** By size: numbers of the slabs that have room. */
  readonly #withRoom: number[][] = Array.from({ length: SIZE_BITS_MAX + 1 }, () => []);

  /** Bytes of all slabs. */
  get slabBytes(): number {
    return this.#slabs.reduce((bytes, slab) => bytes + (slab?.words.byteLength ?? 0), 0);
  }

  /** Adds a pair at the end of a line, and answers the line's name from now on. */
  append(line: number, main: number, sub: number): number {
    const span = line === NO_LINE ? this.#begin(SIZE_BITS_MIN, NO_LINE) : this.#withRoomFor(line);
    const { numbers, words } = this.#slabOf(span);
    const header = headerOf(span);
    const end = words[header + END]!;
    const cell = (span & (SLAB_CELLS - 1)) + end;
    numbers[cell * 2] = main;
    numbers[cell * 2 + 1] = sub;
    words[header + END] = end + 1;
    return span;
  }

  /** The place of the last pair of a line with a main up to `at`; `NO_LINE` when there is none. */
  lastUpTo(line: number, at: number): number {
    for (let span = line; span !== NO_LINE;) {
      const { numbers, words } = this.#slabOf(span);
      const header = headerOf(span);
      const cell = span & (SLAB_CELLS - 1);
      let low = words[header + BEGIN]!;
      let high = words[header + END]!;
      if (numbers[(cell + low) * 2]! <= at) {
        while (low < high) {
          const middle = (low + high) >>> 1;
          if (numbers[(cell + middle) * 2]! <= at) low = middle + 1;
          else high = middle;
        }
        return span + low - 1;
      }
      span = words[header + PREVIOUS]!;
    }
    return NO_LINE;
  }

  /** Of a place that `lastUpTo` answered. */
  mainAt(place: number): number {
    return this.#slabOf(place).numbers[(place & (SLAB_CELLS - 1)) * 2]!;
  }

  subAt(place: number): number {
    return this.#slabOf(place).numbers[(place & (SLAB_CELLS - 1)) * 2 + 1]!;
  }

  /** Forgets what stands before a place of a line, or `through` it; answers the line's name from now on. */
  forgetBefore(line: number, place: number, through: boolean): number {
    const { words, sizeBits } = this.#slabOf(place);
    const span = place & ~((1 << sizeBits) - 1);
    const header = headerOf(span);
    this.free(words[header + PREVIOUS]!);
    words[header + PREVIOUS] = NO_LINE;
    words[header + BEGIN] = place - span + (through ? 1 : 0);
    if (words[header + BEGIN]! < words[header + END]!) return line;
    this.#giveBack(span);
    if (span === line) return NO_LINE;
    let newer = line;
    while (this.#previousOf(newer) !== span) newer = this.#previousOf(newer);
    this.#slabOf(newer).words[headerOf(newer) + PREVIOUS] = NO_LINE;
    return line;
  }

  /** Forgets a whole line. */
  free(line: number): void {
    for (let span = line; span !== NO_LINE;) {
      const previous = this.#previousOf(span);
      this.#giveBack(span);
      span = previous;
    }
  }

  /** Proves the laws of this module for all lines that there are; for tests. */
  check(lines: Iterable<number>): void {
    const seen = new Set<number>();
    for (const line of lines) {
      let next = Infinity;
      for (let span = line; span !== NO_LINE; span = this.#previousOf(span)) {
        invariant(!seen.has(span), "a span belongs to one line");
        seen.add(span);
        const { numbers, words } = this.#slabOf(span);
        const begin = words[headerOf(span) + BEGIN]!;
        const end = words[headerOf(span) + END]!;
        invariant(begin < end, "a span of a line holds a pair");
        for (let cell = (span & (SLAB_CELLS - 1)) + end - 1, left = end - begin; left > 0; cell--, left--) {
          invariant(numbers[cell * 2]! <= next, "pairs of a line ascend");
          next = numbers[cell * 2]!;
        }
      }
    }
    let live = 0;
    for (const slab of this.#slabs) live += slab?.live ?? 0;
    invariant(seen.size === live, "a span belongs to a line or is free");
    this.#withRoom.forEach((numbers, sizeBits) => {
      numbers.forEach((number, position) => {
        const slab = this.#slabs[number]!;
        invariant(slab.position === position, "a slab with room knows where it is listed");
        invariant(slab.sizeBits === sizeBits, "a slab is listed under its size");
      });
    });
  }

  #slabOf(name: number): Slab {
    return this.#slabs[name >>> SLAB_BITS]!;
  }

  #previousOf(span: number): number {
    return this.#slabOf(span).words[headerOf(span) + PREVIOUS]!;
  }

  /** The newest span of a line if it has room, else a new one in front of it. */
  #withRoomFor(line: number): number {
    const { words, sizeBits } = this.#slabOf(line);
    if (words[headerOf(line) + END]! < 1 << sizeBits) return line;
    return this.#begin(Math.min(sizeBits + 1, SIZE_BITS_MAX), line);
  }

  #begin(sizeBits: number, previous: number): number {
    const span = this.#take(sizeBits);
    const { words } = this.#slabOf(span);
    const header = headerOf(span);
    words[header + PREVIOUS] = previous;
    words[header + BEGIN] = words[header + END] = 1;
    return span;
  }

  #take(sizeBits: number): number {
    const room = this.#withRoom[sizeBits]!;
    const number = room.at(-1) ?? this.#newSlab(sizeBits);
    const slab = this.#slabs[number]!;
    let cell = slab.free;
    if (cell === NONE) {
      cell = slab.used;
      slab.used += 1 << sizeBits;
    } else {
      slab.free = slab.words[cell * 4]!;
    }
    slab.live++;
    if (slab.free === NONE && slab.used === SLAB_CELLS) {
      room.pop();
      slab.position = NONE;
    }
    return (number << SLAB_BITS) | cell;
  }

  #newSlab(sizeBits: number): number {
    const number = this.#freeNumbers.pop() ?? this.#slabs.length;
    invariant(number < SLABS_MAX, "earlier revisions have at most 524,288 slabs");
    const slab = this.#spare.pop() ?? emptySlab();
    slab.sizeBits = sizeBits;
    slab.free = NONE;
    slab.used = 0;
    this.#slabs[number] = slab;
    slab.position = this.#withRoom[sizeBits]!.push(number) - 1;
    return number;
  }

  #giveBack(span: number): void {
    const number = span >>> SLAB_BITS;
    const slab = this.#slabs[number]!;
    const cell = span & (SLAB_CELLS - 1);
    slab.words[cell * 4] = slab.free;
    slab.free = cell;
    slab.live--;
    const room = this.#withRoom[slab.sizeBits]!;
    if (slab.position === NONE) slab.position = room.push(number) - 1;
    if (slab.live > 0) return;
    const last = room.pop()!;
    if (last !== number) {
      room[slab.position] = last;
      this.#slabs[last]!.position = slab.position;
    }
    this.#slabs[number] = undefined;
    this.#freeNumbers.push(number);
    if (this.#spare.length < SPARE_MAX) this.#spare.push(slab);
  }
}

/** The first word of a span's header. */
function headerOf(span: number): number {
  return (span & (SLAB_CELLS - 1)) * 4;
}

function emptySlab(): Slab {
  const numbers = new Float64Array(SLAB_CELLS * 2);
  const words = new Int32Array(numbers.buffer);
  return { numbers, words, sizeBits: SIZE_BITS_MIN, free: NONE, used: 0, live: 0, position: NONE };
}
