import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { GrpcError, GrpcServer, GrpcStatus, type Handler, HttpServer, SharedPort } from "../grpc/index.js";
import {
  AuthenticateResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  SnapshotResponse,
} from "../proto/index.js";
import { Client, type ClientOptions, LoginError, parseEndpoint, RpcError } from "./index.js";

const realClock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  after: (delayMs: number, run: () => void) => {
    const timer = setTimeout(run, delayMs).unref();
    return { cancel: () => clearTimeout(timer) };
  },
  every: (intervalMs: number, run: () => void) => {
    const timer = setInterval(run, intervalMs).unref();
    return { cancel: () => clearInterval(timer) };
  },
  yield: () => Promise.resolve(),
};

interface FakeServer {
  readonly address: string;
  readonly calls: string[];
  readonly stop: () => Promise<void>;
}

/** A server that answers with these handlers, and remembers which were called. */
async function serve(
  t: TestContext,
  handlers: Record<string, (request: Uint8Array) => Uint8Array>,
): Promise<FakeServer> {
  const calls: string[] = [];
  const table = new Map<string, Handler>();
  for (const [path, handle] of Object.entries(handlers)) {
    table.set(path, {
      kind: "unary",
      handle: (request) => {
        calls.push(path);
        return handle(request);
      },
    });
  }
  table.set("/etcdserverpb.Maintenance/Snapshot", {
    kind: "serverStreaming",
    handle: async function* () {
      await Promise.resolve();
      for (let left = 3; left >= 0; left--) {
        yield SnapshotResponse.encode(
          SnapshotResponse.create({ remainingBytes: left, blob: Uint8Array.of(left) }),
        ).finish();
      }
    },
  });
  const grpc = new GrpcServer(
    { messageBytesMax: 1 << 22, streamsMax: 100, pingGapMsMin: 0, keepAliveMs: 1e6, keepAliveTimeoutMs: 1e6 },
    { clock: realClock, handlers: table, mapError: (error) => ({ status: 2, text: String(error) }) },
  );
  const http = new HttpServer({ bodyBytesMax: 10 }, { clock: realClock, table: new Map() });
  const address = { kind: "tcp", host: "127.0.0.1", port: 0 } as const;
  const port = await SharedPort.listen(address, { clock: realClock, grpc, http });
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopped ??= port.stop(1000));
  t.after(stop);
  return { address: `127.0.0.1:${port.address.kind === "tcp" ? port.address.port : 0}`, calls, stop };
}

function connect(t: TestContext, endpoints: string[], options: Partial<ClientOptions> = {}): Client {
  const client = new Client({ endpoints, dialTimeoutMs: 200, callTimeoutMs: 5000, ...options });
  t.after(() => client.close());
  return client;
}

const RANGE = "/etcdserverpb.KV/Range";
const PUT = "/etcdserverpb.KV/Put";
const answer = (): Uint8Array => RangeResponse.encode(RangeResponse.create({ count: 7 })).finish();
const unavailable = (): Uint8Array => {
  throw new GrpcError(GrpcStatus.unavailable, "etcdserver: no leader");
};
const key = Uint8Array.of(1);

test("endpoints are written with a scheme or without", () => {
  assert.deepEqual(parseEndpoint("localhost:2379"), {
    text: "localhost:2379",
    target: "localhost:2379",
    secure: undefined,
  });
  assert.equal(parseEndpoint(" http://a:1/ ").target, "a:1");
  for (const [text, secure] of [
    ["http://a:1", false],
    ["https://a:1", true],
    ["unix:///s", undefined],
    ["unixs:///s", true],
  ] as const) {
    assert.equal(parseEndpoint(text).secure, secure, text);
  }
  assert.equal(parseEndpoint("unix:///tmp/x").target, "unix:/tmp/x");
});

test("an endpoint that is not there is passed over", async (t) => {
  const server = await serve(t, { [RANGE]: answer });
  const client = connect(t, ["127.0.0.1:1", server.address]);
  assert.equal((await client.range(RangeRequest.create({ key }))).count, 7);
});

test("a read that finds a member unavailable is tried on the next; a write is not", async (t) => {
  const ill = await serve(t, { [RANGE]: unavailable, [PUT]: unavailable });
  const well = await serve(t, { [RANGE]: answer, [PUT]: () => PutResponse.encode(PutResponse.create()).finish() });
  const client = connect(t, [ill.address, well.address]);
  await assert.rejects(client.put(PutRequest.create({ key })), { message: "etcdserver: no leader", status: 14 });
  assert.deepEqual(well.calls, []);
  assert.equal((await client.range(RangeRequest.create({ key }))).count, 7);
  assert.deepEqual(well.calls, [RANGE]);
});

test("endpoints that never answer, or are not there, cost no time", async (t) => {
  const taken: Socket[] = [];
  const silent = createServer((socket) => void taken.push(socket)).listen(0, "127.0.0.1");
  await once(silent, "listening");
  t.after(() => {
    silent.close();
    for (const socket of taken) socket.destroy();
  });
  const server = await serve(t, { [PUT]: () => PutResponse.encode(PutResponse.create()).finish() });
  const { port } = silent.address() as AddressInfo;
  const client = connect(t, [`127.0.0.1:${port}`, "127.0.0.1:1", server.address], { dialTimeoutMs: 60_000 });
  await client.put(PutRequest.create({ key }));
  assert.deepEqual(server.calls, [PUT]);
});

test("a write that a learner does not serve goes to another endpoint; from a learner alone the caller hears it", async (t) => {
  const refuse = (): Uint8Array => {
    throw new GrpcError(GrpcStatus.unavailable, "etcdserver: rpc not supported for learner");
  };
  const learner = await serve(t, { [PUT]: refuse });
  const voter = await serve(t, { [PUT]: () => PutResponse.encode(PutResponse.create()).finish() });
  const client = connect(t, [learner.address, voter.address]);
  await client.put(PutRequest.create({ key }));
  assert.deepEqual(voter.calls, [PUT]);
  const alone = connect(t, [learner.address]);
  await assert.rejects(alone.put(PutRequest.create({ key })), { message: "etcdserver: rpc not supported for learner" });
});

test("when nobody can serve, the caller is told in the end", async (t) => {
  const ill = await serve(t, { [RANGE]: unavailable });
  const client = connect(t, [ill.address]);
  await assert.rejects(client.range(RangeRequest.create({ key })), RpcError);
  const alone = connect(t, ["127.0.0.1:1"], { callTimeoutMs: 100 });
  await assert.rejects(alone.range(RangeRequest.create({ key })), { message: "context deadline exceeded" });
});

test("a request that etcd's client would not send is not sent", async (t) => {
  const server = await serve(t, { [PUT]: answer });
  const client = connect(t, [server.address]);
  const value = new Uint8Array(2_097_152);
  await assert.rejects(client.put(PutRequest.create({ key, value })), {
    message: "rpc error: code = ResourceExhausted desc = trying to send message larger than max (2097160 vs. 2097152)",
  });
  assert.deepEqual(server.calls, []);
});

test("a user's password buys a token; where authentication is off the call goes on without one", async (t) => {
  const server = await serve(t, {
    "/etcdserverpb.Auth/Authenticate": () => {
      throw new GrpcError(GrpcStatus.failedPrecondition, "etcdserver: authentication is not enabled");
    },
    [RANGE]: answer,
  });
  const client = connect(t, [server.address], { user: { name: "root", password: "x" } });
  await client.range(RangeRequest.create({ key }));
  await client.range(RangeRequest.create({ key }));
  assert.deepEqual(server.calls, ["/etcdserverpb.Auth/Authenticate", RANGE, RANGE]);
});

test("a token that the server does not know, or that is too old, is replaced, and the call is made again", async (t) => {
  let given = 0;
  let served = 0;
  const refusals = [
    new GrpcError(GrpcStatus.unauthenticated, "etcdserver: invalid auth token"),
    new GrpcError(GrpcStatus.invalidArgument, "etcdserver: revision of auth store is old"),
  ];
  const server = await serve(t, {
    "/etcdserverpb.Auth/Authenticate": () =>
      AuthenticateResponse.encode({ header: undefined, token: `token.${++given}` }).finish(),
    [PUT]: () => {
      const refusal = refusals.shift();
      if (refusal !== undefined) throw refusal;
      served++;
      return PutResponse.encode(PutResponse.create()).finish();
    },
  });
  const client = connect(t, [server.address], { user: { name: "root", password: "x" } });
  await client.put(PutRequest.create({ key }));
  assert.equal(given, 3);
  assert.equal(served, 1);
});

test("a call that is refused again and again ends; one without a user is not made again", async (t) => {
  const refuse = (): Uint8Array => {
    throw new GrpcError(GrpcStatus.unauthenticated, "etcdserver: invalid auth token");
  };
  const server = await serve(t, {
    "/etcdserverpb.Auth/Authenticate": () => AuthenticateResponse.encode({ header: undefined, token: "t" }).finish(),
    [PUT]: refuse,
  });
  const message = "etcdserver: invalid auth token";
  const client = connect(t, [server.address], { user: { name: "root", password: "x" } });
  await assert.rejects(client.put(PutRequest.create({ key })), { message });
  assert.equal(server.calls.filter((path) => path === PUT).length, 6);
  const stranger = connect(t, [server.address]);
  await assert.rejects(stranger.put(PutRequest.create({ key })), { message });
  assert.equal(server.calls.filter((path) => path === PUT).length, 7);
});

test("a user who gets no token is told so before anything is called", async (t) => {
  const server = await serve(t, {
    "/etcdserverpb.Auth/Authenticate": () => {
      throw new GrpcError(GrpcStatus.invalidArgument, "etcdserver: authentication failed, invalid user ID or password");
    },
    [PUT]: answer,
  });
  const client = connect(t, [server.address], { user: { name: "root", password: "x" } });
  await assert.rejects(client.put(PutRequest.create({ key })), LoginError);
  assert.deepEqual(server.calls, ["/etcdserverpb.Auth/Authenticate"]);
});

test("a snapshot comes in pieces, in order; one that is left early is cancelled", async (t) => {
  const server = await serve(t, {});
  const client = connect(t, []);
  const seen: number[] = [];
  for await (const { remainingBytes } of client.snapshot(server.address)) seen.push(remainingBytes);
  assert.deepEqual(seen, [3, 2, 1, 0]);
  for await (const { blob } of client.snapshot(server.address)) {
    assert.equal(blob.length, 1);
    break;
  }
});
