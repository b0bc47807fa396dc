import assert from "node:assert/strict";
import { test } from "node:test";
import { Compare_CompareResult, Compare_CompareTarget } from "../../proto/index.js";
import { CommandFailure } from "./failure.js";
import { prefixEnd } from "../../client/index.js";
import { latin1Lines, parseCompare, parseOperation, readTxn, splitWords } from "./txn-text.js";

const silent = (): void => undefined;

async function* chunks(...texts: string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) {
    await Promise.resolve();
    yield Buffer.from(text, "latin1");
  }
}

test("comparisons name a target, a key, an operator and a value", () => {
  const compare = parseCompare('val("k\\xff") != "v"');
  assert.equal(compare.result, Compare_CompareResult.NOT_EQUAL);
  assert.equal(compare.target, Compare_CompareTarget.VALUE);
  assert.deepEqual([...compare.key], [0x6b, 0xff]);
  assert.deepEqual(parseCompare('create("a") > "7"').targetUnion, { $case: "createRevision", value: 7 });
  assert.deepEqual(parseCompare('mod("a") < "0x10"').targetUnion, { $case: "modRevision", value: 16 });
  assert.deepEqual(parseCompare('ver("a")="1"'.replace("=", " = ")).targetUnion, { $case: "version", value: 1 });
  assert.deepEqual(parseCompare('lease("a") = "ff"').targetUnion, { $case: "lease", value: 255n });
});

test("what is no comparison is refused with the line and exit code 3", () => {
  for (const line of [
    "",
    "a",
    "val(",
    'val("a") = 1',
    'nuts("a") = "1"',
    'ver("a") = "x"',
    'val("a") == "1"',
    'val("\\q") = "1"',
  ]) {
    assert.throws(
      () => parseCompare(line),
      (error) => {
        assert.ok(error instanceof CommandFailure);
        assert.equal(error.exitCode, 3);
        assert.ok(error.message.includes(line));
        return true;
      },
    );
  }
});

test("words are split as a shell would, with Go's double quotes", () => {
  assert.deepEqual(splitWords(`put "a b\\n" 'c "d"' e`), ["put", "a b\n", 'c "d"', "e"]);
  assert.deepEqual(splitWords('get "" --prefix'), ["get", "", "--prefix"]);
});

test("operations take the flags of their commands", async () => {
  const get = await parseOperation("get a --prefix --limit 3", silent);
  assert.equal(get.request?.$case, "requestRange");
  assert.deepEqual(get.request.value.rangeEnd, Uint8Array.of(0x62));
  assert.equal(get.request.value.limit, 3);
  const put = await parseOperation("put k v --lease=7 --prev-kv", silent);
  assert.equal(put.request?.$case, "requestPut");
  assert.equal(put.request.value.lease, 7n);
  const del = await parseOperation("del k --from-key", silent);
  assert.equal(del.request?.$case, "requestDeleteRange");
  await assert.rejects(parseOperation("watch k", silent), { message: "invalid txn request: watch k" });
  await assert.rejects(parseOperation("get", silent), { message: "invalid txn compare request: get" });
});

test("a transaction is three sections, each ended by an empty line; the bytes may come in any pieces", async () => {
  const lines = latin1Lines(chunks('val("a") = "1', '"\n\nput a \xff', "\n\n", "get a\n\n"));
  const prompts: string[] = [];
  const request = await readTxn({
    nextLine: async () => {
      const next = await lines.next();
      return next.done === true ? undefined : next.value;
    },
    prompt: (text) => prompts.push(text),
    warn: silent,
  });
  assert.deepEqual([request.compare.length, request.success.length, request.failure.length], [1, 1, 1]);
  const [put] = request.success;
  assert.equal(put?.request?.$case, "requestPut");
  assert.deepEqual(put.request.value.value, Uint8Array.of(0xff));
  assert.equal(prompts.length, 3);
});

test("a transaction that ends too early is refused", async () => {
  const lines = latin1Lines(chunks("\nput a 1\n"));
  const nextLine = async (): Promise<string | undefined> => {
    const next = await lines.next();
    return next.done === true ? undefined : next.value;
  };
  await assert.rejects(readTxn({ nextLine, prompt: silent, warn: silent }), { message: "EOF", exitCode: 3 });
});

test("the end of a prefix is the next key that does not begin with it, and the prefix itself stays as it was", () => {
  const prefix = Buffer.from([1, 0xff]);
  assert.deepEqual(prefixEnd(prefix), Uint8Array.of(2));
  assert.deepEqual([...prefix], [1, 0xff]);
  assert.deepEqual(prefixEnd(Uint8Array.of(0xff, 0xff)), Uint8Array.of(0));
});
