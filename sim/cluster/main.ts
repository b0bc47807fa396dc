#!/usr/bin/env node
/**
 * Many seeds on several processes, counted: `npm run sim -- --seeds 1000`. Ends with status 1 when a law was broken; then each
 * violation is printed with the command that repeats it; and when a large campaign never came to a situation that matters. With `--canary NAME` the server has a mistake, and the status is 1 when no
 * seed found it.
 */
import { execFileSync, fork, type ChildProcess } from "node:child_process";
import { parseArgs } from "node:util";
import { CANARIES, canaryNamed, checkApplies, type Canary } from "./canaries.js";
import { Counts } from "./counts.js";
import { missedSituations } from "./situations.js";
import type { SwarmOptions } from "./swarm.js";
import type { SeedOrder, SeedResult } from "./worker.js";

interface Settings {
  readonly seeds: number;
  readonly from: number;
  readonly workers: number;
  readonly twiceEvery: number;
  readonly swarm: SwarmOptions;
  readonly canary: Canary | undefined;
  /** Stop at the first violation. */
  readonly stopsEarly: boolean;
  readonly showsLog: boolean;
}

interface Campaign {
  readonly counts: Counts;
  readonly violations: SeedResult[];
  readonly seeds: number;
  readonly twice: number;
  readonly operations: number;
  readonly worldMs: number;
  readonly processorMs: number;
  readonly wallMs: number;
}

const HELP = `npm run sim -- [options]
  --seeds N          run N seeds (100)          --from S        the first of them (1)
  --seed S           run one seed, and show the members' logs when it breaks a law
  --members N        members of the cluster (drawn: 1, 3 or 5)
  --operations N     calls of clients in a run (drawn)
  --workers N        processes (2)              --twice-every N  run every Nth seed twice (100; 0 for never)
  --canary NAME      with a mistake in the server: a seed must find it
  --canaries         all of them, one after the other
`;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seeds: { type: "string", default: "100" },
      from: { type: "string", default: "1" },
      seed: { type: "string" },
      members: { type: "string" },
      operations: { type: "string" },
      workers: { type: "string", default: "2" },
      "twice-every": { type: "string", default: "100" },
      canary: { type: "string" },
      canaries: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  const one = values.seed === undefined ? undefined : wholeNumber("seed", values.seed);
  const settings: Settings = {
    seeds: one === undefined ? wholeNumber("seeds", values.seeds) : 1,
    from: one ?? wholeNumber("from", values.from),
    workers: one === undefined ? wholeNumber("workers", values.workers) : 1,
    twiceEvery: wholeNumber("twice-every", values["twice-every"]),
    swarm: {
      ...(values.members === undefined ? {} : { members: wholeNumber("members", values.members) }),
      ...(values.operations === undefined ? {} : { operations: wholeNumber("operations", values.operations) }),
    },
    canary: values.canary === undefined ? undefined : canaryNamed(values.canary),
    stopsEarly: false,
    showsLog: one !== undefined,
  };
  if (values.canaries) return runCanaries(settings);
  if (settings.canary !== undefined) return (await runCanary(settings, settings.canary)) ? 0 : 1;
  const campaign = await run(settings);
  for (const violation of campaign.violations) console.log(describeViolation(settings, violation));
  console.log(describeCampaign(campaign));
  // A campaign of a certain kind of clusters owes nothing.
  const missed = Object.keys(settings.swarm).length > 0 ? [] : missedSituations(campaign.seeds, campaign.counts);
  for (const situation of missed) console.log(`never reached in ${campaign.seeds} seeds: ${situation}`);
  return campaign.violations.length === 0 && missed.length === 0 ? 0 : 1;
}

async function runCanaries(settings: Settings): Promise<number> {
  const missed: string[] = [];
  for (const canary of CANARIES) if (!(await runCanary(settings, canary))) missed.push(canary.name);
  console.log(`${CANARIES.length - missed.length} of ${CANARIES.length} canaries found`);
  for (const name of missed) console.log(`not found within ${settings.seeds} seeds: ${name}`);
  return missed.length === 0 ? 0 : 1;
}

/** Answers whether a seed found the mistake. */
async function runCanary(settings: Settings, canary: Canary): Promise<boolean> {
  checkApplies(canary);
  const swarm = canary.members === undefined ? settings.swarm : { members: canary.members, ...settings.swarm };
  const { violations, seeds } = await run({ ...settings, swarm, canary, stopsEarly: true, twiceEvery: 0 });
  const [first] = violations.sort((a, b) => a.seed - b.seed);
  if (first === undefined) {
    console.log(`${canary.name}: NOT FOUND in ${seeds} seeds (${canary.what})`);
    return false;
  }
  console.log(`${canary.name}: found by seed ${first.seed}, ${firstLine(first.violation!.text)}`);
  if (settings.showsLog) console.log(first.violation!.log);
  return true;
}

/** Hands out seeds to the workers until all are done. */
function run(settings: Settings): Promise<Campaign> {
  const { seeds, from, workers, twiceEvery, swarm } = settings;
  const counts = new Counts();
  const violations: SeedResult[] = [];
  const sums = { operations: 0, worldMs: 0, processorMs: 0, twice: 0 };
  const began = performance.now();
  let next = 0;
  let done = 0;
  return new Promise((resolve, reject) => {
    const children = new Set<ChildProcess>();
    const finish = (): void => {
      for (const child of children) child.disconnect();
      children.clear();
      clearProgress();
      resolve({ counts, violations, seeds: done, ...sums, wallMs: performance.now() - began });
    };
    const give = (child: ChildProcess): void => {
      if (next >= seeds || (settings.stopsEarly && violations.length > 0)) {
        child.disconnect();
        children.delete(child);
        if (children.size === 0) finish();
        return;
      }
      const seed = from + next++;
      const twice = twiceEvery > 0 && seed % twiceEvery === 0;
      if (twice) sums.twice++;
      child.send({ seed, options: swarm, twice } satisfies SeedOrder);
    };
    for (let i = 0; i < Math.min(workers, seeds); i++) {
      const child = startWorker(settings.canary);
      children.add(child);
      child.on("message", (result: SeedResult) => {
        done++;
        counts.addAll(result.counts);
        sums.operations += result.counts["operations"] ?? 0;
        sums.worldMs += result.worldMs;
        sums.processorMs += result.processorMs;
        if (result.violation !== undefined) violations.push(result);
        showProgress(done, seeds, violations.length, performance.now() - began);
        give(child);
      });
      child.on("exit", (code, signal) => {
        if (children.has(child)) reject(new Error(`a worker ended by itself (status ${code}, signal ${signal})`));
      });
      give(child);
    }
  });
}

function startWorker(canary: Canary | undefined): ChildProcess {
  const loader = new URL("./canary-loader.js", import.meta.url).href;
  return fork(new URL("./worker.js", import.meta.url), {
    execArgv: ["--enable-source-maps", ...(canary === undefined ? [] : ["--import", loader])],
    env: { ...process.env, ...(canary === undefined ? {} : { WALNUT_CANARY: canary.name }) },
  });
}

function showProgress(done: number, seeds: number, violations: number, wallMs: number): void {
  if (!process.stderr.isTTY) return;
  const perMinute = ((done / wallMs) * 60_000).toFixed(0);
  process.stderr.write(`\r${done} of ${seeds} seeds, ${perMinute} a minute, ${violations} violations `);
}

function clearProgress(): void {
  if (process.stderr.isTTY) process.stderr.write("\r\u001b[K");
}

function describeViolation(settings: Settings, { seed, violation }: SeedResult): string {
  const flags = Object.entries(settings.swarm).map(([name, value]) => ` --${name} ${String(value)}`);
  const log = settings.showsLog ? `\n${violation!.log}` : "";
  return (
    `seed ${seed} (commit ${commit()}): ${violation!.text}${log}\n` +
    `  repeat it with: npm run sim -- --seed ${seed}${flags.join("")}\n`
  );
}

function describeCampaign({ counts, violations, seeds, twice, worldMs, processorMs, wallMs }: Campaign): string {
  const lines = Object.entries(counts.toJSON()).map(([name, count]) => `  ${String(count).padStart(9)}  ${name}`);
  const minutes = wallMs / 60_000;
  const head =
    `${seeds} seeds, ${violations.length} violations, ${twice} run twice with the same trace or named above; ` +
    `${(seeds / minutes).toFixed(0)} seeds a minute, ${(processorMs / Math.max(1, seeds)).toFixed(0)} ms of a processor each; ` +
    `${(worldMs / 3_600_000).toFixed(1)} hours of the world's time`;
  return [...lines, head].join("\n");
}

function commit(): string {
  try {
    return execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
  } catch {
    return "unknown";
  }
}

function firstLine(text: string): string {
  return text.split("\n")[0]!;
}

function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`--${name}=${text}: a whole number is expected`);
  return value;
}

process.exitCode = await main();
