/**
 * A save that the power failed in: every subset of its sectors on the platter. Each result must open, with all that was saved
 * before, and of the torn save nothing that was not written; acknowledged again after new saves.
 */
import assert from "node:assert/strict";
import { type SimDisk, SimRandom } from "../../../sim/index.js";
import type { Entry, HardState } from "../../proto/raft.js";
import { equalBytes } from "../../base/bytes.js";
import type { WalContents } from "../index.js";
import { entries, entry, ORIGIN, state, World } from "./fixture.js";

export interface Shape {
  readonly name: string;
  /** Entries saved before, so that the torn save begins at various places in a sector. */
  readonly before: readonly Entry[];
  readonly save: { readonly state: HardState | undefined; readonly entries: readonly Entry[] };
}

/** Shapes of saves that span up to `sectors` sectors, at offsets of all kinds. */
export function shapes(count: number, sectors: number, seed: number): Shape[] {
  const random = new SimRandom(seed);
  return Array.from({ length: count }, (_, i): Shape => {
    const before = Array.from({ length: 1 + random.below(4) }, (_, k) =>
      entry(k + 1, valueFor(random, 10 + random.below(300), i)),
    );
    const first = before.length + 1;
    const total = sectors * 512 - 512; // it may begin in the middle of a sector
    const parts = 1 + random.below(1 + (i % 8));
    const save = Array.from({ length: parts }, (_, k) => {
      const bytes = Math.max(0, Math.floor(total / parts) - 48 - random.below(40));
      return entry(first + k, valueFor(random, bytes, i), 1 + (i % 3 === 0 ? 1 : 0));
    });
    const term = i % 3 === 0 ? 2 : 1;
    const given = i % 4 === 3 && term === 1 ? undefined : state(term, first - 1);
    return {
      name: `shape ${i}: ${parts} entries, ${given === undefined ? "no state" : `term ${term}`}`,
      before,
      save: { state: given, entries: save },
    };
  });
}

/** Values without zeros, of zeros alone, and mixed: a torn sector of zeros may be what was written. */
function valueFor(random: SimRandom, bytes: number, shape: number): Uint8Array {
  if (shape % 5 === 1) return new Uint8Array(bytes);
  const value = random.bytes(bytes);
  if (shape % 5 === 2) value.fill(0, bytes >> 2, (bytes * 3) >> 2);
  return value;
}

export interface TornCounts {
  states: number;
  /** Results with none, some and all of the torn save's entries. */
  none: number;
  some: number;
  all: number;
  flagged: number;
}

/** Tears one save in every way. */
export async function tear(shape: Shape, counts: TornCounts): Promise<void> {
  const world = new World();
  const wal = await world.create({ segmentBytes: 65_536, prepareNextSegment: false });
  await wal.save(state(1, 0), shape.before);
  await wal.save(shape.save.state, shape.save.entries);
  const { journal } = world.disk;
  const written = journal.findLastIndex((operation) => operation.kind === "write");
  for (const { disk, sectors } of world.disk.tornAt(written + 1)) {
    await judge(disk, shape, counts, () => `${shape.name}, sectors ${[...sectors].join(",")} arrived`);
  }
  await wal.close();
}

async function judge(disk: SimDisk, shape: Shape, counts: TornCounts, what: () => string): Promise<void> {
  const options = { segmentBytes: 65_536, prepareNextSegment: false };
  const world = new World(disk);
  const { writer, contents } = await world.open(ORIGIN, options);
  const all = [...shape.before, ...shape.save.entries];
  const found = contents.entries;
  assert.ok(found.length >= shape.before.length, `${what()}: acknowledged entries are missing`);
  assertPrefix(found, all, what);
  const after = found.length - shape.before.length;
  counts.states++;
  if (after === 0) counts.none++;
  else if (after === shape.save.entries.length) counts.all++;
  else counts.some++;
  if (contents.damagedTail !== undefined) counts.flagged++;
  await goOn(world, writer, contents, options, what);
}

/** New saves go on behind the torn one, and are all there at the next start. */
async function goOn(
  world: World,
  writer: Awaited<ReturnType<World["open"]>>["writer"],
  contents: WalContents,
  options: { segmentBytes: number; prepareNextSegment: boolean },
  what: () => string,
): Promise<void> {
  const next = contents.entries.length + 1;
  const added = entries(next, next + 2, 30, 3);
  await writer.save(state(3, next - 1), added);
  await writer.close();
  const again = await world.open(ORIGIN, options);
  assert.equal(again.contents.damagedTail, undefined, what());
  assert.equal(again.contents.entries.length, next + 1, what());
  assertPrefix(again.contents.entries, [...contents.entries, ...added], what);
  await again.writer.close();
  world.assertAtRest();
}

function assertPrefix(found: readonly Entry[], all: readonly Entry[], what: () => string): void {
  found.forEach((entry, i) => {
    const expected = all[i]!;
    assert.equal(entry.index, expected.index, what());
    assert.equal(entry.term, expected.term, what());
    assert.ok(
      equalBytes(entry.data, expected.data),
      `${what()}: entry ${entry.index} has other bytes than were written`,
    );
  });
}
