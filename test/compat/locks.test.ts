/** Walnut's file locks and real etcd's exclude each other: on the log's segments, and on `db`. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { DiskFile, LockKind } from "../../src/platform/index.js";
import { NodeDisk } from "../../src/platform/node/index.js";
import { etcd, reference, skipReason, type EtcdName } from "../support/binaries.js";
import { runToEnd, Stage, type Seat } from "../support/servers.js";

const skip = skipReason();
const disk = new NodeDisk();

function segmentOf(seat: Seat): string {
  const folder = join(seat.dataDir, "member", "wal");
  const names = readdirSync(folder).filter((name) => name.endsWith(".wal"));
  return join(folder, names.sort().at(-1)!);
}

const databaseOf = (seat: Seat): string => join(seat.dataDir, "member", "snap", "db");

async function tryOnce(path: string, kind: LockKind): Promise<boolean> {
  const file = await disk.open(path, "write");
  try {
    return file.tryLock(kind);
  } finally {
    await file.close();
  }
}

/** Runs `body` while we hold a lock. */
async function holding<T>(path: string, kind: LockKind, body: (file: DiskFile) => Promise<T>): Promise<T> {
  const file = await disk.open(path, "write");
  try {
    assert.equal(file.tryLock(kind), true, `${path} is free`);
    return await body(file);
  } finally {
    await file.close();
  }
}

for (const name of ["3.5.16", "newest"] satisfies EtcdName[]) {
  test(`what etcd ${name} has open cannot be locked; when it has ended it can`, { skip }, async (t) => {
    const stage = Stage.for(t);
    const seat = await stage.seat();
    const server = await stage.start(etcd(name), seat);
    assert.equal(await tryOnce(segmentOf(seat), "segment"), false);
    assert.equal(await tryOnce(databaseOf(seat), "database"), false);
    assert.equal(await tryOnce(databaseOf(seat), "database-shared"), false);
    await server.stop();
    assert.equal(await tryOnce(segmentOf(seat), "segment"), true);
    assert.equal(await tryOnce(databaseOf(seat), "database"), true);
  });

  test(`etcd ${name} refuses a log whose segment is locked here`, { skip }, async (t) => {
    const stage = Stage.for(t);
    const seat = await stage.seat();
    await (await stage.start(etcd(name), seat)).stop();
    const { exit, log } = await holding(segmentOf(seat), "segment", () =>
      runToEnd(etcd(name), seat, { readyWithinMs: 30_000 }),
    );
    assert.notEqual(exit, "still running");
    assert.match(log.join("\n"), /file already locked/);
    await (await stage.start(etcd(name), seat)).stop();
  });
}

test("etcd waits for a db that is locked here, and says so", { skip }, async (t) => {
  const stage = Stage.for(t);
  const seat = await stage.seat();
  await (await stage.start(reference(), seat)).stop();
  for (const kind of ["database", "database-shared"] satisfies LockKind[]) {
    // etcd says it after 10 seconds. The shared lock is only looked at for as long as it takes to see that etcd does not serve.
    const readyWithinMs = kind === "database" ? 12_000 : 2_000;
    const { exit, log } = await holding(databaseOf(seat), kind, () => runToEnd(reference(), seat, { readyWithinMs }));
    assert.equal(exit, "still running");
    assert.doesNotMatch(log.join("\n"), /ready to serve client requests/);
    if (kind === "database") assert.match(log.join("\n"), /db file is flocked by another process/);
  }
  await (await stage.start(reference(), seat)).stop();
});
