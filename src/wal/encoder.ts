/**
 * Records to bytes, exactly as etcd writes them, into one buffer that is used again and again.
 *
 * A frame: a length field of 8 bytes (see `writeLengthField`), a record (`1: type, 2: crc, 3: data`, protobuf), zeros to the
 * next multiple of 8. The checksum runs on over the `data` of all records, that of the record itself included; a CRC record
 * has no data and carries the checksum of what came before it.
 */
import { crc32c, crc32cPortable } from "../base/crc32c.js";
import { invariant } from "../base/errors.js";
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
const ENTRY_OVERHEAD_MAX = 64;

/** From this size on a checksum is worth a call of the native implementation, and a view that is garbage right after it. */
const NATIVE_CRC_BYTES_MIN = 512;

/** The running checksum after `bytes[start, end)`. */
export function chainCrc(crc: number, bytes: Uint8Array, start: number, end: number): number {
  if (end - start < NATIVE_CRC_BYTES_MIN) return crc32cPortable(crc, bytes, start, end);
  return crc32c(crc, bytes.subarray(start, end));
}

/** Zeros that follow a record of `size` bytes. */
export function paddingOf(size: number): number {
  return (FRAME_ALIGNMENT - (size % FRAME_ALIGNMENT)) % FRAME_ALIGNMENT;
}

/** The length field, little endian: bits 0-55 record bytes, 56-58 padding bytes, 63 "has padding", others zero. */
export function writeLengthField(bytes: Uint8Array, at: number, size: number): void {
  const padding = paddingOf(size);
  bytes[at] = size;
  bytes[at + 1] = size >>> 8;
  bytes[at + 2] = size >>> 16;
  bytes[at + 3] = size >>> 24;
  const high = size >= TWO_32 ? Math.floor(size / TWO_32) : 0;
  bytes[at + 4] = high;
  bytes[at + 5] = high >>> 8;
  bytes[at + 6] = high >>> 16;
  bytes[at + 7] = padding === 0 ? 0 : HAS_PADDING | padding;
}

/** Appends frames to a buffer and carries the checksum along. */
export class RecordEncoder {
  #buffer: Uint8Array;
  #length = 0;
  #crc: number;

  /** @param crc the checksum of the log so far */
  constructor(crc: number, capacity = 64 * 1024) {
    this.#crc = crc;
    this.#buffer = new Uint8Array(capacity);
  }

  /** The checksum of everything encoded so far. */
  get crc(): number {
    return this.#crc;
  }

  get length(): number {
    return this.#length;
  }

  /** What was encoded since `reset`; valid until the next record or reset. */
  view(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
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
   * The hot path: no allocation. The checksum stands before the data and its varint has 1 to 5 bytes; five are assumed (true
   * of 15 in 16 checksums), and the data moves when it turns out shorter.
   */
  entry(entry: Entry): void {
    const { type, term, index, data } = entry;
    const dataBytes = data.length;
    const termBytes = varintBytes(term);
    const indexBytes = varintBytes(index);
    let size = 4 + termBytes + indexBytes;
    if (dataBytes > 0) size += 1 + varintBytes(dataBytes) + dataBytes;
    const buffer = this.#reserve(size + ENTRY_OVERHEAD_MAX);
    const frame = this.#length;

    const sizeBytes = varintBytes(size);
    const start = frame + FRAME_HEADER_BYTES + 3 + 5 + 1 + sizeBytes;
    let at = start;
    buffer[at++] = 0x08;
    buffer[at++] = type;
    buffer[at++] = 0x10;
    at = writeVarint(buffer, at, term);
    buffer[at++] = 0x18;
    at = writeVarint(buffer, at, index);
    if (dataBytes > 0) {
      buffer[at++] = 0x22;
      at = writeVarint(buffer, at, dataBytes);
      buffer.set(data, at);
      at += dataBytes;
    }
    const crc = chainCrc(this.#crc, buffer, start, at);
    this.#crc = crc;
    const crcBytes = varintBytes(crc);
    if (crcBytes !== 5) {
      buffer.copyWithin(start - 5 + crcBytes, start, at);
      at -= 5 - crcBytes;
    }
    let head = frame + FRAME_HEADER_BYTES;
    buffer[head++] = 0x08;
    buffer[head++] = RecordType.entry;
    buffer[head++] = 0x10;
    head = writeVarint(buffer, head, crc);
    buffer[head++] = 0x1a;
    writeVarint(buffer, head, size);
    this.#finish(frame, at);
  }

  #record(type: number, data: Uint8Array | undefined): void {
    if (data !== undefined) this.#crc = crc32c(this.#crc, data);
    const buffer = this.#reserve((data?.length ?? 0) + ENTRY_OVERHEAD_MAX);
    const frame = this.#length;
    let at = frame + FRAME_HEADER_BYTES;
    buffer[at++] = 0x08;
    buffer[at++] = type;
    buffer[at++] = 0x10;
    at = writeVarint(buffer, at, this.#crc);
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
    const size = end - frame - FRAME_HEADER_BYTES;
    writeLengthField(this.#buffer, frame, size);
    const frameEnd = end + paddingOf(size);
    for (let at = end; at < frameEnd; at++) this.#buffer[at] = 0;
    this.#length = frameEnd;
  }

  #reserve(count: number): Uint8Array {
    const needed = this.#length + count;
    if (needed > this.#buffer.length) {
      const grown = new Uint8Array(Math.max(needed, this.#buffer.length * 2));
      grown.set(this.view());
      this.#buffer = grown;
    }
    return this.#buffer;
  }
}

/** Bytes of an unsigned varint. */
function varintBytes(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x20_0000) return 3;
  if (value < 0x1000_0000) return 4;
  let bytes = 5;
  for (let rest = Math.floor(value / 0x8_0000_0000); rest > 0; rest = Math.floor(rest / 128)) bytes++;
  return bytes;
}

function writeVarint(bytes: Uint8Array, at: number, value: number): number {
  let rest = value;
  if (rest >= TWO_31) {
    invariant(Number.isSafeInteger(rest), () => `varint of ${value}`);
    while (rest >= TWO_31) {
      bytes[at++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
  }
  while (rest > 0x7f) {
    bytes[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  bytes[at++] = rest;
  return at;
}
