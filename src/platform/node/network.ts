/** The real network, over `node:net`. */
import * as net from "node:net";
import { NetworkError, type Address, type Connection, type Listener, type Network } from "../network.js";

const CODES: Readonly<Record<string, NetworkError["code"]>> = {
  ECONNREFUSED: "NETWORK_REFUSED",
  ENOENT: "NETWORK_REFUSED", // a unix socket that nobody made
  EADDRINUSE: "NETWORK_IN_USE",
  EADDRNOTAVAIL: "NETWORK_UNREACHABLE",
  EHOSTUNREACH: "NETWORK_UNREACHABLE",
  ENETUNREACH: "NETWORK_UNREACHABLE",
  ENOTFOUND: "NETWORK_UNREACHABLE",
  EAI_AGAIN: "NETWORK_UNREACHABLE",
  ETIMEDOUT: "NETWORK_UNREACHABLE",
  ECONNRESET: "NETWORK_RESET",
  EPIPE: "NETWORK_RESET",
};

function describe(address: Address): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  return address.host.includes(":") ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

function wrap(error: Error, action: string): NetworkError {
  const system = (error as NodeJS.ErrnoException).code ?? "EIO";
  return new NetworkError(CODES[system] ?? "NETWORK_IO", `${action} failed with ${system}`, { cause: error });
}

function optionsOf(address: Address): { path: string } | { host: string; port: number } {
  return address.kind === "unix" ? { path: address.path } : { host: address.host, port: address.port };
}

export class NodeNetwork implements Network {
  listen(address: Address, onConnection: (connection: Connection) => void): Promise<Listener> {
    return new Promise((resolve, reject) => {
      const server = net.createServer({ noDelay: true }, (socket) => onConnection(new NodeConnection(socket)));
      server.once("error", (error) => reject(wrap(error, `listening on ${describe(address)}`)));
      server.listen(optionsOf(address), () => {
        // From here on the system reports failed accepts (no descriptor left); they end nothing, the client sees a reset.
        server.removeAllListeners("error");
        server.on("error", () => undefined);
        resolve(new NodeListener(server, address));
      });
    });
  }

  connect(address: Address): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const socket = net.connect({ ...optionsOf(address), noDelay: true });
      const onError = (error: Error): void => reject(wrap(error, `connecting to ${describe(address)}`));
      socket.once("error", onError);
      socket.once("connect", () => {
        socket.off("error", onError);
        resolve(new NodeConnection(socket));
      });
    });
  }
}

class NodeListener implements Listener {
  readonly address: Address;
  readonly #server: net.Server;

  constructor(server: net.Server, wanted: Address) {
    this.#server = server;
    const bound = server.address();
    const port = bound !== null && typeof bound === "object" ? bound.port : 0;
    this.address = wanted.kind === "unix" ? wanted : { ...wanted, port };
  }

  /** The address is free when it resolves. Connections live on: they are their owner's. */
  close(): Promise<void> {
    this.#server.close();
    return new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}

class NodeConnection implements Connection {
  readonly remote: string;
  onData: (bytes: Uint8Array) => void = () => undefined;
  onClose: (error: NetworkError | undefined) => void = () => undefined;
  onDrain: () => void = () => undefined;
  readonly #socket: net.Socket;

  constructor(socket: net.Socket) {
    this.#socket = socket;
    this.remote = socket.remoteAddress === undefined ? "unix" : `${socket.remoteAddress}:${socket.remotePort ?? 0}`;
    let failure: NetworkError | undefined;
    socket.on("data", (bytes: Uint8Array) => this.onData(bytes));
    socket.on("drain", () => this.onDrain());
    socket.on("error", (error) => {
      failure = wrap(error, `the connection with ${this.remote}`);
    });
    socket.on("close", () => this.onClose(failure));
  }

  write(bytes: Uint8Array): boolean {
    return this.#socket.write(bytes);
  }

  pauseReading(): void {
    this.#socket.pause();
  }

  resumeReading(): void {
    this.#socket.resume();
  }

  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}
