/**
 * Loaded into a server's process before the server, `--import` with `--expose-gc`: collects all garbage and tells how many bytes are in use, to
 * each who connects to the socket that `WALNUT_MEMORY_PROBE` names. Resident memory says what V8 and the allocator keep for later; this says
 * what is held.
 */
import { createServer } from "node:net";
import { isMainThread } from "node:worker_threads";

const path = process.env["WALNUT_MEMORY_PROBE"];
if (path !== undefined && isMainThread) {
  createServer((socket) => {
    // What the first collection lets go of is freed by tasks of its own, and what they let go of by the next.
    gc!();
    setImmediate(() => {
      gc!();
      const { heapUsed, external } = process.memoryUsage();
      socket.on("error", () => undefined).end(String(heapUsed + external));
    });
  })
    .listen(path)
    .unref();
}
