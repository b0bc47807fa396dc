/** What kind of message may come from where, and the protocol's names of them. */
import { MessageType } from "../proto/raft.js";

const NAMES: readonly string[] = [
  "MsgHup",
  "MsgBeat",
  "MsgProp",
  "MsgApp",
  "MsgAppResp",
  "MsgVote",
  "MsgVoteResp",
  "MsgSnap",
  "MsgHeartbeat",
  "MsgHeartbeatResp",
  "MsgUnreachable",
  "MsgSnapStatus",
  "MsgCheckQuorum",
  "MsgTransferLeader",
  "MsgTimeoutNow",
  "MsgReadIndex",
  "MsgReadIndexResp",
  "MsgPreVote",
  "MsgPreVoteResp",
  "MsgStorageAppend",
  "MsgStorageAppendResp",
  "MsgStorageApply",
  "MsgStorageApplyResp",
  "MsgForgetLeader",
];

const RESPONSES: ReadonlySet<MessageType> = new Set([
  MessageType.appendResponse,
  MessageType.voteResponse,
  MessageType.heartbeatResponse,
  MessageType.unreachable,
  MessageType.readIndexResponse,
  MessageType.preVoteResponse,
  MessageType.storageAppendResponse,
  MessageType.storageApplyResponse,
]);

/** `MsgApp` and the like. */
export function messageTypeName(type: MessageType): string {
  return NAMES[type] ?? String(type);
}

/** The type that has a name; undefined when none has. */
export function messageTypeNamed(name: string): MessageType | undefined {
  const at = NAMES.indexOf(name);
  return at === -1 ? undefined : (at as MessageType);
}

/** Whether such a message answers one of ours; from someone outside the configuration it is of no use. */
export function isResponseMessage(type: MessageType): boolean {
  return RESPONSES.has(type);
}

/** The answer to a vote or pre-vote request. */
export function voteResponseOf(request: typeof MessageType.vote | typeof MessageType.preVote): MessageType {
  return request === MessageType.vote ? MessageType.voteResponse : MessageType.preVoteResponse;
}
