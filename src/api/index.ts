/** etcd's v3 API over a member. */
export {
  CLIENT_HTTP_DEFAULTS,
  type ClientHttpOptions,
  type ClientPortDependencies,
  type ClientPortOptions,
  type ClientTraffic,
  openClientPort,
  serveClientPort,
  serveMetricsPort,
} from "./client-port.js";
export { CLIENT_ERRORS, type ClientError, toClientError } from "./errors.js";
export { createHttpTable, type HttpDependencies } from "./http.js";
export { PrometheusMetrics } from "./metrics.js";
export { profileEndpoints } from "./profiles.js";
export { ServingState } from "./serving-state.js";
export { SlowCalls } from "./slow-calls.js";
export { createHandlers } from "./services.js";
