/**
 * What the store needs of the leases: a key hangs on one lease at most, and a put or a deletion takes it off.
 * Keys are latin1 strings.
 */
export interface LeaseAttacher {
  /** Whether the lease exists. */
  has(lease: bigint): boolean;
  /** Whether any key hangs on a lease. */
  readonly holdsKeys: boolean;
  /** The lease that a key hangs on; 0n for none. */
  leaseOf(key: string): bigint;
  /** Hangs a key on a lease; false when there is no such lease. */
  attach(lease: bigint, key: string): boolean;
  detach(lease: bigint, key: string): void;
}

/** No lease exists: a put that names one is refused. */
export const noLeases: LeaseAttacher = {
  has: () => false,
  holdsKeys: false,
  leaseOf: () => 0n,
  attach: () => false,
  detach: () => undefined,
};
