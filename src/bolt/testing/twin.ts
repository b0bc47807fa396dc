/** The simple twin of a database: sorted maps. What the tree must do is what the twin does. */
import assert from "node:assert/strict";
import type { Bucket, ReadTransaction, WriteTransaction } from "../index.js";

/** A bucket as a map from latin1 keys to values or buckets. */
export class TwinBucket {
  sequence = 0;
  readonly items = new Map<string, Uint8Array | TwinBucket>();

  copy(): TwinBucket {
    const copy = new TwinBucket();
    copy.sequence = this.sequence;
    for (const [key, item] of this.items) copy.items.set(key, item instanceof TwinBucket ? item.copy() : item);
    return copy;
  }

  get sorted(): [string, Uint8Array | TwinBucket][] {
    return [...this.items].sort(([a], [b]) => (a < b ? -1 : 1));
  }
}

export const bytesOf = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0));
export const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

/** All that a bucket holds, read with a cursor. */
export function dumpBucket(bucket: Bucket): TwinBucket {
  const dump = new TwinBucket();
  dump.sequence = bucket.sequence;
  const cursor = bucket.cursor();
  for (let more = cursor.first(); more; more = cursor.next()) {
    const value = cursor.value;
    const key = textOf(cursor.key);
    assert.ok(!dump.items.has(key), `key ${key} comes twice`);
    dump.items.set(key, value === undefined ? dumpBucket(bucket.bucket(cursor.key)!) : Uint8Array.from(value));
  }
  return dump;
}

/** All that a transaction sees. */
export function dump(transaction: ReadTransaction | WriteTransaction): TwinBucket {
  const root = new TwinBucket();
  for (const name of transaction.buckets()) root.items.set(textOf(name), dumpBucket(transaction.bucket(name)!));
  return root;
}

/** Proves that a transaction sees exactly what the twin holds, in order, forwards, backwards and by key. */
export function assertSame(transaction: ReadTransaction | WriteTransaction, twin: TwinBucket): void {
  assert.deepEqual(
    [...transaction.buckets()].map(textOf),
    twin.sorted.map(([name]) => name),
  );
  for (const [name, item] of twin.items) {
    assertSameBucket(transaction.bucket(bytesOf(name))!, item as TwinBucket, name);
  }
}

export function assertSameBucket(bucket: Bucket, twin: TwinBucket, path: string): void {
  assert.ok(bucket !== undefined, `bucket ${path} is missing`);
  assert.equal(bucket.sequence, twin.sequence, `sequence of ${path}`);
  const sorted = twin.sorted;
  const keys = sorted.map(([key]) => key);
  const cursor = bucket.cursor();
  const forwards: string[] = [];
  for (let more = cursor.first(); more; more = cursor.next()) forwards.push(textOf(cursor.key));
  assert.deepEqual(forwards, keys, `keys of ${path}`);
  const backwards: string[] = [];
  for (let more = cursor.last(); more; more = cursor.prev()) backwards.push(textOf(cursor.key));
  assert.deepEqual(backwards.reverse(), keys, `keys of ${path}, backwards`);
  for (const [key, item] of sorted) {
    const value = bucket.get(bytesOf(key));
    if (item instanceof TwinBucket) {
      assert.equal(value, undefined);
      assertSameBucket(bucket.bucket(bytesOf(key))!, item, `${path}/${key}`);
    } else {
      assert.ok(value !== undefined, `${path}: key ${key} is missing`);
      assert.ok(Buffer.compare(value, item) === 0, `${path}: value of ${key}`);
    }
  }
}
