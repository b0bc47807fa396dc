/**
 * Power fails at every disk operation of a scripted run (create, saves alone and gathered, overwrites, cuts of tiny segments,
 * snapshots, release, purge, close, open again), in each loss mode, and again at the operations of the opening that follows.
 * Each time the log must open with all that was acknowledged and nothing that was not written.
 */
import assert from "node:assert/strict";
import { equalBytes } from "../../base/bytes.js";
import { CRASH_MODES, SimRandom, type CrashMode, type SimDisk } from "../../../sim/index.js";
import type { Entry, HardState } from "../../proto/raft.js";
import { validSnapshotEntries, walExists, type SnapshotPoint, type WalWriter } from "../index.js";
import { entry, FOLDER, ORIGIN, state, World } from "./fixture.js";

const OPTIONS = { segmentBytes: 2048 };

/** One save, and the moments in the disk's journal at which it was given and acknowledged. */
interface SaveStep {
  readonly hardState: HardState | undefined;
  readonly entries: readonly Entry[];
  readonly given: number;
  acknowledged: number;
}

interface SnapshotStep {
  readonly point: SnapshotPoint;
  readonly given: number;
  acknowledged: number;
}

/** What was asked of the log, with the journal position of each question and answer. */
export interface Story {
  readonly disk: SimDisk;
  readonly saves: readonly SaveStep[];
  readonly snapshots: readonly SnapshotStep[];
  /** Position at which the making of the log was acknowledged. */
  readonly created: number;
}

class Teller {
  readonly world = new World();
  readonly saves: SaveStep[] = [];
  readonly snapshots: SnapshotStep[] = [];
  readonly #random: SimRandom;
  wal!: WalWriter;
  created = 0;
  index = 0;
  term = 1;
  commit = 0;

  constructor(seed: number) {
    this.#random = new SimRandom(seed);
  }

  get #now(): number {
    return this.world.disk.journal.length;
  }

  async begin(): Promise<void> {
    this.wal = await this.world.create(OPTIONS);
    this.created = this.#now;
  }

  async save(hardState: HardState | undefined, entries: readonly Entry[]): Promise<void> {
    const step = { hardState, entries, given: this.#now, acknowledged: Number.POSITIVE_INFINITY };
    this.saves.push(step);
    await this.wal.save(hardState, entries, { alone: this.#random.oneIn(2) });
    step.acknowledged = this.#now;
  }

  /** Entries of random number and length, with a state more often than not. */
  append(): Promise<void> {
    const added = Array.from({ length: 1 + this.#random.below(3) }, () => {
      const value = this.#random.bytes(this.#random.below(this.#random.oneIn(8) ? 1500 : 120));
      return entry(++this.index, value, this.term);
    });
    const withState = !this.#random.oneIn(3);
    if (withState) this.commit = Math.max(this.commit, this.index - this.#random.below(4));
    return this.save(withState ? state(this.term, this.commit, BigInt(this.term)) : undefined, added);
  }

  /** A new leader overwrites what nobody committed. */
  overwrite(): Promise<void> {
    this.term++;
    this.index = Math.max(this.commit + 1, this.index - 1);
    return this.save(state(this.term, this.commit, BigInt(this.term)), [
      entry(this.index, `term ${this.term}`, this.term),
    ]);
  }

  async snapshot(): Promise<void> {
    await this.save(state(this.term, this.index, BigInt(this.term)), []);
    this.commit = this.index;
    const point = { index: this.index, term: this.term };
    const step = { point, given: this.#now, acknowledged: Number.POSITIVE_INFINITY };
    this.snapshots.push(step);
    const confState = { voters: [1n], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
    await this.wal.saveSnapshot({ ...point, confState });
    step.acknowledged = this.#now;
    this.wal.releaseTo(this.index);
  }

  async reopen(): Promise<void> {
    await this.wal.close();
    this.wal = (await this.world.open(this.snapshots.at(-1)?.point ?? ORIGIN, OPTIONS)).writer;
  }

  async tell(saves: number): Promise<Story> {
    await this.begin();
    await this.save(state(1, 0, 1n), [entry(++this.index, "first")]);
    for (let i = 1; this.saves.length < saves; i++) {
      if (i % 7 === 3) await Promise.all([this.append(), this.append(), this.append()]);
      else if (i % 11 === 5) await this.overwrite();
      else if (i % 13 === 6) await this.save(state(this.term, this.commit, BigInt(this.term)), []);
      else if (i % 23 === 17) await this.snapshot();
      else if (i % 29 === 20) await this.wal.purge(2);
      else if (i % 41 === 25) await this.reopen();
      else await this.append();
    }
    await this.wal.close();
    const { saves: told, snapshots, created } = this;
    return { disk: this.world.disk, saves: told, snapshots, created };
  }
}

export function tellStory(saves: number, seed: number): Promise<Story> {
  return new Teller(seed).tell(saves);
}

export interface CrashCounts {
  places: number;
  states: number;
  flagged: number;
  repaired: number;
  againPlaces: number;
  againStates: number;
}

export const noCrashCounts = (): CrashCounts => ({
  places: 0,
  states: 0,
  flagged: 0,
  repaired: 0,
  againPlaces: 0,
  againStates: 0,
});

export interface CrashOptions {
  readonly seed: number;
  /** Every how-manieth place is tried. */
  readonly step: number;
  /** States drawn in the modes that have many. */
  readonly draws: number;
  /** In every how-manieth state power fails again at each place of the opening. */
  readonly againEvery: number;
}

export async function crashEverywhere(story: Story, counts: CrashCounts, options: CrashOptions): Promise<void> {
  const random = new SimRandom(options.seed);
  for (let position = 0; position <= story.disk.journal.length; position += options.step) {
    counts.places++;
    for (const mode of CRASH_MODES) {
      for (let draw = 0; draw < (mode === "lost" ? 1 : options.draws); draw++) {
        const disk = story.disk.platterAt(position, mode, random);
        const what = `crash before ${story.disk.label(position)} (position ${position}), mode ${mode}, draw ${draw}`;
        counts.states++;
        const again = counts.states % options.againEvery === 0;
        await judge(story, disk, position, again ? { mode, random } : undefined, counts, what);
      }
    }
  }
}

interface Again {
  readonly mode: CrashMode;
  readonly random: SimRandom;
}

async function judge(
  story: Story,
  disk: SimDisk,
  position: number,
  again: Again | undefined,
  counts: CrashCounts,
  what: string,
): Promise<void> {
  const opened = await openAndCheck(story, disk, position, what);
  if (opened === undefined) return;
  if (opened.flagged) counts.flagged++;
  if (opened.repaired) counts.repaired++;
  if (again === undefined) return;
  for (let place = 0; place <= opened.operations; place++) {
    counts.againPlaces++;
    counts.againStates++;
    const second = disk.platterAt(place, again.mode, again.random);
    await openAndCheck(
      story,
      second,
      position,
      `${what}, and again before ${disk.label(place)} (${place}) of the opening`,
    );
  }
}

/** Opens as a member's boot does: at the newest snapshot that the log knows. */
async function openAndCheck(
  story: Story,
  disk: SimDisk,
  position: number,
  what: string,
): Promise<{ flagged: boolean; repaired: boolean; operations: number } | undefined> {
  if (!(await walExists(disk, FOLDER))) {
    assert.ok(position < story.created, `${what}: the log is gone`);
    return undefined;
  }
  const world = new World(disk);
  try {
    const snapshots = await validSnapshotEntries(world, FOLDER);
    const at = snapshots.at(-1)!;
    checkSnapshot(story, at, position, what);
    const { writer, contents } = await world.open(at, OPTIONS);
    const operations = disk.journal.length;
    checkLog(story, at, contents.entries, position, what);
    checkState(story, contents.hardState, position, what);
    const next = at.index + contents.entries.length + 1;
    const term = contents.hardState.term + 1;
    await writer.save(state(term, contents.hardState.commit), [entry(next, "after the crash", term)]);
    await writer.close();
    const { entries } = await world.read(at);
    assert.equal(entries.at(-1)?.index, next, `${what}: a save after the opening`);
    world.assertAtRest();
    return { flagged: contents.damagedTail !== undefined, repaired: contents.repaired !== undefined, operations };
  } catch (error) {
    throw error instanceof assert.AssertionError ? error : new Error(what, { cause: error });
  }
}

function checkSnapshot(story: Story, at: SnapshotPoint, position: number, what: string): void {
  const acknowledged = story.snapshots.findLast((step) => step.acknowledged <= position)?.point.index ?? 0;
  assert.ok(at.index >= acknowledged, `${what}: snapshot ${acknowledged} was acknowledged, the newest is ${at.index}`);
  const given = story.snapshots.some((step) => step.given <= position && step.point.index === at.index);
  assert.ok(at.index === 0 || given, `${what}: snapshot ${at.index} was never given`);
}

/** The log must be what the acknowledged saves make, plus a beginning of those that were under way. */
function checkLog(story: Story, at: SnapshotPoint, found: readonly Entry[], position: number, what: string): void {
  const log: Entry[] = [];
  const matches = (): boolean =>
    log.length - at.index === found.length && found.every((entry, i) => sameEntry(entry, log[at.index + i]!));
  let matched = false;
  for (const step of story.saves) {
    if (step.given > position) break;
    const acknowledged = step.acknowledged <= position;
    if (acknowledged) matched = false;
    for (const entry of step.entries) {
      log.length = entry.index - 1;
      log.push(entry);
      matched ||= !acknowledged && matches();
    }
    matched ||= matches();
  }
  matched ||= story.saves.every((step) => step.given > position) && found.length === 0;
  matched ||= story.saves.every((step) => step.acknowledged > position) && found.length === 0;
  assert.ok(
    matched,
    `${what}: ${found.length} entries after ${at.index}, last ${found.at(-1)?.index}: no such log was written`,
  );
}

function sameEntry(a: Entry, b: Entry): boolean {
  return a.index === b.index && a.term === b.term && equalBytes(a.data, b.data);
}

function checkState(story: Story, found: HardState, position: number, what: string): void {
  for (const step of story.saves) {
    if (step.hardState === undefined || step.acknowledged > position) continue;
    const { term, vote } = step.hardState;
    assert.ok(found.term >= term, `${what}: term ${term} was acknowledged, found ${found.term}`);
    if (found.term === term) assert.equal(found.vote, vote, what);
  }
}
