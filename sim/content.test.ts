import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Content, joinedCopy } from "./content.js";

/** The simple twin: one array. */
class Plain {
  bytes = new Uint8Array(0);

  write(part: Uint8Array, offset: number): void {
    this.truncate(Math.max(this.bytes.length, offset + part.length));
    this.bytes.set(part, offset);
  }

  truncate(size: number): void {
    const next = new Uint8Array(size);
    next.set(this.bytes.subarray(0, size));
    this.bytes = next;
  }

  clone(): Plain {
    const copy = new Plain();
    copy.bytes = this.bytes.slice();
    return copy;
  }
}

const change = fc.oneof(
  fc.record({
    kind: fc.constant("write" as const),
    which: fc.nat(4),
    at: fc.nat(20_000),
    size: fc.nat(9000),
    value: fc.nat(2),
  }),
  fc.record({ kind: fc.constant("truncate" as const), which: fc.nat(4), size: fc.nat(25_000) }),
  fc.record({ kind: fc.constant("clone" as const), which: fc.nat(4) }),
);

test("copies share pages and never see each other's changes", () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
      const pairs: [Content, Plain][] = [[new Content(), new Plain()]];
      for (const it of changes) {
        const [content, plain] = pairs[it.which % pairs.length]!;
        if (it.kind === "clone") pairs.push([content.clone(), plain.clone()]);
        else if (it.kind === "truncate") for (const one of [content, plain]) one.truncate(it.size);
        else {
          const bytes = joinedCopy([new Uint8Array(it.size).fill(it.value)]);
          for (const one of [content, plain]) one.write(bytes, it.at);
        }
      }
      for (const [content, plain] of pairs) {
        assert.equal(content.size, plain.bytes.length);
        assert.deepEqual(content.bytes(), plain.bytes);
      }
    }),
    { numRuns: 150 },
  );
});
