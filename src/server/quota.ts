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

/** The dearer of the two branches; 0 for a transaction that puts nothing. Nested transactions are counted in full. */
export function costOfTxn(request: TxnRequest): number {
  return Math.max(costOfOperations(request.success), costOfOperations(request.failure));
}

function costOfOperations(operations: readonly RequestOp[]): number {
  let cost = 0;
  for (const { request } of operations) {
    if (request?.$case === "requestPut") cost += costOfPut(request.value);
    else if (request?.$case === "requestTxn") cost += costOfTxn(request.value);
  }
  return cost;
}

/** Whether a request of this cost fits; one that costs nothing always does. */
export function fitsQuota(cost: number, dbBytes: number, quotaBytes: number | undefined): boolean {
  return cost === 0 || quotaBytes === undefined || dbBytes + cost < quotaBytes;
}
