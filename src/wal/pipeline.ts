/**
 * Prepares the next segment while the current one fills: a file under the name `0.tmp` or `1.tmp`, alternating, so that it is
 * never the one that was published last.
 *
 * The file gets its full size at once, without blocks, and is then filled with real zeros from the front (design decision 3: an
 * fdatasync then has no extents to convert, and a full disk shows here instead of in the middle of a save). Filling takes the
 * disk for a tenth of the time at most, piece by piece, each piece made durable: a log that is saved to at full speed would
 * otherwise wait behind 64 MB of zeros. When the file is wanted before it is full, its rest stays without blocks: that reads as
 * zeros, too, and costs each sync a few microseconds. `docs/formats/wal.md` has the figures.
 *
 * A file that an earlier run left behind is emptied first; no byte of it is used again (faults.md D21, W11).
 */
import { describeError } from "../base/errors.js";
import { kibibytes, mebibytes } from "../base/units.js";
import type { Clock } from "../platform/clock.js";
import { joinPath, type Disk, type DiskFile } from "../platform/disk.js";
import { WalError } from "./errors.js";

/** Zeros are written in pieces of this size. */
const PIECE_BYTES = kibibytes(256);

/** Preparing the next segment begins when the current one is filled to this part: a save that comes earlier has the disk to itself. */
const BEGIN_AT_PART = 0.25;

/** After a piece the disk is left alone for this many times the time that the piece took. */
const REST_FACTOR = 9;

const ZEROS = new Uint8Array(PIECE_BYTES);

/** Zeros that are not durable yet, at most, while a whole segment is filled: who shares the disk would wait behind all of them at a sync. */
const UNSYNCED_BYTES_MAX = mebibytes(4);

/** Writes zeros to `[from, to)` of a file. The last of them are not durable yet. */
export async function writeZeros(file: DiskFile, from: number, to: number): Promise<void> {
  let unsynced = 0;
  for (let at = from; at < to; at += PIECE_BYTES) {
    if (unsynced >= UNSYNCED_BYTES_MAX) {
      await file.datasync();
      unsynced = 0;
    }
    await file.write([ZEROS.subarray(0, Math.min(PIECE_BYTES, to - at))], at);
    unsynced += PIECE_BYTES;
  }
}

export interface PreparedSegment {
  readonly path: string;
  readonly file: DiskFile;
}

type Prepared = { readonly segment: PreparedSegment } | { readonly error: unknown };

const TEMPORARY_NAMES = ["0.tmp", "1.tmp"] as const;

export class SegmentPipeline {
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #folder: string;
  readonly #segmentBytes: number;
  readonly #ahead: boolean;
  #count = 0;
  #next: Promise<Prepared> | undefined;
  /** The file is wanted as it is. */
  #wanted = false;
  #closed = false;
  #wake: (() => void) | undefined;

  /** @param ahead whether files are prepared before they are asked for; otherwise they are filled when they are */
  constructor(disk: Disk, clock: Clock, folder: string, segmentBytes: number, ahead: boolean) {
    this.#disk = disk;
    this.#clock = clock;
    this.#folder = folder;
    this.#segmentBytes = segmentBytes;
    this.#ahead = ahead;
  }

  /** Begins with the next file when the current one is filled far enough and none is under way. */
  startWhenDue(filledBytes: number): void {
    if (this.#next !== undefined || !this.#ahead || this.#closed) return;
    if (filledBytes >= this.#segmentBytes * BEGIN_AT_PART) this.#next = this.#prepare();
  }

  /** The prepared file, open and locked; whoever takes it closes it. */
  async take(): Promise<PreparedSegment> {
    this.#next ??= this.#prepare();
    this.#stopFilling();
    const prepared = await this.#next;
    this.#next = undefined;
    this.#wanted = false;
    if ("error" in prepared) throw prepared.error;
    return prepared.segment;
  }

  /** Removes the file that nobody took. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#stopFilling();
    const prepared = await this.#next;
    this.#next = undefined;
    if (prepared === undefined || "error" in prepared) return;
    await prepared.segment.file.close();
    await this.#disk.removeFile(prepared.segment.path).catch(() => undefined); // the next start removes it, too
  }

  #stopFilling(): void {
    this.#wanted = this.#ahead;
    this.#wake?.();
  }

  /** Never rejects: the failure waits for the one who takes the file. */
  async #prepare(): Promise<Prepared> {
    const path = joinPath(this.#folder, TEMPORARY_NAMES[this.#count++ % 2]!);
    let file: DiskFile | undefined;
    try {
      file = await this.#disk.open(path, "replace");
      if (!file.tryLock("segment")) {
        throw new WalError(
          "WAL_LOCKED",
          `${path} is locked by another process: two members must not share a directory`,
        );
      }
      await file.truncate(this.#segmentBytes);
      await this.#fill(file);
      return { segment: { path, file } };
    } catch (error) {
      await file?.close().catch(() => undefined); // the first failure is the one to tell
      if (error instanceof WalError) return { error };
      const detail = `the next segment ${path} of ${this.#segmentBytes} bytes cannot be prepared (${describeError(error)})`;
      const wayOut = "make room or mend the disk and start again";
      return { error: new WalError("WAL_WRITE_FAILED", `${detail}; ${wayOut}`, {}, { cause: error }) };
    }
  }

  async #fill(file: DiskFile): Promise<void> {
    for (let at = 0; at < this.#segmentBytes && !this.#wanted; at += PIECE_BYTES) {
      const started = this.#clock.now();
      await file.write([ZEROS.subarray(0, Math.min(PIECE_BYTES, this.#segmentBytes - at))], at);
      await file.datasync();
      if (this.#ahead && at + PIECE_BYTES < this.#segmentBytes) await this.#rest(this.#clock.now() - started);
    }
  }

  /** Leaves the disk to the saves for a while; ends early when the file is wanted. */
  async #rest(pieceMs: number): Promise<void> {
    if (this.#wanted) return;
    await new Promise<void>((resolve) => {
      const timer = this.#clock.after(pieceMs * REST_FACTOR, resolve);
      this.#wake = () => {
        timer.cancel();
        resolve();
      };
    });
    this.#wake = undefined;
  }
}

/** Removes what an earlier run left of its pipeline. */
export async function removeStalePipelineFiles(disk: Disk, folder: string): Promise<void> {
  for (const { name } of await disk.list(folder)) {
    if ((TEMPORARY_NAMES as readonly string[]).includes(name)) await disk.removeFile(joinPath(folder, name));
  }
}
