/**
 * The same random requests of every service to two servers, by gRPC and as JSON, while users, roles and rights change, authentication goes on and
 * off, watchers watch all keys, and leases are held: by nobody, by users whose tokens are good, over or of an older revision, and by root.
 *
 *   node dist/test/compat/service-differential.js [--seed S] [--requests N] [--left SERVER] [--right SERVER] [--json SHARE]
 *
 * Each server has its own tokens; answers are compared as `differential.ts` compares them, what watchers are told as `watch-differential.ts` does.
 * Of answers in JSON the body is compared, names and order of its fields included, but for what belongs to one member or one moment.
 */
import { setTimeout as pause } from "node:timers/promises";
import type { ServerBinary } from "../support/binaries.js";
import { AUTH_CALLS, authPath, describeAuthAnswer, type AuthCall } from "../support/auth.js";
import { METHODS, revisionOf, type Answer, type EtcdClient } from "../support/client.js";
import { describeRefusals, runComparison } from "../support/comparison-command.js";
import { JSON_PATHS, toJson } from "../support/json.js";
import { decode, describeMessage, encode, type Message, type MessageName } from "../support/messages.js";
import { SeededRandom } from "../support/random.js";
import { Stage, type Server } from "../support/servers.js";
import { comparable, OF_ONE_MEMBER } from "./differential.js";
import { key, nextRequest, rangeEnd, type StoreView } from "./requests.js";
import { WatchPair } from "./watch-differential.js";

export interface ServiceComparison {
  readonly seed: number;
  readonly requests: number;
  /** Each answer that was no success, with its count. */
  readonly refusals: ReadonlyMap<string, number>;
  /** Requests of the store that were answered while authentication was on. */
  readonly guarded: number;
  /** Requests in JSON, and events that watchers were told. */
  readonly inJson: number;
  readonly events: number;
}

const USERS = ["root", "u1", "u2", "u3", "é"];
const ROLES = ["root", "r1", "r2", "r3"];
/** Mostly the same one, so that users come in. */
const PASSWORDS = ["one", "one", "one", "one", "two", ""];
/** Those that `requests.ts` grants. */
const LEASES = [1, 2, 3, 77n];

/** Between two looks at what the watchers were told. */
const WATCHED_EVERY = 200;

/** How often, and after what pause, etcd is asked again for what it alone denies. */
const DENIED_LOOKS = 5;
const DENIED_PAUSE_MS = 120;

type Pair<Value> = readonly [Value, Value];

const NOBODY = Symbol("no token");

/** What is asked, by which message, and how answers are shown for comparison. */
interface Call {
  readonly text: string;
  readonly path: string;
  readonly name: MessageName;
  readonly message: Pair<Message>;
  readonly show: (answer: Answer) => string;
  /** Whose first answer counts; unary where left out. */
  readonly stream?: "both" | "server";
  readonly mayBeJson?: false;
  /** Sizes and hashes of the file are a server's own. */
  readonly hidesBody?: true;
}

class Play {
  readonly #random: SeededRandom;
  readonly #servers: Pair<Server>;
  readonly #clients: Pair<EtcdClient>;
  readonly #jsonShare: number;
  readonly #watch: WatchPair;
  /** By user, each server's own; those of users that are gone stay, for they must be refused alike. */
  readonly #tokens = new Map<string, Pair<string>>();
  readonly refusals = new Map<string, number>();
  #view: StoreView = { revision: 1, compacted: 0 };
  #isOn = false;
  /** Learners that were added, each server's own number. */
  #learners: Pair<number | bigint>[] = [];
  guarded = 0;
  inJson = 0;

  constructor(random: SeededRandom, servers: Pair<Server>, jsonShare: number) {
    this.#random = random;
    this.#servers = servers;
    this.#clients = [servers[0].client, servers[1].client];
    this.#jsonShare = jsonShare;
    this.#watch = new WatchPair(...this.#clients);
  }

  get events(): number {
    return this.#watch.events;
  }

  close(): void {
    this.#watch.close();
  }

  /** Watchers, users with roles, authentication on, and everybody in: chance alone may take long to come there. */
  async begin(): Promise<void> {
    await this.#watch.begin();
    await this.#watch.watchAll();
    const roles = ROLES.slice(1);
    for (const [at, name] of roles.entries()) {
      await this.#auth("RoleAdd", { name }, undefined);
      const perm = { permType: at, key: Buffer.from("k"), range_end: Buffer.from(`k${at + 1}`) };
      await this.#auth("RoleGrantPermission", { name, perm }, undefined);
    }
    for (const [at, name] of USERS.entries()) {
      await this.#auth("UserAdd", { name, password: "one" }, undefined);
      await this.#auth("UserGrantRole", { user: name, role: ROLES[at % ROLES.length]! }, undefined);
    }
    await this.#auth("AuthEnable", {}, undefined);
    this.#isOn = true;
    for (const name of USERS) await this.#enter({ name, password: "one" });
  }

  /** @throws with both answers where they differ */
  async next(number: number): Promise<void> {
    const random = this.#random;
    const step = random.weighted<() => Promise<void>>([
      [56, () => this.#store()],
      [10, () => this.#login()],
      [22, () => this.#administer()],
      [4, () => this.#lock()],
      [4, () => this.#streams()],
      [2, () => this.#maintain()],
      [2, () => this.#members()],
    ]);
    await step();
    if (number % WATCHED_EVERY === 0) await this.#compareWatched();
  }

  async #store(): Promise<void> {
    const request = nextRequest(this.#random, this.#view);
    if (request.method === "HashKV" || request.method === "Alarm") return; // their answers take turns of their own
    const { path, request: name, response } = METHODS[request.method];
    const answers = await this.#ask({
      text: `${request.method} ${describeMessage(request.message)}`,
      path,
      name,
      message: [request.message, request.message],
      show: (answer) => comparable(request, answer),
    });
    const revision = revisionIn(answers[0], response);
    if (revision === undefined) return;
    if (this.#isOn) this.guarded++;
    this.#view = { ...this.#view, revision: Math.max(this.#view.revision, revision) };
    if (request.method === "Compact") this.#view = { ...this.#view, compacted: Number(request.message["revision"]) };
  }

  async #login(): Promise<void> {
    await this.#enter({ name: this.#random.pick(USERS), password: this.#random.pick(PASSWORDS) });
  }

  async #enter(message: { readonly name: string; readonly password: string }): Promise<void> {
    const [left, right] = await this.#auth("Authenticate", message, undefined);
    const [first, second] = [tokenIn(left), tokenIn(right)];
    if (first !== undefined && second !== undefined) this.#tokens.set(message.name, [first, second]);
  }

  async #administer(): Promise<void> {
    const random = this.#random;
    const [user, role] = [random.pick(USERS), random.pick(ROLES)];
    const password = random.pick(PASSWORDS);
    const first = key(random);
    const range = { key: first, range_end: rangeEnd(random, first) };
    const perm = { permType: random.between(0, 3), ...range };
    const [call, message] = random.weighted<[AuthCall, Message]>([
      [10, ["UserAdd", { name: user, password, options: { no_password: random.oneIn(8) } }]],
      [1, ["UserDelete", { name: user }]],
      [2, ["UserChangePassword", { name: user, password }]],
      [10, ["UserGrantRole", { user, role }]],
      [3, ["UserRevokeRole", { user, role }]],
      [3, ["UserGet", { name: user }]],
      [1, ["UserList", {}]],
      [8, ["RoleAdd", { name: role }]],
      [1, ["RoleDelete", { name: role }]],
      [20, ["RoleGrantPermission", { name: role, perm }]],
      [3, ["RoleRevokePermission", { role, ...range }]],
      [3, ["RoleGet", { name: role }]],
      [1, ["RoleList", {}]],
      [2, ["AuthStatus", {}]],
      [6, ["AuthEnable", {}]],
      [random.oneIn(10) ? 1 : 0, ["AuthDisable", {}]],
    ]);
    const [answer] = await this.#auth(call, message, random.oneIn(5) ? this.#caller() : this.#tokens.get("root"));
    if (!isOk(answer)) return;
    if (call === "AuthEnable") this.#isOn = true;
    if (call === "AuthDisable") this.#isOn = false;
  }

  /** Locks and elections, each lease its own: who waited for another would hold the play up. */
  async #lock(): Promise<void> {
    const random = this.#random;
    const lease = random.pick([...LEASES, 12_345]);
    const isNameless = random.oneIn(4) && lease === LEASES[0];
    const name = Buffer.from(isNameless ? "" : `k1/${lease}`);
    const held = Buffer.from(`${name.toString()}/${lease.toString(16)}`);
    const leader = { name, key: held, rev: random.between(0, this.#view.revision + 1), lease };
    const value = random.bytes(5);
    const [call, request, response, message] = random.weighted<[string, MessageName, MessageName, Message]>([
      [5, ["v3lockpb.Lock/Lock", "LockRequest", "LockResponse", { name, lease }]],
      [3, ["v3lockpb.Lock/Unlock", "UnlockRequest", "UnlockResponse", { key: random.oneIn(4) ? key(random) : held }]],
      [5, ["v3electionpb.Election/Campaign", "CampaignRequest", "CampaignResponse", { name, lease, value }]],
      [3, ["v3electionpb.Election/Proclaim", "ProclaimRequest", "ProclaimResponse", { leader, value }]],
      [3, ["v3electionpb.Election/Leader", "LeaderRequest", "LeaderResponse", { name }]],
      [2, ["v3electionpb.Election/Resign", "ResignRequest", "ResignResponse", { leader }]],
    ]);
    const answers = await this.#ask({
      text: `${call} ${describeMessage(message)}`,
      path: `/${call}`,
      name: request,
      message: [message, message],
      show: showPlain(response),
    });
    const revision = revisionIn(answers[0], response);
    if (revision !== undefined) this.#view = { ...this.#view, revision: Math.max(this.#view.revision, revision) };
  }

  /** The first answer of a stream. */
  async #streams(): Promise<void> {
    const random = this.#random;
    const first = key(random);
    // Of a watch "from the key on" etcd 3.5.30 asks no more than the right to that key (docs/authentication.md).
    const end = rangeEnd(random, first);
    const creation = {
      key: first,
      range_end: end.length === 1 && end[0] === 0 ? new Uint8Array() : end,
      prev_kv: random.oneIn(2),
    };
    const [path, request, response, message, stream] = random.pick<
      [string, MessageName, MessageName, Message, "both" | "server"]
    >([
      ["/etcdserverpb.Watch/Watch", "WatchRequest", "WatchResponse", { create_request: creation }, "both"],
      [
        "/etcdserverpb.Lease/LeaseKeepAlive",
        "LeaseKeepAliveRequest",
        "LeaseKeepAliveResponse",
        { ID: random.pick(LEASES) },
        "both",
      ],
      ["/etcdserverpb.Maintenance/Snapshot", "StatusRequest", "MoveLeaderResponse", {}, "server"],
    ]);
    await this.#ask({
      text: `${path} ${describeMessage(message)}`,
      path,
      name: request,
      message: [message, message],
      show: showPlain(response),
      stream,
    });
  }

  async #maintain(): Promise<void> {
    const random = this.#random;
    const action = random.between(0, 4);
    // Once 3.4 is asked for, etcd takes its time to become it.
    const version = random.pick(["", "3.5.0", "3.6", "x", ...(action === 1 ? [] : ["3.4", "3.4.0"])]);
    const [call, request, message] = random.pick<[string, MessageName, Message]>([
      ["Status", "StatusRequest", {}],
      ["Defragment", "DefragmentRequest", {}],
      ["Hash", "StatusRequest", {}],
      ["MoveLeader", "MoveLeaderRequest", { targetID: random.pick([0, 1, 12_345]) }],
      ["Downgrade", "DowngradeRequest", { action, version }],
      ["Alarm", "AlarmRequest", { action: 0 }],
    ]);
    await this.#ask({
      text: `${call} ${describeMessage(message)}`,
      path: `/etcdserverpb.Maintenance/${call}`,
      name: request,
      message: [message, message],
      hidesBody: true,
      show: (answer) => (answer.kind === "error" ? `${answer.code} ${answer.text}` : "ok"),
    });
  }

  /** Learners come and go; a voter that is not there would end the play. */
  async #members(): Promise<void> {
    const random = this.#random;
    const unknown: Pair<number> = [12_345, 12_345];
    const ids = this.#learners.length > 0 && !random.oneIn(5) ? random.pick(this.#learners) : unknown;
    const withIds = (make: (ID: number | bigint) => Message): Pair<Message> => [make(ids[0]), make(ids[1])];
    const peerURLs = [random.pick(["http://127.0.0.1:1", "http://127.0.0.1:2"])];
    // etcd dies of an update with such.
    const added = random.oneIn(5) ? [random.pick(["nonsense", "http://127.0.0.1:1/path"])] : peerURLs;
    const [call, request, message] = random.weighted<[string, MessageName, Pair<Message>]>([
      [
        2,
        [
          "MemberAdd",
          "MemberAddRequest",
          [
            { peerURLs: added, isLearner: true },
            { peerURLs: added, isLearner: true },
          ],
        ],
      ],
      [2, ["MemberRemove", "MemberRemoveRequest", withIds((ID) => ({ ID }))]],
      [1, ["MemberUpdate", "MemberUpdateRequest", withIds((ID) => ({ ID, peerURLs }))]],
      [1, ["MemberPromote", "MemberPromoteRequest", withIds((ID) => ({ ID }))]],
      [2, ["MemberList", "MemberListRequest", [{ linearizable: true }, { linearizable: true }]]],
    ]);
    const answers = await this.#ask({
      text: `${call} ${describeMessage(message[0])}`,
      path: `/etcdserverpb.Cluster/${call}`,
      name: request,
      message,
      mayBeJson: false,
      show: (answer) =>
        answer.kind === "error" ? `${answer.code} ${answer.text.replaceAll(/[0-9a-f]{10,}/g, "<id>")}` : "ok",
    });
    if (answers[0].kind === "error") return;
    if (call === "MemberRemove") this.#learners = this.#learners.filter((pair) => pair !== ids);
    if (call === "MemberAdd") {
      const idOf = (answer: AnyAnswer): number | bigint =>
        answer.kind === "response"
          ? ((decode("MemberAddResponse", answer.bytes)["member"] as Message)["ID"] as number | bigint)
          : 0;
      this.#learners.push([idOf(answers[0]), idOf(answers[1])]);
    }
  }

  async #compareWatched(): Promise<void> {
    const found = await this.#watch.agree(this.#view.revision);
    if (found !== undefined) throw new Error(`${found.what}\nreference:  ${found.left}\nunder test: ${found.right}`);
  }

  #caller(): Pair<string> | undefined {
    if (this.#random.oneIn(30)) return ["nonsense", "nonsense"];
    if (this.#random.oneIn(15)) return undefined;
    return this.#tokens.get(this.#random.pick(USERS));
  }

  async #auth(call: AuthCall, message: Message, token: Pair<string> | undefined): Promise<Pair<AnyAnswer>> {
    return this.#ask(
      {
        text: `${call} ${describeMessage(message)}`,
        path: authPath(call),
        name: AUTH_CALLS[call][0],
        message: [message, message],
        show: (answer) => describeAuthAnswer(call, answer),
      },
      token ?? NOBODY,
    );
  }

  /** @param caller anybody where left out */
  async #ask(call: Call, caller: Pair<string> | typeof NOBODY = this.#caller() ?? NOBODY): Promise<Pair<AnyAnswer>> {
    const token = caller === NOBODY ? undefined : caller;
    const jsonPath = call.stream === undefined ? JSON_PATHS[call.path] : undefined;
    if (jsonPath !== undefined && call.mayBeJson !== false && this.#random.oneIn(this.#jsonShare)) {
      return this.#askInJson(call, jsonPath, token);
    }
    const ask = (side: 0 | 1): Promise<Answer> => {
      const bytes = encode(call.name, call.message[side]);
      const client = this.#clients[side];
      if (call.stream !== undefined) return client.first(call.stream, call.path, bytes, token?.[side]);
      return client.send(call.path, bytes, undefined, token?.[side]);
    };
    return this.#compare(call.text, ask, call.show);
  }

  async #askInJson(call: Call, path: string, token: Pair<string> | undefined): Promise<Pair<AnyAnswer>> {
    this.inJson++;
    const ask = (side: 0 | 1): Promise<JsonAnswer> =>
      askInJson(this.#servers[side].address, path, toJson(call.name, call.message[side]), token?.[side]);
    const show = ({ status, body }: JsonAnswer): string => `${status} ${maskedJson(body, call.hidesBody === true)}`;
    return this.#compare(`${call.text} as JSON`, ask, show);
  }

  async #compare<Answered extends AnyAnswer>(
    request: string,
    ask: (side: 0 | 1) => Promise<Answered>,
    show: (answer: Answered) => string,
  ): Promise<Pair<Answered>> {
    const answers: [Answered, Answered] = await Promise.all([ask(0), ask(1)]);
    // Now and then etcd denies a user with the role root what it allows a tenth of a second later, beside another etcd as well. A denial has
    // no effect, and may be asked again; no other refusal is.
    for (let look = 0; look < DENIED_LOOKS && show(answers[0]) !== show(answers[1]); look++) {
      const denied = ([0, 1] as const).filter(
        (side) => this.#servers[side].binary.family === "etcd" && show(answers[side]).includes("permission denied"),
      );
      if (denied.length === 0) break;
      await pause(DENIED_PAUSE_MS);
      for (const side of denied) answers[side] = await ask(side);
    }
    const [expected, found] = [show(answers[0]), show(answers[1])];
    if (expected !== found) throw new Error(`${request}\nreference:  ${expected}\nunder test: ${found}`);
    if (!isOk(answers[0])) this.refusals.set(expected, (this.refusals.get(expected) ?? 0) + 1);
    return answers;
  }
}

interface JsonAnswer {
  readonly kind: "json";
  readonly status: number;
  readonly body: unknown;
}

type AnyAnswer = Answer | JsonAnswer;

async function askInJson(address: string, path: string, body: string, token: string | undefined): Promise<JsonAnswer> {
  const headers = { "content-type": "application/json", ...(token === undefined ? {} : { authorization: token }) };
  const answer = await fetch(`http://${address}${path}`, { method: "POST", body, headers });
  const text = await answer.text();
  try {
    return { kind: "json", status: answer.status, body: JSON.parse(text) };
  } catch {
    return { kind: "json", status: answer.status, body: text };
  }
}

/** Values that belong to one member or one moment, by the names of their fields; that they are there is compared. */
const isOfOneMoment = (name: string): boolean => (OF_ONE_MEMBER.has(name) && name !== "ID") || name === "token";

/** Fields of Status that etcd 3.6 added: Walnut serves them, the reference is 3.5. */
const ADDED = new Set(["storageVersion", "dbSizeQuota", "downgradeInfo"]);

/** Lists that come in no order, or in that of chance. */
const UNORDERED = new Set(["leases", "keys", "members"]);

function maskedJson(body: unknown, hidesBody: boolean): string {
  if (typeof body === "object" && body !== null && "code" in body) {
    // Debian's gateway leaves `error` out, which etcd's own has (docs/gateway.md).
    const { error: _error, ...told } = body as Record<string, unknown>;
    return JSON.stringify(told);
  }
  if (hidesBody) return "ok";
  return JSON.stringify(body, (name, value: unknown) => {
    if (ADDED.has(name)) return undefined;
    if (isOfOneMoment(name)) return "masked";
    if (UNORDERED.has(name) && Array.isArray(value)) return value.map((item) => JSON.stringify(item)).sort();
    if (isLeaseLeft(name, value)) return "some";
    return value;
  });
}

const isLeaseLeft = (name: string, value: unknown): boolean =>
  name === "TTL" && Number(value) > 0 && Number(value) < 9e9;

function isOk(answer: AnyAnswer): boolean {
  return answer.kind === "response" || (answer.kind === "json" && answer.status === 200);
}

/** The revision in the header of an answer that is no refusal. */
function revisionIn(answer: AnyAnswer, response: MessageName): number | undefined {
  if (!isOk(answer)) return undefined;
  if (answer.kind === "response") return revisionOf(decode(response, answer.bytes));
  const header = ((answer as JsonAnswer).body as { header?: { revision?: string } }).header;
  return Number(header?.revision ?? 0);
}

function tokenIn(answer: AnyAnswer): string | undefined {
  if (!isOk(answer)) return undefined;
  if (answer.kind === "response") return decode("AuthenticateResponse", answer.bytes)["token"] as string;
  return ((answer as JsonAnswer).body as { token?: string }).token;
}

/** An answer without what belongs to one member. */
const showPlain =
  (response: MessageName) =>
  (answer: Answer): string => {
    if (answer.kind === "error") return `${answer.code} ${answer.text}`;
    const { header, ...rest } = decode(response, answer.bytes);
    return describeMessage({ revision: (header as Message | undefined)?.["revision"], ...rest });
  };

/** @throws at the first difference, with what repeats it */
export async function compareServices(
  options: { readonly seed: number; readonly requests: number; readonly jsonShare?: number },
  left: ServerBinary,
  right: ServerBinary,
): Promise<ServiceComparison> {
  const { seed, requests, jsonShare = 4 } = options;
  return Stage.with(async (stage) => {
    const seats = [await stage.seat(), await stage.seat()] as const;
    // The cheapest: passwords are many here.
    const flags = ["--bcrypt-cost", "4", "--strict-reconfig-check=false"];
    const servers = await Promise.all([
      stage.start(left, seats[0], { flags }),
      stage.start(right, seats[1], { flags }),
    ]);
    const play = new Play(new SeededRandom(seed), servers, jsonShare);
    try {
      await play.begin();
      for (let number = 1; number <= requests; number++) {
        await play.next(number).catch((cause: unknown) => {
          const repeat = `node dist/test/compat/service-differential.js --seed ${seed} --requests ${number} --json ${jsonShare}`;
          const logs = servers.filter(({ running }) => !running).map(({ log }) => log.slice(-30).join("\n"));
          throw new Error([`request ${number}: ${String(cause)}`, `repeat: ${repeat}`, ...logs].join("\n"), { cause });
        });
      }
    } finally {
      play.close();
    }
    const { refusals, guarded, inJson, events } = play;
    return { seed, requests, refusals, guarded, inJson, events };
  });
}

if (process.argv[1] === import.meta.filename) {
  await runComparison({ requests: 5_000, own: { json: "4" } }, async ({ left, right, own, ...options }) => {
    const result = await compareServices({ ...options, jsonShare: Number(own("json")) }, left, right);
    return [
      ...describeRefusals(result.refusals),
      `equal: ${result.requests} requests, ${result.inJson} in JSON, ${result.guarded} answered while authentication was on, ` +
        `${result.events} events told alike`,
    ];
  });
}
