/**
 * Requests to a member's peer port, byte by byte: what no well-behaved client of HTTP would send can be sent, and what comes
 * back is seen as it came.
 *
 * The messages of raft are encoded here by hand, from etcd's field numbers: a wrong number in the project's own codec must
 * not hide itself.
 */
import { connect } from "node:net";

/** How a member's peer port answered. */
export type Reply =
  | {
      readonly kind: "answer";
      readonly status: number;
      /** Names in small letters. */
      readonly headers: Readonly<Record<string, string>>;
      readonly body: string;
    }
  | { readonly kind: "closed" } //  closed without a word
  | { readonly kind: "waiting" }; // nothing came: the member waits for the rest

/** What is written to the connection, and how it goes on. */
export interface Shot {
  readonly bytes: Uint8Array;
  /** Closes the writing half after the bytes, as a sender that died; the answer is still read. */
  readonly thenEnd?: boolean;
  /** The answer is a stream: it counts from the end of its headers. */
  readonly streams?: boolean;
}

/** After so long without a byte a member is taken to wait for the rest of the request. */
const WAITING_AFTER_MS = 400;
const ANSWER_WITHIN_MS = 10_000;
const HEADER_END = "\r\n\r\n";

/** Sends one shot on a connection of its own. A shot that is `meantToWait` is given up as soon as it is seen to. */
export async function shoot(port: number, shot: Shot, meantToWait = false): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1" });
    let received = Buffer.alloc(0);
    const settle = (reply: Reply): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(reply);
    };
    const timer = setTimeout(() => settle({ kind: "waiting" }), meantToWait ? WAITING_AFTER_MS : ANSWER_WITHIN_MS);
    const closed = (): void => settle(parseReply(received, true, shot.streams === true) ?? { kind: "closed" });
    socket.on("connect", () => {
      socket.write(shot.bytes);
      if (shot.thenEnd === true) socket.end();
    });
    socket.on("data", (bytes) => {
      received = Buffer.concat([received, bytes]);
      const reply = parseReply(received, false, shot.streams === true);
      if (reply !== undefined) settle(reply);
    });
    socket.on("end", closed);
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "ECONNREFUSED") return closed();
      clearTimeout(timer);
      reject(new Error(`nobody listens on peer port ${port}`, { cause: error }));
    });
  });
}

/** The answer in `received`; undefined while it is not whole. */
function parseReply(received: Buffer, ended: boolean, streams: boolean): Reply | undefined {
  const headerEnd = received.indexOf(HEADER_END);
  if (headerEnd < 0) return undefined;
  const [statusLine = "", ...lines] = received.toString("latin1", 0, headerEnd).split("\r\n");
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(statusLine)?.[1] ?? Number.NaN);
  if (Number.isNaN(status)) return undefined;
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(":");
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  const body = received.subarray(headerEnd + HEADER_END.length);
  const answer = (bytes: Uint8Array): Reply => ({
    kind: "answer",
    status,
    headers,
    body: Buffer.from(bytes).toString("latin1"),
  });
  if (streams && status === 200) return answer(new Uint8Array());
  if (status === 204) return answer(body);
  if (headers["transfer-encoding"] === "chunked") {
    const text = unchunk(body);
    // Go ends the connection in the middle of such an answer, seconds later: the text is all that will come.
    const cutShort = status >= 400 && text.at(-1) === 0x0a;
    return ended || cutShort || body.includes("\r\n0\r\n\r\n") ? answer(text) : undefined;
  }
  const length = headers["content-length"];
  if (length === undefined) return ended ? answer(body) : undefined;
  return body.length >= Number(length) ? answer(body.subarray(0, Number(length))) : undefined;
}

function unchunk(body: Buffer): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  for (;;) {
    const lineEnd = body.indexOf("\r\n", at);
    const size = Number.parseInt(body.toString("latin1", at, lineEnd), 16);
    if (!(size > 0)) return Buffer.concat(parts);
    parts.push(body.subarray(lineEnd + 2, lineEnd + 2 + size));
    at = lineEnd + 2 + size + 2;
  }
}

export function describeReply(reply: Reply): string {
  return reply.kind === "answer" ? `${reply.status} ${JSON.stringify(reply.body.slice(0, 200))}` : reply.kind;
}

/** A request in HTTP/1.1. A header that is given as undefined is left out. */
export function request(
  method: string,
  path: string,
  headers: Readonly<Record<string, string | undefined>> = {},
  body: Uint8Array = new Uint8Array(),
): Uint8Array {
  const all: Record<string, string | undefined> = { Host: "member", "Content-Length": String(body.length), ...headers };
  const lines = Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}`]));
  return Buffer.concat([Buffer.from(`${[`${method} ${path} HTTP/1.1`, ...lines].join("\r\n")}${HEADER_END}`), body]);
}

/** raft's message types by etcd's names and numbers. */
export const MESSAGE_TYPE = {
  MsgHup: 0,
  MsgBeat: 1,
  MsgProp: 2,
  MsgApp: 3,
  MsgAppResp: 4,
  MsgVote: 5,
  MsgVoteResp: 6,
  MsgSnap: 7,
  MsgHeartbeat: 8,
  MsgHeartbeatResp: 9,
  MsgUnreachable: 10,
  MsgSnapStatus: 11,
  MsgCheckQuorum: 12,
  MsgTransferLeader: 13,
  MsgTimeoutNow: 14,
  MsgReadIndex: 15,
  MsgReadIndexResp: 16,
  MsgPreVote: 17,
  MsgPreVoteResp: 18,
} as const;
export type MessageType = keyof typeof MESSAGE_TYPE;

/** A message as a hostile sender likes it: nothing is checked. */
export interface HostileMessage {
  readonly type: MessageType | number;
  readonly to: bigint;
  readonly from: bigint;
  readonly term?: bigint;
  readonly logTerm?: bigint;
  readonly index?: bigint;
  readonly entries?: readonly {
    readonly term: bigint;
    readonly index: bigint;
    readonly data?: Uint8Array;
    readonly type?: number;
  }[];
  readonly commit?: bigint;
  readonly snapshot?: {
    readonly index: bigint;
    readonly term: bigint;
    readonly voters: readonly bigint[];
    readonly data?: Uint8Array;
  };
  readonly reject?: boolean;
  readonly rejectHint?: bigint;
  readonly context?: Uint8Array;
}

/** The message on the wire; fields that were not given are zero, as etcd writes them, but for the snapshot, which is left out. */
export function raftMessage(message: HostileMessage): Uint8Array {
  const type = typeof message.type === "number" ? message.type : MESSAGE_TYPE[message.type];
  return Buffer.concat([
    number(1, BigInt(type)),
    number(2, message.to),
    number(3, message.from),
    number(4, message.term ?? 0n),
    number(5, message.logTerm ?? 0n),
    number(6, message.index ?? 0n),
    ...(message.entries ?? []).map(({ term, index, data, type: kind }) =>
      bytes(
        7,
        Buffer.concat([
          number(1, BigInt(kind ?? 0)),
          number(2, term),
          number(3, index),
          data === undefined ? new Uint8Array() : bytes(4, data),
        ]),
      ),
    ),
    number(8, message.commit ?? 0n),
    message.snapshot === undefined ? new Uint8Array() : bytes(9, snapshotOf(message.snapshot)),
    number(10, message.reject === true ? 1n : 0n),
    number(11, message.rejectHint ?? 0n),
    message.context === undefined ? new Uint8Array() : bytes(12, message.context),
  ]);
}

function snapshotOf({ index, term, voters, data }: NonNullable<HostileMessage["snapshot"]>): Uint8Array {
  const configuration = Buffer.concat(voters.map((id) => number(1, id)));
  const metadata = Buffer.concat([bytes(1, configuration), number(2, index), number(3, term)]);
  return Buffer.concat([data === undefined ? new Uint8Array() : bytes(1, data), bytes(2, metadata)]);
}

function varint(value: bigint): number[] {
  const out: number[] = [];
  let rest = BigInt.asUintN(64, value);
  for (; rest > 0x7fn; rest >>= 7n) out.push(Number(rest & 0x7fn) | 0x80);
  return [...out, Number(rest)];
}

/** A field with a number. */
export const number = (field: number, value: bigint): Uint8Array =>
  Uint8Array.from([...varint(BigInt(field << 3)), ...varint(value)]);

/** A field with bytes. */
export const bytes = (field: number, value: Uint8Array): Uint8Array =>
  Buffer.concat([Uint8Array.from([...varint(BigInt((field << 3) | 2)), ...varint(BigInt(value.length))]), value]);

/** A length of 8 bytes, the highest first, as it stands before a message in a stream and in a posted snapshot. */
export function lengthPrefix(length: bigint): Uint8Array {
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64BE(length);
  return prefix;
}

/** A message behind its length. */
export const framed = (message: Uint8Array): Uint8Array =>
  Buffer.concat([lengthPrefix(BigInt(message.length)), message]);
