/** The door for log lines: a message and fields, as etcd's JSON lines have them (design decision 16). */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** Values as JSON has them; a `bigint` is written as hexadecimal, for it is an ID. */
export type LogFields = Readonly<Record<string, unknown>>;

export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A log whose lines carry these fields, too. */
  with(fields: LogFields): Log;
}

/** Says nothing. For tests and tools. */
export const silentLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  with: () => silentLog,
};
