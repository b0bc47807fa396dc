/**
 * One member: what boot opened, put to work. Proposals go in, the ready loop carries out what raft decides, the applier
 * changes the tables, and the answers find their way back.
 *
 * A member ends in one of two ways. `stop()` is the graceful one: nothing new is let in, what is in flight lands, `db` is
 * committed. After a failure (a disk that did not sync, a law that did not hold) nothing more is acknowledged, written or
 * synced: waiting requests are refused, and `onFailure` is told once. Then the process should end; the next start
 * recovers from what is on the disk.
 */
import { AuthError, type Caller, type Credentials, NOBODY, RequestChecks, SimpleTokens } from "../auth/index.js";
import { EMPTY_BYTES } from "../base/bytes.js";
import { CodedError, describeError } from "../base/errors.js";
import { formatDuration } from "../base/go-duration.js";
import {
  CATCH_UP_HELD_MS_MAX,
  LOOP_WRITE_ENTRIES_MAX,
  PURGE_INTERVAL_MS,
  SNAPSHOT_RESTS_MS_MAX,
} from "../base/limits.js";
import { bytesFromLatin1 } from "../base/text.js";
import {
  attributesJson,
  computeMemberId,
  encodeChangeContext,
  encodeMember,
  memberIdText,
  type Member as ClusterMember,
} from "../membership/member.js";
import { clusterVersionOf, downgradeTargetOf } from "../membership/downgrade.js";
import type { Membership } from "../membership/membership.js";
import { MembershipError, minorVersion } from "../membership/membership.js";
import {
  applyRange,
  applyRangeInSlices,
  applyTxn,
  type Backend,
  type FinishedCompaction,
  isReadOnlyTxn,
  type StoredPairs,
} from "../mvcc/index.js";
import { RestingClock, type Clock, type Log, type Platform, type Timer } from "../platform/index.js";
import type { ResponseHeader } from "../proto/generated/etcdserverpb/header.js";
import type {
  CompactionRequest,
  CompactionResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  TxnRequest,
  TxnResponse,
} from "../proto/generated/etcdserverpb/kv.js";
import {
  AlarmRequest_AlarmAction as AlarmAction,
  AlarmType,
  alarmTypeToJSON,
  type AlarmMember,
  type AlarmRequest,
  type AlarmResponse,
  DowngradeRequest_DowngradeAction as DowngradeAction,
  type DowngradeRequest,
  type DowngradeResponse,
  type HashKVRequest,
  type HashKVResponse,
  type HashResponse,
  type StatusResponse,
} from "../proto/generated/etcdserverpb/maintenance.js";
import type {
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseRevokeRequest,
  LeaseRevokeResponse,
  LeaseTimeToLiveRequest,
  LeaseTimeToLiveResponse,
} from "../proto/generated/etcdserverpb/lease.js";
import { InternalRaftRequest } from "../proto/generated/etcdserverpb/raft_internal.js";
import {
  ConfChangeType,
  EMPTY_CONF_STATE,
  type ConfChange,
  type ConfState,
  type Message,
  type Snapshot,
} from "../proto/raft.js";
import type { GetRequest, SpanRequest } from "../proto/fast/get.js";
import { bigintOf, type RequestId } from "../proto/request-id.js";
import { isPlainName } from "../proto/fast/entry-header.js";
import { encodePutEntry } from "../proto/fast/put.js";
import { encodeTxnEntry } from "../proto/fast/txn.js";
import { encodeV2Request, makeV2Request } from "../proto/v2-request.js";
import { NONE, RaftError, type RaftRole } from "../raft/index.js";
import { Access } from "./access.js";
import { AuthApplier, rootOf } from "./auth-applier.js";
import { LoggedAuthCalls } from "./auth-calls.js";
import { Applier, loadProgress, type Progress } from "./applier.js";
import { AutoCompactor } from "./auto-compaction.js";
import {
  adoptDatabase,
  boot,
  checkClusterVersion,
  checkDowngrade,
  openBackend,
  type BootHooks,
  type Booted,
  type BootProgress,
} from "./boot.js";
import { CatchUpPace } from "./catch-up-pace.js";
import { ClusterVersionMonitor } from "./cluster-version.js";
import {
  CLUSTER_VERSION,
  SERVED_VERSION,
  type CallContext,
  type DatabaseStream,
  type LeaseList,
  type MembersAnswer,
  type MemberService,
  type Receiver,
} from "./contract.js";
import { CorruptionCheck } from "./corruption-check.js";
import { Abstention } from "./damaged-end.js";
import { MemberError, RequestError } from "./errors.js";
import { whyUnreadable } from "./foreign-proposals.js";
import { LeaderDoubt } from "./leader-doubt.js";
import { LeaderLoss } from "./leader-loss.js";
import { LeaseKeeper } from "./lease-keeper.js";
import { noMetrics, type Metrics } from "./metrics.js";
import { effectiveQuota, requestTimeoutMs, type MemberOptions } from "./options.js";
import type { LocalIdentity, PeerDoor, PeerReceiver, Peers } from "./peers.js";
import { Proposals, type Answer } from "./proposals.js";
import { COST_OF_LEASE, costOfPut, costOfTxn, fitsQuota } from "./quota.js";
import { rangePieces } from "./range-stream.js";
import { LinearizableReads } from "./reads.js";
import { ReadyLoop } from "./ready-loop.js";
import {
  countConnected,
  isConnectedSince,
  isLearnerReady,
  longestConnected,
  refusalToAdd,
  refusalToPromote,
  refusalToRemove,
  type ClusterView,
} from "./reconfiguration.js";
import { idBytes, RequestIds } from "./request-ids.js";
import { SnapshotExchange, untilEnd } from "./snapshot-exchange.js";
import { SlowRequests } from "./slow-requests.js";
import { Snapshotter } from "./snapshotter.js";
import { openTables, type Tables } from "./tables.js";
import type { WatchStream, WatchStreamOptions, WatchStreamReceiver } from "./watch-contract.js";
import { WatchStreams } from "./watch-streams.js";

const NO_REQUEST = InternalRaftRequest.decode(EMPTY_BYTES);
/** Ticks that a removed member goes on for, so that others hear of the removal from it (etcd's figure). */
const TICKS_AFTER_REMOVAL = 10;
/** A member whose first ticks are skipped waits so long for another one to be there (etcd's figure). */
const ADVANCE_WITHIN_MS = 5_000;
/** A heart-beat is late after so many intervals (etcd's figure). */
const TICKS_OF_LATE_HEARTBEAT = 2;
/** Pause before a leader that did not answer is asked again (etcd's 50 ms). */
const LEADER_ASKED_AGAIN_MS = 50;
/** The end of a range that is "from the key on". */
const FROM_KEY_ON = Uint8Array.of(0);
/** What is left of a lease that nobody has given its time to yet: etcd's longest duration. */
const SECONDS_FOR_EVER = 9_223_372_036;
/** What raft is told of a refused change: nobody is added or removed. */
const NO_CHANGE: ConfChange = { id: 0n, type: ConfChangeType.addNode, nodeId: NONE, context: EMPTY_BYTES };

export interface MemberDependencies {
  readonly platform: Platform;
  readonly metrics?: Metrics;
  /** How the other members are reached; left out for a cluster of this one member that nobody joins. */
  readonly peers?: PeerDoor;
  /** How passwords and tokens are made; left out, tokens are etcd's simple ones and there can be no passwords. */
  readonly credentials?: Credentials;
}

export interface MemberHooks {
  readonly onBootProgress?: (progress: BootProgress) => void;
  /** The member has failed and must be given up. Called once. */
  readonly onFailure: (error: unknown) => void;
}

/** How a member stands, for tests, tools and figures. Making one costs little. */
export interface MemberObservation {
  readonly role: RaftRole;
  readonly leader: bigint;
  readonly term: number;
  readonly vote: bigint;
  readonly commitIndex: number;
  readonly appliedIndex: number;
  readonly appliedTerm: number;
  /** Last entry that this member's disk has, and the first one that it still keeps in memory. */
  readonly durableIndex: number;
  readonly firstIndex: number;
  readonly revision: number;
  readonly compactRevision: number;
  readonly confState: ConfState;
  /** Whether this member neither votes nor campaigns, for its log had a damaged end. */
  readonly abstains: boolean;
}

const NO_PEERS: Peers = {
  send: () => undefined,
  sendSnapshot: () => undefined,
  add: () => undefined,
  remove: () => undefined,
  activeSince: () => undefined,
  stop: () => Promise.resolve(),
};

export class Member implements MemberService {
  readonly memberId: bigint;
  readonly clusterId: bigint;
  readonly name: string;
  readonly limits: { readonly requestBytesMax: number; readonly txnOperationsMax: number };
  readonly access: Access;
  readonly auth: LoggedAuthCalls;

  readonly #options: MemberOptions;
  readonly #platform: Platform;
  readonly #booted: Booted;
  readonly #bootHooks: BootHooks;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #metrics: Metrics;
  readonly #hooks: MemberHooks;
  readonly #door: PeerDoor | undefined;
  readonly #local: LocalIdentity;
  readonly #membership: Membership;
  readonly #loop: ReadyLoop;
  readonly #reads: LinearizableReads;
  readonly #proposals: Proposals;
  readonly #ids: RequestIds;
  readonly #snapshotter: Snapshotter;
  readonly #exchange: SnapshotExchange;
  readonly #catchUp: CatchUpPace;
  readonly #abstention: Abstention;
  readonly #versions: ClusterVersionMonitor;
  readonly #corruption: CorruptionCheck;
  readonly #slow: SlowRequests;
  readonly #leaseKeeper: LeaseKeeper;
  readonly #watches: WatchStreams;
  readonly #credentials: Credentials;
  #autoCompactor: AutoCompactor | undefined;
  readonly #timers: Timer[] = [];
  readonly #quotaBytes: number | undefined;
  readonly #clientUrls: readonly string[];
  /** Replaced, with the applier, when a leader's snapshot is installed. */
  #tables: Tables;
  #applier: Applier;
  /** While a snapshot is being installed: resolves when the new tables are there. */
  #replacing: Promise<void> | undefined;
  /** The clock of that work, which rests. */
  #restingClock: RestingClock | undefined;
  #peers: Peers = NO_PEERS;
  #leader = 0n;
  #leaderSince = Number.NEGATIVE_INFINITY;
  /** Streams of renewals that are open, and why there are none any more. */
  readonly #openStreams = new Set<(error: unknown) => void>();
  readonly #leaderLoss: LeaderLoss;
  #streamsEnded: RequestError | undefined;
  readonly #doubt: LeaderDoubt;
  #commitIndex = 0;
  /** Ticks until a removed member stops. */
  #ticksLeft: number | undefined;
  /** Until when this member's first ticks may be skipped. */
  #advanceUntil: number | undefined;
  #state: "running" | "stopping" | "failed" = "running";
  #stopped: Promise<void> | undefined;
  #published: (() => void) | undefined;

  /**
   * Boots and waits until the member has published itself: from then on it serves. In a cluster of several that takes a majority.
   *
   * @throws MemberError, or the error of the room that refused; nothing is left open then
   */
  static async start(dependencies: MemberDependencies, options: MemberOptions, hooks: MemberHooks): Promise<Member> {
    const { metrics = noMetrics, platform, peers: door } = dependencies;
    const credentials = dependencies.credentials ?? withoutPasswords(platform);
    let fail: (error: unknown) => void = hooks.onFailure;
    let onLeaseRevoked: (id: bigint) => void = () => undefined;
    const bootHooks: BootHooks = {
      onBackendFailure: (error) => fail(error),
      onSync: (tookMs) => metrics.observe("etcd_disk_wal_fsync_duration_seconds", tookMs / 1000),
      onCommit: (tookMs) => metrics.observe("etcd_disk_backend_commit_duration_seconds", tookMs / 1000),
      ...(hooks.onBootProgress === undefined ? {} : { onProgress: hooks.onBootProgress }),
    };
    let booted: Booted | undefined;
    let tables: Tables;
    try {
      booted = await boot(platform, door, options, bootHooks);
      await defragmentAtBoot(booted.backend, options, platform);
      tables = await openTables(
        platform,
        options,
        booted.backend,
        credentials.tokens,
        ({ revisions }) => hooks.onBootProgress?.({ phase: "keys", done: revisions, total: undefined }),
        (id) => onLeaseRevoked(id),
        (compaction) => showCompaction(platform, metrics, compaction),
      );
    } catch (error) {
      await booted?.wal.close().catch(() => undefined);
      await booted?.backend.close().catch(() => undefined);
      await door?.close().catch(() => undefined);
      throw error;
    }
    const member = new Member({ ...dependencies, credentials }, options, hooks, bootHooks, booted, tables);
    fail = (error) => member.#fail(error);
    onLeaseRevoked = (id) => member.#leaseKeeper.onRevoked(id);
    try {
      await member.#begin();
    } catch (error) {
      await member.stop().catch(() => undefined); // the first failure is the one to tell
      throw error;
    }
    return member;
  }

  private constructor(
    { platform, metrics = noMetrics, peers: door, credentials }: MemberDependencies & { credentials: Credentials },
    options: MemberOptions,
    hooks: MemberHooks,
    bootHooks: BootHooks,
    booted: Booted,
    tables: Tables,
  ) {
    this.#options = options;
    this.#platform = platform;
    this.#booted = booted;
    this.#doubt = new LeaderDoubt(options.heartbeatMs);
    this.#bootHooks = bootHooks;
    this.#clock = platform.clock;
    this.#log = platform.log;
    this.#metrics = metrics;
    this.#hooks = hooks;
    this.#slow = new SlowRequests({ clock: platform.clock, log: platform.log, metrics }, options.slowApplyMs);
    this.#credentials = credentials;
    this.#door = door;
    this.#membership = booted.membership;
    this.#tables = tables;
    this.memberId = booted.memberId;
    this.clusterId = booted.clusterId;
    this.#local = { memberId: this.memberId, clusterId: this.clusterId };
    this.name = options.name;
    this.#clientUrls = options.advertiseClientUrls;
    this.limits = { requestBytesMax: options.requestBytesMax, txnOperationsMax: options.txnOperationsMax };
    this.#quotaBytes = effectiveQuota(options);
    this.#ids = new RequestIds(booted.memberId, platform.clock.wallNow());
    const { index, term, confState } = booted.snapshot?.metadata ?? { index: 0, term: 0, confState: EMPTY_CONF_STATE };
    this.#commitIndex = index;
    this.#applier = this.#makeApplier(tables, { index, term, confState, progress: booted.progress });
    this.access = new Access(
      {
        tables: () => this.#tables,
        tokens: credentials.tokens,
        appliedIndex: () => this.#applier.appliedIndex,
        clock: platform.clock,
        log: platform.log,
      },
      { timeoutMs: requestTimeoutMs(options), clientCertAuth: options.clientCertAuth },
    );
    this.auth = new LoggedAuthCalls({
      tables: () => this.#tables.auth,
      credentials,
      access: this.access,
      linearizableRead: () => this.linearizableRead(),
      request: async (fields, caller) => {
        const { response } = await this.#request(fields, caller);
        return this.#withHeader(response as { header: ResponseHeader | undefined });
      },
      log: platform.log,
    });
    this.#proposals = new Proposals(
      {
        node: booted.node,
        hasLeader: () => this.#leader !== NONE,
        now: () => this.#clock.now(),
        schedule: () => this.#loop.schedule(),
        timeoutError: (since) => this.#timeoutError(since),
        onFailed: (count) => this.#metrics.count("etcd_server_proposals_failed_total", count),
      },
      requestTimeoutMs(options),
    );
    this.#exchange = new SnapshotExchange({
      platform,
      snapshots: booted.snapshots,
      data: booted.snapshotData,
      backend: () => this.#tables.backend,
      applied: () => ({
        index: this.#applier.appliedIndex,
        term: this.#applier.appliedTerm,
        confState: this.#applier.confState,
        state: this.#membership.state(),
      }),
      saveProgress: () => this.#applier.saveProgress(this.#tables.backend),
      peers: () => this.#peers,
    });
    this.#snapshotter = new Snapshotter(
      {
        backend: () => this.#tables.backend,
        snapshots: booted.snapshots,
        wal: booted.wal,
        storage: booted.storage,
        data: booted.snapshotData,
        log: this.#log,
        mayCompact: () => !this.#exchange.isSending,
        now: () => this.#clock.now(),
        onSaved: (tookMs) => metrics.observe("etcd_debugging_snap_save_total_duration_seconds", tookMs / 1000),
      },
      options,
      index,
    );
    this.#abstention = new Abstention(
      {
        disk: platform.disk,
        layout: booted.layout,
        log: this.#log,
        electionTicks: Math.floor(options.electionMs / options.heartbeatMs),
        preVote: options.preVote,
        term: booted.node.basicStatus().term,
      },
      booted.damagedEnd,
    );
    this.#catchUp = new CatchUpPace({
      clock: this.#clock,
      isLearner: (id) => this.#membership.member(id)?.isLearner ?? false,
      send: (messages) =>
        this.#peers.send(
          this.#abstention.holds ? messages.filter((message) => this.#abstention.lets(message)) : messages,
        ),
    });
    this.#loop = new ReadyLoop(
      {
        memberId: this.memberId,
        node: booted.node,
        storage: booted.storage,
        wal: booted.wal,
        snapshots: booted.snapshots,
        peers: this.#catchUp,
        clock: this.#clock,
        isAlone: (count) => options.syncOnLoop && this.#nobodyElseWaits(count),
      },
      {
        giveGathered: () => this.#proposals.give(),
        onSoftState: (state) => this.#onLeader(state.leader),
        onReadStates: (states) => this.#reads.onReadStates(states),
        onHardState: (state) => this.#onCommitted(state.commit),
        apply: (entry) => this.#applier.apply(entry),
        roomToApply: () => this.#tables.backend.room(),
        onAppliedBatch: (entries, from, to, tookMs) => this.#slow.onApplied(entries, from, to, tookMs),
        onApplied: () => this.#onApplied(),
        sendSnapshot: (message) => void this.#exchange.send(message),
        beforeSnapshot: () => this.#snapshotter.idle(),
        installSnapshot: (snapshot) => this.#installSnapshot(snapshot),
        onFailure: (error) => this.#fail(error),
      },
    );
    this.#reads = new LinearizableReads(
      {
        request: (context) => {
          booted.node.readIndex(context);
          this.#loop.schedule();
        },
        nextContext: () => idBytes(this.#ids.next()),
        now: () => this.#clock.now(),
        later: (run) =>
          void this.#clock
            .yield()
            .then(run)
            .catch((error: unknown) => this.#fail(error)),
        appliedIndex: () => this.#applier.appliedIndex,
        onLateAnswer: () => this.#metrics.count("etcd_server_slow_read_indexes_total"),
        onFailed: () => this.#metrics.count("etcd_server_read_indexes_failed_total"),
      },
      requestTimeoutMs(options),
    );
    this.#leaseKeeper = new LeaseKeeper(
      {
        clock: this.#clock,
        log: this.#log,
        metrics: this.#metrics,
        leases: () => this.#tables.leases,
        confirmLeadership: () => this.#confirmLeadership(),
        revoke: async (ID) => void (await this.#request({ leaseRevoke: { ID } }, rootOf(this.#tables.auth))),
        checkpoint: async (checkpoints) =>
          void (await this.#request({ leaseCheckpoint: { checkpoints: [...checkpoints] } })),
      },
      {
        extendMs: options.electionMs,
        revocationsPerSecond: options.leaseRevocationsPerSecond,
        checkpoints: options.leaseCheckpoint,
        checkpointMs: options.leaseCheckpointMs,
      },
    );
    this.#versions = new ClusterVersionMonitor({
      local: this.#local,
      door,
      clock: this.#clock,
      log: this.#log,
      isLeader: () => this.#leader === this.memberId,
      members: () => this.#membership.members(),
      clusterVersion: () => this.#membership.clusterVersion,
      propose: (version) => this.#proposeV2("/0/version", version),
    });
    this.#corruption = new CorruptionCheck({
      local: this.#local,
      door,
      log: this.#log,
      members: () => this.#membership.members(),
      hashKv: (revision) => this.hashKv({ revision }),
      compactionHashes: () => this.#tables.store.compactionHashes,
      linearizableRead: () => this.linearizableRead(),
      raiseAlarm: () =>
        this.alarm({ memberID: 0n, action: AlarmAction.ACTIVATE, alarm: AlarmType.CORRUPT }).then(() => undefined),
    });
    this.#leaderLoss = new LeaderLoss({
      clock: this.#clock,
      electionMs: options.electionMs,
      hasLeader: () => this.#leader !== NONE,
    });
    this.#watches = new WatchStreams({
      clock: this.#clock,
      random: platform.random,
      electionMs: options.electionMs,
      progressMs: options.watchProgressMs,
      limits: { deliveriesPerTurnMax: options.watchDeliveriesPerTurnMax, walkRowsMax: options.watchWalkRowsMax },
      hasLeader: () => this.#leader !== NONE,
      mayWatch: ({ key, end }, context) =>
        this.access.mustRead(
          context,
          bytesFromLatin1(key),
          end === undefined ? EMPTY_BYTES : end === "" ? FROM_KEY_ON : bytesFromLatin1(end),
        ),
      onFailure: (error) => this.#fail(error),
    });
    this.#watches.attach(tables.store);
  }

  #makeApplier(
    { backend, store, leases, alarms, auth }: Tables,
    start: {
      readonly index: number;
      readonly term: number;
      readonly confState: ConfState;
      readonly progress: Progress;
    },
  ): Applier {
    const { node } = this.#booted;
    const applier = new Applier(
      {
        store,
        leases,
        alarms,
        auth: new AuthApplier(auth, this.#credentials.tokens, leases),
        membership: this.#membership,
        table: backend,
        dbBytes: () => backend.sizeBytes,
        log: this.#log,
      },
      {
        onOutcome: (id, outcome) => this.#proposals.onOutcome(id, outcome),
        changeConfiguration: (change) => node.applyConfChange(change),
        dropConfiguration: () => node.applyConfChange(NO_CHANGE),
        onMembershipChanged: (change) => this.#onMembershipChanged(change),
        onClusterVersion: (version) => this.#onClusterVersion(version),
        onTermBegun: () => this.#onTermBegun(),
        onQuotaExceeded: () => this.#raiseNoSpace(),
        onRemoved: () => this.#onRemovedByLog(),
      },
      start,
      this.#quotaBytes,
    );
    backend.setBeforeCommit((table) => applier.saveProgress(table));
    return applier;
  }

  async #begin(): Promise<void> {
    this.#log.info("starting etcd server", {
      "local-member-id": memberIdText(this.memberId),
      "local-server-version": SERVED_VERSION,
      "cluster-id": memberIdText(this.clusterId),
      "cluster-version": this.#membership.clusterVersion ?? "to_be_decided",
    });
    this.#metrics.set("etcd_server_id", 1, { server_id: memberIdText(this.memberId) });
    this.#metrics.set("etcd_server_version", 1, { server_version: SERVED_VERSION });
    this.#metrics.set("etcd_server_quota_backend_bytes", this.#quotaBytes ?? 0);
    if (this.#options.initialCorruptCheck) await this.#corruption.checkAtStart();
    if (this.#door !== undefined) this.#peers = this.#door.connect(this.#local, this.#receiver());
    for (const member of this.#booted.joined) this.#reach(member);
    this.#syncPeers();
    if (this.#options.initialElectionTickAdvance) this.#advanceUntil = this.#clock.now() + ADVANCE_WITHIN_MS;
    this.#timers.push(
      this.#clock.every(this.#options.heartbeatMs, () => this.#tick()),
      this.#clock.every(PURGE_INTERVAL_MS, () => this.#purge()),
    );
    if (this.#options.corruptCheckMs > 0) {
      this.#timers.push(this.#clock.every(this.#options.corruptCheckMs, () => this.#checkCorruption()));
    }
    if (this.#options.compactHashCheckMs > 0) {
      this.#timers.push(this.#clock.every(this.#options.compactHashCheckMs, () => this.#checkCompactions()));
    }
    this.#autoCompactor = this.#compactsByItself();
    const published = new Promise<void>((resolve) => (this.#published = resolve));
    this.#maybeCampaignAlone();
    this.#loop.schedule();
    void this.#publish();
    await published;
    if (this.#state === "failed") throw this.#failure;
  }

  #compactsByItself(): AutoCompactor | undefined {
    const { autoCompaction } = this.#options;
    if (autoCompaction === undefined) return undefined;
    const dependencies = {
      clock: this.#clock,
      log: this.#log,
      revision: () => this.#tables.store.revision,
      leads: () => this.#leader === this.memberId,
      compact: (revision: number) => this.#request({ compaction: { revision, physical: false } }),
    };
    return new AutoCompactor(dependencies, autoCompaction);
  }

  /**
   * The only voter need not wait for an election timeout: nobody else could lead. Called after entries were applied, for those
   * that make it a voter may be among them. All that was committed at the start goes first: whoever campaigns looks through what is not
   * applied yet for changes of the configuration, and of a long log that would be seconds in one turn.
   */
  #maybeCampaignAlone(): void {
    if (this.#leader !== 0n || !this.#isOnlyVoter()) return;
    if (this.#applier.appliedIndex < this.#booted.storage.initialState().hardState.commit) return;
    this.#lookAtAbstention();
    this.#booted.node.campaign();
    this.#loop.schedule();
  }

  #isOnlyVoter(): boolean {
    const { voters, votersOutgoing } = this.#applier.confState;
    return voters.length === 1 && voters[0] === this.memberId && votersOutgoing.length === 0;
  }

  /** Whether nobody waits, or is likely to come soon, for anything but a save of so many entries. */
  #nobodyElseWaits(entryCount: number): boolean {
    return entryCount <= LOOP_WRITE_ENTRIES_MAX && this.#proposals.size <= entryCount && !this.#reads.isWaitedFor;
  }

  // ---- what raft and the applier report ---------------------------------------------------------------------------

  #tick(): void {
    if (this.#state !== "running") return;
    const sinceLastMs = this.#doubt.onTick(this.#clock.now());
    if (sinceLastMs > TICKS_OF_LATE_HEARTBEAT * this.#options.heartbeatMs) this.#tellLateHeartbeats(sinceLastMs);
    this.#lookAtAbstention();
    if (this.#abstention.countsTime) this.#booted.node.tick();
    this.#maybeAdvanceTicks();
    this.#proposals.onTick();
    this.#reads.onTick();
    this.#credentials.tokens.onTick();
    this.#showFigures();
    this.#loop.schedule();
    if (this.#ticksLeft === undefined || --this.#ticksLeft > 0) return;
    this.#fail(new MemberError("MEMBER_REMOVED", "the member has been permanently removed from the cluster"));
  }

  /** A leader's heart-beats go out with its ticks: a late one is the others' reason to elect another leader. */
  #tellLateHeartbeats(afterMs: number): void {
    if (this.#leader !== this.memberId) return;
    const expectedMs = TICKS_OF_LATE_HEARTBEAT * this.#options.heartbeatMs;
    for (const { id } of this.#membership.members()) {
      if (id === this.memberId) continue;
      this.#metrics.count("etcd_server_heartbeat_send_failures_total");
      this.#log.warn(
        "leader failed to send out heartbeat on time; took too long, leader is overloaded likely from slow disk",
        {
          to: memberIdText(id),
          "heartbeat-interval": formatDuration(this.#options.heartbeatMs),
          "expected-duration": formatDuration(expectedMs),
          "exceeded-duration": formatDuration(afterMs - expectedMs),
        },
      );
    }
  }

  #lookAtAbstention(): void {
    if (!this.#abstention.holds) return;
    this.#abstention.onTick({
      hasLeader: this.#leader !== 0n,
      durableIndex: this.#booted.storage.lastIndex(),
      appliedTerm: this.#applier.appliedTerm,
      isOnlyVoter: this.#isOnlyVoter(),
    });
  }

  /**
   * A member that has just started need not wait a whole election timeout for a leader that may be gone: all but two ticks are
   * skipped, once, as soon as another member is there to vote.
   */
  #maybeAdvanceTicks(): void {
    if (this.#advanceUntil === undefined || this.#abstention.holds) return;
    const isLate = this.#clock.now() > this.#advanceUntil;
    const others = this.#membership.members().filter(({ id }) => id !== this.memberId);
    const isReached = others.some(({ id }) => this.#peers.activeSince(id) !== undefined);
    if (!isLate && !isReached) return;
    this.#advanceUntil = undefined;
    if (isLate || this.#leader !== 0n) return;
    const { electionMs, heartbeatMs } = this.#options;
    for (let skipped = 0; skipped < Math.floor(electionMs / heartbeatMs) - 2; skipped++) this.#booted.node.tick();
  }

  /** The gauges that follow the state; set now and then, not at each change. */
  #showFigures(): void {
    const metrics = this.#metrics;
    const { backend, store, auth } = this.#tables;
    metrics.set("etcd_server_proposals_committed_total", this.#commitIndex);
    metrics.set("etcd_server_proposals_applied_total", this.#applier.appliedIndex);
    metrics.set("etcd_server_proposals_pending", this.#proposals.size);
    metrics.set("etcd_server_is_learner", this.isLearner() ? 1 : 0);
    metrics.set("etcd_mvcc_db_total_size_in_bytes", backend.sizeBytes);
    metrics.set("etcd_mvcc_db_total_size_in_use_in_bytes", backend.sizeInUseBytes);
    metrics.set("etcd_debugging_mvcc_keys_total", store.keyCount);
    metrics.set("etcd_debugging_mvcc_current_revision", store.revision);
    metrics.set("etcd_debugging_mvcc_compact_revision", store.compactRevision);
    metrics.set("etcd_debugging_mvcc_watch_stream_total", this.#watches.streamCount);
    metrics.set("etcd_debugging_mvcc_watcher_total", this.#watches.watcherCount);
    metrics.set("etcd_debugging_mvcc_slow_watcher_total", this.#watches.behindCount);
    metrics.set("etcd_debugging_mvcc_events_total", this.#watches.eventCount);
    metrics.set("etcd_debugging_auth_revision", auth.revision);
    metrics.set("etcd_mvcc_db_open_read_transactions", backend.openReadCount);
    metrics.set("etcd_disk_wal_write_bytes_total", this.#booted.wal.writtenBytes);
  }

  #onLeader(leader: bigint): void {
    const isNew = leader !== this.#leader && leader !== NONE;
    this.#leader = leader;
    if (leader !== this.memberId) this.#catchUp.dropAll();
    this.#leaseKeeper.onLeadership(leader === this.memberId);
    this.#metrics.set("etcd_server_has_leader", leader === NONE ? 0 : 1);
    this.#metrics.set("etcd_server_is_leader", leader === this.memberId ? 1 : 0);
    if (!isNew) return;
    this.#metrics.count("etcd_server_leader_changes_seen_total");
    this.#leaderSince = this.#clock.now();
    this.#reads.onLeaderChanged();
    this.#proposals.retry();
  }

  #onCommitted(index: number): void {
    this.#commitIndex = Math.max(this.#commitIndex, index);
  }

  #onApplied(): void {
    const index = this.#applier.appliedIndex;
    this.#onCommitted(index);
    this.#maybeCampaignAlone();
    this.#reads.onApplied();
    this.access.onApplied();
    this.#snapshotter.maybeSnapshot(
      {
        index,
        confState: this.#applier.confState,
        state: () => this.#membership.state(),
        saveProgress: () => this.#applier.saveProgress(this.#tables.backend),
      },
      (error) => this.#fail(error),
    );
  }

  #onClusterVersion(version: string): void {
    checkClusterVersion(this.#options.dataDir, version);
    checkDowngrade(this.#options.dataDir, this.#membership.downgrade);
    this.#metrics.set("etcd_cluster_version", 1, { cluster_version: minorVersion(version) });
  }

  #onTermBegun(): void {
    this.#reads.onTermBegun();
    this.#versions.look();
  }

  // ---- other members ----------------------------------------------------------------------------------------------

  #receiver(): PeerReceiver {
    return {
      receive: (message) => this.#receive(message),
      receiveSnapshot: async (message, database) => {
        await this.#exchange.receive(message, database);
        this.#receive(message);
      },
      isRemoved: (id) => this.#membership.isRemoved(id),
      onUnreachable: (id) => {
        this.#catchUp.drop(id);
        this.#tellRaft(() => this.#booted.node.reportUnreachable(id));
      },
      onSnapshotSent: (id, delivered) => {
        this.#exchange.onSent();
        this.#tellRaft(() => this.#booted.node.reportSnapshot(id, delivered));
      },
      onRemoved: () =>
        this.#fail(
          new MemberError(
            "MEMBER_REMOVED",
            "the member has been permanently removed from the cluster, as another member tells: " +
              `its data in ${this.#options.dataDir} is of no more use; add it again as a new member with an empty directory`,
          ),
        ),
      members: () => this.#membership.members(),
      clusterVersion: () => this.#membership.clusterVersion,
      hashKv: (revision) => this.hashKv({ revision }),
      isDowngrading: async () => {
        await this.linearizableRead();
        return this.#membership.downgrade.enabled;
      },
      promote: async (id, token) => {
        await this.access.requireAdmin(token === undefined ? undefined : { token });
        return (await this.memberPromote(id)).members;
      },
      renewLease: (id) => this.#renewAsLeader(id),
      leaseTimeToLive: (request) => this.#timeToLiveAsLeader(request),
    };
  }

  #receive(message: Message): void {
    if (this.#membership.isRemoved(message.from)) {
      this.#log.warn("rejected Raft message from removed member", { "removed-member-id": memberIdText(message.from) });
      return;
    }
    if (!this.#abstention.admits(message)) return;
    if (message.from === this.#leader) this.#abstention.onLeaderMessage();
    const why = whyUnreadable(message);
    if (why !== undefined) {
      this.#log.warn("dropped a proposal of another member", {
        "remote-peer-id": memberIdText(message.from),
        error: why,
      });
      return;
    }
    this.#tellRaft(() => this.#booted.node.step(message));
  }

  /** What others send may be wrong, and is dropped then; only news that this member's own log is not what it was ends the member. */
  #tellRaft(tell: () => void): void {
    if (this.#state !== "running") return;
    try {
      tell();
    } catch (error) {
      if (!(error instanceof RaftError) || error.code === "RAFT_LOG_LOST") {
        this.#fail(error);
        return;
      }
      if (error.code !== "RAFT_PROPOSAL_DROPPED") this.#log.warn("dropped a raft message", { error: error.message });
      return;
    }
    this.#loop.schedule();
  }

  #onMembershipChanged(change: ConfChange): void {
    const member = this.#membership.member(change.nodeId);
    if (member === undefined) {
      this.#catchUp.drop(change.nodeId);
      this.#peers.remove(change.nodeId);
      return;
    }
    this.#reach(member);
    if (!member.isLearner) this.#catchUp.release(member.id);
  }

  #reach({ id, peerUrls }: ClusterMember): void {
    if (id !== this.memberId) this.#peers.add(id, peerUrls);
  }

  #syncPeers(): void {
    const { members, removed } = this.#membership.state();
    for (const id of removed) this.#peers.remove(id);
    for (const member of members) this.#reach(member);
  }

  /** The leader's next messages still tell others of the removal: this member goes on for a few ticks. */
  #onRemovedByLog(): void {
    this.#ticksLeft ??= TICKS_AFTER_REMOVAL;
  }

  #view(): ClusterView {
    return {
      localId: this.memberId,
      members: this.#membership.members(),
      now: this.#clock.now(),
      activeSince: (id) => this.#peers.activeSince(id),
    };
  }

  /** Why a proposal that waits since then got no answer, as far as this member can tell (etcd's reasoning). */
  #timeoutError(since: number): RequestError {
    const detail = `no answer within ${requestTimeoutMs(this.#options)} ms; it may still be applied`;
    const leaderLost = this.#leaderSince - 2 * this.#options.electionMs;
    if (since > leaderLost && since < this.#leaderSince) {
      return new RequestError("SERVER_TIMEOUT_LEADER_FAILED", `${detail}; the leader changed meanwhile`);
    }
    const view = this.#view();
    const isConnected =
      this.#leader === this.memberId
        ? countConnected(view, view.members, since) >= Math.floor(view.members.length / 2) + 1
        : this.#leader === NONE || isConnectedSince(view, this.#leader, since);
    if (isConnected) return new RequestError("SERVER_TIMEOUT", detail);
    return new RequestError("SERVER_TIMEOUT_CONNECTION_LOST", `${detail}; other members cannot be reached`);
  }

  /**
   * Replaces the tables by those of the database that came with a snapshot. The log's part is durable, so a crash from here on
   * finds the database beside `db`, and puts it in place at boot.
   */
  async #installSnapshot(snapshot: Snapshot): Promise<void> {
    const { metadata } = snapshot;
    const { index } = metadata;
    this.#log.info("applying snapshot", {
      "current-applied-index": this.#applier.appliedIndex,
      "incoming-leader-snapshot-index": index,
      "incoming-leader-snapshot-term": metadata.term,
    });
    this.#metrics.set("etcd_server_snapshot_apply_in_progress_total", 1);
    const replaced = this.#replaceTables(snapshot);
    // Reads that come meanwhile wait; a failure is told where the installation was asked for.
    this.#replacing = replaced.catch(() => undefined);
    try {
      await replaced;
    } finally {
      this.#replacing = undefined;
      this.#metrics.set("etcd_server_snapshot_apply_in_progress_total", 0);
    }
    this.#onCommitted(index);
    this.#snapshotter.onInstalled(index);
    this.#syncPeers();
    this.#reads.onApplied();
    this.access.onApplied();
    this.#log.info("applied snapshot", { "incoming-leader-snapshot-index": index });
    await this.#booted.snapshots.releaseDatabases(index).catch((error: unknown) => {
      this.#log.warn("failed to release snapshot databases", { error: describeError(error) }); // the next purge tries again
    });
    if (this.#membership.isRemoved(this.memberId)) this.#onRemovedByLog();
  }

  async #replaceTables(snapshot: Snapshot): Promise<void> {
    const { snapshots, layout, snapshotData } = this.#booted;
    const { index } = snapshot.metadata;
    const received = await snapshots.findDatabase(index);
    if (received === undefined) {
      throw new MemberError(
        "DB_MISSING",
        `${snapshots.databasePath(index)}, which came with snapshot ${index}, is gone`,
      );
    }
    this.#watches.detach();
    await this.#tables.store.close();
    await this.#tables.backend.retire();
    await adoptDatabase(this.#platform.disk, layout, received);
    const backend = await openBackend(this.#platform, this.#options, layout, this.#bootHooks);
    try {
      const progress = loadProgress(backend);
      if (progress.consistentIndex < index) {
        throw new MemberError(
          "DB_BEHIND_SNAPSHOT",
          `${layout.dbPath}, which came with snapshot ${index}, ends at ${progress.consistentIndex}: remove this member and add it again`,
        );
      }
      snapshotData.recover(snapshot.data);
      this.#membership.recover(snapshotData.state());
      this.#membership.recoverDowngrade(backend);
      checkDowngrade(this.#options.dataDir, this.#membership.downgrade);
      checkClusterVersion(this.#options.dataDir, this.#membership.clusterVersion);
      const clock = new RestingClock(this.#clock, this.#state === "running" ? SNAPSHOT_RESTS_MS_MAX : 0);
      this.#restingClock = clock;
      const tables = await openTables(
        { ...this.#platform, clock },
        this.#options,
        backend,
        this.#credentials.tokens,
        () => undefined,
        (id) => this.#leaseKeeper.onRevoked(id),
        (compaction) => showCompaction(this.#platform, this.#metrics, compaction),
      );
      clock.endRests(); // the tables go on with it
      this.#tables = tables;
      this.#applier = this.#makeApplier(tables, { ...snapshot.metadata, progress });
      this.#watches.attach(tables.store);
    } catch (error) {
      await backend.close().catch(() => undefined); // the first failure is the one to tell
      throw error;
    }
  }

  /** A read of tables that a snapshot replaced meanwhile is made once more, of the new ones: they hold all that the old ones held. */
  async #read<Result>(read: (tables: Tables) => Result | Promise<Result>): Promise<Result> {
    for (;;) {
      if (this.#replacing !== undefined) await this.#replacing;
      const tables = this.#tables;
      try {
        return await read(tables);
      } catch (error) {
        this.#assertRunning();
        if (tables === this.#tables && this.#replacing === undefined) throw error;
      }
    }
  }

  // ---- what the member says of itself -----------------------------------------------------------------------------

  async #proposeAttributes(): Promise<string> {
    const path = `/0/members/${memberIdText(this.memberId)}/attributes`;
    await this.#proposeV2(path, attributesJson({ name: this.name, clientUrls: this.#clientUrls }));
    return path;
  }

  /** Name and client URLs go into the log as 3.5 writes them: as requests of the v2 store. */
  async #publish(): Promise<void> {
    try {
      const path = await this.#proposeAttributes();
      this.#log.info("published local member to cluster through raft", {
        "local-member-id": memberIdText(this.memberId),
        "local-member-attributes": { name: this.name, clientUrls: this.#clientUrls },
        "request-path": path,
        "cluster-id": memberIdText(this.clusterId),
      });
      this.#published?.();
    } catch (error) {
      if (this.#state !== "running") return;
      this.#log.warn("failed to publish local member to cluster through raft", { error: describeError(error) });
      this.#clock.after(this.#options.heartbeatMs, () => {
        if (this.#state === "running") void this.#publish();
      });
    }
  }

  #proposeV2(path: string, val: string): Promise<unknown> {
    const id = this.#ids.next();
    return this.#propose(id, encodeV2Request(makeV2Request({ id: bigintOf(id), method: "PUT", path, val })));
  }

  // ---- proposals --------------------------------------------------------------------------------------------------

  async #propose(id: RequestId, data: Uint8Array): Promise<Answer> {
    this.#assertNotTooLarge(data);
    return this.#proposals.propose(id, data);
  }

  #assertNotTooLarge({ length }: Uint8Array): void {
    const { requestBytesMax } = this.#options;
    if (length <= requestBytesMax) return;
    throw new RequestError("SERVER_REQUEST_TOO_LARGE", `${length} bytes, at most ${requestBytesMax}`);
  }

  /** @param caller whom it is made for: the applier asks what he may do */
  async #request(fields: Partial<InternalRaftRequest>, { username, revision }: Caller = NOBODY): Promise<Answer> {
    this.#assertTakesRequests();
    const id = this.#ids.next();
    const request = { ...NO_REQUEST, ...fields, header: { ID: bigintOf(id), username, authRevision: revision } };
    return this.#propose(id, InternalRaftRequest.encode(request).finish());
  }

  /** @throws RequestError when the member does not run, or is too far behind with what is committed already */
  #assertTakesRequests(): void {
    this.#assertRunning();
    if (this.#commitIndex > this.#applier.appliedIndex + this.#options.applyBacklogMax) {
      throw new RequestError(
        "SERVER_TOO_MANY_REQUESTS",
        `${this.#commitIndex - this.#applier.appliedIndex} entries wait to be applied, at most ${this.#options.applyBacklogMax} may`,
      );
    }
  }

  // ---- KV ---------------------------------------------------------------------------------------------------------

  async range(request: RangeRequest, context?: CallContext): Promise<RangeResponse> {
    const began = this.#clock.now();
    let response: RangeResponse | undefined;
    try {
      return (response = await this.#range(request, context));
    } finally {
      this.#slow.onRange(request, response, this.#clock.now() - began);
    }
  }

  async #range(request: RangeRequest, context: CallContext | undefined): Promise<RangeResponse> {
    this.#assertRunning();
    if (!request.serializable) await this.#reads.wait();
    const caller = await this.#mustRead(context, (checks, caller) => checks.range(caller, request));
    this.#metrics.count("etcd_mvcc_range_total");
    // One key is answered at once; a range may be long, and is read in slices.
    const isOneKey = request.rangeEnd.length === 0;
    const isAtOnce = isOneKey && this.#replacing === undefined;
    const response = isAtOnce
      ? applyRange(this.#tables.store, request)
      : await this.#read(({ store }) => applyRangeInSlices(store, request));
    this.#assertCurrent(caller);
    return this.#withHeader(response);
  }

  async *rangeStream(request: RangeRequest, context?: CallContext): AsyncGenerator<RangeResponse> {
    this.#assertRunning();
    if (!request.serializable) await this.#reads.wait();
    const caller = await this.#mustRead(context, (checks, caller) => checks.range(caller, request));
    this.#metrics.count("etcd_mvcc_range_total");
    const pieces = rangePieces(request, (piece) => {
      this.#assertRunning();
      return this.#read(({ store }) => applyRangeInSlices(store, piece, { uncounted: !piece.countOnly }));
    });
    for await (const piece of pieces) {
      this.#assertCurrent(caller);
      yield piece.header === undefined ? piece : this.#withHeader(piece);
    }
  }

  /** Who reads, once he was found to be allowed to; `NOBODY` while authentication is off. */
  async #mustRead(
    context: CallContext | undefined,
    check: (checks: RequestChecks, caller: Caller) => void,
  ): Promise<Caller> {
    if (!this.#tables.auth.isEnabled) return NOBODY;
    const caller = await this.access.callerOf(context);
    if (this.#replacing !== undefined) await this.#replacing;
    const { auth, leases } = this.#tables;
    check(new RequestChecks(auth, leases), caller);
    return caller;
  }

  /** What was read while users or roles changed may be more than its reader may see. @throws AuthError `AUTH_OLD_REVISION` */
  #assertCurrent({ revision }: Caller): void {
    const { auth } = this.#tables;
    if (revision === 0 || revision === auth.revision) return;
    throw new AuthError(
      "AUTH_OLD_REVISION",
      `users or roles changed during the read: ${revision}, then ${auth.revision}`,
    );
  }

  put(request: PutRequest, context?: CallContext): Promise<PutResponse> {
    return new Promise((resolve, reject) => this.putFor(request, { resolve, reject }, context));
  }

  readonly #onPut = (response: PutResponse): PutResponse => {
    this.#metrics.count("etcd_mvcc_put_total");
    return this.#withHeader(response);
  };

  readonly #onTxn = (response: TxnResponse): TxnResponse => {
    this.#metrics.count("etcd_mvcc_txn_total");
    return this.#withHeader(response);
  };

  putFor(request: PutRequest, receiver: Receiver<PutResponse>, context?: CallContext): void {
    if (!this.#fits(costOfPut(request))) {
      this.#refuseForQuota().catch((error: unknown) => receiver.reject(error));
      return;
    }
    this.#assertTakesRequests();
    const caller = this.access.callerOf(context);
    if (!isPlain(caller)) {
      answer(new Write(this.#onPut, receiver), this.#requestBy(caller, { put: request }));
      return;
    }
    const id = this.#ids.next();
    const data = encodePutEntry(id, request, signatureOf(caller));
    this.#assertNotTooLarge(data);
    this.#proposals.proposeFor(id, data, new Write(this.#onPut, receiver));
  }

  getFor(request: GetRequest, receiver: Receiver<Uint8Array | undefined>, context?: CallContext): void {
    const { bytes, keyStart, keyEnd } = request;
    this.#readFor(request.serializable, receiver, context, ({ store, auth }, caller) => {
      auth.assertMayReadKeyIn(caller, bytes, keyStart, keyEnd);
      const pair = store.find(bytes, keyStart, keyEnd);
      this.#metrics.count("etcd_mvcc_range_total");
      if (this.#reads.waitedMs > this.#slow.thresholdMs) {
        const shown = (): Partial<RangeRequest> => ({ key: bytes.slice(keyStart, keyEnd) });
        this.#slow.onPlainRange(shown, pair === undefined ? 0 : 1, this.#reads.waitedMs);
      }
      return pair;
    });
  }

  spanFor(request: SpanRequest, receiver: Receiver<StoredPairs | undefined>, context?: CallContext): void {
    const { key, rangeEnd, limit } = request;
    const span = { key, end: rangeEnd === "\0" ? "" : rangeEnd };
    this.#readFor(request.serializable, receiver, context, ({ store, auth }, caller) => {
      auth.assertMayReadSpan(caller, key, rangeEnd);
      const found = store.pairs(span, limit);
      if (found === undefined) return found;
      this.#metrics.count("etcd_mvcc_range_total");
      if (this.#reads.waitedMs > this.#slow.thresholdMs) {
        const shown = (): Partial<RangeRequest> => ({
          key: bytesFromLatin1(key),
          rangeEnd: bytesFromLatin1(rangeEnd),
          limit,
        });
        this.#slow.onPlainRange(shown, found.pairs.length, this.#reads.waitedMs);
      }
      return found;
    });
  }

  /** A read that is made in one turn. It asks whether its caller may. */
  #readFor<Result>(
    serializable: boolean,
    receiver: Receiver<Result>,
    context: CallContext | undefined,
    read: (tables: Tables, caller: Caller) => Result,
  ): void {
    this.#assertRunning();
    if (this.#replacing !== undefined) {
      // The tables are another snapshot's in a moment.
      answer(receiver, this.#readLater(serializable, context, read));
    } else if (serializable) this.#readNow(read, receiver, context);
    else {
      this.#reads.waitFor({
        resolve: () => {
          if (this.#replacing === undefined) this.#readNow(read, receiver, context);
          else answer(receiver, this.#readLater(true, context, read));
        },
        reject: (error) => receiver.reject(error),
      });
    }
  }

  #readNow<Result>(
    read: (tables: Tables, caller: Caller) => Result,
    receiver: Receiver<Result>,
    context: CallContext | undefined,
  ): void {
    let result: Result;
    try {
      const caller = this.access.callerOf(context);
      if (caller instanceof Promise) {
        answer(
          receiver,
          caller.then((found) => this.#read((tables) => read(tables, found))),
        );
        return;
      }
      result = read(this.#tables, caller);
    } catch (error) {
      receiver.reject(error);
      return;
    }
    receiver.resolve(result);
  }

  async #readLater<Result>(
    serializable: boolean,
    context: CallContext | undefined,
    read: (tables: Tables, caller: Caller) => Result,
  ): Promise<Result> {
    if (!serializable) await this.#reads.wait();
    const caller = await this.access.callerOf(context);
    return this.#read((tables) => read(tables, caller));
  }

  /** A request of the user who calls. */
  #requestOf(fields: Partial<InternalRaftRequest>, context: CallContext | undefined): Promise<Answer> {
    return this.#requestBy(this.access.callerOf(context), fields);
  }

  async #requestBy(caller: Caller | Promise<Caller>, fields: Partial<InternalRaftRequest>): Promise<Answer> {
    return this.#request(fields, caller instanceof Promise ? await caller : caller);
  }

  async deleteRange(request: DeleteRangeRequest, context?: CallContext): Promise<DeleteRangeResponse> {
    const { response } = await this.#requestOf({ deleteRange: request }, context);
    this.#metrics.count("etcd_mvcc_delete_total");
    return this.#withHeader(response as DeleteRangeResponse);
  }

  async txn(request: TxnRequest, context?: CallContext): Promise<TxnResponse> {
    if (isReadOnlyTxn(request)) return this.#readOnlyTxn(request, context);
    if (!this.#fits(costOfTxn(request))) await this.#refuseForQuota();
    const { response } = await this.#requestOf({ txn: request }, context);
    this.#metrics.count("etcd_mvcc_txn_total");
    return this.#withHeader(response as TxnResponse);
  }

  async #readOnlyTxn(request: TxnRequest, context: CallContext | undefined): Promise<TxnResponse> {
    this.#assertRunning();
    const began = this.#clock.now();
    let response: TxnResponse | undefined;
    try {
      if (!isSerializableTxn(request)) await this.#reads.wait();
      const caller = await this.#mustRead(context, (checks, caller) => checks.txn(caller, request));
      response = await this.#read(({ store }) => applyTxn(store, request));
      this.#assertCurrent(caller);
      return this.#withHeader(response);
    } finally {
      this.#slow.onReadOnlyTxn(request, response, this.#clock.now() - began);
    }
  }

  txnFor(request: TxnRequest, encoded: Uint8Array, receiver: Receiver<TxnResponse>, context?: CallContext): void {
    if (isReadOnlyTxn(request)) {
      answer(receiver, this.txn(request, context));
      return;
    }
    if (!this.#fits(costOfTxn(request))) {
      this.#refuseForQuota().catch((error: unknown) => receiver.reject(error));
      return;
    }
    this.#assertTakesRequests();
    const caller = this.access.callerOf(context);
    if (!isPlain(caller)) {
      answer(new Write(this.#onTxn, receiver), this.#requestBy(caller, { txn: request }));
      return;
    }
    const id = this.#ids.next();
    const data = encodeTxnEntry(id, encoded, signatureOf(caller));
    this.#assertNotTooLarge(data);
    this.#proposals.proposeFor(id, data, new Write(this.#onTxn, receiver));
  }

  async compact(request: CompactionRequest, context?: CallContext): Promise<CompactionResponse> {
    const { finished } = await this.#requestOf({ compaction: request }, context);
    if (request.physical) {
      await finished;
      await this.#tables.backend.commitNow(); // else a crash could bring the old revisions' hash back
    }
    return { header: this.header() };
  }

  #fits(cost: number): boolean {
    return fitsQuota(cost, this.#tables.backend.sizeBytes, this.#quotaBytes);
  }

  /** The door check: a request that cannot fit raises the alarm without going through the log. */
  async #refuseForQuota(): Promise<never> {
    await this.alarm({ memberID: this.memberId, action: AlarmAction.ACTIVATE, alarm: AlarmType.NOSPACE });
    throw new RequestError("SERVER_NO_SPACE", `db has reached its quota of ${this.#quotaBytes} bytes`);
  }

  #raiseNoSpace(): void {
    if (this.#tables.alarms.has(AlarmType.NOSPACE)) return;
    this.#log.warn("message exceeded backend quota; raising alarm", { "quota-size-bytes": this.#quotaBytes });
    this.alarm({ memberID: this.memberId, action: AlarmAction.ACTIVATE, alarm: AlarmType.NOSPACE }).catch(
      (error: unknown) => {
        this.#log.warn("failed to raise the NOSPACE alarm", { error: describeError(error) });
      },
    );
  }

  // ---- leases -----------------------------------------------------------------------------------------------------

  async leaseGrant(request: LeaseGrantRequest, context?: CallContext): Promise<LeaseGrantResponse> {
    if (!this.#fits(COST_OF_LEASE)) await this.#refuseForQuota();
    await this.access.requireUser(context);
    const ID = request.ID === 0n ? this.#newLeaseId() : request.ID;
    const { response } = await this.#requestOf({ leaseGrant: { ...request, ID } }, context);
    this.#metrics.count("etcd_debugging_lease_granted_total");
    this.#metrics.observe("etcd_debugging_lease_ttl_total", (response as LeaseGrantResponse).TTL);
    return this.#withHeader(response as LeaseGrantResponse);
  }

  /** A positive one that nobody has had. */
  #newLeaseId(): bigint {
    for (;;) {
      const id = BigInt.asUintN(63, bigintOf(this.#ids.next()));
      if (id !== 0n) return id;
    }
  }

  async leaseRevoke(request: LeaseRevokeRequest, context?: CallContext): Promise<LeaseRevokeResponse> {
    await this.access.requireUser(context);
    const { response } = await this.#requestOf({ leaseRevoke: request }, context);
    this.#metrics.count("etcd_debugging_lease_revoked_total");
    return this.#withHeader(response as LeaseRevokeResponse);
  }

  leaseKeepAliveFor(id: bigint, receiver: Receiver<number>, context?: CallContext): void {
    this.#assertRunning();
    if (this.#mayTellTime() && !this.#tables.auth.isEnabled) this.#leaseKeeper.renewFor(id, receiver);
    else answer(receiver, this.#keepAlive(id, context));
  }

  async #keepAlive(id: bigint, context: CallContext | undefined): Promise<number> {
    await this.access.requireLeaseWrite(context, id);
    return this.#askLeader(
      () => this.#renewAsLeader(id),
      (door, urls) => door.renewLease(urls, id, this.#local),
    );
  }

  async leaseTimeToLive(request: LeaseTimeToLiveRequest, context?: CallContext): Promise<LeaseTimeToLiveResponse> {
    const { revision } = this.#tables.auth;
    await (request.keys ? this.access.requireLeaseRead(context, [request.ID]) : this.access.requireUser(context));
    const told = await this.#askLeader(
      () => this.#timeToLiveAsLeader(request),
      (door, urls) => door.leaseTimeToLive(urls, request, this.#local),
    ).catch((error: unknown) => {
      if (error instanceof CodedError && error.code === "LEASE_NOT_FOUND") return noLease(request.ID);
      throw error;
    });
    if (request.keys && this.#tables.auth.isEnabled) this.#assertCurrent({ username: "", revision });
    return { ...told, header: this.header() };
  }

  endsStream(requiresLeader: boolean, end: (error: unknown) => void): () => void {
    if (this.#streamsEnded !== undefined) {
      end(this.#streamsEnded);
      return () => undefined;
    }
    this.#openStreams.add(end);
    const forgetLeader = requiresLeader
      ? this.#leaderLoss.onLost(() => {
          end(new RequestError("SERVER_NO_LEADER", "no leader was known for three election timeouts"));
        })
      : undefined;
    return () => {
      this.#openStreams.delete(end);
      forgetLeader?.();
    };
  }

  async #renewAsLeader(id: bigint): Promise<number> {
    if (!this.#mayTellTime()) await this.#confirmLeadership();
    return new Promise((resolve, reject) => this.#leaseKeeper.renewFor(id, { resolve, reject }));
  }

  async #timeToLiveAsLeader({ ID, keys }: LeaseTimeToLiveRequest): Promise<LeaseTimeToLiveResponse> {
    if (!this.#mayTellTime()) await this.#confirmLeadership();
    const { leases } = this.#tables;
    const look = leases.look(ID);
    if (look === undefined) return noLease(ID);
    const TTL = look.leftMs === Infinity ? SECONDS_FOR_EVER : Math.trunc(look.leftMs / 1000);
    return { header: undefined, ID, TTL, grantedTTL: look.ttlSeconds, keys: keys ? leases.keysOf(ID) : [] };
  }

  /** Only the leader knows of leases' time: this member, or the one that it asks, again and again while the leader changes. */
  async #askLeader<Answer>(
    own: () => Promise<Answer>,
    ask: (door: PeerDoor, urls: readonly string[]) => Promise<Answer | undefined>,
  ): Promise<Answer> {
    const until = this.#clock.now() + requestTimeoutMs(this.#options);
    for (;;) {
      this.#assertRunning();
      const leader = this.#leader === this.memberId ? undefined : this.#membership.member(this.#leader);
      try {
        if (this.#leader === this.memberId) return await own();
        const answer =
          leader === undefined || this.#door === undefined ? undefined : await ask(this.#door, leader.peerUrls);
        if (answer !== undefined) return answer;
      } catch (error) {
        if (!isWorthAsking(error)) throw error;
      }
      const restMs = this.#leader === NONE ? this.#options.electionMs : LEADER_ASKED_AGAIN_MS;
      if (this.#clock.now() + restMs > until) {
        throw this.#leader === NONE
          ? new RequestError("SERVER_NO_LEADER", "nobody leads who would know of the lease")
          : new RequestError("SERVER_TIMEOUT", `the leader ${memberIdText(this.#leader)} does not tell of the lease`);
      }
      await new Promise<void>((resolve) => void this.#clock.after(restMs, resolve, "process"));
    }
  }

  async leaseLeases(context?: CallContext): Promise<LeaseList> {
    this.#assertRunning();
    const ids = await this.#read(({ leases }) => leases.list(() => this.#clock.yield()));
    await this.access.requireLeaseRead(context, ids);
    return { header: this.header(), ids };
  }

  /**
   * Whether this member leads beyond doubt, and has applied all that it knows to be committed: then it may speak of leases' time. raft itself is
   * asked for that: while this member's own disk hangs, others commit and apply, and may tell of a lease that is not applied here.
   */
  #mayTellTime(): boolean {
    if (this.#leader !== this.memberId || this.#doubt.holds(this.#clock.now())) return false;
    return this.#applier.appliedIndex >= this.#booted.node.basicStatus().commit;
  }

  async #confirmLeadership(): Promise<void> {
    await this.linearizableRead();
    if (this.#leader !== this.memberId) throw new RequestError("SERVER_NOT_PRIMARY", "this member does not lead");
    this.#doubt.onConfirmed();
  }

  // ---- watch ------------------------------------------------------------------------------------------------------

  watch(receiver: WatchStreamReceiver, options: WatchStreamOptions, context: CallContext = {}): WatchStream {
    return this.#watches.open(receiver, options, context);
  }

  /** Ends the streams that would never end by themselves, so that those who serve them need not wait for it. For one who is about to stop. */
  endStreams(): void {
    this.#endStreams(new RequestError("SERVER_STOPPED", "the member is stopping"));
  }

  #endStreams(error: RequestError): void {
    this.#watches.close(error);
    this.#streamsEnded ??= error;
    const open = [...this.#openStreams];
    this.#openStreams.clear();
    this.#leaderLoss.close();
    for (const end of open) end(this.#streamsEnded);
  }

  // ---- maintenance ------------------------------------------------------------------------------------------------

  async alarm(request: AlarmRequest): Promise<AlarmResponse> {
    const { response } = await this.#request({ alarm: request });
    return this.#withHeader(response as AlarmResponse);
  }

  status(): StatusResponse {
    const errors = this.#tables.alarms.list().map((alarm) => describeAlarm(alarm));
    if (this.#leader === 0n) errors.unshift("etcdserver: no leader");
    return {
      header: this.header(),
      version: SERVED_VERSION,
      dbSize: this.#tables.backend.sizeBytes,
      leader: this.#leader,
      raftIndex: this.#commitIndex,
      raftTerm: this.#applier.appliedTerm,
      raftAppliedIndex: this.#applier.appliedIndex,
      errors,
      dbSizeInUse: this.#tables.backend.sizeInUseBytes,
      isLearner: this.isLearner(),
      // As 3.6 tells it of a directory in 3.5's form.
      storageVersion: CLUSTER_VERSION,
      dbSizeQuota: this.#quotaBytes ?? this.#options.quotaBytes,
      downgradeInfo: { ...this.#membership.downgrade },
    };
  }

  async downgrade(request: DowngradeRequest): Promise<DowngradeResponse> {
    if (request.action === DowngradeAction.CANCEL) {
      await this.linearizableRead();
      if (!this.#membership.downgrade.enabled) throw new RequestError("SERVER_NO_DOWNGRADE", "none is under way");
      await this.#request({ downgradeInfoSet: { enabled: false, ver: "" } });
    } else {
      const targetVersion = await this.#downgradeTarget(request.version);
      if (request.action === DowngradeAction.ENABLE) {
        await this.#request({ downgradeInfoSet: { enabled: true, ver: targetVersion } });
      }
    }
    return { header: this.header(), version: this.#membership.clusterVersion ?? "" };
  }

  /** The version that the cluster may be downgraded to, once it was found that it may. */
  async #downgradeTarget(asked: string): Promise<string> {
    const targetVersion = clusterVersionOf(asked);
    if (targetVersion === undefined) {
      throw new RequestError("SERVER_DOWNGRADE_FORMAT", `"${asked}" is no version, as 3.4 or 3.4.0`);
    }
    await this.linearizableRead();
    const { clusterVersion, downgrade } = this.#membership;
    if (clusterVersion === undefined) throw new RequestError("SERVER_NO_CLUSTER_VERSION", "the cluster has none yet");
    const allowed = downgradeTargetOf(clusterVersion);
    if (targetVersion !== allowed) {
      throw new RequestError("SERVER_DOWNGRADE_TARGET", `${targetVersion} was asked for, only ${allowed} is possible`);
    }
    if (downgrade.enabled) {
      throw new RequestError("SERVER_DOWNGRADE_RUNNING", `one to ${downgrade.targetVersion} is under way`);
    }
    return targetVersion;
  }

  async hash(): Promise<HashResponse> {
    const began = this.#clock.now();
    const { hash, revision } = await this.#read(({ store }) => store.hash());
    this.#metrics.observe("etcd_mvcc_hash_duration_seconds", (this.#clock.now() - began) / 1000);
    return { header: { ...this.header(), revision }, hash };
  }

  async hashKv(request: HashKVRequest): Promise<HashKVResponse> {
    const began = this.#clock.now();
    const { hash, compactRevision, currentRevision } = await this.#read(({ store }) => store.hashKv(request.revision));
    this.#metrics.observe("etcd_mvcc_hash_rev_duration_seconds", (this.#clock.now() - began) / 1000);
    return {
      header: { ...this.header(), revision: currentRevision },
      hash,
      compactRevision,
      hashRevision: request.revision === 0 ? currentRevision : request.revision,
    };
  }

  async defragment(): Promise<void> {
    const began = this.#clock.now();
    this.#metrics.set("etcd_disk_defrag_inflight", 1);
    try {
      await this.#tables.backend.defragment();
    } finally {
      this.#metrics.set("etcd_disk_defrag_inflight", 0);
    }
    this.#metrics.observe("etcd_disk_backend_defrag_duration_seconds", (this.#clock.now() - began) / 1000);
  }

  async snapshot(): Promise<DatabaseStream> {
    this.#assertRunning();
    const snapshot = await this.#read(({ backend }) => backend.snapshot());
    const began = this.#clock.now();
    const onEnd = (): void => {
      this.#metrics.observe("etcd_disk_backend_snapshot_duration_seconds", (this.#clock.now() - began) / 1000);
    };
    return { totalBytes: snapshot.sizeBytes, chunks: untilEnd(snapshot, onEnd) };
  }

  // ---- cluster ----------------------------------------------------------------------------------------------------

  async memberList(linearizable: boolean): Promise<MembersAnswer> {
    if (linearizable) await this.linearizableRead();
    return { header: { ...this.header(), revision: 0 }, members: this.#membership.members() };
  }

  async memberAdd({
    peerUrls,
    isLearner,
  }: {
    readonly peerUrls: readonly string[];
    readonly isLearner: boolean;
  }): Promise<MembersAnswer & { member: ClusterMember }> {
    const id = computeMemberId(peerUrls, this.#options.initialClusterToken, this.#clock.wallNow() / 1000);
    const member: ClusterMember = { id, peerUrls: [...peerUrls], isLearner, name: "", clientUrls: [] };
    this.#refuseIf("add", member, (view) => refusalToAdd(view, member));
    const type = isLearner ? ConfChangeType.addLearnerNode : ConfChangeType.addNode;
    const answer = await this.#changeMembers(type, id, encodeChangeContext({ member, isPromote: false }));
    return { ...answer, member };
  }

  async memberRemove(id: bigint): Promise<MembersAnswer> {
    this.#refuseIf("remove", { id }, (view) => refusalToRemove(view, id));
    return this.#changeMembers(ConfChangeType.removeNode, id, EMPTY_BYTES);
  }

  memberUpdate(id: bigint, peerUrls: readonly string[]): Promise<MembersAnswer> {
    const member: ClusterMember = { id, peerUrls: [...peerUrls], isLearner: false, name: "", clientUrls: [] };
    return this.#changeMembers(ConfChangeType.updateNode, id, encodeMember(member));
  }

  /** Only the leader knows how far the learner is: another member asks it. */
  async memberPromote(id: bigint, context?: CallContext): Promise<MembersAnswer> {
    this.#assertRunning();
    if (this.#leader === this.memberId || this.#door === undefined) return this.#promoteAsLeader(id);
    const leader = this.#membership.member(this.#leader);
    if (leader === undefined) throw new RequestError("SERVER_NO_LEADER", "nobody leads who could promote the learner");
    const members = await this.#door.promote(leader.peerUrls, id, this.#local, context?.token);
    if (members === undefined) {
      throw new RequestError("SERVER_TIMEOUT", `the leader ${memberIdText(leader.id)} does not answer`);
    }
    return { header: { ...this.header(), revision: 0 }, members: [...members] };
  }

  async #promoteAsLeader(id: bigint): Promise<MembersAnswer> {
    try {
      const answer = await this.#promote(id);
      this.#metrics.count("etcd_server_learner_promote_successes");
      return answer;
    } catch (error) {
      const reason = error instanceof CodedError ? String(error.code) : "unknown";
      this.#metrics.count("etcd_server_learner_promote_failures", 1, { Reason: reason });
      throw error;
    }
  }

  #promote(id: bigint): Promise<MembersAnswer> {
    this.#assertRunning();
    const { progress } = this.#booted.node.status();
    const own = progress.get(this.memberId);
    if (own === undefined) throw new RequestError("SERVER_NOT_LEADER", "this member does not lead");
    const learner = progress.get(id);
    if (learner === undefined) {
      throw new MembershipError("MEMBER_NOT_FOUND", `member ${memberIdText(id)} is not in the cluster`);
    }
    if (!isLearnerReady(learner.match, own.match)) {
      throw new RequestError(
        "SERVER_LEARNER_NOT_READY",
        `member ${memberIdText(id)} has entries up to ${learner.match}, the leader up to ${own.match}`,
      );
    }
    // It would be counted on at once, and what is held back for it would have to leave in one go.
    if (this.#catchUp.isHolding(id)) {
      const detail = `member ${memberIdText(id)} is still being sent what it lacks, which takes up to ${CATCH_UP_HELD_MS_MAX / 1000} seconds`;
      throw new RequestError("SERVER_LEARNER_NOT_READY", detail);
    }
    this.#refuseIf("promote", { id }, refusalToPromote);
    const member: ClusterMember = { id, peerUrls: [], isLearner: false, name: "", clientUrls: [] };
    const context = encodeChangeContext({ member, isPromote: true });
    return this.#changeMembers(ConfChangeType.addNode, id, context);
  }

  /** etcd's strict checks, unless they are switched off. */
  #refuseIf(
    what: string,
    { id }: Pick<ClusterMember, "id">,
    refusalOf: (view: ClusterView) => RequestError | undefined,
  ): void {
    this.#assertRunning();
    if (!this.#options.strictReconfigCheck) return;
    const refusal = refusalOf(this.#view());
    if (refusal === undefined) return;
    this.#log.warn(`rejecting member ${what} request`, {
      "local-member-id": memberIdText(this.memberId),
      "requested-member-id": memberIdText(id),
      error: refusal.message,
    });
    throw refusal;
  }

  async #changeMembers(type: ConfChangeType, nodeId: bigint, context: Uint8Array): Promise<MembersAnswer> {
    this.#assertRunning();
    const { response } = await this.#proposals.changeConfiguration({
      id: bigintOf(this.#ids.next()),
      type,
      nodeId,
      context,
    });
    return { header: { ...this.header(), revision: 0 }, members: response as ClusterMember[] };
  }

  async moveLeader(target: bigint): Promise<void> {
    this.#assertRunning();
    if (this.#leader !== this.memberId) throw new RequestError("SERVER_NOT_LEADER", "this member does not lead");
    const transferee = this.#membership.member(target);
    if (transferee === undefined || transferee.isLearner) {
      throw new RequestError("SERVER_BAD_TRANSFEREE", `${memberIdText(target)} is no voting member`);
    }
    await this.#transferLeader(target);
  }

  async #transferLeader(target: bigint): Promise<void> {
    const fields = {
      "current-leader-member-id": memberIdText(this.#leader),
      "transferee-member-id": memberIdText(target),
    };
    this.#log.info("leadership transfer starting", fields);
    const began = this.#clock.now();
    this.#booted.node.transferLeader(target);
    this.#loop.schedule();
    while (this.#leader !== target) {
      if (this.#state === "failed") throw new RequestError("SERVER_STOPPED", "the member has failed");
      if (this.#clock.now() - began > requestTimeoutMs(this.#options)) {
        throw new RequestError("SERVER_TIMEOUT_LEADER_TRANSFER", `${memberIdText(target)} does not lead yet`);
      }
      await new Promise<void>((resolve) => void this.#clock.after(this.#options.heartbeatMs, resolve, "process"));
    }
    this.#log.info("leadership transfer finished", fields);
  }

  /** Hands leadership to another voter, if this member has it and is about to go: nobody then has to wait for an election. */
  async resign(): Promise<void> {
    if (this.#state !== "running" || this.#leader !== this.memberId || this.#isOnlyVoter()) return;
    const target = longestConnected(this.#view());
    if (target === undefined) return;
    try {
      await this.#transferLeader(target);
    } catch (error) {
      this.#log.warn("leadership transfer failed", { error: describeError(error) });
    }
  }

  observe(): MemberObservation {
    const { role, leader, term, vote, commit } = this.#booted.node.basicStatus();
    const { storage } = this.#booted;
    return {
      role,
      leader,
      term,
      vote,
      commitIndex: commit,
      appliedIndex: this.#applier.appliedIndex,
      appliedTerm: this.#applier.appliedTerm,
      durableIndex: storage.lastIndex(),
      firstIndex: storage.firstIndex(),
      revision: this.#tables.store.revision,
      compactRevision: this.#tables.store.compactRevision,
      confState: this.#applier.confState,
      abstains: this.#abstention.holds,
    };
  }

  /** Compares the keys with the other members', while this one leads. */
  #checkCorruption(): void {
    if (this.#state !== "running" || this.#leader !== this.memberId) return;
    this.#corruption.check().catch((error: unknown) => {
      this.#log.warn("failed to check hash KV", { error: describeError(error) });
    });
  }

  #checkCompactions(): void {
    if (this.#state !== "running" || this.#leader !== this.memberId) return;
    this.#corruption.checkCompactions().catch((error: unknown) => {
      this.#log.warn("failed to check the hashes of compactions", { error: describeError(error) });
    });
  }

  header(): ResponseHeader {
    return {
      clusterId: this.clusterId,
      memberId: this.memberId,
      revision: this.#tables.store.revision,
      raftTerm: this.#applier.appliedTerm,
    };
  }

  clusterVersion(): string | undefined {
    return this.#membership.clusterVersion;
  }

  leader(): bigint {
    return this.#leader;
  }

  isLearner(): boolean {
    return this.#membership.member(this.memberId)?.isLearner ?? false;
  }

  alarms(): readonly AlarmMember[] {
    return this.#tables.alarms.list();
  }

  async linearizableRead(): Promise<void> {
    this.#assertRunning();
    await this.#reads.wait();
  }

  /** Completes the header that the store began: the revision is the request's own, where it has one. */
  #withHeader<Response extends { header: ResponseHeader | undefined }>(response: Response): Response {
    const header = this.header();
    const revision = response.header?.revision ?? 0;
    if (revision !== 0) header.revision = revision;
    response.header = header;
    return response;
  }

  // ---- the end ----------------------------------------------------------------------------------------------------

  #failure: unknown;

  #assertRunning(): void {
    if (this.#state !== "running") throw new RequestError("SERVER_STOPPED", "the member has stopped");
  }

  #refuseAll(detail: string): void {
    for (const timer of this.#timers) timer.cancel();
    this.#versions.stop();
    this.#autoCompactor?.stop();
    this.#catchUp.dropAll();
    this.#restingClock?.endRests(); // whoever stops waits for what is being installed
    this.#leaseKeeper.stop();
    const error = new RequestError("SERVER_STOPPED", detail);
    this.#endStreams(error);
    this.#proposals.close(error);
    this.#reads.close(error);
    this.access.close();
  }

  #fail(error: unknown): void {
    if (this.#state === "failed") return;
    this.#state = "failed";
    this.#failure = error;
    this.#log.error("the member has failed and stops: nothing more is acknowledged", {
      error: describeError(error),
      ...(error instanceof CodedError ? { code: error.code } : {}),
    });
    this.#refuseAll("the member has failed");
    void this.#loop.stop();
    this.#published?.();
    this.#hooks.onFailure(error);
  }

  /** Purges old files. One that cannot be removed is tried again later. */
  #purge(): void {
    this.#snapshotter.purge().catch((error: unknown) => {
      this.#log.warn("failed to purge old files", { error: describeError(error) });
    });
  }

  /** Stops gracefully; a second call waits for the first. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    await this.resign();
    const failed = this.#state === "failed";
    if (!failed) this.#state = "stopping";
    this.#refuseAll("the member is stopping");
    await this.#peers.stop();
    if (this.#peers === NO_PEERS) await this.#door?.close();
    await this.#loop.stop();
    this.#catchUp.dropAll();
    this.#exchange.stop();
    await this.#snapshotter.stop();
    await this.#tables.store.close();
    // Both close even if the first cannot; a failed one writes nothing more.
    const results = await Promise.allSettled([this.#booted.wal.close(), this.#tables.backend.close()]);
    for (const result of results) {
      if (result.status === "rejected" && !failed) throw result.reason;
    }
  }
}

/** Whether the fast codecs can write the entry of who calls: nobody, or a user with a plain name who is known at once. */
function isPlain(caller: Caller | Promise<Caller>): caller is Caller {
  return caller === NOBODY || (!(caller instanceof Promise) && isPlainName(caller.username));
}

function signatureOf(caller: Caller): Caller | undefined {
  return caller === NOBODY ? undefined : caller;
}

/** Tells a receiver what a promise comes to. */
function answer<Value>(receiver: Receiver<Value>, coming: Promise<Value>): void {
  coming.then(
    (value) => receiver.resolve(value),
    (error: unknown) => receiver.reject(error),
  );
}

/** etcd's simple tokens, for a member that was given no way to hash passwords: users without a password can be served. */
function withoutPasswords({ clock, random }: Platform): Credentials {
  const refuse = (): Promise<never> =>
    Promise.reject(new RequestError("SERVER_NOT_SUPPORTED", "this member was started without a hasher of passwords"));
  return { hasher: { hash: refuse, matches: refuse }, tokens: new SimpleTokens(clock, random) };
}

/** A write on its way: one object, where a pair of closures would be four, all of which live until the log is durable. */
class Write<Response> implements Receiver<Answer> {
  readonly #complete: (response: Response) => Response;
  readonly #receiver: Receiver<Response>;

  /** @param complete fills the answer's header in, and counts it */
  constructor(complete: (response: Response) => Response, receiver: Receiver<Response>) {
    this.#complete = complete;
    this.#receiver = receiver;
  }

  resolve({ response }: Answer): void {
    this.#receiver.resolve(this.#complete(response as Response));
  }

  reject(error: unknown): void {
    this.#receiver.reject(error);
  }
}

function isSerializableTxn(request: TxnRequest): boolean {
  return [...request.success, ...request.failure].every(
    ({ request: operation }) => operation?.$case === "requestRange" && operation.value.serializable,
  );
}

/** Before anybody is served: while a member serves a defragmentation takes only what calls leave over. */
async function defragmentAtBoot(backend: Backend, options: MemberOptions, { log }: Platform): Promise<void> {
  const { bootDefragmentBytes: threshold } = options;
  if (threshold === 0) return;
  const { sizeBytes, sizeInUseBytes } = backend;
  if (sizeBytes - sizeInUseBytes >= threshold) return backend.defragment();
  log.info("Skipping defragmentation", {
    "current-db-size-bytes": sizeBytes,
    "current-db-size-in-use-bytes": sizeInUseBytes,
    "experimental-bootstrap-defrag-threshold-bytes": threshold,
  });
}

function showCompaction({ clock }: Platform, metrics: Metrics, { tookMs, deleted }: FinishedCompaction): void {
  metrics.observe("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds", tookMs);
  metrics.count("etcd_debugging_mvcc_db_compaction_keys_total", deleted);
  metrics.set("etcd_debugging_mvcc_db_compaction_last", Math.floor(clock.wallNow() / 1000));
}

function noLease(ID: bigint): LeaseTimeToLiveResponse {
  return { header: undefined, ID, TTL: -1, grantedTTL: 0, keys: [] };
}

/** Whether another try may have a better answer: somebody else leads by now. */
function isWorthAsking(error: unknown): boolean {
  if (!(error instanceof CodedError)) return false;
  const { code } = error as CodedError<string>;
  return code === "SERVER_NOT_PRIMARY" || code === "PEER_REFUSED";
}

/** An alarm as etcd's status shows it: the text form of its message. */
function describeAlarm(alarm: AlarmMember): string {
  return `memberID:${alarm.memberID} alarm:${alarmTypeToJSON(alarm.alarm)} `;
}
