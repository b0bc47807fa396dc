import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { GrpcStatus } from "../grpc/index.js";
import { WatchCreateRequest, type WatchRequest, WatchResponse } from "../proto/index.js";
import { RpcError } from "./errors.js";
import { Watch, type WatchCall } from "./watch.js";

/** An answer with changes of keys at revisions. */
function answer(revision: number, changes: readonly (readonly [key: string, revision: number])[], fragment = false) {
  return WatchResponse.fromPartial({
    header: { revision },
    fragment,
    events: changes.map(([key, modRevision]) => ({ kv: { key: Buffer.from(key), modRevision } })),
  });
}

/** A stream that answers with these; then it is lost. */
function stream(answers: readonly WatchResponse[], asked: WatchRequest[]): WatchCall {
  const call = new PassThrough({ objectMode: true });
  for (const each of answers) call.push(each);
  // All that has come is read before it is told that no more will.
  void setTimeout(() => call.destroy(new RpcError(GrpcStatus.unavailable, "connection lost")), 20);
  return Object.assign(call, {
    cancel: () => void call.destroy(),
    write: (request: WatchRequest) => asked.push(request) > 0,
  }) as unknown as WatchCall;
}

test("a stream that is lost amid fragments: the whole comes once, from the next stream", async () => {
  const asked: WatchRequest[] = [];
  const created = WatchResponse.fromPartial({ header: { revision: 4 }, created: true });
  const streams = [
    [created, answer(5, [["a", 5]], true)],
    [created, answer(5, [["a", 5]], true), answer(5, [["b", 5]], true), answer(5, [["c", 5]])],
    [created, answer(6, [["d", 6]]), WatchResponse.fromPartial({ canceled: true })],
  ];
  const request = WatchCreateRequest.fromPartial({ key: Buffer.from("a"), fragment: true });
  const watch = new Watch(
    request,
    () => Promise.resolve(stream(streams.shift()!, asked)),
    (error) => error as Error,
  );

  const seen: string[][] = [];
  for await (const { events } of watch.answers()) seen.push(events.map(({ kv }) => Buffer.from(kv!.key).toString()));

  assert.deepEqual(seen, [["a", "b", "c"], ["d"], []]);
  assert.deepEqual(
    asked.map(({ requestUnion }) => requestUnion?.$case === "createRequest" && requestUnion.value.startRevision),
    [0, 5, 6],
  );
  assert.equal(streams.length, 0);
});
