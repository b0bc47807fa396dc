/** From settings to the two sides of TLS. */
import type { Log } from "../platform/index.js";
import { type ClientTls, DialingSide } from "./dialing.js";
import { CertificateFiles } from "./files.js";
import { ListeningSide, type ServerTls } from "./listening.js";
import { assertConsistent, type TlsSettings } from "./settings.js";

export interface Tls {
  readonly server: ServerTls;
  readonly client: ClientTls;
}

/** @throws TlsError `TLS_INVALID`: a file that cannot be read, a key that does not fit, settings that contradict each other */
export function loadTls(settings: TlsSettings, log: Log): Tls {
  assertConsistent(settings);
  const files = new CertificateFiles(settings, log);
  return { server: new ListeningSide(settings, files, log), client: new DialingSide(settings, files) };
}
