/**
 * One leader at a time among the sessions that campaign under a name, with a value of the leader's own that all can read. etcd's own
 * clients take part in the same elections.
 *
 * As with a mutex, a leader that is cut off may believe that it leads for a while: `isLeading` in its transactions keeps it from doing harm.
 */
import { equalBytes } from "../base/bytes.js";
import { utf8FromText } from "../base/text.js";
import {
  type Compare,
  DeleteRangeRequest,
  Event_EventType,
  type KeyValue,
  type RangeResponse,
} from "../proto/index.js";
import { SessionError } from "./errors.js";
import { prefixEnd } from "./key-ranges.js";
import {
  changesOf,
  enter,
  headOf,
  isCreatedAt,
  pairIn,
  patiently,
  placeOf,
  prefixOf,
  putOf,
  reachHead,
  type WaitOptions,
} from "./queue.js";
import type { Session } from "./session.js";

/** Text stands for its UTF-8. */
const bytesOf = (value: string | Uint8Array): Uint8Array => (typeof value === "string" ? utf8FromText(value) : value);

export class Election {
  readonly session: Session;
  /** Of this session's candidature; the leader's when it is the first. */
  readonly key: Uint8Array;
  readonly #prefix: Uint8Array;
  /** When the key was created; undefined while this session is no candidate. */
  #created: number | undefined;

  constructor(session: Session, name: string | Uint8Array) {
    this.session = session;
    this.#prefix = prefixOf(name);
    this.key = placeOf(this.#prefix, session);
  }

  /** For transactions that are to do something only while this session's candidature stands. */
  get isLeading(): Compare {
    return isCreatedAt(this.key, this.#created ?? -1);
  }

  /**
   * Stands for election with a value, and waits until it is won. A session that stands already changes its value.
   *
   * @throws SessionError `SESSION_OVER`; the signal's reason, and the candidature is withdrawn; RpcError
   */
  async campaign(value: string | Uint8Array, options: WaitOptions = {}): Promise<void> {
    const bytes = bytesOf(value);
    const answer = await this.session.client.txn(enter(this.session, this.key, bytes), patiently(options));
    const mine = pairIn(answer, 0);
    this.#created = mine?.createRevision ?? answer.header?.revision ?? 0;
    try {
      if (mine !== undefined && !equalBytes(mine.value, bytes)) await this.proclaim(bytes);
      await reachHead(this.session, this.#prefix, this.#created, options);
    } catch (error) {
      await this.resign().catch(() => undefined); // what was first is told; the key goes with the session at the latest
      throw error;
    }
  }

  /** Another value, without another election. @throws SessionError `ELECTION_NOT_LEADER`; RpcError */
  async proclaim(value: string | Uint8Array): Promise<void> {
    const { succeeded } = await this.session.client.txn({
      compare: [this.isLeading],
      success: [putOf(this.session, this.key, bytesOf(value))],
      failure: [],
    });
    if (succeeded) return;
    this.#created = undefined;
    throw new SessionError("ELECTION_NOT_LEADER", "election: not leader");
  }

  /** Makes way for the next candidate; nothing where this session is none. @throws RpcError */
  async resign(): Promise<void> {
    if (this.#created === undefined) return;
    const request = { ...DeleteRangeRequest.create(), key: this.key };
    const compare = [this.isLeading];
    this.#created = undefined;
    await this.session.client.txn({
      compare,
      success: [{ request: { $case: "requestDeleteRange", value: request } }],
      failure: [],
    });
  }

  /** The leader's key and value; undefined while nobody leads. @throws RpcError */
  async leader(options: WaitOptions = {}): Promise<KeyValue | undefined> {
    return (await this.session.client.range(headOf(this.#prefix), patiently(options))).kvs[0];
  }

  /**
   * Each leader and each of its values, from the one of now on; some in between may be left out, the newest never is. Ends with the signal.
   *
   * The answers are those of reads of the leader's key alone, with the header of the revision that they hold for. `more` and `count` of
   * a later value of the same leader are those of the read that found it: etcd's client has them so.
   *
   * @throws SessionError `WATCH_LOST`; RpcError
   */
  async *observe({ signal }: WaitOptions = {}): AsyncGenerator<RangeResponse> {
    try {
      for (;;) yield* this.#observeLeader(signal);
    } catch (error) {
      if (signal?.aborted !== true) throw error;
    }
  }

  /** One leader, until its key is gone. */
  async *#observeLeader(signal: AbortSignal | undefined): AsyncGenerator<RangeResponse> {
    const found = await this.session.client.range(
      headOf(this.#prefix),
      patiently(signal === undefined ? {} : { signal }),
    );
    const first = found.kvs.length > 0 ? found : await this.#firstPut(found, signal);
    if (first === undefined) return; // the history went by: look again
    yield { ...first, more: false, count: 0 };
    const { key } = first.kvs[0]!;
    const startRevision = (first.header?.revision ?? 0) + 1;
    for await (const { header, events } of changesOf(this.session, { key, startRevision }, signal)) {
      for (const { type, kv } of events) {
        if (type === Event_EventType.DELETE) return;
        yield { ...found, header, kvs: [kv!] };
      }
    }
  }

  /** The first key that is put after nobody led. */
  async #firstPut(empty: RangeResponse, signal: AbortSignal | undefined): Promise<RangeResponse | undefined> {
    const prefix = this.#prefix;
    const request = { key: prefix, rangeEnd: prefixEnd(prefix), startRevision: empty.header?.revision ?? 0 };
    for await (const { header, events } of changesOf(this.session, request, signal)) {
      const kv = events.find(({ type }) => type === Event_EventType.PUT)?.kv;
      if (kv !== undefined && header !== undefined) {
        return { ...empty, header: { ...header, revision: kv.modRevision }, kvs: [kv] };
      }
    }
    return undefined;
  }
}
