/**
 * Puts of 256 bytes against Walnut and real etcd in the same run: `npm run bench:put`.
 *
 *   node dist/bench/put.js [--rounds 5] [--in-flight 1,100,1000] [--seconds 4] [--left SERVER] [--right SERVER] [--profile]
 *
 * `h2load` sends the load, so no client of ours is measured. The servers take turns, round by round, each on a folder of its
 * own on the same disk, one at a time; the medians of the rounds are compared and their spread is printed, since a shared
 * machine has moods. `h2load` reads HTTP statuses only, which are 200 for a refused call too: that the puts happened is proved
 * by the store's revision, which must have grown by exactly as many as there were answers.
 *
 * `--profile` runs Walnut under node's CPU profiler and prints where the time went, by function and by file.
 */
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  closeSync,
  fdatasyncSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { reference, serverNamed, underTest, walnut, type ServerBinary } from "../test/support/binaries.js";
import { encode } from "../test/support/messages.js";
import { Stage, type Server } from "../test/support/servers.js";
import { run } from "../test/support/tools.js";

const VALUE_BYTES = 256;
const KEY = "bench/put/key";
/** Connections for a number of requests in flight: as many clients as etcd's own benchmark would use. */
const connectionsFor = (inFlight: number): number => Math.min(10, inFlight);

interface Round {
  readonly perSecond: number;
  readonly meanMs: number;
  readonly maxMs: number;
}

/** One round of load; checks that every answer was a put that happened. */
async function load(server: Server, body: string, inFlight: number, requests: number): Promise<Round> {
  const before = await server.client.revision();
  const connections = connectionsFor(inFlight);
  const words = `-n ${requests} -c ${connections} -m ${Math.ceil(inFlight / connections)} -t 1`;
  const output = await run("h2load", [
    ...words.split(" "),
    "-d",
    body,
    "-H",
    "content-type: application/grpc",
    "-H",
    "te: trailers",
    `http://${server.address}/etcdserverpb.KV/Put`,
  ]);
  const grown = (await server.client.revision()) - before;
  const finished = /finished in [\d.]+m?s, ([\d.]+) req\/s/.exec(output.stdout);
  const succeeded = Number(/(\d+) succeeded/.exec(output.stdout)?.[1]);
  const times = /time for request: +\S+ +(\S+) +(\S+)/.exec(output.stdout);
  if (finished === null || times === null || output.code !== 0)
    throw new Error(`h2load: ${output.stdout}${output.stderr}`);
  if (succeeded !== requests) throw new Error(`${succeeded} of ${requests} requests were answered:\n${output.stdout}`);
  if (grown !== requests)
    throw new Error(`${server.binary.name} answered ${requests} puts and its revision grew by ${grown}`);
  return { perSecond: Number(finished[1]), meanMs: inMs(times[2]!), maxMs: inMs(times[1]!) };
}

function inMs(text: string): number {
  const [, number, unit] = /^([\d.]+)(us|ms|s)$/.exec(text) ?? [];
  if (number === undefined) throw new Error(`h2load printed a time that is none: ${text}`);
  return Number(number) * { us: 0.001, ms: 1, s: 1000 }[unit as "us" | "ms" | "s"];
}

/** A gRPC frame with a put: 1 byte for "not compressed", 4 for the length, the message. */
function putFrame(): Uint8Array {
  const message = encode("PutRequest", { key: Buffer.from(KEY), value: randomBytes(VALUE_BYTES) });
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** What one fdatasync of a small append costs on this disk: machines differ, so it stands beside the figures. */
function syncMicroseconds(folder: string): number {
  const file = join(folder, "probe");
  const descriptor = openSync(file, "w");
  const block = Buffer.alloc(512, 1);
  writeSync(descriptor, Buffer.alloc(2 ** 20));
  fdatasyncSync(descriptor);
  const samples = Array.from({ length: 300 }, (_, i) => {
    const begin = performance.now();
    writeSync(descriptor, block, 0, block.length, i * block.length);
    fdatasyncSync(descriptor);
    return (performance.now() - begin) * 1000;
  });
  closeSync(descriptor);
  rmSync(file);
  return median(samples);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function describeRounds(rounds: readonly Round[]): string {
  const speeds = rounds.map(({ perSecond }) => perSecond);
  const [low, high] = [Math.min(...speeds), Math.max(...speeds)];
  const mean = median(rounds.map(({ meanMs }) => meanMs));
  return `${Math.round(median(speeds))} puts/s (${Math.round(low)} to ${Math.round(high)}), mean ${mean.toFixed(2)} ms`;
}

/** Both servers under one number of requests in flight, in turns. */
async function compare(
  stage: Stage,
  servers: readonly ServerBinary[],
  body: string,
  options: { readonly inFlight: number; readonly rounds: number; readonly seconds: number },
): Promise<void> {
  const seats = await Promise.all(servers.map(async () => stage.seat()));
  const results: Round[][] = servers.map(() => []);
  // The round before the first one that counts warms up and tells how many requests fill the time.
  const requests = servers.map(() => 0);
  for (let round = -1; round < options.rounds; round++) {
    // The servers change places every round: who goes first meets a colder machine.
    const order = [...servers.keys()];
    if (round % 2 === 0) order.reverse();
    for (const i of order) {
      const server = await stage.start(servers[i]!, seats[i]!);
      // Each start meets cold caches and, on node, code that is not compiled yet: a third of the round goes before it.
      const warm = await load(
        server,
        body,
        options.inFlight,
        200 + options.inFlight * 10 + Math.ceil(requests[i]! / 3),
      );
      if (round === -1) {
        const rehearsal = await load(server, body, options.inFlight, Math.ceil(warm.perSecond / 2) + 1);
        requests[i] = Math.ceil(rehearsal.perSecond * options.seconds) + options.inFlight;
      } else {
        results[i]!.push(await load(server, body, options.inFlight, requests[i]!));
      }
      await server.stop();
    }
  }
  console.log(`${options.inFlight} in flight, ${connectionsFor(options.inFlight)} connections:`);
  for (const [i, binary] of servers.entries())
    console.log(`  ${binary.name.padEnd(12)} ${describeRounds(results[i]!)}`);
  const [left, right] = results.map((rounds) => median(rounds.map(({ perSecond }) => perSecond)));
  console.log(`  ratio ${servers[1]!.name} / ${servers[0]!.name}: ${(right! / left!).toFixed(2)}`);
}

interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** Runs Walnut under the profiler at 100 in flight and prints the functions by their own time. */
async function profile(stage: Stage, body: string, seconds: number): Promise<void> {
  const folder = mkdtempSync(join(stage.folder, "profile-"));
  const binary = walnut(["--cpu-prof", `--cpu-prof-dir=${folder}`]);
  const server = await stage.start(binary, await stage.seat());
  const warm = await load(server, body, 100, 5_000);
  const measured = await load(server, body, 100, Math.ceil(warm.perSecond * seconds));
  await server.stop();
  const file = readdirSync(folder).find((name) => name.endsWith(".cpuprofile"));
  if (file === undefined) throw new Error("node wrote no CPU profile: the process did not end by itself");
  const told = JSON.parse(readFileSync(join(folder, file), "utf8")) as CpuProfile;
  console.log(`\nwhere the time goes at 100 in flight (${Math.round(measured.perSecond)} puts/s under the profiler):`);
  printProfile(told);
}

function printProfile({ nodes, samples, timeDeltas }: CpuProfile): void {
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
  const byFunction = new Map<string, number>();
  const byFile = new Map<string, number>();
  let total = 0;
  const add = (table: Map<string, number>, name: string, time: number): void => {
    table.set(name, (table.get(name) ?? 0) + time);
  };
  for (const [i, id] of samples.entries()) {
    const { functionName, url, lineNumber } = frames.get(id)!;
    const time = timeDeltas[i]!;
    if (functionName === "(idle)") continue;
    total += time;
    const place = url.replace(/^.*\/(dist\/src|node_modules)\//, "");
    add(byFunction, `${functionName || "(anonymous)"}${place === "" ? "" : ` ${place}:${lineNumber + 1}`}`, time);
    add(byFile, place === "" ? functionName || "(native)" : place, time);
  }
  for (const [title, table] of [["by function", byFunction] as const, ["by file", byFile] as const]) {
    console.log(`  own time ${title}, of ${(total / 1e6).toFixed(1)} s not idle:`);
    const top = [...table].sort(([, a], [, b]) => b - a).slice(0, 25);
    for (const [name, time] of top) console.log(`    ${((time / total) * 100).toFixed(1).padStart(5)} %  ${name}`);
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string", default: "5" },
      "in-flight": { type: "string", default: "1,100,1000" },
      seconds: { type: "string", default: "3" },
      left: { type: "string" },
      right: { type: "string" },
      profile: { type: "boolean", default: false },
    },
  });
  if (spawnSync("h2load", ["--version"]).error !== undefined) {
    throw new Error("h2load is not there: run 'apt-get install nghttp2-client'");
  }
  const left = values.left === undefined ? reference() : serverNamed(values.left);
  const right = values.right === undefined ? underTest() : serverNamed(values.right);
  await Stage.with(async (stage) => {
    const body = join(stage.folder, "put.bin");
    writeFileSync(body, putFrame());
    const [{ model } = { model: "unknown" }] = cpus();
    console.log(
      `puts of ${VALUE_BYTES} bytes, ${new Date().toISOString().slice(0, 10)}, node ${process.version}, Linux ${release()}, ` +
        `${cpus().length} x ${model}, ${Math.round(totalmem() / 2 ** 30)} GiB; fdatasync here: ${Math.round(syncMicroseconds(stage.folder))} µs; ` +
        `medians of ${values.rounds} rounds of about ${values.seconds} s`,
    );
    for (const inFlight of values["in-flight"].split(",").map(Number)) {
      const options = { inFlight, rounds: Number(values.rounds), seconds: Number(values.seconds) };
      await compare(stage, [left, right], body, options);
    }
    if (values.profile) await profile(stage, body, Number(values.seconds));
  });
}

await main();
