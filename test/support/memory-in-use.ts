/** How many bytes a member's process holds, as `memory-probe.ts` in it tells. */
import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";
import { PROJECT, walnut, type ServerBinary } from "./binaries.js";

/** Walnut with the probe in it. Real etcd has none. */
export function withMemoryProbe(binary: ServerBinary): ServerBinary {
  if (binary.family !== "walnut") return binary;
  return walnut(["--expose-gc", "--import", join(PROJECT, "dist/test/support/memory-probe.js")]);
}

/** @param socket what the process was given as `WALNUT_MEMORY_PROBE` */
export async function memoryInUse(socket: string): Promise<number> {
  const connection = connect(socket);
  let text = "";
  connection.setEncoding("latin1").on("data", (part: string) => (text += part));
  await once(connection, "close");
  // No figure must not pass for none in use.
  if (!/^\d+$/.test(text))
    throw new Error(`the memory probe on ${socket} told '${text}', where a number of bytes is due`);
  return Number(text);
}
