/**
 * Alarms: conditions that an operator must clear. They are replicated as entries and kept in `db`, bucket `alarm`: the key is
 * the encoded alarm, the value is empty.
 *
 * While NOSPACE stands, nothing that grows the store is applied; while CORRUPT stands, nothing is.
 */
import { AlarmMember, AlarmType } from "../proto/generated/etcdserverpb/maintenance.js";
import type { BucketTable } from "../base/bucket-table.js";
import { EMPTY_BYTES } from "../base/bytes.js";

export const ALARM_BUCKET = "alarm";

export class Alarms {
  readonly #table: BucketTable;
  readonly #raised = new Map<string, AlarmMember>();

  /** Takes up what `db` holds. */
  constructor(table: BucketTable) {
    this.#table = table;
    for (const key of table.keys(ALARM_BUCKET)) {
      const alarm = AlarmMember.decode(key);
      this.#raised.set(idOf(alarm), alarm);
    }
  }

  /** Those of a kind, or all for NONE, by kind and member. */
  list(kind: AlarmType = AlarmType.NONE): AlarmMember[] {
    return [...this.#raised.values()]
      .filter((alarm) => kind === AlarmType.NONE || alarm.alarm === kind)
      .sort((a, b) => a.alarm - b.alarm || (a.memberID < b.memberID ? -1 : 1));
  }

  has(kind: AlarmType): boolean {
    if (this.#raised.size === 0) return false; // each put asks
    return this.list(kind).length > 0;
  }

  /** Raises an alarm; one that stands stays as it is. */
  raise(alarm: AlarmMember): AlarmMember {
    const present = this.#raised.get(idOf(alarm));
    if (present !== undefined) return present;
    this.#raised.set(idOf(alarm), alarm);
    this.#table.put(ALARM_BUCKET, AlarmMember.encode(alarm).finish(), EMPTY_BYTES);
    return alarm;
  }

  /** Clears an alarm; undefined when it did not stand. */
  clear(alarm: AlarmMember): AlarmMember | undefined {
    const present = this.#raised.get(idOf(alarm));
    if (present === undefined) return undefined;
    this.#raised.delete(idOf(alarm));
    this.#table.delete(ALARM_BUCKET, AlarmMember.encode(present).finish());
    return present;
  }
}

function idOf(alarm: AlarmMember): string {
  return `${alarm.alarm}/${alarm.memberID}`;
}
