/**
 * Who is in the cluster: a member's attributes, its ID, and the JSON that etcd 3.5 keeps of it.
 *
 * IDs are the first eight bytes of a SHA-1, read big-endian: of a member its sorted peer URLs, the cluster token and, for one
 * added later, the second of its addition; of a cluster its members' IDs in ascending order. Members that boot with the same
 * `--initial-cluster` thus agree on every ID without talking.
 */
import { sha1 } from "@noble/hashes/legacy.js";
import { hexText, textFromUtf8, utf8FromText } from "../base/text.js";
import { CodedError } from "../base/errors.js";

export interface Member {
  readonly id: bigint;
  readonly peerUrls: readonly string[];
  readonly isLearner: boolean;
  /** Empty until the member has published itself. */
  readonly name: string;
  readonly clientUrls: readonly string[];
}

/** What a member publishes of itself. */
export interface MemberAttributes {
  readonly name: string;
  readonly clientUrls: readonly string[];
}

/** What raft needs to know of a member. */
export interface RaftAttributes {
  readonly peerUrls: readonly string[];
  readonly isLearner: boolean;
}

/** The context of a configuration change that adds or promotes. */
export interface ChangeContext {
  readonly member: Member;
  readonly isPromote: boolean;
}

/** `MEMBERSHIP_MALFORMED`: bytes on disk or on the wire that are not what etcd writes of members. */
export class MembershipFormatError extends CodedError<"MEMBERSHIP_MALFORMED"> {
  override readonly name = "MembershipFormatError";
}

/**
 * The ID of a member.
 *
 * @param addedAtSeconds seconds since 1970 for a member added to a running cluster; undefined for one of the initial cluster
 */
export function computeMemberId(peerUrls: readonly string[], clusterToken: string, addedAtSeconds?: number): bigint {
  const stamp = addedAtSeconds === undefined ? "" : String(Math.floor(addedAtSeconds));
  return firstEightBytes(utf8FromText([...peerUrls].sort(compareText).join("") + clusterToken + stamp));
}

/** The ID of a cluster from its initial members' IDs. */
export function computeClusterId(memberIds: readonly bigint[]): bigint {
  const bytes = new Uint8Array(8 * memberIds.length);
  const view = new DataView(bytes.buffer);
  [...memberIds].sort(compareIds).forEach((id, position) => view.setBigUint64(8 * position, id));
  return firstEightBytes(bytes);
}

export function compareIds(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function firstEightBytes(bytes: Uint8Array): bigint {
  const digest = sha1(bytes);
  return new DataView(digest.buffer, digest.byteOffset).getBigUint64(0);
}

/** An ID as etcd prints it and keys it: hexadecimal without leading zeros. */
export function memberIdText(id: bigint): string {
  return hexText(id);
}

/** @throws MembershipFormatError for anything but 1 to 16 hexadecimal digits */
export function parseMemberId(text: string): bigint {
  if (!/^[0-9a-f]{1,16}$/i.test(text)) {
    throw new MembershipFormatError(
      "MEMBERSHIP_MALFORMED",
      `"${text}" is not a member ID (1 to 16 hexadecimal digits)`,
    );
  }
  return BigInt(`0x${text}`);
}

// ---- JSON, as Go writes it ----------------------------------------------------------------------------------------

/** `{"id":…,"peerURLs":[…],"isLearner":true,"name":…,"clientURLs":[…]}`; the last three are left out when empty. */
export function encodeMember(member: Member): Uint8Array {
  return utf8FromText(memberJson(member, ""));
}

/** The same with `"isPromote"` at its end. */
export function encodeChangeContext(context: ChangeContext): Uint8Array {
  return utf8FromText(memberJson(context.member, `,"isPromote":${context.isPromote}`));
}

function memberJson(member: Member, tail: string): string {
  const attributes = attributeFields(member);
  return `{"id":${member.id},${raftAttributeFields(member)}${attributes === "" ? "" : `,${attributes}`}${tail}}`;
}

/** The value of `/0/members/ID/raftAttributes` in the v2 store. */
export function raftAttributesJson(attributes: RaftAttributes): string {
  return `{${raftAttributeFields(attributes)}}`;
}

/** The value of `/0/members/ID/attributes` in the v2 store, and what 3.5 publishes. */
export function attributesJson(attributes: MemberAttributes): string {
  return `{${attributeFields(attributes)}}`;
}

function raftAttributeFields(attributes: RaftAttributes): string {
  return `"peerURLs":${jsonList(attributes.peerUrls)}${attributes.isLearner ? `,"isLearner":true` : ""}`;
}

function attributeFields(attributes: MemberAttributes): string {
  const fields: string[] = [];
  if (attributes.name !== "") fields.push(`"name":${goJsonText(attributes.name)}`);
  if (attributes.clientUrls.length > 0) fields.push(`"clientURLs":${jsonList(attributes.clientUrls)}`);
  return fields.join(",");
}

function jsonList(texts: readonly string[]): string {
  return texts.length === 0 ? "null" : `[${texts.map(goJsonText).join(",")}]`;
}

/** A JSON string with the escapes that Go adds for HTML's and JavaScript's sake. */
function goJsonText(text: string): string {
  return JSON.stringify(text).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

export function decodeMember(bytes: Uint8Array): Member {
  return memberFromFields(parseFields(textFromUtf8(bytes), "member"));
}

export function decodeChangeContext(bytes: Uint8Array): ChangeContext {
  const fields = parseFields(textFromUtf8(bytes), "configuration change");
  return { member: memberFromFields(fields), isPromote: fields["isPromote"] === true };
}

export function decodeRaftAttributes(text: string): RaftAttributes {
  return raftAttributesFromFields(parseFields(text, "raftAttributes"));
}

export function decodeAttributes(text: string): MemberAttributes {
  return attributesFromFields(parseFields(text, "attributes"));
}

type Fields = Readonly<Record<string, unknown>>;

function memberFromFields(fields: Fields): Member {
  const id = fields["id"];
  if (typeof id !== "string") throw malformed("member", `"id" is ${JSON.stringify(id)}`);
  return { id: BigInt(id), ...raftAttributesFromFields(fields), ...attributesFromFields(fields) };
}

function raftAttributesFromFields(fields: Fields): RaftAttributes {
  return { peerUrls: textList(fields["peerURLs"], "peerURLs"), isLearner: fields["isLearner"] === true };
}

function attributesFromFields(fields: Fields): MemberAttributes {
  const name = fields["name"] ?? "";
  if (typeof name !== "string") throw malformed("attributes", `"name" is ${JSON.stringify(name)}`);
  return { name, clientUrls: textList(fields["clientURLs"], "clientURLs") };
}

function textList(value: unknown, field: string): string[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || !value.every((item) => typeof item === "string")) {
    throw malformed("member", `"${field}" is ${JSON.stringify(value)}`);
  }
  return value;
}

/** Parses an object; its `id`, a 64-bit number that JavaScript would round, comes out as a string of digits. */
function parseFields(text: string, what: string): Fields {
  let value: unknown;
  try {
    // A quote inside a JSON string is escaped, so `"id":` with a bare quote can only be the field.
    value = JSON.parse(text.replace(/(?<!\\)"id":\s*(\d+)/g, `"id":"$1"`));
  } catch (cause) {
    throw new MembershipFormatError("MEMBERSHIP_MALFORMED", `${what} is not JSON: ${text.slice(0, 200)}`, { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed(what, text.slice(0, 200));
  return value as Fields;
}

function malformed(what: string, found: string): MembershipFormatError {
  return new MembershipFormatError("MEMBERSHIP_MALFORMED", `${what}: ${found}`);
}
