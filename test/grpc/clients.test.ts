/**
 * Clients that no one here wrote speak to the gRPC library, over plain sockets and TLS: grpc-js (Node's HTTP/2), grpcio (C++), curl and
 * nghttp (nghttp2). `etcdctl` (grpc-go) does in `test/compat/`.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import tls from "node:tls";
import { once } from "node:events";
import * as grpcJs from "@grpc/grpc-js";
import { frameMessage } from "../../src/grpc/framing.js";
import { GrpcError, GrpcStatus, plainAnswer } from "../../src/grpc/index.js";
import { GRPC_LIMITS } from "../../src/grpc/limits.js";
import { echo, type Fixture, grpcFixture } from "../../src/grpc/testing/fixture.js";
import { TestAuthority } from "../../src/tls/testing/authority.js";
import { PROJECT } from "../support/binaries.js";
import { run, skipWithout } from "../support/tools.js";

/** Debian's Python, whichever one stands in the path. */
const PYTHON = "/usr/bin/python3";
const hasGrpcio = (process.env["CI"] ?? "") !== "" || spawnSync(PYTHON, ["-c", "import grpc"]).status === 0;
const skipGrpcio = hasGrpcio ? false : "grpcio is not there: run 'apt-get install python3-grpcio'";

const HANDLERS = {
  "/t.T/Echo": echo,
  "/t.T/Fail": {
    kind: "unary",
    handle: () => {
      throw new GrpcError(GrpcStatus.notFound, "nothing: 100% é", {
        metadata: { "x-bytes-bin": Uint8Array.of(0, 255) },
      });
    },
  },
  "/t.T/Count": {
    kind: "serverStreaming",
    handle: async function* (request) {
      for (let i = 0; i < request[0]!; i++) yield await Promise.resolve(new Uint8Array(30_000).fill(i));
    },
  },
  "/t.T/Chat": {
    kind: "bidirectional",
    handle: (stream) => {
      stream.onMessage = (message) => void stream.send(message);
      stream.onEnd = () => stream.end();
    },
  },
  "/t.T/Never": { kind: "unary", handle: () => new Promise<Uint8Array>(() => undefined) },
} satisfies Parameters<typeof grpcFixture>[1];

const HTTP = { "/version": () => plainAnswer(200, "a version") };

interface Served extends Fixture {
  readonly scheme: "http" | "https";
  /** The authority's certificate, where the port speaks TLS. */
  readonly authority: string | undefined;
  readonly folder: string;
}

async function served(t: TestContext, secure: boolean): Promise<Served> {
  const authority = TestAuthority.for(t);
  const { certificate, key } = authority.issue({ hosts: ["localhost", "127.0.0.1"] });
  const cert = readFileSync(certificate.path, "utf8");
  // grpc-js gets the certificates that it trusts from what the server shows: it, and who signed it.
  const chain = cert + readFileSync(authority.trustedAuthority.path, "utf8");
  const fixture = await grpcFixture(t, HANDLERS, {
    http: HTTP,
    plain: true,
    options: { gzip: true },
    ...(secure ? { tls: { cert: chain, key: readFileSync(key.path) } } : {}),
  });
  return {
    ...fixture,
    scheme: secure ? "https" : "http",
    authority: secure ? authority.trustedAuthority.path : undefined,
    folder: authority.folder,
  };
}

for (const secure of [false, true]) {
  const over = secure ? "over TLS" : "over plain sockets";

  test(`grpc-js ${over}: answers, errors and streams`, async (t) => {
    const { unary, failure, client } = await served(t, secure);
    const same = (bytes: Buffer): Buffer => bytes;
    assert.equal(Buffer.from(await unary("/t.T/Echo", Buffer.alloc(500_000, 7))).length, 500_000);
    assert.deepEqual(await failure("/t.T/Fail"), { code: 5, details: "nothing: 100% é" });
    assert.equal((await failure("/t.T/Never", undefined, { deadline: Date.now() + 100 })).code, 4);
    const seen: number[] = [];
    const count = client.makeServerStreamRequest("/t.T/Count", same, same, Buffer.from([50]));
    for await (const message of count as AsyncIterable<Buffer>) seen.push(message[29_999]!);
    assert.deepEqual(
      seen,
      Array.from({ length: 50 }, (_, i) => i),
    );
  });

  test(`grpcio ${over}: answers, errors with metadata, streams, deadlines, gzip`, { skip: skipGrpcio }, async (t) => {
    const { port, authority } = await served(t, secure);
    const script = join(PROJECT, "test", "grpc", "grpcio-client.py");
    const { code, stdout, stderr } = await run(PYTHON, [
      script,
      `localhost:${port}`,
      ...(authority === undefined ? [] : [authority]),
    ]);
    assert.equal(code, 0, stderr);
    assert.equal(
      stdout,
      "unary\nlarge\nerror NOT_FOUND nothing: 100% é x-bytes-bin 00ff\nstream 50\nchat 20\ndeadline DEADLINE_EXCEEDED\ngzip\nunknown UNIMPLEMENTED unknown service x.X\ncalls 500\n",
    );
  });

  test(`curl ${over}: HTTP/2 and HTTP/1.1 on one port`, { skip: skipWithout("curl", "curl") }, async (t) => {
    const { port, scheme, authority } = await served(t, secure);
    const curl = async (...args: readonly string[]): Promise<string> => {
      const trust = authority === undefined ? [] : ["--cacert", authority];
      const format = ["-sS", "--max-time", "20", "-w", " HTTP/%{http_version} %{http_code}"];
      const { code, stdout, stderr } = await run("curl", [...format, ...trust, ...args]);
      assert.equal(code, 0, stderr);
      return stdout;
    };
    const url = `${scheme}://localhost:${port}`;
    const http2 = secure ? "--http2" : "--http2-prior-knowledge";
    assert.equal(await curl(http2, `${url}/version`), "a version\n HTTP/2 200");
    assert.equal(await curl("--http1.1", `${url}/version`), "a version\n HTTP/1.1 200");
    assert.equal(await curl(http2, `${url}/nothing`), "404 page not found\n HTTP/2 404");
    assert.equal(await curl(http2, "-I", `${url}/version`).then((text) => text.split("\r\n")[0]), "HTTP/2 200 ");
    assert.equal(await curl(http2, "-d", "x".repeat(1_000), `${url}/version`), "a version\n HTTP/2 200");
  });

  test(
    `nghttp ${over}: a call, many at once, and a large answer through its windows`,
    { skip: skipWithout("nghttp", "nghttp2-client") },
    async (t) => {
      const { port, scheme, folder } = await served(t, secure);
      const body = join(folder, "body");
      writeFileSync(body, frameMessage(Buffer.from("by nghttp")));
      const call = ["-H", ":method: POST", "-H", "content-type: application/grpc", "-H", "te: trailers", "-d", body];
      const one = await run("nghttp", ["-v", ...call, `${scheme}://127.0.0.1:${port}/t.T/Echo`]);
      assert.match(one.stdout, /recv \(stream_id=\d+\) :status: 200/);
      assert.match(one.stdout, /recv \(stream_id=\d+\) grpc-status: 0/);
      assert.match(one.stdout, /by nghttp/);
      const many = await run("nghttp", ["-ns", "-m", "100", ...call, `${scheme}://127.0.0.1:${port}/t.T/Echo`]);
      assert.equal(many.stdout.match(/ 200 +\d+ \/t\.T\/Echo/g)?.length, 100, many.stdout);
      writeFileSync(body, frameMessage(Uint8Array.of(50)));
      const large = await run("nghttp", ["-w", "10", "-W", "11", ...call, `${scheme}://127.0.0.1:${port}/t.T/Count`]);
      assert.equal(large.code, 0);
      assert.equal(Buffer.byteLength(large.stdout, "latin1") >= 50 * 30_005, true);
    },
  );
}

test("over TLS a client that names no protocol is told apart by its first bytes; old protocols are not offered", async (t) => {
  const { port, authority } = await served(t, true);
  const ca = readFileSync(authority!);
  const connect = async (ALPNProtocols?: string[]): Promise<tls.TLSSocket> => {
    const socket = tls.connect({
      port,
      host: "localhost",
      ca,
      ...(ALPNProtocols === undefined ? {} : { ALPNProtocols }),
    });
    t.after(() => void socket.destroy());
    await once(socket, "secureConnect");
    return socket;
  };
  const silent = await connect();
  silent.write("GET /version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
  assert.match(String((await once(silent, "data"))[0]), /^HTTP\/1\.1 200/);
  const preface = await connect();
  preface.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u0004\0\0\0\0\0", "latin1");
  assert.equal(((await once(preface, "data"))[0] as Buffer)[3], 4);
  assert.equal((await connect(["http/1.1"])).alpnProtocol, "http/1.1");
  assert.equal((await connect(["http/1.1", "h2"])).alpnProtocol, "h2", "the server chooses");
});

test("a TLS handshake that stalls, or is none, is closed and leaves nothing", async (t) => {
  const authority = TestAuthority.for(t);
  const { certificate, key } = authority.issue({ hosts: ["localhost"] });
  const { port } = await grpcFixture(t, HANDLERS, {
    tls: { cert: readFileSync(certificate.path, "utf8"), key: readFileSync(key.path) },
    options: { limits: { ...GRPC_LIMITS, tlsHandshakeMs: 300 } },
  });
  for (const first of ["", "\u0016\u0003\u0001\u0002\0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]) {
    const socket = net.connect(port, "localhost");
    socket.on("error", () => undefined);
    socket.write(first, "latin1");
    await once(socket.resume(), "close");
  }
});

const skipCurl = skipWithout("curl", "curl");

test("who has shaken hands is looked at once more, and handlers know its name", { skip: skipCurl }, async (t) => {
  const authority = TestAuthority.for(t);
  const { certificate, key } = authority.issue({ hosts: ["localhost"] });
  const refused: string[] = [];
  let verdict: string | undefined | Promise<string | undefined>;
  const faults: Error[] = [];
  let refreshed = 0;
  const seen: unknown[] = [];
  const { port } = await grpcFixture(
    t,
    {
      "/t.T/Who": {
        kind: "unary",
        handle: (_request, call) => {
          seen.push(call.security);
          return new Uint8Array(0);
        },
      },
    },
    {
      http: {
        "/who": (request) => {
          seen.push(request.security);
          return plainAnswer(200, "");
        },
      },
      plain: true,
      tls: { cert: readFileSync(certificate.path, "utf8"), key: readFileSync(key.path) },
      port: {
        plainToo: true,
        refresh: () => void refreshed++,
        whyRefused: () => {
          for (const fault of faults) throw fault;
          return verdict;
        },
        commonName: () => "alice",
        refused: (_socket, why) => void refused.push(String(why)),
      },
    },
  );
  const ask = async (secure: boolean, http2Too = true): Promise<boolean> => {
    const curl = ["-sk", "--max-time", "20", "-o", "/dev/null", ...(http2Too ? [] : ["--http1.1"])];
    return (await run("curl", [...curl, `${secure ? "https" : "http"}://localhost:${port}/who`])).code === 0;
  };
  const call = async (): Promise<void> => {
    const client = new grpcJs.Client(
      `localhost:${port}`,
      grpcJs.credentials.createSsl(null, null, null, { rejectUnauthorized: false }),
    );
    const same = (bytes: Buffer): Buffer => bytes;
    await new Promise<void>((resolve, reject) => {
      client.makeUnaryRequest("/t.T/Who", same, same, Buffer.alloc(0), (error) =>
        error === null ? resolve() : reject(error),
      );
    });
    client.close();
  };
  await call();
  assert.ok(await ask(true));
  assert.ok(await ask(true, false));
  assert.deepEqual(seen, [{ commonName: "alice" }, { commonName: "alice" }, { commonName: "alice" }]);
  assert.equal(refreshed, 3, "before each handshake");
  assert.ok(await ask(false));
  assert.deepEqual(seen.slice(3), [undefined], "without TLS there is nothing to know");
  verdict = Promise.resolve(undefined);
  assert.ok(await ask(true));
  for (const no of ["at once", Promise.resolve("later")]) {
    verdict = no;
    assert.ok(!(await ask(true)));
  }
  assert.deepEqual(refused, ["at once", "later"]);
  faults.push(new Error("a strange certificate"));
  assert.ok(!(await ask(true)));
  assert.deepEqual(refused.splice(2), ["Error: a strange certificate"]);
  await once(
    net
      .connect(port, "localhost")
      .end(Buffer.from([0x16, 3, 1, 0, 1, 9]))
      .resume(),
    "close",
  );
  assert.equal(refused.length, 3, "a handshake that fails is told, too");
});

test("a port that serves one of the two cuts off who speaks the other", async (t) => {
  const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u0004\0\0\0\0\0";
  const hear = async (port: number, words: string): Promise<Buffer> => {
    const socket = net.connect(port, "localhost");
    const heard: Buffer[] = [];
    socket.on("data", (bytes: Buffer) => {
      heard.push(bytes);
      socket.end();
    });
    socket.on("error", () => undefined);
    socket.write(words, "latin1");
    await once(socket, "close");
    return Buffer.concat(heard);
  };
  const http = await grpcFixture(t, HANDLERS, { http: HTTP, only: "http" });
  assert.match(String(await hear(http.port, "GET /version HTTP/1.1\r\nhost: x\r\n\r\n")), /^HTTP\/1\.1 200/);
  assert.equal((await hear(http.port, preface)).length, 0);
  const rpc = await grpcFixture(t, HANDLERS, { only: "grpc" });
  assert.equal((await hear(rpc.port, preface))[3], 4, "SETTINGS");
  assert.doesNotMatch(String(await hear(rpc.port, "GET /version HTTP/1.1\r\nhost: x\r\n\r\n")), /HTTP\/1/);
  for (const { port } of [http, rpc]) assert.equal((await hear(port, "\u0016\u0003\u0001")).length, 0, "TLS");
});
