/**
 * The Lease service. A stream of keep-alive requests is answered request by request, as each is renewed: one that has to wait (its lease
 * has run out and is being revoked) does not hold up the others, where etcd's stream stands still for it.
 */
import { concatBytes } from "../base/bytes.js";
import { KEEP_ALIVES_WAITING_MAX } from "../base/limits.js";
import { CodedError } from "../base/errors.js";
import type { Clock } from "../platform/clock.js";
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
import type { CallContext, LeaseList, MemberService, Receiver } from "../server/contract.js";
import { admit, contextOf, decodeRequest, type ServiceDependencies, unary, unaryWith } from "./service.js";

/** Leases encoded in a millisecond or two. */
const LEASES_PER_SLICE = 10_000;

export function leaseHandlers(dependencies: ServiceDependencies): [string, Handler][] {
  const { clock, member } = dependencies;
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
    [
      path("LeaseLeases"),
      unaryWith(
        dependencies,
        LeaseLeasesRequest,
        (list: LeaseList) => encodeList(list, clock),
        (_, context) => member.leaseLeases(context),
      ),
    ],
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

/** In slices, as `range-answer.ts` does it. */
async function encodeList({ header, ids }: LeaseList, clock: Pick<Clock, "yield">): Promise<Uint8Array> {
  const parts = [LeaseLeasesResponse.encode({ header, leases: [] }).finish()];
  for (let from = 0; from < ids.length; from += LEASES_PER_SLICE) {
    if (from > 0) await clock.yield();
    const leases = Array.from(ids.subarray(from, from + LEASES_PER_SLICE), (ID) => ({ ID }));
    parts.push(LeaseLeasesResponse.encode({ header: undefined, leases }).finish());
  }
  return concatBytes(parts);
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
  #forget: () => void = () => undefined;

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
    this.#forget = this.#member.endsStream(call.metadata("hasleader") === "true", (error) => this.#end(error));
    const close = (): void => this.#close();
    if (call.signal.aborted) close();
    else call.signal.addEventListener("abort", close, { once: true });
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

  #close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#forget();
  }

  #end(error?: unknown): void {
    if (this.#over) return;
    this.#close();
    this.#stream.end(error);
  }
}
