/** The difference of two texts, line by line, with some lines around each change. */

const CONTEXT_LINES = 5;

/** Lines that start with `-` are expected only, with `+` found only; equal texts give an empty text. */
export function lineDiff(expected: string, found: string): string {
  if (expected === found) return "";
  const marked = markLines(linesOf(expected), linesOf(found));
  const near = marked.map((_, at) =>
    marked.slice(Math.max(0, at - CONTEXT_LINES), at + CONTEXT_LINES + 1).some((line) => !line.startsWith(" ")),
  );
  let text = "";
  marked.forEach((line, at) => {
    if (near[at]!) text += `${line}\n`;
    else if (at > 0 && near[at - 1]!) text += "...\n";
  });
  return text;
}

function linesOf(text: string): string[] {
  return text.replace(/\n$/, "").split("\n");
}

/** Walks a table of longest common subsequences. */
function markLines(a: readonly string[], b: readonly string[]): string[] {
  const width = b.length + 1;
  const longest = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      longest[i * width + j] =
        a[i] === b[j]
          ? longest[(i + 1) * width + j + 1]! + 1
          : Math.max(longest[(i + 1) * width + j]!, longest[i * width + j + 1]!);
    }
  }
  const marked: string[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      marked.push(` ${a[i]!}`);
      i++;
      j++;
    } else if (j === b.length || (i < a.length && longest[(i + 1) * width + j]! >= longest[i * width + j + 1]!)) {
      marked.push(`-${a[i++]!}`);
    } else {
      marked.push(`+${b[j++]!}`);
    }
  }
  return marked;
}
