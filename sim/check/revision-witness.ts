/**
 * Linearizability with etcd's revisions as the witness: they say in which order the writes took effect, so that nothing has to be
 * searched for, and a history of n operations is judged in O(n log n).
 *
 * What is checked:
 * 1. Time. An answer is at or above every revision that was answered before its call; that of a write is above. (This holds the
 *    other direction, too: no write that was called after an answer has a revision that the answer already covers.)
 * 2. Uniqueness. A revision belongs to one write.
 * 3. Content. The writes go through the model in the order of their revisions; every answer equals the model's, to the byte.
 * 4. Gaps. A revision that no answered write has is one of a request of unknown outcome, which was called before, is used once and
 *    fits all that was seen of it: values in answers, the servers' log where the history has it. Where several fit, one after the
 *    other is tried, within a limit. A refused request never fits. Where the log says that the end of a lease made it, exactly what
 *    hung on the lease is gone.
 * 5. Refusals and compactions. A compaction has the revision that it was answered at, so that what was read above it comes later;
 *    within one revision only time tells.
 *
 * Serializable answers count as witnesses that their revision existed; what they say is judged by serializable.ts, with the model
 * that comes out of here.
 */
import { changesDifference, differenceOf } from "./difference.js";
import {
  hasWritten,
  isAnswered,
  isRead,
  isSerializable,
  mayWrite,
  type Answered,
  type Change,
  type History,
  type KeyValue,
  type KeyValueRequest,
  type KeyValueResponse,
  type LoggedRevision,
  type Operation,
  type Request,
  type Response,
} from "./history.js";
import { Model } from "./model.js";
import { describePair, type Violation } from "./report.js";

export interface WitnessVerdict {
  readonly violations: readonly Violation[];
  /** Why the verdict is open: more guesses would have been needed. */
  readonly undecided: string | undefined;
  /** The store through all revisions; undefined where the order of the writes itself is broken. */
  readonly model: Model | undefined;
  /** Requests of unknown outcome that took effect, each with its revision. */
  readonly placed: ReadonlyMap<Operation, number>;
  /** Reads of revisions from before the history began, which cannot be judged. */
  readonly skipped: number;
}

export interface WitnessOptions {
  /** How often a choice between requests of unknown outcome may be taken back. */
  readonly guessesMax?: number;
}

const GUESSES_MAX = 2000;
/** After so many a further one tells nothing new. */
const VIOLATIONS_MAX = 20;

export function checkByRevisions(history: History, options: WitnessOptions = {}): WitnessVerdict {
  const floors = floorsOf(history);
  const violations = [...timeViolations(history, floors), ...compactionViolations(history, floors)];
  const reused = reuseViolations(history);
  if (reused.length > 0) {
    violations.push(...reused);
    return {
      violations: violations.slice(0, VIOLATIONS_MAX),
      undecided: undefined,
      model: undefined,
      placed: new Map(),
      skipped: 0,
    };
  }
  const replay = new Replay(history, floors, options.guessesMax ?? GUESSES_MAX);
  replay.run();
  violations.push(...replay.violations);
  return {
    violations: violations.slice(0, VIOLATIONS_MAX),
    undecided: replay.undecided,
    model: replay.broken ? undefined : replay.model,
    placed: replay.placed,
    skipped: replay.skipped,
  };
}

/** The greatest revision that was known before a call, and the operation that told it. */
export interface Floor {
  readonly revision: number;
  readonly by: Operation | undefined;
}

/** For each operation what every answer to it must respect. */
export function floorsOf(history: History): ReadonlyMap<Operation, Floor> {
  const compactions = compactionsOf(history);
  const told = history.operations
    .map((operation) => ({
      operation,
      revision: revisionTold(operation, compactions),
      at: operation.outcome.at ?? Infinity,
    }))
    .filter(({ revision }) => revision > 0)
    .sort((a, b) => a.at - b.at);
  const floors = new Map<Operation, Floor>();
  let floor: Floor = { revision: history.start.revision, by: undefined };
  let next = 0;
  for (const operation of [...history.operations].sort((a, b) => a.called - b.called)) {
    for (; next < told.length && told[next]!.at < operation.called; next++) {
      const { revision, operation: by } = told[next]!;
      if (revision > floor.revision) floor = { revision, by };
    }
    floors.set(operation, floor);
  }
  return floors;
}

/** A revision that certainly existed when the operation ended; 0 when it told none. */
function revisionTold({ request, outcome }: Operation, compactions: readonly Compaction[]): number {
  if (outcome.kind === "answered") return outcome.response.header.revision;
  if (outcome.kind !== "refused" || outcome.reason !== "compacted") return 0;
  // One of the compactions that explain the refusal had taken effect. What its own answer says of the revision is no help: the header is
  // made with the answer, which a physical compaction gets long after.
  const needed = lowestCompaction(request);
  const explaining = compactions.filter(({ to, called }) => to >= needed && called < outcome.at);
  return explaining.length === 0 ? 0 : Math.min(...explaining.map(({ to }) => to));
}

/** How far a compaction must have gone for the request to be refused as compacted. */
function lowestCompaction(request: Request): number {
  const lowest = Math.min(...revisionsAsked(request));
  return request.kind === "compact" ? lowest : lowest + 1;
}

function timeViolations(history: History, floors: ReadonlyMap<Operation, Floor>): Violation[] {
  const violations: Violation[] = [];
  for (const operation of history.operations) {
    if (!isAnswered(operation) || isSerializable(operation.request)) continue;
    const { response } = operation.outcome;
    const { revision } = response.header;
    const floor = floors.get(operation)!;
    const writes = hasWritten(response);
    if (writes ? revision > floor.revision : revision >= floor.revision) continue;
    const told =
      floor.by === undefined
        ? `the history began at ${floor.revision}`
        : `after #${floor.by.id} had told revision ${floor.revision}`;
    violations.push({
      law: "real-time-order",
      detail: `#${operation.id} ${writes ? "wrote" : "was answered from"} revision ${revision}, ${told}`,
      operations: floor.by === undefined ? [operation] : [operation, floor.by],
    });
  }
  return violations;
}

function reuseViolations(history: History): Violation[] {
  const violations: Violation[] = [];
  const writers = new Map<number, Operation>();
  for (const operation of history.operations) {
    if (!isAnswered(operation) || !hasWritten(operation.outcome.response)) continue;
    const { revision } = operation.outcome.response.header;
    const other = writers.get(revision);
    if (other === undefined) writers.set(revision, operation);
    else {
      violations.push({
        law: "revision-used-once",
        detail: `#${other.id} and #${operation.id} were both told that they wrote revision ${revision}`,
        operations: [operation, other],
      });
    }
  }
  return violations;
}

/** The history through the model, revision by revision. */
class Replay {
  readonly model: Model;
  readonly placed = new Map<Operation, number>();
  readonly violations: Violation[] = [];
  undecided: string | undefined;
  skipped = 0;
  /** The order of the writes does not hold: what follows a broken revision says nothing. */
  broken = false;

  readonly #history: History;
  readonly #floors: ReadonlyMap<Operation, Floor>;
  readonly #guessesMax: number;
  readonly #writers = new Map<number, Answered>();
  readonly #others = new Map<number, Answered[]>();
  readonly #log = new Map<number, LoggedRevision>();
  readonly #open: readonly Operation[];
  readonly #seen = new Map<number, Sighting[]>();
  /** Requests of unknown outcome whose revision an answer shows. */
  readonly #pinned = new Map<Operation, number>();
  readonly #choices: Choice[] = [];
  readonly #last: number;
  #guesses = 0;
  #deepest: { readonly revision: number; readonly failure: Failure } | undefined;

  constructor(history: History, floors: ReadonlyMap<Operation, Floor>, guessesMax: number) {
    this.#history = history;
    this.#floors = floors;
    this.#guessesMax = guessesMax;
    this.model = new Model(history.start);
    let last = history.start.revision;
    for (const operation of history.operations) {
      if (!isAnswered(operation)) continue;
      const { response } = operation.outcome;
      const { revision } = response.header;
      last = Math.max(last, revision);
      const judged = isJudgedHere(operation.request);
      const reaches = judged && reachesBefore(operation.request, history.start.revision);
      if (reaches) this.skipped++;
      if (hasWritten(response)) this.#writers.set(revision, operation);
      else if (judged && !reaches) listOf(this.#others, revision).push(operation);
    }
    for (const logged of history.log ?? []) {
      const known = this.#log.get(logged.revision);
      if (known !== undefined) this.#contradiction(known, logged);
      // Who reads a store does not see why something is gone.
      const lease = known?.lease ?? logged.lease;
      this.#log.set(logged.revision, lease === undefined ? logged : { ...logged, lease });
      last = Math.max(last, logged.revision);
    }
    this.#last = last;
    this.#open = history.operations
      .filter(({ outcome, request }) => outcome.kind === "unknown" && mayWrite(request))
      .sort((a, b) => a.called - b.called);
    if (this.#open.length > 0) this.#pin();
  }

  run(): void {
    let revision = this.#history.start.revision;
    let failures = this.#judgeOthers(revision);
    for (;;) {
      if (failures.length > 0 && this.#guesses === 0 && this.#choices.length === 0) {
        this.violations.push(...failures.map((tell) => tell())); // nothing was guessed: each stands for itself
        this.broken = this.model.revision !== revision;
      } else if (failures.length > 0) {
        const back = this.#nextGuess(revision, failures[0]!);
        if (back === undefined) return;
        revision = back;
        failures = this.#judgeOthers(revision);
        continue;
      }
      if (this.broken || revision >= this.#last || this.violations.length >= VIOLATIONS_MAX) return;
      revision++;
      failures = this.#step(revision);
    }
  }

  /** One revision: its write, then what was answered from it. */
  #step(revision: number): Failure[] {
    const writer = this.#writers.get(revision);
    const lease = this.#log.get(revision)?.lease;
    const failure =
      writer !== undefined
        ? this.#write(writer, revision)
        : lease === undefined
          ? this.#fill(revision)
          : this.#endLease(lease, revision);
    const own = failure === undefined ? [] : [failure];
    return this.model.revision === revision ? [...own, ...this.#judgeOthers(revision)] : own;
  }

  #write(operation: Answered, revision: number): Failure | undefined {
    const applied = this.model.apply(operation.request as KeyValueRequest);
    if (applied.kind === "refused") {
      return () => this.#differs(operation, `answered, expected a refusal as ${applied.reason}`);
    }
    const different = reachesBefore(operation.request, this.#history.start.revision)
      ? undefined
      : differenceOf(operation.outcome.response as KeyValueResponse, applied.response);
    if (different !== undefined) return () => this.#differs(operation, different);
    return this.#compareLog(revision, applied.changes, operation);
  }

  #endLease(lease: string, revision: number): Failure | undefined {
    const changes = this.model.endLease(lease);
    const different = changesDifference(this.#log.get(revision)!.changes, changes);
    if (different === undefined) return undefined;
    const detail = `revision ${revision} is the end of lease ${lease}, and not of what hung on it: ${different}`;
    return () => ({ law: "log-as-the-model", detail, operations: [] });
  }

  /** A revision without an answered write: one of the requests of unknown outcome made it. */
  #fill(revision: number): Failure | undefined {
    const candidates = this.#candidates(revision);
    const first = candidates.shift();
    if (first === undefined) return () => this.#nobody(revision);
    if (candidates.length > 0) this.#choices.push({ revision, candidates });
    this.#place(first, revision);
    return undefined;
  }

  #place(operation: Operation, revision: number): void {
    this.model.apply(operation.request as KeyValueRequest);
    this.placed.set(operation, revision);
  }

  #candidates(revision: number): Operation[] {
    const seen = this.#seen.get(revision) ?? [];
    const logged = this.#log.get(revision);
    const requests = new Set<string>();
    return this.#open.filter((operation) => {
      if (this.placed.has(operation) || this.#floors.get(operation)!.revision >= revision) return false;
      if ((this.#pinned.get(operation) ?? revision) !== revision) return false;
      const request = operation.request as KeyValueRequest;
      if (!seen.every(({ kv }) => mayPut(request, kv))) return false;
      const applied = this.model.apply(request);
      const changes = applied.kind === "answered" ? applied.changes : [];
      if (changes.length > 0) this.model.undoTo(revision - 1);
      const fits =
        changes.length > 0 &&
        seen.every(({ kv }) => changes.some((change) => change.kind === "put" && isSame(change.kv, kv))) &&
        (logged === undefined || changesDifference(changes, logged.changes) === undefined);
      if (!fits) return false;
      // Of equal requests any will do: whichever is left can still stand at every later revision.
      const text = JSON.stringify(request);
      if (requests.has(text)) return false;
      requests.add(text);
      return true;
    });
  }

  /**
   * Something does not fit: goes back to the last choice and takes its next candidate.
   *
   * @returns the revision then reached; undefined when none is left, and the failure that came furthest is told
   */
  #nextGuess(revision: number, failure: Failure): number | undefined {
    if (this.#deepest === undefined || revision > this.#deepest.revision) this.#deepest = { revision, failure };
    const choice = this.#choices.at(-1);
    if (choice === undefined) this.violations.push(this.#deepest.failure());
    else if (++this.#guesses > this.#guessesMax) {
      this.undecided =
        `${this.#guessesMax} guesses at which requests of unknown outcome took effect were not enough; ` +
        `furthest came ${this.#deepest.failure().detail}`;
    } else {
      this.model.undoTo(choice.revision - 1);
      for (const [operation, at] of this.placed) if (at >= choice.revision) this.placed.delete(operation);
      const next = choice.candidates.shift()!;
      if (choice.candidates.length === 0) this.#choices.pop();
      this.#place(next, choice.revision);
      return choice.revision;
    }
    this.broken = true;
    return undefined;
  }

  /** Answers that name this revision and wrote nothing. */
  #judgeOthers(revision: number): Failure[] {
    const others = this.#others.get(revision) ?? [];
    return others.map((operation) => this.#judge(operation, revision)).filter((failure) => failure !== undefined);
  }

  #judge(operation: Answered, revision: number): Failure | undefined {
    const request = operation.request as KeyValueRequest;
    const applied = this.model.apply(request);
    if (this.model.revision !== revision) this.model.undoTo(revision);
    if (applied.kind === "refused") {
      return () => this.#differs(operation, `answered, expected a refusal as ${applied.reason}`);
    }
    const different = differenceOf(operation.outcome.response as KeyValueResponse, applied.response);
    return different === undefined ? undefined : () => this.#differs(operation, different);
  }

  #compareLog(revision: number, changes: readonly Change[], operation: Operation): Failure | undefined {
    const logged = this.#log.get(revision);
    const different = logged && changesDifference(logged.changes, changes);
    if (different === undefined) return undefined;
    const detail = `the log of the servers says of revision ${revision}, which #${operation.id} wrote: ${different}`;
    return () => ({ law: "log-as-the-model", detail, operations: [operation] });
  }

  #contradiction(known: LoggedRevision, other: LoggedRevision): void {
    const different = changesDifference(other.changes, known.changes);
    if (different === undefined) return;
    this.violations.push({
      law: "log-as-the-model",
      detail: `the servers told revision ${known.revision} in two ways: ${different}`,
      operations: [],
    });
  }

  #differs(operation: Answered, different: string): Violation {
    const shown = pairsIn(operation.outcome.response).map(({ value }) => value);
    const refused = this.#history.operations.find(
      ({ outcome, request }) => outcome.kind === "refused" && valuesIn(request).some((value) => shown.includes(value)),
    );
    if (refused !== undefined) {
      return {
        law: "no-write-from-nowhere",
        detail: `#${operation.id} shows what #${refused.id} asked for, which was refused; ${different}`,
        operations: [operation, refused],
      };
    }
    const { revision } = operation.outcome.response.header;
    const writer = this.#writers.get(revision);
    return {
      law: "answer-as-the-model",
      detail: `#${operation.id} at revision ${revision}: ${different}`,
      operations: [operation, ...(writer === undefined ? [] : [writer]), ...this.#writersOf(operation)],
    };
  }

  /** Who wrote what the answer shows. */
  #writersOf(operation: Answered): Operation[] {
    const shown = pairsIn(operation.outcome.response).slice(0, 3);
    return shown.flatMap(({ value }) =>
      this.#history.operations.filter(({ request }) => valuesIn(request).includes(value)).slice(0, 1),
    );
  }

  #nobody(revision: number): Violation {
    const sightings = this.#seen.get(revision) ?? this.#lookFor(revision);
    const logged = this.#log.get(revision);
    const shown = sightings[0];
    const values = [
      ...sightings.map(({ kv }) => kv.value),
      ...(logged?.changes ?? []).flatMap((change) => (change.kind === "put" ? [change.kv.value] : [])),
    ];
    const origins = this.#history.operations.filter(({ request }) => valuesIn(request).some((v) => values.includes(v)));
    const what = shown === undefined ? "" : `; #${shown.operation.id} shows ${describePair(shown.kv)}`;
    const why = origins.map((origin) => `; #${origin.id} asked for it ${whyNot(origin)}`).slice(0, 2);
    const witnesses = this.#history.operations
      .filter((operation) => isAnswered(operation) && operation.outcome.response.header.revision >= revision)
      .slice(0, 1);
    return {
      law: "no-write-from-nowhere",
      detail: `revision ${revision} exists, and no request fits that could have written it${what}${why.join("")}`,
      operations: [...(shown === undefined ? witnesses : [shown.operation]), ...origins.slice(0, 2)],
    };
  }

  #lookFor(revision: number): Sighting[] {
    for (const operation of this.#history.operations) {
      if (!isAnswered(operation)) continue;
      const kv = pairsIn(operation.outcome.response).find(({ modRevision }) => modRevision === revision);
      if (kv !== undefined) return [{ operation, kv }];
    }
    return [];
  }

  /** What answers show of the revisions that no answered write has, and the requests that this pins to them. */
  #pin(): void {
    for (const operation of this.#history.operations) {
      if (!isAnswered(operation)) continue;
      for (const kv of pairsIn(operation.outcome.response)) {
        if (kv.modRevision <= this.#history.start.revision || this.#writers.has(kv.modRevision)) continue;
        const sightings = listOf(this.#seen, kv.modRevision);
        if (!sightings.some((known) => isSame(known.kv, kv))) sightings.push({ operation, kv });
      }
    }
    for (const [revision, sightings] of this.#seen) {
      const fitting = this.#open.filter(({ request }) => sightings.every(({ kv }) => mayPut(request, kv)));
      if (fitting.length === 1) this.#pinned.set(fitting[0]!, revision);
    }
  }
}

/** Something that does not fit; told only when it counts, since most wrong guesses are taken back. */
type Failure = () => Violation;

/** A pair that an answer showed. */
interface Sighting {
  readonly operation: Answered;
  readonly kv: KeyValue;
}

/** A revision that several requests could have written; those not tried yet. */
interface Choice {
  readonly revision: number;
  readonly candidates: Operation[];
}

function isJudgedHere(request: Request): boolean {
  return request.kind !== "compact" && request.kind !== "hash" && !isSerializable(request);
}

function whyNot({ outcome }: Operation): string {
  if (outcome.kind === "refused") return "and was refused";
  if (outcome.kind === "answered") return `and was told revision ${outcome.response.header.revision}`;
  return "with unknown outcome, and has another place or cannot stand here";
}

/** Compactions in the order of a key; at each place stands the one that went furthest up to there. */
class GreatestBelow<Item extends Compaction> {
  readonly #keys: number[] = [];
  readonly #items: Item[] = [];

  constructor(compactions: readonly Item[], keyOf: (compaction: Item) => number) {
    for (const compaction of [...compactions].sort((a, b) => keyOf(a) - keyOf(b))) {
      const before = this.#items.at(-1);
      this.#keys.push(keyOf(compaction));
      this.#items.push(before !== undefined && before.to > compaction.to ? before : compaction);
    }
  }

  /** The compaction that went furthest among those whose key is below `key`. */
  find(key: number): Item | undefined {
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#keys[middle]! < key) low = middle + 1;
      else high = middle;
    }
    return this.#items[low - 1];
  }
}

type DoneCompaction = Compaction & { readonly revision: number };

interface Compaction {
  readonly operation: Operation;
  /** The revision that was asked for. */
  readonly to: number;
  /** The newest revision when it took effect; undefined while that is not known, and whether it did. */
  readonly revision: number | undefined;
  readonly called: number;
  readonly at: number;
}

/** All that were not refused. */
function compactionsOf(history: History): Compaction[] {
  const compactions: Compaction[] = [];
  for (const operation of history.operations) {
    const { request, outcome, called } = operation;
    if (request.kind !== "compact" || outcome.kind === "refused") continue;
    const revision = outcome.kind === "answered" ? outcome.response.header.revision : undefined;
    compactions.push({ operation, to: request.revision, revision, called, at: outcome.at ?? Infinity });
  }
  return compactions;
}

function compactionViolations(history: History, floors: ReadonlyMap<Operation, Floor>): Violation[] {
  const possible = compactionsOf(history);
  const done = possible.filter((each): each is DoneCompaction => each.revision !== undefined);
  const refusals = refusalViolations(history, floors, new GreatestBelow(possible, ({ called }) => called));
  return [...compactionOrderViolations(done), ...compactedReads(history, done), ...refusals];
}

function compactionOrderViolations(done: readonly DoneCompaction[]): Violation[] {
  const violations: Violation[] = [];
  const tell = (detail: string, ...operations: Operation[]): void => {
    violations.push({ law: "compaction-order", detail, operations });
  };
  const ascending = [...done].sort((a, b) => a.to - b.to);
  let soonest: Compaction | undefined;
  for (let i = ascending.length - 1; i >= 0; i--) {
    const one = ascending[i]!;
    const after = ascending[i + 1];
    const { id } = one.operation;
    if (one.to > one.revision) {
      tell(`#${id} compacted to ${one.to}, above the newest revision ${one.revision}`, one.operation);
    }
    if (after !== undefined && after.to === one.to) {
      tell(`#${id} and #${after.operation.id} both compacted to ${one.to}`, one.operation, after.operation);
    } else if (soonest !== undefined && soonest.at < one.called) {
      tell(
        `#${id} compacted to ${one.to}, after #${soonest.operation.id} to ${soonest.to}`,
        one.operation,
        soonest.operation,
      );
    }
    if (soonest === undefined || one.at < soonest.at) soonest = one;
  }
  return violations;
}

/** Reads of revisions that were compacted before. */
function compactedReads(history: History, done: readonly DoneCompaction[]): Violation[] {
  if (done.length === 0) return [];
  const byRevision = new GreatestBelow(done, ({ revision }) => revision);
  const byTime = new GreatestBelow(done, ({ at }) => at);
  const violations: Violation[] = [];
  for (const operation of history.operations) {
    if (!isAnswered(operation)) continue;
    const { response } = operation.outcome;
    const asked = Math.min(...revisionsRead(operation.request, response));
    if (asked === Infinity) continue;
    const before = [
      byRevision.find(response.header.revision),
      // A member that is asked for what it has may not have heard of the compaction.
      isSerializable(operation.request) ? undefined : byTime.find(operation.called),
    ];
    const gone = before.find((compaction) => compaction !== undefined && compaction.to > asked);
    if (gone === undefined) continue;
    violations.push({
      law: "refusal-is-true",
      detail: `#${operation.id} read revision ${asked}, which #${gone.operation.id} had compacted (to ${gone.to})`,
      operations: [operation, gone.operation],
    });
  }
  return violations;
}

/** Refusals for a reason that was not there. */
function refusalViolations(
  history: History,
  floors: ReadonlyMap<Operation, Floor>,
  possible: GreatestBelow<Compaction>,
): Violation[] {
  const violations: Violation[] = [];
  for (const operation of history.operations) {
    const { request, outcome } = operation;
    if (outcome.kind !== "refused" || outcome.reason === "other") continue;
    const asked = revisionsAsked(request);
    const tell = (detail: string, ...others: (Operation | undefined)[]): void => {
      const operations = [operation, ...others.filter((other) => other !== undefined)];
      violations.push({ law: "refusal-is-true", detail: `#${operation.id} ${detail}`, operations });
    };
    if (asked.length === 0) tell(`was refused as ${outcome.reason}, and names no revision`);
    else if (outcome.reason === "future") {
      const floor = floors.get(operation)!;
      if (isSerializable(request) || Math.max(...asked) > floor.revision) continue;
      tell(`was refused as future, although revision ${floor.revision} was known`, floor.by);
    } else {
      const needed = lowestCompaction(request);
      const compaction = possible.find(outcome.at);
      if (compaction !== undefined && compaction.to >= needed) continue;
      if (history.start.revision > 1 && needed <= history.start.revision) continue; // compacted before, perhaps
      tell(`was refused as compacted, and no compaction to ${needed} or above had been asked for`);
    }
  }
  return violations;
}

/** Revisions that a request names, in whatever branch. */
function revisionsAsked(request: Request): number[] {
  switch (request.kind) {
    case "range":
      return (request.revision ?? 0) > 0 ? [request.revision!] : [];
    case "compact":
      return [request.revision];
    case "txn":
      return [...request.success, ...request.failure].flatMap(revisionsAsked);
    case "put":
    case "delete":
    case "hash":
      return [];
  }
}

/** Revisions that an answer was read from, those of the branch that ran. */
function revisionsRead(request: Request, response: Response): number[] {
  if (request.kind === "range") return (request.revision ?? 0) > 0 ? [request.revision!] : [];
  if (request.kind !== "txn" || response.kind !== "txn") return [];
  const branch = response.succeeded ? request.success : request.failure;
  return branch.flatMap((each, i) => {
    const answer = response.responses[i];
    return answer === undefined ? [] : revisionsRead(each, answer);
  });
}

function reachesBefore(request: Request, revision: number): boolean {
  return revision > 1 && revisionsAsked(request).some((asked) => asked < revision);
}

/** Whether some branch of the request puts this pair. */
function mayPut(request: Request, kv: KeyValue): boolean {
  if (request.kind === "put") return request.key === kv.key && (request.value === kv.value || kv.value === "");
  if (request.kind !== "txn" || isRead(request)) return false;
  return [...request.success, ...request.failure].some((each) => mayPut(each, kv));
}

/** An answer of keys only shows no values. */
function isSame(written: KeyValue, shown: KeyValue): boolean {
  return written.key === shown.key && (written.value === shown.value || shown.value === "");
}

function valuesIn(request: Request): string[] {
  if (request.kind === "put") return [request.value];
  if (request.kind !== "txn") return [];
  return [...request.success, ...request.failure].flatMap(valuesIn);
}

function pairsIn(response: Response): readonly KeyValue[] {
  switch (response.kind) {
    case "put":
      return response.prevKv === undefined ? [] : [response.prevKv];
    case "range":
      return response.kvs;
    case "delete":
      return response.prevKvs;
    case "txn":
      return response.responses.flatMap(pairsIn);
    case "compact":
    case "hash":
      return [];
  }
}

function listOf<Key, Item>(lists: Map<Key, Item[]>, key: Key): Item[] {
  let list = lists.get(key);
  if (list === undefined) lists.set(key, (list = []));
  return list;
}
