/**
 * Plain HTTP/1.1 beside gRPC: handlers by path, over `node:http`. A handler may answer at once, or piece by piece while it reads; a gate
 * looks at every request first; a connection that asks to become another one (a websocket) is handed on.
 *
 * Laws:
 * - No more of a body is gathered than the limit; no piece of an answer is asked for before the client has taken those before it.
 * - A client that does not finish its body, or does not read its answer, loses its connection in time (`limits.ts`).
 * - When a client has gone its request's signal is aborted: whoever makes an answer in pieces ends it then.
 */
import http from "node:http";
import type { Duplex } from "node:stream";
import type { Clock, Timer } from "../platform/clock.js";
import type { ClientSecurity } from "./handler.js";
import { GRPC_LIMITS, type GrpcLimits } from "./limits.js";

/** What a request says before its body. */
export interface HttpHead {
  readonly method: string;
  /** Without the query, percent signs decoded. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly peer: string;
  /** Absent without TLS. */
  readonly security?: ClientSecurity | undefined;
  header(name: string): string | undefined;
}

export interface HttpRequest extends HttpHead {
  /** Aborted when the client has gone before its answer was whole. */
  readonly signal: AbortSignal;
  /** All of the body; rejects when it is over the server's limit. */
  body(): Promise<Uint8Array>;
  /**
   * The body as it comes, instead: for a handler that answers meanwhile. No more is read than is asked for. `owes` tells whether the client has
   * to send more soon; while it does not, it may be silent. Rejects when the client has gone.
   */
  pieces(owes: () => boolean): AsyncIterable<Uint8Array>;
}

/** A request as its transport knows it: where it goes is looked at in one place. */
export type HttpTransport = Omit<HttpRequest, "path" | "query">;

export interface HttpAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** In pieces: each is asked for when the client can take it. */
  readonly body: string | Uint8Array | AsyncIterable<Uint8Array>;
}

export type HttpHandler = (request: HttpRequest) => HttpAnswer | Promise<HttpAnswer>;

/** Handlers by path: a map, or whoever else finds one. */
export interface HttpTable {
  get(path: string): HttpHandler | undefined;
}

/** What the gate says of a request. */
export interface GateVerdict {
  /** Headers of the answer, whoever gives it. */
  readonly headers: Readonly<Record<string, string>>;
  /** Given at once: the request goes no further. */
  readonly answer?: HttpAnswer;
}
export type HttpGate = (head: HttpHead) => GateVerdict;

/** A connection that asks to become another one. Its head is read, and `first` is what came behind it. */
export interface HttpUpgrade extends HttpHead {
  readonly request: http.IncomingMessage;
  readonly socket: Duplex;
  readonly first: Buffer;
}
/** Takes the connection over, and answers true; false: it is no upgrade for this one, and is served as any other request. */
export type UpgradeHandler = (upgrade: HttpUpgrade) => boolean;

/** An answer as Go's `http.Error` gives it: plain text with a line's end. */
export function plainAnswer(
  status: number,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): HttpAnswer & { readonly body: string } {
  return {
    status,
    headers: { "content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff", ...headers },
    body: `${text}\n`,
  };
}

export interface HttpServerOptions {
  readonly bodyBytesMax: number;
  readonly gate?: HttpGate;
  readonly upgrade?: UpgradeHandler;
  readonly limits?: Pick<GrpcLimits, "sweepMs" | "requestStallMs" | "answerStallMs">;
}

/** A connection that has not sent a whole head after this time is closed; so is one that waits so long for its next request. */
const HEAD_MS = 60_000;

/**
 * Node's own server, never listening: connections are handed to it. Its guards start with listening, so those that matter are here:
 * a time for the head of a request, the sweep, and the knowledge of who is in the midst of one.
 */
export class HttpServer {
  readonly #server: http.Server;
  readonly #clock: Clock;
  readonly #table: HttpTable;
  readonly #options: HttpServerOptions;
  /** Each connection with the timer that waits for the head of its request; undefined while one is answered. */
  readonly #connections = new Map<Duplex, Timer | undefined>();
  readonly #exchanges = new Set<Exchange>();
  #sweeper: Timer | undefined;
  readonly #security = new WeakMap<Duplex, ClientSecurity>();
  #stopping = false;
  #onQuiet: (() => void) | undefined;

  constructor(options: HttpServerOptions, dependencies: { readonly clock: Clock; readonly table: HttpTable }) {
    this.#clock = dependencies.clock;
    this.#table = dependencies.table;
    this.#options = options;
    this.#server = http.createServer({ keepAliveTimeout: 5000 }, (request, response) => {
      this.#begin(request.socket);
      const exchange = new Exchange(
        request,
        response,
        this.#security.get(request.socket),
        options.bodyBytesMax,
        this.#clock,
      );
      this.#exchanges.add(exchange);
      response.on("close", () => {
        this.#exchanges.delete(exchange);
        this.#end(request.socket);
      });
      if (this.#stopping) response.setHeader("connection", "close");
      void exchange.serve((transport) => this.#answer(request.url ?? "/", transport));
    });
    if (options.upgrade !== undefined) {
      this.#server.on("upgrade", (request, socket, first) => this.#upgrade(request, socket, first));
    }
  }

  /** Largest body of a request. */
  get bodyBytesMax(): number {
    return this.#options.bodyBytesMax;
  }

  /** Answers a request that came another way (HTTP/2). Never rejects. */
  async answer(target: string, request: HttpTransport): Promise<HttpAnswer> {
    return this.#answer(target, request);
  }

  /** Serves a connection; what was read of it must have been put back. */
  accept(connection: Duplex, security?: ClientSecurity): void {
    if (this.#stopping) {
      connection.destroy();
      return;
    }
    if (security !== undefined) this.#security.set(connection, security);
    this.#connections.set(
      connection,
      this.#clock.after(HEAD_MS, () => connection.destroy()),
    );
    this.#sweeper ??= this.#clock.every((this.#options.limits ?? GRPC_LIMITS).sweepMs, () => this.#sweep());
    connection.on("close", () => {
      this.#connections.get(connection)?.cancel();
      this.#connections.delete(connection);
      if (this.#connections.size > 0) return;
      this.#sweeper?.cancel();
      this.#sweeper = undefined;
      this.#onQuiet?.();
    });
    this.#server.emit("connection", connection);
  }

  #begin(connection: Duplex): void {
    this.#connections.get(connection)?.cancel();
    this.#connections.set(connection, undefined);
  }

  #end(connection: Duplex): void {
    if (!this.#connections.has(connection)) return;
    if (this.#stopping) connection.destroy();
    else
      this.#connections.set(
        connection,
        this.#clock.after(HEAD_MS, () => connection.destroy()),
      );
  }

  #sweep(): void {
    const now = this.#clock.now();
    const { requestStallMs, answerStallMs } = this.#options.limits ?? GRPC_LIMITS;
    for (const exchange of this.#exchanges) exchange.sweep(now, requestStallMs, answerStallMs);
  }

  async #answer(target: string, transport: HttpTransport): Promise<HttpAnswer> {
    try {
      const request = requestOf(target, transport);
      const verdict = this.#options.gate?.(request);
      if (verdict === undefined) return await this.#find(request);
      const { status, headers, body } = verdict.answer ?? (await this.#find(request));
      return { status, headers: { ...verdict.headers, ...headers }, body };
    } catch (error) {
      if (error instanceof BadTarget) return BAD_REQUEST;
      // A handler answers its own errors; what comes here is a bug. No stack leaves the house.
      return plainAnswer(500, "Internal Server Error");
    }
  }

  #find(request: HttpRequest): HttpAnswer | Promise<HttpAnswer> {
    const cleaned = cleanPath(request.path);
    if (cleaned !== request.path) return movedTo(cleaned, request);
    return this.#table.get(request.path)?.(request) ?? plainAnswer(404, "404 page not found");
  }

  #upgrade(request: http.IncomingMessage, socket: Duplex, first: Buffer): void {
    this.#begin(socket);
    try {
      const head = requestOf(request.url ?? "/", headOf(request, this.#security.get(socket)));
      const isRefused = this.#options.gate?.(head).answer !== undefined;
      if (!isRefused && this.#options.upgrade!({ ...head, request, socket, first })) return;
    } catch {
      // Whatever is wrong with it is told by the way that it takes now.
    }
    // Node has let go of the connection. It begins once more, without the wish: a client that offers HTTP/2 (curl) sends a body behind it.
    socket.unshift(Buffer.concat([Buffer.from(headWithoutUpgrade(request), "latin1"), first]));
    this.#server.emit("connection", socket);
  }

  /** Closes connections that wait for a request now, and the others when they are answered or after `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    for (const [connection, waiting] of this.#connections) if (waiting !== undefined) connection.destroy();
    if (this.#connections.size === 0) return;
    const quiet = new Promise<void>((resolve) => (this.#onQuiet = resolve));
    const timer = this.#clock.after(graceMs, () => this.destroy());
    await quiet;
    timer.cancel();
  }

  destroy(): void {
    this.#stopping = true;
    for (const connection of this.#connections.keys()) connection.destroy();
  }
}

/** A request's target is none. */
class BadTarget extends Error {
  override readonly name = "BadTarget";
}

/** Go's words for it. */
const BAD_REQUEST: HttpAnswer = {
  status: 400,
  headers: { "content-type": "text/plain; charset=utf-8", connection: "close" },
  body: "400 Bad Request",
};

/** Go's server sends whoever asks for a path with `//`, `/./` or `/../` in it to the path that is meant. */
function cleanPath(path: string): string {
  if (!/\/(?:\/|\.\.?(?:\/|$))/.test(path)) return path;
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}${path.endsWith("/") && parts.length > 0 ? "/" : ""}`;
}

/** Where to ask instead, with the same query. */
export function movedTo(path: string, { method, query }: Pick<HttpRequest, "method" | "query">): HttpAnswer {
  const target = encodeURI(path) + (query.size === 0 ? "" : `?${query.toString()}`);
  const headers = { location: target };
  if (method !== "GET" && method !== "HEAD") return { status: 301, headers, body: "" };
  const link = target.replaceAll("&", "&amp;").replaceAll('"', "&#34;").replaceAll("<", "&lt;");
  const body = `<a href="${link}">Moved Permanently</a>.\n\n`;
  return { status: 301, headers: { ...headers, "content-type": "text/html; charset=utf-8" }, body };
}

/** A request with its target taken apart. @throws BadTarget */
function requestOf<Transport extends Omit<HttpHead, "path" | "query">>(
  target: string,
  transport: Transport,
): Transport & Pick<HttpHead, "path" | "query"> {
  const [path = "", ...query] = (target.startsWith("/") ? target : withoutOrigin(target)).split("?");
  return { ...transport, path: decodePath(path), query: new URLSearchParams(query.join("?")) };
}

/** Of a target as proxies are sent it, `http://HOST/PATH`. */
function withoutOrigin(target: string): string {
  const match = /^https?:\/\/[^/?]*(.*)$/s.exec(target);
  if (match === null) throw new BadTarget(target);
  return match[1]!.startsWith("/") ? match[1]! : `/${match[1]!}`;
}

function decodePath(path: string): string {
  if (/%(?![0-9a-fA-F]{2})/.test(path)) throw new BadTarget(path);
  try {
    return decodeURIComponent(path);
  } catch {
    return path; // what is no UTF-8 is nobody's path
  }
}

type Head = Omit<HttpHead, "path" | "query">;

function headOf(request: http.IncomingMessage, security: ClientSecurity | undefined): Head {
  const { remoteAddress, remotePort } = request.socket;
  return {
    method: request.method ?? "GET",
    peer: `${remoteAddress ?? ""}:${remotePort ?? 0}`,
    security,
    header: (name) => {
      const value = request.headers[name];
      return typeof value === "string" ? value : value?.[0];
    },
  };
}

function headWithoutUpgrade(request: http.IncomingMessage): string {
  const { method, url, httpVersion, rawHeaders } = request;
  let head = `${method} ${url} HTTP/${httpVersion}\r\n`;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!;
    const lower = name.toLowerCase();
    if (lower === "upgrade" || lower === "http2-settings") continue;
    const value = lower === "connection" ? withoutWish(rawHeaders[i + 1]!) : rawHeaders[i + 1]!;
    if (value !== "") head += `${name}: ${value}\r\n`;
  }
  return `${head}\r\n`;
}

function withoutWish(connection: string): string {
  const words = connection.split(",").map((word) => word.trim());
  return words.filter((word) => !/^(upgrade|http2-settings)$/i.test(word)).join(", ");
}

/** One request over HTTP/1.1 and its answer. */
class Exchange {
  readonly #request: http.IncomingMessage;
  readonly #response: http.ServerResponse;
  readonly #security: ClientSecurity | undefined;
  readonly #bodyBytesMax: number;
  readonly #clock: Clock;
  readonly #gone = new AbortController();
  /** Since when a piece of the body is waited for; whether the client owes it. */
  #readingSince = Infinity;
  #owes: () => boolean = () => true;
  /** Since when something that was written was not taken. */
  #writingSince = Infinity;
  /** Who waits for something to happen to the connection: the reader of the body, the writer of the answer. */
  #waiting: (() => void)[] = [];

  constructor(
    request: http.IncomingMessage,
    response: http.ServerResponse,
    security: ClientSecurity | undefined,
    bodyBytesMax: number,
    clock: Clock,
  ) {
    this.#security = security;
    this.#request = request;
    this.#response = response;
    this.#bodyBytesMax = bodyBytesMax;
    this.#clock = clock;
    const wake = (): void => this.#wake();
    request.on("readable", wake);
    request.on("end", wake);
    request.on("error", wake); // told by "close" as well
    response.on("drain", wake);
    response.on("close", () => {
      if (!response.writableFinished) this.#gone.abort(new Error("the client has gone"));
      wake();
    });
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  sweep(now: number, requestStallMs: number, answerStallMs: number): void {
    const isSilent = now - this.#readingSince >= requestStallMs && this.#owes();
    if (isSilent || now - this.#writingSince >= answerStallMs) this.#request.socket.destroy();
  }

  /** Never rejects. */
  async serve(answer: (transport: HttpTransport) => Promise<HttpAnswer>): Promise<void> {
    try {
      const transport = {
        ...headOf(this.#request, this.#security),
        signal: this.#gone.signal,
        body: () => this.#body(),
        pieces: (owes: () => boolean) => this.#pieces(owes),
      };
      await this.#give(await answer(transport));
    } catch {
      // An answer that breaks off in its midst must not look whole.
      this.#request.socket.destroy();
    }
  }

  async #give({ status, headers, body }: HttpAnswer): Promise<void> {
    const response = this.#response;
    const isHead = this.#request.method === "HEAD";
    if (typeof body === "string" || body instanceof Uint8Array) {
      response.writeHead(status, { ...headers, "content-length": Buffer.byteLength(body) });
      this.#writingSince = this.#clock.now();
      response.end(isHead ? undefined : body);
    } else {
      response.writeHead(status, headers);
      for await (const piece of body) {
        if (isHead || response.closed) break;
        this.#writingSince = this.#clock.now();
        const isTaken = response.write(piece, () => (this.#writingSince = Infinity));
        if (!isTaken) while (response.writableNeedDrain && !response.closed) await this.#event();
      }
      response.end();
    }
    // What the client goes on sending is passed over.
    if (!this.#request.readableEnded) this.#request.resume();
  }

  async #body(): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of this.#pieces(() => true)) {
      size += chunk.length;
      if (size > this.#bodyBytesMax) throw new BodyTooLarge(this.#bodyBytesMax);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks);
  }

  async *#pieces(owes: () => boolean): AsyncGenerator<Uint8Array> {
    const request = this.#request;
    this.#owes = owes;
    try {
      for (;;) {
        // Asked again at every event: the end of a body is told only to who reads beyond its last byte.
        const chunk = request.read() as Buffer | null;
        if (chunk !== null) {
          this.#readingSince = Infinity;
          yield chunk;
        } else if (request.readableEnded) return;
        else if (this.#response.closed) throw new Error("the client has gone");
        else {
          if (this.#readingSince === Infinity) this.#readingSince = this.#clock.now();
          await this.#event();
        }
      }
    } finally {
      this.#readingSince = Infinity;
    }
  }

  /** Resolves when something has happened to the connection. */
  #event(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

/** A body is over the server's limit. */
export class BodyTooLarge extends Error {
  override readonly name = "BodyTooLarge";

  constructor(bytesMax: number) {
    super(`the body is over ${bytesMax} bytes`);
  }
}
