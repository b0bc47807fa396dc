import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import {
  CRASH_MODES,
  exploreCrashes,
  Marks,
  recordingLog,
  SimDisk,
  SimRandom,
  type RecordingLog,
} from "../../sim/index.js";
import type { Snapshot } from "../proto/raft.js";
import { SnapshotStore } from "./store.js";

const FOLDER = "/data/member/snap";

interface Fixture {
  readonly disk: SimDisk;
  readonly log: RecordingLog;
  readonly store: SnapshotStore;
}

function on(disk: SimDisk, readOnly = false): Fixture {
  const log = recordingLog();
  return { disk, log, store: new SnapshotStore({ disk, log }, FOLDER, { readOnly }) };
}

function fixture(t: TestContext): Fixture {
  const disk = new SimDisk({ folders: [FOLDER] });
  t.after(() => assert.deepEqual(disk.openHandles(), []));
  return on(disk);
}

function snapshot(index: number, term = 2): Snapshot {
  return {
    data: new Uint8Array(1500).fill(index),
    metadata: {
      confState: { voters: [1n], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false },
      index,
      term,
    },
  };
}

const mark = (index: number, term = 2): { index: number; term: number } => ({ index, term });
const fileOf = (index: number, term = 2): string =>
  `${FOLDER}/${term.toString(16).padStart(16, "0")}-${index.toString(16).padStart(16, "0")}.snap`;

test("the newest snapshot that the log knows is loaded", async (t) => {
  const { store } = fixture(t);
  for (const index of [10, 20, 30]) await store.save(snapshot(index));
  assert.deepEqual(await store.loadNewest([mark(10), mark(20)]), snapshot(20));
  assert.deepEqual(await store.loadNewestAny(), snapshot(30));
  assert.equal(await store.loadNewest([mark(20, 3)]), undefined);
  assert.equal(await store.loadNewest([]), undefined);
});

test("a higher term is newer, whatever the index", async (t) => {
  const { store } = fixture(t);
  await store.save(snapshot(0x30, 2));
  await store.save(snapshot(0x20, 0x10));
  assert.deepEqual(await store.loadNewestAny(), snapshot(0x20, 0x10));
});

test("an empty snapshot is not written", async (t) => {
  const { store, disk } = fixture(t);
  await store.save(snapshot(0, 0));
  assert.deepEqual(await disk.list(FOLDER), []);
});

test("a damaged snapshot is set aside with a warning, and the next older one loaded", async (t) => {
  const { store, disk, log } = fixture(t);
  for (const index of [10, 20, 30]) await store.save(snapshot(index));
  disk.file(fileOf(30)).flipBit(5000);
  disk.file(fileOf(20)).cut(0);
  assert.deepEqual(await store.loadNewest([mark(10), mark(20), mark(30)]), snapshot(10));
  assert.deepEqual(
    (await disk.list(FOLDER)).map(({ name }) => `${FOLDER}/${name}`),
    [fileOf(10), `${fileOf(20)}.broken`, `${fileOf(30)}.broken`],
  );
  assert.deepEqual(log.messages("warn"), [
    "failed to read a snap file",
    "renamed to a broken snap file",
    "failed to read a snap file",
    "renamed to a broken snap file",
  ]);
  const lost = disk.crash({ mode: "lost", random: new SimRandom(1) });
  assert.ok(lost.exists(`${fileOf(30)}.broken`));
});

test("a tool that only looks renames nothing", async (t) => {
  const { store, disk } = fixture(t);
  await store.save(snapshot(10));
  disk.file(fileOf(10)).flipBit(5000);
  assert.equal(await on(disk, true).store.loadNewestAny(), undefined);
  assert.ok(disk.exists(fileOf(10)));
});

test("a disk that cannot read is an error, not a damaged file", async (t) => {
  const { store, disk } = fixture(t);
  await store.save(snapshot(10));
  disk.fail({ kinds: ["read"], nth: 1, code: "DISK_IO" });
  await assert.rejects(store.loadNewestAny(), { code: "DISK_IO" });
  assert.ok(disk.exists(fileOf(10)));
});

test("other names are ignored, unexpected ones with a warning", async (t) => {
  const { store, disk, log } = fixture(t);
  for (const name of ["db", "x.snap", "note", "0000000000000016.snap.db", "tmp1", "a.snap.broken"]) {
    disk.writeAll(`${FOLDER}/${name}`, Uint8Array.of(1));
  }
  assert.equal(await store.loadNewestAny(), undefined);
  assert.deepEqual(
    log.lines.map((line) => line.fields["path"]),
    ["note", "x.snap"],
  );
});

test("a save that resolved is there after every crash; one that did not is whole or absent", async (t) => {
  const { store, disk } = fixture(t);
  await store.save(snapshot(10));
  const saved = disk.journal.length;
  await store.save(snapshot(20));
  for (const mode of CRASH_MODES) {
    for (let position = saved; position <= disk.journal.length; position++) {
      for (let seed = 0; seed < 20; seed++) {
        const after = on(disk.platterAt(position, mode, new SimRandom(seed)));
        const found = await after.store.loadNewestAny();
        const done = position === disk.journal.length;
        assert.ok(found?.metadata.index === 20 || (!done && found?.metadata.index === 10), disk.label(position));
        assert.deepEqual(found, snapshot(found.metadata.index));
        assert.deepEqual(after.log.messages("warn"), []);
        await after.store.clean();
        const left = (await after.disk.list(FOLDER)).filter(({ name }) => !name.endsWith(".snap"));
        assert.deepEqual(left, []);
      }
    }
  }
});

test("whichever operation of a save fails, the error is told and what was saved before stays", async (t) => {
  let failed = 0;
  for (let nth = 1; ; nth++) {
    const { store, disk } = fixture(t);
    await store.save(snapshot(10));
    disk.fail({ nth, code: "DISK_FULL", bytesWritten: 700 });
    const outcome = await store.save(snapshot(20)).then(
      () => "saved",
      (error: Error & { code?: string }) => error.code,
    );
    if (disk.faultsArmed > 0) {
      assert.equal(outcome, "saved");
      break;
    }
    assert.equal(outcome, "DISK_FULL");
    failed++;
    assert.deepEqual((await store.loadNewest([mark(10)]))!.metadata.index, 10);
    assert.ok(!(await disk.list(FOLDER)).some(({ name }) => name.startsWith("tmp")));
  }
  assert.equal(failed, 5); // open, write, sync, rename, sync of the folder
});

async function* chunks(...parts: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield await Promise.resolve(part);
}

test("a database that a leader sends is kept whole, and found by its index", async (t) => {
  const { store, disk } = fixture(t);
  assert.equal(await store.findDatabase(22), undefined);
  assert.equal(await store.saveDatabase(22, chunks(Uint8Array.of(1, 2), Uint8Array.of(3))), 3);
  assert.equal(await store.findDatabase(22), `${FOLDER}/0000000000000016.snap.db`);
  assert.deepEqual(disk.readAll(store.databasePath(22)), Uint8Array.of(1, 2, 3));
  assert.equal(await store.saveDatabase(22, chunks(Uint8Array.of(9, 9, 9, 9))), 4);
  assert.deepEqual(disk.readAll(store.databasePath(22)), Uint8Array.of(1, 2, 3));
});

test("a stream that breaks off leaves nothing", async (t) => {
  const { store, disk } = fixture(t);
  const broken = async function* (): AsyncGenerator<Uint8Array> {
    yield* chunks(Uint8Array.of(1, 2));
    throw new Error("the leader went away");
  };
  await assert.rejects(store.saveDatabase(22, broken()), /went away/);
  assert.deepEqual(await disk.list(FOLDER), []);
});

test("purge keeps the newest of both kinds, and release what the database still needs", async (t) => {
  const { store, disk } = fixture(t);
  for (let index = 1; index <= 7; index++) {
    await store.save(snapshot(index));
    await store.saveDatabase(index, chunks(Uint8Array.of(index)));
  }
  const removed = await store.purge(5);
  assert.deepEqual(
    removed.map((name) => `${FOLDER}/${name}`).filter((name) => name.endsWith(".snap")),
    [fileOf(1), fileOf(2)],
  );
  assert.equal(removed.length, 4);
  assert.deepEqual(
    await store.releaseDatabases(6),
    [3, 4, 5].map((i) => `000000000000000${i}.snap.db`),
  );
  assert.deepEqual(
    (await store.names()).map(({ index }) => index),
    [7, 6, 5, 4, 3],
  );
  assert.equal(disk.count("sync-folder") > 0, true);
  await store.purge(0);
  assert.deepEqual(
    (await store.names()).map(({ index }) => index),
    [7],
  );
});

test("power may fail at every operation of the folder, and again: the newest snapshot and its database stay", async (t) => {
  const { store, disk } = fixture(t);
  const saved = new Marks<number>();
  for (let index = 1; index <= 6; index++) {
    await store.saveDatabase(index, chunks(new Uint8Array(1200).fill(index), Uint8Array.of(index)));
    await store.save(snapshot(index));
    saved.add(disk, index);
    if (index === 4) {
      disk.file(fileOf(4)).flipBit(4000);
      assert.equal((await store.loadNewestAny())?.metadata.index, 3); // sets the damaged one aside
    }
    await store.purge(3);
    await store.releaseDatabases(index - 1);
  }
  const explored = await exploreCrashes({
    disk,
    draws: 3,
    againEvery: 3,
    check: async (after, { position }) => {
      const it = on(after);
      await it.store.clean();
      const found = await it.store.loadNewestAny();
      const acknowledged = saved.at(position) ?? 0;
      assert.ok((found?.metadata.index ?? 0) >= (acknowledged === 4 ? 3 : acknowledged));
      if (found === undefined) return;
      const { index } = found.metadata;
      assert.deepEqual(found, snapshot(index));
      const database = await it.store.findDatabase(index);
      // The database came before the snapshot, and only those below it are ever released.
      assert.ok(database !== undefined, `the database of ${index} is gone`);
      assert.deepEqual(after.readAll(database), new Uint8Array(1201).fill(index));
      await it.store.save(snapshot(index));
      await it.store.purge(2);
      assert.equal((await it.store.loadNewestAny())?.metadata.index, index);
    },
  });
  assert.ok(explored.places > 60, JSON.stringify(explored));
});
