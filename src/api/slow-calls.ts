/**
 * Tells of calls with one answer that took long, in the words of etcd's line `request stats`. What a call asked for is gone by then, so the
 * line tells which call it was, whose and how long it took; requests that were slow to apply are told with their content by the member.
 *
 * A stand-in between the gRPC server and whoever else observes calls. It costs a comparison for each call.
 */
import { formatDuration } from "../base/go-duration.js";
import { SLOW_CALL_MS } from "../base/limits.js";
import { LineSampler } from "../base/line-sampler.js";
import type { CallObserver, HandlerKind } from "../grpc/handler.js";
import type { Clock } from "../platform/clock.js";
import type { Log } from "../platform/log.js";

export class SlowCalls implements CallObserver {
  readonly #next: CallObserver;
  readonly #clock: Pick<Clock, "now" | "wallNow">;
  readonly #log: Log;
  readonly #sampler = new LineSampler();

  /** @param next told of every call */
  constructor(
    next: CallObserver,
    { clock, log }: { readonly clock: Pick<Clock, "now" | "wallNow">; readonly log: Log },
  ) {
    this.#next = next;
    this.#clock = clock;
    this.#log = log;
  }

  started(path: string, kind: HandlerKind): void {
    this.#next.started(path, kind);
  }

  ended(path: string, kind: HandlerKind, status: number, tookMs: number, peer: string): void {
    this.#next.ended(path, kind, status, tookMs, peer);
    if (tookMs > SLOW_CALL_MS && kind === "unary") this.#tell(path, tookMs, peer);
  }

  #tell(path: string, tookMs: number, peer: string): void {
    if (!this.#sampler.admits(this.#clock.now())) return;
    this.#log.warn("request stats", {
      "start time": new Date(this.#clock.wallNow() - tookMs).toISOString(),
      "time spent": formatDuration(tookMs),
      remote: peer,
      "response type": path,
    });
  }
}
