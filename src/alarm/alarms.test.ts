import assert from "node:assert/strict";
import { test } from "node:test";
import { AlarmType } from "../proto/generated/etcdserverpb/maintenance.js";
import type { BucketTable } from "../base/bucket-table.js";
import { Alarms } from "./alarms.js";

function tableFixture(): BucketTable & { readonly rows: Set<string> } {
  const rows = new Set<string>();
  return {
    rows,
    get: () => undefined,
    put: (_bucket, key) => void rows.add(Buffer.from(key).toString("hex")),
    delete: (_bucket, key) => void rows.delete(Buffer.from(key).toString("hex")),
    keys: () => [...rows].map((row) => Buffer.from(row, "hex")),
  };
}

test("an alarm outlives a restart until it is cleared", () => {
  const table = tableFixture();
  const noSpace = { memberID: 0x8e9e05c52164694dn, alarm: AlarmType.NOSPACE };
  const first = new Alarms(table);
  assert.deepEqual(first.raise(noSpace), noSpace);
  assert.deepEqual(first.raise(noSpace), noSpace);
  // protobuf of AlarmMember, as etcd keys it: field 1 the member, field 2 the kind
  assert.deepEqual([...table.rows], ["08cdd2918bd2b881cf8e011001"]);
  const second = new Alarms(table);
  assert.equal(second.has(AlarmType.NOSPACE), true);
  assert.equal(second.has(AlarmType.CORRUPT), false);
  assert.deepEqual(second.clear(noSpace), noSpace);
  assert.equal(second.clear(noSpace), undefined);
  assert.equal(new Alarms(table).list().length, 0);
});

test("alarms are listed by kind, then by member", () => {
  const alarms = new Alarms(tableFixture());
  for (const memberID of [3n, 1n]) {
    alarms.raise({ memberID, alarm: AlarmType.CORRUPT });
    alarms.raise({ memberID, alarm: AlarmType.NOSPACE });
  }
  assert.deepEqual(
    alarms.list().map(({ memberID, alarm }) => `${alarm}/${memberID}`),
    ["1/1", "1/3", "2/1", "2/3"],
  );
  assert.equal(alarms.list(AlarmType.NOSPACE).length, 2);
});
