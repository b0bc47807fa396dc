/** Two members of ours against each other. */
import assert from "node:assert/strict";
import test from "node:test";
import { mebibytes } from "../base/units.js";
import { makeMessage, type Message, MessageType } from "../proto/raft.js";
import { PeerWorld, type Seat } from "./testing/fixture.js";

const vote = (from: Seat, to: Seat, term: number): Message =>
  makeMessage({ type: MessageType.vote, from: from.id, to: to.id, term });

const snapshotOf = (from: Seat, to: Seat, index: number): Message =>
  makeMessage({
    type: MessageType.snapshot,
    from: from.id,
    to: to.id,
    term: 7,
    snapshot: {
      data: new TextEncoder().encode("{}"),
      metadata: {
        index,
        term: 7,
        confState: { voters: [from.id, to.id], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false },
      },
    },
  });

/** A database of so many bytes, and whether it was let go. */
function databaseOf(
  totalBytes: number,
  pieceBytes = 65_536,
): { totalBytes: number; chunks: AsyncIterable<Uint8Array>; released: () => boolean } {
  let released = false;
  async function* chunks(): AsyncGenerator<Uint8Array> {
    try {
      for (let sent = 0; sent < totalBytes; sent += pieceBytes) {
        yield new Uint8Array(Math.min(pieceBytes, totalBytes - sent)).fill(sent / pieceBytes);
      }
    } finally {
      released = true;
    }
  }
  return { totalBytes, chunks: chunks(), released: () => released };
}

test("messages of every kind arrive in order, both ways", async (t) => {
  const [a, b] = await PeerWorld.for(t).couple();
  for (let term = 1; term <= 50; term++) a.peers.send([vote(a, b, term)]);
  await b.member.until(() => b.member.received.length > 0, "a first message");
  await a.member.until(() => a.member.received.length > 0, "its answer");
  assert.notEqual(a.peers.activeSince(b.id), undefined);
});

test("a snapshot of 50 MB arrives whole, while heart-beats pass it", async (t) => {
  const [a, b] = await PeerWorld.for(t).couple();
  const database = databaseOf(mebibytes(50));
  a.peers.sendSnapshot(snapshotOf(a, b, 9), database);
  await a.member.until(() => a.member.snapshotsSent.length > 0, "the end of the snapshot");
  assert.deepEqual(a.member.snapshotsSent, [{ id: b.id, delivered: true }]);
  assert.equal(b.member.snapshots.length, 1);
  assert.equal(b.member.snapshots[0]!.bytes, mebibytes(50));
  assert.equal(b.member.snapshots[0]!.message.snapshot?.metadata.index, 9);
  assert.ok(database.released());
});
