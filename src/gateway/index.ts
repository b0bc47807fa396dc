/** etcd's JSON gateway over a table of gRPC handlers: requests under `/v3/` over HTTP and websockets. */
export { Gateway, type GatewayDependencies, type GatewayOptions } from "./gateway.js";
export { GATEWAY_ROUTES, gatewayPath, type GatewayRoute } from "./routes.js";
export { GatewaySockets } from "./websocket.js";
