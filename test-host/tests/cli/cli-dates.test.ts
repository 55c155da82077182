// Times in manifests as text: what a Date cannot hold is still shown.
import assert from "node:assert/strict";
import { test } from "node:test";
import { dateText } from "../../../src/cli/ui/dates.ts";

test("a time is shown in ISO 8601, one beyond every Date as its number", () => {
  const cases: [number, RegExp][] = [
    [0, /^1970-01-01T00:00:00\.000Z$/],
    [1795373777, /^2026-11-22T18:56:17\.000Z$/],
    [8.64e12, /^\+275760-09-13T00:00:00\.000Z$/],
    [8.64e12 + 1, /^8640000000001 seconds after 1970 \(not a date\)$/],
    [Number.MAX_SAFE_INTEGER, /^9007199254740991 seconds after 1970 \(not a date\)$/],
    [Number.POSITIVE_INFINITY, /^Infinity seconds/],
    [Number.NaN, /^NaN seconds/],
  ];
  for (const [seconds, says] of cases) assert.match(dateText(seconds), says);
});
