/**
 * What a run of the bench found, as a picture: an SVG with one row for a scenario and one bar for a server.
 *
 * A bar is as long as the server's figure is a part of the better etcd's, so that rows of different units stand beside each other; the
 * line at 1 is that etcd. The scale is linear up to four times; what is beyond is cut, with its figure beside it. Why no library:
 * docs/decisions/bench-picture.md.
 */
import { readable, type Spread } from "./figures.js";
import { pick, type Report } from "./report.js";

interface Row {
  readonly title: string;
  readonly of: Readonly<Record<string, Spread>>;
  readonly unit: string;
}

interface Panel {
  readonly title: string;
  readonly rows: readonly Row[];
  readonly best: (...values: number[]) => number;
}

const WIDTH = 960;
const MARGIN = 16;
const TITLE_WIDTH = 310;
const FIGURE_WIDTH = 130;
const BAR_HEIGHT = 9;
const ROW_GAP = 9;
const RATIO_MAX = 4;
const COLORS = ["#9db4c8", "#5a7fa0", "#b5651d", "#6b8e4e"];
const PAPER = "#ffffff";
const TEXT = "#24292f";
const LINE = "#c8ccd0";

/** @returns the text of an SVG file */
export function picture(report: Report): string {
  const { servers, judged } = report;
  const others = servers.filter((server) => server !== judged);
  const panels: Panel[] = [
    { title: "Calls a second: longer is better", best: Math.max, rows: loadRows(report) },
    { title: "Time and space: shorter is better", best: Math.min, rows: report.sizes },
  ].filter(({ rows }) => rows.length > 0);
  const canvas = new Canvas();
  canvas.text(MARGIN, 24, `${judged} beside ${others.join(" and ")}`, { size: 16, bold: true });
  canvas.text(MARGIN, 42, report.machine);
  drawLegend(canvas, servers);
  for (const panel of panels) drawPanel(canvas, panel, servers, others.length > 0 ? others : servers);
  return canvas.svg();
}

function loadRows({ loads }: Report): Row[] {
  return loads.map(({ title, of }) => ({ title, unit: "/s", of: pick(of, ({ perSecond }) => perSecond) }));
}

function drawLegend(canvas: Canvas, servers: readonly string[]): void {
  for (const [i, server] of servers.entries()) {
    const left = MARGIN + i * 140;
    canvas.bar(left, 54, 12, 10, colorOf(i), server);
    canvas.text(left + 18, 63, server);
  }
  canvas.below = 84;
}

const BARS_LEFT = MARGIN + TITLE_WIDTH;
const BARS_WIDTH = WIDTH - BARS_LEFT - FIGURE_WIDTH - MARGIN;
const xOf = (ratio: number): number => BARS_LEFT + (Math.min(ratio, RATIO_MAX) / RATIO_MAX) * BARS_WIDTH;

function drawPanel(canvas: Canvas, panel: Panel, servers: readonly string[], others: readonly string[]): void {
  canvas.text(MARGIN, canvas.below + 12, panel.title, { bold: true });
  for (let ratio = 0; ratio <= RATIO_MAX; ratio++)
    canvas.text(xOf(ratio), canvas.below + 12, `${ratio}×`, { anchor: "middle" });
  const top = canvas.below + 20;
  const height = servers.length * BAR_HEIGHT;
  const bottom = top + panel.rows.length * (height + ROW_GAP);
  for (let ratio = 0; ratio <= RATIO_MAX; ratio++) canvas.line(xOf(ratio), top, bottom, ratio === 1);
  let y = top + 4;
  for (const row of panel.rows) {
    const base = panel.best(...others.map((server) => row.of[server]!.median));
    canvas.text(MARGIN, y + height / 2 + 4, row.title.replaceAll("`", ""));
    for (const [i, server] of servers.entries()) {
      const { median } = row.of[server]!;
      const ratio = median / base;
      const figure = `${readable(median)} ${row.unit}`;
      const bar = y + i * BAR_HEIGHT;
      const right = xOf(ratio);
      canvas.bar(BARS_LEFT, bar, right - BARS_LEFT, BAR_HEIGHT - 1, colorOf(i), `${server}: ${figure}`);
      canvas.text(right + 4, bar + BAR_HEIGHT - 1, `${figure}  ${ratio.toFixed(2)}×`, { size: 8, halo: true });
    }
    y += height + ROW_GAP;
  }
  canvas.below = bottom + 20;
}

const colorOf = (server: number): string => COLORS[server % COLORS.length]!;

interface TextStyle {
  readonly size?: number;
  readonly bold?: boolean;
  readonly anchor?: "start" | "middle";
  readonly halo?: boolean;
}

/** Elements of an SVG, and how far down they go. */
class Canvas {
  readonly #elements: string[] = [];
  below = 0;

  /** @param style `halo`: readable on a line */
  text(x: number, y: number, text: string, style: TextStyle = {}): void {
    const { size = 11, bold = false, anchor = "start", halo = false } = style;
    const weight = bold ? ` font-weight="600"` : "";
    const around = halo ? ` stroke="${PAPER}" stroke-width="3" paint-order="stroke"` : "";
    this.#elements.push(
      `<text x="${number(x)}" y="${number(y)}" font-size="${size}"${weight}${around} text-anchor="${anchor}">${escape(text)}</text>`,
    );
  }

  bar(x: number, y: number, width: number, height: number, color: string, title: string): void {
    this.#elements.push(
      `<rect x="${number(x)}" y="${number(y)}" width="${number(width)}" height="${number(height)}" fill="${color}"><title>${escape(title)}</title></rect>`,
    );
  }

  line(x: number, top: number, bottom: number, strong: boolean): void {
    const stroke = strong ? `stroke="${TEXT}"` : `stroke="${LINE}" stroke-dasharray="2 3"`;
    this.#elements.push(
      `<line x1="${number(x)}" y1="${number(top)}" x2="${number(x)}" y2="${number(bottom)}" ${stroke}/>`,
    );
  }

  svg(): string {
    const height = Math.ceil(this.below);
    return [
      `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="system-ui, sans-serif" fill="${TEXT}">`,
      `<rect width="${WIDTH}" height="${height}" fill="${PAPER}"/>`,
      ...this.#elements,
      `</svg>`,
      "",
    ].join("\n");
  }
}

const number = (value: number): string => String(Math.round(value * 10) / 10);

const escape = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
