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
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { reference, serverNamed, underTest, walnut, type ServerBinary } from "../test/support/binaries.js";
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
      const warm = await h2load(
        server,
        body,
        options.inFlight,
        200 + options.inFlight * 10 + Math.ceil(requests[i]! / 3),
      );
      if (round === -1) {
        const rehearsal = await h2load(server, body, options.inFlight, Math.ceil(warm.perSecond / 2) + 1);
        requests[i] = Math.ceil(rehearsal.perSecond * options.seconds) + options.inFlight;
      } else {
        results[i]!.push(await h2load(server, body, options.inFlight, requests[i]!));
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

/** Runs Walnut under the profiler at 100 in flight and prints the functions by their own time. */
async function profile(stage: Stage, body: string, seconds: number): Promise<void> {
  const folder = mkdtempSync(join(stage.folder, "profile-"));
  const binary = walnut(["--cpu-prof", `--cpu-prof-dir=${folder}`]);
  const server = await stage.start(binary, await stage.seat());
  const warm = await h2load(server, body, 100, 5_000);
  const measured = await h2load(server, body, 100, Math.ceil(warm.perSecond * seconds));
  await server.stop();
  console.log(`\nwhere the time goes at 100 in flight (${Math.round(measured.perSecond)} puts/s under the profiler):`);
  printProfile(folder);
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
  const left = values.left === undefined ? reference() : serverNamed(values.left);
  const right = values.right === undefined ? underTest() : serverNamed(values.right);
  await Stage.with(async (stage) => {
    const body = putBody(stage.folder);
    console.log(
      `puts of ${VALUE_BYTES} bytes, ${describeMachine(stage.folder)}; medians of ${values.rounds} rounds of about ${values.seconds} s`,
    );
    for (const inFlight of values["in-flight"].split(",").map(Number)) {
      const options = { inFlight, rounds: Number(values.rounds), seconds: Number(values.seconds) };
      await compare(stage, [left, right], body, options);
    }
    if (values.profile) await profile(stage, body, Number(values.seconds));
  });
}

await main();
