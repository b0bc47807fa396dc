/** Who is in the cluster, and how etcd writes that down. */
export * from "./conf-state-json.js";
export * from "./member.js";
export * from "./membership.js";
