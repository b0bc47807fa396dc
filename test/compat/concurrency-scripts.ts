/**
 * Scripts of clients who contend for locks and leadership, and what they are told. Each is played on a fresh name, with leases of its own
 * numbers, so that two servers that do the same tell the same.
 *
 * A script goes on when the store shows that a call has begun to wait, so the order of all is the script's, and revisions are equal.
 */
import type { AnswerStream } from "../support/answer-stream.js";
import type { Answer, BeginOptions, EtcdClient, PendingCall } from "../support/client.js";
import { keyValue } from "../support/client.js";
import { beginCall, messageOf, observe, type ConcurrencyCall } from "../support/concurrency.js";
import { describeMessage, type Message, type Value } from "../support/messages.js";

const bytes = (text: string): Buffer => Buffer.from(text, "latin1");
const hex = (lease: number): string => lease.toString(16);

/** gRPC's numbers of the ends that the client itself tells, in words of its own; past a deadline it is either, as the server's word races. */
const CLIENTS_OWN = new Set([1, 4]);
const LOOK_AGAIN_MS = 5;
const WITHIN_MS = 30_000;

/** A call of a script. */
interface Asked {
  readonly call: ConcurrencyCall;
  readonly pending: PendingCall;
  settled: boolean;
}

/** A server, as a script sees it. */
export interface Served {
  readonly client: EtcdClient;
  readonly address: string;
}

export class Scene {
  readonly client: EtcdClient;
  readonly address: string;
  readonly number: number;
  /** The store's revision when the script began. */
  readonly base: number;
  /** What is compared. */
  readonly notes: string[] = [];
  readonly #asked = new Map<string, Asked>();
  readonly #readers: AnswerStream<Message>[] = [];
  #leases = 0;

  constructor({ client, address }: Served, number: number, base: number) {
    this.client = client;
    this.address = address;
    this.number = number;
    this.base = base;
  }

  /** A name that no other script has. */
  name(text = "x"): Buffer {
    return bytes(`${text}${this.number}`);
  }

  key(lease: number, name = this.name()): Buffer {
    return Buffer.concat([name, bytes(`/${hex(lease)}`)]);
  }

  /** A new lease, numbered by script and order. */
  async lease(seconds = 60): Promise<number> {
    const ID = this.number * 256 + ++this.#leases;
    await this.client.call("LeaseGrant", { ID, TTL: seconds });
    return ID;
  }

  async revoke(lease: number): Promise<void> {
    await this.client.call("LeaseRevoke", { ID: lease });
  }

  /** Asks, and does not wait for the answer. */
  begin(label: string, call: ConcurrencyCall, message: Message, options?: BeginOptions): void {
    const pending = beginCall(this.client, call, message, options);
    const asked: Asked = { call, pending, settled: false };
    this.#asked.set(label, asked);
    void pending.answer.then(() => (asked.settled = true));
  }

  /** Waits for an answer, and notes it. */
  async answer(label: string): Promise<Message | undefined> {
    const { call, pending } = this.#asked.get(label)!;
    const answer = await pending.answer;
    this.#asked.delete(label);
    this.notes.push(`${label}: ${this.#described(call, answer)}`);
    return answer.kind === "response" ? messageOf(call, answer) : undefined;
  }

  /** Notes which of those who cannot have been answered yet were. */
  noteWaiting(...labels: readonly string[]): void {
    for (const label of labels)
      this.notes.push(`${label} ${this.#asked.get(label)!.settled ? "was answered" : "waits"}`);
  }

  /** Asks, and waits for the answer. */
  ask(label: string, call: ConcurrencyCall, message: Message, options?: BeginOptions): Promise<Message | undefined> {
    this.begin(label, call, message, options);
    return this.answer(label);
  }

  cancel(label: string): void {
    this.#asked.get(label)!.pending.cancel();
  }

  /** Asks for a lock that another has, and waits until the caller is in the queue. */
  async queueForLock(
    label: string,
    lease: number,
    options: BeginOptions & { readonly name?: Buffer } = {},
  ): Promise<void> {
    const name = options.name ?? this.name();
    this.begin(label, "Lock", { name, lease }, options);
    await this.untilKey(this.key(lease, name), true);
  }

  async queueForElection(label: string, lease: number, value: string, options?: BeginOptions): Promise<void> {
    this.begin(label, "Campaign", { name: this.name(), lease, value: bytes(value) }, options);
    await this.untilKey(this.key(lease), true);
  }

  /** Looks until a key is there, or is gone. */
  async untilKey(key: Uint8Array, there: boolean): Promise<void> {
    const deadline = Date.now() + WITHIN_MS;
    for (;;) {
      const { count } = await this.client.call("Range", { key, count_only: true });
      if ((count !== undefined) === there) return;
      if (Date.now() > deadline) throw new Error(`${describeMessage(key)} ${there ? "did not come" : "did not go"}`);
      await new Promise((resolve) => void setTimeout(resolve, LOOK_AGAIN_MS));
    }
  }

  async untilValue(key: Uint8Array, value: string): Promise<void> {
    const deadline = Date.now() + WITHIN_MS;
    for (;;) {
      const { kvs = [] } = await this.client.call("Range", { key });
      const found = (kvs as readonly Message[]).map(keyValue)[0];
      if (found !== undefined && Buffer.from(found.value).equals(bytes(value))) return;
      if (Date.now() > deadline) throw new Error(`${describeMessage(key)} did not become ${value}`);
      await new Promise((resolve) => void setTimeout(resolve, LOOK_AGAIN_MS));
    }
  }

  /**
   * Waits until some watch, and all of them have been told everything. etcd looks after new watchers every 100 ms, and whose history is
   * compacted meanwhile loses its wait to it; Walnut looks at the queue again.
   */
  async untilWatched(): Promise<void> {
    const deadline = Date.now() + WITHIN_MS;
    for (;;) {
      const text = await (await fetch(`http://${this.address}/metrics`, { headers: { connection: "close" } })).text();
      const figure = (name: string): number =>
        Number(new RegExp(`^etcd_debugging_mvcc_${name} (\\d+)`, "m").exec(text)?.[1]);
      if (figure("watcher_total") > 0 && figure("slow_watcher_total") === 0) return;
      if (Date.now() > deadline) throw new Error("nobody watches");
      await new Promise((resolve) => void setTimeout(resolve, LOOK_AGAIN_MS));
    }
  }

  observe(name = this.name()): AnswerStream<Message> {
    const reader = observe(this.client, name);
    this.#readers.push(reader);
    return reader;
  }

  /** Notes what an observer was told. */
  noteObserved(label: string, reader: AnswerStream<Message>): void {
    for (const message of reader.answers) {
      this.notes.push(`${label} sees ${this.#shown(message)}`);
    }
  }

  /** Notes all keys that begin with a text. */
  async noteKeys(text: Uint8Array = this.name()): Promise<void> {
    const range_end = Buffer.concat([text, bytes("\xff")]);
    const { kvs = [] } = await this.client.call("Range", { key: text, range_end });
    for (const kv of (kvs as readonly Message[]).map(keyValue)) {
      const { key, value, createRevision, version, lease } = kv;
      const made = createRevision - this.base;
      this.notes.push(
        `${describeMessage(key)} = ${describeMessage(value)} made +${made} version ${version} lease ${lease}`,
      );
    }
    if ((kvs as readonly Message[]).length === 0) this.notes.push("no keys");
  }

  close(): void {
    for (const { pending } of this.#asked.values()) pending.cancel();
    for (const reader of this.#readers) reader.close();
  }

  #described(call: ConcurrencyCall, answer: Answer): string {
    if (answer.kind === "response") return this.#shown(messageOf(call, answer));
    return CLIENTS_OWN.has(answer.code) ? "called off" : `${answer.code} ${answer.text}`;
  }

  #shown(message: Message): string {
    const { header, ...rest } = message;
    const { revision, member_id: member, cluster_id: cluster, raft_term: term } = (header ?? {}) as Message;
    const whole = [member, cluster, term].every((id) => id !== undefined) ? "" : " of an incomplete header";
    return `@${this.#at(revision)}${whole} ${describeMessage(this.#relative(rest))}`;
  }

  #relative(message: Message): Message {
    const fields = Object.entries(message).map(([name, value]): [string, Value] => {
      if (name.endsWith("_revision") || name === "rev") return [name, this.#at(value)];
      if (name === "kv" || name === "leader") return [name, this.#relative(value as Message)];
      return [name, value];
    });
    return Object.fromEntries(fields);
  }

  #at(revision: Value): string {
    return revision === undefined ? "none" : `+${Number(revision) - this.base}`;
  }
}

export interface Script {
  readonly title: string;
  readonly play: (s: Scene) => Promise<void>;
}

export const SCRIPTS: readonly Script[] = [
  {
    title: "a lock that nobody has: taken, taken again by the same lease, given back, given back twice",
    play: async (s) => {
      const lease = await s.lease();
      await s.ask("first", "Lock", { name: s.name(), lease });
      await s.noteKeys();
      await s.ask("again", "Lock", { name: s.name(), lease });
      await s.ask("unlock", "Unlock", { key: s.key(lease) });
      await s.ask("unlock twice", "Unlock", { key: s.key(lease) });
      await s.noteKeys();
      await s.ask("once more", "Lock", { name: s.name(), lease });
    },
  },
  {
    title: "three who want a lock get it in the order in which they came",
    play: async (s) => {
      const leases = [await s.lease(), await s.lease(), await s.lease(), await s.lease()];
      await s.ask("a", "Lock", { name: s.name(), lease: leases[3]! });
      for (const [i, label] of ["b", "c", "d"].entries()) await s.queueForLock(label, leases[i]!);
      s.noteWaiting("b", "c", "d");
      await s.ask("unlock a", "Unlock", { key: s.key(leases[3]!) });
      for (const [i, label] of ["b", "c", "d"].entries()) {
        await s.answer(label);
        s.noteWaiting(...["b", "c", "d"].slice(i + 1));
        await s.ask(`unlock ${label}`, "Unlock", { key: s.key(leases[i]!) });
      }
      await s.noteKeys();
    },
  },
  {
    title: "who gives up while waiting, by hanging up or by a deadline, is out of the queue",
    play: async (s) => {
      const [a, b, c, d] = [await s.lease(), await s.lease(), await s.lease(), await s.lease()] as const;
      await s.ask("a", "Lock", { name: s.name(), lease: a });
      await s.queueForLock("b", b);
      await s.queueForLock("c", c, { deadlineMs: 2_000 });
      await s.queueForLock("d", d);
      s.cancel("b");
      await s.answer("b");
      await s.untilKey(s.key(b), false);
      await s.answer("c");
      await s.untilKey(s.key(c), false);
      await s.noteKeys();
      await s.ask("unlock a", "Unlock", { key: s.key(a) });
      await s.answer("d");
    },
  },
  {
    title: "a lock goes with its lease: revoked, and run out",
    play: async (s) => {
      const [a, b, c] = [await s.lease(), await s.lease(2), await s.lease()] as const;
      await s.ask("a", "Lock", { name: s.name(), lease: a });
      await s.queueForLock("b", b);
      await s.queueForLock("c", c);
      await s.revoke(a);
      await s.answer("b");
      await s.answer("c");
      await s.noteKeys();
    },
  },
  {
    title: "whose lease ends while it waits is told so when its turn comes",
    play: async (s) => {
      const [a, b, c] = [await s.lease(), await s.lease(), await s.lease()] as const;
      await s.ask("a", "Lock", { name: s.name(), lease: a });
      await s.queueForLock("b", b);
      await s.queueForLock("c", c);
      await s.revoke(b);
      await s.ask("unlock a", "Unlock", { key: s.key(a) });
      await s.answer("b");
      await s.answer("c");
    },
  },
  {
    title: "one lease asks twice for a lock that another has: both get it; a key that is taken away out of the queue",
    play: async (s) => {
      const [a, b, c] = [await s.lease(), await s.lease(), await s.lease()] as const;
      await s.ask("a", "Lock", { name: s.name(), lease: a });
      await s.queueForLock("b", b);
      await s.queueForLock("b too", b);
      await s.queueForLock("c", c);
      await s.ask("unlock c", "Unlock", { key: s.key(c) });
      await s.ask("unlock a", "Unlock", { key: s.key(a) });
      await s.answer("b");
      await s.answer("b too");
      s.noteWaiting("c");
      await s.ask("unlock b", "Unlock", { key: s.key(b) });
      await s.answer("c");
    },
  },
  {
    title: "leases that there are none of, and keys that are none",
    play: async (s) => {
      await s.ask("no lease of that number", "Lock", { name: s.name(), lease: 0xbad_bad });
      await s.ask("a negative lease", "Lock", { name: s.name(), lease: -17 });
      await s.ask("unlock of no key", "Unlock", {});
      await s.ask("unlock of a key that is not there", "Unlock", { key: s.name("nothing") });
      await s.ask("campaign", "Campaign", { name: s.name(), lease: 0xbad_bad, value: bytes("v") });
      await s.noteKeys();
    },
  },
  {
    title: "a lease that is made for a lock, and one for an election",
    play: async (s) => {
      const { key: locked } = messageOf("Lock", await beginCall(s.client, "Lock", { name: s.name() }).answer);
      const campaign = { name: s.name("e"), value: bytes("v") };
      const { leader } = messageOf("Campaign", await beginCall(s.client, "Campaign", campaign).answer);
      const { key: led, lease } = leader as Message;
      for (const key of [locked, led] as Uint8Array[]) {
        const [name, digits] = Buffer.from(key).toString("latin1").split("/");
        const ID = BigInt(`0x${digits}`);
        const { grantedTTL } = await s.client.call("LeaseTimeToLive", { ID, keys: true });
        s.notes.push(`${name} has a lease of ${grantedTTL as number} s`);
      }
      s.notes.push(
        `the election's lease is its key's: ${Buffer.from(led as Uint8Array)
          .toString("latin1")
          .endsWith((lease as bigint).toString(16))}`,
      );
    },
  },
  {
    title: "names: none, one that another's begins with, bytes that are no text",
    play: async (s) => {
      const [a, b, c] = [await s.lease(), await s.lease(), await s.lease()] as const;
      await s.ask("no name", "Lock", { lease: a });
      await s.ask("unlock", "Unlock", { key: bytes(`/${hex(a)}`) });
      await s.ask("below", "Lock", { name: Buffer.concat([s.name(), bytes("/y")]), lease: a });
      await s.queueForLock("above", b);
      await s.ask("unlock below", "Unlock", { key: bytes(`${s.name().toString("latin1")}/y/${hex(a)}`) });
      await s.answer("above");
      const name = Buffer.concat([s.name(), Buffer.from([0, 255, 47, 128])]);
      await s.ask("bytes", "Lock", { name, lease: c });
      await s.queueForLock("bytes too", a, { name });
      await s.ask("unlock bytes", "Unlock", { key: s.key(c, name) });
      await s.answer("bytes too");
    },
  },
  {
    title: "others' keys of the same form count",
    play: async (s) => {
      const lease = await s.lease();
      const theirs = Buffer.concat([s.name(), bytes("/theirs")]);
      await s.client.put(theirs, "v");
      await s.queueForLock("a", lease);
      await s.client.put(theirs, "w");
      await s.client.call("DeleteRange", { key: theirs });
      await s.answer("a");
    },
  },
  {
    title: "history is compacted while someone waits",
    play: async (s) => {
      const [a, b] = [await s.lease(), await s.lease()] as const;
      await s.ask("a", "Lock", { name: s.name(), lease: a });
      await s.queueForLock("b", b);
      await s.untilWatched();
      const revision = await s.client.put(s.name("other"), "1");
      await s.client.call("Compact", { revision, physical: true });
      await s.ask("unlock a", "Unlock", { key: s.key(a) });
      await s.answer("b");
    },
  },
  {
    title: "an election: led, proclaimed, resigned, led by the next",
    play: async (s) => {
      const [a, b] = [await s.lease(), await s.lease()] as const;
      await s.ask("nobody leads", "Leader", { name: s.name() });
      const { leader } = (await s.ask("a", "Campaign", { name: s.name(), lease: a, value: bytes("one") }))!;
      await s.ask("a leads", "Leader", { name: s.name() });
      await s.queueForElection("b", b, "two");
      await s.ask("a proclaims", "Proclaim", { leader, value: bytes("uno") });
      await s.ask("a leads still", "Leader", { name: s.name() });
      await s.ask("a resigns", "Resign", { leader });
      const { leader: next } = (await s.answer("b"))!;
      await s.ask("b leads", "Leader", { name: s.name() });
      await s.ask("a resigns twice", "Resign", { leader });
      await s.ask("a proclaims in vain", "Proclaim", { leader, value: bytes("x") });
      await s.ask("b resigns", "Resign", { leader: next });
      await s.ask("nobody leads again", "Leader", { name: s.name() });
      await s.noteKeys();
    },
  },
  {
    title: "a leader and a waiting candidate stand again, with the same value and with another",
    play: async (s) => {
      const [a, b] = [await s.lease(), await s.lease()] as const;
      const again = async (label: string, value: string): Promise<void> => {
        await s.ask(label, "Campaign", { name: s.name(), lease: a, value: bytes(value) });
      };
      await again("a", "one");
      await again("a, the same", "one");
      await again("a, another", "uno");
      await s.queueForElection("b", b, "two");
      await s.queueForElection("b, another", b, "due");
      await s.untilValue(s.key(b), "due");
      await s.ask("a leads", "Leader", { name: s.name() });
      await s.revoke(a);
      await s.answer("b");
      await s.answer("b, another");
      await s.ask("b leads", "Leader", { name: s.name() });
    },
  },
  {
    title: "candidates who hang up, whose deadline passes, or whose lease ends",
    play: async (s) => {
      const leases = [await s.lease(), await s.lease(), await s.lease(), await s.lease(), await s.lease()] as const;
      const [a, b, c, d, e] = leases;
      const { leader } = (await s.ask("a", "Campaign", { name: s.name(), lease: a, value: bytes("a") }))!;
      await s.queueForElection("b", b, "b");
      await s.queueForElection("c", c, "c", { deadlineMs: 2_000 });
      await s.queueForElection("d", d, "d");
      await s.queueForElection("e", e, "e");
      s.cancel("b");
      await s.answer("b");
      await s.untilKey(s.key(b), false);
      await s.answer("c");
      await s.untilKey(s.key(c), false);
      await s.revoke(d);
      await s.ask("a resigns", "Resign", { leader });
      await s.answer("d");
      await s.answer("e");
      await s.noteKeys();
    },
  },
  {
    title: "who speaks for a leader that is none",
    play: async (s) => {
      const a = await s.lease();
      const { leader } = (await s.ask("a", "Campaign", { name: s.name(), lease: a, value: bytes("a") }))!;
      const known = leader as Message;
      const other = await s.lease();
      const wrong: [string, Message][] = [
        ["nothing at all", {}],
        ["no leader", { value: bytes("x") }],
        ["an empty leader", { leader: {} }],
        ["an older one", { leader: { ...known, rev: Number(known["rev"]) - 1 } }],
        ["no revision", { leader: { ...known, rev: 0 } }],
        ["no key of the store", { leader: { ...known, key: s.name("none") } }],
        ["a lease that there is none of", { leader: { ...known, lease: 0xbad_bad } }],
        ["another name", { leader: { ...known, name: bytes("y") } }],
        ["another lease", { leader: { ...known, lease: other } }],
      ];
      for (const [label, message] of wrong) {
        await s.ask(`proclaims: ${label}`, "Proclaim", { ...message, value: bytes("x") });
      }
      await s.noteKeys();
      for (const [label, message] of wrong) {
        const { leader: named } = message;
        await s.ask(`resigns: ${label}`, "Resign", named === undefined ? {} : { leader: named });
      }
      await s.noteKeys();
    },
  },
  {
    title: "a key that was not there is proclaimed into being, with a revision of zero",
    play: async (s) => {
      const lease = await s.lease();
      const leader = { name: s.name(), key: s.key(lease), lease };
      await s.ask("proclaims", "Proclaim", { leader, value: bytes("x") });
      await s.ask("leads", "Leader", { name: s.name() });
    },
  },
  {
    title: "an observer sees who leads and all that each says, over several leaders",
    play: async (s) => {
      const [a, b, c] = [await s.lease(), await s.lease(), await s.lease()] as const;
      const reader = s.observe();
      const { leader } = (await s.ask("a", "Campaign", { name: s.name(), lease: a, value: bytes("a1") }))!;
      await reader.count(1);
      await s.queueForElection("b", b, "b1");
      await s.queueForElection("c", c, "c1");
      for (const [i, value] of ["a2", "a3", ""].entries()) {
        await s.ask(`a says ${value}`, "Proclaim", { leader, value: bytes(value) });
        await reader.count(i + 2);
      }
      await s.ask("a resigns", "Resign", { leader });
      await s.answer("b");
      await reader.count(5);
      await s.revoke(b);
      await s.answer("c");
      await reader.count(6);
      await s.revoke(c);
      const d = await s.lease();
      await s.ask("d", "Campaign", { name: s.name(), lease: d, value: bytes("d1") });
      await reader.count(7);
      s.noteObserved("one", reader);
      const late = s.observe();
      await late.count(1);
      s.noteObserved("who comes late", late);
      s.notes.push(String((await hungUp(late)).startsWith("1 ")));
    },
  },
  {
    title: "an observer of a name sees the keys of longer names, too",
    play: async (s) => {
      const reader = s.observe();
      const key = Buffer.concat([s.name(), bytes("/longer/key")]);
      // It may not watch yet: what it sees first is one of these puts.
      await s.client.put(key, "1");
      await reader.count(1);
      const { kv } = reader.answers[0]!;
      s.notes.push(describeMessage(keyValue(kv as Message).key));
    },
  },
];

async function hungUp(reader: AnswerStream<Message>): Promise<string> {
  reader.close();
  return reader.end();
}
