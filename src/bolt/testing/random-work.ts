/** Random work on a database and its twin at once, the same for the same seed. */
import type { Bucket, WriteTransaction } from "../index.js";
import { bytesOf, textOf, TwinBucket } from "./twin.js";

/** A small generator with a seed (mulberry32): the tests here must not depend on anyone else's. */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  below(bound: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let value = this.#state;
    value = Math.imul(value ^ (value >>> 15), value | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return Math.floor((((value ^ (value >>> 14)) >>> 0) / 0x1_0000_0000) * bound);
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.below(256));
  }

  pick<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)]!;
  }
}

export interface WorkShape {
  /** Distinct keys; fewer make more overwrites and deletes of what is there. */
  readonly keys: number;
  readonly valueBytesMax: number;
  /** How deep buckets nest. */
  readonly depth: number;
}

const BUCKET_NAMES = ["alpha", "beta", "gamma", "delta"];

/** Does `count` random operations in a transaction and on the twin. */
export function work(
  transaction: WriteTransaction,
  twin: TwinBucket,
  chance: Chance,
  count: number,
  shape: WorkShape,
): void {
  for (let i = 0; i < count; i++) step(transaction, twin, chance, shape);
}

function step(transaction: WriteTransaction, twin: TwinBucket, chance: Chance, shape: WorkShape): void {
  let name = chance.pick(BUCKET_NAMES);
  if (chance.below(200) === 0 && twin.items.has(name)) {
    transaction.deleteBucket(bytesOf(name));
    twin.items.delete(name);
    return;
  }
  let bucket = transaction.createBucketIfNotExists(bytesOf(name));
  let copy = twin.items.get(name) as TwinBucket | undefined;
  if (copy === undefined) twin.items.set(name, (copy = new TwinBucket()));
  for (let depth = 1; depth < shape.depth && chance.below(3) === 0; depth++) {
    name = `~${chance.pick(BUCKET_NAMES)}`;
    if (chance.below(30) === 0 && copy.items.has(name)) {
      bucket.deleteBucket(bytesOf(name));
      copy.items.delete(name);
      return;
    }
    bucket = bucket.createBucketIfNotExists(bytesOf(name));
    let next = copy.items.get(name) as TwinBucket | undefined;
    if (next === undefined) copy.items.set(name, (next = new TwinBucket()));
    copy = next;
  }
  change(bucket, copy, chance, shape);
}

function change(bucket: Bucket, copy: TwinBucket, chance: Chance, shape: WorkShape): void {
  const key = keyOf(chance, shape);
  switch (chance.below(16)) {
    case 0:
    case 1:
    case 2:
    case 3:
      if (bucket.delete(bytesOf(key)) !== copy.items.delete(key)) throw new Error(`delete of ${key} answered wrongly`);
      return;
    case 4:
      copy.sequence = bucket.nextSequence();
      return;
    case 5:
      deleteRange(bucket, copy, chance, key);
      return;
    case 6:
      prune(bucket, copy, chance, key);
      return;
    default: {
      const size = chance.below(20) === 0 ? chance.below(shape.valueBytesMax) : chance.below(60);
      const value = chance.bytes(size);
      bucket.fillPercent = chance.pick([0.5, 0.9, 1]);
      bucket.put(bytesOf(key), value);
      copy.items.set(key, value);
    }
  }
}

/** Deletes some keys of a run, all of them half the time, as a compaction does. */
function prune(bucket: Bucket, copy: TwinBucket, chance: Chance, from: string): void {
  const to = chance.below(4) === 0 ? undefined : keyOf(chance, { keys: 500 });
  const odds = chance.below(2) === 0 ? 1 : 4;
  let left = chance.below(60);
  const expected = [...copy.items]
    .filter(([key, item]) => !(item instanceof TwinBucket) && key >= from && (to === undefined || key < to))
    .map(([key]) => key)
    .sort();
  let at = 0;
  const stoppedAt = bucket.prune(bytesOf(from), to === undefined ? undefined : bytesOf(to), (key) => {
    if (textOf(key) !== expected[at])
      throw new Error(`a walk from ${from} came to ${textOf(key)}, not ${expected[at]}`);
    if (left-- === 0) return "stop";
    at++;
    if (chance.below(odds) > 0) return "keep";
    copy.items.delete(textOf(key));
    return "delete";
  });
  const due = expected[at];
  if ((stoppedAt === undefined ? undefined : textOf(stoppedAt)) !== due)
    throw new Error(`a walk should stop at ${due}`);
}

/** Deletes a run of keys with the cursor. */
function deleteRange(bucket: Bucket, copy: TwinBucket, chance: Chance, from: string): void {
  const cursor = bucket.cursor();
  let left = chance.below(30);
  for (let more = cursor.seek(bytesOf(from)); more && left > 0; more = cursor.next(), left--) {
    if (cursor.isBucket) continue;
    copy.items.delete(textOf(cursor.key));
    cursor.delete();
  }
}

function keyOf(chance: Chance, shape: Pick<WorkShape, "keys">): string {
  const number = chance.below(shape.keys);
  const pad = number % 7 === 0 ? 40 : 6;
  return `k${String(number).padStart(pad, "0")}`;
}
