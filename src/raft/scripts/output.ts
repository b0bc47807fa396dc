/** Where a play writes: log lines by level, and what its commands say. */
import type { RaftLogger } from "../logger.js";
import { ScriptError } from "./script-file.js";

const LEVELS = ["DEBUG", "INFO", "WARN", "ERROR", "FATAL", "NONE"] as const;
const QUIET = LEVELS.length - 1;

export class ScriptOutput implements RaftLogger {
  #text = "";
  /** Lines of lower levels are dropped; at the last one everything is. */
  level = 0;

  get text(): string {
    return this.#text;
  }

  clear(): void {
    this.#text = "";
  }

  isQuiet(): boolean {
    return this.level === QUIET;
  }

  /** Sets the level by name, in any case of letters; says what is wrong with the name otherwise. */
  setLevel(name: string): string | undefined {
    const level = LEVELS.findIndex((known) => known === name.toUpperCase());
    if (level === -1) return `log levels must be either of [${LEVELS.join(" ")}]`;
    this.level = level;
    return undefined;
  }

  write(text: string): void {
    if (!this.isQuiet()) this.#text += text;
  }

  /** Runs `body` and indents by two blanks what it writes. */
  indented<Value>(body: () => Value): Value {
    const before = this.#text;
    this.#text = "";
    const value = body();
    const lines = this.#text.split("\n");
    if (lines.at(-1) === "") lines.pop();
    this.#text = before + lines.map((line) => `  ${line}\n`).join("");
    return value;
  }

  #line(level: number, text: string): void {
    if (this.level <= level) this.write(`${LEVELS[level]!} ${text}\n`);
  }

  debug(text: string): void {
    this.#line(0, text);
  }

  info(text: string): void {
    this.#line(1, text);
  }

  warning(text: string): void {
    this.#line(2, text);
  }

  error(text: string): void {
    this.#line(3, text);
  }
}

/** An error that a command shows as its output, where a `ScriptError` means that the script itself is wrong. */
export class ShownError extends Error {
  override readonly name = "ShownError";
}

/** @throws ScriptError */
export function mustHave<Value>(value: Value | undefined, what: string): Value {
  if (value === undefined) throw new ScriptError(what);
  return value;
}
