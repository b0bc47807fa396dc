/**
 * The peer port of a member in this process: where it listens, by which certificates it knows the others, how patient it is. All of
 * it is checked before anything is opened.
 */
import { HttpPeers, type PeerMetrics, peerAddress } from "../peer/index.js";
import type { Platform } from "../platform/index.js";
import type { PeerDoor } from "../server/index.js";
import { loadTls, type TlsSettings } from "../tls/index.js";
import { checkCommon, makesItsOwn, type PeerTls, refuseOptions, tlsSettings } from "./tls.js";

/** In milliseconds. */
export interface PeerTimeouts {
  /** Silence after which a connection is given up. */
  readonly readMs: number;
  readonly writeMs: number;
}

export interface PeerPortOptions {
  /** `http://HOST:PORT` or `https://HOST:PORT`. */
  readonly listenPeerUrls: readonly string[];
  readonly peerTls?: PeerTls | undefined;
}

/** A peer port that is bound, and where. */
export interface OpenPeerPort {
  readonly door: PeerDoor;
  /** With the ports that the system chose. */
  readonly urls: readonly string[];
}

/** Binds the peer port; undefined when there is none to bind. @throws PeerError, TlsError, DiskError */
export async function openPeerPort(
  options: PeerPortOptions & { readonly peerTimeouts?: PeerTimeouts | undefined; readonly dataDir: string },
  advertiseUrls: readonly string[] | undefined,
  dependencies: Platform & { readonly metrics: PeerMetrics },
): Promise<OpenPeerPort | undefined> {
  const { listenPeerUrls, peerTimeouts } = options;
  if (listenPeerUrls.length === 0) return undefined;
  const settings = await settingsOf(options, dependencies);
  const tls = settings === undefined ? undefined : loadTls(settings, dependencies.log);
  const door = await HttpPeers.open(
    {
      listenUrls: listenPeerUrls,
      ...(advertiseUrls === undefined ? {} : { advertiseUrls }),
      ...(tls === undefined ? {} : { tls }),
      ...(peerTimeouts === undefined ? {} : { timeouts: { connectionMs: peerTimeouts.readMs } }),
    },
    dependencies,
  );
  return { door, urls: door.listenUrls };
}

/** Undefined where no URL is https: files that are given beside http are not looked at, as in etcd. */
async function settingsOf(
  { listenPeerUrls, peerTls = {}, dataDir }: PeerPortOptions & { readonly dataDir: string },
  platform: Platform,
): Promise<TlsSettings | undefined> {
  const { certFile, keyFile } = peerTls;
  const secure = listenPeerUrls.some((url) => url.startsWith("https:"));
  if (certFile === undefined || keyFile === undefined) {
    if (!makesItsOwn(peerTls) || !secure) return undefined;
  }
  const hosts = listenPeerUrls.map((url) => peerAddress(url).host);
  return tlsSettings(peerTls, { dataDir, port: "peer", hosts }, platform);
}

/**
 * What etcd refuses of them at its start.
 *
 * @throws MemberError `OPTIONS_INVALID`, TlsError `TLS_INVALID`
 */
export function checkPeerPort({ listenPeerUrls, peerTls = {} }: PeerPortOptions): void {
  for (const url of listenPeerUrls) {
    if (!/^https?:/.test(url)) refuseOptions(`--listen-peer-urls: "${url}" cannot be served; give http:// or https://`);
  }
  checkCommon(peerTls);
  const { certFile, keyFile, clientCertFile, clientKeyFile, allowedCommonNames, allowedHostnames, auto } = peerTls;
  const secure = listenPeerUrls.find((url) => url.startsWith("https:"));
  if (secure !== undefined && auto !== true && (certFile === undefined || keyFile === undefined)) {
    refuseOptions(`--listen-peer-urls: "${secure}" needs --peer-cert-file and --peer-key-file (or --peer-auto-tls)`);
  }
  if ((certFile === undefined) !== (keyFile === undefined)) {
    refuseOptions("--peer-cert-file and --peer-key-file go together: give both or none");
  }
  if (certFile === undefined) return; // etcd looks at the rest only with it
  if ((clientCertFile === undefined) !== (clientKeyFile === undefined)) {
    refuseOptions("--peer-client-cert-file and --peer-client-key-file go together: give both or none");
  }
  if ((allowedCommonNames ?? []).length > 0 && (allowedHostnames ?? []).length > 0) {
    refuseOptions("--peer-cert-allowed-cn and --peer-cert-allowed-hostname exclude each other: give one of them");
  }
}
