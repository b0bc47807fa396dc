/**
 * The laws of consensus, held against what members do, step by step. It is told plain data and knows nothing of src/raft. Each
 * observation costs as much as it changes: no log is walked but the one that a member reads at its start.
 *
 * I1  One leader a term.
 * I2  Entries of equal index and term are equal, and so is all before them.
 * I3  A leader has every entry that was committed in an earlier term.
 * I4  A committed entry never changes, on no member.
 * I5  Term, vote and commit of a member never go back, across restarts as far as they were durable; nor does its log. One vote a term.
 * I6  What promises durability (a vote, an accepted append, an answer to a client) comes after the sync. Who leads has a majority of
 *     durable votes, what commits is durable on a majority. (A request for votes promises nothing: the candidate counts its own vote
 *     only when that is durable.)
 * I7  A member applies only what it has committed and made durable itself.
 * I9  A snapshot of index N is on record only where the store has reached N.
 * I11 Equal applied index, equal content.
 * I12 The revision grows by one for each write that succeeds.
 * I13 The compaction revision never falls and stays at or below the revision.
 *
 * How to tell it, at each step of a member: what goes to the disk (`appended`, `restored`), then its `state`; `durable` when a sync
 * has ended; `sent` when a message leaves; `applied` and `acknowledged` as they happen. A member's writes to its log end one
 * after the other, as `Ready` and `advance` have it: `durable` speaks of all that was appended before.
 */
import type { RaftLaw, Violation } from "./report.js";

/** A member as the others vote for it: one ID, one name. A member that was removed and added again is another one. */
export type MemberName = string;

export interface LogEntry {
  readonly index: number;
  readonly term: number;
  /** Type and data, or a digest of them. */
  readonly content: string;
}

/** Term, vote (undefined for none) and commit, as raft's hard state has them. */
export interface HardState {
  readonly term: number;
  readonly vote: MemberName | undefined;
  readonly commit: number;
}

/** Messages that promise something. Others need not be told. */
export type Promising =
  /** "You have my vote in this term." */
  | { readonly type: "voteGranted"; readonly to: MemberName; readonly term: number }
  /** "My log equals yours up to this index", be it by entries or by a snapshot. */
  | { readonly type: "appendAccepted"; readonly to: MemberName; readonly term: number; readonly index: number };

export type Observation =
  /** A run begins, with what it read from its disk. `entries` follow on the snapshot's index (0 without one). */
  | ({ readonly kind: "started"; readonly member: MemberName } & HardState & {
        readonly snapshotIndex: number;
        readonly snapshotTerm: number;
        readonly entries: readonly LogEntry[];
      })
  /** Entries go to the disk; they replace what the log holds from their first index on. */
  | { readonly kind: "appended"; readonly member: MemberName; readonly entries: readonly LogEntry[] }
  /** A received snapshot goes to the disk; it replaces the whole log. */
  | { readonly kind: "restored"; readonly member: MemberName; readonly index: number; readonly term: number }
  /** What a member is now. Needed only when something of it changed. */
  | ({ readonly kind: "state"; readonly member: MemberName } & HardState & {
        readonly role: "follower" | "preCandidate" | "candidate" | "leader";
        /**
         * Sets of voters of which each needs a majority (two during a joint change), as they were when it was elected or committed.
         * Told by a leader; its election and its commits are then held against what is durable (I6).
         */
        readonly quorums?: readonly (readonly MemberName[])[];
      })
  /** A sync has ended: this hard state and the log up to `lastIndex` are on the disk. */
  | ({ readonly kind: "durable"; readonly member: MemberName; readonly lastIndex: number } & HardState)
  | { readonly kind: "sent"; readonly member: MemberName; readonly message: Promising }
  /** A client was told that the entry of this index took effect. */
  | { readonly kind: "acknowledged"; readonly member: MemberName; readonly index: number }
  | {
      readonly kind: "applied";
      readonly member: MemberName;
      readonly index: number;
      readonly revision: number;
      /** 0 or less when there was none. */
      readonly compactRevision: number;
      /** How many entries since the last `applied` of this run changed keys; left out where not known, as after a snapshot. */
      readonly writes?: number;
      /** Checksums of the content, such as HashKV and that of all buckets, by name. */
      readonly hashes?: Readonly<Record<string, string | number>>;
    }
  /** A snapshot of this index is durable on record, while the durable store has reached `storeIndex`. */
  | {
      readonly kind: "snapshotRecorded";
      readonly member: MemberName;
      readonly index: number;
      readonly storeIndex: number;
    };

/** A further violation tells nothing new. */
const VIOLATIONS_MAX = 50;

type Of<Kind extends Observation["kind"]> = Extract<Observation, { kind: Kind }>;

interface Seen {
  readonly term: number;
  readonly content: string;
  /** Term of the entry before it; undefined where that is not known. */
  readonly termBefore: number | undefined;
  readonly member: MemberName;
}

interface Committed {
  readonly term: number;
  readonly content: string;
  readonly member: MemberName;
}

export class RaftInvariants {
  readonly violations: Violation[] = [];
  readonly #members = new Map<MemberName, MemberRecord>();
  readonly #leaders = new Map<number, MemberName>();
  /** By index: the entries that any log has held there. */
  readonly #seen: (Seen[] | undefined)[] = [];
  readonly #committed: (Committed | undefined)[] = [];
  #committedIndex = 0;
  /** How far the log was committed when a term's leader was last heard of; term and index grow. */
  readonly #commitMarks: { readonly term: number; index: number }[] = [];
  /** By applied index, as the first member told it. */
  readonly #applied = new Map<number, Of<"applied">>();
  /** Votes that left, by member and term. */
  readonly #votes = new Map<string, MemberName>();
  #step = 0;

  /** Observations so far. */
  get step(): number {
    return this.#step;
  }

  /** The highest index that any member knows to be committed. */
  get committedIndex(): number {
    return this.#committedIndex;
  }

  observe(observation: Observation): void {
    this.#step++;
    switch (observation.kind) {
      case "started":
        this.#started(observation);
        return;
      case "appended":
        this.#appended(observation);
        return;
      case "restored":
        this.#restored(observation);
        return;
      case "state":
        this.#state(observation);
        return;
      case "durable":
        this.#durable(observation);
        return;
      case "sent":
        this.#sent(observation.member, observation.message);
        return;
      case "acknowledged":
        this.#acknowledged(observation);
        return;
      case "applied":
        this.#appliedAt(observation);
        return;
      case "snapshotRecorded":
        if (observation.storeIndex >= observation.index) return;
        this.#tell(
          "I9-snapshot-behind-db",
          observation.member,
          `a snapshot of index ${observation.index} is on record, the store has reached ${observation.storeIndex}`,
        );
    }
  }

  #record(member: MemberName): MemberRecord {
    let record = this.#members.get(member);
    if (record === undefined) this.#members.set(member, (record = new MemberRecord()));
    return record;
  }

  #tell(law: RaftLaw, member: MemberName, detail: string): void {
    if (this.violations.length >= VIOLATIONS_MAX) return;
    this.violations.push({ law, detail: `at step ${this.#step}, ${member}: ${detail}`, operations: [] });
  }

  #started(observation: Of<"started">): void {
    const { member, term, vote, commit, snapshotIndex, snapshotTerm, entries } = observation;
    const record = this.#record(member);
    const { durable } = record;
    const broken = (detail: string): void => this.#tell("I5-durable-state-goes-forward", member, detail);
    if (term < durable.term) broken(`starts in term ${term}, term ${durable.term} was durable`);
    if (term === durable.term && durable.vote !== undefined && vote !== durable.vote) {
      broken(`starts with a vote for ${vote ?? "nobody"} in term ${term}, one for ${durable.vote} was durable`);
    }
    if (commit < durable.commit) broken(`starts with commit ${commit}, commit ${durable.commit} was durable`);
    const lost = record.lostBy(snapshotIndex, entries);
    if (lost !== undefined) broken(`starts without entry ${lost.index} of term ${lost.term}, which was durable`);
    record.start(snapshotIndex, snapshotTerm, { term, vote, commit });
    this.#extend(record, member, entries);
    record.markDurable(record.lastIndex, { term, vote, commit });
    this.#commit(record, member, snapshotIndex, commit, term);
  }

  #appended({ member, entries }: Of<"appended">): void {
    const record = this.#record(member);
    for (const { index, term, content } of entries) {
      const known = record.entryAt(index);
      if (known === undefined || index > record.state.commit) continue;
      if (known.term === term && known.content === content) continue;
      this.#tell(
        "I4-committed-stays",
        member,
        `entry ${index} of term ${known.term} was committed, and is replaced by one of term ${term}`,
      );
      break;
    }
    this.#extend(record, member, entries);
  }

  #restored({ member, index, term }: Of<"restored">): void {
    const record = this.#record(member);
    const { commit } = record.state;
    const committed = this.#committed[index];
    if (index < commit) {
      this.#tell("I5-durable-state-goes-forward", member, `goes from commit ${commit} to a snapshot of ${index}`);
    } else if (committed !== undefined && committed.term !== term) {
      this.#tell(
        "I4-committed-stays",
        member,
        `takes a snapshot of index ${index} and term ${term}, ${committed.member} has committed one of term ${committed.term}`,
      );
    }
    record.restore(index, term);
  }

  #extend(record: MemberRecord, member: MemberName, entries: readonly LogEntry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    if (first.index > record.lastIndex + 1) {
      this.#tell("I2-log-matching", member, `entry ${first.index} leaves a hole, the log ended at ${record.lastIndex}`);
      return;
    }
    if (first.index <= record.snapshotIndex) {
      this.#tell(
        "I4-committed-stays",
        member,
        `entry ${first.index} is appended below the snapshot of ${record.snapshotIndex}`,
      );
      return;
    }
    record.truncateFrom(first.index);
    for (const entry of entries) {
      this.#match(entry, record.termAt(entry.index - 1), member);
      record.append(entry);
    }
  }

  /** By induction over the entry before, equal index and term then mean equal logs up to there. */
  #match({ index, term, content }: LogEntry, termBefore: number | undefined, member: MemberName): void {
    const seen = (this.#seen[index] ??= []);
    const known = seen.find((each) => each.term === term);
    if (known === undefined) {
      seen.push({ term, content, termBefore, member });
      return;
    }
    const place = `entry ${index} of term ${term}`;
    if (known.content !== content) {
      this.#tell("I2-log-matching", member, `${place} is ${content}, for ${known.member} it is ${known.content}`);
    } else if (known.termBefore !== undefined && termBefore !== undefined && known.termBefore !== termBefore) {
      this.#tell(
        "I2-log-matching",
        member,
        `before ${place} stands one of term ${termBefore}, for ${known.member} one of term ${known.termBefore}`,
      );
    }
  }

  #state(observation: Of<"state">): void {
    const { member, term, vote, commit, role, quorums } = observation;
    const record = this.#record(member);
    const before = record.state;
    const broken = (detail: string): void => this.#tell("I5-durable-state-goes-forward", member, detail);
    if (term < before.term) broken(`goes from term ${before.term} to ${term}`);
    if (term === before.term && before.vote !== undefined && vote !== before.vote) {
      broken(`changes its vote in term ${term} from ${before.vote} to ${vote ?? "nobody"}`);
    }
    if (commit < before.commit) broken(`goes from commit ${before.commit} to ${commit}`);
    record.state = { term, vote, commit };
    if (role === "leader") this.#leads(record, member, term, quorums ?? []);
    if (commit <= before.commit) return;
    if (commit > this.#committedIndex) {
      const entryTerm = record.termAt(commit);
      this.#checkMajority(quorums ?? [], member, `commits entry ${commit}, which is durable`, (voter) => {
        return voter.holdsDurably(commit, entryTerm);
      });
    }
    this.#commit(record, member, before.commit, commit, term);
  }

  #leads(record: MemberRecord, member: MemberName, term: number, quorums: readonly (readonly MemberName[])[]): void {
    const leader = this.#leaders.get(term);
    if (leader === member) return;
    if (leader !== undefined) {
      this.#tell("I1-one-leader-per-term", member, `leads in term ${term}, as ${leader} does`);
      return;
    }
    this.#leaders.set(term, member);
    this.#checkMajority(quorums, member, `leads in term ${term} on votes that are durable`, (voter) => {
      return voter.durableVotes.get(term) === member;
    });
    const mark = this.#commitMarks.findLast((each) => each.term < term);
    if (mark === undefined) return;
    const committed = this.#committed[mark.index];
    const held = record.termAt(mark.index);
    if (mark.index <= record.snapshotIndex || committed === undefined || held === committed.term) return;
    this.#tell(
      "I3-leader-completeness",
      member,
      `leads in term ${term} ${held === undefined ? "without" : `with one of term ${held} in place of`} entry ${mark.index} ` +
        `of term ${committed.term}, which was committed in term ${mark.term}`,
    );
  }

  #commit(record: MemberRecord, member: MemberName, from: number, to: number, term: number): void {
    for (let index = Math.max(from, record.snapshotIndex) + 1; index <= to; index++) {
      const entry = record.entryAt(index);
      if (entry === undefined) {
        this.#tell("I4-committed-stays", member, `commits up to ${to}, its log ends at ${record.lastIndex}`);
        break;
      }
      const known = this.#committed[index];
      if (known === undefined) this.#committed[index] = { term: entry.term, content: entry.content, member };
      else if (known.term !== entry.term || known.content !== entry.content) {
        this.#tell(
          "I4-committed-stays",
          member,
          `commits entry ${index} of term ${entry.term}, ${known.member} has committed one of term ${known.term}`,
        );
        break;
      }
    }
    if (to <= this.#committedIndex) return;
    this.#committedIndex = to;
    const mark = this.#commitMarks.at(-1);
    if (mark !== undefined && mark.term >= term) mark.index = to;
    else this.#commitMarks.push({ term, index: to });
  }

  /** Tells when fewer than a majority of some set of voters hold durably what they must. */
  #checkMajority(
    quorums: readonly (readonly MemberName[])[],
    member: MemberName,
    what: string,
    holds: (voter: MemberRecord) => boolean,
  ): void {
    for (const voters of quorums) {
      const holding = voters.filter((voter) => holds(this.#record(voter)));
      if (holding.length * 2 > voters.length) continue;
      const names = holding.join(", ") || "none";
      this.#tell(
        "I6-sync-before-promise",
        member,
        `${what} on ${holding.length} of ${voters.length} voters (${names})`,
      );
    }
  }

  #durable({ member, lastIndex, term, vote, commit }: Of<"durable">): void {
    const record = this.#record(member);
    const { durable } = record;
    if (term < durable.term) {
      this.#tell("I5-durable-state-goes-forward", member, `makes term ${term} durable after term ${durable.term}`);
    } else if (term === durable.term && durable.vote !== undefined && vote !== durable.vote) {
      const given = `a vote for ${vote ?? "nobody"} in term ${term}`;
      this.#tell("I5-durable-state-goes-forward", member, `makes ${given} durable after one for ${durable.vote}`);
    }
    record.markDurable(lastIndex, { term, vote, commit });
  }

  #sent(member: MemberName, message: Promising): void {
    const record = this.#record(member);
    const broken = (detail: string): void => this.#tell("I6-sync-before-promise", member, detail);
    if (message.type === "appendAccepted") {
      const { term, index, to } = message;
      // A promise of an earlier term that was on its way speaks of a log that may have been replaced since.
      if (record.durable.term > term) return;
      if (record.durable.term < term)
        broken(`accepts entries of term ${term} to ${to}, term ${record.durable.term} is durable`);
      else if (!record.holdsDurably(index, record.termAt(index))) {
        broken(`accepts entries up to ${index} to ${to}, durable are those up to ${record.durableUpTo}`);
      }
      return;
    }
    const { term, to } = message;
    const key = `${term} ${member}`;
    const given = this.#votes.get(key) ?? to;
    this.#votes.set(key, given);
    if (given !== to) {
      const after = `after a vote for ${given}`;
      this.#tell("I5-durable-state-goes-forward", member, `votes for ${to} in term ${term}, ${after}`);
    }
    // A later term that is durable binds as well: the member never votes in this one again.
    if (record.durable.term > term) record.durableVotes.set(term, given);
    else if (record.durableVotes.get(term) !== to) {
      broken(`gives ${to} its vote in term ${term}, which is not durable`);
    }
  }

  #acknowledged({ member, index }: Of<"acknowledged">): void {
    const record = this.#record(member);
    if (index > record.state.commit) {
      this.#tell(
        "I6-sync-before-promise",
        member,
        `tells a client of entry ${index}, committed are those up to ${record.state.commit}`,
      );
    } else if (index > record.applied) {
      this.#tell(
        "I6-sync-before-promise",
        member,
        `tells a client of entry ${index}, applied are those up to ${record.applied}`,
      );
    }
  }

  #appliedAt(observation: Of<"applied">): void {
    const { member, index, revision, compactRevision, writes, hashes } = observation;
    const record = this.#record(member);
    if (index > record.state.commit) {
      this.#tell(
        "I7-applied-is-durable",
        member,
        `applies entry ${index}, committed are those up to ${record.state.commit}`,
      );
    } else if (!record.holdsDurably(index, record.termAt(index))) {
      this.#tell(
        "I7-applied-is-durable",
        member,
        `applies entry ${index}, durable are those up to ${record.durableUpTo}`,
      );
    }
    const before = record.lastApplied;
    if (before !== undefined) this.#compareWithBefore(observation, before, writes);
    if (compactRevision > revision) {
      this.#tell("I13-compaction-forward", member, `compacted to ${compactRevision}, its revision is ${revision}`);
    }
    record.applied = Math.max(record.applied, index);
    record.lastApplied = observation;
    const known = this.#applied.get(index);
    if (known === undefined) {
      this.#applied.set(index, observation);
      return;
    }
    this.#compareContent(observation, known);
    // What the first did not tell, a later one may.
    if (hashes !== undefined) this.#applied.set(index, { ...known, hashes: { ...hashes, ...known.hashes } });
  }

  #compareWithBefore(now: Of<"applied">, before: Of<"applied">, writes: number | undefined): void {
    const { member, index, revision, compactRevision } = now;
    if (index < before.index) {
      this.#tell("I12-revision-per-write", member, `applies entry ${index} after entry ${before.index}`);
    }
    if (revision < before.revision) {
      this.#tell(
        "I12-revision-per-write",
        member,
        `goes from revision ${before.revision} to ${revision} at entry ${index}`,
      );
    } else if (writes !== undefined && revision !== before.revision + writes) {
      this.#tell(
        "I12-revision-per-write",
        member,
        `goes from revision ${before.revision} to ${revision} at entry ${index}, by ${writes} writes`,
      );
    }
    if (compactRevision < before.compactRevision) {
      this.#tell(
        "I13-compaction-forward",
        member,
        `goes from compaction ${before.compactRevision} to ${compactRevision} at entry ${index}`,
      );
    }
  }

  #compareContent(now: Of<"applied">, known: Of<"applied">): void {
    const { member, index } = now;
    const differs = (what: string, own: number | string, other: number | string): void =>
      this.#tell(
        "I11-equal-content",
        member,
        `at applied index ${index} its ${what} is ${own}, that of ${known.member} ${other}`,
      );
    if (now.revision !== known.revision) differs("revision", now.revision, known.revision);
    const own = Math.max(0, now.compactRevision);
    const other = Math.max(0, known.compactRevision);
    if (own !== other) differs("compaction", own, other);
    for (const [name, value] of Object.entries(now.hashes ?? {})) {
      const wanted = known.hashes?.[name];
      if (wanted !== undefined && wanted !== value) differs(name, value, wanted);
    }
  }
}

const NOTHING: HardState = { term: 0, vote: undefined, commit: 0 };

/** What one member holds: in memory, and on its disk. */
class MemberRecord {
  state: HardState = NOTHING;
  durable: HardState = NOTHING;
  /** The vote of each term that can no longer change. */
  readonly durableVotes = new Map<number, MemberName>();
  snapshotIndex = 0;
  /** Greatest index applied in this run. */
  applied = 0;
  lastApplied: Of<"applied"> | undefined;
  #snapshotTerm = 0;
  #entries: LogEntry[] = [];
  /** The log up to here is on the disk as it is in memory. Behind it may be entries that memory has replaced meanwhile. */
  #durableIndex = 0;

  get lastIndex(): number {
    return this.snapshotIndex + this.#entries.length;
  }

  /** The last index that is durable as it stands in memory. */
  get durableUpTo(): number {
    return Math.min(this.#durableIndex, this.lastIndex);
  }

  entryAt(index: number): LogEntry | undefined {
    return this.#entries[index - this.snapshotIndex - 1];
  }

  termAt(index: number): number | undefined {
    if (index === this.snapshotIndex) return this.#snapshotTerm;
    return this.entryAt(index)?.term;
  }

  /** Whether the entry is on the disk; what a durable snapshot covers is. */
  holdsDurably(index: number, term: number | undefined): boolean {
    if (index > this.#durableIndex) return false;
    return index < this.snapshotIndex || this.termAt(index) === term;
  }

  /** A new run: memory holds nothing yet but the snapshot. */
  start(snapshotIndex: number, snapshotTerm: number, state: HardState): void {
    this.state = state;
    this.snapshotIndex = snapshotIndex;
    this.#snapshotTerm = snapshotTerm;
    this.#entries = [];
    this.#durableIndex = snapshotIndex;
    this.applied = 0;
    this.lastApplied = undefined;
  }

  restore(index: number, term: number): void {
    this.snapshotIndex = index;
    this.#snapshotTerm = term;
    this.#entries = [];
    this.#durableIndex = 0; // until the sync of the snapshot
    this.lastApplied = undefined;
  }

  truncateFrom(index: number): void {
    this.#entries.length = index - this.snapshotIndex - 1;
    this.#durableIndex = Math.min(this.#durableIndex, index - 1);
  }

  append(entry: LogEntry): void {
    this.#entries.push(entry);
  }

  markDurable(lastIndex: number, state: HardState): void {
    this.#durableIndex = Math.min(lastIndex, this.lastIndex);
    this.durable = state;
    if (state.vote !== undefined) this.durableVotes.set(state.term, state.vote);
  }

  /**
   * The first durable entry that a new run did not find. Entries that were being replaced may be there or not: the write that
   * replaces them may have reached the disk in part.
   */
  lostBy(snapshotIndex: number, entries: readonly LogEntry[]): LogEntry | undefined {
    for (let index = Math.max(snapshotIndex, this.snapshotIndex) + 1; index <= this.#durableIndex; index++) {
      const own = this.entryAt(index);
      const found = entries[index - snapshotIndex - 1];
      if (own !== undefined && (found === undefined || found.term !== own.term || found.content !== own.content))
        return own;
    }
    if (snapshotIndex < this.snapshotIndex && this.#durableIndex >= this.snapshotIndex) {
      const found = entries[this.snapshotIndex - snapshotIndex - 1];
      if (found === undefined) return { index: this.snapshotIndex, term: this.#snapshotTerm, content: "" };
    }
    return undefined;
  }
}
