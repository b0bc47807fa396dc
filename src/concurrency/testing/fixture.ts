/** Locks and elections of a whole member on a simulated disk: time stands still but for what the member's own work needs. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { settle, SimDisk } from "../../../sim/index.js";
import { CodedError } from "../../base/errors.js";
import { DeleteRangeRequest } from "../../proto/generated/etcdserverpb/kv.js";
import type { CallContext } from "../../server/contract.js";
import type { Member } from "../../server/index.js";
import {
  bytesOf,
  rangeRequest,
  startMember,
  stopMember,
  textOf,
  timePassesUntil,
  worldOf,
} from "../../server/testing/fixture.js";
import { Elections, Locks, type Requests } from "../index.js";

/** Turns of the loop in which a member of one has done all it was asked, and waits for nothing but time. */
const TURNS = 40;

/** A call under way, and how it ended. */
export class Started<Answer> {
  readonly #controller = new AbortController();
  answer: Answer | undefined;
  /** "waits", "answered", or the code of the error. */
  state = "waits";

  constructor(run: (context: CallContext) => Promise<Answer>) {
    run({ signal: this.#controller.signal }).then(
      (answer) => {
        this.answer = answer;
        this.state = "answered";
      },
      (error: unknown) => {
        this.state = error instanceof CodedError ? String(error.code) : `no coded error: ${String(error)}`;
      },
    );
  }

  cancel(): void {
    this.#controller.abort();
  }
}

export interface Hall {
  readonly member: Member;
  readonly requests: Requests;
  readonly locks: Locks;
  readonly elections: Elections;
  /** Lets the member do all that it can do now. */
  readonly rest: () => Promise<void>;
  readonly lease: (id: bigint, seconds?: number) => Promise<bigint>;
  readonly revoke: (id: bigint) => Promise<void>;
  readonly deleteKey: (key: string) => Promise<void>;
  /** All keys, each as `key=value`. */
  readonly keys: () => Promise<string[]>;
  readonly timePasses: (ms: number) => Promise<void>;
  readonly stop: () => Promise<void>;
}

/** A member of whose requests some are answered otherwise. */
export const through = (member: Member, change: Partial<Requests>): Requests => ({
  txn: (...args) => member.txn(...args),
  range: (...args) => member.range(...args),
  deleteRange: (...args) => member.deleteRange(...args),
  leaseGrant: (...args) => member.leaseGrant(...args),
  watch: (...args) => member.watch(...args),
  header: () => member.header(),
  ...change,
});

/** @param change what the locks and elections get to see of the member */
export async function hallFixture(
  t: TestContext,
  change: (member: Member) => Requests = (member) => member,
): Promise<Hall> {
  const running = await startMember(worldOf(new SimDisk()));
  const { member, clock } = running;
  let stopped = false;
  const stop = async (): Promise<void> => {
    if (stopped) return;
    stopped = true;
    await stopMember(running);
  };
  t.after(async () => {
    await stop();
    assert.deepEqual(running.failures, []);
  });
  const rest = async (): Promise<void> => {
    for (let turn = 0; turn < TURNS; turn++) {
      await settle();
      clock.advance(1);
    }
  };
  const requests = change(member);
  return {
    member,
    requests,
    locks: new Locks(requests),
    elections: new Elections(requests),
    rest,
    lease: async (id, seconds = 1_000_000) => {
      await timePassesUntil(running, member.leaseGrant({ ID: id, TTL: seconds }));
      return id;
    },
    revoke: async (id) => void (await timePassesUntil(running, member.leaseRevoke({ ID: id }))),
    deleteKey: async (key) => {
      await timePassesUntil(running, member.deleteRange({ ...DeleteRangeRequest.create(), key: bytesOf(key) }));
    },
    keys: async () => {
      const { kvs } = await member.range(rangeRequest("\0", { rangeEnd: bytesOf("\0"), serializable: true }));
      return kvs.map(({ key, value }) => `${textOf(key)}=${textOf(value)}`);
    },
    timePasses: async (ms) => {
      for (let passed = 0; passed < ms; passed += 100) {
        clock.advance(100);
        await settle();
      }
      await rest();
    },
    stop,
  };
}
