/** An open file of the simulated disk, and the stored bytes of one for tests that damage them. */
import { SECTOR_BYTES } from "../src/base/limits.js";
import { diskErrorOf, type DiskError, type DiskFile, type LockKind } from "../src/platform/index.js";
import { joinedCopy, type Content } from "./content.js";
import type { Fault, FaultKind } from "./faults.js";
import { bytesThrough, faultError } from "./faults.js";
import type { DiskOperation, Inode } from "./platter.js";

/** What an open file asks of its disk. */
export interface FileDoors {
  /** Waits as a slow disk lets one wait. */
  pace(kind: FaultKind, bytes: number, path: string): Promise<void> | undefined;
  /** Counts the operation; answers the fault that hits it. Throws when the process is dead. */
  strike(kind: FaultKind, path: string): Fault | undefined;
  /** Does an operation and writes it down; answers its position. */
  record(operation: DiskOperation): number;
  /** Resolves one microtask later; from then on syncs cover the operation. */
  settled(position: number): Promise<void>;
  /** The same at once, for an operation that nobody awaits. */
  settledNow(position: number): void;
  /** Whether nothing of the file waits for a sync, and a slow disk does not ask to be waited for. */
  canWriteNow(inode: Inode, path: string, bytes: number): boolean;
  content(inode: Inode): Content;
  /** Throws when so many more bytes do not fit. */
  reserve(path: string, bytes: number): void;
  /** What a sync asked for now would cover. */
  coverage(): { before: number; except: readonly number[] };
  failSync(path: string, inode: Inode, before: number, fault: Fault): void;
  handlesOf(inode: Inode): SimFile[];
  closed(file: SimFile): void;
}

export class SimFile implements DiskFile {
  readonly path: string;
  readonly inode: Inode;
  readonly #doors: FileDoors;
  readonly #writable: boolean;
  #open = true;
  /** Record locks and whole-file locks do not know of each other, as on Linux. */
  #recordLock = false;
  #wholeLock: "none" | "shared" | "exclusive" = "none";

  constructor(doors: FileDoors, path: string, inode: Inode, writable: boolean) {
    this.#doors = doors;
    this.path = path;
    this.inode = inode;
    this.#writable = writable;
  }

  async size(): Promise<number> {
    await this.#enter("stat", 0);
    return this.#doors.content(this.inode).size;
  }

  async read(into: Uint8Array, offset: number): Promise<number> {
    await this.#enter("read", into.length);
    return this.#doors.content(this.inode).read(into, offset);
  }

  readNow(into: Uint8Array, offset: number): number {
    this.#strikeOrThrow("read");
    return this.#doors.content(this.inode).read(into, offset);
  }

  async write(chunks: readonly Uint8Array[], offset: number): Promise<void> {
    const bytes = joinedCopy(chunks);
    await this.#doors.pace("write", bytes.length, this.path);
    const { position, failure } = this.#put(bytes, offset);
    if (position !== undefined) await this.#doors.settled(position);
    if (failure !== undefined) throw failure;
  }

  /** Writes what a fault lets through, or all; answers where in the journal that is, and the failure. */
  #put(bytes: Uint8Array, offset: number): { readonly position?: number; readonly failure?: DiskError } {
    this.#check("write", true);
    const { path, inode } = this;
    const fault = this.#doors.strike("write", path);
    if (fault === undefined) {
      this.#doors.reserve(path, Math.max(0, offset + bytes.length - this.#doors.content(inode).size));
      return { position: this.#doors.record({ kind: "write", path, inode, offset, bytes }) };
    }
    const failure = faultError(fault, "write", path);
    const through = bytes.subarray(0, bytesThrough(fault, offset));
    if (through.length === 0) return { failure };
    return { position: this.#doors.record({ kind: "write", path, inode, offset, bytes: through }), failure };
  }

  writeDurablyNow(chunks: readonly Uint8Array[], offset: number): boolean {
    this.#check("write", true);
    const bytes = joinedCopy(chunks);
    if (!this.#doors.canWriteNow(this.inode, this.path, bytes.length)) return false;
    const { position, failure } = this.#put(bytes, offset);
    if (position !== undefined) this.#doors.settledNow(position);
    if (failure !== undefined) throw failure;
    this.#doors.settledNow(this.#cover("datasync", this.#doors.coverage()));
    return true;
  }

  async writeDurably(chunks: readonly Uint8Array[], offset: number): Promise<void> {
    await this.write(chunks, offset);
    await this.datasync();
  }

  datasync(): Promise<void> {
    return this.#sync("datasync");
  }

  sync(): Promise<void> {
    return this.#sync("sync");
  }

  async truncate(size: number): Promise<void> {
    this.#check("truncate", true);
    await this.#enter("truncate", 0);
    const { path, inode } = this;
    this.#doors.reserve(path, Math.max(0, size - this.#doors.content(inode).size));
    await this.#doors.settled(this.#doors.record({ kind: "truncate", path, inode, size }));
  }

  tryLock(kind: LockKind): boolean {
    this.#check("lock", kind === "segment"); // a record lock for writing wants a file open for writing
    const others = this.#doors.handlesOf(this.inode).filter((file) => file !== this);
    if (kind === "segment") {
      if (others.some((file) => file.#recordLock)) return false;
      this.#recordLock = true;
      return true;
    }
    const wanted = kind === "database" ? "exclusive" : "shared";
    const conflicts = (held: string): boolean => held === "exclusive" || (held === "shared" && wanted === "exclusive");
    if (others.some((file) => conflicts(file.#wholeLock))) return false;
    this.#wholeLock = wanted;
    return true;
  }

  unlock(): void {
    this.#recordLock = false;
    this.#wholeLock = "none";
  }

  async close(): Promise<void> {
    this.#open = false;
    this.unlock();
    this.#doors.closed(this);
    await Promise.resolve();
  }

  async #sync(kind: "sync" | "datasync"): Promise<void> {
    this.#check(kind, false);
    const coverage = this.#doors.coverage();
    await this.#doors.pace(kind, 0, this.path);
    await this.#doors.settled(this.#cover(kind, coverage));
  }

  /** Makes durable what a sync covers, or fails; answers where in the journal that is. */
  #cover(kind: "sync" | "datasync", coverage: ReturnType<FileDoors["coverage"]>): number {
    const { path, inode } = this;
    const fault = this.#doors.strike(kind, path);
    if (fault === undefined) return this.#doors.record({ kind, path, inode, ...coverage });
    this.#doors.failSync(path, inode, coverage.before, fault);
    throw faultError(fault, kind, path);
  }

  async #enter(kind: FaultKind, bytes: number): Promise<void> {
    await this.#doors.pace(kind, bytes, this.path);
    this.#strikeOrThrow(kind);
  }

  #strikeOrThrow(kind: FaultKind): void {
    this.#check(kind, false);
    const fault = this.#doors.strike(kind, this.path);
    if (fault !== undefined) throw faultError(fault, kind, this.path);
  }

  #check(operation: string, writes: boolean): void {
    if (!this.#open || (writes && !this.#writable)) throw diskErrorOf("EBADF", operation, this.path);
  }
}

/** The stored bytes of a file: what a test damages does not go through a sync, it is on the platter at once. */
export class StoredFile {
  readonly path: string;
  readonly #content: () => Content;
  readonly #put: (offset: number, bytes: Uint8Array) => void;
  readonly #cut: (size: number) => void;

  constructor(
    path: string,
    content: () => Content,
    put: (offset: number, bytes: Uint8Array) => void,
    cut: (size: number) => void,
  ) {
    this.path = path;
    this.#content = content;
    this.#put = put;
    this.#cut = cut;
  }

  get size(): number {
    return this.#content().size;
  }

  bytes(): Uint8Array {
    return this.#content().bytes();
  }

  /** Puts bytes in place of others. */
  put(offset: number, bytes: Uint8Array): void {
    this.#put(offset, bytes.slice());
  }

  /** Bit 0 is the lowest bit of the first byte. */
  flipBit(bit: number): void {
    const at = Math.floor(bit / 8);
    const byte = new Uint8Array(1);
    this.#content().read(byte, at);
    byte[0]! ^= 1 << (bit % 8);
    this.#put(at, byte);
  }

  /** Zeroes the sector of this number, as far as the file reaches. */
  zeroSector(sector: number): void {
    this.fillSector(sector, 0);
  }

  fillSector(sector: number, value: number): void {
    const at = sector * SECTOR_BYTES;
    this.#put(at, new Uint8Array(Math.max(0, Math.min(SECTOR_BYTES, this.size - at))).fill(value));
  }

  /** Cuts the file to a size. */
  cut(size: number): void {
    this.#cut(size);
  }
}
