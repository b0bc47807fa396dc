/**
 * A disk in memory that loses power.
 *
 * It keeps the promises of `platform/disk.ts` and no more. Every operation that changes something goes into a journal, so one
 * recorded run answers for every point in it what could be on the platter if power failed there. Promises resolve in microtasks,
 * in the order of the calls: a run under a seed repeats exactly.
 *
 * Stricter than most real disks, on purpose: `sync` of a new file does not make its name durable; a sync covers only what had
 * resolved when it was asked for; renames that no folder sync followed may be undone.
 */
import { invariant } from "../src/base/errors.js";
import { SECTOR_BYTES } from "../src/base/limits.js";
import {
  baseName,
  diskErrorOf,
  parentPath,
  type Disk,
  type DiskEntry,
  type DiskFile,
  type OpenMode,
  type Random,
} from "../src/platform/index.js";
import type { Content } from "./content.js";
import { faultError, FaultPlan, type Fault, type FaultKind } from "./faults.js";
import { SimFile, StoredFile, type FileDoors } from "./file.js";
import {
  describeOperation,
  Image,
  isNameOperation,
  Platter,
  ROOT,
  sectorsOf,
  type CrashMode,
  type DiskOperation,
  type Fate,
  type Inode,
  type NameOperation,
  type PendingOperation,
} from "./platter.js";
import { SimRandom } from "./random.js";

export interface SimDiskOptions {
  /** Folders that are there, durably, from the beginning, parents first; `/data` when left out. */
  readonly folders?: readonly string[];
  /** Bytes that all files together may hold; without a bound when left out. */
  readonly capacityBytes?: number;
  /** Seed of what chance decides while the disk runs (how a failed sync damages). */
  readonly seed?: number;
  /** Waited for before each operation: a slow disk. Each is done at once when left out. */
  readonly pace?: (kind: FaultKind, bytes: number, path: string) => Promise<void> | undefined;
  /** Whether a write may hold the caller's loop now, asked before each; where `pace` asks for no wait when left out. */
  readonly mayHoldLoop?: (bytes: number, path: string) => boolean;
  /** Told of each operation that changed something or made it durable, when it is done. */
  readonly onOperation?: (operation: DiskOperation) => void;
  /** Whether `journal` is kept; true when left out. A long run without it takes no memory, and can be crashed in its present only. */
  readonly keepsJournal?: boolean;
}

export class SimDisk implements Disk {
  /** Everything that changed something, in order, where it is kept. Position `n` in it is the moment before `journal[n]` happened. */
  readonly journal: readonly DiskOperation[];
  /** All files together may hold this much; may be changed while the disk runs. */
  capacityBytes: number;

  readonly #options: SimDiskOptions;
  readonly #journal: DiskOperation[] = [];
  readonly #base: Image;
  #live: Image;
  #platter: Platter;
  readonly #random: SimRandom;
  #replay: Platter | undefined;
  #inodeLast: Inode;
  readonly #underWay = new Set<number>();
  readonly #handles = new Set<SimFile>();
  readonly #counts = new Map<FaultKind, number>();
  readonly #faults = new FaultPlan();
  #usedBytes = 0;
  #dead = false;

  constructor(options: SimDiskOptions = {}, image?: Image) {
    this.journal = this.#journal;
    this.capacityBytes = options.capacityBytes ?? Number.POSITIVE_INFINITY;
    this.#options = options;
    this.#random = new SimRandom(options.seed ?? 1);
    this.#base = image ?? imageWithFolders(options.folders ?? ["/data"]);
    this.#live = this.#base.clone();
    this.#platter = new Platter(this.#base.clone());
    this.#inodeLast = Math.max(ROOT, ...this.#base.files.keys(), ...this.#base.folders.keys());
    for (const content of this.#live.files.values()) this.#usedBytes += content.size;
  }

  // ---- what a program does ----

  async open(path: string, mode: OpenMode): Promise<DiskFile> {
    await this.#enter("open", path, 0);
    const existing = this.#find(path);
    if (existing !== undefined && this.#live.folders.has(existing)) throw diskErrorOf("EISDIR", "open", path);
    if (mode === "create" && existing !== undefined) throw diskErrorOf("EEXIST", "open", path);
    let inode = existing;
    if (inode === undefined) {
      if (mode === "read" || mode === "write") throw diskErrorOf("ENOENT", "open", path);
      inode = ++this.#inodeLast;
      await this.#settled(this.#record({ kind: "create", path, ...this.#place("open", path), inode }));
    } else if (mode === "replace") {
      await this.#settled(this.#record({ kind: "truncate", path, inode, size: 0 }));
    }
    const file = new SimFile(this.#doors, path, inode, mode !== "read");
    this.#handles.add(file);
    return file;
  }

  async list(path: string): Promise<DiskEntry[]> {
    await this.#enter("list", path, 0);
    const names = this.#folderAt("list", path);
    return [...names]
      .map(([name, inode]): DiskEntry => ({ name, kind: this.#live.folders.has(inode) ? "folder" : "file" }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async stat(path: string): Promise<{ kind: DiskEntry["kind"]; size: number } | undefined> {
    await this.#enter("stat", path, 0);
    const inode = this.#find(path);
    if (inode === undefined) return undefined;
    const content = this.#live.files.get(inode);
    return content === undefined ? { kind: "folder", size: 0 } : { kind: "file", size: content.size };
  }

  async makeFolder(path: string): Promise<boolean> {
    await this.#enter("make-folder", path, 0);
    const existing = this.#find(path);
    if (existing !== undefined) {
      if (this.#live.folders.has(existing)) return false;
      throw diskErrorOf("EEXIST", "mkdir", path);
    }
    const inode = ++this.#inodeLast;
    await this.#settled(this.#record({ kind: "make-folder", path, ...this.#place("mkdir", path), inode }));
    return true;
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#enter("rename", from, 0);
    const inode = this.#find(from);
    if (inode === undefined) throw diskErrorOf("ENOENT", "rename", from);
    const source = this.#place("rename", from);
    const target = this.#place("rename", to, from);
    if (this.#live.folders.has(inode) && to.startsWith(`${from}/`)) throw diskErrorOf("EINVAL", "rename", from);
    const replaced = this.#find(to);
    if (replaced === inode) return;
    if (replaced !== undefined) {
      const targetNames = this.#live.folders.get(replaced);
      const sourceIsFolder = this.#live.folders.has(inode);
      if (targetNames !== undefined && !sourceIsFolder) throw diskErrorOf("EISDIR", "rename", from);
      if (targetNames === undefined && sourceIsFolder) throw diskErrorOf("ENOTDIR", "rename", from);
      if (targetNames !== undefined && targetNames.size > 0) throw diskErrorOf("ENOTEMPTY", "rename", from);
    }
    await this.#settled(
      this.#record({
        kind: "rename",
        path: from,
        ...source,
        toPath: to,
        toFolder: target.folder,
        toName: target.name,
        inode,
      }),
    );
  }

  async removeFile(path: string): Promise<void> {
    await this.#enter("remove", path, 0);
    const inode = this.#find(path);
    if (inode === undefined) throw diskErrorOf("ENOENT", "unlink", path);
    if (this.#live.folders.has(inode)) throw diskErrorOf("EISDIR", "unlink", path);
    await this.#settled(this.#record({ kind: "remove", path, ...this.#place("unlink", path), inode }));
  }

  async removeTree(path: string): Promise<void> {
    const inode = this.#find(path);
    if (inode === undefined) return;
    const names = this.#live.folders.get(inode);
    if (names === undefined) {
      await this.removeFile(path);
      return;
    }
    for (const name of [...names.keys()].sort()) await this.removeTree(`${path}/${name}`);
    await this.#enter("remove", path, 0);
    await this.#settled(this.#record({ kind: "remove", path, ...this.#place("rmdir", path), inode }));
  }

  async syncFolder(path: string): Promise<void> {
    this.#folderAt("fsync", path);
    const inode = this.#find(path)!;
    const coverage = this.#coverage();
    await this.#enter("sync-folder", path, 0);
    await this.#settled(this.#record({ kind: "sync-folder", path, inode, ...coverage }));
  }

  // ---- what a test asks ----

  /** One state in which a disk could be found if power failed now. This disk goes on as if nothing happened. */
  crash(choice: { readonly mode: CrashMode; readonly random: Random }): SimDisk {
    return this.#born(this.#platter.crash(choice.mode, choice.random));
  }

  /** The same for the moment before `journal[position]`; cheap when positions are asked for in rising order. */
  platterAt(position: number, mode: CrashMode, random: Random): SimDisk {
    return this.#born(this.#replayTo(position).crash(mode, random));
  }

  /** The state at a position in which the operations that no sync covered have these fates (see `pendingAt`). */
  platterWith(position: number, fates: readonly Fate[]): SimDisk {
    return this.#born(this.#replayTo(position).crashWith(fates));
  }

  /** What no sync covered yet at a position, oldest first. */
  pendingAt(position: number): PendingOperation[] {
    return this.#replayTo(position).pending;
  }

  /**
   * Every state in which the last write before `position` is torn: each subset of its sectors, all that came before it kept.
   * The first is that with no sector of it, the last that with all; 2^sectors in all, so at most 16 sectors.
   *
   * @throws InvariantError when no write is pending there
   */
  *tornAt(
    position = this.#journal.length,
  ): Generator<{ readonly sectors: ReadonlySet<number>; readonly disk: SimDisk }> {
    const platter = this.#replayTo(position).clone();
    const pending = platter.pending;
    const at = pending.findLastIndex((operation) => operation.kind === "write");
    const write = pending[at];
    invariant(write?.kind === "write", () => `no write is pending at journal position ${position}`);
    const touched = [...sectorsOf(write)].map(([sector]) => sector);
    invariant(touched.length <= 16, () => `${touched.length} sectors have too many subsets`);
    for (let mask = 0; mask < 2 ** touched.length; mask++) {
      const sectors = new Set(touched.filter((_, bit) => (mask & (1 << bit)) !== 0));
      const fates = pending.map((_, i): Fate => (i < at ? "kept" : i > at ? "lost" : { sectors, size: "grown" }));
      yield { sectors, disk: this.#born(platter.crashWith(fates)) };
    }
  }

  /** The process dies, the machine lives: all is as written, nothing more is synced. This object refuses work from now on. */
  kill(): SimDisk {
    this.#dead = true;
    if (!this.#keepsJournal) return this.#continued();
    const next = this.#born(this.#base.clone());
    for (const operation of this.#journal) next.#take(operation);
    for (const [inode, content] of this.#live.files) next.#live.files.set(inode, content.clone()); // after failed syncs
    return next;
  }

  /** What is on the platter for certain. To be looked at only. */
  get durable(): Image {
    return this.#platter.durable;
  }

  /** A disk of its own with what is to be read now, all of it durable. */
  copy(): SimDisk {
    const image = this.#live.clone();
    image.prune();
    return this.#born(image);
  }

  /** Label of the operation at a journal position. */
  label(position: number): string {
    const operation = this.#journal[position];
    return operation === undefined ? "end" : describeOperation(operation);
  }

  /** Arms a fault. Faults are independent of each other; each is gone when it has struck. */
  fail(fault: Fault): void {
    this.#faults.arm(fault);
  }

  /** Bytes that all files hold together. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Takes back the faults that did not strike yet. */
  disarm(): void {
    this.#faults.disarm();
  }

  /** Faults that did not strike yet. Zero at the end of a test, or the test did not test it. */
  get faultsArmed(): number {
    return this.#faults.size;
  }

  /** How many operations of a kind were asked for. */
  count(kind: FaultKind): number {
    return this.#counts.get(kind) ?? 0;
  }

  /** Paths of files that are open: none when a test ends. */
  openHandles(): string[] {
    return [...this.#handles].map((file) => file.path).sort();
  }

  /** All paths with their bytes, folders with `undefined`, sorted. */
  tree(): Map<string, Uint8Array | undefined> {
    const found = new Map<string, Uint8Array | undefined>();
    const visit = (path: string, inode: Inode): void => {
      const names = this.#live.folders.get(inode);
      found.set(path === "" ? "/" : path, names === undefined ? this.#live.files.get(inode)!.bytes() : undefined);
      for (const name of [...(names ?? new Map<string, Inode>()).keys()].sort())
        visit(`${path}/${name}`, names!.get(name)!);
    };
    visit("", ROOT);
    return found;
  }

  exists(path: string): boolean {
    return this.#find(path) !== undefined;
  }

  readAll(path: string): Uint8Array {
    return this.#contentAt(path).bytes();
  }

  /** Puts a file there, durably, its folders too. */
  writeAll(path: string, bytes: Uint8Array): void {
    let inode = this.#find(path);
    if (inode === undefined) {
      this.#makeFolders(parentPath(path));
      inode = ++this.#inodeLast;
      this.#take({ kind: "create", path, ...this.#place("open", path), inode });
      this.#takeSync("sync-folder", parentPath(path), this.#find(parentPath(path))!);
    } else this.#take({ kind: "truncate", path, inode, size: 0 });
    this.#take({ kind: "write", path, inode, offset: 0, bytes: bytes.slice() });
    this.#takeSync("sync", path, inode);
  }

  /** The stored bytes of a file, to be damaged. */
  file(path: string): StoredFile {
    this.#contentAt(path);
    return new StoredFile(
      path,
      () => this.#contentAt(path),
      (offset, bytes) => this.#take({ kind: "damage", path, inode: this.#find(path)!, offset, bytes }),
      (size) => {
        const inode = this.#find(path)!;
        this.#take({ kind: "truncate", path, inode, size });
        this.#takeSync("sync", path, inode);
      },
    );
  }

  // ---- inside ----

  /** What an open file may ask of its disk. */
  readonly #doors: FileDoors = {
    pace: (kind, bytes, path) => this.#options.pace?.(kind, bytes, path),
    strike: (kind, path) => this.#strike(kind, path),
    record: (operation) => this.#record(operation),
    settled: (position) => this.#settled(position),
    settledNow: (position) => void this.#underWay.delete(position),
    canWriteNow: (inode, path, bytes) => {
      const { pace, mayHoldLoop } = this.#options;
      if (this.#platter.isPending(inode)) return false;
      if (mayHoldLoop !== undefined) return mayHoldLoop(bytes, path);
      return pace?.("write", bytes, path) === undefined && pace?.("datasync", 0, path) === undefined;
    },
    content: (inode) => this.#live.files.get(inode)!,
    reserve: (path, bytes) => this.#reserve(path, bytes),
    coverage: () => this.#coverage(),
    failSync: (path, inode, before, fault) => this.#failSync(path, inode, before, fault),
    handlesOf: (inode) => [...this.#handles].filter((file) => file.inode === inode),
    closed: (file) => void this.#handles.delete(file),
  };

  #born(image: Image): SimDisk {
    const options = { ...this.#options, capacityBytes: this.capacityBytes };
    return new SimDisk(options, image);
  }

  /** A disk with the same live and durable state, for the next process. */
  #continued(): SimDisk {
    const live = this.#live.clone();
    live.prune();
    const next = this.#born(live);
    next.#platter = this.#platter.clone();
    next.#inodeLast = this.#inodeLast;
    return next;
  }

  get #keepsJournal(): boolean {
    return this.#options.keepsJournal ?? true;
  }

  #replayTo(position: number): Platter {
    invariant(this.#keepsJournal, "this disk keeps no journal: its past cannot be asked for");
    invariant(
      position >= 0 && position <= this.#journal.length,
      () => `position ${position} of ${this.#journal.length} in the journal`,
    );
    if (this.#replay === undefined || this.#replay.position > position) this.#replay = new Platter(this.#base.clone());
    while (this.#replay.position < position) this.#replay.advance(this.#journal[this.#replay.position]!);
    return this.#replay;
  }

  /** Waits as a slow disk lets one wait, then fails if a fault says so. */
  async #enter(kind: FaultKind, path: string, bytes: number): Promise<void> {
    await this.#options.pace?.(kind, bytes, path);
    const fault = this.#strike(kind, path);
    if (fault !== undefined) throw faultError(fault, kind, path);
  }

  #strike(kind: FaultKind, path: string): Fault | undefined {
    if (this.#dead) throw diskErrorOf("EIO", `${kind} by a process that is dead`, path);
    this.#counts.set(kind, this.count(kind) + 1);
    return this.#faults.strike(kind, path);
  }

  #coverage(): { before: number; except: readonly number[] } {
    return { before: this.#platter.position, except: [...this.#underWay] };
  }

  /** Begins an operation of the program's: it is under way until `#settled`. Answers its position in the journal. */
  #record(operation: DiskOperation): number {
    const { position } = this.#platter;
    this.#take(operation);
    this.#underWay.add(position);
    return position;
  }

  /** Writes an operation down, as the last one, and does it. */
  #take(operation: DiskOperation): void {
    if (this.#keepsJournal) this.#journal.push(operation);
    this.#platter.advance(operation);
    if (isNameOperation(operation)) {
      this.#usedBytes -= this.#bytesUnnamedBy(operation);
      this.#live.prepare(operation);
      this.#live.applyName(operation);
      this.#inodeLast = Math.max(this.#inodeLast, operation.inode);
    } else if (operation.kind === "write" || operation.kind === "truncate") {
      const content = this.#live.files.get(operation.inode)!;
      this.#usedBytes -= content.size;
      this.#live.applyData(operation);
      this.#usedBytes += content.size;
    } else if (operation.kind === "damage") {
      this.#live.files.get(operation.inode)!.write(operation.bytes, operation.offset);
    }
    this.#options.onOperation?.(operation);
  }

  /** The operation is done when the caller hears of it: one microtask later. */
  async #settled(position: number): Promise<void> {
    await Promise.resolve();
    this.#underWay.delete(position);
  }

  #takeSync(kind: "sync" | "sync-folder", path: string, inode: Inode): void {
    this.#take({ kind, path, inode, before: this.#platter.position, except: [] });
  }

  #failSync(path: string, inode: Inode, before: number, fault: Fault): void {
    const afterwards = fault.afterwards ?? "new";
    this.#take({ kind: "failed-sync", path, inode, before, seed: this.#random.next() });
    if (afterwards === "new") return;
    const live = this.#live.files.get(inode)!;
    const platter = this.#platter.durable.files.get(inode)!.bytes();
    if (afterwards === "old") live.truncate(platter.length);
    const shared = Math.min(platter.length, live.size);
    for (let low = 0; low < shared; low += SECTOR_BYTES) {
      if (afterwards === "old" || this.#random.oneIn(2)) {
        live.write(platter.subarray(low, Math.min(low + SECTOR_BYTES, shared)), low);
      }
    }
  }

  #reserve(path: string, bytes: number): void {
    if (this.#usedBytes + bytes > this.capacityBytes) throw diskErrorOf("ENOSPC", "write", path);
  }

  /** The bytes of the file that loses its name by this operation: its space is free. (Real disks wait until it is closed.) */
  #bytesUnnamedBy(operation: NameOperation): number {
    const inode =
      operation.kind === "remove"
        ? operation.inode
        : operation.kind === "rename"
          ? this.#live.folders.get(operation.toFolder)?.get(operation.toName)
          : undefined;
    return inode === undefined || (operation.kind === "rename" && inode === operation.inode)
      ? 0
      : (this.#live.files.get(inode)?.size ?? 0);
  }

  #find(path: string): Inode | undefined {
    let inode: Inode | undefined = ROOT;
    for (const part of partsOf(path)) {
      inode = this.#live.folders.get(inode)?.get(part);
      if (inode === undefined) return undefined;
    }
    return inode;
  }

  /** The folder and name of a path; the error for a folder that is missing names `blamed`. */
  #place(operation: string, path: string, blamed = path): { folder: Inode; name: string } {
    const folder = this.#find(parentPath(path));
    if (folder === undefined || !this.#live.folders.has(folder)) throw diskErrorOf("ENOENT", operation, blamed);
    return { folder, name: baseName(path) };
  }

  #folderAt(operation: string, path: string): Map<string, Inode> {
    const inode = this.#find(path);
    if (inode === undefined) throw diskErrorOf("ENOENT", operation, path);
    const names = this.#live.folders.get(inode);
    if (names === undefined) throw diskErrorOf("ENOTDIR", operation, path);
    return names;
  }

  #contentAt(path: string): Content {
    const inode = this.#find(path);
    const content = inode === undefined ? undefined : this.#live.files.get(inode);
    if (content === undefined) throw diskErrorOf("ENOENT", "read", path);
    return content;
  }

  #makeFolders(path: string): void {
    if (this.#find(path) !== undefined) return;
    this.#makeFolders(parentPath(path));
    this.#take({ kind: "make-folder", path, ...this.#place("mkdir", path), inode: ++this.#inodeLast });
    this.#takeSync("sync-folder", parentPath(path), this.#find(parentPath(path))!);
  }
}

function imageWithFolders(paths: readonly string[]): Image {
  const image = Image.empty();
  let inode = ROOT;
  for (const path of paths) {
    let folder = ROOT;
    for (const part of partsOf(path)) {
      const names = image.folders.get(folder)!;
      if (!names.has(part)) {
        names.set(part, ++inode);
        image.folders.set(inode, new Map());
      }
      folder = names.get(part)!;
    }
  }
  return image;
}

function partsOf(path: string): string[] {
  invariant(path.startsWith("/"), () => `paths are absolute, "${path}" is not`);
  return path.split("/").filter((part) => part !== "");
}
