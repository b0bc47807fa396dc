/** `auth`, `user` and `role`, with etcdctl's words. */
import { type Command, Option } from "commander";
import { concatBytes, equalBytes } from "../../base/bytes.js";
import { quoteBytes } from "../../base/go-quote.js";
import { bytesFromLatin1, textFromUtf8, utf8FromText } from "../../base/text.js";
import { prefixEnd, RpcError } from "../../client/index.js";
import type { BinaryWriter } from "../../proto/binary.js";
import {
  AuthDefinition,
  type AuthRoleGetResponse,
  AuthRoleRevokePermissionRequest,
  authpb,
  type ResponseHeader,
} from "../../proto/index.js";
import { CommandFailure, ExitCode } from "./failure.js";
import { noOption } from "./global-flags.js";
import type { GoJson } from "./go-text.js";
import { headerJson } from "./messages-json.js";
import type { ShownMessage } from "./printer.js";
import type { Run, Session } from "./run.js";
import { latin1Lines } from "./txn-text.js";
import type { World } from "./world.js";

const { methods } = AuthDefinition;
const { Permission_Type: PermissionType } = authpb;

/** How `registerClientCommands` adds a command to a group. */
export type AddCommand = <Options>(
  parent: Command,
  name: string,
  summary: string,
  run: Run<Options>,
  setUp?: (command: Command) => Command,
) => Command;

export function registerAuthCommands(add: AddCommand, group: (name: string, summary: string) => Command): void {
  const words = (usage: string) => (command: Command) => command.argument("[arguments...]", usage).usage(usage);
  const auth = group("auth", "Enable or disable authentication");
  add(auth, "enable", "Enables authentication", authEnable);
  add(auth, "disable", "Disables authentication", authDisable);
  add(auth, "status", "Returns authentication status", authStatus);

  const user = group("user", "User related commands");
  add(user, "add", "Adds a new user", userAdd, (command) =>
    interactive(words("<user name or user:password> [options]")(command))
      .option("--new-user-password <password>", "Supply password from the command line flag", "")
      .addOption(noOption("--no-password", "Create a user without password (CN based auth only)")),
  );
  add(user, "delete", "Deletes a user", userDelete, words("<user name> [options]"));
  add(user, "get", "Gets detailed information of a user", userGet, (command) =>
    words("<user name> [options]")(command).option("--detail", "Show permissions of roles granted to the user"),
  );
  add(user, "list", "Lists all users", userList);
  add(user, "passwd", "Changes password of user", userPasswd, (command) =>
    interactive(words("<user name> [options]")(command)),
  );
  add(user, "grant-role", "Grants a role to a user", userGrantRole, words("<user name> <role name> [options]"));
  add(user, "revoke-role", "Revokes a role from a user", userRevokeRole, words("<user name> <role name> [options]"));

  const role = group("role", "Role related commands");
  add(role, "add", "Adds a new role", roleAdd, words("<role name> [options]"));
  add(role, "delete", "Deletes a role", roleDelete, words("<role name> [options]"));
  add(role, "get", "Gets detailed information of a role", roleGet, words("<role name> [options]"));
  add(role, "list", "Lists all roles", roleList);
  const spans = (command: Command): Command =>
    command
      .option("--prefix", "a prefix permission")
      .option("--from-key", "a permission of keys that are greater than or equal to the given key using byte compare");
  add(role, "grant-permission", "Grants a key to a role", roleGrantPermission, (command) =>
    spans(words("[options] <role name> <permission type> <key> [endkey]")(command)),
  );
  add(role, "revoke-permission", "Revokes a key from a role", roleRevokePermission, (command) =>
    spans(words("<role name> <key> [endkey] [options]")(command)),
  );
}

/** Its opposite is what `--interactive=false` becomes. */
function interactive(command: Command): Command {
  return command
    .option("--interactive", "Read password from stdin instead of interactive terminal (default true)")
    .addOption(new Option("--not-interactive").hideHelp());
}

// ---- auth -----------------------------------------------------------------------------------------------------------

const authEnable: Run<object> = async ({ world, client }, args) => {
  refuseArguments(args, "auth enable command does not accept any arguments");
  try {
    await client.auth(methods.authEnable, {});
  } catch (error) {
    if (!(error instanceof RpcError) || error.text !== "etcdserver: root user does not have root role") throw error;
    await client.auth(methods.roleAdd, { name: "root" });
    await client.auth(methods.userGrantRole, { user: "root", role: "root" });
    await client.auth(methods.authEnable, {});
  }
  world.out("Authentication Enabled\n");
};

const authDisable: Run<object> = async ({ world, client }, args) => {
  refuseArguments(args, "auth disable command does not accept any arguments");
  await client.auth(methods.authDisable, {});
  world.out("Authentication Disabled\n");
};

const authStatus: Run<object> = async ({ client, printer }, args) => {
  refuseArguments(args, "auth status command does not accept any arguments");
  const response = await client.auth(methods.authStatus, {});
  const { enabled, authRevision } = response;
  printer.show({
    ...shownOf(methods.authStatus, response),
    simple: `Authentication Status: ${enabled}\nAuthRevision: ${authRevision}\n`,
    fields: undefined,
    json: jsonOf(response.header, ["enabled", enabled], ["authRevision", authRevision]),
  });
};

// ---- users ----------------------------------------------------------------------------------------------------------

interface UserOptions {
  readonly notInteractive?: boolean;
  readonly newUserPassword?: string;
  readonly noPassword?: boolean;
  readonly detail?: boolean;
}

const userAdd: Run<UserOptions> = async ({ world, client, printer }, args, options) => {
  const given = oneOf(args, "user add command requires user name as its argument");
  const noPassword = options.noPassword === true;
  const { name, password } = noPassword ? { name: given, password: "" } : await newUserOf(given, options, world);
  const response = await client.auth(methods.userAdd, { name, password, options: { noPassword }, hashedPassword: "" });
  printer.show(plain(methods.userAdd, response, `User ${name} created\n`));
};

async function newUserOf(
  given: string,
  { newUserPassword = "", notInteractive }: UserOptions,
  world: World,
): Promise<{ name: string; password: string }> {
  if (newUserPassword !== "") return { name: given, password: newUserPassword };
  const colon = given.indexOf(":");
  if (colon === 0) throw new CommandFailure(ExitCode.badArguments, "empty user name is not allowed");
  if (colon > 0) return { name: given.slice(0, colon), password: given.slice(colon + 1) };
  return { name: given, password: await passwordFor(given, notInteractive === true, world) };
}

const userDelete: Run<object> = async ({ client, printer }, args) => {
  const name = oneOf(args, "user delete command requires user name as its argument");
  printer.show(plain(methods.userDelete, await client.auth(methods.userDelete, { name }), `User ${name} deleted\n`));
};

const userGet: Run<UserOptions> = async (session, args, { detail }) => {
  const { world, client, printer } = session;
  const name = oneOf(args, "user get command requires user name as its argument");
  const response = await client.auth(methods.userGet, { name });
  if (detail !== true) {
    printer.show({
      ...shownOf(methods.userGet, response),
      simple: `User: ${name}\nRoles:${response.roles.map((role) => ` ${role}`).join("")}\n`,
      fields: undefined,
      json: jsonOf(response.header, ["roles", response.roles]),
    });
    return;
  }
  world.out(`User: ${name}\n`);
  for (const role of response.roles) {
    world.out("\n");
    await showRole(session, role);
  }
};

const userList: Run<object> = async ({ client, printer }, args) => {
  refuseArguments(args, "user list command requires no arguments");
  const response = await client.auth(methods.userList, {});
  printer.show({
    ...shownOf(methods.userList, response),
    simple: response.users.map((name) => `${name}\n`).join(""),
    fields: undefined,
    json: jsonOf(response.header, ["users", response.users]),
  });
};

const userPasswd: Run<UserOptions> = async ({ world, client, printer }, args, { notInteractive }) => {
  const name = oneOf(args, "user passwd command requires user name as its argument");
  const password = await passwordFor(name, notInteractive === true, world);
  const response = await client.auth(methods.userChangePassword, { name, password, hashedPassword: "" });
  printer.show(plain(methods.userChangePassword, response, "Password updated\n"));
};

const userGrantRole: Run<object> = async ({ client, printer }, args) => {
  const [user, role] = twoOf(args, "user grant command requires user name and role name as its argument");
  const response = await client.auth(methods.userGrantRole, { user, role });
  printer.show(plain(methods.userGrantRole, response, `Role ${role} is granted to user ${user}\n`));
};

const userRevokeRole: Run<object> = async ({ client, printer }, args) => {
  const [name, role] = twoOf(args, "user revoke-role requires user name and role name as its argument");
  const response = await client.auth(methods.userRevokeRole, { name, role });
  printer.show(plain(methods.userRevokeRole, response, `Role ${role} is revoked from user ${name}\n`));
};

// ---- roles ----------------------------------------------------------------------------------------------------------

const roleAdd: Run<object> = async ({ client, printer }, args) => {
  const name = oneOf(args, "role add command requires role name as its argument");
  printer.show(plain(methods.roleAdd, await client.auth(methods.roleAdd, { name }), `Role ${name} created\n`));
};

const roleDelete: Run<object> = async ({ client, printer }, args) => {
  const role = oneOf(args, "role delete command requires role name as its argument");
  printer.show(plain(methods.roleDelete, await client.auth(methods.roleDelete, { role }), `Role ${role} deleted\n`));
};

const roleGet: Run<object> = (session, args) =>
  showRole(session, oneOf(args, "role get command requires role name as its argument"));

async function showRole({ client, printer }: Session, role: string): Promise<void> {
  const response = await client.auth(methods.roleGet, { role });
  printer.show({
    ...shownOf(methods.roleGet, response),
    simple: describeRole(role, response),
    fields: response.perm.flatMap(({ permType, key, rangeEnd }) => [
      `"PermType" :  ${authpb.permission_TypeToJSON(permType)}`,
      `"Key" : ${quoteBytes(key)}`,
      `"RangeEnd" : ${quoteBytes(rangeEnd)}`,
    ]),
    json: jsonOf(response.header, [
      "perm",
      response.perm.map(({ permType, key, rangeEnd }) => ({
        fields: [
          ["permType", permType],
          ["key", key],
          ["range_end", rangeEnd],
        ],
      })),
    ]),
  });
}

function describeRole(role: string, { perm }: AuthRoleGetResponse): Uint8Array {
  const { READ, WRITE, READWRITE } = PermissionType;
  const ranges = (type: authpb.Permission_Type): Uint8Array[] =>
    perm.filter(({ permType }) => permType === type || permType === READWRITE).map(describeRange);
  const head = utf8FromText(`Role ${role}\nKV Read:\n`);
  return concatBytes([head, ...ranges(READ), utf8FromText("KV Write:\n"), ...ranges(WRITE)]);
}

function describeRange({ key, rangeEnd }: authpb.Permission): Uint8Array {
  if (rangeEnd.length === 0) return concatBytes([TAB, key, LINE_END]);
  const isOpen = equalBytes(rangeEnd, FROM_KEY);
  const end = isOpen ? utf8FromText("<open ended>") : concatBytes([rangeEnd, utf8FromText(")")]);
  const isPrefix = equalBytes(prefixEnd(key), rangeEnd);
  const prefix = isPrefix ? [utf8FromText(" (prefix "), key, utf8FromText(")")] : [];
  return concatBytes([TAB, utf8FromText("["), key, utf8FromText(", "), end, ...prefix, LINE_END]);
}

const TAB = utf8FromText("\t");
const LINE_END = utf8FromText("\n");
const FROM_KEY = Uint8Array.of(0);

const roleList: Run<object> = async ({ client, printer }, args) => {
  refuseArguments(args, "role list command requires no arguments");
  const response = await client.auth(methods.roleList, {});
  printer.show({
    ...shownOf(methods.roleList, response),
    simple: response.roles.map((name) => `${name}\n`).join(""),
    fields: [`"Roles" :${response.roles.map((name) => ` ${quoteBytes(utf8FromText(name))}`).join("")}`],
    json: jsonOf(response.header, ["roles", response.roles]),
  });
};

interface SpanOptions {
  readonly prefix?: boolean;
  readonly fromKey?: boolean;
}

const roleGrantPermission: Run<SpanOptions> = async ({ world, client, printer }, args, options) => {
  const [name, type, ...range] = args;
  if (name === undefined || type === undefined || range.length === 0) {
    const detail = "role grant command requires role name, permission type, and key [endkey] as its argument";
    throw new CommandFailure(ExitCode.badArguments, detail);
  }
  const permType = Object.entries(PermissionType).find(([known]) => known === type.toUpperCase())?.[1];
  if (permType === undefined) throw new CommandFailure(ExitCode.badArguments, `invalid permission type: ${type}`);
  const perm = { permType, ...permissionRange(range, options, world.argumentBytes) };
  const response = await client.auth(methods.roleGrantPermission, { name, perm });
  printer.show(plain(methods.roleGrantPermission, response, `Role ${name} updated\n`));
};

const roleRevokePermission: Run<SpanOptions> = async ({ world, client, printer }, args, options) => {
  const [role, given, ...rest] = args;
  if (role === undefined || given === undefined) {
    const detail = "role revoke-permission command requires role name and key [endkey] as its argument";
    throw new CommandFailure(ExitCode.badArguments, detail);
  }
  const { key, rangeEnd } = permissionRange([given, ...rest], options, world.argumentBytes);
  const request = AuthRoleRevokePermissionRequest.fromPartial({ role, key, rangeEnd });
  const response = await client.auth(methods.roleRevokePermission, request);
  const what =
    rangeEnd.length === 0
      ? `key ${given}`
      : equalBytes(rangeEnd, FROM_KEY)
        ? `range [${given}, <open ended>`
        : `range [${given}, ${textFromUtf8(rangeEnd)})`;
  printer.show(plain(methods.roleRevokePermission, response, `Permission of ${what} is revoked from role ${role}\n`));
};

/** An empty key stands for all keys there are; the server knows that as "from the smallest key on". */
function permissionRange(
  [first, second]: readonly string[],
  { prefix, fromKey }: SpanOptions,
  toBytes: (argument: string) => Uint8Array,
): { key: Uint8Array; rangeEnd: Uint8Array } {
  const spans = prefix === true || fromKey === true;
  const key = toBytes(first!);
  if (prefix === true && fromKey === true && (second === undefined || key.length === 0)) {
    throw new CommandFailure(ExitCode.badArguments, "--from-key and --prefix flags are mutually exclusive");
  }
  if (key.length === 0) return { key: FROM_KEY, rangeEnd: spans ? FROM_KEY : NOTHING };
  if (second === undefined) {
    if (!spans) return { key, rangeEnd: NOTHING };
    return { key, rangeEnd: prefix === true ? prefixEnd(key) : FROM_KEY };
  }
  if (spans) {
    const flag = prefix === true ? "prefix" : "from-key";
    throw new CommandFailure(ExitCode.badArguments, `unexpected endkey argument with --${flag} flag`);
  }
  return { key, rangeEnd: toBytes(second) };
}

const NOTHING = new Uint8Array(0);

// ---- passwords ------------------------------------------------------------------------------------------------------

/** A new password, asked for twice; or the first word of stdin. */
async function passwordFor(name: string, notInteractive: boolean, world: World): Promise<string> {
  const lines = latin1Lines(world.stdin());
  try {
    return await (notInteractive ? firstWord(lines) : newPassword(name, lines, world));
  } finally {
    await lines.return(undefined); // else an open stdin keeps the process
  }
}

async function firstWord(lines: AsyncGenerator<string>): Promise<string> {
  const { done, value } = await lines.next();
  return done === true ? "" : (textOf(value).trim().split(/\s+/, 1)[0] ?? "");
}

async function newPassword(name: string, lines: AsyncGenerator<string>, world: World): Promise<string> {
  const first = await askSecret(`Password of ${name}: `, lines, world);
  if (first === "") throw new CommandFailure(ExitCode.badArguments, "empty password");
  const second = await askSecret(`Type password of ${name} again for confirmation: `, lines, world);
  if (first !== second) throw new CommandFailure(ExitCode.badArguments, "given passwords are different");
  return first;
}

/** @throws CommandFailure when nothing more is typed */
export async function askSecret(prompt: string, lines: AsyncGenerator<string>, world: World): Promise<string> {
  world.out(prompt);
  world.echo(false);
  try {
    const { done, value } = await lines.next();
    world.out("\n");
    if (done !== true) return textOf(value).trim();
  } finally {
    world.echo(true);
  }
  throw new CommandFailure(ExitCode.badArguments, "failed to ask password: failed during password entry: EOF");
}

const textOf = (latin1: string): string => textFromUtf8(bytesFromLatin1(latin1));

// ---- shared ---------------------------------------------------------------------------------------------------------

function oneOf(args: readonly string[], sentence: string): string {
  const [only] = args;
  if (only === undefined || args.length !== 1) throw new CommandFailure(ExitCode.badArguments, sentence);
  return only;
}

function twoOf(args: readonly string[], sentence: string): [string, string] {
  const [first, second] = args;
  if (first === undefined || second === undefined || args.length !== 2) {
    throw new CommandFailure(ExitCode.badArguments, sentence);
  }
  return [first, second];
}

function refuseArguments(args: readonly string[], sentence: string): void {
  if (args.length > 0) throw new CommandFailure(ExitCode.badArguments, sentence);
}

interface Answer {
  readonly header: ResponseHeader | undefined;
}

function shownOf<Response extends Answer>(
  method: { readonly responseType: { encode(message: Response): BinaryWriter } },
  response: Response,
): Pick<ShownMessage, "header" | "protobuf"> {
  return { header: response.header, protobuf: method.responseType.encode(response).finish() };
}

/** An answer that is a header alone. */
function plain<Response extends Answer>(
  method: { readonly responseType: { encode(message: Response): BinaryWriter } },
  response: Response,
  simple: string,
): ShownMessage {
  return { ...shownOf(method, response), simple, fields: [], json: jsonOf(response.header) };
}

function jsonOf(header: ResponseHeader | undefined, ...rest: (readonly [string, GoJson])[]): GoJson {
  return { fields: [["header", headerJson(header)], ...rest] };
}
