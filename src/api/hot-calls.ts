/**
 * Put, and get of one key: the calls that most traffic consists of, from bytes to bytes without a promise, and without an object for
 * each field. A request of any other form goes the way that all calls go; so does everything about errors.
 *
 * `npm run bench:member` shows what it saves.
 */
import type { Handler, UnaryCall } from "../grpc/handler.js";
import { AnswerEncoder } from "../proto/fast/answers.js";
import { decodeGet } from "../proto/fast/get.js";
import { decodePut } from "../proto/fast/put.js";
import { PutRequest, PutResponse } from "../proto/generated/etcdserverpb/kv.js";
import type { MemberService, Receiver } from "../server/contract.js";
import { checkPut } from "./checks.js";
import { admit, contextOf, decodeRequest, type ServiceDependencies } from "./service.js";

/** What ends a call. Law: nothing that is thrown here reaches the member, which calls in the middle of its work. */
abstract class Reply<Answer> implements Receiver<Answer> {
  protected readonly member: MemberService;
  protected readonly encoder: AnswerEncoder;
  readonly #call: UnaryCall;

  constructor(call: UnaryCall, member: MemberService, encoder: AnswerEncoder) {
    this.#call = call;
    this.member = member;
    this.encoder = encoder;
  }

  resolve(answer: Answer): void {
    try {
      this.#call.answer(this.encode(answer));
    } catch (error) {
      this.#call.fail(error);
    }
  }

  reject(error: unknown): void {
    this.#call.fail(error);
  }

  protected abstract encode(answer: Answer): Uint8Array;
}

class PutReply extends Reply<PutResponse> {
  protected override encode(response: PutResponse): Uint8Array {
    const { header, prevKv } = response;
    if (header === undefined || prevKv !== undefined) return PutResponse.encode(response).finish();
    return this.encoder.put(header);
  }
}

class GetReply extends Reply<Uint8Array | undefined> {
  protected override encode(pair: Uint8Array | undefined): Uint8Array {
    return this.encoder.get(this.member.header(), pair);
  }
}

export function putHandler(dependencies: ServiceDependencies): Handler {
  const { member } = dependencies;
  const encoder = new AnswerEncoder(member.clusterId, member.memberId);
  return {
    kind: "unary",
    handle: (bytes, call) => {
      const request = decodePut(bytes) ?? decodeRequest(PutRequest, bytes);
      admit(dependencies, call, "unary", false);
      checkPut(request);
      member.putFor(request, new PutReply(call, member, encoder), contextOf(call));
      return undefined;
    },
  };
}

/** @param range serves what asks for more than the newest pair of one key */
export function rangeHandler(dependencies: ServiceDependencies, range: Handler & { kind: "unary" }): Handler {
  const { member } = dependencies;
  const encoder = new AnswerEncoder(member.clusterId, member.memberId);
  return {
    kind: "unary",
    handle: (bytes, call) => {
      const request = decodeGet(bytes);
      if (request === undefined) return range.handle(bytes, call);
      admit(dependencies, call, "unary", request.serializable);
      member.getFor(request, new GetReply(call, member, encoder), contextOf(call));
      return undefined;
    },
  };
}
