/**
 * Texts as Go's standard library writes and reads them, for etcdctl's users compare its output byte by byte: quoted strings, JSON,
 * durations, sizes.
 */
import { GO_ESCAPES, quoteBytes } from "../../base/go-quote.js";
import { latin1FromBytes, utf8FromText } from "../../base/text.js";
import { base64FromBytes } from "../../proto/index.js";

/** A string in Go's source form, double-quoted or back-quoted: how `%q` reads it. */
export const GO_QUOTED = /"(?:[^"\\]|\\.)*"|`[^`]*`/;

const LONG_ESCAPE = /\\(?:x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))/g;
const UNQUOTED = new Map([...GO_ESCAPES].map(([character, escape]) => [escape[1]!, character]));

/**
 * The bytes that such a string stands for.
 *
 * @param quoted latin1 text: a byte a character
 * @returns latin1 text, or undefined when an escape is none of Go's
 */
export function goUnquote(quoted: string): string | undefined {
  const inner = quoted.slice(1, -1);
  if (quoted.startsWith("`")) return inner;
  let malformed = false;
  const text = inner.replace(
    LONG_ESCAPE,
    (_whole, hex?: string, octal?: string, u4?: string, u8?: string, other?: string) => {
      if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
      if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8) & 0xff);
      const code = u4 ?? u8;
      if (code !== undefined) return latin1FromBytes(utf8FromText(String.fromCodePoint(Number.parseInt(code, 16))));
      const character = UNQUOTED.get(other!);
      malformed ||= character === undefined;
      return character ?? "";
    },
  );
  return malformed ? undefined : text;
}

/** `strconv.ParseUint` in base 16 and 64 bits: the number, or what is wrong with the text. */
export function parseHexId(text: string): bigint | string {
  const wrong = (what: string): string => `strconv.ParseUint: parsing ${quoteBytes(utf8FromText(text))}: ${what}`;
  if (!/^[0-9a-fA-F]+$/.test(text)) return wrong("invalid syntax");
  const id = BigInt(`0x${text}`);
  return id < 1n << 64n ? id : wrong("value out of range");
}

/** `strconv.ParseUint` of a decimal number, up to 2^53-1. */
export function parseUnsigned(text: string): number | string {
  const wrong = (what: string): string => `strconv.ParseUint: parsing ${quoteBytes(utf8FromText(text))}: ${what}`;
  if (!/^\d+$/.test(text)) return wrong("invalid syntax");
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : wrong("value out of range");
}

const NANOSECONDS: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  μs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};

/** `time.ParseDuration`, in milliseconds; undefined when it is malformed. */
export function parseGoDuration(text: string): number | undefined {
  const match = /^([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+|0)$/.exec(text);
  if (match === null) return undefined;
  let nanoseconds = 0;
  for (const [, count, unit] of match[2]!.matchAll(/([\d.]+)(ns|us|µs|μs|ms|s|m|h)/g)) {
    nanoseconds += Number(count) * NANOSECONDS[unit!]!;
  }
  return (match[1] === "-" ? -nanoseconds : nanoseconds) / 1e6;
}

/** A duration as Go prints it: 1.234567ms, 2.5s, 1m3s. */
export function formatGoDuration(milliseconds: number): string {
  const nanoseconds = Math.round(milliseconds * 1e6);
  if (nanoseconds === 0) return "0s";
  const decimal = (unit: number, digits: number): string => (nanoseconds / unit).toFixed(digits).replace(/\.?0+$/, "");
  if (nanoseconds < 1e3) return `${nanoseconds}ns`;
  if (nanoseconds < 1e6) return `${decimal(1e3, 3)}µs`;
  if (nanoseconds < 1e9) return `${decimal(1e6, 6)}ms`;
  const hours = Math.floor(nanoseconds / 3600e9);
  const minutes = Math.floor(nanoseconds / 60e9) % 60;
  const seconds = `${((nanoseconds % 60e9) / 1e9).toFixed(9).replace(/\.?0+$/, "")}s`;
  if (hours > 0) return `${hours}h${minutes}m${seconds}`;
  return minutes > 0 ? `${minutes}m${seconds}` : seconds;
}

/** A size in powers of 1000, as etcdctl shows it: 512 B, 20 kB, 2.1 GB. */
export function humanBytes(bytes: number): string {
  if (bytes < 10) return `${bytes} B`;
  const units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
  const power = Math.floor(Math.log(bytes) / Math.log(1000));
  const value = Math.floor((bytes / 1000 ** power) * 10 + 0.5) / 10;
  return `${value < 10 ? value.toFixed(1) : roundHalfToEven(value)} ${units[power]!}`;
}

/** As Go's %.0f: 20.5 is 20, 21.5 is 22. */
function roundHalfToEven(value: number): number {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}

/** A value of Go's JSON. Fields that are zero are left out (`omitempty`), unless they are wrapped in `always`. */
export type GoJson =
  | string
  | number
  | bigint
  | boolean
  | undefined
  | Uint8Array
  | readonly GoJson[]
  | { readonly fields: readonly (readonly [name: string, value: GoJson, always?: "always"])[] };

/** `encoding/json`: no spaces, bytes in base64, 64-bit integers in full, `<`, `>` and `&` escaped. */
export function goJson(value: GoJson): string {
  if (value === undefined) return "null";
  if (typeof value === "string") return jsonString(value);
  if (typeof value !== "object") return String(value);
  if (value instanceof Uint8Array) return `"${base64FromBytes(value)}"`;
  if (isList(value)) return `[${value.map(goJson).join(",")}]`;
  const fields = value.fields.filter(([, field, always]) => always === "always" || !isZero(field));
  return `{${fields.map(([name, field]) => `${jsonString(name)}:${goJson(field)}`).join(",")}}`;
}

function isList(value: GoJson): value is readonly GoJson[] {
  return Array.isArray(value);
}

function isZero(value: GoJson): boolean {
  if (value === undefined || value === "" || value === 0 || value === 0n || value === false) return true;
  return (value instanceof Uint8Array || isList(value)) && value.length === 0;
}

function jsonString(text: string): string {
  return JSON.stringify(text).replace(/[<>&\u2028\u2029]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

/** Each byte as \xHH (etcdctl's --hex). */
export function hexEscaped(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += `\\x${byte.toString(16).padStart(2, "0")}`;
  return text;
}
