/**
 * A transaction on its way, as `put.ts` has the put: the request as clients send it, and the entry that carries it through the log.
 *
 * Known are flat transactions of compares (but for those of leases), puts, ranges in the order of their keys and deletions, in the one
 * form that encoders make: encoded again, what was decoded gives the same bytes, which a property test proves. So the entry takes
 * the request's bytes as they came. For everything else the answer is undefined, and the generated codec is asked.
 */
import { Arena } from "../../base/arena.js";
import { EMPTY_BYTES } from "../../base/bytes.js";
import type { Compare, DeleteRangeRequest, RangeRequest, RequestOp, TxnRequest } from "../generated/etcdserverpb/kv.js";
import type { RequestId } from "../request-id.js";
import {
  type EntryCaller,
  entryHeaderSize,
  readEntryHeader,
  readSignedHeader,
  writeEntryHeader,
} from "./entry-header.js";
import { decodePut } from "./put.js";
import { varintSize, writeVarint } from "./varint.js";

/** `InternalRaftRequest.txn` (6). */
const TAG_ENTRY_TXN = 0x32;

const TAG_COMPARE = 0x0a;
const TAG_SUCCESS = 0x12;
const TAG_FAILURE = 0x1a;

const TAG_OPERATION_RANGE = 0x0a;
const TAG_OPERATION_PUT = 0x12;
const TAG_OPERATION_DELETE = 0x1a;

const TAG_COMPARE_RESULT = 0x08;
const TAG_COMPARE_TARGET = 0x10;
const TAG_COMPARE_KEY = 0x1a;
const TAG_COMPARE_VERSION = 0x20;
const TAG_COMPARE_CREATE = 0x28;
const TAG_COMPARE_MOD = 0x30;
const TAG_COMPARE_VALUE = 0x3a;
/** `range_end` (64), whose tag has two bytes. */
const TAG_COMPARE_END_LOW = 0x82;
const TAG_COMPARE_END_HIGH = 0x04;

const TAG_KEY = 0x0a;
const TAG_RANGE_END = 0x12;
const TAG_RANGE_LIMIT = 0x18;
const TAG_RANGE_REVISION = 0x20;
const TAG_RANGE_SERIALIZABLE = 0x38;
const TAG_RANGE_KEYS_ONLY = 0x40;
const TAG_RANGE_COUNT_ONLY = 0x48;
const TAG_DELETE_PREV_KV = 0x18;

/** Bytes of the longest varint that is read: 49 bits. */
const VARINT_BYTES_MAX = 7;

const entries = new Arena();

export interface TxnEntry {
  readonly id: RequestId;
  readonly txn: TxnRequest;
  /** Left out where the header names no user. */
  readonly caller?: EntryCaller;
}

/**
 * The data of the entry that carries a transaction.
 *
 * @param encoded what `decodeTxn` knew
 * @param caller with a plain name
 */
export function encodeTxnEntry(id: RequestId, encoded: Uint8Array, caller?: EntryCaller): Uint8Array {
  const { length } = encoded;
  const data = entries.take(1 + varintSize(length) + length + entryHeaderSize(id, caller));
  data[0] = TAG_ENTRY_TXN;
  const at = writeVarint(data, 1, length);
  data.set(encoded, at);
  writeEntryHeader(data, at + length, id, caller);
  return data;
}

/** Undefined for an entry of another kind or form. Keys and values are views of the data. */
export function decodeTxnEntry(data: Uint8Array): TxnEntry | undefined {
  if (data[0] !== TAG_ENTRY_TXN) return undefined;
  const fields = new Fields(data, 1, data.length);
  const size = fields.number();
  const end = fields.at + size;
  if (fields.isBroken || end > data.length) return undefined;
  const id = readEntryHeader(data, end);
  const signed = id === undefined ? readSignedHeader(data, end) : undefined;
  if (id === undefined && signed === undefined) return undefined;
  const txn = decodeTxn(data, fields.at, end);
  if (txn === undefined) return undefined;
  return id === undefined ? { ...signed!, txn } : { id, txn };
}

/** The transaction in `bytes[start, end)`; undefined for another one or another form than is known here. */
export function decodeTxn(bytes: Uint8Array, start = 0, end = bytes.length): TxnRequest | undefined {
  const fields = new Fields(bytes, start, end);
  const compare: Compare[] = [];
  while (fields.has(TAG_COMPARE)) compare.push(readCompare(fields));
  const success = readOperations(fields, TAG_SUCCESS);
  const failure = readOperations(fields, TAG_FAILURE);
  return fields.isRead ? { compare, success, failure } : undefined;
}

function readCompare(fields: Fields): Compare {
  const outer = fields.enter();
  const result = fields.has(TAG_COMPARE_RESULT) ? fields.positive() : 0;
  const target = fields.has(TAG_COMPARE_TARGET) ? fields.positive() : 0;
  // Values that etcd does not know are the generated codec's affair.
  if (result > 3 || target > 3) fields.isBroken = true;
  const key = fields.has(TAG_COMPARE_KEY) ? fields.bytes() : EMPTY_BYTES;
  const targetUnion = readTargetUnion(fields);
  const rangeEnd = fields.hasTwo(TAG_COMPARE_END_LOW, TAG_COMPARE_END_HIGH) ? fields.bytes() : EMPTY_BYTES;
  fields.leave(outer);
  return { result, target, key, targetUnion, rangeEnd } as Compare;
}

/** What a compare names. It is written even where it is zero or empty, for that it is named counts. */
function readTargetUnion(fields: Fields): Compare["targetUnion"] {
  if (fields.has(TAG_COMPARE_VERSION)) return { $case: "version", value: fields.number() };
  if (fields.has(TAG_COMPARE_CREATE)) return { $case: "createRevision", value: fields.number() };
  if (fields.has(TAG_COMPARE_MOD)) return { $case: "modRevision", value: fields.number() };
  if (fields.has(TAG_COMPARE_VALUE)) return { $case: "value", value: fields.view(fields.number()) };
  return undefined;
}

function readOperations(fields: Fields, tag: number): RequestOp[] {
  const operations: RequestOp[] = [];
  while (fields.has(tag)) {
    const outer = fields.enter();
    operations.push({ request: readOperation(fields) });
    fields.leave(outer);
  }
  return operations;
}

function readOperation(fields: Fields): RequestOp["request"] {
  if (fields.has(TAG_OPERATION_PUT)) {
    const outer = fields.enter();
    const value = fields.isBroken ? undefined : decodePut(fields.source, fields.at, fields.end);
    if (value !== undefined) {
      fields.at = fields.end;
      fields.leave(outer);
      return { $case: "requestPut", value };
    }
  } else if (fields.has(TAG_OPERATION_RANGE)) {
    const outer = fields.enter();
    const value = readRange(fields);
    fields.leave(outer);
    return { $case: "requestRange", value };
  } else if (fields.has(TAG_OPERATION_DELETE)) {
    const outer = fields.enter();
    const value = readDeletion(fields);
    fields.leave(outer);
    return { $case: "requestDeleteRange", value };
  }
  fields.isBroken = true;
  return undefined;
}

function readRange(fields: Fields): RangeRequest {
  return {
    key: fields.has(TAG_KEY) ? fields.bytes() : EMPTY_BYTES,
    rangeEnd: fields.has(TAG_RANGE_END) ? fields.bytes() : EMPTY_BYTES,
    limit: fields.has(TAG_RANGE_LIMIT) ? fields.positive() : 0,
    revision: fields.has(TAG_RANGE_REVISION) ? fields.positive() : 0,
    sortOrder: 0,
    sortTarget: 0,
    serializable: fields.flag(TAG_RANGE_SERIALIZABLE),
    keysOnly: fields.flag(TAG_RANGE_KEYS_ONLY),
    countOnly: fields.flag(TAG_RANGE_COUNT_ONLY),
    minModRevision: 0,
    maxModRevision: 0,
    minCreateRevision: 0,
    maxCreateRevision: 0,
  };
}

function readDeletion(fields: Fields): DeleteRangeRequest {
  return {
    key: fields.has(TAG_KEY) ? fields.bytes() : EMPTY_BYTES,
    rangeEnd: fields.has(TAG_RANGE_END) ? fields.bytes() : EMPTY_BYTES,
    prevKv: fields.flag(TAG_DELETE_PREV_KV),
  };
}

/**
 * Walks over fields in the order that they are asked for in. What is not in the form that encoders make sets `isBroken`, and
 * everything that is read after it means nothing.
 */
class Fields {
  readonly source: Uint8Array;
  at: number;
  /** Of the message that is being read; never beyond that of the message around it. */
  end: number;
  isBroken = false;

  constructor(source: Uint8Array, at: number, end: number) {
    this.source = source;
    this.at = at;
    this.end = end;
  }

  /** Whether all of it was known. */
  get isRead(): boolean {
    return !this.isBroken && this.at === this.end;
  }

  /** Passes over this tag if it is the next. */
  has(tag: number): boolean {
    if (this.isBroken || this.at >= this.end || this.source[this.at] !== tag) return false;
    this.at++;
    return true;
  }

  hasTwo(low: number, high: number): boolean {
    if (this.isBroken || this.at + 1 >= this.end) return false;
    if (this.source[this.at] !== low || this.source[this.at + 1] !== high) return false;
    this.at += 2;
    return true;
  }

  /** A flag that is set; one that is not set is not written. */
  flag(tag: number): boolean {
    if (!this.has(tag)) return false;
    if (this.number() !== 1) this.isBroken = true;
    return true;
  }

  number(): number {
    let value = 0;
    let scale = 1;
    for (let count = 1; count <= VARINT_BYTES_MAX && this.at < this.end; count++) {
      const byte = this.source[this.at++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (byte === 0 && count > 1) break; // not the shortest form
        return value;
      }
      scale *= 128;
    }
    this.isBroken = true;
    return 0;
  }

  /** A number that is not written when it is zero. */
  positive(): number {
    const value = this.number();
    if (value === 0) this.isBroken = true;
    return value;
  }

  /** Bytes that are not written when there are none. */
  bytes(): Uint8Array {
    return this.view(this.positive());
  }

  /** Not subarray: what the input is a subclass of (Node's Buffer) must not leak out. */
  view(size: number): Uint8Array {
    const { source, at } = this;
    if (this.isBroken || size > this.end - at) {
      this.isBroken = true;
      return EMPTY_BYTES;
    }
    this.at = at + size;
    return size === 0 ? EMPTY_BYTES : new Uint8Array(source.buffer, source.byteOffset + at, size);
  }

  /** Goes into a message; answers the end of the one around it, for `leave`. */
  enter(): number {
    const outer = this.end;
    const size = this.number();
    if (size > outer - this.at) this.isBroken = true;
    else this.end = this.at + size;
    return outer;
  }

  leave(outer: number): void {
    if (this.at !== this.end) this.isBroken = true;
    this.end = outer;
  }
}
