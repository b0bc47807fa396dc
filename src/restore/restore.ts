/**
 * From a snapshot to the data directory of a member of a new cluster, as `etcdutl snapshot restore` makes it:
 *
 * - `member/snap/db`: the keys, with the members of the new cluster in place of the old, and the consistent index of the log below;
 * - `member/wal`: one segment. Its entries 1 to n, of term 1, add the n members; then the snapshot record at n;
 * - `member/snap/0000000000000001-….snap`: the v2 store with the same members, at index n.
 *
 * Every member of the cluster is restored from the same snapshot with the same members. Their IDs come from those alone, so they find
 * each other without having talked.
 *
 * Laws:
 * - all of it is built in a folder beside, and gets its name last: a data directory is there as a whole or not at all. A log in a
 *   folder of its own gets its name before, for a directory without its log would begin anew;
 * - nothing that is there is written over.
 */
import { writeUint64BE } from "../base/bytes.js";
import { utf8FromText } from "../base/text.js";
import { openBolt, type WriteTransaction } from "../bolt/index.js";
import {
  encodeMember,
  memberKey,
  MEMBERS_BUCKET,
  MEMBERS_REMOVED_BUCKET,
  CLUSTER_BUCKET,
} from "../membership/index.js";
import { BUCKETS, mainOf, revisionBytes } from "../mvcc/index.js";
import { joinPath, parentPath, type Clock, type Disk, type Log } from "../platform/index.js";
import { ConfChangeType, encodeConfChange, EntryType, type ConfState, type Entry } from "../proto/raft.js";
import { encodeWalMetadata } from "../proto/wal.js";
import { SnapshotStore, V2Store } from "../snap/index.js";
import { createWal, type WalDependencies } from "../wal/index.js";
import { newCluster, type ClusterOptions, type NewCluster } from "./cluster.js";
import { RestoreError } from "./errors.js";
import { copyDatabase, type Digest } from "./snapshot-file.js";

export interface RestoreDependencies extends WalDependencies {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly log: Log;
  readonly sha256: () => Digest;
}

/** etcdutl's flags. Paths are absolute. */
export interface RestoreOptions extends ClusterOptions {
  readonly snapshot: string;
  readonly dataDir: string;
  /** A folder of its own for the log; inside the data directory when left out. */
  readonly walDir: string | undefined;
  readonly skipHashCheck: boolean;
  /**
   * How far the revision is raised, so that it is over any that clients of the lost cluster have seen; 0 leaves it. The raised revision
   * is marked as compacted, so that watchers hear that they missed something.
   */
  readonly bumpRevision: number;
  /** Size of the log's segment; a member's usual one when left out. */
  readonly segmentBytes?: number;
}

export interface Restored {
  readonly memberId: bigint;
  readonly clusterId: bigint;
}

const TERM = 1;
/** How the folder ends in which a data directory, or a log's folder, is built. */
const UNFINISHED = ".restoring";

const CONSISTENT_INDEX_KEY = utf8FromText("consistent_index");
const TERM_KEY = utf8FromText("term");
const SCHEDULED_COMPACTION_KEY = utf8FromText("scheduledCompactRev");

/** @throws RestoreError, or the error of the room that failed: nothing is left behind then */
export async function restoreSnapshot(d: RestoreDependencies, options: RestoreOptions): Promise<Restored> {
  const cluster = newCluster(options);
  await requireFree(d.disk, options);
  const made: string[] = [];
  try {
    const dataDir = await begin(d.disk, options.dataDir, made);
    const walFolder = options.walDir === undefined ? undefined : await begin(d.disk, options.walDir, made);
    const memberDir = joinPath(dataDir, "member");
    const snapDir = joinPath(memberDir, "snap");
    for (const folder of [memberDir, snapDir]) await d.disk.makeFolder(folder);
    await makeDatabase(d, joinPath(snapDir, "db"), cluster, options);
    const log = joinPath(walFolder ?? memberDir, "wal");
    await makeLog(d, log, snapDir, cluster, options.segmentBytes);
    for (const folder of [snapDir, memberDir, dataDir]) await d.disk.syncFolder(folder);
    if (options.walDir !== undefined) {
      await publish(d.disk, log, options.walDir, made);
      await d.disk.removeTree(walFolder!);
    }
    await publish(d.disk, dataDir, options.dataDir, made);
  } catch (error) {
    for (const folder of made) await d.disk.removeTree(folder).catch(() => undefined); // the first failure is the one to tell
    throw error;
  }
  return { memberId: cluster.self.id, clusterId: cluster.clusterId };
}

async function requireFree(disk: Disk, { dataDir, walDir }: RestoreOptions): Promise<void> {
  const found = await disk.stat(dataDir);
  const isEmpty = found === undefined || (found.kind === "folder" && (await disk.list(dataDir)).length === 0);
  if (!isEmpty) throw new RestoreError("RESTORE_OCCUPIED", `data-dir "${dataDir}" not empty or could not be read`);
  if (walDir !== undefined && (await disk.stat(walDir)) !== undefined) {
    throw new RestoreError("RESTORE_OCCUPIED", `wal-dir "${walDir}" exists`);
  }
}

/** Makes the folder that `final` is built in, and those above it. */
async function begin(disk: Disk, final: string, made: string[]): Promise<string> {
  const unfinished = `${final}${UNFINISHED}`;
  await makeFolders(disk, parentPath(final));
  if (!(await disk.makeFolder(unfinished))) {
    throw new RestoreError(
      "RESTORE_UNFINISHED",
      `${unfinished} exists: an earlier restore was cut off, or another one is at work; remove it when none is`,
    );
  }
  made.push(unfinished);
  return unfinished;
}

async function makeFolders(disk: Disk, folder: string): Promise<void> {
  if ((await disk.stat(folder)) !== undefined) return;
  const parent = parentPath(folder);
  await makeFolders(disk, parent);
  await disk.makeFolder(folder);
  await disk.syncFolder(parent);
}

async function publish(disk: Disk, unfinished: string, final: string, made: string[]): Promise<void> {
  await disk.rename(unfinished, final);
  made.push(final);
  await disk.syncFolder(parentPath(final));
}

// ---- db -----------------------------------------------------------------------------------------------------------

async function makeDatabase(
  d: RestoreDependencies,
  path: string,
  cluster: NewCluster,
  options: RestoreOptions,
): Promise<void> {
  await copyDatabase(d, options.snapshot, path, options.skipHashCheck);
  const database = await openBolt(d, path, { create: false, sync: false }); // `close` syncs, and nobody knows the name yet
  try {
    const transaction = database.beginWrite();
    replaceMembers(transaction, cluster);
    if (options.bumpRevision > 0) raiseRevision(transaction, options.bumpRevision);
    const meta = transaction.createBucketIfNotExists(utf8FromText(BUCKETS.meta));
    meta.put(CONSISTENT_INDEX_KEY, uint64(cluster.members.length));
    meta.put(TERM_KEY, uint64(TERM));
    await transaction.commit();
  } finally {
    await database.close();
  }
}

function replaceMembers(transaction: WriteTransaction, { members }: NewCluster): void {
  const emptied = (name: string): ReturnType<WriteTransaction["createBucketIfNotExists"]> => {
    const bucket = transaction.createBucketIfNotExists(utf8FromText(name));
    const keys: Uint8Array[] = [];
    bucket.forEach(undefined, undefined, (key) => void keys.push(key.slice()));
    for (const key of keys) bucket.delete(key);
    return bucket;
  };
  const bucket = emptied(MEMBERS_BUCKET);
  emptied(MEMBERS_REMOVED_BUCKET);
  transaction.createBucketIfNotExists(utf8FromText(CLUSTER_BUCKET)); // its version stays: a cluster does not fall behind it
  for (const member of members) bucket.put(memberKey(member.id), encodeMember(member));
}

/** A row without a value, at the raised revision: it belongs to no key, and stands there for good. */
function raiseRevision(transaction: WriteTransaction, by: number): void {
  const rows = transaction.createBucketIfNotExists(utf8FromText(BUCKETS.key));
  const cursor = rows.cursor();
  const raised = (cursor.last() ? mainOf(cursor.key) : 0) + by;
  rows.put(revisionBytes(raised, 0), new Uint8Array(0));
  const meta = transaction.createBucketIfNotExists(utf8FromText(BUCKETS.meta));
  meta.put(SCHEDULED_COMPACTION_KEY, revisionBytes(raised, 0));
}

function uint64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  writeUint64BE(bytes, 0, value);
  return bytes;
}

// ---- the log and the snapshot that it begins behind ---------------------------------------------------------------

async function makeLog(
  d: RestoreDependencies,
  walDir: string,
  snapDir: string,
  { clusterId, members, self }: NewCluster,
  segmentBytes: number | undefined,
): Promise<void> {
  const metadata = encodeWalMetadata({ nodeId: self.id, clusterId });
  const wal = await createWal(d, walDir, metadata, {
    prepareNextSegment: false,
    ...(segmentBytes === undefined ? {} : { segmentBytes }),
  });
  try {
    const index = members.length;
    await wal.save({ term: TERM, vote: members[0]!.id, commit: index }, members.map(entryOf));
    const voters = members.map(({ id }) => id);
    const confState: ConfState = { voters, learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
    const store = new V2Store();
    for (const member of members) store.addMember(member.id, member);
    const snapshots = new SnapshotStore(d, snapDir);
    await snapshots.save({ metadata: { index, term: TERM, confState }, data: store.encode() });
    await wal.saveSnapshot({ index, term: TERM, confState });
    await wal.sync();
  } finally {
    await wal.close();
  }
}

function entryOf(member: NewCluster["self"], position: number): Entry {
  const change = { id: 0n, type: ConfChangeType.addNode, nodeId: member.id, context: encodeMember(member) };
  return { type: EntryType.confChange, term: TERM, index: position + 1, data: encodeConfChange(change) };
}
