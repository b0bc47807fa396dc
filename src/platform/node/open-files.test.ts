import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

test("the limit is the one that the process was started with", { skip: process.platform !== "linux" }, () => {
  const script = `import(${JSON.stringify(import.meta.resolve("./open-files.js"))}).then((m) => console.log(m.openFilesMax()))`;
  const limited = ["-c", 'ulimit -n 321 && exec "$0" -e "$1"', process.execPath, script];
  assert.equal(execFileSync("/bin/sh", limited, { encoding: "utf8" }).trim(), "321");
});
