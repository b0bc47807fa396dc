/**
 * Measures what the core alone does: `node dist/src/raft/testing/throughput.js`. Nothing is written to a disk; entries of 256
 * bytes go from proposal to applied, and the log is compacted as a server would.
 */
import { SILENT_LOGGER } from "../logger.js";
import { RawNode } from "../raw-node.js";
import type { MemoryStorage } from "../storage.js";
import type { Message } from "../../proto/raft.js";
import { configWith, storageWith } from "./messages.js";

const ENTRY_BYTES = 256;
const COMPACT_EVERY = 100_000;
const KEPT = 5_000;

interface Side {
  readonly node: RawNode;
  readonly storage: MemoryStorage;
}

function makeSides(count: number): Side[] {
  const voters = Array.from({ length: count }, (_, at) => BigInt(at + 1));
  return voters.map((id) => {
    const storage = storageWith(voters);
    const limits = { applied: 1, maxSizePerMessage: 1024 * 1024, maxInflightMessages: 512, log: SILENT_LOGGER };
    return { node: new RawNode(configWith(id, storage, { ...limits, checkQuorum: true, preVote: true })), storage };
  });
}

/** Works until there is nothing to do; says how many entries were applied. */
function work({ node, storage }: Side, network: Message[]): number {
  let applied = 0;
  while (node.hasReady()) {
    const ready = node.ready();
    if (ready.hardState !== undefined) storage.setHardState(ready.hardState);
    storage.append(ready.entries);
    for (const message of ready.messages) network.push(message);
    applied += ready.committedEntries.length;
    node.advance();
  }
  return applied;
}

function exchange(sides: readonly Side[], network: Message[]): number {
  let applied = 0;
  do {
    for (const side of sides) applied += work(side, network);
    for (const message of network.splice(0)) sides[Number(message.to) - 1]!.node.step(message);
  } while (sides.some(({ node }) => node.hasReady()));
  return applied;
}

/** Proposals applied everywhere, by the second of processor time: other work on the machine does not count. */
function measure(members: number, batch: number, total: number): number {
  const sides = makeSides(members);
  const network: Message[] = [];
  const leader = sides[0]!;
  leader.node.campaign();
  exchange(sides, network);
  const datas = Array.from({ length: batch }, () => new Uint8Array(ENTRY_BYTES));
  let applied = 0;
  let compactAt = COMPACT_EVERY;
  const start = process.cpuUsage();
  for (let proposed = 0; proposed < total; proposed += batch) {
    leader.node.proposeBatch(datas);
    applied += exchange(sides, network);
    if (proposed < compactAt) continue;
    compactAt += COMPACT_EVERY;
    for (const { storage } of sides) storage.compact(storage.lastIndex() - KEPT);
  }
  const { user, system } = process.cpuUsage(start);
  const seconds = (user + system) / 1e6;
  return Math.round(applied / members / seconds);
}

for (const members of [1, 3]) {
  for (const batch of [1, 10, 100, 1_000]) {
    measure(members, batch, 100_000); // warm
    const rate = measure(members, batch, members === 1 ? 1_000_000 : 300_000);
    console.log(
      `${members} member(s) in one thread, batches of ${batch}: ${rate.toLocaleString("en")} proposals a second`,
    );
  }
}
