/**
 * Those who want what only one may have: keys `name/LEASE`, the lease in hexadecimal digits, in the order in which they were made. The
 * oldest has it; a key goes when its owner takes it away, or with its lease.
 *
 *     name/17   made at 5      has it
 *     name/2a   made at 9      waits until the one made at 5 is gone
 *     name/08   made at 12     waits until the one made at 9 is gone, and looks again then: 9 may have given up before 5
 *
 * Each waits for the one before it alone, so that one key's going wakes one waiter. All keys below `name/` count, those of a name that
 * begins with `name/` too. The form of the keys is etcd's: its clients make such keys by themselves, and contend with those made here.
 */
import { concatBytes } from "../base/bytes.js";
import { invariant } from "../base/errors.js";
import { bytesFromLatin1, latin1FromBytes } from "../base/text.js";
import type { ResponseHeader } from "../proto/generated/etcdserverpb/header.js";
import type { RangeResponse, ResponseOp } from "../proto/generated/etcdserverpb/kv.js";
import type { KeyValue } from "../proto/generated/mvccpb/kv.js";
import type { CallContext } from "../server/contract.js";
import { Changes } from "./changes.js";
import {
  deleteOp,
  getKey,
  getNewestUpTo,
  getOldest,
  isMadeAt,
  putOp,
  rangeOp,
  type Requests,
  steadfast,
} from "./requests.js";

const SEPARATOR = bytesFromLatin1("/");
/** The byte after the separator: where the keys below a name end. */
const BEHIND_SEPARATOR = bytesFromLatin1("0");

/** One who has entered. */
export interface Candidate {
  readonly key: Uint8Array;
  /** At which its key was made: its place in the order, and its name for good. */
  readonly revision: number;
}

export interface Entry {
  readonly candidate: Candidate;
  readonly header: ResponseHeader;
  /** The key as it was found; undefined when it was made now. */
  readonly before: KeyValue | undefined;
  /** Whether nobody is before it; undefined when that was not asked. */
  readonly isFirst: boolean | undefined;
}

export class Candidates {
  readonly #requests: Requests;
  readonly #key: Uint8Array;
  readonly #rangeEnd: Uint8Array;

  /** @param name copied */
  constructor(requests: Requests, name: Uint8Array) {
    this.#requests = requests;
    this.#key = concatBytes([name, SEPARATOR]);
    this.#rangeEnd = concatBytes([name, BEHIND_SEPARATOR]);
  }

  /** Where all keys of the name are. */
  get span(): { readonly key: string; readonly end: string } {
    return { key: latin1FromBytes(this.#key), end: latin1FromBytes(this.#rangeEnd) };
  }

  /**
   * Makes the key of a lease, or finds the one that is there. It is not taken back when the caller goes meanwhile: a key that nobody knows of
   * would be in everybody's way, so the one who calls this looks after it.
   */
  async enter(lease: bigint, value: Uint8Array, context: CallContext, asksFirst: boolean): Promise<Entry> {
    const key = concatBytes([this.#key, bytesFromLatin1(lease.toString(16))]);
    const more = asksFirst ? [rangeOp(getOldest(this.#key, this.#rangeEnd))] : [];
    const request = {
      compare: [isMadeAt(key, 0)],
      success: [putOp(key, value, lease), ...more],
      failure: [rangeOp(getKey(key)), ...more],
    };
    const { header, succeeded, responses } = await this.#requests.txn(request, steadfast(context));
    const before = succeeded ? undefined : rangeOf(responses[0]).kvs[0];
    const revision = before?.createRevision ?? header!.revision;
    const isFirst = asksFirst ? rangeOf(responses[1]).kvs[0]?.createRevision === revision : undefined;
    return { candidate: { key, revision }, header: header!, before, isFirst };
  }

  /** The oldest of all, where there is one. */
  oldest(context: CallContext): Promise<RangeResponse> {
    return this.#requests.range(getOldest(this.#key, this.#rangeEnd), context);
  }

  /** Resolves when no key is left that was made before a candidate's. Whether the candidate's own is there still is not looked at. */
  async untilFirst({ revision }: Candidate, context: CallContext): Promise<void> {
    for (;;) {
      const before = getNewestUpTo(revision - 1, this.#key, this.#rangeEnd);
      const { header, kvs } = await this.#requests.range(before, context);
      if (kvs.length === 0) return;
      await this.#untilGone(kvs[0]!.key, header!.revision, context);
    }
  }

  /** Resolves when a key was deleted after a revision, or when nobody can tell any more and it must be looked at. */
  async #untilGone(key: Uint8Array, revision: number, context: CallContext): Promise<void> {
    const span = { key: latin1FromBytes(key), end: undefined };
    const changes = new Changes(this.#requests, { span, startRevision: revision + 1, only: "deletions" }, context);
    try {
      await changes.next();
    } finally {
      changes.close();
    }
  }
}

/** Takes a candidate's key away, unless it is another one by now. Done for callers who have gone, too. */
export async function leave(
  requests: Requests,
  { key, revision }: Candidate,
  context: CallContext,
): Promise<ResponseHeader> {
  const request = { compare: [isMadeAt(key, revision)], success: [deleteOp(key)], failure: [] };
  const { header } = await requests.txn(request, steadfast(context));
  return header!;
}

function rangeOf(operation: ResponseOp | undefined): RangeResponse {
  invariant(operation?.response?.$case === "responseRange", "a range in a transaction is answered with a range");
  return operation.response.value;
}
