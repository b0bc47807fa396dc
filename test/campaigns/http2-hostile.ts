/**
 * Hostile HTTP/2 at length: every script of `test/grpc/hostile-table.ts` in turn, connection after connection, until so many frames have
 * gone. The server is a process of its own, and so is a good client that asks it all the while.
 *
 *   nice -n 10 node dist/test/campaigns/http2-hostile.js [--frames 10000000] [--only PART]
 *
 * Fails when a script ends otherwise than the table says, when the server's memory grows by 64 MiB or more under one connection, when memory
 * or descriptors do not come back, or when half of the good client's calls take longer than 5 ms.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { parseArgs } from "node:util";
import * as grpc from "@grpc/grpc-js";
import { attack, endsAs } from "../grpc/hostile.js";
import { HOSTILE_SCRIPTS } from "../grpc/hostile-table.js";
import { PROJECT } from "../support/binaries.js";

const MIB = 2 ** 20;
const GROWTH_MAX = 64 * MIB;
/** What may be in use afterwards that was not before: the pool of written buffers, compiled code and what it has learned. */
const LEFT_MAX = 16 * MIB;
const P50_MS_MAX = 5;
const MEMORY_LOOKS = 10;
/** Frames of one connection; those of a script that is served on would go on for ever. */
const CONNECTION_FRAMES = 20_000;
const SILENCE_MS = 8_000;

/** Resident memory, and what is open. */
class Process {
  readonly #pid: number;
  constructor(pid: number) {
    this.#pid = pid;
  }
  get memory(): number {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${this.#pid}/status`, "utf8"))![1]) * 1024;
  }
  get descriptors(): number {
    return readdirSync(`/proc/${this.#pid}/fd`).length;
  }
}

const inMib = (bytes: number): string => (bytes / MIB).toFixed(1);

const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

/** How a good client fared: milliseconds of its calls, in their order. */
interface Fared {
  readonly times: readonly number[];
  readonly failures: number;
}

/** A good client, in a process of its own so that it waits for nobody but the server: asks until its standard input ends. */
async function beGood(port: number): Promise<void> {
  const client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
  const same = (bytes: Buffer): Buffer => bytes;
  const times: number[] = [];
  let failures = 0;
  let stopped = false;
  process.stdin.resume().on("end", () => (stopped = true));
  const once = (): Promise<void> =>
    new Promise((resolve) => {
      const deadline = Date.now() + 10_000;
      client.makeUnaryRequest("/t.T/Echo", same, same, Buffer.alloc(100), { deadline }, (error) => {
        if (error !== null) failures++;
        resolve();
      });
    });
  const isStopped = (): boolean => stopped;
  while (!isStopped()) {
    const begin = performance.now();
    await once();
    times.push(Math.round((performance.now() - begin) * 100) / 100);
    await pause(5);
  }
  client.close();
  process.stdout.write(JSON.stringify({ times, failures }));
}

class GoodClient {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;

  constructor(port: number) {
    const script = join(PROJECT, "dist/test/campaigns/http2-hostile.js");
    this.#child = spawn(process.execPath, [script, "--good", String(port)], { stdio: ["pipe", "pipe", "inherit"] });
  }

  async stop(): Promise<Fared> {
    let text = "";
    this.#child.stdout.setEncoding("utf8").on("data", (part: string) => (text += part));
    this.#child.stdin.end();
    await once(this.#child, "close");
    return JSON.parse(text) as Fared;
  }
}

function percentile(times: readonly number[], share: number): number {
  const sorted = [...times].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      frames: { type: "string", default: "10000000" },
      only: { type: "string", default: "" },
      good: { type: "string" },
    },
  });
  if (values.good !== undefined) return beGood(Number(values.good));
  const total = Number(values.frames);
  const scripts = HOSTILE_SCRIPTS.filter(({ name }) => name.includes(values.only));
  const child = spawn(process.execPath, ["--expose-gc", join(PROJECT, "dist/test/grpc/hostile-server.js")], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const port = Number(String((await once(child.stdout, "data"))[0]));
  const server = new Process(child.pid!);
  const good = new GoodClient(port);
  const question = async (line: string): Promise<number> => {
    child.stdin.write(`${line}\n`);
    return Number(String((await once(child.stdout, "data"))[0]));
  };
  const loopDelay = (): Promise<number> => question("delay");
  // The good client's calls go on, and buffers that were let go are counted until they are swept: the least of a few looks is what stays in use.
  const usedMemory = async (): Promise<number> => {
    let least = await question("memory");
    for (let look = 1; look < MEMORY_LOOKS; look++) {
      await pause(200);
      least = Math.min(least, await question("memory"));
    }
    return least;
  };

  // The first round warms up: code is compiled, and the heap takes its size.
  for (const script of scripts) {
    if (script.first === undefined) await attack(port, script, 4_000, 0);
  }
  await pause(3_000);
  const before = { used: await usedMemory(), memory: server.memory, descriptors: server.descriptors };
  const mistakes: string[] = [];
  let frames = 0;
  let connections = 0;
  let growthMax = 0;
  let growthBy = "";
  let delayMax = 0;
  let delayBy = "";
  await loopDelay();
  const silent = new Set<string>();
  const began = performance.now();
  for (let round = 0; frames < total; round++) {
    for (const script of scripts) {
      // A script of silence has said all when it has run once.
      if (silent.has(script.name)) continue;
      const share = Math.ceil((total - frames) / scripts.length / 4);
      const start = server.memory;
      let peak = start;
      const watch = setInterval(() => (peak = Math.max(peak, server.memory)), 20);
      for (let sent = 0; sent < Math.min(share, CONNECTION_FRAMES * 4) && frames < total;) {
        const result = await attack(port, script, CONNECTION_FRAMES, SILENCE_MS);
        sent += result.frames;
        frames += result.frames;
        connections++;
        if (result.frames === 1) silent.add(script.name);
        if (!endsAs(script, result.verdict) && mistakes.length < 20) {
          mistakes.push(`${script.name}: ${result.verdict}, where ${script.verdict} is expected`);
        }
        if (silent.has(script.name)) break;
      }
      peak = Math.max(peak, server.memory);
      clearInterval(watch);
      const delay = await loopDelay();
      if (delay > delayMax) [delayMax, delayBy] = [delay, script.name];
      if (peak - start > growthMax) [growthMax, growthBy] = [peak - start, script.name];
    }
    const seconds = Math.round((performance.now() - began) / 1000);
    console.log(
      `round ${round}: ${frames} frames on ${connections} connections in ${seconds} s, server at ${Math.round(server.memory / MIB)} MiB`,
    );
  }
  let left = 30;
  while (server.descriptors > before.descriptors && left-- > 0) await pause(1_000);
  const after = { used: await usedMemory(), memory: server.memory, descriptors: server.descriptors };
  const { times, failures } = await good.stop();
  const p50 = percentile(times, 0.5);
  child.stdin.end();
  await once(child, "exit");

  console.log(
    `${frames} hostile frames of ${scripts.length} scripts on ${connections} connections: in use ${inMib(before.used)} MiB before, ` +
      `${inMib(after.used)} after; resident ${Math.round(before.memory / MIB)} MiB before, ` +
      `${Math.round(after.memory / MIB)} after, at most ${Math.round(growthMax / MIB)} more under a script (${growthBy}); descriptors ` +
      `${before.descriptors} before, ${after.descriptors} after; good client: ${times.length} calls, ${failures} failed, p50 ` +
      `${p50.toFixed(2)} ms, p99 ${percentile(times, 0.99).toFixed(1)} ms, longest ${percentile(times, 1).toFixed(0)} ms`,
  );
  console.log(`longest that the server's loop was held, waiting for a processor included: ${delayMax} ms (${delayBy})`);
  if (growthMax >= GROWTH_MAX) mistakes.push(`memory grew by ${Math.round(growthMax / MIB)} MiB under ${growthBy}`);
  if (after.used - before.used >= LEFT_MAX) mistakes.push("memory did not come back");
  if (after.descriptors > before.descriptors) mistakes.push("descriptors did not come back");
  if (p50 > P50_MS_MAX) mistakes.push("the good client waited");
  if (failures > 0) mistakes.push(`${failures} calls of the good client failed`);
  for (const mistake of mistakes) console.error(mistake);
  process.exit(mistakes.length === 0 ? 0 : 1);
}

await main();
