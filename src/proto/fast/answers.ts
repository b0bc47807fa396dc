/**
 * The answers that most calls get, written in one go: `PutResponse`, and `RangeResponse` of stored pairs. Equal to the generated codecs,
 * which a property test proves.
 *
 * A pair goes out as `db` holds it: what is stored under a revision is the message that the answer carries.
 */
import { Arena } from "../../base/arena.js";
import { invariant } from "../../base/errors.js";
import type { ResponseHeader } from "../generated/etcdserverpb/header.js";
import type { PutResponse, TxnResponse } from "../generated/etcdserverpb/kv.js";
import { BinaryWriter } from "../binary.js";
import { varintSize, writeVarint } from "./varint.js";

const TAG_HEADER = 0x0a;
const TAG_HEADER_REVISION = 0x18;
const TAG_HEADER_TERM = 0x20;
const TAG_RANGE_PAIR = 0x12;
const TAG_RANGE_MORE = 0x18;
const TAG_RANGE_COUNT = 0x20;

const TAG_TXN_SUCCEEDED = 0x10;
const TAG_TXN_RESPONSE = 0x1a;
const TAG_RESPONSE_PUT = 0x12;

/** Tag and value of the two IDs, of revision and of term, at their longest. */
const HEADER_BYTES_MAX = 2 * 11 + 2 * 9;

export class AnswerEncoder {
  /** The header's IDs, which are always the same. */
  readonly #ids: Uint8Array;
  /** The header last written, with its tag and length. */
  readonly #header = new Uint8Array(2 + HEADER_BYTES_MAX);
  #headerBytes = 0;
  #revision = -1;
  #term = -1;
  /** Answers of one moment. */
  readonly #answers = new Arena();

  constructor(clusterId: bigint, memberId: bigint) {
    const writer = new BinaryWriter();
    if (clusterId !== 0n) writer.uint32(0x08).uint64(clusterId);
    if (memberId !== 0n) writer.uint32(0x10).uint64(memberId);
    this.#ids = writer.finish().slice();
  }

  /** A put's answer without a previous pair. */
  put(header: ResponseHeader): Uint8Array {
    this.#setHeader(header);
    const answer = this.#answers.take(this.#headerBytes);
    this.#copyHeader(answer);
    return answer;
  }

  /** A get's answer; `pair` is an encoded `KeyValue`, undefined for a key that is not there. */
  get(header: ResponseHeader, pair: Uint8Array | undefined): Uint8Array {
    if (pair === undefined) return this.put(header);
    this.#setHeader(header);
    const size = pair.length;
    const answer = this.#answers.take(this.#headerBytes + 1 + varintSize(size) + size + 2);
    this.#copyHeader(answer);
    answer[this.#headerBytes] = TAG_RANGE_PAIR;
    const at = writeVarint(answer, this.#headerBytes + 1, size);
    answer.set(pair, at);
    answer[at + size] = TAG_RANGE_COUNT;
    answer[at + size + 1] = 1;
    return answer;
  }

  /** A range's answer; `pairs` are encoded `KeyValue`s, `count` is that of the whole span. */
  range(header: ResponseHeader, pairs: readonly Uint8Array[], count: number): Uint8Array {
    if (count === 0) return this.put(header);
    this.#setHeader(header);
    const more = pairs.length < count;
    let size = this.#headerBytes + (more ? 2 : 0) + 1 + varintSize(count);
    for (const { length } of pairs) size += 1 + varintSize(length) + length;
    const answer = this.#answers.take(size);
    this.#copyHeader(answer);
    let at = this.#headerBytes;
    for (const pair of pairs) {
      answer[at] = TAG_RANGE_PAIR;
      at = writeVarint(answer, at + 1, pair.length);
      answer.set(pair, at);
      at += pair.length;
    }
    if (more) {
      answer[at++] = TAG_RANGE_MORE;
      answer[at++] = 1;
    }
    answer[at] = TAG_RANGE_COUNT;
    writeVarint(answer, at + 1, count);
    return answer;
  }

  /** A transaction's answer that holds those of puts without previous pairs only; undefined for any other. */
  txn(header: ResponseHeader, response: TxnResponse): Uint8Array | undefined {
    const { succeeded, responses } = response;
    let size = 0;
    for (const { response: answer } of responses) {
      const part = answer?.$case === "responsePut" ? putAnswerSize(answer.value) : undefined;
      if (part === undefined) return undefined;
      size += 2 + 2 + part;
    }
    this.#setHeader(header);
    const answer = this.#answers.take(this.#headerBytes + (succeeded ? 2 : 0) + size);
    this.#copyHeader(answer);
    let at = this.#headerBytes;
    if (succeeded) {
      answer[at++] = TAG_TXN_SUCCEEDED;
      answer[at++] = 1;
    }
    for (const { response: part } of responses) {
      const { header: inner } = part!.value as PutResponse;
      const { revision } = inner!;
      const headerBytes = 1 + varintSize(revision);
      answer[at++] = TAG_TXN_RESPONSE;
      answer[at++] = headerBytes + 4;
      answer[at++] = TAG_RESPONSE_PUT;
      answer[at++] = headerBytes + 2;
      answer[at++] = TAG_HEADER;
      answer[at++] = headerBytes;
      answer[at++] = TAG_HEADER_REVISION;
      at = writeVarint(answer, at, revision);
    }
    return answer;
  }

  /** Many answers in a row have the same header: reads between two writes. */
  #setHeader({ revision, raftTerm }: ResponseHeader): void {
    if (revision === this.#revision && raftTerm === this.#term) return;
    this.#revision = revision;
    this.#term = raftTerm;
    const header = this.#header;
    header.set(this.#ids, 2);
    let at = 2 + this.#ids.length;
    if (revision !== 0) {
      header[at] = TAG_HEADER_REVISION;
      at = writeVarint(header, at + 1, revision);
    }
    if (raftTerm !== 0) {
      header[at] = TAG_HEADER_TERM;
      at = writeVarint(header, at + 1, raftTerm);
    }
    invariant(at - 2 < 0x80, "a header's length is one byte");
    header[0] = TAG_HEADER;
    header[1] = at - 2;
    this.#headerBytes = at;
  }

  #copyHeader(answer: Uint8Array): void {
    const header = this.#header;
    for (let i = 0; i < this.#headerBytes; i++) answer[i] = header[i]!;
  }
}

/** Bytes of a put's answer inside of another one's; undefined where it says more than its revision. */
function putAnswerSize({ header, prevKv }: PutResponse): number | undefined {
  if (header === undefined || prevKv !== undefined || header.revision === 0) return undefined;
  if (header.clusterId !== 0n || header.memberId !== 0n || header.raftTerm !== 0) return undefined;
  return 2 + 1 + varintSize(header.revision);
}
