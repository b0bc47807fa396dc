/**
 * The load generator's process: takes jobs from the process that made it and answers each with its result, until it is let go.
 */
import { runLoad, type LoadJob, type LoadResult } from "./run.js";

/** What the process answers a job with. */
export type LoadAnswer =
  { readonly kind: "result"; readonly result: LoadResult } | { readonly kind: "failure"; readonly message: string };

process.on("message", (job: LoadJob) => {
  const answer = (message: LoadAnswer): void => void process.send!(message);
  runLoad(job).then(
    (result) => answer({ kind: "result", result }),
    (error: unknown) => answer({ kind: "failure", message: error instanceof Error ? error.message : String(error) }),
  );
});
process.on("disconnect", () => process.exit());
