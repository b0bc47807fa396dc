/**
 * The sending half of a connection: frames gather in one buffer, which the I/O half takes when the socket can have it.
 *
 * What fits goes into the buffer at once. What the client's windows do not allow, or what would bring the buffer over its mark, waits
 * with its stream; streams that could send stand in a ring and get one frame each in turn.
 *
 * Laws:
 * - A field block is encoded when it goes into the buffer, for the client's table follows the order of the bytes.
 * - Of a stream leave: its head, its data in order, its trailers; nothing after them.
 * - The buffer passes its mark by one frame or answer at most, and beyond that by control frames, which the connection counts.
 * - `queuedBytes` of the sender is the sum over its streams.
 */
import {
  DEFAULT_FRAME_BYTES_MAX,
  DEFAULT_WINDOW_BYTES,
  Flag,
  FRAME_HEADER_BYTES,
  FrameType,
  writeFrameHeader,
} from "./frames.js";
import type { OutgoingFields } from "./fields.js";
import { fieldsRoom, HpackEncoder } from "./hpack-encoder.js";
import type { Http2Limits } from "./limits.js";
import type { Http2Stream } from "./stream.js";

const NO_BYTES = new Uint8Array(0);
const FIRST_BUFFER_BYTES = 4_096;
/** A frame is not larger than this even where the client takes larger ones, so that streams have their turns. */
const SENT_FRAME_BYTES_MAX = DEFAULT_FRAME_BYTES_MAX;

/** A buffer of so many bytes or more; what it holds does not matter. */
export type Allocate = (bytesMin: number) => Uint8Array;

export interface SenderEvents<User> {
  /** A stream's last frame has gone into the buffer. */
  onSent(stream: Http2Stream<User>): void;
  /** A stream whose sender was told to wait may go on. */
  onDrained(stream: Http2Stream<User>): void;
}

export class Sender<User> {
  readonly #limits: Http2Limits;
  readonly #events: SenderEvents<User>;
  readonly #allocate: Allocate;
  readonly #encoder = new HpackEncoder();
  /** Empty while nothing waits: a connection at rest holds none. */
  #buffer: Uint8Array = NO_BYTES;
  #end = 0;
  #ring: Http2Stream<User>[] = [];

  /** The client's windows: of the connection, and of a new stream. */
  #window = DEFAULT_WINDOW_BYTES;
  #initialWindow = DEFAULT_WINDOW_BYTES;
  #queuedBytes = 0;
  #dataFrames = 0;
  #fieldFrames = 0;

  constructor(limits: Http2Limits, events: SenderEvents<User>, allocate: Allocate) {
    this.#limits = limits;
    this.#events = events;
    this.#allocate = allocate;
  }

  /** Bytes that wait in the queues of streams. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }
  /** Whether a stream stands in the ring. */
  get hasRing(): boolean {
    return this.#ring.length > 0;
  }
  /** Bytes in the buffer. */
  get outputBytes(): number {
    return this.#end;
  }
  /** DATA and HEADERS frames that went into the buffer since the beginning. */
  get dataFrames(): number {
    return this.#dataFrames;
  }
  get fieldFrames(): number {
    return this.#fieldFrames;
  }
  get window(): number {
    return this.#window;
  }
  get initialWindow(): number {
    return this.#initialWindow;
  }

  /** What is to be written to the socket, in a buffer that is the taker's from now on. */
  take(): Uint8Array {
    const taken = this.#buffer.subarray(0, this.#end);
    this.#buffer = NO_BYTES;
    this.#end = 0;
    return taken;
  }

  #reserve(count: number): Uint8Array {
    const needed = this.#end + count;
    if (needed <= this.#buffer.length) return this.#buffer;
    const grown = this.#allocate(Math.max(needed, this.#buffer.length * 2, FIRST_BUFFER_BYTES));
    if (this.#end > 0) grown.set(this.#buffer.subarray(0, this.#end));
    this.#buffer = grown;
    return grown;
  }

  /** A frame of few bytes that waits for nothing. */
  control(type: number, flags: number, streamId: number, payload: Uint8Array): void {
    const buffer = this.#reserve(FRAME_HEADER_BYTES + payload.length);
    writeFrameHeader(buffer, this.#end, payload.length, type, flags, streamId);
    buffer.set(payload, this.#end + FRAME_HEADER_BYTES);
    this.#end += FRAME_HEADER_BYTES + payload.length;
  }

  /** A frame whose payload is one number of 32 bits: RST_STREAM, WINDOW_UPDATE. */
  controlNumber(type: number, streamId: number, value: number): void {
    const buffer = this.#reserve(FRAME_HEADER_BYTES + 4);
    const at = this.#end + FRAME_HEADER_BYTES;
    writeFrameHeader(buffer, this.#end, 4, type, Flag.none, streamId);
    buffer[at] = value >>> 24;
    buffer[at + 1] = value >>> 16;
    buffer[at + 2] = value >>> 8;
    buffer[at + 3] = value;
    this.#end = at + 4;
  }

  /** A whole answer: head, one message (`prefix` is copied, `body` must stay as it is), trailers. */
  answer(
    stream: Http2Stream<User>,
    head: OutgoingFields,
    prefix: Uint8Array,
    body: Uint8Array,
    trailers: OutgoingFields,
  ): void {
    const size = prefix.length + body.length;
    const now =
      size <= SENT_FRAME_BYTES_MAX && size <= stream.sendWindow && size <= this.#window && this.#isFree(stream);
    if (!now) {
      this.respond(stream, head);
      this.send(stream, prefix, body);
      this.finish(stream, trailers);
      return;
    }
    this.#writeFields(stream.id, head, Flag.endHeaders);
    this.#writeData(stream, prefix, body);
    this.#writeFields(stream.id, trailers, Flag.endHeaders | Flag.endStream);
    this.#ended(stream);
  }

  /** Begins an answer. */
  respond(stream: Http2Stream<User>, head: OutgoingFields): void {
    if (this.#isFree(stream)) this.#writeFields(stream.id, head, Flag.endHeaders);
    else {
      stream.queuedHead = head;
      this.#enterRing(stream);
    }
  }

  /** Sends a message in the midst of an answer. False: wait for `onDrained`. */
  send(stream: Http2Stream<User>, prefix: Uint8Array, body: Uint8Array): boolean {
    const size = prefix.length + body.length;
    const now =
      size <= SENT_FRAME_BYTES_MAX && size <= stream.sendWindow && size <= this.#window && this.#isFree(stream);
    if (now) {
      this.#writeData(stream, prefix, body);
      return true;
    }
    const chunks = (stream.queuedChunks ??= []);
    if (prefix.length > 0) chunks.push(prefix.slice());
    if (body.length > 0) chunks.push(body);
    stream.queuedBytes += size;
    this.#queuedBytes += size;
    this.#enterRing(stream);
    if (stream.queuedBytes < Math.max(stream.queueMarkBytes, this.#limits.streamQueueMarkBytes)) return true;
    stream.awaitsDrain = true;
    return false;
  }

  /** Ends an answer; alone, `fields` are head and trailers in one. */
  finish(stream: Http2Stream<User>, fields: OutgoingFields): void {
    if (this.#isFree(stream)) {
      this.#writeFields(stream.id, fields, Flag.endHeaders | Flag.endStream);
      this.#ended(stream);
      return;
    }
    stream.queuedTrailers = fields;
    this.#enterRing(stream);
  }

  /** Forgets what waits on a stream. */
  drop(stream: Http2Stream<User>): void {
    this.#queuedBytes -= stream.queuedBytes;
    stream.queuedHead = undefined;
    stream.queuedChunks = undefined;
    stream.queuedFrom = 0;
    stream.queuedBytes = 0;
    stream.queuedTrailers = undefined;
  }

  /** Whether what is sent on a stream may go into the buffer now, windows aside. */
  #isFree(stream: Http2Stream<User>): boolean {
    return this.#end < this.#limits.outputMarkBytes && !stream.hasQueue;
  }

  #enterRing(stream: Http2Stream<User>): void {
    if (stream.inRing) return;
    stream.inRing = true;
    this.#ring.push(stream);
  }

  /** False, and nothing done, when the window would pass the protocol's largest (a FLOW_CONTROL_ERROR of the client). */
  growWindow(increment: number, max: number): boolean {
    if (this.#window + increment > max) return false;
    this.#window += increment;
    return true;
  }

  growStreamWindow(stream: Http2Stream<User>, increment: number, max: number): boolean {
    if (stream.sendWindow + increment > max) return false;
    stream.sendWindow += increment;
    if (stream.hasQueue) this.#enterRing(stream);
    return true;
  }

  /** SETTINGS_INITIAL_WINDOW_SIZE of the client: for new streams, and the difference for those there are. */
  setInitialWindow(size: number, streams: Iterable<Http2Stream<User>>, max: number): boolean {
    const difference = size - this.#initialWindow;
    this.#initialWindow = size;
    if (difference === 0) return true;
    for (const stream of streams) if (!this.growStreamWindow(stream, difference, max)) return false;
    return true;
  }

  limitTable(bytesMax: number): void {
    this.#encoder.limitTable(bytesMax);
  }

  /** Moves what waits into the buffer, up to its mark. */
  pump(): void {
    // Streams that can send no more leave the ring; what wakes them puts them back.
    while (this.#ring.length > 0 && this.#end < this.#limits.outputMarkBytes) {
      const turn = this.#ring;
      this.#ring = [];
      let moved = false;
      for (const [i, stream] of turn.entries()) {
        if (this.#end >= this.#limits.outputMarkBytes) {
          for (let rest = i; rest < turn.length; rest++) this.#ring.push(turn[rest]!);
          return;
        }
        stream.inRing = false;
        if (stream.closed) continue;
        if (this.#sendOne(stream)) moved = true;
        if (this.#canSend(stream)) this.#enterRing(stream);
      }
      if (!moved) return;
    }
  }

  /** Whether a stream has something that only the buffer, or the connection's window, keeps back. */
  #canSend(stream: Http2Stream<User>): boolean {
    if (!stream.hasQueue || stream.closed) return false;
    return stream.queuedHead !== undefined || stream.queuedBytes === 0 || stream.sendWindow > 0;
  }

  /** Sends a stream's next frame; with its last data go the trailers. False when nothing could go. */
  #sendOne(stream: Http2Stream<User>): boolean {
    if (stream.queuedHead !== undefined) {
      const head = stream.queuedHead;
      stream.queuedHead = undefined;
      this.#writeFields(stream.id, head, Flag.endHeaders);
      if (!stream.hasQueue) return true;
    }
    if (stream.queuedBytes > 0) {
      const size = Math.min(stream.queuedBytes, SENT_FRAME_BYTES_MAX, stream.sendWindow, this.#window);
      if (size <= 0) return false;
      this.#writeQueued(stream, size);
    }
    if (stream.queuedBytes > 0) return true;
    if (stream.queuedTrailers !== undefined) {
      const trailers = stream.queuedTrailers;
      stream.queuedTrailers = undefined;
      this.#writeFields(stream.id, trailers, Flag.endHeaders | Flag.endStream);
      this.#ended(stream);
    } else if (stream.awaitsDrain) {
      stream.awaitsDrain = false;
      this.#events.onDrained(stream);
    }
    return true;
  }

  #ended(stream: Http2Stream<User>): void {
    stream.localEnded = true;
    this.#events.onSent(stream);
  }

  #writeQueued(stream: Http2Stream<User>, size: number): void {
    const buffer = this.#reserve(FRAME_HEADER_BYTES + size);
    writeFrameHeader(buffer, this.#end, size, FrameType.data, Flag.none, stream.id);
    let at = this.#end + FRAME_HEADER_BYTES;
    const end = at + size;
    const chunks = stream.queuedChunks!;
    let used = 0;
    while (at < end) {
      const chunk = chunks[used]!;
      const from = stream.queuedFrom;
      const count = Math.min(chunk.length - from, end - at);
      buffer.set(from === 0 && count === chunk.length ? chunk : chunk.subarray(from, from + count), at);
      at += count;
      if (from + count === chunk.length) {
        used++;
        stream.queuedFrom = 0;
      } else stream.queuedFrom = from + count;
    }
    if (used > 0) chunks.splice(0, used);
    stream.queuedBytes -= size;
    this.#queuedBytes -= size;
    this.#spend(stream, size);
    this.#end = end;
  }

  #writeData(stream: Http2Stream<User>, prefix: Uint8Array, body: Uint8Array): void {
    const size = prefix.length + body.length;
    const buffer = this.#reserve(FRAME_HEADER_BYTES + size);
    let at = this.#end;
    writeFrameHeader(buffer, at, size, FrameType.data, Flag.none, stream.id);
    at += FRAME_HEADER_BYTES;
    for (let i = 0; i < prefix.length; i++) buffer[at++] = prefix[i]!;
    // A call of `set` costs more than a few bytes do.
    if (body.length > 32) buffer.set(body, at);
    else for (let i = 0; i < body.length; i++) buffer[at + i] = body[i]!;
    this.#end = at + body.length;
    this.#spend(stream, size);
  }

  #spend(stream: Http2Stream<User>, size: number): void {
    stream.sendWindow -= size;
    this.#window -= size;
    this.#dataFrames++;
  }

  /** A block over a frame's size goes on in CONTINUATIONs. */
  #writeFields(streamId: number, fields: OutgoingFields, flags: number): void {
    this.#fieldFrames++;
    const kept = this.#encoder.keptBytes(fields);
    if (kept !== undefined) {
      const buffer = this.#reserve(FRAME_HEADER_BYTES + kept.length);
      writeFrameHeader(buffer, this.#end, kept.length, FrameType.headers, flags, streamId);
      let at = this.#end + FRAME_HEADER_BYTES;
      for (let i = 0; i < kept.length; i++) buffer[at++] = kept[i]!;
      this.#end = at;
      return;
    }
    const room = fieldsRoom(fields);
    const frames = Math.ceil(room / SENT_FRAME_BYTES_MAX);
    const buffer = this.#reserve(room + frames * FRAME_HEADER_BYTES);
    const start = this.#end + FRAME_HEADER_BYTES;
    const end = this.#encoder.write(buffer, start, fields);
    const size = end - start;
    if (size <= SENT_FRAME_BYTES_MAX) {
      writeFrameHeader(buffer, this.#end, size, FrameType.headers, flags, streamId);
      this.#end = end;
      return;
    }
    this.#splitBlock(buffer.slice(start, end), flags, streamId);
  }

  #splitBlock(block: Uint8Array, flags: number, streamId: number): void {
    for (let at = 0; at < block.length; at += SENT_FRAME_BYTES_MAX) {
      const piece = block.subarray(at, at + SENT_FRAME_BYTES_MAX);
      const last = at + piece.length === block.length ? Flag.endHeaders : Flag.none;
      if (at === 0) this.control(FrameType.headers, (flags & ~Flag.endHeaders) | last, streamId, piece);
      else this.control(FrameType.continuation, last, streamId, piece);
    }
  }

  /** Gives memory back at the end. */
  clear(): void {
    this.#ring = [];
    this.#buffer = NO_BYTES;
    this.#end = 0;
  }
}
