/** What a call, a lock or an election can end with, in etcd's words. */
import { CodedError } from "../base/errors.js";
import { GRPC_STATUS_NAMES, GrpcStatus } from "../grpc/status.js";

/** A call failed. `message` reads as etcd's own client prints it. */
export class RpcError extends Error {
  override readonly name: string = "RpcError";
  readonly status: number;
  /** The text that came with the status. */
  readonly text: string;

  constructor(status: number, text: string, options?: ErrorOptions) {
    super(sentence(status, text), options);
    this.status = status;
    this.text = text;
  }
}

/** A client's user got no token: nothing was called. */
export class LoginError extends RpcError {
  override readonly name = "LoginError";
}

/** Whether another attempt, or another endpoint, may go better. */
export function isPassing(error: unknown): boolean {
  if (!(error instanceof RpcError)) return false;
  const { unavailable, deadlineExceeded, cancelled } = GrpcStatus;
  return error.status === unavailable || error.status === deadlineExceeded || error.status === cancelled;
}

/** Why a session, a mutex or an election cannot go on. The details are the sentences of etcd's client. */
export class SessionError extends CodedError<"SESSION_OVER" | "ELECTION_NOT_LEADER" | "WATCH_LOST"> {
  override readonly name = "SessionError";
}

function sentence(status: number, text: string): string {
  if (text.startsWith("etcdserver: ")) return text;
  if (status === GrpcStatus.deadlineExceeded) return "context deadline exceeded";
  return `rpc error: code = ${GRPC_STATUS_NAMES[status] ?? status} desc = ${text}`;
}
