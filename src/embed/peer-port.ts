/**
 * The peer port of a member in this process: where it listens, by which certificates it knows the others, how patient it is. All of
 * it is checked before anything is opened.
 */
import { autoTls, HttpPeers, loadPeerTls, type PeerMetrics, type PeerTlsSettings } from "../peer/index.js";
import type { Platform } from "../platform/index.js";
import { makeFolderWithParents, MemberError, type PeerDoor } from "../server/index.js";

/** TLS between members; paths of PEM files. */
export interface PeerTls {
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  /** For connections to others; the certificate and key of the port when left out. */
  readonly clientCertFile?: string | undefined;
  readonly clientKeyFile?: string | undefined;
  /** Certificates that others' are checked against; the system's when left out. */
  readonly trustedCaFile?: string | undefined;
  /** Whether a peer must show a certificate. */
  readonly clientCertAuth?: boolean;
  /** Common names, one of which a peer's certificate must have; any when empty. Not together with host names. */
  readonly allowedCommonNames?: readonly string[];
  readonly allowedHostnames?: readonly string[];
  /** A certificate of this member's own making, below the data directory. Others' certificates are not checked then. */
  readonly auto?: boolean;
}

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

/** Binds the peer port; undefined when there is none to bind. @throws PeerError, DiskError */
export async function openPeerPort(
  options: PeerPortOptions & { readonly peerTimeouts?: PeerTimeouts | undefined; readonly dataDir: string },
  advertiseUrls: readonly string[] | undefined,
  dependencies: Platform & { readonly metrics: PeerMetrics },
): Promise<OpenPeerPort | undefined> {
  const { listenPeerUrls, peerTimeouts } = options;
  if (listenPeerUrls.length === 0) return undefined;
  const settings = await tlsSettings(options, dependencies);
  const tls = settings === undefined ? undefined : loadPeerTls(settings, dependencies.log);
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
async function tlsSettings(
  { listenPeerUrls, peerTls = {}, dataDir }: PeerPortOptions & { readonly dataDir: string },
  platform: Platform,
): Promise<PeerTlsSettings | undefined> {
  const { certFile, keyFile, clientCertFile, clientKeyFile, trustedCaFile } = peerTls;
  if (certFile === undefined || keyFile === undefined) {
    if (peerTls.auto !== true || !listenPeerUrls.some((url) => url.startsWith("https:"))) return undefined;
    await makeFolderWithParents(platform.disk, dataDir);
    return autoTls({ dataDir, listenUrls: listenPeerUrls }, platform);
  }
  return {
    certificate: { path: certFile },
    key: { path: keyFile },
    ...(clientCertFile === undefined ? {} : { clientCertificate: { path: clientCertFile } }),
    ...(clientKeyFile === undefined ? {} : { clientKey: { path: clientKeyFile } }),
    ...(trustedCaFile === undefined ? {} : { trustedAuthority: { path: trustedCaFile } }),
    clientCertificateRequired: peerTls.clientCertAuth ?? false,
    allowedNames: peerTls.allowedCommonNames ?? [],
    allowedHostnames: peerTls.allowedHostnames ?? [],
  };
}

/**
 * What etcd refuses of them at its start.
 *
 * @throws MemberError `OPTIONS_INVALID`
 */
export function checkPeerPort({ listenPeerUrls, peerTls = {} }: PeerPortOptions): void {
  const refuse = (detail: string): never => {
    throw new MemberError("OPTIONS_INVALID", detail);
  };
  for (const url of listenPeerUrls) {
    if (!/^https?:/.test(url)) refuse(`--listen-peer-urls: "${url}" cannot be served; give http:// or https://`);
  }
  const { certFile, keyFile, clientCertFile, clientKeyFile, allowedCommonNames, allowedHostnames, auto } = peerTls;
  const secure = listenPeerUrls.find((url) => url.startsWith("https:"));
  if (secure !== undefined && auto !== true && (certFile === undefined || keyFile === undefined)) {
    refuse(`--listen-peer-urls: "${secure}" needs --peer-cert-file and --peer-key-file (or --peer-auto-tls)`);
  }
  if ((certFile === undefined) !== (keyFile === undefined)) {
    refuse("--peer-cert-file and --peer-key-file go together: give both or none");
  }
  if (certFile === undefined) return; // etcd looks at the rest only with it
  if ((clientCertFile === undefined) !== (clientKeyFile === undefined)) {
    refuse("--peer-client-cert-file and --peer-client-key-file go together: give both or none");
  }
  if ((allowedCommonNames ?? []).length > 0 && (allowedHostnames ?? []).length > 0) {
    refuse("--peer-cert-allowed-cn and --peer-cert-allowed-hostname exclude each other: give one of them");
  }
}
