import assert from "node:assert/strict";
import { test } from "node:test";
import { SimDisk } from "../../sim/index.js";
import { createWal } from "../wal/index.js";
import { entries, FOLDER, METADATA, state, World } from "../wal/testing/fixture.js";
import { findDb, findWal, InspectError, oldestReadable } from "./places.js";

const VOTERS = { voters: [1n], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };

test("a log is found from the data directory, from member, and from its own folder", async () => {
  const world = new World();
  for (const folder of ["/data", "/data/member"]) await world.disk.makeFolder(folder);
  await (await createWal(world, "/data/member/wal", METADATA, { segmentBytes: 4096 })).close();
  for (const folder of ["/data", "/data/member", "/data/member/wal"]) {
    assert.equal(await findWal(world.disk, folder), "/data/member/wal", folder);
  }
  await assert.rejects(findWal(world.disk, "/elsewhere"), (error: unknown) => {
    assert.ok(error instanceof InspectError);
    assert.equal(error.code, "INSPECT_NOT_FOUND");
    assert.match(error.detail, /\/elsewhere\/member\/wal, \/elsewhere\/wal, \/elsewhere: name a data directory/);
    return true;
  });
});

test("a db is found from the data directory, from member, from snap, and as the file", async () => {
  const disk = new SimDisk();
  disk.writeAll("/data/member/snap/db", Uint8Array.of(1));
  for (const path of ["/data", "/data/member", "/data/member/snap", "/data/member/snap/db"]) {
    assert.equal(await findDb(disk, path), "/data/member/snap/db", path);
  }
  await assert.rejects(
    findDb(disk, "/elsewhere"),
    /INSPECT_NOT_FOUND: no db at \/elsewhere\/member\/snap\/db, .*the file/,
  );
});

test("a whole log is read from its beginning; one that was purged from the oldest snapshot that it reaches back to", async () => {
  const world = new World();
  const writer = await world.create({ segmentBytes: 512 });
  for (let from = 1; from <= 40; from += 10) {
    await writer.save(state(1, from + 9), entries(from, from + 10, 60)); // fills a segment
    await writer.saveSnapshot({ index: from + 9, term: 1, confState: VOTERS }); // in the next one
  }
  await writer.close();
  assert.deepEqual(await oldestReadable(world, FOLDER), { index: 0, term: 0 });
  const segments = (await world.names()).filter((name) => name.endsWith(".wal"));
  assert.equal(segments.length, 5);
  for (const [removed, index] of [20, 30, 40].entries()) {
    await world.disk.removeFile(`${FOLDER}/${segments[removed]!}`);
    const oldest = await oldestReadable(world, FOLDER);
    assert.deepEqual(oldest, { index, term: 1 });
    assert.equal((await world.read(oldest)).entries.length, 40 - index);
  }
});
