/** The ports of a member for clients: the services and the HTTP answers on one address or on two, and metrics on one of their own. */
import { REQUEST_OVERHEAD_BYTES } from "../base/limits.js";
import {
  BoundPort,
  type CallObserver,
  GRPC_SERVER_DEFAULTS,
  GrpcServer,
  type HandlerTable,
  type HttpHandler,
  HttpServer,
  type PortTls,
  type SharedPort,
  type Traffic,
} from "../grpc/index.js";
import type { GrpcServerOptions } from "../grpc/server.js";
import { Gateway, GatewaySockets } from "../gateway/index.js";
import type { Clock } from "../platform/clock.js";
import type { Address } from "../platform/network.js";
import type { MemberService } from "../server/contract.js";
import type { Metrics } from "../server/metrics.js";
import { ACCESS_CONTROL_DEFAULTS, type AccessControl, createGate } from "./access-control.js";
import { toClientError } from "./errors.js";
import { createHttpTable, createMetricsTable, type HttpDependencies } from "./http.js";
import { createHandlers } from "./services.js";
import type { ServingState } from "./serving-state.js";

export interface ClientPortDependencies {
  readonly clock: Clock;
  readonly member: MemberService;
  readonly metrics: Metrics;
  readonly exposition: HttpDependencies["exposition"];
  readonly observer?: CallObserver;
  readonly serving?: ServingState;
  /** Answers over plain HTTP beside etcd's usual ones, by path. */
  readonly moreEndpoints?: ReadonlyMap<string, HttpHandler>;
  /** Given what the port's calls carry, which goes on counting. */
  readonly showTraffic?: (traffic: Readonly<Traffic>) => void;
}

/** What clients are served over HTTP, beside gRPC. */
export interface ClientHttpOptions extends AccessControl {
  /** etcd's `--enable-grpc-gateway`. */
  readonly gateway: boolean;
}

export const CLIENT_HTTP_DEFAULTS: ClientHttpOptions = { ...ACCESS_CONTROL_DEFAULTS, gateway: true };

/** What a port serves: both, or one of them where HTTP has addresses of its own (`--listen-client-http-urls`). */
export type ClientTraffic = "grpc+http" | "grpc" | "http";

export interface ClientPortOptions extends Partial<GrpcServerOptions> {
  /** Both when left out. */
  readonly traffic?: ClientTraffic;
  /** What is left out is etcd's default. */
  readonly http?: Partial<ClientHttpOptions> | undefined;
  readonly tls?: PortTls | undefined;
  /** Serves clients without TLS beside those with it. */
  readonly plainToo?: boolean;
}

type Secure = Pick<ClientPortOptions, "tls" | "plainToo">;

/**
 * Opens an address for clients. Stop it with `stop(graceMs)`; where it listens is in `address`.
 *
 * @throws PortError when the address cannot be used
 */
export async function openClientPort(
  address: Address,
  dependencies: ClientPortDependencies,
  options: ClientPortOptions = {},
): Promise<SharedPort> {
  return serveClientPort(await BoundPort.bind(address), dependencies, options);
}

/** Serves clients on a port that was bound before there was a member: who came meanwhile has waited. */
export function serveClientPort(
  port: BoundPort,
  dependencies: ClientPortDependencies,
  { traffic = "grpc+http", http: httpOptions, tls, plainToo = false, ...options }: ClientPortOptions = {},
): SharedPort {
  const { clock, observer } = dependencies;
  const handlers = createHandlers(dependencies);
  const http =
    traffic === "grpc" ? undefined : httpServer(dependencies, handlers, { ...CLIENT_HTTP_DEFAULTS, ...httpOptions });
  if (traffic === "http") return serveHttp(port, dependencies, http!, { tls, plainToo });
  const grpc = new GrpcServer(
    { ...GRPC_SERVER_DEFAULTS, messageBytesMax: messageBytesMax(dependencies), ...options },
    {
      clock,
      handlers,
      mapError: toClientError,
      ...(http === undefined ? {} : { plain: http }),
      ...(observer === undefined ? {} : { observer }),
    },
  );
  dependencies.showTraffic?.(grpc.traffic);
  return port.serve({ clock, grpc, http, tls, plainToo });
}

/** Serves metrics and health, and nothing else (`--listen-metrics-urls`). */
export function serveMetricsPort(
  port: BoundPort,
  dependencies: ClientPortDependencies,
  secure: Secure = {},
): SharedPort {
  const bodyBytesMax = messageBytesMax(dependencies);
  const table = createMetricsTable(dependencies);
  return serveHttp(port, dependencies, new HttpServer({ bodyBytesMax }, { clock: dependencies.clock, table }), secure);
}

const messageBytesMax = ({ member }: ClientPortDependencies): number =>
  member.limits.requestBytesMax + REQUEST_OVERHEAD_BYTES;

/** HTTP as clients have it: health, metrics, and the gateway. */
function httpServer(
  dependencies: ClientPortDependencies,
  handlers: HandlerTable,
  options: ClientHttpOptions,
): HttpServer {
  const { clock, member, observer } = dependencies;
  const bytesMax = messageBytesMax(dependencies);
  const observed = observer === undefined ? {} : { observer };
  const gateway = options.gateway
    ? new Gateway({ messageBytesMax: bytesMax }, { clock, handlers, mapError: toClientError, ...observed })
    : undefined;
  const sockets = gateway && new GatewaySockets(gateway, clock);
  const table = new Map([...createHttpTable(dependencies), ...(dependencies.moreEndpoints ?? [])]);
  return new HttpServer(
    {
      bodyBytesMax: bytesMax,
      gate: createGate(options, () => gateway !== undefined && member.access.takesCommonNames()),
      ...(sockets === undefined ? {} : { upgrade: (upgrade) => sockets.accept(upgrade) }),
    },
    { clock, table: { get: (path) => table.get(path) ?? gateway?.get(path) } },
  );
}

/** HTTP without gRPC. Over TLS clients choose HTTP/2 where they can, so it is spoken there, and gRPC's calls are unknown. */
function serveHttp(
  port: BoundPort,
  dependencies: ClientPortDependencies,
  http: HttpServer,
  secure: Secure,
): SharedPort {
  const { clock } = dependencies;
  if (secure.tls === undefined) return port.serve({ clock, http });
  const grpc = new GrpcServer(
    { ...GRPC_SERVER_DEFAULTS, messageBytesMax: messageBytesMax(dependencies) },
    { clock, handlers: new Map(), mapError: toClientError, plain: http },
  );
  return port.serve({ clock, grpc, http, ...secure });
}
