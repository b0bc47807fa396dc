/** Header blocks: RFC 7541's own examples, and node's HTTP/2 (nghttp2), which was written elsewhere, on the other side. */
import assert from "node:assert/strict";
import { once } from "node:events";
import http2 from "node:http2";
import { connect, type AddressInfo } from "node:net";
import test from "node:test";
import { Flag, FrameBuffer, FrameReader, FrameType, PREFACE } from "./frames.js";
import { HeaderReader, RequestHeaderWriter, writeLiteral, type HeaderField } from "./hpack.js";

const hex = (text: string): Uint8Array => Buffer.from(text.replaceAll(" ", ""), "hex");
const lines = (fields: readonly HeaderField[]): string[] => fields.map(({ name, value }) => `${name}: ${value}`);

test("RFC 7541's requests with Huffman codes are read (C.4)", () => {
  const reader = new HeaderReader();
  const first = [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"];
  assert.deepEqual(lines(reader.read(hex("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff"))), first);
  assert.deepEqual(lines(reader.read(hex("8286 84be 5886 a8eb 1064 9cbf"))), [...first, "cache-control: no-cache"]);
  assert.deepEqual(lines(reader.read(hex("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf"))), [
    ":method: GET",
    ":scheme: https",
    ":path: /index.html",
    ":authority: www.example.com",
    "custom-key: custom-value",
  ]);
});

test("RFC 7541's answers are read with a table that forgets (C.6)", () => {
  const reader = new HeaderReader(256);
  const [date, place] = ["date: Mon, 21 Oct 2013 20:13:21 GMT", "location: https://www.example.com"];
  const first = hex(
    "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
  );
  assert.deepEqual(lines(reader.read(first)), [":status: 302", "cache-control: private", date, place]);
  assert.deepEqual(lines(reader.read(hex("4883 640e ffc1 c0bf"))), [
    ":status: 307",
    "cache-control: private",
    date,
    place,
  ]);
  // ":status: 302" was the oldest and had to go for ":status: 307".
  assert.throws(() => reader.read(hex("c2")), /names entry 66/);
});

test("the generation stays while the table does", () => {
  const reader = new HeaderReader();
  reader.read(hex("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff"));
  const { generation } = reader;
  reader.read(hex("8286 84be"));
  assert.equal(reader.generation, generation);
  reader.read(hex("20")); // the table is set to nothing
  assert.notEqual(reader.generation, generation);
  assert.throws(() => reader.read(hex("be")), /names entry 62/);
});

test("blocks that break the rules are refused", () => {
  const refused = (block: string, why: RegExp): void => {
    assert.throws(() => new HeaderReader().read(hex(block)), why, block);
  };
  refused("80", /names entry 0/);
  refused("be", /names entry 62/);
  refused("41", /ends within a field/);
  refused("418c f1e3", /ends within a text/);
  refused("ff ffff ffff ff00", /more than five bytes/);
  refused("3fe2 1f", /sets its table to 4097 bytes/);
  refused("0081 9f81 ff", /ends within a Huffman code/);
  refused("0084 ffff ffff 00", /stands for nothing/);
});

test("what nghttp2 writes is read: every byte that a value may hold, and long values", async () => {
  const printable = Array.from({ length: 0x7f - 0x21 }, (_, i) => String.fromCharCode(0x21 + i)).join("");
  const bytes = Array.from({ length: 0x80 }, (_, i) => String.fromCharCode(0x80 + i)).join("");
  const sent: readonly HeaderField[] = [
    { name: ":status", value: "200" },
    { name: "x-printable", value: printable },
    { name: "x-digits", value: "0123456789".repeat(40) },
    { name: "grpc-message", value: "etcdserver: key is not provided" },
    ...printable.split("").map((character, i) => ({ name: `x-${i}`, value: `aaaaaaaaaaaaaaaa${character}eeeeeeee` })),
    // Rare bytes have long codes: many short ones beside them, so that the whole is shorter when it is coded.
    ...bytes.split("").map((character, i) => ({ name: `y-${i}`, value: `aaaaaaaaaaaaaaaa${character}eeeeeeee` })),
  ];
  for (const block of await blocksOfNode(sent, 3)) {
    assert.deepEqual(lines(block).slice(0, sent.length), lines(sent));
  }
});

/** The fields of `count` answers of node's HTTP/2 server on one connection, as our reader sees them. */
async function blocksOfNode(sent: readonly HeaderField[], count: number): Promise<HeaderField[][]> {
  const server = http2.createServer();
  server.on("stream", (stream) => {
    stream.respond(Object.fromEntries(sent.map(({ name, value }) => [name, value])), { endStream: true });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  const reader = new HeaderReader();
  const blocks: HeaderField[][] = [];
  let parts: Uint8Array[] = [];
  const arrived = new Promise<void>((resolve, reject) => {
    const frames = new FrameReader({
      onData: () => {},
      onFrame: (type, flags, _stream, bytes, start, end) => {
        if (type !== FrameType.headers && type !== FrameType.continuation) return;
        parts.push(bytes.slice(start, end));
        if ((flags & Flag.endHeaders) === 0) return;
        blocks.push(reader.read(Buffer.concat(parts)));
        parts = [];
        if (blocks.length === count) resolve();
      },
    });
    socket.on("error", reject);
    socket.on("data", (chunk: Buffer) => frames.push(chunk, chunk.length));
  });
  const out = new FrameBuffer();
  out.text(PREFACE);
  out.settings({});
  const block = Uint8Array.of(0x82, 0x86, 0x84, 0x01, 1, 0x78); // GET http / and an authority "x"
  for (let i = 0; i < count; i++) out.frame(FrameType.headers, Flag.endHeaders | Flag.endStream, 2 * i + 1, block);
  socket.write(out.written);
  await arrived;
  socket.destroy();
  server.close();
  await once(server, "close");
  return blocks;
}

const COMMON: readonly HeaderField[] = [
  { name: ":method", value: "POST" },
  { name: ":scheme", value: "http" },
  { name: ":authority", value: "127.0.0.1:2379" },
  { name: "content-type", value: "application/grpc" },
  { name: "te", value: "trailers" },
];
const PATHS = ["/etcdserverpb.KV/Range", "/etcdserverpb.KV/Put"];

test("what is written is read as it was meant, whichever path comes when", () => {
  for (const tableBytes of [4096, 0]) {
    const writer = new RequestHeaderWriter(COMMON, PATHS, tableBytes);
    const reader = new HeaderReader();
    for (const turn of [0, 0, 1, 0, 1, 1, 0]) {
      const read = lines(reader.read(writer.next(PATHS[turn]!)));
      assert.deepEqual(read.toSorted(), [...lines(COMMON), `:path: ${PATHS[turn]}`].toSorted());
      assert.ok(
        read.slice(0, 4).every((line) => line.startsWith(":")),
        read.join("\n"),
      );
    }
  }
});

test("a request after the first takes a byte for each field", () => {
  const writer = new RequestHeaderWriter(COMMON, PATHS);
  writer.next(PATHS[0]!);
  assert.equal(writer.next(PATHS[0]!).length, COMMON.length + 1);
});

test("a field without a memory is read", () => {
  const fields = [
    { name: ":status", value: "200" },
    { name: "grpc-status", value: "0" },
  ];
  assert.deepEqual(lines(new HeaderReader().read(Uint8Array.from(fields.flatMap(writeLiteral)))), lines(fields));
});
