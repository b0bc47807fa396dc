/**
 * The stream of all kinds of messages: an 8-byte big-endian length, then the message, again and again. A heart-beat message
 * without sender and receiver keeps the connection alive and means nothing else (docs/formats/peer.md).
 */
import { readUint64BE, type WireWriter, writeUint64BE } from "../base/bytes.js";
import { decodeMessage, makeMessage, type Message, MessageType, writeMessage } from "../proto/raft.js";
import { PeerError } from "./errors.js";
import { assertEntriesBounded } from "./rules.js";
import { Spans } from "./spans.js";

export const LENGTH_BYTES = 8;
const NO_LENGTH = new Uint8Array(LENGTH_BYTES);

/** What keeps a quiet stream alive. */
export const LINK_HEARTBEAT: Message = makeMessage({ type: MessageType.heartbeat });

export function isLinkHeartbeat(message: Message): boolean {
  return message.type === MessageType.heartbeat && message.from === 0n && message.to === 0n;
}

/** Writes messages of one stream one after the other. */
export interface StreamEncoder {
  encode(writer: WireWriter, message: Message): void;
}

/** Reads one stream. Link heart-beats come out as messages, too: `isLinkHeartbeat` tells them. */
export interface StreamDecoder {
  /**
   * Gives each message that `chunk` completes to `onMessage`. Bytes of entries are views of `chunk` where they lie in it whole.
   *
   * @throws PeerError, WireError for bytes that no member writes; the stream is of no use then
   */
  push(chunk: Uint8Array, onMessage: (message: Message) => void): void;
}

/** The length, and the message behind it. */
export function writeLengthAndMessage(writer: WireWriter, message: Message): void {
  const at = writer.length;
  writer.raw(NO_LENGTH);
  writeMessage(writer, message);
  writeUint64BE(writer.view(), at, writer.length - at - LENGTH_BYTES);
}

export class MessageEncoder implements StreamEncoder {
  encode(writer: WireWriter, message: Message): void {
    writeLengthAndMessage(writer, message);
  }
}

export class MessageDecoder implements StreamDecoder {
  readonly #spans = new Spans();
  readonly #bytesMax: number;
  /** Of the message that is being read; undefined before its length has come. */
  #length: number | undefined;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  push(chunk: Uint8Array, onMessage: (message: Message) => void): void {
    this.#spans.push(chunk);
    for (;;) {
      this.#length ??= takeLength(this.#spans, this.#bytesMax);
      if (this.#length === undefined) return;
      const span = this.#spans.take(this.#length);
      if (span === undefined) return;
      this.#length = undefined;
      assertEntriesBounded(span);
      onMessage(decodeMessage(span));
    }
  }
}

/** The next 8 bytes as the length of what follows; undefined while they have not come. @throws PeerError, WireError */
export function takeLength(spans: Spans, bytesMax: number): number | undefined {
  const field = spans.take(LENGTH_BYTES);
  if (field === undefined) return undefined;
  const length = readUint64BE(field, 0);
  if (length > bytesMax) {
    throw new PeerError("PEER_TOO_LARGE", `a message of ${length} bytes is announced, at most ${bytesMax} are taken`);
  }
  return length;
}
