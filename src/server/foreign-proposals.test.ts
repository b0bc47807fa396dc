import assert from "node:assert/strict";
import { test } from "node:test";
import { EMPTY_BYTES } from "../base/bytes.js";
import { encodeChangeContext, encodeMember, type Member } from "../membership/member.js";
import { InternalRaftRequest } from "../proto/generated/etcdserverpb/raft_internal.js";
import { ConfChangeType, encodeConfChange, EntryType, MessageType, type ConfChange } from "../proto/raft.js";
import { encodeV2Request, makeV2Request } from "../proto/v2-request.js";
import { whyUnreadable } from "./foreign-proposals.js";

const member: Member = { id: 7n, peerUrls: ["http://peer:2380"], isLearner: false, name: "", clientUrls: [] };
const request = (fields: Partial<InternalRaftRequest>): Uint8Array =>
  InternalRaftRequest.encode({ ...InternalRaftRequest.decode(EMPTY_BYTES), ...fields }).finish();
const compaction = { revision: 3, physical: false };
const change = (fields: Partial<ConfChange>): Uint8Array =>
  encodeConfChange({ id: 1n, type: ConfChangeType.addNode, nodeId: 7n, context: EMPTY_BYTES, ...fields });
const added = encodeChangeContext({ member, isPromote: false });

const verdicts: readonly (readonly [string, EntryType, Uint8Array, RegExp | undefined])[] = [
  ["a request", EntryType.normal, request({ compaction }), undefined],
  [
    "a request of the v2 store",
    EntryType.normal,
    encodeV2Request(makeV2Request({ id: 1n, method: "PUT", path: "/0/version", val: "3.5.0" })),
    undefined,
  ],
  ["a member to add", EntryType.confChange, change({ context: added }), undefined],
  ["a member to remove", EntryType.confChange, change({ type: ConfChangeType.removeNode }), undefined],
  [
    "a member to update",
    EntryType.confChange,
    change({ type: ConfChangeType.updateNode, context: encodeMember(member) }),
    undefined,
  ],
  ["bytes that are no request", EntryType.normal, Uint8Array.of(255, 1, 2, 3), /no request/],
  ["nothing", EntryType.normal, EMPTY_BYTES, /without data/],
  ["a request of no kind", EntryType.normal, request({ ID: 5n }), /kind/],
  ["a change that is none", EntryType.confChange, Uint8Array.of(255), /WIRE/],
  ["a member without a description", EntryType.confChange, change({}), /MEMBERSHIP_MALFORMED/],
  ["a member under another's ID", EntryType.confChange, change({ nodeId: 8n, context: added }), /carries member 7/],
  ["nobody", EntryType.confChange, change({ nodeId: 0n, context: added }), /nobody/],
  ["a change of version 2", EntryType.confChangeV2, EMPTY_BYTES, /version 2/],
];

for (const [what, type, data, why] of verdicts) {
  test(`${what}, proposed by another member, ${why === undefined ? "may go into the log" : "stays out of it"}`, () => {
    const found = whyUnreadable({ type: MessageType.propose, entries: [{ type, term: 0, index: 0, data }] });
    if (why === undefined) assert.equal(found, undefined);
    else assert.match(found ?? "it may go in", why);
  });
}

test("entries of a leader are not looked at: they may be committed already", () => {
  const entries = [{ type: EntryType.normal, term: 1, index: 1, data: Uint8Array.of(255) }];
  assert.equal(whyUnreadable({ type: MessageType.append, entries }), undefined);
});
