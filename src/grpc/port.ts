/**
 * One port for gRPC and HTTP/1.1. A connection that begins as HTTP/2's preface does ("PRI", which is no HTTP/1.1 method) goes to the
 * gRPC server, any other to the HTTP server. Over TLS the two agree on the protocol while they shake hands (ALPN); a client that does
 * not take part in that is told apart by its first bytes, too.
 *
 * A `BoundPort` has its address and serves nobody yet: who comes waits. It becomes a `SharedPort` when there is something to serve.
 *
 * Laws: a connection that says nothing is closed in time; after `stop` has resolved no socket is left.
 */
import net from "node:net";
import tls from "node:tls";
import { stat, unlink } from "node:fs/promises";
import { CodedError } from "../base/errors.js";
import type { Clock } from "../platform/clock.js";
import type { Address } from "../platform/network.js";
import type { GrpcServer } from "./server.js";
import type { HttpServer } from "./http.js";

export class PortError extends CodedError<"PORT_IN_USE" | "PORT_UNUSABLE"> {
  override readonly name = "PortError";
}

export interface SharedPortDependencies {
  readonly clock: Clock;
  readonly grpc: GrpcServer;
  readonly http: HttpServer;
  /** With it the port speaks TLS, and nothing else. Certificates, authorities and versions as `node:tls` has them. */
  readonly tls?: tls.TlsOptions;
}

/** What the port speaks inside TLS, in the order of its liking. */
const PROTOCOLS = ["h2", "http/1.1"];

/** "PRI": three bytes are enough, and every client sends more at once. */
const PREFACE = Buffer.from("PRI");

/** Connections that may wait for a port to serve; more are closed, and come again. */
const WAITING_MAX = 1_024;

export class BoundPort {
  readonly #server: net.Server;
  readonly #waiting = new Set<net.Socket>();
  readonly #hold = (socket: net.Socket): void => {
    socket.on("error", () => socket.destroy());
    if (this.#waiting.size >= WAITING_MAX) {
      socket.destroy();
      return;
    }
    this.#waiting.add(socket);
    socket.once("close", () => this.#waiting.delete(socket));
  };
  /** Where it listens, with the port that the system chose. */
  readonly address: Address;

  private constructor(server: net.Server, address: Address) {
    this.#server = server;
    this.address = address;
    server.on("connection", this.#hold);
  }

  /** @throws PortError `PORT_IN_USE`, `PORT_UNUSABLE` with the address and what to do */
  static async bind(address: Address): Promise<BoundPort> {
    // Nothing is read of a connection before there is someone to serve it.
    const server = net.createServer({ noDelay: true, pauseOnConnect: true });
    try {
      await listen(server, address);
    } catch (error) {
      if (!(await removeDeadSocket(address, error as NodeJS.ErrnoException)))
        throw refusal(address, error as NodeJS.ErrnoException);
      await listen(server, address).catch((again: NodeJS.ErrnoException) => {
        throw refusal(address, again);
      });
    }
    const bound = server.address();
    const port = typeof bound === "object" && bound !== null ? bound.port : 0;
    return new BoundPort(server, address.kind === "tcp" ? { ...address, port } : address);
  }

  /** Serves who waited and who comes. This object is used up then. */
  serve(dependencies: SharedPortDependencies): SharedPort {
    this.#server.off("connection", this.#hold);
    return new SharedPort(this.#server, this.address, dependencies, [...this.#waiting]);
  }

  /** Gives the address back; who waits is cut off. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => void this.#server.close(() => resolve()));
    for (const socket of this.#waiting) socket.destroy();
    await closed;
  }
}

function listen(server: net.Server, address: Address): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.once("listening", () => {
      server.off("error", reject);
      resolve();
    });
    if (address.kind === "unix") server.listen(address.path);
    else server.listen(address.port, address.host);
  });
}

/** A process that was killed leaves its socket's file, at which nobody answers. A file that is no socket stays, and is refused. */
async function removeDeadSocket(address: Address, error: NodeJS.ErrnoException): Promise<boolean> {
  if (address.kind !== "unix" || error.code !== "EADDRINUSE") return false;
  const { path } = address;
  const answer = await new Promise<string | undefined>((resolve) => {
    const probe = net.connect({ path });
    probe.once("connect", () => {
      probe.destroy();
      resolve(undefined);
    });
    probe.once("error", (failure: NodeJS.ErrnoException) => resolve(failure.code));
  });
  if (answer !== "ECONNREFUSED" || !(await isSocket(path))) return false;
  await unlink(path).catch(() => undefined); // where it cannot be removed the second attempt says so
  return true;
}

async function isSocket(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isSocket(),
    () => false,
  );
}

export class SharedPort {
  readonly #dependencies: SharedPortDependencies;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  /** Never listens: connections are handed to it. */
  readonly #secure: tls.Server | undefined;
  /** Where it listens, with the port that the system chose. */
  readonly address: Address;

  /** Made by `BoundPort.serve`. */
  constructor(
    server: net.Server,
    address: Address,
    dependencies: SharedPortDependencies,
    waiting: readonly net.Socket[],
  ) {
    this.#server = server;
    this.address = address;
    this.#dependencies = dependencies;
    if (dependencies.tls !== undefined) this.#secure = this.#createSecure(dependencies.tls);
    server.on("connection", (socket) => this.#onConnection(socket));
    for (const socket of waiting) this.#onConnection(socket);
  }

  /** @throws PortError `PORT_IN_USE`, `PORT_UNUSABLE` with the address and what to do */
  static async listen(address: Address, dependencies: SharedPortDependencies): Promise<SharedPort> {
    return (await BoundPort.bind(address)).serve(dependencies);
  }

  #onConnection(socket: net.Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#sockets.delete(socket));
    if (this.#secure === undefined) this.#tellApart(socket);
    else this.#secure.emit("connection", socket);
  }

  #createSecure(options: tls.TlsOptions): tls.Server {
    const handshakeTimeout = this.#dependencies.grpc.limits.tlsHandshakeMs;
    const secure = tls.createServer({ handshakeTimeout, ...options, ALPNProtocols: PROTOCOLS });
    // A handshake that fails or takes too long. Without a listener Node would leave the socket open.
    secure.on("tlsClientError", (_error, socket) => socket.destroy());
    secure.on("secureConnection", (socket) => {
      socket.on("error", () => socket.destroy());
      if (socket.alpnProtocol === "h2") this.#dependencies.grpc.accept(socket);
      else if (socket.alpnProtocol === "http/1.1") this.#dependencies.http.accept(socket);
      else this.#tellApart(socket);
    });
    return secure;
  }

  #tellApart(socket: net.Socket): void {
    const { firstBytesMs } = this.#dependencies.grpc.limits;
    const timer = this.#dependencies.clock.after(firstBytesMs, () => socket.destroy());
    socket.on("close", () => timer.cancel());
    // Put back only once it is known where to: unshift makes the socket readable again at once.
    let first = Buffer.alloc(0);
    const look = (): void => {
      const chunk = socket.read() as Buffer | null;
      if (chunk === null) return;
      first = Buffer.concat([first, chunk]);
      const known = Math.min(first.length, PREFACE.length);
      const mayBeHttp2 = first.subarray(0, known).equals(PREFACE.subarray(0, known));
      if (mayBeHttp2 && known < PREFACE.length) return;
      socket.off("readable", look);
      timer.cancel();
      socket.unshift(first);
      if (mayBeHttp2) this.#dependencies.grpc.accept(socket);
      else this.#dependencies.http.accept(socket);
    };
    socket.on("readable", look);
  }

  /** Takes no more connections; lets calls under way end, and cuts them off after `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => void this.#server.close(() => resolve()));
    await Promise.all([this.#dependencies.grpc.stop(graceMs), this.#dependencies.http.stop(graceMs)]);
    this.destroy();
    await closed;
  }

  /** Closes everything at once. */
  destroy(): void {
    this.#dependencies.grpc.destroy();
    this.#dependencies.http.destroy();
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }
}

function refusal(address: Address, cause: NodeJS.ErrnoException): PortError {
  const place = address.kind === "unix" ? address.path : `${address.host}:${address.port}`;
  if (cause.code === "EADDRINUSE") {
    const detail = `${place} is in use: stop what listens there, or choose another --listen-client-urls`;
    return new PortError("PORT_IN_USE", detail, { cause });
  }
  return new PortError("PORT_UNUSABLE", `cannot listen on ${place} (${cause.code ?? cause.message})`, { cause });
}
