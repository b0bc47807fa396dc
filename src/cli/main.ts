#!/usr/bin/env -S node --max-semi-space-size=32
/**
 * The `walnut` command: a server when it is given flags or nothing, else one of the commands.
 *
 * What a command does not need is not loaded: `wal verify` of any log fits into 100 MB, and a command answers at once.
 *
 * Node's youngest objects get 32 MB instead of 16: under load less of what calls leave behind is still in use when it is looked at, as they are in
 * flight, and a server keeps some 30 MB more (`docs/performance.md`).
 */
import { CodedError, describeError } from "../base/errors.js";
import { VERSION } from "../embed/version.js";
import { SERVED_VERSION } from "../server/contract.js";
import { isClientCommand, unknownCommand } from "./commands/arrange.js";
import { describeUnknown, resolveCommand } from "./commands/names.js";
import { isOfflineCommand } from "./offline/names.js";
import { parseArguments } from "./server/arguments.js";
import { EXIT_BUG, exitCodeOfRefusal } from "./server/exit-codes.js";
import { serverHelp } from "./server/help.js";

async function main(args: readonly string[]): Promise<void> {
  const [first] = args;
  if (first === "help") {
    await help(args.slice(1));
  } else if (first === "__complete") {
    const { runCompletion } = await import("./commands/index.js");
    runCompletion(args.slice(1));
  } else if (isOfflineCommand(first)) {
    const { runOfflineCommand } = await import("./offline/index.js");
    process.exitCode = await runOfflineCommand(args);
  } else if (isClientCommand(args)) {
    // Certificates may be for addresses: Node warns of each connection to one.
    process.noDeprecation = true;
    const { runClientCommand } = await import("./commands/index.js");
    process.exitCode = await runClientCommand(args);
  } else if (unknownCommand(args) !== undefined) {
    process.stderr.write(describeUnknown(unknownCommand(args)!));
    process.exitCode = 1;
  } else {
    const commandLine = parseArguments(args);
    if (commandLine.asked === "help") return tellHelp();
    if (commandLine.asked === "version") return tellVersion();
    const { runServer } = await import("./server/run.js");
    await runServer(commandLine);
  }
}

/** `help`, alone or with the words of a command. */
async function help(topic: readonly string[]): Promise<void> {
  const [first] = topic;
  if (isOfflineCommand(first)) {
    const { runOfflineCommand } = await import("./offline/index.js");
    process.exitCode = await runOfflineCommand([...topic, "--help"]);
  } else if (first !== undefined && resolveCommand(first) !== undefined) {
    const { runClientCommand } = await import("./commands/index.js");
    process.exitCode = await runClientCommand([...topic, "--help"]);
  } else {
    if (first !== undefined && first !== "help") process.stderr.write(`Unknown help topic [\`${topic.join(" ")}\`]\n`);
    tellHelp();
  }
}

function tellVersion(): void {
  process.stdout.write(
    `etcd Version: ${SERVED_VERSION}\nWalnut Version: ${VERSION}\nNode Version: ${process.version}\n`,
  );
}

function tellHelp(): void {
  process.stdout.write(serverHelp());
}

// Node ends a process that has nothing left to wake it with success, whatever was still awaited. That must not pass for work done.
function unfinished(): void {
  process.stderr.write(
    "walnut: nothing was left to wait for before the work was done: this is a bug of Walnut, and nothing can be said of the " +
      "outcome. What was asked may be asked again; please report it with the command line\n",
  );
  process.exit(EXIT_BUG);
}
process.once("beforeExit", unfinished);

main(process.argv.slice(2)).then(
  () => process.off("beforeExit", unfinished),
  (error: unknown) => {
    // A coded error says what to do; anything else is a bug, whose stack is the clue.
    const text =
      error instanceof CodedError
        ? describeError(error)
        : error instanceof Error
          ? (error.stack ?? error.message)
          : String(error);
    process.stderr.write(`walnut: ${text}\n`);
    process.exit(exitCodeOfRefusal(error));
  },
);
