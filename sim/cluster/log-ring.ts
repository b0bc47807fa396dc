/**
 * The last lines that a machine's processes said: kept unformatted, since only a run that fails shows them. Each is also told to who
 * listens, for some say what a run came through.
 */
import type { Log, LogFields, LogLevel } from "../../src/platform/index.js";

interface Line {
  readonly at: number;
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields | undefined;
}

export type LogListener = (message: string, fields: LogFields | undefined) => void;

export class LogRing {
  readonly #lines: (Line | undefined)[];
  readonly #listener: LogListener;
  #count = 0;

  constructor(capacity: number, listener: LogListener) {
    this.#lines = Array.from({ length: capacity }, () => undefined);
    this.#listener = listener;
  }

  /** A door for one process. */
  door(now: () => number, base?: LogFields): Log {
    const say = (level: LogLevel) => (message: string, fields?: LogFields) => {
      const all = base === undefined ? fields : { ...base, ...fields };
      this.#lines[this.#count++ % this.#lines.length] = { at: now(), level, message, fields: all };
      this.#listener(message, all);
    };
    return {
      debug: () => undefined,
      info: say("info"),
      warn: say("warn"),
      error: say("error"),
      with: (fields) => this.door(now, { ...base, ...fields }),
    };
  }

  /** Oldest first. */
  lines(): { readonly at: number; readonly text: string }[] {
    const size = this.#lines.length;
    const first = Math.max(0, this.#count - size);
    const texts = [];
    for (let i = first; i < this.#count; i++) {
      const line = this.#lines[i % size]!;
      const fields = line.fields === undefined ? "" : ` ${describeFields(line.fields)}`;
      texts.push({ at: line.at, text: `${line.level} ${line.message}${fields}` });
    }
    return texts;
  }
}

function describeFields(fields: LogFields): string {
  return JSON.stringify(fields, (_key, value: unknown) => (typeof value === "bigint" ? value.toString(16) : value));
}
