/**
 * A put on its way: the request as clients send it, and the entry that carries it through the log. Both are coded for every put there
 * is, each once or twice.
 *
 * Equal to the generated codecs, which a property test proves. Encoding counts first and then writes into one span; decoding reads the
 * one form that encoders make (fields in the order of their numbers, none twice, none unknown) and answers undefined for every
 * other: whoever asked takes the generated codec then, which knows all forms, and what is wrong with the rest.
 */
import { Arena } from "../../base/arena.js";
import { EMPTY_BYTES } from "../../base/bytes.js";
import type { PutRequest } from "../generated/etcdserverpb/kv.js";
import type { RequestId } from "../request-id.js";
import {
  type EntryCaller,
  entryHeaderSize,
  readEntryHeader,
  readSignedHeader,
  writeEntryHeader,
} from "./entry-header.js";
import {
  bytesFieldSize,
  shortVarint,
  shortVarintSize,
  varint64Size,
  varintEnd,
  varintSize,
  wholeVarint64,
  writeBytesField,
  writeVarint,
  writeVarint64,
} from "./varint.js";

const TAG_KEY = 0x0a;
const TAG_VALUE = 0x12;
const TAG_LEASE = 0x18;
const TAG_PREV_KV = 0x20;
const TAG_IGNORE_VALUE = 0x28;
const TAG_IGNORE_LEASE = 0x30;

/** `InternalRaftRequest.put` (4). */
const TAG_ENTRY_PUT = 0x22;

/** Entries stay in the memory log side by side, and leave it in order. */
const entries = new Arena();

export interface PutEntry {
  readonly id: RequestId;
  readonly put: PutRequest;
  /** Left out where the header names no user. */
  readonly caller?: EntryCaller;
}

/**
 * The data of the entry that carries a put: an `InternalRaftRequest` with a header that holds the ID, and whom it is made for.
 *
 * @param caller with a plain name
 */
export function encodePutEntry(id: RequestId, put: PutRequest, caller?: EntryCaller): Uint8Array {
  const putBytes =
    bytesFieldSize(put.key.length) +
    bytesFieldSize(put.value.length) +
    (put.lease === 0n ? 0 : 1 + varint64Size(put.lease)) +
    (put.prevKv ? 2 : 0) +
    (put.ignoreValue ? 2 : 0) +
    (put.ignoreLease ? 2 : 0);
  const data = entries.take(1 + varintSize(putBytes) + putBytes + entryHeaderSize(id, caller));
  data[0] = TAG_ENTRY_PUT;
  let at = writeVarint(data, 1, putBytes);
  at = writeBytesField(data, at, TAG_KEY, put.key);
  at = writeBytesField(data, at, TAG_VALUE, put.value);
  if (put.lease !== 0n) {
    data[at++] = TAG_LEASE;
    at = writeVarint64(data, at, put.lease);
  }
  at = writeFlag(data, at, TAG_PREV_KV, put.prevKv);
  at = writeFlag(data, at, TAG_IGNORE_VALUE, put.ignoreValue);
  at = writeFlag(data, at, TAG_IGNORE_LEASE, put.ignoreLease);
  writeEntryHeader(data, at, id, caller);
  return data;
}

/** Undefined for an entry of another kind or form. Key and value are views of the data. */
export function decodePutEntry(data: Uint8Array): PutEntry | undefined {
  if (data[0] !== TAG_ENTRY_PUT) return undefined;
  const start = 1 + shortVarintSize(data, 1);
  const end = start + shortVarint(data, 1);
  if (start === 1) return undefined;
  const id = readEntryHeader(data, end);
  const signed = id === undefined ? readSignedHeader(data, end) : undefined;
  if (id === undefined && signed === undefined) return undefined;
  const put = decodePut(data, start, end);
  if (put === undefined) return undefined;
  return id === undefined ? { ...signed!, put } : { id, put };
}

/** The put in `bytes[start, end)`; undefined for another form than encoders make. Key and value are views. */
export function decodePut(bytes: Uint8Array, start = 0, end = bytes.length): PutRequest | undefined {
  let at = start;
  let key = EMPTY_BYTES;
  let value = EMPTY_BYTES;
  let lease = 0n;
  if (at < end && bytes[at] === TAG_KEY) {
    const from = at + 1 + shortVarintSize(bytes, at + 1);
    const to = from + shortVarint(bytes, at + 1);
    if (from === at + 1 || to > end) return undefined;
    key = viewOf(bytes, from, to);
    at = to;
  }
  if (at < end && bytes[at] === TAG_VALUE) {
    const from = at + 1 + shortVarintSize(bytes, at + 1);
    const to = from + shortVarint(bytes, at + 1);
    if (from === at + 1 || to > end) return undefined;
    value = viewOf(bytes, from, to);
    at = to;
  }
  if (at < end && bytes[at] === TAG_LEASE) {
    const to = varintEnd(bytes, at + 1, end);
    const id = wholeVarint64(bytes, at + 1, to);
    if (id === undefined || id === 0n || to > end) return undefined;
    lease = BigInt.asIntN(64, id);
    at = to;
  }
  const prevKv = isFlag(bytes, at, end, TAG_PREV_KV);
  if (prevKv) at += 2;
  const ignoreValue = isFlag(bytes, at, end, TAG_IGNORE_VALUE);
  if (ignoreValue) at += 2;
  const ignoreLease = isFlag(bytes, at, end, TAG_IGNORE_LEASE);
  if (ignoreLease) at += 2;
  return at === end ? { key, value, lease, prevKv, ignoreValue, ignoreLease } : undefined;
}

/** Not subarray: what the input is a subclass of (Node's Buffer) must not leak out. */
function viewOf(bytes: Uint8Array, from: number, to: number): Uint8Array {
  return from === to ? EMPTY_BYTES : new Uint8Array(bytes.buffer, bytes.byteOffset + from, to - from);
}

function isFlag(bytes: Uint8Array, at: number, end: number, tag: number): boolean {
  return at + 2 <= end && bytes[at] === tag && bytes[at + 1] === 1;
}

function writeFlag(data: Uint8Array, at: number, tag: number, value: boolean): number {
  if (!value) return at;
  data[at] = tag;
  data[at + 1] = 1;
  return at + 2;
}
