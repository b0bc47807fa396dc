/**
 * What the store needs of the leases: a key hangs on one lease at most, and a put or a deletion takes it off.
 */
export interface LeaseAttacher {
  /** Whether the lease exists. */
  has(lease: bigint): boolean;
  /** Whether any key hangs on a lease. */
  readonly holdsKeys: boolean;
  /** Hangs a key on a lease, and takes it off any other; false when there is no such lease. */
  attach(lease: bigint, key: Uint8Array): boolean;
  /** Takes a key off the lease that it hangs on, if it hangs on one. */
  detach(key: Uint8Array): void;
}

/** No lease exists: a put that names one is refused. */
export const noLeases: LeaseAttacher = {
  has: () => false,
  holdsKeys: false,
  attach: () => false,
  detach: () => undefined,
};
