/**
 * Walnut beside real etcd on the same machine in the same run: `npm run bench`.
 *
 *     node dist/bench/bench.js [--scenarios put,get,txn] [--rounds 3] [--seconds 2] [--settle 0.2] [--servers 3.5.16,3.5.30,walnut]
 *         [--judged walnut] [--keys 1000000] [--entries 1000000] [--json FILE] [--from FILE] [--write] [--list]
 *
 * The servers take turns, round by round, one at a time; medians are compared, with the better etcd, and the spread is told. The load
 * comes from the project's own generator (`load/`); its ceiling and `h2load`'s stand beside. `--scenarios` takes beginnings of names;
 * `--list` prints them. `--settle` is how many seconds of a round are played before those that count. `--write` puts tables and picture
 * into `docs/`, `--json` keeps the figures; `--from` takes kept ones and plays nothing.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { format, resolveConfig } from "prettier";
import { PROJECT, reference, serverNamed, type ServerBinary } from "../test/support/binaries.js";
import { Stage } from "../test/support/servers.js";
import { inTurns, SeatedContestant } from "./comparison.js";
import { describeMachine, describeSpread, readable, spread } from "./figures.js";
import { H2loadPlay, putBody } from "./h2load.js";
import { playEntries, playKeys, type SizeRow } from "./large-stores.js";
import { BENCH_FLAGS, LoadTable, SETTLE_SECONDS, type LoadFigures } from "./load-play.js";
import { measureCeiling, type Ceiling } from "./load/ceiling.js";
import { LoadGenerator } from "./load/generator.js";
import { picture } from "./picture.js";
import { markdown, placeReport, type H2loadRow, type LoadRow, type Report } from "./report.js";
import { LOAD_SCENARIOS } from "./scenarios.js";

const PAGE = join(PROJECT, "docs", "performance.md");
const PICTURE = "bench.svg";
const WARM_UP_SECONDS = 1;
const CEILING_IN_FLIGHT = [1, 100, 1_000];
const H2LOAD_IN_FLIGHT = 100;
/** What is played besides load. */
const OTHERS = {
  ceiling: "what the generators get out of a server that does nothing",
  "h2load-put": `put, one key, 256 B, ${H2LOAD_IN_FLIGHT} in flight, by h2load`,
  "stores-keys": "memory, db and boot with many keys",
  "stores-entries": "boot on a log of many entries",
} as const;

interface BenchOptions {
  readonly wanted: (name: string, onRequest?: boolean) => boolean;
  readonly servers: readonly ServerBinary[];
  readonly judged: string;
  readonly rounds: number;
  readonly seconds: number;
  readonly settleSeconds: number;
  readonly keys: number;
  readonly entries: number;
}

/** Plays all that is wanted. */
async function play(stage: Stage, generator: LoadGenerator, options: BenchOptions): Promise<Report> {
  const { servers, judged, rounds, seconds, settleSeconds, wanted } = options;
  const machine = describeMachine(stage.folder);
  console.log(machine);
  const ceilings = wanted("ceiling") ? await playCeilings(stage, generator) : [];
  const table = new LoadTable(stage, generator, servers, {
    rounds,
    seconds,
    settleSeconds,
    warmUpSeconds: WARM_UP_SECONDS,
  });
  const loads: LoadRow[] = [];
  for (const scenario of LOAD_SCENARIOS.filter(({ name, onRequest }) => wanted(name, onRequest))) {
    const { name, title } = scenario;
    console.log(`\n${title}`);
    const of = await table.play(scenario);
    for (const [server, figures] of Object.entries(of))
      console.log(`  ${server.padEnd(12)} ${describeFigures(figures)}`);
    loads.push({ name, title, of });
  }
  const h2loads = wanted("h2load-put") ? [await playH2load(stage, options)] : [];
  const sizes: SizeRow[] = [];
  if (wanted("stores-keys")) sizes.push(...(await playKeys(stage, generator, servers, options)));
  if (wanted("stores-entries")) sizes.push(...(await playEntries(stage, generator, reference(), servers, options)));
  for (const { title, unit, of } of sizes) {
    console.log(`\n${title}`);
    for (const [server, figure] of Object.entries(of))
      console.log(`  ${server.padEnd(12)} ${describeSpread(figure)} ${unit}`);
  }
  return {
    machine,
    rounds,
    seconds,
    settleSeconds,
    servers: servers.map(({ name }) => name),
    judged,
    ceilings,
    loads,
    h2loads,
    sizes,
  };
}

function describeFigures({ perSecond, latencyMs, serverCpuSeconds, generatorCpuSeconds }: LoadFigures): string {
  const latency = [latencyMs.p50.median, latencyMs.p99.median, latencyMs.max].map(readable).join(" / ");
  const processor = [serverCpuSeconds.median, generatorCpuSeconds.median].map(readable);
  return (
    `${describeSpread(perSecond)} /s; p50 / p99 / largest ${latency} ms; ` +
    `processor s for 100,000: server ${processor[0]}, generator ${processor[1]}`
  );
}

async function playCeilings(stage: Stage, generator: LoadGenerator): Promise<Ceiling[]> {
  console.log(`\n${OTHERS.ceiling}`);
  const body = putBody(stage.folder);
  const ceilings: Ceiling[] = [];
  for (const inFlight of CEILING_IN_FLIGHT) {
    const ceiling = await measureCeiling(generator, body, inFlight, { rounds: 3, seconds: 1 });
    const [own, theirs] = [ceiling.generatorPerSecond, ceiling.h2loadPerSecond].map(readable);
    console.log(`  ${inFlight} in flight: this generator ${own} /s, h2load ${theirs} /s`);
    ceilings.push(ceiling);
  }
  return ceilings;
}

async function playH2load(stage: Stage, { servers, rounds, seconds }: BenchOptions): Promise<H2loadRow> {
  const title = OTHERS["h2load-put"];
  console.log(`\n${title}`);
  const contestants: SeatedContestant[] = [];
  for (const binary of servers)
    contestants.push(new SeatedContestant(stage, binary, await stage.seat(), { flags: BENCH_FLAGS }));
  const warmUp = (requests: number): number => 2_000 + Math.ceil(requests / 3);
  const body = putBody(stage.folder);
  const results = await inTurns(
    contestants,
    rounds,
    new H2loadPlay(body, { inFlight: H2LOAD_IN_FLIGHT, seconds }, warmUp),
  );
  const of = servers.map(({ name }, i) => [name, spread(results[i]!.map(({ perSecond }) => perSecond))] as const);
  for (const [server, figure] of of) console.log(`  ${server.padEnd(12)} ${describeSpread(figure)} /s`);
  return { title: title.replace(", by h2load", ""), of: Object.fromEntries(of) };
}

/** Puts the report into the documents. */
async function write(report: Report): Promise<void> {
  writeFileSync(join(PROJECT, "docs", PICTURE), picture(report));
  const text = placeReport(readFileSync(PAGE, "utf8"), markdown(report, PICTURE));
  writeFileSync(PAGE, await format(text, { ...(await resolveConfig(PAGE)), filepath: PAGE }));
  console.log(`\nwritten: docs/performance.md, docs/${PICTURE}`);
}

/** What is played: all but what has to be named, or what has one of these names or begins with them. @throws where nothing does */
function chosen(words: readonly string[] | undefined): BenchOptions["wanted"] {
  if (words === undefined) return (_, onRequest = false) => !onRequest;
  const names = [...Object.keys(OTHERS), ...LOAD_SCENARIOS.map(({ name }) => name)];
  const found = words.map((word) => (names.includes(word) ? [word] : names.filter((name) => name.startsWith(word))));
  const unknown = words.filter((_, i) => found[i]!.length === 0);
  if (unknown.length > 0)
    throw new Error(`no scenario has or begins with the name ${unknown.join(", ")}: --list prints them`);
  const played = new Set(found.flat());
  return (name) => played.has(name);
}

function optionsOf(values: {
  readonly scenarios?: string | undefined;
  readonly servers: string;
  readonly judged?: string | undefined;
  readonly rounds: string;
  readonly seconds: string;
  readonly settle: string;
  readonly keys: string;
  readonly entries: string;
}): BenchOptions {
  const servers = values.servers.split(",").map(serverNamed);
  const names = servers.map(({ name }) => name);
  if (new Set(names).size < names.length) throw new Error(`a server is named twice: ${names.join(", ")}`);
  const judged = values.judged === undefined ? names.at(-1)! : serverNamed(values.judged).name;
  if (!names.includes(judged)) throw new Error(`${judged} cannot be judged: the servers are ${names.join(", ")}`);
  return {
    wanted: chosen(values.scenarios?.split(",")),
    servers,
    judged,
    rounds: Number(values.rounds),
    seconds: Number(values.seconds),
    settleSeconds: Number(values.settle),
    keys: Number(values.keys),
    entries: Number(values.entries),
  };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      scenarios: { type: "string" },
      rounds: { type: "string", default: "3" },
      seconds: { type: "string", default: "2" },
      settle: { type: "string", default: String(SETTLE_SECONDS) },
      servers: { type: "string", default: "3.5.16,3.5.30,walnut" },
      judged: { type: "string" },
      keys: { type: "string", default: "1000000" },
      entries: { type: "string", default: "1000000" },
      json: { type: "string" },
      from: { type: "string" },
      write: { type: "boolean", default: false },
      list: { type: "boolean", default: false },
    },
  });
  if (values.list) {
    for (const [name, title] of Object.entries(OTHERS)) console.log(`${name.padEnd(24)} ${title}`);
    for (const { name, title, onRequest } of LOAD_SCENARIOS)
      console.log(`${name.padEnd(24)} ${title}${onRequest === true ? " (only when named)" : ""}`);
    return;
  }
  const report =
    values.from === undefined
      ? await playAll(optionsOf(values))
      : (JSON.parse(readFileSync(values.from, "utf8")) as Report);
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, null, 2)}\n`);
  if (values.write) await write(report);
  else console.log(`\n${markdown(report, PICTURE)}`);
}

async function playAll(options: BenchOptions): Promise<Report> {
  const generator = new LoadGenerator();
  try {
    return await Stage.with(async (stage) => play(stage, generator, options));
  } finally {
    await generator.stop();
  }
}

await main();
