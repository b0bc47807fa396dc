import assert from "node:assert/strict";
import { test } from "node:test";
import { recordingLog, SimClock, type RecordingLog } from "../../sim/index.js";
import { utf8FromText } from "../base/text.js";
import { encodePutEntry } from "../proto/fast/put.js";
import { PutRequest, RangeRequest } from "../proto/generated/etcdserverpb/kv.js";
import { InternalRaftRequest } from "../proto/generated/etcdserverpb/raft_internal.js";
import { EntryType, type Entry } from "../proto/raft.js";
import { requestIdOf } from "../proto/request-id.js";
import { noMetrics } from "./metrics.js";
import { entryText } from "./request-text.js";
import { SlowRequests } from "./slow-requests.js";

const THRESHOLD_MS = 100;

interface Play {
  readonly clock: SimClock;
  readonly log: RecordingLog;
  readonly slow: SlowRequests;
  readonly counted: () => number;
}

function play(): Play {
  const clock = new SimClock();
  const log = recordingLog();
  let counted = 0;
  const metrics = { ...noMetrics, count: () => void counted++ };
  const slow = new SlowRequests({ clock, log, metrics }, THRESHOLD_MS);
  return { clock, log, slow, counted: () => counted };
}

const entry = (key: string, valueBytes: number): Entry => ({
  term: 1,
  index: 1,
  type: EntryType.normal,
  data: encodePutEntry(
    requestIdOf(9n),
    PutRequest.fromPartial({ key: utf8FromText(key), value: new Uint8Array(valueBytes) }),
  ),
});

test("what takes no longer than it may is not told", () => {
  const { log, slow, counted } = play();
  slow.onApplied([entry("a", 1)], 0, 1, THRESHOLD_MS);
  slow.onRange(RangeRequest.create(), undefined, THRESHOLD_MS);
  slow.onPlainRange(() => assert.fail("nobody asks what it was"), 1, THRESHOLD_MS);
  assert.equal(counted(), 0);
  assert.deepEqual(log.lines, []);
});

test("a slow request is told with etcd's fields, and its value only by its size", () => {
  const { log, slow, counted } = play();
  slow.onApplied([entry("a", 3)], 0, 1, 1500.25);
  assert.equal(counted(), 1);
  assert.deepEqual(log.lines, [
    {
      level: "warn",
      message: "apply request took too long",
      fields: {
        took: "1.50025s",
        "expected-duration": "100ms",
        prefix: "",
        request: 'header:<ID:9 > put:<key:"a" value_size:3 >',
        response: "",
      },
    },
  ]);
});

test("of a slow batch the largest request is shown, and how many there were", () => {
  const { log, slow } = play();
  slow.onApplied([entry("before", 900), entry("a", 1), entry("b", 50), entry("c", 2), entry("after", 900)], 1, 4, 200);
  const { request, "requests-in-batch": count } = log.lines[0]!.fields;
  assert.equal(request, 'header:<ID:9 > put:<key:"b" value_size:50 >');
  assert.equal(count, 3);
});

test("changes of the members and a leader's first entry are no requests", () => {
  const { log, slow } = play();
  const empty: Entry = { ...entry("a", 1), data: new Uint8Array(0) };
  const change: Entry = { ...entry("a", 1), type: EntryType.confChange, data: new Uint8Array(1_000) };
  slow.onApplied([empty, change], 0, 2, 200);
  assert.equal(log.lines.length, 0);
  slow.onApplied([empty, change, entry("b", 5)], 0, 3, 200);
  assert.equal(log.lines[0]!.fields["request"], 'header:<ID:9 > put:<key:"b" value_size:5 >');
});

test("a storm is counted whole and told in part: the first hundred of a second, then one in a hundred", () => {
  const { clock, log, slow, counted } = play();
  for (let i = 0; i < 1_000; i++) slow.onPlainRange(() => ({ key: utf8FromText("a") }), 1, 200);
  assert.equal(counted(), 1_000);
  assert.equal(log.lines.length, 100 + 9);
  clock.advance(1_000);
  slow.onPlainRange(() => ({ key: utf8FromText("a") }), 1, 200);
  assert.equal(log.lines.length, 100 + 9 + 1);
});

test("no line tells a password, a hash or a token", () => {
  const secret = "s3cret";
  const requests: readonly Partial<InternalRaftRequest>[] = [
    { authUserAdd: { name: "alice", password: secret, options: undefined, hashedPassword: secret } },
    { authUserChangePassword: { name: "alice", password: secret, hashedPassword: secret } },
    { authenticate: { name: "alice", password: secret, simpleToken: secret } },
    { put: PutRequest.fromPartial({ key: utf8FromText("alice"), value: utf8FromText(secret) }) },
    {
      txn: {
        compare: [
          {
            result: 0,
            target: 3,
            key: utf8FromText("alice"),
            targetUnion: { $case: "value", value: utf8FromText(secret) },
            rangeEnd: new Uint8Array(0),
          },
        ],
        success: [],
        failure: [],
      },
    },
  ];
  for (const request of requests) {
    const text = entryText(InternalRaftRequest.encode(InternalRaftRequest.fromPartial(request)).finish());
    assert.ok(!text.includes(secret), text);
    assert.ok(text.includes("alice"), text);
  }
});
