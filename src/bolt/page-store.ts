/**
 * Pages by id: from memory where possible, else from the file, at once.
 *
 * Laws: what the file does not have durably is pinned here and never evicted, so a miss can always be read from the file. An
 * id stands for one content as long as any state that can be read has it; when the free list lets go of an id, its page leaves
 * the cache, too. Memory is bounded by a budget of bytes: a clock passes over the pages and takes out those that were not read
 * since it last came by. Leaves that were written and not read since do not wait for the clock (`letGo`).
 *
 * A walk that passes over a tree once (restore, hash, compaction) asks for pages much in the order of the file. It reads a stretch of the
 * file in one call of the system and is served from there, and its pages do not stay: they would push out those that are
 * read again. The law of the stretch: it is dropped whenever a page is about to be written and whenever one has been, so that
 * it never stands for bytes that have changed since.
 */
import { DiskError, type DiskFile } from "../platform/disk.js";
import { invariant } from "../base/errors.js";
import { compareBytes, EMPTY_BYTES } from "../base/bytes.js";
import type { PlaceHints } from "../base/place-hints.js";
import { BoltError } from "./errors.js";
import { DEPTH_MAX } from "./format.js";
import { damage, parseHeader, parsePage, type Page, type PageOrigin, type TreePage } from "./page.js";

/** Places that the clock's hand passes at most for one page that comes in. */
const EVICTION_STEPS_MAX = 256;
/** Pages of a stretch that is read ahead. */
const AHEAD_PAGES = 64;
/** A walk that steps so far at most goes along the file: branches and free lists lie between the leaves. */
const AHEAD_STEP_MAX = 8;

export class PageStore {
  readonly path: string;
  readonly pageSize: number;
  readonly #file: DiskFile;
  readonly #budgetBytes: number;
  /** By id. An array, for ids are dense and this is the hottest look-up of all. */
  readonly #pages: (TreePage | undefined)[] = [];
  /** Where the clock's hand stands. */
  #hand = 0;
  #bytes = 0;
  #misses = 0;
  /** The stretch of pages `[first, end)` that was read ahead; both are 0 when there is none. */
  #aheadFirst = 0;
  #aheadEnd = 0;
  #aheadBytes: Uint8Array = EMPTY_BYTES;
  /** The page that was read last for a walk. */
  #passedLast = 0;
  /** Every page that may be asked for is below. Set by the database: the high water mark of its newest state. */
  highWater: number;
  /** Tells pages that nothing may use; a pointer to one is damage. */
  isFree: (id: number) => boolean = () => false;

  constructor(file: DiskFile, path: string, pageSize: number, highWater: number, budgetBytes: number) {
    this.#file = file;
    this.path = path;
    this.pageSize = pageSize;
    this.highWater = highWater;
    this.#budgetBytes = budgetBytes;
  }

  /** Bytes of the pages in memory. */
  get cachedBytes(): number {
    return this.#bytes;
  }

  /** Pages that had to be read from the file. */
  get misses(): number {
    return this.#misses;
  }

  /**
   * The branch or leaf page with this id.
   *
   * @throws BoltError for a page that is damaged, DiskError when it cannot be read
   */
  get(id: number): TreePage {
    const page = this.#pages[id];
    if (page === undefined) return this.#load(id);
    page.recent = true;
    return page;
  }

  /**
   * The child of a branch, proven to hold only keys that belong there, so that a damaged pointer cannot lead to another part of
   * the tree. The proof is remembered in the child.
   *
   * @param passing for a walk that will not come again soon
   */
  childOf(parent: TreePage, index: number, passing = false): TreePage {
    const child = parent.childAt(index);
    if (typeof child !== "number") return child;
    const page = passing ? this.#getPassing(child) : this.get(child);
    if (page.provenUnder !== parent.serial) {
      this.#proveRange(parent, index, page, child);
      page.provenUnder = parent.serial;
    }
    return page;
  }

  #proveRange(parent: TreePage, index: number, page: TreePage, id: number): void {
    const count = page.count;
    const wrong = (detail: string): BoltError =>
      damage(this.#origin(id), "BOLT_PAGE_ORDER", 0, `${detail} that the branch above gives it`);
    if (count === 0) throw wrong("an empty page is not within the range of keys");
    if (compareBytes(page.keyAt(0), parent.keyAt(index)) < 0) throw wrong("its first key is below the range of keys");
    if (index + 1 >= parent.count) return;
    if (compareBytes(page.keyAt(count - 1), parent.keyAt(index + 1)) >= 0) {
      throw wrong("its last key is above the range of keys");
    }
  }

  /** The value of a key where it was found last, if that page is still in memory and the key in its place. */
  hinted(key: Uint8Array, number: number, hints: PlaceHints): Uint8Array | undefined {
    const page = this.#pages[hints.pageOf(number)];
    if (page === undefined || !hints.isOf(number, page.serial)) return undefined;
    const index = hints.indexOf(number);
    if (!page.hasKeyAt(index, key)) return undefined;
    page.recent = true;
    return page.valueAt(index);
  }

  /** For walks down a tree. Deeper than any tree can be is a cycle. */
  checkDepth(depth: number, page: TreePage): void {
    if (depth < DEPTH_MAX) return;
    const place = { path: this.path };
    throw new BoltError("BOLT_PAGE_ORDER", place, `branches go deeper than ${DEPTH_MAX} levels (${page.count} keys)`);
  }

  /** Keeps a page that the file does not have yet. */
  pin(id: number, page: TreePage): void {
    this.#dropStretch();
    page.pinned = true;
    this.#put(id, page);
  }

  /** The file has the page durably now. */
  unpin(id: number): void {
    this.#dropStretch();
    const page = this.#pages[id];
    if (page !== undefined) page.pinned = false;
  }

  /** Puts an encoded page in the place of the node that it was encoded from. */
  replace(id: number, node: TreePage, page: Page): void {
    if (this.#pages[id] !== node) return;
    page.pinned = node.pinned;
    this.#put(id, page);
  }

  /** Drops a page that the file has durably, unless another one has its id by now. */
  letGo(id: number, page: TreePage): void {
    if (this.#pages[id] === page && !page.pinned) this.#drop(id, page);
  }

  /** Nobody will ask for this page again. */
  forget(id: number): void {
    const page = this.#pages[id];
    if (page === undefined) return;
    invariant(!page.pinned, () => `page ${id} is forgotten before it is durable`);
    this.#drop(id, page);
  }

  #put(id: number, page: TreePage): void {
    const pages = this.#pages;
    while (pages.length <= id) pages.push(undefined);
    const old = pages[id];
    if (old !== undefined) this.#bytes -= old.span * this.pageSize;
    pages[id] = page;
    this.#bytes += page.span * this.pageSize;
    if (this.#bytes > this.#budgetBytes) this.#evict(id);
  }

  /** Turns the clock's hand until the budget holds, but only so far: what is pinned may exceed it for a while. */
  #evict(spared: number): void {
    const pages = this.#pages;
    for (let steps = EVICTION_STEPS_MAX; steps > 0 && this.#bytes > this.#budgetBytes; steps--) {
      if (this.#hand >= pages.length) this.#hand = 0;
      const id = this.#hand++;
      const page = pages[id];
      if (page === undefined || page.pinned || id === spared) continue;
      if (page.recent) page.recent = false;
      else this.#drop(id, page);
    }
  }

  #drop(id: number, page: TreePage): void {
    this.#pages[id] = undefined;
    this.#bytes -= page.span * this.pageSize;
  }

  #origin(id: number): PageOrigin {
    return { path: this.path, pageSize: this.pageSize, id, offset: id * this.pageSize };
  }

  #load(id: number): TreePage {
    const origin = this.#mustBeInUse(id);
    this.#misses++;
    const page = parsePage(origin, readWhole(this.#file, origin, this.highWater), this.highWater);
    this.#put(id, page);
    return page;
  }

  /** A page for a walk that passes by once: from memory where it is there, else from the stretch, and then it does not stay. */
  #getPassing(id: number): TreePage {
    const page = this.#pages[id];
    if (page !== undefined) return page;
    const origin = this.#mustBeInUse(id);
    this.#misses++;
    const bytes = this.#fromStretch(origin) ?? readWhole(this.#file, origin, this.highWater);
    return parsePage(origin, bytes, this.highWater);
  }

  /** The bytes of a page; undefined where the walk does not go along the file, or the stretch cannot be read or ends within the page. */
  #fromStretch(origin: PageOrigin): Uint8Array | undefined {
    const { id } = origin;
    const step = id - this.#passedLast;
    this.#passedLast = id;
    if (id < this.#aheadFirst || id >= this.#aheadEnd) {
      if (step < 1 || step > AHEAD_STEP_MAX || !this.#readStretch(id)) return undefined;
    }
    const start = (id - this.#aheadFirst) * this.pageSize;
    const { span } = parseHeader(origin, this.#aheadBytes.subarray(start, start + this.pageSize), this.highWater);
    if (id + span > this.#aheadEnd) return undefined;
    return this.#aheadBytes.subarray(start, start + span * this.pageSize);
  }

  /** Answers whether page `first` was read. The bytes are new ones each time, since whoever walks may keep views of them. */
  #readStretch(first: number): boolean {
    this.#dropStretch();
    const bytes = new Uint8Array(Math.min(AHEAD_PAGES, this.highWater - first) * this.pageSize);
    let count: number;
    try {
      count = this.#file.readNow(bytes, first * this.pageSize);
    } catch (error) {
      // It may be a page that nobody asked for that cannot be read: the one asked for is read alone, and that failure is told.
      if (error instanceof DiskError) return false;
      throw error;
    }
    this.#aheadBytes = bytes;
    this.#aheadFirst = first;
    this.#aheadEnd = first + Math.floor(count / this.pageSize);
    return this.#aheadEnd > first;
  }

  #dropStretch(): void {
    if (this.#aheadEnd === 0) return;
    this.#aheadBytes = EMPTY_BYTES;
    this.#aheadFirst = 0;
    this.#aheadEnd = 0;
  }

  #mustBeInUse(id: number): PageOrigin {
    const origin = this.#origin(id);
    if (id < 2 || id >= this.highWater) {
      const detail = `a pointer to page ${id}, pages are [2, ${this.highWater})`;
      throw new BoltError("BOLT_PAGE_BOUNDS", { path: this.path, page: id }, detail);
    }
    if (this.isFree(id)) throw damage(origin, "BOLT_PAGE_SHARED", 0, "the page is in use and in the free list");
    return origin;
  }
}

/** Reads a page with its overflow pages, as many as its header says, which is checked first. */
export function readWhole(file: DiskFile, origin: PageOrigin, highWater: number): Uint8Array {
  const first = new Uint8Array(origin.pageSize);
  readExactly(file, origin, first, 0);
  const { span } = parseHeader(origin, first, highWater);
  if (span === 1) return first;
  const whole = new Uint8Array(span * origin.pageSize);
  whole.set(first);
  readExactly(file, origin, whole.subarray(origin.pageSize), origin.pageSize);
  return whole;
}

function readExactly(file: DiskFile, origin: PageOrigin, into: Uint8Array, at: number): void {
  const count = file.readNow(into, origin.offset + at);
  if (count === into.length) return;
  throw damage(origin, "BOLT_TRUNCATED", at, `${into.length} bytes are due, the file has ${count} of them`);
}
