/**
 * One port for gRPC and HTTP/1.1, with or without TLS, or both. A connection that begins as HTTP/2's preface does ("PRI", which is no
 * HTTP/1.1 method) goes to the gRPC server, one that begins with a letter to the HTTP server. Over TLS the two agree on the protocol while
 * they shake hands (ALPN); a client that does not take part in that is told apart by its first bytes, too. Who speaks what the port does
 * not serve is cut off without a word, as etcd does it.
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
import type { ClientSecurity } from "./handler.js";
import { GRPC_LIMITS, type GrpcLimits } from "./limits.js";
import type { GrpcServer } from "./server.js";
import type { HttpServer } from "./http.js";

export class PortError extends CodedError<"PORT_IN_USE" | "PORT_UNUSABLE"> {
  override readonly name = "PortError";
}

export interface SharedPortDependencies {
  readonly clock: Clock;
  /** Serves HTTP/2; nobody does where it is left out. */
  readonly grpc?: GrpcServer | undefined;
  /** Serves HTTP/1.1; nobody does where it is left out. */
  readonly http?: HttpServer | undefined;
  readonly tls?: PortTls | undefined;
  /** Serves clients without TLS beside those with it. Where there is no TLS they are always served. */
  readonly plainToo?: boolean;
}

/** Who speaks TLS on a port, and with whom. */
export interface PortTls {
  /** Certificates, authorities and versions as `node:tls` has them. */
  options(): tls.TlsOptions;
  /** Takes over renewed files: a client is about to shake hands. */
  refresh?(server: tls.Server): void;
  /** Why a client that has shaken hands is sent away; undefined where it is welcome. */
  whyRefused?(socket: tls.TLSSocket): string | undefined | Promise<string | undefined>;
  /** The common name of the certificate that a client had to show. */
  commonName?(socket: tls.TLSSocket): string | undefined;
  /** Told of a client that was sent away, with what the handshake failed with or with `whyRefused`. */
  refused?(socket: tls.TLSSocket, why: Error | string): void;
}

/** What the port speaks inside TLS, in the order of its liking. */
const PROTOCOLS = ["h2", "http/1.1"];

/** "PRI": three bytes are enough, and every client sends more at once. */
const PREFACE = Buffer.from("PRI");
/** The first byte of a client that wants to shake hands. */
const TLS_HANDSHAKE = 0x16;
/** Ciphers of TLS 1.2 that HTTP/2 may be spoken over (RFC 9113, appendix A, names the others), by their standard names. */
const FIT_FOR_HTTP2 = /^TLS_(ECDHE|DHE)_.*(GCM|CCM|CHACHA20)|^TLS_(?!.*_WITH_)/;

type Speech = "tls" | "http2" | "http1" | "other";

/** What a connection begins with; undefined until it has said enough. */
function speechOf(first: Buffer): Speech | undefined {
  if (first[0] === TLS_HANDSHAKE) return "tls";
  const known = Math.min(first.length, PREFACE.length);
  if (first.subarray(0, known).equals(PREFACE.subarray(0, known))) return known < PREFACE.length ? undefined : "http2";
  return /^[A-Za-z]/.test(first.toString("latin1", 0, 1)) ? "http1" : "other";
}

export interface PortLimits {
  /** Connections at the same time; any number when left out. One more is closed at once. */
  readonly connectionsMax?: number | undefined;
  /** Told of each that was closed for that. */
  readonly onFull?: () => void;
}

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
  static async bind(address: Address, { connectionsMax, onFull }: PortLimits = {}): Promise<BoundPort> {
    // Nothing is read of a connection before there is someone to serve it.
    const server = net.createServer({ noDelay: true, pauseOnConnect: true });
    if (connectionsMax !== undefined) server.maxConnections = connectionsMax;
    if (onFull !== undefined) server.on("drop", onFull);
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
    const { tlsHandshakeMs, firstBytesMs } = this.#limits;
    this.#awaitSpeech(socket, this.#secure === undefined ? firstBytesMs : tlsHandshakeMs, (speech) => {
      const { tls: secure, plainToo = false } = this.#dependencies;
      if (secure !== undefined && (speech === "tls" || !plainToo)) this.#shakeHands(socket, secure);
      else if (speech === "http1" || speech === "http2") this.#serve(socket, speech);
      else socket.destroy();
    });
  }

  get #limits(): GrpcLimits {
    return this.#dependencies.grpc?.limits ?? GRPC_LIMITS;
  }

  #serve(socket: net.Socket, speech: "http1" | "http2", security?: ClientSecurity): void {
    const { grpc, http } = this.#dependencies;
    // Where there is no HTTP/1.1, its clients are answered by HTTP/2's server: in its own way, which they understand as little.
    const server = speech === "http1" ? (http ?? grpc) : grpc;
    if (server === undefined) socket.destroy();
    else server.accept(socket, security);
  }

  #shakeHands(socket: net.Socket, secure: PortTls): void {
    void socket.remoteAddress; // a socket that was asked while it stood knows the answer afterwards: a refusal names it
    secure.refresh?.(this.#secure!);
    this.#secure!.emit("connection", socket);
  }

  #createSecure(secure: PortTls): tls.Server {
    const { tlsHandshakeMs: handshakeTimeout } = this.#limits;
    const server = tls.createServer({ handshakeTimeout, ...secure.options(), ALPNProtocols: PROTOCOLS });
    // A handshake that fails or takes too long. Without a listener Node would leave the socket open.
    server.on("tlsClientError", (error, socket) => {
      this.#refuse(socket, secure, error);
    });
    server.on("secureConnection", (socket) => {
      socket.on("error", () => socket.destroy());
      // Whatever a certificate makes of those who look at it ends this connection and nothing else.
      void (async () => {
        const why = secure.whyRefused?.(socket);
        this.#admit(socket, secure, why instanceof Promise ? await why : why);
      })().catch((error: Error) => this.#refuse(socket, secure, error));
    });
    return server;
  }

  #refuse(socket: tls.TLSSocket, secure: PortTls, why: Error | string): void {
    secure.refused?.(socket, why);
    socket.destroy();
  }

  #admit(socket: tls.TLSSocket, secure: PortTls, why: string | undefined): void {
    if (socket.destroyed) return;
    if (why !== undefined) {
      this.#refuse(socket, secure, why);
      return;
    }
    const security: ClientSecurity = { commonName: secure.commonName?.(socket) };
    if (socket.alpnProtocol === "h2" && !FIT_FOR_HTTP2.test(socket.getCipher().standardName)) {
      this.#refuse(socket, secure, "tls: this cipher suite is not for HTTP/2");
    } else if (socket.alpnProtocol === "h2") this.#serve(socket, "http2", security);
    else if (socket.alpnProtocol === "http/1.1") this.#serve(socket, "http1", security);
    else {
      this.#awaitSpeech(socket, this.#limits.firstBytesMs, (speech) =>
        this.#serve(socket, speech === "http2" ? "http2" : "http1", security),
      );
    }
  }

  /** Waits for the first bytes of a connection, and puts them back once they tell what it speaks. */
  #awaitSpeech(socket: net.Socket, patienceMs: number, decide: (speech: Speech) => void): void {
    const timer = this.#dependencies.clock.after(patienceMs, () => socket.destroy());
    socket.on("close", () => timer.cancel());
    // Put back only once it is known where to: unshift makes the socket readable again at once.
    let first = Buffer.alloc(0);
    const look = (): void => {
      const chunk = socket.read() as Buffer | null;
      if (chunk === null) return;
      first = Buffer.concat([first, chunk]);
      const speech = speechOf(first);
      if (speech === undefined) return;
      socket.off("readable", look);
      timer.cancel();
      socket.unshift(first);
      decide(speech);
    };
    socket.on("readable", look);
  }

  /** Takes no more connections; lets calls under way end, and cuts them off after `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => void this.#server.close(() => resolve()));
    const { grpc, http } = this.#dependencies;
    await Promise.all([grpc?.stop(graceMs), http?.stop(graceMs)]);
    this.destroy();
    await closed;
  }

  /** Closes everything at once. */
  destroy(): void {
    this.#dependencies.grpc?.destroy();
    this.#dependencies.http?.destroy();
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
