/**
 * A bucket: a tree of keys and values, some of which are buckets again.
 *
 * Reading walks over pages in place. In a write transaction the nodes on the way to a change are copied from their pages on the
 * first change (copy on write), and reads of the same transaction see them at once. Nodes are split as soon as they exceed a
 * page, so that no put shifts more than a page's elements; the commit brings the tree into its final shape (`tree.ts`).
 *
 * Keys that ascend, as etcd's revisions do, go to the last leaf without a search.
 */
import { compareBytes } from "../base/bytes.js";
import { invariant } from "../base/errors.js";
import type { PlaceHints } from "../base/place-hints.js";
import { latin1FromBytes } from "../base/text.js";
import { branchIndex, Cursor, type CursorTarget } from "./cursor.js";
import { BoltError, type BoltErrorCode } from "./errors.js";
import {
  BUCKET_FLAG,
  BUCKET_HEADER_BYTES,
  KEY_BYTES_MAX,
  PAGE_HEADER_BYTES,
  readBucketHeader,
  SEQUENCE_ZERO,
  sequenceFromNumber,
  sequenceToNumber,
  VALUE_BYTES_MAX,
  writeBucketHeader,
  type Sequence,
} from "./format.js";
import { encodeNode, Node } from "./node.js";
import { damage, parsePage, type PageOrigin, type PairVisitor, type TreePage } from "./page.js";
import type { PageStore } from "./page-store.js";
import { ownChild, rootAbove, settleRoot, type Settling } from "./tree.js";

/** bbolt's default for how full a split leaves a page; etcd sets 0.9 where keys only ascend. */
export const FILL_PERCENT_DEFAULT = 0.5;
const FILL_PERCENT_MIN = 0.1;
const FILL_PERCENT_MAX = 1;

/** What a bucket needs of its transaction. */
export interface BucketOwner {
  readonly pages: PageStore;
  readonly writable: boolean;
  /** @throws BoltError when the transaction has ended */
  assertOpen(): void;
  /** A copy of bytes given by the caller, kept as long as the transaction needs it. */
  keep(bytes: Uint8Array): Uint8Array;
  /** Room for so many bytes, kept alike. */
  take(size: number): Uint8Array;
  /** These pages are not in use after this transaction. */
  release(id: number, span: number): void;
}

/** What a bucket needs of the commit. */
export interface Placing {
  free(id: number, span: number): void;
  /** Finds room for the node, and writes it later. */
  place(node: Node): void;
}

/** Answer false to stop. */
export type Visit = (key: Uint8Array, value: Uint8Array) => boolean | void;

/** What becomes of a key: it stays, it is deleted, or the walk ends before it. */
export type Verdict = "keep" | "delete" | "stop";

export class Bucket implements CursorTarget {
  readonly #owner: BucketOwner;
  /** The root page in the file; 0 for one that has none: an inline or a new bucket. */
  #rootId: number;
  /** The root, once it was needed. */
  #root: TreePage | undefined;
  #sequence: Sequence;
  #headerChanged = false;
  #deleted = false;
  readonly #nested = new Map<string, Bucket>();
  #changes = 0;
  /** The rightmost leaf, while it is a node of this transaction. */
  #tail: Node | undefined;
  /** The leaf of the last `getNear`, the index in it, and the count of changes at which it was found. */
  #near: TreePage | undefined;
  #nearIndex = -1;
  #nearChanges = 0;
  /** The way to the leaf of the last `#descend`, and the indexes taken. */
  readonly #path: Node[] = [];
  readonly #pathIndexes: number[] = [];
  #fillPercent = FILL_PERCENT_DEFAULT;

  /** Use `ReadTransaction.bucket` or `WriteTransaction.createBucket`. */
  constructor(owner: BucketOwner, rootId: number, sequence: Sequence, root?: TreePage) {
    this.#owner = owner;
    this.#rootId = rootId;
    this.#sequence = sequence;
    this.#root = root;
  }

  get pages(): PageStore {
    return this.#owner.pages;
  }

  get changes(): number {
    return this.#changes;
  }

  /** How full a split leaves a page, 0.1 to 1. It is not stored: set it in each transaction. */
  get fillPercent(): number {
    return this.#fillPercent;
  }

  set fillPercent(value: number) {
    this.#fillPercent = Math.min(Math.max(value, FILL_PERCENT_MIN), FILL_PERCENT_MAX);
  }

  rootPage(): TreePage {
    this.#owner.assertOpen();
    if (this.#deleted) throw this.#refuse("BOLT_BUCKET_NOT_FOUND", "the bucket was deleted in this transaction");
    this.#root ??= this.pages.get(this.#rootId);
    return this.#root;
  }

  /**
   * The value of a key, or undefined: a nested bucket has no value. The answer is a view that must not be written; it stays
   * right for as long as it is held, whatever becomes of the transaction.
   */
  get(key: Uint8Array): Uint8Array | undefined {
    const leaf = this.#leafOf(key);
    const index = leaf.search(key);
    if (index < 0 || leaf.isBucketAt(index)) return undefined;
    return leaf.valueAt(index);
  }

  /**
   * The same, sooner for keys that are asked for in their order: the leaf of the last such look is searched first, at the place behind the
   * last one before all others. A key that is found there is the right one, for a leaf that the tree had at this count of changes it has
   * still.
   */
  getNear(key: Uint8Array): Uint8Array | undefined {
    this.#owner.assertOpen();
    let leaf = this.#near;
    let index = -1;
    if (leaf !== undefined && this.#nearChanges === this.#changes) {
      const next = this.#nearIndex + 1;
      index = leaf.hasKeyAt(next, key) ? next : leaf.search(key);
    }
    if (leaf === undefined || index < 0) {
      leaf = this.#leafOf(key);
      this.#near = leaf;
      this.#nearChanges = this.#changes;
      index = leaf.search(key);
    }
    this.#nearIndex = index;
    if (index < 0 || leaf.isBucketAt(index)) return undefined;
    return leaf.valueAt(index);
  }

  /**
   * The same for a key whose value never changes while it is there, and that the caller knows to be there: the place where it was found last
   * time is looked at first.
   *
   * @param number 0 or more, the same whenever the key is asked for; better another one for each key
   * @param hints of this bucket's keys, in this and all other transactions
   */
  getUnchanging(key: Uint8Array, number: number, hints: PlaceHints): Uint8Array | undefined {
    this.#owner.assertOpen();
    return this.pages.hinted(key, number, hints) ?? this.#getAndHint(key, number, hints);
  }

  #getAndHint(key: Uint8Array, number: number, hints: PlaceHints): Uint8Array | undefined {
    let page = this.rootPage();
    let id = this.#rootId;
    for (let depth = 0; !page.leaf; depth++) {
      this.pages.checkDepth(depth, page);
      const index = branchIndex(page.search(key));
      const child = page.childAt(index);
      id = typeof child === "number" ? child : 0;
      page = this.pages.childOf(page, index);
    }
    const index = page.search(key);
    if (index < 0 || page.isBucketAt(index)) return undefined;
    if (id !== 0) hints.note(number, id, page.serial, index);
    return page.valueAt(index);
  }

  has(key: Uint8Array): boolean {
    return this.#leafOf(key).search(key) >= 0;
  }

  #leafOf(key: Uint8Array): TreePage {
    let page = this.rootPage();
    for (let depth = 0; !page.leaf; depth++) {
      this.pages.checkDepth(depth, page);
      page = this.pages.childOf(page, branchIndex(page.search(key)));
    }
    return page;
  }

  cursor(): Cursor {
    return new Cursor(this);
  }

  /** The greatest key, of a nested bucket too; undefined when there is none. */
  lastKey(): Uint8Array | undefined {
    const cursor = this.cursor();
    return cursor.last() ? cursor.key : undefined;
  }

  /**
   * Visits the keys in `[from, to)` in order; an undefined bound is open. Nested buckets are passed over. Pages that are not in memory
   * are not kept there, either.
   */
  forEach(from: Uint8Array | undefined, to: Uint8Array | undefined, visit: Visit): void {
    const cursor = new Cursor(this, true);
    let more = from === undefined ? cursor.first() : cursor.seek(from);
    for (; more; more = cursor.next()) {
      if (to !== undefined && compareBytes(cursor.key, to) >= 0) return;
      const value = cursor.value;
      if (value !== undefined && visit(cursor.key, value) === false) return;
    }
  }

  /** The same from a key on, without a view of each key and value: for walks over millions that keep none of them. */
  forEachInPlace(from: Uint8Array, visit: PairVisitor): void {
    const cursor = new Cursor(this, true);
    if (cursor.seek(from)) while (cursor.visitPage(visit));
  }

  /** The names of the buckets in this one, in order. */
  *buckets(): Generator<Uint8Array> {
    const cursor = this.cursor();
    for (let more = cursor.first(); more; more = cursor.next()) if (cursor.isBucket) yield cursor.key;
  }

  /** The nested bucket with this name. */
  bucket(name: Uint8Array): Bucket | undefined {
    const known = this.#nested.get(latin1FromBytes(name));
    const leaf = this.#leafOf(name);
    if (known !== undefined) return known;
    const index = leaf.search(name);
    if (index < 0 || !leaf.isBucketAt(index)) return undefined;
    const nested = openNested(this.#owner, name, leaf.valueAt(index));
    this.#nested.set(latin1FromBytes(name), nested);
    return nested;
  }

  /** The number that `nextSequence` answered last. Over 2^53 it is not exact. */
  get sequence(): number {
    return sequenceToNumber(this.#sequence);
  }

  setSequence(value: number): void {
    this.#assertWritable();
    if (!Number.isSafeInteger(value) || value < 0) {
      throw this.#refuse("BOLT_OUT_OF_RANGE", `sequence ${value}, not in [0, 2^53)`);
    }
    this.#sequence = sequenceFromNumber(value);
    this.#headerChanged = true;
  }

  /** Counts up by one and answers the new number. */
  nextSequence(): number {
    this.setSequence(this.sequence + 1);
    return this.sequence;
  }

  /** Sets a key's value; both are copied. */
  put(key: Uint8Array, value: Uint8Array): void {
    this.#checkSizes(key, value.length);
    this.#putKept(key, this.#owner.keep(value));
  }

  /** Sets a key's value to so many bytes, which the caller writes before this turn ends: what is encoded anyway needs no copy. */
  reserve(key: Uint8Array, size: number): Uint8Array {
    this.#checkSizes(key, size);
    const value = this.#owner.take(size);
    this.#putKept(key, value);
    return value;
  }

  #checkSizes(key: Uint8Array, valueBytes: number): void {
    this.#assertWritable();
    if (key.length === 0) throw this.#refuse("BOLT_KEY_EMPTY", "a key needs a byte or more");
    if (key.length > KEY_BYTES_MAX) {
      throw this.#refuse("BOLT_KEY_TOO_LARGE", `a key of ${key.length} bytes, the limit is ${KEY_BYTES_MAX}`);
    }
    if (valueBytes > VALUE_BYTES_MAX) {
      throw this.#refuse("BOLT_VALUE_TOO_LARGE", `a value of ${valueBytes} bytes, the limit is ${VALUE_BYTES_MAX}`);
    }
  }

  #putKept(key: Uint8Array, value: Uint8Array): void {
    const tail = this.#tail;
    if (tail !== undefined && tail.keys.length > 0 && compareBytes(key, tail.keys[tail.keys.length - 1]!) > 0) {
      tail.append(this.#owner.keep(key), value);
      this.#changes++;
      if (tail.isTooLarge(this.pages.pageSize)) this.#splitUp(this.#descend(key));
      return;
    }
    this.#set(key, value, 0);
  }

  /** Deletes a key; false when it was not there. */
  delete(key: Uint8Array): boolean {
    this.#assertWritable();
    const leaf = this.#leafOf(key);
    const index = leaf.search(key);
    if (index < 0) return false;
    if (leaf.isBucketAt(index)) throw this.#refuse("BOLT_INCOMPATIBLE_VALUE", `${quote(key)} is a bucket`);
    this.#remove(key);
    return true;
  }

  /**
   * Walks over the keys in `[from, to)` in order, and deletes some of them; nested buckets are passed over. It goes leaf by leaf: what
   * is deleted from one costs one way down the tree. Pages that are not in memory are not kept there.
   *
   * @returns the key at which the callback stopped the walk; undefined when it came to the end
   */
  prune(
    from: Uint8Array,
    to: Uint8Array | undefined,
    judge: (key: Uint8Array, value: Uint8Array) => Verdict,
  ): Uint8Array | undefined {
    this.#assertWritable();
    const doomed: number[] = [];
    for (let low: Uint8Array | undefined = from; low !== undefined;) {
      let page = this.rootPage();
      let next: Uint8Array | undefined;
      for (let depth = 0; !page.leaf; depth++) {
        this.pages.checkDepth(depth, page);
        const index = branchIndex(page.search(low));
        if (index + 1 < page.count) next = page.keyAt(index + 1);
        page = this.pages.childOf(page, index, true);
      }
      const found = page.search(low);
      let stoppedAt: Uint8Array | undefined;
      doomed.length = 0;
      for (let index = found < 0 ? ~found : found; index < page.count; index++) {
        const key = page.keyAt(index);
        if (to !== undefined && compareBytes(key, to) >= 0) {
          next = undefined;
          break;
        }
        if (page.isBucketAt(index)) continue;
        const verdict = judge(key, page.valueAt(index));
        if (verdict === "stop") {
          stoppedAt = key;
          break;
        }
        if (verdict === "delete") doomed.push(index);
      }
      if (doomed.length > 0) {
        this.#path[this.#descend(low, true)]!.removeAll(doomed);
        this.#changes++;
      }
      if (stoppedAt !== undefined) return stoppedAt;
      low = next;
    }
    return undefined;
  }

  /** Makes a bucket in this one. */
  createBucket(name: Uint8Array): Bucket {
    this.#assertWritable();
    if (name.length === 0) throw this.#refuse("BOLT_KEY_EMPTY", "a bucket's name needs a byte or more");
    if (name.length > KEY_BYTES_MAX) {
      throw this.#refuse("BOLT_KEY_TOO_LARGE", `a name of ${name.length} bytes, the limit is ${KEY_BYTES_MAX}`);
    }
    const leaf = this.#leafOf(name);
    const index = leaf.search(name);
    if (index >= 0) {
      if (leaf.isBucketAt(index)) throw this.#refuse("BOLT_BUCKET_EXISTS", `bucket ${quote(name)} exists`);
      throw this.#refuse("BOLT_INCOMPATIBLE_VALUE", `${quote(name)} is a key with a value`);
    }
    const root = Node.emptyLeaf();
    this.#set(name, inlineValue(root, SEQUENCE_ZERO), BUCKET_FLAG);
    const nested = new Bucket(this.#owner, 0, SEQUENCE_ZERO, root);
    this.#nested.set(latin1FromBytes(name), nested);
    return nested;
  }

  createBucketIfNotExists(name: Uint8Array): Bucket {
    return this.bucket(name) ?? this.createBucket(name);
  }

  /** Deletes a bucket with all that is in it. */
  deleteBucket(name: Uint8Array): void {
    this.#assertWritable();
    const nested = this.bucket(name);
    if (nested === undefined) {
      if (this.has(name)) throw this.#refuse("BOLT_INCOMPATIBLE_VALUE", `${quote(name)} is a key with a value`);
      throw this.#refuse("BOLT_BUCKET_NOT_FOUND", `no bucket ${quote(name)}`);
    }
    const runs: { id: number; span: number }[] = [];
    nested.#collectPages(runs);
    for (const run of runs) this.#owner.release(run.id, run.span);
    nested.#delete();
    this.#nested.delete(latin1FromBytes(name));
    this.#remove(name);
  }

  /** All pages that the committed form of this tree takes, those of nested buckets included. */
  #collectPages(runs: { id: number; span: number }[]): void {
    const visit = (page: TreePage, id: number, depth: number): void => {
      this.pages.checkDepth(depth, page);
      if (page instanceof Node && page.id === 0) {
        if (page.originId !== 0) runs.push({ id: page.originId, span: page.originSpan });
      } else if (id !== 0) runs.push({ id, span: page.span });
      for (let index = 0; index < page.count; index++) {
        if (!page.leaf) {
          const child = page.childAt(index);
          visit(this.pages.childOf(page, index), typeof child === "number" ? child : 0, depth + 1);
        } else if (page.isBucketAt(index)) this.bucket(page.keyAt(index))!.#collectPages(runs);
      }
    };
    visit(this.rootPage(), this.#rootId, 0);
  }

  #delete(): void {
    this.#deleted = true;
    for (const nested of this.#nested.values()) nested.#delete();
  }

  #assertWritable(): void {
    this.#owner.assertOpen();
    if (!this.#owner.writable) throw this.#refuse("BOLT_READ_ONLY", "the transaction is for reading only");
    if (this.#deleted) throw this.#refuse("BOLT_BUCKET_NOT_FOUND", "the bucket was deleted in this transaction");
  }

  #refuse(code: BoltErrorCode, detail: string): BoltError {
    return new BoltError(code, { path: this.pages.path }, detail);
  }

  // The tree of a write transaction.

  #ownRoot(): Node {
    const root = this.rootPage();
    if (root instanceof Node && root.id === 0) return root;
    const node = Node.from(root, this.#rootId);
    this.#root = node;
    return node;
  }

  /**
   * Goes down to the leaf of a key, making each node on the way this transaction's own. Answers the leaf's depth.
   *
   * @param passing for a walk that will not come again: pages that are not in memory do not stay there
   */
  #descend(key: Uint8Array, passing = false): number {
    let node = this.#ownRoot();
    let rightmost = true;
    for (let depth = 0; ; depth++) {
      this.pages.checkDepth(depth, node);
      this.#path[depth] = node;
      const found = node.search(key);
      if (node.leaf) {
        this.#pathIndexes[depth] = found;
        if (rightmost) this.#tail = node;
        return depth;
      }
      const index = branchIndex(found);
      this.#pathIndexes[depth] = index;
      rightmost &&= index === node.count - 1;
      node = ownChild(this.pages, node, index, passing);
    }
  }

  #set(key: Uint8Array, value: Uint8Array, flags: number): void {
    const depth = this.#descend(key);
    const leaf = this.#path[depth]!;
    const found = this.#pathIndexes[depth]!;
    if (found < 0) leaf.insert(~found, this.#owner.keep(key), value, flags);
    else if (flags === 0 && leaf.isBucketAt(found)) {
      throw this.#refuse("BOLT_INCOMPATIBLE_VALUE", `${quote(key)} is a bucket`);
    } else leaf.replaceValue(found, value, flags);
    this.#changes++;
    if (leaf.isTooLarge(this.pages.pageSize)) this.#splitUp(depth);
  }

  #remove(key: Uint8Array): void {
    const depth = this.#descend(key);
    const index = this.#pathIndexes[depth]!;
    invariant(index >= 0, "the key was found before");
    this.#path[depth]!.remove(index);
    this.#changes++;
  }

  /** Splits the node at a depth of the path, then its parents as far as they become too large. */
  #splitUp(from: number): void {
    const { pageSize } = this.pages;
    const fill = this.#fillPercent;
    for (let depth = from; depth >= 0; depth--) {
      const node = this.#path[depth]!;
      const pieces = node.split(pageSize, fill);
      if (pieces.length === 0) return;
      if (this.#tail === node) this.#tail = pieces[pieces.length - 1]!;
      if (depth === 0) {
        let above = [node, ...pieces];
        while (above.length > 1) above = rootAbove(above, { pageSize, fill });
        this.#root = above[0]!;
        return;
      }
      const parent = this.#path[depth - 1]!;
      let at = this.#pathIndexes[depth - 1]!;
      for (const piece of pieces) parent.insertChild(++at, piece.keys[0]!, piece);
    }
  }

  // The commit.

  get #ownTree(): Node | undefined {
    return this.#root instanceof Node && this.#root.id === 0 ? this.#root : undefined;
  }

  /** True when the bucket must be written, itself or in its header. */
  get #dirty(): boolean {
    if (this.#deleted) return false;
    if (this.#ownTree !== undefined || this.#headerChanged) return true;
    for (const nested of this.#nested.values()) if (nested.#dirty) return true;
    return false;
  }

  /** Writes the root bucket's changes, nested ones first, and answers its header. */
  commit(placing: Placing): { readonly root: number; readonly sequence: Sequence } {
    this.#settle(placing);
    this.#placeRoot(placing);
    return { root: this.#rootId, sequence: this.#sequence };
  }

  #settle(placing: Placing): void {
    for (const [name, nested] of this.#nested) {
      if (!nested.#dirty) continue;
      const key = Uint8Array.from(name, (character) => character.charCodeAt(0));
      this.#set(key, nested.#commitNested(placing), BUCKET_FLAG);
    }
    const tree = this.#ownTree;
    if (tree === undefined) return;
    const { pages } = this;
    const context: Settling = {
      pageSize: pages.pageSize,
      fill: this.#fillPercent,
      free: (id, span) => placing.free(id, span),
      childOf: (parent, index) => pages.childOf(parent, index),
    };
    const root = settleRoot(tree, context);
    this.#root = typeof root === "number" ? undefined : root;
    this.#rootId = typeof root === "number" ? root : 0;
  }

  /** The value for this bucket's key: its header, with the page behind it when it is small. */
  #commitNested(placing: Placing): Uint8Array {
    this.#settle(placing);
    const tree = this.#ownTree;
    if (tree !== undefined && this.#isInlineable(tree)) {
      if (tree.originId !== 0) placing.free(tree.originId, tree.originSpan);
      return inlineValue(tree, this.#sequence);
    }
    if (tree === undefined && this.#rootId === 0) return this.#rewriteInline();
    this.#placeRoot(placing);
    const header = new Uint8Array(BUCKET_HEADER_BYTES);
    writeBucketHeader(header, this.#rootId, this.#sequence);
    return header;
  }

  #placeRoot(placing: Placing): void {
    const tree = this.#ownTree;
    if (tree === undefined) return;
    placeTree(tree, placing);
    this.#rootId = tree.id;
  }

  /** An inline bucket of which only the sequence changed. */
  #rewriteInline(): Uint8Array {
    return inlineValue(Node.from(this.rootPage(), 0), this.#sequence);
  }

  /** bbolt's rule: one leaf, no bucket in it, at most a quarter of a page. */
  #isInlineable(root: Node): boolean {
    return root.leaf && root.size <= this.pages.pageSize / 4 && !root.flags.includes(BUCKET_FLAG);
  }
}

/** Children first: a branch is written with their ids. */
function placeTree(node: Node, placing: Placing): void {
  for (let index = 0; index < node.children.length; index++) {
    const child = node.children[index]!;
    if (typeof child === "number") continue;
    placeTree(child, placing);
    node.children[index] = child.id;
  }
  if (node.originId !== 0) placing.free(node.originId, node.originSpan);
  placing.place(node);
}

function inlineValue(root: Node, sequence: Sequence): Uint8Array {
  const value = new Uint8Array(BUCKET_HEADER_BYTES + root.size);
  writeBucketHeader(value, 0, sequence);
  encodeNode(root, value.subarray(BUCKET_HEADER_BYTES));
  return value;
}

/** A bucket from the value of its key. */
function openNested(owner: BucketOwner, name: Uint8Array, value: Uint8Array): Bucket {
  const { root, sequence } = readBucketHeader(value);
  if (root !== 0) return new Bucket(owner, root, sequence);
  return new Bucket(owner, 0, sequence, parseInline(owner.pages, name, value));
}

/** Proves the page inside of a small bucket's value. */
export function parseInline(
  pages: { readonly path: string; readonly pageSize: number; readonly highWater: number },
  name: Uint8Array,
  value: Uint8Array,
): TreePage {
  const origin: PageOrigin = {
    path: pages.path,
    pageSize: pages.pageSize,
    id: 0,
    offset: 0,
    inlineIn: latin1FromBytes(name),
  };
  const bytes = value.subarray(BUCKET_HEADER_BYTES);
  if (bytes.length < PAGE_HEADER_BYTES) {
    throw damage(origin, "BOLT_PAGE_BOUNDS", 0, `a page of ${bytes.length} bytes`);
  }
  const page = parsePage(origin, bytes, pages.highWater);
  if (!page.leaf) throw damage(origin, "BOLT_PAGE_TYPE", 8, "a branch inside of a value");
  return page;
}

function quote(key: Uint8Array): string {
  return JSON.stringify(latin1FromBytes(key, 0, Math.min(key.length, 64)));
}
