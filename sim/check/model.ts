/**
 * etcd's key-value store as a textbook would write it: every version of every key is kept, nothing is deleted, nothing is fast.
 * It knows nothing of src/mvcc, so that it can judge it.
 *
 * Laws:
 * - a request that writes something makes one revision, all its changes carry it; one that writes nothing makes none;
 * - compares of a transaction, nested ones included, see the store before it; its operations see what those before them did;
 * - a refused request changes nothing;
 * - a key hangs on the lease that its newest pair names; the end of a lease deletes what hangs on it, in order and in one revision.
 *
 * Requests are taken as the API lets them through: it has refused empty keys and keys that a transaction writes twice.
 */
import {
  isIn,
  isRead,
  type Change,
  type Compare,
  type DeleteRequest,
  type Header,
  type HistoryStart,
  type KeyValue,
  type KeyValueRequest,
  type KeyValueResponse,
  type PutRequest,
  type RangeRequest,
  type RangeResponse,
  type Span,
  type TxnRequest,
  type TxnResponse,
} from "./history.js";

export type Applied<Answer = KeyValueResponse> =
  | { readonly kind: "answered"; readonly response: Answer; readonly changes: readonly Change[] }
  | { readonly kind: "refused"; readonly reason: RefusedAs };

/** Why the store refuses. */
export type RefusedAs = "compacted" | "future" | "no such lease";

/** One state of a key: a pair, or that it is gone. */
interface Version {
  readonly revision: number;
  readonly kv: KeyValue | undefined;
}

/** A transaction with its compares decided. */
interface Plan {
  readonly succeeded: boolean;
  readonly steps: readonly { readonly request: KeyValueRequest; readonly nested: Plan | undefined }[];
}

export class Model {
  /** Names in byte order, those of deleted keys included. */
  readonly #keys: string[] = [];
  readonly #versions = new Map<string, Version[]>();
  /** Keys in the order in which they were changed. */
  readonly #journal: string[] = [];
  readonly #first: number;
  readonly #hasLease: (lease: string) => boolean;
  #revision: number;
  #compactRevision = 0;

  /** @param hasLease which leases there are; left out, each that a put names */
  constructor(start: HistoryStart, hasLease: (lease: string) => boolean = () => true) {
    this.#hasLease = hasLease;
    this.#first = start.revision;
    this.#revision = start.revision;
    const kvs = [...start.kvs].sort((a, b) => a.modRevision - b.modRevision);
    for (const kv of kvs) this.#append(kv.key, { revision: kv.modRevision, kv });
  }

  get revision(): number {
    return this.#revision;
  }

  /** Revisions below it are not known: what was there before the history began. */
  get firstRevision(): number {
    return this.#first;
  }

  /** Of the last compaction; 0 when there was none. */
  get compactRevision(): number {
    return this.#compactRevision;
  }

  apply(request: KeyValueRequest): Applied {
    if (isRead(request)) return this.read(request, this.#revision);
    const plan = request.kind === "txn" ? this.#planOf(request) : undefined;
    const refusal = plan === undefined ? this.#refusalOfPut(request) : this.#refusalOf(plan);
    if (refusal !== undefined) return { kind: "refused", reason: refusal };
    const changes: Change[] = [];
    const response =
      plan === undefined ? this.#perform(request, undefined, changes) : this.#performPlan(plan, changes, undefined);
    if (changes.length > 0) this.#revision++;
    return { kind: "answered", response, changes };
  }

  /** What a member whose newest revision is `current` answers to a range, or to a transaction of ranges. */
  read(request: KeyValueRequest, current: number): Applied {
    if (request.kind === "range") {
      const reason = this.#refusalOfRange(request, current);
      if (reason !== undefined) return { kind: "refused", reason };
      return { kind: "answered", response: this.#range(request, current), changes: [] };
    }
    const succeeded = (request as TxnRequest).compares.every((compare) => this.#holds(compare, current));
    const { success, failure } = request as TxnRequest;
    const responses: KeyValueResponse[] = [];
    for (const each of (succeeded ? success : failure) as readonly RangeRequest[]) {
      const reason = this.#refusalOfRange(each, current);
      if (reason !== undefined) return { kind: "refused", reason };
      responses.push(this.#range(each, current));
    }
    const response: TxnResponse = { kind: "txn", header: headerOf(current), succeeded, responses };
    return { kind: "answered", response, changes: [] };
  }

  /** @returns why it is refused */
  compact(revision: number): "compacted" | "future" | undefined {
    if (revision <= this.#compactRevision) return "compacted";
    if (revision > this.#revision) return "future";
    this.#compactRevision = revision;
    return undefined;
  }

  /** The keys that hang on a lease, in byte order. */
  keysOfLease(lease: string): string[] {
    const all = this.pairsAt({ key: "", end: "\0" }, this.#revision);
    return all.filter((kv) => kv.lease === lease).map(({ key }) => key);
  }

  /** The lease ends. Where keys hang on it, that makes a revision. */
  endLease(lease: string): readonly Change[] {
    const keys = this.keysOfLease(lease);
    if (keys.length === 0) return [];
    this.#revision++;
    for (const key of keys) this.#append(key, { revision: this.#revision, kv: undefined });
    return keys.map((key) => ({ kind: "delete", key }));
  }

  /** The pairs of a span as they were at a revision, in byte order. */
  pairsAt(span: Span, revision: number): KeyValue[] {
    if (span.end === undefined || span.end === "") {
      const kv = this.#pairAt(span.key, revision);
      return kv === undefined ? [] : [kv];
    }
    const kvs: KeyValue[] = [];
    for (let i = this.#place(span.key); i < this.#keys.length && isIn(span, this.#keys[i]!); i++) {
      const kv = this.#pairAt(this.#keys[i]!, revision);
      if (kv !== undefined) kvs.push(kv);
    }
    return kvs;
  }

  /** Forgets every revision above this one. Compactions stay. */
  undoTo(revision: number): void {
    while (this.#journal.length > 0) {
      const versions = this.#versions.get(this.#journal.at(-1)!)!;
      if (versions.at(-1)!.revision <= revision) break;
      versions.pop();
      this.#journal.pop();
    }
    this.#revision = revision;
  }

  #planOf(request: TxnRequest): Plan {
    const succeeded = request.compares.every((compare) => this.#holds(compare, this.#revision));
    const steps = (succeeded ? request.success : request.failure).map((each) => ({
      request: each,
      nested: each.kind === "txn" ? this.#planOf(each) : undefined,
    }));
    return { succeeded, steps };
  }

  #refusalOf(plan: Plan): RefusedAs | undefined {
    for (const { request, nested } of plan.steps) {
      const reason =
        nested !== undefined
          ? this.#refusalOf(nested)
          : request.kind === "range"
            ? this.#refusalOfRange(request, this.#revision)
            : this.#refusalOfPut(request);
      if (reason !== undefined) return reason;
    }
    return undefined;
  }

  #refusalOfPut(request: KeyValueRequest): RefusedAs | undefined {
    const lease = request.kind === "put" ? request.lease : undefined;
    return lease === undefined || this.#hasLease(lease) ? undefined : "no such lease";
  }

  #refusalOfRange({ revision = 0 }: RangeRequest, current: number): "compacted" | "future" | undefined {
    if (revision <= 0) return undefined;
    if (revision > current) return "future";
    return revision < this.#compactRevision ? "compacted" : undefined;
  }

  #performPlan(plan: Plan, changes: Change[], header: Header | undefined): TxnResponse {
    const responses = plan.steps.map(({ request, nested }) => this.#perform(request, nested, changes));
    return { kind: "txn", header: header ?? this.#headerAfter(changes), succeeded: plan.succeeded, responses };
  }

  #perform(request: KeyValueRequest, nested: Plan | undefined, changes: Change[]): KeyValueResponse {
    switch (request.kind) {
      case "range":
        return this.#range(request, this.#headerAfter(changes).revision);
      case "put":
        return this.#put(request, changes);
      case "delete":
        return this.#delete(request, changes);
      case "txn":
        return this.#performPlan(nested!, changes, headerOf(0));
    }
  }

  #range(request: RangeRequest, current: number): RangeResponse {
    const { revision = 0, limit = 0 } = request;
    const all = this.pairsAt(request, revision > 0 ? revision : current);
    const wanted = request.countOnly === true ? [] : all.filter((kv) => passes(request, kv));
    const more = limit > 0 && wanted.length > limit;
    const shown = more ? wanted.slice(0, limit) : wanted;
    const kvs = request.keysOnly === true ? shown.map((kv) => ({ ...kv, value: "" })) : shown;
    return { kind: "range", header: headerOf(current), kvs, more, count: all.length };
  }

  #put(request: PutRequest, changes: Change[]): KeyValueResponse {
    const revision = this.#revision + 1;
    const previous = this.#pairAt(request.key, revision);
    const kv: KeyValue = {
      key: request.key,
      value: request.value,
      createRevision: previous?.createRevision ?? revision,
      modRevision: revision,
      version: (previous?.version ?? 0) + 1,
      ...(request.lease === undefined ? {} : { lease: request.lease }),
    };
    this.#append(request.key, { revision, kv });
    changes.push({ kind: "put", kv });
    const shown = request.prevKv === true && previous !== undefined ? { prevKv: previous } : {};
    return { kind: "put", header: headerOf(revision), ...shown };
  }

  #delete(request: DeleteRequest, changes: Change[]): KeyValueResponse {
    const revision = this.#revision + 1;
    const deleted = this.pairsAt(request, revision);
    for (const { key } of deleted) {
      this.#append(key, { revision, kv: undefined });
      changes.push({ kind: "delete", key });
    }
    const prevKvs = request.prevKv === true ? deleted : [];
    return { kind: "delete", header: this.#headerAfter(changes), deleted: deleted.length, prevKvs };
  }

  #headerAfter(changes: readonly Change[]): Header {
    return headerOf(this.#revision + (changes.length > 0 ? 1 : 0));
  }

  /** A span without keys compares as a pair of zeros; a value of nothing never holds. */
  #holds(compare: Compare, revision: number): boolean {
    const kvs = this.pairsAt(compare, revision);
    if (kvs.length > 0) return kvs.every((kv) => holdsFor(compare, kv));
    return compare.target !== "value" && holdsFor(compare, NO_PAIR);
  }

  #pairAt(key: string, revision: number): KeyValue | undefined {
    const versions = this.#versions.get(key);
    if (versions === undefined) return undefined;
    for (let i = versions.length - 1; i >= 0; i--) if (versions[i]!.revision <= revision) return versions[i]!.kv;
    return undefined;
  }

  #append(key: string, version: Version): void {
    this.#journal.push(key);
    const versions = this.#versions.get(key);
    if (versions !== undefined) {
      versions.push(version);
      return;
    }
    this.#versions.set(key, [version]);
    this.#keys.splice(this.#place(key), 0, key);
  }

  /** Position of the first name that is not below `key`. */
  #place(key: string): number {
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#keys[middle]! < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

const NO_PAIR: KeyValue = { key: "", value: "", createRevision: 0, modRevision: 0, version: 0 };

function headerOf(revision: number): Header {
  return { revision };
}

function passes(request: RangeRequest, kv: KeyValue): boolean {
  const { minModRevision = 0, maxModRevision = 0, minCreateRevision = 0, maxCreateRevision = 0 } = request;
  if (minModRevision !== 0 && kv.modRevision < minModRevision) return false;
  if (maxModRevision !== 0 && kv.modRevision > maxModRevision) return false;
  if (minCreateRevision !== 0 && kv.createRevision < minCreateRevision) return false;
  return maxCreateRevision === 0 || kv.createRevision <= maxCreateRevision;
}

function holdsFor(compare: Compare, kv: KeyValue): boolean {
  const order = orderOf(compare, kv);
  switch (compare.result) {
    case "equal":
      return order === 0;
    case "notEqual":
      return order !== 0;
    case "greater":
      return order > 0;
    case "less":
      return order < 0;
  }
}

function orderOf({ target, operand }: Compare, kv: KeyValue): number {
  switch (target) {
    case "value":
      return kv.value < String(operand) ? -1 : kv.value > String(operand) ? 1 : 0;
    case "version":
      return kv.version - Number(operand);
    case "create":
      return kv.createRevision - Number(operand);
    case "mod":
      return kv.modRevision - Number(operand);
    case "lease": {
      const difference = BigInt(kv.lease ?? "0") - BigInt(operand);
      return difference < 0n ? -1 : difference > 0n ? 1 : 0;
    }
  }
}
