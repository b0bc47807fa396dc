/** Connections without manners, as strangers have them. */
import * as net from "node:net";
import { concatBytes } from "../../base/bytes.js";
import { CLUSTER_ID } from "./fixture.js";

/** The headers of a member of the tests' cluster, as lines. */
export function headerLines(from: bigint, more: Readonly<Record<string, string>> = {}): string {
  const headers = {
    Host: "peer",
    "X-Server-From": from.toString(16),
    "X-Server-Version": "3.5.30",
    "X-Min-Cluster-Version": "3.0.0",
    "X-Etcd-Cluster-ID": CLUSTER_ID.toString(16),
    ...more,
  };
  return Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join("");
}

export class RawConnection {
  readonly socket: net.Socket;
  readonly #parts: Uint8Array[] = [];
  readonly #closed: Promise<void>;

  constructor(url: string) {
    const { hostname, port } = new URL(url);
    this.socket = net.connect({ host: hostname, port: Number(port) });
    this.socket.on("data", (chunk) => this.#parts.push(chunk));
    this.socket.on("error", () => undefined);
    this.#closed = new Promise((resolve) => {
      this.socket.once("close", () => resolve());
    });
  }

  send(...pieces: readonly (string | Uint8Array)[]): this {
    for (const piece of pieces) this.socket.write(piece);
    return this;
  }

  /** What came so far. */
  text(): string {
    return Buffer.from(concatBytes(this.#parts)).toString("latin1");
  }

  /** All that came until the other side closed. */
  async toEnd(): Promise<string> {
    await this.#closed;
    return this.text();
  }

  close(): void {
    this.socket.destroy();
  }
}
