import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { AuthError } from "../auth/errors.js";
import { NodeClock } from "../platform/node/clock.js";
import { PutRequest, RangeRequest, v3electionpb, v3lockpb } from "../proto/index.js";
import { RequestError } from "../server/errors.js";
import { openClientPort, PrometheusMetrics } from "./index.js";
import { FakeMember } from "./testing/fake-member.js";

const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");
const same = (message: Buffer): Buffer => message;
const LOCK = "/v3lockpb.Lock/Lock";
const OBSERVE = "/v3electionpb.Election/Observe";

interface Begun {
  readonly answer: Promise<Buffer>;
  /** "code text" of the failure. */
  readonly failure: Promise<string>;
  readonly cancel: () => void;
}

interface Play {
  readonly member: FakeMember;
  readonly begin: (path: string, request?: Uint8Array, fields?: Record<string, string>) => Begun;
  readonly observe: (fields?: Record<string, string>) => grpc.ClientReadableStream<Buffer>;
}

async function play(t: TestContext): Promise<Play> {
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
  return {
    member,
    begin: (path, request = new Uint8Array(0), fields = {}) => {
      let cancel = (): void => undefined;
      const answer = new Promise<Buffer>((resolve, reject) => {
        const call = client.makeUnaryRequest(
          path,
          same,
          same,
          Buffer.from(request),
          metadataOf(fields),
          (error, answer) => {
            if (error === null) resolve(answer!);
            else reject(error);
          },
        );
        cancel = () => call.cancel();
      });
      const failure = answer.then(
        () => "answered",
        ({ code, details }: grpc.ServiceError) => `${code} ${details}`,
      );
      return { answer, failure, cancel: () => cancel() };
    },
    observe: (fields = {}) => {
      const request = Buffer.from(v3electionpb.LeaderRequest.encode({ name: bytes("e") }).finish());
      return client.makeServerStreamRequest(OBSERVE, same, same, request, metadataOf(fields));
    },
  };
}

function metadataOf(fields: Record<string, string>): grpc.Metadata {
  const metadata = new grpc.Metadata();
  for (const [name, value] of Object.entries(fields)) metadata.set(name, value);
  return metadata;
}

const lock = (name: string, lease: bigint): Uint8Array =>
  v3lockpb.LockRequest.encode({ name: bytes(name), lease }).finish();

const until = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await new Promise((resolve) => void setTimeout(resolve, 1));
};

/** "code text" of a stream's end. */
const endOf = (stream: grpc.ClientReadableStream<Buffer>): Promise<string> =>
  new Promise((resolve) => {
    stream.on("error", () => undefined); // its status says it
    stream.on("status", ({ code, details }: grpc.StatusObject) => resolve(`${code} ${details}`.trim()));
  });

/** Puts a key that is before those of the play: its name comes first, which is what this member goes by. */
const putBefore = (member: FakeMember, key: string): Promise<unknown> =>
  member.put({ ...PutRequest.create(), key: bytes(key), value: bytes("v") });

test("a lock that is free is answered with its key and the member's header", async (t) => {
  const { begin, member } = await play(t);
  const { header, key } = v3lockpb.LockResponse.decode(await begin(LOCK, lock("l", 0x1234n)).answer);
  assert.equal(Buffer.from(key).toString(), "l/1234");
  assert.deepEqual(header, member.header());
  const unlock = v3lockpb.UnlockRequest.encode({ key }).finish();
  await begin("/v3lockpb.Lock/Unlock", unlock).answer;
  assert.equal(await begin("/v3lockpb.Lock/Unlock").failure, "2 etcdserver: key is not provided");
});

test("what a member answers with a status of its own is told as UNKNOWN, in the same words", async (t) => {
  const { begin, member } = await play(t);
  member.failWith = new AuthError("AUTH_PERMISSION_DENIED", "not for you");
  assert.equal(await begin(LOCK, lock("l", 1n)).failure, "2 etcdserver: permission denied");
  member.failWith = new RequestError("SERVER_NO_SPACE", "full");
  assert.equal(await begin(LOCK, lock("l", 1n)).failure, "2 etcdserver: mvcc: database space exceeded");
  assert.equal(await begin("/v3electionpb.Election/Leader").failure, "2 election: no leader");
  assert.equal(await begin("/v3electionpb.Election/Resign").failure, '2 "leader" field must be provided');
});

test("a learner refuses, and so does a member without a leader when one is required", async (t) => {
  const { begin, member, observe } = await play(t);
  member.leaderId = 0n;
  assert.equal(await begin(LOCK, lock("l", 1n), { hasleader: "true" }).failure, "14 etcdserver: no leader");
  assert.equal(await endOf(observe({ hasleader: "true" })), "14 etcdserver: no leader");
  member.learner = true;
  assert.equal(await begin(LOCK, lock("l", 1n)).failure, "14 etcdserver: rpc not supported for learner");
  assert.equal(await endOf(observe()), "14 etcdserver: rpc not supported for learner");
});

test("a wait ends with the member, with a refused watch, and with its caller, who leaves no key", async (t) => {
  const { begin, member } = await play(t);
  await putBefore(member, "l/0");
  const stopped = begin(LOCK, lock("l", 1n));
  await until(() => member.watches.length === 1);
  member.watches[0]!.receiver.onEnd(new RequestError("SERVER_STOPPED", "the member is stopping"));
  assert.equal(await stopped.failure, "14 etcdserver: server stopped");

  const refused = begin(LOCK, lock("l", 2n));
  await until(() => member.watches.length === 2);
  const refusal = new AuthError("AUTH_PERMISSION_DENIED", "not any more");
  const notice = { revision: 1, watchId: -1, created: true, canceled: true, compactRevision: 0, refusal };
  member.watches[1]!.receiver.onNotice(notice);
  assert.equal(await refused.failure, "2 rpc error: code = PermissionDenied desc = etcdserver: permission denied");

  const gone = begin(LOCK, lock("l", 3n), { token: "of.somebody" });
  await until(() => member.watches.length === 3);
  assert.deepEqual(member.watches[2]!.created[0]!.span, { key: "l/0", end: undefined });
  const asked = member.contexts.length;
  gone.cancel();
  assert.match(await gone.failure, /^1 /);
  await until(() => member.contexts.length > asked);
  assert.equal(member.contexts.at(-1)!.token, "of.somebody", "it is its caller who takes the key away");
  const { kvs } = await member.range({ ...RangeRequest.create(), key: bytes("\0"), rangeEnd: bytes("\0") });
  assert.deepEqual(
    kvs.map(({ key }) => Buffer.from(key).toString()),
    ["l/0"],
  );
});

test("an observer reads who leads, and loses its stream with the leader where it requires one", async (t) => {
  const { member, observe } = await play(t);
  await putBefore(member, "e/1");
  const stream = observe({ hasleader: "true" });
  const ended = endOf(stream);
  const first = await new Promise<Buffer>((resolve) => void stream.once("data", resolve));
  const { header, kv } = v3electionpb.LeaderResponse.decode(first);
  assert.deepEqual([header, Buffer.from(kv!.value).toString()], [member.header(), "v"]);
  await until(() => member.watches.length === 1);
  assert.equal(member.watches[0]!.options.requiresLeader, true);
  member.watches[0]!.receiver.onEnd(new RequestError("SERVER_NO_LEADER", "it is lost"));
  assert.equal(await ended, "14 etcdserver: no leader");
});

test("an observer who may not read ends well, as etcd's do", async (t) => {
  const { member, observe } = await play(t);
  member.failWith = new AuthError("AUTH_PERMISSION_DENIED", "not for you");
  const stream = observe();
  stream.resume();
  assert.equal(await endOf(stream), "0");
});
