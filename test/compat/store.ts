/**
 * The work that the compatibility tests give a server.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { EtcdClient } from "../support/client.js";
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

/** How many segments and snapshots lie in a server's directory. */
export function filesOf(server: Server): { segments: number; snapshots: number } {
  const count = (folder: string, ending: string): number =>
    readdirSync(join(server.seat.dataDir, "member", folder)).filter((name) => name.endsWith(ending)).length;
  return { segments: count("wal", ".wal"), snapshots: count("snap", ".snap") };
}
