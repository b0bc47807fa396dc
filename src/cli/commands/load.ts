/**
 * Puts from many clients at once, as `check` makes them, and what they came to. Each client has one put on its way at a time, so that the number of
 * clients is the number of puts in flight.
 */
import { randomBytes } from "node:crypto";
import type { Client } from "../../client/index.js";
import { concatBytes } from "../../base/bytes.js";
import { describeError } from "../../base/errors.js";
import { PutRequest } from "../../proto/index.js";
import type { World } from "./world.js";

/** Figures of a load, in seconds. */
export interface LoadFigures {
  readonly perSecond: number;
  readonly slowest: number;
  readonly deviation: number;
  /** How often a put failed, by the error's text. */
  readonly errors: ReadonlyMap<string, number>;
}

/** Who says when the next put may begin; false when there is none any more. */
export type Pace = () => Promise<boolean>;

export interface PutSizes {
  readonly prefix: Uint8Array;
  /** Bytes of a key behind the prefix. */
  readonly keyBytes: number;
  readonly valueBytes: number;
}

/** Puts until the pace says that there are no more, and all that began have ended. */
export async function runLoad(
  clients: readonly Client[],
  pace: Pace,
  sizes: PutSizes,
  { now }: Pick<World, "now">,
  onPut: () => void = () => undefined,
): Promise<LoadFigures> {
  const seconds: number[] = [];
  const errors = new Map<string, number>();
  const value = new Uint8Array(sizes.valueBytes);
  const began = now();
  const work = async (client: Client): Promise<void> => {
    while (await pace()) {
      const request = { ...PutRequest.create(), key: randomKey(sizes), value };
      const start = now();
      try {
        await client.put(request, { timeoutMs: Number.POSITIVE_INFINITY });
        seconds.push((now() - start) / 1000);
      } catch (error) {
        const text = describeError(error);
        errors.set(text, (errors.get(text) ?? 0) + 1);
      }
      onPut();
    }
  };
  await Promise.all(clients.map(work));
  return figuresOf(seconds, errors, (now() - began) / 1000);
}

/** Eight bytes of chance, then zeros. */
function randomKey({ prefix, keyBytes }: PutSizes): Uint8Array {
  return concatBytes([prefix, randomBytes(8), new Uint8Array(keyBytes - 8)]);
}

/** @param tookSeconds from the first put's begin to the last one's end */
export function figuresOf(
  seconds: readonly number[],
  errors: ReadonlyMap<string, number>,
  tookSeconds: number,
): LoadFigures {
  const count = seconds.length;
  const average = seconds.reduce((sum, each) => sum + each, 0) / count;
  const squares = seconds.reduce((sum, each) => sum + (each - average) ** 2, 0);
  return {
    perSecond: count / tookSeconds,
    slowest: seconds.reduce((most, each) => Math.max(most, each), 0),
    deviation: Math.sqrt(squares / count),
    errors,
  };
}

/** A count of puts, as fast as they go. @param stop ends it early */
export function counted(count: number, stop: AbortSignal): Pace {
  let left = count;
  return () => Promise.resolve(!stop.aborted && left-- > 0);
}

/**
 * So many puts a second, evenly, until the signal. What cannot begin in time, for every client has a put on its way, waits: as many as there are clients;
 * what comes on top of that is not made up for.
 */
export function paced(
  { perSecond, waitingMax }: { readonly perSecond: number; readonly waitingMax: number },
  stop: AbortSignal,
  { now, every }: Pick<World, "now" | "every">,
): Pace {
  const waiting: ((mayBegin: boolean) => void)[] = [];
  let due = 1; // the first one begins at once
  let last = now();
  const hand = (): void => {
    const time = now();
    due = Math.min(due + ((time - last) * perSecond) / 1000, waitingMax);
    last = time;
    while (due >= 1 && waiting.length > 0) {
      due--;
      waiting.shift()!(true);
    }
  };
  const rest = every(1, hand);
  stop.addEventListener("abort", () => {
    rest();
    for (const tell of waiting.splice(0)) tell(false);
  });
  return () => {
    if (stop.aborted) return Promise.resolve(false);
    return new Promise((resolve) => {
      waiting.push(resolve);
      hand();
    });
  };
}
