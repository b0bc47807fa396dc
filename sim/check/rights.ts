/**
 * Whether nobody saw or did what he may not, as of users and roles no older than the contract says (docs/authentication.md).
 *
 * - a read was allowed by what users and roles were at some moment between its call and its answer: by what the asked member had
 *   come to, and where the read is linearizable, by all that was committed before;
 * - one that was denied was not allowed at some moment of that kind;
 * - a token was one of its user at such a moment: it ends with the user, with his password, and when authentication is switched off.
 *
 * What writes may do is decided by the log, and judged there (`state-machine.ts`).
 */
import { needsOf, type AuthState } from "./auth-model.js";
import { isRead, type KeyValueRequest } from "./history.js";

export interface RightsCall {
  readonly client: string;
  readonly member: string;
  /** "" for nobody. */
  readonly user: string;
  /** Entry that made the token; 0 for none. */
  readonly tokenIndex: number;
  /** What is read or written. A watch is a read of its keys. */
  readonly request: KeyValueRequest;
  /** Index that the member had applied at the call, and where the request is linearizable, the last one that was known to be committed. */
  readonly appliedBefore: number;
  readonly committedBefore: number;
  /** Undefined while it is not answered. */
  verdict: "let in" | "denied" | "nobody" | undefined;
  /** Index that the member had applied when it answered. */
  appliedAfter: number;
}

export interface RightsViolation {
  readonly law: "rights-are-current" | "token-ends-with-its-user";
  readonly detail: string;
}

export interface AuthHistory {
  readonly index: number;
  authAt(index: number): AuthState;
  authBetween(from: number, to: number): readonly AuthState[];
}

export function checkRights(calls: readonly RightsCall[], history: AuthHistory): RightsViolation[] {
  return calls.flatMap((call) => check(call, history) ?? []);
}

function check(call: RightsCall, history: AuthHistory): RightsViolation | undefined {
  const { verdict, user, request } = call;
  if (verdict === undefined) return undefined;
  // An entry that is being applied counts already.
  const to = Math.min(call.appliedAfter + 1, history.index);
  const known = history.authBetween(Math.min(call.appliedBefore, to), to);
  const who = `${call.client}, ${user === "" ? "nobody" : `user ${user}`}, asked ${call.member} to ${request.kind}`;
  if (user !== "" && verdict !== "nobody") {
    const { changes } = history.authAt(Math.min(call.tokenIndex, history.index));
    if (!known.some((state) => !state.isEnabled || state.isGood(user, changes)))
      return {
        law: "token-ends-with-its-user",
        detail: `${who} with a token of entry ${call.tokenIndex}, which was over before ${call.appliedBefore}`,
      };
  }
  if (!isRead(request)) return undefined;
  const states = history.authBetween(Math.min(Math.max(call.appliedBefore, call.committedBefore), to), to);
  const needs = needsOf(request, () => []);
  const may = (state: AuthState): boolean =>
    !state.isEnabled || (user !== "" && needs.every(({ access, span }) => state.may(access, user, span)));
  if (verdict === "let in" && !states.some(may)) {
    const text = `${who} ${JSON.stringify(needs.map(({ span }) => span))}, which he may not: ${revisions(states)}`;
    return { law: "rights-are-current", detail: text };
  }
  if (verdict === "denied" && states.every(may))
    return { law: "rights-are-current", detail: `${who} and was denied, although he may: ${revisions(states)}` };
  return undefined;
}

function revisions(states: readonly AuthState[]): string {
  return `auth revision ${states.map(({ revision }) => revision).join(", ")}`;
}
