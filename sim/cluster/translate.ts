/** Requests and answers of a history, as the server's messages and back. Nothing of what a server gave is kept: texts are copies. */
import { CodedError } from "../../src/base/errors.js";
import { bytesFromLatin1, latin1FromBytes } from "../../src/base/text.js";
import {
  Compare_CompareResult as CompareResult,
  Compare_CompareTarget as CompareTarget,
  type Compare as WireCompare,
  type DeleteRangeRequest,
  type DeleteRangeResponse,
  type PutRequest as WirePut,
  type PutResponse as WirePutResponse,
  type RangeRequest as WireRange,
  type RangeResponse as WireRangeResponse,
  type RequestOp,
  type ResponseOp,
  type TxnRequest as WireTxn,
  type TxnResponse as WireTxnResponse,
} from "../../src/proto/generated/etcdserverpb/kv.js";
import type { ResponseHeader } from "../../src/proto/generated/etcdserverpb/header.js";
import type { KeyValue as WireKeyValue } from "../../src/proto/generated/mvccpb/kv.js";
import type { CallContext, Member } from "../../src/server/index.js";
import type {
  Compare,
  DeleteRequest,
  DeleteResponse,
  Header,
  KeyValue,
  KeyValueRequest,
  KeyValueResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  RefusalReason,
  Request,
  Response,
  TxnRequest,
  TxnResponse,
} from "../check/history.js";

/** Makes the call; rejects as the member does. */
export async function callMember(member: Member, request: Request, context: CallContext = {}): Promise<Response> {
  switch (request.kind) {
    case "put":
      return putResponse(await member.put(wirePut(request), context));
    case "range":
      return rangeResponse(await member.range(wireRange(request), context));
    case "delete":
      return deleteResponse(await member.deleteRange(wireDelete(request), context));
    case "txn":
      return txnResponse(await member.txn(wireTxn(request), context));
    case "compact": {
      const compaction = { revision: request.revision, physical: request.physical ?? false };
      const { header } = await member.compact(compaction, context);
      return { kind: "compact", header: headerOf(header) };
    }
    case "hash": {
      const { header, hash, compactRevision } = await member.hashKv({ revision: request.revision ?? 0 });
      return { kind: "hash", header: headerOf(header), hash, compactRevision };
    }
  }
}

/** Why a request certainly had no effect; undefined when the error does not rule one out. */
export function refusalReason(error: unknown): RefusalReason | undefined {
  if (!(error instanceof CodedError)) return undefined;
  switch (error.code as string) {
    case "MVCC_COMPACTED":
      return "compacted";
    case "MVCC_FUTURE_REVISION":
      return "future";
    case "LEASE_NOT_FOUND":
    case "AUTH_PERMISSION_DENIED":
    case "AUTH_OLD_REVISION":
    case "AUTH_USER_EMPTY":
    case "AUTH_USER_NOT_FOUND":
    case "AUTH_TOKEN_INVALID":
    case "SERVER_TOO_MANY_REQUESTS":
    case "SERVER_REQUEST_TOO_LARGE":
    case "SERVER_NO_SPACE":
      return "other";
    default:
      return undefined;
  }
}

// ---- requests -----------------------------------------------------------------------------------------------------

function wirePut({ key, value, lease, prevKv }: PutRequest): WirePut {
  return {
    key: bytesFromLatin1(key),
    value: bytesFromLatin1(value),
    lease: BigInt(lease ?? 0),
    prevKv: prevKv ?? false,
    ignoreValue: false,
    ignoreLease: false,
  };
}

function wireRange(request: RangeRequest): WireRange {
  return {
    key: bytesFromLatin1(request.key),
    rangeEnd: bytesFromLatin1(request.end ?? ""),
    limit: request.limit ?? 0,
    revision: request.revision ?? 0,
    sortOrder: 0,
    sortTarget: 0,
    serializable: request.serializable ?? false,
    keysOnly: request.keysOnly ?? false,
    countOnly: request.countOnly ?? false,
    minModRevision: request.minModRevision ?? 0,
    maxModRevision: request.maxModRevision ?? 0,
    minCreateRevision: request.minCreateRevision ?? 0,
    maxCreateRevision: request.maxCreateRevision ?? 0,
  };
}

function wireDelete({ key, end, prevKv }: DeleteRequest): DeleteRangeRequest {
  return { key: bytesFromLatin1(key), rangeEnd: bytesFromLatin1(end ?? ""), prevKv: prevKv ?? false };
}

function wireTxn({ compares, success, failure }: TxnRequest): WireTxn {
  return {
    compare: compares.map((compare) => wireCompare(compare)),
    success: success.map((request) => wireOperation(request)),
    failure: failure.map((request) => wireOperation(request)),
  };
}

function wireOperation(request: KeyValueRequest): RequestOp {
  switch (request.kind) {
    case "put":
      return { request: { $case: "requestPut", value: wirePut(request) } };
    case "range":
      return { request: { $case: "requestRange", value: wireRange(request) } };
    case "delete":
      return { request: { $case: "requestDeleteRange", value: wireDelete(request) } };
    case "txn":
      return { request: { $case: "requestTxn", value: wireTxn(request) } };
  }
}

const RESULTS = {
  equal: CompareResult.EQUAL,
  notEqual: CompareResult.NOT_EQUAL,
  greater: CompareResult.GREATER,
  less: CompareResult.LESS,
} as const;

function wireCompare({ key, end, target, result, operand }: Compare): WireCompare {
  const common = { result: RESULTS[result], key: bytesFromLatin1(key), rangeEnd: bytesFromLatin1(end ?? "") };
  switch (target) {
    case "value":
      return {
        ...common,
        target: CompareTarget.VALUE,
        targetUnion: { $case: "value", value: bytesFromLatin1(String(operand)) },
      };
    case "lease":
      return { ...common, target: CompareTarget.LEASE, targetUnion: { $case: "lease", value: BigInt(operand) } };
    case "version":
      return { ...common, target: CompareTarget.VERSION, targetUnion: { $case: "version", value: Number(operand) } };
    case "create":
      return {
        ...common,
        target: CompareTarget.CREATE,
        targetUnion: { $case: "createRevision", value: Number(operand) },
      };
    case "mod":
      return { ...common, target: CompareTarget.MOD, targetUnion: { $case: "modRevision", value: Number(operand) } };
  }
}

// ---- answers ------------------------------------------------------------------------------------------------------

function headerOf(header: ResponseHeader | undefined): Header {
  if (header === undefined) return { revision: 0 };
  return {
    revision: header.revision,
    ...(header.clusterId === 0n ? {} : { clusterId: String(header.clusterId), memberId: String(header.memberId) }),
    ...(header.raftTerm === 0 ? {} : { raftTerm: header.raftTerm }),
  };
}

export function keyValue(kv: WireKeyValue): KeyValue {
  return {
    key: latin1FromBytes(kv.key),
    value: latin1FromBytes(kv.value),
    createRevision: kv.createRevision,
    modRevision: kv.modRevision,
    version: kv.version,
    ...(kv.lease === 0n ? {} : { lease: String(kv.lease) }),
  };
}

function putResponse({ header, prevKv }: WirePutResponse): PutResponse {
  const before = prevKv === undefined ? {} : { prevKv: keyValue(prevKv) };
  return { kind: "put", header: headerOf(header), ...before };
}

function rangeResponse({ header, kvs, more, count }: WireRangeResponse): RangeResponse {
  return { kind: "range", header: headerOf(header), kvs: kvs.map((kv) => keyValue(kv)), more, count };
}

function deleteResponse({ header, deleted, prevKvs }: DeleteRangeResponse): DeleteResponse {
  return { kind: "delete", header: headerOf(header), deleted, prevKvs: prevKvs.map((kv) => keyValue(kv)) };
}

function txnResponse({ header, succeeded, responses }: WireTxnResponse): TxnResponse {
  const inner = responses.map(({ response }) => operationResponse(response));
  return { kind: "txn", header: headerOf(header), succeeded, responses: inner };
}

function operationResponse(response: ResponseOp["response"]): KeyValueResponse {
  switch (response?.$case) {
    case "responsePut":
      return putResponse(response.value);
    case "responseRange":
      return rangeResponse(response.value);
    case "responseDeleteRange":
      return deleteResponse(response.value);
    case "responseTxn":
      return txnResponse(response.value);
    case undefined:
      throw new Error("an answer without a body inside a transaction's");
  }
}
