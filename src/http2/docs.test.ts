/** `docs/formats/http2.md` lists what is asked of a server by section; here it is compared with the cases that run. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { FRAME_HEADER_BYTES } from "./frames.js";
import { HTTP2_LIMITS } from "./limits.js";
import { hex, TestPeer } from "./testing/peer.js";
import { REQUIREMENTS } from "./testing/requirements.js";

const page = readFileSync(join(import.meta.dirname, "..", "..", "..", "docs", "formats", "http2.md"), "utf8");

const rows = page
  .split("\n")
  .map((line) => /^\| (\d[\d.]*) +\| (.+?) +\| (\S+) +\|$/.exec(line))
  .filter((match) => match !== null)
  .map(([, section, what, verdict]) => `${section} ${what} ${verdict}`);

test("the page has every requirement that a case checks, and no other", () => {
  const expected = REQUIREMENTS.map(({ section, what, verdict }) => {
    const end =
      "connection" in verdict
        ? `connection:${verdict.connection}`
        : "stream" in verdict
          ? `stream:${verdict.stream}`
          : "told";
    return `${section} ${what} ${end}`;
  });
  assert.deepEqual(rows, expected);
});

test("the page tells every limit with its value", () => {
  for (const [name, value] of Object.entries(HTTP2_LIMITS)) {
    assert.match(page, new RegExp(`\\| \`${name}\` +\\| ${(value as number).toLocaleString("en-US")} `), name);
  }
});

test("the page's example is a call", () => {
  const blocks = [...page.matchAll(/```hex\n([^`]+)```/g)].map(([, text]) =>
    hex(
      text!
        .split("\n")
        .map((line) => line.replace(/#.*$/, ""))
        .join(""),
    ),
  );
  const [client, server] = blocks;
  assert.ok(client);
  assert.ok(server);
  const peer = new TestPeer();
  peer.connection.takeOutput();
  peer.send(client);
  assert.deepEqual(peer.events, ["request 1 /t.T/Echo", "data 1 \0\0\0\0\u0002hi ended"]);
  assert.equal(peer.fault, undefined);
  const settings = new TestPeer().connection.takeOutput();
  assert.deepEqual(server, settings.slice(0, FRAME_HEADER_BYTES + 24));
});
