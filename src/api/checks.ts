/**
 * Checks of requests before a member sees them: those of etcd's v3rpc layer, in its order, since a request with two mistakes must
 * be told the same one.
 */
import { parsePeerUrls } from "../base/peer-urls.js";
import { latin1FromBytes } from "../base/text.js";
import {
  type DeleteRangeRequest,
  type PutRequest,
  type RangeRequest,
  RangeRequest_SortOrder,
  RangeRequest_SortTarget,
  type RequestOp,
  type TxnRequest,
} from "../proto/generated/etcdserverpb/kv.js";
import { ApiError } from "./errors.js";

export function checkRange(request: RangeRequest): void {
  checkKey(request.key);
  // An order that there is none of leaves the answer unsorted; a target that there is none of ends etcd 3.5 itself.
  const { sortTarget } = request;
  if (sortTarget < RangeRequest_SortTarget.KEY || sortTarget > RangeRequest_SortTarget.VALUE) {
    throw new ApiError("API_INVALID_SORT", `sort target ${sortTarget}`);
  }
}

/** What etcd 3.7 refuses of a stream: an order or a filter would need all pairs before the first piece. */
export function checkRangeStream(request: RangeRequest): void {
  checkRange(request);
  const { sortOrder, sortTarget } = request;
  const isKeyOrder = sortTarget === RangeRequest_SortTarget.KEY && sortOrder === RangeRequest_SortOrder.ASCEND;
  if (sortOrder !== RangeRequest_SortOrder.NONE && !isKeyOrder) {
    throw new ApiError("API_STREAM_SORTED", `sort order ${sortOrder} by target ${sortTarget}`);
  }
  const bounds = [request.minModRevision, request.maxModRevision, request.minCreateRevision, request.maxCreateRevision];
  if (bounds.some((bound) => bound !== 0)) throw new ApiError("API_STREAM_FILTERED", "a bound on revisions is given");
}

export function checkPut(request: PutRequest): void {
  checkKey(request.key);
  if (request.ignoreValue && request.value.length > 0) {
    throw new ApiError("API_VALUE_PROVIDED", "ignore_value is set, and a value");
  }
  if (request.ignoreLease && request.lease !== 0n) {
    throw new ApiError("API_LEASE_PROVIDED", "ignore_lease is set, and a lease");
  }
}

export function checkDeleteRange(request: DeleteRangeRequest): void {
  checkKey(request.key);
}

/** @param operationsMax in each list; a nested transaction has what its outer one leaves */
export function checkTxn(request: TxnRequest, operationsMax: number): void {
  checkOperations(request, operationsMax);
  collectWrites(request.success);
  collectWrites(request.failure);
}

/**
 * The URLs of a member that is added, in etcd's order, for its ID is computed from them.
 *
 * @throws ApiError `API_BAD_URLS`
 */
export function checkPeerUrls(texts: readonly string[]): readonly string[] {
  const parsed = parsePeerUrls(texts);
  if ("fault" in parsed) throw new ApiError("API_BAD_URLS", parsed.fault);
  return parsed.urls;
}

/**
 * New URLs of a member, in the order given, as etcd keeps them. etcd 3.5 checks nothing here, and a URL that is none ends every
 * member of its cluster.
 *
 * @throws ApiError `API_BAD_URLS`
 */
export function checkUpdatedUrls(texts: readonly string[]): readonly string[] {
  checkPeerUrls(texts);
  return texts.map((text) => text.trim());
}

function checkKey(key: Uint8Array): void {
  if (key.length === 0) throw new ApiError("API_EMPTY_KEY", "the key is empty");
}

function checkOperations(request: TxnRequest, operationsMax: number): void {
  const count = Math.max(request.compare.length, request.success.length, request.failure.length);
  if (count > operationsMax) {
    throw new ApiError("API_TOO_MANY_OPERATIONS", `${count} operations, ${operationsMax} are allowed`);
  }
  for (const comparison of request.compare) checkKey(comparison.key);
  for (const operation of request.success) checkOperation(operation, operationsMax - count);
  for (const operation of request.failure) checkOperation(operation, operationsMax - count);
}

function checkOperation(operation: RequestOp, nestedMax: number): void {
  const { request } = operation;
  switch (request?.$case) {
    case "requestRange":
      checkRange(request.value);
      return;
    case "requestPut":
      checkPut(request.value);
      return;
    case "requestDeleteRange":
      checkDeleteRange(request.value);
      return;
    case "requestTxn":
      checkOperations(request.value, nestedMax);
      return;
    case undefined:
      throw new ApiError("KEY_NOT_FOUND", "an operation with nothing in it");
  }
}

interface Writes {
  readonly puts: Set<string>;
  readonly deletes: KeyRanges;
}

/**
 * Refuses a list of operations that would write a key twice: two puts, or a put of a key that a delete covers. Two deletes may
 * overlap; the two branches of a nested transaction may put the same key, for only one of them runs.
 *
 * The order is etcd's: deletes of this level, then nested transactions one by one, then puts of this level. So a nested put is
 * not held against a delete in a nested transaction after it.
 */
function collectWrites(operations: readonly RequestOp[]): Writes {
  const deletes = new KeyRanges();
  for (const { request } of operations) {
    if (request?.$case === "requestDeleteRange") {
      deletes.add(latin1FromBytes(request.value.key), latin1FromBytes(request.value.rangeEnd));
    }
  }
  const puts = new Set<string>();
  for (const { request } of operations) {
    if (request?.$case !== "requestTxn") continue;
    const then = collectWrites(request.value.success);
    const otherwise = collectWrites(request.value.failure);
    for (const key of then.puts) {
      if (puts.has(key) || deletes.covers(key)) throw duplicate(key);
    }
    for (const key of otherwise.puts) {
      if (puts.has(key) || deletes.covers(key)) throw duplicate(key);
    }
    for (const key of then.puts) puts.add(key);
    for (const key of otherwise.puts) puts.add(key);
    deletes.addAll(then.deletes);
    deletes.addAll(otherwise.deletes);
  }
  for (const { request } of operations) {
    if (request?.$case !== "requestPut") continue;
    const key = latin1FromBytes(request.value.key);
    if (puts.has(key) || deletes.covers(key)) throw duplicate(key);
    puts.add(key);
  }
  return { puts, deletes };
}

function duplicate(key: string): ApiError {
  return new ApiError("API_DUPLICATE_KEY", `${JSON.stringify(key)} would be written twice`);
}

/**
 * A set of half-open ranges of keys, kept disjoint and in order.
 *
 * A range whose end is not after its beginning holds nothing. So a delete "from the key on" (its end is one zero byte) covers no
 * put: etcd's check does not know that end either, and whoever relies on it must not be refused here.
 */
class KeyRanges {
  readonly #begins: string[] = [];
  readonly #ends: string[] = [];

  /** An empty `end` stands for the one key `begin`. */
  add(begin: string, end: string): void {
    this.#insert(begin, end === "" ? `${begin}\0` : end);
  }

  addAll(other: KeyRanges): void {
    for (let i = 0; i < other.#begins.length; i++) this.#insert(other.#begins[i]!, other.#ends[i]!);
  }

  covers(key: string): boolean {
    const at = this.#after(key) - 1;
    return at >= 0 && key < this.#ends[at]!;
  }

  #insert(begin: string, end: string): void {
    if (end <= begin) return;
    let low = this.#after(begin);
    if (low > 0 && this.#ends[low - 1]! >= begin) low--;
    let high = low;
    let first = begin;
    let last = end;
    for (; high < this.#begins.length && this.#begins[high]! <= last; high++) {
      if (this.#begins[high]! < first) first = this.#begins[high]!;
      if (this.#ends[high]! > last) last = this.#ends[high]!;
    }
    this.#begins.splice(low, high - low, first);
    this.#ends.splice(low, high - low, last);
  }

  /** How many ranges begin at `key` or before it. */
  #after(key: string): number {
    let low = 0;
    let high = this.#begins.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#begins[middle]! <= key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
