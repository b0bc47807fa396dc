/** gRPC's own health service. A member that is up serves; the port closes when it does not. */
import type { Handler } from "../grpc/handler.js";
import { GrpcError, GrpcStatus } from "../grpc/status.js";
import {
  HealthCheckRequest,
  HealthCheckResponse,
  HealthCheckResponse_ServingStatus,
} from "../proto/generated/grpc/health/v1/health.js";
import { admit, decodeRequest, type ServiceDependencies, unary } from "./service.js";

const { SERVING, SERVICE_UNKNOWN } = HealthCheckResponse_ServingStatus;

/** etcd knows the server as a whole only, under the empty name. */
function statusOf(service: string): HealthCheckResponse_ServingStatus {
  return service === "" ? SERVING : SERVICE_UNKNOWN;
}

/** These go through the gate of all calls, as etcd's interceptors stand before every service: a learner refuses them. */
export function healthHandlers(dependencies: ServiceDependencies): [string, Handler][] {
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
          // The status does not change while the port is open: the first answer is followed by silence.
          stream.onMessage = (bytes) => {
            const status = statusOf(decodeRequest(HealthCheckRequest, bytes).service);
            stream.send(HealthCheckResponse.encode({ status }).finish());
          };
        },
      },
    ],
  ];
}
