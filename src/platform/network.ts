/** The door to the network: streams of bytes between addresses. */
import { CodedError } from "../base/errors.js";

/** Where to listen or connect: a host and port (0 lets the system choose), or a unix socket. */
export type Address =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

export class NetworkError extends CodedError<
  "NETWORK_REFUSED" | "NETWORK_IN_USE" | "NETWORK_UNREACHABLE" | "NETWORK_RESET" | "NETWORK_IO"
> {
  override readonly name = "NetworkError";
}

export interface Network {
  listen(address: Address, onConnection: (connection: Connection) => void): Promise<Listener>;
  connect(address: Address): Promise<Connection>;
}

export interface Listener {
  /** The address in use, with the real port. */
  readonly address: Address;
  close(): Promise<void>;
}

export interface Connection {
  readonly remote: string;
  /** Set by the owner before the turn in which the connection was handed over ends. */
  onData: (bytes: Uint8Array) => void;
  /** Called once, with the failure if there was one. Nothing is called after it. */
  onClose: (error: NetworkError | undefined) => void;
  /** Called when a write that answered false may go on. */
  onDrain: () => void;
  /** Queues bytes. False means: wait for `onDrain` before more. */
  write(bytes: Uint8Array): boolean;
  pauseReading(): void;
  resumeReading(): void;
  /** Ends our side after what is queued. */
  end(): void;
  /** Closes at once. */
  destroy(): void;
}
