/**
 * What one connection may ask of this side, each limit with its reason. The I/O half has those that need time without traffic
 * (`grpc/limits.ts`).
 *
 * Budgets are token buckets: a burst that no honest client comes near, and a rate at which it fills again. What an honest client does
 * pays back: finished requests fill the first, DATA that is sent (which must be acknowledged by WINDOW_UPDATE) fills the second.
 */
import { invariant } from "../base/errors.js";
import { kibibytes, mebibytes } from "../base/units.js";
import { DEFAULT_FRAME_BYTES_MAX, DEFAULT_HEADER_TABLE_BYTES } from "./frames.js";

export interface Http2Limits {
  /** Streams under way: SETTINGS_MAX_CONCURRENT_STREAMS. Reset streams whose handler still works count (rapid reset). */
  readonly streamsMax: number;
  /**
   * What a client may send on a stream before it is allowed more: SETTINGS_INITIAL_WINDOW_SIZE. With `streamsMax` it bounds what
   * requests that are not whole can hold: 1,000 times 32 KiB. Larger messages are allowed in turns.
   */
  readonly streamWindowBytes: number;
  /** The same for all streams together. It only bounds what is on its way, for bytes are allowed again when they come. */
  readonly connectionWindowBytes: number;
  /** A field block's bytes, over HEADERS and all its CONTINUATIONs (continuation flood). A client's token is 1 to 4 KiB. */
  readonly headerBlockBytesMax: number;
  /** CONTINUATION frames of one block: a block of the largest size takes four full frames; empty ones count (empty-frame flood). */
  readonly continuationsMax: number;
  /**
   * A list of fields as the protocol counts it, with 32 bytes a line: SETTINGS_MAX_HEADER_LIST_SIZE. Small blocks that refer to one big
   * value again and again end here (header bomb).
   */
  readonly headerListBytesMax: number;
  /** Field lines of one list: many tiny ones cost more than their bytes (tiny entries, cookie crumbs). */
  readonly headerFieldsMax: number;
  /** The client's table at this side: SETTINGS_HEADER_TABLE_SIZE, the protocol's own default. */
  readonly headerTableBytes: number;
  /** Entries of one SETTINGS frame: six are known. */
  readonly settingsMax: number;
  /** Bytes written and not taken by the socket, past which streams wait in queues of their own. */
  readonly outputMarkBytes: number;
  /** Past this the connection ends: answers stop at the mark, so all above it was made by control frames. */
  readonly outputBytesMax: number;
  /** A stream's queue past which its sender is told to wait. */
  readonly streamQueueMarkBytes: number;
  /**
   * Streams that come to nothing, reset by the client (rapid reset) or, for the client's fault, by this side (MadeYouReset): a burst of
   * 1,000, as many as can be under way, and 200 a second. Each request that is answered gives one back.
   */
  readonly resetsBurst: number;
  readonly resetsPerSecond: number;
  /**
   * Frames that move no request on: SETTINGS (20 each, for they touch every stream), PING (5: it wants an answer), PRIORITY,
   * WINDOW_UPDATE, empty DATA, frames of unknown types and of closed streams (1 each). A DATA frame that is sent gives two back.
   */
  readonly controlsBurst: number;
  readonly controlsPerSecond: number;
}

export const HTTP2_LIMITS: Http2Limits = {
  streamsMax: 1_000,
  streamWindowBytes: kibibytes(32),
  connectionWindowBytes: mebibytes(4),
  headerBlockBytesMax: kibibytes(64),
  continuationsMax: 8,
  headerListBytesMax: kibibytes(64),
  headerFieldsMax: 256,
  headerTableBytes: DEFAULT_HEADER_TABLE_BYTES,
  settingsMax: 64,
  outputMarkBytes: kibibytes(128),
  outputBytesMax: mebibytes(1),
  streamQueueMarkBytes: kibibytes(64),
  resetsBurst: 1_000,
  resetsPerSecond: 200,
  controlsBurst: 4_000,
  controlsPerSecond: 1_000,
};

export const ControlCost = { settings: 20, ping: 5, other: 1 } as const;

invariant(
  HTTP2_LIMITS.headerBlockBytesMax >= HTTP2_LIMITS.headerListBytesMax,
  "a list of the largest size may come without compression",
);
invariant(
  HTTP2_LIMITS.headerBlockBytesMax <= HTTP2_LIMITS.continuationsMax * DEFAULT_FRAME_BYTES_MAX,
  "a block of the largest size fits into full frames",
);

/** A token bucket. Time is given, in milliseconds. */
export class Budget {
  readonly #burst: number;
  readonly #perMs: number;
  #left: number;
  #filledAt: number;

  constructor(burst: number, perSecond: number, now: number) {
    this.#burst = burst;
    this.#perMs = perSecond / 1000;
    this.#left = burst;
    this.#filledAt = now;
  }

  /** False when it is used up. */
  spend(cost: number, now: number): boolean {
    this.#left = Math.min(this.#burst, this.#left + (now - this.#filledAt) * this.#perMs) - cost;
    this.#filledAt = now;
    return this.#left >= 0;
  }

  refund(amount: number): void {
    this.#left = Math.min(this.#burst, this.#left + amount);
  }
}
