/**
 * What a cluster is after each entry of its log, as a textbook would write it: keys, leases, and who may do what. Every member must
 * come to the same, and no answer may tell of anything else.
 *
 * It is told the committed entries one by one and shares no code with the server's applier. Of the past it keeps what answers are
 * judged by: what each revision changed, what users and roles were after each change, when leases came and went.
 */
import { AuthState, type AuthChange, type Caller } from "./auth-model.js";
import { EMPTY_START, type Change, type KeyValue, type KeyValueRequest } from "./history.js";
import { Model } from "./model.js";

/** An entry, as far as it changes anything. */
export type Logged =
  | { readonly kind: "request"; readonly caller: Caller; readonly request: KeyValueRequest }
  | { readonly kind: "compact"; readonly revision: number }
  | { readonly kind: "grant"; readonly lease: string; readonly ttlSeconds: number }
  | { readonly kind: "revoke"; readonly caller: Caller; readonly lease: string }
  | { readonly kind: "checkpoint"; readonly left: readonly { readonly lease: string; readonly seconds: number }[] }
  | { readonly kind: "auth"; readonly caller: Caller; readonly change: AuthChange }
  | { readonly kind: "nothing" };

/** What an entry did. */
export type Done =
  | { readonly kind: "changed"; readonly revision: number; readonly changes: readonly Change[] }
  | { readonly kind: "granted"; readonly lease: string }
  | { readonly kind: "revoked"; readonly lease: string }
  | { readonly kind: "refused" }
  | { readonly kind: "done" };

export interface LoggedChange {
  readonly revision: number;
  readonly index: number;
  readonly changes: readonly Change[];
  /** What each changed key was before, in the order of the changes. */
  readonly before: readonly (KeyValue | undefined)[];
  /** The lease of which this is the end. */
  readonly lease: string | undefined;
}

export interface LeaseLife {
  readonly lease: string;
  /** As granted, in seconds. */
  readonly ttlSeconds: number;
  /** What the last checkpoint left of it; 0 for its whole time. */
  leftSeconds: number;
  readonly grantedAt: number;
  /** Whether there was a lease of this ID before: an answer does not say which one is meant. */
  readonly isAnother: boolean;
  /** Index of the entry that ended it. */
  revokedAt: number | undefined;
}

export interface StateMachineOptions {
  /** Shorter times to live are raised to this. */
  readonly leaseSecondsMin: number;
}

export class StateMachine {
  readonly #options: StateMachineOptions;
  readonly #leases = new Map<string, LeaseLife>();
  readonly store = new Model(EMPTY_START, (lease) => this.hasLease(lease));
  /** By revision; the first one is 2. */
  readonly changes: LoggedChange[] = [];
  /** After the entry of an index, until the next one's. */
  readonly #auth: { readonly index: number; readonly state: AuthState }[] = [{ index: 0, state: new AuthState() }];
  /** Revision and compaction after each entry, by its index. */
  readonly #revisions: number[] = [1];
  readonly #compactions: number[] = [0];

  constructor(options: StateMachineOptions) {
    this.#options = options;
  }

  /** Of the last entry. */
  get index(): number {
    return this.#revisions.length - 1;
  }

  revisionAt(index: number): number {
    return this.#revisions[index]!;
  }

  /** 0 when there was none. */
  compactRevisionAt(index: number): number {
    return this.#compactions[index]!;
  }

  get auth(): AuthState {
    return this.#auth.at(-1)!.state;
  }

  /** Users and roles after the entry of this index. */
  authAt(index: number): AuthState {
    return this.#auth[this.#authPlace(index)]!.state;
  }

  /** All states that users and roles were in from one index to another, both included. */
  authBetween(from: number, to: number): AuthState[] {
    return this.#auth.slice(this.#authPlace(from), this.#authPlace(to) + 1).map(({ state }) => state);
  }

  #authPlace(index: number): number {
    let low = 0;
    let high = this.#auth.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#auth[middle]!.index <= index) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Every lease that ever was. */
  get leases(): ReadonlyMap<string, LeaseLife> {
    return this.#leases;
  }

  hasLease(lease: string): boolean {
    const life = this.#leases.get(lease);
    return life !== undefined && life.revokedAt === undefined;
  }

  apply(entry: Logged): Done {
    const index = this.#revisions.length;
    const done = this.#apply(entry, index);
    this.#revisions.push(this.store.revision);
    this.#compactions.push(this.store.compactRevision);
    return done;
  }

  #apply(entry: Logged, index: number): Done {
    switch (entry.kind) {
      case "request": {
        const { request, caller } = entry;
        const refusal = this.auth.refusalOfRequest(request, caller, (lease) => this.store.keysOfLease(lease));
        if (refusal !== undefined) return { kind: "refused" };
        const applied = this.store.apply(request);
        return applied.kind === "refused" ? applied : this.#changed(applied.changes, index, undefined);
      }
      case "compact":
        return this.store.compact(entry.revision) === undefined ? { kind: "done" } : { kind: "refused" };
      case "grant":
        return this.#grant(entry.lease, entry.ttlSeconds, index);
      case "revoke":
        return this.#revoke(entry.lease, entry.caller, index);
      case "checkpoint":
        for (const { lease, seconds } of entry.left) {
          if (this.hasLease(lease)) this.#leases.get(lease)!.leftSeconds = seconds;
        }
        return { kind: "done" };
      case "auth": {
        const before = this.auth;
        const state = before.after(entry.change, entry.caller);
        if (state === before) return { kind: "refused" };
        this.#auth.push({ index, state });
        return { kind: "done" };
      }
      case "nothing":
        return { kind: "done" };
    }
  }

  #grant(lease: string, ttlSeconds: number, grantedAt: number): Done {
    if (this.hasLease(lease)) return { kind: "refused" };
    const granted = Math.max(ttlSeconds, this.#options.leaseSecondsMin);
    const isAnother = this.#leases.has(lease);
    this.#leases.set(lease, { lease, ttlSeconds: granted, leftSeconds: 0, grantedAt, isAnother, revokedAt: undefined });
    return { kind: "granted", lease };
  }

  #revoke(lease: string, caller: Caller, index: number): Done {
    if (!this.hasLease(lease)) return { kind: "refused" };
    const keys = this.store.keysOfLease(lease);
    const { auth } = this;
    if (auth.isEnabled && !auth.isRoot(caller.name)) {
      if (keys.some((key) => auth.refusalOf("write", caller, { key }) !== undefined)) return { kind: "refused" };
    }
    this.#leases.get(lease)!.revokedAt = index;
    this.#changed(this.store.endLease(lease), index, lease);
    return { kind: "revoked", lease };
  }

  #changed(changes: readonly Change[], index: number, lease: string | undefined): Done {
    if (changes.length === 0) return { kind: "done" };
    const { revision } = this.store;
    const before = changes.map((change) => {
      const key = change.kind === "put" ? change.kv.key : change.key;
      return this.store.pairsAt({ key }, revision - 1)[0];
    });
    this.changes.push({ revision, index, changes, before, lease });
    return { kind: "changed", revision, changes };
  }
}
