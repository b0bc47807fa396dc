/**
 * Messages by the names of their fields, for whoever handles them without knowing them: the JSON gateway. The table itself is generated
 * from the definitions (`generated/descriptors.ts`); here it becomes types that point to one another.
 *
 * Law: fields stand in the order of the definition, which is the order of JSON's answers and of its complaints.
 */
import { invariant } from "../base/errors.js";
import { ENUMS, MESSAGES, METHODS } from "./generated/descriptors.js";

/** Of one field: name, number, kind (`bytes`, or `message etcdserverpb.KeyValue`), and `repeated` or `oneof NAME`. */
export type FieldRow = readonly [name: string, number: number, kind: string, more?: string];
export type EnumRow = readonly [name: string, number: number];
export type MethodRow = readonly [request: string, response: string, kind: MethodKind];

export type MethodKind = "unary" | "serverStreaming" | "bidirectional";

const SCALARS = ["int32", "uint32", "int64", "uint64", "bool", "string", "bytes"] as const;
export type ScalarKind = (typeof SCALARS)[number];

interface FieldBase {
  readonly name: string;
  /** In camel case, as protobuf's JSON has it. */
  readonly jsonName: string;
  readonly number: number;
  readonly isRepeated: boolean;
  /** Of several fields with the same name here one is set, and it is told even when it is zero. */
  readonly oneof: string | undefined;
}

export type Field = FieldBase &
  (
    | { readonly kind: ScalarKind }
    | { readonly kind: "enum"; readonly values: EnumType }
    | { readonly kind: "message"; readonly message: MessageType }
  );

export interface EnumType {
  readonly name: string;
  readonly byName: ReadonlyMap<string, number>;
  readonly byNumber: ReadonlyMap<number, string>;
}

export interface MessageType {
  readonly name: string;
  readonly fields: readonly Field[];
  readonly byNumber: ReadonlyMap<number, Field>;
  readonly byName: ReadonlyMap<string, Field>;
  readonly byJsonName: ReadonlyMap<string, Field>;
}

export interface Method {
  readonly request: MessageType;
  readonly response: MessageType;
  readonly kind: MethodKind;
}

/** The method behind a path as `/etcdserverpb.KV/Put`; undefined where the definitions have none. */
export function methodOf(path: string): Method | undefined {
  const row = Object.hasOwn(METHODS, path) ? METHODS[path] : undefined;
  return row && { request: messageType(row[0]), response: messageType(row[1]), kind: row[2] };
}

/** Every path that the definitions have. */
export const METHOD_PATHS: readonly string[] = Object.keys(METHODS);

const messages = new Map<string, MessageType>();
const enums = new Map<string, EnumType>();

/** A message by its full name, as `mvccpb.KeyValue`. A name that the definitions do not have is a bug. */
export function messageType(name: string): MessageType {
  const known = messages.get(name);
  if (known !== undefined) return known;
  const rows = MESSAGES[name];
  invariant(rows !== undefined, () => `no message ${name} in the definitions`);
  const fields: Field[] = [];
  const byNumber = new Map<number, Field>();
  const byName = new Map<string, Field>();
  const byJsonName = new Map<string, Field>();
  const type = { name, fields, byNumber, byName, byJsonName };
  messages.set(name, type); // before its fields: a transaction has transactions inside
  for (const row of rows) {
    const field = fieldOf(row);
    fields.push(field);
    byNumber.set(field.number, field);
    byName.set(field.name, field);
    byJsonName.set(field.jsonName, field);
  }
  return type;
}

function fieldOf([name, number, kindAndType, more]: FieldRow): Field {
  const base = {
    name,
    jsonName: name.replaceAll(/_(.)/g, (_, letter: string) => letter.toUpperCase()),
    number,
    isRepeated: more === "repeated",
    oneof: more?.startsWith("oneof ") === true ? more.slice("oneof ".length) : undefined,
  };
  const [kind, type] = kindAndType.split(" ");
  if (kind === "message") return { ...base, kind, message: messageType(type!) };
  if (kind === "enum") return { ...base, kind, values: enumType(type!) };
  invariant(
    (SCALARS as readonly string[]).includes(kind!),
    () => `field ${name} is of the unknown kind ${kindAndType}`,
  );
  return { ...base, kind: kind as ScalarKind };
}

function enumType(name: string): EnumType {
  const known = enums.get(name);
  if (known !== undefined) return known;
  const rows = ENUMS[name];
  invariant(rows !== undefined, () => `no enum ${name} in the definitions`);
  const type = { name, byName: new Map(rows), byNumber: new Map(rows.map(([value, number]) => [number, value])) };
  enums.set(name, type);
  return type;
}
