/** From a command line as etcdctl's users write it to one that the parser takes. */
import { SWITCH_FLAGS, VALUE_FLAGS } from "./global-flags.js";
import { GROUPS, resolveCommand, resolveInGroup } from "./names.js";

/** Whether a command line is for the client: its first word that is no global flag names one of the commands. */
export function isClientCommand(args: readonly string[]): boolean {
  const word = args[commandPosition(args, 0)];
  return word !== undefined && resolveCommand(word) !== undefined;
}

/** The first word that is no flag where it stands for a command and none has that name; undefined for a server's command line. */
export function unknownCommand(args: readonly string[]): string | undefined {
  const word = args[commandPosition(args, 0)];
  return word === undefined || word === "" || word.startsWith("-") ? undefined : word;
}

/** The position of the first word at or after `start` that is no global flag, nor a flag's value. */
function commandPosition(args: readonly string[], start: number): number {
  let at = start;
  while (at < args.length) {
    const word = args[at]!;
    const name = word.split("=", 1)[0]!;
    if (VALUE_FLAGS.has(word)) at += 2;
    else if (VALUE_FLAGS.has(name) || SWITCH_FLAGS.has(name) || /^-[wd]./.test(word)) at++;
    else break;
  }
  return at;
}

/**
 * The command's words first, then the flags that stood before them. Switches with a value, which the parser does not know, become
 * switches (`--prefix=true`) or nothing (`--prefix=false`).
 */
export function arrange(args: readonly string[]): string[] {
  const first = commandPosition(args, 0);
  const path = args.slice(first, first + 1).map((word) => resolveCommand(word) ?? word);
  const flags = args.slice(0, first);
  let rest = args.slice(first + 1);
  if (path[0] !== undefined && path[0] in GROUPS) {
    // --cluster belongs to the group `endpoint`, and may stand right after it.
    let second = 0;
    for (;;) {
      const next = commandPosition(rest, second);
      if (next === second && !/^--cluster(=|$)/.test(rest[next] ?? "")) break;
      second = next === second ? next + 1 : next;
    }
    const [word] = rest.slice(second);
    if (word !== undefined) path.push(resolveInGroup(path[0], word) ?? word);
    flags.push(...rest.slice(0, second));
    rest = rest.slice(second + 1);
  }
  return [...path, ...plainSwitches([...flags, ...rest], path[0])];
}

const LOCAL_SWITCHES = new Set(
  ["prefix", "from-key", "keys-only", "count-only", "print-value-only", "prev-kv", "ignore-value", "ignore-lease"]
    .concat([
      "range",
      "interactive",
      "physical",
      "cluster",
      "learner",
      "skip-hash-check",
      "mark-compacted",
      "progress-notify",
    ])
    .concat(["no-password", "detail", "keys", "once", "listen", "auto-compact", "auto-defrag", "no-descriptions"])
    .concat(["no-dest-prefix", "dest-insecure-transport"])
    .map((name) => `--${name}`),
);

/** Commands whose `--prefix` has a text. */
const WITH_PREFIX_TEXT = ["check", "make-mirror"];

/** Whether it is a switch of some command, which takes a truth value. */
export function isKnownSwitch(flag: string): boolean {
  return LOCAL_SWITCHES.has(flag);
}

function isSwitch(flag: string, command: string | undefined): boolean {
  return LOCAL_SWITCHES.has(flag) && !(flag === "--prefix" && WITH_PREFIX_TEXT.includes(command!));
}

function isOnByDefault(flag: string, command: string | undefined): boolean {
  return flag === "--dest-insecure-transport" || (flag === "--interactive" && command === "user");
}

function plainSwitches(args: readonly string[], command: string | undefined): string[] {
  const plain: string[] = [];
  let flagsOver = false;
  for (const word of args) {
    flagsOver ||= word === "--";
    const [name, value] = word.split("=", 2) as [string, string | undefined];
    // The parser would take the word after a switch with an optional value for that value.
    if (!flagsOver && /^-[a-z]=/.test(word)) plain.push(word.slice(0, 2), word.slice(3));
    else if (!flagsOver && SWITCH_FLAGS.has(word)) plain.push(`${word}=true`);
    else if (flagsOver || value === undefined || !isSwitch(name, command)) plain.push(word);
    else if (["1", "t", "T", "true", "TRUE", "True"].includes(value)) plain.push(name);
    else if (!["0", "f", "F", "false", "FALSE", "False"].includes(value)) plain.push(word);
    // Switching it off must not get lost.
    else if (isOnByDefault(name, command)) plain.push(name.replace("--", "--not-"));
  }
  return plain;
}
