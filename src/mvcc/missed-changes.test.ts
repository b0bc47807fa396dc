import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { bytesFromLatin1, latin1FromBytes } from "../base/text.js";
import type { BoltDatabase, BoltWrite } from "./bolt-door.js";
import { MissedChanges } from "./missed-changes.js";
import { MemoryBolt } from "./testing/memory-bolt.js";

const LOG = "log";
const OTHER = "other";

/** A database with a write transaction that stays open. */
async function openWrite(engine: MemoryBolt, path: string): Promise<{ database: BoltDatabase; write: BoltWrite }> {
  const database = await engine.open(undefined, path);
  return { database, write: database.beginWrite() };
}

function pairs(write: BoltWrite, bucket: string): [string, string][] {
  const found: [string, string][] = [];
  write.bucket(bytesFromLatin1(bucket))?.forEach(undefined, undefined, (key, value) => {
    found.push([latin1FromBytes(key), latin1FromBytes(value)]);
  });
  return found;
}

const steps = fc.array(
  fc.oneof(
    fc.record({
      do: fc.constantFrom("put" as const, "delete" as const),
      bucket: fc.constantFrom(LOG, OTHER),
      key: fc.integer({ min: 0, max: 40 }).map((number) => String(number).padStart(2, "0")),
      value: fc.string({ maxLength: 3, unit: fc.constantFrom("a", "b") }),
    }),
    fc.record({ do: fc.constant("repeat" as const), count: fc.integer({ min: 1, max: 5 }) }),
  ),
  { maxLength: 80 },
);

test("a copy that repeats what it missed is equal to db, whatever changes and whenever it repeats", async () => {
  await fc.assert(
    fc.asyncProperty(steps, fc.nat(30), async (run, pinnedAt) => {
      const engine = new MemoryBolt();
      const db = await openWrite(engine, "db");
      const copy = await openWrite(engine, "copy");
      let missed: MissedChanges | undefined;
      const current = {
        forEach: (
          bucket: string,
          from: Uint8Array | undefined,
          to: Uint8Array | undefined,
          visit: (key: Uint8Array, value: Uint8Array) => boolean | void,
        ): void => db.write.bucket(bytesFromLatin1(bucket))?.forEach(from, to, visit),
      };
      const pin = (): void => {
        missed = new MissedChanges(LOG, 0.9);
        missed.begin(db.write.bucket(bytesFromLatin1(LOG))?.lastKey());
        for (const bucket of [LOG, OTHER]) {
          for (const [key, value] of pairs(db.write, bucket)) {
            const target = copy.write.createBucketIfNotExists(bytesFromLatin1(bucket));
            target.put(bytesFromLatin1(key), bytesFromLatin1(value));
          }
        }
      };
      run.forEach((step, i) => {
        if (i === pinnedAt) pin();
        if (step.do === "repeat") {
          missed?.repeat(copy.write, current, step.count);
          return;
        }
        const bucket = db.write.createBucketIfNotExists(bytesFromLatin1(step.bucket));
        const key = bytesFromLatin1(step.key);
        if (step.do === "put") {
          bucket.put(key, bytesFromLatin1(step.value));
          missed?.notePut(step.bucket, key, bytesFromLatin1(step.value));
        } else {
          bucket.delete(key);
          missed?.noteDelete(step.bucket, key);
        }
      });
      if (missed === undefined) pin();
      while (missed!.repeat(copy.write, current, 3) === 3);
      for (const bucket of [LOG, OTHER]) assert.deepEqual(pairs(copy.write, bucket), pairs(db.write, bucket));
      assert.equal(missed!.repeat(copy.write, current, 3), 0, "nothing is repeated twice");
    }),
  );
});

test("puts behind the end are not noted: they are read from db when their turn comes", async () => {
  const copy = await openWrite(new MemoryBolt(), "copy");
  const missed = new MissedChanges(LOG, 0.9);
  missed.begin(bytesFromLatin1("05"));
  missed.notePut(LOG, bytesFromLatin1("06"), bytesFromLatin1("never seen"));
  missed.noteDelete(LOG, bytesFromLatin1("07"));
  assert.equal(missed.repeat(copy.write, { forEach: () => undefined }, 10), 0);
  assert.deepEqual(pairs(copy.write, LOG), []);
});
