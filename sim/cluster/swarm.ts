/**
 * What one seed is made of: every seed draws its own sizes, limits, speeds and its own few kinds of faults. A run in which
 * everything goes wrong at once soon stands still; many runs in which two or three things go wrong see more (swarm testing).
 */
import type { MemberOptions } from "../../src/server/index.js";
import { MessageType } from "../../src/proto/raft.js";
import type { SimRandom } from "../random.js";
import type { ClientHabits } from "./clients.js";
import { FAULT_KINDS, type FaultKind } from "./fault-kinds.js";
import type { DiskHabits } from "./machine.js";
import type { LinkHabits } from "./peer-network.js";
import { AMBUSHES, type Ambush } from "./situations.js";
import type { WatchHabits } from "./watch-clients.js";
import type { Mix, WorkloadOptions } from "./workload.js";

export interface SeedPlan {
  readonly members: number;
  /** What of a member's options differs from the defaults, for all members. */
  readonly options: Partial<MemberOptions>;
  readonly links: LinkHabits;
  readonly disks: DiskHabits;
  readonly clients: readonly ClientHabits[];
  /** Clients that all call the leader in the same moment, now and then: what it cannot commit then makes a long tail. */
  readonly crowd: CrowdPlan;
  readonly workload: WorkloadOptions;
  /** Clients that watch. */
  readonly watchers: readonly WatchHabits[];
  /** Undefined where authentication is never on. */
  readonly auth: AuthPlan | undefined;
  /** Calls of all clients together, about; fewer when many wait long. */
  readonly operations: number;
  /** How long clients call and things go wrong. */
  readonly chaosMs: number;
  readonly faults: readonly FaultKind[];
  /** Moments at which it strikes at once. */
  readonly ambushes: readonly Ambush[];
  /** Pause between two faults. */
  readonly faultPauseMsMax: number;
  /** Clocks run up to so many parts in a thousand too fast or too slow. */
  readonly driftMax: number;
}

export interface AuthPlan {
  /** Between two changes of users and roles. */
  readonly pauseMsMax: number;
  /** How long a token lives that nobody uses. */
  readonly tokenSeconds: number;
}

export interface CrowdPlan {
  /** 0 for no crowd. */
  readonly size: number;
  readonly habits: ClientHabits;
  /** Pause between two of its calls. */
  readonly pauseMsMax: number;
}

export interface SwarmOptions {
  /** Members of the cluster; drawn when left out. */
  readonly members?: number;
  /** Calls of all clients; drawn when left out. */
  readonly operations?: number;
}

export function drawPlan(random: SimRandom, options: SwarmOptions = {}): SeedPlan {
  const members = random.pick([1, 3, 3, 3, 3, 5]);
  const size = options.members ?? members;
  const clients = 3 + random.below(6);
  const operations = options.operations ?? random.pick([200, 400, 400, 800]);
  const chaosMs = random.pick([5_000, 10_000, 20_000, 30_000]);
  const electionMs = random.pick([300, 500, 1000]);
  const keys = random.pick([2, 4, 8, 20]);
  const leaseCheckpoint = random.oneIn(3);
  return {
    members: size,
    options: {
      electionMs,
      heartbeatMs: electionMs / random.pick([5, 10]),
      preVote: !random.oneIn(4),
      initialElectionTickAdvance: !random.oneIn(4),
      segmentBytes: random.pick([4_096, 4_096, 8_192, 32_768]),
      snapshotCount: random.pick([3, 10, 25, 100, 400]),
      catchUpEntries: random.pick([1, 3, 10, 50]),
      snapshotsKept: random.pick([1, 2, 5]),
      segmentsKept: random.pick([1, 2, 5]),
      batchIntervalMs: random.pick([5, 20, 100, 100]),
      batchWritesMax: random.pick([1, 3, 20, 1_000]),
      syncOnLoop: random.oneIn(2),
      strictReconfigCheck: random.oneIn(2),
      watchProgressMs: random.pick([100, 500, 2_000]),
      watchDeliveriesPerTurnMax: random.pick([1, 3, 10_000, 10_000]),
      watchWalkRowsMax: random.pick([1, 2, 5, 1_000]),
      leaseCheckpoint,
      leaseCheckpointPersist: leaseCheckpoint && random.oneIn(2),
      leaseCheckpointMs: random.pick([500, 1_000, 2_000]),
    },
    links: drawLinks(random),
    disks: drawDisks(random),
    clients: Array.from({ length: clients }, () => drawClient(random, (2 * clients * chaosMs) / operations)),
    crowd: drawCrowd(random),
    workload: {
      keys,
      valueBytesMax: random.pick([20, 100, 600]),
      leaseSecondsMax: random.pick([2, 4, 6]),
      mix: drawMix(random),
    },
    watchers: Array.from({ length: random.pick([0, 1, 2, 3]) }, () => drawWatcher(random, keys)),
    auth: random.oneIn(3) ? drawAuth(random) : undefined,
    operations,
    chaosMs,
    faults: drawFaults(random),
    ambushes: drawAmbushes(random),
    faultPauseMsMax: random.pick([300, 1_000, 3_000]),
    driftMax: random.pick([0, 0, 10, 50]),
  };
}

/** What needs two blows in the right places, or a long time, is tried more often. */
const DRAWN_FAULTS: readonly FaultKind[] = [
  ...FAULT_KINDS,
  "kill-then-power-loss",
  "kill-then-power-loss",
  "defragment",
  "late-reads",
];

function drawFaults(random: SimRandom): FaultKind[] {
  if (random.oneIn(20)) return []; // a calm world must be right, too
  const chosen = new Set<FaultKind>();
  const count = 1 + random.below(5);
  while (chosen.size < count) chosen.add(random.pick(DRAWN_FAULTS));
  return [...chosen];
}

function drawAmbushes(random: SimRandom): Ambush[] {
  if (!random.oneIn(2)) return [];
  return [random.pick(AMBUSHES), random.pick(AMBUSHES), random.pick(AMBUSHES)];
}

/** Kinds of messages of which a late one matters: entries, what confirms that a leader leads, and what tells up to where to read. */
const LAGGARDS: readonly (readonly MessageType[])[] = [
  [],
  [],
  [],
  [MessageType.append],
  [MessageType.append, MessageType.readIndexResponse],
  [MessageType.append, MessageType.readIndexResponse],
  [MessageType.heartbeatResponse],
];

function drawLinks(random: SimRandom): LinkHabits {
  const wild = random.oneIn(2);
  const delayMsMin = random.pick([0.05, 0.2, 1]);
  const delayMsMax = random.pick([0.5, 2, 10]) + 1;
  const lossOneIn = wild ? random.pick([0, 10, 50, 200]) : 0;
  const repeatOneIn = wild ? random.pick([0, 10, 100]) : 0;
  const lateOneIn = wild ? random.pick([0, 10, 100]) : 0;
  return {
    delayMsMin,
    delayMsMax,
    lossOneIn,
    repeatOneIn,
    lateOneIn,
    // What is late seldom may be so by longer than a read waits before it asks again.
    lateMsMax: lateOneIn === 100 ? 1_000 : 10 * delayMsMax,
    reorders: wild && random.oneIn(2),
    laggards: random.pick(LAGGARDS),
    lagMsMax: random.pick([50, 300, 1_500, 1_500]),
    brokenStreamOneIn: random.pick([0, 2, 5]),
  };
}

function drawDisks(random: SimRandom): DiskHabits {
  const slow = random.oneIn(5);
  return {
    syncMsMin: random.pick([0.05, 0.2]),
    syncMsMax: random.pick([0.3, 2, slow ? 30 : 5]),
    stallOneIn: slow ? random.pick([50, 500]) : 0,
    stallMsMax: random.pick([200, 2_000, 10_000]),
    waitOneIn: random.pick([0, 4, 30]),
  };
}

function drawClient(random: SimRandom, pauseMsMax: number): ClientHabits {
  const readsOnly = random.oneIn(4);
  return {
    readsOnly,
    pauseMsMax: readsOnly ? Math.min(pauseMsMax, 100) : pauseMsMax,
    timeoutMsMin: readsOnly ? 100 : random.pick([200, 1_000]),
    timeoutMsMax: readsOnly ? 500 : random.pick([1_500, 5_000]),
    lossOneIn: random.pick([0, 0, 0, 200]),
    moveOneIn: readsOnly ? 3 : random.pick([3, 20, 100]),
  };
}

function drawWatcher(random: SimRandom, keys: number): WatchHabits {
  return {
    watchers: 1 + random.below(3),
    pauseMsMax: random.pick([200, 1_000, 3_000]),
    restMsMax: random.pick([0, 500, 3_000]),
    keys,
  };
}

function drawAuth(random: SimRandom): AuthPlan {
  return { pauseMsMax: random.pick([300, 1_000, 3_000]), tokenSeconds: random.pick([1, 5, 300]) };
}

function drawCrowd(random: SimRandom): CrowdPlan {
  return {
    size: random.pick([0, 0, 10, 30]),
    habits: { readsOnly: false, pauseMsMax: 0, timeoutMsMin: 500, timeoutMsMax: 2_000, lossOneIn: 0, moveOneIn: 0 },
    pauseMsMax: random.pick([2_000, 6_000]),
  };
}

function drawLeaseMix(
  random: SimRandom,
): Pick<Mix, "grant" | "attach" | "renew" | "leaseTime" | "revoke" | "leaseList"> {
  if (random.oneIn(3)) return { grant: 0, attach: 0, renew: 0, leaseTime: 0, revoke: 0, leaseList: 0 };
  return {
    grant: 5,
    attach: 12,
    renew: random.pick([5, 15]),
    leaseTime: 3,
    revoke: random.pick([0, 1, 3]),
    leaseList: 1,
  };
}

function drawMix(random: SimRandom): Mix {
  const sometimes = (weight: number): number => (random.oneIn(3) ? 0 : weight);
  return {
    put: 20 + random.below(30),
    get: 10 + random.below(20),
    getSerializable: sometimes(10),
    list: sometimes(5),
    getPast: sometimes(4),
    delete: sometimes(6),
    compareAndSwap: sometimes(12),
    createOnce: sometimes(6),
    nested: sometimes(random.pick([4, 10])),
    compact: sometimes(random.pick([2, 6])),
    hash: sometimes(3),
    ...drawLeaseMix(random),
  };
}
