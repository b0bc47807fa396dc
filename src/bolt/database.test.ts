import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import fc from "fast-check";
import { SimClock, SimDisk } from "../../sim/index.js";
import { silentLog } from "../platform/log.js";
import { openBolt, type BoltDatabase, type BoltOptions } from "./index.js";
import { Chance, work } from "./testing/random-work.js";
import { assertSame, bytesOf, TwinBucket } from "./testing/twin.js";

const PATH = "/data/db";

/** A disk with a database on it; at the end the database must be consistent and no file open. */
class Fixture {
  readonly disk = new SimDisk();
  readonly clock = new SimClock();
  db!: BoltDatabase;

  get doors(): { disk: SimDisk; clock: SimClock; log: typeof silentLog } {
    return { disk: this.disk, clock: this.clock, log: silentLog };
  }

  async open(options: BoltOptions = {}): Promise<BoltDatabase> {
    this.db = await openBolt(this.doors, PATH, options);
    return this.db;
  }

  async reopen(options: BoltOptions = {}): Promise<BoltDatabase> {
    await this.db.close();
    return this.open(options);
  }
}

async function boltFixture(t: TestContext, options: BoltOptions = {}): Promise<Fixture> {
  const fixture = new Fixture();
  await fixture.open(options);
  t.after(async () => {
    if (fixture.db.failed === undefined) {
      const db = await fixture.reopen();
      assert.deepEqual(await db.check(), []);
    }
    await fixture.db.close();
    assert.deepEqual(fixture.disk.openHandles(), []);
  });
  return fixture;
}

test("what is put is there after the commit, and after closing and opening", async (t) => {
  const fixture = await boltFixture(t);
  const write = fixture.db.beginWrite();
  const bucket = write.createBucket(bytesOf("key"));
  bucket.put(bytesOf("a"), bytesOf("1"));
  assert.deepEqual(bucket.get(bytesOf("a")), bytesOf("1"));
  await write.commit();
  const db = await fixture.reopen();
  const read = db.beginRead();
  assert.deepEqual(read.bucket(bytesOf("key"))!.get(bytesOf("a")), bytesOf("1"));
  assert.equal(read.bucket(bytesOf("nokey")), undefined);
});

for (const pageSize of [1024, 4096]) {
  test(`random work gives what the twin holds, with pages of ${pageSize} bytes`, async (t) => {
    const runs = Number(process.env["BOLT_RUNS"] ?? 12);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 2 ** 31 - 1 }), async (seed) => {
        const fixture = new Fixture();
        let db = await fixture.open({ pageSize, cacheBytes: 40 * pageSize });
        const chance = new Chance(seed);
        let twin = new TwinBucket();
        const shape = { keys: chance.pick([50, 1000, 20_000]), valueBytesMax: pageSize * 5, depth: 3 };
        for (let commit = 0; commit < 14; commit++) {
          const before = twin.copy();
          const reader = db.beginRead();
          const write = db.beginWrite();
          work(write, twin, chance, chance.pick([1, 20, 400]), shape);
          assertSame(write, twin);
          assertSame(reader, before);
          if (chance.below(5) === 0) {
            write.rollback();
            twin = before;
          } else {
            const durable = write.commit();
            const after = db.beginRead();
            assertSame(after, twin);
            if (chance.below(2) === 0) await durable;
            assertSame(after, twin);
            after.end();
          }
          assertSame(reader, before);
          reader.end();
          assert.deepEqual(await db.check(), []);
          if (chance.below(4) === 0) db = await fixture.reopen({ cacheBytes: 40 * pageSize });
        }
        const read = db.beginRead();
        assertSame(read, twin);
        await db.close();
        assert.deepEqual(fixture.disk.openHandles(), []);
      }),
      { numRuns: runs },
    );
    t.diagnostic(`${runs} runs of 14 transactions`);
  });
}
