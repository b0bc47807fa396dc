/**
 * The cluster's version: the lowest minor version among its members. The leader asks all members, and puts into the log what
 * they agree on; a member that cannot be asked leaves the version where it is.
 */
import { describeError } from "../base/errors.js";
import type { Member } from "../membership/member.js";
import { minorVersion } from "../membership/membership.js";
import type { Clock, Log, Timer } from "../platform/index.js";
import { SERVED_VERSION } from "./contract.js";
import type { LocalIdentity, PeerDoor } from "./peers.js";

/** Pause between two looks at the members' versions (etcd's figure). */
const LOOK_INTERVAL_MS = 5_000;
/** What a cluster is taken for whose members do not all tell their version (etcd's figure). */
const VERSION_MIN = "3.0.0";

export interface ClusterVersionDependencies {
  readonly local: LocalIdentity;
  readonly door: PeerDoor | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly isLeader: () => boolean;
  readonly members: () => readonly Member[];
  readonly clusterVersion: () => string | undefined;
  /** Puts a version, as `3.5.0`, into the log. */
  readonly propose: (version: string) => Promise<unknown>;
}

export class ClusterVersionMonitor {
  readonly #d: ClusterVersionDependencies;
  readonly #timer: Timer;
  #looking = false;
  #stopped = false;

  constructor(d: ClusterVersionDependencies) {
    this.#d = d;
    this.#timer = d.clock.every(LOOK_INTERVAL_MS, () => this.look());
  }

  /** Looks now: when this member begins to lead, and every 5 seconds. A look under way is not doubled. */
  look(): void {
    if (this.#looking || this.#stopped || !this.#d.isLeader()) return;
    this.#looking = true;
    this.#look()
      .catch((error: unknown) => {
        if (!this.#stopped) this.#d.log.warn("failed to update cluster version", { error: describeError(error) });
      })
      .finally(() => (this.#looking = false));
  }

  stop(): void {
    this.#stopped = true;
    this.#timer.cancel();
  }

  async #look(): Promise<void> {
    const decided = decideClusterVersion(await this.#memberVersions());
    const current = this.#d.clusterVersion();
    if (this.#stopped || !this.#d.isLeader()) return;
    const next = nextClusterVersion(current, decided);
    if (next === undefined) return;
    this.#d.log.info(
      current === undefined
        ? "setting up initial cluster version using v2 API"
        : "updating cluster version using v2 API",
      {
        ...(current === undefined ? {} : { from: minorVersion(current) }),
        [current === undefined ? "cluster-version" : "to"]: minorVersion(next),
      },
    );
    await this.#d.propose(next);
    this.#d.log.info("cluster version is updated", { "cluster-version": minorVersion(next) });
  }

  #memberVersions(): Promise<(string | undefined)[]> {
    const { door, local, members } = this.#d;
    return Promise.all(
      members().map(async ({ id, peerUrls }) => {
        if (id === local.memberId) return SERVED_VERSION;
        return (await door?.fetchVersions(peerUrls, local).catch(() => undefined))?.server;
      }),
    );
  }
}

/** The lowest of the members' versions, as `3.5.0`; undefined when one is not known. */
export function decideClusterVersion(versions: readonly (string | undefined)[]): string | undefined {
  let lowest: readonly [number, number] | undefined;
  for (const version of versions) {
    const match = /^(\d+)\.(\d+)\.\d+/.exec(version ?? "");
    if (match === null) return undefined;
    const found = [Number(match[1]), Number(match[2])] as const;
    if (lowest === undefined || isLower(found, lowest)) lowest = found;
  }
  return lowest === undefined ? undefined : `${lowest[0]}.${lowest[1]}.0`;
}

/** What to put into the log; undefined when the version stays. It never falls: that takes a downgrade. */
export function nextClusterVersion(current: string | undefined, decided: string | undefined): string | undefined {
  if (current === undefined) return decided ?? VERSION_MIN;
  return decided !== undefined && isOlderVersion(current, decided) ? decided : undefined;
}

/** Compares major and minor numbers only. */
export function isOlderVersion(version: string, than: string): boolean {
  return isLower(numbersOf(version), numbersOf(than));
}

function numbersOf(version: string): readonly [number, number] {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return [major, minor];
}

function isLower(a: readonly [number, number], b: readonly [number, number]): boolean {
  return a[0] < b[0] || (a[0] === b[0] && a[1] < b[1]);
}
