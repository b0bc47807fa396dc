/**
 * The server that hostile clients meet: handlers of all kinds, short patience. As a process of its own it prints its port, for each line of
 * its standard input how long the loop was held, for `memory` what it uses, and ends with that input:
 *
 *   node dist/test/grpc/hostile-server.js
 */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { GRPC_SERVER_DEFAULTS, GrpcServer, type Handler, HttpServer, SharedPort } from "../../src/grpc/index.js";
import { GRPC_LIMITS, type GrpcLimits } from "../../src/grpc/limits.js";
import { NodeClock } from "../../src/platform/node/clock.js";

/** A tenth of the shipped patience, so that a script of silence ends within seconds. Bytes and budgets are the shipped ones. */
export const IMPATIENT: GrpcLimits = {
  ...GRPC_LIMITS,
  sweepMs: 100,
  firstBytesMs: 2_000,
  greetingMs: 1_000,
  settingsMs: 2_000,
  frameMs: 2_000,
  requestStallMs: 6_000,
  answerStallMs: 12_000,
  connectionStallMs: 6_000,
};

const LARGE = new Uint8Array(1_000_000);

export const HANDLERS: Readonly<Record<string, Handler>> = {
  "/t.T/Echo": { kind: "unary", handle: (request) => request },
  "/t.T/Large": { kind: "unary", handle: () => LARGE.slice() },
  "/t.T/Hang": {
    kind: "unary",
    handle: (_request, call) =>
      new Promise((_resolve, reject) => {
        call.signal.addEventListener("abort", () => reject(new Error("gone")), { once: true });
      }),
  },
  "/t.T/Endless": {
    kind: "serverStreaming",
    handle: async function* (_request, call) {
      while (!call.signal.aborted) yield await Promise.resolve(LARGE.subarray(0, 20_000));
    },
  },
  "/t.T/Chat": {
    kind: "bidirectional",
    handle: (stream) => {
      stream.onMessage = (message) => void stream.send(message);
      stream.onEnd = () => stream.end();
    },
  },
  "/t.T/Sink": { kind: "bidirectional", handle: (stream) => void (stream.onEnd = () => stream.end()) },
};

export async function hostileServer(): Promise<{ grpc: GrpcServer; shared: SharedPort; port: number }> {
  const clock = new NodeClock();
  const grpc = new GrpcServer(
    { ...GRPC_SERVER_DEFAULTS, messageBytesMax: 1_500_000, gzip: true, limits: IMPATIENT },
    {
      clock,
      handlers: new Map(Object.entries(HANDLERS)),
      mapError: (error) => ({ status: 2, text: error instanceof Error ? error.message : String(error) }),
    },
  );
  const http = new HttpServer({ bodyBytesMax: 1_000 }, { clock, table: new Map() });
  const shared = await SharedPort.listen({ kind: "tcp", host: "127.0.0.1", port: 0 }, { clock, grpc, http });
  return { grpc, shared, port: shared.address.kind === "tcp" ? shared.address.port : 0 };
}

if (process.argv[1] === import.meta.filename) {
  const { shared, port } = await hostileServer();
  console.log(port);
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  // Asked by a line: the longest that the loop was held since the last question, in milliseconds; and what is in use, once the
  // garbage is gone.
  process.stdin.on("data", (line: Buffer) => {
    if (String(line) === "memory\n") {
      global.gc?.();
      const { heapUsed, external } = process.memoryUsage();
      console.log(heapUsed + external);
      return;
    }
    console.log((delay.max / 1e6).toFixed(1));
    delay.reset();
  });
  process.stdin.on("end", () => void shared.stop(1_000).then(() => process.exit(0)));
}
