/** A copy without the free pages: what etcd calls defragmentation. */
import { SLICE_MS_MAX } from "../base/limits.js";
import { DiskError } from "../platform/disk.js";
import { SpareTime } from "../platform/spare-time.js";
import type { Bucket } from "./bucket.js";
import type { BoltDatabase, BoltDoors } from "./database.js";
import { openBolt } from "./open.js";
import type { ReadTransaction, WriteTransaction } from "./transaction.js";

/** Keys in one transaction of the copy, and how full it leaves pages: etcd's figures. */
const KEYS_PER_COMMIT = 10_000;
const FILL_PERCENT = 0.9;
/** Bytes in one transaction of the copy: what waits to be written is in memory. */
const BYTES_PER_COMMIT = 8 * 1024 * 1024;
const KEYS_PER_LOOK = 64;
const SLICE_MS = SLICE_MS_MAX / 2;

export interface CompactOptions {
  readonly initialMapBytes?: number;
  /** Whether a server runs beside the copy: then it takes only the time that is left over. */
  readonly beside?: boolean;
  /** Called now and then with the keys copied so far. */
  readonly onProgress?: (keys: number) => void;
}

/**
 * Copies every bucket and key of a state into a new file, whose bytes are durable when it resolves. The name is not: the caller
 * gives the file its final one (rename, then sync of the folder), or removes it. On failure the file is removed.
 *
 * @throws DiskError `DISK_EXISTS` when the target exists, and those of the disk; BoltError for damage in the source
 */
export async function compactBolt(
  source: ReadTransaction,
  doors: BoltDoors,
  targetPath: string,
  options: CompactOptions = {},
): Promise<void> {
  if ((await doors.disk.stat(targetPath)) !== undefined) {
    throw new DiskError("DISK_EXISTS", targetPath, `${targetPath}: the file to copy into exists; remove it first`);
  }
  try {
    const target = await openTarget(doors, targetPath, source.pages.pageSize, options);
    try {
      const copy = new Copy(doors, () => target.beginWrite(), options);
      await copy.run(source);
    } finally {
      await target.close();
    }
  } catch (error) {
    await doors.disk.removeFile(targetPath).catch(() => undefined); // the first failure is the one to tell
    throw error;
  }
}

/**
 * One sync at the end is the quickest. Beside a server each commit is synced: some hundred megabytes at once would
 * keep the disk from the log for as long as they take.
 */
async function openTarget(
  doors: BoltDoors,
  path: string,
  pageSize: number,
  { beside = false, initialMapBytes = 0 }: CompactOptions,
): Promise<BoltDatabase> {
  const made = await openBolt(doors, path, { pageSize, sync: false, initialMapBytes }); // without a sync no name is published
  if (!beside) return made;
  await made.close();
  return openBolt(doors, path, { sync: true, initialMapBytes });
}

class Copy {
  readonly #doors: BoltDoors;
  readonly #begin: () => WriteTransaction;
  readonly #options: CompactOptions;
  #transaction: WriteTransaction;
  #keysInCommit = 0;
  #bytesInCommit = 0;
  #keys = 0;
  #sliceBegan: number;
  readonly #spareTime: SpareTime | undefined;

  constructor(doors: BoltDoors, begin: () => WriteTransaction, options: CompactOptions) {
    this.#doors = doors;
    this.#begin = begin;
    this.#options = options;
    this.#transaction = begin();
    this.#sliceBegan = doors.clock.now();
    this.#spareTime = options.beside === true ? new SpareTime(doors.clock) : undefined;
  }

  async run(source: ReadTransaction): Promise<void> {
    for (const name of source.buckets()) await this.#bucket(source.bucket(name)!, [name]);
    await this.#transaction.commit();
  }

  async #bucket(from: Bucket, path: readonly Uint8Array[]): Promise<void> {
    let into = this.#open(path, from);
    const cursor = from.cursor();
    for (let more = cursor.first(); more; more = cursor.next()) {
      if (await this.#maybeCommit()) into = this.#open(path, from);
      const value = cursor.value;
      if (value === undefined) {
        const name = cursor.key;
        await this.#bucket(from.bucket(name)!, [...path, name]);
        into = this.#open(path, from);
        continue;
      }
      into.put(cursor.key, value);
      this.#keys++;
      this.#keysInCommit++;
      this.#bytesInCommit += cursor.key.length + value.length;
    }
  }

  /** The bucket in the open transaction, made when it is not there yet. */
  #open(path: readonly Uint8Array[], from: Bucket): Bucket {
    let bucket: Bucket | undefined;
    for (const name of path) bucket = (bucket ?? this.#transaction).createBucketIfNotExists(name);
    bucket!.fillPercent = FILL_PERCENT;
    if (bucket!.sequence !== from.sequence) bucket!.setSequence(from.sequence);
    return bucket!;
  }

  async #maybeCommit(): Promise<boolean> {
    if (this.#keysInCommit >= KEYS_PER_COMMIT || this.#bytesInCommit >= BYTES_PER_COMMIT) {
      await this.#transaction.commit();
      this.#transaction = this.#begin();
      this.#keysInCommit = 0;
      this.#bytesInCommit = 0;
      this.#options.onProgress?.(this.#keys);
      this.#sliceBegan = this.#doors.clock.now();
      return true;
    }
    if (this.#keys % KEYS_PER_LOOK === 0) await this.#maybeYield();
    return false;
  }

  async #maybeYield(): Promise<void> {
    const { clock } = this.#doors;
    if (this.#spareTime !== undefined) {
      if (this.#spareTime.isOver) await this.#spareTime.rest();
      return;
    }
    if (clock.now() - this.#sliceBegan <= SLICE_MS) return;
    await clock.yield();
    this.#sliceBegan = clock.now();
  }
}
