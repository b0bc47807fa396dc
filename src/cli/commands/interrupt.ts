/** Work that goes on until somebody interrupts it. */
import { CommandFailure, ExitCode } from "./failure.js";
import type { World } from "./world.js";

/**
 * Does the work, and aborts its signal when the process is asked to end. The reason is the failure that a command ends with which was
 * interrupted before it was done, in etcdctl's words.
 */
export async function untilInterrupted<Value>(
  world: World,
  work: (signal: AbortSignal) => Promise<Value>,
): Promise<Value> {
  const controller = new AbortController();
  const release = world.onInterrupt(() => controller.abort(new CommandFailure(ExitCode.error, "context canceled")));
  try {
    return await work(controller.signal);
  } finally {
    release();
  }
}

export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
