/** The door to chance. */
export interface Random {
  /** A whole number in `[0, bound)`; `bound` up to 2^32. */
  below(bound: number): number;
  bytes(count: number): Uint8Array;
}
