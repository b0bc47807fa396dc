/**
 * What clients asked and what they were told: the input of every checker, whoever made it (the simulated world, processes of ours,
 * real etcd).
 *
 * Laws of a history:
 * - `called` and `at` are positions on one scale for all clients. A happened before B only if `A.outcome.at < B.called`; whatever is
 *   equal counts as overlapping. A recorder in one process counts events, so that nothing is equal; milliseconds do as well;
 * - a client has one operation at a time, or goes under several names: nothing here relies on it;
 * - `refused` is said only of what certainly had no effect and never will. All else that is no answer is `unknown`: it may take effect
 *   at any time after the call, once, or never;
 * - values are unique where writes may have an unknown outcome: a value then tells which request wrote it;
 * - keys and values are latin1 text, one byte a character, as keys are in the store.
 *
 * As text: JSON lines. The first line is `{"history":1,"start":{"revision":1,"kvs":[]}}`, each further one
 * `{"operation":{...}}` or `{"revision":{...}}` (what the servers wrote under a revision, where the runner could read it).
 */
import { CodedError, describeError } from "../../src/base/errors.js";

/** Bytes as latin1 text. */
export type Text = string;

export interface History {
  /** What was there before the first operation. An empty store is at revision 1. */
  readonly start: HistoryStart;
  readonly operations: readonly Operation[];
  /** What the servers wrote, by revision, as a watch or a member's store tells it. May be partial or left out. */
  readonly log?: readonly LoggedRevision[];
}

export interface HistoryStart {
  readonly revision: number;
  readonly kvs: readonly KeyValue[];
}

export const EMPTY_START: HistoryStart = { revision: 1, kvs: [] };

export interface Operation {
  /** Unique within the history. */
  readonly id: number;
  readonly client: string;
  /** The member that was asked. One that was removed and added again is another member, under another name. */
  readonly member: string;
  /**
   * Which start of the member's process was asked, from call to answer. Answers of one run of one member never go back; left out
   * where that is not known.
   */
  readonly run?: number;
  readonly request: Request;
  /** Position of the call. */
  readonly called: number;
  /** When, for people: milliseconds since the run began. */
  readonly calledMs?: number;
  readonly outcome: Outcome;
}

export type Outcome =
  | { readonly kind: "answered"; readonly at: number; readonly atMs?: number; readonly response: Response }
  | {
      readonly kind: "refused";
      readonly at: number;
      readonly atMs?: number;
      readonly reason: RefusalReason;
      readonly text?: string;
    }
  /** `at` is when the client gave up; it says nothing of the effect. */
  | { readonly kind: "unknown"; readonly at?: number; readonly atMs?: number; readonly text?: string };

/** `compacted` and `future` are checked against the revisions; all else that surely had no effect is `other`. */
export type RefusalReason = "compacted" | "future" | "other";

/** An operation that was answered. */
export type Answered = Operation & { readonly outcome: Extract<Outcome, { kind: "answered" }> };

export type Request = KeyValueRequest | CompactRequest | HashRequest;
export type KeyValueRequest = PutRequest | RangeRequest | DeleteRequest | TxnRequest;

/** Keys of a request: one, or up to `end`; `"\0"` as `end` is "from the key on". */
export interface Span {
  readonly key: Text;
  readonly end?: Text;
}

export interface PutRequest {
  readonly kind: "put";
  readonly key: Text;
  readonly value: Text;
  /** Decimal; left out for none. */
  readonly lease?: string;
  readonly prevKv?: boolean;
}

export interface RangeRequest extends Span {
  readonly kind: "range";
  /** 0 or left out: the newest. */
  readonly revision?: number;
  readonly limit?: number;
  readonly serializable?: boolean;
  readonly keysOnly?: boolean;
  readonly countOnly?: boolean;
  readonly minModRevision?: number;
  readonly maxModRevision?: number;
  readonly minCreateRevision?: number;
  readonly maxCreateRevision?: number;
}

export interface DeleteRequest extends Span {
  readonly kind: "delete";
  readonly prevKv?: boolean;
}

export interface TxnRequest {
  readonly kind: "txn";
  readonly compares: readonly Compare[];
  readonly success: readonly KeyValueRequest[];
  readonly failure: readonly KeyValueRequest[];
}

export interface Compare extends Span {
  readonly target: "value" | "version" | "create" | "mod" | "lease";
  readonly result: "equal" | "notEqual" | "greater" | "less";
  /** Text for a value, decimal text for a lease, else a number. */
  readonly operand: string | number;
}

export interface CompactRequest {
  readonly kind: "compact";
  readonly revision: number;
  readonly physical?: boolean;
}

/** The checksum of a member's content (HashKV). It is the member's own: it waits for no other. */
export interface HashRequest {
  readonly kind: "hash";
  /** 0 or left out: the member's newest. */
  readonly revision?: number;
}

export type Response = KeyValueResponse | CompactResponse | HashResponse;
export type KeyValueResponse = PutResponse | RangeResponse | DeleteResponse | TxnResponse;

/** A nested transaction's header is empty: revision 0. IDs are decimal text. */
export interface Header {
  readonly revision: number;
  readonly clusterId?: string;
  readonly memberId?: string;
  readonly raftTerm?: number;
}

export interface KeyValue {
  readonly key: Text;
  readonly value: Text;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  /** Decimal; left out for none. */
  readonly lease?: string;
}

export interface PutResponse {
  readonly kind: "put";
  readonly header: Header;
  readonly prevKv?: KeyValue;
}

export interface RangeResponse {
  readonly kind: "range";
  readonly header: Header;
  readonly kvs: readonly KeyValue[];
  readonly more: boolean;
  readonly count: number;
}

export interface DeleteResponse {
  readonly kind: "delete";
  readonly header: Header;
  readonly deleted: number;
  readonly prevKvs: readonly KeyValue[];
}

export interface TxnResponse {
  readonly kind: "txn";
  readonly header: Header;
  readonly succeeded: boolean;
  readonly responses: readonly KeyValueResponse[];
}

export interface CompactResponse {
  readonly kind: "compact";
  readonly header: Header;
}

export interface HashResponse {
  readonly kind: "hash";
  readonly header: Header;
  readonly hash: number;
  /** Of the compaction that the hash starts from; -1 or 0 when there was none, as the server says it. */
  readonly compactRevision: number;
}

export interface LoggedRevision {
  readonly revision: number;
  /** In the order of their sub revisions. */
  readonly changes: readonly Change[];
  /** Left out where a client's request made the revision; else the lease that ended: nobody asked for the revision. */
  readonly lease?: string;
}

export type Change = { readonly kind: "put"; readonly kv: KeyValue } | { readonly kind: "delete"; readonly key: Text };

/** A file that is no history, with its line. */
export class HistoryError extends CodedError<"HISTORY_MALFORMED"> {
  override readonly name = "HistoryError";
}

export function isAnswered(operation: Operation): operation is Answered {
  return operation.outcome.kind === "answered";
}

/** Whether `key` lies in the span. */
export function isIn(span: Span, key: Text): boolean {
  if (span.end === undefined || span.end === "") return key === span.key;
  return key >= span.key && (span.end === "\0" || key < span.end);
}

/** Whether a request only reads: a range, a hash, or a transaction of ranges. A nested transaction counts as a write, as in etcd. */
export function isRead(request: Request): boolean {
  if (request.kind === "txn") return request.success.every(isRange) && request.failure.every(isRange);
  return request.kind === "range" || request.kind === "hash";
}

const isRange = ({ kind }: Request): boolean => kind === "range";

/** Whether a member answers from what it has, without asking the leader: so may be behind. An empty transaction is, too, as in etcd. */
export function isSerializable(request: Request): boolean {
  if (request.kind === "hash") return true;
  if (request.kind === "range") return request.serializable === true;
  if (request.kind !== "txn") return false;
  return [...request.success, ...request.failure].every((each) => each.kind === "range" && each.serializable === true);
}

/** Whether the answer says that something was written: the request then has its header's revision for itself. */
export function hasWritten(response: Response): boolean {
  switch (response.kind) {
    case "put":
      return true;
    case "delete":
      return response.deleted > 0;
    case "txn":
      return response.responses.some(hasWritten);
    case "range":
    case "compact":
    case "hash":
      return false;
  }
}

/** Whether the request, once it took effect, may have written. */
export function mayWrite(request: Request): boolean {
  return request.kind === "put" || request.kind === "delete" || (request.kind === "txn" && !isRead(request));
}

/**
 * Collects operations as they happen. One recorder for all clients of a run, in one process: the order in which it is told is the
 * order of the history.
 */
export class HistoryRecorder {
  readonly #start: HistoryStart;
  readonly #now: (() => number) | undefined;
  readonly #operations: Operation[] = [];
  readonly #log = new Map<number, LoggedRevision>();
  /** Revisions that were told again, and otherwise. */
  readonly #contradictions: LoggedRevision[] = [];
  #position = 0;

  /** @param now milliseconds since the run began, for people */
  constructor(options: { readonly start?: HistoryStart; readonly now?: () => number } = {}) {
    this.#start = options.start ?? EMPTY_START;
    this.#now = options.now;
  }

  /** Operations begun so far. */
  get size(): number {
    return this.#operations.length;
  }

  /** To be told just before the request leaves. What is never ended stays of unknown outcome. */
  call(
    asked: { readonly client: string; readonly member: string; readonly run?: number },
    request: Request,
  ): RecordedCall {
    const id = this.#operations.length;
    const operation: Operation = {
      id,
      client: asked.client,
      member: asked.member,
      ...(asked.run === undefined ? {} : { run: asked.run }),
      request,
      called: this.#position++,
      ...(this.#now === undefined ? {} : { calledMs: this.#now() }),
      outcome: { kind: "unknown" },
    };
    this.#operations.push(operation);
    const end = (outcomeAt: (when: { readonly at: number; readonly atMs?: number }) => Outcome): void => {
      const begun = this.#operations[id]!;
      if (begun.outcome.at !== undefined) throw new HistoryError("HISTORY_MALFORMED", `operation ${id} ended twice`);
      const when = { at: this.#position++, ...(this.#now === undefined ? {} : { atMs: this.#now() }) };
      this.#operations[id] = { ...begun, outcome: outcomeAt(when) };
    };
    const saying = (text: string | undefined): { readonly text?: string } => (text === undefined ? {} : { text });
    return {
      id,
      answered: (response) => end((when) => ({ kind: "answered", ...when, response })),
      refused: (reason, text) => end((when) => ({ kind: "refused", ...when, reason, ...saying(text) })),
      unknown: (text) => end((when) => ({ kind: "unknown", ...when, ...saying(text) })),
    };
  }

  /** What the servers wrote under a revision. Telling one again is allowed, as watches of several members do; a contradiction is kept. */
  logged(revision: LoggedRevision): void {
    const known = this.#log.get(revision.revision);
    if (known === undefined) this.#log.set(revision.revision, revision);
    else if (JSON.stringify(known) !== JSON.stringify(revision)) this.#contradictions.push(revision);
  }

  history(): History {
    const log = [...this.#log.values(), ...this.#contradictions].sort((a, b) => a.revision - b.revision);
    const operations = [...this.#operations];
    return log.length === 0 ? { start: this.#start, operations } : { start: this.#start, operations, log };
  }
}

/** The end of a call: exactly one of the three, once. */
export interface RecordedCall {
  readonly id: number;
  answered(response: Response): void;
  /** Only for what surely had no effect and never will. */
  refused(reason: RefusalReason, text?: string): void;
  /** Timed out, connection lost, server stopped: any error that does not rule out the effect. */
  unknown(text?: string): void;
}

/** The history as JSON lines. */
export function historyToLines(history: History): string {
  const lines = [JSON.stringify({ history: 1, start: history.start })];
  for (const operation of history.operations) lines.push(JSON.stringify({ operation }));
  for (const revision of history.log ?? []) lines.push(JSON.stringify({ revision }));
  return `${lines.join("\n")}\n`;
}

/** @throws HistoryError with the number of the first line that is none of a history */
export function historyFromLines(text: string): History {
  let start: HistoryStart | undefined;
  const operations: Operation[] = [];
  const log: LoggedRevision[] = [];
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    try {
      const record = asObject(JSON.parse(line), "the line");
      if (start === undefined) {
        if (record["history"] !== 1) throw new Error(`the first line must begin with {"history":1`);
        start = readStart(record["start"]);
      } else if (record["operation"] !== undefined) operations.push(readOperation(record["operation"]));
      else if (record["revision"] !== undefined) log.push(readLoggedRevision(record["revision"]));
      else throw new Error(`neither "operation" nor "revision"`);
    } catch (error) {
      throw new HistoryError("HISTORY_MALFORMED", `line ${i + 1}: ${describeError(error)}`, { cause: error });
    }
  }
  if (start === undefined) throw new HistoryError("HISTORY_MALFORMED", "the file is empty");
  const ids = new Set(operations.map(({ id }) => id));
  if (ids.size < operations.length) throw new HistoryError("HISTORY_MALFORMED", "two operations have the same id");
  return log.length === 0 ? { start, operations } : { start, operations, log };
}

// What follows reads JSON by its form: a field that is missing or of another type is named, one that is not known is refused, since
// a checker that passed over it would judge another request than was made.

type Fields = Readonly<Record<string, unknown>>;
type FieldType = "string" | "number" | "boolean" | "list" | "object" | "operand";

const REQUEST_FIELDS: Readonly<Record<string, Readonly<Record<string, FieldType>>>> = {
  put: { key: "string", value: "string", "lease?": "string", "prevKv?": "boolean" },
  range: {
    key: "string",
    "end?": "string",
    "revision?": "number",
    "limit?": "number",
    "serializable?": "boolean",
    "keysOnly?": "boolean",
    "countOnly?": "boolean",
    "minModRevision?": "number",
    "maxModRevision?": "number",
    "minCreateRevision?": "number",
    "maxCreateRevision?": "number",
  },
  delete: { key: "string", "end?": "string", "prevKv?": "boolean" },
  txn: { compares: "list", success: "list", failure: "list" },
  compact: { revision: "number", "physical?": "boolean" },
  hash: { "revision?": "number" },
};

const COMPARE_FIELDS = {
  key: "string",
  "end?": "string",
  target: "string",
  result: "string",
  operand: "operand",
} as const;

const RESPONSE_FIELDS: Readonly<Record<string, Readonly<Record<string, FieldType>>>> = {
  put: { header: "object", "prevKv?": "object" },
  range: { header: "object", kvs: "list", more: "boolean", count: "number" },
  delete: { header: "object", deleted: "number", prevKvs: "list" },
  txn: { header: "object", succeeded: "boolean", responses: "list" },
  compact: { header: "object" },
  hash: { header: "object", hash: "number", compactRevision: "number" },
};

const HEADER_FIELDS = {
  revision: "number",
  "clusterId?": "string",
  "memberId?": "string",
  "raftTerm?": "number",
} as const;

const KEY_VALUE_FIELDS = {
  key: "string",
  value: "string",
  createRevision: "number",
  modRevision: "number",
  version: "number",
  "lease?": "string",
} as const;

const OPERATION_FIELDS = {
  id: "number",
  client: "string",
  member: "string",
  "run?": "number",
  request: "object",
  called: "number",
  "calledMs?": "number",
  outcome: "object",
} as const;

const OUTCOME_FIELDS: Readonly<Record<string, Readonly<Record<string, FieldType>>>> = {
  answered: { at: "number", "atMs?": "number", response: "object" },
  refused: { at: "number", "atMs?": "number", reason: "string", "text?": "string" },
  unknown: { "at?": "number", "atMs?": "number", "text?": "string" },
};

function readStart(value: unknown): HistoryStart {
  const start = withFields(value, { revision: "number", kvs: "list" }, "start");
  for (const kv of start["kvs"] as unknown[]) withFields(kv, KEY_VALUE_FIELDS, "a pair of the start");
  return start as unknown as HistoryStart;
}

function readOperation(value: unknown): Operation {
  const operation = withFields(value, OPERATION_FIELDS, "operation");
  checkRequest(operation["request"], "request");
  const outcome = ofKind(operation["outcome"], OUTCOME_FIELDS, "outcome");
  if (outcome["response"] !== undefined) checkResponse(outcome["response"], "response");
  const read = operation as unknown as Operation;
  if (read.outcome.kind === "answered" && read.outcome.response.kind !== read.request.kind) {
    throw new Error(`a ${read.request.kind} answered as a ${read.outcome.response.kind}`);
  }
  if (read.outcome.kind === "refused") oneOf(read.outcome.reason, ["compacted", "future", "other"], "reason");
  return read;
}

function checkRequest(value: unknown, where: string): void {
  const request = ofKind(value, REQUEST_FIELDS, where);
  if (request["kind"] !== "txn") return;
  for (const compare of request["compares"] as unknown[]) {
    const { target, result } = withFields(compare, COMPARE_FIELDS, `a compare of ${where}`);
    oneOf(target, ["value", "version", "create", "mod", "lease"], "target");
    oneOf(result, ["equal", "notEqual", "greater", "less"], "result");
  }
  for (const each of request["success"] as unknown[]) checkRequest(each, `${where}.success`);
  for (const each of request["failure"] as unknown[]) checkRequest(each, `${where}.failure`);
}

function checkResponse(value: unknown, where: string): void {
  const response = ofKind(value, RESPONSE_FIELDS, where);
  withFields(response["header"], HEADER_FIELDS, `${where}.header`);
  if (response["prevKv"] !== undefined) withFields(response["prevKv"], KEY_VALUE_FIELDS, `${where}.prevKv`);
  for (const name of ["kvs", "prevKvs"]) {
    for (const kv of (response[name] ?? []) as unknown[]) withFields(kv, KEY_VALUE_FIELDS, `${where}.${name}`);
  }
  for (const each of (response["responses"] ?? []) as unknown[]) checkResponse(each, `${where}.responses`);
}

function readLoggedRevision(value: unknown): LoggedRevision {
  const revision = withFields(value, { revision: "number", changes: "list", "lease?": "string" }, "revision");
  for (const change of revision["changes"] as unknown[]) {
    const { kv } = ofKind(change, { put: { kv: "object" }, delete: { key: "string" } }, "a change");
    if (kv !== undefined) withFields(kv, KEY_VALUE_FIELDS, "the pair of a change");
  }
  return revision as unknown as LoggedRevision;
}

function ofKind(
  value: unknown,
  kinds: Readonly<Record<string, Readonly<Record<string, FieldType>>>>,
  where: string,
): Fields {
  const { kind } = asObject(value, where);
  oneOf(kind, Object.keys(kinds), `${where}.kind`);
  return withFields(value, { kind: "string", ...kinds[kind as string] }, where);
}

/** Fields by name; a name with `?` behind it may be left out. */
function withFields(value: unknown, fields: Readonly<Record<string, FieldType>>, where: string): Fields {
  const object = asObject(value, where);
  for (const name of Object.keys(object)) {
    if (fields[name] === undefined && fields[`${name}?`] === undefined) throw new Error(`${where}: no field "${name}"`);
  }
  for (const [name, type] of Object.entries(fields)) {
    const optional = name.endsWith("?");
    const found = object[optional ? name.slice(0, -1) : name];
    if (found === undefined && optional) continue;
    if (!isOfType(found, type))
      throw new Error(`${where}: "${name}" must be a ${type}, found ${JSON.stringify(found)}`);
  }
  return object;
}

function isOfType(value: unknown, type: FieldType): boolean {
  if (type === "list") return Array.isArray(value);
  if (type === "operand") return typeof value === "string" || typeof value === "number";
  if (type === "object") return typeof value === "object" && value !== null && !Array.isArray(value);
  return typeof value === type;
}

function asObject(value: unknown, where: string): Fields {
  if (!isOfType(value, "object")) throw new Error(`${where} must be an object, found ${JSON.stringify(value)}`);
  return value as Fields;
}

function oneOf(value: unknown, allowed: readonly string[], where: string): void {
  if (typeof value === "string" && allowed.includes(value)) return;
  throw new Error(`${where} must be one of ${allowed.join(", ")}, found ${JSON.stringify(value)}`);
}
