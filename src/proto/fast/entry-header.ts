/**
 * The header at the end of an entry that carries a request: `InternalRaftRequest.header` (100) with the request's `ID` (1), and, while
 * authentication is on, the user whom it is made for: `username` (2) and `auth_revision` (3).
 */
import type { RequestId } from "../request-id.js";
import { halvesSize, varintEnd, varintSize, wholeHalves, writeHalves, writeVarint } from "./varint.js";

const TAG_LOW = 0xa2;
const TAG_HIGH = 0x06;
const TAG_ID = 0x08;
const TAG_USERNAME = 0x12;
const TAG_REVISION = 0x18;

/** The header's length is one byte: that many of a name leave room for both numbers. */
const USERNAME_BYTES_MAX = 64;

/** The user whom a request is made for. */
export interface EntryCaller {
  readonly username: string;
  /** As of which he was let in. */
  readonly revision: number;
}

/** Whether a header of this folder can hold the name: short, and ASCII. Others are the generated codec's affair. */
export function isPlainName(username: string): boolean {
  if (username.length === 0 || username.length > USERNAME_BYTES_MAX) return false;
  for (let i = 0; i < username.length; i++) if (username.charCodeAt(i) > 0x7f) return false;
  return true;
}

/** Bytes of the header with its tag and length. @param caller with a plain name */
export function entryHeaderSize(id: RequestId, caller?: EntryCaller): number {
  const size = 3 + (isNone(id) ? 0 : 1 + halvesSize(id));
  if (caller === undefined) return size;
  return size + 2 + caller.username.length + (caller.revision === 0 ? 0 : 1 + varintSize(caller.revision));
}

/** Writes it at `start`, where it is the last of the entry. */
export function writeEntryHeader(data: Uint8Array, start: number, id: RequestId, caller?: EntryCaller): void {
  data[start] = TAG_LOW;
  data[start + 1] = TAG_HIGH;
  data[start + 2] = entryHeaderSize(id, caller) - 3;
  let at = start + 3;
  if (!isNone(id)) {
    data[at] = TAG_ID;
    at = writeHalves(data, at + 1, id);
  }
  if (caller !== undefined) writeCaller(data, at, caller);
}

function writeCaller(data: Uint8Array, start: number, { username, revision }: EntryCaller): void {
  data[start] = TAG_USERNAME;
  data[start + 1] = username.length;
  let at = start + 2;
  for (let i = 0; i < username.length; i++) data[at++] = username.charCodeAt(i);
  if (revision === 0) return;
  data[at] = TAG_REVISION;
  writeVarint(data, at + 1, revision);
}

/** The ID in a header that begins at `start` and is all that follows in the entry; undefined for anything else. */
export function readEntryHeader(data: Uint8Array, start: number): RequestId | undefined {
  if (data[start] !== TAG_LOW || data[start + 1] !== TAG_HIGH) return undefined;
  const size = data[start + 2]!;
  if (start + 3 + size !== data.length || size < 2 || data[start + 3] !== TAG_ID) return undefined;
  return wholeHalves(data, start + 4, data.length);
}

/** The same for a header that names a user. */
export function readSignedHeader(
  data: Uint8Array,
  start: number,
): { readonly id: RequestId; readonly caller: EntryCaller } | undefined {
  if (data[start] !== TAG_LOW || data[start + 1] !== TAG_HIGH) return undefined;
  const size = data[start + 2]!;
  if (start + 3 + size !== data.length || size > 0x7f || data[start + 3] !== TAG_ID) return undefined;
  const idEnd = varintEnd(data, start + 4, data.length);
  const id = wholeHalves(data, start + 4, idEnd);
  if (id === undefined || data[idEnd] !== TAG_USERNAME) return undefined;
  const nameEnd = idEnd + 2 + data[idEnd + 1]!;
  const username = readName(data, idEnd + 2, nameEnd);
  if (username === undefined) return undefined;
  if (nameEnd === data.length) return { id, caller: { username, revision: 0 } };
  const revision = data[nameEnd] === TAG_REVISION ? wholeHalves(data, nameEnd + 1, data.length) : undefined;
  // A revision of 0 is not written, and one past 2^53 is not taken here.
  if (revision === undefined || isNone(revision) || revision.high >>> 0 >= 0x20_0000) return undefined;
  return { id, caller: { username, revision: (revision.high >>> 0) * 2 ** 32 + (revision.low >>> 0) } };
}

function readName(data: Uint8Array, start: number, end: number): string | undefined {
  if (end === start || end - start > USERNAME_BYTES_MAX || end > data.length) return undefined;
  let name = "";
  for (let at = start; at < end; at++) {
    const byte = data[at]!;
    if (byte > 0x7f) return undefined;
    name += String.fromCharCode(byte);
  }
  return name;
}

function isNone({ high, low }: RequestId): boolean {
  return high === 0 && low === 0;
}
