/**
 * Records what a real etcd sends to another member: its two streams, and a snapshot's request.
 *
 *   node dist/test/compat/record-peer.js [--etcd newest|3.5.16]      writes src/peer/testing/golden/
 *
 * The other member is a scripted one. It opens the streams by hand, so that the bytes are kept as they come (without HTTP's
 * chunks), and answers by the pipeline.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import * as http from "node:http";
import * as net from "node:net";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { computeClusterId, computeMemberId, memberIdText } from "../../src/membership/index.js";
import { HttpPeers } from "../../src/peer/index.js";
import { AppendDecoder } from "../../src/peer/append-stream.js";
import { isLinkHeartbeat, MessageDecoder, type StreamDecoder } from "../../src/peer/message-stream.js";
import { ScriptedMember } from "../../src/peer/testing/scripted-member.js";
import { silentLog } from "../../src/platform/index.js";
import { NodeClock } from "../../src/platform/node/index.js";
import { etcd, type EtcdName, PROJECT } from "../support/binaries.js";
import { Stage } from "../support/servers.js";

const TOKEN = "etcd-cluster";
const BYTES_MAX = 2 ** 24;

/** Opens a stream and keeps what comes. */
function record(
  url: string,
  path: string,
  headers: http.OutgoingHttpHeaders,
  decoder: StreamDecoder,
  to: ScriptedMember,
) {
  const parts: Buffer[] = [];
  const request = http.get(`${url}${path}`, { headers, agent: false }, (response) => {
    response.on("data", (chunk: Buffer) => {
      parts.push(chunk);
      decoder.push(chunk, (message) => {
        if (!isLinkHeartbeat(message)) to.receive(message);
      });
    });
    response.on("error", () => undefined); // etcd is killed in the end
  });
  request.on("error", () => undefined);
  return (): Buffer => Buffer.concat(parts);
}

/** Stands before a port, and keeps what comes on each connection. */
async function recordingProxy(port: number): Promise<{ port: number; snapshot(): Buffer; close(): void }> {
  const connections: Buffer[][] = [];
  const server = net.createServer((from) => {
    const parts: Buffer[] = [];
    connections.push(parts);
    const to = net.connect({ host: "127.0.0.1", port });
    from.on("data", (chunk) => parts.push(chunk));
    from.pipe(to).pipe(from);
    for (const [one, other] of [
      [from, to],
      [to, from],
    ] as const) {
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
    }
  });
  await new Promise<void>((resolve) => {
    server.listen({ host: "127.0.0.1", port: 0 }, resolve);
  });
  return {
    port: (server.address() as net.AddressInfo).port,
    snapshot: () =>
      connections.map((parts) => Buffer.concat(parts)).find((bytes) => bytes.includes("POST /raft/snapshot "))!,
    close: () => server.close(),
  };
}

/** A request with a chunked body, which may stand behind others of its connection: its head, and the body without the chunks. */
function requestOf(bytes: Buffer, line: string): { readonly head: string; readonly body: Buffer } {
  const begin = bytes.indexOf(line);
  const end = bytes.indexOf("\r\n\r\n", begin);
  const chunks: Buffer[] = [];
  for (let at = end + 4; ;) {
    const lineEnd = bytes.indexOf("\r\n", at);
    const size = Number.parseInt(bytes.toString("latin1", at, lineEnd), 16);
    if (size === 0) return { head: bytes.toString("latin1", begin, end + 2), body: Buffer.concat(chunks) };
    chunks.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + size));
    at = lineEnd + 2 + size + 2;
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { etcd: { type: "string", default: "newest" } } });
  const release = etcd(values.etcd as EtcdName);
  const folder = join(PROJECT, "src", "peer", "testing", "golden");
  mkdirSync(folder, { recursive: true });
  await Stage.with(async (stage) => {
    const door = await HttpPeers.open(
      { listenUrls: ["http://127.0.0.1:0"] },
      { clock: new NodeClock(), log: silentLog },
    );
    const seat = await stage.seat("real");
    const etcdUrl = `http://127.0.0.1:${seat.peerPort}`;
    const proxy = await recordingProxy(Number(new URL(door.listenUrls[0]!).port));
    const ownUrl = `http://127.0.0.1:${proxy.port}`;
    const etcdId = computeMemberId([etcdUrl], TOKEN);
    const memberId = computeMemberId([ownUrl], TOKEN);
    const clusterId = computeClusterId([etcdId, memberId]);
    const scripted = new ScriptedMember({ memberId, clusterId });
    scripted.peers = door.connect({ memberId, clusterId }, scripted);
    const flags = ["--initial-cluster", `real=${etcdUrl},scripted=${ownUrl}`];
    const few = ["--snapshot-count", "10", "--experimental-snapshot-catchup-entries", "5"];
    const starting = stage.start(release, seat, { flags: [...flags, ...few] });
    const headers = {
      "X-Server-From": memberIdText(memberId),
      "X-Server-Version": "3.5.30",
      "X-Min-Cluster-Version": "3.0.0",
      "X-Etcd-Cluster-ID": memberIdText(clusterId),
      "X-Raft-To": memberIdText(etcdId),
      "X-PeerURLs": ownUrl,
    };
    const id = memberIdText(memberId);
    const open = () => ({
      message: record(etcdUrl, `/raft/stream/message/${id}`, headers, new MessageDecoder(BYTES_MAX), scripted),
      append: record(
        etcdUrl,
        `/raft/stream/msgapp/${id}`,
        headers,
        new AppendDecoder({ local: memberId, remote: etcdId }, BYTES_MAX),
        scripted,
      ),
    });
    await listening(seat.peerPort);
    const streams = open();
    const server = await starting;
    await server.client.put("first", "value");
    await server.client.put("second", "x".repeat(2000));
    for (let count = 0; count < 5; count++) await server.client.put("again", String(count));
    await new Promise((resolve) => setTimeout(resolve, 4_000)); // two link heart-beats
    writeFileSync(join(folder, `message-${release.version}.stream`), streams.message());
    writeFileSync(join(folder, `append-${release.version}.stream`), streams.append());
    // After its restart the scripted member has lost its log: the leader sends a snapshot.
    for (let count = 0; count < 30; count++) await server.client.put("more", String(count));
    await server.kill();
    scripted.entries.length = 0;
    const restarting = stage.start(release, seat, { flags: few });
    restarting.catch(() => undefined); // it may never serve: the scripted member does not install what it gets
    await listening(seat.peerPort);
    open();
    await scripted.until(() => scripted.snapshots.length > 0, "a snapshot");
    const { head, body } = requestOf(proxy.snapshot(), "POST /raft/snapshot ");
    const headBytes = 8 + Number(body.readBigUInt64BE(0));
    writeFileSync(join(folder, `snapshot-head-${release.version}.bin`), body.subarray(0, headBytes));
    writeFileSync(join(folder, `snapshot-request-${release.version}.txt`), head.replaceAll("\r", ""));
    console.log(
      `${folder}: streams of ${release.name}, and a snapshot's request before ${body.length - headBytes} bytes of db`,
    );
    proxy.close();
    await scripted.peers.stop();
    await restarting.then((restarted) => restarted.kill()).catch(() => undefined);
  });
}

async function listening(port: number): Promise<void> {
  for (;;) {
    const up = await new Promise<boolean>((resolve) => {
      const request = http.get({ host: "127.0.0.1", port, path: "/version", agent: false }, (response) => {
        response.resume();
        resolve(true);
      });
      request.on("error", () => resolve(false));
    });
    if (up) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

if (process.argv[1] === import.meta.filename) await main();
