/**
 * A database of about 1 MB in which one bit is flipped, again and again. Each time it is opened, read whole (every key by cursor
 * and by name) and checked whole.
 *
 * No flip may end in anything but the right answer or a named error. That is so because Walnut seals its pages (`format.ts`).
 *
 * A page that bbolt wrote has no seal, and the format has checksums for its meta pages only. Without seals, what must hold is
 * weaker: the flips that nothing tells are only those in the bytes of a key or value, of a bucket's header (the page it begins
 * on, its sequence), or in the sizes and flags of an element, which nothing in the file repeats. They are counted.
 */
import assert from "node:assert/strict";
import { SimClock, SimDisk } from "../../../sim/index.js";
import { silentLog } from "../../platform/log.js";
import { BoltError, openBolt, type BoltDatabase, type Bucket } from "../index.js";
import { BUCKET_FLAG, ELEMENT_BYTES, PAGE_HEADER_BYTES, PageKind, readUint16LE, SEAL_BYTES } from "../format.js";
import { readUint32LE } from "../../base/bytes.js";
import { ByteDisk } from "./byte-disk.js";
import { Chance } from "./random-work.js";
import { bytesOf } from "./twin.js";

const PATH = "/data/db";
const PAGE_BYTES = 4096;

export interface FlipCounts {
  flips: number;
  /** The whole contents were as before, and the check found nothing: free pages, padding, unused header fields. */
  harmless: number;
  /** Opening or reading ended in a named error. */
  namedWhenRead: number;
  /** Reading did not touch the damage or could not see it; the whole-file check named it. */
  namedByCheck: number;
  /** The newer meta page was refused and the commit before it was read, with a warning. */
  olderState: number;
  /** Without seals: bytes of keys and values differ and nothing can tell. With seals: none. */
  silentPayload: number;
  byCode: Map<string, number>;
}

interface Item {
  readonly bucket: readonly string[];
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** @param seals false takes the seals off all pages first: a file as bbolt writes it */
export async function runFlips(seed: number, flips: number, seals: boolean): Promise<FlipCounts> {
  const original = await build(seed);
  const payload = payloadOf(original);
  if (seals) payload.clear();
  else takeSealsOff(original);
  const expected = await readAll(original);
  const disk = new ByteDisk(original.slice());
  const chance = new Chance(seed);
  const counts: FlipCounts = {
    flips: 0,
    harmless: 0,
    namedWhenRead: 0,
    namedByCheck: 0,
    olderState: 0,
    silentPayload: 0,
    byCode: new Map(),
  };
  for (let i = 0; i < flips; i++) {
    const at = chance.below(original.length);
    const bit = 1 << chance.below(8);
    disk.bytes[at]! ^= bit;
    await judge(disk, expected, counts, payload.has(at), `seed ${seed}: byte ${at}, bit ${bit}`);
    disk.bytes[at]! ^= bit;
    counts.flips++;
  }
  return counts;
}

async function judge(
  disk: ByteDisk,
  expected: Item[],
  counts: FlipCounts,
  inPayload: boolean,
  where: string,
): Promise<void> {
  const doors = { disk, clock: new SimClock(), log: silentLog };
  let db: BoltDatabase | undefined;
  try {
    db = await openBolt(doors, PATH, { readOnly: true });
    const same = sameItems(db, expected);
    if (db.damagedMeta !== undefined) {
      note(counts, db.damagedMeta.code);
      counts.olderState++;
      return;
    }
    const problem = (await db.check())[0];
    if (problem !== undefined) {
      note(counts, problem.code);
      counts.namedByCheck++;
    } else if (same) counts.harmless++;
    else {
      assert.ok(inPayload, `${where}: a wrong answer that nothing tells`);
      counts.silentPayload++;
    }
  } catch (error) {
    if (!(error instanceof BoltError)) throw new Error(`${where}: ${String(error)}`, { cause: error });
    note(counts, error.code);
    counts.namedWhenRead++;
  } finally {
    await db?.close();
  }
}

function note(counts: FlipCounts, code: string): void {
  counts.byCode.set(code, (counts.byCode.get(code) ?? 0) + 1);
}

/** Walks over everything and compares, and asks for each key by name. */
function sameItems(db: BoltDatabase, expected: Item[]): boolean {
  const read = db.beginRead();
  let at = 0;
  let same = true;
  const visit = (bucket: Bucket, path: readonly string[]): void => {
    const cursor = bucket.cursor();
    for (let more = cursor.first(); more; more = cursor.next()) {
      const value = cursor.value;
      const { key } = cursor;
      if (value === undefined) visit(bucket.bucket(key)!, [...path, Buffer.from(key).toString("latin1")]);
      else {
        const item = expected[at++];
        if (item === undefined || Buffer.compare(item.key, key) !== 0 || Buffer.compare(item.value, value) !== 0)
          same = false;
      }
    }
  };
  for (const name of read.buckets()) visit(read.bucket(name)!, [Buffer.from(name).toString("latin1")]);
  if (at !== expected.length) same = false;
  for (let i = 0; i < expected.length; i += 7) {
    const item = expected[i]!;
    let bucket: Bucket | undefined;
    for (const name of item.bucket)
      bucket = bucket === undefined ? read.bucket(bytesOf(name)) : bucket.bucket(bytesOf(name));
    const value = bucket?.get(item.key);
    if (value === undefined || Buffer.compare(value, item.value) !== 0) same = false;
  }
  return same;
}

async function readAll(bytes: Uint8Array): Promise<Item[]> {
  const doors = { disk: new ByteDisk(bytes), clock: new SimClock(), log: silentLog };
  const db = await openBolt(doors, PATH, { readOnly: true });
  const items: Item[] = [];
  const visit = (bucket: Bucket, path: readonly string[]): void => {
    const cursor = bucket.cursor();
    for (let more = cursor.first(); more; more = cursor.next()) {
      const value = cursor.value;
      if (value !== undefined) items.push({ bucket: path, key: cursor.key.slice(), value: value.slice() });
      else visit(bucket.bucket(cursor.key)!, [...path, Buffer.from(cursor.key).toString("latin1")]);
    }
  };
  const read = db.beginRead();
  for (const name of read.buckets()) visit(read.bucket(name)!, [Buffer.from(name).toString("latin1")]);
  await db.close();
  return items;
}

/** About 1 MB: revisions as etcd has them, a small bucket, nested ones, long values, free pages. */
async function build(seed: number): Promise<Uint8Array> {
  const disk = new SimDisk();
  const db = await openBolt({ disk, clock: new SimClock(), log: silentLog }, PATH, { pageSize: PAGE_BYTES });
  const chance = new Chance(seed);
  for (let commit = 0; commit < 6; commit++) {
    const write = db.beginWrite();
    const keys = write.createBucketIfNotExists(bytesOf("key"));
    keys.fillPercent = 0.9;
    for (let i = 0; i < 350; i++) {
      const key = new Uint8Array(17);
      new DataView(key.buffer).setBigUint64(0, BigInt(commit * 350 + i));
      key[8] = 0x5f;
      keys.put(key, chance.bytes(300 + chance.below(120)));
    }
    write.createBucketIfNotExists(bytesOf("meta")).put(bytesOf("consistent_index"), chance.bytes(8));
    const nested = write.createBucketIfNotExists(bytesOf("nested"));
    for (let i = 0; i < 8; i++) {
      const inner = nested.createBucketIfNotExists(bytesOf(`inner ${i}`));
      for (let j = 0; j < (i < 4 ? 3 : 40); j++)
        inner.put(bytesOf(`key ${commit} ${j}`), chance.bytes(chance.below(60)));
    }
    nested.put(bytesOf(`long ${commit}`), chance.bytes(9000));
    if (commit > 0) nested.delete(bytesOf(`long ${commit - 1}`));
    await write.commit();
  }
  const { highWater } = db.beginRead().state.meta;
  assert.deepEqual(await db.check(), []);
  await db.close();
  return disk.readAll(PATH).slice(0, (highWater + 2) * PAGE_BYTES);
}

function takeSealsOff(file: Uint8Array): void {
  for (let start = 2 * PAGE_BYTES; start < file.length;) {
    const end = start + (readUint32LE(file, start + 12) + 1) * PAGE_BYTES;
    file.fill(0, end - SEAL_BYTES, end);
    start = end;
  }
}

/** The bytes that nothing else in the file can vouch for, in every leaf and branch page that the file has. */
function payloadOf(file: Uint8Array): Set<number> {
  const offsets = new Set<number>();
  for (let start = 2 * PAGE_BYTES; start < file.length;) {
    const span = readUint32LE(file, start + 12) + 1;
    addPayload(offsets, file, start);
    start += span * PAGE_BYTES;
  }
  return offsets;
}

function addPayload(offsets: Set<number>, file: Uint8Array, start: number): void {
  const kind = readUint16LE(file, start + 8);
  const count = readUint16LE(file, start + 10);
  if (kind !== PageKind.leaf && kind !== PageKind.branch) return;
  for (let index = 0; index < count; index++) {
    const element = start + PAGE_HEADER_BYTES + index * ELEMENT_BYTES;
    const at = kind === PageKind.leaf ? element + 4 : element;
    const begin = element + readUint32LE(file, at);
    const valueSize = kind === PageKind.leaf ? readUint32LE(file, at + 8) : 0;
    const end = begin + readUint32LE(file, at + 4) + valueSize;
    for (let i = begin; i < end; i++) offsets.add(i);
    if (kind !== PageKind.leaf) continue;
    // Where a key ends and its value begins, and where the page's last value ends, is said once.
    for (let i = at + 4; i < at + 12; i++) offsets.add(i);
    // A bucket may become a value: its flag.
    if (readUint32LE(file, element) === BUCKET_FLAG) offsets.add(element);
    else for (let i = element; i < element + 4; i++) offsets.add(i);
  }
}
