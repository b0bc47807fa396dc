/**
 * The figures that a member keeps, under etcd's names, so that etcd's dashboards work. The server counts; who embeds it
 * decides how the figures are shown.
 */

interface Description {
  readonly kind: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly labels?: readonly string[];
  /** Upper bounds, in the metric's unit. */
  readonly buckets?: readonly number[];
}

/** `count` bounds, each `factor` times the one before. */
function exponential(start: number, factor: number, count: number): number[] {
  return Array.from({ length: count }, (_, power) => start * factor ** power);
}

export const METRICS = {
  etcd_server_has_leader: { kind: "gauge", help: "Whether a leader is known: 1, or 0." },
  etcd_server_is_leader: { kind: "gauge", help: "Whether this member leads: 1, or 0." },
  etcd_server_is_learner: { kind: "gauge", help: "Whether this member is a learner: 1, or 0." },
  etcd_server_learner_promote_successes: { kind: "counter", help: "Learners that this member promoted as leader." },
  etcd_server_learner_promote_failures: {
    kind: "counter",
    help: "Learners that this member did not promote as leader, by reason.",
    labels: ["Reason"],
  },
  etcd_server_leader_changes_seen_total: { kind: "counter", help: "Changes of the leader that this member saw." },
  etcd_server_id: { kind: "gauge", help: "1 for this member's ID.", labels: ["server_id"] },
  etcd_server_version: { kind: "gauge", help: "1 for the version that is served.", labels: ["server_version"] },
  etcd_cluster_version: { kind: "gauge", help: "1 for the cluster's version.", labels: ["cluster_version"] },
  etcd_server_proposals_committed_total: { kind: "gauge", help: "Index of the last committed entry." },
  etcd_server_proposals_applied_total: { kind: "gauge", help: "Index of the last applied entry." },
  etcd_server_proposals_pending: { kind: "gauge", help: "Proposals that wait to be applied." },
  etcd_server_proposals_failed_total: { kind: "counter", help: "Proposals that failed." },
  etcd_server_slow_apply_total: { kind: "counter", help: "Applies over 100 ms." },
  etcd_server_slow_read_indexes_total: { kind: "counter", help: "Read index answers that came too late." },
  etcd_server_read_indexes_failed_total: { kind: "counter", help: "Read index requests that failed." },
  etcd_server_quota_backend_bytes: { kind: "gauge", help: "Limit of db's size." },
  etcd_server_health_success: { kind: "counter", help: "Health checks passed." },
  etcd_server_health_failures: { kind: "counter", help: "Health checks failed." },
  etcd_server_client_requests_total: {
    kind: "counter",
    help: "Client requests by kind and API version.",
    labels: ["type", "client_api_version"],
  },
  etcd_server_heartbeat_send_failures_total: {
    kind: "counter",
    help: "Heart-beats that this member sent late as leader, one for each other member.",
  },
  etcd_server_snapshot_apply_in_progress_total: {
    kind: "gauge",
    help: "Whether a leader's snapshot is being installed: 1, or 0.",
  },
  etcd_server_healthcheck: {
    kind: "gauge",
    help: "Result of the last check of its name: 1 for success, or 0.",
    labels: ["type", "name"],
  },
  etcd_server_healthchecks_total: {
    kind: "counter",
    help: "Checks below /livez and /readyz, by result.",
    labels: ["type", "name", "status"],
  },
  etcd_disk_wal_fsync_duration_seconds: {
    kind: "histogram",
    help: "Time of the log's fsyncs.",
    buckets: exponential(0.001, 2, 14),
  },
  etcd_disk_wal_write_bytes_total: { kind: "gauge", help: "Bytes written to the log." },
  etcd_disk_backend_commit_duration_seconds: {
    kind: "histogram",
    help: "Time to commit to db.",
    buckets: exponential(0.001, 2, 14),
  },
  etcd_disk_backend_defrag_duration_seconds: {
    kind: "histogram",
    help: "Time to defragment db.",
    buckets: exponential(0.1, 2, 13),
  },
  etcd_disk_backend_snapshot_duration_seconds: {
    kind: "histogram",
    help: "Time to stream db.",
    buckets: exponential(0.01, 2, 17),
  },
  etcd_debugging_snap_save_total_duration_seconds: {
    kind: "histogram",
    help: "Time to save a snapshot of the members, with its sync.",
    buckets: exponential(0.001, 2, 14),
  },
  etcd_disk_defrag_inflight: { kind: "gauge", help: "Whether a defragmentation runs: 1, or 0." },
  etcd_mvcc_db_total_size_in_bytes: { kind: "gauge", help: "Size of db." },
  etcd_mvcc_db_total_size_in_use_in_bytes: { kind: "gauge", help: "Bytes of db that are in use." },
  etcd_mvcc_db_open_read_transactions: { kind: "gauge", help: "Reads of db that hold its pages." },
  etcd_mvcc_hash_duration_seconds: {
    kind: "histogram",
    help: "Time to hash all of db.",
    buckets: exponential(0.01, 2, 15),
  },
  etcd_mvcc_hash_rev_duration_seconds: {
    kind: "histogram",
    help: "Time to hash the keys at a revision.",
    buckets: exponential(0.01, 2, 15),
  },
  etcd_mvcc_put_total: { kind: "counter", help: "Puts." },
  etcd_mvcc_delete_total: { kind: "counter", help: "Deletes." },
  etcd_mvcc_range_total: { kind: "counter", help: "Ranges." },
  etcd_mvcc_txn_total: { kind: "counter", help: "Transactions." },
  etcd_debugging_lease_granted_total: { kind: "counter", help: "Leases granted." },
  etcd_debugging_lease_ttl_total: {
    kind: "histogram",
    help: "Times to live of granted leases, in seconds.",
    buckets: exponential(1, 2, 24),
  },
  etcd_debugging_lease_revoked_total: { kind: "counter", help: "Leases revoked." },
  etcd_debugging_lease_renewed_total: { kind: "counter", help: "Leases renewed by this member as leader." },
  etcd_debugging_server_lease_expired_total: {
    kind: "counter",
    help: "Leases that ran out and that this member revoked.",
  },
  etcd_debugging_mvcc_watch_stream_total: { kind: "gauge", help: "Watch streams." },
  etcd_debugging_mvcc_watcher_total: { kind: "gauge", help: "Watchers." },
  etcd_debugging_mvcc_slow_watcher_total: { kind: "gauge", help: "Watchers that have not been told everything yet." },
  etcd_debugging_mvcc_events_total: { kind: "gauge", help: "Changes that watchers were told of, each counted." },
  etcd_debugging_auth_revision: { kind: "gauge", help: "The current revision of auth store." },
  etcd_debugging_mvcc_keys_total: { kind: "gauge", help: "Keys." },
  etcd_debugging_mvcc_current_revision: { kind: "gauge", help: "The store's revision." },
  etcd_debugging_mvcc_compact_revision: { kind: "gauge", help: "The revision of the last compaction." },
  etcd_debugging_mvcc_db_compaction_total_duration_milliseconds: {
    kind: "histogram",
    help: "Time of compactions, rests included.",
    buckets: exponential(100, 2, 14),
  },
  etcd_debugging_mvcc_db_compaction_keys_total: { kind: "counter", help: "Revisions that compactions deleted." },
  etcd_debugging_mvcc_db_compaction_last: {
    kind: "gauge",
    help: "When the last compaction ended, in seconds since 1970.",
  },
} as const satisfies Record<string, Description>;

export type MetricName = keyof typeof METRICS;
export type MetricDescription = Description;

/** A counter under given labels, for those that count at every call: found once, then a sum. */
export interface Tally {
  add(by: number): void;
}

/** Where figures go. Calls are cheap and never throw. */
export interface Metrics {
  tally(name: MetricName, labels?: Readonly<Record<string, string>>): Tally;
  /** Adds to a counter. */
  count(name: MetricName, by?: number, labels?: Readonly<Record<string, string>>): void;
  /** Sets a gauge. */
  set(name: MetricName, value: number, labels?: Readonly<Record<string, string>>): void;
  /** Adds an observation to a histogram, in the unit that its name tells. */
  observe(name: MetricName, value: number, labels?: Readonly<Record<string, string>>): void;
}

/** Keeps nothing. */
export const noMetrics: Metrics = {
  tally: () => ({ add: () => undefined }),
  count: () => undefined,
  set: () => undefined,
  observe: () => undefined,
};
