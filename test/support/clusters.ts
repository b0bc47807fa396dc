/** Clusters of several members as processes, each on a seat of its own. */
import type { ServerBinary } from "./binaries.js";
import type { Seat, Server, Stage, StartOptions } from "./servers.js";

/** Seats named `a`, `b`, `c`, … */
export async function clusterSeats(stage: Stage, count: number): Promise<Seat[]> {
  const seats: Seat[] = [];
  for (let at = 0; at < count; at++) seats.push(await stage.seat(String.fromCharCode("a".charCodeAt(0) + at)));
  return seats;
}

/** The flag that tells each member of all; it counts over the one that a seat alone has. */
export function initialCluster(seats: readonly Seat[]): string {
  const members = seats.map(({ name, peerPort }) => `${name}=http://127.0.0.1:${peerPort}`);
  return `--initial-cluster=${members.join(",")}`;
}

/** Starts a cluster: none of its members serves before a majority is up. */
export function startCluster(
  stage: Stage,
  binaries: readonly ServerBinary[],
  seats: readonly Seat[],
  options: StartOptions = {},
): Promise<Server[]> {
  const flags = [...(options.flags ?? []), initialCluster(seats)];
  return Promise.all(
    seats.map((seat, at) => stage.start(binaries[at % binaries.length]!, seat, { ...options, flags })),
  );
}
