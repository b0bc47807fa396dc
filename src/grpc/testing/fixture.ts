/** A server on a port of its own with a client beside it, both gone when the test ends. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import type { TlsOptions } from "node:tls";
import * as grpc from "@grpc/grpc-js";
import type { Clock } from "../../platform/clock.js";
import type { Call, CallObserver, Handler } from "../handler.js";
import { type HttpHandler, HttpServer } from "../http.js";
import { type PortTls, SharedPort } from "../port.js";
import { GRPC_SERVER_DEFAULTS, GrpcServer, type GrpcServerOptions } from "../server.js";

/** Real time, for plays over real sockets. */
export const testClock: Clock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  after: (delayMs, run) => {
    const timer = setTimeout(run, delayMs).unref();
    return { cancel: () => clearTimeout(timer) };
  },
  every: (intervalMs, run) => {
    const timer = setInterval(run, intervalMs).unref();
    return { cancel: () => clearInterval(timer) };
  },
  yield: () => new Promise((resolve) => void setImmediate(resolve)),
};

export interface Status {
  readonly code: number;
  readonly details: string;
}

export interface Fixture {
  readonly port: number;
  readonly sharedPort: SharedPort;
  readonly grpc: GrpcServer;
  readonly client: grpc.Client;
  readonly unary: (
    path: string,
    request?: Uint8Array,
    options?: grpc.CallOptions,
    metadata?: grpc.Metadata,
  ) => Promise<Uint8Array>;
  /** The status that the call fails with. */
  readonly failure: (path: string, request?: Uint8Array, options?: grpc.CallOptions) => Promise<Status>;
}

const asBuffer = (message: Uint8Array): Buffer => Buffer.from(message);
const same = (message: Buffer): Buffer => message;

export async function grpcFixture(
  t: TestContext,
  handlers: Record<string, Handler>,
  parts: {
    options?: Partial<GrpcServerOptions>;
    http?: Record<string, HttpHandler>;
    /** Whether the HTTP handlers answer over HTTP/2, too. */
    plain?: boolean;
    observer?: CallObserver;
    clock?: Clock;
    tls?: TlsOptions;
    /** More of what the port asks of TLS, and whether it is served without. */
    port?: Omit<PortTls, "options"> & { readonly plainToo?: boolean };
    /** One of the two, where the port is not to serve both. */
    only?: "grpc" | "http";
  } = {},
): Promise<Fixture> {
  const { clock = testClock, tls } = parts;
  const http = new HttpServer({ bodyBytesMax: 1000 }, { clock, table: new Map(Object.entries(parts.http ?? {})) });
  const server = new GrpcServer(
    { ...GRPC_SERVER_DEFAULTS, messageBytesMax: 1024 * 1024, ...parts.options },
    {
      clock,
      handlers: new Map(Object.entries(handlers)),
      mapError: (error) => ({ status: 2, text: error instanceof Error ? error.message : String(error) }),
      ...(parts.observer === undefined ? {} : { observer: parts.observer }),
      ...(parts.plain === true ? { plain: http } : {}),
    },
  );
  const sharedPort = await SharedPort.listen(
    { kind: "tcp", host: "127.0.0.1", port: 0 },
    {
      clock,
      ...(parts.only === "http" ? {} : { grpc: server }),
      ...(parts.only === "grpc" ? {} : { http }),
      ...(tls === undefined ? {} : { tls: { options: () => tls, ...parts.port } }),
      plainToo: parts.port?.plainToo ?? false,
    },
  );
  assert.equal(sharedPort.address.kind, "tcp");
  const port = sharedPort.address.kind === "tcp" ? sharedPort.address.port : 0;
  const authority = tls === undefined ? undefined : Buffer.from(tls.cert as string);
  const client = new grpc.Client(
    `${tls === undefined ? "127.0.0.1" : "localhost"}:${port}`,
    authority === undefined ? grpc.credentials.createInsecure() : grpc.credentials.createSsl(authority),
  );
  t.after(async () => {
    client.close();
    // Time that stands still would never end a graceful stop.
    if (parts.clock === undefined) await sharedPort.stop(5000);
    else sharedPort.destroy();
    assert.equal(server.callCount, 0, "no call is left under way");
  });
  const unary: Fixture["unary"] = (path, request = new Uint8Array(0), options = {}, metadata = new grpc.Metadata()) =>
    new Promise((resolve, reject) => {
      client.makeUnaryRequest(path, asBuffer, same, request, metadata, options, (error, answer) => {
        if (error !== null) reject(error);
        else resolve(answer ?? new Uint8Array(0));
      });
    });
  const failure: Fixture["failure"] = async (path, request, options) => {
    try {
      await unary(path, request, options);
    } catch (error) {
      const { code, details } = error as grpc.ServiceError;
      return { code, details };
    }
    return assert.fail(`${path} answered`);
  };
  return { port, sharedPort, grpc: server, client, unary, failure };
}

export const echo: Handler = { kind: "unary", handle: (request: Uint8Array, _call: Call) => request };
