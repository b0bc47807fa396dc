/** The way to the other members, as the ready loop sees it. Sending never blocks and may lose messages: raft sends again. */
import type { Message } from "../proto/raft.js";

export interface Peers {
  send(messages: readonly Message[]): void;
}
