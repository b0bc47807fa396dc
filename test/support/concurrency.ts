/** The calls of the Lock and Election services, as plays make them. */
import type { AnswerStream } from "./answer-stream.js";
import type { Answer, BeginOptions, EtcdClient, PendingCall } from "./client.js";
import { decode, encode, type Message, type MessageName } from "./messages.js";

export const CONCURRENCY_CALLS = {
  Lock: ["/v3lockpb.Lock/Lock", "LockRequest", "LockResponse"],
  Unlock: ["/v3lockpb.Lock/Unlock", "UnlockRequest", "UnlockResponse"],
  Campaign: ["/v3electionpb.Election/Campaign", "CampaignRequest", "CampaignResponse"],
  Proclaim: ["/v3electionpb.Election/Proclaim", "ProclaimRequest", "ProclaimResponse"],
  Leader: ["/v3electionpb.Election/Leader", "LeaderRequest", "LeaderResponse"],
  Resign: ["/v3electionpb.Election/Resign", "ResignRequest", "ResignResponse"],
} as const satisfies Record<string, readonly [string, MessageName, MessageName]>;
export type ConcurrencyCall = keyof typeof CONCURRENCY_CALLS;

export const OBSERVE = "/v3electionpb.Election/Observe";

export function beginCall(
  client: EtcdClient,
  call: ConcurrencyCall,
  message: Message,
  options: BeginOptions = {},
): PendingCall {
  const [path, request] = CONCURRENCY_CALLS[call];
  return client.begin(path, encode(request, message), options);
}

/** @throws where the call is answered with an error */
export function messageOf(call: ConcurrencyCall, answer: Answer): Message {
  if (answer.kind === "error") throw new Error(`${call}: ${answer.code} ${answer.text}`);
  return decode(CONCURRENCY_CALLS[call][2], answer.bytes);
}

export function observe(
  client: EtcdClient,
  name: Uint8Array,
  fields: Readonly<Record<string, string>> = {},
): AnswerStream<Message> {
  const read = (bytes: Buffer): Message => decode("LeaderResponse", bytes);
  return client.read(OBSERVE, encode("LeaderRequest", { name }), read, fields);
}
