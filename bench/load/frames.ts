/**
 * Frames of HTTP/2 (RFC 9113, section 4), read from chunks that end anywhere and written into one buffer a turn.
 *
 *     bytes 0-2 payload length, 3 type, 4 flags, 5-8 stream (its top bit is reserved), then the payload
 *
 * Laws: what DATA carries is counted and passed over, not copied; a payload of any other frame is whole when it is handed over. Bytes
 * that are handed over may be read until the call returns.
 */

export const FrameType = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const Flag = { ack: 1, endStream: 1, endHeaders: 4, padded: 8, priority: 0x20 } as const;

export const Setting = {
  headerTableBytes: 1,
  push: 2,
  streamsMax: 3,
  windowBytes: 4,
  frameBytesMax: 5,
} as const;

export const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
export const FRAME_HEAD_BYTES = 9;
/** What either side may send before a setting says otherwise. */
export const WINDOW_BYTES_DEFAULT = 65_535;
export const FRAME_BYTES_DEFAULT = 16_384;

export interface FrameHandler {
  /** A whole DATA frame went by. @param length its payload, padding included, as flow control counts it */
  onData(flags: number, stream: number, length: number): void;
  /** Any other frame; its payload is `bytes[start, end)`. */
  onFrame(type: number, flags: number, stream: number, bytes: Uint8Array, start: number, end: number): void;
}

export class FrameReader {
  readonly #handler: FrameHandler;
  /** The beginning of a frame whose end has not come. */
  #held: Uint8Array = new Uint8Array(64);
  #heldBytes = 0;
  /** What is still to come of a DATA frame's payload, with its flags, stream and length. */
  #passing = 0;
  #flags = 0;
  #stream = 0;
  #length = 0;

  constructor(handler: FrameHandler) {
    this.#handler = handler;
  }

  /** Takes the next `size` bytes of the connection. */
  push(chunk: Uint8Array, size: number): void {
    let at = this.#pass(0, size);
    if (this.#heldBytes > 0) at = this.#complete(chunk, at, size);
    while (size - at >= FRAME_HEAD_BYTES && this.#passing === 0) {
      const length = lengthAt(chunk, at);
      if (chunk[at + 3] === FrameType.data) {
        this.#enterData(chunk, at);
        at = this.#pass(at + FRAME_HEAD_BYTES, size);
      } else {
        const end = at + FRAME_HEAD_BYTES + length;
        if (end > size) break;
        this.#handler.onFrame(chunk[at + 3]!, chunk[at + 4]!, streamAt(chunk, at), chunk, at + FRAME_HEAD_BYTES, end);
        at = end;
      }
    }
    this.#hold(chunk, at, size);
  }

  #enterData(head: Uint8Array, at: number): void {
    this.#length = lengthAt(head, at);
    this.#flags = head[at + 4]!;
    this.#stream = streamAt(head, at);
    this.#passing = this.#length;
    if (this.#length === 0) this.#handler.onData(this.#flags, this.#stream, 0);
  }

  /** Goes past the payload of DATA; gives where it ends in this chunk of `size` bytes. */
  #pass(at: number, size: number): number {
    if (this.#passing === 0) return at;
    const here = Math.min(this.#passing, size - at);
    this.#passing -= here;
    if (this.#passing === 0) this.#handler.onData(this.#flags, this.#stream, this.#length);
    return at + here;
  }

  /** Completes the frame that is held, as far as this chunk goes; gives where the next one begins. */
  #complete(chunk: Uint8Array, from: number, size: number): number {
    let at = this.#take(chunk, from, size, FRAME_HEAD_BYTES);
    if (this.#heldBytes < FRAME_HEAD_BYTES) return at;
    const held = this.#held;
    if (held[3] === FrameType.data) {
      this.#heldBytes = 0;
      this.#enterData(held, 0);
      return this.#pass(at, size);
    }
    const whole = FRAME_HEAD_BYTES + lengthAt(held, 0);
    at = this.#take(chunk, at, size, whole);
    if (this.#heldBytes < whole) return at;
    this.#heldBytes = 0;
    this.#handler.onFrame(this.#held[3]!, this.#held[4]!, streamAt(this.#held, 0), this.#held, FRAME_HEAD_BYTES, whole);
    return at;
  }

  /** Takes over bytes until `wanted` are held. */
  #take(chunk: Uint8Array, at: number, size: number, wanted: number): number {
    const here = Math.max(0, Math.min(wanted - this.#heldBytes, size - at));
    if (this.#held.length < wanted) {
      const larger = new Uint8Array(wanted);
      larger.set(this.#held.subarray(0, this.#heldBytes));
      this.#held = larger;
    }
    this.#held.set(chunk.subarray(at, at + here), this.#heldBytes);
    this.#heldBytes += here;
    return at + here;
  }

  #hold(chunk: Uint8Array, at: number, size: number): void {
    if (at < size) this.#take(chunk, at, size, this.#heldBytes + size - at);
  }
}

const lengthAt = (bytes: Uint8Array, at: number): number => (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;

const streamAt = (bytes: Uint8Array, at: number): number => readUint32(bytes, at + 5) & 0x7fff_ffff;

/** A big-endian number of 32 bits. */
export function readUint32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

export function writeUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** Frames on their way out, one after the other; grows as it must. */
export class FrameBuffer {
  #bytes: Uint8Array;
  #size = 0;

  constructor(bytes = 64 * 1024) {
    this.#bytes = new Uint8Array(bytes);
  }

  get size(): number {
    return this.#size;
  }

  /** What was written since the last `clear`. */
  get written(): Uint8Array {
    return this.#bytes.subarray(0, this.#size);
  }

  clear(): void {
    this.#size = 0;
  }

  text(text: string): void {
    this.bytes(Buffer.from(text, "latin1"));
  }

  bytes(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#size);
    this.#size += bytes.length;
  }

  frame(type: number, flags: number, stream: number, payload: Uint8Array): void {
    this.head(type, flags, stream, payload.length);
    this.bytes(payload);
  }

  /** A frame's head; the payload is to follow. */
  head(type: number, flags: number, stream: number, length: number): void {
    this.#reserve(FRAME_HEAD_BYTES + length);
    const bytes = this.#bytes;
    const at = this.#size;
    bytes[at] = length >>> 16;
    bytes[at + 1] = length >>> 8;
    bytes[at + 2] = length;
    bytes[at + 3] = type;
    bytes[at + 4] = flags;
    writeUint32(bytes, at + 5, stream);
    this.#size = at + FRAME_HEAD_BYTES;
  }

  settings(values: Readonly<Record<number, number>>): void {
    const pairs = Object.entries(values);
    this.head(FrameType.settings, 0, 0, pairs.length * 6);
    for (const [setting, value] of pairs) {
      const pair = Uint8Array.of(0, Number(setting), 0, 0, 0, 0);
      writeUint32(pair, 2, value);
      this.bytes(pair);
    }
  }

  windowUpdate(stream: number, credit: number): void {
    const payload = new Uint8Array(4);
    writeUint32(payload, 0, credit);
    this.frame(FrameType.windowUpdate, 0, stream, payload);
  }

  #reserve(more: number): void {
    if (this.#size + more <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#size + more));
    larger.set(this.written);
    this.#bytes = larger;
  }
}

/** The settings in a frame's payload, by their number. */
export function readSettings(bytes: Uint8Array, start: number, end: number): Map<number, number> {
  const settings = new Map<number, number>();
  for (let at = start; at + 6 <= end; at += 6) {
    settings.set((bytes[at]! << 8) | bytes[at + 1]!, readUint32(bytes, at + 2));
  }
  return settings;
}

/** Where the payload proper of a HEADERS frame lies, without padding and priority. */
export function headersFragment(
  flags: number,
  bytes: Uint8Array,
  start: number,
  end: number,
): { readonly start: number; readonly end: number } {
  let [low, high] = [start, end];
  if ((flags & Flag.padded) !== 0) high -= bytes[low++]!;
  if ((flags & Flag.priority) !== 0) low += 5;
  if (low > high) throw new Error("a HEADERS frame is padded past its end");
  return { start: low, end: high };
}
