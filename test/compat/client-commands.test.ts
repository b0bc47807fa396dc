/** Walnut's client commands are etcdctl's: the same lines, each against a real etcd of its own, print the same and end the same. */
import assert from "node:assert/strict";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { isClientCommand } from "../../src/cli/commands/index.js";
import { etcd, reference, skipReason } from "../support/binaries.js";
import { Stage, type Server } from "../support/servers.js";
import { run } from "../support/tools.js";
import { inAllForms, line, runHere, shown, type Line } from "./command-lines.js";

/** `_` stands for a space in an argument, `~` for nothing. */
const LINES: readonly Line[] = [
  line("put a 1"),
  line("put a 2 --prev-kv"),
  ...inAllForms("put a 3 --prev-kv"),
  line("put b ~"),
  line("put c", 'from stdin\nwith \u0007 \\ " é ☃ \u007f \u200b lines\n'),
  line("put c"),
  line("put"),
  line("put é☃ ü"),
  line("put k --ignore-value"),
  line("put a --ignore-value --prev-kv"),
  line("put a x --ignore-value"),
  line("put a 4 --ignore-lease"),
  line("put a 4 --lease=zz"),
  line("put a 4 --lease=123456789abcdef01"),
  line("put a 4 --lease 77"),
  line("put -- -a -b"),
  line("put dir/1 x"),
  line("put dir/2 y"),
  line("put dir/3 <&>"),
  ...inAllForms("get a"),
  ...inAllForms("get ~ --prefix"),
  ...inAllForms("get ~ --from-key --limit=2"),
  ...inAllForms("get absent"),
  line("get"),
  line("get -- -a"),
  line("get a --hex"),
  line("get --hex c"),
  line("get --hex=false c"),
  line("get dir/ --prefix --keys-only"),
  line("get dir/ --prefix --print-value-only"),
  line("get dir/ --prefix --print-value-only -w json"),
  line("get dir/ --prefix --count-only"),
  line("get dir/ --prefix --count-only -w fields"),
  line("get dir/ --prefix --keys-only --count-only"),
  line("get dir/ --prefix --from-key"),
  line("get dir/ e --prefix"),
  line("get dir/ dir0"),
  line("get --prefix=false dir/1"),
  line("get --prefix=true dir/ --order=descend"),
  line("get ~ --prefix --sort-by=create --order=DESCEND --keys-only"),
  line("get ~ --prefix --sort-by=VALUE"),
  line("get ~ --prefix --sort-by=version --order=ascend"),
  line("get ~ --prefix --sort-by=MODIFY"),
  line("get ~ --prefix --sort-by=nuts"),
  line("get ~ --prefix --order=nuts"),
  line("get a --consistency=s"),
  line("get a --consistency=x"),
  line("get a --rev=2"),
  line("get a --rev=1000"),
  line("get a --rev=9223372036854775807"),
  line("get a --rev=-5"),
  line("-w json get a"),
  line("--write-out=fields --command-timeout 3s get a"),
  line("get -w=json a"),
  line("get -wjson a"),
  ...inAllForms("del dir/2 --prev-kv"),
  line("del dir/ --prefix --prev-kv"),
  line("del"),
  line("del a b c"),
  line("del x z"),
  line("del x z --range"),
  line("del ~"),
  line("put t/1 1"),
  line("del t/ --prefix=true"),
  line("put u 1"),
  line("txn", 'value("a") = "4"\n\nget a\n\nput never 1\n\n'),
  line("txn -i", "\nput a 5\n\n\n"),
  line(
    "txn --interactive",
    'mod("a") < "100000"\nver("a") > "1"\ncreate("a") != "0"\n\nput "q\\"x\\x41\\101" \'it is\'\nget "" --prefix\n\ndel a\n\n',
  ),
  line("txn -w json", 'val("a") > "0"\n\nput z 1 --prev-kv\nput y ""\nget z\ndel z --prev-kv\n\n\n'),
  line("txn -w json", 'val("a") > "0"\n\nput y 1 --prev-kv\nget y\ndel absent\n\n\n'),
  line(
    "txn -w fields",
    'c("y") != "0"\nm("y") != "0"\nversion("y") = "2"\n\nput y 2 --prev-kv\nget y u\ndel absent\n\n\n',
  ),
  line("txn -w protobuf", "\nput y 3\nget u\n\n\n"),
  line("txn -w table", "\nput y 4\n\n\n"),
  line("txn", "\nget a --prefix --from-key\n\n\n"),
  line("txn", 'lease "a"\n\n'),
  line("txn", 'nuts("a") = "1"\n\n'),
  line("txn", 'ver("a") = "x"\n\n'),
  line("txn", "\nput\n\n"),
  line("txn", "\nwatch a\n\n"),
  line("txn", "\nget a --nuts\n\n"),
  line("txn", "\nput a 1"),
  line("txn x"),
  line("txn", "\nput d 1\ndel d\n\n\n"),
  // The first leases are granted before, under IDs of the test's own.
  ...inAllForms("lease list"),
  line("put --lease=4d leased 1"),
  line("put leased 2 --ignore-lease"),
  ...inAllForms("get leased"),
  ...inAllForms("lease timetolive 4d"),
  ...inAllForms("lease timetolive 4d --keys"),
  ...inAllForms("lease timetolive 4e --keys"),
  ...inAllForms("lease keep-alive --once 4d"),
  ...["+4D", "zz", "4d_", "123456789abcdef01", "~", "4d 4e"].map((id) => line(`lease timetolive ${id}`)),
  line("lease timetolive -- -3"),
  line("lease timetolive"),
  line("lease keep-alive --once 4e"),
  line("lease keep-alive 4e"),
  line("lease keep-alive"),
  line("lease keep-alive x"),
  line("lease revoke 4e"),
  line("lease revoke"),
  line("lease revoke x"),
  line("lease revoke 4d"),
  line("get leased --prefix"),
  line("lease revoke -w json -- -3"),
  line("lease list x"),
  ...inAllForms("lease grant 5000"),
  line("lease grant 0"),
  line("lease grant -- -1"),
  line("lease grant 9000000001"),
  line("lease grant 9223372036854775808"),
  line("lease grant 1 2"),
  line("lease grant"),
  line("lease grant x"),
  ...inAllForms("member list"),
  ...inAllForms("endpoint status"),
  ...inAllForms("endpoint hashkv"),
  ...inAllForms("endpoint health"),
  line("endpoint --cluster health"),
  line("endpoint health --cluster=true"),
  line("member list --hex"),
  line("member list --hex -w json"),
  line("endpoint hashkv --rev=1000"),
  line("endpoint hashkv --rev=3"),
  ...inAllForms("alarm list"),
  line("alarm disarm"),
  line("alarm disarm -w json"),
  line("alarm list x"),
  line("compaction"),
  line("compaction x"),
  line("compaction 3"),
  line("compaction 3"),
  line("compaction 4 --physical"),
  line("compaction 100000"),
  line("compaction 9223372036854775807"),
  line("get a --rev=2"),
  line("defrag"),
  line("defrag --cluster"),
  line("snapshot save"),
  { args: ["get", "a"], env: { ETCDCTL_WRITE_OUT: "json" } },
  { args: ["get", "a"], env: { ETCDCTL_HEX: "true" } },
  { args: ["put", "big", "-w", "json"], input: "x".repeat(3_000_000) },
  { args: ["put", "big", "-w", "json"], input: "x".repeat(1_800_000) },
];

test("the client commands print what etcdctl prints, and end as it ends", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  // One after the other on the same ports, so that the members have the same IDs.
  const seat = await stage.seat();
  const first = await stage.start(reference(), seat);
  await grantLeases(first);
  const expected: string[] = [];
  for (const each of LINES) expected.push(await etcdctl(first, each));
  await first.stop();
  rmSync(seat.dataDir, { recursive: true });
  const second = await stage.start(reference(), seat);
  await grantLeases(second);
  const differences: string[] = [];
  for (const [at, each] of LINES.entries()) {
    const found = await walnut(second, each);
    if (found === expected[at]) continue;
    differences.push(`${each.args.join(" ")}\n--- etcdctl\n${expected[at]!}\n+++ walnut\n${found}`);
  }
  const worked = expected.filter((text) => text.startsWith("exit 0")).length;
  t.diagnostic(`${LINES.length} lines, ${worked} of them worked and the others were refused`);
  assert.ok(worked > LINES.length / 2);
  assert.equal(differences.length, 0, differences.join("\n\n"));
});

test(
  "snapshot save writes what etcdutl accepts, names nothing on the way, and shows its failures",
  { skip: skipReason() },
  async (t) => {
    const stage = Stage.for(t);
    const server = await stage.start(reference(), await stage.seat());
    for (let i = 0; i < 300; i++) await server.client.put(`key/${i}`, "x".repeat(10_000));
    const file = join(stage.folder, "walnut.snapshot");
    assert.equal(await walnut(server, { args: ["snapshot", "save", file] }), `exit 0\nSnapshot saved at ${file}\n`);
    const told = await run(reference().etcdutl, ["snapshot", "status", file, "-w", "json"]);
    assert.equal(told.code, 0, told.stderr);
    assert.ok(readFileSync(file).length > 3_000_000);
    const nowhere = await walnut(server, { args: ["snapshot", "save", join(stage.folder, "no", "such", "folder")] });
    assert.match(nowhere, /^exit 5\n/);
  },
);

test("a member that is not there ends a command in time, with a hint", { skip: skipReason() }, async () => {
  const args = ["--endpoints", "127.0.0.1:1", "--command-timeout=300ms", "get", "a"];
  const { code, stderr } = await runHere({ args });
  assert.equal(code, 1);
  assert.match(stderr, /^Error: context deadline exceeded\nwalnut: no answer in time/);
});

test("a command line is the client's when its first word that is no global flag is a command", () => {
  assert.equal(isClientCommand(["--endpoints", "get", "put", "a"]), true);
  assert.equal(isClientCommand(["-w", "json", "status"]), true);
  for (const args of [[], ["--name", "put"], ["--data-dir=x"], ["wal", "verify"]]) {
    assert.equal(isClientCommand(args), false, args.join(" "));
  }
});

async function grantLeases(server: Server): Promise<void> {
  await server.client.call("LeaseGrant", { ID: 0x4d, TTL: 5_000 });
  await server.client.call("LeaseGrant", { ID: -3n, TTL: 6_000 });
}

async function etcdctl(server: Server, { args, input = "", env }: Line): Promise<string> {
  // Debian's newest is built with another drawer of tables than etcd's own releases.
  const { etcdctl: tool } = args.includes("table") ? etcd("3.5.16") : reference();
  const all = ["--endpoints", server.address, ...args];
  return shown(await run(tool, all, { input, env: { ETCDCTL_API: "3", ...env } }));
}

async function walnut(server: Server, line: Line): Promise<string> {
  return shown(await runHere({ ...line, args: ["--endpoints", server.address, ...line.args] }));
}

/** Lines that etcdctl answers with its usage text or its log: they end the same. */
const REFUSED: readonly Line[] = [
  { args: ["get", "a", "-w", "json"], env: { ETCDCTL_WRITE_OUT: "fields" } },
  line("get a --command-timeout=nuts"),
  line("get a --nuts"),
  line("get a --limit=nuts"),
  line("get a --prefix=nuts"),
  line("get a --hex=nuts"),
  line("endpoint hashkv --rev"),
];

test(
  "what etcdctl refuses with its usage text is refused with the same exit code",
  { skip: skipReason() },
  async (t) => {
    const stage = Stage.for(t);
    const server = await stage.start(reference(), await stage.seat());
    for (const each of REFUSED) {
      const endpoints = ["--endpoints", server.address];
      const env = { ETCDCTL_API: "3", ...each.env };
      const expected = await run(reference().etcdctl, [...endpoints, ...each.args], { env });
      const found = await runHere({ ...each, args: [...endpoints, ...each.args] });
      assert.equal(found.code, expected.code, each.args.join(" "));
      assert.match(found.stderr, /^Error: /, each.args.join(" "));
    }
  },
);
