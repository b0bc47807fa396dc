/**
 * Watches against real etcd: the same script of requests on both sides, and the same answers, word for word but for cluster, member and
 * term.
 *
 * Answers are compared watcher by watcher, for the order between watchers is nobody's promise. Where etcd's own releases differ, the script
 * is compared with 3.5.30, whose behaviour is served.
 */
import assert from "node:assert/strict";
import test, { before, type TestContext } from "node:test";
import { etcd, skipReason, underTest, type ServerBinary } from "../support/binaries.js";
import type { EtcdClient } from "../support/client.js";
import { describeMessage, type Message } from "../support/messages.js";
import { Stage } from "../support/servers.js";
import { chooseSeed } from "../support/random.js";
import { eventsOf, type WatchStream } from "../support/watch-stream.js";
import { compareFreshWatches, describeComparison } from "./watch-differential.js";

const skip = skipReason();
const text = (value: string): Uint8Array => Buffer.from(value, "latin1");
const FROM_KEY = Uint8Array.of(0);

/** A script: what it says on a fresh stream of a server, and what it waits for. */
interface Script {
  readonly title: string;
  /** Releases of etcd whose answers are the same. */
  readonly with?: "3.5.30 only";
  readonly play: (scene: Scene) => Promise<void>;
}

/** A script's view of one server. Keys begin with the script's own prefix, and revisions are counted from its beginning. */
class Scene {
  readonly client: EtcdClient;
  readonly stream: WatchStream;
  readonly prefix: string;
  /** The store's revision when the script began. */
  readonly base: number;
  /** What is compared beside the answers. */
  readonly notes: string[] = [];
  readonly #more: WatchStream[] = [];

  constructor(client: EtcdClient, prefix: string, base: number) {
    this.client = client;
    this.prefix = prefix;
    this.base = base;
    this.stream = client.watch();
  }

  key(name: string): Uint8Array {
    return text(this.prefix + name);
  }

  /** The range of all of the script's keys. */
  get all(): Message {
    return { key: text(this.prefix), range_end: text(`${this.prefix.slice(0, -1)}0`) };
  }

  put(name: string, value: string): Promise<number> {
    return this.client.put(this.key(name), value);
  }

  async delete(name: string): Promise<void> {
    await this.client.call("DeleteRange", { key: this.key(name) });
  }

  /** Creates a watcher, and waits for the word that it was. */
  async created(request: Message, stream = this.stream): Promise<void> {
    const before = stream.answers.filter(({ created }) => created === true).length;
    stream.create(request);
    await stream.until(
      (answers) => answers.filter(({ created }) => created === true).length > before,
      "the watcher was created",
    );
  }

  open(fields?: Readonly<Record<string, string>>): WatchStream {
    const stream = this.client.watch(fields);
    this.#more.push(stream);
    return stream;
  }

  /** All that came, by stream and watcher. */
  shown(): string {
    const lines: string[] = [...this.notes];
    for (const [number, stream] of [this.stream, ...this.#more].entries()) {
      const byWatcher = new Map<number, Message[]>();
      for (const answer of stream.answers) {
        const id = Number(answer["watch_id"] ?? 0);
        byWatcher.set(id, [...(byWatcher.get(id) ?? []), answer]);
      }
      for (const [id, answers] of [...byWatcher].sort(([a], [b]) => a - b)) {
        lines.push(`stream ${number} watcher ${id}`, ...answers.map((answer) => `  ${this.#answer(answer)}`));
      }
    }
    return lines.join("\n");
  }

  #answer(answer: Message): string {
    const { header, events: _, compact_revision: compacted, ...rest } = answer;
    const { revision } = (header ?? {}) as Message;
    const events = eventsOf(answer).map((event) => `    ${describeMessage(relative(event, this.base))}`);
    const told = compacted === undefined ? "" : ` compacted +${Number(compacted) - this.base}`;
    const at = revision === undefined ? "none" : `+${Number(revision) - this.base}`;
    return [`@${at}${told} ${describeMessage(rest)}`, ...events].join("\n");
  }

  close(): void {
    for (const stream of [this.stream, ...this.#more]) stream.close();
  }
}

/** Revisions counted from the script's beginning. */
function relative(message: Message, base: number): Message {
  const fields = Object.entries(message).map(([name, value]) => {
    if (name.endsWith("_revision")) return [name, Number(value) - base];
    if (name === "kv" || name === "prev_kv") return [name, relative(value as Message, base)];
    return [name, value];
  });
  return Object.fromEntries(fields) as Message;
}

const SCRIPTS: readonly Script[] = [
  {
    title: "one key: puts and a deletion, as they happen",
    play: async (s) => {
      await s.created({ key: s.key("a") });
      await s.put("a", "1");
      await s.put("b", "1");
      await s.put("a", "2");
      await s.delete("a");
      await s.delete("a");
      await s.put("a", "3");
      await s.stream.events(4);
    },
  },
  {
    title: "ranges, a prefix, everything from a key on",
    play: async (s) => {
      await s.created({ key: s.key("b"), range_end: s.key("d") });
      await s.created({ ...s.all });
      await s.created({ key: s.key("c"), range_end: FROM_KEY });
      for (const name of ["a", "b", "c", "d", "e"]) await s.put(name, name);
      await s.stream.events(2 + 5 + 3);
    },
  },
  {
    title: "the empty key is the first key; alone, and with a range end",
    play: async (s) => {
      await s.created({});
      await s.created({ range_end: FROM_KEY });
      await s.created({ range_end: s.key("b") });
      await s.created({ key: FROM_KEY });
      await s.client.put("\0", "first");
      await s.put("a", "1");
      await s.put("c", "1");
      await s.stream.events(2 + 3 + 2);
    },
  },
  {
    title: "a transaction comes whole, and in its order",
    play: async (s) => {
      await s.put("gone", "1");
      await s.created({ ...s.all, prev_kv: true });
      const put = (name: string): Message => ({ request_put: { key: s.key(name), value: text(name) } });
      const success = [put("z"), { request_delete_range: { key: s.key("gone") } }, put("a")];
      await s.client.call("Txn", { success });
      await s.client.call("Txn", { success: [put("a"), put("z"), { request_txn: { success: [put("m")] } }] });
      await s.stream.events(6);
    },
  },
  {
    title: "a range that is deleted comes in the order of the keys, with what was there",
    play: async (s) => {
      for (const name of ["c", "a", "b"]) await s.put(name, name);
      await s.created({ ...s.all, prev_kv: true });
      await s.client.call("DeleteRange", { ...s.all });
      await s.stream.events(3);
    },
  },
  {
    title: "history first, then what happens",
    play: async (s) => {
      for (let i = 0; i < 5; i++) await s.put(`k${i % 2}`, String(i));
      await s.delete("k0");
      for (const start of [1, 3, 6]) {
        await s.created({ ...s.all, start_revision: s.base + start });
        await s.created({ ...s.all, start_revision: s.base + start, prev_kv: true });
      }
      await s.stream.events(2 * (6 + 4 + 1));
      await s.put("k1", "end");
      await s.stream.events(2 * (6 + 4 + 1) + 6);
    },
  },
  {
    title: "from a future revision on nothing earlier comes",
    play: async (s) => {
      await s.created({ key: s.key("a"), start_revision: s.base + 3 });
      await s.created({ key: s.key("a") });
      for (let i = 1; i <= 4; i++) await s.put("a", String(i));
      await s.stream.events(4 + 2);
    },
  },
  {
    title: "kinds of event that are filtered, from now on and out of history",
    play: async (s) => {
      await s.put("a", "1");
      await s.delete("a");
      for (const filters of [[0], [1], [0, 1], [7]]) {
        await s.created({ ...s.all, filters });
        await s.created({ ...s.all, filters, start_revision: s.base + 1 });
      }
      await s.stream.events(1 + 1 + 0 + 2);
      await s.put("a", "2");
      await s.delete("a");
      await s.stream.events(4 + 2 + 2 + 0 + 4);
    },
  },
  {
    title: "numbers that the server chooses and the client does; one that is taken; a cancelled one is free again",
    play: async (s) => {
      for (const watch_id of [0, 5, 5, 1, 0, 0, -3]) await s.created({ key: s.key("a"), watch_id });
      s.stream.cancel(5);
      await s.stream.until(
        (answers) => answers.some(({ canceled, created }) => canceled && !created),
        "one is cancelled",
      );
      s.stream.cancel(99);
      await s.created({ key: s.key("a"), watch_id: 5 });
      await s.put("a", "1");
      await s.stream.events(6);
    },
  },
  {
    title: "ranges that hold nothing",
    play: async (s) => {
      await s.created({ key: s.key("b"), range_end: s.key("a") });
      await s.created({ key: s.key("b"), range_end: s.key("b") });
      await s.created({ key: s.key("b"), range_end: s.key("a"), watch_id: 4 });
      await s.created({ key: s.key("b") });
      await s.put("b", "1");
      await s.stream.events(1);
    },
  },
  {
    title: "a compacted revision: created, then cancelled; the number stays taken until the client cancels it",
    play: async (s) => {
      for (let i = 1; i <= 5; i++) await s.put("a", String(i));
      await s.client.call("Compact", { revision: s.base + 4, physical: true });
      await s.created({ key: s.key("a"), start_revision: s.base + 2, watch_id: 9, prev_kv: true });
      await s.stream.until(
        (answers) => answers.some(({ compact_revision }) => compact_revision !== undefined),
        "the end",
      );
      await s.created({ key: s.key("a"), start_revision: s.base + 4, watch_id: 9 });
      s.stream.cancel(9);
      await s.stream.until((answers) => answers.filter(({ canceled }) => canceled).length >= 3, "one is cancelled");
      await s.created({ key: s.key("a"), start_revision: s.base + 4, watch_id: 9, prev_kv: true });
      await s.stream.events(2);
    },
  },
  {
    title: "what was there before is not told where it is compacted",
    play: async (s) => {
      for (let i = 1; i <= 4; i++) await s.put("a", String(i));
      await s.client.call("Compact", { revision: s.base + 2, physical: true });
      await s.created({ key: s.key("a"), start_revision: s.base + 2, prev_kv: true });
      await s.stream.events(3);
    },
  },
  {
    title: "progress on request, for all watchers of the stream; none without watchers",
    play: async (s) => {
      s.stream.requestProgress();
      await s.created({ key: s.key("a") });
      await s.created({ key: s.key("b") });
      await s.put("c", "1");
      s.stream.requestProgress();
      await s.stream.until((answers) => answers.some(({ watch_id }) => watch_id === -1), "progress");
      await s.put("a", "1");
      await s.stream.events(1);
      s.stream.requestProgress();
      await s.stream.until((answers) => answers.filter(({ watch_id }) => watch_id === -1).length >= 2, "progress");
    },
  },
  {
    title: "no progress before the first revision of a watcher",
    with: "3.5.30 only",
    play: async (s) => {
      await s.created({ key: s.key("a"), start_revision: s.base + 2 });
      for (const name of ["b", "a"]) {
        s.stream.requestProgress();
        await s.created({ key: s.key("other") }); // by then the request before it was looked at
        await s.put(name, "1");
      }
      await s.stream.events(1);
      s.stream.requestProgress();
      await s.stream.until((answers) => answers.some(({ watch_id }) => watch_id === -1), "progress");
    },
  },
  {
    title: "a negative revision",
    with: "3.5.30 only",
    play: async (s) => {
      await s.created({ key: s.key("a"), start_revision: -1 });
      await s.created({ key: s.key("b"), range_end: s.key("a"), start_revision: -7, watch_id: 3 });
      await s.created({ key: s.key("a") });
      await s.put("a", "1");
      await s.stream.events(1);
    },
  },
  {
    title: "an answer that is too large for one message comes in fragments to who takes them",
    play: async (s) => {
      const value = "x".repeat(700_000);
      for (let i = 0; i < 6; i++) await s.put(`k${i}`, value);
      await s.created({ ...s.all, prev_kv: true, fragment: true });
      await s.created({ ...s.all, prev_kv: true });
      await s.client.call("DeleteRange", { ...s.all });
      await s.stream.events(12);
      // The values themselves are not worth a picture.
      for (const answer of s.stream.answers) {
        for (const event of eventsOf(answer)) {
          const previous = event["prev_kv"] as Record<string, unknown>;
          previous["value"] = `${(previous["value"] as Uint8Array).length} bytes`;
        }
      }
    },
  },
  {
    title: "requests of no kind are passed over; a client that has said its last still listens",
    play: async (s) => {
      s.stream.send({});
      await s.created({ key: s.key("a") });
      s.stream.endRequests();
      await s.put("a", "1");
      await s.stream.events(1);
    },
  },
  {
    title: "bytes that are no request end the stream",
    play: async (s) => {
      s.stream.sendBytes(Uint8Array.of(0x0a, 0x05, 0x01));
      s.notes.push((await s.stream.end()).replace(/^(\d+ grpc: failed to unmarshal).*/, "$1"));
    },
  },
  {
    title: "a client that insists on a leader gets its stream where there is one",
    play: async (s) => {
      const stream = s.open({ hasleader: "true" });
      await s.created({ key: s.key("a") }, stream);
      await s.put("a", "1");
      await stream.events(1);
    },
  },
];

/** Plays a script on a server and gives what was seen. */
async function shownOf(script: Script, number: number, client: EtcdClient): Promise<string> {
  const scene = new Scene(client, `script-${number}/`, await client.revision());
  try {
    await script.play(scene);
    return scene.shown();
  } finally {
    scene.close();
  }
}

let binaries: readonly ServerBinary[] = [];
before(() => {
  if (skip === false) binaries = [etcd("3.5.16"), etcd("newest"), underTest()];
});

test("watches are answered as etcd answers them", { skip }, async (t: TestContext) => {
  const stage = Stage.for(t);
  const servers = await Promise.all(binaries.map(async (binary) => stage.start(binary, await stage.seat())));
  const [older, newest, tested] = servers.map(({ client }) => client) as [EtcdClient, EtcdClient, EtcdClient];
  for (const [number, script] of SCRIPTS.entries()) {
    await t.test(script.title, async () => {
      const shown = await Promise.all([newest, tested, older].map((client) => shownOf(script, number, client)));
      assert.ok(shown[0]!.includes("watcher") || shown[0] !== "", "the script shows something");
      assert.equal(shown[1], shown[0]);
      if (script.with === undefined) assert.equal(shown[2], shown[0], "3.5.16 answers as 3.5.30 does");
    });
  }
});

test("progress is told now and then where the flag says so", { skip }, async (t: TestContext) => {
  const stage = Stage.for(t);
  const flags = ["--experimental-watch-progress-notify-interval", "200ms"];
  const servers = await Promise.all(binaries.map(async (binary) => stage.start(binary, await stage.seat(), { flags })));
  const shown = await Promise.all(
    servers.map(async ({ client }) => {
      const stream = client.watch();
      try {
        stream.create({ key: text("a"), progress_notify: true });
        stream.create({ key: text("a") });
        await stream.until((answers) => answers.filter(({ created }) => created).length === 2, "both are created");
        await client.put("b", "1");
        const isProgress = (answer: Message): boolean =>
          answer["created"] === undefined && eventsOf(answer).length === 0;
        const revisionOf = ({ header }: Message): number => Number((header as Message)["revision"]);
        await stream.until(
          (answers) => answers.filter((answer) => isProgress(answer) && revisionOf(answer) === 2).length >= 2,
          "progress was told twice",
        );
        const told = stream.answers.filter((answer) => isProgress(answer) && revisionOf(answer) === 2);
        return told.slice(0, 2).map((answer) => describeMessage({ ...answer, header: undefined }));
      } finally {
        stream.close();
      }
    }),
  );
  assert.deepEqual(shown[2], shown[1]);
  assert.deepEqual(shown[0], shown[1]);
});

test("random writes and watch requests tell watchers the same on both sides", { skip }, async (t: TestContext) => {
  const seed = chooseSeed(process.env["WALNUT_SEED"]);
  const requests = Number(process.env["WALNUT_REQUESTS"] ?? 1_000);
  const result = await compareFreshWatches({ seed, requests }, etcd("newest"), underTest());
  t.diagnostic(describeComparison(result));
  assert.ok(result.events > requests / 10, "watchers were told something");
  assert.ok(result.refused > 0, "mistakes were among the requests");
});
