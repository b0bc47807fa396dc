/** etcdctl's global flags: from the command line, else from ETCDCTL_* variables, else their defaults. */
import { type Command, Option } from "commander";
import { Client, type ClientOptions } from "../../client/index.js";
import { discoverEndpoints } from "./discovery.js";
import { CommandFailure, ExitCode } from "./failure.js";
import { formatGoDuration, parseGoDuration } from "./go-text.js";
import { readTls } from "./tls-files.js";
import type { World } from "./world.js";

interface GlobalFlag {
  readonly name: string;
  readonly short?: string;
  readonly kind: "text" | "switch" | "duration";
  readonly initial: string;
  readonly help: string;
}

const GLOBAL_FLAGS: readonly GlobalFlag[] = [
  { name: "endpoints", kind: "text", initial: "127.0.0.1:2379", help: "gRPC endpoints, separated by commas" },
  {
    name: "write-out",
    short: "w",
    kind: "text",
    initial: "simple",
    help: "output format: fields, json, protobuf, simple, table",
  },
  { name: "hex", kind: "switch", initial: "false", help: "print byte strings as hex encoded strings" },
  { name: "dial-timeout", kind: "duration", initial: "2s", help: "wait for one endpoint before the next is tried" },
  { name: "command-timeout", kind: "duration", initial: "5s", help: "timeout for short running commands" },
  { name: "keepalive-time", kind: "duration", initial: "2s", help: "keepalive time for client connections" },
  { name: "keepalive-timeout", kind: "duration", initial: "6s", help: "keepalive timeout for client connections" },
  { name: "debug", kind: "switch", initial: "false", help: "print the flags in force" },
  {
    name: "insecure-transport",
    kind: "switch",
    initial: "true",
    help: "no transport security for endpoints without https",
  },
  { name: "insecure-discovery", kind: "switch", initial: "true", help: "accept insecure SRV records" },
  { name: "insecure-skip-tls-verify", kind: "switch", initial: "false", help: "do not check the server's certificate" },
  { name: "cert", kind: "text", initial: "", help: "file with the client's certificate" },
  { name: "key", kind: "text", initial: "", help: "file with the client's key" },
  { name: "cacert", kind: "text", initial: "", help: "file with the certificates that servers are checked against" },
  { name: "user", kind: "text", initial: "", help: "username:password" },
  { name: "password", kind: "text", initial: "", help: "the password, when --user has none" },
  {
    name: "discovery-srv",
    short: "d",
    kind: "text",
    initial: "",
    help: "domain whose SRV records name the endpoints",
  },
  { name: "discovery-srv-name", kind: "text", initial: "", help: "suffix of the service to look up there" },
];

/** Flags of a command line that stand for a value each; the reordering of arguments needs to know. */
export const VALUE_FLAGS: ReadonlySet<string> = new Set(
  GLOBAL_FLAGS.filter(({ kind }) => kind !== "switch").flatMap(({ name, short }) =>
    short === undefined ? [`--${name}`] : [`--${name}`, `-${short}`],
  ),
);
export const SWITCH_FLAGS: ReadonlySet<string> = new Set(
  GLOBAL_FLAGS.filter(({ kind }) => kind === "switch").map(({ name }) => `--${name}`),
);

export function addGlobalFlags(command: Command): void {
  for (const { name, short, kind, initial, help } of GLOBAL_FLAGS) {
    const prefix = short === undefined ? "" : `-${short}, `;
    const takes = kind === "switch" ? "[boolean]" : "<value>";
    const shown = initial === "" || initial === "false" ? help : `${help} (default ${initial})`;
    const option = new Option(`${prefix}--${name} ${takes}`, shown);
    command.addOption(option.helpGroup("Global Options:"));
  }
}

/** A switch whose name begins with `--no-`. To the parser that would be the opposite of another flag. */
export function noOption(flag: string, help: string): Option {
  const option = new Option(flag, help);
  option.negate = false;
  return option;
}

export interface Globals {
  readonly endpoints: readonly string[];
  readonly writeOut: string;
  readonly hex: boolean;
  readonly commandTimeoutMs: number;
  /** Whether the timeout was asked for: snapshots know none otherwise. */
  readonly commandTimeoutGiven: boolean;
  readonly client: ClientOptions;
  /** A user was named without a password. */
  readonly asksForPassword: boolean;
}

/** @throws CommandFailure for a value that is none, for a flag that is also set in the environment, and where discovery finds nothing */
export async function resolveGlobals(options: Readonly<Record<string, unknown>>, world: World): Promise<Globals> {
  const values = new Map<string, string>();
  const given = new Set<string>();
  for (const flag of GLOBAL_FLAGS) {
    const variable = `ETCDCTL_${flag.name.toUpperCase().replaceAll("-", "_")}`;
    const fromEnvironment = world.env[variable] ?? "";
    // The parser gives text, or true for a switch without a value.
    const option = options[flag.name.replace(/-(\w)/g, (_dash, letter: string) => letter.toUpperCase())] as
      string | true | undefined;
    if (option !== undefined && world.env[variable] !== undefined) {
      throw new CommandFailure(
        ExitCode.error,
        `conflicting environment variable "${variable}" is shadowed by corresponding command-line flag (either unset environment variable or disable flag)`,
      );
    }
    if (option !== undefined) given.add(flag.name);
    const value = option !== undefined ? String(option) : fromEnvironment === "" ? flag.initial : fromEnvironment;
    values.set(flag.name, value);
  }
  const text = (name: string): string => values.get(name)!;
  const toggle = (name: string): boolean => parseSwitch(name, text(name));
  const duration = (name: string): number => parseDuration(name, text(name));
  if (toggle("debug")) world.err(describeFlags(values));
  for (const name of ["cert", "key", "cacert"]) {
    if (given.has(name) && text(name) === "") {
      throw new CommandFailure(ExitCode.badArguments, `empty string is passed to --${name} option`);
    }
  }
  const domain = text("discovery-srv");
  const insecureDiscovery = toggle("insecure-discovery");
  const discovered =
    domain === "" ? [] : await discoverEndpoints(domain, text("discovery-srv-name"), insecureDiscovery, world);
  const named = text("endpoints")
    .split(",")
    .map((endpoint) => endpoint.trim());
  const endpoints = discovered.length > 0 ? discovered : named;
  const tls = readTls({
    files: { cert: text("cert"), key: text("key"), cacert: text("cacert") },
    isOffByDefault: toggle("insecure-transport"),
    anyServer: toggle("insecure-skip-tls-verify"),
    serverName: insecureDiscovery ? "" : domain,
  });
  const user = parseUser(text("user"), text("password"));
  return {
    endpoints,
    writeOut: text("write-out"),
    hex: toggle("hex"),
    commandTimeoutMs: duration("command-timeout"),
    commandTimeoutGiven: given.has("command-timeout"),
    client: {
      endpoints,
      dialTimeoutMs: duration("dial-timeout"),
      callTimeoutMs: duration("command-timeout"),
      keepAliveMs: duration("keepalive-time"),
      keepAliveTimeoutMs: duration("keepalive-timeout"),
      ...(tls === undefined ? {} : { tls }),
      ...(user === undefined ? {} : { user }),
    },
    asksForPassword: text("user") !== "" && text("password") === "" && !text("user").includes(":"),
  };
}

/** As etcdctl's --debug shows them: sorted, values in Go's form. */
function describeFlags(values: ReadonlyMap<string, string>): string {
  const lines = GLOBAL_FLAGS.map(({ name, kind }) => {
    const value = values.get(name)!;
    const shown = {
      text: name === "endpoints" ? `[${value.split(",").map(csvField).join(",")}]` : value,
      switch: String(parseSwitch(name, kind === "switch" ? value : "false")),
      duration: kind === "duration" ? formatGoDuration(parseDuration(name, value)) : "",
    };
    return `ETCDCTL_${name.toUpperCase().replaceAll("-", "_")}=${shown[kind]}\n`;
  });
  return lines.sort().join("");
}

/** As Go writes a list: what begins with a blank is quoted. */
function csvField(text: string): string {
  return /^\s|"/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function openClient(globals: Globals, endpoints: readonly string[] = globals.endpoints): Client {
  return new Client({ ...globals.client, endpoints });
}

/** @throws CommandFailure for what Go's flag package takes for no truth value */
export function parseSwitch(name: string, text: string): boolean {
  if (["1", "t", "T", "true", "TRUE", "True"].includes(text)) return true;
  if (["0", "f", "F", "false", "FALSE", "False"].includes(text)) return false;
  throw new CommandFailure(
    ExitCode.error,
    `invalid argument ${JSON.stringify(text)} for "--${name}" flag: strconv.ParseBool: parsing ${JSON.stringify(text)}: invalid syntax`,
  );
}

function parseDuration(name: string, text: string): number {
  const milliseconds = parseGoDuration(text);
  if (milliseconds !== undefined) return milliseconds;
  const quoted = JSON.stringify(text);
  throw new CommandFailure(
    ExitCode.error,
    `invalid argument ${quoted} for "--${name}" flag: time: invalid duration ${quoted}`,
  );
}

/** @param user with or without its password after a colon */
export function parseUser(user: string, password: string): ClientOptions["user"] {
  if (user === "") return undefined;
  if (password !== "") return { name: user, password };
  const colon = user.indexOf(":");
  if (colon < 0) return { name: user, password: "" };
  return { name: user.slice(0, colon), password: user.slice(colon + 1) };
}
