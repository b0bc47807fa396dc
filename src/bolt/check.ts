/**
 * Proof of a whole file: every page is read from the disk, not from memory.
 *
 * Proven: each reachable page is well-formed (`page.ts`), its keys lie within the range that the branches above give, no page is
 * used twice, the free list is well-formed and has no page in use, and each page below the high water mark is in use or free.
 * The work is cut into slices, so that the loop stays free.
 */
import { compareBytes } from "../base/bytes.js";
import { SLICE_MS_MAX } from "../base/limits.js";
import { latin1FromBytes } from "../base/text.js";
import type { Clock } from "../platform/clock.js";
import type { DiskFile } from "../platform/disk.js";
import { parseInline } from "./bucket.js";
import { BoltError, type BoltErrorCode } from "./errors.js";
import { DEPTH_MAX, describeKind, PageKind, readBucketHeader, type Meta } from "./format.js";
import { PageSet, parseFreeList } from "./free-list.js";
import { checkSeal, damage, parseHeader, parsePage, type PageOrigin, type TreePage } from "./page.js";
import { readWhole } from "./page-store.js";

/** Something that is wrong with a file. `page` and `offset` are given where there is one place. */
export interface BoltProblem {
  readonly code: BoltErrorCode;
  /** One sentence that names the place. */
  readonly detail: string;
  readonly page: number | undefined;
  readonly offset: number | undefined;
}

/** Called now and then with the pages that were read and the most that there can be. */
export type OnProgress = (pages: number, pagesMax: number) => void;

/** What the walk saw of one bucket; nested ones count for themselves. */
export interface BucketFigures {
  /** The names from the top, as latin1. */
  readonly path: readonly string[];
  keys: number;
  nested: number;
  depth: number;
  inline: boolean;
  branchPages: number;
  leafPages: number;
  overflowPages: number;
  /** Bytes of the pages that hold elements. */
  usedBytes: number;
}

export interface CheckedFile {
  readonly problems: BoltProblem[];
  /** In order of their paths; the first one is the root bucket. */
  readonly buckets: readonly BucketFigures[];
  readonly freePages: number;
  readonly used: PageSet;
}

export interface CheckSource {
  readonly file: DiskFile;
  readonly path: string;
  readonly clock: Clock;
  readonly meta: Meta;
}

/** A file that is wrong in more places than this is not worth a longer list. */
const PROBLEMS_MAX = 1000;
const SLICE_MS = SLICE_MS_MAX / 2;
const PAGES_PER_LOOK = 16;

/** Walks over the whole file. Damage is reported, not thrown; a disk that fails throws `DiskError`. */
export function checkFile(source: CheckSource, onProgress?: OnProgress): Promise<CheckedFile> {
  return new Walk(source, onProgress).run();
}

class Walk {
  readonly #source: CheckSource;
  readonly #onProgress: OnProgress | undefined;
  readonly #problems: BoltProblem[] = [];
  readonly #buckets: BucketFigures[] = [];
  readonly #used: PageSet;
  #read = 0;
  #sliceBegan: number;

  constructor(source: CheckSource, onProgress: OnProgress | undefined) {
    this.#source = source;
    this.#onProgress = onProgress;
    this.#used = new PageSet(source.meta.highWater);
    this.#sliceBegan = source.clock.now();
  }

  async run(): Promise<CheckedFile> {
    const { meta } = this.#source;
    await this.#bucket([], meta.root);
    const free = await this.#freeList();
    if (free !== undefined) this.#account(free);
    const freePages = free?.count ?? meta.highWater - 2 - this.#used.count;
    return { problems: this.#problems, buckets: this.#buckets, freePages, used: this.#used };
  }

  async #bucket(path: readonly string[], root: number): Promise<void> {
    const figures = newFigures(path, false);
    this.#buckets.push(figures);
    await this.#tree(figures, root, undefined, undefined, 0);
  }

  /** The pages from `id` down, whose keys must lie in `[low, high)`. */
  async #tree(
    figures: BucketFigures,
    id: number,
    low: Uint8Array | undefined,
    high: Uint8Array | undefined,
    depth: number,
  ): Promise<void> {
    await this.#maybeYield();
    if (this.#problems.length >= PROBLEMS_MAX) return;
    const origin = this.#origin(id);
    const page = this.#attempt(() => {
      if (depth >= DEPTH_MAX) throw damage(origin, "BOLT_PAGE_ORDER", 0, `branches go deeper than ${DEPTH_MAX} levels`);
      const found = this.#page(origin);
      checkRange(origin, found, low, high);
      return found;
    });
    if (page === undefined) return;
    countPage(figures, page, depth, origin.pageSize);
    for (let index = 0; index < page.count; index++) {
      if (!page.leaf) {
        const above = index + 1 < page.count ? page.keyAt(index + 1) : high;
        await this.#tree(figures, page.childAt(index) as number, page.keyAt(index), above, depth + 1);
      } else if (page.isBucketAt(index)) {
        await this.#nested(figures, page.keyAt(index), page.valueAt(index));
      }
    }
  }

  async #nested(parent: BucketFigures, name: Uint8Array, value: Uint8Array): Promise<void> {
    parent.nested++;
    const path = [...parent.path, latin1FromBytes(name)];
    const { root } = readBucketHeader(value);
    if (root !== 0) {
      await this.#bucket(path, root);
      return;
    }
    const figures = newFigures(path, true);
    this.#buckets.push(figures);
    const { pageSize, highWater } = this.#source.meta;
    const page = this.#attempt(() => parseInline({ path: this.#source.path, pageSize, highWater }, name, value));
    if (page === undefined) return;
    figures.keys = page.count;
    for (let index = 0; index < page.count; index++) {
      if (page.isBucketAt(index)) await this.#nested(figures, page.keyAt(index), page.valueAt(index));
    }
  }

  /** Reads and proves one page, and takes its place. */
  #page(origin: PageOrigin): TreePage {
    const { highWater } = this.#source.meta;
    if (origin.id < 2 || origin.id >= highWater) {
      throw damage(origin, "BOLT_PAGE_BOUNDS", 0, `a pointer out of the file's pages [2, ${highWater})`);
    }
    if (this.#used.has(origin.id)) throw damage(origin, "BOLT_PAGE_SHARED", 0, "the page is in use twice");
    const page = parsePage(origin, readWhole(this.#source.file, origin, highWater), highWater);
    for (let i = 0; i < page.span; i++) {
      if (!this.#used.add(origin.id + i)) {
        throw damage({ ...origin, id: origin.id + i }, "BOLT_PAGE_SHARED", 0, "the page is in use twice");
      }
    }
    this.#read += page.span;
    return page;
  }

  /** The free list, whose own pages are in use, too; undefined where there is none to trust. */
  async #freeList(): Promise<PageSet | undefined> {
    const { meta, file } = this.#source;
    if (meta.freeList === undefined) return undefined;
    const origin = this.#origin(meta.freeList);
    await this.#maybeYield();
    return this.#attempt(() => {
      const { set, span } = readFreeList(file, origin, meta.highWater);
      for (let i = 0; i < span; i++) {
        if (!this.#used.add(origin.id + i)) {
          throw damage({ ...origin, id: origin.id + i }, "BOLT_PAGE_SHARED", 0, "the free list lies on a page in use");
        }
      }
      return set;
    });
  }

  /** Each page is in use or free, and not both. */
  #account(free: PageSet): void {
    for (let id = 2; id < this.#source.meta.highWater; id++) {
      if (this.#problems.length >= PROBLEMS_MAX) return;
      const used = this.#used.has(id);
      if (used !== free.has(id)) continue;
      const detail = used ? "the page is in use and in the free list" : "the page is neither in use nor free";
      this.#report(damage(this.#origin(id), used ? "BOLT_PAGE_SHARED" : "BOLT_PAGE_LOST", 0, detail));
    }
  }

  #attempt<Result>(run: () => Result): Result | undefined {
    try {
      return run();
    } catch (error) {
      if (!(error instanceof BoltError)) throw error;
      this.#report(error);
      return undefined;
    }
  }

  #report(error: BoltError): void {
    this.#problems.push({ code: error.code, detail: error.detail, page: error.page, offset: error.offset });
  }

  #origin(id: number): PageOrigin {
    const { path, meta } = this.#source;
    return { path, pageSize: meta.pageSize, id, offset: id * meta.pageSize };
  }

  async #maybeYield(): Promise<void> {
    if (this.#read % PAGES_PER_LOOK !== 0) return;
    const { clock } = this.#source;
    if (clock.now() - this.#sliceBegan < SLICE_MS) return;
    this.#onProgress?.(this.#read, this.#source.meta.highWater);
    await clock.yield();
    this.#sliceBegan = clock.now();
  }
}

function checkRange(
  origin: PageOrigin,
  page: TreePage,
  low: Uint8Array | undefined,
  high: Uint8Array | undefined,
): void {
  if (low === undefined) return; // a root
  if (page.count === 0) throw damage(origin, "BOLT_PAGE_ORDER", 10, "an empty page below a branch");
  if (compareBytes(page.keyAt(0), low) < 0) {
    throw damage(origin, "BOLT_PAGE_ORDER", 0, "its first key is below the key that the branch above has for it");
  }
  if (high !== undefined && compareBytes(page.keyAt(page.count - 1), high) >= 0) {
    throw damage(origin, "BOLT_PAGE_ORDER", 0, "its last key is not below the next key of the branches above");
  }
}

/** Reads and proves a free list. */
export function readFreeList(
  file: DiskFile,
  origin: PageOrigin,
  highWater: number,
): { readonly set: PageSet; readonly span: number } {
  const bytes = readWhole(file, origin, highWater);
  const { kind, count, span } = parseHeader(origin, bytes, highWater);
  if (kind !== PageKind.freeList) {
    throw damage(origin, "BOLT_PAGE_TYPE", 8, `a ${describeKind(kind)} page where the free list is due`);
  }
  checkSeal(origin, bytes);
  return { set: parseFreeList(origin, bytes, count, highWater), span };
}

function newFigures(path: readonly string[], inline: boolean): BucketFigures {
  return {
    path,
    keys: 0,
    nested: 0,
    depth: 0,
    inline,
    branchPages: 0,
    leafPages: 0,
    overflowPages: 0,
    usedBytes: 0,
  };
}

function countPage(figures: BucketFigures, page: TreePage, depth: number, pageSize: number): void {
  figures.depth = Math.max(figures.depth, depth + 1);
  figures.overflowPages += page.span - 1;
  figures.usedBytes += page.span * pageSize;
  if (page.leaf) {
    figures.leafPages++;
    figures.keys += page.count;
  } else figures.branchPages++;
}
