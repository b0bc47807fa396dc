/**
 * A request over HTTP/2 that is no gRPC, answered from the table of HTTP handlers. Over TLS every client that can speaks HTTP/2, so `curl
 * https://.../health` comes this way; in etcd it does as well.
 *
 * Laws: no more of a body is gathered than the limit; past it `body()` rejects, as over HTTP/1.1. Of a body that is read in pieces the client
 * may send as much as a stream's window beyond what was asked for. A piece of an answer is asked for when those before it have left.
 */
import { concatBytes } from "../base/bytes.js";
import { ErrorCode, type FieldBlock, type Http2Stream, type OutgoingField, OutgoingFields } from "../http2/index.js";
import type { ConnectionCall, GrpcConnection } from "./connection.js";
import { BodyTooLarge, type HttpAnswer, type HttpTransport } from "./http.js";

/** Answers a request; never rejects. `target` is path and query. */
export type PlainHandler = (target: string, request: HttpTransport) => Promise<HttpAnswer>;

const NO_BYTES = new Uint8Array(0);
const NO_FIELDS = OutgoingFields.of();

/** Fields of HTTP/1.1's connections, which a handler may set for its own. */
const CONNECTION_FIELDS: ReadonlySet<string> = new Set(["connection", "keep-alive", "transfer-encoding", "trailer"]);

export class PlainCall {
  readonly #connection: GrpcConnection;
  readonly stream: Http2Stream<ConnectionCall>;
  readonly #bodyBytesMax: number;
  readonly #gone = new AbortController();
  #parts: Uint8Array[] = [];
  #partBytes = 0;
  /** Set when the body is asked for in pieces: whether the client owes one. */
  #owes: (() => boolean) | undefined;
  #inputEnded = false;
  /** Who waits for something to happen: more of the request, its end, room for more of the answer. */
  #waiting: (() => void)[] = [];
  #isFull = false;
  #answered = false;
  #waitsSince: number;

  constructor(connection: GrpcConnection, stream: Http2Stream<ConnectionCall>, bodyBytesMax: number) {
    this.#connection = connection;
    this.stream = stream;
    this.#bodyBytesMax = bodyBytesMax;
    this.#waitsSince = connection.now;
  }

  get isRunning(): boolean {
    return !this.#answered && !this.stream.closed;
  }
  get isOver(): boolean {
    return this.stream.closed;
  }
  /** Since when the client owes its request, or has not read its answer. */
  get waitsSince(): number {
    return this.#owes?.() === false ? Infinity : this.#waitsSince;
  }

  async begin(fields: FieldBlock, ended: boolean, handle: PlainHandler): Promise<void> {
    if (ended) this.endInput();
    const method = fields.get(":method") ?? "GET";
    const answer = await handle(fields.get(":path") ?? "/", {
      method,
      peer: this.#connection.peer,
      security: this.#connection.security,
      signal: this.#gone.signal,
      header: (name) => fields.get(name === "host" ? ":authority" : name) ?? fields.get(name),
      body: () => this.#body(),
      pieces: (owes) => this.#pieces(owes),
    });
    if (typeof answer.body !== "string" && !(answer.body instanceof Uint8Array)) {
      await this.#giveInPieces(answer, answer.body, method);
      return;
    }
    // Some clients (curl) do not take an answer before they have sent all; a body over the limit is not waited for.
    this.#owes = undefined;
    await this.#until(() => this.#inputEnded || this.#partBytes > this.#bodyBytesMax || this.stream.closed);
    if (this.isRunning) this.#give(answer, answer.body, method);
  }

  async #until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  #give(answer: HttpAnswer, body: string | Uint8Array, method: string): void {
    const bytes = typeof body === "string" ? Buffer.from(body) : body;
    const head = headOf(answer, { "content-length": String(bytes.length) });
    if (bytes.length === 0 || method === "HEAD") this.#connection.finish(this.stream, head);
    else {
      this.#connection.respond(this.stream, head);
      this.#connection.send(this.stream, NO_BYTES, bytes);
      this.#connection.finish(this.stream, NO_FIELDS);
    }
    this.#finish();
  }

  async #giveInPieces(answer: HttpAnswer, body: AsyncIterable<Uint8Array>, method: string): Promise<void> {
    if (!this.isRunning) return;
    this.#connection.respond(this.stream, headOf(answer));
    this.#connection.flushSoon();
    try {
      for await (const piece of body) {
        if (this.stream.closed || method === "HEAD") break;
        this.#isFull = !this.#connection.send(this.stream, NO_BYTES, piece);
        this.#connection.flushSoon();
        await this.#until(() => !this.#isFull || this.stream.closed);
      }
    } catch {
      // An answer that breaks off in its midst must not look whole.
      if (!this.stream.closed) this.#connection.reset(this.stream, ErrorCode.internalError);
      return;
    }
    if (this.stream.closed) return;
    this.#connection.finish(this.stream, NO_FIELDS);
    this.#finish();
  }

  #finish(): void {
    this.#answered = true;
    this.#owes = undefined;
    this.#waitsSince = this.#connection.now;
    this.#parts = [];
    this.#connection.watchLate(this);
    this.#connection.flushSoon();
  }

  async #body(): Promise<Uint8Array> {
    await this.#until(() => this.#inputEnded || this.#partBytes > this.#bodyBytesMax || this.stream.closed);
    if (this.#partBytes > this.#bodyBytesMax) throw new BodyTooLarge(this.#bodyBytesMax);
    if (!this.#inputEnded) throw new Error("the client has gone");
    return concatBytes(this.#parts);
  }

  async *#pieces(owes: () => boolean): AsyncGenerator<Uint8Array> {
    this.#owes = owes;
    for (;;) {
      await this.#until(() => this.#parts.length > 0 || this.#inputEnded || this.stream.closed);
      const part = this.#parts.shift();
      if (part !== undefined) {
        yield part;
        if (!this.#inputEnded && !this.stream.closed) this.#connection.allow(this.stream, part.length);
      } else if (this.#inputEnded) return;
      else throw new Error("the client has gone");
    }
  }

  receive(bytes: Uint8Array, start: number, end: number, ended: boolean): void {
    this.#waitsSince = this.#connection.now;
    this.#partBytes += end - start;
    const isGathered = this.#owes === undefined;
    const fits = !isGathered || this.#partBytes <= this.#bodyBytesMax;
    if (fits && end > start && !this.#answered) this.#parts.push(bytes.slice(start, end));
    if (ended) this.endInput();
    else if (isGathered && fits) this.#connection.allow(this.stream, end - start);
    else this.#wake();
  }

  endInput(): void {
    this.#inputEnded = true;
    this.#waitsSince = Infinity;
    this.#wake();
  }

  /** The client has gone. */
  abort(): void {
    this.#gone.abort(new Error("the client has gone"));
    this.#wake();
  }

  onDrain(): void {
    this.#isFull = false;
    this.#wake();
  }

  /** The request did not come in time. */
  refuse(): void {
    this.#connection.reset(this.stream, ErrorCode.cancel);
    this.abort();
  }
}

function headOf({ status, headers = {} }: HttpAnswer, more: Readonly<Record<string, string>> = {}): OutgoingFields {
  const fields: OutgoingField[] = [{ name: ":status", value: String(status) }];
  for (const [name, value] of Object.entries({ ...headers, ...more })) {
    if (!CONNECTION_FIELDS.has(name.toLowerCase())) fields.push({ name: name.toLowerCase(), value });
  }
  return OutgoingFields.of(...fields);
}
