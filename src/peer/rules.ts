/** Which messages go which way, and which of those that come in a member may see. Nothing here does I/O. */
import { WireReader } from "../base/bytes.js";
import { kibibytes } from "../base/units.js";
import { PEER_MESSAGE_ENTRIES_MAX, RAFT_TERM_MAX } from "../base/limits.js";
import { memberIdText } from "../membership/index.js";
import { isLocalMessage, type Message, MessageType } from "../proto/raft.js";
import { PeerError } from "./errors.js";

/** The ways to another member. */
export type Channel = "append stream" | "message stream" | "pipeline";

/** As etcd chooses: appends have a stream of their own, and what has no stream goes as a request of its own. */
export function channelOf(
  type: MessageType,
  working: { readonly append: boolean; readonly message: boolean },
): Channel {
  if (type === MessageType.append && working.append) return "append stream";
  return working.message ? "message stream" : "pipeline";
}

/**
 * Whether a decoded message may go to raft. What is refused here raft would take for a bug of its own: it trusts the members.
 *
 * @throws PeerError PEER_MALFORMED
 */
export function assertAcceptable(message: Message): void {
  const why = whyUnacceptable(message);
  if (why !== undefined) {
    throw new PeerError(
      "PEER_MALFORMED",
      `a message of type ${message.type} from ${memberIdText(message.from)}: ${why}`,
    );
  }
}

function whyUnacceptable(message: Message): string | undefined {
  const { type, entries } = message;
  if (isLocalMessage(type)) return "only a member itself may make it";
  if (message.from === 0n) return "it has no sender";
  if (message.term > RAFT_TERM_MAX) return `its term ${message.term} is higher than any cluster comes to`;
  if (type === MessageType.snapshot && message.snapshot === undefined) return "it has no snapshot";
  if (type === MessageType.propose && entries.length === 0) return "it proposes nothing";
  if (type === MessageType.readIndex && entries.length !== 1) return `it has ${entries.length} entries, not 1`;
  return type === MessageType.append ? whyNoAppend(message) : undefined;
}

/** Entries follow each other, and no term falls or is higher than the sender's. */
function whyNoAppend({ entries, index, logTerm, term }: Message): string | undefined {
  let last = logTerm;
  for (let i = 0; i < entries.length; i++) {
    const entry = entries[i]!;
    if (entry.index !== index + i + 1) return `entry ${entry.index} where ${index + i + 1} follows`;
    if (entry.term < last || entry.term > term) return `entry ${entry.index} of term ${entry.term} behind term ${last}`;
    last = entry.term;
  }
  return undefined;
}

/** A message up to this size has not so many entries that they would be worth counting first. */
const UNCOUNTED_BYTES_MAX = kibibytes(256);
const ENTRIES_FIELD_TAG = 7 * 8 + 2;

/**
 * Refuses an encoded message with more entries than any member sends, before objects are made of them: an empty entry is 2 bytes
 * on the wire and fifty in memory.
 *
 * @throws PeerError PEER_TOO_LARGE, WireError
 */
export function assertEntriesBounded(bytes: Uint8Array): void {
  if (bytes.length <= UNCOUNTED_BYTES_MAX) return;
  const reader = new WireReader(bytes);
  let count = 0;
  while (!reader.done) {
    const tag = reader.tag();
    reader.skip(tag);
    if (tag === ENTRIES_FIELD_TAG) count++;
  }
  if (count > PEER_MESSAGE_ENTRIES_MAX) {
    throw new PeerError(
      "PEER_TOO_LARGE",
      `a message of ${count} entries, at most ${PEER_MESSAGE_ENTRIES_MAX} are taken`,
    );
  }
}

/** What comes over a stream or the pipeline is for this member, and no snapshot: its database travels with it. @throws PeerError */
export function assertOnStream(message: Message, localId: bigint): void {
  if (message.to !== localId) {
    throw new PeerError(
      "PEER_MALFORMED",
      `a message for member ${memberIdText(message.to)}, this is ${memberIdText(localId)}`,
    );
  }
  if (message.type === MessageType.snapshot) {
    throw new PeerError("PEER_MALFORMED", `a snapshot without its database from ${memberIdText(message.from)}`);
  }
}
