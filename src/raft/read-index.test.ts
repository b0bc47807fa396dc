import assert from "node:assert/strict";
import { test } from "node:test";
import { makeMessage, MessageType } from "../proto/raft.js";
import { ReadQueue } from "./read-index.js";

const VOTERS = { incoming: [1n, 2n, 3n], outgoing: [] };

function queueOf(count: number): ReadQueue {
  const queue = new ReadQueue();
  for (let at = 1; at <= count; at++) queue.add(10 + at, makeMessage({ type: MessageType.readIndex, term: at }));
  return queue;
}

test("an acknowledgement confirms a read and all before it, once a quorum agrees", () => {
  const queue = queueOf(2);
  const second = queue.heartbeatContext();
  queue.add(13, makeMessage({ type: MessageType.readIndex }));
  queue.receiveAck(1n, queue.heartbeatContext());
  assert.deepEqual(queue.takeConfirmed(VOTERS), []);
  queue.receiveAck(3n, second);
  assert.deepEqual(
    queue.takeConfirmed(VOTERS).map(({ index }) => index),
    [11, 12],
  );
  assert.deepEqual(queue.takeConfirmed(VOTERS), [], "each is answered once");
  queue.receiveAck(2n, queue.heartbeatContext());
  assert.deepEqual(
    queue.takeConfirmed(VOTERS).map(({ index }) => index),
    [13],
  );
  assert.equal(queue.heartbeatContext().length, 0, "none waits");
});

test("one who answers twice counts once", () => {
  const queue = queueOf(1);
  queue.receiveAck(2n, queue.heartbeatContext());
  queue.receiveAck(2n, queue.heartbeatContext());
  assert.deepEqual(queue.takeConfirmed(VOTERS), []);
});

test("in a joint configuration both halves must confirm", () => {
  const queue = queueOf(1);
  const voters = { incoming: [1n], outgoing: [2n, 3n, 4n] };
  queue.receiveAck(1n, queue.heartbeatContext());
  queue.receiveAck(2n, queue.heartbeatContext());
  assert.deepEqual(queue.takeConfirmed(voters), []);
  queue.receiveAck(4n, queue.heartbeatContext());
  assert.equal(queue.takeConfirmed(voters).length, 1);
});

test("acknowledgements of what was never sent are ignored", () => {
  const queue = queueOf(1);
  for (const context of [new Uint8Array(3), new Uint8Array(8).fill(0xff), new Uint8Array([9, 0, 0, 0, 0, 0, 0, 0])]) {
    for (const id of VOTERS.incoming) queue.receiveAck(id, context);
    assert.deepEqual(queue.takeConfirmed(VOTERS), []);
  }
});

test("a new term knows nothing of the old one's reads and answers", () => {
  const queue = queueOf(1);
  queue.receiveAck(1n, queue.heartbeatContext());
  queue.clear();
  queue.add(20, makeMessage({ type: MessageType.readIndex }));
  queue.receiveAck(2n, queue.heartbeatContext());
  assert.deepEqual(queue.takeConfirmed(VOTERS), []);
});
