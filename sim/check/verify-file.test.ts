import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { SimRandom } from "../random.js";
import { historyToLines } from "./history.js";
import { randomHistory } from "./random-history.js";
import { get, pair, play, put } from "./testing/plays.js";
import { verifyFile } from "./verify-file.js";

function fileWith(t: TestContext, text: string): string {
  const folder = mkdtempSync(join(tmpdir(), "walnut-history-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "history.jsonl");
  writeFileSync(path, text);
  return path;
}

test("a right history in a file is told as right", (t) => {
  const path = fileWith(t, historyToLines(randomHistory(new SimRandom(1), { operations: 200, log: true })));
  const { text, exitCode } = verifyFile(path, { search: true });
  assert.match(text, /^right: 200 operations \(\d+ answered, \d+ refused, \d+ of unknown outcome/);
  assert.equal(exitCode, 0);
});

test("a violation in a file is told with its law, its operations and their times", (t) => {
  const stale = play(put("a", "1", [0, 1], 2), put("a", "2", [2, 3], 3), get("a", [4, 5], 2, pair("a", "1", 2)));
  const { text, exitCode } = verifyFile(fileWith(t, historyToLines(stale)));
  assert.equal(exitCode, 1);
  assert.equal(
    text,
    [
      "violated: 3 operations (3 answered, 0 refused, 0 of unknown outcome, of which 0 took effect), 2 revisions",
      "real-time-order: #2 was answered from revision 2, after #1 had told revision 3",
      `  #1 c>m1 put "a"="2": revision 3 [2, 3]                                           ├───┤`,
      `  #2 c>m1 range "a": revision 2, count 1, "a"="1" mod 2 create 2 version 1 [4, 5]          ├───┤`,
    ].join("\n"),
  );
});

test("a file that is no history is refused by its line", (t) => {
  const head = `{"history":1,"start":{"revision":1,"kvs":[]}}\n`;
  const bad: readonly (readonly [text: string, complaint: RegExp])[] = [
    ["", /HISTORY_MALFORMED: the file is empty/],
    ["{}\n", /line 1: the first line must begin/],
    [`${head}{"x":1}\n`, /line 2: neither "operation" nor "revision"/],
    [`${head}nonsense\n`, /line 2: /],
    [
      `${head}{"operation":{"id":0,"client":"c","member":"m","called":0,"request":{"kind":"range","key":"a","sort":1},"outcome":{"kind":"unknown"}}}\n`,
      /line 2: request: no field "sort"/,
    ],
    [
      `${head}{"operation":{"id":0,"client":"c","member":"m","called":0,"request":{"kind":"put","key":"a"},"outcome":{"kind":"unknown"}}}\n`,
      /line 2: request: "value" must be a string/,
    ],
    [
      `${head}{"operation":{"id":0,"client":"c","member":"m","called":0,"request":{"kind":"hash"},"outcome":{"kind":"answered","at":1,"response":{"kind":"put","header":{"revision":1}}}}}\n`,
      /line 2: a hash answered as a put/,
    ],
  ];
  for (const [text, complaint] of bad) {
    const result = verifyFile(fileWith(t, text));
    assert.match(result.text, complaint);
    assert.equal(result.exitCode, 3);
  }
  assert.equal(verifyFile(join(tmpdir(), "walnut-there-is-no-such-file")).exitCode, 3);
});
