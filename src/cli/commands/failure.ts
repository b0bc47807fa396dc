/** How a command ends badly: a sentence as etcdctl prints it, its exit code, and what to do next. */
import { LoginError, SessionError } from "../../client/index.js";

/** etcdctl's exit codes. */
export const ExitCode = {
  error: 1,
  badConnection: 2,
  invalidInput: 3,
  badFeature: 4,
  interrupted: 5,
  badArguments: 128,
} as const;

export class CommandFailure extends Error {
  override readonly name = "CommandFailure";
  readonly exitCode: number;
  /** Whether the sentence was already told, line by line. */
  readonly told: boolean;

  constructor(exitCode: number, sentence: string, options?: ErrorOptions & { told?: boolean }) {
    super(sentence, options);
    this.exitCode = exitCode;
    this.told = options?.told ?? false;
  }
}

const NEXT_STEPS: readonly (readonly [RegExp, string])[] = [
  [
    /^(.*\()?context deadline exceeded\)?$/,
    "no answer in time: is a member up at --endpoints? `walnut endpoint health` asks each; does it speak TLS (https://, --cacert)? --command-timeout gives more time",
  ],
  [/^unhealthy cluster$/, "the lines above say which endpoint does not serve, and why"],
  [/^a member was not defragmented$/, "the lines above say which, and why: ask that endpoint again when it serves"],
  [/has been compacted$/, "that history is gone: ask for a newer --rev, or for none"],
  [/is a future revision$/, "the newest revision is shown by `walnut endpoint status -w fields`"],
  [
    /database space exceeded$/,
    "make room: `walnut compaction REVISION`, `walnut defrag`, then `walnut alarm disarm`; or raise the member's --quota-backend-bytes",
  ],
  [/no leader$/, "a majority of the members must be up: `walnut endpoint status --cluster` shows who is"],
  [
    /^etcdserver: unhealthy cluster$/,
    "a change of members waits until all voters are connected: `walnut endpoint status --cluster` shows who is up",
  ],
  [
    /not enough started members$/,
    "start the members that were added, or remove them; `walnut member list` shows the unstarted ones",
  ],
  [/member not found$/, "`walnut member list` shows the IDs"],
  [/in sync with leader$/, "the learner is still catching up, or is not started: try again in a while"],
  [/too many learner members/, "promote or remove the learner that is there first"],
  [/Peer URLs already exists$/, "another member has this URL: `walnut member list` shows whose"],
  [/no leader endpoint given/, "give --endpoints of all members: `walnut endpoint status --cluster` shows who leads"],
  [/bad leader transferee$/, "only a voting member can lead: `walnut member list` shows the IDs"],
  [/user name is empty$/, "authentication is on: give --user NAME:PASSWORD"],
  [/invalid user ID or password$/, "`walnut user list` shows the names, to root"],
  [/permission denied$/, "`walnut user get NAME --detail` shows root what a user may do"],
  [/root user does not exist$/, "`walnut user add root` first: only root can switch it off again"],
  [
    /session expired$/,
    "no member answered for as long as the lease lives: somebody else may hold it now. `walnut endpoint health` asks the members",
  ],
  [/^lock lost on init$/, "somebody else deleted the key: `walnut get --prefix LOCKNAME/` shows who is in line"],
  [/requested lease not found$/, "the lease has expired or was never granted"],
  [/key not found$/, "--ignore-value and --ignore-lease need a key that exists"],
  [/larger than max/, "split the value, or raise the member's --max-request-bytes"],
  [/request is too large$/, "split the value, or raise the member's --max-request-bytes"],
  [/too many operations/, "split the transaction, or raise the member's --max-txn-ops"],
  [/duplicate key/, "a transaction writes a key once: put what belongs together into one operation"],
  [
    /server stopped$|code = Unavailable/,
    "the member went away in the midst: a write may or may not have happened; read before you repeat it",
  ],
];

/** What to do about a failure; undefined when the sentence says it all. */
export function nextStep(sentence: string): string | undefined {
  return NEXT_STEPS.find(([pattern]) => pattern.test(sentence))?.[1];
}

/** The lines for stderr. The first one is etcdctl's. */
export function failureLines(error: unknown): { readonly lines: readonly string[]; readonly exitCode: number } {
  const sentence = sentenceOf(error);
  const exitCode = exitCodeOf(error);
  const next = nextStep(sentence);
  const told = error instanceof CommandFailure && error.told;
  const first = told ? [] : [`Error: ${sentence}`];
  return { lines: [...first, ...(next === undefined ? [] : [`walnut: ${next}`])], exitCode };
}

function exitCodeOf(error: unknown): number {
  if (error instanceof CommandFailure) return error.exitCode;
  // etcdctl's client asks for its token when it is made.
  return error instanceof LoginError ? ExitCode.badConnection : ExitCode.error;
}

/** As etcdctl says it; the world's failures (a file that cannot be written) are sentences already. */
function sentenceOf(error: unknown): string {
  if (error instanceof SessionError) return error.detail;
  return error instanceof Error ? error.message : String(error);
}
