import assert from "node:assert/strict";
import { test } from "node:test";
import { SimDisk, SimRandom } from "../../sim/index.js";
import { InvariantError } from "../base/errors.js";
import { WalError } from "./errors.js";
import { entries, entry, FOLDER, METADATA, ORIGIN, state, texts, World } from "./testing/fixture.js";

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
