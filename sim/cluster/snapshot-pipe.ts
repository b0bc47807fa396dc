/**
 * A database on its way from one member to another: what the sender put in and the receiver did not take out yet.
 *
 * It ends in one of two ways: whole, and then the receiver sees the end; or broken, and then the receiver's next read fails, as
 * that of a connection that was reset.
 */
import { NetworkError } from "../../src/platform/index.js";

export class SnapshotPipe implements AsyncIterable<Uint8Array> {
  readonly from: string;
  readonly to: string;
  /** Called once, when the stream breaks before the receiver has kept it. */
  onBroken: () => void = () => undefined;
  readonly #pieces: Uint8Array[] = [];
  #ended = false;
  #finished = false;
  #failure: NetworkError | undefined;
  #wake: (() => void) | undefined;

  /** @param from,to names of the machines */
  constructor(from: string, to: string) {
    this.from = from;
    this.to = to;
  }

  get broken(): boolean {
    return this.#failure !== undefined;
  }

  put(piece: Uint8Array): void {
    if (this.broken) return;
    this.#pieces.push(piece);
    this.#wake?.();
  }

  /** All of it was put in. */
  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** The receiver has kept it: it cannot break any more. */
  finish(): void {
    this.#finished = true;
  }

  break(why: string): void {
    if (this.broken || this.#finished) return;
    this.#failure = new NetworkError("NETWORK_RESET", `the stream of a snapshot broke off: ${why}`);
    this.#wake?.();
    this.onBroken();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      const piece = this.#pieces.shift();
      if (piece !== undefined) yield piece;
      else if (this.#ended) return;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}
