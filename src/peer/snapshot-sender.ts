/**
 * One snapshot on its way to another member: a request with a connection of its own, so that no heart-beat waits behind it.
 *
 * Law: how it ended is told exactly once, and its database is let go whatever happens.
 */
import type { ClientRequest, IncomingMessage } from "node:http";
import { describeError } from "../base/errors.js";
import { SNAPSHOT_ANSWER_MS, SNAPSHOT_SLICE_BYTES, SNAPSHOT_STALL_MS } from "../base/limits.js";
import { memberIdText } from "../membership/index.js";
import type { Clock } from "../platform/index.js";
import type { Message } from "../proto/raft.js";
import type { DatabaseStream } from "./contract.js";
import { PeerError } from "./errors.js";
import { identityHeaders } from "./headers.js";
import { assertTaken } from "./pipeline.js";
import { encodeSnapshotHead } from "./snapshot-head.js";
import type { PeerStatus } from "./status.js";
import type { UrlPicker } from "./urls.js";
import type { TransportWorld } from "./world.js";

export class SnapshotSender {
  readonly #world: TransportWorld;
  readonly #picker: UrlPicker;
  readonly #status: PeerStatus;
  readonly #under = new Set<{ readonly stop: () => void; readonly done: Promise<void> }>();

  constructor(world: TransportWorld, picker: UrlPicker, status: PeerStatus) {
    this.#world = world;
    this.#picker = picker;
    this.#status = status;
  }

  send(message: Message, database: DatabaseStream): void {
    const aborted = new AbortController();
    const work = {
      stop: () => aborted.abort(new PeerError("PEER_CLOSED", "the member was removed, or this one stops")),
      done: this.#send(message, database, aborted.signal).finally(() => this.#under.delete(work)),
    };
    this.#under.add(work);
  }

  /** Ends those under way; resolves when each has been told of. */
  async stop(): Promise<void> {
    const works = [...this.#under];
    for (const { stop } of works) stop();
    await Promise.all(works.map(({ done }) => done));
  }

  /** Never rejects. */
  async #send(message: Message, database: DatabaseStream, aborted: AbortSignal): Promise<void> {
    const { log, metrics, clock, tell } = this.#world;
    const to = memberIdText(message.to);
    const fields = {
      "snapshot-index": message.snapshot?.metadata.index,
      "remote-peer-id": to,
      bytes: database.totalBytes,
    };
    const began = clock.now();
    log.info("sending database snapshot", fields);
    metrics.set("etcd_network_snapshot_send_inflights_total", this.#under.size, { To: to });
    const url = this.#picker.pick();
    try {
      await this.#post(url, message, database, aborted);
      this.#status.activate();
      log.info("sent database snapshot", fields);
      metrics.count("etcd_network_snapshot_send_success", 1, { To: to });
      metrics.observe("etcd_network_snapshot_send_total_duration_seconds", (clock.now() - began) / 1000, { To: to });
      tell.snapshotSent(message.to, true);
    } catch (error) {
      log.warn("failed to send database snapshot", { ...fields, error: describeError(error) });
      metrics.count("etcd_network_snapshot_send_failures", 1, { To: to });
      this.#picker.unreachable(url);
      this.#status.deactivate({ action: "post", source: "sendMsgSnap" }, describeError(error));
      tell.unreachable(message.to);
      tell.snapshotSent(message.to, false);
    }
    metrics.set("etcd_network_snapshot_send_inflights_total", this.#under.size - 1, { To: to });
  }

  async #post(url: string, message: Message, database: DatabaseStream, aborted: AbortSignal): Promise<void> {
    const reading = new DatabaseReading(database);
    try {
      const head = encodeSnapshotHead(message);
      const { local, versions, advertiseUrls, dialer, clock } = this.#world;
      const request = dialer.request(url, {
        method: "POST",
        path: "/raft/snapshot",
        headers: {
          ...identityHeaders(local, versions, advertiseUrls),
          "Content-Type": "application/octet-stream",
          // etcd sends none; with it a body that was cut cannot pass for a whole one on any way.
          "Content-Length": String(head.length + database.totalBytes),
        },
      });
      const exchange = new Exchange(request, url, clock, aborted);
      try {
        await exchange.write(head);
        await this.#pour(reading, exchange);
        await assertTaken(await exchange.answer(), url);
      } finally {
        exchange.end();
      }
    } finally {
      await reading.letGo();
    }
  }

  async #pour(reading: DatabaseReading, exchange: Exchange): Promise<void> {
    let sinceTurn = 0;
    for (let piece = await reading.next(); piece !== undefined; piece = await reading.next()) {
      await exchange.write(piece);
      sinceTurn += piece.length;
      if (sinceTurn < SNAPSHOT_SLICE_BYTES) continue;
      sinceTurn = 0;
      await this.#world.clock.yield(); // heart-beats share the loop
    }
  }
}

/**
 * A database, read piece by piece, one piece ahead: the last one is given out only when the database ended with as many bytes as
 * were announced. So a receiver never has a whole body of a database that is another.
 */
class DatabaseReading {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #totalBytes: number;
  #begun = false;
  #read = 0;
  #ahead: Uint8Array | undefined;

  constructor({ chunks, totalBytes }: DatabaseStream) {
    this.#chunks = chunks[Symbol.asyncIterator]();
    this.#totalBytes = totalBytes;
  }

  /** Undefined at the end. @throws PeerError PEER_CUT when the database is not as large as announced */
  async next(): Promise<Uint8Array | undefined> {
    this.#ahead ??= await this.#readPiece();
    const piece = this.#ahead;
    if (piece !== undefined) this.#ahead = await this.#readPiece();
    if (this.#read > this.#totalBytes || (this.#ahead === undefined && this.#read < this.#totalBytes)) {
      const detail = `the database gave ${this.#read} bytes of a snapshot, ${this.#totalBytes} were announced`;
      throw new PeerError("PEER_CUT", detail);
    }
    return piece;
  }

  async #readPiece(): Promise<Uint8Array | undefined> {
    this.#begun = true;
    for (;;) {
      const next = await this.#chunks.next();
      if (next.done === true) return undefined;
      this.#read += next.value.length;
      if (next.value.length > 0) return next.value;
    }
  }

  /** Releases what the database holds. A stream that was never read releases nothing by its end alone, so it is begun first. */
  async letGo(): Promise<void> {
    try {
      if (!this.#begun) await this.#chunks.next();
      await this.#chunks.return?.();
    } catch {
      // It failed, and has let go.
    }
  }
}

/** A database that is not sent after all. Never rejects. */
export function letGo(database: DatabaseStream): Promise<void> {
  return new DatabaseReading(database).letGo();
}

/** A request that is being written, with its deadlines: whatever ends it ends everything that waits for it. */
class Exchange {
  readonly #request: ClientRequest;
  readonly #url: string;
  readonly #clock: Clock;
  readonly #response: Promise<IncomingMessage>;
  readonly #aborted: AbortSignal;
  readonly #onAbort: () => void;

  constructor(request: ClientRequest, url: string, clock: Clock, aborted: AbortSignal) {
    this.#request = request;
    this.#url = url;
    this.#clock = clock;
    this.#aborted = aborted;
    this.#onAbort = () => request.destroy(aborted.reason as Error);
    this.#response = new Promise((resolve, reject) => {
      request.once("response", (response) => {
        response.on("error", () => undefined); // it may come early, and be cut before anyone reads it
        resolve(response);
      });
      request.on("error", reject);
      request.once("close", () => reject(new PeerError("PEER_CUT", `${url} closed the connection without an answer`)));
    });
    this.#response.catch(() => undefined); // whoever writes or waits is told
    if (aborted.aborted) this.#onAbort();
    else aborted.addEventListener("abort", this.#onAbort);
  }

  /** Resolves when there is room for more. An answer that comes before the end is a refusal. */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.#request.write(bytes)) return;
    const drained = new Promise<undefined>((resolve) => {
      this.#request.once("drain", () => resolve(undefined));
    });
    const early = await this.#within(SNAPSHOT_STALL_MS, Promise.race([drained, this.#response]));
    if (early !== undefined) {
      throw new PeerError("PEER_REFUSED", `${this.#url} answers ${early.statusCode} in the middle of a snapshot`);
    }
  }

  answer(): Promise<IncomingMessage> {
    this.#request.end();
    return this.#within(SNAPSHOT_ANSWER_MS, this.#response);
  }

  end(): void {
    this.#aborted.removeEventListener("abort", this.#onAbort);
    this.#request.destroy();
  }

  async #within<Value>(limitMs: number, work: Promise<Value>): Promise<Value> {
    const timer = this.#clock.after(limitMs, () => {
      this.#request.destroy(
        new PeerError("PEER_TIMEOUT", `${this.#url} takes no more of a snapshot for ${limitMs} ms`),
      );
    });
    try {
      return await work;
    } finally {
      timer.cancel();
    }
  }
}
