/**
 * The format of scripts: commands, each with the exact output it must have.
 *
 *     # A comment.
 *     command argument key=value key=(value, value)
 *     input, as many lines as it takes
 *     ----
 *     output, up to an empty line
 *
 * Output that contains an empty line stands between `----` written twice before it and twice after it. A line that ends with a
 * backslash goes on in the next one. `subtest NAME` and `subtest end` group commands and have no output.
 */
export interface Argument {
  readonly key: string;
  /** Empty for an argument without `=`. */
  readonly values: readonly string[];
}

export interface Command {
  readonly kind: "command";
  /** Number of its first line, from 1. */
  readonly line: number;
  /** The lines before the output, as they stand in the file. */
  readonly source: readonly string[];
  readonly name: string;
  readonly args: readonly Argument[];
  readonly input: string;
  readonly expected: string;
}

/** A line that does nothing: a comment, an empty line, a subtest's mark. */
export interface Filler {
  readonly kind: "filler";
  readonly text: string;
}

export type ScriptItem = Command | Filler;

/** A script that cannot be read or run. It is a mistake in the script, not a difference in its output. */
export class ScriptError extends Error {
  override readonly name = "ScriptError";
}

const SEPARATOR = "----";

/** @throws ScriptError */
export function parseScript(text: string): ScriptItem[] {
  const lines = text.split(/\r?\n/);
  if (lines.at(-1) === "") lines.pop();
  const items: ScriptItem[] = [];
  for (let at = 0; at < lines.length;) {
    const first = lines[at]!.trim();
    if (first === "" || first.startsWith("#") || /^subtest(\s|$)/.test(first)) {
      items.push({ kind: "filler", text: lines[at]! });
      at++;
      continue;
    }
    const { command, next } = readCommand(lines, at);
    items.push(command);
    at = next;
  }
  return items;
}

function readCommand(lines: readonly string[], start: number): { command: Command; next: number } {
  let at = start + 1;
  let head = lines[start]!.trim();
  while (head.endsWith("\\") && at < lines.length) head = `${head.slice(0, -1)} ${lines[at++]!.trim()}`;
  const inputStart = at;
  while (at < lines.length && lines[at] !== SEPARATOR) at++;
  const source = lines.slice(start, at);
  const input = lines.slice(inputStart, at).join("\n").trim();
  const { name, args } = parseHead(head, start + 1);
  const { expected, next } = readOutput(lines, at + 1);
  return { command: { kind: "command", line: start + 1, source, name, args, input, expected }, next };
}

function readOutput(lines: readonly string[], start: number): { expected: string; next: number } {
  if (lines[start] === SEPARATOR) {
    let at = start + 1;
    while (at < lines.length && !(lines[at] === SEPARATOR && lines[at + 1] === SEPARATOR)) at++;
    const after = lines[at + 2];
    if (after !== undefined && after !== "") {
      throw new ScriptError(
        `line ${at + 3}: an empty line must follow the end of an output between double ${SEPARATOR}`,
      );
    }
    return { expected: linesText(lines.slice(start + 1, at)), next: at + 3 };
  }
  let at = start;
  while (at < lines.length && lines[at]!.trim() !== "") at++;
  return { expected: linesText(lines.slice(start, at)), next: at + 1 };
}

function linesText(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join("");
}

function parseHead(head: string, line: number): { name: string; args: Argument[] } {
  const name = /^[^ ]+/.exec(head)![0];
  const args: Argument[] = [];
  let rest = head.slice(name.length).trim();
  while (rest !== "") {
    const key = /^[^ =]*/.exec(rest)![0];
    if (key === "") throw new ScriptError(`line ${line}: cannot read the arguments from '${rest}' on`);
    rest = rest.slice(key.length);
    if (!rest.startsWith("=")) {
      args.push({ key, values: [] });
    } else if (rest.startsWith("=(")) {
      const end = closingParenthesis(rest, 1);
      if (end === -1) throw new ScriptError(`line ${line}: no closing parenthesis in '${rest}'`);
      args.push({ key, values: splitValues(rest.slice(2, end)) });
      rest = rest.slice(end + 1);
    } else {
      const value = /^=([^ ]*)/.exec(rest)![1]!;
      args.push({ key, values: [value] });
      rest = rest.slice(value.length + 1);
    }
    rest = rest.trim();
  }
  return { name, args };
}

function closingParenthesis(text: string, open: number): number {
  let depth = 0;
  for (let at = open; at < text.length; at++) {
    if (text[at] === "(") depth++;
    else if (text[at] === ")" && --depth === 0) return at;
  }
  return -1;
}

/** Splits at commas outside of inner parentheses. Blanks after a comma do not count, those before it do. */
function splitValues(text: string): string[] {
  const values: string[] = [];
  let depth = 0;
  let start = 0;
  for (let at = 0; at < text.length; at++) {
    if (text[at] === "(") depth++;
    else if (text[at] === ")") depth--;
    else if (text[at] === "," && depth === 0) {
      values.push(text.slice(start, at));
      start = at + 1;
      while (text[start] === " ") start++;
    }
  }
  return [...values, text.slice(start)];
}

/** The script with other outputs: one for each command, in order. */
export function formatScript(items: readonly ScriptItem[], outputs: readonly string[]): string {
  let text = "";
  let at = 0;
  for (const item of items) {
    if (item.kind === "filler") {
      text += `${item.text}\n`;
      continue;
    }
    const output = outputs[at++]!;
    text += linesText([...item.source, SEPARATOR]);
    text += /^\s*$/m.test(output.slice(0, -1))
      ? `${SEPARATOR}\n${output}${SEPARATOR}\n${SEPARATOR}\n\n`
      : `${output}\n`;
  }
  return text.replace(/\n\n$/, "\n");
}

/** The only value of the argument `key`; undefined when it is not given. */
export function argumentValue(command: Command, key: string): string | undefined {
  const argument = command.args.find((one) => one.key === key);
  if (argument === undefined) return undefined;
  if (argument.values.length !== 1) throw new ScriptError(`${key} takes one value`);
  return argument.values[0];
}

/** @throws ScriptError */
export function parseUint(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) throw new ScriptError(`'${text}' is not a whole number`);
  return value;
}

/** @throws ScriptError */
export function parseId(text: string): bigint {
  if (!/^\d+$/.test(text)) throw new ScriptError(`'${text}' is not a member's ID`);
  return BigInt(text);
}

/** @throws ScriptError */
export function parseBool(text: string): boolean {
  if (/^(1|t|T|true|TRUE|True)$/.test(text)) return true;
  if (/^(0|f|F|false|FALSE|False)$/.test(text)) return false;
  throw new ScriptError(`'${text}' is neither true nor false`);
}
