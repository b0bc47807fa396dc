/** What happened in a run, counted by name: figures for people, and proof that the situations that matter were reached. */
export class Counts {
  readonly #counts = new Map<string, number>();

  add(name: string, by = 1): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + by);
  }

  get(name: string): number {
    return this.#counts.get(name) ?? 0;
  }

  addAll(others: Readonly<Record<string, number>>): void {
    for (const [name, count] of Object.entries(others)) this.add(name, count);
  }

  /** Sorted by name. */
  toJSON(): Record<string, number> {
    return Object.fromEntries([...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}
