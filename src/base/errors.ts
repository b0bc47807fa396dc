/**
 * Three families of failure: the world failed, the caller asked wrongly, we have a bug.
 * The first two are `CodedError`s; the third is an `InvariantError` and nobody catches it to go on.
 */

/** A bug of ours: a law that must hold did not. The process that sees one stops. */
export class InvariantError extends Error {
  override readonly name = "InvariantError";
}

/**
 * Asserts a law that must hold. Stays on in production.
 *
 * @param detail the broken law with the numbers found; a function where building the text would cost a hot path something
 * @throws InvariantError
 */
export function invariant(condition: boolean, detail: string | (() => string)): asserts condition {
  if (!condition) throw new InvariantError(typeof detail === "string" ? detail : detail());
}

/** Marks a place that the types prove unreachable. */
export function unreachable(value: never, where: string): never {
  throw new InvariantError(`${where}: unexpected ${String(value)}`);
}

/**
 * The world failed or the caller asked wrongly. `code` is stable and meant for programs; `detail` is one sentence that
 * names the place (file, offset, both numbers) and, where the reader of it can do something, what to do.
 */
export abstract class CodedError<Code extends string> extends Error {
  readonly code: Code;
  /** The sentence without the code. */
  readonly detail: string;

  constructor(code: Code, detail: string, options?: ErrorOptions) {
    super(`${code}: ${detail}`, options);
    this.code = code;
    this.detail = detail;
  }
}

/** The text of whatever was thrown, for a log line or a longer sentence. */
export function describeError(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
