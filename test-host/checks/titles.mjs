// Titles of tests. One is a promise of less than 80 characters, in plain English: what a template puts in counts as six
// characters, and the phrases of prose.mjs are never right. Read: the titles of test(), describe(), t.test() and overEach() in
// test-host/**/*.ts, of functions there that pass one on, of tables there that one is taken from, and `what` of the tables
// that two drivers share (*-cases.ts).

import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "./typescript.mjs";
import { checkProse } from "./prose.mjs";

const MOST = 79;
const PUT_IN = "{name}";
const MAKERS = ["test", "it", "describe", "suite", "overEach"];
/** Only to save time: a file without it has no titles. */
const MAKES = new RegExp(`\\b(?:${MAKERS.join("|")})\\(`);

/** The parts of a title in order: texts as strings, anything else as its node. */
function partsOf(node) {
  if (ts.isStringLiteralLike(node)) return [node.text];
  if (ts.isTemplateExpression(node))
    return [node.head.text, ...node.templateSpans.flatMap((span) => [span.expression, span.literal.text])];
  if (ts.isParenthesizedExpression(node)) return partsOf(node.expression);
  if (ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.PlusToken)
    return [...partsOf(node.left), ...partsOf(node.right)];
  return [node];
}

/** The argument that is the title, when this call makes a test. */
function titleOf(call) {
  const { expression: callee, arguments: args } = call;
  if (ts.isIdentifier(callee)) return MAKERS.includes(callee.text) ? args[0] : undefined;
  if (!ts.isPropertyAccessExpression(callee) || args.length < 2) return undefined;
  // t.test(title, body), test.skip(title, body); a pattern's test() takes one argument
  const { name, expression: of } = callee;
  return name.text === "test" || (ts.isIdentifier(of) && MAKERS.includes(of.text)) ? args[0] : undefined;
}

const isFunction = (node) =>
  ts.isFunctionDeclaration(node) || ts.isArrowFunction(node) || ts.isFunctionExpression(node);
const nameOf = (node) => (node.name ?? (ts.isVariableDeclaration(node.parent) ? node.parent.name : undefined))?.text;

/** Where the loop variable `name` of `binding` is in an element of the table: a path of indices and properties. */
function pathTo(name, binding) {
  if (ts.isIdentifier(binding)) return binding.text === name ? [] : undefined;
  for (const [index, element] of binding.elements.entries()) {
    if (!ts.isBindingElement(element)) continue;
    const rest = pathTo(name, element.name);
    if (rest) return [ts.isArrayBindingPattern(binding) ? index : (element.propertyName ?? element.name).text, ...rest];
  }
  return undefined;
}

/** The node at the path in a literal. */
function follow(node, [step, ...rest]) {
  if (!node || step === undefined) return node;
  if (ts.isArrayLiteralExpression(node)) return follow(node.elements[step], rest);
  if (!ts.isObjectLiteralExpression(node)) return undefined;
  return follow(node.properties.find((one) => one.name?.text === step)?.initializer, rest);
}

/** The titles of a source as { line, title }. */
export function titlesOf(text, file = "a.test.ts") {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const titles = [];
  const tables = new Map();
  /** Functions that pass a title on: name -> its place among the arguments. */
  const passing = new Map();

  const add = (node) => {
    const title = partsOf(node)
      .map((part) => (typeof part === "string" ? part : PUT_IN))
      .join("");
    titles.push({ line: source.getLineAndCharacterOfPosition(node.getStart()).line + 1, title });
  };

  /** The texts that stand for the identifier or for `identifier.property`, from a table of this file. */
  function inTable(node) {
    const path = [];
    let of = node;
    while (ts.isPropertyAccessExpression(of)) {
      path.unshift(of.name.text);
      of = of.expression;
    }
    if (!ts.isIdentifier(of)) return [];
    for (let at = of.parent; at; at = at.parent) {
      if (isFunction(at)) {
        const place = at.parameters.findIndex((one) => ts.isIdentifier(one.name) && one.name.text === of.text);
        if (place >= 0 && nameOf(at) && !path.length) passing.set(nameOf(at), place);
        if (place >= 0) return [];
      }
      if (!ts.isForOfStatement(at) || !ts.isVariableDeclarationList(at.initializer)) continue;
      let table = at.expression;
      let start = pathTo(of.text, at.initializer.declarations[0].name);
      if (!start) continue;
      if (ts.isCallExpression(table) && ts.isPropertyAccessExpression(table.expression)) {
        const { name, expression: inner } = table.expression;
        if (name.text === "entries" && ts.isIdentifier(inner) && start[0] === 1) {
          table = inner;
          start = start.slice(1);
        } else if (name.text === "entries" && table.arguments.length === 1 && start[0] === 0) {
          // Object.entries(TABLE): the keys
          const object = tables.get(table.arguments[0].text);
          return object && ts.isObjectLiteralExpression(object)
            ? object.properties.map((one) => one.name).filter((one) => one && ts.isStringLiteral(one))
            : [];
        }
      }
      const literal = ts.isIdentifier(table) ? tables.get(table.text) : table;
      if (!literal || !ts.isArrayLiteralExpression(literal)) return [];
      const found = literal.elements.map((element) => follow(element, [...start, ...path]));
      return found.filter((one) => one && (ts.isStringLiteralLike(one) || ts.isTemplateExpression(one)));
    }
    return [];
  }

  const each = (visit) => {
    const walk = (node) => {
      visit(node);
      ts.forEachChild(node, walk);
    };
    walk(source);
  };
  each((node) => {
    if (!ts.isVariableDeclaration(node) || !node.initializer || !ts.isIdentifier(node.name)) return;
    let value = node.initializer;
    while (ts.isAsExpression(value) || ts.isSatisfiesExpression(value)) value = value.expression;
    tables.set(node.name.text, value);
  });
  const take = (title) => {
    const parts = partsOf(title);
    if (parts.some((part) => typeof part === "string")) add(title);
    for (const part of parts) if (typeof part !== "string") for (const one of inTable(part)) add(one);
  };
  each((node) => {
    const title = ts.isCallExpression(node) ? titleOf(node) : undefined;
    if (title) take(title);
    if (file.endsWith("-cases.ts") && ts.isPropertyAssignment(node) && node.name.getText() === "what")
      take(node.initializer);
  });
  each((node) => {
    if (!ts.isCallExpression(node) || !ts.isIdentifier(node.expression)) return;
    const title = node.arguments[passing.get(node.expression.text)];
    if (title && !MAKERS.includes(node.expression.text)) take(title);
  });
  return titles;
}

export function checkTitles(text, file) {
  return titlesOf(text, file).flatMap(({ line, title }) => {
    const where = `${file}:${line}`;
    const phrases = checkProse({ "title.md": title }).map((one) => one.replace(/^title\.md:\d+: /, ""));
    return [
      ...(title.length > MOST ? [`${where}: ${title.length} characters, at most ${MOST}: ${title}`] : []),
      ...phrases.map((phrase) => `${where}: ${phrase}: ${title}`),
    ];
  });
}

// node test-host/checks/titles.mjs [folder ...]: the check of this repository, or of the files below these folders.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = fileURLToPath(new URL("../..", import.meta.url));
  // its cases are named by the phrases
  const OWN = "test-host/tests/unit/prose.test.ts";
  const under = process.argv.slice(2).map((folder) => folder.replace(/\/*$/, "/"));
  const files = readdirSync(`${root}test-host`, { recursive: true, encoding: "utf8" })
    .map((path) => `test-host/${path}`)
    .filter((path) => path.endsWith(".ts") && path !== OWN)
    .filter((path) => !under.length || under.some((folder) => path.startsWith(folder)))
    .sort();
  const texts = files.map((file) => [file, readFileSync(root + file, "utf8")]);
  const problems = texts
    .filter(([file, text]) => file.endsWith("-cases.ts") || MAKES.test(text))
    .flatMap(([file, text]) => checkTitles(text, file));
  for (const problem of problems) console.error(problem);
  if (problems.length) console.error(`${problems.length} in ${files.length} files`);
  process.exitCode = problems.length ? 1 : 0;
}
