/**
 * Hostile HTTP/2 at length: every script of `test/grpc/hostile-table.ts` in turn, connection after connection, until so many frames have
 * gone. The server is a process of its own, which a good client asks all the while.
 *
 *   nice -n 10 node dist/test/campaigns/http2-hostile.js [--frames 10000000] [--only PART]
 *
 * Fails when a script ends otherwise than the table says, when the server's memory grows by 64 MiB or more under one connection, when memory
 * or descriptors do not come back, or when half of the good client's calls take longer than 5 ms.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import * as grpc from "@grpc/grpc-js";
import { attack, endsAs } from "../grpc/hostile.js";
import { HOSTILE_SCRIPTS } from "../grpc/hostile-table.js";
import { PROJECT } from "../support/binaries.js";

const MIB = 2 ** 20;
const GROWTH_MAX = 64 * MIB;
const P50_MS_MAX = 5;
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

const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

/** Asks all the time, and keeps how long each answer took. */
class GoodClient {
  readonly #client: grpc.Client;
  readonly times: number[] = [];
  failures = 0;
  #stopped = false;

  constructor(port: number) {
    this.#client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
    void this.#run();
  }

  async #run(): Promise<void> {
    const same = (bytes: Buffer): Buffer => bytes;
    while (!this.#stopped) {
      const begin = performance.now();
      await new Promise<void>((resolve) => {
        const deadline = Date.now() + 10_000;
        this.#client.makeUnaryRequest("/t.T/Echo", same, same, Buffer.alloc(100), { deadline }, (error) => {
          if (error !== null) this.failures++;
          resolve();
        });
      });
      this.times.push(performance.now() - begin);
      await pause(5);
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#client.close();
  }

  percentile(share: number): number {
    const sorted = [...this.times].sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      frames: { type: "string", default: "10000000" },
      only: { type: "string", default: "" },
    },
  });
  const total = Number(values.frames);
  const scripts = HOSTILE_SCRIPTS.filter(({ name }) => name.includes(values.only));
  const child = spawn(process.execPath, [join(PROJECT, "dist/test/grpc/hostile-server.js")], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const port = Number(String((await once(child.stdout, "data"))[0]));
  const server = new Process(child.pid!);
  const good = new GoodClient(port);
  const loopDelay = async (): Promise<number> => {
    child.stdin.write("\n");
    return Number(String((await once(child.stdout, "data"))[0]));
  };

  // The first round warms up: code is compiled, and the heap takes its size.
  for (const script of scripts) {
    if (script.first === undefined) await attack(port, script, 4_000, 0);
  }
  await pause(3_000);
  const before = { memory: server.memory, descriptors: server.descriptors };
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
      `round ${round}: ${frames} frames on ${connections} connections in ${seconds} s, server at ${Math.round(server.memory / MIB)} MiB, ` +
        `good client p50 ${good.percentile(0.5).toFixed(2)} ms, p99 ${good.percentile(0.99).toFixed(1)} ms`,
    );
  }
  let left = 30;
  while ((server.descriptors > before.descriptors || server.memory - before.memory > GROWTH_MAX) && left-- > 0)
    await pause(1_000);
  const after = { memory: server.memory, descriptors: server.descriptors };
  good.stop();
  child.stdin.end();
  await once(child, "exit");

  console.log(
    `${frames} hostile frames of ${scripts.length} scripts on ${connections} connections: memory ${Math.round(before.memory / MIB)} MiB before, ` +
      `${Math.round(after.memory / MIB)} after, at most ${Math.round(growthMax / MIB)} more under a script (${growthBy}); descriptors ` +
      `${before.descriptors} before, ${after.descriptors} after; good client: ${good.times.length} calls, ${good.failures} failed, p50 ` +
      `${good.percentile(0.5).toFixed(2)} ms, p99 ${good.percentile(0.99).toFixed(1)} ms, longest ${good.percentile(1).toFixed(0)} ms`,
  );
  console.log(`longest that the server's loop was held, waiting for a processor included: ${delayMax} ms (${delayBy})`);
  if (growthMax >= GROWTH_MAX) mistakes.push(`memory grew by ${Math.round(growthMax / MIB)} MiB under ${growthBy}`);
  if (after.memory - before.memory >= GROWTH_MAX) mistakes.push("memory did not come back");
  if (after.descriptors > before.descriptors) mistakes.push("descriptors did not come back");
  if (good.percentile(0.5) > P50_MS_MAX) mistakes.push("the good client waited");
  if (good.failures > 0) mistakes.push(`${good.failures} calls of the good client failed`);
  for (const mistake of mistakes) console.error(mistake);
  process.exit(mistakes.length === 0 ? 0 : 1);
}

await main();
