/**
 * What authentication needs of the world: hashes of passwords, which take long, and tokens, which take time and chance. The real ones
 * are in `credentials/` and (simple tokens) beside this file; the simulated world brings a hasher that costs nothing.
 */

export interface PasswordHasher {
  /**
   * The hash as `db` keeps it.
   *
   * @throws AuthError `AUTH_PASSWORD_TOO_LONG`; as a rejection
   */
  hash(password: string): Promise<Uint8Array>;
  /** Whether the hash is that of the password; false for what is no hash. */
  matches(password: string, hash: Uint8Array): Promise<boolean>;
}

/** Whom a token stands for. */
export interface Bearer {
  readonly username: string;
  /** The auth revision that the token was given at, where it says so; undefined means: as of now. */
  readonly revision: number | undefined;
}

/**
 * Tokens of one kind. What the log decides (`assign`, `invalidate`, on and off) every member does alike; when a token has run out is
 * decided by each member's own clock.
 */
export interface Tokens {
  /** The part of a token that chance makes. It goes through the log, so that all members know the same token; "" where that is not so. */
  newPrefix(): string;
  /** An authentication was applied, at this index of the log. @returns what `issue` makes the token of */
  assign(username: string, prefix: string, index: number): string;
  /** The token that the client is given, by the member that it asked. @throws AuthError `AUTH_VERIFY_ONLY`; as a rejection */
  issue(assigned: string, username: string, revision: number): Promise<string>;
  /** Undefined for a token that is not, or no longer, known. */
  find(token: string): Bearer | undefined | Promise<Bearer | undefined>;
  /** The entry that must be applied here before it can be said whether the token is known; 0 when that can be said at once. */
  indexOf(token: string): number;
  /** All tokens of a user are over: he was deleted, or has another password. */
  invalidate(username: string): void;
  enable(): void;
  /** Authentication is off: all tokens are over. */
  disable(): void;
  /** Time has passed: drops what has run out. */
  onTick(): void;
}

export interface Credentials {
  readonly hasher: PasswordHasher;
  readonly tokens: Tokens;
}
