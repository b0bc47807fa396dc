/** From JSON to a message's bytes and back. What is right, and the words for what is wrong, are real etcd's: see `test/compat/gateway.test.ts`. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { messageType, METHOD_PATHS, methodOf } from "../proto/descriptors.js";
import { AlarmResponse, RangeRequest, RangeResponse, TxnRequest, TxnResponse } from "../proto/index.js";
import { JsonError, JsonReader, type JsonDocument } from "./json-reader.js";
import { messageFromJson } from "./json-to-message.js";
import { jsonInSlices, jsonOf } from "./message-to-json.js";
import { GATEWAY_ROUTES } from "./routes.js";

const parse = (text: string | Uint8Array): JsonDocument | undefined => new JsonReader(Buffer.from(text)).last();
const message = (name: string, text: string | Uint8Array): Uint8Array =>
  messageFromJson(messageType(`etcdserverpb.${name}`), parse(text)!);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof JsonError, String(error));
    return error.detail;
  }
  return assert.fail("it was taken");
}

test("every path of the gateway is a call of the definitions, and every call that etcd gives one has a path", () => {
  const served = new Set([...GATEWAY_ROUTES.values()].map(({ path }) => path));
  for (const path of served) assert.ok(METHOD_PATHS.includes(path), path);
  assert.deepEqual(
    METHOD_PATHS.filter((path) => !served.has(path) && !path.startsWith("/grpc.")),
    ["/etcdserverpb.KV/RangeStream"],
  );
});

test("a request goes by the names of its fields, and by those in camel case; what is unknown is passed over", () => {
  const expected = hex(
    RangeRequest.encode(
      RangeRequest.create({ key: Buffer.from("a"), rangeEnd: Buffer.from("b?"), limit: 30, sortOrder: 2 }),
    ).finish(),
  );
  for (const text of [
    '{"key":"YQ==","range_end":"Yj8=","limit":"30","sort_order":"DESCEND"}',
    ' {"sortOrder":2,"limit":3e1,"rangeEnd":"Yj8","key":"YQ"} and more that nobody looks at',
    '{"nothing":{"like":["it",{"\\u0061":null}]},"key":"Y\\u0051==","limit":"30.0","range_end":"Yj8=","sortOrder":2.0}',
  ]) {
    const { key, rangeEnd, limit, sortOrder } = RangeRequest.decode(message("RangeRequest", text));
    assert.equal(
      hex(RangeRequest.encode(RangeRequest.create({ key, rangeEnd, limit, sortOrder })).finish()),
      expected,
      text,
    );
  }
});

test("null is a field that is left out, and a name that an enum does not have stands for none", () => {
  const text = '{"key":"YQ==","limit":null,"sort_order":"SIDEWAYS","sort_target":"MOD"}';
  assert.equal(hex(message("RangeRequest", text)), "0a01613003");
});

test("of a oneof a zero is told, elsewhere it is left out", () => {
  const { compare } = TxnRequest.decode(message("TxnRequest", '{"compare":[{"key":"YQ==","version":"0"}]}'));
  assert.deepEqual(compare[0]!.targetUnion, { $case: "version", value: 0 });
  assert.equal(hex(message("RangeRequest", '{"limit":0,"serializable":false,"key":""}')), "");
});

test("what is wrong is told in real etcd's words, with its place", () => {
  const told: readonly (readonly [name: string, text: string | Uint8Array, words: string])[] = [
    ["RangeRequest", "{", "unexpected EOF"],
    ["RangeRequest", '{"key":"YQ=="', "unexpected EOF"],
    ["RangeRequest", "{key:1}", "invalid character 'k' looking for beginning of object key string"],
    ["RangeRequest", '{"a":1,}', "invalid character '}' looking for beginning of object key string"],
    ["RangeRequest", "{'a':1}", "invalid character '\\'' looking for beginning of object key string"],
    ["RangeRequest", '{"a" 1}', "invalid character '1' after object key"],
    ["RangeRequest", '{"a":1 "b"}', "invalid character '\"' after object key:value pair"],
    ["RangeRequest", "[1 2]", "invalid character '2' after array element"],
    ["RangeRequest", '{"a":tru}', "invalid character '}' in literal true (expecting 'e')"],
    ["RangeRequest", '{"a":-x}', "invalid character 'x' in numeric literal"],
    ["RangeRequest", '{"a":1.}', "invalid character '}' after decimal point in numeric literal"],
    ["RangeRequest", '{"a":1ex}', "invalid character 'x' in exponent of numeric literal"],
    ["RangeRequest", '{"a":00}', "invalid character '0' after object key:value pair"],
    ["RangeRequest", '{"a":"\\x"}', "invalid character 'x' in string escape code"],
    ["RangeRequest", '{"a":"\\u12G4"}', "invalid character 'G' in \\u hexadecimal character escape"],
    ["RangeRequest", '{"a":"\t"}', "invalid character '\\t' in string literal"],
    ["RangeRequest", Buffer.from('{"a":\xc3}', "latin1"), "invalid character 'Ã' looking for beginning of value"],
    ["RangeRequest", "[".repeat(10_001), "invalid character '[' exceeded max depth"],
    ["RangeRequest", "null", "proto: syntax error (line 1:1): unexpected token null"],
    ["RangeRequest", "[]", "proto: syntax error (line 1:1): unexpected token ["],
    ["RangeRequest", '{"key":5}', "proto: (line 1:8): invalid value for bytes field key: 5"],
    ["RangeRequest", '{"key":"Z"}', 'proto: (line 1:8): invalid value for bytes field key: "Z"'],
    ["RangeRequest", '{"key":"Zg="}', 'proto: (line 1:8): invalid value for bytes field key: "Zg="'],
    ["RangeRequest", '{"key":"-+=="}', 'proto: (line 1:8): invalid value for bytes field key: "-+=="'],
    ["RangeRequest", '{"limit":1.5}', "proto: (line 1:10): invalid value for int64 field limit: 1.5"],
    ["RangeRequest", '{"limit":" 1"}', 'proto: (line 1:10): invalid value for int64 field limit: " 1"'],
    ["RangeRequest", '{"limit":1e19}', "proto: (line 1:10): invalid value for int64 field limit: 1e19"],
    ["RangeRequest", '{"limit":[1]}', "proto: (line 1:10): invalid value for int64 field limit: ["],
    ["RangeRequest", '{"sort_order":1.5}', "proto: (line 1:15): invalid value for enum field sortOrder: 1.5"],
    ["RangeRequest", '{"serializable":1}', "proto: (line 1:17): invalid value for bool field serializable: 1"],
    ["RangeRequest", '{"limit":null,"limit":1}', 'proto: (line 1:15): duplicate field "limit"'],
    [
      "RangeRequest",
      '\n\n {"é":\n\n  "é", "limit":"x"}',
      'proto: (line 3:16): invalid value for int64 field limit: "x"',
    ],
    ["RangeRequest", '{"x":"\\ud800"}', "proto: unexpected EOF"],
    [
      "RangeRequest",
      '{"x":"\\ud800 abcdefg"}',
      'proto: syntax error (line 1:6): invalid escape code " abcde" in string',
    ],
    ["RangeRequest", Buffer.from('{"x":"\xff"}', "latin1"), "proto: syntax error (line 1:6): invalid UTF-8 in string"],
    ["MemberRemoveRequest", '{"ID":-1}', "proto: (line 1:7): invalid value for uint64 field ID: -1"],
    ["TxnRequest", '{"compare":{}}', "proto: syntax error (line 1:12): unexpected token {"],
    ["TxnRequest", '{"success":[null]}', "proto: syntax error (line 1:13): unexpected token null"],
    [
      "TxnRequest",
      '{"compare":[{"version":"1","value":"YQ=="}]}',
      'proto: (line 1:28): error parsing "value", oneof etcdserverpb.Compare.target_union is already set',
    ],
  ];
  for (const [name, text, words] of told)
    assert.equal(
      refusal(() => message(name, text)),
      words,
    );
});

test("transactions nest as deep as the codec of their handler goes, and no deeper", () => {
  const nested = (depth: number): string => `${'{"success":[{"request_txn":'.repeat(depth)}{}${"}]}".repeat(depth)}`;
  assert.ok(TxnRequest.decode(message("TxnRequest", nested(140))));
  assert.equal(
    refusal(() => message("TxnRequest", nested(160))),
    "proto: exceeded max recursion depth",
  );
});

test("integers of 64 bits go whole, whatever their form", () => {
  for (const text of ["18446744073709551615", '"18446744073709551615"', "1844674407370955161.5e1"])
    assert.equal(hex(message("MemberRemoveRequest", `{"ID":${text}}`)), "08ffffffffffffffffff01", text);
  assert.equal(hex(message("LeaseRevokeRequest", '{"ID":"-1"}')), "08ffffffffffffffffff01");
  for (const zero of ["0e400", "-0", '"0.0e-400"'])
    assert.equal(hex(message("LeaseRevokeRequest", `{"ID":${zero}}`)), "");
});

test("values that come in pieces are read as if they came at once, one after the other", () => {
  const values = ['{"key":"YQ==","x":[1,-2.5e3,"\\ud83d\\ude00é"]}', '{"ID":7}', "[]", '{"a":{"b":{}}}', "true", '"x"'];
  const text = Buffer.from(values.join("\n "));
  fc.assert(
    fc.property(fc.array(fc.nat(text.length), { maxLength: 8 }), (cuts) => {
      const reader = new JsonReader();
      const found: string[] = [];
      const take = (document: JsonDocument | undefined): boolean => {
        if (document === undefined) return false;
        found.push(Buffer.from(document.text.subarray(document.root.start, document.root.end)).toString());
        return true;
      };
      let at = 0;
      for (const cut of [...cuts, text.length].sort((a, b) => a - b)) {
        reader.push(text.subarray(at, cut));
        at = cut;
        while (take(reader.next()));
      }
      take(reader.last());
      assert.deepEqual(found, values);
    }),
  );
});

test("a reader keeps no more than the value under way", () => {
  const reader = new JsonReader();
  const value = Buffer.from(`{"key":"${"x".repeat(3_000)}"}`);
  for (let i = 0; i < 1_000; i++) {
    reader.push(value);
    assert.ok(reader.next() !== undefined);
    assert.ok(reader.heldBytes < 20_000, `${reader.heldBytes}`);
  }
});

const field = fc.oneof(fc.constant(0), fc.integer({ min: -5, max: 300 }), fc.maxSafeInteger());
const bytes = fc.uint8Array({ maxLength: 40 });

test("a message comes back from its own JSON as it went", () => {
  const request = fc.record({ key: bytes, rangeEnd: bytes, limit: field, revision: field, serializable: fc.boolean() });
  fc.assert(
    fc.property(request, fc.constantFrom<0 | 1 | 2>(0, 1, 2), (parts, sortOrder) => {
      const wire = RangeRequest.encode(RangeRequest.create({ ...parts, sortOrder })).finish();
      assert.equal(hex(message("RangeRequest", jsonOf(messageType("etcdserverpb.RangeRequest"), wire))), hex(wire));
    }),
  );
});

const HEADER = { clusterId: 18446744073709551615n, memberId: 1n, revision: 7, raftTerm: 2 };

test("an answer has the definition's names and order, and leaves out what is zero", () => {
  const kv = {
    key: Buffer.from("k"),
    createRevision: 2,
    modRevision: 3,
    version: 1,
    value: Buffer.from("<v>"),
    lease: -1n,
  };
  const txn = TxnResponse.encode({
    header: HEADER,
    succeeded: true,
    responses: [
      { response: { $case: "responseRange", value: { header: undefined, kvs: [kv], more: false, count: 1 } } },
      { response: { $case: "responseTxn", value: { header: HEADER, succeeded: false, responses: [] } } },
      { response: undefined },
    ],
  }).finish();
  assert.equal(
    jsonOf(messageType("etcdserverpb.TxnResponse"), txn),
    '{"header":{"cluster_id":"18446744073709551615","member_id":"1","revision":"7","raft_term":"2"},"succeeded":true,"responses":[' +
      '{"response_range":{"kvs":[{"key":"aw==","create_revision":"2","mod_revision":"3","version":"1","value":"PHY+",' +
      '"lease":"-1"}],"count":"1"}},' +
      '{"response_txn":{"header":{"cluster_id":"18446744073709551615","member_id":"1","revision":"7","raft_term":"2"}}},{}]}',
  );
  const alarms = AlarmResponse.encode({ header: undefined, alarms: [{ memberID: 1n, alarm: 1 }] }).finish();
  assert.equal(
    jsonOf(messageType("etcdserverpb.AlarmResponse"), alarms),
    '{"alarms":[{"memberID":"1","alarm":"NOSPACE"}]}',
  );
});

test("a large answer is written in slices, and is the same", async () => {
  const kvs = Array.from({ length: 20_000 }, (_, i) => ({
    key: Buffer.from(`key ${i}`),
    createRevision: i,
    modRevision: i,
    version: 1,
    value: Buffer.alloc(40, i),
    lease: 0n,
  }));
  const wire = RangeResponse.encode({ header: HEADER, kvs, more: true, count: 20_000 }).finish();
  const type = messageType("etcdserverpb.RangeResponse");
  let rests = 0;
  const text = await jsonInSlices(type, wire, {
    yield: () => {
      rests++;
      return Promise.resolve();
    },
  });
  assert.ok(text === jsonOf(type, wire));
  assert.ok(rests >= 3, `${rests} rests`);
  assert.equal((JSON.parse(text) as { kvs: unknown[] }).kvs.length, 20_000);
});

test("a method that the definitions do not have is none, whatever an object's own names are", () => {
  assert.equal(methodOf("toString"), undefined);
});
