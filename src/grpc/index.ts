/** gRPC and HTTP/1.1 on one port, for whoever brings handlers. Knows nothing of etcd. */
export * from "./handler.js";
export {
  type GateVerdict,
  type HttpAnswer,
  type HttpGate,
  type HttpHandler,
  type HttpHead,
  type HttpRequest,
  HttpServer,
  type HttpTable,
  type HttpUpgrade,
  movedTo,
  plainAnswer,
  type UpgradeHandler,
} from "./http.js";
export {
  BoundPort,
  PortError,
  type PortLimits,
  type PortTls,
  SharedPort,
  type SharedPortDependencies,
} from "./port.js";
export { GRPC_SERVER_DEFAULTS, GrpcServer, type GrpcServerDependencies, type GrpcServerOptions } from "./server.js";
export { GRPC_STATUS_NAMES, GrpcError, GrpcStatus } from "./status.js";
