/**
 * Which path of the gateway is which call. All are asked by POST. The paths are those of etcd 3.5's definitions; `/v3/kv/lease/...` are their
 * older names, and `/v3beta/` stands for `/v3/`.
 */
import { invariant } from "../base/errors.js";
import { type Method, methodOf } from "../proto/descriptors.js";

const SERVICES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "etcdserverpb.KV": {
    "kv/range": "Range",
    "kv/put": "Put",
    "kv/deleterange": "DeleteRange",
    "kv/txn": "Txn",
    "kv/compaction": "Compact",
  },
  "etcdserverpb.Watch": { watch: "Watch" },
  "etcdserverpb.Lease": {
    "lease/grant": "LeaseGrant",
    "lease/revoke": "LeaseRevoke",
    "kv/lease/revoke": "LeaseRevoke",
    "lease/keepalive": "LeaseKeepAlive",
    "lease/timetolive": "LeaseTimeToLive",
    "kv/lease/timetolive": "LeaseTimeToLive",
    "lease/leases": "LeaseLeases",
    "kv/lease/leases": "LeaseLeases",
  },
  "etcdserverpb.Cluster": {
    "cluster/member/add": "MemberAdd",
    "cluster/member/remove": "MemberRemove",
    "cluster/member/update": "MemberUpdate",
    "cluster/member/list": "MemberList",
    "cluster/member/promote": "MemberPromote",
  },
  "etcdserverpb.Maintenance": {
    "maintenance/alarm": "Alarm",
    "maintenance/status": "Status",
    "maintenance/defragment": "Defragment",
    "maintenance/hash": "Hash",
    "maintenance/hashkv": "HashKV",
    "maintenance/snapshot": "Snapshot",
    "maintenance/transfer-leadership": "MoveLeader",
    "maintenance/downgrade": "Downgrade",
  },
  "etcdserverpb.Auth": {
    "auth/enable": "AuthEnable",
    "auth/disable": "AuthDisable",
    "auth/status": "AuthStatus",
    "auth/authenticate": "Authenticate",
    "auth/user/add": "UserAdd",
    "auth/user/get": "UserGet",
    "auth/user/list": "UserList",
    "auth/user/delete": "UserDelete",
    "auth/user/changepw": "UserChangePassword",
    "auth/user/grant": "UserGrantRole",
    "auth/user/revoke": "UserRevokeRole",
    "auth/role/add": "RoleAdd",
    "auth/role/get": "RoleGet",
    "auth/role/list": "RoleList",
    "auth/role/delete": "RoleDelete",
    "auth/role/grant": "RoleGrantPermission",
    "auth/role/revoke": "RoleRevokePermission",
  },
  "v3lockpb.Lock": { "lock/lock": "Lock", "lock/unlock": "Unlock" },
  "v3electionpb.Election": {
    "election/campaign": "Campaign",
    "election/proclaim": "Proclaim",
    "election/leader": "Leader",
    "election/observe": "Observe",
    "election/resign": "Resign",
  },
};

export interface GatewayRoute extends Method {
  /** Of the handler, as `/etcdserverpb.KV/Put`. */
  readonly path: string;
}

const PREFIX = "/v3/";
const OLD_PREFIX = "/v3beta/";

function makeRoutes(): ReadonlyMap<string, GatewayRoute> {
  const routes = new Map<string, GatewayRoute>();
  for (const [service, names] of Object.entries(SERVICES)) {
    for (const [name, methodName] of Object.entries(names)) {
      const path = `/${service}/${methodName}`;
      const method = methodOf(path);
      invariant(method !== undefined, () => `${path} is in the definitions`);
      routes.set(`${PREFIX}${name}`, { path, ...method });
    }
  }
  return routes;
}

/** Every path with its call. */
export const GATEWAY_ROUTES: ReadonlyMap<string, GatewayRoute> = makeRoutes();

/** The path as it stands in the table; undefined for one that is not the gateway's. */
export function gatewayPath(path: string): string | undefined {
  if (path.startsWith(PREFIX)) return path;
  return path.startsWith(OLD_PREFIX) ? `${PREFIX}${path.slice(OLD_PREFIX.length)}` : undefined;
}
