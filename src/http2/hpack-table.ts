/**
 * HPACK's two tables (RFC 7541, section 2.3): the static one (appendix A), and the dynamic one that a connection's field lines make.
 *
 * Indexes 1 to 61 are the static table's; 62 is the newest entry of the dynamic one. An entry counts as its bytes and 32 more; when a
 * new one does not fit, the oldest go.
 *
 * Law: `bytes` <= `bytesMax`. `epoch` changes whenever an index may have come to mean something else.
 */

// prettier-ignore
export const STATIC_TABLE: readonly (readonly [name: string, value: string])[] = [
  [":authority", ""],
  [":method", "GET"],
  [":method", "POST"],
  [":path", "/"],
  [":path", "/index.html"],
  [":scheme", "http"],
  [":scheme", "https"],
  [":status", "200"],
  [":status", "204"],
  [":status", "206"],
  [":status", "304"],
  [":status", "400"],
  [":status", "404"],
  [":status", "500"],
  ["accept-charset", ""],
  ["accept-encoding", "gzip, deflate"],
  ["accept-language", ""],
  ["accept-ranges", ""],
  ["accept", ""],
  ["access-control-allow-origin", ""],
  ["age", ""],
  ["allow", ""],
  ["authorization", ""],
  ["cache-control", ""],
  ["content-disposition", ""],
  ["content-encoding", ""],
  ["content-language", ""],
  ["content-length", ""],
  ["content-location", ""],
  ["content-range", ""],
  ["content-type", ""],
  ["cookie", ""],
  ["date", ""],
  ["etag", ""],
  ["expect", ""],
  ["expires", ""],
  ["from", ""],
  ["host", ""],
  ["if-match", ""],
  ["if-modified-since", ""],
  ["if-none-match", ""],
  ["if-range", ""],
  ["if-unmodified-since", ""],
  ["last-modified", ""],
  ["link", ""],
  ["location", ""],
  ["max-forwards", ""],
  ["proxy-authenticate", ""],
  ["proxy-authorization", ""],
  ["range", ""],
  ["referer", ""],
  ["refresh", ""],
  ["retry-after", ""],
  ["server", ""],
  ["set-cookie", ""],
  ["strict-transport-security", ""],
  ["transfer-encoding", ""],
  ["user-agent", ""],
  ["vary", ""],
  ["via", ""],
  ["www-authenticate", ""],
];

export const STATIC_COUNT = STATIC_TABLE.length;

/** What an entry counts beside its bytes (section 4.1). */
export const ENTRY_OVERHEAD_BYTES = 32;

export const entryBytes = (name: string, value: string): number => name.length + value.length + ENTRY_OVERHEAD_BYTES;

export class DynamicTable {
  /** A ring; the newest entry stands before `#next`. */
  #names: string[] = [];
  #values: string[] = [];
  #next = 0;
  #count = 0;
  #bytes = 0;
  #bytesMax: number;
  #epoch = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
    this.#makeRing(bytesMax);
  }

  /** A ring for as many entries as fit, rounded up to a power of two. The table must be empty. */
  #makeRing(bytesMax: number): void {
    let slots = 1;
    while (slots * ENTRY_OVERHEAD_BYTES < bytesMax) slots *= 2;
    this.#names = Array.from({ length: slots }, () => "");
    this.#values = Array.from({ length: slots }, () => "");
    this.#next = 0;
  }

  get count(): number {
    return this.#count;
  }
  get bytes(): number {
    return this.#bytes;
  }
  get bytesMax(): number {
    return this.#bytesMax;
  }
  get epoch(): number {
    return this.#epoch;
  }

  /** `position` counts from 0, the newest; it must be below `count`. */
  nameAt(position: number): string {
    return this.#names[(this.#next - 1 - position) & (this.#names.length - 1)]!;
  }
  valueAt(position: number): string {
    return this.#values[(this.#next - 1 - position) & (this.#names.length - 1)]!;
  }

  /** An entry over the whole size empties the table, and is not in it afterwards. */
  add(name: string, value: string): void {
    this.#epoch++;
    const bytes = entryBytes(name, value);
    this.#evict(this.#bytesMax - bytes);
    if (bytes > this.#bytesMax) return;
    this.#names[this.#next] = name;
    this.#values[this.#next] = value;
    this.#next = (this.#next + 1) & (this.#names.length - 1);
    this.#count++;
    this.#bytes += bytes;
  }

  /** A smaller size drops the oldest entries. */
  resize(bytesMax: number): void {
    this.#epoch++;
    this.#evict(bytesMax);
    this.#bytesMax = bytesMax;
    if (this.#names.length * ENTRY_OVERHEAD_BYTES >= bytesMax) return;
    const entries = Array.from({ length: this.#count }, (_, i) => [this.nameAt(i), this.valueAt(i)] as const).reverse();
    this.#makeRing(bytesMax);
    for (const [name, value] of entries) {
      this.#names[this.#next] = name;
      this.#values[this.#next++] = value;
    }
  }

  /** Until no more than `bytes` are left. */
  #evict(bytes: number): void {
    while (this.#count > 0 && this.#bytes > bytes) {
      const oldest = (this.#next - this.#count) & (this.#names.length - 1);
      this.#bytes -= entryBytes(this.#names[oldest]!, this.#values[oldest]!);
      this.#names[oldest] = "";
      this.#values[oldest] = "";
      this.#count--;
    }
  }
}
