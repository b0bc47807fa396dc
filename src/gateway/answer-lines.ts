/**
 * The lines of an answer that comes in pieces: whoever makes them puts them in, the connection takes them out when its client can.
 *
 * Law: what waits is one mark's worth and the lines of one more message; who puts in is told to stop, and told when to go on.
 */

/** Bytes that may wait, unless more are asked for: as many as a stream of gRPC's has. */
const WAITING_BYTES_MAX = 64 * 1024;

export class AnswerLines implements AsyncIterable<Uint8Array> {
  readonly #lines: Uint8Array[] = [];
  #waitingBytes = 0;
  #markBytes = WAITING_BYTES_MAX;
  #isEnded = false;
  #isLeft = false;
  #wake: (() => void) | undefined;
  /** The lines that wait were taken. */
  onDrain: () => void = () => undefined;
  /** Nobody takes lines any more. */
  onLeave: () => void = () => undefined;

  /** @returns false: wait for `onDrain` */
  put(line: string): boolean {
    if (this.#isEnded || this.#isLeft) return false;
    const bytes = Buffer.from(line);
    this.#lines.push(bytes);
    this.#waitingBytes += bytes.length;
    this.#wakeUp();
    return !this.isFull;
  }

  get isFull(): boolean {
    return this.#waitingBytes >= this.#markBytes;
  }

  /** Lets more wait, as `MessageStream.raiseQueueMark` does. */
  raiseMark(bytes: number): void {
    this.#markBytes = Math.max(bytes, WAITING_BYTES_MAX);
  }

  end(): void {
    this.#isEnded = true;
    this.#wakeUp();
  }

  #wakeUp(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        if (this.#lines.length > 0) {
          const wasFull = this.isFull;
          const lines = Buffer.concat(this.#lines.splice(0));
          this.#waitingBytes = 0;
          yield lines;
          if (wasFull) this.onDrain();
        } else if (this.#isEnded) return;
        else await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      this.#isLeft = true;
      this.onLeave();
    }
  }
}
