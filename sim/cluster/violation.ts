/** A law was broken in a run: what the simulation is there to find. */
export class ViolationError extends Error {
  override readonly name = "ViolationError";
  /** The law's name, the same in every run that breaks it. */
  readonly law: string;

  constructor(law: string, detail: string, options?: ErrorOptions) {
    super(`${law}: ${detail}`, options);
    this.law = law;
  }
}
