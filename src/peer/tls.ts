/** What the dialing side needs of TLS. */
import type { ServerOptions } from "node:https";
import type { TLSSocket, ConnectionOptions } from "node:tls";

export interface ClientTls {
  /** For a connection to this host. */
  options(host: string): ConnectionOptions;
  /** Looks at the certificate of a connection that stands; destroys the socket when it will not do. */
  verify(socket: TLSSocket): void;
}

/** What the listening side needs of TLS. */
export interface ServerTls {
  options(): ServerOptions;
}
