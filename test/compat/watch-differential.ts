/**
 * The same random writes and watch requests to two servers, and a comparison of what their watchers are told.
 *
 *   node dist/test/compat/watch-differential.js [--seed S] [--requests N] [--left SERVER] [--right SERVER]
 *
 * Two streams are held open at each server: one whose watchers begin now or in the past, and one whose watchers begin in the future. Told
 * must be the same by every watcher: words of its creation and end, and events, in order, with what was there before. How events are
 * grouped into answers, and the revision in the header of those, is a server's own choice for a watcher that was behind.
 *
 * Before a compaction, and now and then, both sides are waited for until their watchers have seen everything: which history a watcher
 * that is behind still finds is a question of time.
 */
import { setTimeout as pause } from "node:timers/promises";
import type { ServerBinary } from "../support/binaries.js";
import { METHODS, revisionOf, type EtcdClient } from "../support/client.js";
import { Disagreement, runComparison } from "../support/comparison-command.js";
import { decode, describeMessage, encode, type Message } from "../support/messages.js";
import { SeededRandom } from "../support/random.js";
import { Stage } from "../support/servers.js";
import { countEvents, eventsOf, type WatchStream } from "../support/watch-stream.js";
import { key, nextRequest, rangeEnd, type StoreView } from "./requests.js";

export interface WatchComparison {
  readonly seed: number;
  readonly requests: number;
  /** Watchers that were created, refused, and cancelled for a compaction. */
  readonly created: number;
  readonly refused: number;
  readonly compacted: number;
  readonly events: number;
  readonly revision: number;
}

/** Live watchers of a stream: more are cancelled again. */
const WATCHERS_MAX = 40;
const SYNC_EVERY = 100;
const AGREE_WITHIN_MS = 20_000;
const ASK_AGAIN_MS = 30;
const NOBODY = -1;
/** A key that no request names, and its watcher on every stream. */
const SYNC_KEY = Buffer.from("zz sync");
const SYNC_WATCHER = 1_000_000;

/** One of the two streams, at both servers. */
export class WatchPair {
  readonly left: WatchStream;
  readonly right: WatchStream;
  /** Numbers of watchers that may be cancelled. */
  readonly live: number[] = [];

  constructor(left: EtcdClient, right: EtcdClient) {
    this.left = left.watch();
    this.right = right.watch();
  }

  get both(): readonly [WatchStream, WatchStream] {
    return [this.left, this.right];
  }

  /** Sends a request that is answered by a word of its own, and waits for that. */
  async ask(request: Message, isWord: (answer: Message) => boolean): Promise<Message> {
    const words = await Promise.all(
      this.both.map(async (stream) => {
        const before = stream.answers.filter(isWord).length;
        stream.send(request);
        await stream.until((answers) => answers.filter(isWord).length > before, "the request was answered");
        return stream.answers.filter(isWord)[before]!;
      }),
    );
    return words[0]!;
  }

  /** Creates the watcher of `SYNC_KEY`, which nothing but `seen` waits for. */
  async begin(): Promise<void> {
    await this.ask({ create_request: { key: SYNC_KEY, watch_id: SYNC_WATCHER } }, isCreated);
  }

  /** Waits until both sides were told of a put of `SYNC_KEY`: all that came before it was told to watchers that are not behind. */
  async seen(revision: number): Promise<void> {
    const isTold = (answers: readonly Message[]): boolean =>
      answers.some(
        (answer) =>
          idOf(answer) === SYNC_WATCHER &&
          eventsOf(answer).some(({ kv }) => Number((kv as Message)["mod_revision"]) >= revision),
      );
    for (const stream of this.both) await stream.until(isTold, `revision ${revision} was told`);
  }

  /** Waits until none of the watchers is behind. @param revision a new one, so that no answer that is on its way has it */
  async sync(revision: number): Promise<void> {
    for (const stream of this.both) {
      const isSynced = (): boolean =>
        stream.answers.some((answer) => isProgress(answer) && revisionOf(answer) >= revision);
      const deadline = Date.now() + AGREE_WITHIN_MS;
      while (!isSynced()) {
        if (Date.now() > deadline) throw new Error(`watchers have not seen everything after ${AGREE_WITHIN_MS} ms`);
        stream.requestProgress();
        await pause(ASK_AGAIN_MS);
        this.#cancelCompacted();
      }
    }
  }

  /** Waits until all watchers have seen everything up to a revision, and answers the first that was told different things. */
  async agree(revision: number): Promise<Difference | undefined> {
    await this.sync(revision);
    return this.agreeOnTold();
  }

  /** The same of what is on its way, whether or not there is more. */
  async agreeOnTold(): Promise<Difference | undefined> {
    const deadline = Date.now() + AGREE_WITHIN_MS;
    for (;;) {
      const found = difference(this);
      if (found === undefined || Date.now() > deadline) return found;
      await pause(ASK_AGAIN_MS);
    }
  }

  /** A watcher whose history is gone holds its stream's progress up until it is cancelled, on both sides alike. */
  #cancelCompacted(): void {
    // A number may have been another watcher's before.
    const isOver = (id: number): boolean =>
      this.both.every(({ answers }) => {
        const last = answers.findLast((answer) => idOf(answer) === id && (isCreated(answer) || isCompacted(answer)));
        return last !== undefined && isCompacted(last);
      });
    for (const id of this.live.filter(isOver)) {
      this.live.splice(this.live.indexOf(id), 1);
      for (const stream of this.both) stream.cancel(id);
    }
  }

  /** Creates a watcher of all keys, which is told what was there before. */
  async watchAll(): Promise<void> {
    await this.ask(
      { create_request: { key: Uint8Array.of(0), range_end: Uint8Array.of(0), prev_kv: true } },
      isCreated,
    );
  }

  /** Events that the reference's watchers were told. */
  get events(): number {
    return countEvents(this.left.answers);
  }

  close(): void {
    for (const stream of this.both) stream.close();
  }
}

const idOf = (answer: Message): number => Number(answer["watch_id"] ?? 0);
const isCompacted = (answer: Message): boolean => answer["compact_revision"] !== undefined;
const isCreated = (answer: Message): boolean => answer["created"] === true;
const isProgress = (answer: Message): boolean => idOf(answer) === NOBODY && !isCreated(answer);

/** What each watcher was told, a line an event or a word; progress is left out. */
function told(stream: WatchStream): Map<number, string[]> {
  const lines = new Map<number, string[]>();
  for (const answer of stream.answers) {
    if (isProgress(answer)) continue;
    const { header, events: _events, fragment: _fragment, ...word } = answer;
    const id = idOf(answer);
    if (!lines.has(id)) lines.set(id, []);
    const list = lines.get(id)!;
    const events = eventsOf(answer);
    if (events.length > 0) list.push(...events.map(describeMessage));
    // A word's revision is the store's, which is the same on both sides, for requests follow one another.
    else list.push(`@${describeMessage((header as Message)["revision"] ?? 0)} ${describeMessage(word)}`);
  }
  return lines;
}

export interface Difference {
  readonly what: string;
  readonly left: string;
  readonly right: string;
}

/** The first watcher that was told different things; undefined where none was. */
function difference(pair: WatchPair): Difference | undefined {
  const [left, right] = [told(pair.left), told(pair.right)];
  for (const id of new Set([...left.keys(), ...right.keys()])) {
    const [first, second] = [left.get(id) ?? [], right.get(id) ?? []];
    const at = first.findIndex((line, i) => line !== second[i]);
    if (at < 0 && first.length === second.length) continue;
    const place = at < 0 ? first.length : at;
    const what = `watcher ${id}, line ${place + 1} of ${first.length} and ${second.length},`;
    return { what, left: first[place] ?? "nothing", right: second[place] ?? "nothing" };
  }
  return undefined;
}

export async function compareWatches(
  options: { readonly seed: number; readonly requests: number },
  left: EtcdClient,
  right: EtcdClient,
): Promise<WatchComparison> {
  const { seed, requests } = options;
  const random = new SeededRandom(seed);
  const present = new WatchPair(left, right);
  const future = new WatchPair(left, right);
  let view: StoreView = { revision: 1, compacted: 0 };
  const agree = async (number: number): Promise<void> => {
    const [revision] = await Promise.all([left, right].map((client) => client.put(SYNC_KEY, "")));
    view = { ...view, revision: revision! };
    for (const pair of [present, future]) await pair.seen(view.revision);
    for (const found of [await present.agree(view.revision), await future.agreeOnTold()]) {
      if (found === undefined) continue;
      throw new Disagreement(
        { play: "watch-differential", seed, requests: number },
        found.what,
        found.left,
        found.right,
      );
    }
  };
  try {
    for (const pair of [present, future]) await pair.begin();
    for (let number = 1; number <= requests; number++) {
      if (random.oneIn(5)) {
        const pair = random.oneIn(5) ? future : present;
        if (pair.live.length >= WATCHERS_MAX || (pair.live.length > 0 && random.oneIn(4))) {
          await agree(number); // what a watcher is told just before its end is a question of time
          if (pair.live.length > 0) await cancel(random, pair);
        } else await create(random, pair, view, pair === future);
        continue;
      }
      const request = nextRequest(random, view);
      if (!["Put", "DeleteRange", "Txn", "Compact"].includes(request.method)) continue;
      if (request.method === "Compact") await agree(number);
      const { path, request: name, response } = METHODS[request.method];
      const bytes = encode(name, request.message);
      const [answer] = await Promise.all([left.send(path, bytes), right.send(path, bytes)]);
      if (answer.kind === "error") continue;
      view = { ...view, revision: Math.max(view.revision, revisionOf(decode(response, answer.bytes))) };
      if (request.method === "Compact") view = { ...view, compacted: Number(request.message["revision"]) };
      if (number % SYNC_EVERY === 0) await agree(number);
    }
    await agree(requests);
    const answers = [...present.left.answers, ...future.left.answers];
    return {
      seed,
      requests,
      created: answers.filter((answer) => isCreated(answer) && answer["canceled"] !== true).length,
      refused: answers.filter((answer) => isCreated(answer) && answer["canceled"] === true).length,
      compacted: answers.filter(isCompacted).length,
      events: answers.reduce((sum, answer) => sum + eventsOf(answer).length, 0),
      revision: view.revision,
    };
  } finally {
    present.close();
    future.close();
  }
}

async function create(random: SeededRandom, pair: WatchPair, view: StoreView, isFuture: boolean): Promise<void> {
  const first = key(random);
  const request: Message = {
    key: first,
    range_end: rangeEnd(random, first),
    start_revision: isFuture ? view.revision + random.between(1, 30) : startRevision(random, view),
    prev_kv: random.oneIn(2),
    fragment: random.oneIn(3),
    watch_id: random.oneIn(3) ? random.between(1, 12) : 0,
    ...(random.oneIn(4) ? { filters: random.pick([[0], [1], [0, 1], [5]]) } : {}),
  };
  const word = await pair.ask({ create_request: request }, isCreated);
  if (word["canceled"] !== true) pair.live.push(idOf(word));
}

function startRevision(random: SeededRandom, view: StoreView): number {
  return random.weighted<() => number>([
    [40, () => 0],
    [40, () => random.between(Math.max(1, view.compacted), view.revision + 1)],
    [4, () => view.compacted],
    [6, () => view.compacted - 1],
    [4, () => view.compacted + 1],
    [3, () => 1],
    [3, () => -random.between(1, 10)],
  ])();
}

async function cancel(random: SeededRandom, pair: WatchPair): Promise<void> {
  const id = random.pick(pair.live);
  pair.live.splice(pair.live.indexOf(id), 1);
  const isWord = (answer: Message): boolean =>
    idOf(answer) === id && answer["canceled"] === true && !isCreated(answer) && !isCompacted(answer);
  await pair.ask({ cancel_request: { watch_id: id } }, isWord);
}

/** Starts both servers on empty folders and compares them. */
export async function compareFreshWatches(
  options: { readonly seed: number; readonly requests: number },
  left: ServerBinary,
  right: ServerBinary,
): Promise<WatchComparison> {
  return Stage.with(async (stage) => {
    const seats = await Promise.all([stage.seat(), stage.seat()]);
    const [first, second] = await Promise.all([stage.start(left, seats[0]), stage.start(right, seats[1])]);
    return compareWatches(options, first.client, second.client);
  });
}

export function describeComparison(result: WatchComparison): string {
  const { seed, requests, created, refused, compacted, events, revision } = result;
  return (
    `seed ${seed}: ${requests} requests up to revision ${revision}; ${created} watchers, ${refused} refused, ` +
    `${compacted} cancelled for a compaction, ${events} events told alike`
  );
}

if (process.argv[1] === import.meta.filename) {
  await runComparison({ requests: 2_000 }, async ({ left, right, ...options }) => [
    describeComparison(await compareFreshWatches(options, left, right)),
  ]);
}
