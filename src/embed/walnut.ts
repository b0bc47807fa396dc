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
import {
  CLIENT_HTTP_DEFAULTS,
  type ClientHttpOptions,
  PrometheusMetrics,
  serveClientPort,
  SlowCalls,
} from "../api/index.js";
import { BCRYPT_COST, openCredentials, type CredentialsOptions } from "../credentials/index.js";
import { BoundPort, type SharedPort } from "../grpc/index.js";
import type { Address, Log, Platform } from "../platform/index.js";
import { nodePlatform, type NodePlatformOptions } from "../platform/node/index.js";
import { silentLog } from "../platform/log.js";
import { checkPeerPort, openPeerPort, type PeerTimeouts, type PeerTls } from "./peer-port.js";
import { PEER_METRICS } from "../peer/index.js";
import {
  defaultOptions,
  Member,
  MemberError,
  METRICS,
  type BootProgress,
  type MemberOptions,
} from "../server/index.js";

/** Calls that are under way when a member stops may take this long to end. */
const GRACE_MS = 5_000;
/** The longest timer that Node takes: only there to keep the process alive while a member boots. */
const NEVER_MS = 2 ** 31 - 1;

const AUTH_DEFAULTS: CredentialsOptions = { authToken: "simple", authTokenTtlSeconds: 300, bcryptCost: BCRYPT_COST };

export interface WalnutOptions {
  /** A folder of this member's own; made when it is missing. */
  readonly dataDir: string;
  /** `http://HOST:PORT`, or `unix://PATH`. Port 0 lets the system choose; `http://127.0.0.1:0` when left out. */
  readonly listenClientUrls?: readonly string[];
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

export class Walnut {
  readonly member: Member;
  /** Where clients are served, with the ports that the system chose. */
  readonly clientUrls: readonly string[];
  readonly #ports: readonly SharedPort[];
  #stopping: Promise<void> | undefined;

  private constructor(member: Member, ports: readonly SharedPort[], clientUrls: readonly string[]) {
    this.member = member;
    this.#ports = ports;
    this.clientUrls = clientUrls;
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
      return await start(options, (member, ports, urls) => new Walnut(member, ports, urls));
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
  make: (member: Member, ports: readonly SharedPort[], urls: readonly string[]) => Walnut,
): Promise<Walnut> {
  const platform = options.platform ?? platformOf(options.log);
  const listenUrls = options.listenClientUrls ?? ["http://127.0.0.1:0"];
  const addresses = listenUrls.map(addressOf);
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
  let bound: BoundPort[] = [];
  let urls: readonly string[];
  let member: Member;
  try {
    bound = await bindAll(addresses);
    urls = bound.map((port) => urlOf(port.address));
    const peerUrls = options.member?.initialAdvertisePeerUrls ?? peerPort?.urls ?? defaults.initialAdvertisePeerUrls;
    const memberOptions: MemberOptions = {
      ...defaults,
      initialCluster: new Map([[name, peerUrls]]),
      initialAdvertisePeerUrls: peerUrls,
      ...options.member,
      advertiseClientUrls: options.advertiseClientUrls ?? urls,
    };
    const peers = peerPort === undefined ? {} : { peers: peerPort.door };
    member = await Member.start({ platform, metrics, credentials, ...peers }, memberOptions, {
      onFailure: (error) => options.onFailure?.(error),
      ...(options.onBootProgress === undefined ? {} : { onBootProgress: options.onBootProgress }),
    });
  } catch (error) {
    await closeAll(bound);
    await peerPort?.door.close();
    throw error;
  }
  const exposition = (): ReturnType<PrometheusMetrics["exposition"]> => metrics.exposition();
  const observer = new SlowCalls(metrics, platform);
  const showTraffic = metrics.show.bind(metrics);
  const dependencies = { clock: platform.clock, member, metrics, exposition, observer, showTraffic };
  const http = { ...CLIENT_HTTP_DEFAULTS, ...options.http };
  const ports = bound.map((port) => serveClientPort(port, dependencies, {}, http));
  platform.log.info("ready to serve client requests");
  for (const url of urls) {
    platform.log.info("serving client traffic insecurely; this is strongly discouraged!", { address: url });
  }
  return make(member, ports, urls);
}

async function bindAll(addresses: readonly Address[]): Promise<BoundPort[]> {
  const bound: BoundPort[] = [];
  try {
    for (const address of addresses) bound.push(await BoundPort.bind(address));
  } catch (error) {
    await closeAll(bound);
    throw error;
  }
  return bound;
}

async function closeAll(ports: readonly BoundPort[]): Promise<void> {
  await Promise.all(ports.map((port) => port.close()));
}

function platformOf(log: WalnutOptions["log"]): Platform {
  if (log === undefined || log === "silent") return { ...nodePlatform(), log: silentLog };
  if ("custom" in log) return { ...nodePlatform(), log: log.custom };
  return nodePlatform({ log });
}

/** Go resolves localhost to IPv4 first, and so do etcd's users. */
const LOCALHOST = "127.0.0.1";

function addressOf(url: string): Address {
  if (url.startsWith("unix://")) return { kind: "unix", path: url.slice("unix://".length) };
  const match = /^http:\/\/(\[[^\]]+\]|[^/:]*):(\d+)\/?$/.exec(url);
  if (match === null) {
    throw new MemberError(
      "OPTIONS_INVALID",
      `--listen-client-urls: "${url}" cannot be served; give http://HOST:PORT or unix://PATH (TLS is not supported yet)`,
    );
  }
  const host = match[1]!.replace(/^\[|\]$/g, "");
  return { kind: "tcp", host: host === "localhost" ? LOCALHOST : host === "" ? "::" : host, port: Number(match[2]) };
}

function urlOf(address: Address): string {
  if (address.kind === "unix") return `unix://${address.path}`;
  return `http://${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`;
}
