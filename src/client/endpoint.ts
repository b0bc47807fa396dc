/** Where a member listens, as users write it: `host:port`, `http://host:port`, `https://host:port`, `unix://path`. */

export interface Endpoint {
  /** As it was given. */
  readonly text: string;
  /** As the gRPC library wants it. */
  readonly target: string;
  readonly secure: boolean;
}

/** @param secureByDefault whether an endpoint without a scheme is spoken to over TLS */
export function parseEndpoint(text: string, secureByDefault = false): Endpoint {
  const trimmed = text.trim();
  const match = /^(https?|unixs?):\/\/(.*)$/.exec(trimmed);
  if (match === null) return { text: trimmed, target: trimmed, secure: secureByDefault };
  const [, scheme, rest] = match as unknown as [string, string, string];
  const address = rest.replace(/\/$/, "");
  if (scheme.startsWith("unix")) return { text: trimmed, target: `unix:${address}`, secure: scheme === "unixs" };
  return { text: trimmed, target: address, secure: scheme === "https" };
}
