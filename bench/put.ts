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
import { inTurns, printSpeeds, SeatedContestant } from "./comparison.js";
import { connectionsFor, describeMachine } from "./figures.js";
import { describeRounds, h2loadPuts, H2loadPlay, putBody, VALUE_BYTES } from "./h2load.js";
import { printProfile } from "./profile.js";

/** Both servers under one number of requests in flight, in turns. */
async function compare(
  stage: Stage,
  servers: readonly ServerBinary[],
  body: string,
  options: { readonly inFlight: number; readonly rounds: number; readonly seconds: number },
): Promise<void> {
  const seated = servers.map(async (binary) => new SeatedContestant(stage, binary, await stage.seat()));
  const contestants = await Promise.all(seated);
  // Each start meets cold caches and, on node, code that is not compiled yet: a third of the round goes before it.
  const play = new H2loadPlay(body, options, (requests) => 200 + options.inFlight * 10 + Math.ceil(requests / 3));
  const results = await inTurns(contestants, options.rounds, play);
  console.log(`${options.inFlight} in flight, ${connectionsFor(options.inFlight)} connections:`);
  printSpeeds(
    servers.map(({ name }) => name),
    results.map((rounds) => rounds.map(({ perSecond }) => perSecond)),
    1,
    (side) => describeRounds(results[side]!),
  );
}

/** Runs Walnut under the profiler at 100 in flight and prints the functions by their own time. */
async function profile(stage: Stage, body: string, seconds: number): Promise<void> {
  const folder = mkdtempSync(join(stage.folder, "profile-"));
  const binary = walnut(["--cpu-prof", `--cpu-prof-dir=${folder}`]);
  const server = await stage.start(binary, await stage.seat());
  const warm = await h2loadPuts(server, body, 100, 5_000);
  const measured = await h2loadPuts(server, body, 100, Math.ceil(warm.perSecond * seconds));
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
