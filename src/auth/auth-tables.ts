/**
 * Users, roles and the switch, as the log makes them, and what follows from them: who may do what.
 *
 * They are kept in `db` as etcd keeps them: bucket `auth` has `authEnabled` (one byte, 0 or 1) and `authRevision` (8 bytes, big-endian),
 * `authUsers` and `authRoles` have etcd's `authpb.User` and `authpb.Role` by name. Requests come from the log, or are refused
 * alike on every member: nothing here knows time or chance.
 *
 * Laws:
 * - a change raises the auth revision by one; switching on does not. What a caller was let in for at an older revision is refused;
 * - what a user may do is put together when it is first asked after a change, and kept until the next one. The tables that come
 *   with a leader's snapshot are opened anew, so nothing of the old ones is left (etcd #14571);
 * - root is he who has the role `root`, whatever his name is.
 */
import type { BucketTable } from "../base/bucket-table.js";
import { compareBytes, equalBytes, readUint64BE, writeUint64BE } from "../base/bytes.js";
import { goSort } from "../base/go-sort.js";
import { latin1FromBytes, textFromUtf8, utf8FromText } from "../base/text.js";
import type { Log } from "../platform/log.js";
import { bytesFromBase64 } from "../proto/base64.js";
import { Permission_Type as PermissionType, Role, User, type Permission } from "../proto/generated/authpb/auth.js";
import type {
  AuthRoleGrantPermissionRequest,
  AuthRoleRevokePermissionRequest,
  AuthUserAddRequest,
  AuthUserChangePasswordRequest,
  AuthUserGrantRoleRequest,
  AuthUserRevokeRoleRequest,
} from "../proto/generated/etcdserverpb/auth.js";
import { type Caller, ROOT } from "./caller.js";
import type { Tokens } from "./credentials.js";
import { AuthError } from "./errors.js";
import { isValidRange, KeyRanges } from "./key-ranges.js";

export const AUTH_BUCKET = "auth";
export const AUTH_USERS_BUCKET = "authUsers";
export const AUTH_ROLES_BUCKET = "authRoles";

const ENABLED_KEY = utf8FromText("authEnabled");
const REVISION_KEY = utf8FromText("authRevision");

/** bbolt's longest key, which is what a name is in `db`. etcd looks at no name's length, and dies of a longer one. */
const NAME_BYTES_MAX = 32_768;

/** What a user may do. */
interface Rights {
  readonly isRoot: boolean;
  readonly read: KeyRanges;
  readonly write: KeyRanges;
}

/** What is done to keys. */
type Access = "read" | "write";

export class AuthTables {
  readonly #table: BucketTable;
  readonly #tokens: Pick<Tokens, "enable" | "disable" | "invalidate">;
  readonly #log: Log;
  #isEnabled: boolean;
  #revision: number;
  /** By user, as of this revision. */
  readonly #rights = new Map<string, Rights>();

  /** Takes up what `db` holds; its buckets must exist. A fresh one gets its first revision. */
  constructor(table: BucketTable, tokens: Pick<Tokens, "enable" | "disable" | "invalidate">, log: Log) {
    this.#table = table;
    this.#tokens = tokens;
    this.#log = log;
    this.#isEnabled = table.get(AUTH_BUCKET, ENABLED_KEY)?.[0] === 1;
    this.#revision = this.#storedRevision();
    // Tables that a leader's snapshot brought may have other users, and other passwords, under the names of those whose tokens are known here.
    tokens.disable();
    if (this.#isEnabled) tokens.enable();
    if (this.#revision === 0) this.#changed();
  }

  get isEnabled(): boolean {
    return this.#isEnabled;
  }

  get revision(): number {
    return this.#revision;
  }

  // ---- the switch -------------------------------------------------------------------------------------------------

  /** @throws AuthError when there is no root to switch it off again */
  enable(): void {
    if (this.#isEnabled) {
      this.#log.info("authentication is already enabled; ignored auth enable request");
      return;
    }
    const root = this.user(ROOT);
    if (root === undefined) throw new AuthError("AUTH_ROOT_USER_MISSING", `add a user ${ROOT} first`);
    if (!root.roles.includes(ROOT)) throw new AuthError("AUTH_ROOT_ROLE_MISSING", `grant the role ${ROOT} to ${ROOT}`);
    this.#table.put(AUTH_BUCKET, ENABLED_KEY, Uint8Array.of(1));
    this.#isEnabled = true;
    this.#tokens.enable();
    this.#log.info("enabled authentication");
  }

  disable(): void {
    if (!this.#isEnabled) return;
    this.#table.put(AUTH_BUCKET, ENABLED_KEY, Uint8Array.of(0));
    this.#changed();
    this.#isEnabled = false;
    this.#tokens.disable();
    this.#log.info("disabled authentication");
  }

  // ---- users ------------------------------------------------------------------------------------------------------

  user(name: string): User | undefined {
    const bytes = name === "" ? undefined : this.#table.get(AUTH_USERS_BUCKET, utf8FromText(name));
    return bytes === undefined ? undefined : User.decode(bytes);
  }

  /** @throws AuthError `AUTH_USER_NOT_FOUND` */
  mustUser(name: string): User {
    const user = this.user(name);
    if (user === undefined) throw new AuthError("AUTH_USER_NOT_FOUND", `no user ${JSON.stringify(name)}`);
    return user;
  }

  userNames(): string[] {
    return this.#table.keys(AUTH_USERS_BUCKET).map(textFromUtf8);
  }

  addUser({ name, options, hashedPassword }: AuthUserAddRequest): void {
    if (name === "") throw new AuthError("AUTH_USER_EMPTY", "a user needs a name");
    checkName(name);
    if (this.user(name) !== undefined) throw new AuthError("AUTH_USER_EXISTS", `user ${JSON.stringify(name)} exists`);
    const noPassword = options?.noPassword ?? false;
    const password = noPassword ? new Uint8Array(0) : decodeHash(hashedPassword);
    this.#putUser({ name: utf8FromText(name), password, roles: [], options: { noPassword } });
    this.#changed();
    this.#log.info("added a user", { "user-name": name });
  }

  deleteUser(name: string): void {
    if (this.#isEnabled && name === ROOT) throw mustKeepRoot("the user root cannot be deleted");
    const user = this.mustUser(name);
    this.#table.delete(AUTH_USERS_BUCKET, user.name);
    this.#changed();
    this.#tokens.invalidate(name);
    this.#log.info("deleted a user", { "user-name": name, "user-roles": user.roles });
  }

  changePassword({ name, hashedPassword }: AuthUserChangePasswordRequest): void {
    const user = this.mustUser(name);
    const password = user.options?.noPassword === true ? new Uint8Array(0) : decodeHash(hashedPassword);
    this.#putUser({ ...user, password });
    this.#changed();
    this.#tokens.invalidate(name);
    this.#log.info("changed a password of a user", { "user-name": name, "user-roles": user.roles });
  }

  grantRole({ user: name, role }: AuthUserGrantRoleRequest): void {
    const user = this.mustUser(name);
    // The role root needs no entry of its own.
    if (role !== ROOT) this.mustRole(role);
    if (user.roles.includes(role)) {
      this.#log.warn("ignored grant role request to a user", { "user-name": name, "duplicate-role-name": role });
      return;
    }
    const roles = [...user.roles, role].sort((a, b) => compareBytes(utf8FromText(a), utf8FromText(b)));
    this.#putUser({ ...user, roles });
    this.#changed();
    this.#log.info("granted a role to a user", { "user-name": name, "user-roles": roles, "added-role-name": role });
  }

  revokeRole({ name, role }: AuthUserRevokeRoleRequest): void {
    if (this.#isEnabled && name === ROOT && role === ROOT) throw mustKeepRoot("root's role root cannot be revoked");
    const user = this.mustUser(name);
    const roles = user.roles.filter((granted) => granted !== role);
    if (roles.length === user.roles.length) {
      throw new AuthError("AUTH_ROLE_NOT_GRANTED", `${JSON.stringify(name)} does not have ${JSON.stringify(role)}`);
    }
    this.#putUser({ ...user, roles });
    this.#changed();
    this.#log.info("revoked a role from a user", { "user-name": name, "revoked-role-name": role });
  }

  // ---- roles ------------------------------------------------------------------------------------------------------

  role(name: string): Role | undefined {
    const bytes = name === "" ? undefined : this.#table.get(AUTH_ROLES_BUCKET, utf8FromText(name));
    return bytes === undefined ? undefined : Role.decode(bytes);
  }

  /** @throws AuthError `AUTH_ROLE_NOT_FOUND` */
  mustRole(name: string): Role {
    const role = this.role(name);
    if (role === undefined) throw new AuthError("AUTH_ROLE_NOT_FOUND", `no role ${JSON.stringify(name)}`);
    return role;
  }

  roleNames(): string[] {
    return this.#table.keys(AUTH_ROLES_BUCKET).map(textFromUtf8);
  }

  addRole(name: string): void {
    if (name === "") throw new AuthError("AUTH_ROLE_EMPTY", "a role needs a name");
    checkName(name);
    if (this.role(name) !== undefined) throw new AuthError("AUTH_ROLE_EXISTS", `role ${JSON.stringify(name)} exists`);
    this.#putRole({ name: utf8FromText(name), keyPermission: [] });
    this.#changed();
    this.#log.info("created a role", { "role-name": name });
  }

  /** Deletes a role, and takes it from all who have it. */
  deleteRole(name: string): void {
    if (this.#isEnabled && name === ROOT) throw mustKeepRoot("the role root cannot be deleted");
    const { name: key } = this.mustRole(name);
    this.#table.delete(AUTH_ROLES_BUCKET, key);
    for (const userKey of this.#table.keys(AUTH_USERS_BUCKET)) {
      const user = User.decode(this.#table.get(AUTH_USERS_BUCKET, userKey)!);
      if (!user.roles.includes(name)) continue;
      this.#putUser({ ...user, roles: user.roles.filter((granted) => granted !== name) });
    }
    this.#changed();
    this.#log.info("deleted a role", { "role-name": name });
  }

  grantPermission({ name, perm }: AuthRoleGrantPermissionRequest): void {
    if (perm === undefined) throw new AuthError("AUTH_PERMISSION_NOT_GIVEN", "the request names no permission");
    if (!isValidRange(perm)) throw new AuthError("AUTH_MANAGEMENT_INVALID", "the permission's range holds no key");
    const role = this.mustRole(name);
    const keyPermission = withPermission(role.keyPermission, perm);
    this.#putRole({ ...role, keyPermission });
    this.#changed();
    this.#log.info("granted/updated a permission to a user", { "user-name": name });
  }

  revokePermission({ role: name, key, rangeEnd }: AuthRoleRevokePermissionRequest): void {
    const role = this.mustRole(name);
    const keyPermission = role.keyPermission.filter(
      (perm) => !equalBytes(perm.key, key) || !equalBytes(perm.rangeEnd, rangeEnd),
    );
    if (keyPermission.length === role.keyPermission.length) {
      throw new AuthError("AUTH_PERMISSION_NOT_GRANTED", `${JSON.stringify(name)} has no permission of this range`);
    }
    this.#putRole({ ...role, keyPermission });
    this.#changed();
    this.#log.info("revoked a permission on range", { "role-name": name });
  }

  // ---- who may do what --------------------------------------------------------------------------------------------

  /** @throws AuthError unless authentication is off or the caller is root */
  assertAdmin({ username }: Caller): void {
    if (!this.#isEnabled) return;
    if (username === "") throw nobodyAsked();
    const rights = this.#rightsOf(username);
    if (rights === undefined) throw new AuthError("AUTH_USER_NOT_FOUND", `no user ${JSON.stringify(username)}`);
    if (!rights.isRoot) throw denied(username);
  }

  isAdmin({ username }: Caller): boolean {
    return !this.#isEnabled || this.#rightsOf(username)?.isRoot === true;
  }

  /** @throws AuthError unless the caller may read, or write, all of the span */
  assertMay(access: Access, caller: Caller, key: Uint8Array, rangeEnd: Uint8Array): void {
    if (!this.#isEnabled) return;
    const rights = this.#currentRights(caller);
    if (rights.isRoot || rights[access].covers(latin1FromBytes(key), latin1FromBytes(rangeEnd))) return;
    throw denied(caller.username);
  }

  /** The same for reads of the one key `bytes[start, end)`. */
  assertMayReadKeyIn(caller: Caller, bytes: Uint8Array, start: number, end: number): void {
    if (!this.#isEnabled) return;
    const rights = this.#currentRights(caller);
    if (!rights.isRoot && !rights.read.hasKeyIn(bytes, start, end)) throw denied(caller.username);
  }

  /** The same for reads of a span of latin1 texts. */
  assertMayReadSpan(caller: Caller, key: string, rangeEnd: string): void {
    if (!this.#isEnabled) return;
    const rights = this.#currentRights(caller);
    if (!rights.isRoot && !rights.read.covers(key, rangeEnd)) throw denied(caller.username);
  }

  /** @throws AuthError when the caller is nobody, was let in before the last change, or is gone */
  #currentRights({ username, revision }: Caller): Rights {
    if (revision === 0) throw nobodyAsked();
    if (revision < this.#revision) {
      throw new AuthError(
        "AUTH_OLD_REVISION",
        `the caller was let in at revision ${revision}, it is ${this.#revision}`,
      );
    }
    const rights = this.#rightsOf(username);
    if (rights === undefined) throw denied(username);
    return rights;
  }

  #rightsOf(username: string): Rights | undefined {
    const known = this.#rights.get(username);
    if (known !== undefined) return known;
    const rights = this.#findRights(username);
    if (rights !== undefined) this.#rights.set(username, rights);
    return rights;
  }

  #findRights(username: string): Rights | undefined {
    const user = this.user(username);
    if (user === undefined) return undefined;
    const permissions = user.roles.flatMap((name) => this.role(name)?.keyPermission ?? []);
    const rangesOf = (type: PermissionType): KeyRanges =>
      new KeyRanges(permissions.filter(({ permType }) => permType === type || permType === PermissionType.READWRITE));
    return {
      isRoot: user.roles.includes(ROOT),
      read: rangesOf(PermissionType.READ),
      write: rangesOf(PermissionType.WRITE),
    };
  }

  // ---- the table --------------------------------------------------------------------------------------------------

  #putUser(user: User): void {
    this.#table.put(AUTH_USERS_BUCKET, user.name, User.encode(user).finish());
  }

  #putRole(role: Role): void {
    this.#table.put(AUTH_ROLES_BUCKET, role.name, Role.encode(role).finish());
  }

  #storedRevision(): number {
    const bytes = this.#table.get(AUTH_BUCKET, REVISION_KEY);
    return bytes === undefined ? 0 : readUint64BE(bytes, 0);
  }

  #changed(): void {
    this.#revision++;
    this.#rights.clear();
    const bytes = new Uint8Array(8);
    writeUint64BE(bytes, 0, this.#revision);
    this.#table.put(AUTH_BUCKET, REVISION_KEY, bytes);
  }
}

/**
 * A permission of the same range is replaced, if it is the first of its key; any other is added, so that the same range may be there twice
 * (as in etcd: members must agree on the bytes, and so must their order be Go's).
 */
function withPermission(permissions: readonly Permission[], { key, rangeEnd, permType }: Permission): Permission[] {
  const at = permissions.findIndex((permission) => compareBytes(permission.key, key) >= 0);
  const first = permissions[at];
  if (first !== undefined && equalBytes(first.key, key) && equalBytes(first.rangeEnd, rangeEnd)) {
    return permissions.map((permission, index) => (index === at ? { ...permission, permType } : permission));
  }
  return goSort([...permissions, { permType, key, rangeEnd }], (a, b) => compareBytes(a.key, b.key) < 0);
}

function checkName(name: string): void {
  const { length } = utf8FromText(name);
  if (length <= NAME_BYTES_MAX) return;
  throw new AuthError("AUTH_NAME_TOO_LONG", `a name of ${length} bytes, at most ${NAME_BYTES_MAX}`);
}

/** Base64 as Go reads it: with its padding, and line ends passed over. */
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;

/** @throws AuthError `AUTH_NO_PASSWORD_USER`, which is what etcd tells of what is no base64 */
function decodeHash(text: string): Uint8Array {
  const digits = text.replaceAll(/[\r\n]/g, "");
  if (digits.length % 4 === 0 && BASE64.test(digits)) return bytesFromBase64(digits);
  throw new AuthError("AUTH_NO_PASSWORD_USER", "the hash of the password is not base64");
}

function denied(username: string): AuthError {
  return new AuthError("AUTH_PERMISSION_DENIED", `${JSON.stringify(username)} may not do this`);
}

function nobodyAsked(): AuthError {
  return new AuthError("AUTH_USER_EMPTY", "authentication is on, and the request came without a user");
}

function mustKeepRoot(detail: string): AuthError {
  return new AuthError("AUTH_MANAGEMENT_INVALID", `${detail} while authentication is on`);
}
