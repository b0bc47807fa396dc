/**
 * The I/O half of a connection: a socket on one side, `http2/connection.ts` on the other, calls in between.
 *
 * All that a turn of the loop makes leaves in one write: what was answered while a piece of input was read goes when the piece is read,
 * what promises answer goes when the turn is over. While a write is under way what comes gathers for the next.
 *
 * Laws:
 * - One write is under way at a time; more than the output's mark is never given to the socket.
 * - What a client does not read holds `queuedBytesMax` and the answers of calls that were under way when that was reached.
 * - After the end every call is told, and no timer or socket stays.
 */
import type { Duplex } from "node:stream";
import {
  ErrorCode,
  type FieldBlock,
  Http2Connection,
  type Http2Limits,
  type Http2Listener,
  type Http2Stream,
  OutgoingFields,
} from "../http2/index.js";
import type { BufferPool } from "./buffer-pool.js";
import { ServerCall } from "./call.js";
import { type DeadlineWheel, WheelEntry } from "./deadline-wheel.js";
import { GzipLane } from "./gzip-lane.js";
import type { CallObserver, ClientSecurity, ErrorMapper, Traffic } from "./handler.js";
import type { GrpcLimits } from "./limits.js";
import { PlainCall, type PlainHandler } from "./plain-call.js";
import type { Router } from "./route.js";
import { GrpcError, GrpcStatus } from "./status.js";

/** What a stream carries. */
export type ConnectionCall = ServerCall | PlainCall;

/** What all connections of a server share. */
export interface ConnectionHost {
  readonly limits: GrpcLimits;
  readonly http2Limits: Http2Limits;
  readonly messageBytesMax: number;
  readonly pingGapMsMin: number;
  readonly keepAliveMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly router: Router;
  readonly mapError: ErrorMapper;
  readonly observer: CallObserver | undefined;
  readonly wheel: DeadlineWheel;
  /** Requests that are no gRPC; they are refused where there is none. */
  readonly plain: PlainService | undefined;
  readonly buffers: BufferPool;
  now(): number;
  /** The time of this turn of the loop: the clock is read once in it. */
  timeOfTurn(): number;
  /** Bytes of messages that came and went. */
  readonly traffic: Traffic;
  /** Calls `flush` when the turn is over. */
  flushLater(connection: GrpcConnection): void;
  /** Whether so much input was read in this turn of the loop that others must have theirs. */
  isTurnOver(now: number): boolean;
  /** Calls `resume` in the next turn. */
  resumeLater(connection: GrpcConnection): void;
  onClosed(connection: GrpcConnection): void;
}

/** Who answers requests that are no gRPC, and how large they may be. */
export interface PlainService {
  readonly bodyBytesMax: number;
  readonly answer: PlainHandler;
}

/** Pings too many before a connection is closed (grpc-go's). */
const PING_STRIKES_MAX = 2;
/** Between two pings while no call is under way: etcd does not permit such pings, and grpc-go then wants two hours. */
const PING_GAP_IDLE_MS_MIN = 7_200_000;

const KEEP_ALIVE_PING = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 1);
const SHUTDOWN_PING = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 2);

const NO_BYTES = new Uint8Array(0);

const NOT_GRPC = OutgoingFields.of(
  { name: ":status", value: "415" },
  { name: "content-type", value: "text/plain; charset=utf-8" },
);
const NOT_GRPC_TEXT = Buffer.from(
  "this port speaks gRPC over HTTP/2; use HTTP/1.1 for /version, /health and /metrics\n",
);
const NO_FIELDS = OutgoingFields.of();

export class GrpcConnection implements Http2Listener<ConnectionCall> {
  readonly #host: ConnectionHost;
  readonly #socket: Duplex;
  readonly peer: string;
  readonly security: ClientSecurity | undefined;
  readonly #http2: Http2Connection<ConnectionCall>;
  readonly #startedAt: number;
  /** The time of the input that is being read, or of the last look. */
  now: number;
  #receiving = false;
  #flushScheduled = false;
  #writing = false;
  #writingSince = 0;
  #written: Uint8Array = NO_BYTES;
  readonly #onWritten = (): void => this.#finishWrite();

  /** Calls of this turn that have a deadline, or a client that may go on sending; most are over when the turn is. */
  #young: ServerCall[] = [];
  /** Requests whose calls wait until the client reads what it has asked for. */
  #parked: { readonly call: ServerCall; readonly message: Uint8Array }[] = [];
  #gathered = 0;
  #waitingForGrant: { readonly call: ServerCall; readonly bytes: number }[] = [];
  #gzipLane: GzipLane | undefined;

  #pingStrikes = 0;
  #lastPingAt = -Infinity;
  #answersAtPing = 0;
  #heardAt: number;
  #keepAlivePingAt: number | undefined;
  #progress = 0;
  #progressAt: number;
  #shutdownAt: number | undefined;
  #closingAt: number | undefined;
  #sweeps = 0;
  #closed = false;

  constructor(host: ConnectionHost, socket: Duplex, peer: string, security: ClientSecurity | undefined) {
    this.#host = host;
    this.#socket = socket;
    this.peer = peer;
    this.security = security;
    this.now = host.now();
    this.#startedAt = this.now;
    this.#heardAt = this.now;
    this.#progressAt = this.now;
    const { buffers } = host;
    this.#http2 = new Http2Connection(host.http2Limits, this, this.now, (bytesMin) => buffers.take(bytesMin));
    socket.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    socket.on("end", () => this.destroy());
    socket.on("error", () => this.destroy());
    socket.on("close", () => this.destroy());
    this.flush();
  }

  // ---- What calls need of it.

  get messageBytesMax(): number {
    return this.#host.messageBytesMax;
  }
  get streamWindowBytes(): number {
    return this.#host.http2Limits.streamWindowBytes;
  }
  get observer(): CallObserver | undefined {
    return this.#host.observer;
  }
  get mapError(): ErrorMapper {
    return this.#host.mapError;
  }
  get wheel(): DeadlineWheel {
    return this.#host.wheel;
  }
  get traffic(): Traffic {
    return this.#host.traffic;
  }
  get gzipLane(): GzipLane {
    return (this.#gzipLane ??= new GzipLane());
  }
  get callCount(): number {
    return this.#http2.streamCount;
  }
  /** Whether so much waits to be read that no more should be made. */
  get isCongested(): boolean {
    return this.#http2.queuedBytes > this.#host.limits.queuedBytesMax;
  }

  answer(
    stream: Http2Stream<ConnectionCall>,
    head: OutgoingFields,
    prefix: Uint8Array,
    body: Uint8Array,
    trailers: OutgoingFields,
  ): void {
    this.#http2.answer(stream, head, prefix, body, trailers);
    this.flushSoon();
  }
  respond(stream: Http2Stream<ConnectionCall>, head: OutgoingFields): void {
    this.#http2.respond(stream, head);
  }
  send(stream: Http2Stream<ConnectionCall>, prefix: Uint8Array, body: Uint8Array): boolean {
    return this.#http2.send(stream, prefix, body);
  }
  finish(stream: Http2Stream<ConnectionCall>, fields: OutgoingFields): void {
    this.#http2.finish(stream, fields);
  }
  reset(stream: Http2Stream<ConnectionCall>, code: ErrorCode): void {
    this.#http2.reset(stream, code);
    this.flushSoon();
  }
  allow(stream: Http2Stream<ConnectionCall>, bytes: number): void {
    this.#http2.allow(stream, bytes);
    this.flushSoon();
  }
  hold(): void {
    this.#http2.hold();
  }
  release(): void {
    this.#http2.release();
  }

  /** A call has given its status. */
  ended(call: ServerCall): void {
    if (call.isOver) this.wheel.cancel(call);
    else if (this.#receiving) this.#young.push(call);
    else this.#watch(call);
  }

  /** Keeps a request until the client has read enough. */
  park(call: ServerCall, message: Uint8Array): void {
    // Copied: a small message must not hold what it came in.
    this.#parked.push({ call, message: message.slice() });
  }

  /** Asks for room for a large message: now, or when those before it are whole. */
  requestGrant(call: ServerCall, bytes: number): void {
    this.#waitingForGrant.push({ call, bytes });
    this.#giveGrants();
  }

  releaseGrant(call: ServerCall): void {
    if (call.granted === 0) return;
    this.#gathered -= call.granted;
    call.granted = 0;
    this.#giveGrants();
  }

  #giveGrants(): void {
    while (this.#waitingForGrant.length > 0) {
      const { call, bytes } = this.#waitingForGrant[0]!;
      const wanted = call.isRunning && !call.isOver;
      const fits = this.#gathered === 0 || this.#gathered + bytes <= this.#host.limits.gatheredBytesMax;
      if (wanted && !fits) return;
      this.#waitingForGrant.shift();
      if (!wanted) continue;
      this.#gathered += bytes;
      call.granted = bytes;
      call.onGrant();
    }
  }

  /** The time, as near as this turn of the loop. */
  timeOfTurn(): number {
    return this.#receiving ? this.now : this.#host.timeOfTurn();
  }

  // ---- Input.

  #receive(chunk: Uint8Array): void {
    if (this.#closed || this.#closingAt !== undefined) return;
    this.now = this.#host.now();
    this.#heardAt = this.now;
    this.#receiving = true;
    this.#http2.receive(chunk, this.now);
    this.#receiving = false;
    if (this.#young.length > 0) this.#endTurn();
    this.flush();
    if (this.#closed || !this.#host.isTurnOver(this.now)) return;
    // One socket can bring two megabytes in a turn, and all of them as much each.
    this.#socket.pause();
    this.#host.resumeLater(this);
  }

  /** Reads on. */
  resume(): void {
    if (!this.#closed) this.#socket.resume();
  }

  /** Calls that the turn has not ended get their deadlines. */
  #endTurn(): void {
    const young = this.#young;
    this.#young = [];
    for (const call of young) this.#watch(call);
  }

  #watch(call: ServerCall): void {
    if (call.isOver) this.wheel.cancel(call);
    else if (!call.isRunning) {
      if (call.stream.remoteEnded) this.wheel.cancel(call);
      else this.wheel.set(call, this.#host.now() + this.#host.limits.lateClientMs);
    } else if (call.timeoutMs !== undefined) this.wheel.set(call, this.now + call.timeoutMs);
  }

  onRequest(stream: Http2Stream<ConnectionCall>, fields: FieldBlock, ended: boolean): void {
    const route = this.#host.router.routeOf(fields);
    if (!route.isGrpc) {
      this.#beginPlain(stream, fields, ended);
      return;
    }
    const call = new ServerCall(this, stream, fields, route, this.now);
    stream.user = call;
    if (route.timeoutMs !== undefined) this.#young.push(call);
    call.begin(ended);
  }

  #beginPlain(stream: Http2Stream<ConnectionCall>, fields: FieldBlock, ended: boolean): void {
    const { plain } = this.#host;
    if (plain === undefined || fields.get(":method") === "CONNECT") {
      this.#refuseOther(stream);
      return;
    }
    const call = new PlainCall(this, stream, plain.bodyBytesMax);
    stream.user = call;
    void call.begin(fields, ended, plain.answer);
  }

  /** Closes the stream of a plain answer whose client goes on sending. */
  watchLate(call: PlainCall): void {
    const { stream } = call;
    if (stream.remoteEnded || stream.closed) return;
    const late = new LateStream(() => {
      if (stream.localEnded && !stream.remoteEnded) this.reset(stream, ErrorCode.noError);
    });
    this.wheel.set(late, this.#host.now() + this.#host.limits.lateClientMs);
  }

  #refuseOther(stream: Http2Stream<ConnectionCall>): void {
    this.#http2.respond(stream, NOT_GRPC);
    this.#http2.send(stream, NO_BYTES, NOT_GRPC_TEXT);
    this.#http2.finish(stream, NO_FIELDS);
    if (!stream.remoteEnded) this.#http2.reset(stream, ErrorCode.noError);
  }

  onData(stream: Http2Stream<ConnectionCall>, bytes: Uint8Array, start: number, end: number, ended: boolean): void {
    stream.user?.receive(bytes, start, end, ended);
  }

  onTrailers(stream: Http2Stream<ConnectionCall>): void {
    stream.user?.endInput();
  }

  onReset(stream: Http2Stream<ConnectionCall>): void {
    stream.user?.abort();
  }

  onDrain(stream: Http2Stream<ConnectionCall>): void {
    stream.user?.onDrain();
  }

  /** etcd's rule (grpc-go's): pings closer than the gap are strikes; the first one after an answer is forgiven with those before. */
  onPing(): void {
    const answers = this.#http2.answerFramesSent;
    const gap = this.now - this.#lastPingAt;
    this.#lastPingAt = this.now;
    if (answers !== this.#answersAtPing) {
      this.#answersAtPing = answers;
      this.#pingStrikes = 0;
      return;
    }
    const gapMin = this.#http2.streamCount === 0 ? PING_GAP_IDLE_MS_MIN : this.#host.pingGapMsMin;
    if (gap >= gapMin) return;
    this.#pingStrikes++;
    if (this.#pingStrikes > PING_STRIKES_MAX) this.#http2.fail(ErrorCode.enhanceYourCalm, "too_many_pings");
  }

  onPong(payload: Uint8Array): void {
    if (payload[7] === KEEP_ALIVE_PING[7]) this.#keepAlivePingAt = undefined;
    if (payload[7] === SHUTDOWN_PING[7] && this.#shutdownAt !== undefined) this.#http2.refuseStreams();
  }

  // ---- Output.

  /** Writes at the end of the turn, or of the input that is being read. */
  flushSoon(): void {
    if (this.#receiving || this.#flushScheduled || this.#closed) return;
    this.#flushScheduled = true;
    this.#host.flushLater(this);
  }

  flush(): void {
    this.#flushScheduled = false;
    if (this.#closed) return;
    if (!this.#writing) {
      if (this.#parked.length > 0) this.#unpark();
      if (this.#http2.hasQueue) this.#http2.pump();
      if (this.#http2.outputBytes > 0) this.#write();
    }
    if (this.#http2.fault !== undefined) this.#beginClosing();
    else if (this.#http2.isDrained && this.#http2.outputBytes === 0) this.#beginClosing();
  }

  #write(): void {
    this.#writing = true;
    this.#writingSince = this.now;
    this.#written = this.#http2.takeOutput();
    this.#socket.write(this.#written, this.#onWritten);
  }

  #finishWrite(): void {
    this.#writing = false;
    if (!this.#closed) this.#host.buffers.give(this.#written);
    this.#written = NO_BYTES;
    this.flush();
  }

  /** Begins calls that waited, one by one: the first may make it too much again. */
  #unpark(): void {
    while (this.#parked.length > 0 && !this.isCongested) {
      const { call, message } = this.#parked.shift()!;
      call.runRequest(message);
    }
  }

  /** No more is read; what is written goes, then the socket. */
  #beginClosing(): void {
    if (this.#closingAt !== undefined) return;
    this.#closingAt = this.#host.now();
    // The farewell does not wait for a write under way: nothing comes after it.
    if (this.#http2.outputBytes > 0) this.#socket.write(this.#http2.takeOutput());
    this.#endCalls();
    this.#socket.end();
  }

  #endCalls(): void {
    this.#http2.close();
    this.#gzipLane?.clear();
    this.#parked = [];
    this.#waitingForGrant = [];
    this.#young = [];
  }

  // ---- Time, and the end.

  /** Lets calls under way end; new ones are served until the client knows. */
  shutDown(): void {
    if (this.#shutdownAt !== undefined || this.#closed) return;
    this.now = this.#host.now();
    this.#shutdownAt = this.now;
    this.#http2.announceShutdown();
    this.#http2.ping(SHUTDOWN_PING);
    this.flush();
  }

  /** What no event tells: that something has not happened. Called every `sweepMs`. */
  sweep(now: number): void {
    this.now = now;
    const { limits } = this.#host;
    if (this.#closingAt !== undefined) {
      if (now - this.#closingAt >= limits.lingerMs) this.destroy();
      return;
    }
    if (this.#shutdownAt !== undefined && now - this.#shutdownAt >= limits.lingerMs) this.#http2.refuseStreams();
    if (this.#writing && now - this.#writingSince >= limits.connectionStallMs) return this.destroy();
    this.#sweepGreeting(now);
    this.#sweepStall(now);
    this.#sweepKeepAlive(now);
    // Streams are many, and what is asked of them is counted in minutes.
    if (this.#sweeps++ % 8 === 0) this.#sweepCalls(now);
    this.flush();
  }

  #sweepGreeting(now: number): void {
    const { limits } = this.#host;
    const age = now - this.#startedAt;
    const { partialSince } = this.#http2;
    if (!this.#http2.isEstablished && age >= limits.greetingMs) {
      this.#http2.fail(ErrorCode.protocolError, "no SETTINGS came in time");
    } else if (!this.#http2.settingsAcknowledged && age >= limits.settingsMs) {
      this.#http2.fail(ErrorCode.settingsTimeout, "SETTINGS were not acknowledged in time");
    } else if (!this.#http2.hasServed && age >= limits.firstRequestMs) {
      this.#http2.fail(ErrorCode.noError, "no request came in time");
    } else if (partialSince !== undefined && now - partialSince >= limits.frameMs) {
      this.#http2.fail(ErrorCode.enhanceYourCalm, "a frame did not end in time");
    }
  }

  #sweepStall(now: number): void {
    const progress = this.#http2.dataFramesSent;
    if (progress !== this.#progress || !this.isCongested) {
      this.#progress = progress;
      this.#progressAt = now;
    } else if (now - this.#progressAt >= this.#host.limits.connectionStallMs) {
      this.#http2.fail(ErrorCode.enhanceYourCalm, "answers are not read");
    }
  }

  #sweepKeepAlive(now: number): void {
    const { keepAliveMs, keepAliveTimeoutMs } = this.#host;
    if (this.#keepAlivePingAt !== undefined) {
      if (this.#heardAt > this.#keepAlivePingAt) this.#keepAlivePingAt = undefined;
      else if (now - this.#keepAlivePingAt >= keepAliveTimeoutMs) this.destroy();
    } else if (now - this.#heardAt >= keepAliveMs && this.#http2.isEstablished) {
      this.#keepAlivePingAt = now;
      this.#http2.ping(KEEP_ALIVE_PING);
    }
  }

  #sweepCalls(now: number): void {
    const { requestStallMs, answerStallMs } = this.#host.limits;
    for (const stream of this.#http2.streams()) {
      const call = stream.user;
      if (call === undefined || stream.closed) continue;
      const waited = now - call.waitsSince;
      if (call.isRunning && waited >= requestStallMs) {
        call.refuse(new GrpcError(GrpcStatus.cancelled, "the request did not come in time"));
      } else if (!call.isRunning && waited >= answerStallMs) {
        // Not read by the client; or read, and the client has never said its own end.
        this.#http2.reset(stream, stream.localEnded ? ErrorCode.noError : ErrorCode.cancel);
      }
    }
  }

  /** Closes the socket now; calls under way are aborted. */
  destroy(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#endCalls();
    this.#socket.destroy();
    this.#host.onClosed(this);
  }
}

/** A stream that is looked at once more. */
class LateStream extends WheelEntry {
  readonly #look: () => void;

  constructor(look: () => void) {
    super();
    this.#look = look;
  }

  override onDue(): void {
    this.#look();
  }
}
