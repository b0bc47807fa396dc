/**
 * etcd's simple tokens: sixteen letters by chance, a dot, and the index of the entry before the authentication, as decimal digits:
 * `KQqTnaXyWLpVsNrd.17`. Every member keeps all of them in memory, for each comes through the log; a restart forgets them.
 *
 * A token lives for a time after its last use, by the clock of the member that is asked.
 */
import type { Clock } from "../platform/clock.js";
import type { Random } from "../platform/random.js";
import type { Bearer, Tokens } from "./credentials.js";

const LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const PREFIX_LETTERS = 16;

/** Life after the last use: etcd's default of `--auth-token-ttl`. */
export const TOKEN_TTL_SECONDS = 300;

/** Pause between two looks for tokens that have run out (etcd's figure). */
const SWEEP_MS = 1_000;

const FORM = /^[^.]*\.([0-9]{1,20})$/;

class Session implements Bearer {
  readonly username: string;
  readonly revision = undefined;
  endsAt: number;

  constructor(username: string, endsAt: number) {
    this.username = username;
    this.endsAt = endsAt;
  }
}

export class SimpleTokens implements Tokens {
  readonly #clock: Pick<Clock, "now">;
  readonly #random: Pick<Random, "below">;
  readonly #ttlMs: number;
  readonly #sessions = new Map<string, Session>();
  #isEnabled = false;
  #sweptAt = Number.NEGATIVE_INFINITY;

  /** @param ttlSeconds 0 means the default */
  constructor(
    clock: Pick<Clock, "now">,
    random: Pick<Random, "below">,
    { ttlSeconds }: { readonly ttlSeconds: number } = { ttlSeconds: TOKEN_TTL_SECONDS },
  ) {
    this.#clock = clock;
    this.#random = random;
    this.#ttlMs = (ttlSeconds === 0 ? TOKEN_TTL_SECONDS : ttlSeconds) * 1000;
  }

  /** How many are alive, or have run out since the last look. */
  get size(): number {
    return this.#sessions.size;
  }

  newPrefix(): string {
    let prefix = "";
    for (let i = 0; i < PREFIX_LETTERS; i++) prefix += LETTERS.charAt(this.#random.below(LETTERS.length));
    return prefix;
  }

  assign(username: string, prefix: string, index: number): string {
    const token = `${prefix}.${index}`;
    if (this.#isEnabled) this.#sessions.set(token, new Session(username, this.#clock.now() + this.#ttlMs));
    return token;
  }

  issue(assigned: string): Promise<string> {
    return Promise.resolve(assigned);
  }

  find(token: string): Bearer | undefined {
    const session = this.#sessions.get(token);
    if (session === undefined) return undefined;
    const now = this.#clock.now();
    if (now > session.endsAt) {
      this.#sessions.delete(token);
      return undefined;
    }
    session.endsAt = now + this.#ttlMs;
    return session;
  }

  /** One more than the token says. etcd waits for what it says, and may find that the token is one entry away. */
  indexOf(token: string): number {
    const form = FORM.exec(token);
    return form === null ? 0 : Number(form[1]) + 1;
  }

  invalidate(username: string): void {
    for (const [token, session] of this.#sessions) {
      if (session.username === username) this.#sessions.delete(token);
    }
  }

  enable(): void {
    this.#isEnabled = true;
  }

  disable(): void {
    this.#isEnabled = false;
    this.#sessions.clear();
  }

  onTick(): void {
    const now = this.#clock.now();
    if (now < this.#sweptAt + SWEEP_MS) return;
    this.#sweptAt = now;
    for (const [token, session] of this.#sessions) {
      if (now > session.endsAt) this.#sessions.delete(token);
    }
  }
}
