/**
 * What watchers were told, held against what was written: etcd's guarantees of watches, one by one.
 *
 * A watcher is told of one stream at one member: what a client that was cut off asks anew is another one, from the revision that it had come
 * to. So that it goes on without a gap is checked by its beginning.
 *
 * - ordered, unique, reliable: what it is told is, change for change, what was written to its keys from its first revision on;
 * - atomic: all of a revision, or nothing of it, comes in one answer;
 * - filtered: nothing that it did not ask for; nothing from before its first revision, the future ones included (etcd #20221);
 * - whole: pairs, and what was there before them, are those of the store;
 * - bookmarkable: progress up to a revision is told after all changes up to there, and never of a revision that is still to come;
 * - over: it is told that its history is compacted only if it is, and which revision it can begin again from;
 * - live: where it was open at the end, it was told everything.
 */
import { isIn, type Change, type KeyValue, type Span } from "./history.js";
import type { LoggedChange } from "./state-machine.js";

/** A change as a watcher is told it. */
export interface TellEvent {
  readonly revision: number;
  readonly change: Change;
  /** What the key was before; undefined where it was told nothing of that. */
  readonly before: KeyValue | undefined;
}

/** What a watcher was told, in order. */
export type Told =
  | {
      readonly kind: "events";
      readonly events: readonly TellEvent[];
      /** Of the answer's header. */
      readonly revision: number;
      /** Index that the member had applied then. */
      readonly applied: number;
    }
  | { readonly kind: "progress"; readonly revision: number; readonly applied: number }
  | { readonly kind: "compacted"; readonly compactRevision: number; readonly applied: number };

export interface WatcherRecord {
  readonly name: string;
  readonly member: string;
  readonly span: Span;
  /** 0 for what comes after `createdAt`. */
  readonly startRevision: number;
  readonly withoutPuts: boolean;
  readonly withoutDeletes: boolean;
  readonly withPrevious: boolean;
  /** Revision that its creation told; undefined while it was not made. */
  createdAt: number | undefined;
  readonly told: Told[];
  /** Whether it was open, and its client took everything, when all had come to rest. */
  openAtEnd: boolean;
}

export interface WrittenHistory {
  /** Ascending. */
  readonly changes: readonly LoggedChange[];
  readonly revision: number;
  /** Revision and compaction after an entry. */
  revisionAt(index: number): number;
  compactRevisionAt(index: number): number;
  /** Last entry. */
  readonly index: number;
}

export interface WatchViolation {
  readonly law: `watch-is-${"reliable" | "atomic" | "whole" | "bookmarkable" | "over" | "live"}`;
  readonly detail: string;
}

export function checkWatchers(watchers: readonly WatcherRecord[], written: WrittenHistory): WatchViolation[] {
  return watchers.flatMap((watcher) => new WatcherCheck(watcher, written).run() ?? []);
}

/** A change that a watcher must be told of. */
interface Wanted {
  readonly revision: number;
  readonly change: Change;
  readonly before: KeyValue | undefined;
}

class WatcherCheck {
  readonly #watcher: WatcherRecord;
  readonly #written: WrittenHistory;
  readonly #wanted: readonly Wanted[];
  #told = 0;
  /** The first revision of which it may not have been told everything, as far as it can know. */
  #next: number;

  constructor(watcher: WatcherRecord, written: WrittenHistory) {
    this.#watcher = watcher;
    this.#written = written;
    this.#next = watcher.startRevision > 0 ? watcher.startRevision : (watcher.createdAt ?? 0) + 1;
    this.#wanted = watcher.createdAt === undefined ? [] : this.#wantedFrom(this.#next);
  }

  #wantedFrom(from: number): Wanted[] {
    const { span, withoutPuts, withoutDeletes } = this.#watcher;
    const wanted: Wanted[] = [];
    for (const { revision, changes, before } of this.#written.changes) {
      if (revision < from) continue;
      changes.forEach((change, at) => {
        const isLeftOut = change.kind === "put" ? withoutPuts : withoutDeletes;
        if (!isLeftOut && isIn(span, keyOf(change))) wanted.push({ revision, change, before: before[at] });
      });
    }
    return wanted;
  }

  run(): WatchViolation | undefined {
    const { told, createdAt, openAtEnd } = this.#watcher;
    if (createdAt === undefined)
      return told.length === 0 ? undefined : this.#broken("reliable", "it was told of changes before it was made");
    for (const each of told) {
      const violation = this.#onTold(each);
      if (violation !== undefined) return violation;
    }
    const missing = this.#wanted[this.#told];
    if (!openAtEnd || missing === undefined) return undefined;
    return this.#broken("live", `it was never told of ${describe(missing)}, to which all members had come`);
  }

  #onTold(told: Told): WatchViolation | undefined {
    switch (told.kind) {
      case "events":
        return this.#onEvents(told.events, told.revision, told.applied);
      case "progress":
        return this.#onProgress(told.revision, told.applied);
      case "compacted":
        return this.#onCompacted(told.compactRevision, told.applied);
    }
  }

  #onEvents(events: readonly TellEvent[], revision: number, applied: number): WatchViolation | undefined {
    for (const event of events) {
      const wanted = this.#wanted[this.#told];
      if (wanted === undefined)
        return this.#broken("reliable", `it was told of ${describe(event)}, and nothing is due`);
      const different = changeDifference(event, wanted);
      if (different !== undefined) {
        const law = event.revision === wanted.revision && keyOf(event.change) === keyOf(wanted.change);
        return this.#broken(
          law ? "whole" : "reliable",
          `it was told of ${describe(event)}, and ${describe(wanted)} is due${different}`,
        );
      }
      const wrong = this.#beforeDifference(event, wanted, applied);
      if (wrong !== undefined) return this.#broken("whole", `of ${describe(event)} it was told ${wrong}`);
      this.#told++;
    }
    const last = events.at(-1);
    if (last === undefined) return this.#broken("reliable", "it was told of no change at all");
    const rest = this.#wanted[this.#told];
    if (rest !== undefined && rest.revision === last.revision)
      return this.#broken("atomic", `of revision ${last.revision} it was told in part: ${describe(rest)} is left`);
    this.#next = last.revision + 1;
    if (revision < last.revision || revision > this.#written.revisionAt(Math.min(applied + 1, this.#written.index)))
      return this.#broken("bookmarkable", `${describe(last)} came under revision ${revision}`);
    return undefined;
  }

  #beforeDifference(event: TellEvent, wanted: Wanted, applied: number): string | undefined {
    const expected = this.#watcher.withPrevious ? wanted.before : undefined;
    const found = event.before;
    if (found === undefined) {
      if (expected === undefined) return undefined;
      // What was there before a compaction is not told any more.
      const index = Math.min(applied + 1, this.#written.index);
      if (event.revision - 1 < this.#written.compactRevisionAt(index)) return undefined;
      return `nothing of what was there before: revision ${expected.modRevision}`;
    }
    if (expected === undefined) return `what was there before (revision ${found.modRevision}), which it should not be`;
    return JSON.stringify(found) === JSON.stringify(expected)
      ? undefined
      : `${JSON.stringify(found)} for what was there before, ${JSON.stringify(expected)} is right`;
  }

  #onProgress(revision: number, applied: number): WatchViolation | undefined {
    const missing = this.#wanted[this.#told];
    if (missing !== undefined && missing.revision <= revision)
      return this.#broken("bookmarkable", `it was told of progress to ${revision}, before ${describe(missing)}`);
    const newest = this.#written.revisionAt(Math.min(applied + 1, this.#written.index));
    if (revision > newest)
      return this.#broken("bookmarkable", `it was told of progress to ${revision}, the member was at ${newest}`);
    if (revision + 1 < this.#watcher.startRevision)
      return this.#broken("bookmarkable", `it begins at ${this.#watcher.startRevision} and was told of ${revision}`);
    this.#next = Math.max(this.#next, revision + 1);
    return undefined;
  }

  /** It may have come further than it was told of, never less far. */
  #onCompacted(compactRevision: number, applied: number): WatchViolation | undefined {
    const most = this.#written.compactRevisionAt(Math.min(applied + 1, this.#written.index));
    if (compactRevision > most)
      return this.#broken("over", `it was told of a compaction at ${compactRevision}, the member was at ${most}`);
    if (this.#next >= compactRevision)
      return this.#broken("over", `it lacked nothing before ${this.#next}, and was ended for ${compactRevision}`);
    return undefined;
  }

  #broken(law: "reliable" | "atomic" | "whole" | "bookmarkable" | "over" | "live", detail: string): WatchViolation {
    const { name, member, span, startRevision, createdAt } = this.#watcher;
    const keys =
      span.end === undefined ? JSON.stringify(span.key) : `[${JSON.stringify(span.key)}, ${JSON.stringify(span.end)})`;
    const from = startRevision > 0 ? `from ${startRevision}` : "from its creation";
    return {
      law: `watch-is-${law}`,
      detail: `watcher ${name} of ${keys} ${from} (made at ${createdAt}) on ${member}: ${detail}`,
    };
  }
}

function keyOf(change: Change): string {
  return change.kind === "put" ? change.kv.key : change.key;
}

/** Undefined when they are equal. */
function changeDifference(found: TellEvent, expected: Wanted): string | undefined {
  if (found.revision !== expected.revision) return "";
  const text = JSON.stringify(found.change);
  const right = JSON.stringify(expected.change);
  return text === right ? undefined : `: ${text}, expected ${right}`;
}

function describe({ revision, change }: { readonly revision: number; readonly change: Change }): string {
  return `the ${change.kind} of ${JSON.stringify(keyOf(change))} at revision ${revision}`;
}
