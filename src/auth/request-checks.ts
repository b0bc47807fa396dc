/**
 * What a request needs, by its parts: keys that are compared and read must be readable, keys that are written must be writable.
 *
 * Each rule that etcd learned late stands here as its patched versions have it, and a test beside this file plays it:
 * - a nested transaction is checked like the outer one, its compares included (3.5.28);
 * - a put or a deletion that answers with what was there before needs the right to read it; a put inside of a transaction, too (3.5.30);
 * - a put that hangs a key on a lease needs the right to write ALL keys of that lease, for revoking it deletes them; a put
 *   inside of a transaction, too (3.5.30).
 */
import { EMPTY_BYTES } from "../base/bytes.js";
import type {
  DeleteRangeRequest,
  PutRequest,
  RangeRequest,
  RequestOp,
  TxnRequest,
} from "../proto/generated/etcdserverpb/kv.js";
import type { AuthTables } from "./auth-tables.js";
import type { Caller } from "./caller.js";

/** Which keys hang on a lease. */
export interface LeaseKeys {
  /** None for a lease that there is not. */
  keysOf(lease: bigint): Iterable<Uint8Array>;
}

type Tables = Pick<AuthTables, "assertMay" | "isAdmin">;

/** Each throws AuthError when the caller may not do what the request asks for. */
export class RequestChecks {
  readonly #tables: Tables;
  readonly #leases: LeaseKeys;

  constructor(tables: Tables, leases: LeaseKeys) {
    this.#tables = tables;
    this.#leases = leases;
  }

  range(caller: Caller, { key, rangeEnd }: Pick<RangeRequest, "key" | "rangeEnd">): void {
    this.#tables.assertMay("read", caller, key, rangeEnd);
  }

  put(caller: Caller, { key, lease, prevKv }: PutRequest): void {
    this.#tables.assertMay("write", caller, key, EMPTY_BYTES);
    if (lease !== 0n) this.writesOfLease(caller, lease);
    if (prevKv) this.#tables.assertMay("read", caller, key, EMPTY_BYTES);
  }

  deleteRange(caller: Caller, { key, rangeEnd, prevKv }: DeleteRangeRequest): void {
    this.#tables.assertMay("write", caller, key, rangeEnd);
    if (prevKv) this.#tables.assertMay("read", caller, key, rangeEnd);
  }

  txn(caller: Caller, { compare, success, failure }: TxnRequest): void {
    for (const { key, rangeEnd } of compare) this.#tables.assertMay("read", caller, key, rangeEnd);
    for (const operation of success) this.#operation(caller, operation);
    for (const operation of failure) this.#operation(caller, operation);
  }

  #operation(caller: Caller, { request }: RequestOp): void {
    switch (request?.$case) {
      case "requestRange":
        this.range(caller, request.value);
        return;
      case "requestPut":
        this.put(caller, request.value);
        return;
      case "requestDeleteRange":
        this.deleteRange(caller, request.value);
        return;
      case "requestTxn":
        this.txn(caller, request.value);
        return;
      case undefined:
    }
  }

  /** For who revokes a lease, prolongs it, or hangs a key on it. */
  writesOfLease(caller: Caller, lease: bigint): void {
    if (this.#tables.isAdmin(caller)) return;
    for (const key of this.#leases.keysOf(lease)) this.#tables.assertMay("write", caller, key, EMPTY_BYTES);
  }

  /** For who is told the keys of a lease, or that it exists. */
  readsOfLease(caller: Caller, lease: bigint): void {
    if (this.#tables.isAdmin(caller)) return;
    for (const key of this.#leases.keysOf(lease)) this.#tables.assertMay("read", caller, key, EMPTY_BYTES);
  }
}
