/**
 * Revisions: `main` counts transactions that changed something, `sub` the changes inside one.
 *
 * In the bucket `key` a revision is a key of 17 bytes, or of 18 when the change was a deletion:
 *
 * | bytes | meaning                               |
 * |-------|---------------------------------------|
 * | 0-7   | main, big endian                      |
 * | 8     | `_` (0x5f)                            |
 * | 9-16  | sub, big endian                       |
 * | 17    | `t` (0x74), only for a tombstone      |
 *
 * Byte order is the order of revisions. The marks in the bucket `meta` hold a revision in the 17-byte form.
 */
import { readUint32BE, readUint64BE, writeUint32BE, writeUint64BE } from "../base/bytes.js";

export interface Revision {
  readonly main: number;
  readonly sub: number;
}

export const REVISION_BYTES = 17;
export const TOMBSTONE_BYTES = 18;
const SEPARATOR = 0x5f;
const TOMBSTONE_MARK = 0x74;
const SUB_OFFSET = 9;

/** Revision keys sort below this one when their main revision is below `main`: for ends of scans. */
export function mainRevisionBytes(main: number): Uint8Array {
  const bytes = new Uint8Array(8);
  writeUint64BE(bytes, 0, main);
  return bytes;
}

export function revisionBytes(main: number, sub: number): Uint8Array {
  const bytes = new Uint8Array(REVISION_BYTES);
  writeRevision(bytes, main, sub);
  return bytes;
}

export function tombstoneBytes(main: number, sub: number): Uint8Array {
  const bytes = new Uint8Array(TOMBSTONE_BYTES);
  writeRevision(bytes, main, sub);
  bytes[REVISION_BYTES] = TOMBSTONE_MARK;
  return bytes;
}

/** Writes the 17-byte form at the beginning of `bytes`. */
export function writeRevision(bytes: Uint8Array, main: number, sub: number): void {
  writeUint64BE(bytes, 0, main);
  bytes[8] = SEPARATOR;
  if (sub <= 0xffff_ffff) {
    writeUint32BE(bytes, SUB_OFFSET, 0);
    writeUint32BE(bytes, SUB_OFFSET + 4, sub);
  } else {
    writeUint64BE(bytes, SUB_OFFSET, sub);
  }
}

/** The main revision of a key of the bucket `key`. Throws `WIRE_OUT_OF_RANGE` above 2^53-1. */
export function mainOf(bytes: Uint8Array, start = 0): number {
  return readUint64BE(bytes, start);
}

export function subOf(bytes: Uint8Array, start = 0): number {
  return readUint64BE(bytes, start + SUB_OFFSET);
}

/** Whether the key `bytes[start, end)` is a tombstone's. */
export function isTombstoneKey(bytes: Uint8Array, start = 0, end = bytes.length): boolean {
  return end - start === TOMBSTONE_BYTES && bytes[start + REVISION_BYTES] === TOMBSTONE_MARK;
}

/** Whether `bytes[start, end)` has the form of a revision key: length, separator and mark. */
export function isRevisionKey(bytes: Uint8Array, start = 0, end = bytes.length): boolean {
  if (end - start !== REVISION_BYTES && !isTombstoneKey(bytes, start, end)) return false;
  if (bytes[start + 8] !== SEPARATOR) return false;
  return readUint32BE(bytes, start) < 0x20_0000 && readUint32BE(bytes, start + SUB_OFFSET) < 0x20_0000;
}

/** `main/sub`, for messages. */
export function describeRevision(main: number, sub: number): string {
  return `${main}/${sub}`;
}

/** A set of revisions: a bit for each first change of a transaction, which most are, and a `Set` of the others. */
export class RevisionSet {
  /** By main revision: pages of bits, made when the first bit in them is set. */
  readonly #firsts = new Map<number, Uint8Array>();
  /** By the same pages, so that no table grows past what one copy of it may cost. */
  readonly #others = new Map<number, Set<number>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(main: number, sub: number): void {
    if (this.has(main, sub)) return;
    this.#size++;
    const page = Math.floor(main / PAGE_REVISIONS);
    const at = main % PAGE_REVISIONS;
    if (sub === 0) {
      let bits = this.#firsts.get(page);
      if (bits === undefined) this.#firsts.set(page, (bits = new Uint8Array(PAGE_REVISIONS / 8)));
      bits[at >>> 3]! |= 1 << (at & 7);
      return;
    }
    let others = this.#others.get(page);
    if (others === undefined) this.#others.set(page, (others = new Set()));
    others.add(at + sub * PAGE_REVISIONS);
  }

  has(main: number, sub: number): boolean {
    const page = Math.floor(main / PAGE_REVISIONS);
    const at = main % PAGE_REVISIONS;
    if (sub > 0) return this.#others.get(page)?.has(at + sub * PAGE_REVISIONS) === true;
    const bits = this.#firsts.get(page);
    return bits !== undefined && (bits[at >>> 3]! & (1 << (at & 7))) !== 0;
  }
}

const PAGE_REVISIONS = 65_536;
