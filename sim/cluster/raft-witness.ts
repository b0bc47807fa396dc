/**
 * Tells `check/raft-invariants.ts` what a run shows, step by step: the records that become durable on each platter, the messages that
 * leave, what members say of themselves, and what each read from its disk when it began.
 *
 * Two things are seen later than they happen. An entry is told when it is durable; a leader may be elected for entries that its own disk
 * does not have yet, and commit others. So it is told as leader from the first durable entry of its term on, behind which lies all that it
 * was elected for, and of what a member knows to be committed that counts which it has applied, for that is on its disk. And a member is
 * looked at only once it serves. Both make the laws milder, never wrong.
 *
 * Nothing is told of a machine whose bits changed, nor of one that began with a received snapshot on record that its commit does not
 * reach: what such a log holds is for the server's reader to say. While a voter is not told of, no majority is counted.
 */
import { invariant } from "../../src/base/errors.js";
import { MessageType, type ConfState, type Message } from "../../src/proto/raft.js";
import type { MemberObservation } from "../../src/server/index.js";
import { RaftInvariants, type HardState, type LogEntry, type Observation } from "../check/raft-invariants.js";
import type { LogRecord, SnapshotMark } from "./durable-log.js";
import type { Machine, MemberProcess } from "./machine.js";
import { ViolationError } from "./violation.js";

/** What raft says of itself when it begins, in its own log line. */
const NEW_RAFT =
  /^newRaft (?<id>[0-9a-f]+) \[peers: \[.*\], term: (?<term>\d+), commit: \d+, applied: \d+, lastindex: (?<last>\d+), lastterm: (?<lastTerm>\d+)\]$/;

/** Of a life that begins. */
const NOT_SEEN = { ledTerm: 0, electors: undefined, role: "follower" } as const;

const ROLES = {
  follower: "follower",
  candidate: "candidate",
  "pre-candidate": "preCandidate",
  leader: "leader",
} as const;

/** One life of a member, as far as it was told. */
interface Life {
  readonly name: string;
  /** Entries up to here may be in `db`: until they are applied again, the revision is ahead of the applied index. */
  applyFrom: number;
  lastIndex: number;
  seen: MemberObservation | undefined;
  /** The term that it was last seen to lead, and its members then; they are undefined where others may have elected it. */
  ledTerm: number;
  electors: ConfState | undefined;
  /** What was told of it last. */
  commit: number;
  role: MemberObservation["role"];
}

export class RaftWitness {
  readonly #laws = new RaftInvariants();
  readonly #fail: (violation: ViolationError) => void;
  readonly #lives = new Map<Machine, Life>();
  /** Names of the members that are told of. */
  readonly #told = new Set<string>();
  /** Terms of the entries that were told, of each member by index. */
  readonly #terms = new Map<string, Map<number, number>>();
  readonly #consistentIndexes = new Map<Machine, number>();
  /** The greatest of those that any member began with. A member may send its `db` before its applied index has come so far again. */
  #consistentIndexMax = 0;

  constructor(fail: (violation: ViolationError) => void) {
    this.#fail = fail;
  }

  /** A member opened its `db`, which holds the effects of entries up to this index. */
  onDatabaseOpen(machine: Machine, consistentIndex: number): void {
    this.#consistentIndexes.set(machine, consistentIndex);
    this.#consistentIndexMax = Math.max(this.#consistentIndexMax, consistentIndex);
  }

  /**
   * raft begins: what it read is what the disk holds, no more and no less.
   *
   * @param line its log line; the machine's log was read from the platter just now
   */
  onRaftBegins(machine: Machine, line: string): void {
    const groups = NEW_RAFT.exec(line)?.groups;
    invariant(groups !== undefined, () => `raft's first line is another one than is known here: ${line}`);
    const { id, term, last, lastTerm } = groups;
    const name = id!;
    this.#lives.delete(machine);
    const { durableLog } = machine;
    const { state, lastIndex } = durableLog;
    const snapshot = durableLog.snapshotInUse;
    if (machine.damaged !== undefined || durableLog.snapshotIndex > state.commit) {
      this.#told.delete(name);
      return;
    }
    const durableTerm = durableLog.entryAt(lastIndex)?.term ?? snapshot.term;
    if (Number(last) !== lastIndex || Number(lastTerm) !== durableTerm || Number(term) !== state.term) {
      const found = `term ${term}, and a log that ends with entry ${last} of term ${lastTerm}`;
      this.#break(
        "I5-durable-state-goes-forward",
        `${machine.name} begins with ${found}; its disk has term ${state.term}, and ends with entry ${lastIndex} of term ${durableTerm}`,
      );
      return;
    }
    const entries: LogEntry[] = [];
    for (let index = snapshot.index + 1; index <= lastIndex; index++) {
      const mark = durableLog.entryAt(index);
      if (mark === undefined) {
        this.#break("I5-durable-state-goes-forward", `${machine.name} begins without entry ${index} of ${lastIndex}`);
        return;
      }
      entries.push({ index, term: mark.term, content: String(mark.hash) });
    }
    this.#tellReplaced(name, state.term, snapshot, entries);
    this.#observe({
      kind: "started",
      member: name,
      ...hardStateOf(state),
      snapshotIndex: snapshot.index,
      snapshotTerm: snapshot.term,
      entries,
    });
    this.#terms.set(name, new Map([snapshot, ...entries].map((each) => [each.index, each.term])));
    const applyFrom = this.#consistentIndexes.get(machine) ?? 0;
    this.#lives.set(machine, { name, applyFrom, lastIndex, seen: undefined, ...NOT_SEEN, commit: state.commit });
    this.#told.add(name);
  }

  /**
   * A crash may leave a write that replaces entries on the disk although no sync made it durable: it was going there. Who replaces them leads
   * a later term than theirs, be its own entries as old as they may. And a leader's snapshot may have taken the place of the log while nothing
   * was told.
   */
  #tellReplaced(member: string, durableTerm: number, snapshot: SnapshotMark, entries: readonly LogEntry[]): void {
    const terms = this.#terms.get(member);
    if (terms !== undefined && snapshot.index > 0 && terms.get(snapshot.index) !== snapshot.term)
      this.#observe({ kind: "restored", member, ...snapshot });
    const first = entries.findIndex(({ index, term }) => {
      const known = terms?.get(index) ?? term;
      return term !== known && durableTerm > known;
    });
    if (first >= 0) this.#observe({ kind: "appended", member, entries: entries.slice(first) });
  }

  /** Its process is gone. What it promised stays. */
  onCrash(machine: Machine): void {
    this.#lives.delete(machine);
  }

  /** Nothing is told of this member any more. */
  onForgotten(machine: Machine): void {
    this.#lives.delete(machine);
    if (machine.memberId !== undefined) this.#told.delete(nameOf(machine.memberId));
  }

  /** These records of its log became durable. */
  onDurable(machine: Machine, records: readonly LogRecord[]): void {
    const life = this.#lives.get(machine);
    if (life === undefined || records.length === 0) return;
    const { name: member } = life;
    const entries: LogEntry[] = [];
    const tellEntries = (): void => {
      if (entries.length > 0) this.#observe({ kind: "appended", member, entries: entries.splice(0) });
    };
    for (const record of records) {
      if (record.kind === "entry") {
        // Entries that the same sync replaced again were never told apart.
        if (entries.length > 0 && record.index <= entries.at(-1)!.index) tellEntries();
        entries.push({ index: record.index, term: record.mark.term, content: String(record.mark.hash) });
        life.lastIndex = record.index;
        this.#terms.get(member)!.set(record.index, record.mark.term);
      } else if (record.kind === "state") {
        tellEntries();
        this.#observe({ kind: "durable", member, lastIndex: life.lastIndex, ...hardStateOf(record.state) });
      } else if (machine.durableLog.entryAt(record.index) === undefined) {
        // A leader's: it took the place of the whole log.
        tellEntries();
        life.lastIndex = record.index;
        life.applyFrom = this.#consistentIndexMax;
        this.#terms.set(member, new Map([[record.index, record.term]]));
        this.#observe({ kind: "restored", member, index: record.index, term: record.term });
      }
    }
    tellEntries();
    const { state } = machine.durableLog;
    this.#observe({ kind: "durable", member, lastIndex: life.lastIndex, ...hardStateOf(state) });
  }

  onSend(machine: Machine, { type, reject, term, to, index }: Message): void {
    if (reject) return;
    const member = this.#lives.get(machine)?.name;
    if (member === undefined) return;
    if (type === MessageType.voteResponse) {
      this.#observe({ kind: "sent", member, message: { type: "voteGranted", to: nameOf(to), term } });
    } else if (type === MessageType.appendResponse) {
      this.#observe({ kind: "sent", member, message: { type: "appendAccepted", to: nameOf(to), term, index } });
    }
  }

  /** What a member that serves is now. */
  onRest({ machine }: MemberProcess, seen: MemberObservation): void {
    const life = this.#lives.get(machine);
    if (life === undefined) return;
    const { seen: before, name: member } = life;
    const commit = Math.max(life.commit, seen.appliedIndex);
    const role = this.#roleOf(machine, life, seen);
    const changed =
      before === undefined ||
      commit > life.commit ||
      seen.term !== before.term ||
      role !== life.role ||
      seen.vote !== before.vote;
    if (changed) {
      const quorums =
        role === "leader" ? this.#quorums(life.role === role ? before?.confState : life.electors, seen.confState) : [];
      life.commit = commit;
      life.role = role;
      const vote = seen.vote === 0n ? undefined : nameOf(seen.vote);
      this.#observe({ kind: "state", member, term: seen.term, vote, commit, role: ROLES[role], quorums });
    }
    if (seen.appliedIndex !== before?.appliedIndex && seen.appliedIndex >= life.applyFrom) {
      const { appliedIndex: index, revision, compactRevision } = seen;
      this.#observe({ kind: "applied", member, index, revision, compactRevision });
    }
    life.seen = seen;
  }

  /** A leader whose disk has nothing of its term yet is told as the candidate that it was. */
  #roleOf(machine: Machine, life: Life, { role, term, confState }: MemberObservation): MemberObservation["role"] {
    if (role !== "leader") return role;
    if (life.ledTerm !== term) {
      life.ledTerm = term;
      life.electors = life.seen !== undefined && sameVoters(life.seen.confState, confState) ? confState : undefined;
    }
    return machine.durableLog.entryAt(life.lastIndex)?.term === term ? role : "candidate";
  }

  /** Whose word counts; nobody's where the members were others before: the step may belong to that time. */
  #quorums(before: ConfState | undefined, confState: ConfState): string[][] {
    if (before === undefined || !sameVoters(before, confState)) return [];
    const sets = [confState.voters, confState.votersOutgoing].filter((voters) => voters.length > 0);
    const named = sets.map((voters) => voters.map(nameOf));
    return named.flat().every((name) => this.#told.has(name)) ? named : [];
  }

  #observe(observation: Observation): void {
    this.#laws.observe(observation);
    const [first] = this.#laws.violations;
    if (first !== undefined) this.#break(first.law, first.detail);
  }

  #break(law: string, detail: string): void {
    this.#fail(new ViolationError(law, detail));
  }
}

function hardStateOf(state: { readonly term: number; readonly vote: bigint; readonly commit: number }): HardState {
  return { term: state.term, vote: state.vote === 0n ? undefined : nameOf(state.vote), commit: state.commit };
}

/** As raft's log lines name a member. */
function nameOf(id: bigint): string {
  return id.toString(16);
}

function sameVoters(a: ConfState, b: ConfState): boolean {
  if (a === b) return true;
  const sameIds = (some: readonly bigint[], others: readonly bigint[]): boolean =>
    some.length === others.length && some.every((id) => others.includes(id));
  return sameIds(a.voters, b.voters) && sameIds(a.votersOutgoing, b.votersOutgoing);
}
