/** A hasher that costs nothing and keeps nothing secret, for plays and the simulated world. */
import { utf8FromText } from "../../base/text.js";
import { equalBytes } from "../../base/bytes.js";
import type { PasswordHasher } from "../credentials.js";

const hashOf = (password: string): Uint8Array => utf8FromText(`plain:${password}`);

export const plainHasher: PasswordHasher = {
  hash: (password) => Promise.resolve(hashOf(password)),
  matches: (password, hash) => Promise.resolve(equalBytes(hashOf(password), hash)),
};
