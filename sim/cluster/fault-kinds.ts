/** The names of what can go wrong in a simulated cluster. What each does is told where it is done, in `nemesis.ts`. */
export const FAULT_KINDS = [
  "kill",
  "kill-at-operation",
  "kill-then-power-loss",
  "power-loss",
  "power-loss-at-operation",
  "power-loss-of-all",
  "crash-in-boot",
  "stop",
  "freeze",
  "clock-skew",
  "partition",
  "clog",
  "late-reads",
  "slow-disk",
  "sync-error",
  "write-error",
  "disk-full",
  "bit-rot",
  "defragment",
  "add-member",
  "remove-member",
  "replace-member",
  "promote-member",
  "move-leader",
] as const;

export type FaultKind = (typeof FAULT_KINDS)[number];
