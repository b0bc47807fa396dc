/** A database as lines: `B PATH SEQUENCE` for each bucket, `K PATH KEY VALUE` for each key, bytes in hexadecimal. */
import type { Bucket, ReadTransaction } from "../index.js";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

export function dumpLinesOf(read: ReadTransaction): string[] {
  const lines: string[] = [];
  for (const name of read.buckets()) dumpInto(lines, hex(name), read.bucket(name)!);
  return lines;
}

function dumpInto(lines: string[], path: string, bucket: Bucket): void {
  lines.push(`B ${path} ${bucket.sequence}`);
  const cursor = bucket.cursor();
  for (let more = cursor.first(); more; more = cursor.next()) {
    const value = cursor.value;
    if (value === undefined) dumpInto(lines, `${path}/${hex(cursor.key)}`, bucket.bucket(cursor.key)!);
    else lines.push(`K ${path} ${hex(cursor.key)} ${hex(value)}`);
  }
}
