/**
 * The threads that V8 keeps beside the event loop, for collecting and compiling: they give way to it.
 *
 * Linux wakes such a thread on the processor of whoever woke it. A compilation takes 2 to 4 ms, and the loop, back from a disk that
 * took 0.1 ms, waits behind it even while another processor is idle: with one put in flight one in a hundred took 2 to 4 ms. With a lower priority they
 * are set aside at once (docs/performance.md, "One put in flight"). The pool's threads keep theirs: puts wait for what they write.
 */
import { readdirSync, readFileSync } from "node:fs";
import { setPriority } from "node:os";

/** About a tenth of the loop's share where both want the same processor; all of an idle one. */
const NICENESS = 10;
/** Node 20 gives its threads no names. The scheduler of delayed tasks and the four workers are the first that it starts. */
const FIRST_THREADS = 5;

/**
 * Lowers the priority of V8's threads of this process. For a process that is a server and nothing else. Where the system has no
 * such thing, or does not allow it, nothing happens.
 *
 * @returns how many threads give way now
 */
export function lowerRuntimeThreads(): number {
  if (process.platform !== "linux") return 0;
  try {
    const threads = runtimeThreads(process.pid);
    for (const id of threads) setPriority(id, NICENESS); // Linux takes a thread's ID here, and means that thread alone
    return threads.length;
  } catch {
    return 0; // /proc is not there, or a sandbox forbids the call: the server works as well
  }
}

function runtimeThreads(processId: number): number[] {
  const folder = `/proc/${processId}/task`;
  const others = readdirSync(folder)
    .map(Number)
    .filter((id) => id !== processId)
    .sort((a, b) => a - b);
  const named = others.filter((id) => readFileSync(`${folder}/${id}/comm`, "latin1").startsWith("V8Worker"));
  return named.length > 0 ? named : others.slice(0, FIRST_THREADS);
}
