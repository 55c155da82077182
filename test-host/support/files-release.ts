// Releases with files: what a maintainer signs, and a device whose Storage was prepared by `https-ota init`.

import { readFileSync } from "node:fs";
import type { TestContext } from "node:test";
import { BUNDLE } from "../sim/device.ts";
import { createFixture, type Config, type Fixture, type FixtureOptions, type Outcome } from "./fixture.ts";
import { buildImage } from "./images.ts";
import { type Claims, claimsFor, type Key, makeKey, sha256, signManifest } from "./release.ts";
import { serveFile } from "./server.ts";

export const LOADER = readFileSync(new URL("../../build/https-ota-loader.min.js", import.meta.url), "latin1");
export const MODULE = readFileSync(BUNDLE);

export const loaderWith = (config: object = {}): Buffer =>
  Buffer.from(LOADER.replace("__CONFIG__", JSON.stringify(config)), "latin1");

export type ProgramFiles = Record<string, string | Uint8Array>;

const bytesOf = (content: string | Uint8Array): Buffer =>
  typeof content === "string" ? Buffer.from(content, "latin1") : Buffer.from(content);

/** The name in Storage of what has these bytes: docs/formats.md#set-of-files. */
export const storedName = (content: string | Uint8Array): string =>
  `~${sha256(bytesOf(content)).toString("base64url").slice(0, 20)}`;

/** Claims of a release of `files`; with `image` of both. */
export function filesClaims(files: ProgramFiles, changes: Claims = {}, image?: Uint8Array): Claims {
  const all = claimsFor(image ?? new Uint8Array(0), { format: 2, entry: "app.js", ...changes });
  if (!image) delete all.image;
  return {
    ...all,
    files: Object.entries(files).map(([name, content]) => ({
      name,
      size: bytesOf(content).length,
      sha256: sha256(bytesOf(content)).toString("hex"),
      url: `files/${encodeURIComponent(name)}`,
    })),
    ...("files" in changes ? { files: changes.files } : {}),
  };
}

/** A program that says which one it is, confirms itself on demand, and tells what it was given. */
export const programOf = (version: string, more = ""): string =>
  `var running = ${JSON.stringify(version)}; var ota = require("https-ota"); ${more}`;

export interface FilesFixture extends Fixture {
  key: Key;
  /** Serves `files` and a manifest that is signed, and returns the configuration of an update to it. */
  publish(files: ProgramFiles, changes?: Claims, image?: Uint8Array): Promise<Config>;
  /** publish, then update. */
  install(files: ProgramFiles, changes?: Claims, image?: Uint8Array, config?: Config): Promise<Outcome>;
  /** Value of an expression in the program that runs. */
  ask(expression: string): any;
  /** Names of files in Storage that are named by their content. */
  stored(): string[];
}

let sequence = 100;

export async function createFilesFixture(
  t: Pick<TestContext, "after">,
  options: FixtureOptions & { loader?: object | null; key?: Key } = {},
): Promise<FilesFixture> {
  const { loader = {}, key: given, ...rest } = options;
  const board = rest.board ?? "esp32";
  const first = buildImage({ chip: "esp32", size: 60000, seed: 1 });
  const fixture = (await createFixture(t, {
    board,
    image: null,
    images: { factory: first },
    bootCode: true,
    ...rest,
  })) as FilesFixture;
  const { device, server } = fixture;
  device.storage.clear();
  if (loader) device.storage.set(".boot0", loaderWith(loader));
  device.storage.set("https-ota", MODULE);
  device.restart();
  fixture.remember();
  fixture.key = given ?? (await makeKey());
  fixture.publish = async (files, changes = {}, image) => {
    const path = `/${++sequence}`;
    for (const [name, content] of Object.entries(files))
      server.on(`${path}/files/${encodeURIComponent(name)}`, serveFile(bytesOf(content), { ranges: true }));
    if (image) server.on(`${path}/fw.bin`, serveFile(image, { ranges: true }));
    const claims = filesClaims(files, { sequence, ...changes }, image);
    server.on(`${path}/m.jws`, serveFile(Buffer.from(await signManifest(claims, fixture.key))));
    return { url: server.url(`${path}/m.jws`), keys: [fixture.key.jwk] };
  };
  fixture.install = async (files, changes, image, config = {}) =>
    fixture.update({ ...(await fixture.publish(files, changes, image)), ...config });
  fixture.ask = (expression) => device.engine.run(expression);
  fixture.stored = () => [...device.storage.keys()].filter((name) => name.startsWith("~")).sort();
  return fixture;
}
