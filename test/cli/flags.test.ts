/** What the command line, the environment and a configuration file may say is decided as real etcd decides it. */
import assert from "node:assert/strict";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { etcd, skipReason, walnut, type ServerBinary } from "../support/binaries.js";
import { Stage } from "../support/servers.js";
import { run } from "../support/tools.js";

interface Case {
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly file?: string;
}

const line = (...flags: string[]): Case => ({ flags });
const listen = (url: string): Case => line(`--listen-client-urls=${url}`, "--advertise-client-urls=http://127.0.0.1:1");

/** Refused by etcd 3.5.30, each with the exit code that Walnut gives, too. */
const REFUSED: readonly Case[] = [
  line("--nosuch"),
  line("--nosuch=3"),
  line("extra"),
  line("-"),
  line("--", "x"),
  line("---name=x"),
  line("--=x"),
  line("--name"),
  line("--version", "--nosuch"),
  line("--pre-vote", "false"),
  line("--pre-vote=tRuE"),
  line("--heartbeat-interval=abc"),
  line("--heartbeat-interval=0"),
  line("--heartbeat-interval=-1"),
  line("--election-timeout=0"),
  line("--election-timeout=400"),
  line("--election-timeout=50001"),
  line("--heartbeat-interval=1000", "--election-timeout=1500"),
  line("--snapshot-count=-1"),
  line("--quota-backend-bytes=1e9"),
  line("--backend-batch-interval=5"),
  line("--initial-cluster-state=bad"),
  line("--logger=bad"),
  line("--log-outputs="),
  line("--config-file=/nowhere/at/all"),
  line("--listen-client-urls=http://127.0.0.1:1"),
  listen("127.0.0.1:1"),
  listen("ftp://127.0.0.1:1"),
  listen("http://127.0.0.1"),
  listen("http://127.0.0.1:1/"),
  listen("http://127.0.0.1:1/path"),
  listen("http://example.com:1"),
  listen("http://:1"),
  listen("https://127.0.0.1:1"),
  line("--advertise-client-urls=bad"),
  line("--advertise-client-urls=http://bad"),
  line("--advertise-client-urls=http://:1"),
  line("--listen-peer-urls=https://127.0.0.1:1"),
  line("--listen-peer-urls=http://example.com:1"),
  line("--peer-cert-file=/nowhere"),
  line("--peer-key-file=/nowhere"),
  listen("unixs://walnut-never"),
  line("--listen-metrics-urls=https://127.0.0.1:1"),
  line("--listen-client-http-urls=http://example.com:1"),
  line("--listen-client-http-urls=http://localhost:2379"),
  line("--tls-min-version=TLS1.1"),
  line("--tls-min-version=1.2"),
  line("--tls-max-version=TLS1.0"),
  line("--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"),
  line("--tls-min-version=TLS1.3", "--cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
  line("--cipher-suites=ECDHE-RSA-AES128-GCM-SHA256"),
  line("--cipher-suites=TLS_NO_SUCH"),
  line("--client-cert-auth=maybe"),
  line("--self-signed-cert-validity=-1"),
  line(
    "--auto-tls",
    "--self-signed-cert-validity=0",
    "--listen-client-urls=https://127.0.0.1:1",
    "--advertise-client-urls=https://127.0.0.1:1",
  ),
  line("--max-concurrent-streams=-1"),
  line("--grpc-keepalive-min-time=5"),
  line("--initial-cluster=default"),
  line("--initial-cluster=other=http://localhost:2380"),
  line("--initial-cluster=default=http://localhost:2380,other=http://localhost:2380"),
  line("--initial-cluster=default=http://localhost:2380,other=localhost:2381"),
  line("--initial-cluster=default=http://127.0.0.1:2222"),
  line("--experimental-corrupt-check-time=5"),
  line("--raft-read-timeout=x"),
  line("--experimental-compact-hash-check-time=0s"),
  line("--enable-log-rotation"),
  line("--enable-log-rotation", "--log-outputs=stderr"),
  line("--enable-log-rotation", "--log-outputs=/tmp/a,/tmp/b"),
  line("--enable-log-rotation", "--log-outputs=stderr,/dev/null", "--log-rotation-config-json="),
  line("--enable-log-rotation", "--log-outputs=stderr,/dev/null", "--log-rotation-config-json={"),
  line("--enable-log-rotation", "--log-outputs=stderr,/dev/null", '--log-rotation-config-json={"maxsize": true}'),
  line("--log-outputs=default,stderr"),
  line("--discovery-srv=example.invalid", "--initial-cluster=default=http://localhost:2380"),
  line("--discovery-srv=example.invalid"),
  line("--auto-compaction-mode=bad"),
  line("--auto-compaction-retention=-1"),
  line("--auto-compaction-retention=soon"),
  line("--experimental-compaction-batch-limit=1s"),
  { env: { ETCD_SNAPSHOT_COUNT: "abc" } },
  { flags: ["--name=a"], env: { ETCD_NAME: "a" } },
  { file: "snapshot-count: abc" },
  { file: "snapshot-count: '5'" },
  { file: "backend-batch-interval: 1s" },
  { file: "pre-vote: 'yes'" },
  { file: "name: y" },
  { file: "listen-client-urls: [http://127.0.0.1:1]" },
  { file: "log-outputs: stderr" },
  { file: "peer-transport-security: { cert-file: 1 }" },
  { file: "peer-transport-security: { client-cert-auth: 'yes' }" },
  { file: "peer-transport-security: { cert-file: /nowhere }" },
  { file: "peer-transport-security: { allowed-cn: a }" },
  { file: "client-transport-security: { cert-file: 1 }" },
  { file: "client-transport-security: { client-cert-auth: 'yes' }" },
  { file: "client-transport-security: { allowed-hostname: a }" },
  { file: "tls-min-version: TLS1.1" },
  { file: "cipher-suites: [TLS_NO_SUCH]" },
  { file: "- 1" },
  { file: ": : :" },
];

/** Answered without a member. */
const ANSWERED: readonly Case[] = [line("--version"), line("--name=x", "-version"), line("--help"), line("-h")];

async function exitCode(
  binary: ServerBinary,
  stage: Stage,
  { flags = [], env = {}, file }: Case,
): Promise<number | null> {
  const dataDir = join(stage.folder, "never");
  const path = join(stage.folder, "etcd.yml");
  if (file !== undefined) writeFileSync(path, `data-dir: ${dataDir}\n${file}\n`);
  const [command, ...first] = binary.command;
  const more = file === undefined ? flags : [`--config-file=${path}`];
  const { code, stdout, stderr } = await run("timeout", ["5", command!, ...first, `--data-dir=${dataDir}`, ...more], {
    env,
  });
  assert.ok(binary.family === "etcd" || !existsSync(dataDir), `${describe({ flags, env })} made a directory`);
  rmSync(dataDir, { recursive: true, force: true });
  if (binary.family === "walnut" && code !== 0) {
    assert.match(stderr, /^walnut: [A-Z_]+: /m, `a sentence for ${describe({ flags, env })}: ${stdout}${stderr}`);
  }
  return code;
}

const describe = (one: Case): string => JSON.stringify(one);

test(
  "what real etcd refuses at its start, Walnut refuses with the same exit code",
  { skip: skipReason() },
  async (t) => {
    const stage = Stage.for(t);
    for (const one of [...REFUSED, ...ANSWERED]) {
      // A list is one file, so the two are asked one after the other.
      const theirs = await exitCode(etcd("newest"), stage, one);
      const ours = await exitCode(walnut(), stage, one);
      assert.equal(ours, theirs, describe(one));
      assert.equal(theirs === 0, ANSWERED.includes(one), describe(one));
    }
  },
);

/** Served by etcd 3.5.30 as they stand here. */
const SERVED: Case = {
  flags: [
    "-snapshot-count=0x10",
    "--max-wals",
    "1_000",
    "--pre-vote=T",
    "--quota-backend-bytes=-1",
    "--backend-batch-interval=-1s",
    "--experimental-snapshot-catchup-entries=0",
    "--max-request-bytes=10000",
    "--grpc-keepalive-min-time=5000ms",
    "--max-concurrent-streams=4294967295",
    "--backend-bbolt-freelist-type=array",
    "--strict-reconfig-check=false",
  ],
  env: { ETCD_MAX_TXN_OPS: "0x80", ETCD_UNSUPPORTED_ARCH: "arm64", ETCD_NOSUCH: "1", ETCD_MAX_SNAPSHOTS: "" },
};

test("what real etcd takes in odd spellings, Walnut takes", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  const seat = await stage.seat();
  for (const binary of [etcd("newest"), walnut()]) {
    const server = await stage.start(binary, seat, { flags: [...SERVED.flags!, "--"], env: { ...SERVED.env } });
    assert.ok((await server.client.put("a", binary.name)) > 1);
    await server.stop();
  }
});
