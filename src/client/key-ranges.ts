/** Ranges of keys as etcd's requests write them: `[key, rangeEnd)`. */

/** As the end of a range: no end. As a key beside it: from the smallest key on. */
export const EVERYTHING_FROM = Uint8Array.of(0);

/** The first key after all that begin with `prefix`; "from the key on" when there is none. */
export function prefixEnd(prefix: Uint8Array): Uint8Array {
  for (let at = prefix.length - 1; at >= 0; at--) {
    const byte = prefix[at]!;
    if (byte === 0xff) continue;
    // A copy, whatever kind of array it is: Buffer's slice would not be one.
    const end = Uint8Array.from(prefix.subarray(0, at + 1));
    end[at] = byte + 1;
    return end;
  }
  return EVERYTHING_FROM;
}

/** All keys that begin with `prefix`; every key when it is empty. */
export function prefixRange(prefix: Uint8Array): { readonly key: Uint8Array; readonly rangeEnd: Uint8Array } {
  return { key: prefix.length === 0 ? EVERYTHING_FROM : prefix, rangeEnd: prefixEnd(prefix) };
}
