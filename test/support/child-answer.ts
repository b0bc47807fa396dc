/** What a play's own process answers at its end. */
import type { ChildProcess } from "node:child_process";

/** Waits for a process to send its one message and to end. @throws where it ends without an answer: what it wrote says why */
export async function answerOf<Answer>(child: ChildProcess, what: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const messages: unknown[] = [];
    const ended = (code: number | null, signal: NodeJS.Signals | null): void => {
      if (messages.length > 0) resolve(messages[0] as Answer);
      else reject(new Error(`${what}: the process ended (${signal ?? `exit code ${code}`}) without an answer`));
    };
    if (child.exitCode !== null || child.signalCode !== null) ended(child.exitCode, child.signalCode);
    child.once("message", (message) => messages.push(message));
    child.once("exit", ended);
    child.once("error", reject);
  });
}
