/** A network in memory: streams between addresses of the same `SimNetwork`, delivered in order, one microtask later. */
import { NetworkError, type Address, type Connection, type Listener, type Network } from "../src/platform/index.js";

/** Bytes on their way in one direction over which `write` answers false, as a socket's buffer does. */
const HIGH_WATER_BYTES = 64 * 1024;

function keyOf(address: Address): string {
  return address.kind === "unix" ? `unix:${address.path}` : `${address.host}:${address.port}`;
}

export class SimNetwork implements Network {
  readonly #listeners = new Map<string, (connection: Connection) => void>();
  #portLast = 40_000;

  listen(address: Address, onConnection: (connection: Connection) => void): Promise<Listener> {
    const bound = address.kind === "tcp" && address.port === 0 ? { ...address, port: ++this.#portLast } : address;
    const key = keyOf(bound);
    if (this.#listeners.has(key)) {
      return Promise.reject(new NetworkError("NETWORK_IN_USE", `listening on ${key} failed with EADDRINUSE`));
    }
    this.#listeners.set(key, onConnection);
    return Promise.resolve({
      address: bound,
      close: () => {
        this.#listeners.delete(key);
        return Promise.resolve();
      },
    });
  }

  connect(address: Address): Promise<Connection> {
    const key = keyOf(address);
    const onConnection = this.#listeners.get(key);
    if (onConnection === undefined) {
      return Promise.reject(new NetworkError("NETWORK_REFUSED", `connecting to ${key} failed with ECONNREFUSED`));
    }
    const [near, far] = [new SimConnection(key), new SimConnection("sim")];
    near.peer = far;
    far.peer = near;
    far.pauseReading();
    void afterHandover().then(() => {
      far.resumeReading(); // what arrived meanwhile is handed over in a microtask, when the handlers are set
      onConnection(far);
    });
    return Promise.resolve(near);
  }
}

/**
 * The caller of `connect` has its connection, and has set its handlers, before the other side hears of it: through as many as three
 * async functions, each of which hands a promise on in up to three microtasks.
 */
async function afterHandover(): Promise<void> {
  for (let hop = 0; hop < 10; hop++) await Promise.resolve();
}

class SimConnection implements Connection {
  readonly remote: string;
  onData: (bytes: Uint8Array) => void = () => undefined;
  onClose: (error: NetworkError | undefined) => void = () => undefined;
  onDrain: () => void = () => undefined;
  peer: SimConnection | undefined;

  /** What arrived and was not handed over yet; `end` is the other side's last word. */
  #arrived: (Uint8Array | "end")[] = [];
  #arrivedBytes = 0;
  #paused = false;
  #pumping = false;
  #ended = false;
  #closed = false;
  #mustDrain = false;

  constructor(remote: string) {
    this.remote = remote;
  }

  write(bytes: Uint8Array): boolean {
    if (this.#ended || this.#closed) return true;
    this.#mustDrain = this.#deliver(bytes.slice()) > HIGH_WATER_BYTES;
    return !this.#mustDrain;
  }

  pauseReading(): void {
    this.#paused = true;
  }

  resumeReading(): void {
    this.#paused = false;
    this.#pump();
  }

  end(): void {
    if (this.#ended || this.#closed) return;
    this.#ended = true;
    this.#deliver("end");
  }

  destroy(): void {
    this.#close(undefined);
    const { peer } = this;
    if (peer === undefined) return;
    queueMicrotask(() => peer.#close(new NetworkError("NETWORK_RESET", `${peer.remote} went away (ECONNRESET)`)));
  }

  /** Puts a piece on its way to the other side; answers the bytes that wait there. */
  #deliver(piece: Uint8Array | "end"): number {
    const { peer } = this;
    if (peer === undefined || peer.#closed) return 0;
    peer.#arrived.push(piece);
    if (piece !== "end") peer.#arrivedBytes += piece.length;
    peer.#pump();
    return peer.#arrivedBytes;
  }

  /** Hands over what arrived, piece by piece, each in a microtask of its own. */
  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    queueMicrotask(() => {
      this.#pumping = false;
      if (this.#paused || this.#closed) return;
      const next = this.#arrived.shift();
      if (next === undefined) return;
      if (next === "end") {
        // As Node's sockets do by themselves: the other side has said all, so this side ends, too.
        this.end();
        this.#close(undefined);
        return;
      }
      this.#arrivedBytes -= next.length;
      this.onData(next);
      const { peer } = this;
      if (peer !== undefined) peer.#drained(this.#arrivedBytes);
      this.#pump();
    });
  }

  #drained(left: number): void {
    if (!this.#mustDrain || left > HIGH_WATER_BYTES || this.#closed) return;
    this.#mustDrain = false;
    this.onDrain();
  }

  #close(error: NetworkError | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.onClose(error);
  }
}
