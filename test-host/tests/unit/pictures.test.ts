// The pictures of the documents are what their scripts make: npm run pictures. Drawings are made again and compared byte for
// byte. The photo of the page of serve is not: another Chromium draws other bytes. It names the sources that it shows, so that
// this test needs no browser.

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { DRAWINGS, drawingFile, PHOTO_FILE, REMEDY } from "../../pictures/list.ts";
import { textIn, withText } from "../../pictures/png.ts";
import { digestIn, sourceDigest } from "../../pictures/serve-page.ts";
import { leftOut } from "../../support/share.ts";

/** What a document may cost its reader, and the package. */
const LIMIT = { svg: 30_000, png: 150_000 };

for (const [name, draw] of Object.entries(DRAWINGS))
  test(`docs/${name}.svg is what its script draws`, async (t) => {
    if (leftOut(t, 6, "of pictures drawn again")) return;
    const file = drawingFile(name);
    assert.ok(existsSync(file), `docs/${name}.svg is missing: ${REMEDY}`);
    const committed = readFileSync(file, "utf8");
    assert.ok(committed === (await draw()), `docs/${name}.svg is out of date: ${REMEDY}`);
    assert.ok(committed.length <= LIMIT.svg, `docs/${name}.svg has ${committed.length} bytes`);
    assert.match(committed, /<title id="title">[^<]+<\/title>\n<desc id="description">[^<]+<\/desc>/);
  });

test("docs/serve-page.png was made from the page as it is", () => {
  assert.ok(existsSync(PHOTO_FILE), `docs/serve-page.png is missing: ${REMEDY}`);
  const png = readFileSync(PHOTO_FILE);
  const digest = digestIn(png);
  assert.ok(digest === sourceDigest(), `docs/serve-page.png is out of date: ${REMEDY}`);
  assert.ok(png.length <= LIMIT.png, `docs/serve-page.png has ${png.length} bytes`);
});

test("a text that is put into a PNG file is found there, beside the others", () => {
  const png = readFileSync(PHOTO_FILE);
  const two = withText(withText(png, "A", "first"), "B", "second");
  assert.deepEqual([textIn(two, "A"), textIn(two, "B"), textIn(two, "C")], ["first", "second", undefined]);
  assert.equal(digestIn(two), digestIn(png));
  assert.throws(() => withText(png.subarray(0, 40), "A", "b"), /does not end with IEND/);
});
