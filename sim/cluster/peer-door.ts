/** The way to the other members, as a simulated member sees it: `src/server/peers.ts` over the simulated network. */
import type { Clock } from "../../src/platform/index.js";
import type { Member } from "../../src/membership/member.js";
import type { LeaseTimeToLiveRequest, LeaseTimeToLiveResponse } from "../../src/proto/generated/etcdserverpb/lease.js";
import type { HashKVResponse } from "../../src/proto/generated/etcdserverpb/maintenance.js";
import type {
  LocalIdentity,
  PeerDoor,
  PeerReceiver,
  Peers,
  PeerVersions,
  RemoteCluster,
} from "../../src/server/peers.js";
import { SERVED_VERSION } from "../../src/server/contract.js";
import type { NetworkMachine, PeerProcess, SimPeerNetwork } from "./peer-network.js";
import type { Owner } from "./scheduler.js";

export class SimPeerDoor implements PeerDoor {
  readonly #network: SimPeerNetwork;
  readonly #machine: NetworkMachine;
  readonly #owner: Owner;
  readonly #clock: Clock;

  constructor(network: SimPeerNetwork, machine: NetworkMachine, owner: Owner, clock: Clock) {
    this.#network = network;
    this.#machine = machine;
    this.#owner = owner;
    this.#clock = clock;
  }

  connect(local: LocalIdentity, receiver: PeerReceiver): Peers {
    const process: PeerProcess = {
      machine: this.#machine,
      owner: this.#owner,
      clock: this.#clock,
      local,
      receiver,
      learn: (id, machine) => {
        if (!machines.has(id)) learned.set(id, machine);
      },
    };
    const network = this.#network;
    const machines = new Map<bigint, string>();
    const learned = new Map<bigint, string>();
    let stopped = false;
    if (!this.#owner.gone) network.open(process);
    return {
      send: (messages) => {
        if (stopped) return;
        for (const message of messages) {
          const to = machines.get(message.to) ?? learned.get(message.to);
          if (to !== undefined) network.send(process, to, message);
        }
      },
      sendSnapshot: (message, database) => {
        network.sendSnapshot(
          process,
          stopped ? undefined : (machines.get(message.to) ?? learned.get(message.to)),
          message,
          database,
        );
      },
      add: (id, urls) => {
        const machine = machineOf(urls[0]);
        if (machine !== undefined && id !== local.memberId) machines.set(id, machine);
        learned.delete(id);
      },
      remove: (id) => {
        machines.delete(id);
        learned.delete(id);
      },
      activeSince: (id) => {
        const machine = machines.get(id);
        return machine === undefined ? undefined : network.openSince(machine, this.#machine.name);
      },
      stop: async () => {
        const first = !stopped && !this.#owner.gone;
        stopped = true;
        if (first) await network.close(this.#machine);
      },
    };
  }

  fetchCluster(urls: readonly string[]): Promise<RemoteCluster | undefined> {
    return this.#ask(urls, ({ local, receiver }) =>
      Promise.resolve({ clusterId: local.clusterId, members: receiver.members() }),
    );
  }

  fetchVersions(urls: readonly string[]): Promise<PeerVersions | undefined> {
    return this.#ask(urls, ({ receiver }) =>
      Promise.resolve({ server: SERVED_VERSION, cluster: receiver.clusterVersion() ?? "not_decided" }),
    );
  }

  fetchHashKv(urls: readonly string[], revision: number): Promise<HashKVResponse | undefined> {
    return this.#ask(urls, ({ receiver }) => receiver.hashKv(revision));
  }

  promote(
    urls: readonly string[],
    memberId: bigint,
    _local?: LocalIdentity,
    token?: string,
  ): Promise<readonly Member[] | undefined> {
    return this.#ask(urls, ({ receiver }) => receiver.promote(memberId, token));
  }

  renewLease(urls: readonly string[], id: bigint): Promise<number | undefined> {
    return this.#ask(urls, ({ receiver }) => receiver.renewLease(id));
  }

  leaseTimeToLive(
    urls: readonly string[],
    request: LeaseTimeToLiveRequest,
  ): Promise<LeaseTimeToLiveResponse | undefined> {
    return this.#ask(urls, ({ receiver }) => receiver.leaseTimeToLive(request));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #ask<Answer>(
    urls: readonly string[],
    answer: (process: PeerProcess) => Promise<Answer>,
  ): Promise<Answer | undefined> {
    const machines = urls.flatMap((url) => machineOf(url) ?? []);
    return this.#network.request({ name: this.#machine.name, owner: this.#owner }, machines, answer);
  }
}

/** The peer URL of a machine of the simulated world. */
export function peerUrlOf(machine: string): string {
  return `http://${machine}:2380`;
}

/** The machine of a peer URL. */
export function machineOf(url: string | undefined): string | undefined {
  return url === undefined ? undefined : /^http:\/\/([^:/]+):/.exec(url)?.[1];
}
