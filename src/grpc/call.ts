/**
 * One gRPC call: from its field lines to its status.
 *
 * Most calls are one small request in one frame and one answer that the handler gives at once. Such a call makes this object and nothing
 * else: the answer goes from here into the connection's output. Whatever a call may need besides (a deframer, an abort signal, a
 * deadline in the wheel) is made when it is needed.
 *
 * Laws:
 * - A call ends once, with one status. Nothing is sent after it.
 * - A request over the limit is refused at its prefix and the client is told to stop sending.
 * - What a handler throws reaches the client through the `ErrorMapper` only.
 * - Messages reach a handler in the order in which they were sent, compressed ones too.
 */
import { readUint32BE } from "../base/bytes.js";
import { ErrorCode, type FieldBlock, type Http2Stream, type OutgoingField, OutgoingFields } from "../http2/index.js";
import type { ConnectionCall, GrpcConnection } from "./connection.js";
import { WheelEntry } from "./deadline-wheel.js";
import { Deframer, encodeStatusText, messagePrefix, PREFIX_BYTES, tooLarge, writePrefix } from "./framing.js";
import type { ClientSecurity, Handler, MessageStream, UnaryCall } from "./handler.js";
import type { Route } from "./route.js";
import { GrpcError, GrpcStatus } from "./status.js";

const OK_TRAILERS = OutgoingFields.constant(["grpc-status", "0"]);
/** The prefix under way: it is copied into the output, or by its queue, before the next is written. */
const sharedPrefix = messagePrefix(0);
/** The same with the first piece of a message behind it; a longer piece is joined with the second. */
const sharedBeginning = new Uint8Array(256);

/** What signals are aborted with. Made once: the place where an error is made tells nothing here, and finding it out costs. */
const OVER = new Error("the call is over");
const GONE = new Error("the client has gone");

type CallState =
  | "running" //
  | "ended" //   its status was given
  | "aborted"; // the client has gone, or was sent away

export class ServerCall extends WheelEntry implements UnaryCall {
  readonly #connection: GrpcConnection;
  readonly #stream: Http2Stream<ConnectionCall>;
  readonly #fields: FieldBlock;
  readonly #route: Route;
  #state: CallState = "running";
  #abortController: AbortController | undefined = undefined;
  #abortReason: Error | undefined = undefined;
  #headSent = false;
  /** The one request of a unary or server-streaming call has come. */
  #requestCame = false;
  /** Whether a handler works on, to answer later; and whether that outlives its call, which the connection counts. */
  #promised = false;
  #outlives = false;
  #deframer: Deframer | undefined = undefined;
  /** Messages that wait for those before them, or for `resume`. */
  #inbox: { readonly message: Uint8Array; readonly format: number }[] | undefined = undefined;
  #paused = false;
  #decompressing = false;
  /** Messages to the client that are being compressed. */
  #compressing = 0;
  #inputEnded = false;
  #messages: Messages | undefined = undefined;
  #onDrained: (() => void) | undefined = undefined;
  /** Bytes of the connection's budget for large messages that this call has, and whether it waits for some. */
  granted = 0;
  #asksGrant = false;
  /** When its field lines came. */
  readonly #began: number;
  /** Since when the client owes a message, or has not read its answer; `Infinity` when it owes nothing. */
  waitsSince: number;

  constructor(
    connection: GrpcConnection,
    stream: Http2Stream<ConnectionCall>,
    fields: FieldBlock,
    route: Route,
    now: number,
  ) {
    super();
    this.#connection = connection;
    this.#stream = stream;
    this.#fields = fields;
    this.#route = route;
    this.#began = now;
    this.waitsSince = now;
  }

  get path(): string {
    return this.#route.path;
  }
  get peer(): string {
    return this.#connection.peer;
  }
  get security(): ClientSecurity | undefined {
    return this.#connection.security;
  }
  get signal(): AbortSignal {
    if (this.#abortController === undefined) {
      this.#abortController = new AbortController();
      if (this.#abortReason !== undefined) this.#abortController.abort(this.#abortReason);
    }
    return this.#abortController.signal;
  }
  get stream(): Http2Stream<ConnectionCall> {
    return this.#stream;
  }
  get isRunning(): boolean {
    return this.#state === "running";
  }
  /** Whether the client has everything, or is gone. */
  get isOver(): boolean {
    return this.#stream.closed;
  }
  get timeoutMs(): number | undefined {
    return this.#route.timeoutMs;
  }

  metadata(name: string): string | undefined {
    return this.#fields.get(name);
  }

  binaryMetadata(name: string): readonly Uint8Array[] {
    // Several values may come as lines of their own or in one, between commas.
    const texts = this.#fields.all(name).flatMap((value) => value.split(","));
    return texts.map((text) => Buffer.from(text, "base64"));
  }

  /** Begins, when the field lines have come. `ended`: nothing follows. */
  begin(ended: boolean): void {
    const { handler, refusal } = this.#route;
    if (handler !== undefined) this.#connection.observer?.started(this.path, handler.kind);
    if (refusal !== undefined) this.refuse(refusal);
    else if (handler!.kind === "bidirectional") this.#runBidirectional(handler!.handle);
    if (ended) this.#endInput();
  }

  // ---- The request.

  receive(bytes: Uint8Array, start: number, end: number, ended: boolean): void {
    if (this.#state !== "running") return;
    if (this.#messages === undefined) {
      if (this.#requestCame) {
        // What follows the one request of a call is passed over, as grpc-go does.
        if (ended) this.#endInput();
        return;
      }
      const size = end - start - PREFIX_BYTES;
      const whole =
        this.#deframer === undefined && size >= 0 && bytes[start] === 0 && readUint32BE(bytes, start + 1) === size;
      if (whole) {
        this.#inputEnded = ended;
        const max = this.#connection.messageBytesMax;
        if (size > max) this.refuse(tooLarge(size, max));
        else this.#takeMessage(bytes.subarray(start + PREFIX_BYTES, end));
        return;
      }
    }
    this.#receiveParts(bytes, start, end, ended);
  }

  #receiveParts(bytes: Uint8Array, start: number, end: number, ended: boolean): void {
    this.#deframer ??= new Deframer(this.#connection.messageBytesMax, (message, format) => {
      this.#connection.releaseGrant(this);
      this.#deliver(message, format);
    });
    try {
      this.#deframer.push(bytes, start, end);
    } catch (error) {
      this.refuse(error);
      return;
    }
    if (ended) this.#endInput();
    else this.#allowMore();
  }

  /** Lets the client send on: all of a large message, in turns with others, or up to a stream's window. */
  #allowMore(): void {
    const deframer = this.#deframer!;
    if (!this.#isReading) return;
    const waits = deframer.midMessage || (this.#route.handler!.kind !== "bidirectional" && !this.#requestCame);
    this.waitsSince = waits ? this.#connection.now : Infinity;
    const window = this.#stream.receiveWindow;
    const { missingBytes } = deframer;
    const full = this.#connection.streamWindowBytes;
    if (missingBytes > full) {
      if (missingBytes > window && this.granted === 0 && !this.#asksGrant) {
        this.#asksGrant = true;
        this.#connection.requestGrant(this, missingBytes);
      }
    } else if (window < missingBytes || window * 2 < full) this.#connection.allow(this.#stream, full - window);
  }

  /** The connection has room for the rest of a large message. */
  onGrant(): void {
    this.#asksGrant = false;
    this.#connection.allow(this.#stream, (this.#deframer?.missingBytes ?? 0) - this.#stream.receiveWindow);
  }

  get #isReading(): boolean {
    if (this.#state !== "running" || this.#paused || this.#decompressing || this.#inputEnded) return false;
    return this.#route.handler!.kind === "bidirectional" || !this.#requestCame;
  }

  /** The client has said its last. */
  endInput(): void {
    this.#endInput();
  }

  #endInput(): void {
    if (this.#state !== "running") return;
    this.#inputEnded = true;
    this.waitsSince = Infinity;
    this.#readInbox();
  }

  /** Hands a message on, or keeps it until its turn. */
  #deliver(message: Uint8Array, format: number): void {
    if (this.#state !== "running") return;
    if (this.#paused || this.#decompressing) {
      // Copied: a small message must not hold what it came in.
      (this.#inbox ??= []).push({ message: message.slice(), format });
    } else if (format === 0) this.#takeMessage(message);
    else if (format > 1) {
      this.refuse(new GrpcError(GrpcStatus.internal, `grpc: received unexpected payload format ${format}`));
    } else if (!this.#route.gzip) {
      this.refuse(new GrpcError(GrpcStatus.internal, "grpc: compressed flag set with identity or empty encoding"));
    } else this.#decompress(message);
  }

  #decompress(message: Uint8Array): void {
    this.#decompressing = true;
    this.#connection.gzipLane.decompress(message, this.#connection.messageBytesMax, (result) => {
      this.#decompressing = false;
      if (this.#state !== "running") return;
      if (result instanceof GrpcError) this.refuse(result);
      else {
        this.#takeMessage(result);
        this.#readInbox();
      }
      this.#connection.flushSoon();
    });
  }

  /** What waited, then the end of the input where that has come. */
  #readInbox(): void {
    while (this.#inbox !== undefined && this.#inbox.length > 0 && !this.#paused && !this.#decompressing) {
      const { message, format } = this.#inbox.shift()!;
      this.#deliver(message, format);
    }
    if (this.#paused || this.#decompressing || this.#state !== "running") return;
    if (!this.#inputEnded) {
      if (this.#deframer !== undefined) this.#allowMore();
      return;
    }
    // What follows the one request of a call is passed over, its end as well.
    if (this.#messages === undefined && this.#requestCame) return;
    if (this.#deframer?.midMessage === true) {
      this.refuse(new GrpcError(GrpcStatus.unknown, this.#deframer.hasPrefix ? "unexpected EOF" : "EOF"));
    } else if (this.#messages !== undefined) this.#messages.ended();
    else this.refuse(new GrpcError(GrpcStatus.unknown, "EOF"));
  }

  #takeMessage(message: Uint8Array): void {
    this.#connection.traffic.receivedBytes += message.length;
    if (this.#messages !== undefined) this.#guard(() => this.#messages!.onMessage(message));
    else if (!this.#requestCame) this.#takeRequest(message);
  }

  #takeRequest(message: Uint8Array): void {
    this.#requestCame = true;
    this.waitsSince = Infinity;
    if (this.#connection.isCongested) this.#connection.park(this, message);
    else this.runRequest(message);
  }

  /** Calls the handler of one request. */
  runRequest(request: Uint8Array): void {
    if (this.#state !== "running") return;
    const handler = this.#route.handler!;
    if (handler.kind === "unary") this.#runUnary(handler.handle, request);
    else if (handler.kind === "serverStreaming") void this.#runServerStreaming(handler.handle, request);
  }

  // ---- Handlers.

  #runUnary(handle: Extract<Handler, { kind: "unary" }>["handle"], request: Uint8Array): void {
    try {
      const answer = handle(request, this);
      if (answer instanceof Promise) this.#awaitAnswer(answer);
      else if (answer !== undefined) this.#answer(answer);
      else if (this.#state === "running") this.#promised = true;
    } catch (error) {
      this.refuse(error);
    }
  }

  #awaitAnswer(answer: Promise<Uint8Array>): void {
    this.#promised = true;
    answer.then(
      (message) => this.answer(message),
      (error: unknown) => this.fail(error),
    );
  }

  answer(message: Uint8Array): void {
    if (this.#promised) this.#settle();
    this.#answer(message);
  }

  #settle(): void {
    this.#promised = false;
    if (this.#outlives) this.#connection.release();
  }

  /** The call ends while its handler works on. */
  #leaveHandler(): void {
    if (!this.#promised) return;
    this.#outlives = true;
    this.#connection.hold();
  }

  #answer(message: Uint8Array): void {
    if (this.#state !== "running") return;
    if (this.#route.gzip) {
      this.#send(message);
      this.#end(OK_TRAILERS, GrpcStatus.ok);
      return;
    }
    this.#headSent = true;
    this.#connection.traffic.sentBytes += message.length;
    this.#close(GrpcStatus.ok);
    writePrefix(sharedPrefix, message.length, false);
    this.#connection.answer(this.#stream, this.#route.head, sharedPrefix, message, OK_TRAILERS);
    this.#connection.ended(this);
  }

  async #runServerStreaming(
    handle: Extract<Handler, { kind: "serverStreaming" }>["handle"],
    request: Uint8Array,
  ): Promise<void> {
    this.#promised = true;
    try {
      for await (const message of handle(request, this)) {
        if (this.#state !== "running") break;
        if (!this.#send(message)) await this.#drained();
      }
      this.#settle();
      if (this.#state !== "running") return;
      this.#sendHead();
      this.#end(OK_TRAILERS, GrpcStatus.ok);
    } catch (error) {
      this.#settle();
      this.refuse(error);
    }
  }

  /** Resolves when more may be written, or nothing will be. */
  #drained(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#state === "running") this.#onDrained = resolve;
      else resolve();
    });
  }

  #runBidirectional(handle: Extract<Handler, { kind: "bidirectional" }>["handle"]): void {
    this.waitsSince = Infinity;
    const messages = new Messages(
      (message) => this.#state === "running" && this.#send(message),
      (head, body) => this.#state === "running" && this.#sendPieces(head, body),
      (error) => {
        if (error !== undefined) this.refuse(error);
        else if (this.#state === "running") {
          this.#sendHead();
          this.#end(OK_TRAILERS, GrpcStatus.ok);
        }
      },
      (paused) => this.#pause(paused),
      () => this.#connection.isCongested,
      (bytes) => void (this.#stream.queueMarkBytes = bytes),
    );
    this.#messages = messages;
    this.#guard(() => handle(messages, this));
  }

  #pause(paused: boolean): void {
    if (this.#paused === paused) return;
    this.#paused = paused;
    if (paused) return;
    this.#guard(() => this.#readInbox());
    this.#connection.flushSoon();
  }

  #guard(run: () => void): void {
    if (this.#state !== "running") return;
    try {
      run();
    } catch (error) {
      this.refuse(error);
    }
  }

  // ---- The answer.

  /** False: wait for `onDrain`. */
  #send(message: Uint8Array): boolean {
    this.#sendHead();
    this.#connection.traffic.sentBytes += message.length;
    if (!this.#route.gzip) return this.#sendFrame(message, false);
    this.#compressing++;
    this.#connection.gzipLane.compress(message, (bytes) => {
      this.#compressing--;
      if (this.#stream.closed) return;
      if (this.#sendFrame(bytes, true)) this.onDrain();
    });
    return false;
  }

  #sendFrame(bytes: Uint8Array, compressed: boolean): boolean {
    writePrefix(sharedPrefix, bytes.length, compressed);
    return this.#queue(sharedPrefix, bytes);
  }

  #sendPieces(head: Uint8Array, body: Uint8Array): boolean {
    if (head.length === 0) return this.#send(body);
    const beginning = PREFIX_BYTES + head.length;
    if (this.#route.gzip || beginning > sharedBeginning.length) return this.#send(Buffer.concat([head, body]));
    this.#sendHead();
    const size = head.length + body.length;
    this.#connection.traffic.sentBytes += size;
    writePrefix(sharedBeginning, size, false);
    for (let i = 0; i < head.length; i++) sharedBeginning[PREFIX_BYTES + i] = head[i]!;
    return this.#queue(sharedBeginning.subarray(0, beginning), body);
  }

  #queue(prefix: Uint8Array, body: Uint8Array): boolean {
    const more = this.#connection.send(this.#stream, prefix, body);
    this.#connection.flushSoon();
    return more;
  }

  #sendHead(): void {
    if (this.#headSent) return;
    this.#headSent = true;
    this.#connection.respond(this.#stream, this.#route.head);
    this.#connection.flushSoon();
  }

  /** A `send` that answered false may go on. */
  onDrain(): void {
    if (this.#compressing > 0) return;
    const waiting = this.#onDrained;
    this.#onDrained = undefined;
    waiting?.();
    if (this.#messages !== undefined) this.#guard(() => this.#messages!.onDrain());
  }

  fail(error: unknown): void {
    if (this.#promised) this.#settle();
    this.refuse(error);
  }

  /** Ends the call with what was thrown, whatever its handler does. Does nothing when it has ended. */
  refuse(error: unknown): void {
    if (this.#state !== "running") return;
    const { status, text } = error instanceof GrpcError ? error : this.#connection.mapError(error);
    const trailers: OutgoingField[] = [
      { name: "grpc-status", value: String(status), reused: true },
      { name: "grpc-message", value: encodeStatusText(text) },
      ...(error instanceof GrpcError ? metadataFields(error) : []),
    ];
    const fields = OutgoingFields.of(...(this.#headSent ? trailers : [...this.#route.headAlone, ...trailers]));
    this.#end(fields, status);
  }

  #end(fields: OutgoingFields, status: number): void {
    this.#close(status);
    const finish = (): void => {
      this.#connection.finish(this.#stream, fields);
      this.#connection.ended(this);
      this.#connection.flushSoon();
    };
    if (this.#compressing > 0) this.#connection.gzipLane.after(finish);
    else finish();
  }

  #close(status: number): void {
    this.#state = "ended";
    this.#inbox = undefined;
    this.waitsSince = this.#connection.now;
    this.#leaveHandler();
    this.#connection.releaseGrant(this);
    this.#wakeDrained();
    this.#observeEnd(status);
    this.#signalAbort(OVER);
  }

  #signalAbort(reason: Error): void {
    if (this.#abortReason !== undefined) return;
    this.#abortReason = reason;
    this.#abortController?.abort(reason);
  }

  /** The client has gone, or is sent away: nothing more can be told to it. */
  abort(): void {
    this.#connection.wheel.cancel(this);
    if (this.#state !== "running") return;
    this.#state = "aborted";
    this.#signalAbort(GONE);
    this.#inbox = undefined;
    this.#deframer = undefined;
    this.#leaveHandler();
    this.#connection.releaseGrant(this);
    this.#wakeDrained();
    this.#observeEnd(GrpcStatus.cancelled);
  }

  #wakeDrained(): void {
    const waiting = this.#onDrained;
    this.#onDrained = undefined;
    waiting?.();
  }

  #observeEnd(status: number): void {
    const { handler } = this.#route;
    const { observer } = this.#connection;
    if (handler === undefined || observer === undefined) return;
    observer.ended(this.path, handler.kind, status, this.#connection.timeOfTurn() - this.#began, this.peer);
  }

  /** The deadline; or, after the end, the time in which a client may still have been sending. */
  override onDue(): void {
    if (this.#state === "running") {
      this.refuse(new GrpcError(GrpcStatus.deadlineExceeded, "context deadline exceeded"));
    } else if (!this.#stream.closed && !this.#stream.remoteEnded && this.#stream.localEnded) {
      this.#connection.reset(this.#stream, ErrorCode.noError);
    }
  }
}

/** What a handler sees of both directions. */
class Messages implements MessageStream {
  onMessage: (message: Uint8Array) => void = () => undefined;
  onEnd: () => void = () => undefined;
  onDrain: () => void = () => undefined;
  readonly send: (message: Uint8Array) => boolean;
  readonly sendPieces: (head: Uint8Array, body: Uint8Array) => boolean;
  readonly raiseQueueMark: (bytes: number) => void;
  readonly #end: (error?: unknown) => void;
  readonly #pause: (paused: boolean) => void;
  readonly #congested: () => boolean;
  #endTold = false;

  constructor(
    send: (message: Uint8Array) => boolean,
    sendPieces: (head: Uint8Array, body: Uint8Array) => boolean,
    end: (error?: unknown) => void,
    pause: (paused: boolean) => void,
    congested: () => boolean,
    raiseQueueMark: (bytes: number) => void,
  ) {
    this.send = send;
    this.sendPieces = sendPieces;
    this.raiseQueueMark = raiseQueueMark;
    this.#end = end;
    this.#pause = pause;
    this.#congested = congested;
  }

  get isCongested(): boolean {
    return this.#congested();
  }

  end(error?: unknown): void {
    this.#end(error);
  }
  pause(): void {
    this.#pause(true);
  }
  resume(): void {
    this.#pause(false);
  }

  /** Tells the end of the input, once. */
  ended(): void {
    if (this.#endTold) return;
    this.#endTold = true;
    this.onEnd();
  }
}

/** What a status carries beside its text. Bytes go as base64, under names that end in `-bin`. */
function metadataFields(error: GrpcError): OutgoingField[] {
  return Object.entries(error.metadata).map(([name, value]) => ({
    name,
    value: typeof value === "string" ? value : Buffer.from(value).toString("base64").replace(/=+$/, ""),
  }));
}
