import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { EntryType } from "../proto/raft.js";
import { encodeWalMetadata } from "../proto/wal.js";
import { FOLDER, World } from "../wal/testing/fixture.js";
import { LogBuilder } from "../wal/testing/log-builder.js";
import { DUMP_HEADING, dumpWal } from "./index.js";

interface Line {
  readonly kind: string;
  readonly type: string;
  readonly term: number;
  readonly index: number;
  readonly commit: number;
  readonly vote: string;
  readonly data: string;
  readonly memberId: string;
  readonly clusterId: string;
}

const TYPES: Readonly<Record<string, EntryType>> = { normal: EntryType.normal, confchange: EntryType.confChange };

test("the dump in docs/inspecting.md, rebuilt from its JSON, is printed again to the letter", async () => {
  const page = readFileSync(new URL("../../../docs/inspecting.md", import.meta.url), "utf8");
  const block = (language: string): string[] => {
    const found = new RegExp(`\`\`\`${language}\\n([^]*?)\\n\`\`\``).exec(page)?.[1];
    assert.ok(found !== undefined, language);
    return found.split("\n");
  };
  const world = new World();
  const builder = new LogBuilder();
  for (const line of block("json").map((text) => JSON.parse(text) as Line)) {
    const { kind, term, index, commit } = line;
    const id = (text: string): bigint => BigInt(`0x${text}`);
    if (kind === "metadata") {
      builder.segment(0, encodeWalMetadata({ nodeId: id(line.memberId), clusterId: id(line.clusterId) }));
    } else if (kind === "snapshot") builder.snapshot(index, term);
    else if (kind === "state") builder.state({ term, commit, vote: id(line.vote) });
    else if (kind === "entry") {
      builder.entry({ type: TYPES[line.type]!, term, index, data: Buffer.from(line.data, "base64") });
    }
  }
  builder.onto(world.disk);
  const text: string[] = [DUMP_HEADING];
  for await (const line of dumpWal(world, FOLDER)) text.push(line);
  assert.deepEqual(text, block("text"));
  const json: string[] = [];
  for await (const line of dumpWal(world, FOLDER, { json: true })) json.push(line);
  assert.deepEqual(json, block("json"));
});
