// The recipes of docs/recipes.md, with the servers that they name.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fsverity } from "../../support/fsverity.ts";
import { createFixture, newImage, succeeds } from "../../support/fixture.ts";
import { claimsFor, makeKey, signManifest } from "../../support/release.ts";
import { serveFile, status } from "../../support/server.ts";
import { missing, startNginx, startVarnish } from "../../support/webservers.ts";

const DOC = readFileSync(new URL("../../../docs/recipes.md", import.meta.url), "utf8");
const IMAGE = newImage();

/** The block of that name, as it stands in the page. */
function recipe(name: string): string {
  const [, text] = new RegExp(`<!-- recipe: ${name} -->\n\`\`\`\\w+\n([^]*?)\n\`\`\``).exec(DOC) ?? [];
  assert.ok(text, name);
  return text;
}

async function release(): Promise<{ files: Record<string, Uint8Array>; keys: object[] }> {
  const key = await makeKey();
  const manifest = await signManifest(claimsFor(IMAGE), key);
  return { files: { "fw.bin": IMAGE, "fw.jws": Buffer.from(manifest) }, keys: [key.jwk] };
}

test("a folder behind nginx: a signed update, whole and in ranges", {
  skip: missing("nginx"),
}, async (t) => {
  const { files, keys } = await release();
  const web = await startNginx(t, files, { tls: false, nginx: recipe("nginx") });
  for (const maxRequestSize of [0, 9000]) {
    const fixture = await createFixture(t, { image: IMAGE });
    await succeeds(
      fixture,
      await fixture.update({ url: `${web.origin}/fw.jws`, keys, maxRequestSize } as never),
      "ota_0",
    );
  }
  const cache = async (name: string) => (await fetch(`${web.origin}/${name}`)).headers.get("cache-control");
  assert.deepEqual([await cache("fw.jws"), await cache("fw.bin")], ["no-cache", "public, max-age=31536000, immutable"]);
});

test("Varnish in front of nginx: ranges of a cached file, and a fresh manifest", {
  skip: missing("nginx") || missing("varnishd"),
}, async (t) => {
  const { files, keys } = await release();
  const web = await startNginx(t, files, { tls: false, nginx: recipe("nginx") });
  const cache = await startVarnish(t, web.origin, recipe("varnish"));
  for (const maxRequestSize of [0, 9000]) {
    const fixture = await createFixture(t, { image: IMAGE });
    await succeeds(fixture, await fixture.update({ url: `${cache}/fw.jws`, keys, maxRequestSize } as never), "ota_0");
  }
  const again = await fetch(`${cache}/fw.bin`, { headers: { Range: "bytes=10-19" } });
  assert.equal(again.status, 206);
  assert.match(again.headers.get("x-varnish") ?? "", /^\d+ \d+$/, "it came from the cache");
});

test("a presigned link in the manifest is sent as it stands; an expired one is told", async (t) => {
  const key = await makeKey();
  const fixture = await createFixture(t, { image: null });
  const { server } = fixture;
  const query = "?X-Amz-Expires=604800&X-Amz-Signature=ab%2Fcd%2B%3D";
  let valid = true;
  server.on("/bucket/fw.bin", (req, io) =>
    req.path === `/bucket/fw.bin${query}` && valid ? serveFile(IMAGE, { ranges: true })(req, io) : status(403)(req, io),
  );
  const claims = claimsFor(IMAGE, { image: { url: server.url(`/bucket/fw.bin${query}`) } });
  server.on("/fw.jws", serveFile(Buffer.from(await signManifest(claims, key))));
  const config = { url: server.url("/fw.jws"), keys: [key.jwk] };
  valid = false;
  const expired = await fixture.update(config as never);
  assert.deepEqual([expired.error?.status, expired.error?.retry], [403, false]);
  valid = true;
  fixture.remember();
  const outcome = await fixture.update({ ...config, maxRequestSize: 9000 } as never);
  assert.ifError(outcome.error ?? null);
  assert.equal(outcome.result.size, IMAGE.length);
  assert.equal(fsverity(IMAGE).length, 64);
});

test("the workflow signs with the options that the command has, and leaves no key", () => {
  const text = recipe("workflow");
  const help = readFileSync(new URL("../../../docs/cli.md", import.meta.url), "utf8");
  const [, signing] = /https-ota (sign .*)/.exec(text) ?? [];
  for (const [option] of signing.matchAll(/--[a-z-]+/g)) assert.ok(help.includes(option), option);
  // nothing but the locked package may run beside the key
  assert.match(text, /npm ci\n[\s\S]*npx --no -- https-ota/);
  assert.ok(text.indexOf('rm -f "$RUNNER_TEMP/key.pem"') < text.indexOf("gh release create"));
  assert.match(text, /secrets\.OTA_KEY/);
});
