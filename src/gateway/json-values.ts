/** Numbers and bytes in JSON, as Go's protobuf reads them (`protojson`). */

/** Digits that a number may have once its exponent is spent: as many as the largest has, and one too many. */
const DIGITS_MAX = 21;

/** The whole number that a JSON number is, `1.0` and `1e3` among them; undefined where it is none, or far beyond 64 bits. */
export function wholeNumber(text: string): bigint | undefined {
  const parts = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text);
  if (parts === null) return undefined;
  const [, sign = "", whole = "", fraction = "", exponent = "0"] = parts;
  const digits = `${whole}${fraction}`.replace(/^0+/, "");
  if (digits === "") return 0n;
  const significant = digits.replace(/0+$/, "");
  const zeros = digits.length - significant.length - fraction.length + Number(exponent);
  if (zeros < 0 || significant.length + zeros > DIGITS_MAX) return undefined;
  return BigInt(`${sign}${significant}${"0".repeat(zeros)}`);
}

/**
 * A number in a string: all of it, without space around. What follows the number after a space or a comma is not looked at, as
 * in Go.
 */
export function wholeNumberIn(text: string): bigint | undefined {
  if (text.trim() !== text) return undefined;
  const first = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![-+.\w])/.exec(text)?.[0];
  return first === undefined ? undefined : wholeNumber(first);
}

/**
 * Base64 in the standard alphabet or the one for URLs, not both; with its padding where the text's length is a multiple of four, without
 * where it is not. Ends of lines are passed over.
 */
export function bytesFromBase64Text(text: string): Uint8Array | undefined {
  const isPadded = text.length % 4 === 0;
  const bare = text.replaceAll(/[\r\n]/g, "");
  const digits = isPadded ? bare.replace(/={1,2}$/, "") : bare;
  const foreign = /[-_]/.test(text) ? /[^A-Za-z0-9_-]/ : /[^A-Za-z0-9+/]/;
  const isWhole = isPadded ? bare.length % 4 === 0 : digits.length % 4 !== 1;
  if (!isWhole || digits.length % 4 === 1 || foreign.test(digits)) return undefined;
  return Buffer.from(digits, "base64");
}
