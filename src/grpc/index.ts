/** gRPC and HTTP/1.1 on one port, for whoever brings handlers. Knows nothing of etcd. */
export * from "./handler.js";
export {
  type HttpAnswer,
  type HttpHandler,
  type HttpRequest,
  HttpServer,
  type HttpTable,
  plainAnswer,
} from "./http.js";
export { BoundPort, PortError, SharedPort, type SharedPortDependencies } from "./port.js";
export { GRPC_SERVER_DEFAULTS, GrpcServer, type GrpcServerDependencies, type GrpcServerOptions } from "./server.js";
export { GRPC_STATUS_NAMES, GrpcError, GrpcStatus } from "./status.js";
