/**
 * How much a request adds to `db`, and whether it still fits. The estimate is etcd's, so that the same cluster refuses at the
 * same size whoever leads it.
 */
import type { PutRequest, TxnRequest, RequestOp } from "../proto/generated/etcdserverpb/kv.js";

/** What a key's metadata is taken to cost, beside key and value. */
const KEY_OVERHEAD_BYTES = 256;

export function costOfPut(request: PutRequest): number {
  return KEY_OVERHEAD_BYTES + request.key.length + request.value.length;
}

/** What a lease is taken to cost. */
export const COST_OF_LEASE = 64;

/**
 * The dearer of the two branches; 0 for a transaction that puts nothing. A nested transaction is taken to cost nothing, as etcd 3.5 has
 * it: under the NOSPACE alarm it is applied, on every member or on none.
 */
export function costOfTxn(request: TxnRequest): number {
  return Math.max(costOfOperations(request.success), costOfOperations(request.failure));
}

function costOfOperations(operations: readonly RequestOp[]): number {
  let cost = 0;
  for (const { request } of operations) if (request?.$case === "requestPut") cost += costOfPut(request.value);
  return cost;
}

/** Whether a request of this cost fits; one that costs nothing always does. */
export function fitsQuota(cost: number, dbBytes: number, quotaBytes: number | undefined): boolean {
  return cost === 0 || quotaBytes === undefined || dbBytes + cost < quotaBytes;
}
