import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { type FieldBlock, OutgoingFields } from "./fields.js";
import { HpackDecoder, HpackError } from "./hpack-decoder.js";
import { fieldsRoom, HpackEncoder } from "./hpack-encoder.js";
import { DynamicTable, STATIC_TABLE } from "./hpack-table.js";
import { huffmanLength, huffmanTextMax, readHuffman, writeHuffman } from "./huffman.js";
import { ascii, hex, literalBlock } from "./testing/peer.js";

const LIMITS = { tableBytesMax: 4096, listBytesMax: 65_536, fieldsMax: 256 };

const lines = (block: FieldBlock): string[] => block.names.map((name, i) => `${name}: ${block.values[i]!}`);
const decode = (decoder: HpackDecoder, bytes: Uint8Array): FieldBlock => decoder.decode(bytes, 0, bytes.length);

/** RFC 7541, appendix C: each part is one connection; blocks with the lines and the table's size after them. */
const APPENDIX_C: readonly {
  readonly part: string;
  readonly tableBytes?: number;
  readonly blocks: readonly (readonly [bytes: string, lines: readonly string[], tableBytes: number])[];
}[] = [
  {
    part: "C.2.1, a literal line that is indexed",
    blocks: [["400a637573746f6d2d6b65790d637573746f6d2d686561646572", ["custom-key: custom-header"], 55]],
  },
  { part: "C.2.2, one that is not", blocks: [["040c2f73616d706c652f70617468", [":path: /sample/path"], 0]] },
  { part: "C.2.3, one that never is", blocks: [["100870617373776f726406736563726574", ["password: secret"], 0]] },
  { part: "C.2.4, an indexed line", blocks: [["82", [":method: GET"], 0]] },
  {
    part: "C.3, requests without Huffman's code",
    blocks: [
      [
        "828684410f7777772e6578616d706c652e636f6d",
        [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"],
        57,
      ],
      [
        "828684be58086e6f2d6361636865",
        [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com", "cache-control: no-cache"],
        110,
      ],
      [
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        [
          ":method: GET",
          ":scheme: https",
          ":path: /index.html",
          ":authority: www.example.com",
          "custom-key: custom-value",
        ],
        164,
      ],
    ],
  },
  {
    part: "C.4, the same with it",
    blocks: [
      [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"],
        57,
      ],
      [
        "828684be5886a8eb10649cbf",
        [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com", "cache-control: no-cache"],
        110,
      ],
      [
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        [
          ":method: GET",
          ":scheme: https",
          ":path: /index.html",
          ":authority: www.example.com",
          "custom-key: custom-value",
        ],
        164,
      ],
    ],
  },
  {
    part: "C.5, responses in a table of 256 bytes",
    tableBytes: 256,
    blocks: [
      [
        `4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54
         6e1768747470733a2f2f7777772e6578616d706c652e636f6d`,
        [
          ":status: 302",
          "cache-control: private",
          "date: Mon, 21 Oct 2013 20:13:21 GMT",
          "location: https://www.example.com",
        ],
        222,
      ],
      [
        "4803333037c1c0bf",
        [
          ":status: 307",
          "cache-control: private",
          "date: Mon, 21 Oct 2013 20:13:21 GMT",
          "location: https://www.example.com",
        ],
        222,
      ],
      [
        `88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d
         4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31`,
        [
          ":status: 200",
          "cache-control: private",
          "date: Mon, 21 Oct 2013 20:13:22 GMT",
          "location: https://www.example.com",
          "content-encoding: gzip",
          "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        ],
        215,
      ],
    ],
  },
  {
    part: "C.6, the same with Huffman's code",
    tableBytes: 256,
    blocks: [
      [
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        [
          ":status: 302",
          "cache-control: private",
          "date: Mon, 21 Oct 2013 20:13:21 GMT",
          "location: https://www.example.com",
        ],
        222,
      ],
      [
        "4883640effc1c0bf",
        [
          ":status: 307",
          "cache-control: private",
          "date: Mon, 21 Oct 2013 20:13:21 GMT",
          "location: https://www.example.com",
        ],
        222,
      ],
      [
        `88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af
         27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007`,
        [
          ":status: 200",
          "cache-control: private",
          "date: Mon, 21 Oct 2013 20:13:22 GMT",
          "location: https://www.example.com",
          "content-encoding: gzip",
          "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        ],
        215,
      ],
    ],
  },
];

for (const { part, tableBytes = 4096, blocks } of APPENDIX_C) {
  test(`RFC 7541 ${part}: read as the appendix says`, () => {
    const decoder = new HpackDecoder({ ...LIMITS, tableBytesMax: tableBytes });
    for (const [bytes, expected, size] of blocks) {
      assert.deepEqual(lines(decode(decoder, hex(bytes))), expected);
      assert.equal(decoder.tableBytes, size);
    }
  });
}

test("RFC 7541 C.1, numbers over one byte: a table of 1337 bytes holds what fits", () => {
  const decoder = new HpackDecoder(LIMITS);
  decode(decoder, hex("3f9a0a"));
  for (let i = 0; i < 40; i++)
    decode(decoder, hex(`400a637573746f6d2d6b65790d637573746f6d2d6865616465${(0x30 + i).toString(16)}`));
  assert.equal(decoder.tableBytes, Math.floor(1337 / 55) * 55);
});

test("the static table has the appendix's 61 lines", () => {
  assert.equal(STATIC_TABLE.length, 61);
  for (const [i, name, value] of [
    [1, ":authority", ""],
    [8, ":status", "200"],
    [16, "accept-encoding", "gzip, deflate"],
    [31, "content-type", ""],
    [61, "www-authenticate", ""],
  ] as const) {
    assert.deepEqual(STATIC_TABLE[i - 1], [name, value]);
  }
});

test("Huffman's code: every text comes back; lengths are foretold", () => {
  const bytes = fc.uint8Array({ maxLength: 80 });
  fc.assert(
    fc.property(bytes, (bytes) => {
      const text = Buffer.from(bytes).toString("latin1");
      const coded = new Uint8Array(huffmanLength(text) + 8);
      const end = writeHuffman(coded, 0, text);
      assert.equal(end, huffmanLength(text));
      const target = new Uint8Array(huffmanTextMax(end));
      const length = readHuffman(coded, 0, end, target);
      assert.deepEqual(target.slice(0, length), bytes);
    }),
    { numRuns: 500 },
  );
});

test("Huffman's code: each symbol is of the code; padding of a byte, of zeros, and EOS are not", () => {
  const target = new Uint8Array(64);
  for (let symbol = 0; symbol < 256; symbol++) {
    const coded = new Uint8Array(8);
    const end = writeHuffman(coded, 0, String.fromCharCode(symbol));
    assert.equal(readHuffman(coded, 0, end, target), 1);
    assert.equal(target[0], symbol);
  }
  for (const [what, bytes] of [
    ["eight ones", "ff"],
    ["a symbol and eleven ones", "1fff"], // 'a' is 00011
    ["a symbol and zeros", "18"],
    ["EOS", "ffffffff"],
    ["EOS and padding", "fffffffcff"],
  ] as const) {
    assert.equal(readHuffman(hex(bytes), 0, hex(bytes).length, target), -1, what);
  }
});

test("the same bytes give the same object, until the table changes", () => {
  const decoder = new HpackDecoder(LIMITS);
  const first = hex("828684410f7777772e6578616d706c652e636f6d");
  decode(decoder, first);
  const again = hex("828684be");
  const block = decode(decoder, again);
  assert.equal(decode(decoder, again.slice()), block);
  assert.deepEqual(lines(block).at(-1), ":authority: www.example.com");
  decode(decoder, hex("4001610162"));
  assert.deepEqual(lines(decode(decoder, again)).at(-1), "a: b", "index 62 is another line now");
});

test("bytes that are no block are refused, each with its reason", () => {
  const cases: readonly (readonly [bytes: string, reason: RegExp])[] = [
    ["80", /index 0/],
    ["be", /index 62 is beyond the table, which ends at 61/],
    ["ff00", /index 127 is beyond/],
    ["7f00", /beyond the table/],
    ["40", /ends before a text/],
    ["4001", /a text of 1 bytes, where the block has 0 more/],
    ["400561", /a text of 5 bytes, where the block has 1 more/],
    ["ff", /in the midst of a number/],
    ["ff8080", /in the midst of a number/],
    ["ffffffffffff7f", /more than 28 bits/],
    ["3fe21f", /a table of 4097 bytes, where 4096 are allowed/],
    ["8220", /after a field line/],
    ["4081ff0161", /not in Huffman's code/],
  ];
  for (const [bytes, reason] of cases) {
    const decoder = new HpackDecoder(LIMITS);
    assert.throws(
      () => decode(decoder, hex(bytes)),
      (error) => error instanceof HpackError && reason.test(error.detail),
      bytes,
    );
  }
});

test("a change of the table's size stands at a block's beginning, more than once even", () => {
  const decoder = new HpackDecoder(LIMITS);
  decode(decoder, hex("4001610162"));
  assert.deepEqual(lines(decode(decoder, hex("203fe11f82"))), [":method: GET"]);
  assert.equal(decoder.tableBytes, 0);
});

test("lines beyond the limits are not kept, and the table goes on", () => {
  const decoder = new HpackDecoder({ ...LIMITS, listBytesMax: 200 });
  const bomb = Uint8Array.from([0x40, 1, 0x61, 100, ...ascii("b".repeat(100)), 0xbe, 0xbe, 0xbe]);
  const block = decode(decoder, bomb);
  assert.deepEqual([block.overLimit, block.names.length, block.listBytes], [true, 0, 4 * 133]);
  assert.deepEqual(lines(decode(decoder, hex("be"))), [`a: ${"b".repeat(100)}`]);
  const many = new HpackDecoder({ ...LIMITS, fieldsMax: 10 });
  assert.equal(decode(many, new Uint8Array(10).fill(0x82)).overLimit, false);
  assert.equal(decode(many, new Uint8Array(11).fill(0x82)).overLimit, true);
  assert.equal(decode(many, new Uint8Array(40).fill(0x82)).abandoned, false);
  assert.equal(decode(many, new Uint8Array(42).fill(0x82)).abandoned, true);
});

const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,12}$/);
const value = fc.oneof(
  fc.stringMatching(/^[ -~]{0,20}$/),
  fc.constantFrom("200", "0", "application/grpc", "x".repeat(300)),
);
const field = fc.record({
  name: fc.oneof(name, fc.constantFrom(":status", "content-type")),
  value,
  reused: fc.boolean(),
});
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ fields: fc.array(field, { maxLength: 8 }) }) },
  { weight: 1, arbitrary: fc.record({ table: fc.constantFrom(0, 31, 64, 200, 4096, 100_000) }) },
);

test("what the encoder writes is what a decoder reads, whatever the table's size becomes", () => {
  const constants = [
    OutgoingFields.constant([":status", "200"], ["content-type", "application/grpc"]),
    OutgoingFields.constant(["grpc-status", "0"]),
  ];
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const encoder = new HpackEncoder();
      const decoder = new HpackDecoder({ ...LIMITS, listBytesMax: 1_000_000 });
      const check = (fields: OutgoingFields): void => {
        const buffer = new Uint8Array(fieldsRoom(fields));
        const kept = encoder.keptBytes(fields);
        const bytes = kept ?? buffer.slice(0, encoder.write(buffer, 0, fields));
        const expected = fields.fields.map(({ name, value }) => `${name}: ${value}`);
        assert.deepEqual(lines(decode(decoder, bytes)), expected);
      };
      for (const step of steps) {
        if ("table" in step) encoder.limitTable(step.table);
        else {
          check(OutgoingFields.of(...step.fields));
          for (const constant of constants) check(constant);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test("a constant list costs one byte a line once the table knows it", () => {
  const encoder = new HpackEncoder();
  const fields = OutgoingFields.constant([":status", "200"], ["content-type", "application/grpc"]);
  const buffer = new Uint8Array(200);
  encoder.write(buffer, 0, fields);
  assert.equal(encoder.write(buffer, 0, fields), 2);
  assert.deepEqual(encoder.keptBytes(fields), hex("88be"));
});

test("the ring of the table behaves as a list does", () => {
  const operation = fc.oneof(
    { weight: 9, arbitrary: fc.record({ add: fc.tuple(fc.string({ maxLength: 9 }), fc.string({ maxLength: 40 })) }) },
    { weight: 1, arbitrary: fc.record({ resize: fc.integer({ min: 0, max: 700 }) }) },
  );
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 500 }), fc.array(operation, { maxLength: 60 }), (first, operations) => {
      const table = new DynamicTable(first);
      let list: [string, string][] = [];
      let max = first;
      const size = (): number => list.reduce((sum, [name, value]) => sum + name.length + value.length + 32, 0);
      for (const operation of operations) {
        if ("add" in operation) list = [operation.add, ...list];
        else max = operation.resize;
        if ("add" in operation) table.add(...operation.add);
        else table.resize(max);
        while (size() > max) list.pop();
        const found = Array.from({ length: table.count }, (_, i) => [table.nameAt(i), table.valueAt(i)]);
        assert.deepEqual(found, list);
        assert.deepEqual([table.bytes, table.bytesMax], [size(), max]);
      }
    }),
  );
});

test("a decoder survives any bytes: it reads them or says what is wrong", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 5 }), (blocks) => {
      const decoder = new HpackDecoder({ ...LIMITS, tableBytesMax: 128 });
      try {
        for (const bytes of blocks) decode(decoder, bytes);
      } catch (error) {
        assert.ok(error instanceof HpackError);
      }
      assert.ok(decoder.tableBytes <= 128);
    }),
    { numRuns: 2_000 },
  );
});

test("what is asked of a request's lines is told, once and for all that come in the same bytes", () => {
  const flawOf = (...fields: readonly (readonly [string, string])[]): string | undefined =>
    decode(new HpackDecoder(LIMITS), literalBlock(...fields)).requestFlaw;
  const good = [
    [":method", "POST"],
    [":scheme", "http"],
    [":path", "/"],
  ] as const;
  assert.equal(flawOf(...good, ["te", "trailers"], ["x", ""]), undefined);
  assert.equal(flawOf([":method", "CONNECT"], [":authority", "a:1"]), undefined);
  assert.match(flawOf(...good, ["connection", "close"])!, /HTTP\/1\.1/);
});
