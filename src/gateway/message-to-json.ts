/**
 * A message's bytes become JSON as etcd 3.5's gateway writes it: fields under their own names (`create_revision`) in the order of the
 * definition, those that are zero left out, 64-bit integers in quotes, bytes in base64, enums by name. There is no space between them: Go's
 * writer puts one there or not, as it likes.
 *
 * Laws: a message that nests others is written piece by piece, and who asks for it may rest between the pieces (`jsonInSlices`); one object is
 * never made for each field.
 */
import { WireReader, WireType } from "../base/bytes.js";
import { invariant } from "../base/errors.js";
import type { Clock } from "../platform/clock.js";
import type { Field, MessageType } from "../proto/descriptors.js";

/** Messages over this size are written in slices: some 2 ms of work. */
const SLICE_BYTES = 256 * 1024;

/** The JSON of a message, at once. */
export function jsonOf(type: MessageType, bytes: Uint8Array): string {
  return write(type, new WireReader(bytes));
}

/** The same, with a rest for the loop after each slice of a large one. */
export async function jsonInSlices(type: MessageType, bytes: Uint8Array, clock: Pick<Clock, "yield">): Promise<string> {
  if (bytes.length <= SLICE_BYTES) return jsonOf(type, bytes);
  const parts = new Parts(type);
  const reader = new WireReader(bytes);
  let sliceEnd = SLICE_BYTES;
  while (!reader.done) {
    const field = parts.begin(reader);
    if (field === undefined) continue;
    const size = field.kind === "message" ? reader.bytes() : undefined;
    if (size === undefined) parts.add(field, valueOf(field, reader));
    else parts.add(field, await jsonInSlices((field as MessageField).message, size, clock));
    if (reader.offset < sliceEnd) continue;
    sliceEnd = reader.offset + SLICE_BYTES;
    await clock.yield();
  }
  return parts.text();
}

type MessageField = Extract<Field, { kind: "message" }>;

function write(type: MessageType, reader: WireReader): string {
  const parts = new Parts(type);
  while (!reader.done) {
    const field = parts.begin(reader);
    if (field !== undefined) parts.add(field, valueOf(field, reader));
  }
  return parts.text();
}

/** What a message has so far: the text of each field, in the order of the definition. */
class Parts {
  readonly #type: MessageType;
  /** By the field's place; a list without its brackets. */
  readonly #texts: (string | undefined)[];

  constructor(type: MessageType) {
    this.#type = type;
    this.#texts = Array.from({ length: type.fields.length });
  }

  /** The field that comes next; undefined for one that the definition does not have, which is passed over. */
  begin(reader: WireReader): Field | undefined {
    const tag = reader.tag();
    const field = this.#type.byNumber.get(Math.floor(tag / 8));
    if (field === undefined) reader.skip(tag);
    else if (tag % 8 === WireType.bytes && isVarint(field)) {
      const packed = reader.message();
      while (!packed.done) this.add(field, valueOf(field, packed));
      return undefined;
    }
    return field;
  }

  add(field: Field, text: string | undefined): void {
    const { fields } = this.#type;
    const place = fields.indexOf(field);
    if (field.isRepeated) {
      const before = this.#texts[place];
      const item = text ?? zeroOf(field);
      this.#texts[place] = before === undefined ? item : `${before},${item}`;
      return;
    }
    if (field.oneof !== undefined) {
      for (const [other, { oneof }] of fields.entries()) if (oneof === field.oneof) this.#texts[other] = undefined;
    }
    this.#texts[place] = text ?? (field.oneof === undefined ? undefined : zeroOf(field));
  }

  text(): string {
    let result = "";
    for (const [place, { name, isRepeated }] of this.#type.fields.entries()) {
      const text = this.#texts[place];
      if (text === undefined) continue;
      result += `${result === "" ? "" : ","}"${name}":${isRepeated ? `[${text}]` : text}`;
    }
    return `{${result}}`;
  }
}

function isVarint({ kind }: Field): boolean {
  return kind !== "message" && kind !== "bytes" && kind !== "string";
}

/** The text of what comes next; undefined for a zero, which most fields do not tell. */
function valueOf(field: Field, reader: WireReader): string | undefined {
  switch (field.kind) {
    case "message":
      return write(field.message, reader.message());
    case "bytes": {
      const bytes = reader.bytes();
      return bytes.length === 0 ? undefined : `"${viewOf(bytes).toString("base64")}"`;
    }
    case "string": {
      const bytes = reader.bytes();
      return bytes.length === 0 ? undefined : JSON.stringify(viewOf(bytes).toString());
    }
    case "bool":
      return reader.bool() ? "true" : undefined;
    case "enum": {
      const number = Number(BigInt.asIntN(32, reader.varint64()));
      if (number === 0) return undefined;
      const name = field.values.byNumber.get(number);
      return name === undefined ? String(number) : `"${name}"`;
    }
    case "int32":
      return unlessZero(BigInt.asIntN(32, reader.varint64()));
    case "uint32":
      return unlessZero(BigInt.asUintN(32, reader.varint64()));
    case "int64":
      return quoted(BigInt.asIntN(64, reader.varint64()));
    case "uint64":
      return quoted(reader.varint64());
  }
}

const unlessZero = (value: bigint): string | undefined => (value === 0n ? undefined : String(value));
const quoted = (value: bigint): string | undefined => (value === 0n ? undefined : `"${value}"`);

/** A zero where it is told: in a list, or as the field of several that is set. */
function zeroOf(field: Field): string {
  switch (field.kind) {
    case "message":
      return "{}";
    case "bytes":
    case "string":
      return '""';
    case "bool":
      return "false";
    case "enum": {
      const name = field.values.byNumber.get(0);
      invariant(name !== undefined, () => `enum ${field.values.name} begins with zero`);
      return `"${name}"`;
    }
    case "int64":
    case "uint64":
      return '"0"';
    default:
      return "0";
  }
}

const viewOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
