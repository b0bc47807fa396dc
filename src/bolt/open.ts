/** Opening and creating a bolt file. */
import { silentLog, type Log } from "../platform/log.js";
import type { Disk, DiskFile } from "../platform/disk.js";
import { publishFile } from "../platform/publish.js";
import { checkFile, readFreeList } from "./check.js";
import { BoltDatabase, CACHE_BYTES_DEFAULT, type BoltDoors, type OpenedFile } from "./database.js";
import { BoltError } from "./errors.js";
import {
  decodeMeta,
  encodeMeta,
  INITIAL_PAGES,
  META_END,
  PAGE_BYTES_DEFAULT,
  PAGE_BYTES_MAX,
  PAGE_BYTES_MIN,
  PageKind,
  sealPage,
  SEQUENCE_ZERO,
  writePageHeader,
  type Meta,
} from "./format.js";
import { FreeList, freePagesBeside } from "./free-list.js";
import type { State } from "./transaction.js";

export interface BoltOptions {
  /** Takes a shared lock and never writes. */
  readonly readOnly?: boolean;
  /** False refuses a file that does not exist; otherwise it is created, whole or not at all. */
  readonly create?: boolean;
  /** Memory for pages that were read, 256 MiB unless told. */
  readonly cacheBytes?: number;
  /** Page size of a file that is created; one that exists says its own. */
  readonly pageSize?: number;
  /** See `DatabaseSettings`. */
  readonly initialMapBytes?: number;
  /** See `DatabaseSettings`; only for a file under a temporary name. */
  readonly sync?: boolean;
}

/** Suffix of the file that a new database is built in. etcd removes `db.tmp*` at its start, too. */
const TEMPORARY_SUFFIX = ".tmp.create";

/**
 * Opens a bolt file, and creates it when there is none.
 *
 * @throws BoltError `BOLT_LOCKED`, `BOLT_INVALID_META`, `BOLT_VERSION`, `BOLT_CHECKSUM`, `BOLT_TRUNCATED`, `BOLT_FREE_LIST` and
 *   those of damaged pages; DiskError
 */
export async function openBolt(doors: BoltDoors, path: string, options: BoltOptions = {}): Promise<BoltDatabase> {
  const readOnly = options.readOnly ?? false;
  if (!readOnly && options.create !== false)
    await maybeCreate(doors.disk, path, options.pageSize ?? PAGE_BYTES_DEFAULT, options.sync === false);
  const opened = await openFile(doors, path, readOnly);
  if (!readOnly && options.sync !== false) await syncOpened(opened.file);
  if (opened.damagedMeta !== undefined) {
    doors.log.warn("bolt meta page unreadable, the other one is used", { path, error: opened.damagedMeta.message });
  }
  return new BoltDatabase(doors, opened, {
    readOnly,
    cacheBytes: options.cacheBytes ?? CACHE_BYTES_DEFAULT,
    initialMapBytes: options.initialMapBytes ?? 0,
    sync: options.sync ?? true,
  });
}

/**
 * A process that was killed may have left pages that only the system's cache holds, its last meta page among them. Whoever opens the
 * file takes that state for durable: it overwrites pages that the state before still has, and tells others what it read. (What a
 * failed sync left in the cache as clean no sync writes: `BoltDatabase.makeDurable` is for that.)
 */
async function syncOpened(file: DiskFile): Promise<void> {
  try {
    await file.sync();
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Opens and locks a file and reads what a database needs to begin with. For `openBolt` and the offline tools. */
export async function openFile(
  doors: Pick<BoltDoors, "disk" | "clock"> & { readonly log?: Log },
  path: string,
  readOnly: boolean,
): Promise<OpenedFile> {
  const log = doors.log ?? silentLog;
  const file = await doors.disk.open(path, readOnly ? "read" : "write");
  try {
    if (!file.tryLock(readOnly ? "database-shared" : "database")) {
      throw new BoltError("BOLT_LOCKED", { path }, "another process has the database open; stop it first");
    }
    const fileBytes = await file.size();
    const { meta, damagedMeta } = readMetas(file, path, fileBytes);
    if (meta.highWater * meta.pageSize > fileBytes) {
      const detail = `the file has ${fileBytes} bytes, its meta page ${meta.txid % 2} says ${meta.highWater * meta.pageSize}`;
      throw new BoltError("BOLT_TRUNCATED", { path }, detail);
    }
    const { state, freeList } = await readFreeListOf(doors, file, path, meta, log);
    return { file, path, state, freeList, fileBytes, damagedMeta };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function readFreeListOf(
  doors: Pick<BoltDoors, "clock">,
  file: DiskFile,
  path: string,
  meta: Meta,
  log: Log,
): Promise<{ state: State; freeList: FreeList }> {
  if (meta.freeList !== undefined) {
    const origin = { path, pageSize: meta.pageSize, id: meta.freeList, offset: meta.freeList * meta.pageSize };
    const { set, span } = readFreeList(file, origin, meta.highWater);
    return { state: { meta, freeListSpan: span }, freeList: new FreeList(set) };
  }
  log.info("bolt file without a free list, looking for the pages in use", { path });
  const { used, problems } = await checkFile({ file, path, clock: doors.clock, meta });
  const problem = problems[0];
  if (problem !== undefined) {
    const detail = `it has no free list, and its pages do not tell it: ${problem.detail}`;
    throw new BoltError("BOLT_FREE_LIST", { path }, detail);
  }
  return { state: { meta, freeListSpan: 0 }, freeList: new FreeList(freePagesBeside(path, used, meta.highWater)) };
}

/** The newer of the two meta pages that can be read. Each names the page size, which tells where the second one is. */
function readMetas(
  file: DiskFile,
  path: string,
  fileBytes: number,
): { meta: Meta; damagedMeta: BoltError | undefined } {
  const first = readMetaAt(file, path, 0);
  if (first instanceof BoltError) {
    for (let at = PAGE_BYTES_MIN; at <= PAGE_BYTES_MAX && at < fileBytes; at *= 2) {
      const second = readMetaAt(file, path, at);
      if (!(second instanceof BoltError) && second.pageSize === at) return { meta: second, damagedMeta: first };
    }
    throw first;
  }
  const second = readMetaAt(file, path, first.pageSize);
  if (second instanceof BoltError) return { meta: first, damagedMeta: second };
  return { meta: second.txid > first.txid ? second : first, damagedMeta: undefined };
}

function readMetaAt(file: DiskFile, path: string, offset: number): Meta | BoltError {
  const bytes = new Uint8Array(META_END);
  const count = file.readNow(bytes, offset);
  const decoded = decodeMeta(bytes.subarray(0, count));
  if (decoded.kind === "meta") return decoded.meta;
  return new BoltError(decoded.code, { path, page: offset === 0 ? 0 : 1, offset }, decoded.why);
}

function checkPageSize(path: string, pageSize: number): void {
  const isPower = Number.isSafeInteger(pageSize) && (pageSize & (pageSize - 1)) === 0;
  if (isPower && pageSize >= PAGE_BYTES_MIN && pageSize <= PAGE_BYTES_MAX) return;
  const detail = `page size ${pageSize}, not a power of two in [${PAGE_BYTES_MIN}, ${PAGE_BYTES_MAX}]`;
  throw new BoltError("BOLT_OUT_OF_RANGE", { path }, detail);
}

/**
 * Creates the file when there is none, or one without a byte, which a crashed creation of bbolt's leaves. A working copy (one that
 * is synced only at its end, and published by whoever makes it) is not made durable: its folder may hold what must be.
 */
async function maybeCreate(disk: Disk, path: string, pageSize: number, isWorkingCopy: boolean): Promise<void> {
  checkPageSize(path, pageSize);
  const found = await disk.stat(path);
  if (found !== undefined && found.size > 0) return;
  if (found !== undefined) await refuseLocked(disk, path);
  if (!isWorkingCopy) {
    await publishFile(disk, path + TEMPORARY_SUFFIX, path, (file) => file.write([initialPages(pageSize)], 0));
    return;
  }
  const file = await disk.open(path, "replace");
  try {
    await file.write([initialPages(pageSize)], 0);
  } finally {
    await file.close();
  }
}

/** An empty file may be one that another process is about to fill. */
async function refuseLocked(disk: Disk, path: string): Promise<void> {
  const file = await disk.open(path, "write");
  try {
    if (!file.tryLock("database")) {
      throw new BoltError("BOLT_LOCKED", { path }, "another process is creating the database; stop it first");
    }
  } finally {
    await file.close();
  }
}

/** A new file: two metas, an empty free list, an empty root leaf. */
function initialPages(pageSize: number): Uint8Array {
  const bytes = new Uint8Array(INITIAL_PAGES * pageSize);
  const page = (id: number): Uint8Array => bytes.subarray(id * pageSize, (id + 1) * pageSize);
  for (const txid of [0, 1]) {
    encodeMeta(page(txid), txid, {
      pageSize,
      root: 3,
      sequence: SEQUENCE_ZERO,
      freeList: 2,
      highWater: INITIAL_PAGES,
      txid,
    });
  }
  writePageHeader(page(2), { id: 2, kind: PageKind.freeList, count: 0, span: 1 });
  writePageHeader(page(3), { id: 3, kind: PageKind.leaf, count: 0, span: 1 });
  for (const id of [2, 3]) sealPage(page(id), id);
  return bytes;
}
