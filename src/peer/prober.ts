/**
 * Asks another member now and then whether it is there, for the figures and for people: how long the way takes, and whether its
 * clock is another. Nothing is decided by it.
 */
import { describeError } from "../base/errors.js";
import { memberIdText } from "../membership/index.js";
import type { Timer } from "../platform/index.js";
import type { PeerClient } from "./peer-client.js";
import type { UrlPicker } from "./urls.js";
import type { TransportWorld } from "./world.js";

/** The part of the connection's timeout between two probes (etcd: 4 s of 5). */
const INTERVAL_SHARE = 0.8;
/** Clocks that differ by more are told. */
const CLOCK_DIFFERENCE_MS = 1_000;

type Verdict = "well" | "unhealthy" | "clock differs";

export class Prober {
  readonly #world: TransportWorld;
  readonly #client: PeerClient;
  readonly #picker: UrlPicker;
  readonly #peerId: string;
  readonly #timer: Timer;
  #asking = false;
  #stopped = false;
  #verdict: Verdict = "well";

  constructor(world: TransportWorld, client: PeerClient, id: bigint, picker: UrlPicker) {
    this.#world = world;
    this.#client = client;
    this.#picker = picker;
    this.#peerId = memberIdText(id);
    this.#timer = world.clock.every(world.timeouts.connectionMs * INTERVAL_SHARE, () => void this.#probe());
  }

  stop(): void {
    this.#stopped = true;
    this.#timer.cancel();
  }

  /** Never rejects. */
  async #probe(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    const { clock, metrics } = this.#world;
    const began = clock.now();
    const wallBegan = clock.wallNow();
    try {
      const theirs = await this.#client.probe(this.#picker.pick());
      const tookMs = clock.now() - began;
      metrics.observe("etcd_network_peer_round_trip_time_seconds", tookMs / 1000, { To: this.#peerId });
      const differenceMs = Math.abs(theirs - (wallBegan + tookMs / 2)) - tookMs / 2;
      const differs = differenceMs > CLOCK_DIFFERENCE_MS;
      this.#tell(differs ? "clock differs" : "well", { "clock-drift": `${Math.round(differenceMs)}ms` });
    } catch (error) {
      this.#tell("unhealthy", { error: describeError(error) });
    }
    this.#asking = false;
  }

  /** What is so for a long time is told once. */
  #tell(verdict: Verdict, fields: Record<string, unknown>): void {
    if (this.#stopped || verdict === this.#verdict) return;
    this.#verdict = verdict;
    const all = { "remote-peer-id": this.#peerId, ...fields };
    if (verdict === "unhealthy") this.#world.log.warn("prober detected unhealthy status", all);
    if (verdict === "clock differs") this.#world.log.warn("prober found high clock drift", all);
  }
}
