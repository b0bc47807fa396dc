/**
 * etcd's requests on the store, as etcd 3.5 applies them. The API room has checked their form (keys not empty, no overlaps
 * inside a transaction, the number of operations) before they come here.
 *
 * Laws:
 * - a request that fails changes nothing: what can fail is checked before the first change;
 * - compares and checks of a transaction, nested ones included, see the store as it was before the transaction;
 *   its operations see what the operations before them did;
 * - answers carry a header with the revision only; a nested transaction's header stays empty, as in etcd.
 */
import { compareBytes, EMPTY_BYTES } from "../base/bytes.js";
import { InvariantError } from "../base/errors.js";
import { goSort } from "../base/go-sort.js";
import { latin1FromBytes } from "../base/text.js";
import {
  Compare_CompareResult,
  Compare_CompareTarget,
  RangeRequest_SortOrder,
  RangeRequest_SortTarget,
  type Compare,
  type CompactionRequest,
  type CompactionResponse,
  type DeleteRangeRequest,
  type DeleteRangeResponse,
  type PutRequest,
  type PutResponse,
  type RangeRequest,
  type RangeResponse,
  type RequestOp,
  type ResponseOp,
  type TxnRequest,
  type TxnResponse,
} from "../proto/generated/etcdserverpb/kv.js";
import type { ResponseHeader } from "../proto/generated/etcdserverpb/header.js";
import type { KeyValue } from "../proto/generated/mvccpb/kv.js";
import { compactedError, futureError, MvccError } from "./errors.js";
import type { KeySpan } from "./key-index.js";
import type { RangeOptions, RangeResult, ReadView, Store, WriteTxn } from "./store.js";

/** The span that a request's key and range end mean: `\0` is "from the key on", nothing is the one key. */
export function spanOf(key: Uint8Array, rangeEnd: Uint8Array): KeySpan {
  if (rangeEnd.length === 0) return { key: latin1FromBytes(key), end: undefined };
  const fromKey = rangeEnd.length === 1 && rangeEnd[0] === 0;
  return { key: latin1FromBytes(key), end: fromKey ? "" : latin1FromBytes(rangeEnd) };
}

/** @throws MvccError `MVCC_COMPACTED`, `MVCC_FUTURE_REVISION` */
export function applyRange(view: ReadView, request: RangeRequest): RangeResponse {
  return rangeResponse(view.range(spanOf(request.key, request.rangeEnd), rangeOptions(request)), request);
}

/**
 * The same answer, as of the moment of the call, made in slices that give the loop back: for ranges outside of transactions,
 * which may be large.
 *
 * @param options `uncounted`: the answer's `count` is not wanted
 * @throws MvccError as `applyRange`; as a rejection
 */
export async function applyRangeInSlices(
  store: Store,
  request: RangeRequest,
  { uncounted = false }: Pick<RangeOptions, "uncounted"> = {},
): Promise<RangeResponse> {
  const options = { ...rangeOptions(request), uncounted };
  const result = await store.rangeInSlices(spanOf(request.key, request.rangeEnd), options);
  return rangeResponse(result, request);
}

function rangeOptions(request: RangeRequest): RangeOptions {
  return {
    revision: request.revision,
    // A sort or a filter needs all pairs; else one more than the limit tells whether there are more.
    limit: isSortedOrFiltered(request) || request.limit <= 0 ? 0 : request.limit + 1,
    countOnly: request.countOnly,
  };
}

function rangeResponse(result: RangeResult, request: RangeRequest): RangeResponse {
  let kvs = sorted(filtered(result.kvs, request), request);
  const more = request.limit > 0 && kvs.length > request.limit;
  if (more) kvs = kvs.slice(0, request.limit);
  if (request.keysOnly) for (const kv of kvs) kv.value = EMPTY_BYTES;
  return { header: headerOf(result.revision), kvs, more, count: result.count };
}

/** @throws MvccError `LEASE_NOT_FOUND`, `KEY_NOT_FOUND` */
export function applyPut(store: Store, request: PutRequest): PutResponse {
  checkPut(store, request);
  if (!request.prevKv && !request.ignoreValue && !request.ignoreLease) {
    return { header: headerOf(store.putAlone(request.key, request.value, request.lease)), prevKv: undefined };
  }
  return inTransaction(store, (txn) => put(txn, request));
}

export function applyDeleteRange(store: Store, request: DeleteRangeRequest): DeleteRangeResponse {
  return inTransaction(store, (txn) => deleteRange(txn, request));
}

/**
 * @throws MvccError `LEASE_NOT_FOUND`, `KEY_NOT_FOUND`, `MVCC_COMPACTED`, `MVCC_FUTURE_REVISION`: nothing was changed
 */
export function applyTxn(store: Store, request: TxnRequest): TxnResponse {
  const plan = planOf(store, request);
  const writes = !isReadOnlyTxn(request);
  // Every put is checked before any range, so that of several mistakes the one is told that etcd tells.
  if (writes) checkPuts(store, plan);
  forEachOperation(plan, (operation) => checkRangeOperation(store, operation));
  if (!writes) return responseOf(plan, store, undefined, headerOf(store.revision));
  return inTransaction(store, (txn) => {
    const response = responseOf(plan, txn, txn, undefined);
    response.header = headerOf(txn.revision + (txn.changes.length > 0 ? 1 : 0));
    return response;
  });
}

/**
 * @returns the answer, and a promise for the end of the deletions, for requests that wait for them (`physical`)
 * @throws MvccError `MVCC_COMPACTED`, `MVCC_FUTURE_REVISION`
 */
export function applyCompaction(
  store: Store,
  request: CompactionRequest,
): { readonly response: CompactionResponse; readonly finished: Promise<void> } {
  const { finished } = store.compact(request.revision);
  return { response: { header: headerOf(store.revision) }, finished };
}

/** Whether a transaction is served as a read: top-level ranges only. A nested transaction counts as a write, as in etcd. */
export function isReadOnlyTxn(request: TxnRequest): boolean {
  const isRange = (operation: RequestOp): boolean => operation.request?.$case === "requestRange";
  return request.success.every(isRange) && request.failure.every(isRange);
}

function headerOf(revision: number): ResponseHeader {
  return { clusterId: 0n, memberId: 0n, revision, raftTerm: 0 };
}

/**
 * A failure after the first change leaves half a transaction behind, and the member stops. A refusal must have come before: here
 * it is a bug of ours. What the disk or `db` threw is told as it is.
 */
function inTransaction<Answer>(store: Store, work: (txn: WriteTxn) => Answer): Answer {
  const txn = store.write();
  let answer: Answer;
  try {
    answer = work(txn);
  } catch (error) {
    if (!(error instanceof MvccError) || error.code === "MVCC_CORRUPT") throw error;
    throw new InvariantError("a write transaction was refused after its checks had passed", { cause: error });
  }
  txn.end();
  return answer;
}

function put(txn: WriteTxn, request: PutRequest): PutResponse {
  let { value, lease } = request;
  let previous: KeyValue | undefined;
  if (request.ignoreValue || request.ignoreLease || request.prevKv) {
    previous = txn.range({ key: latin1FromBytes(request.key), end: undefined }).kvs[0];
    if (request.ignoreValue) value = previous!.value;
    if (request.ignoreLease) lease = previous!.lease;
  }
  const revision = txn.put(request.key, value, lease);
  return { header: headerOf(revision), prevKv: request.prevKv ? previous : undefined };
}

function deleteRange(txn: WriteTxn, request: DeleteRangeRequest): DeleteRangeResponse {
  const span = spanOf(request.key, request.rangeEnd);
  const prevKvs = request.prevKv ? txn.range(span).kvs : [];
  const { deleted, revision } = txn.deleteRange(span);
  return { header: headerOf(revision), deleted, prevKvs };
}

function checkPut(store: Store, request: PutRequest): void {
  // The order of the two checks decides which mistake is told; etcd's plain put looks at the lease first.
  if (request.lease !== 0n) checkLease(store, request.lease);
  if (request.ignoreValue || request.ignoreLease) checkPresent(store, request.key);
}

/**
 * The puts of a transaction, as etcd checks them: against the store as it is now. And one thing more: a put that keeps the value
 * or lease of a key that an operation before it deletes. etcd lets that through where the deletion hides in a nested
 * transaction, and dies of it, again at each start, since the entry stays in the log.
 */
function checkPuts(store: Store, plan: Plan): void {
  const before: RequestOp[] = [];
  forEachOperation(plan, (operation) => {
    if (operation.request?.$case === "requestPut") {
      const request = operation.request.value;
      if (request.ignoreValue || request.ignoreLease) {
        checkPresent(store, request.key);
        if (isDeletedBy(before, latin1FromBytes(request.key))) throw keyNotFound(request.key);
      }
      if (request.lease !== 0n) checkLease(store, request.lease);
    }
    before.push(operation);
  });
}

/** Whether a key is gone after these operations, the last one that touches it counting. */
function isDeletedBy(operations: readonly RequestOp[], key: string): boolean {
  const last = operations.findLast(({ request }) => {
    if (request?.$case === "requestPut") return latin1FromBytes(request.value.key) === key;
    return request?.$case === "requestDeleteRange" && isIn(spanOf(request.value.key, request.value.rangeEnd), key);
  });
  return last?.request?.$case === "requestDeleteRange";
}

function isIn({ key: low, end }: KeySpan, key: string): boolean {
  if (end === undefined) return key === low;
  return key >= low && (end === "" || key < end);
}

function checkRangeOperation(view: ReadView, operation: RequestOp): void {
  if (operation.request?.$case !== "requestRange") return;
  const { revision } = operation.request.value;
  if (revision === 0) return;
  if (revision > view.revision) throw futureError(revision, view.revision);
  if (revision < view.compactRevision) throw compactedError(revision, view.compactRevision);
}

function checkPresent(view: ReadView, key: Uint8Array): void {
  const { count } = view.range({ key: latin1FromBytes(key), end: undefined }, { countOnly: true });
  if (count === 0) throw keyNotFound(key);
}

function keyNotFound(key: Uint8Array): MvccError {
  const name = JSON.stringify(latin1FromBytes(key));
  return new MvccError("KEY_NOT_FOUND", `the put keeps the value or lease of the key ${name}, which is not there`);
}

function checkLease(store: Store, lease: bigint): void {
  if (store.hasLease(lease)) return;
  throw new MvccError(
    "LEASE_NOT_FOUND",
    `the put names lease ${BigInt.asUintN(64, lease).toString(16)}, which does not exist`,
  );
}

/** A transaction with its compares decided: the operations to run, each nested transaction with its own plan. */
interface Plan {
  readonly succeeded: boolean;
  readonly steps: readonly Step[];
}

interface Step {
  readonly operation: RequestOp;
  /** Of a nested transaction. */
  readonly plan: Plan | undefined;
}

function planOf(store: Store, request: TxnRequest): Plan {
  const succeeded = request.compare.every((compare) => holds(store, compare));
  const operations = succeeded ? request.success : request.failure;
  const steps = operations.map((operation) => {
    const nested = operation.request?.$case === "requestTxn" ? planOf(store, operation.request.value) : undefined;
    return { operation, plan: nested };
  });
  return { succeeded, steps };
}

/** Calls for each operation but the nested transactions themselves, in the order in which they will run. */
function forEachOperation(plan: Plan, visit: (operation: RequestOp) => void): void {
  for (const step of plan.steps) {
    if (step.plan !== undefined) forEachOperation(step.plan, visit);
    else visit(step.operation);
  }
}

/** Runs a plan. `txn` is undefined for a transaction that only reads. */
function responseOf(
  plan: Plan,
  view: ReadView,
  txn: WriteTxn | undefined,
  header: ResponseHeader | undefined,
): TxnResponse {
  const responses = plan.steps.map((step) => ({ response: run(step, view, txn) }));
  return { header, succeeded: plan.succeeded, responses };
}

function run(step: Step, view: ReadView, txn: WriteTxn | undefined): ResponseOp["response"] {
  const { request } = step.operation;
  switch (request?.$case) {
    case undefined:
      return undefined;
    case "requestRange":
      return { $case: "responseRange", value: applyRange(view, request.value) };
    case "requestPut":
      return { $case: "responsePut", value: put(txn!, request.value) };
    case "requestDeleteRange":
      return { $case: "responseDeleteRange", value: deleteRange(txn!, request.value) };
    case "requestTxn":
      return { $case: "responseTxn", value: responseOf(step.plan!, view, txn, headerOf(0)) };
  }
}

/** Whether a compare holds for every key of its span; a span without keys compares as a pair of zeros, values never hold. */
function holds(store: Store, compare: Compare): boolean {
  if (compare.rangeEnd.length === 0 && isOfNumbers(compare.target)) {
    return holdsFor(compare, { ...NO_PAIR, ...store.stampOf(compare.key) });
  }
  const { kvs } = store.range(spanOf(compare.key, compare.rangeEnd));
  if (kvs.length > 0) return kvs.every((kv) => holdsFor(compare, kv));
  return compare.target !== Compare_CompareTarget.VALUE && holdsFor(compare, NO_PAIR);
}

/** Whether a target is one that the index knows. */
function isOfNumbers(target: Compare_CompareTarget): boolean {
  return (
    target === Compare_CompareTarget.CREATE ||
    target === Compare_CompareTarget.MOD ||
    target === Compare_CompareTarget.VERSION
  );
}

const NO_PAIR: KeyValue = {
  key: EMPTY_BYTES,
  createRevision: 0,
  modRevision: 0,
  version: 0,
  value: EMPTY_BYTES,
  lease: 0n,
};

function holdsFor(compare: Compare, kv: KeyValue): boolean {
  const order = orderOf(compare, kv);
  switch (compare.result) {
    case Compare_CompareResult.EQUAL:
      return order === 0;
    case Compare_CompareResult.NOT_EQUAL:
      return order !== 0;
    case Compare_CompareResult.GREATER:
      return order > 0;
    case Compare_CompareResult.LESS:
      return order < 0;
    default:
      return true; // a result that etcd does not know holds, too
  }
}

/** How the pair stands to what the compare names. An operand of another kind than the target counts as zero or empty. */
function orderOf(compare: Compare, kv: KeyValue): number {
  const operand = compare.targetUnion;
  switch (compare.target) {
    case Compare_CompareTarget.VALUE:
      return compareBytes(kv.value, operand?.$case === "value" ? operand.value : EMPTY_BYTES);
    case Compare_CompareTarget.CREATE:
      return kv.createRevision - (operand?.$case === "createRevision" ? operand.value : 0);
    case Compare_CompareTarget.MOD:
      return kv.modRevision - (operand?.$case === "modRevision" ? operand.value : 0);
    case Compare_CompareTarget.VERSION:
      return kv.version - (operand?.$case === "version" ? operand.value : 0);
    case Compare_CompareTarget.LEASE: {
      const lease = operand?.$case === "lease" ? operand.value : 0n;
      return kv.lease < lease ? -1 : kv.lease > lease ? 1 : 0;
    }
    default:
      return 0;
  }
}

function isSortedOrFiltered(request: RangeRequest): boolean {
  return (
    request.sortOrder !== RangeRequest_SortOrder.NONE ||
    request.minModRevision !== 0 ||
    request.maxModRevision !== 0 ||
    request.minCreateRevision !== 0 ||
    request.maxCreateRevision !== 0
  );
}

function filtered(kvs: KeyValue[], request: RangeRequest): KeyValue[] {
  const { minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = request;
  if (minModRevision === 0 && maxModRevision === 0 && minCreateRevision === 0 && maxCreateRevision === 0) return kvs;
  return kvs.filter(
    (kv) =>
      (maxModRevision === 0 || kv.modRevision <= maxModRevision) &&
      (minModRevision === 0 || kv.modRevision >= minModRevision) &&
      (maxCreateRevision === 0 || kv.createRevision <= maxCreateRevision) &&
      (minCreateRevision === 0 || kv.createRevision >= minCreateRevision),
  );
}

/**
 * Sorts as asked. A target without an order means ascending, after the limit was applied to the order of keys, as in etcd.
 * Pairs that compare as equal end up where etcd's sort leaves them.
 */
function sorted(kvs: KeyValue[], request: RangeRequest): KeyValue[] {
  const { sortOrder, sortTarget } = request;
  if (sortOrder === RangeRequest_SortOrder.NONE && sortTarget === RangeRequest_SortTarget.KEY) return kvs;
  const less = LESS_BY[sortTarget];
  const unknownOrder = sortOrder < RangeRequest_SortOrder.NONE || sortOrder > RangeRequest_SortOrder.DESCEND;
  if (less === undefined || unknownOrder) return kvs;
  return goSort(kvs, sortOrder === RangeRequest_SortOrder.DESCEND ? (a, b) => less(b, a) : less);
}

const LESS_BY: Readonly<Record<number, (a: KeyValue, b: KeyValue) => boolean>> = {
  [RangeRequest_SortTarget.KEY]: (a, b) => compareBytes(a.key, b.key) < 0,
  [RangeRequest_SortTarget.VERSION]: (a, b) => a.version < b.version,
  [RangeRequest_SortTarget.CREATE]: (a, b) => a.createRevision < b.createRevision,
  [RangeRequest_SortTarget.MOD]: (a, b) => a.modRevision < b.modRevision,
  [RangeRequest_SortTarget.VALUE]: (a, b) => compareBytes(a.value, b.value) < 0,
};
