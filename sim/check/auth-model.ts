/**
 * Users, roles and rights as a textbook would write them: each change makes another state, the one before stays as it was. It knows nothing
 * of src/auth, so that it can judge it.
 *
 * Laws:
 * - every change has an auth revision of its own, but for switching authentication on;
 * - while authentication is on, who reads or writes needs the right to all keys that he names, as of the newest revision: who was let in
 *   at an older one is refused, whatever he may do now;
 * - who changes users and roles needs the role root now, whenever he was let in;
 * - a token is one of its user as long as the user is there, has the same password, and authentication is not switched off.
 */
import type { KeyValueRequest, Span } from "./history.js";

export interface Permission extends Span {
  readonly access: "read" | "write" | "both";
}

export interface User {
  readonly roles: readonly string[];
  /** Of the last change after which his tokens are over: how many changes had been made. */
  readonly tokensSince: number;
}

/** Who asks, as an entry of the log names him. */
export interface Caller {
  /** "" for nobody. */
  readonly name: string;
  readonly revision: number;
}

export const NOBODY: Caller = { name: "", revision: 0 };

export type AuthChange =
  | { readonly kind: "enable" | "disable" }
  | { readonly kind: "add user" | "delete user" | "change password"; readonly user: string }
  | { readonly kind: "grant role" | "revoke role"; readonly user: string; readonly role: string }
  | { readonly kind: "add role" | "delete role"; readonly role: string }
  | { readonly kind: "grant permission"; readonly role: string; readonly permission: Permission }
  | { readonly kind: "revoke permission"; readonly role: string; readonly span: Span };

/** Why somebody is refused. */
export type AuthRefusal = "nobody" | "old revision" | "denied";

const ROOT = "root";

export class AuthState {
  readonly isEnabled: boolean;
  readonly revision: number;
  readonly users: ReadonlyMap<string, User>;
  readonly roles: ReadonlyMap<string, readonly Permission[]>;
  /** Changes made so far, switching on and off included. */
  readonly changes: number;
  /** After how many of them it was switched off last. */
  readonly offSince: number;

  constructor(
    fields: Pick<AuthState, "isEnabled" | "revision" | "users" | "roles" | "changes" | "offSince"> = {
      isEnabled: false,
      revision: 1,
      users: new Map(),
      roles: new Map(),
      changes: 0,
      offSince: 0,
    },
  ) {
    this.isEnabled = fields.isEnabled;
    this.revision = fields.revision;
    this.users = fields.users;
    this.roles = fields.roles;
    this.changes = fields.changes;
    this.offSince = fields.offSince;
  }

  // ---- what changes -------------------------------------------------------------------------------------------------

  /** The state after a change that somebody asks for; the same one where it is refused, or changes nothing. */
  after(change: AuthChange, caller: Caller): AuthState {
    if (this.isEnabled && !this.isRoot(caller.name)) return this;
    switch (change.kind) {
      case "enable":
        return this.isEnabled || !this.isRoot(ROOT) ? this : this.#with({ isEnabled: true }, this.revision);
      case "disable":
        return this.isEnabled ? this.#with({ isEnabled: false, offSince: this.changes + 1 }) : this;
      case "add user":
        return this.users.has(change.user) ? this : this.#withUser(change.user, []);
      case "delete user":
        return this.#withoutUser(change.user);
      case "change password": {
        const user = this.users.get(change.user);
        return user === undefined ? this : this.#withUser(change.user, user.roles);
      }
      case "grant role":
      case "revoke role":
        return this.#withRoleOf(change.user, change.role, change.kind === "grant role");
      case "add role":
        return this.roles.has(change.role) ? this : this.#withRole(change.role, []);
      case "delete role":
        return this.#withoutRole(change.role);
      case "grant permission": {
        const { permission, role } = change;
        const others = this.roles.get(role)?.filter((each) => !isSameSpan(each, permission));
        return others === undefined ? this : this.#withRole(role, [...others, permission]);
      }
      case "revoke permission": {
        const permissions = this.roles.get(change.role);
        const left = permissions?.filter((each) => !isSameSpan(each, change.span));
        return left === undefined || left.length === permissions!.length ? this : this.#withRole(change.role, left);
      }
    }
  }

  #with(
    fields: Partial<Pick<AuthState, "isEnabled" | "users" | "roles" | "offSince">>,
    revision = this.revision + 1,
  ): AuthState {
    const { isEnabled, users, roles, offSince } = this;
    return new AuthState({ isEnabled, users, roles, offSince, ...fields, changes: this.changes + 1, revision });
  }

  #withUser(name: string, roles: readonly string[]): AuthState {
    return this.#with({ users: new Map([...this.users, [name, { roles, tokensSince: this.changes + 1 }]]) });
  }

  #withoutUser(name: string): AuthState {
    if (!this.users.has(name) || (this.isEnabled && name === ROOT)) return this;
    return this.#with({ users: new Map([...this.users].filter(([each]) => each !== name)) });
  }

  #withRoleOf(name: string, role: string, granted: boolean): AuthState {
    const user = this.users.get(name);
    if (user === undefined || user.roles.includes(role) === granted) return this;
    if (granted && role !== ROOT && !this.roles.has(role)) return this;
    if (!granted && this.isEnabled && name === ROOT && role === ROOT) return this;
    const roles = granted ? [...user.roles, role].sort() : user.roles.filter((each) => each !== role);
    return this.#with({ users: new Map([...this.users, [name, { ...user, roles }]]) });
  }

  #withRole(role: string, permissions: readonly Permission[]): AuthState {
    return this.#with({ roles: new Map([...this.roles, [role, permissions]]) });
  }

  #withoutRole(role: string): AuthState {
    if (!this.roles.has(role) || (this.isEnabled && role === ROOT)) return this;
    const users = new Map<string, User>();
    for (const [name, user] of this.users)
      users.set(name, { ...user, roles: user.roles.filter((each) => each !== role) });
    return this.#with({ users, roles: new Map([...this.roles].filter(([each]) => each !== role)) });
  }

  // ---- who may do what ------------------------------------------------------------------------------------------------

  isRoot(name: string): boolean {
    return this.users.get(name)?.roles.includes(ROOT) ?? false;
  }

  /** Whether a token that was given after so many changes is one still. */
  isGood(user: string, changes: number): boolean {
    const known = this.users.get(user);
    return this.isEnabled && known !== undefined && known.tokensSince <= changes && this.offSince <= changes;
  }

  /** Why the caller may not read, or write, the span; undefined where he may. */
  refusalOf(access: "read" | "write", caller: Caller, span: Span): AuthRefusal | undefined {
    if (!this.isEnabled) return undefined;
    if (caller.name === "") return "nobody";
    if (caller.revision < this.revision) return "old revision";
    return this.may(access, caller.name, span) ? undefined : "denied";
  }

  may(access: "read" | "write", name: string, span: Span): boolean {
    if (this.isRoot(name)) return true;
    const roles = this.users.get(name)?.roles ?? [];
    const all = roles.flatMap((role) => this.roles.get(role) ?? []);
    return isCovered(
      span,
      all.filter((permission) => permission.access === "both" || permission.access === access),
    );
  }

  /**
   * Why the caller may not make the request.
   *
   * @param keysOfLease the keys that hang on a lease: who hangs one on it may have to delete all
   */
  refusalOfRequest(
    request: KeyValueRequest,
    caller: Caller,
    keysOfLease: (lease: string) => readonly string[],
  ): AuthRefusal | undefined {
    if (!this.isEnabled) return undefined;
    for (const { access, span } of needsOf(request, keysOfLease)) {
      const refusal = this.refusalOf(access, caller, span);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }
}

/** The rights that a request needs, those of both branches of a transaction. */
export function needsOf(
  request: KeyValueRequest,
  keysOfLease: (lease: string) => readonly string[],
): { readonly access: "read" | "write"; readonly span: Span }[] {
  switch (request.kind) {
    case "range":
      return [{ access: "read", span: request }];
    case "put": {
      const own = { key: request.key };
      const keys = request.lease === undefined ? [] : keysOfLease(request.lease);
      const beside = keys.map((key) => ({ access: "write" as const, span: { key } }));
      const before = request.prevKv === true ? [{ access: "read" as const, span: own }] : [];
      return [{ access: "write", span: own }, ...beside, ...before];
    }
    case "delete":
      return [
        { access: "write", span: request },
        ...(request.prevKv === true ? [{ access: "read" as const, span: request }] : []),
      ];
    case "txn":
      return [
        ...request.compares.map((span) => ({ access: "read" as const, span })),
        ...[...request.success, ...request.failure].flatMap((each) => needsOf(each, keysOfLease)),
      ];
  }
}

/** Whether permissions, all together, hold every key of the span. */
function isCovered({ key, end }: Span, permissions: readonly Span[]): boolean {
  const isOne = end === undefined || end === "";
  const limit = isOne ? `${key}\0` : end === "\0" ? undefined : end;
  let at: string = key;
  for (;;) {
    // The furthest that a permission reaches from here; null while none holds this key.
    let reached: string | undefined | null = null;
    for (const permission of permissions) {
      const permitted = endOf(permission);
      if (permission.key > at || (permitted !== undefined && permitted <= at)) continue;
      if (permitted === undefined) reached = undefined;
      else if (reached === null || (reached !== undefined && permitted > reached)) reached = permitted;
    }
    if (reached === null) return false;
    if (reached === undefined) return true;
    if (limit !== undefined && reached >= limit) return true;
    at = reached;
  }
}

/** Undefined where there is none. */
function endOf({ key, end }: Span): string | undefined {
  if (end === undefined || end === "") return `${key}\0`;
  return end === "\0" ? undefined : end;
}

function isSameSpan(a: Span, b: Span): boolean {
  return a.key === b.key && (a.end ?? "") === (b.end ?? "");
}
