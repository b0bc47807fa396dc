/**
 * What this room asks of those who serve something through it. Nothing here names a gRPC library or HTTP/2, so that the one below
 * can change; nothing knows etcd.
 *
 * Messages are bytes on both sides: who registers a handler brings the codec.
 */

/** What TLS knows of the client of a connection. */
export interface ClientSecurity {
  /** The common name of the certificate that it had to show, and that was found good; undefined where none was asked for. */
  readonly commonName: string | undefined;
}

/** One call under way. */
export interface Call {
  /** As `/etcdserverpb.KV/Put`. */
  readonly path: string;
  /** The client's address, as `127.0.0.1:43210`. */
  readonly peer: string;
  /** Absent without TLS. */
  readonly security?: ClientSecurity | undefined;
  /** A value that the client sent beside the request; the first one, by lower-case name. */
  metadata(name: string): string | undefined;
  /** The values under a name that ends in `-bin`, as bytes. */
  binaryMetadata(name: string): readonly Uint8Array[];
  /** Aborted when the call is over: answered, its client gone, its deadline passed, the server stopped. Made at the first look at it. */
  readonly signal: AbortSignal;
}

/** A call that is answered once. Either is for a handler that answers later without a promise; after the call has ended both do nothing. */
export interface UnaryCall extends Call {
  answer(message: Uint8Array): void;
  /** Ends the call with what a handler would throw. */
  fail(error: unknown): void;
}

/** The two directions of a streaming call. Callbacks are set before the turn in which the handler was called ends. */
export interface MessageStream {
  onMessage: (message: Uint8Array) => void;
  /** The client will send no more. Not called when the call was aborted. */
  onEnd: () => void;
  /** A `send` that answered false may go on. */
  onDrain: () => void;
  /** Queues a message. False means: wait for `onDrain` before more. After the end nothing is sent. */
  send(message: Uint8Array): boolean;
  /** The same for a message in two pieces. The first is copied; the second, which other streams may be sent as well, must stay as it is. */
  sendPieces(head: Uint8Array, body: Uint8Array): boolean;
  /**
   * Whether so much waits to be read on the connection, over all its calls, that no more should be made. For who makes messages unasked:
   * nothing tells when it has changed.
   */
  readonly isCongested: boolean;
  /** Lets more of this stream wait before `send` answers false: the port's own figure is the least. In bytes. */
  raiseQueueMark(bytes: number): void;
  /** Ends the call: well, or with what a handler would throw. */
  end(error?: unknown): void;
  /** Stops or resumes `onMessage`, so that a client cannot send faster than it is served. */
  pause(): void;
  resume(): void;
}

export type Handler =
  | {
      readonly kind: "unary";
      /** May answer at once, or undefined to answer through the call, later: no promise is made then. */
      readonly handle: (request: Uint8Array, call: UnaryCall) => Uint8Array | Promise<Uint8Array> | undefined;
    }
  | {
      readonly kind: "serverStreaming";
      /** The next message is asked for when the client can take it. Ended early (`return`) when the call is aborted. */
      readonly handle: (request: Uint8Array, call: Call) => AsyncIterable<Uint8Array>;
    }
  | {
      /** Client streaming is a bidirectional call that answers once. */
      readonly kind: "bidirectional";
      readonly handle: (stream: MessageStream, call: Call) => void;
    };

export type HandlerKind = Handler["kind"];

/** Handlers by path. */
export type HandlerTable = ReadonlyMap<string, Handler>;

/** Turns whatever a handler threw into what the client is told. */
export type ErrorMapper = (error: unknown) => { readonly status: number; readonly text: string };

/** Told of each call's beginning and end, for metrics and logs. `path` is one of the table's. */
export interface CallObserver {
  started(path: string, kind: HandlerKind): void;
  /**
   * @param tookMs since the call's first bytes came; as of the turn in which it ended, for the clock is not read for each
   * @param peer the client's address
   */
  ended(path: string, kind: HandlerKind, status: number, tookMs: number, peer: string): void;
}

/** Bytes of gRPC messages, prefixes and what HTTP/2 needs left out. */
export interface Traffic {
  receivedBytes: number;
  sentBytes: number;
}
