/** Passwords and tokens for a real member: bcrypt, and the tokens that `--auth-token` names. */
import { type Credentials, SimpleTokens, type Tokens } from "../auth/index.js";
import type { Platform } from "../platform/index.js";
import { type AuthTokenSettings, parseAuthToken } from "./auth-token.js";
import { BcryptHasher } from "./bcrypt-hasher.js";
import { NoTokens } from "./no-tokens.js";

export { parseAuthToken } from "./auth-token.js";
export { BCRYPT_COST, BcryptHasher } from "./bcrypt-hasher.js";
export * from "./errors.js";

/** etcd's flags of the same names. */
export interface CredentialsOptions {
  readonly authToken: string;
  /** Life of a simple token after its last use. */
  readonly authTokenTtlSeconds: number;
  readonly bcryptCost: number;
}

/** @throws CredentialsError for tokens that cannot be made, or checked, as the options say */
export async function openCredentials(
  platform: Pick<Platform, "clock" | "random" | "log">,
  options: CredentialsOptions,
): Promise<Credentials> {
  const settings = parseAuthToken(options.authToken);
  return {
    hasher: new BcryptHasher({ cost: options.bcryptCost }),
    tokens: await tokensOf(platform, settings, options.authTokenTtlSeconds),
  };
}

async function tokensOf(
  { clock, random, log }: Pick<Platform, "clock" | "random" | "log">,
  settings: AuthTokenSettings,
  ttlSeconds: number,
): Promise<Tokens> {
  if (settings.kind === "simple") return new SimpleTokens(clock, random, { ttlSeconds });
  if (settings.kind === "none") {
    log.warn("no tokens are given: with authentication on nobody gets in by a password", { "auth-token": "" });
    return new NoTokens();
  }
  if (settings.unknown.length > 0) log.warn("unknown JWT options", { keys: settings.unknown });
  const { JwtTokens } = await import("./jwt-tokens.js"); // with its library, which others need not load
  return new JwtTokens({ clock, log }, settings.jwt);
}
