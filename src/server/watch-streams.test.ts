import assert from "node:assert/strict";
import { test } from "node:test";
import { settle, SimClock, SimDisk, SimRandom } from "../../sim/index.js";
import { CodedError } from "../base/errors.js";
import { latin1FromBytes } from "../base/text.js";
import type { KeySpan, Watcher, WatchEvent } from "../mvcc/index.js";
import { storeFixture, type StoreFixture } from "../mvcc/testing/fixture.js";
import { Event } from "../proto/generated/mvccpb/kv.js";
import { RequestError } from "./errors.js";
import { putRequest, startMember, stopMember, timePassesUntil, worldOf } from "./testing/fixture.js";
import type { WatchCreation, WatchNotice, WatchStream, WatchStreamReceiver } from "./watch-contract.js";
import { WatchStreams, type WatchStreamsDependencies } from "./watch-streams.js";

const ONE: KeySpan = { key: "a", end: undefined };

const creation = (fields: Partial<WatchCreation> = {}): WatchCreation => ({
  span: ONE,
  startRevision: 0,
  withoutPuts: false,
  withoutDeletes: false,
  withPrevious: false,
  inFragments: false,
  reportsProgress: false,
  watchId: 0,
  ...fields,
});

/** What a client is told, an answer a line: `1 created @5`, `1 +a@6`, `-1 progress @6`. */
class Told implements WatchStreamReceiver {
  isReady = true;
  readonly lines: string[] = [];

  onEvents({ id }: Watcher, events: readonly WatchEvent[], revision: number): void {
    const shown = events.map((event) => {
      const { type, kv } = Event.decode(event.encoded(false));
      return `${type === 1 ? "-" : "+"}${latin1FromBytes(kv!.key)}@${kv!.modRevision}`;
    });
    this.lines.push(`${id} ${shown.join(" ")} @${revision}`);
  }

  onNotice({ watchId, created, canceled, revision, compactRevision, refusal }: WatchNotice): void {
    const what = [created ? "created" : "", canceled ? "canceled" : "", created || canceled ? "" : "progress"];
    const why = refusal instanceof CodedError ? ` ${(refusal as CodedError<string>).code}` : "";
    const compacted = compactRevision === 0 ? "" : ` compacted ${compactRevision}`;
    this.lines.push(`${watchId} ${what.filter((word) => word !== "").join(" ")} @${revision}${compacted}${why}`);
  }

  onEnd(error: unknown): void {
    this.lines.push(`end ${(error as CodedError<string>).code}`);
  }
}

interface Play {
  readonly s: StoreFixture;
  readonly clock: SimClock;
  readonly streams: WatchStreams;
  readonly told: Told;
  readonly stream: WatchStream;
  readonly failures: unknown[];
  leads: boolean;
}

async function play(
  t: Parameters<typeof storeFixture>[0],
  options: Partial<WatchStreamsDependencies> & { readonly requiresLeader?: boolean } = {},
): Promise<Play> {
  const s = await storeFixture(t);
  const clock = new SimClock();
  const failures: unknown[] = [];
  const state = { leads: true };
  const streams = new WatchStreams({
    clock,
    random: new SimRandom(1),
    electionMs: 1000,
    progressMs: 60_000,
    hasLeader: () => state.leads,
    mayWatch: () => undefined,
    onFailure: (error) => failures.push(error),
    ...options,
  });
  streams.attach(s.store);
  const told = new Told();
  const stream = streams.open(told, { requiresLeader: options.requiresLeader ?? false }, {});
  t.after(() => {
    stream.close();
    streams.close(new RequestError("SERVER_STOPPED", "the play is over"));
    assert.equal(clock.timers, 0, "no timer is left");
    assert.equal(streams.watcherCount, 0, "no watcher is left");
    assert.deepEqual(failures, []);
  });
  return Object.assign(state, { s, clock, streams, told, stream, failures });
}

test("watchers are numbered from 0, or named by the client; a name is free again after its end", async (t) => {
  const { stream, told } = await play(t);
  for (const watchId of [0, 1, 1, 0, -5, 0]) stream.create(creation({ watchId }));
  stream.cancel(1);
  stream.cancel(99);
  stream.create(creation({ watchId: 1 }));
  assert.deepEqual(told.lines, [
    "0 created @1",
    "1 created @1",
    "-1 created canceled @1 WATCH_ID_TAKEN",
    "2 created @1",
    "-5 created @1",
    "3 created @1",
    "1 canceled @1",
    "1 created @1",
  ]);
});

test("what cannot be watched is refused, the first mistake counting, and the stream goes on", async (t) => {
  const { stream, told, s } = await play(t, {
    mayWatch: ({ key }) => {
      if (key === "secret") throw new RequestError("SERVER_NOT_SUPPORTED", "no");
    },
  });
  stream.create(creation({ span: { key: "b", end: "a" } }));
  stream.create(creation({ span: { key: "b", end: "b" } }));
  stream.create(creation({ span: { key: "secret", end: "a" } }));
  stream.create(creation({ span: { key: "secret", end: "a" }, startRevision: -1 }));
  stream.create(creation({ span: { key: "b", end: "" } }));
  s.put("c");
  assert.deepEqual(told.lines, [
    "-1 created canceled @1 WATCH_RANGE_EMPTY",
    "-1 created canceled @1 WATCH_RANGE_EMPTY",
    "-1 created canceled @1 SERVER_NOT_SUPPORTED",
    "-1 created canceled @1 MVCC_COMPACTED",
    "0 created @1",
    "0 +c@2 @2",
  ]);
});

test("a past revision's changes follow the word that the watcher was made, in another turn, with the store's revision", async (t) => {
  const { stream, told, s } = await play(t);
  s.put("a");
  s.put("a");
  s.put("b");
  stream.create(creation({ startRevision: 2 }));
  assert.deepEqual(told.lines, ["0 created @4"]);
  await settle();
  s.put("a");
  assert.deepEqual(told.lines, ["0 created @4", "0 +a@2 +a@3 @4", "0 +a@5 @5"]);
});

test("a compacted revision is told after the word that the watcher was made; its name stays taken until it is cancelled", async (t) => {
  const { stream, told, s } = await play(t);
  for (let i = 0; i < 5; i++) s.put("a");
  await s.compact(4);
  stream.create(creation({ startRevision: 3, watchId: 7 }));
  await settle();
  stream.create(creation({ watchId: 7 }));
  stream.create(creation());
  stream.requestProgress();
  stream.cancel(7);
  stream.cancel(7);
  stream.requestProgress();
  assert.deepEqual(told.lines, [
    "7 created @6",
    "7 canceled @0 compacted 4",
    "-1 created canceled @6 WATCH_ID_TAKEN",
    "0 created @6",
    "7 canceled @6",
    "-1 progress @6",
  ]);
});

test("progress is told when all watchers of the stream have seen everything, and not before", async (t) => {
  const { stream, told, s } = await play(t);
  stream.requestProgress();
  assert.deepEqual(told.lines, [], "without watchers there is nothing to tell");
  s.put("a");
  stream.create(creation());
  stream.requestProgress();
  stream.create(creation({ startRevision: 1 }));
  stream.requestProgress();
  await settle();
  stream.requestProgress();
  stream.create(creation({ startRevision: 4 }));
  s.put("b");
  stream.requestProgress();
  s.put("b");
  stream.requestProgress();
  assert.deepEqual(told.lines, [
    "0 created @2",
    "-1 progress @2",
    "1 created @2",
    "1 +a@2 @2",
    "-1 progress @2",
    "2 created @2",
    "-1 progress @4",
  ]);
});

test("progress does not pass what a slow client has still to be told", async (t) => {
  const { stream, told, s } = await play(t, { progressMs: 1000 });
  stream.create(creation({ reportsProgress: true }));
  s.put("a");
  told.isReady = false;
  s.put("a");
  told.isReady = true;
  stream.requestProgress();
  assert.deepEqual(told.lines.slice(1), ["0 +a@2 @2"]);
  stream.resume();
  await settle();
  stream.requestProgress();
  assert.deepEqual(told.lines.slice(2), ["0 +a@3 @3", "-1 progress @3"]);
});

test("a watcher that asks for it is told now and then that nothing has happened", async (t) => {
  const { stream, told, s, clock } = await play(t, { progressMs: 1000 });
  stream.create(creation());
  stream.create(creation({ span: { key: "b", end: undefined }, reportsProgress: true }));
  const interval = 1100; // with all of the jitter
  s.put("a");
  clock.advance(interval);
  assert.deepEqual(told.lines.slice(2), ["0 +a@2 @2", "1 progress @2"]);
  s.put("b");
  clock.advance(interval);
  assert.deepEqual(told.lines.slice(4), ["1 +b@3 @3"]);
  clock.advance(interval);
  assert.deepEqual(told.lines.slice(5), ["1 progress @3"]);
  stream.cancel(1);
  clock.advance(3 * interval);
  assert.deepEqual(told.lines.slice(6), ["1 canceled @3"]);
});

test("a client that insists on a leader loses its stream when there is none for three election timeouts", async (t) => {
  const p = await play(t, { requiresLeader: true });
  const other = new Told();
  const patient = p.streams.open(other, { requiresLeader: false }, {});
  p.stream.create(creation());
  p.leads = false;
  p.clock.advance(2000);
  p.leads = true;
  p.clock.advance(1000);
  p.leads = false;
  p.clock.advance(2999);
  assert.deepEqual(p.told.lines, ["0 created @1"]);
  p.clock.advance(1);
  assert.deepEqual(p.told.lines, ["0 created @1", "end SERVER_NO_LEADER"]);
  p.s.put("a");
  p.stream.create(creation());
  assert.equal(p.told.lines.length, 2);
  assert.deepEqual(other.lines, []);
  assert.equal(p.streams.streamCount, 1);
  patient.close();
});

test("the end of the member ends all streams, those that come later too", async (t) => {
  const { streams, told, stream, s } = await play(t);
  stream.create(creation());
  streams.close(new RequestError("SERVER_STOPPED", "the member is stopping"));
  s.put("a");
  const late = new Told();
  streams.open(late, { requiresLeader: true }, {}).create(creation());
  assert.deepEqual(told.lines, ["0 created @1", "end SERVER_STOPPED"]);
  assert.deepEqual(late.lines, ["end SERVER_STOPPED"]);
});

test("a history that cannot be read fails the member", async (t) => {
  const { streams, stream, s, failures } = await play(t);
  s.put("a");
  const { revisionBytes } = await import("../mvcc/revision.js");
  s.backend.put("key", revisionBytes(2, 0), Uint8Array.of(1, 2, 3));
  stream.create(creation({ startRevision: 1 }));
  await settle();
  assert.equal(failures.length, 1);
  failures.length = 0;
  assert.equal(streams.behindCount, 1);
});

test("a member tells its watchers of what is applied, and ends their streams when it stops", async () => {
  const running = await startMember(worldOf(new SimDisk()));
  const { member, clock } = running;
  const told = new Told();
  const stream = member.watch(told, { requiresLeader: true });
  stream.create(creation({ startRevision: 1, reportsProgress: true }));
  for (const value of ["1", "2"]) await timePassesUntil({ clock }, member.put(putRequest("a", value)));
  await settle();
  assert.deepEqual(told.lines, ["0 created @1", "0 +a@2 @2", "0 +a@3 @3"]);
  await stopMember(running);
  assert.equal(told.lines.at(-1), "end SERVER_STOPPED");
});

test("a watcher that resumes after a crash misses nothing", async () => {
  const disk = new SimDisk();
  const first = await startMember(worldOf(disk));
  for (const value of ["1", "2", "3"]) {
    await timePassesUntil(first, first.member.put(putRequest("a", value)));
  }
  await stopMember(first);
  const second = await startMember(worldOf(disk, 2));
  const told = new Told();
  second.member.watch(told, { requiresLeader: false }).create(creation({ startRevision: 3 }));
  await settle();
  assert.deepEqual(told.lines, ["0 created @4", "0 +a@3 +a@4 @4"]);
  await stopMember(second);
});
