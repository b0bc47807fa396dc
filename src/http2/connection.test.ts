import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { OutgoingFields } from "./fields.js";
import { DEFAULT_WINDOW_BYTES, ErrorCode, Flag, FrameType, PREFACE, SettingId } from "./frames.js";
import { HTTP2_LIMITS } from "./limits.js";
import {
  type Answer,
  ascii,
  codeName,
  data,
  frame,
  HEAD,
  headers,
  joined,
  Recorder,
  REQUEST,
  rstStream,
  settings,
  settingsAck,
  TestPeer,
  TRAILERS,
  windowUpdate,
} from "./testing/peer.js";
import { REQUIREMENTS } from "./testing/requirements.js";

const NONE = new Uint8Array(0);
const ENDED = Flag.endHeaders | Flag.endStream;
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

for (const { section, what, bytes, fresh, verdict } of REQUIREMENTS) {
  test(`RFC 9113 ${section}: ${what}`, () => {
    const peer = fresh === true ? new TestPeer() : TestPeer.greeted();
    peer.send(...bytes);
    const answers = peer.answers();
    const goaway = answers.find((answer) => answer.kind === "goaway");
    const resets = answers.filter((answer) => answer.kind === "reset");
    if ("connection" in verdict) {
      assert.equal(peer.fault, verdict.connection);
      assert.equal(goaway?.code, ErrorCode[verdict.connection]);
    } else if ("stream" in verdict) {
      assert.equal(peer.fault, undefined);
      assert.deepEqual(
        resets.map(({ code }) => codeName(code)),
        [verdict.stream],
      );
    } else {
      assert.equal(peer.fault, undefined);
      assert.deepEqual(peer.events, verdict.events);
    }
  });
}

test("this side's SETTINGS tell its limits, and the connection's window is opened", () => {
  const peer = new TestPeer();
  const [first, window] = peer.answers();
  assert.deepEqual(first, {
    kind: "settings",
    entries: {
      [SettingId.headerTableSize]: 4_096,
      [SettingId.maxConcurrentStreams]: 1_000,
      [SettingId.initialWindowSize]: 32_768,
      [SettingId.maxHeaderListSize]: 65_536,
    },
  });
  assert.deepEqual(window, { kind: "window", streamId: 0, increment: 4 * 1024 * 1024 - DEFAULT_WINDOW_BYTES });
});

test("SETTINGS and PING are acknowledged, in their order", () => {
  const peer = TestPeer.greeted();
  peer.send(settings(), frame(FrameType.ping, 0, 0, ascii("abcdefgh")));
  assert.deepEqual(peer.answers(), [{ kind: "settingsAck" }, { kind: "ping", ack: true, payload: ascii("abcdefgh") }]);
  assert.deepEqual(peer.events, ["ping"]);
});

test("before it has acknowledged our SETTINGS a client may use the protocol's window; afterwards ours", () => {
  const peer = new TestPeer();
  peer.send(PREFACE, settings(), headers(1));
  assert.equal(peer.stream(1).receiveWindow, 65_535);
  for (let i = 0; i < 3; i++) peer.send(data(1, new Uint8Array(16_384), 0));
  peer.send(settingsAck, headers(3));
  assert.equal(peer.fault, undefined);
  assert.equal(peer.stream(1).receiveWindow, 32_768 - 3 * 16_384);
  assert.equal(peer.stream(3).receiveWindow, 32_768);
});

test("what has come is allowed again for the connection, whoever reads it", () => {
  const peer = TestPeer.greeted({ connectionWindowBytes: 65_535 });
  for (let id = 1; id < 20; id += 2) {
    peer.send(headers(id), data(id, new Uint8Array(16_384)));
    const more = peer.answers().filter((answer) => answer.kind === "window");
    for (const { streamId } of more) assert.equal(streamId, 0);
  }
  assert.equal(peer.fault, undefined);
  const greedy = TestPeer.greeted({ connectionWindowBytes: 65_535, streamWindowBytes: 1 << 20 });
  greedy.send(headers(1));
  const flood = Array.from({ length: 5 }, () => data(1, new Uint8Array(16_384), 0));
  greedy.send(...flood);
  assert.equal(greedy.fault, undefined, "half of a window at a time comes back");
});

test("an answer is one HEADERS, one DATA and one HEADERS, and closes the stream", () => {
  const peer = TestPeer.greeted();
  peer.send(headers(1, REQUEST, ENDED));
  peer.connection.answer(peer.stream(1), HEAD, ascii("12345"), ascii("message"), TRAILERS);
  assert.deepEqual(peer.answers(), [
    { kind: "headers", streamId: 1, fields: { ":status": "200", "content-type": "text/plain" }, ended: false },
    { kind: "data", streamId: 1, bytes: ascii("12345message"), ended: false },
    { kind: "headers", streamId: 1, fields: { "grpc-status": "0" }, ended: true },
  ]);
  assert.equal(peer.connection.streamCount, 0);
  assert.ok(peer.stream(1).closed);
});

test("after its end a stream sends nothing, whatever is asked", () => {
  const peer = TestPeer.greeted();
  peer.send(headers(1));
  const stream = peer.stream(1);
  peer.connection.finish(stream, TRAILERS);
  peer.answers();
  peer.connection.respond(stream, HEAD);
  assert.equal(peer.connection.send(stream, NONE, ascii("late")), false);
  peer.connection.finish(stream, TRAILERS);
  assert.deepEqual(peer.answers(), []);
  peer.connection.reset(stream, ErrorCode.noError);
  peer.connection.reset(stream, ErrorCode.noError);
  assert.deepEqual(peer.answers(), [{ kind: "reset", streamId: 1, code: 0 }]);
});

test("what a client sends on a stream that was reset here is passed over", () => {
  const peer = TestPeer.greeted();
  peer.send(headers(1));
  peer.connection.reset(peer.stream(1), ErrorCode.noError);
  peer.answers();
  peer.send(data(1, ascii("a"), 0), headers(1, [["x", "y"]], ENDED), windowUpdate(1, 5));
  assert.deepEqual(peer.answers(), []);
  assert.equal(peer.fault, undefined);
});

test("data waits for the client's windows, and goes on as they open", () => {
  const peer = TestPeer.greeted();
  peer.send(settings([SettingId.initialWindowSize, 10]), headers(1, REQUEST, ENDED));
  peer.answers();
  peer.connection.answer(peer.stream(1), HEAD, ascii("12345"), ascii("abcdefghij"), TRAILERS);
  const sent = (): string[] =>
    peer.answers().map((answer) => (answer.kind === "data" ? text(answer.bytes) : answer.kind));
  assert.deepEqual(sent(), ["headers", "12345abcde"]);
  assert.equal(peer.connection.queuedBytes, 5);
  peer.send(windowUpdate(1, 2));
  assert.deepEqual(sent(), ["fg"]);
  peer.send(settings([SettingId.initialWindowSize, 0]), windowUpdate(1, 11));
  assert.deepEqual(sent(), ["settingsAck", "h"]);
  peer.send(settings([SettingId.initialWindowSize, 100]));
  assert.deepEqual(sent(), ["settingsAck", "ij", "headers"]);
  assert.equal(peer.connection.streamCount, 0);
});

test("a window that would pass the largest ends the connection, and no stream's window passes it meanwhile", () => {
  const peer = TestPeer.greeted();
  const most = 2 ** 31 - 1;
  peer.send(headers(1, REQUEST, ENDED), headers(3, REQUEST, ENDED), windowUpdate(3, most - DEFAULT_WINDOW_BYTES));
  const [first, second] = [peer.stream(1), peer.stream(3)];
  assert.deepEqual([first.sendWindow, second.sendWindow], [DEFAULT_WINDOW_BYTES, most]);
  peer.send(settings([SettingId.initialWindowSize, DEFAULT_WINDOW_BYTES + 1]));
  assert.equal(peer.fault, "flowControlError");
  assert.equal(second.sendWindow, most);
});

test("streams take turns, a frame each", () => {
  const peer = TestPeer.greeted();
  peer.send(windowUpdate(0, 1 << 20), headers(1, REQUEST, ENDED), headers(3, REQUEST, ENDED));
  for (const id of [1, 3]) peer.connection.answer(peer.stream(id), HEAD, NONE, new Uint8Array(40_000), TRAILERS);
  const order = peer.answers().flatMap((answer) => (answer.kind === "data" ? [answer.streamId] : []));
  assert.deepEqual(order, [1, 3, 1, 3, 1, 3]);
});

test("a sender is told to wait past the mark, and when it may go on", () => {
  const peer = TestPeer.greeted({ streamQueueMarkBytes: 1_000 });
  peer.send(settings([SettingId.initialWindowSize, 0]), headers(1));
  const stream = peer.stream(1);
  peer.connection.respond(stream, HEAD);
  assert.equal(peer.connection.send(stream, NONE, new Uint8Array(999)), true);
  assert.equal(peer.connection.send(stream, NONE, new Uint8Array(1)), false);
  peer.send(windowUpdate(1, 999));
  peer.answers();
  assert.deepEqual(peer.events.slice(1), []);
  peer.send(windowUpdate(1, 1));
  peer.answers();
  assert.deepEqual(peer.events.slice(1), ["drain 1"]);
});

test("past the output's mark answers wait, and stay in order", () => {
  const peer = TestPeer.greeted({ outputMarkBytes: 1_000 });
  const count = 20;
  for (let i = 0; i < count; i++) {
    peer.send(headers(i * 2 + 1, REQUEST, ENDED));
    peer.connection.answer(peer.stream(i * 2 + 1), HEAD, NONE, new Uint8Array(300), TRAILERS);
  }
  assert.ok(peer.connection.outputBytes < 1_500);
  assert.ok(peer.connection.streamCount > 10);
  const answers: Answer[] = [];
  for (let turn = 0; turn < count && peer.connection.streamCount > 0; turn++) {
    answers.push(...peer.answers());
  }
  answers.push(...peer.answers());
  for (let i = 0; i < count; i++) {
    const kinds = answers.flatMap((answer) =>
      "streamId" in answer && answer.streamId === i * 2 + 1 ? [answer.kind] : [],
    );
    assert.deepEqual(kinds, ["headers", "data", "headers"]);
  }
});

test("a block of fields over a frame's size goes on in CONTINUATIONs", () => {
  const peer = TestPeer.greeted();
  peer.send(headers(1, REQUEST, ENDED));
  const value = "~".repeat(40_000);
  peer.connection.finish(peer.stream(1), OutgoingFields.of({ name: "grpc-message", value }));
  assert.deepEqual(peer.answers(), [{ kind: "headers", streamId: 1, fields: { "grpc-message": value }, ended: true }]);
});

test("a farewell has two steps: streams that are on their way are served, later ones passed over", () => {
  const peer = TestPeer.greeted();
  peer.send(headers(1));
  peer.connection.announceShutdown();
  peer.send(headers(3, REQUEST, ENDED));
  peer.connection.refuseStreams();
  peer.connection.refuseStreams();
  peer.send(headers(5), data(5, ascii("a")));
  const farewells = peer
    .answers()
    .flatMap((answer) => (answer.kind === "goaway" ? [[answer.lastId, answer.code]] : []));
  assert.deepEqual(farewells, [
    [0x7fff_ffff, 0],
    [3, 0],
  ]);
  assert.deepEqual(peer.events, ["request 1 /t.T/Echo", "request 3 /t.T/Echo ended"]);
  assert.equal(peer.connection.isDrained, false);
  peer.connection.finish(peer.stream(3), TRAILERS);
  peer.send(rstStream(1));
  assert.ok(peer.connection.isDrained);
});

test("the end of a connection is told to every stream, once", () => {
  const peer = TestPeer.greeted();
  peer.send(headers(1), headers(3));
  peer.connection.close();
  peer.connection.close();
  peer.send(headers(5));
  assert.deepEqual(peer.events.slice(2), ["reset 1", "reset 3"]);
});

test("work that goes on for streams that are gone counts among those under way", () => {
  const peer = TestPeer.greeted({ streamsMax: 2 });
  peer.connection.hold();
  peer.connection.hold();
  peer.send(headers(1, REQUEST, ENDED));
  assert.deepEqual(peer.answers(), [{ kind: "reset", streamId: 1, code: ErrorCode.refusedStream }]);
  peer.connection.release();
  peer.send(headers(3, REQUEST, ENDED));
  assert.deepEqual(peer.events, ["request 3 /t.T/Echo ended"]);
});

test("whoever begins a frame and does not end it can be told by the time", () => {
  const peer = TestPeer.greeted();
  assert.equal(peer.connection.partialSince, undefined);
  peer.now = 5;
  peer.send(headers(1).subarray(0, 12));
  peer.now = 9;
  peer.send(headers(1).subarray(12, 14));
  assert.equal(peer.connection.partialSince, 5);
  peer.send(headers(1).subarray(14));
  assert.equal(peer.connection.partialSince, undefined);
  peer.now = 20;
  peer.send(frame(FrameType.headers, 0, 3, NONE));
  assert.equal(peer.connection.partialSince, 20);
});

// ---- Whatever comes.

const anyFrame = fc.oneof(
  fc
    .record({
      type: fc.integer({ min: 0, max: 10 }),
      flags: fc.integer({ min: 0, max: 255 }),
      streamId: fc.integer({ min: 0, max: 9 }),
      payload: fc.uint8Array({ maxLength: 20 }),
    })
    .map(({ type, flags, streamId, payload }) => frame(type, flags, streamId, payload)),
  fc.nat(6).map((i) => headers(i * 2 + 1, REQUEST, i % 2 === 0 ? ENDED : Flag.endHeaders)),
  fc.nat(6).map((i) => data(i * 2 + 1, ascii("some content"), i % 2)),
  fc.constantFrom(settings(), settings([SettingId.initialWindowSize, 3]), windowUpdate(0, 100), rstStream(1)),
);

/** Answers each request that has ended with what it sent. */
class Echo extends Recorder {
  override onData(...[stream, bytes, start, end, ended]: Parameters<Recorder["onData"]>): void {
    super.onData(stream, bytes, start, end, ended);
    if (ended) this.peer?.connection.answer(stream, HEAD, NONE, bytes.slice(start, end), TRAILERS);
  }
  peer: TestPeer | undefined;
}

function run(pieces: readonly Uint8Array[]): {
  events: readonly string[];
  answers: Answer[];
  fault: string | undefined;
} {
  const echo = new Echo();
  const peer = new TestPeer({}, echo);
  echo.peer = peer;
  for (const piece of pieces) peer.send(piece);
  return { events: echo.events, answers: peer.answers(), fault: peer.connection.fault?.text };
}

test("the same bytes are answered the same, however they are cut", () => {
  const cuts = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(fc.array(anyFrame, { maxLength: 25 }), cuts, (frames, cuts) => {
      const bytes = joined(PREFACE, settings(), ...frames);
      const pieces: Uint8Array[] = [];
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const end = Math.min(bytes.length, at + cuts[i % cuts.length]!);
        pieces.push(bytes.slice(at, end));
        at = end;
      }
      assert.deepEqual(run(pieces), run([bytes]));
    }),
    { numRuns: 1_000 },
  );
});

test("no bytes make it throw, and what it answers is HTTP/2", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 6 }), (pieces) => {
      run([PREFACE, settings(), ...pieces]);
      run(pieces);
    }),
    { numRuns: 1_000 },
  );
});

test("every answer arrives whole and in order, whatever windows the client gives", () => {
  const plan = fc.record({
    initialWindow: fc.integer({ min: 0, max: 40_000 }),
    sizes: fc.array(fc.integer({ min: 0, max: 50_000 }), { minLength: 1, maxLength: 8 }),
    grants: fc.array(fc.integer({ min: 500, max: 30_000 }), { minLength: 3, maxLength: 12 }),
    mark: fc.constantFrom(1_000, 20_000, HTTP2_LIMITS.outputMarkBytes),
  });
  fc.assert(
    fc.property(plan, ({ initialWindow, sizes, grants, mark }) => {
      const peer = TestPeer.greeted({ outputMarkBytes: mark });
      peer.send(settings([SettingId.initialWindowSize, initialWindow]));
      const windows = new Map<number, number>([[0, DEFAULT_WINDOW_BYTES]]);
      const got = new Map<number, number[]>();
      for (const [i, size] of sizes.entries()) {
        const id = i * 2 + 1;
        windows.set(id, initialWindow);
        peer.send(headers(id, REQUEST, ENDED));
        const body = Uint8Array.from({ length: size }, (_, at) => (at * 7 + id) & 255);
        peer.connection.answer(peer.stream(id), HEAD, NONE, body, TRAILERS);
      }
      for (let turn = 0; peer.connection.streamCount > 0; turn++) {
        assert.ok(turn < 10_000, "it goes on");
        peer.now += 10;
        take(peer, windows, got);
        const grant = grants[turn % grants.length]!;
        const streams = [0, ...sizes.map((_, i) => i * 2 + 1)];
        const id = streams[turn % streams.length]!;
        windows.set(id, windows.get(id)! + grant);
        peer.send(windowUpdate(id, grant));
      }
      while (peer.connection.outputBytes > 0) take(peer, windows, got);
      for (const [i, size] of sizes.entries()) {
        const id = i * 2 + 1;
        const expected = Array.from({ length: size }, (_, at) => (at * 7 + id) & 255);
        assert.deepEqual(got.get(id) ?? [], expected);
      }
      assert.equal(peer.connection.queuedBytes, 0);
    }),
    { numRuns: 60 },
  );
});

/** Takes what came, and counts it against the windows. */
function take(peer: TestPeer, windows: Map<number, number>, got: Map<number, number[]>): void {
  for (const answer of peer.answers()) {
    if (answer.kind !== "data") continue;
    for (const id of [0, answer.streamId]) {
      windows.set(id, windows.get(id)! - answer.bytes.length);
      assert.ok(windows.get(id)! >= 0, "no more is sent than the client allows");
    }
    const bytes = got.get(answer.streamId) ?? [];
    bytes.push(...answer.bytes);
    got.set(answer.streamId, bytes);
  }
}
