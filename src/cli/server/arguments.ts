/**
 * From command line and environment to the values of flags, by etcd's own rules (`config-file.ts` has the third source).
 *
 * The command line is Go's: one dash or two, `--flag=value` or `--flag value`, a boolean alone or with `=`, `--` ends it; hence no
 * library. The environment has `ETCD_` and the flag's name in capitals; a variable and its flag together are refused, for nobody can
 * tell which one was meant.
 *
 * Law: a value leaves here in its canonical text (`0x10` is `16`, `T` is `true`), so that whoever compares need not parse.
 */
import { CodedError } from "../../base/errors.js";
import { flagDescription, isFlagName, isSupported, SERVER_FLAGS, type FlagName } from "./flags.js";
import { parseDuration, parseGoBoolean, parseGoInteger } from "./go-values.js";
import { faultInUrl, splitUrls } from "./urls.js";

export class ArgumentError extends CodedError<
  "FLAG_UNKNOWN" | "FLAG_INVALID" | "FLAG_UNSUPPORTED" | "ARGUMENT_UNEXPECTED" | "CONFIG_FILE_INVALID"
> {
  override readonly name = "ArgumentError";
  /** As etcd ends: 2 for a flag that the command line cannot have, 1 for all else. */
  readonly exitCode: 1 | 2;

  constructor(code: ArgumentError["code"], detail: string, options: ErrorOptions & { readonly exitCode?: 2 } = {}) {
    super(code, detail, options);
    this.exitCode = options.exitCode ?? 1;
  }
}

/** Values that were given, by flag. Those that were not are absent. */
export type GivenFlags = ReadonlyMap<FlagName, string>;

/** What is told to the person who looks at the log, once there is one. */
export interface Warning {
  readonly message: string;
  readonly fields: Readonly<Record<string, string>>;
}

export interface CommandLine {
  readonly given: GivenFlags;
  /** The help or the version is all that was asked for. */
  readonly asked: "help" | "version" | undefined;
}

/** @throws ArgumentError with the flag and the way out */
export function parseArguments(args: readonly string[]): CommandLine {
  const given = new Map<FlagName, string>();
  let asked: CommandLine["asked"];
  for (let position = 0; position < args.length; position++) {
    const argument = args[position]!;
    if (argument === "--" && position === args.length - 1) break;
    const match = /^--?([^-=][^=]*)(?:=(.*))?$/s.exec(argument);
    if (match === null || argument === "--") throw unexpected(argument === "--" ? args[position + 1]! : argument);
    const [, text, attached] = match as unknown as [string, string, string | undefined];
    if (text === "help" || text === "h") return { given, asked: "help" };
    const source: Source = { where: `--${text}`, exitCode: 2 };
    if (text === "version") {
      asked = canonical("boolean", attached ?? "true", source) === "true" ? "version" : undefined;
      continue;
    }
    const name = known(text, source);
    let value = attached;
    if (value === undefined) value = flagDescription(name).kind === "boolean" ? "true" : args[++position];
    if (value === undefined) {
      throw new ArgumentError("FLAG_INVALID", `--${name} needs a value: --${name}=…`, { exitCode: 2 });
    }
    given.set(name, checked(name, value, source));
  }
  return { given, asked };
}

function unexpected(argument: string): ArgumentError {
  return new ArgumentError(
    "ARGUMENT_UNEXPECTED",
    `"${argument}" is not a flag: flags look like --name=value, booleans need the "="; \`walnut --help\` lists commands and flags`,
    /^-./.test(argument) ? { exitCode: 2 } : {},
  );
}

/**
 * The flags that the environment sets. Variables that no flag has are passed over with a warning, empty ones too.
 *
 * @throws ArgumentError for a bad value, and for a variable whose flag was given on the command line
 */
export function parseEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
  onCommandLine: GivenFlags = new Map(),
): { readonly given: GivenFlags; readonly warnings: readonly Warning[] } {
  const given = new Map<FlagName, string>();
  const warnings: Warning[] = [];
  const byVariable = new Map((Object.keys(SERVER_FLAGS) as FlagName[]).map((name) => [variableOf(name), name]));
  for (const [variable, value = ""] of Object.entries(environment)) {
    if (!variable.startsWith("ETCD_")) continue;
    const name = byVariable.get(variable);
    if (name === undefined || value === "") {
      const message = "unrecognized environment variable";
      warnings.push({ message, fields: { "environment-variable": `${variable}=${value}` } });
      continue;
    }
    if (onCommandLine.has(name)) {
      const detail = `${variable} is set and --${name} is given: unset the variable or leave out the flag`;
      throw new ArgumentError("FLAG_INVALID", detail);
    }
    given.set(name, checked(name, value, { where: variable }));
  }
  return { given, warnings };
}

const variableOf = (name: FlagName): string => `ETCD_${name.toUpperCase().replaceAll("-", "_")}`;

/** Where a value comes from, for the sentence that refuses it and the exit code. */
export interface Source {
  readonly where: string;
  readonly exitCode?: 2;
}

function known(name: string, source: Source): FlagName {
  if (isFlagName(name)) return name;
  const detail = `${source.where} is not a flag of etcd 3.5: \`walnut --help\` lists them`;
  throw new ArgumentError("FLAG_UNKNOWN", detail, source);
}

/** The canonical text of a value. @throws ArgumentError when it is none, or when it asks for what is not supported */
export function checked(name: FlagName, value: string, source: Source): string {
  const { kind, choices, refusal, default: usual } = flagDescription(name);
  const text = canonical(kind, value, source);
  if (choices !== undefined && !choices.includes(text)) {
    throw new ArgumentError("FLAG_INVALID", `${source.where}: "${value}" is neither ${choices.join(" nor ")}`, source);
  }
  if (!isSupported(name, text)) {
    const unless = usual === "" ? "" : ` (or at its default, ${usual})`;
    const detail = `${source.where}: known, but ${refusal ?? "it does nothing here"}; leave it out${unless}`;
    throw new ArgumentError("FLAG_UNSUPPORTED", detail);
  }
  return text;
}

function canonical(kind: ReturnType<typeof flagDescription>["kind"], value: string, source: Source): string {
  const refuse = (what: string): never => {
    throw new ArgumentError("FLAG_INVALID", `${source.where}: "${value}" is not ${what}`, source);
  };
  switch (kind) {
    case "boolean":
      return String(parseGoBoolean(value) ?? refuse("true or false"));
    case "number": {
      const number = parseGoInteger(value);
      return String(number === undefined || /^[+-]/.test(value) ? refuse("a whole number from 0 on") : number);
    }
    case "integer":
      return String(parseGoInteger(value) ?? refuse("a whole number"));
    case "duration":
      return parseDuration(value) === undefined ? refuse("a duration, as 100ms or 5s") : value;
    case "urls": {
      // No URL at all is etcd's way to say: the default.
      const bad = value === "" ? undefined : splitUrls(value).find((url) => faultInUrl(url) !== undefined);
      if (bad === undefined) return value;
      throw new ArgumentError("FLAG_INVALID", `${source.where}: "${bad}" ${faultInUrl(bad)!}`, source);
    }
    case "text":
    case "list":
      return value;
  }
}
