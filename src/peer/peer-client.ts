/** The few requests that members ask each other beside raft. URLs are tried in turn; what none answers is undefined. */
import { describeError } from "../base/errors.js";
import { PEER_ANSWER_BYTES_MAX } from "../base/limits.js";
import { textFromUtf8 } from "../base/text.js";
import { type Member, memberIdText } from "../membership/index.js";
import type { Clock, Log } from "../platform/index.js";
import {
  type HashKVResponse,
  LeaseKeepAliveRequest,
  LeaseKeepAliveResponse,
  leasepb,
  type LeaseTimeToLiveRequest,
  type LeaseTimeToLiveResponse,
} from "../proto/index.js";
import { readBody } from "./answers.js";
import type { LocalIdentity, PeerVersions, RemoteCluster } from "./contract.js";
import type { Dialer, DialOptions } from "./dialer.js";
import { PeerError, PeerRefusal } from "./errors.js";
import { CLUSTER_ID_HEADER, idFromText } from "./headers.js";
import {
  decodeHashKv,
  decodeMembers,
  decodeVersions,
  encodeHashKvRequest,
  hashKvError,
  leaseError,
  promoteError,
} from "./json.js";
import type { PeerTimeouts } from "./world.js";

interface Answer {
  readonly status: number;
  readonly bytes: Uint8Array;
  readonly text: string;
  readonly clusterId: bigint | undefined;
}

export class PeerClient {
  readonly #dialer: Dialer;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #timeouts: PeerTimeouts;

  constructor(dependencies: {
    readonly dialer: Dialer;
    readonly clock: Clock;
    readonly log: Log;
    readonly timeouts: PeerTimeouts;
  }) {
    this.#dialer = dependencies.dialer;
    this.#clock = dependencies.clock;
    this.#log = dependencies.log;
    this.#timeouts = dependencies.timeouts;
  }

  fetchCluster(urls: readonly string[]): Promise<RemoteCluster | undefined> {
    return this.#first(urls, async (url) => {
      const { status, text, clusterId } = await this.#ask(url, { method: "GET", path: "/members" });
      if (status !== 200) throw refusedBy(url, status, text);
      const members = decodeMembers(text);
      if (clusterId === undefined || members.length === 0) {
        throw new PeerError("PEER_MALFORMED", `${url} tells of a cluster without an ID, or without members`);
      }
      return { clusterId, members };
    });
  }

  fetchVersions(urls: readonly string[]): Promise<PeerVersions | undefined> {
    return this.#first(urls, async (url) => {
      const { status, text } = await this.#ask(url, { method: "GET", path: "/version" });
      if (status !== 200) throw refusedBy(url, status, text);
      return decodeVersions(text);
    });
  }

  fetchHashKv(urls: readonly string[], revision: number, local: LocalIdentity): Promise<HashKVResponse | undefined> {
    return this.#first(urls, async (url) => {
      const options: DialOptions = {
        method: "GET",
        path: "/members/hashkv",
        headers: { "Content-Type": "application/json", "X-Etcd-Cluster-ID": memberIdText(local.clusterId) },
      };
      const { status, text } = await this.#ask(url, options, {
        body: encodeHashKvRequest(revision),
        timeoutMs: this.#timeouts.consensusMs,
      });
      if (status !== 200) throw hashKvError(status, text);
      return decodeHashKv(text);
    });
  }

  /** @param token of the user who asks: the leader looks at it, as etcd's does since 3.5.28 */
  promote(urls: readonly string[], memberId: bigint, token?: string): Promise<readonly Member[] | undefined> {
    return this.#first(urls, async (url) => {
      const headers = token === undefined ? {} : { Authorization: token };
      const options: DialOptions = { method: "POST", path: `/members/promote/${memberId}`, headers };
      const { status, text } = await this.#ask(url, options, { body: "", timeoutMs: this.#timeouts.consensusMs });
      if (status !== 200) throw promoteError(status, text);
      return decodeMembers(text);
    });
  }

  /** The whole time of a lease that the leader there renewed, in seconds. */
  renewLease(urls: readonly string[], id: bigint): Promise<number | undefined> {
    return this.#first(urls, async (url) => {
      const answer = LeaseKeepAliveResponse.decode(
        await this.#askOfLease(url, "/leases", LeaseKeepAliveRequest.encode({ ID: id }).finish()),
      );
      if (answer.ID !== id)
        throw new PeerError("PEER_MALFORMED", `${url} answers for another lease than was asked for`);
      return answer.TTL;
    });
  }

  leaseTimeToLive(
    urls: readonly string[],
    request: LeaseTimeToLiveRequest,
  ): Promise<LeaseTimeToLiveResponse | undefined> {
    return this.#first(urls, async (url) => {
      const question = leasepb.LeaseInternalRequest.encode({ LeaseTimeToLiveRequest: request }).finish();
      const { LeaseTimeToLiveResponse: answer } = leasepb.LeaseInternalResponse.decode(
        await this.#askOfLease(url, "/leases/internal", question),
      );
      if (answer?.ID !== request.ID) {
        throw new PeerError("PEER_MALFORMED", `${url} answers for another lease than was asked for`);
      }
      return answer;
    });
  }

  async #askOfLease(url: string, path: string, body: Uint8Array): Promise<Uint8Array> {
    const options: DialOptions = { method: "POST", path, headers: { "Content-Type": "application/protobuf" } };
    const { status, bytes } = await this.#ask(url, options, { body, timeoutMs: this.#timeouts.consensusMs });
    if (status !== 200) throw leaseError(status, textFromUtf8(bytes));
    return bytes;
  }

  /** The clock of the member there, milliseconds since 1970. @throws PeerError when it does not answer */
  async probe(url: string): Promise<number> {
    const { status, text } = await this.#ask(url, { method: "GET", path: "/raft/probing" });
    const now = Date.parse(/"Now":"([^"]*)"/.exec(text)?.[1] ?? "");
    if (status !== 200 || Number.isNaN(now)) throw refusedBy(url, status, text);
    return now;
  }

  /** A refusal ends it: the next URL leads to the same member. */
  async #first<Value>(urls: readonly string[], ask: (url: string) => Promise<Value>): Promise<Value | undefined> {
    for (const url of urls) {
      try {
        return await ask(url);
      } catch (error) {
        if (error instanceof PeerRefusal) throw error;
        if (!(error instanceof Error)) throw error;
        this.#log.warn("failed to reach the peer URL", { address: url, error: describeError(error) });
      }
    }
    return undefined;
  }

  #ask(
    url: string,
    options: DialOptions,
    {
      body,
      timeoutMs = this.#timeouts.requestMs,
    }: { readonly body?: string | Uint8Array; readonly timeoutMs?: number } = {},
  ): Promise<Answer> {
    const length = body === undefined ? undefined : String(Buffer.byteLength(body));
    const headers = { ...options.headers, ...(length === undefined ? {} : { "Content-Length": length }) };
    const request = this.#dialer.request(url, { ...options, headers });
    const timer = this.#clock.after(timeoutMs, () => {
      request.destroy(new PeerError("PEER_TIMEOUT", `${url}${options.path} does not answer within ${timeoutMs} ms`));
    });
    return new Promise<Answer>((resolve, reject) => {
      request.on("error", reject);
      request.once("close", () => reject(new PeerError("PEER_CUT", `${url} closed the connection without an answer`)));
      request.once("response", (response) => {
        const header = response.headers[CLUSTER_ID_HEADER];
        const clusterId = typeof header === "string" ? idFromText(header) : undefined;
        readBody(response, { bytesMax: PEER_ANSWER_BYTES_MAX }).then(
          (bytes) =>
            resolve({
              status: response.statusCode ?? 0,
              bytes,
              get text() {
                return textFromUtf8(bytes);
              },
              clusterId,
            }),
          reject,
        );
      });
      request.end(body);
    }).finally(() => {
      timer.cancel();
      request.destroy();
    });
  }
}

function refusedBy(url: string, status: number, text: string): PeerError {
  return new PeerError("PEER_REFUSED", `${url} answers ${status}: ${text.trimEnd().slice(0, 200)}`);
}
