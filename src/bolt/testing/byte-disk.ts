/** A disk that holds one file as bytes, for reading only: what a campaign of 200,000 damaged files needs. */
import { DiskError, type Disk, type DiskEntry, type DiskFile } from "../../platform/disk.js";

export class ByteDisk implements Disk {
  /** The file. May be changed at any time. */
  bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  open(path: string): Promise<DiskFile> {
    return Promise.resolve(new ByteFile(path, this.bytes));
  }

  stat(): Promise<{ readonly kind: DiskEntry["kind"]; readonly size: number }> {
    return Promise.resolve({ kind: "file", size: this.bytes.length });
  }

  list(path: string): Promise<DiskEntry[]> {
    return refuse(path);
  }

  makeFolder(path: string): Promise<boolean> {
    return refuse(path);
  }

  rename(from: string): Promise<void> {
    return refuse(from);
  }

  removeFile(path: string): Promise<void> {
    return refuse(path);
  }

  removeTree(path: string): Promise<void> {
    return refuse(path);
  }

  syncFolder(path: string): Promise<void> {
    return refuse(path);
  }
}

function refuse(path: string): Promise<never> {
  return Promise.reject(new DiskError("DISK_READ_ONLY", path, "this disk is for reading"));
}

class ByteFile implements DiskFile {
  readonly path: string;
  readonly #bytes: Uint8Array;

  constructor(path: string, bytes: Uint8Array) {
    this.path = path;
    this.#bytes = bytes;
  }

  size(): Promise<number> {
    return Promise.resolve(this.#bytes.length);
  }

  read(into: Uint8Array, offset: number): Promise<number> {
    return Promise.resolve(this.readNow(into, offset));
  }

  readNow(into: Uint8Array, offset: number): number {
    const found = this.#bytes.subarray(Math.min(offset, this.#bytes.length), offset + into.length);
    into.set(found);
    return found.length;
  }

  write(): Promise<void> {
    return refuse(this.path);
  }

  writeDurably(): Promise<void> {
    return refuse(this.path);
  }

  writeDurablyNow(): boolean {
    return false;
  }

  datasync(): Promise<void> {
    return refuse(this.path);
  }

  sync(): Promise<void> {
    return refuse(this.path);
  }

  truncate(): Promise<void> {
    return refuse(this.path);
  }

  tryLock(): boolean {
    return true;
  }

  unlock(): void {
    // nothing holds it
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
