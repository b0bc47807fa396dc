/** What a candidate, or a pre-candidate, does with messages of its own term. */
import { MessageType, type Message } from "../proto/raft.js";
import type { RaftCore, StepOutcome } from "./core.js";
import { acceptAppend, acceptHeartbeat, acceptSnapshot } from "./follower.js";
import { idText, NONE } from "./ids.js";
import { broadcastAppend } from "./replication.js";

export function stepCandidate(core: RaftCore, message: Message): StepOutcome {
  const voteAnswer = core.role === "pre-candidate" ? MessageType.preVoteResponse : MessageType.voteResponse;
  switch (message.type) {
    case MessageType.propose:
      core.logger.info(`${core.name} no leader at term ${core.term}; dropping proposal`);
      return "dropped";
    // Who sends these has won the election of this term.
    case MessageType.append:
      core.becomeFollower(message.term, message.from);
      acceptAppend(core, message);
      return "taken";
    case MessageType.heartbeat:
      core.becomeFollower(message.term, message.from);
      acceptHeartbeat(core, message);
      return "taken";
    case MessageType.snapshot:
      core.becomeFollower(message.term, message.from);
      acceptSnapshot(core, message);
      return "taken";
    // Answers to the other kind of question are late: of the pre-election before this election.
    case voteAnswer:
      count(core, message);
      return "taken";
    case MessageType.timeoutNow:
      core.logger.debug(
        `${core.name} [term ${core.term} state ${core.role === "candidate" ? "StateCandidate" : "StatePreCandidate"}] ` +
          `ignored MsgTimeoutNow from ${idText(message.from)}`,
      );
      return "taken";
    default:
      return "taken";
  }
}

function count(core: RaftCore, message: Message): void {
  const result = core.poll(message);
  if (result === "lost") {
    // A pre-vote answer may carry a term above ours, so the term stays what it is.
    core.becomeFollower(core.term, NONE);
  } else if (result === "won") {
    if (core.role === "pre-candidate") {
      core.campaign("election");
    } else {
      core.becomeLeader();
      broadcastAppend(core);
    }
  }
}
