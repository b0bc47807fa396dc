import assert from "node:assert/strict";
import { test } from "node:test";
import { AuthState, NOBODY, type AuthChange, type Caller, type Permission } from "./auth-model.js";
import type { KeyValueRequest } from "./history.js";
import { checkRights, type RightsCall } from "./rights.js";
import { StateMachine, type Logged } from "./state-machine.js";

const span = (key: string, end?: string): { key: string; end?: string } => (end === undefined ? { key } : { key, end });
const permission = (access: Permission["access"], key: string, end?: string): AuthChange => ({
  kind: "grant permission",
  role: "r",
  permission: { access, ...span(key, end) },
});

/** A user u with the role r, which may read [a, c) and write b; authentication is on. */
function play(): StateMachine {
  const state = new StateMachine({ leaseSecondsMin: 1 });
  for (const change of [
    { kind: "add user", user: "root" },
    { kind: "grant role", user: "root", role: "root" },
    { kind: "add user", user: "u" },
    { kind: "add role", role: "r" },
    { kind: "grant role", user: "u", role: "r" },
    permission("read", "a", "c"),
    permission("write", "b"),
    { kind: "enable" },
  ] as const satisfies readonly AuthChange[]) {
    assert.equal(state.apply({ kind: "auth", caller: NOBODY, change }).kind, "done", change.kind);
  }
  return state;
}

const asRoot = (state: StateMachine, change: AuthChange): void =>
  void state.apply({ kind: "auth", caller: { name: "root", revision: state.auth.revision }, change });
const asUser = (state: StateMachine): Caller => ({ name: "u", revision: state.auth.revision });

test("spans are covered by permissions that overlap or touch, and by no others", () => {
  const covers = (asked: { key: string; end?: string }, ...all: readonly { key: string; end?: string }[]): boolean =>
    new AuthState({
      isEnabled: true,
      revision: 9,
      users: new Map([["u", { roles: ["r"], tokensSince: 0 }]]),
      roles: new Map([["r", all.map((each) => ({ access: "both" as const, ...each }))]]),
      changes: 9,
      offSince: 0,
    }).may("read", "u", asked);
  assert.equal(covers(span("b"), span("a", "c")), true);
  assert.equal(covers(span("c"), span("a", "c")), false);
  assert.equal(covers(span("a", "d"), span("a", "c"), span("b", "d")), true);
  assert.equal(covers(span("a", "d"), span("a", "b"), span("b", "d")), true);
  assert.equal(covers(span("a", "d"), span("a", "b"), span("c", "d")), false);
  assert.equal(covers(span("a", "\0"), span("a", "b")), false);
  assert.equal(covers(span("b", "\0"), span("a", "\0")), true);
  assert.equal(covers(span("a"), span("a")), true);
  assert.equal(covers(span("a", "b"), span("a")), false);
});

test("the log decides what writes may do: by the newest rights, and never for who was let in before", () => {
  const put = (more: Partial<Extract<KeyValueRequest, { kind: "put" }>> = {}): KeyValueRequest => ({
    kind: "put",
    key: "b",
    value: "1",
    ...more,
  });
  const cases: readonly (readonly [
    what: string,
    request: KeyValueRequest,
    caller: (state: StateMachine) => Caller,
    done: string,
  ])[] = [
    ["a key that he may write", put(), asUser, "changed"],
    ["one that he may read", put({ key: "a" }), asUser, "refused"],
    ["with what was there before, which he may read", put({ prevKv: true }), asUser, "changed"],
    ["by nobody", put(), () => NOBODY, "refused"],
    ["let in before the last change", put(), () => ({ name: "u", revision: 1 }), "refused"],
    ["hung on a lease with a key that is not his", put({ lease: "7" }), asUser, "refused"],
    ["in a nested transaction", nested(put()), asUser, "changed"],
    ["in a nested transaction, of a key that he may read", nested(put({ key: "a" })), asUser, "refused"],
  ];
  for (const [what, request, caller, expected] of cases) {
    const state = play();
    state.apply({ kind: "grant", lease: "7", ttlSeconds: 5 });
    const root = { name: "root", revision: state.auth.revision };
    state.apply({ kind: "request", caller: root, request: put({ key: "z", lease: "7" }) });
    assert.equal(state.apply({ kind: "request", caller: caller(state), request }).kind, expected, what);
  }
});

const nested = (request: KeyValueRequest): KeyValueRequest => ({
  kind: "txn",
  compares: [],
  success: [{ kind: "txn", compares: [], success: [request], failure: [] }],
  failure: [],
});

test("the end of a lease deletes what hangs on it in one revision, for who may write all of it", () => {
  const state = play();
  state.apply({ kind: "grant", lease: "7", ttlSeconds: 5 });
  const root = { name: "root", revision: state.auth.revision };
  for (const key of ["b", "z"]) {
    state.apply({ kind: "request", caller: root, request: { kind: "put", key, value: "1", lease: "7" } });
  }
  const revoke = (caller: Caller): Logged => ({ kind: "revoke", caller, lease: "7" });
  assert.equal(state.apply(revoke(asUser(state))).kind, "refused");
  assert.equal(state.apply(revoke(root)).kind, "revoked");
  assert.equal(state.store.revision, 4);
  assert.deepEqual(state.changes.at(-1)?.changes, [
    { kind: "delete", key: "b" },
    { kind: "delete", key: "z" },
  ]);
  assert.equal(
    state.apply({ kind: "request", caller: root, request: { kind: "put", key: "y", value: "", lease: "7" } }).kind,
    "refused",
  );
});

function verdict(change: AuthChange | undefined, more: Partial<RightsCall>): string {
  const state = play();
  const before = state.index;
  if (change !== undefined) asRoot(state, change);
  const call: RightsCall = {
    client: "c1",
    member: "m1",
    user: "u",
    tokenIndex: before,
    request: { kind: "range", key: "a" },
    appliedBefore: state.index,
    committedBefore: state.index,
    verdict: "let in",
    appliedAfter: state.index,
    ...more,
  };
  return checkRights([call], state)[0]?.law ?? "right";
}

const LOSES_IT: AuthChange = { kind: "revoke permission", role: "r", span: span("a", "c") };
const before = play().index;

const CASES: readonly (readonly [
  what: string,
  change: AuthChange | undefined,
  more: Partial<RightsCall>,
  verdict: string,
])[] = [
  ["reads what he may", undefined, {}, "right"],
  ["reads what he may not", undefined, { request: { kind: "range", key: "x" } }, "rights-are-current"],
  ["is denied what he may", undefined, { verdict: "denied" }, "rights-are-current"],
  ["is denied what he may not", undefined, { verdict: "denied", request: { kind: "range", key: "x" } }, "right"],
  ["reads while he loses the right", LOSES_IT, { appliedBefore: before, committedBefore: before }, "right"],
  ["reads after he lost the right", LOSES_IT, {}, "rights-are-current"],
  [
    "reads from a member that has not heard of it",
    LOSES_IT,
    {
      appliedBefore: before,
      appliedAfter: before - 1,
      committedBefore: 0,
      request: { kind: "range", key: "a", serializable: true },
    },
    "right",
  ],
  ["reads as nobody", undefined, { user: "", tokenIndex: 0 }, "rights-are-current"],
  [
    "writes with a token of a user that is gone",
    { kind: "delete user", user: "u" },
    { request: { kind: "put", key: "b", value: "1" } },
    "token-ends-with-its-user",
  ],
  [
    "reads with a token from before his new password",
    { kind: "change password", user: "u" },
    {},
    "token-ends-with-its-user",
  ],
  ["reads with a token while authentication is off", { kind: "disable" }, {}, "right"],
];

for (const [what, change, more, expected] of CASES) {
  test(`a user who ${what}: ${expected}`, () => assert.equal(verdict(change, more), expected));
}
