/** Member IDs with a meaning of their own, and how IDs are written. */

/** No member. */
export const NONE = 0n;

/** Target of the message that asks for entries, hard state and snapshot to be made durable. */
export const LOCAL_APPEND_THREAD = 0xffff_ffff_ffff_ffffn;

/** Target of the message that asks for committed entries to be applied. */
export const LOCAL_APPLY_THREAD = 0xffff_ffff_ffff_fffen;

/** Whether `id` stands for a worker of the member itself. */
export function isLocalTarget(id: bigint): boolean {
  return id === LOCAL_APPEND_THREAD || id === LOCAL_APPLY_THREAD;
}

/** An ID as log lines write it. */
export function idText(id: bigint): string {
  return id.toString(16);
}
