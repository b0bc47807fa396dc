import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http2 from "node:http2";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import * as grpc from "@grpc/grpc-js";
import fc from "fast-check";
import { Deframer, encodeStatusText, frameMessage, parseTimeout } from "./framing.js";
import {
  BoundPort,
  type Call,
  GRPC_SERVER_DEFAULTS,
  GrpcError,
  GrpcServer,
  GrpcStatus,
  HttpServer,
  plainAnswer,
  SharedPort,
  type UnaryCall,
} from "./index.js";
import { echo, grpcFixture, testClock } from "./testing/fixture.js";

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
const same = (message: Buffer): Buffer => message;

test("messages come whole, however the bytes are cut", () => {
  const messages = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 6 });
  fc.assert(
    fc.property(messages, fc.infiniteStream(fc.integer({ min: 1, max: 9 })), (messages, cuts) => {
      const bytes = Buffer.concat(messages.map((message) => frameMessage(message)));
      const seen: Uint8Array[] = [];
      const deframer = new Deframer(40, (message) => seen.push(Uint8Array.from(message)));
      let at = 0;
      for (const cut of cuts) {
        if (at >= bytes.length) break;
        deframer.push(bytes.subarray(at, at + cut));
        at += cut;
      }
      assert.deepEqual(seen, messages);
      assert.equal(deframer.midMessage, false);
    }),
  );
});

test("a message over the limit is refused when its prefix has come", () => {
  const deframer = new Deframer(10, () => assert.fail("no message came"));
  deframer.push(Uint8Array.of(0, 0, 0));
  assert.throws(() => deframer.push(Uint8Array.of(0, 11)), {
    status: GrpcStatus.resourceExhausted,
    text: "grpc: received message larger than max (11 vs. 10)",
  });
});

test("status texts keep every character on their way", () => {
  assert.equal(encodeStatusText("100% é\n"), "100%25 %C3%A9%0A");
  fc.assert(fc.property(fc.string(), (text) => assert.equal(decodeURIComponent(encodeStatusText(text)), text)));
});

test("timeouts are read in all units; others are refused in etcd's words", () => {
  assert.deepEqual(
    ["1H", "2M", "3S", "4m", "5000u", "6000000n"].map(parseTimeout),
    [3_600_000, 120_000, 3000, 4, 5, 6],
  );
  const refusal = (text: string): string => {
    const found = parseTimeout(text);
    return found instanceof GrpcError ? found.text.replace("malformed grpc-timeout: ", "") : String(found);
  };
  assert.deepEqual(["", "1", "S", "123456789S", "-1S", "1s"].map(refusal), [
    'transport: timeout string is too short: ""',
    'transport: timeout string is too short: "1"',
    'transport: timeout string is too short: "S"',
    'transport: timeout string is too long: "123456789S"',
    'strconv.ParseUint: parsing "-1": invalid syntax',
    'transport: timeout unit is not recognized: "1s"',
  ]);
});

test("a unary call is answered, at once or later, with what the client sent beside it in view", async (t) => {
  const calls: Call[] = [];
  const { unary } = await grpcFixture(t, {
    "/t.T/Echo": echo,
    "/t.T/Later": {
      kind: "unary",
      handle: async (request, call) => {
        calls.push(call);
        await Promise.resolve();
        return request;
      },
    },
  });
  const metadata = new grpc.Metadata();
  metadata.add("hasleader", "true");
  assert.equal(text(await unary("/t.T/Echo", Buffer.from("a"))), "a");
  assert.equal(text(await unary("/t.T/Later", Buffer.alloc(500_000, "b"), {}, metadata)).length, 500_000);
  assert.equal(calls[0]!.metadata("hasleader"), "true");
  assert.equal(calls[0]!.metadata("token"), undefined);
  assert.match(calls[0]!.peer, /^127\.0\.0\.1:\d+$/);
  assert.equal(calls[0]!.path, "/t.T/Later");
});

test("a handler may answer through its call, at once, later, or after the deadline, where nobody hears it", async (t) => {
  const late: UnaryCall[] = [];
  const { unary, failure } = await grpcFixture(t, {
    "/t.T/Call": {
      kind: "unary",
      handle: (request, call) => {
        const how = text(request);
        if (how === "now") call.answer(request);
        else if (how === "fail") call.fail(new GrpcError(GrpcStatus.notFound, "gone"));
        else if (how === "later") setImmediate(() => call.answer(request));
        else late.push(call);
        return undefined;
      },
    },
  });
  for (const how of ["now", "later"]) assert.equal(text(await unary("/t.T/Call", Buffer.from(how))), how);
  assert.deepEqual(await failure("/t.T/Call", Buffer.from("fail")), { code: 5, details: "gone" });
  const { code } = await failure("/t.T/Call", Buffer.from("never"), { deadline: Date.now() + 50 });
  assert.equal(code, grpc.status.DEADLINE_EXCEEDED);
  for (const call of late) {
    call.answer(Buffer.from("too late"));
    call.fail(new Error("as late"));
  }
  assert.equal(text(await unary("/t.T/Call", Buffer.from("now"))), "now");
});

test("what a handler throws arrives: a GrpcError as it is, anything else through the mapper", async (t) => {
  const { failure } = await grpcFixture(t, {
    "/t.T/Coded": {
      kind: "unary",
      handle: () => {
        throw new GrpcError(GrpcStatus.outOfRange, "beyond: 100% é");
      },
    },
    "/t.T/Other": { kind: "unary", handle: () => Promise.reject(new Error("something")) },
  });
  assert.deepEqual(await failure("/t.T/Coded"), { code: 11, details: "beyond: 100% é" });
  assert.deepEqual(await failure("/t.T/Other"), { code: 2, details: "something" });
});

test("unknown services and methods are answered as grpc-go does", async (t) => {
  const { failure } = await grpcFixture(t, { "/t.T/Echo": echo });
  assert.deepEqual(await failure("/t.T/No"), { code: 12, details: "unknown method No for service t.T" });
  assert.deepEqual(await failure("/x.X/Echo"), { code: 12, details: "unknown service x.X" });
});

test("a path without a service is told as grpc-go tells it", async (t) => {
  const { failure } = await grpcFixture(t, { "/t.T/Echo": echo });
  assert.deepEqual(await failure("/Echo"), { code: 12, details: 'malformed method name: "/Echo"' });
});

test("a request over the limit is refused with both sizes, and the connection serves on", async (t) => {
  const { failure, unary } = await grpcFixture(t, { "/t.T/Echo": echo }, { options: { messageBytesMax: 100_000 } });
  for (const size of [100_001, 5_000_000]) {
    assert.deepEqual(await failure("/t.T/Echo", Buffer.alloc(size)), {
      code: 8,
      details: `grpc: received message larger than max (${size} vs. 100000)`,
    });
  }
  assert.equal((await unary("/t.T/Echo", Buffer.alloc(100_000))).length, 100_000);
});

test("a stream of answers waits for the client and arrives whole", async (t) => {
  let made = 0;
  const { client } = await grpcFixture(t, {
    "/t.T/Many": {
      kind: "serverStreaming",
      handle: async function* (request) {
        for (; made < 200; made++) {
          await Promise.resolve();
          yield Buffer.concat([request, Buffer.alloc(32_768, made)]);
        }
      },
    },
  });
  const call = client.makeServerStreamRequest("/t.T/Many", same, same, Buffer.from("q"));
  let seen = 0;
  for await (const message of call as AsyncIterable<Buffer>) {
    assert.equal(message.length, 32_769);
    assert.equal(message.at(-1), seen);
    seen++;
  }
  assert.equal(seen, 200);
});

test("a stream of answers that fails midway ends with its status; one that is cancelled is ended", async (t) => {
  let returned: (() => void) | undefined;
  const ended = new Promise<void>((resolve) => (returned = resolve));
  const { client } = await grpcFixture(t, {
    "/t.T/Fails": {
      kind: "serverStreaming",
      handle: async function* () {
        yield await Promise.resolve(Buffer.from("one"));
        throw new GrpcError(GrpcStatus.dataLoss, "two is lost");
      },
    },
    "/t.T/Forever": {
      kind: "serverStreaming",
      handle: async function* (_request, call) {
        try {
          while (!call.signal.aborted) yield await Promise.resolve(Buffer.alloc(10_000));
        } finally {
          returned?.();
        }
      },
    },
  });
  const failing = client.makeServerStreamRequest("/t.T/Fails", same, same, Buffer.alloc(0));
  const messages: string[] = [];
  await assert.rejects(
    async () => {
      for await (const message of failing as AsyncIterable<Buffer>) messages.push(message.toString());
    },
    { code: 15, details: "two is lost" },
  );
  assert.deepEqual(messages, ["one"]);
  const forever = client.makeServerStreamRequest("/t.T/Forever", same, same, Buffer.alloc(0));
  forever.on("error", () => undefined);
  await once(forever, "data");
  forever.cancel();
  await ended;
});

test("both directions at once: every message comes back, then the end", async (t) => {
  const { client } = await grpcFixture(t, {
    "/t.T/Chat": {
      kind: "bidirectional",
      handle: (stream) => {
        stream.onMessage = (message) => {
          if (text(message) === "fail") stream.end(new GrpcError(GrpcStatus.aborted, "as asked"));
          else stream.send(message);
        };
        stream.onEnd = () => stream.end();
      },
    },
  });
  const call = client.makeBidiStreamRequest("/t.T/Chat", same, same);
  call.write(Buffer.from("a"));
  call.write(Buffer.from("b"));
  call.end();
  const seen: string[] = [];
  for await (const message of call as AsyncIterable<Buffer>) seen.push(message.toString());
  assert.deepEqual(seen, ["a", "b"]);
  const failing = client.makeBidiStreamRequest("/t.T/Chat", same, same);
  failing.write(Buffer.from("fail"));
  const [error] = (await once(failing, "error")) as [grpc.ServiceError];
  assert.deepEqual([error.code, error.details], [10, "as asked"]);
});

test("a deadline ends the call on the server, too", async (t) => {
  let aborted: (() => void) | undefined;
  const seen = new Promise<void>((resolve) => (aborted = resolve));
  const { failure } = await grpcFixture(t, {
    "/t.T/Never": {
      kind: "unary",
      handle: (_request, call) =>
        new Promise<Uint8Array>(() => call.signal.addEventListener("abort", () => aborted?.(), { once: true })),
    },
  });
  assert.equal((await failure("/t.T/Never", undefined, { deadline: Date.now() + 50 })).code, 4);
  await seen;
});

test("HTTP/1.1 on the same port: known paths, 404 for others, limits on bodies, no stack in an answer", async (t) => {
  const { port, unary } = await grpcFixture(
    t,
    { "/t.T/Echo": echo },
    {
      http: {
        "/version": () => ({ status: 200, headers: { "content-type": "application/json" }, body: "{}" }),
        "/query": ({ query, method }) => plainAnswer(200, `${method} ${query.get("a") ?? ""}`),
        "/body": async (request) => plainAnswer(200, String((await request.body()).length)),
      },
    },
  );
  const base = `http://127.0.0.1:${port}`;
  const get = async (path: string, init?: RequestInit): Promise<[number, string]> => {
    const response = await fetch(base + path, { ...init, headers: { connection: "close" } });
    return [response.status, await response.text()];
  };
  assert.deepEqual(await get("/version"), [200, "{}"]);
  assert.deepEqual(await get("/query?a=1%2B"), [200, "GET 1+\n"]);
  assert.deepEqual(await get("/nothing"), [404, "404 page not found\n"]);
  assert.deepEqual(await get("/body", { method: "POST", body: "x".repeat(1000) }), [200, "1000\n"]);
  assert.deepEqual(await get("/body", { method: "POST", body: "x".repeat(1001) }), [500, "Internal Server Error\n"]);
  assert.equal(text(await unary("/t.T/Echo", Buffer.from("still gRPC"))), "still gRPC");
});

test(
  "a body that is read in pieces ends, however late its bytes come, and so does the next one on the connection",
  { timeout: 30_000 },
  async (t) => {
    const { port } = await grpcFixture(
      t,
      {},
      {
        http: {
          "/pieces": (request) => ({
            status: 200,
            body: (async function* () {
              yield Buffer.from("begun ");
              for await (const piece of request.pieces(() => true)) yield piece;
              yield Buffer.from(" ended");
            })(),
          }),
        },
      },
    );
    const socket = net.connect(port, "127.0.0.1");
    t.after(() => socket.destroy());
    let told = "";
    let wake = (): void => undefined;
    socket.setEncoding("latin1").on("data", (text: string) => {
      told += text;
      wake();
    });
    const until = async (part: string): Promise<void> => {
      while (!told.includes(part)) await new Promise<void>((resolve) => (wake = resolve));
    };
    for (const body of ["first", "second"]) {
      told = "";
      socket.write(`POST /pieces HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n`);
      await until("begun ");
      socket.write(body);
      await until(" ended");
      await until("0\r\n\r\n");
      assert.ok(told.includes(body), told);
    }
  },
);

test("a stop lets the HTTP request under way end and closes those who wait", async (t) => {
  let release: (() => void) | undefined;
  let begun: (() => void) | undefined;
  const under = new Promise<void>((resolve) => (begun = resolve));
  const { port, sharedPort } = await grpcFixture(
    t,
    {},
    {
      http: {
        "/slow": async () => {
          begun?.();
          await new Promise<void>((resolve) => (release = resolve));
          return plainAnswer(200, "done");
        },
        "/fast": () => plainAnswer(200, "done"),
      },
    },
  );
  const waiting = net.connect(port, "127.0.0.1");
  waiting.write("GET /fast HTTP/1.1\r\nhost: x\r\n\r\n");
  assert.match(String((await once(waiting, "data"))[0]), /^HTTP\/1\.1 200/);
  const answer = fetch(`http://127.0.0.1:${port}/slow`);
  await under;
  const closed = once(waiting, "close");
  const stopped = sharedPort.stop(60_000);
  await closed;
  release?.();
  assert.equal(await (await answer).text(), "done\n");
  await stopped;
});

test("HTTP/2 that is no gRPC is refused with a sentence", async (t) => {
  const { port } = await grpcFixture(t, { "/t.T/Echo": echo });
  const session = http2.connect(`http://127.0.0.1:${port}`);
  const stream = session.request({ ":path": "/version" });
  const [headers] = (await once(stream, "response")) as [http2.IncomingHttpHeaders];
  assert.equal(headers[":status"], 415);
  stream.resume();
  await once(stream, "close");
  session.close();
  await once(session, "close");
});

test("the preface may come byte by byte; garbage and silence harm nobody", async (t) => {
  const { port, unary, sharedPort } = await grpcFixture(t, { "/t.T/Echo": echo });
  const slow = net.connect(port, "127.0.0.1");
  for (const part of ["P", "R", "I", " * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\0\0\0\u0004\0\0\0\0\0"]) {
    slow.write(part, "latin1");
    await new Promise((resolve) => void setImmediate(resolve));
  }
  const [settings] = (await once(slow, "data")) as [Buffer];
  assert.equal(settings[3], 4, "the answer is a SETTINGS frame");
  slow.destroy();
  const garbage = net.connect(port, "127.0.0.1");
  garbage.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nthis is no frame at all, is it");
  garbage.on("error", () => undefined);
  garbage.resume();
  await once(garbage, "close");
  net.connect(port, "127.0.0.1").unref();
  assert.equal(text(await unary("/t.T/Echo", Buffer.from("x"))), "x");
  await assert.rejects(
    SharedPort.listen(sharedPort.address, { clock: undefined!, grpc: undefined!, http: undefined! }),
    { code: "PORT_IN_USE" },
  );
});

test("who comes before the port serves waits, and is served; a port that is given back cuts off who waited", async (t) => {
  const address = { kind: "tcp", host: "127.0.0.1", port: 0 } as const;
  const bound = await BoundPort.bind(address);
  await assert.rejects(BoundPort.bind(bound.address), { code: "PORT_IN_USE" });
  const { port } = bound.address as { port: number };
  const early = net.connect(port, "127.0.0.1");
  early.write("GET /here HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
  await once(early, "connect");
  const http = new HttpServer(
    { bodyBytesMax: 1 },
    { clock: testClock, table: new Map([["/here", () => plainAnswer(200, "served")]]) },
  );
  const server = new GrpcServer(
    { ...GRPC_SERVER_DEFAULTS, messageBytesMax: 1 },
    { clock: testClock, handlers: new Map(), mapError: () => ({ status: 2, text: "" }) },
  );
  const served = bound.serve({ clock: testClock, grpc: server, http });
  t.after(() => served.stop(0));
  let answer = "";
  early.on("data", (chunk: Buffer) => (answer += chunk.toString("latin1")));
  await once(early, "close");
  assert.match(answer, /^HTTP\/1\.1 200 [^]*served\n$/);

  const given = await BoundPort.bind(address);
  const late = net.connect((given.address as { port: number }).port, "127.0.0.1");
  late.on("error", () => undefined);
  await once(late, "connect");
  await given.close();
  if (!late.closed) await once(late.resume(), "close");
  await (await BoundPort.bind(given.address)).close();
});

test("a port that has as many connections as it may have turns others away, and takes one when one has gone", async (t) => {
  let turnedAway = 0;
  const address = { kind: "tcp", host: "127.0.0.1", port: 0 } as const;
  const bound = await BoundPort.bind(address, { connectionsMax: 2, onFull: () => turnedAway++ });
  const table = new Map([["/here", () => plainAnswer(200, "served")]]);
  const http = new HttpServer({ bodyBytesMax: 1 }, { clock: testClock, table });
  const served = bound.serve({ clock: testClock, http });
  t.after(() => served.stop(0));
  const { port } = bound.address as { port: number };
  const connected = async (): Promise<net.Socket> => {
    const socket = net.connect(port, "127.0.0.1");
    socket.on("error", () => undefined);
    await once(socket, "connect");
    return socket;
  };
  const ask = async (socket: net.Socket): Promise<string> => {
    let answer = "";
    socket.on("data", (chunk: Buffer) => (answer += chunk.toString("latin1")));
    socket.write("GET /here HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    if (!socket.closed) await once(socket, "close");
    return answer;
  };
  const [first, second] = [await connected(), await connected()];
  assert.equal(await ask(await connected()), "");
  assert.equal(turnedAway, 1);
  assert.match(await ask(first), / 200 /);
  // The port hears of the end of a connection a moment later.
  let answer = "";
  while (answer === "") answer = await ask(await connected());
  assert.match(answer, / 200 /);
  assert.match(await ask(second), / 200 /);
});

test("a socket file that a killed process left is taken over; one that is served, or no socket, is not", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "walnut-port-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const address = { kind: "unix", path: join(folder, "socket") } as const;
  const leave =
    "require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))";
  assert.equal(spawnSync(process.execPath, ["-e", leave, address.path]).signal, "SIGKILL");
  const bound = await BoundPort.bind(address);
  await assert.rejects(BoundPort.bind(address), { code: "PORT_IN_USE" });
  await bound.close();
  writeFileSync(address.path, "mine");
  await assert.rejects(BoundPort.bind(address), { code: "PORT_IN_USE" });
  assert.equal(readFileSync(address.path, "utf8"), "mine");
});

test("a client that pings all the time is disconnected", async (t) => {
  const { port } = await grpcFixture(t, { "/t.T/Echo": echo });
  const session = http2.connect(`http://127.0.0.1:${port}`);
  session.on("error", () => undefined);
  const goaway = new Promise<string>((resolve) => {
    session.on("goaway", (_code, _last, data) => resolve(String(data)));
  });
  const closed = new Promise<void>((resolve) => session.on("close", resolve));
  await once(session, "connect");
  for (let count = 0; count < 5; count++) session.ping(() => undefined);
  assert.equal(await goaway, "too_many_pings");
  await closed;
});

test("a stop lets the call under way end, and turns new ones away", async (t) => {
  let release: ((answer: Uint8Array) => void) | undefined;
  let begun: (() => void) | undefined;
  const under = new Promise<void>((resolve) => (begun = resolve));
  const { unary, sharedPort, port } = await grpcFixture(t, {
    "/t.T/Slow": {
      kind: "unary",
      handle: () =>
        new Promise<Uint8Array>((resolve) => {
          release = resolve;
          begun?.();
        }),
    },
  });
  const answer = unary("/t.T/Slow");
  await under;
  const stopped = sharedPort.stop(60_000);
  const late = net.connect(port, "127.0.0.1");
  const [error] = (await once(late, "error")) as [NodeJS.ErrnoException];
  assert.equal(error.code, "ECONNREFUSED");
  release?.(Buffer.from("done"));
  assert.equal(text(await answer), "done");
  await stopped;
});

test("each call is observed once, at its beginning and with its status", async (t) => {
  const seen: string[] = [];
  const { unary, failure } = await grpcFixture(
    t,
    { "/t.T/Echo": echo, "/t.T/Bad": { kind: "unary", handle: () => Promise.reject(new Error("bad")) } },
    {
      observer: {
        started: (path, kind) => seen.push(`${path} ${kind}`),
        ended: (path, _kind, status) => seen.push(`${path} ${status}`),
      },
    },
  );
  await unary("/t.T/Echo");
  await failure("/t.T/Bad");
  await failure("/t.T/Unknown");
  assert.deepEqual(seen, ["/t.T/Echo unary", "/t.T/Echo 0", "/t.T/Bad unary", "/t.T/Bad 2"]);
});
