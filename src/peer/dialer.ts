/**
 * Requests to other members' peer ports. It knows every socket that it opened: after `close()` none is left.
 *
 * A stream, a snapshot and a small request have a connection each, which nobody shares; the pipeline keeps a few.
 */
import * as http from "node:http";
import * as https from "node:https";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { PIPELINE_REQUESTS_MAX } from "../base/limits.js";
import type { Clock } from "../platform/index.js";
import { PeerError } from "./errors.js";
import type { ClientTls } from "../tls/index.js";
import { peerAddress } from "./urls.js";

export interface DialOptions {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Connections that are kept for the next request; a new one when left out. */
  readonly pool?: ConnectionPool;
}

export interface DialerDependencies {
  readonly clock: Clock;
  /** How long a connection may take to stand, the handshake of TLS included. */
  readonly dialTimeoutMs: number;
  /** Undefined: https URLs are checked against the system's authorities. */
  readonly tls: ClientTls | undefined;
}

/** Connections of the pipeline to one member. */
export class ConnectionPool {
  readonly plain: http.Agent;
  readonly secure: https.Agent;

  /** @param idleMs an idle connection is closed then: sooner than the other side closes it, lest a request meets its end */
  constructor(idleMs: number) {
    const options = { keepAlive: true, maxSockets: PIPELINE_REQUESTS_MAX, timeout: idleMs };
    this.plain = new http.Agent(options);
    this.secure = new https.Agent(options);
  }

  close(): void {
    this.plain.destroy();
    this.secure.destroy();
  }
}

export class Dialer {
  readonly #clock: Clock;
  readonly #dialTimeoutMs: number;
  readonly #tls: ClientTls | undefined;
  readonly #requests = new Set<http.ClientRequest>();
  readonly #sockets = new Set<Socket>();
  #closed = false;
  #onEmpty: (() => void) | undefined;

  constructor({ clock, dialTimeoutMs, tls }: DialerDependencies) {
    this.#clock = clock;
    this.#dialTimeoutMs = dialTimeoutMs;
    this.#tls = tls;
  }

  /** A request whose body the caller writes and ends. Listen for `error` before the turn ends. @throws PeerError */
  request(url: string, { method, path, headers, pool }: DialOptions): http.ClientRequest {
    if (this.#closed) throw new PeerError("PEER_CLOSED", `no request to ${url}: this member's peer port is closed`);
    const { secure, host, port } = peerAddress(url);
    const options: http.RequestOptions = { host, port, method, path, headers: { ...headers } };
    const request = secure
      ? https.request({ ...options, ...this.#tls?.options(host), agent: pool?.secure ?? false })
      : http.request({ ...options, agent: pool?.plain ?? false });
    this.#requests.add(request);
    request.once("close", () => this.#requests.delete(request));
    request.once("socket", (socket) => this.#watch(socket, request, secure, `${host}:${port}`));
    return request;
  }

  #watch(socket: Socket, request: http.ClientRequest, secure: boolean, where: string): void {
    if (!this.#sockets.has(socket)) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.setKeepAlive(true, KEEP_ALIVE_MS);
      socket.once("close", () => {
        this.#sockets.delete(socket);
        if (this.#sockets.size === 0) this.#onEmpty?.();
      });
      if (secure) socket.once("secureConnect", () => this.#tls?.verify(socket as TLSSocket));
    }
    if (!socket.connecting && !(secure && isShakingHands(socket as TLSSocket))) return;
    const timer = this.#clock.after(this.#dialTimeoutMs, () => {
      request.destroy(new PeerError("PEER_TIMEOUT", `no connection to ${where} within ${this.#dialTimeoutMs} ms`));
    });
    socket.once(secure ? "secureConnect" : "connect", () => timer.cancel());
    socket.once("close", () => timer.cancel());
  }

  /** Ends every request. Resolves when no socket is left. */
  close(): Promise<void> {
    this.#closed = true;
    const reason = new PeerError("PEER_CLOSED", "this member's peer port is closed");
    for (const request of this.#requests) request.destroy(reason);
    for (const socket of this.#sockets) socket.destroy();
    if (this.#sockets.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onEmpty = resolve;
    });
  }
}

/** Node's types do not name it. */
function isShakingHands(socket: TLSSocket & { readonly secureConnecting?: boolean }): boolean {
  return socket.secureConnecting === true;
}

/** After this silence the system asks whether the other side is still there: etcd's 30 seconds. */
const KEEP_ALIVE_MS = 30_000;
