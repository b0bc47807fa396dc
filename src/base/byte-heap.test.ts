import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ByteHeap } from "./byte-heap.js";
import { bytesFromLatin1, latin1FromBytes } from "./text.js";

/** Owners that know where their bytes are, and what they should be. */
class Owners {
  readonly heap = new ByteHeap((owner, address) => this.addresses.set(owner, address));
  readonly addresses = new Map<number, number>();
  readonly twin = new Map<number, string>();

  add(owner: number, text: string): void {
    this.addresses.set(owner, this.heap.add(owner, bytesFromLatin1(`<${text}>`), 1, 1 + text.length));
    this.twin.set(owner, text);
  }

  remove(owner: number): void {
    this.heap.remove(this.addresses.get(owner)!);
    this.addresses.delete(owner);
    this.twin.delete(owner);
  }

  check(): void {
    this.heap.check((owner) => this.addresses.get(owner)!);
    assert.equal(this.heap.size, this.twin.size);
    for (const [owner, text] of this.twin) {
      const address = this.addresses.get(owner)!;
      assert.equal(latin1FromBytes(this.heap.copyAt(address)), text);
      assert.equal(this.heap.lengthAt(address), text.length);
    }
  }
}

/** Long ones fill blocks soon; the longest have a block of their own. */
const text = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(fc.string({ unit: fc.constantFrom("a", "\0", "\xff") }), fc.nat(16_000)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant("own"), fc.nat(200_000)) },
);

test("each owner finds its bytes, whoever comes and goes beside it", () => {
  const step = fc.tuple(fc.boolean(), fc.nat(100), text);
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300, size: "max" }), (steps) => {
      const owners = new Owners();
      for (const [adds, owner, [head, padding]] of steps) {
        if (owners.twin.has(owner)) owners.remove(owner);
        if (adds) owners.add(owner, head + "p".repeat(padding));
      }
      owners.check();
    }),
    { numRuns: 50 },
  );
});

test("a span compares as its bytes do", () => {
  const some = fc.uint8Array({ maxLength: 6 });
  const heap = new ByteHeap(() => undefined);
  fc.assert(
    fc.property(some, some, (a, b) => {
      const address = heap.add(1, a, 0, a.length);
      const [left, right] = [latin1FromBytes(a), latin1FromBytes(b)];
      assert.equal(Math.sign(heap.compare(address, b, 0, b.length)), left < right ? -1 : left > right ? 1 : 0);
      assert.equal(heap.equals(address, b, 0, b.length), left === right);
      heap.remove(address);
    }),
  );
});

test("a heap takes no more than twice what lives in it, and two blocks, after much coming and going", () => {
  const owners = new Owners();
  const block = 262_144;
  for (let i = 0; i < 200_000; i++) {
    const owner = (i * 7919) % 20_000;
    if (owners.twin.has(owner)) owners.remove(owner);
    owners.add(owner, `key ${i} ${"x".repeat(i % 60)}`);
  }
  owners.check();
  let live = 0;
  for (const text of owners.twin.values()) live += 8 + Math.ceil(text.length / 4) * 4;
  assert.ok(owners.heap.blockBytes <= 2 * live + 2 * block, `${owners.heap.blockBytes} for ${live}`);
  owners.twin.forEach((_, owner) => owners.remove(owner));
  owners.check();
  assert.ok(owners.heap.blockBytes <= block);
});

test("a span is removed once", () => {
  const heap = new ByteHeap(() => undefined);
  const address = heap.add(1, bytesFromLatin1("a"), 0, 1);
  heap.remove(address);
  assert.throws(() => heap.remove(address), /removed once/);
});
