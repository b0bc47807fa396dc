/**
 * IDs of proposals, so that the member that made one knows its entry again: two bytes of the member's ID, five of the time
 * in milliseconds, one of a counter that may run over into the time. Unique across restarts as long as fewer than 256
 * requests a millisecond are made on average (etcd's scheme).
 */
export class RequestIds {
  readonly #prefix: bigint;
  #suffix: number;

  constructor(memberId: bigint, wallNowMs: number) {
    this.#prefix = BigInt.asUintN(16, memberId) << 48n;
    this.#suffix = (Math.floor(wallNowMs) % 2 ** 40) * 256;
  }

  next(): bigint {
    this.#suffix = (this.#suffix + 1) % 2 ** 48;
    return this.#prefix | BigInt(this.#suffix);
  }
}

/** An ID as 8 bytes, big-endian. */
export function idBytes(id: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, id);
  return bytes;
}
