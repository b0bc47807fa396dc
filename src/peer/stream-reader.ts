/**
 * Our end of a stream that this member opened: it dials, reads messages until the connection ends, and dials again.
 *
 * The one who receives dials: a member that came back asks for the streams to it, and a newer request replaces an older one.
 */
import type { ClientRequest, IncomingMessage } from "node:http";
import { describeError } from "../base/errors.js";
import { PEER_DIAL_PAUSE_MS } from "../base/limits.js";
import { memberIdText } from "../membership/index.js";
import type { Message } from "../proto/raft.js";
import { AppendDecoder } from "./append-stream.js";
import { readAnswer } from "./answers.js";
import { PeerError } from "./errors.js";
import {
  CLUSTER_ID_MISMATCH,
  identityHeaders,
  INCOMPATIBLE_VERSION,
  knowsStreams,
  SERVER_VERSION_HEADER,
} from "./headers.js";
import { isLinkHeartbeat, MessageDecoder, type StreamDecoder } from "./message-stream.js";
import { assertAcceptable, assertOnStream } from "./rules.js";
import type { PeerStatus } from "./status.js";
import { STREAM_NAMES, type StreamKind } from "./stream-writer.js";
import type { UrlPicker } from "./urls.js";
import type { TransportWorld } from "./world.js";

export class StreamReader {
  readonly #world: TransportWorld;
  readonly #peerId: bigint;
  readonly #kind: StreamKind;
  readonly #picker: UrlPicker;
  readonly #status: PeerStatus;
  readonly #labels: Readonly<Record<string, string>>;
  #request: ClientRequest | undefined;
  #response: IncomingMessage | undefined;
  /** When bytes came last, or the request was made. */
  #readAt = 0;
  #stopped = false;
  #wake: (() => void) | undefined;
  #done: Promise<void> = Promise.resolve();

  constructor(world: TransportWorld, peerId: bigint, kind: StreamKind, picker: UrlPicker, status: PeerStatus) {
    this.#world = world;
    this.#peerId = peerId;
    this.#kind = kind;
    this.#picker = picker;
    this.#status = status;
    this.#labels = { From: memberIdText(peerId) };
  }

  get working(): boolean {
    return this.#response !== undefined;
  }

  start(): void {
    this.#done = this.#run();
  }

  /** Resolves when nothing comes from this stream any more. */
  stop(): Promise<void> {
    this.#stopped = true;
    this.#request?.destroy();
    this.#wake?.();
    return this.#done;
  }

  /** Called every third of the connection's timeout: gives up a stream on which not even heart-beats come. */
  async tick(): Promise<void> {
    if (!this.#isSilent()) return;
    // The loop may have been held up, and not the connection: what waits on it has its turn first.
    await this.#world.clock.yield();
    if (!this.#isSilent()) return;
    const detail = `nothing read from member ${this.#labels["From"]} for ${this.#world.timeouts.connectionMs} ms`;
    this.#request?.destroy(new PeerError("PEER_TIMEOUT", detail));
  }

  #isSilent(): boolean {
    return this.#request !== undefined && this.#world.clock.now() - this.#readAt > this.#world.timeouts.connectionMs;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const dialedAt = this.#world.clock.now();
      try {
        const response = await this.#dial(this.#picker.pick());
        this.#status.activate();
        this.#world.log.info("established TCP streaming connection with remote peer", this.#fields());
        await this.#readToEnd(response);
      } catch (error) {
        this.#failed(error);
      }
      this.#request = undefined;
      this.#response = undefined;
      if (!this.#stopped) await this.#pause(dialedAt + PEER_DIAL_PAUSE_MS - this.#world.clock.now());
    }
  }

  #failed(error: unknown): void {
    if (this.#stopped) return;
    const wasOpen = this.#response !== undefined;
    const reason = describeError(error);
    this.#status.deactivate({ action: wasOpen ? "read" : "dial", source: STREAM_NAMES[this.#kind] }, reason);
    if (!wasOpen) return;
    this.#world.metrics.count("etcd_network_peer_received_failures_total", 1, this.#labels);
    this.#world.log.warn("lost TCP streaming connection with remote peer", { ...this.#fields(), error: reason });
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#world.clock.after(delayMs, resolve);
      this.#wake = () => {
        timer.cancel();
        resolve();
      };
    });
  }

  // ---- dialing ----------------------------------------------------------------------------------------------------

  async #dial(url: string): Promise<IncomingMessage> {
    try {
      const response = await this.#ask(url);
      if (response.statusCode === 200) return response;
      await this.#refused(response);
    } catch (error) {
      this.#picker.unreachable(url);
      throw error;
    }
    throw new PeerError("PEER_REFUSED", `${url} answers neither yes nor no`);
  }

  #ask(url: string): Promise<IncomingMessage> {
    const { local, versions, advertiseUrls } = this.#world;
    const request = this.#world.dialer.request(url, {
      method: "GET",
      path: `/raft/stream/${this.#kind === "append" ? "msgapp" : "message"}/${memberIdText(local.memberId)}`,
      headers: {
        ...identityHeaders(local, versions, advertiseUrls),
        "X-Raft-To": memberIdText(this.#peerId),
      },
    });
    this.#request = request;
    this.#readAt = this.#world.clock.now();
    return new Promise((resolve, reject) => {
      request.on("error", reject);
      request.once("close", () => reject(new PeerError("PEER_CUT", `${url} closed the connection without an answer`)));
      request.once("response", resolve);
      request.end();
    });
  }

  /** Always throws: with the reason that the other member gives. */
  async #refused(response: IncomingMessage): Promise<never> {
    const version = response.headers[SERVER_VERSION_HEADER];
    const text = (await readAnswer(response)).trimEnd();
    const peer = memberIdText(this.#peerId);
    if (response.statusCode === 410) {
      this.#world.tell.removed();
      throw new PeerError("PEER_REFUSED", `member ${peer} says that this member was removed from the cluster`);
    }
    if (response.statusCode === 412 && (text === INCOMPATIBLE_VERSION || text === CLUSTER_ID_MISMATCH)) {
      this.#world.log.warn(`request sent was ignored by remote peer due to ${text}`, this.#fields());
    } else if (!knowsStreams(typeof version === "string" ? version : undefined)) {
      throw new PeerError("PEER_REFUSED", `member ${peer} of version ${String(version)} does not know this stream`);
    }
    throw new PeerError("PEER_REFUSED", `member ${peer} answers ${response.statusCode}: ${text}`);
  }

  // ---- reading ----------------------------------------------------------------------------------------------------

  #readToEnd(response: IncomingMessage): Promise<void> {
    this.#response = response;
    const decoder = this.#decoder();
    return new Promise((resolve, reject) => {
      response.on("data", (chunk: Uint8Array) => {
        if (this.#stopped) return;
        this.#readAt = this.#world.clock.now();
        this.#world.metrics.count("etcd_network_peer_received_bytes_total", chunk.length, this.#labels);
        const malformed = this.#decode(decoder, chunk);
        if (malformed !== undefined) this.#request?.destroy(malformed);
      });
      response.once("end", resolve);
      response.on("error", reject);
      this.#request?.on("error", reject);
      response.once("close", () => reject(new PeerError("PEER_CUT", "the connection ended")));
    });
  }

  #decoder(): StreamDecoder {
    const { local, messageBytesMax } = this.#world;
    if (this.#kind === "message") return new MessageDecoder(messageBytesMax);
    return new AppendDecoder({ local: local.memberId, remote: this.#peerId }, messageBytesMax);
  }

  /** What is wrong with the bytes, if anything is. What raft throws is not ours to catch. */
  #decode(decoder: StreamDecoder, chunk: Uint8Array): Error | undefined {
    const messages: Message[] = [];
    try {
      decoder.push(chunk, (message) => {
        if (isLinkHeartbeat(message)) return;
        assertAcceptable(message);
        assertOnStream(message, this.#world.local.memberId);
        messages.push(message);
      });
    } catch (error) {
      return error instanceof Error ? error : new PeerError("PEER_MALFORMED", describeError(error));
    } finally {
      for (const message of messages) this.#world.receiver.receive(message);
    }
    return undefined;
  }

  #fields(): Record<string, unknown> {
    return { "stream-reader-type": STREAM_NAMES[this.#kind], "remote-peer-id": this.#labels["From"] };
  }
}
