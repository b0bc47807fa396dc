/**
 * Ranges as clients send them, in the one form that encoders make; see `put.ts` for the contract with the generated codec: a get of one
 * key, and a range of the newest pairs between two keys, in their order.
 */
import { latin1FromBytes } from "../../base/text.js";
import { shortVarint, shortVarintSize } from "./varint.js";

const TAG_KEY = 0x0a;
const TAG_RANGE_END = 0x12;
const TAG_LIMIT = 0x18;
const TAG_SERIALIZABLE = 0x38;

export interface GetRequest {
  /** The key is `bytes[keyStart, keyEnd)`. */
  readonly bytes: Uint8Array;
  readonly keyStart: number;
  readonly keyEnd: number;
  readonly serializable: boolean;
}

export interface SpanRequest {
  /** One byte a character. */
  readonly key: string;
  /** As the request has it: one zero byte is "from the key on". Not empty. */
  readonly rangeEnd: string;
  /** 0 means all. */
  readonly limit: number;
  readonly serializable: boolean;
}

/** Undefined when the bytes ask for more than the newest pair of one key, in another form, or with a key of 128 bytes and more. */
export function decodeGet(bytes: Uint8Array): GetRequest | undefined {
  const size = bytes.length;
  const keyBytes = bytes[1];
  if (bytes[0] !== TAG_KEY || keyBytes === undefined || keyBytes === 0 || keyBytes > 0x7f) return undefined;
  const end = 2 + keyBytes;
  const serializable = end + 2 === size && bytes[end] === TAG_SERIALIZABLE && bytes[end + 1] === 1;
  if (!serializable && end !== size) return undefined;
  return { bytes, keyStart: 2, keyEnd: end, serializable };
}

/** Undefined when the bytes ask for anything else than the newest pairs of a span, or for more than 16,383 of them by a limit. */
export function decodeSpan(bytes: Uint8Array): SpanRequest | undefined {
  const size = bytes.length;
  const keyFrom = 1 + shortVarintSize(bytes, 1);
  if (bytes[0] !== TAG_KEY || keyFrom === 1) return undefined;
  const keyTo = keyFrom + shortVarint(bytes, 1);
  const endFrom = keyTo + 1 + shortVarintSize(bytes, keyTo + 1);
  if (keyTo === keyFrom || bytes[keyTo] !== TAG_RANGE_END || endFrom === keyTo + 1) return undefined;
  const endTo = endFrom + shortVarint(bytes, keyTo + 1);
  if (endTo === endFrom || endTo > size) return undefined;
  let at = endTo;
  let limit = 0;
  if (bytes[at] === TAG_LIMIT) {
    limit = shortVarint(bytes, at + 1);
    const limitBytes = shortVarintSize(bytes, at + 1);
    if (limitBytes === 0 || limit === 0) return undefined;
    at += 1 + limitBytes;
  }
  const serializable = at + 2 === size && bytes[at] === TAG_SERIALIZABLE && bytes[at + 1] === 1;
  if (!serializable && at !== size) return undefined;
  return {
    key: latin1FromBytes(bytes, keyFrom, keyTo),
    rangeEnd: latin1FromBytes(bytes, endFrom, endTo),
    limit,
    serializable,
  };
}
