import assert from "node:assert/strict";
import { test } from "node:test";
import { SimDisk } from "../../sim/index.js";
import { layoutOf } from "./layout.js";
import { checkReceivedDatabase } from "./received-database.js";
import { DATA_DIR, putRequest, startMember, stopMember, timePassesUntil, worldOf } from "./testing/fixture.js";

const { dbPath } = layoutOf(DATA_DIR);

/** What a member's database is after a few puts, and the index that it has come to. */
async function databaseOf(disk: SimDisk): Promise<{ bytes: Uint8Array; index: number }> {
  const running = await startMember(worldOf(disk));
  for (let i = 0; i < 50; i++) {
    await timePassesUntil(running, running.member.put(putRequest(`key-${i}`, "x".repeat(200))));
  }
  const index = running.member.status().raftAppliedIndex;
  await stopMember(running);
  return { bytes: disk.tree().get(dbPath)!, index };
}

test("a database that came whole is taken; one that is cut, bent or too old is refused, each by its own words", async () => {
  const { bytes, index } = await databaseOf(new SimDisk());
  const verdictOn = async (came: Uint8Array, atIndex: number): Promise<string> => {
    const { platform, disk } = worldOf(new SimDisk());
    const file = await disk.open("/received", "create");
    await file.write([came], 0);
    await file.close();
    try {
      await checkReceivedDatabase(platform, "/received", atIndex);
      return "taken";
    } catch (error) {
      const { code, message } = error as { code?: string; message: string };
      return `${code}: ${message}`;
    }
  };
  assert.equal(await verdictOn(bytes, index), "taken");
  const cut = await verdictOn(bytes.slice(0, 3 * 4096), index);
  assert.match(cut, /^SNAPSHOT_DAMAGED/);
  const bent = bytes.slice();
  bent[4 * 4096 + 100]! ^= 1;
  assert.match(await verdictOn(bent, index), /^SNAPSHOT_DAMAGED/);
  assert.match(await verdictOn(bytes, index + 1), /^SNAPSHOT_DAMAGED: .* up to/);
});
