/** Members of ours against each other: what arrives, what is told, and what happens when the way between them breaks. */
import assert from "node:assert/strict";
import { once } from "node:events";
import * as http from "node:http";
import * as net from "node:net";
import test from "node:test";
import { mebibytes } from "../base/units.js";
import { type Entry, makeMessage, type Message, MessageType } from "../proto/raft.js";
import { PeerWorld, type Seat, wrongWallClock } from "./testing/fixture.js";
import { headerLines, RawConnection } from "./testing/raw.js";

const vote = (from: { id: bigint }, to: { id: bigint }, term: number): Message =>
  makeMessage({ type: MessageType.voteResponse, from: from.id, to: to.id, term });

const append = (from: Seat, to: Seat, index: number, sizes: readonly number[]): Message => {
  const entries = sizes.map((size, at): Entry => ({
    type: 0,
    term: 2,
    index: index + at + 1,
    data: new Uint8Array(size),
  }));
  return makeMessage({
    type: MessageType.append,
    from: from.id,
    to: to.id,
    term: 2,
    logTerm: index === 0 ? 0 : 2,
    index,
    entries,
  });
};

/** A database of so many bytes, and whether it was let go. */
class Database {
  readonly totalBytes: number;
  readonly chunks: AsyncIterable<Uint8Array>;
  given = 0;
  released = false;
  /** Called before each piece. */
  onPiece: () => void | Promise<void> = () => undefined;

  constructor(totalBytes: number, { realBytes = totalBytes, pieceBytes = 65_536 } = {}) {
    this.totalBytes = totalBytes;
    this.chunks = this.#generate(realBytes, pieceBytes);
  }

  async *#generate(realBytes: number, pieceBytes: number): AsyncGenerator<Uint8Array> {
    try {
      while (this.given < realBytes) {
        await this.onPiece();
        const piece = new Uint8Array(Math.min(pieceBytes, realBytes - this.given)).fill(this.given / pieceBytes);
        this.given += piece.length;
        yield piece;
      }
    } finally {
      this.released = true;
    }
  }
}

/** Stands between two members and can cut. */
class Cable {
  readonly url: string;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();

  private constructor(server: net.Server) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
  }

  static async to(url: string): Promise<Cable> {
    const port = Number(new URL(url).port);
    const server = net.createServer((from) => {
      const to = net.connect({ host: "127.0.0.1", port });
      for (const [one, other] of [
        [from, to],
        [to, from],
      ] as const) {
        cable.#sockets.add(one);
        one.on("error", () => undefined);
        one.on("close", () => {
          cable.#sockets.delete(one);
          other.destroy();
        });
      }
      from.pipe(to).pipe(from);
    });
    await once(server.listen({ host: "127.0.0.1", port: 0 }), "listening");
    const cable = new Cable(server);
    return cable;
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.#server.close();
    this.cut();
    await once(this.#server, "close");
  }
}

// ---- messages -----------------------------------------------------------------------------------------------------

test("messages of every kind arrive in order, each kind on its stream", async (t) => {
  const world = PeerWorld.for(t);
  const [a, b] = await world.couple();
  await world.connected(a, b);
  for (let term = 1; term <= 50; term++) a.peers.send([vote(a, b, term), append(a, b, term - 1, [100])]);
  await b.member.until(() => b.member.received.length === 100, "all messages");
  const of = (type: MessageType): Message[] => b.member.received.filter((message) => message.type === type);
  assert.deepEqual(
    of(MessageType.voteResponse).map(({ term }) => term),
    Array.from({ length: 50 }, (_, at) => at + 1),
  );
  assert.deepEqual(
    b.member.entries.map(({ index }) => index),
    Array.from({ length: 50 }, (_, at) => at + 1),
  );
  await a.member.until(() => a.member.received.length === 50, "an answer to each append");
  assert.notEqual(a.peers.activeSince(b.id), undefined);
  assert.deepEqual(a.member.unreachable, []);
});

test("more than the connection takes at once arrives whole and in order", async (t) => {
  const world = PeerWorld.for(t);
  const [a, b] = await world.couple();
  await world.connected(a, b);
  a.peers.send(Array.from({ length: 60 }, (_, at) => append(a, b, at, [mebibytes(0.5)])));
  await b.member.until(() => b.member.lastIndex === 60, "30 MB of appends");
  assert.ok(b.member.entries.every(({ data }) => data.length === mebibytes(0.5)));
  assert.deepEqual(a.member.unreachable, []);
});

test("messages to nobody, to the unknown and snapshots without a database are dropped", async (t) => {
  const world = PeerWorld.for(t);
  const [a, b] = await world.couple();
  await world.connected(a, b);
  a.peers.send([vote(a, { id: 0n }, 1), vote(a, { id: 77n }, 1), world.snapshotMessage(a, b, 5), vote(a, b, 9)]);
  await b.member.until(() => b.member.received.length > 0, "the one that has a receiver");
  assert.deepEqual(
    b.member.received.map(({ term }) => term),
    [9],
  );
});

test("all messages of one turn leave in one write", async (t) => {
  const world = PeerWorld.for(t);
  const a = await world.seat(0xan);
  a.peers.add(0xbn, ["http://127.0.0.1:1"]);
  const raw = new RawConnection(a.url);
  world.atEnd(() => raw.close());
  raw.send(`GET /raft/stream/message/b HTTP/1.1\r\n${headerLines(0xbn, { "X-Raft-To": "a" })}\r\n`);
  await world.until(() => a.door.describe(0xbn).startsWith("message out"), "the stream");
  const head = raw.text().length;
  a.peers.send(Array.from({ length: 100 }, (_, at) => vote(a, { id: 0xbn }, at)));
  a.peers.send([vote(a, { id: 0xbn }, 100)]);
  await world.until(() => raw.text().length > head + 101 * 30, "the messages");
  // HTTP's chunks: one for each of the two calls, however many messages were in it.
  assert.equal(raw.text().match(/\r\n[0-9a-f]+\r\n/g)?.length, 2);
});

test("a member without a stream to us is sent its messages one by one", async (t) => {
  const world = PeerWorld.for(t);
  const a = await world.seat(0xan);
  const b = await world.seat(0xbn);
  a.peers.add(b.id, [b.url]);
  a.peers.send([vote(a, b, 1), vote(a, b, 2), append(a, b, 0, [10])]);
  await b.member.until(() => b.member.received.length === 3, "all of them");
  assert.equal(b.door.describe(a.id), "known by its word");
});

test("a member that knows nobody answers its leader, by the URLs that the leader tells", async (t) => {
  const world = PeerWorld.for(t);
  const leader = await world.seat(0xan);
  const joining = await world.seat(0xbn);
  leader.peers.add(joining.id, [joining.url]);
  leader.peers.send([append(leader, joining, 0, [10])]);
  await leader.member.until(() => leader.member.received.length > 0, "the answer");
  assert.equal(leader.member.received[0]?.type, MessageType.appendResponse);
  joining.peers.add(leader.id, [leader.url]); // it has read so far in its log now
  await world.connected(leader, joining);
});

test("the second URL is tried when the first does not answer, and new URLs replace old ones", async (t) => {
  const world = PeerWorld.for(t);
  const a = await world.seat(0xan);
  const b = await world.seat(0xbn);
  a.peers.add(b.id, ["http://127.0.0.1:1", b.url]);
  b.peers.add(a.id, ["http://127.0.0.1:1"]);
  b.peers.add(a.id, [a.url]);
  await world.connected(a, b);
});

// ---- broken ways --------------------------------------------------------------------------------------------------

test("a member that nobody answers for is told to be unreachable", async (t) => {
  const world = PeerWorld.for(t);
  const a = await world.seat(0xan);
  a.peers.add(0xbn, ["http://127.0.0.1:1"]);
  a.peers.send([vote(a, { id: 0xbn }, 1)]);
  assert.deepEqual(a.member.unreachable, [], "not from within the call");
  await a.member.until(() => a.member.unreachable.length > 0, "that it is unreachable");
  assert.equal(a.peers.activeSince(0xbn), undefined);
});

test("streams that are cut are opened again", async (t) => {
  const world = PeerWorld.for(t);
  const a = await world.seat(0xan);
  const b = await world.seat(0xbn);
  const cables = [await Cable.to(a.url), await Cable.to(b.url)] as const;
  world.atEnd(async () => {
    for (const cable of cables) await cable.close();
  });
  a.peers.add(b.id, [cables[1].url]);
  b.peers.add(a.id, [cables[0].url]);
  for (let round = 1; round <= 3; round++) {
    await world.connected(a, b);
    a.peers.send([vote(a, b, round)]);
    await b.member.until(() => b.member.received.some(({ term }) => term === round), "the message of this round");
    for (const cable of cables) cable.cut();
    await world.until(() => a.door.describe(b.id) !== "append+message out, append+message in", "that it is noticed");
  }
  await world.connected(a, b);
});

test("a member that came back on the same port is found again", async (t) => {
  const world = PeerWorld.for(t);
  const [a, b] = await world.couple();
  await world.connected(a, b);
  const since = a.peers.activeSince(b.id);
  await b.peers.stop();
  await world.until(() => a.peers.activeSince(b.id) === undefined, "that it is gone");
  const again = await world.seat(b.id, { listenUrls: [b.url] });
  again.peers.add(a.id, [a.url]);
  await world.connected(a, again);
  assert.ok(a.peers.activeSince(b.id)! > since!);
});

test("a newer stream replaces an older one", async (t) => {
  const world = PeerWorld.for(t);
  const a = await world.seat(0xan);
  a.peers.add(0xbn, ["http://127.0.0.1:1"]);
  const open = (): RawConnection => {
    const raw = new RawConnection(a.url);
    world.atEnd(() => raw.close());
    return raw.send(`GET /raft/stream/message/b HTTP/1.1\r\n${headerLines(0xbn, { "X-Raft-To": "a" })}\r\n`);
  };
  const older = open();
  await world.until(() => older.text().includes("200 OK"), "the older stream");
  const newer = open();
  assert.ok((await older.toEnd()).startsWith("HTTP/1.1 200 OK"));
  const head = newer.text().length;
  a.peers.send([vote(a, { id: 0xbn }, 1)]);
  await world.until(() => newer.text().length > head, "a message on the newer one");
});

test("a quiet stream lives on link heart-beats", async (t) => {
  const world = PeerWorld.for(t);
  const [a, b] = await world.couple({ timeouts: { connectionMs: 300 } });
  await world.connected(a, b);
  const since = [a.peers.activeSince(b.id), b.peers.activeSince(a.id)];
  const received = (): number => world.counted("etcd_network_peer_received_bytes_total");
  const before = received();
  await world.until(() => received() > before + 500, "heart-beats for several times the timeout");
  assert.deepEqual([a.peers.activeSince(b.id), b.peers.activeSince(a.id)], since);
  assert.deepEqual(a.member.received, [], "raft is not told of them");
});

test("a stream on which not even heart-beats come is given up, and opened again", async (t) => {
  const world = PeerWorld.for(t);
  let asked = 0;
  const silent = http.createServer((_request, response) => {
    asked++;
    response.writeHead(200, { "X-Server-Version": "3.5.30" });
    response.flushHeaders();
  });
  await once(silent.listen({ host: "127.0.0.1", port: 0 }), "listening");
  world.atEnd(() => silent.closeAllConnections());
  world.atEnd(() => silent.close());
  const a = await world.seat(0xan, { timeouts: { connectionMs: 150 } });
  a.peers.add(0xbn, [`http://127.0.0.1:${(silent.address() as net.AddressInfo).port}`]);
  const given = (): number => world.counted("etcd_network_peer_received_failures_total", "b");
  await world.until(() => given() >= 4 && asked >= 6, "that each stream was given up twice, and asked for again");
});

test("a reader that does not read fills a bounded queue, and loses its stream", async (t) => {
  const world = PeerWorld.for(t);
  const a = await world.seat(0xan, { timeouts: { connectionMs: 500 } });
  a.peers.add(0xbn, ["http://127.0.0.1:1"]);
  const raw = new RawConnection(a.url);
  world.atEnd(() => raw.close());
  raw.send(`GET /raft/stream/msgapp/b HTTP/1.1\r\n${headerLines(0xbn, { "X-Raft-To": "a" })}\r\n`);
  await world.until(() => a.door.describe(0xbn).startsWith("append out"), "the stream");
  raw.socket.pause();
  const big = append(a, { ...a, id: 0xbn }, 0, [mebibytes(1)]);
  for (let count = 0; a.member.unreachable.length === 0; count++) {
    assert.ok(count < 200, "the queue takes no more than its bound");
    a.peers.send([big]);
    await Promise.resolve();
  }
  const failures = world.counted("etcd_network_peer_sent_failures_total");
  await world.until(() => a.door.describe(0xbn).startsWith(" out"), "that the stream is given up");
  assert.ok(world.counted("etcd_network_peer_sent_failures_total") > failures);
});

test("a removed member is told so, and tells its owner", async (t) => {
  const world = PeerWorld.for(t);
  const [a, b] = await world.couple();
  await world.connected(a, b);
  a.member.removed.add(b.id);
  a.peers.remove(b.id);
  await b.member.until(() => b.member.removedByOthers > 0, "that it was removed");
  assert.equal(a.door.describe(b.id), "unknown");
});

test("members probe each other: the time of the way is observed, a silent one and another clock are told", async (t) => {
  const world = PeerWorld.for(t);
  const [a, b] = await world.couple({ timeouts: { connectionMs: 200, requestMs: 200 } });
  const observed = (id: string): number => world.counted("etcd_network_peer_round_trip_time_seconds", id);
  await world.until(() => observed("a") > 1 && observed("b") > 1, "two probes each way");
  assert.equal(world.said("prober found high clock drift"), 0);
  const late = await world.seat(0xcn, {}, wrongWallClock(world.clock, -60_000));
  a.peers.add(late.id, [late.url]);
  await world.until(() => world.said("prober found high clock drift") > 0, "that the clocks differ");
  await b.peers.stop();
  await world.until(() => world.said("prober detected unhealthy status") > 0, "that it is silent");
  assert.equal(a.peers.activeSince(b.id), undefined);
});

// ---- snapshots ----------------------------------------------------------------------------------------------------

test("a snapshot of 50 MB arrives whole, while messages pass it", async (t) => {
  const world = PeerWorld.for(t);
  const [a, b] = await world.couple();
  await world.connected(a, b);
  const database = new Database(mebibytes(50));
  let sent = 0;
  database.onPiece = () => a.peers.send([vote(a, b, ++sent)]);
  a.peers.sendSnapshot(world.snapshotMessage(a, b, 9), database);
  await b.member.until(() => b.member.received.length > 0, "a message");
  assert.ok(!database.released, "it came before the snapshot's end");
  await a.member.until(() => a.member.snapshotsSent.length > 0, "the end of the snapshot");
  assert.deepEqual(a.member.snapshotsSent, [{ id: b.id, delivered: true }]);
  assert.equal(b.member.snapshots.length, 1);
  assert.equal(b.member.snapshots[0]!.bytes, mebibytes(50));
  assert.equal(b.member.snapshots[0]!.message.snapshot?.metadata.index, 9);
  assert.ok(database.released);
  await b.member.until(() => b.member.received.length === sent, "every message");
});

test("a receiver that takes its time holds the sender back", async (t) => {
  const world = PeerWorld.for(t);
  const [a, b] = await world.couple();
  let resume: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (resume = resolve));
  b.member.beforeReading = () => held;
  const database = new Database(mebibytes(50));
  a.peers.sendSnapshot(world.snapshotMessage(a, b, 9), database);
  let before = -1;
  // It has stopped when several turns bring nothing more.
  await world.until(() => before === database.given || ((before = database.given), false), "that the sender waits");
  assert.ok(database.given < mebibytes(50), `${database.given} bytes were taken from the database`);
  resume();
  await a.member.until(() => a.member.snapshotsSent.length > 0, "the end of the snapshot");
  assert.deepEqual(a.member.snapshotsSent, [{ id: b.id, delivered: true }]);
});

test("a snapshot that is cut on its way is kept by nobody, and told once", async (t) => {
  const world = PeerWorld.for(t);
  const a = await world.seat(0xan);
  const b = await world.seat(0xbn);
  const cable = await Cable.to(b.url);
  world.atEnd(() => cable.close());
  a.peers.add(b.id, [cable.url]);
  const database = new Database(mebibytes(50));
  database.onPiece = () => {
    if (database.given >= mebibytes(20)) cable.cut();
  };
  a.peers.sendSnapshot(world.snapshotMessage(a, b, 9), database);
  await a.member.until(() => a.member.snapshotsSent.length > 0, "the end of the snapshot");
  await b.member.until(() => b.member.snapshotsBroken.length > 0, "the receiver's failure");
  assert.match(String(b.member.snapshotsBroken[0]), /PEER_CUT: the sender broke off after \d+ bytes of 524/);
  assert.deepEqual(a.member.snapshotsSent, [{ id: b.id, delivered: false }]);
  assert.deepEqual(b.member.snapshots, []);
  assert.ok(database.released);
});

for (const [what, realBytes] of [
  ["fewer", mebibytes(3)],
  ["more", mebibytes(5)],
] as const) {
  test(`a database of ${what} bytes than were announced is kept by nobody`, async (t) => {
    const world = PeerWorld.for(t);
    const [a, b] = await world.couple();
    const database = new Database(mebibytes(4), { realBytes });
    a.peers.sendSnapshot(world.snapshotMessage(a, b, 9), database);
    await a.member.until(() => a.member.snapshotsSent.length > 0, "the end of the snapshot");
    await b.member.until(() => b.member.snapshotsBroken.length > 0, "the receiver's failure");
    assert.deepEqual(a.member.snapshotsSent, [{ id: b.id, delivered: false }]);
    assert.deepEqual(b.member.snapshots, []);
    assert.ok(database.released);
  });
}

test("a snapshot that the receiver cannot keep, or whose database fails, is told to have failed", async (t) => {
  const world = PeerWorld.for(t);
  const [a, b] = await world.couple();
  b.member.beforeReading = () => Promise.reject(new Error("no space is left"));
  a.peers.sendSnapshot(world.snapshotMessage(a, b, 9), new Database(1000));
  await a.member.until(() => a.member.snapshotsSent.length === 1, "the end of the first snapshot");
  b.member.beforeReading = () => Promise.resolve();
  const failing = new Database(mebibytes(4));
  failing.onPiece = () => {
    if (failing.given > 1000) throw new Error("the disk fails");
  };
  a.peers.sendSnapshot(world.snapshotMessage(a, b, 10), failing);
  await a.member.until(() => a.member.snapshotsSent.length === 2, "the end of the second snapshot");
  assert.deepEqual(
    a.member.snapshotsSent.map(({ delivered }) => delivered),
    [false, false],
  );
  assert.deepEqual(b.member.snapshots, []);
});

test("a snapshot to the unknown, to a removed member, and at the end is told to have failed", async (t) => {
  const world = PeerWorld.for(t);
  const [a, b] = await world.couple();
  const databases = [new Database(1000), new Database(mebibytes(50)), new Database(mebibytes(50)), new Database(1000)];
  const [unknown, removed, last, late] = databases as [Database, Database, Database, Database];
  a.peers.sendSnapshot({ ...world.snapshotMessage(a, b, 9), to: 77n }, unknown);
  await a.member.until(() => a.member.snapshotsSent.length === 1, "the first end");
  removed.onPiece = () => {
    if (removed.given > mebibytes(1)) a.peers.remove(b.id);
  };
  a.peers.sendSnapshot(world.snapshotMessage(a, b, 9), removed);
  await a.member.until(() => a.member.snapshotsSent.length === 2, "the second end");
  a.peers.add(b.id, [b.url]);
  const begun = new Promise<void>((resolve) => (last.onPiece = resolve));
  a.peers.sendSnapshot(world.snapshotMessage(a, b, 9), last);
  await begun;
  await a.peers.stop();
  assert.equal(a.member.snapshotsSent.length, 3, "told before the end");
  a.peers.sendSnapshot(world.snapshotMessage(a, b, 9), late);
  await a.member.until(() => a.member.snapshotsSent.length === 4, "the fourth end");
  assert.ok(a.member.snapshotsSent.every(({ delivered }) => !delivered));
  assert.deepEqual(b.member.snapshots, []);
  for (const [at, { released }] of databases.entries()) assert.ok(released, `database ${at} is let go`);
});

// ---- the small requests -------------------------------------------------------------------------------------------

test("members tell each other of the cluster, versions and hashes, and promote", async (t) => {
  const world = PeerWorld.for(t);
  const [a, b] = await world.couple();
  const local = { memberId: a.id, clusterId: 0xc1c1_c1c1_c1c1_c1c1n };
  const member = { id: 2n ** 64n - 1n, name: 'a "b" "id":5', peerUrls: [b.url], clientUrls: [], isLearner: true };
  b.member.memberList = [member];
  assert.deepEqual(await a.door.fetchCluster([b.url]), { clusterId: local.clusterId, members: [member] });
  assert.deepEqual(await a.door.fetchVersions([b.url]), { server: "3.5.30", cluster: "3.5.0" });
  assert.equal((await a.door.fetchHashKv([b.url], 3, local))?.hash, 17);
  const refusal = (code: string) => (error: unknown) => (error as { code?: string }).code === code;
  await assert.rejects(a.door.fetchHashKv([b.url], 1, local), refusal("MVCC_COMPACTED"));
  await assert.rejects(a.door.fetchHashKv([b.url], 9, local), refusal("MVCC_FUTURE_REVISION"));
  assert.deepEqual(await a.door.promote([b.url], member.id), [{ ...member, isLearner: false }]);
  assert.equal(b.member.promotedFor, undefined);
  await a.door.promote([b.url], member.id, local, "token.7");
  assert.equal(b.member.promotedFor, "token.7", "the leader is told whose wish it is (etcd 3.5.28)");
  b.member.learnersReady = false;
  await assert.rejects(a.door.promote([b.url], member.id), refusal("SERVER_LEARNER_NOT_READY"));
  await assert.rejects(a.door.promote([b.url], 5n), refusal("MEMBER_NOT_FOUND"));
});

test("a member asks the leader to renew a lease, and how long it lives", async (t) => {
  const world = PeerWorld.for(t);
  const [a, b] = await world.couple();
  b.member.leases.set(-7n, 60);
  assert.equal(await a.door.renewLease([b.url], -7n), 60);
  assert.deepEqual(await a.door.leaseTimeToLive([b.url], { ID: -7n, keys: true }), {
    header: { clusterId: 0n, memberId: 0n, revision: 0, raftTerm: 0 },
    ID: -7n,
    TTL: 59,
    grantedTTL: 60,
    keys: [Uint8Array.of(1), Uint8Array.of(0xff, 2)],
  });
  assert.deepEqual((await a.door.leaseTimeToLive([b.url], { ID: -7n, keys: false }))?.keys, []);
  await assert.rejects(a.door.renewLease([b.url], 8n), { code: "LEASE_NOT_FOUND" });
  await assert.rejects(a.door.leaseTimeToLive([b.url], { ID: 8n, keys: true }), { code: "LEASE_NOT_FOUND" });
  await b.peers.stop();
  assert.equal(await a.door.renewLease([b.url], -7n), undefined);
});

test("a port that is not connected yet, or silent, counts as one that does not answer", async (t) => {
  const world = PeerWorld.for(t);
  const early = await world.door();
  const door = await world.door({ timeouts: { requestMs: 100 } });
  const silent = net.createServer(() => undefined);
  const sockets = new Set<net.Socket>();
  silent.on("connection", (socket) => sockets.add(socket));
  await once(silent.listen({ host: "127.0.0.1", port: 0 }), "listening");
  world.atEnd(() => {
    for (const socket of sockets) socket.destroy();
    silent.close();
  });
  const silentUrl = `http://127.0.0.1:${(silent.address() as net.AddressInfo).port}`;
  assert.equal(await door.fetchVersions([...early.listenUrls, silentUrl, "http://127.0.0.1:1", "no url"]), undefined);
  assert.equal(await door.fetchCluster([]), undefined);
});

test("a port that another one has is refused by name, and nothing stays open", async (t) => {
  const world = PeerWorld.for(t);
  const door = await world.door();
  const refusal = (code: string) => (error: unknown) => (error as { code?: string }).code === code;
  const urls = ["http://127.0.0.1:0", ...door.listenUrls];
  await assert.rejects(world.door({ listenUrls: urls }), refusal("PEER_LISTEN_FAILED"));
  await assert.rejects(world.door({ listenUrls: ["http://127.0.0.1:0/path"] }), refusal("PEER_URL_INVALID"));
  await assert.rejects(world.door({ advertiseUrls: ["unix://x"] }), refusal("PEER_URL_INVALID"));
});
