/**
 * Leases as the log makes them: which exist, and which keys hang on them. They are kept in `db`, bucket `lease`: the key is the
 * ID as 8 bytes big-endian, the value etcd's `leasepb.Lease`. Which keys hang on a lease is not kept there; the store finds it in
 * the keys' values when it is restored, so leases are recovered before keys.
 *
 * Time is not here. That a lease has run out is decided by the leader, which then proposes its revocation.
 */
import type { BucketTable } from "../base/bucket-table.js";
import { CodedError } from "../base/errors.js";
import { bytesFromLatin1 } from "../base/text.js";
import type { LeaseAttacher } from "../mvcc/leases.js";
import type { Store } from "../mvcc/store.js";
import { Lease } from "../proto/generated/leasepb/lease.js";

export const LEASE_BUCKET = "lease";

/** The longest time to live that etcd grants, in seconds. */
export const LEASE_SECONDS_MAX = 9_000_000_000;

export class LeaseError extends CodedError<"LEASE_NOT_FOUND" | "LEASE_EXISTS" | "LEASE_TTL_TOO_LARGE"> {
  override readonly name = "LeaseError";
}

interface Granted {
  readonly ttlSeconds: number;
  readonly keys: Set<string>;
}

export class Leases implements LeaseAttacher {
  readonly #table: BucketTable;
  readonly #minimumSeconds: number;
  readonly #granted = new Map<bigint, Granted>();
  readonly #leaseOfKey = new Map<string, bigint>();

  /**
   * Takes up what `db` holds.
   *
   * @param minimumSeconds shorter times to live are raised to this: a lease must outlive an election
   */
  constructor(table: BucketTable, minimumSeconds: number) {
    this.#table = table;
    this.#minimumSeconds = minimumSeconds;
    for (const key of table.keys(LEASE_BUCKET)) {
      const lease = Lease.decode(table.get(LEASE_BUCKET, key)!);
      this.#granted.set(lease.ID, { ttlSeconds: lease.TTL, keys: new Set() });
    }
  }

  get count(): number {
    return this.#granted.size;
  }

  has(lease: bigint): boolean {
    return this.#granted.has(lease);
  }

  get holdsKeys(): boolean {
    return this.#leaseOfKey.size > 0;
  }

  leaseOf(key: string): bigint {
    return this.#leaseOfKey.get(key) ?? 0n;
  }

  /** The keys that hang on a lease; none for one that there is not. */
  keysOf(lease: bigint): Uint8Array[] {
    return [...(this.#granted.get(lease)?.keys ?? [])].map(bytesFromLatin1);
  }

  attach(lease: bigint, key: string): boolean {
    const granted = this.#granted.get(lease);
    if (granted === undefined) return false;
    granted.keys.add(key);
    this.#leaseOfKey.set(key, lease);
    return true;
  }

  detach(lease: bigint, key: string): void {
    this.#granted.get(lease)?.keys.delete(key);
    if (this.#leaseOfKey.get(key) === lease) this.#leaseOfKey.delete(key);
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
    if (this.#granted.has(id)) throw new LeaseError("LEASE_EXISTS", `lease ${id} exists`);
    const granted = Math.max(ttlSeconds, this.#minimumSeconds);
    this.#granted.set(id, { ttlSeconds: granted, keys: new Set() });
    this.#table.put(LEASE_BUCKET, keyOf(id), Lease.encode({ ID: id, TTL: granted, RemainingTTL: 0 }).finish());
    return granted;
  }

  /**
   * Deletes the keys that hang on a lease, in order and in one revision, and then the lease.
   *
   * @throws LeaseError `LEASE_NOT_FOUND`
   */
  revoke(id: bigint, store: Store): void {
    const granted = this.#granted.get(id);
    if (granted === undefined) throw notFound(id);
    const txn = store.write();
    for (const key of [...granted.keys].sort()) txn.deleteRange({ key, end: undefined });
    txn.end();
    this.#granted.delete(id);
    this.#table.delete(LEASE_BUCKET, keyOf(id));
  }
}

function notFound(id: bigint): LeaseError {
  return new LeaseError("LEASE_NOT_FOUND", `no lease ${id}`);
}

/** Lease IDs are signed; negative ones sort behind all others in `db`. */
function keyOf(id: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigInt64(0, id);
  return bytes;
}
