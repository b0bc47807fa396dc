/** One member without a cluster: the test plays the others, by hand. */
import { utf8FromText } from "../../base/text.js";
import { makeMessage, MessageType, type Entry, type Message } from "../../proto/raft.js";
import type { RaftConfig } from "../config.js";
import { confChangeOf, isConfChange } from "../configuration.js";
import { RawNode, type BootstrapPeer } from "../raw-node.js";
import type { MemoryStorage } from "../storage.js";
import { configWith, storageWith } from "./messages.js";

export class LoneMember {
  readonly node: RawNode;
  readonly storage: MemoryStorage;
  /** What it applied so far. */
  readonly applied: Entry[] = [];

  constructor(storage: MemoryStorage, more: Partial<RaftConfig> = {}) {
    this.storage = storage;
    this.node = new RawNode(configWith(1n, storage, more));
  }

  /** Does all that there is to do, and gives the messages that were to be sent. */
  work(): Message[] {
    const sent: Message[] = [];
    while (this.node.hasReady()) {
      const ready = this.node.ready();
      if (ready.snapshot !== undefined) this.storage.applySnapshot(ready.snapshot);
      this.storage.append(ready.entries);
      if (ready.hardState !== undefined) this.storage.setHardState(ready.hardState);
      sent.push(...ready.messages);
      for (const entry of ready.committedEntries) {
        if (isConfChange(entry)) this.node.applyConfChange(confChangeOf(entry));
        this.applied.push(entry);
      }
      this.node.advance();
    }
    return sent;
  }

  /** Steps a message from another member, works, and gives what was sent. */
  hear(fields: Partial<Message> & Pick<Message, "type" | "from" | "term">): Message[] {
    this.node.step(makeMessage({ to: 1n, ...fields }));
    return this.work();
  }

  propose(text: string): Message[] {
    this.node.propose(utf8FromText(text));
    return this.work();
  }

  tick(count: number): Message[] {
    const sent: Message[] = [];
    for (let at = 0; at < count; at++) {
      this.node.tick();
      sent.push(...this.work());
    }
    return sent;
  }

  /** Campaigns and is given all votes that it asks for; gives what it sent as the new leader. */
  lead(): Message[] {
    this.node.campaign();
    const sent: Message[] = [];
    for (const { to, term } of this.work()) {
      if (this.node.basicStatus().role === "leader") break;
      sent.push(...this.hear({ type: MessageType.voteResponse, from: to, term }));
    }
    return sent;
  }
}

/** A member with ID 1 in a cluster of `count`; after the snapshot at 1 its log has entries with these terms. */
export function memberOf(count: number, terms: readonly number[] = [], more: Partial<RaftConfig> = {}): LoneMember {
  const voters = Array.from({ length: count }, (_, at) => BigInt(at + 1));
  return new LoneMember(storageWith(voters, terms), { applied: 1, ...more });
}

export function peers(count: number): BootstrapPeer[] {
  return Array.from({ length: count }, (_, at) => ({ id: BigInt(at + 1), context: utf8FromText(`peer ${at + 1}`) }));
}
