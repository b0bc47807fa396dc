/**
 * The peer protocol against real etcd, before there is a raft of ours behind it: an etcd and a scripted member form a cluster of
 * two, so etcd leads only when the scripted one grants its votes, and serves only when that one's log follows.
 */
import assert from "node:assert/strict";
import test, { type TestContext } from "node:test";
import { computeClusterId, computeMemberId, type Member } from "../../src/membership/index.js";
import { HttpPeers, type LocalIdentity, type Peers } from "../../src/peer/index.js";
import { NodeClock } from "../../src/platform/node/index.js";
import { silentLog } from "../../src/platform/index.js";
import { MessageType } from "../../src/proto/raft.js";
import type { PeerDoor } from "../../src/server/index.js";
import { etcd, type EtcdName, skipReason } from "../support/binaries.js";
import { ScriptedMember } from "../../src/peer/testing/scripted-member.js";
import { type Server, Stage } from "../support/servers.js";

const TOKEN = "etcd-cluster";

interface Couple {
  readonly etcd: Promise<Server>;
  readonly scripted: ScriptedMember;
  readonly door: HttpPeers;
  readonly peers: Peers;
  readonly local: LocalIdentity;
  readonly etcdId: bigint;
  readonly etcdUrl: string;
}

async function couple(t: TestContext, release: EtcdName): Promise<Couple> {
  const door = await HttpPeers.open({ listenUrls: ["http://127.0.0.1:0"] }, { clock: new NodeClock(), log: silentLog });
  const stage = new Stage();
  const seat = await stage.seat("real");
  const etcdUrl = `http://127.0.0.1:${seat.peerPort}`;
  const ownUrl = door.listenUrls[0]!;
  const etcdId = computeMemberId([etcdUrl], TOKEN);
  const memberId = computeMemberId([ownUrl], TOKEN);
  const local = { memberId, clusterId: computeClusterId([etcdId, memberId]) };
  const scripted = new ScriptedMember(local);
  const member = (id: bigint, name: string, url: string): Member => ({
    id,
    name,
    peerUrls: [url],
    clientUrls: [],
    isLearner: false,
  });
  scripted.memberList = [member(etcdId, "real", etcdUrl), member(memberId, "scripted", ownUrl)];
  // The compiler's word that the two rooms, which do not know each other, mean the same door.
  const asTheServerSeesIt: PeerDoor = door;
  const peers = asTheServerSeesIt.connect(local, scripted);
  scripted.peers = peers;
  peers.add(etcdId, [etcdUrl]);
  const flags = ["--initial-cluster", `real=${etcdUrl},scripted=${ownUrl}`];
  const server = stage.start(etcd(release), seat, { flags });
  server.catch(() => undefined); // the test that waits for it is told
  t.after(async () => {
    await server.then((started) => started.kill()).catch(() => undefined);
    await peers.stop();
    await door.close();
    await stage.clear();
  });
  return { etcd: server, scripted, door, peers, local, etcdId, etcdUrl };
}

for (const release of ["newest", "3.5.16"] as const) {
  test(
    `etcd ${release} wins the scripted member's votes, leads it and serves clients`,
    { skip: skipReason() },
    async (t) => {
      const { etcd: starting, scripted, peers, etcdId } = await couple(t, release);
      const came = (type: MessageType): boolean => scripted.received.some((message) => message.type === type);
      await scripted.until(() => came(MessageType.preVote), "a pre-vote");
      await scripted.until(() => came(MessageType.vote), "a vote");
      await scripted.until(() => came(MessageType.append), "an append");
      const server = await starting; // it leads, and published itself through our log
      assert.notEqual(peers.activeSince(etcdId), undefined);
      await server.client.put("greeting", "hello over the wire");
      const carries = (text: string): boolean => scripted.entries.some(({ data }) => Buffer.from(data).includes(text));
      await scripted.until(() => carries("hello over the wire"), "the entry of a put");
      await scripted.until(() => came(MessageType.heartbeat), "a heart-beat");
      for (const message of scripted.received) assert.equal(message.from, etcdId);
      scripted.entries.forEach((entry, at) => assert.equal(entry.index, at + 1));
    },
  );
}
