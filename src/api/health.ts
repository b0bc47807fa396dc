/** gRPC's own health service. A member that is up serves, but for what `serving-state.ts` tells; the port closes when it does not. */
import type { Handler } from "../grpc/handler.js";
import { GrpcError, GrpcStatus } from "../grpc/status.js";
import {
  HealthCheckRequest,
  HealthCheckResponse,
  HealthCheckResponse_ServingStatus,
} from "../proto/generated/grpc/health/v1/health.js";
import { admit, decodeRequest, type ServiceDependencies, unary } from "./service.js";
import { ServingState } from "./serving-state.js";

const { SERVICE_UNKNOWN } = HealthCheckResponse_ServingStatus;

/** These go through the gate of all calls, as etcd's interceptors stand before every service: a learner refuses them. */
export function healthHandlers(dependencies: ServiceDependencies): [string, Handler][] {
  const serving = dependencies.serving ?? new ServingState();
  // etcd knows the server as a whole only, under the empty name.
  const statusOf = (service: string): HealthCheckResponse_ServingStatus =>
    service === "" ? serving.status : SERVICE_UNKNOWN;
  return [
    [
      "/grpc.health.v1.Health/Check",
      unary(dependencies, HealthCheckRequest, HealthCheckResponse, ({ service }) => {
        const status = statusOf(service);
        if (status === SERVICE_UNKNOWN) throw new GrpcError(GrpcStatus.notFound, "unknown service");
        return { status };
      }),
    ],
    [
      "/grpc.health.v1.Health/Watch",
      {
        kind: "bidirectional",
        handle: (stream, call) => {
          admit(dependencies, call, "stream", false);
          stream.onMessage = (bytes) => {
            const { service } = decodeRequest(HealthCheckRequest, bytes);
            const tell = (): void =>
              void stream.send(HealthCheckResponse.encode({ status: statusOf(service) }).finish());
            tell();
            const forget = serving.onChange(tell);
            call.signal.addEventListener("abort", forget, { once: true });
          };
        },
      },
    ],
  ];
}
