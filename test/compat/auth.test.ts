/** Authentication: real etcd's verdicts, and directories with users that change hands. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { etcd, reference, skipReason, underTest, type ServerBinary } from "../support/binaries.js";
import { AuthAdmin, authPath, authRequest, describeAuthAnswer } from "../support/auth.js";
import { Stage, type Server } from "../support/servers.js";
import { describeMessage, encode } from "../support/messages.js";
import { chooseSeed, SeededRandom } from "../support/random.js";
import { compareServices } from "./service-differential.js";
import { CALLERS, cellName, missingAuthCalls, playTable, ROWS } from "./auth-table.js";

test("every call by every kind of caller is answered as real etcd answers", { skip: skipReason() }, async (t) => {
  assert.deepEqual(missingAuthCalls(), []);
  const stage = Stage.for(t);
  const [right, judged] = await Promise.all([tableOf(stage, reference()), tableOf(stage, underTest())]);
  const cells = ROWS.flatMap((row) => CALLERS.map((caller) => cellName(row, caller)));
  const differences: string[] = [];
  for (const cell of cells) {
    const [expected, found] = [right.get(cell)!, judged.get(cell)!];
    if (found !== expected) differences.push(`${cell}\n  etcd:  ${expected}\n  found: ${found}`);
  }
  t.diagnostic(`${ROWS.length} requests by ${CALLERS.length} callers`);
  assert.equal(differences.length, 0, differences.join("\n"));
});

async function tableOf(stage: Stage, binary: ServerBinary): Promise<Map<string, string>> {
  const server = await stage.start(binary, await stage.seat());
  return playTable(server.client);
}

test("a simple token ends when it was not used for its time", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  const server = await stage.start(underTest(), await stage.seat(), { flags: ["--auth-token-ttl", "1"] });
  const admin = new AuthAdmin(server.client);
  await admin.enable("root");
  const token = admin.token!;
  assert.equal(await mayRead(server, token), "ok");
  // Each look prolongs its life, so it is left alone for longer and longer.
  let verdict = "ok";
  for (let pauseMs = 500; verdict === "ok" && pauseMs < 60_000; pauseMs *= 2) {
    await new Promise((resolve) => void setTimeout(resolve, pauseMs));
    verdict = await mayRead(server, token);
  }
  assert.equal(verdict, "16 etcdserver: invalid auth token");
});

test(
  "a member with an empty --auth-token gives nobody a token, whatever the password",
  { skip: skipReason() },
  async (t) => {
    const stage = Stage.for(t);
    const told: string[][] = [];
    for (const binary of [reference(), underTest()]) {
      const server = await stage.start(binary, await stage.seat(), { flags: ["--auth-token", ""] });
      const admin = new AuthAdmin(server.client);
      await admin.call("UserAdd", { name: "root", password: "right" });
      await admin.call("RoleAdd", { name: "root" });
      await admin.call("UserGrantRole", { user: "root", role: "root" });
      const logIn = async (password: string): Promise<string> => {
        const request = authRequest("Authenticate", { name: "root", password });
        return describeAuthAnswer("Authenticate", await server.client.send(authPath("Authenticate"), request));
      };
      const before = await logIn("right");
      await admin.call("AuthEnable");
      const after = [
        await logIn("right"),
        await logIn("wrong"),
        await mayRead(server, undefined),
        await mayRead(server, "x.1"),
      ];
      told.push([before, ...after]);
      await server.stop();
    }
    assert.deepEqual(told[1], told[0]);
  },
);

async function mayRead(server: Server, token: string | undefined, key = "k"): Promise<string> {
  const request = encode("RangeRequest", { key: Buffer.from(key) });
  const answer = await server.client.send("/etcdserverpb.KV/Range", request, undefined, token);
  return answer.kind === "error" ? `${answer.code} ${answer.text}` : "ok";
}

async function mayWrite(server: Server, token: string | undefined, key = "k"): Promise<string> {
  const request = encode("PutRequest", { key: Buffer.from(key), value: Buffer.from("v") });
  const answer = await server.client.send("/etcdserverpb.KV/Put", request, undefined, token);
  return answer.kind === "error" ? `${answer.code} ${answer.text}` : "ok";
}

const DENIED = "7 etcdserver: permission denied";

test("users and roles go with their directory from etcd to Walnut and back", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  const seat = await stage.seat();
  const first = await stage.start(etcd("3.5.16"), seat);
  const admin = new AuthAdmin(first.client);
  await admin.addRole("readers", "read", "a", "m");
  await admin.addUser("alice", "of etcd", ["readers"]);
  await admin.call("UserAdd", { name: "bare", options: { no_password: true } });
  await admin.enable("secret");
  const status = await admin.ask("AuthStatus");
  await first.stop();

  const second = await stage.start(underTest(), seat);
  const there = new AuthAdmin(second.client);
  assert.equal(await mayRead(second, undefined), "3 etcdserver: user name is empty");
  await assert.rejects(there.login("alice", "wrong"), { message: /^3 etcdserver: authentication failed/ });
  await there.loginAsRoot("secret");
  assert.equal(await there.ask("AuthStatus"), status);
  const alice = await there.login("alice", "of etcd");
  assert.equal(await mayRead(second, alice), "ok");
  assert.equal(await mayWrite(second, alice), DENIED);
  assert.equal(await mayRead(second, alice, "z"), DENIED);
  await there.addRole("writers", "write", "k", "\0");
  await there.addUser("bob", "of Walnut", ["writers"]);
  await there.call("UserChangePassword", { name: "alice", password: "changed" });
  const lists = [
    await there.ask("UserList"),
    await there.ask("RoleList"),
    await there.ask("RoleGet", { name: "writers" }),
  ];
  const later = await there.ask("AuthStatus");
  await second.stop();

  const third = await stage.start(reference(), seat);
  const back = new AuthAdmin(third.client);
  await back.loginAsRoot("secret");
  assert.equal(await back.ask("AuthStatus"), later);
  assert.deepEqual(
    [await back.ask("UserList"), await back.ask("RoleList"), await back.ask("RoleGet", { name: "writers" })],
    lists,
  );
  await assert.rejects(back.login("alice", "of etcd"));
  assert.equal(await mayRead(third, await back.login("alice", "changed")), "ok");
  const bob = await back.login("bob", "of Walnut");
  assert.equal(await mayWrite(third, bob, "zz"), "ok");
  assert.equal(await mayRead(third, bob, "zz"), DENIED);
  assert.equal(await mayWrite(third, bob, "j"), DENIED);
});

const REQUESTS = Number(process.env["WALNUT_REQUESTS"] ?? 2_000);

test("random requests while users, roles and rights change are answered alike", { skip: skipReason() }, async (t) => {
  const seed = chooseSeed(process.env["WALNUT_SEED"]);
  const result = await compareServices({ seed, requests: REQUESTS }, reference(), underTest());
  t.diagnostic(
    `seed ${seed}: ${result.requests} requests, refused alike in ${result.refusals.size} ways, ${result.guarded} answered while authentication was on`,
  );
  assert.ok(result.refusals.size > 15, "mistakes were among the requests");
  assert.ok(result.guarded > 20, "and some were let in");
});

test(
  "any span is judged as real etcd's tree of rights judges it, backwards, too",
  { skip: skipReason() },
  async (t) => {
    const seed = chooseSeed(process.env["WALNUT_SEED"]);
    t.diagnostic(`seed ${seed}`);
    const random = new SeededRandom(seed);
    const text = (): string =>
      Array.from({ length: random.between(1, 3) }, () => random.pick("a b c d e f g h".split(" "))).join("");
    const ranges = Array.from({ length: 40 }, () => [text(), random.pick(["", "\0", text()])] as const);
    const asked = Array.from({ length: 1_500 }, () => ({ key: Buffer.from(text()), range_end: Buffer.from(text()) }));
    const stage = Stage.for(t);
    const verdicts: string[][] = [];
    for (const binary of [reference(), underTest()]) {
      const server = await stage.start(binary, await stage.seat());
      const admin = new AuthAdmin(server.client);
      await admin.call("RoleAdd", { name: "role" });
      for (const [key, end] of ranges) await admin.grant("role", "read", key, end).catch(() => undefined); // some hold nothing
      await admin.addUser("alice", "alice", ["role"]);
      await admin.enable("root");
      const token = await admin.login("alice", "alice");
      const told: string[] = [];
      for (const message of asked) {
        const answer = await server.client.send(
          "/etcdserverpb.KV/Range",
          encode("RangeRequest", { ...message, serializable: true }),
          undefined,
          token,
        );
        told.push(`${describeMessage(message)}: ${answer.kind === "error" ? answer.text : "ok"}`);
      }
      verdicts.push(told);
    }
    assert.deepEqual(verdicts[1], verdicts[0]);
  },
);

/** A method of each family. */
const SIGN_METHODS = ["RS256", "PS384", "ES512", "HS256"];

test("a signed token of etcd's is good at Walnut, and the reverse", { skip: skipReason() }, async (t) => {
  for (const method of SIGN_METHODS) {
    const stage = Stage.for(t);
    const keys = keysFor(method, stage.folder);
    const flags = ["--auth-token", `jwt,sign-method=${method},${keys}`];
    const [right, judged] = await Promise.all([
      stage.start(reference(), await stage.seat(), { flags }),
      stage.start(underTest(), await stage.seat(), { flags }),
    ]);
    const tokens: (string | undefined)[] = [];
    for (const server of [right, judged]) {
      const admin = new AuthAdmin(server.client);
      await admin.enable("root"); // the same changes, so the same auth revision
      tokens.push(admin.token);
    }
    for (const server of [right, judged]) {
      for (const token of tokens)
        assert.equal(await mayRead(server, token), "ok", `${method} at ${server.binary.name}`);
    }
    const change = new AuthAdmin(judged.client);
    await change.loginAsRoot("root");
    await change.call("RoleAdd", { name: "later" });
    for (const token of tokens) assert.equal(await mayRead(judged, token), OLD_REVISION, method);
    await stage.clear();
  }
});

const OLD_REVISION = "3 etcdserver: revision of auth store is old";

/** The options that name the keys. */
function keysFor(method: string, folder: string): string {
  const [publicPath, privatePath] = [join(folder, "token.pub"), join(folder, "token.key")];
  if (method.startsWith("HS")) {
    writeFileSync(privatePath, "a secret of both");
    return `priv-key=${privatePath}`;
  }
  const { publicKey, privateKey } = method.startsWith("ES")
    ? generateKeyPairSync("ec", { namedCurve: "P-521" })
    : generateKeyPairSync("rsa", { modulusLength: 2048 });
  writeFileSync(publicPath, publicKey.export({ format: "pem", type: "spki" }));
  writeFileSync(privatePath, privateKey.export({ format: "pem", type: "pkcs8" }));
  return `pub-key=${publicPath},priv-key=${privatePath}`;
}
