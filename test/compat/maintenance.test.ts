/** What stands around the keys is done and said as real etcd does and says it: automatic compaction, downgrades, alarms. */
import assert from "node:assert/strict";
import test from "node:test";
import { etcd, type ServerBinary, skipReason, underTest } from "../support/binaries.js";
import { type EtcdClient, type Method, METHODS } from "../support/client.js";
import { eventually } from "../support/cluster.js";
import { decode, encode, type Message } from "../support/messages.js";
import { runToEnd, type Server, Stage } from "../support/servers.js";

const WITHIN_MS = 60_000;

/** The same play on real etcd and on the server that is judged; what each has to say of it must be equal. */
async function sameAs<Story>(
  stage: Stage,
  flags: readonly string[],
  play: (server: Server, binary: ServerBinary) => Promise<Story>,
): Promise<void> {
  const stories: Story[] = [];
  for (const binary of [etcd("newest"), underTest()]) {
    const server = await stage.start(binary, await stage.seat(), { flags });
    stories.push(await play(server, binary));
    if (server.running) await server.stop();
  }
  assert.deepEqual(stories[1], stories[0]);
}

/** What a call came to, in a form that two servers can share: without IDs, terms and sizes. */
async function verdict(client: EtcdClient, method: Method, request: Message, deadlineMs?: number): Promise<unknown> {
  const { path, request: requestName, response } = METHODS[method];
  const answer = await client.send(path, encode(requestName, request), deadlineMs);
  if (answer.kind === "error") return `${answer.code} ${answer.text}`;
  const { header, alarms, ...rest } = decode(response, answer.bytes);
  const { revision } = (header ?? {}) as Message;
  const raised = (alarms as readonly Message[] | undefined)?.map(({ alarm }) => alarm);
  return { ...rest, revision, ...(raised === undefined ? {} : { alarms: raised }) };
}

const bytes = (text: string): Uint8Array => Buffer.from(text);
const put = (key: string, value = "v"): Message => ({ key: bytes(key), value: bytes(value) });

function lines(server: Server, message: string): readonly Record<string, unknown>[] {
  return server.log
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ msg }) => msg === message);
}

test("history is compacted by itself, and told in etcd's lines", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  await sameAs(stage, ["--auto-compaction-retention=2s"], async (server) => {
    const { client } = server;
    for (let i = 0; i < 20; i++) await client.put("a", String(i));
    const compacted = await eventually("a compaction", WITHIN_MS, async () => {
      const { compactRevision } = await client.hashKV();
      return compactRevision >= 21 ? compactRevision : `it is compacted at ${compactRevision}`;
    });
    const done = await eventually("its line", WITHIN_MS, () =>
      Promise.resolve(lines(server, "completed auto periodic compaction").at(-1) ?? "it is not there"),
    );
    const begun = lines(server, "starting auto periodic compaction").at(-1)!;
    const now = await client.revision();
    const fieldsOf = ({ level, ts: _ts, caller: _caller, ...fields }: Record<string, unknown>): unknown => [
      level,
      ...Object.keys(fields),
    ];
    return { compacted, now, begun: fieldsOf(begun), done: fieldsOf(done), period: done["compact-period"] };
  });
});

test("without the flag nothing is compacted, and revisions are kept by number", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  // A look comes every five minutes, in etcd as here: that both start with it is what can be seen.
  await sameAs(stage, ["--auto-compaction-mode=revision", "--auto-compaction-retention=1"], async ({ client }) => {
    for (let i = 0; i < 3; i++) await client.put("a", String(i));
    return (await client.hashKV()).compactRevision;
  });
});

const VALIDATE = 0;
const ENABLE = 1;
const CANCEL = 2;

/** In this order: a downgrade is begun and cancelled in between. */
const DOWNGRADES: readonly Message[] = [
  ...["", "3", "x", "3.4.x", "3.4-rc", "-3.4", "3.4.0.0", " 3.4", "3.4.0-", "3.4.0-a_b"].map((version) => ({
    version,
  })),
  ...["3.5", "3.3", "3.6.0", "4.4", "2.4.0", "3.5.0"].map((version) => ({ version })),
  ...["3.4", "3.4.0", "3.4.7", "03.04", "3.4.0-rc.1", "3.4.0+build"].map((version) => ({ version })),
  { action: CANCEL },
  { action: CANCEL, version: "nonsense" },
  { action: ENABLE, version: "3.5" },
  { action: ENABLE, version: "x" },
  { action: 3, version: "3.4" },
  { action: -1, version: "3.4" },
  { action: ENABLE, version: "3.4" },
  { action: VALIDATE, version: "3.4" },
  { action: VALIDATE, version: "3.3" },
  { action: ENABLE, version: "3.4" },
  { action: CANCEL, version: "3.3" },
  { action: CANCEL },
  { action: VALIDATE, version: "3.4" },
];

/**
 * etcd 3.5 applies a beginning or an end of a downgrade and forgets to tell whoever waits for it: its answer is a timeout. Walnut's is the
 * answer.
 */
async function downgrade(client: EtcdClient, request: Message): Promise<unknown> {
  const told = await verdict(client, "Downgrade", request);
  const isApplied = told === "14 etcdserver: request timed out" || typeof told === "object";
  return isApplied && (request["action"] ?? VALIDATE) !== VALIDATE ? "applied" : told;
}

/** Resolves when a downgrade could be begun. */
async function versionDecided(client: EtcdClient): Promise<void> {
  await eventually("a cluster version", WITHIN_MS, () => verdict(client, "Downgrade", { version: "3.4" }));
}

async function beginDowngrade(client: EtcdClient): Promise<void> {
  await versionDecided(client);
  assert.equal(await downgrade(client, { action: ENABLE, version: "3.4" }), "applied");
}

test("a downgrade is validated, begun and cancelled as in etcd", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  await sameAs(stage, [], async ({ client }) => {
    await versionDecided(client);
    const told: unknown[] = [];
    for (const request of DOWNGRADES) told.push([request, await downgrade(client, request)]);
    return told;
  });
});

test(
  "while a downgrade is under way a member serves, tells it to others, and does not start again",
  { skip: skipReason() },
  async (t) => {
    const stage = Stage.for(t);
    await sameAs(stage, [], async (server, binary) => {
      const { client, seat } = server;
      await client.put("a", "1");
      await beginDowngrade(client);
      const told = await fetch(`http://127.0.0.1:${seat.peerPort}/downgrade/enabled`);
      const body = await told.text();
      await client.put("a", "2");
      await server.stop();
      const { exit } = await runToEnd(binary, seat);
      return { status: told.status, body, exit };
    });
  },
);

test(
  "a directory on which a downgrade was begun and cancelled goes to etcd and back",
  { skip: skipReason() },
  async (t) => {
    const stage = Stage.for(t);
    const seat = await stage.seat();
    for (const binary of [underTest(), etcd("newest"), underTest(), etcd("newest")]) {
      const server = await stage.start(binary, seat);
      await beginDowngrade(server.client);
      assert.equal(await downgrade(server.client, { action: CANCEL }), "applied");
      await server.client.put("a", binary.name);
      await server.stop();
    }
  },
);

const NOSPACE = 1;
const CORRUPT = 2;
const ACTIVATE = 1;
const DEACTIVATE = 2;

const one = (operation: Message): Message => ({ success: [operation] });

/** Each kind of request, asked while an alarm stands. Leases are granted under a number, so that answers are equal. */
const UNDER_ALARM: readonly (readonly [Method, Message])[] = [
  ["Put", put("b")],
  ["Put", { ...put("b"), key: bytes("") }],
  ["Put", { key: bytes("a"), ignore_value: true }],
  ["Txn", one({ request_put: put("c") })],
  ["Txn", one({ request_range: { key: bytes("a") } })],
  ["Txn", one({ request_delete_range: { key: bytes("nothing") } })],
  ["Txn", one({ request_txn: one({ request_put: put("d") }) })],
  ["Txn", { compare: [{ key: bytes("a"), target: 3, value: bytes("no") }], success: [{ request_put: put("e") }] }],
  ["Range", { key: bytes("a") }],
  ["Range", { key: bytes("a"), serializable: true }],
  ["LeaseGrant", { TTL: 100, ID: 77 }],
  ["LeaseTimeToLive", { ID: 7 }],
  ["LeaseRevoke", { ID: 8 }],
  ["LeaseRevoke", { ID: 99 }],
  ["DeleteRange", { key: bytes("old") }],
  ["Compact", { revision: 2 }],
  ["Alarm", {}],
  ["Alarm", { alarm: NOSPACE }],
  ["Alarm", { alarm: CORRUPT }],
];

for (const [name, alarm] of [
  ["NOSPACE", NOSPACE],
  ["CORRUPT", CORRUPT],
] as const) {
  test(
    `under the alarm ${name} each kind of request is served or refused as in etcd`,
    { skip: skipReason() },
    async (t) => {
      const stage = Stage.for(t);
      await sameAs(stage, [], async (server) => {
        const { client } = server;
        await client.put("a", "1");
        await client.put("old", "1");
        for (const ID of [7, 8]) await client.call("LeaseGrant", { TTL: 100, ID });
        const member = (await client.status()).memberId;
        const told: unknown[] = [];
        const ask = async (method: Method, request: Message): Promise<void> => {
          told.push([method, withoutTime(await verdict(client, method, request))]);
        };
        await ask("Alarm", { action: ACTIVATE, memberID: member, alarm });
        await ask("Alarm", { action: ACTIVATE, memberID: member, alarm });
        for (const [method, request] of UNDER_ALARM) await ask(method, request);
        const health = await fetch(`http://${server.address}/health`);
        told.push(health.status, await health.text());
        await ask("Alarm", { action: DEACTIVATE, memberID: 12345, alarm });
        await ask("Alarm", { action: DEACTIVATE, memberID: member, alarm });
        await ask("Alarm", { action: DEACTIVATE, memberID: member, alarm });
        for (const [method, request] of UNDER_ALARM) await ask(method, request);
        await ask("Alarm", { action: ACTIVATE, memberID: member });
        // An action that there is none of ends etcd itself, so it is not asked for.
        return told;
      });
    },
  );
}

/** A lease's rest depends on the moment. */
function withoutTime(told: unknown): unknown {
  return typeof told === "object" && told !== null && "grantedTTL" in told ? { ...told, TTL: 0 } : told;
}

test(
  "a full db raises NOSPACE by itself, with etcd's refusals; what frees it lets writes in again",
  { skip: skipReason() },
  async (t) => {
    const stage = Stage.for(t);
    const quota = 4 * 1024 * 1024;
    await sameAs(stage, [`--quota-backend-bytes=${quota}`], async (server) => {
      const { client } = server;
      const value = "v".repeat(200_000);
      let refusal: unknown;
      for (let i = 0; refusal === undefined && i < 200; i++) {
        const told = await verdict(client, "Put", put("big", value));
        if (typeof told === "string") refusal = told;
      }
      await eventually("the alarm", WITHIN_MS, async () => {
        const told = (await verdict(client, "Alarm", {})) as { readonly alarms?: readonly unknown[] };
        return told.alarms ?? "none is raised";
      });
      const stands = [
        await verdict(client, "Put", put("small")).then((told) => typeof told === "string" && told),
        await verdict(client, "LeaseGrant", { TTL: 100, ID: 1 }),
        await verdict(client, "Txn", one({ request_put: put("small") })).then(
          (told) => typeof told === "string" && told,
        ),
      ];
      const revision = await client.revision();
      await client.call("Compact", { revision, physical: true });
      await client.call("Defragment", {});
      const member = (await client.status()).memberId;
      await client.call("Alarm", { action: DEACTIVATE, memberID: member, alarm: NOSPACE });
      return { refusal, stands, again: typeof (await verdict(client, "Put", put("small"))) };
    });
  },
);

/** Requests at the edges of `--max-request-bytes=10000` and `--max-txn-ops=4`. */
function edges(): (readonly [Method, Message])[] {
  const puts = (count: number, prefix = "k"): Message[] =>
    Array.from({ length: count }, (_, i) => ({ request_put: put(`${prefix}${i}`) }));
  const compares = (count: number): Message[] =>
    Array.from({ length: count }, (_, i) => ({ key: bytes(`c${i}`), target: 0, version: 0 }));
  const nested = (depth: number): Message =>
    depth === 0 ? one({ request_put: put("n") }) : one({ request_txn: nested(depth - 1) });
  return [
    ["Put", put("a", "v".repeat(9_900))],
    ["Put", put("a", "v".repeat(10_000))],
    ["Put", put("a", "v".repeat(400_000))],
    ["Txn", one({ request_put: put("a", "v".repeat(10_000)) })],
    ["LeaseGrant", { TTL: 100, ID: 1 }],
    ["DeleteRange", { key: bytes("k".repeat(10_000)) }],
    ["Range", { key: bytes("k".repeat(10_000)) }],
    ["Txn", { success: puts(4) }],
    ["Txn", { success: puts(5) }],
    ["Txn", { success: puts(4), failure: puts(5) }],
    ["Txn", { compare: compares(4), success: puts(1) }],
    ["Txn", { compare: compares(5), success: puts(1) }],
    ["Txn", one({ request_txn: { success: puts(3) } })],
    ["Txn", one({ request_txn: { success: puts(4) } })],
    ["Txn", { success: [{ request_txn: { success: puts(2, "x") } }, { request_txn: { success: puts(2, "y") } }] }],
    ["Txn", { success: [{ request_txn: { success: puts(3, "x") } }, { request_txn: { success: puts(2, "y") } }] }],
    ...Array.from({ length: 6 }, (_, depth): [Method, Message] => ["Txn", nested(depth)]),
  ];
}

test("the limits of request size, operations and nesting are etcd's", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  await sameAs(stage, ["--max-request-bytes=10000", "--max-txn-ops=4"], async ({ client }) => {
    const told: unknown[] = [];
    for (const [method, request] of edges()) {
      const answer = await verdict(client, method, request);
      told.push([method, typeof answer === "string" ? answer : (answer as Message)["revision"]]);
    }
    return told;
  });
});

const CHANGED_WITHIN_MS = 20_000;
const peerUrl = (port: number): string => `http://127.0.0.1:${port}`;

/** Changes of a cluster of one member, none of which adds a voter: it would wait for a member that does not come. */
test("members are added, changed and removed on one member with etcd's refusals", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  await sameAs(stage, [], async (server, { family }) => {
    const { client, seat } = server;
    const self = (await client.status()).memberId;
    const told: unknown[] = [];
    const ask = async (method: Method, request: Message): Promise<void> => {
      // etcd answers a change before its raft knows that it is applied, drops the next one that comes before that, and leaves its caller waiting.
      const attempts = family === "etcd" ? 4 : 1;
      let answer: unknown;
      for (let attempt = 1; attempt <= attempts; attempt++) {
        answer = await verdict(client, method, request, CHANGED_WITHIN_MS);
        if (!String(answer).startsWith("4 Deadline exceeded")) break;
      }
      // IDs and ports are chance's.
      told.push([method, typeof answer === "string" ? answer : shapeOf(answer as Message)]);
    };
    await ask("MemberAdd", { peerURLs: [] });
    await ask("MemberAdd", { peerURLs: ["nonsense"] });
    await ask("MemberAdd", { peerURLs: ["http://127.0.0.1"] });
    await ask("MemberAdd", { peerURLs: ["ftp://127.0.0.1:1"] });
    await ask("MemberAdd", { peerURLs: [peerUrl(seat.peerPort)] });
    await ask("MemberAdd", { peerURLs: [peerUrl(seat.peerPort)], isLearner: true });
    const second = (): number => Math.floor(Date.now() / 1_000);
    const began = second();
    await ask("MemberAdd", { peerURLs: [peerUrl(1)], isLearner: true });
    // A member's ID comes of its URLs and the second in which it is added.
    const again = await verdict(client, "MemberAdd", { peerURLs: [peerUrl(1)], isLearner: true });
    const inTheSameSecond = second() === began;
    if (inTheSameSecond || again !== "9 etcdserver: Peer URLs already exists") {
      assert.equal(again, "9 etcdserver: member ID already exist");
    }
    await ask("MemberAdd", { peerURLs: [peerUrl(2)], isLearner: true });
    const members = (await client.call("MemberList", {}))["members"] as readonly Message[];
    const learner = members.find(({ isLearner }) => isLearner === true)!["ID"] as bigint;
    await ask("MemberList", { linearizable: true });
    await ask("MoveLeader", { targetID: learner });
    await ask("MemberRemove", { ID: 12345 });
    await ask("MemberPromote", { ID: learner });
    await ask("MemberPromote", { ID: self });
    await ask("MemberPromote", { ID: 12345 });
    await ask("MemberUpdate", { ID: learner, peerURLs: [peerUrl(seat.peerPort)] });
    await ask("MemberUpdate", { ID: learner, peerURLs: [peerUrl(3)] });
    await ask("MemberPromote", { ID: learner }); // the change of its URLs made it no learner any more, but for raft
    await ask("MemberUpdate", { ID: 12345, peerURLs: [peerUrl(3)] });
    await ask("MoveLeader", { targetID: 12345 });
    await ask("MoveLeader", { targetID: self });
    await ask("MemberRemove", { ID: 12345 });
    await ask("MemberRemove", { ID: learner });
    await ask("MemberRemove", { ID: learner });
    await ask("MemberUpdate", { ID: learner, peerURLs: [peerUrl(4)] });
    await ask("MemberPromote", { ID: learner });
    return told;
  });
});

function shapeOf({ members, member, ...rest }: Message): unknown {
  const shape = (each: Message): unknown => [
    each["name"],
    (each["peerURLs"] as readonly string[]).length,
    each["isLearner"],
  ];
  const all = (members as readonly Message[] | undefined)?.map(shape).map((each) => JSON.stringify(each));
  return { ...rest, members: all?.sort(), member: member === undefined ? undefined : shape(member as Message) };
}
