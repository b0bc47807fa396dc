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
import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Client, credentials } from "@grpc/grpc-js";
import { underTest } from "../support/binaries.js";
import { answerOf } from "../support/child-answer.js";
import { EtcdClient } from "../support/client.js";
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

/** Put before those that are counted, so that it is not the client's own code that is being compiled. */
const WARM_UP_PUTS = 1_000;

/** Puts at a steady rate, whatever the answers take, until told to stop; answers what each took, in milliseconds, in ascending order. */
async function putSteadily(address: string, perSecond: number, stopped: Promise<unknown>): Promise<number[]> {
  const client = new EtcdClient(address);
  for (let i = 0; i < WARM_UP_PUTS; i++) await client.put(`key/${i}`, "value");
  const tookMs: number[] = [];
  const put = async (number: number): Promise<void> => {
    const began = performance.now();
    await client.put(`key/${number % 1_000}`, "value");
    tookMs.push(performance.now() - began);
  };
  let over = false;
  void stopped.then(() => (over = true));
  const isOver = (): boolean => over;
  const underWay: Promise<void>[] = [];
  const began = performance.now();
  for (let made = 0; !isOver();) {
    for (const due = ((performance.now() - began) * perSecond) / 1000; made < due; made++) underWay.push(put(made));
    await pause(2);
  }
  await Promise.all(underWay);
  client.close();
  return tookMs.sort((a, b) => a - b);
}

/** Puts from a process of their own: this one renews a thousand leases in a turn, and puts would wait for that, not for the member. */
class SteadyPuts {
  readonly #child: ChildProcess;

  constructor(server: Server, perSecond: number) {
    const options = ["--putter", server.address, "--puts", String(perSecond)];
    this.#child = fork(import.meta.filename, options, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  }

  async end(): Promise<number[]> {
    if (this.#child.connected) this.#child.send("stop");
    return answerOf<number[]>(this.#child, "steady puts");
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
      putter: { type: "string" },
    },
  });
  if (values.putter !== undefined) {
    const tookMs = await putSteadily(values.putter, Number(values.puts), once(process, "message"));
    process.send!(tookMs, () => process.exit(0));
    return true;
  }
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
