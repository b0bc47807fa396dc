/**
 * Walnut in a Node program: a member and its client port, started and stopped by the program.
 *
 *     const walnut = await Walnut.start({ dataDir: "/var/lib/app/etcd" });
 *     console.log(walnut.clientUrls);            // http://127.0.0.1:41273
 *     await walnut.member.put({ ... });          // or any etcd client, at those URLs
 *     await walnut.stop();
 */
import { setInterval, clearInterval } from "node:timers";
import { resolve } from "node:path";
import { type ClientHttpOptions, profileEndpoints, PrometheusMetrics, ServingState, SlowCalls } from "../api/index.js";
import { BCRYPT_COST, openCredentials, type CredentialsOptions } from "../credentials/index.js";
import type { HttpHandler, SharedPort } from "../grpc/index.js";
import type { Log, Platform } from "../platform/index.js";
import { nodePlatform, type NodePlatformOptions } from "../platform/node/index.js";
import { silentLog } from "../platform/log.js";
import { BoundClientPorts, checkClientPorts, type ClientLimits } from "./client-ports.js";
import { checkPeerPort, openPeerPort, type PeerTimeouts } from "./peer-port.js";
import { type ClientTls, makesItsOwn, type PeerTls } from "./tls.js";
import { PEER_METRICS } from "../peer/index.js";
import { defaultOptions, Member, METRICS, type BootProgress, type MemberOptions } from "../server/index.js";

/** Calls that are under way when a member stops may take this long to end. */
const GRACE_MS = 5_000;
/** The longest timer that Node takes: only there to keep the process alive while a member boots. */
const NEVER_MS = 2 ** 31 - 1;

const AUTH_DEFAULTS: CredentialsOptions = { authToken: "simple", authTokenTtlSeconds: 300, bcryptCost: BCRYPT_COST };

export interface WalnutOptions {
  /** A folder of this member's own; made when it is missing. */
  readonly dataDir: string;
  /** `http://HOST:PORT` or `unix://PATH`; `https` or `unixs` over TLS. Port 0 lets the system choose; `http://127.0.0.1:0` when left out. */
  readonly listenClientUrls?: readonly string[];
  /** Where HTTP is served, when gRPC is to have the client URLs for itself. */
  readonly listenClientHttpUrls?: readonly string[];
  /** Where metrics and health are served besides. */
  readonly listenMetricsUrls?: readonly string[];
  /** TLS for clients: for https and unixs URLs. */
  readonly clientTls?: ClientTls | undefined;
  readonly clientLimits?: ClientLimits | undefined;
  /** What other clients are told; the URLs that are listened on when left out. */
  readonly advertiseClientUrls?: readonly string[];
  /** Where other members are served, `http://HOST:PORT` or `https://HOST:PORT`; no peer port when left out. */
  readonly listenPeerUrls?: readonly string[];
  /** TLS between members: for https peer URLs. */
  readonly peerTls?: PeerTls | undefined;
  readonly peerTimeouts?: PeerTimeouts;
  /** How tokens and passwords are made: etcd's `--auth-token`, `--auth-token-ttl` and `--bcrypt-cost`, and its defaults. */
  readonly auth?: Partial<CredentialsOptions>;
  /** The JSON gateway, and who may ask over HTTP: etcd's `--enable-grpc-gateway`, `--cors`, `--host-whitelist`, and its defaults. */
  readonly http?: Partial<ClientHttpOptions>;
  /** Everything else that a member can be told: etcd's flags. */
  readonly member?: Partial<Omit<MemberOptions, "dataDir" | "advertiseClientUrls">>;
  /** `"silent"`, how lines are written, or a log of your own; silent when left out. */
  readonly log?: "silent" | NonNullable<NodePlatformOptions["log"]> | { readonly custom: Log };
  /** Nothing is synced: acknowledged writes are lost with the power (etcd's `--unsafe-no-fsync`). For tests. */
  readonly unsafeNoFsync?: boolean;
  /** Profiles of this process below `/debug/pprof/` on the client port (etcd's `--enable-pprof`). */
  readonly enablePprof?: boolean;
  /** The health service says NOT_SERVING while the member defragments (etcd's `--experimental-stop-grpc-service-on-defrag`). */
  readonly stopServiceOnDefragmentation?: boolean;
  /** Another world than Node's: for tests. */
  readonly platform?: Platform;
  /** Figures of this process among the metrics: for a process that is a server and nothing else. */
  readonly processMetrics?: boolean;
  /** How long calls took among the metrics (etcd's `--metrics extensive`). */
  readonly extensiveMetrics?: boolean;
  readonly onBootProgress?: (progress: BootProgress) => void;
  /** The member has failed: its disk, or a law of its own. It acknowledges nothing any more; stop it, and end the process. */
  readonly onFailure?: (error: unknown) => void;
}

type ServedUrls = Pick<BoundClientPorts, "clientUrls" | "httpUrls" | "metricsUrls">;

export class Walnut {
  readonly member: Member;
  /** Where clients are served, with the ports that the system chose. */
  readonly clientUrls: readonly string[];
  /** Where HTTP is served apart from gRPC; none where it shares the client URLs. */
  readonly clientHttpUrls: readonly string[];
  readonly metricsUrls: readonly string[];
  readonly #ports: readonly SharedPort[];
  #stopping: Promise<void> | undefined;

  private constructor(member: Member, ports: readonly SharedPort[], urls: ServedUrls) {
    this.member = member;
    this.#ports = ports;
    this.clientUrls = urls.clientUrls;
    this.clientHttpUrls = urls.httpUrls;
    this.metricsUrls = urls.metricsUrls;
  }

  /**
   * Boots a member and serves clients. Resolves when it answers.
   *
   * @throws MemberError, or the error of the room that refused: nothing is left open then
   */
  static async start(options: WalnutOptions): Promise<Walnut> {
    // Until a port listens nothing else holds the loop: a process must not end in the middle of its boot.
    const alive = setInterval(() => undefined, NEVER_MS);
    try {
      return await start(options, (...parts) => new Walnut(...parts));
    } finally {
      clearInterval(alive);
    }
  }

  /** Lets calls under way end, commits, and closes everything. A second call waits for the first. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    const alive = setInterval(() => undefined, NEVER_MS);
    try {
      await this.member.resign(); // first, while clients are served: they hardly notice
      this.member.endStreams(); // these would use the grace up, and their clients go on elsewhere
      await Promise.all(this.#ports.map((port) => port.stop(GRACE_MS)));
      await this.member.stop();
    } finally {
      clearInterval(alive);
    }
  }
}

async function start(
  options: WalnutOptions,
  make: (member: Member, ports: readonly SharedPort[], urls: ServedUrls) => Walnut,
): Promise<Walnut> {
  const platform = options.platform ?? platformOf(options.log, options.unsafeNoFsync ?? false);
  if (options.unsafeNoFsync === true) {
    platform.log.warn("nothing is synced to the disk: acknowledged writes are lost when the power fails", {
      flag: "unsafe-no-fsync",
    });
  }
  const clientOptions = {
    listenClientUrls: options.listenClientUrls ?? ["http://127.0.0.1:0"],
    listenClientHttpUrls: options.listenClientHttpUrls ?? [],
    listenMetricsUrls: options.listenMetricsUrls ?? [],
    clientTls: options.clientTls,
    clientLimits: options.clientLimits,
    http: options.http,
    servesPeers: (options.listenPeerUrls ?? []).length > 0,
  };
  checkClientPorts(clientOptions);
  checkPeerPort({ listenPeerUrls: options.listenPeerUrls ?? [], peerTls: options.peerTls });
  const defaults = defaultOptions(resolve(options.dataDir));
  const name = options.member?.name ?? defaults.name;
  const metrics = new PrometheusMetrics({
    processFigures: options.processMetrics ?? false,
    extensive: options.extensiveMetrics ?? false,
    figures: { ...METRICS, ...PEER_METRICS },
  });
  const credentials = await openCredentials(platform, { ...AUTH_DEFAULTS, ...options.auth });
  // The ports come first, as in etcd: when one is taken, nothing is made on the disk.
  const peerPort = await openPeerPort(
    {
      listenPeerUrls: options.listenPeerUrls ?? [],
      peerTls: options.peerTls,
      peerTimeouts: options.peerTimeouts,
      dataDir: defaults.dataDir,
    },
    options.member?.initialAdvertisePeerUrls,
    { ...platform, metrics },
  );
  let bound: BoundClientPorts | undefined;
  let member: Member;
  try {
    bound = await BoundClientPorts.bind(clientOptions, defaults.dataDir, platform);
    const peerUrls = options.member?.initialAdvertisePeerUrls ?? peerPort?.urls ?? defaults.initialAdvertisePeerUrls;
    const memberOptions: MemberOptions = {
      ...defaults,
      initialCluster: new Map([[name, peerUrls]]),
      initialAdvertisePeerUrls: peerUrls,
      ...options.member,
      clientCertAuth: namesUsersByCertificate(options),
      advertiseClientUrls: options.advertiseClientUrls ?? bound.clientUrls,
    };
    const peers = peerPort === undefined ? {} : { peers: peerPort.door };
    member = await Member.start({ platform, metrics, credentials, ...peers }, memberOptions, {
      onFailure: (error) => options.onFailure?.(error),
      ...(options.onBootProgress === undefined ? {} : { onBootProgress: options.onBootProgress }),
    });
  } catch (error) {
    await bound?.close();
    await peerPort?.door.close();
    throw error;
  }
  const exposition = (): ReturnType<PrometheusMetrics["exposition"]> => metrics.exposition();
  const observer = new SlowCalls(metrics, platform);
  const showTraffic = metrics.show.bind(metrics);
  const serving = new ServingState(platform.log, options.stopServiceOnDefragmentation ?? false);
  const profiles = options.enablePprof === true ? profileEndpoints() : new Map<string, HttpHandler>();
  const shared = { clock: platform.clock, member, metrics, exposition, observer, showTraffic };
  const dependencies = { ...shared, serving, moreEndpoints: profiles };
  return make(member, bound.serve(dependencies), bound);
}

/** A certificate of the member's own making asks for none of its clients'. */
function namesUsersByCertificate({ clientTls, member }: WalnutOptions): boolean {
  if (clientTls?.clientCertAuth !== true) return member?.clientCertAuth ?? false;
  return !makesItsOwn(clientTls);
}

function platformOf(log: WalnutOptions["log"], unsafeNoFsync: boolean): Platform {
  if (log === undefined || log === "silent") return { ...nodePlatform({ unsafeNoFsync }), log: silentLog };
  if ("custom" in log) return { ...nodePlatform({ unsafeNoFsync }), log: log.custom };
  return nodePlatform({ log, unsafeNoFsync });
}
