import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { defaultOptions } from "../../server/options.js";
import { ArgumentError, parseArguments } from "./arguments.js";
import { SERVER_FLAGS, flagDescription, type FlagName } from "./flags.js";
import { serverHelp } from "./help.js";
import { gatherFlags } from "./run.js";
import { settingsOf, type ServerSettings } from "./settings.js";

const settings = (...args: string[]): ServerSettings => settingsOf(parseArguments(args).given);

function refuses(args: readonly string[], sentence: RegExp): void {
  assert.throws(
    () => settings(...args),
    (error: unknown) => {
      assert.ok(error instanceof ArgumentError, String(error));
      assert.equal(error.code, "FLAG_INVALID");
      assert.match(error.detail, sentence);
      return true;
    },
    args.join(" "),
  );
}

test("without flags it is etcd's default member, whose log may hold the loop", () => {
  const { member, listenClientUrls, listenPeerUrls, clientTls, clientLimits, peerTls, peerTimeouts, log } = settings();
  assert.deepEqual(member, { ...defaultOptions(resolve("default.etcd")), syncOnLoop: true });
  assert.deepEqual(listenClientUrls, ["http://localhost:2379"]);
  assert.deepEqual(listenPeerUrls, ["http://localhost:2380"]);
  assert.equal(peerTls, undefined);
  assert.equal(clientTls, undefined);
  assert.deepEqual(clientLimits, {
    maxConcurrentStreams: undefined,
    keepAliveMinMs: 5_000,
    keepAliveIntervalMs: 7_200_000,
    keepAliveTimeoutMs: 20_000,
  });
  assert.deepEqual(peerTimeouts, { readMs: 5000, writeMs: 5000 });
  assert.deepEqual(log, { level: "info", format: "json", outputs: ["default"], rotation: undefined });
});

test("who may ask over HTTP is said as in etcd", () => {
  assert.deepEqual(settings().http, { gateway: true, cors: ["*"], hostWhitelist: ["*"] });
  const given = settings(
    "--enable-grpc-gateway=false",
    "--cors=http://a.example:80,https://b:1",
    "--host-whitelist=a,b",
  );
  assert.deepEqual(given.http, {
    gateway: false,
    cors: ["http://a.example:80", "https://b:1"],
    hostWhitelist: ["a", "b"],
  });
  refuses(["--cors=http://a.example"], /^--cors: "http:\/\/a.example" must have a host and a port/);
  refuses(["--cors=a.example:80"], /^--cors: "a.example:80" must start with http/);
});

test("each flag reaches its option", () => {
  const { member } = settings(
    "--name=m1",
    "--data-dir=/d",
    "--wal-dir=/w",
    "--snapshot-count=7",
    "--experimental-snapshot-catchup-entries=8",
    "--heartbeat-interval=10",
    "--election-timeout=50",
    "--max-snapshots=3",
    "--max-wals=4",
    "--quota-backend-bytes=-1",
    "--max-txn-ops=9",
    "--max-request-bytes=10",
    "--initial-cluster-token=t",
    "--initial-cluster-state=existing",
    "--pre-vote=false",
    "--force-new-cluster",
    "--backend-batch-interval=1s",
    "--backend-batch-limit=12",
    "--strict-reconfig-check=false",
    "--initial-election-tick-advance=false",
    "--experimental-initial-corrupt-check",
    "--experimental-enable-lease-checkpoint",
    "--experimental-enable-lease-checkpoint-persist",
    "--lease-revoke-rate=1000",
    "--auto-compaction-retention=90m",
    "--experimental-warning-apply-duration=2s",
    "--experimental-bootstrap-defrag-threshold-megabytes=3",
    "--experimental-compact-hash-check-enabled",
    "--experimental-compact-hash-check-time=90s",
    "--experimental-compaction-batch-limit=13",
    "--experimental-compaction-sleep-interval=14ms",
    "--experimental-corrupt-check-time=2h",
  );
  assert.deepEqual(member, {
    ...defaultOptions("/d"),
    name: "m1",
    walDir: "/w",
    snapshotCount: 7,
    catchUpEntries: 8,
    heartbeatMs: 10,
    electionMs: 50,
    snapshotsKept: 3,
    segmentsKept: 4,
    quotaBytes: -1,
    txnOperationsMax: 9,
    requestBytesMax: 10,
    initialCluster: new Map([["m1", ["http://localhost:2380"]]]),
    initialClusterToken: "t",
    initialClusterState: "existing",
    preVote: false,
    forceNewCluster: true,
    batchIntervalMs: 1000,
    batchWritesMax: 12,
    strictReconfigCheck: false,
    leaseCheckpoint: true,
    leaseCheckpointPersist: true,
    leaseRevocationsPerSecond: 1000,
    autoCompaction: { mode: "periodic", retentionMs: 5_400_000 },
    slowApplyMs: 2000,
    bootDefragmentBytes: 3 * 1024 * 1024,
    compactHashCheckMs: 90_000,
    compactionBatchMax: 13,
    compactionPauseMs: 14,
    initialElectionTickAdvance: false,
    initialCorruptCheck: true,
    corruptCheckMs: 7_200_000,
    syncOnLoop: true,
  });
});

test("what compactions leave is compared when that is switched on, and the time is never 0", () => {
  assert.equal(settings("--experimental-compact-hash-check-time=90s").member.compactHashCheckMs, 0);
  assert.equal(settings("--experimental-compact-hash-check-enabled").member.compactHashCheckMs, 60_000);
  refuses(["--experimental-compact-hash-check-time=0"], /must be >0 \(set to 0s\)/);
  refuses(["--experimental-compact-hash-check-time=-1s"], /must be >0 \(set to -1s\)/);
});

test("what concerns the process and not the member is off, and on when it is asked for", () => {
  const { enablePprof, unsafeNoFsync, stopServiceOnDefragmentation } = settings();
  assert.deepEqual([enablePprof, unsafeNoFsync, stopServiceOnDefragmentation], [false, false, false]);
  const given = settings("--enable-pprof", "--unsafe-no-fsync", "--experimental-stop-grpc-service-on-defrag");
  assert.deepEqual([given.enablePprof, given.unsafeNoFsync, given.stopServiceOnDefragmentation], [true, true, true]);
});

test("a log file begins anew when it is full, where that is switched on and there is one", () => {
  const rotation = (...args: string[]): unknown => settings("--enable-log-rotation", ...args).log.rotation;
  const defaults = { bytesMax: 100 * 1024 * 1024, backupsMax: 0, ageMsMax: 0, localTime: false, compress: false };
  assert.equal(settings("--log-outputs=/l").log.rotation, undefined);
  assert.deepEqual(rotation("--log-outputs=/l"), defaults);
  assert.deepEqual(rotation("--log-outputs=stderr,/l", "--log-rotation-config-json={}"), defaults);
  assert.deepEqual(
    rotation(
      "--log-outputs=/l",
      '--log-rotation-config-json={"MaxSize": 5, "maxage": 2, "maxbackups": 3, "localtime": true, "compress": true, "x": 1}',
    ),
    { bytesMax: 5 * 1024 * 1024, backupsMax: 3, ageMsMax: 2 * 86_400_000, localTime: true, compress: true },
  );
  const on = "--enable-log-rotation";
  refuses([on], /requires a single file path when .*, and has none/);
  refuses([on, "--log-outputs=/a,/b"], /has \/a and \/b/);
  for (const [json, why] of [
    ["", /it is no JSON/],
    ["{", /it is no JSON/],
    ["[]", /it is no JSON object/],
    ['{"maxsize": "5"}', /maxsize must be a whole number/],
    ['{"maxsize": 1.5}', /maxsize must be a whole number/],
    ['{"compress": 1}', /compress must be true or false/],
  ] as const) {
    refuses([on, "--log-outputs=/l", `--log-rotation-config-json=${json}`], why);
  }
  refuses(["--log-outputs=systemd/journal"], /log to stderr, which systemd hands to the journal/);
  refuses(["--log-outputs=default,/l"], /"default" cannot stand beside other outputs/);
});

test("a new cluster's members are named by flags or found by DNS, and not both", () => {
  assert.equal(settings().discovery, undefined);
  assert.deepEqual(settings("--discovery-srv=x", "--discovery-srv-name=blue").discovery, {
    domain: "x",
    serviceName: "blue",
  });
  refuses(["--discovery-srv=x", "--initial-cluster=a=http://a:1"], /multiple discovery or bootstrap flags are set/);
});

test("metrics are basic or extensive", () => {
  assert.equal(settings().extensiveMetrics, false);
  assert.equal(settings("--metrics=extensive").extensiveMetrics, true);
});

test("what is kept when the member compacts by itself is hours, a duration or revisions", () => {
  const kept = (...args: string[]): unknown => settings(...args).member.autoCompaction;
  const retention = "--auto-compaction-retention";
  assert.deepEqual(kept(`${retention}=2`), { mode: "periodic", retentionMs: 7_200_000 });
  assert.deepEqual(kept(`${retention}=1h30m`), { mode: "periodic", retentionMs: 5_400_000 });
  assert.deepEqual(kept("--auto-compaction-mode=revision", `${retention}=1000`), {
    mode: "revision",
    retentionRevisions: 1000,
  });
  for (const none of ["0", "", "0s", "+0"]) assert.equal(kept(`${retention}=${none}`), undefined, none);
  assert.equal(kept("--auto-compaction-mode=revision", `${retention}=0h`), undefined);
  refuses(["--auto-compaction-mode=bad"], /"bad" is neither periodic nor revision/);
  refuses([`${retention}=-1`], /"-1" is not a number of hours, or a duration as 30m, or 0 for none/);
  refuses([`${retention}=-1h`], /"-1h" is not/);
  refuses([`${retention}=soon`], /"soon" is not/);
  refuses(["--auto-compaction-mode=revision", `${retention}=5m`], /"5m" is not a number of revisions/);
  refuses(["--experimental-compaction-batch-limit=-1"], /-1 is below 0/);
  const { member } = settings("--experimental-compaction-batch-limit=0", "--experimental-compaction-sleep-interval=0s");
  assert.equal(member.compactionBatchMax, 1000);
  assert.equal(member.compactionPauseMs, 10);
});

const COMMON_TLS = { selfSignedValidityYears: 1, cipherSuites: [], minVersion: "TLS1.2", maxVersion: undefined };

test("the flags of the client port reach it: URLs, certificates, versions, and what clients may do", () => {
  const found = settings(
    "--listen-client-urls=https://10.0.0.1:2379,unixs:///s,http://127.0.0.1:2379",
    "--advertise-client-urls=https://10.0.0.1:2379",
    "--listen-client-http-urls=https://10.0.0.1:8080",
    "--listen-metrics-urls=http://127.0.0.1:2381,unix://m:1",
    "--cert-file=/c",
    "--key-file=/k",
    "--client-cert-file=/cc",
    "--client-key-file=/ck",
    "--trusted-ca-file=/ca",
    "--client-cert-auth",
    "--client-crl-file=/crl",
    "--client-cert-allowed-hostname=a,b",
    "--self-signed-cert-validity=3",
    "--cipher-suites=x,y",
    "--tls-min-version=",
    "--tls-max-version=TLS1.3",
    "--max-concurrent-streams=7",
    "--grpc-keepalive-min-time=1s",
    "--grpc-keepalive-interval=0",
    "--grpc-keepalive-timeout=3s",
    "--socket-reuse-address",
  );
  assert.deepEqual(found.listenClientUrls, ["https://10.0.0.1:2379", "unixs:///s", "http://127.0.0.1:2379"]);
  assert.deepEqual(found.listenClientHttpUrls, ["https://10.0.0.1:8080"]);
  assert.deepEqual(found.listenMetricsUrls, ["http://127.0.0.1:2381", "unix://m:1"]);
  const common = {
    selfSignedValidityYears: 3,
    cipherSuites: ["x", "y"],
    minVersion: undefined,
    maxVersion: "TLS1.3",
  };
  assert.deepEqual(found.clientTls, {
    certFile: "/c",
    keyFile: "/k",
    clientCertFile: "/cc",
    clientKeyFile: "/ck",
    trustedCaFile: "/ca",
    clientCertAuth: true,
    crlFile: "/crl",
    allowedHostnames: ["a", "b"],
    auto: false,
    ...common,
  });
  assert.equal(found.peerTls?.maxVersion, "TLS1.3", "versions are for both ports");
  assert.deepEqual(found.clientLimits, {
    maxConcurrentStreams: 7,
    keepAliveMinMs: 1_000,
    keepAliveIntervalMs: 0,
    keepAliveTimeoutMs: 3_000,
  });
  assert.equal(settings("--auto-tls").clientTls?.auto, true);
  assert.equal(settings("--auto-tls").peerTls, undefined);
});

test("versions of TLS that etcd does not know are refused in its words, whatever the ports speak", () => {
  refuses(["--tls-min-version=TLS1.1"], /unexpected TLS version "TLS1.1" \(must be one of: TLS1.2, TLS1.3\)/);
  refuses(["--tls-max-version=1.3"], /unexpected TLS version "1.3"/);
  refuses(["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"], /greater than max version/);
  refuses(["--tls-min-version=TLS1.3", "--cipher-suites=x"], /only TLS1.3 is enabled/);
});

test("the flags of the peer port reach it: URLs, certificates, and times that etcd raises to its least", () => {
  const { listenPeerUrls, peerTls, peerTimeouts } = settings(
    "--listen-peer-urls=https://10.0.0.1:2380,http://127.0.0.1:2380",
    "--peer-cert-file=/c",
    "--peer-key-file=/k",
    "--peer-client-cert-file=/cc",
    "--peer-client-key-file=/ck",
    "--peer-trusted-ca-file=/ca",
    "--peer-client-cert-auth",
    "--peer-cert-allowed-cn=a,b",
    "--peer-crl-file=/crl",
    "--experimental-peer-skip-client-san-verification",
    "--raft-read-timeout=1s",
    "--raft-write-timeout=6s",
  );
  assert.deepEqual(listenPeerUrls, ["https://10.0.0.1:2380", "http://127.0.0.1:2380"]);
  assert.deepEqual(peerTls, {
    certFile: "/c",
    keyFile: "/k",
    clientCertFile: "/cc",
    clientKeyFile: "/ck",
    trustedCaFile: "/ca",
    clientCertAuth: true,
    allowedCommonNames: ["a", "b"],
    allowedHostnames: [],
    crlFile: "/crl",
    anyClientAddress: true,
    auto: false,
    ...COMMON_TLS,
  });
  assert.deepEqual(peerTimeouts, { readMs: 5000, writeMs: 6000 });
  assert.equal(settings("--peer-auto-tls").peerTls?.auto, true);
});

test("zero means etcd's default where etcd takes it so", () => {
  const { member } = settings(
    "--snapshot-count=0",
    "--backend-batch-interval=-1s",
    "--backend-batch-limit=0",
    "--max-txn-ops=0",
    "--experimental-snapshot-catchup-entries=0",
  );
  const usual = defaultOptions("/");
  assert.equal(member.snapshotCount, usual.snapshotCount);
  assert.equal(member.batchIntervalMs, usual.batchIntervalMs);
  assert.equal(member.batchWritesMax, usual.batchWritesMax);
  assert.equal(member.txnOperationsMax, 0);
  assert.equal(member.catchUpEntries, 0);
});

test("the data directory is named after the member, and is absolute", () => {
  assert.equal(settings("--name=m1").member.dataDir, resolve("m1.etcd"));
  assert.equal(settings("--name=m1", "--data-dir=").member.dataDir, resolve("m1.etcd"));
  assert.equal(settings("--data-dir=x/../y").member.dataDir, resolve("y"));
});

test("a listener needs to be told under which URLs clients reach it", () => {
  refuses(["--listen-client-urls=http://127.0.0.1:1"], /--advertise-client-urls is required when/);
  const { member, listenClientUrls } = settings(
    "--listen-client-urls=http://0.0.0.0:1,http://[::1]:2,unix:///s,http://0.0.0.0:1",
    "--advertise-client-urls=http://db.example.com:1",
  );
  assert.deepEqual(listenClientUrls, ["http://0.0.0.0:1", "http://[::1]:2", "unix:///s"]);
  assert.deepEqual(member.advertiseClientUrls, ["http://db.example.com:1"]);
  assert.deepEqual(settings("--listen-client-urls=", "--advertise-client-urls=").listenClientUrls, [
    "http://localhost:2379",
  ]);
});

test("URLs have a scheme, an address to bind and a port, and nothing else", () => {
  const listen = (url: string): string[] => [`--listen-client-urls=${url}`, "--advertise-client-urls=http://a:1"];
  refuses(listen("127.0.0.1:1"), /must start with http/);
  refuses(listen("ftp://127.0.0.1:1"), /must start with http/);
  refuses(listen("http://127.0.0.1"), /must have a host and a port/);
  refuses(listen("http://127.0.0.1:"), /must have a host and a port/);
  refuses(listen("http://127.0.0.1:65536"), /must have a host and a port/);
  refuses(listen("http://::1:2379"), /must have a host and a port/);
  refuses(listen("http://127.0.0.1:1/"), /nothing behind the port/);
  refuses(listen("http://127.0.0.1:1/path"), /nothing behind the port/);
  refuses(listen("http://example.com:1"), /must have an IP address/);
  refuses(listen("http://:1"), /must have an IP address/);
  refuses(listen("http://127.0.0.1:1,"), /""/);
  refuses(["--listen-peer-urls=http://example.com:1"], /--listen-peer-urls: .*IP address/);
  refuses(["--advertise-client-urls=bad"], /must start with http/);
  refuses(["--advertise-client-urls=http://:1"], /must name a host/);
  refuses(["--initial-cluster=default=http://127.0.0.1:1/x"], /--initial-cluster: .*nothing behind/);
  refuses(["--initial-cluster=default"], /is not name=URL/);
  refuses(["--initial-cluster=default="], /must start with http/);
});

test("a new cluster's members are etcd's: the default name keeps the default URL, a name of one's own brings its URLs", () => {
  const peer = "--initial-advertise-peer-urls=http://127.0.0.1:7";
  assert.deepEqual(settings(peer).member.initialCluster, new Map([["default", ["http://localhost:2380"]]]));
  assert.deepEqual(settings("--name=m1", peer).member.initialCluster, new Map([["m1", ["http://127.0.0.1:7"]]]));
  assert.deepEqual(
    settings("--initial-cluster=a=http://h:1,b=http://h:2,a=http://h:3").member.initialCluster,
    new Map([
      ["a", ["http://h:1", "http://h:3"]],
      ["b", ["http://h:2"]],
    ]),
  );
  assert.equal(settings("--initial-cluster=").member.initialCluster.size, 0);
});

test("words that etcd does not know are refused with those it does", () => {
  refuses(["--initial-cluster-state=bad"], /"bad" is neither new nor existing/);
  refuses(["--logger=bad"], /only "zap"/);
  refuses(["--log-level=warning"], /none of debug, info, warn, error, panic, fatal/);
  refuses(["--log-format=bad"], /neither json nor console/);
  for (const level of ["panic", "fatal", "dpanic"]) assert.equal(settings(`--log-level=${level}`).log.level, "error");
});

test("with a configuration file flags and environment are passed over, with a warning for the flags", () => {
  const folder = mkdtempSync(join(tmpdir(), "walnut-settings-"));
  try {
    const path = join(folder, "etcd.yml");
    writeFileSync(path, "name: from-file\n");
    const line = parseArguments([`--config-file=${path}`, "--name=flag", "--max-wals=1"]).given;
    const { given, warnings } = gatherFlags(line, { ETCD_NAME: "variable", ETCD_NOSUCH: "1" });
    assert.deepEqual([...given], [["name", "from-file"]]);
    assert.deepEqual(warnings, [
      {
        message: "flags are ignored beside a configuration file",
        fields: { path, flags: "--name,--max-wals" },
      },
    ]);
    const fromVariable = gatherFlags(new Map(), { ETCD_CONFIG_FILE: path });
    assert.deepEqual([...fromVariable.given], [["name", "from-file"]]);
    assert.throws(
      () => gatherFlags(new Map([["config-file", join(folder, "none")]]), {}),
      /CONFIG_FILE_INVALID: --config-file=.*none cannot be read: ENOENT/,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("without one the command line and the environment come together", () => {
  const { given } = gatherFlags(parseArguments(["--name=m1", "--config-file="]).given, { ETCD_MAX_WALS: "3" });
  assert.equal(given.get("name"), "m1");
  assert.equal(given.get("max-wals"), "3");
});

test("the help has a line for every flag that does something, with its default, and no other", () => {
  const help = serverHelp();
  for (const name of Object.keys(SERVER_FLAGS) as FlagName[]) {
    const line = help.split("\n").find((text) => text.startsWith(`  --${name} `));
    const { help: text, default: usual } = flagDescription(name);
    assert.equal(line !== undefined, text !== undefined, name);
    if (line !== undefined && usual !== "") assert.ok(line.endsWith(`[${usual}]`), line);
  }
});
