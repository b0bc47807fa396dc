/** A disk of byte arrays that can only be read: for campaigns that read the same log half a million times. */
import { diskErrorOf, type Disk, type DiskEntry, type DiskFile } from "../../platform/index.js";

const refuse = (what: string, path: string): Promise<never> => Promise.reject(diskErrorOf("EROFS", what, path));

export class BytesDisk implements Disk {
  /** Bytes by path. */
  readonly files: Map<string, Uint8Array>;

  constructor(files: Map<string, Uint8Array>) {
    this.files = files;
  }

  open(path: string): Promise<DiskFile> {
    const bytes = this.files.get(path);
    return bytes === undefined
      ? Promise.reject(diskErrorOf("ENOENT", "open", path))
      : Promise.resolve(new BytesFile(path, bytes));
  }

  list(path: string): Promise<DiskEntry[]> {
    const below = [...this.files.keys()].filter((name) => name.startsWith(`${path}/`)).sort();
    return Promise.resolve(below.map((name) => ({ name: name.slice(path.length + 1), kind: "file" })));
  }

  stat(path: string): Promise<{ kind: "file"; size: number } | undefined> {
    const bytes = this.files.get(path);
    return Promise.resolve(bytes === undefined ? undefined : { kind: "file", size: bytes.length });
  }

  makeFolder = (path: string): Promise<boolean> => refuse("mkdir", path);
  rename = (from: string): Promise<void> => refuse("rename", from);
  removeFile = (path: string): Promise<void> => refuse("unlink", path);
  removeTree = (path: string): Promise<void> => refuse("removal", path);
  syncFolder = (path: string): Promise<void> => refuse("fsync", path);
}

class BytesFile implements DiskFile {
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
    const piece = this.#bytes.subarray(offset, offset + into.length);
    into.set(piece);
    return piece.length;
  }

  write = (): Promise<void> => refuse("write", this.path);
  writeDurably = (): Promise<void> => refuse("write", this.path);
  writeDurablyNow = (): boolean => false;
  datasync = (): Promise<void> => refuse("fdatasync", this.path);
  sync = (): Promise<void> => refuse("fsync", this.path);
  truncate = (): Promise<void> => refuse("truncate", this.path);

  tryLock(): boolean {
    return true;
  }

  unlock(): void {
    // There are no locks here.
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
