/**
 * What RFC 9113 asks of a server, case by case: bytes of a client, and what must come of them. `docs/formats/http2.md` has the same list by
 * section; a test compares the two.
 */
import { type ErrorCode, Flag, FrameType, PREFACE, SettingId } from "../frames.js";
import {
  ascii,
  data,
  frame,
  headers,
  hex,
  joined,
  number32,
  REQUEST,
  rstStream,
  settings,
  windowUpdate,
} from "./peer.js";

/** The end of a connection or a stream by a code's name, `silence` (passed over), or what the listener is told in the end. */
export type Verdict =
  | { readonly connection: keyof typeof ErrorCode }
  | { readonly stream: keyof typeof ErrorCode }
  | { readonly events: readonly string[] };

export interface Requirement {
  readonly section: string;
  readonly what: string;
  /** After preface and SETTINGS, unless the case is about these. */
  readonly bytes: readonly Uint8Array[];
  readonly fresh?: true;
  readonly verdict: Verdict;
}

const connection = (code: keyof typeof ErrorCode): Verdict => ({ connection: code });
const stream = (code: keyof typeof ErrorCode): Verdict => ({ stream: code });
const events = (...events: readonly string[]): Verdict => ({ events });

const padded = (length: number, ...rest: readonly Uint8Array[]): Uint8Array => joined(Uint8Array.of(length), ...rest);
const without = (name: string): readonly (readonly [string, string])[] => REQUEST.filter(([field]) => field !== name);
const ENDED = Flag.endHeaders | Flag.endStream;
const OPEN = headers(1);
const CLOSED = [headers(1, REQUEST, ENDED), rstStream(1)] as const;
const block = (fields = REQUEST): Uint8Array => headers(1, fields).subarray(9);

export const REQUIREMENTS: readonly Requirement[] = [
  // 3.4
  {
    section: "3.4",
    what: "other bytes than the preface end the connection",
    fresh: true,
    bytes: [ascii("GET / HTTP/1.1\r\n\r\n")],
    verdict: connection("protocolError"),
  },
  {
    section: "3.4",
    what: "a preface that breaks off in the midst of another text ends the connection",
    fresh: true,
    bytes: [PREFACE.subarray(0, 20), ascii("XXXX")],
    verdict: connection("protocolError"),
  },
  {
    section: "3.4",
    what: "the first frame must be SETTINGS",
    fresh: true,
    bytes: [PREFACE, frame(FrameType.ping, 0, 0, new Uint8Array(8))],
    verdict: connection("protocolError"),
  },
  {
    section: "3.4",
    what: "an acknowledgement is no first SETTINGS",
    fresh: true,
    bytes: [PREFACE, frame(FrameType.settings, Flag.ack, 0)],
    verdict: connection("protocolError"),
  },
  // 4.1, 4.2
  {
    section: "4.1",
    what: "frames of unknown types are passed over",
    bytes: [frame(0xee, 0xff, 7, ascii("?")), OPEN],
    verdict: events("request 1 /t.T/Echo"),
  },
  {
    section: "4.1",
    what: "unknown flags have no meaning",
    bytes: [headers(1, REQUEST, ENDED | 0xc2)],
    verdict: events("request 1 /t.T/Echo ended"),
  },
  {
    section: "4.1",
    what: "the reserved bit before a stream's number is passed over",
    bytes: [hex("000004 08 00 80000000 00000001"), OPEN],
    verdict: events("request 1 /t.T/Echo"),
  },
  {
    section: "4.2",
    what: "a frame over 16,384 bytes ends the connection",
    bytes: [OPEN, data(1, new Uint8Array(16_385))],
    verdict: connection("frameSizeError"),
  },
  {
    section: "4.2",
    what: "a frame of 16,384 bytes is taken",
    bytes: [OPEN, data(1, new Uint8Array(16_384).fill(0x61))],
    verdict: events("request 1 /t.T/Echo", `data 1 ${"a".repeat(16_384)} ended`),
  },
  // 4.3
  {
    section: "4.3",
    what: "a field block that cannot be decoded ends the connection",
    bytes: [frame(FrameType.headers, ENDED, 1, hex("ff"))],
    verdict: connection("compressionError"),
  },
  {
    section: "4.3",
    what: "a block of a refused stream is decoded all the same",
    bytes: [
      frame(FrameType.headers, ENDED, 1, hex("400161016282")),
      frame(FrameType.headers, ENDED, 3, joined(block(), hex("be"))),
    ],
    verdict: events("request 3 /t.T/Echo ended"),
  },
  // 5.1
  {
    section: "5.1",
    what: "DATA on an idle stream ends the connection",
    bytes: [data(1, ascii("a"))],
    verdict: connection("protocolError"),
  },
  {
    section: "5.1",
    what: "RST_STREAM on an idle stream ends the connection",
    bytes: [rstStream(1)],
    verdict: connection("protocolError"),
  },
  {
    section: "5.1",
    what: "WINDOW_UPDATE on an idle stream ends the connection",
    bytes: [windowUpdate(1, 1)],
    verdict: connection("protocolError"),
  },
  {
    section: "5.1",
    what: "CONTINUATION without a block ends the connection",
    bytes: [OPEN, frame(FrameType.continuation, Flag.endHeaders, 1)],
    verdict: connection("protocolError"),
  },
  {
    section: "5.1",
    what: "DATA after the end of a request resets the stream",
    bytes: [headers(1, REQUEST, ENDED), data(1, ascii("a"))],
    verdict: stream("streamClosed"),
  },
  {
    section: "5.1",
    what: "HEADERS after the end of a request reset the stream",
    bytes: [headers(1, REQUEST, ENDED), headers(1, [["a", "b"]], ENDED)],
    verdict: stream("streamClosed"),
  },
  {
    section: "5.1",
    what: "DATA after the client's own reset resets again",
    bytes: [...CLOSED, data(1, ascii("a"))],
    verdict: stream("streamClosed"),
  },
  {
    section: "5.1",
    what: "HEADERS on a closed stream end the connection",
    bytes: [...CLOSED, headers(1, [["a", "b"]], ENDED)],
    verdict: connection("streamClosed"),
  },
  {
    section: "5.1",
    what: "WINDOW_UPDATE, PRIORITY and RST_STREAM on a closed stream are passed over",
    bytes: [...CLOSED, windowUpdate(1, 1), frame(FrameType.priority, 0, 1, new Uint8Array(5)), rstStream(1)],
    verdict: events("request 1 /t.T/Echo ended", "reset 1"),
  },
  {
    section: "5.1.1",
    what: "a client's streams have odd numbers",
    bytes: [headers(2)],
    verdict: connection("protocolError"),
  },
  {
    section: "5.1.1",
    what: "a stream's number is above those before",
    bytes: [headers(5, REQUEST, ENDED), headers(3, REQUEST, ENDED)],
    verdict: connection("streamClosed"),
  },
  {
    section: "5.1.2",
    what: "streams beyond the limit are refused",
    bytes: Array.from({ length: 1_001 }, (_, i) => headers(i * 2 + 1)),
    verdict: stream("refusedStream"),
  },
  // 5.4, 5.5
  {
    section: "5.5",
    what: "an unknown frame in the midst of a block ends the connection",
    bytes: [frame(FrameType.headers, 0, 1, block()), frame(0xee, 0, 1)],
    verdict: connection("protocolError"),
  },
  // 6.1
  {
    section: "6.1",
    what: "DATA on stream 0 end the connection",
    bytes: [data(0, ascii("a"))],
    verdict: connection("protocolError"),
  },
  {
    section: "6.1",
    what: "padding of DATA is taken off",
    bytes: [OPEN, data(1, padded(3, ascii("abc"), new Uint8Array(3)), Flag.padded | Flag.endStream)],
    verdict: events("request 1 /t.T/Echo", "data 1 abc ended"),
  },
  {
    section: "6.1",
    what: "padding as long as the frame ends the connection",
    bytes: [OPEN, data(1, padded(4, new Uint8Array(3)), Flag.padded)],
    verdict: connection("protocolError"),
  },
  {
    section: "6.1",
    what: "padding without its length ends the connection",
    bytes: [OPEN, data(1, new Uint8Array(0), Flag.padded)],
    verdict: connection("frameSizeError"),
  },
  // 6.2
  {
    section: "6.2",
    what: "HEADERS on stream 0 end the connection",
    bytes: [headers(0)],
    verdict: connection("protocolError"),
  },
  {
    section: "6.2",
    what: "padding and priority of HEADERS are taken off",
    bytes: [
      frame(
        FrameType.headers,
        ENDED | Flag.padded | Flag.priority,
        1,
        padded(2, new Uint8Array(5), block(), new Uint8Array(2)),
      ),
    ],
    verdict: events("request 1 /t.T/Echo ended"),
  },
  {
    section: "6.2",
    what: "padding beyond HEADERS ends the connection",
    bytes: [frame(FrameType.headers, ENDED | Flag.padded, 1, padded(255, block()))],
    verdict: connection("protocolError"),
  },
  {
    section: "6.2",
    what: "HEADERS too short for their priority end the connection",
    bytes: [frame(FrameType.headers, ENDED | Flag.priority, 1, hex("0000"))],
    verdict: connection("frameSizeError"),
  },
  {
    section: "6.2",
    what: "another stream's frame in the midst of a block ends the connection",
    bytes: [headers(1), frame(FrameType.headers, 0, 3, block()), data(1, ascii("a"))],
    verdict: connection("protocolError"),
  },
  // 6.3
  {
    section: "6.3",
    what: "PRIORITY is read and has no effect",
    bytes: [frame(FrameType.priority, 0, 9, hex("0000000910")), OPEN],
    verdict: events("request 1 /t.T/Echo"),
  },
  {
    section: "6.3",
    what: "PRIORITY on stream 0 ends the connection",
    bytes: [frame(FrameType.priority, 0, 0, new Uint8Array(5))],
    verdict: connection("protocolError"),
  },
  {
    section: "6.3",
    what: "PRIORITY of another size is an error",
    bytes: [frame(FrameType.priority, 0, 1, new Uint8Array(4))],
    verdict: connection("frameSizeError"),
  },
  // 6.4
  {
    section: "6.4",
    what: "RST_STREAM tells the listener",
    bytes: [OPEN, rstStream(1)],
    verdict: events("request 1 /t.T/Echo", "reset 1"),
  },
  {
    section: "6.4",
    what: "RST_STREAM on stream 0 ends the connection",
    bytes: [rstStream(0)],
    verdict: connection("protocolError"),
  },
  {
    section: "6.4",
    what: "RST_STREAM of another size ends the connection",
    bytes: [OPEN, frame(FrameType.rstStream, 0, 1, new Uint8Array(3))],
    verdict: connection("frameSizeError"),
  },
  // 6.5
  {
    section: "6.5",
    what: "SETTINGS on a stream end the connection",
    bytes: [frame(FrameType.settings, 0, 1)],
    verdict: connection("protocolError"),
  },
  {
    section: "6.5",
    what: "an acknowledgement with a payload ends the connection",
    bytes: [frame(FrameType.settings, Flag.ack, 0, new Uint8Array(6))],
    verdict: connection("frameSizeError"),
  },
  {
    section: "6.5",
    what: "SETTINGS that are no multiple of six bytes end the connection",
    bytes: [frame(FrameType.settings, 0, 0, new Uint8Array(5))],
    verdict: connection("frameSizeError"),
  },
  {
    section: "6.5.2",
    what: "SETTINGS_ENABLE_PUSH other than 0 and 1 ends the connection",
    bytes: [settings([SettingId.enablePush, 2])],
    verdict: connection("protocolError"),
  },
  {
    section: "6.5.2",
    what: "SETTINGS_INITIAL_WINDOW_SIZE over 2^31-1 ends the connection",
    bytes: [settings([SettingId.initialWindowSize, 2 ** 31])],
    verdict: connection("flowControlError"),
  },
  {
    section: "6.5.2",
    what: "SETTINGS_MAX_FRAME_SIZE under 16,384 ends the connection",
    bytes: [settings([SettingId.maxFrameSize, 16_383])],
    verdict: connection("protocolError"),
  },
  {
    section: "6.5.2",
    what: "SETTINGS_MAX_FRAME_SIZE over 2^24-1 ends the connection",
    bytes: [settings([SettingId.maxFrameSize, 2 ** 24])],
    verdict: connection("protocolError"),
  },
  {
    section: "6.5.2",
    what: "unknown settings are passed over",
    bytes: [settings([0xff, 1]), OPEN],
    verdict: events("request 1 /t.T/Echo"),
  },
  // 6.6
  {
    section: "6.6",
    what: "a client cannot push",
    bytes: [frame(FrameType.pushPromise, Flag.endHeaders, 1, number32(2))],
    verdict: connection("protocolError"),
  },
  // 6.7
  {
    section: "6.7",
    what: "PING on a stream ends the connection",
    bytes: [frame(FrameType.ping, 0, 1, new Uint8Array(8))],
    verdict: connection("protocolError"),
  },
  {
    section: "6.7",
    what: "PING of another size ends the connection",
    bytes: [frame(FrameType.ping, 0, 0, new Uint8Array(7))],
    verdict: connection("frameSizeError"),
  },
  {
    section: "6.7",
    what: "an answer to a PING is told, and not answered",
    bytes: [frame(FrameType.ping, Flag.ack, 0, ascii("12345678"))],
    verdict: events("pong 3132333435363738"),
  },
  // 6.8
  {
    section: "6.8",
    what: "GOAWAY on a stream ends the connection",
    bytes: [frame(FrameType.goaway, 0, 1, new Uint8Array(8))],
    verdict: connection("protocolError"),
  },
  {
    section: "6.8",
    what: "GOAWAY under eight bytes ends the connection",
    bytes: [frame(FrameType.goaway, 0, 0, new Uint8Array(7))],
    verdict: connection("frameSizeError"),
  },
  {
    section: "6.8",
    what: "after a client's GOAWAY its requests are still served",
    bytes: [frame(FrameType.goaway, 0, 0, new Uint8Array(8)), OPEN],
    verdict: events("request 1 /t.T/Echo"),
  },
  // 6.9
  {
    section: "6.9",
    what: "WINDOW_UPDATE by 0 ends the connection",
    bytes: [windowUpdate(0, 0)],
    verdict: connection("protocolError"),
  },
  {
    section: "6.9",
    what: "WINDOW_UPDATE by 0 resets a stream",
    bytes: [OPEN, windowUpdate(1, 0)],
    verdict: stream("protocolError"),
  },
  {
    section: "6.9",
    what: "WINDOW_UPDATE of another size ends the connection",
    bytes: [frame(FrameType.windowUpdate, 0, 0, new Uint8Array(3))],
    verdict: connection("frameSizeError"),
  },
  {
    section: "6.9.1",
    what: "a connection's window over 2^31-1 ends the connection",
    bytes: [windowUpdate(0, 0x7fff_ffff)],
    verdict: connection("flowControlError"),
  },
  {
    section: "6.9.1",
    what: "a stream's window over 2^31-1 resets it",
    bytes: [OPEN, windowUpdate(1, 0x7fff_ffff)],
    verdict: stream("flowControlError"),
  },
  {
    section: "6.9.1",
    what: "DATA beyond a stream's window reset it",
    bytes: [OPEN, ...Array.from({ length: 3 }, () => data(1, new Uint8Array(16_384), 0))],
    verdict: stream("flowControlError"),
  },
  {
    section: "6.9.2",
    what: "SETTINGS that bring a stream's window over 2^31-1 end the connection",
    bytes: [OPEN, windowUpdate(1, 0x7fff_ffff - 65_535), settings([SettingId.initialWindowSize, 65_536])],
    verdict: connection("flowControlError"),
  },
  // 6.10
  {
    section: "6.10",
    what: "a block goes on in CONTINUATIONs",
    bytes: [
      frame(FrameType.headers, Flag.endStream, 1, block().subarray(0, 9)),
      frame(FrameType.continuation, 0, 1, block().subarray(9, 20)),
      frame(FrameType.continuation, Flag.endHeaders, 1, block().subarray(20)),
    ],
    verdict: events("request 1 /t.T/Echo ended"),
  },
  {
    section: "6.10",
    what: "CONTINUATION on another stream ends the connection",
    bytes: [frame(FrameType.headers, 0, 1, block()), frame(FrameType.continuation, Flag.endHeaders, 3)],
    verdict: connection("protocolError"),
  },
  {
    section: "6.10",
    what: "CONTINUATION after DATA ends the connection",
    bytes: [OPEN, data(1, ascii("a"), 0), frame(FrameType.continuation, Flag.endHeaders, 1)],
    verdict: connection("protocolError"),
  },
  // 8.1
  {
    section: "8.1",
    what: "trailers end a request",
    bytes: [OPEN, data(1, ascii("a"), 0), headers(1, [["x", "y"]], ENDED)],
    verdict: events("request 1 /t.T/Echo", "data 1 a", "trailers 1 x"),
  },
  {
    section: "8.1",
    what: "HEADERS in the midst of a request that do not end it reset the stream",
    bytes: [OPEN, headers(1, [["x", "y"]])],
    verdict: stream("protocolError"),
  },
  {
    section: "8.1",
    what: "a pseudo field in trailers resets the stream",
    bytes: [OPEN, headers(1, [[":path", "/"]], ENDED)],
    verdict: stream("protocolError"),
  },
  {
    section: "8.1.1",
    what: "content that is longer than announced resets the stream",
    bytes: [headers(1, [...REQUEST, ["content-length", "1"]]), data(1, ascii("ab"))],
    verdict: stream("protocolError"),
  },
  {
    section: "8.1.1",
    what: "content that is shorter than announced resets the stream",
    bytes: [headers(1, [...REQUEST, ["content-length", "3"]]), data(1, ascii("ab"))],
    verdict: stream("protocolError"),
  },
  {
    section: "8.1.1",
    what: "announced content that does not come resets the stream",
    bytes: [headers(1, [...REQUEST, ["content-length", "3"]], ENDED)],
    verdict: stream("protocolError"),
  },
  {
    section: "8.1.1",
    what: "a content-length that is no number resets the stream",
    bytes: [headers(1, [...REQUEST, ["content-length", "+1"]])],
    verdict: stream("protocolError"),
  },
  // 8.2
  {
    section: "8.2",
    what: "a capital in a field's name resets the stream",
    bytes: [headers(1, [...REQUEST, ["X-a", "b"]])],
    verdict: stream("protocolError"),
  },
  {
    section: "8.2.1",
    what: "a space in a field's name resets the stream",
    bytes: [headers(1, [...REQUEST, ["x a", "b"]])],
    verdict: stream("protocolError"),
  },
  {
    section: "8.2.1",
    what: "an empty name resets the stream",
    bytes: [headers(1, [...REQUEST, ["", "b"]])],
    verdict: stream("protocolError"),
  },
  {
    section: "8.2.1",
    what: "a line feed in a value resets the stream",
    bytes: [headers(1, [...REQUEST, ["x", "a\nb"]])],
    verdict: stream("protocolError"),
  },
  {
    section: "8.2.1",
    what: "white space around a value resets the stream",
    bytes: [headers(1, [...REQUEST, ["x", " a"]])],
    verdict: stream("protocolError"),
  },
  {
    section: "8.2.2",
    what: "a field of HTTP/1.1's connections resets the stream",
    bytes: [headers(1, [...REQUEST, ["connection", "close"]])],
    verdict: stream("protocolError"),
  },
  {
    section: "8.2.2",
    what: "te other than trailers resets the stream",
    bytes: [headers(1, [...without("te"), ["te", "gzip"]])],
    verdict: stream("protocolError"),
  },
  // 8.3
  {
    section: "8.3",
    what: "a pseudo field after a regular one resets the stream",
    bytes: [headers(1, [...without(":path"), [":path", "/"]])],
    verdict: stream("protocolError"),
  },
  {
    section: "8.3",
    what: "an unknown pseudo field resets the stream",
    bytes: [headers(1, [[":x", "y"], ...REQUEST])],
    verdict: stream("protocolError"),
  },
  {
    section: "8.3",
    what: "an answer's pseudo field resets the stream",
    bytes: [headers(1, [[":status", "200"], ...REQUEST])],
    verdict: stream("protocolError"),
  },
  {
    section: "8.3.1",
    what: "a request without :method is none",
    bytes: [headers(1, without(":method"))],
    verdict: stream("protocolError"),
  },
  {
    section: "8.3.1",
    what: "a request without :scheme is none",
    bytes: [headers(1, without(":scheme"))],
    verdict: stream("protocolError"),
  },
  {
    section: "8.3.1",
    what: "a request without :path is none",
    bytes: [headers(1, without(":path"))],
    verdict: stream("protocolError"),
  },
  {
    section: "8.3.1",
    what: "an empty :path is none",
    bytes: [headers(1, [[":path", ""], ...without(":path")])],
    verdict: stream("protocolError"),
  },
  {
    section: "8.3.1",
    what: "a pseudo field twice resets the stream",
    bytes: [headers(1, [[":method", "GET"], ...REQUEST])],
    verdict: stream("protocolError"),
  },
  {
    section: "8.5",
    what: "CONNECT has no :path",
    bytes: [
      headers(1, [
        [":method", "CONNECT"],
        [":path", "/"],
      ]),
    ],
    verdict: stream("protocolError"),
  },
  // 10.5.1
  {
    section: "10.5.1",
    what: "a list of fields over the limit resets the stream",
    bytes: [frame(FrameType.headers, ENDED, 1, joined(block(), new Uint8Array(300).fill(0x82)))],
    verdict: stream("enhanceYourCalm"),
  },
];
