/** Each limit of `limits.ts`: what is let pass, and what ends the connection or the stream. */
import assert from "node:assert/strict";
import test from "node:test";
import { ErrorCode, Flag, FrameType, SettingId } from "./frames.js";
import { Budget, ControlCost, HTTP2_LIMITS } from "./limits.js";
import {
  ascii,
  codeName,
  data,
  frame,
  HEAD,
  headers,
  hex,
  joined,
  literalBlock,
  REQUEST,
  rstStream,
  settings,
  settingsAck,
  TestPeer,
  TRAILERS,
  windowUpdate,
} from "./testing/peer.js";

const ENDED = Flag.endHeaders | Flag.endStream;
const NONE = new Uint8Array(0);

/** How many times a client can send this, at one moment and without an answer read, before the connection ends. */
function endures(peer: TestPeer, bytes: (round: number) => Uint8Array, most = 100_000): number {
  for (let round = 0; round < most; round++) {
    peer.send(bytes(round));
    if (peer.fault !== undefined) return round;
  }
  return most;
}

test("a budget lets a burst pass, then its rate; what is given back is no more than the burst", () => {
  const budget = new Budget(3, 10, 0);
  assert.deepEqual(
    [1, 2, 3, 4].map(() => budget.spend(1, 0)),
    [true, true, true, false],
  );
  assert.equal(budget.spend(1, 200), true, "one was overdrawn, two have come since");
  assert.equal(budget.spend(1, 250), false);
  budget.refund(1_000);
  assert.deepEqual(
    [1, 2, 3, 4].map(() => budget.spend(1, 250)),
    [true, true, true, false],
  );
});

test("rapid reset: streams that the client resets at once are a burst, then the connection ends", () => {
  const peer = TestPeer.greeted();
  const count = endures(peer, (i) => joined(headers(i * 2 + 1), rstStream(i * 2 + 1)));
  assert.equal(count, HTTP2_LIMITS.resetsBurst);
  assert.equal(peer.fault, "enhanceYourCalm");
  assert.equal(peer.events.filter((event) => event.startsWith("request")).length, count + 1);
});

test("requests that are answered make up for those that are cancelled", () => {
  const peer = TestPeer.greeted();
  for (let i = 0; i < 5_000; i++) {
    const id = i * 4 + 1;
    peer.send(headers(id, REQUEST, ENDED));
    peer.connection.answer(peer.stream(id), HEAD, NONE, NONE, TRAILERS);
    peer.send(headers(id + 2), rstStream(id + 2));
    peer.answers();
  }
  assert.equal(peer.fault, undefined);
});

for (const [what, bytes] of [
  ["WINDOW_UPDATE by 0", (id: number) => joined(headers(id), windowUpdate(id, 0))],
  ["a window that overflows", (id: number) => joined(headers(id), windowUpdate(id, 0x7fff_ffff))],
  [
    "DATA beyond the window",
    (id: number) =>
      joined(
        headers(id),
        data(id, new Uint8Array(16_384), 0),
        data(id, new Uint8Array(16_384), 0),
        data(id, ascii("a"), 0),
      ),
  ],
  ["HEADERS that end nothing", (id: number) => joined(headers(id), headers(id))],
  ["DATA after the end", (id: number) => joined(headers(id, REQUEST, ENDED), data(id, ascii("a")))],
  ["a request that is none", (id: number) => headers(id, [["a", "b"]])],
] as const) {
  test(`MadeYouReset: ${what} makes this side reset no more than a burst of streams`, () => {
    const peer = TestPeer.greeted({ connectionWindowBytes: 1 << 30 });
    const count = endures(peer, (i) => bytes(i * 2 + 1));
    assert.equal(count, HTTP2_LIMITS.resetsBurst);
    assert.equal(peer.fault, "enhanceYourCalm");
    const resets = peer.answers().filter((answer) => answer.kind === "reset");
    assert.equal(resets.length, count + 1);
  });
}

for (const [what, bytes, cost] of [
  ["PING", () => frame(FrameType.ping, 0, 0, new Uint8Array(8)), 5],
  ["PING answers that nobody asked for", () => frame(FrameType.ping, Flag.ack, 0, new Uint8Array(8)), 5],
  ["SETTINGS", () => settings([SettingId.initialWindowSize, 1]), 20],
  ["acknowledgements of SETTINGS", () => settingsAck, 20],
  ["PRIORITY", () => frame(FrameType.priority, 0, 1, new Uint8Array(5)), 1],
  ["WINDOW_UPDATE", () => windowUpdate(0, 1), 1],
  ["frames of an unknown type", () => frame(0x77, 0, 0), 1],
  ["GOAWAY", () => frame(FrameType.goaway, 0, 0, new Uint8Array(8)), 20],
  ["empty DATA", () => data(1, NONE, 0), 1],
  ["RST_STREAM of a closed stream", () => rstStream(3), 1],
] as const) {
  test(`a flood of ${what} ends the connection, and what is written for it is bounded`, () => {
    const peer = TestPeer.greeted();
    peer.send(headers(1), headers(3), rstStream(3));
    const count = endures(peer, bytes);
    // The first SETTINGS have cost something, too.
    assert.equal(count, Math.floor((HTTP2_LIMITS.controlsBurst - ControlCost.settings) / cost));
    assert.equal(peer.fault, "enhanceYourCalm");
    assert.ok(peer.connection.outputBytes < 200_000);
  });
}

test("WINDOW_UPDATEs that acknowledge what was sent cost nothing, however many", () => {
  const peer = TestPeer.greeted();
  peer.send(headers(1));
  const stream = peer.stream(1);
  peer.connection.respond(stream, HEAD);
  for (let i = 0; i < 20_000; i++) {
    peer.connection.send(stream, NONE, new Uint8Array(1_000));
    peer.answers();
    peer.send(windowUpdate(0, 1_000), windowUpdate(1, 1_000));
  }
  assert.equal(peer.fault, undefined);
});

test("CONTINUATION flood: empty ones are counted, full ones weighed", () => {
  const empty = TestPeer.greeted();
  empty.send(frame(FrameType.headers, 0, 1));
  assert.equal(
    endures(empty, () => frame(FrameType.continuation, 0, 1)),
    HTTP2_LIMITS.continuationsMax,
  );
  assert.equal(empty.fault, "enhanceYourCalm");
  const full = TestPeer.greeted();
  full.send(frame(FrameType.headers, 0, 1));
  assert.equal(
    endures(full, () => frame(FrameType.continuation, 0, 1, new Uint8Array(16_384))),
    4,
  );
  assert.equal(full.fault, "enhanceYourCalm");
});

const resetsOf = (peer: TestPeer): string[] =>
  peer.answers().flatMap((answer) => (answer.kind === "reset" ? [codeName(answer.code)] : []));

test("header bomb: one big value that is named again and again", () => {
  const value = "b".repeat(4_000);
  const entry = joined(hex("40"), literalBlock(["x", value]).subarray(1));
  const bomb = (times: number): Uint8Array => joined(literalBlock(...REQUEST), entry, new Uint8Array(times).fill(0xbe));
  const peer = TestPeer.greeted();
  peer.send(frame(FrameType.headers, ENDED, 1, bomb(20)));
  assert.deepEqual(resetsOf(peer), ["enhanceYourCalm"]);
  assert.deepEqual(peer.events, []);
  const count = endures(peer, (i) => frame(FrameType.headers, ENDED, i * 2 + 3, bomb(20)));
  assert.equal(count, HTTP2_LIMITS.resetsBurst / 20 - 1);
  const worse = TestPeer.greeted();
  worse.send(frame(FrameType.headers, ENDED, 1, bomb(10_000)));
  assert.equal(worse.fault, "enhanceYourCalm", "what is far over the limit is not read to its end");
});

test("header bomb: tiny entries", () => {
  const tiny = (count: number): Uint8Array =>
    joined(literalBlock(...REQUEST), ...Array.from({ length: count }, () => hex("40 01 61 01 62")));
  const peer = TestPeer.greeted();
  peer.send(frame(FrameType.headers, ENDED, 1, tiny(300)));
  assert.deepEqual(resetsOf(peer), ["enhanceYourCalm"]);
  peer.send(frame(FrameType.headers, ENDED, 3, joined(literalBlock(...REQUEST), hex("be"))));
  assert.deepEqual(peer.events, ["request 3 /t.T/Echo ended"], "the table has them all the same");
  peer.send(frame(FrameType.headers, ENDED, 5, tiny(1_100)));
  assert.equal(peer.fault, "enhanceYourCalm");
});

test("header bomb: cookie crumbs", () => {
  const peer = TestPeer.greeted();
  const crumbs = Array.from({ length: 250 }, (_, i) => ["cookie", `c${i}=1`] as const);
  peer.send(headers(1, [...REQUEST, ...crumbs], ENDED));
  assert.deepEqual(resetsOf(peer), []);
  peer.send(headers(3, [...REQUEST, ...crumbs, ["cookie", "one too many"]], ENDED));
  assert.deepEqual(resetsOf(peer), ["enhanceYourCalm"]);
});

test("settings: no more in a frame than six times ten and some", () => {
  const peer = TestPeer.greeted();
  const entries = Array.from({ length: HTTP2_LIMITS.settingsMax }, () => [SettingId.maxFrameSize, 16_384] as const);
  peer.send(settings(...entries));
  assert.equal(peer.fault, undefined);
  peer.send(settings(...entries, [SettingId.enablePush, 0]));
  assert.equal(peer.fault, "enhanceYourCalm");
});

test("zero windows: what waits is counted, and nothing is written for it", () => {
  const peer = TestPeer.greeted();
  peer.send(settings([SettingId.initialWindowSize, 0]));
  peer.answers();
  for (let i = 0; i < 100; i++) {
    peer.send(headers(i * 2 + 1, REQUEST, ENDED));
    peer.connection.answer(peer.stream(i * 2 + 1), HEAD, NONE, new Uint8Array(1_000), TRAILERS);
  }
  assert.equal(peer.connection.queuedBytes, 100_000);
  assert.ok(peer.connection.outputBytes < 5_000);
  peer.send(...Array.from({ length: 100 }, (_, i) => rstStream(i * 2 + 1)));
  assert.equal(peer.connection.queuedBytes, 0);
});

test("output that nobody takes ends the connection", () => {
  const peer = TestPeer.greeted({ outputBytesMax: 1_000, controlsBurst: 1e9 });
  const count = endures(peer, () => frame(FrameType.ping, 0, 0, new Uint8Array(8)));
  assert.equal(count, Math.ceil(1_000 / 17));
  assert.equal(peer.fault, "enhanceYourCalm");
  assert.equal(peer.connection.fault?.code, ErrorCode.enhanceYourCalm);
});
