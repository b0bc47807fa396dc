/**
 * Log lines as etcd writes them (design decision 16): JSON with `level`, `ts`, `caller`, `msg` and then the fields, or the same
 * parts between tabs with `--log-format console`.
 *
 * pino's sink takes the lines: it writes at once, waits where a pipe is full, and reopens nothing by itself. The line is made here,
 * for the order of fields is etcd's.
 */
import { openSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { destination } from "pino";
import type { Log, LogFields, LogLevel } from "../log.js";
import { type LogRotation, RotatingFile } from "./rotating-file.js";

export interface LogOptions {
  /** Lines below this level are not written; `info` when left out. */
  readonly level?: LogLevel;
  /** Where lines go, as etcd's `--log-outputs`: `stderr`, `stdout`, `default` (stderr), or paths of files; stderr when left out. */
  readonly outputs?: readonly string[];
  readonly format?: "json" | "console";
  /** Files among the outputs begin anew when they are full; they grow for ever where this is left out. */
  readonly rotation?: LogRotation | undefined;
}

const LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/** Somewhere that takes whole lines. */
export interface LineSink {
  write(line: string): unknown;
}

/** Makes lines and hands them to the sinks. All logs made from one share it, its level included. */
export class LineWriter {
  readonly #format: "json" | "console";
  readonly #sinks: readonly LineSink[];
  #levelMin: number;

  constructor(options: LogOptions, sinks: readonly LineSink[]) {
    this.#format = options.format ?? "json";
    this.#levelMin = LEVELS.indexOf(options.level ?? "info");
    this.#sinks = sinks;
  }

  setLevel(level: LogLevel): void {
    this.#levelMin = LEVELS.indexOf(level);
  }

  write(level: LogLevel, message: string, always: LogFields, fields: LogFields | undefined): void {
    if (LEVELS.indexOf(level) < this.#levelMin) return;
    const { caller, ...rest } = fields === undefined ? always : { ...always, ...fields };
    const line =
      this.#format === "json"
        ? jsonText({ level, ts: timestamp(), caller, msg: message, ...rest })
        : consoleText(level, caller, message, rest);
    for (const sink of this.#sinks) sink.write(`${line}\n`);
  }
}

export class NodeLog implements Log {
  readonly #writer: LineWriter;
  readonly #fields: LogFields;

  constructor(writer: LineWriter, fields: LogFields = {}) {
    this.#writer = writer;
    this.#fields = fields;
  }

  /** Applies to this log and to all that came from the same one. */
  setLevel(level: LogLevel): void {
    this.#writer.setLevel(level);
  }

  debug(message: string, fields?: LogFields): void {
    this.#writer.write("debug", message, this.#fields, fields);
  }

  info(message: string, fields?: LogFields): void {
    this.#writer.write("info", message, this.#fields, fields);
  }

  warn(message: string, fields?: LogFields): void {
    this.#writer.write("warn", message, this.#fields, fields);
  }

  error(message: string, fields?: LogFields): void {
    this.#writer.write("error", message, this.#fields, fields);
  }

  /** A field `caller` (`wal/writer.ts`) takes the place that etcd's lines have for it. */
  with(fields: LogFields): Log {
    return new NodeLog(this.#writer, { ...this.#fields, ...fields });
  }
}

/** A log with the outputs that the options name. */
export function nodeLog(options: LogOptions = {}): NodeLog {
  return new NodeLog(new LineWriter(options, openSinks(options.outputs ?? ["stderr"], options.rotation)));
}

function openSinks(outputs: readonly string[], rotation: LogRotation | undefined): LineSink[] {
  return outputs.map((output) => {
    if (output === "stderr" || output === "default") return openSink(2);
    if (output === "stdout") return openSink(1);
    return rotation === undefined ? openSink(output) : new RotatingFile(output, rotation);
  });
}

/** Bytes of lines that wait for an output that takes none; what comes then is dropped. */
const WAITING_BYTES_MAX = 1024 * 1024;

/** @throws the system's error when a file cannot be opened */
function openSink(dest: number | string): LineSink {
  // Opened here, at once: a path that does not work is an error of the start, not of the first line.
  const fd = typeof dest === "number" ? dest : openSync(dest, "a");
  const sink = destination({ dest: fd, sync: true, maxLength: WAITING_BYTES_MAX });
  // A reader that went away or a full disk must not stop a member: the lines are lost, the member goes on.
  sink.on("error", () => undefined);
  return sink;
}

function consoleText(level: LogLevel, caller: unknown, message: string, fields: LogFields): string {
  const parts = [timestamp(), level];
  if (typeof caller === "string") parts.push(caller);
  parts.push(message);
  if (Object.keys(fields).length > 0) parts.push(jsonText(fields));
  return parts.join("\t");
}

/** JSON of fields: an ID is hexadecimal, an error its text, bytes are base64. A value that is not JSON never loses the line. */
function jsonText(fields: LogFields): string {
  try {
    return JSON.stringify(fields, (_key, value: unknown) => {
      if (typeof value === "bigint") return value.toString(16);
      if (value instanceof Error) return value.message;
      if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
      return value;
    });
  } catch (error) {
    return JSON.stringify({ ...onlyTexts(fields), "log-error": String(error) });
  }
}

function onlyTexts(fields: LogFields): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, String(value)]));
}

/** ISO 8601 in UTC with microseconds, as etcd 3.5 stamps its lines. */
function timestamp(): string {
  const wall = Date.now();
  const fine = performance.timeOrigin + performance.now();
  // The fine clock counts from the start of the process and does not follow when the wall clock is set.
  const now = Math.abs(fine - wall) < 2 ? fine : wall;
  const whole = Math.floor(now);
  const micros = Math.floor((now - whole) * 1000);
  return `${new Date(whole).toISOString().slice(0, -1)}${String(micros).padStart(3, "0")}Z`;
}
