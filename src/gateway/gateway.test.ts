/** The gateway over real sockets and handlers of the test's own: who does not read, who goes, who is late. */
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import { test, type TestContext } from "node:test";
import { WebSocket } from "ws";
import {
  type Call,
  GRPC_SERVER_DEFAULTS,
  GrpcError,
  GrpcServer,
  type Handler,
  HttpServer,
  type MessageStream,
  SharedPort,
} from "../grpc/index.js";
import { testClock } from "../grpc/testing/fixture.js";
import {
  LeaseKeepAliveResponse,
  RangeRequest,
  RangeResponse,
  SnapshotResponse,
  WatchRequest,
  WatchResponse,
} from "../proto/index.js";
import { Gateway } from "./gateway.js";
import { GatewaySockets } from "./websocket.js";

const WATCH = "/etcdserverpb.Watch/Watch";
const RANGE = "/etcdserverpb.KV/Range";
const SNAPSHOT = "/etcdserverpb.Maintenance/Snapshot";

interface Fixture {
  readonly port: number;
  readonly ended: (readonly [path: string, status: number])[];
}

/** @param stallMs after which a client that owes something is late */
async function gateway(
  t: TestContext,
  handlers: Readonly<Record<string, Handler>>,
  stallMs = 60_000,
): Promise<Fixture> {
  const ended: [string, number][] = [];
  let started = 0;
  const mapError = (error: unknown): { status: number; text: string } =>
    error instanceof GrpcError ? error : { status: 2, text: String(error) };
  const table = new Map(Object.entries(handlers));
  const observer = {
    started: () => void started++,
    ended: (path: string, _: string, status: number) => void ended.push([path, status]),
  };
  const served = new Gateway({ messageBytesMax: 100_000 }, { clock: testClock, handlers: table, mapError, observer });
  const sockets = new GatewaySockets(served, testClock);
  const server = new HttpServer(
    {
      bodyBytesMax: 1_000,
      upgrade: (upgrade) => sockets.accept(upgrade),
      limits: { sweepMs: 20, requestStallMs: stallMs, answerStallMs: stallMs },
    },
    { clock: testClock, table: served },
  );
  const grpc = new GrpcServer(
    { ...GRPC_SERVER_DEFAULTS, messageBytesMax: 100_000 },
    { clock: testClock, handlers: table, mapError, plain: server },
  );
  const shared = await SharedPort.listen(
    { kind: "tcp", host: "127.0.0.1", port: 0 },
    { clock: testClock, grpc, http: server },
  );
  t.after(async () => {
    await shared.stop(1_000);
    await until(() => ended.length === started);
    assert.equal(ended.length, started, "every call that began has ended");
  });
  return { port: shared.address.kind === "tcp" ? shared.address.port : 0, ended };
}

async function until(isSo: () => boolean): Promise<void> {
  for (let round = 0; round < 2_000 && !isSo(); round++) await new Promise((resolve) => void setTimeout(resolve, 5));
  assert.ok(isSo(), isSo.toString());
}

const piece = WatchResponse.encode(WatchResponse.create({ cancelReason: "x".repeat(10_000) })).finish();

/** Sends as long as it may, and counts. */
class Flood {
  sent = 0;
  aborted = 0;
  readonly handler: Handler = { kind: "bidirectional", handle: (stream, call) => this.#run(stream, call) };

  #run(stream: MessageStream, call: Call): void {
    let isOpen = true;
    const pump = (): void => {
      while (isOpen && !call.signal.aborted) {
        this.sent++;
        isOpen = stream.send(piece);
      }
    };
    stream.onDrain = () => {
      isOpen = true;
      setImmediate(pump);
    };
    call.signal.addEventListener("abort", () => this.aborted++);
    pump();
  }
}

async function staysAt(count: () => number): Promise<number> {
  for (let last = -1; ;) {
    const now = count();
    if (now === last) return now;
    last = now;
    await new Promise((resolve) => void setTimeout(resolve, 150));
  }
}

/** What the kernel, Node and the gateway hold between the two ends: a few megabytes. */
const HELD_PIECES_MAX = 1_500;

test("a client that does not read stops the handler, and gets everything when it reads on", async (t) => {
  const flood = new Flood();
  const { port } = await gateway(t, { [WATCH]: flood.handler });
  const request = http.request({ port, path: "/v3/watch", method: "POST" });
  request.end("{}");
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  response.pause();
  const stopped = await staysAt(() => flood.sent);
  assert.ok(stopped < HELD_PIECES_MAX, `${stopped} messages`);
  response.resume();
  await until(() => flood.sent > stopped + 2_000);
  response.destroy();
  await until(() => flood.aborted === 1);
});

test("so does one over HTTP/2, and one over a websocket", async (t) => {
  const flood = new Flood();
  const { port } = await gateway(t, { [WATCH]: flood.handler });
  const session = http2.connect(`http://127.0.0.1:${port}`);
  const stream = session.request({ ":path": "/v3/watch", ":method": "POST" });
  stream.end("{}");
  await once(stream, "response");
  const first = await staysAt(() => flood.sent);
  assert.ok(first < HELD_PIECES_MAX, `${first} messages`);
  stream.close(http2.constants.NGHTTP2_CANCEL);
  await until(() => flood.aborted === 1);
  session.destroy();

  const socket = new WebSocket(`ws://127.0.0.1:${port}/v3/watch`);
  await once(socket, "open");
  socket.pause();
  flood.sent = 0;
  socket.send("{}");
  await until(() => flood.sent > 0);
  const second = await staysAt(() => flood.sent);
  assert.ok(second < HELD_PIECES_MAX, `${second} messages`);
  socket.terminate();
  await until(() => flood.aborted === 2);
});

test("a stream that a handler makes by itself is asked for its next message when the client can take it", async (t) => {
  const blob = SnapshotResponse.encode(SnapshotResponse.create({ blob: Buffer.alloc(8_000) })).finish();
  let made = 0;
  let returned = false;
  const endless: Handler = {
    kind: "serverStreaming",
    handle: async function* () {
      try {
        for (;;) {
          made++;
          yield await Promise.resolve(blob);
        }
      } finally {
        returned = true;
      }
    },
  };
  const { port } = await gateway(t, { [SNAPSHOT]: endless });
  const request = http.request({ port, path: "/v3/maintenance/snapshot", method: "POST" });
  request.end("{}");
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  response.pause();
  const stopped = await staysAt(() => made);
  assert.ok(stopped < HELD_PIECES_MAX, `${stopped} messages`);
  response.destroy();
  await until(() => returned);
});

test("a handler that pauses is sent no more messages until it resumes", async (t) => {
  const seen: bigint[] = [];
  let resume: () => void = () => undefined;
  const slow: Handler = {
    kind: "bidirectional",
    handle: (stream) => {
      stream.onMessage = (bytes) => {
        const { requestUnion } = WatchRequest.decode(bytes);
        assert.equal(requestUnion?.$case, "cancelRequest");
        seen.push(BigInt(requestUnion.value.watchId));
        stream.pause();
        resume = () => stream.resume();
      };
      stream.onEnd = () => stream.end();
    },
  };
  const { port, ended } = await gateway(t, { [WATCH]: slow });
  const cancel = (id: number): string => `{"cancel_request":{"watch_id":${id}}}`;
  const answer = fetch(`http://127.0.0.1:${port}/v3/watch`, { method: "POST", body: [1, 2, 3].map(cancel).join(" ") });
  for (const count of [1, 2, 3]) {
    await until(() => seen.length === count);
    await new Promise((resolve) => void setTimeout(resolve, 30));
    assert.equal(seen.length, count);
    resume();
  }
  assert.equal((await answer).status, 200);
  assert.deepEqual(ended, [[WATCH, 0]]);
});

test("a call sees the client's headers as metadata, and that it came this way", async (t) => {
  let call: Call | undefined;
  const look: Handler = {
    kind: "unary",
    handle: (_, found) => {
      call = found;
      return RangeResponse.encode(RangeResponse.create({ count: 1 })).finish();
    },
  };
  const { port } = await gateway(t, { [RANGE]: look });
  const headers = {
    authorization: "t",
    "grpc-metadata-hasleader": "true",
    "grpc-metadata-x-bin": "AQI=",
    "user-agent": "me",
  };
  const answer = await fetch(`http://127.0.0.1:${port}/v3/kv/range`, { method: "POST", body: "{}", headers });
  assert.equal(await answer.text(), '{"count":"1"}');
  assert.equal(call?.metadata("authorization"), "t");
  assert.equal(call.metadata("hasleader"), "true");
  assert.deepEqual(call.binaryMetadata("x-bin"), [Buffer.from([1, 2])]);
  assert.equal(call.metadata("grpcgateway-user-agent"), "me");
  assert.equal(call.metadata("user-agent"), undefined);
  assert.equal(call.metadata("grpcgateway-accept"), "*/*");
  assert.ok(call.signal.aborted);
});

test("a client that goes aborts its call, however it waits", async (t) => {
  const signals: AbortSignal[] = [];
  const never = (_: unknown, call: Call): undefined => void signals.push(call.signal);
  const { port, ended } = await gateway(t, {
    [RANGE]: { kind: "unary", handle: never },
    [WATCH]: { kind: "bidirectional", handle: never },
  });
  for (const path of ["/v3/kv/range", "/v3/watch"]) {
    const request = http.request({ port, path, method: "POST" });
    request.on("error", () => undefined);
    request.end("{}");
    const count = signals.length + 1;
    await until(() => signals.length === count);
    assert.equal(signals.at(-1)!.aborted, false);
    request.destroy();
    await until(() => signals.at(-1)!.aborted);
  }
  await until(() => ended.length === 2);
  assert.deepEqual(ended, [
    [RANGE, 1],
    [WATCH, 1],
  ]);
});

test("a message over the limit is refused, and so is JSON that could not be less", async (t) => {
  const echo: Handler = { kind: "unary", handle: () => new Uint8Array(0) };
  const { port } = await gateway(t, { [RANGE]: echo });
  const status = async (body: string): Promise<number> => {
    const answer = await fetch(`http://127.0.0.1:${port}/v3/kv/range`, { method: "POST", body });
    await answer.text();
    return answer.status;
  };
  assert.equal(await status(`{"key":"${Buffer.alloc(99_000).toString("base64")}"}`), 200);
  assert.equal(await status(`{"key":"${Buffer.alloc(100_001).toString("base64")}"}`), 429);
  assert.equal(await status(" ".repeat(400_000)), 429);
});

test("who does not finish a message, or does not read, loses the connection; who is silent between messages keeps it", async (t) => {
  const flood = new Flood();
  const { port } = await gateway(
    t,
    { [WATCH]: flood.handler, [RANGE]: { kind: "unary", handle: () => new Uint8Array(0) } },
    200,
  );
  const send = (path: string, body: string): net.Socket => {
    const socket = net.connect({ port, host: "127.0.0.1" });
    socket.on("error", () => undefined);
    const head = `POST ${path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n`;
    socket.write(`${head}${Buffer.byteLength(body).toString(16)}\r\n${body}\r\n`);
    return socket;
  };
  const halfMessage = send("/v3/kv/range", '{"key":');
  halfMessage.resume();
  await once(halfMessage, "close");
  const unread = send("/v3/watch", "{}"); // its body has no end, which is nobody's business
  unread.pause();
  await until(() => flood.aborted === 1);
  unread.destroy();

  const keeper: Handler = {
    kind: "bidirectional",
    handle: (stream) => {
      stream.onMessage = () => stream.send(LeaseKeepAliveResponse.encode(LeaseKeepAliveResponse.create()).finish());
      stream.onEnd = () => stream.end();
    },
  };
  const { port: patient } = await gateway(t, { "/etcdserverpb.Lease/LeaseKeepAlive": keeper }, 200);
  const request = http.request({ port: patient, path: "/v3/lease/keepalive", method: "POST" });
  request.write("{}");
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  let text = "";
  response.on("data", (chunk: Buffer) => (text += chunk.toString()));
  await new Promise((resolve) => void setTimeout(resolve, 600));
  request.end("{}");
  await once(response, "end");
  assert.equal(text, '{"result":{}}\n{"result":{}}\n');
});

test("a request that offers HTTP/2 is served as it is, with its body", async (t) => {
  const seen: string[] = [];
  const look: Handler = {
    kind: "unary",
    handle: (bytes) => {
      seen.push(Buffer.from(RangeRequest.decode(bytes).key).toString());
      return new Uint8Array(0);
    },
  };
  const { port } = await gateway(t, { [RANGE]: look });
  const headers = {
    connection: "Upgrade, HTTP2-Settings",
    upgrade: "h2c",
    "http2-settings": "AAMAAABkAAQAoAAAAAIAAAAA",
  };
  const request = http.request({ port, path: "/v3/kv/range", method: "POST", headers });
  request.end('{"key":"Zm9v"}');
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  assert.equal(response.statusCode, 200);
  response.resume();
  await once(response, "end");
  assert.deepEqual(seen, ["foo"]);
});

test("frames that are too large, or none, end a websocket's conversation and nothing else", async (t) => {
  const flood = new Flood();
  const { port } = await gateway(t, { [WATCH]: flood.handler });
  const socket = new WebSocket(`ws://127.0.0.1:${port}/v3/watch`);
  await once(socket, "open");
  socket.send(Buffer.alloc(1_000_000, " "));
  const [code] = (await once(socket, "close")) as [number];
  assert.ok(code === 1009 || code === 1006, `${code}`);
});
