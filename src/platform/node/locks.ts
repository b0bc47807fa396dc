/**
 * File locks that real etcd takes and respects. Node has none of its own, so libc is called (through koffi, loaded when the first
 * lock is taken).
 *
 * On Linux etcd holds each open segment by an OFD record lock on the whole file (fcntl F_OFD_SETLK), and bbolt holds `db` by flock;
 * the two kinds do not know of each other. On other systems etcd uses flock for both. Locks belong to the open file: they end
 * when it is closed, and with the process.
 */
import { createRequire } from "node:module";
import { getSystemErrorName } from "node:util";
import type * as Koffi from "koffi";
import { DiskError, diskErrorOf, type LockKind } from "../disk.js";

const F_OFD_SETLK = 37;
const F_WRLCK = 1;
const F_UNLCK = 2;
const SEEK_SET = 0;

const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const LOCK_UN = 8;

interface RecordLock {
  readonly l_type: number;
  readonly l_whence: number;
  readonly l_start: number;
  readonly l_len: number;
  readonly l_pid: number;
}

interface LibC {
  fcntl(fd: number, command: number, type: "walnut_flock *", lock: RecordLock): number;
  flock(fd: number, operation: number): number;
  errno(): number;
}

let loaded: LibC | undefined;

function libc(path: string): LibC {
  if (loaded !== undefined) return loaded;
  try {
    const koffi = createRequire(import.meta.url)("koffi") as typeof Koffi;
    const self = koffi.load(null); // the C library that Node itself uses, glibc or musl
    koffi.struct("walnut_flock", {
      l_type: "int16_t",
      l_whence: "int16_t",
      l_start: "int64_t",
      l_len: "int64_t",
      l_pid: "int32_t",
    });
    loaded = {
      fcntl: self.func("int fcntl(int fd, int command, ...)") as unknown as LibC["fcntl"],
      flock: self.func("int flock(int fd, int operation)") as unknown as LibC["flock"],
      errno: () => koffi.errno(),
    };
    return loaded;
  } catch (error) {
    throw new DiskError(
      "DISK_IO",
      path,
      `cannot lock ${path}: the package koffi, which reaches the system's locks, does not work on ` +
        `${process.platform}-${process.arch}; install its build for this platform, or run on one that it supports`,
      { cause: error },
    );
  }
}

/** Whole file: from 0, length 0 means "to the end, wherever that comes to be". */
function wholeFile(type: number): RecordLock {
  return { l_type: type, l_whence: SEEK_SET, l_start: 0, l_len: 0, l_pid: 0 };
}

const recordLocks = process.platform === "linux";

/** Tries for a lock, without waiting; false when another open file holds one that conflicts. */
export function lockDescriptor(fd: number, path: string, kind: LockKind): boolean {
  const system = libc(path);
  if (kind === "segment" && recordLocks) {
    return succeeded(system, "lock (fcntl)", path, () =>
      system.fcntl(fd, F_OFD_SETLK, "walnut_flock *", wholeFile(F_WRLCK)),
    );
  }
  const operation = (kind === "database-shared" ? LOCK_SH : LOCK_EX) | LOCK_NB;
  return succeeded(system, "lock (flock)", path, () => system.flock(fd, operation));
}

/** Gives up all locks of an open file. */
export function unlockDescriptor(fd: number, path: string): void {
  const system = libc(path);
  if (recordLocks) {
    succeeded(system, "unlock (fcntl)", path, () =>
      system.fcntl(fd, F_OFD_SETLK, "walnut_flock *", wholeFile(F_UNLCK)),
    );
  }
  succeeded(system, "unlock (flock)", path, () => system.flock(fd, LOCK_UN));
}

function succeeded(system: LibC, operation: string, path: string, attempt: () => number): boolean {
  for (;;) {
    if (attempt() === 0) return true;
    const name = getSystemErrorName(-system.errno());
    if (name === "EINTR") continue;
    if (name === "EAGAIN" || name === "EWOULDBLOCK" || name === "EACCES") return false;
    throw diskErrorOf(name, operation, path);
  }
}
