/** A directory with users, roles, leases, their keys and an alarm goes from etcd to Walnut, on to etcd and back: everything holds each time. */
import assert from "node:assert/strict";
import test from "node:test";
import { AuthAdmin } from "../support/auth.js";
import { etcd, reference, skipReason, underTest } from "../support/binaries.js";
import { METHODS, type EtcdClient, type Method } from "../support/client.js";
import { decode, describeMessage, encode, type Message } from "../support/messages.js";
import { Stage, type Server } from "../support/servers.js";

const PASSWORD = "secret";
const ACTIVATE = 1;
const NOSPACE = 1;
/** Seconds: none runs out in the course. */
const TTL = 5_000;
const LEASES = [7, 8, 2 ** 40];
const USERS = ["root", "alice", "bob", "carol"];

class Visit {
  readonly #client: EtcdClient;
  readonly #admin: AuthAdmin;

  constructor({ client }: Server) {
    this.#client = client;
    this.#admin = new AuthAdmin(client);
  }

  get admin(): AuthAdmin {
    return this.#admin;
  }

  /** @param token root's where left out */
  async call(method: Method, message: Message, token = this.#admin.token): Promise<Message | string> {
    const { path, request, response } = METHODS[method];
    const answer = await this.#client.send(path, encode(request, message), undefined, token);
    return answer.kind === "error" ? `${answer.code} ${answer.text}` : decode(response, answer.bytes);
  }

  async must(method: Method, message: Message): Promise<void> {
    const answer = await this.call(method, message);
    if (typeof answer === "string") throw new Error(`${method}: ${answer}`);
  }

  /** All that the directory holds, as its server tells it; what belongs to a moment is left out. */
  async tells(): Promise<string[]> {
    const told: string[] = [];
    const tell = (what: string, answer: Message | string): void => {
      if (typeof answer === "string") told.push(`${what}: ${answer}`);
      else {
        const { header, TTL: _left, ...rest } = answer;
        told.push(
          `${what}@${describeMessage((header as Message | undefined)?.["revision"])}: ${describeMessage(rest)}`,
        );
      }
    };
    for (const [call, message] of [
      ["AuthStatus", {}],
      ["UserList", {}],
      ["RoleList", {}],
      ...USERS.map((name) => ["UserGet", { name }] as const),
      ...["root", "readers", "writers", "late"].map((name) => ["RoleGet", { name }] as const),
    ] as const) {
      told.push(`${call} ${describeMessage(message)}: ${await this.#admin.ask(call, message)}`);
    }
    const { leases = [] } = (await this.call("LeaseLeases", {})) as { leases?: readonly Message[] };
    told.push(
      `leases: ${leases
        .map(({ ID }) => describeMessage(ID))
        .sort()
        .join(" ")}`,
    );
    for (const ID of LEASES) {
      const answer = (await this.call("LeaseTimeToLive", { ID, keys: true })) as {
        keys?: readonly Uint8Array[];
        TTL?: number;
      };
      assert.ok(
        answer.TTL === -1 || (answer.TTL! > TTL - 600 && answer.TTL! <= TTL),
        `lease ${ID} has ${answer.TTL} s left`,
      );
      const keys = (answer.keys ?? []).map((key) => Buffer.from(key).toString()).sort();
      told.push(`lease ${ID}: ${answer.TTL === -1 ? "none" : keys.join(" ")}`);
    }
    const { alarms = [] } = (await this.call("Alarm", {})) as { alarms?: readonly Message[] };
    told.push(`alarms: ${alarms.map(({ alarm }) => describeMessage(alarm)).join(" ")}`);
    tell("keys", await this.call("Range", { key: Uint8Array.of(0), range_end: Uint8Array.of(0) }));
    tell("a put under the alarm", await this.call("Put", { key: Buffer.from("r/1"), value: Buffer.from("x") }));
    for (const user of USERS) {
      const token = await this.#admin.login(user, PASSWORD).catch(String);
      const mayRead = await this.call("Range", { key: Buffer.from("r/1") }, token);
      const mayReadOther = await this.call("Range", { key: Buffer.from("w/1") }, token);
      const mayRevoke = await this.call("LeaseRevoke", { ID: 999 }, token);
      tell(`${user} reads r/1`, mayRead);
      tell(`${user} reads w/1`, mayReadOther);
      tell(`${user} revokes a lease that is not there`, mayRevoke);
    }
    return told;
  }
}

/** What one server adds to what it found. */
async function addTo(visit: Visit, turn: number): Promise<void> {
  await visit.admin.addUser(`guest-${turn}`, PASSWORD, ["readers"]);
  await visit.admin.grant("readers", "read", `g${turn}/`, `g${turn}0`);
  await visit.admin.call("UserRevokeRole", { user: "bob", role: "writers" }).catch(() => undefined);
  await visit.must("LeaseGrant", { ID: 100 + turn, TTL }); // refused under the alarm
}

test("users, roles, leases and an alarm go from etcd to Walnut, on and back", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  const seat = await stage.seat();
  let server = await stage.start(etcd("3.5.16"), seat);
  let visit = new Visit(server);
  const { admin } = visit;
  for (const role of ["readers", "writers", "late"]) await admin.call("RoleAdd", { name: role });
  await admin.grant("readers", "read", "r/", "r0");
  await admin.grant("writers", "readwrite", "w/", "w0");
  await admin.grant("late", "write", "z", "\0");
  await admin.addUser("alice", PASSWORD, ["readers"]);
  await admin.addUser("bob", PASSWORD, ["readers", "writers"]);
  await admin.call("UserAdd", { name: "carol", options: { no_password: true } });
  for (const ID of LEASES) await visit.must("LeaseGrant", { ID, TTL });
  for (const [key, lease] of [
    ["r/1", 7],
    ["r/2", 7],
    ["w/1", 2 ** 40],
    ["w/2", 0],
  ] as const) {
    await visit.must("Put", { key: Buffer.from(key), value: Buffer.from(`of ${key}`), lease });
  }
  await visit.must("LeaseRevoke", { ID: 8 });
  await visit.must("Alarm", { action: ACTIVATE, memberID: 0, alarm: NOSPACE });
  await admin.enable(PASSWORD);
  let expected = await visit.tells();
  assert.ok(
    expected.some((line) => /database space exceeded/.test(line)),
    expected.join("\n"),
  );
  assert.ok(
    expected.some((line) => line.startsWith("lease 7: r/1 r/2")),
    expected.join("\n"),
  );
  let turn = 0;
  for (const binary of [underTest(), reference(), underTest(), etcd("3.5.16")]) {
    await server.stop();
    server = await stage.start(binary, seat);
    visit = new Visit(server);
    await visit.admin.loginAsRoot(PASSWORD);
    assert.deepEqual(await visit.tells(), expected, `${binary.name} tells what the server before it told`);
    await addTo(visit, ++turn).catch((error: unknown) => assert.match(String(error), /LeaseGrant: .*space exceeded/));
    expected = await visit.tells();
    assert.ok(expected.some((line) => line.includes(`guest-${turn}`)));
  }
});
