/** A member on a simulated disk, driven by hand. */
import assert from "node:assert/strict";
import { inspect } from "node:util";
import { SimClock, SimRandom, recordingLog, settle, type RecordingLog, type SimDisk } from "../../../sim/index.js";
import type { Credentials } from "../../auth/index.js";
import type { Network, Platform } from "../../platform/index.js";
import type { GetRequest } from "../../proto/fast/get.js";
import { DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest } from "../../proto/generated/etcdserverpb/kv.js";
import { defaultOptions, Member, type MemberOptions } from "../index.js";

const text = new TextEncoder();
export const bytesOf = (value: string): Uint8Array => text.encode(value);
export const textOf = (value: Uint8Array): string => new TextDecoder().decode(value);

export const DATA_DIR = "/data/member-1";

/** A cluster of one member talks to nobody. */
const noNetwork: Network = {
  listen: () => Promise.reject(new Error("no network here")),
  connect: () => Promise.reject(new Error("no network here")),
};

export interface World {
  readonly disk: SimDisk;
  readonly clock: SimClock;
  readonly log: RecordingLog;
  readonly platform: Platform;
}

export function worldOf(disk: SimDisk, seed = 1): World {
  const clock = new SimClock();
  const log = recordingLog();
  return { disk, clock, log, platform: { disk, clock, log, random: new SimRandom(seed), network: noNetwork } };
}

/** Small segments and frequent snapshots, so that edges come soon. */
export const tinyOptions: MemberOptions = {
  ...defaultOptions(DATA_DIR),
  segmentBytes: 4096,
  snapshotCount: 20,
  catchUpEntries: 5,
};

export interface RunningMember extends World {
  readonly member: Member;
  readonly failures: unknown[];
}

/** Boots; time passes while it does. A refusal is thrown. */
export async function startMember(
  world: World,
  options: Partial<MemberOptions> = {},
  credentials?: Credentials,
): Promise<RunningMember> {
  const failures: unknown[] = [];
  const starting = Member.start(
    { platform: world.platform, ...(credentials === undefined ? {} : { credentials }) },
    { ...tinyOptions, ...options },
    {
      onFailure: (error) => failures.push(error),
    },
  );
  try {
    const member = await timePassesUntil(world, starting);
    return { ...world, member, failures };
  } catch (error) {
    const lines = world.log.lines.map(({ level, message, fields }) => `${level} ${message} ${inspect(fields)}`);
    if (!(error instanceof assert.AssertionError)) throw error;
    throw new Error(`${error.message}\n${lines.join("\n")}`, { cause: error });
  }
}

/** Turns the clock until the promise settles. */
export async function timePassesUntil<Value>(world: Pick<World, "clock">, promise: Promise<Value>): Promise<Value> {
  const state = { settled: false };
  const watched = promise.finally(() => (state.settled = true));
  watched.catch(() => undefined); // it is awaited below
  for (let turn = 0; !state.settled && turn < 1_000; turn++) {
    await settle();
    if (!state.settled) world.clock.advance(50);
  }
  assert.ok(state.settled, "the simulated world came to rest before the promise settled");
  return watched;
}

export function getRequest(key: string, serializable: boolean): GetRequest {
  const bytes = bytesOf(key);
  return { bytes, keyStart: 0, keyEnd: bytes.length, serializable };
}

export const putRequest = (key: string, value: string, fields: Partial<PutRequest> = {}): PutRequest => ({
  ...PutRequest.decode(new Uint8Array(0)),
  key: bytesOf(key),
  value: bytesOf(value),
  ...fields,
});

export const rangeRequest = (key: string, fields: Partial<RangeRequest> = {}): RangeRequest => ({
  ...RangeRequest.decode(new Uint8Array(0)),
  key: bytesOf(key),
  ...fields,
});

export const deleteRequest = (key: string, fields: Partial<DeleteRangeRequest> = {}): DeleteRangeRequest => ({
  ...DeleteRangeRequest.decode(new Uint8Array(0)),
  key: bytesOf(key),
  ...fields,
});

export const txnRequest = (fields: Partial<TxnRequest>): TxnRequest => ({
  ...TxnRequest.decode(new Uint8Array(0)),
  ...fields,
});

/** Every key with its value and mod revision, read without asking raft. */
export async function contentOf(member: Member): Promise<Map<string, { value: string; revision: number }>> {
  const all = rangeRequest("\0", { rangeEnd: bytesOf("\0"), serializable: true });
  const { kvs } = await member.range(all);
  return new Map(kvs.map((kv) => [textOf(kv.key), { value: textOf(kv.value), revision: kv.modRevision }]));
}

/** Stops, and checks that nothing is left open. */
export async function stopMember({ member, disk, clock }: RunningMember): Promise<void> {
  await timePassesUntil({ clock }, member.stop());
  assert.deepEqual(disk.openHandles(), []);
  assert.equal(clock.timers, 0, "timers are left");
}
