/**
 * What stands beside the store, Walnut and real etcd in the same run: `npm run bench:services`.
 *
 *   node dist/bench/services.js [--rounds 3] [--seconds 3] [--against 3.5.30,3.5.16] [--plays keep-alive,authentication,delay]
 *
 * - keep-alive: 100 streams on 10 connections, each of which renews its lease again as soon as it is answered.
 * - authentication: gets and puts of a user, 100 in flight, before authentication is switched on and after, on the same server.
 * - delay: how long a watcher waits for a change, from the moment the put is sent, while 100 connections read a range of 1,000 keys each.
 */
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { AuthAdmin } from "../test/support/auth.js";
import { serverNamed, underTest, type ServerBinary } from "../test/support/binaries.js";
import { encode } from "../test/support/messages.js";
import { Stage, type Server } from "../test/support/servers.js";
import { inTurns, printSpeeds, SeatedContestant, type Play } from "./comparison.js";
import { describeMachine, describeSpread, readable, spread } from "./figures.js";
import { LoadGenerator } from "./load/generator.js";
import { Histogram } from "./load/histogram.js";
import type { LoadJob } from "./load/run.js";
import { StreamConnection } from "./load/streams.js";
import { WatchReader } from "./load/watch-reader.js";
import { BENCH_FLAGS, loadKeys, runCalls } from "./load-play.js";
import { LOAD_SCENARIOS, type ScenarioCall } from "./scenarios.js";

interface Options {
  readonly rounds: number;
  readonly seconds: number;
  readonly generator: LoadGenerator;
}

const KEYS = 100_000;
const IN_FLIGHT = 100;

const callsOf = (name: string): readonly ScenarioCall[] => LOAD_SCENARIOS.find((each) => each.name === name)!.calls;

// ---- keep-alive -------------------------------------------------------------------------------------------------------

const STREAMS = 100;
const STREAM_CONNECTIONS = 10;
const TTL_SECONDS = 60;

/** Renewals a second. */
async function keepAlives(server: Server, seconds: number): Promise<number> {
  for (let ID = 1; ID <= STREAMS; ID++) await server.client.call("LeaseGrant", { ID, TTL: TTL_SECONDS });
  let renewed = 0;
  const perConnection = STREAMS / STREAM_CONNECTIONS;
  const connections = Array.from({ length: STREAM_CONNECTIONS }, (_, at) => {
    const requests = Array.from({ length: perConnection }, (__, i) =>
      encode("LeaseKeepAliveRequest", { ID: at * perConnection + i + 1 }),
    );
    const connection = new StreamConnection(
      server.address,
      "/etcdserverpb.Lease/LeaseKeepAlive",
      perConnection,
      (stream) => {
        renewed++;
        connection.send(stream, requests[stream]!);
      },
    );
    for (const [stream, request] of requests.entries()) connection.send(stream, request);
    connection.flush();
    return connection;
  });
  await pause(1_000); // each start meets code that is not compiled yet
  const [before, began] = [renewed, performance.now()];
  await pause(seconds * 1_000);
  const perSecond = ((renewed - before) / (performance.now() - began)) * 1_000;
  for (const connection of connections) {
    if (connection.error !== undefined) throw connection.error;
    connection.close();
  }
  for (let ID = 1; ID <= STREAMS; ID++) await server.client.call("LeaseRevoke", { ID }); // the next round grants them anew
  return perSecond;
}

async function playKeepAlives(stage: Stage, binaries: readonly ServerBinary[], options: Options): Promise<void> {
  console.log(`\nkeep-alive: ${STREAMS} streams on ${STREAM_CONNECTIONS} connections, renewals a second`);
  const play: Play<number> = { measure: (_, server) => keepAlives(server, options.seconds) };
  const speeds = await inTurns(await seats(stage, binaries), options.rounds, play);
  const names = binaries.map(({ name }) => name);
  printSpeeds(names, speeds, 0, (side) => describeSpread(spread(speeds[side]!)));
}

// ---- authentication ---------------------------------------------------------------------------------------------------

/** Calls a second without and with authentication. */
interface Guarded {
  readonly off: number;
  readonly on: number;
}

const GUARDED = ["get-linearizable-100", "put-256-random-100"] as const;

async function guarded(server: Server, round: number, { generator, seconds }: Options): Promise<Guarded[]> {
  const how = (warm: boolean): Pick<LoadJob, "inFlight" | "seed" | "until"> => ({
    inFlight: IN_FLIGHT,
    seed: round + (warm ? 1 : 2),
    until: { kind: "time", warmUpSeconds: 0.2, seconds: warm ? 1 : seconds },
  });
  const off: number[] = [];
  for (const name of GUARDED) {
    await runCalls(generator, server, callsOf(name), how(true));
    off.push((await runCalls(generator, server, callsOf(name), how(false))).perSecond);
  }
  const admin = new AuthAdmin(server.client);
  await admin.addRole("bench", "readwrite", "bench/", "bench0");
  await admin.addRole("other", "read", "other/", "other0");
  await admin.addUser("alice", "secret", ["bench", "other"]);
  await admin.enable("root");
  const fields = [{ name: "token", value: await admin.login("alice", "secret") }];
  const on: number[] = [];
  for (const name of GUARDED) {
    const job = { address: server.address, pid: server.pid, connections: 10, fields };
    const requests = callsOf(name).map(({ request }) => request);
    await generator.run({ ...job, ...how(true), requests });
    const result = await generator.run({ ...job, ...how(false), requests });
    if (result.problems.length > 0) throw new Error(`calls went wrong: ${result.problems[0]![0]}`);
    on.push(result.perSecond);
  }
  // The next round begins without it.
  await admin.call("AuthDisable");
  for (const user of ["alice", "root"]) await admin.call("UserDelete", { name: user });
  for (const role of ["bench", "other"]) await admin.call("RoleDelete", { name: role });
  return off.map((value, i) => ({ off: value, on: on[i]! }));
}

async function playAuthentication(stage: Stage, binaries: readonly ServerBinary[], options: Options): Promise<void> {
  console.log(`\nauthentication: ${IN_FLIGHT} in flight, a user of two roles`);
  const rounds = new Map<string, number>();
  const play: Play<Guarded[]> = {
    rehearse: async (_, server) => void (await loadKeys(options.generator, server, KEYS)),
    measure: ({ name }, server) => {
      const round = rounds.get(name) ?? 0;
      rounds.set(name, round + 1);
      return guarded(server, round, options);
    },
  };
  const results = await inTurns(await seats(stage, binaries), options.rounds, play);
  for (const [at, call] of GUARDED.entries()) {
    for (const [side, { name }] of binaries.entries()) {
      const of = (pick: (guarded: Guarded) => number): readonly number[] =>
        results[side]!.map((round) => pick(round[at]!));
      const loss = spread(of(({ off, on }) => 100 - (100 * on) / off));
      console.log(
        `  ${call.padEnd(22)} ${name.padEnd(12)} ${describeSpread(spread(of(({ off }) => off)))} without, ` +
          `${describeSpread(spread(of(({ on }) => on)))} with: ${loss.median.toFixed(0)} % less ` +
          `(${loss.low.toFixed(0)} to ${loss.high.toFixed(0)})`,
      );
    }
  }
}

// ---- delay ------------------------------------------------------------------------------------------------------------

const RANGE_CONNECTIONS = 100;
/** Between two puts that the watcher is told of. */
const PUT_EVERY_MS = 20;

async function delays(server: Server, { generator, seconds }: Options): Promise<Histogram> {
  const sentAt: number[] = [];
  const times = new Histogram();
  const reader = new WatchReader(server.address, [[{ key: Buffer.from("watched") }]], () => {
    times.record(performance.now() - sentAt[times.count]!);
  });
  const load = generator.run({
    address: server.address,
    pid: server.pid,
    connections: RANGE_CONNECTIONS,
    inFlight: RANGE_CONNECTIONS,
    requests: callsOf("range-1000-keys").map(({ request }) => request),
    seed: 1,
    until: { kind: "time", warmUpSeconds: 1, seconds },
  });
  let over = false;
  const isOver = (): boolean => over;
  const ended = load.then((result) => {
    over = true;
    if (result.problems.length > 0) throw new Error(`ranges went wrong: ${result.problems[0]![0]}`);
  });
  await pause(1_000);
  const puts: Promise<number>[] = [];
  while (!isOver()) {
    sentAt.push(performance.now());
    puts.push(server.client.put("watched", "value"));
    await pause(PUT_EVERY_MS);
  }
  await ended;
  await Promise.all(puts);
  while (times.count < sentAt.length && reader.error === undefined) await pause(5);
  if (reader.error !== undefined) throw reader.error;
  reader.close();
  return times;
}

async function playDelay(stage: Stage, binaries: readonly ServerBinary[], options: Options): Promise<void> {
  console.log(`\ndelay of a watcher while ${RANGE_CONNECTIONS} connections read 1,000 keys each, again and again, ms`);
  const play: Play<Histogram> = {
    rehearse: async (_, server) => void (await loadKeys(options.generator, server, KEYS)),
    measure: (_, server) => delays(server, options),
  };
  const results = await inTurns(await seats(stage, binaries), options.rounds, play);
  for (const [side, { name }] of binaries.entries()) {
    const of = (part: number): string =>
      readable(spread(results[side]!.map((times) => times.percentileMs(part))).median);
    const longest = Math.max(...results[side]!.map(({ maxMs }) => maxMs));
    console.log(`  ${name.padEnd(12)} p50 ${of(0.5)}, p99 ${of(0.99)}, longest of all ${readable(longest)}`);
  }
}

async function seats(stage: Stage, binaries: readonly ServerBinary[]): Promise<SeatedContestant[]> {
  const contestants: SeatedContestant[] = [];
  for (const binary of binaries) {
    contestants.push(new SeatedContestant(stage, binary, await stage.seat(), { flags: BENCH_FLAGS }));
  }
  return contestants;
}

const PLAYS = { "keep-alive": playKeepAlives, authentication: playAuthentication, delay: playDelay } as const;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string", default: "3" },
      seconds: { type: "string", default: "3" },
      against: { type: "string", default: "3.5.30,3.5.16" },
      plays: { type: "string", default: Object.keys(PLAYS).join(",") },
    },
  });
  const against = values.against.split(",").filter((name) => name !== "");
  const binaries = [underTest(), ...against.map(serverNamed)];
  const generator = new LoadGenerator();
  try {
    await Stage.with(async (stage) => {
      console.log(`${describeMachine(stage.folder)}; medians of ${values.rounds} rounds of ${values.seconds} s`);
      const options = { rounds: Number(values.rounds), seconds: Number(values.seconds), generator };
      for (const name of values.plays.split(",")) {
        const play = (PLAYS as Readonly<Record<string, typeof playDelay>>)[name];
        if (play === undefined)
          throw new Error(`no play is called ${name}; there are ${Object.keys(PLAYS).join(", ")}`);
        await play(stage, binaries, options);
      }
    });
  } finally {
    await generator.stop();
  }
}

await main();
