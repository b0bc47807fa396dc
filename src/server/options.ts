/**
 * What a member can be told. Names and defaults are etcd 3.5's flags; every option is checked here, before anything on disk
 * is touched.
 */
import {
  APPLY_BACKLOG_MAX,
  BATCH_INTERVAL_MS,
  BATCH_WRITES_MAX,
  CATCH_UP_ENTRIES,
  COMPACTION_BATCH_MAX,
  COMPACTION_PAUSE_MS,
  LEASE_CHECKPOINT_MS,
  QUOTA_BYTES_DEFAULT,
  REQUEST_BYTES_MAX,
  SEGMENT_BYTES,
  SEGMENTS_KEPT,
  SLOW_APPLY_MS,
  SNAPSHOT_ENTRIES,
  SNAPSHOTS_KEPT,
  TXN_OPERATIONS_MAX,
  WATCH_DELIVERIES_PER_TURN_MAX,
  WATCH_PROGRESS_MS,
  WATCH_WALK_ROWS_MAX,
} from "../base/limits.js";
import type { AutoCompaction } from "./auto-compaction.js";
import { MemberError } from "./errors.js";

export interface MemberOptions {
  readonly name: string;
  readonly dataDir: string;
  readonly walDir: string | undefined;
  /** URLs that other members use. */
  readonly initialAdvertisePeerUrls: readonly string[];
  /** URLs that clients use; published to the cluster. */
  readonly advertiseClientUrls: readonly string[];
  /** Name and peer URLs of each initial member. */
  readonly initialCluster: ReadonlyMap<string, readonly string[]>;
  readonly initialClusterState: "new" | "existing";
  readonly initialClusterToken: string;
  readonly forceNewCluster: boolean;
  /** Milliseconds of a tick: the heart-beat interval. */
  readonly heartbeatMs: number;
  readonly electionMs: number;
  readonly preVote: boolean;
  /** Applied entries between two snapshots. */
  readonly snapshotCount: number;
  /** Entries kept in memory behind a snapshot, for slow followers. */
  readonly catchUpEntries: number;
  /** Files that purge leaves; 0 keeps all. */
  readonly snapshotsKept: number;
  readonly segmentsKept: number;
  readonly segmentBytes: number;
  /** Limit of db's size in bytes; 0 means etcd's default, a negative number none. */
  readonly quotaBytes: number;
  readonly requestBytesMax: number;
  readonly txnOperationsMax: number;
  readonly applyBacklogMax: number;
  readonly batchIntervalMs: number;
  readonly batchWritesMax: number;
  /** What is compacted without being asked for; undefined for nothing (etcd's default). */
  readonly autoCompaction: AutoCompaction | undefined;
  /** Revisions that a compaction looks at in one batch, and the milliseconds that it rests after each. */
  readonly compactionBatchMax: number;
  readonly compactionPauseMs: number;
  /** Whether clients must show a certificate: its common name is a user's then (`--client-cert-auth`). */
  readonly clientCertAuth: boolean;
  /** Whether a change of members is refused that would leave too few started or connected ones (etcd's default). */
  readonly strictReconfigCheck: boolean;
  /** Whether a member's first ticks are skipped, so that it may campaign sooner (etcd's default). */
  readonly initialElectionTickAdvance: boolean;
  /** Whether the keys are compared with the other members' before this one serves. */
  readonly initialCorruptCheck: boolean;
  /** Milliseconds between two comparisons of the keys by the leader; 0 for none. */
  readonly corruptCheckMs: number;
  /** Bytes of `db` that are free when it is defragmented at the start; 0 for never. */
  readonly bootDefragmentBytes: number;
  /** Milliseconds between two comparisons, by the leader, of what compactions left; 0 for none. */
  readonly compactHashCheckMs: number;
  /** Milliseconds after which a request that was applied, or read, is told in the log as slow. */
  readonly slowApplyMs: number;
  /** Milliseconds between two times that a watcher which asks for it is told that nothing has happened. */
  readonly watchProgressMs: number;
  /** Changes that watchers are given in one turn of the loop, and that one walk over the history looks at for those that are behind. */
  readonly watchDeliveriesPerTurnMax: number;
  readonly watchWalkRowsMax: number;
  /**
   * Whether linearizable reads trust the leader's lease (its clock and the others' must run alike) and skip the confirmation by a
   * majority. etcd never does.
   */
  readonly leaseReads: boolean;
  /** Whether the others are told now and then what long leases have left, so that a new leader does not give them their whole time again. */
  readonly leaseCheckpoint: boolean;
  /** Milliseconds between two times that they are told. */
  readonly leaseCheckpointMs: number;
  /** Whether that is kept in `db`, too, for a restart of all. */
  readonly leaseCheckpointPersist: boolean;
  /** Leases that have run out and are revoked in a second at most; 0 for no limit. etcd has 1,000. */
  readonly leaseRevocationsPerSecond: number;
  /**
   * Whether a write to the log that every waiting request waits for may hold the event loop. For a process that is a member and
   * nothing else; a program that embeds one has other work (docs/decisions/durable-writes.md).
   */
  readonly syncOnLoop: boolean;
}

/** etcd's defaults for everything but where the data lies. */
export function defaultOptions(dataDir: string): MemberOptions {
  return {
    name: "default",
    dataDir,
    walDir: undefined,
    initialAdvertisePeerUrls: ["http://localhost:2380"],
    advertiseClientUrls: ["http://localhost:2379"],
    initialCluster: new Map([["default", ["http://localhost:2380"]]]),
    initialClusterState: "new",
    initialClusterToken: "etcd-cluster",
    forceNewCluster: false,
    heartbeatMs: 100,
    electionMs: 1000,
    preVote: true,
    snapshotCount: SNAPSHOT_ENTRIES,
    catchUpEntries: CATCH_UP_ENTRIES,
    snapshotsKept: SNAPSHOTS_KEPT,
    segmentsKept: SEGMENTS_KEPT,
    segmentBytes: SEGMENT_BYTES,
    quotaBytes: 0,
    requestBytesMax: REQUEST_BYTES_MAX,
    txnOperationsMax: TXN_OPERATIONS_MAX,
    applyBacklogMax: APPLY_BACKLOG_MAX,
    batchIntervalMs: BATCH_INTERVAL_MS,
    batchWritesMax: BATCH_WRITES_MAX,
    autoCompaction: undefined,
    compactionBatchMax: COMPACTION_BATCH_MAX,
    compactionPauseMs: COMPACTION_PAUSE_MS,
    clientCertAuth: false,
    strictReconfigCheck: true,
    initialElectionTickAdvance: true,
    initialCorruptCheck: false,
    corruptCheckMs: 0,
    bootDefragmentBytes: 0,
    compactHashCheckMs: 0,
    slowApplyMs: SLOW_APPLY_MS,
    watchProgressMs: WATCH_PROGRESS_MS,
    watchDeliveriesPerTurnMax: WATCH_DELIVERIES_PER_TURN_MAX,
    watchWalkRowsMax: WATCH_WALK_ROWS_MAX,
    leaseReads: false,
    leaseCheckpoint: false,
    leaseCheckpointMs: LEASE_CHECKPOINT_MS,
    leaseCheckpointPersist: false,
    leaseRevocationsPerSecond: 0,
    syncOnLoop: false,
  };
}

/** The quota in force: undefined when there is none. */
export function effectiveQuota(options: MemberOptions): number | undefined {
  if (options.quotaBytes < 0) return undefined;
  return options.quotaBytes === 0 ? QUOTA_BYTES_DEFAULT : options.quotaBytes;
}

/** How long a request may wait for its entry: etcd's 5 s for the disk and two elections. */
export function requestTimeoutMs(options: MemberOptions): number {
  return 5_000 + 2 * options.electionMs;
}

/** @throws MemberError `OPTIONS_INVALID` with the flag and what it may be */
export function checkOptions(options: MemberOptions): void {
  const refuse = (detail: string): never => {
    throw new MemberError("OPTIONS_INVALID", detail);
  };
  if (options.name === "") refuse("--name is empty: give the member a name");
  if (!options.dataDir.startsWith("/")) refuse(`--data-dir "${options.dataDir}" is not an absolute path`);
  if (options.leaseCheckpointPersist && !options.leaseCheckpoint) {
    refuse(
      "setting experimental-enable-lease-checkpoint-persist requires experimental-enable-lease-checkpoint: give both, or neither",
    );
  }
  if (options.leaseRevocationsPerSecond < 0) {
    refuse(`--lease-revoke-rate=${options.leaseRevocationsPerSecond}: it must be 0 (no limit) or more`);
  }
  if (options.heartbeatMs <= 0) refuse(`--heartbeat-interval=${options.heartbeatMs}: it must be over 0 (milliseconds)`);
  if (5 * options.heartbeatMs > options.electionMs) {
    refuse(
      `--election-timeout[${options.electionMs}ms] should be at least as 5 times as --heartbeat-interval[${options.heartbeatMs}ms]`,
    );
  }
  if (options.electionMs > 50_000)
    refuse(`--election-timeout[${options.electionMs}ms] is too long, and should be set less than 50000ms`);
}

/**
 * What only a new cluster asks: a restart knows its members from the log, and passes over what the flags say of them, as etcd.
 *
 * @throws MemberError `OPTIONS_INVALID` with the flag and what it may be
 */
export function checkInitialCluster(options: MemberOptions): void {
  const refuse = (detail: string): never => {
    throw new MemberError("OPTIONS_INVALID", detail);
  };
  const own = options.initialCluster.get(options.name);
  if (own === undefined) {
    refuse(
      `couldn't find local name "${options.name}" in the initial cluster configuration: add it to --initial-cluster`,
    );
  } else if (sorted(own) !== sorted(options.initialAdvertisePeerUrls)) {
    refuse(
      `--initial-cluster has ${options.name}=${sorted(own)} but missing from --initial-advertise-peer-urls=${sorted(options.initialAdvertisePeerUrls)}`,
    );
  }
  const urls = [...options.initialCluster.values()].flat();
  if (new Set(urls).size !== urls.length)
    refuse("--initial-cluster has the same peer URL twice: each member needs its own");
}

function sorted(urls: readonly string[]): string {
  return [...urls].sort().join(",");
}
