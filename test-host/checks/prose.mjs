// Phrases that this project does not use (CONTRIBUTING.md, "English"). Read: Markdown apart from code, and comments and texts
// in TypeScript. A phrase may lie across two lines. A place is printed as `file:line: "phrase": what to say instead`.

import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "./typescript.mjs";

/** What follows "is no" in good English. */
const AFTER_NO = "longer|more|less|better|worse|different|such thing";

/** [pattern, what to say instead]. A blank in a pattern is any white space. */
const PHRASES = [
  ["\\bwho(?:so|m)?ever\\b", "say who: anyone who, somebody who, any"],
  ["\\bwhat (?:it|this|that|they) (?:comes?|came) to\\b", "the result, in short"],
  ["\\ball the same\\b", "nevertheless, or leave it out"],
  ["\\bfor ever\\b", "without an end, always, for good"],
  ["\\bunder way\\b", "running"],
  ["\\banew\\b", "again, a new one"],
  ["\\bso many\\b", "say the number"],
  ["\\bjudg(?:e|es|ed|ing)\\b", "check (format), verify (cryptography), compare (bytes)"],
  [`(?<!\\bthere )\\b(?:is|are|was|were) no (?!(?:${AFTER_NO})\\b)`, "is not a, must be a"],
  ["(?<!\\bthere )\\b(?:is|are|was|were) none\\b", "is not one, does not have one"],
].map(([pattern, instead]) => [new RegExp(pattern.replaceAll(" ", "\\s+"), "gi"), instead]);

/** Sentences that are right as they are, by file. One that no longer stands there is a problem too. */
const ALLOWED = [["docs/glossary.md", "judge, validate"]];

const blank = (text) => text.replace(/[^\n]/g, " ");
const lineAt = (text, offset) => text.slice(0, offset).split("\n").length;
const oneLine = (text) => text.replace(/\s+/g, " ");

/** What stands in quotes in this file is the title of a test, as it is there. */
const TITLES = "SECURITY.md";

/** Markdown without fenced blocks, code and addresses; everything else stays at its place. */
function proseOfMarkdown(file, text) {
  return (file === TITLES ? text.replace(/"[^"\n]*"/g, blank) : text)
    .replace(/^(```+)[^\n]*\n[\s\S]*?^\1[^\n]*$/gm, blank)
    .replace(/`[^`\n]*`/g, blank)
    .replace(/\]\([^)\s]*\)/g, blank)
    .replace(/[a-z]+:\/\/[^\s)>"'`]+/gi, blank);
}

/** Only comments, without their signs, and texts; everything else is blank, so that offsets stay. */
function proseOfTypeScript(text) {
  const source = ts.createSourceFile("x.ts", text, ts.ScriptTarget.Latest, true);
  const kept = new Map();
  const keep = ({ pos, end }) => kept.set(pos, end);
  const visit = (node) => {
    for (const range of ts.getLeadingCommentRanges(text, node.pos) ?? []) keep(range);
    for (const range of ts.getTrailingCommentRanges(text, node.end) ?? []) keep(range);
    if (ts.isStringLiteralLike(node) || ts.isTemplateLiteralToken(node)) keep({ pos: node.getStart(), end: node.end });
    for (const child of node.getChildren(source)) visit(child);
  };
  visit(source);
  let prose = "";
  for (const [pos, end] of [...kept].sort(([a], [b]) => a - b)) {
    if (end <= prose.length) continue;
    prose += blank(text.slice(prose.length, pos));
    prose += text.slice(pos, end).replace(/^[ \t]*(?:\/\/+|\/\*+|\*\/|\*)/gm, blank);
  }
  return prose + blank(text.slice(prose.length));
}

/** The places in `files` (text by path) that have such a phrase. `allowed`: [file, sentence] that may stay. */
export function checkProse(files, allowed = []) {
  return Object.entries(files).flatMap(([file, text]) => {
    let prose = file.endsWith(".md") ? proseOfMarkdown(file, text) : proseOfTypeScript(text);
    const problems = [];
    const literal = (sentence) => sentence.replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replace(/\s+/g, "\\s+");
    for (const [, sentence] of allowed.filter(([name]) => name === file)) {
      const shorter = prose.replace(new RegExp(literal(sentence)), blank);
      if (shorter === prose) problems.push({ offset: 0, what: `allowed, and not there: ${sentence}` });
      prose = shorter;
    }
    for (const [pattern, instead] of PHRASES)
      for (const { 0: found, index } of prose.matchAll(pattern))
        problems.push({ offset: index, what: `"${oneLine(found).trim()}": ${instead}` });
    return problems
      .sort((a, b) => a.offset - b.offset)
      .map(({ offset, what }) => `${file}:${lineAt(text, offset)}: ${what}`);
  });
}

// node test-host/checks/prose.mjs [PATH...]: the check of this repository, or of what lies below these paths
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = fileURLToPath(new URL("../..", import.meta.url));
  const list = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], {
    cwd: root,
    encoding: "utf8",
  });
  const below = process.argv.slice(2).map((path) => path.replace(/^\.\/|\/$/g, ""));
  const isRead = (path) =>
    (/^(?:[^/]+|(?:docs|boards|examples)\/.*)\.md$/.test(path) || /^src\/.*\.ts$/.test(path)) &&
    existsSync(root + path) &&
    (!below.length || below.some((one) => path === one || path.startsWith(`${one}/`)));
  const paths = list.split("\n").filter(isRead);
  const files = Object.fromEntries(paths.map((path) => [path, readFileSync(root + path, "utf8")]));
  const problems = checkProse(
    files,
    ALLOWED.filter(([file]) => paths.includes(file)),
  );
  for (const problem of problems) console.error(problem);
  process.exitCode = problems.length ? 1 : 0;
}
