/**
 * KV's RangeStream, which etcd 3.7 added: a range in pieces, as many keys in each as make a message of a good size. The client asks for the
 * next piece by reading the one before, and no more than a piece is held for it.
 *
 * Laws, etcd's:
 * - all pieces show the same revision: the one asked for, or the one at the beginning;
 * - nothing holds compactions back meanwhile: one that goes past that revision ends the stream with its error;
 * - the pieces laid end to end are what Range answers; header, `more` and `count` come with the last one.
 */
import { KEYS_OF_FIRST_PIECE, PIECE_BYTES } from "../base/limits.js";
import type { RangeRequest, RangeResponse } from "../proto/generated/etcdserverpb/kv.js";
import type { KeyValue } from "../proto/generated/mvccpb/kv.js";

/**
 * @param read answers a range of the pieces' revision; its `count` is looked at where `countOnly` asks for it
 * @returns the pieces in the order of their keys; the last one has a header with the revision at the beginning
 */
export async function* rangePieces(
  request: RangeRequest,
  read: (piece: RangeRequest) => Promise<RangeResponse>,
): AsyncGenerator<RangeResponse> {
  if (request.countOnly) {
    yield await read(request);
    return;
  }
  let { key, revision } = request;
  let header: RangeResponse["header"];
  let left = request.limit > 0 ? request.limit : Infinity;
  let sent = 0;
  for (let keysMax = KEYS_OF_FIRST_PIECE; ;) {
    const { header: now, kvs, more } = await read({ ...request, key, revision, limit: Math.min(keysMax, left) });
    header ??= now;
    if (revision <= 0) revision = header?.revision ?? 0;
    sent += kvs.length;
    left -= kvs.length;
    if (!more) {
      yield { header, kvs, more, count: sent };
      return;
    }
    key = behind(kvs.at(-1)!.key);
    if (left === 0) {
      const rest = await read({ ...request, key, revision, limit: 0, countOnly: true });
      yield { header, kvs, more, count: sent + rest.count };
      return;
    }
    yield { header: undefined, kvs, more: false, count: 0 };
    keysMax = nextKeysMax(keysMax, sizeOf(kvs));
  }
}

/** As many keys as make a piece if they are like the last ones; at most twice as many, for they may not be. */
function nextKeysMax(keys: number, bytes: number): number {
  return Math.max(1, Math.min(2 * keys, Math.floor((keys * PIECE_BYTES) / Math.max(1, bytes))));
}

function sizeOf(kvs: readonly KeyValue[]): number {
  return kvs.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
}

/** The first key that comes after a key. */
function behind(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}
