/** `db` as a map, for plays about tables. */
import type { BucketTable } from "../../base/bucket-table.js";
import { bytesFromLatin1, latin1FromBytes } from "../../base/text.js";

export class MemoryTable implements BucketTable {
  readonly #rows = new Map<string, Map<string, Uint8Array>>();

  get(bucket: string, key: Uint8Array): Uint8Array | undefined {
    return this.#bucket(bucket).get(latin1FromBytes(key));
  }

  put(bucket: string, key: Uint8Array, value: Uint8Array): void {
    this.#bucket(bucket).set(latin1FromBytes(key), value);
  }

  delete(bucket: string, key: Uint8Array): void {
    this.#bucket(bucket).delete(latin1FromBytes(key));
  }

  keys(bucket: string): Uint8Array[] {
    return [...this.#bucket(bucket).keys()].sort().map(bytesFromLatin1);
  }

  #bucket(name: string): Map<string, Uint8Array> {
    let bucket = this.#rows.get(name);
    if (bucket === undefined) this.#rows.set(name, (bucket = new Map()));
    return bucket;
  }
}
