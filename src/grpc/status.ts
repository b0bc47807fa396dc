/** gRPC's status codes, and the error that carries one to a client. */

export const GrpcStatus = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  aborted: 10,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  dataLoss: 15,
  unauthenticated: 16,
} as const;
export type GrpcStatus = (typeof GrpcStatus)[keyof typeof GrpcStatus];

/** The codes' names as grpc-go prints them; metrics and error lines use them. */
export const GRPC_STATUS_NAMES: readonly string[] = [
  "OK",
  "Canceled",
  "Unknown",
  "InvalidArgument",
  "DeadlineExceeded",
  "NotFound",
  "AlreadyExists",
  "PermissionDenied",
  "ResourceExhausted",
  "FailedPrecondition",
  "Aborted",
  "OutOfRange",
  "Unimplemented",
  "Internal",
  "Unavailable",
  "DataLoss",
  "Unauthenticated",
];

/** What a handler throws to end its call with a status. `text` goes to the client as it is. */
export class GrpcError extends Error {
  override readonly name = "GrpcError";
  readonly status: GrpcStatus;
  readonly text: string;
  /** Sent beside the status, by lower-case name; bytes under names that end in `-bin`. */
  readonly metadata: Readonly<Record<string, string | Uint8Array>>;

  constructor(
    status: GrpcStatus,
    text: string,
    options?: ErrorOptions & { readonly metadata?: Readonly<Record<string, string | Uint8Array>> },
  ) {
    super(`${GRPC_STATUS_NAMES[status]}: ${text}`, options);
    this.status = status;
    this.text = text;
    this.metadata = options?.metadata ?? {};
  }
}
