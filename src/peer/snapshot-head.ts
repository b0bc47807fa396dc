/** What stands before the database in a snapshot's request: an 8-byte big-endian length and the snapshot message. */
import { WireWriter } from "../base/bytes.js";
import { decodeMessage, type Message } from "../proto/raft.js";
import { takeLength, writeLengthAndMessage } from "./message-stream.js";
import { Spans } from "./spans.js";

export function encodeSnapshotHead(message: Message): Uint8Array {
  const writer = new WireWriter(4096);
  writeLengthAndMessage(writer, message);
  return writer.view();
}

export class SnapshotHeadDecoder {
  readonly #spans = new Spans();
  readonly #bytesMax: number;
  #length: number | undefined;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** The message and the first bytes of the database, once they are there. @throws PeerError, WireError */
  push(chunk: Uint8Array): { readonly message: Message; readonly rest: Uint8Array } | undefined {
    this.#spans.push(chunk);
    this.#length ??= takeLength(this.#spans, this.#bytesMax);
    const span = this.#length === undefined ? undefined : this.#spans.take(this.#length);
    if (span === undefined) return undefined;
    return { message: decodeMessage(span), rest: this.#spans.takeRest() };
  }
}
