/**
 * Power fails at every recorded disk operation of a scripted run, in every loss mode, and again while the result is used.
 *
 * What must hold each time: the file opens, the whole-file check is clean, and the state is exactly one that was committed: the
 * last one acknowledged before that moment, or a later one that was on its way.
 */
import assert from "node:assert/strict";
import { CRASH_MODES, SimClock, SimDisk, SimRandom } from "../../../sim/index.js";
import { silentLog } from "../../platform/log.js";
import { openBolt, type BoltDatabase, type WriteTransaction } from "../index.js";
import { Chance, work } from "./random-work.js";
import { assertSame, TwinBucket } from "./twin.js";

const PATH = "/data/db";
const PAGE_BYTES = 1024;
const SHAPE = { keys: 120, valueBytesMax: 3000, depth: 2 };

/** A run that was recorded: what was committed when, by positions in the disk's journal. */
interface Recording {
  readonly disk: SimDisk;
  /** States by transaction id. */
  readonly states: Map<number, TwinBucket>;
  /** From which position on a transaction may be found, and from which on it must not be lost. */
  readonly begun: { readonly txid: number; readonly at: number }[];
  readonly acknowledged: { readonly txid: number; readonly at: number }[];
  createdAt: number;
}

export interface CrashCounts {
  positions: number;
  crashes: number;
  secondCrashes: number;
  modes: number;
}

const doorsOf = (disk: SimDisk): { disk: SimDisk; clock: SimClock; log: typeof silentLog } => ({
  disk,
  clock: new SimClock(),
  log: silentLog,
});

/** @param drawsPerPosition outcomes tried for each position and mode */
export async function runCrashes(
  seed: number,
  commits: number,
  drawsPerPosition: number,
  secondCrashesPerState: number,
): Promise<CrashCounts> {
  const recording = await record(seed, commits);
  const positions = recording.disk.journal.length;
  const counts: CrashCounts = { positions: positions + 1, crashes: 0, secondCrashes: 0, modes: CRASH_MODES.length };
  for (let position = 0; position <= positions; position++) {
    for (const mode of CRASH_MODES) {
      for (let draw = 0; draw < (mode === "lost" ? 1 : drawsPerPosition); draw++) {
        const random = new SimRandom(seed * 1_000_003 + position * 31 + draw);
        const where = `seed ${seed}, before ${recording.disk.label(position)} (${position}), ${mode}, draw ${draw}`;
        const disk = recording.disk.platterAt(position, mode, random);
        counts.crashes++;
        const twin = await assertRecovered(recording, disk, position, where);
        for (let again = 0; again < secondCrashesPerState; again++) {
          await crashAgain(disk.copy(), twin, random, where);
          counts.secondCrashes++;
        }
      }
    }
  }
  return counts;
}

/** Creation, commits alone and two or three at once, readers that stay open, rollbacks, closing and opening again. */
async function record(seed: number, commits: number): Promise<Recording> {
  const disk = new SimDisk();
  const recording: Recording = {
    disk,
    states: new Map([[1, new TwinBucket()]]),
    begun: [],
    acknowledged: [],
    createdAt: Number.POSITIVE_INFINITY,
  };
  const chance = new Chance(seed);
  let db = await openBolt(doorsOf(disk), PATH, { pageSize: PAGE_BYTES });
  recording.createdAt = disk.journal.length;
  const twin = new TwinBucket();
  let flying: Promise<void>[] = [];
  for (let i = 0; i < commits; i++) {
    if (chance.below(4) === 0) db.beginRead();
    const transaction = db.beginWrite();
    work(transaction, twin, chance, chance.pick([1, 5, 40]), SHAPE);
    flying.push(commitRecorded(recording, transaction, twin));
    if (chance.below(3) > 0 || flying.length === 3) {
      await Promise.all(flying);
      flying = [];
    }
    if (chance.below(12) === 0) {
      await Promise.all(flying);
      flying = [];
      await db.close();
      db = await openBolt(doorsOf(disk), PATH, {});
    }
  }
  await Promise.all(flying);
  await db.close();
  return recording;
}

function commitRecorded(recording: Recording, transaction: WriteTransaction, twin: TwinBucket): Promise<void> {
  const txid = transaction.id;
  recording.states.set(txid, twin.copy());
  recording.begun.push({ txid, at: recording.disk.journal.length });
  return transaction.commit().then(() => {
    recording.acknowledged.push({ txid, at: recording.disk.journal.length });
  });
}

/** Opens what a crash left, proves it, and answers what it holds. */
async function assertRecovered(
  recording: Recording,
  disk: SimDisk,
  position: number,
  where: string,
): Promise<TwinBucket> {
  const created = position >= recording.createdAt;
  const db = await openBolt(doorsOf(disk), PATH, { pageSize: PAGE_BYTES, create: !created });
  const { txid } = db.stats();
  const least = Math.max(1, ...recording.acknowledged.filter(({ at }) => at <= position).map(({ txid }) => txid));
  const most = Math.max(1, ...recording.begun.filter(({ at }) => at <= position).map(({ txid }) => txid));
  assert.ok(txid >= least, `${where}: transaction ${least} was acknowledged, the file has ${txid}`);
  assert.ok(txid <= most, `${where}: the file has transaction ${txid}, begun was ${most}`);
  const twin = recording.states.get(txid)!;
  await assertIs(db, twin, where);
  await db.close();
  return twin;
}

async function assertIs(db: BoltDatabase, twin: TwinBucket, where: string): Promise<void> {
  assert.deepEqual(await db.check(), [], where);
  const read = db.beginRead();
  try {
    assertSame(read, twin);
  } catch (error) {
    throw new Error(`${where}: ${String(error)}`, { cause: error });
  }
  read.end();
}

/** Power fails somewhere while the recovered file is opened and two more commits are made. */
async function crashAgain(disk: SimDisk, before: TwinBucket, random: SimRandom, where: string): Promise<void> {
  const chance = new Chance(random.below(2 ** 31));
  const db = await openBolt(doorsOf(disk), PATH, { pageSize: PAGE_BYTES });
  const first = db.stats().txid;
  const states = [before];
  const acknowledged: number[] = [0];
  for (let i = 0; i < 2; i++) {
    const transaction = db.beginWrite();
    const twin = states.at(-1)!.copy();
    work(transaction, twin, chance, 10, SHAPE);
    states.push(twin);
    await transaction.commit();
    acknowledged.push(disk.journal.length);
  }
  await db.close();
  const position = random.below(disk.journal.length + 1);
  const crashed = disk.platterAt(position, CRASH_MODES[random.below(CRASH_MODES.length)]!, random);
  const again = await openBolt(doorsOf(crashed), PATH, { create: false });
  const index = again.stats().txid - first;
  const least = acknowledged.findLastIndex((at) => at <= position);
  assert.ok(index >= least, `${where}, again at ${position}: commit ${least} was acknowledged, found ${index}`);
  await assertIs(again, states[index]!, `${where}, again at ${position}`);
  await again.close();
}
