import assert from "node:assert/strict";
import { test } from "node:test";
import { settle, SimDisk } from "../../sim/index.js";
import { silentLog } from "../platform/log.js";
import { MessageType } from "../proto/raft.js";
import { Abstention, readDamagedEnd, writeDamagedEnd, type DamagedEnd, type Standing } from "./damaged-end.js";
import { layoutOf } from "./layout.js";

const ELECTION_TICKS = 10;
const layout = layoutOf("/data/member-1");
const damage: DamagedEnd = { healedAt: 20, summary: "segment 0, byte 512: entries 18 to 20 are in doubt" };

interface Play {
  readonly disk: SimDisk;
  readonly abstention: Abstention;
  /** Looks at a member that stands so, as each tick does. */
  readonly look: (standing?: Partial<Standing>) => void;
}

async function play(of: DamagedEnd | "none" = damage, preVote = true): Promise<Play> {
  const disk = new SimDisk();
  for (const folder of ["/data", layout.dataDir, layout.memberDir]) await disk.makeFolder(folder);
  if (of !== "none") await writeDamagedEnd(disk, layout, of);
  const d = { disk, layout, log: silentLog, electionTicks: ELECTION_TICKS, preVote, term: 3 };
  const abstention = new Abstention(d, await readDamagedEnd(disk, layout));
  const standing = { hasLeader: true, durableIndex: 17, appliedTerm: 3, isOnlyVoter: false };
  return { disk, abstention, look: (fields = {}) => abstention.onTick({ ...standing, ...fields }) };
}

test("a witness takes entries, and hears nothing of elections", async () => {
  const { abstention } = await play();
  assert.equal(abstention.holds, true);
  assert.equal(abstention.admits({ type: MessageType.append, index: 18 }), true);
  assert.equal(abstention.admits({ type: MessageType.heartbeat, index: 0 }), true);
  for (const type of [MessageType.vote, MessageType.preVote, MessageType.timeoutNow]) {
    assert.equal(abstention.admits({ type, index: 99 }), false);
  }
  assert.equal(abstention.countsTime, false);
});

test("a member whose log is whole hears everything", async () => {
  const { abstention } = await play("none");
  assert.equal(abstention.holds, false);
  assert.equal(abstention.admits({ type: MessageType.vote, index: 1 }), true);
});

test("it is healed when a leader brought the log past the damage, and the mark goes", async () => {
  const { abstention, disk, look } = await play();
  look({ durableIndex: 19 });
  look({ durableIndex: 20, hasLeader: false });
  assert.equal(abstention.holds, true);
  look({ durableIndex: 20 });
  assert.equal(abstention.holds, false);
  await settle();
  assert.equal(await readDamagedEnd(disk, layout), undefined);
  assert.deepEqual(disk.openHandles(), []);
});

test("it is healed by an entry of a later term, whose leader was elected without it", async () => {
  const { abstention, look } = await play();
  look({ appliedTerm: 4 });
  assert.equal(abstention.holds, false);
});

test("the only voter goes on at once", async () => {
  const { abstention, look } = await play();
  look({ isOnlyVoter: true, hasLeader: false });
  assert.equal(abstention.holds, false);
});

/** So many election timeouts go by. */
const silence = (look: Play["look"], timeouts: number, hasLeader: boolean): void => {
  for (let tick = 0; tick < timeouts * ELECTION_TICKS; tick++) look({ hasLeader });
};

test("after ten election timeouts without a word from a leader it votes for those who may have what it lost", async () => {
  for (const hasLeader of [false, true]) {
    const { abstention, look } = await play();
    silence(look, 9.9, hasLeader);
    abstention.onLeaderMessage();
    silence(look, 10, hasLeader);
    assert.equal(abstention.countsTime, false, "a word in between begins the count anew");
    look({ hasLeader });
    assert.equal(abstention.countsTime, true);
    assert.equal(abstention.holds, true);
    for (const type of [MessageType.vote, MessageType.preVote]) {
      assert.equal(abstention.admits({ type, index: damage.healedAt - 1 }), false);
      assert.equal(abstention.admits({ type, index: damage.healedAt }), true);
      assert.equal(abstention.lets({ type }), false, "it does not campaign");
    }
    assert.equal(abstention.admits({ type: MessageType.timeoutNow, index: 99 }), false);
    assert.equal(abstention.lets({ type: MessageType.voteResponse }), true);
    abstention.onLeaderMessage();
    look({ hasLeader });
    assert.equal(abstention.countsTime, false, "a leader spoke");
  }
});

test("after thirty it votes for anyone", async () => {
  const { abstention, look } = await play();
  silence(look, 29.9, false);
  assert.equal(abstention.holds, true);
  silence(look, 0.1, false);
  assert.equal(abstention.holds, false);
});

test("without pre-votes it would enter new terms: it waits for all thirty", async () => {
  const { abstention, look } = await play(damage, false);
  silence(look, 29.9, false);
  assert.equal(abstention.countsTime, false);
  assert.equal(abstention.admits({ type: MessageType.vote, index: 99 }), false);
  silence(look, 0.1, false);
  assert.equal(abstention.holds, false);
});

test("a second damage does not shorten what the first one asks for", async () => {
  const { disk } = await play();
  const both = await writeDamagedEnd(disk, layout, { healedAt: 7, summary: "again" });
  assert.deepEqual(both, { healedAt: 20, summary: "again" });
  assert.deepEqual(await readDamagedEnd(disk, layout), both);
});

test("a mark that cannot be read is refused: nobody knows what it asks for", async () => {
  const { disk } = await play();
  disk.writeAll(`${layout.memberDir}/damaged-end`, Uint8Array.of(123));
  await assert.rejects(readDamagedEnd(disk, layout), { code: "DATA_DIR_UNUSABLE" });
});
