/** What a follower does with messages of its own term. */
import { makeMessage, MessageType, type Message } from "../proto/raft.js";
import type { RaftCore, StepOutcome } from "./core.js";
import { idText, NONE } from "./ids.js";

export function stepFollower(core: RaftCore, message: Message): StepOutcome {
  const { logger, name } = core;
  switch (message.type) {
    case MessageType.propose:
      return passOnProposal(core, message);
    case MessageType.append:
      hearFromLeader(core, message);
      acceptAppend(core, message);
      return "taken";
    case MessageType.heartbeat:
      hearFromLeader(core, message);
      acceptHeartbeat(core, message);
      return "taken";
    case MessageType.snapshot:
      hearFromLeader(core, message);
      acceptSnapshot(core, message);
      return "taken";
    case MessageType.transferLeader:
      if (core.leader === NONE) {
        logger.info(`${name} no leader at term ${core.term}; dropping leader transfer msg`);
      } else {
        core.send({ ...message, to: core.leader, term: 0 });
      }
      return "taken";
    case MessageType.forgetLeader:
      forgetLeader(core);
      return "taken";
    case MessageType.timeoutNow:
      logger.info(
        `${name} [term ${core.term}] received MsgTimeoutNow from ${idText(message.from)} ` +
          "and starts an election to get leadership.",
      );
      // No pre-election even where that is the rule: the leader knows that we can win.
      core.hup("transfer");
      return "taken";
    case MessageType.readIndex:
      if (core.leader === NONE) {
        logger.info(`${name} no leader at term ${core.term}; dropping index reading msg`);
      } else {
        core.send({ ...message, to: core.leader, term: 0 });
      }
      return "taken";
    case MessageType.readIndexResponse:
      receiveReadIndex(core, message);
      return "taken";
    default:
      return "taken";
  }
}

function passOnProposal(core: RaftCore, message: Message): StepOutcome {
  const { logger, name, term, leader } = core;
  if (leader === NONE) {
    logger.info(`${name} no leader at term ${term}; dropping proposal`);
    return "dropped";
  }
  if (core.config.disableProposalForwarding) {
    logger.info(`${name} not forwarding to leader ${idText(leader)} at term ${term}; dropping proposal`);
    return "dropped";
  }
  core.send({ ...message, to: leader, term: 0 });
  return "taken";
}

function hearFromLeader(core: RaftCore, message: Message): void {
  core.electionElapsed = 0;
  core.leader = message.from;
}

function forgetLeader(core: RaftCore): void {
  if (core.config.readOnlyOption === "lease-based") {
    // The leader's lease rests on our not voting for others while we hear from it.
    core.logger.error("ignoring MsgForgetLeader due to ReadOnlyLeaseBased");
    return;
  }
  if (core.leader === NONE) return;
  core.logger.info(`${core.name} forgetting leader ${idText(core.leader)} at term ${core.term}`);
  core.leader = NONE;
}

function receiveReadIndex(core: RaftCore, message: Message): void {
  if (message.entries.length !== 1) {
    core.logger.error(
      `${core.name} invalid format of MsgReadIndexResp from ${idText(message.from)}, ` +
        `entries count: ${message.entries.length}`,
    );
    return;
  }
  core.readStates.push({ index: message.index, context: message.entries[0]!.data });
}

/** Takes a leader's entries, or says where to look for an earlier place to start from. */
export function acceptAppend(core: RaftCore, message: Message): void {
  const { log } = core;
  const answer = (fields: Partial<Message>): void =>
    core.send(makeMessage({ type: MessageType.appendResponse, to: message.from, ...fields }));
  if (message.index < log.committed) {
    // Late, and overtaken: committed entries are equal in all logs.
    answer({ index: log.committed });
    return;
  }
  const previous = { term: message.logTerm, index: message.index };
  const last = log.maybeAppend(previous, message.entries, message.commit);
  if (last !== undefined) {
    answer({ index: last });
    return;
  }
  core.logger.debug(
    `${core.name} [logterm: ${log.term(message.index) ?? 0}, index: ${message.index}] rejected MsgApp ` +
      `[logterm: ${message.logTerm}, index: ${message.index}] from ${idText(message.from)}`,
  );
  // Everything of ours that has a term above the leader's term at that place cannot be in its log: pass over all of it at once.
  const hint = log.findConflictByTerm(Math.min(message.index, log.lastIndex()), message.logTerm);
  answer({ index: message.index, reject: true, rejectHint: hint.index, logTerm: hint.term });
}

/** Takes the leader's word on what is committed. */
export function acceptHeartbeat(core: RaftCore, message: Message): void {
  core.log.commitTo(message.commit);
  core.send(makeMessage({ type: MessageType.heartbeatResponse, to: message.from, context: message.context }));
}

/** Takes a leader's snapshot, unless the log has what is in it. */
export function acceptSnapshot(core: RaftCore, message: Message): void {
  const { snapshot } = message;
  const { index, term } = snapshot?.metadata ?? { index: 0, term: 0 };
  const restored = snapshot !== undefined && core.restore(snapshot);
  core.logger.info(
    `${core.name} [commit: ${core.log.committed}] ${restored ? "restored" : "ignored"} snapshot ` +
      `[index: ${index}, term: ${term}]`,
  );
  const known = restored ? core.log.lastIndex() : core.log.committed;
  core.send(makeMessage({ type: MessageType.appendResponse, to: message.from, index: known }));
}
