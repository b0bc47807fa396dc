/**
 * The real disk, over `node:fs`. All of it runs in libuv's pool, but `readNow`, `writeDurablyNow` and the locks.
 *
 * The log's hot path is `writeDurably`. A write and an fdatasync are two trips to the pool; one write on a second descriptor of the
 * same file, opened with O_DSYNC, is one trip and asks the disk for the same (docs/decisions/durable-writes.md has the figures).
 * That second descriptor makes only its own bytes durable, so it is used while nothing else written to this file waits for a
 * sync; otherwise both steps are taken.
 */
import * as fs from "node:fs";
import { constants } from "node:fs";
import { concatBytes } from "../../base/bytes.js";
import { invariant } from "../../base/errors.js";
import {
  diskErrorOf,
  type Disk,
  type DiskEntry,
  type DiskError,
  type DiskFile,
  type LockKind,
  type OpenMode,
} from "../disk.js";
import { lockDescriptor, unlockDescriptor } from "./locks.js";

const OPEN_FLAGS: Readonly<Record<OpenMode, number>> = {
  read: constants.O_RDONLY,
  write: constants.O_RDWR,
  create: constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
  replace: constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC,
};
const FILE_MODE = 0o600;
const FOLDER_MODE = 0o700;

/** Chunks up to this size together are copied into one: cheaper than what each costs in a vectored call. */
const COALESCE_BYTES_MAX = 64 * 1024;
/** The system's bound on the parts of one vectored call (Linux and macOS: IOV_MAX). */
const VECTOR_PARTS_MAX = 1024;

/** Runs one callback-style call of `node:fs`; a failure becomes a `DiskError` of this operation and path. */
function call<Value>(
  operation: string,
  path: string,
  start: (done: (error: NodeJS.ErrnoException | null, value?: Value) => void) => void,
): Promise<Value> {
  return new Promise((resolve, reject) => {
    start((error, value) => {
      if (error === null) resolve(value as Value);
      else reject(wrap(error, operation, path));
    });
  });
}

function wrap(error: unknown, operation: string, path: string): DiskError {
  return diskErrorOf((error as NodeJS.ErrnoException).code ?? "EIO", operation, path, error);
}

function codeOf(error: DiskError): string | undefined {
  return (error.cause as NodeJS.ErrnoException | undefined)?.code;
}

export class NodeDisk implements Disk {
  async open(path: string, mode: OpenMode): Promise<DiskFile> {
    const fd = await call<number>("open", path, (done) => fs.open(path, OPEN_FLAGS[mode], FILE_MODE, done));
    // The system opens folders for reading; nobody here means to. The call is a microsecond: the inode is in memory.
    if (mode === "read" && fs.fstatSync(fd).isDirectory()) {
      fs.closeSync(fd);
      throw diskErrorOf("EISDIR", "open", path);
    }
    return this.fileOf(path, fd, mode !== "read");
  }

  protected fileOf(path: string, fd: number, writable: boolean): DiskFile {
    return new NodeFile(path, fd, writable);
  }

  async list(path: string): Promise<DiskEntry[]> {
    const entries = await call<fs.Dirent[]>("readdir", path, (done) => fs.readdir(path, { withFileTypes: true }, done));
    return entries
      .map((entry): DiskEntry => ({
        name: entry.name,
        kind: entry.isFile() ? "file" : entry.isDirectory() ? "folder" : "other",
      }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async stat(path: string): Promise<{ kind: DiskEntry["kind"]; size: number } | undefined> {
    try {
      const stats = await call<fs.Stats>("stat", path, (done) => fs.stat(path, done));
      if (stats.isFile()) return { kind: "file", size: stats.size };
      return stats.isDirectory() ? { kind: "folder", size: 0 } : { kind: "other", size: stats.size };
    } catch (error) {
      const code = codeOf(error as DiskError);
      if (code === "ENOENT" || code === "ENOTDIR") return undefined;
      throw error;
    }
  }

  async makeFolder(path: string): Promise<boolean> {
    try {
      await call<void>("mkdir", path, (done) => fs.mkdir(path, { mode: FOLDER_MODE }, (error) => done(error)));
      return true;
    } catch (error) {
      if (codeOf(error as DiskError) !== "EEXIST") throw error;
      if ((await this.stat(path))?.kind === "folder") return false;
      throw error;
    }
  }

  async rename(from: string, to: string): Promise<void> {
    await call<void>(`rename to ${to}`, from, (done) => fs.rename(from, to, done));
  }

  async removeFile(path: string): Promise<void> {
    await call<void>("unlink", path, (done) => fs.unlink(path, done));
  }

  async removeTree(path: string): Promise<void> {
    try {
      await call<void>("removal", path, (done) => fs.rm(path, { recursive: true, force: true }, done));
    } catch (error) {
      if ((error as DiskError).code !== "DISK_NOT_FOUND") throw error; // below a file there is nothing, either
    }
  }

  async syncFolder(path: string): Promise<void> {
    const fd = await call<number>("open", path, (done) =>
      fs.open(path, constants.O_RDONLY | constants.O_DIRECTORY, done),
    );
    try {
      await call<void>("fsync of the folder", path, (done) => fs.fsync(fd, done));
    } finally {
      await call<void>("close", path, (done) => fs.close(fd, done));
    }
  }
}

export class NodeFile implements DiskFile {
  readonly path: string;
  readonly #fd: number;
  #open = true;
  /** Calls in the pool. A descriptor is closed when none is left, or its number could go to another file under them. */
  #underWay = 0;
  #onIdle: (() => void) | undefined;
  #closing: Promise<void> | undefined;

  /** The second descriptor, with O_DSYNC; `undefined` before the first use, `none` where the system does not give one. */
  #durable: number | "none" | undefined;
  /**
   * Bytes or a size may wait for a sync, which the second descriptor alone would not cover. True at first: somebody else may have
   * written before this opening.
   */
  #dirty = true;
  #changesUnderWay = 0;
  /** Goes up when a change begins and when it ends; a sync during which it stood still covered everything. */
  #changes = 0;

  constructor(path: string, fd: number, writable: boolean) {
    this.path = path;
    this.#fd = fd;
    if (!writable) this.#durable = "none"; // the second descriptor must not do what the first may not
  }

  async size(): Promise<number> {
    const stats = await this.#call<fs.Stats>("fstat", (done) => fs.fstat(this.#fd, done));
    return stats.size;
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    this.#mustBeOpen("read");
    let count = 0;
    while (count < into.length) {
      const from = count;
      const read = await this.#call<number>("read", (done) =>
        fs.read(this.#fd, into, from, into.length - from, offset + from, done),
      );
      if (read === 0) break;
      count += read;
    }
    return count;
  }

  readNow(into: Uint8Array, offset: number): number {
    this.#mustBeOpen("read");
    let count = 0;
    while (count < into.length) {
      let read: number;
      try {
        read = fs.readSync(this.#fd, into, count, into.length - count, offset + count);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "EINTR") continue;
        throw wrap(error, "read", this.path);
      }
      if (read === 0) break;
      count += read;
    }
    return count;
  }

  async write(chunks: readonly Uint8Array[], offset: number): Promise<void> {
    await this.#change(() => this.#writeAll(this.#fd, chunks, offset));
  }

  async writeDurably(chunks: readonly Uint8Array[], offset: number): Promise<void> {
    const durable = this.#dirty ? "none" : this.#durableDescriptor();
    if (durable !== "none") {
      await this.#writeAll(durable, chunks, offset);
      return;
    }
    await this.write(chunks, offset);
    await this.datasync();
  }

  writeDurablyNow(chunks: readonly Uint8Array[], offset: number): boolean {
    this.#mustBeOpen("write");
    const durable = this.#dirty ? "none" : this.#durableDescriptor();
    if (durable === "none") return false;
    let rest = plan(chunks);
    let at = offset;
    while (rest.length > 0) {
      const written = this.#writeNow(durable, rest, at);
      at += written;
      rest = dropFront(rest, written);
    }
    return true;
  }

  /** One call of the system; answers how much it took, 0 when a signal came first. */
  #writeNow(fd: number, parts: readonly Uint8Array[], at: number): number {
    let written: number;
    try {
      const [first] = parts;
      written =
        parts.length === 1
          ? fs.writeSync(fd, first!, 0, first!.length, at)
          : fs.writevSync(fd, parts.slice(0, VECTOR_PARTS_MAX), at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EINTR") return 0;
      throw wrap(error, "write", this.path);
    }
    if (written === 0) throw nothingTaken(this.path);
    return written;
  }

  async datasync(): Promise<void> {
    await this.#clean(() => this.#call<void>("fdatasync", (done) => fs.fdatasync(this.#fd, done)));
  }

  async sync(): Promise<void> {
    await this.#clean(() => this.#call<void>("fsync", (done) => fs.fsync(this.#fd, done)));
  }

  async truncate(size: number): Promise<void> {
    await this.#change(() => this.#call<void>("ftruncate", (done) => fs.ftruncate(this.#fd, size, done)));
  }

  async #change(run: () => Promise<void>): Promise<void> {
    this.#dirty = true;
    this.#changes++;
    this.#changesUnderWay++;
    try {
      await run();
    } finally {
      this.#changes++;
      this.#changesUnderWay--;
    }
  }

  async #clean(run: () => Promise<void>): Promise<void> {
    const changes = this.#changes;
    const alone = this.#changesUnderWay === 0;
    await run();
    if (alone && changes === this.#changes) this.#dirty = false;
  }

  tryLock(kind: LockKind): boolean {
    this.#mustBeOpen("lock");
    return lockDescriptor(this.#fd, this.path, kind);
  }

  unlock(): void {
    if (this.#open) unlockDescriptor(this.#fd, this.path);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#open = false;
    if (this.#underWay > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
    try {
      if (typeof this.#durable === "number") {
        const durable = this.#durable;
        await call<void>("close", this.path, (done) => fs.close(durable, done));
      }
    } finally {
      await call<void>("close", this.path, (done) => fs.close(this.#fd, done));
    }
  }

  /** Writes all of it, however many calls the system wants for that. */
  async #writeAll(fd: number, chunks: readonly Uint8Array[], offset: number): Promise<void> {
    let rest = plan(chunks);
    let at = offset;
    while (rest.length > 0) {
      const parts = rest.length > VECTOR_PARTS_MAX ? rest.slice(0, VECTOR_PARTS_MAX) : rest;
      const written = await this.#call<number>("write", (done) => {
        if (parts.length === 1) fs.write(fd, parts[0]!, 0, parts[0]!.length, at, done);
        else fs.writev(fd, parts, at, done);
      });
      if (written === 0) throw nothingTaken(this.path);
      at += written;
      rest = dropFront(rest, written);
    }
  }

  /**
   * Opens the second descriptor through the first, not by name: the file may have been renamed since. Where that does not work
   * (no /proc, no descriptor left, another system) there is none, and `writeDurably` takes two steps.
   */
  #durableDescriptor(): number | "none" {
    this.#mustBeOpen("write");
    if (this.#durable === undefined) {
      this.#durable = "none";
      if (process.platform === "linux") {
        try {
          this.#durable = fs.openSync(`/proc/self/fd/${this.#fd}`, constants.O_WRONLY | constants.O_DSYNC);
        } catch {
          // Nothing is lost: the two steps do the same.
        }
      }
    }
    return this.#durable;
  }

  async #call<Value>(
    operation: string,
    start: (done: (error: NodeJS.ErrnoException | null, value?: Value) => void) => void,
  ): Promise<Value> {
    this.#mustBeOpen(operation);
    this.#underWay++;
    try {
      return await call(operation, this.path, start);
    } finally {
      this.#underWay--;
      if (this.#underWay === 0) this.#onIdle?.();
    }
  }

  #mustBeOpen(operation: string): void {
    if (!this.#open) throw diskErrorOf("EBADF", operation, this.path);
  }
}

/** Nothing is synced: what was written survives the process, but not the power (`--unsafe-no-fsync`). */
export class UnsyncedDisk extends NodeDisk {
  protected override fileOf(path: string, fd: number, writable: boolean): DiskFile {
    return new UnsyncedFile(path, fd, writable);
  }

  override syncFolder(): Promise<void> {
    return Promise.resolve();
  }
}

class UnsyncedFile extends NodeFile {
  override writeDurably(chunks: readonly Uint8Array[], offset: number): Promise<void> {
    return this.write(chunks, offset);
  }

  override writeDurablyNow(): boolean {
    return false;
  }

  override datasync(): Promise<void> {
    return Promise.resolve();
  }

  override sync(): Promise<void> {
    return Promise.resolve();
  }
}

function nothingTaken(path: string): DiskError {
  return diskErrorOf("EIO", "write (of which nothing was taken)", path);
}

/** The chunks as they are given to the system: none empty, small ones together in one. */
function plan(chunks: readonly Uint8Array[]): Uint8Array[] {
  const parts = chunks.filter((chunk) => chunk.length > 0);
  if (parts.length < 2) return parts;
  let size = 0;
  for (const part of parts) size += part.length;
  return size <= COALESCE_BYTES_MAX ? [concatBytes(parts)] : parts;
}

/** What is left of the parts after their first `count` bytes. */
function dropFront(parts: readonly Uint8Array[], count: number): Uint8Array[] {
  let left = count;
  let skipped = 0;
  while (skipped < parts.length && left >= parts[skipped]!.length) left -= parts[skipped++]!.length;
  const rest = parts.slice(skipped);
  if (left > 0) {
    invariant(rest.length > 0, () => `the system took ${left} bytes more than it was given`);
    rest[0] = rest[0]!.subarray(left);
  }
  return rest;
}
