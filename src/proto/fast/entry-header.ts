/** The header at the end of an entry that carries a request, with the request's ID alone: `InternalRaftRequest.header` (100), `ID` (1). */
import type { RequestId } from "../request-id.js";
import { halvesSize, wholeHalves, writeHalves } from "./varint.js";

const TAG_LOW = 0xa2;
const TAG_HIGH = 0x06;
const TAG_ID = 0x08;

/** Bytes of the header with its tag and length. */
export function entryHeaderSize(id: RequestId): number {
  return 3 + (isNone(id) ? 0 : 1 + halvesSize(id));
}

/** Writes it at `start`, where it is the last of the entry. */
export function writeEntryHeader(data: Uint8Array, start: number, id: RequestId): void {
  data[start] = TAG_LOW;
  data[start + 1] = TAG_HIGH;
  data[start + 2] = entryHeaderSize(id) - 3;
  if (isNone(id)) return;
  data[start + 3] = TAG_ID;
  writeHalves(data, start + 4, id);
}

/** The ID in a header that begins at `start` and is all that follows in the entry; undefined for anything else. */
export function readEntryHeader(data: Uint8Array, start: number): RequestId | undefined {
  if (data[start] !== TAG_LOW || data[start + 1] !== TAG_HIGH) return undefined;
  const size = data[start + 2]!;
  if (start + 3 + size !== data.length || size < 2 || data[start + 3] !== TAG_ID) return undefined;
  return wholeHalves(data, start + 4, data.length);
}

function isNone({ high, low }: RequestId): boolean {
  return high === 0 && low === 0;
}
