/**
 * A snapshot that Walnut restored is the directory that etcdutl makes of it: the log and the `.snap` file byte for byte, `db` by the
 * hash of all that is in it. Real etcds and Walnut serve it with the keys of the member that gave the snapshot.
 */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { etcd, reference, skipReason, walnut } from "../support/binaries.js";
import { clusterSeats, initialCluster, startCluster } from "../support/clusters.js";
import { asBytes, CallError, type EtcdClient, type KeyValue } from "../support/client.js";
import { filesBelow, Stage } from "../support/servers.js";
import { run } from "../support/tools.js";
import { fingerprint } from "../support/tree.js";
import { inAllForms, line, runHere, shown } from "./command-lines.js";

interface Source {
  readonly file: string;
  readonly keys: readonly KeyValue[];
  readonly hash: number;
  readonly revision: number;
}

/** A snapshot of a real etcd with keys that were changed, deleted and compacted. */
async function makeSnapshot(stage: Stage): Promise<Source> {
  const server = await stage.start(reference(), await stage.seat());
  const { client } = server;
  for (let i = 0; i < 300; i++) await client.put(`key/${i % 90}`, `value ${i}`);
  await client.call("DeleteRange", { key: asBytes("key/7"), range_end: asBytes("key/8") });
  await client.call("Compact", { revision: 100, physical: true });
  const file = join(stage.folder, "snapshot.db");
  const saved = await run(reference().etcdctl, ["--endpoints", server.address, "snapshot", "save", file]);
  assert.equal(saved.code, 0, saved.stderr);
  const source = { file, ...(await contentsOf(client)) };
  await server.stop();
  rmSync(server.seat.dataDir, { recursive: true });
  return source;
}

async function contentsOf(client: EtcdClient): Promise<Omit<Source, "file">> {
  const keys: KeyValue[] = [];
  for await (const key of client.keys()) keys.push(key);
  const { hash, revision } = await client.hashKV();
  return { keys, hash, revision };
}

async function restore(words: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await runHere({ args: ["snapshot", "restore", ...words] });
  assert.equal(code, 0, stderr);
  assert.equal(stdout, "");
}

/** Flags that differ in what they make. */
const VARIANTS: readonly (readonly string[])[] = [
  [],
  ["--name=m", "--initial-cluster=m=http://localhost:2380", "--initial-cluster-token=nuts"],
  [
    "--name=b",
    "--initial-cluster=a=http://127.0.0.1:1,b=http://127.0.0.1:3,b=http://127.0.0.1:2,c=https://h:4",
    "--initial-advertise-peer-urls=http://127.0.0.1:2,http://127.0.0.1:3",
  ],
  ["--bump-revision=1000000000", "--mark-compacted"],
  ["--skip-hash-check=true", "--initial-memory-map-size=1"],
];

test("the same flags make what etcdutl makes, and the same IDs", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  const { file } = await makeSnapshot(stage);
  for (const [at, flags] of VARIANTS.entries()) {
    const ours = join(stage.folder, `${at}.walnut`);
    await restore([file, `--data-dir=${ours}`, ...flags]);
    for (const name of ["3.5.16", "newest"] as const) {
      const { etcdutl } = etcd(name);
      const theirs = join(stage.folder, `${at}.${name}`);
      const told = await run(etcdutl, ["snapshot", "restore", file, `--data-dir=${theirs}`, ...flags]);
      assert.equal(told.code, 0, told.stderr);
      assert.deepEqual(filesBelow(ours), filesBelow(theirs), flags.join(" "));
      for (const path of filesBelow(ours).filter((each) => !each.endsWith("/db"))) {
        assert.deepEqual(
          readFileSync(join(ours, path)),
          readFileSync(join(theirs, path)),
          `${path} ${flags.join(" ")}`,
        );
      }
      const figures = [ours, theirs].map((folder) => run(etcdutl, ["snapshot", "status", db(folder)]));
      // All but the size: etcdutl changes the file in several transactions, which leave free pages of their own.
      const [found, expected] = (await Promise.all(figures)).map(({ stdout }) => stdout.split(", ").slice(0, 3));
      assert.deepEqual(found, expected, flags.join(" "));
      rmSync(theirs, { recursive: true });
    }
    rmSync(ours, { recursive: true });
  }
});

const db = (folder: string): string => join(folder, "member", "snap", "db");

test(
  "real etcds and Walnut serve a restored directory with the keys of the snapshot",
  { skip: skipReason() },
  async (t) => {
    const stage = Stage.for(t);
    const { file, ...source } = await makeSnapshot(stage);
    for (const binary of [etcd("3.5.16"), etcd("newest"), walnut()]) {
      const seat = await stage.seat("restored");
      const peer = `http://127.0.0.1:${seat.peerPort}`;
      const walDir = `${seat.dataDir}.wal`;
      const flags = [`--initial-cluster=restored=${peer}`, `--initial-advertise-peer-urls=${peer}`, "--name=restored"];
      await restore([file, `--data-dir=${seat.dataDir}`, `--wal-dir=${walDir}`, ...flags]);
      const server = await stage.start(binary, seat, { flags: [`--wal-dir=${walDir}`] });
      assert.deepEqual(await contentsOf(server.client), source, binary.name);
      assert.equal(await server.client.put("after", binary.name), source.revision + 1);
      await server.stop();
    }
  },
);

test("a raised revision is where the keys go on, and all before it is compacted", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  const { file, keys, revision } = await makeSnapshot(stage);
  const hashes = new Set<number>();
  for (const binary of [etcd("3.5.16"), etcd("newest"), walnut()]) {
    const seat = await stage.seat("default");
    const peer = `http://127.0.0.1:${seat.peerPort}`;
    const flags = [`--initial-cluster=default=${peer}`, `--initial-advertise-peer-urls=${peer}`];
    await restore([file, `--data-dir=${seat.dataDir}`, ...flags, "--bump-revision=1000", "--mark-compacted"]);
    let server = await stage.start(binary, seat);
    const raised = await contentsOf(server.client);
    assert.equal(raised.revision, revision + 1000, binary.name);
    assert.deepEqual(raised.keys, keys, binary.name);
    hashes.add(raised.hash);
    await assert.rejects(server.client.call("Range", { key: asBytes("key/1"), revision }), (error: unknown) => {
      assert.ok(error instanceof CallError);
      return /required revision has been compacted/.test(error.message);
    });
    assert.equal(await server.client.put("after", "1"), revision + 1001, binary.name);
    await server.stop();
    server = await stage.start(binary, seat);
    assert.equal((await contentsOf(server.client)).keys.length, keys.length + 1, binary.name);
    await server.stop();
  }
  assert.equal(hashes.size, 1, "every server has the same hash");
});

test("three members restored from one snapshot find each other", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  const { file, ...source } = await makeSnapshot(stage);
  const seats = await clusterSeats(stage, 3);
  for (const { name, dataDir, peerPort } of seats) {
    const own = `--initial-advertise-peer-urls=http://127.0.0.1:${peerPort}`;
    await restore([file, `--data-dir=${dataDir}`, `--name=${name}`, initialCluster(seats), own]);
  }
  const servers = await startCluster(stage, [etcd("3.5.16"), etcd("newest")], seats);
  for (const { client } of servers) assert.deepEqual(await contentsOf(client), source);
  await servers[0]!.client.put("after", "1");
  for (const { client } of servers) {
    assert.equal((await contentsOf(client)).revision, source.revision + 1);
  }
});

test("snapshot status prints what etcdutl prints", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  const { file } = await makeSnapshot(stage);
  for (const each of [...inAllForms(`snapshot status ${file}`), line("snapshot status"), line("snapshot status a b")]) {
    const expected = await run(etcd("3.5.16").etcdutl, each.args);
    assert.equal(shown(await runHere(each)), shown(expected), each.args.join(" "));
  }
});

test("what etcdutl refuses is refused in its words, and nothing is left", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  const { file } = await makeSnapshot(stage);
  const whole = readFileSync(file);
  const at = (name: string): string => join(stage.folder, name);
  const none = at("none");
  writeFileSync(at("damaged"), Buffer.concat([whole.subarray(0, 5000), Buffer.from("nuts"), whole.subarray(5004)]));
  writeFileSync(at("cut"), whole.subarray(0, whole.length - 32));
  mkdirSync(at("full"));
  writeFileSync(at("full/file"), "");
  const into = `--data-dir=${none}`;
  const refused: readonly (readonly string[])[] = [
    [file],
    [into],
    [file, file, into],
    [at("nowhere"), into],
    [at("damaged"), into],
    [at("cut"), into],
    [file, `--data-dir=${at("full")}`],
    [file, into, `--wal-dir=${at("full")}`],
    [file, into, "--name=x"],
    [file, into, "--initial-cluster="],
    [file, into, "--initial-cluster=default"],
    [file, into, "--initial-cluster=default=http://127.0.0.1:1"],
    [file, into, "--initial-cluster=default=bad"],
    [file, into, "--initial-cluster=a=http://localhost:2380,default=http://localhost:2380"],
    [file, into, "--initial-advertise-peer-urls=http://127.0.0.1:1"],
    [file, into, "--initial-advertise-peer-urls=http://localhost:2380,http://localhost:1"],
    [file, into, "--initial-advertise-peer-urls=bad"],
    [file, into, "--initial-advertise-peer-urls="],
    [file, into, "--bump-revision=5"],
    [file, into, "--mark-compacted"],
    [file, into, "--bump-revision=x"],
  ];
  for (const words of refused) {
    const args = ["snapshot", "restore", ...words];
    const theirs = await run(reference().etcdutl, args);
    rmSync(none, { recursive: true, force: true });
    const before = fingerprintBelow(stage.folder);
    const ours = await runHere({ args });
    assert.equal(ours.code, theirs.code, words.join(" "));
    assert.equal(sentence(ours.stderr), sentence(theirs.stderr), words.join(" "));
    assert.notEqual(ours.code, 0, words.join(" "));
    assert.deepEqual(fingerprintBelow(stage.folder), before, words.join(" "));
  }
  assert.equal(existsSync(none), false);
});

/** Without the folder itself, whose time changes when something was in it for a while. */
function fingerprintBelow(folder: string): Readonly<Record<string, string>> {
  return { ...fingerprint(folder), "": "" };
}

/** The first line with what is wrong: usage texts and logs differ. */
function sentence(stderr: string): string | undefined {
  return stderr.split("\n").find((text) => text.startsWith("Error: "));
}
