import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8FromText } from "../base/text.js";
import {
  ConfChangeTransition,
  ConfChangeType,
  EMPTY_SNAPSHOT,
  EntryType,
  makeMessage,
  MessageType,
} from "../proto/raft.js";
import {
  describeConfChange,
  describeConfState,
  describeEntry,
  describeHardState,
  describeMessage,
  describeReady,
  describeSoftState,
} from "./describe.js";
import { LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD } from "./ids.js";
import { messageTypeName, messageTypeNamed } from "./message-kinds.js";
import { quoteBytes } from "../base/go-quote.js";
import { entry, snapshotAt } from "./testing/messages.js";

test("bytes are quoted as Go quotes them", () => {
  for (const [bytes, text] of [
    [utf8FromText("plain"), '"plain"'],
    [utf8FromText('a "quote" and \\'), '"a \\"quote\\" and \\\\"'],
    [new Uint8Array([7, 8, 12, 10, 13, 9, 11]), '"\\a\\b\\f\\n\\r\\t\\v"'],
    [new Uint8Array([0, 1, 0x1f, 0x7f]), '"\\x00\\x01\\x1f\\x7f"'],
    [utf8FromText("grüße 日本 🌰"), '"grüße 日本 🌰"'],
    [utf8FromText("\u00ad\u00a0\u2028\ufeff"), '"\\u00ad\\u00a0\\u2028\\ufeff"'],
    [utf8FromText("\u{e0001}"), '"\\U000e0001"'],
    [utf8FromText("\ufffd"), '"\ufffd"'],
    [new Uint8Array([0xff, 0xc0, 0x80]), '"\\xff\\xc0\\x80"'],
    [new Uint8Array([0xe2, 0x82]), '"\\xe2\\x82"'],
    [new Uint8Array([0xed, 0xa0, 0x80]), '"\\xed\\xa0\\x80"'],
    [new Uint8Array([0xe0, 0x80, 0xaf]), '"\\xe0\\x80\\xaf"'],
    [new Uint8Array([0xf4, 0x90, 0x80, 0x80]), '"\\xf4\\x90\\x80\\x80"'],
  ] as const) {
    assert.equal(quoteBytes(bytes), text);
  }
});

test("states have one line each", () => {
  assert.equal(describeHardState({ term: 3, vote: 0n, commit: 7 }), "Term:3 Commit:7");
  assert.equal(describeHardState({ term: 3, vote: 255n, commit: 7 }), "Term:3 Vote:255 Commit:7");
  assert.equal(describeSoftState({ leader: 1n, role: "pre-candidate" }), "Lead:1 State:StatePreCandidate");
  const state = { voters: [1n, 2n], learners: [3n], votersOutgoing: [1n], learnersNext: [], autoLeave: true };
  assert.equal(describeConfState(state), "Voters:[1 2] VotersOutgoing:[1] Learners:[3] LearnersNext:[] AutoLeave:true");
});

test("entries show their data, changes their steps, junk its error", () => {
  assert.equal(describeEntry(entry(1, 2, "x")), '1/2 EntryNormal "x"');
  assert.equal(
    describeEntry(entry(1, 2, "x"), () => ""),
    "1/2 EntryNormal",
  );
  const change = { type: EntryType.confChange, term: 1, index: 3, data: new Uint8Array([0x10, 1, 0x18, 5]) };
  assert.equal(describeEntry(change), "1/3 EntryConfChange r5");
  const junk = { type: EntryType.confChangeV2, term: 1, index: 4, data: new Uint8Array([0x12, 9]) };
  assert.match(describeEntry(junk), /^1\/4 EntryConfChangeV2 WIRE_TRUNCATED: /);
});

test("a change is described with all that it holds", () => {
  const changes = [{ type: ConfChangeType.addLearnerNode, nodeId: 9n }];
  const change = { transition: ConfChangeTransition.jointImplicit, changes, context: utf8FromText("why") };
  assert.equal(
    describeConfChange(change),
    'transition:ConfChangeTransitionJointImplicit changes:{type:ConfChangeAddLearnerNode node_id:9} context:"why"',
  );
});

test("a message names who, what and where; what is zero is left out", () => {
  const message = makeMessage({ type: MessageType.appendResponse, from: 0xabn, to: 0n, term: 4, logTerm: 3, index: 2 });
  assert.equal(describeMessage(message), "ab->None MsgAppResp Term:4 Log:3/2");
  assert.equal(
    describeMessage({ ...message, reject: true, rejectHint: 1, commit: 6, vote: 12n, entries: [entry(1, 1)] }),
    'ab->None MsgAppResp Term:4 Log:3/2 Rejected (Hint: 1) Commit:6 Vote:12 Entries:[1/1 EntryNormal ""]',
  );
});

test("several entries, snapshots and responses take lines of their own", () => {
  const inner = makeMessage({ type: MessageType.storageApplyResponse, from: LOCAL_APPLY_THREAD, to: 1n });
  const message = makeMessage({
    type: MessageType.storageAppend,
    from: 1n,
    to: LOCAL_APPEND_THREAD,
    entries: [entry(1, 1, "a"), entry(1, 2, "b")],
    snapshot: snapshotAt(9, 2, [1n]),
    responses: [{ ...inner, entries: [entry(1, 1), entry(1, 2)] }],
  });
  assert.equal(
    describeMessage(message),
    [
      "1->AppendThread MsgStorageAppend Term:0 Log:0/0 Entries:[",
      '  1/1 EntryNormal "a"',
      '  1/2 EntryNormal "b"',
      "]",
      "  Snapshot: Index:9 Term:2 ConfState:Voters:[1] VotersOutgoing:[] Learners:[] LearnersNext:[] AutoLeave:false Responses:[",
      "  ApplyThread->1 MsgStorageApplyResp Term:0 Log:0/0 Entries:[",
      '    1/1 EntryNormal ""',
      '    1/2 EntryNormal ""',
      "  ]",
      "]",
    ].join("\n"),
  );
  assert.ok(!describeMessage({ ...message, snapshot: EMPTY_SNAPSHOT }).includes("Snapshot"));
});

test("a Ready is described part by part, an empty one as such", () => {
  const empty = {
    softState: undefined,
    hardState: undefined,
    readStates: [],
    entries: [],
    snapshot: undefined,
    committedEntries: [],
    messages: [],
    earlyMessages: 0,
    mustSync: false,
  };
  assert.equal(describeReady(empty), "<empty Ready>");
  const ready = { ...empty, readStates: [{ index: 3, context: utf8FromText("ab") }], snapshot: snapshotAt(2, 1, []) };
  assert.equal(
    describeReady(ready),
    "Ready MustSync=false:\nReadStates [{3 [97 98]}]\n" +
      "Snapshot Index:2 Term:1 ConfState:Voters:[] VotersOutgoing:[] Learners:[] LearnersNext:[] AutoLeave:false\n",
  );
});

test("every message type has a name of its own", () => {
  for (const type of Object.values(MessageType)) assert.equal(messageTypeNamed(messageTypeName(type)), type);
  assert.equal(messageTypeNamed("MsgNone"), undefined);
});
