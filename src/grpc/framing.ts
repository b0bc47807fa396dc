/**
 * gRPC's own layer over HTTP/2 DATA: each message is preceded by one byte (1: compressed) and its length in four bytes, big endian.
 *
 * Law: no more than a message of the limit is ever gathered; a longer one is refused when its prefix has come, not when its end has.
 */
import { concatBytes, readUint32BE, writeUint32BE } from "../base/bytes.js";
import { GrpcError, GrpcStatus } from "./status.js";

export const PREFIX_BYTES = 5;

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
  readonly #onMessage: (message: Uint8Array) => void;
  /** What has come of a message that is not whole. */
  #parts: Uint8Array[] = [];
  #partBytes = 0;

  constructor(messageBytesMax: number, onMessage: (message: Uint8Array) => void) {
    this.#messageBytesMax = messageBytesMax;
    this.#onMessage = onMessage;
  }

  /** Whether the bytes so far end in the midst of a message. */
  get midMessage(): boolean {
    return this.#partBytes > 0;
  }

  /**
   * Messages that fit into one chunk are views of it.
   *
   * @throws GrpcError for a message over the limit (`RESOURCE_EXHAUSTED`) or a compressed one (`INTERNAL`), with grpc-go's texts
   */
  push(chunk: Uint8Array): void {
    let bytes = chunk;
    if (this.#partBytes > 0) {
      this.#parts.push(chunk);
      this.#partBytes += chunk.length;
      if (this.#partBytes < this.#neededBytes()) return;
      bytes = concatBytes(this.#parts);
    }
    let at = 0;
    while (bytes.length - at >= PREFIX_BYTES) {
      const size = this.#checkPrefix(bytes, at);
      if (bytes.length - at - PREFIX_BYTES < size) break;
      const start = at + PREFIX_BYTES;
      at = start + size;
      this.#onMessage(bytes.subarray(start, at));
    }
    this.#parts = at === bytes.length ? [] : [bytes.subarray(at)];
    this.#partBytes = bytes.length - at;
  }

  /** Bytes that must have come before there is something new to do: the whole message, or its prefix. */
  #neededBytes(): number {
    const first = this.#parts[0]!;
    if (first.length >= PREFIX_BYTES) return PREFIX_BYTES + readUint32BE(first, 1);
    return PREFIX_BYTES;
  }

  #checkPrefix(bytes: Uint8Array, at: number): number {
    const size = readUint32BE(bytes, at + 1);
    if (bytes[at] !== 0) {
      throw new GrpcError(GrpcStatus.internal, "grpc: compressed flag set with identity or empty encoding");
    }
    if (size > this.#messageBytesMax) {
      throw new GrpcError(
        GrpcStatus.resourceExhausted,
        `grpc: received message larger than max (${size} vs. ${this.#messageBytesMax})`,
      );
    }
    return size;
  }
}

/** A status text as the header `grpc-message` has it: what is not printable ASCII, and `%`, as %XX of its UTF-8. */
export function encodeStatusText(text: string): string {
  let encoded = "";
  for (const byte of new TextEncoder().encode(text)) {
    const plain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += plain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}

const TIMEOUT_UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

/** Milliseconds in a header `grpc-timeout` (up to 8 digits and a unit); undefined when it is malformed. */
export function parseTimeout(text: string): number | undefined {
  const match = /^(\d{1,8})([HMSmun])$/.exec(text);
  return match === null ? undefined : Number(match[1]) * TIMEOUT_UNITS[match[2]!]!;
}
