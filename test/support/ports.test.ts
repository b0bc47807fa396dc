import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createServer } from "node:net";
import test from "node:test";
import { promisify } from "node:util";
import { freePort } from "./ports.js";

test("processes that look for ports at once get different ones, and may listen", async () => {
  const module = JSON.stringify(new URL("ports.js", import.meta.url).href);
  const script =
    `import { freePort } from ${module}; import { once } from "node:events";` +
    "const ports = await Promise.all(Array.from({ length: 150 }, () => freePort())); console.log(ports.join());" +
    "process.stdin.resume(); await once(process.stdin, 'end');";
  const start = () => promisify(execFile)(process.execPath, ["--input-type=module", "--eval", script]);
  const others = [start(), start(), start()];
  // All have chosen before any ends.
  const told = others.map(async ({ child }) => new Promise<string>((resolve) => child.stdout!.once("data", resolve)));
  const theirs = (await Promise.all(told)).flatMap((line) => line.trim().split(",").map(Number));
  const ours = await Promise.all(Array.from({ length: 150 }, () => freePort()));
  for (const { child } of others) child.stdin!.end();
  await Promise.all(others);
  const all = [...theirs, ...ours];
  assert.equal(new Set(all).size, 600);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(ours[0], "127.0.0.1", resolve));
  await new Promise((resolve) => server.close(resolve));
});
