/**
 * The door to the disk. `platform/node` has the real one; `sim/` has one that loses power.
 *
 * What the door promises, and all that code behind it may rely on:
 * - a write that resolved is seen by later reads, and is on the platter only after a sync of the same file resolved;
 * - `DiskFile.sync` makes the file's bytes and size durable, not its name; `Disk.syncFolder` makes names durable;
 * - writes that were not synced may reach the platter in any order, in part, torn at 512 bytes, or not at all;
 * - a failed sync leaves the file's unsynced bytes in doubt for good: whoever sees one stops (design decision 9).
 *
 * Paths are absolute. Every failure is a `DiskError` that names the path.
 */
import { CodedError } from "../base/errors.js";

/**
 * `DISK_NOT_FOUND` ENOENT/ENOTDIR, `DISK_EXISTS` EEXIST/ENOTEMPTY/EISDIR, `DISK_FULL` ENOSPC/EDQUOT, `DISK_DENIED` EACCES/EPERM,
 * `DISK_READ_ONLY` EROFS, `DISK_DESCRIPTORS` EMFILE/ENFILE, `DISK_LOCKED` another process holds the lock, `DISK_IO` all else.
 */
export type DiskErrorCode =
  | "DISK_NOT_FOUND"
  | "DISK_EXISTS"
  | "DISK_FULL"
  | "DISK_DENIED"
  | "DISK_READ_ONLY"
  | "DISK_DESCRIPTORS"
  | "DISK_LOCKED"
  | "DISK_IO";

export class DiskError extends CodedError<DiskErrorCode> {
  override readonly name = "DiskError";
  readonly path: string;

  constructor(code: DiskErrorCode, path: string, detail: string, options?: ErrorOptions) {
    super(code, detail, options);
    this.path = path;
  }
}

const CODES_BY_SYSTEM_CODE: Readonly<Record<string, DiskErrorCode>> = {
  ENOENT: "DISK_NOT_FOUND",
  ENOTDIR: "DISK_NOT_FOUND",
  EEXIST: "DISK_EXISTS",
  ENOTEMPTY: "DISK_EXISTS",
  EISDIR: "DISK_EXISTS",
  ENOSPC: "DISK_FULL",
  EDQUOT: "DISK_FULL",
  EACCES: "DISK_DENIED",
  EPERM: "DISK_DENIED",
  EROFS: "DISK_READ_ONLY",
  EMFILE: "DISK_DESCRIPTORS",
  ENFILE: "DISK_DESCRIPTORS",
};

/** What the reader of the error can do. */
const ADVICE: Readonly<Record<DiskErrorCode, string>> = {
  DISK_NOT_FOUND: "there is no such file or folder",
  DISK_EXISTS: "something is there already, or a folder that is not empty",
  DISK_FULL: "no space is left; free some and start again",
  DISK_DENIED: "this user may not; check the owner and mode of it and of the folders above",
  DISK_READ_ONLY: "the file system is mounted read-only",
  DISK_DESCRIPTORS: "no file descriptor is left; raise the limit of open files (ulimit -n)",
  DISK_LOCKED: "another process holds the lock",
  DISK_IO: "the disk or the file system failed; look into the system's log (dmesg)",
};

/**
 * The error for a failed system call.
 *
 * @param systemCode the name of the errno, as `ENOSPC`
 * @param operation what was tried, as a noun: `open`, `fdatasync`
 */
export function diskErrorOf(systemCode: string, operation: string, path: string, cause?: unknown): DiskError {
  const code = CODES_BY_SYSTEM_CODE[systemCode] ?? "DISK_IO";
  const options = cause === undefined ? undefined : { cause };
  return new DiskError(code, path, `${operation} of ${path} failed with ${systemCode}: ${ADVICE[code]}`, options);
}

export interface DiskEntry {
  readonly name: string;
  readonly kind: "file" | "folder" | "other";
}

/**
 * How a file is opened: `read` must exist; `write` must exist, reads and writes; `create` must not exist;
 * `replace` is made or emptied. New files get mode 0600, as etcd's do.
 */
export type OpenMode = "read" | "write" | "create" | "replace";

/**
 * Locks that real etcd takes and respects, never waiting: `segment` is an exclusive OFD record lock on the whole file
 * (`F_OFD_SETLK`), `database` an exclusive `flock`, `database-shared` a shared one (bbolt's read-only open).
 */
export type LockKind = "segment" | "database" | "database-shared";

export interface Disk {
  open(path: string, mode: OpenMode): Promise<DiskFile>;
  /** What is in a folder, sorted by name. */
  list(path: string): Promise<DiskEntry[]>;
  stat(path: string): Promise<{ readonly kind: DiskEntry["kind"]; readonly size: number } | undefined>;
  /** Makes a folder (mode 0700); its parent must exist. Answers false when it was there. */
  makeFolder(path: string): Promise<boolean>;
  /** Replaces `to` when it is a file or an empty folder. */
  rename(from: string, to: string): Promise<void>;
  removeFile(path: string): Promise<void>;
  /** Removes a folder with all that is in it. */
  removeTree(path: string): Promise<void>;
  /** Makes the names in a folder durable. */
  syncFolder(path: string): Promise<void>;
}

export interface DiskFile {
  readonly path: string;
  size(): Promise<number>;
  /** Fills `into` from `offset` on; answers the bytes read, fewer only where the file ends. */
  read(into: Uint8Array, offset: number): Promise<number>;
  /** The same, at once: for pages that are most likely in the system's cache. */
  readNow(into: Uint8Array, offset: number): number;
  /** Writes all chunks one after the other from `offset` on, or fails. The chunks must not change until it resolves. */
  write(chunks: readonly Uint8Array[], offset: number): Promise<void>;
  /**
   * `write` and `datasync` in one: for the log's hot path. The bytes are durable when it resolves. Only for spans inside the
   * file's size where that is to stay true of the size, too.
   */
  writeDurably(chunks: readonly Uint8Array[], offset: number): Promise<void>;
  /**
   * `writeDurably` at once, for a caller that has nothing else to do until it is done: two trips to other threads are saved, and
   * all of this thread waits for the disk. Answers false when it cannot be done now (something else in the file may wait for
   * a sync, the system has no such call): then nothing was written, and `writeDurably` is the way.
   *
   * @throws DiskError as `writeDurably` rejects; a part may have been written
   */
  writeDurablyNow(chunks: readonly Uint8Array[], offset: number): boolean;
  /** fdatasync: bytes, and the size when it changed. */
  datasync(): Promise<void>;
  /** fsync. */
  sync(): Promise<void>;
  truncate(size: number): Promise<void>;
  /** Tries for the lock; false when another open file, of this process or another, holds one that conflicts. */
  tryLock(kind: LockKind): boolean;
  unlock(): void;
  /** Closes, and gives up the lock. A second call does nothing. */
  close(): Promise<void>;
}

/** Joins path parts with `/`. */
export function joinPath(...parts: readonly string[]): string {
  return parts.join("/").replace(/\/{2,}/g, "/");
}

/** The folder that holds `path`. */
export function parentPath(path: string): string {
  const cut = path.lastIndexOf("/");
  return cut <= 0 ? "/" : path.slice(0, cut);
}

/** The last part of a path. */
export function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}
