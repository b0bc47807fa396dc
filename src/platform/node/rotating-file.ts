/**
 * A log file that begins anew when it is full (`--enable-log-rotation`), with the names, units and rules that etcd's has from lumberjack:
 *
 *     etcd.log                               being written
 *     etcd-2026-01-02T03-04-05.678.log       full since then, in UTC unless local time is asked for
 *     etcd-2026-01-02T03-04-05.678.log.gz    the same, compressed
 *
 * Lines are written at once, as to every output: the last one before a process ends is on the file. Old files are compressed and removed beside
 * the member's work. No library does both; those that rotate write later.
 *
 * Laws:
 * - A line is never split over two files. One that is larger than a file gets one of its own.
 * - A failure loses lines and stops nobody. A file that cannot be put aside is written on.
 * - Nothing is removed but files whose names have this form.
 */
import {
  createReadStream,
  createWriteStream,
  existsSync,
  fstatSync,
  openSync,
  closeSync,
  renameSync,
  writeSync,
} from "node:fs";
import { readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, extname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import type { LineSink } from "./log.js";

export interface LogRotation {
  /** Bytes of a file. */
  readonly bytesMax: number;
  /** Old files that are kept; 0 for all. */
  readonly backupsMax: number;
  /** Milliseconds that an old file is kept; 0 for ever. */
  readonly ageMsMax: number;
  /** Whether names are stamped in local time, not in UTC. */
  readonly localTime: boolean;
  readonly compress: boolean;
}

const FILE_MODE = 0o600;
const STAMP = /^\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}$/;
const GZIP_SUFFIX = ".gz";

export class RotatingFile implements LineSink {
  readonly #path: string;
  readonly #rotation: LogRotation;
  readonly #now: () => number;
  #fd: number;
  #size: number;
  #tidying: Promise<void> | undefined;
  #untidy = false;

  /** @throws the system's error when the file cannot be opened */
  constructor(path: string, rotation: LogRotation, now: () => number = Date.now) {
    this.#path = path;
    this.#rotation = rotation;
    this.#now = now;
    this.#fd = openSync(path, "a", FILE_MODE);
    this.#size = fstatSync(this.#fd).size;
    this.#tidy();
  }

  write(line: string): void {
    const bytes = Buffer.from(line);
    try {
      if (this.#size > 0 && this.#size + bytes.length > this.#rotation.bytesMax) this.#rotate();
      for (let at = 0; at < bytes.length;) at += writeSync(this.#fd, bytes, at);
      this.#size += bytes.length;
    } catch {
      // The line is lost; the member goes on.
    }
  }

  /** Resolves when old files are compressed and removed as far as they are to be. */
  async settled(): Promise<void> {
    while (this.#tidying !== undefined) await this.#tidying;
  }

  #rotate(): void {
    renameSync(this.#path, this.#freeName());
    const full = this.#fd;
    this.#fd = openSync(this.#path, "a", FILE_MODE);
    this.#size = fstatSync(this.#fd).size;
    closeSync(full);
    this.#tidy();
  }

  /** Two files of one millisecond get stamps of their own. */
  #freeName(): string {
    for (let at = this.#now(); ; at++) {
      const path = backupPath(this.#path, stampOf(at, this.#rotation.localTime));
      if (!existsSync(path) && !existsSync(path + GZIP_SUFFIX)) return path;
    }
  }

  #tidy(): void {
    this.#untidy = true;
    this.#tidying ??= this.#tidyAll().finally(() => (this.#tidying = undefined));
  }

  async #tidyAll(): Promise<void> {
    while (this.#untidy) {
      this.#untidy = false;
      await this.#tidyOnce().catch(() => undefined); // the next rotation tries again
    }
  }

  async #tidyOnce(): Promise<void> {
    const { backupsMax, ageMsMax, localTime, compress } = this.#rotation;
    const folder = dirname(this.#path);
    const backups = (await readdir(folder))
      .flatMap((name) => {
        const stamp = stampIn(name, this.#path);
        return stamp === undefined ? [] : [{ name, stamp }];
      })
      .sort((a, b) => (a.stamp < b.stamp ? 1 : -1));
    // A file and its compressed copy are one: a crash may have left both.
    const stamps = [...new Set(backups.map(({ stamp }) => stamp))];
    const oldest = stampOf(this.#now() - ageMsMax, localTime);
    const kept = new Set(
      stamps.slice(0, backupsMax > 0 ? backupsMax : undefined).filter((stamp) => ageMsMax === 0 || stamp >= oldest),
    );
    for (const { name, stamp } of backups) {
      const path = join(folder, name);
      if (!kept.has(stamp)) await rm(path, { force: true });
      else if (compress && !name.endsWith(GZIP_SUFFIX)) await compressFile(path);
    }
  }
}

/** The compressed file is whole before the other one goes. */
async function compressFile(path: string): Promise<void> {
  const unfinished = `${path}${GZIP_SUFFIX}.tmp`;
  await pipeline(createReadStream(path), createGzip(), createWriteStream(unfinished, { mode: FILE_MODE }));
  await rename(unfinished, path + GZIP_SUFFIX);
  await rm(path, { force: true });
}

function backupPath(path: string, stamp: string): string {
  const extension = extname(path);
  return join(dirname(path), `${basename(path, extension)}-${stamp}${extension}`);
}

/** The stamp in an old file's name; undefined for every other file. */
function stampIn(name: string, path: string): string | undefined {
  const extension = extname(path);
  const prefix = `${basename(path, extension)}-`;
  const plain = name.endsWith(GZIP_SUFFIX) ? name.slice(0, -GZIP_SUFFIX.length) : name;
  if (!plain.startsWith(prefix) || !plain.endsWith(extension)) return undefined;
  const stamp = plain.slice(prefix.length, plain.length - extension.length);
  return STAMP.test(stamp) ? stamp : undefined;
}

/** `2026-01-02T03-04-05.678`: stamps of one zone are in the order of their times. */
function stampOf(at: number, localTime: boolean): string {
  const shift = localTime ? new Date(at).getTimezoneOffset() * 60_000 : 0;
  return new Date(at - shift).toISOString().slice(0, -1).replaceAll(":", "-");
}
