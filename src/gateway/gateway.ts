/**
 * etcd's JSON gateway: a request under `/v3/` becomes a call of the gRPC handler that stands in the table for it, so that the handler's own
 * checks hold, and the answer becomes JSON.
 *
 * Laws:
 * - A call is answered once. What is not read of an answer stops the handler that makes it; a client that goes aborts its call.
 * - An answer's status is told when its first message is there, or the error that came instead.
 * - No more of a request is kept than one message, and none over the handlers' limit.
 */
import type { Call, CallObserver, ErrorMapper, Handler, HandlerTable, MessageStream } from "../grpc/handler.js";
import { type HttpAnswer, type HttpHandler, type HttpRequest, type HttpTable, movedTo } from "../grpc/http.js";
import { GrpcError, GrpcStatus } from "../grpc/status.js";
import type { Clock } from "../platform/clock.js";
import { AnswerLines } from "./answer-lines.js";
import { GatewayCall, GONE, timeoutOf } from "./gateway-call.js";
import { JsonError, type JsonDocument, JsonReader } from "./json-reader.js";
import { messageFromJson } from "./json-to-message.js";
import { jsonInSlices, jsonOf } from "./message-to-json.js";
import { GATEWAY_ROUTES, gatewayPath, type GatewayRoute } from "./routes.js";

export interface GatewayDependencies {
  readonly clock: Clock;
  readonly handlers: HandlerTable;
  readonly mapError: ErrorMapper;
  readonly observer?: CallObserver;
}

export interface GatewayOptions {
  /** Largest message of a request, in bytes: as the gRPC server has it. */
  readonly messageBytesMax: number;
}

/** How much longer than its message a request's JSON may be: base64 takes a third more, and space and names the rest. */
const JSON_BYTES_FACTOR = 2;
const JSON_BYTES_MORE = 64 * 1024;

/** HTTP's status for gRPC's, as grpc-gateway has it. */
const HTTP_STATUS: Readonly<Record<number, number>> = {
  [GrpcStatus.ok]: 200,
  [GrpcStatus.cancelled]: 408,
  [GrpcStatus.unknown]: 500,
  [GrpcStatus.invalidArgument]: 400,
  [GrpcStatus.deadlineExceeded]: 504,
  [GrpcStatus.notFound]: 404,
  [GrpcStatus.alreadyExists]: 409,
  [GrpcStatus.permissionDenied]: 403,
  [GrpcStatus.resourceExhausted]: 429,
  [GrpcStatus.failedPrecondition]: 400,
  [GrpcStatus.aborted]: 409,
  [GrpcStatus.outOfRange]: 400,
  [GrpcStatus.unimplemented]: 501,
  [GrpcStatus.internal]: 500,
  [GrpcStatus.unavailable]: 503,
  [GrpcStatus.dataLoss]: 500,
  [GrpcStatus.unauthenticated]: 401,
};

const JSON_TYPE = { "content-type": "application/json" };
/** What gRPC's answers begin with, told as grpc-gateway tells metadata. */
const SERVED = { ...JSON_TYPE, "grpc-metadata-content-type": "application/grpc" };

const NOT_FOUND = new GrpcError(GrpcStatus.notFound, "Not Found");
const WRONG_METHOD = new GrpcError(GrpcStatus.unimplemented, "Method Not Allowed");

export class Gateway implements HttpTable {
  readonly #clock: Clock;
  readonly #handlers: HandlerTable;
  readonly #mapError: ErrorMapper;
  readonly #observer: CallObserver | undefined;
  readonly #messageBytesMax: number;
  readonly #serve: HttpHandler = (request) => this.#answer(request);

  constructor({ messageBytesMax }: GatewayOptions, { clock, handlers, mapError, observer }: GatewayDependencies) {
    this.#clock = clock;
    this.#handlers = handlers;
    this.#mapError = mapError;
    this.#observer = observer;
    this.#messageBytesMax = messageBytesMax;
  }

  /** Bytes of JSON that one message may have. */
  get jsonBytesMax(): number {
    return this.#messageBytesMax * JSON_BYTES_FACTOR + JSON_BYTES_MORE;
  }

  /** Serves every path under `/v3/`, and refuses those that are none. */
  get(path: string): HttpHandler | undefined {
    if (path === "/v3") return (request) => movedTo("/v3/", request);
    return gatewayPath(path) === undefined ? undefined : this.#serve;
  }

  async #answer(request: HttpRequest): Promise<HttpAnswer> {
    try {
      const route = routeOf(request);
      const handler = this.#handlers.get(route.path);
      if (handler === undefined) {
        throw new GrpcError(GrpcStatus.unimplemented, `unknown method ${route.path.split("/").at(-1)}`);
      }
      return await this.#call(request, route, handler);
    } catch (error) {
      return this.#refusal(error);
    }
  }

  async #call(request: HttpRequest, route: GatewayRoute, handler: Handler): Promise<HttpAnswer> {
    const timeoutMs = timeoutOf(request);
    const call = new GatewayCall(route.path, request, timeoutMs, this.#clock);
    const observed = new ObservedCall(this.#observer, handler, call, this.#clock);
    try {
      if (handler.kind === "bidirectional") return await this.#converse(request, route, handler.handle, call, observed);
      const message = await this.#requestMessage(request, route);
      if (handler.kind === "serverStreaming") return await this.#stream(route, handler.handle, message, call, observed);
      const answer = await runUnary(handler.handle, message, call);
      const body = await jsonInSlices(route.response, answer, this.#clock);
      observed.end(GrpcStatus.ok);
      return { status: 200, headers: SERVED, body };
    } catch (error) {
      call.end();
      observed.end(this.#told(error).status);
      throw error;
    }
  }

  /** The one message of a request: what follows it is not looked at, as in etcd. */
  async #requestMessage(request: HttpRequest, route: GatewayRoute): Promise<Uint8Array> {
    const isForm = request.header("content-type") === FORM && (request.header(OVERRIDE) ?? "") !== "";
    // Such a request's body has been read as a form.
    const document = isForm ? undefined : await new Documents(request, this.jsonBytesMax).next();
    return document === undefined ? new Uint8Array(0) : this.#messageOf(route, document);
  }

  #messageOf(route: GatewayRoute, document: JsonDocument): Uint8Array {
    const message = messageFromJson(route.request, document);
    const max = this.#messageBytesMax;
    if (message.length > max) {
      const text = `grpc: received message larger than max (${message.length} vs. ${max})`;
      throw new GrpcError(GrpcStatus.resourceExhausted, text);
    }
    return message;
  }

  async #stream(
    route: GatewayRoute,
    handle: Extract<Handler, { kind: "serverStreaming" }>["handle"],
    message: Uint8Array,
    call: GatewayCall,
    observed: ObservedCall,
  ): Promise<HttpAnswer> {
    if (call.isOver) throw GONE;
    const failed = new Promise<never>((_, reject) => (call.onFailure = reject));
    failed.catch(() => undefined); // it may come between two messages
    const messages = handle(message, call)[Symbol.asyncIterator]();
    const next = (): Promise<IteratorResult<Uint8Array>> => Promise.race([messages.next(), failed]);
    const leave = (): void => {
      call.end();
      // It may be in the midst of a message, which nobody waits for.
      void messages.return?.().catch(() => undefined);
    };
    let first: IteratorResult<Uint8Array>;
    try {
      first = await next();
    } catch (error) {
      leave();
      observed.end(this.#told(error).status);
      return this.#failedStream(error);
    }
    const body = this.#lines(route, first, next, leave, observed);
    return { status: 200, headers: first.done === true ? {} : SERVED, body };
  }

  async *#lines(
    route: GatewayRoute,
    first: IteratorResult<Uint8Array>,
    next: () => Promise<IteratorResult<Uint8Array>>,
    leave: () => void,
    observed: ObservedCall,
  ): AsyncGenerator<Uint8Array> {
    try {
      for (let result = first; result.done !== true; result = await next()) {
        yield Buffer.from(lineOf(await jsonInSlices(route.response, result.value, this.#clock)));
      }
      observed.end(GrpcStatus.ok);
    } catch (error) {
      observed.end(this.#told(error).status);
      if (error !== GONE) yield Buffer.from(this.#errorLine(error));
    } finally {
      observed.end(GrpcStatus.cancelled); // where the client has left
      leave();
    }
  }

  /** Both directions: requests come as JSON values that follow one another, answers go as lines. */
  async #converse(
    request: HttpRequest,
    route: GatewayRoute,
    handle: Extract<Handler, { kind: "bidirectional" }>["handle"],
    call: GatewayCall,
    observed: ObservedCall,
  ): Promise<HttpAnswer> {
    return new Promise((resolve) => {
      if (call.isOver) throw GONE;
      const lines = new AnswerLines();
      const input = new Input();
      let isAnswered = false;
      let isEnded = false;
      const begin = (headers: Readonly<Record<string, string>>): void => {
        if (isAnswered) return;
        isAnswered = true;
        resolve({ status: 200, headers, body: lines });
      };
      const end = (error?: unknown): void => {
        if (isEnded) return;
        isEnded = true;
        call.end();
        input.resume();
        observed.end(error === undefined ? GrpcStatus.ok : this.#told(error).status);
        if (error !== undefined && !isAnswered) {
          isAnswered = true;
          resolve(error instanceof JsonError ? this.#refusal(error) : this.#failedStream(error));
          return;
        }
        if (error !== undefined) lines.put(this.#errorLine(error));
        begin({});
        lines.end();
      };
      const send = (message: Uint8Array): boolean => {
        if (call.isOver) return false;
        const more = lines.put(lineOf(jsonOf(route.response, message)));
        begin(SERVED);
        return more;
      };
      const stream: MessageStream = {
        onMessage: () => undefined,
        onEnd: () => undefined,
        onDrain: () => undefined,
        send,
        sendPieces: (head, body) => send(Buffer.concat([head, body])),
        get isCongested() {
          return lines.isFull;
        },
        raiseQueueMark: (bytes) => lines.raiseMark(bytes),
        end,
        pause: () => input.pause(),
        resume: () => input.resume(),
      };
      call.onFailure = end;
      lines.onDrain = () => stream.onDrain();
      lines.onLeave = () => end(GONE);
      try {
        handle(stream, call);
      } catch (error) {
        end(error);
        return;
      }
      void this.#feed(new Documents(request, this.jsonBytesMax), route, stream, input, call, end);
    });
  }

  /** Hands a client's messages on, each when the handler takes it. */
  async #feed(
    documents: Documents,
    route: GatewayRoute,
    stream: MessageStream,
    input: Input,
    call: GatewayCall,
    end: (error: unknown) => void,
  ): Promise<void> {
    let count = 0;
    try {
      for (;;) {
        const document = await documents.next();
        await input.opened();
        if (call.isOver) return;
        if (document === undefined) break;
        stream.onMessage(this.#messageOf(route, document));
        count++;
      }
      stream.onEnd();
    } catch (error) {
      if (call.isOver) return;
      // What comes later and is wrong ends what the client says, and nothing else, as in etcd; the first is told, where etcd is silent.
      if (error instanceof JsonError && count > 0) stream.onEnd();
      else end(error);
    }
  }

  #told(error: unknown): { readonly status: number; readonly text: string } {
    if (error instanceof JsonError) return { status: GrpcStatus.invalidArgument, text: error.detail };
    return this.#mapError(error);
  }

  #refusal(error: unknown): HttpAnswer {
    const { status, text } = this.#told(error);
    // `error` is what clients of older gateways look for.
    const body = JSON.stringify({ error: text, code: status, message: text });
    return { status: HTTP_STATUS[status] ?? 500, headers: JSON_TYPE, body };
  }

  /** Of a stream that fails before its first message. */
  #failedStream(error: unknown): HttpAnswer {
    return { status: HTTP_STATUS[this.#told(error).status] ?? 500, headers: JSON_TYPE, body: this.#errorLine(error) };
  }

  /** The last line of an answer that fails in its midst; here, too, with what older gateways say. */
  #errorLine(error: unknown): string {
    const { status, text } = this.#told(error);
    const http_code = HTTP_STATUS[status] ?? 500;
    return `${JSON.stringify({ error: { code: status, message: text, grpc_code: status, http_code } })}\n`;
  }
}

const FORM = "application/x-www-form-urlencoded";
const OVERRIDE = "x-http-method-override";

/** @throws GrpcError for a path that is none, and for another method than POST */
function routeOf(request: HttpRequest): GatewayRoute {
  const route = GATEWAY_ROUTES.get(gatewayPath(request.path)!);
  if (route === undefined) throw NOT_FOUND;
  const override = request.header("content-type") === FORM ? request.header(OVERRIDE)?.toUpperCase() : undefined;
  const method = request.method === "POST" ? override || "POST" : request.method;
  if (method !== "POST") throw WRONG_METHOD;
  return route;
}

const lineOf = (json: string): string => `{"result":${json}}\n`;

async function runUnary(
  handle: Extract<Handler, { kind: "unary" }>["handle"],
  message: Uint8Array,
  call: GatewayCall,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    call.onAnswer = resolve;
    call.onFailure = reject;
    if (call.isOver) throw GONE;
    try {
      const answer = handle(message, call);
      if (answer instanceof Promise) {
        answer.then(
          (found) => call.answer(found),
          (error: unknown) => call.fail(error),
        );
      } else if (answer !== undefined) call.answer(answer);
    } catch (error) {
      call.fail(error);
    }
  });
}

/** A call for the metrics: its end is told once. */
class ObservedCall {
  readonly #end: ((status: number) => void) | undefined;
  #isEnded = false;

  constructor(observer: CallObserver | undefined, { kind }: Handler, { path, peer }: Call, clock: Clock) {
    observer?.started(path, kind);
    const began = clock.now();
    this.#end = observer && ((status) => observer.ended(path, kind, status, clock.now() - began, peer));
  }

  end(status: number): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#end?.(status);
  }
}

/** Whether a handler takes messages now. */
class Input {
  #isPaused = false;
  #waiting: (() => void)[] = [];

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  async opened(): Promise<void> {
    while (this.#isPaused) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }
}

/** The JSON values of a request's body, one after the other. */
class Documents {
  readonly #reader = new JsonReader();
  readonly #pieces: AsyncIterator<Uint8Array>;
  readonly #bytesMax: number;
  #count = 0;

  constructor(request: HttpRequest, bytesMax: number) {
    this.#bytesMax = bytesMax;
    // Between two values a client may be silent.
    const owes = (): boolean => this.#count === 0 || this.#reader.isInValue;
    this.#pieces = request.pieces(owes)[Symbol.asyncIterator]();
  }

  /** @throws JsonError for what is no JSON, GrpcError for more of it than may be */
  async next(): Promise<JsonDocument | undefined> {
    for (;;) {
      const document = this.#reader.next();
      if (document !== undefined) {
        this.#count++;
        return document;
      }
      if (this.#reader.heldBytes > this.#bytesMax) {
        throw new GrpcError(GrpcStatus.resourceExhausted, `the request's JSON is larger than ${this.#bytesMax} bytes`);
      }
      const piece = await this.#pieces.next();
      if (piece.done === true) return this.#reader.last();
      this.#reader.push(piece.value);
    }
  }
}
