/**
 * All messages. Those of `etcdserverpb` and `mvccpb` by their names; those of smaller packages under the package's name, since some
 * names exist twice (`Member`). raft's and the log's own messages are in `raft.ts` and `wal.ts`: import them from there.
 */
export * from "./generated/etcdserverpb/auth.js";
export * from "./generated/etcdserverpb/cluster.js";
export * from "./generated/etcdserverpb/header.js";
export * from "./generated/etcdserverpb/kv.js";
export * from "./generated/etcdserverpb/lease.js";
export * from "./generated/etcdserverpb/maintenance.js";
export * from "./generated/etcdserverpb/raft_internal.js";
export * from "./generated/etcdserverpb/watch.js";
export * from "./generated/mvccpb/kv.js";
export * as authpb from "./generated/authpb/auth.js";
export * as leasepb from "./generated/leasepb/lease.js";
export * as membershippb from "./generated/membershippb/membership.js";
export * as healthpb from "./generated/grpc/health/v1/health.js";
export * as v3electionpb from "./generated/v3electionpb/election.js";
export * as v3lockpb from "./generated/v3lockpb/lock.js";
export { base64FromBytes, bytesFromBase64 } from "./base64.js";
export { decodeKeyValue, encodeKeyValue, encodeKeyValueInto, keyValueSize } from "./fast/key-value.js";
export { decodeRaftRequest, type RaftRequest } from "./raft-request.js";
export { decodeV2Request, encodeV2Request, makeV2Request, type V2Request } from "./v2-request.js";
