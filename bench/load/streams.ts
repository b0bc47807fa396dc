/**
 * Many streams of one method on one connection, in raw frames of HTTP/2: what a stream costs must not be what its other side costs.
 *
 * Nothing here knows the messages: they come and go as bytes. A stream that ends ends the connection, with the reason.
 */
import { connect, type Socket } from "node:net";
import {
  Flag,
  FRAME_HEAD_BYTES,
  FrameBuffer,
  FrameType,
  PREFACE,
  readUint32,
  Setting,
  WINDOW_BYTES_DEFAULT,
} from "./frames.js";
import { writeLiteral } from "./hpack.js";

const WINDOW_BYTES = 2 ** 30;
const REFILL_BYTES = 2 ** 24;
const STREAM_REFILL_BYTES = 2 ** 20;
const GRPC_PREFIX_BYTES = 5;

/** Told of each message, `bytes[start, end)`, in the middle of reading: what it throws ends the connection. */
export type OnMessage = (stream: number, bytes: Uint8Array, start: number, end: number) => void;

interface OpenStream {
  /** The beginning of a message whose end has not come, `held[0, heldBytes)`: only such a message is copied. */
  held: Uint8Array;
  heldBytes: number;
  unfilled: number;
}

/** Room for at least so many bytes, with those that are there. */
function grown(bytes: Uint8Array, size: number): Uint8Array {
  const larger = new Uint8Array(Math.max(size, 2 * bytes.length));
  larger.set(bytes);
  return larger;
}

export class StreamConnection {
  readonly #socket: Socket;
  readonly #address: string;
  readonly #onMessage: OnMessage;
  readonly #streams: readonly OpenStream[];
  /** A frame's head, and what follows it where that is not data. */
  #frame: Uint8Array = new Uint8Array(64);
  #frameBytes = 0;
  /** Of the data of a frame, what has not come, and of which stream. */
  #dataLeft = 0;
  #dataStream = 0;
  #unfilled = 0;
  #out = new FrameBuffer();
  #error: Error | undefined;

  /** Opens so many streams, numbered from 0. */
  constructor(address: string, path: string, streams: number, onMessage: OnMessage) {
    this.#address = address;
    this.#onMessage = onMessage;
    this.#streams = Array.from({ length: streams }, () => ({ held: new Uint8Array(0), heldBytes: 0, unfilled: 0 }));
    const [host, port] = address.split(":");
    this.#socket = connect({ host: host!, port: Number(port), noDelay: true });
    this.#socket.on("data", (chunk) => this.#read(chunk));
    this.#socket.on("error", (error) => (this.#error ??= error));
    this.#socket.on("close", () => (this.#error ??= new Error(`${address} closed the connection`)));
    this.#out.text(PREFACE);
    this.#out.settings({ [Setting.push]: 0, [Setting.windowBytes]: WINDOW_BYTES });
    this.#out.windowUpdate(0, WINDOW_BYTES - WINDOW_BYTES_DEFAULT);
    for (const number of this.#streams.keys()) this.#open(2 * number + 1, path);
    this.flush();
  }

  /** What went wrong; nothing more is read then. */
  get error(): Error | undefined {
    return this.#error;
  }

  /** Stops reading, as a client that hangs. */
  pause(): void {
    this.#socket.pause();
  }
  resume(): void {
    this.#socket.resume();
  }

  close(): void {
    this.#error ??= new Error("closed");
    this.#socket.destroy();
  }

  /** Sends a message; with those of the same turn where it is sent from `onMessage`, else `flush` sends it. */
  send(stream: number, message: Uint8Array): void {
    const frame = Buffer.alloc(GRPC_PREFIX_BYTES + message.length);
    frame.writeUInt32BE(message.length, 1);
    frame.set(message, GRPC_PREFIX_BYTES);
    this.#out.frame(FrameType.data, 0, 2 * stream + 1, frame);
  }

  flush(): void {
    if (this.#out.size === 0) return;
    const { written } = this.#out;
    this.#socket.write(written);
    this.#out = new FrameBuffer(1024);
  }

  #open(stream: number, path: string): void {
    const fields = [
      { name: ":method", value: "POST" },
      { name: ":scheme", value: "http" },
      { name: ":path", value: path },
      { name: ":authority", value: this.#address },
      { name: "content-type", value: "application/grpc" },
      { name: "te", value: "trailers" },
    ];
    this.#out.frame(FrameType.headers, Flag.endHeaders, stream, Uint8Array.from(fields.flatMap(writeLiteral)));
  }

  #read(chunk: Uint8Array): void {
    if (this.#error !== undefined) return;
    try {
      this.#frames(chunk);
    } catch (error) {
      this.#error = error as Error;
      this.#socket.destroy();
      return;
    }
    if (this.#unfilled >= REFILL_BYTES) {
      this.#out.windowUpdate(0, this.#unfilled);
      this.#unfilled = 0;
    }
    this.flush();
  }

  #frames(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.#dataLeft > 0) {
        const end = Math.min(bytes.length, at + this.#dataLeft);
        this.#dataLeft -= end - at;
        this.#data(this.#dataStream, bytes, at, end);
        at = end;
        continue;
      }
      this.#frame[this.#frameBytes++] = bytes[at++]!;
      if (this.#frameBytes < FRAME_HEAD_BYTES) continue;
      const frame = this.#frame;
      const length = (frame[0]! << 16) | (frame[1]! << 8) | frame[2]!;
      const stream = readUint32(frame, 5) & 0x7fff_ffff;
      if (frame[3] === FrameType.data) {
        this.#dataLeft = length;
        this.#dataStream = stream;
      } else {
        const end = FRAME_HEAD_BYTES + length;
        if (end > frame.length) this.#frame = grown(frame, end);
        if (this.#frameBytes < end) continue;
        this.#control(frame[3]!, frame[4]!, stream, frame.subarray(FRAME_HEAD_BYTES, end));
      }
      this.#frameBytes = 0;
    }
  }

  #control(type: number, flags: number, stream: number, payload: Uint8Array): void {
    switch (type) {
      case FrameType.settings:
        if ((flags & Flag.ack) === 0) this.#out.head(FrameType.settings, Flag.ack, 0, 0);
        return;
      case FrameType.ping:
        if ((flags & Flag.ack) === 0) this.#out.frame(FrameType.ping, Flag.ack, 0, payload);
        return;
      case FrameType.headers:
        if ((flags & Flag.endStream) !== 0) throw new Error(`stream ${stream} ended`);
        return;
      case FrameType.reset:
      case FrameType.goAway:
        throw new Error(`a frame of type ${type} for stream ${stream}`);
      default:
    }
  }

  #data(stream: number, bytes: Uint8Array, start: number, end: number): void {
    const number = (stream - 1) / 2;
    const state = this.#streams[number]!;
    this.#unfilled += end - start;
    state.unfilled += end - start;
    if (state.unfilled >= STREAM_REFILL_BYTES) {
      this.#out.windowUpdate(stream, state.unfilled);
      state.unfilled = 0;
    }
    let at = start;
    while (at < end) {
      if (state.heldBytes > 0) at = this.#hold(number, state, bytes, at, end);
      else {
        const to = end - at < GRPC_PREFIX_BYTES ? Infinity : at + GRPC_PREFIX_BYTES + readUint32(bytes, at + 1);
        if (to > end) at = this.#hold(number, state, bytes, at, end);
        else {
          this.#onMessage(number, bytes, at + GRPC_PREFIX_BYTES, to);
          at = to;
        }
      }
    }
  }

  /** Keeps bytes until a message is whole. Answers where the next begins. */
  #hold(number: number, state: OpenStream, bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    const keepTo = (size: number): boolean => {
      const count = Math.max(0, Math.min(size - state.heldBytes, end - at));
      if (state.held.length < size) state.held = grown(state.held, size);
      state.held.set(bytes.subarray(at, at + count), state.heldBytes);
      state.heldBytes += count;
      at += count;
      return state.heldBytes >= size;
    };
    if (!keepTo(GRPC_PREFIX_BYTES)) return at;
    const size = GRPC_PREFIX_BYTES + readUint32(state.held, 1);
    if (keepTo(size)) {
      state.heldBytes = 0;
      this.#onMessage(number, state.held, GRPC_PREFIX_BYTES, size);
    }
    return at;
  }
}
