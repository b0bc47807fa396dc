/**
 * Histories under a seed, right by construction: clients whose calls overlap, a store that takes requests one by one, members that
 * lag behind it, answers that get lost. And ways to spoil one. Both are for proving the checkers: what is right must pass, what
 * is spoiled must not.
 */
import type { SimRandom } from "../random.js";
import {
  EMPTY_START,
  HistoryRecorder,
  isSerializable,
  type Answered,
  type Change,
  type Compare,
  type History,
  type HistoryStart,
  type KeyValue,
  type KeyValueRequest,
  type LoggedRevision,
  type Operation,
  type RecordedCall,
  type Request,
  type Response,
} from "./history.js";
import { Model } from "./model.js";

export interface RandomHistoryOptions {
  readonly operations: number;
  readonly clients?: number;
  readonly keys?: number;
  readonly members?: number;
  /** One call in so many loses its answer; 0 for none. */
  readonly lostOneIn?: number;
  readonly compactions?: boolean;
  /** Also tells the log of the servers. */
  readonly log?: boolean;
  /** What is there before; an empty store when left out. */
  readonly start?: HistoryStart;
}

/** A call on its way. */
interface Flight {
  readonly client: number;
  readonly member: number;
  readonly request: Request;
  readonly call: RecordedCall;
  end: "none" | "refused" | "compacted" | "future" | Response;
}

export function randomHistory(random: SimRandom, options: RandomHistoryOptions): History {
  return new RandomRun(random, options).run();
}

class RandomRun {
  readonly #random: SimRandom;
  readonly #operations: number;
  readonly #keys: number;
  readonly #lostOneIn: number;
  readonly #compactions: boolean;
  readonly #log: boolean;
  readonly #model: Model;
  readonly #recorder: HistoryRecorder;
  readonly #flights: (Flight | undefined)[];
  /** Calls whose clients have given up. */
  #orphans: Flight[] = [];
  /** The newest revision of each member. */
  readonly #applied: number[];
  readonly #seen: KeyValue[] = [];
  #values = 0;

  constructor(random: SimRandom, options: RandomHistoryOptions) {
    const start = options.start ?? EMPTY_START;
    this.#model = new Model(start);
    this.#recorder = new HistoryRecorder({ start });
    this.#random = random;
    this.#operations = options.operations;
    this.#keys = options.keys ?? 5;
    this.#lostOneIn = options.lostOneIn ?? 12;
    this.#compactions = options.compactions ?? true;
    this.#log = options.log ?? false;
    this.#flights = Array.from({ length: options.clients ?? 4 }, () => undefined);
    this.#applied = Array.from({ length: options.members ?? 3 }, () => start.revision);
  }

  run(): History {
    while (this.#recorder.size < this.#operations) this.#turn();
    for (let client = 0; client < this.#flights.length; client++) {
      while (this.#flights[client] !== undefined) this.#goOn(client);
    }
    return this.#recorder.history();
  }

  #turn(): void {
    this.#goOn(this.#random.below(this.#flights.length));
    if (this.#random.oneIn(3)) {
      const member = this.#random.below(this.#applied.length);
      const behind = this.#model.revision - this.#applied[member]!;
      this.#applied[member] = this.#applied[member]! + this.#random.below(behind + 1);
    }
    if (this.#orphans.length > 0 && this.#random.oneIn(4)) {
      const orphan = this.#random.pick(this.#orphans);
      this.#orphans = this.#orphans.filter((each) => each !== orphan);
      if (!this.#random.oneIn(3)) this.#perform(orphan); // else it never arrives
    }
  }

  /** The next thing that happens to a client: it calls, its request takes effect, its answer comes or is lost. */
  #goOn(client: number): void {
    const flight = this.#flights[client];
    if (flight === undefined) this.#call(client);
    else if (this.#lostOneIn > 0 && this.#random.oneIn(2 * this.#lostOneIn)) {
      flight.call.unknown("timed out");
      this.#flights[client] = undefined;
      if (flight.end === "none") this.#orphans.push(flight);
    } else if (flight.end === "none") this.#perform(flight);
    else {
      const { end } = flight;
      if (end === "refused") flight.call.refused("other", "too many requests");
      else if (typeof end === "string") flight.call.refused(end);
      else flight.call.answered(end);
      this.#flights[client] = undefined;
    }
  }

  #call(client: number): void {
    const member = this.#random.below(this.#applied.length);
    const request = this.#request();
    const call = this.#recorder.call({ client: `c${client}`, member: `m${member}`, run: 0 }, request);
    this.#flights[client] = { client, member, request, call, end: this.#random.oneIn(40) ? "refused" : "none" };
  }

  #perform(flight: Flight): void {
    const { request, member } = flight;
    const revision = this.#model.revision;
    if (request.kind === "hash") {
      const at = this.#applied[member]!;
      const compactRevision = this.#model.compactRevision;
      flight.end = { kind: "hash", header: { revision: at }, hash: at * 1000 + compactRevision, compactRevision };
      return;
    }
    if (request.kind === "compact") {
      flight.end = this.#model.compact(request.revision) ?? { kind: "compact", header: { revision } };
      this.#applied[member] = revision;
      return;
    }
    const applied = isSerializable(request)
      ? this.#model.read(request, this.#applied[member]!)
      : this.#model.apply(request);
    if (applied.kind === "refused") {
      // No request here names a lease.
      flight.end = applied.reason === "no such lease" ? "refused" : applied.reason;
      return;
    }
    if (!isSerializable(request)) this.#applied[member] = this.#model.revision;
    if (applied.changes.length > 0) this.#written(applied.changes);
    flight.end = applied.response;
  }

  #written(changes: readonly Change[]): void {
    for (const change of changes) if (change.kind === "put") this.#seen.push(change.kv);
    if (this.#log) this.#recorder.logged({ revision: this.#model.revision, changes });
  }

  #request(): Request {
    const { revision } = this.#model;
    const draw = this.#random.below(100);
    if (draw < 30) return this.#put();
    if (draw < 48) return { kind: "range", key: this.#key() };
    if (draw < 58) return this.#range();
    if (draw < 66) return this.#delete();
    if (draw < 82) return this.#txn(true);
    if (draw < 91) return { kind: "range", key: this.#key(), serializable: true };
    if (draw < 96) return { kind: "range", key: "a", end: "\0", revision: 1 + this.#random.below(revision + 1) };
    if (draw < 98 || !this.#compactions) return { kind: "hash" };
    return { kind: "compact", revision: 1 + this.#random.below(revision) };
  }

  #put(): KeyValueRequest {
    const lease = this.#random.oneIn(8) ? { lease: String(1 + this.#random.below(3)) } : {};
    return { kind: "put", key: this.#key(), value: `v${this.#values++}`, prevKv: this.#random.oneIn(3), ...lease };
  }

  #range(): KeyValueRequest {
    const [low, high] = [this.#key(), this.#key()].sort() as [string, string];
    const end = this.#random.oneIn(3) ? "\0" : `${high}~`;
    return {
      kind: "range",
      key: low,
      end,
      ...(this.#random.oneIn(2) ? { limit: 1 + this.#random.below(3) } : {}),
      ...(this.#random.oneIn(6) ? { keysOnly: true } : {}),
      ...(this.#random.oneIn(6) ? { countOnly: true } : {}),
      ...(this.#random.oneIn(6) ? { minModRevision: this.#random.below(this.#model.revision + 1) } : {}),
    };
  }

  #delete(): KeyValueRequest {
    const key = this.#key();
    return { kind: "delete", key, ...(this.#random.oneIn(4) ? { end: `${key}~` } : {}), prevKv: this.#random.oneIn(2) };
  }

  /** Compares with what some client may have seen; writes keys that no other operation of the transaction writes. */
  #txn(nests: boolean): KeyValueRequest {
    const seen =
      this.#seen.length > 0 && !this.#random.oneIn(5)
        ? this.#seen.at(-1 - this.#random.below(Math.min(6, this.#seen.length)))
        : undefined;
    const compares: Compare[] = [
      seen === undefined
        ? { key: this.#key(), target: "create", result: this.#random.pick(["equal", "greater"] as const), operand: 0 }
        : this.#compare(seen),
    ];
    const get: KeyValueRequest = { kind: "range", key: compares[0]!.key };
    const put: KeyValueRequest = { kind: "put", key: compares[0]!.key, value: `v${this.#values++}` };
    const success: KeyValueRequest[] = this.#random.oneIn(4) ? [get] : [put, get];
    if (nests && this.#random.oneIn(4)) success[0] = this.#txn(false);
    return { kind: "txn", compares, success, failure: this.#random.oneIn(5) ? [this.#delete()] : [get] };
  }

  #compare({ key, value, modRevision, createRevision, version }: KeyValue): Compare {
    const result = this.#random.pick(["equal", "equal", "notEqual", "less", "greater"] as const);
    return this.#random.pick<Compare>([
      { key, target: "mod", result, operand: modRevision },
      { key, target: "create", result, operand: createRevision },
      { key, target: "version", result, operand: version },
      { key, target: "value", result, operand: value },
      { key, target: "lease", result, operand: "1" },
    ]);
  }

  #key(): string {
    return String.fromCharCode(97 + this.#random.below(this.#keys));
  }
}

export type Spoiled = { readonly kind: string; readonly operation: Answered; readonly history: History };

/** One field of one answer changed; undefined when a dozen answers, chosen by chance, had nothing of the kind chosen. */
export function spoil(history: History, random: SimRandom): Spoiled | undefined {
  for (let i = 0; i < 12; i++) {
    const spoiled = spoilOnce(history, random);
    if (spoiled !== undefined) return spoiled;
  }
  return undefined;
}

function spoilOnce(history: History, random: SimRandom): Spoiled | undefined {
  const answered = history.operations.filter(
    (each): each is Answered => each.outcome.kind === "answered" && each.request.kind !== "hash",
  );
  if (answered.length === 0) return undefined;
  const operation = random.pick(answered);
  const { response } = operation.outcome;
  const kind = random.pick(SPOILERS);
  const spoiled = spoilers[kind](structuredClone(response) as Mutable<Response>, random);
  if (spoiled === undefined || JSON.stringify(spoiled) === JSON.stringify(response)) return undefined;
  const outcome = { ...operation.outcome, response: spoiled as Response };
  const changed: Answered = { ...operation, outcome };
  const operations: Operation[] = history.operations.map((each) => (each.id === operation.id ? changed : each));
  return { kind, operation: changed, history: { ...history, operations } };
}

type Mutable<Value> = { -readonly [Name in keyof Value]: Mutable<Value[Name]> };

const pairsOf = (response: Mutable<Response>): Mutable<KeyValue>[] => {
  if (response.kind === "range") return response.kvs;
  if (response.kind === "delete") return response.prevKvs;
  if (response.kind === "put") return response.prevKv === undefined ? [] : [response.prevKv];
  return response.kind === "txn" ? response.responses.flatMap(pairsOf) : [];
};

type Spoiler = (response: Mutable<Response>, random: SimRandom) => Mutable<Response> | undefined;

const onPair =
  (change: (kv: Mutable<KeyValue>, random: SimRandom) => void): Spoiler =>
  (response, random) => {
    const kvs = pairsOf(response);
    if (kvs.length === 0) return undefined;
    change(random.pick(kvs), random);
    return response;
  };

const spoilers = {
  "header revision": (response, random) => {
    response.header.revision += random.oneIn(2) ? 1 : -1;
    return response;
  },
  value: onPair((kv) => (kv.value = `${kv.value}!`)),
  "older value": onPair((kv, random) => (kv.value = `v${random.below(1 + Number(kv.value.slice(1) || 0))}`)),
  "mod revision": onPair((kv, random) => (kv.modRevision += random.oneIn(2) ? 1 : -1)),
  "create revision": onPair((kv, random) => (kv.createRevision += random.oneIn(2) ? 1 : -1)),
  version: onPair((kv, random) => (kv.version += random.oneIn(2) ? 1 : -1)),
  lease: onPair((kv) => (kv.lease = "77")),
  count: (response, random) => {
    if (response.kind !== "range") return undefined;
    response.count += random.oneIn(2) ? 1 : -1;
    return response;
  },
  more: (response) => {
    if (response.kind !== "range") return undefined;
    response.more = !response.more;
    return response;
  },
  "pair left out": (response) => {
    if (response.kind !== "range" || response.kvs.length === 0) return undefined;
    (response.kvs as unknown[]).pop();
    return response;
  },
  deleted: (response, random) => {
    if (response.kind !== "delete") return undefined;
    response.deleted += random.oneIn(2) ? 1 : -1;
    return response.deleted < 0 ? undefined : response;
  },
  "previous pair": (response) => {
    if (response.kind !== "put" || response.prevKv === undefined) return undefined;
    delete response.prevKv;
    return response;
  },
  branch: (response) => {
    if (response.kind !== "txn") return undefined;
    response.succeeded = !response.succeeded;
    return response;
  },
} satisfies Readonly<Record<string, Spoiler>>;

const SPOILERS = Object.keys(spoilers) as (keyof typeof spoilers)[];

/** The same history with what the servers wrote under one revision changed. */
export function spoilLog(history: History, random: SimRandom): History {
  const log = [...history.log!];
  const at = random.below(log.length);
  const changed: LoggedRevision = { revision: log[at]!.revision, changes: [{ kind: "delete", key: "never there" }] };
  log[at] = changed;
  return { ...history, log };
}
