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
  /** The beginning of a message whose end has not come. */
  held: Uint8Array;
  unfilled: number;
}

export class StreamConnection {
  readonly #socket: Socket;
  readonly #address: string;
  readonly #onMessage: OnMessage;
  readonly #streams: readonly OpenStream[];
  #held: Uint8Array = new Uint8Array(0);
  #unfilled = 0;
  #out = new FrameBuffer();
  #error: Error | undefined;

  /** Opens so many streams, numbered from 0. */
  constructor(address: string, path: string, streams: number, onMessage: OnMessage) {
    this.#address = address;
    this.#onMessage = onMessage;
    this.#streams = Array.from({ length: streams }, () => ({ held: new Uint8Array(0), unfilled: 0 }));
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
      this.#frames(this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]));
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
    while (bytes.length - at >= FRAME_HEAD_BYTES) {
      const length = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
      const start = at + FRAME_HEAD_BYTES;
      const end = start + length;
      if (end > bytes.length) break;
      this.#frame(bytes[at + 3]!, bytes[at + 4]!, readUint32(bytes, at + 5) & 0x7fff_ffff, bytes, start, end);
      at = end;
    }
    this.#held = at === bytes.length ? new Uint8Array(0) : bytes.slice(at);
  }

  #frame(type: number, flags: number, stream: number, bytes: Uint8Array, start: number, end: number): void {
    switch (type) {
      case FrameType.data:
        this.#unfilled += end - start;
        this.#data(stream, bytes, start, end);
        return;
      case FrameType.settings:
        if ((flags & Flag.ack) === 0) this.#out.head(FrameType.settings, Flag.ack, 0, 0);
        return;
      case FrameType.ping:
        if ((flags & Flag.ack) === 0) this.#out.frame(FrameType.ping, Flag.ack, 0, bytes.subarray(start, end));
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
    state.unfilled += end - start;
    if (state.unfilled >= STREAM_REFILL_BYTES) {
      this.#out.windowUpdate(stream, state.unfilled);
      state.unfilled = 0;
    }
    const all =
      state.held.length === 0 ? bytes.subarray(start, end) : Buffer.concat([state.held, bytes.subarray(start, end)]);
    let at = 0;
    while (all.length - at >= GRPC_PREFIX_BYTES) {
      const to = at + GRPC_PREFIX_BYTES + readUint32(all, at + 1);
      if (to > all.length) break;
      this.#onMessage(number, all, at + GRPC_PREFIX_BYTES, to);
      at = to;
    }
    state.held = at === all.length ? new Uint8Array(0) : all.slice(at);
  }
}
