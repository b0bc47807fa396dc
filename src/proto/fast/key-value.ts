/**
 * `mvccpb.KeyValue` as bytes, the codec that runs for every revision written or read.
 *
 * Equal to the generated codec, which a property test proves, but for two things: the size is counted first, so that one exact
 * allocation is enough; and what was stored is not bent: a revision or version over 2^53-1 throws.
 *
 * Laws: zero fields are not written; fields go in the order of their numbers; decoded bytes are views of the input.
 */
import { EMPTY_BYTES, WireError, WireReader } from "../../base/bytes.js";
import type { KeyValue } from "../generated/mvccpb/kv.js";
import { bytesFieldSize, varint64Size, varintSize, writeBytesField, writeVarint, writeVarint64 } from "./varint.js";

const TAG_KEY = 0x0a;
const TAG_CREATE_REVISION = 0x10;
const TAG_MOD_REVISION = 0x18;
const TAG_VERSION = 0x20;
const TAG_VALUE = 0x2a;
const TAG_LEASE = 0x30;

/** Bytes that `encodeKeyValueInto` will write. */
export function keyValueSize(kv: KeyValue): number {
  return (
    bytesFieldSize(kv.key.length) +
    integerSize(kv.createRevision) +
    integerSize(kv.modRevision) +
    integerSize(kv.version) +
    bytesFieldSize(kv.value.length) +
    (kv.lease === 0n ? 0 : 1 + varint64Size(kv.lease))
  );
}

export function encodeKeyValue(kv: KeyValue): Uint8Array {
  const bytes = new Uint8Array(keyValueSize(kv));
  encodeKeyValueInto(bytes, 0, kv);
  return bytes;
}

/** Writes into `bytes` from `start`, where `keyValueSize` bytes must be free; returns the offset after the last one. */
export function encodeKeyValueInto(bytes: Uint8Array, start: number, kv: KeyValue): number {
  let at = writeBytesField(bytes, start, TAG_KEY, kv.key);
  at = putInteger(bytes, at, TAG_CREATE_REVISION, kv.createRevision);
  at = putInteger(bytes, at, TAG_MOD_REVISION, kv.modRevision);
  at = putInteger(bytes, at, TAG_VERSION, kv.version);
  at = writeBytesField(bytes, at, TAG_VALUE, kv.value);
  if (kv.lease !== 0n) {
    bytes[at++] = TAG_LEASE;
    at = writeVarint64(bytes, at, kv.lease);
  }
  return at;
}

/** Both steps of encoding, for whoever has room for the bytes. */
export const KEY_VALUE_CODEC = { size: keyValueSize, write: encodeKeyValueInto } as const;

/** @throws WireError for bytes that are no `KeyValue`, and `WIRE_OUT_OF_RANGE` for a revision or version over 2^53-1 */
export function decodeKeyValue(bytes: Uint8Array): KeyValue {
  const reader = new WireReader(bytes);
  let key = EMPTY_BYTES;
  let createRevision = 0;
  let modRevision = 0;
  let version = 0;
  let value = EMPTY_BYTES;
  let lease = 0n;
  while (!reader.done) {
    const tag = reader.tag();
    switch (tag) {
      case TAG_KEY:
        key = reader.bytes();
        break;
      case TAG_CREATE_REVISION:
        createRevision = reader.varint();
        break;
      case TAG_MOD_REVISION:
        modRevision = reader.varint();
        break;
      case TAG_VERSION:
        version = reader.varint();
        break;
      case TAG_VALUE:
        value = reader.bytes();
        break;
      case TAG_LEASE:
        lease = BigInt.asIntN(64, reader.varint64());
        break;
      default:
        if (tag < 56) {
          throw new WireError("WIRE_MALFORMED", `wire type ${tag & 7} for field ${tag >>> 3} of a key-value pair`);
        }
        reader.skip(tag);
    }
  }
  return { key, createRevision, modRevision, version, value, lease };
}

function integerSize(value: number): number {
  return value === 0 ? 0 : 1 + varintSize(value);
}

function putInteger(bytes: Uint8Array, start: number, tag: number, value: number): number {
  if (value === 0) return start;
  if (!(value > 0 && value <= Number.MAX_SAFE_INTEGER)) {
    throw new WireError("WIRE_OUT_OF_RANGE", `${value} as a revision or version of a key-value pair`);
  }
  bytes[start] = tag;
  return writeVarint(bytes, start + 1, value);
}
