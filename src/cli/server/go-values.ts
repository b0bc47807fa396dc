/** Values as Go's `flag` package reads them. Each function answers undefined for what Go refuses. */
export { parseDuration } from "../../base/go-duration.js";

/** The spellings that Go takes, and no others. */
export function parseGoBoolean(text: string): boolean | undefined {
  if (/^(1|t|T|TRUE|true|True)$/.test(text)) return true;
  return /^(0|f|F|FALSE|false|False)$/.test(text) ? false : undefined;
}

const INTEGERS: readonly (readonly [prefix: string, form: RegExp])[] = [
  ["0x", /^0[xX](_?[0-9a-fA-F])+$/],
  ["0o", /^0[oO]?(_?[0-7])+$/],
  ["0b", /^0[bB](_?[01])+$/],
  ["", /^(0|[1-9](_?[0-9])*)$/],
];

/** Digits may be grouped with `_`; `0x`, `0o`, `0b` and a leading 0 name the base. Beyond 2^53-1 it is refused, too. */
export function parseGoInteger(text: string): number | undefined {
  const digits = text.replace(/^[+-]/, "");
  const [prefix] = INTEGERS.find(([, form]) => form.test(digits)) ?? [];
  if (prefix === undefined) return undefined;
  const value = Number(prefix + digits.replace(/^0[xXoObB]?(?=.)/, "").replaceAll("_", ""));
  if (!Number.isSafeInteger(value)) return undefined;
  return text.startsWith("-") && value !== 0 ? -value : value;
}
