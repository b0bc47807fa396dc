import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { EMPTY_BYTES } from "../base/bytes.js";
import { ConfChangeTransition, ConfChangeType, EMPTY_CONF_STATE, type ConfChangeSingle } from "../proto/raft.js";
import {
  changeSimply,
  checkMembership,
  enterJoint,
  leaveJoint,
  restoreMembership,
  type ChangeOutcome,
} from "./conf-change.js";
import {
  asConfChangeV2,
  confChangeEntry,
  confChangeOf,
  confStateOf,
  describeConfChanges,
  equalConfStates,
  kindOfConfChange,
  parseConfChanges,
} from "./configuration.js";
import { Inflights } from "./inflights.js";
import { sortedIds } from "./quorum.js";
import { describeMembership, Tracker, type Membership } from "./tracker.js";

const newcomer = { lastIndex: 10, newInflights: () => new Inflights(10, 0) };
const emptyMembership = (): Membership => new Tracker(10, 0);

function stepsOf(text: string): ConfChangeSingle[] {
  const steps = parseConfChanges(text);
  assert.ok(!("error" in steps));
  return steps;
}

function mustChange(outcome: ChangeOutcome): Membership {
  if (outcome.kind === "refused") assert.fail(`refused: ${outcome.reason}`);
  return outcome.membership;
}

const steps = fc.array(
  fc.record({
    type: fc.constantFrom(...Object.values(ConfChangeType)),
    nodeId: fc.bigInt(0n, 6n),
  }),
  { minLength: 1, maxLength: 6 },
);

const actions = fc.array(
  fc.oneof(
    steps.map((given) => ({ kind: "simple" as const, given })),
    fc.tuple(steps, fc.boolean()).map(([given, autoLeave]) => ({ kind: "enter" as const, given, autoLeave })),
    fc.constant({ kind: "leave" as const }),
  ),
  { maxLength: 20 },
);

type Action = typeof actions extends fc.Arbitrary<(infer One)[]> ? One : never;

function carryOut(from: Membership, action: Action): ChangeOutcome {
  if (action.kind === "leave") return leaveJoint(from);
  if (action.kind === "simple") return changeSimply(from, action.given, newcomer);
  return enterJoint(from, action.autoLeave, action.given, newcomer);
}

test("any sequence of changes keeps the laws, and a refused one leaves no trace", () => {
  fc.assert(
    fc.property(actions, (given) => {
      let membership = mustChange(changeSimply(emptyMembership(), stepsOf("v1"), newcomer));
      for (const action of given) {
        const before = describeMembership(membership);
        const outcome = carryOut(membership, action);
        assert.equal(describeMembership(membership), before);
        if (outcome.kind === "refused") continue;
        ({ membership } = outcome);
        checkMembership(membership);
        assert.ok(membership.configuration.voters.incoming.length > 0);
      }
    }),
  );
});

test("a membership is restored from its stored state", () => {
  fc.assert(
    fc.property(actions, (given) => {
      let membership = mustChange(changeSimply(emptyMembership(), stepsOf("v1"), newcomer));
      for (const action of given) {
        const outcome = carryOut(membership, action);
        if (outcome.kind === "changed") ({ membership } = outcome);
      }
      const state = confStateOf(membership.configuration);
      const restored = mustChange(restoreMembership(emptyMembership(), state, newcomer));
      assert.deepEqual(confStateOf(restored.configuration), state);
      assert.deepEqual(sortedIds(restored.progress.keys()), sortedIds(membership.progress.keys()));
      for (const [id, progress] of restored.progress) {
        assert.equal(progress.isLearner, membership.progress.get(id)!.isLearner);
      }
    }),
  );
});

test("a joint change that is left again ends where its steps, one by one, end", () => {
  fc.assert(
    fc.property(steps, (given) => {
      const start = mustChange(
        enterJoint(
          mustChange(changeSimply(emptyMembership(), stepsOf("v1"), newcomer)),
          false,
          stepsOf("v2 v3 l4"),
          newcomer,
        ),
      );
      const from = mustChange(leaveJoint(start));
      let oneByOne: Membership | undefined = from;
      for (const step of given) {
        const outcome: ChangeOutcome = changeSimply(oneByOne, [step], newcomer);
        if (outcome.kind === "refused") {
          oneByOne = undefined;
          break;
        }
        oneByOne = outcome.membership;
      }
      fc.pre(oneByOne !== undefined);
      const joint = mustChange(leaveJoint(mustChange(enterJoint(from, false, given, newcomer))));
      assert.deepEqual(joint.configuration, oneByOne.configuration);
    }),
  );
});

test("a newcomer is probed from the leader's end and counts as active", () => {
  const membership = mustChange(changeSimply(emptyMembership(), stepsOf("v1"), newcomer));
  const progress = membership.progress.get(1n)!;
  assert.equal(progress.next, 10);
  assert.ok(progress.recentActive);
});

test("a promoted learner keeps what is known of it", () => {
  let membership = mustChange(changeSimply(emptyMembership(), stepsOf("v1"), newcomer));
  membership = mustChange(changeSimply(membership, stepsOf("l2"), newcomer));
  membership.progress.get(2n)!.maybeUpdate(7);
  membership = mustChange(changeSimply(membership, stepsOf("v2"), newcomer));
  assert.equal(membership.progress.get(2n)!.match, 7);
});

test("what a change means is told by its transition and the number of its steps", () => {
  const { auto, jointImplicit, jointExplicit } = ConfChangeTransition;
  for (const [transition, text, kind] of [
    [auto, "", "leave-joint"],
    [auto, "v1", "simple"],
    [auto, "v1 v2", "enter-joint-auto-leave"],
    [jointImplicit, "v1", "enter-joint-auto-leave"],
    [jointExplicit, "v1", "enter-joint"],
    [jointExplicit, "v1 r2", "enter-joint"],
  ] as const) {
    assert.equal(kindOfConfChange({ transition, changes: stepsOf(text), context: EMPTY_BYTES }), kind);
  }
});

test("a change survives its entry, in either form", () => {
  const v1 = { id: 7n, type: ConfChangeType.removeNode, nodeId: 3n, context: new Uint8Array([1]) };
  assert.deepEqual(confChangeOf(confChangeEntry(v1)), asConfChangeV2(v1));
  const v2 = {
    transition: ConfChangeTransition.jointExplicit,
    changes: stepsOf("v1 l2"),
    context: new Uint8Array([2]),
  };
  assert.deepEqual(confChangeOf(confChangeEntry(v2)), v2);
  assert.deepEqual(confChangeOf(confChangeEntry(undefined)).changes, []);
});

test("steps are read and written alike", () => {
  assert.equal(describeConfChanges(stepsOf(" v1 l22 r3 u4 ")), "v1 l22 r3 u4");
  assert.deepEqual(stepsOf(""), []);
  assert.deepEqual(parseConfChanges("v"), { error: "unknown token v" });
  assert.deepEqual(parseConfChanges("w1"), { error: "unknown input: w1" });
  assert.deepEqual(parseConfChanges("vx"), { error: 'strconv.ParseUint: parsing "x": invalid syntax' });
});

test("states are equal whatever their order", () => {
  const state = { ...EMPTY_CONF_STATE, voters: [1n, 2n], learners: [4n, 3n] };
  assert.ok(equalConfStates(state, { ...state, voters: [2n, 1n], learners: [3n, 4n] }));
  assert.ok(!equalConfStates(state, { ...state, voters: [1n] }));
  assert.ok(!equalConfStates(state, { ...state, voters: [1n, 3n] }));
  assert.ok(!equalConfStates(state, { ...state, autoLeave: true }));
});
