/**
 * A member whose log was opened with a damaged end may have lost what it had promised: entries that it acknowledged, a vote. Until a
 * leader has brought it past the damage it is a witness only: it takes entries and acknowledges them, but neither votes nor campaigns
 * (protocol-aware recovery; docs/decisions/damaged-end.md).
 *
 * Boot cuts the damaged end off, so the next boot would know nothing of it. A file beside the log keeps the knowledge: it is durable
 * before anything is cut, and goes when the damage is healed.
 *
 * It is healed when a leader is known and one of these holds:
 * - the log on this member's disk reaches the highest index that could be made out in the damaged bytes;
 * - an entry of a later term than the one at boot was applied: its leader was elected without this member's vote, so a majority without
 *   it had all that was committed, and the leader had it, too.
 *
 * When no leader says a word, it goes on in two steps. After `DAMAGED_END_LEADERLESS_TIMEOUTS` election timeouts it is an elector: it votes for those
 * whose log reaches that index, for they are likely to have what was lost here, and still does not campaign. It counts time then, so that its raft
 * notices that the leader is gone; what that sends to ask for votes is kept back. After `DAMAGED_END_FORSAKEN_TIMEOUTS` it is taken as a crash
 * left it, as etcd always takes it: when power fails for all members at once every log may have a torn end, and a cluster in which nobody
 * votes would never come back.
 */
import { textFromUtf8, utf8FromText } from "../base/text.js";
import { describeError } from "../base/errors.js";
import { DAMAGED_END_FORSAKEN_TIMEOUTS, DAMAGED_END_LEADERLESS_TIMEOUTS } from "../base/limits.js";
import { DiskError, joinPath, parentPath, publishFile, type Disk, type Log } from "../platform/index.js";
import { MessageType, type Message } from "../proto/raft.js";
import { MemberError } from "./errors.js";
import type { Layout } from "./layout.js";

/** What is known of the damage. */
export interface DamagedEnd {
  /** A log that reaches this index has all that could have been lost. */
  readonly healedAt: number;
  /** One sentence with the place and the loss. */
  readonly summary: string;
}

const MARK_NAME = "damaged-end";

function markPath(layout: Layout): string {
  return joinPath(layout.memberDir, MARK_NAME);
}

/** @throws MemberError `DATA_DIR_UNUSABLE` for a file that is not what this server writes there */
export async function readDamagedEnd(disk: Disk, layout: Layout): Promise<DamagedEnd | undefined> {
  const path = markPath(layout);
  const found = await disk.stat(path);
  if (found === undefined) return undefined;
  const bytes = new Uint8Array(found.size);
  const file = await disk.open(path, "read");
  try {
    await file.read(bytes, 0);
  } finally {
    await file.close();
  }
  return parseMark(textFromUtf8(bytes), path);
}

function parseMark(text: string, path: string): DamagedEnd {
  try {
    const { healedAt, summary } = JSON.parse(text) as Partial<DamagedEnd>;
    if (Number.isSafeInteger(healedAt) && typeof summary === "string") return { healedAt: healedAt!, summary };
  } catch {
    // Told below, like any other content that is not ours.
  }
  throw new MemberError(
    "DATA_DIR_UNUSABLE",
    `${path} should tell of a damaged end of the log, and cannot be read: remove this member and add it again, ` +
      "or remove the file if the log is known to be whole",
  );
}

/** Durable when it resolves. What an earlier damage asks for still holds. */
export async function writeDamagedEnd(disk: Disk, layout: Layout, damage: DamagedEnd): Promise<DamagedEnd> {
  const before = await readDamagedEnd(disk, layout);
  const both = { ...damage, healedAt: Math.max(damage.healedAt, before?.healedAt ?? 0) };
  const bytes = utf8FromText(JSON.stringify(both));
  await publishFile(disk, `${markPath(layout)}.tmp`, markPath(layout), (file) => file.write([bytes], 0));
  return both;
}

async function removeMark(disk: Disk, layout: Layout): Promise<void> {
  const path = markPath(layout);
  await disk.removeFile(path);
  await disk.syncFolder(parentPath(path));
}

export interface AbstentionDependencies {
  readonly disk: Disk;
  readonly layout: Layout;
  readonly log: Log;
  readonly electionTicks: number;
  /** Without it raft enters a new term when it campaigns, which others would notice: then there are no electors. */
  readonly preVote: boolean;
  /** The term of the hard state at boot. */
  readonly term: number;
}

/** What a look at the member shows. */
export interface Standing {
  /** Whether raft knows a leader. A witness does not notice when that falls silent, for its raft waits for no election timeout. */
  readonly hasLeader: boolean;
  /** Last index that this member's disk has. */
  readonly durableIndex: number;
  readonly appliedTerm: number;
  /** Whether this member is the only voter: nobody could bring it past anything. */
  readonly isOnlyVoter: boolean;
}

export class Abstention {
  readonly #d: AbstentionDependencies;
  #damage: DamagedEnd | undefined;
  #leaderlessTicks = 0;
  /** Whether the leader spoke since the last look. */
  #wasSpokenTo = false;

  constructor(d: AbstentionDependencies, damage: DamagedEnd | undefined) {
    this.#d = d;
    this.#damage = damage;
    if (damage === undefined) return;
    d.log.warn(
      "the log had a damaged end: this member neither votes nor campaigns until a leader has brought it past it",
      {
        ...damage,
      },
    );
  }

  /** Whether this member may not campaign, and votes for some at most. */
  get holds(): boolean {
    return this.#damage !== undefined;
  }

  /** Whether raft may count time. */
  get countsTime(): boolean {
    return this.#damage === undefined || this.#isElector;
  }

  get #isElector(): boolean {
    return this.#d.preVote && this.#leaderlessTicks >= DAMAGED_END_LEADERLESS_TIMEOUTS * this.#d.electionTicks;
  }

  /** Whether raft may see the message: not one that asks to campaign, or for a vote that is not given. */
  admits({ type, index }: Pick<Message, "type" | "index">): boolean {
    if (this.#damage === undefined) return true;
    if (type === MessageType.timeoutNow) return false;
    return !asksForVote(type) || (this.#isElector && index >= this.#damage.healedAt);
  }

  /** Whether others may see a message of raft's: not one that asks for their votes. */
  lets({ type }: Pick<Message, "type">): boolean {
    return this.#damage === undefined || !asksForVote(type);
  }

  /** A message of the leader that raft knows. */
  onLeaderMessage(): void {
    this.#wasSpokenTo = true;
  }

  /** Looks, once a tick, whether it may end. */
  onTick(standing: Standing): void {
    const damage = this.#damage;
    if (damage === undefined) return;
    const wasElector = this.#isElector;
    this.#leaderlessTicks = this.#wasSpokenTo ? 0 : this.#leaderlessTicks + 1;
    this.#wasSpokenTo = false;
    const fields = { "durable-index": standing.durableIndex, "applied-term": standing.appliedTerm };
    if (standing.hasLeader && (standing.durableIndex >= damage.healedAt || standing.appliedTerm > this.#d.term)) {
      this.#end("a leader brought this member past the damaged end of its log: it votes again", fields);
    } else if (standing.isOnlyVoter) {
      this.#end(
        "the only voter goes on behind the damaged end of its log: what was cut off may have been acknowledged",
        {
          ...fields,
          summary: damage.summary,
        },
      );
    } else if (this.#isElector && !wasElector) {
      this.#d.log.warn("no leader came: this member votes for those who may have what was cut off its log", {
        ...fields,
        ...damage,
      });
    } else if (this.#leaderlessTicks >= DAMAGED_END_FORSAKEN_TIMEOUTS * this.#d.electionTicks) {
      this.#end("no leader came: this member votes again, and what was cut off its log counts as never acknowledged", {
        ...fields,
        summary: damage.summary,
      });
    }
  }

  #end(message: string, fields: Readonly<Record<string, unknown>>): void {
    this.#damage = undefined;
    this.#d.log.warn(message, fields);
    removeMark(this.#d.disk, this.#d.layout).catch((error: unknown) => {
      if (error instanceof DiskError && error.code === "DISK_NOT_FOUND") return;
      // The next start only abstains once more.
      this.#d.log.warn("failed to remove the mark of the damaged end", { error: describeError(error) });
    });
  }
}

function asksForVote(type: MessageType): boolean {
  return type === MessageType.vote || type === MessageType.preVote;
}
