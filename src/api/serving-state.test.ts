import assert from "node:assert/strict";
import { test } from "node:test";
import { recordingLog } from "../../sim/index.js";
import type { MessageStream, UnaryCall } from "../grpc/handler.js";
import { NodeClock } from "../platform/node/clock.js";
import { HealthCheckResponse, HealthCheckResponse_ServingStatus } from "../proto/generated/grpc/health/v1/health.js";
import { noMetrics } from "../server/metrics.js";
import { healthHandlers } from "./health.js";
import { ServingState } from "./serving-state.js";
import { FakeMember } from "./testing/fake-member.js";

const { SERVING, NOT_SERVING } = HealthCheckResponse_ServingStatus;
const EVERYTHING = new Uint8Array(0);

/** A defragmentation that goes on until it is let go. */
function work(): { readonly run: () => Promise<void>; readonly end: () => void } {
  let end: () => void = () => undefined;
  const done = new Promise<void>((resolve) => (end = resolve));
  return { run: () => done, end };
}

test("while a member defragments its health service says so, where that is asked for", async () => {
  const log = recordingLog();
  const serving = new ServingState(log, true);
  const handlers = new Map(
    healthHandlers({ clock: new NodeClock(), member: new FakeMember(), metrics: noMetrics, serving }),
  );
  const hangUp = new AbortController();
  const call = { metadata: () => undefined, signal: hangUp.signal } as unknown as UnaryCall;
  const check = async (): Promise<number> => {
    const handler = handlers.get("/grpc.health.v1.Health/Check")!;
    assert.ok(handler.kind === "unary");
    return HealthCheckResponse.decode((await handler.handle(EVERYTHING, call))!).status;
  };
  const watched: number[] = [];
  const stream = {
    send: (message: Uint8Array) => watched.push(HealthCheckResponse.decode(message).status) > 0,
  } as unknown as MessageStream;
  const watch = handlers.get("/grpc.health.v1.Health/Watch")!;
  assert.ok(watch.kind === "bidirectional");
  watch.handle(stream, call);
  stream.onMessage(EVERYTHING);

  assert.equal(await check(), SERVING);
  const [first, second] = [work(), work()];
  const both = [serving.whileDefragmenting(first.run), serving.whileDefragmenting(second.run)];
  assert.equal(await check(), NOT_SERVING);
  first.end();
  await both[0];
  assert.equal(await check(), NOT_SERVING, "one still goes on");
  second.end();
  await both[1];
  assert.equal(await check(), SERVING);
  assert.deepEqual(watched, [SERVING, NOT_SERVING, SERVING]);
  hangUp.abort();
  await assert.rejects(serving.whileDefragmenting(() => Promise.reject(new Error("the disk is full"))));
  assert.deepEqual(watched, [SERVING, NOT_SERVING, SERVING], "who has hung up is not told");
  assert.equal(serving.status, SERVING, "a failure ends it as well");
  assert.deepEqual(
    log.lines.map(({ level, fields }) => `${level} ${String(fields["status"])}`),
    ["warn NOT_SERVING", "info SERVING", "warn NOT_SERVING", "info SERVING"],
  );
});

test("else it serves on, as etcd's default is", async () => {
  const serving = new ServingState();
  let status: number | undefined;
  await serving.whileDefragmenting(() => {
    status = serving.status;
    return Promise.resolve();
  });
  assert.equal(status, SERVING);
});
