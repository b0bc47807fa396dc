import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { gunzipSync } from "node:zlib";
import { SimDisk } from "../../sim/index.js";
import { boltEngine } from "./bolt-engine.js";
import type { KeyValue } from "../proto/generated/mvccpb/kv.js";
import { ALL, storeFixture, type StoreFixture } from "./testing/fixture.js";

/** What real etcd answered about its own `db`; see make-golden.mjs. */
interface Facts {
  readonly version: string;
  readonly revision: number;
  readonly compactRevision: number;
  readonly hash: number;
  readonly at: readonly { readonly revision: number; readonly hashKv: number; readonly pairs: readonly string[] }[];
}

/** Another pair of files, made by the same script, can be tested instead. */
const folder = process.env["WALNUT_GOLDEN"] ?? join(import.meta.dirname, "../../../src/mvcc/testing/golden");
const facts = JSON.parse(readFileSync(join(folder, "etcd.json"), "utf8")) as Facts;

function describePair(kv: KeyValue): string {
  const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
  return `${base64(kv.key)} ${base64(kv.value)} ${kv.createRevision}/${kv.modRevision}/${kv.version} ${kv.lease}`;
}

function goldenFixture(t: TestContext): Promise<StoreFixture> {
  const disk = new SimDisk();
  disk.writeAll("/data/db", gunzipSync(readFileSync(join(folder, "etcd.db.gz"))));
  const exists = { has: () => true, holdsKeys: false, attach: () => true, detach: () => undefined };
  return storeFixture(t, { disk, engine: boltEngine, store: { leases: exists } });
}

test(`the db of ${facts.version} opens: revision and compact revision are etcd's`, async (t) => {
  const s = await goldenFixture(t);
  assert.equal(s.store.revision, facts.revision);
  assert.equal(s.store.compactRevision, facts.compactRevision);
});

for (const { revision, hashKv, pairs } of facts.at) {
  test(`at revision ${revision} of etcd's db every pair and HashKV are what etcd answers`, async (t) => {
    const s = await goldenFixture(t);
    assert.deepEqual(s.store.range(ALL, { revision }).kvs.map(describePair), pairs);
    assert.deepEqual(await s.store.hashKv(revision), {
      hash: hashKv,
      compactRevision: facts.compactRevision,
      currentRevision: facts.revision,
    });
  });
}

test("Hash over etcd's db is what etcd answers", async (t) => {
  const s = await goldenFixture(t);
  assert.deepEqual(await s.store.hash(), { hash: facts.hash, revision: facts.revision });
});

test("pairs and HashKV are the same after a compaction and a defragmentation", async (t) => {
  const s = await goldenFixture(t);
  const last = facts.at.at(-1)!;
  const before = await s.store.hashKv(last.revision - 1);
  await s.compact(last.revision - 1);
  const stored = await s.store.hashKv(last.revision - 1);
  assert.equal(stored.hash, before.hash, "the hash that a compaction keeps is the one asked for before it");
  await s.during(s.backend.defragment());
  assert.deepEqual(s.show(ALL), (await s.restart(), s.show(ALL)));
  assert.deepEqual(s.store.range(ALL).kvs.map(describePair), last.pairs);
});
