/**
 * A lease that lives as long as who holds it: what hangs on it goes when the process does, or is cut off for longer than the lease's time.
 *
 * Laws:
 * - the lease is renewed each third of its time, over whichever endpoint answers; a stream that is lost is opened anew;
 * - who did not hear of a renewal for the lease's whole time takes it for over, whatever the server thinks: others may hold by then
 *   what hung on it. `ended` says so, once and for ever.
 */
import type { Client } from "./client.js";
import { isPassing } from "./errors.js";

/** etcd's client's own. */
const TTL_SECONDS_DEFAULT = 60;
/** Between two attempts to open a stream of renewals. */
const RETRY_MS = 200;
/** setTimeout's longest. */
const TIMER_MS_MAX = 2 ** 31 - 1;

export interface SessionOptions {
  /** What the lease is granted for, in seconds; 60 when left out, or not above 0. The server may give more. */
  readonly ttlSeconds?: number;
  /** A lease that was granted before is taken over instead, as by a process that goes on where its predecessor ended. */
  readonly leaseId?: bigint;
  /** Gives the opening up. */
  readonly signal?: AbortSignal;
}

export class Session {
  readonly client: Client;
  readonly leaseId: bigint;
  /** Resolves when the lease is over, or is no longer renewed. */
  readonly ended: Promise<void>;
  readonly #ttlSeconds: number;
  readonly #stop = new AbortController();
  #end: () => void = () => undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  private constructor(client: Client, leaseId: bigint, ttlSeconds: number) {
    this.client = client;
    this.leaseId = leaseId;
    this.#ttlSeconds = ttlSeconds;
    this.ended = new Promise((resolve) => (this.#end = resolve));
  }

  /** @throws RpcError when the lease is not granted */
  static async open(client: Client, options: SessionOptions = {}): Promise<Session> {
    const { ttlSeconds = 0, leaseId, signal } = options;
    const ttl = ttlSeconds > 0 ? ttlSeconds : TTL_SECONDS_DEFAULT;
    const call = { timeoutMs: Number.POSITIVE_INFINITY, ...(signal === undefined ? {} : { signal }) };
    const granted = leaseId === undefined ? await client.leaseGrant({ ID: 0n, TTL: ttl }, call) : undefined;
    const session = new Session(client, granted?.ID ?? leaseId!, granted?.TTL ?? ttl);
    void session.#renew();
    return session;
  }

  get isOver(): boolean {
    return this.#stop.signal.aborted;
  }

  /** Renews no more. The lease, and what hangs on it, stays for the rest of its time. */
  orphan(): void {
    clearTimeout(this.#timer);
    this.#stop.abort();
    this.#end();
  }

  /** Ends the lease now, and with it what hangs on it. @throws RpcError when the server did not answer that; it runs out then */
  async close(): Promise<void> {
    this.orphan();
    await this.client.leaseRevoke(this.leaseId, { timeoutMs: this.#ttlSeconds * 1000 });
  }

  async #renew(): Promise<void> {
    const { signal } = this.#stop;
    this.#prolong(this.#ttlSeconds);
    while (!signal.aborted) {
      try {
        for await (const { TTL } of this.client.leaseKeepAlive(this.leaseId, signal)) this.#prolong(TTL);
        break; // the server knows no such lease
      } catch (error) {
        if (!isPassing(error)) break;
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
    this.orphan();
  }

  #prolong(ttlSeconds: number): void {
    clearTimeout(this.#timer);
    if (this.isOver) return;
    this.#timer = setTimeout(() => this.orphan(), Math.min(ttlSeconds * 1000, TIMER_MS_MAX));
  }
}
