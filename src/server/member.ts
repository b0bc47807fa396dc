/**
 * One member: what boot opened, put to work. Proposals go in, the ready loop carries out what raft decides, the applier
 * changes the tables, and the answers find their way back.
 *
 * A member ends in one of two ways. `stop()` is the graceful one: nothing new is let in, what is in flight lands, `db` is
 * committed. After a failure (a disk that did not sync, a law that did not hold) nothing more is acknowledged, written or
 * synced: waiting requests are refused, and `onFailure` is told once. Then the process should end; the next start
 * recovers from what is on the disk.
 */
import { EMPTY_BYTES } from "../base/bytes.js";
import { CodedError, describeError } from "../base/errors.js";
import { LOOP_WRITE_ENTRIES_MAX, PURGE_INTERVAL_MS } from "../base/limits.js";
import { utf8FromText } from "../base/text.js";
import { ALARM_BUCKET, Alarms } from "../alarm/alarms.js";
import { LEASE_BUCKET, Leases } from "../lease/leases.js";
import {
  attributesJson,
  computeMemberId,
  encodeChangeContext,
  encodeMember,
  memberIdText,
  type Member as ClusterMember,
} from "../membership/member.js";
import type { Membership } from "../membership/membership.js";
import { minorVersion, CLUSTER_BUCKET, MEMBERS_BUCKET, MEMBERS_REMOVED_BUCKET } from "../membership/membership.js";
import { applyRange, applyRangeInSlices, applyTxn, isReadOnlyTxn, Store, type Backend } from "../mvcc/index.js";
import type { Clock, Log, Platform, Timer } from "../platform/index.js";
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
  type HashKVRequest,
  type HashKVResponse,
  type HashResponse,
  type StatusResponse,
} from "../proto/generated/etcdserverpb/maintenance.js";
import { InternalRaftRequest } from "../proto/generated/etcdserverpb/raft_internal.js";
import { ConfChangeType, EMPTY_CONF_STATE, type ConfChange } from "../proto/raft.js";
import { encodeV2Request, makeV2Request } from "../proto/v2-request.js";
import { NONE, RaftError } from "../raft/index.js";
import { Applier, type Outcome } from "./applier.js";
import { boot, type Booted, type BootProgress } from "./boot.js";
import {
  CLUSTER_VERSION,
  SERVED_VERSION,
  type DatabaseStream,
  type MembersAnswer,
  type MemberService,
} from "./contract.js";
import { MemberError, RequestError } from "./errors.js";
import { noMetrics, type Metrics } from "./metrics.js";
import { effectiveQuota, requestTimeoutMs, type MemberOptions } from "./options.js";
import type { PeerDoor } from "./peers.js";
import { costOfPut, costOfTxn, fitsQuota } from "./quota.js";
import { LinearizableReads } from "./reads.js";
import { ReadyLoop } from "./ready-loop.js";
import { RequestIds } from "./request-ids.js";
import { Snapshotter } from "./snapshotter.js";
import { Waiters } from "./waiters.js";

const NO_REQUEST = InternalRaftRequest.decode(EMPTY_BYTES);
const AUTH_BUCKET = "auth";
const AUTH_REVISION_KEY = utf8FromText("authRevision");
/** Buckets that etcd makes when it opens `db`, whether it needs them or not. */
const BUCKETS_OF_ETCD = [
  ALARM_BUCKET,
  LEASE_BUCKET,
  MEMBERS_BUCKET,
  MEMBERS_REMOVED_BUCKET,
  CLUSTER_BUCKET,
  AUTH_BUCKET,
  "authUsers",
  "authRoles",
];
/** What raft is told of a refused change: nobody is added or removed. */
const NO_CHANGE: ConfChange = { id: 0n, type: ConfChangeType.addNode, nodeId: NONE, context: EMPTY_BYTES };

export interface MemberDependencies {
  readonly platform: Platform;
  readonly metrics?: Metrics;
  /** How the other members are reached; left out for a cluster of this one member that nobody joins. */
  readonly peers?: PeerDoor;
}

export interface MemberHooks {
  readonly onBootProgress?: (progress: BootProgress) => void;
  /** The member has failed and must be given up. Called once. */
  readonly onFailure: (error: unknown) => void;
}

export class Member implements MemberService {
  readonly memberId: bigint;
  readonly clusterId: bigint;
  readonly name: string;
  readonly limits: { readonly requestBytesMax: number; readonly txnOperationsMax: number };

  readonly #options: MemberOptions;
  readonly #booted: Booted;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #metrics: Metrics;
  readonly #hooks: MemberHooks;
  readonly #membership: Membership;
  readonly #backend: Backend;
  readonly #store: Store;
  readonly #alarms: Alarms;
  readonly #applier: Applier;
  readonly #loop: ReadyLoop;
  readonly #reads: LinearizableReads;
  readonly #waiters: Waiters;
  readonly #ids: RequestIds;
  readonly #snapshotter: Snapshotter;
  readonly #timers: Timer[] = [];
  readonly #quotaBytes: number | undefined;
  readonly #clientUrls: readonly string[];
  #leader = 0n;
  #commitIndex = 0;
  #state: "running" | "stopping" | "failed" = "running";
  #stopped: Promise<void> | undefined;
  #published: (() => void) | undefined;

  /** Boots and waits until the member has published itself: from then on it serves. */
  static async start(dependencies: MemberDependencies, options: MemberOptions, hooks: MemberHooks): Promise<Member> {
    const { metrics = noMetrics } = dependencies;
    let fail: (error: unknown) => void = hooks.onFailure;
    const booted = await boot(dependencies.platform, options, {
      onBackendFailure: (error) => fail(error),
      onSync: (tookMs) => metrics.observe("etcd_disk_wal_fsync_duration_seconds", tookMs / 1000),
      onCommit: (tookMs) => metrics.observe("etcd_disk_backend_commit_duration_seconds", tookMs / 1000),
      ...(hooks.onBootProgress === undefined ? {} : { onProgress: hooks.onBootProgress }),
    });
    let leases: Leases;
    let store: Store;
    try {
      prepareDb(booted.backend);
      // Leases before keys: the store hangs each key on its lease as it is restored.
      leases = new Leases(booted.backend, minimumLeaseSeconds(options));
      store = await Store.open(dependencies.platform, booted.backend, {
        leases,
        onProgress: ({ revisions }) => hooks.onBootProgress?.({ phase: "keys", done: revisions, total: undefined }),
      });
    } catch (error) {
      await booted.wal.close().catch(() => undefined);
      await booted.backend.close().catch(() => undefined);
      throw error;
    }
    const member = new Member(dependencies, options, hooks, booted, store, leases);
    fail = (error) => member.#fail(error);
    await member.#begin();
    return member;
  }

  private constructor(
    { platform, metrics = noMetrics }: MemberDependencies,
    options: MemberOptions,
    hooks: MemberHooks,
    booted: Booted,
    store: Store,
    leases: Leases,
  ) {
    this.#options = options;
    this.#booted = booted;
    this.#clock = platform.clock;
    this.#log = platform.log;
    this.#metrics = metrics;
    this.#hooks = hooks;
    this.#membership = booted.membership;
    this.#backend = booted.backend;
    this.#store = store;
    this.memberId = booted.memberId;
    this.clusterId = booted.clusterId;
    this.name = options.name;
    this.#clientUrls = options.advertiseClientUrls;
    this.limits = { requestBytesMax: options.requestBytesMax, txnOperationsMax: options.txnOperationsMax };
    this.#quotaBytes = effectiveQuota(options);
    this.#ids = new RequestIds(booted.memberId, platform.clock.wallNow());
    this.#waiters = new Waiters(requestTimeoutMs(options));
    this.#alarms = new Alarms(this.#backend);
    const { index, term, confState } = booted.snapshot?.metadata ?? { index: 0, term: 0, confState: EMPTY_CONF_STATE };
    this.#commitIndex = index;
    this.#applier = new Applier(
      {
        store,
        leases,
        alarms: this.#alarms,
        membership: this.#membership,
        table: this.#backend,
        dbBytes: () => this.#backend.sizeBytes,
        log: this.#log,
      },
      {
        onOutcome: (id, outcome) => this.#onOutcome(id, outcome),
        changeConfiguration: (change) => booted.node.applyConfChange(change),
        dropConfiguration: () => booted.node.applyConfChange(NO_CHANGE),
        onMembershipChanged: () => undefined,
        onTermBegun: () => this.#onTermBegun(),
        onQuotaExceeded: () => this.#raiseNoSpace(),
        onRemoved: () =>
          this.#fail(new MemberError("MEMBER_REMOVED", "the member has been permanently removed from the cluster")),
      },
      { index, term, confState, progress: booted.progress },
      this.#quotaBytes,
    );
    this.#backend.setBeforeCommit((table) => this.#applier.saveProgress(table));
    this.#snapshotter = new Snapshotter(
      {
        backend: this.#backend,
        snapshots: booted.snapshots,
        wal: booted.wal,
        storage: booted.storage,
        data: booted.snapshotData,
        log: this.#log,
      },
      options,
      index,
    );
    this.#loop = new ReadyLoop(
      {
        memberId: this.memberId,
        node: booted.node,
        storage: booted.storage,
        wal: booted.wal,
        peers: { send: () => undefined }, // a cluster of one member has nobody to send to
        clock: this.#clock,
        isAlone: (count) => options.syncOnLoop && this.#nobodyElseWaits(count),
      },
      {
        onSoftState: (state) => this.#onLeader(state.leader),
        onReadStates: (states) => this.#reads.onReadStates(states),
        onHardState: (state) => this.#onCommitted(state.commit),
        apply: (entry) => this.#applier.apply(entry),
        onApplied: () => this.#onApplied(),
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
        appliedIndex: () => this.#applier.appliedIndex,
        hasLeader: () => this.#leader !== 0n,
        onLateAnswer: () => this.#metrics.count("etcd_server_slow_read_indexes_total"),
        onFailed: () => this.#metrics.count("etcd_server_read_indexes_failed_total"),
      },
      requestTimeoutMs(options),
    );
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
    this.#timers.push(
      this.#clock.every(this.#options.heartbeatMs, () => this.#tick()),
      this.#clock.every(PURGE_INTERVAL_MS, () => this.#purge()),
    );
    const published = new Promise<void>((resolve) => (this.#published = resolve));
    this.#maybeCampaignAlone();
    this.#loop.schedule();
    await published;
    if (this.#state === "failed") throw this.#failure;
  }

  /**
   * The only voter need not wait for an election timeout: nobody else could lead. Called after entries were applied, for those
   * that make it a voter may be among them.
   */
  #maybeCampaignAlone(): void {
    const { voters, votersOutgoing } = this.#applier.confState;
    if (this.#leader !== 0n || voters.length !== 1 || voters[0] !== this.memberId || votersOutgoing.length > 0) return;
    this.#booted.node.campaign();
    this.#loop.schedule();
  }

  /** Whether nobody waits, or is likely to come soon, for anything but a save of so many entries. */
  #nobodyElseWaits(entryCount: number): boolean {
    return entryCount <= LOOP_WRITE_ENTRIES_MAX && this.#waiters.size <= entryCount && !this.#reads.isWaitedFor;
  }

  // ---- what raft and the applier report ---------------------------------------------------------------------------

  #tick(): void {
    if (this.#state !== "running") return;
    this.#booted.node.tick();
    const expired = this.#waiters.expire(this.#clock.now());
    if (expired > 0) this.#metrics.count("etcd_server_proposals_failed_total", expired);
    this.#reads.onTick();
    this.#showFigures();
    this.#loop.schedule();
  }

  /** The gauges that follow the state; set now and then, not at each change. */
  #showFigures(): void {
    const metrics = this.#metrics;
    metrics.set("etcd_server_proposals_committed_total", this.#commitIndex);
    metrics.set("etcd_server_proposals_applied_total", this.#applier.appliedIndex);
    metrics.set("etcd_server_proposals_pending", this.#waiters.size);
    metrics.set("etcd_mvcc_db_total_size_in_bytes", this.#backend.sizeBytes);
    metrics.set("etcd_mvcc_db_total_size_in_use_in_bytes", this.#backend.sizeInUseBytes);
    metrics.set("etcd_debugging_mvcc_keys_total", this.#store.keyCount);
    metrics.set("etcd_debugging_mvcc_current_revision", this.#store.revision);
    metrics.set("etcd_debugging_mvcc_compact_revision", this.#store.compactRevision);
  }

  #onLeader(leader: bigint): void {
    if (leader !== this.#leader && leader !== 0n) this.#metrics.count("etcd_server_leader_changes_seen_total");
    const changed = leader !== this.#leader;
    this.#leader = leader;
    this.#metrics.set("etcd_server_has_leader", leader === 0n ? 0 : 1);
    this.#metrics.set("etcd_server_is_leader", leader === this.memberId ? 1 : 0);
    if (changed) this.#reads.onLeaderChanged();
  }

  #onCommitted(index: number): void {
    this.#commitIndex = Math.max(this.#commitIndex, index);
  }

  #onApplied(): void {
    const index = this.#applier.appliedIndex;
    this.#onCommitted(index);
    this.#maybeCampaignAlone();
    this.#reads.onApplied();
    this.#snapshotter.maybeSnapshot(
      {
        index,
        confState: this.#applier.confState,
        state: () => this.#membership.state(),
        saveProgress: () => this.#applier.saveProgress(this.#backend),
      },
      (error) => this.#fail(error),
    );
  }

  #onTermBegun(): void {
    if (this.#leader !== this.memberId) return;
    void this.#publish();
  }

  #onOutcome(id: bigint, outcome: Outcome): void {
    if (outcome.kind === "refused") this.#waiters.refuse(id, outcome.error);
    else this.#waiters.answer(id, outcome);
  }

  // ---- what the member says of itself -----------------------------------------------------------------------------

  async #proposeAttributes(): Promise<string> {
    const path = `/0/members/${memberIdText(this.memberId)}/attributes`;
    await this.#proposeV2(path, attributesJson({ name: this.name, clientUrls: this.#clientUrls }));
    return path;
  }

  /** Name, client URLs and cluster version go into the log as 3.5 writes them: as requests of the v2 store. */
  async #publish(): Promise<void> {
    try {
      const path = await this.#proposeAttributes();
      this.#log.info("published local member to cluster through raft", {
        "local-member-id": memberIdText(this.memberId),
        "local-member-attributes": { name: this.name, clientUrls: this.#clientUrls },
        "request-path": path,
        "cluster-id": memberIdText(this.clusterId),
      });
      if (this.#membership.clusterVersion === undefined || olderVersion(this.#membership.clusterVersion)) {
        await this.#proposeV2("/0/version", CLUSTER_VERSION);
        this.#log.info("cluster version is updated", { "cluster-version": minorVersion(CLUSTER_VERSION) });
      }
      this.#metrics.set("etcd_cluster_version", 1, { cluster_version: minorVersion(CLUSTER_VERSION) });
      this.#published?.();
    } catch (error) {
      if (this.#state !== "running") return;
      this.#log.warn("failed to publish local member to cluster through raft", { error: describeError(error) });
      this.#timers.push(this.#clock.after(this.#options.electionMs, () => void this.#publish()));
    }
  }

  #proposeV2(path: string, val: string): Promise<unknown> {
    const id = this.#ids.next();
    return this.#propose(id, encodeV2Request(makeV2Request({ id, method: "PUT", path, val })));
  }

  // ---- proposals --------------------------------------------------------------------------------------------------

  #propose(id: bigint, data: Uint8Array): Promise<Outcome & { kind: "answer" }> {
    if (data.length > this.#options.requestBytesMax) {
      return Promise.reject(
        new RequestError("SERVER_REQUEST_TOO_LARGE", `${data.length} bytes, at most ${this.#options.requestBytesMax}`),
      );
    }
    try {
      this.#booted.node.propose(data);
    } catch (error) {
      this.#metrics.count("etcd_server_proposals_failed_total");
      if (!(error instanceof RaftError)) throw error;
      return Promise.reject(
        new RequestError("SERVER_NO_LEADER", "the proposal was dropped: no leader", { cause: error }),
      );
    }
    const answer = this.#waiters.wait<Outcome & { kind: "answer" }>(id, this.#clock.now());
    this.#loop.schedule();
    return answer;
  }

  async #request(fields: Partial<InternalRaftRequest>): Promise<Outcome & { kind: "answer" }> {
    this.#assertRunning();
    if (this.#commitIndex > this.#applier.appliedIndex + this.#options.applyBacklogMax) {
      throw new RequestError(
        "SERVER_TOO_MANY_REQUESTS",
        `${this.#commitIndex - this.#applier.appliedIndex} entries wait to be applied, at most ${this.#options.applyBacklogMax} may`,
      );
    }
    const id = this.#ids.next();
    const request = { ...NO_REQUEST, ...fields, header: { ID: id, username: "", authRevision: 0 } };
    return this.#propose(id, InternalRaftRequest.encode(request).finish());
  }

  // ---- KV ---------------------------------------------------------------------------------------------------------

  async range(request: RangeRequest): Promise<RangeResponse> {
    this.#assertRunning();
    if (!request.serializable) await this.#reads.wait();
    this.#metrics.count("etcd_mvcc_range_total");
    // One key is answered at once; a range may be long, and is read in slices.
    const isOneKey = request.rangeEnd.length === 0;
    const response = isOneKey ? applyRange(this.#store, request) : await applyRangeInSlices(this.#store, request);
    return this.#withHeader(response);
  }

  async put(request: PutRequest): Promise<PutResponse> {
    if (!this.#fits(costOfPut(request))) await this.#refuseForQuota();
    const { response } = await this.#request({ put: request });
    this.#metrics.count("etcd_mvcc_put_total");
    return this.#withHeader(response as PutResponse);
  }

  async deleteRange(request: DeleteRangeRequest): Promise<DeleteRangeResponse> {
    const { response } = await this.#request({ deleteRange: request });
    this.#metrics.count("etcd_mvcc_delete_total");
    return this.#withHeader(response as DeleteRangeResponse);
  }

  async txn(request: TxnRequest): Promise<TxnResponse> {
    if (isReadOnlyTxn(request)) {
      this.#assertRunning();
      if (!isSerializableTxn(request)) await this.#reads.wait();
      return this.#withHeader(applyTxn(this.#store, request));
    }
    if (!this.#fits(costOfTxn(request))) await this.#refuseForQuota();
    const { response } = await this.#request({ txn: request });
    this.#metrics.count("etcd_mvcc_txn_total");
    return this.#withHeader(response as TxnResponse);
  }

  async compact(request: CompactionRequest): Promise<CompactionResponse> {
    const { finished } = await this.#request({ compaction: request });
    if (request.physical) {
      await finished;
      await this.#backend.commitNow(); // else a crash could bring the old revisions' hash back
    }
    return { header: this.header() };
  }

  #fits(cost: number): boolean {
    return fitsQuota(cost, this.#backend.sizeBytes, this.#quotaBytes);
  }

  /** The door check: a request that cannot fit raises the alarm without going through the log. */
  async #refuseForQuota(): Promise<never> {
    await this.alarm({ memberID: this.memberId, action: AlarmAction.ACTIVATE, alarm: AlarmType.NOSPACE });
    throw new RequestError("SERVER_NO_SPACE", `db has reached its quota of ${this.#quotaBytes} bytes`);
  }

  #raiseNoSpace(): void {
    if (this.#alarms.has(AlarmType.NOSPACE)) return;
    this.#log.warn("message exceeded backend quota; raising alarm", { "quota-size-bytes": this.#quotaBytes });
    this.alarm({ memberID: this.memberId, action: AlarmAction.ACTIVATE, alarm: AlarmType.NOSPACE }).catch(
      (error: unknown) => {
        this.#log.warn("failed to raise the NOSPACE alarm", { error: describeError(error) });
      },
    );
  }

  // ---- maintenance ------------------------------------------------------------------------------------------------

  async alarm(request: AlarmRequest): Promise<AlarmResponse> {
    const { response } = await this.#request({ alarm: request });
    return this.#withHeader(response as AlarmResponse);
  }

  status(): StatusResponse {
    const errors = this.#alarms.list().map((alarm) => describeAlarm(alarm));
    if (this.#leader === 0n) errors.unshift("etcdserver: no leader");
    return {
      header: this.header(),
      version: SERVED_VERSION,
      dbSize: this.#backend.sizeBytes,
      leader: this.#leader,
      raftIndex: this.#commitIndex,
      raftTerm: this.#applier.appliedTerm,
      raftAppliedIndex: this.#applier.appliedIndex,
      errors,
      dbSizeInUse: this.#backend.sizeInUseBytes,
      isLearner: this.isLearner(),
      storageVersion: "",
      dbSizeQuota: this.#quotaBytes ?? 0,
      downgradeInfo: undefined,
    };
  }

  async hash(): Promise<HashResponse> {
    const { hash, revision } = await this.#store.hash();
    return { header: { ...this.header(), revision }, hash };
  }

  async hashKv(request: HashKVRequest): Promise<HashKVResponse> {
    const { hash, compactRevision, currentRevision } = await this.#store.hashKv(request.revision);
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
      await this.#backend.defragment();
    } finally {
      this.#metrics.set("etcd_disk_defrag_inflight", 0);
    }
    this.#metrics.observe("etcd_disk_backend_defrag_duration_seconds", (this.#clock.now() - began) / 1000);
  }

  async snapshot(): Promise<DatabaseStream> {
    this.#assertRunning();
    const snapshot = await this.#backend.snapshot();
    return { totalBytes: snapshot.sizeBytes, chunks: untilEnd(snapshot) };
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
    const type = isLearner ? ConfChangeType.addLearnerNode : ConfChangeType.addNode;
    const answer = await this.#changeMembers(type, id, encodeChangeContext({ member, isPromote: false }));
    return { ...answer, member };
  }

  memberRemove(id: bigint): Promise<MembersAnswer> {
    return this.#changeMembers(ConfChangeType.removeNode, id, EMPTY_BYTES);
  }

  memberUpdate(id: bigint, peerUrls: readonly string[]): Promise<MembersAnswer> {
    const member: ClusterMember = { id, peerUrls: [...peerUrls], isLearner: false, name: "", clientUrls: [] };
    return this.#changeMembers(ConfChangeType.updateNode, id, encodeMember(member));
  }

  memberPromote(id: bigint): Promise<MembersAnswer> {
    const member: ClusterMember = { id, peerUrls: [], isLearner: false, name: "", clientUrls: [] };
    const context = encodeChangeContext({ member, isPromote: true });
    return this.#changeMembers(ConfChangeType.addNode, id, context);
  }

  async #changeMembers(type: ConfChangeType, nodeId: bigint, context: Uint8Array): Promise<MembersAnswer> {
    this.#assertRunning();
    const id = this.#ids.next();
    this.#booted.node.proposeConfChange({ id, type, nodeId, context });
    const answer = this.#waiters.wait<Outcome & { kind: "answer" }>(id, this.#clock.now());
    this.#loop.schedule();
    const { response } = await answer;
    return { header: { ...this.header(), revision: 0 }, members: response as ClusterMember[] };
  }

  moveLeader(target: bigint): Promise<void> {
    this.#booted.node.transferLeader(target);
    this.#loop.schedule();
    return Promise.resolve();
  }

  header(): ResponseHeader {
    return {
      clusterId: this.clusterId,
      memberId: this.memberId,
      revision: this.#store.revision,
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
    return this.#alarms.list();
  }

  async linearizableRead(): Promise<void> {
    this.#assertRunning();
    await this.#reads.wait();
  }

  /** Completes the header that the store began: the revision is the request's own, where it has one. */
  #withHeader<Response extends { header: ResponseHeader | undefined }>(response: Response): Response {
    const revision = response.header?.revision ?? 0;
    response.header = this.header();
    if (revision !== 0) response.header.revision = revision;
    return response;
  }

  // ---- the end ----------------------------------------------------------------------------------------------------

  #failure: unknown;

  #assertRunning(): void {
    if (this.#state !== "running") throw new RequestError("SERVER_STOPPED", "the member has stopped");
  }

  #refuseAll(detail: string): void {
    for (const timer of this.#timers) timer.cancel();
    const error = new RequestError("SERVER_STOPPED", detail);
    this.#waiters.close(error);
    this.#reads.close(error);
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
    const failed = this.#state === "failed";
    if (!failed) this.#state = "stopping";
    this.#refuseAll("the member is stopping");
    await this.#loop.stop();
    await this.#snapshotter.stop();
    await this.#store.close();
    // Both close even if the first cannot; a failed one writes nothing more.
    const results = await Promise.allSettled([this.#booted.wal.close(), this.#backend.close()]);
    for (const result of results) {
      if (result.status === "rejected" && !failed) throw result.reason;
    }
  }
}

/** What etcd puts into every `db`: empty buckets, and the revision of an authentication that nobody has changed yet. */
function prepareDb(backend: Backend): void {
  for (const bucket of BUCKETS_OF_ETCD) backend.createBucket(bucket);
  if (backend.get(AUTH_BUCKET, AUTH_REVISION_KEY) === undefined) {
    backend.put(AUTH_BUCKET, AUTH_REVISION_KEY, idBytes(1n));
  }
}

/** A lease must outlive an election and a half, rounded up to a second. */
function minimumLeaseSeconds(options: MemberOptions): number {
  return Math.ceil((1.5 * options.electionMs) / 1000);
}

function isSerializableTxn(request: TxnRequest): boolean {
  return [...request.success, ...request.failure].every(
    ({ request: operation }) => operation?.$case === "requestRange" && operation.value.serializable,
  );
}

function idBytes(id: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, id);
  return bytes;
}

/** An alarm as etcd's status shows it: the text form of its message. */
function describeAlarm(alarm: AlarmMember): string {
  return `memberID:${alarm.memberID} alarm:${alarmTypeToJSON(alarm.alarm)} `;
}

function olderVersion(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [ownMajor = 0, ownMinor = 0] = CLUSTER_VERSION.split(".").map(Number);
  return major < ownMajor || (major === ownMajor && minor < ownMinor);
}

async function* untilEnd(snapshot: { pages(): AsyncIterable<Uint8Array>; end(): void }): AsyncGenerator<Uint8Array> {
  try {
    yield* snapshot.pages();
  } finally {
    snapshot.end();
  }
}
