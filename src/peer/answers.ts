/** Bodies of requests and answers, read up to a size. */
import type { IncomingMessage } from "node:http";
import { concatBytes } from "../base/bytes.js";
import { PEER_ANSWER_BYTES_MAX } from "../base/limits.js";
import { textFromUtf8 } from "../base/text.js";
import { PeerError } from "./errors.js";

export interface BodyLimits {
  readonly bytesMax: number;
  /** Called with each piece; an error that it answers ends the reading. */
  readonly onPiece?: (bytes: number) => PeerError | undefined;
  /** Rejects when the body took too long. */
  readonly expired?: Promise<never>;
}

/** All of a body. The message itself stays open: there may be an answer to send. @throws PeerError PEER_TOO_LARGE, PEER_CUT */
export async function readBody(
  message: IncomingMessage,
  { bytesMax, onPiece, expired }: BodyLimits,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  let onData: (chunk: Uint8Array) => void = () => undefined;
  const whole = new Promise<void>((resolve, reject) => {
    onData = (chunk) => {
      size += chunk.length;
      const failure =
        size > bytesMax
          ? new PeerError("PEER_TOO_LARGE", `a body of more than ${bytesMax} bytes`)
          : onPiece?.(chunk.length);
      if (failure === undefined) parts.push(chunk);
      else reject(failure);
    };
    message.on("data", onData);
    message.once("end", resolve);
    message.on("error", reject);
    message.once("close", () =>
      reject(new PeerError("PEER_CUT", `the connection ended after ${size} bytes of a body`)),
    );
  });
  try {
    await (expired === undefined ? whole : Promise.race([whole, expired]));
  } finally {
    message.off("data", onData);
  }
  return parts.length === 1 ? parts[0]! : concatBytes(parts);
}

/** The text that a member answered with. */
export async function readAnswer(response: IncomingMessage): Promise<string> {
  return textFromUtf8(await readBody(response, { bytesMax: PEER_ANSWER_BYTES_MAX }));
}
