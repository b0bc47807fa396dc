/**
 * Signed tokens (JSON Web Tokens): user, auth revision and end are in the token itself, so that members need not remember it, and every
 * change of users and roles makes all of them old.
 *
 * To check a signature takes tens of microseconds and a promise: what was found right is remembered until the token ends.
 */
import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { readFileSync } from "node:fs";
import { jwtVerify, SignJWT } from "jose";
import { AuthError, type Bearer, type Tokens } from "../auth/index.js";
import { describeError } from "../base/errors.js";
import type { Clock, Log } from "../platform/index.js";
import type { JwtSettings } from "./auth-token.js";
import { CredentialsError } from "./errors.js";

/** Tokens that are remembered, the newest. */
const REMEMBERED_MAX = 10_000;

type Key = KeyObject | Uint8Array;

interface Keys {
  /** Undefined for a member that can only check. */
  readonly signing: Key | undefined;
  readonly checking: Key;
}

interface Known extends Bearer {
  readonly revision: number;
  /** Milliseconds since 1970; Infinity for a token without an end. */
  readonly endsAt: number;
}

export interface JwtDependencies {
  readonly clock: Pick<Clock, "wallNow">;
  readonly log: Log;
}

export class JwtTokens implements Tokens {
  readonly #d: JwtDependencies;
  readonly #settings: JwtSettings;
  readonly #keys: Keys;
  readonly #known = new Map<string, Known>();

  /** @throws CredentialsError when a key is missing, is no key, or does not fit the other one */
  constructor(dependencies: JwtDependencies, settings: JwtSettings) {
    this.#d = dependencies;
    this.#settings = settings;
    this.#keys = readKeys(settings);
  }

  newPrefix(): string {
    return "";
  }

  assign(): string {
    return "";
  }

  async issue(_assigned: string, username: string, revision: number): Promise<string> {
    const { signing } = this.#keys;
    if (signing === undefined) {
      throw new AuthError("AUTH_VERIFY_ONLY", "this member has no priv-key in --auth-token, and can only check tokens");
    }
    const endsAt = Math.floor((this.#d.clock.wallNow() + this.#settings.ttlMs) / 1000);
    return new SignJWT({ username, revision, exp: endsAt })
      .setProtectedHeader({ alg: this.#settings.signMethod, typ: "JWT" })
      .sign(signing);
  }

  find(token: string): Bearer | undefined | Promise<Bearer | undefined> {
    const known = this.#known.get(token);
    if (known === undefined) return this.#check(token);
    if (this.#d.clock.wallNow() < known.endsAt) return known;
    this.#known.delete(token);
    return undefined;
  }

  async #check(token: string): Promise<Bearer | undefined> {
    const now = this.#d.clock.wallNow();
    try {
      const { payload } = await jwtVerify(token, this.#keys.checking, {
        algorithms: [this.#settings.signMethod],
        currentDate: new Date(now),
      });
      const { username, revision, exp, iat } = payload;
      if (typeof username !== "string" || typeof revision !== "number") throw new Error("no username or no revision");
      if (iat !== undefined && iat * 1000 > now) throw new Error("used before it was issued");
      const known = { username, revision: Math.trunc(revision), endsAt: exp === undefined ? Infinity : exp * 1000 };
      this.#remember(token, known);
      return known;
    } catch (error) {
      this.#d.log.warn("failed to parse a JWT token", { error: describeError(error) });
      return undefined;
    }
  }

  #remember(token: string, known: Known): void {
    if (this.#known.size >= REMEMBERED_MAX) {
      const [oldest] = this.#known.keys();
      if (oldest !== undefined) this.#known.delete(oldest);
    }
    this.#known.set(token, known);
  }

  indexOf(): number {
    return 0;
  }

  // A signed token ends by its time, or by the auth revision, which each change raises.
  invalidate(): void {}
  enable(): void {}
  disable(): void {
    this.#known.clear();
  }
  onTick(): void {}
}

function readKeys(settings: JwtSettings): Keys {
  const { signMethod } = settings;
  const privateKey = readKey("priv-key", settings.privateKey);
  const publicKey = readKey("pub-key", settings.publicKey);
  if (signMethod.startsWith("HS")) {
    if (privateKey === undefined || privateKey.length === 0) throw missing(signMethod, "priv-key, which is the secret");
    return { signing: privateKey, checking: privateKey };
  }
  const type = signMethod.startsWith("ES") ? "ec" : "rsa";
  const signing = privateKey && asKey("priv-key", type, () => createPrivateKey(privateKey));
  const checking = publicKey && asKey("pub-key", type, () => createPublicKey(publicKey));
  if (signing === undefined) {
    if (checking === undefined) throw missing(signMethod, "pub-key, priv-key or both");
    return { signing, checking };
  }
  const own = createPublicKey(signing);
  if (checking !== undefined && !checking.equals(own)) {
    throw new CredentialsError("TOKEN_KEY_UNUSABLE", "--auth-token: pub-key and priv-key are not of one pair");
  }
  return { signing, checking: own };
}

function readKey(option: string, path: string | undefined): Buffer | undefined {
  if (path === undefined) return undefined;
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new CredentialsError(
      "TOKEN_KEY_UNUSABLE",
      `--auth-token: ${option}=${path} cannot be read: ${describeError(cause)}`,
      { cause },
    );
  }
}

function asKey(option: string, type: "ec" | "rsa", read: () => KeyObject): KeyObject {
  let key: KeyObject;
  try {
    key = read();
  } catch (cause) {
    throw new CredentialsError("TOKEN_KEY_UNUSABLE", `--auth-token: ${option} is no key in PEM`, { cause });
  }
  if (key.asymmetricKeyType === type) return key;
  throw new CredentialsError(
    "TOKEN_KEY_UNUSABLE",
    `--auth-token: ${option} is of kind ${key.asymmetricKeyType}, and sign-method needs ${type}`,
  );
}

function missing(signMethod: string, what: string): CredentialsError {
  return new CredentialsError("TOKEN_KEY_UNUSABLE", `--auth-token: sign-method=${signMethod} needs ${what}`);
}
