/**
 * What is thrown at a member's peer port, row by row.
 *
 * COMPARED rows are answered by etcd 3.5 without harm: a member must answer them as etcd does, or, where the row says so, with
 * one status of its own that is told beside etcd's. STRICTER rows hurt real etcd: it dies of them, and some its whole cluster.
 * There a member must refuse, or end itself with a named error, and its cluster goes on as if nothing had come.
 */
import {
  bytes,
  framed,
  lengthPrefix,
  number,
  raftMessage,
  request,
  type HostileMessage,
  type MessageType,
  type Shot,
} from "./hostile-requests.js";

/** A member that is shot at, and whom the shots may pretend to come from. */
export interface Target {
  readonly port: number;
  readonly clusterId: bigint;
  readonly memberId: bigint;
  /** A voter that runs, not the target. */
  readonly voterId: bigint;
  /** A learner of the cluster that was never started. */
  readonly ghostId: bigint;
  /** Was a member once. */
  readonly removedId: bigint;
  /** Belongs to nobody. */
  readonly strangerId: bigint;
  readonly term: bigint;
  /** The index of an entry that is committed; the last one unless something was written meanwhile. */
  readonly committed: bigint;
}

/** The status of an answer, or what came instead of one. */
export type Outcome = number | "closed" | "waiting";

/** How far two answers must be equal. */
export type Agreement =
  | "exact" //  status, body, and the headers that members read
  | "status" // the body holds a time or a text of the server's own
  /** A member refuses what etcd does without effect, or refuses it in another way; each must do what is told here. */
  | { readonly etcd: Outcome; readonly member: Outcome };

export interface ComparedRow {
  readonly title: string;
  readonly shot: (target: Target) => Shot;
  readonly agreement: Agreement;
  /** The member has nothing to answer before more comes. */
  readonly waits?: boolean;
}

export interface StricterRow {
  readonly title: string;
  readonly shot: (target: Target) => Shot;
  /** What a member of real etcd 3.5 does, as it was seen. */
  readonly etcd: string;
  /** The status with which it is refused, or dropped, and nothing changes; `stops`: the member ends with a named error. */
  readonly member: number | "stops";
  /** Nothing of it may be left on the disk: the member is started again as well. */
  readonly onDisk?: boolean;
  readonly why: string;
}

const MAX = 2n ** 64n - 1n;

export const hex = (id: bigint): string => id.toString(16);

/** The headers of a well-behaved sender. */
const polite = (target: Target, from: bigint, more: Readonly<Record<string, string | undefined>> = {}) => ({
  "Content-Type": "application/protobuf",
  "X-Server-From": hex(from),
  "X-Server-Version": "3.5.30",
  "X-Min-Cluster-Version": "3.0.0",
  "X-Etcd-Cluster-ID": hex(target.clusterId),
  ...more,
});

type Headers = Readonly<Record<string, string | undefined>>;

/** A message posted to the pipeline. It comes from the ghost unless it says otherwise. */
const posted =
  (message: Partial<HostileMessage>, headers: Headers = {}) =>
  (target: Target): Shot => {
    const whole = { type: "MsgHeartbeatResp" as const, to: target.memberId, from: target.ghostId, ...message };
    return { bytes: request("POST", "/raft", polite(target, whole.from, headers), raftMessage(whole)) };
  };

const postedBy = (build: (target: Target) => Partial<HostileMessage>) => (target: Target) =>
  posted(build(target))(target);

const postedBytes =
  (body: Uint8Array, headers: Headers = {}) =>
  (target: Target): Shot => ({ bytes: request("POST", "/raft", polite(target, target.ghostId, headers), body) });

/** A snapshot posted: what follows is the message with its length, and the database. */
const snapshot =
  (body: (target: Target) => Uint8Array, headers: Headers = {}, thenEnd = false) =>
  (target: Target): Shot => ({
    bytes: request("POST", "/raft/snapshot", polite(target, target.ghostId, headers), body(target)),
    thenEnd,
  });

const snapshotMessage = (target: Target, more: Partial<HostileMessage> = {}): Uint8Array =>
  raftMessage({
    type: "MsgSnap",
    to: target.memberId,
    from: target.ghostId,
    term: target.term,
    snapshot: { index: target.committed + 1_000n, term: target.term, voters: [target.memberId] },
    ...more,
  });

const stream =
  (path: (target: Target) => string, headers: (target: Target) => Headers = () => ({})) =>
  (target: Target): Shot => ({
    bytes: request(
      "GET",
      `/raft/stream/${path(target)}`,
      polite(target, target.ghostId, { "X-Raft-To": hex(target.memberId), ...headers(target) }),
    ),
    streams: true,
  });

const plain =
  (method: string, path: string, body = "", headers: Headers = {}) =>
  (): Shot => ({ bytes: request(method, path, headers, Buffer.from(body)) });

const raw =
  (text: string, thenEnd = false) =>
  (): Shot => ({ bytes: Buffer.from(text, "latin1"), thenEnd });

/** Types that a member only says to itself; a core that obeyed them from outside could be made to campaign. */
const LOCAL: readonly MessageType[] = ["MsgHup", "MsgBeat", "MsgUnreachable", "MsgSnapStatus", "MsgCheckQuorum"];

export const COMPARED: readonly ComparedRow[] = [
  // The door itself: method, version, cluster.
  { title: "GET on the pipeline", shot: plain("GET", "/raft"), agreement: "exact" },
  { title: "a post without any header", shot: plain("POST", "/raft"), agreement: "exact" },
  { title: "another cluster's ID", shot: posted({}, { "X-Etcd-Cluster-ID": "cafe" }), agreement: "exact" },
  { title: "no cluster ID", shot: posted({}, { "X-Etcd-Cluster-ID": undefined }), agreement: "exact" },
  { title: "a cluster ID that is no number", shot: posted({}, { "X-Etcd-Cluster-ID": "walnut" }), agreement: "exact" },
  { title: "a sender of 2.3", shot: posted({}, { "X-Server-Version": "2.3.8" }), agreement: "exact" },
  { title: "a sender without a version", shot: posted({}, { "X-Server-Version": undefined }), agreement: "exact" },
  { title: "a sender of 3.4", shot: posted({}, { "X-Server-Version": "3.4.23" }), agreement: "exact" },
  { title: "a sender of 3.6", shot: posted({}, { "X-Server-Version": "3.6.0" }), agreement: "exact" },
  {
    title: "a sender of 3.6 that needs 3.6",
    shot: posted({}, { "X-Server-Version": "3.6.0", "X-Min-Cluster-Version": "3.6.0" }),
    agreement: "exact",
  },
  { title: "a sender of 4.0", shot: posted({}, { "X-Server-Version": "4.0.0" }), agreement: "exact" },
  {
    title: "a sender of 4.0 that needs 4.0",
    shot: posted({}, { "X-Server-Version": "4.0.0", "X-Min-Cluster-Version": "4.0.0" }),
    agreement: "exact",
  },
  {
    title: "a sender of the wrong cluster and the wrong version",
    shot: posted({}, { "X-Server-Version": "2.0.0", "X-Etcd-Cluster-ID": "cafe" }),
    agreement: "exact",
  },
  {
    title: "a version that is none",
    shot: posted({}, { "X-Server-Version": "walnut" }),
    agreement: { etcd: "closed", member: 412 },
  },
  {
    title: "peer URLs that are none",
    shot: posted({ from: 1n }, { "X-PeerURLs": "walnut" }),
    agreement: { etcd: "closed", member: 204 },
  },

  // The pipeline's body.
  { title: "bytes that are no message", shot: postedBytes(Buffer.from("garbage")), agreement: "exact" },
  { title: "random bytes", shot: postedBytes(Buffer.alloc(4_096, 0xff)), agreement: "exact" },
  {
    title: "a message cut short",
    shot: (t) =>
      postedBytes(
        raftMessage({ type: "MsgApp", to: t.memberId, from: t.ghostId, context: Buffer.alloc(100) }).subarray(0, 60),
      )(t),
    agreement: "exact",
  },
  { title: "no bytes", shot: postedBytes(new Uint8Array()), agreement: "exact" },
  { title: "a message to another member", shot: posted({ to: 0xcafen }), agreement: "exact" },
  { title: "a message to nobody", shot: posted({ to: 0n }), agreement: "exact" },
  { title: "a message of a removed member", shot: postedBy((t) => ({ from: t.removedId })), agreement: "exact" },
  {
    title: "a message of a removed member to another one",
    shot: postedBy((t) => ({ from: t.removedId, to: 1n })),
    agreement: "exact",
  },
  ...LOCAL.map((type): ComparedRow => ({
    title: `${type} from outside`,
    shot: posted({ type }),
    agreement: { etcd: 204, member: 400 },
  })),
  ...LOCAL.map((type): ComparedRow => ({
    title: `${type} of another voter`,
    shot: postedBy((t) => ({ type, from: t.voterId, term: t.term })),
    agreement: { etcd: 204, member: 400 },
  })),
  ...LOCAL.map((type): ComparedRow => ({
    title: `${type} in the member's own name`,
    shot: postedBy((t) => ({ type, from: t.memberId })),
    agreement: { etcd: 204, member: 400 },
  })),
  {
    title: "a message of a type that does not exist",
    shot: posted({ type: 99 }),
    agreement: { etcd: 204, member: 400 },
  },
  ...(["MsgAppResp", "MsgVoteResp", "MsgHeartbeatResp", "MsgPreVoteResp", "MsgReadIndexResp"] as const).map(
    (type): ComparedRow => ({
      title: `${type} of a stranger`,
      shot: postedBy((t) => ({ type, from: t.strangerId, term: t.term, index: t.committed + 99n })),
      agreement: "exact",
    }),
  ),
  { title: "a heartbeat of term 0", shot: posted({ type: "MsgHeartbeat" }), agreement: "exact" },
  {
    title: "entries of an old term",
    shot: postedBy((t) => ({
      type: "MsgApp",
      term: t.term - 1n,
      index: 1n,
      logTerm: 1n,
      entries: [{ term: 1n, index: 2n }],
    })),
    agreement: "exact",
  },
  {
    title: "a vote asked for by a stranger",
    shot: postedBy((t) => ({
      type: "MsgVote",
      from: t.strangerId,
      term: t.term + 5n,
      index: t.committed + 9n,
      logTerm: t.term,
    })),
    agreement: "exact",
  },
  {
    title: "a vote asked for in term 2^53 - 1",
    shot: postedBy((t) => ({
      type: "MsgPreVote",
      from: t.ghostId,
      term: 2n ** 53n - 1n,
      index: t.committed,
      logTerm: t.term,
    })),
    agreement: { etcd: 204, member: 400 },
  },

  {
    title: "a snapshot message without a snapshot, on the pipeline",
    shot: postedBy((t) => ({ type: "MsgSnap", from: t.voterId, term: t.term })),
    agreement: { etcd: 204, member: 400 },
  },

  // HTTP that is broken.
  { title: "bytes that are no HTTP", shot: raw("\x00\x01\x02\x03\r\n\r\n", true), agreement: "status" },
  { title: "a TLS handshake", shot: raw("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", true), agreement: "status" },
  { title: "a length that is no number", shot: posted({}, { "Content-Length": "many" }), agreement: "status" },
  { title: "a length of 2^64", shot: posted({}, { "Content-Length": "18446744073709551616" }), agreement: "status" },
  { title: "a negative length", shot: posted({}, { "Content-Length": "-1" }), agreement: "status" },
  { title: "a header of 2 MB", shot: posted({}, { "X-Long": "a".repeat(2 * 2 ** 20) }), agreement: "status" },
  {
    title: "a chunk without a length",
    shot: postedBytes(Buffer.from("walnut\r\n\r\n"), { "Content-Length": undefined, "Transfer-Encoding": "chunked" }),
    agreement: "status",
  },
  {
    title: "10 GB that do not come",
    shot: posted({}, { "Content-Length": String(10 * 2 ** 30) }),
    agreement: { etcd: "waiting", member: 413 },
    waits: true,
  },
  {
    title: "a body that ends too early",
    shot: (t) => ({ ...posted({}, { "Content-Length": "4096" })(t), thenEnd: true }),
    agreement: "status",
  },
  {
    title: "a request that is never finished",
    shot: raw("POST /raft HTTP/1.1\r\nHost: m"),
    agreement: "status",
    waits: true,
  },

  // Streams.
  { title: "POST on a stream", shot: plain("POST", "/raft/stream/msgapp/1"), agreement: "exact" },
  { title: "a stream without headers", shot: plain("GET", "/raft/stream/msgapp/1"), agreement: "exact" },
  {
    title: "a stream of another cluster",
    shot: stream(
      (t) => `msgapp/${hex(t.ghostId)}`,
      () => ({ "X-Etcd-Cluster-ID": "cafe" }),
    ),
    agreement: "exact",
  },
  {
    title: "a stream to a sender that needs 3.6",
    shot: stream(
      (t) => `msgapp/${hex(t.ghostId)}`,
      () => ({ "X-Server-Version": "3.6.0", "X-Min-Cluster-Version": "3.6.0" }),
    ),
    agreement: "exact",
  },
  {
    title: "a stream of 3.4",
    shot: stream(
      (t) => `message/${hex(t.ghostId)}`,
      () => ({ "X-Server-Version": "3.4.23" }),
    ),
    agreement: "exact",
  },
  {
    title: "a stream of 3.6",
    shot: stream(
      (t) => `message/${hex(t.ghostId)}`,
      () => ({ "X-Server-Version": "3.6.1" }),
    ),
    agreement: "exact",
  },
  { title: "a stream of messages", shot: stream((t) => `message/${hex(t.ghostId)}`), agreement: "exact" },
  { title: "a stream of entries", shot: stream((t) => `msgapp/${hex(t.ghostId)}`), agreement: "exact" },
  {
    title: "a stream of a kind that does not exist",
    shot: stream((t) => `walnut/${hex(t.ghostId)}`),
    agreement: "exact",
  },
  { title: "a stream without a kind", shot: stream((t) => hex(t.ghostId)), agreement: "exact" },
  { title: "a stream for an ID that is none", shot: stream(() => "msgapp/walnut"), agreement: "exact" },
  { title: "a stream for an ID past 64 bits", shot: stream(() => "msgapp/1ffffffffffffffff"), agreement: "exact" },
  { title: "a stream for a stranger", shot: stream((t) => `msgapp/${hex(t.strangerId)}`), agreement: "exact" },
  { title: "a stream for a removed member", shot: stream((t) => `msgapp/${hex(t.removedId)}`), agreement: "exact" },
  {
    title: "a stream for a removed member, to another one",
    shot: stream(
      (t) => `message/${hex(t.removedId)}`,
      () => ({ "X-Raft-To": "1" }),
    ),
    agreement: "exact",
  },
  {
    title: "a stream to another member",
    shot: stream(
      (t) => `msgapp/${hex(t.ghostId)}`,
      () => ({ "X-Raft-To": "cafe" }),
    ),
    agreement: "exact",
  },
  {
    title: "a stream to nobody",
    shot: stream(
      (t) => `msgapp/${hex(t.ghostId)}`,
      () => ({ "X-Raft-To": undefined }),
    ),
    agreement: "exact",
  },
  {
    title: "a stream to this member in capitals",
    shot: stream(
      (t) => `msgapp/${hex(t.ghostId)}`,
      (t) => ({ "X-Raft-To": hex(t.memberId).toUpperCase() }),
    ),
    agreement: "exact",
  },

  // Snapshots.
  { title: "GET on a snapshot", shot: plain("GET", "/raft/snapshot"), agreement: "exact" },
  { title: "a snapshot without headers", shot: plain("POST", "/raft/snapshot"), agreement: "exact" },
  {
    title: "a snapshot of another cluster",
    shot: snapshot(() => new Uint8Array(), { "X-Etcd-Cluster-ID": "cafe" }),
    agreement: "exact",
  },
  { title: "an empty snapshot", shot: snapshot(() => new Uint8Array()), agreement: "status" },
  { title: "a snapshot of 5 bytes", shot: snapshot(() => Buffer.alloc(5)), agreement: "status" },
  {
    title: "a snapshot whose message would be longer than 1 TB",
    shot: snapshot(() => lengthPrefix(2n ** 40n + 1n)),
    agreement: "status",
  },
  {
    title: "a snapshot whose message would have 2^64 - 1 bytes",
    shot: snapshot(() => lengthPrefix(MAX)),
    agreement: "status",
  },
  {
    title: "a snapshot whose message is cut short",
    shot: snapshot((t) => framed(snapshotMessage(t)).subarray(0, 20)),
    agreement: "status",
  },
  {
    title: "a snapshot whose message is garbage",
    shot: snapshot(() => framed(Buffer.from("garbage"))),
    agreement: "status",
  },
  {
    title: "a snapshot with a message that is none",
    shot: snapshot((t) => framed(raftMessage({ type: "MsgApp", to: t.memberId, from: t.ghostId }))),
    agreement: "exact",
  },
  {
    title: "a snapshot for another member",
    shot: snapshot((t) => framed(snapshotMessage(t, { to: 0xcafen }))),
    agreement: "exact",
  },
  {
    title: "a snapshot of a removed member",
    shot: snapshot((t) => framed(snapshotMessage(t, { from: t.removedId }))),
    agreement: "exact",
  },
  {
    title: "a snapshot whose database ends too early",
    shot: (t) => ({
      bytes: request(
        "POST",
        "/raft/snapshot",
        polite(t, t.ghostId, { "Content-Length": "100000" }),
        Buffer.concat([framed(snapshotMessage(t)), Buffer.alloc(4_096)]),
      ),
      thenEnd: true,
    }),
    agreement: { etcd: 500, member: 400 },
  },
  {
    title: "a snapshot of a term that has passed, with a database of zeros",
    shot: snapshot((t) => Buffer.concat([framed(snapshotMessage(t, { term: t.term - 1n })), Buffer.alloc(4_096)])),
    agreement: { etcd: 204, member: 500 },
  },

  // What members ask each other beside raft.
  { title: "probing", shot: plain("GET", "/raft/probing"), agreement: "status" },
  { title: "the pipeline with a slash", shot: plain("POST", "/raft/"), agreement: "exact" },
  { title: "a path that nobody serves", shot: plain("GET", "/walnut"), agreement: "exact" },
  { title: "the root", shot: plain("GET", "/"), agreement: "exact" },
  { title: "the members", shot: plain("GET", "/members"), agreement: "exact" },
  { title: "POST on the members", shot: plain("POST", "/members"), agreement: "exact" },
  { title: "the members with a slash", shot: plain("GET", "/members/"), agreement: "exact" },
  { title: "GET on a promotion", shot: plain("GET", "/members/promote/1"), agreement: "exact" },
  { title: "the promotion of no number", shot: plain("POST", "/members/promote/walnut"), agreement: "exact" },
  { title: "the promotion of nobody", shot: plain("POST", "/members/promote/"), agreement: "exact" },
  {
    title: "the promotion of a stranger",
    shot: (t) => plain("POST", `/members/promote/${t.strangerId}`)(),
    agreement: "exact",
  },
  {
    title: "the promotion of a voter",
    shot: (t) => plain("POST", `/members/promote/${t.voterId}`)(),
    agreement: "exact",
  },
  {
    title: "the promotion of a learner that never came",
    shot: (t) => plain("POST", `/members/promote/${t.ghostId}`)(),
    agreement: "exact",
  },
  { title: "the versions", shot: plain("GET", "/version"), agreement: "exact" },
  { title: "POST on the versions", shot: plain("POST", "/version"), agreement: "exact" },
  { title: "whether a downgrade is on", shot: plain("GET", "/downgrade/enabled"), agreement: "exact" },
  { title: "POST on the downgrade", shot: plain("POST", "/downgrade/enabled"), agreement: "exact" },
  { title: "a hash", shot: plain("GET", "/members/hashkv", '{"revision":2}'), agreement: "exact" },
  { title: "a hash of no JSON", shot: plain("GET", "/members/hashkv", "walnut"), agreement: "exact" },
  { title: "a hash of no body", shot: plain("GET", "/members/hashkv"), agreement: "exact" },
  {
    title: "a hash of a revision to come",
    shot: plain("GET", "/members/hashkv", '{"revision":99999}'),
    agreement: "exact",
  },
  {
    title: "a hash of a negative revision",
    shot: plain("GET", "/members/hashkv", '{"revision":-1}'),
    agreement: "status",
  },
  {
    title: "a hash of another cluster",
    shot: plain("GET", "/members/hashkv", '{"revision":0}', { "X-Etcd-Cluster-ID": "cafe" }),
    agreement: "exact",
  },
  { title: "POST on a hash", shot: plain("POST", "/members/hashkv", '{"revision":0}'), agreement: "exact" },
  { title: "GET on the leases", shot: plain("GET", "/leases"), agreement: "exact" },
  { title: "a lease that is garbage", shot: plain("POST", "/leases", "garbage"), agreement: "exact" },
  {
    title: "a lease that is not there",
    shot: (t) => ({ bytes: request("POST", "/leases", polite(t, t.ghostId), number(1, 7n)) }),
    agreement: "exact",
  },
  { title: "a lease asked for with garbage", shot: plain("POST", "/leases/internal", "garbage"), agreement: "exact" },
  {
    title: "a lease asked for that is not there",
    shot: (t) => ({ bytes: request("POST", "/leases/internal", polite(t, t.ghostId), bytes(1, number(1, 7n))) }),
    // It does not lead, and does not say what may be known elsewhere by now: it is to be asked again.
    agreement: { etcd: 404, member: 400 },
  },
  {
    title: "a lease asked for without a request",
    shot: plain("POST", "/leases/internal"),
    agreement: { etcd: "closed", member: 400 },
  },
];

/**
 * What a voter or a learner says with a higher term is believed: that is raft. The cluster elects again and goes on, and
 * nothing that was committed changes.
 */
export const DEPOSING: readonly ComparedRow[] = [
  {
    title: "a heartbeat of a stranger in the next term",
    shot: postedBy((t) => ({ type: "MsgHeartbeat", from: t.strangerId, term: t.term + 1n })),
    agreement: "exact",
  },
  {
    title: "a heartbeat of the ghost in the next term",
    shot: postedBy((t) => ({ type: "MsgHeartbeat", from: t.ghostId, term: t.term + 1n })),
    agreement: "exact",
  },
  {
    title: "entries of the next term for a place that is committed",
    shot: postedBy((t) => ({
      type: "MsgApp",
      from: t.voterId,
      term: t.term + 1n,
      index: 1n,
      logTerm: 1n,
      entries: [{ term: t.term + 1n, index: 2n }],
      commit: 2n,
    })),
    agreement: "exact",
  },
];

export const STRICTER: readonly StricterRow[] = [
  {
    title: "a heartbeat of term 2^64 - 1",
    shot: postedBy(() => ({ type: "MsgHeartbeat", term: MAX })),
    etcd: "the term spreads; at the next election the members panic one after the other: term should be set when sending MsgPreVote",
    member: 400,
    why: "no election leads out of the last term",
  },
  {
    title: "a heartbeat of term 2^53 - 1",
    shot: postedBy(() => ({ type: "MsgHeartbeat", term: 2n ** 53n - 1n })),
    etcd: "goes on in that term",
    member: 400,
    why: "it is the last term that a number of JavaScript holds, and no cluster comes there by itself",
  },
  {
    title: "a heartbeat with a commit past the log",
    shot: postedBy((t) => ({ type: "MsgHeartbeat", from: t.voterId, term: t.term, commit: t.committed + 1_000_000n })),
    etcd: "panics: tocommit is out of range; was the raft log corrupted, truncated, or lost?",
    member: "stops",
    why: "a voter that knows of more committed entries means that this log lost some: it may not vote on",
  },
  {
    title: "a proposal that nobody can read",
    shot: postedBy(() => ({
      type: "MsgProp",
      entries: [{ term: 0n, index: 0n, data: Buffer.from("\xff\xff garbage", "latin1") }],
    })),
    etcd: "commits it, and every member panics on it, now and at each start: unmarshal should never fail",
    member: 204,
    why: "what is committed cannot be taken back",
  },
  {
    title: "a configuration change that nobody can read",
    shot: postedBy(() => ({
      type: "MsgProp",
      entries: [{ term: 0n, index: 0n, type: 1, data: Buffer.from("\xff\xff", "latin1") }],
    })),
    etcd: "the leader panics on it: unexpected EOF",
    member: 204,
    why: "what is committed cannot be taken back",
  },
  {
    title: "a snapshot without its database, on the pipeline",
    shot: postedBy((t) => ({
      type: "MsgSnap",
      from: t.voterId,
      term: t.term,
      snapshot: { index: t.committed + 1_000n, term: t.term, voters: [t.memberId] },
    })),
    etcd: "panics: failed to open snapshot backend",
    member: 400,
    why: "a snapshot counts from when its database is on the disk",
  },
  {
    title: "a snapshot whose database is garbage",
    shot: snapshot((t) =>
      Buffer.concat([framed(snapshotMessage(t, { from: t.voterId, term: t.term })), Buffer.alloc(65_536, 7)]),
    ),
    etcd: "panics: failed to open database",
    member: 500,
    onDisk: true,
    why: "the database is read before the log says that it counts",
  },
  {
    title: "a snapshot with an empty database",
    shot: snapshot((t) => framed(snapshotMessage(t, { from: t.voterId, term: t.term }))),
    etcd: "panics: failed to restore v2 store",
    member: 500,
    onDisk: true,
    why: "the database is read before the log says that it counts",
  },
  {
    title: "a snapshot whose message would have 1 TB",
    shot: (t) => ({ ...snapshot(() => lengthPrefix(2n ** 40n))(t), thenEnd: true }),
    etcd: "dies: out of memory",
    member: 400,
    why: "no memory is taken for what has only been announced",
  },
];
