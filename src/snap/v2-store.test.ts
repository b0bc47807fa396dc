import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { equalBytes } from "../base/bytes.js";
import { decodeSnapshotFile } from "./format.js";
import { goldenSnapshot, REPOSITORY } from "./testing/golden.js";
import { decodeV2Store, encodeV2Store, V2Store, type V2Membership } from "./v2-store.js";

const SELF = 0x2e1259d415f2a040n;
const GONE = 0x1c37ad3c28523526n;
const LEARNER = 0x186e785a513d40d7n;
const ATTRIBUTES = { name: "n<&>1", clientUrls: ["http://127.0.0.1:23790"] };

const golden = decodeSnapshotFile(goldenSnapshot(), "golden").data;
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
/** How often the store was read depends on requests, not on contents. */
const withoutGets = (bytes: Uint8Array): string => text(bytes).replace(/"gets(Success|Fail)":\d+/g, "");

test("the store that real etcd wrote is written again byte for byte", () => {
  assert.ok(equalBytes(V2Store.decode(golden).encode(), golden));
});

test("the same changes give real etcd's bytes", () => {
  const store = new V2Store();
  store.addMember(SELF, { peerUrls: ["http://127.0.0.1:23800"], isLearner: false });
  store.setMemberAttributes(SELF, ATTRIBUTES);
  store.setClusterVersion("3.5.0");
  store.addMember(GONE, { peerUrls: ["http://127.0.0.1:23801"], isLearner: true });
  store.updateMember(GONE, { peerUrls: ["http://127.0.0.1:23802", "http://127.0.0.1:23803"], isLearner: false });
  store.removeMember(GONE);
  store.addMember(LEARNER, { peerUrls: ["http://127.0.0.1:23804"], isLearner: true });
  store.setMemberAttributes(SELF, ATTRIBUTES);
  assert.equal(withoutGets(store.encode()), withoutGets(golden));
});

test("a member that came and went between two snapshots is remembered as removed", () => {
  const store = new V2Store();
  store.addMember(SELF, { peerUrls: ["http://127.0.0.1:23800"], isLearner: false });
  store.removeMember(GONE);
  const { members, removed } = decodeV2Store(store.encode());
  assert.deepEqual(
    members.map(({ id }) => id),
    [SELF],
  );
  assert.deepEqual(removed, [GONE]);
});

test("real etcd's membership is read", () => {
  assert.deepEqual(decodeV2Store(golden), {
    members: [
      { id: LEARNER, peerUrls: ["http://127.0.0.1:23804"], isLearner: true, name: "", clientUrls: [] },
      { id: SELF, peerUrls: ["http://127.0.0.1:23800"], isLearner: false, ...ATTRIBUTES },
    ],
    removed: [GONE],
    clusterVersion: "3.5.0",
  });
});

const id = fc.bigInt({ min: 1n, max: 2n ** 64n - 1n });
const urls = fc.array(fc.string({ unit: "grapheme", maxLength: 12 }), { minLength: 1, maxLength: 3 });
const membership: fc.Arbitrary<V2Membership> = fc
  .record(
    {
      members: fc.uniqueArray(
        fc.record(
          { id, peerUrls: urls, isLearner: fc.boolean(), name: fc.string({ unit: "grapheme" }), clientUrls: urls },
          { noNullPrototype: true },
        ),
        { selector: (member) => member.id, maxLength: 5 },
      ),
      removed: fc.uniqueArray(id, { maxLength: 4 }),
      clusterVersion: fc.option(fc.constantFrom("3.5.0", "3.4.0"), { nil: undefined }),
    },
    { noNullPrototype: true },
  )
  .map(({ members, removed, clusterVersion }) => ({
    members: members.sort((a, b) => (a.id < b.id ? -1 : 1)),
    removed: removed.sort((a, b) => (a < b ? -1 : 1)),
    clusterVersion,
  }));

test("any membership is read back as it was written, and written again the same", () => {
  fc.assert(
    fc.property(membership, (value) => {
      const bytes = encodeV2Store(value);
      assert.deepEqual(decodeV2Store(bytes), value);
      assert.ok(equalBytes(V2Store.decode(bytes).encode(), bytes));
      JSON.parse(text(bytes));
    }),
    { numRuns: 60 },
  );
});

test("the history keeps the last 1,000 events, as a ring", () => {
  const store = new V2Store();
  store.addMember(SELF, { peerUrls: ["http://a"], isLearner: false });
  for (let i = 0; i < 1500; i++) store.setMemberAttributes(SELF, ATTRIBUTES);
  const history = JSON.parse(text(store.encode())).WatcherHub.EventHistory;
  const { Queue, StartIndex, LastIndex } = history;
  assert.deepEqual([Queue.Size, Queue.Front, Queue.Back, Queue.Capacity], [1000, 501, 501, 1000]);
  assert.deepEqual([StartIndex, LastIndex], [502, 1501]);
  assert.ok(equalBytes(V2Store.decode(store.encode()).encode(), store.encode()));
});

test("what is not such a store is refused by name, with the place", () => {
  const good = text(golden);
  for (const [damaged, place] of [
    ["", /the whole/],
    ["[]", /the whole/],
    [good.replace('"CurrentVersion":2', '"CurrentVersion":3'), /CurrentVersion: 3/],
    [good.replace('"Size":9', '"Size":-9'), /Size: -9/],
    [good.replace('"Capacity":1000', '"Capacity":10'), /Queue/],
    [good.replace('"Path":"/0/members"', '"Path":7'), /\/0\/members/],
    [good.replaceAll('"raftAttributes"', '"other"'), /raftAttributes are missing/],
    [good.replaceAll("2e1259d415f2a040", "2e1259d415f2a04z"), /no member ID/],
    [good.replace('"Value":"{\\"peerURLs', '"Value":"{peerURLs'), /not JSON/],
  ] as const) {
    assert.throws(
      () => decodeV2Store(new TextEncoder().encode(damaged)),
      (error: Error & { code?: string }) => {
        assert.equal(error.code, "SNAP_STORE_MALFORMED");
        assert.match(error.message, place);
        return true;
      },
    );
  }
});

test("what users of the old API left is kept", () => {
  const node = `{"Path":"/1/k","CreatedIndex":4,"ModifiedIndex":4,"ExpireTime":"2030-01-01T00:00:00Z","Value":"v","Children":null}`;
  const changed = text(golden).replace(
    '"Path":"/1","CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{}',
    `"Path":"/1","CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"k":${node}}`,
  );
  assert.ok(changed.includes(node));
  assert.equal(text(V2Store.decode(new TextEncoder().encode(changed)).encode()), changed);
});

test("the example in docs/formats/v2-store.md is what the code reads and writes", () => {
  const page = readFileSync(join(REPOSITORY, "docs/formats/v2-store.md"), "utf8");
  const example = /```json\n([^`]+)```/.exec(page)![1]!;
  const nulls = Array.from({ length: 997 }, () => "null").join(",");
  const written = example.replace(/\s*\n\s*/g, "").replace("null ×997", nulls);
  const store = V2Store.decode(new TextEncoder().encode(written));
  assert.equal(text(store.encode()), written);
  assert.deepEqual(store.membership(), {
    members: [
      {
        id: 0x2e1259d415f2a040n,
        peerUrls: ["http://127.0.0.1:2380"],
        isLearner: false,
        name: "n1",
        clientUrls: ["http://127.0.0.1:2379"],
      },
    ],
    removed: [],
    clusterVersion: "3.5.0",
  });
});
