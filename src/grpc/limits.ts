/**
 * What the I/O half asks of a connection: patience in milliseconds, and bytes. `http2/limits.ts` has what can be said without a clock.
 *
 * etcd closes no connection that merely rests: a client may keep one for days (keep-alive pings ask whether it lives). So all of these
 * are about a connection that owes something: its beginning, the end of what it began, or the reading of what it asked for.
 */
import { SLICE_MS_MAX } from "../base/limits.js";
import { kibibytes, mebibytes } from "../base/units.js";
import { HTTP2_LIMITS, type Http2Limits } from "../http2/limits.js";

export interface GrpcLimits {
  readonly http2: Omit<Http2Limits, "streamsMax">;
  /** Between two looks at all connections. */
  readonly sweepMs: number;
  /** First bytes on a port that tells protocols apart by them. */
  readonly firstBytesMs: number;
  readonly tlsHandshakeMs: number;
  /** Preface and SETTINGS. */
  readonly greetingMs: number;
  /** The acknowledgement of our SETTINGS. */
  readonly settingsMs: number;
  /** The first request: a client that asks nothing of a new connection loses it, and loses nothing. */
  readonly firstRequestMs: number;
  /** A frame, or a field block, that was begun (slow drip). */
  readonly frameMs: number;
  /** Silence on a stream in the midst of a message, or before the one message of a call. */
  readonly requestStallMs: number;
  /** An answer that was given, of which nothing is read. */
  readonly answerStallMs: number;
  /** More than `queuedBytesMax` wait, and nothing moves; or a write that the socket does not finish. */
  readonly connectionStallMs: number;
  /** After our farewell, until the socket is closed by force. */
  readonly lingerMs: number;
  /** After the end of a call, until a client that goes on sending is told that nobody listens. */
  readonly lateClientMs: number;
  /** Answers that wait to be read, of one connection. Past it no further request of it is begun until some are (zero windows). */
  readonly queuedBytesMax: number;
  /** What parts of large messages may hold, of one connection: each is allowed as a whole, in turns. */
  readonly gatheredBytesMax: number;
  /** Input that is read in one turn of the loop, over all connections, in milliseconds: then others have theirs (heart-beats share it). */
  readonly turnMs: number;
  /** A buffer that was written is kept for the next write, of any connection, up to this size. */
  readonly spareBytesMax: number;
}

export const GRPC_LIMITS: GrpcLimits = {
  http2: HTTP2_LIMITS,
  sweepMs: 1_000,
  firstBytesMs: 20_000,
  tlsHandshakeMs: 10_000,
  greetingMs: 10_000,
  settingsMs: 20_000,
  firstRequestMs: 300_000,
  frameMs: 20_000,
  requestStallMs: 60_000,
  answerStallMs: 120_000,
  connectionStallMs: 60_000,
  lingerMs: 1_000,
  lateClientMs: 100,
  queuedBytesMax: mebibytes(16),
  gatheredBytesMax: mebibytes(16),
  turnMs: SLICE_MS_MAX,
  spareBytesMax: kibibytes(256),
};
