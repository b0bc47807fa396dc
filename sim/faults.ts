/** Faults that tests arm on the simulated disk. */
import { SECTOR_BYTES } from "../src/base/limits.js";
import { diskErrorOf, type DiskError, type DiskErrorCode } from "../src/platform/index.js";

/** What can be made to fail. `sync` is fsync, `datasync` fdatasync; `writeDurably` counts as a `write` and a `datasync`. */
export type FaultKind =
  | "open"
  | "read"
  | "write"
  | "datasync"
  | "sync"
  | "truncate"
  | "make-folder"
  | "rename"
  | "remove"
  | "sync-folder"
  | "list"
  | "stat";

export interface Fault {
  /** The kinds that it may hit; all when left out. */
  readonly kinds?: readonly FaultKind[];
  /** Only operations on paths that end so. */
  readonly pathEnd?: string;
  /** The how-manieth operation that matches fails, from now on; 1 is the next. */
  readonly nth: number;
  /** How many fail in a row; 1 when left out. */
  readonly times?: number;
  readonly code: Exclude<DiskErrorCode, "DISK_LOCKED">;
  /** Of a failed write: the bytes that got through all the same; none when left out. */
  readonly bytesWritten?: number;
  /** Of these bytes, only what ends where a sector ends: the system writes page by page. False when left out. */
  readonly wholeSectors?: boolean;
  /**
   * Of a failed sync: what later reads see of the bytes that were to be synced. In each case they count as clean, and no later
   * sync writes them. `new` when left out.
   */
  readonly afterwards?: "new" | "old" | "mixed";
}

const SYSTEM_CODES: Readonly<Record<Fault["code"], string>> = {
  DISK_NOT_FOUND: "ENOENT",
  DISK_EXISTS: "EEXIST",
  DISK_FULL: "ENOSPC",
  DISK_DENIED: "EACCES",
  DISK_READ_ONLY: "EROFS",
  DISK_DESCRIPTORS: "EMFILE",
  DISK_IO: "EIO",
};

/** The error that the caller of a struck operation gets. */
export function faultError(fault: Fault, operation: string, path: string): DiskError {
  return diskErrorOf(SYSTEM_CODES[fault.code], operation, path);
}

/** How many bytes of a write at `offset` get through all the same. */
export function bytesThrough(fault: Fault, offset: number): number {
  const { bytesWritten = 0, wholeSectors = false } = fault;
  return wholeSectors ? Math.max(0, bytesWritten - ((offset + bytesWritten) % SECTOR_BYTES)) : bytesWritten;
}

/** The faults that are armed. */
export class FaultPlan {
  #armed: { readonly fault: Fault; seen: number }[] = [];

  get size(): number {
    return this.#armed.length;
  }

  arm(fault: Fault): void {
    this.#armed.push({ fault, seen: 0 });
  }

  disarm(): void {
    this.#armed = [];
  }

  /** Counts an operation against every fault that it matches; answers the one that hits it. */
  strike(kind: FaultKind, path: string): Fault | undefined {
    let hit: Fault | undefined;
    for (const armed of this.#armed) {
      const { fault } = armed;
      if (fault.kinds !== undefined && !fault.kinds.includes(kind)) continue;
      if (fault.pathEnd !== undefined && !path.endsWith(fault.pathEnd)) continue;
      armed.seen++;
      if (armed.seen >= fault.nth) hit ??= fault;
    }
    this.#armed = this.#armed.filter(({ fault, seen }) => seen < fault.nth + (fault.times ?? 1) - 1);
    return hit;
  }
}
