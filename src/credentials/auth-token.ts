/**
 * etcd's `--auth-token`: `simple`, nothing for no tokens, or `jwt` with options after commas, as in
 * `jwt,pub-key=app.rsa.pub,priv-key=app.rsa,sign-method=RS512,ttl=10m`.
 */
import { parseDuration } from "../base/go-duration.js";
import { CredentialsError } from "./errors.js";

export const SIGN_METHODS = [
  "HS256",
  "HS384",
  "HS512",
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
] as const;

export type SignMethod = (typeof SIGN_METHODS)[number];

export interface JwtSettings {
  readonly signMethod: SignMethod;
  /** Paths; for HMAC the private one is the secret. */
  readonly publicKey: string | undefined;
  readonly privateKey: string | undefined;
  readonly ttlMs: number;
}

export type AuthTokenSettings =
  | { readonly kind: "simple" }
  | { readonly kind: "none" }
  | { readonly kind: "jwt"; readonly jwt: JwtSettings; /** Options that etcd warns of. */ readonly unknown: string[] };

/** etcd's default of `ttl`. */
const JWT_TTL_MS = 300_000;

const KNOWN_OPTIONS = ["sign-method", "pub-key", "priv-key", "ttl"];

/** @throws CredentialsError `TOKEN_OPTION_INVALID` for what etcd does not start with */
export function parseAuthToken(text: string): AuthTokenSettings {
  const [kind, ...parts] = text.split(",");
  const options = new Map<string, string>();
  for (const part of parts) {
    const pair = part.split("=");
    if (pair.length !== 2) throw invalid(text, `"${part}" is not name=value`);
    const [name, value] = pair as [string, string];
    if (options.has(name)) throw invalid(text, `${name} is given twice`);
    options.set(name, value);
  }
  if (kind === "simple") return { kind };
  if (kind === "") return { kind: "none" };
  if (kind !== "jwt") throw invalid(text, `"${kind}" is neither simple nor jwt`);
  const unknown = [...options.keys()].filter((name) => !KNOWN_OPTIONS.includes(name));
  return { kind, jwt: jwtSettings(text, (name) => options.get(name) || undefined), unknown };
}

function jwtSettings(text: string, option: (name: string) => string | undefined): JwtSettings {
  const ttl = option("ttl");
  const ttlMs = ttl === undefined ? JWT_TTL_MS : parseDuration(ttl);
  if (ttlMs === undefined) throw invalid(text, `ttl=${ttl} is no duration such as 10m`);
  const method = option("sign-method");
  const signMethod = SIGN_METHODS.find((name) => name === method);
  if (signMethod === undefined) {
    throw invalid(text, `sign-method=${method ?? ""} is none of ${SIGN_METHODS.join(", ")}`);
  }
  return { signMethod, publicKey: option("pub-key"), privateKey: option("priv-key"), ttlMs };
}

function invalid(text: string, why: string): CredentialsError {
  return new CredentialsError("TOKEN_OPTION_INVALID", `--auth-token=${text}: ${why}`);
}
