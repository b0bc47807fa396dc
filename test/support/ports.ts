/**
 * Ports of this machine for the servers of one test, which keep them over restarts: while a server is down its port must go to nobody else.
 *
 * Test files run beside each other, and each looks for ports. Whoever takes one says so by a file with its process's ID, which counts for as long
 * as that process runs.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";

/** Below the ports that the kernel hands out by itself, so that an outgoing connection does not take one between two starts. */
const PORTS = { low: 15_000, high: 32_000 };
const ATTEMPTS = 200;

const folder = join(tmpdir(), `walnut-ports-${userInfo().uid}`);
const taken = new Set<string>();
mkdirSync(folder, { recursive: true });
process.once("exit", () => {
  for (const file of taken) rmSync(file, { force: true });
});

/** A port of 127.0.0.1 that nobody listens on, this process's to the end. */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const port = PORTS.low + Math.floor(Math.random() * (PORTS.high - PORTS.low));
    if (take(port) && (await canListen(port))) return port;
  }
  throw new Error(`found no free port in [${PORTS.low}, ${PORTS.high}) in ${ATTEMPTS} attempts`);
}

/** Marks a port as this process's; false when a process that runs has it, this one included. */
function take(port: number): boolean {
  const file = join(folder, String(port));
  for (let attempt = 0; attempt < 2; attempt++) {
    try {
      writeFileSync(file, String(process.pid), { flag: "wx" });
      taken.add(file);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    if (!isLeftBehind(file)) return false;
    rmSync(file, { force: true });
  }
  return false;
}

/** Whether the process that took a port has ended without a word. One that has not yet written its ID is at it. */
function isLeftBehind(file: string): boolean {
  try {
    const owner = Number(readFileSync(file, "utf8"));
    if (owner === 0) return false;
    process.kill(owner, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
}

async function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen({ port, host: "127.0.0.1", exclusive: true }, () => probe.close(() => resolve(true)));
  });
}
