/** Locks and elections, made of keys and leases as etcd's clients make them. */
export * from "./errors.js";
export { Elections, type CandidacyAsked, type Leadership } from "./elections.js";
export { Locks, type LockAsked } from "./locks.js";
export type { Requests } from "./requests.js";
