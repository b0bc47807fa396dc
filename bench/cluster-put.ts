/**
 * Puts of 256 bytes on clusters of three members, Walnut and real etcd in the same run: `npm run bench:cluster`.
 *
 *   node dist/bench/cluster-put.js [--rounds 5] [--in-flight 100] [--seconds 3] [--members 3] [--against 3.5.30,3.5.16] [--judged SERVER]
 *        [--profile]
 *
 * All members of a cluster run on this machine, and `h2load` puts to the leader. The clusters take turns, round by round, one
 * at a time, each on folders of its own; the medians of the rounds are compared, with the better etcd, and their spread is
 * printed. After every round the members must hold the same.
 *
 * `--profile` runs Walnut's members under node's CPU profiler and prints where the leader's time went.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { serverNamed, underTest, walnut, type ServerBinary } from "../test/support/binaries.js";
import { Cluster } from "../test/support/cluster.js";
import { Stage } from "../test/support/servers.js";
import { inTurns, printSpeeds, type Contestant } from "./comparison.js";
import { connectionsFor, describeMachine } from "./figures.js";
import { describeRounds, h2loadPuts, H2loadPlay, putBody, VALUE_BYTES } from "./h2load.js";
import { printProfile } from "./profile.js";

interface BenchOptions {
  readonly inFlight: number;
  readonly rounds: number;
  readonly seconds: number;
  readonly members: number;
}

/** Each start meets cold caches and, on node, code that is not compiled yet: so many puts go before each round, whoever serves. */
const WARM_UP_REQUESTS = 10_000;

/** A cluster whose members are started on the same folders for each round, and must hold the same when it ends. */
async function contestant(stage: Stage, binary: ServerBinary, options: BenchOptions): Promise<Contestant> {
  const cluster = await Cluster.start(stage, membersOf(binary, options));
  await cluster.stop();
  return {
    name: binary.name,
    begin: async () => {
      await cluster.restartAll();
      return (await cluster.leader()).server;
    },
    end: async () => {
      await cluster.settled();
      await cluster.sameHash("after a round");
      await cluster.stop();
    },
  };
}

async function compare(
  stage: Stage,
  binaries: readonly ServerBinary[],
  body: string,
  options: BenchOptions,
): Promise<void> {
  const contestants: Contestant[] = [];
  for (const binary of binaries) contestants.push(await contestant(stage, binary, options));
  const results = await inTurns(contestants, options.rounds, new H2loadPlay(body, options, () => WARM_UP_REQUESTS));
  console.log(
    `${options.members} members, ${options.inFlight} in flight to the leader, ${connectionsFor(options.inFlight)} connections:`,
  );
  printSpeeds(
    binaries.map(({ name }) => name),
    results.map((rounds) => rounds.map(({ perSecond }) => perSecond)),
    0,
    (side) => describeRounds(results[side]!),
  );
}

function membersOf(binary: ServerBinary, { members }: BenchOptions): ServerBinary[] {
  return Array.from({ length: members }, () => binary);
}

/** Runs Walnut's members under the profiler and prints the leader's functions by their own time. */
async function profile(stage: Stage, body: string, options: BenchOptions): Promise<void> {
  const folders = Array.from({ length: options.members }, (_, i) => join(stage.folder, `profile-${i}`));
  for (const folder of folders) mkdirSync(folder);
  const cluster = await Cluster.start(
    stage,
    folders.map((folder) => walnut(["--cpu-prof", `--cpu-prof-dir=${folder}`])),
  );
  const leader = await cluster.leader();
  const warm = await h2loadPuts(leader.server, body, options.inFlight, 5_000);
  const measured = await h2loadPuts(leader.server, body, options.inFlight, Math.ceil(warm.perSecond * options.seconds));
  const led = cluster.members.indexOf(leader);
  await cluster.stop();
  console.log(`\nwhere the leader's time goes (${Math.round(measured.perSecond)} puts/s under the profiler):`);
  printProfile(folders[led]!);
  console.log(`\nwhere a follower's time goes:`);
  printProfile(folders.find((_, i) => i !== led)!);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string", default: "5" },
      "in-flight": { type: "string", default: "100" },
      seconds: { type: "string", default: "3" },
      members: { type: "string", default: "3" },
      against: { type: "string", default: "3.5.30,3.5.16" },
      judged: { type: "string" },
      profile: { type: "boolean", default: false },
    },
  });
  const judged = values.judged === undefined ? underTest() : serverNamed(values.judged);
  const others = values.against.split(",").map(serverNamed);
  await Stage.with(async (stage) => {
    const body = putBody(stage.folder);
    console.log(
      `puts of ${VALUE_BYTES} bytes, ${describeMachine(stage.folder)}; medians of ${values.rounds} rounds of about ${values.seconds} s`,
    );
    for (const inFlight of values["in-flight"].split(",").map(Number)) {
      const options = {
        inFlight,
        rounds: Number(values.rounds),
        seconds: Number(values.seconds),
        members: Number(values.members),
      };
      await compare(stage, [judged, ...others], body, options);
      if (values.profile) await profile(stage, body, options);
    }
  });
}

await main();
