/** A small etcd client. */
export { Client, type ClientOptions } from "./client.js";
export { type Endpoint, parseEndpoint } from "./endpoint.js";
export { LoginError, RpcError } from "./errors.js";
export type { Watch } from "./watch.js";
