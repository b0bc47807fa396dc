/**
 * What is in a stopped member's `db` beside the keys: leases, users, roles and the switch between them. The keys themselves are compared by
 * hashes, while members serve.
 */
import { openBolt } from "../../src/bolt/index.js";
import { hexText, utf8FromText } from "../../src/base/text.js";
import { layoutOf } from "../../src/server/layout.js";
import { SimClock } from "../clock.js";
import { SimDisk } from "../disk.js";
import { recordingLog } from "../log.js";
import type { Machine } from "./machine.js";

const BUCKETS = ["lease", "auth", "authUsers", "authRoles"] as const;

/** Each bucket's keys and values as text. */
export async function tablesOf({ disk, dataDir }: Machine): Promise<Map<string, string>> {
  const { dbPath } = layoutOf(dataDir);
  // A copy: the machine's own disk takes its time, and time has ended.
  const copy = new SimDisk();
  const file = await copy.open("/db", "create");
  await file.write([disk.tree().get(dbPath)!], 0);
  await file.close();
  const doors = { disk: copy, clock: new SimClock(), log: recordingLog() };
  const database = await openBolt(doors, "/db", { readOnly: true });
  const reader = database.beginRead();
  const tables = new Map<string, string>();
  for (const name of BUCKETS) {
    const pairs: string[] = [];
    reader.bucket(utf8FromText(name))?.forEach(undefined, undefined, (key, value) => {
      pairs.push(`${hexOf(key)}=${hexOf(value)}`);
      return true;
    });
    tables.set(name, pairs.join(" "));
  }
  reader.end();
  await database.close();
  return tables;
}

function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => hexText(byte, 2)).join("");
}
