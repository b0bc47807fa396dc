/** How large the file is made when pages are added: bbolt's rule, so that files of both grow alike. */
import { gibibytes, mebibytes } from "../base/units.js";

/** The smallest size that bbolt maps, and the largest up to which it doubles. */
const MAP_BYTES_MIN = 32_768;
const MAP_STEP_BYTES = gibibytes(1);
/** A file whose map is larger than this grows by this much at a time. */
const ALLOCATION_BYTES = mebibytes(16);

/** The size that bbolt maps for a file: a power of two up to 1 GiB, then whole GiB. */
export function mapBytes(size: number): number {
  if (size > MAP_STEP_BYTES) return Math.ceil(size / MAP_STEP_BYTES) * MAP_STEP_BYTES;
  let mapped = MAP_BYTES_MIN;
  while (mapped < size) mapped *= 2;
  return mapped;
}

/** The size of a file that must hold `needed` bytes, of which `mapped` are mapped. Answers `size` when it is large enough. */
export function grownBytes(size: number, needed: number, mapped: number): number {
  if (needed <= size) return size;
  return mapped <= ALLOCATION_BYTES ? mapped : needed + ALLOCATION_BYTES;
}
