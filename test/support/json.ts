/** Messages of the tests as etcd's JSON gateway takes them, and where it takes them. */
import { tableOf, type Message, type MessageName, type Scalar } from "./messages.js";

const AUTH_USER = "/v3/auth/user/";
const AUTH_ROLE = "/v3/auth/role/";

/** Paths of the gateway by those of gRPC. */
export const JSON_PATHS: Readonly<Record<string, string>> = {
  "/etcdserverpb.KV/Range": "/v3/kv/range",
  "/etcdserverpb.KV/Put": "/v3/kv/put",
  "/etcdserverpb.KV/DeleteRange": "/v3/kv/deleterange",
  "/etcdserverpb.KV/Txn": "/v3/kv/txn",
  "/etcdserverpb.KV/Compact": "/v3/kv/compaction",
  "/etcdserverpb.Lease/LeaseGrant": "/v3/lease/grant",
  "/etcdserverpb.Lease/LeaseRevoke": "/v3/lease/revoke",
  "/etcdserverpb.Lease/LeaseTimeToLive": "/v3/lease/timetolive",
  "/etcdserverpb.Lease/LeaseLeases": "/v3/lease/leases",
  "/etcdserverpb.Maintenance/Status": "/v3/maintenance/status",
  "/etcdserverpb.Maintenance/Defragment": "/v3/maintenance/defragment",
  "/etcdserverpb.Maintenance/MoveLeader": "/v3/maintenance/transfer-leadership",
  "/etcdserverpb.Maintenance/Downgrade": "/v3/maintenance/downgrade",
  "/etcdserverpb.Maintenance/Alarm": "/v3/maintenance/alarm",
  "/etcdserverpb.Auth/AuthEnable": "/v3/auth/enable",
  "/etcdserverpb.Auth/AuthDisable": "/v3/auth/disable",
  "/etcdserverpb.Auth/AuthStatus": "/v3/auth/status",
  "/etcdserverpb.Auth/Authenticate": "/v3/auth/authenticate",
  "/etcdserverpb.Auth/UserAdd": `${AUTH_USER}add`,
  "/etcdserverpb.Auth/UserGet": `${AUTH_USER}get`,
  "/etcdserverpb.Auth/UserList": `${AUTH_USER}list`,
  "/etcdserverpb.Auth/UserDelete": `${AUTH_USER}delete`,
  "/etcdserverpb.Auth/UserChangePassword": `${AUTH_USER}changepw`,
  "/etcdserverpb.Auth/UserGrantRole": `${AUTH_USER}grant`,
  "/etcdserverpb.Auth/UserRevokeRole": `${AUTH_USER}revoke`,
  "/etcdserverpb.Auth/RoleAdd": `${AUTH_ROLE}add`,
  "/etcdserverpb.Auth/RoleGet": `${AUTH_ROLE}get`,
  "/etcdserverpb.Auth/RoleList": `${AUTH_ROLE}list`,
  "/etcdserverpb.Auth/RoleDelete": `${AUTH_ROLE}delete`,
  "/etcdserverpb.Auth/RoleGrantPermission": `${AUTH_ROLE}grant`,
  "/etcdserverpb.Auth/RoleRevokePermission": `${AUTH_ROLE}revoke`,
  "/v3lockpb.Lock/Lock": "/v3/lock/lock",
  "/v3lockpb.Lock/Unlock": "/v3/lock/unlock",
  "/v3electionpb.Election/Campaign": "/v3/election/campaign",
  "/v3electionpb.Election/Proclaim": "/v3/election/proclaim",
  "/v3electionpb.Election/Leader": "/v3/election/leader",
  "/v3electionpb.Election/Resign": "/v3/election/resign",
};

/** A request as JSON: bytes in base64, numbers of 64 bits as they are, for JavaScript's own writer would round them. */
export function toJson(name: MessageName, message: Message): string {
  const table = tableOf(name);
  const fields = Object.entries(message).flatMap(([field, value]) => {
    if (value === undefined) return [];
    const { kind } = table[field]!;
    const one = (item: Scalar): string => {
      if (item instanceof Uint8Array) return JSON.stringify(Buffer.from(item).toString("base64"));
      if (typeof item === "string") return JSON.stringify(item);
      if (typeof item === "object") return toJson(kind as MessageName, item);
      return item.toString();
    };
    const told = Array.isArray(value) ? `[${(value as readonly Scalar[]).map(one).join(",")}]` : one(value as Scalar);
    return [`${JSON.stringify(field)}:${told}`];
  });
  return `{${fields.join(",")}}`;
}
