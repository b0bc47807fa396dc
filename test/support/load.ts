/**
 * Load on a cluster: clients that put through all members, go on when one of them fails, and know of every call how it ended.
 *
 * A call leaves once and is never repeated: a put of which nobody knows whether it happened stays unknown, and the next one
 * has another key. Every call is bounded in time, and so is every attempt to connect; a connection that is silent after a
 * call ran out of time is given up, since the packets of a cut network come back late.
 *
 * The clients speak gRPC by `node:http2` alone, which costs a third of a client library: on a small machine the load takes
 * its share from the servers that it tests.
 */
import {
  connect,
  constants,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type IncomingHttpHeaders,
} from "node:http2";
import { asBytes, METHODS, revisionOf, type Method } from "./client.js";
import { valueOf, type PutLedger } from "./ledger.js";
import { decode, encode, type Message } from "./messages.js";

/** How a call ended, as far as its caller can know. */
export type Outcome =
  | { readonly kind: "answered"; readonly response: Message }
  | { readonly kind: "refused"; readonly why: string } //  it certainly did not happen
  | { readonly kind: "unknown"; readonly why: string }; // it may have happened, or may happen yet

const CALL_TIMEOUT_MS = 2_000;
const CONNECT_TIMEOUT_MS = 1_000;
/** etcd closes a connection on which pings come more often than every five seconds. */
const PROBE_EVERY_MS = 6_000;
/** A member that cannot be reached is left alone for so long, or the lanes would do nothing but knock at its door. */
const AWAY_MS = 50;

/** Status codes of gRPC with which a server refuses what it did not begin: the request, or the state, does not allow it. */
const CERTAIN_REFUSALS = new Set([3, 5, 6, 7, 8, 9, 11, 12, 16]);
const HEADERS = { ":method": "POST", "content-type": "application/grpc", te: "trailers" };
/** Before a message: 1 byte for "not compressed", 4 for its length. */
const DATA_HEAD_BYTES = 5;

/** One connection to one member: opened when it is needed, and again after it broke. */
export class Connection {
  readonly address: string;
  #session: Promise<ClientHttp2Session> | undefined;
  #probedAt = -Infinity;
  #closed = false;

  /** @param address host and port */
  constructor(address: string) {
    this.address = address;
  }

  /** Calls a method once. Never rejects. */
  async call(method: Method, request: Message, timeoutMs = CALL_TIMEOUT_MS): Promise<Outcome> {
    const { path, request: requestName, response: responseName } = METHODS[method];
    const begin = performance.now();
    let session: ClientHttp2Session;
    let stream: ClientHttp2Stream;
    try {
      session = await this.#open();
      stream = session.request({ ...HEADERS, ":path": path });
    } catch (error) {
      return { kind: "refused", why: (error as Error).message };
    }
    const restMs = Math.max(1, timeoutMs - (performance.now() - begin));
    const ending = await unary(stream, encode(requestName, request), restMs);
    if (ending.late) this.#probe(session);
    if (ending.status === 0 && ending.message !== undefined)
      return { kind: "answered", response: decode(responseName, ending.message) };
    const certain = ending.status !== undefined && CERTAIN_REFUSALS.has(ending.status);
    return { kind: certain ? "refused" : "unknown", why: ending.why };
  }

  close(): void {
    this.#closed = true;
    this.#session?.then(
      (session) => session.destroy(),
      () => {},
    );
  }

  async #open(): Promise<ClientHttp2Session> {
    if (this.#closed) throw new Error("the load has ended");
    if (this.#session === undefined) {
      const opening = openSession(this.address, () => {
        if (this.#session === opening) this.#session = undefined;
      });
      this.#session = opening;
    }
    return this.#session;
  }

  /** Gives a connection up that does not answer. */
  #probe(session: ClientHttp2Session): void {
    const now = performance.now();
    if (session.destroyed || now - this.#probedAt < PROBE_EVERY_MS) return;
    this.#probedAt = now;
    const timer = setTimeout(() => session.destroy(), CONNECT_TIMEOUT_MS);
    session.ping(() => clearTimeout(timer));
  }
}

/** @param onUnusable called, once or more, when no new call may use the session */
async function openSession(address: string, onUnusable: () => void): Promise<ClientHttp2Session> {
  return new Promise((resolve, reject) => {
    const session = connect(`http://${address}`);
    const timer = setTimeout(() => session.destroy(new Error("no connection in time")), CONNECT_TIMEOUT_MS);
    const leave = (why: string): void => {
      clearTimeout(timer);
      onUnusable();
      reject(new Error(why));
    };
    session.on("error", (error) => leave(error.message));
    session.on("goaway", onUnusable);
    session.on("close", () => leave("the connection was closed"));
    session.on("connect", () => {
      clearTimeout(timer);
      resolve(session);
    });
  });
}

/** How a stream ended: `status` is gRPC's where the server told one. */
interface Ending {
  readonly status: number | undefined;
  readonly message: Uint8Array | undefined;
  readonly why: string;
  readonly late: boolean;
}

/** Sends the one message of a call and waits for its end. */
async function unary(stream: ClientHttp2Stream, message: Uint8Array, timeoutMs: number): Promise<Ending> {
  return new Promise((resolve) => {
    const parts: Buffer[] = [];
    let status: number | undefined;
    let why = "the stream ended without a status";
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      stream.close(constants.NGHTTP2_CANCEL);
    }, timeoutMs);
    const tell = (headers: IncomingHttpHeaders): void => {
      if (headers["grpc-status"] === undefined) return;
      status = Number(headers["grpc-status"]);
      why = `code ${status}: ${decodeURIComponent(headers["grpc-message"]?.toString() ?? "")}`;
    };
    stream.on("response", tell);
    stream.on("trailers", tell);
    stream.on("data", (part: Buffer) => parts.push(part));
    stream.on("error", (error) => (why = error.message));
    stream.on("close", () => {
      clearTimeout(timer);
      const bytes = Buffer.concat(parts);
      const whole = bytes.length >= DATA_HEAD_BYTES && bytes.length === DATA_HEAD_BYTES + bytes.readUInt32BE(1);
      resolve({
        status,
        message: whole ? bytes.subarray(DATA_HEAD_BYTES) : undefined,
        why: late ? "no answer in time" : why,
        late,
      });
    });
    const head = Buffer.alloc(DATA_HEAD_BYTES);
    head.writeUInt32BE(message.length, 1);
    stream.end(Buffer.concat([head, message]));
  });
}

export interface LoadOptions {
  /** The members to talk to now, host and port; asked before every put. */
  readonly addresses: () => readonly string[];
  /** Each has connections of its own. */
  readonly clients: number;
  /** Of each client. */
  readonly inFlight: number;
  /** No more puts a second than this, all clients together. */
  readonly perSecond?: number;
  readonly callTimeoutMs?: number;
}

/** Waits for an acknowledgement: of the put with this number, or of one that began after a moment. */
interface Waiter {
  readonly wants: (acknowledged: number, begunAt: number) => boolean;
  readonly resolve: (at: number) => void;
}

/** Puts of 256 bytes that go on until they are told to stop, each with a key of its own, written down in a ledger. */
export class PutLoad {
  readonly #options: LoadOptions;
  readonly #ledger: PutLedger;
  readonly #waiters = new Set<Waiter>();
  readonly #endings = new Map<string, number>();
  readonly #lanes: Promise<void>[];
  #number = 0;
  #acknowledged = 0;
  #unknown = 0;
  #stopped = false;
  /** When the next put may leave, where there are only so many a second. */
  #nextAt = 0;

  /** Begins at once. */
  constructor(ledger: PutLedger, options: LoadOptions) {
    this.#ledger = ledger;
    this.#options = options;
    this.#lanes = Array.from({ length: options.clients }, (_, client) => this.#client(client));
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  /** Puts of which nobody knows whether they happened. */
  get unknown(): number {
    return this.#unknown;
  }

  /** Why puts were not acknowledged, and how often. */
  get endings(): ReadonlyMap<string, number> {
    return this.#endings;
  }

  /** Waits until so many puts were acknowledged. @throws when there is none for a minute */
  async reach(acknowledged: number): Promise<void> {
    if (this.#acknowledged >= acknowledged) return;
    await this.#wait(`${acknowledged} acknowledged puts`, (count) => count >= acknowledged);
  }

  /**
   * When (`performance.now`) the first put was acknowledged that began from now on. The lanes may all wait for calls that
   * were lost with a leader, so puts go out beside them, one every 10 ms. @throws when none is acknowledged for a minute
   */
  async firstFromNow(): Promise<number> {
    const begin = performance.now();
    const first = this.#wait("a put to be acknowledged", (_, begunAt) => begunAt > begin);
    const ended = first.then(
      () => true,
      () => true,
    );
    const connections = new Map<string, Connection>();
    const puts: Promise<unknown>[] = [];
    let turn = 0;
    do {
      const addresses = this.#options.addresses();
      puts.push(this.#putAt(addresses[turn++ % addresses.length]!, "first", connections));
    } while (!(await Promise.race([ended, pause(FIRST_EVERY_MS)])));
    this.#lanes.push(
      Promise.all(puts).then(() => {
        for (const connection of connections.values()) connection.close();
      }),
    );
    return first;
  }

  /** Ends the load; resolves when nothing is in flight. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#lanes);
  }

  /** One client: its connections, shared by its lanes. */
  async #client(client: number): Promise<void> {
    const connections = new Map<string, Connection>();
    const awayUntil = new Map<string, number>();
    const lane = async (lane: number): Promise<void> => {
      for (let turn = lane; !this.#stopped; turn++) {
        await this.#pace();
        const address = await pickMember(this.#options.addresses(), awayUntil, turn);
        const acknowledged = await this.#putAt(address, String(client), connections);
        if (!acknowledged) awayUntil.set(address, performance.now() + AWAY_MS);
      }
    };
    await Promise.all(Array.from({ length: this.#options.inFlight }, async (_, number) => lane(client + number)));
    for (const connection of connections.values()) connection.close();
  }

  /** One put; false when it was not acknowledged. */
  async #putAt(address: string, client: string, connections: Map<string, Connection>): Promise<boolean> {
    let connection = connections.get(address);
    if (connection === undefined) connections.set(address, (connection = new Connection(address)));
    const key = `${this.#ledger.prefix}${client}/${this.#number++}`;
    this.#ledger.attempt(key);
    const begunAt = performance.now();
    const request = { key: asBytes(key), value: asBytes(valueOf(key)) };
    const outcome = await connection.call("Put", request, this.#options.callTimeoutMs);
    if (outcome.kind === "answered") {
      this.#ledger.acknowledge(key, revisionOf(outcome.response));
      this.#acknowledged++;
      this.#wake(begunAt);
      return true;
    }
    if (outcome.kind === "unknown") this.#unknown++;
    const ending = `${outcome.kind}: ${outcome.why.replace(/ [\d.]+:\d+$/, "")}`; // whichever member it was
    this.#endings.set(ending, (this.#endings.get(ending) ?? 0) + 1);
    return false;
  }

  async #pace(): Promise<void> {
    const { perSecond } = this.#options;
    if (perSecond === undefined) return;
    const now = performance.now();
    this.#nextAt = Math.max(this.#nextAt, now) + 1000 / perSecond;
    if (this.#nextAt - now > 1) await pause(this.#nextAt - now);
  }

  #wake(begunAt: number): void {
    for (const waiter of this.#waiters) {
      if (waiter.wants(this.#acknowledged, begunAt)) waiter.resolve(performance.now());
    }
  }

  async #wait(what: string, wants: Waiter["wants"]): Promise<number> {
    return new Promise((resolve, reject) => {
      let seen = this.#acknowledged;
      const end = (): void => {
        clearInterval(watchdog);
        this.#waiters.delete(waiter);
      };
      const waiter: Waiter = {
        wants,
        resolve: (at) => {
          end();
          resolve(at);
        },
      };
      const watchdog = setInterval(() => {
        if (this.#acknowledged === seen) {
          end();
          reject(new Error(`waited for ${what}: ${this.#describeSilence()}`));
        }
        seen = this.#acknowledged;
      }, SILENCE_MS);
      this.#waiters.add(waiter);
    });
  }

  #describeSilence(): string {
    const endings = [...this.#endings].sort(([, a], [, b]) => b - a).slice(0, 5);
    const told = endings.map(([ending, times]) => `${times} x ${ending}`).join("; ");
    return `no put was acknowledged for ${SILENCE_MS / 1000} s, ${this.#acknowledged} before; puts ended so: ${told}`;
  }
}

const FIRST_EVERY_MS = 10;
/** A cluster that acknowledges nothing for so long does not come back by itself. */
const SILENCE_MS = 60_000;

/** The next member in turn that did not just fail; when all did, the one that failed first, as soon as it may be asked again. */
async function pickMember(
  addresses: readonly string[],
  awayUntil: ReadonlyMap<string, number>,
  turn: number,
): Promise<string> {
  const until = (address: string): number => awayUntil.get(address) ?? 0;
  const now = performance.now();
  const inTurn = addresses.map((_, i) => addresses[(turn + i) % addresses.length]!);
  const ready = inTurn.find((address) => until(address) <= now);
  if (ready !== undefined) return ready;
  const first = inTurn.reduce((best, address) => (until(address) < until(best) ? address : best));
  await pause(until(first) - now);
  return first;
}

async function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
