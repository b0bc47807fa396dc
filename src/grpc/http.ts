/** Plain HTTP/1.1 beside gRPC: a table of handlers by path, over `node:http`. */
import http from "node:http";
import type { Duplex } from "node:stream";
import type { Clock, Timer } from "../platform/clock.js";

export interface HttpRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly peer: string;
  header(name: string): string | undefined;
  /** All of the body; rejects when it is over the server's limit. */
  body(): Promise<Uint8Array>;
}

export interface HttpAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array;
}

export type HttpHandler = (request: HttpRequest) => HttpAnswer | Promise<HttpAnswer>;

/** Handlers by exact path. */
export type HttpTable = ReadonlyMap<string, HttpHandler>;

/** An answer as Go's `http.Error` gives it: plain text with a line's end. */
export function plainAnswer(status: number, text: string, headers: Readonly<Record<string, string>> = {}): HttpAnswer {
  return {
    status,
    headers: { "content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff", ...headers },
    body: `${text}\n`,
  };
}

export interface HttpServerOptions {
  readonly bodyBytesMax: number;
  /** Headers of every answer. */
  readonly commonHeaders?: Readonly<Record<string, string>>;
}

/** A connection that has not sent a whole head after this time is closed; so is one that waits so long for its next request. */
const HEAD_MS = 60_000;

/**
 * Node's own server, never listening: connections are handed to it. Its guards start with listening, so the two that matter are here:
 * a time for the head of a request, and the knowledge of who is in the midst of one.
 */
export class HttpServer {
  readonly #server: http.Server;
  readonly #clock: Clock;
  readonly #table: HttpTable;
  readonly #options: HttpServerOptions;
  /** Each connection with the timer that waits for the head of its request; undefined while one is answered. */
  readonly #connections = new Map<Duplex, Timer | undefined>();
  #stopping = false;
  #onQuiet: (() => void) | undefined;

  constructor(options: HttpServerOptions, dependencies: { readonly clock: Clock; readonly table: HttpTable }) {
    this.#clock = dependencies.clock;
    this.#table = dependencies.table;
    this.#options = options;
    this.#server = http.createServer({ keepAliveTimeout: 5000 }, (request, response) => {
      this.#begin(request.socket);
      response.on("close", () => this.#end(request.socket));
      if (this.#stopping) response.setHeader("connection", "close");
      void serve(request, response, dependencies.table, options);
    });
  }

  /** Largest body of a request. */
  get bodyBytesMax(): number {
    return this.#options.bodyBytesMax;
  }

  /** Answers a request that came another way (HTTP/2). Never rejects. */
  async answer(
    target: string,
    request: Omit<HttpRequest, "path" | "query">,
  ): Promise<HttpAnswer & { readonly body: Uint8Array }> {
    const { status, headers, body } = await answer(target, request, this.#table);
    return {
      status,
      headers: { ...this.#options.commonHeaders, ...headers },
      body: typeof body === "string" ? Buffer.from(body) : body,
    };
  }

  /** Serves a connection; what was read of it must have been put back. */
  accept(connection: Duplex): void {
    if (this.#stopping) {
      connection.destroy();
      return;
    }
    this.#connections.set(
      connection,
      this.#clock.after(HEAD_MS, () => connection.destroy()),
    );
    connection.on("close", () => {
      this.#connections.get(connection)?.cancel();
      this.#connections.delete(connection);
      if (this.#connections.size === 0) this.#onQuiet?.();
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

/** Never rejects. */
async function serve(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  table: HttpTable,
  { bodyBytesMax, commonHeaders }: HttpServerOptions,
): Promise<void> {
  const { remoteAddress, remotePort } = request.socket;
  const { status, headers, body } = await answer(
    request.url ?? "/",
    {
      method: request.method ?? "GET",
      peer: `${remoteAddress ?? ""}:${remotePort ?? 0}`,
      header: (name) => {
        const value = request.headers[name];
        return typeof value === "string" ? value : value?.[0];
      },
      body: () => readBody(request, bodyBytesMax),
    },
    table,
  );
  response.writeHead(status, { ...commonHeaders, ...headers, "content-length": Buffer.byteLength(body) });
  response.end(request.method === "HEAD" ? undefined : body);
}

async function answer(
  target: string,
  request: Omit<HttpRequest, "path" | "query">,
  table: HttpTable,
): Promise<HttpAnswer> {
  try {
    // What a browser asks before it sends a request to another origin; the headers that every answer has say the rest.
    if (request.method === "OPTIONS") return { status: 200, body: "" };
    const url = new URL(target, "http://localhost");
    const handler = table.get(url.pathname);
    if (handler === undefined) return plainAnswer(404, "404 page not found");
    return await handler({ ...request, path: url.pathname, query: url.searchParams });
  } catch {
    // A handler answers its own errors; what comes here is a bug or a URL that is none. No stack leaves the house.
    return plainAnswer(500, "Internal Server Error");
  }
}

async function readBody(request: http.IncomingMessage, bytesMax: number): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > bytesMax) throw new Error(`the body is over ${bytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
