/**
 * The state machine of one member: messages and ticks in; messages, and changes to log and state, out. It waits for nothing
 * and knows no clock, disk or network.
 *
 * This file holds the state, the transitions between roles and what all roles do alike: terms, votes, the member's own
 * storage. What a role does with the other messages is in `leader.ts`, `candidate.ts` and `follower.ts`; how a leader feeds its
 * followers is in `replication.ts`.
 *
 *     follower --timeout--> (pre-candidate --quorum would vote-->) candidate --quorum votes--> leader
 *        ^------------------------------ a higher term, a leader, a lost vote --------------------'
 *
 * Laws:
 * - `term` never falls; `vote` changes from a member to another only with the term.
 * - Messages that promise something durable (a vote, an acknowledged append) gather in `messagesAfterAppend` and leave only
 *   when what they promise is on disk. The member's own vote and acknowledgement go the same way, addressed to itself.
 * - All others gather in `messages` and may leave at once.
 * - At most one configuration change is in the log and not applied: the next must come after `pendingConfIndex`.
 */
import { EMPTY_BYTES, equalBytes } from "../base/bytes.js";
import { invariant } from "../base/errors.js";
import { bytesFromLatin1 } from "../base/text.js";
import {
  makeMessage,
  MessageType,
  type ConfChangeV2,
  type ConfState,
  type Entry,
  type HardState,
  type Message,
  type Snapshot,
} from "../proto/raft.js";
import { stepCandidate } from "./candidate.js";
import { changeSimply, enterJoint, leaveJoint, restoreMembership, type ChangeOutcome } from "./conf-change.js";
import { completeConfig, type CompleteConfig, type RaftConfig } from "./config.js";
import {
  confChangeEntry,
  confStateOf,
  describeConfiguration,
  equalConfStates,
  isConfChange,
  kindOfConfChange,
} from "./configuration.js";
import { encodedBytes, payloadBytes } from "./entry-window.js";
import { RaftError } from "./errors.js";
import { stepFollower } from "./follower.js";
import { idText, NONE } from "./ids.js";
import { answerConfirmedReads, stepLeader } from "./leader.js";
import { RaftLog } from "./log.js";
import type { RaftLogger } from "./logger.js";
import { messageTypeName, voteResponseOf } from "./message-kinds.js";
import { allVoters, type VoteResult } from "./quorum.js";
import { ReadQueue, type ReadState } from "./read-index.js";
import { broadcastAppend, sendPendingAppends } from "./replication.js";
import { Tracker } from "./tracker.js";

export type RaftRole = "follower" | "candidate" | "leader" | "pre-candidate";

/** State that a crash may lose: it is of use to the application only. */
export interface SoftState {
  /** The leader of the term; 0n when none is known. */
  readonly leader: bigint;
  readonly role: RaftRole;
}

/** Whether a message was dealt with, or was a proposal that nobody here can take. */
export type StepOutcome = "taken" | "dropped";

/** Why a member campaigns: to see whether it would win, on its own account, or because the leader asked it to. */
export type CampaignKind = "pre-election" | "election" | "transfer";

/** In a vote request: the leader wants this, so its lease is no obstacle. The bytes are the protocol's. */
const TRANSFER_CONTEXT = bytesFromLatin1("CampaignTransfer");

export class RaftCore {
  readonly config: CompleteConfig;
  readonly id: bigint;
  /** `id` as log lines write it. */
  readonly name: string;
  readonly logger: RaftLogger;

  term = 0;
  vote = NONE;
  role: RaftRole = "follower";
  /** The leader of this term, as far as known. */
  leader = NONE;
  /** The member that leadership is being handed to; proposals are dropped meanwhile. */
  leadTransferee = NONE;

  readonly log: RaftLog;
  tracker: Tracker;
  /** No configuration change is taken while the one at this index is not applied. It may be too high, never too low. */
  pendingConfIndex = 0;
  /** Payload of the leader's entries that are not applied yet. */
  uncommittedBytes = 0;

  /** Messages that may leave at once. */
  messages: Message[] = [];
  /** Messages that may leave when all that is unstable now is durable. */
  messagesAfterAppend: Message[] = [];
  readStates: ReadState[] = [];
  readonly reads = new ReadQueue();
  /** Requests to read that came before the leader committed an entry of its term, and so knows what is committed. */
  readsBeforeFirstCommit: Message[] = [];

  /** Ticks since the last word from a leader, or, for a leader, since the last check of the quorum. */
  electionElapsed = 0;
  heartbeatElapsed = 0;
  /** Ticks after which this member campaigns; drawn anew at each change of role, so that rivals do not stay in step. */
  electionTimeout = 0;

  /** @throws RaftError `RAFT_CONFIG`, or `RAFT_LOG_LOST` when the storage holds less than its own state says */
  constructor(config: RaftConfig) {
    this.config = completeConfig(config);
    const { id, storage, log: logger } = this.config;
    this.id = id;
    this.name = idText(id);
    this.logger = logger;
    this.log = new RaftLog(storage, logger, this.config.maxCommittedSizePerReady);
    this.tracker = this.#newTracker();

    const { hardState, confState } = storage.initialState();
    const last = this.log.lastEntryId();
    this.#restoreConfiguration(confState);
    this.#load(hardState);
    this.#loadApplied(this.config.applied);
    this.becomeFollower(this.term, NONE);
    const peers = allVoters(this.tracker.configuration.voters).map(idText).join(",");
    logger.info(
      `newRaft ${this.name} [peers: [${peers}], term: ${this.term}, commit: ${this.log.committed}, ` +
        `applied: ${this.log.applied}, lastindex: ${last.index}, lastterm: ${last.term}]`,
    );
  }

  #newTracker(): Tracker {
    return new Tracker(this.config.maxInflightMessages, this.config.maxInflightBytes);
  }

  #load({ term, vote, commit }: HardState): void {
    if (term === 0 && vote === NONE && commit === 0) return;
    const last = this.log.lastIndex();
    if (commit < this.log.committed || commit > last) {
      throw new RaftError(
        "RAFT_LOG_LOST",
        `${this.name} state.commit ${commit} is out of range [${this.log.committed}, ${last}]: ` +
          "the log holds less, or starts later, than the hard state beside it says",
      );
    }
    this.log.committed = commit;
    this.term = term;
    this.vote = vote;
  }

  #loadApplied(applied: number): void {
    if (applied === 0) return;
    const last = this.log.lastIndex();
    if (applied < this.log.applied || applied > last) {
      throw new RaftError(
        "RAFT_LOG_LOST",
        `applied(${applied}) is out of range [prevApplied(${this.log.applied}), lastIndex(${last})]: ` +
          "the application's state does not belong to this log",
      );
    }
    // A commit index alone is never synced, so a crash may take it back behind what was applied; that is committed all the same.
    this.log.commitTo(applied);
    this.log.appliedTo(applied, 0);
  }

  // ---- what there is to see ---------------------------------------------------------------------------------------

  softState(): SoftState {
    return { leader: this.leader, role: this.role };
  }

  hardState(): HardState {
    return { term: this.term, vote: this.vote, commit: this.log.committed };
  }

  /** Whether this member could become leader: it votes, and its log is not waiting for a snapshot to become durable. */
  isPromotable(): boolean {
    const own = this.tracker.progress.get(this.id);
    return own !== undefined && !own.isLearner && !this.log.hasPendingSnapshot();
  }

  /** Whether an entry of this term is committed. Before that a new leader does not know what is. */
  hasCommittedInTerm(): boolean {
    return this.log.term(this.log.committed) === this.term;
  }

  // ---- time -------------------------------------------------------------------------------------------------------

  tick(): void {
    if (this.role === "leader") this.#tickLeader();
    else this.#tickElection();
  }

  #tickElection(): void {
    this.electionElapsed++;
    if (this.electionElapsed < this.electionTimeout || !this.isPromotable()) return;
    this.electionElapsed = 0;
    this.step(makeMessage({ type: MessageType.hup, from: this.id }));
  }

  #tickLeader(): void {
    this.heartbeatElapsed++;
    this.electionElapsed++;
    if (this.electionElapsed >= this.config.electionTicks) {
      this.electionElapsed = 0;
      if (this.config.checkQuorum) this.step(makeMessage({ type: MessageType.checkQuorum, from: this.id }));
      // A transfer that takes longer than an election has failed: take proposals again.
      this.leadTransferee = NONE;
    }
    // The check may have ended the leadership.
    if (this.role !== "leader") return;
    if (this.heartbeatElapsed >= this.config.heartbeatTicks) {
      this.heartbeatElapsed = 0;
      this.step(makeMessage({ type: MessageType.beat, from: this.id }));
    }
  }

  // ---- roles ------------------------------------------------------------------------------------------------------

  #reset(term: number): void {
    if (this.term !== term) {
      this.term = term;
      this.vote = NONE;
    }
    this.leader = NONE;
    this.electionElapsed = 0;
    this.heartbeatElapsed = 0;
    this.electionTimeout = this.config.electionTicks + this.config.random.below(this.config.electionTicks);
    this.leadTransferee = NONE;
    this.tracker.votes.clear();
    const last = this.log.lastIndex();
    for (const [id, progress] of this.tracker.members) progress.reset(id === this.id ? last : 0, last + 1);
    this.pendingConfIndex = 0;
    this.uncommittedBytes = 0;
    this.reads.clear();
    this.readsBeforeFirstCommit = [];
  }

  becomeFollower(term: number, leader: bigint): void {
    this.#reset(term);
    this.leader = leader;
    this.role = "follower";
    this.logger.info(`${this.name} became follower at term ${this.term}`);
  }

  becomeCandidate(): void {
    invariant(this.role !== "leader", "invalid transition [leader -> candidate]");
    this.#reset(this.term + 1);
    this.vote = this.id;
    this.role = "candidate";
    this.logger.info(`${this.name} became candidate at term ${this.term}`);
  }

  /** Asks around without spending a term: neither `term` nor `vote` change. */
  becomePreCandidate(): void {
    invariant(this.role !== "leader", "invalid transition [leader -> pre-candidate]");
    this.tracker.votes.clear();
    this.leader = NONE;
    this.role = "pre-candidate";
    this.logger.info(`${this.name} became pre-candidate at term ${this.term}`);
  }

  becomeLeader(): void {
    invariant(this.role !== "follower", "invalid transition [follower -> leader]");
    this.#reset(this.term);
    this.leader = this.id;
    this.role = "leader";
    const own = this.tracker.progress.get(this.id);
    invariant(own !== undefined, "a leader is a member");
    own.becomeReplicate();
    own.recentActive = true;
    // There may be a configuration change among the entries inherited; finding out is not worth a scan.
    this.pendingConfIndex = this.log.lastIndex();
    // Counting commits entries of this term only, so one is needed, and soon.
    const appended = this.appendToLog([{ type: 0, term: 0, index: 0, data: EMPTY_BYTES }]);
    invariant(appended, "empty entry was dropped");
    this.logger.info(`${this.name} became leader at term ${this.term}`);
  }

  // ---- campaigns --------------------------------------------------------------------------------------------------

  /** Campaigns, unless something speaks against it. */
  hup(kind: CampaignKind): void {
    if (this.role === "leader") {
      this.logger.debug(`${this.name} ignoring MsgHup because already leader`);
      return;
    }
    if (!this.isPromotable()) {
      this.logger.warning(`${this.name} is unpromotable and can not campaign`);
      return;
    }
    if (this.#hasUnappliedConfChange()) {
      this.logger.warning(
        `${this.name} cannot campaign at term ${this.term} since there are still pending configuration changes to apply`,
      );
      return;
    }
    this.logger.info(`${this.name} is starting a new election at term ${this.term}`);
    this.campaign(kind);
  }

  #hasUnappliedConfChange(): boolean {
    const { applied, committed, applyingBytesMax } = this.log;
    return this.log.some(applied + 1, committed + 1, applyingBytesMax, isConfChange);
  }

  campaign(kind: CampaignKind): void {
    if (!this.isPromotable()) {
      this.logger.warning(`${this.name} is unpromotable; campaign() should have been called`);
    }
    if (kind === "pre-election") this.becomePreCandidate();
    else this.becomeCandidate();
    const type = kind === "pre-election" ? MessageType.preVote : MessageType.vote;
    const term = kind === "pre-election" ? this.term + 1 : this.term;
    const context = kind === "transfer" ? TRANSFER_CONTEXT : EMPTY_BYTES;
    const last = this.log.lastEntryId();
    for (const to of allVoters(this.tracker.configuration.voters)) {
      if (to === this.id) {
        // One's own vote counts when it is durable, like everyone else's: it is sent, and comes back then.
        this.send(makeMessage({ type: voteResponseOf(type), to, term }));
        continue;
      }
      this.logger.info(
        `${this.name} [logterm: ${last.term}, index: ${last.index}] sent ${messageTypeName(type)} request ` +
          `to ${idText(to)} at term ${this.term}`,
      );
      this.send(makeMessage({ type, to, term, index: last.index, logTerm: last.term, context }));
    }
  }

  /** Takes down a vote and says how the election stands. */
  poll(message: Message): VoteResult {
    const type = messageTypeName(message.type);
    const rejection = message.reject ? " rejection" : "";
    const from = idText(message.from);
    this.logger.info(`${this.name} received ${type}${rejection} from ${from} at term ${this.term}`);
    this.tracker.recordVote(message.from, !message.reject);
    const { granted, rejected, result } = this.tracker.tallyVotes();
    this.logger.info(`${this.name} has received ${granted} ${type} votes and ${rejected} vote rejections`);
    return result;
  }

  // ---- messages ---------------------------------------------------------------------------------------------------

  /** Queues a message. Sender and term are filled in, except for the terms of votes, which may differ from ours. */
  send(message: Message): void {
    const { type } = message;
    const isVote =
      type === MessageType.vote ||
      type === MessageType.preVote ||
      type === MessageType.voteResponse ||
      type === MessageType.preVoteResponse;
    invariant(isVote === (message.term !== 0), () => `term ${message.term} when sending ${messageTypeName(type)}`);
    // What a follower passes on for others carries no term: it is not part of the leader's own exchange.
    const passedOn = type === MessageType.propose || type === MessageType.readIndex;
    const sent: Message = {
      ...message,
      from: message.from === NONE ? this.id : message.from,
      term: isVote ? message.term : passedOn ? 0 : this.term,
    };
    if (
      type === MessageType.appendResponse ||
      type === MessageType.voteResponse ||
      type === MessageType.preVoteResponse
    ) {
      this.messagesAfterAppend.push(sent);
    } else {
      invariant(
        sent.to !== this.id,
        () => `message should not be self-addressed when sending ${messageTypeName(type)}`,
      );
      this.messages.push(sent);
    }
  }

  /** Deals with one message. Terms come first: they decide who may be listened to. */
  step(message: Message): StepOutcome {
    if (message.term > this.term) {
      if (this.#leaseForbids(message)) return "taken";
      this.#meetHigherTerm(message);
    } else if (message.term !== 0 && message.term < this.term) {
      this.#meetLowerTerm(message);
      return "taken";
    }

    switch (message.type) {
      case MessageType.hup:
        this.hup(this.config.preVote ? "pre-election" : "election");
        return "taken";
      case MessageType.storageAppendResponse:
        if (message.index !== 0) this.log.unstable.stableTo(message.logTerm, message.index);
        if (message.snapshot !== undefined) this.#snapshotIsDurable(message.snapshot);
        return "taken";
      case MessageType.storageApplyResponse:
        this.#entriesAreApplied(message.entries);
        return "taken";
      case MessageType.vote:
      case MessageType.preVote:
        this.#answerVote(message, message.type);
        return "taken";
      default:
        return this.#stepInRole(message);
    }
  }

  #stepInRole(message: Message): StepOutcome {
    if (this.role === "leader") return stepLeader(this, message);
    return this.role === "follower" ? stepFollower(this, message) : stepCandidate(this, message);
  }

  /**
   * Whether a request for votes comes while a leader is known to be there. One who was cut off from the others and comes back
   * with a higher term shall not depose a leader that works.
   */
  #leaseForbids(message: Message): boolean {
    if (message.type !== MessageType.vote && message.type !== MessageType.preVote) return false;
    const { checkQuorum, electionTicks } = this.config;
    const inLease = checkQuorum && this.leader !== NONE && this.electionElapsed < electionTicks;
    if (!inLease || equalBytes(message.context, TRANSFER_CONTEXT)) return false;
    const remaining = electionTicks - this.electionElapsed;
    this.#logVote("ignored", message, `: lease is not expired (remaining ticks: ${remaining})`);
    return true;
  }

  #meetHigherTerm(message: Message): void {
    const { type, term, from } = message;
    // Neither a question what we would vote, nor the answer to ours, means that the term has begun. (A refusal carries the
    // refuser's own term, which has.)
    if (type === MessageType.preVote || (type === MessageType.preVoteResponse && !message.reject)) return;
    this.logger.info(
      `${this.name} [term: ${this.term}] received a ${messageTypeName(type)} message with higher term ` +
        `from ${idText(from)} [term: ${term}]`,
    );
    const fromLeader = type === MessageType.append || type === MessageType.heartbeat || type === MessageType.snapshot;
    this.becomeFollower(term, fromLeader ? from : NONE);
  }

  #meetLowerTerm(message: Message): void {
    const { type, from, term } = message;
    const { checkQuorum, preVote } = this.config;
    if ((checkQuorum || preVote) && (type === MessageType.heartbeat || type === MessageType.append)) {
      // A leader of a lower term that still reaches us: with these options we will not depose it by a vote request, since
      // others ignore that. Our term in the answer makes it step down.
      this.send(makeMessage({ type: MessageType.appendResponse, to: from }));
    } else if (type === MessageType.preVote) {
      // Our term in the answer ends a candidacy that cannot succeed.
      this.#logVote("rejected", message);
      this.send(makeMessage({ type: MessageType.preVoteResponse, to: from, term: this.term, reject: true }));
    } else if (type === MessageType.storageAppendResponse) {
      // Entries may have been replaced by the new term's since the write began, even by some with the same term and index
      // that were never written. A snapshot stays what it was.
      if (message.index !== 0) {
        this.logger.info(
          `${this.name} [term: ${this.term}] ignored entry appends from a ${messageTypeName(type)} message ` +
            `with lower term [term: ${term}]`,
        );
      }
      if (message.snapshot !== undefined) this.#snapshotIsDurable(message.snapshot);
    } else {
      this.logger.info(
        `${this.name} [term: ${this.term}] ignored a ${messageTypeName(type)} message with lower term ` +
          `from ${idText(from)} [term: ${term}]`,
      );
    }
  }

  #answerVote(message: Message, type: typeof MessageType.vote | typeof MessageType.preVote): void {
    const mayVote =
      this.vote === message.from ||
      (this.vote === NONE && this.leader === NONE) ||
      (type === MessageType.preVote && message.term > this.term);
    // A learner votes too: one who asks may know of its promotion while the learner itself does not yet.
    if (mayVote && this.log.isUpToDate({ term: message.logTerm, index: message.index })) {
      this.#logVote("cast", message);
      // The answer carries the request's term: one's own may be lower when the request is a pre-vote.
      this.send(makeMessage({ type: voteResponseOf(type), to: message.from, term: message.term }));
      if (type === MessageType.vote) {
        this.electionElapsed = 0;
        this.vote = message.from;
      }
    } else {
      this.#logVote("rejected", message);
      this.send(makeMessage({ type: voteResponseOf(type), to: message.from, term: this.term, reject: true }));
    }
  }

  #logVote(verdict: "cast" | "rejected" | "ignored", message: Message, remark = ""): void {
    const last = this.log.lastEntryId();
    this.logger.info(
      `${this.name} [logterm: ${last.term}, index: ${last.index}, vote: ${idText(this.vote)}] ${verdict} ` +
        `${messageTypeName(message.type)} ${verdict === "cast" ? "for" : "from"} ${idText(message.from)} ` +
        `[logterm: ${message.logTerm}, index: ${message.index}] at term ${this.term}${remark}`,
    );
  }

  // ---- log --------------------------------------------------------------------------------------------------------

  /** A leader's append: gives the entries term and index. False when they would exceed the limit on what is not committed. */
  appendToLog(entries: readonly Entry[]): boolean {
    if (!this.#reserveUncommitted(payloadBytes(entries))) {
      this.logger.warning(
        `${this.name} appending new entries to log would exceed uncommitted entry size limit; dropping proposal`,
      );
      return false;
    }
    const { term } = this;
    let last = this.log.lastIndex();
    this.log.append(entries.map(({ type, data }) => ({ type, term, index: ++last, data })));
    // The leader acknowledges its own entries when they are durable, as any follower.
    this.send(makeMessage({ type: MessageType.appendResponse, to: this.id, index: last }));
    return true;
  }

  /** One proposal is let through whatever its size, and an empty one always: a new leader's entry must not be refused. */
  #reserveUncommitted(bytes: number): boolean {
    const total = this.uncommittedBytes + bytes;
    if (this.uncommittedBytes > 0 && bytes > 0 && total > this.config.maxUncommittedEntriesSize) return false;
    this.uncommittedBytes = total;
    return true;
  }

  /** Commits what a quorum has by now; says whether that is news. */
  maybeCommit(): boolean {
    return this.log.maybeCommit({ term: this.term, index: this.tracker.committedIndex() });
  }

  #entriesAreApplied(entries: readonly Entry[]): void {
    const last = entries.at(-1);
    if (last === undefined) return;
    this.#appliedTo(last.index, encodedBytes(entries));
    this.uncommittedBytes = Math.max(0, this.uncommittedBytes - payloadBytes(entries));
  }

  #snapshotIsDurable(snapshot: Snapshot): void {
    this.log.unstable.snapshotStableTo(snapshot.metadata.index);
    this.#appliedTo(snapshot.metadata.index, 0);
  }

  #appliedTo(index: number, bytes: number): void {
    const applied = Math.max(index, this.log.applied);
    this.log.appliedTo(applied, bytes);
    const { configuration } = this.tracker;
    if (!configuration.autoLeave || applied < this.pendingConfIndex || this.role !== "leader") return;
    // The joint configuration is applied, so it may be left. If that is not possible now (a transfer is under way), the next
    // leader, or the next entry applied, tries again.
    const leave = makeMessage({ type: MessageType.propose, entries: [confChangeEntry(undefined)] });
    const text = describeConfiguration(configuration);
    if (this.step(leave) === "dropped") {
      const reason = "raft proposal dropped";
      this.logger.debug(`not initiating automatic transition out of joint configuration ${text}: ${reason}`);
    } else {
      this.logger.info(`initiating automatic transition out of joint configuration ${text}`);
    }
  }

  /** Replaces log and configuration by a leader's snapshot; false when it brings nothing new, or comes at a bad time. */
  restore(snapshot: Snapshot): boolean {
    const { index, term, confState } = snapshot.metadata;
    if (index <= this.log.committed) return false;
    if (this.role !== "follower") {
      // Unreachable as long as nobody else leads our term. A higher term of our own is safe in any case.
      this.logger.warning(`${this.name} attempted to restore snapshot as leader; should never happen`);
      this.becomeFollower(this.term + 1, NONE);
      return false;
    }
    if (![confState.voters, confState.learners, confState.votersOutgoing].some((ids) => ids.includes(this.id))) {
      this.logger.warning(
        `${this.name} attempted to restore snapshot but it is not in the ConfState ${protoText(confState)}; ` +
          "should never happen",
      );
      return false;
    }
    if (this.log.matches({ term, index })) {
      const last = this.log.lastEntryId();
      this.logger.info(
        `${this.name} [commit: ${this.log.committed}, lastindex: ${last.index}, lastterm: ${last.term}] ` +
          `fast-forwarded commit to snapshot [index: ${index}, term: ${term}]`,
      );
      this.log.commitTo(index);
      return false;
    }
    if (this.log.some(this.log.applied + 1, this.log.applying + 1, Number.POSITIVE_INFINITY, isConfChange)) {
      // The application is about to put a change into effect that the snapshot already has: it would meet the wrong configuration.
      this.logger.info(
        `${this.name} [applied: ${this.log.applied}, applying: ${this.log.applying}] postponed snapshot ` +
          `[index: ${index}, term: ${term}] until the configuration changes in hand are applied`,
      );
      return false;
    }
    this.log.restore(snapshot);
    this.tracker = this.#newTracker();
    this.#restoreConfiguration(confState);
    const last = this.log.lastEntryId();
    this.logger.info(
      `${this.name} [commit: ${this.log.committed}, lastindex: ${last.index}, lastterm: ${last.term}] ` +
        `restored snapshot [index: ${index}, term: ${term}]`,
    );
    return true;
  }

  // ---- configuration ----------------------------------------------------------------------------------------------

  /**
   * The application has applied a configuration change.
   *
   * @throws RaftError `RAFT_CONF_CHANGE_REFUSED` when it does not fit; with validation on, no such change enters the log
   */
  applyConfChange(change: ConfChangeV2): ConfState {
    return this.#switchTo(this.#outcomeOf(change), "configuration change");
  }

  #outcomeOf(change: ConfChangeV2): ChangeOutcome {
    const kind = kindOfConfChange(change);
    if (kind === "leave-joint") return leaveJoint(this.tracker);
    if (kind === "simple") return changeSimply(this.tracker, change.changes, this.#newcomer());
    return enterJoint(this.tracker, kind === "enter-joint-auto-leave", change.changes, this.#newcomer());
  }

  #newcomer() {
    return { lastIndex: this.log.lastIndex(), newInflights: () => this.tracker.newInflights() };
  }

  #restoreConfiguration(confState: ConfState): void {
    const restored = this.#switchTo(restoreMembership(this.tracker, confState, this.#newcomer()), "configuration");
    invariant(equalConfStates(restored, confState), "a restored configuration equals the one that was stored");
  }

  #switchTo(outcome: ChangeOutcome, what: string): ConfState {
    if (outcome.kind === "refused") {
      throw new RaftError("RAFT_CONF_CHANGE_REFUSED", `the ${what} does not fit: ${outcome.reason}`);
    }
    this.tracker.become(outcome.membership);
    const { configuration } = this.tracker;
    this.logger.info(`${this.name} switched to configuration ${describeConfiguration(configuration)}`);
    const confState = confStateOf(configuration);
    if (this.role !== "leader") return confState;

    const own = this.tracker.progress.get(this.id);
    if (own === undefined || own.isLearner) {
      // Without the option it leads on, not counting itself, until someone else is elected: it may have more to commit.
      if (this.config.stepDownOnRemoval) this.becomeFollower(this.term, NONE);
      return confState;
    }
    if (confState.voters.length === 0) return confState;
    if (this.maybeCommit()) {
      // A smaller quorum can commit what waited for the larger one.
      broadcastAppend(this);
    } else {
      // Newcomers should not wait for the next proposal.
      sendPendingAppends(this);
    }
    // A smaller quorum may also have confirmed reads that waited for the larger one.
    answerConfirmedReads(this);
    if (!allVoters(configuration.voters).includes(this.leadTransferee)) this.leadTransferee = NONE;
    return confState;
  }
}

/** A configuration as Go's protobuf prints it in log lines. */
function protoText({ voters, learners, votersOutgoing, learnersNext, autoLeave }: ConfState): string {
  const fields = [
    ...voters.map((id) => `voters:${id}`),
    ...learners.map((id) => `learners:${id}`),
    ...votersOutgoing.map((id) => `voters_outgoing:${id}`),
    ...learnersNext.map((id) => `learners_next:${id}`),
    `auto_leave:${autoLeave}`,
  ];
  return fields.join(" ");
}
