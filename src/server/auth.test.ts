import assert from "node:assert/strict";
import { test } from "node:test";
import { SimDisk } from "../../sim/index.js";
import { type Credentials, SimpleTokens } from "../auth/index.js";
import { plainHasher } from "../auth/testing/plain-hasher.js";
import { CodedError } from "../base/errors.js";
import { decodeGet } from "../proto/fast/get.js";
import { RangeRequest, type RequestOp } from "../proto/generated/etcdserverpb/kv.js";
import { Permission_Type as PermissionType } from "../proto/generated/authpb/auth.js";
import type { AuthRequestKind, AuthRequests, CallContext } from "./contract.js";
import {
  bytesOf,
  DATA_DIR,
  deleteRequest,
  putRequest,
  rangeRequest,
  type RunningMember,
  startMember,
  stopMember,
  timePassesUntil,
  txnRequest,
  worldOf,
  type World,
} from "./testing/fixture.js";

const credentialsOf = ({ platform }: World): Credentials => ({
  hasher: plainHasher,
  tokens: new SimpleTokens(platform.clock, platform.random),
});

const start = (world: World): Promise<RunningMember> => startMember(world, {}, credentialsOf(world));

interface Play extends RunningMember {
  /** What a call ends with: `done`, or its code. */
  verdict(call: () => Promise<unknown>): Promise<string>;
  call<Kind extends AuthRequestKind>(
    kind: Kind,
    request: AuthRequests[Kind]["request"],
    context?: CallContext,
  ): Promise<AuthRequests[Kind]["response"]>;
  login(name: string, password?: string): Promise<CallContext>;
}

function playOn(running: RunningMember): Play {
  const { member } = running;
  const passing = <Value>(coming: Promise<Value>): Promise<Value> => timePassesUntil(running, coming);
  return {
    ...running,
    verdict: async (call) => {
      try {
        await passing(call());
      } catch (error) {
        if (error instanceof CodedError) return String(error.code);
        throw error;
      }
      return "done";
    },
    call: (kind, request, context) => passing(member.auth.call(kind, request, context)),
    login: async (name, password = name) => ({
      token: (await passing(member.auth.authenticate({ name, password }))).token,
    }),
  };
}

const userAdd = (name: string): AuthRequests["authUserAdd"]["request"] => ({
  name,
  password: name,
  options: undefined,
  hashedPassword: "",
});

/** A member with `root`, and `alice` who may read and write below `a/`; authentication is on. */
async function guardedMember(world = worldOf(new SimDisk())): Promise<Play> {
  const play = playOn(await start(world));
  for (const name of ["root", "alice"]) await play.call("authUserAdd", userAdd(name));
  await play.call("authUserGrantRole", { user: "root", role: "root" });
  await play.call("authRoleAdd", { name: "role" });
  const perm = { permType: PermissionType.READWRITE, key: bytesOf("a/"), rangeEnd: bytesOf("a0") };
  await play.call("authRoleGrantPermission", { name: "role", perm });
  await play.call("authUserGrantRole", { user: "alice", role: "role" });
  await play.call("authEnable", {});
  return play;
}

const putOperation = (key: string): RequestOp => ({ request: { $case: "requestPut", value: putRequest(key, "1") } });

const DENIED = "AUTH_PERMISSION_DENIED";

test("with authentication on, each request is judged by its caller", async () => {
  const play = await guardedMember();
  const { member } = play;
  const [alice, root] = [await play.login("alice"), await play.login("root")];
  const table = async (context: CallContext | undefined, key: string): Promise<string> => {
    const told = [
      await play.verdict(() => member.put(putRequest(key, "1"), context)),
      await play.verdict(() => member.range(rangeRequest(key), context)),
      await play.verdict(() => member.range({ ...rangeRequest(key), serializable: true }, context)),
      await play.verdict(() => member.txn(txnRequest({ success: [putOperation(key)] }), context)),
      await play.verdict(() => member.deleteRange(deleteRequest(key), context)),
    ];
    return [...new Set(told)].join(" ");
  };
  assert.equal(await table(alice, "a/1"), "done");
  assert.equal(await table(alice, "b/1"), DENIED);
  assert.equal(await table(root, "b/1"), "done");
  assert.equal(await table(undefined, "a/1"), "AUTH_USER_EMPTY");
  assert.equal(await table({ token: "nonsense" }, "a/1"), "AUTH_TOKEN_INVALID");
  assert.equal(await table({ token: "AAAAAAAAAAAAAAAA.1" }, "a/1"), "AUTH_TOKEN_INVALID");
  await stopMember(play);
});

test("the calls that are told by callback are judged, too", async () => {
  const play = await guardedMember();
  const { member } = play;
  const alice = await play.login("alice");
  const get = (key: string, context?: CallContext): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const request = decodeGet(RangeRequest.encode(rangeRequest(key)).finish());
      member.getFor(request!, { resolve, reject }, context);
    });
  const span = (key: string, rangeEnd: string, context?: CallContext): Promise<unknown> =>
    new Promise((resolve, reject) => {
      member.spanFor({ key, rangeEnd, limit: 0, serializable: false }, { resolve, reject }, context);
    });
  assert.equal(await play.verdict(() => get("a/1", alice)), "done");
  assert.equal(await play.verdict(() => get("b", alice)), DENIED);
  assert.equal(await play.verdict(() => get("a/1")), "AUTH_USER_EMPTY");
  assert.equal(await play.verdict(() => get("a/1", { token: "x" })), "AUTH_TOKEN_INVALID");
  assert.equal(await play.verdict(() => span("a/", "a0", alice)), "done");
  assert.equal(await play.verdict(() => span("a/", "b", alice)), DENIED);
  assert.equal(await play.verdict(() => span("a/", "\0", alice)), DENIED);
  await stopMember(play);
});

test("a question about a lease needs a user, also where there is no such lease", async () => {
  const play = await guardedMember();
  const { member } = play;
  const [alice, root] = [await play.login("alice"), await play.login("root")];
  const { access } = member;
  assert.equal(await play.verdict(() => access.requireLeaseWrite(alice, 7n)), "done", "no such lease");
  assert.equal(await play.verdict(() => access.requireLeaseWrite(undefined, 7n)), "AUTH_USER_EMPTY");
  assert.equal(await play.verdict(() => access.requireLeaseRead(undefined, [])), "AUTH_USER_EMPTY");
  assert.equal(await play.verdict(() => access.requireLeaseRead(root, [7n, 8n])), "done");
  await stopMember(play);
});

test("a watch needs the right to all that it watches; one from a key on is no watch of that key (etcd 3.5.33)", async () => {
  const play = await guardedMember();
  const alice = await play.login("alice");
  const watch = (key: string, rangeEnd: string): Promise<string> =>
    play.verdict(() => play.member.access.requireRead(alice, bytesOf(key), bytesOf(rangeEnd)));
  assert.equal(await watch("a/1", ""), "done");
  assert.equal(await watch("a/", "a0"), "done");
  assert.equal(await watch("a/1", "\0"), DENIED);
  assert.equal(await watch("", "\0"), DENIED);
  assert.equal(await watch("", ""), DENIED, "an empty key is the smallest one");
  const bySomeone = (context: CallContext): Promise<string> =>
    play.verdict(async () => play.member.access.mustRead(context, bytesOf("a/1"), bytesOf("")));
  assert.equal(play.member.access.mustRead(alice, bytesOf("a/1"), bytesOf("")), undefined, "at once");
  assert.equal(await bySomeone({}), "AUTH_USER_EMPTY");
  assert.equal(await bySomeone({ token: "x" }), "AUTH_TOKEN_INVALID");
  await stopMember(play);
});

test("only root administers; a user sees himself and his roles", async () => {
  const play = await guardedMember();
  const { member } = play;
  const alice = await play.login("alice");
  const told = [
    await play.verdict(() => member.auth.call("authUserAdd", userAdd("bob"), alice)),
    await play.verdict(() => member.auth.call("authUserAdd", userAdd("bob"))),
    await play.verdict(() => member.auth.call("authUserList", {}, alice)),
    await play.verdict(() => member.auth.call("authStatus", {}, alice)),
    await play.verdict(() => member.auth.call("authUserGet", { name: "root" }, alice)),
    await play.verdict(() => member.auth.call("authUserGet", { name: "alice" }, alice)),
    await play.verdict(() => member.auth.call("authRoleGet", { role: "role" }, alice)),
    await play.verdict(() => member.auth.call("authRoleGet", { role: "root" }, alice)),
    await play.verdict(() => member.access.requireAdmin(alice)),
    await play.verdict(() => member.access.requireUser(alice)),
    await play.verdict(() => member.access.requireUser(undefined)),
  ];
  assert.deepEqual(told, [
    DENIED,
    "AUTH_USER_EMPTY",
    DENIED,
    DENIED,
    DENIED,
    "done",
    "done",
    DENIED,
    DENIED,
    "done",
    "AUTH_USER_EMPTY",
  ]);
  await stopMember(play);
});

test("a wrong password, an unknown user and one without a password get no token", async () => {
  const play = await guardedMember();
  const { member } = play;
  const root = await play.login("root");
  await play.call("authUserAdd", { ...userAdd("bare"), options: { noPassword: true } }, root);
  const told = [
    await play.verdict(() => member.auth.authenticate({ name: "alice", password: "x" })),
    await play.verdict(() => member.auth.authenticate({ name: "nobody", password: "x" })),
    await play.verdict(() => member.auth.authenticate({ name: "bare", password: "" })),
  ];
  assert.deepEqual(told, ["AUTH_FAILED", "AUTH_FAILED", "AUTH_NO_PASSWORD_USER"]);
  await play.call("authDisable", {}, root);
  assert.equal(
    await play.verdict(() => member.auth.authenticate({ name: "alice", password: "alice" })),
    "AUTH_NOT_ENABLED",
  );
  await stopMember(play);
});

test("no password is in the log", async () => {
  const play = await guardedMember();
  const root = await play.login("root");
  await play.call("authUserChangePassword", { name: "alice", password: "hunter2", hashedPassword: "" }, root);
  await play.login("alice", "hunter2");
  const folder = `${DATA_DIR}/member/wal`;
  let hashes = 0;
  for (const { name } of await play.disk.list(folder)) {
    const file = await play.disk.open(`${folder}/${name}`, "read");
    const bytes = Buffer.alloc(await file.size());
    await file.read(bytes, 0);
    await file.close();
    assert.ok(!bytes.includes("hunter2"), name);
    if (bytes.includes(Buffer.from("plain:hunter2").toString("base64"))) hashes++;
  }
  assert.ok(hashes > 0, "the hash is there, so the right bytes were looked at");
  await stopMember(play);
});

test("a token ends by a new password, by the user's end, and by a restart", async () => {
  const world = worldOf(new SimDisk());
  const play = await guardedMember(world);
  const [first, root] = [await play.login("alice"), await play.login("root")];
  const reads = (context: CallContext): Promise<string> =>
    play.verdict(() => play.member.range(rangeRequest("a/1"), context));
  assert.equal(await reads(first), "done");
  await play.call("authUserChangePassword", { name: "alice", password: "new", hashedPassword: "" }, root);
  assert.equal(await reads(first), "AUTH_TOKEN_INVALID");
  const second = await play.login("alice", "new");
  await play.call("authUserDelete", { name: "alice" }, root);
  assert.equal(await reads(second), "AUTH_TOKEN_INVALID");
  await stopMember(play);

  const again = playOn(await start(worldOf(play.disk, 2)));
  assert.equal(await again.verdict(() => again.member.range(rangeRequest("a/1"), root)), "AUTH_TOKEN_INVALID");
  assert.equal(
    await again.verdict(async () => again.member.range(rangeRequest("a/1"), await again.login("root"))),
    "done",
  );
  await stopMember(again);
});

test("a token of an entry that is not applied here yet is waited for, and not for ever", async () => {
  const play = await guardedMember();
  const soon = play.member.observe().appliedIndex + 1;
  // The play's chance is known: the next token's letters could be guessed; the index alone makes the call wait.
  let ended = "not yet";
  const waiting = play.verdict(() => play.member.range(rangeRequest("a/1"), { token: `x.${soon + 100_000}` }));
  void waiting.then((verdict) => (ended = verdict));
  assert.equal(ended, "not yet");
  assert.equal(await waiting, "AUTH_TOKEN_INVALID");
  await stopMember(play);
});

test("of strangers with tokens of the future not more than a thousand wait", async () => {
  const play = await guardedMember();
  const request = { ...rangeRequest("a/1"), serializable: true };
  const calls = Array.from({ length: 1_002 }, () => play.member.range(request, { token: "x.1000000" }));
  const ended = calls.map(() => "waits");
  const told = calls.map((call, at) => call.catch((error: unknown) => (ended[at] = (error as { code: string }).code)));
  for (let turn = 0; turn < 10; turn++) await Promise.resolve();
  assert.deepEqual(ended.slice(998), ["waits", "waits", "AUTH_TOKEN_INVALID", "AUTH_TOKEN_INVALID"]);
  await timePassesUntil(play, Promise.all(told));
  assert.deepEqual([...new Set(ended)], ["AUTH_TOKEN_INVALID"]);
  await stopMember(play);
});

test("a request that was on its way while users changed is refused", async () => {
  const play = await guardedMember();
  const { member } = play;
  const [alice, root] = [await play.login("alice"), await play.login("root")];
  const change = member.auth.call("authRoleAdd", { name: "another" }, root);
  for (let turn = 0; turn < 10; turn++) await Promise.resolve(); // it is on its way, and not applied
  const put = member.put(putRequest("a/1", "1"), alice);
  change.catch(() => undefined);
  put.catch(() => undefined);
  await timePassesUntil(play, Promise.allSettled([change, put]));
  const told = await play.verdict(() => put);
  assert.equal(told, "AUTH_OLD_REVISION");
  assert.equal(await play.verdict(() => member.put(putRequest("a/1", "1"), alice)), "done");
  await stopMember(play);
});

test("a certificate's name counts only where certificates are asked for, and only without a token", async () => {
  const first = await guardedMember();
  const named: CallContext = { commonName: "alice" };
  const reads = (play: Play, context: CallContext): Promise<string> =>
    play.verdict(() => play.member.range(rangeRequest("a/1"), context));
  assert.equal(await reads(first, named), "AUTH_USER_EMPTY");
  await stopMember(first);
  const world = worldOf(first.disk, 2);
  const second = playOn(await startMember(world, { clientCertAuth: true }, credentialsOf(world)));
  assert.equal(await reads(second, named), "done");
  assert.equal(await reads(second, { commonName: "mallory" }), DENIED);
  assert.equal(await reads(second, { ...named, token: "x" }), "AUTH_TOKEN_INVALID");
  await stopMember(second);
});

test("users and roles outlive a restart and a crash", async () => {
  const play = await guardedMember();
  await stopMember(play);
  const again = playOn(await start(worldOf(play.disk, 2)));
  const alice = await again.login("alice");
  assert.equal(await again.verdict(() => again.member.put(putRequest("a/1", "1"), alice)), "done");
  assert.equal(await again.verdict(() => again.member.put(putRequest("b", "1"), alice)), DENIED);
  assert.equal(await again.verdict(() => again.member.put(putRequest("a/1", "1"))), "AUTH_USER_EMPTY");
  await stopMember(again);
});

test("a member without a hasher serves users without passwords, and refuses the others by name", async () => {
  const play = playOn(await startMember(worldOf(new SimDisk())));
  assert.equal(
    await play.verdict(() => play.member.auth.call("authUserAdd", userAdd("alice"))),
    "SERVER_NOT_SUPPORTED",
  );
  const bare = { ...userAdd("bare"), options: { noPassword: true } };
  assert.equal(await play.verdict(() => play.member.auth.call("authUserAdd", bare)), "done");
  await stopMember(play);
});
