/**
 * A cluster of processes: members that are killed, stopped and started again, come and go, and change the program that runs
 * them, on ports and folders that stay theirs. It tells who leads, and whether all members hold the same.
 *
 * A member may be any server of `binaries.ts`, and another one after its next start on the same directory.
 */
import type { ServerBinary } from "./binaries.js";
import { CallError, idOf, type EtcdClient, type MemberStatus } from "./client.js";
import { contents, differences, type Contents } from "./contents.js";
import type { Message } from "./messages.js";
import {
  describeExit,
  peerUrl,
  type Founding,
  type Seat,
  type Server,
  type Stage,
  type StartOptions,
} from "./servers.js";

export interface ClusterOptions extends Omit<StartOptions, "founding"> {
  /** What is particular to one member's process, as the network that it lives in. Asked before each of its starts. */
  readonly placement?: (seat: Seat, founding: Founding) => Promise<Pick<StartOptions, "flags" | "wrap">>;
}

const LEADER_WITHIN_MS = 60_000;
const AGREE_WITHIN_MS = 120_000;
const STATUS_WITHIN_MS = 2_000;
const DECIDED_WITHIN_MS = 60_000;
const POLL_MS = 20;

/** One member, running or not. */
export class ClusterMember {
  readonly seat: Seat;
  readonly id: bigint;
  #server: Server;

  constructor(id: bigint, server: Server) {
    this.id = id;
    this.seat = server.seat;
    this.#server = server;
  }

  /** The process: the one that runs, or the last one that did. */
  get server(): Server {
    return this.#server;
  }

  get name(): string {
    return this.seat.name;
  }

  get binary(): ServerBinary {
    return this.#server.binary;
  }

  get running(): boolean {
    return this.#server.running;
  }

  get client(): EtcdClient {
    return this.#server.client;
  }

  /** Host and port for clients. */
  get address(): string {
    return this.#server.address;
  }

  get describe(): string {
    return `${this.name} (${this.binary.name})`;
  }

  async status(): Promise<MemberStatus> {
    return this.client.status(STATUS_WITHIN_MS);
  }

  /** SIGKILL. */
  async kill(): Promise<void> {
    await this.#server.kill();
  }

  /** SIGTERM. @throws when it does not end well */
  async stop(): Promise<void> {
    await this.#server.stop();
  }

  /** For the cluster: the process that runs this member from now on. */
  runsAs(server: Server): void {
    this.#server = server;
  }
}

export class Cluster {
  readonly #stage: Stage;
  readonly #options: ClusterOptions;
  #members: ClusterMember[] = [];
  #names = 0;

  private constructor(stage: Stage, options: ClusterOptions) {
    this.#stage = stage;
    this.#options = options;
  }

  /** A new cluster with a member for each of `binaries`, started together; resolves when it has a leader. */
  static async start(stage: Stage, binaries: readonly ServerBinary[], options: ClusterOptions = {}): Promise<Cluster> {
    const cluster = new Cluster(stage, options);
    const seats: Seat[] = [];
    for (const _ of binaries) seats.push(await cluster.#seat());
    const founding: Founding = { seats, state: "new" };
    const placed: StartOptions[] = [];
    for (const seat of seats) placed.push(await cluster.#startOptions(seat, founding));
    const starting = binaries.map(async (binary, i) => stage.start(binary, seats[i]!, placed[i]));
    for (const server of await all(starting)) {
      const { memberId } = await server.client.status();
      cluster.#members.push(new ClusterMember(memberId, server));
    }
    await cluster.leader();
    return cluster;
  }

  /** In the order in which they joined. */
  get members(): readonly ClusterMember[] {
    return this.#members;
  }

  get running(): readonly ClusterMember[] {
    return this.#members.filter(({ running }) => running);
  }

  /** Where clients find the members, running or not: a client knows no better. */
  get addresses(): readonly string[] {
    return this.#members.map(({ address }) => address);
  }

  /** Members other than this one that run. */
  others(than: ClusterMember): readonly ClusterMember[] {
    return this.running.filter((member) => member !== than);
  }

  /** Waits until all members that run know the same leader, and it is one of them. */
  async leader(): Promise<ClusterMember> {
    return eventually("the members to know one leader", LEADER_WITHIN_MS, async () => {
      const told = await Promise.all(this.running.map(async (member) => member.status()));
      const [first] = told;
      const found = this.running.find(({ id }) => id === first?.leader);
      if (found !== undefined && told.every(({ leader, term }) => leader === found.id && term === first!.term))
        return found;
      return told
        .map(({ memberId, leader, term }) => `${hex(memberId)} follows ${hex(leader)} in term ${term}`)
        .join(", ");
    });
  }

  /** Makes a member the leader. An election on a busy machine may come between: then it is asked for again. */
  async moveLeader(to: ClusterMember): Promise<void> {
    await eventually(`${to.describe} to lead`, LEADER_WITHIN_MS, async () => {
      const from = await this.leader();
      if (from === to) return true;
      try {
        await from.client.call("MoveLeader", { targetID: to.id });
      } catch (error) {
        if (!String(error).includes("not leader")) throw error;
      }
      const leader = await this.leader();
      return leader === to ? true : `${leader.describe} leads`;
    });
  }

  /** Starts a member again, by another program where one is given; resolves when it serves. */
  async restart(member: ClusterMember, binary: ServerBinary = member.binary): Promise<void> {
    if (member.running) throw new Error(`${member.describe} runs: stop or kill it first`);
    const options = await this.#startOptions(member.seat, this.#founding());
    member.runsAs(await this.#stage.start(binary, member.seat, options));
  }

  /** Stops all members that run, one after the other. */
  async stop(): Promise<void> {
    for (const member of this.running) await member.stop();
  }

  /** Starts all members that do not run, together; resolves when there is a leader. */
  async restartAll(): Promise<void> {
    await all(this.#members.filter(({ running }) => !running).map(async (member) => this.restart(member)));
    await this.leader();
  }

  /** Waits until a member has applied what the leader had in its log when this was asked. */
  async caughtUp(member: ClusterMember): Promise<void> {
    const { index } = await (await this.leader()).status();
    await eventually(`${member.describe} to apply entry ${index}`, AGREE_WITHIN_MS, async () => {
      const { appliedIndex } = await member.status();
      return appliedIndex >= index ? true : `it is at ${appliedIndex}`;
    });
  }

  /** Adds a member that votes, and starts it; resolves when it serves. */
  async add(binary: ServerBinary): Promise<ClusterMember> {
    const seat = await this.#seat();
    const added = await this.#change("MemberAdd", { peerURLs: [peerUrl(seat)] });
    const founding: Founding = { seats: [...this.#founding().seats, seat], state: "existing" };
    const server = await this.#stage.start(binary, seat, await this.#startOptions(seat, founding));
    const member = new ClusterMember(idOf((added["member"] as Message)["ID"]), server);
    this.#members.push(member);
    return member;
  }

  /** Takes a member out of the cluster. Its process ends by itself, as one that has done its work. @throws when it does not */
  async remove(member: ClusterMember): Promise<void> {
    this.#members = this.#members.filter((each) => each !== member);
    await this.#change("MemberRemove", { ID: member.id });
    const late = new Promise<"late">((resolve) => setTimeout(() => resolve("late"), LEADER_WITHIN_MS).unref());
    const exit = await Promise.race([member.server.exited(), late]);
    if (exit === "late") throw new Error(`${member.describe} was removed and runs ${LEADER_WITHIN_MS} ms later`);
    if (exit.code !== 0) throw new Error(`${member.describe} was removed and ended with ${describeExit(exit)}`);
  }

  /** hashKV of every member that runs, at a revision that all of them have. @throws where they differ */
  async sameHash(where: string): Promise<{ revision: number; hash: number }> {
    const statuses = await Promise.all(this.running.map(async (member) => member.status()));
    const revision = Math.min(...statuses.map((status) => status.revision));
    const told = await Promise.all(this.running.map(async ({ client }) => client.hashKV(revision)));
    const [first] = told;
    if (told.some(({ hash, compactRevision }) => hash !== first!.hash || compactRevision !== first!.compactRevision)) {
      const lines = told.map(
        ({ hash, compactRevision }, i) => `${this.running[i]!.describe}: ${hash}, compacted ${compactRevision}`,
      );
      throw new Error(`${where}: hashKV at revision ${revision} differs:\n${lines.join("\n")}`);
    }
    return { revision, hash: first!.hash };
  }

  /**
   * Waits until all members are at the same revision, and compares all they hold: every field of every key, and hashKV.
   * Nothing may be written meanwhile. @throws with the differences, or with the members that do not run
   */
  async sameContents(where: string): Promise<Contents> {
    const missing = this.#members.filter(({ running }) => !running).map(({ describe }) => describe);
    if (missing.length > 0) throw new Error(`${where}: not running: ${missing.join(", ")}`);
    await this.settled();
    const { revision } = await this.sameHash(where);
    const [first, ...rest] = this.running;
    const past = Math.max(2, Math.floor(revision / 2));
    const expected = await contents(first!.client, [past]);
    for (const member of rest) {
      const told = differences(expected, await contents(member.client, [past]));
      if (told.length > 0)
        throw new Error(
          `${where}: ${member.describe} tells another story than ${first!.describe}:\n${told.join("\n")}`,
        );
    }
    return expected;
  }

  /** Waits until all members that run have applied the same entries. */
  async settled(): Promise<void> {
    await this.leader();
    await eventually("the members to be at the same entry", AGREE_WITHIN_MS, async () => {
      const told = await Promise.all(this.running.map(async (member) => member.status()));
      const [first] = told;
      if (told.every(({ appliedIndex, index }) => appliedIndex === first!.index && index === first!.index)) return true;
      return told
        .map(({ memberId, appliedIndex, index }) => `${hex(memberId)} applied ${appliedIndex} of ${index}`)
        .join(", ");
    });
  }

  async #seat(): Promise<Seat> {
    return this.#stage.seat(`m${++this.#names}`);
  }

  async #startOptions(seat: Seat, founding: Founding): Promise<StartOptions> {
    const { placement, ...common } = this.#options;
    const placed = await placement?.(seat, founding);
    return { ...common, founding, ...placed, flags: [...(common.flags ?? []), ...(placed?.flags ?? [])] };
  }

  #founding(): Founding {
    return { seats: this.#members.map(({ seat }) => seat), state: "new" };
  }

  /**
   * Asks a member of the cluster to change its members. A cluster whose members have not all talked to each other for some
   * seconds refuses (`--strict-reconfig-check`): it is asked until it does not.
   */
  async #change(method: "MemberAdd" | "MemberRemove", request: Message): Promise<Message> {
    return eventually(`${method} to be accepted`, LEADER_WITHIN_MS, async () => {
      return this.running[0]!.client.call(method, request);
    });
  }
}

const hex = (id: bigint): string => id.toString(16);

/** The results of all, when all have ended: nothing goes on in the background when one fails. */
export async function all<T extends readonly unknown[]>(
  promises: T,
): Promise<{ -readonly [P in keyof T]: Awaited<T[P]> }> {
  const ended = await Promise.allSettled(promises);
  const failed = ended.find((each) => each.status === "rejected");
  if (failed !== undefined) throw failed.reason;
  return Promise.all(promises);
}

/** Codes of gRPC for "not now": a member that comes up, an election, a cluster that is not whole. */
const NOT_NOW = new Set([4, 14]);

/** Waits until the member tells others that the cluster has this version. Its peer port must be within reach. */
export async function versionDecided(member: ClusterMember, expected: string): Promise<void> {
  await eventually(`${member.describe} to know cluster version ${expected}`, DECIDED_WITHIN_MS, async () => {
    const response = await fetch(`http://127.0.0.1:${member.seat.peerPort}/version`);
    const { etcdcluster } = (await response.json()) as { etcdcluster: string };
    return etcdcluster === expected ? true : `it says ${etcdcluster}`;
  });
}

/** Asks again and again until the answer is not a text, which says what is still missing. A member that cannot answer now is asked again. */
export async function eventually<T>(
  what: string,
  withinMs: number,
  probe: () => Promise<Exclude<T, string> | string>,
): Promise<Exclude<T, string>> {
  const begin = performance.now();
  for (;;) {
    const answer = await probe().catch((error: unknown) => {
      if (error instanceof CallError && NOT_NOW.has(error.code)) return error.message;
      throw error;
    });
    if (typeof answer !== "string") return answer;
    if (performance.now() - begin > withinMs) throw new Error(`waited ${withinMs} ms for ${what}: ${answer}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
