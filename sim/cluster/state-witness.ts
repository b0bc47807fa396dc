/**
 * Tells the textbook's state machine (`check/state-machine.ts`) each entry as it is committed, holds what members say of themselves against it,
 * and keeps what is needed to judge in the end what clients were told of leases, rights and watches.
 *
 * The log is trusted here: that it is one, and stays, is for the laws of raft (`oracle.ts`).
 */
import type { MemberObservation } from "../../src/server/index.js";
import type { Change, HistoryRecorder } from "../check/history.js";
import { checkLeases, type LeaseCall, type Reign } from "../check/leases.js";
import { checkRights, type RightsCall } from "../check/rights.js";
import { StateMachine } from "../check/state-machine.js";
import { checkWatchers, type WatcherRecord } from "../check/watches.js";
import type { Counts } from "./counts.js";
import type { EntryMark } from "./durable-log.js";
import { loggedOf } from "./logged-request.js";
import type { MemberProcess } from "./machine.js";
import { ViolationError } from "./violation.js";

export interface StateWitnessOptions {
  readonly electionMs: number;
  /** Local time passes at most so much faster than the world's. */
  readonly rateMax: number;
  /** Whether messages may come so late that a leader without right does not find it out. */
  readonly messagesLinger: boolean;
}

export class StateWitness {
  readonly state: StateMachine;
  readonly leaseCalls: LeaseCall[] = [];
  readonly rightsCalls: RightsCall[] = [];
  readonly watchers: WatcherRecord[] = [];
  readonly #options: StateWitnessOptions;
  readonly #recorder: HistoryRecorder;
  readonly #counts: Counts;
  readonly #now: () => number;
  readonly #fail: (violation: ViolationError) => void;
  readonly #reigns: Reign[] = [];
  /** The reign of each process that leads. */
  readonly #reigning = new Map<MemberProcess, Reign>();
  /** When each entry was first durable anywhere. */
  readonly #writtenMs: number[] = [0];
  /** Nobody has an entry any more that is behind a snapshot: nothing is known from there on. */
  #isBlind = false;
  #lastIndexButNotes = 0;

  constructor(
    options: StateWitnessOptions,
    recorder: HistoryRecorder,
    counts: Counts,
    now: () => number,
    fail: (violation: ViolationError) => void,
  ) {
    this.#options = options;
    // A lease must outlive an election and a half.
    this.state = new StateMachine({ leaseSecondsMin: Math.ceil((1.5 * options.electionMs) / 1000) });
    this.#recorder = recorder;
    this.#counts = counts;
    this.#now = now;
    this.#fail = fail;
  }

  /** Index of the last entry that is more than a note of what leases have left; undefined where it does not know. */
  get lastIndexButNotes(): number | undefined {
    return this.#isBlind ? undefined : this.#lastIndexButNotes;
  }

  /** Index of the last entry that is known to be committed. */
  get committedTo(): number {
    return this.state.index;
  }

  /** Whether it knows what the log did: it does not where an entry was seen by nobody. */
  get isSeeing(): boolean {
    return !this.#isBlind;
  }

  /** @param mark undefined where it is not known which one was committed */
  onCommitted(index: number, mark: EntryMark | undefined, writtenMs: number): void {
    if (this.#isBlind) return;
    if (mark === undefined || index !== this.state.index + 1) {
      this.#isBlind = true;
      this.#counts.add("runs in which the log was lost sight of");
      return;
    }
    this.#writtenMs.push(writtenMs);
    const logged = loggedOf(mark);
    const done = this.state.apply(logged);
    if (logged.kind === "auth" && done.kind === "done") this.#counts.add(`auth: ${logged.change.kind}`);
    else if (logged.kind === "request" && done.kind === "refused")
      this.#counts.add("requests refused as they were applied");
    else if (done.kind === "granted") this.#counts.add("leases granted");
    else if (done.kind === "revoked") this.#onRevoked(done.lease);
    else if (logged.kind === "checkpoint") this.#counts.add("lease checkpoints");
    if (logged.kind !== "checkpoint") this.#lastIndexButNotes = index;
    if (done.kind === "changed") this.#tell(done.revision, done.changes);
  }

  #onRevoked(lease: string): void {
    const asked = this.leaseCalls.some((call) => call.asked === "revoke" && call.lease === lease);
    this.#counts.add(asked ? "leases revoked" : "leases run out");
    const last = this.state.changes.at(-1);
    if (last?.lease !== lease || last.index !== this.state.index) return;
    this.#counts.add("keys deleted with their lease", last.changes.length);
    this.#recorder.logged({ revision: last.revision, changes: last.changes, lease });
  }

  #tell(revision: number, changes: readonly Change[]): void {
    this.#recorder.logged({ revision, changes });
  }

  /** A lease is about to be revoked, by nobody whose history is kept. */
  onRevocation(lease: string, member: string): void {
    const { committedTo } = this;
    this.leaseCalls.push({
      asked: "revoke",
      lease,
      member,
      calledMs: this.#now(),
      committedBefore: committedTo,
      answer: undefined,
      answeredMs: 0,
      committedAfter: 0,
    });
  }

  /** A leader's snapshot is installed: its `db` may be of a later moment than it says, and its entries are told again. */
  onInstalled(process: MemberProcess): void {
    process.aheadTo = this.committedTo;
  }

  /** Looks at a member that something happened to. */
  onRest(process: MemberProcess, seen: MemberObservation): void {
    this.#lookAtReign(process, seen);
    const { machine } = process;
    if (this.#isBlind || machine.damaged !== undefined || seen.appliedIndex > this.state.index) return;
    const { state } = this;
    const to = Math.min(Math.max(seen.appliedIndex, process.aheadTo), state.index);
    for (let index = seen.appliedIndex; index <= to; index++) {
      const isSame =
        seen.revision === state.revisionAt(index) &&
        Math.max(0, seen.compactRevision) === state.compactRevisionAt(index);
      if (isSame) return;
    }
    const revision = state.revisionAt(seen.appliedIndex);
    const compacted = state.compactRevisionAt(seen.appliedIndex);
    this.#fail(
      new ViolationError(
        "I16-state-as-the-log",
        `${machine.name} has applied ${seen.appliedIndex} and is at revision ${seen.revision}, compacted at ${seen.compactRevision}; ` +
          `by the log it is at ${revision}, compacted at ${compacted}`,
      ),
    );
  }

  #lookAtReign(process: MemberProcess, seen: MemberObservation): void {
    let reign = this.#reigning.get(process);
    const leads = seen.role === "leader";
    if (reign !== undefined && (!leads || reign.term !== seen.term)) {
      this.onProcessEnded(process);
      reign = undefined;
    }
    if (!leads) return;
    if (reign === undefined) {
      const member = process.machine.name;
      reign = { member, term: seen.term, fromMs: this.#now(), settledMs: Infinity, toMs: Infinity };
      this.#reigning.set(process, reign);
      this.#reigns.push(reign);
    }
    if (seen.appliedTerm === seen.term) reign.settledMs = Math.min(reign.settledMs, this.#now());
  }

  onProcessEnded(process: MemberProcess): void {
    const reign = this.#reigning.get(process);
    if (reign === undefined) return;
    reign.toMs = this.#now();
    this.#reigning.delete(process);
  }

  /** Holds what clients were told against what the log did. */
  check(): void {
    if (this.#isBlind) return;
    const { state } = this;
    const written = {
      changes: state.changes,
      revision: state.store.revision,
      index: state.index,
      revisionAt: (index: number) => state.revisionAt(index),
      compactRevisionAt: (index: number) => state.compactRevisionAt(index),
    };
    const violations = [
      ...checkWatchers(this.watchers, written),
      ...checkLeases({
        ...this.#options,
        calls: this.leaseCalls,
        reigns: this.#reigns,
        leases: state.leases,
        writtenMs: (index) => this.#writtenMs[index]!,
        keysBetween: (lease, from, to) => this.#keysBetween(lease, from, to),
      }),
      ...checkRights(this.rightsCalls, state),
    ];
    const [first] = violations;
    if (first !== undefined) throw new ViolationError(first.law, first.detail);
  }

  #keysBetween(lease: string, from: number, to: number): string[][] {
    const found: string[][] = [];
    const all = { key: "", end: "\0" };
    for (let revision = this.state.revisionAt(from); revision <= this.state.revisionAt(to); revision++) {
      const kvs = this.state.store.pairsAt(all, revision).filter((kv) => kv.lease === lease);
      found.push(kvs.map(({ key }) => key));
    }
    return found;
  }
}
