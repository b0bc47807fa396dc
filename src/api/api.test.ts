import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { type TestContext, test } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { CodedError } from "../base/errors.js";
import { NodeClock } from "../platform/node/clock.js";
import {
  AlarmRequest,
  AlarmResponse,
  AlarmType,
  DefragmentResponse,
  healthpb,
  MemberAddRequest,
  MemberAddResponse,
  MemberListResponse,
  MemberPromoteRequest,
  MemberRemoveRequest,
  MemberRemoveResponse,
  MemberUpdateRequest,
  MemberUpdateResponse,
  MoveLeaderRequest,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  RangeStreamResponse,
  SnapshotResponse,
  StatusResponse,
  TxnRequest,
} from "../proto/index.js";
import { AuthDefinition } from "../proto/generated/etcdserverpb/auth.js";
import { ClusterDefinition } from "../proto/generated/etcdserverpb/cluster.js";
import { KVDefinition } from "../proto/generated/etcdserverpb/kv.js";
import { LeaseDefinition } from "../proto/generated/etcdserverpb/lease.js";
import { MaintenanceDefinition } from "../proto/generated/etcdserverpb/maintenance.js";
import { WatchDefinition } from "../proto/generated/etcdserverpb/watch.js";
import { ElectionDefinition } from "../proto/generated/v3electionpb/election.js";
import { LockDefinition } from "../proto/generated/v3lockpb/lock.js";
import { RequestError } from "../server/errors.js";
import { openClientPort, PrometheusMetrics } from "./index.js";
import { createHandlers } from "./services.js";
import { FakeMember } from "./testing/fake-member.js";

/** What a definition tells of a method. */
interface Method {
  readonly name: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
}

const SERVICES = [
  AuthDefinition,
  ClusterDefinition,
  ElectionDefinition,
  KVDefinition,
  LeaseDefinition,
  LockDefinition,
  MaintenanceDefinition,
  WatchDefinition,
];

const bytes = (text: string): Uint8Array => Buffer.from(text);
const same = (message: Buffer): Buffer => message;

interface Fixture {
  readonly member: FakeMember;
  readonly base: string;
  readonly client: grpc.Client;
  readonly call: (path: string, request?: Uint8Array, metadata?: Record<string, string>) => Promise<Buffer>;
  /** "code text" of a call that fails. */
  readonly failure: (path: string, request?: Uint8Array, metadata?: Record<string, string>) => Promise<string>;
  /** "served" when a stream's first message came, else "code text" of its end. */
  readonly stream: (path: string, metadata?: Record<string, string>, request?: Uint8Array) => Promise<string>;
  /** Status and body. */
  readonly get: (path: string, init?: RequestInit) => Promise<[number, string]>;
}

async function apiFixture(t: TestContext): Promise<Fixture> {
  const member = new FakeMember();
  const metrics = new PrometheusMetrics({ processFigures: false });
  const port = await openClientPort(
    { kind: "tcp", host: "127.0.0.1", port: 0 },
    { clock: new NodeClock(), member, metrics, exposition: () => metrics.exposition(), observer: metrics },
  );
  const number = port.address.kind === "tcp" ? port.address.port : 0;
  const client = new grpc.Client(`127.0.0.1:${number}`, grpc.credentials.createInsecure());
  t.after(async () => {
    client.close();
    await port.stop(5000);
  });
  const call: Fixture["call"] = (path, request = new Uint8Array(0), fields = {}) =>
    new Promise((resolve, reject) => {
      const metadata = new grpc.Metadata();
      for (const [name, value] of Object.entries(fields)) metadata.set(name, value);
      client.makeUnaryRequest(path, same, same, Buffer.from(request), metadata, (error, answer) => {
        if (error !== null) reject(error);
        else resolve(answer ?? Buffer.alloc(0));
      });
    });
  const failure: Fixture["failure"] = async (path, request, metadata) => {
    try {
      await call(path, request, metadata);
    } catch (error) {
      const { code, details } = error as grpc.ServiceError;
      return `${code} ${details}`;
    }
    return assert.fail(`${path} answered`);
  };
  const stream: Fixture["stream"] = (path, fields = {}, request = Buffer.alloc(0)) => {
    const metadata = new grpc.Metadata();
    for (const [name, value] of Object.entries(fields)) metadata.set(name, value);
    const call = client.makeServerStreamRequest(path, same, same, Buffer.from(request), metadata);
    return new Promise((resolve) => {
      call.once("error", (error: grpc.ServiceError) => resolve(`${error.code} ${error.details}`));
      call.once("data", () => {
        resolve("served");
        call.on("error", () => undefined);
        call.cancel();
      });
    });
  };
  const base = `http://127.0.0.1:${number}`;
  const get: Fixture["get"] = async (path, init) => {
    const response = await fetch(base + path, { ...init, headers: { connection: "close" } });
    return [response.status, await response.text()];
  };
  return { member, base, client, call, failure, stream, get };
}

const put = (key: string, value = "v"): Uint8Array =>
  PutRequest.encode(PutRequest.create({ key: bytes(key), value: bytes(value) })).finish();
const range = (fields: Partial<RangeRequest>): Uint8Array =>
  RangeRequest.encode({ ...RangeRequest.create(), ...fields }).finish();

const CLUSTER = "/etcdserverpb.Cluster";

test("a put is read back, with the member's header", async (t) => {
  const { call, member } = await apiFixture(t);
  assert.equal(PutResponse.decode(await call("/etcdserverpb.KV/Put", put("a", "1"))).header?.revision, 2);
  const answer = RangeResponse.decode(await call("/etcdserverpb.KV/Range", range({ key: bytes("a") })));
  assert.equal(answer.header?.memberId, member.memberId);
  assert.equal(Buffer.from(answer.kvs[0]!.value).toString(), "1");
});

test("checks stand before the member, and their texts are etcd's", async (t) => {
  const { failure, member } = await apiFixture(t);
  assert.equal(await failure("/etcdserverpb.KV/Range"), "3 etcdserver: key is not provided");
  const twice = [put("a"), put("a")].map((encoded) => ({
    request: { $case: "requestPut" as const, value: PutRequest.decode(encoded) },
  }));
  const request = TxnRequest.encode({ compare: [], success: twice, failure: [] }).finish();
  assert.equal(await failure("/etcdserverpb.KV/Txn", request), "3 etcdserver: duplicate key given in txn request");
  assert.deepEqual(member.contexts, []);
});

test("a revision of 2^63-1 is a future one, not a wrong number", async (t) => {
  const { failure } = await apiFixture(t);
  const request = Buffer.concat([range({ key: bytes("a") }), Buffer.from("20ffffffffffffffff7f", "hex")]);
  assert.equal(
    await failure("/etcdserverpb.KV/Range", request),
    "11 etcdserver: mvcc: required revision is a future revision",
  );
});

class Refusal extends CodedError<string> {
  override readonly name = "Refusal";
}

/** As etcd 3.5.30 answers; its own table is in `rpctypes` and `v3rpc`. */
const SEEN_FROM_ETCD: readonly (readonly [code: string, told: string])[] = [
  ["SERVER_NO_SPACE", "8 etcdserver: mvcc: database space exceeded"],
  ["SERVER_CORRUPT", "15 etcdserver: corrupt cluster"],
  ["SERVER_TOO_MANY_REQUESTS", "2 etcdserver: too many requests"],
  ["SERVER_REQUEST_TOO_LARGE", "3 etcdserver: request is too large"],
  ["SERVER_TIMEOUT", "14 etcdserver: request timed out"],
  ["SERVER_TIMEOUT_LEADER_FAILED", "14 etcdserver: request timed out, possibly due to previous leader failure"],
  ["SERVER_TIMEOUT_CONNECTION_LOST", "14 etcdserver: request timed out, possibly due to connection lost"],
  ["SERVER_TIMEOUT_APPLIED_INDEX", "14 etcdserver: request timed out, waiting for the applied index took too long"],
  ["SERVER_TIMEOUT_LEADER_TRANSFER", "2 etcdserver: request timed out, leader transfer took too long"],
  ["SERVER_LEADER_CHANGED", "14 etcdserver: leader changed"],
  ["SERVER_NO_LEADER", "14 etcdserver: no leader"],
  ["SERVER_NOT_LEADER", "9 etcdserver: not leader"],
  ["SERVER_STOPPED", "14 etcdserver: server stopped"],
  ["SERVER_UNHEALTHY", "14 etcdserver: unhealthy cluster"],
  ["SERVER_NOT_CAPABLE", "14 etcdserver: not capable"],
  ["SERVER_NOT_ENOUGH_STARTED", "2 etcdserver: re-configuration failed due to not enough started members"],
  ["SERVER_LEARNER_NOT_READY", "9 etcdserver: can only promote a learner member which is in sync with leader"],
  ["SERVER_BAD_TRANSFEREE", "9 etcdserver: bad leader transferee"],
  ["SERVER_CLUSTER_MISMATCH", "9 etcdserver: cluster ID mismatch"],
  ["MEMBER_ID_REMOVED", "5 etcdserver: member not found"],
  ["MEMBER_NOT_FOUND", "5 etcdserver: member not found"],
  ["MEMBER_EXISTS", "9 etcdserver: member ID already exist"],
  ["MEMBER_PEER_URL_EXISTS", "9 etcdserver: Peer URLs already exists"],
  ["MEMBER_NOT_LEARNER", "9 etcdserver: can only promote a learner member"],
  ["MEMBER_TOO_MANY_LEARNERS", "9 etcdserver: too many learner members in cluster"],
  ["AUTH_ROOT_USER_MISSING", "9 etcdserver: root user does not exist"],
  ["AUTH_ROOT_ROLE_MISSING", "9 etcdserver: root user does not have root role"],
  ["AUTH_USER_EXISTS", "9 etcdserver: user name already exists"],
  ["AUTH_USER_EMPTY", "3 etcdserver: user name is empty"],
  ["AUTH_USER_NOT_FOUND", "9 etcdserver: user name not found"],
  ["AUTH_ROLE_EXISTS", "9 etcdserver: role name already exists"],
  ["AUTH_ROLE_NOT_FOUND", "9 etcdserver: role name not found"],
  ["AUTH_ROLE_EMPTY", "3 etcdserver: role name is empty"],
  ["AUTH_ROLE_NOT_GRANTED", "9 etcdserver: role is not granted to the user"],
  ["AUTH_FAILED", "3 etcdserver: authentication failed, invalid user ID or password"],
  ["AUTH_PERMISSION_NOT_GIVEN", "3 etcdserver: permission not given"],
  ["AUTH_PERMISSION_NOT_GRANTED", "9 etcdserver: permission is not granted to the role"],
  ["AUTH_PERMISSION_DENIED", "7 etcdserver: permission denied"],
  ["AUTH_NOT_ENABLED", "9 etcdserver: authentication is not enabled"],
  ["AUTH_OLD_REVISION", "3 etcdserver: revision of auth store is old"],
  ["AUTH_TOKEN_INVALID", "16 etcdserver: invalid auth token"],
  ["AUTH_MANAGEMENT_INVALID", "3 etcdserver: invalid auth management"],
  ["AUTH_NO_PASSWORD_USER", "2 auth: authentication failed, password was given for no password user"],
  ["AUTH_PASSWORD_TOO_LONG", "2 bcrypt: password length exceeds 72 bytes"],
  ["AUTH_VERIFY_ONLY", "2 auth: token signing attempted with verify-only key"],
];

test("every error that a member answers with has etcd's status and text", async (t) => {
  const { failure, member } = await apiFixture(t);
  for (const [code, told] of SEEN_FROM_ETCD) {
    member.failWith = new Refusal(code, "with details for the log");
    assert.equal(await failure("/etcdserverpb.KV/Put", put("a")), told, code);
  }
});

test("an error without an entry in the table is UNKNOWN with its sentence; a bug shows no details", async (t) => {
  const { failure, member } = await apiFixture(t);
  member.failWith = new Error("the disk sings");
  assert.equal(await failure("/etcdserverpb.KV/Put", put("a")), "2 the disk sings");
  const { InvariantError } = await import("../base/errors.js");
  member.failWith = new InvariantError("secret");
  assert.equal(await failure("/etcdserverpb.KV/Put", put("a")), "13 walnut: internal error");
});

test("bytes that are no request are refused in grpc-go's words", async (t) => {
  const { failure } = await apiFixture(t);
  const text = "13 grpc: error unmarshalling request: unexpected EOF";
  assert.equal(await failure("/etcdserverpb.KV/Put", Buffer.from("0a05", "hex")), text);
});

test("every method of etcd's services has a handler of its kind; what does not exist says so", async (t) => {
  const { failure, member } = await apiFixture(t);
  const metrics = new PrometheusMetrics({ processFigures: false });
  const handlers = createHandlers({ clock: new NodeClock(), member, metrics });
  for (const { fullName, methods } of SERVICES) {
    for (const { name, requestStream, responseStream } of Object.values(methods) as Method[]) {
      const kind = requestStream ? "bidirectional" : responseStream ? "serverStreaming" : "unary";
      assert.equal(handlers.get(`/${fullName}/${name}`)?.kind, kind, `${fullName}/${name}`);
    }
  }
  assert.equal(await failure("/etcdserverpb.KV/Nothing"), "12 unknown method Nothing for service etcdserverpb.KV");
  assert.equal(await failure("/etcdserverpb.Auth/Authenticate"), "9 etcdserver: authentication is not enabled");
});

test("a client that requires a leader is told when there is none; others are served", async (t) => {
  const { call, failure, stream, member } = await apiFixture(t);
  member.leaderId = 0n;
  assert.equal(await failure("/etcdserverpb.KV/Put", put("a"), { hasleader: "true" }), "14 etcdserver: no leader");
  assert.equal(await stream("/etcdserverpb.Maintenance/Snapshot", { hasleader: "true" }), "14 etcdserver: no leader");
  assert.equal(await stream("/grpc.health.v1.Health/Watch", { hasleader: "true" }), "14 etcdserver: no leader");
  await call("/etcdserverpb.KV/Put", put("a"));
  await call("/etcdserverpb.KV/Put", put("a"), { hasleader: "false" });
  assert.equal(await stream("/etcdserverpb.Maintenance/Snapshot"), "served");
});

test("a learner serves its status, serializable reads and snapshots, and nothing else", async (t) => {
  const { call, failure, stream, member } = await apiFixture(t);
  member.learner = true;
  const refused = "14 etcdserver: rpc not supported for learner";
  const request = { key: bytes("a") };
  for (const [path, message] of [
    ["/etcdserverpb.KV/Put", put("a")],
    ["/etcdserverpb.KV/Range", range(request)],
    ["/etcdserverpb.Cluster/MemberList", undefined],
    ["/etcdserverpb.Cluster/MemberAdd", undefined],
    ["/etcdserverpb.Maintenance/Alarm", undefined],
    ["/etcdserverpb.Maintenance/HashKV", undefined],
    ["/etcdserverpb.Maintenance/Defragment", undefined],
    ["/etcdserverpb.Maintenance/MoveLeader", undefined],
    ["/etcdserverpb.Auth/Authenticate", undefined],
    ["/grpc.health.v1.Health/Check", undefined],
  ] as const) {
    assert.equal(await failure(path, message), refused, path);
  }
  assert.equal(await stream("/grpc.health.v1.Health/Watch"), refused);
  await call("/etcdserverpb.KV/Range", range({ ...request, serializable: true }));
  await call("/etcdserverpb.Maintenance/Status");
  assert.equal(await stream("/etcdserverpb.Maintenance/Snapshot"), "served");
});

test("administration asks for root first; some calls of etcd's refuse without a status", async (t) => {
  const { failure, stream, member } = await apiFixture(t);
  member.refusesAdmins = new Refusal("AUTH_PERMISSION_DENIED", "with details for the log");
  const denied = "7 etcdserver: permission denied";
  const bare = "2 auth: permission denied";
  for (const [path, told] of [
    ["/etcdserverpb.KV/Compact", denied],
    ["/etcdserverpb.Maintenance/Status", denied],
    ["/etcdserverpb.Maintenance/Hash", bare],
    ["/etcdserverpb.Maintenance/HashKV", bare],
    ["/etcdserverpb.Maintenance/Defragment", bare],
    ["/etcdserverpb.Maintenance/MoveLeader", denied],
    [`${CLUSTER}/MemberRemove`, denied],
    [`${CLUSTER}/MemberPromote`, denied],
  ] as const) {
    assert.equal(await failure(path), told, path);
  }
  assert.equal(await stream("/etcdserverpb.Maintenance/Snapshot"), bare);
  const activate = AlarmRequest.encode(AlarmRequest.create({ action: 1, alarm: AlarmType.NOSPACE })).finish();
  assert.equal(await failure("/etcdserverpb.Maintenance/Alarm", activate), denied);
  assert.deepEqual(member.contexts, [], "the member was asked for nothing");
});

test("the member sees the caller's token", async (t) => {
  const { call, member } = await apiFixture(t);
  await call("/etcdserverpb.KV/Put", put("a"), { token: "simple.7" });
  await call("/etcdserverpb.KV/Put", put("a"));
  assert.equal(member.contexts[0]!.token, "simple.7");
  assert.equal(member.contexts[1]!.token, undefined);
  assert.equal(member.contexts[1]!.signal!.aborted, true, "the call is over");
});

test("maintenance answers: status, alarms, defragmentation without a header, members", async (t) => {
  const { call, member } = await apiFixture(t);
  assert.equal(StatusResponse.decode(await call("/etcdserverpb.Maintenance/Status")).version, "3.5.30");
  member.raised = [{ memberID: 5n, alarm: AlarmType.NOSPACE }];
  const alarms = await call("/etcdserverpb.Maintenance/Alarm", AlarmRequest.encode(AlarmRequest.create()).finish());
  assert.deepEqual(AlarmResponse.decode(alarms).alarms, [{ memberID: 5n, alarm: 1 }]);
  assert.equal(DefragmentResponse.decode(await call("/etcdserverpb.Maintenance/Defragment")).header, undefined);
  const { members } = MemberListResponse.decode(await call("/etcdserverpb.Cluster/MemberList"));
  assert.deepEqual(members[0]?.peerURLs, ["http://localhost:2380"]);
});

test("members are added, changed, promoted and removed; each answer has all of them and no revision", async (t) => {
  const { call, member } = await apiFixture(t);
  const { memberId, clusterId } = member;
  const header = { clusterId, memberId, revision: 0, raftTerm: 2 };
  const own = { ID: memberId, name: "default", isLearner: false };
  const urls = { peerURLs: ["http://localhost:2380"], clientURLs: ["http://localhost:2379"] };
  const added = (fields: object): object => ({ ID: 2n, name: "", clientURLs: [], isLearner: true, ...fields });
  const request = { peerURLs: [" http://b:2", "HTTP://a:1"], isLearner: true };
  const first = { peerURLs: ["http://a:1", "http://b:2"] };
  assert.deepEqual(
    MemberAddResponse.decode(await call(`${CLUSTER}/MemberAdd`, MemberAddRequest.encode(request).finish())),
    { header, member: added(first), members: [added(first), { ...own, ...urls }] },
  );
  const update = MemberUpdateRequest.encode({ ID: 2n, peerURLs: ["http://d:4", " http://c:3"] }).finish();
  const second = { peerURLs: ["http://d:4", "http://c:3"] };
  assert.deepEqual(MemberUpdateResponse.decode(await call(`${CLUSTER}/MemberUpdate`, update)), {
    header,
    members: [added(second), { ...own, ...urls }],
  });
  const promote = MemberPromoteRequest.encode({ ID: 2n }).finish();
  assert.deepEqual(MemberListResponse.decode(await call(`${CLUSTER}/MemberPromote`, promote)), {
    header,
    members: [added({ ...second, isLearner: false }), { ...own, ...urls }],
  });
  const remove = MemberRemoveRequest.encode({ ID: 2n }).finish();
  assert.deepEqual(MemberRemoveResponse.decode(await call(`${CLUSTER}/MemberRemove`, remove)), {
    header,
    members: [{ ...own, ...urls }],
  });
});

test("URLs that a member cannot have are refused before the log has them", async (t) => {
  const { failure, member } = await apiFixture(t);
  const refused = "3 etcdserver: given member URLs are invalid";
  for (const peerURLs of [[], ["x"], ["127.0.0.1:1"], ["http://a"], ["http://a:1/"], ["ftp://a:1"]]) {
    const add = MemberAddRequest.encode({ peerURLs, isLearner: false }).finish();
    assert.equal(await failure(`${CLUSTER}/MemberAdd`, add), refused, peerURLs.join(","));
    const update = MemberUpdateRequest.encode({ ID: member.memberId, peerURLs }).finish();
    assert.equal(await failure(`${CLUSTER}/MemberUpdate`, update), refused, peerURLs.join(","));
  }
  assert.deepEqual(member.contexts, []);
});

test("the leader is moved to nobody but a voting member, and told by the leader only", async (t) => {
  const { call, failure, member } = await apiFixture(t);
  const move = (targetID: bigint): Uint8Array => MoveLeaderRequest.encode({ targetID }).finish();
  const path = "/etcdserverpb.Maintenance/MoveLeader";
  const voter = { name: "", peerUrls: ["http://b:2"], clientUrls: [], isLearner: false };
  member.others = [
    { ...voter, id: 2n },
    { ...voter, id: 3n, isLearner: true },
  ];
  assert.equal(await failure(path, move(1n)), "9 etcdserver: bad leader transferee");
  assert.equal(await failure(path, move(3n)), "9 etcdserver: bad leader transferee");
  assert.equal((await call(path, move(member.memberId))).length, 0, "it leads already");
  assert.equal((await call(path, move(2n))).length, 0);
  assert.equal(member.leader(), 2n);
  assert.equal(await failure(path, move(member.memberId)), "9 etcdserver: not leader");
});

test("a range is streamed in pieces; an order or a bound that would need all pairs first is refused in 3.7's words", async (t) => {
  const { call, client, stream } = await apiFixture(t);
  for (const key of ["a", "b", "c"]) await call("/etcdserverpb.KV/Put", put(key));
  const path = "/etcdserverpb.KV/RangeStream";
  const ask = (fields: Partial<RangeRequest>): Buffer =>
    Buffer.from(
      RangeRequest.encode(
        RangeRequest.fromPartial({ key: Buffer.from("a"), rangeEnd: Buffer.from("z"), ...fields }),
      ).finish(),
    );
  const pieces: RangeStreamResponse[] = [];
  for await (const message of client.makeServerStreamRequest(path, same, same, ask({})) as AsyncIterable<Buffer>) {
    pieces.push(RangeStreamResponse.decode(message));
  }
  const keys = pieces.flatMap(({ rangeResponse }) => rangeResponse!.kvs.map(({ key }) => Buffer.from(key).toString()));
  assert.deepEqual(keys, ["a", "b", "c"]);
  assert.equal(pieces.at(-1)!.rangeResponse!.count, 3);
  const refused = async (fields: Partial<RangeRequest>): Promise<string> => stream(path, {}, ask(fields));
  assert.equal(await refused({ sortOrder: 1 }), "served");
  assert.equal(await refused({ sortTarget: 4 }), "served");
  assert.equal(await refused({ sortOrder: 2 }), "12 RangeStream does not support custom sort orders");
  assert.equal(await refused({ sortOrder: 1, sortTarget: 1 }), "12 RangeStream does not support custom sort orders");
  assert.equal(await refused({ minModRevision: 1 }), "12 RangeStream does not support revision filters");
  assert.equal(await refused({ key: Buffer.alloc(0) }), "3 etcdserver: key is not provided");
});

test("a snapshot comes in etcd's pieces, counts down, and ends with its SHA-256", async (t) => {
  const { client, member } = await apiFixture(t);
  const stream = client.makeServerStreamRequest("/etcdserverpb.Maintenance/Snapshot", same, same, Buffer.alloc(0));
  const pieces: SnapshotResponse[] = [];
  for await (const message of stream as AsyncIterable<Buffer>) pieces.push(SnapshotResponse.decode(message));
  const last = pieces.pop()!;
  assert.deepEqual(Buffer.concat(pieces.map(({ blob }) => blob)), Buffer.from(member.database));
  assert.deepEqual(Buffer.from(last.blob), createHash("sha256").update(member.database).digest());
  let left = member.database.length;
  for (const { blob, remainingBytes } of pieces) {
    assert.ok(blob.length <= 32_768);
    left -= blob.length;
    assert.equal(remainingBytes, left);
  }
  assert.equal(last.remainingBytes, 0);
});

test("gRPC health: the server as a whole serves, other names are unknown", async (t) => {
  const { call, failure, client } = await apiFixture(t);
  const request = (service: string): Uint8Array => healthpb.HealthCheckRequest.encode({ service }).finish();
  const answer = healthpb.HealthCheckResponse.decode(await call("/grpc.health.v1.Health/Check", request("")));
  assert.equal(answer.status, healthpb.HealthCheckResponse_ServingStatus.SERVING);
  assert.equal(await failure("/grpc.health.v1.Health/Check", request("x")), "5 unknown service");
  const watch = client.makeServerStreamRequest(
    "/grpc.health.v1.Health/Watch",
    same,
    (message) => healthpb.HealthCheckResponse.decode(message),
    Buffer.from(request("x")),
  );
  watch.on("error", () => undefined);
  const status = await new Promise((resolve) => watch.once("data", resolve));
  watch.cancel();
  assert.deepEqual(status, { status: healthpb.HealthCheckResponse_ServingStatus.SERVICE_UNKNOWN });
});

test("/version", async (t) => {
  const { get, member } = await apiFixture(t);
  assert.deepEqual(await get("/version"), [200, '{"etcdserver":"3.5.30","etcdcluster":"3.5.0"}']);
  member.version = undefined;
  assert.deepEqual(await get("/version"), [200, '{"etcdserver":"3.5.30","etcdcluster":"not_decided"}']);
  assert.deepEqual(await get("/version", { method: "POST" }), [405, "Method Not Allowed\n"]);
  assert.deepEqual(await get("/no"), [404, "404 page not found\n"]);
});

test("pages of any origin may ask", async (t) => {
  const { base } = await apiFixture(t);
  const response = await fetch(`${base}/nothing`, { method: "OPTIONS", headers: { connection: "close" } });
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("access-control-allow-origin"), "*");
});

test("/health says what is wrong, and passes over what is excluded", async (t) => {
  const { get, member } = await apiFixture(t);
  const ill = (reason: string): [number, string] => [503, `{"health":"false","reason":"${reason}"}\n`];
  const well: [number, string] = [200, '{"health":"true","reason":""}'];
  assert.deepEqual(await get("/health"), well);
  member.raised = [{ memberID: 1n, alarm: AlarmType.NOSPACE }];
  assert.deepEqual(await get("/health"), ill("ALARM NOSPACE"));
  assert.deepEqual(await get("/health?exclude=NOSPACE"), well);
  assert.deepEqual(await get("/health?exclude=CORRUPT"), ill("ALARM NOSPACE"));
  member.raised = [];
  member.leaderId = 0n;
  assert.deepEqual(await get("/health"), ill("RAFT NO LEADER"));
  assert.deepEqual(await get("/health?serializable=true"), well);
  member.leaderId = 1n;
  member.failWith = new RequestError("SERVER_TIMEOUT", "no quorum");
  assert.deepEqual(await get("/health"), ill("RANGE ERROR:etcdserver: request timed out"));
});

test("/livez and /readyz run their checks, all or one, and report when asked or when one fails", async (t) => {
  const { get, member } = await apiFixture(t);
  assert.deepEqual(await get("/livez"), [200, "ok\n"]);
  assert.deepEqual(await get("/livez?verbose"), [200, "[+]serializable_read ok\nok\n"]);
  assert.deepEqual(await get("/readyz/linearizable_read?verbose"), [200, "[+]linearizable_read ok\nok\n"]);
  member.raised = [{ memberID: 1n, alarm: AlarmType.CORRUPT }];
  member.learner = true;
  const [status, report] = await get("/readyz");
  assert.equal(status, 503);
  assert.deepEqual(report.split("\n"), [
    "[-]data_corruption failed: alarm activated: CORRUPT",
    "[+]serializable_read ok",
    "[+]linearizable_read ok",
    "[-]non_learner failed: not supported for learner",
    "",
    "",
  ]);
  assert.equal((await get("/readyz?exclude=data_corruption&exclude=non_learner"))[0], 200);
  assert.equal((await get("/livez"))[0], 200);
});

test("/metrics counts calls under etcd's names", async (t) => {
  const { get, call, failure } = await apiFixture(t);
  await call("/etcdserverpb.KV/Put", put("a"), { "client-api-version": "3.5" });
  await failure("/etcdserverpb.KV/Range");
  await get("/health");
  const [status, text] = await get("/metrics");
  assert.equal(status, 200);
  for (const line of [
    'etcd_server_client_requests_total{type="unary",client_api_version="3.5"} 1',
    "etcd_server_health_success 1",
    'grpc_server_handled_total{grpc_type="unary",grpc_service="etcdserverpb.KV",grpc_method="Put",grpc_code="OK"} 1',
    'grpc_server_handled_total{grpc_type="unary",grpc_service="etcdserverpb.KV",grpc_method="Range",grpc_code="InvalidArgument"} 1',
  ]) {
    assert.ok(text.split("\n").includes(line), `${line}\n${text}`);
  }
});

test("clients cannot make figures without end: versions beyond a few dozen are counted as unknown", async (t) => {
  const { get, call } = await apiFixture(t);
  for (let version = 0; version < 100; version++) {
    await call("/etcdserverpb.KV/Put", put("a"), { "client-api-version": `3.${version}` });
  }
  const [, text] = await get("/metrics");
  const lines = text.split("\n").filter((line) => line.startsWith("etcd_server_client_requests_total{"));
  assert.ok(lines.length < 100, `${lines.length} lines`);
  const sum = lines.reduce((total, line) => total + Number(line.slice(line.lastIndexOf(" "))), 0);
  assert.equal(sum, 100, "none is lost");
});
