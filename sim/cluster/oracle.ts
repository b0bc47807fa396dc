/**
 * The laws of raft, held against what a run shows from outside: the messages that members send, what they say of themselves, and what
 * their disks hold on the platter. Nothing of the server's own bookkeeping is trusted. The same is told to the laws of `check/`, which
 * know nothing of this world (`raft-witness.ts`).
 *
 * It is asked after every event, so each check is of constant cost, or in proportion to what is new.
 */
import { MessageType, type ConfState, type Message } from "../../src/proto/raft.js";
import type { MemberObservation } from "../../src/server/index.js";
import type { DiskOperation } from "../platter.js";
import type { EntryMark } from "./durable-log.js";
import type { Machine, MemberProcess } from "./machine.js";
import type { PeerProcess } from "./peer-network.js";
import { RaftWitness } from "./raft-witness.js";
import type { StateWitness } from "./state-witness.js";
import { ViolationError } from "./violation.js";

/** What was seen of one life of a member. */
interface LifeSeen {
  commitIndex: number;
  appliedIndex: number;
  revision: number;
  compactRevision: number;
  term: number;
  /** The term that it was last seen to lead, and how far the log was committed then. */
  ledTerm: number;
  commitWhenElected: number;
}

export class Oracle {
  readonly #machines: readonly Machine[];
  readonly #fail: (violation: ViolationError) => void;
  readonly #witness: RaftWitness;
  readonly #leaders = new Map<number, bigint>();
  /** Every entry that was ever durable anywhere, by index and term, and when it was first. */
  readonly #entries = new Map<number, Map<number, { readonly mark: EntryMark; readonly atMs: number }>>();
  /** What is committed: it never changes. */
  readonly #committed = new Map<number, EntryMark>();
  #committedTo = 0;
  readonly #lives = new WeakMap<MemberProcess, LifeSeen>();
  /** Durable term, vote and commit of each member, whatever becomes of its processes. */
  readonly #durable = new Map<Machine, { term: number; vote: bigint; commit: number }>();

  readonly #now: () => number;
  readonly #state: StateWitness;

  /**
   * @param machines all of the cluster, those that come later included
   * @param now milliseconds of the world
   * @param state told of each entry once it is known to be committed
   */
  constructor(
    machines: readonly Machine[],
    now: () => number,
    state: StateWitness,
    fail: (violation: ViolationError) => void,
  ) {
    this.#machines = machines;
    this.#now = now;
    this.#state = state;
    this.#fail = fail;
    this.#witness = new RaftWitness(fail);
  }

  /** The highest index that is known to be committed. */
  get committedTo(): number {
    return this.#committedTo;
  }

  // ---- messages ----------------------------------------------------------------------------------------------------

  onSend(from: PeerProcess, message: Message): void {
    const machine = this.#machineOf(from);
    this.#witness.onSend(machine, message);
    switch (message.type) {
      case MessageType.append:
      case MessageType.heartbeat:
      case MessageType.snapshot:
      case MessageType.timeoutNow:
        this.#onLeader(message.term, message.from, machine);
        break;
      case MessageType.voteResponse:
        if (!message.reject) this.#onVote(machine, message);
        break;
      case MessageType.appendResponse:
        if (!message.reject) this.#onAcknowledged(machine, message);
        break;
      default:
    }
  }

  #onLeader(term: number, leader: bigint, machine: Machine): void {
    const known = this.#leaders.get(term);
    if (known === undefined) this.#leaders.set(term, leader);
    else if (known !== leader) {
      this.#break(
        "I1-one-leader-per-term",
        `${id(leader)} (${machine.name}) leads term ${term}, which ${id(known)} led`,
      );
    }
  }

  #onVote(machine: Machine, { term, to }: Message): void {
    const { state } = machine.durableLog;
    if (state.term > term || (state.term === term && state.vote === to)) return;
    const durable = `its disk holds term ${state.term}, vote ${id(state.vote)}`;
    this.#break("I6-sync-before-promise", `${machine.name} grants ${id(to)} its vote of term ${term}; ${durable}`);
  }

  #onAcknowledged(machine: Machine, { index, term }: Message): void {
    const { lastIndex, lastTerm, state } = machine.durableLog;
    // A later leader's entry stands where this one was: it was replaced in memory before it was written, or by the same sync. Such an answer
    // counts for nothing, whoever gives it: nobody who had the entry elected that leader, so those who have it are no majority.
    if (lastTerm > term) return;
    if (index > lastIndex) {
      this.#break(
        "I6-sync-before-promise",
        `${machine.name} acknowledges entry ${index} of a leader of term ${term}; its disk ends at ${lastIndex}`,
      );
    } else if (state.term < term) {
      this.#break(
        "I6-sync-before-promise",
        `${machine.name} acknowledges entry ${index} in term ${term}; its disk holds term ${state.term}`,
      );
    }
  }

  // ---- disks -------------------------------------------------------------------------------------------------------

  onDiskOperation(machine: Machine, operation: DiskOperation): void {
    const records = machine.durableLog.follow(machine.disk, operation);
    this.#witness.onDurable(machine, records);
    for (const record of records) {
      if (record.kind === "entry") this.#onEntry(machine, record.index, record.mark);
      else if (record.kind === "state") this.#onState(machine);
    }
  }

  onCrash(machine: Machine): void {
    this.onReload(machine);
    if (machine.damaged !== undefined) this.#witness.onForgotten(machine);
    else this.#witness.onCrash(machine);
  }

  /** A member opened its `db`, which holds the effects of entries up to this index. */
  onDatabaseOpen(machine: Machine, consistentIndex: number): void {
    this.#witness.onDatabaseOpen(machine, consistentIndex);
  }

  /** @param line what raft says of itself when it begins */
  onRaftBegins(machine: Machine, line: string): void {
    this.onReload(machine);
    if (machine.damaged === undefined && !machine.durableLog.endsWithZeros(machine.disk))
      this.#break("log-ends-with-zeros", `${machine.name} begins on a log with something behind its last record`);
    this.#witness.onRaftBegins(machine, line);
  }

  /** The machine crashed, or its process begins: its disk is read anew. */
  onReload(machine: Machine): void {
    machine.durableLog.load(machine.disk);
    this.#onState(machine);
  }

  /** The machine got a new disk. */
  onWiped(machine: Machine): void {
    this.#durable.delete(machine);
    this.#witness.onCrash(machine);
    machine.durableLog.load(machine.disk);
  }

  /** I2: two entries of the same index and term are the same. */
  #onEntry(machine: Machine, index: number, mark: EntryMark): void {
    const { term, hash } = mark;
    let terms = this.#entries.get(index);
    if (terms === undefined) this.#entries.set(index, (terms = new Map()));
    const known = terms.get(term);
    if (known === undefined) terms.set(term, { mark, atMs: this.#now() });
    else if (known.mark.hash !== hash) {
      this.#break("I2-log-matching", `${machine.name} has another entry ${index} of term ${term} than one before`);
    }
  }

  #onState(machine: Machine): void {
    const { term, vote, commit } = machine.durableLog.state;
    const before = this.#durable.get(machine);
    this.#durable.set(machine, { term, vote, commit });
    if (before === undefined || machine.damaged !== undefined) return;
    const back =
      term < before.term ||
      commit < before.commit ||
      (term === before.term && before.vote !== 0n && vote !== before.vote);
    if (!back) return;
    const text = (state: { term: number; vote: bigint; commit: number }): string =>
      `term ${state.term}, vote ${id(state.vote)}, commit ${state.commit}`;
    this.#break(
      "I5-durable-state-goes-forward",
      `${machine.name} had ${text(before)}, now ${text({ term, vote, commit })}`,
    );
  }

  // ---- members -----------------------------------------------------------------------------------------------------

  /** Looks at a member that something happened to, and answers what it says of itself while it serves. */
  onRest(process: MemberProcess): MemberObservation | undefined {
    const { member, machine } = process;
    if (member === undefined || process.gone || process.failure !== undefined || process.stopping) return undefined;
    const seen = member.observe();
    if (seen.role === "leader") this.#onLeader(seen.term, member.memberId, machine);
    let life = this.#lives.get(process);
    if (life === undefined) {
      life = {
        commitIndex: 0,
        appliedIndex: 0,
        revision: 0,
        compactRevision: -1,
        term: 0,
        ledTerm: 0,
        commitWhenElected: 0,
      };
      this.#lives.set(process, life);
    }
    this.#checkForward(machine, life, seen);
    if (seen.appliedIndex > machine.durableLog.lastIndex) {
      const { lastIndex } = machine.durableLog;
      this.#break(
        "I7-applied-is-durable",
        `${machine.name} applied ${seen.appliedIndex}, its disk ends at ${lastIndex}`,
      );
    }
    this.#checkLeadersCommit(machine, life, seen);
    if (seen.appliedIndex > life.appliedIndex) {
      this.#onCommitted(machine, life.appliedIndex + 1, seen.appliedIndex, seen.confState);
    }
    life.appliedIndex = seen.appliedIndex;
    this.#witness.onRest(process, seen);
    return seen;
  }

  /**
   * I3: a leader commits by counting an entry of its own term only, and all before it with that one. What an earlier term left may still be
   * overwritten by another leader although a majority has it (raft's figure 8).
   */
  #checkLeadersCommit(machine: Machine, life: LifeSeen, seen: MemberObservation): void {
    if (seen.role !== "leader") return;
    if (life.ledTerm !== seen.term) {
      life.ledTerm = seen.term;
      life.commitWhenElected = seen.commitIndex;
    }
    if (seen.commitIndex <= life.commitWhenElected) return;
    const mark = machine.durableLog.entryAt(seen.commitIndex);
    if (mark === undefined || mark.term === seen.term) return;
    const found = `${machine.name} leads term ${seen.term} and commits entry ${seen.commitIndex} of term ${mark.term}`;
    this.#break("I3-own-term-first", `${found} before one of its own`);
  }

  #checkForward(machine: Machine, life: LifeSeen, seen: MemberObservation): void {
    if (seen.revision < life.revision) {
      this.#break(
        "I12-revision-per-write",
        `${machine.name} was at revision ${life.revision}, now at ${seen.revision}`,
      );
    }
    if (seen.compactRevision < life.compactRevision || seen.compactRevision > seen.revision) {
      this.#break(
        "I13-compaction-forward",
        `${machine.name} was compacted at ${life.compactRevision}, now at ${seen.compactRevision}, revision ${seen.revision}`,
      );
    }
    if (seen.term < life.term || seen.commitIndex < life.commitIndex) {
      const now = `now term ${seen.term}, commit ${seen.commitIndex}`;
      this.#break(
        "I5-durable-state-goes-forward",
        `${machine.name}: term ${life.term}, commit ${life.commitIndex}, ${now}`,
      );
    }
    life.revision = seen.revision;
    life.compactRevision = seen.compactRevision;
    life.term = seen.term;
    life.commitIndex = seen.commitIndex;
  }

  /** I4: what one member has applied is committed for all, and for good. What is applied is on its disk, so its disk is asked. */
  #onCommitted(machine: Machine, from: number, to: number, confState: ConfState): void {
    for (let index = from; index <= to; index++) {
      const mark = machine.durableLog.entryAt(index);
      if (index > this.#committedTo) {
        const entry = this.#entryOf(index, mark);
        this.#state.onCommitted(index, entry?.mark, entry?.atMs ?? this.#now());
      }
      if (mark === undefined) {
        this.#committedTo = Math.max(this.#committedTo, index); // behind a snapshot
        continue;
      }
      const known = this.#committed.get(index);
      if (known === undefined) this.#committed.set(index, mark);
      else if (known.term !== mark.term || known.hash !== mark.hash) {
        this.#break(
          "I4-committed-stays",
          `entry ${index} was committed with term ${known.term}; ${machine.name} has committed another, of term ${mark.term}`,
        );
      }
      if (index > this.#committedTo) {
        this.#committedTo = index;
        this.#checkMajority(index, mark, confState);
      }
    }
  }

  /** An entry that a member has applied. Behind a snapshot it is the one that anybody had, where there was but one. */
  #entryOf(
    index: number,
    mark: EntryMark | undefined,
  ): { readonly mark: EntryMark; readonly atMs: number } | undefined {
    const terms = this.#entries.get(index);
    if (mark !== undefined) return terms?.get(mark.term) ?? { mark, atMs: this.#now() };
    const all = [...(terms?.values() ?? [])];
    return all.length === 1 ? all[0] : undefined;
  }

  /**
   * What is committed is on the disks of a majority. The configuration may be one change older or newer than that of the commit. What a
   * disk had that is damaged, or was taken away with its removed member, is not known any more: it may have had this.
   */
  #checkMajority(index: number, mark: EntryMark, { voters, votersOutgoing }: ConfState): void {
    if (votersOutgoing.length > 0 || voters.length === 0) return;
    let have = 0;
    for (const { durableLog, memberId, formerIds, damaged } of this.#machines) {
      if (voters.some((voter) => formerIds.has(voter))) have++;
      if (memberId === undefined || !voters.includes(memberId)) continue;
      if (damaged !== undefined) have++;
      else if (durableLog.entryAt(index)?.term === mark.term || durableLog.snapshotIndex >= index) have++;
    }
    const least = Math.floor(Math.max(1, voters.length - 1) / 2) + 1;
    if (have >= least) return;
    this.#break(
      "I6-sync-before-promise",
      `entry ${index} of term ${mark.term} counts as committed, and is on ${have} disks of ${voters.length} voters'`,
    );
  }

  #machineOf(process: PeerProcess): Machine {
    return this.#machines.find(({ name }) => name === process.machine.name)!;
  }

  #break(law: string, detail: string): void {
    this.#fail(new ViolationError(law, detail));
  }
}

function id(memberId: bigint): string {
  return memberId.toString(16);
}
