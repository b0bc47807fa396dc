/**
 * What each path of the peer port answers, in etcd's statuses and words.
 *
 *   GET  /raft/stream/msgapp/ID     a stream of appends to member ID        GET  /members              the cluster
 *   GET  /raft/stream/message/ID    a stream of all messages to it          POST /members/promote/ID   a learner becomes a voter
 *   POST /raft                      one message                             GET  /members/hashkv       the hash at a revision
 *   POST /raft/snapshot             a snapshot and its database             GET  /version              versions
 *   GET  /raft/probing              are you there                           GET  /downgrade/enabled    is one under way
 *                                                                           POST /leases[/internal]    no such lease
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { CodedError, describeError } from "../base/errors.js";
import { PEER_BODY_BYTES_MAX, PEER_REQUESTS_BYTES_MAX, SNAPSHOTS_RECEIVED_MAX } from "../base/limits.js";
import { textFromUtf8 } from "../base/text.js";
import { memberIdText } from "../membership/index.js";
import { LeaseKeepAliveRequest, LeaseKeepAliveResponse, leasepb } from "../proto/index.js";
import { decodeMessage, type Message, MessageType } from "../proto/raft.js";
import { readBody } from "./answers.js";
import { PeerError } from "./errors.js";
import {
  CLUSTER_ID_HEADER,
  CLUSTER_ID_MISMATCH,
  idFromText,
  peerUrlsOf,
  receiverOf,
  senderOf,
  whyIncompatible,
} from "./headers.js";
import {
  decodeHashKvRequest,
  encodeHashKv,
  encodeMembers,
  encodeVersions,
  hashKvRefusal,
  leaseRefusal,
  promoteRefusal,
} from "./json.js";
import { assertAcceptable, assertEntriesBounded, assertOnStream } from "./rules.js";
import { SnapshotHeadDecoder } from "./snapshot-head.js";
import type { StreamKind } from "./stream-writer.js";
import type { TransportWorld } from "./world.js";

/** What the transport does with those who come. */
export interface Guests {
  /** Hands a stream to the member that asked for it. */
  attachStream(from: bigint, kind: StreamKind, response: ServerResponse): void;
  isPeer(id: bigint): boolean;
  /** Someone who says that it can be reached there. */
  addRemote(id: bigint, urls: readonly string[]): void;
}

/** An answer that is not what was asked for. */
class Refused extends Error {
  override readonly name = "Refused";
  readonly status: number;
  readonly json: boolean;

  constructor(status: number, text: string, options?: { readonly json?: boolean; readonly cause?: unknown }) {
    super(text, { cause: options?.cause });
    this.status = status;
    this.json = options?.json ?? false;
  }
}

export class Routes {
  readonly #world: TransportWorld;
  readonly #guests: Guests;
  /** Bytes of messages that are being read. */
  #pendingBytes = 0;
  #snapshots = 0;
  /** Receivers that have not come to the end of their snapshot. */
  readonly #reading = new Set<Promise<unknown>>();

  constructor(world: TransportWorld, guests: Guests) {
    this.#world = world;
    this.#guests = guests;
  }

  handle(request: IncomingMessage, response: ServerResponse): void {
    request.on("error", () => undefined); // whoever reads the body is told
    response.on("error", () => undefined);
    void this.#route(request, response).catch((error: unknown) => this.#refuse(request, response, error));
  }

  /** Resolves when no snapshot is being read any more. Call it when the port is closed: each read fails then. */
  async settled(): Promise<void> {
    await Promise.all(this.#reading);
  }

  async #route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? "").replace(/[?#].*$/s, "");
    switch (path) {
      case "/raft":
        return this.#message(request, response);
      case "/raft/snapshot":
        return this.#snapshot(request, response);
      case "/raft/probing":
        return this.#probing(request, response);
      case "/members":
        return this.#members(request, response);
      case "/members/hashkv":
        return this.#hashKv(request, response);
      case "/version":
        return this.#version(request, response);
      case "/downgrade/enabled":
        return this.#downgrade(request, response);
      case "/leases":
        return this.#renewLease(request, response);
      case "/leases/internal":
        return this.#leaseTimeToLive(request, response);
    }
    if (path.startsWith("/raft/stream/")) return this.#stream(path, request, response);
    if (path.startsWith("/members/promote/"))
      return this.#promote(path.slice("/members/promote/".length), request, response);
    throw new Refused(404, "404 page not found");
  }

  /** 4xx or 5xx in etcd's form, and the connection is closed: who breaks the rules gets no second request. */
  #refuse(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    const refused = error instanceof Refused ? error : refusedOf(error);
    if (refused === undefined) {
      response.destroy();
      throw error; // a bug of ours: nobody catches it to go on
    }
    const { remoteAddress } = request.socket;
    this.#world.metrics.count("etcd_network_peer_received_failures_total", 1, { From: remoteAddress ?? "unknown" });
    this.#world.log.warn("rejected request on peer endpoint", {
      "remote-addr": remoteAddress,
      path: request.url?.slice(0, 100),
      status: refused.status,
      error: refused.message,
    });
    if (response.headersSent) {
      response.destroy();
      return;
    }
    const body = refused.json ? JSON.stringify({ message: refused.message }) : `${refused.message}\n`;
    const type = refused.json ? "application/json" : "text/plain; charset=utf-8";
    response.writeHead(refused.status, {
      "Content-Type": type,
      "Content-Length": String(Buffer.byteLength(body)),
      ...(refused.json ? {} : { "X-Content-Type-Options": "nosniff" }),
      Connection: "close",
    });
    response.end(body);
    request.resume(); // what is still to come is thrown away until the answer is out
  }

  // ---- raft -------------------------------------------------------------------------------------------------------

  async #stream(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    allowMethod(request, response, "GET");
    response.setHeader("X-Server-Version", this.#world.versions.server);
    this.#checkCluster(request, response);
    const [, , , kind, fromText, ...rest] = path.split("/");
    if ((kind !== "msgapp" && kind !== "message") || rest.length > 0) throw new Refused(404, "invalid path");
    const from = idFromText(fromText ?? "");
    if (from === undefined) throw new Refused(404, "invalid from");
    if (this.#world.receiver.isRemoved(from)) throw new Refused(410, "removed member");
    if (!this.#guests.isPeer(from)) {
      // It may have joined after the entries that this member has.
      const urls = peerUrlsOf(request.headers);
      if (urls.length > 0) this.#guests.addRemote(from, urls);
      throw new Refused(404, "error sender not found");
    }
    if (receiverOf(request.headers) !== memberIdText(this.#world.local.memberId)) {
      throw new Refused(412, "to field mismatch");
    }
    request.resume();
    response.writeHead(200);
    response.flushHeaders();
    this.#guests.attachStream(from, kind === "msgapp" ? "append" : "message", response);
  }

  async #message(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#beginPost(request, response);
    const { messageBytesMax, receiver, local, metrics } = this.#world;
    const bytes = await this.#readMessage(request, messageBytesMax);
    let message: Message;
    try {
      assertEntriesBounded(bytes);
      message = decodeMessage(bytes);
    } catch (cause) {
      throw new Refused(400, "error unmarshalling raft message", { cause });
    }
    metrics.count("etcd_network_peer_received_bytes_total", bytes.length, { From: memberIdText(message.from) });
    const wrong = this.#wrongParties(message);
    if (wrong !== undefined) throw new Refused(500, "error processing raft message", { cause: new Error(wrong) });
    try {
      assertAcceptable(message);
    } catch (cause) {
      throw new Refused(400, "error unmarshalling raft message", { cause });
    }
    try {
      assertOnStream(message, local.memberId);
    } catch (cause) {
      throw new Refused(400, "wrong raft message type", { cause });
    }
    receiver.receive(message);
    response.writeHead(204).end();
  }

  async #readMessage(request: IncomingMessage, bytesMax: number): Promise<Uint8Array> {
    let held = 0;
    const onPiece = (bytes: number): PeerError | undefined => {
      held += bytes;
      this.#pendingBytes += bytes;
      if (this.#pendingBytes <= PEER_REQUESTS_BYTES_MAX) return undefined;
      return new PeerError("PEER_TOO_LARGE", "too many messages are being read at once");
    };
    const announced = Number(request.headers["content-length"] ?? 0);
    if (announced > bytesMax) throw new Refused(413, "raft message too large");
    const watch = new BodyWatch(request, this.#world);
    try {
      return await readBody(request, { bytesMax, onPiece, expired: watch.expired });
    } catch (cause) {
      if (cause instanceof PeerError && cause.code === "PEER_TOO_LARGE") {
        throw new Refused(413, "raft message too large", { cause });
      }
      throw new Refused(400, "error reading raft message", { cause });
    } finally {
      watch.stop();
      this.#pendingBytes -= held;
    }
  }

  async #snapshot(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#beginPost(request, response);
    if (this.#snapshots >= SNAPSHOTS_RECEIVED_MAX) throw new Refused(429, "too many snapshots are being received");
    this.#snapshots++;
    try {
      await this.#receiveSnapshot(request, response);
    } finally {
      this.#snapshots--;
    }
  }

  async #receiveSnapshot(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { log, metrics, receiver, clock } = this.#world;
    const began = clock.now();
    const body = new TimedBody(request, this.#world);
    const { message, rest } = await this.#readSnapshotHead(body);
    const from = memberIdText(message.from);
    const wrong = this.#wrongParties(message);
    if (wrong !== undefined) throw new Refused(500, `failed to process raft message (${wrong})`);
    const fields = { "remote-snapshot-sender-id": from, "incoming-snapshot-index": message.snapshot?.metadata.index };
    log.info("receiving database snapshot", fields);
    metrics.set("etcd_network_snapshot_receive_inflights_total", this.#snapshots, { From: from });
    const kept = receiver.receiveSnapshot(message, body.remaining(rest));
    const reading = Promise.race([kept, body.end]).catch(() => undefined);
    this.#reading.add(reading);
    void reading.then(() => this.#reading.delete(reading));
    try {
      await kept;
      if (!body.ended) throw new PeerError("PEER_CUT", "the database was not read to its end");
    } catch (cause) {
      metrics.count("etcd_network_snapshot_receive_failures", 1, { From: from });
      log.warn("failed to save incoming database snapshot", { ...fields, error: describeError(cause) });
      throw new Refused(500, `failed to save KV snapshot (${describeError(cause)})`, { cause });
    } finally {
      metrics.set("etcd_network_snapshot_receive_inflights_total", this.#snapshots - 1, { From: from });
    }
    log.info("received and saved database snapshot", { ...fields, "incoming-snapshot-size-bytes": body.received });
    metrics.count("etcd_network_peer_received_bytes_total", body.received, { From: from });
    metrics.count("etcd_network_snapshot_receive_success", 1, { From: from });
    metrics.observe("etcd_network_snapshot_receive_total_duration_seconds", (clock.now() - began) / 1000, {
      From: from,
    });
    response.writeHead(204).end();
  }

  async #readSnapshotHead(body: TimedBody): Promise<{ message: Message; rest: Uint8Array }> {
    const decoder = new SnapshotHeadDecoder(this.#world.messageBytesMax);
    try {
      for (let chunk = await body.next(); chunk !== undefined; chunk = await body.next()) {
        const head = decoder.push(chunk);
        if (head === undefined) continue;
        if (head.message.type !== MessageType.snapshot) throw new Refused(400, "wrong raft message type");
        assertAcceptable(head.message);
        return head;
      }
      throw new PeerError("PEER_CUT", "the body ends before the message does");
    } catch (cause) {
      if (cause instanceof Refused) throw cause;
      throw new Refused(400, `failed to decode raft message (${describeError(cause)})`, { cause });
    }
  }

  #probing(request: IncomingMessage, response: ServerResponse): Promise<void> {
    request.resume();
    const now = new Date(this.#world.clock.wallNow()).toISOString();
    return send(response, "text/plain; charset=utf-8", `{"OK":true,"Now":"${now}"}\n`);
  }

  #beginPost(request: IncomingMessage, response: ServerResponse): void {
    allowMethod(request, response, "POST");
    this.#checkCluster(request, response);
    const sender = senderOf(request.headers);
    if (sender !== undefined) this.#guests.addRemote(sender.id, sender.urls);
  }

  #checkCluster(request: IncomingMessage, response: ServerResponse): void {
    this.#tellCluster(response);
    const why = whyIncompatible(request.headers, this.#world.local.clusterId, this.#world.versions);
    if (why !== undefined) throw new Refused(412, why);
  }

  #tellCluster(response: ServerResponse): void {
    response.setHeader("X-Etcd-Cluster-ID", memberIdText(this.#world.local.clusterId));
  }

  /**
   * Whether the sender was removed, or this member is not the receiver; undefined when all is well. Both are answered with 500, as
   * etcd does. Its code means 403, which its own sender would take for "this member was removed" and stop for good.
   */
  #wrongParties(message: Message): string | undefined {
    if (this.#world.receiver.isRemoved(message.from)) return "cannot process message from removed member";
    if (message.to !== this.#world.local.memberId) return "cannot process message to mismatch member";
    return undefined;
  }

  // ---- beside raft ------------------------------------------------------------------------------------------------

  async #members(request: IncomingMessage, response: ServerResponse): Promise<void> {
    allowMethod(request, response, "GET");
    this.#tellCluster(response);
    await sendJson(response, encodeMembers(this.#world.receiver.members()));
  }

  async #version(request: IncomingMessage, response: ServerResponse): Promise<void> {
    allowMethod(request, response, "GET");
    const cluster = this.#world.receiver.clusterVersion() ?? "not_decided";
    await sendJson(response, encodeVersions({ server: this.#world.versions.server, cluster }));
  }

  async #promote(idText: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    allowMethod(request, response, "POST");
    this.#tellCluster(response);
    request.resume();
    if (!/^\d{1,20}$/.test(idText) || BigInt(idText) >= 1n << 64n) {
      throw new Refused(404, `member ${idText} not found in cluster`);
    }
    const { authorization } = request.headers;
    try {
      await sendJson(response, encodeMembers(await this.#world.receiver.promote(BigInt(idText), authorization)));
    } catch (cause) {
      const refusal = promoteRefusal(cause);
      if (refusal !== undefined) throw new Refused(refusal.status, refusal.text, { cause });
      if (!(cause instanceof CodedError)) throw cause;
      throw new Refused(500, "Internal Server Error", { json: true, cause });
    }
  }

  async #hashKv(request: IncomingMessage, response: ServerResponse): Promise<void> {
    allowMethod(request, response, "GET");
    const cluster = request.headers[CLUSTER_ID_HEADER] ?? "";
    if (cluster !== "" && cluster !== memberIdText(this.#world.local.clusterId)) {
      throw new Refused(412, CLUSTER_ID_MISMATCH);
    }
    const body = textFromUtf8(await this.#readSmall(request));
    let revision: number;
    try {
      revision = decodeHashKvRequest(body);
    } catch (cause) {
      throw new Refused(400, "error unmarshalling request", { cause });
    }
    try {
      const answer = await this.#world.receiver.hashKv(revision);
      this.#tellCluster(response);
      await sendJson(response, encodeHashKv(answer));
    } catch (cause) {
      if (!(cause instanceof CodedError)) throw cause;
      const { status, text } = hashKvRefusal(cause);
      throw new Refused(status, text, { cause });
    }
  }

  async #downgrade(request: IncomingMessage, response: ServerResponse): Promise<void> {
    allowMethod(request, response, "GET");
    this.#tellCluster(response);
    let isDowngrading: boolean;
    try {
      isDowngrading = await this.#world.receiver.isDowngrading();
    } catch (cause) {
      if (!(cause instanceof CodedError)) throw cause;
      throw new Refused(500, `failed linearized read: ${cause.detail}`, { cause });
    }
    await send(response, "text/plain", String(isDowngrading));
  }

  async #renewLease(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { ID } = await this.#leaseRequest(request, LeaseKeepAliveRequest);
    const TTL = await this.#answerOfLease(this.#world.receiver.renewLease(ID));
    await sendMessage(response, LeaseKeepAliveResponse.encode({ header: undefined, ID, TTL }).finish());
  }

  async #leaseTimeToLive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { LeaseTimeToLiveRequest: question } = await this.#leaseRequest(request, leasepb.LeaseInternalRequest);
    // etcd falls over a request without the message inside.
    if (question === undefined) throw new Refused(400, "error unmarshalling request");
    const answer = await this.#answerOfLease(this.#world.receiver.leaseTimeToLive(question));
    if (answer.TTL === -1 && answer.grantedTTL === 0) throw new Refused(404, "lease not found");
    const header = { clusterId: 0n, memberId: 0n, revision: 0, raftTerm: 0 };
    await sendMessage(
      response,
      leasepb.LeaseInternalResponse.encode({ LeaseTimeToLiveResponse: { ...answer, header } }).finish(),
    );
  }

  async #leaseRequest<Request>(
    request: IncomingMessage,
    codec: { decode(bytes: Uint8Array): Request },
  ): Promise<Request> {
    if (request.method !== "POST") throw new Refused(405, "Method Not Allowed");
    const body = await this.#readSmall(request);
    try {
      return codec.decode(body);
    } catch (cause) {
      throw new Refused(400, "error unmarshalling request", { cause });
    }
  }

  async #answerOfLease<Answer>(answer: Promise<Answer>): Promise<Answer> {
    try {
      return await answer;
    } catch (cause) {
      const { status, text } = leaseRefusal(cause);
      throw new Refused(status, text, { cause });
    }
  }

  async #readSmall(request: IncomingMessage): Promise<Uint8Array> {
    const watch = new BodyWatch(request, this.#world);
    try {
      return await readBody(request, { bytesMax: PEER_BODY_BYTES_MAX, expired: watch.expired });
    } catch (cause) {
      throw new Refused(400, "error reading body", { cause });
    } finally {
      watch.stop();
    }
  }
}

/** Gives up a body that rests for the connection's timeout. */
class BodyWatch {
  readonly expired: Promise<never>;
  readonly #request: IncomingMessage;
  readonly #world: TransportWorld;
  readonly #timer: { cancel(): void };
  readonly #onData: () => void;
  #expire: (reason: PeerError) => void = () => undefined;
  #readAt: number;

  constructor(request: IncomingMessage, world: TransportWorld) {
    this.#request = request;
    this.#world = world;
    this.#readAt = world.clock.now();
    this.#onData = () => {
      this.#readAt = world.clock.now();
    };
    request.on("data", this.#onData);
    this.expired = new Promise((_, reject) => {
      this.#expire = reject;
    });
    this.expired.catch(() => undefined); // nobody may be waiting any more
    this.#timer = world.clock.every(world.timeouts.connectionMs / 4, () => void this.#check());
  }

  async #check(): Promise<void> {
    if (!this.#isSilent()) return;
    await this.#world.clock.yield(); // it may have been the loop that was held up
    if (this.#isSilent()) this.#expire(new PeerError("PEER_TIMEOUT", "the body does not go on"));
  }

  #isSilent(): boolean {
    return this.#world.clock.now() - this.#readAt > this.#world.timeouts.connectionMs;
  }

  stop(): void {
    this.#timer.cancel();
    this.#request.off("data", this.#onData);
  }
}

/**
 * The body of a snapshot, chunk by chunk, as fast as it is taken: the sender waits when this member's disk is slow. It has ended
 * only when all bytes came that were announced: by Content-Length, or by the last chunk of a chunked body.
 */
class TimedBody {
  readonly #request: IncomingMessage;
  readonly #world: TransportWorld;
  readonly #chunks: AsyncIterator<Uint8Array>;
  received = 0;
  ended = false;
  /** Resolves when all of it was read. */
  readonly end: Promise<void>;
  #onEnd: () => void = () => undefined;

  constructor(request: IncomingMessage, world: TransportWorld) {
    this.#request = request;
    this.#world = world;
    this.#chunks = (request as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
    this.end = new Promise((resolve) => {
      this.#onEnd = resolve;
    });
  }

  /** Undefined at the end. @throws PeerError PEER_CUT, PEER_TIMEOUT */
  async next(): Promise<Uint8Array | undefined> {
    const { clock, timeouts } = this.#world;
    const timer = clock.after(timeouts.connectionMs, () => {
      this.#request.destroy(
        new PeerError("PEER_TIMEOUT", `no more of a snapshot came for ${timeouts.connectionMs} ms`),
      );
    });
    try {
      const next = await this.#chunks.next();
      if (next.done !== true) {
        this.received += next.value.length;
        return next.value;
      }
    } catch (cause) {
      if (cause instanceof PeerError) throw cause;
      throw this.#cut(cause);
    } finally {
      timer.cancel();
    }
    if (!this.#request.complete) throw this.#cut();
    this.ended = true;
    this.#onEnd();
    return undefined;
  }

  #cut(cause?: unknown): PeerError {
    const announced = this.#request.headers["content-length"] ?? "an unknown number";
    return new PeerError("PEER_CUT", `the sender broke off after ${this.received} bytes of ${announced}`, { cause });
  }

  /** The first bytes, and all that follow. */
  async *remaining(first: Uint8Array): AsyncGenerator<Uint8Array, void, void> {
    if (first.length > 0) yield first;
    for (let chunk = await this.next(); chunk !== undefined; chunk = await this.next()) yield chunk;
  }
}

/** etcd's answer to another method than the one of the path. */
function allowMethod(request: IncomingMessage, response: ServerResponse, method: "GET" | "POST"): void {
  if (request.method === method) return;
  response.setHeader("Allow", method);
  throw new Refused(405, "Method Not Allowed");
}

function sendJson(response: ServerResponse, body: string): Promise<void> {
  return send(response, "application/json", body);
}

function sendMessage(response: ServerResponse, body: Uint8Array): Promise<void> {
  return send(response, "application/protobuf", body);
}

async function send(response: ServerResponse, contentType: string, body: string | Uint8Array): Promise<void> {
  response.writeHead(200, { "Content-Type": contentType, "Content-Length": String(Buffer.byteLength(body)) }).end(body);
}

/** What a failure is for the other side; undefined for a bug of ours. */
function refusedOf(error: unknown): Refused | undefined {
  return error instanceof CodedError ? new Refused(400, error.message, { cause: error }) : undefined;
}
