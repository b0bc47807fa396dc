/**
 * What another member asks this leader to put into the log. An entry that is committed must be applied by every member, and one that
 * cannot be read would end them all, now and at each start: so it is looked at before it goes in.
 */
import { WireError } from "../base/bytes.js";
import { decodeChangeContext, decodeMember, MembershipFormatError } from "../membership/member.js";
import { ConfChangeType, decodeConfChange, EntryType, MessageType, type Entry, type Message } from "../proto/raft.js";
import type { InternalRaftRequest } from "../proto/generated/etcdserverpb/raft_internal.js";
import { isAuthRequest } from "./auth-applier.js";
import { decodeRaftRequest } from "../proto/raft-request.js";

/** Why the message may not go to raft; undefined when it may. */
export function whyUnreadable(message: Pick<Message, "type" | "entries">): string | undefined {
  if (message.type !== MessageType.propose) return undefined;
  for (const entry of message.entries) {
    const why = whyEntryUnreadable(entry);
    if (why !== undefined) return why;
  }
  return undefined;
}

function whyEntryUnreadable({ type, data }: Entry): string | undefined {
  try {
    if (type === EntryType.normal) return whyRequestUnreadable(data);
    if (type === EntryType.confChange) return whyChangeUnreadable(data);
    return "it proposes a change of the configuration of version 2, which etcd 3.5 does not make";
  } catch (error) {
    if (error instanceof WireError || error instanceof MembershipFormatError) return error.message;
    throw error;
  }
}

function whyRequestUnreadable(data: Uint8Array): string | undefined {
  if (data.length === 0) return "it proposes an entry without data, as only a new leader makes one";
  const decoded = decodeRaftRequest(data);
  if (decoded.kind === "v2" || isServed(decoded.request)) return undefined;
  return "it proposes a request of a kind that this version does not serve";
}

/** Whether the applier knows what to do with the request. */
export function isServed(request: InternalRaftRequest): boolean {
  return (
    request.put !== undefined ||
    request.txn !== undefined ||
    request.range !== undefined ||
    request.deleteRange !== undefined ||
    request.compaction !== undefined ||
    request.alarm !== undefined ||
    request.leaseGrant !== undefined ||
    request.leaseRevoke !== undefined ||
    request.leaseCheckpoint !== undefined ||
    isAuthRequest(request) ||
    request.clusterVersionSet !== undefined ||
    request.clusterMemberAttrSet !== undefined ||
    request.downgradeInfoSet !== undefined
  );
}

function whyChangeUnreadable(data: Uint8Array): string | undefined {
  const { type, nodeId, context } = decodeConfChange(data);
  if (nodeId === 0n) return "it proposes a change of member 0, which is nobody";
  if (type === ConfChangeType.removeNode) return undefined;
  const { id } = type === ConfChangeType.updateNode ? decodeMember(context) : decodeChangeContext(context).member;
  return id === nodeId ? undefined : `it proposes a change of member ${nodeId} that carries member ${id}`;
}
