/** Compaction in a cluster of both kinds: who compacts by itself, and whether all members come to the same. */
import assert from "node:assert/strict";
import test from "node:test";
import { etcd, skipReason, underTest } from "../support/binaries.js";
import { Cluster, type ClusterMember, eventually } from "../support/cluster.js";
import { Stage } from "../support/servers.js";

const WITHIN_MS = 60_000;

function linesOf({ server }: ClusterMember, message: string): readonly Record<string, unknown>[] {
  return server.log
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ msg }) => msg === message);
}

test(
  "what compactions leave is compared by whoever leads, and is the same on members of both kinds",
  { skip: skipReason() },
  async (t) => {
    const flags = ["--experimental-compact-hash-check-enabled", "--experimental-compact-hash-check-time=1s"];
    const cluster = await Cluster.start(Stage.for(t), [etcd("newest"), underTest(), underTest()], { flags });
    const [real, ours] = cluster.members as [ClusterMember, ClusterMember];
    for (const leader of [ours, real, ours]) {
      await cluster.moveLeader(leader);
      for (let i = 0; i < 50; i++) await leader.client.put(`k${i % 7}`, `${leader.name} ${i}`);
      await leader.client.call("DeleteRange", { key: Buffer.from("k0") });
      const revision = await leader.client.revision();
      await leader.client.call("Compact", { revision, physical: true });
      const what = `${leader.describe} to compare the compaction at ${revision}`;
      const checked = await eventually(what, WITHIN_MS, () => {
        const lines = linesOf(leader, "successfully checked hash on whole cluster");
        return Promise.resolve(lines.find((line) => line["revision"] === revision) ?? `${lines.length} were compared`);
      });
      assert.equal(checked["number-of-peers-checked"], 2);
    }
    for (const member of cluster.members) assert.equal(linesOf(member, "failed compaction hash check").length, 0);
  },
);

test("only the leader compacts by itself, and a new one goes on", { skip: skipReason() }, async (t) => {
  const flags = ["--auto-compaction-retention=2s"];
  const cluster = await Cluster.start(Stage.for(t), [underTest(), etcd("newest"), underTest()], { flags });
  const begun = (member: ClusterMember): number => linesOf(member, "starting auto periodic compaction").length;
  for (const leader of cluster.members) {
    await cluster.moveLeader(leader);
    const before = cluster.members.map(begun);
    await leader.client.put("a", leader.name);
    await eventually(`${leader.describe} to compact`, WITHIN_MS, () => {
      const count = begun(leader) - before[cluster.members.indexOf(leader)]!;
      return Promise.resolve(count >= 2 ? count : `it began ${count} compactions`);
    });
    // One that another member had begun when it lost its lead may still end.
    for (const [i, member] of cluster.members.entries()) {
      if (member !== leader)
        assert.ok(begun(member) <= before[i]! + 1, `${member.describe} compacts beside the leader`);
    }
  }
});
