/** The examples of docs/formats/peer.md, read by the codecs. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { WireWriter } from "../base/bytes.js";
import { type Message, MessageType } from "../proto/raft.js";
import { AppendDecoder, AppendEncoder } from "./append-stream.js";
import {
  LINK_HEARTBEAT,
  MessageDecoder,
  MessageEncoder,
  type StreamDecoder,
  type StreamEncoder,
} from "./message-stream.js";
import { REPOSITORY } from "./testing/golden.js";

function example(name: string): Uint8Array {
  const page = readFileSync(join(REPOSITORY, "docs/formats/peer.md"), "utf8");
  const block = new RegExp(`\`\`\`hex ${name}\n([^\`]+)\`\`\``).exec(page)?.[1];
  assert.ok(block !== undefined, `docs/formats/peer.md has an example "${name}"`);
  const digits = block.replaceAll(/#.*/g, "").replaceAll(/\s/g, "");
  return Uint8Array.from(digits.match(/../g)!, (pair) => Number.parseInt(pair, 16));
}

function decode(decoder: StreamDecoder, bytes: Uint8Array): Message[] {
  const messages: Message[] = [];
  decoder.push(bytes, (message) => messages.push(message));
  return messages;
}

function encode(encoder: StreamEncoder, messages: readonly Message[]): Uint8Array {
  const writer = new WireWriter();
  for (const message of messages) encoder.encode(writer, message);
  return writer.finish();
}

test("the example of messages reads as it says, and is what the encoder writes", () => {
  const bytes = example("message");
  const messages = decode(new MessageDecoder(1000), bytes);
  const [answer, heartbeat, ...more] = messages;
  assert.equal(answer?.type, MessageType.voteResponse);
  assert.deepEqual([answer.to, answer.from, answer.term, answer.reject], [0xbn, 0xan, 3, false]);
  assert.deepEqual(heartbeat, LINK_HEARTBEAT);
  assert.deepEqual(more, []);
  assert.deepEqual(encode(new MessageEncoder(), messages), bytes);
});

test("the example of appends reads as it says, and is what the encoder writes", () => {
  const bytes = example("append");
  const messages = decode(new AppendDecoder({ local: 0xbn, remote: 0xan }, 1000), bytes);
  const [whole, short, heartbeat, ...more] = messages;
  assert.deepEqual([whole?.index, whole?.commit, whole?.entries[0]?.index], [4, 4, 5]);
  assert.deepEqual([short?.index, short?.commit, short?.entries[0]?.index], [5, 5, 6]);
  assert.deepEqual(short?.entries[0]?.data, Uint8Array.of(0x78));
  assert.deepEqual(heartbeat, LINK_HEARTBEAT);
  assert.deepEqual(more, []);
  assert.deepEqual(encode(new AppendEncoder(), messages), bytes);
});
