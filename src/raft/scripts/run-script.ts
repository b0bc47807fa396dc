/** Runs one script and compares what it says with what it should. The kind of a script is told by its first command. */
import { describeError } from "../../base/errors.js";
import { CONF_CHANGE_COMMANDS, ConfChangeScript } from "./conf-change-script.js";
import { Interaction } from "./interaction.js";
import { lineDiff } from "./line-diff.js";
import { QUORUM_COMMANDS, runQuorumCommand } from "./quorum-script.js";
import { formatScript, parseScript, type Command } from "./script-file.js";

export type ScriptResult =
  | { readonly kind: "same"; readonly commands: number }
  | {
      readonly kind: "differs";
      readonly report: string;
      /** The script with the outputs found. */ readonly text: string;
    }
  /** A command could not be run at all: the script, or the state machine, is broken. */
  | { readonly kind: "broken"; readonly report: string };

/** @param name how the reports call the script */
export function runScript(name: string, text: string): ScriptResult {
  const outputs: string[] = [];
  let report = "";
  let line = 0;
  try {
    const items = parseScript(text);
    const commands = items.filter((item) => item.kind === "command");
    const run = interpreterFor(commands);
    for (const command of commands) {
      ({ line } = command);
      const found = endLine(run(command));
      outputs.push(found);
      const difference = lineDiff(command.expected, found);
      if (difference !== "") report += `${name}:${line}: ${command.source[0]!}\n${difference}\n`;
    }
    if (report === "") return { kind: "same", commands: commands.length };
    return { kind: "differs", report, text: formatScript(items, outputs) };
  } catch (error) {
    const stack = error instanceof Error ? error.stack : undefined;
    return { kind: "broken", report: `${report}${name}:${line}: ${stack ?? describeError(error)}\n` };
  }
}

function interpreterFor(commands: readonly Command[]): (command: Command) => string {
  const name = commands[0]?.name ?? "";
  if (QUORUM_COMMANDS.has(name)) return runQuorumCommand;
  if (CONF_CHANGE_COMMANDS.has(name)) {
    const script = new ConfChangeScript();
    return (command) => script.run(command);
  }
  const play = new Interaction();
  return (command) => play.run(command);
}

function endLine(text: string): string {
  return text === "" || text.endsWith("\n") ? text : `${text}\n`;
}
