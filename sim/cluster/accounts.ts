/**
 * The users of a simulated cluster, and how their passwords are checked there: by a hasher that keeps nothing secret and takes its time on the
 * clock of the machine, so that users and roles may change meanwhile.
 */
import { SimpleTokens, type Credentials } from "../../src/auth/index.js";
import { equalBytes } from "../../src/base/bytes.js";
import { utf8FromText } from "../../src/base/text.js";
import type { Clock, Random } from "../../src/platform/index.js";

/** Who may do everything, and whom the administrator gives and takes rights. */
export const ROOT = "root";
export const USERS = ["u1", "u2", "u3"] as const;

/** What a hash takes. */
const HASH_MS_MAX = 8;

export class Accounts {
  readonly #passwords = new Map<string, string>();

  /** The last one that was set, as far as is known. */
  passwordOf(user: string): string {
    return this.#passwords.get(user) ?? user;
  }

  setPassword(user: string, password: string): void {
    this.#passwords.set(user, password);
  }
}

export function simCredentials(clock: Clock, random: Random, tokenSeconds: number): Credentials {
  const takesTime = (): Promise<void> =>
    new Promise((resolve) => void clock.after(1 + random.below(HASH_MS_MAX), resolve));
  return {
    hasher: {
      hash: async (password) => {
        await takesTime();
        return hashOf(password);
      },
      matches: async (password, hash) => {
        await takesTime();
        return equalBytes(hashOf(password), hash);
      },
    },
    tokens: new SimpleTokens(clock, random, { ttlSeconds: tokenSeconds }),
  };
}

function hashOf(password: string): Uint8Array {
  return utf8FromText(`plain:${password}`);
}
