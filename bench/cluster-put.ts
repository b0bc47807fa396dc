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
import {
  connectionsFor,
  describeMachine,
  describeRounds,
  h2load,
  median,
  putBody,
  VALUE_BYTES,
  type Round,
} from "./h2load.js";
import { printProfile } from "./profile.js";

interface BenchOptions {
  readonly inFlight: number;
  readonly rounds: number;
  readonly seconds: number;
  readonly members: number;
}

/** One server's clusters over the rounds. */
interface Contestant {
  readonly binary: ServerBinary;
  readonly cluster: Cluster;
  readonly rounds: Round[];
  /** So many fill the time of a round. */
  requests: number;
}

/** Each start meets cold caches and, on node, code that is not compiled yet: so many puts go before each round, whoever serves. */
const WARM_UP_REQUESTS = 10_000;

async function compare(
  stage: Stage,
  binaries: readonly ServerBinary[],
  body: string,
  options: BenchOptions,
): Promise<void> {
  const contestants: Contestant[] = [];
  for (const binary of binaries) {
    const cluster = await Cluster.start(stage, membersOf(binary, options));
    contestants.push({ binary, cluster, rounds: [], requests: 0 });
    await cluster.stop();
  }
  // The round before the first one that counts warms up and tells how many requests fill the time.
  for (let round = -1; round < options.rounds; round++) {
    // The servers change places every round: who goes first meets a colder machine.
    const order = round % 2 === 0 ? contestants.toReversed() : contestants;
    for (const contestant of order) await play(contestant, body, options, round === -1);
  }
  console.log(
    `${options.members} members, ${options.inFlight} in flight to the leader, ${connectionsFor(options.inFlight)} connections:`,
  );
  for (const { binary, rounds } of contestants) console.log(`  ${binary.name.padEnd(12)} ${describeRounds(rounds)}`);
  const [judged, ...others] = contestants.map(({ binary, rounds }) => ({
    name: binary.name,
    perSecond: median(rounds.map(({ perSecond }) => perSecond)),
  }));
  const better = others.reduce((best, other) => (other.perSecond > best.perSecond ? other : best));
  console.log(`  ratio ${judged!.name} / ${better.name}: ${(judged!.perSecond / better.perSecond).toFixed(2)}`);
}

async function play(contestant: Contestant, body: string, options: BenchOptions, rehearsal: boolean): Promise<void> {
  const { cluster } = contestant;
  await cluster.restartAll();
  const { server } = await cluster.leader();
  const warm = await h2load(server, body, options.inFlight, WARM_UP_REQUESTS);
  if (rehearsal) {
    const told = await h2load(server, body, options.inFlight, Math.ceil(warm.perSecond / 2) + 1);
    contestant.requests = Math.ceil(told.perSecond * options.seconds) + options.inFlight;
  } else {
    contestant.rounds.push(await h2load(server, body, options.inFlight, contestant.requests));
  }
  await cluster.settled();
  await cluster.sameHash("after a round");
  await cluster.stop();
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
  const warm = await h2load(leader.server, body, options.inFlight, 5_000);
  const measured = await h2load(leader.server, body, options.inFlight, Math.ceil(warm.perSecond * options.seconds));
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
