/**
 * The work that the compatibility tests give a server, and what must be equal of a store after its directory changed hands.
 */
import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { CallError, type EtcdClient, type KeyValue } from "../support/client.js";
import type { SeededRandom } from "../support/random.js";
import type { Server } from "../support/servers.js";

export interface Work {
  readonly puts: number;
  readonly keys: number;
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly inFlight: number;
}

/** Names one of `work.keys` keys; all have the same length, so the size of the log can be planned. */
export function keyName(work: Work, number: number): string {
  return `key/${String(number).padStart(Math.max(8, work.keyBytes - 4), "0")}`;
}

/** Runs `body` for 0 to `count`, `inFlight` at a time. The first failure ends it. */
export async function concurrently(
  count: number,
  inFlight: number,
  body: (number: number) => Promise<unknown>,
): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) await body(next++);
  };
  const lanes = await Promise.allSettled(Array.from({ length: inFlight }, lane));
  const failed = lanes.find((outcome) => outcome.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

/**
 * Puts of random bytes over the keys; a delete (of one key or of a small range) after every hundredth put, a transaction
 * after every two hundredth. Every key is put at least once where there are as many puts as keys.
 */
export async function write(client: EtcdClient, work: Work, random: SeededRandom): Promise<void> {
  await concurrently(work.puts, work.inFlight, async (number) => {
    const key = keyName(work, number < work.keys ? number : random.between(0, work.keys));
    await client.put(key, random.bytes(work.valueBytes));
    if (number % 100 === 99) await remove(client, work, random);
    if (number % 200 === 199) await transact(client, work, random);
  });
}

async function remove(client: EtcdClient, work: Work, random: SeededRandom): Promise<void> {
  const first = random.between(0, work.keys);
  const end = random.oneIn(4) ? keyName(work, first + 5) : "";
  await client.call("DeleteRange", { key: Buffer.from(keyName(work, first)), range_end: Buffer.from(end) });
}

async function transact(client: EtcdClient, work: Work, random: SeededRandom): Promise<void> {
  const [first, second] = [random.between(0, work.keys), random.between(0, work.keys)].map((i) =>
    Buffer.from(keyName(work, i)),
  );
  await client.call("Txn", {
    compare: [{ key: first!, target: 1, result: 1, create_revision: 0 }],
    success: [
      { request_put: { key: first!, value: random.bytes(work.valueBytes) } },
      { request_put: { key: Buffer.from(`txn/${random.between(0, 100)}`), value: Buffer.from("t") } },
    ],
    failure: [{ request_delete_range: { key: second! } }],
  });
}

/** Compacts at a revision and waits until the old revisions are gone. */
export async function compact(client: EtcdClient, revision: number): Promise<void> {
  await client.call("Compact", { revision, physical: true });
}

/** All that a client can see of a store. */
export interface Contents {
  readonly revision: number;
  readonly keys: readonly KeyValue[];
  /** `hashKV` at several revisions. */
  readonly hashes: ReadonlyMap<number, string>;
  /** Over every field of every key. */
  readonly digest: string;
}

/**
 * Reads a store whole.
 *
 * @param revisions where to ask for `hashKV` beside the newest revision; those that are compacted tell so
 */
export async function contents(client: EtcdClient, revisions: readonly number[] = []): Promise<Contents> {
  const revision = await client.revision();
  const keys: KeyValue[] = [];
  const digest = createHash("sha256");
  for await (const kv of client.keys({ revision })) {
    keys.push(kv);
    digest.update(describeKey(kv));
  }
  const hashes = new Map<number, string>();
  for (const at of [...revisions, revision]) hashes.set(at, await hashAt(client, at));
  return { revision, keys, hashes, digest: digest.digest("hex") };
}

async function hashAt(client: EtcdClient, revision: number): Promise<string> {
  try {
    const { hash, compactRevision } = await client.hashKV(revision);
    return `${hash} (compacted ${compactRevision})`;
  } catch (error) {
    if (error instanceof CallError) return error.message;
    throw error;
  }
}

function describeKey({ key, value, createRevision, modRevision, version, lease }: KeyValue): string {
  const [name, held] = [key, value].map((bytes) => Buffer.from(bytes).toString("hex"));
  return `${name} created ${createRevision} modified ${modRevision} version ${version} lease ${lease} value ${held}\n`;
}

/** The first things in which two stores differ, as sentences; none where they are equal. */
export function differences(expected: Contents, found: Contents): string[] {
  const told: string[] = [];
  if (expected.revision !== found.revision) told.push(`revision ${found.revision}, expected ${expected.revision}`);
  if (expected.keys.length !== found.keys.length)
    told.push(`${found.keys.length} keys, expected ${expected.keys.length}`);
  for (const [i, kv] of expected.keys.entries()) {
    const other = found.keys[i];
    if (other !== undefined && describeKey(kv) === describeKey(other)) continue;
    told.push(`expected key ${describeKey(kv)}   found ${other === undefined ? "nothing" : describeKey(other)}`);
    if (told.length > 5) return told;
  }
  for (const [revision, hash] of expected.hashes) {
    const other = found.hashes.get(revision);
    if (other !== hash) told.push(`hashKV at ${revision} is ${other}, expected ${hash}`);
  }
  if (told.length === 0 && expected.digest !== found.digest) told.push("the digests differ");
  return told;
}

/** How many segments and snapshots lie in a server's directory. */
export function filesOf(server: Server): { segments: number; snapshots: number } {
  const count = (folder: string, ending: string): number =>
    readdirSync(join(server.seat.dataDir, "member", folder)).filter((name) => name.endsWith(ending)).length;
  return { segments: count("wal", ".wal"), snapshots: count("snap", ".snap") };
}
