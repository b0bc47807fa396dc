/**
 * A broken law, told so that a person sees it: which law, in one sentence what was found and what was expected, the operations
 * concerned, and a picture of when they ran.
 *
 *     real-time-order: #2 was answered from revision 4, after #1 had been answered with revision 5
 *       #1 c1>m1 put "a"="2": revision 5        [2, 3]    ├─┤
 *       #2 c2>m2 range "a": revision 4, "a"="1" [4, 5]        ├─┤
 *
 * The text depends on the violation alone: the same one gives the same text.
 */
import type { KeyValue, KeyValueRequest, Operation, Request, Response, Span } from "./history.js";

/** Laws on what clients see. */
export type ClientLaw =
  /** What was answered before a call is not undone by what is answered to it. */
  | "real-time-order"
  /** A revision belongs to one write. */
  | "revision-used-once"
  /** What was written was asked for, once, and not refused. */
  | "no-write-from-nowhere"
  /** The answer is the model's, to the byte. */
  | "answer-as-the-model"
  /** Compacted and future revisions are refused, and no others. */
  | "refusal-is-true"
  /** Compactions go forward and stay below the revision. */
  | "compaction-order"
  /** What the servers wrote under a revision is what the model writes. */
  | "log-as-the-model"
  /** There is an order of the operations that explains every answer. */
  | "linearizable"
  /** A serializable read is the store at the revision it names. */
  | "serializable-read"
  /** One run of one member never answers from an older revision than before. */
  | "member-goes-forward"
  /** Equal revision and compaction, equal checksum. */
  | "equal-hashes"
  /** One cluster, one ID a member, terms that do not fall. */
  | "header-is-steady";

/** Laws on what members do: see raft-invariants.ts. */
export type RaftLaw =
  | "I1-one-leader-per-term"
  | "I2-log-matching"
  | "I3-leader-completeness"
  | "I4-committed-stays"
  | "I5-durable-state-goes-forward"
  | "I6-sync-before-promise"
  | "I7-applied-is-durable"
  | "I9-snapshot-behind-db"
  | "I11-equal-content"
  | "I12-revision-per-write"
  | "I13-compaction-forward";

export interface Violation {
  readonly law: ClientLaw | RaftLaw;
  /** One sentence: what was found, what was expected. */
  readonly detail: string;
  /** Operations concerned, the broken one first; none for laws on members. */
  readonly operations: readonly Operation[];
}

/** Columns of the picture. */
const PICTURE_WIDTH = 48;
/** Longest text of one operation; answers of many keys are cut. */
const OPERATION_TEXT_MAX = 110;

export function describeViolation(violation: Violation): string {
  const head = `${violation.law}: ${violation.detail}`;
  return violation.operations.length === 0 ? head : `${head}\n${drawTimeline(violation.operations)}`;
}

/** Operations in the order of their calls, one a line, each with its span of time drawn. The scale shows order, not duration. */
export function drawTimeline(operations: readonly Operation[]): string {
  const rows = [...new Set(operations)].sort((a, b) => a.called - b.called || a.id - b.id);
  const positions = rows.flatMap((row) => [row.called, ...(endOf(row) === undefined ? [] : [endOf(row)!])]);
  const scale = [...new Set(positions)].sort((a, b) => a - b);
  const step = Math.max(1, Math.min(4, Math.floor(PICTURE_WIDTH / Math.max(1, scale.length))));
  const column = (position: number): number => Math.min(scale.indexOf(position) * step, PICTURE_WIDTH);
  const width = Math.min((scale.length - 1) * step, PICTURE_WIDTH) + 1;
  const texts = rows.map((row) => `${shorten(describeOperation(row))} ${spanText(row)}`);
  const indent = Math.max(...texts.map(({ length }) => length));
  return rows.map((row, i) => `  ${texts[i]!.padEnd(indent)}  ${bar(row, column, width)}`.trimEnd()).join("\n");
}

/** As `#3 c1>m2 put "a"="1": revision 7`. */
export function describeOperation(operation: Operation): string {
  const { id, client, member, run, request, outcome } = operation;
  const who = `#${id} ${client}>${member}${run === undefined ? "" : `/${run}`}`;
  const asked = `${who} ${describeRequest(request)}`;
  switch (outcome.kind) {
    case "answered":
      return `${asked}: ${describeResponse(outcome.response)}`;
    case "refused":
      return `${asked}: refused, ${outcome.text ?? outcome.reason}`;
    case "unknown":
      return `${asked}: unknown${outcome.text === undefined ? "" : `, ${outcome.text}`}`;
  }
}

export function describeRequest(request: Request): string {
  switch (request.kind) {
    case "put":
      return `put ${quote(request.key)}=${quote(request.value)}${request.lease === undefined ? "" : ` lease ${request.lease}`}`;
    case "range": {
      const flags = (["serializable", "keysOnly", "countOnly"] as const).filter((name) => request[name] === true);
      const numbers = (
        ["revision", "limit", "minModRevision", "maxModRevision", "minCreateRevision", "maxCreateRevision"] as const
      ).filter((name) => (request[name] ?? 0) !== 0);
      return ["range", spanOf(request), ...numbers.map((name) => `${name} ${request[name]}`), ...flags].join(" ");
    }
    case "delete":
      return `delete ${spanOf(request)}`;
    case "txn": {
      const compares = request.compares.map(
        (compare) => `${compare.target} ${spanOf(compare)} ${compare.result} ${JSON.stringify(compare.operand)}`,
      );
      const list = (each: readonly KeyValueRequest[]): string => each.map(describeRequest).join("; ");
      return `txn if (${compares.join("; ")}) {${list(request.success)}} else {${list(request.failure)}}`;
    }
    case "compact":
      return `compact ${request.revision}`;
    case "hash":
      return `hash${(request.revision ?? 0) === 0 ? "" : ` revision ${request.revision}`}`;
  }
}

export function describeResponse(response: Response): string {
  const { revision } = response.header;
  switch (response.kind) {
    case "put":
      return `revision ${revision}${response.prevKv === undefined ? "" : `, was ${describePair(response.prevKv)}`}`;
    case "range": {
      const kvs = response.kvs.map((kv) => `, ${describePair(kv)}`).join("");
      return `revision ${revision}, count ${response.count}${response.more ? " and more" : ""}${kvs}`;
    }
    case "delete":
      return `revision ${revision}, ${response.deleted} deleted`;
    case "txn":
      return `revision ${revision}, ${response.succeeded ? "then" : "else"} {${response.responses.map(describeResponse).join("; ")}}`;
    case "compact":
      return `revision ${revision}`;
    case "hash":
      return `revision ${revision}, hash ${response.hash} from compaction ${response.compactRevision}`;
  }
}

/** As `"a"="1" mod 5 create 3 version 2`. */
export function describePair({ key, value, modRevision, createRevision, version, lease }: KeyValue): string {
  const held = lease === undefined ? "" : ` lease ${lease}`;
  return `${quote(key)}=${quote(value)} mod ${modRevision} create ${createRevision} version ${version}${held}`;
}

function spanOf({ key, end }: Span): string {
  if (end === undefined || end === "") return quote(key);
  return `[${quote(key)}, ${end === "\0" ? "end" : quote(end)})`;
}

function quote(text: string): string {
  return JSON.stringify(text.length > 24 ? `${text.slice(0, 23)}…` : text);
}

function shorten(text: string): string {
  return text.length <= OPERATION_TEXT_MAX ? text : `${text.slice(0, OPERATION_TEXT_MAX - 1)}…`;
}

function endOf({ outcome }: Operation): number | undefined {
  return outcome.kind === "unknown" ? undefined : outcome.at;
}

function spanText(operation: Operation): string {
  const { outcome } = operation;
  const times =
    operation.calledMs === undefined
      ? ""
      : ` ${operation.calledMs.toFixed(1)}-${outcome.atMs === undefined ? "" : outcome.atMs.toFixed(1)} ms`;
  return `[${operation.called}, ${outcome.kind === "unknown" ? "?" : outcome.at}]${times}`;
}

/** `├──┤`; without an end it goes on: `├──···`. */
function bar(operation: Operation, column: (position: number) => number, width: number): string {
  const from = column(operation.called);
  const end = endOf(operation);
  if (end === undefined) return `${" ".repeat(from)}├${"·".repeat(Math.max(1, width - from - 1))}`;
  const to = Math.max(from + 1, column(end));
  return `${" ".repeat(from)}├${"─".repeat(Math.max(0, to - from - 1))}┤`;
}
