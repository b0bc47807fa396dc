/**
 * The reader and writer under the generated codecs (`generated/`), in place of the generator's own.
 *
 * Why our own: 64-bit fields that are `number` in memory are read and written without a `bigint`, empty bytes are shared, and
 * the reader is as strict as Go's: a known field of the wrong wire type, a group's end, field number 0 and a message that runs
 * over its end are refused, where the generator's reader passes over them. Telling 3.5's two kinds of log entry apart rests on that.
 *
 * Laws:
 * - Decoded bytes are views of the input.
 * - A 64-bit integer outside `[-(2^53-1), 2^53-1]` in a field that is `number` becomes the nearer end of that range. No revision,
 *   index or count gets there, so a request that names one still means "beyond all there is". What is read from a disk goes
 *   through stricter codecs (`fast/`, `wal.ts`, `raft.ts`), which throw.
 */
import { Arena } from "../base/arena.js";
import { EMPTY_BYTES, WireError } from "../base/bytes.js";
import { latin1FromBytes, textFromUtf8, utf8FromText } from "../base/text.js";

/** Messages inside messages, counted from the outermost. A nested transaction takes two; etcd allows 128 of them. */
const DEPTH_MAX = 300;

/** A writer keeps its buffer for the next one up to this size: larger ones are rare, and would stay forever. */
const KEPT_BYTES_MAX = 65_536;

const TWO_32 = 0x1_0000_0000;

let keptBuffer: Uint8Array | undefined;

/** What writers answer: entries and answers of the same moment. */
const finished = new Arena();

/** Appends fields to a buffer that grows. Law: `finish` is called once, and ends the writer. */
export class BinaryWriter {
  #buffer: Uint8Array;
  #length = 0;
  /** Where the messages under way begin, the outermost first. */
  readonly #starts: number[] = [];

  constructor() {
    this.#buffer = keptBuffer ?? new Uint8Array(1024);
    keptBuffer = undefined;
  }

  /** What was written; the caller's own from now on. */
  finish(): Uint8Array {
    const buffer = this.#buffer;
    const size = this.#length;
    this.#buffer = EMPTY_BYTES;
    this.#length = 0;
    if (buffer.length > KEPT_BYTES_MAX) return buffer.subarray(0, size);
    keptBuffer = buffer;
    return finished.copy(buffer, 0, size);
  }

  /** Begins a message inside this one. One byte is held free for its length. */
  fork(): this {
    this.#reserve(1);
    this.#starts.push(++this.#length);
    return this;
  }

  /** Ends the message inside: its length goes before it, and where that takes more than the one byte held, all moves up. */
  join(): this {
    const start = this.#starts.pop()!;
    const size = this.#length - start;
    if (size < 0x80) {
      this.#buffer[start - 1] = size;
      return this;
    }
    const extra = size < 0x4000 ? 1 : size < 0x20_0000 ? 2 : size < 0x1000_0000 ? 3 : 4;
    this.#reserve(extra);
    this.#buffer.copyWithin(start + extra, start, this.#length);
    this.#length = start - 1;
    this.uint32(size);
    this.#length = start + extra + size;
    return this;
  }

  #reserve(count: number): void {
    const needed = this.#length + count;
    if (needed <= this.#buffer.length) return;
    const grown = new Uint8Array(Math.max(needed, this.#buffer.length * 2));
    grown.set(this.#buffer.subarray(0, this.#length));
    this.#buffer = grown;
  }

  uint32(value: number): this {
    this.#reserve(5);
    const buffer = this.#buffer;
    let at = this.#length;
    let rest = value >>> 0;
    while (rest > 0x7f) {
      buffer[at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    buffer[at++] = rest;
    this.#length = at;
    return this;
  }

  int32(value: number): this {
    return value >= 0 ? this.uint32(value) : this.int64Number(value);
  }

  bool(value: boolean): this {
    return this.uint32(value ? 1 : 0);
  }

  /** A whole number in `[-(2^53-1), 2^53-1]`. */
  int64Number(value: number): this {
    if (value >= 0 && value < TWO_32) return this.uint32(value);
    if (!Number.isSafeInteger(value)) {
      throw new WireError("WIRE_OUT_OF_RANGE", `${value} is no whole number that JavaScript holds exactly`);
    }
    return this.#varint(value >>> 0, Math.floor(value / TWO_32) >>> 0);
  }

  uint64Number(value: number): this {
    if (value < 0) throw new WireError("WIRE_OUT_OF_RANGE", `${value} in an unsigned field`);
    return this.int64Number(value);
  }

  /** A `number` comes here from the generated code of oneofs only. */
  int64(value: bigint | number): this {
    if (typeof value === "number") return this.int64Number(value);
    const bits = BigInt.asUintN(64, value);
    return this.#varint(Number(bits & 0xffff_ffffn), Number(bits >> 32n));
  }

  uint64(value: bigint | number): this {
    return this.int64(value);
  }

  #varint(low: number, high: number): this {
    this.#reserve(10);
    const buffer = this.#buffer;
    let at = this.#length;
    let rest = low;
    let top = high;
    while (top > 0) {
      buffer[at++] = (rest & 0x7f) | 0x80;
      rest = ((rest >>> 7) | (top << 25)) >>> 0;
      top >>>= 7;
    }
    while (rest > 0x7f) {
      buffer[at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    buffer[at++] = rest;
    this.#length = at;
    return this;
  }

  bytes(value: Uint8Array): this {
    this.uint32(value.length);
    this.#reserve(value.length);
    this.#buffer.set(value, this.#length);
    this.#length += value.length;
    return this;
  }

  string(value: string): this {
    return this.bytes(utf8FromText(value));
  }
}

/** Walks over the fields of a message and of those inside it. */
export class BinaryReader {
  readonly #bytes: Uint8Array;
  /** The next byte; the generated loops compare it with the end of their message. */
  pos = 0;
  #depth = 0;
  /** The upper half of the varint last read by `#halves`, which returns the lower one. */
  #high = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Enters a message of so many bytes (of all that there are, when not given) and tells where it ends. */
  begin(size: number | undefined): number {
    if (++this.#depth > DEPTH_MAX) {
      throw new WireError("WIRE_MALFORMED", `over ${DEPTH_MAX} messages inside each other at byte ${this.pos}`);
    }
    const left = this.#bytes.length - this.pos;
    if (size === undefined) return this.#bytes.length;
    if (size > left) {
      throw new WireError("WIRE_TRUNCATED", `a message of ${size} bytes at byte ${this.pos}, ${left} left`);
    }
    return this.pos + size;
  }

  /** Leaves the message that ends at `end`. */
  end(end: number): void {
    this.#depth--;
    if (this.pos !== end) {
      throw new WireError(
        "WIRE_MALFORMED",
        `a field at byte ${this.pos} runs over the end of its message at byte ${end}`,
      );
    }
  }

  /** Throws for a known field that came with another wire type than its own. */
  wrongWireType(tag: number): never {
    throw new WireError("WIRE_MALFORMED", `wire type ${tag & 7} for field ${tag >>> 3} before byte ${this.pos}`);
  }

  uint32(): number {
    const bytes = this.#bytes;
    const first = bytes[this.pos];
    if (first !== undefined && first < 0x80) {
      this.pos++;
      return first;
    }
    return this.#halves() >>> 0;
  }

  int32(): number {
    return this.#halves() | 0;
  }

  bool(): boolean {
    const low = this.#halves();
    return low !== 0 || this.#high !== 0;
  }

  int64Number(): number {
    const low = this.#halves();
    const high = this.#high;
    return high === 0 ? low : clamp((high | 0) * TWO_32 + low);
  }

  uint64Number(): number {
    const low = this.#halves();
    return clamp(this.#high * TWO_32 + low);
  }

  int64(): bigint {
    return BigInt.asIntN(64, this.uint64());
  }

  uint64(): bigint {
    const low = this.#halves();
    const high = this.#high;
    return high === 0 ? BigInt(low) : (BigInt(high) << 32n) | BigInt(low);
  }

  /** A view of the input. */
  bytes(): Uint8Array {
    const size = this.uint32();
    const start = this.pos;
    const bytes = this.#bytes;
    if (size > bytes.length - start) {
      throw new WireError("WIRE_TRUNCATED", `a field of ${size} bytes at byte ${start}, ${bytes.length - start} left`);
    }
    if (size === 0) return EMPTY_BYTES;
    this.pos = start + size;
    // Not subarray: what the input is a subclass of (Node's Buffer) must not leak out.
    return new Uint8Array(bytes.buffer, bytes.byteOffset + start, size);
  }

  string(): string {
    const bytes = this.bytes();
    for (const byte of bytes) if (byte > 0x7f) return textFromUtf8(bytes);
    return latin1FromBytes(bytes);
  }

  /** Passes over the value of an unknown field. */
  skip(tag: number): void {
    if (tag < 8) throw new WireError("WIRE_MALFORMED", `field number 0 before byte ${this.pos}`);
    switch (tag & 7) {
      case 0:
        this.#halves();
        return;
      case 1:
        this.#advance(8);
        return;
      case 2:
        this.#advance(this.uint32());
        return;
      case 5:
        this.#advance(4);
        return;
      default:
        // Groups (3 and 4) are proto2's; none of etcd's messages has one.
        throw new WireError("WIRE_MALFORMED", `wire type ${tag & 7} before byte ${this.pos}`);
    }
  }

  #advance(count: number): void {
    const left = this.#bytes.length - this.pos;
    if (count > left) throw new WireError("WIRE_TRUNCATED", `${count} bytes wanted at byte ${this.pos}, ${left} left`);
    this.pos += count;
  }

  /** Reads a varint: returns its lower 32 bits, leaves the upper ones in `#high`. */
  #halves(): number {
    const bytes = this.#bytes;
    let at = this.pos;
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = bytes[at++];
      if (byte === undefined) throw new WireError("WIRE_TRUNCATED", `a varint is cut off at byte ${bytes.length}`);
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else high |= bits << (shift - 32);
      if (byte < 0x80) {
        this.pos = at;
        this.#high = high >>> 0;
        return low >>> 0;
      }
    }
    throw new WireError("WIRE_MALFORMED", `a varint over 10 bytes at byte ${this.pos}`);
  }
}

function clamp(value: number): number {
  if (value > Number.MAX_SAFE_INTEGER) return Number.MAX_SAFE_INTEGER;
  return value < -Number.MAX_SAFE_INTEGER ? -Number.MAX_SAFE_INTEGER : value;
}
