/**
 * Put, get of one key, range of some keys and flat transaction: the calls that most traffic consists of, from bytes to bytes without a
 * promise, and without an object for each field. A request of any other form goes the way that all calls go; so does everything about
 * errors.
 *
 * `npm run bench:member` shows what it saves.
 */
import type { Handler, UnaryCall } from "../grpc/handler.js";
import { AnswerEncoder } from "../proto/fast/answers.js";
import { decodeGet, decodeSpan } from "../proto/fast/get.js";
import { decodePut } from "../proto/fast/put.js";
import { decodeTxn } from "../proto/fast/txn.js";
import { PutRequest, PutResponse, TxnResponse } from "../proto/generated/etcdserverpb/kv.js";
import type { StoredPairs } from "../mvcc/index.js";
import type { CallContext, MemberService, Receiver } from "../server/contract.js";
import { checkPut, checkTxn } from "./checks.js";
import { admit, contextOf, decodeRequest, type ServiceDependencies } from "./service.js";

/** What ends a call. Law: nothing that is thrown here reaches the member, which calls in the middle of its work. */
abstract class Reply<Answer> implements Receiver<Answer> {
  protected readonly member: MemberService;
  protected readonly encoder: AnswerEncoder;
  protected readonly call: UnaryCall;

  constructor(call: UnaryCall, member: MemberService, encoder: AnswerEncoder) {
    this.call = call;
    this.member = member;
    this.encoder = encoder;
  }

  resolve(answer: Answer): void {
    try {
      this.call.answer(this.encode(answer));
    } catch (error) {
      this.call.fail(error);
    }
  }

  reject(error: unknown): void {
    this.call.fail(error);
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

class TxnReply extends Reply<TxnResponse> {
  protected override encode(response: TxnResponse): Uint8Array {
    const { header } = response;
    const known = header === undefined ? undefined : this.encoder.txn(header, response);
    return known ?? TxnResponse.encode(response).finish();
  }
}

class SpanReply extends Reply<StoredPairs | undefined> {
  readonly #long: () => Promise<Uint8Array>;

  /** @param long answers a span of too many pairs */
  constructor(call: UnaryCall, member: MemberService, encoder: AnswerEncoder, long: () => Promise<Uint8Array>) {
    super(call, member, encoder);
    this.#long = long;
  }

  override resolve(found: StoredPairs | undefined): void {
    if (found !== undefined) super.resolve(found);
    else {
      this.#long().then(
        (answer) => this.call.answer(answer),
        (error: unknown) => this.call.fail(error),
      );
    }
  }

  protected override encode(found: StoredPairs): Uint8Array {
    return this.encoder.range(this.member.header(), found.pairs, found.count);
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

/**
 * @param range serves what asks for more than newest pairs in the order of their keys
 * @param long answers what `range` would, of a request that was let in already
 */
export function rangeHandler(
  dependencies: ServiceDependencies,
  range: Handler & { kind: "unary" },
  long: (bytes: Uint8Array, context: CallContext) => Promise<Uint8Array>,
): Handler {
  const { member } = dependencies;
  const encoder = new AnswerEncoder(member.clusterId, member.memberId);
  return {
    kind: "unary",
    handle: (bytes, call) => {
      const get = decodeGet(bytes);
      if (get !== undefined) {
        admit(dependencies, call, "unary", get.serializable);
        member.getFor(get, new GetReply(call, member, encoder), contextOf(call));
        return undefined;
      }
      const span = decodeSpan(bytes);
      if (span === undefined) return range.handle(bytes, call);
      admit(dependencies, call, "unary", span.serializable);
      const context = contextOf(call);
      member.spanFor(span, new SpanReply(call, member, encoder, () => long(bytes, context)), context);
      return undefined;
    },
  };
}

/** @param txn serves what `decodeTxn` does not know */
export function txnHandler(dependencies: ServiceDependencies, txn: Handler & { kind: "unary" }): Handler {
  const { member } = dependencies;
  const encoder = new AnswerEncoder(member.clusterId, member.memberId);
  return {
    kind: "unary",
    handle: (bytes, call) => {
      const request = decodeTxn(bytes);
      if (request === undefined) return txn.handle(bytes, call);
      admit(dependencies, call, "unary", false);
      checkTxn(request, member.limits.txnOperationsMax);
      member.txnFor(request, bytes, new TxnReply(call, member, encoder), contextOf(call));
      return undefined;
    },
  };
}
