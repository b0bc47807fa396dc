/**
 * The ID of a request, by which the member that made it knows its entry again: 64 bits, as two halves of 32.
 *
 * A bigint is an object, and made anew at each step on the way from its bytes to its place in a table; every write has an ID.
 */
export interface RequestId {
  /** Bits 32 to 63, as a signed integer: such fit into a value, where others would be objects of their own. */
  readonly high: number;
  /** Bits 0 to 31, alike. */
  readonly low: number;
}

export function requestIdOf(id: bigint): RequestId {
  return { high: Number(BigInt.asIntN(32, id >> 32n)), low: Number(BigInt.asIntN(32, id)) };
}

/** As an unsigned integer. */
export function bigintOf({ high, low }: RequestId): bigint {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}
