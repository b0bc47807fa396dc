/**
 * All that a client can see of a store, and in what two stores differ: after a directory changed hands, or between members.
 */
import { createHash } from "node:crypto";
import { CallError, type EtcdClient, type KeyValue } from "./client.js";

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
