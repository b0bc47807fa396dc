/** What locks and elections ask of a member, and the few requests that they are made of. */
import {
  Compare,
  Compare_CompareResult,
  Compare_CompareTarget,
  DeleteRangeRequest,
  PutRequest,
  RangeRequest,
  RangeRequest_SortOrder,
  RangeRequest_SortTarget,
  type RequestOp,
} from "../proto/generated/etcdserverpb/kv.js";
import type { CallContext, MemberService } from "../server/contract.js";

/** A member, behind whatever checks the requests of clients go through. */
export type Requests = Pick<MemberService, "txn" | "range" | "deleteRange" | "leaseGrant" | "watch" | "header">;

/** For requests that must be made, or ended, after their caller has gone: the same rights, and no end. */
export function steadfast({ token, commonName }: CallContext): CallContext {
  return { ...(token === undefined ? {} : { token }), ...(commonName === undefined ? {} : { commonName }) };
}

/** Holds where the key was made at a revision; at 0 where there is none. */
export function isMadeAt(key: Uint8Array, revision: number): Compare {
  return Compare.create({
    result: Compare_CompareResult.EQUAL,
    target: Compare_CompareTarget.CREATE,
    key,
    targetUnion: { $case: "createRevision", value: revision },
  });
}

export const getKey = (key: Uint8Array): RangeRequest => ({ ...RangeRequest.create(), key });

/** Of a span's keys the one that was made first. */
export function getOldest(key: Uint8Array, rangeEnd: Uint8Array): RangeRequest {
  const sortTarget = RangeRequest_SortTarget.CREATE;
  return { ...RangeRequest.create(), key, rangeEnd, limit: 1, sortTarget, sortOrder: RangeRequest_SortOrder.ASCEND };
}

/** Of a span's keys that were made at a revision or before it the one that was made last. */
export function getNewestUpTo(revision: number, key: Uint8Array, rangeEnd: Uint8Array): RangeRequest {
  const order = { sortTarget: RangeRequest_SortTarget.CREATE, sortOrder: RangeRequest_SortOrder.DESCEND };
  return { ...RangeRequest.create(), key, rangeEnd, limit: 1, maxCreateRevision: revision, ...order };
}

export const rangeOp = (value: RangeRequest): RequestOp => ({ request: { $case: "requestRange", value } });

export function putOp(key: Uint8Array, value: Uint8Array, lease: bigint): RequestOp {
  return { request: { $case: "requestPut", value: { ...PutRequest.create(), key, value, lease } } };
}

export function deleteOp(key: Uint8Array): RequestOp {
  return { request: { $case: "requestDeleteRange", value: { ...DeleteRangeRequest.create(), key } } };
}
