import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { CodedError } from "../base/errors.js";
import { Watcher, type WatchReceiver } from "../mvcc/index.js";
import { WatchEvent } from "../mvcc/watch-event.js";
import { NodeClock } from "../platform/node/clock.js";
import { encodeKeyValue, WatchCreateRequest, WatchRequest, WatchResponse } from "../proto/index.js";
import { RequestError } from "../server/errors.js";
import { openClientPort, PrometheusMetrics } from "./index.js";
import { FakeMember, type FakeWatch } from "./testing/fake-member.js";

const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");
const same = (message: Buffer): Buffer => message;

type Stream = grpc.ClientDuplexStream<Buffer, Buffer>;

interface Play {
  readonly member: FakeMember;
  readonly client: grpc.Client;
  readonly stream: Stream;
  readonly watch: FakeWatch;
  readonly ask: (request: WatchRequest["requestUnion"]) => void;
  readonly answer: () => Promise<WatchResponse>;
  /** "code text" of the end. */
  readonly end: () => Promise<string>;
}

async function open(
  t: TestContext,
  member = new FakeMember(),
  fields: Readonly<Record<string, string>> = {},
): Promise<Omit<Play, "watch">> {
  const metrics = new PrometheusMetrics({ processFigures: false });
  const port = await openClientPort(
    { kind: "tcp", host: "127.0.0.1", port: 0 },
    { clock: new NodeClock(), member, metrics, exposition: () => metrics.exposition() },
  );
  const number = port.address.kind === "tcp" ? port.address.port : 0;
  const client = new grpc.Client(`127.0.0.1:${number}`, grpc.credentials.createInsecure());
  const metadata = new grpc.Metadata();
  for (const [name, value] of Object.entries(fields)) metadata.set(name, value);
  const stream: Stream = client.makeBidiStreamRequest("/etcdserverpb.Watch/Watch", same, same, metadata);
  const ended = new Promise<string>((resolve) => {
    stream.once("error", ({ code, details }: grpc.ServiceError) => resolve(`${code} ${details}`));
    stream.once("status", ({ code, details }: grpc.StatusObject) => resolve(`${code} ${details}`));
  });
  t.after(async () => {
    stream.cancel();
    await ended;
    client.close();
    await port.stop(5000);
  });
  const answers: Buffer[] = [];
  stream.on("data", (answer: Buffer) => answers.push(answer));
  return {
    member,
    client,
    stream,
    ask: (requestUnion) => void stream.write(Buffer.from(WatchRequest.encode({ requestUnion }).finish())),
    answer: async () => {
      await until(() => answers.length > 0);
      return WatchResponse.decode(answers.shift()!);
    },
    end: () => ended,
  };
}

/** A stream with one watcher. */
async function play(t: TestContext, fields: Readonly<Record<string, string>> = {}): Promise<Play> {
  const opened = await open(t, new FakeMember(), fields);
  opened.ask({ $case: "createRequest", value: creation({ key: bytes("a") }) });
  await opened.answer();
  return { ...opened, watch: opened.member.watches[0]! };
}

const creation = (fields: Partial<WatchCreateRequest>): WatchCreateRequest => ({
  ...WatchCreateRequest.create(),
  ...fields,
});

const PLAIN = {
  startRevision: 0,
  withoutPuts: false,
  withoutDeletes: false,
  withPrevious: false,
  inFragments: false,
  reportsProgress: false,
};

/** Whom a watcher tells that no store knows. */
const NOBODY: WatchReceiver = { isReady: true, onEvents: () => undefined, onCompacted: () => undefined };

function putOf(value: Uint8Array, revision: number): WatchEvent {
  const kv = { key: bytes("a"), createRevision: 1, modRevision: revision, version: 2, value, lease: 0n };
  const previous = encodeKeyValue({ ...kv, modRevision: revision - 1, version: 1 });
  return new WatchEvent("a", revision, false, encodeKeyValue(kv), false, () => previous);
}

/** Waits for what the server does of its own. */
async function until(holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!holds()) {
    assert.ok(Date.now() < deadline, "what is waited for does not come");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

test("requests reach the member as they were meant, and copied", async (t) => {
  const { ask, member, answer } = await open(t);
  const requests: Partial<WatchCreateRequest>[] = [
    { key: bytes("k"), startRevision: 9, watchId: 4, progressNotify: true },
    { key: bytes("k"), rangeEnd: bytes("l"), prevKv: true, filters: [0] },
    { key: bytes("k"), rangeEnd: bytes("\0"), fragment: true, filters: [1, 7 as 0] },
    {},
    { rangeEnd: bytes("\0") },
  ];
  for (const value of requests) ask({ $case: "createRequest", value: creation(value) });
  ask({ $case: "cancelRequest", value: { watchId: 4 } });
  ask({ $case: "progressRequest", value: {} });
  ask(undefined);
  for (const _ of requests) await answer();
  const [watch] = member.watches;
  await until(() => watch!.asked.length === 2);
  assert.deepEqual(watch!.asked, ["cancel 4", "progress"]);
  assert.deepEqual(watch!.created, [
    { ...PLAIN, span: { key: "k", end: undefined }, startRevision: 9, watchId: 4, reportsProgress: true },
    { ...PLAIN, span: { key: "k", end: "l" }, watchId: 0, withPrevious: true, withoutPuts: true },
    { ...PLAIN, span: { key: "k", end: "" }, watchId: 0, inFragments: true, withoutDeletes: true },
    { ...PLAIN, span: { key: "\0", end: undefined }, watchId: 0 },
    { ...PLAIN, span: { key: "\0", end: "" }, watchId: 0 },
  ]);
});

test("notices carry the member's header with their own revision, and etcd's words", async (t) => {
  const { watch, member, answer } = await play(t);
  const notice = { revision: 5, watchId: -1, created: true, canceled: true, compactRevision: 0 };
  class Refusal extends CodedError<string> {
    override readonly name = "Refusal";
  }
  const refusals = [
    ["WATCH_RANGE_EMPTY", "mvcc: watcher range is empty"],
    ["WATCH_ID_TAKEN", "mvcc: duplicate watch ID provided on the WatchStream"],
    ["MVCC_COMPACTED", "etcdserver: mvcc: required revision has been compacted"],
    ["ANYTHING_ELSE", "rpc error: code = PermissionDenied desc = etcdserver: permission denied"],
  ] as const;
  for (const [code, cancelReason] of refusals) {
    watch.receiver.onNotice({ ...notice, refusal: new Refusal(code, "") });
    const { header, ...told } = await answer();
    assert.deepEqual(header, { ...member.header(), revision: 5 });
    assert.deepEqual(told, {
      watchId: -1,
      created: true,
      canceled: true,
      compactRevision: 0,
      cancelReason,
      fragment: false,
      events: [],
    });
  }
});

test("changes are sent with what the watcher asked for, in fragments to who takes them", async (t) => {
  const { watch, answer } = await play(t);
  const span = { key: "a", end: undefined };
  const watcher = (options: Partial<typeof PLAIN>): Watcher => new Watcher(3, span, NOBODY, { ...PLAIN, ...options });
  watch.receiver.onEvents(watcher({}), [putOf(bytes("1"), 7)], 8);
  const bare = await answer();
  assert.deepEqual([bare.watchId, bare.header?.revision, bare.events.length], [3, 8, 1]);
  assert.equal(bare.events[0]!.prevKv, undefined);
  watch.receiver.onEvents(watcher({ withPrevious: true }), [putOf(bytes("1"), 7)], 8);
  assert.equal((await answer()).events[0]!.prevKv?.modRevision, 6);
  const large = [1, 2, 3].map((revision) => putOf(new Uint8Array(1_000_000), 7 + revision));
  watch.receiver.onEvents(watcher({}), large, 10);
  assert.deepEqual([(await answer()).events.length], [3]);
  watch.receiver.onEvents(watcher({ inFragments: true }), large, 10);
  const parts = [await answer(), await answer()];
  assert.deepEqual(
    parts.map(({ events, fragment }) => [events.length, fragment]),
    [
      [2, true],
      [1, false],
    ],
  );
});

test("a client that does not read is sent no more, and is served on when it does", async (t) => {
  const { watch, stream } = await play(t);
  stream.pause();
  const watcher = new Watcher(0, { key: "a", end: undefined }, NOBODY, PLAIN);
  let revision = 1;
  while (watch.receiver.isReady) {
    watch.receiver.onEvents(watcher, [putOf(new Uint8Array(50_000), ++revision)], revision);
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(revision < 1000, "it is never told to wait");
  }
  assert.deepEqual(watch.asked, []);
  stream.resume();
  await until(() => watch.asked.length > 0);
  assert.deepEqual(watch.asked, ["resume"]);
  assert.ok(watch.receiver.isReady);
});

test("streams of one connection that nobody reads hold a bounded number of bytes together", async (t) => {
  const { member, client } = await open(t);
  const streams = Array.from({ length: 26 }, () => {
    const stream = client.makeBidiStreamRequest("/etcdserverpb.Watch/Watch", same, same) as Stream;
    stream.on("error", () => undefined).pause();
    return stream;
  });
  t.after(() => streams.forEach((stream) => stream.cancel()));
  await until(() => member.watches.length === streams.length + 1);
  const watcher = new Watcher(0, { key: "a", end: undefined }, NOBODY, PLAIN);
  const [, ...watches] = member.watches;
  for (const { receiver } of watches) {
    if (receiver.isReady) receiver.onEvents(watcher, [putOf(new Uint8Array(1_000_000), 2)], 2);
  }
  await new Promise((resolve) => setImmediate(resolve));
  const [told, left] = [watches.slice(0, 15), watches.slice(20)];
  assert.ok(
    left.every(({ receiver }) => !receiver.isReady),
    "the connection is full",
  );
  let bytes = 0;
  for (const stream of streams) stream.on("data", (answer: Buffer) => (bytes += answer.length)).resume();
  await until(() => bytes > 15_000_000 && [...told, ...left].every(({ asked }) => asked.includes("resume")));
  await until(() => watches.every(({ receiver }) => receiver.isReady));
});

test("a client that goes on asking without reading is not read either", async (t) => {
  const { watch, stream, ask } = await play(t);
  stream.pause();
  for (let i = 0; i < 6_000; i++) ask({ $case: "createRequest", value: creation({ key: new Uint8Array(20) }) });
  await until(() => !watch.receiver.isReady);
  const before = watch.created.length;
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(watch.created.length < 6_000, `${watch.created.length} were read`);
  assert.equal(watch.created.length, before);
  stream.resume();
  await until(() => watch.created.length === 6_001);
});

test("the end of the call is the end of the stream; that the client has said its last is not", async (t) => {
  const { watch, stream, answer } = await play(t);
  stream.end();
  watch.receiver.onNotice({
    revision: 1,
    watchId: 1,
    created: false,
    canceled: false,
    compactRevision: 0,
    refusal: undefined,
  });
  await answer();
  assert.deepEqual(watch.asked, []);
  stream.cancel();
  await until(() => watch.asked.length > 0);
  assert.deepEqual(watch.asked, ["close"]);
});

test("the member's end is told with etcd's text", async (t) => {
  const { watch, end } = await play(t, { hasleader: "true" });
  assert.deepEqual(watch.options, { requiresLeader: true });
  watch.receiver.onEnd(new RequestError("SERVER_NO_LEADER", "nobody leads"));
  assert.equal(await end(), "14 etcdserver: no leader");
});

test("bytes that are no request end the stream, and nothing of it stays", async (t) => {
  const { watch, stream, end } = await play(t);
  stream.write(Buffer.from("0a0501", "hex"));
  assert.match(await end(), /^13 grpc: failed to unmarshal the received message/);
  await until(() => watch.asked.length > 0);
  assert.deepEqual(watch.asked, ["close"]);
});

test("a learner serves no watches, and a client that insists on a leader is refused where there is none", async (t) => {
  const learner = new FakeMember();
  learner.learner = true;
  assert.equal(await (await open(t, learner)).end(), "14 etcdserver: rpc not supported for learner");
  const orphan = new FakeMember();
  orphan.leaderId = 0n;
  assert.equal(await (await open(t, orphan, { hasleader: "true" })).end(), "14 etcdserver: no leader");
  assert.deepEqual([learner.watches, orphan.watches], [[], []]);
});
