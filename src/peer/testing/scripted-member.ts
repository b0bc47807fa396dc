/**
 * A member without raft: it grants every vote, keeps what its leader appends, and remembers what it was told. With it the wire
 * between members is proved before, and apart from, what stands behind it.
 */
import { EventEmitter, once } from "node:events";
import type { Member } from "../../membership/index.js";
import type { LocalIdentity, PeerReceiver, Peers } from "../contract.js";
import type { HashKVResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse } from "../../proto/index.js";
import { PeerRefusal } from "../errors.js";
import { type Entry, makeMessage, type Message, MessageType } from "../../proto/raft.js";

export class ScriptedMember implements PeerReceiver {
  readonly received: Message[] = [];
  /** Bytes of databases that came with snapshots. */
  readonly snapshots: { readonly message: Message; readonly bytes: number }[] = [];
  readonly unreachable: bigint[] = [];
  readonly snapshotsSent: { readonly id: bigint; readonly delivered: boolean }[] = [];
  readonly entries: Entry[] = [];
  removedByOthers = 0;
  /** How often anything was told. */
  told = 0;
  removed = new Set<bigint>();
  memberList: readonly Member[] = [];
  snapshotsBegun = 0;
  /** Why snapshots were not kept. */
  readonly snapshotsBroken: unknown[] = [];
  /** What a snapshot waits for before it is read. */
  beforeReading: () => Promise<void> = () => Promise.resolve();
  newestRevision = 5;
  compactRevision = 2;
  learnersReady = true;
  /** Leases that it renews, and their times in seconds. */
  readonly leases = new Map<bigint, number>();
  /** The token that came with the last request to promote. */
  promotedFor: string | undefined;
  peers: Peers | undefined;
  readonly #local: LocalIdentity;
  #snapshotIndex = 0;
  readonly #events = new EventEmitter();

  constructor(local: LocalIdentity) {
    this.#local = local;
    this.#events.setMaxListeners(100);
  }

  get lastIndex(): number {
    return this.entries.at(-1)?.index ?? this.#snapshotIndex;
  }

  /** Waits until what was received so far fulfils the condition. */
  async until(condition: () => boolean, what: string, withinMs = 30_000): Promise<void> {
    const signal = AbortSignal.timeout(withinMs);
    while (!condition()) {
      await once(this.#events, "change", { signal }).catch((cause: unknown) => {
        throw new Error(`waited ${withinMs} ms for: ${what}; received ${this.#kinds()}`, { cause });
      });
    }
  }

  #kinds(): string {
    return this.received.map(({ type }) => type).join(" ");
  }

  receive(message: Message): void {
    this.received.push(message);
    const answer = this.#answer(message);
    if (answer !== undefined) this.peers?.send([answer]);
    this.#changed();
  }

  #answer(message: Message): Message | undefined {
    const reply = { to: message.from, from: this.#local.memberId, term: message.term };
    switch (message.type) {
      case MessageType.preVote:
        return makeMessage({ ...reply, type: MessageType.preVoteResponse });
      case MessageType.vote:
        return makeMessage({ ...reply, type: MessageType.voteResponse });
      case MessageType.append:
        return this.#append(message, reply);
      case MessageType.heartbeat:
        return makeMessage({ ...reply, type: MessageType.heartbeatResponse, context: message.context });
      default:
        return undefined;
    }
  }

  #append(message: Message, reply: Partial<Message>): Message {
    const known =
      message.index === 0 ||
      message.index === this.#snapshotIndex ||
      this.entries.some(({ index }) => index === message.index);
    if (!known) {
      const rejectHint = this.lastIndex;
      return makeMessage({
        ...reply,
        type: MessageType.appendResponse,
        index: message.index,
        reject: true,
        rejectHint,
      });
    }
    for (const entry of message.entries) {
      const at = this.entries.findIndex(({ index }) => index >= entry.index);
      if (at !== -1) this.entries.length = at;
      this.entries.push(entry);
    }
    const index = message.entries.at(-1)?.index ?? message.index;
    return makeMessage({ ...reply, type: MessageType.appendResponse, index });
  }

  async receiveSnapshot(message: Message, database: AsyncIterable<Uint8Array>): Promise<void> {
    let bytes = 0;
    this.snapshotsBegun++;
    this.#changed();
    try {
      await this.beforeReading();
      for await (const chunk of database) bytes += chunk.length;
    } catch (error) {
      this.snapshotsBroken.push(error);
      this.#changed();
      throw error;
    }
    this.snapshots.push({ message, bytes });
    const index = message.snapshot?.metadata.index ?? 0;
    this.entries.length = 0;
    this.#snapshotIndex = index;
    const { to, from, term } = message;
    this.peers?.send([makeMessage({ type: MessageType.appendResponse, to: from, from: to, term, index })]);
    this.#changed();
  }

  isRemoved(id: bigint): boolean {
    return this.removed.has(id);
  }

  onUnreachable(id: bigint): void {
    this.unreachable.push(id);
    this.#changed();
  }

  onSnapshotSent(id: bigint, delivered: boolean): void {
    this.snapshotsSent.push({ id, delivered });
    this.#changed();
  }

  onRemoved(): void {
    this.removedByOthers++;
    this.#changed();
  }

  members(): readonly Member[] {
    return this.memberList;
  }

  clusterVersion(): string | undefined {
    return "3.5.0";
  }

  isDowngrading(): Promise<boolean> {
    return Promise.resolve(false);
  }

  async hashKv(revision: number): Promise<HashKVResponse> {
    const { newestRevision, compactRevision } = this;
    if (revision > newestRevision) throw new PeerRefusal("MVCC_FUTURE_REVISION", `${revision} > ${newestRevision}`);
    if (revision !== 0 && revision < compactRevision)
      throw new PeerRefusal("MVCC_COMPACTED", `${revision} < ${compactRevision}`);
    const header = { clusterId: 0n, memberId: 0n, revision: newestRevision, raftTerm: 0 };
    return { header, hash: 17, compactRevision, hashRevision: 0 };
  }

  renewLease(id: bigint): Promise<number> {
    const seconds = this.leases.get(id);
    return seconds === undefined
      ? Promise.reject(new PeerRefusal("LEASE_NOT_FOUND", `no lease ${id}`))
      : Promise.resolve(seconds);
  }

  leaseTimeToLive({ ID, keys }: LeaseTimeToLiveRequest): Promise<LeaseTimeToLiveResponse> {
    const seconds = this.leases.get(ID);
    const header = { clusterId: 1n, memberId: 2n, revision: 3, raftTerm: 4 };
    if (seconds === undefined) return Promise.resolve({ header, ID, TTL: -1, grantedTTL: 0, keys: [] });
    const attached = keys ? [Uint8Array.of(1), Uint8Array.of(0xff, 2)] : [];
    return Promise.resolve({ header, ID, TTL: seconds - 1, grantedTTL: seconds, keys: attached });
  }

  async promote(id: bigint, token?: string): Promise<readonly Member[]> {
    this.promotedFor = token;
    const found = this.memberList.find((member) => member.id === id);
    if (found === undefined) throw new PeerRefusal("MEMBER_NOT_FOUND", `${id}`);
    if (!found.isLearner) throw new PeerRefusal("MEMBER_NOT_LEARNER", `${id}`);
    if (!this.learnersReady) throw new PeerRefusal("SERVER_LEARNER_NOT_READY", `${id}`);
    return this.memberList.map((member) => (member.id === id ? { ...member, isLearner: false } : member));
  }

  #changed(): void {
    this.told++;
    this.#events.emit("change");
  }
}
