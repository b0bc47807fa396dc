/** Real etcd starts from a `.snap` file that Walnut wrote, and Walnut reads the ones that etcd writes after it. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { silentLog } from "../../src/platform/index.js";
import { NodeDisk } from "../../src/platform/node/index.js";
import { decodeV2Store, encodeV2Store, SnapshotStore } from "../../src/snap/index.js";
import { etcd, skipReason, type EtcdName } from "../support/binaries.js";
import { Stage, type Seat, type Server } from "../support/servers.js";
import { run } from "../support/tools.js";

const skip = skipReason();
const SNAPSHOT_COUNT = 10;

async function ctl(name: EtcdName, server: Server, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(etcd(name).etcdctl, ["--endpoints", server.address, ...args]);
  assert.equal(code, 0, stderr);
  return stdout;
}

/** Enough puts for another snapshot. */
async function fill(name: EtcdName, server: Server, value: string): Promise<void> {
  for (let i = 0; i < SNAPSHOT_COUNT + 2; i++) await ctl(name, server, "put", `k${i}`, value);
}

function snapshotsOf(seat: Seat): SnapshotStore {
  return new SnapshotStore({ disk: new NodeDisk(), log: silentLog }, join(seat.dataDir, "member", "snap"));
}

for (const name of ["3.5.16", "newest"] satisfies EtcdName[]) {
  test(`etcd ${name} starts from a snapshot with Walnut's v2 store, and goes on with it`, { skip }, async (t) => {
    const stage = Stage.for(t);
    const seat = await stage.seat();
    const options = { snapshotCount: SNAPSHOT_COUNT };
    const first = await stage.start(etcd(name), seat, options);
    await ctl(name, first, "member", "add", "learner", "--learner", "--peer-urls=http://127.0.0.1:1");
    await fill(name, first, "one");
    const members = await ctl(name, first, "member", "list");
    await first.stop();

    // The store is made anew from the membership: no history, other indexes, no counters.
    const snapshots = snapshotsOf(seat);
    const byEtcd = (await snapshots.loadNewestAny())!;
    const membership = decodeV2Store(byEtcd.data);
    assert.equal(membership.members.length, 2);
    await snapshots.save({ ...byEtcd, data: encodeV2Store(membership) });

    const second = await stage.start(etcd(name), seat, options);
    assert.match(second.log.join("\n"), /recovered v2 store from snapshot/);
    assert.equal(await ctl(name, second, "member", "list"), members);
    await fill(name, second, "two");
    await second.stop();

    const after = (await snapshots.loadNewestAny())!;
    assert.ok(after.metadata.index > byEtcd.metadata.index);
    assert.deepEqual(decodeV2Store(after.data), membership);
    assert.deepEqual(after.metadata.confState, byEtcd.metadata.confState);
  });
}
