/**
 * `db` as the replicated tables (membership, alarms, …) see it: named buckets of keys and values. Writes belong to the
 * transaction of the entry that is being applied.
 */
export interface BucketTable {
  get(bucket: string, key: Uint8Array): Uint8Array | undefined;
  put(bucket: string, key: Uint8Array, value: Uint8Array): void;
  delete(bucket: string, key: Uint8Array): void;
  /** Every key of a bucket, in order. */
  keys(bucket: string): Uint8Array[];
}
