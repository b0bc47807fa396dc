/**
 * When leases run out: the part of them that is not in the log. Only the primary, the member that leads, knows of time; to all others
 * a lease is for ever. What a primary finds expired it has to revoke through the log.
 *
 *     promote     the member leads: every lease has its whole time (or what the last checkpoint left of it) from now on, and an election's
 *                 more, for clients could not renew while nobody led
 *     renew       a lease has its whole time again
 *     due         what has run out, to be revoked; each is told again after a while, for a revocation may fail
 *     demote      all are for ever again
 *
 * Times are those of a clock that never goes back, in milliseconds; they come as arguments. A wheel of slots of 100 ms holds the rows as lists
 * that run through them. Renewing does not move a row: when its slot comes, a row whose time was prolonged goes into a later slot. One
 * that runs out behind the wheel's last slot waits in the second half of the wheel and goes on from there. So a renewal costs a few writes, and a turn costs what
 * falls due in it.
 *
 * To promote a million leases takes longer than a turn of the loop may: it goes in slices, and those not reached yet are for ever. To demote
 * them costs nothing: they belong to an epoch that is over.
 *
 * Laws: a row of this epoch is in one slot, and none other is in any; its slot is not later than its expiry says, save behind the
 * wheel's end; nothing is told before its time.
 */
import { NONE } from "../base/number-rows.js";
import { NO_EPOCH, type LeaseRows } from "./lease-rows.js";

const SLOT_MS = 100;
/** Slots of the wheel: 819 s, which few leases exceed. */
const SLOTS = 8192;
/** Rows that `promote` gives their time to in one slice: some 2 ms. */
const SLICE_ROWS = 16_384;
/** What was told as due is told again after so long, if it is still there (etcd's). */
export const DUE_AGAIN_MS = 3_000;

export class LeaseExpiry {
  readonly #rows: LeaseRows;
  /** The first row of each slot. */
  readonly #slots = new Int32Array(SLOTS).fill(NONE);
  /** Counts up with each promotion; a row that has another number is for ever. */
  #epoch = NO_EPOCH;
  #isPrimary = false;
  /** The last slot that was emptied, counted from the clock's beginning. */
  #turned = 0;
  #extendMs = 0;
  /** The next row that the promotion reaches. */
  #promoted = 0;

  constructor(rows: LeaseRows) {
    this.#rows = rows;
  }

  /** Whether this member is the one that leases run out on. */
  get isPrimary(): boolean {
    return this.#isPrimary;
  }

  /** @param extendMs what every lease has on top of its time */
  promote(now: number, extendMs: number): void {
    this.demote();
    this.#isPrimary = true;
    this.#epoch++;
    this.#turned = Math.floor(now / SLOT_MS);
    this.#extendMs = extendMs;
    this.#promoted = 0;
  }

  /** Gives some of the leases their time. False when all have it. */
  promoteSlice(now: number): boolean {
    const end = Math.min(this.#rows.end, this.#promoted + SLICE_ROWS);
    for (; this.#promoted < end; this.#promoted++) {
      const row = this.#promoted;
      if (!this.#rows.isTaken(row) || this.#rows.epochOf(row) === this.#epoch) continue;
      this.#start(row, now + secondsLeft(this.#rows, row) * 1000 + this.#extendMs);
    }
    return this.#promoted < this.#rows.end;
  }

  demote(): void {
    if (!this.#isPrimary) return;
    this.#isPrimary = false;
    this.#slots.fill(NONE);
  }

  /** A lease was granted. */
  granted(row: number, now: number): void {
    if (this.#isPrimary) this.#start(row, now + this.#rows.ttlOf(row) * 1000);
  }

  /** A lease is about to be removed. */
  revoked(row: number): void {
    if (this.#isPrimary && this.#rows.epochOf(row) === this.#epoch) this.#unlink(row);
  }

  /** Gives a lease its whole time again; only on the primary, of one that has not run out. */
  renew(row: number, now: number): void {
    const expiry = now + secondsLeft(this.#rows, row) * 1000;
    if (this.#rows.epochOf(row) !== this.#epoch) this.#start(row, expiry);
    else this.#rows.setExpiry(row, expiry);
  }

  /** Milliseconds left; negative when it has run out, and `Infinity` when it is for ever. */
  leftMs(row: number, now: number): number {
    if (!this.#isPrimary || this.#rows.epochOf(row) !== this.#epoch) return Infinity;
    return this.#rows.expiryOf(row) - now;
  }

  /**
   * The rows that have run out, at most so many; the others come with the next call.
   *
   * @returns each row once in `DUE_AGAIN_MS`, for as long as it is there; sooner when many are told behind a pause longer than the wheel
   */
  due(now: number, rowsMax: number): number[] {
    const due: number[] = [];
    if (!this.#isPrimary) return due;
    this.#turn(now, due, rowsMax);
    // Only now: the wheel may have gone all the way round, and would have come to them again.
    for (const row of due) this.#link(row, now + DUE_AGAIN_MS);
    return due;
  }

  /** Empties the slots whose time is over, as far as there is room for what has run out. */
  #turn(now: number, due: number[], rowsMax: number): void {
    const last = Math.floor(now / SLOT_MS) - 1;
    // After a pause longer than a turn of the wheel each slot is to be looked at once.
    if (last - this.#turned > SLOTS) this.#turned = last - SLOTS;
    while (this.#turned < last) {
      const slot = (this.#turned + 1) % SLOTS;
      for (let row = this.#slots[slot]!; row !== NONE; row = this.#slots[slot]!) {
        if (due.length === rowsMax) return;
        this.#unlink(row);
        const expiry = this.#rows.expiryOf(row);
        if (expiry <= now) due.push(row);
        else this.#link(row, expiry);
      }
      this.#turned++;
    }
  }

  #start(row: number, expiry: number): void {
    this.#rows.setEpoch(row, this.#epoch);
    this.#rows.setExpiry(row, expiry);
    this.#link(row, expiry);
  }

  /** Puts a row into the slot that comes at or after a time. */
  #link(row: number, at: number): void {
    // The slot in which it falls due is emptied when it is over: so it is told up to a slot late, and never early.
    let wanted = Math.max(Math.floor(at / SLOT_MS), this.#turned + 2);
    // Those behind the wheel's end are spread over its second half: in one slot they would all be gone through in one turn.
    if (wanted > this.#turned + SLOTS) wanted = this.#turned + SLOTS / 2 + (row % (SLOTS / 2));
    const slot = wanted % SLOTS;
    const next = this.#slots[slot]!;
    this.#rows.setPrevious(row, headOf(slot));
    this.#rows.setNext(row, next);
    if (next !== NONE) this.#rows.setPrevious(next, row);
    this.#slots[slot] = row;
  }

  #unlink(row: number): void {
    const previous = this.#rows.previousOf(row);
    const next = this.#rows.nextOf(row);
    if (previous < 0) this.#slots[slotOf(previous)] = next;
    else this.#rows.setNext(previous, next);
    if (next !== NONE) this.#rows.setPrevious(next, previous);
  }
}

/** What the first row of a slot has as its previous one: the slot. */
function headOf(slot: number): number {
  return -1 - slot;
}

function slotOf(head: number): number {
  return -1 - head;
}

/** What a lease has from a promotion or renewal on. */
function secondsLeft(rows: LeaseRows, row: number): number {
  const remaining = rows.remainingOf(row);
  return remaining > 0 ? remaining : rows.ttlOf(row);
}
