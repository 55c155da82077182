// docs/errors.md and docs/api.md: fresh, complete, and their examples run.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { before, describe, test } from "node:test";
import ts from "../../checks/typescript.mjs";
import texts from "../../../src/tools/error-texts.mjs";
import { apiText, codes, errorsText, typeTexts } from "../../../src/tools/docs.mjs";
import { checkEs5 } from "../../checks/es5.mjs";
import { fsverity } from "../../support/fsverity.ts";
import { claimsFor, type Key, makeKey, signManifest } from "../../support/release.ts";
import { behaves, newImage, oldImage, createFixture, until } from "../../support/fixture.ts";
import { serveFile } from "../../support/server.ts";

const ROOT = new URL("../../../", import.meta.url);
const read = (path: string): string => readFileSync(new URL(path, ROOT), "utf8");
const API = read("docs/api.md");

describe("docs/errors.md", () => {
  test("is what npm run docs makes", () => {
    assert.equal(read("docs/errors.md"), errorsText());
  });

  test("has each code of the module, and no other", () => {
    assert.deepEqual(Object.keys(texts).sort(), Object.keys(codes()).sort());
    assert.ok(Object.keys(texts).length > 25);
    const headings = [...read("docs/errors.md").matchAll(/^### (\S+)$/gm)].map(([, name]) => name);
    assert.equal(headings.length, Object.keys(texts).length);
    for (const name of headings) assert.match(name, /^ESP_(OK|FAIL|ERR_[A-Z_]+)$/);
  });

  test("quotes only what src/ says", () => {
    const sources = readdirSync(new URL("src/", ROOT), { recursive: true, encoding: "utf8" })
      .filter((path) => path.endsWith(".ts") && !path.startsWith("cli"))
      .map((path) => read(`src/${path}`));
    const said = new Set<string>();
    for (const source of sources) {
      const visit = (node: ts.Node): void => {
        if (ts.isStringLiteral(node)) said.add(node.text);
        ts.forEachChild(node, visit);
      };
      visit(ts.createSourceFile("x.ts", source, ts.ScriptTarget.Latest));
    }
    const all = [...said].join("\n");
    const quoted = Object.values(texts).flatMap(({ cases = [] }) => cases.map(([message]) => message));
    assert.ok(quoted.length > 60, String(quoted.length));
    assert.deepEqual(
      quoted.filter((message) => !all.includes(message)),
      [],
      "src/tools/error-texts.mjs quotes messages that src/ no longer has",
    );
  });
});

// --- docs/api.md -------------------------------------------------------------------------------------------------------

/** Heading -> what stands below it, up to the next one. */
const sections = new Map(
  API.split(/^#{2,3} /m)
    .slice(1)
    .map((text) => [text.slice(0, text.indexOf("\n")), text.slice(text.indexOf("\n"))] as const),
);
const blocksIn = (text: string): string[] => [...text.matchAll(/^```js\n([\s\S]*?)^```$/gm)].map(([, code]) => code);
const [BEGINNING, ...EXAMPLES] = blocksIn(API);

describe("docs/api.md", () => {
  test("is what npm run docs makes", () => {
    assert.equal(API, apiText(API));
    assert.throws(() => apiText("<!-- types: nothing -->\n<!-- end -->"), /has no nothing/);
  });

  test("has each function and type that is published, under a heading of its name", () => {
    const exported = [...read("build/https-ota.d.ts").matchAll(/^export (?:type )?\{ (.*) \};$/gm)]
      .flatMap(([, names]) => names.split(", "))
      .filter((name) => name !== "ERR");
    assert.ok(exported.length > 30, String(exported));
    for (const name of exported) {
      assert.ok(sections.get(name)?.includes(`<!-- types: ${name} -->`), `no heading and part for ${name}`);
      assert.ok(typeTexts()[name].length > 40, `${name} says nothing`);
    }
  });

  test("has an example at each function", () => {
    const functions = Object.entries(typeTexts()).filter(([, text]) => text.startsWith("```ts"));
    assert.ok(functions.length > 15);
    for (const [name] of functions) assert.ok(blocksIn(sections.get(name) ?? "").length > 0, name);
  });
});

// --- Its examples ------------------------------------------------------------------------------------------------------

/** What the examples of a heading print, a line each; "restarts" when the device restarts. */
const OUTCOMES: [string, ...(RegExp | "restarts")[]][] = [
  ["update", /^installed in ota_0$/, "restarts"],
  ["checkForUpdate", /^version 2\.0\.2, 61008 bytes$/],
  ["begin", "restarts"],
  ["Handle", /^\d+ of 61008 bytes in ota_0$/, /^HTTP 20[06], complete: false$/],
  ["Handle", /^2\.0\.2$/],
  ["abort", /^ESP_ERR_INVALID_STATE$/],
  ["restart"],
  ["Config", "restarts"],
  ["CommonConfig", "restarts"],
  ["UpdateEvent", /^4096 of 61008$/, "restarts"],
  ["boot", /^confirmed$/],
  ["confirmAfter"],
  ["markValid"],
  ["rollback", "restarts"],
  ["canRollback", /^there is an image to go back to$/],
  ["file", /^ESP_ERR_NOT_FOUND$/],
  ["compactStorage"],
  ["poll"],
  ["report", /^ESP_\w+$|^reported$/],
  ["getStatus", /^{"version":"2v\d+.*","running":"factory","trial":null,"last":"","why":""}$/],
  ["getRunningPartition", /^factory at 0x10000$/],
  ["getBootPartition"],
  ["getNextUpdatePartition", /^room for \d+ bytes$/],
  ["getDescription", /^v\d.*$/],
  ["getBootloaderDescription", /^ESP_ERR_NOT_FOUND$/],
  ["getLastInvalidPartition", /^none$/],
  ["getState", /^ESP_ERR_NOT_FOUND$/],
  ["findPartition", /^\d+ KB$/],
  ["setBootPartition", "restarts"],
  ["ERR", "restarts"],
];

describe("examples of docs/api.md", () => {
  let key: Key;
  before(async () => {
    key = await makeKey({ exponent: 3 });
  });

  test("each has an outcome here", () => {
    const owners = [...sections].flatMap(([heading, text]) => blocksIn(text).map(() => heading));
    assert.deepEqual(
      OUTCOMES.map(([heading]) => heading),
      owners,
    );
  });

  for (const [index, [heading, ...outcome]] of OUTCOMES.entries()) {
    const lines = outcome.filter((one): one is RegExp => one !== "restarts");
    test(`${heading}, example ${index + 1}`, async (t) => {
      const image = newImage();
      // the other slot holds an image that is not the one on offer, for those who go there
      const other =
        outcome.includes("restarts") || heading === "rollback" ? newImage("esp32", 3) : newImage("esp32", 4);
      const fixture = await createFixture(t, { image, load: { factory: oldImage(), ota_0: other } });
      const { device, server } = fixture;
      const manifest = await signManifest(claimsFor(image), key);
      server.on("/m.jws", serveFile(Buffer.from(manifest, "latin1")));
      const code = `${BEGINNING}\n${EXAMPLES[index]}`;
      assert.deepEqual(checkEs5(code, heading), []);
      const program = code
        .replace('"https://example.com/firmware/firmware.jws"', JSON.stringify(server.url("/m.jws")))
        .replace('{ kty: "RSA", n: "...", e: "AQAB" }', JSON.stringify(key.jwk))
        .replace('"https://example.com/report"', JSON.stringify(server.url("/report")))
        .replace('"http://example.com/firmware.bin"', JSON.stringify(server.url("/fw.bin")))
        .replace(/fsverity-sha256:[0-9a-f]{64}/, `fsverity-sha256:${fsverity(image)}`);
      assert.ok(!program.includes("example.com"));
      device.engine.run(program, heading);
      if (outcome.includes("restarts")) await until("it restarts", () => device.rebootAsked);
      else await until("it prints", () => device.engine.console.length >= lines.length);
      behaves(fixture);
      for (const [i, line] of lines.entries()) assert.match(device.engine.console[i], line);
      if (!lines.length) assert.deepEqual(device.engine.console, []);
    });
  }
});
