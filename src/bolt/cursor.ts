/**
 * A position among the keys of a bucket.
 *
 * The cursor may be moved after the bucket was changed, by its own `delete` or otherwise: it finds its place again by the key
 * that it stood on. `next` then goes to the first key greater than that one.
 */
import { compareBytes } from "../base/bytes.js";
import { invariant } from "../base/errors.js";
import { BoltError } from "./errors.js";
import { Page, type PairVisitor, type TreePage } from "./page.js";
import type { PageStore } from "./page-store.js";

/** What a cursor needs of its bucket. */
export interface CursorTarget {
  readonly pages: PageStore;
  /** Counts the changes of the bucket's tree. */
  readonly changes: number;
  /** @throws BoltError when the transaction has ended */
  rootPage(): TreePage;
  delete(key: Uint8Array): boolean;
}

/** No count of changes: the cursor has to look for its key. */
const NEVER = -1;

export class Cursor {
  readonly #bucket: CursorTarget;
  readonly #passing: boolean;
  #stack: TreePage[] = [];
  #indexes: number[] = [];
  #depth = -1;
  #changes = 0;
  #key: Uint8Array | undefined;

  /** @param passing for one walk over many pages, which need not stay in memory behind it */
  constructor(bucket: CursorTarget, passing = false) {
    this.#bucket = bucket;
    this.#passing = passing;
  }

  /** True while the cursor stands on a key. */
  get valid(): boolean {
    return this.#key !== undefined;
  }

  /** The key, as a view that must not be written. Only while `valid`. */
  get key(): Uint8Array {
    invariant(this.#key !== undefined, "the cursor stands on a key");
    return this.#key;
  }

  /** True where the key is a nested bucket's name. */
  get isBucket(): boolean {
    this.#stay();
    return this.#leaf.isBucketAt(this.#indexes[this.#depth]!);
  }

  /** The value, as a view that must not be written; undefined for a nested bucket. Only while `valid`. */
  get value(): Uint8Array | undefined {
    this.#stay();
    const index = this.#indexes[this.#depth]!;
    return this.#leaf.isBucketAt(index) ? undefined : this.#leaf.valueAt(index);
  }

  /** Moves to the first key; false when the bucket is empty. */
  first(): boolean {
    this.#begin();
    this.#goDown(this.#bucket.rootPage(), "first");
    if (this.#leaf.count === 0) return this.#skip(1);
    return this.#arrive();
  }

  /** Moves to the last key; false when the bucket is empty. */
  last(): boolean {
    this.#begin();
    this.#goDown(this.#bucket.rootPage(), "last");
    if (this.#leaf.count === 0) return this.#skip(-1);
    return this.#arrive();
  }

  /** Moves to the first key that is greater than or equal to `key`; false when there is none. */
  seek(key: Uint8Array): boolean {
    this.#begin();
    let page = this.#bucket.rootPage();
    for (;;) {
      this.#depth++;
      this.#bucket.pages.checkDepth(this.#depth, page);
      const found = page.search(key);
      this.#stack[this.#depth] = page;
      if (page.leaf) {
        this.#indexes[this.#depth] = found < 0 ? ~found : found;
        break;
      }
      const index = branchIndex(found);
      this.#indexes[this.#depth] = index;
      page = this.#bucket.pages.childOf(page, index, this.#passing);
    }
    if (this.#indexes[this.#depth]! < this.#leaf.count) return this.#arrive();
    return this.#skip(1);
  }

  /** Moves to the next key; false at the end, and the cursor is not valid any more. */
  next(): boolean {
    const key = this.#key;
    if (key === undefined) return false;
    if (this.#changes !== this.#bucket.changes) {
      if (!this.seek(key)) return false;
      if (compareBytes(this.key, key) > 0) return true;
    }
    const index = this.#indexes[this.#depth]! + 1;
    this.#indexes[this.#depth] = index;
    if (index < this.#leaf.count) return this.#arrive();
    return this.#skip(1) && this.#ascended(key, 1);
  }

  /**
   * Visits the rest of the page in place, from the key under the cursor on, and moves to the first key of the next page.
   *
   * @returns false when the callback did, or at the end
   */
  visitPage(visit: PairVisitor): boolean {
    this.#stay();
    const leaf = this.#leaf;
    if (!(leaf instanceof Page)) {
      const value = this.value;
      const { key } = this;
      if (value !== undefined && visit(key, 0, key.length, value, 0, value.length) === false) return false;
      return this.next();
    }
    if (leaf.visitFrom(this.#indexes[this.#depth]!, visit) < leaf.count) return false;
    this.#indexes[this.#depth] = leaf.count - 1;
    this.#arrive();
    return this.next();
  }

  /** Moves to the key before; false at the beginning, and the cursor is not valid any more. */
  prev(): boolean {
    const key = this.#key;
    if (key === undefined) return false;
    if (this.#changes !== this.#bucket.changes && !this.seek(key)) return this.last();
    const index = this.#indexes[this.#depth]! - 1;
    this.#indexes[this.#depth] = index;
    if (index >= 0) return this.#arrive();
    return this.#skip(-1) && this.#ascended(key, -1);
  }

  /** Deletes the key under the cursor. `next` and `prev` then move from where it was. */
  delete(): void {
    const deleted = this.#bucket.delete(this.key);
    invariant(deleted, "the key under the cursor exists");
  }

  get #leaf(): TreePage {
    return this.#stack[this.#depth]!;
  }

  #begin(): void {
    this.#depth = -1;
    this.#key = undefined;
    this.#changes = this.#bucket.changes;
  }

  /** Before a value is read: back to the key, if the tree has changed. */
  #stay(): void {
    const key = this.key;
    if (this.#changes === this.#bucket.changes) {
      this.#bucket.rootPage(); // throws when the transaction has ended
      return;
    }
    const found = this.seek(key) && compareBytes(this.key, key) === 0;
    if (found) return;
    this.#key = key; // where `next` and `prev` go on from
    this.#changes = NEVER;
    throw new BoltError("BOLT_OUT_OF_RANGE", this.#bucket.pages, "the key under the cursor was deleted");
  }

  #arrive(): boolean {
    this.#key = this.#leaf.keyAt(this.#indexes[this.#depth]!);
    return true;
  }

  #goDown(from: TreePage, side: "first" | "last"): void {
    let page = from;
    for (;;) {
      this.#depth++;
      this.#bucket.pages.checkDepth(this.#depth, page);
      const index = side === "first" ? 0 : page.count - 1;
      this.#stack[this.#depth] = page;
      this.#indexes[this.#depth] = index;
      if (page.leaf) return;
      page = this.#bucket.pages.childOf(page, index, this.#passing);
    }
  }

  /** From a leaf that is used up to the nearest leaf with a key on that side. Leaves may be empty within a transaction. */
  #skip(step: 1 | -1): boolean {
    for (;;) {
      this.#depth--;
      while (this.#depth >= 0) {
        const index = this.#indexes[this.#depth]! + step;
        if (index >= 0 && index < this.#stack[this.#depth]!.count) break;
        this.#depth--;
      }
      if (this.#depth < 0) {
        this.#key = undefined;
        return false;
      }
      const index = this.#indexes[this.#depth]! + step;
      this.#indexes[this.#depth] = index;
      const child = this.#bucket.pages.childOf(this.#stack[this.#depth]!, index, this.#passing);
      this.#goDown(child, step === 1 ? "first" : "last");
      if (this.#leaf.count > 0) return this.#arrive();
    }
  }

  /** A walk that does not move on in the order of keys would go round in a damaged tree. */
  #ascended(before: Uint8Array, step: 1 | -1): boolean {
    if (compareBytes(this.key, before) * step > 0) return true;
    throw new BoltError("BOLT_PAGE_ORDER", this.#bucket.pages, "a leaf's keys are not beyond those of the leaf before");
  }
}

/** Which child of a branch has a key, from what `search` answered. */
export function branchIndex(found: number): number {
  if (found >= 0) return found;
  const index = ~found - 1;
  return index < 0 ? 0 : index;
}
