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

const TAG_KEY = 0x0a;
const TAG_VALUE = 0x12;
const TAG_LEASE = 0x18;
const TAG_PREV_KV = 0x20;
const TAG_IGNORE_VALUE = 0x28;
const TAG_IGNORE_LEASE = 0x30;

/** `InternalRaftRequest.put` (4) and `.header` (100), and the header's `ID` (1). */
const TAG_ENTRY_PUT = 0x22;
const TAG_ENTRY_HEADER_LOW = 0xa2;
const TAG_ENTRY_HEADER_HIGH = 0x06;
const TAG_HEADER_ID = 0x08;

/** Lengths that two bytes of a varint hold; longer ones are rare enough for the generated codec's way. */
const SHORT_LENGTH_MAX = 0x3fff;

const LOW_32 = 0xffff_ffffn;

/** Entries stay in the memory log side by side, and leave it in order. */
const entries = new Arena();

export interface PutEntry {
  readonly id: bigint;
  readonly put: PutRequest;
}

/** The data of the entry that carries a put: an `InternalRaftRequest` with a header that holds the ID alone. */
export function encodePutEntry(id: bigint, put: PutRequest): Uint8Array {
  const putBytes =
    bytesSize(put.key.length) +
    bytesSize(put.value.length) +
    (put.lease === 0n ? 0 : 1 + varint64Size(put.lease)) +
    (put.prevKv ? 2 : 0) +
    (put.ignoreValue ? 2 : 0) +
    (put.ignoreLease ? 2 : 0);
  const headerBytes = id === 0n ? 0 : 1 + varint64Size(id);
  const data = entries.take(1 + varintSize(putBytes) + putBytes + 3 + headerBytes);
  data[0] = TAG_ENTRY_PUT;
  let at = writeVarint(data, 1, putBytes);
  at = writeBytes(data, at, TAG_KEY, put.key);
  at = writeBytes(data, at, TAG_VALUE, put.value);
  if (put.lease !== 0n) {
    data[at++] = TAG_LEASE;
    at = writeVarint64(data, at, put.lease);
  }
  at = writeFlag(data, at, TAG_PREV_KV, put.prevKv);
  at = writeFlag(data, at, TAG_IGNORE_VALUE, put.ignoreValue);
  at = writeFlag(data, at, TAG_IGNORE_LEASE, put.ignoreLease);
  data[at++] = TAG_ENTRY_HEADER_LOW;
  data[at++] = TAG_ENTRY_HEADER_HIGH;
  data[at++] = headerBytes;
  if (headerBytes > 0) {
    data[at++] = TAG_HEADER_ID;
    writeVarint64(data, at, id);
  }
  return data;
}

/** Undefined for an entry of another kind or form. Key and value are views of the data. */
export function decodePutEntry(data: Uint8Array): PutEntry | undefined {
  if (data[0] !== TAG_ENTRY_PUT) return undefined;
  const start = 1 + shortVarintSize(data, 1);
  const end = start + shortVarint(data, 1);
  // The header is all that may follow: its tag, its length, and in it the ID alone.
  if (start === 1 || data[end] !== TAG_ENTRY_HEADER_LOW || data[end + 1] !== TAG_ENTRY_HEADER_HIGH) return undefined;
  const headerBytes = data[end + 2]!;
  if (end + 3 + headerBytes !== data.length || headerBytes < 2 || data[end + 3] !== TAG_HEADER_ID) return undefined;
  const id = wholeVarint64(data, end + 4, data.length);
  if (id === undefined) return undefined;
  const put = decodePut(data, start, end);
  return put === undefined ? undefined : { id, put };
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
    let to = at + 1;
    while (to < end && bytes[to]! >= 0x80) to++;
    const id = wholeVarint64(bytes, at + 1, ++to);
    if (id === undefined || to > end) return undefined;
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

/** Bytes of the varint at `at` when there are at most two of them in shortest form; else 0. */
function shortVarintSize(bytes: Uint8Array, at: number): number {
  if (at >= bytes.length) return 0;
  if (bytes[at]! < 0x80) return 1;
  const second = bytes[at + 1];
  return second !== undefined && second > 0 && second < 0x80 ? 2 : 0;
}

function shortVarint(bytes: Uint8Array, at: number): number {
  const first = bytes[at]!;
  return first < 0x80 ? first : (first & 0x7f) | (bytes[at + 1]! << 7);
}

/** The 64-bit integer that is just `bytes[start, end)`; undefined when it ends elsewhere or is too long. */
function wholeVarint64(bytes: Uint8Array, start: number, end: number): bigint | undefined {
  const size = end - start;
  if (size < 1 || size > 10 || end > bytes.length || bytes[end - 1]! >= 0x80) return undefined;
  let low = 0;
  let high = 0;
  for (let i = 0; i < size; i++) {
    const byte = bytes[start + i]!;
    if (byte < 0x80 && i < size - 1) return undefined;
    const bits = byte & 0x7f;
    if (i < 4) low |= bits << (7 * i);
    else if (i === 4) {
      low |= bits << 28;
      high = bits >>> 4;
    } else high |= bits << (7 * i - 32);
  }
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

function varintSize(value: number): number {
  return value < 0x80 ? 1 : value <= SHORT_LENGTH_MAX ? 2 : value < 0x20_0000 ? 3 : value < 0x1000_0000 ? 4 : 5;
}

function varint64Size(value: bigint): number {
  const bits = BigInt.asUintN(64, value);
  const high = Number(bits >> 32n);
  if (high === 0) return varintSize(Number(bits));
  // From 33 bits on: 5 bytes hold 35 of them.
  return high < 0x8 ? 5 : high < 0x400 ? 6 : high < 0x2_0000 ? 7 : high < 0x100_0000 ? 8 : high < 0x8000_0000 ? 9 : 10;
}

function bytesSize(length: number): number {
  return length === 0 ? 0 : 1 + varintSize(length) + length;
}

function writeBytes(data: Uint8Array, start: number, tag: number, value: Uint8Array): number {
  if (value.length === 0) return start;
  data[start] = tag;
  const at = writeVarint(data, start + 1, value.length);
  data.set(value, at);
  return at + value.length;
}

function writeFlag(data: Uint8Array, at: number, tag: number, value: boolean): number {
  if (!value) return at;
  data[at] = tag;
  data[at + 1] = 1;
  return at + 2;
}

function writeVarint(data: Uint8Array, start: number, value: number): number {
  let at = start;
  let rest = value;
  while (rest > 0x7f) {
    data[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  data[at++] = rest;
  return at;
}

function writeVarint64(data: Uint8Array, start: number, value: bigint): number {
  const bits = BigInt.asUintN(64, value);
  let low = Number(bits & LOW_32);
  let high = Number(bits >> 32n);
  let at = start;
  while (high !== 0) {
    data[at++] = (low & 0x7f) | 0x80;
    low = ((low >>> 7) | (high << 25)) >>> 0;
    high >>>= 7;
  }
  return writeVarint(data, at, low);
}
