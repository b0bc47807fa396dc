/**
 * A small etcd client: calls with a deadline, over whichever of the endpoints can be reached.
 *
 * Laws:
 * - A request that may change something is sent once. When its answer is lost the caller is told so: it may have happened. Only when
 *   a learner answers that it does not serve it, another endpoint is asked.
 * - A read is tried on the other endpoints when one of them is unavailable, until the deadline.
 * - A call for one endpoint (status, hash, defragmentation, snapshot) goes to that one only.
 * - A user's password buys a token at the first call. A token that a server does not know any more, or that was given before users
 *   or roles changed, is replaced, and the call is made again: a server that refuses a token has done nothing.
 */
import { X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import {
  Client as Channel,
  type ClientReadableStream,
  connectivityState,
  credentials,
  type Deadline,
  Metadata,
} from "@grpc/grpc-js";
import { GrpcStatus } from "../grpc/status.js";
import type { BinaryWriter } from "../proto/binary.js";
import {
  type AlarmRequest,
  type AlarmResponse,
  AuthDefinition,
  ClusterDefinition,
  type CompactionRequest,
  type CompactionResponse,
  type DefragmentResponse,
  type DeleteRangeRequest,
  type DeleteRangeResponse,
  type HashKVResponse,
  type HashResponse,
  KVDefinition,
  LeaseDefinition,
  type LeaseGrantRequest,
  type LeaseGrantResponse,
  type LeaseKeepAliveResponse,
  type LeaseLeasesResponse,
  type LeaseRevokeResponse,
  type LeaseTimeToLiveRequest,
  type LeaseTimeToLiveResponse,
  MaintenanceDefinition,
  type MemberAddRequest,
  type MemberAddResponse,
  type MemberListResponse,
  type MemberPromoteResponse,
  type MemberRemoveResponse,
  type MemberUpdateRequest,
  type MemberUpdateResponse,
  type MoveLeaderResponse,
  type PutRequest,
  type PutResponse,
  type RangeRequest,
  type RangeResponse,
  SnapshotResponse,
  type StatusResponse,
  type TxnRequest,
  type TxnResponse,
  type WatchCreateRequest,
  WatchDefinition,
} from "../proto/index.js";
import { isGoodFor } from "../tls/names.js";
import { type Endpoint, parseEndpoint } from "./endpoint.js";
import { isPassing, LoginError, RpcError } from "./errors.js";
import { Watch, type WatchCall } from "./watch.js";

export interface ClientOptions {
  readonly endpoints: readonly string[];
  /** How long one endpoint is waited for before the next is tried. */
  readonly dialTimeoutMs: number;
  /** How long a call may take. */
  readonly callTimeoutMs: number;
  readonly keepAliveMs?: number;
  readonly keepAliveTimeoutMs?: number;
  /** PEM bytes. With it TLS is also spoken to endpoints without a scheme; without it those of https are checked by Node's own authorities. */
  readonly tls?: {
    readonly ca?: Uint8Array;
    readonly cert?: Uint8Array;
    readonly key?: Uint8Array;
    readonly anyServer?: boolean;
    /** The name that servers' certificates must be for, instead of the endpoint's. */
    readonly serverName?: string;
  };
  readonly user?: { readonly name: string; readonly password: string };
}

/** How one call differs from the client's others. */
export interface CallOptions {
  /** Instead of the client's `callTimeoutMs`; Infinity for as long as it takes. */
  readonly timeoutMs?: number;
  /** Gives the call up: it rejects with the signal's reason. What it asked for may happen all the same. */
  readonly signal?: AbortSignal;
}

/** Largest request that etcd's client sends. */
const REQUEST_BYTES_MAX = 2 * 1024 * 1024;

/** For one look at a channel that is to be connected. */
const REACH_MS = 10_000;

/** How often a call is made again with a new token. Users and roles may change each time. */
const TOKEN_RENEWALS_MAX = 5;

/** What a server says of a token that is none, is over, or is older than the last change of users and roles. */
const NEEDS_NEW_TOKEN: readonly string[] = [
  "etcdserver: invalid auth token",
  "etcdserver: revision of auth store is old",
  "etcdserver: user name is empty",
];

/** The API version that etcd's client of this release names. */
const CLIENT_API_VERSION = "3.5";

interface Codec<Message> {
  encode(message: Message): BinaryWriter;
  decode(bytes: Uint8Array): Message;
}

interface Method<Request, Response> {
  readonly name: string;
  readonly requestType: Codec<Request>;
  readonly responseType: Codec<Response>;
}

interface Service {
  readonly fullName: string;
}

export class Client {
  readonly #options: ClientOptions;
  readonly #endpoints: readonly Endpoint[];
  readonly #channels = new Map<string, Channel>();
  /** The channel that served last. */
  #last: Channel | undefined;
  /** Those whose members were unavailable. */
  readonly #passedOver = new Set<Channel>();
  #token: string | undefined;
  #closed = false;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#endpoints = options.endpoints.map((endpoint) => this.#parse(endpoint));
  }

  range(request: RangeRequest, options?: CallOptions): Promise<RangeResponse> {
    return this.#read(KVDefinition, KVDefinition.methods.range, request, options);
  }

  put(request: PutRequest, options?: CallOptions): Promise<PutResponse> {
    return this.#write(KVDefinition, KVDefinition.methods.put, request, options);
  }

  deleteRange(request: DeleteRangeRequest, options?: CallOptions): Promise<DeleteRangeResponse> {
    return this.#write(KVDefinition, KVDefinition.methods.deleteRange, request, options);
  }

  txn(request: TxnRequest, options?: CallOptions): Promise<TxnResponse> {
    return this.#write(KVDefinition, KVDefinition.methods.txn, request, options);
  }

  compact(request: CompactionRequest, options?: CallOptions): Promise<CompactionResponse> {
    return this.#write(KVDefinition, KVDefinition.methods.compact, request, options);
  }

  leaseGrant(request: LeaseGrantRequest, options?: CallOptions): Promise<LeaseGrantResponse> {
    return this.#write(LeaseDefinition, LeaseDefinition.methods.leaseGrant, request, options);
  }

  leaseRevoke(id: bigint, options?: CallOptions): Promise<LeaseRevokeResponse> {
    return this.#write(LeaseDefinition, LeaseDefinition.methods.leaseRevoke, { ID: id }, options);
  }

  leaseTimeToLive(request: LeaseTimeToLiveRequest): Promise<LeaseTimeToLiveResponse> {
    return this.#read(LeaseDefinition, LeaseDefinition.methods.leaseTimeToLive, request);
  }

  leaseLeases(): Promise<LeaseLeasesResponse> {
    return this.#read(LeaseDefinition, LeaseDefinition.methods.leaseLeases, {});
  }

  /**
   * Renews a lease now, and again each time that a third of its time is over, on one stream. Ends when the lease is gone; breaking off the
   * iteration ends the stream, and so does the signal, at once.
   *
   * @throws RpcError when the stream ends otherwise
   */
  async *leaseKeepAlive(id: bigint, signal?: AbortSignal): AsyncGenerator<LeaseKeepAliveResponse> {
    const channel = await this.#reachAny(Date.now() + this.#options.callTimeoutMs, signal);
    const { path, serialize, deserialize } = wire(LeaseDefinition, LeaseDefinition.methods.leaseKeepAlive);
    const metadata = await this.#metadata();
    metadata.set("hasleader", "true");
    const stream = channel.makeBidiStreamRequest(path, serialize, deserialize, metadata, {});
    const cancel = (): void => stream.cancel();
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      signal?.throwIfAborted();
      signal?.addEventListener("abort", cancel);
      stream.write({ ID: id });
      for await (const response of stream as AsyncIterable<LeaseKeepAliveResponse>) {
        if (response.TTL <= 0) return;
        yield response;
        timer = setTimeout(() => stream.write({ ID: id }), (response.TTL * 1000) / 3);
      }
    } catch (thrown) {
      signal?.throwIfAborted();
      const error = asRpcError(thrown);
      if (isPassing(error)) this.#passOver(channel);
      throw error;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", cancel);
      cancel();
    }
  }

  memberList(linearizable: boolean): Promise<MemberListResponse> {
    return this.#read(ClusterDefinition, ClusterDefinition.methods.memberList, { linearizable });
  }

  memberAdd(request: MemberAddRequest): Promise<MemberAddResponse> {
    return this.#write(ClusterDefinition, ClusterDefinition.methods.memberAdd, request);
  }

  memberRemove(id: bigint): Promise<MemberRemoveResponse> {
    return this.#write(ClusterDefinition, ClusterDefinition.methods.memberRemove, { ID: id });
  }

  memberUpdate(request: MemberUpdateRequest): Promise<MemberUpdateResponse> {
    return this.#write(ClusterDefinition, ClusterDefinition.methods.memberUpdate, request);
  }

  memberPromote(id: bigint): Promise<MemberPromoteResponse> {
    return this.#write(ClusterDefinition, ClusterDefinition.methods.memberPromote, { ID: id });
  }

  /** @param endpoint the leader's: no other member moves it */
  moveLeader(endpoint: string, target: bigint): Promise<MoveLeaderResponse> {
    return this.#at(endpoint, MaintenanceDefinition, MaintenanceDefinition.methods.moveLeader, { targetID: target });
  }

  alarm(request: AlarmRequest): Promise<AlarmResponse> {
    return this.#write(MaintenanceDefinition, MaintenanceDefinition.methods.alarm, request);
  }

  /** A call of the Auth service. @param method of `AuthDefinition.methods` */
  auth<Request, Response>(method: Method<Request, Response>, request: Request): Promise<Response> {
    return this.#write(AuthDefinition, method, request);
  }

  status(endpoint: string): Promise<StatusResponse> {
    return this.#at(endpoint, MaintenanceDefinition, MaintenanceDefinition.methods.status, {});
  }

  hash(endpoint: string): Promise<HashResponse> {
    return this.#at(endpoint, MaintenanceDefinition, MaintenanceDefinition.methods.hash, {});
  }

  hashKv(endpoint: string, revision: number): Promise<HashKVResponse> {
    return this.#at(endpoint, MaintenanceDefinition, MaintenanceDefinition.methods.hashKV, { revision });
  }

  defragment(endpoint: string, options?: CallOptions): Promise<DefragmentResponse> {
    return this.#at(endpoint, MaintenanceDefinition, MaintenanceDefinition.methods.defragment, {}, options);
  }

  /**
   * The pieces of `db`, the last one its SHA-256, as they come; the server waits for who reads slowly.
   *
   * @param timeoutMs for all of it; without one it takes as long as it takes
   */
  async *snapshot(endpoint: string, timeoutMs?: number): AsyncGenerator<SnapshotResponse> {
    const channel = this.#channel(this.#parse(endpoint));
    const deadline = timeoutMs === undefined ? Number.POSITIVE_INFINITY : Date.now() + timeoutMs;
    await this.#reach(channel, Math.min(deadline, Date.now() + this.#options.callTimeoutMs));
    const { path, serialize } = wire(MaintenanceDefinition, MaintenanceDefinition.methods.snapshot);
    const decode = (bytes: Buffer): SnapshotResponse => SnapshotResponse.decode(bytes);
    const metadata = await this.#metadata();
    const stream = channel.makeServerStreamRequest(path, serialize, decode, {}, metadata, { deadline });
    try {
      yield* stream as AsyncIterable<SnapshotResponse> & ClientReadableStream<SnapshotResponse>;
    } catch (error) {
      throw asRpcError(error);
    } finally {
      stream.cancel();
    }
  }

  /** Begins to watch when its answers are read. */
  watch(request: WatchCreateRequest): Watch {
    return new Watch(request, () => this.#openWatch(), asRpcError);
  }

  /** A server without a leader would tell nothing, and not say so: the stream ends when there is none for long. */
  async #openWatch(): Promise<WatchCall> {
    const channel = await this.#reachAny(Date.now() + this.#options.callTimeoutMs);
    const { path, serialize, deserialize } = wire(WatchDefinition, WatchDefinition.methods.watch);
    const metadata = await this.#metadata();
    metadata.set("hasleader", "true");
    const call = channel.makeBidiStreamRequest(path, serialize, deserialize, metadata);
    // The next stream is asked for elsewhere first: a member without a leader goes on saying so.
    call.on("error", (thrown: unknown) => {
      const error = asRpcError(thrown);
      if (error instanceof RpcError && isUnavailable(error)) this.#passOver(channel);
    });
    return call;
  }

  close(): void {
    this.#closed = true;
    for (const channel of this.#channels.values()) channel.close();
  }

  #read<Request, Response>(
    service: Service,
    method: Method<Request, Response>,
    request: Request,
    options?: CallOptions,
  ): Promise<Response> {
    return this.#anywhere(service, method, request, true, options);
  }

  #write<Request, Response>(
    service: Service,
    method: Method<Request, Response>,
    request: Request,
    options?: CallOptions,
  ): Promise<Response> {
    return this.#anywhere(service, method, request, false, options);
  }

  async #anywhere<Request, Response>(
    service: Service,
    method: Method<Request, Response>,
    request: Request,
    repeatable: boolean,
    { timeoutMs = this.#options.callTimeoutMs, signal }: CallOptions = {},
  ): Promise<Response> {
    const deadline = Date.now() + timeoutMs;
    for (let failures = 0; ;) {
      const channel = await this.#reachAny(deadline, signal);
      try {
        return await this.#call(channel, service, method, request, deadline, signal);
      } catch (error) {
        const again = error instanceof RpcError && (repeatable ? isUnavailable(error) : this.#anotherMayDo(error));
        if (!again || ++failures >= 2 * this.#endpoints.length || Date.now() >= deadline) throw error;
        this.#passOver(channel);
      }
    }
  }

  /** A learner did nothing with the request, and another endpoint may be a voter's. */
  #anotherMayDo(error: RpcError): boolean {
    return this.#endpoints.length > 1 && error.text === "etcdserver: rpc not supported for learner";
  }

  async #at<Request, Response>(
    endpoint: string,
    service: Service,
    method: Method<Request, Response>,
    request: Request,
    { timeoutMs = this.#options.callTimeoutMs, signal }: CallOptions = {},
  ): Promise<Response> {
    const channel = this.#channel(this.#parse(endpoint));
    const deadline = Date.now() + timeoutMs;
    await unlessAborted(this.#reach(channel, deadline), signal);
    return this.#call(channel, service, method, request, deadline, signal);
  }

  /**
   * A channel that is connected: of the endpoint that served last, or of the first one that can be reached. All are tried at once,
   * so that an endpoint that is down costs no time.
   */
  async #reachAny(deadline: number, signal?: AbortSignal): Promise<Channel> {
    const channels = this.#endpoints.map((endpoint) => this.#channel(endpoint));
    const willing = channels.filter((channel) => !this.#passedOver.has(channel));
    // Those that refused may have changed their minds; but the others come first.
    const stages = [
      { candidates: willing, until: Math.min(deadline, Date.now() + this.#options.dialTimeoutMs) },
      { candidates: channels, until: deadline },
    ];
    if (willing.length === channels.length) stages.shift();
    for (const { candidates, until } of stages) {
      const served = candidates.find((channel) => channel === this.#last && isReady(channel));
      if (served !== undefined) return served;
      const first = await unlessAborted(this.#reachFirst(candidates, until), signal);
      if (first !== undefined) return (this.#last = first);
    }
    throw new RpcError(GrpcStatus.deadlineExceeded, "context deadline exceeded");
  }

  /** Of several that are connected by then the one that was named first. */
  async #reachFirst(candidates: readonly Channel[], until: number): Promise<Channel | undefined> {
    try {
      await Promise.any(candidates.map((channel) => this.#reach(channel, until)));
    } catch {
      return undefined;
    }
    return candidates.find(isReady);
  }

  /** The other endpoints come first from now on. */
  #passOver(channel: Channel): void {
    this.#passedOver.add(channel);
    if (this.#passedOver.size === this.#endpoints.length) this.#passedOver.clear();
    this.#last = undefined;
  }

  /** Like the library's `waitForReady`, but for one thing: a closed channel is left alone, for asking it would open it again. */
  #reach(channel: Channel, deadline: number): Promise<void> {
    const states = channel.getChannel();
    return new Promise((resolve, reject) => {
      const look = (cause?: Error): void => {
        if (this.#closed || (cause !== undefined && Date.now() >= deadline)) {
          reject(new RpcError(GrpcStatus.deadlineExceeded, "context deadline exceeded", { cause }));
          return;
        }
        const state = states.getConnectivityState(true);
        if (state === connectivityState.READY) resolve();
        // A wait without an end is made of some that have one: their timers hold the process.
        else states.watchConnectivityState(state, Math.min(deadline, Date.now() + REACH_MS), look);
      };
      look();
    });
  }

  async #call<Request, Response>(
    channel: Channel,
    service: Service,
    method: Method<Request, Response>,
    request: Request,
    deadline: Deadline,
    signal?: AbortSignal,
  ): Promise<Response> {
    const { path, serialize, deserialize } = wire(service, method);
    const size = serialize(request).length;
    if (size > REQUEST_BYTES_MAX) {
      const text = `trying to send message larger than max (${size} vs. ${REQUEST_BYTES_MAX})`;
      throw new RpcError(GrpcStatus.resourceExhausted, text);
    }
    const send = async (metadata: Metadata): Promise<Response> => {
      let cancel: () => void = () => undefined;
      const answered = new Promise<Response>((resolve, reject) => {
        const settle = (error: unknown, answer: Response | undefined): void => {
          if (error === null && answer !== undefined) resolve(answer);
          else reject(asRpcError(error));
        };
        const call = channel.makeUnaryRequest(path, serialize, deserialize, request, metadata, { deadline }, settle);
        cancel = () => call.cancel();
      });
      return unlessAborted(answered, signal, cancel);
    };
    for (let renewals = 0; ; renewals++) {
      const metadata = await this.#metadata();
      try {
        return await send(metadata);
      } catch (error) {
        if (renewals >= TOKEN_RENEWALS_MAX || !this.#needsNewToken(error)) throw error;
        this.#token = undefined;
      }
    }
  }

  #parse(endpoint: string): Endpoint {
    return parseEndpoint(endpoint);
  }

  #needsNewToken(error: unknown): boolean {
    return this.#user !== undefined && error instanceof RpcError && NEEDS_NEW_TOKEN.includes(error.text);
  }

  #channel(endpoint: Endpoint): Channel {
    let channel = this.#channels.get(endpoint.target);
    if (channel === undefined) {
      const { keepAliveMs, keepAliveTimeoutMs, tls } = this.#options;
      const secure = endpoint.secure ?? tls !== undefined;
      channel = new Channel(endpoint.target, secure ? secureCredentials(tls) : credentials.createInsecure(), {
        "grpc.max_receive_message_length": -1,
        "grpc.max_send_message_length": -1,
        // Two clients in one process do not share a connection, so that closing one leaves the other alone.
        "grpc.use_local_subchannel_pool": 1,
        ...(tls?.serverName === undefined ? {} : { "grpc.ssl_target_name_override": tls.serverName }),
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": 1000,
        ...(keepAliveMs === undefined ? {} : { "grpc.keepalive_time_ms": Math.max(keepAliveMs, 5000) }),
        ...(keepAliveTimeoutMs === undefined ? {} : { "grpc.keepalive_timeout_ms": keepAliveTimeoutMs }),
      });
      this.#channels.set(endpoint.target, channel);
    }
    return channel;
  }

  /** As in etcd's client, who has no password asks for no token. */
  get #user(): ClientOptions["user"] {
    return this.#options.user?.password === "" ? undefined : this.#options.user;
  }

  async #metadata(): Promise<Metadata> {
    if (this.#user !== undefined && this.#token === undefined) this.#token = await this.#authenticate(this.#user);
    const metadata = new Metadata();
    metadata.set("client-api-version", CLIENT_API_VERSION);
    if (this.#token !== undefined && this.#token !== "") metadata.set("token", this.#token);
    return metadata;
  }

  /** A token, or nothing where authentication is off: a client with a password may talk to such a cluster, too. */
  async #authenticate({ name, password }: NonNullable<ClientOptions["user"]>): Promise<string> {
    this.#token = "";
    try {
      const { authenticate } = AuthDefinition.methods;
      return (await this.#read(AuthDefinition, authenticate, { name, password })).token;
    } catch (error) {
      if (error instanceof RpcError && error.text === "etcdserver: authentication is not enabled") return "";
      this.#token = undefined;
      if (!(error instanceof RpcError)) throw error;
      throw new LoginError(error.status, error.text, { cause: error });
    }
  }
}

/** A server's names are judged as Go judges them. */
function secureCredentials(tls: ClientOptions["tls"]): ReturnType<typeof credentials.createFromSecureContext> {
  const { ca, cert, key, anyServer = false } = tls ?? {};
  const buffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes);
  const context = createSecureContext({
    minVersion: "TLSv1.2",
    allowPartialTrustChain: true,
    ...(ca === undefined ? {} : { ca: buffer(ca) }),
    ...(cert === undefined ? {} : { cert: buffer(cert) }),
    ...(key === undefined ? {} : { key: buffer(key) }),
  });
  return credentials.createFromSecureContext(context, {
    rejectUnauthorized: !anyServer,
    checkServerIdentity: (host, { raw }) =>
      anyServer || isGoodFor(new X509Certificate(raw), host)
        ? undefined
        : new Error(`the server's certificate is not for ${host}`),
  });
}

function isReady(channel: Channel): boolean {
  return channel.getChannel().getConnectivityState(false) === connectivityState.READY;
}

/** What the work comes to, or the signal's reason when that comes first. @param onAbort stops the work that nobody waits for any more */
async function unlessAborted<Value>(work: Promise<Value>, signal?: AbortSignal, onAbort?: () => void): Promise<Value> {
  if (signal === undefined) return work;
  work.catch(() => undefined); // nobody may be left to hear of it
  let abort: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => {
      onAbort?.();
      reject(signal.reason as Error);
    };
  });
  if (signal.aborted) abort();
  else signal.addEventListener("abort", abort);
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

function isUnavailable(error: RpcError): boolean {
  return error.status === GrpcStatus.unavailable;
}

function wire<Request, Response>(
  service: Service,
  method: Method<Request, Response>,
): { path: string; serialize: (message: Request) => Buffer; deserialize: (bytes: Buffer) => Response } {
  return {
    path: `/${service.fullName}/${method.name}`,
    serialize: (message) => {
      const bytes = method.requestType.encode(message).finish();
      return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    },
    deserialize: (bytes) => method.responseType.decode(bytes),
  };
}

function asRpcError(error: unknown): Error {
  if (!(error instanceof Error)) return new RpcError(GrpcStatus.unknown, String(error));
  const { code, details } = error as Error & { code?: unknown; details?: unknown };
  if (typeof code !== "number") return error;
  return new RpcError(code, typeof details === "string" ? details : error.message, { cause: error });
}
