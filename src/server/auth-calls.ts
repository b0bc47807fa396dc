/**
 * The calls of etcd's Auth service. A password is checked, or made a hash of, by the member that is asked: that takes long, is done beside
 * the loop, and keeps it out of the log. What goes into the log every member decides alike.
 */
import { base64FromBytes } from "../proto/base64.js";
import { AuthError, type AuthTables, type Caller, type Credentials } from "../auth/index.js";
import { describeError } from "../base/errors.js";
import type { Log } from "../platform/index.js";
import type {
  AuthenticateRequest,
  AuthenticateResponse,
  AuthUserAddRequest,
  AuthUserChangePasswordRequest,
} from "../proto/generated/etcdserverpb/auth.js";
import type { ResponseHeader } from "../proto/generated/etcdserverpb/header.js";
import type { InternalRaftRequest } from "../proto/generated/etcdserverpb/raft_internal.js";
import type { Access } from "./access.js";
import type { AuthCalls, AuthRequestKind, AuthRequests, CallContext } from "./contract.js";

/** What comes back from the log; the header is the member's affair. */
interface Answered {
  header: ResponseHeader | undefined;
}

export interface AuthCallsDependencies {
  readonly tables: () => AuthTables;
  readonly credentials: Credentials;
  readonly access: Access;
  readonly linearizableRead: () => Promise<void>;
  /** Proposes a request, and answers what became of it. */
  readonly request: (fields: Partial<InternalRaftRequest>, caller?: Caller) => Promise<Answered>;
  readonly log: Log;
}

export class LoggedAuthCalls implements AuthCalls {
  readonly #d: AuthCallsDependencies;

  constructor(dependencies: AuthCallsDependencies) {
    this.#d = dependencies;
  }

  /** A change of users while the password is checked makes the verdict stale: it is checked once more, as in etcd. */
  async authenticate({ name, password }: AuthenticateRequest): Promise<AuthenticateResponse> {
    await this.#d.linearizableRead();
    const { tokens } = this.#d.credentials;
    for (;;) {
      const revision = await this.#checkPassword(name, password);
      const authenticate = { name, password: "", simpleToken: tokens.newPrefix() };
      const answer = (await this.#d.request({ authenticate })) as AuthenticateResponse;
      if (revision === this.#d.tables().revision) {
        return { header: answer.header, token: await tokens.issue(answer.token, name, revision) };
      }
      this.#d.log.info("revision when password checked became stale; retrying");
    }
  }

  /** @returns the auth revision as of which it is right */
  async #checkPassword(name: string, password: string): Promise<number> {
    const tables = this.#d.tables();
    const { revision } = tables;
    try {
      if (!tables.isEnabled) throw new AuthError("AUTH_NOT_ENABLED", "authentication is off");
      const user = tables.user(name);
      if (user === undefined) throw new AuthError("AUTH_FAILED", `no user ${JSON.stringify(name)}`);
      if (user.options?.noPassword === true) {
        throw new AuthError("AUTH_NO_PASSWORD_USER", `${JSON.stringify(name)} has no password`);
      }
      if (await this.#d.credentials.hasher.matches(password, user.password)) return revision;
      throw new AuthError("AUTH_FAILED", `not the password of ${JSON.stringify(name)}`);
    } catch (error) {
      if (!(error instanceof AuthError) || error.code !== "AUTH_NOT_ENABLED") {
        this.#d.log.warn("invalid authentication was requested", { user: name, error: describeError(error) });
      }
      throw error;
    }
  }

  async call<Kind extends AuthRequestKind>(
    kind: Kind,
    request: AuthRequests[Kind]["request"],
    context?: CallContext,
  ): Promise<AuthRequests[Kind]["response"]> {
    const caller = await this.#d.access.callerOf(context);
    const logged = await this.#withHash(kind, request, caller);
    return this.#d.request({ [kind]: logged }, caller);
  }

  /** The request as it goes into the log: with a hash where it had a password. */
  async #withHash(kind: AuthRequestKind, request: object, caller: Caller): Promise<object> {
    if (kind === "authUserAdd") {
      const { password, options, ...rest } = request as AuthUserAddRequest;
      // A hash that the client sends with a new user is passed over, as in etcd.
      if (options?.noPassword === true) return { ...rest, options, password: "", hashedPassword: "" };
      return { ...rest, options, password: "", hashedPassword: await this.#hash(password, caller) };
    }
    if (kind === "authUserChangePassword") {
      const { password, ...rest } = request as AuthUserChangePasswordRequest;
      if (password === "") return request;
      return { ...rest, password: "", hashedPassword: await this.#hash(password, caller) };
    }
    return request;
  }

  /** Base64 of a hash. Strangers cannot make this member work: they are refused before. */
  async #hash(password: string, caller: Caller): Promise<string> {
    this.#d.tables().assertAdmin(caller);
    return base64FromBytes(await this.#d.credentials.hasher.hash(password));
  }
}
