/** A bar on stderr where a person looks on; nothing elsewhere. */
import { Presets, SingleBar } from "cli-progress";
import type { World } from "./world.js";

export interface Progress {
  /** @param texts for the words in braces of the format */
  update(done: number, total: number, texts?: Readonly<Record<string, string>>): void;
  stop(): void;
}

/** @param format as `cli-progress` has it: `{bar} {percentage}% | {value} of {total}` */
export function startProgress({ errIsTerminal }: Pick<World, "errIsTerminal">, format: string): Progress {
  if (!errIsTerminal) return { update: () => undefined, stop: () => undefined };
  const options = { format, clearOnComplete: true, hideCursor: true, stream: process.stderr };
  const bar = new SingleBar(options, Presets.shades_classic);
  let isStarted = false;
  return {
    update: (done, total, texts = {}) => {
      if (isStarted) bar.setTotal(total);
      else bar.start(total, done, texts);
      isStarted = true;
      bar.update(done, texts);
    },
    stop: () => bar.stop(),
  };
}
