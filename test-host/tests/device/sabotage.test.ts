// Would the tests notice? For each of the main guards: the readable bundle without that guard, run through the same
// scenario as with it. With the guard the promise holds, without it the promise breaks. An edit that no longer applies
// fails its test, so that a guard that is rewritten is sabotaged anew.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { buildEntry, STATE } from "../../sim/bootloader.ts";
import { SECTOR } from "../../sim/flash.ts";
import { fsverity } from "../../support/fsverity.ts";
import { buildImage, padTo } from "../../support/images.ts";
import {
  bootsFrom,
  failsCleanly,
  failsWith,
  keepsOldImage,
  newImage,
  createFixture,
  succeeds,
  touchesNothing,
  updateFrom,
} from "../../support/fixture.ts";
import { redirect, serveFile, shorter, startServer, status } from "../../support/server.ts";

const BUNDLE = readFileSync(new URL("../../../build/https-ota.js", import.meta.url), "utf8");
const IMAGE = buildImage({ size: 12000, seed: 2 });
const OLD = buildImage({ size: 12000, seed: 1 });

type After = (fn: () => unknown) => void;
type Twin = {
  guard: string;
  /** Where the guard is: each must be there exactly once, unless `all`. */
  edits: [RegExp, string][];
  /** Throws when the promise is broken. */
  scenario: (t: { after: After }, bundle: string) => Promise<void>;
};

/** Makes the condition in front of this throw or return false. */
const never = (text: string): [RegExp, string] => [
  new RegExp(`if \\((?=[^;{}]*?\\)\\s*\\n?\\s*${text})`, "g"),
  "if (false && ",
];

const TWINS: Twin[] = [
  {
    guard: "an erase is read back",
    edits: [never('throw otaError\\([^"]*"sector " \\+ ')],
    async scenario(t, bundle) {
      const fixture = await createFixture(t, {
        bundle,
        image: IMAGE,
        load: { ota_0: new Uint8Array(SECTOR * 3).fill(0xff) },
      });
      // bits that are 1 in the new image are 1 in the old one: the write reads back well all the same
      fixture.device.flash.load(new Uint8Array(64).fill(0), fixture.device.row("ota_0").offset + 12100);
      fixture.device.flash.faults = { silentErase: () => true };
      failsWith(await fixture.update(), "FLASH_OP_FAIL");
    },
  },
  {
    guard: "a write is read back",
    edits: [never('throw otaError\\([^"]*"flash at ')],
    async scenario(t, bundle) {
      const fixture = await createFixture(t, { bundle, image: IMAGE });
      fixture.device.flash.faults = { dropWrite: (addr) => addr < 0x10000 };
      const outcome = await fixture.update();
      assert.equal(bootsFrom(fixture.device, fixture.device.flash.snapshot()), outcome.error ? "factory" : "ota_0");
    },
  },
  {
    guard: "a selected slot is deselected before it is written",
    edits: [[/\n\s*lazyOtadata\(\)\.deselect_\(layout, target\);/g, "\n"]],
    async scenario(t, bundle) {
      const otadata = [buildEntry(1, STATE.VALID), buildEntry(2, STATE.NEW)];
      const images = { ota_0: OLD, ota_1: buildImage({ size: 12000, seed: 7 }) };
      const fixture = await createFixture(t, {
        bundle,
        board: "toy-two",
        images,
        otadata: [otadata[0]],
        image: IMAGE.subarray(0, 9000),
      });
      const { device } = fixture;
      device.flash.load(otadata[1], device.otadata().address + SECTOR);
      failsWith(await fixture.update(), "OTA_VALIDATE_FAILED");
      device.restart();
      assert.equal(device.boots.at(-1)?.selected, "ota_0", "a half-written slot is selected");
    },
  },
  {
    guard: "the chip id is judged before the first erase",
    edits: [never('throw otaError\\([^"]*"image for chip id ')],
    async scenario(t, bundle) {
      const image = buildImage({ size: 12000, seed: 2 });
      image[12] = 5;
      const fixture = await createFixture(t, { bundle, image });
      await failsCleanly(fixture, await fixture.update(), "INVALID_VERSION");
    },
  },
  {
    guard: "https never leads to http",
    edits: [never('throw otaError\\([^"]*"redirect from https to ')],
    async scenario(t, bundle) {
      const fixture = await createFixture(t, { bundle, tls: true });
      const open = await startServer();
      t.after(() => open.close());
      open.on("/fw.bin", serveFile(IMAGE));
      await failsCleanly(
        fixture,
        await updateFrom(fixture, redirect(302, open.url("/fw.bin"))),
        "HTTP_REDIRECT_DOWNGRADE",
      );
    },
  },
  {
    guard: "headers go to the first origin only",
    edits: [[/exchange\.trusted_ && lazyUrls\(\)\.sameOrigin_\(origin, target\)/g, "exchange.trusted_"]],
    async scenario(t, bundle) {
      const fixture = await createFixture(t, { bundle });
      const other = await startServer();
      t.after(() => other.close());
      other.on("/fw.bin", serveFile(IMAGE));
      await updateFrom(fixture, redirect(302, other.url("/fw.bin")), { headers: { Authorization: "Bearer secret" } });
      assert.ok(other.requests.length === 1 && !other.requests[0].rawHead.includes("secret"));
    },
  },
  {
    guard: "what another origin has chosen gets no headers, on the first origin either",
    edits: [[/exchange\.trusted_ = false;/g, ";"]],
    async scenario(t, bundle) {
      const fixture = await createFixture(t, { bundle });
      const other = await startServer();
      t.after(() => other.close());
      other.on("/fw.bin", redirect(302, fixture.server.url("/home.bin")));
      fixture.server.on("/home.bin", serveFile(IMAGE));
      await updateFrom(fixture, redirect(302, other.url("/fw.bin")), { headers: { Authorization: "Bearer secret" } });
      assert.deepEqual(
        fixture.server.requests.map(({ rawHead }) => rawHead.includes("secret")),
        [true, false],
      );
    },
  },
  {
    guard: "only 200 and 206 bring a body",
    edits: [[/if \(status === 200 \|\| status === 206\)/g, "if (status)"]],
    async scenario(t, bundle) {
      const fixture = await createFixture(t, { bundle });
      await failsCleanly(fixture, await updateFrom(fixture, status(404, {}, IMAGE)), "FAIL", { retry: true });
    },
  },
  {
    guard: "the digest decides",
    edits: [never('throw otaError\\([^"]*"fs-verity digest ')],
    async scenario(t, bundle) {
      const fixture = await createFixture(t, { bundle, image: IMAGE });
      const digest = `fsverity-sha256:${fsverity(newImage())}`;
      await failsCleanly(fixture, await fixture.update({ digest }), "OTA_VALIDATE_FAILED", { touched: ["ota_0"] });
    },
  },
  {
    guard: "the running slot is never written",
    edits: [[/if \((?:target|slot)\.address === layout\.running_\.address\)/g, "if (false)"]],
    async scenario(t, bundle) {
      const fixture = await createFixture(t, { bundle });
      await failsCleanly(fixture, await fixture.update({ partition: "factory" }), "OTA_PARTITION_CONFLICT");
    },
  },
  {
    guard: "one update at a time",
    edits: [never('throw otaError\\([^"]*"an update is running')],
    async scenario(t, bundle) {
      const fixture = await createFixture(t, { bundle });
      const first = fixture.outcome(fixture.device.ota.update(fixture.config()));
      const second = fixture.outcome(fixture.device.ota.update(fixture.config()));
      await first;
      failsWith(await second, "OTA_ALREADY_IN_PROGRESS", true);
    },
  },
  {
    guard: "a file longer than the slot is refused by its length",
    edits: [never('throw otaError\\([^"]*"file of " \\+ total')],
    async scenario(t, bundle) {
      const fixture = await createFixture(t, { bundle, image: padTo(newImage(), 0x10001) });
      await failsCleanly(fixture, await fixture.update(), "INVALID_SIZE");
    },
  },
  {
    guard: "what is missing of the announced length is missed",
    edits: [
      [/exchange\.answered_ && exchange\.left_ < 0 && \(!code \|\| code === [^;]*\);/g, "true;"],
      [/download\.total_ < 0 \? error \|\| !download\.part_ : bytes >= download\.total_/g, "true"],
    ],
    async scenario(t, bundle) {
      const fixture = await createFixture(t, { bundle });
      const outcome = await updateFrom(fixture, shorter(IMAGE, 3000));
      await failsCleanly(fixture, outcome, "HTTP_INCOMPLETE_DATA", { touched: ["ota_0"], retry: true });
    },
  },
  {
    guard: "the record of the running slot is kept",
    edits: [[/copyToKeep\(layout, entries\) === 0 \? 1 : 0/g, "copyToKeep(layout, entries) === 0 ? 0 : 1"]],
    async scenario(t, bundle) {
      const otadata = [buildEntry(1, STATE.VALID)];
      const images = { ota_0: OLD };
      const fixture = await createFixture(t, { bundle, board: "toy-two", images, otadata, image: IMAGE });
      const before = fixture.device.otadata().bytes.slice(0, 32);
      const outcome = await fixture.update();
      assert.deepEqual(fixture.device.otadata().bytes.slice(0, 32), before);
      await succeeds(fixture, outcome, "ota_1");
    },
  },
  {
    guard: "for factory the copy that is not active is erased first",
    edits: [[/(activeCopy\(entries\)\)) === 1 \? 1 : 0/g, "$1 === 1 ? 0 : 1"]],
    async scenario(t, bundle) {
      const images = {
        factory: OLD,
        ota_0: buildImage({ size: 12000, seed: 3 }),
        ota_1: buildImage({ size: 12000, seed: 4 }),
      };
      const otadata = [buildEntry(2, STATE.VALID), buildEntry(3, STATE.VALID)];
      const fixture = await createFixture(t, { bundle, board: "toy-factory-two", images, otadata });
      const { device } = fixture;
      const partition = { ...device.row("factory"), address: device.row("factory").offset };
      const seen: unknown[] = [];
      device.flash.onOp = (_op, phase) => phase === "after" && seen.push(bootsFrom(device, device.flash.snapshot()));
      await device.engine.call(device.ota.setBootPartition(partition));
      assert.deepEqual(seen, ["ota_0", "factory"]);
    },
  },
  {
    guard: "exactly one kind of trust must be given",
    edits: [never('refuse(?:\\$\\d+)?\\("expected exactly one of')],
    async scenario(t, bundle) {
      const fixture = await createFixture(t, { bundle });
      const config = fixture.device.engine.run(`({ url: ${JSON.stringify(fixture.server.url("/fw.bin"))} })`);
      failsWith(await fixture.outcome(fixture.device.ota.update(config)), "INVALID_ARG");
      touchesNothing(fixture);
      keepsOldImage(fixture);
    },
  },
];

async function tell(twin: Twin, bundle: string): Promise<void> {
  const cleanups: (() => unknown)[] = [];
  try {
    await twin.scenario({ after: (fn) => void cleanups.push(fn) }, bundle);
  } finally {
    for (const fn of cleanups.reverse()) await fn();
  }
}

for (const twin of TWINS) {
  test(`${twin.guard}: the promise holds, and breaks without the guard`, async () => {
    let sabotaged = BUNDLE;
    for (const [pattern, replacement] of twin.edits) {
      assert.match(sabotaged, new RegExp(pattern.source), "the guard was not found: rewrite this edit");
      sabotaged = sabotaged.replace(pattern, replacement);
    }
    assert.notEqual(sabotaged, BUNDLE);
    await tell(twin, BUNDLE);
    await assert.rejects(tell(twin, sabotaged), `nothing noticed that it is gone: ${twin.guard}`);
  });
}
