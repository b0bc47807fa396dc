/**
 * etcd 3.5's server flags: which there are, what they default to, and which of them do something here. A flag that is known and
 * does nothing may be given with its default value; with another one it is refused by name and with the reason, for a server that
 * ignores what it was told is worse than one that does not start.
 */
import { parseDuration } from "./go-values.js";

interface FlagDescription {
  /** A `number` is from 0 on, an `integer` may be negative. */
  readonly kind: "text" | "number" | "integer" | "boolean" | "duration" | "urls" | "list";
  /** As etcd's help shows it; empty where there is none. */
  readonly default: string;
  /** What the help says; undefined marks a flag that does nothing here. */
  readonly help?: string;
  /** The only values there are. */
  readonly choices?: readonly string[];
  /** Why another value than the default is refused, and what to do instead; undefined where `accepted` has all that etcd takes. */
  readonly refusal?: string;
  /** Values that may be given though the flag does nothing here. */
  readonly accepted?: readonly string[];
}

/** For what will not come: other values than the default are refused with this reason. */
const refused = (kind: FlagDescription["kind"], value: string, refusal: string): FlagDescription => ({
  kind,
  default: value,
  refusal,
});

const NO_V2 = "the v2 API is not served (etcd 3.6 has taken it out, too); use clients of v3";
const NO_PROXY = "the v2 proxy is not served; put etcd's grpc-proxy or any gRPC load balancer before the members";
const NO_DISCOVERY =
  "etcd's v2 discovery service is not asked; give the members with --initial-cluster, or by DNS with --discovery-srv";
const NO_TRACING =
  "spans are not exported; slow requests are told in the log (--experimental-warning-apply-duration) and calls are timed with --metrics=extensive";

export const SERVER_FLAGS = {
  name: { kind: "text", default: "default", help: "This member's name." },
  "data-dir": { kind: "text", default: "${name}.etcd", help: "Where the data lies." },
  "wal-dir": { kind: "text", default: "", help: "A folder of its own for the log." },
  "snapshot-count": { kind: "number", default: "100000", help: "Entries between two snapshots." },
  "experimental-snapshot-catchup-entries": {
    kind: "number",
    default: "5000",
    help: "Entries kept behind a snapshot for slow followers.",
  },
  "heartbeat-interval": { kind: "number", default: "100", help: "Milliseconds between heart-beats." },
  "election-timeout": { kind: "number", default: "1000", help: "Milliseconds until an election." },
  "listen-client-urls": {
    kind: "urls",
    default: "http://localhost:2379",
    help: "Where clients are served (http, https, unix or unixs).",
  },
  "listen-client-http-urls": {
    kind: "urls",
    default: "",
    help: "Where HTTP is served apart: gRPC has --listen-client-urls for itself then.",
  },
  "listen-metrics-urls": { kind: "urls", default: "", help: "Where metrics and health are served besides." },
  "listen-peer-urls": {
    kind: "urls",
    default: "http://localhost:2380",
    help: "Where other members are served (http or https).",
  },
  "max-snapshots": { kind: "number", default: "5", help: "Snapshot files to keep; 0 keeps all." },
  "max-wals": { kind: "number", default: "5", help: "Log segments to keep; 0 keeps all." },
  "quota-backend-bytes": { kind: "integer", default: "0", help: "Limit of db's size; 0 is 2 GiB, below 0 none." },
  "backend-batch-interval": { kind: "duration", default: "", help: "Time between two commits to db." },
  "backend-batch-limit": { kind: "integer", default: "0", help: "Writes between two commits to db." },
  "max-txn-ops": { kind: "number", default: "128", help: "Operations in one transaction." },
  "max-request-bytes": { kind: "number", default: "1572864", help: "Largest request." },
  "initial-advertise-peer-urls": { kind: "urls", default: "http://localhost:2380", help: "Peer URLs of this member." },
  "initial-cluster": {
    kind: "text",
    default: "",
    help: "All members of the cluster with their peer URLs, as name=URL,…",
  },
  "discovery-srv": {
    kind: "text",
    default: "",
    help: "Domain whose SRV records name the members of a new cluster, in place of --initial-cluster.",
  },
  "discovery-srv-name": {
    kind: "text",
    default: "",
    help: "Suffix of the records' service: etcd-server-NAME.",
  },
  "initial-cluster-state": { kind: "text", default: "new", choices: ["new", "existing"], help: "new or existing." },
  "initial-cluster-token": { kind: "text", default: "etcd-cluster", help: "Token of a new cluster." },
  "advertise-client-urls": {
    kind: "urls",
    default: "http://localhost:2379",
    help: "Client URLs that others are told.",
  },
  "pre-vote": { kind: "boolean", default: "true", help: "Try an election out before it spends a term." },
  "force-new-cluster": { kind: "boolean", default: "false", help: "Make a cluster of this member alone." },
  "log-level": { kind: "text", default: "info", help: "debug, info, warn, error, panic or fatal." },
  "log-outputs": { kind: "list", default: "default", help: "stderr, stdout, or files." },
  "enable-log-rotation": {
    kind: "boolean",
    default: "false",
    help: "Begin a new log file when the present one is full; with one file among --log-outputs.",
  },
  "log-rotation-config-json": {
    kind: "text",
    default: '{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}',
    help: "MB of a log file, days and number of old ones that are kept (0 for all), stamps in local time, gzip.",
  },
  "enable-pprof": {
    kind: "boolean",
    default: "false",
    help: "Profiles of this process below /debug/pprof/ on the client port, in V8's formats.",
  },
  "unsafe-no-fsync": {
    kind: "boolean",
    default: "false",
    help: "Sync nothing: acknowledged writes are lost with the power. For tests.",
  },
  "experimental-bootstrap-defrag-threshold-megabytes": {
    kind: "number",
    default: "0",
    help: "Defragment db at the start when so much of it is free; 0 for never.",
  },
  "experimental-stop-grpc-service-on-defrag": {
    kind: "boolean",
    default: "false",
    help: "Tell gRPC's health service that this member does not serve while it defragments.",
  },
  "log-format": { kind: "text", default: "json", help: "json or console (a flag of etcd 3.6)." },
  logger: { kind: "text", default: "zap", help: "Only zap, the format of the lines." },
  "config-file": {
    kind: "text",
    default: "",
    help: "etcd's YAML file; other flags and the environment are ignored then.",
  },
  "strict-reconfig-check": {
    kind: "boolean",
    default: "true",
    help: "Refuse changes of members that would lose the quorum.",
  },
  "initial-election-tick-advance": { kind: "boolean", default: "true", help: "Shorten the first election timeout." },
  "raft-read-timeout": { kind: "duration", default: "5s", help: "Silence that ends a peer connection; at least 5s." },
  "raft-write-timeout": { kind: "duration", default: "5s", help: "Time for a write to a peer; at least 5s." },
  "experimental-initial-corrupt-check": {
    kind: "boolean",
    default: "false",
    help: "Compare the keys with the other members' before this one serves.",
  },
  "experimental-corrupt-check-time": {
    kind: "duration",
    default: "0s",
    help: "Time between two comparisons of all members' keys; 0s for none.",
  },
  "experimental-compact-hash-check-enabled": {
    kind: "boolean",
    default: "false",
    help: "Compare what compactions leave with the other members', as leader.",
  },
  "experimental-compact-hash-check-time": {
    kind: "duration",
    default: "1m",
    help: "Time between two such comparisons.",
  },
  "experimental-downgrade-check-time": {
    kind: "duration",
    default: "5s",
    help: "Taken, and without effect: a member of 3.5 that leads cannot see the end of a downgrade to 3.4.",
  },
  "experimental-enable-lease-checkpoint": {
    kind: "boolean",
    default: "false",
    help: "Tell the other members what long leases have left, so that a new leader goes on from there.",
  },
  "experimental-enable-lease-checkpoint-persist": {
    kind: "boolean",
    default: "false",
    help: "Keep that in db, for a restart of all members.",
  },
  "lease-revoke-rate": {
    kind: "number",
    default: "0",
    help: "Leases that ran out and are revoked in a second at most; 0 for no limit (etcd's is 1000, and no flag).",
  },
  "experimental-watch-progress-notify-interval": {
    kind: "duration",
    default: "10m",
    help: "Time after which a watcher is told that nothing has happened; at least 100ms.",
  },
  "auto-compaction-mode": {
    kind: "text",
    default: "periodic",
    help: "periodic keeps a time of history, revision a number of revisions.",
  },
  "auto-compaction-retention": {
    kind: "text",
    default: "0",
    help: "What the leader keeps when it compacts by itself: hours or a duration (periodic), or revisions; 0 for never.",
  },
  "experimental-compaction-batch-limit": {
    kind: "integer",
    default: "1000",
    help: "Revisions that a compaction looks at in one batch.",
  },
  "experimental-compaction-sleep-interval": {
    kind: "duration",
    default: "10ms",
    help: "Rest of a compaction after each batch.",
  },
  metrics: {
    kind: "text",
    default: "basic",
    choices: ["basic", "extensive"],
    help: "basic or extensive: the time that each call takes, too.",
  },
  "experimental-warning-apply-duration": {
    kind: "duration",
    default: "100ms",
    help: "Time after which a request is told in the log as slow.",
  },
  "cert-file": { kind: "text", default: "", help: "Certificate of the client port (PEM), for https and unixs." },
  "key-file": { kind: "text", default: "", help: "Its key." },
  "client-cert-file": { kind: "text", default: "", help: "Certificate for connections to this port (etcd's gateway)." },
  "client-key-file": { kind: "text", default: "", help: "Its key." },
  "client-cert-auth": {
    kind: "boolean",
    default: "false",
    help: "Serve only clients with a certificate; its common name is the user's.",
  },
  "trusted-ca-file": { kind: "text", default: "", help: "Certificates that clients' are checked against." },
  "client-crl-file": { kind: "text", default: "", help: "List of clients' certificates that are revoked." },
  "client-cert-allowed-hostname": {
    kind: "list",
    default: "",
    help: "Host names that a client's certificate may have.",
  },
  "auto-tls": { kind: "boolean", default: "false", help: "A certificate of this member's own making for clients." },
  "self-signed-cert-validity": {
    kind: "number",
    default: "1",
    help: "Years that certificates of its own are good for.",
  },
  "cipher-suites": {
    kind: "list",
    default: "",
    help: "Cipher suites for TLS 1.2 by Go's names; Go's choice when empty.",
  },
  "tls-min-version": { kind: "text", default: "TLS1.2", help: "TLS1.2 or TLS1.3." },
  "tls-max-version": { kind: "text", default: "", help: "TLS1.2 or TLS1.3; the newest when empty." },
  "max-concurrent-streams": {
    kind: "number",
    default: "4294967295",
    help: "Calls under way on one connection; the default stands for Walnut's own limit, 1000.",
  },
  "grpc-keepalive-min-time": { kind: "duration", default: "5s", help: "Shortest time between two pings of a client." },
  "grpc-keepalive-interval": {
    kind: "duration",
    default: "2h",
    help: "Silence after which a client is asked whether it lives.",
  },
  "grpc-keepalive-timeout": { kind: "duration", default: "20s", help: "Time for its answer." },
  "socket-reuse-address": {
    kind: "boolean",
    default: "false",
    help: "Bind an address that is in TIME_WAIT: Node always does.",
  },
  "socket-reuse-port": {
    kind: "boolean",
    default: "false",
    refusal: "not every Node that Walnut runs on can share a port; give each member ports of its own",
  },
  "peer-cert-file": { kind: "text", default: "", help: "Certificate of the peer port (PEM)." },
  "peer-key-file": { kind: "text", default: "", help: "Its key." },
  "peer-client-cert-file": {
    kind: "text",
    default: "",
    help: "Certificate for connections to peers; the peer port's when left out.",
  },
  "peer-client-key-file": { kind: "text", default: "", help: "Its key." },
  "peer-client-cert-auth": { kind: "boolean", default: "false", help: "Serve only peers with a certificate." },
  "peer-trusted-ca-file": { kind: "text", default: "", help: "Certificates that peers' are checked against." },
  "peer-cert-allowed-cn": { kind: "list", default: "", help: "Common names that a peer's certificate may have." },
  "peer-cert-allowed-hostname": { kind: "list", default: "", help: "Host names that a peer's certificate may have." },
  "peer-crl-file": { kind: "text", default: "", help: "List of peers' certificates that are revoked." },
  "experimental-peer-skip-client-san-verification": {
    kind: "boolean",
    default: "false",
    help: "Let a peer's certificate name other addresses than the one it comes from.",
  },
  "peer-auto-tls": { kind: "boolean", default: "false", help: "A certificate of this member's own making." },
  "auth-token": {
    kind: "text",
    default: "simple",
    help: "Tokens of clients: simple, nothing for none, or jwt with its options (pub-key, priv-key, sign-method, ttl).",
  },
  "auth-token-ttl": { kind: "number", default: "300", help: "Seconds that a simple token lives after its last use." },
  "bcrypt-cost": { kind: "number", default: "10", help: "What a password's hash costs: 4 to 31, each twice the last." },
  "enable-grpc-gateway": { kind: "boolean", default: "true", help: "Serve JSON over HTTP below /v3/." },
  cors: { kind: "text", default: "*", help: "Origins whose pages may ask over HTTP, as https://HOST:PORT; * for all." },
  "host-whitelist": {
    kind: "text",
    default: "*",
    help: "Host names under which HTTP is served without TLS; * for all.",
  },
  "backend-bbolt-freelist-type": {
    kind: "text",
    default: "map",
    accepted: ["map", "array"],
  },
  "experimental-txn-mode-write-with-shared-buffer": { kind: "boolean", default: "true", accepted: ["true", "false"] },
  discovery: refused("text", "", NO_DISCOVERY),
  "discovery-fallback": refused("text", "proxy", NO_DISCOVERY),
  "discovery-proxy": refused("text", "", NO_DISCOVERY),
  "enable-v2": refused("boolean", "false", NO_V2),
  "v2-deprecation": refused("text", "not-yet", NO_V2),
  proxy: refused("text", "off", NO_PROXY),
  "proxy-failure-wait": refused("number", "5000", NO_PROXY),
  "proxy-refresh-interval": refused("number", "30000", NO_PROXY),
  "proxy-dial-timeout": refused("number", "1000", NO_PROXY),
  "proxy-write-timeout": refused("number", "5000", NO_PROXY),
  "proxy-read-timeout": refused("number", "0", NO_PROXY),
  "experimental-enable-distributed-tracing": refused("boolean", "false", NO_TRACING),
  "experimental-distributed-tracing-address": refused("text", "localhost:4317", NO_TRACING),
  "experimental-distributed-tracing-service-name": refused("text", "etcd", NO_TRACING),
  "experimental-distributed-tracing-instance-id": refused("text", "", NO_TRACING),
  "experimental-distributed-tracing-sampling-rate": refused("integer", "0", NO_TRACING),
  "experimental-enable-v2v3": refused("text", "", NO_V2),
  "experimental-memory-mlock": refused(
    "boolean",
    "false",
    "db is read through the system's page cache and not mapped, so there is nothing to lock; switch swapping off for the service (systemd: MemorySwapMax=0)",
  ),
} as const satisfies Record<string, FlagDescription>;

export type FlagName = keyof typeof SERVER_FLAGS;

export const flagDescription = (name: FlagName): FlagDescription => SERVER_FLAGS[name];

export function isFlagName(name: string): name is FlagName {
  return Object.hasOwn(SERVER_FLAGS, name);
}

/** Whether the canonical value may be given for this flag: always for a supported one, else only what changes nothing. */
export function isSupported(name: FlagName, value: string): boolean {
  const flag = flagDescription(name);
  if (flag.help !== undefined || value === flag.default) return true;
  if (flag.kind === "duration" && parseDuration(value) === parseDuration(flag.default)) return true;
  return flag.accepted?.includes(value) ?? false;
}
