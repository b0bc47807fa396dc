/**
 * Clients that knock at a port, with TLS or without: what they offer, and whether they are served. "Served" means that an answer to
 * `GET /version` came, whatever it was; how a connection is refused (an alert, a reset, an end) is the server's own matter.
 */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import http2 from "node:http2";
import net from "node:net";
import tls from "node:tls";

/** Where to knock. */
export type Door = { readonly port: number } | { readonly path: string };

export interface Knock {
  /** Shown to the server. */
  readonly certificate?: { readonly certificate: { readonly path: string }; readonly key: { readonly path: string } };
  readonly alpn?: readonly string[];
  /** The one version that is offered; all when left out. */
  readonly version?: tls.SecureVersion;
  /** OpenSSL's names. */
  readonly ciphers?: string;
  /** A connection that stands already; nothing has been said on it. */
  readonly over?: net.Socket;
}

export interface Served {
  readonly version: string | null;
  readonly cipher: string;
  /** Of the certificate that the server showed. */
  readonly serial: string;
  readonly names: string;
  /** HTTP's, of the answer. */
  readonly status: number;
}

const PATIENCE_MS = 20_000;

/** What a client with TLS gets; undefined when it is not served. It believes whatever certificate it is shown. */
export async function knock(door: Door, knock: Knock = {}): Promise<Served | undefined> {
  const { certificate, alpn, version, ciphers, over } = knock;
  const read = (source: { readonly path: string }): Buffer => readFileSync(source.path);
  const socket = tls.connect({
    ...(over === undefined ? ("port" in door ? { ...door, host: "127.0.0.1" } : door) : { socket: over }),
    rejectUnauthorized: false,
    ...(certificate === undefined ? {} : { cert: read(certificate.certificate), key: read(certificate.key) }),
    ...(alpn === undefined ? {} : { ALPNProtocols: [...alpn] }),
    ...(version === undefined ? {} : { minVersion: version, maxVersion: version }),
    // A list must name a suite of TLS 1.2; and old versions are below what OpenSSL thinks fit for use.
    ciphers: `${ciphers ?? tls.DEFAULT_CIPHERS}${ciphers?.startsWith("TLS_") === true ? ":DEFAULT" : ""}:@SECLEVEL=0`,
  });
  socket.setTimeout(PATIENCE_MS, () => socket.destroy(new Error(`neither served nor refused in ${PATIENCE_MS} ms`)));
  try {
    await once(socket, "secureConnect");
    const found = {
      version: socket.getProtocol(),
      cipher: socket.getCipher().standardName,
      serial: socket.getPeerCertificate().serialNumber,
      names: socket.getPeerX509Certificate()?.subjectAltName ?? "",
    };
    const status = socket.alpnProtocol === "h2" ? await askHttp2(socket) : await askHttp1(socket);
    return status === undefined ? undefined : { ...found, status };
  } catch (error) {
    if (/neither served/.test(String(error))) throw error;
    return undefined;
  } finally {
    socket.destroy();
  }
}

async function askHttp2(socket: tls.TLSSocket): Promise<number> {
  const session = http2.connect("https://localhost", { createConnection: () => socket });
  session.on("error", () => undefined);
  try {
    const stream = session.request({ ":path": "/version" });
    const [headers] = (await once(stream, "response")) as [http2.IncomingHttpHeaders];
    return Number(headers[":status"]);
  } finally {
    session.destroy();
  }
}

async function askHttp1(socket: net.Socket): Promise<number | undefined> {
  const heard = await say(socket, "GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  const status = /^HTTP\/1\.1 (\d+)/.exec(heard)?.[1];
  return status === undefined ? undefined : Number(status);
}

/** All that comes until the other side ends the connection, however it does. */
async function say(socket: net.Socket, words: string | Uint8Array): Promise<string> {
  let heard = "";
  socket.on("data", (bytes: Buffer) => (heard += bytes.toString("latin1")));
  socket.on("error", () => undefined);
  socket.write(words);
  // Not by `once`, which throws at an error: the end may well be a reset.
  if (!socket.closed) await new Promise((resolve) => socket.once("close", resolve));
  return heard;
}

/** A connection on which nothing has been said. */
export async function approach(door: Door): Promise<net.Socket> {
  const socket = net.connect("port" in door ? { ...door, host: "127.0.0.1" } : door);
  await once(socket, "connect");
  return socket;
}

/** What a client without TLS hears until the end of the connection. */
export async function hear(door: Door | net.Socket, words: string | Uint8Array): Promise<string> {
  const socket = door instanceof net.Socket ? door : await approach(door);
  socket.setTimeout(PATIENCE_MS, () => socket.destroy());
  return say(socket, words);
}
