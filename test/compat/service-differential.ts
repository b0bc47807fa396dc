/**
 * The same random requests to two servers while users, roles and rights change, and authentication goes on and off: by nobody, by users whose
 * tokens are good, over or of an older revision, and by root.
 *
 *   node dist/test/compat/auth-differential.js [--seed S] [--requests N] [--left SERVER] [--right SERVER]
 *
 * Each server has its own tokens; answers are compared as `differential.ts` compares them.
 */
import { parseArgs } from "node:util";
import { reference, serverNamed, underTest, type ServerBinary } from "../support/binaries.js";
import { authPath, authRequest, describeAuthAnswer, type AuthCall } from "../support/auth.js";
import { METHODS, revisionOf, type Answer, type EtcdClient } from "../support/client.js";
import { decode, describeMessage, encode, type Message } from "../support/messages.js";
import { chooseSeed, SeededRandom } from "../support/random.js";
import { Stage } from "../support/servers.js";
import { comparable } from "./differential.js";
import { key, nextRequest, rangeEnd, type StoreView } from "./requests.js";

export interface AuthComparison {
  readonly seed: number;
  readonly requests: number;
  /** Each answer that was no success, with its count. */
  readonly refusals: ReadonlyMap<string, number>;
  /** Requests of the store that were answered while authentication was on. */
  readonly guarded: number;
}

const USERS = ["root", "u1", "u2", "u3", "é"];
const ROLES = ["root", "r1", "r2", "r3"];
/** Mostly the same one, so that users come in. */
const PASSWORDS = ["one", "one", "one", "one", "two", ""];

type Pair<Value> = readonly [Value, Value];

class Play {
  readonly #random: SeededRandom;
  readonly #clients: Pair<EtcdClient>;
  /** By user, each server's own; those of users that are gone stay, for they must be refused alike. */
  readonly #tokens = new Map<string, Pair<string>>();
  readonly refusals = new Map<string, number>();
  #view: StoreView = { revision: 1, compacted: 0 };
  #isOn = false;
  guarded = 0;

  constructor(random: SeededRandom, clients: Pair<EtcdClient>) {
    this.#random = random;
    this.#clients = clients;
  }

  /** Users with roles, authentication on, and everybody in: chance alone may take long to come there. */
  async begin(): Promise<void> {
    const roles = ROLES.slice(1);
    for (const [at, name] of roles.entries()) {
      await this.#call("RoleAdd", { name }, undefined);
      const perm = { permType: at, key: Buffer.from("k"), range_end: Buffer.from(`k${at + 1}`) };
      await this.#call("RoleGrantPermission", { name, perm }, undefined);
    }
    for (const [at, name] of USERS.entries()) {
      await this.#call("UserAdd", { name, password: "one" }, undefined);
      await this.#call("UserGrantRole", { user: name, role: ROLES[at % ROLES.length]! }, undefined);
    }
    await this.#call("AuthEnable", {}, undefined);
    this.#isOn = true;
    for (const name of USERS) await this.#enter({ name, password: "one" });
  }

  /** @throws with both answers where they differ */
  async next(): Promise<void> {
    const random = this.#random;
    const step = random.weighted<() => Promise<void>>([
      [60, () => this.#store()],
      [12, () => this.#login()],
      [28, () => this.#administer()],
    ]);
    await step();
  }

  async #store(): Promise<void> {
    const request = nextRequest(this.#random, this.#view);
    if (request.method === "HashKV" || request.method === "Alarm") return; // their answers take turns of their own
    if (mayEndEtcd(request.message)) return;
    const { path, request: name, response } = METHODS[request.method];
    const answers = await this.#ask(path, encode(name, request.message), this.#caller());
    const text = `${request.method} ${describeMessage(request.message)}`;
    this.#compare(text, answers, (answer) => comparable(request, answer));
    if (answers[0].kind === "error") return;
    if (this.#isOn) this.guarded++;
    const answer = decode(response, answers[0].bytes);
    this.#view = { ...this.#view, revision: Math.max(this.#view.revision, revisionOf(answer)) };
    if (request.method === "Compact") this.#view = { ...this.#view, compacted: Number(request.message["revision"]) };
  }

  async #login(): Promise<void> {
    await this.#enter({ name: this.#random.pick(USERS), password: this.#random.pick(PASSWORDS) });
  }

  async #enter(message: { readonly name: string; readonly password: string }): Promise<void> {
    const answers = await this.#call("Authenticate", message, undefined);
    const [left, right] = answers;
    if (left.kind === "error" || right.kind === "error") return;
    const tokenOf = (bytes: Uint8Array): string => decode("AuthenticateResponse", bytes)["token"] as string;
    this.#tokens.set(message.name, [tokenOf(left.bytes), tokenOf(right.bytes)]);
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
    const answers = await this.#call(call, message, random.oneIn(5) ? this.#caller() : this.#tokens.get("root"));
    if (answers[0].kind === "error") return;
    if (call === "AuthEnable") this.#isOn = true;
    if (call === "AuthDisable") this.#isOn = false;
  }

  #caller(): Pair<string> | undefined {
    if (this.#random.oneIn(30)) return ["nonsense", "nonsense"];
    if (this.#random.oneIn(15)) return undefined;
    return this.#tokens.get(this.#random.pick(USERS));
  }

  async #call(call: AuthCall, message: Message, token: Pair<string> | undefined): Promise<Pair<Answer>> {
    const answers = await this.#ask(authPath(call), authRequest(call, message), token);
    this.#compare(`${call} ${describeMessage(message)}`, answers, (answer) => describeAuthAnswer(call, answer));
    return answers;
  }

  #ask(path: string, bytes: Uint8Array, token: Pair<string> | undefined): Promise<[Answer, Answer]> {
    const [left, right] = this.#clients;
    return Promise.all([left.send(path, bytes, undefined, token?.[0]), right.send(path, bytes, undefined, token?.[1])]);
  }

  #compare(request: string, [left, right]: Pair<Answer>, show: (answer: Answer) => string): void {
    const [expected, found] = [show(left), show(right)];
    if (expected !== found) throw new Error(`${request}\nreference:  ${expected}\nunder test: ${found}`);
    if (left.kind === "error") this.refusals.set(expected, (this.refusals.get(expected) ?? 0) + 1);
  }
}

/** A put that keeps what a deletion before it, "from the key on", has taken: etcd dies of it, where Walnut refuses it. */
function mayEndEtcd(message: Message): boolean {
  const text = describeMessage(message);
  return text.includes("request_delete_range") && /ignore_(value|lease): true/.test(text);
}

/** @throws at the first difference, with what repeats it */
export async function compareAuth(
  { seed, requests }: { readonly seed: number; readonly requests: number },
  left: ServerBinary,
  right: ServerBinary,
): Promise<AuthComparison> {
  return Stage.with(async (stage) => {
    const seats = [await stage.seat(), await stage.seat()] as const;
    const flags = ["--bcrypt-cost", "4"]; // the cheapest: passwords are many here
    const servers = await Promise.all([
      stage.start(left, seats[0], { flags }),
      stage.start(right, seats[1], { flags }),
    ]);
    const play = new Play(new SeededRandom(seed), [servers[0].client, servers[1].client]);
    await play.begin();
    for (let number = 1; number <= requests; number++) {
      try {
        await play.next();
      } catch (cause) {
        const repeat = `node dist/test/compat/auth-differential.js --seed ${seed} --requests ${number}`;
        throw new Error(`request ${number}: ${String(cause)}\nrepeat: ${repeat}`, { cause });
      }
    }
    return { seed, requests, refusals: play.refusals, guarded: play.guarded };
  });
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seed: { type: "string" },
      requests: { type: "string", default: "5000" },
      left: { type: "string" },
      right: { type: "string" },
    },
  });
  const left = values.left === undefined ? reference() : serverNamed(values.left);
  const right = values.right === undefined ? underTest() : serverNamed(values.right);
  const seed = chooseSeed(values.seed ?? process.env["WALNUT_SEED"]);
  const result = await compareAuth({ seed, requests: Number(values.requests) }, left, right);
  for (const [text, count] of [...result.refusals].sort(([a], [b]) => (a < b ? -1 : 1)))
    console.log(`  ${count} x ${text}`);
  console.log(
    `equal: ${result.requests} requests of seed ${seed}, ${result.guarded} answered while authentication was on`,
  );
}

if (process.argv[1] === import.meta.filename) {
  try {
    await main();
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
