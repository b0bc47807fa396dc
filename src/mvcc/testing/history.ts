/** The simple twin of a store: what every key was after each revision, as the fixture shows it. */
export class History {
  revision = 1;
  compacted = -1;
  readonly #states = new Map<number, ReadonlyMap<string, string>>([[1, new Map()]]);

  /** One transaction: `change` edits a copy of the newest state, and answers whether it changed anything. */
  change(change: (state: Map<string, string>, main: number) => boolean): void {
    const state = new Map(this.#states.get(this.revision));
    if (!change(state, this.revision + 1)) return;
    this.#states.set(++this.revision, state);
  }

  put(state: Map<string, string>, key: string, value: string, main: number): void {
    const match = / (\d+)\/\d+\/(\d+)$/.exec(state.get(key) ?? "");
    const created = match === null ? main : Number(match[1]);
    const version = match === null ? 1 : Number(match[2]) + 1;
    state.set(key, `${key}=${value} ${created}/${main}/${version}`);
  }

  /** The pairs at a revision, as `showKeyValue` shows them. */
  shown(revision: number): string[] {
    return [...this.#states.get(revision)!].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, shown]) => shown);
  }
}
