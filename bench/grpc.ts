/**
 * The transport alone: an empty unary handler under `h2load`, on our own HTTP/2 and on `node:http2`, in turns.
 *
 *   node dist/bench/grpc.js [--rounds 3] [--seconds 2] [--connections 10] [--streams 10,100] [--promise] [--profile]
 *
 * The server runs in this process, so its processor time a call can be told beside the calls a second: on a machine that others use, it is
 * the steadier figure. `node:http2` is measured with the least that answers a gRPC call, not with a server. `--promise` has the handler
 * answer later, as a put does; `--profile` prints where the time of one round goes.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http2 from "node:http2";
import { Session } from "node:inspector/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { GRPC_SERVER_DEFAULTS, GrpcServer, HttpServer, SharedPort } from "../src/grpc/index.js";
import { NodeClock } from "../src/platform/node/clock.js";
import { run } from "../test/support/tools.js";
import { median } from "./figures.js";
import { printProfile } from "./profile.js";

const PATH = "/bench.Empty/Call";
const ANSWER = new Uint8Array(24);

interface Carrier {
  readonly name: string;
  readonly port: number;
  stop(): Promise<void>;
}

interface Figures {
  readonly perSecond: number;
  readonly microseconds: number;
  readonly meanMs: number;
}

async function own(later: boolean): Promise<Carrier> {
  const clock = new NodeClock();
  const handle = later ? () => Promise.resolve().then(() => ANSWER) : () => ANSWER;
  const grpc = new GrpcServer(
    { ...GRPC_SERVER_DEFAULTS, messageBytesMax: 1_000_000 },
    { clock, handlers: new Map([[PATH, { kind: "unary", handle }]]), mapError: () => ({ status: 2, text: "" }) },
  );
  const http = new HttpServer({ bodyBytesMax: 0 }, { clock, table: new Map() });
  const port = await SharedPort.listen({ kind: "tcp", host: "127.0.0.1", port: 0 }, { clock, grpc, http });
  return {
    name: "own",
    port: port.address.kind === "tcp" ? port.address.port : 0,
    stop: () => port.stop(1_000),
  };
}

async function nodes(later: boolean): Promise<Carrier> {
  const server = http2.createServer();
  const frame = Buffer.concat([Buffer.from([0, 0, 0, 0, ANSWER.length]), ANSWER]);
  server.on("stream", (stream) => {
    const answer = (): void => {
      stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      stream.end(frame);
    };
    stream.on("error", () => undefined);
    stream.on("data", () => (later ? void Promise.resolve().then(answer) : answer()));
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  return {
    name: "node:http2",
    port: typeof address === "object" && address !== null ? address.port : 0,
    stop: () => new Promise((resolve) => void server.close(() => resolve())),
  };
}

async function load(
  carrier: Carrier,
  body: string,
  connections: number,
  streams: number,
  requests: number,
): Promise<Figures> {
  const before = process.cpuUsage();
  const { stdout, code } = await run("h2load", [
    ...`-n ${requests} -c ${connections} -m ${streams} -t 1 -d ${body}`.split(" "),
    "-H",
    "content-type: application/grpc",
    "-H",
    "te: trailers",
    `http://127.0.0.1:${carrier.port}${PATH}`,
  ]);
  const { user, system } = process.cpuUsage(before);
  const finished = /finished in [\d.]+m?s, ([\d.]+) req\/s/.exec(stdout);
  const succeeded = Number(/(\d+) succeeded/.exec(stdout)?.[1]);
  const mean = /time for request: +\S+ +\S+ +([\d.]+)(us|ms|s)/.exec(stdout);
  if (code !== 0 || finished === null || mean === null || succeeded !== requests) throw new Error(`h2load: ${stdout}`);
  const unit = { us: 0.001, ms: 1, s: 1000 }[mean[2] as "us" | "ms" | "s"];
  return {
    perSecond: Number(finished[1]),
    microseconds: (user + system) / requests,
    meanMs: Number(mean[1]) * unit,
  };
}

async function profiled(folder: string, run: () => Promise<unknown>): Promise<void> {
  const session = new Session();
  session.connect();
  await session.post("Profiler.enable");
  await session.post("Profiler.start");
  await run();
  const { profile } = await session.post("Profiler.stop");
  session.disconnect();
  writeFileSync(join(folder, "grpc.cpuprofile"), JSON.stringify(profile));
  printProfile(folder);
}

function describe(figures: readonly Figures[]): string {
  const speeds = figures.map(({ perSecond }) => perSecond);
  const cost = median(figures.map(({ microseconds }) => microseconds));
  const mean = median(figures.map(({ meanMs }) => meanMs));
  return (
    `${Math.round(median(speeds))} calls/s (${Math.round(Math.min(...speeds))} to ${Math.round(Math.max(...speeds))}), ` +
    `${cost.toFixed(1)} µs of processor a call, mean ${mean.toFixed(2)} ms`
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string", default: "3" },
      seconds: { type: "string", default: "2" },
      connections: { type: "string", default: "10" },
      streams: { type: "string", default: "10,100" },
      promise: { type: "boolean", default: false },
      profile: { type: "boolean", default: false },
    },
  });
  const folder = mkdtempSync(join(tmpdir(), "walnut-bench-grpc-"));
  const body = join(folder, "request.bin");
  writeFileSync(body, Buffer.concat([Buffer.from([0, 0, 0, 0, 24]), Buffer.alloc(24, 1)]));
  const carriers = [await nodes(values.promise), await own(values.promise)];
  const connections = Number(values.connections);
  const later = values.promise ? ", answered by a promise" : "";
  console.log(
    `empty unary calls${later}; node ${process.version}, ${cpus().length} x ${cpus()[0]?.model ?? "unknown"}`,
  );
  for (const streams of values.streams.split(",").map(Number)) {
    console.log(`${connections} connections, ${streams} calls in flight on each:`);
    const figures: Figures[][] = carriers.map(() => []);
    const requests: number[] = [];
    for (const carrier of carriers) {
      const warm = await load(carrier, body, connections, streams, 20_000);
      requests.push(Math.ceil(warm.perSecond * Number(values.seconds)));
    }
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const [i, carrier] of carriers.entries()) {
        figures[i]!.push(await load(carrier, body, connections, streams, requests[i]!));
      }
    }
    for (const [i, carrier] of carriers.entries()) console.log(`  ${carrier.name.padEnd(12)} ${describe(figures[i]!)}`);
    if (values.profile) await profiled(folder, () => load(carriers[1]!, body, connections, streams, requests[1]!));
  }
  for (const carrier of carriers) await carrier.stop();
  rmSync(folder, { recursive: true });
}

await main();
