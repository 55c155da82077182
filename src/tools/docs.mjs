// npm run docs: writes docs/errors.md, from the codes of src/errors.ts and src/tools/error-texts.mjs, and the parts of
// docs/api.md that stand between `<!-- types: ... -->` and `<!-- end -->`, from build/https-ota.d.ts. So build first.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import texts from "./error-texts.mjs";

const ROOT = new URL("../../", import.meta.url);
const read = (path) => readFileSync(new URL(path, ROOT), "utf8");
const parse = (path) => ts.createSourceFile(path, read(path), ts.ScriptTarget.Latest, true);

// --- docs/errors.md ----------------------------------------------------------------------------------------------------

/** { NAME: number } of `enum Code`. */
export function codes() {
  const found = parse("src/errors.ts").statements.find((one) => ts.isEnumDeclaration(one) && one.name.text === "Code");
  return Object.fromEntries(found.members.map((one) => [one.name.getText(), Number(one.initializer.getText())]));
}

const nameOf = (code, number) =>
  code === "IN_PROGRESS" ? "ESP_ERR_HTTPS_OTA_IN_PROGRESS" : number <= 0 ? `ESP_${code}` : `ESP_ERR_${code}`;
const hex = (number) => (number > 0 ? `0x${number.toString(16).toUpperCase()}` : String(number));
const cell = (text) => text.replaceAll("|", "\\|").replaceAll("\n", " ");

function errorSection([code, number]) {
  const { means, cases = [], else: rest } = texts[code];
  const lines = [`### ${nameOf(code, number)}`, "", `\`ERR.${code}\`, ${hex(number)}. ${means}`];
  if (cases.length) {
    lines.push("", "| message has | what happened | what to do |", "|---|---|---|");
    for (const [message, what, todo] of cases) lines.push(`| \`${message.trim()}\` | ${cell(what)} | ${cell(todo)} |`);
  }
  if (rest) lines.push("", rest);
  return lines.join("\n");
}

const ERRORS_HEAD = `# Errors

<!-- npm run docs writes this file: change src/tools/error-texts.mjs -->

Every failure is an \`Error\`. A promise rejects with it; a call that does not return a promise throws it.

| field | what |
|---|---|
| \`code\` | ESP-IDF's number. Compare with \`ERR\`: \`error.code === require("https-ota").ERR.NOT_ALLOWED\` |
| \`name\` | ESP-IDF's name, such as \`ESP_ERR_NOT_ALLOWED\` |
| \`message\` | what was wrong, with the numbers: at most 500 characters, no control characters |
| \`status\` | the HTTP status of the answer that caused it; undefined without an answer |
| \`retry\` | true: the same call may succeed later without a change of the device or the release. false: it fails again |

**After every error the old image and the old program still run.** A failed update selects nothing, and the next update
uses the bytes that it has written. A program only has to check \`retry\`: if it is true, try again later; if it is false,
report the error.

\`getStatus().last\` keeps name and message of the last update since the start, for remote diagnosis. If the device does not
start any more, see [rescue.md](rescue.md).
`;

export function errorsText() {
  const all = Object.entries(codes());
  const list = all.map(([code, number]) => {
    const name = nameOf(code, number);
    return `| [\`${name}\`](#${name.toLowerCase()}) | ${hex(number)} | ${cell(texts[code].means.split(/(?<=[.:]) /)[0])} |`;
  });
  return [
    ERRORS_HEAD,
    `## All of them\n\n| name | number | |\n|---|---|---|\n${list.join("\n")}\n`,
    `## One by one\n\n${all.map(errorSection).join("\n\n")}\n`,
  ].join("\n");
}

// --- docs/api.md -------------------------------------------------------------------------------------------------------

const TYPES = "build/https-ota.d.ts";

/** The text of a JSDoc comment, and its @default. */
function commentOf(node) {
  const doc = node.jsDoc?.at(-1);
  const text = (ts.getTextOfJSDocComment(doc?.comment) ?? "")
    .replace(/\s*\n\s*/g, " ")
    .replace(/(?<!`)\bESP_ERR_[A-Z_]+/g, (name) => `[\`${name}\`](errors.md#${name.toLowerCase()})`)
    .replace(/\bdocs\/([\w-]+\.md#?[\w-]*)/g, "[$1]($1)")
    .replace(/ `(esp_\w+)`$/, "\n\nESP-IDF: `$1`.");
  const tag = doc?.tags?.find((one) => one.tagName.text === "default");
  return { text: text.trim(), byDefault: ts.getTextOfJSDocComment(tag?.comment)?.trim() };
}

const typeText = (node) =>
  node
    ? node
        .getText()
        .replace(/\/\*[\s\S]*?\*\//g, "")
        .replace(/\s+/g, " ")
        .replace(/; }/g, " }")
    : "";

function functionText(node) {
  const parameters = node.parameters.map((one) => one.getText().replace(/\s+/g, " ")).join(", ");
  const signature = `${node.name.getText()}(${parameters}): ${typeText(node.type)}`;
  return `\`\`\`ts\n${signature}\n\`\`\`\n\n${commentOf(node).text}`;
}

function memberRow(node) {
  const { text, byDefault } = commentOf(node);
  const type = node.type && !ts.isMethodSignature(node) ? typeText(node.type) : "";
  const call = ts.isMethodSignature(node) ? `(): ${typeText(node.type)}` : "";
  const name = `\`${node.name.getText()}${call}${node.questionToken ? "?" : ""}\``;
  return [name, type && `\`${cell(type)}\``, byDefault ? `\`${byDefault}\`` : "", cell(text)];
}

/** A table; a column whose cells are all empty is left out. */
function table(headings, rows) {
  const kept = headings.map((_, i) => i).filter((i) => i === 0 || rows.some((row) => row[i]));
  const line = (row) => `| ${kept.map((i) => row[i]).join(" | ")} |`.replace(/ {2,}/g, " ");
  return [line(headings), `|${kept.map(() => "---|").join("")}`, ...rows.map(line)].join("\n");
}

function interfaceText(node) {
  const members = node.members.filter(
    (one) => one.type?.kind !== ts.SyntaxKind.UndefinedKeyword && typeText(one.type) !== "false",
  );
  const base = node.heritageClauses?.[0]?.types[0]?.getText();
  const rows = members.map(memberRow);
  return [
    commentOf(node).text,
    base &&
      (base === "Error"
        ? "The fields of an `Error`, and:"
        : `The fields of [\`${base}\`](#${base.toLowerCase()}), and:`),
    table(["field", "type", "default", ""], rows),
  ]
    .filter(Boolean)
    .join("\n\n");
}

/** Tuples of a name and its data, one row each. */
function eventText(node) {
  const rows = node.type.types.map((tuple) => {
    const [name, data, total] = tuple.elements.map((one) => typeText(one.type));
    return [
      name.replaceAll('"', "").replaceAll(" | ", ", ").replace(/\w+/g, "`$&`"),
      data === "undefined" ? "" : data,
      total === "undefined" ? "" : total,
    ];
  });
  return `${commentOf(node).text}\n\n${table(["name", "data", "total"], rows)}`;
}

/** A member of a union, without its parentheses. */
const bare = (node) => (ts.isParenthesizedTypeNode(node) ? bare(node.type) : node);

function aliasText(node) {
  const members = ts.isUnionTypeNode(node.type) ? node.type.types.map(bare) : [];
  // the types of its parameters would not help the reader
  if (members.length && members.every(ts.isFunctionTypeNode)) return commentOf(node).text;
  if (ts.isUnionTypeNode(node.type) && node.type.types.every(ts.isTupleTypeNode)) return eventText(node);
  const names = typeText(node.type).replace(/\b[A-Z]\w+Config\b/g, (name) => `[\`${name}\`](#${name.toLowerCase()})`);
  return `${commentOf(node).text} It is one of ${names.replace(/^\| /, "").replaceAll(" | ", ", ")}.`;
}

/** Name of a declaration -> Markdown. */
export function typeTexts() {
  const texts = {};
  for (const node of parse(TYPES).statements) {
    if (ts.isFunctionDeclaration(node)) texts[node.name.text] = functionText(node);
    if (ts.isInterfaceDeclaration(node)) texts[node.name.text] = interfaceText(node);
    if (ts.isTypeAliasDeclaration(node)) texts[node.name.text] = aliasText(node);
  }
  return texts;
}

const PART = /(<!-- types: (\w+) -->\n)[\s\S]*?(<!-- end -->)/g;

/** `markdown` with new text in its generated parts. */
export function apiText(markdown) {
  const texts = typeTexts();
  return markdown.replace(PART, (_, begin, name, end) => {
    if (texts[name] === undefined) throw new Error(`docs/api.md: ${TYPES} has no ${name}`);
    return `${begin}\n${texts[name]}\n\n${end}`;
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(new URL("docs/errors.md", ROOT), errorsText());
  writeFileSync(new URL("docs/api.md", ROOT), apiText(read("docs/api.md")));
}
