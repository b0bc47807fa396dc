/**
 * What large stores cost: memory and the size of `db` with 1,000,000 keys, and the time from the start of the process until a
 * linearizable get is answered, with 1,000,000 keys in `db` and with 1,000,000 entries in the log.
 *
 * Keys are loaded in batches, which is fast and leaves the log's last entries, each of a batch, in memory: small puts follow until the
 * server has taken a snapshot and let go of them, so that what is measured are the keys. The log of entries is written once, by real
 * etcd; every server boots on a copy of its own of the same directory.
 */
import { cpSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { EtcdRelease, ServerBinary } from "../test/support/binaries.js";
import { filesBelow, type Stage } from "../test/support/servers.js";
import { inTurns, SeatedContestant } from "./comparison.js";
import { spread, type Spread } from "./figures.js";
import type { LoadGenerator } from "./load/generator.js";
import { BENCH_FLAGS, loadKeys, runCalls } from "./load-play.js";
import { memoryOf } from "./process-stats.js";
import { smallPut, valuePut } from "./scenarios.js";

export interface LargeStoreOptions {
  readonly rounds: number;
  readonly keys: number;
  readonly entries: number;
}

/** By server, less is better. */
export interface SizeRow {
  readonly name: string;
  readonly title: string;
  readonly unit: "MB" | "s";
  readonly of: Readonly<Record<string, Spread>>;
}

const MB = 1_000_000;
/** A snapshot after so many entries; the entries that stay in memory after one are half of it (etcd keeps 5,000). */
const SNAPSHOT_COUNT = 10_000;
/** Two snapshots' worth, so that the batches are out of the log in memory whenever the first was due. */
const SMALL_PUTS = 2 * SNAPSHOT_COUNT + 1_000;
/** No snapshot comes between, so the whole log is read. */
const NO_SNAPSHOT = 1_000_000_000;
const READY_WITHIN_MS = 300_000;

/** Memory, `db`, and boots on the keys. */
export async function playKeys(
  stage: Stage,
  generator: LoadGenerator,
  binaries: readonly ServerBinary[],
  { rounds, keys }: LargeStoreOptions,
): Promise<SizeRow[]> {
  const [resident, anonymous, size]: Record<string, Spread>[] = [{}, {}, {}];
  const boots: SeatedContestant[] = [];
  for (const binary of binaries) {
    const seat = await stage.seat();
    const options = { flags: BENCH_FLAGS, snapshotCount: SNAPSHOT_COUNT, readyWithinMs: READY_WITHIN_MS };
    const server = await stage.start(binary, seat, options);
    await loadKeys(generator, server, keys);
    await runCalls(generator, server, [smallPut()], {
      inFlight: 100,
      seed: 1,
      until: { kind: "count", requests: SMALL_PUTS },
    });
    const memory = memoryOf(server.pid);
    resident![binary.name] = spread([memory.residentBytes / MB]);
    anonymous![binary.name] = spread([memory.anonymousBytes / MB]);
    await server.stop();
    size![binary.name] = spread([statSync(join(seat.dataDir, "member", "snap", "db")).size / MB]);
    boots.push(new SeatedContestant(stage, binary, seat, options));
  }
  const boot = await playBoots(boots, rounds);
  for (const { seat } of boots) rmSync(seat.dataDir, { recursive: true });
  const title = keys.toLocaleString("en-US");
  return [
    { name: "memory", title: `memory with ${title} keys of 256 B`, unit: "MB", of: resident! },
    { name: "memory-own", title: "of it, without mapped files", unit: "MB", of: anonymous! },
    { name: "db", title: `\`db\` with ${title} keys of 256 B`, unit: "MB", of: size! },
    { name: "memory-restarted", title: `memory with ${title} keys, restarted`, unit: "MB", of: boot.residentMb },
    { name: "boot-keys", title: `boot on ${title} keys`, unit: "s", of: boot.seconds },
  ];
}

/** Boots on a log of so many entries, all of them in `db` too. */
export async function playEntries(
  stage: Stage,
  generator: LoadGenerator,
  writer: EtcdRelease,
  binaries: readonly ServerBinary[],
  { rounds, entries }: LargeStoreOptions,
): Promise<SizeRow[]> {
  const written = await stage.seat();
  const options = { flags: BENCH_FLAGS, snapshotCount: NO_SNAPSHOT, readyWithinMs: READY_WITHIN_MS };
  const server = await stage.start(writer, written, options);
  const until = { kind: "count", requests: entries } as const;
  await runCalls(generator, server, [valuePut()], { inFlight: 1_000, seed: 1, until });
  await server.stop();
  const boots: SeatedContestant[] = [];
  for (const binary of binaries) {
    const { dataDir } = await stage.seat();
    cpSync(written.dataDir, dataDir, { recursive: true });
    boots.push(new SeatedContestant(stage, binary, { ...written, dataDir }, options));
  }
  rmSync(written.dataDir, { recursive: true });
  const { seconds } = await playBoots(boots, rounds);
  for (const { name, seat } of boots) {
    const snapshots = filesBelow(seat.dataDir).filter((file) => file.endsWith(".snap"));
    if (snapshots.length > 0)
      throw new Error(`${name} took a snapshot, so its boots read a shorter log: ${snapshots[0]}`);
    rmSync(seat.dataDir, { recursive: true });
  }
  const title = entries.toLocaleString("en-US");
  return [{ name: "boot-entries", title: `boot on a log of ${title} entries`, unit: "s", of: seconds }];
}

/** What a boot took, and the memory that the server has when it serves. */
interface Boot {
  readonly seconds: number;
  readonly residentBytes: number;
}

async function playBoots(
  contestants: readonly SeatedContestant[],
  rounds: number,
): Promise<Record<"seconds" | "residentMb", Record<string, Spread>>> {
  const results = await inTurns<Boot, SeatedContestant>(contestants, rounds, {
    rehearse: async (_, server) => void (await server.client.revision()),
    measure: async ({ begunAtMs }, server) => {
      await server.client.revision(); // a linearizable range
      const seconds = (performance.now() - begunAtMs) / 1000;
      return { seconds, residentBytes: memoryOf(server.pid).residentBytes };
    },
  });
  const over = (of: (boot: Boot) => number): Record<string, Spread> =>
    Object.fromEntries(contestants.map(({ name }, i) => [name, spread(results[i]!.map(of))]));
  return { seconds: over(({ seconds }) => seconds), residentMb: over(({ residentBytes }) => residentBytes / MB) };
}
