/**
 * Messages to a member that has no stream to us open: each is a request of its own, a few at a time. It also reaches a member
 * that we know by its word alone (`X-PeerURLs`), so that one who joins can answer its leader.
 */
import type { IncomingMessage } from "node:http";
import { describeError } from "../base/errors.js";
import { PIPELINE_MESSAGES_MAX, PIPELINE_REQUESTS_MAX } from "../base/limits.js";
import { memberIdText } from "../membership/index.js";
import { encodeMessage, type Message } from "../proto/raft.js";
import { readAnswer } from "./answers.js";
import { ConnectionPool } from "./dialer.js";
import { PeerError } from "./errors.js";
import { identityHeaders } from "./headers.js";
import type { PeerStatus } from "./status.js";
import type { UrlPicker } from "./urls.js";
import type { TransportWorld } from "./world.js";

export class Pipeline {
  readonly #world: TransportWorld;
  readonly #peerId: bigint;
  readonly #picker: UrlPicker;
  readonly #status: PeerStatus;
  readonly #labels: Readonly<Record<string, string>>;
  readonly #pool: ConnectionPool;
  readonly #queue: Message[] = [];
  #underWay = 0;
  #stopped = false;

  constructor(world: TransportWorld, peerId: bigint, picker: UrlPicker, status: PeerStatus) {
    this.#world = world;
    this.#peerId = peerId;
    this.#picker = picker;
    this.#status = status;
    this.#labels = { To: memberIdText(peerId) };
    this.#pool = new ConnectionPool(world.timeouts.connectionMs * IDLE_SHARE);
  }

  /** False when too many wait already. */
  send(message: Message): boolean {
    if (this.#queue.length >= PIPELINE_MESSAGES_MAX) return false;
    this.#queue.push(message);
    if (this.#underWay < PIPELINE_REQUESTS_MAX) void this.#work();
    return true;
  }

  stop(): void {
    this.#stopped = true;
    this.#queue.length = 0;
    this.#pool.close();
  }

  /** One of the few that take messages from the queue until it is empty. Never rejects. */
  async #work(): Promise<void> {
    this.#underWay++;
    for (let message = this.#queue.shift(); message !== undefined; message = this.#queue.shift()) {
      try {
        const bytes = encodeMessage(message);
        await this.#post(bytes);
        if (this.#stopped) break;
        this.#status.activate();
        this.#world.metrics.count("etcd_network_peer_sent_bytes_total", bytes.length, this.#labels);
      } catch (error) {
        if (this.#stopped) break;
        this.#status.deactivate({ action: "write", source: "pipeline" }, describeError(error));
        this.#world.metrics.count("etcd_network_peer_sent_failures_total", 1, this.#labels);
        this.#world.tell.unreachable(this.#peerId);
      }
    }
    this.#underWay--;
  }

  async #post(bytes: Uint8Array): Promise<void> {
    const url = this.#picker.pick();
    try {
      const response = await this.#exchange(url, bytes);
      await assertTaken(response, url);
    } catch (error) {
      this.#picker.unreachable(url);
      throw error;
    }
  }

  async #exchange(url: string, bytes: Uint8Array): Promise<IncomingMessage> {
    const first = this.#ask(url, bytes);
    try {
      return await first.response;
    } catch (error) {
      // The other side closed an idle connection just when we took it: nothing was read there, and a new one may do.
      if (!first.reused() || this.#stopped || (error as NodeJS.ErrnoException).code !== "ECONNRESET") throw error;
      return this.#ask(url, bytes).response;
    }
  }

  #ask(url: string, bytes: Uint8Array): { response: Promise<IncomingMessage>; reused: () => boolean } {
    const { local, versions, advertiseUrls, timeouts, clock, dialer } = this.#world;
    const request = dialer.request(url, {
      method: "POST",
      path: "/raft",
      pool: this.#pool,
      headers: {
        ...identityHeaders(local, versions, advertiseUrls),
        "Content-Type": "application/protobuf",
        "Content-Length": String(bytes.length),
      },
    });
    const timer = clock.after(timeouts.connectionMs, () => {
      request.destroy(new PeerError("PEER_TIMEOUT", `${url} does not answer within ${timeouts.connectionMs} ms`));
    });
    const response = new Promise<IncomingMessage>((resolve, reject) => {
      request.on("error", reject);
      request.once("response", resolve);
      request.once("close", () => {
        timer.cancel();
        reject(new PeerError("PEER_CUT", `${url} closed the connection without an answer`));
      });
      request.end(bytes);
    });
    return { response, reused: () => request.reusedSocket };
  }
}

/** The part of the connection's timeout that an idle connection is kept: the other side closes it after all of it. */
const IDLE_SHARE = 0.8;

/** A posted message was taken when the answer is 204. @throws PeerError */
export async function assertTaken(response: IncomingMessage, url: string): Promise<void> {
  const text = (await readAnswer(response)).trimEnd();
  if (response.statusCode === 204) return;
  throw new PeerError("PEER_REFUSED", `${url} answers ${response.statusCode}: ${text}`);
}
