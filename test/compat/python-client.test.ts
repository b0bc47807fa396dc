/**
 * Debian's `python3-etcd3`, which no one here wrote, over gRPC's C++ implementation: its script does the same on real etcd, so that a script that
 * is wrong is told from a server that is.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import test from "node:test";
import { AuthAdmin } from "../support/auth.js";
import { PROJECT, reference, skipReason, underTest } from "../support/binaries.js";
import { type Server, Stage } from "../support/servers.js";
import { run } from "../support/tools.js";

/** Debian's Python, whichever one stands in the path. */
const PYTHON = "/usr/bin/python3";
const SCRIPT = join(PROJECT, "test", "compat", "python-client.py");

function whyNot(): string | false {
  if (skipReason() !== false) return skipReason();
  if ((process.env["CI"] ?? "") !== "" || spawnSync(PYTHON, ["-c", "import etcd3"]).status === 0) return false;
  return "its library is not there: run 'apt-get install python3-etcd3'";
}

async function played(server: Server, parts: readonly string[] = []): Promise<string> {
  const { clientPort } = server.seat;
  const { code, stdout, stderr } = await run(PYTHON, [SCRIPT, "127.0.0.1", String(clientPort), ...parts]);
  assert.equal(code, 0, `${server.binary.name} after ${stdout}: ${stderr}`);
  return stdout.trim().split("\n").join(" ");
}

test("python3-etcd3: keys, transactions, leases, watches, locks, upkeep", { skip: whyNot() }, async (t) => {
  const stage = Stage.for(t);
  for (const binary of [reference(), underTest()]) {
    const server = await stage.start(binary, await stage.seat());
    assert.equal(await played(server), "keys transactions leases watches locks upkeep", binary.name);
  }
});

test("python3-etcd3: users", { skip: whyNot() }, async (t) => {
  const stage = Stage.for(t);
  for (const binary of [reference(), underTest()]) {
    const server = await stage.start(binary, await stage.seat());
    const admin = new AuthAdmin(server.client);
    await admin.addRole("readers", "read", "r/", "r0");
    await admin.addUser("reader", "secret", ["readers"]);
    await admin.enable("root");
    assert.equal(await played(server, ["users"]), "users", binary.name);
  }
});
