/**
 * bbolt's file format, version 2: constants, page header, meta page and bucket header. All integers are little endian.
 * `docs/formats/bolt.md` has the byte tables and a worked example.
 *
 * Page ids, transaction ids and sequences are 64 bits wide on disk. `readWide` turns them into a `number`, which is exact up to
 * 2^53; larger ones stay larger, so that every comparison with a bound refuses them.
 */
import { readUint32LE, writeUint32LE } from "../base/bytes.js";
import { crc32c } from "../base/crc32c.js";
import { invariant } from "../base/errors.js";
import type { BoltErrorCode } from "./errors.js";

export const MAGIC = 0xed0c_daed;
export const VERSION = 2;

/** Bytes before a page's contents: id (8), kind (2), count (2), overflow (4). */
export const PAGE_HEADER_BYTES = 16;
/** Bytes of one element of a branch page (position, key size, child) and of a leaf page (flags, position, key and value size). */
export const ELEMENT_BYTES = 16;
/** Bytes of a bucket's header, the value of its key: root page (8), sequence (8). */
export const BUCKET_HEADER_BYTES = 16;
/** Bytes of the meta that the checksum covers, and where the meta begins in its page. */
const META_CHECKED_BYTES = 56;
const META_AT = PAGE_HEADER_BYTES;
/** A meta page's bytes that carry meaning. */
export const META_END = META_AT + META_CHECKED_BYTES + 8;

/**
 * The seal: the last 8 bytes of each page that Walnut writes (overflow pages included), behind everything that the format
 * defines. A mark that depends on the page's id, then the CRC-32C of all bytes before. bbolt neither reads these bytes nor keeps
 * them: a page that it rewrites has no seal any more, and is read without that proof.
 */
export const SEAL_BYTES = 8;
const SEAL_MARK = 0x5741_4c4e;
/** An odd multiplier, so that every id has a mark of its own (the golden ratio's). */
const SEAL_SPREAD = 0x9e37_79b1;

/** Kinds of pages, as the header's flags have them. A page has exactly one. */
export const PageKind = { branch: 0x01, leaf: 0x02, meta: 0x04, freeList: 0x10 } as const;

/** Flag of a leaf element whose value is a bucket's header (and inline page). */
export const BUCKET_FLAG = 0x01;

/** The limits that bbolt enforces on a put. */
export const KEY_BYTES_MAX = 32_768;
export const VALUE_BYTES_MAX = 2 ** 31 - 2;

/** Page sizes are the operating system's: 4 KiB, on some machines 16 or 64. Tests of the format go below. */
export const PAGE_BYTES_DEFAULT = 4096;
export const PAGE_BYTES_MIN = 1024;
export const PAGE_BYTES_MAX = 65_536;

/** Pages of a new file: two metas, an empty free list, an empty root leaf. */
export const INITIAL_PAGES = 4;

/** A count of 0xFFFF in a free list's header means: the real count is the first of the ids. */
export const COUNT_OVERFLOW = 0xffff;

/** Deeper trees are cycles: with two children a branch, 2^32 pages are 16 TiB. */
export const DEPTH_MAX = 32;

invariant(META_END <= PAGE_BYTES_MIN, "a meta fits into the smallest page");
invariant(
  (PAGE_BYTES_MAX * 2) / (ELEMENT_BYTES + 1) < COUNT_OVERFLOW,
  "a page's count of elements cannot overflow, even before it is split",
);

const TWO_32 = 0x1_0000_0000;

export function readUint16LE(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8);
}

export function writeUint16LE(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
}

/** A 64-bit integer; inexact over 2^53, but never smaller than 2^53 then. */
export function readWide(bytes: Uint8Array, at: number): number {
  return readUint32LE(bytes, at + 4) * TWO_32 + readUint32LE(bytes, at);
}

export function writeWide(bytes: Uint8Array, at: number, value: number): void {
  writeUint32LE(bytes, at, value >>> 0);
  writeUint32LE(bytes, at + 4, Math.floor(value / TWO_32));
}

/** Writes the header of a page that takes `span` pages. */
export function writePageHeader(
  bytes: Uint8Array,
  header: { readonly id: number; readonly kind: number; readonly count: number; readonly span: number },
): void {
  writeWide(bytes, 0, header.id);
  writeUint16LE(bytes, 8, header.kind);
  writeUint16LE(bytes, 10, header.count);
  writeUint32LE(bytes, 12, header.span - 1);
}

function sealMark(id: number): number {
  return (SEAL_MARK ^ Math.imul(id, SEAL_SPREAD)) >>> 0;
}

/** Seals a page whose last `SEAL_BYTES` bytes are unused. */
export function sealPage(bytes: Uint8Array, id: number): void {
  const at = bytes.length - SEAL_BYTES;
  writeUint32LE(bytes, at, sealMark(id));
  writeUint32LE(bytes, at + 4, crc32c(0, bytes.subarray(0, at + 4)));
}

/** Whether a page has a seal, and whether its bytes are those that were sealed. */
export function readSeal(bytes: Uint8Array, id: number): "none" | "whole" | "broken" {
  const at = bytes.length - SEAL_BYTES;
  if (readUint32LE(bytes, at) !== sealMark(id)) return "none";
  return readUint32LE(bytes, at + 4) === crc32c(0, bytes.subarray(0, at + 4)) ? "whole" : "broken";
}

/** The kind of a page for people. */
export function describeKind(kind: number): string {
  for (const [name, value] of Object.entries(PageKind)) if (value === kind) return name;
  return `unknown kind 0x${kind.toString(16).padStart(2, "0")}`;
}

/** A bucket's sequence as it lies on disk: halves, so that one over 2^53 survives a rewrite. */
export interface Sequence {
  readonly low: number;
  readonly high: number;
}

export const SEQUENCE_ZERO: Sequence = { low: 0, high: 0 };

export function sequenceToNumber(sequence: Sequence): number {
  return sequence.high * TWO_32 + sequence.low;
}

export function sequenceFromNumber(value: number): Sequence {
  return { low: value >>> 0, high: Math.floor(value / TWO_32) };
}

/** A committed state of the database: the contents of a meta page. */
export interface Meta {
  readonly pageSize: number;
  /** The leaf or branch page of the root bucket, whose keys are the names of the buckets. */
  readonly root: number;
  readonly sequence: Sequence;
  /** The first page of the free list; undefined where its writer did not keep one (bbolt's NoFreelistSync). */
  readonly freeList: number | undefined;
  /** The first page id that was never handed out: `[0, highWater)` are the file's pages. */
  readonly highWater: number;
  /** Grows by one with each commit; the meta goes to page `txid % 2`. */
  readonly txid: number;
}

export type DecodedMeta =
  | { readonly kind: "meta"; readonly meta: Meta }
  | { readonly kind: "damaged"; readonly code: BoltErrorCode; readonly why: string };

/** Decodes a meta page; `bytes` begins with the page and holds `META_END` bytes of it or more. */
export function decodeMeta(bytes: Uint8Array): DecodedMeta {
  const damaged = (code: BoltErrorCode, why: string): DecodedMeta => ({ kind: "damaged", code, why });
  if (bytes.length < META_END) return damaged("BOLT_TRUNCATED", `the meta page is cut off after ${bytes.length} bytes`);
  const magic = readUint32LE(bytes, META_AT);
  if (magic !== MAGIC) return damaged("BOLT_INVALID_META", `no bolt file: magic 0x${hex(magic)}, not 0x${hex(MAGIC)}`);
  const version = readUint32LE(bytes, META_AT + 4);
  if (version !== VERSION) return damaged("BOLT_VERSION", `format version ${version}, only ${VERSION} is known`);
  const found = checksum(bytes, META_AT, META_AT + META_CHECKED_BYTES);
  const at = META_AT + META_CHECKED_BYTES;
  if (readUint32LE(bytes, at) !== found.low || readUint32LE(bytes, at + 4) !== found.high) {
    const stored = hex(readUint32LE(bytes, at + 4)) + hex(readUint32LE(bytes, at));
    return damaged("BOLT_CHECKSUM", `meta checksum ${stored}, its bytes give ${hex(found.high)}${hex(found.low)}`);
  }
  const meta: Meta = {
    pageSize: readUint32LE(bytes, META_AT + 8),
    root: readWide(bytes, META_AT + 16),
    sequence: { low: readUint32LE(bytes, META_AT + 24), high: readUint32LE(bytes, META_AT + 28) },
    freeList: isNone(bytes, META_AT + 32) ? undefined : readWide(bytes, META_AT + 32),
    highWater: readWide(bytes, META_AT + 40),
    txid: readWide(bytes, META_AT + 48),
  };
  const why = impossible(meta);
  return why === undefined ? { kind: "meta", meta } : damaged("BOLT_INVALID_META", why);
}

function impossible(meta: Meta): string | undefined {
  const { pageSize, highWater } = meta;
  if (pageSize < PAGE_BYTES_MIN || pageSize > PAGE_BYTES_MAX || (pageSize & (pageSize - 1)) !== 0) {
    return `page size ${pageSize}, not a power of two in [${PAGE_BYTES_MIN}, ${PAGE_BYTES_MAX}]`;
  }
  if (!Number.isSafeInteger(highWater * pageSize)) return `high water mark ${highWater}`;
  if (!Number.isSafeInteger(meta.txid)) return `transaction id ${meta.txid}`;
  if (meta.root < 2 || meta.root >= highWater) return `root page ${meta.root}, pages are [2, ${highWater})`;
  if (meta.freeList !== undefined && (meta.freeList < 2 || meta.freeList >= highWater)) {
    return `free list on page ${meta.freeList}, pages are [2, ${highWater})`;
  }
  return undefined;
}

/** Writes the meta page `id` into `bytes`, which is a zeroed page. */
export function encodeMeta(bytes: Uint8Array, id: number, meta: Meta): void {
  invariant(impossible(meta) === undefined, () => `meta: ${impossible(meta)}`);
  writePageHeader(bytes, { id, kind: PageKind.meta, count: 0, span: 1 });
  writeUint32LE(bytes, META_AT, MAGIC);
  writeUint32LE(bytes, META_AT + 4, VERSION);
  writeUint32LE(bytes, META_AT + 8, meta.pageSize);
  writeUint32LE(bytes, META_AT + 12, 0);
  writeWide(bytes, META_AT + 16, meta.root);
  writeUint32LE(bytes, META_AT + 24, meta.sequence.low);
  writeUint32LE(bytes, META_AT + 28, meta.sequence.high);
  if (meta.freeList === undefined) bytes.fill(0xff, META_AT + 32, META_AT + 40);
  else writeWide(bytes, META_AT + 32, meta.freeList);
  writeWide(bytes, META_AT + 40, meta.highWater);
  writeWide(bytes, META_AT + 48, meta.txid);
  const sum = checksum(bytes, META_AT, META_AT + META_CHECKED_BYTES);
  writeUint32LE(bytes, META_AT + META_CHECKED_BYTES, sum.low);
  writeUint32LE(bytes, META_AT + META_CHECKED_BYTES + 4, sum.high);
}

/**
 * FNV-1a over `[start, end)`, 64 bits in two halves. The prime is 2^40 + 0x1b3: multiplying by it is a shift and a product
 * that stays below 2^53.
 */
export function checksum(bytes: Uint8Array, start: number, end: number): { low: number; high: number } {
  let low = 0x8422_2325;
  let high = 0xcbf2_9ce4;
  for (let at = start; at < end; at++) {
    low = (low ^ bytes[at]!) >>> 0;
    const product = low * 0x1b3;
    const carry = Math.floor(product / TWO_32);
    high = (high * 0x1b3 + carry + ((low << 8) >>> 0)) % TWO_32;
    low = product >>> 0;
  }
  return { low, high };
}

/** The header of a bucket, from the value of its key. */
export function readBucketHeader(value: Uint8Array): { root: number; sequence: Sequence } {
  return { root: readWide(value, 0), sequence: { low: readUint32LE(value, 8), high: readUint32LE(value, 12) } };
}

export function writeBucketHeader(value: Uint8Array, root: number, sequence: Sequence): void {
  writeWide(value, 0, root);
  writeUint32LE(value, 8, sequence.low);
  writeUint32LE(value, 12, sequence.high);
}

function isNone(bytes: Uint8Array, at: number): boolean {
  return readUint32LE(bytes, at) === 0xffff_ffff && readUint32LE(bytes, at + 4) === 0xffff_ffff;
}

function hex(value: number): string {
  return value.toString(16).padStart(8, "0");
}
