/**
 * A gRPC server over `node:http2`: takes connections that speak HTTP/2, finds the handler of each call, carries messages and statuses.
 *
 * Why not on `@grpc/grpc-js`: the same empty call costs it twice the processor time (68 µs against 35), and its texts differ from
 * those of grpc-go, which clients of etcd see (unknown methods, messages over the limit).
 *
 * Laws:
 * - A call ends once, with one status. Nothing is sent after it.
 * - A request over the limit is refused at its prefix and the client is told to stop sending.
 * - What a handler throws reaches the client through the `ErrorMapper` only.
 */
import http2 from "node:http2";
import type { Duplex } from "node:stream";
import type { Clock, Timer } from "../platform/clock.js";
import { Deframer, encodeStatusText, frameMessage, parseTimeout } from "./framing.js";
import type { CallObserver, ErrorMapper, Handler, HandlerTable, MessageStream, UnaryCall } from "./handler.js";
import { GrpcError, GrpcStatus } from "./status.js";

export interface GrpcServerOptions {
  /** Largest request, in bytes. */
  readonly messageBytesMax: number;
  /** Calls under way on one connection. */
  readonly streamsMax: number;
  /** Shortest time between two pings of a client (etcd's 5 s). Who pings more often is disconnected. */
  readonly pingGapMsMin: number;
  /** A connection this long without traffic is asked whether it lives (etcd's 2 h), and closed without an answer in time (20 s). */
  readonly keepAliveMs: number;
  readonly keepAliveTimeoutMs: number;
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
}

/** Pings too many before a connection is closed (grpc-go's). */
const PING_STRIKES_MAX = 2;

/** Credit for bytes under way, for a stream and a connection: a request of the largest size comes without a stop. */
const WINDOW_BYTES = 4 * 1024 * 1024;

/** Deadlines are rounded up to this, so that many calls share one timer. */
const DEADLINE_GRAIN_MS = 100;

const RESPONSE_HEADERS: http2.OutgoingHttpHeaders = { ":status": 200, "content-type": "application/grpc" };
const OK_TRAILERS: http2.OutgoingHttpHeaders = { "grpc-status": "0" };
/** gRPC has no use for a date; Node's types do not know that it can be left out. */
const NO_DATE = { sendDate: false } as http2.ServerStreamResponseOptions;

export class GrpcServer {
  readonly #options: GrpcServerOptions;
  readonly #dependencies: GrpcServerDependencies;
  readonly #services: ReadonlySet<string>;
  readonly #server: http2.Http2Server;
  /** With the client's address: a session forgets its socket when it closes. */
  readonly #sessions = new Map<http2.ServerHttp2Session, string>();
  readonly #calls = new Set<ServerCall>();
  #stopping = false;

  constructor(options: GrpcServerOptions, dependencies: GrpcServerDependencies) {
    this.#options = options;
    this.#dependencies = dependencies;
    this.#services = new Set([...dependencies.handlers.keys()].map((path) => path.slice(1, path.lastIndexOf("/"))));
    this.#server = http2.createServer({
      settings: { maxConcurrentStreams: options.streamsMax, initialWindowSize: WINDOW_BYTES },
      // Megabytes; Node's 10 refuses calls where a few clients read slowly.
      maxSessionMemory: 256,
    });
    this.#server.on("session", (session) => this.#onSession(session));
    this.#server.on("stream", (stream, headers) => this.#onStream(stream, headers));
    // Without this a broken connection would be an uncaught error; the session's own handler says what there is to say.
    this.#server.on("sessionError", () => undefined);
  }

  /** Serves a connection whose first bytes are HTTP/2's preface. What was read of it must have been put back. */
  accept(connection: Duplex): void {
    if (this.#stopping) connection.destroy();
    else this.#server.emit("connection", connection);
  }

  /** Calls under way. */
  get callCount(): number {
    return this.#calls.size;
  }

  /** Takes no more calls, lets those under way end, and closes them after `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    const closed = [...this.#sessions.keys()].map(
      (session) =>
        new Promise<void>((resolve) => void (session.destroyed ? resolve() : session.once("close", resolve))),
    );
    for (const session of this.#sessions.keys()) session.close();
    const timer = this.#dependencies.clock.after(graceMs, () => this.destroy());
    await Promise.all(closed);
    timer.cancel();
  }

  /** Closes everything at once; calls under way are aborted. */
  destroy(): void {
    this.#stopping = true;
    for (const call of this.#calls) call.abort("the server stops");
    for (const session of this.#sessions.keys()) session.destroy();
  }

  #onSession(session: http2.ServerHttp2Session): void {
    const { remoteAddress, remotePort } = session.socket;
    this.#sessions.set(session, `${remoteAddress ?? ""}:${remotePort ?? 0}`);
    session.setLocalWindowSize(WINDOW_BYTES);
    const keepAlive = this.#keepAlive(session);
    this.#limitPings(session);
    session.on("error", () => undefined);
    session.on("close", () => {
      keepAlive.cancel();
      this.#sessions.delete(session);
    });
  }

  #keepAlive(session: http2.ServerHttp2Session): Timer {
    const { clock } = this.#dependencies;
    const { keepAliveMs, keepAliveTimeoutMs } = this.#options;
    return clock.every(keepAliveMs, () => {
      const timer = clock.after(keepAliveTimeoutMs, () => session.destroy());
      if (!session.closed) session.ping(() => timer.cancel());
    });
  }

  #limitPings(session: http2.ServerHttp2Session): void {
    let last = -Infinity;
    let strikes = 0;
    session.on("ping", () => {
      const now = this.#dependencies.clock.now();
      strikes = now - last < this.#options.pingGapMsMin ? strikes + 1 : 0;
      last = now;
      if (strikes <= PING_STRIKES_MAX) return;
      session.goaway(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM, 0, Buffer.from("too_many_pings"));
      session.destroy();
    });
  }

  #onStream(stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders): void {
    // A stream that its client resets is no error of ours.
    stream.on("error", () => undefined);
    const type = headers["content-type"];
    if (headers[":method"] !== "POST" || type === undefined || !type.startsWith("application/grpc")) {
      stream.respond({ ":status": 415, "content-type": "text/plain" });
      stream.end("this port speaks gRPC over HTTP/2; use HTTP/1.1 for /version, /health and /metrics\n");
      return;
    }
    const path = headers[":path"] ?? "";
    const peer = (stream.session && this.#sessions.get(stream.session as http2.ServerHttp2Session)) ?? "unknown";
    const handler = this.#dependencies.handlers.get(path);
    const call = new ServerCall(stream, headers, path, peer, handler, this.#options, this.#dependencies);
    this.#calls.add(call);
    stream.on("close", () => {
      this.#calls.delete(call);
      call.abort("the client has gone");
    });
    const encoding = headers["grpc-encoding"];
    if (handler === undefined) call.fail(this.#unknown(path));
    else if (encoding !== undefined && encoding !== "identity") {
      const text = `grpc: Decompressor is not installed for grpc-encoding "${String(encoding)}"`;
      call.fail(new GrpcError(GrpcStatus.unimplemented, text));
    } else call.run(handler);
  }

  /** grpc-go's answers. */
  #unknown(path: string): GrpcError {
    const slash = path.lastIndexOf("/");
    const service = path.slice(1, slash);
    const method = path.slice(slash + 1);
    const text =
      slash < 1
        ? `malformed method name: ${JSON.stringify(path)}`
        : this.#services.has(service)
          ? `unknown method ${method} for service ${service}`
          : `unknown service ${service}`;
    return new GrpcError(GrpcStatus.unimplemented, text);
  }
}

/** After a refusal a client may send so long until its stream is closed. */
const LATE_CLIENT_MS = 100;

class ServerCall implements UnaryCall {
  readonly path: string;
  readonly peer: string;
  readonly #stream: http2.ServerHttp2Stream;
  readonly #headers: http2.IncomingHttpHeaders;
  readonly #handler: Handler | undefined;
  readonly #options: GrpcServerOptions;
  readonly #dependencies: GrpcServerDependencies;
  #abortController: AbortController | undefined;
  #abortReason: string | undefined;
  #deadline: Timer | undefined;
  #responded = false;
  #ended = false;
  #trailers = OK_TRAILERS;

  constructor(
    stream: http2.ServerHttp2Stream,
    headers: http2.IncomingHttpHeaders,
    path: string,
    peer: string,
    handler: Handler | undefined,
    options: GrpcServerOptions,
    dependencies: GrpcServerDependencies,
  ) {
    this.path = path;
    this.peer = peer;
    this.#stream = stream;
    this.#headers = headers;
    this.#handler = handler;
    this.#options = options;
    this.#dependencies = dependencies;
    if (handler !== undefined) dependencies.observer?.started(path, handler.kind);
  }

  get signal(): AbortSignal {
    if (this.#abortController === undefined) {
      this.#abortController = new AbortController();
      if (this.#abortReason !== undefined) this.#abortController.abort(new Error(this.#abortReason));
    }
    return this.#abortController.signal;
  }

  metadata(name: string): string | undefined {
    const value = this.#headers[name];
    return typeof value === "string" ? value : value?.[0];
  }

  abort(reason: string): void {
    if (this.#abortReason !== undefined) return;
    this.#abortReason = reason;
    this.#deadline?.cancel();
    this.#abortController?.abort(new Error(reason));
    if (!this.#ended) {
      this.#ended = true;
      this.#observeEnd(GrpcStatus.cancelled);
    }
  }

  run(handler: Handler): void {
    const timeout = this.#headers["grpc-timeout"];
    if (timeout !== undefined && !this.#armDeadline(String(timeout))) return;
    if (handler.kind === "bidirectional") this.#runBidirectional(handler.handle);
    else this.#runOneRequest(handler);
  }

  /** False when the call has failed with it. */
  #armDeadline(text: string): boolean {
    const timeoutMs = parseTimeout(text);
    if (timeoutMs === undefined) {
      this.fail(new GrpcError(GrpcStatus.internal, `malformed grpc-timeout: ${JSON.stringify(text)}`));
      return false;
    }
    const rounded = Math.ceil(timeoutMs / DEADLINE_GRAIN_MS) * DEADLINE_GRAIN_MS;
    // A timer cannot wait longer; a call that long has other worries.
    this.#deadline = this.#dependencies.clock.after(Math.min(rounded, 2 ** 31 - 1), () => {
      this.fail(new GrpcError(GrpcStatus.deadlineExceeded, "context deadline exceeded"));
      this.abort("the deadline has passed");
    });
    return true;
  }

  #runOneRequest(handler: Exclude<Handler, { kind: "bidirectional" }>): void {
    let seen = false;
    const deframer = new Deframer(this.#options.messageBytesMax, (message) => {
      // What follows the one request of such a call is passed over, as grpc-go does.
      if (seen) return;
      seen = true;
      if (handler.kind === "unary") this.#runUnary(handler.handle, message);
      else void this.#runServerStreaming(handler.handle, message);
    });
    this.#receive(deframer, () => {
      if (!seen) this.fail(new GrpcError(GrpcStatus.internal, "the request holds no message"));
    });
  }

  #receive(deframer: Deframer, onEnd: () => void): void {
    const stream = this.#stream;
    stream.on("data", (chunk: Uint8Array) => {
      if (this.#ended) return;
      try {
        deframer.push(chunk);
      } catch (error) {
        this.fail(error);
      }
    });
    stream.on("end", () => {
      if (this.#ended) return;
      if (deframer.midMessage) this.fail(new GrpcError(GrpcStatus.internal, "unexpected EOF"));
      else onEnd();
    });
  }

  #runUnary(handle: Extract<Handler, { kind: "unary" }>["handle"], request: Uint8Array): void {
    try {
      const answer = handle(request, this);
      if (answer === undefined) return;
      if (!(answer instanceof Promise)) {
        this.answer(answer);
        return;
      }
      answer.then(
        (message) => this.answer(message),
        (error: unknown) => this.fail(error),
      );
    } catch (error) {
      this.fail(error);
    }
  }

  answer(message: Uint8Array): void {
    if (this.#ended) return;
    this.#respond();
    this.#finish(OK_TRAILERS, GrpcStatus.ok, frameMessage(message));
  }

  async #runServerStreaming(
    handle: Extract<Handler, { kind: "serverStreaming" }>["handle"],
    request: Uint8Array,
  ): Promise<void> {
    try {
      for await (const message of handle(request, this)) {
        if (this.#ended) return;
        if (!this.#send(message)) await this.#drained();
      }
      if (this.#ended) return;
      this.#respond();
      this.#finish(OK_TRAILERS, GrpcStatus.ok);
    } catch (error) {
      this.fail(error);
    }
  }

  /** Resolves when more may be written, or nothing will be. */
  #drained(): Promise<void> {
    const stream = this.#stream;
    return new Promise((resolve) => {
      const done = (): void => {
        stream.off("drain", done);
        stream.off("close", done);
        resolve();
      };
      stream.on("drain", done);
      stream.on("close", done);
      if (stream.destroyed) done();
    });
  }

  #runBidirectional(handle: Extract<Handler, { kind: "bidirectional" }>["handle"]): void {
    const stream = this.#stream;
    const messages: MessageStream = {
      onMessage: () => undefined,
      onEnd: () => undefined,
      onDrain: () => undefined,
      send: (message) => !this.#ended && this.#send(message),
      end: (error) => {
        if (error !== undefined) this.fail(error);
        else if (!this.#ended) {
          this.#respond();
          this.#finish(OK_TRAILERS, GrpcStatus.ok);
        }
      },
      pause: () => void stream.pause(),
      resume: () => void stream.resume(),
    };
    const guarded = (run: () => void): void => {
      if (this.#ended) return;
      try {
        run();
      } catch (error) {
        this.fail(error);
      }
    };
    stream.on("drain", () => guarded(() => messages.onDrain()));
    const deframer = new Deframer(this.#options.messageBytesMax, (message) => {
      if (!this.#ended) messages.onMessage(message);
    });
    guarded(() => handle(messages, this));
    this.#receive(deframer, () => guarded(() => messages.onEnd()));
  }

  #send(message: Uint8Array): boolean {
    this.#respond();
    return this.#stream.write(frameMessage(message));
  }

  #respond(): void {
    if (this.#responded || this.#stream.destroyed) return;
    this.#responded = true;
    this.#stream.respond(RESPONSE_HEADERS, { ...NO_DATE, waitForTrailers: true });
    this.#stream.on("wantTrailers", () => this.#stream.sendTrailers(this.#trailers));
  }

  /** Ends the call with what was thrown. Does nothing when it has ended. */
  fail(error: unknown): void {
    if (this.#ended) return;
    const { status, text } = error instanceof GrpcError ? error : this.#dependencies.mapError(error);
    const trailers = { "grpc-status": String(status), "grpc-message": encodeStatusText(text) };
    if (this.#responded || this.#stream.destroyed) {
      this.#finish(trailers, status);
      return;
    }
    this.#responded = true;
    this.#stream.respond({ ...RESPONSE_HEADERS, ...trailers }, { ...NO_DATE, endStream: true });
    this.#finish(trailers, status);
  }

  #finish(trailers: http2.OutgoingHttpHeaders, status: number, last?: Uint8Array): void {
    this.#ended = true;
    this.#trailers = trailers;
    this.#deadline?.cancel();
    this.#observeEnd(status);
    const stream = this.#stream;
    if (stream.destroyed) return;
    if (last === undefined) stream.end();
    else stream.end(last);
    // A client that goes on sending is told that nobody listens; not at once, for a reset may overtake the answer (Node 22).
    if (status !== GrpcStatus.ok && !stream.readableEnded) {
      const timer = this.#dependencies.clock.after(LATE_CLIENT_MS, () => {
        if (!stream.destroyed && !stream.readableEnded) stream.close(http2.constants.NGHTTP2_NO_ERROR);
      });
      stream.once("close", () => timer.cancel());
    }
    stream.resume();
  }

  #observeEnd(status: number): void {
    if (this.#handler !== undefined) this.#dependencies.observer?.ended(this.path, this.#handler.kind, status);
  }
}
