import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Command } from "commander";
import { complete } from "./completion.js";
import { commandNames } from "./names.js";
import { registerClientCommands, runClientCommand, type World } from "./index.js";

/** What is offered for a line, `|` behind the words. */
function offered(line: string): { texts: string[]; files: boolean } {
  const program = new Command("walnut");
  registerClientCommands(
    program,
    silent(() => undefined),
  );
  const { candidates, files } = complete(program, line.split(" "));
  return { texts: candidates.map(({ text }) => text), files };
}

const silent = (out: (data: string | Uint8Array) => void): World =>
  ({ env: {}, out, err: () => undefined, errIsTerminal: false }) as unknown as World;

test("first words are the commands, second words those of a group", () => {
  assert.deepEqual(offered("").texts, commandNames());
  assert.deepEqual(offered("me").texts, ["member"]);
  assert.deepEqual(offered("endpoint ").texts, ["health", "status", "hashkv"]);
  assert.deepEqual(offered("--endpoints a:1 lease g").texts, ["grant"]);
  assert.deepEqual(offered("wal ").texts, ["verify", "dump", "repair"]);
  assert.deepEqual(offered("get ").texts, []);
});

test("flags are those of the command and of all commands; in front of one, those of the server, too", () => {
  assert.deepEqual(offered("get --pre").texts, ["--prefix"]);
  assert.deepEqual(offered("get --write").texts, ["--write-out"]);
  assert.deepEqual(offered("--listen-client").texts, ["--listen-client-urls", "--listen-client-http-urls"]);
  assert.deepEqual(offered("--cacer").texts, ["--cacert"]);
  assert.deepEqual(offered("user add --not").texts, []);
});

test("values are offered where there are few, files where a file is wanted", () => {
  assert.deepEqual(offered("get -w j"), { texts: ["json"], files: false });
  assert.deepEqual(offered("get --write-out=f"), { texts: ["--write-out=fields"], files: false });
  assert.deepEqual(offered("get --write-out = f"), { texts: ["fields"], files: false });
  assert.deepEqual(offered("check perf --load ").texts, ["s", "m", "l", "xl"]);
  assert.deepEqual(offered("get --cacert "), { texts: [], files: true });
  assert.deepEqual(offered("snapshot save "), { texts: [], files: true });
  assert.deepEqual(offered("db check "), { texts: [], files: true });
  assert.deepEqual(offered("put a "), { texts: [], files: false });
});

/** What a shell makes of `walnut completion SHELL`. */
async function script(shell: string, ...flags: string[]): Promise<string> {
  let text = "";
  const code = await runClientCommand(
    ["completion", shell, ...flags],
    silent((data) => (text += String(data))),
  );
  assert.equal(code, 0);
  return text;
}

test("bash offers what the command says, cut at equals signs as bash cuts", async (t) => {
  if (spawnSync("bash", ["--version"]).status !== 0) {
    t.skip("bash is not there: run 'apt-get install bash'");
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), "walnut-completion-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "walnut.bash");
  const main = join(import.meta.dirname, "..", "main.js");
  writeFileSync(file, `walnut() { ${process.execPath} ${main} "$@"; }\n${await script("bash")}`);
  const press = (...words: string[]): string[] => {
    const quoted = ["walnut", ...words].map((word) => `'${word}'`).join(" ");
    const play = `source ${file}; COMP_WORDS=(${quoted}); COMP_CWORD=${words.length}; _walnut; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return spawnSync("bash", ["-c", play], { encoding: "utf8" }).stdout.trim().split("\n");
  };
  assert.deepEqual(press("endpoint", "h"), ["health", "hashkv"]);
  assert.deepEqual(press("get", "--write-out", "=", "js"), ["json"]);
  assert.deepEqual(press("get", "--pr"), ["--prefix", "--print-value-only"]);
});

test("each shell has a script, which asks the command", async () => {
  for (const shell of ["bash", "zsh", "fish", "powershell"]) {
    assert.match(await script(shell), /__complete/);
    assert.match(await script(shell, "--no-descriptions"), /__complete/);
  }
});
