/**
 * A call of the gateway's: what a handler sees of a request that came as JSON. The metadata are made of the HTTP headers as etcd's gateway
 * (grpc-gateway) makes them.
 */
import type { UnaryCall } from "../grpc/handler.js";
import type { HttpRequest } from "../grpc/http.js";
import { GrpcError, GrpcStatus } from "../grpc/status.js";
import type { Clock, Timer } from "../platform/clock.js";

/** Headers that are told under this name and their own. */
const FORWARDED_PREFIX = "grpcgateway-";
const METADATA_PREFIX = "grpc-metadata-";

const TIMEOUT_UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

/** A timeout under this has passed before anything can be done; etcd answers so to a nanosecond. */
const TIMEOUT_MS_MIN = 0.01;

/** The longest that Node's timers take. */
const TIMER_MS_MAX = 2 ** 31 - 1;

const DEADLINE_EXCEEDED = new GrpcError(GrpcStatus.deadlineExceeded, "context deadline exceeded");

/** @returns milliseconds; undefined without a timeout. @throws GrpcError `INVALID_ARGUMENT`, in grpc-gateway's words, or `DEADLINE_EXCEEDED` */
export function timeoutOf(request: Pick<HttpRequest, "header">): number | undefined {
  const text = request.header("grpc-timeout");
  if (text === undefined || text === "") return undefined;
  const unit = TIMEOUT_UNITS[text.slice(-1)];
  if (unit === undefined || !/^[+-]?\d{1,18}$/.test(text.slice(0, -1))) {
    throw new GrpcError(GrpcStatus.invalidArgument, `invalid grpc-timeout: ${text}`);
  }
  // None at all is what 0 says.
  const timeoutMs = Number(text.slice(0, -1)) * unit;
  if (timeoutMs !== 0 && timeoutMs < TIMEOUT_MS_MIN) throw DEADLINE_EXCEEDED;
  return timeoutMs === 0 ? undefined : timeoutMs;
}

/** What a call fails with when its client has gone: nobody is told. */
export const GONE = new GrpcError(GrpcStatus.cancelled, "context canceled");

/** Ends once: answered, failed, its client gone, its deadline passed. */
export class GatewayCall implements UnaryCall {
  readonly path: string;
  readonly #request: HttpRequest;
  readonly #controller = new AbortController();
  readonly #deadline: Timer | undefined;
  #isOver = false;
  /** Set by whoever runs the handler. */
  onAnswer: (message: Uint8Array) => void = () => undefined;
  /** Told of every end but an answer's: the handler's own failure, the deadline, `GONE`. */
  onFailure: (error: unknown) => void = () => undefined;

  constructor(path: string, request: HttpRequest, timeoutMs: number | undefined, clock: Clock) {
    this.path = path;
    this.#request = request;
    if (timeoutMs !== undefined) {
      this.#deadline = clock.after(Math.min(timeoutMs, TIMER_MS_MAX), () => this.fail(DEADLINE_EXCEEDED));
    }
    if (request.signal.aborted) this.end();
    else request.signal.addEventListener("abort", () => this.fail(GONE), { once: true });
  }

  get peer(): string {
    return this.#request.peer;
  }
  get signal(): AbortSignal {
    return this.#controller.signal;
  }
  get isOver(): boolean {
    return this.#isOver;
  }

  metadata(name: string): string | undefined {
    // Whatever the client sends: it is the mark of a call that came this way, whose certificate is not its user's.
    if (name === "grpcgateway-accept") return this.#request.header("accept") ?? "*/*";
    if (name.startsWith(FORWARDED_PREFIX)) return this.#request.header(name.slice(FORWARDED_PREFIX.length));
    const given = this.#request.header(METADATA_PREFIX + name);
    return given ?? (name === "authorization" ? this.#request.header(name) : undefined);
  }

  binaryMetadata(name: string): readonly Uint8Array[] {
    const text = this.metadata(name);
    return text === undefined ? [] : [Buffer.from(text, "base64")];
  }

  answer(message: Uint8Array): void {
    if (this.#isOver) return;
    this.end();
    this.onAnswer(message);
  }

  fail(error: unknown): void {
    if (this.#isOver) return;
    this.end();
    this.onFailure(error);
  }

  /** Nothing more comes of it. */
  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#deadline?.cancel();
    this.#controller.abort(new Error("the call is over"));
  }
}
