/**
 * A member without consensus or disk, for plays about the API: a sorted map of keys, one revision a write. It knows no history: reading
 * at an old revision answers as if it were compacted.
 */
import { compareBytes } from "../../base/bytes.js";
import { latin1FromBytes } from "../../base/text.js";
import type { Member } from "../../membership/member.js";
import {
  type AlarmMember,
  type AlarmRequest,
  AlarmRequest_AlarmAction,
  type AlarmResponse,
  type CompactionRequest,
  type CompactionResponse,
  type DeleteRangeRequest,
  type DeleteRangeResponse,
  encodeKeyValue,
  type DowngradeRequest,
  type DowngradeResponse,
  type HashKVRequest,
  type HashKVResponse,
  type HashResponse,
  type KeyValue,
  type PutRequest,
  type PutResponse,
  RangeRequest,
  type RangeResponse,
  type ResponseHeader,
  type ResponseOp,
  StatusResponse,
  type TxnRequest,
  type TxnResponse,
} from "../../proto/index.js";
import { LeaseError } from "../../lease/leases.js";
import type {
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseRevokeRequest,
  LeaseRevokeResponse,
  LeaseTimeToLiveRequest,
  LeaseTimeToLiveResponse,
} from "../../proto/generated/etcdserverpb/lease.js";
import type { StoredPairs } from "../../mvcc/index.js";
import type { GetRequest, SpanRequest } from "../../proto/fast/get.js";
import { AuthError } from "../../auth/errors.js";
import type {
  AccessChecks,
  AuthCalls,
  CallContext,
  DatabaseStream,
  LeaseList,
  MembersAnswer,
  MemberService,
  Receiver,
} from "../../server/contract.js";
import type {
  WatchCreation,
  WatchStream,
  WatchStreamOptions,
  WatchStreamReceiver,
} from "../../server/watch-contract.js";
import { RequestError } from "../../server/errors.js";

export class FakeMember implements MemberService {
  readonly memberId = 0x8e9e05c52164694dn;
  readonly clusterId = 0xcdf818194e3a8c32n;
  readonly name = "default";
  /** What those who administer are told. */
  refusesAdmins: Error | undefined;
  /** Everybody may do everything else; the calls of authentication are refused, for it is off. */
  readonly access: AccessChecks = {
    requireUser: () => Promise.resolve(),
    requireAdmin: () => (this.refusesAdmins === undefined ? Promise.resolve() : Promise.reject(this.refusesAdmins)),
    requireRead: () => Promise.resolve(),
    requireLeaseWrite: () => Promise.resolve(),
    requireLeaseRead: () => Promise.resolve(),
    takesCommonNames: () => false,
  };
  readonly auth: AuthCalls = {
    authenticate: () => Promise.reject(new AuthError("AUTH_NOT_ENABLED", "authentication is off")),
    call: () => Promise.reject(new AuthError("AUTH_NOT_ENABLED", "authentication is off")),
  };
  readonly limits = { requestBytesMax: 1_572_864, txnOperationsMax: 128 };

  /** What the next call of a service fails with. */
  failWith: Error | undefined;
  leaderId = this.memberId;
  learner = false;
  version: string | undefined = "3.5.0";
  /** Members beside this one. */
  others: Member[] = [];
  raised: AlarmMember[] = [];
  database = new Uint8Array(100_000).fill(7);
  readonly leases = new Map<bigint, number>();
  openStreams = 0;
  loseLeader: () => void = () => undefined;
  readonly contexts: CallContext[] = [];
  readonly #expiring: Receiver<number>[] = [];

  #revision = 1;
  #keys: KeyValue[] = [];

  range(request: RangeRequest, context?: CallContext): Promise<RangeResponse> {
    return this.#answer(context, () => this.#range(request));
  }

  async *rangeStream(request: RangeRequest, context?: CallContext): AsyncGenerator<RangeResponse> {
    const { header, kvs, more, count } = await this.range(request, context);
    for (const kv of kvs) yield { header: undefined, kvs: [kv], more: false, count: 0 };
    yield { header, kvs: [], more, count };
  }

  put(request: PutRequest, context?: CallContext): Promise<PutResponse> {
    return this.#answer(context, () => this.#put(request, ++this.#revision));
  }

  putFor(request: PutRequest, receiver: Receiver<PutResponse>, context?: CallContext): void {
    this.put(request, context).then(
      (response) => receiver.resolve(response),
      (error: unknown) => receiver.reject(error),
    );
  }

  getFor(request: GetRequest, receiver: Receiver<Uint8Array | undefined>, context?: CallContext): void {
    const { bytes, keyStart, keyEnd, serializable } = request;
    this.range(RangeRequest.fromPartial({ key: bytes.slice(keyStart, keyEnd), serializable }), context).then(
      ({ kvs }) => receiver.resolve(kvs[0] && encodeKeyValue(kvs[0])),
      (error: unknown) => receiver.reject(error),
    );
  }

  /** Of more than two pairs it says that they are too many. */
  spanFor(
    { key, rangeEnd, limit, serializable }: SpanRequest,
    receiver: Receiver<StoredPairs | undefined>,
    context?: CallContext,
  ): void {
    const [low, high] = [Buffer.from(key, "latin1"), Buffer.from(rangeEnd, "latin1")];
    this.range(RangeRequest.fromPartial({ key: low, rangeEnd: high, limit, serializable }), context).then(
      ({ kvs, count }) =>
        receiver.resolve(kvs.length > 2 ? undefined : { pairs: kvs.map((kv) => encodeKeyValue(kv)), count }),
      (error: unknown) => receiver.reject(error),
    );
  }

  deleteRange(request: DeleteRangeRequest, context?: CallContext): Promise<DeleteRangeResponse> {
    return this.#answer(context, () => this.#delete(request));
  }

  txnFor(request: TxnRequest, _encoded: Uint8Array, receiver: Receiver<TxnResponse>, context?: CallContext): void {
    this.txn(request, context).then(
      (response) => receiver.resolve(response),
      (error: unknown) => receiver.reject(error),
    );
  }

  /** Comparisons are taken to hold. */
  txn(request: TxnRequest, context?: CallContext): Promise<TxnResponse> {
    return this.#answer(context, () => {
      const responses = request.success.map(({ request: operation }): ResponseOp => {
        switch (operation?.$case) {
          case "requestRange":
            return { response: { $case: "responseRange", value: this.#range(operation.value) } };
          case "requestPut":
            return { response: { $case: "responsePut", value: this.#put(operation.value, ++this.#revision) } };
          case "requestDeleteRange":
            return { response: { $case: "responseDeleteRange", value: this.#delete(operation.value) } };
          default:
            return { response: undefined };
        }
      });
      return { header: this.header(), succeeded: true, responses };
    });
  }

  /** The streams that were opened. */
  readonly watches: FakeWatch[] = [];

  watch(receiver: WatchStreamReceiver, options: WatchStreamOptions): WatchStream {
    const watch = new FakeWatch(receiver, options);
    this.watches.push(watch);
    return watch;
  }

  compact(_request: CompactionRequest, context?: CallContext): Promise<CompactionResponse> {
    return this.#answer(context, () => ({ header: this.header() }));
  }

  leaseGrant({ ID, TTL }: LeaseGrantRequest, context?: CallContext): Promise<LeaseGrantResponse> {
    return this.#answer(context, () => {
      this.leases.set(ID, TTL);
      return { header: this.header(), ID, TTL, error: "" };
    });
  }

  leaseRevoke({ ID }: LeaseRevokeRequest, context?: CallContext): Promise<LeaseRevokeResponse> {
    return this.#answer(context, () => {
      if (!this.leases.delete(ID)) throw new LeaseError("LEASE_NOT_FOUND", `no lease ${ID}`);
      return { header: this.header() };
    });
  }

  /** A lease of 0 seconds has run out: whoever renews it waits until `expire`. */
  leaseKeepAliveFor(id: bigint, receiver: Receiver<number>, context?: CallContext): void {
    if (context !== undefined) this.contexts.push(context);
    if (this.failWith !== undefined) throw this.failWith;
    const ttl = this.leases.get(id);
    if (ttl === 0) this.#expiring.push(receiver);
    else if (ttl === undefined) receiver.reject(new LeaseError("LEASE_NOT_FOUND", `no lease ${id}`));
    else receiver.resolve(ttl);
  }

  endsStream(requiresLeader: boolean, end: (error: unknown) => void): () => void {
    if (requiresLeader) this.loseLeader = () => end(new RequestError("SERVER_NO_LEADER", "it is lost"));
    this.openStreams++;
    return () => void this.openStreams--;
  }

  expire(): void {
    for (const receiver of this.#expiring.splice(0)) receiver.reject(new LeaseError("LEASE_NOT_FOUND", "it ran out"));
  }

  leaseTimeToLive({ ID, keys }: LeaseTimeToLiveRequest, context?: CallContext): Promise<LeaseTimeToLiveResponse> {
    return this.#answer(context, () => {
      const ttl = this.leases.get(ID);
      if (ttl === undefined) return { header: this.header(), ID, TTL: -1, grantedTTL: 0, keys: [] };
      const attached = this.#keys.filter(({ lease }) => keys && lease === ID).map(({ key }) => key);
      return { header: this.header(), ID, TTL: ttl - 1, grantedTTL: ttl, keys: attached };
    });
  }

  leaseLeases(): Promise<LeaseList> {
    return this.#answer(undefined, () => ({ header: this.header(), ids: BigInt64Array.from(this.leases.keys()) }));
  }

  alarm(request: AlarmRequest, context?: CallContext): Promise<AlarmResponse> {
    return this.#answer(context, () => {
      const alarms = this.raised;
      if (request.action === AlarmRequest_AlarmAction.DEACTIVATE) this.raised = [];
      return { header: this.header(), alarms };
    });
  }

  status(): StatusResponse {
    return StatusResponse.create({ header: this.header(), version: "3.5.30", dbSize: 20_480, leader: this.leaderId });
  }

  downgrade({ version }: DowngradeRequest): Promise<DowngradeResponse> {
    return this.#answer(undefined, () => ({ header: this.header(), version }));
  }

  hash(): Promise<HashResponse> {
    return this.#answer(undefined, () => ({ header: this.header(), hash: 1 }));
  }

  hashKv({ revision }: HashKVRequest): Promise<HashKVResponse> {
    const answer = { header: this.header(), hash: 7, compactRevision: -1, hashRevision: revision };
    return this.#answer(undefined, () => answer);
  }

  defragment(): Promise<void> {
    return this.#answer(undefined, () => undefined);
  }

  snapshot(): Promise<DatabaseStream> {
    const { database } = this;
    return this.#answer(undefined, () => ({
      totalBytes: database.length,
      chunks: (async function* () {
        await Promise.resolve();
        yield database.subarray(0, 40_000);
        yield database.subarray(40_000);
      })(),
    }));
  }

  memberList(_linearizable: boolean, context?: CallContext): Promise<MembersAnswer> {
    return this.#answer(context, () => this.#members());
  }

  memberAdd(
    { peerUrls, isLearner }: { readonly peerUrls: readonly string[]; readonly isLearner: boolean },
    context?: CallContext,
  ): Promise<MembersAnswer & { member: Member }> {
    return this.#answer(context, () => {
      const member: Member = { id: 2n, name: "", peerUrls, clientUrls: [], isLearner };
      this.others.push(member);
      return { ...this.#members(), member };
    });
  }

  memberRemove(id: bigint, context?: CallContext): Promise<MembersAnswer> {
    return this.#answer(context, () => {
      this.others = this.others.filter((member) => member.id !== id);
      return this.#members();
    });
  }

  memberUpdate(id: bigint, peerUrls: readonly string[], context?: CallContext): Promise<MembersAnswer> {
    return this.#answer(context, () => this.#change(id, { peerUrls }));
  }

  memberPromote(id: bigint, context?: CallContext): Promise<MembersAnswer> {
    return this.#answer(context, () => this.#change(id, { isLearner: false }));
  }

  #change(id: bigint, fields: Partial<Member>): MembersAnswer {
    this.others = this.others.map((member) => (member.id === id ? { ...member, ...fields } : member));
    return this.#members();
  }

  #members(): MembersAnswer {
    const own: Member = {
      id: this.memberId,
      name: this.name,
      peerUrls: ["http://localhost:2380"],
      clientUrls: ["http://localhost:2379"],
      isLearner: this.learner,
    };
    return { header: { ...this.header(), revision: 0 }, members: [...this.others, own] };
  }

  moveLeader(target: bigint, context?: CallContext): Promise<void> {
    return this.#answer(context, () => void (this.leaderId = target));
  }

  header(): ResponseHeader {
    return { clusterId: this.clusterId, memberId: this.memberId, revision: this.#revision, raftTerm: 2 };
  }

  clusterVersion(): string | undefined {
    return this.version;
  }

  leader(): bigint {
    return this.leaderId;
  }

  isLearner(): boolean {
    return this.learner;
  }

  alarms(): readonly AlarmMember[] {
    return this.raised;
  }

  linearizableRead(context?: CallContext): Promise<void> {
    return this.#answer(context, () => undefined);
  }

  async #answer<T>(context: CallContext | undefined, run: () => T): Promise<T> {
    await Promise.resolve();
    if (context !== undefined) this.contexts.push(context);
    const { failWith } = this;
    this.failWith = undefined;
    if (failWith !== undefined) throw failWith;
    return run();
  }

  #within(key: Uint8Array, rangeEnd: Uint8Array): KeyValue[] {
    return this.#keys.filter((kv) => {
      if (rangeEnd.length === 0) return compareBytes(kv.key, key) === 0;
      const toTheEnd = rangeEnd.length === 1 && rangeEnd[0] === 0;
      return compareBytes(kv.key, key) >= 0 && (toTheEnd || compareBytes(kv.key, rangeEnd) < 0);
    });
  }

  #range(request: RangeRequest): RangeResponse {
    if (request.revision > this.#revision) throw new FutureRevision();
    const all = this.#within(request.key, request.rangeEnd);
    const limited = request.limit > 0 ? all.slice(0, request.limit) : all;
    const kvs = request.countOnly ? [] : limited;
    return { header: this.header(), kvs, more: limited.length < all.length, count: all.length };
  }

  #put(request: PutRequest, revision: number): PutResponse {
    const [old] = this.#within(request.key, new Uint8Array(0));
    const kv: KeyValue = {
      key: Uint8Array.from(request.key),
      createRevision: old?.createRevision ?? revision,
      modRevision: revision,
      version: (old?.version ?? 0) + 1,
      value: Uint8Array.from(request.value),
      lease: request.lease,
    };
    this.#keys = [...this.#keys.filter((other) => other !== old), kv].sort((a, b) =>
      latin1FromBytes(a.key) < latin1FromBytes(b.key) ? -1 : 1,
    );
    return { header: this.header(), prevKv: request.prevKv ? old : undefined };
  }

  #delete(request: DeleteRangeRequest): DeleteRangeResponse {
    const gone = this.#within(request.key, request.rangeEnd);
    this.#keys = this.#keys.filter((kv) => !gone.includes(kv));
    if (gone.length > 0) this.#revision++;
    return { header: this.header(), deleted: gone.length, prevKvs: request.prevKv ? gone : [] };
  }
}

/** A stream on which nothing happens but what a play makes happen. */
export class FakeWatch implements WatchStream {
  readonly receiver: WatchStreamReceiver;
  readonly options: WatchStreamOptions;
  readonly created: WatchCreation[] = [];
  /** What else was asked, in its order. */
  readonly asked: string[] = [];

  constructor(receiver: WatchStreamReceiver, options: WatchStreamOptions) {
    this.receiver = receiver;
    this.options = options;
  }

  create(request: WatchCreation): void {
    this.created.push(request);
    const notice = { revision: 7, watchId: this.created.length, created: true, canceled: false };
    this.receiver.onNotice({ ...notice, compactRevision: 0, refusal: undefined });
  }

  cancel(watchId: number): void {
    this.asked.push(`cancel ${watchId}`);
  }

  requestProgress(): void {
    this.asked.push("progress");
  }

  resume(): void {
    this.asked.push("resume");
  }

  close(): void {
    this.asked.push("close");
  }
}

/** Stands for the store's own error: the API looks at the code alone. */
class FutureRevision extends RequestError {
  constructor() {
    super("SERVER_UNHEALTHY", "the fake knows no future");
    Object.assign(this, { code: "MVCC_FUTURE_REVISION" });
  }
}
