/**
 * A server's side of an HTTP/2 connection (RFC 9113) as a state machine: bytes of the client go in, calls on a listener and bytes for the
 * client come out. No socket, no timer, no clock: the time is given with the bytes.
 *
 * The listener is called while the bytes are read, and may answer at once: a whole answer is then in the output before `receive` returns.
 *
 * Laws:
 * - A breach of the protocol ends the connection with GOAWAY or the stream with RST_STREAM, as the RFC has it for each; nothing throws.
 * - Each stream that was announced by `onRequest` is closed once: by its two ends, by `reset`, or by `onReset`.
 * - Memory: one frame that is not whole, one field block, and per stream what `limits.ts` allows.
 * - Priorities are read and have no effect (section 5.3). Nothing is pushed.
 */
import { NumberTable } from "../base/number-table.js";
import type { FieldBlock, OutgoingFields } from "./fields.js";
import {
  DEFAULT_FRAME_BYTES_MAX,
  DEFAULT_WINDOW_BYTES,
  ErrorCode,
  Flag,
  FRAME_BYTES_MAX,
  FRAME_HEADER_BYTES,
  frameLengthAt,
  FrameType,
  PREFACE,
  SettingId,
  STREAM_ID_MAX,
  uint31At,
  WINDOW_BYTES_MAX,
} from "./frames.js";
import { HpackDecoder, HpackError } from "./hpack-decoder.js";
import { Budget, ControlCost, type Http2Limits } from "./limits.js";
import { type Allocate, Sender } from "./sender.js";
import { Http2Stream } from "./stream.js";

export interface Http2Listener<User> {
  /** A request's field lines are here, and are those of a request. `ended`: no content follows. */
  onRequest(stream: Http2Stream<User>, fields: FieldBlock, ended: boolean): void;
  /** Content: `[start, end)` of `bytes`, which stay as they are. May be empty. */
  onData(stream: Http2Stream<User>, bytes: Uint8Array, start: number, end: number, ended: boolean): void;
  /** The request ended with trailers. */
  onTrailers(stream: Http2Stream<User>, fields: FieldBlock): void;
  /** The stream is gone before its end: reset by the client or for its fault, or the connection has ended. */
  onReset(stream: Http2Stream<User>): void;
  /** A stream whose sender was told to wait may go on. */
  onDrain(stream: Http2Stream<User>): void;
  onPing(): void;
  onPong(payload: Uint8Array): void;
}

/** Why a connection ended. */
export interface Http2Fault {
  readonly code: ErrorCode;
  readonly text: string;
}

/** Streams that this side reset while the client was still sending: what is on its way of so many is no mistake. */
const RESETS_REMEMBERED = 256;

/** A list over the limit that SETTINGS told costs as much as so many streams: reading it is work, and no honest client sends one twice. */
const OVER_LIMIT_COST = 20;

const NO_BYTES = new Uint8Array(0);

const newBytes: Allocate = (bytesMin) => new Uint8Array(bytesMin);

export class Http2Connection<User> {
  readonly #limits: Http2Limits;
  readonly #listener: Http2Listener<User>;
  readonly #sender: Sender<User>;
  readonly #decoder: HpackDecoder;
  readonly #streams = new NumberTable<Http2Stream<User>>();
  readonly #resets: Budget;
  readonly #controls: Budget;
  /** DATA frames that have been paid back for. */
  #dataFramesSeen = 0;
  #now: number;

  /** Bytes of the preface that have come, and whether SETTINGS have. */
  #prefaceBytes = 0;
  #settingsCame = false;
  #settingsAcknowledged = false;
  /** A frame, or the nine bytes before it, that is not whole. */
  #partial: Uint8Array = NO_BYTES;
  #partialBytes = 0;
  #partialSince = 0;

  /** A field block that CONTINUATIONs go on with; stream 0 where there is none. */
  #blockStream = 0;
  #blockEndsStream = false;
  #block: Uint8Array = NO_BYTES;
  #blockBytes = 0;
  #blockFrames = 0;

  #lastStreamId = 0;
  #receiveWindow = DEFAULT_WINDOW_BYTES;
  /** Bytes that came and were not yet allowed again. */
  #receivedBytes = 0;
  #initialReceiveWindow = DEFAULT_WINDOW_BYTES;
  /** Streams that are gone for the client while their work goes on here. */
  #heldStreams = 0;

  readonly #recentResets: number[] = [];
  #recentResetsNext = 0;
  /** Streams above it were not served; undefined before the last GOAWAY. */
  #lastServedId: number | undefined;
  #clientLeaves = false;
  #fault: Http2Fault | undefined;
  #closed = false;

  /** `allocate` gives the buffers for output, which `takeOutput` hands on: new ones where it is left out. */
  constructor(limits: Http2Limits, listener: Http2Listener<User>, now: number, allocate: Allocate = newBytes) {
    this.#limits = limits;
    this.#listener = listener;
    this.#now = now;
    this.#resets = new Budget(limits.resetsBurst, limits.resetsPerSecond, now);
    this.#controls = new Budget(limits.controlsBurst, limits.controlsPerSecond, now);
    this.#decoder = new HpackDecoder({
      tableBytesMax: limits.headerTableBytes,
      listBytesMax: limits.headerListBytesMax,
      fieldsMax: limits.headerFieldsMax,
    });
    const events = {
      onSent: (stream: Http2Stream<User>) => this.#onSent(stream),
      onDrained: (stream: Http2Stream<User>) => listener.onDrain(stream),
    };
    this.#sender = new Sender(limits, events, allocate);
    this.#greet();
  }

  /** Streams under way. */
  get streamCount(): number {
    return this.#streams.size;
  }
  /** Those under way now, in the order in which they came. */
  streams(): readonly Http2Stream<User>[] {
    return this.#streams.values();
  }
  /** Set when the connection has ended: its GOAWAY is in the output, and what comes is passed over. */
  get fault(): Http2Fault | undefined {
    return this.#fault;
  }
  /** Whether the client has said what a client must say first. */
  get isEstablished(): boolean {
    return this.#settingsCame;
  }
  get settingsAcknowledged(): boolean {
    return this.#settingsAcknowledged;
  }
  /** Whether any request came. */
  get hasServed(): boolean {
    return this.#lastStreamId > 0;
  }
  /** Since when a frame or field block is under way, on the clock that `receive` is given; undefined when none is. */
  get partialSince(): number | undefined {
    return this.#partialBytes > 0 || this.#blockStream !== 0 ? this.#partialSince : undefined;
  }
  get queuedBytes(): number {
    return this.#sender.queuedBytes;
  }
  /** Whether a stream waits for its turn to send. */
  get hasQueue(): boolean {
    return this.#sender.hasRing;
  }
  get outputBytes(): number {
    return this.#sender.outputBytes;
  }
  get dataFramesSent(): number {
    return this.#sender.dataFrames;
  }
  /** HEADERS and DATA frames sent: grpc-go forgives pings after one. */
  get answerFramesSent(): number {
    return this.#sender.dataFrames + this.#sender.fieldFrames;
  }
  /** Nothing is left to do: one of the two sides has said farewell, and no stream is under way. */
  get isDrained(): boolean {
    return (this.#lastServedId !== undefined || this.#clientLeaves) && this.#streams.size === 0;
  }
  /** Bytes in the client's dynamic table at this side, for tests. */
  get tableBytes(): number {
    return this.#decoder.tableBytes;
  }

  // ---- The output.

  /** Moves what waits into the output, as far as windows and the output's mark allow. */
  pump(): void {
    this.#sender.pump();
  }

  /** The bytes to write now, in a buffer that is the taker's from now on. */
  takeOutput(): Uint8Array {
    return this.#sender.take();
  }

  answer(
    stream: Http2Stream<User>,
    head: OutgoingFields,
    prefix: Uint8Array,
    body: Uint8Array,
    trailers: OutgoingFields,
  ): void {
    if (!this.#isOver(stream)) this.#sender.answer(stream, head, prefix, body, trailers);
  }

  respond(stream: Http2Stream<User>, head: OutgoingFields): void {
    if (!this.#isOver(stream)) this.#sender.respond(stream, head);
  }

  /** `prefix` is copied, `body` must stay as it is. False: wait for `onDrain`. */
  send(stream: Http2Stream<User>, prefix: Uint8Array, body: Uint8Array): boolean {
    return !this.#isOver(stream) && this.#sender.send(stream, prefix, body);
  }

  /** The last of an answer: trailers, or head and trailers in one where nothing was sent. */
  finish(stream: Http2Stream<User>, fields: OutgoingFields): void {
    if (!this.#isOver(stream)) this.#sender.finish(stream, fields);
  }

  #isOver(stream: Http2Stream<User>): boolean {
    return stream.closed || stream.localEnded || stream.queuedTrailers !== undefined;
  }

  /** Ends a stream from this side. `onReset` is not called. */
  reset(stream: Http2Stream<User>, code: ErrorCode): void {
    if (stream.closed) return;
    if (!stream.remoteEnded) this.#rememberReset(stream.id);
    this.#sender.controlNumber(FrameType.rstStream, stream.id, code);
    this.#close(stream);
  }

  /** Lets the client send more on a stream. */
  allow(stream: Http2Stream<User>, bytes: number): void {
    if (stream.closed || stream.remoteEnded || bytes <= 0) return;
    stream.receiveWindow += bytes;
    this.#sender.controlNumber(FrameType.windowUpdate, stream.id, bytes);
  }

  /** Counts work that goes on for a stream that is closed, so that resets do not make room for more (rapid reset). */
  hold(): void {
    this.#heldStreams++;
  }
  release(): void {
    this.#heldStreams--;
  }

  ping(payload: Uint8Array): void {
    this.#sender.control(FrameType.ping, Flag.none, 0, payload);
  }

  /** The first of two farewells (section 6.8): new streams are still served, for they may be on their way. */
  announceShutdown(): void {
    if (this.#lastServedId === undefined) this.#goaway(STREAM_ID_MAX, ErrorCode.noError, "");
  }

  /** The second one: what comes later than the last stream seen is not served. */
  refuseStreams(): void {
    if (this.#lastServedId !== undefined) return;
    this.#lastServedId = this.#lastStreamId;
    this.#goaway(this.#lastStreamId, ErrorCode.noError, "");
  }

  /** Ends the connection: GOAWAY goes into the output, nothing is read any more. Streams are left to `close`. */
  fail(code: ErrorCode, text: string): void {
    if (this.#fault !== undefined) return;
    this.#fault = { code, text };
    this.#goaway(this.#lastStreamId, code, text);
  }

  /** The socket is gone, or will be: every stream is told. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#fault ??= { code: ErrorCode.noError, text: "the connection is closed" };
    for (const stream of this.#streams.values()) {
      if (stream.closed) continue; // by the listener, when it was told of another one
      this.#close(stream);
      this.#listener.onReset(stream);
    }
    this.#sender.clear();
    this.#partial = NO_BYTES;
    this.#block = NO_BYTES;
  }

  #goaway(lastId: number, code: ErrorCode, text: string): void {
    const payload = new Uint8Array(8 + text.length);
    new DataView(payload.buffer).setUint32(0, lastId);
    new DataView(payload.buffer).setUint32(4, code);
    for (let i = 0; i < text.length; i++) payload[8 + i] = text.charCodeAt(i);
    this.#sender.control(FrameType.goaway, Flag.none, 0, payload);
  }

  /** This side's SETTINGS, and the rest of the connection's window. */
  #greet(): void {
    const { streamsMax, streamWindowBytes, headerListBytesMax, headerTableBytes, connectionWindowBytes } = this.#limits;
    const settings: [id: number, value: number][] = [
      [SettingId.maxConcurrentStreams, streamsMax],
      [SettingId.initialWindowSize, streamWindowBytes],
      [SettingId.maxHeaderListSize, headerListBytesMax],
      [SettingId.headerTableSize, headerTableBytes],
    ];
    const payload = new Uint8Array(settings.length * 6);
    const view = new DataView(payload.buffer);
    for (const [i, [id, value]] of settings.entries()) {
      view.setUint16(i * 6, id);
      view.setUint32(i * 6 + 2, value);
    }
    this.#sender.control(FrameType.settings, Flag.none, 0, payload);
    const more = connectionWindowBytes - DEFAULT_WINDOW_BYTES;
    if (more <= 0) return;
    this.#receiveWindow += more;
    this.#sender.controlNumber(FrameType.windowUpdate, 0, more);
  }

  // ---- Reading frames.

  /** Takes what has come. `now` in milliseconds, never less than before. */
  receive(bytes: Uint8Array, now: number): void {
    if (this.#fault !== undefined) return;
    this.#now = now;
    let at = 0;
    if (this.#prefaceBytes < PREFACE.length) at = this.#readPreface(bytes);
    if (this.#partialBytes > 0) at = this.#completePartial(bytes, at);
    while (this.#fault === undefined && bytes.length - at >= FRAME_HEADER_BYTES) {
      const length = frameLengthAt(bytes, at);
      if (!this.#checkLength(length)) return;
      const end = at + FRAME_HEADER_BYTES + length;
      if (end > bytes.length) break;
      this.#readFrame(bytes, at, length);
      at = end;
    }
    if (this.#fault === undefined && at < bytes.length) this.#keepPartial(bytes, at);
  }

  #readPreface(bytes: Uint8Array): number {
    let at = 0;
    while (at < bytes.length && this.#prefaceBytes < PREFACE.length) {
      if (bytes[at] !== PREFACE[this.#prefaceBytes]) {
        this.fail(ErrorCode.protocolError, "this is not the preface of HTTP/2");
        return bytes.length;
      }
      at++;
      this.#prefaceBytes++;
    }
    return at;
  }

  #checkLength(length: number): boolean {
    if (length <= DEFAULT_FRAME_BYTES_MAX) return true;
    this.fail(ErrorCode.frameSizeError, `a frame of ${length} bytes, where ${DEFAULT_FRAME_BYTES_MAX} are allowed`);
    return false;
  }

  /** Keeps the beginning of a frame, with room for all of it as soon as its length is known. */
  #keepPartial(bytes: Uint8Array, at: number): void {
    const count = bytes.length - at;
    const size = count < FRAME_HEADER_BYTES ? FRAME_HEADER_BYTES : FRAME_HEADER_BYTES + frameLengthAt(bytes, at);
    this.#partial = new Uint8Array(size);
    this.#partial.set(bytes.subarray(at));
    this.#partialBytes = count;
    if (this.#blockStream === 0) this.#partialSince = this.#now;
  }

  /** Goes on with a frame that was begun; returns where the bytes after it are. */
  #completePartial(bytes: Uint8Array, from: number): number {
    let at = from;
    if (this.#partialBytes < FRAME_HEADER_BYTES) {
      at = this.#fillPartial(bytes, at, FRAME_HEADER_BYTES);
      if (this.#partialBytes < FRAME_HEADER_BYTES) return at;
      const length = frameLengthAt(this.#partial, 0);
      if (!this.#checkLength(length)) return bytes.length;
      if (length > 0) {
        const whole = new Uint8Array(FRAME_HEADER_BYTES + length);
        whole.set(this.#partial);
        this.#partial = whole;
      }
    }
    at = this.#fillPartial(bytes, at, this.#partial.length);
    if (this.#partialBytes < this.#partial.length) return at;
    const frame = this.#partial;
    this.#partial = NO_BYTES;
    this.#partialBytes = 0;
    this.#readFrame(frame, 0, frame.length - FRAME_HEADER_BYTES);
    return at;
  }

  #fillPartial(bytes: Uint8Array, at: number, size: number): number {
    const end = Math.min(bytes.length, at + size - this.#partialBytes);
    this.#partial.set(bytes.subarray(at, end), this.#partialBytes);
    this.#partialBytes += end - at;
    return end;
  }

  #readFrame(bytes: Uint8Array, at: number, length: number): void {
    const type = bytes[at + 3]!;
    const flags = bytes[at + 4]!;
    const streamId = uint31At(bytes, at + 5);
    const start = at + FRAME_HEADER_BYTES;
    const end = start + length;
    if (this.#blockStream !== 0 && (type !== FrameType.continuation || streamId !== this.#blockStream)) {
      return this.fail(ErrorCode.protocolError, "another frame in the midst of a field block");
    }
    if (!this.#settingsCame && type !== FrameType.settings) {
      return this.fail(ErrorCode.protocolError, "the first frame must be SETTINGS");
    }
    switch (type) {
      case FrameType.headers:
        return this.#readHeaders(bytes, start, end, flags, streamId);
      case FrameType.data:
        return this.#readData(bytes, start, end, flags, streamId);
      case FrameType.windowUpdate:
        return this.#readWindowUpdate(bytes, start, length, streamId);
      case FrameType.rstStream:
        return this.#readRstStream(length, streamId);
      case FrameType.ping:
        return this.#readPing(bytes, start, end, flags, streamId);
      case FrameType.settings:
        return this.#readSettings(bytes, start, end, flags, streamId);
      case FrameType.continuation:
        return this.#readContinuation(bytes, start, end, flags);
      case FrameType.priority:
        return this.#readPriority(length, streamId);
      case FrameType.goaway:
        return this.#readGoaway(length, streamId);
      case FrameType.pushPromise:
        return this.fail(ErrorCode.protocolError, "PUSH_PROMISE from a client");
      default:
        // Section 5.5: unknown types are passed over.
        return this.#spendControl(ControlCost.other);
    }
  }

  #spendControl(cost: number): void {
    // What is sent must be acknowledged by WINDOW_UPDATEs.
    this.#controls.refund((this.#sender.dataFrames - this.#dataFramesSeen) * 2);
    this.#dataFramesSeen = this.#sender.dataFrames;
    if (!this.#controls.spend(cost, this.#now))
      this.fail(ErrorCode.enhanceYourCalm, "too many frames that move nothing");
    else if (this.#sender.outputBytes > this.#limits.outputBytesMax) {
      this.fail(ErrorCode.enhanceYourCalm, "answers to control frames are not read");
    }
  }

  #spendReset(cost = 1): void {
    if (!this.#resets.spend(cost, this.#now))
      this.fail(ErrorCode.enhanceYourCalm, "too many streams that come to nothing");
  }

  // ---- Field blocks.

  #readHeaders(bytes: Uint8Array, from: number, to: number, flags: number, streamId: number): void {
    if ((streamId & 1) === 0) return this.fail(ErrorCode.protocolError, `HEADERS on stream ${streamId}`);
    let start = from;
    let end = to;
    if ((flags & (Flag.padded | Flag.priority)) !== 0) {
      if ((flags & Flag.padded) !== 0) {
        if (start === end) return this.fail(ErrorCode.frameSizeError, "HEADERS without room for its padding's length");
        end -= bytes[start]!;
        start++;
      }
      if ((flags & Flag.priority) !== 0) start += 5;
      if (start > end) return this.#failHeadersLength(from, to, flags);
    }
    const endsStream = (flags & Flag.endStream) !== 0;
    if ((flags & Flag.endHeaders) !== 0) return this.#readBlock(streamId, bytes, start, end, endsStream);
    this.#blockStream = streamId;
    this.#blockEndsStream = endsStream;
    this.#blockFrames = 0;
    this.#blockBytes = 0;
    this.#partialSince = this.#now;
    this.#appendBlock(bytes, start, end);
  }

  /** Section 6.2: a frame too short for its priority has the wrong size, padding beyond it is a breach. */
  #failHeadersLength(from: number, to: number, flags: number): void {
    const fixed = ((flags & Flag.padded) !== 0 ? 1 : 0) + ((flags & Flag.priority) !== 0 ? 5 : 0);
    if (to - from < fixed) this.fail(ErrorCode.frameSizeError, "HEADERS too short for its priority");
    else this.fail(ErrorCode.protocolError, "padding beyond the frame");
  }

  #readContinuation(bytes: Uint8Array, start: number, end: number, flags: number): void {
    if (this.#blockStream === 0) return this.fail(ErrorCode.protocolError, "CONTINUATION without a field block");
    this.#blockFrames++;
    if (this.#blockFrames > this.#limits.continuationsMax) {
      return this.fail(ErrorCode.enhanceYourCalm, "too many CONTINUATION frames");
    }
    this.#appendBlock(bytes, start, end);
    if (this.#fault !== undefined || (flags & Flag.endHeaders) === 0) return;
    const block = this.#block;
    const size = this.#blockBytes;
    const streamId = this.#blockStream;
    this.#blockStream = 0;
    this.#block = NO_BYTES;
    this.#blockBytes = 0;
    this.#readBlock(streamId, block, 0, size, this.#blockEndsStream);
  }

  #appendBlock(bytes: Uint8Array, start: number, end: number): void {
    const size = this.#blockBytes + end - start;
    if (size > this.#limits.headerBlockBytesMax) {
      return this.fail(ErrorCode.enhanceYourCalm, `a field block over ${this.#limits.headerBlockBytesMax} bytes`);
    }
    if (size > this.#block.length) {
      const grown = new Uint8Array(Math.min(this.#limits.headerBlockBytesMax, Math.max(1024, size * 2)));
      grown.set(this.#block.subarray(0, this.#blockBytes));
      this.#block = grown;
    }
    this.#block.set(bytes.subarray(start, end), this.#blockBytes);
    this.#blockBytes = size;
  }

  #readBlock(streamId: number, bytes: Uint8Array, start: number, end: number, endsStream: boolean): void {
    let fields: FieldBlock;
    try {
      fields = this.#decoder.decode(bytes, start, end);
    } catch (error) {
      if (!(error instanceof HpackError)) throw error;
      return this.fail(ErrorCode.compressionError, error.detail);
    }
    if (fields.abandoned) return this.fail(ErrorCode.enhanceYourCalm, "a list of fields far over the limit");
    if (streamId > this.#lastStreamId) this.#begin(streamId, fields, endsStream);
    else this.#readTrailers(streamId, fields, endsStream);
  }

  #begin(streamId: number, fields: FieldBlock, ended: boolean): void {
    this.#lastStreamId = streamId;
    if (this.#lastServedId !== undefined) return; // Section 6.8: passed over after the last GOAWAY.
    if (fields.overLimit) return this.#refuse(streamId, ended, ErrorCode.enhanceYourCalm, OVER_LIMIT_COST);
    if (fields.requestFlaw !== undefined) return this.#refuse(streamId, ended, ErrorCode.protocolError);
    if (this.#streams.size + this.#heldStreams >= this.#limits.streamsMax) {
      return this.#refuse(streamId, ended, ErrorCode.refusedStream);
    }
    if (ended && fields.contentLength > 0) return this.#refuse(streamId, ended, ErrorCode.protocolError);
    const stream = new Http2Stream<User>(streamId, this.#initialReceiveWindow, this.#sender.initialWindow);
    stream.contentLeft = fields.contentLength;
    stream.remoteEnded = ended;
    this.#streams.add(streamId, stream);
    this.#listener.onRequest(stream, fields, ended);
  }

  /** Resets a stream that the listener never hears of. */
  #refuse(streamId: number, ended: boolean, code: ErrorCode, cost = 1): void {
    if (!ended) this.#rememberReset(streamId);
    this.#sender.controlNumber(FrameType.rstStream, streamId, code);
    this.#spendReset(cost);
  }

  #readTrailers(streamId: number, fields: FieldBlock, endsStream: boolean): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      if (this.#isExpected(streamId)) return;
      return this.fail(ErrorCode.streamClosed, `HEADERS on stream ${streamId}, which is closed`);
    }
    if (stream.remoteEnded) return this.#streamError(stream, ErrorCode.streamClosed);
    if (!endsStream || fields.overLimit || fields.trailersFlaw !== undefined || stream.contentLeft > 0) {
      return this.#streamError(stream, ErrorCode.protocolError);
    }
    stream.remoteEnded = true;
    if (stream.localEnded) this.#close(stream);
    else this.#listener.onTrailers(stream, fields);
  }

  // ---- The other frames.

  #readData(bytes: Uint8Array, from: number, to: number, flags: number, streamId: number): void {
    if (streamId === 0) return this.fail(ErrorCode.protocolError, "DATA on stream 0");
    let start = from;
    let end = to;
    if ((flags & Flag.padded) !== 0) {
      if (start === end) return this.fail(ErrorCode.frameSizeError, "DATA without room for its padding's length");
      end -= bytes[start]!;
      start++;
      if (start > end) return this.fail(ErrorCode.protocolError, "padding beyond the frame");
    }
    // Section 6.9.1: padding counts, and what nobody reads counts for the connection.
    const size = to - from;
    if (size > this.#receiveWindow) return this.fail(ErrorCode.flowControlError, "DATA beyond the connection's window");
    this.#receiveWindow -= size;
    this.#receivedBytes += size;
    if (this.#receivedBytes * 2 >= this.#limits.connectionWindowBytes) this.#allowConnection();

    const stream = this.#streams.get(streamId);
    if (stream === undefined) return this.#readStrayData(streamId);
    if (stream.remoteEnded) return this.#streamError(stream, ErrorCode.streamClosed);
    if (size > stream.receiveWindow) return this.#streamError(stream, ErrorCode.flowControlError);
    stream.receiveWindow -= size;
    const ended = (flags & Flag.endStream) !== 0;
    const content = end - start;
    if (stream.contentLeft >= 0) {
      stream.contentLeft -= content;
      if (stream.contentLeft < 0 || (ended && stream.contentLeft > 0)) {
        return this.#streamError(stream, ErrorCode.protocolError);
      }
    }
    if (content === 0 && !ended) this.#spendControl(ControlCost.other);
    if (ended) stream.remoteEnded = true;
    if (stream.localEnded) {
      if (ended) this.#close(stream);
      return;
    }
    this.#listener.onData(stream, bytes, start, end, ended);
  }

  #readStrayData(streamId: number): void {
    if (streamId > this.#lastStreamId || (streamId & 1) === 0) {
      return this.fail(ErrorCode.protocolError, `DATA on stream ${streamId}, which was never opened`);
    }
    if (this.#isExpected(streamId)) return;
    this.#sender.controlNumber(FrameType.rstStream, streamId, ErrorCode.streamClosed);
    this.#rememberReset(streamId);
    this.#spendReset();
  }

  #allowConnection(): void {
    this.#sender.controlNumber(FrameType.windowUpdate, 0, this.#receivedBytes);
    this.#receiveWindow += this.#receivedBytes;
    this.#receivedBytes = 0;
  }

  #readWindowUpdate(bytes: Uint8Array, start: number, length: number, streamId: number): void {
    if (length !== 4) return this.fail(ErrorCode.frameSizeError, `WINDOW_UPDATE of ${length} bytes`);
    const increment = uint31At(bytes, start);
    this.#spendControl(ControlCost.other);
    if (streamId === 0) {
      if (increment === 0) return this.fail(ErrorCode.protocolError, "WINDOW_UPDATE by 0");
      if (!this.#sender.growWindow(increment, WINDOW_BYTES_MAX)) {
        this.fail(ErrorCode.flowControlError, `a window over ${WINDOW_BYTES_MAX} bytes`);
      }
      return;
    }
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return this.#checkIdle(streamId, "a WINDOW_UPDATE");
    if (increment === 0) return this.#streamError(stream, ErrorCode.protocolError);
    if (!this.#sender.growStreamWindow(stream, increment, WINDOW_BYTES_MAX)) {
      this.#streamError(stream, ErrorCode.flowControlError);
    }
  }

  /** A frame that may come late, but not before its stream was opened. */
  #checkIdle(streamId: number, what: string): void {
    if (streamId > this.#lastStreamId || (streamId & 1) === 0) {
      this.fail(ErrorCode.protocolError, `${what} on stream ${streamId}, which was never opened`);
    }
  }

  #readRstStream(length: number, streamId: number): void {
    if (length !== 4) return this.fail(ErrorCode.frameSizeError, `RST_STREAM of ${length} bytes`);
    if (streamId === 0) return this.fail(ErrorCode.protocolError, "RST_STREAM on stream 0");
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      this.#checkIdle(streamId, "a RST_STREAM");
      return this.#spendControl(ControlCost.other);
    }
    this.#close(stream);
    this.#listener.onReset(stream);
    this.#spendReset();
  }

  #readPing(bytes: Uint8Array, start: number, end: number, flags: number, streamId: number): void {
    if (streamId !== 0) return this.fail(ErrorCode.protocolError, "PING on a stream");
    if (end - start !== 8) return this.fail(ErrorCode.frameSizeError, `PING of ${end - start} bytes`);
    this.#spendControl(ControlCost.ping);
    if (this.#fault !== undefined) return;
    if ((flags & Flag.ack) !== 0) return this.#listener.onPong(bytes.subarray(start, end));
    this.#sender.control(FrameType.ping, Flag.ack, 0, bytes.subarray(start, end));
    this.#listener.onPing();
  }

  #readSettings(bytes: Uint8Array, start: number, end: number, flags: number, streamId: number): void {
    if (streamId !== 0) return this.fail(ErrorCode.protocolError, "SETTINGS on a stream");
    if ((flags & Flag.ack) !== 0) return this.#readSettingsAck(end - start);
    if ((end - start) % 6 !== 0) return this.fail(ErrorCode.frameSizeError, `SETTINGS of ${end - start} bytes`);
    if ((end - start) / 6 > this.#limits.settingsMax) {
      return this.fail(ErrorCode.enhanceYourCalm, `more than ${this.#limits.settingsMax} settings in a frame`);
    }
    this.#settingsCame = true;
    this.#spendControl(ControlCost.settings);
    let window = this.#sender.initialWindow;
    for (let at = start; at < end && this.#fault === undefined; at += 6) {
      const id = (bytes[at]! << 8) | bytes[at + 1]!;
      const value = uint31At(bytes, at + 2) + (bytes[at + 2]! >= 0x80 ? 0x8000_0000 : 0);
      this.#applySetting(id, value);
      if (id === SettingId.initialWindowSize) window = value;
    }
    if (this.#fault !== undefined) return;
    // Once for a frame, for it touches every stream: what came before the last value was in force for no time.
    if (!this.#sender.setInitialWindow(window, this.#streams.values(), WINDOW_BYTES_MAX)) {
      return this.fail(ErrorCode.flowControlError, `a window over ${WINDOW_BYTES_MAX} bytes`);
    }
    this.#sender.control(FrameType.settings, Flag.ack, 0, NO_BYTES);
  }

  #readSettingsAck(length: number): void {
    if (length !== 0) return this.fail(ErrorCode.frameSizeError, "an acknowledgement of SETTINGS with a payload");
    if (!this.#settingsCame) return this.fail(ErrorCode.protocolError, "the first frame must be SETTINGS");
    if (this.#settingsAcknowledged) return this.#spendControl(ControlCost.settings);
    this.#settingsAcknowledged = true;
    // Section 6.9.2: from here on the client counts with our window, for streams that are open as well.
    const difference = this.#limits.streamWindowBytes - this.#initialReceiveWindow;
    this.#initialReceiveWindow += difference;
    for (const stream of this.#streams.values()) stream.receiveWindow += difference;
  }

  #applySetting(id: number, value: number): void {
    switch (id) {
      case SettingId.headerTableSize:
        return this.#sender.limitTable(value);
      case SettingId.enablePush:
        if (value > 1) this.fail(ErrorCode.protocolError, `SETTINGS_ENABLE_PUSH of ${value}`);
        return;
      case SettingId.initialWindowSize:
        if (value > WINDOW_BYTES_MAX) this.fail(ErrorCode.flowControlError, `a window over ${WINDOW_BYTES_MAX} bytes`);
        return;
      case SettingId.maxFrameSize:
        if (value < DEFAULT_FRAME_BYTES_MAX || value > FRAME_BYTES_MAX) {
          this.fail(ErrorCode.protocolError, `SETTINGS_MAX_FRAME_SIZE of ${value}`);
        }
        return;
      default:
      // What we send is below any limit on streams or lists; unknown settings are passed over (section 6.5.2).
    }
  }

  #readPriority(length: number, streamId: number): void {
    if (streamId === 0) return this.fail(ErrorCode.protocolError, "PRIORITY on stream 0");
    if (length !== 5) return this.fail(ErrorCode.frameSizeError, `PRIORITY of ${length} bytes`);
    this.#spendControl(ControlCost.other);
  }

  #readGoaway(length: number, streamId: number): void {
    if (streamId !== 0) return this.fail(ErrorCode.protocolError, "GOAWAY on a stream");
    if (length < 8) return this.fail(ErrorCode.frameSizeError, `GOAWAY of ${length} bytes`);
    this.#clientLeaves = true;
    this.#spendControl(ControlCost.settings);
  }

  // ---- Streams' ends.

  #onSent(stream: Http2Stream<User>): void {
    this.#resets.refund(1);
    if (stream.remoteEnded) this.#close(stream);
  }

  /** A breach that concerns one stream (section 5.4.2). */
  #streamError(stream: Http2Stream<User>, code: ErrorCode): void {
    this.reset(stream, code);
    this.#listener.onReset(stream);
    this.#spendReset();
  }

  #close(stream: Http2Stream<User>): void {
    stream.closed = true;
    this.#sender.drop(stream);
    this.#streams.delete(stream.id);
  }

  #rememberReset(streamId: number): void {
    this.#recentResets[this.#recentResetsNext] = streamId;
    this.#recentResetsNext = (this.#recentResetsNext + 1) % RESETS_REMEMBERED;
  }

  /** Whether frames on a stream that is closed are what was on its way when this side closed it. */
  #isExpected(streamId: number): boolean {
    if (this.#lastServedId !== undefined && streamId > this.#lastServedId) return true;
    return this.#recentResets.includes(streamId);
  }
}
