/** What the flags of a server mean: the member's options, and where it listens and logs. */
import { resolve } from "node:path";
import { formatDuration } from "../../base/go-duration.js";
import type { ClientHttpOptions } from "../../api/client-port.js";
import type { CredentialsOptions } from "../../credentials/index.js";
import type { ClientLimits } from "../../embed/client-ports.js";
import type { PeerTimeouts } from "../../embed/peer-port.js";
import type { ClientTls, PeerTls, PortTlsOptions } from "../../embed/tls.js";
import type { LogRotation } from "../../platform/node/index.js";
import type { AutoCompaction } from "../../server/auto-compaction.js";
import { defaultOptions, type MemberOptions } from "../../server/options.js";
import { type TlsVersion, whyVersionsUnfit } from "../../tls/index.js";
import { ArgumentError, type GivenFlags } from "./arguments.js";
import { flagDescription, type FlagName } from "./flags.js";
import type { SrvDiscovery } from "./discover-srv.js";
import { parseDuration } from "./go-values.js";
import { logOutputsOf, logRotationOf } from "./log-settings.js";
import { faultInBinding, faultInTelling, faultInUrl, splitUrls } from "./urls.js";

export interface ServerSettings {
  readonly member: MemberOptions;
  readonly listenClientUrls: readonly string[];
  readonly listenClientHttpUrls: readonly string[];
  readonly listenMetricsUrls: readonly string[];
  /** Undefined without any flag of it. */
  readonly clientTls: ClientTls | undefined;
  readonly clientLimits: ClientLimits;
  readonly listenPeerUrls: readonly string[];
  /** Undefined without any flag of it. */
  readonly peerTls: PeerTls | undefined;
  readonly peerTimeouts: PeerTimeouts;
  readonly auth: CredentialsOptions;
  /** Where a new cluster's members are asked for; undefined where the flags name them. */
  readonly discovery: SrvDiscovery | undefined;
  readonly extensiveMetrics: boolean;
  readonly http: ClientHttpOptions;
  readonly enablePprof: boolean;
  readonly unsafeNoFsync: boolean;
  readonly stopServiceOnDefragmentation: boolean;
  readonly log: {
    readonly level: "debug" | "info" | "warn" | "error";
    readonly format: "json" | "console";
    readonly outputs: readonly string[];
    readonly rotation: LogRotation | undefined;
  };
}

/** @throws ArgumentError with the flag and what it may be */
export function settingsOf(given: GivenFlags): ServerSettings {
  const text = (name: FlagName): string => given.get(name) ?? flagDescription(name).default;
  const number = (name: FlagName): number => Number(text(name));
  const toggle = (name: FlagName): boolean => text(name) === "true";
  const duration = (name: FlagName): number => parseDuration(text(name)) ?? 0;
  // No URL at all is etcd's way to say: the default.
  const urls = (name: FlagName, use: UrlUse): string[] =>
    text(name) === "" && flagDescription(name).default === ""
      ? []
      : parseUrls(text(name) === "" ? flagDescription(name).default : text(name), name, use);
  const name = text("name");
  const dataDir = resolve(given.get("data-dir") || `${name}.etcd`);
  const peerUrls = urls("initial-advertise-peer-urls", "tell");
  if (given.has("listen-client-urls") && !given.has("advertise-client-urls")) {
    throw new ArgumentError(
      "FLAG_INVALID",
      "--advertise-client-urls is required when --listen-client-urls is set explicitly: say under which URLs clients reach this member",
    );
  }
  if (text("logger") !== "zap")
    throw new ArgumentError("FLAG_INVALID", `--logger: "${text("logger")}", only "zap" is known`);
  const defaults = defaultOptions(dataDir);
  return {
    member: {
      ...defaults,
      name,
      walDir: text("wal-dir") === "" ? undefined : resolve(text("wal-dir")),
      initialAdvertisePeerUrls: peerUrls,
      advertiseClientUrls: urls("advertise-client-urls", "tell"),
      initialCluster: given.has("initial-cluster")
        ? parseInitialCluster(text("initial-cluster"))
        : usualCluster(name, peerUrls),
      initialClusterState: text("initial-cluster-state") === "existing" ? "existing" : "new",
      initialClusterToken: text("initial-cluster-token"),
      forceNewCluster: toggle("force-new-cluster"),
      heartbeatMs: number("heartbeat-interval"),
      electionMs: number("election-timeout"),
      preVote: toggle("pre-vote"),
      snapshotCount: number("snapshot-count") === 0 ? defaults.snapshotCount : number("snapshot-count"),
      catchUpEntries: number("experimental-snapshot-catchup-entries"),
      snapshotsKept: number("max-snapshots"),
      segmentsKept: number("max-wals"),
      quotaBytes: number("quota-backend-bytes"),
      requestBytesMax: number("max-request-bytes"),
      txnOperationsMax: number("max-txn-ops"),
      batchIntervalMs: positive(parseDuration(text("backend-batch-interval"))) ?? defaults.batchIntervalMs,
      batchWritesMax: positive(number("backend-batch-limit")) ?? defaults.batchWritesMax,
      autoCompaction: autoCompactionOf(text("auto-compaction-mode"), text("auto-compaction-retention")),
      compactionBatchMax: batchLimitOf(number("experimental-compaction-batch-limit")) ?? defaults.compactionBatchMax,
      compactionPauseMs: Math.max(0, duration("experimental-compaction-sleep-interval")) || defaults.compactionPauseMs,
      strictReconfigCheck: toggle("strict-reconfig-check"),
      initialElectionTickAdvance: toggle("initial-election-tick-advance"),
      initialCorruptCheck: toggle("experimental-initial-corrupt-check"),
      leaseCheckpoint: toggle("experimental-enable-lease-checkpoint"),
      leaseCheckpointPersist: toggle("experimental-enable-lease-checkpoint-persist"),
      leaseRevocationsPerSecond: number("lease-revoke-rate"),
      corruptCheckMs: Math.max(0, duration("experimental-corrupt-check-time")),
      bootDefragmentBytes: number("experimental-bootstrap-defrag-threshold-megabytes") * 1024 * 1024,
      compactHashCheckMs: compactHashCheckOf(
        toggle("experimental-compact-hash-check-enabled"),
        duration("experimental-compact-hash-check-time"),
      ),
      slowApplyMs: duration("experimental-warning-apply-duration"),
      watchProgressMs: positive(duration("experimental-watch-progress-notify-interval")) ?? defaults.watchProgressMs,
      syncOnLoop: true, // this process is the member and nothing else
    },
    listenClientUrls: urls("listen-client-urls", "listen"),
    listenClientHttpUrls: urls("listen-client-http-urls", "listen"),
    listenMetricsUrls: urls("listen-metrics-urls", "listen"),
    clientTls: clientTlsOf(text),
    clientLimits: {
      maxConcurrentStreams:
        text("max-concurrent-streams") === STREAMS_DEFAULT ? undefined : number("max-concurrent-streams"),
      keepAliveMinMs: duration("grpc-keepalive-min-time"),
      keepAliveIntervalMs: duration("grpc-keepalive-interval"),
      keepAliveTimeoutMs: duration("grpc-keepalive-timeout"),
    },
    listenPeerUrls: urls("listen-peer-urls", "listen"),
    peerTls: peerTlsOf(text),
    peerTimeouts: {
      readMs: Math.max(PEER_TIMEOUT_MS_MIN, duration("raft-read-timeout")),
      writeMs: Math.max(PEER_TIMEOUT_MS_MIN, duration("raft-write-timeout")),
    },
    auth: {
      authToken: text("auth-token"),
      authTokenTtlSeconds: number("auth-token-ttl"),
      bcryptCost: number("bcrypt-cost"),
    },
    discovery: discoveryOf(given),
    enablePprof: toggle("enable-pprof"),
    unsafeNoFsync: toggle("unsafe-no-fsync"),
    stopServiceOnDefragmentation: toggle("experimental-stop-grpc-service-on-defrag"),
    extensiveMetrics: text("metrics") === "extensive",
    http: {
      gateway: toggle("enable-grpc-gateway"),
      cors: originsOf(text("cors")),
      hostWhitelist: text("host-whitelist")
        .split(",")
        .filter((name) => name !== ""),
    },
    log: {
      level: levelOf(text("log-level")),
      format: formatOf(text("log-format")),
      outputs: logOutputsOf(text("log-outputs")),
      rotation: toggle("enable-log-rotation")
        ? logRotationOf(logOutputsOf(text("log-outputs")), text("log-rotation-config-json"))
        : undefined,
    },
  };
}

/** @throws ArgumentError when the members are named as well */
function discoveryOf(given: GivenFlags): SrvDiscovery | undefined {
  const domain = given.get("discovery-srv") ?? "";
  if (domain === "") return undefined;
  if ((given.get("initial-cluster") ?? "") !== "") {
    const detail =
      'multiple discovery or bootstrap flags are set. Choose one of "initial-cluster", "discovery" or "discovery-srv"';
    throw new ArgumentError("FLAG_INVALID", detail);
  }
  return { domain, serviceName: given.get("discovery-srv-name") ?? "" };
}

const HOUR_MS = 3_600_000;

/** A whole number is hours, or revisions; all else a duration. Undefined when it is none at all. */
function autoCompactionOf(mode: string, retention: string): AutoCompaction | undefined {
  if (mode !== "periodic" && mode !== "revision") {
    throw new ArgumentError("FLAG_INVALID", `--auto-compaction-mode: "${mode}" is neither periodic nor revision`);
  }
  const whole = /^\+?\d+$/.test(retention) ? Number(retention) : undefined;
  const kept = whole ?? parseDuration(retention === "" ? "0" : retention);
  if (kept === undefined || kept < 0 || (mode === "revision" && whole === undefined && kept > 0)) {
    const wanted = mode === "revision" ? "a number of revisions" : "a number of hours, or a duration as 30m";
    throw new ArgumentError(
      "FLAG_INVALID",
      `--auto-compaction-retention: "${retention}" is not ${wanted}, or 0 for none`,
    );
  }
  if (kept === 0) return undefined;
  if (mode === "revision") return { mode, retentionRevisions: kept };
  return { mode, retentionMs: whole === undefined ? kept : whole * HOUR_MS };
}

/** etcd refuses a time of 0, also where nothing is to be compared. */
function compactHashCheckOf(enabled: boolean, intervalMs: number): number {
  if (intervalMs <= 0) {
    const detail = `--experimental-compact-hash-check-time must be >0 (set to ${formatDuration(intervalMs)})`;
    throw new ArgumentError("FLAG_INVALID", detail);
  }
  return enabled ? intervalMs : 0;
}

/** 0 is etcd's way to say: the default. etcd takes a limit below 0, and then its compaction never ends. */
function batchLimitOf(limit: number): number | undefined {
  if (limit < 0) {
    const detail = `--experimental-compaction-batch-limit: ${limit} is below 0: a compaction must look at some revisions`;
    throw new ArgumentError("FLAG_INVALID", detail);
  }
  return positive(limit);
}

/** etcd raises a shorter time to its default. */
const PEER_TIMEOUT_MS_MIN = 5_000;

const STREAMS_DEFAULT = flagDescription("max-concurrent-streams").default;

type Text = (name: FlagName) => string;

const fileOf = (text: Text, name: FlagName): string | undefined =>
  text(name) === "" ? undefined : resolve(text(name));

const listOf = (text: Text, name: FlagName): string[] =>
  text(name)
    .split(",")
    .filter((part) => part !== "");

/** Whether any flag of TLS was given that means something without the others. */
function asksForTls(tls: PeerTls): boolean {
  const { certFile, keyFile, clientCertFile, clientKeyFile, trustedCaFile, clientCertAuth, crlFile, auto } = tls;
  const files = [certFile, keyFile, clientCertFile, clientKeyFile, trustedCaFile, crlFile];
  const rules = [...(tls.allowedCommonNames ?? []), ...(tls.allowedHostnames ?? []), ...(tls.cipherSuites ?? [])];
  const { minVersion, maxVersion, anyClientAddress } = tls;
  const { default: usual } = flagDescription("tls-min-version");
  return (
    [...files, ...rules, maxVersion].some((value) => value !== undefined) ||
    minVersion !== usual ||
    [clientCertAuth, auto, anyClientAddress].includes(true)
  );
}

/** What both ports share. @throws ArgumentError for a version that etcd does not know */
function commonTlsOf(text: Text): PortTlsOptions {
  const minVersion = text("tls-min-version");
  const maxVersion = text("tls-max-version");
  const cipherSuites = listOf(text, "cipher-suites");
  const why = whyVersionsUnfit({ minVersion, maxVersion, cipherSuites });
  if (why !== undefined) {
    throw new ArgumentError("FLAG_INVALID", `${why}: look at --tls-min-version, --tls-max-version and --cipher-suites`);
  }
  const version = (name: string): TlsVersion | undefined => (name === "" ? undefined : (name as TlsVersion));
  return {
    selfSignedValidityYears: Number(text("self-signed-cert-validity")),
    cipherSuites,
    minVersion: version(minVersion),
    maxVersion: version(maxVersion),
  };
}

/** Files of the flags, or none of them all. */
function clientTlsOf(text: Text): ClientTls | undefined {
  const tls: ClientTls = {
    certFile: fileOf(text, "cert-file"),
    keyFile: fileOf(text, "key-file"),
    clientCertFile: fileOf(text, "client-cert-file"),
    clientKeyFile: fileOf(text, "client-key-file"),
    trustedCaFile: fileOf(text, "trusted-ca-file"),
    clientCertAuth: text("client-cert-auth") === "true",
    crlFile: fileOf(text, "client-crl-file"),
    allowedHostnames: listOf(text, "client-cert-allowed-hostname"),
    auto: text("auto-tls") === "true",
    ...commonTlsOf(text),
  };
  return asksForTls(tls) ? tls : undefined;
}

function peerTlsOf(text: Text): PeerTls | undefined {
  const tls: PeerTls = {
    certFile: fileOf(text, "peer-cert-file"),
    keyFile: fileOf(text, "peer-key-file"),
    clientCertFile: fileOf(text, "peer-client-cert-file"),
    clientKeyFile: fileOf(text, "peer-client-key-file"),
    trustedCaFile: fileOf(text, "peer-trusted-ca-file"),
    clientCertAuth: text("peer-client-cert-auth") === "true",
    crlFile: fileOf(text, "peer-crl-file"),
    allowedCommonNames: listOf(text, "peer-cert-allowed-cn"),
    allowedHostnames: listOf(text, "peer-cert-allowed-hostname"),
    anyClientAddress: text("experimental-peer-skip-client-san-verification") === "true",
    auto: text("peer-auto-tls") === "true",
    ...commonTlsOf(text),
  };
  return asksForTls(tls) ? tls : undefined;
}

/** URLs without a path, or `*` for all. */
function originsOf(list: string): string[] {
  return list === "*" ? ["*"] : parseUrls(list, "cors", "tell");
}

function levelOf(level: string): ServerSettings["log"]["level"] {
  switch (level) {
    case "debug":
    case "info":
    case "warn":
    case "error":
      return level;
    case "panic":
    case "fatal":
    case "dpanic":
      return "error"; // nothing here logs above it
    default:
      throw new ArgumentError(
        "FLAG_INVALID",
        `--log-level: "${level}" is none of debug, info, warn, error, panic, fatal`,
      );
  }
}

function formatOf(format: string): ServerSettings["log"]["format"] {
  if (format === "json" || format === "console") return format;
  throw new ArgumentError("FLAG_INVALID", `--log-format: "${format}" is neither json nor console`);
}

/** etcd takes its default for what is 0 or below. */
function positive(value: number | undefined): number | undefined {
  return value !== undefined && value > 0 ? value : undefined;
}

/** Whether this process binds to the URL, or others are told of it. */
type UrlUse = "listen" | "tell";

/** Comma-separated URLs, each once, in the order given. */
function parseUrls(text: string, flag: FlagName, use: UrlUse): string[] {
  const urls = splitUrls(text);
  for (const url of urls) {
    const fault = faultInUrl(url) ?? (use === "listen" ? faultInBinding(url) : faultInTelling(url));
    if (fault !== undefined) throw new ArgumentError("FLAG_INVALID", `--${flag}: "${url}" ${fault}`);
  }
  return [...new Set(urls)];
}

/** etcd's default: this member alone. Only a name of one's own brings the peer URLs along. */
function usualCluster(name: string, peerUrls: readonly string[]): Map<string, readonly string[]> {
  const usual = flagDescription("name").default;
  return name === usual ? new Map([[usual, [PEER_URL_DEFAULT]]]) : new Map([[name, peerUrls]]);
}

const PEER_URL_DEFAULT = flagDescription("initial-advertise-peer-urls").default;

/** `name=URL,name=URL,…`; a name may come more than once. */
function parseInitialCluster(text: string): Map<string, string[]> {
  const cluster = new Map<string, string[]>();
  for (const part of text.split(",").filter((pair) => pair.trim() !== "")) {
    const cut = part.indexOf("=");
    if (cut <= 0) throw new ArgumentError("FLAG_INVALID", `--initial-cluster: "${part}" is not name=URL`);
    const name = part.slice(0, cut).trim();
    cluster.set(name, [...(cluster.get(name) ?? []), ...parseUrls(part.slice(cut + 1), "initial-cluster", "tell")]);
  }
  return cluster;
}
