import assert from "node:assert/strict";
import { test } from "node:test";
import { settle, SimDisk, SimRandom } from "../../sim/index.js";
import { boltEngine, Backend } from "../mvcc/index.js";
import { utf8FromText } from "../base/text.js";
import type { MemberOptions } from "./options.js";
import {
  contentOf,
  DATA_DIR,
  putRequest,
  startMember,
  stopMember,
  timePassesUntil,
  worldOf,
} from "./testing/fixture.js";

const DB = `${DATA_DIR}/member/snap/db`;

/** A directory with data, a snapshot and several segments. */
async function usedDirectory(options: Partial<MemberOptions> = {}): Promise<SimDisk> {
  const running = await startMember(worldOf(new SimDisk()), options);
  for (let i = 0; i < 60; i++) await timePassesUntil(running, running.member.put(putRequest(`k${i}`, "x".repeat(80))));
  await stopMember(running);
  return running.disk;
}

/** The start is refused with this code, the sentence names the place, and nothing on the disk has changed. */
async function refuses(
  disk: SimDisk,
  code: string,
  sentence: RegExp,
  options: Partial<MemberOptions> = {},
): Promise<void> {
  const before = disk.tree();
  await assert.rejects(startMember(worldOf(disk), options), (error: Error & { code: string }) => {
    assert.equal(error.code, code, error.message);
    assert.match(error.message, sentence);
    return true;
  });
  assert.deepEqual(disk.tree(), before);
  assert.deepEqual(disk.openHandles(), []);
}

async function changeDb(disk: SimDisk, change: (backend: Backend) => void): Promise<void> {
  const world = worldOf(disk);
  const backend = await Backend.open(world.platform, DB, { engine: boltEngine });
  change(backend);
  await timePassesUntil(world, backend.close());
}

test("a db that is older than the newest snapshot is refused", async () => {
  const running = await startMember(worldOf(new SimDisk()));
  await timePassesUntil(running, running.member.put(putRequest("early", "1")));
  await stopMember(running);
  const old = running.disk.readAll(DB);
  const again = await startMember(worldOf(running.disk));
  for (let i = 0; i < 60; i++) await timePassesUntil(again, again.member.put(putRequest(`k${i}`, "x")));
  await stopMember(again);
  again.disk.writeAll(DB, old);
  await refuses(
    again.disk,
    "DB_BEHIND_SNAPSHOT",
    /snap\/db index \d+\) does not match with snapshot \(index \d+\).*backup/,
  );
});

test("a missing db is refused where the log begins behind a snapshot", async () => {
  const disk = await usedDirectory();
  await disk.removeFile(DB);
  await refuses(disk, "DB_MISSING", /snap\/db\) of the backend is missing.*backup/);
});

test("a missing db is filled again from a log that holds everything", async () => {
  const disk = await usedDirectory({ snapshotCount: 10_000 });
  const before = await startMember(worldOf(disk), { snapshotCount: 10_000 });
  const content = await contentOf(before.member);
  await stopMember(before);
  await disk.removeFile(DB);
  const after = await startMember(worldOf(disk), { snapshotCount: 10_000 });
  assert.deepEqual(await contentOf(after.member), content);
  await stopMember(after);
});

test("a log that ends before db does is refused: a part of it is lost", async () => {
  const disk = await usedDirectory();
  await changeDb(disk, (backend) =>
    backend.put("meta", utf8FromText("consistent_index"), Uint8Array.of(0, 0, 0, 0, 0, 0, 9, 9)),
  );
  await refuses(disk, "LOG_BEHIND_DB", /holds entries up to 2313, but the log in .*wal ends at \d+/);
});

test("a db whose log is gone is refused", async () => {
  const disk = await usedDirectory();
  await disk.removeTree(`${DATA_DIR}/member/wal`);
  await refuses(disk, "LOG_BEHIND_DB", /there is no log/);
});

test("a db of a newer etcd is refused", async () => {
  const newer = await usedDirectory();
  await changeDb(newer, (backend) => backend.put("meta", utf8FromText("storageVersion"), utf8FromText("3.6.0")));
  await refuses(newer, "DATA_DIR_NEWER", /snap\/db was written by etcd 3.6.0.*downgrade/);
});

test("a log beside the db of another cluster is refused", async () => {
  const disk = await usedDirectory();
  const other = await startMember(worldOf(new SimDisk()), { initialClusterToken: "another" });
  await timePassesUntil(other, other.member.put(putRequest("a", "1")));
  await stopMember(other);
  disk.writeAll(DB, other.disk.readAll(DB));
  // Its progress must not be what refuses it.
  await changeDb(disk, (backend) =>
    backend.put("meta", utf8FromText("consistent_index"), Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 63)),
  );
  await refuses(disk, "CLUSTER_MISMATCH", /wal is that of member 8e9e05c52164694d of cluster .*snap\/db knows only/);
});

test("a directory in use is refused while its server runs", async () => {
  const running = await startMember(worldOf(new SimDisk()));
  await assert.rejects(startMember({ ...worldOf(running.disk), clock: running.clock }), { code: "DATA_DIR_LOCKED" });
  await stopMember(running);
});

test("a full disk refuses the first start with one sentence, and the next start succeeds", async () => {
  const disk = new SimDisk({ capacityBytes: 3000 });
  await assert.rejects(startMember(worldOf(disk)), /(BOLT|WAL|DISK|DATA_DIR)_[A-Z_]+: .*member/);
  assert.deepEqual(disk.openHandles(), []);
  disk.capacityBytes = 1e9;
  await stopMember(await startMember(worldOf(disk)));
});

test("options that contradict each other are refused before anything is made", async () => {
  const peers = ["http://localhost:2380"];
  const cases: [Partial<MemberOptions>, RegExp][] = [
    [{ name: "" }, /--name is empty/],
    [{ dataDir: "relative" }, /not an absolute path/],
    [{ electionMs: 200 }, /--election-timeout\[200ms\] should be at least as 5 times/],
    [{ electionMs: 60_000 }, /too long/],
    [{ heartbeatMs: 0 }, /--heartbeat-interval/],
    [{ name: "other" }, /couldn't find local name "other"/],
    [{ initialAdvertisePeerUrls: ["http://a:1"] }, /--initial-cluster has default=.* but missing from/],
    [
      {
        initialCluster: new Map([
          ["default", peers],
          ["two", peers],
        ]),
      },
      /same peer URL twice/,
    ],
    [
      {
        initialCluster: new Map([
          ["default", peers],
          ["two", ["http://b:1"]],
        ]),
      },
      /--listen-peer-urls/,
    ],
    [{ initialClusterState: "existing" }, /--listen-peer-urls/],
  ];
  for (const [options, sentence] of cases) await refuses(new SimDisk(), "OPTIONS_INVALID", sentence, options);
});

test("a restart takes its members from the log, whatever the flags say of a first start", async () => {
  const disk = new SimDisk();
  await stopMember(await startMember(worldOf(disk)));
  const flags = { name: "other", initialCluster: new Map([["third", ["http://c:1"]]]) };
  const member = await startMember(worldOf(disk), flags);
  assert.equal(member.member.name, "other");
  await stopMember(member);
});

test("a log that power left without entries is begun again with the same flags, and refused with others", async () => {
  const made = new SimDisk();
  await stopMember(await startMember(worldOf(made)));
  // The first write to the log after it was made is that of its first entries.
  const logMade = made.journal.findIndex(
    (operation) => operation.kind === "rename" && operation.path.endsWith("wal.tmp"),
  );
  const firstEntries = made.journal.findIndex(
    (operation, at) => at > logMade && operation.kind === "write" && operation.path.endsWith(".wal"),
  );
  const empty = made.platterWith(
    firstEntries,
    made.pendingAt(firstEntries).map(() => "kept" as const),
  );
  await refuses(empty.copy(), "CLUSTER_MISMATCH", /was made for member 8e9e05c52164694d of cluster/, {
    initialClusterToken: "another",
  });
  await stopMember(await startMember(worldOf(empty)));
});

test("a first start that is killed at any sync of a folder leaves no name that a later power loss could take", async () => {
  let kills = 0;
  for (let nth = 1; ; nth++) {
    const killed = await firstStartKilledAt(nth);
    if (killed === undefined) break;
    kills++;
    const running = await startMember(worldOf(killed));
    await timePassesUntil(running, running.member.put(putRequest("key", "acknowledged")));
    const left = running.disk.crash({ mode: "lost", random: new SimRandom(nth) });
    const again = await startMember(worldOf(left));
    assert.equal(
      (await contentOf(again.member)).get("key")?.value,
      "acknowledged",
      `killed at sync ${nth} of a folder`,
    );
    await stopMember(again);
  }
  assert.ok(kills >= 5, `a first start syncs folders ${kills} times`);
});

/** The disk after a member was killed at the nth sync of a folder of its first start; undefined when it came up before. */
async function firstStartKilledAt(nth: number): Promise<SimDisk | undefined> {
  let left = nth;
  const start = { isStuck: false };
  const disk = new SimDisk({
    pace: (kind) => {
      if (kind !== "sync-folder" || --left !== 0) return undefined;
      start.isStuck = true;
      return new Promise(() => undefined);
    },
  });
  const world = worldOf(disk);
  const starting = startMember(world).catch(() => undefined);
  for (let turn = 0; turn < 100 && !start.isStuck; turn++) await settle();
  if (start.isStuck) return disk.kill();
  const running = await starting;
  assert.ok(running !== undefined, "the member came up");
  await stopMember(running);
  return undefined;
}
