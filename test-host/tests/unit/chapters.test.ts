// The build step that keeps the module small in RAM: what it moves, and that the program stays the same.

import assert from "node:assert/strict";
import { test } from "node:test";
import vm from "node:vm";
import { parse } from "acorn";
import { moveIntoChapters } from "../../../src/tools/chapters.mjs";

/** Names at the top level of `code`. */
function topLevel(code: string): string[] {
  const { body } = parse(code, { ecmaVersion: 5 }) as any;
  return body.flatMap((node: any) => node.id?.name ?? node.declarations?.map((one: any) => one.id.name) ?? []);
}

function run(code: string): any {
  const exports: any = {};
  vm.runInNewContext(code, { exports });
  return exports;
}

test("what only one exported function needs is made when it is called", () => {
  const code = `function helper(n) {\n    return n + 1;\n}\nfunction twice(n) {\n    return helper(n) * 2;\n}\nexports.twice = twice;\n`;
  const moved = moveIntoChapters(code).code;
  assert.deepEqual(topLevel(moved), ["twice"]);
  assert.equal(run(moved).twice(3), 8);
});

const SHARED = `var FACTOR = 3;
/** @chapter sums */
function double(n) {
    return times(n, 2);
}
function times(n, by) {
    return n * by;
}
/** @chapter sums */
function triple(n) {
    return double(n) + times(n, FACTOR) - times(n, 2);
}
function a(n) {
    return double(n) + triple(n);
}
function b(n) {
    return triple(n);
}
exports.a = a;
exports.b = b;
`;

test("functions of one chapter are made together, with what only they need, and only when one of them is called", () => {
  const moved = moveIntoChapters(SHARED).code;
  assert.deepEqual(topLevel(moved), ["chapterSums", "a", "b"]);
  assert.match(moved, /chapterSums\(\)\.double_\(n\) \+ chapterSums\(\)\.triple_\(n\)/);
  assert.equal(run(moved).a(5), run(SHARED).a(5));
  assert.equal(run(moved).b(5), 15);
});

test("a variable that anybody assigns stays where it is: a chapter is made anew at each call", () => {
  const code = `var count = 0;\n/** @chapter sums */\nfunction next() {\n    return ++count;\n}\nfunction a() {\n    return next();\n}\nexports.a = a;\n`;
  const moved = moveIntoChapters(code).code;
  assert.ok(topLevel(moved).includes("count"));
  const { a } = run(moved);
  a();
  assert.equal(a(), 2);
});

test("a name that would mean another thing inside of the chapter fails the build", () => {
  const code = `function helper() {\n    return 1;\n}\nfunction a(helper2) {\n    var other = helper2;\n    return helper() + other;\n}\nexports.a = a;\nvar other = 5;\nfunction b() {\n    return other;\n}\nexports.b = b;\n`;
  assert.equal(run(moveIntoChapters(code).code).a(1), 2);
  const clash = code.replace("return 1", "return other");
  assert.throws(() => moveIntoChapters(clash), /helper uses other and belongs into a, which has a other of its own/);
});

test("a function of a shared chapter is only called: a reference to it would be another one each time", () => {
  const code = SHARED.replace("return triple(n);", "return [n].map(triple);");
  assert.throws(() => moveIntoChapters(code), /b uses triple without calling it/);
});

test("an exported function is in no shared chapter", () => {
  const moved = moveIntoChapters(`${SHARED}exports.triple = triple;\n`).code;
  assert.deepEqual(topLevel(moved), ["chapterSums", "times", "triple", "a", "b"]);
  assert.equal(run(moved).a(5), run(SHARED).a(5));
});
