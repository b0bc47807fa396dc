// Generates src/proto/generated from src/proto/definitions, offline: the codecs, and a table of all fields (descriptors.ts) for whoever
// handles messages by the names of their fields, as the JSON gateway does.
//   node scripts/generate-proto.mjs [OUT]      OUT is the folder to fill instead (a test compares)
//
// buf reads the definitions, ts-proto writes the code. Then the text is changed so that it runs on src/proto/binary.ts: see there why.
// Each change is a pattern; what must not be left afterwards is listed too, so that a newer generator cannot slip past them.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, posix, resolve } from "node:path";

const root = join(import.meta.dirname, "..");
const tools = join(root, "node_modules", ".bin");
const out = resolve(process.argv[2] ?? join(root, "src", "proto", "generated"));

const OPTIONS = [
  "forceLong=bigint", // IDs ...
  "useJsTypeOverride=true", // ... and `number` where the definition says jstype = JS_NUMBER
  "oneof=unions-value",
  "enumsAsLiterals=true",
  "unrecognizedEnum=false",
  "snakeToCamel=keys", // JSON keeps the definition's names, as etcd's gateway does
  "protoJsonFormat=false",
  "outputServices=generic-definitions",
  "exportCommonSymbols=false",
  "useExactTypes=false",
  "annotateFilesWithVersion=false",
  "esModuleInterop=true",
  "importSuffix=.js",
  "env=both",
];

const CHANGES = [
  // Range checks of what is about to be written: the writer has its own.
  [/\n *if \(\s*BigInt\.as(?:Int|Uint)N\(64,[^{}]*\{\s*throw new globalThis\.Error\([^;]*\);\s*\}/g, ""],
  [/\.(u?int64)\(BigInt\(([^()]*)\)\)/g, ".$1Number($2)"],
  [/longToNumber\(reader\.(u?int64)\(\)\)/g, "reader.$1Number()"],
  [/reader\.(u?int64)\(\) as bigint/g, "reader.$1()"],
  [
    /\n *const previousRecursionDepth[^;]*;\n *if \(previousRecursionDepth >= 100\) \{[^{}]*\}\n *\(reader as any\)[^;]*;\n *try \{\n *const end = [^;]*;/g,
    "\n    const end = reader.begin(length);",
  ],
  [/\n *return message;\n *\} finally \{[^{}]*\}/g, "\n      reader.end(end);\n      return message;"],
  // The `try` around the loop is gone, and its indentation.
  [/(?<=reader\.begin\(length\);\n)[\s\S]*?return message;/g, (body) => body.replace(/^ {2}/gm, "")],
  [/if \(tag !== (\d+)\) \{\s*break;\s*\}\n/g, "if (tag !== $1) reader.wrongWireType(tag);"],
  [/if \(\(tag & 7\) === 4 \|\| tag === 0\) \{\s*break;\s*\}\s*reader\.skip\(tag & 7\);/g, "reader.skip(tag);"],
  [/new Uint8Array\(0\)/g, "EMPTY_BYTES"],
  [/\nfunction (?:longToNumber|bytesFromBase64|base64FromBytes)\([\s\S]*?\n\}\n/g, ""],
];
const FORBIDDEN = [
  "longToNumber",
  "BigInt.as",
  "globalThis as any",
  "reader as any",
  "reader.len",
  "Recursion",
  "new Uint8Array",
];

/** Names that the changed text may use, and the module below src/ that has them. */
const IMPORTS = [
  ["EMPTY_BYTES", "base/bytes.js"],
  ["base64FromBytes", "proto/base64.js"],
  ["bytesFromBase64", "proto/base64.js"],
  ["BinaryReader", "proto/binary.js"],
  ["BinaryWriter", "proto/binary.js"],
];

const scratch = mkdtempSync(join(tmpdir(), "walnut-proto-"));
try {
  const plugin = join(tools, "protoc-gen-ts_proto");
  const template = { version: "v2", plugins: [{ local: plugin, out: scratch, opt: OPTIONS }] };
  execFileSync(
    join(tools, "buf"),
    ["generate", join(root, "src", "proto", "definitions"), "--template", JSON.stringify(template)],
    { stdio: ["ignore", "inherit", "inherit"] },
  );
  rmSync(out, { recursive: true, force: true });
  const names = readdirSync(scratch, { recursive: true }).map(String).sort();
  for (const name of names.filter((name) => name.endsWith(".ts"))) {
    const target = join(out, name);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, adapt(name, readFileSync(join(scratch, name), "utf8")));
  }
  writeFileSync(join(out, "descriptors.ts"), describeFields());
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

function adapt(name, generated) {
  let text = generated;
  for (const [pattern, replacement] of CHANGES) text = text.replace(pattern, replacement);
  const folder = posix.dirname(posix.join("proto/generated", name));
  const modules = new Map();
  for (const [symbol, module] of IMPORTS) {
    if (!new RegExp(`\\b${symbol}\\b`).test(text.replace(/^import .*$/gm, ""))) continue;
    modules.set(module, [...(modules.get(module) ?? []), symbol]);
  }
  const lines = [...modules].map(
    ([module, symbols]) => `import { ${symbols.join(", ")} } from "${posix.relative(folder, module)}";`,
  );
  text = text.replace(/^import \{ BinaryReader, BinaryWriter \} from "@bufbuild\/protobuf\/wire";$/m, lines.join("\n"));
  for (const word of [...FORBIDDEN, "@bufbuild"]) {
    if (text.includes(word)) throw new Error(`${name}: "${word}" is left: the generator's output has changed its form`);
  }
  return text;
}

/** The text of descriptors.ts. `proto/descriptors.ts` reads it, and says what the rows are. */
function describeFields() {
  const definitions = join(root, "src", "proto", "definitions");
  const image = execFileSync(
    join(tools, "buf"),
    ["build", definitions, "--exclude-source-info", "-o", "-#format=json"],
    { stdio: ["ignore", "pipe", "inherit"], encoding: "utf8" },
  );
  const messages = [];
  const enums = [];
  const methods = [];
  const files = JSON.parse(image).file.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const { package: name, messageType = [], enumType = [], service = [] } of files) {
    for (const message of messageType) addMessage(name, message);
    for (const found of enumType) addEnum(name, found);
    for (const { name: of, method } of service)
      for (const found of method) addMethod(`/${name}.${of}/${found.name}`, found);
  }
  return [
    "/** Made by scripts/generate-proto.mjs: every message, enum and method of the definitions. */",
    'import type { EnumRow, FieldRow, MethodRow } from "../descriptors.js";',
    "",
    ...table("MESSAGES", "readonly FieldRow[]", messages),
    ...table("ENUMS", "readonly EnumRow[]", enums),
    ...table("METHODS", "MethodRow", methods),
  ].join("\n");

  function addMessage(scope, { name, field = [], oneofDecl = [], nestedType = [], enumType = [] }) {
    const fullName = `${scope}.${name}`;
    messages.push([fullName, field.map((found) => rowOf(found, oneofDecl))]);
    for (const message of nestedType) addMessage(fullName, message);
    for (const found of enumType) addEnum(fullName, found);
  }

  function addEnum(scope, { name, value }) {
    enums.push([`${scope}.${name}`, value.map((found) => [found.name, found.number ?? 0])]);
  }

  function addMethod(path, { inputType, outputType, clientStreaming = false, serverStreaming = false }) {
    const kind = clientStreaming ? "bidirectional" : serverStreaming ? "serverStreaming" : "unary";
    methods.push([path, [inputType.slice(1), outputType.slice(1), kind]]);
  }

  function rowOf({ name, number, label, type, typeName, oneofIndex }, oneofs) {
    const scalar = type.replace("TYPE_", "").toLowerCase();
    const kind = typeName === undefined ? scalar : `${scalar} ${typeName.slice(1)}`;
    if (oneofIndex !== undefined) return [name, number, kind, `oneof ${oneofs[oneofIndex].name}`];
    return label === "LABEL_REPEATED" ? [name, number, kind, "repeated"] : [name, number, kind];
  }

  function table(name, type, rows) {
    const lines = rows.map(([key, value]) => `  ${JSON.stringify(key)}: ${JSON.stringify(value)},`);
    return [`export const ${name}: Readonly<Record<string, ${type}>> = {`, ...lines, "};", ""];
  }
}
