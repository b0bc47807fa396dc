// Makes the golden database of this folder with real etcd:
//
//   node src/mvcc/testing/golden/make-golden.mjs PATH-TO-ETCD [REQUESTS] [OUTPUT FOLDER]
//
// It starts etcd, sends seeded requests through the JSON gateway (puts, deletions, transactions, compactions, a lease), restarts
// it (so that no hash is remembered from a compaction), writes down what it answers, and stops it. Left behind are `etcd.db.gz`
// and `etcd.json`: etcd's version, its pairs at several revisions, its HashKV at several revisions and its Hash.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const [binary, requests = "500", output = import.meta.dirname] = process.argv.slice(2);
if (binary === undefined) throw new Error("usage: make-golden.mjs PATH-TO-ETCD [REQUESTS] [OUTPUT FOLDER]");
const folder = mkdtempSync(join(tmpdir(), "walnut-golden-"));
const [client, peer] = [await freePort(), await freePort()];
const keys = Math.max(8, Math.floor(Number(requests) / 6));

let state = 20_260_102;
const below = (bound) => {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((state / 2 ** 32) * bound);
};
const base64 = (text) => Buffer.from(text, "latin1").toString("base64");
const keyName = () => (below(20) > 0 ? `k${below(keys)}` : String.fromCharCode(1 + below(255), below(256)));

let etcd = await start();
let revision = 1;
const lease = (await post("lease/grant", { TTL: "3600", ID: "7587870000000000001" })).ID;
for (let i = 0; i < Number(requests); i++) {
  const answer = await request(i);
  revision = Number(answer.header?.revision ?? revision);
}
await stop();
etcd = await start();
const facts = await ask();
await stop();
writeFileSync(join(output, "etcd.db.gz"), gzipSync(readFileSync(join(folder, "member/snap/db")), { level: 9 }));
writeFileSync(join(output, "etcd.json"), `${JSON.stringify(facts, null, 2)}\n`);
rmSync(folder, { recursive: true });

function request(i) {
  const kind = below(100);
  const put = (key) => ({ key: base64(key), value: base64(`v${i}`.repeat(below(8))) });
  if (kind < 65) return post("kv/put", below(10) === 0 ? { ...put(keyName()), lease } : put(keyName()));
  if (kind < 75) return post("kv/deleterange", { key: base64(keyName()) });
  if (kind < 80) {
    const first = below(keys);
    return post("kv/deleterange", { key: base64(`k${first}`), range_end: base64(`k${first + below(6)}`) });
  }
  if (kind < 97 || i < 50 || i > Number(requests) * 0.8) {
    const touched = [...new Set(Array.from({ length: 1 + below(5) }, keyName))];
    const success = touched.map((key) =>
      below(5) > 0 ? { requestPut: put(key) } : { requestDeleteRange: { key: base64(key) } },
    );
    return post("kv/txn", { success });
  }
  return post("kv/compaction", { revision: String(revision - below(10)), physical: true });
}

async function ask() {
  const version = execFileSync(binary, ["--version"], { encoding: "utf8" }).split("\n")[0];
  const newest = await post("maintenance/hashkv", {});
  const current = Number(newest.header.revision);
  const compacted = Number(newest.compact_revision);
  const revisions = [compacted, compacted + 1, Math.floor((compacted + current) / 2), current - 1, current];
  const facts = { version, requests: Number(requests), revision: current, compactRevision: compacted, at: [] };
  for (const at of new Set(revisions)) {
    const { hash } = await post("maintenance/hashkv", { revision: String(at) });
    const { kvs } = await post("kv/range", { key: "AA==", range_end: "AA==", revision: String(at) });
    facts.at.push({ revision: at, hashKv: hash, pairs: kvs.map(describePair) });
  }
  return { ...facts, hash: (await post("maintenance/hash", {})).hash };
}

/** Key and value in base64, create and mod revision, version, lease. */
function describePair(kv) {
  return `${kv.key} ${kv.value ?? ""} ${kv.create_revision}/${kv.mod_revision}/${kv.version} ${kv.lease ?? 0}`;
}

async function post(path, body) {
  const answer = await fetch(`http://127.0.0.1:${client}/v3/${path}`, { method: "POST", body: JSON.stringify(body) });
  return answer.json();
}

async function start() {
  const at = (port) => `http://127.0.0.1:${port}`;
  const child = spawn(
    binary,
    ["--data-dir", folder, "--log-level", "error", "--initial-cluster", `default=${at(peer)}`].concat(
      ["--listen-client-urls", at(client), "--advertise-client-urls", at(client)],
      ["--listen-peer-urls", at(peer), "--initial-advertise-peer-urls", at(peer)],
    ),
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  for (let tries = 0; tries < 100; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    const answer = await post("maintenance/status", {}).catch(() => ({}));
    if (answer.leader !== undefined && answer.leader !== "0") return child;
  }
  throw new Error("etcd did not come up");
}

function stop() {
  return new Promise((resolve) => {
    etcd.on("exit", resolve);
    etcd.kill("SIGTERM");
  });
}

function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
