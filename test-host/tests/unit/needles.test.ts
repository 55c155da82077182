// The engine's search takes the beginning of a needle for the needle at the end of a text (test-host/sim/contract/strings-find.js),
// so a needle of the device module has one character, or what it finds is looked at again.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import ts from "../../checks/typescript.mjs";
import { leftOut } from "../../support/share.ts";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const SEARCHES = new Set(["indexOf", "lastIndexOf", "includes", "replace", "replaceAll", "match", "split"]);

/** Longer needles that are left: file, needle, and what keeps a beginning of it from deciding. */
const LOOKED_AT: [file: string, needle: string, why: string][] = [
  ["jws.ts", '",}"', "found too often it only refuses more, and parseJson refuses what it is for"],
  ["storage.ts", '"Couldn\'t map "', "what follows it is read from flash and compared, though not the needle again"],
];

type Found = { file: string; line: number; call: string; needle: string };

/** At most one character, whatever runs: text[i], "x", a const of these, one of two such values. */
function isShort(node: ts.Expression, checker: ts.TypeChecker): boolean {
  if (ts.isParenthesizedExpression(node) || ts.isNonNullExpression(node)) return isShort(node.expression, checker);
  if (ts.isStringLiteralLike(node)) return node.text.length <= 1;
  if (ts.isElementAccessExpression(node)) return isText(node.expression, checker);
  if (ts.isConditionalExpression(node)) return isShort(node.whenTrue, checker) && isShort(node.whenFalse, checker);
  if (ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.BarBarToken) {
    return isShort(node.left, checker) && isShort(node.right, checker);
  }
  if (!ts.isIdentifier(node)) return false;
  const declaration = checker.getSymbolAtLocation(node)?.valueDeclaration;
  if (!declaration || !ts.isVariableDeclaration(declaration) || !declaration.initializer) return false;
  const isConst = (ts.getCombinedNodeFlags(declaration) & ts.NodeFlags.Const) !== 0;
  return isConst && isShort(declaration.initializer, checker);
}

function isText(node: ts.Expression, checker: ts.TypeChecker): boolean {
  const type = checker.getTypeAtLocation(node);
  return (type.flags & ts.TypeFlags.StringLike) !== 0;
}

/** An array compares whole elements; of anything else that may be text the needle counts. */
function isArray(node: ts.Expression, checker: ts.TypeChecker): boolean {
  const type = checker.getNonNullableType(checker.getTypeAtLocation(node));
  return checker.isArrayType(type) || checker.isTupleType(type);
}

/** Every search for more than one character in `files`. */
function longNeedles(files: string[], overlay: Record<string, string> = {}): Found[] {
  const config = ts.readConfigFile(path.join(ROOT, "tsconfig.src.json"), (file) => readFileSync(file, "utf8"));
  const { options } = ts.parseJsonConfigFileContent(config.config, ts.sys, ROOT);
  const host = ts.createCompilerHost({ ...options, noEmit: true });
  const { readFile, fileExists } = host;
  host.readFile = (file) => overlay[file] ?? readFile(file);
  host.fileExists = (file) => file in overlay || fileExists(file);
  const program = ts.createProgram([...files, ...Object.keys(overlay)], { ...options, noEmit: true }, host);
  const checker = program.getTypeChecker();
  const found: Found[] = [];
  for (const source of program.getSourceFiles()) {
    if (source.isDeclarationFile) continue;
    const visit = (node: ts.Node): void => {
      ts.forEachChild(node, visit);
      if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression)) return;
      const { name, expression: searched } = node.expression;
      if (!SEARCHES.has(name.text) || isArray(searched, checker)) return;
      const needle = node.arguments[0];
      if (needle && isShort(needle, checker)) return;
      const line = source.getLineAndCharacterOfPosition(node.getStart()).line + 1;
      found.push({
        file: path.basename(source.fileName),
        line,
        call: name.text,
        needle: needle?.getText() ?? "",
      });
    };
    visit(source);
  }
  return found;
}

const SAMPLE = path.join(ROOT, "src", "sample.ts");
const findIn = (code: string): string[] => longNeedles([], { [SAMPLE]: code }).map(({ needle }) => needle);

test("no needle longer than one character decides anything in the device module", () => {
  const found = longNeedles([path.join(ROOT, "src", "index.ts")]);
  const open = found.filter((one) => !LOOKED_AT.some(([file, needle]) => file === one.file && needle === one.needle));
  assert.deepEqual(open, []);
  assert.equal(found.length, LOOKED_AT.length, "each exception is there once");
});

test("a longer needle is found by literal, variable, parameter and call", (t) => {
  if (leftOut(t, 2, "of needles")) return;
  const long = [
    'text.indexOf("ab")',
    "text.includes(long)",
    "text.split(given)",
    "text.replace(text.substr(1, 2), '')",
    "text.lastIndexOf(changed)",
    'any.indexOf("ab")',
    'text.match(text ? "a" : "ab")',
  ];
  const declared = 'declare const text: string; declare const any: any; const long = "ab"; let changed = "a"; ';
  for (const call of long) assert.equal(findIn(`${declared} function f(given: string) { ${call}; }`).length, 1, call);
});

test("one character, and what is searched in an array, are no longer needle", (t) => {
  if (leftOut(t, 2, "of needles")) return;
  const short = [
    'text.indexOf("a")',
    'text.indexOf(text[1] || " ")',
    "text.includes(c)",
    'list.indexOf("abc")',
    'maybe!.indexOf("abc")',
    'text.split("")',
  ];
  const declared = "declare const text: string; declare const list: string[]; declare const maybe: string[] | null;";
  for (const call of short) assert.deepEqual(findIn(`${declared} const c = text[0]; ${call};`), [], call);
});
