/** What a person sees: the same `etcdctl` lines against Walnut and against real etcd print the same. */
import assert from "node:assert/strict";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { etcd, reference, skipReason, underTest, type EtcdRelease } from "../support/binaries.js";
import { Stage, type Server } from "../support/servers.js";
import { run, type Output } from "../support/tools.js";

/** A line for `etcdctl`, with what it reads from its standard input. */
interface Line {
  readonly args: readonly string[];
  readonly input?: string;
}

const line = (text: string, input?: string): Line => ({
  args: text.split(" ").map((word) => word.replaceAll("_", " ").replaceAll("~", "")),
  ...(input === undefined ? {} : { input }),
});

/** The lines in order: each sees what those before it left. `_` stands for a space in an argument, `~` for nothing. */
const LINES: readonly Line[] = [
  line("put foo bar"),
  line("put foo baz --prev-kv"),
  line("put foo2 bar2"),
  line("put foo3 bar3"),
  line("put dir/a 1"),
  line("put dir/b 2"),
  line("put dir/b 3"),
  line("put stdin", "from standard input"),
  line("put foo --ignore-value"),
  line("put foo x --ignore-lease"),
  line("put absent --ignore-value"),
  line("put foo bar --lease=1234"),
  line("put ~ value"),
  line("get foo"),
  line("get absent"),
  line("get ~"),
  line("get foo --hex"),
  line("get foo --print-value-only"),
  line("get foo --keys-only"),
  line("get foo --count-only -w fields"),
  line("get foo --prefix"),
  line("get foo --prefix --keys-only"),
  line("get foo --prefix --count-only -w json"),
  line("get foo --prefix --limit=2"),
  line("get foo --prefix --limit=2 -w json"),
  line("get foo foo3"),
  line("get foo --from-key"),
  line("get ~ --prefix"),
  line("get ~ --from-key --limit=1"),
  line("get foo --rev=2"),
  line("get foo --rev=3 -w json"),
  line("get foo --rev=100000"),
  line("get foo --rev=-1"),
  line("get foo --consistency=s"),
  line("get foo --consistency=l"),
  line("get foo --consistency=z"),
  line("get --prefix dir/ --order=DESCEND"),
  line("get --prefix dir/ --order=ASCEND --sort-by=KEY"),
  line("get --prefix foo --sort-by=CREATE --order=DESCEND"),
  line("get --prefix foo --sort-by=MODIFY"),
  line("get --prefix foo --sort-by=VALUE --order=DESCEND"),
  line("get --prefix foo --sort-by=VERSION"),
  line("get --prefix foo --sort-by=NUTS"),
  line("get foo foo2 --prefix"),
  line("get foo -w simple"),
  line("get foo -w json"),
  line("get foo -w fields"),
  line("get foo -w table"),
  line("del foo3 --prev-kv"),
  line("del foo3"),
  line("del dir/ --prefix"),
  line("del dir/ --prefix -w json"),
  line("del stdin zzz -w fields"),
  line("del ~"),
  line("put a 1"),
  line("put b 2"),
  line("put c 3"),
  line("del b --from-key --prev-kv"),
  line("txn", 'value("foo") = "x"\n\nput foo y\nget foo\n\nget foo2\n\n'),
  line("txn", 'mod("foo") > "0"\nversion("none") = "0"\n\nput t1 v\ndel foo2 --prev-kv\nget t1\n\nput t2 v\n\n'),
  line("txn -w json", 'create("t1") = "0"\n\nput t1 again\n\nget t1\n\n'),
  line("txn", "\n\nput d 1\nput d 2\n\n\n"),
  line("txn", 'value("t1") != "0"\n\nget "" --prefix\n\n\n'),
  line("txn", 'ver("t1") = "0"\n\nget t1\n\n\n'),
  line("compaction 5"),
  line("compaction 5"),
  line("compaction 8 --physical"),
  line("compaction 100000"),
  line("compaction"),
  line("compaction nut"),
  line("get foo --rev=4"),
  line("endpoint health"),
  line("endpoint health -w json"),
  line("endpoint health -w table"),
  line("endpoint status"),
  line("endpoint status -w json"),
  line("endpoint status -w fields"),
  line("endpoint status -w table"),
  line("endpoint hashkv"),
  line("endpoint hashkv --rev=10"),
  line("endpoint hashkv --rev=2"),
  line("endpoint hashkv --rev=100000"),
  line("endpoint hashkv -w json"),
  line("endpoint hashkv -w fields"),
  line("endpoint hashkv -w table"),
  line("member list"),
  line("member list -w json"),
  line("member list -w fields"),
  line("member list -w table"),
  line("member list --hex"),
  line("member remove 7"),
  line("member update 7 --peer-urls=http://127.0.0.1:1"),
  line("member promote 7"),
  line("member add x --peer-urls=nuts"),
  line("move-leader 7"),
  line("alarm list"),
  line("alarm disarm"),
  line("defrag"),
  line("get ~ --prefix -w json"),
  line("check perf --load=nut"),
];

for (const version of ["3.5.16", "newest"] as const) {
  test(`etcdctl ${version} prints the same against Walnut as against real etcd`, { skip: skipReason() }, async (t) => {
    await linesPrintTheSame(t, etcd(version));
  });
}

async function linesPrintTheSame(t: TestContext, tool: EtcdRelease): Promise<void> {
  const stage = Stage.for(t);
  const right = await stage.start(reference(), await stage.seat());
  const judged = await stage.start(underTest(), await stage.seat());
  const differences: string[] = [];
  let worked = 0;
  for (const { args, input } of LINES) {
    const [expected, found] = await Promise.all([
      etcdctl(tool, right, args, input),
      etcdctl(tool, judged, args, input),
    ]);
    if (expected.startsWith("exit 0")) worked++;
    if (expected !== found)
      differences.push(`etcdctl ${args.join(" ")}\n--- real etcd\n${expected}\n+++ under test\n${found}`);
  }
  t.diagnostic(`${LINES.length} lines of etcdctl, ${worked} of them worked and the others were refused`);
  assert.ok(worked > LINES.length / 2, "most lines work against real etcd");
  assert.equal(differences.length, 0, differences.join("\n\n"));
}

test("etcdctl snapshot save works, and etcdutl accepts what it saved", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  const status = [];
  for (const binary of [reference(), underTest()]) {
    const server = await stage.start(binary, await stage.seat());
    for (let i = 0; i < 200; i++) await server.client.put(`key/${i % 70}`, `value ${i}`);
    await server.client.call("DeleteRange", { key: Buffer.from("key/7") });
    const { hash } = await server.client.hashKV();
    const file = join(stage.folder, `${binary.name}.${status.length}.snapshot`);
    const saved = await etcdctl(reference(), server, ["snapshot", "save", file]);
    assert.match(saved, /^exit 0/, saved);
    assert.ok(existsSync(file));
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const answers = [];
    for (const name of ["3.5.16", "newest"] as const) {
      const told = await run(etcd(name).etcdutl, ["snapshot", "status", file, "-w", "json"]);
      assert.equal(told.code, 0, told.stderr);
      const { revision, totalKey } = JSON.parse(told.stdout) as { revision: number; totalKey: number };
      answers.push({ revision, totalKey });
    }
    status.push({ answers, hash, restored: await restoredHash(stage, file) });
  }
  assert.deepEqual(status[1], status[0]);
});

/** The hash of all keys after real etcd restored a snapshot and served it. */
async function restoredHash(stage: Stage, file: string): Promise<number> {
  const seat = await stage.seat();
  const peer = `http://127.0.0.1:${seat.peerPort}`;
  const words = `snapshot restore ${file} --data-dir ${seat.dataDir} --name ${seat.name} --initial-cluster ${seat.name}=${peer}`;
  const restored = await run(etcd("3.5.16").etcdutl, [...words.split(" "), "--initial-advertise-peer-urls", peer]);
  assert.equal(restored.code, 0, restored.stderr);
  const server = await stage.start(etcd("3.5.16"), seat);
  const { hash } = await server.client.hashKV();
  await server.stop();
  return hash;
}

/** Runs `etcdctl` and gives all that a person sees of it, but for what belongs to one member or one moment. */
async function etcdctl(tool: EtcdRelease, server: Server, args: readonly string[], input?: string): Promise<string> {
  const output = await run(tool.etcdctl, ["--endpoints", server.address, ...args], {
    ...(input === undefined ? {} : { input }),
    env: { ETCDCTL_API: "3" },
  });
  return masked(output, server);
}

function masked({ code, stdout, stderr }: Output, server: Server): string {
  const text = `exit ${code}\n${stdout}${stderr === "" ? "" : `stderr:\n${stderr}`}`;
  return (
    text
      .replaceAll(String(server.seat.clientPort), "CLIENT")
      .replaceAll(String(server.seat.peerPort), "PEER")
      .replace(/LocalAddr: '127\.0\.0\.1:\d+'/g, "LocalAddr: LOCAL")
      .replace(/etcd-endpoints:\/\/0x[0-9a-f]+/g, "etcd-endpoints://POINTER")
      .replace(/\b\d+(\.\d+)?(ns|µs|ms|s)\b/g, "TIME")
      .replace(/"ts":"[^"]*"/g, '"ts":"TIME"')
      .replace(/\b\d+(\.\d+)? (B|kB|MB)\b/g, "SIZE")
      // IDs: hex in `simple` and `table`, decimal in `json` and `fields`.
      .replace(/\b[0-9a-f]{13,16}\b/g, "ID")
      .replace(/"(cluster_id|member_id|ID|MemberID|ClusterID|Leader|leader|memberID)" ?: ?"?\d+"?/g, '"$1":ID')
      .replace(
        /"(raft_term|RaftTerm|raftTerm|raftIndex|raftAppliedIndex|RaftIndex|RaftAppliedIndex)" ?: ?\d+/g,
        '"$1":N',
      )
      .replace(/"(dbSize|dbSizeInUse|DBSize|DBSizeInUse)" ?: ?\d+/g, '"$1":SIZE')
      .replace(/"(version|Version)" ?: ?"3\.5\.\d+"/g, '"$1":"3.5.x"')
      .replace(/"hash(-|_)?time" ?: ?\d+/g, '"hashtime":N')
      // `endpoint status`: version, size, leader, learner, raft term, raft index, applied index, errors.
      .replace(/\b3\.5\.\d+\b/g, "3.5.x")
      .replace(
        /(, |\| +)(true|false)(, | +\| +)(true|false)(, | +\| +)\d+(, | +\| +)\d+(, | +\| +)\d+/g,
        "$1$2$3$4$5N$6N$7N",
      )
      // Widths of a table follow the widths of what was masked.
      .replace(/(-|─){3,}/g, "---")
      .replace(/ {2,}/g, " ")
  );
}
