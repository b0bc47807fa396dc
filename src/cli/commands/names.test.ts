import assert from "node:assert/strict";
import { test } from "node:test";
import { arrange, isClientCommand, unknownCommand } from "./arrange.js";
import { describeUnknown, resolveCommand, resolveInGroup, similarCommands } from "./names.js";

test("a command goes by its name, or by a beginning that no other one has", () => {
  assert.equal(resolveCommand("get"), "get");
  assert.equal(resolveCommand("mem"), "member");
  assert.equal(resolveCommand("compa"), "compaction");
  assert.equal(resolveCommand("comp"), undefined, "compaction or completion");
  assert.equal(resolveCommand("stat"), undefined, "a short name of our own stands in nobody's way");
  assert.equal(resolveCommand("s"), "snapshot");
  assert.equal(resolveCommand(""), undefined);
  assert.equal(resolveInGroup("user", "grant"), "grant-role");
  assert.equal(resolveInGroup("lease", "g"), "grant");
  assert.equal(resolveInGroup("member", "nuts"), undefined);
});

test("switches with a value become switches or nothing, and a text stays one", () => {
  assert.deepEqual(arrange(["-w", "json", "end", "--cluster=true", "he"]), [
    "endpoint",
    "health",
    "-w",
    "json",
    "--cluster",
  ]);
  assert.deepEqual(arrange(["make-mirror", "--prefix=f", "x"]), ["make-mirror", "--prefix=f", "x"]);
  assert.deepEqual(arrange(["check", "perf", "--prefix=1", "--auto-compact=false"]), ["check", "perf", "--prefix=1"]);
  assert.deepEqual(arrange(["make-mirror", "x", "--dest-insecure-transport=false"]), [
    "make-mirror",
    "x",
    "--not-dest-insecure-transport",
  ]);
  assert.deepEqual(arrange(["get", "--prefix=0", "a"]), ["get", "a"]);
});

test("a word that is no command is told from a server's flags, with what may have been meant", () => {
  assert.equal(unknownCommand(["--endpoints", "a", "gett"]), "gett");
  assert.equal(unknownCommand(["--name", "gett"]), undefined);
  assert.equal(unknownCommand([]), undefined);
  assert.equal(isClientCommand(["gett"]), false);
  assert.deepEqual(similarCommands("nuts"), ["auth", "put"]);
  assert.equal(
    describeUnknown("gett"),
    `Error: unknown command "gett" for "walnut"\n\nDid you mean this?\n\tget\n\nRun 'walnut --help' for usage.\n`,
  );
  assert.equal(
    describeUnknown("xxxxxxxx"),
    `Error: unknown command "xxxxxxxx" for "walnut"\nRun 'walnut --help' for usage.\n`,
  );
});
