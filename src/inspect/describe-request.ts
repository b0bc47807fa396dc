/** What an entry asks for, as a person reads it and as JSON. The same words wherever an entry is shown. */
import { latin1FromBytes, textFromUtf8 } from "../base/text.js";
import { describeError } from "../base/errors.js";
import { equalBytes } from "../base/bytes.js";
import { memberIdText } from "../membership/member.js";
import { base64FromBytes } from "../proto/base64.js";
import { InternalRaftRequest } from "../proto/generated/etcdserverpb/raft_internal.js";
import type {
  Compare,
  DeleteRangeRequest,
  PutRequest,
  RangeRequest,
  RequestOp,
  TxnRequest,
} from "../proto/generated/etcdserverpb/kv.js";
import { ConfChangeType, decodeConfChange, decodeConfChangeV2, EntryType, type Entry } from "../proto/raft.js";
import { decodeRaftRequest } from "../proto/raft-request.js";
import type { V2Request } from "../proto/v2-request.js";

/** Longer keys and values are cut in text, with their length; JSON has them whole. */
const TEXT_BYTES_MAX = 64;

const CHANGES: Readonly<Record<ConfChangeType, string>> = {
  [ConfChangeType.addNode]: "add member",
  [ConfChangeType.removeNode]: "remove member",
  [ConfChangeType.updateNode]: "update member",
  [ConfChangeType.addLearnerNode]: "add learner",
};

/** One line. Bytes that cannot be decoded are told as such: looking at a log never fails for what is in an entry. */
export function describeEntryRequest(entry: Entry): string {
  try {
    return oneLine(describe(entry));
  } catch (error) {
    return undecodable(entry.data, error);
  }
}

/** What is said of bytes that are not what they should be. */
export function undecodable(data: Uint8Array, error: unknown): string {
  return oneLine(`${data.length} bytes that cannot be decoded (${describeError(error)})`);
}

/** Texts that came from a log may hold anything; a terminal and a program that reads lines must not mind. */
function oneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\u2028\u2029]/gu, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

function describe({ type, data }: Entry): string {
  if (type === EntryType.confChange) {
    const change = decodeConfChange(data);
    return `${CHANGES[change.type]} ${memberIdText(change.nodeId)} ${textFromUtf8(change.context)}`.trimEnd();
  }
  if (type === EntryType.confChangeV2) {
    const { changes } = decodeConfChangeV2(data);
    if (changes.length === 0) return "leave joint configuration";
    return changes.map((change) => `${CHANGES[change.type]} ${memberIdText(change.nodeId)}`).join(", ");
  }
  if (data.length === 0) return "empty: a leader's term begins";
  const decoded = decodeRaftRequest(data);
  if (decoded.kind === "v2") return describeV2(decoded.request);
  const { request } = decoded;
  if (request.put !== undefined) return describePut(request.put);
  if (request.range !== undefined) return describeRange(request.range);
  if (request.deleteRange !== undefined) return describeDelete(request.deleteRange);
  if (request.txn !== undefined) return describeTxn(request.txn);
  const [kind, value] = kindOf(request);
  return value === undefined ? kind : `${kind} ${plainJson(value)}`;
}

function describeV2({ method, path, val }: V2Request): string {
  return ["v2", method, path, val].filter((part) => part !== "").join(" ");
}

function describePut(put: PutRequest): string {
  const flags = [
    put.lease === 0n ? "" : ` lease=${put.lease.toString(16)}`,
    put.ignoreValue ? " ignore-value" : "",
    put.ignoreLease ? " ignore-lease" : "",
    put.prevKv ? " prev-kv" : "",
  ];
  return `put ${quote(put.key)} ${quote(put.value)}${flags.join("")}`;
}

function describeRange(range: RangeRequest): string {
  const at = range.revision === 0 ? "" : ` rev=${range.revision}`;
  return `range ${describeSpan(range.key, range.rangeEnd)}${at}`;
}

function describeDelete(request: DeleteRangeRequest): string {
  return `delete ${describeSpan(request.key, request.rangeEnd)}`;
}

function describeTxn(txn: TxnRequest): string {
  const branch = (operations: readonly RequestOp[]): string => `[${operations.map(describeOperation).join("; ")}]`;
  const compares = txn.compare.map(describeCompare).join(" and ");
  return `txn if ${compares === "" ? "true" : compares} then ${branch(txn.success)} else ${branch(txn.failure)}`;
}

function describeOperation({ request }: RequestOp): string {
  switch (request?.$case) {
    case "requestPut":
      return describePut(request.value);
    case "requestRange":
      return describeRange(request.value);
    case "requestDeleteRange":
      return describeDelete(request.value);
    case "requestTxn":
      return describeTxn(request.value);
    case undefined:
      return "nothing";
  }
}

const RESULTS = ["=", ">", "<", "!="];

function describeCompare(compare: Compare): string {
  const target = compare.targetUnion;
  const operator = RESULTS[compare.result] ?? `?${String(compare.result)}?`;
  if (target === undefined) return `${describeSpan(compare.key, compare.rangeEnd)} exists`;
  const value = target.value instanceof Uint8Array ? quote(target.value) : String(target.value);
  return `${target.$case}(${describeSpan(compare.key, compare.rangeEnd)}) ${operator} ${value}`;
}

function describeSpan(key: Uint8Array, end: Uint8Array): string {
  if (end.length === 0) return quote(key);
  if (equalBytes(end, Uint8Array.of(0))) return `[${quote(key)}, end)`;
  return `[${quote(key)}, ${quote(end)})`;
}

/** Text in quotes where it is printable ASCII, else hexadecimal; cut when it is long. */
function quote(bytes: Uint8Array): string {
  const shown = bytes.subarray(0, TEXT_BYTES_MAX);
  const printable = shown.every((byte) => byte >= 0x20 && byte < 0x7f);
  const text = printable
    ? JSON.stringify(latin1FromBytes(shown))
    : `0x${[...shown].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  return bytes.length > shown.length ? `${text}… (${bytes.length} bytes)` : text;
}

/** The field that is set, and its message. */
function kindOf(request: InternalRaftRequest): [string, unknown] {
  for (const [name, value] of Object.entries(request)) {
    if (name === "header" || name === "ID" || name === "v2" || value === undefined) continue;
    return [name, value];
  }
  return ["a request with nothing in it", undefined];
}

// ---- JSON ---------------------------------------------------------------------------------------------------------

/** The same entry for programs: bytes are base64, 64-bit integers strings, as in protobuf's JSON. */
export function entryRequestJson({ type, data }: Entry): unknown {
  try {
    if (type === EntryType.confChange) {
      const { id, type: change, nodeId, context } = decodeConfChange(data);
      return {
        confChange: {
          id: String(id),
          type: CHANGES[change],
          nodeId: memberIdText(nodeId),
          context: textFromUtf8(context),
        },
      };
    }
    if (type === EntryType.confChangeV2) {
      const { transition, changes, context } = decodeConfChangeV2(data);
      const steps = changes.map((change) => ({ type: CHANGES[change.type], nodeId: memberIdText(change.nodeId) }));
      return { confChangeV2: { transition, changes: steps, context: base64FromBytes(context) } };
    }
    if (data.length === 0) return null;
    const decoded = decodeRaftRequest(data);
    if (decoded.kind === "v3") return InternalRaftRequest.toJSON(decoded.request);
    const { id, method, path, val } = decoded.request;
    return { v2: { id: String(id), method, path, val } };
  } catch (error) {
    return { undecodable: base64FromBytes(data), why: describeError(error) };
  }
}

function plainJson(value: unknown): string {
  return JSON.stringify(value, (_name, field: unknown) => {
    if (typeof field === "bigint") return String(field);
    return field instanceof Uint8Array ? latin1FromBytes(field) : field;
  });
}
