/**
 * A request over HTTP/2 that is no gRPC, answered from the table of HTTP handlers. Over TLS every client that can speaks HTTP/2, so `curl
 * https://.../health` comes this way; in etcd it does as well.
 *
 * Law: no more of a body is gathered than the limit; past it `body()` rejects, as over HTTP/1.1.
 */
import { concatBytes } from "../base/bytes.js";
import { ErrorCode, type FieldBlock, type Http2Stream, type OutgoingField, OutgoingFields } from "../http2/index.js";
import type { ConnectionCall, GrpcConnection } from "./connection.js";
import type { HttpAnswer, HttpRequest } from "./http.js";

/** Answers a request; never rejects. `target` is path and query. */
export type PlainHandler = (
  target: string,
  request: Omit<HttpRequest, "path" | "query">,
) => Promise<HttpAnswer & { readonly body: Uint8Array }>;

const NO_BYTES = new Uint8Array(0);
const NO_FIELDS = OutgoingFields.of();

/** Fields of HTTP/1.1's connections, which a handler may set for its own. */
const CONNECTION_FIELDS: ReadonlySet<string> = new Set(["connection", "keep-alive", "transfer-encoding"]);

export class PlainCall {
  readonly #connection: GrpcConnection;
  readonly stream: Http2Stream<ConnectionCall>;
  readonly #bodyBytesMax: number;
  #parts: Uint8Array[] = [];
  #partBytes = 0;
  #inputEnded = false;
  /** Who waits for the end of the request. */
  #onEnd: (() => void)[] = [];
  #answered = false;
  /** Since when the client owes its request, or has not read its answer. */
  waitsSince: number;

  constructor(connection: GrpcConnection, stream: Http2Stream<ConnectionCall>, bodyBytesMax: number) {
    this.#connection = connection;
    this.stream = stream;
    this.#bodyBytesMax = bodyBytesMax;
    this.waitsSince = connection.now;
  }

  get isRunning(): boolean {
    return !this.#answered && !this.stream.closed;
  }
  get isOver(): boolean {
    return this.stream.closed;
  }

  async begin(fields: FieldBlock, ended: boolean, handle: PlainHandler): Promise<void> {
    if (ended) this.endInput();
    const method = fields.get(":method") ?? "GET";
    const answer = await handle(fields.get(":path") ?? "/", {
      method,
      peer: this.#connection.peer,
      header: (name) => fields.get(name === "host" ? ":authority" : name) ?? fields.get(name),
      body: () => this.#body(),
    });
    // Some clients (curl) do not take an answer before they have sent all; a body over the limit is not waited for.
    await this.#inputEnd();
    if (this.isRunning) this.#answer(answer, method);
  }

  /** Resolves when no more of the request is wanted or comes. */
  #inputEnd(): Promise<void> {
    if (this.#inputEnded || this.#partBytes > this.#bodyBytesMax || this.stream.closed) return Promise.resolve();
    return new Promise((resolve) => this.#onEnd.push(resolve));
  }

  #tellEnd(): void {
    const waiting = this.#onEnd;
    this.#onEnd = [];
    for (const resolve of waiting) resolve();
  }

  #answer({ status, headers = {}, body }: HttpAnswer & { readonly body: Uint8Array }, method: string): void {
    this.#answered = true;
    this.waitsSince = this.#connection.now;
    const fields: OutgoingField[] = [{ name: ":status", value: String(status) }];
    for (const [name, value] of Object.entries({ ...headers, "content-length": String(body.length) })) {
      if (!CONNECTION_FIELDS.has(name.toLowerCase())) fields.push({ name: name.toLowerCase(), value });
    }
    const head = OutgoingFields.of(...fields);
    if (body.length === 0 || method === "HEAD") this.#connection.finish(this.stream, head);
    else {
      this.#connection.respond(this.stream, head);
      this.#connection.send(this.stream, NO_BYTES, body);
      this.#connection.finish(this.stream, NO_FIELDS);
    }
    this.#parts = [];
    this.#connection.watchLate(this);
    this.#connection.flushSoon();
  }

  async #body(): Promise<Uint8Array> {
    await this.#inputEnd();
    if (!this.#inputEnded || this.#partBytes > this.#bodyBytesMax) {
      throw new Error(`the body is over ${this.#bodyBytesMax} bytes, or did not come`);
    }
    return concatBytes(this.#parts);
  }

  receive(bytes: Uint8Array, start: number, end: number, ended: boolean): void {
    this.waitsSince = this.#connection.now;
    this.#partBytes += end - start;
    const fits = this.#partBytes <= this.#bodyBytesMax;
    if (fits && end > start) this.#parts.push(bytes.slice(start, end));
    if (ended) this.endInput();
    else if (!fits) this.#tellEnd();
    else this.#connection.allow(this.stream, end - start);
  }

  endInput(): void {
    this.#inputEnded = true;
    this.waitsSince = Infinity;
    this.#tellEnd();
  }

  /** The client has gone. */
  abort(): void {
    this.#tellEnd();
  }

  onDrain(): void {
    // The one answer was given whole.
  }

  /** The request did not come in time. */
  refuse(): void {
    this.#connection.reset(this.stream, ErrorCode.cancel);
    this.#tellEnd();
  }
}
