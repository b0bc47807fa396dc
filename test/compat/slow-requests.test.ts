/** With a bound of no time at all every request is slow: etcd and Walnut tell the same of each. */
import assert from "node:assert/strict";
import test from "node:test";
import { etcd, skipReason, underTest } from "../support/binaries.js";
import type { Method } from "../support/client.js";
import type { Message } from "../support/messages.js";
import { Stage } from "../support/servers.js";

const bytes = (text: string): Uint8Array => Buffer.from(text);
const put = (key: string, value: string): Message => ({ key: bytes(key), value: bytes(value) });

/** Each is waited for before the next is asked, so that it is alone in its batch. */
const REQUESTS: readonly (readonly [Method, Message])[] = [
  ["Put", put("a", "some value")],
  ["Put", { ...put('q"uote\n', "é"), prev_kv: true }],
  ["LeaseGrant", { TTL: 100, ID: 77 }],
  ["Put", { ...put("leased", "x"), lease: 77 }],
  ["Range", { key: bytes("a") }],
  ["Range", { key: bytes("a"), range_end: bytes("z"), limit: 1 }],
  ["Range", { key: bytes("a"), range_end: bytes("z"), sort_order: 2, sort_target: 4, count_only: true }],
  ["Range", { key: bytes("a"), revision: 2, serializable: true }],
  ["Txn", { success: [{ request_range: { key: bytes("a") } }] }],
  [
    "Txn",
    {
      compare: [
        { key: bytes("a"), target: 0, result: 1, version: 3 },
        { key: bytes("a"), target: 3, result: 0, value: bytes("secret") },
        { key: bytes("a"), target: 1, result: 2, create_revision: 9, range_end: bytes("b") },
      ],
      success: [{ request_put: put("a", "b") }],
      failure: [
        { request_delete_range: { key: bytes("b"), prev_kv: true } },
        { request_txn: { success: [{ request_put: put("c", "d") }] } },
      ],
    },
  ],
  ["DeleteRange", { key: bytes("a"), range_end: bytes("b") }],
  ["LeaseRevoke", { ID: 77 }],
  ["Compact", { revision: 2 }],
];

interface Told {
  readonly prefix: unknown;
  readonly request: string;
}

/** The request of each line, IDs masked. Of v2 requests, which a member makes for itself, each has its own form. */
function toldOf(log: readonly string[]): Told[] {
  return log
    .filter((line) => line.startsWith("{") && line.includes('"apply request took too long"'))
    .map((line) => JSON.parse(line) as { readonly prefix: unknown; readonly request: string })
    .filter(({ request }) => /^(header:|key:|compare:)/.test(request))
    .map(({ prefix, request }) => ({ prefix, request: request.replace(/ID:\d{6,}/, "ID:…") }));
}

test("what is slow is told with the requests, prefixes and fields of etcd", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  const told: Told[][] = [];
  for (const binary of [etcd("newest"), underTest()]) {
    const server = await stage.start(binary, await stage.seat(), {
      flags: ["--experimental-warning-apply-duration=1ns"],
    });
    for (const [method, request] of REQUESTS) await server.client.call(method, request);
    const metrics = await (await fetch(`http://${server.address}/metrics`)).text();
    const counted = Number(/^etcd_server_slow_apply_total (\d+)/m.exec(metrics)?.[1]);
    await server.stop();
    assert.ok(counted >= REQUESTS.length, `${binary.name} counted ${counted}`);
    told.push(toldOf(server.log));
  }
  assert.deepEqual(told[1], told[0]);
});
