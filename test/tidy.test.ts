/**
 * The rules of the house that no compiler and no linter knows. Each failure names the file, the line and the better way.
 */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { catalogued, collectCodes } from "./support/error-codes.js";
import { PROJECT } from "./support/binaries.js";

interface Source {
  /** From the project's folder. */
  readonly path: string;
  readonly lines: readonly string[];
}

const FOLDERS = ["src", "sim", "test", "bench", "scripts"];
const sources: readonly Source[] = FOLDERS.flatMap((folder) =>
  readdirSync(join(PROJECT, folder), { recursive: true, encoding: "utf8" })
    .map((name) => `${folder}/${name}`)
    .filter((path) => /\.(ts|mjs|sh)$/.test(path) && !path.includes("/generated/"))
    .map((path) => ({ path, lines: readFileSync(join(PROJECT, path), "utf8").split("\n") })),
);

/** A compiler configuration, as far as it matters here. Ours are plain JSON. */
interface Config {
  readonly compilerOptions?: { readonly types?: readonly string[] };
  readonly exclude?: readonly string[];
}

const configOf = (room: string): Config | undefined => {
  const path = join(PROJECT, "src", room, "tsconfig.json");
  return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as Config) : undefined;
};

/** A room is pure when its tsconfig gives it no types of the world. */
const pureRooms = readdirSync(join(PROJECT, "src")).filter((room) => {
  const config = configOf(room);
  return config !== undefined && (config.compilerOptions?.types ?? []).length === 0;
});

/** Folders that a pure room's tsconfig leaves to another one: tests, and commands that stand beside the room. */
const leftOut = pureRooms.flatMap((room) =>
  (configOf(room)?.exclude ?? [])
    .filter((pattern) => /^\.\/[a-z-]+\/\*\*/.test(pattern))
    .map((pattern) => `src/${room}/${pattern.split("/")[1]}/`),
);

const isTest = (path: string): boolean => path.endsWith(".test.ts") || path.includes("/testing/");
const isPure = (path: string): boolean =>
  pureRooms.some((room) => path.startsWith(`src/${room}/`)) &&
  !leftOut.some((folder) => path.startsWith(folder)) &&
  !isTest(path);

/** Lines that break a rule, as `file:line: text`. Comments are left out: they may speak of what the code must not do. */
function breaches(where: (path: string) => boolean, pattern: RegExp): string[] {
  return sources
    .filter(({ path }) => where(path))
    .flatMap(({ path, lines }) =>
      lines
        .map((text, i) => ({ text, place: `${path}:${i + 1}` }))
        .filter(({ text }) => pattern.test(withoutComment(text)))
        .map(({ text, place }) => `${place}: ${text.trim()}`),
    );
}

const withoutComment = (line: string): string =>
  /^\s*(\/?\*|\/\/)/.test(line) ? "" : line.replace(/\s\/\/ .*$/, "").replace(/"(\\.|[^"\\])*"/g, '""');

function none(found: readonly string[], better: string): void {
  assert.equal(found.length, 0, `${better}\n${found.join("\n")}`);
}

test("the rules see the sources", () => {
  assert.ok(sources.length > 50, `${sources.length} files`);
  assert.ok(pureRooms.includes("base"), `pure rooms: ${pureRooms.join(", ")}`);
  assert.ok(pureRooms.includes("raft"), `pure rooms: ${pureRooms.join(", ")}`);
});

test("nothing is exported as default", () => {
  none(
    breaches((path) => path.endsWith(".ts"), /^\s*export default\b/),
    "export it by its name: a name is found by search",
  );
});

test("pure rooms know neither time nor chance nor the process", () => {
  const world =
    /\b(Date\.now|new Date|Math\.random|performance\.|setTimeout|setInterval|setImmediate|queueMicrotask|process\.|globalThis\.)/;
  none(breaches(isPure, world), "take a Clock or a Random of platform/ through the constructor: a test turns them");
});

test("pure rooms import nothing of node and no package that needs it", () => {
  const imports = sources
    .filter(({ path }) => isPure(path))
    .flatMap(({ path, lines }) =>
      lines
        .map((text, i) => ({ text, place: `${path}:${i + 1}` }))
        .filter(({ text }) => /\bfrom "node:|import\("node:/.test(text)),
    );
  const found = imports.map(({ text, place }) => `${place}: ${text.trim()}`);
  none(found, "ask for one of the doors of platform/ and let platform/node/ open it");
});

test("there are no enums, no namespaces and no ts-ignore", () => {
  const typescript = (path: string): boolean => path.endsWith(".ts");
  none(breaches(typescript, /^\s*(export )?(declare )?(const )?enum\b/), "write a union of strings");
  none(breaches(typescript, /^\s*(export )?namespace\b/), "a file is a namespace already");
  const ignored = sources.flatMap(({ path, lines }) =>
    lines.flatMap((text, i) =>
      /@ts-(ignore|nocheck)/.test(text) && path !== "test/tidy.test.ts" ? [`${path}:${i + 1}`] : [],
    ),
  );
  none(ignored, "@ts-expect-error with its reason goes red when it is no longer needed");
});

test("a TODO has an owner and a condition", () => {
  const found = sources
    .filter(({ path }) => path !== "test/tidy.test.ts")
    .flatMap(({ path, lines }) =>
      lines.flatMap((text, i) =>
        /\b(TODO|FIXME|XXX)\b(?!\([a-z][^)]*\): \S)/.test(text) ? [`${path}:${i + 1}: ${text.trim()}`] : [],
      ),
    );
  none(found, "write TODO(owner): what, and when it can be done; or do it now");
});

test("no file speaks of one person's machine", () => {
  const places = /(^|["'`\s(=])\/(work|home|root|opt|Users)\/|\/tmp\/walnut/;
  const docs = ["README.md", "CHANGELOG.md", ".ci/run"].filter((path) => existsSync(join(PROJECT, path)));
  const pages = readdirSync(join(PROJECT, "docs"), { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".md"),
  );
  const texts = [...docs, ...pages.map((name) => `docs/${name}`)].map((path) => ({
    path,
    lines: readFileSync(join(PROJECT, path), "utf8").split("\n"),
  }));
  const found = [...sources, ...texts]
    .filter(({ path }) => path !== "test/tidy.test.ts")
    .flatMap(({ path, lines }) =>
      lines.flatMap((text, i) => (places.test(text) ? [`${path}:${i + 1}: ${text.trim()}`] : [])),
    );
  none(found, "use a path from the project's folder, os.tmpdir() or an option");
});

test("every module begins with what it is for", () => {
  const found = sources
    .filter(({ path }) => path.endsWith(".ts") && !path.endsWith(".test.ts"))
    .filter(({ lines }) => !/^(\/\*\*|\/\/ |#!)/.test(lines[0] ?? ""))
    .map(({ path }) => path);
  none(found, "begin with a comment: purpose, laws, format");
});

test("files are named in kebab case", () => {
  const found = sources.map(({ path }) => path).filter((path) => !/^[a-z0-9./-]+$/.test(path));
  none(found, "kebab-case, after what the file exports");
});

test("every room has its place in docs/architecture.md", () => {
  const page = join(PROJECT, "docs", "architecture.md");
  assert.ok(existsSync(page), "write docs/architecture.md: the arrows, and the files in reading order");
  const text = readFileSync(page, "utf8");
  const rooms = readdirSync(join(PROJECT, "src"), { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const withCode = rooms.filter(({ name }) => sources.some(({ path }) => path.startsWith(`src/${name}/`)));
  const found = withCode.map(({ name }) => `src/${name}`).filter((path) => !text.includes(`\`${path.slice(4)}/\``));
  none(found, "tell the room's purpose and its files in reading order there, under its name with a slash");
});

test("every error code stands in docs/errors.md, and no other", () => {
  const codes = collectCodes(PROJECT);
  const page = catalogued(PROJECT);
  const missing = [...codes].filter(([code]) => !page.has(code)).map(([code, where]) => `${code} (${where})`);
  none(missing, "give each a row: what it means, what to do");
  const gone = [...page.keys()].filter((code) => !codes.has(code));
  none(gone, "take the rows out: nothing throws them any more");
  const empty = [...page]
    .filter(([, { meaning, advice }]) => meaning.length < 10 || advice.length < 10)
    .map(([code]) => code);
  none(empty, "say what it means and what to do");
});
