/**
 * One machine of the simulated world: a disk, a clock, and the server process that runs on it, or none.
 *
 * The process is the shipped `Member` over doors that this machine opens. A process ends in one of three ways: it stops by itself,
 * it is killed (all is as written, nothing more is synced), or power fails (the disk keeps what a sync covered, and of the rest
 * what chance leaves). From then on its doors do nothing: whatever it still waits for never comes.
 */
import { invariant } from "../../src/base/errors.js";
import { SECTOR_BYTES } from "../../src/base/limits.js";
import type { LogFields, Network } from "../../src/platform/index.js";
import { Member, type MemberOptions } from "../../src/server/index.js";
import { layoutOf } from "../../src/server/layout.js";
import { SimDisk } from "../disk.js";
import type { FaultKind } from "../faults.js";
import type { CrashMode, DiskOperation } from "../platter.js";
import type { SimRandom } from "../random.js";
import { simCredentials } from "./accounts.js";
import type { Counts } from "./counts.js";
import { DurableLog, type ReplacedBy } from "./durable-log.js";
import { LogRing } from "./log-ring.js";
import { MachineClock } from "./machine-clock.js";
import { SimPeerDoor } from "./peer-door.js";
import type { NetworkMachine, SimPeerNetwork } from "./peer-network.js";
import type { Owner, Scheduler } from "./scheduler.js";
import type { Trace } from "./trace.js";

/** How quick a disk is. */
export interface DiskHabits {
  readonly syncMsMin: number;
  readonly syncMsMax: number;
  /** One sync in so many takes up to `stallMsMax`; 0 for none. */
  readonly stallOneIn: number;
  readonly stallMsMax: number;
  /** One of the other operations in so many takes as long as a sync; 0 for none. */
  readonly waitOneIn: number;
}

export const CALM_DISK: DiskHabits = { syncMsMin: 0.1, syncMsMax: 1, stallOneIn: 0, stallMsMax: 0, waitOneIn: 16 };

/** The parts of a member's disk. */
export type DiskPart = "log" | "db" | "snapshots";
export const DISK_PARTS: readonly DiskPart[] = ["log", "db", "snapshots"];

/** Files that are read again at a start. */
const ROTS = /\.wal$|\.snap$|\/db$/;

/**
 * Sectors of a page of `db`. The last one is spared: the page's seal is in it, and a page that lost its seal with a part of a large value
 * passes for one that bbolt wrote (`docs/formats/bolt.md`). What is found then is found by the comparison of hashes, not at once.
 */
const SECTORS_OF_PAGE = 4096 / SECTOR_BYTES;

/** Which operations count until a crash: of all of a disk most are on the log, and few come between a write and its sync. */
export interface CrashPoint {
  readonly part: DiskPart;
  /** Only syncs count: the crash comes when something was written and is not durable yet. */
  readonly atSync: boolean;
}

/** What a sync beside the log takes more, at most, while a machine is slow there. */
const BESIDE_LOG_SYNC_MS_MORE = 40;

const LOG_LINES_KEPT = 400;

/** Operations that a durable write on the loop stands for: the write and the sync. */
const OPERATIONS_OF_LOOP_WRITE = 2;

/** A cluster's members talk over `peers`; the network of bytes is not used. */
const noNetwork: Network = {
  listen: () => Promise.reject(new Error("no network of bytes in the simulated world")),
  connect: () => Promise.reject(new Error("no network of bytes in the simulated world")),
};

/** What became of a process, told to the world. */
export interface MachineEvents {
  /** The member serves. */
  onServing(machine: Machine, process: MemberProcess): void;
  /** Boot, or the wait for a leader after it, ended in an error. */
  onRefused(machine: Machine, process: MemberProcess, error: unknown): void;
  /** The member failed while it ran. */
  onFailure(machine: Machine, process: MemberProcess, error: unknown): void;
  /** The operation of the disk came at which this machine was to crash. */
  onCrashPoint(machine: Machine): void;
  /** Something became durable. */
  onDiskOperation(machine: Machine, operation: DiskOperation): void;
  /** Its log gave up entries for others. */
  onEntriesReplaced(machine: Machine, by: ReplacedBy): void;
  /** Its process said something in its log. */
  onLogLine(machine: Machine, message: string, fields: LogFields | undefined): void;
}

/** One life of the server on a machine. */
export class MemberProcess implements Owner {
  readonly machine: Machine;
  /** Counts the lives of all machines. */
  readonly number: number;
  readonly options: MemberOptions;
  gone = false;
  /** Set once it serves. */
  member: Member | undefined;
  /** Why it cannot go on. */
  failure: unknown;
  /** A fault was given to its disk that it may fail of. */
  mayFail = false;
  /** It was asked to stop. */
  stopping = false;
  /** Entries up to here may be in the `db` that a leader's snapshot brought, whatever the snapshot's own index is. */
  aheadTo = 0;

  constructor(machine: Machine, number: number, options: MemberOptions) {
    this.machine = machine;
    this.number = number;
    this.options = options;
  }

  get heldUntil(): number {
    return this.machine.heldUntil;
  }

  /** The last entry that what it serves may have come to; 0 before it serves. */
  get reachedIndex(): number {
    return Math.max(this.member?.observe().appliedIndex ?? 0, this.aheadTo);
  }
}

export interface World {
  readonly scheduler: Scheduler;
  readonly network: SimPeerNetwork;
  readonly trace: Trace;
  readonly counts: Counts;
}

export class Machine implements NetworkMachine {
  readonly name: string;
  readonly gone = false;
  heldUntil = 0;
  disk: SimDisk;
  diskHabits: DiskHabits = CALM_DISK;
  /** How long a token lives that nobody uses. */
  tokenSeconds = 300;
  /** Until then all but the log is slow: much is written to the log beside what is done with `db` and the snapshots. */
  slowBesideLogUntil = 0;
  readonly clock: MachineClock;
  readonly durableLog: DurableLog;
  readonly log = new LogRing(LOG_LINES_KEPT, (message, fields) => {
    if (this.process !== undefined) this.#events.onLogLine(this, message, fields);
  });
  process: MemberProcess | undefined;
  /** The part of its disk of which bits changed by themselves: it may refuse to start, or fail when it comes to them. */
  damaged: DiskPart | undefined;
  /** Who the member on this machine is; undefined before one has started there. */
  memberId: bigint | undefined;
  /** Who those were that lost their disk. */
  readonly formerIds = new Set<bigint>();
  /** The members of the cluster that it joins; undefined for one of a new cluster. */
  joins: ReadonlyMap<string, readonly string[]> | undefined;
  /** Members that this machine was before: each has a name of its own in the history. */
  generation = 0;
  /** Somebody asked for its removal: that may be carried out at any time. */
  mayBeRemoved = false;
  readonly #world: World;
  readonly #events: MachineEvents;
  readonly #random: SimRandom;
  #operations = 0;
  #crashAt: number | undefined;
  /** Only such operations count as far as the crash goes; all when undefined. */
  #crashPoint: CrashPoint | undefined;
  #operationsAtPoint = 0;
  #lives = 0;
  #heldLast = 0;

  constructor(world: World, events: MachineEvents, name: string, random: SimRandom) {
    this.name = name;
    this.#world = world;
    this.#events = events;
    this.#random = random.stream(`machine/${name}`);
    this.clock = new MachineClock(world.scheduler, this.#random.stream("clock"));
    this.durableLog = new DurableLog(layoutOf(this.dataDir).walDir, (by) => events.onEntriesReplaced(this, by));
    this.disk = this.#freshDisk();
    world.network.addMachine(this);
  }

  /** The member's name in a history: a machine that joins again is another member. */
  get memberName(): string {
    return this.generation === 0 ? this.name : `${this.name}.${this.generation}`;
  }

  get dataDir(): string {
    return `/data/${this.name}`;
  }

  /** Operations of the disk so far, over all lives. */
  get diskOperations(): number {
    return this.#operations;
  }

  // ---- lives -------------------------------------------------------------------------------------------------------

  start(options: MemberOptions): MemberProcess {
    invariant(this.process === undefined, () => `${this.name} runs already`);
    const { scheduler, network, counts } = this.#world;
    const process = new MemberProcess(this, ++this.#lives, options);
    this.process = process;
    counts.add("process starts");
    const clock = this.clock.doorFor(process);
    const random = this.#random.stream(`life/${process.number}`);
    const log = this.log.door(() => scheduler.now);
    log.info(`life ${process.number} of ${this.name} begins`);
    Member.start(
      {
        platform: { disk: this.disk, clock, random, network: noNetwork, log },
        peers: new SimPeerDoor(network, this, process, clock),
        credentials: simCredentials(clock, random.stream("credentials"), this.tokenSeconds),
      },
      options,
      { onFailure: (error) => this.#failed(process, error) },
    ).then(
      (member) => {
        if (process.gone) return;
        process.member = member;
        this.#events.onServing(this, process);
      },
      (error: unknown) => {
        if (process.gone) return;
        process.failure ??= error;
        this.#events.onRefused(this, process, error);
      },
    );
    return process;
  }

  #failed(process: MemberProcess, error: unknown): void {
    if (process.gone) return;
    process.failure ??= error;
    this.#events.onFailure(this, process, error);
  }

  /** The process dies, the machine lives. */
  kill(): void {
    this.#end();
    this.disk = this.disk.kill();
  }

  losePower(mode: CrashMode): void {
    this.#end();
    const random = this.#random.stream(`power/${this.#operations}`);
    this.disk = this.disk.kill().crash({ mode, random });
  }

  /** The member stopped by itself, and left nothing open. */
  ended(): void {
    this.#end();
    this.disk = this.disk.kill();
  }

  /** A new disk: nothing is left of what this machine knew. */
  wipe(): void {
    invariant(this.process === undefined, () => `${this.name} runs`);
    this.disk = this.#freshDisk();
    this.damaged = undefined;
    if (this.memberId !== undefined) this.formerIds.add(this.memberId);
    this.memberId = undefined;
    this.generation++;
    this.mayBeRemoved = false;
  }

  /** Something of a file changes by itself, while nothing runs: a bit, or a sector that reads as zeros. */
  rot(): void {
    invariant(this.process === undefined, () => `${this.name} runs`);
    const part = this.#random.pick<DiskPart>(["log", "log", "db", "snapshots"]);
    const files = [...this.disk.tree()].filter(
      ([path, content]) =>
        content !== undefined && content.length > 0 && this.#partOf(path) === part && ROTS.test(path),
    );
    if (files.length === 0) return;
    const [path, bytes] = this.#random.pick(files);
    // Behind the last record there are zeros that nobody reads: what lies before them is what matters.
    const written = bytes!.findLastIndex((byte) => byte !== 0) + 1;
    const file = this.disk.file(path);
    if (this.#random.oneIn(2)) file.flipBit(this.#random.below(8 * written));
    else {
      const sector = Math.floor(this.#random.below(written) / SECTOR_BYTES);
      file.zeroSector(part === "db" && sector % SECTORS_OF_PAGE === SECTORS_OF_PAGE - 1 ? sector - 1 : sector);
    }
    this.damaged = part;
    this.#world.counts.add(`disks damaged: ${part}`);
  }

  #end(): void {
    this.#crashAt = undefined;
    this.heldUntil = 0;
    const { process } = this;
    if (process === undefined) return;
    process.gone = true;
    this.process = undefined;
    void this.#world.network.close(this); // what the dead process was reading never ends
  }

  // ---- what a test does to it --------------------------------------------------------------------------------------

  /**
   * The machine crashes before the how-manieth operation of its disk from now on; 1 is the next.
   *
   * @param point which operations count; all when left out
   */
  crashAfter(operations: number, point?: CrashPoint): void {
    this.#crashPoint = point;
    this.#operationsAtPoint = 0;
    this.#crashAt = point === undefined ? this.#operations + operations : operations;
  }

  #partOf(path: string): DiskPart | undefined {
    const { walDir, snapDir, dbPath } = layoutOf(this.dataDir);
    if (path.startsWith(walDir)) return "log";
    if (path === dbPath) return "db";
    return path.startsWith(snapDir) ? "snapshots" : undefined;
  }

  /** Whether the crash comes within so many operations and syncs, these included, on the file of this path. */
  #crashesWithin(operations: number, syncs: number, path: string): boolean {
    if (this.#crashAt === undefined) return false;
    if (this.#crashPoint === undefined) return this.#operations + operations >= this.#crashAt;
    const counted = this.#countedAtPoint(operations, syncs, path);
    return counted > 0 && this.#operationsAtPoint + counted >= this.#crashAt;
  }

  #countOperations(operations: number, syncs: number, path: string): void {
    this.#operations += operations;
    this.#operationsAtPoint += this.#countedAtPoint(operations, syncs, path);
  }

  #countedAtPoint(operations: number, syncs: number, path: string): number {
    if (this.#crashPoint === undefined || this.#partOf(path) !== this.#crashPoint.part) return 0;
    return this.#crashPoint.atSync ? syncs : operations;
  }

  /** Nothing of the machine runs for a while: SIGSTOP, or a host that is not scheduled. */
  freeze(forMs: number): void {
    this.heldUntil = Math.max(this.heldUntil, this.#world.scheduler.now + forMs);
    this.#heldLast = Math.max(this.#heldLast, this.heldUntil);
  }

  /** Until when anything may come that waited for this machine, whoever runs on it now. */
  get heldLast(): number {
    return this.#heldLast;
  }

  /** Takes back all that would still go wrong. What is held is let go at its time. */
  heal(): void {
    this.#crashAt = undefined;
    this.diskHabits = CALM_DISK;
    this.slowBesideLogUntil = 0;
    this.disk.capacityBytes = Number.POSITIVE_INFINITY;
    this.disk.disarm();
    this.clock.setRate(1);
  }

  // ---- the disk ----------------------------------------------------------------------------------------------------

  #freshDisk(): SimDisk {
    return new SimDisk({
      folders: ["/data"],
      keepsJournal: false,
      seed: this.#random.next(),
      pace: (kind, bytes, path) => this.#pace(kind, bytes, path),
      mayHoldLoop: (bytes, path) => this.#mayHoldLoop(bytes, path),
      onOperation: (operation) => this.#onOperation(operation),
    });
  }

  #pace(kind: FaultKind, bytes: number, path: string): Promise<void> | undefined {
    const { process } = this;
    if (process === undefined) return never();
    const syncs = kind === "datasync" || kind === "sync" || kind === "sync-folder";
    if (this.#crashesWithin(1, syncs ? 1 : 0, path)) {
      this.#events.onCrashPoint(this);
      return never();
    }
    this.#countOperations(1, syncs ? 1 : 0, path);
    this.#world.trace.text(kind);
    this.#world.trace.number(bytes);
    if (!syncs && !this.#isSlowBesideLog(path) && !this.#chance(this.diskHabits.waitOneIn)) return undefined;
    return this.#world.scheduler.sleep(this.#latency(syncs, path), process);
  }

  /** A write on the loop: what it takes, the whole process waits for. */
  #mayHoldLoop(bytes: number, path: string): boolean {
    if (this.process === undefined) return false;
    // A crash inside goes the slow way: power may then fail between the write and its sync.
    if (this.#crashesWithin(OPERATIONS_OF_LOOP_WRITE, 1, path)) return false;
    this.#countOperations(OPERATIONS_OF_LOOP_WRITE, 1, path);
    this.#world.counts.add("writes on the loop");
    this.#world.trace.number(bytes);
    this.freeze(this.#latency(true, path));
    return true;
  }

  #isSlowBesideLog(path: string): boolean {
    return this.slowBesideLogUntil > this.#world.scheduler.now && this.#partOf(path) !== "log";
  }

  #latency(syncs: boolean, path: string): number {
    const { syncMsMin, syncMsMax, stallOneIn, stallMsMax } = this.diskHabits;
    const part = this.#random.below(1024) / 1024;
    if (syncs && this.#chance(stallOneIn)) {
      this.#world.counts.add("slow syncs");
      return stallMsMax * part;
    }
    return syncMsMin + (syncMsMax + (this.#isSlowBesideLog(path) ? BESIDE_LOG_SYNC_MS_MORE : 0) - syncMsMin) * part;
  }

  #onOperation(operation: DiskOperation): void {
    const { trace } = this.#world;
    trace.text(operation.kind);
    if (operation.kind === "write") trace.number(operation.offset + operation.bytes.length / 2 ** 20);
    else trace.number(operation.inode);
    this.#events.onDiskOperation(this, operation);
  }

  #chance(oneIn: number): boolean {
    return oneIn > 0 && this.#random.oneIn(oneIn);
  }
}

/** What a dead process waits for. A new one each time: one for all would keep all that ever waited. */
function never(): Promise<void> {
  return new Promise(() => undefined);
}
