/**
 * gRPC's own layer over HTTP/2 DATA: each message is preceded by one byte (1: compressed) and its length in four bytes, big endian.
 *
 * Laws:
 * - No more than a message of the limit is ever gathered; a longer one is refused when its prefix has come, not when its end has.
 * - A message that comes in pieces is copied into one place as they come: small pieces do not hold the larger buffers that they came in,
 *   and the place grows with what has come, not with what the prefix promises.
 */
import { readUint32BE, writeUint32BE } from "../base/bytes.js";
import { utf8FromText } from "../base/text.js";
import { GrpcError, GrpcStatus } from "./status.js";

export const PREFIX_BYTES = 5;

/** Room for a message that has only begun. */
const FIRST_ROOM_BYTES = 4_096;

const NO_BYTES = new Uint8Array(0);

/** The prefix of a message. */
export function messagePrefix(length: number, compressed = false): Uint8Array {
  const prefix = new Uint8Array(PREFIX_BYTES);
  writePrefix(prefix, length, compressed);
  return prefix;
}

/** Writes a message's prefix over another one. */
export function writePrefix(prefix: Uint8Array, length: number, compressed: boolean): void {
  prefix[0] = compressed ? 1 : 0;
  writeUint32BE(prefix, 1, length);
}

/** The message with its prefix, uncompressed. */
export function frameMessage(message: Uint8Array): Uint8Array {
  const frame = new Uint8Array(PREFIX_BYTES + message.length);
  writeUint32BE(frame, 1, message.length);
  frame.set(message, PREFIX_BYTES);
  return frame;
}

/** Takes DATA as it comes, gives messages. */
export class Deframer {
  readonly #messageBytesMax: number;
  readonly #onMessage: (message: Uint8Array, format: number) => void;
  readonly #prefix = new Uint8Array(PREFIX_BYTES);
  #prefixBytes = 0;
  /** The message whose prefix is whole, as far as it has come. */
  #message: Uint8Array = NO_BYTES;
  #messageBytes = 0;
  #size = 0;

  /** `onMessage` must not push. `format` is the first byte: 1 for a compressed message. */
  constructor(messageBytesMax: number, onMessage: (message: Uint8Array, format: number) => void) {
    this.#messageBytesMax = messageBytesMax;
    this.#onMessage = onMessage;
  }

  /** Whether the bytes so far end in the midst of a message. */
  get midMessage(): boolean {
    return this.#prefixBytes > 0;
  }

  /** Whether a message's prefix is whole, and its end is not. */
  get hasPrefix(): boolean {
    return this.#prefixBytes === PREFIX_BYTES;
  }

  /** Bytes that the message under way still lacks; of one whose prefix is not whole, those of the prefix. */
  get missingBytes(): number {
    if (this.#prefixBytes < PREFIX_BYTES) return this.#prefixBytes === 0 ? 0 : PREFIX_BYTES - this.#prefixBytes;
    return this.#size - this.#messageBytes;
  }

  /**
   * Messages that come whole in one span are views of it.
   *
   * @throws GrpcError for a message over the limit (`RESOURCE_EXHAUSTED`), with grpc-go's text
   */
  push(bytes: Uint8Array, start = 0, end = bytes.length): void {
    let at = start;
    while (at < end) {
      if (this.#prefixBytes === 0 && end - at >= PREFIX_BYTES) {
        const size = this.#checkedSize(readUint32BE(bytes, at + 1));
        const from = at + PREFIX_BYTES;
        if (end - from >= size) {
          at = from + size;
          this.#onMessage(bytes.subarray(from, at), bytes[from - PREFIX_BYTES]!);
          continue;
        }
      }
      at = this.#gather(bytes, at, end);
    }
  }

  #gather(bytes: Uint8Array, from: number, end: number): number {
    let at = from;
    while (this.#prefixBytes < PREFIX_BYTES) {
      if (at === end) return at;
      this.#prefix[this.#prefixBytes++] = bytes[at++]!;
      if (this.#prefixBytes < PREFIX_BYTES) continue;
      this.#size = this.#checkedSize(readUint32BE(this.#prefix, 1));
      this.#messageBytes = 0;
      this.#message = NO_BYTES;
    }
    const count = Math.min(end - at, this.#size - this.#messageBytes);
    this.#grow(this.#messageBytes + count);
    this.#message.set(bytes.subarray(at, at + count), this.#messageBytes);
    this.#messageBytes += count;
    if (this.#messageBytes === this.#size) {
      const message = this.#message.subarray(0, this.#size);
      this.#prefixBytes = 0;
      this.#message = NO_BYTES;
      this.#onMessage(message, this.#prefix[0]!);
    }
    return at + count;
  }

  #grow(needed: number): void {
    if (needed <= this.#message.length) return;
    const grown = new Uint8Array(Math.min(this.#size, Math.max(needed * 2, FIRST_ROOM_BYTES)));
    grown.set(this.#message.subarray(0, this.#messageBytes));
    this.#message = grown;
  }

  #checkedSize(size: number): number {
    if (size <= this.#messageBytesMax) return size;
    throw tooLarge(size, this.#messageBytesMax);
  }
}

/** grpc-go's refusal of a message over the limit. */
export function tooLarge(size: number, max: number): GrpcError {
  return new GrpcError(GrpcStatus.resourceExhausted, `grpc: received message larger than max (${size} vs. ${max})`);
}

/** A status text as the header `grpc-message` has it: what is not printable ASCII, and `%`, as %XX of its UTF-8. */
export function encodeStatusText(text: string): string {
  if (/^[\x20-\x24\x26-\x7e]*$/.test(text)) return text;
  let encoded = "";
  for (const byte of utf8FromText(text)) {
    const plain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += plain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}

const TIMEOUT_UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

/** Milliseconds in a header `grpc-timeout` (up to 8 digits and a unit), or why it is none, in grpc-go's words. */
export function parseTimeout(text: string): number | GrpcError {
  const digits = text.slice(0, -1);
  const unit = TIMEOUT_UNITS[text.slice(-1)];
  const why =
    text.length < 2
      ? `transport: timeout string is too short: ${JSON.stringify(text)}`
      : text.length > 9
        ? `transport: timeout string is too long: ${JSON.stringify(text)}`
        : unit === undefined
          ? `transport: timeout unit is not recognized: ${JSON.stringify(text)}`
          : /^\d+$/.test(digits)
            ? undefined
            : `strconv.ParseUint: parsing ${JSON.stringify(digits)}: invalid syntax`;
  if (why !== undefined) return new GrpcError(GrpcStatus.internal, `malformed grpc-timeout: ${why}`);
  return Number(digits) * unit!;
}
