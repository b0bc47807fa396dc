/**
 * The time of leases on the member that leads: it revokes through the log what has run out, renews what clients keep alive, and tells the
 * others now and then how much of long leases is left.
 *
 * Laws:
 * - a lease is revoked only by its entry in the log, and proposed for it only while this member leads: what ran out while the process
 *   stood still may have been renewed elsewhere, so leadership is confirmed by a majority first;
 * - a lease that has run out is not renewed any more: whoever asks waits until it is gone, or until somebody else leads (etcd's rule);
 * - at most `REVOCATIONS_IN_FLIGHT_MAX` revocations are on their way, so that a million leases that run out at once leave room for others.
 */
import { describeError } from "../base/errors.js";
import { LEASE_CHECKPOINTS_PER_ENTRY, REVOCATIONS_IN_FLIGHT_MAX, SLICE_MS_MAX } from "../base/limits.js";
import { LeaseError, type Leases } from "../lease/leases.js";
import type { Clock, Log, Timer } from "../platform/index.js";
import type { LeaseCheckpoint } from "../proto/generated/etcdserverpb/lease.js";
import type { Receiver } from "./contract.js";
import { RequestError } from "./errors.js";
import type { Metrics } from "./metrics.js";

/** Between two looks for what has run out. */
const TURN_MS = 200;
/** A confirmation holds for so long: who proposes later may have stood still meanwhile, and asks again. */
const CONFIRMED_MS = 2 * TURN_MS;

export interface LeaseKeeperDependencies {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Those of the present tables. */
  readonly leases: () => Leases;
  /** Resolves when a majority has confirmed that this member leads, and all that was committed then is applied. */
  readonly confirmLeadership: () => Promise<void>;
  /** Proposes a revocation; resolves when it is applied. */
  readonly revoke: (id: bigint) => Promise<void>;
  /** Proposes to note how much time leases have left; resolves when it is applied. */
  readonly checkpoint: (checkpoints: readonly LeaseCheckpoint[]) => Promise<void>;
}

export interface LeaseKeeperOptions {
  /** What each lease has on top of its time when this member begins to lead. */
  readonly extendMs: number;
  /** Leases revoked in a second at most; 0 for no limit. */
  readonly revocationsPerSecond: number;
  /** Whether others are told how much time long leases have left. */
  readonly checkpoints: boolean;
  /** Between two times that they are told; leases of a longer time to live are told of. */
  readonly checkpointMs: number;
}

export class LeaseKeeper {
  readonly #d: LeaseKeeperDependencies;
  readonly #options: LeaseKeeperOptions;
  #isPrimary = false;
  #timer: Timer | undefined;
  /** What has run out and is still to be proposed. */
  #due: bigint[] = [];
  #inFlight = 0;
  /** Revocations left to this turn, where there is a limit. */
  #allowance = Infinity;
  /** A look at what has run out is under way. */
  #isTurning = false;
  readonly #waiting = new Map<bigint, Receiver<number>[]>();
  #checkpointAt = 0;
  /** When a majority was last asked whether this member leads, and said so. */
  #confirmedAt = Number.NEGATIVE_INFINITY;

  constructor(d: LeaseKeeperDependencies, options: LeaseKeeperOptions) {
    this.#d = d;
    this.#options = options;
  }

  /** This member begins to lead, or does not lead any more. */
  onLeadership(leads: boolean): void {
    if (leads === this.#isPrimary) return;
    this.#isPrimary = leads;
    this.#due = [];
    const leases = this.#d.leases();
    if (!leads) {
      this.#stopTurning();
      leases.demote();
      this.#refuseWaiting("this member does not lead any more");
      return;
    }
    leases.promote(this.#options.extendMs);
    this.#checkpointAt = this.#d.clock.now() + this.#options.checkpointMs;
    this.#timer = this.#d.clock.every(TURN_MS, () => void this.#turn());
    void this.#promote(leases);
  }

  /** Told by the applier. */
  onRevoked(id: bigint): void {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    this.#waiting.delete(id);
    for (const receiver of waiting) receiver.reject(new LeaseError("LEASE_NOT_FOUND", `lease ${id} has run out`));
  }

  /**
   * Renews a lease and tells its whole time, in seconds: at once, or when what it has to wait for is over. This member leads, and has
   * applied all that it knows to be committed.
   */
  renewFor(id: bigint, receiver: Receiver<number>): void {
    const leases = this.#d.leases();
    const look = this.#isPrimary ? leases.look(id) : undefined;
    if (!this.#isPrimary) receiver.reject(notPrimary());
    else if (look === undefined) receiver.reject(new LeaseError("LEASE_NOT_FOUND", `no lease ${id}`));
    else if (look.leftMs <= 0) this.#wait(id, receiver);
    else if (this.#options.checkpoints && leases.isShortened(id)) this.#renewShortened(id, receiver);
    else {
      leases.renew(id);
      this.#d.metrics.count("etcd_debugging_lease_renewed_total");
      receiver.resolve(look.ttlSeconds);
    }
  }

  stop(): void {
    this.#stopTurning();
    this.#isPrimary = false;
    this.#due = [];
    this.#refuseWaiting("the member is stopping");
  }

  #stopTurning(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #wait(id: bigint, receiver: Receiver<number>): void {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) this.#waiting.set(id, [receiver]);
    else waiting.push(receiver);
  }

  #refuseWaiting(why: string): void {
    const all = [...this.#waiting.values()].flat();
    this.#waiting.clear();
    for (const receiver of all) receiver.reject(notPrimary(why));
  }

  /** What a checkpoint took from the lease goes back to it through the log: two entries for each checkpoint at most. */
  #renewShortened(id: bigint, receiver: Receiver<number>): void {
    this.#d.checkpoint([{ ID: id, remainingTTL: 0 }]).then(
      () => this.renewFor(id, receiver),
      (error: unknown) => receiver.reject(error),
    );
  }

  /** Gives each lease its time, in slices. */
  async #promote(leases: Leases): Promise<void> {
    const { clock } = this.#d;
    for (let more = true; more;) {
      const began = clock.now();
      do more = leases.promoteSlice();
      while (more && clock.now() - began < SLICE_MS_MAX / 2);
      if (more) await clock.yield();
      if (!this.#isPrimary || leases !== this.#d.leases()) return;
    }
  }

  async #turn(): Promise<void> {
    const { revocationsPerSecond } = this.#options;
    this.#allowance = revocationsPerSecond > 0 ? Math.ceil((revocationsPerSecond * TURN_MS) / 1000) : Infinity;
    if (this.#isTurning) return;
    this.#isTurning = true;
    try {
      this.#look();
      if (this.#due.length > 0) {
        const asked = this.#d.clock.now();
        await this.#d.confirmLeadership();
        this.#confirmedAt = asked;
        this.#pump();
      }
      if (this.#options.checkpoints) await this.#checkpoint();
    } catch (error) {
      this.#d.log.warn("leases that have run out are not revoked: this member may not lead any more", {
        error: describeError(error),
      });
      this.#due = []; // they are told again
    } finally {
      this.#isTurning = false;
    }
  }

  /** Tells the others what long leases have left, so that a new leader does not give them their whole time again. */
  async #checkpoint(): Promise<void> {
    const { clock } = this.#d;
    if (clock.now() < this.#checkpointAt) return;
    this.#checkpointAt = clock.now() + this.#options.checkpointMs;
    await this.#d.confirmLeadership();
    const leases = this.#d.leases();
    for (let from: number | undefined = 0; from !== undefined && this.#isPrimary;) {
      const slice = leases.remaining(from, LEASE_CHECKPOINTS_PER_ENTRY, this.#options.checkpointMs / 1000);
      if (slice.checkpoints.length > 0) await this.#d.checkpoint(slice.checkpoints);
      else await clock.yield();
      from = slice.next;
    }
  }

  #look(): void {
    if (!this.#isPrimary || this.#due.length > 0) return;
    this.#due = this.#d.leases().due(REVOCATIONS_IN_FLIGHT_MAX);
  }

  #pump(): void {
    if (this.#d.clock.now() - this.#confirmedAt > CONFIRMED_MS) return; // the next turn asks anew
    while (this.#isPrimary && this.#inFlight < REVOCATIONS_IN_FLIGHT_MAX && this.#allowance > 0) {
      this.#look();
      const id = this.#due.pop();
      if (id === undefined) return;
      this.#allowance--;
      this.#inFlight++;
      void this.#revoke(id);
    }
  }

  async #revoke(id: bigint): Promise<void> {
    try {
      await this.#d.revoke(id);
      this.#d.metrics.count("etcd_debugging_server_lease_expired_total");
    } catch (error) {
      // A client revoked it meanwhile, or it is told again.
      this.#d.log.warn("failed to revoke lease", { "lease-id": leaseText(id), error: describeError(error) });
    } finally {
      this.#inFlight--;
    }
    this.#pump();
  }
}

function notPrimary(detail = "this member does not lead"): RequestError {
  return new RequestError("SERVER_NOT_PRIMARY", detail);
}

/** As etcd's log names it. */
function leaseText(id: bigint): string {
  return BigInt.asUintN(64, id).toString(16).padStart(16, "0");
}
