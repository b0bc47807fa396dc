import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { utf8FromText } from "../base/text.js";
import { InternalRaftRequest } from "../proto/generated/etcdserverpb/raft_internal.js";
import {
  ConfChangeType,
  encodeConfChange,
  encodeConfChangeV2,
  EntryType,
  type ConfChange,
  type Entry,
} from "../proto/raft.js";
import { encodeV2Request, makeV2Request } from "../proto/v2-request.js";
import { describeEntryRequest, entryRequestJson } from "./describe-request.js";

const bytes = utf8FromText;
const entryOf = (data: Uint8Array, type: EntryType = EntryType.normal): Entry => ({ type, term: 1, index: 1, data });
type Fields = Parameters<typeof InternalRaftRequest.fromPartial>[0];
const request = (fields: Fields): Entry =>
  entryOf(InternalRaftRequest.encode(InternalRaftRequest.fromPartial(fields)).finish());
const text = (fields: Fields): string => describeEntryRequest(request(fields));

test("puts say key, value and what differs from a plain put", () => {
  assert.equal(text({ put: { key: bytes("a"), value: bytes("1") } }), 'put "a" "1"');
  assert.equal(text({ put: { key: bytes("a") } }), 'put "a" ""');
  assert.equal(
    text({ put: { key: bytes("a"), lease: 0x1234n, prevKv: true, ignoreValue: true, ignoreLease: true } }),
    'put "a" "" lease=1234 ignore-value ignore-lease prev-kv',
  );
});

test("bytes that do not print are hexadecimal; long ones are cut, with their length", () => {
  assert.equal(
    text({ put: { key: Uint8Array.of(0, 255), value: bytes('say "x"\\') } }),
    'put 0x00ff "say \\"x\\"\\\\"',
  );
  assert.equal(text({ put: { key: bytes("ä") } }), 'put 0xc3a4 ""');
  assert.equal(
    text({ put: { key: bytes("k"), value: bytes("v".repeat(65)) } }),
    `put "k" "${"v".repeat(64)}"… (65 bytes)`,
  );
  assert.equal(text({ put: { key: bytes("k"), value: bytes("v".repeat(64)) } }), `put "k" "${"v".repeat(64)}"`);
});

test("ranges and deletes say their span", () => {
  assert.equal(text({ range: { key: bytes("a") } }), 'range "a"');
  assert.equal(text({ range: { key: bytes("a"), rangeEnd: bytes("b"), revision: 7 } }), 'range ["a", "b") rev=7');
  assert.equal(text({ deleteRange: { key: bytes("a"), rangeEnd: Uint8Array.of(0) } }), 'delete ["a", end)');
  assert.equal(text({ deleteRange: { key: bytes("a") } }), 'delete "a"');
});

test("transactions say conditions and both branches, nested ones too", () => {
  const put = { request: { $case: "requestPut", value: { key: bytes("b"), value: bytes("2") } } } as const;
  const range = { request: { $case: "requestRange", value: { key: bytes("c") } } } as const;
  const del = { request: { $case: "requestDeleteRange", value: { key: bytes("d") } } } as const;
  const inner = { request: { $case: "requestTxn" as const, value: { success: [range] } } };
  assert.equal(text({ txn: {} }), "txn if true then [] else []");
  assert.equal(
    text({
      txn: {
        compare: [
          { result: 0, target: 3, key: bytes("a"), targetUnion: { $case: "value", value: bytes("1") } },
          { result: 1, target: 2, key: bytes("a"), targetUnion: { $case: "modRevision", value: 5 } },
          { result: 2, target: 0, key: bytes("a"), rangeEnd: bytes("b"), targetUnion: { $case: "version", value: 0 } },
          { result: 3, target: 1, key: bytes("a"), targetUnion: { $case: "createRevision", value: 0 } },
        ],
        success: [put, inner],
        failure: [del, {}],
      },
    }),
    'txn if value("a") = "1" and modRevision("a") > 5 and version(["a", "b")) < 0 and createRevision("a") != 0 ' +
      'then [put "b" "2"; txn if true then [range "c"] else []] else [delete "d"; nothing]',
  );
});

test("every other request says its kind and its fields", () => {
  assert.equal(text({ compaction: { revision: 5, physical: true } }), 'compaction {"revision":5,"physical":true}');
  assert.match(text({ leaseGrant: { TTL: 60, ID: 7n } }), /^leaseGrant \{.*"7"/);
  assert.match(text({ leaseRevoke: { ID: 7n } }), /^leaseRevoke \{"ID":"7"\}/);
  assert.match(
    text({ alarm: { action: 1, memberID: 9n, alarm: 1 } }),
    /^alarm \{"action":1,"memberID":"9","alarm":1\}/,
  );
  assert.equal(text({ clusterVersionSet: { ver: "3.5.0" } }), 'clusterVersionSet {"ver":"3.5.0"}');
  assert.match(text({ authUserAdd: { name: "root", password: "" } }), /^authUserAdd \{"name":"root"/);
  assert.match(text({ header: { ID: 1n } }), /^a request with nothing in it$/);
});

test("the kinds of entries that no client asked for are told, too", () => {
  assert.equal(describeEntryRequest(entryOf(new Uint8Array(0))), "empty: a leader's term begins");
  const v2 = encodeV2Request(makeV2Request({ id: 1n, method: "PUT", path: "/0/version", val: "3.5.0" }));
  assert.equal(describeEntryRequest(entryOf(v2)), "v2 PUT /0/version 3.5.0");
  const sync = encodeV2Request(makeV2Request({ id: 1n, method: "SYNC" }));
  assert.equal(describeEntryRequest(entryOf(sync)), "v2 SYNC");
});

test("changes of the configuration name the change and the member", () => {
  const change = (fields: Partial<ConfChange>): string =>
    describeEntryRequest(
      entryOf(
        encodeConfChange({
          id: 1n,
          type: ConfChangeType.addNode,
          nodeId: 0xabcn,
          context: new Uint8Array(0),
          ...fields,
        }),
        EntryType.confChange,
      ),
    );
  assert.equal(change({}), "add member abc");
  assert.equal(change({ context: bytes('{"name":"m1"}') }), 'add member abc {"name":"m1"}');
  assert.equal(change({ type: ConfChangeType.removeNode }), "remove member abc");
  assert.equal(change({ type: ConfChangeType.updateNode }), "update member abc");
  assert.equal(change({ type: ConfChangeType.addLearnerNode }), "add learner abc");
  const v2 = (changes: { type: ConfChangeType; nodeId: bigint }[]): Entry =>
    entryOf(encodeConfChangeV2({ transition: 0, changes, context: new Uint8Array(0) }), EntryType.confChangeV2);
  const two = v2([
    { type: ConfChangeType.addLearnerNode, nodeId: 1n },
    { type: ConfChangeType.removeNode, nodeId: 2n },
  ]);
  assert.equal(describeEntryRequest(two), "add learner 1, remove member 2");
  assert.equal(describeEntryRequest(v2([])), "leave joint configuration");
  assert.deepEqual(entryRequestJson(two), {
    confChangeV2: {
      transition: 0,
      changes: [
        { type: "add learner", nodeId: "1" },
        { type: "remove member", nodeId: "2" },
      ],
      context: "",
    },
  });
});

test("JSON has every byte in base64 and 64-bit IDs as strings", () => {
  assert.deepEqual(entryRequestJson(request({ header: { ID: 1n << 60n }, put: { key: bytes("a"), lease: 5n } })), {
    header: { ID: "1152921504606846976" },
    put: { key: "YQ==", lease: "5" },
  });
  assert.equal(entryRequestJson(entryOf(new Uint8Array(0))), null);
  const v2 = encodeV2Request(makeV2Request({ id: 3n, method: "PUT", path: "/0/version", val: "3.5.0" }));
  assert.deepEqual(entryRequestJson(entryOf(v2)), {
    v2: { id: "3", method: "PUT", path: "/0/version", val: "3.5.0" },
  });
  const add = encodeConfChange({ id: 4n, type: ConfChangeType.addNode, nodeId: 0xabcn, context: bytes("{}") });
  assert.deepEqual(entryRequestJson(entryOf(add, EntryType.confChange)), {
    confChange: { id: "4", type: "add member", nodeId: "abc", context: "{}" },
  });
});

test("bytes that cannot be decoded are told as such, in text and in JSON", () => {
  for (const type of Object.values(EntryType)) {
    const bad = entryOf(Uint8Array.of(0xff, 0xff, 0xff), type);
    assert.match(describeEntryRequest(bad), /^3 bytes that cannot be decoded \(WIRE_[A-Z]+: /);
    const json = entryRequestJson(bad) as { undecodable: string; why: string };
    assert.equal(json.undecodable, "////");
    assert.match(json.why, /WIRE_/);
  }
});

test("whatever is in an entry, describing it gives one line and JSON that a program can read", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), fc.constantFrom(...Object.values(EntryType)), (data, type) => {
      const line = describeEntryRequest(entryOf(data, type));
      assert.ok(line.length > 0 && !/[\n\r\0]/.test(line), JSON.stringify(line));
      JSON.parse(JSON.stringify(entryRequestJson(entryOf(data, type))));
    }),
    { numRuns: 500 },
  );
});
