/** Flags that concern the process and its work at the start, at real processes. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { etcd, skipReason, underTest, walnut } from "../support/binaries.js";
import { type Server, Stage, type StartOptions } from "../support/servers.js";
import { skipWithout } from "../support/tools.js";

function linesOf(server: Server, message: string): readonly Record<string, unknown>[] {
  return server.log
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ msg }) => msg === message);
}

test(
  "with --unsafe-no-fsync nothing is synced; without it puts are",
  { skip: skipWithout("strace", "strace") },
  async (t) => {
    const stage = Stage.for(t);
    const syncs = async (...flags: string[]): Promise<number> => {
      const trace = join(stage.folder, `${flags.length}.trace`);
      const wrap = ["strace", "-D", "-f", "-qq", "-o", trace, "-e", "trace=fsync,fdatasync,openat"];
      const server = await stage.start(walnut(), await stage.seat(), { wrap, flags });
      for (let i = 0; i < 20; i++) await server.client.put("a", String(i));
      const warned = linesOf(
        server,
        "nothing is synced to the disk: acknowledged writes are lost when the power fails",
      );
      assert.equal(warned.length, flags.length);
      await server.stop();
      const calls = readFileSync(trace, "utf8");
      return [...calls.matchAll(/\b(fsync|fdatasync)\(|O_DSYNC/g)].length;
    };
    assert.ok((await syncs()) > 0);
    assert.equal(await syncs("--unsafe-no-fsync"), 0);
  },
);

test("profiles are there with --enable-pprof, one at a time, and nothing is there without it", async (t) => {
  const stage = Stage.for(t);
  const plain = await stage.start(walnut(), await stage.seat());
  assert.equal((await fetch(`http://${plain.address}/debug/pprof/`)).status, 404);
  await plain.stop();

  const server = await stage.start(walnut(), await stage.seat(), { flags: ["--enable-pprof"] });
  const get = async (path: string): Promise<Response> => fetch(`http://${server.address}/debug/pprof${path}`);
  assert.match(await (await get("/")).text(), /\/debug\/pprof\/profile\?seconds=30/);
  for (const seconds of ["0", "301", "x", "1.5", ""]) {
    const { status } = await get(`/profile?seconds=${seconds}`);
    assert.equal(status, 400, seconds);
  }
  const taking = get("/profile?seconds=2");
  let second = await get("/heap?seconds=1");
  // Whichever came first is taken; the other one is told so.
  const first = await taking;
  assert.deepEqual(new Set([first.status, second.status]), new Set([200, 503]));
  const profile = (await (first.status === 200 ? first : second).json()) as Record<string, unknown>;
  assert.ok(Array.isArray(profile["nodes"]) || "head" in profile, Object.keys(profile).join(" "));
  second = await get("/heap?seconds=1");
  assert.equal(second.status, 200);
  assert.match(second.headers.get("content-disposition") ?? "", /walnut\.heapprofile/);
  assert.ok("head" in ((await second.json()) as object));
  await server.client.put("a", "it serves on");
});

test(
  "db is defragmented at the start when enough of it is free, as etcd does it",
  { skip: skipReason() },
  async (t) => {
    const stage = Stage.for(t);
    for (const binary of [etcd("newest"), underTest()]) {
      const seat = await stage.seat();
      const first = await stage.start(binary, seat);
      for (let i = 0; i < 40; i++) await first.client.put(`k${i}`, "v".repeat(100_000));
      await first.client.call("DeleteRange", { key: Buffer.from("k"), range_end: Buffer.from("l") });
      const revision = await first.client.revision();
      await first.client.call("Compact", { revision, physical: true });
      await first.stop();
      const startWith = async (megabytes: number): Promise<Server> => {
        const flags = [`--experimental-bootstrap-defrag-threshold-megabytes=${megabytes}`];
        return stage.start(binary, seat, { flags } satisfies StartOptions);
      };
      const sizeOf = async (server: Server): Promise<number> =>
        Number((await server.client.call("Status", {}))["dbSize"]);
      const high = await startWith(1_000);
      const before = await sizeOf(high);
      const skipped = linesOf(high, "Skipping defragmentation");
      assert.equal(skipped[0]?.["experimental-bootstrap-defrag-threshold-bytes"], 1_048_576_000, binary.name);
      await high.stop();
      const low = await startWith(1);
      assert.equal(linesOf(low, "finished defragmenting directory").length, 1, binary.name);
      const after = await sizeOf(low);
      assert.ok(after < before / 2, `${binary.name}: ${before}, then ${after}`);
      assert.equal(await low.client.revision(), revision);
      await low.stop();
    }
  },
);

test("a log file begins anew when it is full", async (t) => {
  const stage = Stage.for(t);
  const path = join(stage.folder, "member.log");
  const flags = [
    "--log-level=debug",
    `--log-outputs=stderr,${path}`,
    "--enable-log-rotation",
    '--log-rotation-config-json={"maxsize": 1, "maxbackups": 1, "compress": true}',
    "--experimental-warning-apply-duration=1ns",
  ];
  const server = await stage.start(walnut(), await stage.seat(), { flags });
  // Every put is slow, so each of the first in a second makes a line that is as long as its key.
  const key = "k".repeat(30_000);
  const old = (): string[] => readdirSync(stage.folder).filter((name) => /^member-.*\.log\.gz$/.test(name));
  const until = performance.now() + 60_000;
  while (old().length === 0) {
    assert.ok(performance.now() < until, `no file was put aside: ${readdirSync(stage.folder).join(" ")}`);
    await server.client.put(key, "v");
  }
  await server.stop();
  assert.match(readFileSync(path, "utf8"), /closed etcd server/);
});
