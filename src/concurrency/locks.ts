/**
 * Locks: who is the oldest candidate has it (`candidates.ts`). It is held while the key is there: until it is unlocked, or the lease ends.
 */
import { CodedError } from "../base/errors.js";
import type { ResponseHeader } from "../proto/generated/etcdserverpb/header.js";
import { DeleteRangeRequest, type DeleteRangeResponse } from "../proto/generated/etcdserverpb/kv.js";
import type { CallContext } from "../server/contract.js";
import { RequestError } from "../server/errors.js";
import { Candidates, leave } from "./candidates.js";
import { ConcurrencyError } from "./errors.js";
import { getKey, type Requests } from "./requests.js";
import { leaseOf } from "./session.js";

/** Bytes are copied where they are needed for longer than the call's first turn. */
export interface LockAsked {
  readonly name: Uint8Array;
  /** 0 for a lease that is made for it. */
  readonly lease: bigint;
}

export class Locks {
  readonly #requests: Requests;

  constructor(requests: Requests) {
    this.#requests = requests;
  }

  /**
   * Resolves when the caller has the lock. Who has it already gets it again, under the same key. A caller who goes meanwhile, or whose wait
   * fails, leaves no key behind, as far as the member can take it away.
   *
   * @throws ConcurrencyError `LOCK_SESSION_EXPIRED` when the lease ended before its turn came, and whatever its requests throw
   */
  async lock({ name, lease }: LockAsked, context: CallContext): Promise<{ header: ResponseHeader; key: Uint8Array }> {
    const candidates = new Candidates(this.#requests, name);
    const session = await leaseOf(this.#requests, lease, context);
    const entry = await candidates.enter(session, new Uint8Array(0), context, true);
    const { candidate, isFirst, before } = entry;
    const { key } = candidate;
    if (isFirst === true && (before !== undefined || !hasGone(context))) return { header: entry.header, key };
    try {
      if (hasGone(context)) throw new RequestError("SERVER_CANCELED", "the caller has gone");
      await candidates.untilFirst(candidate, context);
      const { header, kvs } = await this.#requests.range(getKey(key), context);
      if (hasGone(context)) throw new RequestError("SERVER_CANCELED", "the caller has gone");
      if (kvs[0]?.createRevision !== candidate.revision) {
        throw new ConcurrencyError("LOCK_SESSION_EXPIRED", "the key has gone before its turn came");
      }
      return { header: header!, key };
    } catch (error) {
      await leaveQuietly(this.#requests, candidate, context);
      throw error;
    }
  }

  /** Takes a key away, whoever made it and whether there is one: that of a lock, or of one who waits for it. */
  unlock(key: Uint8Array, context: CallContext): Promise<DeleteRangeResponse> {
    return this.#requests.deleteRange({ ...DeleteRangeRequest.create(), key }, context);
  }
}

export const hasGone = ({ signal }: CallContext): boolean => signal?.aborted === true;

/** For one who is told another error than that its key could not be taken away; that key goes with its lease. */
export async function leaveQuietly(...[requests, candidate, context]: Parameters<typeof leave>): Promise<void> {
  try {
    await leave(requests, candidate, context);
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
  }
}
