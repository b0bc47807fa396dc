/**
 * `check perf` and `check datascale`: whether a cluster carries a load, and what data costs it in memory. The loads, the limits and the
 * lines are etcdctl's.
 *
 * Both write keys of their own under a prefix that must be empty, and delete them again, also when they are interrupted.
 */
import { get as httpGet } from "node:http";
import { get as httpsGet } from "node:https";
import { performance } from "node:perf_hooks";
import type { Command } from "commander";
import { quoteBytes } from "../../base/go-quote.js";
import { utf8FromText } from "../../base/text.js";
import { type Client, prefixRange } from "../../client/index.js";
import { DeleteRangeRequest, RangeRequest } from "../../proto/index.js";
import { CommandFailure, ExitCode } from "./failure.js";
import { openClient } from "./global-flags.js";
import { aborted, untilInterrupted } from "./interrupt.js";
import { counted, type LoadFigures, paced, runLoad } from "./load.js";
import { startProgress } from "./progress.js";
import type { Run, Session } from "./run.js";

export interface CheckFlags {
  readonly load: string;
  readonly prefix: string;
  readonly autoCompact?: boolean;
  readonly autoDefrag?: boolean;
}

/** Writes a second that are asked for, and how many are in flight at most. */
const PERF_LOADS = {
  s: { perSecond: 150, clients: 50 },
  m: { perSecond: 1_000, clients: 200 },
  l: { perSecond: 8_000, clients: 500 },
  xl: { perSecond: 15_000, clients: 1_000 },
} as const;
const PERF_SECONDS = 60;
const PERF_SIZES = { keyBytes: 256, valueBytes: 1024 };

/** Pairs that are put, and how many at once. */
const DATASCALE_LOADS = {
  s: { pairs: 10_000, clients: 50 },
  m: { pairs: 100_000, clients: 200 },
  l: { pairs: 1_000_000, clients: 500 },
  xl: { pairs: 3_000_000, clients: 1_000 },
} as const;
const DATASCALE_SIZES = { keyBytes: 512, valueBytes: 512 };

/** What a load must reach: the part of its writes that are made, and seconds. */
const THROUGHPUT_MIN = 0.9;
const SLOWEST_MAX = 0.5;
const DEVIATION_MAX = 0.1;

/** For each step of the cleaning up. */
const CLEANUP_MS = 30_000;

/** Of a second, that this process was busy: past that the figures are its own. */
const BUSY_MAX = 0.9;

type LoadName = keyof typeof PERF_LOADS;
const LOAD_NAMES = new Map<string, LoadName>([
  ["s", "s"],
  ["small", "s"],
  ["m", "m"],
  ["medium", "m"],
  ["l", "l"],
  ["large", "l"],
  ["xl", "xl"],
  ["xLarge", "xl"],
]);

export function addCheckFlags(command: Command, prefix: string): Command {
  return command
    .argument("[arguments...]", "none")
    .usage("[options]")
    .option("--load <load>", "s(small), m(medium), l(large) or xl(xLarge)", "s")
    .option("--prefix <prefix>", "where the keys are put; nothing may be there", prefix)
    .option("--auto-compact", "compact when the keys are deleted again")
    .option("--auto-defrag", "defragment the endpoints afterwards");
}

// ---- perf -----------------------------------------------------------------------------------------------------------

export const checkPerf: Run<CheckFlags> = async (session, _args, flags) => {
  const { perSecond, clients: count } = PERF_LOADS[loadOf(flags.load)];
  const { world } = session;
  const prefix = utf8FromText(flags.prefix);
  await refuseUsed(session, flags.prefix, `'walnut del --prefix ${flags.prefix}'`);
  const { figures, busy } = await withClients(session, count, (clients) =>
    untilInterrupted(world, async (interrupted) => {
      const stop = new AbortController();
      const stopTimer = stopAfter(session, PERF_SECONDS, stop);
      void aborted(interrupted).then(() => stop.abort());
      const before = performance.eventLoopUtilization();
      try {
        const pace = paced({ perSecond, waitingMax: count }, stop.signal, world);
        const made = await runLoad(clients, pace, { ...PERF_SIZES, prefix }, world);
        return { figures: made, busy: performance.eventLoopUtilization(before).utilization };
      } finally {
        stopTimer();
      }
    }),
  );
  await cleanUp(session, flags).catch((error: unknown) => {
    world.out(`FAIL: Cleanup failed during key deletion: ERROR(${sentence(error)})\n`);
  });
  if (flags.autoDefrag === true) await defragment(session);
  const { lines, passed } = perfVerdict(figures, perSecond);
  world.out(lines.map((line) => `${line}\n`).join(""));
  if (busy > BUSY_MAX) {
    const percent = Math.round(busy * 100);
    world.err(
      `walnut: this command itself was busy for ${percent}% of the time: the figures are its own rather than the cluster's. ` +
        "A smaller --load, or several of these on other machines, tell more\n",
    );
  }
  if (!passed) throw new CommandFailure(ExitCode.error, "the check failed", { told: true });
};

/** Stops after so many seconds, which a bar shows. */
function stopAfter({ world }: Session, seconds: number, stop: AbortController): () => void {
  const progress = startProgress(world, "check {bar} {percentage}% | {value} of {total} s");
  const began = world.now();
  progress.update(0, seconds);
  const end = world.every(100, () => {
    const passed = (world.now() - began) / 1000;
    progress.update(Math.min(Math.floor(passed), seconds), seconds);
    if (passed >= seconds) stop.abort();
  });
  return () => {
    end();
    progress.stop();
  };
}

/** @param perSecond the writes that were asked for */
export function perfVerdict(
  { perSecond: made, slowest, deviation, errors }: LoadFigures,
  perSecond: number,
): { readonly lines: readonly string[]; readonly passed: boolean } {
  const isFast = made / perSecond > THROUGHPUT_MIN;
  const isEven = slowest <= SLOWEST_MAX;
  // Where nothing was written there is no deviation, and that is told by the throughput.
  const isSteady = !(deviation > DEVIATION_MAX);
  const passed = errors.size === 0 && isFast && isEven && isSteady;
  const rate = Math.trunc(made) + 1;
  const lines = [
    ...describeErrors(errors),
    isFast ? `PASS: Throughput is ${rate} writes/s` : `FAIL: Throughput too low: ${rate} writes/s`,
    isEven
      ? `PASS: Slowest request took ${slowest.toFixed(6)}s`
      : `Slowest request took too long: ${slowest.toFixed(6)}s`,
    isSteady ? `PASS: Stddev is ${deviation.toFixed(6)}s` : `Stddev too high: ${deviation.toFixed(6)}s`,
    passed ? "PASS" : "FAIL",
  ];
  return { lines, passed };
}

function describeErrors(errors: ReadonlyMap<string, number>): string[] {
  if (errors.size === 0) return [];
  return ["FAIL: too many errors", ...[...errors].map(([text, count]) => `FAIL: ERROR(${text}) -> ${count}`)];
}

// ---- datascale ------------------------------------------------------------------------------------------------------

export const checkDatascale: Run<CheckFlags> = async (session, _args, flags) => {
  const { pairs, clients: count } = DATASCALE_LOADS[loadOf(flags.load)];
  const { world } = session;
  const prefix = utf8FromText(flags.prefix);
  await refuseUsed(session, flags.prefix, `walnut del --prefix ${flags.prefix}`);
  const bytesBefore = await residentBytes(session, "before");
  const bytesPerPair = DATASCALE_SIZES.keyBytes + DATASCALE_SIZES.valueBytes;
  world.out(
    `Start data scale check for work load [${pairs} key-value pairs, ${bytesPerPair} bytes per key-value, ${count} concurrent clients].\n`,
  );
  const figures = await withClients(session, count, (clients) =>
    untilInterrupted(world, async (interrupted) => {
      const progress = startProgress(world, "check {bar} {percentage}% | {value} of {total} pairs | {eta_formatted}");
      let done = 0;
      try {
        const tell = (): void => progress.update(++done, pairs);
        const made = await runLoad(clients, counted(pairs, interrupted), { ...DATASCALE_SIZES, prefix }, world, tell);
        if (interrupted.aborted) await cleanUp(session, { ...flags, autoCompact: false });
        interrupted.throwIfAborted();
        return made;
      } finally {
        progress.stop();
      }
    }),
  );
  const bytesAfter = await residentBytes(session, "after");
  await cleanUp(session, flags);
  if (flags.autoDefrag === true) await defragment(session);
  if (figures.errors.size > 0) {
    world.out(`${describeErrors(figures.errors).join("\n")}\n`);
    throw new CommandFailure(ExitCode.error, "the check failed", { told: true });
  }
  const megabytes = (bytesAfter - bytesBefore) / 1024 / 1024;
  world.out(`PASS: Approximate system memory used : ${megabytes.toFixed(2)} MB.\n`);
};

/** Memory of the first endpoint's process, as its metrics tell it. */
async function residentBytes(session: Session, moment: "before" | "after"): Promise<number> {
  const { world } = session;
  const key = "process_resident_memory_bytes";
  try {
    const metrics = await fetchMetrics(session);
    const value = new RegExp(String.raw`^${key} (\S+)$`, "m").exec(metrics)?.[1];
    if (value === undefined) throw new Error(`could not find: ${key}`);
    return Number(value);
  } catch (cause) {
    world.out(`${sentence(cause)}\nFAIL: Could not read ${key} ${moment} the put operations.\n`);
    throw new CommandFailure(ExitCode.error, "the check failed", { told: true, cause });
  }
}

function fetchMetrics({ globals }: Session): Promise<string> {
  const [endpoint = ""] = globals.endpoints;
  const url = `${/^https?:/.test(endpoint) ? endpoint : `http://${endpoint}`}/metrics`;
  const { cert, key, ca, anyServer } = globals.client.tls ?? {};
  const pem = (bytes: Uint8Array | undefined): Buffer | undefined => bytes && Buffer.from(bytes);
  const files = { cert: pem(cert), key: pem(key), ca: pem(ca), rejectUnauthorized: anyServer !== true };
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void => reject(new Error(`fetch error: Get ${JSON.stringify(url)}: ${error.message}`));
    const request = (url.startsWith("https:") ? httpsGet : httpGet)(url, { agent: false, ...files }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part: string) => (text += part));
      response.on("end", () => resolve(text));
      response.on("error", fail);
    });
    request.on("error", fail);
  });
}

// ---- shared ---------------------------------------------------------------------------------------------------------

function loadOf(text: string): LoadName {
  const name = LOAD_NAMES.get(text);
  if (name === undefined) throw new CommandFailure(ExitCode.badFeature, `unknown load option ${text}`);
  return name;
}

/** Connections of their own, spread over the endpoints. */
async function withClients<Value>(
  { globals }: Session,
  count: number,
  work: (clients: readonly Client[]) => Promise<Value>,
): Promise<Value> {
  const { endpoints } = globals;
  const clients = Array.from({ length: count }, (_, at) => {
    const first = at % endpoints.length;
    return openClient(globals, [...endpoints.slice(first), ...endpoints.slice(0, first)]);
  });
  try {
    return await work(clients);
  } finally {
    for (const client of clients) client.close();
  }
}

async function refuseUsed({ client }: Session, prefix: string, remedy: string): Promise<void> {
  const bytes = utf8FromText(prefix);
  const { kvs } = await client.range({ ...RangeRequest.create(), ...prefixRange(bytes), limit: 1 });
  if (kvs.length === 0) return;
  const detail = `prefix ${quoteBytes(bytes)} has keys. Delete with ${remedy} first`;
  throw new CommandFailure(ExitCode.invalidInput, detail);
}

async function cleanUp({ client, world }: Session, { prefix, autoCompact }: CheckFlags): Promise<void> {
  const request = { ...DeleteRangeRequest.create(), ...prefixRange(utf8FromText(prefix)) };
  const { header } = await client.deleteRange(request, { timeoutMs: CLEANUP_MS });
  if (autoCompact !== true) return;
  const revision = header?.revision ?? 0;
  world.out(`Compacting with revision ${revision}\n`);
  await client.compact({ revision, physical: true }, { timeoutMs: CLEANUP_MS });
  world.out(`Compacted with revision ${revision}\n`);
}

async function defragment({ client, globals, world }: Session): Promise<void> {
  for (const endpoint of globals.endpoints) {
    const quoted = quoteBytes(utf8FromText(endpoint));
    world.out(`Defragmenting ${quoted}\n`);
    await client.defragment(endpoint, { timeoutMs: CLEANUP_MS });
    world.out(`Defragmented ${quoted}\n`);
  }
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
