/** Requests carry the keys that they are to carry, wherever a message holds one. */
import assert from "node:assert/strict";
import test from "node:test";
import { decode, type Message } from "../../test/support/messages.js";
import { keyOf, kvRequest, RequestMaker, type KeyChoice } from "./requests.js";

const text = (bytes: unknown): string => Buffer.from(bytes as Uint8Array).toString("latin1");

/** The message in a maker's frame, its prefix checked. */
function messageIn(maker: RequestMaker, name: "PutRequest" | "RangeRequest" | "TxnRequest"): Message {
  const { frame } = maker;
  assert.equal(frame[0], 0, "not compressed");
  assert.equal(new DataView(frame.buffer).getUint32(1), frame.length - 5);
  return decode(name, frame.subarray(5));
}

function puts(keys: KeyChoice, count: number, seed = 1): string[] {
  const maker = new RequestMaker(kvRequest("Put", { key: keyOf(0), value: Buffer.from("value") }, keys), seed);
  return Array.from({ length: count }, () => {
    maker.next();
    const { key, value } = messageIn(maker, "PutRequest");
    assert.equal(text(value), "value");
    return text(key);
  });
}

test("a fixed key stays, a sequence counts", () => {
  assert.deepEqual(puts({ kind: "fixed" }, 2), ["bench/0000000000", "bench/0000000000"]);
  assert.deepEqual(puts({ kind: "sequence", step: 125 }, 3), [
    "bench/0000000000",
    "bench/0000000125",
    "bench/0000000250",
  ]);
});

test("random keys are spread over all, and repeat under their seed only", () => {
  const drawn = puts({ kind: "random", count: 100 }, 5_000);
  const numbers = new Set(drawn.map((key) => Number(key.slice("bench/".length))));
  assert.deepEqual(
    [...numbers].sort((a, b) => a - b),
    Array.from({ length: 100 }, (_, i) => i),
  );
  assert.deepEqual(puts({ kind: "random", count: 100 }, 5_000), drawn);
  for (const seed of [2, 3, 4]) assert.notDeepEqual(puts({ kind: "random", count: 100 }, 20, seed), drawn.slice(0, 20));
});

test("the end of a range and the puts of a batch move with the first key", () => {
  const range = new RequestMaker(
    kvRequest("Range", { key: keyOf(0), range_end: keyOf(1_000) }, { kind: "sequence", step: 7 }),
    1,
  );
  range.next();
  range.next();
  const { key, range_end } = messageIn(range, "RangeRequest");
  assert.deepEqual([text(key), text(range_end)], ["bench/0000000007", "bench/0000001007"]);

  const success = [0, 1, 2].map((i) => ({ request_put: { key: keyOf(i), value: Buffer.from("v") } }));
  const batch = new RequestMaker(kvRequest("Txn", { success }, { kind: "sequence", step: 3 }), 1);
  batch.next();
  batch.next();
  const operations = messageIn(batch, "TxnRequest")["success"] as readonly Message[];
  const keys = operations.map((operation) => text((operation["request_put"] as Message)["key"]));
  assert.deepEqual(keys, ["bench/0000000003", "bench/0000000004", "bench/0000000005"]);
});
