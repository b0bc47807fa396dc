/**
 * The folder `member/snap`: `.snap` files, and databases that leaders sent (`.snap.db`), beside the `db` that bolt owns.
 *
 * Laws: a file has its name only when it is whole and durable (`publishFile`); only a snapshot that the log knows is loaded; a
 * damaged one is set aside as `.snap.broken`, never removed, and the next older one is tried; a disk that fails to read is an
 * error, not damage.
 */
import { describeError } from "../base/errors.js";
import { hexText } from "../base/text.js";
import { joinPath, publishFile, type Disk, type Log } from "../platform/index.js";
import type { Snapshot } from "../proto/raft.js";
import { SnapshotError } from "./errors.js";
import {
  databaseName,
  decodeSnapshotFile,
  encodeSnapshotFile,
  parseDatabaseName,
  parseSnapshotName,
  snapshotName,
  type SnapshotName,
} from "./format.js";

/** A place in the log that a snapshot was taken at. */
export interface SnapshotMark {
  readonly index: number;
  readonly term: number;
}

export interface SnapshotStoreOptions {
  /** Sets nothing aside and removes nothing: for tools that only look. */
  readonly readOnly?: boolean;
}

/** Temporary names begin so; etcd, too, removes such files when it starts. */
const TEMPORARY_PREFIX = "tmp";
/** What bolt's defragmentation leaves behind when it dies. */
const DEFRAGMENT_PREFIX = "db.tmp";
const BROKEN_SUFFIX = ".broken";

export class SnapshotStore {
  readonly folder: string;
  readonly #disk: Disk;
  readonly #log: Log;
  readonly #readOnly: boolean;

  constructor(dependencies: { disk: Disk; log: Log }, folder: string, options: SnapshotStoreOptions = {}) {
    this.#disk = dependencies.disk;
    this.#log = dependencies.log.with({ caller: "snap/store.ts" });
    this.folder = folder;
    this.#readOnly = options.readOnly ?? false;
  }

  /** Writes a snapshot; when it resolves the file is there after any crash. An empty one (index 0) is none, and not written. */
  async save(snapshot: Snapshot): Promise<void> {
    const { term, index } = snapshot.metadata;
    if (index === 0) return;
    const bytes = encodeSnapshotFile(snapshot);
    const temporary = this.#path(`${TEMPORARY_PREFIX}-${hexText(term, 16)}-${hexText(index, 16)}`);
    await publishFile(this.#disk, temporary, this.#path(snapshotName(term, index)), (file) => file.write([bytes], 0));
  }

  /** The newest snapshot that is readable and that the log knows. Damaged ones that it meets are set aside. */
  loadNewest(known: readonly SnapshotMark[]): Promise<Snapshot | undefined> {
    const marks = new Set(known.map((mark) => `${mark.term}/${mark.index}`));
    return this.#loadMatching((snapshot) => marks.has(`${snapshot.metadata.term}/${snapshot.metadata.index}`));
  }

  /** The newest snapshot that is readable. */
  loadNewestAny(): Promise<Snapshot | undefined> {
    return this.#loadMatching(() => true);
  }

  /** The `.snap` files that are there, newest first. */
  async names(): Promise<SnapshotName[]> {
    const found: SnapshotName[] = [];
    for (const { name } of await this.#disk.list(this.folder)) {
      const parsed = parseSnapshotName(name);
      if (parsed !== undefined) found.push(parsed);
      else if (!isExpected(name)) this.#log.warn("found unexpected non-snap file; skipping", { path: name });
    }
    return found.reverse();
  }

  /**
   * Reads one `.snap` file, and changes nothing.
   *
   * @throws SnapshotError
   */
  async read(name: string): Promise<Snapshot> {
    const path = this.#path(name);
    return decodeSnapshotFile(await this.#readAll(path), path);
  }

  /** Where the database of this index is, or would be. */
  databasePath(index: number): string {
    return this.#path(databaseName(index));
  }

  /** The path of a database that was received for this index. */
  async findDatabase(index: number): Promise<string | undefined> {
    const path = this.databasePath(index);
    return (await this.#disk.stat(path)) === undefined ? undefined : path;
  }

  /**
   * Keeps a database that a leader sends; answers its size in bytes. One that is there already stays, the stream is only counted.
   * When it resolves the file is there after any crash; when it fails nothing is.
   */
  async saveDatabase(index: number, stream: AsyncIterable<Uint8Array>): Promise<number> {
    const path = this.databasePath(index);
    let size = 0;
    if ((await this.findDatabase(index)) !== undefined) {
      for await (const chunk of stream) size += chunk.length;
      return size;
    }
    await publishFile(this.#disk, this.#path(`${TEMPORARY_PREFIX}-${hexText(index, 16)}-db`), path, async (file) => {
      for await (const chunk of stream) {
        await file.write([chunk], size);
        size += chunk.length;
      }
    });
    this.#log.info("saved database snapshot to disk", { path, bytes: size });
    return size;
  }

  /** Removes the database that was received for this index. */
  async removeDatabase(index: number): Promise<void> {
    await this.#remove([databaseName(index)]);
  }

  /** Removes received databases below an index: the database in use is past them. Answers their names. */
  async releaseDatabases(below: number): Promise<string[]> {
    const names = await this.#databaseNames();
    return this.#remove(names.filter((name) => parseDatabaseName(name)! < below));
  }

  /**
   * Removes the oldest `.snap` and `.snap.db` files until at most `keep` of each are left; the newest snapshot stays in any case, and
   * so does the database that belongs to a snapshot that stays. Answers their names.
   */
  async purge(keep: number): Promise<string[]> {
    const all = await this.names();
    const kept = all.slice(0, Math.max(1, keep));
    const keptIndexes = new Set(kept.map(({ index }) => index));
    const databases = (await this.#databaseNames())
      .reverse()
      .slice(keep)
      .filter((name) => !keptIndexes.has(parseDatabaseName(name)!));
    const snapshots = all.slice(kept.length).map(({ name }) => name);
    return this.#remove([...snapshots, ...databases].reverse());
  }

  /** Removes what writers that died have left: temporary files. Answers their names. */
  async clean(): Promise<string[]> {
    const names = (await this.#disk.list(this.folder))
      .filter(({ kind }) => kind === "file")
      .map(({ name }) => name)
      .filter((name) => name.startsWith(TEMPORARY_PREFIX) || name.startsWith(DEFRAGMENT_PREFIX));
    for (const name of names) this.#log.info("found orphaned file in the snapshot folder; removing", { path: name });
    return this.#remove(names);
  }

  async #loadMatching(matches: (snapshot: Snapshot) => boolean): Promise<Snapshot | undefined> {
    for (const { name } of await this.names()) {
      try {
        const snapshot = await this.read(name);
        if (matches(snapshot)) return snapshot;
      } catch (error) {
        if (!(error instanceof SnapshotError)) throw error;
        this.#log.warn("failed to read a snap file", { path: this.#path(name), error });
        await this.#setAside(name);
      }
    }
    return undefined;
  }

  async #setAside(name: string): Promise<void> {
    if (this.#readOnly) return;
    const fields = { path: this.#path(name), "broken-path": this.#path(name + BROKEN_SUFFIX) };
    try {
      await this.#disk.rename(fields.path, fields["broken-path"]);
      await this.#disk.syncFolder(this.folder);
      this.#log.warn("renamed to a broken snap file", fields);
    } catch (error) {
      // Not needed to go on: the file would only be refused once more at the next start.
      this.#log.warn("failed to rename a broken snap file", { ...fields, error: describeError(error) });
    }
  }

  async #readAll(path: string): Promise<Uint8Array> {
    const stat = await this.#disk.stat(path);
    if (stat?.kind !== "file") throw new SnapshotError("SNAP_NOT_FOUND", `${path}: there is no such file`);
    const file = await this.#disk.open(path, "read");
    try {
      const bytes = new Uint8Array(stat.size);
      return bytes.subarray(0, await file.read(bytes, 0));
    } finally {
      await file.close();
    }
  }

  async #databaseNames(): Promise<string[]> {
    const entries = await this.#disk.list(this.folder);
    return entries.map(({ name }) => name).filter((name) => parseDatabaseName(name) !== undefined);
  }

  async #remove(names: readonly string[]): Promise<string[]> {
    if (this.#readOnly || names.length === 0) return [];
    for (const name of names) await this.#disk.removeFile(this.#path(name));
    await this.#disk.syncFolder(this.folder);
    return [...names];
  }

  #path(name: string): string {
    return joinPath(this.folder, name);
  }
}

/** Names that belong here without being snapshots. */
function isExpected(name: string): boolean {
  if (name === "db" || parseDatabaseName(name) !== undefined || name.endsWith(BROKEN_SUFFIX)) return true;
  return name.startsWith(TEMPORARY_PREFIX) || name.startsWith(DEFRAGMENT_PREFIX);
}
