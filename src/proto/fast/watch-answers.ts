/**
 * What watchers are sent, written in one go: `mvccpb.Event` around a stored pair, and the `WatchResponse` that carries events. Equal to
 * the generated codecs, which a property test proves.
 *
 * A change that a thousand streams get is the same bytes for all of them whose watcher has the same number, and most streams' first watcher
 * has: the answer made last is kept, and given out again for the same events.
 */
import { Arena } from "../../base/arena.js";
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

/** Encodes the `WatchResponse`s of one member that carry events. */
export class WatchAnswerEncoder {
  /** The header's IDs, which are always the same. */
  readonly #ids: Uint8Array;
  /** Header and number of the watcher, as last written. */
  readonly #head = new Uint8Array(2 + HEADER_BYTES_MAX + WATCH_ID_BYTES_MAX);
  #headBytes = 0;
  #revision = -1;
  #term = -1;
  #watchId = -1;
  readonly #answers = new Arena();
  /** The answer made last, and the only event in it. */
  #lastEvent: Uint8Array | undefined;
  #lastAnswer: Uint8Array | undefined;

  constructor(clusterId: bigint, memberId: bigint) {
    const writer = new BinaryWriter();
    if (clusterId !== 0n) writer.uint32(0x08).uint64(clusterId);
    if (memberId !== 0n) writer.uint32(0x10).uint64(memberId);
    this.#ids = writer.finish().slice();
  }

  /** An answer with one event: the usual one. It must not be changed. */
  one(revision: number, raftTerm: number, watchId: number, event: Uint8Array): Uint8Array {
    const isSameHead = this.#setHead(revision, raftTerm, watchId);
    if (isSameHead && event === this.#lastEvent) return this.#lastAnswer!;
    const answer = this.#answers.take(this.#headBytes + messageSize(event));
    this.#copyHead(answer);
    writeMessage(answer, this.#headBytes, TAG_EVENTS, event);
    this.#lastEvent = event;
    this.#lastAnswer = answer;
    return answer;
  }

  /** An answer with the events `[from, to)`; `more` says that the rest of them follows in another one. */
  many(
    revision: number,
    raftTerm: number,
    watchId: number,
    events: readonly Uint8Array[],
    from = 0,
    to = events.length,
    more = false,
  ): Uint8Array {
    if (to - from === 1 && !more) return this.one(revision, raftTerm, watchId, events[from]!);
    this.#setHead(revision, raftTerm, watchId);
    let size = this.#headBytes + (more ? 2 : 0);
    for (let i = from; i < to; i++) size += messageSize(events[i]!);
    const answer = this.#answers.take(size);
    this.#copyHead(answer);
    let at = this.#headBytes;
    if (more) {
      answer[at++] = TAG_FRAGMENT;
      answer[at++] = 1;
    }
    for (let i = from; i < to; i++) at = writeMessage(answer, at, TAG_EVENTS, events[i]!);
    return answer;
  }

  /**
   * The answers with these events to a watcher that takes them in parts, cut where etcd cuts: an answer of more than one event stays below
   * `bytesMax`.
   */
  fragments(
    revision: number,
    raftTerm: number,
    watchId: number,
    events: readonly Uint8Array[],
    bytesMax: number,
  ): Uint8Array[] {
    this.#setHead(revision, raftTerm, watchId);
    let whole = this.#headBytes;
    for (const event of events) whole += messageSize(event);
    if (whole < bytesMax || events.length < 2) return [this.many(revision, raftTerm, watchId, events)];
    const answers: Uint8Array[] = [];
    let from = 0;
    while (from < events.length) {
      let size = this.#headBytes + 2 + messageSize(events[from]!);
      let to = from + 1;
      for (; to < events.length; to++) {
        size += messageSize(events[to]!);
        if (size >= bytesMax) break;
      }
      answers.push(this.many(revision, raftTerm, watchId, events, from, to, to < events.length));
      from = to;
    }
    return answers;
  }

  /** Answers whether it was the head already. */
  #setHead(revision: number, raftTerm: number, watchId: number): boolean {
    if (revision === this.#revision && raftTerm === this.#term && watchId === this.#watchId) return true;
    this.#revision = revision;
    this.#term = raftTerm;
    this.#watchId = watchId;
    this.#lastEvent = undefined;
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
    return false;
  }

  #copyHead(answer: Uint8Array): void {
    const head = this.#head;
    for (let i = 0; i < this.#headBytes; i++) answer[i] = head[i]!;
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
