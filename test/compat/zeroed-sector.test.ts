/**
 * One synced sector of a real etcd's log turns to zeros while nobody looks. etcd takes the place for the end of its log and
 * opens "healthy" without the acknowledged writes behind it; Walnut refuses, and says which entries are missing.
 */
import assert from "node:assert/strict";
import { cpSync, closeSync, openSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { etcd, skipReason, walnut } from "../support/binaries.js";
import { runToEnd, Stage, type Seat } from "../support/servers.js";
import { run } from "../support/tools.js";
import { fingerprint } from "../support/tree.js";

const PUTS = 200;
const SECTOR = 512;
const VALUE = "v".repeat(300);
/** The log is the only copy of the puts: nothing goes to `db` while they are made. */
const WAL_ONLY = { flags: ["--backend-batch-interval=10m", "--backend-batch-limit=1000000"] };

/** Zeroes the sector in the middle of what was written, as a drive does that loses one. */
function zeroMiddleSector(dataDir: string): { segment: string; from: number } {
  const folder = join(dataDir, "member", "wal");
  const segment = readdirSync(folder).find((name) => name.endsWith(".wal"))!;
  const path = join(folder, segment);
  const bytes = readFileSync(path);
  let written = bytes.length;
  while (bytes[written - 1] === 0) written--;
  const from = Math.floor(written / 2 / SECTOR) * SECTOR;
  const fd = openSync(path, "r+");
  writeSync(fd, Buffer.alloc(SECTOR), 0, SECTOR, from);
  closeSync(fd);
  return { segment, from };
}

const keyOf = (i: number): string => `key-${String(i).padStart(4, "0")}`;

test(
  "etcd opens a log with a zeroed sector and has lost acknowledged puts; Walnut refuses, names them, and changes nothing",
  { skip: skipReason() },
  async (t) => {
    const stage = Stage.for(t);
    const seat = await stage.seat();
    const writer = await stage.start(etcd("newest"), seat, WAL_ONLY);
    for (let i = 0; i < PUTS; i++) await writer.client.put(keyOf(i), VALUE);
    await writer.kill();
    const { segment, from } = zeroMiddleSector(seat.dataDir);

    // What real etcd does, on a copy.
    const copy: Seat = { ...(await stage.seat()), name: seat.name, peerPort: seat.peerPort };
    cpSync(seat.dataDir, copy.dataDir, { recursive: true });
    const opened = await stage.start(etcd("newest"), copy);
    const health = await run(etcd("newest").etcdctl, [`--endpoints=${opened.address}`, "endpoint", "health"]);
    assert.match(health.stdout + health.stderr, /is healthy/);
    const all = await run(etcd("newest").etcdctl, [
      `--endpoints=${opened.address}`,
      "get",
      "key-",
      "--prefix",
      "--keys-only",
    ]);
    const kept = all.stdout.split("\n").filter((line) => line.startsWith("key-")).length;
    assert.ok(kept > 0 && kept < PUTS, `etcd kept ${kept} of ${PUTS} puts`);
    await opened.stop();

    // What Walnut does: the server, and the command that looks only.
    const before = fingerprint(seat.dataDir);
    const { exit, log } = await runToEnd(walnut(), seat);
    assert.deepEqual(exit, { code: 1, signal: null }, log.slice(-5).join("\n"));
    const sentence = log.find((line) => line.startsWith("walnut: ")) ?? "";
    const verify = await run(process.execPath, [...walnut().command.slice(1), "wal", "verify", seat.dataDir]);
    assert.equal(verify.code, 1);
    t.diagnostic(`etcd is healthy with ${kept} of ${PUTS} acknowledged puts; Walnut says: ${sentence}`);
    for (const told of [sentence, verify.stderr]) {
      assert.match(told, /WAL_[A-Z_]+: /);
      assert.ok(told.includes(segment), told);
      const offset = Number(/byte (\d+)/.exec(told)?.[1]);
      assert.ok(offset >= from - 2 * SECTOR && offset <= from + SECTOR, `byte ${offset} is at the sector ${from}`);
      const [, low, high] = /entr(?:y|ies) (\d+)(?: to (\d+))?/.exec(told) ?? [];
      const missing = Number(high ?? low) - Number(low) + 1;
      assert.ok(missing >= 1 && missing <= 3, `a sector holds parts of at most three entries: ${told}`);
      // The puts stand behind a few entries of the new member's own; etcd kept all up to the first one that is missing.
      const own = Number(low) - 1 - kept;
      assert.ok(own >= 0 && own <= 10, `entry ${low} is the first missing one, and etcd kept ${kept} puts`);
      assert.match(told, /nothing was changed/);
      assert.match(told, /restore|snapshot|backup/);
    }
    assert.deepEqual(fingerprint(seat.dataDir), before, "nothing changed on the disk");

    const dump = await run(process.execPath, [...walnut().command.slice(1), "wal", "dump", seat.dataDir]);
    assert.equal(dump.stdout.split("\n").filter((line) => line.includes(" DAMAGE ")).length, 1);
    const lines = dump.stdout.split("\n").filter((line) => line.includes(' put "key-')).length;
    assert.ok(lines > kept && lines >= PUTS - 3, `the dump shows ${lines} puts, those behind the damage, too`);
  },
);
