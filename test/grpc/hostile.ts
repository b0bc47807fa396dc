/** Runs hostile scripts against a port. */
import net from "node:net";
import { ErrorCode, PREFACE } from "../../src/http2/frames.js";
import { AnswerReader, joined, settings, settingsAck } from "../../src/http2/testing/peer.js";
import { countFrames, type HostileScript, type Verdict } from "./hostile-table.js";

const GREETING = joined(PREFACE, settings(), settingsAck);

/** A connection that neither ends nor takes more is left after this time: soon where that is what a script wants, later on a busy machine. */
const STUCK_MS = 1_000;
const SLOW_MS = 15_000;

export interface Attack {
  readonly frames: number;
  /** `open` where the frames were used up, or nothing more was taken. */
  readonly verdict: Verdict;
}

/** Whether a script ended as the table says. A GOAWAY may be lost to a client that sends on: the reset of its socket overtakes it. */
export function endsAs(script: HostileScript, verdict: Verdict): boolean {
  return verdict === script.verdict || (verdict === "closed" && script.verdict !== "open");
}

/** Sends a script until the server ends it or so many frames have gone. `waitMs`: how long a silent script is waited for. */
export async function attack(port: number, script: HostileScript, framesMax: number, waitMs: number): Promise<Attack> {
  const socket = net.connect({ port, host: "127.0.0.1", noDelay: true });
  const reader = new AnswerReader();
  let goaway: Verdict | undefined;
  let closed = false;
  const ended = new Promise<void>((resolve) => {
    socket.on("close", () => {
      closed = true;
      resolve();
    });
  });
  socket.on("error", () => undefined);
  let isHttp2 = true;
  if (script.deaf === undefined) {
    socket.on("data", (bytes: Uint8Array) => {
      if (bytes[0] === 0x48) isHttp2 = false; // "HTTP/1.1 400"
      if (!isHttp2) return;
      for (const answer of reader.read(bytes)) if (answer.kind === "goaway") goaway = nameOf(answer.code);
    });
  }
  const taken = (bytes: Uint8Array): Promise<boolean> =>
    new Promise((resolve) => {
      if (closed) return resolve(false);
      const timer = setTimeout(() => resolve(false), mayStick ? STUCK_MS : SLOW_MS);
      socket.write(bytes, (error) => {
        clearTimeout(timer);
        resolve(error === null || error === undefined);
      });
    });
  const mayStick = script.deaf !== undefined && script.verdict === "open";
  let frames = 0;
  let silent = false;
  await taken(script.first ?? GREETING);
  for (const piece of script.pieces()) {
    silent = piece.length === 0;
    if (closed || silent || frames >= framesMax || !(await taken(piece))) break;
    frames += countFrames(piece);
    // Lets what the server says come in.
    if (frames % 4_000 < 400) await new Promise((resolve) => void setImmediate(resolve));
    if (goaway !== undefined) break;
  }
  // A server that ends the connection does it soon; one that waits for more is given the time of its patience.
  const patience = silent || script.verdict !== "open" ? waitMs : 50;
  if (script.deaf !== undefined && script.verdict !== "open") socket.resume();
  await Promise.race([ended, pause(patience)]);
  const verdict = goaway ?? (closed ? "closed" : "open");
  socket.destroy();
  if (!closed) await ended;
  return { frames: Math.max(1, frames), verdict };
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms).unref());

const nameOf = (code: number): Verdict =>
  (Object.entries(ErrorCode).find(([, value]) => value === code)?.[0] ?? "closed") as Verdict;
