/**
 * From etcd's messages, decoded as src/proto decodes them, to the form of a history; so that whoever records a run has one line to
 * write. The messages are taken by their shape: this room imports no codec.
 *
 * What the model does not know is refused, so that no answer is judged by another request than was made.
 */
import { latin1FromBytes } from "../../src/base/text.js";
import {
  HistoryError,
  type Change,
  type Compare,
  type CompactRequest,
  type CompactResponse,
  type DeleteRequest,
  type DeleteResponse,
  type HashRequest,
  type HashResponse,
  type Header,
  type KeyValue,
  type KeyValueRequest,
  type KeyValueResponse,
  type LoggedRevision,
  type PutRequest,
  type PutResponse,
  type RangeRequest,
  type RangeResponse,
  type RefusalReason,
  type TxnRequest,
  type TxnResponse,
} from "./history.js";

export interface KeyValueMessage {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly lease: bigint;
}

export interface HeaderMessage {
  readonly clusterId: bigint;
  readonly memberId: bigint;
  readonly revision: number;
  readonly raftTerm: number;
}

export interface PutMessage {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly lease: bigint;
  readonly prevKv: boolean;
  readonly ignoreValue: boolean;
  readonly ignoreLease: boolean;
}

export interface RangeMessage {
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
  readonly limit: number;
  readonly revision: number;
  readonly sortOrder: number;
  readonly serializable: boolean;
  readonly keysOnly: boolean;
  readonly countOnly: boolean;
  readonly minModRevision: number;
  readonly maxModRevision: number;
  readonly minCreateRevision: number;
  readonly maxCreateRevision: number;
}

export interface DeleteMessage {
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
  readonly prevKv: boolean;
}

export interface CompareMessage {
  readonly result: number;
  readonly target: number;
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
  readonly targetUnion: { readonly $case: string; readonly value: number | bigint | Uint8Array } | undefined;
}

export interface TxnMessage {
  readonly compare: readonly CompareMessage[];
  readonly success: readonly OperationMessage[];
  readonly failure: readonly OperationMessage[];
}

export interface OperationMessage {
  readonly request:
    | { readonly $case: "requestRange"; readonly value: RangeMessage }
    | { readonly $case: "requestPut"; readonly value: PutMessage }
    | { readonly $case: "requestDeleteRange"; readonly value: DeleteMessage }
    | { readonly $case: "requestTxn"; readonly value: TxnMessage }
    | undefined;
}

export interface PutAnswer {
  readonly header: HeaderMessage | undefined;
  readonly prevKv: KeyValueMessage | undefined;
}

export interface RangeAnswer {
  readonly header: HeaderMessage | undefined;
  readonly kvs: readonly KeyValueMessage[];
  readonly more: boolean;
  readonly count: number;
}

export interface DeleteAnswer {
  readonly header: HeaderMessage | undefined;
  readonly deleted: number;
  readonly prevKvs: readonly KeyValueMessage[];
}

export interface TxnAnswer {
  readonly header: HeaderMessage | undefined;
  readonly succeeded: boolean;
  readonly responses: readonly OperationAnswer[];
}

export interface OperationAnswer {
  readonly response:
    | { readonly $case: "responseRange"; readonly value: RangeAnswer }
    | { readonly $case: "responsePut"; readonly value: PutAnswer }
    | { readonly $case: "responseDeleteRange"; readonly value: DeleteAnswer }
    | { readonly $case: "responseTxn"; readonly value: TxnAnswer }
    | undefined;
}

/** Requests, by kind. @throws HistoryError for what the form does not know: an order, `ignoreValue`, `ignoreLease` */
export const fromRequest = {
  put({ key, value, lease, prevKv, ignoreValue, ignoreLease }: PutMessage): PutRequest {
    if (ignoreValue || ignoreLease) throw unknownTo("a put that keeps a value or a lease");
    return {
      kind: "put",
      key: latin1FromBytes(key),
      value: latin1FromBytes(value),
      ...(lease === 0n ? {} : { lease: String(lease) }),
      ...(prevKv ? { prevKv } : {}),
    };
  },

  range(message: RangeMessage): RangeRequest {
    if (message.sortOrder !== 0) throw unknownTo("a range in an order");
    const { limit, revision, minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = message;
    const { serializable, keysOnly, countOnly } = message;
    const numbers = { limit, revision, minModRevision, maxModRevision, minCreateRevision, maxCreateRevision };
    const given = Object.entries({ ...numbers, serializable, keysOnly, countOnly }).filter(([, value]) =>
      Boolean(value),
    );
    return { kind: "range", ...spanOf(message), ...Object.fromEntries(given) };
  },

  delete(message: DeleteMessage): DeleteRequest {
    return { kind: "delete", ...spanOf(message), ...(message.prevKv ? { prevKv: true } : {}) };
  },

  txn({ compare, success, failure }: TxnMessage): TxnRequest {
    return {
      kind: "txn",
      compares: compare.map(compareFrom),
      success: success.map(operationFrom),
      failure: failure.map(operationFrom),
    };
  },

  compact({ revision, physical }: { readonly revision: number; readonly physical: boolean }): CompactRequest {
    return { kind: "compact", revision, ...(physical ? { physical } : {}) };
  },

  hash({ revision }: { readonly revision: number }): HashRequest {
    return { kind: "hash", ...(revision === 0 ? {} : { revision }) };
  },
};

/** Answers, by kind. */
export const fromResponse = {
  put({ header, prevKv }: PutAnswer): PutResponse {
    return { kind: "put", header: headerFrom(header), ...(prevKv === undefined ? {} : { prevKv: pairFrom(prevKv) }) };
  },

  range({ header, kvs, more, count }: RangeAnswer): RangeResponse {
    return { kind: "range", header: headerFrom(header), kvs: kvs.map(pairFrom), more, count };
  },

  delete({ header, deleted, prevKvs }: DeleteAnswer): DeleteResponse {
    return { kind: "delete", header: headerFrom(header), deleted, prevKvs: prevKvs.map(pairFrom) };
  },

  txn({ header, succeeded, responses }: TxnAnswer): TxnResponse {
    return { kind: "txn", header: headerFrom(header), succeeded, responses: responses.map(answerFrom) };
  },

  compact({ header }: { readonly header: HeaderMessage | undefined }): CompactResponse {
    return { kind: "compact", header: headerFrom(header) };
  },

  hash(answer: {
    readonly header: HeaderMessage | undefined;
    readonly hash: number;
    readonly compactRevision: number;
  }): HashResponse {
    const { header, hash, compactRevision } = answer;
    return { kind: "hash", header: headerFrom(header), hash, compactRevision };
  },
};

/** The events of one revision, as a watch tells them, in their order. `type` is 0 for a put and 1 for a deletion. */
export function fromEvents(
  revision: number,
  events: readonly { readonly type: number; readonly kv: KeyValueMessage | undefined }[],
): LoggedRevision {
  const changes = events.map(({ type, kv }): Change => {
    if (kv === undefined) throw unknownTo("an event without a pair");
    return type === 0 ? { kind: "put", kv: pairFrom(kv) } : { kind: "delete", key: latin1FromBytes(kv.key) };
  });
  return { revision, changes };
}

/** Texts of etcd's errors that rule out any effect, now and later. */
const REFUSALS: readonly (readonly [text: string, reason: RefusalReason])[] = [
  ["mvcc: required revision has been compacted", "compacted"],
  ["mvcc: required revision is a future revision", "future"],
  ["key is not provided", "other"],
  ["too many operations in txn request", "other"],
  ["duplicate key given in txn request", "other"],
  ["key not found", "other"],
  ["requested lease not found", "other"],
  ["mvcc: database space exceeded", "other"],
  ["too many requests", "other"],
  ["request is too large", "other"],
  ["rpc not supported for learner", "other"],
];

/**
 * Why a request was refused for good, by the text that etcd's clients see; undefined when the effect is open, as with a timeout, a lost
 * connection, a change of leaders, and every text that is not known here.
 */
export function refusalOf(text: string): RefusalReason | undefined {
  return REFUSALS.find(([known]) => text.endsWith(`etcdserver: ${known}`))?.[1];
}

function operationFrom({ request }: OperationMessage): KeyValueRequest {
  switch (request?.$case) {
    case "requestRange":
      return fromRequest.range(request.value);
    case "requestPut":
      return fromRequest.put(request.value);
    case "requestDeleteRange":
      return fromRequest.delete(request.value);
    case "requestTxn":
      return fromRequest.txn(request.value);
    case undefined:
      throw unknownTo("an operation with nothing in it");
  }
}

function answerFrom({ response }: OperationAnswer): KeyValueResponse {
  switch (response?.$case) {
    case "responseRange":
      return fromResponse.range(response.value);
    case "responsePut":
      return fromResponse.put(response.value);
    case "responseDeleteRange":
      return fromResponse.delete(response.value);
    case "responseTxn":
      return fromResponse.txn(response.value);
    case undefined:
      throw unknownTo("an answer with nothing in it");
  }
}

const RESULTS = ["equal", "greater", "less", "notEqual"] as const;
const TARGETS = ["version", "create", "mod", "value", "lease"] as const;
/** What an operand of each target is called in a message. */
const OPERANDS = ["version", "createRevision", "modRevision", "value", "lease"] as const;

function compareFrom(message: CompareMessage): Compare {
  const target = TARGETS[message.target];
  const result = RESULTS[message.result];
  if (target === undefined || result === undefined) throw unknownTo("a compare of an unknown kind");
  const { targetUnion } = message;
  // An operand of another kind than the target counts as zero or empty.
  const value = targetUnion?.$case === OPERANDS[message.target] ? targetUnion?.value : undefined;
  const text = value instanceof Uint8Array ? latin1FromBytes(value) : String(value ?? "");
  const operand = target === "value" ? text : target === "lease" ? text || "0" : Number(text);
  return { ...spanOf(message), target, result, operand };
}

function spanOf({ key, rangeEnd }: { readonly key: Uint8Array; readonly rangeEnd: Uint8Array }): {
  key: string;
  end?: string;
} {
  const name = latin1FromBytes(key);
  return rangeEnd.length === 0 ? { key: name } : { key: name, end: latin1FromBytes(rangeEnd) };
}

function headerFrom(header: HeaderMessage | undefined): Header {
  if (header === undefined) return { revision: 0 };
  const { clusterId, memberId, revision, raftTerm } = header;
  return {
    revision,
    ...(clusterId === 0n ? {} : { clusterId: String(clusterId) }),
    ...(memberId === 0n ? {} : { memberId: String(memberId) }),
    ...(raftTerm === 0 ? {} : { raftTerm }),
  };
}

function pairFrom({ key, value, createRevision, modRevision, version, lease }: KeyValueMessage): KeyValue {
  return {
    key: latin1FromBytes(key),
    value: latin1FromBytes(value),
    createRevision,
    modRevision,
    version,
    ...(lease === 0n ? {} : { lease: String(lease) }),
  };
}

function unknownTo(what: string): HistoryError {
  return new HistoryError("HISTORY_MALFORMED", `a history has no words for ${what}`);
}
