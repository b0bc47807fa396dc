/**
 * Protobuf's variable-length integers, for the codecs of this folder: how many bytes, written at a place, read in the form that
 * encoders make.
 *
 * Laws: what is written is the shortest form; a reader answers undefined, or a size of 0, for bytes that are not in that form or are
 * longer than it takes, and never reads past the span.
 */

import { bigintOf, requestIdOf, type RequestId } from "../request-id.js";

const TWO_32 = 0x1_0000_0000;
/** Lengths that two bytes hold; longer ones are rare enough for the generated codec's way. */
const SHORT_MAX = 0x3fff;

/** Bytes of an integer in [0, 2^53). */
export function varintSize(value: number): number {
  if (value < 0x80) return 1;
  if (value <= SHORT_MAX) return 2;
  if (value < 0x20_0000) return 3;
  let size = 4;
  for (let rest = Math.floor(value / 0x20_0000); rest > 0x7f; rest = Math.floor(rest / 128)) size++;
  return size;
}

/** Bytes of a 64-bit integer; a negative one counts as its two's complement. */
export function varint64Size(value: bigint): number {
  return halvesSize(requestIdOf(value));
}

/** The same for an integer in halves. */
export function halvesSize(value: RequestId): number {
  const high = value.high >>> 0;
  if (high === 0) return varintSize(value.low >>> 0);
  // From 33 bits on: 5 bytes hold 35 of them.
  return high < 0x8 ? 5 : high < 0x400 ? 6 : high < 0x2_0000 ? 7 : high < 0x100_0000 ? 8 : high < 0x8000_0000 ? 9 : 10;
}

/** Writes an integer in [0, 2^53) and answers the offset after it. */
export function writeVarint(bytes: Uint8Array, start: number, value: number): number {
  let at = start;
  let rest = value;
  while (rest >= TWO_32) {
    bytes[at++] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
  }
  let low = rest >>> 0;
  while (low > 0x7f) {
    bytes[at++] = (low & 0x7f) | 0x80;
    low >>>= 7;
  }
  bytes[at++] = low;
  return at;
}

/** Writes a 64-bit integer. */
export function writeVarint64(bytes: Uint8Array, start: number, value: bigint): number {
  return writeHalves(bytes, start, requestIdOf(value));
}

/** The same for an integer in halves: a shift of a bigint costs more than all the bytes. */
export function writeHalves(bytes: Uint8Array, start: number, value: RequestId): number {
  let low = value.low >>> 0;
  let high = value.high >>> 0;
  let at = start;
  while (high !== 0) {
    bytes[at++] = (low & 0x7f) | 0x80;
    low = ((low >>> 7) | (high << 25)) >>> 0;
    high >>>= 7;
  }
  return writeVarint(bytes, at, low);
}

/** Bytes of a length-delimited field with a tag of one byte; 0 for an empty one, which is not written. */
export function bytesFieldSize(length: number): number {
  return length === 0 ? 0 : 1 + varintSize(length) + length;
}

/** Writes a length-delimited field with a tag of one byte, unless it is empty. */
export function writeBytesField(bytes: Uint8Array, start: number, tag: number, value: Uint8Array): number {
  if (value.length === 0) return start;
  bytes[start] = tag;
  const at = writeVarint(bytes, start + 1, value.length);
  bytes.set(value, at);
  return at + value.length;
}

/** Bytes of the varint at `at` when there are at most two of them in shortest form; else 0. */
export function shortVarintSize(bytes: Uint8Array, at: number): number {
  if (at >= bytes.length) return 0;
  if (bytes[at]! < 0x80) return 1;
  const second = bytes[at + 1];
  return second !== undefined && second > 0 && second < 0x80 ? 2 : 0;
}

/** The integer of which `shortVarintSize` has told that it is there. */
export function shortVarint(bytes: Uint8Array, at: number): number {
  const first = bytes[at]!;
  return first < 0x80 ? first : (first & 0x7f) | (bytes[at + 1]! << 7);
}

/** Offset after the varint that begins at `at`, which may be past the end of the bytes. */
export function varintEnd(bytes: Uint8Array, at: number, end: number): number {
  let to = at;
  while (to < end && bytes[to]! >= 0x80) to++;
  return to + 1;
}

/** The 64-bit integer that is just `bytes[start, end)`; undefined when it ends elsewhere, is too long or not in shortest form. */
export function wholeVarint64(bytes: Uint8Array, start: number, end: number): bigint | undefined {
  const halves = wholeHalves(bytes, start, end);
  return halves === undefined ? undefined : bigintOf(halves);
}

/** The same in halves. */
export function wholeHalves(bytes: Uint8Array, start: number, end: number): RequestId | undefined {
  const size = end - start;
  if (size < 1 || size > 10 || end > bytes.length || bytes[end - 1]! >= 0x80) return undefined;
  if (size > 1 && (bytes[end - 1] === 0 || (size === 10 && bytes[end - 1]! > 1))) return undefined;
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
  return { high, low };
}
