/**
 * Many watch streams on one connection, read in raw frames of HTTP/2: what a fan-out costs must not be what its reader costs.
 *
 * Each stream carries watchers that are created at the start. Of every answer the events are counted, and their order is checked: the mod
 * revisions that one watcher is told ascend, and none comes twice. Law: nothing is decoded that is not needed for that.
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
import { encode, type Message } from "../../test/support/messages.js";

const WINDOW_BYTES = 2 ** 30;
const REFILL_BYTES = 2 ** 24;
const STREAM_REFILL_BYTES = 2 ** 20;
const GRPC_PREFIX_BYTES = 5;

/** The requests of one stream's watchers. */
export type StreamPlan = readonly Message[];

/** Told of each event: which stream, which watcher, of which revision, and where the stored pair lies. */
export type OnEvent = (stream: number, watchId: number, revision: number, pair: Uint8Array) => void;

interface WatchedStream {
  /** The beginning of a message whose end has not come. */
  held: Uint8Array;
  readonly watchers: Map<number, Told>;
  unfilled: number;
}

/** What a watcher was told: its last revision, and how many events in all. */
export interface Told {
  revision: number;
  events: number;
}

export class WatchReader {
  readonly #socket: Socket;
  readonly #address: string;
  readonly #plans: readonly StreamPlan[];
  readonly #onEvent: OnEvent;
  readonly #streams: WatchedStream[];
  #held: Uint8Array = new Uint8Array(0);
  #unfilled = 0;
  #out = new FrameBuffer();
  #events = 0;
  #answers = 0;
  #created = 0;
  #error: Error | undefined;

  constructor(address: string, plans: readonly StreamPlan[], onEvent: OnEvent = () => undefined) {
    this.#address = address;
    this.#plans = plans;
    this.#onEvent = onEvent;
    this.#streams = plans.map(() => ({ held: new Uint8Array(0), watchers: new Map(), unfilled: 0 }));
    const [host, port] = address.split(":");
    this.#socket = connect({ host: host!, port: Number(port), noDelay: true });
    this.#socket.on("data", (chunk) => this.#read(chunk));
    this.#socket.on("error", (error) => (this.#error ??= error));
    this.#socket.on("close", () => (this.#error ??= new Error(`${address} closed the connection`)));
    this.#out.text(PREFACE);
    this.#out.settings({ [Setting.push]: 0, [Setting.windowBytes]: WINDOW_BYTES });
    this.#out.windowUpdate(0, WINDOW_BYTES - WINDOW_BYTES_DEFAULT);
    for (const [number, plan] of this.#plans.entries()) this.#open(2 * number + 1, plan);
    this.#flush();
  }

  /** Events so far, each counted for each watcher. */
  get events(): number {
    return this.#events;
  }
  /** Messages so far that carried them. */
  get answers(): number {
    return this.#answers;
  }
  /** Watchers that were created. */
  get created(): number {
    return this.#created;
  }
  /** What went wrong; nothing more is read then. */
  get error(): Error | undefined {
    return this.#error;
  }

  /** What a watcher of a stream was told; undefined where that is nothing. */
  toldOf(stream: number, watchId: number): Told | undefined {
    return this.#streams[stream]!.watchers.get(watchId);
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

  #open(stream: number, plan: StreamPlan): void {
    const fields = [
      { name: ":method", value: "POST" },
      { name: ":scheme", value: "http" },
      { name: ":path", value: "/etcdserverpb.Watch/Watch" },
      { name: ":authority", value: this.#address },
      { name: "content-type", value: "application/grpc" },
      { name: "te", value: "trailers" },
    ];
    this.#out.frame(FrameType.headers, Flag.endHeaders, stream, Uint8Array.from(fields.flatMap(writeLiteral)));
    for (const request of plan) {
      const message = encode("WatchRequest", { create_request: request });
      const frame = Buffer.alloc(GRPC_PREFIX_BYTES + message.length);
      frame.writeUInt32BE(message.length, 1);
      frame.set(message, GRPC_PREFIX_BYTES);
      this.#out.frame(FrameType.data, 0, stream, frame);
    }
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
    this.#flush();
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
      const size = readUint32(all, at + 1);
      const to = at + GRPC_PREFIX_BYTES + size;
      if (to > all.length) break;
      this.#answer(number, state, all, at + GRPC_PREFIX_BYTES, to);
      at = to;
    }
    state.held = at === all.length ? new Uint8Array(0) : all.slice(at);
  }

  #answer(number: number, state: WatchedStream, bytes: Uint8Array, start: number, end: number): void {
    let watchId = 0;
    const events: (readonly [number, number])[] = [];
    for (const field of fieldsOf(bytes, start, end)) {
      if (field.number === 2) watchId = field.value;
      else if (field.number === 3) this.#created++;
      else if (field.number === 4) throw new Error(`watcher ${watchId} of stream ${number} was cancelled`);
      else if (field.number === 11) events.push([field.start, field.end]);
    }
    if (events.length === 0) return;
    this.#answers++;
    for (const [from, to] of events) this.#event(number, state, watchId, bytes, from, to);
  }

  #event(number: number, state: WatchedStream, watchId: number, bytes: Uint8Array, start: number, end: number): void {
    for (const field of fieldsOf(bytes, start, end)) {
      if (field.number !== 2) continue;
      let revision = 0;
      for (const { number: part, value } of fieldsOf(bytes, field.start, field.end)) if (part === 3) revision = value;
      let told = state.watchers.get(watchId);
      if (told === undefined) state.watchers.set(watchId, (told = { revision: 0, events: 0 }));
      if (revision <= told.revision) {
        throw new Error(`watcher ${watchId} of stream ${number}: revision ${revision} after ${told.revision}`);
      }
      told.revision = revision;
      told.events++;
      this.#events++;
      this.#onEvent(number, watchId, revision, bytes.subarray(field.start, field.end));
    }
  }

  #flush(): void {
    if (this.#out.size === 0) return;
    const { written } = this.#out;
    this.#socket.write(written);
    this.#out = new FrameBuffer(1024);
  }
}

interface WireSpan {
  readonly number: number;
  /** Of a varint. */
  readonly value: number;
  /** Of a length-delimited field. */
  readonly start: number;
  readonly end: number;
}

/** The fields of a message `bytes[start, end)`: varints and length-delimited ones, which etcd's answers consist of. */
export function* fieldsOf(bytes: Uint8Array, start: number, end: number): Generator<WireSpan> {
  let at = start;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  while (at < end) {
    const tag = varint();
    const number = tag >>> 3;
    if ((tag & 7) === 0) yield { number, value: varint(), start: at, end: at };
    else {
      const size = varint();
      const from = at;
      at += size;
      yield { number, value: 0, start: from, end: at };
    }
  }
}
