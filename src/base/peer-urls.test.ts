import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePeerUrls } from "./peer-urls.js";

test("peer URLs lose their blanks, get a small scheme, and come in order", () => {
  assert.deepEqual(parsePeerUrls(["http://b:2 ", " HTTPS://A:1", "http://[::1]:2380", "http://:3", "unix://x"]), {
    urls: ["http://:3", "http://[::1]:2380", "http://b:2", "https://A:1", "unix://x"],
  });
});

test("what is no peer URL is told in etcd's words", () => {
  const cases: [texts: string[], fault: string][] = [
    [[], "no valid URLs given"],
    [[""], "URL scheme must be http, https, unix, or unixs: "],
    [["bad"], "URL scheme must be http, https, unix, or unixs: bad"],
    [["localhost:2380"], "URL scheme must be http, https, unix, or unixs: localhost:2380"],
    [["ftp://a:1"], "URL scheme must be http, https, unix, or unixs: ftp://a:1"],
    [["127.0.0.1:2380"], 'parse "127.0.0.1:2380": first path segment in URL cannot contain colon'],
    [["://a:1"], 'parse "://a:1": missing protocol scheme'],
    [["http://a:b"], 'parse "http://a:b": invalid port ":b" after host'],
    [["http://a b:1"], 'parse "http://a b:1": invalid character " " in host name'],
    [["http:a:1"], 'URL address does not have the form "host:port": http:a:1'],
    [["http://a"], 'URL address does not have the form "host:port": http://a'],
    [["http://::1:2"], 'URL address does not have the form "host:port": http://::1:2'],
    [["http://a:1", "http://a:1/"], "URL must not contain a path: http://a:1/"],
    [["http://a:1/x?y"], "URL must not contain a path: http://a:1/x?y"],
    [["http://a:1\n2"], 'parse "http://a:1\\n2": net/url: invalid control character in URL'],
  ];
  for (const [texts, fault] of cases) assert.deepEqual(parsePeerUrls(texts), { fault }, texts.join(" "));
});
