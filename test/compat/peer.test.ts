/**
 * The peer protocol against real etcd, before there is a raft of ours behind it: an etcd and a scripted member form a cluster of
 * two, so etcd leads only when the scripted one grants its votes, and serves only when that one's log follows.
 */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import * as http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { computeClusterId, computeMemberId, memberIdText } from "../../src/membership/index.js";
import { HttpPeers, type LocalIdentity, type Peers } from "../../src/peer/index.js";
import { NodeClock, nodePlatform } from "../../src/platform/node/index.js";
import { silentLog } from "../../src/platform/index.js";
import { encodeMessage, makeMessage, type Message, MessageType } from "../../src/proto/raft.js";
import type { PeerDoor } from "../../src/server/index.js";
import { etcd, type EtcdName, skipReason } from "../support/binaries.js";
import { ScriptedMember } from "../../src/peer/testing/scripted-member.js";
import { autoTls, loadTls, type TlsSettings } from "../../src/tls/index.js";
import { TestAuthority } from "../../src/tls/testing/authority.js";
import { type Seat, type Server, Stage } from "../support/servers.js";

/** Requests whose answers must be equal: method, path, body, headers. Those of streams and messages have rules of their own. */
type Asked = readonly [
  method: string,
  path: string,
  body?: string | undefined,
  headers?: Readonly<Record<string, string>>,
];

function asked(local: LocalIdentity, etcdId: bigint, to: bigint): Asked[] {
  const cluster = memberIdText(local.clusterId);
  const sender = {
    "X-Etcd-Cluster-ID": cluster,
    "X-Server-From": "77",
    "X-Server-Version": "3.5.9",
    "X-Min-Cluster-Version": "3.0.0",
  };
  const stream = (path: string, headers: Readonly<Record<string, string>> = {}): Asked => [
    "GET",
    path,
    undefined,
    { ...sender, "X-Raft-To": memberIdText(to), ...headers },
  ];
  const post = (path: string, body: string, headers: Readonly<Record<string, string>> = {}): Asked => [
    "POST",
    path,
    body,
    { ...sender, ...headers },
  ];
  const message = (fields: Partial<Message>): string =>
    Buffer.from(encodeMessage(makeMessage({ type: MessageType.heartbeatResponse, from: 0x77n, ...fields }))).toString(
      "latin1",
    );
  const paths = [
    "/members",
    "/members/promote/1",
    "/members/hashkv",
    "/version",
    "/downgrade/enabled",
    "/leases",
    "/raft",
  ];
  const posted = ["/raft/snapshot", "/raft/probing", "/raft/stream/message/1", "/raft/stream/msgapp/1"];
  return [
    ...[...paths, ...posted].flatMap((path): Asked[] =>
      ["GET", "POST", "PUT", "DELETE"].map((method) => [method, path]),
    ),
    ...["/", "/raft/", "/raft/foo", "/members/", "/members/foo", "/leases/foo", "/health", "/metrics"].map(
      (path): Asked => ["GET", path],
    ),
    ["POST", "/members/promote/xyz"],
    ["POST", "/members/promote/99999999999999999999999"],
    ["GET", "/members/hashkv", "{}", { "X-Etcd-Cluster-ID": "12" }],
    ["GET", "/members/hashkv", "{"],
    ["GET", "/members/hashkv", '{"revision":"5"}'],
    ["GET", "/members/hashkv", '{"revision":1000}'],
    ["POST", "/leases", "xyz"],
    stream("/raft/stream/message/1", { "X-Etcd-Cluster-ID": "1" }),
    stream("/raft/stream/message/1", { "X-Server-Version": "2.3.0" }),
    stream("/raft/stream/message/1", { "X-Server-Version": "4.0.0" }),
    stream("/raft/stream/message/1", { "X-Min-Cluster-Version": "3.6.0" }),
    stream("/raft/stream/message/1", { "X-Min-Cluster-Version": "3.5.9" }),
    stream("/raft/stream/message/xyz"),
    stream("/raft/stream/msgapp/77"),
    stream("/raft/stream/snapshots/77"),
    stream(`/raft/stream/msgapp/${memberIdText(etcdId)}`, { "X-Raft-To": "1" }),
    post("/raft", "not a message"),
    post("/raft", message({ to: 1n })),
    post("/raft", message({ to }), { "X-Etcd-Cluster-ID": "2" }),
    post("/raft/snapshot", ""),
    post("/raft/snapshot", "\0\0\0\0\0\0\0\x03abc"),
    post("/raft/snapshot", `\0\0\0\0\0\0\0${String.fromCharCode(message({ to }).length)}${message({ to })}`),
  ];
}

interface Told {
  readonly status: number;
  readonly body: string;
  readonly headers: Readonly<Record<string, unknown>>;
}

function ask(url: string, [method, path, body, headers]: Asked): Promise<Told> {
  return new Promise((resolve, reject) => {
    const sent = { ...headers, "Content-Length": String(body?.length ?? 0) };
    const request = http.request(`${url}${path}`, { method, headers: sent, agent: false }, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (chunk: Buffer) => parts.push(chunk));
      response.on("error", () => undefined); // etcd breaks off after some of its answers
      response.on("close", () => {
        const kept = ["content-type", "allow", "x-etcd-cluster-id", "x-content-type-options", "x-server-version"];
        resolve({
          status: response.statusCode!,
          body: Buffer.concat(parts)
            .toString()
            .replace(/"Now":"[^"]*"/, "")
            .replace(/^failed to decode raft message \(.*\)/, "failed to decode raft message"), // each has its own reason
          headers: Object.fromEntries(kept.map((name) => [name, response.headers[name]])),
        });
      });
    });
    request.on("error", reject);
    request.end(Buffer.from(body ?? "", "latin1"));
  });
}

const TOKEN = "etcd-cluster";

interface Couple {
  readonly stage: Stage;
  readonly seat: Seat;
  readonly etcd: Promise<Server>;
  readonly scripted: ScriptedMember;
  readonly door: HttpPeers;
  readonly peers: Peers;
  readonly local: LocalIdentity;
  readonly etcdId: bigint;
  readonly etcdUrl: string;
}

interface CoupleOptions {
  readonly release?: EtcdName;
  readonly flags?: readonly string[];
  /** Both peer ports speak TLS then. */
  readonly tls?: TlsSettings;
}

async function couple(t: TestContext, { release = "newest", flags = [], tls }: CoupleOptions = {}): Promise<Couple> {
  const scheme = tls === undefined ? "http" : "https";
  const options = { listenUrls: [`${scheme}://127.0.0.1:0`], ...(tls && { tls: loadTls(tls, silentLog) }) };
  const door = await HttpPeers.open(options, { clock: new NodeClock(), log: silentLog });
  const stage = new Stage();
  const seat = await stage.seat("real");
  const etcdUrl = `${scheme}://127.0.0.1:${seat.peerPort}`;
  const ownUrl = door.listenUrls[0]!;
  const etcdId = computeMemberId([etcdUrl], TOKEN);
  const memberId = computeMemberId([ownUrl], TOKEN);
  const local = { memberId, clusterId: computeClusterId([etcdId, memberId]) };
  const scripted = new ScriptedMember(local);
  // The compiler's word that the two rooms, which do not know each other, mean the same door.
  const asTheServerSeesIt: PeerDoor = door;
  const peers = asTheServerSeesIt.connect(local, scripted);
  scripted.peers = peers;
  peers.add(etcdId, [etcdUrl]);
  const urls = ["--listen-peer-urls", etcdUrl, "--initial-advertise-peer-urls", etcdUrl];
  const cluster = ["--initial-cluster", `real=${etcdUrl},scripted=${ownUrl}`];
  const server = stage.start(etcd(release), seat, { flags: [...urls, ...cluster, ...flags] });
  server.catch(() => undefined); // the test that waits for it is told
  t.after(async () => {
    await server.then((started) => started.kill()).catch(() => undefined);
    await peers.stop();
    await door.close();
    await stage.clear();
  });
  return { stage, seat, etcd: server, scripted, door, peers, local, etcdId, etcdUrl };
}

for (const release of ["newest", "3.5.16"] as const) {
  test(
    `etcd ${release} wins the scripted member's votes, leads it and serves clients`,
    { skip: skipReason() },
    async (t) => {
      const { etcd: starting, scripted, peers, etcdId } = await couple(t, { release });
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

test("every path answers as etcd's does, to the word", { skip: skipReason() }, async (t) => {
  const { etcd: starting, scripted, door, local, etcdId, etcdUrl } = await couple(t);
  await starting;
  const cluster = await door.fetchCluster([etcdUrl]);
  assert.equal(cluster?.clusterId, local.clusterId);
  scripted.memberList = cluster.members;
  const etcdList = asked(local, local.memberId, etcdId);
  const ownList = asked(local, etcdId, local.memberId);
  for (let at = 0; at < ownList.length; at++) {
    const [theirs, ours] = [await ask(etcdUrl, etcdList[at]!), await ask(door.listenUrls[0]!, ownList[at]!)];
    assert.deepEqual(ours, theirs, `${ownList[at]![0]} ${ownList[at]![1]}`);
  }
});

test("what members ask each other is asked of etcd, too", { skip: skipReason() }, async (t) => {
  const { etcd: starting, door, local, etcdId, etcdUrl } = await couple(t);
  const server = await starting;
  const nobody = "http://127.0.0.1:1";
  let versions = await door.fetchVersions([nobody, etcdUrl]);
  while (versions?.cluster === "not_decided") versions = await door.fetchVersions([etcdUrl]);
  assert.deepEqual(versions, { server: "3.5.30", cluster: "3.5.0" });
  assert.equal(await door.fetchVersions([nobody]), undefined);
  const cluster = await door.fetchCluster([etcdUrl]);
  assert.deepEqual(
    cluster?.members.map(({ id, name }) => ({ id, name })).find(({ id }) => id === etcdId),
    { id: etcdId, name: "real" },
  );
  const revision = await server.client.put("key", "value");
  const hash = await door.fetchHashKv([etcdUrl], revision, local);
  const { hash: expected } = await server.client.hashKV(revision);
  assert.equal(hash?.hash, expected);
  const refusal = (code: string) => (error: unknown) => (error as { code?: string }).code === code;
  await assert.rejects(door.fetchHashKv([etcdUrl], 1000, local), refusal("MVCC_FUTURE_REVISION"));
  await assert.rejects(door.fetchHashKv([etcdUrl], 1, { ...local, clusterId: 5n }), refusal("CLUSTER_MISMATCH"));
  await assert.rejects(door.promote([etcdUrl], 5n), refusal("MEMBER_NOT_FOUND"));
  await assert.rejects(door.promote([etcdUrl], local.memberId), refusal("MEMBER_NOT_LEARNER"));
});

test(
  "etcd and a member of ours talk with certificates of one authority, each for a name",
  { skip: skipReason() },
  async (t) => {
    const authority = TestAuthority.for(t);
    const { trustedAuthority } = authority;
    const theirs = authority.issue({ commonName: "member", hosts: ["127.0.0.1"] });
    const ours = authority.issue({ commonName: "member", hosts: ["127.0.0.1"] });
    const certificate = ["--peer-cert-file", theirs.certificate.path, "--peer-key-file", theirs.key.path];
    const checks = ["--peer-client-cert-auth", "--peer-cert-allowed-cn", "member"];
    const flags = [...certificate, "--peer-trusted-ca-file", trustedAuthority.path, ...checks];
    const settings = { ...ours, trustedAuthority, clientCertificateRequired: true, allowedNames: ["member"] };
    const { etcd: starting, scripted, door, etcdUrl } = await couple(t, { flags, tls: settings });
    const server = await starting;
    await server.client.put("greeting", "hello under cover");
    const carries = (text: string): boolean => scripted.entries.some(({ data }) => Buffer.from(data).includes(text));
    await scripted.until(() => carries("hello under cover"), "the entry of a put");
    assert.equal((await door.fetchVersions([etcdUrl]))?.server, "3.5.30");
  },
);

test(
  "etcd and a member of ours talk with certificates that they made themselves",
  { skip: skipReason() },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "walnut-tls-"));
    t.after(() => rmSync(folder, { recursive: true }));
    const { disk, clock } = nodePlatform();
    const tls = await autoTls({ dataDir: folder, port: "peer", hosts: ["127.0.0.1"] }, { disk, clock });
    const { etcd: starting, scripted } = await couple(t, { flags: ["--peer-auto-tls"], tls });
    const server = await starting;
    await server.client.put("greeting", "hello under cover");
    const carries = (text: string): boolean => scripted.entries.some(({ data }) => Buffer.from(data).includes(text));
    await scripted.until(() => carries("hello under cover"), "the entry of a put");
  },
);

test("etcd sends a snapshot with its database to a member that lost its log", { skip: skipReason() }, async (t) => {
  const few = ["--snapshot-count", "10", "--experimental-snapshot-catchup-entries", "5"];
  const { etcd: starting, stage, seat, scripted, etcdUrl } = await couple(t, { flags: few });
  const server = await starting;
  for (let count = 0; count < 30; count++) await server.client.put("key", String(count));
  await server.kill();
  scripted.entries.length = 0;
  const flags = [...few, "--listen-peer-urls", etcdUrl, "--initial-advertise-peer-urls", etcdUrl];
  const again = stage.start(etcd("newest"), seat, { flags });
  again.catch(() => undefined); // the wait below is told
  await scripted.until(() => scripted.snapshots.length > 0, "a snapshot");
  const { message, bytes } = scripted.snapshots[0]!;
  assert.ok(message.snapshot!.metadata.index >= 10);
  assert.ok(bytes >= 16_384, `${bytes} bytes`);
  assert.equal(bytes % 4096, 0);
  await (await again).client.put("key", "behind the snapshot");
});

test("etcd keeps a snapshot of ours whole, and none that was cut", { skip: skipReason() }, async (t) => {
  const { etcd: starting, seat, scripted, peers, local, etcdId } = await couple(t);
  await starting;
  const pieces = Array.from({ length: 80 }, (_, at) => new Uint8Array(65_536).fill(at));
  const totalBytes = pieces.length * 65_536;
  async function* database(count: number): AsyncGenerator<Uint8Array> {
    yield* pieces.slice(0, count);
  }
  // Of a term that is over: etcd keeps the file and looks no further.
  const message = (index: number): Message =>
    makeMessage({
      type: MessageType.snapshot,
      from: local.memberId,
      to: etcdId,
      term: 1,
      snapshot: {
        data: new Uint8Array(0),
        metadata: {
          index,
          term: 1,
          confState: { voters: [], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false },
        },
      },
    });
  peers.sendSnapshot(message(0x77), { totalBytes, chunks: database(80) });
  await scripted.until(() => scripted.snapshotsSent.length === 1, "the end of the snapshot");
  peers.sendSnapshot(message(0x78), { totalBytes, chunks: database(79) });
  await scripted.until(() => scripted.snapshotsSent.length === 2, "the end of the snapshot that is cut");
  assert.deepEqual(
    scripted.snapshotsSent.map(({ delivered }) => delivered),
    [true, false],
  );
  const folder = join(seat.dataDir, "member", "snap");
  const kept = readdirSync(folder).filter((name) => name.endsWith(".snap.db"));
  assert.deepEqual(kept, ["0000000000000077.snap.db"]);
  assert.deepEqual(readFileSync(join(folder, kept[0]!)), Buffer.concat(pieces));
});
