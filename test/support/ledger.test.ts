/** The ledger that judges servers is judged itself: a store that breaks a promise is told. */
import assert from "node:assert/strict";
import test from "node:test";
import type { EtcdClient } from "./client.js";
import { PutLedger, valueOf } from "./ledger.js";
import type { Message } from "./messages.js";

/** A store that holds what it is told to. */
class FakeStore {
  readonly kvs: Record<string, Message[string]>[] = [];
  revision = 1;

  put(key: string, fields: Message = {}): number {
    const at = ++this.revision;
    const kv = { key: Buffer.from(key), value: Buffer.from(valueOf(key)), create_revision: at, mod_revision: at };
    this.kvs.push({ ...kv, version: 1, ...fields });
    return at;
  }

  get client(): EtcdClient {
    const header = { revision: this.revision };
    const client = {
      revision: async () => Promise.resolve(this.revision),
      call: async (_: string, request: Message) => {
        const from = Number(request["min_mod_revision"]);
        const kvs = this.kvs.filter((kv) => Number(kv["mod_revision"]) >= from);
        return Promise.resolve({ header, kvs });
      },
    };
    return client as unknown as EtcdClient;
  }
}

/** A store and a ledger with two acknowledged puts and one of unknown outcome between them. */
function fixture(): { store: FakeStore; ledger: PutLedger } {
  const store = new FakeStore();
  const ledger = new PutLedger("p/");
  for (const key of ["p/a", "p/unknown", "p/b"]) {
    ledger.attempt(key);
    const revision = store.put(key);
    if (key !== "p/unknown") ledger.acknowledge(key, revision);
  }
  return { store, ledger };
}

test("kept promises are counted, and so is what nobody promised", async () => {
  const { store, ledger } = fixture();
  await ledger.check(store.client, "here");
  await ledger.checkAll(store.client, "here");
  assert.equal(ledger.revision, 4);
  assert.equal(ledger.unacknowledgedKept, 1);
});

test("what is acknowledged after the revision that is looked at waits for the next check", async () => {
  const { store, ledger } = fixture();
  const early = store.client;
  ledger.attempt("p/c");
  ledger.acknowledge("p/c", 5);
  await ledger.check(early, "here");
  await assert.rejects(ledger.checkAll(early, "here"), /p\/c was acknowledged at revision 5; the store is at 4/);
});

test("an acknowledgement that arrives after the check that saw its put is kept; at another revision it is a broken promise", async () => {
  const { store, ledger } = fixture();
  await ledger.check(store.client, "here");
  ledger.acknowledge("p/unknown", 3);
  await ledger.check(store.client, "here");
  assert.equal(ledger.unacknowledgedKept, 0);
  ledger.acknowledge("p/b", 2);
  await assert.rejects(ledger.check(store.client, "here"), /lost p\/b, which was acknowledged at revision 2/);
});

for (const [what, spoil, told] of [
  [
    "the last acknowledged put is lost",
    (store) => void (store.kvs.pop(), store.revision--),
    /p\/b was acknowledged at revision 4; the store is at 3/,
  ],
  ["a revision is missing", (store) => void store.kvs.splice(1, 1), /gap in the revisions: p\/b is at 4, expected 3/],
  ["another value is there", (store) => void (store.kvs[0]!["value"] = Buffer.from("x")), /p\/a holds another value/],
  ["a put happened twice", (store) => void (store.kvs[0]!["version"] = 2), /p\/a has version 2, expected 1/],
  ["a key is there that nobody put", (store) => void store.put("p/z"), /nobody put p\/z/],
  ["the store is ahead of its keys", (store) => void store.revision++, /the store is at revision 5, its keys end at 4/],
] as const satisfies readonly [string, (store: FakeStore) => void, RegExp][]) {
  test(`it is told when ${what}`, async () => {
    const { store, ledger } = fixture();
    spoil(store);
    await assert.rejects(ledger.checkAll(store.client, "here"), told);
  });
}
