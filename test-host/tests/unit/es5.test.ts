// What checkEs5 must let pass and what it must catch, as a table. Each bad snippet was seen to fail, or to mean
// something else, in Espruino 2v29.277 (docs/espruino.md#what-es5-lacks-here), and names the one problem that it has.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { checkEs5 } from "../../checks/es5.mjs";

const GOOD: [title: string, code: string][] = [
  ["nothing", ""],
  ["a module", "var http = require('http');\nfunction a() { return http; }\nexports.a = a;\nmodule.exports = a;"],
  ["a function that calls itself", "function f(n) { return n ? f(n - 1) : 0; }"],
  ["a named function expression that calls itself", "var f = function g(n) { return n ? g(n - 1) : 0; };"],
  ["a var that is named in its own value", "var x = x || 1;"],
  ["a function value that names its own var", "var f = function () { return f; };"],
  [
    "an outer name used in an inner function below it",
    "var a = 1;\nfunction f() { return function () { return a; }; }",
  ],
  [
    "an outer name set below an inner function that uses it",
    "var a;\nfunction f() { return a(); }\na = function () {};",
  ],
  ["a parameter with the name of a later var", "function f(late) { return late; }\nvar late = 1;"],
  ["a parameter declared again", "function f(a) { a = a || 1; var a; return a; }"],
  ["a catch parameter with the name of a later var", "try { f(); } catch (late) { g(late); }\nvar late = 1;"],
  ["a local with the name of a later function", "function f() { var late = 1; return late; }\nfunction late() {}"],
  ["the same name in two scopes", "function f() { var i = 1; return i; }\nfunction g() { var i = 2; return i; }"],
  ["arguments", "function f() { return arguments.length; }"],
  ["two declarations in two branches", "function f(a) { if (a) { var x = 1; g(x); } else { var x = 2; g(x); } }"],
  ["a var declared in a loop head", "function f(n) { for (var i = 0; i < n; i++) g(i); return i; }"],
  ["a var declared by for-in", "function f(o) { for (var k in o) g(k); return k; }"],
  ["a var declared in a do-while body", "function f() { do { var x = g(); } while (x); return x; }"],
  ["a var used in the branch that declares it, from a closure", "if (a) { var x = 1; g(function () { return x; }); }"],
  ["a var used in the same case", "switch (a) { case 1: var x = 1; g(x); break; default: h(); }"],
  ["a var in finally", "try { f(); } finally { var x = 1; }\ng(x);"],
  ["default last", "switch (a) { case 1: f(); default: g(); }"],
  ["return with its value on the line", "function f() { return (\n1\n); }\nfunction g() { return { a: 1 }; }"],
  ["bare return", "function f(a) { if (a) return; if (!a) { return } }"],
  ["bare return with a comment", "function f() { return /* nothing */; }"],
  ["getters and setters", "var o = { get a() { return 1; }, set a(v) { f(v); } };"],
  ["division", "var a = 4, b = 2, c = a / b / 2;"],
  ["typeof of what is missing", "var has = typeof Symbol !== 'undefined';"],
  ["missing names as properties", "o.Map = 1; f(o.Symbol, { Set: 1 });"],
  ["a local that has a missing name", "var Map = f(); Map.a = 1; new Map();"],
  ["methods that exist", "[].slice.call(a); 'a'.lastIndexOf('b'); Object.keys(o); Promise.all([]); Math.floor(1);"],
  ["Object.prototype", "Object.prototype.hasOwnProperty.call(o, 'a');"],
  ["own prototypes", "function A() {}\nA.prototype.f = function () {};\nA.prototype.f.call(0);"],
  ["reading length", "var n = a.length + b['length'];"],
  ["of as a property", "o.of = { of: 1 };"],
  ["one underscore", "var _a = 1; o.a_ = 1; o._b = 2;"],
  ["escapes", "var s = '\\xff\\n\\0';"],
  ["a do-while around one call", "do f(); while (a);"],
  ["split without a limit", "'a,b'.split(',');"],
  ["reserved words as properties", "o.default = o.delete; var p = { in: 1 };"],
];

const BAD: [title: string, code: string, problem: string][] = [
  // Syntax
  ["newer syntax", "var f = () => 1;", "1:10: not ES5: Unexpected token"],
  ["let", "var a;\nlet b = 1;", "2:5: not ES5: Unexpected token"],
  ["a template", "f(`a`);", "1:3: not ES5: Unexpected character '`'"],
  ["a label", "a: for (;;) { break a; }", "1:1: label 'a'"],
  ["case after default", "switch (a) { default: f(); case 1: g(); }", "1:28: case after default"],
  ["a regular expression", "f(/a/);", "1:3: regular expression"],
  ["with", "with (a) { f(); }", "1:1: with statement"],
  ["debugger", "debugger;", "1:1: debugger statement stops the device in its debugger"],
  ["do if while", "do if (a) f(); while (b);", "1:4: do-while body is neither a block nor an expression"],
  ["a continued string", "f('a\\\nb');", "1:3: line continuation in a string"],
  [
    "return, newline",
    "function f() { return\n1; }",
    "1:16: return is followed neither by ';' nor by '}' on the same line",
  ],
  ["return, comment with a newline", "function f() { return /*\n*/ 1; }", "1:16: return is followed neither by ';'"],
  ["return, newline, brace", "function f() { return\n}", "1:16: return is followed neither by ';'"],
  ["return before a line comment", "function f() { return // x\n; }", "1:16: return is followed neither by ';'"],
  // Characters
  ["a character beyond ASCII in a string", "f('\u00ff');", "1:4: character U+00FF is not printable ASCII"],
  ["... in a comment", "f();\n// \u2026", "2:4: character U+2026 is not printable ASCII"],
  ["... beyond 16 bits", "f('\u{1f600}');", "1:4: character U+1F600 is not printable ASCII"],
  ["a control character", "f('\u0001');", "1:4: character U+0001 is not printable ASCII"],
  // Names
  ["a helper", "var __assign = f();", "1:5: name '__assign' begins with two underscores"],
  ["... as a property", "f(o.__esModule);", "1:5: name '__esModule' begins with two underscores"],
  ["... as a key", "f({ __proto__: a });", "1:5: name '__proto__' begins with two underscores"],
  ["... as a parameter", "function f(__x) {}", "1:12: name '__x' begins with two underscores"],
  ["of", "var of = 1;", "1:5: name 'of'"],
  // Order
  ["a function called above", "f();\nfunction f() {}", "1:1: function 'f' is used before its declaration at 2:1"],
  ["exports above", "exports.f = f;\nfunction f() {}", "1:13: function 'f' is used before its declaration at 2:1"],
  [
    "a later function, from inside a function",
    "function f() { return g(); }\nfunction g() {}",
    "1:23: function 'g' is used before its declaration at 2:1",
  ],
  [
    "a nested function called above",
    "function f() { g(); function g() {} }",
    "1:16: function 'g' is used before its declaration at 1:21",
  ],
  ["a var read above", "f(x);\nvar x = 1;", "1:3: var 'x' is used before its declaration at 2:5"],
  ["a var written above", "x = 1;\nvar x;", "1:1: var 'x' is used before its declaration at 2:5"],
  [
    "a var read in the value of an earlier one",
    "var a = b, b = 1;",
    "1:9: var 'b' is used before its declaration at 1:12",
  ],
  [
    "an outer var that is declared later, from inside",
    "function f() { return late; }\nvar late = 1;",
    "1:23: var 'late' is used before its declaration at 2:5",
  ],
  [
    "an inner var that shadows an outer one, above it",
    "var x = 1;\nfunction f() { var y = x; var x = 2; return y; }",
    "2:24: var 'x' is used before its declaration at 2:31",
  ],
  [
    "a global that a later var shadows",
    "function f() { E.a(); var E = 1; }",
    "1:16: var 'E' is used before its declaration at 1:27",
  ],
  ["the outer name in a catch clause", "try { f(); } catch (e) { g(x); }\nvar x;", "1:28: var 'x' is used before"],
  ["a catch parameter's name outside", "try { f(); } catch (e) {}\ng(e);\nvar e;", "2:3: var 'e' is used before"],
  [
    "a function expression's name outside",
    "var f = function g() {};\ng();\nfunction g() {}",
    "2:1: function 'g' is used",
  ],
  ["an assignment by for-in above", "for (k in o) f();\nvar k;", "1:6: var 'k' is used before its declaration at 2:5"],
  // Declarations that may be passed over
  [
    "a var of the other branch",
    "if (a) { var x = 1; } else { x = 2; }",
    "1:30: var 'x' is used where its declaration at 1:14",
  ],
  [
    "a var of a branch, below",
    "if (a) var x = 1;\nf(x);",
    "2:3: var 'x' is used where its declaration at 1:12 may not have run",
  ],
  ["a var of a loop body, below", "for (;a;) { var x = 1; }\nf(x);", "2:3: var 'x' is used where its declaration"],
  ["a loop head in a loop, below", "while (a) { for (var i = 0; ; ); }\ni = 0;", "2:1: var 'i' is used where its"],
  [
    "a var of another case",
    "switch (a) { case 1: var x = 1; case 2: f(x); }",
    "1:43: var 'x' is used where its declaration",
  ],
  ["a var of a try block, in catch", "try { f(); var x = 1; } catch (e) { g(x); }", "1:39: var 'x' is used where its"],
  ["a var of a catch block, below", "try { f(); } catch (e) { var x = 1; }\ng(x);", "2:3: var 'x' is used where its"],
  [
    "a var of a branch, from a closure",
    "if (a) { var x = 1; }\nf(function () { return x; });",
    "2:24: var 'x' is used where",
  ],
  [
    "a function of a branch, below",
    "if (a) { function f() {} }\nf();",
    "2:1: function 'f' is used where its declaration",
  ],
  // What is missing
  ["a missing global", "new Map();", "1:5: global 'Map' is missing"],
  ["... called", "function f() { queueMicrotask(g); }", "1:16: global 'queueMicrotask' is missing"],
  ["... thrown", "throw new RangeError('a');", "1:11: global 'RangeError' is missing"],
  ["... extended", "f(Symbol.iterator);", "1:3: global 'Symbol' is missing"],
  ["a missing static method", "Math.imul(1, 2);", "1:1: 'Math.imul' is missing"],
  ["... by index", "Object['freeze'](o);", "1:1: 'Object.freeze' is missing"],
  ["a missing method", "a.codePointAt(0);", "1:3: method 'codePointAt' is missing"],
  ["finally on a promise", "p.then(f).finally(g);", "1:11: method 'finally' is missing"],
  ["a native prototype", "Array.prototype.slice.call(a);", "1:1: 'Array.prototype.slice' is undefined"],
  ["... by index", "f(String['prototype']['trim']);", "1:3: 'String.prototype.trim' is undefined"],
  ["element size", "f(a.BYTES_PER_ELEMENT);", "1:5: 'BYTES_PER_ELEMENT' is undefined"],
  ["setting a length", "a.length = 0;", "1:1: assignment to 'length'"],
  ["... by index", "a['length'] = 0;", "1:1: assignment to 'length'"],
  ["... by operator", "a.b.length--;", "1:1: assignment to 'length'"],
  ["split with a limit", "'a,b'.split(',', 1);", "1:18: split ignores its limit"],
  // Leaks
  ["an undeclared name", "leak = 1;", "1:1: 'leak' is assigned but not declared"],
  ["... counted", "function f() { leak++; }", "1:16: 'leak' is assigned but not declared"],
  ["... by for-in", "for (leak in o) f();", "1:6: 'leak' is assigned but not declared"],
];

for (const [title, code] of GOOD) {
  test(`lets pass: ${title}`, () => assert.deepEqual(checkEs5(code, "x.js"), []));
}

for (const [title, code, problem] of BAD) {
  test(`catches: ${title}`, () => {
    const problems = checkEs5(code, "x.js");
    assert.equal(problems.length, 1, problems.join("\n"));
    assert.ok(`${problems[0]} `.startsWith(`x.js:${problem}`), problems[0]);
    // A column that is only the beginning of another number is not the one that was meant.
    assert.doesNotMatch(problems[0].slice(`x.js:${problem}`.length), /^\d/);
  });
}

test("names the file, and lists problems in the order of the text", () => {
  const code = "f(/a/);\na: for (;;) break a;\nf('\u00ff');\nnew Map();\n";
  assert.deepEqual(checkEs5(code, "build/https-ota.js"), [
    "build/https-ota.js:1:3: regular expression",
    "build/https-ota.js:2:1: label 'a'",
    "build/https-ota.js:3:4: character U+00FF is not printable ASCII",
    "build/https-ota.js:4:5: global 'Map' is missing",
  ]);
  assert.match(checkEs5("a: f();")[0], /^code:1:1: /);
});

test("lateNames trusts inner functions, and nothing else", () => {
  const late = (code: string) => checkEs5(code, "x.js", { lateNames: true });
  assert.deepEqual(late("function f() { return g() + x; }\nfunction g() {}\nvar x = 1;"), []);
  assert.match(late("f();\nfunction f() {}")[0], /function 'f' is used before/);
  assert.match(late("function f() { var y = x; var x = 1; }")[0], /var 'x' is used before/);
  assert.match(late("(function () { return x; })();\nvar x = 1;")[0], /var 'x' is used before/);
  assert.match(late("function f() { return x; }\nif (a) { var x = 1; }")[0], /may not have run/);
});

test("checks real code: a TypeScript helper and its use", () => {
  const code = `var __extends = (this && this.__extends) || (function () { return f; })();
var A = (function (_super) { __extends(A, _super); function A() {} return A; }(Error));`;
  const problems = checkEs5(code, "x.js");
  assert.ok(problems.some((one) => one.includes("function 'A' is used before its declaration at 2:")));
  assert.ok(problems.some((one) => one.includes("'__extends' begins with two underscores")));
});

for (const name of ["https-ota.js", "https-ota.min.js"]) {
  const file = new URL(`../../../build/${name}`, import.meta.url);
  test(`build/${name} is ES5 that Espruino understands`, () => {
    assert.deepEqual(checkEs5(readFileSync(file, "utf8"), name), []);
  });
}
