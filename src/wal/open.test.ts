import assert from "node:assert/strict";
import { test } from "node:test";
import { SimDisk, SimRandom } from "../../sim/index.js";
import { concatBytes } from "../base/bytes.js";
import {
  repairWal,
  scanWal,
  validSnapshotEntries,
  verifyWal,
  WalError,
  walExists,
  type ScannedRecord,
} from "./index.js";
import { entries, entry, FOLDER, METADATA, ORIGIN, state, texts, World } from "./testing/fixture.js";
import { LogBuilder } from "./testing/log-builder.js";

const FIRST = "0000000000000000-0000000000000000.wal";
const confState = { voters: [1n], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
const code =
  (expected: string, text = /./) =>
  (error: unknown) => {
    assert.ok(error instanceof WalError, String(error));
    assert.equal(error.code, expected, error.message);
    assert.match(error.message, text);
    return true;
  };

/** A world with a log of entries 1 to `count`, each saved by itself. */
async function worldWith(count: number, bytes = 60): Promise<World> {
  const world = new World();
  const wal = await world.create({ segmentBytes: 16_384 });
  for (let i = 1; i <= count; i++) await wal.save(state(1, i - 1), entries(i, i + 1, bytes));
  await wal.close();
  return world;
}

test("a log is there when its folder holds a segment", async () => {
  const world = new World();
  assert.equal(await walExists(world.disk, FOLDER), false);
  await world.disk.makeFolder(FOLDER);
  assert.equal(await walExists(world.disk, FOLDER), false);
  const wal = await world.create();
  assert.equal(await walExists(world.disk, FOLDER), true);
  await wal.close();
});

test("a log is not made where one is, nor over files of others", async () => {
  const world = await worldWith(1);
  await assert.rejects(world.create(), code("WAL_EXISTS", /0000.*\.wal; open that log/));
  const other = new World();
  other.disk.writeAll(`${FOLDER}/notes.txt`, new Uint8Array(1));
  await assert.rejects(other.create(), code("WAL_EXISTS", /notes\.txt/));
  assert.ok(other.disk.exists(`${FOLDER}/notes.txt`));
});

test("what an earlier attempt to make a log left is cleared away", async () => {
  const world = new World();
  world.disk.writeAll(`${FOLDER}.tmp/${FIRST}`, new Uint8Array(100).fill(1));
  const wal = await world.create();
  await wal.close();
  assert.deepEqual(texts(await world.read()), []);
  assert.equal(world.disk.exists(`${FOLDER}.tmp`), false);
});

test("making a log fails at any disk operation without leaving one that a start would find", async () => {
  for (let nth = 1; ; nth++) {
    const world = new World();
    world.disk.fail({ nth, code: "DISK_FULL" });
    let failed = true;
    try {
      const wal = await world.create({ prepareNextSegment: false });
      await wal.close();
      failed = false;
    } catch (error) {
      assert.ok(error instanceof Error);
    }
    if (world.disk.faultsArmed > 0) break;
    if (failed) assert.equal(await walExists(world.disk, FOLDER), false, `operation ${nth}`);
    assert.deepEqual(world.disk.openHandles(), []);
  }
});

test("a log opened by another process is locked, and says by which file", async () => {
  const world = new World();
  const wal = await world.create();
  await assert.rejects(world.open(), code("WAL_LOCKED", /0000000000000000-0000000000000000\.wal is locked/));
  await wal.close();
  const { writer } = await world.open();
  await assert.rejects(repairWal(world, FOLDER), code("WAL_LOCKED"));
  await writer.close();
  world.assertAtRest();
});

test("no folder, no segment, no segment old enough: not found", async () => {
  const world = new World();
  await assert.rejects(world.read(), code("WAL_NOT_FOUND"));
  await world.disk.makeFolder(FOLDER);
  await assert.rejects(world.open(), code("WAL_NOT_FOUND"));
  await assert.rejects(validSnapshotEntries(world, FOLDER), code("WAL_NOT_FOUND"));
  new LogBuilder().segment(7).entry(entry(7)).onto(world.disk);
  await assert.rejects(world.read(), code("WAL_NOT_FOUND", /begins at 7/));
});

test("a missing segment is a gap with its number; one below what is opened does not matter", async () => {
  const world = new World();
  const build = new LogBuilder().begin();
  for (let i = 1; i <= 4; i++)
    build
      .entry(entry(i))
      .state(state(1, i))
      .segment(i + 1)
      .snapshot(i, 1);
  build.onto(world.disk);
  const [first, second] = await world.names();
  await world.disk.removeFile(`${FOLDER}/${second}`);
  await assert.rejects(world.read(), code("WAL_GAP", /segment 1 is missing/));
  assert.deepEqual(texts(await world.read({ index: 4, term: 1 })), []);
  assert.deepEqual(
    (await validSnapshotEntries(world, FOLDER)).map(({ index }) => index),
    [2, 3, 4],
  );
  await world.disk.removeFile(`${FOLDER}/${first}`);
  assert.deepEqual(texts(await world.read({ index: 3, term: 1 })), ["4/1 entry 4"]);
});

test("the snapshot must be in the log, with its term", async () => {
  const world = new World();
  const wal = await world.create();
  await wal.save(state(1, 3), entries(1, 6));
  await wal.saveSnapshot({ index: 3, term: 1, confState });
  await wal.close();
  assert.deepEqual(
    (await world.read({ index: 3, term: 1 })).entries.map(({ index }) => index),
    [4, 5],
  );
  await assert.rejects(
    world.read({ index: 3, term: 2 }),
    code("WAL_SNAPSHOT_MISMATCH", /term 1 in the log and term 2/),
  );
  await assert.rejects(world.read({ index: 2, term: 1 }), code("WAL_SNAPSHOT_NOT_FOUND"));
  await assert.rejects(world.open({ index: 2, term: 1 }), code("WAL_SNAPSHOT_NOT_FOUND"));
  await assert.rejects(verifyWal(world, FOLDER, { index: 2, term: 1 }), code("WAL_SNAPSHOT_NOT_FOUND"));
  world.assertAtRest();
});

test("the data of an entry are one view, however often they are asked for, and none at all is empty", async () => {
  const world = new World();
  const wal = await world.create();
  await wal.save(state(1, 0), [entry(1, "a"), entry(2, ""), entry(3, "b")]);
  await wal.close();
  const { entries } = await world.read();
  for (const one of entries) assert.equal(one.data, one.data);
  assert.deepEqual(
    entries.map(({ data }) => new TextDecoder().decode(data)),
    ["a", "", "b"],
  );
  world.assertAtRest();
});

test("only snapshots that commit covers are valid", async () => {
  const world = new World();
  new LogBuilder()
    .begin()
    .entry(...entries(1, 9))
    .snapshot(3, 1)
    .state(state(1, 5))
    .snapshot(5, 1)
    .snapshot(7, 1)
    .onto(world.disk);
  assert.deepEqual(
    (await validSnapshotEntries(world, FOLDER)).map(({ index }) => index),
    [0, 3, 5],
  );
});

test("a snapshot that was saved after a cut, and is older than it, does not hide where its segment begins", async () => {
  const world = new World();
  new LogBuilder()
    .begin()
    .entry(entry(1), entry(2), entry(3), entry(4))
    .state(state(1, 4))
    .segment(5)
    .state(state(1, 4))
    .snapshot(2, 1)
    .state(state(2, 4, 0n))
    .entry(entry(5, "e", 2))
    .state(state(2, 5, 0n))
    .snapshot(5, 2)
    .entry(entry(6, "f", 2))
    .onto(world.disk);
  const { writer, contents } = await world.open({ index: 5, term: 2 });
  assert.deepEqual(texts(contents), ["6/2 f"]);
  await writer.close();
  assert.deepEqual(texts(await world.read()), [
    "1/1 entry 1",
    "2/1 entry 2",
    "3/1 entry 3",
    "4/1 entry 4",
    "5/2 e",
    "6/2 f",
  ]);
  world.assertAtRest();
});

test("verifying counts, and tells progress", async () => {
  const world = await worldWith(20);
  const seen: number[] = [];
  const report = await verifyWal(world, FOLDER, ORIGIN, ({ bytesRead }) => void seen.push(bytesRead));
  assert.deepEqual(
    [report.entries, report.states, report.firstIndex, report.lastIndex, report.segments],
    [20, 20, 1, 20, 1],
  );
  assert.equal(report.snapshots, 1);
  assert.deepEqual(report.hardState, state(1, 19));
  assert.deepEqual(report.metadata, METADATA);
  assert.ok(seen.length > 0 && seen.every((value, i) => i === 0 || value >= seen[i - 1]!));
  world.assertAtRest();
});

test("a torn record is cut off once, a copy is kept, and the loss is told", async () => {
  const world = await worldWith(10, 900);
  const path = `${FOLDER}/${FIRST}`;
  const bytes = world.disk.readAll(path);
  let end = bytes.length;
  while (bytes[end - 1] === 0) end--;
  world.disk.file(path).zeroSector(Math.floor((end - 200) / 512));
  const damaged = world.disk.readAll(path);
  const { writer, contents } = await world.open(ORIGIN, { segmentBytes: 16_384 });
  assert.equal(contents.entries.length, 9);
  assert.equal(contents.damagedTail?.kind, "torn-record");
  assert.equal(contents.damagedTail.highestIndexSeen, 10);
  assert.match(contents.damagedTail.summary, /entry 10 can be made out in it: lost/);
  assert.equal(contents.repaired?.brokenCopy, `${FIRST}.broken`);
  const copy = world.disk.readAll(`${path}.broken`);
  assert.deepEqual(copy, damaged.subarray(0, copy.length));
  await writer.save(state(1, 9), [entry(10, "again")]);
  await writer.close();
  const after = await world.read();
  assert.equal(after.damagedTail, undefined);
  assert.equal(texts(after).at(-1), "10/1 again");
  world.assertAtRest();
});

test("repair does the same and no more; a good log it leaves alone", async () => {
  const world = await worldWith(5);
  const good = world.disk.readAll(`${FOLDER}/${FIRST}`);
  assert.equal((await repairWal(world, FOLDER)).changed, false);
  assert.deepEqual(world.disk.readAll(`${FOLDER}/${FIRST}`), good);
  const { damagedTail } = await world.read();
  assert.equal(damagedTail, undefined);
  world.disk.file(`${FOLDER}/${FIRST}`).cut(good.findLastIndex((byte) => byte !== 0) - 20);
  const report = await repairWal(world, FOLDER);
  assert.equal(report.changed, true);
  assert.ok(report.bytesRemoved > 0);
  assert.equal((await world.disk.stat(`${FOLDER}/${FIRST}`))?.size, report.offset);
  assert.equal((await repairWal(world, FOLDER)).changed, false);
  world.assertAtRest();
});

test("damage in front of later saves is refused with the entries that are missing, and nothing is changed", async () => {
  const world = await worldWith(40, 200);
  world.disk.file(`${FOLDER}/${FIRST}`).zeroSector(8);
  const before = world.disk.readAll(`${FOLDER}/${FIRST}`);
  await assert.rejects(world.open(), (error) => {
    assert.ok(error instanceof WalError);
    assert.equal(error.code, "WAL_MIDLOG_CORRUPT");
    assert.match(error.message, /entries? \d+.* (is|are) missing; nothing was changed: restore this member/);
    const { low, high } = error.missing!;
    assert.ok(low > 10 && high !== undefined && high > low && high < 40, `${low} to ${high}`);
    return true;
  });
  await assert.rejects(repairWal(world, FOLDER), code("WAL_MIDLOG_CORRUPT"));
  await assert.rejects(verifyWal(world, FOLDER, ORIGIN), code("WAL_MIDLOG_CORRUPT"));
  assert.deepEqual(world.disk.readAll(`${FOLDER}/${FIRST}`), before);
  assert.deepEqual(await world.names(), [FIRST]);
  world.assertAtRest();
});

test("states alone in front of the last save may be torn with it: nothing of that was acknowledged", async () => {
  // What etcd leaves when power fails in a save that follows states of which none was synced.
  const build = (): LogBuilder =>
    new LogBuilder()
      .begin()
      .entry(...entries(1, 6))
      .state(state(1, 2));
  const offset = build().offset;
  const world = new World();
  build().state(state(1, 3)).state(state(1, 4)).entry(entry(6)).state(state(1, 5)).onto(world.disk);
  const bytes = world.disk.readAll(`${FOLDER}/${FIRST}`);
  bytes.fill(0, offset, offset + 8);
  world.disk.writeAll(`${FOLDER}/${FIRST}`, bytes);
  const contents = await world.read();
  assert.equal(contents.damagedTail?.kind, "bytes-after-end");
  assert.equal(contents.damagedTail.highestIndexSeen, 6);
  assert.equal(contents.entries.length, 5);
});

test("a value that holds the bytes of another log is no evidence", async () => {
  const foreign = new World();
  new LogBuilder()
    .begin()
    .entry(...entries(500, 505))
    .state(state(1, 504))
    .entry(...entries(505, 509))
    .state(state(1, 508))
    .onto(foreign.disk);
  const inner = foreign.disk.readAll(`${FOLDER}/${FIRST}`);
  for (let shift = 0; shift < 8; shift++) {
    const world = new World();
    const wal = await world.create({ segmentBytes: 65_536, prepareNextSegment: false });
    await wal.save(state(1, 0), entries(1, 4));
    const at = world.disk.readAll(`${FOLDER}/${FIRST}`).findLastIndex((byte) => byte !== 0) + 1;
    await wal.save(state(1, 3), [entry(4, concatBytes([new Uint8Array(600 + shift).fill(1), inner]))]);
    await wal.close();
    world.disk.file(`${FOLDER}/${FIRST}`).zeroSector(Math.floor(at / 512) + 1);
    const contents = await world.read();
    assert.equal(contents.entries.length, 3);
    assert.ok(contents.damagedTail !== undefined, `shift ${shift}`);
  }
});

test("a read error is not the end of a log", async () => {
  const world = await worldWith(5);
  world.disk.fail({ kinds: ["read"], nth: 1, code: "DISK_IO" });
  await assert.rejects(world.read(), code("WAL_READ_IO", /reading \d+ bytes at byte 0/));
  world.disk.fail({ kinds: ["open"], nth: 1, code: "DISK_DESCRIPTORS" });
  await assert.rejects(world.open(), code("WAL_READ_IO"));
  world.disk.fail({ kinds: ["list"], nth: 1, code: "DISK_IO" });
  await assert.rejects(world.open(), code("WAL_READ_IO"));
  world.assertAtRest();
});

test("opening fails at any disk operation with a named error, and then opens with everything", async () => {
  for (let nth = 1; ; nth++) {
    const world = await worldWith(8);
    const end = world.disk.readAll(`${FOLDER}/${FIRST}`).findLastIndex((byte) => byte !== 0);
    world.disk.file(`${FOLDER}/${FIRST}`).put(end + 600, Uint8Array.of(1)); // something to repair
    world.disk.fail({ nth, code: "DISK_IO" });
    let failure: unknown;
    try {
      const { writer } = await world.open(ORIGIN, { segmentBytes: 16_384, prepareNextSegment: false });
      await writer.close();
    } catch (error) {
      failure = error;
    }
    if (world.disk.faultsArmed > 0) break;
    assert.ok(failure instanceof WalError, `operation ${nth}: ${String(failure)}`);
    assert.deepEqual(world.disk.openHandles(), []);
    const { writer, contents } = await world.open(ORIGIN, { segmentBytes: 16_384 });
    assert.equal(contents.entries.length, 8);
    await writer.close();
  }
});

test("bytes in cut segments that no one wrote are refused by kind", async () => {
  const build = (): LogBuilder =>
    new LogBuilder().begin().entry(entry(1)).state(state(1, 1)).segment(2).entry(entry(2));
  const cases: [string, (bytes: Uint8Array) => Uint8Array][] = [
    ["WAL_UNEXPECTED_EOF", (bytes) => bytes.subarray(0, bytes.length - 37)],
    ["WAL_UNEXPECTED_EOF", (bytes) => bytes.subarray(0, bytes.length - 4)],
    ["WAL_ENTRY_TOO_LARGE", (bytes) => bytes.with(bytes.length - 20, 1)],
    ["WAL_CRC_MISMATCH", (bytes) => bytes.subarray(0, bytes.length - 24)],
    ["WAL_MIDLOG_CORRUPT", (bytes) => concatBytes([bytes, new Uint8Array(8), Uint8Array.of(1)])],
  ];
  for (const [expected, damage] of cases) {
    const world = new World();
    build().onto(world.disk);
    world.disk.writeAll(`${FOLDER}/${FIRST}`, damage(world.disk.readAll(`${FOLDER}/${FIRST}`)));
    await assert.rejects(world.read(), code(expected), expected);
  }
  const zeros = new World();
  build().onto(zeros.disk);
  zeros.disk.writeAll(
    `${FOLDER}/${FIRST}`,
    concatBytes([zeros.disk.readAll(`${FOLDER}/${FIRST}`), new Uint8Array(64)]),
  );
  assert.equal((await zeros.read()).entries.length, 2, "zeros behind an old segment are harmless");
});

test("a scan shows every record with its place, and passes over damage", async () => {
  const world = await worldWith(30, 100);
  const whole = await scanAll(world);
  assert.deepEqual(
    whole.slice(0, 4).map(({ kind }) => kind),
    ["crc", "metadata", "snapshot", "entry"],
  );
  assert.equal(whole.filter(({ kind }) => kind === "entry").length, 30);
  let at = 0;
  for (const { offset, size } of whole) {
    assert.equal(offset, at);
    at += size;
  }
  world.disk.file(`${FOLDER}/${FIRST}`).zeroSector(3);
  const damaged = await scanAll(world);
  const damage = damaged.filter(({ kind }) => kind === "damage");
  assert.equal(damage.length, 1);
  assert.ok(damage[0]!.offset < 2048 && damage[0]!.offset + damage[0]!.size >= 2048);
  assert.equal(damaged.at(-1)?.kind, "state");
  const lost = 30 - damaged.filter(({ kind }) => kind === "entry").length;
  assert.ok(lost > 0 && lost < 8, `${lost} lost`);
  world.assertAtRest();
});

async function scanAll(world: World): Promise<ScannedRecord[]> {
  const records: ScannedRecord[] = [];
  for await (const record of scanWal(world, FOLDER)) records.push(record);
  return records;
}

for (const afterwards of ["new", "mixed"] as const) {
  test(`what opening reads is durable when it resolves, after a failed sync (${afterwards} bytes in the cache), too`, async () => {
    for (let seed = 0; seed < 10; seed++) {
      const world = new World(new SimDisk({ seed }));
      const wal = await world.create({ prepareNextSegment: false });
      await wal.save(state(1, 0), entries(1, 4));
      world.disk.fail({ kinds: ["datasync"], nth: 1, code: "DISK_IO", afterwards });
      await assert.rejects(wal.save(state(1, 3), entries(4, 9, 200)), code("FSYNC_FAILED"));
      const killed = new World(world.disk.kill());
      const { contents } = await killed.open();
      const lost = new World(killed.disk.crash({ mode: "lost", random: new SimRandom(seed) }));
      assert.deepEqual(texts(await lost.read()), texts(contents));
    }
  });
}

test("a last segment that ends with a record, without zeros behind it, is flagged: what was there cannot be told", async () => {
  const world = await worldWith(10);
  const records = await scanAll(world);
  const { offset } = records.findLast(({ kind }) => kind === "entry")!;
  world.disk.file(`${FOLDER}/${FIRST}`).cut(offset);
  const contents = await world.read();
  assert.equal(contents.entries.length, 9);
  assert.equal(contents.damagedTail?.kind, "short-file");
  assert.equal(contents.damagedTail.offset, offset);
  assert.match(contents.damagedTail.summary, /cannot be told/);
  const { writer } = await world.open();
  await writer.close();
  assert.equal((await world.read()).damagedTail, undefined, "opening puts the zeros back");
});

test("a segment that its last save filled is whole, although its writer died before it cut", async () => {
  const segmentBytes = 16_384;
  const world = await worldWith(10);
  const { writer } = await world.open(ORIGIN, { segmentBytes, prepareNextSegment: false });
  world.disk.fail({ kinds: ["rename"], nth: 1, code: "DISK_IO" });
  await assert.rejects(writer.save(state(1, 10), entries(11, 12, segmentBytes)));
  const killed = new World(world.disk.kill());
  const { size } = (await killed.disk.stat(`${FOLDER}/${FIRST}`))!;
  assert.ok(size > segmentBytes, "nothing lies behind the save");
  const { writer: next, contents } = await killed.open(ORIGIN, { segmentBytes });
  assert.deepEqual([contents.entries.length, contents.damagedTail, contents.repaired], [11, undefined, undefined]);
  await next.close();
  killed.assertAtRest();
});
