/**
 * Field lines, as requests bring them and as answers are made of them.
 *
 * A `FieldBlock` is what one block of bytes meant. It is never changed once it is made, for the same object is given again when the
 * same bytes come again (`hpack-decoder.ts`); `memo` is where the user of the connection keeps what it has made of it.
 *
 * A block is well-formed as RFC 9113, section 8.2 and 8.3 say; what a request must have more than that is asked here, too.
 */

export class FieldBlock {
  readonly names: readonly string[];
  readonly values: readonly string[];
  /** As the limit on lists counts it: bytes and 32 for each line. Larger than the limit when the lines were not kept. */
  readonly listBytes: number;
  readonly overLimit: boolean;
  /** Whether the rest was not read: the connection's table is lost. */
  readonly abandoned: boolean;
  /** For whoever reads requests: made once for each block. */
  memo: unknown = undefined;
  #requestFlaw: string | undefined | null = null;
  #contentLength: number | undefined;

  constructor(
    names: readonly string[],
    values: readonly string[],
    listBytes: number,
    overLimit: boolean,
    abandoned: boolean,
  ) {
    this.names = names;
    this.values = values;
    this.listBytes = listBytes;
    this.overLimit = overLimit;
    this.abandoned = abandoned;
  }

  /** The first value of a field. */
  get(name: string): string | undefined {
    const at = this.names.indexOf(name);
    return at === -1 ? undefined : this.values[at];
  }

  /** All values of a field. */
  all(name: string): readonly string[] {
    return this.values.filter((_, i) => this.names[i] === name);
  }

  /** Bytes of content that a request announces; -1 where it does not, or not as a number (which `requestFlaw` says). */
  get contentLength(): number {
    if (this.#contentLength === undefined) {
      const text = this.get("content-length");
      this.#contentLength = text !== undefined && isContentLength(text) ? Number(text) : -1;
    }
    return this.#contentLength;
  }

  /** Why these lines are no request; undefined where they are one. Looked at once. */
  get requestFlaw(): string | undefined {
    if (this.#requestFlaw === null) this.#requestFlaw = findRequestFlaw(this.names, this.values);
    return this.#requestFlaw;
  }

  /** Why these lines cannot stand after a request's content; undefined where they can. */
  get trailersFlaw(): string | undefined {
    if (this.names.some((name) => name.startsWith(":"))) return "a pseudo field in trailers";
    return this.names.map((name, i) => findLineFlaw(name, this.values[i]!)).find((flaw) => flaw !== undefined);
  }
}

const isContentLength = (text: string): boolean => /^\d{1,15}$/.test(text);

const REQUEST_PSEUDO_FIELDS: readonly string[] = [":method", ":scheme", ":path", ":authority"];

/** Fields that HTTP/1.1 has for one connection (section 8.2.2). */
const CONNECTION_FIELDS: ReadonlySet<string> = new Set([
  "connection",
  "proxy-connection",
  "keep-alive",
  "transfer-encoding",
  "upgrade",
]);

function findRequestFlaw(names: readonly string[], values: readonly string[]): string | undefined {
  let seen = 0;
  let regular = false;
  for (let i = 0; i < names.length; i++) {
    const name = names[i]!;
    if (!name.startsWith(":")) {
      regular = true;
      const flaw = findLineFlaw(name, values[i]!);
      if (flaw !== undefined) return flaw;
      continue;
    }
    const known = REQUEST_PSEUDO_FIELDS.indexOf(name);
    if (known === -1) return `${name} is no pseudo field of a request`;
    if (regular) return `${name} after a regular field`;
    if ((seen & (1 << known)) !== 0) return `${name} twice`;
    seen |= 1 << known;
    if (hasForbiddenByte(values[i]!)) return `a control character in ${name}`;
  }
  return findPseudoFlaw(seen, names, values);
}

function findPseudoFlaw(seen: number, names: readonly string[], values: readonly string[]): string | undefined {
  const valueOf = (name: string): string | undefined => values[names.indexOf(name)];
  if ((seen & 1) === 0) return "no :method";
  if (valueOf(":method") === "CONNECT") return (seen & 6) === 0 ? undefined : "CONNECT with :scheme or :path";
  if ((seen & 2) === 0) return "no :scheme";
  if ((seen & 4) === 0) return "no :path";
  return valueOf(":path") === "" ? "an empty :path" : undefined;
}

function findLineFlaw(name: string, value: string): string | undefined {
  if (!isFieldName(name)) return "a field name with a character that none may have";
  if (hasForbiddenByte(value)) return `a control character in ${name}`;
  const first = value.charCodeAt(0);
  const last = value.charCodeAt(value.length - 1);
  if (first === 0x20 || first === 0x09 || last === 0x20 || last === 0x09)
    return `white space around the value of ${name}`;
  if (CONNECTION_FIELDS.has(name)) return `${name} is HTTP/1.1's`;
  if (name === "content-length" && !isContentLength(value)) return "a content-length that is no number";
  if (name === "te" && value.toLowerCase() !== "trailers") return "te other than trailers";
  return undefined;
}

/** Section 8.2.1: visible ASCII without capitals; a colon may stand only at the beginning of a pseudo field. */
function isFieldName(name: string): boolean {
  if (name.length === 0) return false;
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    if (code <= 0x20 || code >= 0x7f || code === 0x3a || (code >= 0x41 && code <= 0x5a)) return false;
  }
  return true;
}

/** Section 8.2.1: no NUL, line feed or carriage return. */
function hasForbiddenByte(value: string): boolean {
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i);
    if (code === 0 || code === 0x0a || code === 0x0d) return true;
  }
  return false;
}

/** A field line of an answer. `reused`: it comes again, so the client's table shall keep it. */
export interface OutgoingField {
  readonly name: string;
  /** Bytes as latin1. */
  readonly value: string;
  readonly reused?: boolean;
}

let constantCount = 0;

/** Lines of an answer. One that many answers have is made once (`constant`), so that its bytes are kept for each connection. */
export class OutgoingFields {
  readonly fields: readonly OutgoingField[];
  /** Where a connection keeps its bytes; -1 where it does not. */
  readonly slot: number;

  private constructor(fields: readonly OutgoingField[], slot: number) {
    this.fields = fields;
    this.slot = slot;
  }

  /** For one answer. */
  static of(...fields: readonly OutgoingField[]): OutgoingFields {
    return new OutgoingFields(fields, -1);
  }

  /** For the life of the process, as a module's constant; all of its lines come again. */
  static constant(...fields: readonly (readonly [name: string, value: string])[]): OutgoingFields {
    const lines = fields.map(([name, value]) => ({ name, value, reused: true }));
    return new OutgoingFields(lines, constantCount++);
  }
}
