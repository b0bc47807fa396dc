/**
 * Completion in the shell: `completion bash|zsh|fish|powershell` prints a script, which asks the hidden command `__complete` for what may come next. So
 * the commands and flags are those of the program that is installed, whatever script was loaded.
 *
 * `__complete WORDS... LAST` answers with a line for each candidate, `TEXT<tab>WHAT IT IS`, and with a last line: `:files` where names of files
 * may stand too, `:none` where they may not.
 */
import type { Command, Option } from "commander";
import { flagDescription, SERVER_FLAGS, type FlagName } from "../server/flags.js";
import { arrange } from "./arrange.js";
import { noOption } from "./global-flags.js";
import { commandNames, GROUPS } from "./names.js";
import type { World } from "./world.js";

export interface Candidate {
  readonly text: string;
  readonly help: string;
}

export interface Completion {
  readonly candidates: readonly Candidate[];
  readonly files: boolean;
}

const COMPLETE = "__complete";

/** Commands beside the client's, whose own files are not loaded for this. */
const OFFLINE: Readonly<Record<string, readonly Candidate[]>> = {
  wal: [
    { text: "verify", help: "read a whole log as strictly as a server does" },
    { text: "dump", help: "print a line for each record" },
    { text: "repair", help: "cut off a torn end" },
  ],
  db: [
    { text: "check", help: "prove that the whole file is consistent" },
    { text: "stats", help: "what is in the file, bucket by bucket" },
  ],
};
const OFFLINE_HELP: Readonly<Record<string, string>> = {
  help: "Help about any command",
  wal: "Look into a write-ahead log",
  db: "Look into a db file",
};

const VALUES: Readonly<Record<string, readonly string[]>> = {
  "--write-out": ["simple", "json", "fields", "table", "protobuf"],
  "--load": ["s", "m", "l", "xl"],
  "--consistency": ["l", "s"],
  "--order": ["ASCEND", "DESCEND"],
  "--sort-by": ["CREATE", "KEY", "MODIFY", "VALUE", "VERSION"],
};
const FILE_FLAGS = /^--(?:dest-)?(?:cert|key|cacert)$|^--(?:data-dir|wal-dir|config-file|log-outputs)$|-file$/;
const FILE_COMMANDS = /^(?:snapshot|wal|db) /;

/** @param words behind `walnut`; the last one is what is being typed, and may be empty */
export function complete(program: Command, words: readonly string[]): Completion {
  const { before, typed, isValue, prefix } = splitTyped(words);
  const path = pathOf(arrange(before));
  const command = commandAt(program, path);
  const options = optionsOf(program, command, path);
  const flag = isValue ? options.find((each) => matchesFlag(each, before.at(-1)!)) : undefined;
  if (flag !== undefined && flag.takesValue) {
    const values = (VALUES[flag.text] ?? []).map((text) => ({ text: prefix + text, help: "" }));
    return { candidates: beginning(values, prefix + typed), files: FILE_FLAGS.test(flag.text) };
  }
  if (typed.startsWith("-")) return { candidates: beginning(options, typed), files: false };
  const names = namesAt(program, path);
  return { candidates: beginning(names, typed), files: FILE_COMMANDS.test(path.join(" ")) && names.length === 0 };
}

/** The words of the command itself: one, or a group's two. */
function pathOf(arranged: readonly string[]): string[] {
  const [first = ""] = arranged;
  const words = arranged.slice(0, first in GROUPS || first in OFFLINE ? 2 : 1);
  return words.filter((word) => !word.startsWith("-"));
}

/** bash cuts words at `=`; the other shells leave `--flag=value` whole. */
function splitTyped(words: readonly string[]): {
  readonly before: readonly string[];
  readonly typed: string;
  readonly isValue: boolean;
  readonly prefix: string;
} {
  const [last = ""] = words.slice(-1);
  const typed = last === '""' ? "" : last; // an empty word, from a shell that cannot give one
  const before = words.slice(0, -1);
  if (typed === "=" && before.at(-1)?.startsWith("--") === true)
    return { before, typed: "", isValue: true, prefix: "" };
  if (before.at(-1) === "=") return { before: before.slice(0, -1), typed, isValue: true, prefix: "" };
  const attached = /^(--[\w-]+)=(.*)$/s.exec(typed);
  if (attached === null) return { before, typed, isValue: before.at(-1)?.startsWith("-") === true, prefix: "" };
  const [, flag, value] = attached as unknown as [string, string, string];
  return { before: [...before, flag], typed: value, isValue: true, prefix: `${flag}=` };
}

interface KnownOption extends Candidate {
  readonly short: string | undefined;
  readonly takesValue: boolean;
}

function matchesFlag({ text, short }: KnownOption, word: string): boolean {
  return word === text || word === short;
}

function commandAt(program: Command, path: readonly string[]): Command | undefined {
  const [first = "", second] = path;
  const found = program.commands.find((each) => each.name() === first || each.aliases().includes(first));
  if (found === undefined || !(first in GROUPS)) return found;
  return found.commands.find((each) => each.name() === second);
}

function namesAt(program: Command, path: readonly string[]): readonly Candidate[] {
  const [first] = path;
  const described = (command: Command): Candidate => ({ text: command.name(), help: command.description() });
  if (first === undefined) {
    const known = new Map(program.commands.map((command) => [command.name(), command.description()]));
    return commandNames().map((text) => ({ text, help: known.get(text) ?? OFFLINE_HELP[text] ?? "" }));
  }
  if (path.length > 1) return [];
  if (first in OFFLINE) return OFFLINE[first]!;
  if (!(first in GROUPS)) return [];
  return program.commands.find((each) => each.name() === first)!.commands.map(described);
}

function optionsOf(program: Command, command: Command | undefined, path: readonly string[]): readonly KnownOption[] {
  if (command !== undefined) {
    return command.options.filter(({ hidden }) => !hidden).map(known);
  }
  if (path.length > 0) return [];
  // In front of a command the client's flags may stand; without one it is a server.
  const server = (Object.keys(SERVER_FLAGS) as FlagName[]).flatMap((name): KnownOption[] => {
    const { help, kind } = flagDescription(name);
    return help === undefined ? [] : [{ text: `--${name}`, help, short: undefined, takesValue: kind !== "boolean" }];
  });
  const globals = program.commands.find((each) => each.name() === "version")!.options.map(known);
  const all = new Map([...globals, ...server].map((option) => [option.text, option]));
  return [...all.values()];
}

function known({ long, short, description, required }: Option): KnownOption {
  return { text: long ?? "", help: description, short: short ?? undefined, takesValue: required };
}

function beginning<Text extends Candidate>(candidates: readonly Text[], typed: string): Text[] {
  return candidates.filter(({ text }) => text.startsWith(typed));
}

/** What `__complete` prints. */
export function describeCompletion({ candidates, files }: Completion): string {
  const lines = candidates.map(({ text, help }) => `${text}\t${help.replace(/\s+/g, " ")}`);
  return [...lines, files ? ":files" : ":none", ""].join("\n");
}

export function registerCompletion(program: Command, group: Command, world: World): void {
  for (const [shell, { script, howTo }] of Object.entries(SHELLS)) {
    group
      .command(shell)
      .description(`Generates the completion script for ${shell}`)
      .copyInheritedSettings(program)
      .usage("[options]")
      .addOption(noOption("--no-descriptions", "without what each candidate is"))
      .addHelpText("after", `\n${howTo}`)
      .action(({ noDescriptions }: { noDescriptions?: boolean }) => world.out(script(noDescriptions !== true)));
  }
}

// ---- the scripts ----------------------------------------------------------------------------------------------------

interface Shell {
  readonly script: (described: boolean) => string;
  readonly howTo: string;
}

const SHELLS: Readonly<Record<string, Shell>> = {
  bash: {
    howTo: "Now: source <(walnut completion bash). For good: walnut completion bash > /etc/bash_completion.d/walnut\n",
    // bash shows what it inserts, and so nothing else.
    script: () => `# bash completion for walnut
_walnut() {
  local line words=("\${COMP_WORDS[@]:1:COMP_CWORD}")
  COMPREPLY=()
  while IFS= read -r line; do
    case "$line" in
      :files) compopt -o default ;;
      :none) ;;
      *) COMPREPLY+=("\${line%%$'\\t'*}") ;;
    esac
  done < <("\${COMP_WORDS[0]}" ${COMPLETE} "\${words[@]}" 2>/dev/null)
}
complete -F _walnut walnut
`,
  },
  zsh: {
    howTo:
      "Now: source <(walnut completion zsh). For good, in a folder of $fpath: walnut completion zsh > FOLDER/_walnut\n",
    script: (described) => `#compdef walnut
_walnut() {
  local line files=0
  local -a texts shown
  while IFS= read -r line; do
    case "$line" in
      :files) files=1 ;;
      :none) ;;
      *)
        texts+=("\${line%%$'\\t'*}")
        ${described ? `shown+=("\${line%%$'\\t'*}  \${line#*$'\\t'}")` : `shown+=("\${line%%$'\\t'*}")`}
        ;;
    esac
  done < <("\${words[1]}" ${COMPLETE} "\${(@)words[2,CURRENT]}" 2>/dev/null)
  (( \${#texts} )) && compadd -l -d shown -a texts
  (( files )) && _files
}
if [ "$funcstack[1]" = "_walnut" ]; then _walnut "$@"; else compdef _walnut walnut; fi
`,
  },
  fish: {
    howTo:
      "Now: walnut completion fish | source. For good: walnut completion fish > ~/.config/fish/completions/walnut.fish\n",
    script: (described) => `# fish completion for walnut
function __walnut_complete
    set -l words (commandline -opc) (commandline -ct)
    set -e words[1]
    for line in (walnut ${COMPLETE} $words 2>/dev/null)
        switch $line
            case :files
                __fish_complete_path (commandline -ct)
            case :none
            case '*'
                ${described ? "echo $line" : "string split -f 1 \\t $line"}
        end
    end
end
complete -c walnut -f -a '(__walnut_complete)'
`,
  },
  powershell: {
    howTo:
      "Now: walnut completion powershell | Out-String | Invoke-Expression. For good: the same line in your profile\n",
    script: (described) => `# PowerShell completion for walnut
Register-ArgumentCompleter -Native -CommandName walnut -ScriptBlock {
    param($word, $ast, $position)
    $words = @($ast.CommandElements | Select-Object -Skip 1 | Where-Object { $_.Extent.StartOffset -lt $position } | ForEach-Object { "$_" })
    if ($word -eq '') { $words += '""' }
    & walnut ${COMPLETE} @words 2>$null | ForEach-Object {
        if ($_ -eq ':none' -or $_ -eq ':files') { return }
        $text, $help = $_ -split "\`t", 2
        ${described ? "if (-not $help) { $help = $text }" : "$help = $text"}
        [System.Management.Automation.CompletionResult]::new($text, $text, 'ParameterValue', $help)
    }
}
`,
  },
};
