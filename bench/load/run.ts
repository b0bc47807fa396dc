/**
 * One run of load in a closed loop: so many calls in flight, each answer brings the next request; how many were answered in the time
 * measured, how long each took, and what processor time it cost on either side.
 *
 * Laws: every request that was sent is waited for, so the counts of the whole run are exact and the store can be asked whether it saw
 * as many. The time measured begins after a warm-up within the same run, without a pause between. A call that began in that time and
 * ended after it counts with its duration, so that a stall at the end is not lost.
 */
import { LoadConnection, type Load } from "./connection.js";
import { Histogram } from "./histogram.js";
import type { HeaderField } from "./hpack.js";
import { cpuSeconds } from "../process-stats.js";
import { RequestMaker, type RequestKind } from "./requests.js";

/** What is to be sent, to whom, for how long. It can be sent to another process. */
export interface LoadJob {
  /** Host and port. */
  readonly address: string;
  /** The server's process, whose processor time is read at both ends of the time measured. */
  readonly pid: number;
  readonly connections: number;
  readonly inFlight: number;
  /** Whether TLS is spoken. */
  readonly secure?: boolean;
  /** In turns, each as often as its weight says. */
  readonly requests: readonly RequestKind[];
  readonly seed: number;
  /** Field lines of every request besides: a token. */
  readonly fields?: readonly HeaderField[];
  readonly until:
    | { readonly kind: "time"; readonly warmUpSeconds: number; readonly seconds: number }
    /** All of it is measured. */
    | { readonly kind: "count"; readonly requests: number };
}

export interface LoadResult {
  /** Of the time measured. */
  readonly answered: number;
  readonly seconds: number;
  readonly perSecond: number;
  readonly latencyMs: { readonly mean: number; readonly p50: number; readonly p99: number; readonly max: number };
  readonly serverCpuSeconds: number;
  readonly generatorCpuSeconds: number;
  /** Of the whole run: requests of each kind that were answered well. */
  readonly answeredOf: readonly number[];
  /** When the time measured began, as `Date.now()` tells. */
  readonly beganAt: number;
  /** Calls answered in each tenth of a second since then, those after the end included. */
  readonly tenths: readonly number[];
  /** What went wrong, and how often. */
  readonly problems: readonly (readonly [problem: string, times: number])[];
}

/** A server that answers nothing for so long does not come back by itself. */
const SILENCE_MS = 30_000;

/** Runs a job to its end. @throws when a connection breaks, or the server falls silent */
export async function runLoad(job: LoadJob): Promise<LoadResult> {
  return new Run(job).finished();
}

/** What is read at both ends of the time measured. */
interface Mark {
  readonly atMs: number;
  readonly serverCpuSeconds: number;
  readonly generatorCpuSeconds: number;
}

class Run implements Load {
  readonly #job: LoadJob;
  readonly #connections: readonly LoadConnection[];
  readonly #times = new Histogram();
  readonly #tenths: number[] = [];
  readonly #turns: readonly number[];
  readonly #answeredOf: number[];
  readonly #problems = new Map<string, number>();
  readonly #finished: Promise<void>;
  #resolve!: () => void;
  #reject!: (error: Error) => void;

  #phase: "warming up" | "measuring" | "ending" = "warming up";
  #sent = 0;
  #ended = 0;
  #endedBefore = 0;
  #answered = 0;
  #begin: Mark | undefined;
  #end: Mark | undefined;
  #measureAtMs = 0;
  #endAtMs = Infinity;

  constructor(job: LoadJob) {
    this.#job = job;
    this.#finished = new Promise((resolve, reject) => ([this.#resolve, this.#reject] = [resolve, reject]));
    this.#finished.catch(() => {}); // whoever waits for the end hears of it
    this.#turns = interleave(job.requests.map(({ weight }) => weight));
    this.#answeredOf = job.requests.map(() => 0);
    const makers = job.requests.map((kind, i) => new RequestMaker(kind, job.seed + i));
    const { connections, inFlight, secure } = job;
    this.#connections = Array.from({ length: connections }, (_, i) => {
      const share = Math.floor(inFlight / connections) + (i < inFlight % connections ? 1 : 0);
      return new LoadConnection(job.address, share, makers, this, job.fields, secure);
    });
  }

  async finished(): Promise<LoadResult> {
    const watch = setInterval(() => this.#watch(), SILENCE_MS);
    try {
      await Promise.race([Promise.all(this.#connections.map(async (each) => each.ready())), this.#finished]);
      this.#start();
      await this.#finished;
    } finally {
      clearInterval(watch);
      for (const connection of this.#connections) connection.close();
    }
    return this.#result();
  }

  next(): number | undefined {
    if (this.#phase === "ending") return undefined;
    if (this.#job.until.kind === "count" && this.#sent === this.#job.until.requests) return undefined;
    return this.#turns[this.#sent++ % this.#turns.length];
  }

  ended(request: number, startedAtMs: number, nowMs: number, problem: string | undefined): void {
    this.#ended++;
    if (problem !== undefined) {
      this.#problems.set(problem, (this.#problems.get(problem) ?? 0) + 1);
      return;
    }
    this.#answeredOf[request]!++;
    if (this.#phase === "warming up") return;
    if (this.#phase === "measuring") this.#answered++;
    const tenth = Math.floor((nowMs - this.#begin!.atMs) / 100);
    while (this.#tenths.length <= tenth) this.#tenths.push(0);
    this.#tenths[tenth]!++;
    this.#times.record(nowMs - startedAtMs);
  }

  turned(nowMs: number): void {
    if (this.#phase === "warming up" && nowMs >= this.#measureAtMs && this.#sent > 0) this.#measure(nowMs);
    const all = this.#job.until.kind === "count" && this.#ended === this.#job.until.requests;
    if (this.#phase === "measuring" && (nowMs >= this.#endAtMs || all)) {
      this.#end = this.#mark(nowMs);
      this.#phase = "ending";
    }
    if (this.#phase === "ending" && this.#ended === this.#sent) this.#resolve();
  }

  broke(error: Error): void {
    this.#reject(error);
  }

  #start(): void {
    const { until } = this.#job;
    const now = performance.now();
    if (until.kind === "count") this.#measure(now);
    else this.#measureAtMs = now + until.warmUpSeconds * 1000;
    for (const connection of this.#connections) connection.start();
  }

  #measure(nowMs: number): void {
    this.#begin = this.#mark(nowMs);
    this.#phase = "measuring";
    if (this.#job.until.kind === "time") this.#endAtMs = nowMs + this.#job.until.seconds * 1000;
  }

  #mark(atMs: number): Mark {
    const { user, system } = process.cpuUsage();
    return { atMs, serverCpuSeconds: cpuSeconds(this.#job.pid), generatorCpuSeconds: (user + system) / 1e6 };
  }

  #watch(): void {
    if (this.#ended === this.#endedBefore)
      this.#reject(new Error(`${this.#job.address} answered nothing for ${SILENCE_MS / 1000} s`));
    this.#endedBefore = this.#ended;
  }

  #result(): LoadResult {
    const [begin, end] = [this.#begin!, this.#end!];
    const seconds = (end.atMs - begin.atMs) / 1000;
    const times = this.#times;
    return {
      answered: this.#answered,
      seconds,
      perSecond: this.#answered / seconds,
      latencyMs: {
        mean: times.meanMs,
        p50: times.percentileMs(0.5),
        p99: times.percentileMs(0.99),
        max: times.maxMs,
      },
      serverCpuSeconds: end.serverCpuSeconds - begin.serverCpuSeconds,
      generatorCpuSeconds: end.generatorCpuSeconds - begin.generatorCpuSeconds,
      answeredOf: this.#answeredOf,
      beganAt: performance.timeOrigin + begin.atMs,
      tenths: this.#tenths,
      problems: [...this.#problems].sort(([, a], [, b]) => b - a),
    };
  }
}

/** The places of the weights, each as often as it weighs, the rarer ones spread among the others. */
export function interleave(weights: readonly number[]): number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const owed = weights.map(() => 0);
  return Array.from({ length: total }, () => {
    for (const [i, weight] of weights.entries()) owed[i]! += weight;
    const next = owed.indexOf(Math.max(...owed));
    owed[next]! -= total;
    return next;
  });
}
