/**
 * Many leases that run out while clients put: each in its time, and none that is kept alive.
 *
 *     node dist/test/campaigns/leases.js [--leases 100000] [--kept 1000] [--puts 2000]
 *
 * Leases of 10 to 20 seconds are granted, some of them kept alive, and so many puts a second are made meanwhile. How many have run out is asked of
 * the server's metrics four times a second, and compared with how many should have.
 *
 * Laws, which end the command with exit code 1 when they are broken: none runs out before its time or more than 2 seconds after it; 99 of 100 puts
 * take less than 50 ms; those that are kept alive are there at the end, and the others are not.
 */
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Client, credentials } from "@grpc/grpc-js";
import { underTest } from "../support/binaries.js";
import { encode, type Message } from "../support/messages.js";
import { Stage, type Server } from "../support/servers.js";

const TTL_MIN_SECONDS = 10;
const TTL_CHOICES = 11;
const LATE_MS_MAX = 2_000;
/** Between two looks at the server, which an expiry may be told late by. */
const LOOK_MS = 250;
const PUT_P99_MS_MAX = 50;
const RENEW_MS = 3_000;
const GRANTS_AT_ONCE = 100;

/** Puts at a steady rate, whatever the answers take; answers what each took, in milliseconds, in ascending order. */
class SteadyPuts {
  readonly #server: Server;
  readonly #tookMs: number[] = [];
  #over = false;
  readonly #done: Promise<void>;

  constructor(server: Server, perSecond: number) {
    this.#server = server;
    this.#done = this.#run(perSecond);
  }

  async #run(perSecond: number): Promise<void> {
    const began = performance.now();
    const underWay: Promise<void>[] = [];
    for (let made = 0; !this.#over;) {
      for (const due = ((performance.now() - began) * perSecond) / 1000; made < due; made++) {
        underWay.push(this.#put(made));
      }
      await pause(2);
    }
    await Promise.all(underWay);
  }

  async #put(number: number): Promise<void> {
    const began = performance.now();
    await this.#server.client.put(`key/${number % 1_000}`, "value");
    this.#tookMs.push(performance.now() - began);
  }

  async end(): Promise<number[]> {
    this.#over = true;
    await this.#done;
    return this.#tookMs.sort((a, b) => a - b);
  }
}

/** Renews leases on one stream until it is ended. */
function keepAlive(server: Server, ids: readonly number[]): { end(): void } {
  const client = new Client(server.address, credentials.createInsecure());
  const same = (bytes: Buffer): Buffer => bytes;
  const stream = client.makeBidiStreamRequest("/etcdserverpb.Lease/LeaseKeepAlive", same, same);
  stream.on("data", () => undefined);
  stream.on("error", () => undefined); // it is cancelled below
  const renew = (): void => {
    for (const ID of ids) stream.write(Buffer.from(encode("LeaseKeepAliveRequest", { ID })));
  };
  renew();
  const timer = setInterval(renew, RENEW_MS);
  return {
    end: () => {
      clearInterval(timer);
      stream.cancel();
      client.close();
    },
  };
}

async function expiredCount(server: Server): Promise<number> {
  const text = await (await fetch(`http://${server.address}/metrics`)).text();
  return Number(/^etcd_debugging_server_lease_expired_total (\S+)/m.exec(text)?.[1] ?? 0);
}

async function main(): Promise<boolean> {
  const { values } = parseArgs({
    options: {
      leases: { type: "string", default: "100000" },
      kept: { type: "string", default: "1000" },
      puts: { type: "string", default: "2000" },
    },
  });
  const count = Number(values.leases);
  const kept = Number(values.kept);
  return Stage.with(async (stage) => {
    const server = await stage.start(underTest(), await stage.seat());
    /** When each of those that nobody keeps alive is to run out. */
    const due: number[] = [];
    let next = 1;
    const grant = async (): Promise<void> => {
      while (next <= count) {
        const ID = next++;
        const TTL = TTL_MIN_SECONDS + (ID % TTL_CHOICES);
        await server.client.call("LeaseGrant", { ID, TTL });
        if (ID > kept) due.push(performance.now() + TTL * 1000);
      }
    };
    const alive = keepAlive(
      server,
      Array.from({ length: kept }, (_, i) => i + 1),
    );
    const began = performance.now();
    await Promise.all(Array.from({ length: GRANTS_AT_ONCE }, grant));
    console.log(`${count} leases granted in ${((performance.now() - began) / 1000).toFixed(1)} s`);
    due.sort((a, b) => a - b);
    const puts = new SteadyPuts(server, Number(values.puts));
    let [expired, lateMs, earlyMs] = [0, 0, 0];
    for (let looked = performance.now(); expired < due.length; looked = performance.now()) {
      expired = await expiredCount(server);
      const now = performance.now();
      // The next one has not run out: it is late if it should have. The last one that has should have.
      if (expired < due.length) lateMs = Math.max(lateMs, looked - due[expired]!);
      if (expired > 0) earlyMs = Math.max(earlyMs, due[expired - 1]! - now);
      if (now > due.at(-1)! + 60_000) break;
      await pause(LOOK_MS);
    }
    const tookMs = await puts.end();
    alive.end();
    const { leases = [] } = (await server.client.call("LeaseLeases", {})) as { leases?: readonly Message[] };
    const left = leases.filter(({ ID }) => Number(ID) <= kept).length;
    const p99 = tookMs[Math.floor(tookMs.length * 0.99)] ?? Infinity;
    console.log(
      `${expired} of ${due.length} ran out, at most ${lateMs.toFixed(0)} ms late and ${earlyMs.toFixed(0)} ms early; ` +
        `${tookMs.length} puts, p50 ${tookMs[tookMs.length >> 1]?.toFixed(2)} ms, p99 ${p99.toFixed(1)} ms; ` +
        `${left} of ${kept} kept alive are there, and ${leases.length - left} others`,
    );
    const inTime = expired === due.length && lateMs <= LATE_MS_MAX && earlyMs <= LOOK_MS;
    return inTime && p99 < PUT_P99_MS_MAX && left === kept && leases.length === left;
  });
}

if (!(await main())) process.exitCode = 1;
