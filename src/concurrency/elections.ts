/**
 * Elections: the oldest candidate leads (`candidates.ts`), and the value of its key is what it says of itself.
 *
 * A leader is known by key and create revision: whoever speaks for one that has been followed by another is refused. What etcd answers
 * that a caller might not expect is kept, for its clients know it: a candidate whose lease ends while it waits is told that it leads when
 * those before it are gone, so a leader must look at its key; and a candidate whose wait fails while its caller is there stays one.
 */
import { equalBytes } from "../base/bytes.js";
import { CodedError } from "../base/errors.js";
import { latin1FromBytes } from "../base/text.js";
import type { KeySpan } from "../mvcc/index.js";
import type { ResponseHeader } from "../proto/generated/etcdserverpb/header.js";
import type { RangeResponse } from "../proto/generated/etcdserverpb/kv.js";
import { Event, Event_EventType, type KeyValue } from "../proto/generated/mvccpb/kv.js";
import type { LeaderKey } from "../proto/generated/v3electionpb/election.js";
import type { CallContext } from "../server/contract.js";
import { Candidates, leave } from "./candidates.js";
import { Changes } from "./changes.js";
import { ConcurrencyError } from "./errors.js";
import { hasGone, leaveQuietly } from "./locks.js";
import { isMadeAt, putOp, type Requests } from "./requests.js";
import { leaseOf } from "./session.js";

export interface CandidacyAsked {
  readonly name: Uint8Array;
  /** 0 for a lease that is made for it. */
  readonly lease: bigint;
  readonly value: Uint8Array;
}

/** Who leads, as a client is told it. */
export interface Leadership {
  readonly header: ResponseHeader;
  readonly kv: KeyValue;
}

export class Elections {
  readonly #requests: Requests;

  constructor(requests: Requests) {
    this.#requests = requests;
  }

  /**
   * Resolves when the caller leads; its header is that of its entry. A candidate that is there already gets the new value at once, and its
   * old place. When the caller goes meanwhile, or the member hangs up on it, the candidate resigns.
   */
  async campaign(
    { name, lease, value }: CandidacyAsked,
    context: CallContext,
  ): Promise<{ header: ResponseHeader; leader: LeaderKey }> {
    const requests = this.#requests;
    const candidates = new Candidates(requests, name);
    const session = await leaseOf(requests, lease, context);
    const { candidate, header, before } = await candidates.enter(session, value, context, false);
    const leader: LeaderKey = { name, key: candidate.key, rev: candidate.revision, lease: session };
    try {
      if (before !== undefined && !equalBytes(before.value, value))
        await this.#proclaim(leader, session, value, context);
    } catch (error) {
      await leaveQuietly(requests, candidate, context);
      throw error;
    }
    try {
      await candidates.untilFirst(candidate, context);
    } catch (error) {
      if (hasGone(context) || isStopping(error)) await leaveQuietly(requests, candidate, context);
      throw error;
    }
    if (before === undefined && hasGone(context)) await leaveQuietly(requests, candidate, context);
    return { header, leader };
  }

  /** Changes what a leader says of itself. @throws ConcurrencyError `ELECTION_NOT_LEADER` when it is none any more, or never was one */
  async proclaim(leader: LeaderKey | undefined, value: Uint8Array, context: CallContext): Promise<ResponseHeader> {
    const known = mustBeGiven(leader);
    const session = await leaseOf(this.#requests, known.lease, context);
    return this.#proclaim(known, session, value, context);
  }

  async #proclaim(
    { key, rev }: LeaderKey,
    session: bigint,
    value: Uint8Array,
    context: CallContext,
  ): Promise<ResponseHeader> {
    const request = { compare: [isMadeAt(key, rev)], success: [putOp(key, value, session)], failure: [] };
    const { header, succeeded } = await this.#requests.txn(request, context);
    if (!succeeded) throw new ConcurrencyError("ELECTION_NOT_LEADER", `its key was not made at revision ${rev}`);
    return header!;
  }

  /** Gives leadership, or a candidate's place, up; of one who is neither any more it changes nothing. */
  async resign(leader: LeaderKey | undefined, context: CallContext): Promise<ResponseHeader> {
    const { key, rev } = mustBeGiven(leader);
    return leave(this.#requests, { key, revision: rev }, context);
  }

  /** @throws ConcurrencyError `ELECTION_NO_LEADER` when there is no candidate */
  async leader(name: Uint8Array, context: CallContext): Promise<Leadership> {
    const leadership = leadershipOf(await new Candidates(this.#requests, name).oldest(context));
    if (leadership === undefined) throw new ConcurrencyError("ELECTION_NO_LEADER", "there is no candidate");
    return leadership;
  }

  /**
   * Who leads, and everyone who leads after, with all that each says of itself; between two leaders, and where history is compacted, not
   * everything. It goes on for ever, and ends well where the leader cannot be read or watched: etcd ends it so.
   *
   * @throws RequestError when the member or the caller ends it
   */
  async *observe(name: Uint8Array, context: CallContext, requiresLeader: boolean): AsyncGenerator<Leadership> {
    const candidates = new Candidates(this.#requests, name);
    try {
      for (;;) {
        const answer = await candidates.oldest(context);
        const leadership =
          leadershipOf(answer) ??
          (await this.#firstPut(candidates.span, answer.header!.revision, context, requiresLeader));
        if (leadership === undefined) continue;
        yield leadership;
        yield* this.#proclamations(leadership, context, requiresLeader);
      }
    } catch (error) {
      if (hasGone(context) || endsObserver(error)) throw error;
    }
  }

  /** The first candidate after a revision; undefined when it must be looked for once more. */
  async #firstPut(
    span: KeySpan,
    revision: number,
    context: CallContext,
    requiresLeader: boolean,
  ): Promise<Leadership | undefined> {
    const options = { span, startRevision: revision + 1, only: "puts", requiresLeader } as const;
    const changes = new Changes(this.#requests, options, context);
    try {
      const piece = await changes.next();
      if (piece.kind === "compacted") return undefined;
      const { kv } = Event.decode(piece.events[0]!.encoded(false));
      return { header: { ...this.#requests.header(), revision: kv!.modRevision }, kv: kv! };
    } finally {
      changes.close();
    }
  }

  /** What a leader says of itself from now on, until its key is gone. */
  async *#proclamations(
    { header, kv: { key } }: Leadership,
    context: CallContext,
    requiresLeader: boolean,
  ): AsyncGenerator<Leadership> {
    const span = { key: latin1FromBytes(key), end: undefined };
    const options = { span, startRevision: header.revision + 1, only: "all", requiresLeader } as const;
    const changes = new Changes(this.#requests, options, context);
    try {
      for (;;) {
        const piece = await changes.next();
        if (piece.kind === "compacted") return;
        for (const event of piece.events) {
          const { type, kv } = Event.decode(event.encoded(false));
          if (type === Event_EventType.DELETE) return;
          yield { header: { ...this.#requests.header(), revision: piece.revision }, kv: kv! };
        }
      }
    } finally {
      changes.close();
    }
  }
}

function mustBeGiven(leader: LeaderKey | undefined): LeaderKey {
  if (leader === undefined) throw new ConcurrencyError("ELECTION_LEADER_MISSING", "the request names no leader");
  return leader;
}

function leadershipOf({ header, kvs: [kv] }: RangeResponse): Leadership | undefined {
  return kv && { header: header!, kv };
}

/** What an observer is told: that the member stops, or knows no leader. All other failures end well. */
function endsObserver(error: unknown): boolean {
  return (
    !(error instanceof CodedError) || isStopping(error) || (error as CodedError<string>).code === "SERVER_NO_LEADER"
  );
}

function isStopping(error: unknown): boolean {
  return error instanceof CodedError && (error as CodedError<string>).code === "SERVER_STOPPED";
}
