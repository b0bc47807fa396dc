/**
 * The stream of appends (etcd's `msgappv2`). A byte says what follows, numbers are 8 bytes, big-endian (docs/formats/peer.md):
 *
 *   0  a link heart-beat
 *   1  an append that goes on where the last one ended, in the same term: count, then length and bytes of each entry, then the
 *      commit index. Sender, receiver, term, index and term of the entry before are known to both sides.
 *   2  any append: length, and the whole message
 */
import { readUint64BE, type WireWriter, writeUint64BE } from "../base/bytes.js";
import { PEER_MESSAGE_ENTRIES_MAX } from "../base/limits.js";
import { decodeEntry, decodeMessage, type Entry, entrySize, makeMessage } from "../proto/raft.js";
import { type Message, MessageType, writeEntry } from "../proto/raft.js";
import { PeerError } from "./errors.js";
import {
  isLinkHeartbeat,
  LENGTH_BYTES,
  LINK_HEARTBEAT,
  type StreamDecoder,
  type StreamEncoder,
  takeLength,
  writeLengthAndMessage,
} from "./message-stream.js";
import { assertEntriesBounded } from "./rules.js";
import { Spans } from "./spans.js";

const Kind = { heartbeat: 0, entries: 1, message: 2 } as const;
const HEARTBEAT_FRAME = Uint8Array.of(Kind.heartbeat);
const ENTRIES_FRAME = Uint8Array.of(Kind.entries);
const MESSAGE_FRAME = Uint8Array.of(Kind.message);

export class AppendEncoder implements StreamEncoder {
  /** Of the last append: its term, and the index of the last entry that both sides know. */
  #term = 0;
  #index = 0;
  readonly #number = new Uint8Array(8);

  encode(writer: WireWriter, message: Message): void {
    if (isLinkHeartbeat(message)) {
      writer.raw(HEARTBEAT_FRAME);
    } else if (message.index === this.#index && message.logTerm === this.#term && message.logTerm === message.term) {
      this.#encodeEntries(writer, message);
    } else {
      writer.raw(MESSAGE_FRAME);
      writeLengthAndMessage(writer, message);
      this.#term = message.term;
      this.#index = lastIndex(message);
    }
  }

  #encodeEntries(writer: WireWriter, message: Message): void {
    writer.raw(ENTRIES_FRAME);
    this.#encodeNumber(writer, message.entries.length);
    for (const entry of message.entries) {
      this.#encodeNumber(writer, entrySize(entry));
      writeEntry(writer, entry);
    }
    this.#index += message.entries.length;
    this.#encodeNumber(writer, message.commit);
  }

  #encodeNumber(writer: WireWriter, value: number): void {
    writeUint64BE(this.#number, 0, value);
    writer.raw(this.#number);
  }
}

/** What is read next. */
type State =
  | { readonly kind: "frame" }
  | { readonly kind: "message"; readonly length: number | undefined }
  | { readonly kind: "count" }
  | {
      readonly kind: "entries";
      readonly entries: Entry[];
      readonly count: number;
      readonly length: number | undefined;
    };

export class AppendDecoder implements StreamDecoder {
  readonly #spans = new Spans();
  readonly #local: bigint;
  readonly #remote: bigint;
  readonly #bytesMax: number;
  #state: State = { kind: "frame" };
  #term = 0;
  #index = 0;
  /** Bytes of entries in the frame that is being read. */
  #entryBytes = 0;

  /** @param bytesMax of one message, its entries together */
  constructor(ids: { readonly local: bigint; readonly remote: bigint }, bytesMax: number) {
    this.#local = ids.local;
    this.#remote = ids.remote;
    this.#bytesMax = bytesMax;
  }

  push(chunk: Uint8Array, onMessage: (message: Message) => void): void {
    this.#spans.push(chunk);
    while (this.#step(onMessage)) continue;
  }

  /** Reads one piece; false when more bytes are needed. */
  #step(onMessage: (message: Message) => void): boolean {
    const state = this.#state;
    switch (state.kind) {
      case "frame":
        return this.#readFrame(onMessage);
      case "message":
        return this.#readMessage(state.length, onMessage);
      case "count":
        return this.#readCount();
      case "entries":
        return state.entries.length === state.count
          ? this.#readCommit(state.entries, onMessage)
          : this.#readEntry(state.entries, state.count, state.length);
    }
  }

  #readFrame(onMessage: (message: Message) => void): boolean {
    const kind = this.#spans.take(1)?.[0];
    if (kind === undefined) return false;
    if (kind === Kind.heartbeat) onMessage(LINK_HEARTBEAT);
    else if (kind === Kind.entries) this.#state = { kind: "count" };
    else if (kind === Kind.message) this.#state = { kind: "message", length: undefined };
    else throw new PeerError("PEER_MALFORMED", `frame of kind ${kind} in a stream of appends, known are 0 to 2`);
    return true;
  }

  #readMessage(known: number | undefined, onMessage: (message: Message) => void): boolean {
    const length = known ?? takeLength(this.#spans, this.#bytesMax);
    if (length === undefined) return false;
    const span = this.#spans.take(length);
    if (span === undefined) {
      this.#state = { kind: "message", length };
      return false;
    }
    this.#state = { kind: "frame" };
    assertEntriesBounded(span);
    const message = decodeMessage(span);
    if (message.type !== MessageType.append) {
      throw new PeerError("PEER_MALFORMED", `a message of type ${message.type} in a stream of appends`);
    }
    this.#term = message.term;
    this.#index = lastIndex(message);
    onMessage(message);
    return true;
  }

  #readCount(): boolean {
    const field = this.#spans.take(LENGTH_BYTES);
    if (field === undefined) return false;
    const count = readUint64BE(field, 0);
    if (count > PEER_MESSAGE_ENTRIES_MAX) {
      throw new PeerError(
        "PEER_TOO_LARGE",
        `an append of ${count} entries, at most ${PEER_MESSAGE_ENTRIES_MAX} are taken`,
      );
    }
    this.#entryBytes = 0;
    this.#state = { kind: "entries", entries: [], count, length: undefined };
    return true;
  }

  #readEntry(entries: Entry[], count: number, known: number | undefined): boolean {
    const length = known ?? takeLength(this.#spans, this.#bytesMax - this.#entryBytes);
    if (length === undefined) return false;
    const span = this.#spans.take(length);
    this.#state = { kind: "entries", entries, count, length: span === undefined ? length : undefined };
    if (span === undefined) return false;
    const entry = decodeEntry(span);
    const expected = this.#index + entries.length + 1;
    if (entry.index !== expected) {
      throw new PeerError("PEER_MALFORMED", `entry ${entry.index} where ${expected} follows in a stream of appends`);
    }
    entries.push(entry);
    this.#entryBytes += LENGTH_BYTES + length;
    return true;
  }

  #readCommit(entries: Entry[], onMessage: (message: Message) => void): boolean {
    const field = this.#spans.take(8);
    if (field === undefined) return false;
    this.#state = { kind: "frame" };
    const index = this.#index;
    this.#index += entries.length;
    onMessage(
      makeMessage({
        type: MessageType.append,
        to: this.#local,
        from: this.#remote,
        term: this.#term,
        logTerm: this.#term,
        index,
        entries,
        commit: readUint64BE(field, 0),
      }),
    );
    return true;
  }
}

function lastIndex(message: Message): number {
  return message.entries.length === 0 ? message.index : message.entries[message.entries.length - 1]!.index;
}
