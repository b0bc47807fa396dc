/** `walnut watch` is etcdctl's: the same lines, at the same real etcd, print the same and end the same. */
import assert from "node:assert/strict";
import test, { before } from "node:test";
import { reference, skipReason, walnut } from "../support/binaries.js";
import { Stage } from "../support/servers.js";
import { type Ended, type RunningLine, see } from "./running-commands.js";

const skip = skipReason();

/** What a person sees, without etcdctl's log and usage text, and without our hints. */
function shown({ stdout, stderr, code }: Ended): string {
  const told = stderr.split("\n").filter((text) => /^(Error|Invalid|watch was|command)/.test(text));
  return `exit ${code}\n${stdout}${told.join("\n")}`;
}

/** All of the last event, for what is cut off in its middle differs from time to time. */
const END = /end\n/;
const LAST: Readonly<Record<string, RegExp>> = {
  simple: END,
  json: /ZW5k.*\n/,
  fields: /"end"\n"Lease" : 0\n/,
  protobuf: /end/,
};
const show = "echo $ETCD_WATCH_REVISION $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE";

const LINES: readonly RunningLine[] = [
  ...Object.entries(LAST).map(([form, until]): RunningLine => ({
    args: ["watch", "a", "--rev=2", "-w", form],
    until,
  })),
  ...Object.entries(LAST).map(([form, until]): RunningLine => ({
    args: ["watch", "", "--prefix", "--rev", "2", "--prev-kv", "-w", form],
    until,
  })),
  { args: ["watch", "a", "c", "--rev=2"], until: END },
  { args: ["watch", "--rev=2", "a", "--hex"], until: /\\x65\\x6e\\x64\n/ },
  { args: ["watch", "a", "--rev=2", "-w", "table"] },
  { args: ["watch", "a", "--rev=2", "--", "sh", "-c", show], until: /"end"\n/ },
  { args: ["watch", "a", "--rev=2", "--", "false"] },
  { args: ["watch", "--rev=2", "--", "sh", "-c", show], env: { ETCDCTL_WATCH_KEY: "a" }, until: /"end"\n/ },
  { args: ["watch", "--rev=2"], env: { ETCDCTL_WATCH_KEY: "a", ETCDCTL_WATCH_RANGE_END: "c" }, until: END },
  { args: ["watch"] },
  { args: ["watch", "--rev=2"] },
  { args: ["watch", "a", "--"] },
  { args: ["watch", "a"], env: { ETCDCTL_WATCH_KEY: "b" } },
  { args: ["watch", "a"], env: { ETCDCTL_WATCH_RANGE_END: "b" } },
  { args: ["watch", "a", "b", "--prefix"] },
  { args: ["watch", "b", "a"] },
  { args: ["watch", "a", "--rev=1", "--prefix"], until: END },
  { args: ["watch", "-i"], input: ["watch a --rev=2"], inputStays: true, until: END },
  {
    args: ["watch", "-i"],
    input: ["watch a --rev=2 -- sh -c 'echo x$ETCD_WATCH_VALUE'"],
    inputStays: true,
    until: /x"end"\n/,
  },
  { args: ["watch", "-i"], input: ["", "get a", "watch", "watch a b --prefix"] },
  { args: ["watch", "-i"], input: ["watch a --nuts"] },
  { args: ["watch", "-i"], input: ["watch a --"] },
];

let command: readonly string[] = [];
before(() => {
  if (skip === false) command = walnut().command;
});

test("each line of watch prints and ends as etcdctl's does", { skip }, async (t) => {
  const stage = Stage.for(t);
  const server = await stage.start(reference(), await stage.seat());
  const { client } = server;
  await client.put("a", "1");
  await client.put("b", "2\u0007");
  await client.put("a", "3");
  await client.call("DeleteRange", { key: Buffer.from("a") });
  await client.put("a", "end");
  for (const line of LINES) {
    const title = [
      ...Object.entries(line.env ?? {}).map((pair) => pair.join("=")),
      ...line.args,
      ...(line.input ?? []),
    ];
    await t.test(title.join(" "), async () => {
      const expected = await see([reference().etcdctl], server.address, line);
      assert.equal(shown(await see(command, server.address, line)), shown(expected));
    });
  }
  await t.test("a compacted revision", async () => {
    await client.call("Compact", { revision: 4, physical: true });
    const line = { args: ["watch", "a", "--rev=2"] };
    assert.equal(
      shown(await see(command, server.address, line)),
      shown(await see([reference().etcdctl], server.address, line)),
    );
  });
});

test("a watch goes on where it was when its server comes back", { skip }, async (t) => {
  const stage = Stage.for(t);
  const seat = await stage.seat();
  const first = await stage.start(reference(), seat);
  await first.client.put("a", "1");
  const watching = see(command, first.address, { args: ["watch", "a", "--rev=1"], until: END });
  await first.client.put("a", "2");
  await first.stop();
  const second = await stage.start(reference(), seat);
  await second.client.put("a", "3");
  await second.client.put("a", "end");
  assert.equal((await watching).stdout, ["1", "2", "3", "end"].map((value) => `PUT\na\n${value}\n`).join(""));
});
