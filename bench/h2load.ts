/**
 * Load by `h2load`, a client that no one here wrote.
 *
 * `h2load` reads HTTP statuses only, which are 200 for a refused call too: that puts happened is proved by the store's revision, which
 * must have grown by exactly as many as there were answers.
 */
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { encode } from "../test/support/messages.js";
import type { Server } from "../test/support/servers.js";
import { run } from "../test/support/tools.js";
import type { Contestant, Play } from "./comparison.js";
import { connectionsFor, readable, spread } from "./figures.js";

export const VALUE_BYTES = 256;
const KEY = "bench/put/key";

/** What one run of `h2load` told. */
export interface H2loadRound {
  readonly perSecond: number;
  readonly meanMs: number;
  readonly maxMs: number;
}

export interface H2loadJob {
  /** Host and port. */
  readonly address: string;
  /** The file with the request's body. */
  readonly body: string;
  readonly inFlight: number;
  readonly requests: number;
}

/** Sends so many requests. @throws when one is not answered */
export async function h2load({ address, body, inFlight, requests }: H2loadJob): Promise<H2loadRound> {
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
    `http://${address}/etcdserverpb.KV/Put`,
  ]);
  const finished = /finished in [\d.]+m?s, ([\d.]+) req\/s/.exec(output.stdout);
  const succeeded = Number(/(\d+) succeeded/.exec(output.stdout)?.[1]);
  const times = /time for request: +\S+ +(\S+) +(\S+)/.exec(output.stdout);
  if (finished === null || times === null || output.code !== 0)
    throw new Error(`h2load: ${output.stdout}${output.stderr}`);
  if (succeeded !== requests) throw new Error(`${succeeded} of ${requests} requests were answered:\n${output.stdout}`);
  return { perSecond: Number(finished[1]), meanMs: inMs(times[2]!), maxMs: inMs(times[1]!) };
}

/** Puts so often and checks that every answer was a put that happened. */
export async function h2loadPuts(
  server: Server,
  body: string,
  inFlight: number,
  requests: number,
): Promise<H2loadRound> {
  const before = await server.client.revision();
  const round = await h2load({ address: server.address, body, inFlight, requests });
  const grown = (await server.client.revision()) - before;
  if (grown !== requests)
    throw new Error(`${server.binary.name} answered ${requests} puts and its revision grew by ${grown}`);
  return round;
}

/** Puts by `h2load` as a play: the rehearsal tells each contestant's number of requests, which then stays the same. */
export class H2loadPlay implements Play<H2loadRound> {
  readonly #body: string;
  readonly #options: { readonly inFlight: number; readonly seconds: number };
  readonly #warmUp: (requests: number) => number;
  readonly #requests = new Map<Contestant, number>();

  /**
   * @param options `seconds` is about what a round takes
   * @param warmUp how many puts go before a round of so many; 0 is asked for before the rehearsal
   */
  constructor(
    body: string,
    options: { readonly inFlight: number; readonly seconds: number },
    warmUp: (requests: number) => number,
  ) {
    this.#body = body;
    this.#options = options;
    this.#warmUp = warmUp;
  }

  async rehearse(contestant: Contestant, server: Server): Promise<void> {
    const { inFlight, seconds } = this.#options;
    const warm = await h2loadPuts(server, this.#body, inFlight, this.#warmUp(0));
    const told = await h2loadPuts(server, this.#body, inFlight, Math.ceil(warm.perSecond / 2) + inFlight);
    this.#requests.set(contestant, Math.ceil(told.perSecond * seconds) + inFlight);
  }

  async measure(contestant: Contestant, server: Server): Promise<H2loadRound> {
    const requests = this.#requests.get(contestant)!;
    await h2loadPuts(server, this.#body, this.#options.inFlight, this.#warmUp(requests));
    return h2loadPuts(server, this.#body, this.#options.inFlight, requests);
  }
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

/** A gRPC frame with a put: 1 byte for "not compressed", 4 for the length, the message. */
function putFrame(): Uint8Array {
  const message = encode("PutRequest", { key: Buffer.from(KEY), value: randomBytes(VALUE_BYTES) });
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** Rounds of puts in words. */
export function describeRounds(rounds: readonly H2loadRound[]): string {
  const speeds = spread(rounds.map(({ perSecond }) => perSecond));
  const mean = spread(rounds.map(({ meanMs }) => meanMs)).median;
  const [middle, low, high] = [speeds.median, speeds.low, speeds.high].map(readable);
  return `${middle} puts/s (${low} to ${high}), mean ${mean.toFixed(2)} ms`;
}
