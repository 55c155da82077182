// References that lead nowhere. Read: Markdown, comments in sources, and the published types. Checked:
//
//   [text](path#heading)        in Markdown: the file, and the heading by its anchor
//   docs/x.md#heading           anywhere: the same, and any other .md, .ts, .mts or .mjs that is named
//   docs/x.md, "Heading"        the heading by its text
//   fact 5                      only in docs/espruino.md, which has facts with numbers; elsewhere the heading is named
//   DESIGN 3, reference 3.1,    documents and lists that are not in the repository: always wrong, also in strings
//   trap 3, issue 4
//
// A name matches a file of the repository whose path ends with it. "*" stands for any part of a file name. Issues of other
// projects have to say so: "esp-idf issue 14318", or a link.

import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const FACTS = "docs/espruino.md";
const NAMED =
  /(?<![\w./*-])(?:\.{1,2}\/)*((?:[\w.-]+\/)*[\w.*-]*\w\.(?:md|ts|mts|mjs))\b(?![\w/-]|\.\w)(?:#([\w-]+))?/g;
const TITLED = /([\w./-]+\.md),\s+"([^"]+)"/g;
const FACT = /(?<![\w-])facts?\s+(\d+)/gi;
const LINK = /\[[^[\]]*\]\(([^()\s]+)\)/g;
/** What is always wrong, in strings too. */
const GONE = [
  /\b(?:DESIGN|HOUSE|STYLE|POWER-FAIL)(?:\.md)?\s+(?:[Ff]acts?\s+)?\d+(?:\.\d+)*/g,
  /\breference\s+\d+T?(?:\.\d+)*/g,
  /\btrap\s+\d+/g,
];
const ISSUE = /(?:([\w./-]+)\s+)?\bissues?\s+#?\d+/gi;
/** Addresses of other sites: what they name is elsewhere. */
const ADDRESS = /[a-z]+:\/\/[^\s)>"'`]+/gi;
const PROJECTS = ["Espruino", "EspruinoTools", "esp-idf", "arduino-esp32", "mcuboot", "littlefs"];

const blank = (text) => text.replace(/[^\n]/g, " ");
const lineAt = (text, offset) => text.slice(0, offset).split("\n").length;
const oneLine = (text) => text.replace(/\s+/g, " ");

/** Markdown without fenced blocks, which hold examples; everything else stays at its place. */
function withoutFences(markdown) {
  return markdown.replace(/^(```+)[^\n]*\n[\s\S]*?^\1[^\n]*$/gm, blank);
}

/** Only the comments, without their signs; everything else is blank, so that offsets stay. */
function commentsOf(code, hash) {
  let inBlock = false;
  const lines = code.split("\n").map((line) => {
    const open = inBlock ? 0 : line.search(/(?:^|\s)\/\*/);
    if (open >= 0) {
      const close = line.indexOf("*/", open);
      inBlock = close < 0;
      const end = close < 0 ? line.length : close;
      const text = line.slice(open, end).replace(/^(\s*)(?:\/\*+|\*)/, (sign) => blank(sign));
      return (blank(line.slice(0, open)) + text).padEnd(line.length);
    }
    const at = line.search(hash ? /(?:^|\s)#/ : /(?:^|\s)\/\//);
    if (at < 0) return blank(line);
    return blank(line.slice(0, at)) + line.slice(at).replace(/^\s*(?:#|\/\/+)/, (sign) => blank(sign));
  });
  return lines.join("\n");
}

/** Headings as { title, anchor }; an anchor that is there already gets a number, as on GitHub. */
function headingsOf(markdown) {
  const seen = new Map();
  return [...withoutFences(markdown).matchAll(/^#{1,6}[ \t]+(.+?)[ \t]*#*$/gm)].map(([, raw]) => {
    const title = raw.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1").replace(/[`*]/g, "");
    const slug = title
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .replace(/\s/g, "-");
    const count = seen.get(slug) ?? 0;
    seen.set(slug, count + 1);
    return { title, anchor: count ? `${slug}-${count}` : slug };
  });
}

export function anchorsOf(markdown) {
  return headingsOf(markdown).map(({ anchor }) => anchor);
}

/** `to` as it is seen from the file `from`; null when it leaves the repository. */
function resolve(from, to) {
  const parts = to.startsWith("/") ? [] : from.split("/").slice(0, -1);
  for (const part of to.split("/")) {
    if (part === "..") {
      if (!parts.length) return null;
      parts.pop();
    } else if (part !== "." && part !== "") parts.push(part);
  }
  return parts.join("/");
}

export function checkReferences(files, others = []) {
  const paths = [...Object.keys(files), ...others];
  const folders = new Set(paths.flatMap((path) => path.split("/").map((_, i, all) => all.slice(0, i).join("/"))));
  const exists = (path) => paths.includes(path) || folders.has(path);
  const literal = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

  /** The files whose path ends with `name`; the one beside `from` first. */
  function find(from, name) {
    const pattern = new RegExp(`(?:^|/)${name.split("*").map(literal).join("[^/]*")}$`);
    const found = paths.filter((path) => pattern.test(path));
    const beside = resolve(from, name);
    return found.sort((a, b) => Number(b === name) - Number(a === name) || Number(b === beside) - Number(a === beside));
  }

  const facts = [...(files[FACTS] ?? "").matchAll(/^Fact (\d+)\./gm)].map(([, number]) => number);

  return Object.entries(files).flatMap(([file, text]) => {
    const problems = [];
    const isMarkdown = file.endsWith(".md");
    const prose = isMarkdown ? withoutFences(text) : commentsOf(text, !/\.[a-z]+$/.test(file));
    const report = (offset, what) => problems.push({ offset, what });

    function checkAnchor(offset, target, anchor) {
      if (files[target] !== undefined && target.endsWith(".md") && !anchorsOf(files[target]).includes(anchor))
        report(offset, `${target} has no heading #${anchor}`);
    }

    // what is reported or followed is not looked at again
    let rest = prose;
    const done = (whole, index) => {
      rest = rest.slice(0, index) + blank(whole) + rest.slice(index + whole.length);
    };
    if (isMarkdown) {
      // a link in code is an example
      const links = prose.replace(/`[^`\n]*`/g, blank);
      for (const { 0: whole, 1: target, index } of links.matchAll(LINK)) {
        done(whole, index);
        if (/^[a-z]+:/i.test(target)) continue;
        const [path, anchor] = target.split("#");
        const to = path ? resolve(file, path) : file;
        if (to === null || !exists(to)) report(index, `no file ${path}`);
        else if (anchor) checkAnchor(index, to, anchor);
      }
    }
    const everything = (isMarkdown ? rest : text).replace(ADDRESS, blank);
    rest = rest.replace(ADDRESS, blank);
    for (const pattern of GONE)
      for (const { 0: whole, index } of everything.matchAll(pattern)) {
        report(index, `${oneLine(whole)}: not in the repository`);
        done(whole, index);
      }
    for (const { 0: whole, 1: before = "", index } of everything.matchAll(ISSUE)) {
      if (PROJECTS.includes(before) || /^[\w.-]+\/[\w.-]+$/.test(before)) continue;
      report(index, `${oneLine(whole.slice(before.length)).trim()}: of which project?`);
    }
    for (const { 0: whole, 1: number, index } of rest.matchAll(FACT))
      if (file !== FACTS) report(index, `${oneLine(whole)}: name the heading in ${FACTS}`);
      else if (!facts.includes(number)) report(index, `no fact ${number}`);
    for (const { 1: name, 2: title, index } of rest.matchAll(TITLED)) {
      const [found] = find(file, name);
      if (found && files[found] && !headingsOf(files[found]).some((one) => one.title === oneLine(title)))
        report(index, `${found} has no heading "${oneLine(title)}"`);
    }
    for (const { 1: name, 2: anchor, index } of rest.matchAll(NAMED)) {
      const [found] = find(file, name);
      if (!found) report(index, `no file ${name}`);
      else if (anchor) checkAnchor(index, found, anchor);
    }
    return problems
      .sort((a, b) => a.offset - b.offset)
      .map(({ offset, what }) => `${file}:${lineAt(text, offset)}: ${what}`);
  });
}

// node test-host/checks/references.mjs: the check of this repository. Its own table of wrong references is not read.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = fileURLToPath(new URL("../..", import.meta.url));
  const OWN = [
    "test-host/checks/references.mjs",
    "test-host/checks/references.d.mts",
    "test-host/tests/unit/references.test.ts",
  ];
  const list = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], {
    cwd: root,
    encoding: "utf8",
  });
  const paths = list.split("\n").filter((path) => path && existsSync(root + path));
  const isRead = (path) =>
    !OWN.includes(path) &&
    (path.startsWith("build/") ? path.endsWith(".d.ts") : path === ".ci/run" || /\.(?:md|ts|mts|mjs|js)$/.test(path));
  const files = Object.fromEntries(paths.filter(isRead).map((path) => [path, readFileSync(root + path, "utf8")]));
  // what a build makes and git ignores
  const { bin } = JSON.parse(readFileSync(`${root}package.json`, "utf8"));
  const others = [...paths.filter((path) => !isRead(path)), ...Object.values(bin)];
  const problems = checkReferences(files, others);
  for (const problem of problems) console.error(problem);
  process.exitCode = problems.length ? 1 : 0;
}
