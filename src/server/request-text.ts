/**
 * Requests as etcd's log lines show them: the text form of protobuf on one line, where a value is only its size and a password is not at
 * all (etcd's `InternalRaftStringer`). For people: it is made for requests that took long, and for no others.
 *
 *     header:<ID:7587870180567383557 > put:<key:"a" value_size:3 >
 *
 * Law: nothing of what a user keeps secret gets into the text.
 */
import { quoteBytes } from "../base/go-quote.js";
import { utf8FromText } from "../base/text.js";
import type { EntryCaller } from "../proto/fast/entry-header.js";
import { decodePutEntry } from "../proto/fast/put.js";
import { decodeTxnEntry } from "../proto/fast/txn.js";
import {
  type Compare,
  compare_CompareResultToJSON,
  compare_CompareTargetToJSON,
  type PutRequest,
  type RangeRequest,
  rangeRequest_SortOrderToJSON,
  rangeRequest_SortTargetToJSON,
  type RequestOp,
  type TxnRequest,
} from "../proto/generated/etcdserverpb/kv.js";
import type { InternalRaftRequest, RequestHeader } from "../proto/generated/etcdserverpb/raft_internal.js";
import { decodeRaftRequest } from "../proto/raft-request.js";
import { bigintOf, type RequestId } from "../proto/request-id.js";

/** Kinds whose passwords, hashes and tokens are nobody's business: only the name is shown. */
const SECRET_KINDS = ["authenticate", "authUserAdd", "authUserChangePassword"] as const;

/** What an entry of the log asks for. */
export function entryText(data: Uint8Array): string {
  if (data.length === 0) return "";
  const put = decodePutEntry(data);
  if (put !== undefined) return `${shortHeaderText(put)} put:<${putText(put.put)}>`;
  const txn = decodeTxnEntry(data);
  if (txn !== undefined) return `${shortHeaderText(txn)} txn:<${txnText(txn.txn)}>`;
  const decoded = decodeRaftRequest(data);
  if (decoded.kind === "v3") return raftRequestText(decoded.request);
  const { id, method, path } = decoded.request;
  return fieldsText({ ID: id, Method: method, Path: path });
}

export function rangeText(request: RangeRequest): string {
  const { sortOrder, sortTarget } = request;
  return fieldsText({
    ...request,
    sortOrder: sortOrder === 0 ? undefined : { name: rangeRequest_SortOrderToJSON(sortOrder) },
    sortTarget: sortTarget === 0 ? undefined : { name: rangeRequest_SortTargetToJSON(sortTarget) },
  });
}

export function putText({ key, value, ...rest }: PutRequest): string {
  return fieldsText({ key, valueSize: value.length, ...rest });
}

export function txnText({ compare, success, failure }: TxnRequest): string {
  const list = <Part>(parts: readonly Part[], text: (part: Part) => string): string => `<${parts.map(text).join(" ")}>`;
  return `compare:${list(compare, compareText)} success:${list(success, operationText)} failure:${list(failure, operationText)}`;
}

function compareText({ result, target, key, targetUnion, rangeEnd }: Compare): string {
  return fieldsText({
    result: result === 0 ? undefined : { name: compare_CompareResultToJSON(result) },
    target: target === 0 ? undefined : { name: compare_CompareTargetToJSON(target) },
    key,
    ...(targetUnion === undefined
      ? {}
      : targetUnion.$case === "value"
        ? { valueSize: targetUnion.value.length }
        : { [targetUnion.$case]: { name: String(targetUnion.value) } }),
    rangeEnd,
  });
}

function operationText({ request }: RequestOp): string {
  switch (request?.$case) {
    case "requestRange":
      return `request_range:<${rangeText(request.value)}> `;
    case "requestPut":
      return `request_put:<${putText(request.value)}>`;
    case "requestDeleteRange":
      return `request_delete_range:<${fieldsText({ ...request.value })}> `;
    case "requestTxn":
      return `request_txn:<${txnText(request.value)}>`;
    case undefined:
      return "";
  }
}

function raftRequestText(request: InternalRaftRequest): string {
  const header = headerText(request.header);
  const { put, txn, range, leaseGrant, leaseRevoke } = request;
  if (leaseGrant !== undefined) {
    return `${header} lease_grant:<ttl:${leaseGrant.TTL}-second id:${leaseText(leaseGrant.ID)}>`;
  }
  if (leaseRevoke !== undefined) return `${header} lease_revoke:<id:${leaseText(leaseRevoke.ID)}>`;
  if (put !== undefined) return `${header} put:<${putText(put)}>`;
  if (txn !== undefined) return `${header} txn:<${txnText(txn)}>`;
  if (range !== undefined) return `${header} range:<${rangeText(range)}> `;
  for (const kind of SECRET_KINDS) {
    const secret = request[kind];
    if (secret !== undefined) return `${header} ${snakeCase(kind)}:<name:${secret.name}>`;
  }
  const [kind, message] = Object.entries(request).find(([name, value]) => isKind(name, value)) ?? [];
  return kind === undefined ? header : `${header} ${snakeCase(kind)}:<${fieldsText(message as Fields)}> `;
}

function isKind(name: string, value: unknown): boolean {
  return name !== "header" && typeof value === "object" && value !== null && !(value instanceof Uint8Array);
}

function headerText(header: RequestHeader | undefined): string {
  return header === undefined ? "" : `header:<${fieldsText({ ...header })}>`;
}

function shortHeaderText({ id, caller }: { readonly id: RequestId; readonly caller?: EntryCaller }): string {
  const { username = "", revision = 0 } = caller ?? {};
  return headerText({ ID: bigintOf(id), username, authRevision: revision });
}

function leaseText(id: bigint): string {
  return BigInt.asUintN(64, id).toString(16).padStart(16, "0");
}

type Fields = Readonly<Record<string, unknown>>;

/** Fields that are set, each with a space behind it, as the compact text form has them. */
function fieldsText(fields: Fields): string {
  return Object.entries(fields)
    .flatMap(([name, value]) =>
      Array.isArray(value) ? value.map((one: unknown) => [name, one] as const) : [[name, value] as const],
    )
    .filter(([, value]) => !isUnset(value))
    .map(([name, value]) => `${snakeCase(name)}:${valueText(value)} `)
    .join("");
}

function isUnset(value: unknown): boolean {
  if (value instanceof Uint8Array) return value.length === 0;
  return value === undefined || value === 0 || value === 0n || value === false || value === "";
}

function valueText(value: unknown): string {
  if (value instanceof Uint8Array) return quoteBytes(value);
  if (typeof value === "string") return quoteBytes(utf8FromText(value));
  if (typeof value !== "object" || value === null) return String(value);
  // The name of an enum's value stands without quotes.
  if ("name" in value && Object.keys(value).length === 1) return String(value.name);
  return `<${fieldsText(value as Fields)}>`;
}

/** `rangeEnd` is `range_end`; names of capitals, as `ID` and `TTL`, stay. */
function snakeCase(name: string): string {
  return name.replace(/[a-z][A-Z](?=[a-z])/g, (pair) => `${pair[0]}_${pair[1]!.toLowerCase()}`);
}
