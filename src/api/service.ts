/** The pieces that all services share: from bytes to messages and back, and what every call is asked before it runs. */
import { WireError } from "../base/bytes.js";
import type { Call, Handler } from "../grpc/handler.js";
import { GrpcError, GrpcStatus } from "../grpc/status.js";
import type { Clock } from "../platform/clock.js";
import type { BinaryWriter } from "../proto/binary.js";
import type { CallContext, MemberService } from "../server/contract.js";
import type { Metrics, Tally } from "../server/metrics.js";
import { ApiError, CLIENT_ERRORS } from "./errors.js";
import type { ServingState } from "./serving-state.js";

/** What the generated code offers of each message. */
export interface Codec<Message> {
  encode(message: Message): BinaryWriter;
  decode(bytes: Uint8Array): Message;
}

/** What services get to work with. */
export interface ServiceDependencies {
  readonly clock: Clock;
  readonly member: MemberService;
  readonly metrics: Metrics;
  /** What the health service tells; a member that serves, where it is left out. */
  readonly serving?: ServingState;
}

/** Whether a learner serves it. */
export type LearnerRule<Request> = (request: Request) => boolean;

const never = (): boolean => false;

/** A handler of one request and one answer. `run` gets the call as the member wants it. */
export function unary<Request, Response>(
  dependencies: ServiceDependencies,
  request: Codec<Request>,
  response: Pick<Codec<Response>, "encode">,
  run: (request: Request, context: CallContext) => Promise<Response> | Response,
  servedByLearner: LearnerRule<Request> = never,
): Handler & { kind: "unary" } {
  const encode = (message: Response): Uint8Array => response.encode(message).finish();
  return unaryWith(dependencies, request, encode, run, servedByLearner);
}

/** The same with an encoder of its own, which may take its time. */
export function unaryWith<Request, Response>(
  dependencies: ServiceDependencies,
  request: Codec<Request>,
  encode: (response: Response) => Uint8Array | Promise<Uint8Array>,
  run: (request: Request, context: CallContext) => Promise<Response> | Response,
  servedByLearner: LearnerRule<Request> = never,
): Handler & { kind: "unary" } {
  return {
    kind: "unary",
    handle: async (bytes, call) => {
      const message = decodeRequest(request, bytes);
      admit(dependencies, call, "unary", servedByLearner(message));
      return encode(await run(message, contextOf(call)));
    },
  };
}

/** @throws GrpcError `INTERNAL`, as grpc-go answers bytes that are no message */
export function decodeRequest<Request>(codec: Codec<Request>, bytes: Uint8Array): Request {
  try {
    return codec.decode(bytes);
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    const why = error.code === "WIRE_TRUNCATED" ? "unexpected EOF" : error.detail;
    throw new GrpcError(GrpcStatus.internal, `grpc: error unmarshalling request: ${why}`, { cause: error });
  }
}

/** What etcd's interceptors ask of every call: is it one for a learner; is there a leader, when the client insists on one. */
export function admit(
  { member, metrics }: ServiceDependencies,
  call: Call,
  type: "unary" | "stream",
  servedByLearner: boolean,
): void {
  if (!servedByLearner && member.isLearner()) throw new ApiError("API_NOT_FOR_LEARNER", "this member is a learner");
  requestTally(metrics, type, call.metadata("client-api-version") ?? UNKNOWN_VERSION).add(1);
  if (call.metadata("hasleader") === "true" && member.leader() === 0n) {
    const { status, text } = CLIENT_ERRORS.SERVER_NO_LEADER;
    throw new GrpcError(status, text);
  }
}

/** Versions that clients may name and that are counted apart; the names are the clients', and so could be their number. */
const VERSIONS_MAX = 64;
const UNKNOWN_VERSION = "unknown";

const requestTallies = new WeakMap<Metrics, Map<string, Tally>>();

function requestTally(metrics: Metrics, type: string, version: string): Tally {
  let tallies = requestTallies.get(metrics);
  if (tallies === undefined) requestTallies.set(metrics, (tallies = new Map()));
  const key = `${type} ${version}`;
  const known = tallies.get(key);
  if (known !== undefined) return known;
  if (tallies.size >= VERSIONS_MAX && version !== UNKNOWN_VERSION) return requestTally(metrics, type, UNKNOWN_VERSION);
  const tally = metrics.tally("etcd_server_client_requests_total", { type, client_api_version: version });
  tallies.set(key, tally);
  return tally;
}

export function contextOf(call: Call): CallContext {
  const token = call.metadata("token") ?? call.metadata("authorization");
  return token === undefined ? new Context(call) : new ContextWithToken(call, token);
}

/** Made of what the member looks at, when it does: most calls need none of it. */
class Context implements CallContext {
  readonly #call: Call;

  constructor(call: Call) {
    this.#call = call;
  }

  /** The JSON gateway calls for others: a certificate of its connection would not be theirs. */
  get commonName(): string | undefined {
    const name = this.#call.security?.commonName;
    return name === undefined || this.#call.metadata("grpcgateway-accept") !== undefined ? undefined : name;
  }

  get signal(): AbortSignal {
    return this.#call.signal;
  }
}

class ContextWithToken extends Context {
  readonly token: string;

  constructor(call: Call, token: string) {
    super(call);
    this.token = token;
  }
}
