/** What the flags of a server mean: the member's options, and where it listens and logs. */
import { resolve } from "node:path";
import { defaultOptions, type MemberOptions } from "../../server/options.js";
import { ArgumentError, parseDuration, type GivenFlags } from "./arguments.js";
import { flagDescription, type FlagName } from "./flags.js";

export interface ServerSettings {
  readonly member: MemberOptions;
  readonly listenClientUrls: readonly string[];
  readonly log: {
    readonly level: "debug" | "info" | "warn" | "error";
    readonly format: "json" | "console";
    readonly outputs: readonly string[];
  };
}

export function settingsOf(given: GivenFlags): ServerSettings {
  const text = (name: FlagName): string => given.get(name) ?? flagDescription(name).default;
  const number = (name: FlagName): number => Number(text(name));
  const urls = (name: FlagName): string[] => parseUrls(text(name), `--${name}`);
  const name = text("name");
  const dataDir = resolve(given.get("data-dir") ?? `${name}.etcd`);
  const peerUrls = urls("initial-advertise-peer-urls");
  if (given.has("listen-client-urls") && !given.has("advertise-client-urls")) {
    throw new ArgumentError(
      "FLAG_INVALID",
      "--advertise-client-urls is required when --listen-client-urls is set explicitly: say under which URLs clients reach this member",
    );
  }
  const state = text("initial-cluster-state");
  if (state !== "new" && state !== "existing") {
    throw new ArgumentError("FLAG_INVALID", `--initial-cluster-state: "${state}" is neither "new" nor "existing"`);
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
      advertiseClientUrls: urls("advertise-client-urls"),
      initialCluster: given.has("initial-cluster")
        ? parseInitialCluster(text("initial-cluster"))
        : new Map([[name, peerUrls]]),
      initialClusterState: state,
      initialClusterToken: text("initial-cluster-token"),
      forceNewCluster: text("force-new-cluster") === "true",
      heartbeatMs: number("heartbeat-interval"),
      electionMs: number("election-timeout"),
      preVote: text("pre-vote") === "true",
      snapshotCount: number("snapshot-count") === 0 ? defaults.snapshotCount : number("snapshot-count"),
      catchUpEntries: number("experimental-snapshot-catchup-entries"),
      snapshotsKept: number("max-snapshots"),
      segmentsKept: number("max-wals"),
      quotaBytes: number("quota-backend-bytes"),
      requestBytesMax: number("max-request-bytes"),
      txnOperationsMax: number("max-txn-ops"),
      batchIntervalMs: parseDuration(text("backend-batch-interval")) || defaults.batchIntervalMs,
      batchWritesMax: number("backend-batch-limit") || defaults.batchWritesMax,
    },
    listenClientUrls: urls("listen-client-urls"),
    log: {
      level: levelOf(text("log-level")),
      format: formatOf(text("log-format")),
      outputs: text("log-outputs").split(","),
    },
  };
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

/** Comma-separated URLs with a host and a port, and nothing behind them. */
function parseUrls(text: string, flag: string): string[] {
  const urls = text.split(",").map((url) => url.trim());
  for (const url of urls) {
    const refuse = (why: string): never => {
      throw new ArgumentError("FLAG_INVALID", `${flag}: "${url}" ${why}`);
    };
    const match = /^(https?|unixs?):\/\/([^/?#]*)(.*)$/.exec(url);
    if (match === null) refuse("must start with http://, https://, unix:// or unixs://");
    const [, scheme, host, rest] = match as unknown as [string, string, string, string];
    if (scheme.startsWith("unix")) continue;
    if (!/:\d+$/.test(host)) refuse("must have a port, as http://127.0.0.1:2379");
    if (rest !== "" && rest !== "/") refuse("must not have a path");
  }
  return urls;
}

/** `name=URL,name=URL,…`; a name may come more than once. */
function parseInitialCluster(text: string): Map<string, string[]> {
  const cluster = new Map<string, string[]>();
  for (const part of text.split(",")) {
    const cut = part.indexOf("=");
    if (cut <= 0) throw new ArgumentError("FLAG_INVALID", `--initial-cluster: "${part}" is not name=URL`);
    const name = part.slice(0, cut).trim();
    cluster.set(name, [...(cluster.get(name) ?? []), ...parseUrls(part.slice(cut + 1), "--initial-cluster")]);
  }
  return cluster;
}
