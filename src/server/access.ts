/**
 * Who calls: from what came with a call to the user it stands for; and the questions of calls that are no requests of the log.
 *
 * A simple token comes through the log, so one that another member gave may be on its way: it names the entry that must be applied
 * here first, and the call waits for that as etcd's do, but not for ever.
 */
import { AuthError, NOBODY, RequestChecks, type AuthTables, type Bearer, type Caller } from "../auth/index.js";
import type { LeaseKeys, Tokens } from "../auth/index.js";
import type { Clock, Log } from "../platform/index.js";
import type { AccessChecks, CallContext } from "./contract.js";

export interface AccessDependencies {
  /** As they are now: a leader's snapshot replaces them. */
  readonly tables: () => { readonly auth: AuthTables; readonly leases: LeaseKeys };
  readonly tokens: Tokens;
  readonly appliedIndex: () => number;
  readonly clock: Pick<Clock, "after">;
  readonly log: Log;
}

export interface AccessOptions {
  /** How long a call waits for the entry that made its token. */
  readonly timeoutMs: number;
  /** Whether the common name of a client's certificate is a user's (`--client-cert-auth`). */
  readonly clientCertAuth: boolean;
}

/** Calls that wait for their tokens' entries. Strangers can make up such tokens; an honest one waits for a moment, where a member is behind. */
const WAITING_MAX = 1_000;

interface Waiting {
  readonly index: number;
  readonly resume: () => void;
}

export class Access implements AccessChecks {
  readonly #d: AccessDependencies;
  readonly #options: AccessOptions;
  readonly #waiting = new Set<Waiting>();

  constructor(dependencies: AccessDependencies, options: AccessOptions) {
    this.#d = dependencies;
    this.#options = options;
  }

  /**
   * Who calls; `NOBODY` without a token, and while authentication is off. A promise only where it must wait.
   *
   * @throws AuthError `AUTH_TOKEN_INVALID`
   */
  callerOf(context: CallContext | undefined): Caller | Promise<Caller> {
    const { auth } = this.#d.tables();
    if (!auth.isEnabled || context === undefined) return NOBODY;
    const { token } = context;
    if (token === undefined) return this.#certified(context, auth);
    const bearer = this.#d.tokens.find(token);
    if (bearer === undefined) return this.#afterItsEntry(token, context);
    return bearer instanceof Promise ? bearer.then((found) => this.#admit(found)) : this.#admit(bearer);
  }

  takesCommonNames(): boolean {
    return this.#options.clientCertAuth && this.#d.tables().auth.isEnabled;
  }

  #certified({ commonName }: CallContext, { revision }: AuthTables): Caller {
    if (commonName === undefined || !this.#options.clientCertAuth) return NOBODY;
    return { username: commonName, revision };
  }

  #admit(bearer: Bearer | undefined): Caller {
    if (bearer === undefined) throw this.#invalidToken();
    return { username: bearer.username, revision: bearer.revision ?? this.#d.tables().auth.revision };
  }

  #afterItsEntry(token: string, context: CallContext): Promise<Caller> {
    const index = this.#d.tokens.indexOf(token);
    if (index <= this.#d.appliedIndex() || this.#waiting.size >= WAITING_MAX) throw this.#invalidToken();
    return this.#applied(index, context).then(async () => this.#admit(await this.#d.tokens.find(token)));
  }

  /** Resolves when the entry is applied, or nobody waits for that any more. */
  #applied(index: number, { signal }: CallContext): Promise<void> {
    return new Promise((resolve) => {
      const waiting: Waiting = {
        index,
        resume: () => {
          this.#waiting.delete(waiting);
          timer.cancel();
          signal?.removeEventListener("abort", waiting.resume);
          resolve();
        },
      };
      const timer = this.#d.clock.after(this.#options.timeoutMs, waiting.resume);
      signal?.addEventListener("abort", waiting.resume, { once: true });
      this.#waiting.add(waiting);
    });
  }

  #invalidToken(): AuthError {
    this.#d.log.warn("invalid auth token");
    return new AuthError("AUTH_TOKEN_INVALID", "no user has this token, or its time is over");
  }

  /** Entries were applied: tokens may be known now. */
  onApplied(): void {
    if (this.#waiting.size === 0) return;
    const applied = this.#d.appliedIndex();
    for (const waiting of this.#waiting) if (waiting.index <= applied) waiting.resume();
  }

  /** Nothing will be applied any more. */
  close(): void {
    for (const waiting of this.#waiting) waiting.resume();
  }

  // ---- questions --------------------------------------------------------------------------------------------------

  async requireUser(context: CallContext | undefined): Promise<void> {
    if (!this.#d.tables().auth.isEnabled) return;
    assertSomebody(await this.callerOf(context));
  }

  async requireAdmin(context: CallContext | undefined): Promise<void> {
    if (!this.#d.tables().auth.isEnabled) return;
    const caller = await this.callerOf(context);
    this.#d.tables().auth.assertAdmin(caller);
  }

  async requireRead(context: CallContext | undefined, key: Uint8Array, rangeEnd: Uint8Array): Promise<void> {
    await this.mustRead(context, key, rangeEnd);
  }

  /** The same without a promise, where nothing is to be waited for. */
  mustRead(context: CallContext | undefined, key: Uint8Array, rangeEnd: Uint8Array): void | Promise<void> {
    if (!this.#d.tables().auth.isEnabled) return;
    // An empty key means the smallest one, as watches have it.
    const first = key.length === 0 ? SMALLEST_KEY : key;
    const judge = (caller: Caller): void => this.#d.tables().auth.assertMay("read", caller, first, rangeEnd);
    const caller = this.callerOf(context);
    if (caller instanceof Promise) return caller.then(judge);
    judge(caller);
  }

  async requireLeaseWrite(context: CallContext | undefined, lease: bigint): Promise<void> {
    if (!this.#d.tables().auth.isEnabled) return;
    const caller = await this.callerOf(context);
    assertSomebody(caller);
    this.#checks().writesOfLease(caller, lease);
  }

  async requireLeaseRead(context: CallContext | undefined, leases: Iterable<bigint>): Promise<void> {
    if (!this.#d.tables().auth.isEnabled) return;
    const caller = await this.callerOf(context);
    assertSomebody(caller);
    const checks = this.#checks();
    for (const lease of leases) checks.readsOfLease(caller, lease);
  }

  #checks(): RequestChecks {
    const { auth, leases } = this.#d.tables();
    return new RequestChecks(auth, leases);
  }
}

const SMALLEST_KEY = Uint8Array.of(0);

function assertSomebody({ revision }: Caller): void {
  if (revision === 0) throw new AuthError("AUTH_USER_EMPTY", "authentication is on, and the call came without a token");
}
