/** A member's figures kept by prom-client, under etcd's names, and those of the calls that it serves. */
import { readdirSync, readFileSync } from "node:fs";
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";
import type { CallObserver, HandlerKind, Traffic } from "../grpc/handler.js";
import { GRPC_STATUS_NAMES } from "../grpc/status.js";
import { type MetricDescription, METRICS, type Metrics, type Tally } from "../server/metrics.js";

type Labels = Readonly<Record<string, string>>;

/** grpc-go's names for kinds of call. */
const GRPC_TYPES: Record<HandlerKind, string> = {
  unary: "unary",
  serverStreaming: "server_stream",
  bidirectional: "bidi_stream",
};

const TRAFFIC_FIGURES: readonly (readonly [name: string, help: string, kind: keyof Traffic])[] = [
  ["etcd_network_client_grpc_received_bytes_total", "Bytes of messages that clients sent.", "receivedBytes"],
  ["etcd_network_client_grpc_sent_bytes_total", "Bytes of messages that clients were sent.", "sentBytes"],
];

/** etcd's own names for what the process has open. */
const DESCRIPTOR_FIGURES: readonly (readonly [name: string, help: string, look: () => number | undefined])[] = [
  ["os_fd_used", "File descriptors that are open.", () => readLinux(() => readdirSync("/proc/self/fd").length)],
  [
    "os_fd_limit",
    "File descriptors that may be open.",
    () =>
      readLinux(() => Number(/^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1] ?? NaN)),
  ],
];

/** Undefined where the system has no such file. */
function readLinux(look: () => number): number | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}

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
  /** How long calls took, where that is kept. */
  readonly #handlingSeconds: Histogram | undefined;
  /** What the ports of clients have carried. */
  readonly #traffic: Readonly<Traffic>[] = [];

  /**
   * @param options `processFigures`: also those of the process (memory, CPU, descriptors, event loop), which keep timers running;
   *   `figures`: what is kept, a member's own when left out; `extensive`: how long calls took, too (`--metrics extensive`), for a
   *   microsecond of each
   */
  constructor(options: {
    readonly processFigures: boolean;
    readonly figures?: Readonly<Record<string, MetricDescription>>;
    readonly extensive?: boolean;
  }) {
    const registers = [this.#registry];
    const traffic = this.#traffic;
    for (const [name, help, kind] of TRAFFIC_FIGURES) {
      const collect = function (this: Counter): void {
        this.reset();
        this.inc(traffic.reduce((sum, each) => sum + each[kind], 0));
      };
      this.#counters.set(name, new Counter({ name, help, registers, collect }));
    }
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
    if (options.extensive === true) {
      this.#handlingSeconds = new Histogram({
        name: "grpc_server_handling_seconds",
        help: "Time from a call's first bytes to its end.",
        labelNames: ["grpc_type", "grpc_service", "grpc_method"],
        buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
        registers,
      });
    }
    if (options.processFigures) {
      collectDefaultMetrics({ register: this.#registry });
      for (const [name, help, look] of DESCRIPTOR_FIGURES) {
        const collect = function (this: Gauge): void {
          const found = look();
          if (found !== undefined) this.set(found);
        };
        this.#gauges.set(name, new Gauge({ name, help, registers, collect }));
      }
    }
  }

  /** Counts what a port carries among the figures, from now on. */
  show(traffic: Readonly<Traffic>): void {
    this.#traffic.push(traffic);
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

  ended(path: string, kind: HandlerKind, status: number, tookMs: number): void {
    this.#handlingSeconds?.observe(labelsOf(path, kind), tookMs / 1000);
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
