/**
 * The load generator in a process of its own, so that it neither waits for who asks nor makes them wait. One process serves for many
 * runs: its code is compiled by the first.
 */
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { LoadAnswer } from "./process.js";
import type { LoadJob, LoadResult } from "./run.js";

export class LoadGenerator {
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;

  constructor() {
    this.#child = fork(join(import.meta.dirname, "process.js"), { serialization: "advanced" });
    this.#exited = once(this.#child, "exit");
  }

  /** Runs one job. Not two at a time. @throws what `runLoad` throws */
  async run(job: LoadJob): Promise<LoadResult> {
    this.#child.send(job);
    const answered = once(this.#child, "message") as Promise<[LoadAnswer]>;
    const first = await Promise.race([answered, this.#exited.then(() => undefined)]);
    if (first === undefined) throw new Error("the load generator's process ended");
    const [answer] = first;
    if (answer.kind === "failure") throw new Error(`load on ${job.address}: ${answer.message}`);
    return answer.result;
  }

  async stop(): Promise<void> {
    if (this.#child.connected) this.#child.disconnect();
    await this.#exited;
  }
}
