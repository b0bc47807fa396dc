import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { NodeClock } from "../platform/node/clock.js";
import {
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseKeepAliveRequest,
  LeaseKeepAliveResponse,
  LeaseLeasesResponse,
  LeaseRevokeRequest,
  LeaseTimeToLiveRequest,
  LeaseTimeToLiveResponse,
} from "../proto/index.js";
import { RequestError } from "../server/errors.js";
import { openClientPort, PrometheusMetrics } from "./index.js";
import { FakeMember } from "./testing/fake-member.js";

const same = (message: Buffer): Buffer => message;

interface Fixture {
  readonly member: FakeMember;
  readonly call: (method: string, request?: Uint8Array) => Promise<Buffer>;
  readonly keepAlive: (metadata?: grpc.Metadata) => KeepAliveStream;
}

/** A stream of renewals as a client has it. */
class KeepAliveStream {
  readonly #stream: grpc.ClientDuplexStream<Buffer, Buffer>;
  readonly answers: string[] = [];
  /** How it ended: "code text". */
  readonly ended: Promise<string>;
  #changed: () => void = () => undefined;

  constructor(client: grpc.Client, metadata = new grpc.Metadata()) {
    this.#stream = client.makeBidiStreamRequest("/etcdserverpb.Lease/LeaseKeepAlive", same, same, metadata);
    this.#stream.on("data", (bytes: Buffer) => {
      const { ID, TTL, header } = LeaseKeepAliveResponse.decode(bytes);
      this.answers.push(`${ID} ${TTL} at ${header!.revision}`);
      this.#changed();
    });
    this.#stream.on("error", () => undefined); // its status says it
    this.ended = new Promise((resolve) => {
      this.#stream.on("status", ({ code, details }: grpc.StatusObject) => resolve(`${code} ${details}`.trim()));
    });
  }

  send(...ids: bigint[]): void {
    for (const ID of ids) this.#stream.write(Buffer.from(LeaseKeepAliveRequest.encode({ ID }).finish()));
  }

  sendBytes(bytes: Uint8Array): void {
    this.#stream.write(Buffer.from(bytes));
  }

  end(): void {
    this.#stream.end();
  }

  async answered(count: number): Promise<string[]> {
    while (this.answers.length < count) await new Promise<void>((resolve) => (this.#changed = resolve));
    return this.answers;
  }
}

async function leaseFixture(t: TestContext): Promise<Fixture> {
  const member = new FakeMember();
  const metrics = new PrometheusMetrics({ processFigures: false });
  const port = await openClientPort(
    { kind: "tcp", host: "127.0.0.1", port: 0 },
    { clock: new NodeClock(), member, metrics, exposition: () => metrics.exposition(), observer: metrics },
  );
  const number = port.address.kind === "tcp" ? port.address.port : 0;
  const client = new grpc.Client(`127.0.0.1:${number}`, grpc.credentials.createInsecure());
  t.after(async () => {
    client.close();
    await port.stop(5000);
  });
  return {
    member,
    call: (method, request = new Uint8Array(0)) =>
      new Promise((resolve, reject) => {
        const path = `/etcdserverpb.Lease/${method}`;
        client.makeUnaryRequest(path, same, same, Buffer.from(request), (error, answer) => {
          if (error === null) resolve(answer!);
          else reject(new Error(`${error.code} ${error.details}`));
        });
      }),
    keepAlive: (metadata) => new KeepAliveStream(client, metadata),
  };
}

test("leases are granted, told of, listed and revoked", async (t) => {
  const { call } = await leaseFixture(t);
  const grant = LeaseGrantRequest.encode({ ID: -7n, TTL: 60 }).finish();
  assert.equal(LeaseGrantResponse.decode(await call("LeaseGrant", grant)).TTL, 60);
  const question = LeaseTimeToLiveRequest.encode({ ID: -7n, keys: true }).finish();
  const told = LeaseTimeToLiveResponse.decode(await call("LeaseTimeToLive", question));
  assert.deepEqual([told.ID, told.TTL, told.grantedTTL], [-7n, 59, 60]);
  assert.deepEqual(LeaseLeasesResponse.decode(await call("LeaseLeases")).leases, [{ ID: -7n }]);
  const revoke = LeaseRevokeRequest.encode({ ID: -7n }).finish();
  await call("LeaseRevoke", revoke);
  await assert.rejects(call("LeaseRevoke", revoke), { message: "5 etcdserver: requested lease not found" });
  assert.equal(LeaseTimeToLiveResponse.decode(await call("LeaseTimeToLive", question)).TTL, -1);
});

test("renewals on one stream are answered each, a lease that is gone with zero", async (t) => {
  const { member, keepAlive } = await leaseFixture(t);
  member.leases.set(1n, 10);
  member.leases.set(2n, 20);
  const stream = keepAlive();
  stream.send(1n, 2n, 3n, 1n);
  assert.deepEqual(await stream.answered(4), ["1 10 at 1", "2 20 at 1", "3 0 at 1", "1 10 at 1"]);
  stream.end();
  assert.equal(await stream.ended, "0");
});

test("one that waits for its lease to go holds up no other, and is answered before the stream ends", async (t) => {
  const { member, keepAlive } = await leaseFixture(t);
  member.leases.set(1n, 0);
  member.leases.set(2n, 20);
  const stream = keepAlive();
  stream.send(1n, 2n);
  stream.end();
  assert.deepEqual(await stream.answered(1), ["2 20 at 1"]);
  member.expire();
  assert.equal(await stream.ended, "0");
  assert.deepEqual(stream.answers, ["2 20 at 1", "1 0 at 1"]);
});

test("what a renewal fails with ends the stream, and so do bytes that are no request", async (t) => {
  const { member, keepAlive } = await leaseFixture(t);
  const broken = keepAlive();
  broken.sendBytes(Uint8Array.of(0xff));
  assert.match(await broken.ended, /^13 grpc: error unmarshalling request/);
  member.failWith = new RequestError("SERVER_NOT_PRIMARY", "another member leads");
  const refused = keepAlive();
  refused.send(1n);
  assert.equal(await refused.ended, "2 not a primary lessor");
});

test("a stream whose client requires a leader ends when that is lost; none is left open", async (t) => {
  const { member, keepAlive } = await leaseFixture(t);
  member.leases.set(1n, 10);
  const metadata = new grpc.Metadata();
  metadata.set("hasleader", "true");
  const streams = [keepAlive(metadata), keepAlive()];
  for (const stream of streams) {
    stream.send(1n);
    await stream.answered(1);
  }
  assert.equal(member.openStreams, 2);
  member.loseLeader();
  assert.equal(await streams[0]!.ended, "14 etcdserver: no leader");
  assert.equal(member.openStreams, 1);
  streams[1]!.end();
  assert.equal(await streams[1]!.ended, "0");
  assert.equal(member.openStreams, 0);
});
