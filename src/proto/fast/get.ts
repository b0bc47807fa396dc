/** A get of one key as clients send it, in the one form that encoders make; see `put.ts` for the contract with the generated codec. */
import { latin1FromBytes } from "../../base/text.js";

const TAG_KEY = 0x0a;
const TAG_SERIALIZABLE = 0x38;

export interface GetRequest {
  /** One byte a character. */
  readonly key: string;
  readonly serializable: boolean;
}

/** Undefined when the bytes ask for more than the newest pair of one key, in another form, or with a key of 128 bytes and more. */
export function decodeGet(bytes: Uint8Array): GetRequest | undefined {
  const size = bytes.length;
  const keyBytes = bytes[1];
  if (bytes[0] !== TAG_KEY || keyBytes === undefined || keyBytes === 0 || keyBytes > 0x7f) return undefined;
  const end = 2 + keyBytes;
  const serializable = end + 2 === size && bytes[end] === TAG_SERIALIZABLE && bytes[end + 1] === 1;
  if (!serializable && end !== size) return undefined;
  return { key: latin1FromBytes(bytes, 2, end), serializable };
}
