/** What `/proc` tells of this process, against what node tells of it. */
import assert from "node:assert/strict";
import test from "node:test";
import { cpuSeconds, memoryOf } from "./process-stats.js";

const ownCpuSeconds = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

test("the processor time of a process is what it says itself, to some hundredths of a second", () => {
  const own = ownCpuSeconds();
  const told = cpuSeconds(process.pid);
  let burnt = 0;
  while (ownCpuSeconds() - own < 0.3) burnt += Math.sqrt(burnt + 1);
  assert.ok(Math.abs(cpuSeconds(process.pid) - told - (ownCpuSeconds() - own)) < 0.1);
});

test("the memory of a process is what it says itself, and its own part is less", () => {
  const { residentBytes, anonymousBytes } = memoryOf(process.pid);
  const said = process.memoryUsage.rss();
  assert.ok(Math.abs(residentBytes - said) < said / 4, `${residentBytes} and ${said}`);
  assert.ok(anonymousBytes > 0);
  assert.ok(anonymousBytes < residentBytes);
});
