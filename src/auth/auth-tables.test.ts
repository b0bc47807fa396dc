import assert from "node:assert/strict";
import { test } from "node:test";
import { bytesFromLatin1, latin1FromBytes, utf8FromText } from "../base/text.js";
import { silentLog } from "../platform/log.js";
import { Permission_Type as PermissionType, User } from "../proto/generated/authpb/auth.js";
import { AUTH_USERS_BUCKET, AuthTables } from "./auth-tables.js";
import { type Caller, NOBODY } from "./caller.js";
import { AuthError } from "./errors.js";
import { SimpleTokens } from "./simple-tokens.js";
import { MemoryTable } from "./testing/memory-table.js";

interface Fixture {
  readonly tables: AuthTables;
  readonly table: MemoryTable;
  readonly told: string[];
  /** A caller as of now. */
  readonly by: (username: string) => Caller;
  readonly reopen: () => AuthTables;
}

function tablesFixture(): Fixture {
  const table = new MemoryTable();
  const told: string[] = [];
  const tokens = {
    enable: () => void told.push("enable"),
    disable: () => void told.push("disable"),
    invalidate: (username: string) => void told.push(`invalidate ${username}`),
  };
  const reopen = (): AuthTables => new AuthTables(table, tokens, silentLog);
  const tables = reopen();
  told.length = 0;
  return { tables, table, told, reopen, by: (username) => ({ username, revision: tables.revision }) };
}

const bytes = bytesFromLatin1;
const NOTHING = new Uint8Array(0);

const userRequest = (name: string): { name: string; password: string; options: undefined; hashedPassword: string } => ({
  name,
  password: "",
  options: undefined,
  hashedPassword: "aGFzaA==",
});

/** Users with the role root, and with a role of their own over the given range. */
function populate(tables: AuthTables): void {
  for (const name of ["root", "alice"]) tables.addUser(userRequest(name));
  tables.grantRole({ user: "root", role: "root" });
  tables.addRole("readers");
  grant(tables, "readers", PermissionType.READ, "a", "c");
  tables.grantRole({ user: "alice", role: "readers" });
}

function grant(tables: AuthTables, name: string, permType: PermissionType, key: string, rangeEnd = ""): void {
  tables.grantPermission({ name, perm: { permType, key: bytes(key), rangeEnd: bytes(rangeEnd) } });
}

const refusal = (run: () => void): string => {
  try {
    run();
  } catch (error) {
    if (error instanceof AuthError) return error.code;
    throw error;
  }
  return "done";
};

test("a fresh db gets auth revision 1; each change raises it, switching on does not", () => {
  const { tables, reopen } = tablesFixture();
  assert.equal(tables.revision, 1);
  populate(tables);
  assert.equal(tables.revision, 7);
  tables.enable();
  assert.equal(tables.revision, 7);
  tables.disable();
  assert.equal(tables.revision, 8);
  tables.disable();
  assert.equal(tables.revision, 8);
  assert.equal(reopen().revision, 8);
});

test("authentication is switched on only for a root that can switch it off", () => {
  const { tables, told, reopen } = tablesFixture();
  assert.equal(
    refusal(() => tables.enable()),
    "AUTH_ROOT_USER_MISSING",
  );
  tables.addUser(userRequest("root"));
  assert.equal(
    refusal(() => tables.enable()),
    "AUTH_ROOT_ROLE_MISSING",
  );
  tables.grantRole({ user: "root", role: "root" }); // which is no role in the table
  tables.enable();
  tables.enable();
  assert.equal(reopen().isEnabled, true);
  assert.deepEqual(told, ["enable", "disable", "enable"], "once, and once more when it was opened anew");
});

test("users are kept as etcd keeps them", () => {
  const { tables, table } = tablesFixture();
  tables.addUser(userRequest("alice"));
  tables.addUser({ ...userRequest("bob"), options: { noPassword: true }, hashedPassword: "" });
  const row = (name: string): string => Buffer.from(table.get("authUsers", utf8FromText(name))!).toString("hex");
  // name, password, and options that are there though nothing is set in them
  assert.equal(row("alice"), "0a05616c6963651204686173682200");
  assert.equal(row("bob"), "0a03626f6222020801");
  assert.deepEqual(tables.userNames(), ["alice", "bob"]);
});

test("roles of a user are in the order of their bytes", () => {
  const { tables } = tablesFixture();
  tables.addUser(userRequest("alice"));
  for (const role of ["b", "\u{1f600}", "\ue000", "a"]) {
    tables.addRole(role);
    tables.grantRole({ user: "alice", role });
  }
  assert.deepEqual(tables.user("alice")?.roles, ["a", "b", "\ue000", "\u{1f600}"]);
});

test("granting a role again changes nothing", () => {
  const { tables } = tablesFixture();
  populate(tables);
  const before = tables.revision;
  tables.grantRole({ user: "alice", role: "readers" });
  assert.equal(tables.revision, before);
});

test("each refusal of a change of users and roles", () => {
  const { tables } = tablesFixture();
  populate(tables);
  const key = bytes("k");
  const told = [
    () => tables.addUser(userRequest("")),
    () => tables.addUser(userRequest("alice")),
    () => tables.addUser(userRequest("x".repeat(32_769))),
    () => tables.addUser({ ...userRequest("carol"), hashedPassword: "no base64" }),
    () => tables.addUser({ ...userRequest("carol"), hashedPassword: "aGFzaA" }),
    () => tables.deleteUser("carol"),
    () => tables.changePassword({ name: "carol", password: "", hashedPassword: "" }),
    () => tables.grantRole({ user: "carol", role: "readers" }),
    () => tables.grantRole({ user: "alice", role: "writers" }),
    () => tables.revokeRole({ name: "carol", role: "readers" }),
    () => tables.revokeRole({ name: "alice", role: "writers" }),
    () => tables.addRole(""),
    () => tables.addRole("readers"),
    () => tables.deleteRole("writers"),
    () => tables.grantPermission({ name: "readers", perm: undefined }),
    () => grant(tables, "writers", PermissionType.READ, "k"),
    () => grant(tables, "readers", PermissionType.READ, "k", "a"),
    () => grant(tables, "readers", PermissionType.READ, ""),
    () => tables.revokePermission({ role: "writers", key, rangeEnd: NOTHING }),
    () => tables.revokePermission({ role: "readers", key, rangeEnd: NOTHING }),
  ].map(refusal);
  assert.deepEqual(told, [
    "AUTH_USER_EMPTY",
    "AUTH_USER_EXISTS",
    "AUTH_NAME_TOO_LONG",
    "AUTH_NO_PASSWORD_USER",
    "AUTH_NO_PASSWORD_USER",
    "AUTH_USER_NOT_FOUND",
    "AUTH_USER_NOT_FOUND",
    "AUTH_USER_NOT_FOUND",
    "AUTH_ROLE_NOT_FOUND",
    "AUTH_USER_NOT_FOUND",
    "AUTH_ROLE_NOT_GRANTED",
    "AUTH_ROLE_EMPTY",
    "AUTH_ROLE_EXISTS",
    "AUTH_ROLE_NOT_FOUND",
    "AUTH_PERMISSION_NOT_GIVEN",
    "AUTH_ROLE_NOT_FOUND",
    "AUTH_MANAGEMENT_INVALID",
    "AUTH_MANAGEMENT_INVALID",
    "AUTH_ROLE_NOT_FOUND",
    "AUTH_PERMISSION_NOT_GRANTED",
  ]);
  assert.equal(tables.revision, 7, "a refusal changes nothing");
});

test("root cannot be lost while authentication is on", () => {
  const { tables } = tablesFixture();
  populate(tables);
  tables.addRole("root");
  const attempts = [
    () => tables.deleteUser("root"),
    () => tables.revokeRole({ name: "root", role: "root" }),
    () => tables.deleteRole("root"),
  ];
  tables.enable();
  for (const attempt of attempts) assert.equal(refusal(attempt), "AUTH_MANAGEMENT_INVALID");
  tables.disable();
  for (const attempt of attempts.reverse()) {
    assert.ok(["done", "AUTH_ROLE_NOT_GRANTED"].includes(refusal(attempt)), "off, it may");
  }
});

test("a deleted role is taken from all who have it", () => {
  const { tables } = tablesFixture();
  populate(tables);
  tables.deleteRole("readers");
  assert.deepEqual(tables.user("alice")?.roles, []);
  assert.deepEqual(tables.user("root")?.roles, ["root"]);
});

test("a change of password, and a deletion, end the user's tokens", () => {
  const { tables, told } = tablesFixture();
  populate(tables);
  tables.changePassword({ name: "alice", password: "", hashedPassword: "bmV3" });
  assert.equal(Buffer.from(tables.user("alice")!.password).toString(), "new");
  assert.deepEqual(tables.user("alice")!.roles, ["readers"]);
  tables.deleteUser("alice");
  assert.deepEqual(told, ["invalidate alice", "invalidate alice"]);
});

test("a user without a password stays without one", () => {
  const { tables } = tablesFixture();
  tables.addUser({ ...userRequest("bob"), options: { noPassword: true } });
  tables.changePassword({ name: "bob", password: "", hashedPassword: "bmV3" });
  assert.equal(tables.user("bob")!.password.length, 0);
});

test("the same range granted again gets the new right; a later range of the same key stays beside it", () => {
  const { tables } = tablesFixture();
  tables.addRole("r");
  grant(tables, "r", PermissionType.READ, "b", "c");
  grant(tables, "r", PermissionType.READ, "a");
  grant(tables, "r", PermissionType.WRITE, "b", "c");
  grant(tables, "r", PermissionType.WRITE, "b", "d");
  grant(tables, "r", PermissionType.READ, "b", "d"); // not the first of its key: it is there twice, as in etcd
  const shown = tables
    .mustRole("r")
    .keyPermission.map((perm) => `${perm.permType} ${latin1FromBytes(perm.key)}-${latin1FromBytes(perm.rangeEnd)}`);
  assert.deepEqual(shown, ["0 a-", "1 b-c", "1 b-d", "0 b-d"]);
  tables.revokePermission({ role: "r", key: bytes("b"), rangeEnd: bytes("d") });
  assert.equal(tables.mustRole("r").keyPermission.length, 2);
});

test("with authentication off everybody may do everything", () => {
  const { tables } = tablesFixture();
  tables.assertAdmin(NOBODY);
  tables.assertMay("write", NOBODY, bytes("k"), bytes("\0"));
  tables.assertMay("read", NOBODY, bytes("k"), NOTHING);
});

test("a user may do what his roles say, root everything, a stranger nothing", () => {
  const { tables, by } = tablesFixture();
  populate(tables);
  tables.enable();
  const may = (access: "read" | "write", who: Caller, key: string, end = ""): string =>
    refusal(() => tables.assertMay(access, who, bytes(key), bytes(end)));
  assert.equal(may("read", by("alice"), "b"), "done");
  assert.equal(may("read", by("alice"), "a", "c"), "done");
  assert.equal(may("read", by("alice"), "a", "d"), "AUTH_PERMISSION_DENIED");
  assert.equal(may("read", by("alice"), "a", "\0"), "AUTH_PERMISSION_DENIED");
  assert.equal(may("write", by("alice"), "b"), "AUTH_PERMISSION_DENIED");
  assert.equal(may("write", by("root"), "\0", "\0"), "done");
  assert.equal(may("read", by("carol"), "b"), "AUTH_PERMISSION_DENIED");
  assert.equal(may("read", NOBODY, "b"), "AUTH_USER_EMPTY");
  assert.equal(
    refusal(() => tables.assertAdmin(by("root"))),
    "done",
  );
  assert.equal(
    refusal(() => tables.assertAdmin(by("alice"))),
    "AUTH_PERMISSION_DENIED",
  );
  assert.equal(
    refusal(() => tables.assertAdmin(by("carol"))),
    "AUTH_USER_NOT_FOUND",
  );
  assert.equal(
    refusal(() => tables.assertAdmin(NOBODY)),
    "AUTH_USER_EMPTY",
  );
});

test("who was let in before a change is refused after it, even root; but root still administers", () => {
  const { tables, by } = tablesFixture();
  populate(tables);
  tables.enable();
  const [alice, root] = [by("alice"), by("root")];
  tables.addRole("new");
  assert.equal(
    refusal(() => tables.assertMay("read", alice, bytes("b"), NOTHING)),
    "AUTH_OLD_REVISION",
  );
  assert.equal(
    refusal(() => tables.assertMay("read", root, bytes("b"), NOTHING)),
    "AUTH_OLD_REVISION",
  );
  assert.equal(
    refusal(() => tables.assertAdmin(root)),
    "done",
  );
});

test("a revoked role, and a revoked permission, count at once", () => {
  const { tables, by } = tablesFixture();
  populate(tables);
  tables.enable();
  const mayRead = (): string => refusal(() => tables.assertMayReadSpan(by("alice"), "a", "c"));
  assert.equal(mayRead(), "done");
  tables.revokePermission({ role: "readers", key: bytes("a"), rangeEnd: bytes("c") });
  assert.equal(mayRead(), "AUTH_PERMISSION_DENIED");
  grant(tables, "readers", PermissionType.READWRITE, "a", "c");
  assert.equal(mayRead(), "done");
  tables.revokeRole({ name: "alice", role: "readers" });
  assert.equal(mayRead(), "AUTH_PERMISSION_DENIED");
});

test("tables that come with a snapshot count at once: nothing is remembered of the old ones (etcd #14571)", () => {
  const { tables, table, reopen, by } = tablesFixture();
  populate(tables);
  tables.enable();
  tables.assertMay("read", by("alice"), bytes("b"), NOTHING);
  const user = User.decode(table.get("authUsers", utf8FromText("alice"))!);
  table.put("authUsers", utf8FromText("alice"), User.encode({ ...user, roles: [] }).finish());
  const caller = by("alice");
  assert.equal(
    refusal(() => reopen().assertMay("read", caller, bytes("b"), NOTHING)),
    "AUTH_PERMISSION_DENIED",
  );
});

test("tables that are opened anew end all tokens: they may be of users that are gone, or have another password", () => {
  const table = new MemoryTable();
  const tokens = new SimpleTokens({ now: () => 0 }, { below: () => 0 });
  const tables = new AuthTables(table, tokens, silentLog);
  populate(tables);
  tables.enable();
  const token = tokens.assign("alice", "prefix", 7);
  assert.equal(tokens.find(token)?.username, "alice");
  // As a snapshot brings it: the entry that changed the password is never applied here.
  table.put(
    AUTH_USERS_BUCKET,
    bytes("alice"),
    User.encode({ ...tables.mustUser("alice"), password: bytes("new") }).finish(),
  );
  assert.equal(new AuthTables(table, tokens, silentLog).isEnabled, true);
  assert.equal(tokens.find(token), undefined);
  assert.notEqual(tokens.find(tokens.assign("alice", "prefix", 8)), undefined);
});
