/**
 * Load by `h2load`, so that no client of ours is measured, and what the put benchmarks say of rounds and machines.
 *
 * `h2load` reads HTTP statuses only, which are 200 for a refused call too: that the puts happened is proved by the store's
 * revision, which must have grown by exactly as many as there were answers.
 */
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { closeSync, fdatasyncSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { cpus, release, totalmem } from "node:os";
import { join } from "node:path";
import { encode } from "../test/support/messages.js";
import type { Server } from "../test/support/servers.js";
import { run } from "../test/support/tools.js";

export const VALUE_BYTES = 256;
const KEY = "bench/put/key";
/** Connections for a number of requests in flight: as many clients as etcd's own benchmark would use. */
export const connectionsFor = (inFlight: number): number => Math.min(10, inFlight);

/** What one run of `h2load` told. */
export interface Round {
  readonly perSecond: number;
  readonly meanMs: number;
  readonly maxMs: number;
}

/** One round of load; checks that every answer was a put that happened. */
export async function h2load(server: Server, body: string, inFlight: number, requests: number): Promise<Round> {
  const before = await server.client.revision();
  const connections = connectionsFor(inFlight);
  const words = `-n ${requests} -c ${connections} -m ${Math.ceil(inFlight / connections)} -t 1`;
  const output = await run("h2load", [
    ...words.split(" "),
    "-d",
    body,
    "-H",
    "content-type: application/grpc",
    "-H",
    "te: trailers",
    `http://${server.address}/etcdserverpb.KV/Put`,
  ]);
  const grown = (await server.client.revision()) - before;
  const finished = /finished in [\d.]+m?s, ([\d.]+) req\/s/.exec(output.stdout);
  const succeeded = Number(/(\d+) succeeded/.exec(output.stdout)?.[1]);
  const times = /time for request: +\S+ +(\S+) +(\S+)/.exec(output.stdout);
  if (finished === null || times === null || output.code !== 0)
    throw new Error(`h2load: ${output.stdout}${output.stderr}`);
  if (succeeded !== requests) throw new Error(`${succeeded} of ${requests} requests were answered:\n${output.stdout}`);
  if (grown !== requests)
    throw new Error(`${server.binary.name} answered ${requests} puts and its revision grew by ${grown}`);
  return { perSecond: Number(finished[1]), meanMs: inMs(times[2]!), maxMs: inMs(times[1]!) };
}

function inMs(text: string): number {
  const [, number, unit] = /^([\d.]+)(us|ms|s)$/.exec(text) ?? [];
  if (number === undefined) throw new Error(`h2load printed a time that is none: ${text}`);
  return Number(number) * { us: 0.001, ms: 1, s: 1000 }[unit as "us" | "ms" | "s"];
}

/** Writes the body of a put for `h2load` to send, and gives the path. @throws where `h2load` is missing */
export function putBody(folder: string): string {
  if (spawnSync("h2load", ["--version"]).error !== undefined) {
    throw new Error("h2load is not there: run 'apt-get install nghttp2-client'");
  }
  const body = join(folder, "put.bin");
  writeFileSync(body, putFrame());
  return body;
}

/** The machine that a figure belongs to, in words. */
export function describeMachine(folder: string): string {
  const [{ model } = { model: "unknown" }] = cpus();
  return (
    `${new Date().toISOString().slice(0, 10)}, node ${process.version}, Linux ${release()}, ${cpus().length} x ${model}, ` +
    `${Math.round(totalmem() / 2 ** 30)} GiB; fdatasync here: ${Math.round(syncMicroseconds(folder))} µs`
  );
}

/** A gRPC frame with a put: 1 byte for "not compressed", 4 for the length, the message. */
function putFrame(): Uint8Array {
  const message = encode("PutRequest", { key: Buffer.from(KEY), value: randomBytes(VALUE_BYTES) });
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** What one fdatasync of a small append costs on this disk: machines differ, so it stands beside the figures. */
function syncMicroseconds(folder: string): number {
  const file = join(folder, "probe");
  const descriptor = openSync(file, "w");
  const block = Buffer.alloc(512, 1);
  writeSync(descriptor, Buffer.alloc(2 ** 20));
  fdatasyncSync(descriptor);
  const samples = Array.from({ length: 300 }, (_, i) => {
    const begin = performance.now();
    writeSync(descriptor, block, 0, block.length, i * block.length);
    fdatasyncSync(descriptor);
    return (performance.now() - begin) * 1000;
  });
  closeSync(descriptor);
  rmSync(file);
  return median(samples);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function describeRounds(rounds: readonly Round[]): string {
  const speeds = rounds.map(({ perSecond }) => perSecond);
  const [low, high] = [Math.min(...speeds), Math.max(...speeds)];
  const mean = median(rounds.map(({ meanMs }) => meanMs));
  return `${Math.round(median(speeds))} puts/s (${Math.round(low)} to ${Math.round(high)}), mean ${mean.toFixed(2)} ms`;
}
