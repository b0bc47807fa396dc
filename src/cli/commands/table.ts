/** Tables as etcdctl draws them: headers in capitals and centred, cells to the right, long cells broken between words. */

/** Widest cell before its words go to further lines. */
const CELL_WIDTH_MAX = 30;

export function drawTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const titles = header.map((title) => title.toUpperCase().replace(/[_.]/g, " "));
  const cells = rows.map((row) => row.map(wrap));
  const widths = titles.map((title, column) =>
    Math.max(title.length, ...cells.map((row) => Math.max(...row[column]!.map((line) => line.length)))),
  );
  const rule = `+${widths.map((width) => "-".repeat(width + 2)).join("+")}+\n`;
  const line = (texts: readonly string[]): string => `|${texts.map((text) => ` ${text} `).join("|")}|\n`;
  let drawn = rule + line(titles.map((title, column) => centred(title, widths[column]!))) + rule;
  for (const row of cells) {
    const height = Math.max(...row.map((lines) => lines.length));
    for (let at = 0; at < height; at++) {
      drawn += line(row.map((lines, column) => (lines[at] ?? "").padStart(widths[column]!)));
    }
  }
  return drawn + rule;
}

function centred(text: string, width: number): string {
  const left = Math.floor((width - text.length) / 2);
  return " ".repeat(left) + text + " ".repeat(width - text.length - left);
}

function wrap(text: string): string[] {
  const words = text.split(/\s+/).filter((word) => word !== "");
  const limit = Math.max(CELL_WIDTH_MAX, ...words.map((word) => word.length));
  const lines: string[] = [];
  for (const word of words) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= limit) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines.length === 0 ? [""] : lines;
}
