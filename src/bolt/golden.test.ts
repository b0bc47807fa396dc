import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { SimClock, SimDisk } from "../../sim/index.js";
import { silentLog } from "../platform/log.js";
import { openBolt } from "./index.js";
import { dumpLinesOf } from "./testing/dump-lines.js";
import { bytesOf } from "./testing/twin.js";

const GOLDEN = join(import.meta.dirname, "../../../src/bolt/testing/golden");
const PATH = "/data/db";

for (const name of ["etcd-3.5.16", "bbolt-1.3.6-no-free-list"]) {
  test(`${name}: what bbolt reads, Walnut reads, and goes on from there`, async () => {
    const disk = new SimDisk();
    const doors = { disk, clock: new SimClock(), log: silentLog };
    disk.writeAll(PATH, Uint8Array.from(readFileSync(join(GOLDEN, `${name}.db`))));
    const lines = readFileSync(join(GOLDEN, `${name}.txt`), "utf8")
      .trimEnd()
      .split("\n");
    for (const readOnly of [true, false]) {
      const db = await openBolt(doors, PATH, { readOnly });
      assert.deepEqual(await db.check(), []);
      assert.deepEqual(dumpLinesOf(db.beginRead()), lines);
      await db.close();
    }
    const db = await openBolt(doors, PATH);
    for (let i = 0; i < 20; i++) {
      const write = db.beginWrite();
      write.createBucketIfNotExists(bytesOf("walnut")).put(bytesOf(`k${i}`), new Uint8Array(700));
      await write.commit();
      assert.deepEqual(await db.check(), []);
    }
    const read = db.beginRead();
    assert.deepEqual(
      dumpLinesOf(read).filter((line) => !/^[BK] 77616c6e7574/.test(line)),
      lines,
    );
    await db.close();
    assert.deepEqual(disk.openHandles(), []);
  });
}
