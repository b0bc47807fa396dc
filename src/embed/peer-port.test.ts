import assert from "node:assert/strict";
import { test } from "node:test";
import { checkPeerPort } from "./peer-port.js";
import type { PeerTls } from "./tls.js";

const check = (url: string, peerTls?: PeerTls) => (): void => checkPeerPort({ listenPeerUrls: [url], peerTls });
const pair: PeerTls = { certFile: "/c", keyFile: "/k" };

test("a peer port is http, or https with a certificate and its key", () => {
  for (const fits of [
    check("http://127.0.0.1:1"),
    check("http://127.0.0.1:1", pair),
    check("https://127.0.0.1:1", pair),
    check("https://127.0.0.1:1", { auto: true }),
    check("https://127.0.0.1:1", { ...pair, clientCertFile: "/cc", clientKeyFile: "/ck", allowedHostnames: ["a"] }),
  ]) {
    assert.doesNotThrow(fits);
  }
});

test("certificates without their keys, and rules that exclude each other, are refused by the names of their flags", () => {
  const refused: [run: () => void, sentence: RegExp][] = [
    [check("unix://x"), /OPTIONS_INVALID: --listen-peer-urls: "unix:\/\/x" cannot be served/],
    [check("https://127.0.0.1:1"), /--listen-peer-urls: .* needs --peer-cert-file and --peer-key-file/],
    [check("http://127.0.0.1:1", { certFile: "/c" }), /--peer-cert-file and --peer-key-file go together/],
    [check("http://127.0.0.1:1", { keyFile: "/k" }), /--peer-cert-file and --peer-key-file go together/],
    [check("http://127.0.0.1:1", { ...pair, clientKeyFile: "/k" }), /--peer-client-key-file go together/],
    [
      check("http://127.0.0.1:1", { ...pair, allowedCommonNames: ["a"], allowedHostnames: ["b"] }),
      /exclude each other/,
    ],
  ];
  for (const [run, sentence] of refused) assert.throws(run, sentence);
});
