import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  allVoters,
  jointCommittedIndex,
  jointVoteResult,
  majorityCommittedIndex,
  majorityVoteResult,
  sortedIds,
  type VoteResult,
} from "./quorum.js";

const ID_TEXTS = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];
const voterSets = fc.uniqueArray(fc.bigInt(1n, 9n), { maxLength: 9 }).map(sortedIds);
const indexes = fc.dictionary(fc.constantFrom(...ID_TEXTS), fc.nat({ max: 20 }));
const votes = fc
  .dictionary(fc.constantFrom(...ID_TEXTS), fc.boolean())
  .map((given) => new Map(Object.entries(given).map(([id, vote]) => [BigInt(id), vote] as const)));

/** By definition: the highest index that more than half have reached. */
function committedByCounting(voters: readonly bigint[], acked: Record<string, number>): number {
  if (voters.length === 0) return Number.POSITIVE_INFINITY;
  for (let index = 20; index > 0; index--) {
    if (voters.filter((id) => (acked[String(id)] ?? 0) >= index).length * 2 > voters.length) return index;
  }
  return 0;
}

/** By definition: tries how all who have not voted may vote. */
function resultByTrying(voters: readonly bigint[], given: ReadonlyMap<bigint, boolean>): VoteResult {
  const open = voters.filter((id) => !given.has(id)).length;
  const granted = voters.filter((id) => given.get(id) === true).length;
  const wins = (more: number): boolean => voters.length === 0 || (granted + more) * 2 > voters.length;
  if (wins(0)) return "won";
  return wins(open) ? "pending" : "lost";
}

test("a majority's committed index is what counting says", () => {
  fc.assert(
    fc.property(voterSets, indexes, (voters, acked) => {
      const index = majorityCommittedIndex(voters, (id) => acked[String(id)]);
      assert.equal(index, committedByCounting(voters, acked));
    }),
  );
});

test("a joint configuration has committed what both halves have, whichever way round", () => {
  fc.assert(
    fc.property(voterSets, voterSets, indexes, (incoming, outgoing, acked) => {
      const index = jointCommittedIndex({ incoming, outgoing }, (id) => acked[String(id)]);
      const halves = [committedByCounting(incoming, acked), committedByCounting(outgoing, acked)];
      assert.equal(index, Math.min(...halves));
      assert.equal(
        jointCommittedIndex({ incoming: outgoing, outgoing: incoming }, (id) => acked[String(id)]),
        index,
      );
    }),
  );
});

test("a vote stands as trying all outcomes says", () => {
  fc.assert(
    fc.property(voterSets, votes, (voters, given) => {
      assert.equal(majorityVoteResult(voters, given), resultByTrying(voters, given));
    }),
  );
});

test("a joint vote is won with both halves and lost with either", () => {
  fc.assert(
    fc.property(voterSets, voterSets, votes, (incoming, outgoing, given) => {
      const halves = [resultByTrying(incoming, given), resultByTrying(outgoing, given)];
      const expected = halves.includes("lost") ? "lost" : halves.includes("pending") ? "pending" : "won";
      assert.equal(jointVoteResult({ incoming, outgoing }, given), expected);
    }),
  );
});

test("two quorums of one configuration always share a voter", () => {
  fc.assert(
    fc.property(voterSets, votes, (voters, given) => {
      fc.pre(voters.length > 0);
      const opposite = new Map(voters.map((id) => [id, given.get(id) !== true] as const));
      const both = [majorityVoteResult(voters, given), majorityVoteResult(voters, opposite)];
      assert.ok(!both.every((result) => result === "won"));
    }),
  );
});

test("all voters are those of either half, in order, once", () => {
  assert.deepEqual(allVoters({ incoming: [2n, 10n], outgoing: [1n, 2n] }), [1n, 2n, 10n]);
});
