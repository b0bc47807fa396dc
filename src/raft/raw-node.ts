/**
 * The door to the state machine. The caller feeds it with ticks, proposals and messages, asks it what there is to do, does that,
 * and says that it is done:
 *
 *     while (node.hasReady()) {
 *       const ready = node.ready();     decided, but nothing has happened yet
 *       write ready.snapshot, ready.entries, ready.hardState; sync if ready.mustSync
 *       send ready.messages             the first `earlyMessages` of them may leave before the write
 *       apply ready.committedEntries    those may be among ready.entries: after the write
 *       node.advance();                 only now may the core count on it
 *     }
 *
 * Between `ready()` and `advance()` the caller may go on feeding (that is how a group commit gathers), but may not ask for the
 * next `Ready`. With `asyncStorageWrites` it may, and there is no `advance()`: what is to be written and applied comes as messages
 * to `LOCAL_APPEND_THREAD` and `LOCAL_APPLY_THREAD`, each carrying the responses to deliver when it is done, in order.
 */
import { invariant } from "../base/errors.js";
import {
  ConfChangeType,
  EMPTY_HARD_STATE,
  EntryType,
  equalHardStates,
  makeMessage,
  MessageType,
  type ConfChange,
  type ConfChangeV2,
  type ConfState,
  type Entry,
  type HardState,
  type Message,
  type Snapshot,
  isLocalMessage,
} from "../proto/raft.js";
import type { RaftConfig } from "./config.js";
import { asConfChangeV2, confChangeEntry, confChangeOf, isConfChange } from "./configuration.js";
import { RaftCore, type SoftState } from "./core.js";
import { encodedBytes } from "./entry-window.js";
import { RaftError } from "./errors.js";
import { idText, isLocalTarget, LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD, NONE } from "./ids.js";
import { isResponseMessage, messageTypeName } from "./message-kinds.js";
import type { ReadState } from "./read-index.js";
import { basicStatusOf, statusOf, type BasicStatus, type Status } from "./status.js";

/** What there is to do, in the order in which it is to be done. Nothing in it changes afterwards. */
export interface Ready {
  /** Undefined: unchanged. It need not be stored. */
  readonly softState: SoftState | undefined;
  /** To be made durable before the messages that are not early leave; undefined: unchanged. */
  readonly hardState: HardState | undefined;
  /** Reads that may be served once their index is applied. */
  readonly readStates: readonly ReadState[];
  /** To be made durable; they replace what the log holds from their first index on. */
  readonly entries: Entry[];
  /** To be made durable; it replaces the whole log. */
  readonly snapshot: Snapshot | undefined;
  /** To be applied, in order, after what is above is durable. */
  readonly committedEntries: Entry[];
  readonly messages: readonly Message[];
  /** So many of `messages`, from the first on, promise nothing durable: they may leave while the disk works. */
  readonly earlyMessages: number;
  /** Whether the write must be on disk before going on: a change of the commit index alone need not. */
  readonly mustSync: boolean;
}

/** A member to start a cluster with; `context` goes into its configuration change. */
export interface BootstrapPeer {
  readonly id: bigint;
  readonly context: Uint8Array;
}

/** Messages that belong to a term; from a correct peer they carry it. */
const TERMED: ReadonlySet<MessageType> = new Set([
  MessageType.append,
  MessageType.appendResponse,
  MessageType.vote,
  MessageType.voteResponse,
  MessageType.snapshot,
  MessageType.heartbeat,
  MessageType.heartbeatResponse,
  MessageType.timeoutNow,
  MessageType.readIndexResponse,
  MessageType.preVote,
  MessageType.preVoteResponse,
]);

export class RawNode {
  readonly #core: RaftCore;
  readonly #async: boolean;
  #softState: SoftState;
  #hardState: HardState;
  /** What the member tells itself when the caller has done what the last `Ready` asked for. */
  #onAdvance: Message[] = [];

  /** @throws RaftError `RAFT_CONFIG`, `RAFT_LOG_LOST` or `RAFT_CONF_CHANGE_REFUSED` (a stored configuration without voters) */
  constructor(config: RaftConfig) {
    this.#core = new RaftCore(config);
    this.#async = this.#core.config.asyncStorageWrites;
    this.#softState = this.#core.softState();
    this.#hardState = this.#core.hardState();
  }

  // ---- what goes in -----------------------------------------------------------------------------------------------

  /** One unit of the time that `electionTicks` and `heartbeatTicks` count in has passed. */
  tick(): void {
    this.#core.tick();
  }

  /** Campaigns now. */
  campaign(): void {
    this.#core.step(makeMessage({ type: MessageType.hup }));
  }

  /** @throws RaftError `RAFT_PROPOSAL_DROPPED` */
  propose(data: Uint8Array): void {
    this.#proposeEntries([{ type: EntryType.normal, term: 0, index: 0, data }]);
  }

  /**
   * Proposes several entries at once, in this order: all are taken or none.
   *
   * @throws RaftError `RAFT_PROPOSAL_DROPPED`
   */
  proposeBatch(datas: readonly Uint8Array[]): void {
    if (datas.length === 0) return;
    this.#proposeEntries(datas.map((data) => ({ type: EntryType.normal, term: 0, index: 0, data })));
  }

  /**
   * Proposes a change of the configuration. Taken does not mean that it will happen: a leader that has another one under way
   * replaces it by an empty entry.
   *
   * @throws RaftError `RAFT_PROPOSAL_DROPPED`
   */
  proposeConfChange(change: ConfChange | ConfChangeV2): void {
    this.#stepOrThrow(makeMessage({ type: MessageType.propose, entries: [confChangeEntry(change)] }));
  }

  #proposeEntries(entries: readonly Entry[]): void {
    this.#stepOrThrow(makeMessage({ type: MessageType.propose, from: this.#core.id, entries }));
  }

  #stepOrThrow(message: Message): void {
    if (this.#core.step(message) === "taken") return;
    const { leader, leadTransferee, name } = this.#core;
    const why =
      leadTransferee !== NONE
        ? `leadership is being handed to ${idText(leadTransferee)}`
        : leader === NONE
          ? "there is no leader"
          : `the leader is ${idText(leader)}, and too much is uncommitted, it was removed, or forwarding is off`;
    throw new RaftError("RAFT_PROPOSAL_DROPPED", `member ${name} cannot take a proposal now: ${why}`);
  }

  /**
   * Puts a committed configuration change into effect; to be called for each one that is applied. An application that rejects
   * one calls it all the same, with the steps' members set to 0n, which changes nothing.
   *
   * @returns the configuration from now on, to be kept with the applied state
   * @throws RaftError `RAFT_CONF_CHANGE_REFUSED`
   */
  applyConfChange(change: ConfChange | ConfChangeV2): ConfState {
    return this.#core.applyConfChange(asConfChangeV2(change));
  }

  /**
   * A message from another member, or the response of a storage worker.
   *
   * @throws RaftError `RAFT_LOCAL_MESSAGE`, `RAFT_PEER_UNKNOWN` or `RAFT_MESSAGE_MALFORMED` for what no correct peer sends (drop
   * it), `RAFT_PROPOSAL_DROPPED` for a proposal passed on (drop it, its proposer retries), `RAFT_LOG_LOST` (stop)
   */
  step(message: Message): void {
    const { type, from } = message;
    if (!isLocalTarget(from)) {
      if (isLocalMessage(type)) {
        throw new RaftError(
          "RAFT_LOCAL_MESSAGE",
          `${messageTypeName(type)} from ${idText(from)} may only come from here`,
        );
      }
      if (isResponseMessage(type) && !this.#core.tracker.progress.has(from)) {
        throw new RaftError("RAFT_PEER_UNKNOWN", `${messageTypeName(type)} from ${idText(from)}, who is not a member`);
      }
      checkForm(message);
      this.#checkAcknowledged(message);
    }
    this.#stepOrThrow(message);
  }

  /** Nobody can have more of our log than we do: that would be entries that were lost here, or made up there. */
  #checkAcknowledged(message: Message): void {
    const { role, term, log } = this.#core;
    if (message.type !== MessageType.appendResponse || message.reject) return;
    if (role !== "leader" || message.term !== term || message.index <= log.lastIndex()) return;
    throw malformed(message, `acknowledges entry ${message.index}, our log ends at ${log.lastIndex()}`);
  }

  /**
   * Asks for the index that a linearizable read must wait for; the answer is a `ReadState` with this context. There is none when
   * no leader is known or a message is lost: ask again, with another context.
   */
  readIndex(context: Uint8Array): void {
    const entry: Entry = { type: EntryType.normal, term: 0, index: 0, data: context };
    this.#core.step(makeMessage({ type: MessageType.readIndex, entries: [entry] }));
  }

  /** Hands leadership to `to`, who must be able to catch up within an election timeout. */
  transferLeader(to: bigint): void {
    this.#core.step(makeMessage({ type: MessageType.transferLeader, from: to }));
  }

  /** A follower that knows its leader to be gone forgets it: it may then vote without waiting for the lease to expire. */
  forgetLeader(): void {
    this.#core.step(makeMessage({ type: MessageType.forgetLeader }));
  }

  /** The last message to `id` could not be delivered. */
  reportUnreachable(id: bigint): void {
    this.#core.step(makeMessage({ type: MessageType.unreachable, from: id }));
  }

  /** The snapshot for `id` was delivered (`ok`), or will not be; until one of both is said nothing more is sent there. */
  reportSnapshot(id: bigint, ok: boolean): void {
    this.#core.step(makeMessage({ type: MessageType.snapshotStatus, from: id, reject: !ok }));
  }

  /**
   * Starts a new cluster: the log begins with one configuration change for each peer, committed, at term 1. All first members must
   * do so with the same peers.
   *
   * @throws RaftError `RAFT_BOOTSTRAP` without peers, or when the storage has entries
   */
  bootstrap(peers: readonly BootstrapPeer[]): void {
    const core = this.#core;
    const last = core.log.storage.lastIndex();
    if (peers.length === 0) throw new RaftError("RAFT_BOOTSTRAP", "a cluster starts with at least one member");
    if (last !== 0) throw new RaftError("RAFT_BOOTSTRAP", `the storage has entries, up to ${last}: this is a restart`);
    // What is decided here is news to the disk.
    this.#hardState = EMPTY_HARD_STATE;
    core.becomeFollower(1, NONE);
    const changes = peers.map(({ id, context }) => ({ id: 0n, type: ConfChangeType.addNode, nodeId: id, context }));
    core.log.append(changes.map((change, at) => ({ ...confChangeEntry(change), term: 1, index: at + 1 })));
    core.log.commitTo(changes.length);
    // In effect at once, so that the member can campaign; when the entries are applied nothing changes any more.
    for (const change of changes) core.applyConfChange(asConfChangeV2(change));
  }

  // ---- what comes out ---------------------------------------------------------------------------------------------

  hasReady(): boolean {
    const core = this.#core;
    const { log } = core;
    return (
      core.messages.length > 0 ||
      core.messagesAfterAppend.length > 0 ||
      log.unstable.hasNextEntries() ||
      log.hasNextCommitted(!this.#async) ||
      !equalHardStates(core.hardState(), this.#hardState) ||
      core.leader !== this.#softState.leader ||
      core.role !== this.#softState.role ||
      log.unstable.nextSnapshot() !== undefined ||
      core.readStates.length > 0
    );
  }

  /** What there is to do now. It is taken as accepted: the caller must do it. */
  ready(): Ready {
    invariant(this.#async || this.#onAdvance.length === 0, "two accepted Ready structs without call to Advance");
    const core = this.#core;
    const entries = core.log.unstable.nextEntries();
    const snapshot = core.log.unstable.nextSnapshot();
    const committedEntries = core.log.nextCommitted(!this.#async);
    const hardState = core.hardState();
    const hardStateChanged = !equalHardStates(hardState, this.#hardState);
    const mustSync =
      entries.length > 0 || hardState.term !== this.#hardState.term || hardState.vote !== this.#hardState.vote;
    const softState = this.#changedSoftState();

    const early = core.messages;
    const afterAppend = core.messagesAfterAppend;
    const durable = this.#durableResponse(snapshot);
    const applied = committedEntries.length > 0 ? appliedResponse(core.id, committedEntries) : undefined;
    let messages: Message[];
    if (this.#async) {
      messages = early;
      const responses = durable === undefined ? afterAppend : [...afterAppend, durable];
      if (entries.length > 0 || hardStateChanged || snapshot !== undefined || afterAppend.length > 0) {
        const state = hardStateChanged ? hardState : EMPTY_HARD_STATE;
        messages.push(storageAppend(core.id, state, entries, snapshot, responses));
      }
      if (applied !== undefined) messages.push(storageApply(core.id, committedEntries, applied));
    } else {
      const toOthers = afterAppend.filter((message) => message.to !== core.id);
      messages = toOthers.length === 0 ? early : [...early, ...toOthers];
      for (const message of afterAppend) if (message.to === core.id) this.#onAdvance.push(message);
      if (durable !== undefined) this.#onAdvance.push(durable);
      if (applied !== undefined) this.#onAdvance.push(applied);
    }

    const ready: Ready = {
      softState,
      hardState: hardStateChanged ? hardState : undefined,
      readStates: core.readStates,
      entries,
      snapshot,
      committedEntries,
      messages,
      earlyMessages: this.#async ? messages.length : early.length,
      mustSync,
    };
    this.#accept(ready);
    return ready;
  }

  #changedSoftState(): SoftState | undefined {
    const { leader, role } = this.#core;
    return leader === this.#softState.leader && role === this.#softState.role ? undefined : { leader, role };
  }

  #accept({ softState, hardState, committedEntries }: Ready): void {
    const core = this.#core;
    if (softState !== undefined) this.#softState = softState;
    if (hardState !== undefined) this.#hardState = hardState;
    core.readStates = [];
    core.messages = [];
    core.messagesAfterAppend = [];
    core.log.unstable.acceptInProgress();
    const last = committedEntries.at(-1);
    if (last !== undefined) core.log.acceptApplying(last.index, encodedBytes(committedEntries), !this.#async);
  }

  /**
   * What tells the member that its log is durable up to its present end, and this snapshot with it.
   *
   * It is sent with every write while entries are unstable, even one that carries none: it speaks of the whole log at the present
   * term. News from a write of an earlier term is ignored, for entries could have been replaced since by others with the same
   * index and, by way of a third leader, the same term, which nobody has written. The last write of this term says it all again.
   */
  #durableResponse(snapshot: Snapshot | undefined): Message | undefined {
    const { log, id, term } = this.#core;
    const hasUnstable = log.unstable.window.length > 0;
    if (!hasUnstable && snapshot === undefined) return undefined;
    const last = hasUnstable ? log.lastEntryId() : { term: 0, index: 0 };
    return makeMessage({
      type: MessageType.storageAppendResponse,
      to: id,
      from: LOCAL_APPEND_THREAD,
      term,
      index: last.index,
      logTerm: last.term,
      snapshot,
    });
  }

  /** What the last `Ready` asked for is done. Not with `asyncStorageWrites`. */
  advance(): void {
    invariant(!this.#async, "Advance must not be called when using AsyncStorageWrites");
    const messages = this.#onAdvance;
    this.#onAdvance = [];
    for (const message of messages) this.#core.step(message);
  }

  // ---- looking ----------------------------------------------------------------------------------------------------

  status(): Status {
    return statusOf(this.#core);
  }

  basicStatus(): BasicStatus {
    return basicStatusOf(this.#core);
  }

  /** For scripts and tests: the ticks until this member campaigns, until its next change of role. */
  overrideElectionTimeout(ticks: number): void {
    this.#core.electionTimeout = ticks;
  }
}

function storageAppend(
  from: bigint,
  { term, vote, commit }: HardState,
  entries: readonly Entry[],
  snapshot: Snapshot | undefined,
  responses: readonly Message[],
): Message {
  return makeMessage({
    type: MessageType.storageAppend,
    to: LOCAL_APPEND_THREAD,
    from,
    term,
    vote,
    commit,
    entries,
    snapshot,
    responses,
  });
}

function storageApply(from: bigint, entries: readonly Entry[], applied: Message): Message {
  // No term: what is committed stays committed, whoever leads.
  return makeMessage({ type: MessageType.storageApply, to: LOCAL_APPLY_THREAD, from, entries, responses: [applied] });
}

function appliedResponse(to: bigint, entries: readonly Entry[]): Message {
  return makeMessage({ type: MessageType.storageApplyResponse, to, from: LOCAL_APPLY_THREAD, entries });
}

/**
 * What comes from outside is looked at before anything is done, so that a peer gone mad cannot break a law of ours.
 *
 * @throws RaftError `RAFT_MESSAGE_MALFORMED`
 */
function checkForm(message: Message): void {
  const { type, entries } = message;
  if (message.term === 0 && TERMED.has(type)) throw malformed(message, "no term");
  if (type === MessageType.propose) {
    if (entries.length === 0) throw malformed(message, "no entries");
    for (const entry of entries) if (isConfChange(entry)) checkConfChange(message, entry);
  } else if (type === MessageType.append) {
    let { index, logTerm: term } = message;
    for (const entry of entries) {
      if (entry.index !== index + 1) throw malformed(message, `entry ${entry.index} after ${index}`);
      if (entry.term < term) throw malformed(message, `term ${entry.term} at ${entry.index} after term ${term}`);
      ({ index, term } = entry);
    }
    if (term > message.term) throw malformed(message, `an entry of term ${term} in a message of term ${message.term}`);
  }
}

function checkConfChange(message: Message, entry: Entry): void {
  try {
    confChangeOf(entry);
  } catch (error) {
    throw new RaftError("RAFT_MESSAGE_MALFORMED", malformedText(message, "a configuration change is unreadable"), {
      cause: error,
    });
  }
}

function malformed(message: Message, what: string): RaftError {
  return new RaftError("RAFT_MESSAGE_MALFORMED", malformedText(message, what));
}

function malformedText(message: Message, what: string): string {
  return `${messageTypeName(message.type)} from ${idText(message.from)}: ${what}`;
}
