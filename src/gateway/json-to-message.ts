/**
 * A request in JSON becomes the message's bytes, by the table of fields that the definitions make (`proto/descriptors.ts`).
 *
 * What is taken, and what is said of the rest, is what etcd's gateway does, which reads with Go's `protojson`:
 * - a field goes by its own name (`range_end`) or by that in camel case (`rangeEnd`), once; one that is unknown is passed over;
 * - `null` stands for a field that is left out;
 * - integers are numbers or strings, enums names or numbers (an unknown name stands for none), bytes base64 of either alphabet;
 * - what is wrong first in the text is told, with line and column, and the kind and the name of the field.
 *
 * Law: what comes out is a message that the handler's codec decodes, or a `JsonError` is thrown.
 */
import { WireType, WireWriter } from "../base/bytes.js";
import { latin1FromBytes } from "../base/text.js";
import type { Field, MessageType, ScalarKind } from "../proto/descriptors.js";
import { JsonError, type JsonDocument, type JsonScalar, type JsonValue, type Span } from "./json-reader.js";
import { stringAt } from "./json-strings.js";
import { bytesFromBase64Text, wholeNumber, wholeNumberIn } from "./json-values.js";

/** Messages inside messages, as deep as the codecs of the handlers go. */
const DEPTH_MAX = 300;

/** @throws JsonError for a value that is no such message */
export function messageFromJson(type: MessageType, document: JsonDocument): Uint8Array {
  return new Transcoder(document).message(type, document.root, 1);
}

type Range = readonly [low: bigint, high: bigint];
const INTEGER_RANGES: Readonly<Partial<Record<ScalarKind, Range>>> = {
  int32: [-(2n ** 31n), 2n ** 31n - 1n],
  uint32: [0n, 2n ** 32n - 1n],
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  uint64: [0n, 2n ** 64n - 1n],
};

class Transcoder {
  readonly #text: Uint8Array;
  readonly #origin: number;
  readonly #end: number;

  constructor({ text, root }: JsonDocument) {
    this.#text = text;
    this.#origin = root.start;
    this.#end = root.end;
  }

  message(type: MessageType, value: JsonValue, depth: number): Uint8Array {
    if (value.kind !== "object") throw this.#unexpected(value);
    if (depth > DEPTH_MAX) throw new JsonError("proto: exceeded max recursion depth");
    const writer = new WireWriter();
    const seen = new Set<Field>();
    const seenOneofs = new Set<string>();
    for (const { name, value: found } of value.members) {
      const field = fieldNamed(type, this.#string(name));
      if (field === undefined) {
        this.#passOver(found);
        continue;
      }
      if (seen.has(field)) throw this.#refuse(name, `duplicate field ${this.#raw(name)}`);
      seen.add(field);
      if (found.kind === "null") continue;
      if (field.isRepeated) {
        if (found.kind !== "array") throw this.#unexpected(found);
        for (const item of found.items) this.#write(writer, field, item, depth, true);
        continue;
      }
      if (field.oneof !== undefined) {
        if (seenOneofs.has(field.oneof)) {
          const oneof = `${type.name}.${field.oneof}`;
          throw this.#refuse(name, `error parsing ${this.#raw(name)}, oneof ${oneof} is already set`);
        }
        seenOneofs.add(field.oneof);
      }
      this.#write(writer, field, found, depth, field.oneof !== undefined);
    }
    return writer.view();
  }

  /** @param always whether a zero is written, too: it tells which one of several fields is set, or is one of a list */
  #write(writer: WireWriter, field: Field, value: JsonValue, depth: number, always: boolean): void {
    const { number, kind } = field;
    if (kind === "message") {
      writer.bytesField(number, this.message(field.message, value, depth + 1));
      return;
    }
    const found = this.#scalar(field, value);
    if (found === undefined) throw this.#invalid(field, value);
    if (found === "unknown name") return;
    if (typeof found === "bigint") {
      if (always || found !== 0n) writer.tag(number, WireType.varint).varint64(found);
    } else if (always || found.length > 0) writer.bytesField(number, found);
  }

  /** Undefined for a value that the field cannot have. */
  #scalar(
    field: Exclude<Field, { kind: "message" }>,
    value: JsonValue,
  ): bigint | Uint8Array | "unknown name" | undefined {
    switch (field.kind) {
      case "bool":
        return value.kind === "true" ? 1n : value.kind === "false" ? 0n : undefined;
      case "string":
        return value.kind === "string" ? Buffer.from(this.#string(value)) : undefined;
      case "bytes":
        return value.kind === "string" ? bytesFromBase64Text(this.#string(value)) : undefined;
      case "enum": {
        if (value.kind !== "string") return this.#integer("int32", value);
        const known = field.values.byName.get(this.#string(value));
        return known === undefined ? "unknown name" : BigInt(known);
      }
      default:
        return this.#integer(field.kind, value);
    }
  }

  #integer(kind: ScalarKind, value: JsonValue): bigint | undefined {
    const found =
      value.kind === "number"
        ? wholeNumber(this.#raw(value))
        : value.kind === "string"
          ? wholeNumberIn(this.#string(value))
          : undefined;
    if (found === undefined) return undefined;
    const [low, high] = INTEGER_RANGES[kind]!;
    return found >= low && found <= high ? found : undefined;
  }

  /** An unknown field; its strings have to be strings all the same. */
  #passOver(value: JsonValue): void {
    const waiting: JsonValue[] = [value];
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      if (next.kind === "string") this.#string(next);
      else if (next.kind === "array") for (const item of next.items.toReversed()) waiting.push(item);
      else if (next.kind === "object") {
        for (const { name, value: inner } of next.members.toReversed()) waiting.push(inner, asString(name));
      }
    }
  }

  #string(span: Span): string {
    return stringAt(this.#text, span, this.#end, (why) => this.#syntax(span, why));
  }

  #raw({ start, end }: Span): string {
    return latin1FromBytes(this.#text, start, end);
  }

  #unexpected(value: JsonValue): JsonError {
    if (value.kind === "string") this.#string(value); // one that is none is told first
    return this.#syntax(value, `unexpected token ${this.#shown(value)}`);
  }

  #invalid(field: Field, value: JsonValue): JsonError {
    if (value.kind === "string") this.#string(value);
    return this.#refuse(value, `invalid value for ${field.kind} field ${field.jsonName}: ${this.#shown(value)}`);
  }

  /** A value as it stands; of one with others inside its beginning. */
  #shown(value: JsonValue): string {
    if (value.kind === "object") return "{";
    if (value.kind === "array") return "[";
    return Buffer.from(this.#text.subarray(value.start, value.end)).toString();
  }

  #syntax(place: Span, why: string): JsonError {
    return new JsonError(`proto: syntax error ${this.#placed(place)}: ${why}`);
  }

  #refuse(place: Span, why: string): JsonError {
    return new JsonError(`proto: ${this.#placed(place)}: ${why}`);
  }

  /** Lines by their ends, columns in characters, both from 1. */
  #placed({ start }: Span): string {
    const before = Buffer.from(this.#text.subarray(this.#origin, start)).toString();
    const lines = before.split("\n");
    return `(line ${lines.length}:${Array.from(lines.at(-1)!).length + 1})`;
  }
}

const asString = ({ start, end }: Span): JsonScalar => ({ kind: "string", start, end });

function fieldNamed(type: MessageType, name: string): Field | undefined {
  return type.byJsonName.get(name) ?? type.byName.get(name);
}
