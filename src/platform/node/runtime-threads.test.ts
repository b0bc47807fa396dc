import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { getPriority } from "node:os";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const MODULE = fileURLToPath(new URL("runtime-threads.js", import.meta.url));

test("V8's threads give way to the event loop, and no other thread does", (t) => {
  if (process.platform !== "linux") return t.skip("threads have priorities of their own on Linux only");
  const script = `
    import { readdirSync } from "node:fs";
    import { readFile } from "node:fs/promises";
    import { getPriority } from "node:os";
    import { lowerRuntimeThreads } from ${JSON.stringify(MODULE)};
    await readFile(${JSON.stringify(MODULE)}); // the pool's threads are there
    const lowered = lowerRuntimeThreads();
    const niceness = readdirSync("/proc/self/task").map((id) => getPriority(Number(id)));
    console.log(JSON.stringify({ lowered, own: getPriority(process.pid), low: niceness.filter((nice) => nice === 10).length }));
  `;
  const output = execFileSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
  const { lowered, own, low } = JSON.parse(output) as { lowered: number; own: number; low: number };
  assert.ok(lowered >= 1 && lowered <= 5, `${lowered} threads`);
  assert.equal(low, lowered);
  assert.equal(own, getPriority(process.pid));
  assert.ok(
    readdirSync("/proc/self/task").every((id) => getPriority(Number(id)) === own),
    "this process is as it was",
  );
});
