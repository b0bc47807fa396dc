/** A log that keeps its lines, for tests that ask what was said. */
import type { Log, LogFields, LogLevel } from "../src/platform/index.js";

export interface LogLine {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: LogFields;
}

export interface RecordingLog extends Log {
  /** All lines so far, those of logs made with `with` included. */
  readonly lines: readonly LogLine[];
  /** The messages of one level, or of all. */
  messages(level?: LogLevel): string[];
}

export function recordingLog(): RecordingLog {
  const lines: LogLine[] = [];
  const make = (base: LogFields): RecordingLog => {
    const say = (level: LogLevel) => (message: string, fields?: LogFields) => {
      lines.push({ level, message, fields: { ...base, ...fields } });
    };
    return {
      lines,
      debug: say("debug"),
      info: say("info"),
      warn: say("warn"),
      error: say("error"),
      with: (fields) => make({ ...base, ...fields }),
      messages: (level) => lines.filter((line) => level === undefined || line.level === level).map((l) => l.message),
    };
  };
  return make({});
}
