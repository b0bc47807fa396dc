/**
 * A thin client that speaks etcd's gRPC API in bytes: what was sent and what came back stays visible to the test.
 */
import { Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { AnswerStream } from "./answer-stream.js";
import { decode, encode, type Message, type MessageName } from "./messages.js";
import { WatchStream } from "./watch-stream.js";

/** What a server answered: the bytes of the response, or gRPC's code and text. */
export type Answer =
  | { readonly kind: "response"; readonly bytes: Uint8Array }
  | { readonly kind: "error"; readonly code: number; readonly text: string };

/** A key as a server tells it. */
export interface KeyValue {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly lease: number | bigint;
}

/** Of Status: what a member knows. */
export interface MemberStatus {
  readonly memberId: bigint;
  /** Of its own store, which may be behind the leader's. */
  readonly revision: number;
  /** 0 where the member knows of none. */
  readonly leader: bigint;
  readonly term: number;
  readonly index: number;
  readonly appliedIndex: number;
  readonly version: string;
  readonly isLearner: boolean;
}

/** A server answered a call with an error where the test expected none. */
export class CallError extends Error {
  readonly code: number;

  constructor(method: string, code: number, text: string) {
    super(`${method}: code ${code}: ${text}`);
    this.code = code;
  }
}

const KV = "/etcdserverpb.KV/";
const MAINTENANCE = "/etcdserverpb.Maintenance/";
const LEASE = "/etcdserverpb.Lease/";
const CLUSTER = "/etcdserverpb.Cluster/";

/** The methods that the tests call, with the messages that belong to them. */
export const METHODS = {
  Range: { path: `${KV}Range`, request: "RangeRequest", response: "RangeResponse" },
  Put: { path: `${KV}Put`, request: "PutRequest", response: "PutResponse" },
  DeleteRange: { path: `${KV}DeleteRange`, request: "DeleteRangeRequest", response: "DeleteRangeResponse" },
  Txn: { path: `${KV}Txn`, request: "TxnRequest", response: "TxnResponse" },
  Compact: { path: `${KV}Compact`, request: "CompactionRequest", response: "CompactionResponse" },
  HashKV: { path: `${MAINTENANCE}HashKV`, request: "HashKVRequest", response: "HashKVResponse" },
  Status: { path: `${MAINTENANCE}Status`, request: "StatusRequest", response: "StatusResponse" },
  Alarm: { path: `${MAINTENANCE}Alarm`, request: "AlarmRequest", response: "AlarmResponse" },
  Downgrade: { path: `${MAINTENANCE}Downgrade`, request: "DowngradeRequest", response: "DowngradeResponse" },
  Defragment: { path: `${MAINTENANCE}Defragment`, request: "DefragmentRequest", response: "DefragmentResponse" },
  MoveLeader: { path: `${MAINTENANCE}MoveLeader`, request: "MoveLeaderRequest", response: "MoveLeaderResponse" },
  LeaseGrant: { path: `${LEASE}LeaseGrant`, request: "LeaseGrantRequest", response: "LeaseGrantResponse" },
  LeaseRevoke: { path: `${LEASE}LeaseRevoke`, request: "LeaseRevokeRequest", response: "LeaseRevokeResponse" },
  LeaseTimeToLive: {
    path: `${LEASE}LeaseTimeToLive`,
    request: "LeaseTimeToLiveRequest",
    response: "LeaseTimeToLiveResponse",
  },
  LeaseLeases: { path: `${LEASE}LeaseLeases`, request: "LeaseLeasesRequest", response: "LeaseLeasesResponse" },
  MemberList: { path: `${CLUSTER}MemberList`, request: "MemberListRequest", response: "MemberListResponse" },
  MemberAdd: { path: `${CLUSTER}MemberAdd`, request: "MemberAddRequest", response: "MemberAddResponse" },
  MemberRemove: { path: `${CLUSTER}MemberRemove`, request: "MemberRemoveRequest", response: "MemberRemoveResponse" },
  MemberUpdate: { path: `${CLUSTER}MemberUpdate`, request: "MemberUpdateRequest", response: "MemberUpdateResponse" },
  MemberPromote: {
    path: `${CLUSTER}MemberPromote`,
    request: "MemberPromoteRequest",
    response: "MemberPromoteResponse",
  },
} as const satisfies Record<string, { path: string; request: MessageName; response: MessageName }>;
export type Method = keyof typeof METHODS;

export interface BeginOptions {
  readonly deadlineMs?: number;
  /** Of the user who calls. */
  readonly token?: string | undefined;
}

/** A call under way. */
export interface PendingCall {
  readonly answer: Promise<Answer>;
  cancel(): void;
}

const MESSAGE_BYTES_MAX = 512 * 2 ** 20;
const same = (bytes: Buffer): Buffer => bytes;

/** A connection to one server. */
export class EtcdClient {
  readonly #client: Client;

  /** @param address host and port */
  constructor(address: string) {
    this.#client = new Client(address, credentials.createInsecure(), {
      "grpc.max_receive_message_length": MESSAGE_BYTES_MAX,
      "grpc.max_send_message_length": MESSAGE_BYTES_MAX,
      "grpc.use_local_subchannel_pool": 1,
      "grpc.enable_retries": 0,
    });
  }

  /** Sends bytes to a path and gives what comes back, errors included. @param token of the user who calls */
  async send(path: string, request: Uint8Array, deadlineMs = 60_000, token?: string): Promise<Answer> {
    return this.begin(path, request, { deadlineMs, token }).answer;
  }

  /** Sends one request whose answer may take long: it can be called off meanwhile. */
  begin(path: string, request: Uint8Array, { deadlineMs = 60_000, token }: BeginOptions = {}): PendingCall {
    let cancel = (): void => undefined;
    const answer = new Promise<Answer>((resolve) => {
      const options = { deadline: Date.now() + deadlineMs };
      const call = this.#client.makeUnaryRequest(
        path,
        same,
        same,
        Buffer.from(request),
        metadataOf(token),
        options,
        (error: ServiceError | null, response) => {
          if (error !== null) resolve({ kind: "error", code: error.code, text: error.details });
          else resolve({ kind: "response", bytes: response ?? new Uint8Array() });
        },
      );
      cancel = () => call.cancel();
    });
    return { answer, cancel };
  }

  /** Sends one request that is answered with many messages. @param fields metadata */
  read<Answer>(
    path: string,
    request: Uint8Array,
    decode: (bytes: Buffer) => Answer,
    fields: Readonly<Record<string, string>> = {},
  ): AnswerStream<Answer> {
    const metadata = new Metadata();
    for (const [name, value] of Object.entries(fields)) metadata.set(name, value);
    const call = this.#client.makeServerStreamRequest(path, same, same, Buffer.from(request), metadata);
    return new AnswerStream(call, decode);
  }

  /**
   * Sends one request of a stream and gives the first message that comes back, or the error; then it hangs up.
   *
   * @param form whether the server waits for more of the client's
   */
  async first(form: "both" | "server", path: string, request: Uint8Array, token?: string): Promise<Answer> {
    const options = { deadline: Date.now() + 60_000 };
    const call = this.#client.makeBidiStreamRequest(path, same, same, metadataOf(token), options);
    return new Promise((resolve) => {
      call.on("error", (error: ServiceError) => resolve({ kind: "error", code: error.code, text: error.details }));
      call.on("end", () => resolve({ kind: "error", code: 0, text: "ended without a message" }));
      call.on("data", (bytes: Buffer) => {
        resolve({ kind: "response", bytes });
        call.cancel();
      });
      call.write(Buffer.from(request));
      if (form === "server") call.end();
    });
  }

  /** Calls a method and decodes what comes back. @throws CallError when the server answers with an error */
  async call(method: Method, request: Message, deadlineMs?: number): Promise<Message> {
    const { path, request: requestName, response: responseName } = METHODS[method];
    const answer = await this.send(path, encode(requestName, request), deadlineMs);
    if (answer.kind === "error") throw new CallError(method, answer.code, answer.text);
    return decode(responseName, answer.bytes);
  }

  /** Opens a watch stream. @param fields metadata */
  watch(fields: Readonly<Record<string, string>> = {}): WatchStream {
    const metadata = new Metadata();
    for (const [name, value] of Object.entries(fields)) metadata.set(name, value);
    return new WatchStream(this.#client.makeBidiStreamRequest("/etcdserverpb.Watch/Watch", same, same, metadata));
  }

  /** Puts a key and gives the revision of the put. */
  async put(key: string | Uint8Array, value: string | Uint8Array): Promise<number> {
    const response = await this.call("Put", { key: asBytes(key), value: asBytes(value) });
    return revisionOf(response);
  }

  /** What the member at this address knows of itself and of its leader; it asks no other member. */
  async status(deadlineMs?: number): Promise<MemberStatus> {
    const response = await this.call("Status", {}, deadlineMs);
    const header = response["header"] as Message;
    return {
      memberId: idOf(header["member_id"]),
      revision: revisionOf(response),
      leader: idOf(response["leader"]),
      term: numberOf(response["raftTerm"]),
      index: numberOf(response["raftIndex"]),
      appliedIndex: numberOf(response["raftAppliedIndex"]),
      version: (response["version"] as string | undefined) ?? "",
      isLearner: response["isLearner"] === true,
    };
  }

  /** The store's revision and, where a compaction happened, what it left. */
  async revision(): Promise<number> {
    return revisionOf(await this.call("Range", { key: asBytes("\0"), count_only: true }));
  }

  /** The hash of all keys up to a revision (0: the newest), with the revision that was compacted last. */
  async hashKV(revision = 0): Promise<{ hash: number; compactRevision: number; revision: number }> {
    const response = await this.call("HashKV", { revision });
    return {
      hash: numberOf(response["hash"]),
      compactRevision: numberOf(response["compact_revision"]),
      revision: revisionOf(response),
    };
  }

  /** Every key in order, read in pages that all show the same revision. */
  async *keys(options: { readonly revision?: number; readonly pageKeys?: number } = {}): AsyncGenerator<KeyValue> {
    let key: Uint8Array = Uint8Array.of(0);
    let revision = options.revision ?? 0;
    for (;;) {
      const page = await this.call("Range", {
        key,
        range_end: Uint8Array.of(0),
        limit: options.pageKeys ?? 2_000,
        revision,
      });
      if (revision === 0) revision = revisionOf(page);
      const kvs = ((page["kvs"] ?? []) as readonly Message[]).map(keyValue);
      yield* kvs;
      if (page["more"] !== true) return;
      key = Buffer.concat([kvs.at(-1)!.key, Uint8Array.of(0)]);
    }
  }

  close(): void {
    this.#client.close();
  }
}

function metadataOf(token: string | undefined): Metadata {
  const metadata = new Metadata();
  if (token !== undefined) metadata.set("token", token);
  return metadata;
}

export function keyValue(message: Message): KeyValue {
  return {
    key: (message["key"] as Uint8Array | undefined) ?? new Uint8Array(),
    value: (message["value"] as Uint8Array | undefined) ?? new Uint8Array(),
    createRevision: numberOf(message["create_revision"]),
    modRevision: numberOf(message["mod_revision"]),
    version: numberOf(message["version"]),
    lease: (message["lease"] as number | bigint | undefined) ?? 0,
  };
}

/** The revision in a response's header. */
export function revisionOf(response: Message): number {
  return numberOf((response["header"] as Message | undefined)?.["revision"]);
}

/** IDs are random numbers of 64 bits. */
export const idOf = (value: unknown): bigint => (value === undefined ? 0n : BigInt(value as number | bigint));

const numberOf = (value: unknown): number => (value === undefined ? 0 : Number(value));

/** Text as its UTF-8 bytes; bytes as they are. */
export function asBytes(value: string | Uint8Array): Uint8Array {
  return typeof value === "string" ? Buffer.from(value) : value;
}
