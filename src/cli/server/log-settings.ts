/** What the flags of the log mean: outputs, and when a file of them begins anew. Refusals are etcd's. */
import type { LogRotation } from "../../platform/node/index.js";
import { ArgumentError } from "./arguments.js";

const MEBIBYTE = 1024 * 1024;
const DAY_MS = 86_400_000;
/** What 0 means for `maxsize` (lumberjack's default). */
const MEBIBYTES_DEFAULT = 100;

const STREAMS: readonly string[] = ["default", "stderr", "stdout"];
const JOURNAL = "systemd/journal";

/** @throws ArgumentError for outputs that cannot be */
export function logOutputsOf(text: string): readonly string[] {
  const outputs = text.split(",");
  if (outputs.includes(JOURNAL)) {
    const detail = `--log-outputs: ${JOURNAL} is not supported: log to stderr, which systemd hands to the journal`;
    throw new ArgumentError("FLAG_INVALID", detail);
  }
  if (outputs.length > 1 && outputs.includes("default")) {
    const detail = `--log-outputs: "default" cannot stand beside other outputs; name stderr instead`;
    throw new ArgumentError("FLAG_INVALID", detail);
  }
  return outputs;
}

/** @throws ArgumentError for what is no configuration, or for outputs among which there is not one file */
export function logRotationOf(outputs: readonly string[], json: string): LogRotation {
  const files = outputs.filter((output) => !STREAMS.includes(output));
  if (files.length !== 1) {
    const detail = `--log-outputs requires a single file path when --enable-log-rotation is given, and has ${files.length === 0 ? "none" : files.join(" and ")}`;
    throw new ArgumentError("FLAG_INVALID", detail);
  }
  const fields = fieldsOf(json);
  const number = (name: string): number => {
    const value = fields.get(name) ?? 0;
    if (typeof value === "number" && Number.isInteger(value)) return value;
    throw refusal(json, `${name} must be a whole number`);
  };
  const toggle = (name: string): boolean => {
    const value = fields.get(name) ?? false;
    if (typeof value === "boolean") return value;
    throw refusal(json, `${name} must be true or false`);
  };
  const positive = (value: number): number => Math.max(0, value);
  return {
    bytesMax: (positive(number("maxsize")) || MEBIBYTES_DEFAULT) * MEBIBYTE,
    ageMsMax: positive(number("maxage")) * DAY_MS,
    backupsMax: positive(number("maxbackups")),
    localTime: toggle("localtime"),
    compress: toggle("compress"),
  };
}

/** Names in lower case, as Go finds them in any; those that are unknown are passed over. */
function fieldsOf(json: string): ReadonlyMap<string, unknown> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch (cause) {
    throw refusal(json, "it is no JSON", { cause });
  }
  if (parsed === null) return new Map();
  if (typeof parsed !== "object" || Array.isArray(parsed)) throw refusal(json, "it is no JSON object");
  return new Map(Object.entries(parsed).map(([name, value]) => [name.toLowerCase(), value as unknown]));
}

function refusal(json: string, why: string, options?: ErrorOptions): ArgumentError {
  const detail = `--log-rotation-config-json: ${why} in ${json}; write it as {"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}`;
  return new ArgumentError("FLAG_INVALID", detail, options);
}
