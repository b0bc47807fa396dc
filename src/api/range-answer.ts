/**
 * Large answers of Range as bytes, made in slices: 100,000 keys at once would hold the loop for a tenth of a second, and with it
 * the heart-beats (design decision 14).
 *
 * It works because protobuf messages can be laid end to end: the header, then the keys in slices, then the rest are the bytes of
 * the whole answer.
 */
import { concatBytes } from "../base/bytes.js";
import type { Clock } from "../platform/clock.js";
import { RangeResponse } from "../proto/generated/etcdserverpb/kv.js";

/** A slice ends at so many keys, or so many bytes of them: either takes a few milliseconds. */
const SLICE_KEYS = 2000;
const SLICE_BYTES = 1024 * 1024;

export function encodeRangeAnswer(
  response: RangeResponse,
  clock: Pick<Clock, "yield">,
): Uint8Array | Promise<Uint8Array> {
  if (sliceEnd(response, 0) === response.kvs.length) return RangeResponse.encode(response).finish();
  return encodeSlices(response, clock);
}

async function encodeSlices(response: RangeResponse, clock: Pick<Clock, "yield">): Promise<Uint8Array> {
  const { header, kvs, more, count } = response;
  const parts = [encode({ header })];
  for (let start = 0; start < kvs.length;) {
    const end = sliceEnd(response, start);
    parts.push(encode({ kvs: kvs.slice(start, end) }));
    start = end;
    await clock.yield();
  }
  parts.push(encode({ more, count }));
  return concatBytes(parts);
}

function encode(fields: Partial<RangeResponse>): Uint8Array {
  return RangeResponse.encode({ header: undefined, kvs: [], more: false, count: 0, ...fields }).finish();
}

/** The first key that is not in the slice that begins at `start`. */
function sliceEnd({ kvs }: RangeResponse, start: number): number {
  const keysEnd = Math.min(kvs.length, start + SLICE_KEYS);
  let bytes = 0;
  for (let at = start; at < keysEnd; at++) {
    bytes += kvs[at]!.value.length + kvs[at]!.key.length;
    if (bytes >= SLICE_BYTES) return at + 1;
  }
  return keysEnd;
}
