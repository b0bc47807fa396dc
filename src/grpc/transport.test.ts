/** What stands between a socket and the handlers: flow in both directions, compression, metadata, and time. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { test, type TestContext } from "node:test";
import { gzipSync } from "node:zlib";
import * as grpc from "@grpc/grpc-js";
import { ErrorCode, Flag, FrameType, SettingId } from "../http2/frames.js";
import {
  data,
  frame,
  headers,
  joined,
  REQUEST,
  rstStream,
  settings,
  settingsAck,
  windowUpdate,
} from "../http2/testing/peer.js";
import { frameMessage, messagePrefix } from "./framing.js";
import type { Handler, MessageStream } from "./handler.js";
import { GRPC_LIMITS, type GrpcLimits } from "./limits.js";
import { GrpcError, GrpcStatus } from "./status.js";
import { echo, type Fixture, grpcFixture } from "./testing/fixture.js";
import { ManualClock } from "./testing/manual-clock.js";
import { RawClient } from "./testing/raw-client.js";

const same = (message: Buffer): Buffer => message;
/** A request's fields with another path. */
const pathOf = (path: string): (readonly [string, string])[] =>
  REQUEST.map(([name, value]) => [name, name === ":path" ? path : value] as const);
const ENDED = Flag.endHeaders | Flag.endStream;
const withLimits = (limits: Partial<GrpcLimits>): { limits: GrpcLimits } => ({ limits: { ...GRPC_LIMITS, ...limits } });

/** A handler that answers when told, and keeps what it was given. */
class Slow {
  readonly answers: ((answer: Uint8Array) => void)[] = [];
  readonly signals: AbortSignal[] = [];
  #waiting: (() => void)[] = [];
  readonly handler: Handler = {
    kind: "unary",
    handle: (_request, call) =>
      new Promise((resolve) => {
        this.answers.push(resolve);
        this.signals.push(call.signal);
        const waiting = this.#waiting;
        this.#waiting = [];
        for (const wake of waiting) wake();
      }),
  };

  /** Waits for as many calls. */
  async calls(count: number): Promise<void> {
    while (this.answers.length < count) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
}

interface Timed {
  readonly fixture: Fixture;
  readonly clock: ManualClock;
  readonly raw: RawClient;
}

/** A server whose time a test turns, with a client of bytes. */
async function timed(
  t: TestContext,
  handlers: Record<string, Handler> = { "/t.T/Echo": echo },
  parts: Parameters<typeof grpcFixture>[2] & { readonly greet?: boolean } = {},
): Promise<Timed> {
  const clock = new ManualClock();
  const fixture = await grpcFixture(t, handlers, { ...parts, clock });
  const raw = await RawClient.connect(t, fixture.port, parts.greet ?? true);
  t.after(() => raw.close());
  return { fixture, clock, raw };
}

/** Lets what is on its way arrive, then moves on. */
async function pass(clock: ManualClock, ms: number): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => void setImmediate(resolve));
  clock.advance(ms);
}

// ---- Metadata, compression.

test("metadata come as text and as bytes, and go with a status", async (t) => {
  const { client } = await grpcFixture(t, {
    "/t.T/Meta": {
      kind: "unary",
      handle: (_request, call) => {
        const bytes = Buffer.concat([...call.binaryMetadata("seen-bin")]);
        throw new GrpcError(GrpcStatus.notFound, call.metadata("seen") ?? "", {
          metadata: { "x-text": "ok", "x-bytes-bin": bytes },
        });
      },
    },
  });
  const metadata = new grpc.Metadata();
  metadata.set("seen", "a text");
  metadata.add("seen-bin", Buffer.from([0, 255, 1]));
  metadata.add("seen-bin", Buffer.from([2]));
  const error = await new Promise<grpc.ServiceError>((resolve) => {
    client.makeUnaryRequest("/t.T/Meta", same, same, Buffer.alloc(0), metadata, (error) => resolve(error!));
  });
  assert.deepEqual([error.code, error.details], [5, "a text"]);
  assert.deepEqual(error.metadata.get("x-text"), ["ok"]);
  assert.deepEqual(error.metadata.get("x-bytes-bin"), [Buffer.from([0, 255, 1, 2])]);
});

const GZIP = { "grpc.default_compression_algorithm": 2 } as const;

test("gzip: calls of all kinds, in their order; where it is off it is refused", async (t) => {
  const handlers: Record<string, Handler> = {
    "/t.T/Echo": echo,
    "/t.T/Chat": {
      kind: "bidirectional",
      handle: (stream) => {
        stream.onMessage = (message) => void stream.send(message);
        stream.onEnd = () => stream.end();
      },
    },
  };
  const open = await grpcFixture(t, handlers);
  const closed = await grpcFixture(t, handlers, { options: { gzip: false } });
  const clientOf = ({ port }: Fixture): grpc.Client => {
    const client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), GZIP);
    t.after(() => client.close());
    return client;
  };
  const big = Buffer.alloc(300_000, "walnut ");
  const unary = (client: grpc.Client): Promise<Buffer | grpc.ServiceError> =>
    new Promise((resolve) => {
      client.makeUnaryRequest("/t.T/Echo", same, same, big, (error, answer) => resolve(error ?? answer!));
    });
  assert.deepEqual(await unary(clientOf(open)), big);
  const refused = (await unary(clientOf(closed))) as grpc.ServiceError;
  assert.deepEqual(
    [refused.code, refused.details],
    [12, 'grpc: Decompressor is not installed for grpc-encoding "gzip"'],
  );
  const chat = clientOf(open).makeBidiStreamRequest("/t.T/Chat", same, same);
  const sent = Array.from({ length: 30 }, (_, i) => Buffer.alloc(i % 7 === 0 ? 50_000 : i, i));
  for (const message of sent) chat.write(message);
  chat.end();
  const seen: Buffer[] = [];
  for await (const message of chat as AsyncIterable<Buffer>) seen.push(message);
  assert.deepEqual(seen, sent);
});

test("a message in two pieces is one message, compressed or not, whatever the pieces' sizes; the first may change at once", async (t) => {
  const sizes = [0, 1, 40, 250, 251, 252, 5_000, 70_000];
  const pieces = sizes.flatMap((first) => sizes.map((second) => [first, second] as const));
  const { port } = await grpcFixture(t, {
    "/t.T/Pieces": {
      kind: "bidirectional",
      handle: (stream) => {
        stream.onEnd = () => {
          const head = new Uint8Array(70_000);
          for (const [first, second] of pieces) {
            stream.sendPieces(head.subarray(0, first).fill(1), new Uint8Array(second).fill(2));
            head.fill(9);
          }
          stream.end();
        };
      },
    },
  });
  for (const options of [{}, GZIP]) {
    const client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), options);
    t.after(() => client.close());
    const call = client.makeBidiStreamRequest("/t.T/Pieces", same, same);
    call.write(Buffer.alloc(1)); // of which the server learns how the client compresses
    call.end();
    const seen: Buffer[] = [];
    for await (const message of call as AsyncIterable<Buffer>) seen.push(message);
    assert.deepEqual(
      seen,
      pieces.map(([first, second]) => Buffer.concat([Buffer.alloc(first, 1), Buffer.alloc(second, 2)])),
    );
  }
});

const ENCODED = [...REQUEST, ["grpc-encoding", "gzip"]] as const;
const compressed = (bytes: Uint8Array): Uint8Array => joined(messagePrefix(bytes.length, true), bytes);

test("gzip: what is larger unpacked than the limit, or no gzip at all, is refused by its status", async (t) => {
  const { port } = await grpcFixture(t, { "/t.T/Echo": echo }, { options: { messageBytesMax: 100_000 } });
  const raw = await RawClient.connect(t, port);
  const bad = gzipSync(Buffer.from("checked"));
  bad[bad.length - 6]! ^= 1;
  let id = -1;
  for (const [bytes, status, text] of [
    [compressed(gzipSync(Buffer.alloc(100_000))), "0", undefined],
    [
      compressed(gzipSync(Buffer.alloc(100_001))),
      "8",
      "grpc: received message after decompression larger than max 100000",
    ],
    [compressed(Buffer.from("this is no gzip")), "13", "grpc: failed to decompress the message: gzip: invalid header"],
    [compressed(Buffer.alloc(0)), "13", "grpc: failed to decompress the message: EOF"],
    [compressed(Buffer.from([31])), "13", "grpc: failed to decompress the message: unexpected EOF"],
    [compressed(gzipSync("cut off").subarray(0, 15)), "13", "grpc: failed to read decompressed data: unexpected EOF"],
    [compressed(bad), "13", "grpc: failed to read decompressed data: gzip: invalid checksum"],
    [Uint8Array.of(2, 0, 0, 0, 1, 0), "13", "grpc: received unexpected payload format 2"],
  ] as const) {
    id += 2;
    raw.send(headers(id, ENCODED), data(id, bytes));
    assert.deepEqual(await raw.outcome(id), [status, text]);
  }
  raw.send(headers(id + 2), data(id + 2, compressed(gzipSync(Buffer.alloc(10)))));
  assert.deepEqual(await raw.outcome(id + 2), ["13", "grpc: compressed flag set with identity or empty encoding"]);
});

// ---- Requests in pieces, broken and late.

test("a request that ends in the midst of a message, or without one, fails by its status", async (t) => {
  const { port } = await grpcFixture(t, { "/t.T/Echo": echo });
  const raw = await RawClient.connect(t, port);
  raw.send(headers(1), data(1, messagePrefix(10)));
  assert.deepEqual(await raw.outcome(1), ["2", "unexpected EOF"]);
  raw.send(headers(3, REQUEST, ENDED));
  assert.deepEqual(await raw.outcome(3), ["2", "EOF"]);
  raw.send(headers(5), data(5, frameMessage(Buffer.from("a")), 0), headers(5, [["x", "y"]], ENDED));
  assert.equal(await raw.status(5), "0", "trailers end a request, too");
});

test("a message that comes byte by byte is answered like any other", async (t) => {
  const { port } = await grpcFixture(t, { "/t.T/Echo": echo });
  const raw = await RawClient.connect(t, port);
  raw.send(headers(1));
  const message = frameMessage(Buffer.from("piece by piece"));
  for (const byte of message) raw.send(data(1, Uint8Array.of(byte), 0));
  raw.send(data(1, new Uint8Array(0)));
  assert.equal(await raw.status(1), "0");
  assert.deepEqual(
    raw.answers.find(({ kind }) => kind === "data"),
    {
      kind: "data",
      streamId: 1,
      bytes: Uint8Array.from(message),
      ended: false,
    },
  );
});

test("a client that sends on after its status is told that nobody listens", async (t) => {
  const { raw, clock } = await timed(t);
  raw.send(headers(1, pathOf("/no/such")));
  assert.equal(await raw.status(1), "12");
  raw.send(data(1, new Uint8Array(100), 0));
  await pass(clock, 250);
  await raw.until(() => raw.answers.some(({ kind }) => kind === "reset"));
  assert.deepEqual(
    raw.answers.find(({ kind }) => kind === "reset"),
    { kind: "reset", streamId: 1, code: ErrorCode.noError },
  );
});

test("what etcd refuses by HTTP's status, too, is refused so; a format is repeated in the answer", async (t) => {
  const { port } = await grpcFixture(t, { "/t.T/Echo": echo });
  const raw = await RawClient.connect(t, port);
  const ask = async (id: number, fields: readonly (readonly [string, string])[]): Promise<unknown> => {
    raw.send(headers(id, fields), data(id, frameMessage(new Uint8Array(0))));
    await raw.status(id);
    const [head] = raw.answers.flatMap((answer) =>
      answer.kind === "headers" && answer.streamId === id ? [answer] : [],
    );
    return [head!.fields[":status"], head!.fields["content-type"], head!.fields["grpc-message"]];
  };
  const type = (value: string): [string, string][] =>
    REQUEST.map(([name, old]) => [name, name === "content-type" ? value : old]);
  const get = REQUEST.map(([name, old]) => [name, name === ":method" ? "GET" : old] as const);
  assert.deepEqual(await ask(1, get), [
    "405",
    "application/grpc",
    'Received a HEADERS frame with :method "GET" which should be POST',
  ]);
  assert.deepEqual(await ask(3, [...REQUEST, ["grpc-timeout", "1S2"]]), [
    "400",
    "application/grpc",
    'malformed grpc-timeout: transport: timeout unit is not recognized: "1S2"',
  ]);
  assert.deepEqual(await ask(5, type("application/grpc+proto")), ["200", "application/grpc+proto", undefined]);
  assert.deepEqual(await ask(7, type("application/grpc;a=b")), ["200", "application/grpc+a=b", undefined]);
  assert.deepEqual(await ask(9, [...REQUEST, ["grpc-timeout", "1n"]]), [
    "200",
    "application/grpc",
    "context deadline exceeded",
  ]);
});

test("a malformed timeout is refused; one that has passed ends the call, and tells the handler", async (t) => {
  const slow = new Slow();
  const { raw, clock } = await timed(t, { "/t.T/Echo": slow.handler });
  raw.send(headers(1, [...REQUEST, ["grpc-timeout", "5x"]]), data(1, frameMessage(new Uint8Array(0))));
  assert.equal(await raw.status(1), "13");
  raw.send(headers(3, [...REQUEST, ["grpc-timeout", "1S"]]), data(3, frameMessage(new Uint8Array(0))));
  await slow.calls(1);
  await pass(clock, 999);
  assert.equal(slow.signals[0]!.aborted, false);
  await pass(clock, 150);
  assert.equal(await raw.status(3), "4");
  assert.equal(slow.signals[0]!.aborted, true);
  slow.answers[0]!(new Uint8Array(0));
});

// ---- Flow.

test("uploads larger than all windows go through, in turns, however many there are", async (t) => {
  const { client } = await grpcFixture(
    t,
    { "/t.T/Echo": echo },
    { options: withLimits({ gatheredBytesMax: 1_000_000 }) },
  );
  const bodies = Array.from({ length: 40 }, (_, i) => Buffer.alloc(400_000 + i, i));
  const answers = await Promise.all(
    bodies.map(
      (body) =>
        new Promise<Buffer>((resolve, reject) => {
          client.makeUnaryRequest("/t.T/Echo", same, same, body, (error, answer) => {
            if (error === null) resolve(answer!);
            else reject(error);
          });
        }),
    ),
  );
  assert.deepEqual(answers, bodies);
});

test("one large message is allowed at a time where the budget has room for one; the next follows its end or its reset", async (t) => {
  const { port } = await grpcFixture(t, { "/t.T/Echo": echo }, { options: withLimits({ gatheredBytesMax: 500_000 }) });
  const raw = await RawClient.connect(t, port);
  const begin = (id: number): void => {
    raw.send(headers(id), data(id, joined(messagePrefix(400_000), new Uint8Array(100)), 0));
  };
  const allowed = (id: number): number =>
    raw.answers.reduce(
      (sum, answer) => sum + (answer.kind === "window" && answer.streamId === id ? answer.increment : 0),
      0,
    );
  for (const id of [1, 3, 5]) begin(id);
  raw.send(frame(FrameType.ping, 0, 0, new Uint8Array(8)));
  await raw.until(() => raw.answers.some(({ kind }) => kind === "ping"));
  assert.deepEqual([allowed(1) > 360_000, allowed(3), allowed(5)], [true, 0, 0]);
  raw.send(rstStream(1));
  await raw.until(() => allowed(3) > 360_000);
  assert.equal(allowed(5), 0);
  const rest = new Uint8Array(400_000 - 100);
  for (let at = 0; at < rest.length; at += 16_000) {
    const end = Math.min(rest.length, at + 16_000);
    raw.send(data(3, rest.subarray(at, end), end === rest.length ? Flag.endStream : 0));
  }
  await raw.until(() => allowed(5) > 360_000);
  raw.send(rstStream(5));
});

test("a handler that pauses holds its client back, and gets all of it in the end", async (t) => {
  const seen: number[] = [];
  let open: MessageStream | undefined;
  let begun: (() => void) | undefined;
  const first = new Promise<void>((resolve) => (begun = resolve));
  const { client } = await grpcFixture(t, {
    "/t.T/In": {
      kind: "bidirectional",
      handle: (stream) => {
        open = stream;
        stream.onMessage = (message) => {
          seen.push(message[0]!);
          stream.pause();
          begun?.();
        };
        stream.onEnd = () => stream.end();
      },
    },
  });
  const call = client.makeBidiStreamRequest("/t.T/In", same, same);
  for (let i = 0; i < 100; i++) call.write(Buffer.alloc(20_000, i));
  call.end();
  await first;
  for (let i = 0; i < 20; i++) await new Promise((resolve) => void setImmediate(resolve));
  assert.deepEqual(seen, [0], "the rest waits at the client, or in one window");
  call.resume();
  while (seen.length < 100) {
    open!.resume();
    await new Promise((resolve) => void setImmediate(resolve));
  }
  open!.resume();
  await once(call, "end");
  assert.deepEqual(
    seen,
    Array.from({ length: 100 }, (_, i) => i),
  );
});

test("a sender is told to wait when its client does not read, and goes on when it does", async (t) => {
  let sent = 0;
  let full: (() => void) | undefined;
  const waits = new Promise<void>((resolve) => (full = resolve));
  const { port } = await grpcFixture(t, {
    "/t.T/Out": {
      kind: "bidirectional",
      handle: (stream) => {
        const fill = (): void => {
          while (sent < 100) {
            sent++;
            if (!stream.send(new Uint8Array(10_000).fill(sent))) return full?.();
          }
          stream.end();
        };
        stream.onDrain = fill;
        stream.onMessage = fill;
      },
    },
  });
  const raw = await RawClient.connect(t, port);
  const path = pathOf("/t.T/Out");
  raw.send(headers(1, path), data(1, frameMessage(new Uint8Array(1)), 0));
  await waits;
  assert.ok(sent < 30, `${sent} were taken before the client read`);
  let read = 0;
  let seen = 0;
  while (read < 100 * 10_005) {
    await raw.until(() => raw.answers.length > seen);
    for (; seen < raw.answers.length; seen++) {
      const answer = raw.answers[seen]!;
      if (answer.kind !== "data") continue;
      read += answer.bytes.length;
      raw.send(windowUpdate(0, answer.bytes.length), windowUpdate(1, answer.bytes.length));
    }
  }
  assert.equal(await raw.status(1), "0");
});

test("zero windows: past the budget no further request is begun, and none is refused", async (t) => {
  let calls = 0;
  const { port } = await grpcFixture(
    t,
    {
      "/t.T/Echo": {
        kind: "unary",
        handle: () => {
          calls++;
          return new Uint8Array(100_000);
        },
      },
    },
    { options: withLimits({ queuedBytesMax: 1_000_000 }) },
  );
  const raw = await RawClient.connect(t, port);
  raw.send(settings([SettingId.initialWindowSize, 0]));
  for (let i = 0; i < 100; i++) raw.send(headers(i * 2 + 1), data(i * 2 + 1, frameMessage(new Uint8Array(1))));
  raw.send(frame(FrameType.ping, 0, 0, new Uint8Array(8)));
  await raw.until(() => raw.answers.some(({ kind }) => kind === "ping"));
  assert.equal(calls, 10);
  raw.send(windowUpdate(0, 1 << 30), settings([SettingId.initialWindowSize, 1 << 20]));
  for (let i = 0; i < 100; i++) assert.equal(await raw.status(i * 2 + 1), "0");
  assert.equal(calls, 100);
});

// ---- Attacks that need handlers, and pings.

test("rapid reset: handlers of streams that are gone count, so no more than the limit work", async (t) => {
  const slow = new Slow();
  const { port } = await grpcFixture(t, { "/t.T/Echo": slow.handler }, { options: { streamsMax: 50 } });
  const raw = await RawClient.connect(t, port);
  for (let i = 0; i < 300; i++) {
    const id = i * 2 + 1;
    raw.send(headers(id), data(id, frameMessage(new Uint8Array(1))), rstStream(id));
  }
  raw.send(frame(FrameType.ping, 0, 0, new Uint8Array(8)));
  await raw.until(() => raw.answers.some(({ kind }) => kind === "ping"));
  assert.equal(slow.answers.length, 50);
  assert.ok(slow.signals.every(({ aborted }) => aborted));
  for (const answer of slow.answers) answer(new Uint8Array(0));
  await new Promise((resolve) => void setImmediate(resolve));
  raw.send(headers(601), data(601, frameMessage(new Uint8Array(1))));
  await slow.calls(51);
  slow.answers[50]!(new Uint8Array(0));
  assert.equal(await raw.status(601), "0");
});

const ping = frame(FrameType.ping, 0, 0, new Uint8Array(8));

test("pings: closer than the gap they are strikes, and the third ends it; an answer between forgives", async (t) => {
  const slow = new Slow();
  const { raw, clock } = await timed(t, { "/t.T/Echo": echo, "/t.T/Slow": slow.handler });
  const pings = (): number => raw.answers.filter(({ kind }) => kind === "ping").length;
  const pinged = async (): Promise<void> => {
    const before = pings();
    raw.send(ping);
    await raw.until(() => pings() > before);
  };
  raw.send(headers(1, pathOf("/t.T/Slow")), data(1, frameMessage(new Uint8Array(1))));
  await slow.calls(1);
  for (let i = 0; i < 5; i++) {
    await pinged();
    clock.advance(5_000);
  }
  await pinged();
  await pinged();
  await pinged();
  raw.send(headers(3), data(3, frameMessage(new Uint8Array(1))));
  await raw.status(3);
  await pinged();
  await pinged();
  await pinged();
  raw.send(ping);
  const goaway = await raw.end();
  assert.deepEqual([goaway?.code, goaway?.text], [ErrorCode.enhanceYourCalm, "too_many_pings"]);
  slow.answers[0]!(new Uint8Array(0));
});

test("pings: without a call under way etcd permits none, however far apart", async (t) => {
  const { raw, clock } = await timed(t);
  raw.send(headers(1), data(1, frameMessage(new Uint8Array(1))));
  await raw.status(1);
  for (let i = 1; i <= 3; i++) {
    raw.send(ping);
    await raw.until(() => raw.answers.filter(({ kind }) => kind === "ping").length === i);
    clock.advance(60_000);
  }
  raw.send(ping);
  assert.equal((await raw.end())?.text, "too_many_pings");
});

test("work that outlives its deadline counts as under way", async (t) => {
  const slow = new Slow();
  const { raw, clock } = await timed(t, { "/t.T/Echo": slow.handler }, { options: { streamsMax: 3 } });
  const fields = [...REQUEST, ["grpc-timeout", "1S"]] as const;
  for (const id of [1, 3, 5]) raw.send(headers(id, fields), data(id, frameMessage(new Uint8Array(1))));
  await slow.calls(3);
  await pass(clock, 1_200);
  for (const id of [1, 3, 5]) assert.equal(await raw.status(id), "4");
  raw.send(headers(7, fields), data(7, frameMessage(new Uint8Array(1))));
  await raw.until(() =>
    raw.answers.some((answer) => answer.kind === "reset" && answer.code === ErrorCode.refusedStream),
  );
  for (const answer of slow.answers.splice(0)) answer(new Uint8Array(0));
  await pass(clock, 0);
  raw.send(headers(9, fields), data(9, frameMessage(new Uint8Array(1))));
  await slow.calls(1);
  slow.answers[0]!(new Uint8Array(0));
  assert.equal(await raw.status(9), "0");
});

// ---- Time.

test("greetings: who says nothing, or does not acknowledge, is sent away in time", async (t) => {
  const silent = await timed(t, {}, { greet: false });
  silent.raw.send(Buffer.from("PRI * HTTP/2.0\r\n"));
  await silent.raw.until(() => silent.raw.answers.length > 0);
  await pass(silent.clock, GRPC_LIMITS.greetingMs + 2_000);
  assert.equal((await silent.raw.end())?.code, ErrorCode.protocolError);

  const forgetful = await timed(t, {}, { greet: false });
  forgetful.raw.send(Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), settings());
  await forgetful.raw.until(() => forgetful.raw.answers.some(({ kind }) => kind === "settingsAck"));
  await pass(forgetful.clock, GRPC_LIMITS.settingsMs + 2_000);
  assert.equal((await forgetful.raw.end())?.code, ErrorCode.settingsTimeout);
});

test("who sends no first byte is closed in time", async (t) => {
  const { raw, clock } = await timed(t, {}, { greet: false });
  await pass(clock, GRPC_LIMITS.firstBytesMs);
  await raw.end();
});

test("a connection without any request is taken leave of; one that has asked once may rest", async (t) => {
  const { raw, clock, fixture } = await timed(t);
  const rested = await RawClient.connect(t, fixture.port);
  rested.send(headers(1), data(1, frameMessage(new Uint8Array(1))));
  await rested.status(1);
  await pass(clock, GRPC_LIMITS.firstRequestMs + 2_000);
  assert.equal((await raw.end())?.code, ErrorCode.noError);
  rested.send(headers(3), data(3, frameMessage(new Uint8Array(1))));
  assert.equal(await rested.status(3), "0");
});

test("slow drip: a frame or a field block that does not end in time ends the connection", async (t) => {
  for (const bytes of [headers(1).subarray(0, 20), frame(FrameType.headers, 0, 1)]) {
    const { raw, clock } = await timed(t);
    raw.send(ping, bytes);
    await raw.until(() => raw.answers.some(({ kind }) => kind === "ping"));
    await pass(clock, GRPC_LIMITS.frameMs + 2_000);
    assert.equal((await raw.end())?.code, ErrorCode.enhanceYourCalm);
  }
});

test("silence in the midst of a request ends the call; a stream that merely rests goes on", async (t) => {
  const { raw, clock } = await timed(t, {
    "/t.T/Echo": echo,
    "/t.T/Chat": {
      kind: "bidirectional",
      handle: (stream) => void (stream.onMessage = (message) => void stream.send(message)),
    },
  });
  const chat = pathOf("/t.T/Chat");
  raw.send(
    headers(1),
    headers(3),
    data(3, messagePrefix(9), 0),
    headers(5, chat),
    headers(7, chat),
    data(7, messagePrefix(9), 0),
    ping,
  );
  await raw.until(() => raw.answers.some(({ kind }) => kind === "ping"));
  await pass(clock, GRPC_LIMITS.requestStallMs + 10_000);
  for (const id of [1, 3, 7]) assert.equal(await raw.status(id), "1");
  raw.send(data(5, frameMessage(Buffer.from("still here")), 0));
  await raw.until(() => raw.answers.some((answer) => answer.kind === "data" && answer.streamId === 5));
  raw.send(rstStream(5));
});

test("an answer that nobody reads is dropped in time; a connection full of them is ended", async (t) => {
  const { raw, clock, fixture } = await timed(
    t,
    { "/t.T/Echo": echo },
    { options: withLimits({ queuedBytesMax: 50_000 }) },
  );
  raw.send(settings([SettingId.initialWindowSize, 0]), headers(1), data(1, frameMessage(new Uint8Array(100))));
  await raw.until(() => raw.answers.some(({ kind }) => kind === "headers"));
  await pass(clock, GRPC_LIMITS.answerStallMs + 10_000);
  await raw.until(() => raw.answers.some(({ kind }) => kind === "reset"));
  assert.equal(fixture.grpc.callCount, 0);
  for (let i = 1; i < 8; i++) raw.send(headers(i * 2 + 1), data(i * 2 + 1, frameMessage(new Uint8Array(10_000))));
  raw.send(ping);
  await raw.until(() => raw.answers.some(({ kind }) => kind === "ping"));
  await pass(clock, GRPC_LIMITS.connectionStallMs + 2_000);
  assert.equal((await raw.end())?.code, ErrorCode.enhanceYourCalm);
});

test("keep-alive: a silent connection is asked, and closed when it does not answer", async (t) => {
  const options = { keepAliveMs: 60_000, keepAliveTimeoutMs: 5_000 };
  const { raw, clock } = await timed(t, { "/t.T/Echo": echo }, { options });
  raw.send(headers(1), data(1, frameMessage(new Uint8Array(1))));
  await raw.status(1);
  const asked = (): number => raw.answers.filter((answer) => answer.kind === "ping" && !answer.ack).length;
  await pass(clock, 61_000);
  await raw.until(() => asked() === 1);
  raw.send(frame(FrameType.ping, Flag.ack, 0, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 1)));
  raw.send(headers(3), data(3, frameMessage(new Uint8Array(1))));
  await raw.status(3);
  await pass(clock, 10_000);
  assert.equal(raw.closed, false);
  await pass(clock, 61_000);
  await raw.until(() => asked() === 2);
  await pass(clock, 7_000);
  await raw.end();
});

test("a client that reads nothing of its socket is closed in time, with all that waited", async (t) => {
  const { raw, clock, fixture } = await timed(t, {
    "/t.T/Echo": { kind: "unary", handle: () => new Uint8Array(4_000_000) },
  });
  raw.pause();
  raw.send(windowUpdate(0, 1 << 30), settings([SettingId.initialWindowSize, 1 << 30]), settingsAck);
  for (let i = 0; i < 4; i++) raw.send(headers(i * 2 + 1), data(i * 2 + 1, frameMessage(new Uint8Array(1))));
  while (fixture.grpc.callCount < 4) await new Promise((resolve) => void setImmediate(resolve));
  for (let i = 0; i < 3; i++) await pass(clock, GRPC_LIMITS.connectionStallMs);
  assert.equal(fixture.grpc.callCount, 0);
});

test("a stop: a client that does not answer is waited for a second, its calls as long as was said", async (t) => {
  const slow = new Slow();
  const { raw, clock, fixture } = await timed(t, { "/t.T/Echo": slow.handler });
  raw.send(headers(1), data(1, frameMessage(new Uint8Array(1))));
  await slow.calls(1);
  raw.answersFarewells = false;
  const stopped = fixture.grpc.stop(30_000);
  await raw.until(() => raw.answers.some(({ kind }) => kind === "goaway"));
  raw.send(headers(3), data(3, frameMessage(new Uint8Array(1))));
  await slow.calls(2);
  await pass(clock, 2_000);
  await raw.until(() => raw.answers.filter(({ kind }) => kind === "goaway").length === 2);
  slow.answers[0]!(new Uint8Array(0));
  assert.equal(await raw.status(1), "0");
  await pass(clock, 28_000);
  await raw.end();
  assert.ok(slow.signals[1]!.aborted);
  await stopped;
});

test("HTTP over HTTP/2: known paths, 404 for others, bodies, limits on them", async (t) => {
  const { port } = await grpcFixture(
    t,
    { "/t.T/Echo": echo },
    {
      plain: true,
      http: {
        "/version": () => ({
          status: 200,
          headers: { "content-type": "application/json", connection: "close" },
          body: "{}",
        }),
        "/empty": () => ({ status: 200, body: "" }),
        "/body": async (request) => ({
          status: 200,
          body: `${request.method} ${request.header("host") ?? "-"} ${(await request.body()).length} ${request.query.get("q") ?? "-"}`,
        }),
      },
    },
  );
  const raw = await RawClient.connect(t, port);
  let id = -1;
  const ask = async (method: string, path: string, body?: Uint8Array): Promise<string> => {
    id += 2;
    const stream = id;
    const fields = [
      [":method", method],
      [":scheme", "http"],
      [":path", path],
      [":authority", "here"],
    ] as const;
    raw.send(headers(stream, fields, body === undefined ? ENDED : Flag.endHeaders));
    if (body !== undefined) raw.send(data(stream, body));
    const mine = (): typeof raw.answers =>
      raw.answers.filter((answer) => "streamId" in answer && answer.streamId === stream);
    await raw.until(() => mine().some((answer) => answer.kind === "headers" && answer.ended));
    return mine()
      .map((answer) =>
        answer.kind === "headers"
          ? (answer.fields[":status"] ?? "")
          : answer.kind === "data"
            ? Buffer.from(answer.bytes).toString()
            : "",
      )
      .join("|");
  };
  assert.equal(await ask("GET", "/version"), "200|{}|");
  assert.equal(await ask("HEAD", "/version"), "200");
  assert.equal(await ask("GET", "/empty"), "200");
  assert.equal(await ask("GET", "/nothing"), "404|404 page not found\n|");
  assert.equal(await ask("POST", "/body?q=1", new Uint8Array(1_000)), "200|POST here 1000 1|");
  assert.equal(await ask("POST", "/body", new Uint8Array(1_001)), "500|Internal Server Error\n|");
});
