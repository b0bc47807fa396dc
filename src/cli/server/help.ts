/** What `walnut --help` prints: the commands, and the flags of the server. */
import { commandNames, GROUPS } from "../commands/names.js";
import { flagDescription, SERVER_FLAGS, type FlagName } from "./flags.js";

const WIDTH = 30;

/** Those that need no server. */
const OWN_GROUPS: Readonly<Record<string, readonly string[]>> = {
  wal: ["verify", "dump", "repair"],
  db: ["check", "stats"],
  help: ["COMMAND"],
};

export function serverHelp(): string {
  const names = Object.keys(SERVER_FLAGS) as FlagName[];
  const supported = names.filter((name) => flagDescription(name).help !== undefined);
  const line = (left: string, right: string): string => `  ${left.padEnd(WIDTH)} ${right}`;
  const flags = supported.map((name) => {
    const { help, default: usual } = flagDescription(name);
    return line(`--${name}`, `${help}${usual === "" ? "" : ` [${usual}]`}`);
  });
  return [
    "Usage:",
    line("walnut [flags]", "start a member; each flag also as ETCD_FLAG_NAME in the environment"),
    line("walnut COMMAND [flags]", "run a command; `walnut COMMAND --help` tells its flags"),
    "",
    "Commands:",
    ...commandNames().map((name) => line(name, (OWN_GROUPS[name] ?? GROUPS[name] ?? []).join(" | "))),
    "",
    "Flags of the server:",
    ...flags,
    "",
    "etcd 3.5's other flags are known, and refused with the reason when they are given another value than their default.",
    "",
  ].join("\n");
}
