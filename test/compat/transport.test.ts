/**
 * What stands between a client and the services: the same requests, broken ones above all, get the same HTTP status, type, encoding, gRPC
 * status and text from Walnut and from real etcd.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import http2 from "node:http2";
import test from "node:test";
import { gzipSync } from "node:zlib";
import { etcd, skipReason, underTest } from "../support/binaries.js";
import { encode } from "../support/messages.js";
import { Stage, type Server } from "../support/servers.js";

interface Request {
  readonly name: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

function framed(message: Uint8Array, format = 0): Uint8Array {
  const prefix = Buffer.alloc(5);
  prefix[0] = format;
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

const get = encode("RangeRequest", { key: Buffer.from("a") });
const zipped = gzipSync(get);
const badSum = Buffer.from(zipped);
badSum[badSum.length - 6]! ^= 1;
const GZIP = { "grpc-encoding": "gzip" };

const timeouts = ["1S", "12345678S", "1n", "", "5", "S", "5x", "xS", "-1S", "+1S", "1.5S", "1234567890S"];

const REQUESTS: readonly Request[] = [
  { name: "a read" },
  { name: "two messages where one is asked for", body: Buffer.concat([framed(get), framed(get)]) },
  { name: "no message", body: Buffer.alloc(0) },
  { name: "half a prefix", body: Buffer.alloc(3) },
  { name: "half a message", body: framed(get).subarray(0, 6) },
  { name: "a message over the limit", body: framed(Buffer.alloc(3_000_000)) },
  { name: "a message that is none", body: framed(Buffer.from([0xff])) },
  { name: "an unknown format", body: framed(get, 2) },
  { name: "a compressed message without an encoding", body: framed(zipped, 1) },
  { name: "gzip", headers: GZIP, body: framed(zipped, 1) },
  { name: "gzip announced and not used", headers: GZIP },
  { name: "gzip of a request that fails", headers: GZIP, body: framed(gzipSync(Buffer.alloc(0)), 1) },
  { name: "gzip that is none", headers: GZIP, body: framed(Buffer.from("this is no gzip"), 1) },
  { name: "gzip of nothing", headers: GZIP, body: framed(Buffer.alloc(0), 1) },
  { name: "gzip cut in its header", headers: GZIP, body: framed(zipped.subarray(0, 5), 1) },
  { name: "gzip cut later", headers: GZIP, body: framed(zipped.subarray(0, 14), 1) },
  { name: "gzip with a wrong sum", headers: GZIP, body: framed(badSum, 1) },
  { name: "a gzip bomb", headers: GZIP, body: framed(gzipSync(Buffer.alloc(5_000_000)), 1) },
  { name: "an unknown encoding", headers: { "grpc-encoding": "snappy" } },
  { name: "an unknown service", headers: { ":path": "/x.X/Y" } },
  { name: "an unknown method", headers: { ":path": "/etcdserverpb.KV/Nothing" } },
  { name: "a path without a service", headers: { ":path": "/Range" } },
  { name: "a format in the type", headers: { "content-type": "application/grpc+proto" } },
  { name: "parameters in the type", headers: { "content-type": "application/grpc;charset=utf-8" } },
  ...timeouts.map((timeout) => ({ name: `a timeout of "${timeout}"`, headers: { "grpc-timeout": timeout } })),
];

interface Answer {
  readonly status: unknown;
  readonly type: unknown;
  readonly encoding: unknown;
  readonly grpcStatus: unknown;
  readonly text: unknown;
  /** How the first message begins. */
  readonly format: number | undefined;
}

async function ask(session: http2.ClientHttp2Session, { headers, body = framed(get) }: Request): Promise<Answer> {
  const stream = session.request({
    ":method": "POST",
    ":path": "/etcdserverpb.KV/Range",
    "content-type": "application/grpc",
    te: "trailers",
    ...headers,
  });
  let head: http2.IncomingHttpHeaders = {};
  let trailers: http2.IncomingHttpHeaders = {};
  const chunks: Buffer[] = [];
  stream.on("response", (fields) => (head = fields));
  stream.on("trailers", (fields) => (trailers = fields));
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  stream.end(body);
  await once(stream, "close");
  return {
    status: head[":status"],
    type: head["content-type"],
    encoding: head["grpc-encoding"],
    grpcStatus: head["grpc-status"] ?? trailers["grpc-status"],
    // With an OK etcd sends an empty one, which no client tells from none.
    text: head["grpc-message"] ?? (trailers["grpc-message"] || undefined),
    format: Buffer.concat(chunks)[0],
  };
}

async function answersOf(server: Server): Promise<Record<string, Answer>> {
  const session = http2.connect(`http://${server.address}`);
  const answers: Record<string, Answer> = {};
  for (const request of REQUESTS) answers[request.name] = await ask(session, request);
  session.close();
  await once(session, "close");
  return answers;
}

test("requests of all kinds are taken, and refused, as real etcd 3.5.30 does", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  const real = await stage.start(etcd("newest"), await stage.seat());
  const expected = await answersOf(real);
  const judged = await stage.start(underTest(), await stage.seat());
  assert.deepEqual(await answersOf(judged), expected);
});
