/**
 * SIGKILL under load: every acknowledged put is there, at the revision that was acknowledged; revisions have no gap; no put
 * happened twice.
 *
 *   node dist/test/compat/kill.js [--kills 50] [--puts 1500] [--in-flight 100] [--server under-test] [--snapshot-count 2000]
 *
 * Every put has a key of its own, so the store's history is in its keys: sorted by mod revision they must be 2, 3, 4, ... up
 * to the store's revision. A put that was not acknowledged when the server died may be there or not.
 */
import { parseArgs } from "node:util";
import { serverNamed, type ServerBinary } from "../support/binaries.js";
import { PutLedger, valueOf } from "../support/ledger.js";
import { chooseSeed, SeededRandom } from "../support/random.js";
import { Stage, type Server } from "../support/servers.js";

export interface KillOptions {
  readonly binary: ServerBinary;
  readonly kills: number;
  /** The server dies after a random number of acknowledged puts in `[1, puts)`. */
  readonly puts: number;
  readonly inFlight: number;
  readonly snapshotCount: number;
  readonly seed: number;
}

export interface KillReport {
  readonly kills: number;
  readonly attempted: number;
  readonly acknowledged: number;
  /** Puts that were there without having been acknowledged. */
  readonly unacknowledgedKept: number;
  readonly revision: number;
  readonly restartMsMax: number;
}

/** Kills a server again and again and checks the store after each start. @throws with the first law that is broken */
export async function killUnderLoad(options: KillOptions, tell: (text: string) => void): Promise<KillReport> {
  return Stage.with(async (stage) => {
    const random = new SeededRandom(options.seed);
    const seat = await stage.seat();
    const history = new PutLedger("kill/");
    let server = await stage.start(options.binary, seat, options);
    let restartMsMax = 0;
    for (let kill = 1; kill <= options.kills; kill++) {
      await writeUntilKilled(server, history, { ...options, die: random.between(1, options.puts) }, kill);
      server = await stage.start(options.binary, seat, options);
      restartMsMax = Math.max(restartMsMax, Math.round(server.startedInMs));
      await history.check(server.client, `after kill ${kill} of seed ${options.seed}`);
      tell(
        `kill ${kill}: ${history.acknowledged} acknowledged puts are there, revision ${history.revision}, up in ${Math.round(server.startedInMs)} ms`,
      );
    }
    await history.checkAll(server.client, "at the end");
    const { attempted, acknowledged, unacknowledgedKept, revision } = history;
    return { kills: options.kills, attempted, acknowledged, unacknowledgedKept, revision, restartMsMax };
  });
}

async function writeUntilKilled(
  server: Server,
  history: PutLedger,
  options: { readonly inFlight: number; readonly die: number },
  round: number,
): Promise<void> {
  let number = 0;
  let acknowledged = 0;
  let killed: Promise<unknown> | undefined;
  const lane = async (): Promise<void> => {
    while (killed === undefined) {
      const key = `kill/${round}/${number++}`;
      history.attempt(key);
      const revision = await server.client.put(key, valueOf(key)).catch(() => undefined);
      if (revision === undefined) return;
      history.acknowledge(key, revision);
      if (++acknowledged >= options.die) killed ??= server.kill();
    }
  };
  await Promise.all(Array.from({ length: options.inFlight }, lane));
  await killed;
  if (acknowledged < options.die)
    throw new Error(`the server failed by itself after ${acknowledged} puts of round ${round}`);
}

export function describeReport(report: KillReport): string {
  return (
    `${report.kills} kills: ${report.acknowledged} of ${report.acknowledged} acknowledged puts are there, revisions 2 to ${report.revision} without a gap, ` +
    `${report.unacknowledgedKept} unacknowledged ones kept, ${report.attempted} attempted, slowest restart ${report.restartMsMax} ms`
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      kills: { type: "string", default: "50" },
      puts: { type: "string", default: "1500" },
      "in-flight": { type: "string", default: "100" },
      "snapshot-count": { type: "string", default: "2000" },
      server: { type: "string", default: "under-test" },
      seed: { type: "string" },
    },
  });
  const binary = serverNamed(values.server);
  const seed = chooseSeed(values.seed);
  console.log(`${values.kills} kills of ${binary.name}, seed ${seed}`);
  const report = await killUnderLoad(
    {
      binary,
      kills: Number(values.kills),
      puts: Number(values.puts),
      inFlight: Number(values["in-flight"]),
      snapshotCount: Number(values["snapshot-count"]),
      seed,
    },
    (text) => console.log(text),
  );
  console.log(describeReport(report));
}

if (process.argv[1] === import.meta.filename) await main();
