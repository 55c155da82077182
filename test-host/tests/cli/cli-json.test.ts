// The JSON of a manifest: what the command takes and refuses. The device runs the same table.
import assert from "node:assert/strict";
import { test } from "node:test";
import { jsonProblem } from "../../../src/cli/formats/json.ts";
import { JSON_TEXTS } from "../../vectors/json.ts";

test("the command takes the table's texts, and refuses the rest", () => {
  assert.ok(JSON_TEXTS.length >= 60);
  assert.equal(new Set(JSON_TEXTS.map(([text]) => text)).size, JSON_TEXTS.length, "a text occurs twice");
  for (const [text, accepted] of JSON_TEXTS)
    assert.equal(jsonProblem(text) === null, accepted, `${JSON.stringify(text)}: ${jsonProblem(text)}`);
});

test("what is wrong with a text is named on one short line", () => {
  const cases: [string, RegExp][] = [
    [`{"a":1,"a":2}`, /^the key "a" comes twice, or is written with an escape$/],
    [`{"\\u0061":1}`, /^the key "\\u0061" comes twice, or is written with an escape$/],
    [`{"a":[1e5]}`, /^the number 1e5 has an exponent$/],
    [` {}`, /^expected a JSON object and nothing around it$/],
    [`[]`, /^expected a JSON object and nothing around it$/],
    [`{"a":07}`, /^not JSON: /],
    [`{"a":${" ".repeat(7000)}x}`, /^not JSON: /],
    [`{"${"k".repeat(7000)}\\n":1}`, /^the key "k+\.\.\. comes twice/],
    [`{"a":1${"0".repeat(7000)}e1}`, /^the number 10+\.\.\. has an exponent$/],
  ];
  for (const [text, says] of cases) {
    const problem = jsonProblem(text) ?? "";
    assert.match(problem, says);
    assert.ok(problem.length < 200, `${problem.length} characters`);
  }
});

test("a text of any size and nesting is checked fast", () => {
  const begun = performance.now();
  const size = 1_000_000;
  assert.equal(jsonProblem(`{"a":"${"x".repeat(size)}"}`), null);
  assert.equal(jsonProblem(`{"a":"${'\\"'.repeat(size)}"}`), null);
  assert.equal(jsonProblem(`{"a":${" ".repeat(size)}1}`), null);
  assert.notEqual(jsonProblem(`{"a":"${"\\".repeat(size + 1)}"}`), null);
  assert.notEqual(jsonProblem('"'.repeat(size)), null);
  assert.notEqual(jsonProblem("{".repeat(size)), null);
  assert.equal(jsonProblem(`{"a":${"[".repeat(3000)}${"]".repeat(3000)}}`), null);
  assert.ok(performance.now() - begun < 10_000);
});
