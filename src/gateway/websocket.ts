/**
 * The gateway over websockets, as etcd has it (grpc-websocket-proxy): each frame is a part of the request's body, each line of the answer is a
 * frame. So a page can hold both directions of a watch, which a browser's requests cannot.
 *
 * Facts of etcd: the request counts as a POST, whatever `?method=` says; of its headers `Origin` and `Referer` go on, and as `Authorization` the
 * protocol `Bearer, TOKEN` that was asked for, or the cookie `token`; when the answer is over the connection ends without a farewell.
 *
 * Laws: a frame is at most as large as one message's JSON may be; frames are read when the call takes them, and made when the client has read those
 * before; a client that does not read loses its connection in time.
 */
import type { IncomingMessage } from "node:http";
import { type WebSocket, WebSocketServer } from "ws";
import { GRPC_LIMITS } from "../grpc/limits.js";
import type { HttpAnswer, HttpRequest, HttpUpgrade } from "../grpc/http.js";
import type { Clock } from "../platform/clock.js";
import type { Gateway } from "./gateway.js";

const FORWARDED: ReadonlySet<string> = new Set(["origin", "referer"]);
const BEARER = "Bearer";

export class GatewaySockets {
  readonly #gateway: Gateway;
  readonly #clock: Clock;
  readonly #server: WebSocketServer;

  constructor(gateway: Gateway, clock: Clock) {
    this.#gateway = gateway;
    this.#clock = clock;
    this.#server = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: gateway.jsonBytesMax,
      handleProtocols: (_, request) => (protocolOf(request)?.startsWith(BEARER) === true ? BEARER : false),
    });
    // A handshake that lacks something. Go's words are all that clients of etcd are told.
    this.#server.on("wsClientError", (_, socket, request) => {
      const [status, text] = request.method === "GET" ? [400, "Bad Request"] : [405, "Method Not Allowed"];
      const head = `HTTP/1.1 ${status} ${text}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n`;
      socket.end(`${head}Sec-Websocket-Version: 13\r\nContent-Length: ${text.length + 1}\r\n\r\n${text}\n`);
    });
  }

  /** @returns false for an upgrade that is no websocket of the gateway's */
  accept(upgrade: HttpUpgrade): boolean {
    const handler = this.#gateway.get(upgrade.path);
    if (handler === undefined || upgrade.header("upgrade")?.toLowerCase() !== "websocket") return false;
    this.#server.handleUpgrade(upgrade.request, upgrade.socket, upgrade.first, (socket) => {
      void new Conversation(socket, upgrade, this.#clock).run(handler);
    });
    return true;
  }
}

class Conversation {
  readonly #socket: WebSocket;
  readonly #upgrade: HttpUpgrade;
  readonly #clock: Clock;
  readonly #gone = new AbortController();
  readonly #frames: Uint8Array[] = [];
  #isClosed = false;
  #wake: () => void = () => undefined;

  constructor(socket: WebSocket, upgrade: HttpUpgrade, clock: Clock) {
    this.#socket = socket;
    this.#upgrade = upgrade;
    this.#clock = clock;
    socket.on("message", (data) => {
      this.#frames.push(asBytes(data), Buffer.from("\n"));
      socket.pause(); // until these are taken
      this.#wake();
    });
    socket.on("close", () => {
      this.#isClosed = true;
      this.#gone.abort(new Error("the client has gone"));
      this.#wake();
    });
    socket.on("error", () => socket.terminate()); // a frame that is too large, or is none: "close" follows
  }

  /** Never rejects. */
  async run(handler: (request: HttpRequest) => HttpAnswer | Promise<HttpAnswer>): Promise<void> {
    try {
      const { body } = await handler(this.#request());
      if (typeof body === "string" || body instanceof Uint8Array) await this.#send(body);
      else for await (const lines of body) await this.#sendLines(lines);
    } catch {
      // The answer breaks off, which is what the client sees.
    }
    this.#socket.terminate();
  }

  #request(): HttpRequest {
    const { path, query, peer, security } = this.#upgrade;
    return {
      method: "POST",
      path,
      query,
      peer,
      security,
      signal: this.#gone.signal,
      header: (name) => this.#header(name),
      body: () => Promise.reject(new Error("a websocket has no end to wait for")),
      pieces: () => this.#pieces(),
    };
  }

  #header(name: string): string | undefined {
    if (FORWARDED.has(name)) return this.#upgrade.header(name);
    if (name !== "authorization") return undefined;
    const cookie = /(?:^|;)\s*token=([^;]*)/.exec(this.#upgrade.header("cookie") ?? "")?.[1];
    if (cookie !== undefined) return `${BEARER} ${cookie}`;
    const token = /Bearer,(.*)$/s.exec(protocolOf(this.#upgrade.request) ?? "")?.[1];
    return token === undefined ? undefined : `${BEARER} ${token.trim()}`;
  }

  async *#pieces(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame !== undefined) yield frame;
      else if (this.#isClosed) return;
      else {
        this.#socket.resume();
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    }
  }

  async #sendLines(lines: Uint8Array): Promise<void> {
    for (let at = 0; at < lines.length;) {
      const end = lines.indexOf(0x0a, at);
      const stop = end < 0 ? lines.length : end;
      if (stop > at) await this.#send(lines.subarray(at, stop));
      at = stop + 1;
    }
  }

  /** Resolves when the frame has left. */
  async #send(line: string | Uint8Array): Promise<void> {
    const late = this.#clock.after(GRPC_LIMITS.answerStallMs, () => this.#socket.terminate());
    try {
      await new Promise<void>((resolve, reject) => {
        this.#socket.send(line, { binary: false }, (error) => {
          if (error) reject(error);
          else resolve();
        });
      });
    } finally {
      late.cancel();
    }
  }
}

const protocolOf = (request: IncomingMessage): string | undefined => request.headers["sec-websocket-protocol"];

function asBytes(data: Buffer | ArrayBuffer | Buffer[]): Uint8Array {
  if (Array.isArray(data)) return Buffer.concat(data);
  return data instanceof ArrayBuffer ? new Uint8Array(data) : data;
}
