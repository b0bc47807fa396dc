import assert from "node:assert/strict";
import { test } from "node:test";
import type { Member } from "../membership/member.js";
import { silentLog } from "../platform/log.js";
import type { StoredHash } from "../mvcc/index.js";
import { HashKVResponse } from "../proto/generated/etcdserverpb/maintenance.js";
import { CorruptionCheck } from "./corruption-check.js";
import { RequestError } from "./errors.js";
import type { PeerDoor } from "./peers.js";

const local = { memberId: 1n, clusterId: 9n };
const member = (id: bigint): Member => ({
  id,
  peerUrls: [`http://peer-${id}:2380`],
  isLearner: false,
  name: `member-${id}`,
  clientUrls: [],
});

interface Hash {
  readonly hash?: number;
  readonly compactRevision?: number;
  readonly hashRevision?: number;
  readonly revision?: number;
}

const answer = ({ hash = 7, compactRevision = 3, hashRevision = 10, revision = 10 }: Hash = {}): HashKVResponse => ({
  ...HashKVResponse.decode(new Uint8Array(0)),
  header: { clusterId: 9n, memberId: 0n, revision, raftTerm: 2 },
  hash,
  compactRevision,
  hashRevision,
});

type PeerAnswer = Hash | "silent" | "behind";

/**
 * A leader that answers `own` in turn, and another member that answers `peer`: the same to every question, or by revision. `compacted`:
 * the hashes of the leader's compactions.
 */
function play(
  own: readonly Hash[],
  peer: PeerAnswer | ((revision: number) => PeerAnswer),
  compacted: readonly StoredHash[] = [],
): { check: CorruptionCheck; alarms: () => number; asked: readonly number[] } {
  const askedRevisions: number[] = [];
  const nothing = (): never => assert.fail("a check of hashes asks for nothing else");
  const door: PeerDoor = {
    connect: nothing,
    fetchCluster: nothing,
    fetchVersions: nothing,
    promote: nothing,
    renewLease: nothing,
    leaseTimeToLive: nothing,
    close: () => Promise.resolve(),
    fetchHashKv: (urls, revision) => {
      assert.deepEqual(urls, ["http://peer-2:2380"]);
      askedRevisions.push(revision);
      const told = typeof peer === "function" ? peer(revision) : peer;
      if (told === "silent") return Promise.resolve(undefined);
      if (told === "behind") return Promise.reject(new RequestError("SERVER_NOT_LEADER", "it is not there yet"));
      return Promise.resolve(answer(told));
    },
  };
  let asked = 0;
  let alarms = 0;
  const check = new CorruptionCheck({
    local,
    door,
    log: silentLog,
    members: () => [member(1n), member(2n)],
    hashKv: () => Promise.resolve(answer(own[Math.min(asked++, own.length - 1)])),
    compactionHashes: () => compacted,
    linearizableRead: () => Promise.resolve(),
    raiseAlarm: () => {
      alarms++;
      return Promise.resolve();
    },
  });
  return { check, alarms: () => alarms, asked: askedRevisions };
}

/** What a leader makes of another member's answer, while its own stays as it is or changes. */
const verdicts: readonly (readonly [string, "alarm" | "silence", readonly Hash[], PeerAnswer])[] = [
  ["the same keys", "silence", [{}], {}],
  ["other keys at the same revision", "alarm", [{}], { hash: 8 }],
  ["other keys behind another compaction", "silence", [{}], { hash: 8, compactRevision: 2 }],
  ["a member ahead of the leader", "alarm", [{}], { revision: 11 }],
  ["a member ahead of the leader's first look only", "silence", [{}, { hashRevision: 12, hash: 9 }], { revision: 11 }],
  ["a member compacted further than the leader", "alarm", [{}], { hash: 8, compactRevision: 4 }],
  ["a leader whose own keys change without a revision", "alarm", [{}, { hash: 9 }], {}],
  ["a member that does not answer", "silence", [{}], "silent"],
  ["a member that is behind", "silence", [{}], "behind"],
];

for (const [what, verdict, own, peer] of verdicts) {
  test(`${what}: ${verdict}`, async () => {
    const { check, alarms, asked } = play(own, peer);
    await check.check();
    assert.deepEqual(asked, [own[0]!.hashRevision ?? 10]);
    assert.equal(alarms(), verdict === "alarm" ? 1 : 0);
  });
}

test("a member that differs from others does not begin to serve", async () => {
  await assert.rejects(play([{}], { hash: 8 }).check.checkAtStart(), {
    code: "DATA_INCONSISTENT",
    message: /of 2\. If/,
  });
  for (const peer of [{}, { hash: 8, compactRevision: 2 }, "silent", "behind"] as const) {
    await play([{}], peer).check.checkAtStart();
  }
});

const compaction = (revision: number, compactRevision: number, hash = 7): StoredHash => ({
  revision,
  compactRevision,
  hash,
});

test("hashes of compactions are compared from the newest on, until all members have one; those are not asked for again", async () => {
  const compactions = [compaction(5, -1), compaction(10, 5), compaction(15, 10)];
  const byRevision = (revision: number): PeerAnswer =>
    revision === 15 ? "behind" : { compactRevision: revision === 10 ? 5 : -1 };
  const { check, alarms, asked } = play([], byRevision, compactions);
  await check.checkCompactions();
  assert.deepEqual(asked, [15, 10]);
  await check.checkCompactions();
  assert.deepEqual(asked, [15, 10, 15], "what is older than an agreement is no question");
  assert.equal(alarms(), 0);
});

test("a compaction that left something else raises the alarm; one from another compaction on says nothing", async () => {
  const differs = play([], { compactRevision: 5, hash: 8 }, [compaction(10, 5), compaction(15, 5)]);
  await differs.check.checkCompactions();
  assert.equal(differs.alarms(), 1);
  assert.deepEqual(differs.asked, [15], "one alarm is enough");
  const elsewhere = play([], { compactRevision: 9, hash: 8 }, [compaction(15, 5)]);
  await elsewhere.check.checkCompactions();
  assert.equal(elsewhere.alarms(), 0);
});

test("two checks of compactions at once are one", async () => {
  const { check, asked } = play([], { compactRevision: 5 }, [compaction(10, 5)]);
  await Promise.all([check.checkCompactions(), check.checkCompactions()]);
  assert.deepEqual(asked, [10]);
});
