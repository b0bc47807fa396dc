import assert from "node:assert/strict";
import { test } from "node:test";
import { SimDisk, SimRandom } from "../../sim/index.js";
import { InvariantError } from "../base/errors.js";
import { WalError } from "./errors.js";
import { entries, entry, FOLDER, METADATA, ORIGIN, state, texts, valueOf, World } from "./testing/fixture.js";
import type { WalOptions, WalWriter } from "./writer.js";

const code = (expected: string) => (error: unknown) => {
  assert.ok(error instanceof WalError, String(error));
  assert.equal(error.code, expected, error.message);
  return true;
};
const confState = { voters: [1n], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };

test("what was saved is read back: metadata, entries, the last state", async () => {
  const world = new World();
  const wal = await world.create();
  await wal.save(state(1, 0), [entry(1, "a"), entry(2, "b")]);
  await wal.save(state(1, 2), [entry(3, "c")]);
  await wal.close();
  const contents = await world.read();
  assert.deepEqual(contents.metadata, METADATA);
  assert.deepEqual(contents.hardState, state(1, 2));
  assert.deepEqual(texts(contents), ["1/1 a", "2/1 b", "3/1 c"]);
  assert.equal(contents.damagedTail, undefined);
  assert.deepEqual(await world.names(), ["0000000000000000-0000000000000000.wal"]);
  world.assertAtRest();
});

test("a later entry replaces those from its index on", async () => {
  const world = new World();
  const wal = await world.create();
  await wal.save(state(1, 1), [entry(1, "a"), entry(2, "old"), entry(3, "old")]);
  await wal.save(state(2, 1), [entry(2, "new", 2)]);
  await wal.close();
  assert.deepEqual(texts(await world.read()), ["1/1 a", "2/2 new"]);
});

test("saves that wait while a write is in flight go out as one write, one state behind all entries", async () => {
  const world = new World();
  const wal = await world.create({ segmentBytes: 65_536 });
  const before = world.disk.count("datasync");
  const writes = world.disk.count("write");
  await Promise.all(Array.from({ length: 50 }, (_, i) => wal.save(state(1, i), [entry(i + 1)])));
  assert.equal(world.disk.count("datasync") - before, 2, "the first alone, the other 49 together");
  assert.equal(world.disk.count("write") - writes, 2);
  await wal.close();
  const contents = await world.read();
  assert.equal(contents.entries.length, 50);
  assert.equal(contents.hardState.commit, 49);
});

test("saves resolve in the order in which they were given, one of nothing too", async () => {
  const world = new World();
  const wal = await world.create();
  const order: string[] = [];
  const note = (name: string) => () => order.push(name);
  const saves = [
    wal.save(state(1, 0), [entry(1)]).then(note("an entry")),
    wal.save(undefined, []).then(note("nothing")),
    wal.save(undefined, [entry(2)]).then(note("another entry")),
    wal.save(state(1, 1), []).then(note("a commit")),
    wal.save(undefined, []).then(note("nothing again")),
  ];
  await Promise.all(saves);
  assert.deepEqual(order, ["an entry", "nothing", "another entry", "a commit", "nothing again"]);
  await wal.close();
});

test("a changed commit alone is not synced, and is there after the next save that is", async () => {
  const world = new World();
  const wal = await world.create();
  await wal.save(state(1, 0), [entry(1)]);
  const syncs = world.disk.count("datasync");
  await wal.save(state(1, 1), []);
  assert.equal(world.disk.count("datasync"), syncs);
  await wal.save(undefined, [entry(2)]);
  assert.equal(world.disk.count("datasync"), syncs + 1);
  const crashed = new World(world.disk.crash({ mode: "lost", random: new SimRandom(1) }));
  assert.equal((await crashed.read()).hardState.commit, 1);
  await wal.save(state(2, 1), []);
  assert.equal(world.disk.count("datasync"), syncs + 2, "a new term is synced");
  await wal.save(state(2, 2), []);
  await wal.close();
  assert.equal((await world.read()).hardState.commit, 2, "closing writes what waits");
});

test("a full segment is cut: the next one carries checksum, metadata and state, and can be read alone", async () => {
  const world = new World();
  const wal = await world.create({ segmentBytes: 1024 });
  for (let i = 1; i <= 30; i++) await wal.save(state(1, i - 1), [entry(i, "x".repeat(100))]);
  await wal.saveSnapshot({ index: 25, term: 1, confState });
  await wal.close();
  const names = await world.names();
  assert.ok(names.length > 3, names.join());
  assert.deepEqual((await world.read()).entries.length, 30);
  const older = names.filter((name) => Number.parseInt(name.slice(17, 33), 16) <= 25).slice(0, -1);
  for (const name of older) await world.disk.removeFile(`${FOLDER}/${name}`);
  const alone = await world.read({ index: 25, term: 1 });
  assert.deepEqual(
    alone.entries.map(({ index }) => index),
    [26, 27, 28, 29, 30],
  );
  assert.equal(alone.hardState.commit, 29);
  world.assertAtRest();
});

test("files of the pipeline alternate, are zero, and are gone after closing", async () => {
  const world = new World();
  await world.disk.makeFolder(FOLDER);
  world.disk.writeAll(`${FOLDER}/0.tmp`, new Uint8Array(9000).fill(7));
  const wal = await world.create({ segmentBytes: 1024 });
  const seen = new Set<string>();
  for (let i = 1; i <= 40; i++) {
    await wal.save(state(1, i - 1), [entry(i, "x".repeat(100))]);
    for (const name of await world.names()) if (name.endsWith(".tmp")) seen.add(name);
  }
  await wal.close();
  assert.deepEqual([...seen].sort(), ["0.tmp", "1.tmp"]);
  assert.ok((await world.names()).every((name) => name.endsWith(".wal")));
  assert.equal((await world.read()).damagedTail, undefined);
});

test("a stale file of the pipeline is not used again, neither at the opening nor at the next cut", async () => {
  const world = new World();
  const wal = await world.create({ segmentBytes: 1024 });
  await wal.save(state(1, 0), entries(1, 4));
  await wal.close();
  for (const name of ["0.tmp", "1.tmp"]) world.disk.writeAll(`${FOLDER}/${name}`, new Uint8Array(5000).fill(9));
  const { writer } = await world.open(ORIGIN, { segmentBytes: 1024 });
  assert.ok(!(await world.names()).includes("1.tmp"));
  await writer.save(state(1, 3), entries(4, 40, 60));
  await writer.close();
  const contents = await world.read();
  assert.equal(contents.entries.length, 39);
  assert.equal(contents.damagedTail, undefined);
});

test("only released segments are purged, oldest first, as many as are too many", async () => {
  const world = new World();
  const wal = await world.create({ segmentBytes: 1024 });
  for (let i = 1; i <= 60; i++) await wal.save(state(1, i - 1), [entry(i, "x".repeat(100))]);
  const all = (await world.names()).filter((name) => name.endsWith(".wal"));
  assert.deepEqual(await wal.purge(2), [], "nothing was released");
  await wal.saveSnapshot({ index: 50, term: 1, confState });
  wal.releaseTo(50);
  const removed = await wal.purge(2);
  assert.deepEqual(removed, all.slice(0, removed.length));
  assert.ok(removed.length >= 3);
  assert.equal((await wal.purge(2)).length, 0);
  await wal.close();
  assert.deepEqual((await world.read({ index: 50, term: 1 })).entries.length, 10);
  await assert.rejects(world.read(), code("WAL_NOT_FOUND"));
  world.assertAtRest();
});

test("a released segment that another process has locked is not purged, nor are those after it", async () => {
  const world = new World();
  const wal = await world.create({ segmentBytes: 1024 });
  for (let i = 1; i <= 60; i++) await wal.save(state(1, i - 1), [entry(i, "x".repeat(100))]);
  wal.releaseTo(50);
  const [first, second] = (await world.names()).filter((name) => name.endsWith(".wal"));
  const other = await world.disk.open(`${FOLDER}/${second}`, "write");
  assert.ok(other.tryLock("segment"));
  assert.deepEqual(await wal.purge(2), [first]);
  await other.close();
  await wal.close();
  world.assertAtRest();
});

test("releasing keeps the largest segment below the index, as etcd does", async () => {
  const world = new World();
  const wal = await world.create({ segmentBytes: 512 });
  for (let i = 1; i <= 20; i++) await wal.save(state(1, i - 1), [entry(i, "x".repeat(400))]);
  const starts = (await world.names())
    .filter((name) => name.endsWith(".wal"))
    .map((name) => Number.parseInt(name.slice(17, 33), 16));
  wal.releaseTo(starts[4]!);
  const removed = await wal.purge(1);
  assert.equal(removed.length, 3, "segments 0 to 2 went, 3 is the largest that begins below");
  await wal.close();
});

for (const kind of ["write", "datasync"] as const) {
  test(`a failed ${kind} poisons the log for good: nothing is acknowledged, nothing is tried again`, async () => {
    const world = new World();
    const wal = await world.create();
    await wal.save(state(1, 0), [entry(1, "kept")]);
    world.disk.fail({ kinds: [kind], nth: 1, code: "DISK_IO" });
    const first = wal.save(state(1, 1), [entry(2)]);
    const second = wal.save(undefined, [entry(3)]);
    await assert.rejects(first, code("FSYNC_FAILED"));
    await assert.rejects(second, code("WAL_POISONED"));
    const writes = world.disk.count("write");
    await assert.rejects(wal.save(undefined, [entry(4)]), code("WAL_POISONED"));
    await assert.rejects(wal.saveSnapshot({ index: 0, term: 0, confState: undefined }), code("WAL_POISONED"));
    await assert.rejects(wal.sync(), code("WAL_POISONED"));
    assert.ok(wal.failed instanceof WalError);
    assert.match(wal.failed.message, /0000000000000000-0000000000000000\.wal at byte \d+ failed .*stop this member/);
    await wal.close();
    assert.equal(world.disk.count("write"), writes, "closing a poisoned log writes nothing");
    assert.equal(texts(await world.read())[0], "1/1 kept");
    world.assertAtRest();
  });
}

test("a failure at any step of a cut is not acknowledged, and the log opens with all that was", async () => {
  const kinds = ["truncate", "datasync", "write", "rename", "sync-folder", "open"] as const;
  for (const kind of kinds) {
    for (let nth = 1; nth <= 3; nth++) {
      const world = new World();
      const wal = await world.create({ segmentBytes: 1024, prepareNextSegment: nth % 2 === 1 });
      let acknowledged = 0;
      world.disk.fail({
        kinds: [kind],
        nth: kind === "write" || kind === "datasync" ? nth + 6 : nth,
        code: "DISK_FULL",
      });
      try {
        for (let i = 1; i <= 60; i++) {
          await wal.save(state(1, i - 1), [entry(i, "x".repeat(100))]);
          acknowledged = i;
        }
      } catch (error) {
        assert.ok(error instanceof WalError, String(error));
      }
      assert.ok(acknowledged < 60, `${kind} ${nth} was not hit`);
      await wal.close();
      const { writer, contents } = await world.open(ORIGIN, { segmentBytes: 1024 });
      assert.ok(
        contents.entries.length >= acknowledged,
        `${kind} ${nth}: ${contents.entries.length} of ${acknowledged}`,
      );
      await writer.close();
      world.assertAtRest();
    }
  }
});

test("an entry that leaves a hole is a bug of the caller, and poisons the log", async () => {
  const world = new World();
  const wal = await world.create();
  await assert.rejects(wal.save(undefined, [entry(2)]), InvariantError);
  await assert.rejects(wal.save(undefined, [entry(1)]), code("WAL_POISONED"));
  await wal.close();
});

test("after closing nothing is taken", async () => {
  const world = new World();
  const wal = await world.create();
  await wal.close();
  await assert.rejects(wal.save(undefined, [entry(1)]), code("WAL_CLOSED"));
  await wal.close();
});

test("a sync that takes long is worth a warning", async () => {
  const world = new World(
    new SimDisk({
      pace: (kind) => {
        if (kind === "datasync") world.clock.advance(1500);
        return undefined;
      },
    }),
  );
  const wal = await world.create();
  await wal.save(state(1, 0), [entry(1)]);
  assert.deepEqual(
    world.log.lines.filter(({ level }) => level === "warn").map(({ message }) => message),
    ["slow fdatasync"],
  );
  await wal.close();
});

test("a batch larger than a write goes out in pieces and is durable as a whole", async () => {
  const world = new World();
  const wal = await world.create({ segmentBytes: 20_000_000, prepareNextSegment: false });
  const big = new Uint8Array(1_500_000).fill(3);
  await wal.save(
    state(1, 0),
    Array.from({ length: 6 }, (_, i) => entry(i + 1, big)),
  );
  const crashed = new World(world.disk.crash({ mode: "lost", random: new SimRandom(1) }));
  assert.equal((await crashed.read()).entries.length, 6);
  await wal.close();
});

test("an entry larger than a segment is saved, and a cut follows", async () => {
  const world = new World();
  const wal = await world.create({ segmentBytes: 1024 });
  await wal.save(state(1, 0), [entry(1, new Uint8Array(3_000_000).fill(5))]);
  await wal.save(state(1, 1), [entry(2, "small")]);
  await wal.close();
  const contents = await world.read();
  assert.deepEqual(
    contents.entries.map(({ data }) => data.length),
    [3_000_000, 5],
  );
  assert.equal(contents.entries[0]!.data[2_999_999], 5);
});

/** A log whose saves may be made at once: its segment was synced since it was opened. */
async function quickLog(world: World, options: WalOptions = {}): Promise<WalWriter> {
  const wal = await world.create({ prepareNextSegment: false, ...options });
  await wal.save(state(1, 0), [entry(1)]);
  return wal;
}

const ALONE = { alone: true };

test("a save that is alone is durable when it returns, and the bytes are those of any other", async () => {
  const [alone, shared] = [new World(), new World()];
  for (const world of [alone, shared]) {
    const wal = await quickLog(world);
    for (let i = 2; i < 12; i++) {
      const saving = wal.save(state(1, i - 1), [entry(i)], { alone: world === alone });
      const { entries } = await new World(world.disk.crash({ mode: "lost", random: new SimRandom(i) })).read();
      assert.equal(entries.length, world === alone ? i : i - 1);
      await saving;
    }
    await wal.close();
  }
  const [name] = await alone.names();
  assert.deepEqual(alone.disk.readAll(`${FOLDER}/${name}`), shared.disk.readAll(`${FOLDER}/${name}`));
});

test("a save that is alone does not overtake one in flight: both go out, in order", async () => {
  const world = new World();
  const wal = await quickLog(world);
  const order: number[] = [];
  await Promise.all([
    wal.save(undefined, [entry(2)]).then(() => order.push(2)),
    wal.save(undefined, [entry(3)], ALONE).then(() => order.push(3)),
    wal.sync().then(() => order.push(4)),
    wal.save(undefined, [entry(4)], ALONE).then(() => order.push(5)),
  ]);
  assert.deepEqual(order, [2, 3, 4, 5]);
  await wal.close();
  assert.deepEqual(texts(await world.read()), ["1/1 entry 1", "2/1 entry 2", "3/1 entry 3", "4/1 entry 4"]);
});

test("a changed commit alone is not synced when it is alone, either, and goes with the next save", async () => {
  const world = new World();
  const wal = await quickLog(world);
  const { length } = world.disk.journal;
  await wal.save(state(1, 1), [], ALONE);
  assert.equal(world.disk.journal.length, length);
  await wal.save(undefined, [entry(2)], ALONE);
  assert.equal(world.disk.journal.length, length + 2);
  await wal.close();
  assert.equal((await world.read()).hardState.commit, 1);
});

test("saves that are alone fill a segment, and the one that could end it goes the other way and cuts", async () => {
  const world = new World();
  const wal = await quickLog(world, { segmentBytes: 2048 });
  for (let i = 2; i <= 60; i++) await wal.save(state(1, i - 1), [entry(i, valueOf(i, 100))], ALONE);
  await wal.close();
  assert.ok((await world.names()).filter((name) => name.endsWith(".wal")).length > 3);
  assert.equal((await world.read()).entries.length, 60);
});

test("what the file cannot write at once goes the other way, once", async () => {
  let waits = true;
  const world = new World(new SimDisk({ pace: () => (waits ? Promise.resolve() : undefined) }));
  const wal = await quickLog(world);
  const writes = world.disk.count("write");
  await wal.save(state(1, 1), [entry(2)], ALONE);
  waits = false;
  await wal.save(state(1, 2), [entry(3)], ALONE);
  assert.equal(world.disk.count("write"), writes + 2);
  await wal.close();
  assert.deepEqual(texts(await world.read()), ["1/1 entry 1", "2/1 entry 2", "3/1 entry 3"]);
});

test("after a stall of the disk no save holds the loop for a second; larger ones never do", async () => {
  let stall = 0;
  const world = new World(
    new SimDisk({
      pace: (kind) => {
        if (kind === "datasync") world.clock.advance(stall);
        return undefined;
      },
    }),
  );
  const wal = await quickLog(world, { segmentBytes: 4_000_000 });
  /** Whether the save was on the disk when it returned. */
  const atOnce = async (index: number, bytes = 10): Promise<boolean> => {
    const { length } = world.disk.journal;
    const saving = wal.save(undefined, [entry(index, valueOf(index, bytes))], ALONE);
    const synced = world.disk.journal.length === length + 2;
    await saving;
    return synced;
  };
  assert.equal(await atOnce(2), true);
  stall = 6;
  assert.equal(await atOnce(3), true);
  stall = 0;
  assert.equal(await atOnce(4), false);
  world.clock.advance(999);
  assert.equal(await atOnce(5), false);
  world.clock.advance(1);
  assert.equal(await atOnce(6), true);
  assert.equal(await atOnce(7, 600_000), false);
  assert.equal(await atOnce(8), true);
  await wal.close();
  assert.equal((await world.read()).entries.length, 8);
});

for (const kind of ["write", "datasync"] as const) {
  test(`a failed ${kind} of a save that is alone poisons the log for good`, async () => {
    const world = new World();
    const wal = await quickLog(world);
    const { length } = world.disk.journal;
    world.disk.fail({ kinds: [kind], nth: 1, code: "DISK_IO", bytesWritten: 3 });
    await assert.rejects(wal.save(undefined, [entry(2)], ALONE), code("FSYNC_FAILED"));
    const tried = world.disk.journal.length - length;
    for (const options of [ALONE, {}])
      await assert.rejects(wal.save(undefined, [entry(2)], options), code("WAL_POISONED"));
    assert.ok(wal.failed !== undefined);
    await wal.close();
    assert.equal(world.disk.journal.length - length, tried, "something was written after the failure");
    world.assertAtRest();
  });
}

test("an entry that leaves a hole is a bug of the caller who is alone, too", async () => {
  const world = new World();
  const wal = await quickLog(world);
  await assert.rejects(wal.save(undefined, [entry(2), entry(4)], ALONE), InvariantError);
  await assert.rejects(wal.save(undefined, [entry(2)], ALONE), code("WAL_POISONED"));
  await wal.close();
  assert.deepEqual(texts(await world.read()), ["1/1 entry 1"]);
});
