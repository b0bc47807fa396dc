/**
 * A branch or leaf page as its bytes, read in place.
 *
 * Laws: every page is proven well-formed once, by `parsePage`, before anything reads it: its kind, its id, its span, each
 * element inside the page, the elements' bytes one after the other without a gap (as every writer of the format lays them), keys
 * not empty and strictly ascending. After that, no accessor can reach outside of the page.
 *
 * Keys and values are handed out as views of the page's bytes. The bytes never change, so a view stays right for as long as
 * somebody holds it; it keeps the whole page in memory.
 */
import { isAllZero, readUint32LE } from "../base/bytes.js";
import { BoltError, type BoltErrorCode } from "./errors.js";
import {
  BUCKET_FLAG,
  BUCKET_HEADER_BYTES,
  describeKind,
  ELEMENT_BYTES,
  KEY_BYTES_MAX,
  PAGE_HEADER_BYTES,
  PageKind,
  readSeal,
  readUint16LE,
  readWide,
  SEAL_BYTES,
} from "./format.js";

/** What cursors and lookups walk over: a page as bytes, or a node of a write transaction. */
export interface TreePage {
  readonly leaf: boolean;
  readonly count: number;
  /** The pages that it takes in the file, its overflow pages included; 0 for one that has no place in it yet. */
  readonly span: number;
  /** Marks this very object: a child that was proven to fit under it remembers the number. */
  readonly serial: number;
  /** The serial of the parent under which the range of keys was proven. */
  provenUnder: number;
  /** Set when read, cleared by the cache's clock. */
  recent: boolean;
  /** True while the file does not have these bytes durably: the cache keeps it. */
  pinned: boolean;
  /** The index of the key, or the bitwise complement of the index where it would be. */
  search(key: Uint8Array): number;
  /** Whether there is this key at an index; false where the index is none. */
  hasKeyAt(index: number, key: Uint8Array): boolean;
  /** The key at an index, as a view that must not be written. */
  keyAt(index: number): Uint8Array;
  /** The value at an index of a leaf. */
  valueAt(index: number): Uint8Array;
  /** True where the value at an index of a leaf is a bucket's header. */
  isBucketAt(index: number): boolean;
  /** The child at an index of a branch: a page id, or a node that has none yet. */
  childAt(index: number): number | TreePage;
}

/** Told of a key `keyBytes[keyStart, keyEnd)` and its value, where they lie. The bytes must not be written. */
export type PairVisitor = (
  keyBytes: Uint8Array,
  keyStart: number,
  keyEnd: number,
  valueBytes: Uint8Array,
  valueStart: number,
  valueEnd: number,
) => boolean | void;

let serials = 0;

/** The next number for `TreePage.serial`. */
export function nextSerial(): number {
  return ++serials;
}

/** Where a page comes from, for errors. `offset` is where its bytes begin in the file. */
export interface PageOrigin {
  readonly path: string;
  readonly pageSize: number;
  readonly id: number;
  readonly offset: number;
  /** For the page inside of a small bucket's value, which has no place of its own: the bucket's name. */
  readonly inlineIn?: string;
}

export class Page implements TreePage {
  readonly leaf: boolean;
  readonly count: number;
  readonly id: number;
  readonly span: number;
  readonly serial = nextSerial();
  provenUnder = 0;
  recent = true;
  pinned = false;
  readonly bytes: Uint8Array;

  /** Only for bytes that are proven, or that we just encoded. */
  constructor(bytes: Uint8Array, id: number, span: number) {
    this.bytes = bytes;
    this.id = id;
    this.span = span;
    this.leaf = readUint16LE(bytes, 8) === PageKind.leaf;
    this.count = readUint16LE(bytes, 10);
  }

  search(key: Uint8Array): number {
    const bytes = this.bytes;
    const positionAt = this.leaf ? 4 : 0;
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const element = PAGE_HEADER_BYTES + middle * ELEMENT_BYTES;
      const start = element + readUint32LE(bytes, element + positionAt);
      const order = compareAt(bytes, start, readUint32LE(bytes, element + positionAt + 4), key);
      if (order < 0) low = middle + 1;
      else if (order > 0) high = middle;
      else return middle;
    }
    return ~low;
  }

  hasKeyAt(index: number, key: Uint8Array): boolean {
    if (index < 0 || index >= this.count) return false;
    const bytes = this.bytes;
    const element = PAGE_HEADER_BYTES + index * ELEMENT_BYTES;
    const at = this.leaf ? element + 4 : element;
    return compareAt(bytes, element + readUint32LE(bytes, at), readUint32LE(bytes, at + 4), key) === 0;
  }

  keyAt(index: number): Uint8Array {
    const element = PAGE_HEADER_BYTES + index * ELEMENT_BYTES;
    const at = this.leaf ? element + 4 : element;
    const start = element + readUint32LE(this.bytes, at);
    return this.bytes.subarray(start, start + readUint32LE(this.bytes, at + 4));
  }

  valueAt(index: number): Uint8Array {
    const element = PAGE_HEADER_BYTES + index * ELEMENT_BYTES;
    const start = element + readUint32LE(this.bytes, element + 4) + readUint32LE(this.bytes, element + 8);
    return this.bytes.subarray(start, start + readUint32LE(this.bytes, element + 12));
  }

  /**
   * Calls for each element of a leaf from an index on that is no bucket, until the callback answers false; answers the index of the
   * element at which it did, and `count` when it never did.
   */
  visitFrom(index: number, visit: PairVisitor): number {
    const bytes = this.bytes;
    for (let at = index; at < this.count; at++) {
      const element = PAGE_HEADER_BYTES + at * ELEMENT_BYTES;
      if (readUint32LE(bytes, element) === BUCKET_FLAG) continue;
      const key = element + readUint32LE(bytes, element + 4);
      const value = key + readUint32LE(bytes, element + 8);
      if (visit(bytes, key, value, bytes, value, value + readUint32LE(bytes, element + 12)) === false) return at;
    }
    return this.count;
  }

  isBucketAt(index: number): boolean {
    return readUint32LE(this.bytes, PAGE_HEADER_BYTES + index * ELEMENT_BYTES) === BUCKET_FLAG;
  }

  childAt(index: number): number {
    return readWide(this.bytes, PAGE_HEADER_BYTES + index * ELEMENT_BYTES + 8);
  }
}

/** Order of the bytes `[start, start + size)` and a key. */
function compareAt(bytes: Uint8Array, start: number, size: number, key: Uint8Array): number {
  const shared = size < key.length ? size : key.length;
  for (let i = 0; i < shared; i++) {
    const difference = bytes[start + i]! - key[i]!;
    if (difference !== 0) return difference;
  }
  return size - key.length;
}

/** The place of a byte of a page, for errors. */
export function damage(origin: PageOrigin, code: BoltErrorCode, at: number, detail: string): BoltError {
  if (origin.inlineIn !== undefined) {
    return new BoltError(
      code,
      { path: origin.path },
      `inline page of bucket "${origin.inlineIn}", byte ${at}: ${detail}`,
    );
  }
  return new BoltError(code, { path: origin.path, page: origin.id, offset: origin.offset + at }, detail);
}

/** What a page's header says, checked against where it was found and how many pages the file has. */
export function parseHeader(
  origin: PageOrigin,
  bytes: Uint8Array,
  highWater: number,
): { readonly kind: number; readonly count: number; readonly span: number } {
  const id = readWide(bytes, 0);
  if (id !== origin.id) throw damage(origin, "BOLT_PAGE_ID", 0, `the page says that it is page ${id}`);
  const kind = readUint16LE(bytes, 8);
  const span = readUint32LE(bytes, 12) + 1;
  if (origin.id + span > Math.max(highWater, origin.id + 1)) {
    const detail = `it takes ${span} pages, the file has [0, ${highWater})`;
    throw damage(origin, "BOLT_PAGE_BOUNDS", 12, detail);
  }
  return { kind, count: readUint16LE(bytes, 10), span };
}

/**
 * Proves a page's seal, if it has one.
 *
 * @throws BoltError `BOLT_CHECKSUM`
 */
export function checkSeal(origin: PageOrigin, bytes: Uint8Array): boolean {
  const seal = readSeal(bytes, origin.id);
  if (seal === "broken") throw damage(origin, "BOLT_CHECKSUM", 0, "the page's bytes are not those that were written");
  return seal === "whole";
}

/** Proves the bytes of a whole branch or leaf page, overflow pages included. Children must lie in `[2, highWater)`. */
export function parsePage(origin: PageOrigin, bytes: Uint8Array, highWater: number): Page {
  const { kind, count, span } = parseHeader(origin, bytes, highWater);
  if (kind !== PageKind.branch && kind !== PageKind.leaf) {
    throw damage(origin, "BOLT_PAGE_TYPE", 8, `a ${describeKind(kind)} page where a branch or leaf is due`);
  }
  const sealed = origin.inlineIn === undefined && checkSeal(origin, bytes);
  if (kind === PageKind.branch && count === 0) {
    throw damage(origin, "BOLT_PAGE_BOUNDS", 10, "a branch without children");
  }
  const end = parseElements(origin, bytes, kind === PageKind.leaf, count);
  if (count === 0 && !isAllZero(bytes, end, sealed ? bytes.length - SEAL_BYTES : bytes.length)) {
    throw damage(origin, "BOLT_PAGE_BOUNDS", 10, "a page without elements that is not empty behind its header");
  }
  checkSpan(origin, span, end, bytes);
  const page = new Page(bytes, origin.id, span);
  checkOrder(origin, page);
  if (!page.leaf) checkChildren(origin, page, highWater);
  return page;
}

/** Walks over the elements and answers where the last one's bytes end. */
function parseElements(origin: PageOrigin, bytes: Uint8Array, leaf: boolean, count: number): number {
  let next = PAGE_HEADER_BYTES + count * ELEMENT_BYTES;
  if (next > bytes.length) {
    throw damage(origin, "BOLT_PAGE_BOUNDS", 10, `${count} elements do not fit into ${bytes.length} bytes`);
  }
  for (let index = 0; index < count; index++) {
    const element = PAGE_HEADER_BYTES + index * ELEMENT_BYTES;
    const at = leaf ? element + 4 : element;
    const start = element + readUint32LE(bytes, at);
    if (start !== next) {
      const detail = `element ${index} of ${count} has its bytes at ${start} of the page, they are due at ${next}`;
      throw damage(origin, "BOLT_PAGE_BOUNDS", at, detail);
    }
    const keySize = readUint32LE(bytes, at + 4);
    if (keySize === 0 || keySize > KEY_BYTES_MAX) {
      const detail = `element ${index} of ${count} has a key of ${keySize} bytes, not [1, ${KEY_BYTES_MAX}]`;
      throw damage(origin, "BOLT_PAGE_BOUNDS", at + 4, detail);
    }
    const valueSize = leaf ? readUint32LE(bytes, at + 8) : 0;
    next += keySize + valueSize;
    if (next > bytes.length) {
      const detail = `element ${index} of ${count} ends at byte ${next} of a page of ${bytes.length}`;
      throw damage(origin, "BOLT_PAGE_BOUNDS", at + 4, detail);
    }
    if (leaf) checkLeafFlags(origin, bytes, element, valueSize);
  }
  return next;
}

function checkLeafFlags(origin: PageOrigin, bytes: Uint8Array, element: number, valueSize: number): void {
  const flags = readUint32LE(bytes, element);
  if (flags !== 0 && flags !== BUCKET_FLAG) {
    throw damage(origin, "BOLT_PAGE_TYPE", element, `leaf element with flags 0x${flags.toString(16)}`);
  }
  if (flags === BUCKET_FLAG && valueSize < BUCKET_HEADER_BYTES) {
    throw damage(origin, "BOLT_PAGE_BOUNDS", element + 12, `a bucket's header of ${valueSize} bytes`);
  }
}

/**
 * A page takes as many pages as its bytes need (and its seal); early writers of the format took one more where they filled them
 * exactly. Were a wrong span believed, the pages behind would be freed with this one.
 */
function checkSpan(origin: PageOrigin, span: number, end: number, bytes: Uint8Array): void {
  if (origin.inlineIn !== undefined && span === 1 && end === bytes.length) return;
  if (span === Math.ceil(end / origin.pageSize) || span === Math.floor(end / origin.pageSize) + 1) return;
  if (span === Math.ceil((end + SEAL_BYTES) / origin.pageSize)) return;
  throw damage(origin, "BOLT_PAGE_BOUNDS", 12, `it takes ${span} pages for ${end} bytes`);
}

function checkOrder(origin: PageOrigin, page: Page): void {
  for (let index = 1; index < page.count; index++) {
    const element = PAGE_HEADER_BYTES + index * ELEMENT_BYTES;
    const at = page.leaf ? element + 4 : element;
    const start = element + readUint32LE(page.bytes, at);
    const size = readUint32LE(page.bytes, at + 4);
    const before = at - ELEMENT_BYTES;
    const startBefore = element - ELEMENT_BYTES + readUint32LE(page.bytes, before);
    if (ascends(page.bytes, startBefore, readUint32LE(page.bytes, before + 4), start, size)) continue;
    const detail = `key ${index} of ${page.count} is not greater than the one before it`;
    throw damage(origin, "BOLT_PAGE_ORDER", start, detail);
  }
}

function ascends(bytes: Uint8Array, a: number, aSize: number, b: number, bSize: number): boolean {
  const shared = aSize < bSize ? aSize : bSize;
  for (let i = 0; i < shared; i++) {
    const difference = bytes[a + i]! - bytes[b + i]!;
    if (difference !== 0) return difference < 0;
  }
  return aSize < bSize;
}

function checkChildren(origin: PageOrigin, page: Page, highWater: number): void {
  const seen = new Set<number>();
  for (let index = 0; index < page.count; index++) {
    const child = page.childAt(index);
    const at = PAGE_HEADER_BYTES + index * ELEMENT_BYTES + 8;
    if (child < 2 || child >= highWater) {
      throw damage(origin, "BOLT_PAGE_BOUNDS", at, `child ${index} is page ${child}, pages are [2, ${highWater})`);
    }
    if (child === origin.id) throw damage(origin, "BOLT_PAGE_SHARED", at, `child ${index} is the page itself`);
    if (seen.has(child)) throw damage(origin, "BOLT_PAGE_SHARED", at, `page ${child} is its child twice`);
    seen.add(child);
  }
}
