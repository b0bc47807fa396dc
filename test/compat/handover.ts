/**
 * A data directory changes hands: one server fills it, others open it in turn, read everything and write on.
 *
 *   node dist/test/compat/handover.js [--puts 300000] [--keys 50000] [--key-bytes 200] [--swaps 10]
 *        [--chain 3.5.16,under-test,3.5.30,under-test] [--stop clean|kill|both] [--snapshot-count 20000]
 *        [--more 2000] [--seed S]
 *
 * The first server of the chain fills the directory (puts of 256 bytes, deletes, transactions, a compaction) and is stopped
 * cleanly or killed while it writes. After each swap every key must be equal in value, create and mod revision, version and
 * lease, and hashKV at several revisions; then the new server writes and hands over in its turn. When a server was killed
 * nobody knows what a client could have read last; then real etcd opens a copy of the directory and tells what is right.
 */
import { cpSync } from "node:fs";
import { parseArgs } from "node:util";
import { etcd, serverNamed, type ServerBinary } from "../support/binaries.js";
import { contents, differences, type Contents } from "../support/contents.js";
import { chooseSeed, SeededRandom } from "../support/random.js";
import { Stage, type Seat, type Server } from "../support/servers.js";
import { compact, filesOf, write, type Work } from "./store.js";

export interface HandoverOptions extends Work {
  /** Servers in turn; the first one fills the directory. */
  readonly chain: readonly ServerBinary[];
  readonly swaps: number;
  readonly stop: "clean" | "kill" | "both";
  readonly snapshotCount: number;
  /** Puts of each server after the first. */
  readonly more: number;
  readonly seed: number;
}

/** One line of the report. */
export interface HandoverStep {
  readonly server: string;
  readonly stopped: "clean" | "kill";
  readonly keys: number;
  readonly revision: number;
  readonly segments: number;
  readonly snapshots: number;
  readonly opensInMs: number;
}

/** Plays the chain. @throws with the differences at the first server that tells something else than the one before */
export async function handover(options: HandoverOptions, tell: (text: string) => void): Promise<HandoverStep[]> {
  return Stage.with(async (stage) => {
    const random = new SeededRandom(options.seed);
    const seat = await stage.seat();
    const steps: HandoverStep[] = [];
    let expected: Contents | undefined;
    for (let swap = 0; swap <= options.swaps; swap++) {
      const binary = options.chain[swap % options.chain.length]!;
      const server = await stage.start(binary, seat, { snapshotCount: options.snapshotCount });
      if (expected !== undefined) await mustEqual(server, expected, `swap ${swap}`);
      await fill(server, options, swap === 0 ? options.puts : options.more, random);
      const kill = options.stop === "kill" || (options.stop === "both" && swap % 2 === 1);
      expected = kill ? await killWhileWriting(stage, server, options, random) : await stopCleanly(server);
      steps.push({
        server: binary.name,
        stopped: kill ? "kill" : "clean",
        keys: expected.keys.length,
        revision: expected.revision,
        ...filesOf(server),
        opensInMs: Math.round(server.startedInMs),
      });
      tell(describeStep(swap, steps.at(-1)!));
    }
    return steps;
  });
}

export function describeStep(swap: number, step: HandoverStep): string {
  const { server, stopped, keys, revision, segments, snapshots, opensInMs } = step;
  return (
    `${swap === 0 ? "filled by" : `swap ${swap}:`} ${server} (up in ${opensInMs} ms), stopped ${stopped === "kill" ? "by SIGKILL while writing" : "cleanly"}: ` +
    `${keys} keys, revision ${revision}, ${segments} segments, ${snapshots} snapshots`
  );
}

async function fill(server: Server, options: HandoverOptions, puts: number, random: SeededRandom): Promise<void> {
  await write(server.client, { ...options, puts }, random);
  const revision = await server.client.revision();
  await compact(server.client, revision - Math.floor(puts / 3));
}

/** Revisions at which hashKV is compared: two in the past that are not compacted, beside the newest. */
function hashRevisions(revision: number, options: { readonly back: number }): number[] {
  return [revision - options.back, revision - Math.floor(options.back / 2)].filter((at) => at > 1);
}

async function stopCleanly(server: Server): Promise<Contents> {
  const revision = await server.client.revision();
  const told = await contents(server.client, hashRevisions(revision, { back: 20 }));
  await server.stop();
  return told;
}

/** Kills a server while clients write, and asks real etcd on a copy of the directory what it holds. */
async function killWhileWriting(
  stage: Stage,
  server: Server,
  options: HandoverOptions,
  random: SeededRandom,
): Promise<Contents> {
  const writing = write(server.client, { ...options, puts: 1_000_000_000 }, random).then(
    () => {
      throw new Error("the writers outlived the server");
    },
    () => {}, // the end of the server ends the writers
  );
  const start = await server.client.revision();
  while ((await server.client.revision()) < start + Math.max(50, options.more / 4));
  await server.kill();
  await writing;
  return oracle(stage, server.seat, options);
}

/** What real etcd tells of a copy of the directory. */
async function oracle(stage: Stage, seat: Seat, options: HandoverOptions): Promise<Contents> {
  const copy = { ...(await stage.seat(seat.name)), peerPort: seat.peerPort };
  cpSync(seat.dataDir, copy.dataDir, { recursive: true });
  const judge = await stage.start(etcd("3.5.16"), copy, { snapshotCount: options.snapshotCount });
  return stopCleanly(judge);
}

async function mustEqual(server: Server, expected: Contents, where: string): Promise<void> {
  const found = await contents(
    server.client,
    [...expected.hashes.keys()].filter((revision) => revision !== expected.revision),
  );
  const told = differences(expected, found);
  if (told.length > 0) throw new Error(`${where}: ${server.binary.name} tells another story:\n${told.join("\n")}`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      puts: { type: "string", default: "300000" },
      keys: { type: "string", default: "50000" },
      "key-bytes": { type: "string", default: "200" },
      swaps: { type: "string", default: "10" },
      chain: { type: "string", default: "3.5.16,under-test,3.5.30,under-test" },
      stop: { type: "string", default: "both" },
      "snapshot-count": { type: "string", default: "20000" },
      more: { type: "string", default: "2000" },
      "in-flight": { type: "string", default: "100" },
      seed: { type: "string" },
    },
  });
  const seed = chooseSeed(values.seed);
  const stop = values.stop;
  if (stop !== "clean" && stop !== "kill" && stop !== "both")
    throw new Error(`--stop is clean, kill or both, found '${stop}'`);
  console.log(
    `handover of seed ${seed}: ${values.puts} puts of 256 bytes over ${values.keys} keys, chain ${values.chain}`,
  );
  const begin = performance.now();
  const steps = await handover(
    {
      puts: Number(values.puts),
      keys: Number(values.keys),
      keyBytes: Number(values["key-bytes"]),
      valueBytes: 256,
      inFlight: Number(values["in-flight"]),
      chain: values.chain.split(",").map(serverNamed),
      swaps: Number(values.swaps),
      stop,
      snapshotCount: Number(values["snapshot-count"]),
      more: Number(values.more),
      seed,
    },
    (text) => console.log(text),
  );
  console.log(`${steps.length - 1} swaps, everything equal, ${Math.round((performance.now() - begin) / 1000)} s`);
}

if (process.argv[1] === import.meta.filename) await main();
