/** A member's figures kept by prom-client, under etcd's names, and those of the calls that it serves. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import type { CallObserver, HandlerKind } from "../grpc/handler.js";
import { GRPC_STATUS_NAMES } from "../grpc/status.js";
import { type MetricDescription, METRICS, type Metrics, type Tally } from "../server/metrics.js";

type Labels = Readonly<Record<string, string>>;

/** grpc-go's names for kinds of call. */
const GRPC_TYPES: Record<HandlerKind, string> = {
  unary: "unary",
  serverStreaming: "server_stream",
  bidirectional: "bidi_stream",
};

/** What was counted since the figures were last shown: prom-client takes half a microsecond to find a counter by its labels. */
class PendingTally implements Tally {
  readonly #counter: Counter;
  readonly #labels: Labels;
  #pending = 0;

  constructor(counter: Counter, labels: Labels) {
    this.#counter = counter;
    this.#labels = labels;
  }

  add(by: number): void {
    this.#pending += by;
  }

  flush(): void {
    if (this.#pending > 0) this.#counter.inc(this.#labels, this.#pending);
    this.#pending = 0;
  }
}

/** The calls of one path. */
interface CallTallies {
  readonly started: Tally;
  /** By status. */
  readonly ended: Tally[];
}

export class PrometheusMetrics implements Metrics, CallObserver {
  readonly #registry = new Registry();
  readonly #counters = new Map<string, Counter>();
  readonly #gauges = new Map<string, Gauge>();
  readonly #histograms = new Map<string, Histogram>();
  readonly #started: Counter;
  readonly #handled: Counter;
  readonly #tallies: PendingTally[] = [];
  /** Of counters without labels. */
  readonly #plain = new Map<string, Tally>();
  readonly #calls = new Map<string, CallTallies>();

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

  tally(name: string, labels: Labels = {}): Tally {
    const counter = this.#counters.get(name);
    return counter === undefined ? { add: () => undefined } : this.#tally(counter, labels);
  }

  #tally(counter: Counter, labels: Labels): Tally {
    const tally = new PendingTally(counter, labels);
    this.#tallies.push(tally);
    return tally;
  }

  count(name: string, by = 1, labels?: Labels): void {
    if (labels !== undefined) {
      this.#counters.get(name)?.inc(labels, by);
      return;
    }
    let tally = this.#plain.get(name);
    if (tally === undefined) this.#plain.set(name, (tally = this.tally(name)));
    tally.add(by);
  }

  set(name: string, value: number, labels: Labels = {}): void {
    this.#gauges.get(name)?.set(labels, value);
  }

  observe(name: string, value: number, labels: Labels = {}): void {
    this.#histograms.get(name)?.observe(labels, value);
  }

  started(path: string, kind: HandlerKind): void {
    this.#callsOf(path, kind).started.add(1);
  }

  ended(path: string, kind: HandlerKind, status: number): void {
    const { ended } = this.#callsOf(path, kind);
    ended[status] ??= this.#tally(this.#handled, {
      ...labelsOf(path, kind),
      grpc_code: GRPC_STATUS_NAMES[status] ?? "Unknown",
    });
    ended[status].add(1);
  }

  #callsOf(path: string, kind: HandlerKind): CallTallies {
    let calls = this.#calls.get(path);
    if (calls === undefined) {
      calls = { started: this.#tally(this.#started, labelsOf(path, kind)), ended: [] };
      this.#calls.set(path, calls);
    }
    return calls;
  }

  /** All figures in Prometheus' text format. */
  async exposition(): Promise<{ contentType: string; text: string }> {
    for (const tally of this.#tallies) tally.flush();
    return { contentType: this.#registry.contentType, text: await this.#registry.metrics() };
  }
}

function labelsOf(path: string, kind: HandlerKind): Labels {
  const slash = path.lastIndexOf("/");
  return { grpc_type: GRPC_TYPES[kind], grpc_service: path.slice(1, slash), grpc_method: path.slice(slash + 1) };
}
