/**
 * Records to bytes, exactly as etcd writes them, into one buffer that is used again and again.
 *
 * A frame: a length field of 8 bytes (see `writeLengthField`), a record (`1: type, 2: crc, 3: data`, protobuf), zeros to the
 * next multiple of 8. The checksum runs on over the `data` of all records, that of the record itself included; a CRC record
 * has no data and carries the checksum of what came before it.
 */
import { Crc32cBuffer, crc32cSigned, crc32cSpan } from "../base/crc32c.js";
import { InvariantError } from "../base/errors.js";
import { encodeHardState, type Entry, type HardState } from "../proto/raft.js";
import { encodeWalSnapshot, type WalSnapshot } from "../proto/wal.js";

export const FRAME_HEADER_BYTES = 8;
export const FRAME_ALIGNMENT = 8;

/** Types of records, as bytes on disk. */
export const RecordType = { metadata: 1, entry: 2, state: 3, crc: 4, snapshot: 5 } as const;

const HAS_PADDING = 0x80;
const TWO_31 = 0x8000_0000;
const TWO_32 = 0x1_0000_0000;

/** Bytes around the data of an entry, at most: frame, record header, entry header, padding. */
export const ENTRY_OVERHEAD_MAX = 64;

/** The running checksum after `bytes[start, end)`, unsigned. */
export function chainCrc(crc: number, bytes: Uint8Array, start: number, end: number): number {
  return crc32cSpan(crc, bytes, start, end) >>> 0;
}

/** Zeros that follow a record of `size` bytes. */
export function paddingOf(size: number): number {
  return -size & (FRAME_ALIGNMENT - 1);
}

/** The length field, little endian: bits 0-55 record bytes, 56-58 padding bytes, 63 "has padding", others zero. */
export function writeLengthField(bytes: Uint8Array, at: number, size: number): void {
  const padding = paddingOf(size);
  bytes[at] = size;
  bytes[at + 1] = size >>> 8;
  bytes[at + 2] = size >>> 16;
  bytes[at + 3] = size >>> 24;
  const high = size < TWO_32 ? 0 : Math.floor(size / TWO_32);
  bytes[at + 4] = high;
  bytes[at + 5] = high >>> 8;
  bytes[at + 6] = high >>> 16;
  bytes[at + 7] = padding === 0 ? 0 : HAS_PADDING | padding;
}

/** Appends frames to a buffer and carries the checksum along. */
export class RecordEncoder {
  readonly #buffer: Crc32cBuffer;
  #length = 0;
  /** Signed: an unsigned one would be a number on the heap every other time. */
  #crc: number;

  /** @param crc the checksum of the log so far */
  constructor(crc: number, capacity = 64 * 1024) {
    this.#crc = crc | 0;
    this.#buffer = new Crc32cBuffer(capacity);
  }

  /** The checksum of everything encoded so far. */
  get crc(): number {
    return this.#crc >>> 0;
  }

  get length(): number {
    return this.#length;
  }

  /** What was encoded since `reset`; valid until the next record or reset. */
  view(): Uint8Array {
    return this.#buffer.bytes.subarray(0, this.#length);
  }

  /** Forgets the bytes, not the checksum. */
  reset(): void {
    this.#length = 0;
  }

  crcRecord(): void {
    this.#record(RecordType.crc, undefined);
  }

  /** Go leaves a nil slice out; etcd's metadata is never empty. */
  metadata(metadata: Uint8Array): void {
    this.#record(RecordType.metadata, metadata.length === 0 ? undefined : metadata);
  }

  state(state: HardState): void {
    this.#record(RecordType.state, encodeHardState(state));
  }

  snapshot(snapshot: WalSnapshot): void {
    this.#record(RecordType.snapshot, encodeWalSnapshot(snapshot));
  }

  /**
   * The hot path: no allocation, and the data is copied once. The checksum stands before the data and its varint has 1 to 5
   * bytes; five are assumed (true of 15 in 16 checksums), and the entry moves when it turns out shorter.
   */
  entry(entry: Entry): void {
    const { type, term, index, data } = entry;
    const dataBytes = data.length;
    let headBytes = 4 + varintBytes(term) + varintBytes(index);
    if (dataBytes > 0) headBytes += 1 + varintBytes(dataBytes);
    const size = headBytes + dataBytes;
    const buffer = this.#reserve(size + ENTRY_OVERHEAD_MAX);
    const frame = this.#length;

    const head = frame + FRAME_HEADER_BYTES + 3 + 5 + 1 + varintBytes(size);
    let headEnd = head;
    buffer[headEnd++] = 0x08;
    buffer[headEnd++] = type;
    buffer[headEnd++] = 0x10;
    headEnd = writeVarint(buffer, headEnd, term);
    buffer[headEnd++] = 0x18;
    headEnd = writeVarint(buffer, headEnd, index);
    if (dataBytes > 0) {
      buffer[headEnd++] = 0x22;
      headEnd = writeVarint(buffer, headEnd, dataBytes);
    }
    const dataEnd = headEnd + dataBytes;
    if (dataBytes > 0) buffer.set(data, headEnd);
    const crc = this.#buffer.crc32c(this.#crc, head, dataEnd);
    this.#crc = crc;

    let at = frame + FRAME_HEADER_BYTES;
    buffer[at++] = 0x08;
    buffer[at++] = RecordType.entry;
    buffer[at++] = 0x10;
    at = writeVarint32(buffer, at, crc);
    buffer[at++] = 0x1a;
    at = writeVarint(buffer, at, size);
    if (at !== head) buffer.copyWithin(at, head, dataEnd);
    this.#finish(frame, at + size);
  }

  #record(type: number, data: Uint8Array | undefined): void {
    if (data !== undefined) this.#crc = crc32cSigned(this.#crc, data);
    const buffer = this.#reserve((data?.length ?? 0) + ENTRY_OVERHEAD_MAX);
    const frame = this.#length;
    let at = frame + FRAME_HEADER_BYTES;
    buffer[at++] = 0x08;
    buffer[at++] = type;
    buffer[at++] = 0x10;
    at = writeVarint32(buffer, at, this.#crc);
    if (data !== undefined) {
      buffer[at++] = 0x1a;
      at = writeVarint(buffer, at, data.length);
      buffer.set(data, at);
      at += data.length;
    }
    this.#finish(frame, at);
  }

  /** Writes the length field of the frame whose record ends at `end`, and its padding. */
  #finish(frame: number, end: number): void {
    const { bytes } = this.#buffer;
    const size = end - frame - FRAME_HEADER_BYTES;
    writeLengthField(bytes, frame, size);
    // As many zeros as padding can have: what is too much lies in the place of the next frame, and no branch depends on the size.
    bytes[end] = 0;
    bytes[end + 1] = 0;
    bytes[end + 2] = 0;
    bytes[end + 3] = 0;
    bytes[end + 4] = 0;
    bytes[end + 5] = 0;
    bytes[end + 6] = 0;
    this.#length = end + paddingOf(size);
  }

  #reserve(count: number): Uint8Array {
    const buffer = this.#buffer;
    const needed = this.#length + count;
    if (needed > buffer.bytes.length) buffer.grow(Math.max(needed, buffer.bytes.length * 2));
    return buffer.bytes;
  }
}

/** Bytes of an unsigned varint. */
function varintBytes(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  return value < 0x1000_0000 ? 4 : longVarintBytes(value);
}

/** Apart, so that the function above is small enough to be inlined. */
function longVarintBytes(value: number): number {
  let bytes = 5;
  for (let rest = Math.floor(value / 0x8_0000_0000); rest > 0; rest = Math.floor(rest / 128)) bytes++;
  return bytes;
}

function writeVarint(bytes: Uint8Array, at: number, value: number): number {
  if (value >= TWO_31) return writeLongVarint(bytes, at, value);
  let rest = value;
  while (rest > 0x7f) {
    bytes[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  bytes[at++] = rest;
  return at;
}

/** Beyond what the operators on bits reach. */
function writeLongVarint(bytes: Uint8Array, at: number, value: number): number {
  if (!Number.isSafeInteger(value)) throw new InvariantError(`varint of ${value}`);
  let rest = value;
  while (rest >= TWO_31) {
    bytes[at++] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
  }
  return writeVarint(bytes, at, rest);
}

/** The unsigned 32-bit integer with the same bits as `value`, which stays small in memory and off the division. */
function writeVarint32(bytes: Uint8Array, at: number, value: number): number {
  let rest = value;
  while (rest >>> 7 !== 0) {
    bytes[at++] = rest | 0x80;
    rest >>>= 7;
  }
  bytes[at++] = rest;
  return at;
}
