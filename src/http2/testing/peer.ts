/** The other side of a connection, for tests: writes frames, reads what comes back, keeps what the listener was told. */
import assert from "node:assert/strict";
import { Http2Connection, type Http2Listener } from "../connection.js";
import { type FieldBlock, OutgoingFields } from "../fields.js";
import {
  ErrorCode,
  Flag,
  FRAME_HEADER_BYTES,
  frameLengthAt,
  FrameType,
  PREFACE,
  uint31At,
  writeFrameHeader,
} from "../frames.js";
import { HpackDecoder } from "../hpack-decoder.js";
import { HTTP2_LIMITS, type Http2Limits } from "../limits.js";
import type { Http2Stream } from "../stream.js";

export const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replace(/\s/g, ""), "hex"));
export const ascii = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "latin1"));
export const joined = (...parts: readonly Uint8Array[]): Uint8Array => Uint8Array.from(Buffer.concat(parts));

/** One frame's bytes. */
export function frame(
  type: number,
  flags: number,
  streamId: number,
  payload: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + payload.length);
  writeFrameHeader(bytes, 0, payload.length, type, flags, streamId);
  bytes.set(payload, FRAME_HEADER_BYTES);
  return bytes;
}

export function number32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

export function settings(...entries: readonly (readonly [id: number, value: number])[]): Uint8Array {
  const payload = entries.map(([id, value]) => joined(Uint8Array.of(id >>> 8, id), number32(value)));
  return frame(FrameType.settings, 0, 0, joined(...payload));
}

export const settingsAck = frame(FrameType.settings, Flag.ack, 0);
export const windowUpdate = (streamId: number, increment: number): Uint8Array =>
  frame(FrameType.windowUpdate, 0, streamId, number32(increment));
export const rstStream = (streamId: number, code: number = ErrorCode.cancel): Uint8Array =>
  frame(FrameType.rstStream, 0, streamId, number32(code));
export const data = (streamId: number, payload: Uint8Array, flags: number = Flag.endStream): Uint8Array =>
  frame(FrameType.data, flags, streamId, payload);

/** A block of literal lines, which touches no table. */
export function literalBlock(...fields: readonly (readonly [name: string, value: string])[]): Uint8Array {
  const text = (value: string): Uint8Array => {
    const length = value.length < 127 ? Uint8Array.of(value.length) : longLength(value.length);
    return joined(length, ascii(value));
  };
  return joined(...fields.flatMap(([name, value]) => [Uint8Array.of(0), text(name), text(value)]));
}

function longLength(length: number): Uint8Array {
  const bytes = [127];
  let rest = length - 127;
  for (; rest >= 128; rest >>>= 7) bytes.push((rest & 127) | 128);
  return Uint8Array.from([...bytes, rest]);
}

export const REQUEST: readonly (readonly [name: string, value: string])[] = [
  [":method", "POST"],
  [":scheme", "http"],
  [":path", "/t.T/Echo"],
  [":authority", "localhost"],
  ["content-type", "application/grpc"],
  ["te", "trailers"],
];

export const headers = (
  streamId: number,
  fields: readonly (readonly [name: string, value: string])[] = REQUEST,
  flags: number = Flag.endHeaders,
): Uint8Array => frame(FrameType.headers, flags, streamId, literalBlock(...fields));

export const HEAD = OutgoingFields.constant([":status", "200"], ["content-type", "text/plain"]);
export const TRAILERS = OutgoingFields.constant(["grpc-status", "0"]);

/** What came back. */
export type Answer =
  | {
      readonly kind: "headers";
      readonly streamId: number;
      readonly fields: Record<string, string>;
      readonly ended: boolean;
    }
  | { readonly kind: "data"; readonly streamId: number; readonly bytes: Uint8Array; readonly ended: boolean }
  | { readonly kind: "reset"; readonly streamId: number; readonly code: number }
  | { readonly kind: "settings"; readonly entries: Record<number, number> }
  | { readonly kind: "settingsAck" }
  | { readonly kind: "ping"; readonly ack: boolean; readonly payload: Uint8Array }
  | { readonly kind: "goaway"; readonly lastId: number; readonly code: number; readonly text: string }
  | { readonly kind: "window"; readonly streamId: number; readonly increment: number };

/** Reads a server's bytes, however they are cut. */
export class AnswerReader {
  readonly #decoder = new HpackDecoder({ tableBytesMax: 4096, listBytesMax: 1 << 20, fieldsMax: 1000 });
  #rest: Uint8Array = new Uint8Array(0);
  #block: { streamId: number; ended: boolean; parts: Uint8Array[] } | undefined;

  read(bytes: Uint8Array): Answer[] {
    let buffer = joined(this.#rest, bytes);
    const answers: Answer[] = [];
    while (buffer.length >= FRAME_HEADER_BYTES && buffer.length >= FRAME_HEADER_BYTES + frameLengthAt(buffer, 0)) {
      const end = FRAME_HEADER_BYTES + frameLengthAt(buffer, 0);
      const answer = this.#readFrame(
        buffer[3]!,
        buffer[4]!,
        uint31At(buffer, 5),
        buffer.slice(FRAME_HEADER_BYTES, end),
      );
      if (answer !== undefined) answers.push(answer);
      buffer = buffer.subarray(end);
    }
    this.#rest = buffer.slice();
    return answers;
  }

  #readFrame(type: number, flags: number, streamId: number, payload: Uint8Array): Answer | undefined {
    const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
    switch (type) {
      case FrameType.headers:
        this.#block = { streamId, ended: (flags & Flag.endStream) !== 0, parts: [payload] };
        return (flags & Flag.endHeaders) === 0 ? undefined : this.#endBlock();
      case FrameType.continuation:
        assert.equal(this.#block?.streamId, streamId);
        this.#block.parts.push(payload);
        return (flags & Flag.endHeaders) === 0 ? undefined : this.#endBlock();
      case FrameType.data:
        return { kind: "data", streamId, bytes: payload, ended: (flags & Flag.endStream) !== 0 };
      case FrameType.rstStream:
        return { kind: "reset", streamId, code: view.getUint32(0) };
      case FrameType.settings: {
        if ((flags & Flag.ack) !== 0) return { kind: "settingsAck" };
        const entries: Record<number, number> = {};
        for (let at = 0; at < payload.length; at += 6) entries[view.getUint16(at)] = view.getUint32(at + 2);
        return { kind: "settings", entries };
      }
      case FrameType.ping:
        return { kind: "ping", ack: (flags & Flag.ack) !== 0, payload };
      case FrameType.goaway: {
        const text = Buffer.from(payload.subarray(8)).toString("latin1");
        return { kind: "goaway", lastId: view.getUint32(0), code: view.getUint32(4), text };
      }
      case FrameType.windowUpdate:
        return { kind: "window", streamId, increment: view.getUint32(0) };
      default:
        return assert.fail(`a frame of type ${type}`);
    }
  }

  #endBlock(): Answer {
    const { streamId, ended, parts } = this.#block!;
    this.#block = undefined;
    const block = joined(...parts);
    const fields = this.#decoder.decode(block, 0, block.length);
    return { kind: "headers", streamId, fields: fieldRecord(fields), ended };
  }
}

export const fieldRecord = (block: FieldBlock): Record<string, string> =>
  Object.fromEntries(block.names.map((name, i) => [name, block.values[i]!]));

/** What a listener was told, in words. */
export class Recorder implements Http2Listener<string> {
  readonly events: string[] = [];
  readonly streams = new Map<number, Http2Stream<string>>();

  onRequest(stream: Http2Stream<string>, fields: FieldBlock, ended: boolean): void {
    this.streams.set(stream.id, stream);
    this.events.push(`request ${stream.id} ${fields.get(":path") ?? "-"}${ended ? " ended" : ""}`);
  }
  onData(stream: Http2Stream<string>, bytes: Uint8Array, start: number, end: number, ended: boolean): void {
    const text = Buffer.from(bytes.subarray(start, end)).toString("latin1");
    this.events.push(`data ${stream.id} ${text}${ended ? " ended" : ""}`);
  }
  onTrailers(stream: Http2Stream<string>, fields: FieldBlock): void {
    this.events.push(`trailers ${stream.id} ${fields.names.join(",")}`);
  }
  onReset(stream: Http2Stream<string>): void {
    this.events.push(`reset ${stream.id}`);
  }
  onDrain(stream: Http2Stream<string>): void {
    this.events.push(`drain ${stream.id}`);
  }
  onPing(): void {
    this.events.push("ping");
  }
  onPong(payload: Uint8Array): void {
    this.events.push(`pong ${Buffer.from(payload).toString("hex")}`);
  }
}

export class TestPeer {
  readonly recorder: Recorder;
  readonly connection: Http2Connection<string>;
  readonly #reader = new AnswerReader();
  /** Milliseconds, for `receive`. */
  now = 0;

  constructor(limits: Partial<Http2Limits> = {}, recorder = new Recorder()) {
    this.recorder = recorder;
    this.connection = new Http2Connection({ ...HTTP2_LIMITS, ...limits }, recorder, 0);
  }

  /** A connection on which both sides have said their first. */
  static greeted(limits: Partial<Http2Limits> = {}, recorder = new Recorder()): TestPeer {
    const peer = new TestPeer(limits, recorder);
    peer.send(PREFACE, settings(), settingsAck);
    peer.answers();
    return peer;
  }

  send(...parts: readonly Uint8Array[]): this {
    this.connection.receive(joined(...parts), this.now);
    return this;
  }

  get events(): readonly string[] {
    return this.recorder.events;
  }

  stream(id: number): Http2Stream<string> {
    const stream = this.recorder.streams.get(id);
    assert.ok(stream, `stream ${id} was opened`);
    return stream;
  }

  /** What came since the last call. */
  answers(): Answer[] {
    this.connection.pump();
    return this.#reader.read(this.connection.takeOutput().slice());
  }

  /** The fault's code, by its name. */
  get fault(): string | undefined {
    return this.connection.fault === undefined ? undefined : codeName(this.connection.fault.code);
  }
}

export const codeName = (code: number): string =>
  Object.entries(ErrorCode).find(([, value]) => value === code)?.[0] ?? String(code);
