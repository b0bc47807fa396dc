import assert from "node:assert/strict";
import { test } from "node:test";
import { type KeyValue, RangeResponse } from "../proto/index.js";
import { encodeRangeAnswer } from "./range-answer.js";

function answer(keys: number, valueBytes: number): RangeResponse {
  const kvs = Array.from({ length: keys }, (_, i): KeyValue => {
    const key = Buffer.from(`key-${i}`);
    return {
      key,
      createRevision: i + 2,
      modRevision: i + 2,
      version: 1,
      value: new Uint8Array(valueBytes).fill(i),
      lease: 0n,
    };
  });
  return { header: { clusterId: 1n, memberId: 2n, revision: keys, raftTerm: 3 }, kvs, more: true, count: keys + 5 };
}

test("an answer made in slices has the bytes of one made at once, and lets others run in between", async () => {
  for (const [keys, valueBytes, slicesMin] of [
    [0, 0, 0],
    [1, 5, 0],
    [2000, 10, 0],
    [2001, 10, 2],
    [9000, 1, 5],
    [30, 100_000, 3],
    [3, 2_000_000, 3],
  ] as const) {
    const response = answer(keys, valueBytes);
    let turns = 0;
    const clock = {
      yield: () => {
        turns++;
        return Promise.resolve();
      },
    };
    const sliced = await encodeRangeAnswer(response, clock);
    assert.ok(
      Buffer.from(RangeResponse.encode(response).finish()).equals(sliced),
      `${keys} keys of ${valueBytes} bytes`,
    );
    assert.ok(turns >= slicesMin, `${turns} turns for ${keys} keys of ${valueBytes} bytes`);
    if (slicesMin === 0) assert.equal(turns, 0);
  }
});
