/** `auth`, `user` and `role`: the same lines, each against a real etcd of its own, print what etcdctl prints and end the same. */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import test from "node:test";
import { etcd, reference, skipReason } from "../support/binaries.js";
import { Stage, type Server } from "../support/servers.js";
import { run } from "../support/tools.js";
import { inAllForms, line, runHere, shown, type Line } from "./command-lines.js";

const AS_ROOT = "--user root:secret";
const asRoot = (text: string, input?: string): Line => line(`${text} ${AS_ROOT}`, input);

const LINES: readonly Line[] = [
  ...inAllForms("auth status"),
  line("auth status x"),
  line("auth enable x"),
  line("auth disable x"),
  line("auth enable"),
  line("user add"),
  line("user add a b"),
  line("user add :x"),
  line("user add alice:secret"),
  line("user add alice:secret"),
  line("user add bob --new-user-password=secret"),
  line("user add bare --no-password"),
  line("user add bare2 --no-password=true -w json"),
  line("user add typed", "one\none\n"),
  line("user add mistyped", "one\ntwo\n"),
  line("user add empty", "\n"),
  line("user add piped --interactive=false", "word and more\n"),
  line("user add json:x -w json"),
  line("user add fields:x -w fields"),
  line("user add table:x -w table"),
  line("user passwd bob", "new\nnew\n"),
  line("user passwd bob --interactive=false", "other\n"),
  line("user passwd nobody --interactive=false", "other\n"),
  line("user passwd"),
  ...inAllForms("user list"),
  line("user list x"),
  line("role add"),
  line("role add readers"),
  line("role add readers"),
  line("role add writers -w json"),
  line("role add fields -w fields"),
  ...inAllForms("role list"),
  line("role list x"),
  line("role grant-permission readers read"),
  line("role grant-permission readers nuts k"),
  line("role grant-permission none read k"),
  line("role grant-permission readers read k"),
  line("role grant-permission readers READ a b"),
  line("role grant-permission readers readwrite dir/ --prefix"),
  line("role grant-permission readers write z --from-key"),
  line("role grant-permission readers write é☃ ü"),
  line("role grant-permission readers read ~ --prefix"),
  line("role grant-permission readers read ~ --from-key"),
  line("role grant-permission readers read ~"),
  line("role grant-permission readers read b a"),
  line("role grant-permission readers read k --prefix --from-key"),
  line("role grant-permission readers read k l --prefix"),
  line("role grant-permission readers read k l --from-key"),
  line("role grant-permission readers read j -w json"),
  line("role grant-permission readers read j -w fields"),
  ...inAllForms("role get readers"),
  line("role get writers"),
  line("role get none"),
  line("role get"),
  line("role revoke-permission readers"),
  line("role revoke-permission readers k"),
  line("role revoke-permission readers k"),
  line("role revoke-permission readers a b"),
  line("role revoke-permission readers z --from-key"),
  line("role revoke-permission readers dir/ --prefix"),
  line("role revoke-permission readers ~ --prefix"),
  line("role revoke-permission readers j -w json"),
  line("role get readers"),
  line("user grant-role alice"),
  line("user grant-role alice readers"),
  line("user grant-role alice readers"),
  line("user grant-role alice writers -w json"),
  line("user grant-role alice none"),
  line("user grant-role nobody readers"),
  ...inAllForms("user get alice"),
  line("user get alice --detail"),
  line("user get alice --detail -w json"),
  line("user get bare"),
  line("user get nobody"),
  line("user get"),
  line("user revoke-role alice"),
  line("user revoke-role alice writers"),
  line("user revoke-role alice writers"),
  line("user revoke-role alice readers -w fields"),
  line("user add root:secret"),
  line("auth enable"),
  line("auth enable"),
  line("auth status"),
  asRoot("auth status"),
  line("put k v"),
  asRoot("put k v"),
  line("get k --user alice:secret"),
  line("get k --user alice:wrong"),
  line("get k --user nobody:secret"),
  line("get k --user bare:secret"),
  line("get k --user alice --password secret"),
  line("get k --user root", "secret\n"),
  { args: ["get", "k"], env: { ETCDCTL_USER: "root:secret" } },
  { args: ["get", "k"], env: { ETCDCTL_USER: "root", ETCDCTL_PASSWORD: "secret" } },
  asRoot("user grant-role alice root"),
  line("get k --user alice:secret"),
  asRoot("user delete root"),
  asRoot("role delete root"),
  asRoot("user revoke-role root root"),
  asRoot("user delete alice"),
  asRoot("user delete alice"),
  asRoot("user delete bob -w json"),
  asRoot("role delete writers"),
  asRoot("role delete writers"),
  asRoot("role delete readers -w fields"),
  line("user delete"),
  line("role delete"),
  ...inAllForms(`endpoint status ${AS_ROOT}`),
  ...inAllForms(`member list ${AS_ROOT}`),
  asRoot("endpoint health"),
  line("endpoint health --user bob:other"),
  asRoot("compaction 1"),
  asRoot("alarm list"),
  asRoot("defrag"),
  line("defrag"),
  line("auth disable"),
  asRoot("auth disable"),
  line("get k"),
  asRoot("get k"),
  line("auth status"),
];

test("auth, user and role print what etcdctl prints, and end as it ends", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  // One after the other on the same ports, so that the members have the same IDs.
  const seat = await stage.seat();
  const first = await stage.start(reference(), seat);
  const expected: string[] = [];
  for (const each of LINES) expected.push(await etcdctl(first, each));
  await first.stop();
  rmSync(seat.dataDir, { recursive: true });
  const second = await stage.start(reference(), seat);
  const differences: string[] = [];
  for (const [at, each] of LINES.entries()) {
    const found = await walnut(second, each);
    if (found === expected[at]) continue;
    differences.push(`${each.args.join(" ")}\n--- etcdctl\n${expected[at]!}\n+++ walnut\n${found}`);
  }
  const worked = expected.filter((text) => text.startsWith("exit 0")).length;
  t.diagnostic(`${LINES.length} lines, ${worked} of them worked and the others were refused`);
  assert.ok(worked > LINES.length / 3);
  assert.equal(differences.length, 0, differences.join("\n\n"));
});

/** etcdctl 3.5.16, as etcd's own releases are built: Debian's newest draws other tables. */
async function etcdctl(server: Server, { args, input = "", env }: Line): Promise<string> {
  const all = ["--endpoints", server.address, ...args];
  return shown(await run(etcd("3.5.16").etcdctl, all, { input, env: { ETCDCTL_API: "3", ...env } }));
}

async function walnut(server: Server, each: Line): Promise<string> {
  return shown(await runHere({ ...each, args: ["--endpoints", server.address, ...each.args] }));
}
