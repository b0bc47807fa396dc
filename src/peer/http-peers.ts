/**
 * A member's peer port and its ways to the other members: etcd 3.5's protocol (docs/formats/peer.md) over HTTP/1.1.
 *
 * What runs where: everything here runs on the member's own loop. A heart-beat of raft's leaves as a few bytes on a stream that is
 * open already, so it is late only when the loop is. What could hold the loop is cut:
 * - a stream is encoded in pieces of 256 KiB, and decoded as the system hands it over, 64 KiB at a time: under 1 ms each;
 * - a snapshot has a connection of its own, waits for the receiver, and gives the loop a turn after each 256 KiB; it is never in
 *   front of a heart-beat, neither in our buffers nor in the connection's;
 * - bodies of small requests are small.
 * So no slice is near 10 ms (200 MB through both ends in one process: 0.6 ms a turn, 7 ms the longest, with garbage collection), and
 * an election timeout is 1 s. A timeout of ours that rings after the loop was held up by others is checked again after what waits on
 * the loop had its turn.
 *
 * Laws: nothing here holds the caller up; the receiver is told of what failed at the end of the turn, never from within a call;
 * after `stop()` no socket, no timer and no promise of ours is left.
 */
import type { ServerResponse } from "node:http";
import { invariant } from "../base/errors.js";
import {
  PEER_CONNECTION_TIMEOUT_MS,
  PEER_CONNECTIONS_MAX,
  PEER_MESSAGE_BYTES_MAX,
  PEER_REMOTES_MAX,
} from "../base/limits.js";
import { memberIdText, type Member } from "../membership/index.js";
import type { Clock, Log, Timer } from "../platform/index.js";
import type { HashKVResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse } from "../proto/index.js";
import { type Message, MessageType } from "../proto/raft.js";
import type {
  DatabaseStream,
  LocalIdentity,
  PeerDoor,
  PeerReceiver,
  Peers,
  PeerVersions,
  RemoteCluster,
} from "./contract.js";
import { Dialer } from "./dialer.js";
import type { OwnVersions } from "./headers.js";
import { noPeerMetrics, type PeerMetrics } from "./metrics.js";
import { Prober } from "./prober.js";
import { PeerPort } from "./peer-port.js";
import { Pipeline } from "./pipeline.js";
import { PeerClient } from "./peer-client.js";
import { Routes } from "./routes.js";
import { channelOf } from "./rules.js";
import { letGo, SnapshotSender } from "./snapshot-sender.js";
import { PeerStatus } from "./status.js";
import { StreamReader } from "./stream-reader.js";
import { type StreamKind, StreamWriter } from "./stream-writer.js";
import type { ClientTls, ServerTls } from "../tls/index.js";
import { isPeerUrl, peerAddress, UrlPicker } from "./urls.js";
import type { PeerTimeouts, TransportWorld } from "./world.js";

export interface HttpPeersOptions {
  /** `http://HOST:PORT` or `https://HOST:PORT`; port 0 lets the system choose. */
  readonly listenUrls: readonly string[];
  /** What other members are told of this one; the URLs that are listened on when left out. */
  readonly advertiseUrls?: readonly string[];
  readonly tls?: { readonly server?: ServerTls; readonly client?: ClientTls };
  /** `3.5.30` and `3.0.0` when left out. */
  readonly versions?: OwnVersions;
  readonly timeouts?: Partial<PeerTimeouts>;
  /** Largest raft message that is taken; raise it with the largest request. */
  readonly messageBytesMax?: number;
  /** Connections to the peer port, `PEER_CONNECTIONS_MAX` when left out. */
  readonly connectionsMax?: number;
}

export interface HttpPeersDependencies {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics?: PeerMetrics;
}

const DEFAULT_VERSIONS: OwnVersions = { server: "3.5.30", minCluster: "3.0.0" };

/** etcd's: 1 s and an election timeout (1 s) to dial; 5 s and two of these for what a cluster has to agree on. */
const DEFAULT_TIMEOUTS: PeerTimeouts = {
  dialMs: 2_000,
  connectionMs: PEER_CONNECTION_TIMEOUT_MS,
  requestMs: 3_000,
  consensusMs: 7_000,
};

export class HttpPeers implements PeerDoor {
  /** What is listened on, with the real ports. */
  readonly listenUrls: readonly string[];
  readonly #port: PeerPort;
  readonly #dialer: Dialer;
  readonly #client: PeerClient;
  readonly #world: Omit<TransportWorld, "local" | "receiver" | "tell">;
  #transport: Transport | undefined;

  private constructor(port: PeerPort, options: HttpPeersOptions, dependencies: HttpPeersDependencies) {
    const { clock, log, metrics = noPeerMetrics } = dependencies;
    const timeouts = { ...DEFAULT_TIMEOUTS, ...options.timeouts };
    this.#port = port;
    this.listenUrls = port.urls;
    this.#dialer = new Dialer({ clock, dialTimeoutMs: timeouts.dialMs, tls: options.tls?.client });
    this.#client = new PeerClient({ dialer: this.#dialer, clock, log, timeouts });
    this.#world = {
      versions: options.versions ?? DEFAULT_VERSIONS,
      advertiseUrls: options.advertiseUrls ?? port.urls,
      timeouts,
      messageBytesMax: options.messageBytesMax ?? PEER_MESSAGE_BYTES_MAX,
      clock,
      log,
      metrics,
      dialer: this.#dialer,
    };
  }

  /** Binds the peer port. Until `connect` it answers that the member is not up. @throws PeerError */
  static async open(options: HttpPeersOptions, dependencies: HttpPeersDependencies): Promise<HttpPeers> {
    for (const url of options.advertiseUrls ?? []) peerAddress(url);
    const port = await PeerPort.listen({
      listenUrls: options.listenUrls,
      tls: options.tls?.server,
      connectionTimeoutMs: options.timeouts?.connectionMs ?? DEFAULT_TIMEOUTS.connectionMs,
      connectionsMax: options.connectionsMax ?? PEER_CONNECTIONS_MAX,
      log: dependencies.log,
      metrics: dependencies.metrics ?? noPeerMetrics,
    });
    return new HttpPeers(port, options, dependencies);
  }

  connect(local: LocalIdentity, receiver: PeerReceiver): Peers {
    invariant(this.#transport === undefined, "a peer port is connected once");
    const transport = new Transport(this.#world, this.#client, local, receiver, () => this.#shut());
    this.#transport = transport;
    this.#port.serve((request, response) => transport.routes.handle(request, response));
    return transport;
  }

  fetchCluster(urls: readonly string[]): Promise<RemoteCluster | undefined> {
    return this.#client.fetchCluster(urls);
  }

  fetchVersions(urls: readonly string[]): Promise<PeerVersions | undefined> {
    return this.#client.fetchVersions(urls);
  }

  fetchHashKv(urls: readonly string[], revision: number, local: LocalIdentity): Promise<HashKVResponse | undefined> {
    return this.#client.fetchHashKv(urls, revision, local);
  }

  promote(
    urls: readonly string[],
    memberId: bigint,
    _local?: LocalIdentity,
    token?: string,
  ): Promise<readonly Member[] | undefined> {
    return this.#client.promote(urls, memberId, token);
  }

  renewLease(urls: readonly string[], id: bigint): Promise<number | undefined> {
    return this.#client.renewLease(urls, id);
  }

  leaseTimeToLive(
    urls: readonly string[],
    request: LeaseTimeToLiveRequest,
  ): Promise<LeaseTimeToLiveResponse | undefined> {
    return this.#client.leaseTimeToLive(urls, request);
  }

  /** Which streams to and from a member are open, for logs and tests: as `append+message out, append in`. */
  describe(id: bigint): string {
    return this.#transport?.describe(id) ?? "not connected";
  }

  async close(): Promise<void> {
    if (this.#transport === undefined) await this.#shut();
    else await this.#transport.stop();
  }

  async #shut(): Promise<void> {
    await Promise.all([this.#port.close(), this.#dialer.close()]);
  }
}

/** One member of the cluster, and all ways to it. */
class RemotePeer {
  readonly status: PeerStatus;
  readonly #world: TransportWorld;
  readonly #id: bigint;
  readonly #picker: UrlPicker;
  readonly #writers: Readonly<Record<StreamKind, StreamWriter>>;
  readonly #readers: Readonly<Record<StreamKind, StreamReader>>;
  readonly #pipeline: Pipeline;
  readonly #snapshots: SnapshotSender;
  readonly #prober: Prober;

  constructor(world: TransportWorld, client: PeerClient, id: bigint, urls: readonly string[]) {
    this.#world = world;
    this.#id = id;
    this.#picker = new UrlPicker(urls);
    this.status = new PeerStatus({ local: world.local.memberId, remote: id }, world);
    const picker = this.#picker;
    const status = this.status;
    this.#writers = {
      append: new StreamWriter(world, id, "append", status),
      message: new StreamWriter(world, id, "message", status),
    };
    this.#readers = {
      append: new StreamReader(world, id, "append", picker, status),
      message: new StreamReader(world, id, "message", picker, status),
    };
    this.#pipeline = new Pipeline(world, id, picker, status);
    this.#snapshots = new SnapshotSender(world, picker, status);
    this.#prober = new Prober(world, client, id, picker);
    this.#readers.append.start();
    this.#readers.message.start();
  }

  update(urls: readonly string[]): void {
    this.#picker.update(urls);
  }

  send(message: Message): void {
    const { append, message: general } = this.#writers;
    const channel = channelOf(message.type, { append: append.working, message: general.working });
    const sent =
      channel === "pipeline"
        ? this.#pipeline.send(message)
        : (channel === "append stream" ? append : general).add(message);
    if (sent) return;
    const to = memberIdText(this.#id);
    this.#world.log.warn("dropped internal Raft message since sending buffer is full (overloaded network)", {
      "message-type": message.type,
      "remote-peer-id": to,
      "remote-peer-name": channel,
    });
    this.#world.metrics.count("etcd_network_peer_sent_failures_total", 1, { To: to });
    this.#world.tell.unreachable(this.#id);
  }

  describe(): string {
    const open = (parts: Readonly<Record<StreamKind, { readonly working: boolean }>>): string =>
      (["append", "message"] as const).filter((kind) => parts[kind].working).join("+");
    return `${open(this.#writers)} out, ${open(this.#readers)} in`;
  }

  flush(): void {
    this.#writers.append.flush();
    this.#writers.message.flush();
  }

  sendSnapshot(message: Message, database: DatabaseStream): void {
    this.#snapshots.send(message, database);
  }

  attach(kind: StreamKind, response: ServerResponse): void {
    this.#writers[kind].attach(response);
  }

  tick(): void {
    for (const part of [...Object.values(this.#writers), ...Object.values(this.#readers)]) void part.tick();
  }

  async stop(): Promise<void> {
    this.#writers.append.close();
    this.#writers.message.close();
    this.#pipeline.stop();
    this.#prober.stop();
    await Promise.all([this.#snapshots.stop(), this.#readers.append.stop(), this.#readers.message.stop()]);
  }
}

/** What the receiver is told when the turn ends. */
interface Notice {
  run(receiver: PeerReceiver): void;
}

class Transport implements Peers {
  readonly routes: Routes;
  readonly #world: TransportWorld;
  readonly #client: PeerClient;
  readonly #peers = new Map<bigint, RemotePeer>();
  /** Members that we know by their word alone, the oldest first. */
  readonly #remotes = new Map<bigint, Pipeline>();
  readonly #shut: () => Promise<void>;
  readonly #ticker: Timer;
  /** Peers that were removed and are not quiet yet. */
  readonly #leaving = new Set<Promise<void>>();
  #notices: Notice[] = [];
  readonly #unreachable = new Set<bigint>();
  #stopped: Promise<void> | undefined;

  constructor(
    world: Omit<TransportWorld, "local" | "receiver" | "tell">,
    client: PeerClient,
    local: LocalIdentity,
    receiver: PeerReceiver,
    shut: () => Promise<void>,
  ) {
    this.#client = client;
    this.#shut = shut;
    this.#world = {
      ...world,
      log: world.log.with({ "local-member-id": memberIdText(local.memberId) }),
      local,
      receiver,
      tell: {
        unreachable: (id) => this.#noteUnreachable(id),
        snapshotSent: (id, delivered) => this.#note({ run: (receiver) => receiver.onSnapshotSent(id, delivered) }),
        removed: () => this.#note({ run: (receiver) => receiver.onRemoved() }),
      },
    };
    this.routes = new Routes(this.#world, {
      isPeer: (id) => this.#peers.has(id),
      attachStream: (id, kind, response) => this.#peers.get(id)?.attach(kind, response),
      addRemote: (id, urls) => this.#addRemote(id, urls),
    });
    this.#ticker = world.clock.every(world.timeouts.connectionMs / 3, () => {
      for (const peer of this.#peers.values()) peer.tick();
    });
  }

  send(messages: readonly Message[]): void {
    const touched = new Set<RemotePeer>();
    for (const message of messages) {
      if (message.to === 0n || message.type === MessageType.snapshot) continue;
      const peer = this.#peers.get(message.to);
      if (peer === undefined) {
        this.#remotes.get(message.to)?.send(message);
        continue;
      }
      peer.send(message);
      touched.add(peer);
    }
    for (const peer of touched) peer.flush();
  }

  sendSnapshot(message: Message, database: DatabaseStream): void {
    const peer = this.#peers.get(message.to);
    if (peer !== undefined && this.#stopped === undefined) {
      peer.sendSnapshot(message, database);
      return;
    }
    void letGo(database);
    this.#world.tell.snapshotSent(message.to, false);
  }

  add(id: bigint, urls: readonly string[]): void {
    if (this.#stopped !== undefined || id === this.#world.local.memberId) return;
    const usable = urls.filter(isPeerUrl);
    const fields = { "remote-peer-id": memberIdText(id), "remote-peer-urls": urls };
    if (usable.length === 0) {
      // The log holds what it holds: a member that nobody can dial is there, and unreachable.
      this.#world.log.error("failed NewURLs: no peer URL of the member can be dialed", fields);
      return;
    }
    const present = this.#peers.get(id);
    if (present !== undefined) {
      present.update(usable);
      this.#world.log.info("updated remote peer", fields);
      return;
    }
    this.#dropRemote(id);
    this.#peers.set(id, new RemotePeer(this.#world, this.#client, id, usable));
    this.#world.log.info("added remote peer", fields);
  }

  remove(id: bigint): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    this.#peers.delete(id);
    const leaving = peer.stop().finally(() => this.#leaving.delete(leaving));
    this.#leaving.add(leaving);
    this.#world.log.info("removed remote peer", { "removed-remote-peer-id": memberIdText(id) });
  }

  activeSince(id: bigint): number | undefined {
    return this.#peers.get(id)?.status.since;
  }

  describe(id: bigint): string {
    return this.#peers.get(id)?.describe() ?? (this.#remotes.has(id) ? "known by its word" : "unknown");
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#ticker.cancel();
    for (const id of this.#peers.keys()) this.remove(id);
    for (const id of this.#remotes.keys()) this.#dropRemote(id);
    await Promise.all(this.#leaving);
    await this.#shut();
    await this.routes.settled();
    this.#tellAll();
  }

  // ---- those who are not members yet ------------------------------------------------------------------------------

  #addRemote(id: bigint, urls: readonly string[]): void {
    if (this.#stopped !== undefined || id === this.#world.local.memberId) return;
    if (this.#peers.has(id) || this.#remotes.has(id)) return;
    for (const oldest of this.#remotes.keys()) {
      if (this.#remotes.size < PEER_REMOTES_MAX) break;
      this.#dropRemote(oldest);
    }
    const status = new PeerStatus({ local: this.#world.local.memberId, remote: id }, this.#world);
    this.#remotes.set(id, new Pipeline(this.#world, id, new UrlPicker(urls), status));
    this.#world.log.info("added new remote peer", { "remote-peer-id": memberIdText(id), "remote-peer-urls": urls });
  }

  #dropRemote(id: bigint): void {
    this.#remotes.get(id)?.stop();
    this.#remotes.delete(id);
  }

  // ---- what the receiver is told ----------------------------------------------------------------------------------

  #noteUnreachable(id: bigint): void {
    if (this.#unreachable.has(id)) return; // once a turn is enough
    this.#unreachable.add(id);
    this.#note({ run: (receiver) => receiver.onUnreachable(id) });
  }

  #note(notice: Notice): void {
    this.#notices.push(notice);
    if (this.#notices.length === 1) queueMicrotask(() => this.#tellAll());
  }

  #tellAll(): void {
    const notices = this.#notices;
    this.#notices = [];
    this.#unreachable.clear();
    for (const notice of notices) notice.run(this.#world.receiver);
  }
}
