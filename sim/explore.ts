/**
 * Power fails at every operation of a recorded run, in every mode, and again while the result is being recovered.
 *
 * A run is recorded once. For each position in its journal this builds disks as they could be found if power had failed there, and
 * gives each to a check that opens it and compares with what was acknowledged by then. A failure names the place, the mode and the
 * seed, and `exploreCrashes` with `only` repeats that one state.
 */
import { describeError } from "../src/base/errors.js";
import type { SimDisk } from "./disk.js";
import { CRASH_MODES, type CrashMode } from "./platter.js";
import { SimRandom } from "./random.js";

/** What was true from which position of a journal on: what was acknowledged, what was attempted. */
export class Marks<Value> {
  readonly #marks: { readonly position: number; readonly value: Value }[] = [];

  /** From now on, as far as the disk has come, `value` holds. */
  add(disk: SimDisk, value: Value): void {
    this.#marks.push({ position: disk.journal.length, value });
  }

  /** What held when power failed just before `journal[position]`. */
  at(position: number): Value | undefined {
    return this.#marks.findLast((mark) => mark.position <= position)?.value;
  }
}

export interface CrashPlace {
  /** Power failed just before `journal[position]`. */
  readonly position: number;
  readonly mode: CrashMode;
  readonly draw: number;
  /** Where power failed a second time, in the journal of the disk that was being recovered. */
  readonly again: number | undefined;
}

export interface ExploreOptions {
  /** The disk of the recorded run. */
  readonly disk: SimDisk;
  /** Opens a disk after a crash and throws when something is wrong. Called with the same place for the same state. */
  readonly check: (disk: SimDisk, place: CrashPlace) => Promise<void>;
  /** First position; 0 when left out. */
  readonly from?: number;
  readonly modes?: readonly CrashMode[];
  /** States drawn for each place in the modes that draw; 1 when left out. */
  readonly draws?: number;
  readonly seed?: number;
  /**
   * Of a recovery's own operations, every how-manieth sees power fail again: 1 is each, 0 none. Each such state is checked once, in
   * the same mode. 0 when left out.
   */
  readonly againEvery?: number;
  /** Only this state: to repeat a failure. */
  readonly only?: Partial<CrashPlace>;
}

export interface Explored {
  /** Operations at which power failed: positions of the journal, its end included. */
  readonly places: number;
  /** Operations that differ in kind, file and span. */
  readonly labels: number;
  /** Disks that were checked after one power failure, by mode. */
  readonly states: Readonly<Record<CrashMode, number>>;
  /** Disks that were checked after a second one. */
  readonly statesAgain: number;
}

/** Runs the check on all states. Throws at the first that fails, with the place in the message and the failure as cause. */
export async function exploreCrashes(options: ExploreOptions): Promise<Explored> {
  const { disk, check, only = {} } = options;
  const random = new SimRandom(options.seed ?? 1);
  const states: Record<CrashMode, number> = { lost: 0, prefix: 0, any: 0 };
  const labels = new Set<string>();
  let places = 0;
  let statesAgain = 0;

  const run = async (after: SimDisk, place: CrashPlace, label: string): Promise<void> => {
    try {
      await check(after, place);
      const open = after.openHandles();
      if (open.length > 0) throw new Error(`left open: ${open.join(", ")}`);
    } catch (error) {
      const second = place.again === undefined ? "" : `, again at ${place.again} of the recovery`;
      const repeat = `seed ${options.seed ?? 1}, only ${JSON.stringify(place)}`;
      throw new Error(`power failed before "${label}" (${place.mode}${second}; ${repeat}): ${describeError(error)}`, {
        cause: error,
      });
    }
  };

  for (let position = options.from ?? 0; position <= disk.journal.length; position++) {
    if (only.position !== undefined && only.position !== position) continue;
    const label = disk.label(position);
    places++;
    labels.add(label);
    for (const mode of options.modes ?? CRASH_MODES) {
      if (only.mode !== undefined && only.mode !== mode) continue;
      const draws = mode === "lost" ? 1 : (options.draws ?? 1);
      for (let draw = 0; draw < draws; draw++) {
        if (only.draw !== undefined && only.draw !== draw) continue;
        const stream = random.stream(`${position}/${mode}/${draw}`);
        const after = disk.platterAt(position, mode, stream);
        const place: CrashPlace = { position, mode, draw, again: undefined };
        await run(after, place, label);
        states[mode]++;
        const step = options.againEvery ?? 0;
        if (step === 0) continue;
        for (let again = stream.below(step); again <= after.journal.length; again += step) {
          if (only.again !== undefined && only.again !== again) continue;
          const twice = after.platterAt(again, mode, stream.stream(`again/${again}`));
          await run(twice, { ...place, again }, `${label}", then before "${after.label(again)}`);
          statesAgain++;
        }
      }
    }
  }
  return { places, labels: labels.size, states, statesAgain };
}
