// Tells whether code is the ES5 that Espruino understands, which is less than ES5: nothing is hoisted, parts of the
// grammar and of the library are missing. Plain JavaScript, because rollup.config.mjs uses it as well as the tests.
// Source of every rule: docs/espruino.md#what-es5-lacks-here, tried again on Espruino 2v29.277 (the tables: all names that
// Node 20 has and that interpreter has not).

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parse, tokenizer } from "acorn";
import { fullAncestor } from "acorn-walk";

const words = (text) => new Set(text.split(/\s+/));

/** Missing from the global scope. The first line is ECMAScript, the second what browsers and Node add. */
const NO_GLOBAL = words(
  `AggregateError Atomics BigInt BigInt64Array BigUint64Array EvalError FinalizationRegistry Intl Map Proxy RangeError
   Reflect Set SharedArrayBuffer Symbol URIError WeakMap WeakRef WeakSet decodeURI encodeURI escape unescape
   AbortController Blob Buffer TextDecoder TextEncoder URL URLSearchParams clearImmediate crypto fetch performance
   queueMicrotask setImmediate structuredClone`,
);

/** Missing from objects that are there themselves. */
const NO_STATIC = words(
  `Array.from Array.of ArrayBuffer.isView Date.UTC Error.captureStackTrace
   Math.acosh Math.asinh Math.atanh Math.cbrt Math.clz32 Math.cosh Math.expm1 Math.fround Math.hypot Math.imul
   Math.log10 Math.log1p Math.log2 Math.sinh Math.tanh Math.trunc
   Number.EPSILON Number.MAX_SAFE_INTEGER Number.MIN_SAFE_INTEGER Number.isFinite Number.isInteger Number.isNaN
   Number.isSafeInteger Number.parseFloat Number.parseInt
   Object.freeze Object.getOwnPropertySymbols Object.hasOwn Object.is Object.isExtensible Object.isFrozen
   Object.isSealed Object.preventExtensions Object.seal
   Promise.allSettled Promise.any Promise.race String.fromCodePoint String.raw process.nextTick
   Uint8Array.from Uint8Array.of`,
);

/** Missing from every built-in object that has them elsewhere: a call of one is a mistake whatever it is called on. */
const NO_METHOD = words(
  `codePointAt copyWithin finally findLast findLastIndex flat flatMap isPrototypeOf localeCompare matchAll normalize
   once propertyIsEnumerable reduceRight search toExponential toLocaleString toPrecision toReversed toSorted toSpliced
   trimEnd trimLeft trimRight trimStart`,
);

/** Their prototypes answer `undefined` for the native methods. Object.prototype is right, and so left out. */
const NATIVE = words(
  `Array ArrayBuffer Boolean DataView Date Error Float32Array Float64Array Function Int16Array Int32Array Int8Array
   Number Promise RegExp String TypeError Uint16Array Uint32Array Uint8Array Uint8ClampedArray`,
);

/** Given to every module (espruino.md 1.2), so assigning to them leaks nothing. */
const MODULE_NAMES = words("exports module");

const isFunction = (node) => node.type === "FunctionDeclaration" || node.type === "FunctionExpression";
const isScope = (node) => isFunction(node) || node.type === "Program" || node.type === "CatchClause";

/**
 * The problems in `code`, each as `file:line:column: what is wrong`, in the order of the text. Empty: none was found.
 * `exports` and other unknown names are taken for globals. A function may only use names that stand above it: whether
 * it is called in time cannot be seen here. With `lateNames` that is trusted, as it must be for code that the Web IDE
 * has minified: esmangle moves every function to the top of its scope.
 */
export function checkEs5(code, filename = "code", { lateNames = false } = {}) {
  const problems = [];
  const lines = code.split(/\r\n|[\r\n\u2028\u2029]/);

  function report(loc, message) {
    problems.push({ line: loc.line, column: loc.column, text: message });
  }

  for (let i = 0; i < lines.length; i++) {
    const column = lines[i].search(/[^\t\x20-\x7e]/);
    // The tools upload a character above 0x7f as two bytes (espruino.md 5.3); one report a line will do.
    if (column >= 0) report({ line: i + 1, column }, `character ${codePoint(lines[i], column)} is not printable ASCII`);
  }

  const tree = parseEs5(code, report);
  if (tree) {
    const identifiers = [];
    fullAncestor(tree, (node, _state, ancestors) => {
      const path = ancestors.slice(0, -1);
      if (node.type === "Identifier") identifiers.push({ node, path });
      checkNode(node, path, code, report);
    });
    checkNames(identifiers, lateNames, report);
  }

  problems.sort((a, b) => a.line - b.line || a.column - b.column);
  return problems.map(({ line, column, text }) => `${filename}:${line}:${column + 1}: ${text}`);
}

function codePoint(line, column) {
  return `U+${line.codePointAt(column).toString(16).toUpperCase().padStart(4, "0")}`;
}

function parseEs5(code, report) {
  try {
    return parse(code, { ecmaVersion: 5, sourceType: "script", locations: true });
  } catch (error) {
    report(error.loc, `not ES5: ${error.message.replace(/ \(\d+:\d+\)$/, "")}`);
    return null;
  }
}

// ---- One node at a time -------------------------------------------------------------------------------------------

/** What Espruino cannot parse, or understands otherwise. */
function checkNode(node, path, code, report) {
  const at = node.loc.start;
  switch (node.type) {
    case "LabeledStatement":
      return report(at, `label '${node.label.name}'`);
    case "WithStatement":
      return report(at, "with statement");
    case "DebuggerStatement":
      return report(at, "debugger statement stops the device in its debugger");
    case "SwitchStatement":
      return checkSwitch(node, report);
    case "ReturnStatement":
      return checkReturn(node, code, report);
    case "DoWhileStatement":
      // `do if (a) b(); while (c)` is a syntax error; an expression or a block is understood.
      if (node.body.type === "BlockStatement" || node.body.type === "ExpressionStatement") return;
      return report(node.body.loc.start, "do-while body is neither a block nor an expression");
    case "Literal":
      if (node.regex) return report(at, "regular expression");
      if (typeof node.value === "string" && /\\[\r\n\u2028\u2029]/.test(node.raw))
        report(at, "line continuation in a string");
      return;
    case "Identifier":
      return checkSpelling(node, report);
    case "Property":
      if (node.key.type === "Identifier") checkSpelling(node.key, report, true);
      return;
    case "MemberExpression":
      return checkMember(node, path[path.length - 1], report);
    case "AssignmentExpression":
      return checkLength(node.left, report);
    case "UpdateExpression":
      return checkLength(node.argument, report);
    case "CallExpression":
      return checkCall(node, report);
  }
}

function checkSpelling(node, report, isProperty = false) {
  if (node.name.startsWith("__")) report(node.loc.start, `name '${node.name}' begins with two underscores`);
  // A token of its own in Espruino, except as a property name.
  if (node.name === "of" && !isProperty) report(node.loc.start, "name 'of'");
}

function checkSwitch(node, report) {
  const last = node.cases.findIndex((one) => one.test === null);
  if (last < 0) return;
  for (const one of node.cases.slice(last + 1)) report(one.loc.start, "case after default");
}

/**
 * Espruino inserts no semicolon here: what follows on the next line is returned, or is a syntax error. To a JavaScript
 * parser the next line is another statement, so an argument always begins on the line of its return, and what must be
 * looked for is a bare return without `;` or `}` behind it.
 */
function checkReturn(node, code, report) {
  if (node.argument) return;
  const next = tokenAfter(code, node.start + "return".length);
  if (next && (next.text === ";" || next.text === "}") && !next.newline) return;
  report(node.loc.start, "return is followed neither by ';' nor by '}' on the same line");
}

function tokenAfter(code, offset) {
  const rest = code.slice(offset);
  try {
    const token = tokenizer(rest, { ecmaVersion: 5 }).getToken();
    if (token.end === token.start) return null;
    return { text: rest.slice(token.start, token.end), newline: /[\r\n\u2028\u2029]/.test(rest.slice(0, token.start)) };
  } catch {
    return null;
  }
}

function propertyName(node) {
  if (node.type !== "MemberExpression") return undefined;
  if (!node.computed) return node.property.name;
  return node.property.type === "Literal" ? String(node.property.value) : undefined;
}

function checkMember(node, parent, report) {
  const name = propertyName(node);
  if (!node.computed) checkSpelling(node.property, report, true);
  if (name === "BYTES_PER_ELEMENT") report(node.property.loc.start, "'BYTES_PER_ELEMENT' is undefined");
  const { object } = node;
  if (propertyName(object) === "prototype" && object.object.type === "Identifier" && NATIVE.has(object.object.name)) {
    if (!(parent.type === "AssignmentExpression" && parent.left === node)) {
      report(node.loc.start, `'${object.object.name}.prototype.${name ?? "[...]"}' is undefined`);
    }
  }
}

function checkLength(target, report) {
  if (propertyName(target) === "length") report(target.loc.start, "assignment to 'length'");
}

function checkCall(node, report) {
  const name = propertyName(node.callee);
  if (name !== undefined && NO_METHOD.has(name)) report(node.callee.property.loc.start, `method '${name}' is missing`);
  if (name === "split" && node.arguments.length > 1) report(node.arguments[1].loc.start, "split ignores its limit");
}

// ---- Names --------------------------------------------------------------------------------------------------------

/** Whether this occurrence of a name declares it, how, and in which scope. null: it is a use. */
function declarationOf({ node, path }) {
  const parent = path[path.length - 1];
  const functionScope = (nodes) => nodes.findLast((one) => isFunction(one) || one.type === "Program");
  if (isFunction(parent) && (parent.params.includes(node) || parent.type === "FunctionExpression")) {
    return { kind: "parameter", scope: parent };
  }
  if (parent.type === "FunctionDeclaration") {
    return { kind: "function", scope: functionScope(path.slice(0, -1)), start: parent.start, loc: parent.loc.start };
  }
  if (parent.type === "VariableDeclarator" && parent.id === node) {
    return { kind: "var", scope: functionScope(path), start: node.start, loc: node.loc.start };
  }
  if (parent.type === "CatchClause") return { kind: "parameter", scope: parent };
  return null;
}

/**
 * The parts of its function that a declaration stands in and that may be passed over. Espruino declares a name when it
 * comes by; elsewhere reading it throws and writing it makes a global.
 */
function optionalParts(path, scope) {
  const inside = path.slice(path.lastIndexOf(scope) + 1);
  return inside.filter((node, i) => {
    const parent = inside[i - 1] ?? scope;
    if (node.type === "SwitchCase" || node.type === "CatchClause") return true;
    if (parent.type === "IfStatement") return node !== parent.test;
    if (parent.type === "TryStatement") return node === parent.block;
    return (
      (parent.type === "ForStatement" || parent.type === "ForInStatement" || parent.type === "WhileStatement") &&
      node === parent.body
    );
  });
}

function collectDeclarations(identifiers) {
  const scopes = new Map();
  for (const one of identifiers) {
    const found = declarationOf(one);
    if (!found) continue;
    if (!scopes.has(found.scope)) scopes.set(found.scope, new Map());
    const names = scopes.get(found.scope);
    if (!names.has(one.node.name)) names.set(one.node.name, []);
    const parts = found.kind === "parameter" ? [] : optionalParts(one.path, found.scope);
    names.get(one.node.name).push({ ...found, parts });
  }
  return scopes;
}

/** Uses of a declared name must stand below its declaration; uses of others must be of what Espruino has. */
function checkNames(identifiers, lateNames, report) {
  const scopes = collectDeclarations(identifiers);
  for (const one of identifiers) {
    if (declarationOf(one)) continue;
    const { node, path } = one;
    const scope = path.findLast((outer) => isScope(outer) && scopes.get(outer)?.has(node.name));
    if (scope) {
      const late = lateNames && runsLater(path.slice(path.lastIndexOf(scope) + 1));
      checkOrder(node, path, scopes.get(scope).get(node.name), late, report);
    } else if (!(node.name === "arguments" && path.some(isFunction))) checkGlobal(node, path, report);
  }
}

/** Whether these nodes, outermost first, contain a function that is not called on the spot. */
function runsLater(nodes) {
  return nodes.some((node, i) => isFunction(node) && !(i > 0 && nodes[i - 1].callee === node));
}

function checkOrder(node, path, declarations, late, report) {
  if (declarations.some((one) => one.kind === "parameter")) return;
  const first = declarations.reduce((a, b) => (b.start < a.start ? b : a));
  const where = `${first.loc.line}:${first.loc.column + 1}`;
  const before = late ? declarations : declarations.filter((one) => one.start <= node.start);
  if (before.length === 0) {
    report(node.loc.start, `${first.kind} '${node.name}' is used before its declaration at ${where}`);
  } else if (!before.some((one) => one.parts.every((part) => path.includes(part)))) {
    report(node.loc.start, `${first.kind} '${node.name}' is used where its declaration at ${where} may not have run`);
  }
}

function checkGlobal(node, path, report) {
  const parent = path[path.length - 1];
  const at = node.loc.start;
  const isTypeof = parent.type === "UnaryExpression" && parent.operator === "typeof";
  if (NO_GLOBAL.has(node.name) && !isTypeof) report(at, `global '${node.name}' is missing`);
  if (parent.type === "MemberExpression" && parent.object === node) {
    const name = `${node.name}.${propertyName(parent)}`;
    if (NO_STATIC.has(name)) report(at, `'${name}' is missing`);
  }
  const isTarget =
    (parent.type === "AssignmentExpression" && parent.left === node) ||
    (parent.type === "ForInStatement" && parent.left === node) ||
    parent.type === "UpdateExpression";
  if (isTarget && !MODULE_NAMES.has(node.name)) report(at, `'${node.name}' is assigned but not declared`);
}

// node test-host/checks/es5.mjs FILE...: the check by hand, and in npm run check
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const problems = process.argv.slice(2).flatMap((file) => checkEs5(readFileSync(file, "utf8"), file));
  for (const problem of problems) console.error(problem);
  process.exitCode = problems.length ? 1 : 0;
}
