/**
 * The network between the members of a simulated cluster: it is late, loses, repeats and reorders, and parts of it go dark.
 *
 * What goes over it are bytes: messages are encoded when they are sent and decoded when they arrive, so that members share no
 * object. Each direction between two machines is a link of its own, with its own cuts and clogs; a cut is counted, so that
 * partitions may overlap and heal independently.
 */
import { decodeMessage, encodeMessage, MessageType, type Message } from "../../src/proto/raft.js";
import type { Clock } from "../../src/platform/index.js";
import type { DatabaseStream } from "../../src/server/contract.js";
import type { LocalIdentity, PeerReceiver } from "../../src/server/peers.js";
import type { SimRandom } from "../random.js";
import type { Counts } from "./counts.js";
import type { Owner, Scheduler } from "./scheduler.js";
import { SnapshotPipe } from "./snapshot-pipe.js";
import type { Trace } from "./trace.js";

/** How the links behave while nothing special is wrong. */
export interface LinkHabits {
  readonly delayMsMin: number;
  readonly delayMsMax: number;
  /** One message in so many is lost, comes twice, is late; 0 for none. */
  readonly lossOneIn: number;
  readonly repeatOneIn: number;
  readonly lateOneIn: number;
  /** By how much it is late, at most: so long that the sender may have asked again. */
  readonly lateMsMax: number;
  /** Whether a message may overtake another on the same link. */
  readonly reorders: boolean;
  /** Messages of these kinds may lag behind all others: what was asked is answered before what was written comes, or the other way round. */
  readonly laggards: readonly MessageType[];
  /** One of them in two does, by up to so long. */
  readonly lagMsMax: number;
  /** One stream of a snapshot in so many is broken off on its way; 0 for none. */
  readonly brokenStreamOneIn: number;
}

export const CALM_HABITS: LinkHabits = {
  delayMsMin: 0.2,
  delayMsMax: 2,
  lossOneIn: 0,
  repeatOneIn: 0,
  lateOneIn: 0,
  lateMsMax: 20,
  reorders: false,
  laggards: [],
  lagMsMax: 0,
  brokenStreamOneIn: 0,
};

/** A machine, as far as the network knows it. */
export interface NetworkMachine extends Owner {
  readonly name: string;
}

/** A member that listens on the peer port of its machine. */
export interface PeerProcess {
  /** Another member's machine, as its own message tells: one that joins can so answer its leader before it knows anybody. */
  learn(id: bigint, machine: string): void;
  readonly machine: NetworkMachine;
  /** Its life: what it waits for never comes once it is gone. */
  readonly owner: Owner;
  readonly clock: Clock;
  readonly local: LocalIdentity;
  readonly receiver: PeerReceiver;
}

/** Who looks over the network's shoulder. */
export interface NetworkObserver {
  onSend(from: PeerProcess, message: Message): void;
  onSnapshotStream(from: PeerProcess, message: Message): void;
  /** A member begins to listen: its boot is over. */
  onOpen(process: PeerProcess): void;
}

interface Link {
  cuts: number;
  /** Nothing arrives before this moment; what waits arrives then. */
  clogUntil: number;
  /** When the last message arrives that was sent in order. */
  lastArrival: number;
  /** Since when messages pass, in the receiver's local time; undefined while they do not. */
  openSince: number | undefined;
}

/** How long a request to another member waits for its answer. */
const REQUEST_MS_MAX = 2_000;

/** What comes late to a machine whose reads are, and by how much at most: some three times what a read waits before it asks again. */
const LATE_READS: readonly MessageType[] = [MessageType.append, MessageType.readIndexResponse];
const LATE_READS_MS_MAX = 1_500;

/** The largest piece in which a snapshot's database arrives. */
const PIECE_BYTES_MAX = 4_096;

export class SimPeerNetwork {
  habits: LinkHabits = CALM_HABITS;
  readonly #scheduler: Scheduler;
  readonly #random: SimRandom;
  readonly #trace: Trace;
  readonly #counts: Counts;
  readonly #observer: NetworkObserver;
  readonly #machines = new Map<string, NetworkMachine>();
  readonly #processes = new Map<string, PeerProcess>();
  readonly #links = new Map<string, Link>();
  /** Until when a machine's reads are late. */
  readonly #lateReads = new Map<string, number>();
  readonly #streams = new Set<SnapshotPipe>();
  /** Snapshots that a member is reading; each resolves when it is done with its stream. */
  readonly #receiving = new Map<SnapshotPipe, Promise<void>>();

  constructor(scheduler: Scheduler, random: SimRandom, trace: Trace, counts: Counts, observer: NetworkObserver) {
    this.#scheduler = scheduler;
    this.#random = random;
    this.#trace = trace;
    this.#counts = counts;
    this.#observer = observer;
  }

  addMachine(machine: NetworkMachine): void {
    this.#machines.set(machine.name, machine);
  }

  // ---- processes come and go ---------------------------------------------------------------------------------------

  open(process: PeerProcess): void {
    this.#processes.set(process.machine.name, process);
    this.#observer.onOpen(process);
    this.#refreshLinks();
  }

  /** What the member on this machine tells of the cluster, up to date or not; undefined while nothing listens there. */
  toldBy(machine: string): Pick<PeerReceiver, "members" | "clusterVersion"> | undefined {
    return this.#processes.get(machine)?.receiver;
  }

  /** The process listens no more; streams to and from it break. Resolves when its member is done with those that it was reading. */
  async close(machine: NetworkMachine): Promise<void> {
    const receiving: Promise<void>[] = [];
    for (const [pipe, kept] of this.#receiving) {
      if (pipe.to !== machine.name) continue;
      receiving.push(kept);
      this.#receiving.delete(pipe);
    }
    this.#processes.delete(machine.name);
    for (const stream of this.#streams) {
      if (stream.from === machine.name || stream.to === machine.name) stream.break("the other end is gone");
    }
    this.#refreshLinks();
    await Promise.all(receiving);
  }

  // ---- what a test does to it --------------------------------------------------------------------------------------

  /** Nothing passes in this direction until `mend` was called as often. */
  cut(from: string, to: string): void {
    this.#link(from, to).cuts++;
    this.#refreshLinks();
  }

  mend(from: string, to: string): void {
    const link = this.#link(from, to);
    if (link.cuts > 0) link.cuts--;
    this.#refreshLinks();
  }

  clog(from: string, to: string, untilMs: number): void {
    const link = this.#link(from, to);
    link.clogUntil = Math.max(link.clogUntil, untilMs);
  }

  mendAll(): void {
    this.#lateReads.clear();
    for (const link of this.#links.values()) {
      link.cuts = 0;
      link.clogUntil = 0;
    }
    this.#refreshLinks();
  }

  isCut(from: string, to: string): boolean {
    return (this.#links.get(linkName(from, to))?.cuts ?? 0) > 0;
  }

  // ---- what members do ---------------------------------------------------------------------------------------------

  send(from: PeerProcess, to: string, message: Message): void {
    if (from.owner.gone) return;
    const bytes = encodeMessage(message);
    this.#observer.onSend(from, message);
    this.#counts.add("messages");
    this.#trace.number(message.type);
    this.#trace.bytes(bytes);
    const { habits } = this;
    const link = this.#link(from.machine.name, to);
    if (link.cuts > 0 || this.#chance(habits.lossOneIn)) {
      this.#counts.add(link.cuts > 0 ? "messages cut off" : "messages lost");
      this.#reportUnreachable(from, message.to);
      return;
    }
    this.#deliverLater(from, to, message.type, bytes, link);
    // A proposal that is passed on comes at most once, as over a TCP stream: raft would append it again (etcd relies on it, too).
    if (message.type !== MessageType.propose && this.#chance(habits.repeatOneIn)) {
      this.#counts.add("messages repeated");
      this.#deliverLater(from, to, message.type, bytes, link);
    }
  }

  /**
   * Until then a machine hears late, and in any order, what was written and up to where it may read: so late that it asks again, and gets
   * answers to questions that it has forgotten.
   */
  delayReads(machine: string, until: number): void {
    this.#lateReads.set(machine, until);
  }

  /** Since when messages of this machine arrive at that one, in that one's local time. */
  openSince(from: string, to: string): number | undefined {
    return this.#link(from, to).openSince;
  }

  /** @param to undefined when nobody knows where that member is: the snapshot is not delivered */
  sendSnapshot(from: PeerProcess, to: string | undefined, message: Message, database: DatabaseStream): void {
    if (from.owner.gone) return;
    if (to === undefined) {
      void release(database);
      this.#scheduler.after(this.#delay(), from.owner, () => from.receiver.onSnapshotSent(message.to, false));
      return;
    }
    const bytes = encodeMessage(message);
    this.#observer.onSnapshotStream(from, message);
    this.#counts.add("snapshot streams");
    this.#trace.bytes(bytes);
    const pipe = new SnapshotPipe(from.machine.name, to);
    this.#streams.add(pipe);
    const ended = (delivered: boolean): void => {
      this.#streams.delete(pipe);
      this.#counts.add(delivered ? "snapshots delivered" : "snapshots not delivered");
      this.#scheduler.after(this.#delay(), from.owner, () => from.receiver.onSnapshotSent(message.to, delivered));
    };
    pipe.onBroken = () => ended(false);
    void this.#pump(from, pipe, database);
    this.#scheduler.after(this.#delay(), this.#machines.get(to), () => this.#receiveSnapshot(from, pipe, bytes, ended));
  }

  /**
   * Asks one machine after the other until one answers. Resolves with undefined when none does; rejects when one refuses.
   *
   * @param answer runs at the other member; what it answers must not be shared afterwards
   */
  async request<Answer>(
    from: { readonly name: string; readonly owner: Owner },
    machines: readonly string[],
    answer: (process: PeerProcess) => Promise<Answer>,
  ): Promise<Answer | undefined> {
    for (const to of machines) {
      const outcome = await this.#requestOne(from, to, answer);
      if (outcome.kind === "answer") return outcome.value;
      if (outcome.kind === "refusal") throw outcome.error;
    }
    return undefined;
  }

  // ---- inside ------------------------------------------------------------------------------------------------------

  #requestOne<Answer>(
    from: { readonly name: string; readonly owner: Owner },
    to: string,
    answer: (process: PeerProcess) => Promise<Answer>,
  ): Promise<Reply<Answer>> {
    return new Promise((resolve) => {
      const scheduler = this.#scheduler;
      this.#counts.add("requests between members");
      scheduler.after(REQUEST_MS_MAX, from.owner, () => resolve({ kind: "none" }));
      const reply = (value: Reply<Answer>): void => {
        if (!this.#passes(to, from.name)) return;
        scheduler.after(this.#delay(), from.owner, () => resolve(value));
      };
      if (!this.#passes(from.name, to)) return;
      scheduler.after(this.#delay(), this.#machines.get(to), () => {
        const process = this.#processes.get(to);
        if (process === undefined) reply({ kind: "none" });
        else {
          answer(process).then(
            (value) => reply({ kind: "answer", value: structuredClone(value) }),
            (error: unknown) => reply({ kind: "refusal", error }),
          );
        }
      });
    });
  }

  #passes(from: string, to: string): boolean {
    return this.#link(from, to).cuts === 0 && !this.#chance(this.habits.lossOneIn);
  }

  #deliverLater(from: PeerProcess, to: string, type: MessageType, bytes: Uint8Array, link: Link): void {
    const { now } = this.#scheduler;
    // What a loop that waits for its disk sends leaves when it goes on.
    let arrival = Math.max(now, from.owner.heldUntil) + this.#delay();
    if (this.#chance(this.habits.lateOneIn))
      arrival += (this.#delay() * this.habits.lateMsMax) / this.habits.delayMsMax;
    arrival = Math.max(arrival, link.clogUntil);
    if (this.#isLate(to, type)) {
      arrival += (LATE_READS_MS_MAX * this.#random.below(1024)) / 1024;
    } else if (this.habits.laggards.includes(type) && this.#chance(2)) {
      arrival += (this.habits.lagMsMax * this.#random.below(1024)) / 1024;
    } else if (!this.habits.reorders) {
      arrival = Math.max(arrival, link.lastArrival);
      link.lastArrival = arrival;
    }
    this.#scheduler.after(arrival - now, this.#machines.get(to), () => this.#deliver(from, to, bytes, link));
  }

  #isLate(to: string, type: MessageType): boolean {
    const until = this.#lateReads.get(to);
    return until !== undefined && until > this.#scheduler.now && LATE_READS.includes(type);
  }

  #deliver(from: PeerProcess, to: string, bytes: Uint8Array, link: Link): void {
    const message = decodeMessage(bytes);
    if (link.cuts > 0) {
      this.#counts.add("messages cut off");
      return;
    }
    const process = this.#processes.get(to);
    if (process === undefined || process.local.memberId !== message.to) {
      this.#reportUnreachable(from, message.to);
      return;
    }
    if (process.local.clusterId !== from.local.clusterId) return;
    // The member that sent it is meant; what it passes on for others names them.
    if (process.receiver.isRemoved(from.local.memberId)) {
      this.#scheduler.after(this.#delay(), from.owner, () => from.receiver.onRemoved());
      return;
    }
    process.learn(from.local.memberId, from.machine.name);
    process.receiver.receive(message);
  }

  #reportUnreachable(from: PeerProcess, id: bigint): void {
    if (!this.#chance(2)) return;
    this.#scheduler.after(this.#delay(), from.owner, () => from.receiver.onUnreachable(id));
  }

  /** Reads the sender's database and puts it into the pipe, piece by piece; some streams break. */
  async #pump(from: PeerProcess, pipe: SnapshotPipe, database: DatabaseStream): Promise<void> {
    const breaksAfter = this.#chance(this.habits.brokenStreamOneIn)
      ? this.#random.below(Math.max(1, database.totalBytes))
      : Number.POSITIVE_INFINITY;
    let sent = 0;
    try {
      for await (const chunk of database.chunks) {
        for (let at = 0; at < chunk.length && !pipe.broken;) {
          const size = Math.min(chunk.length - at, 1 + this.#random.below(PIECE_BYTES_MAX));
          await this.#scheduler.sleep(this.#delay() / 4, from.owner);
          if (this.#link(pipe.from, pipe.to).cuts > 0 || sent >= breaksAfter) {
            this.#counts.add("snapshot streams cut");
            pipe.break("the connection was reset");
          }
          pipe.put(chunk.slice(at, at + size));
          at += size;
          sent += size;
        }
        if (pipe.broken) return;
      }
      pipe.end();
    } catch {
      pipe.break("the sender failed");
    }
  }

  #receiveSnapshot(
    from: PeerProcess,
    pipe: SnapshotPipe,
    bytes: Uint8Array,
    ended: (delivered: boolean) => void,
  ): void {
    if (pipe.broken) return;
    const process = this.#processes.get(pipe.to);
    const message = decodeMessage(bytes);
    if (process === undefined || process.local.memberId !== message.to || this.isCut(pipe.from, pipe.to)) {
      pipe.break("nobody listens");
      return;
    }
    if (process.local.clusterId !== from.local.clusterId || process.receiver.isRemoved(from.local.memberId)) {
      pipe.break("refused");
      return;
    }
    const kept = process.receiver.receiveSnapshot(message, pipe).then(
      () => {
        if (pipe.broken) return;
        pipe.finish();
        ended(true);
      },
      () => pipe.break("the receiver refused"),
    );
    if (process.owner.gone) return; // it crashed at its first step
    this.#receiving.set(pipe, kept);
    void kept.then(() => this.#receiving.delete(pipe));
  }

  #refreshLinks(): void {
    for (const from of this.#machines.keys()) {
      for (const to of this.#machines.keys()) {
        if (from === to) continue;
        const link = this.#link(from, to);
        const receiver = this.#processes.get(to);
        const open = link.cuts === 0 && this.#processes.has(from) && receiver !== undefined;
        if (!open) link.openSince = undefined;
        else link.openSince ??= receiver.clock.now();
      }
    }
  }

  #link(from: string, to: string): Link {
    const name = linkName(from, to);
    let link = this.#links.get(name);
    if (link === undefined) {
      link = { cuts: 0, clogUntil: 0, lastArrival: 0, openSince: undefined };
      this.#links.set(name, link);
    }
    return link;
  }

  #delay(): number {
    const { delayMsMin, delayMsMax } = this.habits;
    return delayMsMin + ((delayMsMax - delayMsMin) * this.#random.below(1024)) / 1024;
  }

  #chance(oneIn: number): boolean {
    return oneIn > 0 && this.#random.oneIn(oneIn);
  }
}

type Reply<Answer> =
  | { readonly kind: "none" }
  | { readonly kind: "answer"; readonly value: Answer }
  | { readonly kind: "refusal"; readonly error: unknown };

/** Gives up a database unread. A generator that was never asked for anything would not notice its end. */
async function release(database: DatabaseStream): Promise<void> {
  for await (const chunk of database.chunks) {
    if (chunk.length >= 0) return;
  }
}

function linkName(from: string, to: string): string {
  return `${from}>${to}`;
}
