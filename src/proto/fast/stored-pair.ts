/**
 * What an index takes from a stored `mvccpb.KeyValue`, read where it lies: a store that boots reads millions of them, and an object for
 * each, with a view of its key and of its value, is what the collector would have to clear away.
 *
 * Laws: what is read is what `decodeKeyValue` reads of the same bytes; bytes that are not in the form that encoders make, and pairs
 * with a lease, go that way themselves.
 */
import { EMPTY_BYTES } from "../../base/bytes.js";
import { decodeKeyValue } from "./key-value.js";
import { shortVarint, shortVarintSize, varintEnd } from "./varint.js";

const TAG_KEY = 0x0a;
const TAG_CREATE_REVISION = 0x10;
const TAG_MOD_REVISION = 0x18;
const TAG_VERSION = 0x20;
const TAG_VALUE = 0x2a;

/** One for a whole walk: `read` overwrites what it read before. */
export class StoredPair {
  /** The key is `bytes[keyStart, keyEnd)`. */
  bytes = EMPTY_BYTES;
  keyStart = 0;
  keyEnd = 0;
  createRevision = 0;
  modRevision = 0;
  version = 0;
  lease = 0n;

  /**
   * Reads the pair `bytes[start, end)`.
   *
   * @throws what `decodeKeyValue` throws
   */
  read(bytes: Uint8Array, start = 0, end = bytes.length): void {
    if (this.#readPlain(bytes, start, end)) return;
    const { key, createRevision, modRevision, version, lease } = decodeKeyValue(bytes.subarray(start, end));
    this.bytes = key;
    this.keyStart = 0;
    this.keyEnd = key.length;
    this.createRevision = createRevision;
    this.modRevision = modRevision;
    this.version = version;
    this.lease = lease;
  }

  /** Reads a pair with all its fields but the lease in their order, a value or none; answers false for any other. */
  #readPlain(bytes: Uint8Array, start: number, end: number): boolean {
    const keyPrefix = start < end && bytes[start] === TAG_KEY ? shortVarintSize(bytes, start + 1) : 0;
    if (keyPrefix === 0) return false;
    const keyStart = start + 1 + keyPrefix;
    // What lies behind `end` may be read here, and leads beyond it then.
    const createAt = keyStart + shortVarint(bytes, start + 1);
    if (createAt >= end || bytes[createAt] !== TAG_CREATE_REVISION) return false;
    const modAt = varintEnd(bytes, createAt + 1, end);
    if (modAt >= end || bytes[modAt] !== TAG_MOD_REVISION) return false;
    const versionAt = varintEnd(bytes, modAt + 1, end);
    if (versionAt >= end || bytes[versionAt] !== TAG_VERSION) return false;
    const valueAt = varintEnd(bytes, versionAt + 1, end);
    if (valueAt !== end && !endsWithValue(bytes, valueAt, end)) return false;
    this.createRevision = integerIn(bytes, createAt + 1, modAt);
    this.modRevision = integerIn(bytes, modAt + 1, versionAt);
    this.version = integerIn(bytes, versionAt + 1, valueAt);
    if (!(this.createRevision < UNSAFE && this.modRevision < UNSAFE && this.version < UNSAFE)) return false;
    this.bytes = bytes;
    this.keyStart = keyStart;
    this.keyEnd = createAt;
    this.lease = 0n;
    return true;
  }
}

/** Whether `bytes[at, end)` is one value. */
function endsWithValue(bytes: Uint8Array, at: number, end: number): boolean {
  if (at >= end || bytes[at] !== TAG_VALUE) return false;
  const prefix = shortVarintSize(bytes, at + 1);
  return prefix > 0 && at + 1 + prefix + shortVarint(bytes, at + 1) === end;
}

/** From here on neighbours cannot be told apart. */
const UNSAFE = 2 ** 53;
/** Bytes of a varint that hold no more than 56 bits: beyond them a number would only be rounded. */
const VARINT_BYTES_MAX = 8;

/** The varint `bytes[start, end)`; `UNSAFE` for one that a number may not hold. */
function integerIn(bytes: Uint8Array, start: number, end: number): number {
  if (end - start > VARINT_BYTES_MAX) return UNSAFE;
  let value = 0;
  for (let at = end - 1; at >= start; at--) value = value * 128 + (bytes[at]! & 0x7f);
  return value;
}
