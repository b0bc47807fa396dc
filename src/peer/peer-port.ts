/**
 * The peer port: who may connect, how many, and how slowly. What requests mean is not known here.
 *
 * Bounds (base/limits.ts): connections, bytes of a head, time for a head; a connection without a request is closed after the
 * connection's timeout. Whatever breaks HTTP is answered with 4xx, counted, and closed.
 */
import * as http from "node:http";
import * as https from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { PEER_HEADER_BYTES_MAX, STREAM_WRITE_BYTES } from "../base/limits.js";
import type { Log } from "../platform/index.js";
import { logRefusal, type ServerTls } from "../tls/index.js";
import { PeerError } from "./errors.js";
import type { PeerMetrics } from "./metrics.js";
import type { TLSSocket } from "node:tls";
import { type PeerAddress, peerAddress } from "./urls.js";

export type RequestHandler = (request: http.IncomingMessage, response: http.ServerResponse) => void;

export interface PeerPortOptions {
  readonly listenUrls: readonly string[];
  /** For https URLs. */
  readonly tls: ServerTls | undefined;
  readonly connectionTimeoutMs: number;
  readonly connectionsMax: number;
  readonly log: Log;
  readonly metrics: PeerMetrics;
}

export class PeerPort {
  /** What is listened on, with the real ports. */
  readonly urls: readonly string[];
  readonly #servers: readonly Listener[];
  #handler: RequestHandler = notYet;

  private constructor(servers: readonly Listener[], urls: readonly string[]) {
    this.#servers = servers;
    this.urls = urls;
    for (const { server, admitted } of servers) {
      server.on("request", (request, response) => {
        const verdict = admitted.get(request.socket);
        if (verdict === undefined) this.#handler(request, response);
        else void verdict.then((good) => (good ? this.#handler(request, response) : request.socket.destroy()));
      });
    }
  }

  /** @throws PeerError PEER_LISTEN_FAILED, PEER_URL_INVALID, PEER_TLS_INVALID; nothing is listened on then */
  static async listen(options: PeerPortOptions): Promise<PeerPort> {
    const servers: Listener[] = [];
    const urls: string[] = [];
    try {
      for (const url of options.listenUrls) {
        const address = peerAddress(url);
        const server = createServer(address, url, options);
        servers.push({ server, sockets: socketsOf(server), admitted: watchCertificates(server, address, options) });
        urls.push(await bind(server, address, url));
      }
    } catch (error) {
      await Promise.all(servers.map(closeServer));
      throw error;
    }
    return new PeerPort(servers, urls);
  }

  /** Gives requests to this handler from now on. */
  serve(handler: RequestHandler): void {
    this.#handler = handler;
  }

  /** Closes every connection. Resolves when none is left. */
  async close(): Promise<void> {
    await Promise.all(this.#servers.map(closeServer));
  }
}

interface Listener {
  readonly server: http.Server;
  readonly sockets: ReadonlySet<Socket>;
  /** Whether the certificate that a connection showed will do. Connections without TLS are not in it. */
  readonly admitted: WeakMap<Socket, Promise<boolean>>;
}

/** Renews our certificate before a connection sees it, and looks at theirs when it has shaken hands. */
function watchCertificates(
  server: http.Server,
  { secure }: PeerAddress,
  { tls, log, metrics }: PeerPortOptions,
): WeakMap<Socket, Promise<boolean>> {
  const admitted = new WeakMap<Socket, Promise<boolean>>();
  if (!secure || tls === undefined) return admitted;
  server.prependListener("connection", (socket: Socket) => {
    void socket.remoteAddress; // a socket that was asked while it stood knows the answer afterwards: a refusal names it
    tls.refresh(server as https.Server);
  });
  const judge = (socket: TLSSocket, why: string | undefined): boolean => {
    if (why === undefined) return true;
    metrics.count("etcd_network_peer_received_failures_total", 1, { From: socket.remoteAddress ?? "unknown" });
    logRefusal(log, REFUSED, socket, why);
    socket.destroy();
    return false;
  };
  server.prependListener("secureConnection", (socket: TLSSocket) => {
    const why = tls.whyRefused(socket);
    if (why instanceof Promise)
      admitted.set(
        socket,
        why.then((found) => judge(socket, found)),
      );
    else judge(socket, why);
  });
  return admitted;
}

/** Every open connection, also one whose handshake is not done and which the server does not count as its own yet. */
function socketsOf(server: http.Server): ReadonlySet<Socket> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  return sockets;
}

function createServer(address: PeerAddress, url: string, options: PeerPortOptions): http.Server {
  const common: http.ServerOptions = {
    maxHeaderSize: PEER_HEADER_BYTES_MAX,
    headersTimeout: options.connectionTimeoutMs,
    connectionsCheckingInterval: options.connectionTimeoutMs / 2,
    keepAliveTimeout: options.connectionTimeoutMs,
    requestTimeout: 0, // a snapshot takes as long as it takes; whoever reads a body watches that it goes on
    highWaterMark: STREAM_WRITE_BYTES,
    noDelay: true,
    keepAlive: true,
  };
  if (address.secure && options.tls === undefined) {
    throw new PeerError(
      "PEER_TLS_INVALID",
      `${url} needs a certificate and a key: --peer-cert-file and --peer-key-file`,
    );
  }
  const server = address.secure
    ? https.createServer({ ...common, ...options.tls!.options(), handshakeTimeout: options.connectionTimeoutMs })
    : http.createServer(common);
  server.maxConnections = options.connectionsMax;
  const refused = (remote: string | undefined, error: string): void => {
    options.metrics.count("etcd_network_peer_received_failures_total", 1, { From: "unknown" });
    options.log.debug(REFUSED, { "remote-addr": remote, error });
  };
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
    refused(socket.remoteAddress, error.message);
    if (socket.writable && error.code !== "ECONNRESET") socket.write(refusalFor(error.code));
    socket.destroySoon();
  });
  server.on("drop", (data) => refused(data?.remoteAddress, `more than ${options.connectionsMax} connections`));
  server.on("tlsClientError", (error: Error, socket: TLSSocket) => {
    options.metrics.count("etcd_network_peer_received_failures_total", 1, { From: "unknown" });
    logRefusal(options.log, REFUSED, socket, error);
  });
  return server;
}

const REFUSED = "rejected connection on peer endpoint";

function refusalFor(code: string | undefined): string {
  const status = /^HPE_HEADER_OVERFLOW$/.test(code ?? "")
    ? "431 Request Header Fields Too Large"
    : code === "ERR_HTTP_REQUEST_TIMEOUT"
      ? "408 Request Timeout"
      : "400 Bad Request";
  return `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`;
}

function bind(server: http.Server, { host, port, secure }: PeerAddress, url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      const why = cause.code === "EADDRINUSE" ? "another process has it" : cause.message;
      reject(new PeerError("PEER_LISTEN_FAILED", `cannot listen on ${url}: ${why}`, { cause }));
    });
    server.listen({ host, port }, () => {
      // From here on the system reports failed accepts (no descriptor left); they end nothing, the other side sees a reset.
      server.removeAllListeners("error");
      server.on("error", () => undefined);
      const shown = host.includes(":") ? `[${host}]` : host;
      resolve(`${secure ? "https" : "http"}://${shown}:${(server.address() as AddressInfo).port}`);
    });
  });
}

function closeServer({ server, sockets }: Listener): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    for (const socket of sockets) socket.destroy();
  });
}

/** Before the member is up. Others ask again. */
function notYet(_request: http.IncomingMessage, response: http.ServerResponse): void {
  response.writeHead(503, { "Content-Type": "text/plain; charset=utf-8", Connection: "close" });
  response.end("member is not serving yet\n");
}
