/**
 * Warnings for requests that took long, with etcd's words and fields (`--experimental-warning-apply-duration`).
 *
 * etcd reads the clock around each request. Here the clock is read once for each batch that is applied, and once for each confirmation that
 * reads wait for together, which it is anyway; so a request that is as fast as it should be costs nothing. The price: of a batch that took
 * long the largest request is shown, and how many there were, and a read's time counts from the first one that waited with it.
 *
 * Law: a storm of slow requests makes a line for the first hundred in a second, then for one in a hundred (etcd's log does the same).
 */
import { formatDuration } from "../base/go-duration.js";
import { LineSampler } from "../base/line-sampler.js";
import { RangeRequest, RangeResponse, type TxnRequest, TxnResponse } from "../proto/generated/etcdserverpb/kv.js";
import { EntryType, type Entry } from "../proto/raft.js";
import type { Clock, Log } from "../platform/index.js";
import type { Metrics } from "./metrics.js";
import { entryText, rangeText, txnText } from "./request-text.js";

export interface SlowRequestsDependencies {
  readonly clock: Pick<Clock, "now">;
  readonly log: Log;
  readonly metrics: Metrics;
}

export class SlowRequests {
  /** What takes longer is slow, in milliseconds. */
  readonly thresholdMs: number;
  readonly #d: SlowRequestsDependencies;
  readonly #sampler = new LineSampler();

  constructor(d: SlowRequestsDependencies, thresholdMs: number) {
    this.#d = d;
    this.thresholdMs = thresholdMs;
  }

  /** Entries in `[from, to)` were applied in so long. */
  onApplied(entries: readonly Entry[], from: number, to: number, tookMs: number): void {
    if (tookMs <= this.thresholdMs) return;
    // A new leader's entry and changes of the members are nobody's request.
    const requests = entries.slice(from, to).filter(({ type, data }) => type === EntryType.normal && data.length > 0);
    if (requests.length === 0) return;
    const largest = requests.reduce((one, other) => (other.data.length > one.data.length ? other : one));
    const count = requests.length === 1 ? {} : { "requests-in-batch": requests.length };
    this.#warn(tookMs, "", () => entryText(largest.data), "", count);
  }

  onRange(request: RangeRequest, response: RangeResponse | undefined, tookMs: number): void {
    if (tookMs <= this.thresholdMs) return;
    this.#warn(
      tookMs,
      "read-only range ",
      () => rangeText(request),
      response === undefined
        ? ""
        : `range_response_count:${response.kvs.length} size:${RangeResponse.encode(response).finish().length}`,
    );
  }

  /** A read of newest pairs, whose request and answer were never more than bytes. */
  onPlainRange(request: () => Partial<RangeRequest>, count: number, tookMs: number): void {
    if (tookMs <= this.thresholdMs) return;
    this.#warn(
      tookMs,
      "read-only range ",
      () => rangeText(RangeRequest.fromPartial(request())),
      `range_response_count:${count}`,
    );
  }

  onReadOnlyTxn(request: TxnRequest, response: TxnResponse | undefined, tookMs: number): void {
    if (tookMs <= this.thresholdMs) return;
    this.#warn(
      tookMs,
      "read-only txn ",
      () => txnText(request),
      response === undefined ? "" : `${txnResponseText(response)} size:${TxnResponse.encode(response).finish().length}`,
    );
  }

  #warn(
    tookMs: number,
    prefix: string,
    request: () => string,
    response: string,
    more: Record<string, unknown> = {},
  ): void {
    const { clock, log, metrics } = this.#d;
    metrics.count("etcd_server_slow_apply_total");
    if (!this.#sampler.admits(clock.now())) return;
    log.warn("apply request took too long", {
      took: formatDuration(tookMs),
      "expected-duration": formatDuration(this.thresholdMs),
      prefix,
      request: request(),
      response,
      ...more,
    });
  }
}

function txnResponseText({ responses }: TxnResponse): string {
  const parts = responses.flatMap(({ response }) =>
    response?.$case === "responseRange" ? [`range_response_count:${response.value.kvs.length}`] : [],
  );
  return `responses:<${parts.join(" ")}>`;
}
