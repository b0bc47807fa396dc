/** The five forms of output, each as etcdctl 3.5 writes it. */
import { utf8FromText } from "../../base/text.js";
import {
  AlarmResponse,
  AlarmType,
  DeleteRangeResponse,
  type HashKVResponse,
  type KeyValue,
  MemberAddResponse,
  MemberListResponse,
  MemberPromoteResponse,
  MemberRemoveResponse,
  MemberUpdateResponse,
  MoveLeaderResponse,
  PutResponse,
  RangeResponse,
  type ResponseHeader,
  type StatusResponse,
  TxnResponse,
  Event_EventType,
  WatchResponse,
} from "../../proto/index.js";
import type { SnapshotStatus } from "../../restore/index.js";
import { CommandFailure, ExitCode } from "./failure.js";
import { quoteBytes } from "../../base/go-quote.js";
import { goJson, hexEscaped, humanBytes, type GoJson } from "./go-text.js";
import {
  alarmJson,
  deleteJson,
  hashKvJson,
  headerJson,
  memberAddJson,
  membersJson,
  putJson,
  rangeJson,
  statusJson,
  txnJson,
  watchJson,
} from "./messages-json.js";
import { drawTable } from "./table.js";
import type { World } from "./world.js";

export function eventTypeName(type: Event_EventType): string {
  return type === Event_EventType.DELETE ? "DELETE" : "PUT";
}

export interface EndpointHealth {
  readonly endpoint: string;
  readonly health: boolean;
  /** As Go prints a duration; empty when the endpoint was not reached. */
  readonly took: string;
  readonly error: string;
}

export interface AtEndpoint<Response> {
  readonly endpoint: string;
  readonly response: Response;
}

export interface Printer {
  readonly format: string;
  get(response: RangeResponse, valueOnly: boolean): void;
  put(response: PutResponse): void;
  del(response: DeleteRangeResponse): void;
  txn(response: TxnResponse): void;
  memberList(response: MemberListResponse): void;
  memberAdd(response: MemberAddResponse): void;
  memberRemove(id: bigint, response: MemberRemoveResponse): void;
  memberUpdate(id: bigint, response: MemberUpdateResponse): void;
  memberPromote(id: bigint, response: MemberPromoteResponse): void;
  moveLeader(leader: bigint, target: bigint, response: MoveLeaderResponse): void;
  alarm(response: AlarmResponse): void;
  endpointHealth(list: readonly EndpointHealth[]): void;
  endpointStatus(list: readonly AtEndpoint<StatusResponse>[]): void;
  endpointHashKv(list: readonly AtEndpoint<HashKVResponse>[]): void;
  snapshotStatus(status: SnapshotStatus): void;
  watch(response: WatchResponse): void;
  show(message: ShownMessage): void;
}

/** An answer in all forms that etcdctl has for it. */
export interface ShownMessage {
  readonly header: ResponseHeader | undefined;
  /** For eyes, line ends included. */
  readonly simple: string | Uint8Array;
  /** After the header; undefined where etcdctl refuses the form. */
  readonly fields: readonly string[] | undefined;
  readonly json: GoJson;
  readonly protobuf: Uint8Array;
}

/** @throws CommandFailure for a form that there is none of */
export function createPrinter(format: string, hex: boolean, world: World): Printer {
  switch (format) {
    case "simple":
      return new SimplePrinter(world, hex);
    case "fields":
      return new FieldsPrinter(world);
    case "json":
      return new JsonPrinter(world, hex);
    case "protobuf":
      return new ProtobufPrinter(world);
    case "table":
      return new TablePrinter(world);
    default:
      throw new CommandFailure(ExitCode.badFeature, "unsupported output format");
  }
}

/** Refuses whatever its children do not know how to write. */
abstract class PartialPrinter implements Printer {
  abstract readonly format: string;
  protected readonly world: World;

  constructor(world: World) {
    this.world = world;
  }

  #refuse(): never {
    throw new CommandFailure(ExitCode.badFeature, `${this.format} not supported as output format`);
  }

  get(_response: RangeResponse, _valueOnly: boolean): void {
    this.#refuse();
  }
  put(_response: PutResponse): void {
    this.#refuse();
  }
  del(_response: DeleteRangeResponse): void {
    this.#refuse();
  }
  txn(_response: TxnResponse): void {
    this.#refuse();
  }
  memberList(_response: MemberListResponse): void {
    this.#refuse();
  }
  memberAdd(_response: MemberAddResponse): void {
    this.#refuse();
  }
  memberRemove(_id: bigint, _response: MemberRemoveResponse): void {
    this.#refuse();
  }
  memberUpdate(_id: bigint, _response: MemberUpdateResponse): void {
    this.#refuse();
  }
  memberPromote(_id: bigint, _response: MemberPromoteResponse): void {
    this.#refuse();
  }
  moveLeader(_leader: bigint, _target: bigint, _response: MoveLeaderResponse): void {
    this.#refuse();
  }
  alarm(_response: AlarmResponse): void {
    this.#refuse();
  }
  endpointHealth(_list: readonly EndpointHealth[]): void {
    this.#refuse();
  }
  endpointStatus(_list: readonly AtEndpoint<StatusResponse>[]): void {
    this.#refuse();
  }
  endpointHashKv(_list: readonly AtEndpoint<HashKVResponse>[]): void {
    this.#refuse();
  }
  snapshotStatus(_status: SnapshotStatus): void {
    this.#refuse();
  }
  watch(_response: WatchResponse): void {
    this.#refuse();
  }
  show(_message: ShownMessage): void {
    this.#refuse();
  }

  protected line(text: string): void {
    this.world.out(`${text}\n`);
  }
}

class SimplePrinter extends PartialPrinter {
  override readonly format = "simple";
  readonly #hex: boolean;

  constructor(world: World, hex: boolean) {
    super(world);
    this.#hex = hex;
  }

  #bytes(bytes: Uint8Array): void {
    this.world.out(this.#hex ? hexEscaped(bytes) : bytes);
    this.world.out("\n");
  }

  #keyValue(kv: KeyValue, valueOnly = false): void {
    if (!valueOnly) this.#bytes(kv.key);
    this.#bytes(kv.value);
  }

  override get(response: RangeResponse, valueOnly: boolean): void {
    for (const kv of response.kvs) this.#keyValue(kv, valueOnly);
  }

  override put(response: PutResponse): void {
    this.line("OK");
    if (response.prevKv !== undefined) this.#keyValue(response.prevKv);
  }

  override del(response: DeleteRangeResponse): void {
    this.line(String(response.deleted));
    for (const kv of response.prevKvs) this.#keyValue(kv);
  }

  override txn(response: TxnResponse): void {
    this.line(response.succeeded ? "SUCCESS" : "FAILURE");
    for (const operation of response.responses) {
      this.line("");
      printOperation(this, operation.response);
    }
  }

  override memberList(response: MemberListResponse): void {
    for (const row of memberRows(response)) this.line(row.join(", "));
  }

  override memberAdd({ header, member }: MemberAddResponse): void {
    this.line(`Member ${wideId(member?.ID)} added to cluster ${wideId(header?.clusterId)}`);
  }

  override memberRemove(id: bigint, { header }: MemberRemoveResponse): void {
    this.line(`Member ${wideId(id)} removed from cluster ${wideId(header?.clusterId)}`);
  }

  override memberUpdate(id: bigint, { header }: MemberUpdateResponse): void {
    this.line(`Member ${wideId(id)} updated in cluster ${wideId(header?.clusterId)}`);
  }

  override memberPromote(id: bigint, { header }: MemberPromoteResponse): void {
    this.line(`Member ${wideId(id)} promoted in cluster ${wideId(header?.clusterId)}`);
  }

  override moveLeader(leader: bigint, target: bigint): void {
    this.line(`Leadership transferred from ${leader.toString(16)} to ${target.toString(16)}`);
  }

  override alarm(response: AlarmResponse): void {
    for (const { memberID, alarm } of response.alarms) {
      const member = memberID === 0n ? "" : `memberID:${memberID} `;
      this.line(`${member}${alarm === AlarmType.NONE ? "" : `alarm:${alarmName(alarm)} `}`);
    }
  }

  override endpointHealth(list: readonly EndpointHealth[]): void {
    for (const { endpoint, took, error } of list) {
      if (error === "") this.line(`${endpoint} is healthy: successfully committed proposal: took = ${took}`);
      else this.world.err(`${endpoint} is unhealthy: failed to commit proposal: ${error}\n`);
    }
  }

  override endpointStatus(list: readonly AtEndpoint<StatusResponse>[]): void {
    for (const status of list) this.line(statusRow(status).join(", "));
  }

  override endpointHashKv(list: readonly AtEndpoint<HashKVResponse>[]): void {
    for (const { endpoint, response } of list) this.line(`${endpoint}, ${response.hash}`);
  }

  override snapshotStatus(status: SnapshotStatus): void {
    this.line(snapshotRow(status).join(", "));
  }

  override watch({ events }: WatchResponse): void {
    for (const { type, kv, prevKv } of events) {
      this.line(eventTypeName(type));
      if (prevKv !== undefined) this.#keyValue(prevKv);
      if (kv !== undefined) this.#keyValue(kv);
    }
  }

  override show({ simple }: ShownMessage): void {
    this.world.out(simple);
  }
}

class FieldsPrinter extends PartialPrinter {
  override readonly format = "fields";

  #header(header: ResponseHeader | undefined): void {
    this.line(`"ClusterID" : ${header?.clusterId ?? 0n}`);
    this.line(`"MemberID" : ${header?.memberId ?? 0n}`);
    this.line(`"Revision" : ${header?.revision ?? 0}`);
    this.line(`"RaftTerm" : ${header?.raftTerm ?? 0}`);
  }

  #keyValue(prefix: string, kv: KeyValue): void {
    this.line(`"${prefix}Key" : ${quoteBytes(kv.key)}`);
    this.line(`"${prefix}CreateRevision" : ${kv.createRevision}`);
    this.line(`"${prefix}ModRevision" : ${kv.modRevision}`);
    this.line(`"${prefix}Version" : ${kv.version}`);
    this.line(`"${prefix}Value" : ${quoteBytes(kv.value)}`);
    this.line(`"${prefix}Lease" : ${kv.lease}`);
  }

  override get(response: RangeResponse): void {
    this.#header(response.header);
    for (const kv of response.kvs) this.#keyValue("", kv);
    this.line(`"More" : ${response.more}`);
    this.line(`"Count" : ${response.count}`);
  }

  override put(response: PutResponse): void {
    this.#header(response.header);
    if (response.prevKv !== undefined) this.#keyValue("Prev", response.prevKv);
  }

  override del(response: DeleteRangeResponse): void {
    this.#header(response.header);
    this.line(`"Deleted" : ${response.deleted}`);
    for (const kv of response.prevKvs) this.#keyValue("Prev", kv);
  }

  override txn(response: TxnResponse): void {
    this.#header(response.header);
    this.line(`"Succeeded" : ${response.succeeded}`);
    for (const operation of response.responses) printOperation(this, operation.response);
  }

  override watch({ header, events }: WatchResponse): void {
    this.#header(header);
    for (const { type, kv, prevKv } of events) {
      this.line(`"Type" : ${eventTypeName(type)}`);
      if (prevKv !== undefined) this.#keyValue("Prev", prevKv);
      if (kv !== undefined) this.#keyValue("", kv);
    }
  }

  override memberList(response: MemberListResponse): void {
    this.#header(response.header);
    for (const member of response.members) {
      this.line(`"ID" : ${member.ID}`);
      this.line(`"Name" : ${quoteText(member.name)}`);
      for (const url of member.peerURLs) this.line(`"PeerURL" : ${quoteText(url)}`);
      for (const url of member.clientURLs) this.line(`"ClientURL" : ${quoteText(url)}`);
      this.line(`"IsLearner" : ${member.isLearner}`);
      this.line("");
    }
  }

  override alarm(response: AlarmResponse): void {
    this.#header(response.header);
    for (const { memberID, alarm } of response.alarms) {
      this.line(`"MemberID" : ${memberID}`);
      this.line(`"AlarmType" : ${alarmName(alarm)}`);
      this.line("");
    }
  }

  override endpointHealth(list: readonly EndpointHealth[]): void {
    for (const { endpoint, health, took, error } of list) {
      this.line(`"Endpoint" : ${quoteText(endpoint)}`);
      this.line(`"Health" : ${health}`);
      this.line(`"Took" : ${took}`);
      this.line(`"Error" : ${error}`);
      this.line("");
    }
  }

  override endpointStatus(list: readonly AtEndpoint<StatusResponse>[]): void {
    for (const { endpoint, response } of list) {
      this.#header(response.header);
      this.line(`"Version" : ${quoteText(response.version)}`);
      this.line(`"DBSize" : ${response.dbSize}`);
      this.line(`"Leader" : ${response.leader}`);
      this.line(`"IsLearner" : ${response.isLearner}`);
      this.line(`"RaftIndex" : ${response.raftIndex}`);
      this.line(`"RaftTerm" : ${response.raftTerm}`);
      this.line(`"RaftAppliedIndex" : ${response.raftAppliedIndex}`);
      this.line(`"Errors" : [${response.errors.join(" ")}]`);
      this.line(`"Endpoint" : ${quoteText(endpoint)}`);
      this.line("");
    }
  }

  override endpointHashKv(list: readonly AtEndpoint<HashKVResponse>[]): void {
    for (const { endpoint, response } of list) {
      this.#header(response.header);
      this.line(`"Endpoint" : ${quoteText(endpoint)}`);
      this.line(`"Hash" : ${response.hash}`);
      this.line("");
    }
  }

  override snapshotStatus({ hash, revision, totalKeys, totalBytes }: SnapshotStatus): void {
    this.line(`"Hash" : ${hash}`);
    this.line(`"Revision" : ${revision}`);
    this.line(`"Keys" : ${totalKeys}`);
    this.line(`"Size" : ${totalBytes}`);
  }

  override show(message: ShownMessage): void {
    if (message.fields === undefined) super.show(message);
    this.#header(message.header);
    for (const line of message.fields ?? []) this.line(line);
  }
}

class JsonPrinter extends PartialPrinter {
  override readonly format = "json";
  readonly #hex: boolean;

  constructor(world: World, hex: boolean) {
    super(world);
    this.#hex = hex;
  }

  #print(value: GoJson): void {
    this.line(goJson(value));
  }

  override get(response: RangeResponse): void {
    this.#print(rangeJson(response));
  }

  override put(response: PutResponse): void {
    this.#print(putJson(response));
  }

  override del(response: DeleteRangeResponse): void {
    this.#print(deleteJson(response));
  }

  override txn(response: TxnResponse): void {
    this.#print(txnJson(response));
  }

  override memberList(response: MemberListResponse): void {
    if (this.#hex) this.line(memberListHexJson(response));
    else this.#print(membersJson(response));
  }

  override memberAdd(response: MemberAddResponse): void {
    this.#print(memberAddJson(response));
  }

  override memberRemove(_id: bigint, response: MemberRemoveResponse): void {
    this.#print(membersJson(response));
  }

  override memberUpdate(_id: bigint, response: MemberUpdateResponse): void {
    this.#print(membersJson(response));
  }

  override memberPromote(_id: bigint, response: MemberPromoteResponse): void {
    this.#print(membersJson(response));
  }

  override show({ json }: ShownMessage): void {
    this.#print(json);
  }

  override moveLeader(_leader: bigint, _target: bigint, { header }: MoveLeaderResponse): void {
    this.#print({ fields: [["header", headerJson(header)]] });
  }

  override alarm(response: AlarmResponse): void {
    this.#print(alarmJson(response));
  }

  override watch(response: WatchResponse): void {
    this.#print(watchJson(response));
  }

  override endpointHealth(list: readonly EndpointHealth[]): void {
    this.#print(
      list.map(({ endpoint, health, took, error }) => ({
        fields: [
          ["endpoint", endpoint, "always"],
          ["health", health, "always"],
          ["took", took, "always"],
          ["error", error],
        ],
      })),
    );
  }

  override endpointStatus(list: readonly AtEndpoint<StatusResponse>[]): void {
    this.#print(
      list.map(({ endpoint, response }) => ({
        fields: [
          ["Endpoint", endpoint, "always"],
          ["Status", statusJson(response), "always"],
        ],
      })),
    );
  }

  override endpointHashKv(list: readonly AtEndpoint<HashKVResponse>[]): void {
    this.#print(
      list.map(({ endpoint, response }) => ({
        fields: [
          ["Endpoint", endpoint, "always"],
          ["HashKV", hashKvJson(response), "always"],
        ],
      })),
    );
  }

  override snapshotStatus({ hash, revision, totalKeys, totalBytes }: SnapshotStatus): void {
    this.#print({
      fields: [
        ["hash", hash, "always"],
        ["revision", revision, "always"],
        ["totalKey", totalKeys, "always"],
        ["totalSize", totalBytes, "always"],
      ],
    });
  }
}

/** etcdctl writes this form by hand, `clientURLS` included. */
function memberListHexJson({ header, members }: MemberListResponse): string {
  const hex = (id: bigint | undefined): string => (id ?? 0n).toString(16);
  const urls = (list: readonly string[]): string => goJson(list.length === 0 ? undefined : list);
  const list = members.map(
    (member) =>
      `{"ID":"${hex(member.ID)}","name":"${member.name}","peerURLs":${urls(member.peerURLs)},"clientURLS":${urls(member.clientURLs)}}`,
  );
  const shown = list.length === 0 ? "" : `,"members":[${list.join(",")}]`;
  const head = `{"cluster_id":"${hex(header?.clusterId)}","member_id":"${hex(header?.memberId)}","raft_term":${header?.raftTerm ?? 0}}`;
  return `{"header":${head}${shown}}`;
}

class ProtobufPrinter extends PartialPrinter {
  override readonly format = "protobuf";

  override get(response: RangeResponse): void {
    this.world.out(RangeResponse.encode(response).finish());
  }

  override put(response: PutResponse): void {
    this.world.out(PutResponse.encode(response).finish());
  }

  override del(response: DeleteRangeResponse): void {
    this.world.out(DeleteRangeResponse.encode(response).finish());
  }

  override txn(response: TxnResponse): void {
    this.world.out(TxnResponse.encode(response).finish());
  }

  /** As etcd's client keeps it: without the watcher's number. */
  override watch(response: WatchResponse): void {
    this.world.out(WatchResponse.encode({ ...response, watchId: 0, cancelReason: "", fragment: false }).finish());
  }

  override memberList(response: MemberListResponse): void {
    this.world.out(MemberListResponse.encode(response).finish());
  }

  override memberAdd(response: MemberAddResponse): void {
    this.world.out(MemberAddResponse.encode(response).finish());
  }

  override memberRemove(_id: bigint, response: MemberRemoveResponse): void {
    this.world.out(MemberRemoveResponse.encode(response).finish());
  }

  override memberUpdate(_id: bigint, response: MemberUpdateResponse): void {
    this.world.out(MemberUpdateResponse.encode(response).finish());
  }

  override memberPromote(_id: bigint, response: MemberPromoteResponse): void {
    this.world.out(MemberPromoteResponse.encode(response).finish());
  }

  override moveLeader(_leader: bigint, _target: bigint, response: MoveLeaderResponse): void {
    this.world.out(MoveLeaderResponse.encode(response).finish());
  }

  override alarm(response: AlarmResponse): void {
    this.world.out(AlarmResponse.encode(response).finish());
  }

  override show({ protobuf }: ShownMessage): void {
    this.world.out(protobuf);
  }
}

class TablePrinter extends PartialPrinter {
  override readonly format = "table";

  override memberList(response: MemberListResponse): void {
    const header = ["ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"];
    this.world.out(drawTable(header, memberRows(response)));
  }

  override endpointHealth(list: readonly EndpointHealth[]): void {
    const rows = list.map(({ endpoint, health, took, error }) => [endpoint, String(health), took, error]);
    this.world.out(drawTable(["endpoint", "health", "took", "error"], rows));
  }

  override endpointStatus(list: readonly AtEndpoint<StatusResponse>[]): void {
    const header = [
      "endpoint",
      "ID",
      "version",
      "db size",
      "is leader",
      "is learner",
      "raft term",
      "raft index",
      "raft applied index",
      "errors",
    ];
    this.world.out(drawTable(header, list.map(statusRow)));
  }

  override endpointHashKv(list: readonly AtEndpoint<HashKVResponse>[]): void {
    const rows = list.map(({ endpoint, response }) => [endpoint, String(response.hash)]);
    this.world.out(drawTable(["endpoint", "hash"], rows));
  }

  override snapshotStatus(status: SnapshotStatus): void {
    this.world.out(drawTable(["hash", "revision", "total keys", "total size"], [snapshotRow(status)]));
  }
}

function printOperation(printer: Printer, response: TxnResponse["responses"][number]["response"]): void {
  switch (response?.$case) {
    case "responseRange":
      printer.get(response.value, false);
      return;
    case "responsePut":
      printer.put(response.value);
      return;
    case "responseDeleteRange":
      printer.del(response.value);
      return;
    case "responseTxn":
    case undefined:
      // No line of a transaction asks for these.
      return;
  }
}

function memberRows({ members }: MemberListResponse): string[][] {
  return members.map((member) => [
    member.ID.toString(16),
    member.name === "" ? "unstarted" : "started",
    member.name,
    member.peerURLs.join(","),
    member.clientURLs.join(","),
    String(member.isLearner),
  ]);
}

/** As Go's `%16x`: an ID with leading zeros gets blanks. */
function wideId(id: bigint | undefined): string {
  return (id ?? 0n).toString(16).padStart(16);
}

function snapshotRow({ hash, revision, totalKeys, totalBytes }: SnapshotStatus): string[] {
  return [hash.toString(16), String(revision), String(totalKeys), humanBytes(totalBytes)];
}

function statusRow({ endpoint, response }: AtEndpoint<StatusResponse>): string[] {
  const memberId = response.header?.memberId ?? 0n;
  return [
    endpoint,
    memberId.toString(16),
    response.version,
    humanBytes(response.dbSize),
    String(response.leader === memberId),
    String(response.isLearner),
    String(response.raftTerm),
    String(response.raftIndex),
    String(response.raftAppliedIndex),
    response.errors.join(", "),
  ];
}

export function alarmName(alarm: AlarmType): string {
  const names: Readonly<Record<number, string>> = { 0: "NONE", 1: "NOSPACE", 2: "CORRUPT" };
  return names[alarm] ?? String(alarm);
}

function quoteText(text: string): string {
  return quoteBytes(utf8FromText(text));
}
