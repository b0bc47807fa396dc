/** Peer URLs: which can be dialed and listened on, and the choice among those of one member. */
import { PeerError } from "./errors.js";

/** Where a URL leads. */
export interface PeerAddress {
  readonly secure: boolean;
  /** Without the brackets of IPv6. */
  readonly host: string;
  readonly port: number;
}

/** `http://HOST:PORT` or `https://HOST:PORT`, as etcd takes them. @throws PeerError PEER_URL_INVALID */
export function peerAddress(url: string): PeerAddress {
  const parsed = parse(url);
  if (parsed === undefined) {
    throw new PeerError("PEER_URL_INVALID", `"${url}" is not a peer URL; give http://HOST:PORT or https://HOST:PORT`);
  }
  return parsed;
}

export function isPeerUrl(url: string): boolean {
  return parse(url) !== undefined;
}

function parse(url: string): PeerAddress | undefined {
  const match = /^(https?):\/\/(?:\[([0-9a-f:.%]+)\]|([^:/?#@[\]\s]+)):(\d{1,5})\/?$/i.exec(url.trim());
  if (match === null) return undefined;
  const port = Number(match[4]);
  const host = match[2] ?? match[3];
  if (port > 65_535 || host === undefined) return undefined;
  return { secure: match[1]!.toLowerCase() === "https", host, port };
}

/** The URL that is dialed next: the same while it answers, the next one after it failed. */
export class UrlPicker {
  #urls: readonly string[];
  #picked = 0;

  /** @param urls at least one, each `isPeerUrl` */
  constructor(urls: readonly string[]) {
    this.#urls = urls;
  }

  update(urls: readonly string[]): void {
    this.#urls = urls;
    this.#picked = 0;
  }

  pick(): string {
    return this.#urls[this.#picked]!;
  }

  /** `url` does not answer. Says nothing of another that was picked meanwhile. */
  unreachable(url: string): void {
    if (this.pick() === url) this.#picked = (this.#picked + 1) % this.#urls.length;
  }
}
