/**
 * From command line, environment or configuration file to the values of flags.
 *
 * The command line is Go's: one dash or two, `--flag=value` or `--flag value`, a boolean alone or with `=`; hence no library.
 * The environment has `ETCD_` and the flag's name in capitals. With a configuration file both are ignored, as in etcd.
 */
import { CodedError, describeError } from "../../base/errors.js";
import { parse } from "yaml";
import { flagDescription, isFlagName, isSupported, SERVER_FLAGS, type FlagName } from "./flags.js";

export class ArgumentError extends CodedError<
  "FLAG_UNKNOWN" | "FLAG_INVALID" | "FLAG_UNSUPPORTED" | "ARGUMENT_UNEXPECTED" | "CONFIG_FILE_INVALID"
> {
  override readonly name = "ArgumentError";
}

/** Values that were given, by flag. Those that were not are absent. */
export type GivenFlags = ReadonlyMap<FlagName, string>;

/** @throws ArgumentError with the flag and the way out */
export function parseArguments(args: readonly string[]): GivenFlags {
  const given = new Map<FlagName, string>();
  for (let position = 0; position < args.length; position++) {
    const argument = args[position]!;
    const match = /^--?([a-z0-9][a-z0-9-]*)(?:=(.*))?$/s.exec(argument);
    if (match === null) {
      throw new ArgumentError(
        "ARGUMENT_UNEXPECTED",
        `"${argument}" is not a flag: flags look like --name=value; \`walnut --help\` lists commands and flags`,
      );
    }
    const name = known(match[1]!, `--${match[1]!}`);
    let value = match[2];
    if (value === undefined && flagDescription(name).kind === "boolean") value = "true";
    if (value === undefined) value = args[++position];
    if (value === undefined) throw new ArgumentError("FLAG_INVALID", `--${name} needs a value: --${name}=…`);
    given.set(name, checked(name, value, `--${name}`));
  }
  return given;
}

/** The flags that the environment sets. Names that are no flag are passed over, as in etcd. */
export function parseEnvironment(environment: Readonly<Record<string, string | undefined>>): GivenFlags {
  const given = new Map<FlagName, string>();
  for (const name of Object.keys(SERVER_FLAGS) as FlagName[]) {
    const variable = `ETCD_${name.toUpperCase().replaceAll("-", "_")}`;
    const value = environment[variable];
    if (value !== undefined && value !== "") given.set(name, checked(name, value, variable));
  }
  return given;
}

/** The same flags from etcd's YAML file. Lists and booleans become the text that the flag would have. */
export function parseConfigFile(text: string, path: string): GivenFlags {
  let document: unknown;
  try {
    document = parse(text);
  } catch (cause) {
    throw new ArgumentError("CONFIG_FILE_INVALID", `${path} is not YAML: ${describeError(cause)}`, { cause });
  }
  if (document === null || document === undefined) return new Map();
  if (typeof document !== "object" || Array.isArray(document)) {
    throw new ArgumentError(
      "CONFIG_FILE_INVALID",
      `${path} holds no mapping of flags to values: see etcd.conf.yml.sample`,
    );
  }
  const given = new Map<FlagName, string>();
  for (const [key, value] of Object.entries(document)) {
    if (value === null || value === undefined) continue;
    const where = `${key} in ${path}`;
    if (key.endsWith("-transport-security")) {
      if (hasContent(value))
        throw new ArgumentError("FLAG_UNSUPPORTED", `${where}: TLS is not supported yet; leave it out`);
      continue;
    }
    const name = known(key, where);
    given.set(name, checked(name, textOf(name, value), where));
  }
  return given;
}

function hasContent(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return Boolean(value);
  return Object.values(value).some((field) => field !== null && field !== false && field !== "");
}

function textOf(name: FlagName, value: unknown): string {
  if (Array.isArray(value)) return value.map(String).join(",");
  // etcd's file gives durations as nanoseconds.
  if (flagDescription(name).kind === "duration" && typeof value === "number") return `${value / 1e6}ms`;
  return String(value);
}

function known(name: string, where: string): FlagName {
  if (isFlagName(name)) return name;
  throw new ArgumentError("FLAG_UNKNOWN", `${where} is not a flag of etcd 3.5: \`walnut --help\` lists them`);
}

function checked(name: FlagName, value: string, where: string): string {
  const { kind, default: usual } = flagDescription(name);
  const refuse = (what: string): never => {
    throw new ArgumentError("FLAG_INVALID", `${where}: "${value}" is not ${what}`);
  };
  if (kind === "number" && !/^-?\d+$/.test(value)) refuse("a whole number");
  if (kind === "boolean" && !/^(true|false|1|0|t|f)$/i.test(value)) refuse("true or false");
  if (kind === "duration" && value !== "" && parseDuration(value) === undefined) refuse("a duration, as 100ms or 5s");
  const canonical = kind === "boolean" ? String(/^(true|1|t)$/i.test(value)) : value;
  if (!isSupported(name, canonical)) {
    throw new ArgumentError(
      "FLAG_UNSUPPORTED",
      `${where}: known, but not supported yet; leave it out${usual === "" ? "" : ` (or at its default, ${usual})`}`,
    );
  }
  return canonical;
}

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** Milliseconds of a Go duration; undefined when it is none. */
export function parseDuration(text: string): number | undefined {
  if (text === "0") return 0;
  if (!/^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)) {
    total += Number(amount) * DURATION_UNITS[unit!]!;
  }
  return total;
}
