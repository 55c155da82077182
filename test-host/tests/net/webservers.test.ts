// Web servers as they are, where they are installed: what a scripted server only claims of them.

import assert from "node:assert/strict";
import { utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fsverity } from "../../support/fsverity.ts";
import { advanceWhenIdle, spyOnHttp } from "../../support/network.ts";
import { newImage, createFixture, succeeds } from "../../support/fixture.ts";
import { missing, startNginx } from "../../support/webservers.ts";

const skip = missing("nginx");
const OLD = newImage("esp32", 31);
const NEW = newImage("esp32", 32); // as long

for (const [what, ageMs, conditional] of [
  ["of an hour ago", 3_600_000, true],
  // too new for If-Range: the other Last-Modified tells
  ["of half a minute ago", 30_000, false],
] as const)
  test(`nginx without ETags replaces a file ${what} between ranges: the new one is whole`, {
    skip,
  }, async (t) => {
    const web = await startNginx(t, { "fw.bin": OLD }, { tls: false, nginx: "etag off;" });
    const file = join(web.folder, "fw.bin");
    const then = new Date(Date.now() - ageMs);
    utimesSync(file, then, then);
    const fixture = await createFixture(t, { image: null });
    const seen = spyOnHttp(fixture.device.engine);
    const asked: (string | undefined)[] = [];
    const http = fixture.device.engine.require("http");
    const { request } = http;
    Object.defineProperty(http, "request", {
      value(options: any, onResponse: unknown) {
        asked.push(options.headers["If-Range"]);
        return request(options, onResponse);
      },
    });
    let replaced = false;
    const config = {
      url: `${web.origin}/fw.bin`,
      digest: `fsverity-sha256:${fsverity(NEW)}`,
      maxRequestSize: 20_000,
      retries: 2,
    };
    const update = fixture.update(config, (name, data = 0) => {
      if (name !== "WRITE_FLASH" || data < 30_000 || replaced) return;
      replaced = true;
      writeFileSync(file, NEW);
    });
    const outcome = await advanceWhenIdle(fixture.device, fixture.server, update, 500, () => false);
    assert.ok(replaced);
    assert.equal(asked[0], undefined);
    assert.equal(asked[1] !== undefined, conditional, String(asked[1]));
    assert.ok(seen.made.length < 10, `${seen.made.length} requests`);
    await succeeds(fixture, outcome, "ota_0", NEW);
  });
