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
  /** Calls fcntl with a lock as its variadic argument. */
  lockRecord(fd: number, command: number, lock: RecordLock): number;
  flock(fd: number, operation: number): number;
  errno(): number;
}

/** A variadic argument is given as its type and its value. */
type Variadic = (fd: number, command: number, type: unknown, lock: RecordLock) => number;

let loaded: LibC | undefined;

function libc(path: string): LibC {
  if (loaded !== undefined) return loaded;
  try {
    const koffi = createRequire(import.meta.url)("koffi") as typeof Koffi;
    const self = koffi.load(null); // the C library that Node itself uses, glibc or musl
    const recordLock = koffi.struct({
      l_type: "int16_t",
      l_whence: "int16_t",
      l_start: "int64_t",
      l_len: "int64_t",
      l_pid: "int32_t",
    });
    const pointer = koffi.pointer(recordLock);
    const fcntl = self.func("int fcntl(int fd, int command, ...)") as unknown as Variadic;
    loaded = {
      lockRecord: (fd, command, lock) => fcntl(fd, command, pointer, lock),
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
    return succeeded(system, "lock (fcntl)", path, () => system.lockRecord(fd, F_OFD_SETLK, wholeFile(F_WRLCK)));
  }
  const operation = (kind === "database-shared" ? LOCK_SH : LOCK_EX) | LOCK_NB;
  return succeeded(system, "lock (flock)", path, () => system.flock(fd, operation));
}

/** Gives up all locks of an open file. */
export function unlockDescriptor(fd: number, path: string): void {
  const system = libc(path);
  if (recordLocks) {
    succeeded(system, "unlock (fcntl)", path, () => system.lockRecord(fd, F_OFD_SETLK, wholeFile(F_UNLCK)));
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
