/**
 * The Lease service. A stream of keep-alive requests is answered request by request, as each is renewed: one that has to wait (its lease
 * has run out and is being revoked) does not hold up the others, where etcd's stream stands still for it.
 */
import { KEEP_ALIVES_WAITING_MAX } from "../base/limits.js";
import { CodedError } from "../base/errors.js";
import type { Call, Handler, MessageStream } from "../grpc/handler.js";
import {
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseKeepAliveRequest,
  LeaseKeepAliveResponse,
  LeaseLeasesRequest,
  LeaseLeasesResponse,
  LeaseRevokeRequest,
  LeaseRevokeResponse,
  LeaseTimeToLiveRequest,
  LeaseTimeToLiveResponse,
} from "../proto/generated/etcdserverpb/lease.js";
import type { ResponseHeader } from "../proto/generated/etcdserverpb/header.js";
import type { CallContext, MemberService, Receiver } from "../server/contract.js";
import { admit, contextOf, decodeRequest, type ServiceDependencies, unary } from "./service.js";

export function leaseHandlers(dependencies: ServiceDependencies): [string, Handler][] {
  const { member } = dependencies;
  const path = (method: string): string => `/etcdserverpb.Lease/${method}`;
  return [
    [
      path("LeaseGrant"),
      unary(dependencies, LeaseGrantRequest, LeaseGrantResponse, (request, context) =>
        member.leaseGrant(request, context),
      ),
    ],
    [
      path("LeaseRevoke"),
      unary(dependencies, LeaseRevokeRequest, LeaseRevokeResponse, (request, context) =>
        member.leaseRevoke(request, context),
      ),
    ],
    [
      path("LeaseTimeToLive"),
      unary(dependencies, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse, (request, context) =>
        member.leaseTimeToLive(request, context),
      ),
    ],
    [path("LeaseLeases"), unary(dependencies, LeaseLeasesRequest, LeaseLeasesResponse, () => member.leaseLeases())],
    [
      path("LeaseKeepAlive"),
      {
        kind: "bidirectional",
        handle: (stream, call) => {
          admit(dependencies, call, "stream", false);
          new KeepAlives(stream, member, contextOf(call)).begin(call);
        },
      },
    ],
  ];
}

/** One stream of keep-alive requests. */
class KeepAlives {
  readonly #stream: MessageStream;
  readonly #member: MemberService;
  readonly #context: CallContext;
  #waiting = 0;
  #clientEnded = false;
  #over = false;
  #isPaused = false;
  #isCongested = false;

  constructor(stream: MessageStream, member: MemberService, context: CallContext) {
    this.#stream = stream;
    this.#member = member;
    this.#context = context;
  }

  begin(call: Call): void {
    this.#stream.onMessage = (bytes) => this.#receive(bytes);
    this.#stream.onEnd = () => {
      this.#clientEnded = true;
      this.#endWhenDone();
    };
    this.#stream.onDrain = () => {
      this.#isCongested = false;
      this.#regulate();
    };
    call.signal.addEventListener("abort", () => (this.#over = true), { once: true });
  }

  #receive(bytes: Uint8Array): void {
    let id: bigint;
    try {
      id = decodeRequest(LeaseKeepAliveRequest, bytes).ID;
    } catch (error) {
      this.#end(error);
      return;
    }
    // Its revision must not be above that of the moment at which the lease was renewed: a lease revoked at 3 is not seen alive at 4.
    const header = this.#member.header();
    this.#waiting++;
    this.#regulate();
    const answer: Receiver<number> = {
      resolve: (ttl) => this.#answer(header, id, ttl),
      reject: (error) => {
        if (error instanceof CodedError && error.code === "LEASE_NOT_FOUND") this.#answer(header, id, 0);
        else this.#end(error);
      },
    };
    try {
      this.#member.leaseKeepAliveFor(id, answer, this.#context);
    } catch (error) {
      answer.reject(error);
    }
  }

  #answer(header: ResponseHeader, ID: bigint, TTL: number): void {
    this.#waiting--;
    if (this.#over) return;
    if (!this.#stream.send(LeaseKeepAliveResponse.encode({ header, ID, TTL }).finish())) this.#isCongested = true;
    this.#regulate();
    this.#endWhenDone();
  }

  /** A client that does not read its answers, or whose requests wait, is not read from either. */
  #regulate(): void {
    const wanted = this.#isCongested || this.#waiting >= KEEP_ALIVES_WAITING_MAX;
    if (wanted === this.#isPaused) return;
    this.#isPaused = wanted;
    if (wanted) this.#stream.pause();
    else this.#stream.resume();
  }

  #endWhenDone(): void {
    if (this.#clientEnded && this.#waiting === 0) this.#end();
  }

  #end(error?: unknown): void {
    if (this.#over) return;
    this.#over = true;
    this.#stream.end(error);
  }
}
