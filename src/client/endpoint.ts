/** Where a member listens, as users write it: `host:port`, `http://host:port`, `https://host:port`, `unix://path`. */

export interface Endpoint {
  /** As it was given. */
  readonly text: string;
  /** As the gRPC library wants it. */
  readonly target: string;
  /** Whether TLS is spoken; undefined where the scheme leaves that to the client's settings. */
  readonly secure: boolean | undefined;
}

export function parseEndpoint(text: string): Endpoint {
  const trimmed = text.trim();
  const match = /^(https?|unixs?):\/\/(.*)$/.exec(trimmed);
  if (match === null) return { text: trimmed, target: trimmed, secure: undefined };
  const [, scheme, rest] = match as unknown as [string, string, string];
  const address = rest.replace(/\/$/, "");
  const secure = scheme.endsWith("s") ? true : scheme === "http" ? false : undefined;
  return { text: trimmed, target: scheme.startsWith("unix") ? `unix:${address}` : address, secure };
}
