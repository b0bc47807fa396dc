/**
 * A small etcd client, and what etcd's own client builds on it: sessions, mutexes and elections over leases, keys and watches. What
 * `walnut/client` exports.
 *
 *   const client = new Client({ endpoints: ["127.0.0.1:2379"], dialTimeoutMs: 2_000, callTimeoutMs: 5_000 });
 *   const session = await Session.open(client);
 *   const mutex = new Mutex(session, "jobs/nightly");
 *   await mutex.lock();
 */
export { type CallOptions, Client, type ClientOptions } from "./client.js";
export { Election } from "./election.js";
export { type Endpoint, parseEndpoint } from "./endpoint.js";
export { LoginError, RpcError, SessionError } from "./errors.js";
export { EVERYTHING_FROM, prefixEnd, prefixRange } from "./key-ranges.js";
export { Mutex } from "./mutex.js";
export { Session, type SessionOptions } from "./session.js";
export type { Watch } from "./watch.js";
