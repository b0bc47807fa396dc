import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { WatchResponse } from "../generated/etcdserverpb/watch.js";
import { Event } from "../generated/mvccpb/kv.js";
import { encodeKeyValue } from "./key-value.js";
import { encodeEvent, type WatchAnswer, WatchAnswerEncoder } from "./watch-answers.js";

const number = fc.oneof(fc.maxSafeNat(), fc.nat(300), fc.constantFrom(0, 127, 128, 2 ** 31, 2 ** 32, 2 ** 53 - 1));
const watchId = fc.oneof(fc.nat(5), number, fc.maxSafeInteger(), fc.constantFrom(-1, -(2 ** 53 - 1)));
const bytes = fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.constant(new Uint8Array(20_000).fill(3)));
const pair = fc.record(
  {
    key: bytes,
    createRevision: number,
    modRevision: number,
    version: number,
    value: bytes,
    lease: fc.constantFrom(0n, 7n),
  },
  { noNullPrototype: true },
);
const event = fc.record(
  { type: fc.constantFrom(0, 1), kv: pair, prevKv: fc.option(pair, { nil: undefined }) },
  { noNullPrototype: true },
);
const answer = fc.record({
  revision: number,
  raftTerm: number,
  watchId,
  events: fc.array(event, { minLength: 1, maxLength: 4 }),
});

const whole = ({ head, body }: WatchAnswer): Uint8Array => Uint8Array.from([...head, ...body]);

const encodedOf = ({
  type,
  kv,
  prevKv,
}: Pick<Event, "type" | "prevKv"> & { kv: NonNullable<Event["kv"]> }): Uint8Array =>
  encodeEvent(type === 1, encodeKeyValue(kv), prevKv && encodeKeyValue(prevKv));

test("an event and the answers with events are the bytes that the generated codecs write, whatever came before them", () => {
  const id = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  fc.assert(
    fc.property(id, id, fc.array(answer, { minLength: 1 }), (clusterId, memberId, answers) => {
      const encoder = new WatchAnswerEncoder(clusterId, memberId);
      for (const { revision, raftTerm, watchId, events } of answers) {
        for (const each of events) assert.deepEqual(encodedOf(each), Event.encode(each).finish());
        const header = { clusterId, memberId, revision, raftTerm };
        const expected = WatchResponse.encode(WatchResponse.fromPartial({ header, watchId, events })).finish();
        const encoded = events.map(encodedOf);
        assert.deepEqual(whole(encoder.many(revision, raftTerm, watchId, encoded)), expected);
        assert.deepEqual(whole(encoder.many(revision, raftTerm, watchId, encoded)), expected, "once more");
        if (encoded.length > 1) continue;
        for (let again = 0; again < 3; again++) {
          assert.deepEqual(whole(encoder.one(revision, raftTerm, watchId, encoded[0]!)), expected, `call ${again}`);
        }
      }
    }),
  );
});

test("the same changes for many watchers are one body", () => {
  const encoder = new WatchAnswerEncoder(1n, 2n);
  const events = [1, 2, 3].map((byte) => encodeEvent(false, Uint8Array.of(byte), undefined));
  assert.equal(encoder.one(5, 2, 0, events[0]!).body, events[0]);
  assert.equal(encoder.one(5, 2, 1, events[0]!).body, events[0]);
  const repeated = encoder.one(5, 2, 1, events[0]!);
  assert.equal(repeated.head.length, 0);
  assert.equal(encoder.one(5, 2, 1, events[0]!), repeated);
  assert.equal(encoder.one(5, 2, 1, events[1]!).body, events[1]);
  const { body } = encoder.many(5, 2, 0, events);
  assert.equal(encoder.many(5, 2, 1, events).body, body);
  assert.equal(encoder.many(6, 2, 2, events).body, body);
  const part = encoder.many(6, 2, 2, events, 0, 2, true);
  assert.deepEqual(part.body, body.subarray(0, part.body.length));
  assert.ok(part.body.length < body.length);
  assert.deepEqual(encoder.many(5, 2, 0, events).body, body);
  assert.deepEqual(encoder.many(5, 2, 0, events.slice(1)).body, body.subarray(body.length - part.body.length));
});

const pairOf = (length: number): Uint8Array =>
  encodeKeyValue({
    key: Uint8Array.of(1),
    createRevision: 0,
    modRevision: 0,
    version: 0,
    value: new Uint8Array(length),
    lease: 0n,
  });

test("fragments stay below the limit unless one event is larger, and are whole together", () => {
  const sizes = fc.array(fc.nat(60), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(sizes, fc.integer({ min: 1, max: 200 }), (lengths, bytesMax) => {
      const encoder = new WatchAnswerEncoder(1n, 2n);
      const events = lengths.map((length, i) => encodeEvent(i % 2 === 1, pairOf(length), undefined));
      const answers = Array.from(encoder.fragments(9, 2, 3, events, bytesMax), whole);
      const parts = answers.map((bytes) => WatchResponse.decode(bytes));
      assert.deepEqual(
        parts.flatMap(({ events }) => events.map((event) => Event.encode(event).finish())),
        WatchResponse.decode(whole(encoder.many(9, 2, 3, events))).events.map((event) => Event.encode(event).finish()),
      );
      for (const [i, part] of parts.entries()) {
        assert.equal(part.fragment, i < parts.length - 1);
        assert.ok(part.events.length === 1 || answers[i]!.length < bytesMax, `${answers[i]!.length} of ${bytesMax}`);
      }
    }),
  );
});
