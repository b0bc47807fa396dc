/**
 * What watchers are sent, written in one go: `mvccpb.Event` around a stored pair, and the `WatchResponse` that carries events. Equal to
 * the generated codecs, which a property test proves.
 *
 * A change that a thousand watchers get is the same bytes for all of them behind a head of some forty, and so are the changes that those who
 * are behind get together: what is the same is made once.
 */
import { invariant } from "../../base/errors.js";
import { BinaryWriter } from "../binary.js";
import { varintSize, writeVarint } from "./varint.js";

const TAG_EVENT_TYPE = 0x08;
const TYPE_DELETE = 1;
const TAG_EVENT_PAIR = 0x12;
const TAG_EVENT_PREVIOUS = 0x1a;

const TAG_HEADER = 0x0a;
const TAG_HEADER_REVISION = 0x18;
const TAG_HEADER_TERM = 0x20;
const TAG_WATCH_ID = 0x10;
const TAG_FRAGMENT = 0x38;
const TAG_EVENTS = 0x5a;

/** Tag and value of the two IDs, of revision and of term, at their longest. */
const HEADER_BYTES_MAX = 2 * 11 + 2 * 9;
/** Tag and number of a watcher, at its longest: a negative number takes ten bytes. */
const WATCH_ID_BYTES_MAX = 1 + 10;
/** That more follows, and tag and length of an event. */
const BEFORE_BODY_BYTES_MAX = 2 + 1 + 5;

const NO_BYTES = new Uint8Array(0);

/**
 * An encoded `mvccpb.Event`.
 *
 * @param pair an encoded `KeyValue`
 * @param previous another one, or undefined where there is none or nobody asked
 */
export function encodeEvent(deleted: boolean, pair: Uint8Array, previous: Uint8Array | undefined): Uint8Array {
  const size = (deleted ? 2 : 0) + messageSize(pair) + (previous === undefined ? 0 : messageSize(previous));
  const event = new Uint8Array(size);
  let at = 0;
  if (deleted) {
    event[at++] = TAG_EVENT_TYPE;
    event[at++] = TYPE_DELETE;
  }
  at = writeMessage(event, at, TAG_EVENT_PAIR, pair);
  if (previous !== undefined) writeMessage(event, at, TAG_EVENT_PREVIOUS, previous);
  return event;
}

/**
 * A `WatchResponse` in two pieces, which together are the message: the head is a watcher's own, and the encoder's until it encodes the next;
 * the body is shared by all who get the same events, and must not be changed.
 */
export interface WatchAnswer {
  readonly head: Uint8Array;
  readonly body: Uint8Array;
}

/** Encodes the `WatchResponse`s of one member that carry events. */
export class WatchAnswerEncoder {
  /** The header's IDs, which are always the same. */
  readonly #ids: Uint8Array;
  /** Header and number of the watcher, as last written, and what comes before the body. */
  readonly #head = new Uint8Array(2 + HEADER_BYTES_MAX + WATCH_ID_BYTES_MAX + BEFORE_BODY_BYTES_MAX);
  #headBytes = 0;
  #revision = -1;
  #term = -1;
  #watchId = -1;
  /** The body made last of several events, and of which. */
  #lastBody = NO_BYTES;
  #lastEvents: readonly Uint8Array[] | undefined;
  #lastFrom = 0;
  #lastTo = 0;
  /** The event that went alone behind the head as it is, and the whole answer where it was asked for again. */
  #lastEvent: Uint8Array | undefined;
  #lastWhole: WatchAnswer | undefined;

  constructor(clusterId: bigint, memberId: bigint) {
    const writer = new BinaryWriter();
    if (clusterId !== 0n) writer.uint32(0x08).uint64(clusterId);
    if (memberId !== 0n) writer.uint32(0x10).uint64(memberId);
    this.#ids = writer.finish().slice();
  }

  /**
   * An answer with one event: the usual one. Most streams have a watcher of the same number, and a thousand of them get the same answer:
   * from the second on it is one piece, with an empty head, for a copy of forty bytes costs more than that.
   */
  one(revision: number, raftTerm: number, watchId: number, event: Uint8Array): WatchAnswer {
    const isSameHead = this.#setHead(revision, raftTerm, watchId);
    if (isSameHead && event === this.#lastEvent) return (this.#lastWhole ??= this.#wholeOf(event));
    this.#lastEvent = event;
    this.#lastWhole = undefined;
    return this.#oneBehind(this.#headBytes, event);
  }

  #wholeOf(event: Uint8Array): WatchAnswer {
    const { head, body } = this.#oneBehind(this.#headBytes, event);
    const whole = new Uint8Array(head.length + body.length);
    whole.set(head);
    whole.set(body, head.length);
    return { head: NO_BYTES, body: whole };
  }

  #oneBehind(start: number, event: Uint8Array): WatchAnswer {
    const head = this.#head;
    head[start] = TAG_EVENTS;
    return { head: head.subarray(0, writeVarint(head, start + 1, event.length)), body: event };
  }

  /**
   * An answer with the events `[from, to)`; `more` says that the rest of them follows in another one. The same array is the same events: it
   * must not be changed.
   */
  many(
    revision: number,
    raftTerm: number,
    watchId: number,
    events: readonly Uint8Array[],
    from = 0,
    to = events.length,
    more = false,
  ): WatchAnswer {
    this.#setHead(revision, raftTerm, watchId);
    let headBytes = this.#headBytes;
    if (more) {
      this.#head[headBytes++] = TAG_FRAGMENT;
      this.#head[headBytes++] = 1;
    }
    if (to - from === 1) return this.#oneBehind(headBytes, events[from]!);
    return { head: this.#head.subarray(0, headBytes), body: this.#bodyOf(events, from, to) };
  }

  #bodyOf(events: readonly Uint8Array[], from: number, to: number): Uint8Array {
    if (events === this.#lastEvents && from === this.#lastFrom && to === this.#lastTo) return this.#lastBody;
    let size = 0;
    for (let i = from; i < to; i++) size += messageSize(events[i]!);
    const body = new Uint8Array(size);
    let at = 0;
    for (let i = from; i < to; i++) at = writeMessage(body, at, TAG_EVENTS, events[i]!);
    this.#lastEvents = events;
    this.#lastFrom = from;
    this.#lastTo = to;
    this.#lastBody = body;
    return body;
  }

  /**
   * The answers with these events to a watcher that takes them in parts, cut where etcd cuts: an answer of more than one event stays below
   * `bytesMax`. Each is to be taken before the next is asked for.
   */
  *fragments(
    revision: number,
    raftTerm: number,
    watchId: number,
    events: readonly Uint8Array[],
    bytesMax: number,
  ): Generator<WatchAnswer, void, undefined> {
    this.#setHead(revision, raftTerm, watchId);
    const headBytes = this.#headBytes;
    let whole = headBytes;
    for (const event of events) whole += messageSize(event);
    if (whole < bytesMax || events.length < 2) {
      yield this.many(revision, raftTerm, watchId, events);
      return;
    }
    let from = 0;
    while (from < events.length) {
      let size = headBytes + 2 + messageSize(events[from]!);
      let to = from + 1;
      for (; to < events.length; to++) {
        size += messageSize(events[to]!);
        if (size >= bytesMax) break;
      }
      yield this.many(revision, raftTerm, watchId, events, from, to, to < events.length);
      from = to;
    }
  }

  /** Answers whether it was the head already. */
  #setHead(revision: number, raftTerm: number, watchId: number): boolean {
    if (revision === this.#revision && raftTerm === this.#term && watchId === this.#watchId) return true;
    this.#revision = revision;
    this.#term = raftTerm;
    this.#watchId = watchId;
    const head = this.#head;
    head.set(this.#ids, 2);
    let at = 2 + this.#ids.length;
    if (revision !== 0) {
      head[at] = TAG_HEADER_REVISION;
      at = writeVarint(head, at + 1, revision);
    }
    if (raftTerm !== 0) {
      head[at] = TAG_HEADER_TERM;
      at = writeVarint(head, at + 1, raftTerm);
    }
    invariant(at - 2 < 0x80, "a header's length is one byte");
    head[0] = TAG_HEADER;
    head[1] = at - 2;
    if (watchId !== 0) at = writeWatchId(head, at, watchId);
    this.#headBytes = at;
    this.#lastEvent = undefined;
    return false;
  }
}

/** Bytes of a message inside of another one, under a tag of one byte. */
function messageSize({ length }: Uint8Array): number {
  return 1 + varintSize(length) + length;
}

function writeMessage(bytes: Uint8Array, start: number, tag: number, message: Uint8Array): number {
  bytes[start] = tag;
  const at = writeVarint(bytes, start + 1, message.length);
  bytes.set(message, at);
  return at + message.length;
}

/** The client may have chosen a negative number. */
function writeWatchId(bytes: Uint8Array, start: number, watchId: number): number {
  if (watchId > 0) {
    bytes[start] = TAG_WATCH_ID;
    return writeVarint(bytes, start + 1, watchId);
  }
  const written = new BinaryWriter().uint32(TAG_WATCH_ID).int64Number(watchId).finish();
  bytes.set(written, start);
  return start + written.length;
}
