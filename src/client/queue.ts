/**
 * Sessions that wait in line, as keys below a prefix: `PREFIX/LEASE`, the lease's ID in hexadecimal. Whose key was created first is at the head.
 *
 * Mutexes and elections are this, with and without a value; members of the line may be etcd's own clients, whose keys look the same.
 * Everyone waits for the one right before, so that an end wakes up one and not all.
 */
import { concatBytes } from "../base/bytes.js";
import { utf8FromText } from "../base/text.js";
import {
  Compare,
  Compare_CompareResult,
  Compare_CompareTarget,
  Event_EventType,
  type KeyValue,
  PutRequest,
  RangeRequest,
  RangeRequest_SortOrder,
  RangeRequest_SortTarget,
  type RequestOp,
  type ResponseHeader,
  type TxnRequest,
  type TxnResponse,
  WatchCreateRequest,
  type WatchResponse,
} from "../proto/index.js";
import type { CallOptions } from "./client.js";
import { SessionError } from "./errors.js";
import { prefixEnd } from "./key-ranges.js";
import type { Session } from "./session.js";

/** How long one may wait: as long as it takes, or until the signal. */
export interface WaitOptions {
  readonly signal?: AbortSignal;
}

export function patiently({ signal }: WaitOptions): CallOptions {
  return { timeoutMs: Number.POSITIVE_INFINITY, ...(signal === undefined ? {} : { signal }) };
}

/** @param name of a mutex or an election; text stands for its UTF-8 */
export function prefixOf(name: string | Uint8Array): Uint8Array {
  return concatBytes([typeof name === "string" ? utf8FromText(name) : name, utf8FromText("/")]);
}

export function placeOf(prefix: Uint8Array, { leaseId }: Session): Uint8Array {
  return concatBytes([prefix, utf8FromText(leaseId.toString(16))]);
}

/** What holds as long as the key is the one that was created then. */
export function isCreatedAt(key: Uint8Array, revision: number): Compare {
  return {
    ...Compare.create(),
    key,
    result: Compare_CompareResult.EQUAL,
    target: Compare_CompareTarget.CREATE,
    targetUnion: { $case: "createRevision", value: revision },
  };
}

export function putOf(session: Session, key: Uint8Array, value: Uint8Array): RequestOp {
  return {
    request: { $case: "requestPut", value: { ...PutRequest.create(), key, value, lease: session.leaseId } },
  };
}

export function readOf(request: RangeRequest): RequestOp {
  return { request: { $case: "requestRange", value: request } };
}

export function pairAt(key: Uint8Array): RangeRequest {
  return { ...RangeRequest.create(), key };
}

/** Puts the session's key, or reads it where it is there. */
export function enter(session: Session, key: Uint8Array, value: Uint8Array, ...more: RequestOp[]): TxnRequest {
  return {
    compare: [isCreatedAt(key, 0)],
    success: [putOf(session, key, value), ...more],
    failure: [readOf(pairAt(key)), ...more],
  };
}

/** The first pair that a transaction's read found, if it was one. */
export function pairIn({ responses }: TxnResponse, at: number): KeyValue | undefined {
  const response = responses[at]?.response;
  return response?.$case === "responseRange" ? response.value.kvs[0] : undefined;
}

/** The head of the line: the key of the prefix that was created first. */
export function headOf(prefix: Uint8Array): RangeRequest {
  return {
    ...RangeRequest.create(),
    key: prefix,
    rangeEnd: prefixEnd(prefix),
    sortTarget: RangeRequest_SortTarget.CREATE,
    sortOrder: RangeRequest_SortOrder.ASCEND,
    limit: 1,
  };
}

/**
 * Waits until no key of the prefix is left that was created before `revision`.
 *
 * @throws SessionError `SESSION_OVER` when the session ends first: its own place is gone; the signal's reason; RpcError
 */
export async function reachHead(
  session: Session,
  prefix: Uint8Array,
  revision: number,
  { signal }: WaitOptions,
): Promise<ResponseHeader | undefined> {
  const stop = new AbortController();
  const giveUp = (): void => stop.abort(signal?.reason);
  void session.ended.then(() => stop.abort(new SessionError("SESSION_OVER", "session expired")));
  signal?.throwIfAborted();
  signal?.addEventListener("abort", giveUp);
  try {
    for (;;) {
      const { header, kvs } = await session.client.range(
        { ...headOf(prefix), sortOrder: RangeRequest_SortOrder.DESCEND, maxCreateRevision: revision - 1 },
        patiently(stop),
      );
      const [before] = kvs;
      if (before === undefined) return header;
      await untilDeleted(session, before.key, header?.revision ?? 0, stop.signal);
    }
  } finally {
    signal?.removeEventListener("abort", giveUp);
  }
}

/** Resolves when the key was deleted after that revision, or when that cannot be told any more and it must be looked up again. */
async function untilDeleted(session: Session, key: Uint8Array, revision: number, signal: AbortSignal): Promise<void> {
  for await (const { events, compactRevision } of changesOf(session, { key, startRevision: revision + 1 }, signal)) {
    if (compactRevision !== 0) return;
    if (events.some(({ type }) => type === Event_EventType.DELETE)) return;
  }
}

/**
 * What a watch answers until the signal.
 *
 * @throws the signal's reason; SessionError `WATCH_LOST` where the server ended it for another reason than compaction; RpcError
 */
export async function* changesOf(
  { client }: Session,
  request: Partial<WatchCreateRequest>,
  signal: AbortSignal | undefined,
): AsyncGenerator<WatchResponse> {
  const watch = client.watch({ ...WatchCreateRequest.create(), ...request });
  const close = (): void => watch.close();
  signal?.throwIfAborted();
  signal?.addEventListener("abort", close);
  try {
    for await (const answer of watch.answers()) {
      yield answer;
      if (answer.canceled && answer.compactRevision === 0) throw new SessionError("WATCH_LOST", answer.cancelReason);
    }
    signal?.throwIfAborted();
  } finally {
    signal?.removeEventListener("abort", close);
    close();
  }
}
