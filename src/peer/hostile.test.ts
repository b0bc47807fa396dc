/**
 * Strangers at the peer port, and members that are none: every breach is refused, counted and closed, and nothing of it reaches the
 * member behind.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import * as http from "node:http";
import type * as net from "node:net";
import test from "node:test";
import { concatBytes, writeUint64BE } from "../base/bytes.js";
import { PEER_REMOTES_MAX } from "../base/limits.js";
import { mebibytes } from "../base/units.js";
import { LeaseKeepAliveRequest, leasepb } from "../proto/index.js";
import { encodeMessage, makeMessage, type Message, MessageType } from "../proto/raft.js";
import { identityHeaders, peerUrlsOf, senderOf, whyIncompatible } from "./headers.js";
import { encodeSnapshotHead } from "./snapshot-head.js";
import { CLUSTER_ID, PeerWorld, type Seat } from "./testing/fixture.js";
import { golden } from "./testing/golden.js";
import { headerLines, RawConnection } from "./testing/raw.js";

const SENDER = 0xbn;

const length = (value: number): Uint8Array => {
  const bytes = new Uint8Array(8);
  writeUint64BE(bytes, 0, value);
  return bytes;
};

const messageOf = (fields: Partial<Message> & Pick<Message, "type">): Uint8Array =>
  encodeMessage(makeMessage({ to: 0xan, from: SENDER, term: 2, ...fields }));

/** What the port answers to these bytes, up to its end of the connection. */
async function answerTo(seat: Seat, ...pieces: readonly (string | Uint8Array)[]): Promise<string> {
  const raw = new RawConnection(seat.url).send(...pieces);
  const text = await raw.toEnd();
  raw.close();
  return text;
}

const post = (path: string, body: Uint8Array, headers: Readonly<Record<string, string>> = {}): [string, Uint8Array] => [
  `POST ${path} HTTP/1.1\r\n${headerLines(SENDER, { "Content-Length": String(body.length), ...headers })}\r\n`,
  body,
];

/** A member with nothing in it, which must be so afterwards. */
async function fortress(
  t: { after(fn: () => unknown): void },
  options = {},
): Promise<{ world: PeerWorld; seat: Seat }> {
  const world = PeerWorld.for(t);
  const seat = await world.seat(0xan, { timeouts: { connectionMs: 300 }, ...options });
  world.atEnd(() => {
    assert.deepEqual(seat.member.received, [], "nothing was received");
    assert.deepEqual(seat.member.snapshots, [], "no snapshot was kept");
    assert.ok(world.counted("etcd_network_peer_received_failures_total") > 0, "it was counted");
  });
  return { world, seat };
}

for (const [what, bytes, status] of [
  ["bytes that are no HTTP", "\0\x01garbage\r\n\r\n", "400"],
  ["a head that is too large", `GET /version HTTP/1.1\r\nX: ${"x".repeat(20_000)}\r\n\r\n`, "431"],
  ["very many headers", `GET /version HTTP/1.1\r\n${"X: y\r\n".repeat(20_000)}\r\n`, "431"],
  ["a head that does not end", "GET /version HTTP/1.1\r\nHost: x\r\n", "408"],
  ["a connection that says nothing", "", "408"],
  ["a length that is none", "POST /raft HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", "400"],
  ["HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"],
] as const) {
  test(`${what}: ${status}, and the connection is closed`, async (t) => {
    const { seat } = await fortress(t);
    assert.match(await answerTo(seat, bytes), new RegExp(`^HTTP/1.1 ${status} `));
  });
}

const refusedMessages: readonly [what: string, body: Uint8Array][] = [
  ["garbage", Uint8Array.of(1, 2, 3, 255)],
  [
    "a term of 2^64-1",
    concatBytes([messageOf({ type: MessageType.heartbeat }), Uint8Array.of(0x20, ...new Uint8Array(9).fill(255), 1)]),
  ],
  ["a term of 2^53-1", messageOf({ type: MessageType.heartbeat, term: 2 ** 53 - 1 })],
  ["a message without a sender", messageOf({ type: MessageType.heartbeat, from: 0n })],
  ["an unknown type", Uint8Array.of(0x08, 99)],
  ["a proposal of nothing", messageOf({ type: MessageType.propose })],
  ["a read without its context", messageOf({ type: MessageType.readIndex })],
  ["a snapshot without a database", messageOf({ type: MessageType.snapshot })],
  [
    "an append with a gap",
    messageOf({
      type: MessageType.append,
      index: 4,
      entries: [{ type: 0, term: 1, index: 7, data: new Uint8Array(1) }],
    }),
  ],
  [
    "an append of a later term",
    messageOf({
      type: MessageType.append,
      index: 4,
      entries: [{ type: 0, term: 9, index: 5, data: new Uint8Array(1) }],
    }),
  ],
  ...(["hup", "beat", "unreachable", "snapshotStatus", "checkQuorum", "storageAppend", "storageApply"] as const).map(
    (name): [string, Uint8Array] => [
      `a message only a member itself may make: ${name}`,
      messageOf({ type: MessageType[name] }),
    ],
  ),
];

for (const [what, body] of refusedMessages) {
  test(`POST /raft with ${what}: 400`, async (t) => {
    const { seat } = await fortress(t);
    assert.match(await answerTo(seat, ...post("/raft", body)), /^HTTP\/1\.1 400 /);
  });
}

test("a message of 512 MB is refused by its announcement, one that is not announced when it gets too large", async (t) => {
  const { seat } = await fortress(t, { messageBytesMax: 100_000 });
  const announced = `POST /raft HTTP/1.1\r\n${headerLines(SENDER, { "Content-Length": String(mebibytes(512)) })}\r\n`;
  assert.match(await answerTo(seat, announced), /^HTTP\/1\.1 413 /);
  const chunked = `POST /raft HTTP/1.1\r\n${headerLines(SENDER, { "Transfer-Encoding": "chunked" })}\r\n`;
  const chunk = `8000\r\n${"x".repeat(0x8000)}\r\n`;
  assert.match(await answerTo(seat, chunked, chunk, chunk, chunk, chunk), /^HTTP\/1\.1 413 /);
});

test("a body that does not go on is given up", async (t) => {
  const { seat } = await fortress(t);
  for (const [path, length] of [
    ["/raft", 1000],
    ["/members/hashkv", 100],
  ] as const) {
    const method = path === "/raft" ? "POST" : "GET";
    const head = `${method} ${path} HTTP/1.1\r\n${headerLines(SENDER, { "Content-Length": String(length) })}\r\n`;
    assert.match(await answerTo(seat, head, "x"), /^HTTP\/1\.1 400 /);
  }
});

test("a removed sender, and a message for another member or for nobody, are answered as by etcd", async (t) => {
  const { seat } = await fortress(t);
  seat.member.removed.add(SENDER);
  assert.match(await answerTo(seat, ...post("/raft", messageOf({ type: MessageType.heartbeat }))), /^HTTP\/1\.1 500 /);
  const stream = `GET /raft/stream/message/b HTTP/1.1\r\n${headerLines(SENDER, { "X-Raft-To": "a" })}\r\n`;
  assert.match(await answerTo(seat, stream), /^HTTP\/1\.1 410 [^]*removed member\n$/);
  seat.member.removed.clear();
  const elsewhere = messageOf({ type: MessageType.heartbeat, to: 0xccn });
  assert.match(await answerTo(seat, ...post("/raft", elsewhere)), /^HTTP\/1\.1 500 /);
  assert.match(await answerTo(seat, ...post("/raft", new Uint8Array(0))), /^HTTP\/1\.1 500 /);
});

test("whoever asks for a lease that is not there is told so, in the form of either path", async (t) => {
  const { seat } = await fortress(t);
  const renewal = LeaseKeepAliveRequest.encode({ ID: 7n }).finish();
  const question = leasepb.LeaseInternalRequest.encode({ LeaseTimeToLiveRequest: { ID: 7n, keys: true } }).finish();
  assert.match(await answerTo(seat, ...post("/leases", renewal)), /^HTTP\/1\.1 404 [^]*\nlease not found\n$/);
  assert.match(await answerTo(seat, ...post("/leases/internal", question)), /^HTTP\/1\.1 404 [^]*\nlease not found\n$/);
  assert.match(await answerTo(seat, ...post("/leases/internal", renewal)), /^HTTP\/1\.1 400 /);
});

const snapshotHead = encodeSnapshotHead(
  makeMessage({
    type: MessageType.snapshot,
    to: 0xan,
    from: SENDER,
    term: 2,
    snapshot: {
      data: new Uint8Array(3),
      metadata: {
        index: 9,
        term: 2,
        confState: { voters: [], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false },
      },
    },
  }),
);

for (const [what, body] of [
  ["a length of 512 MB", length(mebibytes(512))],
  ["a length of 2^64-1", new Uint8Array(8).fill(255)],
  [
    "another message",
    concatBytes([length(messageOf({ type: MessageType.vote }).length), messageOf({ type: MessageType.vote })]),
  ],
  [
    "no snapshot inside",
    concatBytes([length(messageOf({ type: MessageType.snapshot }).length), messageOf({ type: MessageType.snapshot })]),
  ],
  ["garbage", concatBytes([length(4), Uint8Array.of(255, 255, 255, 255)])],
  ["half a head", snapshotHead.subarray(0, 20)],
  ["nothing", new Uint8Array(0)],
] as const) {
  test(`POST /raft/snapshot with ${what}: 400`, async (t) => {
    const { seat } = await fortress(t);
    assert.match(await answerTo(seat, ...post("/raft/snapshot", body)), /^HTTP\/1\.1 400 /);
    assert.deepEqual(seat.member.snapshotsBroken, [], "the member was not asked");
  });
}

for (const [what, headers, frame] of [
  ["with a length", { "Content-Length": String(snapshotHead.length + 1000) }, (bytes: Uint8Array) => bytes],
  [
    "in chunks",
    { "Transfer-Encoding": "chunked" },
    (bytes: Uint8Array) => concatBytes([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from("\r\n")]),
  ],
] as const) {
  test(`a snapshot ${what} that is cut, or rests, is not kept`, async (t) => {
    const { seat } = await fortress(t);
    const head = `POST /raft/snapshot HTTP/1.1\r\n${headerLines(SENDER, headers)}\r\n`;
    const cut = new RawConnection(seat.url).send(head, frame(snapshotHead), frame(new Uint8Array(500)));
    await seat.member.until(() => seat.member.snapshotsBegun === 1, "that it is read");
    cut.socket.end();
    await seat.member.until(() => seat.member.snapshotsBroken.length === 1, "that it was cut");
    const resting = new RawConnection(seat.url).send(head, frame(snapshotHead), frame(new Uint8Array(500)));
    await seat.member.until(() => seat.member.snapshotsBroken.length === 2, "that it rests");
    const codes = seat.member.snapshotsBroken.map((error) => (error as { code?: string }).code);
    assert.deepEqual(codes, ["PEER_CUT", "PEER_TIMEOUT"]);
    cut.close();
    resting.close();
  });
}

test("connections over the limit are closed at once", async (t) => {
  const { world, seat } = await fortress(t, { connectionsMax: 3, timeouts: { connectionMs: 5_000 } });
  const held = Array.from({ length: 3 }, () => new RawConnection(seat.url).send("GET /ver"));
  await Promise.all(held.map(({ socket }) => once(socket, "connect")));
  assert.equal(await answerTo(seat, "GET /version HTTP/1.1\r\nHost: x\r\n\r\n"), "");
  await world.until(() => world.counted("etcd_network_peer_received_failures_total") > 0, "that it is counted");
  for (const connection of held) connection.close();
});

test("who says where it can be reached is believed up to a number, and only with URLs that can be dialed", async (t) => {
  const { seat } = await fortress(t);
  const garbage = Uint8Array.of(255);
  const tell = async (id: bigint, urls: string): Promise<void> => {
    const head = headerLines(id, { "X-PeerURLs": urls, "Content-Length": "1", Connection: "close" });
    await answerTo(seat, `POST /raft HTTP/1.1\r\n${head}\r\n`, garbage);
  };
  await tell(7n, "ftp://x,http://");
  assert.equal(seat.door.describe(7n), "unknown");
  for (let id = 100; id < 101 + PEER_REMOTES_MAX; id++) await tell(BigInt(id), "http://127.0.0.1:1");
  assert.equal(seat.door.describe(100n), "unknown", "the oldest makes room");
  assert.equal(seat.door.describe(101n), "known by its word");
  assert.equal(seat.door.describe(0xan), "unknown", "nobody can claim to be this member");
});

// ---- members that are none ----------------------------------------------------------------------------------------

for (const [what, bytes] of [
  ["garbage", new Uint8Array(100).fill(255)],
  ["an endless length", concatBytes([Uint8Array.of(2), length(2 ** 50)])],
  ["a message for another member", framed(messageOf({ type: MessageType.vote, to: 0xccn }))],
  ["a message only a member itself may make", framed(messageOf({ type: MessageType.hup }))],
  ["a snapshot without its database", framed(encodeMessage(snapshotMessage()))],
] as const) {
  test(`${what} on a stream that we opened: it is closed, and tried again`, async (t) => {
    const { world, seat } = await fortress(t, { timeouts: { connectionMs: 5_000 } });
    let asked = 0;
    const impostor = http.createServer((_request, response) => {
      asked++;
      response.writeHead(200, { "X-Server-Version": "3.5.30" });
      response.write(bytes);
      response.on("error", () => undefined);
    });
    await once(impostor.listen({ host: "127.0.0.1", port: 0 }), "listening");
    world.atEnd(() => impostor.closeAllConnections());
    world.atEnd(() => impostor.close());
    seat.peers.add(SENDER, [`http://127.0.0.1:${(impostor.address() as net.AddressInfo).port}`]);
    await world.until(() => asked >= 4, "second attempts");
    assert.ok(world.counted("etcd_network_peer_received_failures_total", "b") >= 2);
  });
}

function framed(message: Uint8Array): Uint8Array {
  return concatBytes([length(message.length), message]);
}

function snapshotMessage(): Message {
  return makeMessage({
    type: MessageType.snapshot,
    to: 0xan,
    from: SENDER,
    term: 2,
    snapshot: {
      data: new Uint8Array(3),
      metadata: {
        index: 9,
        term: 2,
        confState: { voters: [], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false },
      },
    },
  });
}

test("answers of any kind to our requests are survived", async (t) => {
  const world = PeerWorld.for(t);
  const door = await world.door();
  const answers = ["", "[]", "{}", "null", "[5]", '[{"id":"x"}]', "x".repeat(5_000_000), '{"etcdserver":5}'];
  let next = 0;
  const impostor = http.createServer((_request, response) => {
    response.setHeader("X-Etcd-Cluster-Id", "c1");
    response.end(answers[next]);
  });
  await once(impostor.listen({ host: "127.0.0.1", port: 0 }), "listening");
  world.atEnd(() => impostor.closeAllConnections());
  world.atEnd(() => impostor.close());
  const url = `http://127.0.0.1:${(impostor.address() as net.AddressInfo).port}`;
  const local = { memberId: 1n, clusterId: CLUSTER_ID };
  for (next = 0; next < answers.length; next++) {
    assert.equal(await door.fetchCluster([url]), undefined);
    assert.equal(await door.fetchVersions([url]), undefined);
    if (answers[next] !== "[]") assert.equal(await door.promote([url], 5n), undefined);
    if (answers[next] !== "{}" && !answers[next]!.startsWith('{"')) {
      assert.equal(await door.fetchHashKv([url], 1, local), undefined);
    }
  }
});

// ---- headers ------------------------------------------------------------------------------------------------------

test("versions that do not know each other, and other clusters, are told apart", () => {
  const own = { server: "3.5.30", minCluster: "3.0.0" };
  const headers = (
    server: string | undefined,
    minCluster: string | undefined,
    cluster = "c1",
  ): Record<string, string> => ({
    "x-etcd-cluster-id": cluster,
    ...(server === undefined ? {} : { "x-server-version": server }),
    ...(minCluster === undefined ? {} : { "x-min-cluster-version": minCluster }),
  });
  const why = (...args: Parameters<typeof headers>): string | undefined =>
    whyIncompatible(headers(...args), 0xc1n, own);
  for (const server of ["3.0.0", "3.4.9", "3.5.30", "3.6.0-rc.1", "4.0.0"])
    assert.equal(why(server, "3.0.0"), undefined, server);
  for (const server of ["2.3.8", "", "x", "3.5", "99999999999.0.0", undefined]) {
    assert.equal(why(server, "3.0.0"), "incompatible version", server);
  }
  for (const minCluster of ["3.6.0", "4.0.0", "x"])
    assert.equal(why("3.5.0", minCluster), "incompatible version", minCluster);
  assert.equal(why("3.5.0", undefined), undefined, "a missing one is 2.0.0");
  assert.equal(why("3.5.0", "3.0.0", "c2"), "cluster ID mismatch");
  assert.equal(why("3.5.0", "3.0.0", ""), "cluster ID mismatch");
});

test("a sender's URLs are taken when each can be dialed and there are few of them", () => {
  const urls = (value: string): readonly string[] => peerUrlsOf({ "x-peerurls": value });
  assert.deepEqual(urls("http://a:1,https://[::1]:2380"), ["http://a:1", "https://[::1]:2380"]);
  for (const value of [
    "",
    ",",
    "http://a",
    "http://a:1/x",
    "http://a:99999",
    "http://u@a:1",
    "unix://a",
    "http://a:1,x",
  ]) {
    assert.deepEqual(urls(value), [], value);
  }
  assert.deepEqual(urls(Array(17).fill("http://a:1").join(",")), []);
  assert.equal(senderOf({ "x-server-from": "0", "x-peerurls": "http://a:1" }), undefined);
  assert.equal(senderOf({ "x-server-from": "11112222333344445", "x-peerurls": "http://a:1" }), undefined);
  assert.deepEqual(senderOf({ "x-server-from": "FF", "x-peerurls": "http://a:1" }), { id: 255n, urls: ["http://a:1"] });
});

test("our headers are those that etcd sends", () => {
  const lines = new TextDecoder().decode(golden("snapshot-request-3.5.30.txt")).trimEnd().split("\n").slice(1);
  const theirs = new Map(lines.map((line) => [line.split(": ")[0]!.toLowerCase(), line.split(": ")[1]!]));
  const id = (name: string): bigint => BigInt(`0x${theirs.get(name)}`);
  const ours = identityHeaders(
    { memberId: id("x-server-from"), clusterId: id("x-etcd-cluster-id") },
    { server: "3.5.30", minCluster: "3.0.0" },
    [theirs.get("x-peerurls")!],
  );
  for (const [name, value] of Object.entries(ours)) assert.equal(theirs.get(name.toLowerCase()), value, name);
  const theirNames = [...theirs.keys()].filter((name) => name.startsWith("x-"));
  assert.equal(Object.keys(ours).length, theirNames.length, "none is missing, none too many");
});
