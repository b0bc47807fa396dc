/** What a leader does with messages of its own term. */
import { EMPTY_BYTES } from "../base/bytes.js";
import { invariant } from "../base/errors.js";
import { EntryType, makeMessage, MessageType, type Entry, type Message } from "../proto/raft.js";
import { confChangeOf, describeConfiguration, isConfChange, isJoint } from "./configuration.js";
import type { RaftCore, StepOutcome } from "./core.js";
import { describeConfChange } from "./describe.js";
import { idText, NONE } from "./ids.js";
import type { Progress } from "./progress.js";
import { broadcastAppend, broadcastHeartbeat, maybeSendAppend, sendAppend, sendTimeoutNow } from "./replication.js";

export function stepLeader(core: RaftCore, message: Message): StepOutcome {
  switch (message.type) {
    case MessageType.beat:
      broadcastHeartbeat(core);
      return "taken";
    case MessageType.checkQuorum:
      checkQuorum(core);
      return "taken";
    case MessageType.propose:
      return takeProposal(core, message);
    case MessageType.readIndex:
      takeRead(core, message);
      return "taken";
    case MessageType.forgetLeader:
      return "taken";
    default:
      stepFromMember(core, message);
      return "taken";
  }
}

/** The messages that concern one member, which must be known. */
function stepFromMember(core: RaftCore, message: Message): void {
  const progress = core.tracker.progress.get(message.from);
  if (progress === undefined) {
    core.logger.debug(`${core.name} no progress available for ${idText(message.from)}`);
    return;
  }
  switch (message.type) {
    case MessageType.appendResponse:
      progress.recentActive = true;
      if (message.reject) appendRejected(core, message, progress);
      else appendAccepted(core, message, progress);
      return;
    case MessageType.heartbeatResponse:
      heartbeatAnswered(core, message, progress);
      return;
    case MessageType.snapshotStatus:
      snapshotReported(core, message, progress);
      return;
    case MessageType.unreachable:
      // Appends that were sent ahead were probably lost.
      if (progress.state === "replicate") progress.becomeProbe();
      core.logger.debug(
        `${core.name} failed to send message to ${idText(message.from)} because it is unreachable [${progress.describe()}]`,
      );
      return;
    case MessageType.transferLeader:
      transferLeader(core, message.from, progress);
      return;
    default:
      return;
  }
}

function checkQuorum(core: RaftCore): void {
  if (!core.tracker.quorumActive()) {
    core.logger.warning(`${core.name} stepped down to follower since quorum is not active`);
    core.becomeFollower(core.term, NONE);
  }
  for (const [id, progress] of core.tracker.members) if (id !== core.id) progress.recentActive = false;
}

// ---- proposals ----------------------------------------------------------------------------------------------------

function takeProposal(core: RaftCore, message: Message): StepOutcome {
  invariant(message.entries.length > 0, () => `${core.name} stepped empty MsgProp`);
  // Removed from the configuration while leading: nothing new may be promised.
  if (!core.tracker.progress.has(core.id)) return "dropped";
  if (core.leadTransferee !== NONE) {
    core.logger.debug(
      `${core.name} [term ${core.term}] transfer leadership to ${idText(core.leadTransferee)} is in progress; dropping proposal`,
    );
    return "dropped";
  }
  const entries = message.entries.some(isConfChange) ? admitConfChanges(core, message.entries) : message.entries;
  if (!core.appendToLog(entries)) return "dropped";
  broadcastAppend(core);
  return "taken";
}

/** The entries, with those configuration changes that may not be taken now emptied out: their places in the log stay. */
function admitConfChanges(core: RaftCore, entries: readonly Entry[]): readonly Entry[] {
  const last = core.log.lastIndex();
  return entries.map((entry, position) => {
    if (!isConfChange(entry)) return entry;
    const change = confChangeOf(entry);
    const objection = objectionTo(core, change.changes.length === 0);
    if (objection === undefined || core.config.disableConfChangeValidation) {
      core.pendingConfIndex = last + position + 1;
      return entry;
    }
    core.logger.info(
      `${core.name} ignoring conf change ${describeConfChange(change)} at config ` +
        `${describeConfiguration(core.tracker.configuration)}: ${objection}`,
    );
    return { type: EntryType.normal, term: 0, index: 0, data: EMPTY_BYTES };
  });
}

function objectionTo(core: RaftCore, leavesJoint: boolean): string | undefined {
  const { applied } = core.log;
  if (core.pendingConfIndex > applied) {
    return `possible unapplied conf change at index ${core.pendingConfIndex} (applied to ${applied})`;
  }
  const joint = isJoint(core.tracker.configuration);
  if (joint && !leavesJoint) return "must transition out of joint config first";
  if (!joint && leavesJoint) return "not in joint state; refusing empty conf change";
  return undefined;
}

// ---- followers' answers -------------------------------------------------------------------------------------------

function appendRejected(core: RaftCore, message: Message, progress: Progress): void {
  const { logger, log, name } = core;
  const from = idText(message.from);
  logger.debug(
    `${name} received MsgAppResp(rejected, hint: (index ${message.rejectHint}, term ${message.logTerm})) ` +
      `from ${from} for index ${message.index}`,
  );
  // The follower has passed over its entries with terms above ours at that place. We pass over ours with terms above its hint's:
  // each term costs one round at most, where either side alone could need one an entry.
  const hint =
    message.logTerm > 0 ? log.findConflictByTerm(message.rejectHint, message.logTerm).index : message.rejectHint;
  if (!progress.maybeDecrease(message.index, hint)) return;
  logger.debug(`${name} decreased progress of ${from} to [${progress.describe()}]`);
  if (progress.state === "replicate") progress.becomeProbe();
  sendAppend(core, message.from);
}

function appendAccepted(core: RaftCore, message: Message, progress: Progress): void {
  const { logger, log, name } = core;
  const { from, index } = message;
  // In state probe even old news is good: the probe was accepted at a place known to match.
  const news = progress.maybeUpdate(index) || (progress.match === index && progress.state === "probe");
  if (!news) return;

  if (progress.state === "probe") {
    progress.becomeReplicate();
  } else if (progress.state === "replicate") {
    progress.inflights.freeTo(index);
  } else if (progress.match + 1 >= log.firstIndex()) {
    // It has caught up to our log by whatever snapshot; not necessarily the one that we sent.
    logger.debug(
      `${name} recovered from needing snapshot, resumed sending replication messages to ${idText(from)} [${progress.describe()}]`,
    );
    progress.becomeProbe();
    progress.becomeReplicate();
  }

  if (core.maybeCommit()) {
    releaseReads(core);
    broadcastAppend(core);
  } else if (from !== core.id && progress.canBumpCommit(log.committed)) {
    sendAppend(core, from);
  }
  if (from === core.id) return;
  // Acknowledgements make room: send until there is no more, or no room.
  while (maybeSendAppend(core, from, false));
  if (from === core.leadTransferee && progress.match === log.lastIndex()) {
    logger.info(`${name} sent MsgTimeoutNow to ${idText(from)} after received MsgAppResp`);
    sendTimeoutNow(core, from);
  }
}

function heartbeatAnswered(core: RaftCore, message: Message, progress: Progress): void {
  progress.recentActive = true;
  progress.appendsPaused = false;
  if (progress.match < core.log.lastIndex() || progress.state === "probe") sendAppend(core, message.from);
  if (core.config.readOnlyOption !== "safe" || message.context.length === 0) return;
  core.reads.receiveAck(message.from, message.context);
  answerConfirmedReads(core);
}

function snapshotReported(core: RaftCore, message: Message, progress: Progress): void {
  if (progress.state !== "snapshot") return;
  if (message.reject) progress.pendingSnapshot = 0;
  progress.becomeProbe();
  core.logger.debug(
    `${core.name} snapshot ${message.reject ? "failed" : "succeeded"}, ` +
      `resumed sending replication messages to ${idText(message.from)} [${progress.describe()}]`,
  );
  // After success the follower will report what it has; after failure it needs a pause. Either way the next heartbeat's answer
  // lets appends through again.
  progress.appendsPaused = true;
}

// ---- transfer -----------------------------------------------------------------------------------------------------

function transferLeader(core: RaftCore, to: bigint, progress: Progress): void {
  const { logger, name, term } = core;
  if (progress.isLearner) {
    logger.debug(`${name} is learner. Ignored transferring leadership`);
    return;
  }
  const receiver = idText(to);
  if (core.leadTransferee !== NONE) {
    if (core.leadTransferee === to) {
      logger.info(
        `${name} [term ${term}] transfer leadership to ${receiver} is in progress, ignores request to same node ${receiver}`,
      );
      return;
    }
    const previous = idText(core.leadTransferee);
    core.leadTransferee = NONE;
    logger.info(`${name} [term ${term}] abort previous transferring leadership to ${previous}`);
  }
  if (to === core.id) {
    logger.debug(`${name} is already leader. Ignored transferring leadership to self`);
    return;
  }
  logger.info(`${name} [term ${term}] starts to transfer leadership to ${receiver}`);
  // The transfer has one election timeout to succeed.
  core.electionElapsed = 0;
  core.leadTransferee = to;
  if (progress.match === core.log.lastIndex()) {
    sendTimeoutNow(core, to);
    logger.info(`${name} sends MsgTimeoutNow to ${receiver} immediately as ${receiver} already has up-to-date log`);
  } else {
    sendAppend(core, to);
  }
}

// ---- reads --------------------------------------------------------------------------------------------------------

function takeRead(core: RaftCore, message: Message): void {
  if (message.entries.length !== 1) {
    core.logger.error(
      `${core.name} invalid format of MsgReadIndex from ${idText(message.from)}, entries count: ${message.entries.length}`,
    );
  } else if (core.hasCommittedInTerm()) {
    queueRead(core, message);
  } else {
    // Holds for the only member of a cluster as well: what it acknowledged before a restart may lie after the commit index that
    // it found on disk, until the first entry of its new term is committed.
    core.readsBeforeFirstCommit.push(message);
  }
}

function queueRead(core: RaftCore, message: Message): void {
  const index = core.log.committed;
  if (core.config.readOnlyOption === "lease-based" || core.tracker.isOnlyVoter(core.id)) {
    answerRead(core, message, index);
    return;
  }
  core.reads.add(index, message);
  core.reads.receiveAck(core.id, core.reads.heartbeatContext());
  broadcastHeartbeat(core);
}

/** Answers the reads that a quorum has confirmed by now. */
export function answerConfirmedReads(core: RaftCore): void {
  for (const { message, index } of core.reads.takeConfirmed(core.tracker.configuration.voters)) {
    answerRead(core, message, index);
  }
}

function releaseReads(core: RaftCore): void {
  if (core.readsBeforeFirstCommit.length === 0) return;
  if (!core.hasCommittedInTerm()) {
    core.logger.error("pending MsgReadIndex should be released only after first commit in current term");
    return;
  }
  const released = core.readsBeforeFirstCommit;
  core.readsBeforeFirstCommit = [];
  for (const message of released) queueRead(core, message);
}

/** A read may be served by a state that has applied `index`: said to the application here, or to the member that asked. */
function answerRead(core: RaftCore, request: Message, index: number): void {
  if (request.from === NONE || request.from === core.id) {
    core.readStates.push({ index, context: request.entries[0]!.data });
  } else {
    core.send(makeMessage({ type: MessageType.readIndexResponse, to: request.from, index, entries: request.entries }));
  }
}
