/** The lease that a lock or a candidacy lives as long as. */
import type { CallContext } from "../server/contract.js";
import type { Requests } from "./requests.js";

/** Seconds of a lease that the caller has not brought (etcd's). */
const OWN_LEASE_SECONDS = 60;

/**
 * The caller's lease, or a new one. A new one is kept alive by nobody but the caller, who learns its name from the key that it is
 * answered; of a caller who goes before that it runs out by itself. Whether the caller's lease is there shows when a key is put on it.
 */
export async function leaseOf(requests: Requests, lease: bigint, context: CallContext): Promise<bigint> {
  if (lease !== 0n) return lease;
  const { ID } = await requests.leaseGrant({ ID: 0n, TTL: OWN_LEASE_SECONDS }, context);
  return ID;
}
