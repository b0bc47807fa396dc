/**
 * Writes a file as the log does, and says on standard output how far it came: run under strace, which lets system calls fail.
 *
 *     node writer.js PATH [now]            now: on the main thread, as far as the file can do that
 */
import { describeError } from "../../../base/errors.js";
import { DiskError } from "../../disk.js";
import { NodeDisk } from "../disk.js";

/** Rounds of `writeDurably`; the file has 1,024 bytes for each, of which round i writes all as i + 1. */
export const ROUNDS = 6;
export const ROUND_BYTES = 1024;

async function main(path: string, now: boolean): Promise<void> {
  const disk = new NodeDisk();
  const file = await disk.open(path, "create");
  await file.write([new Uint8Array(ROUNDS * ROUND_BYTES)], 0);
  await file.sync();
  console.log("filled");
  for (let round = 0; round < ROUNDS; round++) {
    const part = new Uint8Array(ROUND_BYTES / 4).fill(round + 1);
    if (round === 3) await file.write([new Uint8Array(1)], ROUNDS * ROUND_BYTES - 1); // the next round takes both steps
    const parts = [part, part, part, part];
    const atOnce = now && file.writeDurablyNow(parts, round * ROUND_BYTES);
    if (!atOnce) await file.writeDurably(parts, round * ROUND_BYTES);
    console.log(`round ${round}`);
  }
  await file.close();
  await disk.rename(path, `${path}.final`);
  await disk.syncFolder(path.slice(0, path.lastIndexOf("/")));
  console.log("done");
}

const [path, how] = process.argv.slice(2);
if (path !== undefined) {
  try {
    await main(path, how === "now");
  } catch (error) {
    console.log(error instanceof DiskError ? `failed ${error.code} ${error.path}` : `bug: ${describeError(error)}`);
    process.exitCode = 1;
  }
}
