/**
 * What clients ask for: random requests on a few keys, so that they meet. Values are unique, so that a value tells its request.
 *
 * No transaction writes a key twice: the API's checks refuse that before a member sees it. An ID of a lease
 * is asked for again now and then: where the lease is there, that is refused.
 */
import type {
  Compare,
  KeyValueRequest,
  PutRequest,
  RangeRequest,
  Request,
  Response,
  TxnRequest,
} from "../check/history.js";
import type { SimRandom } from "../random.js";
import type { LeaseErrand, LeaseReply } from "./lease-errands.js";

/** How often each kind is asked for, beside the others; 0 never. */
export interface Mix {
  readonly put: number;
  readonly get: number;
  readonly getSerializable: number;
  readonly list: number;
  readonly getPast: number;
  readonly delete: number;
  readonly compareAndSwap: number;
  readonly createOnce: number;
  readonly nested: number;
  readonly compact: number;
  readonly hash: number;
  readonly grant: number;
  /** A put that hangs its key on a lease; beside it one in so many puts of transactions does. */
  readonly attach: number;
  readonly renew: number;
  readonly leaseTime: number;
  readonly revoke: number;
  readonly leaseList: number;
}

export interface WorkloadOptions {
  readonly keys: number;
  /** Most bytes that a value is filled up to. */
  readonly valueBytesMax: number;
  /** What leases are granted for, in seconds, beside the long ones that do not run out in a run. */
  readonly leaseSecondsMax: number;
  readonly mix: Mix;
}

/** Of a lease that does not run out in a run. */
export const LONG_LEASE_SECONDS = 1_000;

/** Leases that one asks for again and again: those that were granted last. */
const LEASES_REMEMBERED = 6;

/** What one asks for who only reads. */
const READS: readonly (keyof Mix)[] = ["get", "get", "get", "list", "getSerializable"];

/** Every key begins with `k`. */
export const ALL_KEYS = { key: "k", end: "l" } as const;

export class Workload {
  readonly #options: WorkloadOptions;
  readonly #random: SimRandom;
  readonly #kinds: readonly (keyof Mix)[];
  /** What answers told last of each key: its mod revision, 0 when it was not there. */
  readonly #seen = new Map<string, number>();
  #revision = 1;
  /** Whether the newest revision that answers told is that of a deletion. */
  #newestIsDeletion = false;
  #values = 0;
  /** Leases that were granted, or may have been: the last ones. */
  readonly #leases: string[] = [];
  #leaseIds = 0;

  constructor(options: WorkloadOptions, random: SimRandom) {
    this.#options = options;
    this.#random = random;
    this.#kinds = Object.entries(options.mix).flatMap(([kind, weight]) =>
      Array.from({ length: weight }, () => kind as keyof Mix),
    );
  }

  /** @param readsOnly nothing that waits for a write: who only reads is soon at the next member, and sees which of them is behind */
  next(readsOnly: boolean): Request | LeaseErrand {
    const kind = readsOnly ? this.#random.pick(READS) : this.#kind();
    switch (kind) {
      case "put":
        return this.#put(this.#key());
      case "get":
        return { kind: "range", key: this.#key() };
      case "getSerializable":
        return { kind: "range", serializable: true, ...(this.#random.oneIn(4) ? ALL_KEYS : { key: this.#key() }) };
      case "list":
        return { kind: "range", ...ALL_KEYS, ...this.#listFields() };
      case "getPast":
        return { kind: "range", key: this.#key(), revision: Math.max(1, this.#revision - this.#random.below(20)) };
      case "delete":
        return this.#delete();
      case "compareAndSwap":
        return this.#compareAndSwap();
      case "createOnce":
        return this.#createOnce();
      case "nested":
        return this.#nested();
      case "compact":
        return {
          kind: "compact",
          revision: Math.max(1, this.#revision - (this.#compactsAtTheNewest() ? 0 : this.#random.below(12))),
          physical: this.#random.oneIn(2),
        };
      case "hash":
        return { kind: "hash" };
      case "grant":
        return this.#grant();
      case "attach":
        return { ...this.#put(this.#key()), ...this.#leaseField() };
      case "renew":
      case "revoke":
        return this.#ofLease((lease) => ({ errand: kind, lease }));
      case "leaseTime":
        return this.#ofLease((lease) => ({ errand: "time", lease, keys: this.#random.oneIn(2) }));
      case "leaseList":
        return { errand: "list" };
    }
  }

  /** Learns of leases that can be asked for. */
  learnOfLease(errand: LeaseErrand, { granted }: LeaseReply): void {
    if (errand.errand === "grant" && errand.lease === "0" && granted !== undefined) this.#remember(granted);
  }

  #remember(lease: string): void {
    this.#leases.push(lease);
    if (this.#leases.length > LEASES_REMEMBERED) this.#leases.shift();
  }

  #grant(): LeaseErrand {
    const ttlSeconds = this.#random.oneIn(5)
      ? LONG_LEASE_SECONDS
      : 1 + this.#random.below(this.#options.leaseSecondsMax);
    if (this.#random.oneIn(3)) return { errand: "grant", lease: "0", ttlSeconds };
    const last = this.#leases.at(-1);
    if (last !== undefined && this.#random.oneIn(8)) return { errand: "grant", lease: last, ttlSeconds };
    const lease = String(++this.#leaseIds);
    this.#remember(lease);
    return { errand: "grant", lease, ttlSeconds };
  }

  #ofLease(make: (lease: string) => LeaseErrand): LeaseErrand {
    return this.#leases.length === 0 ? this.#grant() : make(this.#random.pick(this.#leases));
  }

  #leaseField(): { lease?: string } {
    return this.#leases.length === 0 ? {} : { lease: this.#random.pick(this.#leases) };
  }

  /** Learns from an answer, so that later compares hit. */
  learn(request: Request, response: Response): void {
    if (response.header.revision > this.#revision) {
      this.#revision = response.header.revision;
      this.#newestIsDeletion = response.kind === "delete";
    }
    if (request.kind === "put") this.#seen.set(request.key, response.header.revision);
    if (response.kind !== "range" || request.kind !== "range" || (request.revision ?? 0) > 0) return;
    if (request.end === undefined) this.#seen.set(request.key, response.kvs[0]?.modRevision ?? 0);
    for (const kv of response.kvs) this.#seen.set(kv.key, kv.modRevision);
  }

  /** A deletion is compacted soon, where compactions are asked for at all. */
  #kind(): keyof Mix {
    if (this.#newestIsDeletion && this.#options.mix.compact > 0 && this.#random.oneIn(4)) return "compact";
    return this.#random.pick(this.#kinds);
  }

  /** Whether a compaction is up to the newest revision: always where that is a deletion, which must not be forgotten with it. */
  #compactsAtTheNewest(): boolean {
    return this.#random.oneIn(this.#newestIsDeletion ? 1 : 3);
  }

  #key(): string {
    return `k${this.#random.below(this.#options.keys)}`;
  }

  #put(key: string): PutRequest {
    return { kind: "put", key, value: this.#value(), ...(this.#random.oneIn(3) ? { prevKv: true } : {}) };
  }

  #value(): string {
    const value = `v${++this.#values}-`;
    const size = this.#random.oneIn(4) ? this.#random.below(this.#options.valueBytesMax + 1) : 0;
    return value.padEnd(size, "\0x~");
  }

  #delete(): KeyValueRequest {
    const prevKv = this.#random.oneIn(2) ? { prevKv: true } : {};
    if (!this.#random.oneIn(6)) return { kind: "delete", key: this.#key(), ...prevKv };
    return { kind: "delete", key: this.#key(), end: this.#random.oneIn(3) ? "\0" : `${this.#key()}~`, ...prevKv };
  }

  #listFields(): Partial<RangeRequest> {
    switch (this.#random.below(5)) {
      case 0:
        return { limit: 1 + this.#random.below(4) };
      case 1:
        return { countOnly: true };
      case 2:
        return { keysOnly: true };
      case 3:
        return { minModRevision: Math.max(1, this.#revision - this.#random.below(10)) };
      default:
        return {};
    }
  }

  #compareAndSwap(): TxnRequest {
    const key = this.#key();
    const operand = this.#seen.get(key) ?? 0;
    return {
      kind: "txn",
      compares: [{ key, target: "mod", result: "equal", operand }],
      success: [this.#put(key)],
      failure: [{ kind: "range", key }],
    };
  }

  #createOnce(): TxnRequest {
    const key = this.#key();
    const compares: Compare[] = [{ key, target: "version", result: "equal", operand: 0 }];
    return { kind: "txn", compares, success: [this.#put(key)], failure: [{ kind: "delete", key, prevKv: true }] };
  }

  /** A transaction in a transaction, with a read at a revision that a compaction may have taken. */
  #nested(): TxnRequest {
    const [first, second] = this.#twoKeys();
    const lease = this.#random.oneIn(4) ? this.#leaseField() : {};
    const past = { kind: "range", key: second, revision: Math.max(1, this.#revision - this.#random.below(6)) } as const;
    const inner: TxnRequest = {
      kind: "txn",
      compares: [{ key: second, target: "version", result: "greater", operand: this.#random.below(3) }],
      success: [
        { ...this.#put(second), ...lease },
        { kind: "range", key: second },
      ],
      failure: this.#random.oneIn(3) ? [past] : [{ kind: "range", ...ALL_KEYS, limit: 3 }],
    };
    return {
      kind: "txn",
      compares: [{ key: first, target: "create", result: "greater", operand: 0 }],
      success: [this.#put(first), inner],
      failure: this.#random.oneIn(2) ? [past] : [this.#put(first), this.#put(second)],
    };
  }

  #twoKeys(): [first: string, second: string] {
    const first = this.#random.below(this.#options.keys);
    const second = (first + 1 + this.#random.below(this.#options.keys - 1)) % this.#options.keys;
    return [`k${first}`, `k${second}`];
  }
}
