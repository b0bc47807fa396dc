/** A downgrade of a cluster of both kinds: whoever is asked, all members come to know it, and nobody ends of it. */
import assert from "node:assert/strict";
import test from "node:test";
import { etcd, skipReason, underTest } from "../support/binaries.js";
import { Cluster, type ClusterMember, versionDecided } from "../support/cluster.js";
import { METHODS } from "../support/client.js";
import { encode, type Message } from "../support/messages.js";
import { Stage } from "../support/servers.js";

const [VALIDATE, ENABLE, CANCEL] = [0, 1, 2];

const { path, request } = METHODS.Downgrade;

/** etcd 3.5 answers what it has applied with a timeout. */
const DONE = new Set(["answered", "14 etcdserver: request timed out"]);
const RUNNING = "9 etcdserver: cluster has a downgrade job in progress";

async function ask({ client }: ClusterMember, message: Message): Promise<string> {
  const answer = await client.send(path, encode(request, message));
  return answer.kind === "error" ? `${answer.code} ${answer.text}` : "answered";
}

test(
  "a downgrade that either kind begins is known to all, and over for all when either cancels it",
  { skip: skipReason() },
  async (t) => {
    const cluster = await Cluster.start(Stage.for(t), [etcd("newest"), underTest(), underTest()]);
    const [real, ours] = cluster.members as [ClusterMember, ClusterMember];
    for (const member of cluster.members) await versionDecided(member, "3.5.0");
    const allSay = async (expected: string): Promise<void> => {
      for (const member of cluster.members) {
        const said = await ask(member, { action: VALIDATE, version: "3.4" });
        assert.equal(said, expected, member.describe);
        const peer = await fetch(`http://127.0.0.1:${member.seat.peerPort}/downgrade/enabled`);
        assert.equal(await peer.text(), String(expected === RUNNING), member.describe);
      }
    };
    for (const [beginner, ender] of [
      [real, ours],
      [ours, real],
    ] as const) {
      await cluster.moveLeader(ender);
      assert.ok(DONE.has(await ask(beginner, { action: ENABLE, version: "3.4" })));
      await allSay(RUNNING);
      await beginner.client.put("a", beginner.name);
      assert.ok(DONE.has(await ask(ender, { action: CANCEL })));
      await allSay("answered");
    }
    await cluster.settled();
    await cluster.sameHash("after two downgrades");
  },
);
