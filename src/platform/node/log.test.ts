import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { LineWriter, nodeLog, NodeLog, type LogOptions } from "./log.js";

function logged(options: LogOptions, use: (log: NodeLog) => void): string[] {
  const lines: string[] = [];
  use(new NodeLog(new LineWriter(options, [{ write: (line) => lines.push(line) }])));
  return lines;
}

const STAMP = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z/;

test("a line has etcd's fields in etcd's order", () => {
  const [line] = logged({}, (log) =>
    log.with({ caller: "wal/wal.ts" }).info("repaired", { path: "/x", "member-id": 0x8e9e05c52164694dn, took: 3 }),
  );
  const parsed = JSON.parse(line!) as Record<string, unknown>;
  assert.deepEqual(Object.keys(parsed), ["level", "ts", "caller", "msg", "path", "member-id", "took"]);
  assert.match(String(parsed["ts"]), new RegExp(`^${STAMP.source}$`));
  assert.ok(Math.abs(Date.parse(String(parsed["ts"])) - Date.now()) < 60_000);
  assert.equal(parsed["member-id"], "8e9e05c52164694d");
  assert.equal(line!.at(-1), "\n");
  assert.equal(line!.split("\n").length, 2);
});

test("the console form has the same parts between tabs", () => {
  const [line] = logged({ format: "console" }, (log) => log.warn("slow", { caller: "a.ts", n: 1n }));
  assert.match(line!, new RegExp(`^${STAMP.source}\twarn\ta\\.ts\tslow\t\\{"n":"1"\\}\n$`));
});

test("lines below the level are not written, and the level of all logs can change", () => {
  const lines = logged({ level: "warn" }, (log) => {
    const child = log.with({ a: 1 });
    child.info("no");
    child.error("yes");
    log.setLevel("debug");
    child.debug("now");
  });
  assert.deepEqual(
    lines.map((line) => (JSON.parse(line) as { msg: string }).msg),
    ["yes", "now"],
  );
});

test("values that JSON does not know never lose the line", () => {
  const circle: Record<string, unknown> = {};
  circle["self"] = circle;
  const lines = logged({}, (log) => {
    log.error("failed", { error: new Error("why"), bytes: Uint8Array.of(1, 2), nested: { id: 255n } });
    log.error("circle", { circle });
  });
  const [first, second] = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.equal(first!["error"], "why");
  assert.equal(first!["bytes"], "AQI=");
  assert.deepEqual(first!["nested"], { id: "ff" });
  assert.equal(second!["msg"], "circle");
  assert.match(String(second!["log-error"]), /circular/);
});

test("files take lines, each at once", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "walnut-log-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const outputs = [join(folder, "a"), join(folder, "b")];
  const log = nodeLog({ outputs });
  log.info("one");
  log.info("two");
  for (const path of outputs) {
    const lines = readFileSync(path, "utf8").trim().split("\n");
    assert.deepEqual(
      lines.map((line) => (JSON.parse(line) as { msg: string }).msg),
      ["one", "two"],
    );
  }
});

test("an output that takes nothing stops nobody; one that cannot be opened is told at the start", () => {
  const log = nodeLog({ outputs: ["/dev/full"] });
  for (let i = 0; i < 2000; i++) log.error("lost", { padding: "x".repeat(1000) });
  assert.throws(() => nodeLog({ outputs: ["/nonexistent/log"] }), { code: "ENOENT" });
});

test("a reader that goes away ends nothing", () => {
  const script = `
    import { nodeLog } from ${JSON.stringify(new URL("log.js", import.meta.url).href)};
    const log = nodeLog({ outputs: ["stdout"] });
    for (let i = 0; i < 3000; i++) log.info("line", { padding: "x".repeat(1000) });
    setTimeout(() => process.exit(7), 10);`;
  const command = `"$0" --input-type=module -e "$1" | head -n 1; exit \${PIPESTATUS[0]}`;
  const child = spawnSync("bash", ["-c", command, process.execPath, script], { encoding: "utf8" });
  assert.deepEqual([child.status, child.stderr], [7, ""]);
  assert.equal(child.stdout.split("\n").length, 2);
});
