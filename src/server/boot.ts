/**
 * From a data directory to a member that can run. One of three beginnings:
 *
 * - a new member: no log yet; folders, `db` and a log are made. In a new cluster the initial members become the log's first entries; one
 *   that joins a cluster begins with an empty log, which the leader fills;
 * - a restart: there is a log; the newest snapshot that it knows is loaded, the log is read from there on;
 * - a restart by force (`--force-new-cluster`): the same, and then all other members are taken out.
 *
 * Law: what a directory must be refused for is found before anything in it is changed. `db` comes first, for its lock also keeps
 * a second server out; then the snapshot, then the log, the only one that opening changes (a torn end is repaired).
 */
import { invariant, CodedError, describeError } from "../base/errors.js";
import { MESSAGE_ENTRY_BYTES_MAX } from "../base/limits.js";
import { latin1FromBytes, utf8FromText } from "../base/text.js";
import { boltEngine, Backend, BUCKETS } from "../mvcc/index.js";
import {
  compareIds,
  computeClusterId,
  computeMemberId,
  encodeMember,
  memberIdText,
  type Member,
} from "../membership/member.js";
import { type Downgrade, readDowngrade } from "../membership/downgrade.js";
import { Membership, MEMBERS_BUCKET, MEMBERS_REMOVED_BUCKET, minorVersion } from "../membership/membership.js";
import { parentPath, DiskError, type Disk, type Platform } from "../platform/index.js";
import { EMPTY_HARD_STATE, equalHardStates, type Snapshot } from "../proto/raft.js";
import { decodeWalMetadata, encodeWalMetadata } from "../proto/wal.js";
import { MemoryStorage, RawNode, type RaftLogger } from "../raft/index.js";
import { SnapshotStore } from "../snap/index.js";
import { createWal, openWal, validSnapshotEntries, walExists, type WalContents, type WalWriter } from "../wal/index.js";
import { loadProgress, type Progress } from "./applier.js";
import { CLUSTER_VERSION } from "./contract.js";
import { MemberError } from "./errors.js";
import { isOlderVersion } from "./cluster-version.js";
import { readDamagedEnd, writeDamagedEnd, type DamagedEnd } from "./damaged-end.js";
import { forceNewCluster } from "./force-new-cluster.js";
import { checkNotBootstrapped, findCluster } from "./join.js";
import { layoutOf, type Layout } from "./layout.js";
import { checkInitialCluster, checkOptions, type MemberOptions } from "./options.js";
import type { PeerDoor } from "./peers.js";
import { SnapshotData } from "./snapshot-data.js";

/** Messages to one peer that may be on their way (etcd's figure). */
const MESSAGES_IN_FLIGHT_MAX = 512;

export interface BootProgress {
  /** What is being read. */
  readonly phase: "log" | "keys";
  /** Bytes of the log, or revisions. */
  readonly done: number;
  /** Undefined where it is not known beforehand. */
  readonly total: number | undefined;
}

/** All that boot opened; whoever has it closes it. */
export interface Booted {
  readonly kind: "new" | "restart";
  readonly memberId: bigint;
  readonly clusterId: bigint;
  readonly layout: Layout;
  readonly node: RawNode;
  readonly storage: MemoryStorage;
  readonly wal: WalWriter;
  readonly snapshots: SnapshotStore;
  readonly backend: Backend;
  readonly membership: Membership;
  readonly snapshotData: SnapshotData;
  readonly progress: Progress;
  /** What the log begins behind; undefined when it begins at its first entry. */
  readonly snapshot: Snapshot | undefined;
  /** Members of the cluster that is joined, which the log does not know yet. */
  readonly joined: readonly Member[];
  /** Set while this member must not vote, for its log had a damaged end. */
  readonly damagedEnd: DamagedEnd | undefined;
}

export interface BootHooks {
  readonly onProgress?: (progress: BootProgress) => void;
  readonly onBackendFailure: (error: Error) => void;
  /** Told how long syncs of the log and commits to db took, in milliseconds. */
  readonly onSync: (tookMs: number) => void;
  readonly onCommit: (tookMs: number) => void;
}

/** @throws MemberError, or the error of the room that refused; the directory is as it was then */
export async function boot(
  platform: Platform,
  door: PeerDoor | undefined,
  options: MemberOptions,
  hooks: BootHooks,
): Promise<Booted> {
  checkOptions(options);
  const layout = layoutOf(options.dataDir, options.walDir);
  const restart = await walExists(platform.disk, layout.walDir);
  const opened: { close(): Promise<void> }[] = [];
  try {
    if (restart) return await restartMember(platform, options, layout, hooks, opened);
    const identity = await identify(door, options);
    return await startMember(platform, options, layout, hooks, opened, identity);
  } catch (error) {
    for (const resource of opened.reverse()) await resource.close().catch(() => undefined); // the first failure is the one to tell
    throw error;
  }
}

// ---- a new member -------------------------------------------------------------------------------------------------

/** Who a member without a log is to be. */
interface Identity {
  readonly memberId: bigint;
  readonly clusterId: bigint;
  /** First members of a new cluster, this one among them; none when a cluster is joined. */
  readonly founders: readonly Member[];
  /** Members of the cluster that is joined. */
  readonly joined: readonly Member[];
}

async function identify(door: PeerDoor | undefined, options: MemberOptions): Promise<Identity> {
  checkNewMember(door, options);
  if (options.initialClusterState === "existing") {
    const { memberId, clusterId, members } = await findCluster(mustHaveDoor(door, options), options);
    return { memberId, clusterId, founders: [], joined: members };
  }
  const { members, self, clusterId } = initialCluster(options);
  if (door !== undefined) await checkNotBootstrapped(door, options, self.id);
  return { memberId: self.id, clusterId, founders: members, joined: [] };
}

function checkNewMember(door: PeerDoor | undefined, options: MemberOptions): void {
  checkInitialCluster(options);
  if (options.initialClusterState === "existing" || options.initialCluster.size > 1) mustHaveDoor(door, options);
}

function mustHaveDoor(door: PeerDoor | undefined, options: MemberOptions): PeerDoor {
  if (door !== undefined) return door;
  throw new MemberError(
    "OPTIONS_INVALID",
    `member "${options.name}" is to be one of several, but listens on no peer URL: give --listen-peer-urls`,
  );
}

async function startMember(
  platform: Platform,
  options: MemberOptions,
  layout: Layout,
  hooks: BootHooks,
  opened: { close(): Promise<void> }[],
  { memberId, clusterId, founders, joined }: Identity,
): Promise<Booted> {
  const { disk, log } = platform;
  await makeFolders(disk, layout);
  const backend = await openBackend(platform, options, layout, hooks);
  opened.push(backend);
  const progress = loadProgress(backend);
  if (progress.consistentIndex > 0) throw lostLog(layout, progress.consistentIndex, "there is no log");
  const snapshots = new SnapshotStore({ disk, log }, layout.snapDir);
  const metadata = encodeWalMetadata({ nodeId: memberId, clusterId });
  const wal = await createWal(platform, layout.walDir, metadata, {
    segmentBytes: options.segmentBytes,
    onSync: hooks.onSync,
  });
  opened.push(wal);

  log.info("starting local member", {
    "local-member-id": memberIdText(memberId),
    "cluster-id": memberIdText(clusterId),
  });
  const storage = new MemoryStorage();
  const node = makeNode(platform, options, memberId, storage);
  if (founders.length > 0) bootstrap(node, founders);
  return {
    kind: "new",
    memberId,
    clusterId,
    layout,
    node,
    storage,
    wal,
    snapshots,
    backend,
    membership: new Membership({ clusterId, localId: memberId }, log),
    snapshotData: new SnapshotData(undefined),
    progress,
    snapshot: undefined,
    joined,
    damagedEnd: undefined,
  };
}

function initialCluster(options: MemberOptions): { members: Member[]; self: Member; clusterId: bigint } {
  const members = initialMembers(options);
  const self = members.find((member) => member.name === options.name);
  invariant(self !== undefined, "checked options name this member");
  return { members, self, clusterId: computeClusterId(members.map((member) => member.id)) };
}

function initialMembers(options: MemberOptions): Member[] {
  const members = [...options.initialCluster].map(([name, peerUrls]) => ({
    id: computeMemberId(peerUrls, options.initialClusterToken),
    peerUrls: [...peerUrls].sort(),
    isLearner: false,
    name,
    clientUrls: [],
  }));
  return members.sort((a, b) => compareIds(a.id, b.id));
}

/** Folders with durable names, from the data directory down. */
async function makeFolders(disk: Disk, layout: Layout): Promise<void> {
  const folders = [layout.dataDir, layout.memberDir, layout.snapDir, parentPath(layout.walDir)];
  for (const folder of folders) await makeFolderWithParents(disk, folder);
  // A first start that died may have left folders whose names are not durable: a power loss would take all that comes to lie in them.
  for (const parent of new Set(folders.map((folder) => parentPath(folder)))) {
    await disk.syncFolder(parent).catch((error: unknown) => {
      // The folder above the data directory may be another's. Who made the data directory there has seen to its name.
      if (!(error instanceof DiskError) || error.code !== "DISK_DENIED") throw error;
    });
  }
}

/** Makes a folder and those above it, with durable names. @throws MemberError `DATA_DIR_UNUSABLE` where something else is in the way */
export async function makeFolderWithParents(disk: Disk, folder: string): Promise<void> {
  const found = await disk.stat(folder);
  if (found?.kind === "folder") return;
  if (found !== undefined) {
    throw new MemberError(
      "DATA_DIR_UNUSABLE",
      `${folder} is a ${found.kind}, not a folder: move it away or choose another --data-dir`,
    );
  }
  const parent = parentPath(folder);
  if (parent !== folder) await makeFolderWithParents(disk, parent);
  await disk.makeFolder(folder);
  await disk.syncFolder(parent);
}

// ---- a restart ----------------------------------------------------------------------------------------------------

async function restartMember(
  platform: Platform,
  options: MemberOptions,
  layout: Layout,
  hooks: BootHooks,
  opened: { close(): Promise<void> }[],
): Promise<Booted> {
  const { disk, log } = platform;
  const snapshots = new SnapshotStore({ disk, log }, layout.snapDir);
  const db = new OpenDb(platform, options, layout, hooks);
  opened.push(db);
  if ((await disk.stat(layout.dbPath)) !== undefined) await db.open(); // its lock keeps others out of the directory
  const known = await validSnapshotEntries(platform, layout.walDir);
  const snapshot = await snapshots.loadNewest(known);
  if (snapshot === undefined) log.info("No snapshot found. Recovering WAL from scratch!");
  const backend = await recoverBackend(db, disk, layout, snapshots, snapshot);
  log.info("recovered v3 backend", {
    "backend-size-bytes": backend.sizeBytes,
    "backend-size-in-use-bytes": backend.sizeInUseBytes,
    "consistent-index": loadProgress(backend).consistentIndex,
  });
  const progress = loadProgress(backend);
  checkDowngrade(layout.dataDir, readDowngrade(backend));

  const at = { index: snapshot?.metadata.index ?? 0, term: snapshot?.metadata.term ?? 0 };
  let damagedEnd = await readDamagedEnd(disk, layout);
  const { writer: wal, contents } = await openWal(platform, layout.walDir, at, {
    segmentBytes: options.segmentBytes,
    onSync: hooks.onSync,
    onProgress: ({ bytesRead, bytesTotal }) => hooks.onProgress?.({ phase: "log", done: bytesRead, total: bytesTotal }),
    beforeChange: async (found) => {
      checkSameMember(layout, found, backend);
      const damage = damageOf(layout, found, at.index, backend, progress);
      if (damage !== undefined) damagedEnd = await writeDamagedEnd(disk, layout, damage);
      await backend.makeDurable(); // nothing was written to `db` before: a refused boot changes nothing
    },
  });
  opened.push(wal);
  await snapshots.clean(); // what a crash left half-written
  const { nodeId, clusterId } = decodeWalMetadata(contents.metadata);
  const membership = new Membership({ clusterId, localId: nodeId }, log);
  const snapshotData = new SnapshotData(snapshot?.data);
  if (snapshot !== undefined) membership.recover(snapshotData.state());
  membership.recoverDowngrade(backend);
  checkClusterVersion(layout.dataDir, membership.clusterVersion);

  const forced = options.forceNewCluster
    ? await forceAlone(wal, nodeId, snapshot, contents, progress, log)
    : { entries: contents.entries, hardState: contents.hardState };
  log.info(options.forceNewCluster ? "forcing restart member" : "restarting local member", {
    "cluster-id": memberIdText(clusterId),
    "local-member-id": memberIdText(nodeId),
    "commit-index": forced.hardState.commit,
  });
  const storage = new MemoryStorage();
  if (snapshot !== undefined) storage.applySnapshot(snapshot);
  storage.setHardState(forced.hardState);
  storage.append(forced.entries);
  const node = makeNode(platform, options, nodeId, storage);
  // One that joins a cluster begins with an empty log: its leader fills it.
  if (isUnused(snapshot, contents) && options.initialClusterState === "new") {
    bootstrapAgain(node, options, layout, { nodeId, clusterId });
  }
  return {
    kind: "restart",
    memberId: nodeId,
    clusterId,
    layout,
    node,
    storage,
    wal,
    snapshots,
    backend,
    membership,
    snapshotData,
    progress,
    snapshot,
    joined: [],
    damagedEnd: options.forceNewCluster ? undefined : damagedEnd,
  };
}

/** Whether power failed between the making of the log and its first entries: nobody can know of this member yet. */
function isUnused(snapshot: Snapshot | undefined, { entries, hardState }: WalContents): boolean {
  return snapshot === undefined && entries.length === 0 && equalHardStates(hardState, EMPTY_HARD_STATE);
}

/**
 * Writes the first entries that the first start did not come to. etcd has no such step: there a member in this state waits for
 * a leader for ever.
 */
function bootstrapAgain(
  node: RawNode,
  options: MemberOptions,
  layout: Layout,
  made: { readonly nodeId: bigint; readonly clusterId: bigint },
): void {
  checkInitialCluster(options);
  const { members, self, clusterId } = initialCluster(options);
  if (self.id !== made.nodeId || clusterId !== made.clusterId) {
    throw new MemberError(
      "CLUSTER_MISMATCH",
      `the log in ${layout.walDir} was made for member ${memberIdText(made.nodeId)} of cluster ${memberIdText(made.clusterId)} and ` +
        `holds no entry yet, but --initial-cluster and --initial-cluster-token give member ${memberIdText(self.id)} of cluster ` +
        `${memberIdText(clusterId)}: start with the flags of the first start, or remove ${layout.dataDir}, which holds nothing`,
    );
  }
  bootstrap(node, members);
}

function bootstrap(node: RawNode, members: readonly Member[]): void {
  node.bootstrap(members.map((member) => ({ id: member.id, context: encodeMember(member) })));
}

async function forceAlone(
  wal: WalWriter,
  localId: bigint,
  snapshot: Snapshot | undefined,
  contents: WalContents,
  progress: Progress,
  log: Platform["log"],
): Promise<Pick<WalContents, "entries" | "hardState">> {
  const { confState } = snapshot?.metadata ?? {};
  const forced = forceNewCluster(localId, confState, contents.entries, contents.hardState, progress.consistentIndex);
  if (forced.discarded > 0) {
    log.info("discarding uncommitted WAL entries", {
      "commit-index-from-wal": contents.hardState.commit,
      "number-of-discarded-entries": forced.discarded,
    });
  }
  await wal.save(forced.hardState, forced.appended);
  await wal.sync();
  return { entries: [...forced.entries], hardState: forced.hardState };
}

/** `db` while boot finds out which file it is to be. */
class OpenDb {
  readonly #platform: Platform;
  readonly #options: MemberOptions;
  readonly #layout: Layout;
  readonly #hooks: BootHooks;
  backend: Backend | undefined;

  constructor(platform: Platform, options: MemberOptions, layout: Layout, hooks: BootHooks) {
    this.#platform = platform;
    this.#options = options;
    this.#layout = layout;
    this.#hooks = hooks;
  }

  async open(): Promise<Backend> {
    this.backend = await openBackend(this.#platform, this.#options, this.#layout, this.#hooks);
    return this.backend;
  }

  async close(): Promise<void> {
    await this.backend?.close();
    this.backend = undefined;
  }
}

/**
 * Checks `db` before the log is touched. One that is missing or older than the snapshot is replaced by the one that came with
 * the snapshot, where a crash came between the two; without a snapshot a missing one is filled again from the log.
 */
async function recoverBackend(
  db: OpenDb,
  disk: Disk,
  layout: Layout,
  snapshots: SnapshotStore,
  snapshot: Snapshot | undefined,
): Promise<Backend> {
  const index = snapshot?.metadata.index ?? 0;
  const received = snapshot === undefined ? undefined : await snapshots.findDatabase(index);
  if (db.backend === undefined && snapshot !== undefined && received === undefined) {
    throw new MemberError(
      "DB_MISSING",
      `database file (${layout.dbPath}) of the backend is missing, and the log begins behind snapshot ${index}: ` +
        "restore the directory from a backup, or remove this member and add it again",
    );
  }
  const behind = db.backend !== undefined && loadProgress(db.backend).consistentIndex < index;
  if (received !== undefined && (db.backend === undefined || behind)) {
    await db.close();
    await adoptDatabase(disk, layout, received);
  }
  const backend = db.backend ?? (await db.open());
  const { consistentIndex } = loadProgress(backend);
  if (consistentIndex < index) {
    throw new MemberError(
      "DB_BEHIND_SNAPSHOT",
      `database file (${layout.dbPath} index ${consistentIndex}) does not match with snapshot (index ${index}): ` +
        "db is older than the newest snapshot, and the log between them is gone. Put the right db back from a backup, " +
        "or remove this member and add it again",
    );
  }
  checkDb(layout, backend);
  return backend;
}

/** Puts a database that came with a snapshot in the place of `db`, durably. */
export async function adoptDatabase(disk: Disk, layout: Layout, received: string): Promise<void> {
  await disk.rename(received, layout.dbPath);
  await disk.syncFolder(layout.snapDir);
}

export async function openBackend(
  platform: Platform,
  options: MemberOptions,
  layout: Layout,
  hooks: BootHooks,
): Promise<Backend> {
  try {
    return await Backend.open(platform, layout.dbPath, {
      engine: boltEngine,
      batchIntervalMs: options.batchIntervalMs,
      batchWritesMax: options.batchWritesMax,
      onFailure: hooks.onBackendFailure,
      onCommit: hooks.onCommit,
    });
  } catch (error) {
    if (error instanceof CodedError && (error.code === "BOLT_LOCKED" || error.code === "DISK_LOCKED")) {
      throw new MemberError(
        "DATA_DIR_LOCKED",
        `${layout.dbPath} is locked by another process: stop the server that uses ${layout.dataDir} (\`fuser ${layout.dbPath}\` names it)`,
        { cause: error },
      );
    }
    if (error instanceof DiskError) {
      throw new MemberError("DATA_DIR_UNUSABLE", `cannot open ${layout.dbPath}: ${describeError(error)}`, {
        cause: error,
      });
    }
    throw error;
  }
}

/** What this version must not serve. */
function checkDb(layout: Layout, backend: Backend): void {
  const storageVersion = backend.get(BUCKETS.meta, utf8FromText("storageVersion"));
  if (storageVersion !== undefined && !latin1FromBytes(storageVersion).startsWith("3.5.")) {
    throw new MemberError(
      "DATA_DIR_NEWER",
      `${layout.dbPath} was written by etcd ${latin1FromBytes(storageVersion)}, and this version serves 3.5: ` +
        "downgrade the cluster first (`etcdctl downgrade enable 3.5`, then `etcdutl migrate --target-version 3.5`)",
    );
  }
}

/** A log and a db of different members were put together: by a mistaken copy, say. */
function checkSameMember(layout: Layout, { metadata }: WalContents, backend: Backend): void {
  const { nodeId, clusterId } = decodeWalMetadata(metadata);
  const known = [...backend.keys(MEMBERS_BUCKET), ...backend.keys(MEMBERS_REMOVED_BUCKET)].map((key) =>
    latin1FromBytes(key),
  );
  if (known.length === 0 || known.includes(memberIdText(nodeId))) return;
  throw new MemberError(
    "CLUSTER_MISMATCH",
    `the log in ${layout.walDir} is that of member ${memberIdText(nodeId)} of cluster ${memberIdText(clusterId)}, but ${layout.dbPath} ` +
      `knows only ${known.join(", ")}: they are of different clusters. Put the log and the db of the same member together`,
  );
}

/**
 * What may have been lost behind the log's end; undefined when nothing.
 *
 * `db` never runs ahead of Walnut's log, for only entries that the disk has are applied. A follower of an etcd cluster applies before
 * its own log is synced, so that a crash may leave it so: in a cluster of several its leader sends those entries again.
 *
 * @throws MemberError `LOG_BEHIND_DB` in a cluster of one, where nobody else has them
 */
function damageOf(
  layout: Layout,
  contents: WalContents,
  snapshotIndex: number,
  backend: Backend,
  progress: Progress,
): DamagedEnd | undefined {
  const lastIndex = contents.entries.at(-1)?.index ?? snapshotIndex;
  const tail = contents.damagedTail;
  if (progress.consistentIndex > lastIndex) {
    const found = `the log in ${layout.walDir} ends at ${lastIndex}`;
    const error = lostLog(layout, progress.consistentIndex, found);
    if (backend.keys(MEMBERS_BUCKET).length < 2) throw error;
    const healedAt = Math.max(progress.consistentIndex, tail?.highestIndexSeen ?? 0);
    return { healedAt, summary: `${layout.dbPath} holds entries up to ${progress.consistentIndex}, but ${found}` };
  }
  if (tail === undefined) return undefined;
  return { healedAt: tail.highestIndexSeen ?? lastIndex + 1, summary: tail.summary };
}

function lostLog(layout: Layout, consistentIndex: number, found: string): MemberError {
  return new MemberError(
    "LOG_BEHIND_DB",
    `${layout.dbPath} holds entries up to ${consistentIndex}, but ${found}: a part of the log is lost. ` +
      "Restore the log from a backup; or keep what db holds: `etcdctl snapshot restore` makes a new directory of it " +
      "(--skip-hash-check for a copied db)",
  );
}

/** @throws MemberError `DATA_DIR_NEWER` for a cluster of a version that this server does not serve */
export function checkClusterVersion(dataDir: string, version: string | undefined): void {
  if (version === undefined || !isOlderVersion(CLUSTER_VERSION, version)) return;
  throw new MemberError(
    "DATA_DIR_NEWER",
    `the cluster of ${dataDir} has version ${version}, and this server serves ${CLUSTER_VERSION}: ` +
      "downgrade the cluster first, or start a server of that version",
  );
}

/** @throws MemberError `CLUSTER_DOWNGRADING` while members are to be started in another version than this one */
export function checkDowngrade(dataDir: string, { enabled, targetVersion }: Downgrade): void {
  if (!enabled || targetVersion === CLUSTER_VERSION) return;
  throw new MemberError(
    "CLUSTER_DOWNGRADING",
    `the cluster of ${dataDir} is being downgraded to ${targetVersion}, and this server serves ${CLUSTER_VERSION}: ` +
      `start etcd ${minorVersion(targetVersion)} on the directory, or cancel the downgrade at a member that runs (\`etcdctl downgrade cancel\`)`,
  );
}

// ---- raft ---------------------------------------------------------------------------------------------------------

function makeNode(platform: Platform, options: MemberOptions, id: bigint, storage: MemoryStorage): RawNode {
  return new RawNode({
    id,
    electionTicks: Math.floor(options.electionMs / options.heartbeatMs),
    heartbeatTicks: 1,
    storage,
    asyncStorageWrites: true,
    maxSizePerMessage: MESSAGE_ENTRY_BYTES_MAX,
    maxInflightMessages: MESSAGES_IN_FLIGHT_MAX,
    checkQuorum: true,
    preVote: options.preVote,
    readOnlyOption: options.leaseReads ? "lease-based" : "safe",
    log: raftLogger(platform),
    random: platform.random,
  });
}

function raftLogger(platform: Platform): RaftLogger {
  const log = platform.log.with({ logger: "raft" });
  return {
    debug: (text) => log.debug(text),
    info: (text) => log.info(text),
    warning: (text) => log.warn(text),
    error: (text) => log.error(text),
  };
}
