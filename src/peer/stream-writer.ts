/**
 * Our end of a stream that another member opened: messages to it, in order, over a response that never ends.
 *
 * Law: nothing waits for the connection. Messages that it cannot take yet stay here as they are (raft's entries are not copied),
 * up to a number and a size; past these they are dropped, and raft is told that the member is unreachable.
 */
import type { ServerResponse } from "node:http";
import { WireWriter } from "../base/bytes.js";
import { describeError } from "../base/errors.js";
import { kibibytes } from "../base/units.js";
import { STREAM_BYTES_MAX, STREAM_MESSAGES_MAX, STREAM_WRITE_BYTES } from "../base/limits.js";
import { memberIdText } from "../membership/index.js";
import type { Message } from "../proto/raft.js";
import { AppendEncoder } from "./append-stream.js";
import { LINK_HEARTBEAT, MessageEncoder, type StreamEncoder } from "./message-stream.js";
import type { PeerStatus } from "./status.js";
import type { TransportWorld } from "./world.js";

export type StreamKind = "append" | "message";

/** etcd's names of the two streams, in its log lines. */
export const STREAM_NAMES = { append: "stream MsgApp v2", message: "stream Message" } as const;

/** A finished piece up to this size is copied out of the buffer that is used again; a larger one takes the buffer along. */
const COPIED_BYTES_MAX = kibibytes(16);

interface Attached {
  readonly response: ServerResponse;
  readonly encoder: StreamEncoder;
}

export class StreamWriter {
  readonly #world: TransportWorld;
  readonly #status: PeerStatus;
  readonly #peerId: bigint;
  readonly #kind: StreamKind;
  readonly #labels: Readonly<Record<string, string>>;
  #attached: Attached | undefined;
  #buffer = new WireWriter(kibibytes(16));
  #queue: Message[] = [];
  /** Bytes of entries in the queue. */
  #queuedBytes = 0;
  /** The response has had enough; it says when it can take more. */
  #full = false;
  /** Writes that have not reached the system, and when the last one did. */
  #writes = 0;
  #progressAt = 0;

  constructor(world: TransportWorld, peerId: bigint, kind: StreamKind, status: PeerStatus) {
    this.#world = world;
    this.#peerId = peerId;
    this.#kind = kind;
    this.#status = status;
    this.#labels = { To: memberIdText(peerId) };
  }

  get working(): boolean {
    return this.#attached !== undefined;
  }

  /** Writes to this response from now on, in place of an older one: its reader has given that up. */
  attach(response: ServerResponse): void {
    this.#detach("replaced by a newer one");
    const attached: Attached = {
      response,
      encoder: this.#kind === "append" ? new AppendEncoder() : new MessageEncoder(),
    };
    this.#attached = attached;
    this.#progressAt = this.#world.clock.now();
    response.on("drain", () => {
      if (this.#attached !== attached) return;
      this.#full = false;
      this.flush();
    });
    response.once("close", () => this.#lost(attached, "the other side closed it"));
    response.on("error", (error) => this.#lost(attached, describeError(error)));
    this.#status.activate();
    this.#world.log.info("established TCP streaming connection with remote peer", this.#fields());
  }

  /** Takes a message for the next `flush`; false when there is no room, or no stream. */
  add(message: Message): boolean {
    if (this.#attached === undefined) return false;
    const bytes = entryBytes(message);
    if (this.#queue.length >= STREAM_MESSAGES_MAX || this.#queuedBytes + bytes > STREAM_BYTES_MAX) {
      if (this.#queue.length > 0) return false;
    }
    this.#queue.push(message);
    this.#queuedBytes += bytes;
    return true;
  }

  /** Hands over what was added, as far as the connection takes it: one write for all of a turn. */
  flush(): void {
    let taken = 0;
    while (this.#attached !== undefined && !this.#full && taken < this.#queue.length) {
      const { encoder } = this.#attached;
      do {
        const message = this.#queue[taken++]!;
        this.#queuedBytes -= entryBytes(message);
        encoder.encode(this.#buffer, message);
      } while (taken < this.#queue.length && this.#buffer.length < STREAM_WRITE_BYTES);
      this.#write(this.#attached, this.#takeBuffer());
    }
    // `splice` of a short queue is cheap, and a long one is written in few turns.
    if (taken > 0 && this.#queue.length > 0) this.#queue.splice(0, taken);
  }

  #takeBuffer(): Uint8Array {
    const buffer = this.#buffer;
    if (buffer.length <= COPIED_BYTES_MAX) {
      const bytes = buffer.finish();
      buffer.reset();
      return bytes;
    }
    this.#buffer = new WireWriter(kibibytes(16));
    return buffer.view();
  }

  #write(attached: Attached, bytes: Uint8Array): void {
    if (this.#writes === 0) this.#progressAt = this.#world.clock.now();
    this.#writes++;
    const taken = attached.response.write(bytes, () => {
      if (this.#attached !== attached) return;
      this.#writes--;
      this.#progressAt = this.#world.clock.now();
    });
    if (!taken) this.#full = true;
    this.#world.metrics.count("etcd_network_peer_sent_bytes_total", bytes.length, this.#labels);
  }

  /** Called every third of the connection's timeout: keeps a quiet stream alive, and gives up one that takes nothing. */
  async tick(): Promise<void> {
    if (this.#isStalled()) {
      // The loop may have been held up, and not the connection: what waits on it has its turn first.
      await this.#world.clock.yield();
      if (this.#isStalled()) this.#lost(this.#attached!, `nothing written for ${this.#world.timeouts.connectionMs} ms`);
      return;
    }
    if (this.#attached === undefined || this.#full) return;
    this.#attached.encoder.encode(this.#buffer, LINK_HEARTBEAT);
    this.#write(this.#attached, this.#takeBuffer());
  }

  #isStalled(): boolean {
    const waited = this.#world.clock.now() - this.#progressAt;
    return this.#attached !== undefined && this.#writes > 0 && waited > this.#world.timeouts.connectionMs;
  }

  #lost(attached: Attached, reason: string): void {
    if (this.#attached !== attached) return;
    this.#status.deactivate({ action: "write", source: STREAM_NAMES[this.#kind] }, reason);
    this.#world.metrics.count("etcd_network_peer_sent_failures_total", 1, this.#labels);
    this.#detach(reason);
  }

  close(): void {
    this.#detach("stopped");
  }

  #detach(reason: string): void {
    const attached = this.#attached;
    if (attached === undefined) return;
    const unsent = this.#writes > 0 || this.#queue.length > 0;
    this.#attached = undefined;
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#writes = 0;
    this.#full = false;
    this.#buffer.reset();
    attached.response.destroy();
    this.#world.log.warn("lost TCP streaming connection with remote peer", { ...this.#fields(), error: reason });
    if (unsent) this.#world.tell.unreachable(this.#peerId);
  }

  #fields(): Record<string, unknown> {
    return { "stream-writer-type": STREAM_NAMES[this.#kind], "remote-peer-id": this.#labels["To"] };
  }
}

function entryBytes(message: Message): number {
  let bytes = 0;
  for (const entry of message.entries) bytes += entry.data.length;
  return bytes;
}
