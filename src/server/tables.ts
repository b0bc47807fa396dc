/**
 * The replicated tables: what entries change, all of it kept in one `db`. They are opened at boot, and opened anew from the
 * database that came with a leader's snapshot: the applier, reads and snapshots then go on with the new ones.
 */
import { ALARM_BUCKET, Alarms } from "../alarm/alarms.js";
import { AUTH_BUCKET, AUTH_ROLES_BUCKET, AUTH_USERS_BUCKET, AuthTables, type Tokens } from "../auth/index.js";
import { LEASE_BUCKET, Leases } from "../lease/leases.js";
import { CLUSTER_BUCKET, MEMBERS_BUCKET, MEMBERS_REMOVED_BUCKET } from "../membership/membership.js";
import { Store, visitInSlices, type Backend, type FinishedCompaction, type RestoreProgress } from "../mvcc/index.js";
import type { Platform } from "../platform/index.js";
import type { MemberOptions } from "./options.js";

/** Buckets that etcd makes when it opens `db`, whether it needs them or not. */
const BUCKETS_OF_ETCD = [
  ALARM_BUCKET,
  LEASE_BUCKET,
  MEMBERS_BUCKET,
  MEMBERS_REMOVED_BUCKET,
  CLUSTER_BUCKET,
  AUTH_BUCKET,
  AUTH_USERS_BUCKET,
  AUTH_ROLES_BUCKET,
];

export interface Tables {
  readonly backend: Backend;
  readonly store: Store;
  readonly leases: Leases;
  readonly alarms: Alarms;
  readonly auth: AuthTables;
}

/** @throws MvccError and what else says that `db` is not what it should be; the backend stays open then */
export async function openTables(
  platform: Platform,
  options: MemberOptions,
  backend: Backend,
  tokens: Tokens,
  onProgress: (progress: RestoreProgress) => void,
  onLeaseRevoked: (id: bigint) => void,
  onCompacted: (compaction: FinishedCompaction) => void,
): Promise<Tables> {
  for (const bucket of BUCKETS_OF_ETCD) backend.createBucket(bucket);
  // Leases before keys: the store hangs each key on its lease as it is restored.
  const leases = new Leases(backend, {
    minimumSeconds: minimumLeaseSeconds(options),
    keepsCheckpoints: options.leaseCheckpointPersist,
    now: () => platform.clock.now(),
    onRevoked: onLeaseRevoked,
  });
  await visitInSlices(platform.clock, backend.reader(LEASE_BUCKET), undefined, undefined, (_, stored) =>
    leases.restore(stored),
  );
  const { compactionBatchMax, compactionPauseMs } = options;
  const compaction = { compactionBatchMax, compactionPauseMs, onCompacted };
  const store = await Store.open(platform, backend, { leases, onProgress, ...compaction });
  const auth = new AuthTables(backend, tokens, platform.log);
  return { backend, store, leases, alarms: new Alarms(backend), auth };
}

/** A lease must outlive an election and a half, rounded up to a second. */
function minimumLeaseSeconds(options: MemberOptions): number {
  return Math.ceil((1.5 * options.electionMs) / 1000);
}
