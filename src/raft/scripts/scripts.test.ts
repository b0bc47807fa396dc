import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { test, type TestContext } from "node:test";
import { CONFORMANCE_FOLDER, findScripts } from "./find-scripts.js";
import { lineDiff } from "./line-diff.js";
import { runScript } from "./run-script.js";
import { formatScript, parseScript, ScriptError } from "./script-file.js";

const ROOT = join(import.meta.dirname, "../../../..");

function assertScriptsPass(t: TestContext, folder: string, leastCommands: number): void {
  let commands = 0;
  const files = findScripts(folder) ?? [];
  for (const file of files) {
    const result = runScript(relative(folder, file), readFileSync(file, "utf8"));
    if (result.kind !== "same") assert.fail(result.report);
    commands += result.commands;
  }
  t.diagnostic(`${files.length} scripts, ${commands} commands`);
  assert.ok(commands >= leastCommands, `only ${commands} commands below ${folder}`);
}

test("the scripts that real etcd raft passes give the same output here", (t) => {
  const folder = join(ROOT, CONFORMANCE_FOLDER);
  if (findScripts(folder) === undefined) {
    t.skip(`${CONFORMANCE_FOLDER} is absent: it holds the scripts of etcd raft`);
    return;
  }
  assertScriptsPass(t, folder, 300);
});

test("the project's own scripts give the output that was read and kept", (t) => {
  assertScriptsPass(t, join(ROOT, "src/raft/testdata"), 150);
});

const SCRIPT = `# A play in one act.

log-level info
----
ok

subtest inner
add-nodes 1 voters=(1) \\
  index=3
----
INFO 1 switched to configuration voters=(1)
INFO 1 became follower at term 0
INFO newRaft 1 [peers: [1], term: 0, commit: 3, applied: 3, lastindex: 3, lastterm: 1]

subtest end

process-ready 1
----
----
<empty Ready>

like so
----
----

status 1
----
ok
`;

test("a script is read into commands and written back as it was", () => {
  const items = parseScript(SCRIPT);
  const commands = items.filter((item) => item.kind === "command");
  assert.deepEqual(
    commands.map(({ name, line }) => [name, line]),
    [
      ["log-level", 3],
      ["add-nodes", 8],
      ["process-ready", 17],
      ["status", 26],
    ],
  );
  assert.deepEqual(commands[1]!.args, [
    { key: "1", values: [] },
    { key: "voters", values: ["1"] },
    { key: "index", values: ["3"] },
  ]);
  assert.equal(commands[2]!.expected, "<empty Ready>\n\nlike so\n");
  assert.equal(
    formatScript(
      items,
      commands.map(({ expected }) => expected),
    ),
    SCRIPT,
  );
});

test("values in parentheses are split at commas, not inside inner ones", () => {
  const [command] = parseScript("cmd a=(1, 2,(3,4)) b= c=x d\nsome\ninput\n----\n");
  assert.ok(command?.kind === "command");
  assert.deepEqual(command.args, [
    { key: "a", values: ["1", "2", "(3,4)"] },
    { key: "b", values: [""] },
    { key: "c", values: ["x"] },
    { key: "d", values: [] },
  ]);
  assert.equal(command.input, "some\ninput");
});

test("what cannot be read is an error that names the line", () => {
  assert.throws(() => parseScript("\ncmd a=(1\n----\n"), new ScriptError("line 2: no closing parenthesis in '=(1'"));
  assert.throws(() => parseScript("cmd =x\n----\n"), /line 1: cannot read the arguments/);
  assert.throws(() => parseScript("cmd\n----\n----\na\n----\n----\nb\n"), /line 7: an empty line must follow/);
});

test("a difference is reported with its place, and kept when rewriting", () => {
  const wrong = SCRIPT.replace("term: 0, commit", "term: 7, commit").replace("\n\nlike so", "");
  const result = runScript("play.txt", wrong);
  assert.ok(result.kind === "differs");
  assert.match(result.report, /^play\.txt:8: add-nodes 1 voters=\(1\) \\\n/);
  assert.match(result.report, /\n-INFO newRaft .* term: 7.*\n\+INFO newRaft .* term: 0/);
  const again = runScript("play.txt", result.text);
  assert.equal(again.kind, "same");
});

test("a script that cannot be run says where", () => {
  for (const [text, why] of [
    ["status 3\n----\n", /bad\.txt:1: .*there is no member 3/],
    ["add-nodes 1 colour=red\n----\n", /unknown option colour/],
    ["committed cfg=(1) idx=(0)\n----\n", /cannot use 0 as idx/],
    ["vote cfg=(1) votes=(x)\n----\n", /unknown vote: x/],
    ["add-nodes 1 voters=(1) index=3 prevote=maybe\n----\n", /'maybe' is neither true nor false/],
  ] as const) {
    const result = runScript("bad.txt", text);
    assert.ok(result.kind === "broken");
    assert.match(result.report, why);
  }
});

test("commands show the errors that they can expect", () => {
  const text = `add-nodes 1 index=1
----
index must be specified as > 1 due to bootstrap

add-nodes 1 read-only=never
----
invalid read-only option "never"

log-level loud
----
log levels must be either of [DEBUG INFO WARN ERROR FATAL NONE]

sing
----
unknown command
`;
  assert.equal(runScript("errors.txt", text).kind, "same");
});

test("the diff of lines keeps some context and leaves out the rest", () => {
  const lines = Array.from({ length: 30 }, (_, at) => String(at));
  const changed = lines.with(15, "x");
  assert.equal(
    lineDiff(`${lines.join("\n")}\n`, `${changed.join("\n")}\n`),
    " 10\n 11\n 12\n 13\n 14\n-15\n+x\n 16\n 17\n 18\n 19\n 20\n...\n",
  );
  assert.equal(lineDiff("a\n", "a\n"), "");
});
