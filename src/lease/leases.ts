/**
 * Leases as the log makes them: which exist, and which keys hang on them. They are kept in `db`, bucket `lease`: the key is the
 * ID as 8 bytes big-endian, the value etcd's `leasepb.Lease`. Which keys hang on a lease is not kept there; the store finds it in
 * the keys' values when it is restored, so leases are recovered before keys.
 *
 * Time is not in the log: `lease-expiry.ts` keeps it on the member that leads, which then proposes the revocation of what has run out.
 */
import type { BucketTable } from "../base/bucket-table.js";
import { compareBytes } from "../base/bytes.js";
import { CodedError } from "../base/errors.js";
import { NONE } from "../base/number-rows.js";
import { latin1FromBytes } from "../base/text.js";
import type { LeaseAttacher } from "../mvcc/leases.js";
import type { Store } from "../mvcc/store.js";
import type { LeaseCheckpoint } from "../proto/generated/etcdserverpb/lease.js";
import { Lease } from "../proto/generated/leasepb/lease.js";
import { Attachments } from "./attachments.js";
import { LeaseExpiry } from "./lease-expiry.js";
import { listLeases } from "./lease-list.js";
import { leaseKey, LeaseRows } from "./lease-rows.js";

export const LEASE_BUCKET = "lease";

/** The longest time to live that etcd grants, in seconds. */
export const LEASE_SECONDS_MAX = 9_000_000_000;

export class LeaseError extends CodedError<"LEASE_NOT_FOUND" | "LEASE_EXISTS" | "LEASE_TTL_TOO_LARGE"> {
  override readonly name = "LeaseError";
}

export interface LeasesOptions {
  /** Shorter times to live are raised to this: a lease must outlive an election. */
  readonly minimumSeconds: number;
  /** Whether what a checkpoint left of a lease's time goes into `db`. */
  readonly keepsCheckpoints: boolean;
  /** The clock's time in milliseconds, for leases that are granted while this member leads. */
  readonly now: () => number;
  /** Told when a lease is gone. */
  readonly onRevoked?: (id: bigint) => void;
}

export interface LeaseLook {
  readonly ttlSeconds: number;
  /** Negative when it has run out and is not revoked yet; `Infinity` on a member that is not the primary. */
  readonly leftMs: number;
}

export class Leases implements LeaseAttacher {
  readonly #table: BucketTable;
  readonly #options: LeasesOptions;
  readonly #rows = new LeaseRows();
  readonly #attachments = new Attachments(this.#rows);
  readonly #expiry = new LeaseExpiry(this.#rows);

  /** Empty: what `db` holds is told by `restore`. */
  constructor(table: BucketTable, options: LeasesOptions) {
    this.#table = table;
    this.#options = options;
  }

  /** Takes up a lease as `db` holds it. */
  restore(stored: Uint8Array): void {
    const { ID, TTL, RemainingTTL } = Lease.decode(stored);
    this.#rows.add(ID, Math.max(TTL, this.#options.minimumSeconds), RemainingTTL);
  }

  get count(): number {
    return this.#rows.size;
  }

  has(lease: bigint): boolean {
    return this.#rows.find(lease) !== NONE;
  }

  get holdsKeys(): boolean {
    return this.#attachments.size > 0;
  }

  attach(lease: bigint, key: Uint8Array): boolean {
    const row = this.#rows.find(lease);
    if (row === NONE) return false;
    this.#attachments.attach(row, key);
    return true;
  }

  detach(key: Uint8Array): void {
    this.#attachments.detach(key);
  }

  /** The keys that hang on a lease, in order; none for one that is not there. */
  keysOf(id: bigint): Uint8Array[] {
    const row = this.#rows.find(id);
    return row === NONE ? [] : this.#attachments.keysOf(row).sort(compareBytes);
  }

  /**
   * @returns the time to live granted, in seconds
   * @throws LeaseError
   */
  grant(id: bigint, ttlSeconds: number): number {
    if (id === 0n) throw notFound(id);
    if (ttlSeconds > LEASE_SECONDS_MAX) {
      throw new LeaseError("LEASE_TTL_TOO_LARGE", `${ttlSeconds} s, at most ${LEASE_SECONDS_MAX} s`);
    }
    if (this.has(id)) throw new LeaseError("LEASE_EXISTS", `lease ${id} exists`);
    const granted = Math.max(ttlSeconds, this.#options.minimumSeconds);
    const row = this.#rows.add(id, granted, 0);
    this.#store(row);
    this.#expiry.granted(row, this.#options.now());
    return granted;
  }

  /**
   * Deletes the keys that hang on a lease, in order and in one revision, and then the lease.
   *
   * @throws LeaseError `LEASE_NOT_FOUND`
   */
  revoke(id: bigint, store: Store): void {
    const row = this.#rows.find(id);
    if (row === NONE) throw notFound(id);
    const txn = store.write();
    for (const key of this.keysOf(id)) txn.deleteRange({ key: latin1FromBytes(key), end: undefined });
    txn.end();
    this.#expiry.revoked(row);
    this.#rows.remove(row);
    this.#table.delete(LEASE_BUCKET, leaseKey(id));
    this.#options.onRevoked?.(id);
  }

  /** Notes how much of its time a lease had left; a later primary gives it so much. Passes over one that is gone. */
  checkpoint(id: bigint, remainingSeconds: number): void {
    const row = this.#rows.find(id);
    if (row === NONE) return;
    this.#rows.setRemaining(row, remainingSeconds);
    if (this.#options.keepsCheckpoints) this.#store(row);
  }

  // ---- time, on the primary ------------------------------------------------------------------------------------------

  get isPrimary(): boolean {
    return this.#expiry.isPrimary;
  }

  /** From now on leases run out here. Followed by `promoteSlice` until that answers false. */
  promote(extendMs: number): void {
    this.#expiry.promote(this.#options.now(), extendMs);
  }

  promoteSlice(): boolean {
    return this.#expiry.promoteSlice(this.#options.now());
  }

  demote(): void {
    this.#expiry.demote();
  }

  /** What is known of a lease here; undefined for one that is not there. */
  look(id: bigint): LeaseLook | undefined {
    const row = this.#rows.find(id);
    if (row === NONE) return undefined;
    return { ttlSeconds: this.#rows.ttlOf(row), leftMs: this.#expiry.leftMs(row, this.#options.now()) };
  }

  /** Whether a checkpoint has shortened the lease's time, so that a renewal has to take that back through the log. */
  isShortened(id: bigint): boolean {
    const row = this.#rows.find(id);
    return row !== NONE && this.#rows.remainingOf(row) > 0;
  }

  /** Gives a lease its whole time again. Only on the primary, and of a lease that is there and has not run out. */
  renew(id: bigint): void {
    this.#expiry.renew(this.#rows.find(id), this.#options.now());
  }

  /** Leases that have run out, at most so many; the others come with the next call, and these again after a while. */
  due(leasesMax: number): bigint[] {
    return this.#expiry.due(this.#options.now(), leasesMax).map((row) => this.#rows.idOf(row));
  }

  /**
   * What leases longer than `overSeconds` have left, where that is less than their whole time: of a slice of them, to be told to the other
   * members.
   *
   * @param from 0 at first, then what the last call answered as `next`; undefined after the last slice
   */
  remaining(
    from: number,
    rowsMax: number,
    overSeconds: number,
  ): { readonly checkpoints: LeaseCheckpoint[]; readonly next: number | undefined } {
    const rows = this.#rows;
    const now = this.#options.now();
    const end = Math.min(rows.end, from + rowsMax);
    const checkpoints: LeaseCheckpoint[] = [];
    for (let row = from; row < end; row++) {
      if (!rows.isTaken(row)) continue;
      const remainingTTL = Math.ceil(this.#expiry.leftMs(row, now) / 1000);
      const isLong = rows.ttlOf(row) > overSeconds;
      if (isLong && remainingTTL > 0 && remainingTTL < rows.ttlOf(row)) {
        checkpoints.push({ ID: rows.idOf(row), remainingTTL });
      }
    }
    return { checkpoints, next: end < rows.end ? end : undefined };
  }

  /** All leases: those that run out first come first, as in etcd. @param pause gives the loop its turn; there may be a million of them */
  list(pause: () => Promise<void>): Promise<BigInt64Array> {
    return listLeases(this.#rows, this.#expiry, this.#options.now(), pause);
  }

  /** Proves the laws of this room; for tests. */
  check(): void {
    this.#rows.check();
    this.#attachments.check();
  }

  #store(row: number): void {
    const lease = { ID: this.#rows.idOf(row), TTL: this.#rows.ttlOf(row), RemainingTTL: this.#rows.remainingOf(row) };
    this.#table.put(LEASE_BUCKET, leaseKey(lease.ID), Lease.encode(lease).finish());
  }
}

function notFound(id: bigint): LeaseError {
  return new LeaseError("LEASE_NOT_FOUND", `no lease ${id}`);
}
