/**
 * What the log's requests of authentication do, and what every other request is asked before it is applied. The verdict is the same on every
 * member: it depends on the tables, and on the caller that the entry names.
 *
 * A request that was let in at an older auth revision is refused when it comes to be applied: what its caller may do may have
 * changed. Who administers needs to be root now, whatever the revision (both as in etcd).
 *
 * One thing is not etcd's: it forgets every check while an alarm stands, for its NOSPACE and CORRUPT appliers are put in the place of
 * the one that checks.
 */
import {
  AuthError,
  type AuthTables,
  type Caller,
  type LeaseKeys,
  NOBODY,
  RequestChecks,
  ROOT,
  type Tokens,
} from "../auth/index.js";
import type { InternalRaftRequest } from "../proto/generated/etcdserverpb/raft_internal.js";
import type { AuthRequestKind } from "./contract.js";

/** Requests that only root may make. The two others, the details of a user and of a role, are for whom they concern, too. */
const FOR_ADMINS: readonly AuthRequestKind[] = [
  "authEnable",
  "authDisable",
  "authStatus",
  "authUserAdd",
  "authUserDelete",
  "authUserChangePassword",
  "authUserGrantRole",
  "authUserRevokeRole",
  "authUserList",
  "authRoleAdd",
  "authRoleDelete",
  "authRoleGrantPermission",
  "authRoleRevokePermission",
  "authRoleList",
];

const KINDS: readonly AuthRequestKind[] = [...FOR_ADMINS, "authUserGet", "authRoleGet"];

/** Whether it is one that `AuthApplier` applies. */
export function isAuthRequest(request: InternalRaftRequest): boolean {
  if (hasBarePassword(request)) return false;
  return request.authenticate !== undefined || KINDS.some((kind) => request[kind] !== undefined);
}

/** etcd before 3.5 put passwords themselves into the log, and each member made a hash of its own. */
function hasBarePassword({ authUserAdd, authUserChangePassword }: InternalRaftRequest): boolean {
  // etcd leaves the password of a user who is to have none where the client has put it, and looks at it no more.
  if (authUserAdd?.options?.noPassword === true) return false;
  const request = authUserAdd ?? authUserChangePassword;
  return request !== undefined && request.password !== "" && request.hashedPassword === "";
}

export function callerOf({ header }: InternalRaftRequest): Caller {
  // A certificate may have an empty common name: whose it is was asked, and is nobody who exists.
  if (header === undefined || (header.username === "" && header.authRevision === 0)) return NOBODY;
  return { username: header.username, revision: header.authRevision };
}

export class AuthApplier {
  readonly #tables: AuthTables;
  readonly #tokens: Tokens;
  readonly #checks: RequestChecks;

  constructor(tables: AuthTables, tokens: Tokens, leases: LeaseKeys) {
    this.#tables = tables;
    this.#tokens = tokens;
    this.#checks = new RequestChecks(tables, leases);
  }

  /** What others than the requests of authentication are asked; undefined while it is off. */
  get checks(): RequestChecks | undefined {
    return this.#tables.isEnabled ? this.#checks : undefined;
  }

  /**
   * @param index of the entry
   * @returns the answer; undefined for a request of another kind
   * @throws AuthError
   */
  apply(request: InternalRaftRequest, caller: Caller, index: number): unknown {
    if (!isAuthRequest(request)) return undefined;
    if (FOR_ADMINS.some((kind) => request[kind] !== undefined)) this.#tables.assertAdmin(caller);
    return { header: undefined, ...this.#answer(request, caller, index) };
  }

  #answer(request: InternalRaftRequest, caller: Caller, index: number): object {
    const tables = this.#tables;
    if (request.authenticate !== undefined) {
      const { name, simpleToken } = request.authenticate;
      return { token: this.#authenticate(name, simpleToken, index) };
    }
    if (request.authStatus !== undefined) return { enabled: tables.isEnabled, authRevision: tables.revision };
    if (request.authUserGet !== undefined) return { roles: this.#rolesOf(request.authUserGet.name, caller) };
    if (request.authRoleGet !== undefined) return { perm: this.#permissionsOf(request.authRoleGet.role, caller) };
    if (request.authUserList !== undefined) return { users: tables.userNames() };
    if (request.authRoleList !== undefined) return { roles: tables.roleNames() };
    this.#change(request);
    return {};
  }

  #change(request: InternalRaftRequest): void {
    const tables = this.#tables;
    if (request.authEnable !== undefined) tables.enable();
    else if (request.authDisable !== undefined) tables.disable();
    else if (request.authUserAdd !== undefined) tables.addUser(request.authUserAdd);
    else if (request.authUserDelete !== undefined) tables.deleteUser(request.authUserDelete.name);
    else if (request.authUserChangePassword !== undefined) tables.changePassword(request.authUserChangePassword);
    else if (request.authUserGrantRole !== undefined) tables.grantRole(request.authUserGrantRole);
    else if (request.authUserRevokeRole !== undefined) tables.revokeRole(request.authUserRevokeRole);
    else if (request.authRoleAdd !== undefined) tables.addRole(request.authRoleAdd.name);
    else if (request.authRoleDelete !== undefined) tables.deleteRole(request.authRoleDelete.role);
    else if (request.authRoleGrantPermission !== undefined) tables.grantPermission(request.authRoleGrantPermission);
    else if (request.authRoleRevokePermission !== undefined) tables.revokePermission(request.authRoleRevokePermission);
  }

  /** The password was checked by the member that was asked for a token. */
  #authenticate(name: string, prefix: string, index: number): string {
    if (!this.#tables.isEnabled) throw new AuthError("AUTH_NOT_ENABLED", "authentication is off");
    const user = this.#tables.user(name);
    if (user === undefined || user.options?.noPassword === true) {
      throw new AuthError("AUTH_FAILED", `no user ${JSON.stringify(name)} with a password`);
    }
    // etcd's tokens have the index of the entry before: members of both kinds must make the same one.
    return this.#tokens.assign(name, prefix, index - 1);
  }

  #rolesOf(name: string, caller: Caller): string[] {
    if (name !== caller.username) this.#tables.assertAdmin(caller);
    return this.#tables.mustUser(name).roles;
  }

  #permissionsOf(name: string, caller: Caller): readonly object[] {
    const isOwn = this.#tables.user(caller.username)?.roles.includes(name) ?? false;
    if (!isOwn) this.#tables.assertAdmin(caller);
    return this.#tables.mustRole(name).keyPermission;
  }
}

/** Who a member's own proposals are made for, where the applier asks: the revocation of a lease that has run out. */
export function rootOf(tables: AuthTables): Caller {
  return tables.isEnabled ? { username: ROOT, revision: tables.revision } : NOBODY;
}
