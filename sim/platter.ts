/**
 * What is on the platter of the simulated disk, and what could be if power failed.
 *
 * An `Image` is a whole file system at one moment: names in folders, and the bytes of inodes. A `Platter` is the durable image
 * plus the operations that no sync covered yet. Laws:
 * - a sync of a file moves that file's covered writes and truncates into the durable image, never its name;
 * - a sync of a folder moves the covered operations on its names; a rename is one operation, done or not, never half;
 * - what is in the durable image stays, whatever a crash keeps or loses of the rest.
 */
import { invariant, unreachable } from "../src/base/errors.js";
import { SECTOR_BYTES } from "../src/base/limits.js";
import type { Random } from "../src/platform/index.js";
import { Content } from "./content.js";
import { SimRandom } from "./random.js";

/** The number of a file or folder, whatever names it has. */
export type Inode = number;
export const ROOT: Inode = 1;

/** An operation on the bytes of a file. */
export type DataOperation =
  | {
      readonly kind: "write";
      readonly path: string;
      readonly inode: Inode;
      readonly offset: number;
      readonly bytes: Uint8Array;
    }
  | { readonly kind: "truncate"; readonly path: string; readonly inode: Inode; readonly size: number };

/** An operation on names in folders. */
export type NameOperation =
  | {
      readonly kind: "create" | "make-folder" | "remove";
      readonly path: string;
      readonly folder: Inode;
      readonly name: string;
      readonly inode: Inode;
    }
  | {
      readonly kind: "rename";
      readonly path: string;
      readonly folder: Inode;
      readonly name: string;
      readonly toPath: string;
      readonly toFolder: Inode;
      readonly toName: string;
      readonly inode: Inode;
    };

/** A sync: it covers what came before journal position `before`, except for what was still under way when it was asked for. */
export interface SyncOperation {
  readonly kind: "sync" | "datasync" | "sync-folder";
  readonly path: string;
  readonly inode: Inode;
  readonly before: number;
  readonly except: readonly number[];
}

/**
 * A sync that failed: of each sector that it would have covered, chance (`seed`) decides whether it reached the platter; the rest
 * never will, for the system now takes those pages for clean.
 */
export interface FailedSyncOperation {
  readonly kind: "failed-sync";
  readonly path: string;
  readonly inode: Inode;
  readonly before: number;
  readonly seed: number;
}

/** Bytes that changed by themselves, on the platter too. */
export interface DamageOperation {
  readonly kind: "damage";
  readonly path: string;
  readonly inode: Inode;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export type DiskOperation = DataOperation | NameOperation | SyncOperation | FailedSyncOperation | DamageOperation;
export type PendingOperation = DataOperation | NameOperation;

/** What a crash keeps of an operation that no sync covered: all, nothing, or of a write these sectors of the file. */
export type Fate = "kept" | "lost" | { readonly sectors: ReadonlySet<number>; readonly size: "grown" | "written" };

/**
 * `lost`: nothing that was not synced. `prefix`: the operations in their order up to some point, the last one perhaps in part, as
 * an ordered journal leaves them. `any`: any subset of operations, writes torn anywhere at 512 bytes.
 */
export type CrashMode = "lost" | "prefix" | "any";
export const CRASH_MODES: readonly CrashMode[] = ["lost", "prefix", "any"];

/** One short text for an operation: the place where power fails. */
export function describeOperation(operation: DiskOperation): string {
  switch (operation.kind) {
    case "write":
    case "damage":
      return `${operation.kind} ${operation.path} [${operation.offset}, ${operation.offset + operation.bytes.length})`;
    case "truncate":
      return `truncate ${operation.path} to ${operation.size}`;
    case "rename":
      return `rename ${operation.path} to ${operation.toPath}`;
    case "create":
    case "make-folder":
    case "remove":
    case "sync":
    case "datasync":
    case "sync-folder":
    case "failed-sync":
      return `${operation.kind} ${operation.path}`;
    default:
      return unreachable(operation, "describeOperation");
  }
}

export class Image {
  readonly files = new Map<Inode, Content>();
  readonly folders = new Map<Inode, Map<string, Inode>>();

  /** A file system with an empty root folder. */
  static empty(): Image {
    const image = new Image();
    image.folders.set(ROOT, new Map());
    return image;
  }

  /** Forgets what no name leads to. */
  prune(): void {
    const reached = new Set<Inode>();
    const visit = (inode: Inode): void => {
      if (reached.has(inode)) return;
      reached.add(inode);
      for (const child of this.folders.get(inode)?.values() ?? []) visit(child);
    };
    visit(ROOT);
    for (const inode of this.files.keys()) if (!reached.has(inode)) this.files.delete(inode);
    for (const inode of this.folders.keys()) if (!reached.has(inode)) this.folders.delete(inode);
  }

  /** An independent copy of everything, removed files that are still open included. */
  clone(): Image {
    const copy = new Image();
    for (const [inode, content] of this.files) copy.files.set(inode, content.clone());
    for (const [inode, names] of this.folders) copy.folders.set(inode, new Map(names));
    return copy;
  }

  #fileOf(inode: Inode): Content {
    const content = this.files.get(inode);
    invariant(content !== undefined, () => `a name leads to inode ${inode}, which does not exist`);
    return content;
  }

  applyData(operation: DataOperation): void {
    const content = this.#fileOf(operation.inode);
    if (operation.kind === "write") content.write(operation.bytes, operation.offset);
    else content.truncate(operation.size);
  }

  /** Brings the inode into being, without a name. */
  prepare(operation: DiskOperation): void {
    if (operation.kind === "create") this.files.set(operation.inode, new Content());
    else if (operation.kind === "make-folder") this.folders.set(operation.inode, new Map());
  }

  /** Changes names. An operation whose premise was lost in a crash does what of it still makes sense. */
  applyName(operation: NameOperation): void {
    const names = this.folders.get(operation.folder);
    if (operation.kind === "create" || operation.kind === "make-folder") {
      names?.set(operation.name, operation.inode);
      return;
    }
    if (names?.get(operation.name) === operation.inode) names.delete(operation.name);
    if (operation.kind === "rename") this.folders.get(operation.toFolder)?.set(operation.toName, operation.inode);
  }

  /** Writes some sectors of a write. */
  applyTorn(
    operation: DataOperation & { kind: "write" },
    sectors: ReadonlySet<number>,
    size: "grown" | "written",
  ): void {
    const content = this.#fileOf(operation.inode);
    const { offset, bytes } = operation;
    for (const [sector, low, high] of sectorsOf(operation)) {
      if (sectors.has(sector)) content.write(bytes.subarray(low - offset, high - offset), low);
    }
    const end = offset + bytes.length;
    if (size === "grown" && content.size < end) content.truncate(end);
  }

  apply(operation: PendingOperation, fate: Fate): void {
    if (fate === "lost") return;
    if (isNameOperation(operation)) this.applyName(operation);
    else if (fate === "kept") this.applyData(operation);
    else {
      invariant(operation.kind === "write", () => `a ${operation.kind} cannot be torn`);
      this.applyTorn(operation, fate.sectors, fate.size);
    }
  }
}

/** The sectors that a write touches, each with the span of the file `[low, high)` that the write has in it. */
export function* sectorsOf(write: {
  readonly offset: number;
  readonly bytes: Uint8Array;
}): Generator<[sector: number, low: number, high: number]> {
  const end = write.offset + write.bytes.length;
  for (let low = write.offset; low < end;) {
    const sector = Math.floor(low / SECTOR_BYTES);
    const high = Math.min(end, (sector + 1) * SECTOR_BYTES);
    yield [sector, low, high];
    low = high;
  }
}

export function isNameOperation(operation: DiskOperation): operation is NameOperation {
  return (
    operation.kind === "create" ||
    operation.kind === "make-folder" ||
    operation.kind === "remove" ||
    operation.kind === "rename"
  );
}

interface Pending {
  readonly position: number;
  readonly operation: PendingOperation;
}

/** The durable image, and what waits for a sync. Follows a journal operation by operation. */
export class Platter {
  readonly durable: Image;
  #pending: Pending[] = [];
  #position = 0;

  constructor(durable: Image) {
    this.durable = durable;
  }

  /** How many operations of the journal are taken in. */
  get position(): number {
    return this.#position;
  }

  /** What no sync covered yet, oldest first. */
  get pending(): PendingOperation[] {
    return this.#pending.map((pending) => pending.operation);
  }

  advance(operation: DiskOperation): void {
    const position = this.#position++;
    switch (operation.kind) {
      case "write":
      case "truncate":
      case "create":
      case "make-folder":
      case "remove":
      case "rename":
        this.durable.prepare(operation);
        this.#pending.push({ position, operation });
        return;
      case "sync":
      case "datasync":
        this.#settle(
          (pending) => covers(operation, pending) && isDataOf(pending.operation, operation.inode),
          () => "kept",
        );
        return;
      case "sync-folder":
        this.#settle(
          (pending) => covers(operation, pending) && isNameIn(pending.operation, operation.inode),
          () => "kept",
        );
        return;
      case "failed-sync": {
        const random = new SimRandom(operation.seed);
        this.#settle(
          (pending) => pending.position < operation.before && isDataOf(pending.operation, operation.inode),
          (pending) => anyFate(pending, random, 2),
        );
        return;
      }
      case "damage":
        this.durable.files.get(operation.inode)?.write(operation.bytes, operation.offset);
        return;
      default:
        unreachable(operation, "Platter.advance");
    }
  }

  /** Whether bytes or a size of this file wait for a sync. */
  isPending(inode: Inode): boolean {
    return this.#pending.some(({ operation }) => isDataOf(operation, inode));
  }

  /** Decides the fate of some pending operations for good. */
  #settle(chosen: (pending: Pending) => boolean, fate: (operation: PendingOperation) => Fate): void {
    const rest: Pending[] = [];
    for (const pending of this.#pending) {
      if (chosen(pending)) this.durable.apply(pending.operation, fate(pending.operation));
      else rest.push(pending);
    }
    this.#pending = rest;
  }

  /** One state that power failing now may leave. */
  crash(mode: CrashMode, random: Random): Image {
    return this.crashWith(chooseFates(this.pending, mode, random));
  }

  /** The state after a crash in which each pending operation has this fate. */
  crashWith(fates: readonly Fate[]): Image {
    invariant(
      fates.length === this.#pending.length,
      () => `${fates.length} fates for ${this.#pending.length} operations`,
    );
    const image = this.durable.clone();
    this.#pending.forEach((pending, i) => image.apply(pending.operation, fates[i]!));
    image.prune();
    return image;
  }

  /** An independent copy. */
  clone(): Platter {
    const copy = new Platter(this.durable.clone());
    copy.#pending = this.#pending.slice();
    copy.#position = this.#position;
    return copy;
  }
}

function covers(sync: SyncOperation, pending: Pending): boolean {
  return pending.position < sync.before && !sync.except.includes(pending.position);
}

function isDataOf(operation: PendingOperation, inode: Inode): boolean {
  return !isNameOperation(operation) && operation.inode === inode;
}

/** A rename between two folders is durable with either: no file system in use loses a name half. */
function isNameIn(operation: PendingOperation, folder: Inode): boolean {
  if (!isNameOperation(operation)) return false;
  return operation.folder === folder || (operation.kind === "rename" && operation.toFolder === folder);
}

/** The fates of pending operations in one crash. */
export function chooseFates(pending: readonly PendingOperation[], mode: CrashMode, random: Random): Fate[] {
  switch (mode) {
    case "lost":
      return pending.map(() => "lost");
    case "prefix": {
      const cut = random.below(pending.length + 1);
      return pending.map((operation, i) => {
        if (i !== cut) return i < cut ? "kept" : "lost";
        if (operation.kind !== "write") return "lost";
        const sectors = [...sectorsOf(operation)].map(([sector]) => sector);
        return { sectors: new Set(sectors.slice(0, random.below(sectors.length + 1))), size: "written" };
      });
    }
    case "any": {
      // Crashes differ in how much got through: with one bias for all, long lists would always come out half kept.
      const bias = 1 + random.below(9);
      return pending.map((operation) => anyFate(operation, random, bias));
    }
    default:
      return unreachable(mode, "chooseFates");
  }
}

/** @param bias how many of ten operations are kept, on average */
function anyFate(operation: PendingOperation, random: Random, bias: number): Fate {
  if (operation.kind !== "write" || random.below(3) > 0) return random.below(10) < bias ? "kept" : "lost";
  const sectors = new Set<number>();
  for (const [sector] of sectorsOf(operation)) if (random.below(2) === 0) sectors.add(sector);
  return { sectors, size: random.below(2) === 0 ? "grown" : "written" };
}
