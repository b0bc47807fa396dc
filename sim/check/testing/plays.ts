/**
 * Words for small histories, written down by hand: `put("a", "1", [0, 1], 2)` is a put called at 0, answered at 1 with revision 2.
 *
 * An outcome is a revision (answered), `"?"` (unknown) or a reason for refusal. Times are positions; what touches overlaps.
 */
import {
  EMPTY_START,
  type Change,
  type Compare,
  type Header,
  type History,
  type KeyValue,
  type KeyValueRequest,
  type KeyValueResponse,
  type LoggedRevision,
  type Operation,
  type RangeRequest,
  type RefusalReason,
  type Request,
  type Response,
} from "../history.js";

export type Line = Omit<Operation, "id">;
type Times = readonly [called: number, at: number];
type Told = number | "?" | RefusalReason;
/** What else is to be said of an operation: who, through which member, the rest of its header. */
type More = {
  readonly client?: string;
  readonly member?: string;
  readonly run?: number;
  readonly header?: Partial<Header>;
};

export function play(...lines: readonly Line[]): History {
  return { start: EMPTY_START, operations: lines.map((line, id) => ({ ...line, id })) };
}

export function playWithLog(log: readonly LoggedRevision[], ...lines: readonly Line[]): History {
  return { ...play(...lines), log };
}

export function wrote(revision: number, ...changes: readonly Change[]): LoggedRevision {
  return { revision, changes };
}

export function pair(key: string, value: string, mod: number, create = mod, version = 1, lease?: string): KeyValue {
  return { key, value, modRevision: mod, createRevision: create, version, ...(lease === undefined ? {} : { lease }) };
}

export function put(
  key: string,
  value: string,
  times: Times,
  told: Told,
  more: More & { readonly prevKv?: KeyValue | "none"; readonly lease?: string } = {},
): Line {
  const request: Request = {
    kind: "put",
    key,
    value,
    ...(more.prevKv === undefined ? {} : { prevKv: true }),
    ...(more.lease === undefined ? {} : { lease: more.lease }),
  };
  const shown = typeof more.prevKv === "object" ? { prevKv: more.prevKv } : {};
  return line(request, times, told, more, (header) => ({ kind: "put", header, ...shown }));
}

/** One key: the pair that was shown, or undefined. */
export function get(
  key: string,
  times: Times,
  told: Told,
  kv?: KeyValue,
  more: More & { readonly request?: Partial<RangeRequest> } = {},
): Line {
  return range({ key, ...more.request }, times, told, kv === undefined ? [] : [kv], more);
}

export function range(
  request: Omit<RangeRequest, "kind">,
  times: Times,
  told: Told,
  kvs: readonly KeyValue[],
  more: More & { readonly count?: number; readonly more?: boolean } = {},
): Line {
  const rest = { kvs, count: more.count ?? kvs.length, more: more.more ?? false };
  return line({ kind: "range", ...request }, times, told, more, (header) => ({ kind: "range", header, ...rest }));
}

export function remove(
  key: string,
  times: Times,
  told: Told,
  deleted: number,
  more: More & { readonly end?: string; readonly prevKvs?: readonly KeyValue[] } = {},
): Line {
  const request: Request = {
    kind: "delete",
    key,
    ...(more.end === undefined ? {} : { end: more.end }),
    ...(more.prevKvs === undefined ? {} : { prevKv: true }),
  };
  return line(request, times, told, more, (header) => ({
    kind: "delete",
    header,
    deleted,
    prevKvs: more.prevKvs ?? [],
  }));
}

export function txn(
  compares: readonly Compare[],
  success: readonly KeyValueRequest[],
  failure: readonly KeyValueRequest[],
  times: Times,
  told: Told,
  succeeded: boolean,
  responses: readonly KeyValueResponse[],
  more: More = {},
): Line {
  const request: Request = { kind: "txn", compares, success, failure };
  return line(request, times, told, more, (header) => ({ kind: "txn", header, succeeded, responses }));
}

export function compact(revision: number, times: Times, told: Told, more: More = {}): Line {
  return line({ kind: "compact", revision }, times, told, more, (header) => ({ kind: "compact", header }));
}

export function hash(
  times: Times,
  told: number,
  value: number,
  more: More & { readonly compacted?: number } = {},
): Line {
  const compactRevision = more.compacted ?? 0;
  return line({ kind: "hash" }, times, told, more, (header) => ({
    kind: "hash",
    header,
    hash: value,
    compactRevision,
  }));
}

function line(
  request: Request,
  [called, at]: Times,
  told: Told,
  { client = "c", member = "m1", run, header }: More,
  answer: (header: Header) => Response,
): Line {
  const outcome: Operation["outcome"] =
    typeof told === "number"
      ? { kind: "answered", at, response: answer({ revision: told, ...header }) }
      : told === "?"
        ? { kind: "unknown", at }
        : { kind: "refused", at, reason: told };
  return { client, member, ...(run === undefined ? {} : { run }), request, called, outcome };
}
