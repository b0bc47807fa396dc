/** The `walnut` command as a server: a real process, its words, its signals, its refusals. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer, connect, type AddressInfo } from "node:net";
import { once } from "node:events";
import { join } from "node:path";
import test from "node:test";
import { etcd, skipReason, walnut } from "../support/binaries.js";
import { runToEnd, Server, Stage } from "../support/servers.js";
import { run, skipWithout, type Output } from "../support/tools.js";
import { fingerprint } from "../support/tree.js";

const command = (args: readonly string[], env: Record<string, string> = {}): Promise<Output> =>
  run(process.execPath, [...walnut().command.slice(1), ...args], { env });

const sentenceIn = (log: readonly string[]): string =>
  log.find((line) => line.startsWith("walnut: ")) ?? log.join("\n");

test("the version is etcd's, then Walnut's own", async () => {
  for (const args of [["--version"], ["-version"], ["--name=x", "--version"]]) {
    const { code, stdout } = await command(args);
    assert.equal(code, 0);
    assert.match(stdout, /^etcd Version: 3\.5\.30\nWalnut Version: \d+\.\d+\.\d+\nNode Version: v\d+\.\d+\.\d+\n$/);
  }
});

test("the version's first line is real etcd's", { skip: skipReason() }, async () => {
  const [file] = etcd("newest").command;
  const theirs = await run(file!, ["--version"]);
  const ours = await command(["--version"]);
  assert.equal(ours.stdout.split("\n")[0], theirs.stdout.split("\n")[0]);
});

test("help tells commands and flags", async () => {
  for (const args of [["--help"], ["-h"], ["help"]]) {
    const { code, stdout } = await command(args);
    assert.equal(code, 0);
    assert.match(stdout, /^Usage:\n {2}walnut \[flags\]/);
    assert.match(stdout, /--listen-client-urls +Where clients are served/);
  }
});

test("a start says where it listens, where its data is and what to type next; SIGTERM and SIGINT end it by the signal", async (t) => {
  const stage = Stage.for(t);
  const seat = await stage.seat();
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    const server = await stage.start(walnut(), seat);
    await server.client.put("a", signal);
    const said = server.log.join("\n");
    assert.match(
      said,
      new RegExp(`Walnut serves etcd's API at http://127.0.0.1:${seat.clientPort}; its data is in ${seat.dataDir}`),
    );
    const typed = /Try: {2}npx walnut (put .*?) {2,}/.exec(said)?.[1];
    assert.ok(typed !== undefined, said);
    assert.equal((await command(typed.trim().split(" "))).stdout, "OK\n");
    process.kill(server.pid, signal);
    assert.deepEqual(await server.exited(), { code: null, signal });
    assert.ok(
      server.log.some((line) => line.includes("closed etcd server")),
      "it stopped cleanly before",
    );
    const verify = await command(["wal", "verify", seat.dataDir]);
    assert.equal(verify.code, 0, verify.stderr);
    server.client.close();
  }
});

test("a second process on the same directory is refused in one sentence, and the first goes on", async (t) => {
  const stage = Stage.for(t);
  const seat = await stage.seat();
  const first = await stage.start(walnut(), seat);
  const other = { ...(await stage.seat()), dataDir: seat.dataDir };
  const { exit, log } = await runToEnd(walnut(), other);
  assert.deepEqual(exit, { code: 1, signal: null });
  assert.match(sentenceIn(log), /^walnut: DATA_DIR_LOCKED: .*member/);
  assert.equal(await first.client.put("a", "1"), 2);
});

test("a port in use is refused in one sentence before anything is made on the disk", async (t) => {
  const stage = Stage.for(t);
  const seat = await stage.seat();
  const holder = createServer().listen(seat.clientPort, "127.0.0.1");
  await once(holder, "listening");
  t.after(() => holder.close());
  const { exit, log } = await runToEnd(walnut(), seat);
  assert.deepEqual(exit, { code: 1, signal: null });
  assert.match(sentenceIn(log), new RegExp(`^walnut: PORT_IN_USE: 127.0.0.1:${seat.clientPort} is in use: stop what`));
  assert.equal(existsSync(seat.dataDir), false);
});

test("a port in use leaves the directory of a member as it was", async (t) => {
  const stage = Stage.for(t);
  const seat = await stage.seat();
  await (await stage.start(walnut(), seat)).stop();
  const before = fingerprint(seat.dataDir);
  const holder = createServer().listen(0, "127.0.0.1");
  await once(holder, "listening");
  t.after(() => holder.close());
  const taken = { ...seat, clientPort: (holder.address() as AddressInfo).port };
  assert.deepEqual((await runToEnd(walnut(), taken)).exit, { code: 1, signal: null });
  assert.deepEqual(fingerprint(seat.dataDir), before);
});

test("who connects while the member boots waits, and is served", async (t) => {
  const stage = Stage.for(t);
  const seat = await stage.seat();
  const first = await stage.start(walnut(), seat);
  for (let i = 0; i < 300; i++) await first.client.put(`k${i}`, "v".repeat(500));
  await first.kill();
  const starting = Server.start(walnut(), seat);
  let answer = "";
  // Refused until the port is bound; a loop without an end of its own would hide a member that never binds it.
  const until = performance.now() + 60_000;
  while (performance.now() < until) {
    if (answer !== "") break;
    const socket = connect(seat.clientPort, "127.0.0.1");
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => (answer += chunk.toString("latin1")));
    socket.on("connect", () => socket.write("GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"));
    await new Promise((resolve) => void socket.once("close", resolve));
    await new Promise((resolve) => void setImmediate(resolve));
  }
  assert.match(answer, /^HTTP\/1\.1 200 [^]*"health":"true"/);
  await (await starting).stop();
});

test("flags that cannot be are refused with etcd's exit code, and nothing is made", async (t) => {
  const stage = Stage.for(t);
  const dataDir = join(stage.folder, "none");
  const cases: [args: string[], code: number, sentence: RegExp][] = [
    [["--nosuch"], 2, /FLAG_UNKNOWN: --nosuch is not a flag/],
    [["--snapshot-count=abc"], 2, /FLAG_INVALID: --snapshot-count/],
    [["extra"], 1, /ARGUMENT_UNEXPECTED: "extra"/],
    [["--enable-v2"], 1, /FLAG_UNSUPPORTED: --enable-v2: known, but the v2 API is not served .*; leave it out/],
    [["--listen-client-urls=http://127.0.0.1:0"], 1, /FLAG_INVALID: --advertise-client-urls is required/],
    [["--heartbeat-interval=0"], 1, /OPTIONS_INVALID: --heartbeat-interval/],
    [["--election-timeout=400"], 1, /OPTIONS_INVALID: --election-timeout\[400ms\] should be at least as 5 times/],
    [["--election-timeout=50001"], 1, /OPTIONS_INVALID: .*too long/],
    [["--initial-cluster=other=http://localhost:2380"], 1, /OPTIONS_INVALID: couldn't find local name "default"/],
    [["--initial-cluster=default=http://127.0.0.1:2222"], 1, /OPTIONS_INVALID: --initial-cluster has default=/],
    [["--initial-advertise-peer-urls=http://127.0.0.1:2222"], 1, /OPTIONS_INVALID: --initial-cluster has default=/],
    [["--log-outputs=/nowhere/at/all"], 1, /FLAG_INVALID: --log-outputs: .*cannot be written/],
    [["--config-file=/nowhere/at/all"], 1, /CONFIG_FILE_INVALID: .*cannot be read/],
  ];
  for (const [args, code, sentence] of cases) {
    const listens = args.some((arg) => arg.startsWith("--listen-client-urls"));
    const place = listens
      ? []
      : ["--listen-client-urls=http://127.0.0.1:0", "--advertise-client-urls=http://127.0.0.1:1"];
    const outcome = await command([
      ...args.slice(0, args[0] === "extra" ? 0 : 1),
      `--data-dir=${dataDir}`,
      ...place,
      ...(args[0] === "extra" ? args : []),
    ]);
    assert.equal(outcome.code, code, `${args.join(" ")}: ${outcome.stderr}`);
    assert.match(outcome.stderr, sentence);
    assert.equal(outcome.stderr.split("\n").filter((line) => line.startsWith("walnut: ")).length, 1);
    assert.equal(existsSync(dataDir), false, args.join(" "));
  }
});

test("variables set flags, unknown ones are told; a variable beside its flag is refused", async (t) => {
  const stage = Stage.for(t);
  const seat = await stage.seat();
  const server = await stage.start(walnut(), seat, { env: { ETCD_NOSUCH: "1", ETCD_MAX_TXN_OPS: "7" } });
  assert.ok(
    server.log.some((line) => line.includes('"unrecognized environment variable"') && line.includes("ETCD_NOSUCH=1")),
  );
  await server.stop();
  const { exit, log } = await runToEnd(walnut(), seat, { env: { ETCD_NAME: "m1" } });
  assert.deepEqual(exit, { code: 1, signal: null });
  assert.match(sentenceIn(log), /FLAG_INVALID: ETCD_NAME is set and --name is given/);
});

test("a configuration file starts a member; etcd's own file does, too", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  const seat = await stage.seat();
  mkdirSync(stage.folder, { recursive: true });
  const path = join(stage.folder, "etcd.yml");
  const url = `http://127.0.0.1:${seat.clientPort}`;
  const peer = `http://127.0.0.1:${seat.peerPort}`;
  writeFileSync(
    path,
    [
      "name: m1",
      `data-dir: ${seat.dataDir}`,
      `listen-client-urls: ${url}`,
      `advertise-client-urls: ${url}`,
      `listen-peer-urls: ${peer}`,
      `initial-advertise-peer-urls: ${peer}`,
      `initial-cluster: m1=${peer}`,
      "snapshot-count: 10000",
      "strict-reconfig-check: false",
      "nosuch: 1",
    ].join("\n"),
  );
  for (const binary of [etcd("newest"), walnut()]) {
    const server = await stage.start(binary, seat, { env: { ETCD_CONFIG_FILE: "" }, flags: ["--config-file", path] });
    await server.client.put("from", binary.name);
    await server.stop();
  }
});

test("a boot shows how far it is on a terminal", { skip: skipWithout("script", "bsdutils") }, async (t) => {
  const stage = Stage.for(t);
  const seat = await stage.seat();
  const server = await stage.start(walnut(), seat);
  for (let i = 0; i < 100; i++) await server.client.put(`k${i}`, "v");
  await server.kill();
  const again = await stage.start(walnut(), seat, { wrap: [] });
  assert.ok(!again.log.join("\n").includes("Reading the log"), "nobody looks: nothing is drawn");
  await again.stop();
  const url = `http://127.0.0.1:${seat.clientPort}`;
  const words = [
    ...walnut().command,
    "--name=m1",
    "--data-dir",
    seat.dataDir,
    "--listen-client-urls",
    url,
    "--advertise-client-urls",
    url,
  ];
  const line = `echo PID=$$; exec ${words.map((word) => `'${word}'`).join(" ")}`;
  const terminal = spawn("script", ["-qefc", line, "/dev/null"], { stdio: ["ignore", "pipe", "inherit"] });
  let shown = "";
  let told = false;
  terminal.stdout.on("data", (chunk: Buffer) => {
    shown += chunk.toString();
    if (told || !shown.includes("Stop it with Ctrl-C")) return;
    told = true;
    process.kill(Number(/PID=(\d+)/.exec(shown)![1]), "SIGTERM");
  });
  await once(terminal, "close");
  assert.match(shown, /Reading the log .*%/);
  assert.match(shown, /ready to serve client requests/);
});
