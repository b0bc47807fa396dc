/** Runs seeds in a process of its own, one after the other, as the parent asks for them. */
import { describeError } from "../../src/base/errors.js";
import { runSeed, type SeedReport } from "./run-seed.js";
import type { SwarmOptions } from "./swarm.js";

export interface SeedOrder {
  readonly seed: number;
  readonly options: SwarmOptions;
  /** Run it again, and compare. */
  readonly twice: boolean;
}

/** What goes back: the report without what is only of use here. */
export type SeedResult = Omit<SeedReport, "history" | "plan"> & { readonly processorMs: number };

/** A promise that nobody looked after while a seed ran: a broken rule of the server. */
const unhandled: unknown[] = [];
process.on("unhandledRejection", (reason) => unhandled.push(reason));

async function carryOut({ seed, options, twice }: SeedOrder): Promise<SeedResult> {
  const before = process.cpuUsage();
  unhandled.length = 0;
  const { history: _history, plan: _plan, ...first } = await runSeed(seed, options);
  const { user, system } = process.cpuUsage(before);
  const result = { ...first, processorMs: (user + system) / 1000 };
  if (result.violation !== undefined) return result;
  if (unhandled.length > 0) {
    return { ...result, violation: { law: "unhandled-rejection", text: describeError(unhandled[0]), log: "" } };
  }
  if (!twice) return result;
  const { traceHash } = await runSeed(seed, options);
  if (traceHash === result.traceHash) return result;
  const text = `the trace was ${result.traceHash}, the second time ${traceHash}`;
  return { ...result, violation: { law: "determinism", text, log: "" } };
}

process.on("message", (order: SeedOrder) => {
  void carryOut(order).then((result) => process.send!(result));
});
