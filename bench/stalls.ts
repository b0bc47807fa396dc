/**
 * How long Walnut's event loop stands still at most, and what throughput is left while the store does its housework:
 * `npm run bench:stalls -- [--minutes 10] [--keys 200000] [--in-flight 100] [--gets 1] [--profile] [--node-flags FLAG,FLAG]`.
 *
 * Puts and gets run in a closed loop all the time. Beside them, in turns: a compaction up to the newest revision, a defragmentation, a
 * snapshot that is streamed to the end; segments of the log are cut when they are full. A probe inside of the server
 * (`stall-probe.ts`) tells each turn of the loop that was too long. Throughput is counted in tenths of a second; the calm ones are those
 * in which nothing else went on.
 *
 * `--profile` runs the server under node's CPU profiler and prints what it did in the longest stalls.
 */
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Client, credentials } from "@grpc/grpc-js";
import { PROJECT, walnut } from "../test/support/binaries.js";
import { Stage, type Server } from "../test/support/servers.js";
import { describeMachine, median, readable } from "./figures.js";
import { LoadGenerator } from "./load/generator.js";
import type { LoadResult } from "./load/run.js";
import { BENCH_FLAGS, loadKeys, runCalls } from "./load-play.js";
import { PROBE_INTERVAL_MS, PROBE_MARK, type ProbeLine, type Stall } from "./probe-line.js";
import { printBusiest } from "./profile.js";
import { LOAD_SCENARIOS, valuePut } from "./scenarios.js";

const CALM_MS = 4_000;
/** A new segment's file is seen so often; what it cost lies around that. */
const LOOK_MS = 50;
const CUT_MS = 200;
const STALLS_TOLD = 8;

type Work = "compaction" | "defragmentation" | "snapshot" | "segment cut";
const WORKS: readonly Work[] = ["compaction", "defragmentation", "snapshot", "segment cut"];

/** Something that the server did beside the calls, from and to in `Date.now()`. */
interface Span {
  readonly work: Work;
  readonly from: number;
  readonly to: number;
}

/** What went on beside the calls, and who sees to it. */
class Housework {
  readonly spans: Span[] = [];
  readonly #server: Server;
  #over = false;

  constructor(server: Server) {
    this.#server = server;
  }

  end(): void {
    this.#over = true;
  }

  /** One work after the other, with calm between them. */
  async run(): Promise<void> {
    const client = this.#server.client;
    for (;;) {
      for (const [work, go] of [
        [
          "compaction",
          async () => client.call("Compact", { revision: await client.revision(), physical: true }, 600_000),
        ],
        ["defragmentation", async () => client.call("Defragment", {}, 600_000)],
        ["snapshot", async () => streamSnapshot(this.#server.address)],
      ] as const) {
        await pause(CALM_MS);
        if (this.#over) return;
        const from = Date.now();
        await go();
        this.spans.push({ work, from, to: Date.now() });
      }
    }
  }

  async watchSegments(): Promise<void> {
    const folder = join(this.#server.seat.dataDir, "member", "wal");
    const segments = (): string =>
      readdirSync(folder)
        .filter((name) => name.endsWith(".wal"))
        .sort()
        .at(-1)!;
    let last = segments();
    while (!this.#over) {
      await pause(LOOK_MS);
      const now = segments();
      if (now !== last) this.spans.push({ work: "segment cut", from: Date.now() - CUT_MS, to: Date.now() + CUT_MS });
      last = now;
    }
  }
}

/** Reads the whole stream of a snapshot and drops it; answers its bytes. */
async function streamSnapshot(address: string): Promise<number> {
  const client = new Client(address, credentials.createInsecure(), { "grpc.max_receive_message_length": -1 });
  try {
    let bytes = 0;
    const stream = client.makeServerStreamRequest<Buffer, Buffer>(
      "/etcdserverpb.Maintenance/Snapshot",
      (request) => request,
      (response) => response,
      Buffer.alloc(0),
    );
    for await (const message of stream) bytes += (message as Buffer).length;
    return bytes;
  } finally {
    client.close();
  }
}

/** Answered calls a second in the tenths that a predicate takes. */
function speed({ tenths, beganAt }: LoadResult, wanted: (from: number, to: number) => boolean): number | undefined {
  const taken = tenths.filter((_, i) => wanted(beganAt + i * 100, beganAt + (i + 1) * 100));
  return taken.length === 0 ? undefined : (taken.reduce((sum, answered) => sum + answered, 0) / taken.length) * 10;
}

/** What the probe told from a moment on. */
function stallsOf(
  server: Server,
  from: number,
): { stalls: Stall[]; longestMs: number; ranMs: number; collectorMs: number } {
  const lines = server.log.filter((line) => line.startsWith(PROBE_MARK));
  const probes = lines.map((line) => (JSON.parse(line) as ProbeLine).probe);
  const since = probes.filter(({ at }) => at - PROBE_INTERVAL_MS >= from);
  const stalls = probes.flatMap((probe) => probe.stalls).filter(({ endedAt, tookMs }) => endedAt - tookMs >= from);
  const largest = (of: (stall: Stall) => number): number => Math.max(0, ...stalls.map(of));
  return {
    stalls: stalls.sort((a, b) => b.tookMs - a.tookMs),
    longestMs: Math.max(
      largest(({ tookMs }) => tookMs),
      ...since.map(({ longestMs }) => longestMs),
    ),
    ranMs: largest(({ ranMs }) => ranMs),
    collectorMs: Math.max(
      largest(({ collectorMs }) => collectorMs),
      ...since.map(({ collectorMs }) => collectorMs),
    ),
  };
}

/** @param startedAt when the server had started: before, its loop stands still while modules are loaded, and nobody waits for it */
function report(result: LoadResult, spans: readonly Span[], server: Server, startedAt: number): Stall[] {
  const last = result.beganAt + result.seconds * 1000;
  const calm = speed(result, (from, to) => to <= last && !spans.some((span) => span.from < to && span.to > from));
  if (calm === undefined) throw new Error("there was no calm moment to compare with: give more minutes");
  const { stalls, longestMs, ranMs, collectorMs } = stallsOf(server, startedAt);
  const inside = (stall: Stall, { from, to }: Span): boolean =>
    stall.endedAt > from && stall.endedAt - stall.tookMs < to;
  const longestIn = (found: readonly Stall[]): string => (found.length === 0 ? "below 8" : readable(found[0]!.tookMs));
  console.log(
    `${readable(result.perSecond)} calls/s; p50 / p99 / largest ${readable(result.latencyMs.p50)} / ` +
      `${readable(result.latencyMs.p99)} / ${readable(result.latencyMs.max)} ms`,
  );
  console.log(
    `longest stall of the loop ${readable(longestMs)} ms; longest that it ran in one turn ${readable(ranMs)} ms; ` +
      `longest pause of the collector ${readable(collectorMs)} ms`,
  );
  console.log("                   times    took s     calls/s   of calm   longest stall, ms");
  const row = (name: string, times: number, took: string, perSecond: number, longest: string): void =>
    console.log(
      `  ${name.padEnd(16)}${String(times).padStart(6)}${took.padStart(10)}${readable(perSecond).padStart(12)}` +
        `${`${Math.round((perSecond / calm) * 100)} %`.padStart(10)}${longest.padStart(20)}`,
    );
  row("calm", 1, "", calm, longestIn(stalls.filter((stall) => !spans.some((span) => inside(stall, span)))));
  for (const work of WORKS) {
    const own = spans.filter((span) => span.work === work);
    const perSecond = speed(result, (from, to) => to <= last && own.some((span) => span.from < to && span.to > from));
    if (perSecond === undefined) continue;
    const took = readable(median(own.map(({ from, to }) => to - from)) / 1000);
    row(
      work,
      own.length,
      took,
      perSecond,
      longestIn(stalls.filter((stall) => own.some((span) => inside(stall, span)))),
    );
  }
  console.log("the longest stalls:");
  for (const stall of stalls.slice(0, STALLS_TOLD)) {
    const during = [...new Set(spans.filter((span) => inside(stall, span)).map(({ work }) => work))].join(", ");
    console.log(
      `  ${readable(stall.tookMs)} ms, of it ${readable(stall.ranMs)} running, ${readable(stall.collectorMs)} the collector's; during: ${during || "calls alone"}`,
    );
  }
  return stalls.slice(0, STALLS_TOLD);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      minutes: { type: "string", default: "10" },
      keys: { type: "string", default: "200000" },
      "in-flight": { type: "string", default: "100" },
      gets: { type: "string", default: "1" },
      profile: { type: "boolean", default: false },
      "node-flags": { type: "string" },
    },
  });
  const generator = new LoadGenerator();
  try {
    await Stage.with(async (stage) => {
      const folder = mkdtempSync(join(stage.folder, "profile-"));
      const probe = `file://${join(PROJECT, "dist", "bench", "stall-probe.js")}`;
      const flags = ["--import", probe, ...(values["node-flags"]?.split(",") ?? [])];
      if (values.profile) flags.push("--cpu-prof", `--cpu-prof-dir=${folder}`);
      console.log(`stalls of the loop, ${describeMachine(stage.folder)}`);
      const server = await stage.start(walnut(flags), await stage.seat(), {
        flags: BENCH_FLAGS,
        snapshotCount: 100_000,
      });
      const startedAt = Date.now();
      await loadKeys(generator, server, Number(values.keys));
      const housework = new Housework(server);
      const get = LOAD_SCENARIOS.find(({ name }) => name === "get-linearizable-100")!.calls[0]!;
      const gets = { ...get, request: { ...get.request, weight: Number(values.gets) } };
      const works = Promise.all([housework.run(), housework.watchSegments()]);
      const result = await runCalls(generator, server, [valuePut(), gets], {
        inFlight: Number(values["in-flight"]),
        seed: 1,
        until: { kind: "time", warmUpSeconds: 2, seconds: Number(values.minutes) * 60 },
      });
      housework.end();
      await works;
      await pause(1_100); // the probe's last line
      const stalls = report(result, housework.spans, server, startedAt);
      await server.stop();
      if (!values.profile) return;
      const file = readdirSync(folder).find((name) => name.endsWith(".cpuprofile"));
      if (file === undefined) throw new Error("node wrote no CPU profile: the server did not end by itself");
      const text = readFileSync(join(folder, file), "utf8");
      for (const { tookMs, profileMicroseconds } of stalls) {
        console.log(`in the stall of ${readable(tookMs)} ms:`);
        printBusiest(text, { from: profileMicroseconds - tookMs * 1000, to: profileMicroseconds });
      }
    });
  } finally {
    await generator.stop();
  }
}

await main();
