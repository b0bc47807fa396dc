/**
 * Passwords as etcd keeps them: bcrypt, `$2a$10$…`. One hash takes tens of milliseconds by design, so it is made by the thread pool.
 * The disk's work is done there, too: only a few hashes are made at a time, and the others wait.
 */
import type * as BcryptModule from "@node-rs/bcrypt";
import { AuthError, type PasswordHasher } from "../auth/index.js";

type Bcrypt = Pick<typeof BcryptModule, "hash" | "verify">;

/** bcrypt looks at so many bytes of a password; Go refuses longer ones, and so does etcd. */
const PASSWORD_BYTES_MAX = 72;

const COST_MIN = 4;
const COST_MAX = 31;
/** etcd's default of `--bcrypt-cost`, which it takes for a cost that bcrypt does not have, too. */
export const BCRYPT_COST = 10;

/** Of the pool's four threads. */
const AT_A_TIME_MAX = 2;

const HASH = /^\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{53}$/;

export class BcryptHasher implements PasswordHasher {
  readonly #cost: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor({ cost }: { readonly cost: number } = { cost: BCRYPT_COST }) {
    this.#cost = cost < COST_MIN || cost > COST_MAX ? BCRYPT_COST : cost;
  }

  async hash(password: string): Promise<Uint8Array> {
    const bytes = Buffer.byteLength(password);
    if (bytes > PASSWORD_BYTES_MAX) {
      throw new AuthError("AUTH_PASSWORD_TOO_LONG", `${bytes} bytes, at most ${PASSWORD_BYTES_MAX}`);
    }
    // Go writes version 2a, which is the same algorithm as 2b for such passwords.
    const text = await this.#inTurn(({ hash }) => hash(password, { cost: this.#cost, version: "2a" }));
    return Buffer.from(text, "latin1");
  }

  async matches(password: string, hash: Uint8Array): Promise<boolean> {
    const text = Buffer.from(hash).toString("latin1");
    if (!HASH.test(text)) return false;
    return this.#inTurn(({ verify }) => verify(password, text));
  }

  async #inTurn<Result>(work: (bcrypt: Bcrypt) => Promise<Result>): Promise<Result> {
    if (this.#running >= AT_A_TIME_MAX) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#running++;
    try {
      return await work(await import("@node-rs/bcrypt")); // loaded when the first password comes
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }
}
