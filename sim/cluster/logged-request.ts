/** Entries of the log as the textbook's state machine takes them. What it does not know of changes nothing that it speaks of. */
import { latin1FromBytes } from "../../src/base/text.js";
import {
  Permission_Type as PermissionType,
  type Permission as WirePermission,
} from "../../src/proto/generated/authpb/auth.js";
import type { InternalRaftRequest } from "../../src/proto/generated/etcdserverpb/raft_internal.js";
import { EntryType } from "../../src/proto/raft.js";
import { decodeRaftRequest } from "../../src/proto/raft-request.js";
import { NOBODY, type AuthChange, type Caller, type Permission } from "../check/auth-model.js";
import type { Span } from "../check/history.js";
import { fromRequest } from "../check/messages.js";
import type { Logged } from "../check/state-machine.js";

const NOTHING: Logged = { kind: "nothing" };

export function loggedOf({ type, data }: { readonly type: EntryType; readonly data: Uint8Array }): Logged {
  if (type !== EntryType.normal || data.length === 0) return NOTHING;
  const decoded = decodeRaftRequest(data);
  if (decoded.kind !== "v3") return NOTHING;
  const { request } = decoded;
  const caller = callerOf(request);
  if (request.put !== undefined) return { kind: "request", caller, request: fromRequest.put(request.put) };
  if (request.txn !== undefined) return { kind: "request", caller, request: fromRequest.txn(request.txn) };
  if (request.deleteRange !== undefined)
    return { kind: "request", caller, request: fromRequest.delete(request.deleteRange) };
  if (request.compaction !== undefined) return { kind: "compact", revision: request.compaction.revision };
  if (request.leaseGrant !== undefined) {
    const { ID, TTL } = request.leaseGrant;
    return { kind: "grant", lease: String(ID), ttlSeconds: TTL };
  }
  if (request.leaseRevoke !== undefined) return { kind: "revoke", caller, lease: String(request.leaseRevoke.ID) };
  if (request.leaseCheckpoint !== undefined) {
    const { checkpoints } = request.leaseCheckpoint;
    return {
      kind: "checkpoint",
      left: checkpoints.map((each) => ({ lease: String(each.ID), seconds: each.remainingTTL })),
    };
  }
  const change = changeOf(request);
  return change === undefined ? NOTHING : { kind: "auth", caller, change };
}

function callerOf({ header }: InternalRaftRequest): Caller {
  if (header === undefined || header.username === "") return NOBODY;
  return { name: header.username, revision: header.authRevision };
}

function changeOf(request: InternalRaftRequest): AuthChange | undefined {
  if (request.authEnable !== undefined) return { kind: "enable" };
  if (request.authDisable !== undefined) return { kind: "disable" };
  if (request.authUserAdd !== undefined) return { kind: "add user", user: request.authUserAdd.name };
  if (request.authUserDelete !== undefined) return { kind: "delete user", user: request.authUserDelete.name };
  if (request.authUserChangePassword !== undefined)
    return { kind: "change password", user: request.authUserChangePassword.name };
  if (request.authUserGrantRole !== undefined) {
    const { user, role } = request.authUserGrantRole;
    return { kind: "grant role", user, role };
  }
  if (request.authUserRevokeRole !== undefined) {
    const { name, role } = request.authUserRevokeRole;
    return { kind: "revoke role", user: name, role };
  }
  if (request.authRoleAdd !== undefined) return { kind: "add role", role: request.authRoleAdd.name };
  if (request.authRoleDelete !== undefined) return { kind: "delete role", role: request.authRoleDelete.role };
  if (request.authRoleGrantPermission !== undefined) {
    const { name, perm } = request.authRoleGrantPermission;
    return perm === undefined ? undefined : { kind: "grant permission", role: name, permission: permissionOf(perm) };
  }
  if (request.authRoleRevokePermission !== undefined) {
    const { role, key, rangeEnd } = request.authRoleRevokePermission;
    return { kind: "revoke permission", role, span: spanOf(key, rangeEnd) };
  }
  return undefined;
}

const ACCESS = {
  [PermissionType.READ]: "read",
  [PermissionType.WRITE]: "write",
  [PermissionType.READWRITE]: "both",
} as const;

function permissionOf({ permType, key, rangeEnd }: WirePermission): Permission {
  return { access: ACCESS[permType], ...spanOf(key, rangeEnd) };
}

function spanOf(key: Uint8Array, rangeEnd: Uint8Array): Span {
  const first = latin1FromBytes(key);
  return rangeEnd.length === 0 ? { key: first } : { key: first, end: latin1FromBytes(rangeEnd) };
}
