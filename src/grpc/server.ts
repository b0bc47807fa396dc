/**
 * A gRPC server over HTTP/2 of our own (`src/http2/`): takes sockets, finds the handler of each call, carries messages and statuses.
 *
 * Why our own: the same empty call costs `node:http2` several times the processor time, and its texts, limits and memory are not ours to
 * choose (docs/decisions/grpc-transport.md). Unknown methods and messages over the limit are answered in grpc-go's words, which clients
 * of etcd see.
 *
 * A server has two timers, however many connections and calls there are: the wheel of deadlines and the sweep.
 */
import type { Duplex } from "node:stream";
import type { Clock, Timer } from "../platform/clock.js";
import { BufferPool } from "./buffer-pool.js";
import { type ConnectionHost, GrpcConnection, type PlainService } from "./connection.js";
import { DeadlineWheel } from "./deadline-wheel.js";
import type { CallObserver, ClientSecurity, ErrorMapper, HandlerTable, Traffic } from "./handler.js";
import { GRPC_LIMITS, type GrpcLimits } from "./limits.js";
import { Router } from "./route.js";

export interface GrpcServerOptions {
  /** Largest request, in bytes. */
  readonly messageBytesMax: number;
  /** Calls under way on one connection. */
  readonly streamsMax: number;
  /** Shortest time between two pings of a client with calls under way (etcd's 5 s). Who pings more often is disconnected. */
  readonly pingGapMsMin: number;
  /** A connection this long without traffic is asked whether it lives (etcd's 2 h), and closed without an answer in time (20 s). */
  readonly keepAliveMs: number;
  readonly keepAliveTimeoutMs: number;
  /** Whether messages may be compressed with gzip; a client that compresses is answered so. They may where left out, as in etcd. */
  readonly gzip?: boolean;
  readonly limits?: GrpcLimits;
}

export const GRPC_SERVER_DEFAULTS: Omit<GrpcServerOptions, "messageBytesMax"> = {
  streamsMax: 1000,
  pingGapMsMin: 5000,
  keepAliveMs: 7_200_000,
  keepAliveTimeoutMs: 20_000,
};

export interface GrpcServerDependencies {
  readonly clock: Clock;
  readonly handlers: HandlerTable;
  readonly mapError: ErrorMapper;
  readonly observer?: CallObserver;
  /** Answers requests over HTTP/2 that are no gRPC: an `HttpServer`. They are refused with a sentence where there is none. */
  readonly plain?: PlainService;
}

export class GrpcServer {
  readonly #clock: Clock;
  readonly #wheel: DeadlineWheel;
  readonly #host: ConnectionHost;
  readonly #connections = new Set<GrpcConnection>();
  /** Bytes of messages since it began, over all connections. */
  readonly traffic: Traffic = { receivedBytes: 0, sentBytes: 0 };
  /** Connections that have something to write when the turn is over. */
  #toFlush: GrpcConnection[] = [];
  #turnEnds = false;
  /** The time of this turn; undefined while nobody has asked for it. */
  #turnTime: number | undefined;
  /** When the first input of this turn came; undefined before. */
  #turnBegan: number | undefined;
  /** Connections that have had their share of this turn. */
  #toResume: GrpcConnection[] = [];
  #sweeper: Timer | undefined;
  #stopping = false;
  #onQuiet: (() => void) | undefined;

  constructor(options: GrpcServerOptions, dependencies: GrpcServerDependencies) {
    const { clock, handlers, mapError, observer, plain } = dependencies;
    const { streamsMax, messageBytesMax, pingGapMsMin, keepAliveMs, keepAliveTimeoutMs } = options;
    const { gzip = true, limits = GRPC_LIMITS } = options;
    this.#clock = clock;
    this.#wheel = new DeadlineWheel(clock);
    this.#host = {
      limits,
      http2Limits: { ...limits.http2, streamsMax },
      messageBytesMax,
      pingGapMsMin,
      keepAliveMs,
      keepAliveTimeoutMs,
      router: new Router(handlers, gzip),
      mapError,
      observer,
      wheel: this.#wheel,
      buffers: new BufferPool(limits.spareBytesMax),
      plain: plain && { bodyBytesMax: plain.bodyBytesMax, answer: async (...request) => plain.answer(...request) },
      now: () => clock.now(),
      timeOfTurn: () => this.#timeOfTurn(),
      traffic: this.traffic,
      flushLater: (connection) => this.#flushLater(connection),
      isTurnOver: (now) => this.#isTurnOver(now),
      resumeLater: (connection) => void this.#toResume.push(connection),
      onClosed: (connection) => this.#onClosed(connection),
    };
  }

  /** Serves a connection whose first bytes are HTTP/2's preface. What was read of it must have been put back. */
  accept(connection: Duplex, security?: ClientSecurity): void {
    if (this.#stopping) {
      connection.destroy();
      return;
    }
    const { remoteAddress, remotePort } = connection as { remoteAddress?: string; remotePort?: number };
    const peer = `${remoteAddress ?? ""}:${remotePort ?? 0}`;
    this.#connections.add(new GrpcConnection(this.#host, connection, peer, security));
    this.#sweeper ??= this.#clock.every(this.#host.limits.sweepMs, () => this.#sweep());
  }

  /** What it, and the port it serves, asks of connections. */
  get limits(): GrpcLimits {
    return this.#host.limits;
  }

  /** Calls under way. */
  get callCount(): number {
    let count = 0;
    for (const connection of this.#connections) count += connection.callCount;
    return count;
  }

  /** Takes no more calls, lets those under way end, and closes them after `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    for (const connection of this.#connections) connection.shutDown();
    if (this.#connections.size > 0) {
      const quiet = new Promise<void>((resolve) => (this.#onQuiet = resolve));
      const timer = this.#clock.after(graceMs, () => this.destroy());
      await quiet;
      timer.cancel();
    }
    this.#wheel.stop();
  }

  /** Closes everything at once; calls under way are aborted. */
  destroy(): void {
    this.#stopping = true;
    for (const connection of this.#connections) connection.destroy();
    this.#wheel.stop();
  }

  #flushLater(connection: GrpcConnection): void {
    this.#toFlush.push(connection);
    this.#endTurnSoon();
  }

  #timeOfTurn(): number {
    this.#endTurnSoon();
    return (this.#turnTime ??= this.#clock.now());
  }

  #endTurnSoon(): void {
    if (this.#turnEnds) return;
    this.#turnEnds = true;
    setImmediate(() => this.#flushAll());
  }

  #flushAll(): void {
    this.#turnEnds = false;
    this.#turnTime = undefined;
    const connections = this.#toFlush;
    this.#toFlush = [];
    for (const connection of connections) connection.flush();
  }

  /** `now`: when the input that was just read came. */
  #isTurnOver(now: number): boolean {
    if (this.#turnBegan === undefined) {
      this.#turnBegan = now;
      setImmediate(() => this.#beginTurn());
    }
    return this.#clock.now() - this.#turnBegan >= this.#host.limits.turnMs;
  }

  #beginTurn(): void {
    this.#turnBegan = undefined;
    const connections = this.#toResume;
    this.#toResume = [];
    for (const connection of connections) connection.resume();
  }

  #sweep(): void {
    const now = this.#clock.now();
    for (const connection of this.#connections) connection.sweep(now);
  }

  #onClosed(connection: GrpcConnection): void {
    this.#connections.delete(connection);
    if (this.#connections.size > 0) return;
    this.#sweeper?.cancel();
    this.#sweeper = undefined;
    this.#onQuiet?.();
  }
}
