/**
 * Who gives and takes rights: first it makes users and roles and switches authentication on, then it changes one thing after the other while
 * clients work. One call at a time; what it got no answer to may still take effect, and it asks for the next thing.
 *
 * No role gets two permissions that begin with the same key: which of them a change means depends on their order then, as in etcd.
 */
import { CodedError } from "../../src/base/errors.js";
import { bytesFromLatin1 } from "../../src/base/text.js";
import { Permission_Type as PermissionType } from "../../src/proto/generated/authpb/auth.js";
import type { AuthRequestKind, AuthRequests, CallContext, Member } from "../../src/server/index.js";
import type { SimRandom } from "../random.js";
import { ROOT, USERS, type Accounts } from "./accounts.js";
import type { Cluster, ClusterWorld } from "./cluster.js";

const ROLES = ["readers", "writers", "owners"] as const;
/** What roles are given, by the key that it begins with. The first is all that there is. */
const SPANS: readonly (readonly [key: string, end: string])[] = [
  ["k", "l"],
  ["k0", ""],
  ["k1", "k2"],
  ["k2", "k5"],
  ["k4", "\0"],
];

const ANSWER_MS_MAX = 3_000;

type Change = {
  [Kind in AuthRequestKind]: { readonly kind: Kind; readonly request: AuthRequests[Kind]["request"] };
}[AuthRequestKind];

export class Administrator {
  readonly #world: ClusterWorld;
  readonly #cluster: Cluster;
  readonly #accounts: Accounts;
  readonly #random: SimRandom;
  readonly #pauseMsMax: number;
  #token: string | undefined;
  #passwords = 0;
  #stopped = false;
  #isBusy = false;

  constructor(world: ClusterWorld, cluster: Cluster, accounts: Accounts, pauseMsMax: number, random: SimRandom) {
    this.#world = world;
    this.#cluster = cluster;
    this.#accounts = accounts;
    this.#pauseMsMax = pauseMsMax;
    this.#random = random;
  }

  get isBusy(): boolean {
    return this.#isBusy;
  }

  begin(): void {
    this.#isBusy = true;
    void this.#work().finally(() => (this.#isBusy = false));
  }

  stop(): void {
    this.#stopped = true;
  }

  async #work(): Promise<void> {
    for (const change of firstChanges()) {
      while (!this.#stopped && !(await this.#make(change))) await this.#pause();
    }
    while (!this.#stopped) {
      await this.#pause();
      if (!this.#stopped) await this.#make(this.#nextChange());
    }
  }

  #pause(): Promise<void> {
    return this.#world.scheduler.sleep((this.#pauseMsMax * this.#random.below(1024)) / 1024, undefined);
  }

  /** Answers whether it is known what became of it. */
  async #make(change: Change): Promise<boolean> {
    const { serving } = this.#cluster;
    const { scheduler, trace } = this.#world;
    const process = serving.length === 0 ? undefined : this.#random.pick(serving).process;
    if (process?.member === undefined) return false;
    trace.text(`asks for ${change.kind}`);
    await scheduler.sleep(1, undefined);
    if (process.gone) return false;
    const timeout = scheduler.sleep(ANSWER_MS_MAX, undefined).then(() => false);
    return Promise.race([this.#call(process.member, change), timeout]);
  }

  async #call(member: Member, { kind, request }: Change): Promise<boolean> {
    try {
      await member.auth.call(kind, request, this.#context());
      return true;
    } catch (error) {
      const code = error instanceof CodedError ? (error.code as string) : "";
      if (code === "AUTH_TOKEN_INVALID" || code === "AUTH_USER_EMPTY") {
        this.#token = undefined;
        await this.#logIn(member);
        return false;
      }
      return code.startsWith("AUTH_");
    }
  }

  async #logIn(member: Member): Promise<void> {
    try {
      const { token } = await member.auth.authenticate({ name: ROOT, password: this.#accounts.passwordOf(ROOT) });
      this.#token = token;
    } catch {
      // It is switched off, or this member cannot say.
    }
  }

  #context(): CallContext {
    return this.#token === undefined ? {} : { token: this.#token };
  }

  #nextChange(): Change {
    const user = this.#random.pick(USERS);
    const role = this.#random.pick(ROLES);
    const [key, rangeEnd] = this.#random.pick(SPANS);
    const span = { key: bytesFromLatin1(key), rangeEnd: bytesFromLatin1(rangeEnd) };
    switch (this.#random.below(13)) {
      case 0:
      case 1:
        return { kind: "authUserGrantRole", request: { user, role } };
      case 2:
      case 3:
        return { kind: "authUserRevokeRole", request: { name: user, role } };
      case 4:
      case 5:
      case 6: {
        const permType = this.#random.pick([PermissionType.READ, PermissionType.WRITE, PermissionType.READWRITE]);
        return { kind: "authRoleGrantPermission", request: { name: role, perm: { permType, ...span } } };
      }
      case 7:
      case 8:
        return { kind: "authRoleRevokePermission", request: { role, ...span } };
      case 9:
        return { kind: "authUserDelete", request: { name: user } };
      case 10:
        return addUser(user, this.#accounts.passwordOf(user));
      case 11: {
        const password = `${user}-${++this.#passwords}`;
        this.#accounts.setPassword(user, password);
        return { kind: "authUserChangePassword", request: { name: user, password, hashedPassword: "" } };
      }
      default:
        return this.#random.oneIn(3) ? { kind: "authDisable", request: {} } : { kind: "authEnable", request: {} };
    }
  }
}

/**
 * Before authentication is switched on one may read everything, one read and write it, and one may write some keys, read some, and do both with
 * some: much of what he asks for touches what he may and what he may not.
 */
function firstChanges(): Change[] {
  const permission = (name: string, permType: PermissionType, at: number): Change => {
    const [key, rangeEnd] = SPANS[at]!;
    const perm = { permType, key: bytesFromLatin1(key), rangeEnd: bytesFromLatin1(rangeEnd) };
    return { kind: "authRoleGrantPermission", request: { name, perm } };
  };
  return [
    addUser(ROOT, ROOT),
    { kind: "authRoleAdd", request: { name: ROOT } },
    { kind: "authUserGrantRole", request: { user: ROOT, role: ROOT } },
    ...USERS.map((user) => addUser(user, user)),
    ...ROLES.map((name): Change => ({ kind: "authRoleAdd", request: { name } })),
    permission("readers", PermissionType.READ, 0),
    permission("owners", PermissionType.READWRITE, 0),
    permission("writers", PermissionType.READWRITE, 1),
    permission("writers", PermissionType.WRITE, 2),
    permission("writers", PermissionType.READ, 3),
    permission("writers", PermissionType.READWRITE, 4),
    ...USERS.map((user, at): Change => ({ kind: "authUserGrantRole", request: { user, role: ROLES[at]! } })),
    { kind: "authEnable", request: {} },
  ];
}

function addUser(name: string, password: string): Change {
  return { kind: "authUserAdd", request: { name, password, options: undefined, hashedPassword: "" } };
}
