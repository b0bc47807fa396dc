/** Loads one compiled module with a change in it: the loader hook of a canary's run. See `canaries.ts`. */
import type { LoadHook } from "node:module";

/** A place in a module and what stands there instead. */
export interface Patch {
  /** File URL of the module. */
  readonly url: string;
  readonly find: string;
  readonly replace: string;
}

let patches: readonly Patch[] = [];

export function initialize(given: readonly Patch[]): void {
  patches = given;
}

export const load: LoadHook = async (url, context, nextLoad) => {
  const loaded = await nextLoad(url, context);
  const wanted = patches.filter((patch) => patch.url === url);
  if (wanted.length === 0) return loaded;
  const { source } = loaded;
  let text = typeof source === "string" ? source : new TextDecoder().decode(source);
  for (const { find, replace } of wanted) text = patched(text, find, replace, url);
  return { ...loaded, source: text };
};

/** @throws Error when the place is not there exactly once */
export function patched(text: string, find: string, replace: string, where: string): string {
  const parts = text.split(find);
  if (parts.length !== 2) {
    throw new Error(`the canary no longer applies: its place is in ${where} ${parts.length - 1} times, not once`);
  }
  return parts.join(replace);
}
