import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { BucketTable } from "../base/bucket-table.js";
import { silentLog } from "../platform/log.js";
import { ConfChangeType, type ConfChange } from "../proto/raft.js";
import {
  computeClusterId,
  computeMemberId,
  decodeChangeContext,
  decodeConfStateJson,
  decodeMember,
  encodeChangeContext,
  encodeConfStateJson,
  encodeMember,
  memberIdText,
  Membership,
  type Member,
} from "./index.js";

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

/** What etcd 3.5.16 calls itself when started without flags. */
const DEFAULT_MEMBER_ID = 0x8e9e05c52164694dn;
const DEFAULT_CLUSTER_ID = 0xcdf818194e3a8c32n;

test("IDs are those that etcd gives to the same URLs and token", () => {
  const id = computeMemberId(["http://localhost:2380"], "etcd-cluster");
  assert.equal(memberIdText(id), memberIdText(DEFAULT_MEMBER_ID));
  assert.equal(computeClusterId([id]), DEFAULT_CLUSTER_ID);
});

test("the order of URLs and of members does not change an ID; the moment of an addition does", () => {
  assert.equal(computeMemberId(["http://b", "http://a"], "t"), computeMemberId(["http://a", "http://b"], "t"));
  assert.notEqual(computeMemberId(["http://a"], "t"), computeMemberId(["http://a"], "t", 1_700_000_000));
  assert.equal(computeClusterId([3n, 1n, 2n]), computeClusterId([1n, 2n, 3n]));
});

test("a member is written as Go writes it, with all 64 bits of its ID", () => {
  const member: Member = {
    id: DEFAULT_MEMBER_ID,
    peerUrls: ["http://localhost:2380"],
    isLearner: false,
    name: "default",
    clientUrls: ["http://localhost:2379"],
  };
  const json = `{"id":10276657743932975437,"peerURLs":["http://localhost:2380"],"name":"default","clientURLs":["http://localhost:2379"]}`;
  assert.equal(text(encodeMember(member)), json);
  assert.deepEqual(decodeMember(encodeMember(member)), member);
});

const memberShape = fc.record(
  {
    id: fc.bigInt({ min: 1n, max: 2n ** 64n - 1n }),
    peerUrls: fc.array(fc.string(), { minLength: 1, maxLength: 3 }),
    isLearner: fc.boolean(),
    name: fc.oneof(fc.string(), fc.constant('"id": 12 <&>\u2028')),
    clientUrls: fc.array(fc.string(), { maxLength: 3 }),
  },
  { noNullPrototype: true },
);

test("members, changes and configurations read back as they were written", () => {
  const ids = fc.array(fc.bigInt({ min: 1n, max: 2n ** 64n - 1n }), { maxLength: 4 });
  fc.assert(
    fc.property(memberShape, fc.boolean(), (member, isPromote) => {
      assert.deepEqual(decodeMember(encodeMember(member)), member);
      assert.deepEqual(decodeChangeContext(encodeChangeContext({ member, isPromote })), { member, isPromote });
    }),
  );
  fc.assert(
    fc.property(ids, ids, ids, ids, fc.boolean(), (voters, learners, votersOutgoing, learnersNext, autoLeave) => {
      const state = { voters, learners, votersOutgoing, learnersNext, autoLeave };
      assert.deepEqual(decodeConfStateJson(encodeConfStateJson(state)), state);
    }),
  );
  const one = { voters: [DEFAULT_MEMBER_ID], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };
  assert.equal(text(encodeConfStateJson(one)), `{"voters":[10276657743932975437],"auto_leave":false}`);
});

test("what is not a member is refused by name", () => {
  for (const bytes of ["", "[]", "{}", `{"id":1,"peerURLs":[2]}`, `{"id":"x`]) {
    assert.throws(() => decodeMember(Buffer.from(bytes)), { code: "MEMBERSHIP_MALFORMED" });
  }
});

function tableFixture(): BucketTable & { readonly rows: Map<string, string> } {
  const rows = new Map<string, string>();
  return {
    rows,
    get: (bucket, key) => Buffer.from(rows.get(`${bucket}/${text(key)}`) ?? ""),
    put: (bucket, key, value) => void rows.set(`${bucket}/${text(key)}`, text(value)),
    delete: (bucket, key) => void rows.delete(`${bucket}/${text(key)}`),
    keys: (bucket) =>
      [...rows.keys()]
        .filter((row) => row.startsWith(`${bucket}/`))
        .map((row) => Buffer.from(row.slice(bucket.length + 1))),
  };
}

const member = (id: bigint, options: Partial<Member> = {}): Member => ({
  id,
  peerUrls: [`http://peer-${id}`],
  isLearner: false,
  name: "",
  clientUrls: [],
  ...options,
});

const change = (type: ConfChange["type"], of: Member, isPromote = false): ConfChange => ({
  id: 1n,
  type,
  nodeId: of.id,
  context: encodeChangeContext({ member: of, isPromote }),
});

test("each change that etcd refuses is refused with its own code", () => {
  const membership = new Membership({ clusterId: 1n, localId: 1n }, silentLog);
  const { addNode, addLearnerNode, removeNode, updateNode } = ConfChangeType;
  const learner = member(3n, { isLearner: true });
  membership.recover({ members: [member(1n), member(2n), learner], removed: [9n], clusterVersion: "3.5.0" });
  const verdict = (given: ConfChange): string | undefined => membership.validate(given)?.code;
  assert.equal(verdict(change(addNode, member(9n))), "MEMBER_ID_REMOVED");
  assert.equal(verdict(change(addNode, member(2n))), "MEMBER_EXISTS");
  assert.equal(verdict(change(addNode, member(4n, { peerUrls: ["http://peer-1"] }))), "MEMBER_PEER_URL_EXISTS");
  assert.equal(verdict(change(addLearnerNode, member(4n, { isLearner: true }))), "MEMBER_TOO_MANY_LEARNERS");
  assert.equal(verdict(change(addNode, member(4n), true)), "MEMBER_NOT_FOUND");
  assert.equal(verdict(change(addNode, member(2n), true)), "MEMBER_NOT_LEARNER");
  assert.equal(verdict(change(removeNode, member(4n))), "MEMBER_NOT_FOUND");
  assert.equal(verdict(change(updateNode, member(4n))), "MEMBER_NOT_FOUND");
  assert.equal(verdict(change(updateNode, member(2n, { peerUrls: ["http://peer-1"] }))), "MEMBER_PEER_URL_EXISTS");
  assert.equal(verdict(change(addNode, learner, true)), undefined);
  assert.equal(verdict(change(addNode, member(4n))), undefined);
});

test("a learner whose URLs are changed is one no more in the list, as in etcd", () => {
  const membership = new Membership({ clusterId: 1n, localId: 1n }, silentLog);
  membership.recover({
    members: [member(1n), member(2n, { isLearner: true, name: "two" })],
    removed: [],
    clusterVersion: undefined,
  });
  const table = tableFixture();
  membership.apply(change(ConfChangeType.updateNode, member(2n, { peerUrls: ["http://elsewhere"] })), table);
  assert.deepEqual(membership.member(2n), member(2n, { peerUrls: ["http://elsewhere"], name: "two" }));
  assert.equal(table.rows.get("members/2"), `{"id":2,"peerURLs":["http://elsewhere"],"name":"two"}`);
  const another = member(3n, { isLearner: true });
  assert.equal(membership.validate(change(ConfChangeType.addLearnerNode, another)), undefined);
});

test("db repeats what the log decided, and nothing for entries that it has", () => {
  const membership = new Membership({ clusterId: 1n, localId: 1n }, silentLog);
  const table = tableFixture();
  const { addNode, removeNode } = ConfChangeType;
  membership.apply(change(addNode, member(1n)), table);
  membership.apply(change(addNode, member(0xabcn)), undefined);
  membership.publish(1n, { name: "one", clientUrls: ["http://client-1"] }, table);
  membership.setClusterVersion("3.5.0", table);
  assert.deepEqual(Object.fromEntries(table.rows), {
    "members/1": `{"id":1,"peerURLs":["http://peer-1"],"name":"one","clientURLs":["http://client-1"]}`,
    "cluster/clusterVersion": "3.5.0",
  });
  membership.apply(change(removeNode, member(0xabcn)), table);
  membership.publish(0xabcn, { name: "late", clientUrls: [] }, table);
  assert.equal(table.rows.get("members_removed/abc"), "removed");
  assert.deepEqual(membership.state().removed, [0xabcn]);
  assert.deepEqual(
    membership.members().map(({ name }) => name),
    ["one"],
  );
});

test("members that only db knows are taken out of it", () => {
  const membership = new Membership({ clusterId: 1n, localId: 1n }, silentLog);
  const table = tableFixture();
  membership.apply(change(ConfChangeType.addNode, member(1n)), table);
  table.rows.set("members/dead", "{}");
  membership.removeStrays(table);
  assert.deepEqual([...table.rows.keys()], ["members/1"]);
});
