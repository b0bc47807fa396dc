/**
 * Whether this member says that it serves, as gRPC's health service tells clients and load balancers. It does, for as long as its port is open;
 * with etcd's `--experimental-stop-grpc-service-on-defrag` not while it defragments.
 */
import {
  HealthCheckResponse_ServingStatus,
  healthCheckResponse_ServingStatusToJSON,
} from "../proto/generated/grpc/health/v1/health.js";
import type { Log } from "../platform/log.js";
import { silentLog } from "../platform/log.js";

const { SERVING, NOT_SERVING } = HealthCheckResponse_ServingStatus;

export class ServingState {
  readonly #log: Log;
  readonly #stopsOnDefragmentation: boolean;
  readonly #listeners = new Set<() => void>();
  #defragmentations = 0;

  constructor(log: Log = silentLog, stopsOnDefragmentation = false) {
    this.#log = log;
    this.#stopsOnDefragmentation = stopsOnDefragmentation;
  }

  get status(): HealthCheckResponse_ServingStatus {
    return this.#defragmentations > 0 ? NOT_SERVING : SERVING;
  }

  /** Calls at each change until the answer is called. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async whileDefragmenting(work: () => Promise<void>): Promise<void> {
    if (!this.#stopsOnDefragmentation) return work();
    this.#change(1, { reason: "defrag is active" });
    try {
      await work();
    } finally {
      this.#change(-1, {});
    }
  }

  #change(by: 1 | -1, fields: Readonly<Record<string, string>>): void {
    const before = this.status;
    this.#defragmentations += by;
    if (this.status === before) return;
    const tell = this.status === SERVING ? "info" : "warn";
    const status = healthCheckResponse_ServingStatusToJSON(this.status);
    this.#log[tell]("grpc service status changed", { service: "", status, ...fields });
    for (const listener of this.#listeners) listener();
  }
}
