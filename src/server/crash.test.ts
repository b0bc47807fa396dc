/**
 * Power fails while a whole member works: at recorded disk operations, in every loss mode, and again while the member boots on
 * what was left. WALNUT_CRASH_STEP=1 takes every operation; the default takes one in so many that the suite stays quick.
 */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { CRASH_MODES, SimDisk, SimRandom, type CrashMode } from "../../sim/index.js";
import type { ResponseHeader } from "../proto/generated/etcdserverpb/header.js";
import type { MemberOptions } from "./options.js";
import {
  contentOf,
  deleteRequest,
  putRequest,
  startMember,
  stopMember,
  timePassesUntil,
  worldOf,
  type RunningMember,
} from "./testing/fixture.js";

const STEP = Number(process.env["WALNUT_CRASH_STEP"] ?? 23);
const OPTIONS: Partial<MemberOptions> = { segmentsKept: 2, snapshotsKept: 2, batchIntervalMs: 20 };
const PUTS = 90;
const KEYS = 12;
/** A key that is put after the recovery. */
const AFTER = "after";

interface Acknowledged {
  /** Journal position at which the answer was seen. */
  readonly at: number;
  readonly key: string;
  readonly value: string | undefined;
  readonly revision: number;
}

/** Puts and deletes, one after the other, with restarts in between; everything acknowledged is noted. */
async function record(syncOnLoop: boolean): Promise<{ disk: SimDisk; acknowledged: Acknowledged[] }> {
  const disk = new SimDisk();
  const atOnce = countWritesAtOnce(disk);
  const acknowledged: Acknowledged[] = [];
  let running: RunningMember = await startMember(worldOf(disk), { ...OPTIONS, syncOnLoop });
  for (let i = 0; i < PUTS; i++) {
    const key = `key-${i % KEYS}`;
    const value = i % 7 === 6 ? undefined : `value-${i}-${"y".repeat(60)}`;
    const answer =
      value === undefined ? running.member.deleteRange(deleteRequest(key)) : running.member.put(putRequest(key, value));
    const { header } = await timePassesUntil<{ header: ResponseHeader | undefined }>(running, answer);
    acknowledged.push({ at: disk.journal.length, key, value, revision: header!.revision });
    if (i % 5 === 0) await running.clock.run(25); // time for commits to db
    if (i === 60) await running.clock.run(31_000); // and once for a purge
    if (i === 40) {
      await stopMember(running);
      running = await startMember(worldOf(disk), { ...OPTIONS, syncOnLoop });
    }
  }
  await stopMember(running);
  if (syncOnLoop) assert.ok(atOnce.count > PUTS / 2, `only ${atOnce.count} writes were made on the loop`);
  else assert.equal(atOnce.count, 0);
  return { disk, acknowledged };
}

/** Counts the durable writes that hold the caller. */
function countWritesAtOnce(disk: SimDisk): { count: number } {
  const counter = { count: 0 };
  const open = disk.open.bind(disk);
  disk.open = async (...asked) => {
    const file = await open(...asked);
    const writeDurablyNow = file.writeDurablyNow.bind(file);
    file.writeDurablyNow = (chunks, offset) => {
      const written = writeDurablyNow(chunks, offset);
      if (written) counter.count++;
      return written;
    };
    return file;
  };
  return counter;
}

async function checkAfterPowerLoss(
  disk: SimDisk,
  acknowledged: readonly Acknowledged[],
  at: number,
  where: string,
): Promise<void> {
  const running = await startMember(worldOf(disk), OPTIONS);
  const before = acknowledged.filter((one) => one.at <= at);
  const next = acknowledged[before.length];
  await checkContent(running, before, next, where);
  const revision = running.member.header().revision;
  const floor = before.at(-1)?.revision ?? 1;
  assert.ok(revision >= floor, `${where}: revision ${revision}, ${floor} was acknowledged`);
  assert.ok(revision <= (next?.revision ?? floor), `${where}: revision ${revision} was never reached`);
  // The member works on: what it acknowledges now outlives a restart.
  const { header } = await timePassesUntil(running, running.member.put(putRequest(AFTER, "power loss")));
  assert.equal(header?.revision, revision + 1, where);
  await stopMember(running);
}

/** All that was acknowledged is there; the request that was under way may be, and nothing else. */
async function checkContent(
  { member }: RunningMember,
  before: readonly Acknowledged[],
  next: Acknowledged | undefined,
  where: string,
): Promise<void> {
  const found = new Map([...(await contentOf(member))].map(([key, { value }]) => [key, value]));
  found.delete(AFTER);
  const certain = contentAfter(before);
  const possible = next === undefined ? certain : contentAfter([...before, next]);
  const asText = (content: Map<string, string>): string =>
    JSON.stringify([...content].sort(([a], [b]) => (a < b ? -1 : 1)));
  const message = `${where}: found ${asText(found)}, expected ${asText(certain)} or ${asText(possible)}`;
  assert.ok([asText(certain), asText(possible)].includes(asText(found)), message);
}

function contentAfter(acknowledged: readonly Acknowledged[]): Map<string, string> {
  const content = new Map<string, string>();
  for (const { key, value } of acknowledged) {
    if (value === undefined) content.delete(key);
    else content.set(key, value);
  }
  return content;
}

for (const syncOnLoop of [false, true]) {
  const how = syncOnLoop ? "that writes on its loop" : "that writes in the pool";
  test(`power may fail at any disk operation of a member ${how}: nothing acknowledged is lost, nothing else appears`, (t) =>
    failEverywhere(t, syncOnLoop));
}

async function failEverywhere(t: TestContext, syncOnLoop: boolean): Promise<void> {
  const { disk, acknowledged } = await record(syncOnLoop);
  let states = 0;
  let again = 0;
  for (let at = 0; at <= disk.journal.length; at += STEP) {
    for (const mode of CRASH_MODES) {
      const where = `power lost at ${at} (${at < disk.journal.length ? disk.label(at) : "the end"}), ${mode}`;
      const random = new SimRandom(at * 3 + CRASH_MODES.indexOf(mode));
      const left = disk.platterAt(at, mode, random);
      states++;
      await checkAfterPowerLoss(left, acknowledged, at, where);
      again += await failAgainWhileBooting(left, acknowledged, at, mode, where);
    }
  }
  t.diagnostic(
    `${disk.journal.length} disk operations, ${states} states after a power loss, ${again} after a second one`,
  );
  assert.ok(states > 50, `only ${states} states were tried`);
}

/** `left` has the boot's own operations in its journal now: power fails at some of those, too. */
async function failAgainWhileBooting(
  left: SimDisk,
  acknowledged: readonly Acknowledged[],
  at: number,
  mode: CrashMode,
  where: string,
): Promise<number> {
  const { length } = left.journal;
  let tried = 0;
  for (let second = 1 + (at % 5); second < length; second += Math.max(STEP, Math.ceil(length / 3))) {
    const random = new SimRandom(at * 7 + second);
    const state = left.platterAt(second, mode, random);
    const rebooted = await startMember(worldOf(state), OPTIONS);
    const before = acknowledged.filter((one) => one.at <= at);
    await checkContent(rebooted, before, acknowledged[before.length], `${where}, and again at ${second}`);
    await stopMember(rebooted);
    tried++;
  }
  return tried;
}
