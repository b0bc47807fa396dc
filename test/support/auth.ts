/** Users and roles of a server, as plays need them: whoever calls here is root once authentication is on. */
import type { Answer, EtcdClient } from "./client.js";
import { decode, encode, type Message, type MessageName } from "./messages.js";

const AUTH = "/etcdserverpb.Auth/";

/** The calls of the Auth service: what they are asked, and what they answer where it is more than a header. */
export const AUTH_CALLS = {
  AuthEnable: ["StatusRequest", undefined],
  AuthDisable: ["StatusRequest", undefined],
  AuthStatus: ["StatusRequest", "AuthStatusResponse"],
  Authenticate: ["AuthenticateRequest", "AuthenticateResponse"],
  UserAdd: ["AuthUserAddRequest", undefined],
  UserGet: ["AuthNameRequest", "AuthNamesResponse"],
  UserList: ["StatusRequest", "AuthNamesResponse"],
  UserDelete: ["AuthNameRequest", undefined],
  UserChangePassword: ["AuthUserChangePasswordRequest", undefined],
  UserGrantRole: ["AuthUserRoleRequest", undefined],
  UserRevokeRole: ["AuthUserRoleRequest", undefined],
  RoleAdd: ["AuthNameRequest", undefined],
  RoleGet: ["AuthNameRequest", "AuthRoleGetResponse"],
  RoleList: ["StatusRequest", "AuthNamesResponse"],
  RoleDelete: ["AuthNameRequest", undefined],
  RoleGrantPermission: ["AuthRoleGrantPermissionRequest", undefined],
  RoleRevokePermission: ["AuthRoleRevokePermissionRequest", undefined],
} as const satisfies Record<string, readonly [MessageName, MessageName | undefined]>;
export type AuthCall = keyof typeof AUTH_CALLS;

export const authPath = (call: AuthCall): string => AUTH + call;
export const authRequest = (call: AuthCall, message: Message): Uint8Array => encode(AUTH_CALLS[call][0], message);

/** The kinds of right, as etcd numbers them. */
export const RIGHTS = { read: 0, write: 1, readwrite: 2 } as const;

/** What came back, for eyes and for comparison: no header and no token, which differ. */
export function describeAuthAnswer(call: AuthCall, answer: Answer): string {
  if (answer.kind === "error") return `${answer.code} ${answer.text}`;
  const name = AUTH_CALLS[call][1];
  if (name === undefined || name === "AuthenticateResponse") return "ok";
  const { header: _header, ...rest } = decode(name, answer.bytes);
  return `ok ${JSON.stringify(rest, (_key, value: unknown) => (value instanceof Uint8Array ? Buffer.from(value).toString("latin1") : value))}`;
}

export class AuthAdmin {
  readonly #client: EtcdClient;
  /** Root's, once authentication is on. */
  #token: string | undefined;

  constructor(client: EtcdClient) {
    this.#client = client;
  }

  get token(): string | undefined {
    return this.#token;
  }

  /** @throws when the server refuses */
  async call(call: AuthCall, message: Message = {}): Promise<void> {
    const answer = await this.#client.send(authPath(call), authRequest(call, message), undefined, this.#token);
    if (answer.kind === "error") throw new Error(`${call}: ${answer.code} ${answer.text}`);
  }

  /** What the server answers a user, or root. */
  async ask(call: AuthCall, message: Message = {}, token = this.#token): Promise<string> {
    return describeAuthAnswer(
      call,
      await this.#client.send(authPath(call), authRequest(call, message), undefined, token),
    );
  }

  /** A token for name and password. @throws with what the server answers instead */
  async login(name: string, password: string): Promise<string> {
    const request = authRequest("Authenticate", { name, password });
    const answer = await this.#client.send(authPath("Authenticate"), request);
    if (answer.kind === "error") throw new Error(`${answer.code} ${answer.text}`);
    return decode("AuthenticateResponse", answer.bytes)["token"] as string;
  }

  async loginAsRoot(password: string): Promise<void> {
    this.#token = await this.login("root", password);
  }

  async addUser(name: string, password: string, roles: readonly string[] = []): Promise<void> {
    await this.call("UserAdd", { name, password });
    for (const role of roles) await this.call("UserGrantRole", { user: name, role });
  }

  /** @param rangeEnd one zero byte for all keys from `key` on */
  async addRole(name: string, right: keyof typeof RIGHTS, key: string, rangeEnd = ""): Promise<void> {
    await this.call("RoleAdd", { name });
    await this.grant(name, right, key, rangeEnd);
  }

  async grant(name: string, right: keyof typeof RIGHTS, key: string, rangeEnd = ""): Promise<void> {
    const perm = { permType: RIGHTS[right], key: Buffer.from(key), range_end: Buffer.from(rangeEnd) };
    await this.call("RoleGrantPermission", { name, perm });
  }

  /** Adds root and switches authentication on. */
  async enable(password: string): Promise<void> {
    await this.addUser("root", password, ["root"]);
    await this.call("AuthEnable");
    await this.loginAsRoot(password);
  }
}
