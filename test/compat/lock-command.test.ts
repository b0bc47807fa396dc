/**
 * `walnut lock` and `walnut elect` are etcdctl's: the same lines print and end the same, and the two stand in one line for a lock and take part in
 * the same elections.
 */
import assert from "node:assert/strict";
import test, { before, type TestContext } from "node:test";
import { RangeRequest_SortOrder, RangeRequest_SortTarget } from "../../src/proto/index.js";
import { reference, skipReason, underTest, walnut } from "../support/binaries.js";
import { Stage, type Server } from "../support/servers.js";
import { type Ended, Running, type RunningLine, see } from "./running-commands.js";

const skip = skipReason();

let ours: readonly string[] = [];
let theirs: readonly string[] = [];
before(() => {
  if (skip !== false) return;
  ours = walnut().command;
  theirs = [reference().etcdctl];
});

/** Without what differs from run to run: leases, revisions, members; without etcdctl's usage text, and without our hints. */
function shown({ stdout, stderr, code }: Ended): string {
  const told = stderr.split("\n").find((text) => text.startsWith("Error"));
  const printed = stdout.startsWith("NAME:") ? "" : stdout;
  return `exit ${code}\n${printed}${told ?? ""}`
    .replace(/\/[0-9a-f]{12,16}\b/g, "/LEASE")
    .replace(/(\\x[0-9a-f]{2}){14,}/g, "HEX")
    .replace(/"key":"[^"]*"/g, '"key":KEY')
    .replace(/("(?:\w*[rR]evision|lease|Lease)" ?: ?)\d+/g, "$1N")
    .replace(/ETCD_LOCK_REV=\d+/g, "ETCD_LOCK_REV=N");
}

const HELD: Readonly<Record<string, RegExp>> = {
  simple: /\/[0-9a-f]+\n.*\n/,
  json: /\}\n/,
  fields: /"Count" : \d+\n/,
};
const inAllForms = (words: readonly string[]): RunningLine[] => [
  ...Object.entries(HELD).map(([form, until]): RunningLine => ({
    args: [...words, "-w", form],
    until,
    signal: "SIGINT",
  })),
  { args: [...words, "--hex"], until: /^\\x.*\n.*\n/, signal: "SIGTERM" },
];

const LINES: readonly RunningLine[] = [
  ...inAllForms(["lock", "a"]),
  { args: ["lock", "dir/é ☃", "--ttl=3"], until: HELD["simple"]!, signal: "SIGINT" },
  { args: ["lock", "a", "--ttl=-1"], until: HELD["simple"]!, signal: "SIGINT" },
  { args: ["lock", "a", "--", "sh", "-c", "env | grep ^ETCD_LOCK | sort; cat; exit 7"], input: ["not for it"] },
  { args: ["lock", "a", "true"] },
  { args: ["lock", "a", "--", "sh", "-c", "echo $ETCD_LOCK_KEY"], env: { ETCD_LOCK_KEY: "set already" } },
  { args: ["lock", "a", "--", "sh", "-c", "kill -9 $$"] },
  { args: ["lock", "a", "--", "sh", "-c", "kill -TERM $$"] },
  { args: ["lock", "a", "nosuchcommand"] },
  { args: ["lock", "a", "./nosuchcommand"] },
  { args: ["lock", "a", "/etc/passwd"] },
  { args: ["lock"] },
  { args: ["lock", "a", "ls", "-l"] },
  { args: ["lock", "a", "--ttl=nuts"] },
  { args: ["lock", "a", "--ttl"] },
  { args: ["lock", "a", "-w", "nuts"] },
  ...inAllForms(["elect", "e", "proposal é"]),
  { args: ["elect"] },
  { args: ["elect", "e"] },
  { args: ["elect", "e", "p", "q"] },
  { args: ["elect", "e", "p", "-l"] },
  { args: ["elect", "e", "p", "--listen"] },
];

test("each line of lock and elect prints and ends as etcdctl's does, and leaves no key", { skip }, async (t) => {
  const server = await started(t);
  for (const line of LINES) {
    const title = [...Object.entries(line.env ?? {}).map((pair) => pair.join("=")), ...line.args, line.signal ?? ""];
    await t.test(title.join(" "), async () => {
      const expected = await see(theirs, server.address, line);
      const found = await see(ours, server.address, line);
      assert.equal(shown(found), shown(expected));
      assert.deepEqual(await keys(server), []);
    });
  }
});

test("a form that a lock cannot be shown in gives the lock back", { skip }, async (t) => {
  const server = await started(t);
  for (const form of ["table"]) {
    for (const words of [
      ["lock", "a"],
      ["elect", "a", "p"],
    ]) {
      const { code, stderr } = await see(ours, server.address, { args: [...words, "-w", form] });
      assert.equal(code, 4);
      assert.match(stderr, /^Error: table not supported as output format/);
      assert.deepEqual(await keys(server), []);
    }
  }
});

test(
  "who waits for a lock gets it from the other command, in the order of coming; who is interrupted leaves the line",
  { skip },
  async (t) => {
    const server = await started(t);
    const holds = /^a\/[0-9a-f]+\n/;
    const lock: RunningLine = { args: ["lock", "a"] };
    const first = begin(t, theirs, server.address, lock);
    await first.printed(holds);
    const second = begin(t, ours, server.address, lock);
    await inLine(server, 2);
    const impatient = [begin(t, ours, server.address, lock), begin(t, theirs, server.address, lock)];
    await inLine(server, 4);
    const third = begin(t, theirs, server.address, lock);
    await inLine(server, 5);
    const ends = await Promise.all(impatient.map((each) => each.end("SIGINT")));
    assert.equal(shown(ends[0]!), shown(ends[1]!));
    assert.match(shown(ends[0]!), /^exit 1\nError: context canceled/);
    await inLine(server, 3);
    assert.equal(second.stdout, "");
    await first.end("SIGINT");
    await second.printed(holds);
    assert.equal(third.stdout, "");
    await second.end("SIGTERM");
    await third.printed(holds);
    const command = begin(t, ours, server.address, { args: ["lock", "a", "--", "sh", "-c", "echo under lock"] });
    await inLine(server, 2);
    await third.end("SIGINT");
    assert.deepEqual(await command.ended(), { stdout: "under lock\n", stderr: "", code: 0 });
    assert.deepEqual(await keys(server), []);
  },
);

test("who holds a lock and dies loses it when the session's time is over", { skip }, async (t) => {
  const server = await started(t);
  const holder = begin(t, ours, server.address, { args: ["lock", "a", "--ttl=2"] });
  await holder.printed(/^a\//);
  await holder.end("SIGKILL");
  const { stdout, code } = await see(ours, server.address, { args: ["lock", "a", "echo", "mine"] });
  assert.deepEqual([stdout, code], ["mine\n", 0]);
});

test("a lock whose server is gone for longer than the session ends with that, and says so", { skip }, async (t) => {
  const stage = Stage.for(t);
  const server = await stage.start(underTest(), await stage.seat());
  const holder = begin(t, ours, server.address, { args: ["lock", "a", "--ttl=2"] });
  await holder.printed(/^a\//);
  await server.kill();
  const { stderr, code } = await holder.ended();
  assert.equal(code, 1);
  assert.match(stderr, /^Error: session expired\nwalnut: no member answered/);
});

test("a lock outlives a restart of its server", { skip }, async (t) => {
  const stage = Stage.for(t);
  const seat = await stage.seat();
  const server = await stage.start(underTest(), seat);
  const holder = begin(t, ours, server.address, { args: ["lock", "a", "--ttl=30"] });
  await holder.printed(/^a\//);
  const waiter = begin(t, ours, server.address, { args: ["lock", "a", "echo", "got it"] });
  await inLine(server, 2);
  await server.stop();
  const again = await stage.start(underTest(), seat);
  assert.equal((await keys(again)).length, 2);
  assert.equal(waiter.stdout, "");
  assert.equal((await holder.end("SIGINT")).code, 0);
  assert.deepEqual(await waiter.ended(), { stdout: "got it\n", stderr: "", code: 0 });
});

test(
  "observers of either command see the same leaders and values, of whichever command they are",
  { skip },
  async (t) => {
    const server = await started(t);
    // Who observes before anyone stands may see a first leader by a read or by a watch: the answers' headers tell which.
    const observe = (form: string): Running[] =>
      [theirs, ours].map((command) => begin(t, command, server.address, { args: ["elect", "-l", "e", "-w", form] }));
    const observers = observe("simple");
    const first = begin(t, ours, server.address, campaign("first"));
    await first.printed(HELD["simple"]);
    const second = begin(t, theirs, server.address, campaign("second"));
    await inLine(server, 2);
    observers.push(...observe("json"), ...observe("fields"));
    for (const each of observers) await each.printed(/first|Zmlyc3Q=/);
    const [{ key }] = (await pairs(server)) as [{ key: Buffer }];
    await server.client.put(key, "changed");
    for (const each of observers) await each.printed(/changed|Y2hhbmdlZA==/);
    assert.equal(second.stdout, "");
    await first.end("SIGINT");
    await second.printed(HELD["simple"]);
    for (const each of observers) {
      await each.printed(/second\n|second"\n"Lease" : \d+\n"More" : \w+\n"Count" : \d+\n|c2Vjb25k.*\n/);
    }
    const ends = await Promise.all(observers.map((each) => each.end("SIGINT")));
    for (const at of [0, 2, 4]) assert.deepEqual(ends[at + 1], { ...ends[at], code: 0 });
    assert.equal((await second.end("SIGINT")).code, 0);
  },
);

const campaign = (value: string): RunningLine => ({ args: ["elect", "e", value] });

/** A command under way, which does not outlive its test. */
function begin(t: TestContext, command: readonly string[], endpoints: string, line: RunningLine): Running {
  const running = new Running(command, endpoints, line);
  t.after(() => running.end());
  return running;
}

async function started(t: Parameters<typeof Stage.for>[0]): Promise<Server> {
  const stage = Stage.for(t);
  return stage.start(underTest(), await stage.seat());
}

async function pairs({ client }: Server): Promise<{ readonly key: Buffer }[]> {
  const { kvs = [] } = await client.call("Range", {
    key: Buffer.from([0]),
    range_end: Buffer.from([0]),
    sort_target: RangeRequest_SortTarget.CREATE,
    sort_order: RangeRequest_SortOrder.ASCEND,
  });
  return kvs as { readonly key: Buffer }[];
}

async function keys(server: Server): Promise<string[]> {
  return (await pairs(server)).map(({ key }) => Buffer.from(key).toString());
}

/** Waits until so many stand in line. */
async function inLine(server: Server, count: number): Promise<void> {
  while ((await keys(server)).length !== count) await new Promise((resolve) => setTimeout(resolve, 20));
}
