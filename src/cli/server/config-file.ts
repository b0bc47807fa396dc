/** The same flags from etcd's YAML file (`etcd.conf.yml.sample` of etcd 3.5). */
import { parse } from "yaml";
import { describeError } from "../../base/errors.js";
import { ArgumentError, checked, type GivenFlags, type Warning } from "./arguments.js";
import { flagDescription, isFlagName, type FlagName } from "./flags.js";

/** Keys of etcd's file that are spelled otherwise than their flags. */
const KEYS: Readonly<Record<string, FlagName>> = {
  "experimental-snapshot-catch-up-entries": "experimental-snapshot-catchup-entries",
};
/** Keys with a mapping of their own: TLS of a port, by the keys in it; and options of sockets. */
const SECTIONS: Readonly<Record<string, Readonly<Record<string, FlagName>>>> = {
  "client-transport-security": {
    "cert-file": "cert-file",
    "key-file": "key-file",
    "client-cert-file": "client-cert-file",
    "client-key-file": "client-key-file",
    "client-cert-auth": "client-cert-auth",
    "trusted-ca-file": "trusted-ca-file",
    "auto-tls": "auto-tls",
    "allowed-hostname": "client-cert-allowed-hostname",
  },
  "peer-transport-security": {
    "cert-file": "peer-cert-file",
    "key-file": "peer-key-file",
    "client-cert-file": "peer-client-cert-file",
    "client-key-file": "peer-client-key-file",
    "client-cert-auth": "peer-client-cert-auth",
    "trusted-ca-file": "peer-trusted-ca-file",
    "auto-tls": "peer-auto-tls",
    "allowed-cn": "peer-cert-allowed-cn",
    "allowed-hostname": "peer-cert-allowed-hostname",
  },
  "socket-options": { "reuse-port": "socket-reuse-port", "reuse-address": "socket-reuse-address" },
};
/** Flags that etcd takes from such a mapping alone: their own keys mean nothing in a file. */
const IN_SECTIONS: ReadonlySet<string> = new Set(Object.values(SECTIONS).flatMap((section) => Object.values(section)));

/**
 * A value has the type that etcd asks for: a number is no text, a duration is a number of
 * nanoseconds, URLs are one text with commas. Unknown keys are passed over, as in etcd, but with a warning.
 *
 * @throws ArgumentError `CONFIG_FILE_INVALID`, or for a value as on the command line
 */
export function parseConfigFile(
  text: string,
  path: string,
): { readonly given: GivenFlags; readonly warnings: readonly Warning[] } {
  const given = new Map<FlagName, string>();
  const warnings: Warning[] = [];
  const take = (key: string, name: string | undefined, value: unknown): void => {
    if (value === null || value === undefined) return;
    const where = `${key} in ${path}`;
    if (name !== undefined && isFlagName(name)) {
      const plain = textOf(name, value, where);
      // An empty text is the same as none: etcd keeps its default.
      if (plain !== "") given.set(name, checked(name, plain, { where }));
    } else {
      warnings.push({ message: "unrecognized key in the configuration file", fields: { key, path } });
    }
  };
  for (const [key, value] of Object.entries(mappingOf(text, path))) {
    const section = SECTIONS[key];
    if (section !== undefined && isMapping(value)) {
      for (const [inner, field] of Object.entries(value)) take(`${key}.${inner}`, section[inner], field);
    } else take(key, IN_SECTIONS.has(key) ? undefined : (KEYS[key] ?? key), value);
  }
  return { given, warnings };
}

function mappingOf(text: string, path: string): Readonly<Record<string, unknown>> {
  let document: unknown;
  try {
    document = parse(text, { version: "1.1" }); // the YAML that etcd reads: `yes` and `on` are booleans
  } catch (cause) {
    throw new ArgumentError("CONFIG_FILE_INVALID", `${path} is not YAML: ${describeError(cause)}`, { cause });
  }
  if (document === null || document === undefined) return {};
  if (isMapping(document)) return document;
  throw new ArgumentError(
    "CONFIG_FILE_INVALID",
    `${path} holds no mapping of flags to values: write lines like "name: m1", as in etcd.conf.yml.sample`,
  );
}

function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function textOf(name: FlagName, value: unknown, where: string): string {
  const { kind } = flagDescription(name);
  const refuse = (what: string): never => {
    throw new ArgumentError("FLAG_INVALID", `${where} is ${JSON.stringify(value)}: it must be ${what}`);
  };
  switch (kind) {
    case "list":
      return Array.isArray(value) ? value.map(String).join(",") : refuse("a list, as [a, b]");
    case "boolean":
      return typeof value === "boolean" ? String(value) : refuse("true or false, without quotes");
    case "number":
    case "integer":
      return typeof value === "number" ? String(value) : refuse("a number, without quotes");
    case "duration":
      return typeof value === "number" ? `${value}ns` : refuse("a number of nanoseconds");
    case "text":
    case "urls":
      return typeof value === "string" ? value : refuse("a text; put it in quotes");
  }
}
