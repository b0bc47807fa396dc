/**
 * IDs of proposals, so that the member that made one knows its entry again: two bytes of the member's ID, five of the time
 * in milliseconds, one of a counter that may run over into the time. Unique across restarts as long as fewer than 256
 * requests a millisecond are made on average (etcd's scheme).
 */
import type { RequestId } from "../proto/request-id.js";

export class RequestIds {
  /** The upper half of `high`. */
  readonly #prefix: number;
  #suffix: number;

  constructor(memberId: bigint, wallNowMs: number) {
    this.#prefix = Number(BigInt.asUintN(16, memberId)) << 16;
    this.#suffix = (Math.floor(wallNowMs) % 2 ** 40) * 256;
  }

  next(): RequestId {
    this.#suffix = (this.#suffix + 1) % 2 ** 48;
    return { high: this.#prefix | Math.floor(this.#suffix / 2 ** 32), low: this.#suffix | 0 };
  }
}

/** An ID as 8 bytes, big-endian. */
export function idBytes({ high, low }: RequestId): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setInt32(0, high);
  view.setInt32(4, low);
  return bytes;
}
