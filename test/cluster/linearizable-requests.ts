/**
 * What the clients of the linearizability test ask, and the way of a request and its answer between a history and the wire.
 *
 * A few keys, so that the clients meet on them; every value is written once, so that it tells who wrote it. Changes of one
 * transaction go to the keys in ascending order: a revision's changes can then be read back from the store in their order.
 */
import type {
  Change,
  Compare,
  Header,
  History,
  KeyValue,
  KeyValueRequest,
  KeyValueResponse,
  LoggedRevision,
  Operation,
  RangeRequest,
} from "../../sim/check/history.js";
import { idOf, keyValue, revisionOf, type Method } from "../support/client.js";
import type { Connection } from "../support/load.js";
import type { Message } from "../support/messages.js";
import type { SeededRandom } from "../support/random.js";

const PREFIX = "lin/";
const ALL: Pick<RangeRequest, "key" | "end"> = { key: PREFIX, end: "lin0" };
const KEYS = 6;

const nameOf = (number: number): string => `${PREFIX}${number}`;

/** What one client asks next. It remembers what it was told of each key, so that its compares have a chance. */
export class RequestMaker {
  readonly #client: string;
  readonly #random: SeededRandom;
  readonly #seen = new Map<string, KeyValue | undefined>();
  #values = 0;

  constructor(client: string, random: SeededRandom) {
    this.#client = client;
    this.#random = random;
  }

  next(): KeyValueRequest {
    const key = nameOf(this.#random.between(0, KEYS));
    return this.#random.weighted<() => KeyValueRequest>([
      [6, () => ({ kind: "put", key, value: this.#value(), ...(this.#random.oneIn(3) ? { prevKv: true } : {}) })],
      [6, () => ({ kind: "range", key })],
      [3, () => ({ kind: "range", ...ALL })],
      [2, () => ({ kind: "range", key, serializable: true })],
      [1, () => ({ kind: "range", ...ALL, limit: 2 })],
      [1, () => ({ kind: "delete", key, prevKv: true })],
      [5, () => this.#swap(key)],
      [2, () => this.#pair()],
    ])();
  }

  /** Notes what an answer showed. */
  saw(request: KeyValueRequest, response: KeyValueResponse): void {
    if (response.kind === "range") {
      if (request.kind === "range" && request.end === undefined) this.#seen.set(request.key, response.kvs[0]);
      for (const kv of response.kvs) this.#seen.set(kv.key, kv);
    }
    if (response.kind === "txn") for (const each of response.responses) this.saw(request, each);
  }

  #value(): string {
    return `${this.#client}-${this.#values++}`;
  }

  /** A put that is done only where the key is as it was seen last; else the key is read. */
  #swap(key: string): KeyValueRequest {
    const seen = this.#seen.get(key);
    const compare: Compare = this.#random.oneIn(2)
      ? { key, target: "mod", result: "equal", operand: seen?.modRevision ?? 0 }
      : seen === undefined
        ? { key, target: "version", result: "equal", operand: 0 }
        : { key, target: "value", result: "equal", operand: seen.value };
    return {
      kind: "txn",
      compares: [compare],
      success: [{ kind: "put", key, value: this.#value() }],
      failure: [{ kind: "range", key }],
    };
  }

  /** Two keys at once, and what stands beside them. */
  #pair(): KeyValueRequest {
    const first = this.#random.between(0, KEYS - 1);
    const second = this.#random.between(first + 1, KEYS);
    const value = this.#value();
    return {
      kind: "txn",
      compares: [],
      success: [
        { kind: "put", key: nameOf(first), value: `${value}-a` },
        { kind: "put", key: nameOf(second), value: `${value}-b` },
        { kind: "range", ...ALL },
      ],
      failure: [],
    };
  }
}

const bytes = (text: string | undefined): Uint8Array | undefined =>
  text === undefined ? undefined : Buffer.from(text, "latin1");
const text = (value: unknown): string =>
  value === undefined ? "" : Buffer.from(value as Uint8Array).toString("latin1");

const METHOD_OF = {
  put: "Put",
  range: "Range",
  delete: "DeleteRange",
  txn: "Txn",
} as const satisfies Record<KeyValueRequest["kind"], Method>;
const OPERATION_OF = {
  put: "request_put",
  range: "request_range",
  delete: "request_delete_range",
  txn: "request_txn",
} as const;
const COMPARE_RESULT = { equal: 0, greater: 1, less: 2, notEqual: 3 } as const;
const COMPARE_TARGET = { version: 0, create: 1, mod: 2, value: 3, lease: 4 } as const;
const COMPARE_OPERAND = {
  version: "version",
  create: "create_revision",
  mod: "mod_revision",
  value: "value",
  lease: "lease",
} as const;

export function toWire(request: KeyValueRequest): { method: Method; message: Message } {
  return { method: METHOD_OF[request.kind], message: messageOf(request) };
}

function messageOf(request: KeyValueRequest): Message {
  switch (request.kind) {
    case "put":
      return { key: bytes(request.key), value: bytes(request.value), prev_kv: request.prevKv };
    case "range":
      return {
        key: bytes(request.key),
        range_end: bytes(request.end),
        limit: request.limit,
        revision: request.revision,
        serializable: request.serializable,
        keys_only: request.keysOnly,
        count_only: request.countOnly,
        min_mod_revision: request.minModRevision,
        max_mod_revision: request.maxModRevision,
        min_create_revision: request.minCreateRevision,
        max_create_revision: request.maxCreateRevision,
      };
    case "delete":
      return { key: bytes(request.key), range_end: bytes(request.end), prev_kv: request.prevKv };
    case "txn": {
      const list = (each: readonly KeyValueRequest[]): Message[] =>
        each.map((operation) => ({ [OPERATION_OF[operation.kind]]: messageOf(operation) }));
      return {
        compare: request.compares.map(({ key, end, target, result, operand }) => ({
          result: COMPARE_RESULT[result],
          target: COMPARE_TARGET[target],
          key: bytes(key),
          range_end: bytes(end),
          [COMPARE_OPERAND[target]]: typeof operand === "string" ? bytes(operand) : operand,
        })),
        success: list(request.success),
        failure: list(request.failure),
      };
    }
  }
}

/** The answer to a request, as a history has it. */
export function fromWire(request: KeyValueRequest, message: Message): KeyValueResponse {
  const header = headerOf(message["header"] as Message | undefined);
  const pairs = (field: string): KeyValue[] => ((message[field] ?? []) as readonly Message[]).map(pairOf);
  const count = (field: string): number => Number(message[field] ?? 0);
  switch (request.kind) {
    case "put": {
      const previous = message["prev_kv"] as Message | undefined;
      return { kind: "put", header, ...(previous === undefined ? {} : { prevKv: pairOf(previous) }) };
    }
    case "range":
      return { kind: "range", header, kvs: pairs("kvs"), more: message["more"] === true, count: count("count") };
    case "delete":
      return { kind: "delete", header, deleted: count("deleted"), prevKvs: pairs("prev_kvs") };
    case "txn": {
      const succeeded = message["succeeded"] === true;
      const asked = succeeded ? request.success : request.failure;
      const answers = (message["responses"] ?? []) as readonly Message[];
      const responses = answers.map((each, i) => fromWire(asked[i]!, Object.values(each)[0] as Message));
      return { kind: "txn", header, succeeded, responses };
    }
  }
}

/** An answer inside a transaction has the revision alone. */
function headerOf(message: Message | undefined): Header {
  if (message?.["cluster_id"] === undefined)
    return { revision: message === undefined ? 0 : revisionOf({ header: message }) };
  return {
    revision: revisionOf({ header: message }),
    clusterId: String(idOf(message["cluster_id"])),
    memberId: String(idOf(message["member_id"])),
    raftTerm: Number(message["raft_term"] ?? 0),
  };
}

function pairOf(message: Message): KeyValue {
  const { key, value, createRevision, modRevision, version, lease } = keyValue(message);
  const pair = { key: text(key), value: text(value), createRevision, modRevision, version };
  return lease === 0 ? pair : { ...pair, lease: String(lease) };
}

/** In flight while the store's past is read. */
const READERS = 32;
const READ_WITHIN_MS = 20_000;

/** What the store wrote under every revision in `[2, last]`, read from its past: nothing may have been compacted. */
export async function readLog(connection: Connection, last: number): Promise<LoggedRevision[]> {
  const states: (readonly KeyValue[])[] = [];
  states[1] = [];
  let next = 2;
  const reader = async (): Promise<void> => {
    while (next <= last) {
      const revision = next++;
      const request: KeyValueRequest = { kind: "range", ...ALL, revision };
      const { method, message } = toWire(request);
      const outcome = await connection.call(method, message, READ_WITHIN_MS);
      if (outcome.kind !== "answered") throw new Error(`reading revision ${revision}: ${outcome.why}`);
      const response = fromWire(request, outcome.response);
      states[revision] = response.kind === "range" ? response.kvs : [];
    }
  };
  await Promise.all(Array.from({ length: READERS }, reader));
  return Array.from({ length: last - 1 }, (_, i) => {
    const revision = i + 2;
    return { revision, changes: changesBetween(states[revision - 1]!, states[revision]!) };
  });
}

function changesBetween(before: readonly KeyValue[], after: readonly KeyValue[]): Change[] {
  const was = new Map(before.map((kv) => [kv.key, kv]));
  const is = new Map(after.map((kv) => [kv.key, kv]));
  const keys = [...new Set([...was.keys(), ...is.keys()])].sort();
  return keys.flatMap((key): Change[] => {
    const kv = is.get(key);
    if (kv === undefined) return [{ kind: "delete", key }];
    return kv.modRevision === was.get(key)?.modRevision ? [] : [{ kind: "put", kv }];
  });
}

/**
 * The history as each key alone went through it, for a search that would never end on all keys together: where the whole has an
 * order, so has each part. A write of unknown outcome whose value the store never held did not happen, and leaves the search
 * nothing to guess. Ranges with a limit are left out, since whether they show a key depends on the others.
 */
export function partsByKey(history: History): History[] {
  const held = new Set(
    (history.log ?? []).flatMap(({ changes }) =>
      changes.flatMap((change) => (change.kind === "put" ? [change.kv.value] : [])),
    ),
  );
  return Array.from({ length: KEYS }, (_, number) => {
    const key = nameOf(number);
    const operations = history.operations.flatMap((operation) => partOf(operation, key, held) ?? []);
    return { start: history.start, operations };
  });
}

function partOf(operation: Operation, key: string, held: ReadonlySet<string>): Operation | undefined {
  const request = requestPart(operation.request as KeyValueRequest, key);
  if (request === undefined) return undefined;
  const { outcome } = operation;
  if (outcome.kind === "answered") {
    const response = responsePart(operation.request as KeyValueRequest, outcome.response as KeyValueResponse, key);
    return { ...operation, request, outcome: { ...outcome, response } };
  }
  const written = valuesOf(request);
  const never = outcome.kind === "unknown" && written.length > 0 && !written.some((value) => held.has(value));
  return {
    ...operation,
    request,
    outcome: never ? { kind: "refused", at: outcome.at ?? Infinity, reason: "other" } : outcome,
  };
}

/** What a request asks of one key; undefined when it has nothing to do with it. */
function requestPart(request: KeyValueRequest, key: string): KeyValueRequest | undefined {
  if (request.kind === "txn") {
    const list = (each: readonly KeyValueRequest[]): KeyValueRequest[] =>
      each.flatMap((inner) => requestPart(inner, key) ?? []);
    const part = { ...request, success: list(request.success), failure: list(request.failure) };
    return part.success.length + part.failure.length === 0 ? undefined : part;
  }
  if (request.kind !== "range" || request.end === undefined) return request.key === key ? request : undefined;
  return request.limit === undefined ? { kind: "range", key } : undefined;
}

function responsePart(request: KeyValueRequest, response: KeyValueResponse, key: string): KeyValueResponse {
  if (request.kind === "txn" && response.kind === "txn") {
    const asked = response.succeeded ? request.success : request.failure;
    const responses = response.responses.flatMap((each, i) =>
      requestPart(asked[i]!, key) === undefined ? [] : [responsePart(asked[i]!, each, key)],
    );
    return { ...response, responses };
  }
  if (response.kind !== "range") return response;
  const kvs = response.kvs.filter((kv) => kv.key === key);
  return { ...response, kvs, count: kvs.length, more: false };
}

function valuesOf(request: KeyValueRequest): string[] {
  if (request.kind === "put") return [request.value];
  return request.kind === "txn" ? [...request.success, ...request.failure].flatMap(valuesOf) : [];
}
