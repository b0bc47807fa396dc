/**
 * Mistakes put into the server on purpose, each one that somebody made once or could have: the simulation must find them, or it is
 * blind where it claims to see.
 *
 * A canary changes the compiled JavaScript as it is loaded, so that the product has no switch for it. Its place must be found exactly
 * once: a canary that no longer applies fails loudly instead of passing for a healthy server.
 */
import { readFileSync } from "node:fs";
import { patched, type Patch } from "./canary-hooks.js";

export interface Canary {
  readonly name: string;
  /** The mistake, and where it was made when it was made before. */
  readonly what: string;
  readonly changes: readonly {
    /** From the folder of the compiled sources, as `src/wal/writer.js`. */
    readonly file: string;
    readonly find: string;
    readonly replace: string;
  }[];
  /** Members of the cluster in which it shows; drawn when left out. */
  readonly members?: number;
}

export const CANARIES: readonly Canary[] = [
  {
    name: "ack-before-fsync",
    what: "a save resolves before its sync: an acknowledged write is lost with the power (#14370)",
    changes: [
      {
        file: "src/server/ready-loop.js",
        find: "await wal.save(hardState, message.entries, { alone });",
        replace: "void wal.save(hardState, message.entries, { alone });",
      },
    ],
  },
];

/** @throws Error for a name that no canary has */
export function canaryNamed(name: string): Canary {
  const canary = CANARIES.find((each) => each.name === name);
  if (canary === undefined) {
    throw new Error(`there is no canary "${name}"; there are ${CANARIES.map((each) => each.name).join(", ")}`);
  }
  return canary;
}

export function patchesOf(canary: Canary): Patch[] {
  return canary.changes.map(({ file, find, replace }) => ({
    url: new URL(`../../${file}`, import.meta.url).href,
    find,
    replace,
  }));
}

/** @throws Error when a place of the canary is not found exactly once */
export function checkApplies(canary: Canary): void {
  for (const { url, find, replace } of patchesOf(canary)) {
    patched(readFileSync(new URL(url), "utf8"), find, replace, url);
  }
}
