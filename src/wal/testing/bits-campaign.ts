/**
 * Damage of every kind to a log of several segments: each bit flipped, each sector zeroed, each file cut at each byte. Each
 * result must be refused with a named error, segment and offset; or open with a damaged end that is flagged; or read exactly
 * the same. None may be silent.
 */
import assert from "node:assert/strict";
import { equalBytes } from "../../base/bytes.js";
import { SECTOR_BYTES } from "../../base/limits.js";
import { silentLog } from "../../platform/index.js";
import { SimClock, SimDisk } from "../../../sim/index.js";
import { openWal, readWal, WalError, type WalContents } from "../index.js";
import { BytesDisk } from "./bytes-disk.js";
import { entries, entry, FOLDER, METADATA, ORIGIN, state, World } from "./fixture.js";

const SEGMENT_BYTES = 16_384;
const clock = new SimClock();

/**
 * A log of 64 KB: values of text, long ones, such that are mostly zeros, states alone, two changes of term, an overwritten end,
 * empty entries of new leaders, a configuration change, snapshots.
 */
export async function sampleLog(): Promise<Map<string, Uint8Array>> {
  const world = new World();
  const wal = await world.create({ segmentBytes: SEGMENT_BYTES });
  let index = 0;
  let term = 1;
  let commit = 0;
  const committed = (at: number): number => (commit = Math.max(commit, at));
  const put = async (count: number, bytes: number): Promise<void> => {
    await wal.save(state(term, committed(index - 1)), entries(index + 1, index + 1 + count, bytes, term));
    index += count;
  };
  await wal.save(state(1, 0), [{ type: 1, term: 1, index: ++index, data: new TextEncoder().encode("member") }]);
  const confState = { voters: [1n], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
  for (let round = 0; (await lastSequence(world)) < 3; round++) {
    await put(1 + (round % 5), 20 + (round % 7) * 30);
    if (round % 4 === 1) await wal.save(undefined, [entry(++index, new Uint8Array(round % 8 === 1 ? 700 : 60), term)]);
    if (round % 6 === 5) await wal.save(state(term, committed(index)), []);
    if (round % 6 === 5) await wal.sync();
    if (round % 16 === 9) await wal.saveSnapshot({ index: index - 2, term, confState });
    if (round % 16 === 12) {
      // A new leader whose first entry overwrites what nobody committed.
      await put(3, 40);
      await wal.save(state(++term, commit), [entry(index, new Uint8Array(0), term)]);
    }
  }
  for (let round = 0; round < 22; round++) await put(1 + (round % 3), 25 + round * 9);
  await wal.close();
  const files = new Map<string, Uint8Array>();
  for (const name of await world.names()) files.set(`${FOLDER}/${name}`, world.disk.readAll(`${FOLDER}/${name}`));
  return files;
}

async function lastSequence(world: World): Promise<number> {
  return (await world.names()).filter((name) => name.endsWith(".wal")).length - 1;
}

export type Verdict = "refused" | "flagged" | "same";

export interface Counts {
  refused: number;
  flagged: number;
  same: number;
  /** Damage that leaves the very bytes of a log that was never longer: no reader of this format can see it. */
  neverWritten: number;
  /** Refusals by code. */
  readonly codes: Map<string, number>;
}

export const noCounts = (): Counts => ({ refused: 0, flagged: 0, same: 0, neverWritten: 0, codes: new Map() });

/** One log under damage. */
export class DamageCampaign {
  readonly files: Map<string, Uint8Array>;
  readonly #disk: BytesDisk;
  readonly #whole: WalContents;
  /** Prefixes of the log: what reading gives that ends at an offset of the last segment. */
  readonly #prefixes = new Map<number, WalContents>();

  private constructor(files: Map<string, Uint8Array>, whole: WalContents) {
    this.files = files;
    this.#disk = new BytesDisk(new Map(files));
    this.#whole = whole;
  }

  static async begin(files: Map<string, Uint8Array>): Promise<DamageCampaign> {
    const whole = await readWal({ disk: new BytesDisk(files), clock }, FOLDER, ORIGIN);
    assert.equal(whole.damagedTail, undefined);
    return new DamageCampaign(files, whole);
  }

  /** Flips bits `[from, to)` of a file, every `step`th. */
  async flipBits(path: string, counts: Counts, step = 1, from = 0): Promise<void> {
    const bytes = this.files.get(path)!.slice();
    this.#disk.files.set(path, bytes);
    for (let bit = from; bit < bytes.length * 8; bit += step) {
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      await this.#judge(counts, () => `bit ${bit} of ${path}`);
      bytes[bit >> 3]! ^= 1 << (bit & 7);
    }
    this.#disk.files.set(path, this.files.get(path)!);
  }

  /** Fills each sector of a file with a value in turn. */
  async fillSectors(path: string, counts: Counts, value: number): Promise<void> {
    const original = this.files.get(path)!;
    for (let at = 0; at < original.length; at += SECTOR_BYTES) {
      const bytes = original.slice();
      bytes.fill(value, at, at + SECTOR_BYTES);
      this.#disk.files.set(path, bytes);
      await this.#judge(counts, () => `sector at ${at} of ${path} filled with ${value}`);
    }
    this.#disk.files.set(path, original);
  }

  /** Cuts a file at each byte. */
  async cut(path: string, counts: Counts, step = 1): Promise<void> {
    const original = this.files.get(path)!;
    for (let size = 0; size < original.length; size += step) {
      this.#disk.files.set(path, original.subarray(0, size));
      await this.#judge(counts, () => `${path} cut at ${size}`);
    }
    this.#disk.files.set(path, original);
  }

  async #judge(counts: Counts, what: () => string): Promise<void> {
    let contents: WalContents;
    try {
      contents = await readWal({ disk: this.#disk, clock }, FOLDER, ORIGIN);
    } catch (error) {
      assert.ok(error instanceof WalError, `${what()}: ${String(error)}`);
      assert.ok(error.segment !== undefined && error.offset !== undefined, `${what()}: no place in ${error.message}`);
      assert.ok(error.message.includes(error.segment), error.message);
      counts.refused++;
      counts.codes.set(error.code, (counts.codes.get(error.code) ?? 0) + 1);
      return;
    }
    if (contents.damagedTail !== undefined) {
      const { offset, summary } = contents.damagedTail;
      assert.ok(summary.includes("lost") || summary.includes("cannot be told"), summary);
      assertSame(contents, await this.#prefix(offset), what);
      counts.flagged++;
    } else if (this.#isShortened()) {
      counts.neverWritten++;
    } else {
      assertSame(contents, this.#whole, what);
      counts.same++;
    }
  }

  /** Whether the damaged last segment is, byte by byte, a log that ends earlier: all its bytes from a record on are zero. */
  #isShortened(): boolean {
    const path = [...this.files.keys()].sort().at(-1)!;
    const [now, then] = [this.#disk.files.get(path)!, this.files.get(path)!];
    if (now.length !== then.length || equalBytes(now, then)) return false;
    let end = now.length;
    while (end > 0 && now[end - 1] === 0) end--;
    const boundary = Math.ceil(end / 8) * 8;
    return equalBytes(now.subarray(0, boundary), then.subarray(0, boundary)) && !equalBytes(now, then);
  }

  /** The log as it would be if its last segment held zeros from `offset` on. */
  async #prefix(offset: number): Promise<WalContents> {
    const known = this.#prefixes.get(offset);
    if (known !== undefined) return known;
    const path = [...this.files.keys()].sort().at(-1)!;
    const bytes = this.files.get(path)!.slice();
    bytes.fill(0, offset);
    const disk = new BytesDisk(new Map(this.files).set(path, bytes));
    const contents = await readWal({ disk, clock }, FOLDER, ORIGIN);
    this.#prefixes.set(offset, contents);
    return contents;
  }

  /** Opens a damaged copy for writing, on a disk that can be written: it must come to the same verdict, and stay good. */
  async openFlipped(path: string, bit: number): Promise<Verdict> {
    const disk = new SimDisk();
    for (const [name, bytes] of this.files) disk.writeAll(name, bytes);
    disk.file(path).flipBit(bit);
    const before = disk.tree();
    const dependencies = { disk, clock, log: silentLog };
    let opened;
    try {
      opened = await openWal(dependencies, FOLDER, ORIGIN, { segmentBytes: SEGMENT_BYTES });
    } catch (error) {
      assert.ok(error instanceof WalError, String(error));
      assert.deepEqual(disk.tree(), before, "a refused log is not touched");
      assert.deepEqual(disk.openHandles(), []);
      return "refused";
    }
    await opened.writer.close();
    const again = await readWal(dependencies, FOLDER, ORIGIN);
    assert.equal(again.damagedTail, undefined);
    assertSame(again, opened.contents, () => `bit ${bit} of ${path} opened, and read again`);
    return opened.contents.damagedTail === undefined ? "same" : "flagged";
  }

  async readFlipped(path: string, bit: number): Promise<Verdict> {
    const counts = noCounts();
    const bytes = this.files.get(path)!.slice();
    bytes[bit >> 3]! ^= 1 << (bit & 7);
    this.#disk.files.set(path, bytes);
    await this.#judge(counts, () => `bit ${bit} of ${path}`);
    this.#disk.files.set(path, this.files.get(path)!);
    return counts.refused > 0 ? "refused" : counts.flagged > 0 ? "flagged" : "same";
  }
}

function assertSame(found: WalContents, expected: WalContents, what: () => string): void {
  if (!sameContents(found, expected)) {
    const tell = ({ entries, hardState }: WalContents): string =>
      `${entries.length} entries, last ${entries.at(-1)?.index}, state ${hardState.term}/${hardState.vote}/${hardState.commit}`;
    assert.fail(`SILENT: ${what()}: found ${tell(found)}, expected ${tell(expected)}`);
  }
}

function sameContents(a: WalContents, b: WalContents): boolean {
  if (!equalBytes(a.metadata, b.metadata) || a.entries.length !== b.entries.length) return false;
  if (a.hardState.term !== b.hardState.term || a.hardState.vote !== b.hardState.vote) return false;
  if (a.hardState.commit !== b.hardState.commit) return false;
  return a.entries.every((entry, i) => {
    const other = b.entries[i]!;
    return (
      entry.index === other.index &&
      entry.term === other.term &&
      entry.type === other.type &&
      equalBytes(entry.data, other.data)
    );
  });
}

export { METADATA };
