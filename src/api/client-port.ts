/** The client port of a member: the services and the HTTP answers on one address. */
import { REQUEST_OVERHEAD_BYTES } from "../base/limits.js";
import {
  BoundPort,
  type CallObserver,
  GRPC_SERVER_DEFAULTS,
  GrpcServer,
  HttpServer,
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
import { createHttpTable, type HttpDependencies } from "./http.js";
import { createHandlers } from "./services.js";

export interface ClientPortDependencies {
  readonly clock: Clock;
  readonly member: MemberService;
  readonly metrics: Metrics;
  readonly exposition: HttpDependencies["exposition"];
  readonly observer?: CallObserver;
  /** Given what the port's calls carry, which goes on counting. */
  readonly showTraffic?: (traffic: Readonly<Traffic>) => void;
}

/** What clients are served over HTTP, beside gRPC. */
export interface ClientHttpOptions extends AccessControl {
  /** etcd's `--enable-grpc-gateway`. */
  readonly gateway: boolean;
}

export const CLIENT_HTTP_DEFAULTS: ClientHttpOptions = { ...ACCESS_CONTROL_DEFAULTS, gateway: true };

/**
 * Opens an address for clients. Stop it with `stop(graceMs)`; where it listens is in `address`.
 *
 * @throws PortError when the address cannot be used
 */
export async function openClientPort(
  address: Address,
  dependencies: ClientPortDependencies,
  options: Partial<GrpcServerOptions> = {},
  httpOptions: ClientHttpOptions = CLIENT_HTTP_DEFAULTS,
): Promise<SharedPort> {
  return serveClientPort(await BoundPort.bind(address), dependencies, options, httpOptions);
}

/** Serves clients on a port that was bound before there was a member: who came meanwhile has waited. */
export function serveClientPort(
  port: BoundPort,
  dependencies: ClientPortDependencies,
  options: Partial<GrpcServerOptions> = {},
  httpOptions: ClientHttpOptions = CLIENT_HTTP_DEFAULTS,
): SharedPort {
  const { clock, member, observer } = dependencies;
  const messageBytesMax = member.limits.requestBytesMax + REQUEST_OVERHEAD_BYTES;
  const handlers = createHandlers(dependencies);
  const observed = observer === undefined ? {} : { observer };
  const gateway = httpOptions.gateway
    ? new Gateway({ messageBytesMax }, { clock, handlers, mapError: toClientError, ...observed })
    : undefined;
  const sockets = gateway && new GatewaySockets(gateway, clock);
  const table = createHttpTable(dependencies);
  const http = new HttpServer(
    {
      bodyBytesMax: messageBytesMax,
      gate: createGate(httpOptions, () => gateway !== undefined && member.access.takesCommonNames()),
      ...(sockets === undefined ? {} : { upgrade: (upgrade) => sockets.accept(upgrade) }),
    },
    { clock, table: { get: (path) => table.get(path) ?? gateway?.get(path) } },
  );
  const grpc = new GrpcServer(
    { ...GRPC_SERVER_DEFAULTS, messageBytesMax, ...options },
    { clock, handlers, mapError: toClientError, plain: http, ...observed },
  );
  dependencies.showTraffic?.(grpc.traffic);
  return port.serve({ clock, grpc, http });
}
