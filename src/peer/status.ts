/** Whether a member is connected, and since when: any way to it that works makes it active, any that fails inactive (as in etcd). */
import { memberIdText } from "../membership/index.js";
import type { Clock, Log } from "../platform/index.js";
import type { PeerMetrics } from "./metrics.js";

export class PeerStatus {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #metrics: PeerMetrics;
  readonly #labels: Readonly<Record<string, string>>;
  readonly #peerId: string;
  #since: number | undefined;

  constructor(
    ids: { readonly local: bigint; readonly remote: bigint },
    { clock, log, metrics }: { readonly clock: Clock; readonly log: Log; readonly metrics: PeerMetrics },
  ) {
    this.#clock = clock;
    this.#log = log;
    this.#metrics = metrics;
    this.#peerId = memberIdText(ids.remote);
    this.#labels = { Local: memberIdText(ids.local), Remote: this.#peerId };
  }

  get since(): number | undefined {
    return this.#since;
  }

  activate(): void {
    if (this.#since !== undefined) return;
    this.#since = this.#clock.now();
    this.#log.info("peer became active", { "peer-id": this.#peerId });
    this.#metrics.set("etcd_network_active_peers", 1, this.#labels);
  }

  /** @param what as in `failed to dial ID on stream Message (REASON)` */
  deactivate(what: { readonly action: string; readonly source: string }, reason: string): void {
    const error = `failed to ${what.action} ${this.#peerId} on ${what.source} (${reason})`;
    if (this.#since === undefined) {
      this.#log.debug("peer deactivated again", { "peer-id": this.#peerId, error });
      return;
    }
    this.#since = undefined;
    this.#log.warn("peer became inactive (message send to peer failed)", { "peer-id": this.#peerId, error });
    this.#metrics.set("etcd_network_active_peers", 0, this.#labels);
    this.#metrics.count("etcd_network_disconnected_peers_total", 1, this.#labels);
  }
}
