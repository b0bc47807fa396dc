/** Requests with all fields, from the few that a test means. Keys and values are latin1 texts. */
import { EMPTY_BYTES } from "../../base/bytes.js";
import { bytesFromLatin1 } from "../../base/text.js";
import type {
  Compare,
  DeleteRangeRequest,
  PutRequest,
  RangeRequest,
  RequestOp,
  TxnRequest,
} from "../../proto/generated/etcdserverpb/kv.js";

type Rest<Request> = Partial<Omit<Request, "key" | "rangeEnd" | "value">>;

export function rangeRequest(key: string, end = "", rest: Rest<RangeRequest> = {}): RangeRequest {
  return {
    key: bytesFromLatin1(key),
    rangeEnd: bytesFromLatin1(end),
    limit: 0,
    revision: 0,
    sortOrder: 0,
    sortTarget: 0,
    serializable: false,
    keysOnly: false,
    countOnly: false,
    minModRevision: 0,
    maxModRevision: 0,
    minCreateRevision: 0,
    maxCreateRevision: 0,
    ...rest,
  };
}

export function putRequest(key: string, value = "", rest: Rest<PutRequest> = {}): PutRequest {
  return {
    key: bytesFromLatin1(key),
    value: bytesFromLatin1(value),
    lease: 0n,
    prevKv: false,
    ignoreValue: false,
    ignoreLease: false,
    ...rest,
  };
}

export function deleteRequest(key: string, end = "", prevKv = false): DeleteRangeRequest {
  return { key: bytesFromLatin1(key), rangeEnd: bytesFromLatin1(end), prevKv };
}

export function compare(
  target: Compare["target"],
  result: Compare["result"],
  targetUnion: Compare["targetUnion"],
  key: string,
  end = "",
): Compare {
  const rangeEnd = end === "" ? EMPTY_BYTES : bytesFromLatin1(end);
  return { target, result, targetUnion, key: bytesFromLatin1(key), rangeEnd };
}

export function txnRequest(parts: Partial<TxnRequest>): TxnRequest {
  return { compare: [], success: [], failure: [], ...parts };
}

export const op = {
  range: (...parts: Parameters<typeof rangeRequest>): RequestOp => ({
    request: { $case: "requestRange", value: rangeRequest(...parts) },
  }),
  put: (...parts: Parameters<typeof putRequest>): RequestOp => ({
    request: { $case: "requestPut", value: putRequest(...parts) },
  }),
  delete: (...parts: Parameters<typeof deleteRequest>): RequestOp => ({
    request: { $case: "requestDeleteRange", value: deleteRequest(...parts) },
  }),
  txn: (parts: Partial<TxnRequest>): RequestOp => ({ request: { $case: "requestTxn", value: txnRequest(parts) } }),
};
