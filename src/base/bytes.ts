/**
 * Reading and writing bytes: little and big endian integers, and protobuf's wire format.
 *
 * Terms, indexes and revisions are 64-bit on disk and `number` in memory; each is checked against 2^53-1 where it enters.
 * IDs use the whole 64 bits and are `bigint`.
 */
import { CodedError, invariant } from "./errors.js";

export const EMPTY_BYTES: Uint8Array = new Uint8Array(0);

/** Thrown by readers for bytes that no writer of the format makes. `offset` counts from the start of the span given. */
export class WireError extends CodedError<"WIRE_TRUNCATED" | "WIRE_MALFORMED" | "WIRE_OUT_OF_RANGE"> {
  override readonly name = "WireError";
}

const TWO_32 = 0x1_0000_0000;
const LOW_32 = 0xffff_ffffn;

/** Protobuf wire types (the low three bits of a tag). */
export const WireType = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/** Appends protobuf fields to a buffer that grows. Reuse one through `reset()` where messages are many. */
export class WireWriter {
  #buffer: Uint8Array;
  #length = 0;

  constructor(capacity = 256) {
    this.#buffer = new Uint8Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  reset(): void {
    this.#length = 0;
  }

  /** A view of what was written; valid until the next write or reset. */
  view(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }

  /** A copy of what was written. */
  finish(): Uint8Array {
    return this.#buffer.slice(0, this.#length);
  }

  #reserve(count: number): void {
    const needed = this.#length + count;
    if (needed <= this.#buffer.length) return;
    const grown = new Uint8Array(Math.max(needed, this.#buffer.length * 2));
    grown.set(this.view());
    this.#buffer = grown;
  }

  /** A tag: field number (1 to 2^28-1) and wire type. */
  tag(field: number, type: number): this {
    return this.varint(field * 8 + type);
  }

  /** An unsigned integer up to 2^53-1. */
  varint(value: number): this {
    invariant(value >= 0, () => `varint of ${value}`);
    invariant(Number.isSafeInteger(value), () => `varint of ${value}`);
    this.#reserve(8);
    const buffer = this.#buffer;
    let at = this.#length;
    let rest = value;
    while (rest >= TWO_32) {
      buffer[at++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    let low = rest >>> 0;
    while (low > 0x7f) {
      buffer[at++] = (low & 0x7f) | 0x80;
      low >>>= 7;
    }
    buffer[at++] = low;
    this.#length = at;
    return this;
  }

  /** A 64-bit integer; a negative one is written as its two's complement, as protobuf's int64 is. */
  varint64(value: bigint): this {
    this.#reserve(10);
    const buffer = this.#buffer;
    let at = this.#length;
    // Halves of 32 bits: a shift of a bigint costs more than all the bytes.
    const bits = BigInt.asUintN(64, value);
    let low = Number(bits & LOW_32);
    let high = Number(bits >> 32n);
    while (high !== 0) {
      buffer[at++] = (low & 0x7f) | 0x80;
      low = ((low >>> 7) | (high << 25)) >>> 0;
      high >>>= 7;
    }
    while (low > 0x7f) {
      buffer[at++] = (low & 0x7f) | 0x80;
      low >>>= 7;
    }
    buffer[at++] = low;
    this.#length = at;
    return this;
  }

  /** The bytes as they are, without a length. */
  raw(bytes: Uint8Array): this {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
    return this;
  }

  /** A varint field, written even when zero. */
  uintField(field: number, value: number): this {
    return this.tag(field, WireType.varint).varint(value);
  }

  /** A varint field of a 64-bit integer, written even when zero. */
  uint64Field(field: number, value: bigint): this {
    return this.tag(field, WireType.varint).varint64(value);
  }

  boolField(field: number, value: boolean): this {
    return this.uintField(field, value ? 1 : 0);
  }

  /** A length-delimited field, written even when empty. */
  bytesField(field: number, value: Uint8Array): this {
    return this.tag(field, WireType.bytes).varint(value.length).raw(value);
  }
}

/** Walks over protobuf fields in a span of bytes. Never reads past the span; never allocates more than it holds. */
export class WireReader {
  readonly #bytes: Uint8Array;
  #at: number;
  readonly #end: number;

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  get offset(): number {
    return this.#at;
  }

  get done(): boolean {
    return this.#at >= this.#end;
  }

  /** The next tag as `field * 8 + wireType`. */
  tag(): number {
    const tag = this.varint();
    if (tag < 8) throw new WireError("WIRE_MALFORMED", `field number 0 at byte ${this.#at}`);
    return tag;
  }

  /** An unsigned integer up to 2^53-1. */
  varint(): number {
    let value = 0;
    let scale = 1;
    for (let count = 0; count < 10; count++) {
      if (this.#at >= this.#end) throw new WireError("WIRE_TRUNCATED", `a varint is cut off at byte ${this.#at}`);
      const byte = this.#bytes[this.#at++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) {
          throw new WireError("WIRE_OUT_OF_RANGE", `an integer over 2^53-1 ends at byte ${this.#at}`);
        }
        return value;
      }
      scale *= 128;
    }
    throw new WireError("WIRE_MALFORMED", `a varint over 10 bytes ends at byte ${this.#at}`);
  }

  /** An unsigned 64-bit integer. */
  varint64(): bigint {
    // The low 49 bits stay a whole number, in two parts; bigints are made once, in the end.
    let low = 0;
    let middle = 0;
    let high = 0;
    for (let count = 0; count < 10; count++) {
      if (this.#at >= this.#end) throw new WireError("WIRE_TRUNCATED", `a varint is cut off at byte ${this.#at}`);
      const byte = this.#bytes[this.#at++]!;
      const bits = byte & 0x7f;
      if (count < 4) low |= bits << (7 * count);
      else if (count < 7) middle |= bits << (7 * (count - 4));
      else high |= bits << (7 * (count - 7));
      if (byte >= 0x80) continue;
      const number = BigInt(middle * 0x1000_0000 + low);
      return high === 0 ? number : BigInt.asUintN(64, (BigInt(high) << 49n) | number);
    }
    throw new WireError("WIRE_MALFORMED", `a varint over 10 bytes ends at byte ${this.#at}`);
  }

  bool(): boolean {
    return this.varint64() !== 0n;
  }

  /** A length-delimited value, as a view of the span. */
  bytes(): Uint8Array {
    const size = this.varint();
    if (size > this.#end - this.#at) {
      throw new WireError(
        "WIRE_TRUNCATED",
        `a field of ${size} bytes at byte ${this.#at}, ${this.#end - this.#at} left`,
      );
    }
    const start = this.#at;
    this.#at += size;
    return this.#bytes.subarray(start, this.#at);
  }

  /** A reader over a length-delimited value. */
  message(): WireReader {
    return new WireReader(this.bytes());
  }

  /** Passes over the value of an unknown field. */
  skip(tag: number): void {
    switch (tag % 8) {
      case WireType.varint:
        this.varint64();
        return;
      case WireType.fixed64:
        this.#advance(8);
        return;
      case WireType.bytes:
        this.bytes();
        return;
      case WireType.fixed32:
        this.#advance(4);
        return;
      default:
        throw new WireError("WIRE_MALFORMED", `wire type ${tag % 8} at byte ${this.#at}`);
    }
  }

  #advance(count: number): void {
    if (count > this.#end - this.#at) {
      throw new WireError("WIRE_TRUNCATED", `${count} bytes wanted at byte ${this.#at}, ${this.#end - this.#at} left`);
    }
    this.#at += count;
  }
}

/** An unsigned 32-bit little-endian integer. */
export function readUint32LE(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

export function writeUint32LE(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}

/** An unsigned 32-bit big-endian integer. */
export function readUint32BE(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

export function writeUint32BE(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** A 64-bit big-endian integer up to 2^53-1; larger ones throw `WIRE_OUT_OF_RANGE`. */
export function readUint64BE(bytes: Uint8Array, at: number): number {
  return joinUint64(readUint32BE(bytes, at), readUint32BE(bytes, at + 4), at);
}

export function writeUint64BE(bytes: Uint8Array, at: number, value: number): void {
  writeUint32BE(bytes, at, Math.floor(value / TWO_32));
  writeUint32BE(bytes, at + 4, value >>> 0);
}

/** A 64-bit little-endian integer up to 2^53-1; larger ones throw `WIRE_OUT_OF_RANGE`. */
export function readUint64LE(bytes: Uint8Array, at: number): number {
  return joinUint64(readUint32LE(bytes, at + 4), readUint32LE(bytes, at), at);
}

export function writeUint64LE(bytes: Uint8Array, at: number, value: number): void {
  writeUint32LE(bytes, at, value >>> 0);
  writeUint32LE(bytes, at + 4, Math.floor(value / TWO_32));
}

function joinUint64(high: number, low: number, at: number): number {
  const value = high * TWO_32 + low;
  if (value > Number.MAX_SAFE_INTEGER) throw new WireError("WIRE_OUT_OF_RANGE", `an integer over 2^53-1 at byte ${at}`);
  return value;
}

/** Order of bytes as `memcmp` has it: negative, zero or positive. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const difference = a[i]! - b[i]!;
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && compareBytes(a, b) === 0;
}

export function isAllZero(bytes: Uint8Array, start = 0, end = bytes.length): boolean {
  for (let i = start; i < end; i++) if (bytes[i] !== 0) return false;
  return true;
}

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  let size = 0;
  for (const part of parts) size += part.length;
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
