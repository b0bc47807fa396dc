/** `walnut make-mirror` makes of a cluster what etcdctl's makes of it, and is refused as it is. */
import assert from "node:assert/strict";
import test, { before, type TestContext } from "node:test";
import { runClientCommand } from "../../src/cli/commands/index.js";
import { reference, skipReason, underTest, walnut } from "../support/binaries.js";
import { AuthAdmin } from "../support/auth.js";
import { Stage, type Server } from "../support/servers.js";
import { testWorld } from "./command-lines.js";
import { Running, see } from "./running-commands.js";

const skip = skipReason();

let ours: readonly string[] = [];
let theirs: readonly string[] = [];
before(() => {
  if (skip !== false) return;
  ours = walnut().command;
  theirs = [reference().etcdctl];
});

async function servers(t: TestContext, count: number): Promise<Server[]> {
  const stage = Stage.for(t);
  return Promise.all(Array.from({ length: count }, async () => stage.start(underTest(), await stage.seat())));
}

/** Keys and values as the newest revision has them. */
async function pairs(server: Server): Promise<string[]> {
  const { client } = server;
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
  const held: string[] = [];
  for await (const { key, value } of client.keys({ revision: await client.revision() })) {
    held.push(`${text(key)}=${text(value)}`);
  }
  return held;
}

async function eventually(what: () => Promise<boolean>): Promise<void> {
  while (!(await what())) await new Promise((resolve) => setTimeout(resolve, 20));
}

const WAYS: readonly (readonly string[])[] = [
  [],
  ["--prefix", "dir/"],
  ["--prefix", "dir/", "--dest-prefix", "elsewhere/"],
  ["--prefix", "dir/", "--no-dest-prefix"],
  ["--dest-prefix", "all/"],
  ["--prefix", "dir/", "--dest-insecure-transport=true"],
];

for (const words of WAYS) {
  test(`a mirror holds what etcdctl's holds: make-mirror ${words.join(" ")}`, { skip }, async (t) => {
    const [source, mine, other] = (await servers(t, 3)) as [Server, Server, Server];
    for (let i = 0; i < 150; i++) await source.client.put(`dir/${i}`, `value ${i}`);
    await source.client.put("dir/bytes\u00ff", "");
    await source.client.put("other", "o");
    await mine.client.put("stays", "here");
    await other.client.put("stays", "here");
    const mirrors = [
      new Running(ours, source.address, { args: ["make-mirror", mine.address, ...words], inputStays: true }),
      new Running(theirs, source.address, { args: ["make-mirror", other.address, ...words], inputStays: true }),
    ];
    t.after(() => Promise.all(mirrors.map((each) => each.end())));
    const both = async (done: (held: string[]) => boolean): Promise<boolean> =>
      done(await pairs(mine)) && done(await pairs(other));
    await eventually(() => both((held) => held.length > 150));
    await source.client.call("DeleteRange", { key: Buffer.from("dir/"), range_end: Buffer.from("dir/3") });
    await source.client.put("other", "changed");
    await source.client.put("dir/last", "end");
    await eventually(() => both((held) => held.some((pair) => pair.endsWith("=end"))));
    assert.deepEqual(await pairs(mine), await pairs(other));
  });
}

test("changes are mirrored from a revision on; one that is compacted is refused", { skip }, async (t) => {
  const [source, target] = (await servers(t, 2)) as [Server, Server];
  for (let i = 0; i < 10; i++) await source.client.put(`k${i}`, "v");
  const words = ["make-mirror", target.address, "--rev=7", "--max-txn-ops=2"];
  const mirror = new Running(ours, source.address, { args: words });
  t.after(() => mirror.end());
  await source.client.call("DeleteRange", { key: Buffer.from("k"), range_end: Buffer.from("k9") });
  await source.client.put("end", "");
  await eventually(async () => (await pairs(target)).includes("end="));
  assert.deepEqual(await pairs(target), ["end=", "k9=v"]);
  await source.client.call("Compact", { revision: 9, physical: true });
  const { code, stderr } = await see(ours, source.address, { args: words });
  assert.equal(code, 1);
  assert.match(stderr, /^Error: etcdserver: mvcc: required revision has been compacted\nwalnut: /);
});

test(
  "the count of what was mirrored is told each 30 seconds; a destination that refuses ends the mirror",
  { skip },
  async (t) => {
    const [source, target] = (await servers(t, 2)) as [Server, Server];
    for (let i = 0; i < 5; i++) await source.client.put(`k${i}`, "v");
    const told: { everyMs: number; tell: () => void }[] = [];
    const { world, seen } = testWorld({ env: { ETCDCTL_ENDPOINTS: source.address } });
    const every = (everyMs: number, tell: () => void): (() => void) => {
      told.push({ everyMs, tell });
      return () => undefined;
    };
    const ended = runClientCommand(["make-mirror", target.address], { ...world, every });
    await eventually(async () => (await pairs(target)).length === 5);
    const [clock] = told;
    assert.equal(clock!.everyMs, 30_000);
    clock!.tell();
    assert.equal(seen().stdout, "5\n");
    await new AuthAdmin(target.client).enable("root");
    await source.client.put("k6", "v");
    assert.equal(await ended, 1);
    assert.match(seen().stderr, /^Error: etcdserver: user name is empty\n/);
  },
);

test("what etcdctl refuses is refused with its words and its exit code", { skip }, async (t) => {
  const [source, target] = (await servers(t, 2)) as [Server, Server];
  for (const words of [
    [],
    ["a", "b"],
    [target.address, "--dest-prefix=x", "--no-dest-prefix"],
    [target.address, "--dest-cert=nofile"],
    [target.address, "--dest-key=nofile"],
    [target.address, "--dest-cert=nofile", "--dest-key=nofile"],
    [target.address, "--dest-cacert=nofile"],
    [target.address, "--cacert=nofile"],
    [target.address, "--nuts"],
    [target.address, "--prefix"],
  ]) {
    const line = { args: ["make-mirror", ...words] };
    const [expected, found] = [await see(theirs, source.address, line), await see(ours, source.address, line)];
    assert.equal(found.code, expected.code, words.join(" "));
    assert.equal(found.stderr.split("\n")[0], expected.stderr.split("\n")[0], words.join(" "));
  }
});
