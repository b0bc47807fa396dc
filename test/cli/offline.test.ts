/** `walnut wal ...` and `walnut db ...` as real processes, on directories of Walnut and of real etcd. */
import assert from "node:assert/strict";
import {
  closeSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { etcd, skipReason, walnut, type ServerBinary } from "../support/binaries.js";
import { filesBelow, Stage, type Seat } from "../support/servers.js";
import { run, skipWithout, type Output } from "../support/tools.js";
import { fingerprint } from "../support/tree.js";

const command = (...args: string[]): Promise<Output> => run(process.execPath, [...walnut().command.slice(1), ...args]);
const PUTS = 50;

/** A directory with puts and a delete in it, its server stopped. */
async function filled(stage: Stage, binary: ServerBinary): Promise<Seat> {
  const seat = await stage.seat();
  const server = await stage.start(binary, seat);
  for (let i = 0; i < PUTS; i++) await server.client.put(`key-${i}`, `value ${i}`);
  await server.stop();
  return seat;
}

const segmentOf = (seat: Seat): string => {
  const folder = join(seat.dataDir, "member", "wal");
  return join(
    folder,
    readdirSync(folder).find((name) => name.endsWith(".wal"))!,
  );
};

/** Where the last byte that is not zero ends. */
function endOf(path: string): number {
  const bytes = readFileSync(path);
  let end = bytes.length;
  while (bytes[end - 1] === 0) end--;
  return end;
}

function overwrite(path: string, at: number, bytes: Uint8Array): void {
  const fd = openSync(path, "r+");
  writeSync(fd, bytes, 0, bytes.length, at);
  closeSync(fd);
}

const OWNERS: readonly { name: string; binary: () => ServerBinary; skip: string | false }[] = [
  { name: "Walnut", binary: () => walnut(), skip: false },
  { name: "etcd 3.5.16", binary: () => etcd("3.5.16"), skip: skipReason() },
  { name: "etcd 3.5.30", binary: () => etcd("newest"), skip: skipReason() },
];

for (const { name, binary, skip } of OWNERS) {
  test(`a whole directory of ${name} is told as whole, and nothing in it changes`, { skip }, async (t) => {
    const stage = Stage.for(t);
    const seat = await filled(stage, binary());
    const before = fingerprint(seat.dataDir);

    const verify = await command("wal", "verify", seat.dataDir);
    assert.equal(verify.code, 0, verify.stderr);
    assert.match(verify.stdout, /^log +\/.*member\/wal\nmember +[0-9a-f]+ of cluster [0-9a-f]+\nsegments +1, /);
    assert.match(verify.stdout, /\nentries +\d+, 1 to \d+\n/);
    assert.match(verify.stdout, /\nverdict +whole\n$/);

    const text = await command("wal", "dump", join(seat.dataDir, "member"));
    assert.equal(text.code, 0, text.stderr);
    const puts = text.stdout.split("\n").filter((line) => line.includes(' put "key-'));
    assert.equal(puts.length, PUTS);
    assert.match(puts[7]!, /^[0-9a-f]{16}-[0-9a-f]{16}\.wal +\d+ normal +\d+ +\d+ put "key-7" "value 7"$/);
    const json = await command("wal", "dump", "--json", join(seat.dataDir, "member", "wal"));
    const records = json.stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { kind: string; index?: number });
    assert.equal(
      records.length,
      text.stdout.trimEnd().split("\n").length - 1,
      "a line for each record, and the heading",
    );
    assert.deepEqual(
      records.slice(0, 3).map(({ kind }) => kind),
      ["crc", "metadata", "snapshot"],
    );
    const some = await command("wal", "dump", "--from=5", "--to", "7", "--json", seat.dataDir);
    const indexes = some.stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { kind: string; index: number });
    assert.deepEqual(
      indexes.filter(({ kind }) => kind === "entry").map(({ index }) => index),
      [5, 6, 7],
    );

    const check = await command("db", "check", seat.dataDir);
    assert.deepEqual([check.code, check.stdout], [0, `${join(seat.dataDir, "member/snap/db")}: consistent\n`]);
    const stats = await command("db", "stats", join(seat.dataDir, "member", "snap", "db"));
    assert.equal(stats.code, 0, stats.stderr);
    assert.match(stats.stdout, new RegExp(`\nkey +${PUTS} `));

    const repair = await command("wal", "repair", seat.dataDir);
    assert.equal(repair.code, 0, repair.stderr);
    assert.match(repair.stdout, /has a good end at byte \d+: nothing was changed/);
    assert.deepEqual(fingerprint(seat.dataDir), before, "nothing changed, not even a time");
  });
}

test("a torn end is told with exit code 2 and left; repair cuts it off and keeps what was there", async (t) => {
  const stage = Stage.for(t);
  const seat = await filled(stage, walnut());
  const segment = segmentOf(seat);
  const end = endOf(segment);
  const fd = openSync(segment, "r+");
  ftruncateSync(fd, end - 3);
  closeSync(fd);
  const before = fingerprint(seat.dataDir);
  const verify = await command("wal", "verify", seat.dataDir);
  assert.equal(verify.code, 2, verify.stderr);
  assert.match(verify.stdout, /verdict +.*\.wal: byte \d+: .*the log ends there with entry \d+/);
  assert.match(verify.stdout, /the next start repairs it, or `walnut wal repair`/);
  const dump = await command("wal", "dump", seat.dataDir);
  assert.match(dump.stdout, / DAMAGE +torn, /);
  assert.deepEqual(fingerprint(seat.dataDir), before);

  const repair = await command("wal", "repair", seat.dataDir);
  assert.equal(repair.code, 0, repair.stderr);
  assert.match(repair.stdout, /was cut at byte \d+; \d+ bytes went, and are kept in .*\.wal\.broken/);
  assert.ok(filesBelow(seat.dataDir).some((name) => name.endsWith(".wal.broken")));
  const again = await command("wal", "verify", seat.dataDir);
  assert.ok(again.code === 0 || again.code === 2, again.stderr);
  assert.doesNotMatch(again.stdout, /torn|cut off/);
});

test("damage in what was synced: exit code 1, the place and the way out; neither verify nor repair changes anything", async (t) => {
  const stage = Stage.for(t);
  const seat = await filled(stage, walnut());
  const segment = segmentOf(seat);
  const lines = (await command("wal", "dump", "--json", seat.dataDir)).stdout.split("\n");
  const { offset } = JSON.parse(lines.find((line) => line.includes('"index":30,'))!) as { offset: number };
  overwrite(segment, offset + 30, Uint8Array.of(readFileSync(segment)[offset + 30]! ^ 0x10));
  const before = fingerprint(seat.dataDir);
  for (const action of ["verify", "repair"]) {
    const refused = await command("wal", action, seat.dataDir);
    assert.equal(refused.code, 1, refused.stdout);
    assert.match(
      refused.stderr,
      /^walnut: WAL_[A-Z_]+: [0-9a-f-]+\.wal, byte \d+: .*(missing|cannot be told).*nothing was changed: .*snapshot/,
    );
  }
  const dump = await command("wal", "dump", seat.dataDir);
  assert.equal(dump.code, 0);
  assert.match(dump.stdout, / DAMAGE +corrupt, /);
  assert.deepEqual(fingerprint(seat.dataDir), before);
});

test("a db with a broken page: exit code 1, the problem and the way out", async (t) => {
  const stage = Stage.for(t);
  const seat = await filled(stage, walnut());
  const db = join(seat.dataDir, "member", "snap", "db");
  const size = readFileSync(db).length;
  for (let page = 2; page < size / 4096; page++) overwrite(db, page * 4096 + 8, Uint8Array.of(0xff, 0xff));
  const before = fingerprint(seat.dataDir);
  const check = await command("db", "check", seat.dataDir);
  assert.equal(check.code, 1, check.stdout);
  assert.match(check.stdout + check.stderr, /BOLT_[A-Z_]+|[A-Z_]+: /);
  assert.match(check.stdout + check.stderr, /restore|snapshot/i);
  writeFileSync(db, "no db at all");
  const none = await command("db", "stats", db);
  assert.equal(none.code, 1);
  assert.match(none.stderr, /^walnut: BOLT_[A-Z_]+: .*db/);
  assert.ok(Object.keys(before).length > 0);
});

test("a directory that a member uses: looking is allowed, repairing is refused", async (t) => {
  const stage = Stage.for(t);
  const seat = await stage.seat();
  const server = await stage.start(walnut(), seat);
  await server.client.put("a", "1");
  const verify = await command("wal", "verify", seat.dataDir);
  assert.equal(verify.code, 0, verify.stderr);
  const repair = await command("wal", "repair", seat.dataDir);
  assert.equal(repair.code, 1);
  assert.match(repair.stderr, /^walnut: WAL_LOCKED: .*(stop|server|process)/);
  assert.equal(await server.client.put("a", "2"), 3);
});

test("nothing to look at, and words that are none, end with what to do", async (t) => {
  const stage = Stage.for(t);
  for (const words of [
    ["wal", "verify"],
    ["wal", "dump"],
    ["wal", "repair"],
    ["db", "check"],
    ["db", "stats"],
  ]) {
    const none = await command(...words, stage.folder);
    assert.equal(none.code, 1);
    assert.match(none.stderr, /^walnut: INSPECT_NOT_FOUND: no .* name a data directory/);
    const missing = await command(...words);
    assert.equal(missing.code, 1);
    assert.match(missing.stderr, /missing required argument/);
  }
  const index = await command("wal", "dump", "--from=x", stage.folder);
  assert.equal(index.code, 1);
  assert.match(index.stderr, /It must be the index of an entry/);
  assert.equal((await command("wal", "crack", stage.folder)).code, 1);
  const help = await command("wal", "--help");
  assert.deepEqual([help.code, /verify.*\n.*\n?.*dump/s.test(help.stdout)], [0, true]);
});

test("a dump ends quietly when its reader goes away", async (t) => {
  const stage = Stage.for(t);
  const seat = await filled(stage, walnut());
  const main = walnut()
    .command.map((word) => `'${word}'`)
    .join(" ");
  const piped = await run("sh", ["-c", `${main} wal dump '${seat.dataDir}' | head -n 1`]);
  assert.equal(piped.code, 0);
  assert.equal(piped.stderr, "");
  assert.match(piped.stdout, /^segment +offset kind/);
});

test(
  "long work shows progress on a terminal, and none elsewhere",
  { skip: skipWithout("script", "bsdutils") },
  async (t) => {
    const stage = Stage.for(t);
    const seat = await filled(stage, walnut());
    const main = walnut()
      .command.map((word) => `'${word}'`)
      .join(" ");
    for (const [words, title] of [
      ["wal verify", "Verifying"],
      ["db check", "Checking"],
    ] as const) {
      const shown = await run("script", ["-qec", `${main} ${words} '${seat.dataDir}'`, "/dev/null"]);
      assert.ok(shown.stdout.includes(title), shown.stdout);
      const quiet = await command(...words.split(" "), seat.dataDir);
      assert.ok(!quiet.stdout.includes(title) && quiet.stderr === "");
    }
    rmSync(seat.dataDir, { recursive: true });
  },
);
