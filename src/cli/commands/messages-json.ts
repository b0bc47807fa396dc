/** Messages as Go's encoding/json writes etcd's generated structs: the definition's names, zero fields left out. */
import type {
  AlarmResponse,
  DeleteRangeResponse,
  HashKVResponse,
  KeyValue,
  Member,
  MemberAddResponse,
  MemberListResponse,
  PutResponse,
  RangeResponse,
  ResponseHeader,
  ResponseOp,
  StatusResponse,
  TxnResponse,
  WatchResponse,
} from "../../proto/index.js";
import type { GoJson } from "./go-text.js";

export function headerJson(header: ResponseHeader | undefined): GoJson {
  return header === undefined ? undefined : { fields: headerFields(header) };
}

/** The header's own fields, for messages that have them beside theirs. */
export function headerFields(header: ResponseHeader | undefined): (readonly [name: string, value: GoJson])[] {
  if (header === undefined) return [];
  return [
    ["cluster_id", header.clusterId],
    ["member_id", header.memberId],
    ["revision", header.revision],
    ["raft_term", header.raftTerm],
  ];
}

function keyValueJson(kv: KeyValue): GoJson {
  return {
    fields: [
      ["key", kv.key],
      ["create_revision", kv.createRevision],
      ["mod_revision", kv.modRevision],
      ["version", kv.version],
      ["value", kv.value],
      ["lease", kv.lease],
    ],
  };
}

export function rangeJson(response: RangeResponse): GoJson {
  return {
    fields: [
      ["header", headerJson(response.header)],
      ["kvs", response.kvs.map(keyValueJson)],
      ["more", response.more],
      ["count", response.count],
    ],
  };
}

export function putJson(response: PutResponse): GoJson {
  const { prevKv } = response;
  return {
    fields: [
      ["header", headerJson(response.header)],
      ["prev_kv", prevKv === undefined ? undefined : keyValueJson(prevKv)],
    ],
  };
}

export function deleteJson(response: DeleteRangeResponse): GoJson {
  return {
    fields: [
      ["header", headerJson(response.header)],
      ["deleted", response.deleted],
      ["prev_kvs", response.prevKvs.map(keyValueJson)],
    ],
  };
}

export function txnJson(response: TxnResponse): GoJson {
  return {
    fields: [
      ["header", headerJson(response.header)],
      ["succeeded", response.succeeded],
      [
        "responses",
        response.responses.map((operation): GoJson => ({ fields: [["Response", operationJson(operation), "always"]] })),
      ],
    ],
  };
}

function operationJson({ response }: ResponseOp): GoJson {
  switch (response?.$case) {
    case "responseRange":
      return { fields: [["response_range", rangeJson(response.value)]] };
    case "responsePut":
      return { fields: [["response_put", putJson(response.value)]] };
    case "responseDeleteRange":
      return { fields: [["response_delete_range", deleteJson(response.value)]] };
    case "responseTxn":
      return { fields: [["response_txn", txnJson(response.value)]] };
    case undefined:
      return undefined;
  }
}

/** The answers to all calls that change members as well. */
export function membersJson({ header, members }: Pick<MemberListResponse, "header" | "members">): GoJson {
  return {
    fields: [
      ["header", headerJson(header)],
      ["members", members.map(memberJson)],
    ],
  };
}

export function memberAddJson({ header, member, members }: MemberAddResponse): GoJson {
  return {
    fields: [
      ["header", headerJson(header)],
      ["member", member === undefined ? undefined : memberJson(member)],
      ["members", members.map(memberJson)],
    ],
  };
}

function memberJson(member: Member): GoJson {
  return {
    fields: [
      ["ID", member.ID],
      ["name", member.name],
      ["peerURLs", member.peerURLs],
      ["clientURLs", member.clientURLs],
      ["isLearner", member.isLearner],
    ],
  };
}

export function alarmJson(response: AlarmResponse): GoJson {
  const alarms = response.alarms.map((member): GoJson => ({
    fields: [
      ["memberID", member.memberID],
      ["alarm", member.alarm],
    ],
  }));
  return {
    fields: [
      ["header", headerJson(response.header)],
      ["alarms", alarms],
    ],
  };
}

/** As etcd's client keeps an answer: a struct of its own, whose fields have no other names and are never left out. */
export function watchJson({ header, events, compactRevision, canceled, created }: WatchResponse): GoJson {
  const shown = events.map(({ type, kv, prevKv }): GoJson => ({
    fields: [
      ["type", type],
      ["kv", kv === undefined ? undefined : keyValueJson(kv)],
      ["prev_kv", prevKv === undefined ? undefined : keyValueJson(prevKv)],
    ],
  }));
  return {
    fields: [
      ["Header", headerJson(header) ?? { fields: [] }, "always"],
      ["Events", shown, "always"],
      ["CompactRevision", compactRevision, "always"],
      ["Canceled", canceled, "always"],
      ["Created", created, "always"],
    ],
  };
}

export function statusJson(status: StatusResponse): GoJson {
  return {
    fields: [
      ["header", headerJson(status.header)],
      ["version", status.version],
      ["dbSize", status.dbSize],
      ["leader", status.leader],
      ["raftIndex", status.raftIndex],
      ["raftTerm", status.raftTerm],
      ["raftAppliedIndex", status.raftAppliedIndex],
      ["errors", status.errors],
      ["dbSizeInUse", status.dbSizeInUse],
      ["isLearner", status.isLearner],
    ],
  };
}

export function hashKvJson(response: HashKVResponse): GoJson {
  return {
    fields: [
      ["header", headerJson(response.header)],
      ["hash", response.hash],
      ["compact_revision", response.compactRevision],
    ],
  };
}
