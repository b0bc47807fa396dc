/**
 * What hostile clients of HTTP/2 do, as scripts: the attacks that have names, and those that a reader of the RFC comes up with. A test runs
 * each once, a campaign runs them until ten million frames have been sent.
 *
 * A script is endless: it is ended by the server, or by the number of frames that its runner gives it.
 */
import { gzipSync } from "node:zlib";
import { messagePrefix, frameMessage } from "../../src/grpc/framing.js";
import {
  type ErrorCode,
  Flag,
  FRAME_HEADER_BYTES,
  frameLengthAt,
  FrameType,
  PREFACE,
  SettingId,
  uint31At,
} from "../../src/http2/frames.js";
import {
  ascii,
  data,
  frame,
  headers,
  hex,
  joined,
  literalBlock,
  number32,
  REQUEST,
  rstStream,
  settings,
  settingsAck,
  windowUpdate,
} from "../../src/http2/testing/peer.js";

/** What becomes of the connection: the code of the server's GOAWAY; `closed` without one; `open`: it is served on, within bounds. */
export type Verdict = keyof typeof ErrorCode | "closed" | "open";

export interface HostileScript {
  readonly name: string;
  readonly verdict: Verdict;
  /** Sent first; preface and SETTINGS where left out. */
  readonly first?: Uint8Array;
  /** Never reads what the server sends. */
  readonly deaf?: true;
  /** Then piece by piece, without end. A piece holds whole frames. */
  readonly pieces: () => Iterable<Uint8Array>;
}

const ENDED = Flag.endHeaders | Flag.endStream;
const NONE = new Uint8Array(0);
const GREETING = joined(PREFACE, settings(), settingsAck);
/** The client's windows are open wide: what it is sent never waits. */
const GENEROUS = joined(
  PREFACE,
  settings([SettingId.initialWindowSize, 0x7fff_ffff]),
  settingsAck,
  windowUpdate(0, 0x7fff_0000),
);
/** Frames in one piece, about. */
const PIECE_FRAMES = 400;

/** The same bytes again and again. */
function* again(bytes: Uint8Array): Generator<Uint8Array> {
  const piece = joined(
    ...Array.from({ length: Math.max(1, Math.floor(PIECE_FRAMES / countFrames(bytes))) }, () => bytes),
  );
  for (;;) yield piece;
}

/** Something first, then the same again and again. */
function* after(first: Uint8Array, bytes: Uint8Array): Generator<Uint8Array> {
  yield first;
  yield* again(bytes);
}

/** The same frames on stream after stream: `make` is asked for the first piece's, whose numbers are then moved on. */
function* streams(make: (id: number) => Uint8Array, from = 1): Generator<Uint8Array> {
  const count = Math.max(1, Math.floor(PIECE_FRAMES / countFrames(make(from))));
  const piece = joined(...Array.from({ length: count }, (_, i) => make(from + i * 2)));
  const places: number[] = [];
  for (let at = 0; at < piece.length; at += FRAME_HEADER_BYTES + frameLengthAt(piece, at)) {
    if (uint31At(piece, at + 5) !== 0) places.push(at + 5);
  }
  for (let last = from + (count - 1) * 2; last < 0x7fff_0000; last += count * 2) {
    yield piece.slice();
    for (const at of places) piece.set(number32(uint31At(piece, at) + count * 2), at);
  }
}

/** Frames in bytes that hold whole ones. */
export function countFrames(bytes: Uint8Array): number {
  let count = 0;
  for (let at = 0; at + FRAME_HEADER_BYTES <= bytes.length; at += FRAME_HEADER_BYTES + frameLengthAt(bytes, at))
    count++;
  return Math.max(1, count);
}

/** Nothing more. */
function* silence(): Generator<Uint8Array> {
  for (;;) yield NONE;
}

const call = (path: string): readonly (readonly [string, string])[] =>
  REQUEST.map(([name, value]) => [name, name === ":path" ? path : value] as const);
const message = frameMessage(ascii("hostile"));
const block = literalBlock(...REQUEST);
const ping = frame(FrameType.ping, 0, 0, new Uint8Array(8));
const manyStreams = (count: number, path = "/t.T/Echo"): Uint8Array =>
  joined(...Array.from({ length: count }, (_, i) => headers(i * 2 + 1, call(path))));
const requests = (path: string, count: number): Uint8Array =>
  joined(...Array.from({ length: count }, (_, i) => joined(headers(i * 2 + 1, call(path)), data(i * 2 + 1, message))));
const bombEntry = joined(hex("40"), literalBlock(["x", "b".repeat(4_000)]).subarray(1));
const bomb = gzipSync(new Uint8Array(2_000_000));

export const HOSTILE_SCRIPTS: readonly HostileScript[] = [
  // Streams that come to nothing.
  {
    name: "rapid reset",
    verdict: "enhanceYourCalm",
    pieces: () => streams((id) => joined(headers(id), rstStream(id))),
  },
  {
    name: "rapid reset of whole requests whose handler hangs",
    verdict: "enhanceYourCalm",
    pieces: () => streams((id) => joined(headers(id, call("/t.T/Hang")), data(id, message), rstStream(id))),
  },
  {
    name: "rapid reset after the answer",
    verdict: "open",
    first: GENEROUS,
    pieces: () => streams((id) => joined(headers(id, call("/t.T/Echo")), data(id, message), rstStream(id))),
  },
  {
    name: "MadeYouReset by WINDOW_UPDATE of 0",
    verdict: "enhanceYourCalm",
    pieces: () => streams((id) => joined(headers(id, call("/t.T/Hang")), windowUpdate(id, 0))),
  },
  {
    name: "MadeYouReset by a window that overflows",
    verdict: "enhanceYourCalm",
    pieces: () => streams((id) => joined(headers(id, call("/t.T/Hang")), windowUpdate(id, 0x7fff_ffff))),
  },
  {
    name: "MadeYouReset by DATA after the end",
    verdict: "enhanceYourCalm",
    pieces: () => streams((id) => joined(headers(id, call("/t.T/Hang")), data(id, message), data(id, message))),
  },
  {
    name: "MadeYouReset by HEADERS that end nothing",
    verdict: "enhanceYourCalm",
    pieces: () => streams((id) => joined(headers(id), headers(id))),
  },
  {
    name: "MadeYouReset by a content-length that lies",
    verdict: "enhanceYourCalm",
    pieces: () => streams((id) => joined(headers(id, [...REQUEST, ["content-length", "3"]]), data(id, message))),
  },
  {
    name: "requests that are none",
    verdict: "enhanceYourCalm",
    pieces: () => streams((id) => headers(id, [["a", "b"]], ENDED)),
  },
  {
    name: "DATA on streams that are closed",
    verdict: "enhanceYourCalm",
    pieces: () => streams((id) => joined(headers(id), rstStream(id), data(id, message))),
  },
  {
    name: "streams beyond the limit",
    verdict: "enhanceYourCalm",
    pieces: () => streams((id) => headers(id, call("/t.T/Hang"))),
  },
  // Floods.
  {
    name: "CONTINUATION flood, empty",
    verdict: "enhanceYourCalm",
    pieces: () => after(frame(FrameType.headers, 0, 1), frame(FrameType.continuation, 0, 1)),
  },
  {
    name: "CONTINUATION flood, full",
    verdict: "enhanceYourCalm",
    pieces: () => after(frame(FrameType.headers, 0, 1), frame(FrameType.continuation, 0, 1, new Uint8Array(16_384))),
  },
  { name: "empty DATA", verdict: "enhanceYourCalm", pieces: () => after(headers(1), data(1, NONE, 0)) },
  {
    name: "DATA of padding alone",
    verdict: "enhanceYourCalm",
    pieces: () => after(headers(1), data(1, joined(Uint8Array.of(255), new Uint8Array(255)), Flag.padded)),
  },
  { name: "SETTINGS", verdict: "enhanceYourCalm", pieces: () => again(settings()) },
  {
    name: "SETTINGS that move the windows of a thousand streams",
    verdict: "enhanceYourCalm",
    pieces: () =>
      after(
        manyStreams(999, "/t.T/Hang"),
        joined(settings([SettingId.initialWindowSize, 1]), settings([SettingId.initialWindowSize, 2])),
      ),
  },
  {
    name: "SETTINGS with as many entries as there may be",
    verdict: "enhanceYourCalm",
    pieces: () =>
      again(settings(...Array.from({ length: 64 }, (_, i) => [SettingId.headerTableSize, i * 64] as const))),
  },
  {
    name: "SETTINGS with more",
    verdict: "enhanceYourCalm",
    pieces: () => again(settings(...Array.from({ length: 2_000 }, () => [0x99, 1] as const))),
  },
  { name: "acknowledgements of SETTINGS", verdict: "enhanceYourCalm", pieces: () => again(settingsAck) },
  { name: "PING, and nothing is read", verdict: "closed", deaf: true, pieces: () => again(ping) },
  { name: "PING", verdict: "enhanceYourCalm", pieces: () => again(ping) },
  {
    name: "answers to PINGs that nobody sent",
    verdict: "enhanceYourCalm",
    pieces: () => again(frame(FrameType.ping, Flag.ack, 0, new Uint8Array(8))),
  },
  {
    name: "PRIORITY",
    verdict: "enhanceYourCalm",
    pieces: () => streams((id) => frame(FrameType.priority, 0, id, new Uint8Array(5))),
  },
  { name: "WINDOW_UPDATE of a connection", verdict: "enhanceYourCalm", pieces: () => again(windowUpdate(0, 1)) },
  {
    name: "WINDOW_UPDATE of a stream",
    verdict: "enhanceYourCalm",
    pieces: () => after(headers(1), windowUpdate(1, 1)),
  },
  {
    name: "frames of unknown types",
    verdict: "enhanceYourCalm",
    pieces: () => again(frame(0xbb, 0xff, 3, new Uint8Array(30))),
  },
  {
    name: "GOAWAY",
    verdict: "enhanceYourCalm",
    first: joined(GREETING, headers(1, call("/t.T/Hang"))),
    pieces: () => again(frame(FrameType.goaway, 0, 0, new Uint8Array(8))),
  },
  // Fields.
  {
    name: "header bomb: one big value, named again and again",
    verdict: "enhanceYourCalm",
    pieces: () =>
      streams((id) => frame(FrameType.headers, ENDED, id, joined(block, bombEntry, new Uint8Array(12_000).fill(0xbe)))),
  },
  {
    name: "header bomb: tiny entries",
    verdict: "enhanceYourCalm",
    pieces: () =>
      streams((id) =>
        frame(FrameType.headers, ENDED, id, joined(block, ...Array.from({ length: 3_000 }, () => hex("4001610162")))),
      ),
  },
  {
    name: "header bomb: cookie crumbs",
    verdict: "enhanceYourCalm",
    pieces: () =>
      streams((id) =>
        headers(id, [...REQUEST, ...Array.from({ length: 400 }, (_, i) => ["cookie", `c${i}=1`] as const)], ENDED),
      ),
  },
  {
    name: "the table's size up and down, and entries that do not fit",
    verdict: "open",
    first: GENEROUS,
    pieces: () =>
      streams((id) =>
        joined(
          frame(FrameType.headers, Flag.endHeaders, id, joined(hex("203fe11f"), block, bombEntry)),
          data(id, message),
        ),
      ),
  },
  {
    name: "the largest lists that pass",
    verdict: "open",
    first: GENEROUS,
    pieces: () =>
      streams((id) =>
        joined(
          headers(id, [...REQUEST, ...Array.from({ length: 3 }, (_, i) => [`x-${i}`, "y".repeat(5_000)] as const)]),
          data(id, message),
        ),
      ),
  },
  {
    name: "a list that comes in pieces and does not end",
    verdict: "enhanceYourCalm",
    pieces: () =>
      after(
        frame(FrameType.headers, 0, 1, block),
        frame(FrameType.continuation, 0, 1, new Uint8Array(8_000).fill(0x82)),
      ),
  },
  {
    name: "bytes that are no fields",
    verdict: "compressionError",
    pieces: () => streams((id) => frame(FrameType.headers, ENDED, id, hex("ffffffffff"))),
  },
  // Windows.
  {
    name: "zero windows under large answers",
    verdict: "enhanceYourCalm",
    first: joined(PREFACE, settings([SettingId.initialWindowSize, 0]), settingsAck),
    pieces: () => streams((id) => joined(headers(id, call("/t.T/Large")), data(id, message))),
  },
  {
    name: "windows that open by a byte",
    verdict: "enhanceYourCalm",
    first: joined(PREFACE, settings([SettingId.initialWindowSize, 0]), settingsAck, requests("/t.T/Large", 10)),
    pieces: () => again(joined(...Array.from({ length: 10 }, (_, i) => windowUpdate(i * 2 + 1, 1)))),
  },
  {
    name: "large answers, and nothing is read",
    verdict: "open",
    deaf: true,
    first: joined(
      PREFACE,
      settings([SettingId.initialWindowSize, 0x7fff_ffff]),
      settingsAck,
      windowUpdate(0, 0x7fff_0000),
    ),
    pieces: () => streams((id) => joined(headers(id, call("/t.T/Large")), data(id, message))),
  },
  {
    name: "streams of answers, and nothing is read",
    verdict: "open",
    deaf: true,
    first: joined(
      PREFACE,
      settings([SettingId.initialWindowSize, 0x7fff_ffff]),
      settingsAck,
      windowUpdate(0, 0x7fff_0000),
    ),
    pieces: () => streams((id) => joined(headers(id, call("/t.T/Endless")), data(id, message))),
  },
  {
    name: "unknown methods, and nothing is read",
    verdict: "open",
    first: GENEROUS,
    deaf: true,
    pieces: () => streams((id) => joined(headers(id, call("/no/such")), data(id, message))),
  },
  {
    name: "DATA beyond the window",
    verdict: "enhanceYourCalm",
    pieces: () =>
      streams((id) =>
        joined(
          headers(id),
          data(id, joined(messagePrefix(1_400_000), new Uint8Array(16_000)), 0),
          ...Array.from({ length: 3 }, () => data(id, new Uint8Array(16_000), 0)),
        ),
      ),
  },
  // Messages.
  {
    name: "a message of single bytes",
    verdict: "open",
    pieces: () => after(joined(headers(1), data(1, messagePrefix(1_000_000), 0)), data(1, ascii("x"), 0)),
  },
  {
    name: "empty messages, on and on",
    verdict: "open",
    first: GENEROUS,
    pieces: () =>
      after(headers(1, call("/t.T/Sink")), data(1, joined(...Array.from({ length: 200 }, () => messagePrefix(0))), 0)),
  },
  {
    name: "a thousand messages that have only begun",
    verdict: "enhanceYourCalm",
    pieces: () =>
      streams((id) =>
        joined(
          headers(id),
          data(id, joined(messagePrefix(1_000_000), new Uint8Array(16_000)), 0),
          data(id, new Uint8Array(16_000), 0),
        ),
      ),
  },
  {
    name: "messages whose length is a lie",
    verdict: "open",
    first: GENEROUS,
    pieces: () => streams((id) => joined(headers(id), data(id, messagePrefix(0xffff_ffff)))),
  },
  {
    name: "gzip bombs",
    verdict: "enhanceYourCalm",
    pieces: () =>
      streams((id) =>
        joined(
          headers(id, [...REQUEST, ["grpc-encoding", "gzip"]]),
          data(id, joined(messagePrefix(bomb.length, true), bomb)),
        ),
      ),
  },
  // Bytes that are no HTTP/2.
  { name: "a preface that never ends", verdict: "protocolError", first: PREFACE.subarray(0, 12), pieces: silence },
  {
    name: "a frame that never ends",
    verdict: "enhanceYourCalm",
    first: joined(GREETING, headers(1).subarray(0, 20)),
    pieces: silence,
  },
  {
    name: "a field block that never ends",
    verdict: "enhanceYourCalm",
    first: joined(GREETING, frame(FrameType.headers, 0, 1, block)),
    pieces: silence,
  },
  {
    name: "garbage after the preface",
    verdict: "frameSizeError",
    first: joined(PREFACE, ascii("this is no frame at all, is it".repeat(10))),
    pieces: silence,
  },
  {
    name: "garbage",
    verdict: "closed",
    first: Uint8Array.from({ length: 5_000 }, (_, i) => (i * 89) & 255),
    pieces: silence,
  },
  { name: "a frame of 16 MiB", verdict: "frameSizeError", pieces: () => again(hex("ffffff 00 00 00000001")) },
];
