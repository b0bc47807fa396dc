/**
 * What a run came through that is worth coming through: read from what members say in their logs, from platters, and from what the
 * world does, and counted. A campaign that is large enough must have reached each (`main.ts`), or it proves less than it seems to.
 *
 * Some are also moments at which the nemesis lies in wait (`AMBUSHES`): what happens between two steps that are milliseconds apart is
 * seldom met by chance.
 */
import type { LogFields } from "../../src/platform/index.js";
import type { ClusterWorld } from "./cluster.js";
import type { Counts } from "./counts.js";
import type { ReplacedBy } from "./durable-log.js";
import type { Machine } from "./machine.js";

/** Each must be reached by a campaign of many seeds. */
export const SITUATIONS = [
  "a snapshot brought a slow follower up",
  "a leader's snapshot took the place of entries of a follower's own",
  "entries that were not committed were overwritten by those of another term",
  "a segment was cut during an election",
  "a segment was cut while a snapshot was taken",
  "a log with a torn end was repaired at boot",
  "a member abstained until its log was whole again",
  "a member refused its damaged disk",
  "a compaction was taken up again at boot",
  "a leader stepped down, for it heard of no majority",
  "leadership was transferred",
  "the leader changed while a snapshot was on its way",
  "the leader changed with a change of members under way",
  "the leader changed while a segment was cut",
  "a learner was promoted",
  "a member was removed",
  "a member crashed with a change of members in its log that it had not applied",
  "a member crashed while it took a snapshot",
  "a member crashed while it received a snapshot",
  "a member crashed while db was defragmented",
  "a member crashed again before it served",
  "power failed right after a kill",
  "a request of unknown outcome took effect",
] as const;

export type Situation = (typeof SITUATIONS)[number];

/** Moments at which the nemesis may strike: a seed lies in wait for some of them. */
export const AMBUSHES = [
  "segment cut",
  "segment cut in a snapshot",
  "snapshot begun",
  "snapshot taken",
  "snapshot arriving",
  "snapshot installing",
  "snapshot installed",
  "entries replaced",
  "leader elected",
  "members changed",
] as const;

/**
 * ... and those that come so seldom, or matter for so short, that no seed lets them pass: what a repair left is read again; so is a log
 * whose entries a snapshot took the place of, before others follow them; so is a segment that begins with the record of a snapshot older
 * than itself, and one in which a snapshot follows entries that reached further before they were replaced; and `db` just after it was
 * defragmented, or compacted, before a commit hides what is wrong with it.
 */
export const ALWAYS_AMBUSHED = [
  "log repaired",
  "replacing snapshot installing",
  "older snapshot begins a segment",
  "snapshot begun short of replaced entries",
  "snapshot short of replaced entries",
  "db defragmented",
  "db compacted",
] as const;

export type Ambush = (typeof AMBUSHES)[number] | (typeof ALWAYS_AMBUSHED)[number];

/** What a campaign counts a situation as. */
export function countOf(situation: Situation): string {
  return `situation: ${situation}`;
}

/** A campaign of so many seeds comes through every situation, or something is wrong with the world. */
const SEEDS_FOR_ALL = 1_000;

/** What a campaign should have come through and did not; nothing when it is small. */
export function missedSituations(seeds: number, counts: Counts): Situation[] {
  if (seeds < SEEDS_FOR_ALL) return [];
  return SITUATIONS.filter((situation) => counts.get(countOf(situation)) === 0);
}

/** What a machine's process is in the midst of. */
interface Doing {
  takesSnapshot: boolean;
  receivesSnapshot: boolean;
  defragments: boolean;
  abstained: boolean;
  /** A snapshot took the place of entries of its own, and is not installed yet. */
  wasReplaced: boolean;
  /** When it cut its last segment. */
  cutAt: number;
  /** Its last durable entry then. */
  cutIndex: number;
  /** Up to where entries were on its disk that were replaced since; 0 for none. */
  replacedTo: number;
}

/** How long after a segment was cut an election still finds nothing in the new one but its head. */
const AFTER_CUT_MS_MAX = 20;

export class Situations {
  readonly #world: ClusterWorld;
  readonly #machines: readonly Machine[];
  readonly #changesMembers: () => boolean;
  readonly #onAmbush: (ambush: Ambush, machine: Machine) => void;
  readonly #doing = new Map<Machine, Doing>();

  /**
   * @param machines all of the cluster, those that come later included
   * @param changesMembers whether an operator waits for the end of a change of members
   * @param onAmbush told of each moment to lie in wait for
   */
  constructor(
    world: ClusterWorld,
    machines: readonly Machine[],
    changesMembers: () => boolean,
    onAmbush: (ambush: Ambush, machine: Machine) => void,
  ) {
    this.#world = world;
    this.#machines = machines;
    this.#changesMembers = changesMembers;
    this.#onAmbush = onAmbush;
  }

  reached(situation: Situation): void {
    this.#world.counts.add(countOf(situation));
  }

  onLogLine(machine: Machine, message: string, fields: LogFields | undefined): void {
    if (fields?.["logger"] === "raft") this.#onRaftLine(machine, message);
    else this.#onLine(machine, message, fields);
  }

  #onLine(machine: Machine, message: string, fields: LogFields | undefined): void {
    const doing = this.#of(machine);
    switch (message) {
      case "created a new WAL segment":
        doing.cutAt = this.#world.scheduler.now;
        doing.cutIndex = machine.durableLog.lastIndex;
        if (this.#isElecting()) this.reached("a segment was cut during an election");
        if (doing.takesSnapshot) {
          this.reached("a segment was cut while a snapshot was taken");
          this.#onAmbush("segment cut in a snapshot", machine);
        } else this.#onAmbush("segment cut", machine);
        return;
      case "triggering snapshot":
        doing.takesSnapshot = true;
        this.#onAmbush(
          isShort(machine, doing) ? "snapshot begun short of replaced entries" : "snapshot begun",
          machine,
        );
        return;
      case "saved snapshot":
        doing.takesSnapshot = false;
        this.#onAmbush(ambushAtSnapshot(machine, doing, Number(fields?.["snapshot-index"])), machine);
        return;
      case "receiving database snapshot":
        doing.receivesSnapshot = true;
        this.#onAmbush("snapshot arriving", machine);
        return;
      case "applying snapshot":
        doing.receivesSnapshot = true;
        this.#onAmbush(doing.wasReplaced ? "replacing snapshot installing" : "snapshot installing", machine);
        doing.wasReplaced = false;
        return;
      case "applied snapshot":
        doing.receivesSnapshot = false;
        this.reached("a snapshot brought a slow follower up");
        this.#onAmbush("snapshot installed", machine);
        return;
      case "defragmenting":
        doing.defragments = true;
        return;
      case "finished defragmenting directory":
        doing.defragments = false;
        this.#onAmbush("db defragmented", machine);
        return;
      case "finished scheduled compaction":
        this.#onAmbush("db compacted", machine);
        return;
      case "the WAL has a damaged end":
        if (machine.damaged === undefined) this.reached("a log with a torn end was repaired at boot");
        this.#onAmbush("log repaired", machine);
        return;
      case "resume scheduled compaction":
        this.reached("a compaction was taken up again at boot");
        return;
      case "leadership transfer finished":
        this.reached("leadership was transferred");
        return;
      case "promote member":
      case "removed member":
      case "added member":
        // At boot they are told of all changes that the log still has.
        if (machine.process?.member !== undefined) this.#onAmbush("members changed", machine);
        return;
      default:
    }
  }

  #onRaftLine(machine: Machine, message: string): void {
    if (message.includes(" became leader at term ")) {
      const all = [...this.#doing.values()];
      if (all.some(({ receivesSnapshot }) => receivesSnapshot))
        this.reached("the leader changed while a snapshot was on its way");
      if (this.#changesMembers()) this.reached("the leader changed with a change of members under way");
      if (all.some(({ cutAt }) => this.#world.scheduler.now - cutAt < AFTER_CUT_MS_MAX))
        this.reached("the leader changed while a segment was cut");
      this.#onAmbush("leader elected", machine);
    } else if (message.endsWith(" stepped down to follower since quorum is not active")) {
      this.reached("a leader stepped down, for it heard of no majority");
    }
  }

  #isElecting(): boolean {
    return this.#machines.some(({ process }) => {
      if (process?.member === undefined || process.failure !== undefined) return false;
      const { role } = process.member.observe();
      return role === "candidate" || role === "pre-candidate";
    });
  }

  onEntriesReplaced(machine: Machine, by: ReplacedBy): void {
    const doing = this.#of(machine);
    doing.replacedTo = Math.max(doing.replacedTo, machine.durableLog.lastIndex);
    this.#onAmbush("entries replaced", machine);
    if (by === "entry") {
      this.reached("entries that were not committed were overwritten by those of another term");
      return;
    }
    doing.wasReplaced = true;
    this.reached("a leader's snapshot took the place of entries of a follower's own");
  }

  /** The machine's process is about to die. */
  onCrashing(machine: Machine, isPowerLossAfterKill: boolean): void {
    const doing = this.#of(machine);
    if (doing.takesSnapshot) this.reached("a member crashed while it took a snapshot");
    if (doing.receivesSnapshot) this.reached("a member crashed while it received a snapshot");
    if (doing.defragments) this.reached("a member crashed while db was defragmented");
    if (isPowerLossAfterKill) this.reached("power failed right after a kill");
    const { member } = machine.process ?? {};
    if (member === undefined) this.reached("a member crashed again before it served");
    else if (machine.durableLog.changeIndex > member.observe().appliedIndex)
      this.reached("a member crashed with a change of members in its log that it had not applied");
  }

  /** It is gone: what it was in the midst of ended with it. */
  onGone(machine: Machine): void {
    this.#doing.delete(machine);
  }

  /** What a member that serves says of itself. */
  onRest(machine: Machine, abstains: boolean): void {
    const doing = this.#of(machine);
    if (doing.abstained && !abstains) this.reached("a member abstained until its log was whole again");
    doing.abstained = abstains;
  }

  #of(machine: Machine): Doing {
    let doing = this.#doing.get(machine);
    if (doing === undefined) {
      doing = {
        takesSnapshot: false,
        receivesSnapshot: false,
        defragments: false,
        abstained: false,
        wasReplaced: false,
        cutAt: Number.NEGATIVE_INFINITY,
        cutIndex: 0,
        replacedTo: 0,
      };
      this.#doing.set(machine, doing);
    }
    return doing;
  }
}

/** What to lie in wait for when a snapshot was recorded: where it stands in the log makes the difference. */
function ambushAtSnapshot(machine: Machine, doing: Doing, index: number): Ambush {
  const { lastIndex } = machine.durableLog;
  // The newest segment has no entry yet, and those in front of it go on where the snapshot does not reach.
  if (lastIndex === doing.cutIndex && index < lastIndex) return "older snapshot begins a segment";
  return isShort(machine, doing) ? "snapshot short of replaced entries" : "snapshot taken";
}

/** Entries that were replaced reached further than the log does now. */
function isShort({ durableLog }: Machine, { replacedTo }: Doing): boolean {
  return durableLog.lastIndex < replacedTo;
}
