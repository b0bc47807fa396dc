/**
 * Profiles of this process, for `--enable-pprof`: etcd's paths, V8's formats, for these are what Node's tools read (the panels "Performance" and
 * "Memory" of Chrome's developer tools).
 *
 *     /debug/pprof/                         what there is
 *     /debug/pprof/profile?seconds=30      where the processor's time goes       .cpuprofile
 *     /debug/pprof/heap?seconds=30         who allocates what lives on           .heapprofile
 *
 * Both are sampled: a member goes on serving, some percent slower. A whole heap snapshot is not offered, since it holds the event loop for
 * seconds, and a leader with it. One profile is taken at a time.
 */
import { Session } from "node:inspector/promises";
import { setTimeout as after } from "node:timers/promises";
import { describeError } from "../base/errors.js";
import { type HttpAnswer, type HttpHandler, type HttpRequest, plainAnswer } from "../grpc/http.js";

const SECONDS_DEFAULT = 30;
const SECONDS_MAX = 300;
/** Bytes between two samples of the heap: V8's default. */
const SAMPLING_BYTES = 32_768;

/** Takes a profile for so long. */
type Take = (session: Session, milliseconds: number) => Promise<unknown>;

const takeProcessorProfile: Take = async (session, milliseconds) => {
  await session.post("Profiler.enable");
  await session.post("Profiler.start");
  await after(milliseconds, undefined, { ref: false });
  return (await session.post("Profiler.stop")).profile;
};

const takeHeapProfile: Take = async (session, milliseconds) => {
  await session.post("HeapProfiler.enable");
  await session.post("HeapProfiler.startSampling", { samplingInterval: SAMPLING_BYTES });
  await after(milliseconds, undefined, { ref: false });
  return (await session.post("HeapProfiler.stopSampling")).profile;
};

const INDEX = `profiles of this process, in V8's formats:

/debug/pprof/profile?seconds=30   where the processor's time goes (.cpuprofile)
/debug/pprof/heap?seconds=30      who allocates what lives on (.heapprofile)`;

export function profileEndpoints(): ReadonlyMap<string, HttpHandler> {
  let taking = false;
  const profile =
    (name: string, take: Take): HttpHandler =>
    async (request) => {
      const seconds = secondsOf(request);
      if (seconds === undefined) return plainAnswer(400, `seconds must be a number from 1 to ${SECONDS_MAX}`);
      if (taking) return plainAnswer(503, "a profile is being taken: ask again when it is done");
      taking = true;
      try {
        return await profileAnswer(name, take, seconds * 1000);
      } finally {
        taking = false;
      }
    };
  const index: HttpHandler = () => plainAnswer(200, INDEX);
  return new Map([
    ["/debug/pprof", index],
    ["/debug/pprof/", index],
    ["/debug/pprof/profile", profile("walnut.cpuprofile", takeProcessorProfile)],
    ["/debug/pprof/heap", profile("walnut.heapprofile", takeHeapProfile)],
  ]);
}

async function profileAnswer(name: string, take: Take, milliseconds: number): Promise<HttpAnswer> {
  const session = new Session();
  try {
    session.connect();
    const body = JSON.stringify(await take(session, milliseconds));
    const headers = {
      "content-type": "application/json",
      "content-disposition": `attachment; filename="${name}"`,
    };
    return { status: 200, headers, body };
  } catch (error) {
    return plainAnswer(500, `no profile could be taken: ${describeError(error)}`);
  } finally {
    session.disconnect();
  }
}

function secondsOf({ query }: HttpRequest): number | undefined {
  const text = query.get("seconds");
  if (text === null) return SECONDS_DEFAULT;
  const seconds = Number(text);
  return Number.isInteger(seconds) && seconds >= 1 && seconds <= SECONDS_MAX ? seconds : undefined;
}
