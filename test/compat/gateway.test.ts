/** The JSON gateway: the same requests get the same answers from Walnut and from real etcd 3.5.30, plain ones, streams and websockets. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import { WebSocket } from "ws";
import { reference, skipReason, underTest, type ServerBinary } from "../support/binaries.js";
import { askGateway, describeGatewayAnswer, describeJson, type GatewayRequest } from "../support/gateway.js";
import { chooseSeed } from "../support/random.js";
import { Stage, type Server } from "../support/servers.js";
import { compareGateways } from "./gateway-differential.js";
import { GATEWAY_TABLE } from "./gateway-table.js";

/** How Walnut tells that a call is another release's affair. */
const UNSERVED = /is not served yet/;

const describeRequest = ({ method = "POST", path, headers, body = "" }: (typeof GATEWAY_TABLE)[number]): string =>
  `${method} ${path} ${headers === undefined ? "" : JSON.stringify(headers)} ${JSON.stringify(String(body).slice(0, 120))}`;

async function pair(stage: Stage, flags: readonly string[] = []): Promise<[Server, Server]> {
  const start = async (binary: ServerBinary): Promise<Server> => stage.start(binary, await stage.seat(), { flags });
  return Promise.all([start(reference()), start(underTest())]);
}

test("every path, in every form, is answered as real etcd answers it", { skip: skipReason() }, async (t) => {
  const [right, judged] = await pair(Stage.for(t));
  const differences: string[] = [];
  const unserved = new Set<string>();
  const statuses = new Map<number, number>();
  for (const row of GATEWAY_TABLE) {
    const [first, second] = await Promise.all([askGateway(right.address, row), askGateway(judged.address, row)]);
    if (UNSERVED.test(second.body)) {
      unserved.add(row.path);
      continue;
    }
    if (first.status === 0 || second.status === 0) differences.push(`${describeRequest(row)}: no answer`);
    statuses.set(first.status, (statuses.get(first.status) ?? 0) + 1);
    const [expected, found] = [first, second].map((answer) => describeGatewayAnswer(answer, row.masked));
    if (expected !== found) differences.push(`${describeRequest(row)}\n  etcd:  ${expected}\n  found: ${found}`);
  }
  t.diagnostic(`${GATEWAY_TABLE.length} requests; by status: ${JSON.stringify(Object.fromEntries(statuses))}`);
  if (unserved.size > 0) t.diagnostic(`not served yet, so not compared: ${[...unserved].join(", ")}`);
  assert.equal(differences.length, 0, `${differences.length} differences\n${differences.join("\n")}`);
});

test(
  "2,000 random requests, broken ones among them, are answered as real etcd answers them",
  { skip: skipReason() },
  async (t) => {
    const [right, judged] = await pair(Stage.for(t));
    const seed = chooseSeed(process.env["WALNUT_SEED"]);
    const requests = Number(process.env["WALNUT_REQUESTS"] ?? 2_000);
    const { statuses } = await compareGateways({ seed, requests }, right.address, judged.address);
    t.diagnostic(`seed ${seed}: by status ${JSON.stringify(Object.fromEntries(statuses))}`);
    assert.ok((statuses.get(200) ?? 0) > requests / 8, "many were right");
    assert.ok((statuses.get(400) ?? 0) > requests / 8, "many were wrong");
  },
);

/** The same to both servers, and one description of both answers. */
async function askBoth(servers: readonly Server[], request: GatewayRequest, leaveAfter?: number): Promise<string> {
  const answers = await Promise.all(servers.map(({ address }) => askGateway(address, request, leaveAfter)));
  const [expected, found] = answers.map((answer) => describeGatewayAnswer(answer, ["ID"]));
  assert.equal(found, expected, `${request.path} ${String(request.body)}`);
  return expected!;
}

const CREATE = { create_request: { key: "Zm9v", start_revision: "1", prev_kv: true } };
const put = (value: string): GatewayRequest => ({ path: "/v3/kv/put", body: JSON.stringify({ key: "Zm9v", value }) });

test("streams over chunked bodies are those of real etcd", { skip: skipReason() }, async (t) => {
  const servers = await pair(Stage.for(t));
  await askBoth(servers, put("YQ=="));
  await askBoth(servers, put("Yg=="));
  await askBoth(servers, { path: "/v3/kv/deleterange", body: '{"key":"Zm9v"}' });
  const watch = (body: object | string, headers = {}): GatewayRequest => ({
    path: "/v3/watch",
    body: typeof body === "string" ? body : JSON.stringify(body),
    headers,
  });
  const history = await askBoth(servers, watch(CREATE), 2);
  assert.match(history, /"type":"DELETE"/);
  await askBoth(servers, watch(`${JSON.stringify(CREATE)} {"create_request":{"key":"eA=="}} x`), 3);
  await askBoth(servers, watch(CREATE, { "grpc-timeout": "500m" }));
  await askBoth(servers, watch(CREATE, { "grpc-timeout": "1n" }));
  await askBoth(servers, watch("", { "grpc-timeout": "300m" }));
  await askBoth(servers, watch(CREATE, { "grpc-timeout": "1" }));
  await askBoth(servers, watch({ create_request: { key: "Yg==", range_end: "YQ==" } }), 1);
  await askBoth(
    servers,
    watch('{"create_request":{"key":"eA=="}}{"cancel_request":{"watch_id":"0"}}{"cancel_request":{"watch_id":5}}'),
    2,
  );
  await askBoth(servers, { path: "/v3/watch", method: "GET" });
  await askBoth(servers, { path: "/v3/lease/keepalive", body: '{"ID":1}{"ID":2}' });
  await askBoth(servers, { path: "/v3/lease/keepalive", body: "" });
});

test(
  "a stream whose first message is none is refused, where real etcd leaves its client waiting",
  { skip: skipReason() },
  async (t) => {
    const stage = Stage.for(t);
    const judged = await stage.start(underTest(), await stage.seat());
    for (const path of ["/v3/watch", "/v3/lease/keepalive"]) {
      const { status, body } = await askGateway(judged.address, { path, body: "x" });
      assert.equal(status, 400);
      assert.equal(describeJson(body), '{"code":3,"message":"invalid character \'x\' looking for beginning of value"}');
    }
  },
);

test("a snapshot comes whole, with its hash, under etcd's headers", { skip: skipReason() }, async (t) => {
  const servers = await pair(Stage.for(t));
  const heads: string[] = [];
  for (const { address } of servers) {
    const answer = await askGateway(address, { path: "/v3/maintenance/snapshot", body: "{}" });
    heads.push(describeGatewayAnswer({ ...answer, body: "" }));
    const blobs = answer.body
      .trimEnd()
      .split("\n")
      .map((line) => (JSON.parse(line) as { result: { blob: string } }).result.blob);
    const hash = blobs.pop()!;
    const sum = createHash("sha256");
    for (const blob of blobs) sum.update(Buffer.from(blob, "base64"));
    assert.equal(hash, sum.digest("base64"));
  }
  assert.equal(heads[1], heads[0]);
});

interface SocketPlay {
  readonly path: string;
  readonly frames: readonly (string | Buffer)[];
  readonly protocols?: readonly string[];
  readonly headers?: Readonly<Record<string, string>>;
  /** Frames to wait for before this side closes; without it the server ends the conversation. */
  readonly closeAfter?: number;
  /** Each frame waits for the answer to the one before: etcd answers requests for progress and others in an order of chance. */
  readonly inTurns?: true;
}

/** A conversation as text. */
async function converse(
  { address }: Server,
  { path, frames, protocols = [], headers = {}, closeAfter, inTurns }: SocketPlay,
): Promise<string> {
  const socket = new WebSocket(`ws://${address}${path}`, [...protocols], { headers });
  const told: string[] = [];
  socket.on("upgrade", (response) => told.push(`protocol ${String(response.headers["sec-websocket-protocol"])}`));
  socket.on("open", () => {
    for (const frame of inTurns === true ? frames.slice(0, 1) : frames) socket.send(frame);
  });
  let count = 0;
  socket.on("message", (data, isBinary) => {
    told.push(`${isBinary ? "binary" : "text"} ${describeJson((data as Buffer).toString())}`);
    if (++count === closeAfter) socket.close(1000);
    else if (inTurns === true && frames[count] !== undefined) socket.send(frames[count]!);
  });
  socket.on("unexpected-response", (_, response) => {
    told.push(`refused ${response.statusCode}`);
    socket.terminate();
  });
  socket.on("error", () => undefined);
  const code = await new Promise<number>((resolve) => socket.on("close", resolve));
  return [...told, `closed ${code}`].join("\n");
}

test("websockets are those of real etcd", { skip: skipReason() }, async (t) => {
  const servers = await pair(Stage.for(t));
  await askBoth(servers, put("YQ=="));
  const create = '{"create_request":{"key":"Zm9v"}}';
  const plays: readonly SocketPlay[] = [
    {
      path: "/v3/watch",
      frames: [create, '{"progress_request":{}}', '{"cancel_request":{"watch_id":0}}'],
      closeAfter: 3,
      inTurns: true,
    },
    { path: "/v3/watch", frames: [JSON.stringify(CREATE)], closeAfter: 2 },
    { path: "/v3/watch", frames: ['{"create_request":', `{"key":"Zm9v"}}${create}`], closeAfter: 2 },
    { path: "/v3/watch", frames: [Buffer.from(create)], closeAfter: 1 },
    { path: "/v3beta/watch", frames: [create], closeAfter: 1 },
    { path: "/v3/watch?method=GET", frames: [create], closeAfter: 1 },
    { path: "/v3/watch", frames: [create], protocols: ["Bearer", "abc"], closeAfter: 1 },
    { path: "/v3/watch", frames: [create], headers: { cookie: "token=abc" }, closeAfter: 1 },
    { path: "/v3/watch", frames: [create], headers: { authorization: "abc", "grpc-timeout": "1" }, closeAfter: 1 },
    { path: "/v3/lease/keepalive", frames: ['{"ID":1}', '{"ID":2}'], closeAfter: 2 },
    { path: "/v3/kv/range", frames: ['{"key":"Zm9v"}'] },
    { path: "/v3/kv/range", frames: ['{"key":5}'] },
    { path: "/v3/nothing", frames: [] },
    { path: "/version", frames: [] },
    { path: "/nothing", frames: [] },
  ];
  for (const play of plays) {
    const [expected, found] = await Promise.all(servers.map((server) => converse(server, play)));
    assert.equal(found, expected, JSON.stringify(play));
  }
});

test("tokens count in every way in which a client of real etcd may send them", { skip: skipReason() }, async (t) => {
  const servers = await pair(Stage.for(t));
  const call = async (
    path: string,
    body: object,
    headers: (server: Server) => Readonly<Record<string, string>>,
  ): Promise<string> => {
    const answers = await Promise.all(
      servers.map((server) =>
        askGateway(server.address, { path, body: JSON.stringify(body), headers: headers(server) }),
      ),
    );
    const [expected, found] = answers.map((answer) => describeGatewayAnswer(answer));
    assert.equal(found, expected, `${path} ${JSON.stringify(body)}`);
    return expected!;
  };
  const none = (): Readonly<Record<string, string>> => ({});
  await call("/v3/auth/user/add", { name: "root", password: "r" }, none);
  await call("/v3/auth/role/add", { name: "root" }, none);
  await call("/v3/auth/user/grant", { user: "root", role: "root" }, none);
  await call("/v3/auth/enable", {}, none);
  await call("/v3/auth/authenticate", { name: "root", password: "wrong" }, none);
  const tokens = new Map<Server, string>();
  for (const server of servers) {
    const request = { path: "/v3/auth/authenticate", body: '{"name":"root","password":"r"}' };
    const { body } = await askGateway(server.address, request);
    tokens.set(server, (JSON.parse(body) as { token: string }).token);
  }
  const ways: readonly ((token: string) => Readonly<Record<string, string>>)[] = [
    () => ({}),
    (token) => ({ authorization: token }),
    (token) => ({ authorization: `Bearer ${token}` }),
    (token) => ({ "grpc-metadata-token": token }),
    (token) => ({ "grpc-metadata-authorization": token }),
    (token) => ({ token }),
    (token) => ({ cookie: `token=${token}` }),
    (token) => ({ authorization: token, "grpc-metadata-token": "x" }),
    () => ({ authorization: "x" }),
  ];
  const verdicts = new Set<string>();
  for (const way of ways) {
    const headers = (server: Server): Readonly<Record<string, string>> => way(tokens.get(server)!);
    const verdict = (await call("/v3/kv/range", { key: "Zm9v" }, headers)).split("\n")[0]!;
    verdicts.add(verdict);
    for (const path of [
      "/v3/maintenance/snapshot",
      "/v3/maintenance/status",
      "/v3/auth/user/list",
      "/v3/cluster/member/add",
    ]) {
      if (path.endsWith("snapshot") && verdict === "200") continue; // its pieces are compared above
      await call(path, {}, headers);
    }
  }
  assert.deepEqual([...verdicts].sort(), ["200", "400", "401"]);
});

test(
  "--cors and --host-whitelist admit whom real etcd admits; without the gateway its paths are none",
  { skip: skipReason() },
  async (t) => {
    const stage = Stage.for(t);
    const guarded = await pair(stage, [
      "--cors",
      "http://a.example:80,https://b.example:443",
      "--host-whitelist",
      "c.example,127.0.0.1",
    ]);
    for (const origin of ["http://a.example:80", "http://a.example", "https://b.example:443", "x", undefined]) {
      for (const host of ["c.example", "c.example:99", "d.example", "127.0.0.1", "[::1]:80", "localhost"]) {
        for (const [method, path] of [
          ["GET", "/version"],
          ["OPTIONS", "/v3/kv/range"],
          ["POST", "/v3/kv/range"],
          ["GET", "/nothing"],
        ] as const) {
          await askBoth(guarded, {
            method,
            path,
            body: "",
            headers: { host, ...(origin === undefined ? {} : { origin }) },
          });
        }
      }
    }
    const bare = await pair(stage, ["--enable-grpc-gateway=false"]);
    for (const path of ["/v3/kv/range", "/v3", "/v3/", "/v3beta/kv/range", "/version"]) {
      for (const method of ["GET", "POST", "OPTIONS"]) await askBoth(bare, { path, method });
    }
  },
);
