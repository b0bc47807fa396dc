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
import type { Clock } from "../platform/clock.js";
import type { Address } from "../platform/network.js";
import type { MemberService } from "../server/contract.js";
import type { Metrics } from "../server/metrics.js";
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

/** etcd's default: pages of any origin may ask. */
const CROSS_ORIGIN = {
  "access-control-allow-headers": "accept, content-type, authorization",
  "access-control-allow-methods": "POST, GET, OPTIONS, PUT, DELETE",
  "access-control-allow-origin": "*",
};

/**
 * Opens an address for clients. Stop it with `stop(graceMs)`; where it listens is in `address`.
 *
 * @throws PortError when the address cannot be used
 */
export async function openClientPort(
  address: Address,
  dependencies: ClientPortDependencies,
  options: Partial<GrpcServerOptions> = {},
): Promise<SharedPort> {
  return serveClientPort(await BoundPort.bind(address), dependencies, options);
}

/** Serves clients on a port that was bound before there was a member: who came meanwhile has waited. */
export function serveClientPort(
  port: BoundPort,
  dependencies: ClientPortDependencies,
  options: Partial<GrpcServerOptions> = {},
): SharedPort {
  const { clock, member, observer } = dependencies;
  const messageBytesMax = member.limits.requestBytesMax + REQUEST_OVERHEAD_BYTES;
  const handlers = createHandlers(dependencies);
  const http = new HttpServer(
    { bodyBytesMax: messageBytesMax, commonHeaders: CROSS_ORIGIN },
    { clock, table: createHttpTable(dependencies) },
  );
  const grpc = new GrpcServer(
    { ...GRPC_SERVER_DEFAULTS, messageBytesMax, ...options },
    { clock, handlers, mapError: toClientError, plain: http, ...(observer === undefined ? {} : { observer }) },
  );
  dependencies.showTraffic?.(grpc.traffic);
  return port.serve({ clock, grpc, http });
}
