/** The client's commands by name, and how a word that is none, or only the beginning of one, is understood. Loads nothing. */

/** Groups and the commands in them. */
export const GROUPS: Readonly<Record<string, readonly string[]>> = {
  alarm: ["list", "disarm"],
  auth: ["enable", "disable", "status"],
  check: ["perf", "datascale"],
  completion: ["bash", "zsh", "fish", "powershell"],
  endpoint: ["health", "status", "hashkv"],
  lease: ["grant", "revoke", "timetolive", "list", "keep-alive"],
  member: ["list", "add", "remove", "update", "promote"],
  role: ["add", "delete", "get", "list", "grant-permission", "revoke-permission"],
  snapshot: ["save", "restore", "status"],
  user: ["add", "delete", "get", "list", "passwd", "grant-role", "revoke-role"],
};

const SINGLE = [
  "compaction",
  "defrag",
  "del",
  "elect",
  "get",
  "lock",
  "make-mirror",
  "move-leader",
  "put",
  "txn",
  "version",
  "watch",
] as const;

/** Walnut's own short names, which no beginning stands for. */
const SHORT_NAMES = ["status", "compact"];

/** The command that a first word names: in full, or by a beginning that no other one has, as etcdctl takes it. */
export function resolveCommand(word: string): string | undefined {
  return SHORT_NAMES.includes(word) ? word : resolve(word, [...SINGLE, ...Object.keys(GROUPS)]);
}

/** The same for a second word, behind the name of a group. */
export function resolveInGroup(group: string, word: string): string | undefined {
  return resolve(word, GROUPS[group] ?? []);
}

function resolve(word: string, names: readonly string[]): string | undefined {
  if (names.includes(word)) return word;
  const matches = word === "" ? [] : names.filter((name) => name.startsWith(word));
  return matches.length === 1 ? matches[0] : undefined;
}

/** Edits that a slip of the fingers is taken to be. */
const SLIP_EDITS_MAX = 2;

/** Which commands may have been meant. */
export function similarCommands(word: string, names: readonly string[] = commandNames()): string[] {
  const meant = word.toLowerCase();
  return names.filter((name) => name.startsWith(meant) || editDistance(meant, name) <= SLIP_EDITS_MAX);
}

/** All first words. */
export function commandNames(): string[] {
  return [...SINGLE, ...Object.keys(GROUPS), "help", "wal", "db"].sort();
}

/** Letters to put in, leave out or exchange to make one word the other. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, at) => at);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const exchanged = row[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(exchanged, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[to.length]!;
}

/** What is said of a first word that is no command, in the manner of etcdctl. */
export function describeUnknown(word: string): string {
  const similar = similarCommands(word);
  const guess = similar.length === 0 ? "" : `\nDid you mean this?\n${similar.map((name) => `\t${name}\n`).join("")}\n`;
  return `Error: unknown command ${JSON.stringify(word)} for "walnut"\n${guess}Run 'walnut --help' for usage.\n`;
}
