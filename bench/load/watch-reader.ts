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

/** Told of each event: of which stream, and where the stored pair lies. */
export type OnEvent = (stream: number, bytes: Uint8Array, pairStart: number, pairEnd: number) => void;

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
  readonly #onEvent: OnEvent | undefined;
  readonly #cursor = new Cursor();
  readonly #streams: WatchedStream[];
  #held: Uint8Array = new Uint8Array(0);
  #unfilled = 0;
  #out = new FrameBuffer();
  #events = 0;
  #answers = 0;
  #created = 0;
  #error: Error | undefined;

  constructor(address: string, plans: readonly StreamPlan[], onEvent?: OnEvent) {
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

  /** Fields come in the order of their numbers, from etcd as from Walnut: the watcher's is known before its events. */
  #answer(number: number, state: WatchedStream, bytes: Uint8Array, start: number, end: number): void {
    const cursor = this.#cursor;
    let watchId = 0;
    let told: Told | undefined;
    cursor.at = start;
    while (cursor.at < end) {
      const tag = cursor.varint(bytes);
      const value = cursor.varint(bytes);
      if ((tag & 7) === 0) {
        if (tag >>> 3 === 2) watchId = value;
        else if (tag >>> 3 === 3) this.#created++;
        else if (tag >>> 3 === 4) throw new Error(`watcher ${watchId} of stream ${number} was cancelled`);
        continue;
      }
      const from = cursor.at;
      if (tag >>> 3 === 11) {
        if (told === undefined) {
          this.#answers++;
          told = state.watchers.get(watchId);
          if (told === undefined) state.watchers.set(watchId, (told = { revision: 0, events: 0 }));
        }
        this.#event(number, watchId, told, bytes, from, from + value);
      }
      cursor.at = from + value;
    }
  }

  /** The stored pair is field 2 of an event, its mod revision field 3 of the pair. */
  #event(number: number, watchId: number, told: Told, bytes: Uint8Array, start: number, end: number): void {
    const cursor = this.#cursor;
    cursor.find(bytes, start, end, 2);
    const [pairStart, pairEnd] = [cursor.at, cursor.at + cursor.value];
    cursor.find(bytes, pairStart, pairEnd, 3);
    const revision = cursor.value;
    if (revision <= told.revision) {
      throw new Error(`watcher ${watchId} of stream ${number}: revision ${revision} after ${told.revision}`);
    }
    told.revision = revision;
    told.events++;
    this.#events++;
    this.#onEvent?.(number, bytes, pairStart, pairEnd);
  }

  #flush(): void {
    if (this.#out.size === 0) return;
    const { written } = this.#out;
    this.#socket.write(written);
    this.#out = new FrameBuffer(1024);
  }
}

/** A place in a message, of varints and length-delimited fields, which etcd's answers consist of. */
export class Cursor {
  at = 0;
  /** Of the field that was found: its number, or its length, with `at` behind it. */
  value = 0;

  varint(bytes: Uint8Array): number {
    let byte = bytes[this.at++]!;
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    for (let scale = 128; byte >= 0x80; scale *= 128) {
      byte = bytes[this.at++]!;
      value += (byte & 0x7f) * scale;
    }
    return value;
  }

  /** Finds the first field of a number in `bytes[start, end)`. @throws where there is none */
  find(bytes: Uint8Array, start: number, end: number, number: number): void {
    this.at = start;
    while (this.at < end) {
      const tag = this.varint(bytes);
      this.value = this.varint(bytes);
      if (tag >>> 3 === number) return;
      if ((tag & 7) !== 0) this.at += this.value;
    }
    throw new Error(`a message has no field ${number}`);
  }
}
