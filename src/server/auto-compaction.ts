/**
 * Automatic compaction: etcd's `--auto-compaction-mode` and `--auto-compaction-retention`.
 *
 * `CompactionSchedule` decides, with the time as input; `AutoCompactor` has the clock and carries out. Both modes are etcd's:
 *
 *     periodic, retention 1h     sample the revision every 6 min          compact at what it was an hour ago, once an hour
 *     periodic, retention 10h    sample every 6 min, keep 10 hours        nothing for 10 hours, then once an hour
 *     periodic, retention 5s     sample every 500 ms                      once in 5 s
 *     revision, retention 1000   look every 5 min                         compact at 1,000 revisions below the current one
 *
 * Laws:
 * - Only the leader compacts. The others sample on, so that a new leader knows what the revision was.
 * - One compaction is under way at a time. One that fails is tried again at the next look.
 * - Somebody else's compaction at the same or a later revision is as good as one of our own.
 */
import { CodedError, describeError } from "../base/errors.js";
import { formatDuration } from "../base/go-duration.js";
import type { Clock, Log, Timer } from "../platform/index.js";

export type AutoCompaction =
  | { readonly mode: "periodic"; readonly retentionMs: number }
  | { readonly mode: "revision"; readonly retentionRevisions: number };

/** Periodic compactions are an hour apart at most, however long the retention (etcd's figure). */
const PERIOD_MS_MAX = 3_600_000;
/** Looks in each period (etcd's figure). */
const LOOKS_IN_PERIOD = 10;
/** Between two looks in revision mode (etcd's figure). */
const REVISION_LOOK_MS = 300_000;

/** What a look finds. */
export interface Situation {
  /** On the clock's `now`. */
  readonly now: number;
  readonly revision: number;
  readonly leads: boolean;
}

/** Decides when and where to compact. */
export interface CompactionSchedule {
  /** From one look to the next; from the end of a compaction, where the look led to one. */
  readonly lookMs: number;
  /** The revision to compact at, or undefined when it is not time yet. */
  look(situation: Situation): number | undefined;
  /** The compaction that the last look asked for is done. Not called when it failed. */
  onCompacted(now: number): void;
  /** The situation once the look and what it led to are over. */
  sample(revision: number): void;
}

/** @param start when the member began, and at which revision */
export function scheduleOf(policy: AutoCompaction, start: Omit<Situation, "leads">): CompactionSchedule {
  if (policy.mode === "revision") return new RevisionSchedule(policy.retentionRevisions);
  const schedule = new PeriodicSchedule(policy.retentionMs, start.now);
  schedule.sample(start.revision);
  return schedule;
}

class PeriodicSchedule implements CompactionSchedule {
  readonly lookMs: number;
  readonly #periodMs: number;
  readonly #samplesMax: number;
  /** Revisions at the last looks, oldest first: the first is what the revision was a retention ago, or at the start. */
  #samples: number[] = [];
  #compactedAt: number;
  /** The first compaction waits for the whole retention, later ones for a period. */
  #waitMs: number;

  constructor(retentionMs: number, now: number) {
    this.#periodMs = Math.min(retentionMs, PERIOD_MS_MAX);
    this.lookMs = this.#periodMs / LOOKS_IN_PERIOD;
    this.#samplesMax = Math.floor(retentionMs / this.lookMs) + 1;
    this.#compactedAt = now;
    this.#waitMs = retentionMs;
  }

  look({ now, leads }: Situation): number | undefined {
    if (!leads || now - this.#compactedAt < this.#waitMs) return undefined;
    this.#waitMs = this.#periodMs;
    return this.#samples[0];
  }

  onCompacted(now: number): void {
    this.#compactedAt = now;
  }

  sample(revision: number): void {
    this.#samples.push(revision);
    if (this.#samples.length > this.#samplesMax) this.#samples.shift();
  }
}

class RevisionSchedule implements CompactionSchedule {
  readonly lookMs = REVISION_LOOK_MS;
  readonly #retention: number;
  #asked = 0;
  #compacted = 0;

  constructor(retention: number) {
    this.#retention = retention;
  }

  look({ revision, leads }: Situation): number | undefined {
    const at = revision - this.#retention;
    if (!leads || at <= 0 || at === this.#compacted) return undefined;
    this.#asked = at;
    return at;
  }

  onCompacted(): void {
    this.#compacted = this.#asked;
  }

  sample(): void {
    // What the revision was before does not matter here.
  }
}

export interface AutoCompactorDependencies {
  readonly clock: Clock;
  readonly log: Log;
  readonly revision: () => number;
  readonly leads: () => boolean;
  /** Puts a compaction into the log; resolves when it is applied. */
  readonly compact: (revision: number) => Promise<unknown>;
}

/** Looks at the schedule for as long as the member runs. */
export class AutoCompactor {
  readonly #d: AutoCompactorDependencies;
  readonly #policy: AutoCompaction;
  readonly #schedule: CompactionSchedule;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(d: AutoCompactorDependencies, policy: AutoCompaction) {
    this.#d = d;
    this.#policy = policy;
    this.#schedule = scheduleOf(policy, { now: d.clock.now(), revision: d.revision() });
    this.#wait();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #wait(): void {
    this.#timer = this.#d.clock.after(this.#schedule.lookMs, () => void this.#look());
  }

  async #look(): Promise<void> {
    const { clock, revision, leads } = this.#d;
    const at = this.#schedule.look({ now: clock.now(), revision: revision(), leads: leads() });
    if (at !== undefined) await this.#compact(at);
    if (this.#stopped) return;
    this.#schedule.sample(revision());
    this.#wait();
  }

  async #compact(revision: number): Promise<void> {
    const { clock, log } = this.#d;
    const { mode } = this.#policy;
    const fields = { revision, ...this.#retentionField() };
    log.info(`starting auto ${mode} compaction`, fields);
    const began = clock.now();
    try {
      await this.#d.compact(revision);
    } catch (error) {
      if (!isCompacted(error)) {
        if (this.#stopped) return;
        const retry = { "retry-interval": formatDuration(this.#schedule.lookMs), error: describeError(error) };
        log.warn(`failed auto ${mode} compaction`, { ...fields, ...retry });
        return;
      }
    }
    this.#schedule.onCompacted(clock.now());
    log.info(`completed auto ${mode} compaction`, { ...fields, took: formatDuration(clock.now() - began) });
  }

  /** As etcd's lines name it. */
  #retentionField(): Readonly<Record<string, unknown>> {
    return this.#policy.mode === "periodic"
      ? { "compact-period": formatDuration(this.#policy.retentionMs) }
      : { "revision-compaction-retention": this.#policy.retentionRevisions };
  }
}

function isCompacted(error: unknown): boolean {
  return error instanceof CodedError && error.code === "MVCC_COMPACTED";
}
