/** What clients ask for that has to do with leases, and what they are told. */
import { CodedError } from "../../src/base/errors.js";
import { latin1FromBytes } from "../../src/base/text.js";
import type { CallContext, Member } from "../../src/server/index.js";
import type { LeaseAnswer } from "../check/leases.js";

export type LeaseErrand =
  | {
      readonly errand: "grant";
      /** Decimal; "0" lets the member choose. */
      readonly lease: string;
      readonly ttlSeconds: number;
    }
  | { readonly errand: "renew" | "revoke"; readonly lease: string }
  | { readonly errand: "time"; readonly lease: string; readonly keys: boolean }
  | { readonly errand: "list" };

export interface LeaseReply {
  /** The lease that was granted. */
  readonly granted?: string;
  readonly answer?: LeaseAnswer;
  /** The same for the same reply. */
  readonly text: string;
}

/** Rejects as the member does; that there is no such lease is an answer. */
export async function askOfLease(member: Member, errand: LeaseErrand, context: CallContext): Promise<LeaseReply> {
  switch (errand.errand) {
    case "grant": {
      const { ID, TTL } = await member.leaseGrant({ ID: BigInt(errand.lease), TTL: errand.ttlSeconds }, context);
      return { granted: String(ID), text: `granted ${ID} ${TTL}` };
    }
    case "renew":
      return answerOr(
        new Promise<number>((resolve, reject) =>
          member.leaseKeepAliveFor(BigInt(errand.lease), { resolve, reject }, context),
        ).then((ttlSeconds) => ({ kind: "renewed", ttlSeconds })),
      );
    case "revoke":
      return answerOr(member.leaseRevoke({ ID: BigInt(errand.lease) }, context).then(() => ({ kind: "revoked" })));
    case "time":
      return answerOr(timeOf(member, errand.lease, errand.keys, context));
    case "list": {
      const { ids } = await member.leaseLeases(context);
      return { text: `leases ${[...ids].join(" ")}` };
    }
  }
}

async function timeOf(member: Member, lease: string, keys: boolean, context: CallContext): Promise<LeaseAnswer> {
  const answer = await member.leaseTimeToLive({ ID: BigInt(lease), keys }, context);
  if (answer.TTL < 0 && answer.grantedTTL === 0) return { kind: "not found" };
  return {
    kind: "time",
    grantedSeconds: answer.grantedTTL,
    leftSeconds: answer.TTL,
    keys: keys ? answer.keys.map((key) => latin1FromBytes(key)) : undefined,
  };
}

async function answerOr(coming: Promise<LeaseAnswer>): Promise<LeaseReply> {
  try {
    const answer = await coming;
    return { answer, text: JSON.stringify(answer) };
  } catch (error) {
    if (error instanceof CodedError && (error.code as string) === "LEASE_NOT_FOUND")
      return { answer: { kind: "not found" }, text: "not found" };
    throw error;
  }
}
