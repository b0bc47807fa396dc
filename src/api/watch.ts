/**
 * The Watch service: one call is a stream of watchers. Requests are decoded here and handed to the member's stream; what comes of them is
 * encoded and sent, changes in one go.
 *
 * Laws:
 * - nothing that is thrown here reaches the member, which calls in the middle of its work;
 * - a client that does not read is sent no changes (`isReady`), and when it goes on asking it is not read any more either;
 * - nor is one of whose other calls so much waits to be read that its connection is full: it is looked at again a little later.
 */
import { WireError } from "../base/bytes.js";
import { CodedError } from "../base/errors.js";
import { REQUEST_OVERHEAD_BYTES, WATCH_QUEUE_BYTES_MAX, WATCH_QUEUE_BYTES_PER_WATCHER } from "../base/limits.js";
import type { Call, Handler, MessageStream } from "../grpc/handler.js";
import { GRPC_STATUS_NAMES, GrpcError, GrpcStatus } from "../grpc/status.js";
import { spanOf, type Watcher, type WatchEvent } from "../mvcc/index.js";
import { type WatchAnswer, WatchAnswerEncoder } from "../proto/fast/watch-answers.js";
import {
  type WatchCreateRequest,
  WatchCreateRequest_FilterType as FilterType,
  WatchRequest,
  WatchResponse,
} from "../proto/generated/etcdserverpb/watch.js";
import type { Clock, Timer } from "../platform/clock.js";
import type { MemberService } from "../server/contract.js";
import type { WatchCreation, WatchNotice, WatchStream, WatchStreamReceiver } from "../server/watch-contract.js";
import { CLIENT_ERRORS, toClientError } from "./errors.js";
import { admit, contextOf, type ServiceDependencies } from "./service.js";

export function watchHandlers(dependencies: ServiceDependencies): [string, Handler][] {
  const { member } = dependencies;
  const encoding = new Encoding(member.clusterId, member.memberId);
  return [
    [
      "/etcdserverpb.Watch/Watch",
      {
        kind: "bidirectional",
        handle: (stream, call) => {
          admit(dependencies, call, "stream", false);
          new WatchCall(stream, dependencies, encoding).begin(call);
        },
      },
    ],
  ];
}

/** What all streams of a member share: the events encoded last, for many watchers get the same. */
class Encoding {
  readonly encoder: WatchAnswerEncoder;
  #events: readonly WatchEvent[] | undefined;
  #withPrevious = false;
  #encoded: readonly Uint8Array[] = [];

  constructor(clusterId: bigint, memberId: bigint) {
    this.encoder = new WatchAnswerEncoder(clusterId, memberId);
  }

  /** The same array for the same events. */
  of(events: readonly WatchEvent[], withPrevious: boolean): readonly Uint8Array[] {
    if (events !== this.#events || withPrevious !== this.#withPrevious) {
      this.#encoded = events.map((event) => event.encoded(withPrevious));
      this.#events = events;
      this.#withPrevious = withPrevious;
    }
    return this.#encoded;
  }
}

/** Between two looks at a connection that is full. */
const CONGESTED_MS = 100;

class WatchCall implements WatchStreamReceiver {
  /** Whether the stream's own queue takes more. */
  #isOpen = true;
  readonly #clock: Clock;
  /** Rings when the connection is to be looked at again. */
  #nextLook: Timer | undefined;
  readonly #stream: MessageStream;
  readonly #member: MemberService;
  readonly #encoding: Encoding;
  readonly #fragmentBytesMax: number;
  /** Watchers that were made and that the client has not cancelled. */
  #watcherCount = 0;
  #roomFor = 0;
  #watch: WatchStream | undefined;

  constructor(stream: MessageStream, { member, clock }: ServiceDependencies, encoding: Encoding) {
    this.#stream = stream;
    this.#clock = clock;
    this.#member = member;
    this.#encoding = encoding;
    this.#fragmentBytesMax = member.limits.requestBytesMax + REQUEST_OVERHEAD_BYTES;
  }

  begin(call: Call): void {
    const watch = this.#member.watch(this, { requiresLeader: call.metadata("hasleader") === "true" }, contextOf(call));
    this.#watch = watch;
    this.#stream.onMessage = (bytes) => this.#receive(watch, bytes);
    this.#stream.onDrain = () => this.#goOn(watch);
    // A client that has said its last goes on listening: only the end of the call is the end, as in etcd.
    const close = (): void => {
      this.#nextLook?.cancel();
      watch.close();
    };
    if (call.signal.aborted) close();
    else call.signal.addEventListener("abort", close, { once: true });
  }

  get isReady(): boolean {
    if (!this.#isOpen) return false;
    if (!this.#stream.isCongested) return true;
    this.#nextLook ??= this.#clock.after(CONGESTED_MS, () => this.#lookAgain());
    return false;
  }

  #lookAgain(): void {
    this.#nextLook = undefined;
    if (this.isReady) this.#watch?.resume();
  }

  #receive(watch: WatchStream, bytes: Uint8Array): void {
    const { requestUnion: request } = decodeWatchRequest(bytes);
    switch (request?.$case) {
      case "createRequest":
        watch.create(creationOf(request.value));
        return;
      case "cancelRequest":
        watch.cancel(request.value.watchId);
        return;
      case "progressRequest":
        watch.requestProgress();
        return;
      case undefined:
        return; // a kind that a later etcd may have, passed over as etcd does
    }
  }

  #goOn(watch: WatchStream): void {
    this.#isOpen = true;
    this.#stream.resume();
    watch.resume();
  }

  onEvents({ id, options }: Watcher, events: readonly WatchEvent[], revision: number): void {
    this.#guarded(() => {
      const { raftTerm } = this.#member.header();
      const { encoder } = this.#encoding;
      this.#makeRoom();
      if (events.length === 1) {
        this.#sendAnswer(encoder.one(revision, raftTerm, id, events[0]!.encoded(options.withPrevious)));
        return;
      }
      const encoded = this.#encoding.of(events, options.withPrevious);
      if (!options.inFragments) this.#sendAnswer(encoder.many(revision, raftTerm, id, encoded));
      else {
        for (const answer of encoder.fragments(revision, raftTerm, id, encoded, this.#fragmentBytesMax)) {
          this.#sendAnswer(answer);
        }
      }
    });
  }

  onNotice({ revision, watchId, created, canceled, compactRevision, refusal }: WatchNotice): void {
    this.#guarded(() => {
      const header = { ...this.#member.header(), revision };
      const cancelReason = refusal === undefined ? "" : cancelReasonOf(refusal);
      const response = {
        header,
        watchId,
        created,
        canceled,
        compactRevision,
        cancelReason,
        fragment: false,
        events: [],
      };
      this.#send(WatchResponse.encode(response).finish());
      // One that was compacted is cancelled by its client yet.
      if (created !== canceled && compactRevision === 0) this.#watcherCount += created ? 1 : -1;
      if (!this.#isOpen) this.#stream.pause();
    });
  }

  /** Room for all watchers' changes; not for words, lest a client that reads nothing goes on asking. */
  #makeRoom(): void {
    if (this.#roomFor === this.#watcherCount) return;
    this.#roomFor = this.#watcherCount;
    this.#stream.raiseQueueMark(Math.min(this.#roomFor * WATCH_QUEUE_BYTES_PER_WATCHER, WATCH_QUEUE_BYTES_MAX));
  }

  onEnd(error: unknown): void {
    this.#stream.end(error);
  }

  #send(answer: Uint8Array): void {
    if (!this.#stream.send(answer)) this.#isOpen = false;
  }

  #sendAnswer({ head, body }: WatchAnswer): void {
    if (!this.#stream.sendPieces(head, body)) this.#isOpen = false;
  }

  #guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#watch?.close();
      this.#stream.end(error);
    }
  }
}

/** @throws GrpcError `INTERNAL`, as grpc-go ends a stream whose client sends bytes that are no message */
function decodeWatchRequest(bytes: Uint8Array): WatchRequest {
  try {
    return WatchRequest.decode(bytes);
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    const why = error.code === "WIRE_TRUNCATED" ? "unexpected EOF" : error.detail;
    const text = `grpc: failed to unmarshal the received message: ${why}`;
    throw new GrpcError(GrpcStatus.internal, text, { cause: error });
  }
}

const FIRST_KEY = Uint8Array.of(0);

function creationOf(request: WatchCreateRequest): WatchCreation {
  const { key, rangeEnd, startRevision, filters, prevKv, fragment, progressNotify, watchId } = request;
  return {
    span: spanOf(key.length === 0 ? FIRST_KEY : key, rangeEnd),
    startRevision,
    withoutPuts: filters.includes(FilterType.NOPUT),
    withoutDeletes: filters.includes(FilterType.NODELETE),
    withPrevious: prevKv,
    inFragments: fragment,
    reportsProgress: progressNotify,
    watchId,
  };
}

/** What the store's refusals are called; all others are the authentication's. */
const CANCEL_REASONS: Readonly<Record<string, string>> = {
  MVCC_COMPACTED: CLIENT_ERRORS.MVCC_COMPACTED.text,
  WATCH_RANGE_EMPTY: "mvcc: watcher range is empty",
  WATCH_ID_TAKEN: "mvcc: duplicate watch ID provided on the WatchStream",
};

/** The refusals of authentication that etcd tells apart; any other is told as a missing permission. */
const TOLD_APART = [
  "etcdserver: invalid auth token",
  "etcdserver: revision of auth store is old",
  "etcdserver: user name is empty",
];
const NOT_PERMITTED = { status: GrpcStatus.permissionDenied, text: "etcdserver: permission denied" };

/** What a client is told of a watcher that was not made. */
export function cancelReasonOf(refusal: unknown): string {
  const known = refusal instanceof CodedError ? CANCEL_REASONS[(refusal as CodedError<string>).code] : undefined;
  if (known !== undefined) return known;
  const told = toClientError(refusal);
  const { status, text } = TOLD_APART.includes(told.text) ? told : NOT_PERMITTED;
  return `rpc error: code = ${GRPC_STATUS_NAMES[status]} desc = ${text}`;
}
