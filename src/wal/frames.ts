/**
 * Bytes to records, strictly (faults.md 5.4 a): only a frame that etcd's encoder would write again byte by byte is one.
 *
 * The checksum covers the `data` of a record alone; all around it (length field, type, tags, padding) is kept honest by
 * this check. `FrameParser` holds its last result in fields instead of making an object for each record: it is the hot path.
 */
import { SECTOR_BYTES } from "../base/limits.js";
import { FRAME_HEADER_BYTES, paddingOf, RecordType } from "./encoder.js";

/**
 * - `record` the parser's fields tell it
 * - `more` the frame goes on after the bytes at hand; `total` tells how many it needs
 * - `end` the file ends here; `zero` a length field of zero: nothing was written here
 * - `cut` the file ends inside the length field; `oversize` the length field asks for more than the file has left
 * - `length`, `record-form`, `padding` not as etcd writes it
 */
export type Parsed = "record" | "more" | "end" | "zero" | "cut" | "oversize" | "length" | "record-form" | "padding";

const TWO_32 = 0x1_0000_0000;

/** The smallest record: type and crc, one byte each. */
const RECORD_BYTES_MIN = 4;

export class FrameParser {
  /** The last frame's bytes, header and padding included. */
  total = 0;
  type = 0;
  /** The checksum that the record carries. */
  crc = 0;
  /** The record's data: `bytes[dataStart, dataEnd)`. */
  dataStart = 0;
  dataEnd = 0;

  /**
   * Looks at the frame that begins at `bytes[at]`.
   *
   * @param end where the bytes at hand end
   * @param left bytes from here to the end of the file
   */
  parse(bytes: Uint8Array, at: number, end: number, left: number): Parsed {
    if (left < FRAME_HEADER_BYTES) {
      this.total = left;
      if (left === 0) return "end";
      if (end - at < left) return "more";
      for (let i = at; i < end; i++) if (bytes[i] !== 0) return "cut";
      return "end";
    }
    this.total = FRAME_HEADER_BYTES;
    if (end - at < FRAME_HEADER_BYTES) return "more";
    const low = (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
    const high = bytes[at + 4]! | (bytes[at + 5]! << 8) | (bytes[at + 6]! << 16);
    const top = bytes[at + 7]!;
    if (low === 0 && high === 0 && top === 0) return "zero";
    const size = high * TWO_32 + low;
    const padding = (top & 0x80) === 0 ? 0 : top & 0x07;
    const total = FRAME_HEADER_BYTES + size + padding;
    this.total = total;
    if (total > left) return "oversize";
    const expected = paddingOf(size);
    if (top !== (expected === 0 ? 0 : 0x80 | expected) || size < RECORD_BYTES_MIN) {
      return end - at < total ? "more" : "length";
    }
    if (end - at < total) return "more";
    return this.#record(bytes, at + FRAME_HEADER_BYTES, at + FRAME_HEADER_BYTES + size, at + total);
  }

  #record(bytes: Uint8Array, start: number, end: number, frameEnd: number): Parsed {
    const type = bytes[start + 1]!;
    if (bytes[start] !== 0x08 || type < RecordType.metadata || type > RecordType.snapshot) return "record-form";
    if (bytes[start + 2] !== 0x10) return "record-form";
    let at = start + 3;
    let crc = bytes[at++]!;
    if (crc > 0x7f) {
      // At most 5 bytes for 32 bits, the last of them neither 0 (not the shortest form) nor over 15 (more than 32 bits).
      crc &= 0x7f;
      for (let shift = 7; ; shift += 7) {
        if (at >= end) return "record-form";
        const byte = bytes[at++]!;
        if (shift === 28) {
          if (byte === 0 || byte > 0x0f) return "record-form";
          crc += byte * 0x1000_0000;
          break;
        }
        crc |= (byte & 0x7f) << shift;
        if (byte < 0x80) {
          if (byte === 0) return "record-form";
          break;
        }
      }
    }
    this.type = type;
    this.crc = crc;
    if (at === end) {
      this.dataStart = end; // a record without data: a CRC record, or Go's nil metadata
      this.dataEnd = end;
    } else {
      if (bytes[at++] !== 0x1a) return "record-form";
      let size = 0;
      let scale = 1;
      for (;;) {
        if (at >= end) return "record-form";
        const byte = bytes[at++]!;
        size += (byte & 0x7f) * scale;
        if (byte < 0x80) {
          if (byte === 0 && scale > 1) return "record-form";
          break;
        }
        scale *= 128;
      }
      if (size !== end - at) return "record-form";
      this.dataStart = at;
      this.dataEnd = end;
    }
    for (let i = end; i < frameEnd; i++) if (bytes[i] !== 0) return "padding";
    return "record";
  }
}

/**
 * etcd's test for a torn write: some 512-byte sector holds nothing but zeros of this frame. A disk that lost power writes a
 * sector whole or not at all, and the file was zero-filled before.
 *
 * @param start,end the frame's record and padding, without its length field
 * @param offset where `start` lies in the file
 */
export function hasZeroSector(bytes: Uint8Array, start: number, end: number, offset: number): boolean {
  let at = start;
  let position = offset;
  while (at < end) {
    const chunkEnd = Math.min(end, at + SECTOR_BYTES - (position % SECTOR_BYTES));
    let i = at;
    while (i < chunkEnd && bytes[i] === 0) i++;
    if (i === chunkEnd) return true;
    position += chunkEnd - at;
    at = chunkEnd;
  }
  return false;
}

/** The first byte in `[start, end)` that is not zero, or `end`. */
export function firstNonZero(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end && (bytes.byteOffset + at) % 4 !== 0) {
    if (bytes[at] !== 0) return at;
    at++;
  }
  if (at === end) return end;
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + at, (end - at) >> 2);
  let word = 0;
  while (word < words.length && words[word] === 0) word++;
  at += word * 4;
  while (at < end && bytes[at] === 0) at++;
  return at;
}

/** The end of `bytes[start, end)` without the zeros at its end. */
export function endWithoutZeros(bytes: Uint8Array, start: number, end: number): number {
  let at = end;
  while (at > start && bytes[at - 1] === 0) at--;
  return at;
}
