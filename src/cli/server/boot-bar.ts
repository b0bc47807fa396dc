/** A long boot shows how far it is, on a terminal. */
import { SingleBar } from "cli-progress";
import type { BootProgress } from "../../server/index.js";

const TITLES = { log: "Reading the log", keys: "Restoring keys" } as const;

export class BootBar {
  readonly #stream: NodeJS.WriteStream;
  #bar: SingleBar | undefined;
  #phase: BootProgress["phase"] | undefined;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  show({ phase, done, total }: BootProgress): void {
    if (!this.#stream.isTTY) return;
    if (phase !== this.#phase) {
      this.close();
      this.#phase = phase;
      const format =
        total === undefined ? `${TITLES[phase]}: {value}` : `${TITLES[phase]} {bar} {percentage}% {eta_formatted}`;
      this.#bar = new SingleBar({ format, stream: this.#stream, clearOnComplete: true, hideCursor: true });
      this.#bar.start(total ?? 0, done);
    }
    this.#bar?.update(done);
  }

  close(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }
}
