/**
 * Work beside the calls that a server answers, in slices that leave it most of its time.
 *
 * Giving the loop back between slices is not enough: a turn that answers a hundred calls takes a millisecond or two, so slices of five would
 * take most of the time from those who wait. Where a turn shows that others have work, the next slice therefore waits eight times
 * as long as the last one took: a ninth of the time at most. Where nobody has, it follows at once.
 */
import type { Clock } from "./clock.js";

/** Work in one go, between two looks for others. */
const SLICE_MS = 2;
/** A turn of the loop that takes longer had calls in it. */
const BUSY_TURN_MS = 0.25;
/** What others get for each millisecond of work, unless told. */
const REST_PER_MS = 8;

export class SpareTime {
  readonly #clock: Clock;
  readonly #restPerMs: number;
  #began: number;

  /** @param restPerMs less for work that must not fall behind what others do meanwhile */
  constructor(clock: Clock, restPerMs = REST_PER_MS) {
    this.#clock = clock;
    this.#restPerMs = restPerMs;
    this.#began = clock.now();
  }

  /** Whether the slice is used up. */
  get isOver(): boolean {
    return this.#clock.now() - this.#began >= SLICE_MS;
  }

  /** Gives the loop back, and resolves when the next slice may begin. */
  async rest(): Promise<void> {
    await this.restFrom(this.#clock.now() - this.#began);
    this.#began = this.#clock.now();
  }

  /** The same for work that waited for others in between. @param workedMs what it took of the loop */
  async restFrom(workedMs: number): Promise<void> {
    const ended = this.#clock.now();
    await this.#clock.yield();
    if (this.#clock.now() - ended <= BUSY_TURN_MS) return;
    await new Promise<void>((resolve) => void this.#clock.after(workedMs * this.#restPerMs, resolve, "process"));
  }
}
