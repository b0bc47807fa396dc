/** A member's figures kept by prom-client, under etcd's names, and those of the calls that it serves. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import type { CallObserver, HandlerKind } from "../grpc/handler.js";
import { GRPC_STATUS_NAMES } from "../grpc/status.js";
import { type MetricDescription, METRICS, type Metrics } from "../server/metrics.js";

type Labels = Readonly<Record<string, string>>;

/** grpc-go's names for kinds of call. */
const GRPC_TYPES: Record<HandlerKind, string> = {
  unary: "unary",
  serverStreaming: "server_stream",
  bidirectional: "bidi_stream",
};

export class PrometheusMetrics implements Metrics, CallObserver {
  readonly #registry = new Registry();
  readonly #counters = new Map<string, Counter>();
  readonly #gauges = new Map<string, Gauge>();
  readonly #histograms = new Map<string, Histogram>();
  readonly #started: Counter;
  readonly #handled: Counter;
  /** By path and status: labels are built once for each. */
  readonly #callLabels = new Map<string, Labels>();

  /**
   * @param options `processFigures`: also those of the process (memory, CPU, descriptors, event loop), which keep timers running;
   *   `figures`: what is kept, a member's own when left out
   */
  constructor(options: {
    readonly processFigures: boolean;
    readonly figures?: Readonly<Record<string, MetricDescription>>;
  }) {
    const registers = [this.#registry];
    for (const [name, description] of Object.entries(options.figures ?? METRICS)) {
      const { help, labels = [] } = description;
      const settings = { name, help, labelNames: [...labels], registers };
      if (description.kind === "counter") this.#counters.set(name, new Counter(settings));
      else if (description.kind === "gauge") this.#gauges.set(name, new Gauge(settings));
      else this.#histograms.set(name, new Histogram({ ...settings, buckets: [...(description.buckets ?? [])] }));
    }
    this.#started = new Counter({
      name: "grpc_server_started_total",
      help: "Calls that began.",
      labelNames: ["grpc_type", "grpc_service", "grpc_method"],
      registers,
    });
    this.#handled = new Counter({
      name: "grpc_server_handled_total",
      help: "Calls that ended, by status.",
      labelNames: ["grpc_type", "grpc_service", "grpc_method", "grpc_code"],
      registers,
    });
    if (options.processFigures) collectDefaultMetrics({ register: this.#registry });
  }

  count(name: string, by = 1, labels: Labels = {}): void {
    this.#counters.get(name)?.inc(labels, by);
  }

  set(name: string, value: number, labels: Labels = {}): void {
    this.#gauges.get(name)?.set(labels, value);
  }

  observe(name: string, value: number, labels: Labels = {}): void {
    this.#histograms.get(name)?.observe(labels, value);
  }

  started(path: string, kind: HandlerKind): void {
    this.#started.inc(this.#labels(path, kind, undefined));
  }

  ended(path: string, kind: HandlerKind, status: number): void {
    this.#handled.inc(this.#labels(path, kind, status));
  }

  #labels(path: string, kind: HandlerKind, status: number | undefined): Labels {
    const key = `${path} ${status ?? ""}`;
    let labels = this.#callLabels.get(key);
    if (labels === undefined) {
      const slash = path.lastIndexOf("/");
      labels = {
        grpc_type: GRPC_TYPES[kind],
        grpc_service: path.slice(1, slash),
        grpc_method: path.slice(slash + 1),
        ...(status === undefined ? {} : { grpc_code: GRPC_STATUS_NAMES[status] ?? "Unknown" }),
      };
      this.#callLabels.set(key, labels);
    }
    return labels;
  }

  /** All figures in Prometheus' text format. */
  async exposition(): Promise<{ contentType: string; text: string }> {
    return { contentType: this.#registry.contentType, text: await this.#registry.metrics() };
  }
}
