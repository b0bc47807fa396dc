/** On a simulated disk: what is made opens, and power may fail at every operation. `test/compat/restore.test.ts` asks etcdutl. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test, type TestContext } from "node:test";
import { exploreCrashes, recordingLog, SimClock, SimDisk } from "../../sim/index.js";
import { latin1FromBytes, utf8FromText } from "../base/text.js";
import { checkBolt, openBolt } from "../bolt/index.js";
import { memberIdText } from "../membership/index.js";
import { revisionBytes } from "../mvcc/index.js";
import { decodeWalMetadata } from "../proto/wal.js";
import { SnapshotStore, V2Store } from "../snap/index.js";
import { readWal, verifyWal } from "../wal/index.js";
import { newCluster, RestoreError, restoreSnapshot, snapshotStatus, type RestoreOptions } from "./index.js";

const DATA_DIR = "/data/m1";
const SNAPSHOT = "/backup/snapshot.db";
/** IDs as `etcdutl snapshot restore` 3.5.30 computes them from these members. */
const THREE = "a=http://127.0.0.1:1,b=http://127.0.0.1:2,c=http://127.0.0.1:3";

const usual: RestoreOptions = {
  snapshot: SNAPSHOT,
  dataDir: DATA_DIR,
  walDir: undefined,
  name: "b",
  initialCluster: THREE,
  initialClusterToken: "etcd-cluster",
  initialAdvertisePeerUrls: ["http://127.0.0.1:2"],
  skipHashCheck: false,
  bumpRevision: 0,
  segmentBytes: 4096,
};

const worldOf = (disk: SimDisk): { disk: SimDisk; clock: SimClock; log: ReturnType<typeof recordingLog> } => ({
  disk,
  clock: new SimClock(),
  log: recordingLog(),
});

/** A disk with a snapshot of another cluster's member: two rows of keys, a member, a removed one. */
async function diskWithSnapshot(t: TestContext): Promise<SimDisk> {
  const disk = new SimDisk({ folders: ["/backup", "/data"] });
  t.after(() => assert.deepEqual(disk.openHandles(), []));
  const db = await openBolt(worldOf(disk), "/backup/db", { pageSize: 1024 });
  const write = db.beginWrite();
  const fill = (bucket: string, rows: readonly (readonly [Uint8Array, string])[]): void => {
    const into = write.createBucket(utf8FromText(bucket));
    for (const [key, value] of rows) into.put(key, utf8FromText(value));
  };
  fill("key", [
    [revisionBytes(2, 0), "x"],
    [revisionBytes(7, 1), "y"],
  ]);
  fill("meta", [[utf8FromText("consistent_index"), "12345678"]]);
  fill("members", [[utf8FromText("77"), "{}"]]);
  fill("members_removed", [[utf8FromText("78"), "removed"]]);
  fill("cluster", [[utf8FromText("clusterVersion"), "3.5.0"]]);
  await write.commit();
  await db.close();
  const bytes = disk.readAll("/backup/db");
  const digest = createHash("sha256").update(bytes).digest();
  disk.writeAll(SNAPSHOT, Buffer.concat([bytes, digest]));
  await disk.syncFolder("/backup");
  return disk;
}

function restoreOn(disk: SimDisk, options: Partial<RestoreOptions> = {}): ReturnType<typeof restoreSnapshot> {
  return restoreSnapshot({ ...worldOf(disk), sha256: () => createHash("sha256") }, { ...usual, ...options });
}

/** Every key of every bucket, as text. */
async function bucketsOf(disk: SimDisk, path: string): Promise<Record<string, Record<string, string>>> {
  const db = await openBolt(worldOf(disk), path, { readOnly: true });
  const read = db.beginRead();
  const found: Record<string, Record<string, string>> = {};
  for (const name of read.buckets()) {
    const rows: Record<string, string> = (found[latin1FromBytes(name)] = {});
    read.bucket(name)!.forEach(undefined, undefined, (key, value) => {
      rows[latin1FromBytes(key)] = latin1FromBytes(value);
    });
  }
  read.end();
  await db.close();
  return found;
}

/** Opens log, snapshot and db as a start would, and gives the members that each of them has. */
async function mustBeWhole(disk: SimDisk, walDir = `${DATA_DIR}/member/wal`): Promise<void> {
  const world = worldOf(disk);
  assert.deepEqual(await checkBolt(world, `${DATA_DIR}/member/snap/db`), []);
  const snapshot = await new SnapshotStore(world, `${DATA_DIR}/member/snap`, { readOnly: true }).loadNewestAny();
  assert.ok(snapshot !== undefined);
  const { index, term, confState } = snapshot.metadata;
  assert.deepEqual([index, term], [3, 1]);
  const { members, self, clusterId } = newCluster(usual);
  assert.deepEqual(
    confState.voters,
    members.map(({ id }) => id),
  );
  const store = V2Store.decode(snapshot.data).membership();
  assert.deepEqual(
    store.members.map(({ id, peerUrls }) => ({ id, peerUrls })),
    members.map(({ id, peerUrls }) => ({ id, peerUrls })),
  );
  const log = await verifyWal(world, walDir, { index: 0, term: 0 });
  assert.deepEqual([log.entries, log.snapshots, log.hardState.commit, log.hardState.vote], [3, 2, 3, members[0]!.id]);
  assert.deepEqual(decodeWalMetadata(log.metadata), { nodeId: self.id, clusterId });
  assert.equal((await readWal(world, walDir, { index: 3, term: 1 })).entries.length, 0);
  const buckets = await bucketsOf(disk, `${DATA_DIR}/member/snap/db`);
  assert.deepEqual(Object.keys(buckets["members"]!), members.map(({ id }) => memberIdText(id)).sort());
  assert.deepEqual(buckets["members_removed"], {});
  assert.equal(Object.keys(buckets["key"]!).length, 2);
}

test("the members of the new cluster take the place of the old in log, snapshot and db; the keys stay", async (t) => {
  const disk = await diskWithSnapshot(t);
  const { memberId, clusterId } = await restoreOn(disk);
  assert.equal(memberIdText(memberId), "43ccf13c9d84d8d2");
  assert.equal(memberIdText(clusterId), "8db7cbf7c4cad526");
  await mustBeWhole(disk);
  const { meta, cluster } = await bucketsOf(disk, `${DATA_DIR}/member/snap/db`);
  assert.deepEqual(meta, { consistent_index: "\0\0\0\0\0\0\0\u0003", term: "\0\0\0\0\0\0\0\u0001" });
  assert.deepEqual(cluster, { clusterVersion: "3.5.0" });
});

test("a log in a folder of its own is made there", async (t) => {
  const disk = await diskWithSnapshot(t);
  await restoreOn(disk, { walDir: "/logs/deep/m1" });
  await mustBeWhole(disk, "/logs/deep/m1");
  assert.equal(disk.exists(`${DATA_DIR}/member/wal`), false);
});

test("a raised revision leaves a row without a value and asks for a compaction there", async (t) => {
  const disk = await diskWithSnapshot(t);
  await restoreOn(disk, { bumpRevision: 1000 });
  const { key, meta } = await bucketsOf(disk, `${DATA_DIR}/member/snap/db`);
  const raised = latin1FromBytes(revisionBytes(1007, 0));
  assert.equal(key![raised], "");
  assert.equal(meta!["scheduledCompactRev"], raised);
});

test("power may fail at every operation: the directory is there as a whole or not at all", async (t) => {
  for (const walDir of [undefined, "/data/wal"]) {
    const disk = await diskWithSnapshot(t);
    const from = disk.journal.length;
    await restoreOn(disk, { walDir });
    let whole = 0;
    const { places } = await exploreCrashes({
      disk,
      from,
      draws: 2,
      check: async (after, { position }) => {
        if (after.exists(DATA_DIR)) {
          whole++;
          await mustBeWhole(after, walDir);
          return;
        }
        assert.ok(position < disk.journal.length, "what was told as done is there");
        const remains = await after.list("/data");
        if (remains.length > 0) await assert.rejects(restoreOn(after, { walDir }), RestoreError);
        else await restoreOn(after, { walDir });
      },
    });
    assert.ok(places > 25 && whole > 0, `${places} places, ${whole} of them whole`);
  }
});

test("whatever the disk refuses, nothing is left, and the next attempt works", async (t) => {
  const plan = await diskWithSnapshot(t);
  await restoreOn(plan, { walDir: "/data/wal" });
  let failed = 0;
  for (const kind of ["open", "write", "sync", "datasync", "rename", "make-folder", "sync-folder", "read"] as const) {
    for (let nth = 1; nth <= plan.count(kind); nth++) {
      const disk = await diskWithSnapshot(t);
      const done = disk.count(kind);
      if (nth <= done) continue;
      disk.fail({ kinds: [kind], nth: nth - done, code: "DISK_IO" });
      const outcome = await restoreOn(disk, { walDir: "/data/wal" }).catch((error: unknown) => error);
      if (!(outcome instanceof Error)) continue; // a failure that did not matter
      failed++;
      const names = (await disk.list("/data")).map(({ name }) => name);
      assert.deepEqual(names, [], `${kind} ${nth}: ${outcome.message}`);
      await restoreOn(disk, { walDir: "/data/wal" });
      await mustBeWhole(disk, "/data/wal");
    }
  }
  assert.ok(failed > 20, `${failed} failures`);
});

test("the remains of a restore that was cut off are not written over", async (t) => {
  const disk = await diskWithSnapshot(t);
  await disk.makeFolder(`${DATA_DIR}.restoring`);
  await assert.rejects(restoreOn(disk), /RESTORE_UNFINISHED: \/data\/m1\.restoring exists: .*remove it/);
  assert.equal(disk.exists(`${DATA_DIR}.restoring`), true);
});

test("the status is that of the bolt file in the snapshot; a damaged one is refused", async (t) => {
  const disk = await diskWithSnapshot(t);
  const world = worldOf(disk);
  const status = await snapshotStatus(world, SNAPSHOT);
  assert.deepEqual([status.revision, status.totalKeys], [7, 6]);
  assert.deepEqual(await snapshotStatus(world, "/backup/db"), status);
  await assert.rejects(snapshotStatus(world, "/backup/none"), /RESTORE_SNAPSHOT_MISSING: stat \/backup\/none/);
  const renamed = Buffer.from(latin1FromBytes(disk.readAll("/backup/db")).replaceAll("cluster", "zluster"), "latin1");
  disk.writeAll("/backup/bad", renamed);
  const refusal = /RESTORE_SNAPSHOT_INVALID: snapshot file integrity check failed. 2 errors found.\nBOLT_CHECKSUM: /;
  await assert.rejects(snapshotStatus(world, "/backup/bad"), refusal);
  disk.writeAll("/backup/worse", disk.readAll("/backup/db").fill(0xff, 2 * 1024)); // all but the meta pages
  await assert.rejects(snapshotStatus(world, "/backup/worse"), /BOLT_PAGE_ID/);
});
