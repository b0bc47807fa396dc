import assert from "node:assert/strict";
import { test } from "node:test";
import { WatchResponse } from "../../proto/index.js";
import { nextLimit, renaming, transactions } from "./mirror.js";

const bytes = (text: string): Uint8Array => Buffer.from(text);
const text = (key: Uint8Array): string => Buffer.from(key).toString();

test("keys get the destination's prefix instead of the source's", () => {
  const cases: readonly (readonly [prefix: string, leaveOut: boolean, instead: string, renamed: string])[] = [
    ["dir/", false, "", "dir/dir/a"],
    ["dir/", false, "x/", "x/dir/a"],
    ["dir/", true, "", "dir/a"],
    ["", false, "x/", "x/dir/dir/a"],
  ];
  for (const [prefix, leaveOut, instead, renamed] of cases) {
    assert.equal(text(renaming(bytes(prefix), leaveOut, bytes(instead))(bytes("dir/dir/a"))), renamed);
  }
});

test("changes of one revision stay together as far as a transaction may be large; those of two never mix", () => {
  const answer = WatchResponse.fromPartial({
    events: [
      { kv: { key: bytes("a"), modRevision: 5, value: bytes("1") } },
      { kv: { key: bytes("b"), modRevision: 5 } },
      { type: 1, kv: { key: bytes("c"), modRevision: 5 } },
      { kv: { key: bytes("d"), modRevision: 6 } },
    ],
  });
  const described = transactions(answer, (key) => key, 2).map((operations) =>
    operations.map(({ request }) => {
      assert.ok(request?.$case === "requestPut" || request?.$case === "requestDeleteRange");
      return `${request.$case} ${text(request.value.key)}`;
    }),
  );
  assert.deepEqual(described, [["requestPut a", "requestPut b"], ["requestDeleteRange c"], ["requestPut d"]]);
});

test("pages of small pairs grow, those of large ones shrink to one pair", () => {
  assert.equal(nextLimit(100, 100 * 50), 200);
  assert.equal(nextLimit(900, 900 * 50), 1000);
  assert.equal(nextLimit(100, 100 * 1024 * 1024), 4);
  assert.equal(nextLimit(1, 64 * 1024 * 1024), 1);
});
