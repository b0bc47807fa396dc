/**
 * Where a member in this process is reached by clients: gRPC and HTTP on the same addresses or on separate ones, metrics on some of their
 * own, each plain or over TLS. All of it is checked before anything is opened; ports are bound before there is a member to serve, and who
 * comes meanwhile waits.
 *
 * Law: URLs with the same host and port are one port. Given as http and as https it serves both, and looks at the first byte.
 */
import {
  type ClientHttpOptions,
  type ClientPortDependencies,
  type ClientPortOptions,
  type ClientTraffic,
  serveClientPort,
  serveMetricsPort,
} from "../api/index.js";
import { FILES_RESERVED, PEER_CONNECTIONS_MAX } from "../base/limits.js";
import { BoundPort, type PortLimits, type PortTls, type SharedPort } from "../grpc/index.js";
import type { Address, Log, Platform } from "../platform/index.js";
import { openFilesMax } from "../platform/node/index.js";
import { loadTls, logRefusal, type TlsSettings, whyNoHttp2 } from "../tls/index.js";
import { checkCommon, type ClientTls, makesItsOwn, refuseOptions, tlsSettings } from "./tls.js";

/** What clients may do on a connection: etcd's flags of these names. */
export interface ClientLimits {
  /** Calls under way on one connection; Walnut's own limit when left out. */
  readonly maxConcurrentStreams?: number | undefined;
  /** Shortest time between two pings of a client; 0 for gRPC's own, five minutes. */
  readonly keepAliveMinMs?: number | undefined;
  /** A connection this long without traffic is asked whether it lives, and closed without an answer in time; both at their defaults where one is 0. */
  readonly keepAliveIntervalMs?: number | undefined;
  readonly keepAliveTimeoutMs?: number | undefined;
}

export interface ClientPortsOptions {
  /** `http://HOST:PORT`, `https://HOST:PORT`, `unix://PATH` or `unixs://PATH`. */
  readonly listenClientUrls: readonly string[];
  /** Where there are any, HTTP is served at these alone, and gRPC at the others. */
  readonly listenClientHttpUrls: readonly string[];
  readonly listenMetricsUrls: readonly string[];
  readonly clientTls: ClientTls | undefined;
  readonly clientLimits: ClientLimits | undefined;
  /** The gateway, and who may ask over HTTP. */
  readonly http: Partial<ClientHttpOptions> | undefined;
  /** Whether other members have connections of this process, too. */
  readonly servesPeers: boolean;
}

/** A port, and which URLs it stands for. */
interface Place {
  readonly address: Address;
  readonly urls: readonly ClientUrl[];
  readonly traffic: ClientTraffic | "metrics";
}

interface ClientUrl {
  readonly flag: string;
  readonly text: string;
  readonly secure: boolean;
  /** Host and port, or the path: what makes two URLs one port. */
  readonly place: string;
  /** Without the port and IPv6's brackets; empty for a unix socket. */
  readonly host: string;
  readonly address: Address;
}

/**
 * What etcd refuses of them at its start.
 *
 * @throws MemberError `OPTIONS_INVALID`, TlsError `TLS_INVALID`
 */
export function checkClientPorts(options: ClientPortsOptions): void {
  const { clientTls = {} } = options;
  const { certFile, keyFile, clientCertFile, clientKeyFile, cipherSuites = [] } = clientTls;
  const places = placesOf(options);
  const urls = places.flatMap((place) => place.urls);
  checkCommon(clientTls);
  const secure = urls.find((url) => url.secure);
  if (secure === undefined) return; // etcd looks at no file then
  if (!makesItsOwn(clientTls) && certFile === undefined && keyFile === undefined) {
    refuseOptions(
      `${secure.flag}: TLS key/cert (--cert-file, --key-file) must be provided for client url ${secure.text} with HTTPS scheme (or --auto-tls)`,
    );
  }
  if ((certFile === undefined) !== (keyFile === undefined)) {
    refuseOptions("--cert-file and --key-file go together: give both or none");
  }
  if ((clientCertFile === undefined) !== (clientKeyFile === undefined)) {
    refuseOptions("--client-cert-file and --client-key-file go together: give both or none");
  }
  // Go's server of gRPC alone does not ask; neither does its server of metrics.
  const speaksHttp = places.some((place) => isSecure(place) && /http/.test(place.traffic));
  const why = speaksHttp ? whyNoHttp2(cipherSuites) : undefined;
  if (why !== undefined) refuseOptions(`--cipher-suites: ${why}`);
}

/** @throws MemberError `OPTIONS_INVALID` for a URL that cannot be served */
function placesOf(options: ClientPortsOptions): Place[] {
  const { listenClientUrls, listenClientHttpUrls, listenMetricsUrls } = options;
  const split = listenClientHttpUrls.length > 0;
  const clients = group("--listen-client-urls", listenClientUrls, split ? "grpc" : "grpc+http");
  const http = group("--listen-client-http-urls", listenClientHttpUrls, "http");
  const both = http.find((one) => clients.some((other) => isSamePort(one, other)));
  if (both !== undefined) {
    refuseOptions(
      `cannot bind both --listen-client-urls and --listen-client-http-urls on the same url ${both.urls[0]!.text}: give HTTP a port of its own`,
    );
  }
  return [...clients, ...http, ...group("--listen-metrics-urls", listenMetricsUrls, "metrics")];
}

/** A port that the system chooses is never another's. */
function isSamePort(one: Place, other: Place): boolean {
  return one.urls[0]!.place === other.urls[0]!.place && !(one.address.kind === "tcp" && one.address.port === 0);
}

function group(flag: string, texts: readonly string[], traffic: Place["traffic"]): Place[] {
  const byPlace = new Map<string, ClientUrl[]>();
  for (const url of texts.map((text) => parse(flag, text))) {
    byPlace.set(url.place, [...(byPlace.get(url.place) ?? []), url]);
  }
  return [...byPlace.values()].map((urls) => ({ address: urls[0]!.address, urls, traffic }));
}

/** Go resolves localhost to IPv4 first, and so do etcd's users. */
const LOCALHOST = "127.0.0.1";

function parse(flag: string, text: string): ClientUrl {
  const unix = /^(unixs?):\/\/(.+)$/.exec(text);
  if (unix !== null) {
    const [, scheme, path] = unix as unknown as [string, string, string];
    return { flag, text, secure: scheme === "unixs", place: path, host: "", address: { kind: "unix", path } };
  }
  const match = /^(https?):\/\/(\[[^\]]+\]|[^/:]*):(\d+)\/?$/.exec(text);
  if (match === null) {
    refuseOptions(`${flag}: "${text}" cannot be served; give http(s)://HOST:PORT or unix(s)://PATH`);
  }
  const [, scheme, shown, port] = match as unknown as [string, string, string, string];
  const host = shown.replace(/^\[|\]$/g, "");
  const bound = host === "localhost" ? LOCALHOST : host === "" ? "::" : host;
  return {
    flag,
    text,
    secure: scheme === "https",
    place: `${shown}:${port}`,
    host,
    address: { kind: "tcp", host: bound, port: Number(port) },
  };
}

/** As a log and other programs write it. */
function addressText(address: Address): string {
  if (address.kind === "unix") return address.path;
  return `${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`;
}

function urlText({ secure }: ClientUrl, address: Address): string {
  const scheme = address.kind === "unix" ? "unix" : "http";
  return `${scheme}${secure ? "s" : ""}://${addressText(address)}`;
}

interface BoundPlace extends Place {
  readonly port: BoundPort;
}

/** Ports that are bound, and serve nobody yet. */
export class BoundClientPorts {
  /** Where gRPC will be served, with the ports that the system chose. */
  readonly clientUrls: readonly string[];
  readonly httpUrls: readonly string[];
  readonly metricsUrls: readonly string[];
  readonly #places: readonly BoundPlace[];
  readonly #clientTls: PortTls | undefined;
  readonly #metricsTls: PortTls | undefined;
  readonly #options: ClientPortsOptions;
  readonly #log: Log;

  private constructor(
    options: ClientPortsOptions,
    places: readonly BoundPlace[],
    tls: TlsSettings | undefined,
    log: Log,
  ) {
    this.#options = options;
    this.#places = places;
    this.#log = log;
    if (tls !== undefined) {
      // A client's certificate may be for any address; that of one that asks for metrics belongs to where it comes from, as a member's.
      this.#clientTls = portTls({ ...tls, anyClientAddress: true }, log);
      if (places.some((place) => place.traffic === "metrics" && isSecure(place))) this.#metricsTls = portTls(tls, log);
    }
    const urlsOf = (traffics: readonly Place["traffic"][]): string[] =>
      places
        .filter(({ traffic }) => traffics.includes(traffic))
        .flatMap(({ urls, port }) => urls.map((url) => urlText(url, port.address)));
    this.clientUrls = urlsOf(["grpc+http", "grpc"]);
    this.httpUrls = urlsOf(["http"]);
    this.metricsUrls = urlsOf(["metrics"]);
  }

  /** @throws PortError, TlsError, DiskError; nothing is left open then */
  static async bind(options: ClientPortsOptions, dataDir: string, platform: Platform): Promise<BoundClientPorts> {
    const bound: BoundPlace[] = [];
    try {
      const places = placesOf(options);
      const limits = connectionLimits(places.length, options.servesPeers, platform);
      for (const place of places) bound.push({ ...place, port: await BoundPort.bind(place.address, limits) });
      const tls = await settingsOf(options, dataDir, platform);
      return new BoundClientPorts(options, bound, tls, platform.log);
    } catch (error) {
      await closeAll(bound);
      throw error;
    }
  }

  /** Serves who waited and who comes. This object is used up then. */
  serve(dependencies: ClientPortDependencies): SharedPort[] {
    const { http, clientLimits } = this.#options;
    const limits = limitsOf(clientLimits);
    return this.#places.map((place) => {
      const { port, urls, traffic } = place;
      const secure = isSecure(place);
      const plainToo = urls.some((url) => !url.secure);
      if (traffic === "metrics") {
        for (const { text } of urls) this.#log.info("serving metrics", { address: text });
        return serveMetricsPort(port, dependencies, { tls: secure ? this.#metricsTls : undefined, plainToo });
      }
      const tls = secure ? this.#clientTls : undefined;
      const served = serveClientPort(port, dependencies, { ...limits, traffic, http, tls, plainToo });
      this.#log.info("ready to serve client requests");
      const where = { traffic, address: addressText(port.address) };
      if (plainToo) this.#log.info("serving client traffic insecurely; this is strongly discouraged!", where);
      if (secure) this.#log.info("serving client traffic securely", where);
      return served;
    });
  }

  async close(): Promise<void> {
    await closeAll(this.#places);
  }
}

/** Between two warnings that connections are turned away. */
const TOLD_EVERY_MS = 60_000;
/** Of the files that may be open, where the reserve is nearly all of them. */
const SHARE_MIN = 1 / 4;

/** What one of so many ports may hold, so that the member always has files for its log and for other members. */
function connectionLimits(ports: number, servesPeers: boolean, { clock, log }: Platform): PortLimits {
  const filesMax = openFilesMax();
  if (filesMax === undefined) return {};
  const reserved = FILES_RESERVED + (servesPeers ? PEER_CONNECTIONS_MAX : 0);
  const connectionsMax = Math.max(1, Math.floor(Math.max(filesMax - reserved, filesMax * SHARE_MIN) / ports));
  let toldAt = -Infinity;
  const onFull = (): void => {
    if (clock.now() - toldAt < TOLD_EVERY_MS) return;
    toldAt = clock.now();
    log.warn(
      "connections of clients are turned away: there are as many as the limit of open files allows (ulimit -n)",
      {
        "max-connections": connectionsMax,
      },
    );
  };
  return { connectionsMax, onFull };
}

const isSecure = ({ urls }: Place): boolean => urls.some((url) => url.secure);

async function closeAll(places: readonly BoundPlace[]): Promise<void> {
  await Promise.all(places.map(({ port }) => port.close()));
}

/** Undefined where no URL asks for TLS: files that are given then are not looked at, as in etcd. */
async function settingsOf(
  options: ClientPortsOptions,
  dataDir: string,
  platform: Platform,
): Promise<TlsSettings | undefined> {
  const { clientTls = {} } = options;
  const urls = placesOf(options).flatMap((place) => place.urls);
  const given = clientTls.certFile !== undefined || clientTls.keyFile !== undefined;
  for (const { text } of urls.filter(({ secure, flag }) => !secure && flag !== "--listen-metrics-urls")) {
    const fields = { "client-url": text };
    if (given) platform.log.warn(`${PLAIN} while key and cert files are present; ignoring key and cert files`, fields);
    if (clientTls.clientCertAuth === true) {
      platform.log.warn(`${PLAIN} while --client-cert-auth is enabled; ignoring client cert auth for this URL`, fields);
    }
  }
  if (!urls.some(({ secure }) => secure)) return undefined;
  if (given && clientTls.auto === true) platform.log.warn("ignoring client auto TLS since certs given");
  const hosts = urls.map(({ host }) => host).filter((host) => host !== "");
  return tlsSettings(clientTls, { dataDir, port: "client", hosts }, platform);
}

const PLAIN = "scheme is http or unix";

function portTls(settings: TlsSettings, log: Log): PortTls {
  const { server } = loadTls(settings, log);
  return {
    options: () => server.options(),
    refresh: (listening) => server.refresh(listening),
    whyRefused: (socket) => server.whyRefused(socket),
    commonName: (socket) => server.commonName(socket),
    refused: (socket, why) => logRefusal(log, "rejected connection on client endpoint", socket, why),
  };
}

/** gRPC's own rule where etcd sets none. */
const KEEP_ALIVE_MIN_MS = 300_000;

/** A time of 0 is no time: etcd leaves the matter to gRPC then. */
function limitsOf({
  maxConcurrentStreams,
  keepAliveMinMs,
  keepAliveIntervalMs,
  keepAliveTimeoutMs,
}: ClientLimits = {}): ClientPortOptions {
  const asked = keepAliveIntervalMs !== undefined && keepAliveTimeoutMs !== undefined;
  return {
    ...(maxConcurrentStreams === undefined ? {} : { streamsMax: maxConcurrentStreams }),
    ...(keepAliveMinMs === undefined ? {} : { pingGapMsMin: keepAliveMinMs > 0 ? keepAliveMinMs : KEEP_ALIVE_MIN_MS }),
    ...(asked && keepAliveIntervalMs > 0 && keepAliveTimeoutMs > 0
      ? { keepAliveMs: keepAliveIntervalMs, keepAliveTimeoutMs }
      : {}),
  };
}
