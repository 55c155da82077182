// The build step that keeps the module small in RAM: what it moves, that the program stays the same, and what it refuses.

import assert from "node:assert/strict";
import { test } from "node:test";
import vm from "node:vm";
import { parse } from "acorn";
import { moveIntoScopes } from "../../../src/tools/lazy-scopes.mjs";

/** A file of a bundle: its text, and the functions that it exports. */
type File = { text: string; exported: string[] };

/** The bundle of `files` by name, and of the product's exports. */
function move(files: { [name: string]: File }, product: string[], stay: { [file: string]: string[] } = {}): string {
  const ends: { end: number; file: string; exported: string[] }[] = [];
  let code = "";
  for (const [file, { text, exported }] of Object.entries(files)) {
    code += text;
    ends.push({ end: code.length, file, exported });
  }
  code += product.map((name) => `exports.${name} = ${name};\n`).join("");
  const fileAt = (position: number) => ends.find((one) => position < one.end) ?? { file: null, exported: [] };
  return moveIntoScopes(code, fileAt, { shared: files["sums.ts"] ? { sums: ["sums.ts"] } : {}, stay }).code;
}

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

const SUMS: File = {
  text: `var FACTOR = 3;
function times(n, by) {
    return n * by;
}
function double(n) {
    return times(n, 2);
}
function triple(n) {
    return double(n) + times(n, FACTOR) - times(n, 2);
}
`,
  exported: ["double", "triple"],
};
const USERS: File = {
  text: `function a(n) {
    return double(n) + triple(n);
}
function b(n) {
    return triple(n);
}
`,
  exported: ["a", "b"],
};
const FILES = { "sums.ts": SUMS, "users.ts": USERS };

test("what only one exported function needs is made when it is called", () => {
  const text = `function helper(n) {\n    return n + 1;\n}\nfunction twice(n) {\n    return helper(n) * 2;\n}\n`;
  const moved = move({ "a.ts": { text, exported: ["twice"] } }, ["twice"]);
  assert.deepEqual(topLevel(moved), ["twice"]);
  assert.equal(run(moved).twice(3), 8);
});

test("the functions of a scope's file are made together when one is called", () => {
  const moved = move(FILES, ["a", "b"]);
  assert.deepEqual(topLevel(moved), ["lazySums", "a", "b"]);
  assert.match(moved, /lazySums\(\)\.double_\(n\) \+ lazySums\(\)\.triple_\(n\)/);
  assert.equal(run(moved).a(5), 25);
  assert.equal(run(moved).b(5), 15);
});

test("words in a comment move nothing", () => {
  const text = "// see @chapter helpers, @lazy\nfunction helper() {\n    return 1;\n}\n";
  const users = {
    text: "function a() {\n    return helper();\n}\nfunction b() {\n    return helper();\n}\n",
    exported: ["a", "b"],
  };
  const moved = move({ "h.ts": { text, exported: [] }, "u.ts": users }, ["a", "b"]);
  assert.deepEqual(topLevel(moved), ["helper", "a", "b"]);
});

for (const [what, declared, changed] of [
  ["assigned", "var state = 0;", "return ++state;"],
  ["pushed to", "var state = [];", "return state.push(1);"],
  ["written into", "var state = { n: 0 };", "state.n += 1;\n    return state.n;"],
  ["handed to somebody", "var state = [];", "var own = state;\n    return own.push(1);"],
] as const)
  test(`module state that is ${what} stays at the top level: it outlives a call`, () => {
    const text = `${declared}\nfunction next() {\n    ${changed}\n}\n`;
    const users = {
      text: "function a() {\n    return next();\n}\nfunction b() {\n    return next();\n}\n",
      exported: ["a", "b"],
    };
    const { a, b } = run(move({ "sums.ts": { text, exported: ["next"] }, "u.ts": users }, ["a", "b"]));
    assert.deepEqual([a(), b(), a()], [1, 2, 3]);
  });

test("a table that is only read moves along", () => {
  const text = "var NAMES = { a: 1 };\nfunction of(name) {\n    return NAMES[name] + Object.keys(NAMES).length;\n}\n";
  const moved = move({ "a.ts": { text, exported: ["of"] } }, ["of"]);
  assert.deepEqual(topLevel(moved), ["of"]);
  assert.equal(run(moved).of("a"), 2);
});

test("a loop makes a scope once, before its first round", () => {
  const loop = {
    text: "function a(n) {\n    var sum = 0;\n    for (var i = 0; i < n; i++)\n        sum += double(i);\n    return sum;\n}\n",
    exported: ["a"],
  };
  const moved = move(
    {
      "sums.ts": SUMS,
      "loop.ts": loop,
      "users.ts": { ...USERS, text: USERS.text.replace("a(n)", "c(n)"), exported: ["c", "b"] },
    },
    ["a", "b", "c"],
  );
  const counted = moved.replace(
    "function lazySums() {",
    "function lazySums() { exports.made = (exports.made || 0) + 1;",
  );
  const program = run(counted);
  assert.equal(program.a(4), 12);
  assert.equal(program.made, 1);
});

test("a scope that is only called on the way out of a loop is made there", () => {
  const loop = {
    text: "function a(n) {\n    for (var i = 0; i < n; i++)\n        if (i === 3)\n            return double(i);\n    return 0;\n}\n",
    exported: ["a"],
  };
  const moved = move({ "sums.ts": SUMS, "loop.ts": loop }, ["a"]);
  assert.doesNotMatch(moved, /Once/);
  assert.equal(run(moved).a(9), 6);
});

test("a function that a loop calls holds no others", () => {
  const text = `function helper(n) {\n    return n + 1;\n}\nfunction one(n) {\n    return helper(n);\n}\nfunction a(n) {\n    while (n < 9)\n        n = one(n);\n    return n;\n}\n`;
  const files = (code: string) => ({ "a.ts": { text: code, exported: ["one", "a"] } });
  const moved = move(files(text), ["a", "one"]);
  assert.deepEqual(topLevel(moved), ["helper", "one", "a"]);
  assert.equal(run(moved).a(1), 9);
  assert.deepEqual(topLevel(move(files(text.replace("while", "if")), ["a", "one"])), ["one", "a"]);
});

test("what is to stay at the top level stays there, and must exist", () => {
  const text = `function helper(n) {\n    return n + 1;\n}\nfunction twice(n) {\n    return helper(n) * 2;\n}\n`;
  const files = { "a.ts": { text, exported: ["twice"] } };
  assert.deepEqual(topLevel(move(files, ["twice"], { "a.ts": ["helper"] })), ["helper", "twice"]);
  assert.throws(() => move(files, ["twice"], { "a.ts": ["gone"] }), /a\.ts has no function gone/);
});

test("a name that would mean another thing inside of the function fails the build", () => {
  const text = `function helper() {\n    return 1;\n}\nfunction a(helper2) {\n    var other = helper2;\n    return helper() + other;\n}\nvar other = 5;\nfunction b() {\n    return other;\n}\n`;
  const files = (code: string) => ({ "a.ts": { text: code, exported: ["a", "b"] } });
  assert.equal(run(move(files(text), ["a", "b"])).a(1), 2);
  assert.throws(
    () => move(files(text.replace("return 1", "return other")), ["a", "b"]),
    /helper uses other and belongs into a, which has a other of its own/,
  );
});

test("a function of a scope is only called, never referred to", () => {
  const users = { ...USERS, text: USERS.text.replace("return triple(n);", "return [n].map(triple);") };
  assert.throws(() => move({ "sums.ts": SUMS, "users.ts": users }, ["a", "b"]), /b uses triple without calling it/);
});

test("an exported function is in no scope", () => {
  const moved = move(FILES, ["a", "b", "triple"]);
  assert.deepEqual(topLevel(moved), ["lazySums", "triple", "a", "b"]);
  assert.equal(run(moved).a(5), 25);
});
