/**
 * Which pages may be written, as bits.
 *
 * A page that a transaction frees is *pending*: the tree before it still has it, which the last durable meta or an open read
 * transaction may need. It becomes *free* when every state that could see it is gone. On disk the list holds free and pending
 * pages alike, for after a crash nobody reads the older state.
 *
 * Laws: `free` is a subset of `listed`; `listed` = free + pending; pages 0 and 1 are never listed; a page is freed once.
 */
import { writeUint32LE } from "../base/bytes.js";
import { invariant } from "../base/errors.js";
import { BoltError } from "./errors.js";
import { COUNT_OVERFLOW, PAGE_HEADER_BYTES, PageKind, readWide, SEAL_BYTES, writePageHeader } from "./format.js";
import { damage, type PageOrigin } from "./page.js";

const ID_BYTES = 8;

/** A set of page ids. */
export class PageSet {
  #words: Uint32Array;
  #count = 0;

  constructor(pages = 1024) {
    this.#words = new Uint32Array((pages >>> 5) + 1);
  }

  get count(): number {
    return this.#count;
  }

  has(id: number): boolean {
    const word = id >>> 5;
    return word < this.#words.length && (this.#words[word]! & (1 << (id & 31))) !== 0;
  }

  /** Answers false when it was there. */
  add(id: number): boolean {
    const word = id >>> 5;
    if (word >= this.#words.length) this.#grow(word + 1);
    const bit = 1 << (id & 31);
    if ((this.#words[word]! & bit) !== 0) return false;
    this.#words[word]! |= bit;
    this.#count++;
    return true;
  }

  /** Answers false when it was not there. */
  delete(id: number): boolean {
    if (!this.has(id)) return false;
    this.#words[id >>> 5]! &= ~(1 << (id & 31));
    this.#count--;
    return true;
  }

  /** The first id of `span` ids in a row, from `from` on; 0 for none. */
  findRun(from: number, span: number): number {
    if (span === 1) return this.#findOne(from);
    const words = this.#words;
    let run = 0;
    for (let word = from >>> 5; word < words.length; word++) {
      const bits = words[word]!;
      if (bits === 0) {
        run = 0;
        continue;
      }
      for (let bit = 0; bit < 32; bit++) {
        const id = word * 32 + bit;
        if (id < from) continue;
        run = (bits & (1 << bit)) === 0 ? 0 : run + 1;
        if (run === span) return id - span + 1;
      }
    }
    return 0;
  }

  /** The first id from `from` on; 0 for none. */
  #findOne(from: number): number {
    const words = this.#words;
    let word = from >>> 5;
    let bits = word < words.length ? words[word]! & (-1 << (from & 31)) : 0;
    while (bits === 0) {
      if (++word >= words.length) return 0;
      bits = words[word]!;
    }
    return word * 32 + 31 - Math.clz32(bits & -bits);
  }

  copy(): PageSet {
    const copy = new PageSet(0);
    copy.#words = this.#words.slice();
    copy.#count = this.#count;
    return copy;
  }

  /** Writes the ids, ascending, as 64-bit integers: ids stay below 2^32, so the upper halves are zero as they were. */
  writeInto(bytes: Uint8Array, start: number): void {
    let at = start;
    for (let word = 0; word < this.#words.length; word++) {
      let bits = this.#words[word]!;
      while (bits !== 0) {
        writeUint32LE(bytes, at, word * 32 + 31 - Math.clz32(bits & -bits));
        bits &= bits - 1;
        at += ID_BYTES;
      }
    }
  }

  /** The ids in ascending order. */
  *[Symbol.iterator](): Generator<number> {
    for (let word = 0; word < this.#words.length; word++) {
      let bits = this.#words[word]!;
      while (bits !== 0) {
        const bit = 31 - Math.clz32(bits & -bits);
        yield word * 32 + bit;
        bits &= bits - 1;
      }
    }
  }

  #grow(words: number): void {
    const grown = new Uint32Array(Math.max(words, this.#words.length * 2));
    grown.set(this.#words);
    this.#words = grown;
  }
}

/** Pages that one transaction freed: where each run begins, how long it is, and which transaction had taken it (0: unknown). */
interface Pending {
  readonly ids: number[];
  readonly spans: number[];
  readonly takenBy: number[];
}

export class FreeList {
  readonly #free: PageSet;
  readonly #listed: PageSet;
  readonly #pending = new Map<number, Pending>();
  /** Which transaction took a page, for those since the file was opened: one that came after a reader is none of its own. */
  #takenBy = new Float64Array(0);
  /** For each span: no run of that many pages begins below. Right until pages are released. */
  readonly #searchFrom = new Map<number, number>();

  constructor(free: PageSet) {
    this.#free = free;
    this.#listed = free.copy();
  }

  /** Pages that may be written at once. */
  get freePages(): number {
    return this.#free.count;
  }

  /** Pages that were freed and may still be read by somebody. */
  get pendingPages(): number {
    return this.#listed.count - this.#free.count;
  }

  isFree(id: number): boolean {
    return this.#free.has(id);
  }

  /** Bytes of the page that would hold the list as it stands. */
  get encodedBytes(): number {
    const ids = this.#listed.count;
    return PAGE_HEADER_BYTES + ID_BYTES * (ids < COUNT_OVERFLOW ? ids : ids + 1);
  }

  /** Takes the lowest run of free pages for a transaction; 0 when there is none. */
  take(span: number, txid: number): number {
    const from = this.#searchFrom.get(span) ?? 0;
    if (from === Infinity || this.#free.count < span) return 0;
    const id = this.#free.findRun(from, span);
    this.#searchFrom.set(span, id === 0 ? Infinity : id + span);
    if (id === 0) return 0;
    for (let i = 0; i < span; i++) {
      this.#free.delete(id + i);
      this.#listed.delete(id + i);
    }
    this.note(id, txid);
    return id;
  }

  /** Remembers which transaction took a page. */
  note(id: number, txid: number): void {
    if (id >= this.#takenBy.length) {
      const grown = new Float64Array(Math.max(id + 1, this.#takenBy.length * 2, 1024));
      grown.set(this.#takenBy);
      this.#takenBy = grown;
    }
    this.#takenBy[id] = txid;
  }

  /** A transaction no longer uses these pages. */
  add(id: number, span: number, txid: number): void {
    invariant(id > 1, () => `page ${id} freed: it is a meta page`);
    let pending = this.#pending.get(txid);
    if (pending === undefined) {
      pending = { ids: [], spans: [], takenBy: [] };
      this.#pending.set(txid, pending);
    }
    for (let i = 0; i < span; i++) invariant(this.#listed.add(id + i), () => `page ${id + i} freed twice`);
    pending.ids.push(id);
    pending.spans.push(span);
    pending.takenBy.push(id < this.#takenBy.length ? this.#takenBy[id]! : 0);
  }

  /**
   * Frees what no state can see any more: pages that transaction T freed and S took are seen by the states [S, T).
   *
   * @param durable the last durable state; it and all later ones may still be read
   * @param readers the states that open read transactions see
   * @param onFree called for each page that became free
   */
  release(durable: number, readers: readonly number[], onFree: (id: number) => void): void {
    let released = false;
    for (const [txid, pending] of this.#pending) {
      if (txid > durable) continue;
      const kept: Pending = { ids: [], spans: [], takenBy: [] };
      for (let i = 0; i < pending.ids.length; i++) {
        const id = pending.ids[i]!;
        const span = pending.spans[i]!;
        const takenBy = pending.takenBy[i]!;
        if (readers.some((reader) => reader >= takenBy && reader < txid)) {
          kept.ids.push(id);
          kept.spans.push(span);
          kept.takenBy.push(takenBy);
          continue;
        }
        released = true;
        for (let page = id; page < id + span; page++) {
          this.#free.add(page);
          onFree(page);
        }
      }
      if (kept.ids.length === 0) this.#pending.delete(txid);
      else this.#pending.set(txid, kept);
    }
    if (released) this.#searchFrom.clear();
  }

  /** Free and pending pages as they are now. */
  snapshot(): PageSet {
    return this.#listed.copy();
  }
}

/** Writes the list as the page `id` that takes `span` pages. `bytes` is zeroed. */
export function encodeFreeList(bytes: Uint8Array, id: number, span: number, listed: PageSet): void {
  const many = listed.count >= COUNT_OVERFLOW;
  const count = many ? COUNT_OVERFLOW : listed.count;
  writePageHeader(bytes, { id, kind: PageKind.freeList, count, span });
  let at = PAGE_HEADER_BYTES;
  if (many) {
    writeUint32LE(bytes, at, listed.count);
    at += ID_BYTES;
  }
  invariant(at + listed.count * ID_BYTES + SEAL_BYTES <= bytes.length, "the free list fits into its pages");
  listed.writeInto(bytes, at);
}

/** Where the ids of a free list begin and how many there are, proven to lie within its bytes. */
function freeListIds(origin: PageOrigin, bytes: Uint8Array, count: number): { first: number; ids: number } {
  const room = (bytes.length - PAGE_HEADER_BYTES) / ID_BYTES;
  const many = count === COUNT_OVERFLOW;
  const ids = many ? readWide(bytes, PAGE_HEADER_BYTES) : count;
  const first = PAGE_HEADER_BYTES + (many ? ID_BYTES : 0);
  if (ids + (many ? 1 : 0) > room) {
    throw damage(origin, "BOLT_FREE_LIST", 10, `a free list of ${ids} ids in ${bytes.length} bytes`);
  }
  return { first, ids };
}

/** Proves and reads the bytes of a whole free list page: ids in `[2, highWater)`, each once. */
export function parseFreeList(origin: PageOrigin, bytes: Uint8Array, count: number, highWater: number): PageSet {
  const { first, ids } = freeListIds(origin, bytes, count);
  const set = new PageSet(highWater);
  for (let index = 0; index < ids; index++) {
    const at = first + index * ID_BYTES;
    const id = readWide(bytes, at);
    if (id < 2 || id >= highWater) {
      throw damage(origin, "BOLT_FREE_LIST", at, `free page ${id}, pages are [2, ${highWater})`);
    }
    if (!set.add(id)) throw damage(origin, "BOLT_FREE_LIST", at, `page ${id} is listed twice`);
  }
  return set;
}

/** The list of a file that keeps none: all pages that `used` does not have. */
export function freePagesBeside(path: string, used: PageSet, highWater: number): PageSet {
  const free = new PageSet(highWater);
  for (let id = 2; id < highWater; id++) if (!used.has(id)) free.add(id);
  if (free.count + used.count !== highWater - 2) {
    throw new BoltError("BOLT_FREE_LIST", { path }, "pages in use lie outside of the file");
  }
  return free;
}
