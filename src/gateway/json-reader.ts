/**
 * JSON as Go reads it: which texts are JSON, where a value ends, and what is said of a text that is none. Clients of etcd's gateway see those
 * words, so they are Go's (`encoding/json`), with the character and the place in the grammar.
 *
 * A value is read as its bytes come, so that one that comes in many pieces is looked at once, and a wrong character is refused when it comes.
 * What is read is a tree of places in the text: numbers and strings are made of them where somebody wants them.
 *
 * Laws: a value nests no deeper than `DEPTH_MAX` (Go's figure); reading does not recurse, so that depth costs no stack; no more is kept than
 * the values that were not taken yet.
 */
import { CodedError } from "../base/errors.js";
import { quoteBytes } from "../base/go-quote.js";

/** A client's JSON is none, or does not fit the message. `detail` is what etcd says of it. */
export class JsonError extends CodedError<"JSON_INVALID"> {
  override readonly name = "JsonError";

  constructor(detail: string) {
    super("JSON_INVALID", detail);
  }
}

/** A place in the text: `[start, end)`, quotes and brackets included. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

export interface JsonScalar extends Span {
  readonly kind: "string" | "number" | "true" | "false" | "null";
}

export type JsonValue =
  | JsonScalar
  | (Span & { readonly kind: "object"; readonly members: readonly JsonMember[] })
  | (Span & { readonly kind: "array"; readonly items: readonly JsonValue[] });

export interface JsonMember {
  /** With its quotes. */
  readonly name: Span;
  readonly value: JsonValue;
}

/** A value with the text that its places are in. */
export interface JsonDocument {
  readonly text: Uint8Array;
  readonly root: JsonValue;
}

/** An object or an array whose end has not come. */
interface OpenValue {
  readonly start: number;
  readonly members: JsonMember[] | undefined;
  readonly items: JsonValue[];
  /** Of the member whose value comes next. */
  name: Span | undefined;
}

const DEPTH_MAX = 10_000;

/** What may come next. */
type Place =
  | "value" //
  | "item or end"
  | "key or end"
  | "key"
  | "colon"
  | "after member"
  | "after item"
  | "string"
  | "escape"
  | "unicode escape"
  | "literal"
  // Within a number, after:
  | "minus"
  | "zero"
  | "digits"
  | "point"
  | "fraction"
  | "e"
  | "e and sign"
  | "exponent";

const QUOTE = 0x22;
const PLUS = 0x2b;
const COMMA = 0x2c;
const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;
const COLON = 0x3a;
const OPEN_ARRAY = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const LITERALS: ReadonlyMap<number, "true" | "false" | "null"> = new Map(
  (["true", "false", "null"] as const).map((word) => [word.charCodeAt(0), word]),
);
const ESCAPES: ReadonlySet<number> = new Set(Buffer.from('bfnrt\\/"'));
/** In which a number may end. */
const NUMBER_ENDS: ReadonlySet<Place> = new Set(["zero", "digits", "fraction", "exponent"]);

const isSpace = (byte: number): boolean => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
const isDigit = (byte: number): boolean => byte >= ZERO && byte <= NINE;
const isHex = (byte: number): boolean =>
  isDigit(byte) || (byte >= 0x41 && byte <= 0x46) || (byte >= 0x61 && byte <= 0x66);

const FIRST_ROOM_BYTES = 4_096;

/** Reads values that follow one another. */
export class JsonReader {
  #text: Uint8Array;
  #length: number;
  #at = 0;
  #place: Place = "value";
  readonly #open: OpenValue[] = [];
  #isKey = false;
  /** Of the string, number or literal under way. */
  #start = 0;
  #word: "true" | "false" | "null" = "null";
  #count = 0;

  /** @param text what is there already; it is not copied, and must not change */
  constructor(text: Uint8Array = new Uint8Array(0)) {
    this.#text = text;
    this.#length = text.length;
  }

  /** Whether a value has begun and not ended. */
  get isInValue(): boolean {
    return this.#open.length > 0 || this.#place !== "value";
  }

  /** Bytes that are kept: of the value under way, and what was not looked at yet. */
  get heldBytes(): number {
    return this.#length;
  }

  /** Takes more of the text. */
  push(bytes: Uint8Array): void {
    const needed = this.#length + bytes.length;
    if (needed > this.#text.length) {
      const grown = new Uint8Array(Math.max(needed, this.#length * 2, FIRST_ROOM_BYTES));
      grown.set(this.#text.subarray(0, this.#length));
      this.#text = grown;
    }
    this.#text.set(bytes, this.#length);
    this.#length = needed;
  }

  /**
   * The next value that is whole; undefined: more of the text is needed.
   *
   * @throws JsonError at the first character that cannot be
   */
  next(): JsonDocument | undefined {
    while (this.#at < this.#length) {
      const found = this.#step(this.#text[this.#at]!);
      if (found !== undefined) return this.#give(found);
    }
    return undefined;
  }

  /**
   * The last value, when the text has ended; undefined: there is none.
   *
   * @throws JsonError for a text that ends in the midst of one
   */
  last(): JsonDocument | undefined {
    const found = this.next();
    if (found !== undefined || !this.isInValue) return found;
    if (this.#open.length === 0 && NUMBER_ENDS.has(this.#place)) return this.#give(this.#scalar("number"));
    throw new JsonError("unexpected EOF");
  }

  /** Lets go of the text before what comes next, where that is worth it. */
  #give(root: JsonValue): JsonDocument {
    const document = { text: this.#text, root };
    this.#place = "value";
    const rest = this.#length - this.#at;
    if (rest === 0 || this.#at > FIRST_ROOM_BYTES) {
      this.#text = this.#text.slice(this.#at, this.#length);
      this.#length = rest;
      this.#at = 0;
    }
    return document;
  }

  /** Looks at one byte; gives a value that is whole with it, or was before it. */
  #step(byte: number): JsonValue | undefined {
    switch (this.#place) {
      case "string":
        return this.#inString();
      case "escape":
        return this.#inEscape(byte);
      case "unicode escape":
        return this.#inUnicode(byte);
      case "literal":
        return this.#inLiteral(byte);
      case "value":
      case "item or end":
      case "key or end":
      case "key":
      case "colon":
      case "after member":
      case "after item":
        if (isSpace(byte)) this.#at++;
        else return this.#between(byte);
        return undefined;
      default:
        return this.#inNumber(byte);
    }
  }

  /** Between strings, numbers and literals. */
  #between(byte: number): JsonValue | undefined {
    switch (this.#place) {
      case "item or end":
        if (byte === CLOSE_ARRAY) return this.#close();
        return this.#begin(byte);
      case "key or end":
        if (byte === CLOSE_OBJECT) return this.#close();
        return this.#beginKey(byte);
      case "key":
        return this.#beginKey(byte);
      case "colon":
        if (byte !== COLON) throw this.#unexpected("after object key");
        return this.#goOn("value");
      case "after member":
        if (byte === CLOSE_OBJECT) return this.#close();
        if (byte !== COMMA) throw this.#unexpected("after object key:value pair");
        return this.#goOn("key");
      case "after item":
        if (byte === CLOSE_ARRAY) return this.#close();
        if (byte !== COMMA) throw this.#unexpected("after array element");
        return this.#goOn("value");
      default:
        return this.#begin(byte);
    }
  }

  #goOn(place: Place): undefined {
    this.#at++;
    this.#place = place;
  }

  #begin(byte: number): undefined {
    this.#start = this.#at;
    this.#isKey = false;
    if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) return this.#openContainer(byte);
    if (byte === QUOTE) return this.#goOn("string");
    if (byte === MINUS) return this.#goOn("minus");
    if (byte === ZERO) return this.#goOn("zero");
    if (isDigit(byte)) return this.#goOn("digits");
    const word = LITERALS.get(byte);
    if (word === undefined) throw this.#unexpected("looking for beginning of value");
    this.#word = word;
    this.#count = 1;
    return this.#goOn("literal");
  }

  #openContainer(byte: number): undefined {
    if (this.#open.length === DEPTH_MAX) throw this.#unexpected("exceeded max depth");
    const members = byte === OPEN_OBJECT ? [] : undefined;
    this.#open.push({ start: this.#at, members, items: [], name: undefined });
    return this.#goOn(byte === OPEN_OBJECT ? "key or end" : "item or end");
  }

  #beginKey(byte: number): undefined {
    if (byte !== QUOTE) throw this.#unexpected("looking for beginning of object key string");
    this.#start = this.#at;
    this.#isKey = true;
    return this.#goOn("string");
  }

  #close(): JsonValue | undefined {
    const { start, members, items } = this.#open.pop()!;
    const end = ++this.#at;
    return this.#ended(
      members === undefined ? { kind: "array", start, end, items } : { kind: "object", start, end, members },
    );
  }

  /** A value is whole: it goes to the one that it is in. */
  #ended(value: JsonValue): JsonValue | undefined {
    const outer = this.#open.at(-1);
    if (outer === undefined) return value;
    if (outer.members === undefined) outer.items.push(value);
    else outer.members.push({ name: outer.name!, value });
    this.#place = outer.members === undefined ? "after item" : "after member";
    return undefined;
  }

  #scalar(kind: JsonScalar["kind"]): JsonScalar {
    return { kind, start: this.#start, end: this.#at };
  }

  #inString(): JsonValue | undefined {
    const text = this.#text;
    const length = this.#length;
    let at = this.#at;
    while (at < length && text[at] !== QUOTE && text[at] !== BACKSLASH && text[at]! >= 0x20) at++;
    this.#at = at;
    if (at === length) return undefined;
    if (text[at] === BACKSLASH) return this.#goOn("escape");
    if (text[at] !== QUOTE) throw this.#unexpected("in string literal");
    this.#at++;
    const value = this.#scalar("string");
    if (!this.#isKey) return this.#ended(value);
    this.#open.at(-1)!.name = value;
    this.#place = "colon";
    return undefined;
  }

  #inEscape(byte: number): undefined {
    if (ESCAPES.has(byte)) return this.#goOn("string");
    if (byte !== 0x75) throw this.#unexpected("in string escape code");
    this.#count = 4;
    return this.#goOn("unicode escape");
  }

  #inUnicode(byte: number): undefined {
    if (!isHex(byte)) throw this.#unexpected("in \\u hexadecimal character escape");
    this.#count--;
    return this.#goOn(this.#count === 0 ? "string" : "unicode escape");
  }

  #inLiteral(byte: number): JsonValue | undefined {
    const word = this.#word;
    const expected = word[this.#count]!;
    if (byte !== expected.charCodeAt(0)) throw this.#unexpected(`in literal ${word} (expecting '${expected}')`);
    this.#at++;
    this.#count++;
    return this.#count === word.length ? this.#ended(this.#scalar(word)) : undefined;
  }

  #inNumber(byte: number): JsonValue | undefined {
    const next = this.#afterNumber(byte);
    if (next !== undefined) return this.#goOn(next);
    return this.#ended(this.#scalar("number")); // the byte is looked at again, as what follows
  }

  #afterNumber(byte: number): Place | undefined {
    const place = this.#place;
    const isE = byte === 0x65 || byte === 0x45;
    switch (place) {
      case "minus":
        if (!isDigit(byte)) throw this.#unexpected("in numeric literal");
        return byte === ZERO ? "zero" : "digits";
      case "digits":
        if (isDigit(byte)) return "digits";
        return byte === POINT ? "point" : isE ? "e" : undefined;
      case "zero":
        return byte === POINT ? "point" : isE ? "e" : undefined;
      case "point":
        if (!isDigit(byte)) throw this.#unexpected("after decimal point in numeric literal");
        return "fraction";
      case "fraction":
        return isDigit(byte) ? "fraction" : isE ? "e" : undefined;
      case "e":
        if (byte === PLUS || byte === MINUS) return "e and sign";
        if (!isDigit(byte)) throw this.#unexpected("in exponent of numeric literal");
        return "exponent";
      case "e and sign":
        if (!isDigit(byte)) throw this.#unexpected("in exponent of numeric literal");
        return "exponent";
      default:
        return isDigit(byte) ? "exponent" : undefined;
    }
  }

  #unexpected(where: string): JsonError {
    return new JsonError(`invalid character ${quoteCharacter(this.#text[this.#at]!)} ${where}`);
  }
}

/** A byte as Go shows it in such a sentence: taken for the character of that number. */
function quoteCharacter(byte: number): string {
  if (byte === 0x27) return "'\\''";
  if (byte === QUOTE) return "'\"'";
  return `'${quoteBytes(Buffer.from(String.fromCharCode(byte))).slice(1, -1)}'`;
}
