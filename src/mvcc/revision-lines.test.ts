import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { NO_LINE, RevisionLines } from "./revision-lines.js";

type Pair = readonly [main: number, sub: number];

/** A few lines, each with a plain list beside it. */
class Lines {
  readonly pool = new RevisionLines();
  readonly names = Array.from({ length: 5 }, () => NO_LINE);
  readonly twins = this.names.map((): Pair[] => []);
  #main = 0;

  append(which: number, count: number): void {
    for (let i = 0; i < count; i++) {
      const pair = [(this.#main += 2), (i % 3) - 1] as const;
      this.names[which] = this.pool.append(this.names[which]!, ...pair);
      this.twins[which]!.push(pair);
    }
  }

  /** Forgets up to about `part` of a line. */
  forget(which: number, part: number, through: boolean): void {
    const twin = this.twins[which]!;
    if (twin.length === 0) return;
    const position = Math.floor(part * (twin.length - 1));
    const place = this.pool.lastUpTo(this.names[which]!, twin[position]![0] + 1);
    this.names[which] = this.pool.forgetBefore(this.names[which]!, place, through);
    this.twins[which] = twin.slice(position + (through ? 1 : 0));
  }

  free(which: number): void {
    this.pool.free(this.names[which]!);
    this.names[which] = NO_LINE;
    this.twins[which] = [];
  }

  check(): void {
    this.pool.check(this.names);
    this.twins.forEach((twin, which) => {
      const name = this.names[which]!;
      assert.equal(name === NO_LINE, twin.length === 0);
      assert.equal(this.pool.lastUpTo(name, (twin[0]?.[0] ?? 1) - 1), NO_LINE);
      for (const [main, sub] of twin) {
        for (const at of [main, main + 1]) {
          const place = this.pool.lastUpTo(name, at);
          assert.deepEqual([this.pool.mainAt(place), this.pool.subAt(place)], [main, sub]);
        }
      }
    });
  }
}

const which = fc.nat(4);
const step = fc.oneof(
  fc.record({ kind: fc.constant("append" as const), which, count: fc.oneof(fc.nat(5), fc.nat(200)) }),
  fc.record({ kind: fc.constant("append" as const), which, count: fc.nat(5) }),
  fc.record({
    kind: fc.constant("forget" as const),
    which,
    part: fc.double({ min: 0, max: 1, noNaN: true }),
    through: fc.boolean(),
  }),
  fc.record({ kind: fc.constant("free" as const), which }),
);

test("lines hold what lists hold, whatever is appended to them and forgotten", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const lines = new Lines();
      for (const step of steps) {
        if (step.kind === "append") lines.append(step.which, step.count);
        else if (step.kind === "forget") lines.forget(step.which, step.part, step.through);
        else lines.free(step.which);
        lines.check();
      }
    }),
    { numRuns: 100 },
  );
});

test("several pairs with one main are told apart: the last one counts", () => {
  const pool = new RevisionLines();
  let line = pool.append(NO_LINE, 5, 0);
  for (let sub = 1; sub < 10; sub++) line = pool.append(line, 5, sub);
  assert.equal(pool.subAt(pool.lastUpTo(line, 5)), 9);
});

test("what lines of one length leave is room for lines of another", () => {
  const pool = new RevisionLines();
  const round = (lines: number, pairs: number): number => {
    const names = Array.from({ length: lines }, () => NO_LINE);
    for (let i = 0; i < pairs; i++) for (let j = 0; j < lines; j++) names[j] = pool.append(names[j]!, i, 0);
    pool.check(names);
    const bytes = pool.slabBytes;
    for (const name of names) pool.free(name);
    pool.check([]);
    return bytes;
  };
  const first = round(50_000, 1);
  assert.ok(round(100, 2_000) < 3 * 100 * 2_000 * 16 + 12 * 65_536);
  assert.ok(round(50_000, 1) <= first + 12 * 65_536);
  assert.equal(pool.slabBytes, 0);
});
