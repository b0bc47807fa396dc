/**
 * A lock that one session holds at a time, among all clients of a cluster that name it the same, etcd's own included.
 *
 * It guards what agrees to be guarded: a holder that is cut off may still believe that it holds while its session is over and the next one does. Who
 * writes to the store under a lock puts `isHeld` into the transaction, and nothing is written too late.
 */
import { type Compare, DeleteRangeRequest } from "../proto/index.js";
import { SessionError } from "./errors.js";
import {
  enter,
  headOf,
  isCreatedAt,
  pairAt,
  pairIn,
  patiently,
  placeOf,
  prefixOf,
  reachHead,
  readOf,
  type WaitOptions,
} from "./queue.js";
import type { Session } from "./session.js";

export class Mutex {
  readonly session: Session;
  /** Of this session's place in the line, which is the lock when it is the first. */
  readonly key: Uint8Array;
  readonly #prefix: Uint8Array;
  /** When the key was created; undefined while this session is not in the line. */
  #created: number | undefined;
  #heldSince = 0;

  constructor(session: Session, name: string | Uint8Array) {
    this.session = session;
    this.#prefix = prefixOf(name);
    this.key = placeOf(this.#prefix, session);
  }

  /** The store's revision at which the lock was known to be held; 0 before it was. Later holders have larger ones. */
  get revision(): number {
    return this.#heldSince;
  }

  /** For transactions that are to do something only while this session is in the line under its key of now. */
  get isHeld(): Compare {
    return isCreatedAt(this.key, this.#created ?? -1);
  }

  /**
   * Waits for the lock. A session that holds it already has it.
   *
   * @throws SessionError `SESSION_OVER`; the signal's reason, and the place in the line is given up; RpcError
   */
  async lock(options: WaitOptions = {}): Promise<void> {
    if (await this.#enter(options)) return;
    try {
      await reachHead(this.session, this.#prefix, this.#created!, options);
      const { kvs, header } = await this.session.client.range(pairAt(this.key), patiently(options));
      if (kvs.length === 0) throw new SessionError("SESSION_OVER", "mutex: session is expired");
      this.#heldSince = header?.revision ?? 0;
    } catch (error) {
      await this.unlock().catch(() => undefined); // what was first is told; the key goes with the session at the latest
      throw error;
    }
  }

  /** Takes the lock if nobody has it. @returns whether this session has it now @throws RpcError */
  async tryLock(options: WaitOptions = {}): Promise<boolean> {
    if (await this.#enter(options)) return true;
    await this.unlock();
    return false;
  }

  /** Gives the lock, or the place in the line, to the next one. @throws RpcError */
  async unlock(): Promise<void> {
    await this.session.client.deleteRange({ ...DeleteRangeRequest.create(), key: this.key });
    this.#created = undefined;
  }

  /** Gets into the line. @returns whether at its head */
  async #enter(options: WaitOptions): Promise<boolean> {
    const request = enter(this.session, this.key, new Uint8Array(0), readOf(headOf(this.#prefix)));
    const answer = await this.session.client.txn(request, patiently(options));
    const revision = answer.header?.revision ?? 0;
    this.#created = pairIn(answer, 0)?.createRevision ?? revision;
    const owner = pairIn(answer, 1)?.createRevision;
    if (owner !== undefined && owner !== this.#created) return false;
    this.#heldSince = revision;
    return true;
  }
}
